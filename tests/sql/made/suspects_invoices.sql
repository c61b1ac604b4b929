CREATE OR REPLACE FUNCTION tds.suspects_invoices(events tds.event[])
 RETURNS bigint[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return array(
        select e.first_ord + r.n
          from unnest(suspects_invoices.events) e
         cross join lateral jsonb_array_elements(e.records) with ordinality r(doc, n)
         cross join lateral (
               select r.doc -> 'adjustment' as adjustment,
                      r.doc -> 'balance' as balance,
                      r.doc -> 'created_time' as created_time,
                      r.doc -> 'credits_applied' as credits_applied,
                      r.doc -> 'currency_code' as currency_code,
                      r.doc -> 'customer_id' as customer_id,
                      r.doc -> 'customer_name' as customer_name,
                      r.doc -> 'date' as date,
                      r.doc -> 'discount' as discount,
                      r.doc -> 'discount_amount' as discount_amount,
                      r.doc -> 'discount_total' as discount_total,
                      r.doc -> 'due_date' as due_date,
                      r.doc -> 'exchange_rate' as exchange_rate,
                      r.doc -> 'invoice_id' as invoice_id,
                      r.doc -> 'invoice_number' as invoice_number,
                      r.doc -> 'last_modified_time' as last_modified_time,
                      r.doc -> 'line_items' as line_items,
                      r.doc -> 'payment_made' as payment_made,
                      r.doc -> 'reference_number' as reference_number,
                      r.doc -> 'shipping_charge' as shipping_charge,
                      r.doc -> 'status' as status,
                      r.doc -> 'sub_total' as sub_total,
                      r.doc -> 'tax_amount_withheld' as tax_amount_withheld,
                      r.doc -> 'tax_total' as tax_total,
                      r.doc -> 'tcs_amount' as tcs_amount,
                      r.doc -> 'tds_amount' as tds_amount,
                      r.doc -> 'total' as total,
                      r.doc -> 'write_off_amount' as write_off_amount
               offset 0) d
         where jsonb_typeof(r.doc) <> 'object'
            or tds.problem('number', d.adjustment, false, NULL) is not null
            or tds.problem('number', d.balance, false, NULL) is not null
            or d.created_time not in ('""', 'null') and tds.is_plain_time(d.created_time ->> 0) is not true
            or tds.problem('number', d.credits_applied, false, NULL) is not null
            or tds.problem('word', d.currency_code, false, '10') is not null
            or tds.problem('id', d.customer_id, false, NULL) is not null
            or tds.problem('text', d.customer_name, false, NULL) is not null
            or tds.problem('date', d.date, false, NULL) is not null
            or tds.problem('number', d.discount, false, NULL) is not null
            or tds.problem('number', d.discount_amount, false, NULL) is not null
            or tds.problem('number', d.discount_total, false, NULL) is not null
            or tds.problem('date', d.due_date, false, NULL) is not null
            or tds.problem('number', d.exchange_rate, false, NULL) is not null
            or tds.problem('id', d.invoice_id, true, NULL) is not null
            or tds.problem('word', d.invoice_number, false, '100') is not null
            or d.last_modified_time not in ('""', 'null') and tds.is_plain_time(d.last_modified_time ->> 0) is not true
            or tds.problem('array', d.line_items, false, NULL) is not null
            or tds.problem('number', d.payment_made, false, NULL) is not null
            or tds.problem('text', d.reference_number, false, NULL) is not null
            or tds.problem('number', d.shipping_charge, false, NULL) is not null
            or tds.problem('word', d.status, false, '50') is not null
            or tds.problem('number', d.sub_total, false, NULL) is not null
            or tds.problem('number', d.tax_amount_withheld, false, NULL) is not null
            or tds.problem('number', d.tax_total, false, NULL) is not null
            or tds.problem('number', d.tcs_amount, false, NULL) is not null
            or tds.problem('number', d.tds_amount, false, NULL) is not null
            or tds.problem('number', d.total, false, NULL) is not null
            or tds.problem('number', d.write_off_amount, false, NULL) is not null
            or r.doc ? 'line_items' and exists (
               select from (select 1) x
         cross join lateral jsonb_array_elements(
                            case jsonb_typeof(r.doc -> 'line_items') when 'array' then r.doc -> 'line_items'
                                 when 'object' then jsonb_build_array(r.doc -> 'line_items') else '[]' end)
                            with ordinality e(doc, n)
                cross join lateral (
               select e.doc -> 'description' as description,
                      e.doc -> 'discount' as discount,
                      e.doc -> 'discount_amount' as discount_amount,
                      e.doc -> 'item_id' as item_id,
                      e.doc -> 'item_total' as item_total,
                      e.doc -> 'line_item_id' as line_item_id,
                      e.doc -> 'name' as name,
                      e.doc -> 'quantity' as quantity,
                      e.doc -> 'rate' as rate,
                      e.doc -> 'tax_name' as tax_name,
                      e.doc -> 'tax_percentage' as tax_percentage,
                      e.doc -> 'unit' as unit
               offset 0) d
                where jsonb_typeof(e.doc) <> 'object'
                   or tds.problem('text', d.description, false, NULL) is not null
            or tds.problem('word', d.discount, false, '50') is not null
            or tds.problem('number', d.discount_amount, false, NULL) is not null
            or tds.problem('id', d.item_id, false, NULL) is not null
            or tds.problem('number', d.item_total, false, NULL) is not null
            or tds.problem('id', d.line_item_id, false, NULL) is not null
            or tds.problem('text', d.name, false, NULL) is not null
            or tds.problem('number', d.quantity, false, NULL) is not null
            or tds.problem('number', d.rate, false, NULL) is not null
            or tds.problem('text', d.tax_name, false, NULL) is not null
            or tds.problem('number', d.tax_percentage, false, NULL) is not null
            or tds.problem('text', d.unit, false, NULL) is not null));
end
$function$;
comment on function tds.suspects_invoices(tds.event[]) is
'The ords of those invoices of a batch that a second look may find unreadable; few, and all that are. Made by tds.make_suspects() from functions/60_entities/invoices.sql.';
