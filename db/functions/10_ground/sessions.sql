-- Who is there: every session of TDS has a name, tds/<process>/<host>….

create or replace view public.tds_workers as
select a.application_name as worker, a.pid, a.backend_start as since, a.state
  from pg_catalog.pg_stat_activity a
 where a.datname = pg_catalog.current_database() and a.application_name like 'tds/worker/%';
comment on view public.tds_workers is 'The workers that live: each is a session, which listens for events and runs what is due.';
comment on column public.tds_workers.worker is 'Its name: tds/worker/host/process id there; of its batch, tds.claim.worker.';
comment on column public.tds_workers.pid is 'Its backend.';
comment on column public.tds_workers.since is 'Since when it is connected; null for those who may not see it (see pg_read_all_stats).';
comment on column public.tds_workers.state is 'active: it works; idle: it waits; null for those who may not see it.';
grant select on public.tds_workers to tds_worker, tds_poller;
