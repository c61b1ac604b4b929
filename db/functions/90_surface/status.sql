-- Whether all is ready, and how it stands: for probes and for Prometheus.

create or replace function tds.installed_files() returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select jsonb_object_agg(f.name, f.sha256)
              from (select 'migrations/' || m.id || '.sql' as name, m.content_hash as sha256 from tds.migration m
                     union all
                    select s.path, s.sha256 from tds.sql_file s) f);
end
$$;
revoke all on function tds.installed_files() from public;
comment on function tds.installed_files() is
'The migrations and function files that the database was made from, with their SHA-256: a program compares its own.';

create or replace function tds.last_upgrade() returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return jsonb_build_object(
        'at', (select max(s.applied_at) from tds.sql_file s),
        'breaking', (select coalesce(jsonb_object_agg('migrations/' || m.id || '.sql', m.breaking), '{}') from tds.migration m
                      where m.breaking is not null));
end
$$;
revoke all on function tds.last_upgrade() from public;
comment on function tds.last_upgrade() is
'When the database was upgraded last, and its migrations that programs of the version before them cannot live with: a program that does '
'not know one of these is too old, and goes on otherwise.';

create or replace function tds.unfinished_events(pages int default 250)
returns table (queue text, entity text, status text, events bigint, oldest timestamptz)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_pages constant numeric := greatest(1, pg_relation_size('tds.inbox_open') / current_setting('block_size')::numeric);
    v_share constant numeric := least(1, unfinished_events.pages / v_pages);
begin
    return query
    with seen as materialized (
        select o.queue, o.entity, round(count(*) / v_share) as events, round(count(o.retry_at) / v_share) as failed,
               min(o.received_at) filter (where o.retry_at is null) as oldest, min(o.received_at) as oldest_of_all
          from tds.inbox_open o tablesample system (100 * v_share) repeatable (0)
         group by o.queue, o.entity
    ), claimed as materialized (
        select o.queue, o.entity, count(*) as events
          from tds.claim c
         cross join lateral unnest(c.inbox_ids) e(inbox_id)
          join tds.inbox_open o on o.inbox_id = e.inbox_id and o.retry_at is null
         group by o.queue, o.entity
    )
    select s.queue, s.entity, p.status, p.events::bigint, case when p.status = 'failed' then s.oldest_of_all else s.oldest end
      from seen s
      left join claimed c on c.queue = s.queue and c.entity = s.entity
     cross join lateral (values
           ('pending', s.events - s.failed - coalesce(c.events, 0)), ('processing', coalesce(c.events, 0)), ('failed', s.failed)
           ) p(status, events)
     where p.events > 0;
end
$$;
revoke all on function tds.unfinished_events(int) from public;
comment on function tds.unfinished_events(int) is
'Events that are not finished, by queue, entity and status, and when the oldest of those came. A table of more pages than '
'these, which hold some 15,000 events, is sampled and the counts are estimates: however many wait, looking costs the same.';
grant execute on function tds.unfinished_events(int) to tds_reader, tds_operator;

create or replace function tds.metrics() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
begin
    -- counters, series and small tables only: as cheap after years as on the first day
    return tds.queue_metrics() || tds.care_metrics() || tds.api_metrics();
end
$$;
revoke all on function tds.metrics() from public;
comment on function tds.metrics() is
'How it stands, for Prometheus: events by status; depth and age of the oldest unprocessed event by queue; dead letters and wanted details '
'by entity; open runs by state; calls of the API, by organisation; each check, each job, delays, programs, the size of the database.';

create or replace function tds.queue_metrics() returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now     constant timestamptz := tds.now();
    v_open    jsonb;
    v_queues  jsonb;
    v_finished jsonb;
    v_events  jsonb;
    v_wants   constant jsonb := (select coalesce(jsonb_agg(to_jsonb(w)), '[]') from tds.wants_counted() w);
begin
    with open as materialized (
        select o.* from tds.unfinished_events() o
    )
    select (select coalesce(jsonb_agg(jsonb_build_object('entity', o.entity, 'status', o.status, 'events', o.events)), '[]')
              from (select e.entity, e.status, sum(e.events) as events from open e group by e.entity, e.status) o),
           (select coalesce(jsonb_object_agg(q.queue, jsonb_build_object(
                       'depth', coalesce(w.events, 0),
                       'oldest_seconds', coalesce(round(extract(epoch from v_now - w.oldest), 3), 0))), '{}')
              from (select distinct n.queue from tds.entity n) q
              left join (select e.queue, sum(e.events) as events, min(e.oldest) filter (where e.status <> 'failed') as oldest
                           from open e group by e.queue) w on w.queue = q.queue)
      into v_open, v_queues;
    select jsonb_agg(jsonb_build_object('entity', f.entity, 'status', f.status, 'events', f.events)) into v_finished
      from (select c.entity, c.status, sum(c.events) as events
              from (select k.entity, k.status, k.events from tds.outcome_counter k
                     union all
                    select p.entity, p.status, p.events from tds.outcome_past p) c
             group by c.entity, c.status having sum(c.events) > 0) f;
    select jsonb_object_agg(s.status, s.events) into v_events
      from (select t.status, sum(t.events) as events
              from (select k.status, k.events from tds.outcome_counter k
                     union all
                    select o.value ->> 'status', (o.value ->> 'events')::bigint from jsonb_array_elements(v_open) o
                     union all
                    select 'dead_letter', count(*) from (select from tds.dead_letter_of_page d limit 50000) l having count(*) > 0) t
             group by t.status) s;
    return jsonb_build_object(
        'events', coalesce(v_events, '{}'), 'queues', v_queues, 'open', v_open, 'finished', coalesce(v_finished, '[]'),
        'dead_letters', (select coalesce(jsonb_object_agg(l.entity, l.letters), '{}')
                           from (select d.entity, count(*) as letters
                                   from (select k.entity from tds.dead_letter k where k.resolved_at is null limit 50000) d
                                  group by d.entity) l),
        'details', (select coalesce(jsonb_object_agg(w.value ->> 'entity', w.value -> 'wanted'), '{}')
                      from jsonb_array_elements(v_wants) w),
        'wants', v_wants,
        'runs', (select coalesce(jsonb_object_agg(r.state, r.runs), '{}')
                   from (select n.state, count(*) as runs from tds.run n where n.finished_at is null group by n.state) r),
        'delays', (select coalesce(jsonb_agg(to_jsonb(d)), '[]') from tds.delays_since(v_now - interval '1 hour') d));
end
$$;
revoke all on function tds.queue_metrics() from public;
comment on function tds.queue_metrics() is 'The part of tds.metrics() that is about events, dead letters, wanted details, pulls.';

create or replace function tds.wants_counted(out entity text, out wanted bigint, out failed bigint) returns setof record
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select d.entity, count(*), count(d.error)
      from (select w.entity, w.error from tds.wanted_detail w limit 50000) d group by d.entity;
end
$$;
revoke all on function tds.wants_counted() from public;
comment on function tds.wants_counted() is
'Details that are wanted, and those of them that Zoho was asked for in vain; 50,000 are counted.';

create or replace function tds.care_metrics() returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    -- as the exit codes of monitoring plugins
    v_codes  constant jsonb := '{"ok": 0, "warning": 1, "critical": 2, "unknown": 3}'::jsonb;
    v_health constant jsonb := tds.health_summary();
begin
    return jsonb_build_object(
        'health', case when v_health is null then '[]' else jsonb_build_array(jsonb_build_object(
            'state', v_codes -> (v_health ->> 'state'), 'looked_at', extract(epoch from (v_health ->> 'looked_at')::timestamptz))) end,
        'checks', (select coalesce(jsonb_agg(jsonb_build_object('check', s.check_name, 'area', c.area, 'unit', c.unit,
                                                                'state', v_codes -> s.state, 'value', s.value)
                                             order by s.check_name), '[]')
                     from tds.health_state s
                     join tds.health_check c on c.check_name = s.check_name),
        'jobs', (select coalesce(jsonb_agg(jsonb_build_object(
                            'job_name', j.job, 'enabled', j.enabled::int, 'running', (l.state = 'running')::int,
                            'failed', (coalesce(l.state in ('failed', 'lost'), false))::int,
                            'success_at', extract(epoch from d.started_at),
                            'seconds', extract(epoch from d.finished_at - d.started_at)) order by j.job), '[]')
                   from tds.job j
                   left join lateral (select r.state from tds.job_run r where r.job = j.job order by r.job_run_id desc limit 1) l on true
                   left join lateral (select r.started_at, r.finished_at from tds.job_run r
                                       where r.job = j.job and r.state = 'done' order by r.job_run_id desc limit 1) d on true),
        'programs', (select coalesce(jsonb_agg(jsonb_build_object('kind', k.kind, 'programs', coalesce(p.living, 0))), '[]')
                       from (select distinct g.kind from tds.program g where g.kind <> 'pg_cron') k
                       left join (select g.kind, count(*) as living from tds.program g
                                   where g.stopped_at is null
                                     and g.beat_at between v_now - interval '1 minute' and v_now + interval '1 minute'
                                   group by g.kind) p on p.kind = k.kind),
        'database', (select coalesce(jsonb_agg(jsonb_build_object('bytes', m.value)), '[]')
                       from (select k.value from tds.measure k where k.name = 'database_bytes' order by k.measured_at desc limit 1) m),
        'schema', (select coalesce(jsonb_agg(jsonb_build_object('migration', m.id, 'is', 1)), '[]')
                     from (select g.id from tds.migration g order by g.id desc limit 1) m));
end
$$;
revoke all on function tds.care_metrics() from public;
comment on function tds.care_metrics() is 'The part of tds.metrics() that is about checks, jobs, programs and the database.';

create or replace function tds.api_metrics() returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    return jsonb_build_object(
        'calls', (select coalesce(jsonb_object_agg(b.organization_id, jsonb_build_object(
                             'left_today', b.left_today, 'left_this_minute', b.left_this_minute,
                             'paused_seconds', coalesce(round(extract(epoch from b.paused_until - v_now), 3), 0))), '{}')
                    from public.tds_api_budget b),
        'limits', (select coalesce(jsonb_agg(jsonb_build_object('organization', b.organization_id, 'day_limit', b.day_limit)), '[]')
                     from tds.api_budget b),
        -- a counter that begins anew with each day (UTC)
        'spent', (select coalesce(jsonb_agg(jsonb_build_object('organization', s.organization_id, 'purpose', s.purpose,
                                                               'outcome', s.outcome, 'calls', s.calls)), '[]')
                    from (select k.organization_id, k.purpose, k.outcome, sum(k.calls) as calls from tds.api_spending k
                           where k.day = (v_now at time zone 'UTC')::date group by 1, 2, 3) s));
end
$$;
revoke all on function tds.api_metrics() from public;
comment on function tds.api_metrics() is 'The part of tds.metrics() that is about the calls of Zoho''s API.';
