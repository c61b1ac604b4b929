-- Whose an event is stands beside what became of it: tds_sync_queue of one organisation looked into each event's body to know.
-- What was finished before says nothing; it is still looked up, by the partial index, until its day is dropped.
-- depends: 0077_negative_stock

alter table tds.inbox_open add column organization_id text;
comment on column tds.inbox_open.organization_id is 'Zoho organisation, as in tds.inbox; null: it named none.';
update tds.inbox_open o set organization_id = i.organization_id
  from tds.inbox i
 where i.received_at = o.received_at and i.inbox_id = o.inbox_id and i.organization_id is not null;

alter table tds.inbox_outcome add column organization_id text;
comment on column tds.inbox_outcome.organization_id is
'Zoho organisation, as in tds.inbox; null: it named none, or it was finished before this was noted.';
create index inbox_outcome_organization_idx on tds.inbox_outcome (organization_id, received_at) where organization_id is not null;
create index inbox_outcome_unnoted_idx on tds.inbox_outcome (inbox_id) where organization_id is null;
-- counts of all events read these alone
drop index tds.inbox_outcome_status_idx;
create index inbox_outcome_status_idx on tds.inbox_outcome (status, entity) where organization_id is not null;
create index inbox_outcome_unnoted_status_idx on tds.inbox_outcome (status, entity) where organization_id is null;

create table tds.outcome_to_note (
    only_row boolean primary key default true check (only_row),
    after    bigint not null default 0,
    up_to    bigint not null
);
comment on table tds.outcome_to_note is
'Outcomes of which an upgrade has left to note whose they are, as long as there are any: tds.fill_new_columns(). One row at most.';
comment on column tds.outcome_to_note.only_row is 'Always true: keeps the table at one row.';
comment on column tds.outcome_to_note.after is 'Events up to this number are done.';
comment on column tds.outcome_to_note.up_to is 'The last one to be done.';
insert into tds.outcome_to_note (up_to)
select max(o.inbox_id) from tds.inbox_outcome o having max(o.inbox_id) is not null;
