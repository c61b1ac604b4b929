CREATE OR REPLACE FUNCTION tds.derive_invoices(organization_id text, states tds.record_state[])
 RETURNS SETOF tds.derivation
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return query
        select s.zoho_id, to_jsonb(b) || jsonb_build_object('invoice_line_items', 
               (select jsonb_agg(to_jsonb(x) order by x.n)
                  from (select b.line_number as n, b.zoho_metadata,
                               b.description, b.discount, b.discount_amount, b.name, b.product_id, b.quantity, b.rate,
                               b.tax_name, b.tax_rate, b.total_amount, b.unit, b.zoho_item_id, b.zoho_line_item_id
                          from zoho.invoice_line_items b
                         where b.organization_id = own.organization_id and b.zoho_invoice_id = s.zoho_id) x)), to_jsonb(a) || jsonb_build_object('invoice_line_items', case when tds.is_blank_list(s.doc -> 'line_items') and tds.lacks_elements(s.doc) then 
               (select jsonb_agg(to_jsonb(x) order by x.n)
                  from (select b.line_number as n, b.zoho_metadata,
                               b.description, b.discount, b.discount_amount, b.name, b.product_id, b.quantity, b.rate,
                               b.tax_name, b.tax_rate, b.total_amount, b.unit, b.zoho_item_id, b.zoho_line_item_id
                          from zoho.invoice_line_items b
                         where b.organization_id = own.organization_id and b.zoho_invoice_id = s.zoho_id) x) else 
               (select jsonb_agg(to_jsonb(x) order by x.n)
                  from (select e.n, e.doc as zoho_metadata, tds.json_text(d.description) as description,
               tds.json_word(d.discount) as discount,
               tds.json_number(d.discount_amount) as discount_amount,
               tds.json_text(d.name) as name,
               l1.id as product_id,
               tds.json_number(d.quantity) as quantity,
               tds.json_number(d.rate) as rate,
               tds.json_text(d.tax_name) as tax_name,
               tds.json_number(d.tax_percentage) as tax_rate,
               tds.json_number(d.item_total) as total_amount,
               tds.json_text(d.unit) as unit,
               tds.json_id(d.item_id) as zoho_item_id,
               tds.json_id(d.line_item_id) as zoho_line_item_id
                          from jsonb_array_elements(coalesce(tds.json_array(s.doc -> 'line_items'), '[]')) with ordinality c(doc, n)
                         cross join lateral (select tds.json_row(c.doc) as doc, c.n offset 0) e
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
          left join lateral (select p.id from zoho.products p
                              where p.organization_id = own.organization_id
                                and p.zoho_item_id between (d.item_id ->> 0) and (d.item_id ->> 0)
                              order by p.zoho_item_id limit 1) l1 on true) x) end)
          from unnest(derive_invoices.states) s
         cross join (select derive_invoices.organization_id as organization_id) own
          join zoho.invoices t on t.organization_id = own.organization_id
                                  and t.zoho_invoice_id = s.zoho_id and t.sync_version = s.version
         cross join lateral (
                select t.adjustment, t.amount_paid, t.balance, t.balance_differs, t.credits_applied, t.currency,
                       t.customer_id, t.customer_name, t.discount_amount, t.due_date, t.exchange_rate,
                       t.invoice_date, t.invoice_number, t.reference_number, t.shipping_charge, t.status,
                       t.subtotal, t.subtotal_differs, t.tax_total, t.tax_withheld, t.tcs_amount, t.tds_amount,
                       t.total_amount, t.total_differs, t.write_off_amount, t.zoho_created_at, t.zoho_customer_id,
                       t.zoho_modified_at) b
         cross join lateral (
                select tds.json_number(d.adjustment) as adjustment,
               tds.json_number(d.payment_made) as amount_paid,
               tds.json_number(d.balance) as balance,
               case when s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               '{payment_made,credits_applied,write_off_amount,tax_amount_withheld,status,total,balance}')
                    then tds.differs(sums.balance, s.doc -> 'balance', s.doc, own.organization_id)
                     and tds.is_certain(s.doc, '{tds_total,tcs_total,tds_amount,tcs_amount,total_retention_amount,payment_discount,unprocessed_payment_amount}') end as balance_differs,
               tds.json_number(d.credits_applied) as credits_applied,
               tds.json_word(d.currency_code) as currency,
               l1.id as customer_id,
               tds.json_text(d.customer_name) as customer_name,
               tds.discount_amount(d.discount_amount, d.discount_total, d.discount) as discount_amount,
               tds.json_date(d.due_date) as due_date,
               tds.json_number(d.exchange_rate) as exchange_rate,
               tds.json_date(d.date) as invoice_date,
               tds.json_word(d.invoice_number) as invoice_number,
               tds.json_text(d.reference_number) as reference_number,
               tds.json_number(d.shipping_charge) as shipping_charge,
               tds.json_word(d.status) as status,
               tds.json_number(d.sub_total) as subtotal,
               case when tds.lacks_elements(s.doc) then true
                    when s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               '{line_items,is_inclusive_tax,sub_total}')
                    then tds.differs(sums.subtotal, s.doc -> 'sub_total', s.doc, own.organization_id)
                     and tds.is_certain(s.doc, '{}') end as subtotal_differs,
               tds.json_number(d.tax_total) as tax_total,
               tds.json_number(d.tax_amount_withheld) as tax_withheld,
               tds.json_number(d.tcs_amount) as tcs_amount,
               tds.json_number(d.tds_amount) as tds_amount,
               tds.json_number(d.total) as total_amount,
               case when s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               '{sub_total,discount_type,discount_total,discount_amount,tax_total,shipping_charge,adjustment,roundoff_value,tds_amount,tcs_amount,total}')
                    then tds.differs(sums.total, s.doc -> 'total', s.doc, own.organization_id)
                     and tds.is_certain(s.doc, '{tds_total,tcs_total,tds_amount,tcs_amount,is_tds_applied,tax_amount_withheld,total_retention_amount,is_reverse_charge_applied,shipping_charge_tax}') end as total_differs,
               tds.json_number(d.write_off_amount) as write_off_amount,
               tds.json_time(d.created_time) as zoho_created_at,
               tds.json_id(d.customer_id) as zoho_customer_id,
               tds.json_time(d.last_modified_time) as zoho_modified_at
                  from (select) one
          cross join lateral (
               select s.doc -> 'adjustment' as adjustment,
                      s.doc -> 'balance' as balance,
                      s.doc -> 'created_time' as created_time,
                      s.doc -> 'credits_applied' as credits_applied,
                      s.doc -> 'currency_code' as currency_code,
                      s.doc -> 'customer_id' as customer_id,
                      s.doc -> 'customer_name' as customer_name,
                      s.doc -> 'date' as date,
                      s.doc -> 'discount' as discount,
                      s.doc -> 'discount_amount' as discount_amount,
                      s.doc -> 'discount_total' as discount_total,
                      s.doc -> 'due_date' as due_date,
                      s.doc -> 'exchange_rate' as exchange_rate,
                      s.doc -> 'invoice_id' as invoice_id,
                      s.doc -> 'invoice_number' as invoice_number,
                      s.doc -> 'last_modified_time' as last_modified_time,
                      s.doc -> 'line_items' as line_items,
                      s.doc -> 'payment_made' as payment_made,
                      s.doc -> 'reference_number' as reference_number,
                      s.doc -> 'shipping_charge' as shipping_charge,
                      s.doc -> 'status' as status,
                      s.doc -> 'sub_total' as sub_total,
                      s.doc -> 'tax_amount_withheld' as tax_amount_withheld,
                      s.doc -> 'tax_total' as tax_total,
                      s.doc -> 'tcs_amount' as tcs_amount,
                      s.doc -> 'tds_amount' as tds_amount,
                      s.doc -> 'total' as total,
                      s.doc -> 'write_off_amount' as write_off_amount
               offset 0) d
          cross join lateral tds.expected_sums(s.doc, '{payment_made,credits_applied,write_off_amount,tax_amount_withheld}') sums
          left join lateral (select p.id from zoho.customers p
                              where p.organization_id = own.organization_id
                                and p.zoho_contact_id between (d.customer_id ->> 0) and (d.customer_id ->> 0)
                              order by p.zoho_contact_id limit 1) l1 on true) a
         order by s.zoho_id;
end
$function$;
comment on function tds.derive_invoices(text,tds.record_state[]) is
'Rows of invoices as they are, and as the mapping makes them of their documents. Made by tds.make_deriver() from functions/60_entities/invoices.sql.';
