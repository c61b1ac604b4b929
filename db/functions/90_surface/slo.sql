-- Whether what users were promised is kept, over thirty days, from the series that the job health keeps.

create or replace function tds.uptime(
    since timestamptz, at timestamptz,
    out share numeric, out worst numeric, out worst_at timestamptz, out looks bigint, out first_at timestamptz)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    -- seconds between two looks; of a pause that is longer, nobody knows but that nobody could look
    v_every constant numeric := 60 * greatest(15, coalesce((select (s.value ->> 'minutes')::numeric from tds.setting s
                                                             where s.name = 'health_receiver'), 15));
    v_late  constant numeric := 2 * v_every + tds.setting_int('job_grace_seconds');
begin
    with looks as (
        select r.looked_at, r.value, extract(epoch from r.looked_at - lag(r.looked_at) over (order by r.looked_at)) as pause
          from tds.health_result r
         where r.check_name = 'receiver' and r.looked_at > uptime.since and r.looked_at <= uptime.at
    ), ends as (
        select l.looked_at, l.value, l.pause from looks l
         union all
        select uptime.at, 0, extract(epoch from uptime.at - max(l.looked_at)) from looks l
    ), downs as (
        select e.looked_at, case when e.pause > v_late then e.pause - v_every
                                 when e.value is null then e.pause
                                 when e.value >= 60 then least(e.value, e.pause) else 0 end as seconds
          from ends e where e.pause is not null
    ), days as (
        select date_trunc('day', d.looked_at) as day, sum(d.seconds) as seconds from downs d group by 1
    )
    select round(100 * (1 - (select sum(d.seconds) from days d) / nullif(extract(epoch from uptime.at - min(l.looked_at)), 0)), 3),
           (select round(greatest(0, 100 * (1 - max(d.seconds) / 86400)), 3) from days d having count(*) > 0),
           (select d.day from days d order by d.seconds desc, d.day limit 1), count(*), min(l.looked_at)
      into uptime.share, uptime.worst, uptime.worst_at, uptime.looks, uptime.first_at
      from looks l;
end
$$;
revoke all on function tds.uptime(timestamptz, timestamptz) from public;
comment on function tds.uptime(timestamptz, timestamptz) is
'Of the time between the first look at the receiver in that span and its end, the share (%) in which it reached the database by the way it '
'stores webhooks; of the worst day, too. A pause between looks that is longer than two of them counts as down: nobody could look.';

create or replace function tds.slo(days int default 30)
returns table (objective text, value numeric, unit text, target numeric, met boolean, worst numeric, worst_at timestamptz,
               measured bigint, since timestamptz, meaning text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now     constant timestamptz := tds.now();
    v_since   constant timestamptz := v_now - make_interval(days => slo.days);
    v_hour    constant timestamptz := date_trunc('hour', v_since);
    v_day     constant date := (v_since at time zone 'UTC')::date;
    v_targets constant jsonb := (select s.value from tds.setting s where s.name = 'slo_targets');
begin
    return query
    with buckets as materialized (
        select d.hour, d.under, sum(d.events) as events, sum(d.seconds) as seconds
          from tds.delay d where d.hour >= v_hour group by d.hour, d.under
    ), hours as materialized (
        select b.hour, sum(b.events) as events, sum(b.seconds) as seconds, sum(b.seconds) / sum(b.events) as average
          from buckets b group by b.hour
    ), sums as (
        select min(h.hour) as since, sum(h.events)::bigint as events, round(sum(h.seconds) / sum(h.events), 3) as average,
               round(max(h.average), 3) as worst, (array_agg(h.hour order by h.average desc, h.hour))[1] as worst_at
          from hours h
    ), looks as (
        select r.looked_at, r.value from tds.health_result r
         where r.check_name = 'queue_pending' and r.looked_at > v_since and r.looked_at <= v_now and r.value is not null
    ), outcomes as (
        select c.day, sum(c.events) as events, coalesce(sum(c.events) filter (where c.status = 'dead_letter'), 0) as dead
          from tds.outcome_counter c where c.day >= v_day group by c.day
    ), objectives (place, objective, unit, value, worst, worst_at, measured, since, meaning) as (
        select 1, 'delay_average', 'seconds', s.average, s.worst, s.worst_at, s.events, s.since,
               'From the webhook until its outcome is written, on average; worst: the worst hour.'
          from sums s
         union all
        select 2, 'delay_p99', 'seconds', (select tds.quantile_of(0.99, array_agg(b.under), array_agg(b.events)) from buckets b),
               null, null, s.events, s.since, 'What 99 of 100 webhooks took at most.'
          from sums s
         union all
        select 3, 'backlog', 'events', round(avg(l.value), 1), max(l.value),
               (array_agg(l.looked_at order by l.value desc, l.looked_at))[1], count(*), min(l.looked_at),
               'Events that wait or are in work, on average of the looks; worst: the most.'
          from looks l
         union all
        select 4, 'failed_share', '%', round(100 * sum(o.dead) / nullif(sum(o.events), 0), 3), round(max(100 * o.dead / o.events), 3),
               (array_agg(o.day order by o.dead / o.events desc, o.day))[1]::timestamp at time zone 'UTC', sum(o.events)::bigint,
               min(o.day)::timestamp at time zone 'UTC',
               'Events of which nothing could be used, of all that were finished; worst: the worst day.'
          from outcomes o where o.events > 0
         union all
        select 5, 'uptime', '%', u.share, u.worst, u.worst_at, u.looks, u.first_at,
               'Time in which the receiver could store webhooks and somebody could look; worst: the worst day.'
          from tds.uptime(v_since, v_now) u
    )
    select o.objective, o.value, o.unit, t.target,
           case when o.objective = 'uptime' then o.value >= t.target else o.value < t.target end,
           o.worst, o.worst_at, coalesce(o.measured, 0), o.since, o.meaning
      from objectives o
     cross join lateral (select (v_targets ->> o.objective)::numeric as target) t
     order by o.place;
end
$$;
revoke all on function tds.slo(int) from public;
comment on function tds.slo(int) is 'What tds_slo shows, over so many days.';
grant execute on function tds.slo(int), tds.uptime(timestamptz, timestamptz) to tds_reader, tds_operator;

create or replace view public.tds_slo as
select s.objective, s.value, s.unit, s.target, s.met, s.worst, s.worst_at, s.measured, s.since, s.meaning from tds.slo() s;
comment on view public.tds_slo is
'What users were promised and what thirty days brought: delay, backlog, share of failures, uptime. From series and counters: as fast '
'with a long history as with none.';
comment on column public.tds_slo.objective is 'delay_average, delay_p99, backlog, failed_share, uptime.';
comment on column public.tds_slo.value is 'What thirty days brought; null: nothing was measured yet.';
comment on column public.tds_slo.unit is 'Unit of value, target and worst.';
comment on column public.tds_slo.target is
'What was promised: uptime at least so much, all else less. The setting slo_targets; null: nothing.';
comment on column public.tds_slo.met is 'Whether it is kept; null where nothing was promised or measured.';
comment on column public.tds_slo.worst is 'The worst hour, look or day of them; meaning says which.';
comment on column public.tds_slo.worst_at is 'When that was.';
comment on column public.tds_slo.measured is 'From how many webhooks, looks or events that is known.';
comment on column public.tds_slo.since is 'Since when it has been measured, within the thirty days.';
comment on column public.tds_slo.meaning is 'What it is.';

-- tds.slo() runs with the rights of whoever looks at the view
grant execute on function tds.uptime(timestamptz, timestamptz), tds.setting_int(text) to tds_reader, tds_operator;

insert into tds.setting (name, value, description) values
    ('slo_targets', '{"delay_average": 30, "backlog": 20, "failed_share": 1, "uptime": 99.9}',
     'What tds_slo is held against: seconds on average, events, % of events, % of the time.')
on conflict on constraint setting_pkey do nothing;
