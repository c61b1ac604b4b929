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

create or replace function tds.token_lock(account text) returns bigint
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select hashtextextended('tds token ' || $1, 0) $$;
revoke all on function tds.token_lock(text) from public;
comment on function tds.token_lock(text) is 'Key of the advisory lock that whoever refreshes an account''s token holds meanwhile.';

create or replace function tds.job_lock_class() returns int
language sql immutable parallel safe
as $$ select 7312 $$;
comment on function tds.job_lock_class() is
'First number of the advisory locks of jobs: (job_lock_class, job_number) while one runs, (job_lock_class, 0) while a worker looks for what is due.';
