-- Steps that mend the queue.

create or replace function tds.heal_partitions(at timestamptz, dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_day date;
begin
    for v_day in
        select d.day
          from (select (heal_partitions.at at time zone 'UTC')::date + g.ahead as day
                  from generate_series(0, tds.setting_int('partition_days_ahead')) g(ahead)) d
         where to_regclass('tds.inbox_' || to_char(d.day, 'YYYYMMDD')) is null
            or to_regclass('tds.inbox_outcome_' || to_char(d.day, 'YYYYMMDD')) is null
         order by d.day
    loop
        if not heal_partitions.dry_run then
            perform tds.ensure_partition(v_day);
        end if;
        return next row('inbox partitions', 'made the day''s', true, v_day::text)::tds.healed;
    end loop;
end
$$;
revoke all on function tds.heal_partitions(timestamptz, boolean) from public;
comment on function tds.heal_partitions(timestamptz, boolean) is 'Step: makes inbox partitions that are missing.';
grant execute on function tds.heal_partitions(timestamptz, boolean) to tds_worker, tds_operator;
select tds.register_heal('partitions', 10, 'Makes inbox partitions of today and the days ahead that are missing.');
