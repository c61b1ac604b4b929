create or replace function tds.kept_until(parent text) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \(''([^'']+)''\)')::timestamptz
              from pg_class c where c.oid = to_regclass('tds.' || kept_until.parent || '_kept'));
end
$$;
comment on function tds.kept_until(text) is 'The moment before which all events are in the one partition of those that outlived their day.';

create or replace function tds.lacks_partition(day date) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (select from unnest(array['inbox', 'inbox_outcome']) p(parent)
                    where to_regclass(format('tds.%s_%s', p.parent, to_char(lacks_partition.day, 'YYYYMMDD'))) is null
                      and not coalesce(tds.kept_until(p.parent) > lacks_partition.day::timestamp at time zone 'UTC', false));
end
$$;
revoke all on function tds.lacks_partition(date) from public;
comment on function tds.lacks_partition(date) is
'Whether there is no place yet for what comes on a day (UTC): it has no partition of its own, nor is it among those of the kept one, as '
'days are that were forgotten while the clock was ahead.';

create or replace function tds.await_partitions() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    lock table tds.partition_lock in share mode;
    -- and lets go of it at once: whoever kept it and wanted to make one would wait for others who do so, too
    raise raise_exception;
exception when raise_exception then
    null;
end
$$;
revoke all on function tds.await_partitions() from public;
comment on function tds.await_partitions() is 'Waits until nobody makes partitions of the inbox, and whoever did has told all sessions.';

create or replace function tds.ensure_partition(day date) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_suffix constant text := to_char(ensure_partition.day, 'YYYYMMDD');
    v_made   constant text := to_regclass('tds.inbox_' || v_suffix)::oid || ' ' || to_regclass('tds.inbox_outcome_' || v_suffix)::oid;
    v_parent text;
    v_is_new boolean := false;
begin
    if v_made is not null then
        -- a commit can be seen before it tells other sessions what they have to forget: who made it has told them all once this
        -- lock is free, and without that an insert could still miss the partition; once told, a session knows
        if current_setting('tds.partitions_known', true) is distinct from v_made then
            perform tds.await_partitions();
            perform set_config('tds.partitions_known', v_made, false);
        end if;
        return false;
    end if;
    -- CREATE … PARTITION OF deadlocks against concurrent inserts; CREATE LIKE and ATTACH under one lock do not
    lock table tds.partition_lock in share row exclusive mode;
    foreach v_parent in array array['inbox', 'inbox_outcome'] loop
        -- asked of the catalogue itself: what a session has cached may not know yet what the one before it made
        continue when exists (select from pg_class c
                               where c.relnamespace = 'tds'::regnamespace and c.relname = v_parent || '_' || v_suffix);
        -- a day that is so long ago is kept with others, see tds.forget_day(): the clock is not what it was
        continue when tds.kept_until(v_parent) > ensure_partition.day::timestamp at time zone 'UTC';
        execute format('create table tds.%I (like tds.%I including all)', v_parent || '_' || v_suffix, v_parent);
        execute format('alter table tds.%I attach partition tds.%I for values from (%L) to (%L)',
                       v_parent, v_parent || '_' || v_suffix,
                       ensure_partition.day::timestamp at time zone 'UTC',
                       (ensure_partition.day + 1)::timestamp at time zone 'UTC');
        v_is_new := true;
    end loop;
    return v_is_new;
end
$$;
revoke all on function tds.ensure_partition(date) from public;
comment on function tds.ensure_partition(date) is
'Makes the inbox partitions of that day (UTC) where they are missing; true if it made any. Locks tds.partition_lock.';

create or replace function tds.ensure_partitions() returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_today constant date := (tds.now() at time zone 'UTC')::date;
begin
    return (select (count(*) filter (where tds.ensure_partition(v_today + d.ahead)))::int
              from generate_series(0, tds.setting_int('partition_days_ahead')) d(ahead));
end
$$;
revoke all on function tds.ensure_partitions() from public;
comment on function tds.ensure_partitions() is
'Makes today''s inbox partitions and those of the days ahead; returns how many days were missing.';
