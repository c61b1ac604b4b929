-- What the editions of Zoho Books do not take alike: parameters of lists.

create or replace function tds.without_refused(parameters jsonb, api_path text, organization_id text, keeps text default null)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_left constant jsonb := without_refused.parameters - array(
        select p.parameter from tds.refused_parameter p
         where p.organization_id = without_refused.organization_id and p.api_path = without_refused.api_path
           and p.value = without_refused.parameters ->> p.parameter and p.parameter is distinct from without_refused.keeps);
begin
    -- an order says nothing without its column
    return case when v_left ? 'sort_column' then v_left else v_left - 'sort_order' end;
end
$$;
revoke all on function tds.without_refused(jsonb, text, text, text) from public;
comment on function tds.without_refused(jsonb, text, text, text) is
'Parameters of a call without those that the organisation''s edition has refused of that list, but for the one that it keeps.';

create or replace function tds.list_parameters(entity text, organization_id text) returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(list_parameters.entity, of_the_api => true);
begin
    return tds.without_refused(v_entity.list_filter, v_entity.api_path, list_parameters.organization_id);
end
$$;
revoke all on function tds.list_parameters(text, text) from public;
grant execute on function tds.list_parameters(text, text) to tds_poller, tds_operator;
comment on function tds.list_parameters(text, text) is
'The parameters that the list of an entity is asked for with, without those that the organisation''s edition has refused. Raises ZB002.';

create or replace function tds.leave_off(entity text, organization_id text, parameter text, message text) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(leave_off.entity, of_the_api => true);
begin
    insert into tds.refused_parameter (organization_id, api_path, parameter, value, message, refused_at)
    select leave_off.organization_id, v_entity.api_path, leave_off.parameter, v_entity.list_filter ->> leave_off.parameter,
           left(leave_off.message, 500), tds.now()
     where v_entity.list_filter ? leave_off.parameter
    on conflict on constraint refused_parameter_pkey do update
       set value = excluded.value, message = excluded.message, refused_at = excluded.refused_at;
    return tds.list_parameters(leave_off.entity, leave_off.organization_id);
end
$$;
revoke all on function tds.leave_off(text, text, text, text) from public;
grant execute on function tds.leave_off(text, text, text, text) to tds_poller, tds_operator;
comment on function tds.leave_off(text, text, text, text) is
'Notes that the API refuses a parameter of an entity''s list for an organisation, and returns those that are left. Raises ZB002.';

create or replace function tds.lists_all(entity text, organization_id text) returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(lists_all.entity, of_the_api => true);
begin
    return not v_entity.list_filter ? 'filter_by' or v_entity.target = 'pricelists'
        or tds.list_parameters(lists_all.entity, lists_all.organization_id) ? 'filter_by';
end
$$;
revoke all on function tds.lists_all(text, text) from public;
grant execute on function tds.lists_all(text, text) to tds_poller, tds_operator, tds_worker;
comment on function tds.lists_all(text, text) is
'Whether a list may be taken for all there is: not where the edition refuses to show inactive records too (price lists have no such '
'filter, and show all). Raises ZB002.';

create or replace function tds.asks_inventory(organization_id text) returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    -- an organisation that keeps no places has no stock by place either
    return exists (select from zoho.warehouses w
                    where w.organization_id = asks_inventory.organization_id and w.deleted_at is null)
       and not exists (select from tds.refused_parameter p
                        where p.organization_id = asks_inventory.organization_id and p.api_path = '/inventory/v1');
end
$$;
revoke all on function tds.asks_inventory(text) from public;
grant execute on function tds.asks_inventory(text) to tds_poller, tds_operator;
comment on function tds.asks_inventory(text) is
'Whether the Inventory API is asked for the stock by place that Books does not tell: the organisation has warehouses, and the token''s '
'scope allows it as far as is known.';

create or replace function tds.no_inventory(organization_id text, message text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.refused_parameter (organization_id, api_path, parameter, value, message, refused_at)
    values (no_inventory.organization_id, '/inventory/v1', 'scope', 'ZohoInventory.items.READ', left(no_inventory.message, 500), tds.now())
    on conflict on constraint refused_parameter_pkey do nothing;
end
$$;
revoke all on function tds.no_inventory(text, text) from public;
grant execute on function tds.no_inventory(text, text) to tds_poller, tds_operator;
comment on function tds.no_inventory(text, text) is
'Notes that the Inventory API refuses the token: it is not asked again until the row of tds.refused_parameter is deleted.';
