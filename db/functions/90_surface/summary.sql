-- How it stands, counted once: what `tds status`, the dashboard and the metrics show is read here.

create or replace view public.tds_open_counts as
select o.queue, o.entity, count(*) as events, count(o.retry_at) as parked, min(o.received_at) as oldest,
       min(o.received_at) filter (where o.retry_at is null) as oldest_waiting
  from tds.inbox_open o
 group by o.queue, o.entity;
comment on view public.tds_open_counts is 'Events that are not finished, by queue and entity.';
comment on column public.tds_open_counts.queue is 'The queue they are in.';
comment on column public.tds_open_counts.entity is 'What they are about.';
comment on column public.tds_open_counts.events is 'How many.';
comment on column public.tds_open_counts.parked is 'How many of them failed and wait for another try.';
comment on column public.tds_open_counts.oldest is 'When the oldest came.';
comment on column public.tds_open_counts.oldest_waiting is 'When the oldest came that is not parked.';

create or replace view public.tds_detail_counts as
select d.entity, count(*) as wanted, count(d.error) as failed, min(d.wanted_at) as oldest, max(d.error) as last_error,
       d.organization_id
  from tds.wanted_detail d
 group by d.organization_id, d.entity;
comment on view public.tds_detail_counts is 'Details that are wanted of the API, by organisation and entity.';
comment on column public.tds_detail_counts.entity is 'What they are of.';
comment on column public.tds_detail_counts.wanted is 'How many.';
comment on column public.tds_detail_counts.failed is 'How many of them were asked for in vain.';
comment on column public.tds_detail_counts.oldest is 'Since when the oldest is wanted.';
comment on column public.tds_detail_counts.last_error is 'What one of the failed was answered.';
comment on column public.tds_detail_counts.organization_id is 'Zoho organisation.';

create or replace view public.tds_dead_letter_counts as
select l.entity, l.path, l.reason, count(*) as letters, max(l.dead_at) as newest, l.organization_id
  from tds.dead_letter l
 where l.resolved_at is null
 group by l.organization_id, l.entity, l.path, l.reason;
comment on view public.tds_dead_letter_counts is 'Dead letters that wait for somebody, by organisation and what is wrong.';
comment on column public.tds_dead_letter_counts.entity is 'What they are about.';
comment on column public.tds_dead_letter_counts.path is 'Path of the bad value in the record.';
comment on column public.tds_dead_letter_counts.reason is 'What is wrong with it.';
comment on column public.tds_dead_letter_counts.letters is 'How many.';
comment on column public.tds_dead_letter_counts.newest is 'When the newest was given up.';
comment on column public.tds_dead_letter_counts.organization_id is 'Zoho organisation; null: the body does not say.';

create or replace function tds.summary(at_most int default null) returns table (name text, title text, rows json)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select s.name, s.title, coalesce(s.rows, '[]')
      from (values
            (0, 'migration', 'Migration under way', (
                select json_agg(m order by m.organization_id)
                  from (select g.organization_id, g.calls_done, g.calls_to_do, g.progress, g.ends_at, g.waits_for, g.waits_until
                          from public.tds_migrations g where g.finished_at is null) m)),
            (1, 'queue', 'Events', (select json_agg(c order by c.status) from public.tds_queue_counts c)),
            (2, 'open', 'Events not finished', (
                select json_agg(o order by o.entity)
                  from (select c.entity, c.events, c.parked, c.oldest from public.tds_open_counts c) o)),
            (3, 'runs', 'Newest run of each list', (
                select json_agg(r order by r.entity, r.run_id)
                  from (select distinct on (n.organization_id, n.entity)
                               n.entity, n.run_id, n.state, n.pages, n.records, n.details, n.calls, n.started_at, n.finished_at, n.error,
                               n.organization_id
                          from tds.run n order by n.organization_id, n.entity, n.run_id desc) r)),
            (4, 'details', 'Details wanted', (select json_agg(d order by d.entity, d.organization_id) from public.tds_detail_counts d)),
            (5, 'dead', 'Dead letters', (
                select json_agg(d order by d.letters desc, d.entity, d.path, d.reason, d.organization_id)
                  from (select l.* from public.tds_dead_letter_counts l
                         order by l.letters desc, l.entity, l.path, l.reason, l.organization_id limit summary.at_most) d)),
            (6, 'held', 'Deletions held back', (
                select json_agg(h order by h.entity)
                  from (select d.entity, count(*) as held, min(d.absent_at) as first, max(d.proved_at) as last, d.organization_id
                          from public.tds_held_deletions d where d.state = 'held' group by d.organization_id, d.entity) h)),
            (7, 'calls', 'Calls of Zoho''s API', (
                select json_agg(b order by b.organization_id)
                  from (select a.organization_id, a.used_today, a.left_today, a.day_limit, a.day_resets_at, a.under_way, a.paused_until,
                        a.pause_reason
                          from public.tds_api_budget a) b)),
            (8, 'organisations', 'Organisations', (
                select json_agg(o order by o.organization_id)
                  from (select g.organization_id, g.name, g.state, coalesce(g.refused, g.pause_reason, g.state_reason) as trouble
                          from public.tds_organizations g) o)),
            (9, 'jobs', 'Jobs', (
                select json_agg(j order by j.job)
                  from (select n.job, n.schedule, n.state, n.runner, n.next_due_at, n.overdue, n.last_success_at, n.last_error
                          from public.tds_jobs n where n.enabled) j)),
            (10, 'workers', 'Workers', (select json_agg(w order by w.pid) from public.tds_workers w)),
            (11, 'processes', 'Processes', (
                select json_agg(p order by p.process)
                  from (select split_part(a.application_name, '/', 2) as process, count(*) as sessions
                          from pg_stat_activity a
                         where a.datname = current_database() and a.application_name like 'tds/%'
                         group by 1) p))) s(place, name, title, rows)
     order by s.place;
end
$$;
revoke all on function tds.summary(int) from public;
comment on function tds.summary(int) is
'How all stands, as tables: what tds status and the dashboard show. rows: an array of objects, their keys in the columns'' order. Counts, '
'names and states; no value of a record''s. at_most: so many kinds of dead letters, the most frequent; null: all.';
grant execute on function tds.summary(int) to tds_operator, tds_reader, tds_worker, tds_poller;
