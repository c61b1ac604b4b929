create or replace view public.tds_locks as
with recursive organization as (
    -- each once, however many contacts it has
    (select min(c.organization_id) as id from zoho.contacts c)
     union all
    select (select min(c.organization_id) from zoho.contacts c where c.organization_id > o.id) from organization o where o.id is not null
), ours as (
    select k.name, null::text as of, tds.lock_key(k.name) as key from tds.lock_kind k where k.class is null and k.of is null
     union all
    select k.name, o.id, tds.lock_key(k.name, o.id)
      from (values ('zoho.contacts'), ('tds.unknown_asked')) k(name)
     cross join (select g.id from organization g union select b.organization_id from tds.api_budget b) o where o.id is not null
     union all
    select 'tds token', t.account, tds.token_lock(t.account) from tds.api_account t
     union all
    select 'tds.request_pull', r.told, tds.lock_key('tds.request_pull', r.told)
      from (select distinct n.organization_id || ' ' || n.entity as told from tds.run n) r
), held as (
    select l.*, l.classid::bigint << 32 | l.objid::bigint as key from pg_catalog.pg_locks l where l.locktype = 'advisory'
), named as (
    select k.name, l.objid::bigint::text as of, l.pid, l.mode, l.granted, l.waitstart,
           case k.name when 'claim' then c.claimed_at when 'job' then r.started_at end as since, j.job, c.queue
      from held l
      join tds.lock_kind k on k.class = l.classid::bigint
      left join tds.claim c on k.name = 'claim' and c.claim_id % 2147483647 = l.objid::bigint
      left join tds.job j on k.name = 'job' and j.job_number = l.objid::bigint
      left join lateral (select max(n.started_at) as started_at from tds.job_run n where n.job = j.job and n.state = 'running') r on true
     where l.objsubid = 2 and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
     union all
    select o.name, o.of, l.pid, l.mode, l.granted, l.waitstart, null, null, null
      from held l
      join ours o on o.key = l.key
     where l.objsubid = 1
       and (l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
            or o.name = 'tds.upgrade' and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = 'postgres'))
)
select n.name as lock, coalesce(n.job, n.of || coalesce(' of ' || n.queue, '')) as of, k.meaning,
       case when n.granted then 'holds' else 'waits' end as does, n.pid, a.usename::text as role, a.application_name as application,
       coalesce(n.waitstart, n.since, a.xact_start, a.backend_start) as since, n.mode,
       case when not n.granted then pg_catalog.pg_blocking_pids(n.pid) end as waits_for
  from named n
  join tds.lock_kind k on k.name = n.name
  left join pg_catalog.pg_stat_activity a on a.pid = n.pid;
comment on view public.tds_locks is 'Who holds which advisory lock of TDS, and who waits for it. What the locks mean: tds.lock_kind.';
comment on column public.tds_locks.lock is 'Name of the lock.';
comment on column public.tds_locks.of is 'Of what: the claim, the job, the session, the organisation …; null where there is one only.';
comment on column public.tds_locks.meaning is 'What it means that somebody holds it.';
comment on column public.tds_locks.does is 'holds or waits.';
comment on column public.tds_locks.pid is 'The session; select pg_terminate_backend(pid) ends it, and its locks with it.';
comment on column public.tds_locks.role is 'Its role.';
comment on column public.tds_locks.application is 'Its name: tds/<process>/<host>….';
comment on column public.tds_locks.since is 'Since when it waits; of a holder: since its batch, its run, its transaction or itself began.';
comment on column public.tds_locks.mode is 'ExclusiveLock or ShareLock.';
comment on column public.tds_locks.waits_for is 'Of one that waits: the sessions that stand in its way.';
