create or replace function tds.cron_values(field text, low int, high int) returns int[]
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_part   text;
    v_match  text[];
    v_from   int;
    v_to     int;
    v_step   int;
    v_values int[] := array[]::int[];
begin
    foreach v_part in array regexp_split_to_array(cron_values.field, ',') loop
        v_match := regexp_match(v_part, '^(?:\*|(\d{1,2})(-\d{1,2})?)(?:/(\d{1,2}))?$');
        v_from := coalesce(v_match[1]::int, cron_values.low);
        v_to := coalesce(-v_match[2]::int, v_match[1]::int, cron_values.high);
        v_step := coalesce(v_match[3]::int, 1);
        -- cron itself takes a step only behind * or a range
        if v_match is null or v_from < cron_values.low or v_to > cron_values.high or v_from > v_to or v_step = 0
           or v_match[3] is not null and v_match[1] is not null and v_match[2] is null then
            raise exception using errcode = 'ZB020', message = 'schedule not understood',
                detail = format('%s is not a value from %s to %s, *, a range, a step or a list of these', v_part, cron_values.low,
                                cron_values.high),
                hint = 'like */5 * * * * or 15 3 * * 1-5';
        end if;
        v_values := v_values || array(select generate_series(v_from, v_to, v_step));
    end loop;
    return v_values;
end
$$;
comment on function tds.cron_values(text, int, int) is 'The numbers that a field of a cron schedule means. Raises ZB020.';

create or replace function tds.cron_next(schedule text, after timestamptz, zone text default 'UTC') returns timestamptz
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_fields  constant text[] := regexp_split_to_array(btrim(cron_next.schedule), '\s+');
    v_after   constant timestamp := cron_next.after at time zone cron_next.zone;
    v_minutes int[];
    v_hours   int[];
    v_days    int[];
    v_months  int[];
    v_weekday int[];
    v_either  constant boolean := v_fields[3] not like '*%' and v_fields[5] not like '*%';
    v_day     date := (v_after - interval '2 hours')::date;
    v_dates   date[] := array[]::date[];
    v_first   int;
    v_next    int;
    v_wall    timestamp;
begin
    if cardinality(v_fields) <> 5 then
        raise exception using errcode = 'ZB020', message = 'schedule not understood', detail = cron_next.schedule,
            hint = 'five fields: minute, hour, day of month, month, day of week';
    end if;
    v_minutes := tds.cron_values(v_fields[1], 0, 59);
    v_hours := tds.cron_values(v_fields[2], 0, 23);
    v_days := tds.cron_values(v_fields[3], 1, 31);
    v_months := tds.cron_values(v_fields[4], 1, 12);
    v_weekday := array(select w.d % 7 from unnest(tds.cron_values(v_fields[5], 0, 7)) w(d));
    -- three days that match are enough: the first may have no time left, or be yesterday; in nine years there is a 29 February
    while cardinality(v_dates) < 3 and v_day < v_after::date + 3288 loop
        if extract(month from v_day) = any (v_months)
           -- as cron does: where both days are told, either will do
           and (case when v_either then extract(day from v_day) = any (v_days) or extract(dow from v_day) = any (v_weekday)
                     else extract(day from v_day) = any (v_days) and extract(dow from v_day) = any (v_weekday) end) then
            v_dates := v_dates || v_day;
        end if;
        v_day := v_day + 1;
    end loop;
    if cron_next.zone = 'UTC' then
        -- no hour comes twice there, nor not at all: the first minute of the first hour that is left
        select min(m.minute), min(m.minute) filter (where m.minute > extract(minute from v_after)) into v_first, v_next
          from unnest(v_minutes) m(minute);
        foreach v_day in array v_dates loop
            v_wall := v_day + (
                select min(make_interval(hours => h.hour,
                                         mins => case when v_day = v_after::date and h.hour = extract(hour from v_after)
                                                      then v_next else v_first end))
                  from unnest(v_hours) h(hour)
                 where v_day > v_after::date or v_day = v_after::date and h.hour >= extract(hour from v_after));
            exit when v_wall is not null;
        end loop;
        return v_wall at time zone 'UTC';
    end if;
    return (
        select i.at
          from (select d.day + make_interval(hours => h.hour, mins => m.minute) as wall
                  from unnest(v_dates) d(day)
                 cross join unnest(v_hours) h(hour)
                 cross join unnest(v_minutes) m(minute)
                 where d.day + make_interval(hours => h.hour, mins => m.minute) > v_after - interval '2 hours'
                 -- no more than the minutes of these two hours and of an hour that comes twice need be looked at
                 order by 1
                 limit 200) w
         -- When clocks are put back an hour comes twice: what is due every hour is due in both, what is due at an hour in the first.
         cross join lateral (
               select case when v_fields[2] like '*%' then min(t.at) filter (where t.at > cron_next.after) else min(t.at) end as at
                 from (select (w.wall at time zone cron_next.zone) + s.shift as at
                         from unnest(array[interval '-1 hour', '-30 minutes', '0', '30 minutes', '1 hour']) s(shift)) t
                where t.at at time zone cron_next.zone = w.wall or t.at = w.wall at time zone cron_next.zone) i
         where i.at > cron_next.after
         order by i.at
         limit 1);
end
$$;
comment on function tds.cron_next(text, timestamptz, text) is
'The first moment after the given one that a cron schedule means, in a time zone; null for a day that never comes. Raises ZB020.';

create or replace function tds.job_time_zone() returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_zone constant text := tds.setting_text('job_time_zone');
begin
    -- set on another server, which knows more of them: better at another hour than never
    return case when tds.is_time_zone(v_zone) then v_zone else 'UTC' end;
end
$$;
revoke all on function tds.job_time_zone() from public;
comment on function tds.job_time_zone() is
'The time zone of the jobs'' schedules: the setting job_time_zone; UTC where this server knows none of that name.';

create or replace function tds.check_job() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    if tds.cron_next(new.schedule, v_now) is null then
        raise exception using errcode = 'ZB020', message = 'schedule never comes', detail = new.schedule,
            hint = 'like */5 * * * * or 15 3 * * 1-5';
    end if;
    if tg_op = 'INSERT' or (old.schedule, old.enabled) is distinct from (new.schedule, new.enabled) then
        new.since := v_now;
    end if;
    return new;
end
$$;
revoke all on function tds.check_job() from public;
comment on function tds.check_job() is 'Trigger: a job''s schedule can be understood, and counts from now on. Raises ZB020.';

create or replace trigger job_is_checked before insert or update on tds.job
    for each row execute function tds.check_job();
