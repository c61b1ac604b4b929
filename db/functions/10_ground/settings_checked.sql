-- A setting that cannot be read stops whoever reads it, and the jobs and alerts with it: what makes no sense is refused when it is set.

create or replace function tds.number_problem(name text, value jsonb) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_most constant numeric := case when number_problem.name like '%\_days' then 1000000::numeric else 2147483647::numeric end;
begin
    return case when jsonb_typeof(number_problem.value) <> 'number' then 'a number is wanted'
                when number_problem.value::numeric not between 0 and v_most then 'a number from 0 to ' || v_most || ' is wanted'
                when number_problem.name <> 'reconcile_tolerance' and number_problem.value::numeric % 1 <> 0 then 'a whole number is wanted'
           end;
end
$$;
revoke all on function tds.number_problem(text, jsonb) from public;
comment on function tds.number_problem(text, jsonb) is 'What is wrong with the value of a setting that is a number; null: nothing.';

create or replace function tds.check_problem(value jsonb) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select string_agg(format('%s: %s', p.key, p.problem), '; ' order by p.key)
              from (select k.key,
                           case k.key when 'alert' then case when jsonb_typeof(k.value) <> 'boolean' then 'true or false is wanted' end
                                      when 'minutes' then tds.number_problem('', k.value)
                                      when 'warning' then t.problem
                                      when 'critical' then t.problem
                                      else 'there are warning, critical, minutes and alert' end as problem
                      from jsonb_each(check_problem.value) k
                     cross join lateral (
                           select case when jsonb_typeof(k.value) not in ('number', 'null') then 'a number or null is wanted' end
                               as problem) t) p
             where p.problem is not null);
end
$$;
revoke all on function tds.check_problem(jsonb) from public;
comment on function tds.check_problem(jsonb) is 'What is wrong with the value of a setting health_<check>; null: nothing.';

create or replace function tds.setting_problem(name text, before jsonb, value jsonb) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    -- those that may be null are then what they are otherwise
    v_null constant text := case setting_problem.name when 'low_stock_default' then 'number' when 'backup_directory' then 'string' end;
    v_kind constant text := coalesce(v_null, nullif(jsonb_typeof(setting_problem.before), 'null'));
begin
    if v_kind is null or v_null is not null and setting_problem.value = 'null' then
        return null;
    elsif v_kind = 'number' then
        return tds.number_problem(setting_problem.name, setting_problem.value);
    elsif jsonb_typeof(setting_problem.value) <> v_kind then
        return format('%s is wanted, as %s is', case v_kind when 'boolean' then 'true or false' when 'string' then 'a text in quotes'
                                                            else 'an ' || v_kind end, setting_problem.before);
    elsif v_kind = 'object' and setting_problem.name like 'health\_%' then
        return tds.check_problem(setting_problem.value);
    elsif setting_problem.name = 'job_time_zone' and not tds.is_time_zone(setting_problem.value #>> '{}') then
        return 'the server knows no time zone of that name: select name from pg_timezone_names';
    end if;
    return null;
end
$$;
revoke all on function tds.setting_problem(text, jsonb, jsonb) from public;
comment on function tds.setting_problem(text, jsonb, jsonb) is
'Why a setting that was as before cannot have that value; null: it can. What it is, a number, a text, true or false, stays as it was.';

create or replace function tds.check_setting() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problem constant text := tds.setting_problem(new.name, old.value, new.value);
begin
    if v_problem is not null then
        raise exception using errcode = 'ZB007', message = 'a setting cannot have that value',
            detail = format('%s = %s: %s', new.name, left(new.value::text, 100), v_problem),
            hint = format('it is %s; select * from tds.setting where name = %L', left(old.value::text, 100), new.name);
    end if;
    return new;
end
$$;
revoke all on function tds.check_setting() from public;
comment on function tds.check_setting() is 'Trigger: what a setting is set to can be read by whoever goes by it. Raises ZB007.';

create or replace trigger setting_is_checked before update on tds.setting
    for each row when (old.value is distinct from new.value) execute function tds.check_setting();
