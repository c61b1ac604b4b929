-- Rows that are locked are told by the transaction that they name, and who waits for one by the lock on the row itself.
create or replace view public.tds_locks as
with held as (
    select l.*
      from pg_catalog.pg_locks l
     where l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
), turn as (
    select r.name, r.of, r.ctid, r.xmax
      from tds.lease r
      join tds.lock_kind k on k.name = r.name and k.class is null
), named as (
    select 'claim' as name, l.objid::bigint::text as of, l.pid, l.mode, l.granted, l.waitstart, c.claimed_at as since, null as job, c.queue
      from held l
      left join tds.claim c on c.claim_id % 2147483647 = l.objid::bigint
     where l.locktype = 'advisory' and l.objsubid = 2 and l.classid::bigint = tds.lock_class()
     union all
    select 'api session', l.pid::text, l.pid, l.mode, l.granted, l.waitstart, null, null, null
      from held l
     where l.locktype = 'advisory' and l.objsubid = 2 and l.classid::bigint = tds.api_lock_class()
     union all
    select 'counter', l.objid::bigint::text, l.pid, l.mode, l.granted, l.waitstart, null, null, null
      from held l
     where l.locktype = 'advisory' and l.objsubid = 2 and l.classid::bigint = tds.counter_class()
     union all
    select r.name, r.of, l.pid, l.mode, l.granted, l.waitstart, n.started_at, case r.name when 'job' then r.of end, null
      from held l
      join tds.lease r on r.number = l.objid::bigint and r.backend_pid = l.pid and tds.lease_class(r.name) = l.classid::bigint
      left join lateral (
            select max(n.started_at) as started_at from tds.job_run n
             where r.name = 'job' and n.job = r.of and n.state = 'running') n on true
     where l.locktype = 'advisory' and l.objsubid = 2
     union all
    select t.name, t.of, l.pid, l.mode, l.granted, l.waitstart, null, null, null
      from turn t
      join pg_catalog.pg_locks l on l.locktype = 'transactionid' and l.granted and l.transactionid = t.xmax
     union all
    select t.name, t.of, w.pid, w.mode, w.granted, w.waitstart, null, null, null
      from turn t
      join held l on l.locktype = 'tuple' and l.relation = 'tds.lease'::pg_catalog.regclass and t.ctid = pg_catalog.format('(%s,%s)',
                     l.page, l.tuple)::pg_catalog.tid
      join pg_catalog.pg_locks w on w.pid = l.pid and not w.granted
     union all
    select 'tds.ensure_partition', null, l.pid, l.mode, l.granted, l.waitstart, null, null, null
      from held l
     where l.locktype = 'relation' and l.relation = 'tds.partition_lock'::pg_catalog.regclass and l.mode <> 'AccessShareLock'
     union all
    select 'tds.upgrade', null, l.pid, l.mode, l.granted, l.waitstart, null, null, null
      from pg_catalog.pg_locks l
     where l.locktype = 'advisory' and l.objsubid = 1
       and l.classid::bigint << 32 | l.objid::bigint = pg_catalog.hashtextextended('tds.upgrade', 0)
       and l.database in (select d.oid from pg_catalog.pg_database d where d.datname in (pg_catalog.current_database(), 'postgres'))
)
select n.name as lock, coalesce(n.job, nullif(n.of, '') || coalesce(' of ' || n.queue, '')) as of, k.meaning,
       case when n.granted then 'holds' else 'waits' end as does, n.pid, a.usename::text as role, a.application_name as application,
       coalesce(n.waitstart, n.since, a.xact_start, a.backend_start) as since, n.mode,
       case when not n.granted then pg_catalog.pg_blocking_pids(n.pid) end as waits_for
  from named n
  join tds.lock_kind k on k.name = n.name
  left join pg_catalog.pg_stat_activity a on a.pid = n.pid;
comment on view public.tds_locks is 'Who holds which lock of TDS, and who waits for it. What the locks mean: tds.lock_kind.';
comment on column public.tds_locks.lock is 'Name of the lock.';
comment on column public.tds_locks.of is 'Of what: the claim, the job, the session, the organisation …; null where there is one only.';
comment on column public.tds_locks.meaning is 'What it means that somebody holds it.';
comment on column public.tds_locks.does is 'holds or waits.';
comment on column public.tds_locks.pid is 'The session; select pg_terminate_backend(pid) ends it, and its locks with it.';
comment on column public.tds_locks.role is 'Its role.';
comment on column public.tds_locks.application is 'Its name: tds/<process>/<host>….';
comment on column public.tds_locks.since is 'Since when it waits; of a holder: since its batch, its run, its transaction or itself began.';
comment on column public.tds_locks.mode is 'ExclusiveLock; of tds.ensure_partition also others: see pg_locks.';
comment on column public.tds_locks.waits_for is 'Of one that waits: the sessions that stand in its way.';
