CREATE OR REPLACE FUNCTION tds.link_rows(entity text, organization_ids text[], zoho_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    case link_rows.entity
    when 'bills' then
        perform tds.link_bills(link_rows.organization_ids, link_rows.zoho_ids);
    when 'credit_notes' then
        perform tds.link_credit_notes(link_rows.organization_ids, link_rows.zoho_ids);
    when 'currencies' then
        return;
    when 'customers' then
        perform tds.link_customers(link_rows.organization_ids, link_rows.zoho_ids);
    when 'invoices' then
        perform tds.link_invoices(link_rows.organization_ids, link_rows.zoho_ids);
    when 'organizations' then
        perform tds.link_organizations(link_rows.organization_ids, link_rows.zoho_ids);
    when 'payments' then
        perform tds.link_payments(link_rows.organization_ids, link_rows.zoho_ids);
    when 'pricelists' then
        perform tds.link_pricelists(link_rows.organization_ids, link_rows.zoho_ids);
    when 'products' then
        perform tds.link_products(link_rows.organization_ids, link_rows.zoho_ids);
    when 'sales_orders' then
        perform tds.link_sales_orders(link_rows.organization_ids, link_rows.zoho_ids);
    when 'stock_adjustments' then
        return;
    when 'taxes' then
        return;
    when 'vendor_credits' then
        perform tds.link_vendor_credits(link_rows.organization_ids, link_rows.zoho_ids);
    when 'vendor_payments' then
        perform tds.link_vendor_payments(link_rows.organization_ids, link_rows.zoho_ids);
    when 'vendors' then
        perform tds.link_vendors(link_rows.organization_ids, link_rows.zoho_ids);
    when 'warehouses' then
        perform tds.link_warehouses(link_rows.organization_ids, link_rows.zoho_ids);
    else
        perform tds.entity_named(link_rows.entity);
        raise case_not_found using message = 'registered after the functions were made', detail = link_rows.entity,
            hint = 'select tds.build()';
    end case;
end
$function$;
comment on function tds.link_rows(text,text[],text[]) is
'tds.link_<entity>(): links these records with the rows they name and the rows that name them. Made by tds.make_switch() from tds.entity.';
