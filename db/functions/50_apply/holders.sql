-- Who holds what others wait for: transactions that have locked rows or tables of the mirror, or of ours.

create or replace function tds.lock_holders()
returns table (pid int, user_name text, application_name text, since timestamptz, state text, query text, tables text[], waiting int[],
    xids xid[])
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with held as materialized (
        select l.pid, array_agg(distinct n.nspname || '.' || c.relname order by n.nspname || '.' || c.relname) as tables
          from pg_locks l
          join pg_class c on c.oid = l.relation and c.relkind in ('r', 'p')
          join pg_namespace n on n.oid = c.relnamespace and n.nspname in ('zoho', 'tds', 'pgmq')
         where l.locktype = 'relation' and l.granted and l.mode <> 'AccessShareLock' and l.pid <> pg_backend_pid()
           and l.database = (select d.oid from pg_database d where d.datname = current_database())
         group by l.pid
    ), waiter as materialized (
        select w.pid, pg_blocking_pids(w.pid) as blockers from pg_locks w where not w.granted
    )
    select h.pid, a.usename::text, a.application_name, a.xact_start, a.state, left(a.query, 200), h.tables,
           array(select distinct w.pid from waiter w where h.pid = any (w.blockers) order by w.pid),
           array(select l.transactionid from pg_locks l where l.pid = h.pid and l.locktype = 'transactionid' and l.granted)
      from held h
      join pg_stat_activity a on a.pid = h.pid
     order by a.xact_start, h.pid;
end
$$;
revoke all on function tds.lock_holders() from public;
comment on function tds.lock_holders() is
'Sessions with a transaction that has written to, or locked rows or all of, a table of the mirror or ours, the oldest transaction first; '
'waiting: who waits for it now. What others run is seen by members of pg_read_all_stats, which tds_owner should be.';

create or replace function tds.lock_holders_told(entity text, xids xid[] default null) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tables constant text[] := array(
        select 'zoho.' || t.target
          from (select n.target from tds.entity n where n.entity = lock_holders_told.entity
                union
                select c.target from tds.child c where c.entity = lock_holders_told.entity) t);
begin
    return (
        select string_agg(format('held by pid %s (user %s, application %s, %s) since %s: %s', h.pid, coalesce(h.user_name, '?'),
                                 coalesce(nullif(h.application_name, ''), '?'), coalesce(h.state, '?'),
                                 to_char(h.since at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'), h.query), '; ' order by h.since, h.pid)
          from (select l.*, l.xids && lock_holders_told.xids as is_certain, bool_or(l.xids && lock_holders_told.xids) over () as some_are
                  from tds.lock_holders() l) h
         -- whose transaction the rows name, and only where they name none (several share a row), whoever has locks there
         where h.is_certain or h.some_are is not true and h.tables && v_tables);
end
$$;
revoke all on function tds.lock_holders_told(text, xid[]) from public;
comment on function tds.lock_holders_told(text, xid[]) is
'Who may hold the locks that an entity''s records wait for, in words; xids: the transactions that its rows name. Null: nobody any more.';

create or replace function tds.hung_claims(of_queue text default null) returns table (claim_id bigint, queue text, worker text,
    backend_pid int, claimed_at timestamptz)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    v_now constant timestamptz := tds.now();
    v_age constant interval := make_interval(secs => tds.setting_int('claim_seconds'));
    v_from constant bigint := tds.claims_from();
begin
    -- to look through the locks takes longer than a small batch
    if not exists (select from tds.claim c where c.claim_id >= v_from and tds.is_overdue(c.claimed_at, v_now, v_age)) then
        return;
    end if;
    return query
    select c.claim_id, c.queue, c.worker, c.backend_pid, c.claimed_at
      from tds.claim c
      -- the proof that this backend is still the one that claimed
      join pg_locks l on l.locktype = 'advisory' and l.granted and l.objsubid = 2 and l.pid = c.backend_pid
                     and l.database = (select d.oid from pg_database d where d.datname = current_database())
                     and l.classid::bigint = tds.lock_class() and l.objid::bigint = c.claim_id % 2147483647
     where c.claim_id >= v_from
       and (hung_claims.of_queue is null or c.queue = hung_claims.of_queue)
       and c.backend_pid <> pg_backend_pid()
       and tds.is_overdue(c.claimed_at, v_now, v_age)
     order by c.claim_id;
end
$$;
revoke all on function tds.hung_claims(text) from public;
comment on function tds.hung_claims(text) is 'Batches in work for longer than the setting claim_seconds, and the backends that have them.';

create or replace function tds.is_overdue(begun_at timestamptz, at timestamptz, age interval) returns boolean
language sql immutable parallel safe
as $$ select $1 < $2 - $3 or $1 > $2 + interval '1 minute' $$;
comment on function tds.is_overdue(timestamptz, timestamptz, interval) is
'Whether something begun then is older than that age; what was begun in the future was begun by a clock that had jumped ahead, and '
'nobody knows its age.';

create or replace function tds.end_backend(pid int) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- one that is stopped by a signal obeys once it is continued
    return pg_terminate_backend(end_backend.pid);
exception when insufficient_privilege then
    raise warning using errcode = sqlstate, message = format('backend %s hangs and may not be ended by %s', end_backend.pid, current_user),
        hint = format('select pg_terminate_backend(%s)', end_backend.pid);
    return false;
end
$$;
revoke all on function tds.end_backend(int) from public;
comment on function tds.end_backend(int) is 'Ends a session, with the caller''s rights; false, and a warning, where these do not reach.';

create or replace function tds.end_hung(queue text default null) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select count(*) filter (where tds.end_backend(h.backend_pid))::int from tds.hung_claims(end_hung.queue) h);
end
$$;
revoke all on function tds.end_hung(text) from public;
comment on function tds.end_hung(text) is
'Ends the sessions that hang over a batch (see tds.hung_claims()), with the caller''s rights: those of the same role, or '
'pg_signal_backend''s. '
'Returns how many.';
grant execute on function tds.end_backend(int), tds.end_hung(text), tds.hung_claims(text) to tds_worker, tds_operator;
grant execute on function tds.lock_holders() to tds_worker, tds_operator, tds_reader;
