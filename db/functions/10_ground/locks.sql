-- Every lock of TDS that has a name, in SQL and in the programs; tds_locks says who holds which.
-- An advisory lock is anybody's to take who may connect, so none is waited for, and none proves anything by being taken: one is only how a
-- session is known to live, when that very session holds it. What keeps others out are rows and tables, which strangers cannot lock.

create or replace function tds.lock_class() returns int
language sql immutable parallel safe
as $$ select 7311 $$;
comment on function tds.lock_class() is 'First number of every advisory lock of a claim: (lock_class, claim_id).';

create or replace function tds.api_lock_class() returns int
language sql immutable
as $$ select 1415861073 $$;
revoke all on function tds.api_lock_class() from public;
comment on function tds.api_lock_class() is
'First number of the advisory locks of sessions that call Zoho; the second is the backend''s pid, or the next one that is free.';

create or replace function tds.counter_class() returns int
language sql immutable parallel safe
as $$ select 7317 $$;
revoke all on function tds.counter_class() from public;
comment on function tds.counter_class() is
'First number of the advisory locks of transactions that count events; the second is the slot of tds.outcome_counter that they count in.';

create or replace function tds.lease_class(name text) returns int
language sql immutable parallel safe
as $$ select case $1 when 'job' then 7312 when 'due jobs' then 7313 when 'alert sender' then 7315 when 'backup' then 7316 else 7314 end $$;
comment on function tds.lease_class(text) is
'First number of the advisory locks of leases of that name: (lease_class, number of tds.lease); 7314 of tokens.';

create or replace function tds.is_held(class int, number int, pid int) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (
        select from pg_locks l
         where l.locktype = 'advisory' and l.granted and l.objsubid = 2 and l.pid = is_held.pid
           and l.database = (select d.oid from pg_database d where d.datname = current_database())
           and l.classid::bigint = is_held.class and l.objid::bigint = is_held.number);
end
$$;
revoke all on function tds.is_held(int, int, int) from public;
comment on function tds.is_held(int, int, int) is
'Whether that session holds the advisory lock of those numbers. That another one holds it means nothing.';

create or replace function tds.living_sessions() returns int[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(select distinct l.pid from pg_locks l
                  where l.locktype = 'advisory' and l.granted and l.objsubid = 2 and l.classid::bigint = tds.api_lock_class()
                    and l.database = (select d.oid from pg_database d where d.datname = current_database()));
end
$$;
comment on function tds.living_sessions() is 'The sessions that ask Zoho and live: each holds a lock for as long (see tds.set_budget()).';

create or replace function tds.take_turn(name text, of text default '') returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform from tds.lease l where l.name = take_turn.name and l.of = take_turn.of for update;
    if not found then
        insert into tds.lease (name, of) values (take_turn.name, take_turn.of) on conflict on constraint lease_pkey do nothing;
        perform from tds.lease l where l.name = take_turn.name and l.of = take_turn.of for update;
    end if;
end
$$;
revoke all on function tds.take_turn(text, text) from public;
comment on function tds.take_turn(text, text) is
'Waits until no other transaction has that turn, and has it until this one ends: its row of tds.lease is locked.';

create or replace function tds.try_turn(name text, of text default '') returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_wait constant text := current_setting('lock_timeout');
begin
    if not exists (select from tds.lease l where l.name = try_turn.name and l.of = try_turn.of) then
        -- who enters it at the same moment has it
        begin
            perform set_config('lock_timeout', '1ms', true);
            insert into tds.lease (name, of) values (try_turn.name, try_turn.of) on conflict on constraint lease_pkey do nothing;
            perform set_config('lock_timeout', v_wait, true);
        exception when lock_not_available then
            return false;
        end;
    end if;
    perform from tds.lease l where l.name = try_turn.name and l.of = try_turn.of for update skip locked;
    return found;
end
$$;
revoke all on function tds.try_turn(text, text) from public;
comment on function tds.try_turn(text, text) is 'As tds.take_turn(), but says false at once where another transaction has it.';

create or replace function tds.draw_lock(class int) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_number int;
begin
    loop
        v_number := nextval('tds.lease_number')::int;
        exit when pg_try_advisory_lock(draw_lock.class, v_number);
    end loop;
    return v_number;
end
$$;
revoke all on function tds.draw_lock(int) from public;
comment on function tds.draw_lock(int) is
'Takes an advisory lock of that class for this session and returns its number; numbers that somebody holds are passed over.';

create or replace function tds.is_leased(name text, of text default '') returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (
        select from tds.lease l
         where l.name = is_leased.name and l.of = is_leased.of and l.number is not null
           and tds.is_held(tds.lease_class(l.name), l.number, l.backend_pid));
end
$$;
revoke all on function tds.is_leased(text, text) from public;
comment on function tds.is_leased(text, text) is 'Whether a session that lives has that lease.';

create or replace function tds.try_lease(name text, of text default '') returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_lease tds.lease;
begin
    if not tds.try_turn(try_lease.name, try_lease.of) then
        return false;
    end if;
    select l.* into strict v_lease from tds.lease l where l.name = try_lease.name and l.of = try_lease.of;
    if v_lease.number is not null and tds.is_held(tds.lease_class(v_lease.name), v_lease.number, v_lease.backend_pid) then
        -- one's own is left over from something that was broken off
        return v_lease.backend_pid = pg_backend_pid();
    end if;
    update tds.lease l
       set number = tds.draw_lock(tds.lease_class(l.name)), backend_pid = pg_backend_pid()
     where l.name = try_lease.name and l.of = try_lease.of;
    return true;
end
$$;
revoke all on function tds.try_lease(text, text) from public;
comment on function tds.try_lease(text, text) is
'Takes a lease for this session until tds.end_lease() or its death; false where another session that lives has it. Others know once this '
'is committed, and are told false until then.';

create or replace function tds.end_lease(name text, of text default '') returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_number int;
begin
    select l.number into v_number from tds.lease l
     where l.name = end_lease.name and l.of = end_lease.of and l.backend_pid = pg_backend_pid() for update;
    update tds.lease l set number = null, backend_pid = null
     where l.name = end_lease.name and l.of = end_lease.of and l.backend_pid = pg_backend_pid();
    return v_number is not null and tds.is_held(tds.lease_class(end_lease.name), v_number, pg_backend_pid())
           and pg_advisory_unlock(tds.lease_class(end_lease.name), v_number);
end
$$;
revoke all on function tds.end_lease(text, text) from public;
comment on function tds.end_lease(text, text) is 'Gives back this session''s lease; false where it has none.';

create or replace view tds.lock_kind as
select k.name, k.class, k.of, k.meaning
  from (values
        ('claim', tds.lock_class(), 'claim',
         'a worker has this batch in hand; not its session''s while the row of tds.claim stands: it has died'),
        ('api session', tds.api_lock_class(), 'backend', 'a process asks Zoho; its calls and leases are given up when it is gone'),
        ('counter', tds.counter_class(), 'slot', 'a transaction counts what became of events, in rows that no other one writes meanwhile'),
        ('job', tds.lease_class('job'), 'job', 'this job runs'),
        ('due jobs', tds.lease_class('due jobs'), null, 'a worker looks for jobs that are due'),
        ('alert sender', tds.lease_class('alert sender'), null, 'a process sends the messages of alerts'),
        ('backup', tds.lease_class('backup'), null, 'a process makes the backup that the clock wants'),
        ('tds token', tds.lease_class('tds token'), 'account', 'a process refreshes the account''s access token'),
        ('tds.request_pull', null, 'organisation and entity', 'somebody asks for a pull, and a second one finds the first one''s run'),
        ('zoho.contacts', null, 'organisation', 'a batch writes the organisation''s contacts'),
        ('tds.held_deletion', null, 'organisation and entity', 'a batch weighs deletions of an entity against all others of the last hour'),
        ('tds.ensure_partition', null, null, 'partitions of the inbox are made, or were just made'),
        ('tds.set_own_defaults', null, null, 'a role gets its own defaults in this database'),
        ('tds.unknown_asked', null, 'organisation', 'details of records that nobody knows are asked for, and counted'),
        ('tds.raise_alerts', null, null, 'alerts are opened and resolved'),
        ('tds.take_images', null, null, 'pictures are handed to a fetcher'),
        ('tds.move', null, 'organisation', 'rows of an organisation are carried here from another shard'),
        ('tds.upgrade', null, null, 'tds db upgrade; in the database postgres: it makes the roles')) k(name, class, of, meaning);
comment on view tds.lock_kind is 'The locks of TDS that have a name.';
comment on column tds.lock_kind.name is 'Name.';
comment on column tds.lock_kind.class is
'First number of the advisory lock by which the session that has it is known to live; null: it lasts for a transaction, and is a row of '
'tds.lease or a table that is locked.';
comment on column tds.lock_kind.of is 'What there is one for each of; null: there is one.';
comment on column tds.lock_kind.meaning is 'What it means that somebody has it.';
