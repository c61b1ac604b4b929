-- Every advisory lock of TDS, in SQL and in the programs, is numbered or named here; tds_locks says who holds which.

create or replace function tds.lock_class() returns int
language sql immutable parallel safe
as $$ select 7311 $$;
comment on function tds.lock_class() is 'First number of every advisory lock of a claim: (lock_class, claim_id).';

create or replace function tds.living_sessions() returns int[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(select l.objid::bigint::int from pg_locks l
                  where l.locktype = 'advisory' and l.granted and l.objsubid = 2 and l.classid::bigint = tds.api_lock_class()
                    and l.database = (select d.oid from pg_database d where d.datname = current_database()));
end
$$;
comment on function tds.living_sessions() is 'The sessions that ask Zoho and live: each holds a lock for as long (see tds.set_budget()).';

create or replace function tds.api_lock_class() returns int
language sql immutable
as $$ select 1415861073 $$;
revoke all on function tds.api_lock_class() from public;
comment on function tds.api_lock_class() is 'First key of the advisory locks of sessions that call Zoho; the second is the backend''s pid.';

create or replace function tds.lock_key(name text, of text default null) returns bigint
language sql immutable parallel safe
as $$ select hashtextextended($1 || coalesce(' ' || $2, ''), 0) $$;
comment on function tds.lock_key(text, text) is 'Key of the advisory lock of that name in tds.lock_kind, and of what it keeps apart.';

create or replace function tds.token_lock(account text) returns bigint
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select tds.lock_key('tds token', $1) $$;
revoke all on function tds.token_lock(text) from public;
comment on function tds.token_lock(text) is 'Key of the advisory lock that whoever refreshes an account''s token holds meanwhile.';

create or replace function tds.job_lock_class() returns int
language sql immutable parallel safe
as $$ select 7312 $$;
comment on function tds.job_lock_class() is
'First number of the advisory locks of jobs: (job_lock_class, job_number) while one runs, (job_lock_class, 0) while a worker looks for '
'what is due.';

create or replace view tds.lock_kind as
select k.name, k.class, k.of, k.meaning
  from (values
        ('claim', tds.lock_class(), 'claim', 'a worker has this batch in hand; free while the row of tds.claim stands: it has died'),
        ('api session', tds.api_lock_class(), 'backend', 'a process asks Zoho; its calls and leases are given up when it is free'),
        ('job', tds.job_lock_class(), 'job', 'this job runs; of nothing: a worker looks for what is due'),
        ('tds token', null, 'account', 'a process refreshes the account''s access token'),
        ('tds.request_pull', null, 'organisation and entity', 'somebody asks for a pull, and a second one finds the first one''s run'),
        ('zoho.contacts', null, 'organisation', 'a batch writes the organisation''s contacts'),
        ('tds.ensure_partition', null, null, 'partitions of the inbox are made, or were just made'),
        ('tds.set_own_defaults', null, null, 'a role gets its own defaults in this database'),
        ('tds.unknown_asked', null, 'organisation', 'details of records that nobody knows are asked for, and counted'),
        ('tds.take_images', null, null, 'pictures are handed to a fetcher'),
        ('tds.upgrade', null, null, 'tds db upgrade; in the database postgres: it makes the roles')) k(name, class, of, meaning);
comment on view tds.lock_kind is 'The advisory locks of TDS.';
comment on column tds.lock_kind.name is 'Name; of those without a class the beginning of what tds.lock_key() makes the key of.';
comment on column tds.lock_kind.class is 'First number of a lock of two numbers; null: its key is one number.';
comment on column tds.lock_kind.of is 'What there is one for each of; null: there is one.';
comment on column tds.lock_kind.meaning is 'What it means that somebody holds it.';
