CREATE OR REPLACE FUNCTION tds.compare_invoices(organization_id text, pages jsonb[])
 RETURNS SETOF tds.compared
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return query
    with listed as (
        -- a list that moves while it is read shows a record twice: the later telling counts; what has no id is nobody's twin
        select distinct on (i.zoho_id, i.place) i.zoho_id, e.doc
          from unnest(compare_invoices.pages) with ordinality g(page, n)
         cross join lateral jsonb_array_elements(g.page) with ordinality e(doc, n)
         cross join lateral (select nullif(e.doc ->> 'invoice_id', '') as zoho_id,
                                    case when e.doc ->> 'invoice_id' <> '' then null else array[g.n, e.n] end as place) i
         order by i.zoho_id, i.place, g.n desc, e.n desc
    ), told as (
        select e.zoho_id, jsonb_strip_nulls(jsonb_build_object('adjustment', case when p.adjustment is null and e.doc ? 'adjustment' then to_jsonb(tds.json_number(d.adjustment)) end,
                   'balance', case when p.balance is null and e.doc ? 'balance' then to_jsonb(tds.json_number(d.balance)) end,
                   'created_time', case when p.created_time is null and e.doc ? 'created_time' then to_jsonb(tds.json_time(d.created_time)) end,
                   'credits_applied', case when p.credits_applied is null and e.doc ? 'credits_applied' then to_jsonb(tds.json_number(d.credits_applied)) end,
                   'currency_code', case when p.currency_code is null and e.doc ? 'currency_code' then to_jsonb(tds.json_word(d.currency_code)) end,
                   'customer_id', case when p.customer_id is null and e.doc ? 'customer_id' then to_jsonb(tds.json_id(d.customer_id)) end,
                   'customer_name', case when p.customer_name is null and e.doc ? 'customer_name' then to_jsonb(tds.json_text(d.customer_name)) end,
                   'date', case when p.date is null and e.doc ? 'date' then to_jsonb(tds.json_date(d.date)) end,
                   'discount_amount', case when p.discount_amount is null and e.doc ? 'discount_amount' then to_jsonb(tds.discount_amount(d.discount_amount, d.discount_total, d.discount)) end,
                   'due_date', case when p.due_date is null and e.doc ? 'due_date' then to_jsonb(tds.json_date(d.due_date)) end,
                   'exchange_rate', case when p.exchange_rate is null and e.doc ? 'exchange_rate' then to_jsonb(tds.json_number(d.exchange_rate)) end,
                   'invoice_number', case when p.invoice_number is null and e.doc ? 'invoice_number' then to_jsonb(tds.json_word(d.invoice_number)) end,
                   'last_modified_time', case when p.last_modified_time is null and e.doc ? 'last_modified_time' and not tds.stamp_lags(m.zoho_metadata, m.sync_layers, m.sync_observed_at, 'line_items', m.zoho_modified_at, e.doc -> 'last_modified_time') then to_jsonb(tds.json_time(d.last_modified_time)) end,
                   'payment_made', case when p.payment_made is null and e.doc ? 'payment_made' then to_jsonb(tds.json_number(d.payment_made)) end,
                   'reference_number', case when p.reference_number is null and e.doc ? 'reference_number' then to_jsonb(tds.json_text(d.reference_number)) end,
                   'shipping_charge', case when p.shipping_charge is null and e.doc ? 'shipping_charge' then to_jsonb(tds.json_number(d.shipping_charge)) end,
                   'status', case when p.status is null and e.doc ? 'status' then to_jsonb(tds.json_word(d.status)) end,
                   'sub_total', case when p.sub_total is null and e.doc ? 'sub_total' then to_jsonb(tds.json_number(d.sub_total)) end,
                   'tax_amount_withheld', case when p.tax_amount_withheld is null and e.doc ? 'tax_amount_withheld' then to_jsonb(tds.json_number(d.tax_amount_withheld)) end,
                   'tax_total', case when p.tax_total is null and e.doc ? 'tax_total' then to_jsonb(tds.json_number(d.tax_total)) end,
                   'tcs_amount', case when p.tcs_amount is null and e.doc ? 'tcs_amount' then to_jsonb(tds.json_number(d.tcs_amount)) end,
                   'tds_amount', case when p.tds_amount is null and e.doc ? 'tds_amount' then to_jsonb(tds.json_number(d.tds_amount)) end,
                   'total', case when p.total is null and e.doc ? 'total' then to_jsonb(tds.json_number(d.total)) end,
                   'write_off_amount', case when p.write_off_amount is null and e.doc ? 'write_off_amount' then to_jsonb(tds.json_number(d.write_off_amount)) end)) as told,
               nullif(jsonb_strip_nulls(jsonb_build_object('adjustment', p.adjustment,
                   'balance', p.balance,
                   'created_time', p.created_time,
                   'credits_applied', p.credits_applied,
                   'currency_code', p.currency_code,
                   'customer_id', p.customer_id,
                   'customer_name', p.customer_name,
                   'date', p.date,
                   'discount_amount', p.discount_amount,
                   'due_date', p.due_date,
                   'exchange_rate', p.exchange_rate,
                   'invoice_number', p.invoice_number,
                   'last_modified_time', p.last_modified_time,
                   'payment_made', p.payment_made,
                   'reference_number', p.reference_number,
                   'shipping_charge', p.shipping_charge,
                   'status', p.status,
                   'sub_total', p.sub_total,
                   'tax_amount_withheld', p.tax_amount_withheld,
                   'tax_total', p.tax_total,
                   'tcs_amount', p.tcs_amount,
                   'tds_amount', p.tds_amount,
                   'total', p.total,
                   'write_off_amount', p.write_off_amount)), '{}') as problem
          from listed e
          left join zoho.invoices m on m.organization_id = compare_invoices.organization_id and m.zoho_invoice_id = e.zoho_id
         cross join lateral (select tds.problem('number', e.doc -> 'adjustment', false, NULL) as adjustment,
                   tds.problem('number', e.doc -> 'balance', false, NULL) as balance,
                   tds.problem('time', e.doc -> 'created_time', false, NULL) as created_time,
                   tds.problem('number', e.doc -> 'credits_applied', false, NULL) as credits_applied,
                   tds.problem('word', e.doc -> 'currency_code', false, '10') as currency_code,
                   tds.problem('id', e.doc -> 'customer_id', false, NULL) as customer_id,
                   tds.problem('text', e.doc -> 'customer_name', false, NULL) as customer_name,
                   tds.problem('date', e.doc -> 'date', false, NULL) as date,
                   tds.problem('number', e.doc -> 'discount_amount', false, NULL) as discount_amount,
                   tds.problem('date', e.doc -> 'due_date', false, NULL) as due_date,
                   tds.problem('number', e.doc -> 'exchange_rate', false, NULL) as exchange_rate,
                   tds.problem('word', e.doc -> 'invoice_number', false, '100') as invoice_number,
                   tds.problem('time', e.doc -> 'last_modified_time', false, NULL) as last_modified_time,
                   tds.problem('number', e.doc -> 'payment_made', false, NULL) as payment_made,
                   tds.problem('text', e.doc -> 'reference_number', false, NULL) as reference_number,
                   tds.problem('number', e.doc -> 'shipping_charge', false, NULL) as shipping_charge,
                   tds.problem('word', e.doc -> 'status', false, '50') as status,
                   tds.problem('number', e.doc -> 'sub_total', false, NULL) as sub_total,
                   tds.problem('number', e.doc -> 'tax_amount_withheld', false, NULL) as tax_amount_withheld,
                   tds.problem('number', e.doc -> 'tax_total', false, NULL) as tax_total,
                   tds.problem('number', e.doc -> 'tcs_amount', false, NULL) as tcs_amount,
                   tds.problem('number', e.doc -> 'tds_amount', false, NULL) as tds_amount,
                   tds.problem('number', e.doc -> 'total', false, NULL) as total,
                   tds.problem('number', e.doc -> 'write_off_amount', false, NULL) as write_off_amount offset 0) p
         -- a column made of several keys is what the list's would make of what is known of the others
         cross join lateral (select case jsonb_typeof(m.zoho_metadata) when 'object' then m.zoho_metadata else '{}' end || e.doc as doc
                               offset 0) x
         cross join lateral (
               select x.doc -> 'adjustment' as adjustment,
                      x.doc -> 'balance' as balance,
                      x.doc -> 'created_time' as created_time,
                      x.doc -> 'credits_applied' as credits_applied,
                      x.doc -> 'currency_code' as currency_code,
                      x.doc -> 'customer_id' as customer_id,
                      x.doc -> 'customer_name' as customer_name,
                      x.doc -> 'date' as date,
                      x.doc -> 'discount' as discount,
                      x.doc -> 'discount_amount' as discount_amount,
                      x.doc -> 'discount_total' as discount_total,
                      x.doc -> 'due_date' as due_date,
                      x.doc -> 'exchange_rate' as exchange_rate,
                      x.doc -> 'invoice_id' as invoice_id,
                      x.doc -> 'invoice_number' as invoice_number,
                      x.doc -> 'last_modified_time' as last_modified_time,
                      x.doc -> 'line_items' as line_items,
                      x.doc -> 'payment_made' as payment_made,
                      x.doc -> 'reference_number' as reference_number,
                      x.doc -> 'shipping_charge' as shipping_charge,
                      x.doc -> 'status' as status,
                      x.doc -> 'sub_total' as sub_total,
                      x.doc -> 'tax_amount_withheld' as tax_amount_withheld,
                      x.doc -> 'tax_total' as tax_total,
                      x.doc -> 'tcs_amount' as tcs_amount,
                      x.doc -> 'tds_amount' as tds_amount,
                      x.doc -> 'total' as total,
                      x.doc -> 'write_off_amount' as write_off_amount
               offset 0) d
    ), kept as (
        select m.zoho_invoice_id as zoho_id, jsonb_build_object('adjustment', to_jsonb(m.adjustment),
                   'balance', to_jsonb(m.balance),
                   'created_time', to_jsonb(m.zoho_created_at),
                   'credits_applied', to_jsonb(m.credits_applied),
                   'currency_code', to_jsonb(m.currency),
                   'customer_id', to_jsonb(m.zoho_customer_id),
                   'customer_name', to_jsonb(m.customer_name),
                   'date', to_jsonb(m.invoice_date),
                   'discount_amount', to_jsonb(m.discount_amount),
                   'due_date', to_jsonb(m.due_date),
                   'exchange_rate', to_jsonb(m.exchange_rate),
                   'invoice_number', to_jsonb(m.invoice_number),
                   'last_modified_time', to_jsonb(m.zoho_modified_at),
                   'payment_made', to_jsonb(m.amount_paid),
                   'reference_number', to_jsonb(m.reference_number),
                   'shipping_charge', to_jsonb(m.shipping_charge),
                   'status', to_jsonb(m.status),
                   'sub_total', to_jsonb(m.subtotal),
                   'tax_amount_withheld', to_jsonb(m.tax_withheld),
                   'tax_total', to_jsonb(m.tax_total),
                   'tcs_amount', to_jsonb(m.tcs_amount),
                   'tds_amount', to_jsonb(m.tds_amount),
                   'total', to_jsonb(m.total_amount),
                   'write_off_amount', to_jsonb(m.write_off_amount)) as kept, m.deleted_at, m.sync_observed_at
          from zoho.invoices m
         where m.organization_id = compare_invoices.organization_id
    )
    select coalesce(t.zoho_id, k.zoho_id), t.told, k.kept, t.problem, k.deleted_at, k.sync_observed_at
      from told t
      full join kept k on k.zoho_id = t.zoho_id;
end
$function$;
comment on function tds.compare_invoices(text,jsonb[]) is
'Every one of invoices that Zoho lists or the mirror has: what the pages tell of it, and what the mirror keeps. Made by tds.make_comparison() from functions/60_entities/invoices.sql.';
