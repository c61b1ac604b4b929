CREATE OR REPLACE FUNCTION tds.insert_events(entity text, inbox_ids bigint[], received_ats timestamp with time zone[], events tds.event[], skip bigint[], at timestamp with time zone, OUT verdicts tds.verdict[], OUT rest tds.record[], OUT begun integer)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    case insert_events.entity
    when 'bills' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_bills(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'credit_notes' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_credit_notes(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'currencies' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_currencies(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'customers' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_customers(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'invoices' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_invoices(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'organizations' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_organizations(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'payments' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_payments(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'pricelists' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_pricelists(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'products' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_products(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'sales_orders' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_sales_orders(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'stock_adjustments' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_stock_adjustments(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'taxes' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_taxes(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'vendor_credits' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_vendor_credits(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'vendor_payments' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_vendor_payments(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'vendors' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_vendors(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    when 'warehouses' then
        select v.verdicts, v.rest, v.begun
          into insert_events.verdicts, insert_events.rest, insert_events.begun
          from tds.insert_warehouses(insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, insert_events.at) v;
    else
        perform tds.entity_named(insert_events.entity);
        raise case_not_found using message = 'registered after the functions were made', detail = insert_events.entity,
            hint = 'select tds.build()';
    end case;
end
$function$;
comment on function tds.insert_events(text,bigint[],timestamp with time zone[],tds.event[],bigint[],timestamp with time zone) is
'tds.insert_<entity>(): the short way of what is new or unchanged, from the inbox or from events parsed already. Made by tds.make_switch() from tds.entity.';
