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

create or replace function tds.metrics() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    -- counters and small tables only: as cheap after years as on the first day
    return jsonb_build_object(
        'events', (select coalesce(jsonb_object_agg(c.status, c.events), '{}') from public.tds_queue_counts c),
        'queues', (select coalesce(jsonb_object_agg(q.queue, jsonb_build_object(
                              'depth', coalesce(o.events, 0), 'oldest_seconds',
                                  coalesce(round(extract(epoch from v_now - o.oldest), 3), 0))), '{}')
                     from (select distinct n.queue from tds.entity n) q
                     left join (select c.queue, sum(c.events)::bigint as events, min(c.oldest_waiting) as oldest
                                  from public.tds_open_counts c group by c.queue) o on o.queue = q.queue),
        'dead_letters', (select coalesce(jsonb_object_agg(d.entity, d.letters), '{}')
                           from (select c.entity, sum(c.letters)::bigint as letters from public.tds_dead_letter_counts c
                                 group by c.entity) d),
        'details', (select coalesce(jsonb_object_agg(c.entity, c.wanted), '{}') from public.tds_detail_counts c),
        'runs', (select coalesce(jsonb_object_agg(r.state, r.runs), '{}')
                   from (select n.state, count(*) as runs from tds.run n where n.finished_at is null group by n.state) r),
        'calls', (select coalesce(jsonb_object_agg(b.organization_id, jsonb_build_object(
                             'left_today', b.left_today, 'left_this_minute', b.left_this_minute,
                             'paused_seconds', coalesce(round(extract(epoch from b.paused_until - v_now), 3), 0))), '{}')
                    from public.tds_api_budget b));
end
$$;
revoke all on function tds.metrics() from public;
comment on function tds.metrics() is
'How it stands, for Prometheus: events by status; depth and age of the oldest unprocessed event by queue; dead letters and wanted details '
'by entity; open runs by state; calls of the API that are left, by organisation.';
