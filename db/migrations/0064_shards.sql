-- A database among others: who it is to the router, which organisations it has given away or is being given, and the events that
-- wait until an organisation has arrived.
-- depends: 0059_backups
create table tds.own_shard (
    only_row boolean primary key default true check (only_row),
    name     text not null,
    number   int not null check (number between 0 and 999),
    since    timestamptz not null
);
comment on table  tds.own_shard is 'Who this database is to a router (tds shard add). One row, or none: it stands alone.';
comment on column tds.own_shard.only_row is 'Always true: keeps the table at one row.';
comment on column tds.own_shard.name is 'The name by which the router calls it; whoever calls it otherwise is refused.';
comment on column tds.own_shard.number is 'Its numbers (of events, runs, rows …) begin at this, times 10^12.';
comment on column tds.own_shard.since is 'Since when.';

create table tds.gate (
    organization_id text primary key,
    state           text not null check (state in ('arriving', 'departed', 'gone')),
    other           text not null,
    first_inbox_id  bigint,
    since           timestamptz not null
);
comment on table  tds.gate is 'Organisations that are on their way from one shard to another, or have left this one (tds shard move).';
comment on column tds.gate.organization_id is 'Zoho''s organisation.';
comment on column tds.gate.state is 
'arriving: its events are stored and wait; departed: nothing of it is taken here any more; gone: nor is any of it shown in reports.';
comment on column tds.gate.other is 'The shard that it comes from, or has gone to.';
comment on column tds.gate.first_inbox_id is 'arriving: events from this number on came here by themselves, and were not carried over.';
comment on column tds.gate.since is 'Since when.';

create table tds.inbox_held (like tds.inbox_open including comments);
alter table tds.inbox_held add column organization_id text not null, add primary key (inbox_id);
create index inbox_held_organization on tds.inbox_held (organization_id, inbox_id);
comment on table tds.inbox_held is
'Events of organisations on their way to another shard: stored, in no queue, and open again once they have arrived.';
comment on column tds.inbox_held.organization_id is 'Zoho''s organisation.';
