-- What the dashboard of the receiver shows, a function a page; each is bounded: counters, limits, pages by key.

create or replace function tds.dashboard_queries()
returns table (page text, figure text, query text)
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select q.page, q.figure, q.query
      from (values
        ('overview', 'verdict', 'select * from tds.health_now() where state <> ''ok'';'),
        ('overview', 'events', 'select * from tds_queue_counts;'),
        ('overview', 'open', 'select * from tds_open_counts;'),
        ('overview', 'dead', 'select count(*) from tds_dead_letter_queue;'),
        ('overview', 'calls', 'select * from tds_api_budget;'),
        ('overview', 'migration', 'select * from tds_migrations;'),
        ('overview', 'runs', 'select * from tds_sync_runs where finished_at is null;'),
        ('overview', 'programs', 'select * from tds.program where stopped_at is null and beat_at > now() - interval ''7 days'';'),
        ('overview', 'slo', 'select * from tds_slo;'),
        ('overview', 'charts', 'select * from tds.series(''hour'');'),
        ('alerts', 'alerts', 'select * from tds_alerts where state <> ''resolved'' order by severity, since limit 100;'),
        ('alerts', 'resolved', 'select * from tds_alerts where state = ''resolved'' order by id desc limit 20;'),
        ('alerts', 'mutes', 'select * from tds.alert_mute where muted_until > now();'),
        ('alerts', 'messages', 'select * from tds.alert_delivery order by delivery_id desc limit 10;'),
        ('discrepancies', 'reports', 'select report, count(*), count(note) from tds_discrepancies group by report;'),
        ('discrepancies', 'discrepancies', 'select * from tds_discrepancies order by discrepancy_id desc limit 50;'),
        ('discrepancies', 'comparisons', 'select * from tds_consistency order by reconcile_id desc limit 10;'),
        ('verification', 'counts', 'select entity, count(*), min(since) from tds_differences group by entity;'),
        ('verification', 'differences', 'select * from tds_differences order by entity, organization_id, zoho_id limit 100;'),
        ('verification', 'verifications', 'select * from tds_verifications order by verification_id desc limit 10;'),
        ('entities', 'entities', 'select * from tds_entities;'),
        ('dead', 'counts', 'select * from tds_dead_letter_counts;'),
        ('dead', 'letters', 'select * from tds_dead_letter_queue order by dead_letter_id desc limit 50;'),
        ('runs', 'runs', 'select * from tds_sync_runs order by run_id desc limit 50;'),
        ('jobs', 'jobs', 'select * from tds_jobs;'),
        ('health', 'checks', 'select * from tds.health_now();'),
        ('health', 'healed', 'select * from tds_healed order by healed_at desc limit 20;'),
        ('stock', 'low', 'select * from tds_low_stock limit 100;'),
        ('stock', 'negative', 'select * from tds_negative_stock limit 100;'),
        ('stock', 'disagreements', 'select * from tds_stock_disagreements limit 100;')) q(page, figure, query)
$$;
revoke all on function tds.dashboard_queries() from public;
comment on function tds.dashboard_queries() is
'The SQL that gives each figure of the dashboard, by page: what it shows beside the figure.';

create or replace function tds.sql_of(page text) returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select jsonb_object_agg(q.figure, q.query) from tds.dashboard_queries() q where q.page = $1 $$;
revoke all on function tds.sql_of(text) from public;
comment on function tds.sql_of(text) is 'The queries of a page of the dashboard, by figure.';

create or replace function tds.dashboard_verdict() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    return (select jsonb_build_object(
                       'at', v_now,
                       'state', coalesce((array_agg(h.state order by h.place))[1], 'unknown'),
                       'alerts', (select count(*) from (select from tds.alert_now a where a.resolved_at is null and a.state = 'open'
                                                         limit 1000) o),
                       'checks', count(*), 'well', count(*) filter (where h.state = 'ok'),
                       'findings', coalesce(jsonb_agg(to_jsonb(h) - 'place' order by h.place, h.since, h.name)
                                            filter (where h.state <> 'ok'), '[]'))
              from (select n.*, array_position(array['critical', 'warning', 'unknown', 'ok'], n.state) as place
                      from tds.health_now() n) h);
end
$$;
revoke all on function tds.dashboard_verdict() from public;
comment on function tds.dashboard_verdict() is
'Whether all is well: the worst state, and what is not well with what to do, the worst first; how many alerts (of a thousand, at most) '
'nobody has seen to.';

create or replace function tds.time_for_calls(
    organization_id text, calls bigint, singles bigint, out minutes numeric, out days int, out ends_at timestamptz)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_budget public.tds_api_budget;
    v_pace   numeric;
    v_slow   numeric;
    v_today  int;
    v_a_day  int;
    v_whole  int;
    v_rest   bigint;
begin
    select b.* into v_budget from public.tds_api_budget b where b.organization_id = time_for_calls.organization_id;
    if v_budget is null then
        return;
    end if;
    v_pace := v_budget.calls_per_minute - floor(v_budget.calls_per_minute * tds.setting_int('api_reserve_percent') / 100.0);
    v_slow := least(v_pace, v_budget.details_per_minute);
    time_for_calls.minutes := round((time_for_calls.calls - time_for_calls.singles) / v_pace + time_for_calls.singles / v_slow, 1);
    v_today := greatest(0, v_budget.left_today - v_budget.kept_for_repair);
    v_a_day := greatest(1, v_budget.day_limit - v_budget.kept_for_repair);
    if v_budget.day_limit is null or v_budget.day_resets_at is null or time_for_calls.calls <= v_today then
        time_for_calls.days := 1;
        time_for_calls.ends_at := greatest(v_now, v_budget.paused_until)
            + make_interval(secs => (time_for_calls.minutes * v_budget.minute_seconds::numeric)::float8);
        return;
    end if;
    -- today's are made today, and the last day is not a whole one; single records come last
    v_whole := ceil((time_for_calls.calls - v_today)::numeric / v_a_day)::int - 1;
    v_rest := time_for_calls.calls - v_today - v_whole * v_a_day;
    time_for_calls.days := 1 + v_whole + (v_today > 0)::int;
    time_for_calls.ends_at := v_budget.day_resets_at + make_interval(secs => v_budget.minute_seconds
        * (1440 * v_whole + v_rest / case when time_for_calls.singles > 0 then v_slow else v_pace end)::float8);
end
$$;
revoke all on function tds.time_for_calls(text, bigint, bigint) from public;
comment on function tds.time_for_calls(text, bigint, bigint) is
'How long so many calls of an organisation take (singles: those of them for one record each): minutes of asking at the ceilings, days on '
'which that is, and when it ends if nothing else asks.';
grant execute on function tds.time_for_calls(text, bigint, bigint) to tds_operator, tds_reader;

create or replace view public.tds_migrations as
select f.organization_id, f.began_at, f.finished_at, r.lists_read, r.lists_under_way, n.lists, r.records, r.details_fetched,
       case when b.organization_id is not null then i.calls end as calls_left,
       round(m.done::numeric / nullif(m.done + m.to_do, 0), 3) as progress,
       case when f.finished_at is null then o.ends_at end as eta,
       case when f.finished_at is not null then null
            when s.wait = 'pause' then format('Zoho, until %s: %s', b.paused_until, b.pause_reason)
            when s.wait = 'day' then format('the day''s calls, which begin anew at %s', b.day_resets_at)
            when s.wait = 'nobody' then 'somebody who goes on with it: tds migrate, or tds poll for the details'
            when s.wait = 'minute' then case when b.left_this_minute = 0 then 'the minute''s calls'
                                             else 'the minute''s calls for single records' end
            when r.lists_read < n.lists then 'lists, page by page'
            when m.to_do > 0 then 'details, a call each or by the hundred'
            else 'the processing of what has come' end as waits_for,
       r.heartbeat_at, m.done as calls_done, m.to_do as calls_to_do, e.minutes as minutes_left, e.days as days_left, e.ends_at, s.wait,
       case s.wait when 'pause' then b.paused_until when 'day' then b.day_resets_at
                   when 'minute' then case when b.left_this_minute = 0 then a.oldest else a.oldest_single end
                                      + make_interval(secs => b.minute_seconds) end as waits_until,
       b.left_today as calls_left_today
  from tds.full_pull f
 cross join (select tds.now() as now) t
 cross join (select count(*)::int as lists from tds.entity e where e.api_path <> '') n
 cross join lateral (
       select count(*) filter (where d.listed_at is not null or d.state = 'complete')::int as lists_read,
              count(*) filter (where d.listed_at is null and d.finished_at is null)::int as lists_under_way,
              coalesce(sum(d.records), 0)::bigint as records,
              (coalesce(sum(d.details), 0) + (select coalesce(sum(x.value::bigint), 0) from jsonb_each_text(f.details) x))::bigint
                  as details_fetched,
              max(d.heartbeat_at) as heartbeat_at
         from (select distinct on (u.entity) u.* from tds.run u
                where u.organization_id = f.organization_id and u.started_at >= f.began_at
                order by u.entity, u.run_id desc) d) r
  -- of this organisation alone: there may be many
  left join lateral (select k.ends_at
                       from (select where f.finished_at is null offset 0) y
                      cross join public.tds_api_outlook k
                      where k.organization_id = f.organization_id offset 0) o on true
 cross join lateral (
       select coalesce(sum(case when y.bulk_detail_path is null then w.details else ceil(w.details / 100.0)::bigint end), 0)::bigint
                  as calls,
              coalesce(sum(w.details) filter (where y.bulk_detail_path is null), 0)::bigint as singles
         from (select d.entity, count(*) as details from tds.wanted_detail d
                where d.organization_id = f.organization_id group by d.entity) w
         join tds.entity y on y.entity = w.entity) i
  left join public.tds_api_budget b on b.organization_id = f.organization_id
 cross join lateral (
       select min(k.settled_at) as oldest, min(k.settled_at) filter (where tds.is_detail(k.endpoint)) as oldest_single,
              count(*) filter (where tds.is_detail(k.endpoint)) as singles
         from tds.api_call k
        where k.organization_id = f.organization_id
          and (k.settled_at is null or k.settled_at > t.now - make_interval(secs => b.minute_seconds))) a
 cross join lateral (
       select coalesce(sum(c.calls), 0)::bigint as calls, coalesce(sum(c.singles), 0)::bigint as singles
         from (select x.calls, x.singles from tds.calls_expected(f.organization_id) x where f.finished_at is null
                union all
               select i.calls, i.singles where f.finished_at is null) c) l
 cross join lateral (
       select greatest(0, coalesce((select sum(g.calls) from tds.api_spending g
                                     where g.organization_id = f.organization_id and g.purpose = 'migration'), 0)
                          - f.spent_before)::bigint as done, l.calls as to_do offset 0) m
 cross join lateral (
       select case when f.finished_at is not null then null
                   when b.paused_until is not null then 'pause'
                   when b.left_today <= b.kept_for_repair and b.day_limit is not null and m.to_do > 0 then 'day'
                   when coalesce(r.heartbeat_at, f.began_at) < t.now - interval '10 minutes'
                        and not exists (select from tds.api_call k where k.organization_id = f.organization_id
                                           and k.purpose = 'migration' and k.reserved_at > t.now - interval '10 minutes')
                        and not exists (
                            select from tds.program p where p.kind = 'poller' and p.stopped_at is null
                               and p.beat_at > t.now - interval '2 minutes') then 'nobody'
                   when b.left_this_minute = 0 or a.singles >= b.details_per_minute and l.singles = l.calls and l.calls > 0
                       then 'minute' end as wait) s
  left join lateral (select y.* from (select where f.finished_at is null offset 0) u
                      cross join tds.time_for_calls(f.organization_id, l.calls, l.singles) y) e on true;
comment on view public.tds_migrations is 'The newest migration of each organisation (tds migrate): how far it is, and what it waits for.';
comment on column public.tds_migrations.organization_id is 'Zoho organisation.';
comment on column public.tds_migrations.began_at is 'When it began.';
comment on column public.tds_migrations.finished_at is 'When it ended; null: it is under way.';
comment on column public.tds_migrations.lists_read is 'Lists that are read to their end.';
comment on column public.tds_migrations.lists_under_way is 'Lists that are being read.';
comment on column public.tds_migrations.lists is 'Lists there are.';
comment on column public.tds_migrations.records is 'Records in the pages read.';
comment on column public.tds_migrations.details_fetched is 'Details fetched.';
comment on column public.tds_migrations.calls_left is 'Calls that the wanted details still cost.';
comment on column public.tds_migrations.progress is
'Share that is done, 0 to 1, of the calls that are known to be needed; more become known as lists are read.';
comment on column public.tds_migrations.eta is 'When the details will be here, if today''s calls are enough; null: that is not known.';
comment on column public.tds_migrations.waits_for is 'What it is waiting for now.';
comment on column public.tds_migrations.heartbeat_at is 'When it last made progress.';
comment on column public.tds_migrations.calls_done is 'Calls it has cost so far, those before a stop included.';
comment on column public.tds_migrations.calls_to_do is
'Calls it still needs, as far as they are known: for pages, for details that are wanted, and for those of records that lists have.';
comment on column public.tds_migrations.minutes_left is 'Minutes of asking that they take at the ceilings; null: it has ended.';
comment on column public.tds_migrations.days_left is 'Days on which that is, today included; null: it has ended.';
comment on column public.tds_migrations.ends_at is 'When it ends if nothing else asks, pauses for the day''s quota included.';
comment on column public.tds_migrations.wait is
'What keeps it waiting: minute, day (their calls are used up), pause (Zoho refuses), nobody (no program works on it); null: nothing.';
comment on column public.tds_migrations.waits_until is 'Until when; null: it does not wait, or for somebody.';
comment on column public.tds_migrations.calls_left_today is 'Calls left of the day''s quota; null: not known.';

create or replace function tds.migration_now(organization_id text) returns setof public.tds_migrations
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query select m.* from public.tds_migrations m where m.organization_id = migration_now.organization_id;
end
$$;
revoke all on function tds.migration_now(text) from public;
comment on function tds.migration_now(text) is 'How an organisation''s newest migration stands; for who shows its progress.';
grant execute on function tds.migration_now(text) to tds_poller, tds_operator, tds_reader;

create or replace view public.tds_entities as
select n.entity, c.rows, c.deleted, c.estimated, c.counted_at, c.changed_at,
       coalesce(o.waiting, 0) as waiting, coalesce(o.parked, 0) as parked, coalesce(w.wanted, 0) as wanted,
       coalesce(w.failed, 0) as wants_failed, coalesce(d.dead, 0) as dead,
       p.run_id as last_pull, p.state as last_pull_state, p.finished_at as last_pull_at
  from tds.entity n
  left join tds.mirror_count c on c.entity = n.entity
  left join (select t.entity, sum(t.events - t.parked)::bigint as waiting, sum(t.parked)::bigint as parked
               from public.tds_open_counts t group by t.entity) o on o.entity = n.entity
  left join (select t.entity, sum(t.wanted)::bigint as wanted, sum(t.failed)::bigint as failed
               from public.tds_detail_counts t group by t.entity) w on w.entity = n.entity
  left join (select l.entity, count(*) as dead from tds.dead_letter l where l.resolved_at is null group by l.entity) d
         on d.entity = n.entity
  left join (select distinct on (t.entity) t.entity, t.run_id, t.state, t.finished_at from tds.run t
              where t.finished_at is not null order by t.entity, t.run_id desc) p on p.entity = n.entity;
comment on view public.tds_entities is 'The mirror by entity: its rows, its last change and pull, and what is still to be done.';
comment on column public.tds_entities.entity is 'The entity.';
comment on column public.tds_entities.rows is 'Rows, those deleted in Zoho included, as counted at counted_at; null: not counted yet.';
comment on column public.tds_entities.deleted is 'How many of them are deleted in Zoho; null where rows is an estimate.';
comment on column public.tds_entities.estimated is 'Whether rows is the server''s estimate.';
comment on column public.tds_entities.counted_at is 'When they were counted.';
comment on column public.tds_entities.changed_at is 'When one last changed, to the minute; null: not since it is noted.';
comment on column public.tds_entities.waiting is 'Events that wait to be processed.';
comment on column public.tds_entities.parked is 'Events that failed and wait for another try.';
comment on column public.tds_entities.wanted is 'Details that are wanted of the API.';
comment on column public.tds_entities.wants_failed is 'How many of them were asked for in vain.';
comment on column public.tds_entities.dead is 'Dead letters that wait for somebody.';
comment on column public.tds_entities.last_pull is 'The newest pull that has ended.';
comment on column public.tds_entities.last_pull_state is 'How it ended.';
comment on column public.tds_entities.last_pull_at is 'When it ended.';

create or replace function tds.dashboard_overview() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    return jsonb_build_object(
        'at', v_now, 'sql', tds.sql_of('overview'),
        'events', '{"pending": 0, "processing": 0, "failed": 0, "completed": 0, "dead_letter": 0}'
                  || (select coalesce(jsonb_object_agg(c.status, c.events), '{}') from public.tds_queue_counts c),
        'oldest_seconds', (select round(extract(epoch from v_now - min(o.oldest_waiting))) from public.tds_open_counts o),
        'dead', (select count(*) from tds.dead_letter d where d.resolved_at is null),
        'wanted', (select coalesce(sum(d.wanted), 0) from public.tds_detail_counts d),
        'calls', (select coalesce(jsonb_agg(to_jsonb(b) order by b.organization_id), '[]') from public.tds_api_budget b),
        -- one screen of them, those under way first
        'migrations', (select coalesce(jsonb_agg(to_jsonb(m) order by m.organization_id), '[]')
                         from (select f.organization_id from tds.full_pull f
                                where f.finished_at is null or f.finished_at > v_now - interval '1 hour'
                                order by f.finished_at desc nulls first, f.began_at, f.organization_id
                                limit 20) k
                        cross join lateral tds.migration_now(k.organization_id) m),
        'runs', (select coalesce(jsonb_agg(to_jsonb(r) order by r.run_id desc), '[]')
                   from (select s.* from public.tds_sync_runs s where s.finished_at is null order by s.run_id desc limit 20) r),
        'slo', (select jsonb_agg(to_jsonb(s)) from public.tds_slo s),
        'programs', (select coalesce(jsonb_agg(p order by p.kind), '[]')
                       from (select g.kind, count(*) filter (where g.stopped_at is null
                                                     and g.beat_at > v_now - interval '1 minute') as living,
                                    max(g.beat_at) as beat_at
                               from tds.program g where g.kind <> 'pg_cron' group by g.kind) p));
end
$$;
revoke all on function tds.dashboard_overview() from public;
comment on function tds.dashboard_overview() is
'The first page of the dashboard, without verdict and charts: counts, calls, migrations, open runs, objectives, programs.';

create or replace function tds.dashboard_entities() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return jsonb_build_object(
        'at', tds.now(), 'sql', tds.sql_of('entities'),
        'entities', (select jsonb_agg(to_jsonb(e) || jsonb_build_object('pulled', n.api_path <> '') order by n.priority, n.entity)
                       from public.tds_entities e join tds.entity n on n.entity = e.entity));
end
$$;
revoke all on function tds.dashboard_entities() from public;
comment on function tds.dashboard_entities() is 'The page of the entities: tds_entities, in the order they are worked in.';

create or replace function tds.dashboard_runs(state text, entity text, before bigint, at_most int default 30) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return jsonb_build_object(
        'at', tds.now(), 'sql', tds.sql_of('runs'),
        'runs', tds.api_runs(dashboard_runs.state, dashboard_runs.entity, dashboard_runs.before, least(dashboard_runs.at_most, 100)),
        'entities', (select jsonb_agg(n.entity order by n.priority, n.entity) from tds.entity n where n.api_path <> ''));
end
$$;
revoke all on function tds.dashboard_runs(text, text, bigint, int) from public;
comment on function tds.dashboard_runs(text, text, bigint, int) is
'The page of the runs, newest first: of a state, of an entity, older than a run; null: any.';

create or replace function tds.dashboard_run(run_id bigint) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return jsonb_build_object('at', tds.now(), 'run', tds.api_run(dashboard_run.run_id),
        'sql', jsonb_build_object('run', format('select * from tds_sync_runs where run_id = %s;', dashboard_run.run_id)));
end
$$;
revoke all on function tds.dashboard_run(bigint) from public;
comment on function tds.dashboard_run(bigint) is 'The page of one run. Raises ZB012.';

create or replace function tds.dashboard_jobs() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return jsonb_build_object(
        'at', tds.now(), 'sql', tds.sql_of('jobs'),
        'jobs', (select coalesce(jsonb_agg(to_jsonb(v) || jsonb_build_object(
                            'wanted_at', j.wanted_at, 'wanted_by', j.wanted_by,
                            'last_seconds', round(extract(epoch from v.last_duration), 3)) order by v.job), '[]')
                   from public.tds_jobs v join tds.job j on j.job = v.job));
end
$$;
revoke all on function tds.dashboard_jobs() from public;
comment on function tds.dashboard_jobs() is 'The page of the jobs: tds_jobs, and which of them somebody wants out of their turn.';

create or replace function tds.dashboard_health() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return jsonb_build_object(
        'at', tds.now(), 'sql', tds.sql_of('health'),
        'checks', (select jsonb_agg(to_jsonb(h) || jsonb_build_object('meaning', c.meaning)
                                    order by h.area, array_position(array['critical', 'warning', 'unknown', 'ok'], h.state), h.name)
                     from tds.health_now() h join tds.health_check c on c.check_name = h.name),
        'healed', (select coalesce(jsonb_agg(to_jsonb(l) order by l.healed_at desc, l.heal_id desc), '[]')
                     from (select g.* from tds.heal_log g order by g.heal_id desc limit 20) l));
end
$$;
revoke all on function tds.dashboard_health() from public;
comment on function tds.dashboard_health() is 'The page of the health: every check, and what was healed last.';

create or replace function tds.dashboard_stock(at_most int default 100) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_most constant int := least(dashboard_stock.at_most, 500);
begin
    return jsonb_build_object(
        'at', tds.now(), 'sql', tds.sql_of('stock'), 'most', v_most,
        'low', (select coalesce(jsonb_agg(to_jsonb(l) order by l.name, l.zoho_item_id), '[]')
                  from (select v.* from public.tds_low_stock v limit v_most) l),
        'negative', (select coalesce(jsonb_agg(to_jsonb(l) order by l.quantity, l.zoho_item_id), '[]')
                       from (select v.* from public.tds_negative_stock v limit v_most) l),
        'disagreements', (select coalesce(jsonb_agg(to_jsonb(l) order by l.name, l.zoho_item_id), '[]')
                            from (select v.* from public.tds_stock_disagreements v limit v_most) l));
end
$$;
revoke all on function tds.dashboard_stock(int) from public;
comment on function tds.dashboard_stock(int) is
'The page of the stock: low, negative, and where the places do not add up; so many of each at most.';
