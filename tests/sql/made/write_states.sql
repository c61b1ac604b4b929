CREATE OR REPLACE FUNCTION tds.write_states(entity text, organization_ids text[], states tds.record_state[], at timestamp with time zone)
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    case write_states.entity
    when 'bills' then
        return tds.write_bills(write_states.organization_ids, write_states.states, write_states.at);
    when 'credit_notes' then
        return tds.write_credit_notes(write_states.organization_ids, write_states.states, write_states.at);
    when 'currencies' then
        return tds.write_currencies(write_states.organization_ids, write_states.states, write_states.at);
    when 'customers' then
        return tds.write_customers(write_states.organization_ids, write_states.states, write_states.at);
    when 'invoices' then
        return tds.write_invoices(write_states.organization_ids, write_states.states, write_states.at);
    when 'organizations' then
        return tds.write_organizations(write_states.organization_ids, write_states.states, write_states.at);
    when 'payments' then
        return tds.write_payments(write_states.organization_ids, write_states.states, write_states.at);
    when 'pricelists' then
        return tds.write_pricelists(write_states.organization_ids, write_states.states, write_states.at);
    when 'products' then
        return tds.write_products(write_states.organization_ids, write_states.states, write_states.at);
    when 'sales_orders' then
        return tds.write_sales_orders(write_states.organization_ids, write_states.states, write_states.at);
    when 'stock_adjustments' then
        return tds.write_stock_adjustments(write_states.organization_ids, write_states.states, write_states.at);
    when 'taxes' then
        return tds.write_taxes(write_states.organization_ids, write_states.states, write_states.at);
    when 'vendor_credits' then
        return tds.write_vendor_credits(write_states.organization_ids, write_states.states, write_states.at);
    when 'vendor_payments' then
        return tds.write_vendor_payments(write_states.organization_ids, write_states.states, write_states.at);
    when 'vendors' then
        return tds.write_vendors(write_states.organization_ids, write_states.states, write_states.at);
    when 'warehouses' then
        return tds.write_warehouses(write_states.organization_ids, write_states.states, write_states.at);
    else
        perform tds.entity_named(write_states.entity);
        raise case_not_found using message = 'registered after the functions were made', detail = write_states.entity,
            hint = 'select tds.build()';
    end case;
end
$function$;
comment on function tds.write_states(text,text[],tds.record_state[],timestamp with time zone) is
'tds.write_<entity>(): writes resolved states, each of the organisation told beside it, returns the places of those written. Made by tds.make_switch() from tds.entity.';
