-- The frame of the checks. One more check is a function tds.check_<name>(at timestamptz) returns tds.finding (or tds.check_<name>(), where
-- it
-- needs no clock), which changes nothing, and one call of tds.register_check(); see checks_*.sql.

create or replace function tds.register_check(
    check_name text, area text, unit text, warning numeric, critical numeric, minutes int, meaning text, next_step text,
    lower_is_worse boolean default false, function_name text default null) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name constant text := coalesce(register_check.function_name, 'check_' || register_check.check_name);
begin
    insert into tds.health_check as c (check_name, area, function_name, unit, lower_is_worse, meaning, next_step)
    values (register_check.check_name, register_check.area,
            coalesce(to_regprocedure(format('tds.%I(timestamptz)', v_name)), to_regprocedure(format('tds.%I()', v_name)))::text,
            register_check.unit, register_check.lower_is_worse, register_check.meaning, register_check.next_step)
    on conflict on constraint health_check_pkey do update
       set area = excluded.area, function_name = excluded.function_name, unit = excluded.unit, lower_is_worse = excluded.lower_is_worse,
           meaning = excluded.meaning, next_step = excluded.next_step;
    insert into tds.setting (name, value, description)
    values ('health_' || register_check.check_name,
            jsonb_build_object('warning', register_check.warning, 'critical', register_check.critical, 'minutes', register_check.minutes),
            format('Check %s: %s Thresholds in %s (null: none), and after how many minutes it is looked at again.',
                   register_check.check_name, register_check.meaning, register_check.unit))
    on conflict on constraint setting_pkey do update set description = excluded.description;
end
$$;
revoke all on function tds.register_check(text, text, text, numeric, numeric, int, text, text, boolean, text) from public;
comment on function tds.register_check(text, text, text, numeric, numeric, int, text, text, boolean, text) is
'Enters a check: its function is tds.check_<name>(at timestamptz) or tds.check_<name>() unless another is named, and has to be there. The '
'thresholds are given to a new one only; afterwards they are the operator''s: update tds.setting set value = value || ''{"warning": 100}'' '
'where name = ''health_<check>''.';

create or replace function tds.look_at(
    looked tds.health_check, at timestamptz,
    out state text, out value numeric, out threshold numeric, out told text, out since timestamptz)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_setting  constant jsonb := (select s.value from tds.setting s where s.name = 'health_' || (look_at.looked).check_name);
    v_sign     constant int := case when (look_at.looked).lower_is_worse then -1 else 1 end;
    v_known    tds.health_state;
    v_warning  numeric;
    v_critical numeric;
    v_function regprocedure;
    v_found    jsonb;
begin
    begin
        -- not before: one that somebody has dropped, or that a restore has not brought along, is its own check's failure
        v_function := (look_at.looked).function_name::regprocedure;
        v_warning := (v_setting ->> 'warning')::numeric;
        v_critical := (v_setting ->> 'critical')::numeric;
        execute format('select to_jsonb(%s(%s))', v_function::regproc, case when v_function::text like '%()' then '' else '$1' end)
           into v_found using look_at.at;
        look_at.value := (v_found ->> 'value')::numeric;
        look_at.state := case when v_sign * look_at.value >= v_sign * v_critical then 'critical'
                              when v_sign * look_at.value >= v_sign * v_warning then 'warning' else 'ok' end;
        look_at.threshold := case when look_at.state = 'critical' then v_critical else coalesce(v_warning, v_critical) end;
        look_at.told := coalesce(v_found ->> 'told', '');
    exception when query_canceled or assert_failure or others then
        -- a check that fails says so of itself, and nothing of the others
        look_at.state := 'unknown';
        look_at.value := null;
        look_at.threshold := coalesce(v_warning, v_critical);
        v_found := null;
        look_at.told := format('the check failed: %s %s', sqlstate, sqlerrm);
    end;
    select s.* into v_known from tds.health_state s where s.check_name = (look_at.looked).check_name;
    look_at.since := case when v_known.state = look_at.state and v_known.since <= look_at.at then v_known.since
                          when look_at.state in ('warning', 'critical') then least((v_found ->> 'since')::timestamptz, look_at.at)
                          else look_at.at end;
end
$$;
revoke all on function tds.look_at(tds.health_check, timestamptz) from public;
comment on function tds.look_at(tds.health_check, timestamptz) is 'What a check says now. One that raises is unknown, with its error.';

create or replace function tds.health()
returns table (name text, state text, value numeric, unit text, threshold numeric, since timestamptz, told text, next_step text, area text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
set jit = off
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    return query
    select c.check_name, l.state, l.value, c.unit, l.threshold, l.since, l.told,
           case when l.state = 'unknown' then 'mend what the error names; it comes from ' || c.function_name
                when l.state <> 'ok' then c.next_step else '' end,
           c.area
      from (select k.* from tds.health_check k order by k.area, k.check_name offset 0) c
     cross join lateral tds.look_at(c, v_now) l
     order by array_position(array['critical', 'warning', 'unknown', 'ok'], l.state), c.area, c.check_name;
end
$$;
revoke all on function tds.health() from public;
comment on function tds.health() is
'How all stands, now: a row a check, the worst first. state: ok, warning, critical, or unknown (the check itself failed); value in unit; '
'threshold: the one crossed, or the first to be; since when; what there is to say; what to do. Thresholds: tds.setting, health_<name>. '
'Changes nothing; the job health keeps what was said (tds.health_result).';

create or replace function tds.health_now()
returns table (name text, state text, value numeric, unit text, threshold numeric, since timestamptz, told text, next_step text, area text,
               looked_at timestamptz)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
set jit = off
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    return query
    select c.check_name, s.state, s.value, c.unit, s.threshold, s.since, s.told,
           case when s.state = 'unknown' then 'start a worker, which looks every 15 minutes: tds work; or tds health, which looks now'
                when s.state <> 'ok' then c.next_step else '' end,
           c.area, s.looked_at
      from (select k.*, k.area in ('services', 'queue', 'errors') as at_once
              from tds.health_check k order by k.area, k.check_name offset 0) c
     cross join lateral (
            select l.state, l.value, l.threshold, l.since, l.told, v_now as looked_at
              from (select c.check_name, c.area, c.function_name, c.unit, c.lower_is_worse, c.meaning, c.next_step) k
             cross join lateral tds.look_at(row(k.*)::tds.health_check, v_now) l
             where c.at_once
             union all
            select case when h.looked_at between v_now - interval '2 hours 5 minutes' and v_now + interval '5 minutes' then h.state
                        else 'unknown' end,
                   h.value, h.threshold, coalesce(h.since, v_now),
                   case when h.looked_at is null then 'nobody has looked yet'
                        when h.looked_at between v_now - interval '2 hours 5 minutes' and v_now + interval '5 minutes' then h.told
                        else concat_ws(': ', format('last looked at %s', h.looked_at), nullif(h.told, '')) end,
                   h.looked_at
              from (select) o left join tds.health_state h on h.check_name = c.check_name
             where not c.at_once) s
     order by array_position(array['critical', 'warning', 'unknown', 'ok'], s.state), c.area, c.check_name;
end
$$;
revoke all on function tds.health_now() from public;
comment on function tds.health_now() is
'tds.health() for whoever looks every few seconds: services, queue and errors are looked at now, all else as the job health last saw it '
'(looked_at); unknown where that is longer ago than two hours.';

create or replace function tds.look_at_checks(names text[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    with looked as materialized (
        select c.check_name, l.*
          from (select k.* from tds.health_check k where k.check_name = any (look_at_checks.names) order by k.check_name offset 0) c
         cross join lateral tds.look_at(c, look_at_checks.at) l
    ), kept as (
        insert into tds.health_result (looked_at, check_name, state, value, told)
        select look_at_checks.at, l.check_name, l.state, l.value, case when l.state <> 'ok' then left(l.told, 1000) end
          from looked l order by l.check_name
        on conflict on constraint health_result_pkey do nothing
    )
    insert into tds.health_state as s (check_name, state, value, threshold, told, since, looked_at)
    select l.check_name, l.state, l.value, l.threshold, left(l.told, 1000), l.since, look_at_checks.at from looked l order by l.check_name
    on conflict on constraint health_state_pkey do update
       set state = excluded.state, value = excluded.value, threshold = excluded.threshold, told = excluded.told, since = excluded.since,
           looked_at = excluded.looked_at;
end
$$;
revoke all on function tds.look_at_checks(text[], timestamptz) from public;
comment on function tds.look_at_checks(text[], timestamptz) is 'Looks at these checks and keeps what they say.';

create or replace function tds.observe_health() returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
set jit = off
as $$
declare
    v_now      constant timestamptz := tds.now();
    v_audience text;
    v_code     text;
    v_error    text;
    v_context  text;
begin
    perform tds.count_arrivals();
    perform tds.count_delays();
    perform tds.take_measures(v_now);
    perform tds.look_at_checks(array(
        select c.check_name
          from tds.health_check c
          left join tds.health_state s on s.check_name = c.check_name
          left join tds.setting t on t.name = 'health_' || c.check_name
         -- half a minute less, for jobs are not punctual; what was looked at in the future was not
         where s.looked_at is null or s.looked_at > v_now
            or s.looked_at <= v_now - make_interval(mins => coalesce((t.value ->> 'minutes')::int, 15)) + interval '30 seconds'), v_now);
    -- what hinders those of business costs operations nothing: they are told why
    foreach v_audience in array array['operations', 'business'] loop
        begin
            perform tds.raise_alerts(array[v_audience]);
            delete from tds.set_aside s where s.job = 'health' and s.item = 'alerts of ' || v_audience;
        exception when query_canceled or assert_failure or others then
            -- what was seen is kept all the same
            get stacked diagnostics v_code = returned_sqlstate, v_error = message_text, v_context = pg_exception_context;
            perform tds.set_aside('health', 'alerts of ' || v_audience, v_code, v_error, v_context, v_now);
        end;
    end loop;
    return tds.health_summary() ->> 'state';
end
$$;
revoke all on function tds.observe_health() from public;
comment on function tds.observe_health() is
'Looks at all that is due to be looked at and keeps what it finds, in tds.health_state and as a series in tds.health_result; opens and '
'resolves alerts by it (tds.raise_alerts()); returns the worst state.';

create or replace function tds.health_summary() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    -- two looks missed, and what a job may be late
    v_stale constant interval := make_interval(secs => 2 * 900 + tds.setting_int('job_grace_seconds'));
    v_all   record;
begin
    select max(s.looked_at) as looked_at, count(*) as checks,
           coalesce(array_agg(s.check_name order by s.check_name) filter (where s.state = 'critical'), '{}') as critical,
           coalesce(array_agg(s.check_name order by s.check_name) filter (where s.state = 'warning'), '{}') as warning,
           coalesce(array_agg(s.check_name order by s.check_name) filter (where s.state = 'unknown'), '{}') as unknown
      into v_all
      from tds.health_state s;
    if v_all.looked_at is null then
        return null;
    end if;
    return jsonb_build_object(
        'state', case when v_all.critical <> '{}' then 'critical'
                      when v_all.looked_at not between v_now - v_stale and v_now + v_stale then 'unknown'
                      when v_all.warning <> '{}' then 'warning'
                      when v_all.unknown <> '{}' then 'unknown' else 'ok' end,
        'looked_at', v_all.looked_at, 'age_seconds', round(extract(epoch from v_now - v_all.looked_at)), 'checks', v_all.checks,
        'critical', v_all.critical, 'warning', v_all.warning, 'unknown', v_all.unknown);
end
$$;
revoke all on function tds.health_summary() from public;
comment on function tds.health_summary() is
'What the last look at the health said: the worst state, when, how long ago, how many checks, and the names of those that are not well; '
'unknown where nobody has looked for longer than two looks take. Null before the first look. A look at one small table.';

create or replace view public.tds_health as
select c.area, s.check_name as name, s.state, s.value, c.unit, s.threshold, s.since, s.told,
       case when s.state <> 'ok' then c.next_step end as next_step, s.looked_at
  from tds.health_state s
  join tds.health_check c on c.check_name = s.check_name;
comment on view public.tds_health is 'What each check said when it was last looked at (job health); tds.health() looks now.';
comment on column public.tds_health.area is 'What it is about.';
comment on column public.tds_health.name is 'The check.';
comment on column public.tds_health.state is 'ok, warning, critical, or unknown: the check itself failed.';
comment on column public.tds_health.value is 'What was measured; null: nothing was there to be measured.';
comment on column public.tds_health.unit is 'Unit of value and threshold.';
comment on column public.tds_health.threshold is 'The threshold it has crossed, or would cross first.';
comment on column public.tds_health.since is 'Since when it has been in this state.';
comment on column public.tds_health.told is 'What it said.';
comment on column public.tds_health.next_step is 'What to do.';
comment on column public.tds_health.looked_at is 'When it was looked at.';

create or replace function tds.take_measures(at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.measure (name, measured_at, value)
    values ('completed', take_measures.at, (select coalesce(sum(c.events), 0) from tds.outcome_counter c)),
           ('database_bytes', take_measures.at, pg_database_size(current_database()))
    on conflict on constraint measure_pkey do nothing;
    insert into tds.measure (name, measured_at, value)
    select 'seconds_ahead', take_measures.at, extract(epoch from max(i.received_at) - take_measures.at)
      from tds.inbox i where tds.is_ahead(i.received_at, take_measures.at) having count(*) > 0
    on conflict on constraint measure_pkey do nothing;
end
$$;
revoke all on function tds.take_measures(timestamptz) from public;
comment on function tds.take_measures(timestamptz) is 
'Enters the totals of now into tds.measure, and how far ahead the newest event is, should the clock have been set back.';

create or replace function tds.count_arrivals(at_most int default 50000) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    -- what is stored now may be committed a little later than what was stored after it
    v_until constant timestamptz := tds.now() - interval '10 seconds';
    v_mark  tds.arrival_counted;
    v_last  record;
begin
    select o.* into strict v_mark from tds.arrival_counted o for update;
    if v_mark.received_at > v_until + interval '1 hour' then
        -- the clock has been set back: what is counted from now on begins now
        update tds.arrival_counted o set received_at = v_until, inbox_id = 0;
        return 0;
    end if;
    with next as materialized (
        select i.entity, i.received_at, i.inbox_id, i.source
          from tds.inbox i
         where i.received_at >= v_mark.received_at and i.received_at < v_until
           and (i.received_at, i.inbox_id) > (v_mark.received_at, v_mark.inbox_id)
         order by i.received_at, i.inbox_id
         limit count_arrivals.at_most
    ), counted as (
        insert into tds.arrival as a (entity, hour, webhooks, last_at)
        select n.entity, date_trunc('hour', n.received_at), count(*), max(n.received_at)
          from next n
          join tds.entity k on k.entity = n.entity
         where n.source = 'webhook'
         group by n.entity, date_trunc('hour', n.received_at)
         order by n.entity, date_trunc('hour', n.received_at)
        on conflict on constraint arrival_pkey do update
           set webhooks = a.webhooks + excluded.webhooks, last_at = greatest(a.last_at, excluded.last_at)
    )
    select l.received_at, l.inbox_id, count(*) over ()::int as events into v_last
      from next l order by l.received_at desc, l.inbox_id desc limit 1;
    if not found then
        return 0;
    end if;
    update tds.arrival_counted o set received_at = v_last.received_at, inbox_id = v_last.inbox_id;
    return v_last.events;
end
$$;
revoke all on function tds.count_arrivals(int) from public;
comment on function tds.count_arrivals(int) is
'Counts the webhooks that came since the last call, at most so many events, into tds.arrival; returns how many it has read. The receiver '
'pays nothing for it.';

grant execute on function tds.observe_health(), tds.count_arrivals(int) to tds_worker, tds_operator;
grant execute on function tds.health(), tds.health_now() to tds_worker, tds_operator, tds_reader;
grant execute on function tds.health_summary() to tds_worker, tds_operator, tds_reader, tds_receiver, tds_poller;
grant select on tds.health_check, tds.health_state, tds.health_result, tds.measure, tds.heal_step, tds.heal_log, tds.program, tds.disk,
    tds.arrival, tds.stray
    to tds_reader, tds_operator;

insert into tds.job (job, schedule, command, description) values
    ('health', '*/15 * * * *', 'select tds.observe_health()', 'Looks at how all stands, and keeps what it finds.')
on conflict on constraint job_pkey do update
   set command = excluded.command, description = excluded.description
 where (tds.job.command, tds.job.description) is distinct from (excluded.command, excluded.description);
