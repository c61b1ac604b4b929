-- depends: 0018_doors
-- The rules of evidence (docs/evidence.md): wants that wait, deletions that wait for their proof, passes that count what they saw.

alter table tds.wanted_detail add column not_before timestamptz;
comment on column tds.wanted_detail.not_before is
'Nobody asks before then: Zoho is asked once more after a pause what it said; null: at once.';

create table tds.held_deletion (
    organization_id text not null,
    entity          text not null,
    zoho_id         text not null,
    announced_at    timestamptz,
    missing_at      timestamptz,
    absent_at       timestamptz,
    proved_at       timestamptz,
    state           text not null constraint state_is_known check (state in ('waiting', 'held', 'confirmed', 'refused', 'done')),
    changed_at      timestamptz not null,
    constraint held_deletion_pkey primary key (organization_id, entity, zoho_id)
);
comment on table  tds.held_deletion is
'What is known of deletions that wait for their proof, are held back, or were marked lately; see tds.weigh_deletions().';
comment on column tds.held_deletion.organization_id is 'Zoho organisation.';
comment on column tds.held_deletion.entity is 'The entity.';
comment on column tds.held_deletion.zoho_id is 'Zoho''s id.';
comment on column tds.held_deletion.announced_at is 'When an event said that it was deleted.';
comment on column tds.held_deletion.missing_at is 'When the last complete list was asked for that lacked it.';
comment on column tds.held_deletion.absent_at is 'When it was asked for the first time that was answered 404, since it was seen alive.';
comment on column tds.held_deletion.proved_at is 'The last time.';
comment on column tds.held_deletion.state is
'waiting: not proved yet; held: too many at once; confirmed, refused: by an operator; done: marked deleted.';
comment on column tds.held_deletion.changed_at is 'When that changed.';

alter table tds.run
    add column passes     int not null default 1,
    add column counted    int,
    add column counted_at timestamptz,
    add column seen_hash  text;
comment on column tds.run.passes is 'How often its list was read from the first page on: again where it moved while it was read.';
comment on column tds.run.counted is
'How many records Zoho says the list had before it was read; -1: it does not say; null: it was not asked.';
comment on column tds.run.counted_at is 'When it said so, by Zoho''s clock.';
comment on column tds.run.seen_hash is 'The records that the pass before saw, as a hash.';

create table tds.run_page (
    run_id   bigint not null,
    page     int not null,
    zoho_ids text[] not null,
    fresh    text[] not null,
    constraint run_page_pkey primary key (run_id, page)
);
comment on table  tds.run_page is 'The records on the pages of lists that are being read; gone once the list is.';
comment on column tds.run_page.run_id is 'The run.';
comment on column tds.run_page.page is 'The page.';
comment on column tds.run_page.zoho_ids is 'Zoho''s ids, in the order of the page.';
comment on column tds.run_page.fresh is 'Those of them that came into the list after it was counted.';

alter table tds.entity add column counted boolean not null default false;
comment on column tds.entity.counted is
'Whether Zoho is asked how many records the list has, where it has several pages: a call, by which a list that moved while it was read '
'is noticed.';

create table tds.zoho_clock (
    organization_id text not null,
    skew            interval not null,
    seen_at         timestamptz not null,
    constraint zoho_clock_pkey primary key (organization_id)
);
comment on table  tds.zoho_clock is
'How far Zoho''s clock (the Date header of its answers) is ahead of ours; no row: not at all, as far as can be told.';
comment on column tds.zoho_clock.organization_id is 'Zoho organisation.';
comment on column tds.zoho_clock.skew is 'By how much; negative: it is behind.';
comment on column tds.zoho_clock.seen_at is 'When that was seen, by our clock.';

-- by Zoho's clock, which may be ahead of ours
alter table tds.inbox drop constraint nothing_is_observed_after_it_came;
