-- What the clock asks Zoho for on a day.

create or replace function tds.plan_day(organization_id text, records jsonb default '{}')
returns table (what text, entity text, calls_a_day numeric, every text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_hours constant int := tds.runs_a_day('request_changes');
    v_night constant int := least(1, tds.runs_a_day('request_lists'));
begin
    return query
    with lists as materialized (
        select n.entity, n.counted, n.volatile_details, n.bulk_detail_path, h.is_filtered, g.pages, n.paged,
               tds.sweep_period(n, plan_day.organization_id, g.pages) as period, r.records
          from tds.entity n
         cross join lateral (select coalesce((plan_day.records ->> n.entity)::bigint,
                                             tds.list_records(n, plan_day.organization_id)) as records) r
         cross join lateral (select tds.list_pages(n, r.records) as pages) g
         cross join lateral (select tds.has_filter(n, plan_day.organization_id) as is_filtered) h
         where n.api_path <> '')
    select 'changes', l.entity, v_hours::numeric, format('%s times a day', v_hours)
      from lists l where l.is_filtered and v_hours > 0
     union all
    select 'sweep', l.entity,
           round(v_night * (l.pages + case when l.counted and l.paged and l.pages > 1 then 1 else 0 end)::numeric / l.period, 2),
           case l.period when 1 then 'each night' else format('every %s days', l.period) end
      from lists l where l.period > 0 and v_night > 0
     union all
    -- the stock by place of all products, a call for a hundred; each price list's prices
    select 'details', l.entity, v_night * ceil(l.records / case when l.bulk_detail_path is null then 1.0 else 100.0 end), 'each night'
      from lists l where l.volatile_details and l.records > 0 and v_night > 0
     union all
    select f.feed, null, f.calls_a_day, f.every from tds.plan_feeds(plan_day.organization_id) f
     order by 1, 2;
end
$$;
revoke all on function tds.plan_day(text, jsonb) from public;
comment on function tds.plan_day(text, jsonb) is
'What the clock asks Zoho for on a day, in calls, as an average: changes, sweeps, details that change without a sign, feeds of hints. '
'records: how many a list has, where that is known better than by the mirror. Of a sweep it is the most: one that may wait costs a call.';
grant execute on function tds.plan_day(text, jsonb) to tds_poller, tds_operator, tds_reader;

create or replace function tds.runs_a_day(job text) returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_fields text[];
begin
    v_fields := (select regexp_split_to_array(btrim(j.schedule), '\s+') from tds.job j where j.job = runs_a_day.job and j.enabled);
    if v_fields is null then
        return 0;
    end if;
    return cardinality(tds.cron_values(v_fields[1], 0, 59)) * cardinality(tds.cron_values(v_fields[2], 0, 23));
end
$$;
revoke all on function tds.runs_a_day(text) from public;
comment on function tds.runs_a_day(text) is
'How often a job runs on a day on which it does; 0: it is switched off.';
