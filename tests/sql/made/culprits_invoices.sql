CREATE OR REPLACE FUNCTION tds.culprits_invoices(records tds.record[])
 RETURNS TABLE(ord bigint, path text, value text, reason text)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return query
    select distinct on (c.ord) c.ord, c.path, c.value, c.reason
      from (
        select r.ord, '$' as path, left(r.doc::text, 200) as value, 'not an object' as reason
          from unnest(culprits_invoices.records) r
         where jsonb_typeof(r.doc) <> 'object'
        union all
        select r.ord, f.path, left(f.value #>> '{}', 200), f.reason
          from unnest(culprits_invoices.records) r
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
         cross join lateral (values
                   ('adjustment', d.adjustment, tds.problem('number', d.adjustment, false, NULL)),
                   ('balance', d.balance, tds.problem('number', d.balance, false, NULL)),
                   ('created_time', d.created_time, tds.problem('time', d.created_time, false, NULL)),
                   ('credits_applied', d.credits_applied, tds.problem('number', d.credits_applied, false, NULL)),
                   ('currency_code', d.currency_code, tds.problem('word', d.currency_code, false, '10')),
                   ('customer_id', d.customer_id, tds.problem('id', d.customer_id, false, NULL)),
                   ('customer_name', d.customer_name, tds.problem('text', d.customer_name, false, NULL)),
                   ('date', d.date, tds.problem('date', d.date, false, NULL)),
                   ('discount', d.discount, tds.problem('number', d.discount, false, NULL)),
                   ('discount_amount', d.discount_amount, tds.problem('number', d.discount_amount, false, NULL)),
                   ('discount_total', d.discount_total, tds.problem('number', d.discount_total, false, NULL)),
                   ('due_date', d.due_date, tds.problem('date', d.due_date, false, NULL)),
                   ('exchange_rate', d.exchange_rate, tds.problem('number', d.exchange_rate, false, NULL)),
                   ('invoice_id', d.invoice_id, tds.problem('id', d.invoice_id, true, NULL)),
                   ('invoice_number', d.invoice_number, tds.problem('word', d.invoice_number, false, '100')),
                   ('last_modified_time', d.last_modified_time, tds.problem('time', d.last_modified_time, false, NULL)),
                   ('line_items', d.line_items, tds.problem('array', d.line_items, false, NULL)),
                   ('payment_made', d.payment_made, tds.problem('number', d.payment_made, false, NULL)),
                   ('reference_number', d.reference_number, tds.problem('text', d.reference_number, false, NULL)),
                   ('shipping_charge', d.shipping_charge, tds.problem('number', d.shipping_charge, false, NULL)),
                   ('status', d.status, tds.problem('word', d.status, false, '50')),
                   ('sub_total', d.sub_total, tds.problem('number', d.sub_total, false, NULL)),
                   ('tax_amount_withheld', d.tax_amount_withheld, tds.problem('number', d.tax_amount_withheld, false, NULL)),
                   ('tax_total', d.tax_total, tds.problem('number', d.tax_total, false, NULL)),
                   ('tcs_amount', d.tcs_amount, tds.problem('number', d.tcs_amount, false, NULL)),
                   ('tds_amount', d.tds_amount, tds.problem('number', d.tds_amount, false, NULL)),
                   ('total', d.total, tds.problem('number', d.total, false, NULL)),
                   ('write_off_amount', d.write_off_amount, tds.problem('number', d.write_off_amount, false, NULL))) f(path, value, reason)
         where f.reason is not null and jsonb_typeof(r.doc) = 'object'
           -- of a deletion nothing else is read
           and (not r.is_delete or f.path in ('invoice_id', 'last_modified_time'))
        union all
        select r.ord, f.path, left(coalesce(f.value #>> '{}', e.doc::text), 200), f.reason
          from unnest(culprits_invoices.records) r
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
         cross join lateral (values
                   (format('line_items[%s]', e.n - 1), e.doc, case when jsonb_typeof(e.doc) <> 'object' then 'not an object' end),
                   (format('line_items[%s]', e.n - 1) || '.' || 'description', d.description, tds.problem('text', d.description, false, NULL)),
                   (format('line_items[%s]', e.n - 1) || '.' || 'discount', d.discount, tds.problem('word', d.discount, false, '50')),
                   (format('line_items[%s]', e.n - 1) || '.' || 'discount_amount', d.discount_amount, tds.problem('number', d.discount_amount, false, NULL)),
                   (format('line_items[%s]', e.n - 1) || '.' || 'item_id', d.item_id, tds.problem('id', d.item_id, false, NULL)),
                   (format('line_items[%s]', e.n - 1) || '.' || 'item_total', d.item_total, tds.problem('number', d.item_total, false, NULL)),
                   (format('line_items[%s]', e.n - 1) || '.' || 'line_item_id', d.line_item_id, tds.problem('id', d.line_item_id, false, NULL)),
                   (format('line_items[%s]', e.n - 1) || '.' || 'name', d.name, tds.problem('text', d.name, false, NULL)),
                   (format('line_items[%s]', e.n - 1) || '.' || 'quantity', d.quantity, tds.problem('number', d.quantity, false, NULL)),
                   (format('line_items[%s]', e.n - 1) || '.' || 'rate', d.rate, tds.problem('number', d.rate, false, NULL)),
                   (format('line_items[%s]', e.n - 1) || '.' || 'tax_name', d.tax_name, tds.problem('text', d.tax_name, false, NULL)),
                   (format('line_items[%s]', e.n - 1) || '.' || 'tax_percentage', d.tax_percentage, tds.problem('number', d.tax_percentage, false, NULL)),
                   (format('line_items[%s]', e.n - 1) || '.' || 'unit', d.unit, tds.problem('text', d.unit, false, NULL))) f(path, value, reason)
         where f.reason is not null and not r.is_delete
           ) c
     order by c.ord, c.path;
end
$function$;
comment on function tds.culprits_invoices(tds.record[]) is
'Those invoices that the strict readers refuse, each with the path, the value and the reason; asked only once a set has failed. Made by tds.make_culprits() from functions/60_entities/invoices.sql.';
