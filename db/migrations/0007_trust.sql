-- depends: 0003_mapping
-- What the tools for trust remember: the outcome of each record of a page, and the shapes of what Zoho has sent.

alter table tds.inbox_outcome add column outcomes text;
comment on column tds.inbox_outcome.outcomes is
'Where its records fared differently, a letter a record by its position: a applied, u unchanged, s stale, r retried, d dead; null: all alike.';
-- finished_at grows with the rows, so that a block's bounds find them; a tree would cost the hot path
create index inbox_outcome_finished_idx on tds.inbox_outcome using brin (finished_at) with (pages_per_range = 16);

create type tds.derivation as (
    zoho_id text,
    before  jsonb,
    after   jsonb
);
comment on type tds.derivation is
'A row of the mirror as it is (before) and as the mapping makes it of its document (after): columns by name, child rows by table.';

create table tds.drift (
    entity         text not null,
    path           text not null,
    json_type      text not null,
    first_seen_at  timestamptz not null,
    last_seen_at   timestamptz not null,
    seen           bigint not null,
    first_inbox_id bigint not null,
    sample         text not null,
    known          boolean not null,
    constraint drift_pkey primary key (entity, path, json_type)
);
comment on table  tds.drift is 'Drift ledger: every path and JSON type that Zoho''s records have had; see tds.observe_drift().';
comment on column tds.drift.entity is 'The entity.';
comment on column tds.drift.path is 'Path in a record; an array''s elements are [].';
comment on column tds.drift.json_type is 'string, number, boolean, object, array, or empty (null and the empty string, which Zoho writes for every type).';
comment on column tds.drift.first_seen_at is 'When the first event that had it was received.';
comment on column tds.drift.last_seen_at is 'When the last one was.';
comment on column tds.drift.seen is 'How often.';
comment on column tds.drift.first_inbox_id is 'The first event that had it.';
comment on column tds.drift.sample is 'A value of it, cut at 200 characters.';
comment on column tds.drift.known is 'Whether the mapping reads it, as of the last sight.';

create table tds.drift_observed (
    only_row    boolean primary key default true check (only_row),
    finished_at timestamptz not null,
    inbox_id    bigint not null
);
comment on table  tds.drift_observed is 'Up to where tds.observe_drift() has read: one row.';
comment on column tds.drift_observed.only_row is 'There is one row.';
comment on column tds.drift_observed.finished_at is 'Events that finished before have been read.';
comment on column tds.drift_observed.inbox_id is 'Of those that finished at that moment, the last one read.';
insert into tds.drift_observed (finished_at, inbox_id) values ('-infinity', 0);
