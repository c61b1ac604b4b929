-- The charts of the dashboard.

create or replace function tds.consistency_series(since timestamptz, until timestamptz, step int)
returns table (label text, at timestamptz, value numeric)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with comparison as materialized (
        select 'Zoho''s reports' as label, r.finished_at, r.compared::bigint as compared, r.differing::bigint as differing
          from tds.reconcile_run r where r.finished_at <= consistency_series.until and r.compared > 0
         union all
        select case v.depth when 'inside' then 'stored documents' when 'lists' then 'Zoho''s lists' else 'Zoho''s details' end,
               v.finished_at, v.checked, least(v.differing, v.checked)
          from tds.verification v
         where v.finished_at <= consistency_series.until and v.state = 'done' and v.checked > 0 and v.zoho_ids is null
    ), before as (
        select c.label, max(c.finished_at) as finished_at from comparison c where c.finished_at <= consistency_series.since group by c.label
    ), stepped as (
        select c.label, greatest(to_timestamp(floor(extract(epoch from c.finished_at) / consistency_series.step)
                                              * consistency_series.step), consistency_series.since) as at,
               c.finished_at, c.compared, c.differing
          from comparison c
          left join before b on b.label = c.label
         -- what was equal before is so until somebody compares again
         where c.finished_at >= coalesce(b.finished_at, consistency_series.since)
    ), told as (
        select s.label, s.at, round(100.0 * (sum(s.compared) - sum(s.differing)) / sum(s.compared), 4) as value
          from stepped s group by s.label, s.at
    )
    select t.label, t.at, t.value from told t
     union all
    select l.label, n.at, l.value
      from (select distinct on (t.label) t.* from told t order by t.label, t.at desc) l
     cross join (select to_timestamp(floor(extract(epoch from consistency_series.until) / consistency_series.step)
                                     * consistency_series.step) as at) n
     where l.at < n.at;
end
$$;
revoke all on function tds.consistency_series(timestamptz, timestamptz, int) from public;
comment on function tds.consistency_series(timestamptz, timestamptz, int) is
'Per cent of what was compared that is equal, by what it was compared with: a value a step (seconds) in which a comparison ended, one '
'where the span begins and one where it ends, as the last comparison before said.';

create or replace function tds.series(span text default 'hour')
returns table (chart text, label text, at timestamptz, value numeric)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_step constant int := case series.span when 'hour' then 60 when 'day' then 900 when 'month' then 21600 end;
    v_from constant timestamptz := to_timestamp(floor(extract(epoch from v_now) / v_step) * v_step)
        - case series.span when 'hour' then interval '1 hour' when 'day' then interval '1 day' when 'month' then interval '30 days' end;
begin
    if v_step is null then
        raise exception using errcode = 'ZB010', message = 'no such span', detail = 'span: ' || coalesce(series.span, 'null'),
            hint = 'hour, day or month';
    end if;
    return query
    with taken as materialized (
        select s.* from tds.sample s where s.span_seconds = v_step and s.at >= v_from and s.at <= v_now
    ), counted as materialized (
        select k.chart, t.at, k.counts
          from taken t
         cross join lateral (values ('received', t.received), ('completed', t.completed)) k(chart, counts)
    ), ranked as (
        select c.chart, e.key as entity, row_number() over (partition by c.chart order by sum(e.value::bigint) desc, e.key) as place
          from counted c
         cross join lateral jsonb_each_text(c.counts) e
         group by c.chart, e.key
    ), labelled as materialized (
        select r.chart, case when r.place <= 5 then r.entity else 'others' end as label, array_agg(r.entity) as entities
          from ranked r group by 1, 2
    )
    select c.chart, l.label, c.at, (select coalesce(sum((c.counts ->> e.name)::bigint), 0) from unnest(l.entities) e(name))
      from counted c
      join labelled l on l.chart = c.chart
     union all
    select p.chart, p.label, t.at, p.value
      from taken t
     cross join lateral (values
            ('delay', 'average', round(t.delay_seconds / nullif(t.delay_events, 0), 3)),
            ('delay', 'oldest waiting', round(t.oldest_seconds, 3)),
            ('failures', 'dead letters', t.dead), ('failures', 'waiting for another try', t.parked),
            ('backlog', 'events', t.waiting),
            ('calls', 'calls', t.calls)) p(chart, label, value)
     union all
    select 'size', 'database', m.at, m.value
      from (select to_timestamp(floor(extract(epoch from e.measured_at) / greatest(v_step, 900)) * greatest(v_step, 900)) as at,
                   max(e.value) as value
              from tds.measure e
             where e.name = 'database_bytes' and e.measured_at >= v_from and e.measured_at <= v_now
             group by 1) m
     union all
    select 'consistency', c.label, c.at, c.value from tds.consistency_series(v_from, v_now, v_step) c;
end
$$;
revoke all on function tds.series(text) from public;
comment on function tds.series(text) is
'What the dashboard draws, over an hour by the minute, a day by quarters of an hour, or a month by six hours: events that came (received) '
'and were completed by entity, the busiest five by name; seconds from coming to the outcome (delay); dead letters and parked events '
'(failures); events waiting (backlog); calls of Zoho''s API; bytes of the database (size); '
'per cent that was equal (consistency). at: the beginning of the '
'step. Raises ZB010.';
grant execute on function tds.series(text) to tds_reader, tds_operator;

create or replace function tds.dashboard_charts(span text) returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_step constant int := case dashboard_charts.span when 'hour' then 60 when 'day' then 900 else 21600 end;
begin
    return (
        with points as materialized (select s.* from tds.series(dashboard_charts.span) s),
        lines as (
            select p.chart, p.label, sum(p.value) as total,
                   jsonb_agg(jsonb_build_array(extract(epoch from p.at)::bigint, p.value) order by p.at) as points
              from points p group by p.chart, p.label)
        select jsonb_build_object(
                   'at', v_now, 'span', dashboard_charts.span, 'step', v_step,
                   'to', extract(epoch from v_now)::bigint,
                   'from', (floor(extract(epoch from v_now) / v_step) * v_step)::bigint
                       - case dashboard_charts.span when 'hour' then 3600 when 'day' then 86400 else 2592000 end,
                   'charts', jsonb_agg(jsonb_build_object(
                       'name', c.name, 'title', c.title, 'unit', c.unit, 'what', c.what,
                       'query', format('select * from tds.series(%L) where chart = %L;', dashboard_charts.span, c.name),
                       'series', (select coalesce(jsonb_agg(jsonb_build_object(
                                                'label', l.label, 'points', l.points,
                                                'summed', l.chart in ('received', 'completed', 'calls') or l.label = 'dead letters')
                                                            order by l.label = 'others', l.total desc nulls last, l.label), '[]')
                                    from lines l where l.chart = c.name)) order by c.place))
          from (values
                (1, 'received', 'Events in', 'events', 'Events that came, by entity.'),
                (2, 'completed', 'Events applied', 'events', 'Events that were completed, by entity.'),
                (3, 'delay', 'Delay', 'seconds', 'How long events took from coming to their outcome, and how long the oldest waited.'),
                (4, 'failures', 'Failures', 'events', 'Dead letters that were made, and events that waited for another try.'),
                (5, 'backlog', 'Backlog', 'events', 'Events that waited to be processed, at most.'),
                (6, 'calls', 'API calls', 'calls', 'Calls of Zoho''s API.'),
                (7, 'size', 'Database size', 'bytes', 'Size of the database.'),
                (8, 'consistency', 'Consistency', '%', 'What is equal, of the figures compared with Zoho''s reports and of the '
                                                       'records compared with their documents, as the last comparison said.'))
               c(place, name, title, unit, what));
end
$$;
revoke all on function tds.dashboard_charts(text) from public;
comment on function tds.dashboard_charts(text) is
'The charts of the dashboard over an hour, a day or a month: tds.series() by chart and line, with titles and units; points are pairs of '
'seconds since 1970 and a value; summed: whether the values of the steps add up. Raises ZB010.';

grant execute on function
    tds.dashboard_verdict(), tds.dashboard_overview(), tds.dashboard_charts(text), tds.dashboard_entities(),
    tds.dashboard_dead(text, text, text, bigint, int), tds.dashboard_letter(bigint), tds.dashboard_record(text, text, int),
    tds.dashboard_runs(text, text, bigint, int), tds.dashboard_run(bigint), tds.dashboard_jobs(), tds.dashboard_health(),
    tds.dashboard_stock(int), tds.dashboard_names()
    to tds_receiver, tds_operator;
grant execute on function tds.api_replay(bigint, text, text), tds.api_want_job(text, text) to tds_receiver;
