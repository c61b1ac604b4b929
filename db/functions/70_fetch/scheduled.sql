-- The pulls that the clock asks for, of every organisation whose migration has ended: jobs of tds.job.

create or replace function tds.has_filter(entity tds.entity, organization_id text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_newest tds.run;
begin
    select r.* into v_newest from tds.run r
     where r.organization_id = has_filter.organization_id and r.entity = (has_filter.entity).entity
       and r.since is not null and r.listed_at is not null
     order by r.run_id desc
     limit 1;
    -- it may have been ignored but once: nobody would know if it were not tried again
    return (has_filter.entity).has_modified_filter
           and (v_newest.filtered is not false
                or tds.is_overdue(v_newest.listed_at, v_now, make_interval(days => greatest(1, tds.setting_int('sweep_days')))));
end
$$;
revoke all on function tds.has_filter(tds.entity, text) from public;
comment on function tds.has_filter(tds.entity, text) is
'Whether the API lists only what has changed, as far as is known: the entity''s list has a filter, and the newest pull that used it was '
'not given everything, or sweep_days have gone by since.';

create or replace function tds.confirm_hints(organization_id text) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_entity tds.entity;
    v_wishes tds.wish[];
    v_rows   bigint := 0::bigint;
begin
    for v_entity in select n.* from tds.entity n where n.api_path <> '' and n.detail_key is not null order by n.entity loop
        execute format($sql$
            select array_agg(row(h.zoho_id, 'no read has confirmed a webhook', h.zoho_now, null, null)::tds.wish)
              from (select t.%1$I as zoho_id, tds.zoho_now($1) as zoho_now from zoho.%2$I t
                     where t.organization_id = $1 and t.deleted_at is null and t.synced_at < $2 - interval '1 hour'
                       -- all of the record, or what newer reads did not carry
                       and (t.sync_rank = 2 or exists (select from jsonb_to_recordset(t.sync_layers) l(r smallint, keys jsonb)
                                                        where l.r = 2 and l.keys <> '[]'))
                       and ($3 is null or t.zoho_metadata ->> 'contact_type' = $3)
                     order by t.sync_observed_at
                     limit $4) h$sql$, v_entity.target_key, v_entity.target)
           into v_wishes
          using confirm_hints.organization_id, v_now, v_entity.list_filter ->> 'contact_type', tds.setting_int('hints_confirmed_per_night');
        if v_wishes is not null then
            v_rows := v_rows + tds.want(v_entity.entity, confirm_hints.organization_id, v_wishes);
        end if;
    end loop;
    return v_rows;
end
$$;
revoke all on function tds.confirm_hints(text) from public;
comment on function tds.confirm_hints(text) is
'Asks for the details of records that show what a webhook told and no read has confirmed, the oldest first; returns how many.';

insert into tds.setting (name, value, description) values
    ('hints_confirmed_per_night', '200',
        'Records of one entity at most, showing what only a webhook told, whose details are asked for in a night.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.request_scheduled(filtered boolean) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now     constant timestamptz := tds.now();
    v_wanted  record;
    v_asked   int := 0;
    v_code    text;
    v_error   text;
    v_context text;
begin
    if tds.bulk_sync_refusal() is not null then
        return 0;
    end if;
    if not request_scheduled.filtered then
        perform tds.confirm_hints(f.organization_id), tds.ask_for_deleted(f.organization_id)
           from tds.full_pull f where tds.is_kept_in_step(f);
        perform tds.forget_deletions();
    end if;
    for v_wanted in
        select f.organization_id, n.entity, '{"incremental": true}'::jsonb as options
          from tds.full_pull f
         cross join tds.entity n
         where tds.is_kept_in_step(f) and n.api_path <> '' and request_scheduled.filtered
           and tds.has_filter(n, f.organization_id)
         union all
        select f.organization_id, 'stock', '{"update_only": true}'
          from tds.full_pull f
         where tds.is_kept_in_step(f) and not request_scheduled.filtered
         union all
        select l.organization_id, l.entity, l.options from tds.lists_to_sweep(v_now) l where not request_scheduled.filtered
         order by 1, 2
    loop
        begin
            v_asked := v_asked + (tds.request_pull_for(v_wanted.entity, v_wanted.options, v_wanted.organization_id, 'the clock')
                                  is not null)::int;
        exception when others then
            get stacked diagnostics v_code = returned_sqlstate, v_error = message_text, v_context = pg_exception_context;
            if tds.stops_all(v_code) then
                raise;
            end if;
            perform tds.set_aside('request_scheduled', format('%s of %s', v_wanted.entity, v_wanted.organization_id), v_code, v_error,
                                  v_context, v_now);
        end;
    end loop;
    return v_asked;
end
$$;
revoke all on function tds.request_scheduled(boolean) from public;
comment on function tds.request_scheduled(boolean) is
'Asks for pulls, for every organisation whose migration has ended: of what has changed in the lists that the API can filter (a call each '
'if little has); or, not filtered, of all else: the lists that are to be read whole (tds.lists_to_sweep()), every price list, the stock of '
'all products. Returns how many pulls that are; '
'none while bulk_sync_enabled is false.';

grant execute on function tds.request_scheduled(boolean) to tds_worker, tds_operator;
