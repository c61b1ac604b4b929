-- depends: 0017_pace
-- What waits says so, and why; batches that took too long come back smaller; dead letters without an id are found by what they say.

alter table tds.inbox_open
    add column waiting_since timestamptz,
    add column waits int not null default 0,
    add column at_most int;
comment on column tds.inbox_open.waiting_since is
'Since when it fails alone for a reason outside its data (a lock, a trigger, a missing right, its worker''s end); null: it does not. '
'After the setting outage_gives_up_hours it becomes a dead letter, unless it is only locked.';
comment on column tds.inbox_open.waits is 'Times it was left out for such a reason: no attempts.';
comment on column tds.inbox_open.at_most is
'Events that may be tried together with it, after a batch took too long or could not be taken apart; 0: its records go on one by one. '
'Null: as many as fit.';

-- one index for both ways of knowing one again, so that no plan made while the table was empty takes the lesser of two
drop index tds.dead_letter_record_idx;
create index dead_letter_told_idx on tds.dead_letter (organization_id, entity, coalesce(zoho_id, md5(record))) where resolved_at is null;

drop function if exists tds.apply_isolated(tds.entity, text, tds.record[], timestamptz);
drop function if exists tds.apply_events(tds.entity, text, bigint[], timestamptz[], boolean, timestamptz);
drop function if exists tds.claim(text, int);
drop function if exists tds.apply_claim(bigint, boolean);
drop function if exists tds.finish_claim(bigint, tds.touch[]);
drop function if exists tds.release_claim(bigint, text, text);
drop function if exists tds.release_claim(bigint, text, text, text);
drop function if exists tds.replay(text, text);
drop function if exists tds.bury_record(tds.record, text, text, text, text, text, text, int, timestamptz);
drop function if exists tds.bury_record(tds.record, text, text, text, text, text, text, text, int, timestamptz);
