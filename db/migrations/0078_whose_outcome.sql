-- Whose an event is stands beside what became of it: tds_sync_queue of one organisation looked into each event's body to know.
-- What was finished before is noted step by step, the newest first: by the upgrade when it is through with all else, and by a job.
-- depends: 0077_negative_stock

alter table tds.inbox_open add column organization_id text;
comment on column tds.inbox_open.organization_id is 'Zoho organisation, as in tds.inbox; null: it named none.';
update tds.inbox_open o set organization_id = i.organization_id
  from tds.inbox i
 where i.received_at = o.received_at and i.inbox_id = o.inbox_id and i.organization_id is not null;

alter table tds.inbox_outcome add column organization_id text;
comment on column tds.inbox_outcome.organization_id is
'Zoho organisation, as in tds.inbox; null: it named none, or was finished before this was noted (tds.outcome_to_note), or its body was '
'gone by then.';
create index inbox_outcome_organization_idx on tds.inbox_outcome (organization_id, received_at) where organization_id is not null;

create table tds.outcome_to_note (
    only_row boolean primary key default true check (only_row),
    up_to    bigint not null
);
comment on table tds.outcome_to_note is
'Which events were finished before it was noted whose they are, as long as some are not: tds.fill_new_columns(). One row at most.';
comment on column tds.outcome_to_note.only_row is 'Always true: keeps the table at one row.';
comment on column tds.outcome_to_note.up_to is 'Of those up to this number it is yet to be noted.';
insert into tds.outcome_to_note (up_to)
select max(o.inbox_id) from tds.inbox_outcome o having max(o.inbox_id) is not null;
