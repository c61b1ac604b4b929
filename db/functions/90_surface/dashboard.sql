-- What the dashboard of the receiver shows: tables, the titles with them. Counts, names and states; no value of a record's.

create or replace function tds.dashboard() returns json
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return json_build_array(
        json_build_object('title', 'Events', 'rows', (
            select json_agg(json_build_object('status', c.status, 'events', c.events) order by c.status) from public.tds_queue_counts c)),
        json_build_object('title', 'Events not finished', 'rows', (
            select json_agg(json_build_object('entity', o.entity, 'events', o.events, 'parked', o.parked, 'oldest', o.oldest) order by o.entity)
              from (select p.entity, count(*) as events, count(p.retry_at) as parked, min(p.received_at) as oldest
                      from tds.inbox_open p group by p.entity) o)),
        json_build_object('title', 'Dead letters', 'rows', (
            select json_agg(json_build_object('entity', d.entity, 'path', d.path, 'reason', d.reason, 'letters', d.letters, 'newest', d.newest)
                             order by d.letters desc, d.entity, d.path, d.reason)
              from (select l.entity, l.path, l.reason, count(*) as letters, max(l.dead_at) as newest
                      from public.tds_dead_letter_queue l group by l.entity, l.path, l.reason
                     order by 4 desc, 1, 2, 3 limit 20) d)),
        json_build_object('title', 'Pulls, the newest', 'rows', (
            select json_agg(json_build_object('run', r.run_id, 'entity', r.entity, 'state', r.state, 'pages', r.pages, 'records', r.records,
                                               'details', r.details, 'calls', r.calls, 'started', r.started_at, 'finished', r.finished_at, 'error', r.error)
                             order by r.run_id desc)
              from (select n.* from tds.run n order by n.run_id desc limit 20) r)),
        json_build_object('title', 'Details wanted', 'rows', (
            select json_agg(json_build_object('entity', w.entity, 'wanted', w.wanted, 'failed', w.failed, 'oldest', w.oldest) order by w.entity)
              from (select d.entity, count(*) as wanted, count(d.error) as failed, min(d.wanted_at) as oldest
                      from tds.wanted_detail d group by d.entity) w)),
        json_build_object('title', 'Calls of Zoho''s API', 'rows', (
            select json_agg(json_build_object('organisation', b.organization_id, 'used today', b.used_today, 'left today', b.left_today,
                                               'of', b.day_limit, 'begins anew', b.day_resets_at, 'under way', b.under_way,
                                               'paused until', b.paused_until, 'why', b.pause_reason)
                             order by b.organization_id)
              from public.tds_api_budget b)),
        json_build_object('title', 'Jobs', 'rows', (
            select json_agg(json_build_object('job', j.job, 'schedule', j.schedule, 'state', j.state, 'runner', j.runner, 'next due', j.next_due_at,
                                               'overdue', j.overdue, 'last done', j.last_success_at, 'last error', j.last_error)
                             order by j.job)
              from public.tds_jobs j where j.enabled)),
        json_build_object('title', 'Processes', 'rows', (
            select json_agg(json_build_object('process', p.kind, 'sessions', p.sessions) order by p.kind)
              from (select split_part(a.application_name, '/', 2) as kind, count(*) as sessions
                      from pg_stat_activity a
                     where a.datname = current_database() and a.application_name like 'tds/%'
                     group by 1) p)));
end
$$;
revoke all on function tds.dashboard() from public;
comment on function tds.dashboard() is
'How all stands, as tables for people: an array of {title, rows}; rows: an array of objects, whose keys are in the columns'' order; null for none.';
grant execute on function tds.dashboard() to tds_receiver, tds_operator;
