create or replace function tds.calls_to_count(entity tds.entity, before bigint, counted int default null) returns int
language sql immutable parallel safe
as $$ select case when not (($1).counted and ($1).paged) or $3 is not null then 0 when $2 > 200 then 1 else 2 end $$;
comment on function tds.calls_to_count(tds.entity, bigint, int) is
'Calls that a list of several pages takes besides its pages: Zoho is asked how many records it has; where it had not been known to have '
'several (before: its records when it was last read whole), its first page is read again after that. counted: by a run under way.';

create or replace function tds.plan_entities(organization_id text)
returns table (
    entity text, api_path text, list_filter jsonb, paged boolean, needs_details boolean, bulk_details boolean, all_details boolean,
    rows_known bigint, details_wanted bigint, next_page int, count_calls int)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity    tds.entity;
    v_run       tds.run;
    v_has_asked constant boolean := exists (
        select from tds.full_pull f
         where f.organization_id = plan_entities.organization_id and f.finished_at is null and f.details_asked_at is not null);
begin
    for v_entity in select n.* from tds.entity n where n.api_path <> '' order by n.priority, n.entity loop
        plan_entities.entity := v_entity.entity;
        plan_entities.api_path := v_entity.api_path;
        plan_entities.list_filter := tds.list_parameters(v_entity.entity, plan_entities.organization_id);
        plan_entities.paged := v_entity.paged;
        plan_entities.needs_details := v_entity.detail_key is not null;
        plan_entities.bulk_details := v_entity.bulk_detail_path is not null;
        plan_entities.all_details := v_entity.volatile_details and not v_has_asked;
        execute format('select count(*) from zoho.%I t where t.organization_id = $1 and t.deleted_at is null', v_entity.target)
           into plan_entities.rows_known using plan_entities.organization_id;
        plan_entities.details_wanted := (select count(*) from tds.wanted_detail w
                                          where w.organization_id = plan_entities.organization_id and w.entity = v_entity.entity);
        select r.* into v_run from tds.run r
         where r.organization_id = plan_entities.organization_id and r.entity = v_entity.entity and r.state = 'running';
        plan_entities.next_page := v_run.next_page;
        plan_entities.count_calls := tds.calls_to_count(
            v_entity, tds.records_before(v_entity.entity, plan_entities.organization_id), v_run.counted);
        return next;
    end loop;
end
$$;
revoke all on function tds.plan_entities(text) from public;
comment on function tds.plan_entities(text) is
'What is known of each of Zoho''s lists before it is fetched: how to ask for it, rows already here, details still wanted or wanted of all '
'records whatever is here, where an unfinished run goes on, and what it costs besides its pages if it has several.';
grant execute on function tds.plan_entities(text) to tds_poller, tds_operator;

create or replace function tds.records_before(entity text, organization_id text, run_id bigint default null) returns int
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce((select r.records from tds.run r
                      where r.organization_id = records_before.organization_id and r.entity = records_before.entity
                        and (records_before.run_id is null or r.run_id < records_before.run_id)
                        and r.listed_at is not null and not r.filtered
                      order by r.run_id desc limit 1), 0);
end
$$;
revoke all on function tds.records_before(text, text, bigint) from public;
comment on function tds.records_before(text, text, bigint) is
'How many records a list had when it was last read whole (before that run), 0 if it never was.';
grant execute on function tds.records_before(text, text, bigint) to tds_poller, tds_operator;

create or replace function tds.calls_wanted(organization_id text)
returns table (entity text, details bigint, calls bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select w.entity, count(*), case when min(n.bulk_detail_path) is null then count(*) else ceil(count(*) / 100.0)::bigint end
      from tds.wanted_detail w
      join tds.entity n on n.entity = w.entity
     where w.organization_id = calls_wanted.organization_id
     group by w.entity
     order by w.entity;
end
$$;
revoke all on function tds.calls_wanted(text) from public;
comment on function tds.calls_wanted(text) is 'Details still to be fetched, and the calls that they cost: items come by the hundred.';
grant execute on function tds.calls_wanted(text) to tds_poller, tds_operator, tds_reader;
