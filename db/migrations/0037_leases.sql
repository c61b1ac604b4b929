-- depends: 0030_signatures
-- Locks that protect work are rows: an advisory lock is anybody's to take who may connect.

create table tds.lease (
    name        text not null,
    of          text not null default '',
    number      int,
    backend_pid int,
    constraint lease_pkey primary key (name, of),
    constraint lease_is_somebodys check ((number is null) = (backend_pid is null))
);
comment on table tds.lease is
'What one session has at a time. For a transaction its row is locked (tds.take_turn()); for longer it names the session that has it, which '
'holds an advisory lock of that number while it lives (tds.try_lease()).';
comment on column tds.lease.name is 'Name of the lock, of tds.lock_kind.';
comment on column tds.lease.of is 'What it keeps apart; empty: there is one.';
comment on column tds.lease.number is
'Second number of the advisory lock (tds.lease_class(name), number) by which its session is known to live.';
comment on column tds.lease.backend_pid is 'The session that has it. One that does not hold that lock has lost it.';
create sequence tds.lease_number as int cycle;
comment on sequence tds.lease_number is 'Numbers of leases: each taking has another one, which nobody can hold in advance.';
insert into tds.lease (name) values ('tds.set_own_defaults'), ('tds.take_images');

create table tds.partition_lock ();
comment on table tds.partition_lock is
'Empty. Whoever makes partitions of the inbox locks it: a table''s lock is free only once all sessions were told of what was made.';

-- the job's number was that of its lock
drop view if exists public.tds_locks;
alter table tds.job drop column job_number;

comment on column tds.api_token.access_token is
'The token, sealed with a key that comes of the refresh token, which the database does not know.';
