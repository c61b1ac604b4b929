-- The pulls that the clock asks for, of every organisation whose migration has ended: jobs of tds.job.

create or replace function tds.has_filter(entity tds.entity, organization_id text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_newest tds.run;
begin
    select r.* into v_newest from tds.run r
     where r.organization_id = has_filter.organization_id and r.entity = (has_filter.entity).entity
       and r.since is not null and r.listed_at is not null
     order by r.run_id desc
     limit 1;
    return (has_filter.entity).has_modified_filter and v_newest.filtered is not false;
end
$$;
revoke all on function tds.has_filter(tds.entity, text) from public;
comment on function tds.has_filter(tds.entity, text) is
'Whether the API lists only what has changed, as far as is known: the entity''s list has a filter, and the newest pull that used it was '
'not given everything.';

create or replace function tds.request_scheduled(filtered boolean) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if tds.bulk_sync_refusal() is not null then
        return 0;
    end if;
    return (
        select count(tds.request_pull_for(w.entity, w.options, w.organization_id, 'the clock'))::int
          from (select f.organization_id, n.entity, case when request_scheduled.filtered then '{"incremental": true}'::jsonb
                else '{}' end as options
                  from tds.full_pull f
                 cross join tds.entity n
                 where f.finished_at is not null and n.api_path <> '' and tds.has_filter(n, f.organization_id) = request_scheduled.filtered
                 union all
                select f.organization_id, 'stock', '{"update_only": true}'
                  from tds.full_pull f
                 where f.finished_at is not null and not request_scheduled.filtered
                 order by 1, 2) w);
end
$$;
revoke all on function tds.request_scheduled(boolean) from public;
comment on function tds.request_scheduled(boolean) is
'Asks for pulls, for every organisation whose migration has ended: of what has changed in the lists that the API can filter (a call each '
'if little has); or, not filtered, of all else: whole lists, every price list, the stock of all products. Returns how many pulls that are; '
'none while bulk_sync_enabled is false.';

grant execute on function tds.request_scheduled(boolean) to tds_worker, tds_operator;
