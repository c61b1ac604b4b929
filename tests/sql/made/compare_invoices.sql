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
        select e.zoho_id, jsonb_strip_nulls(jsonb_build_object('adjustment', case when p.adjustment is null then to_jsonb(tds.json_number(d.adjustment)) end,
                   'balance', case when p.balance is null then to_jsonb(tds.json_number(d.balance)) end,
                   'credits_applied', case when p.credits_applied is null then to_jsonb(tds.json_number(d.credits_applied)) end,
                   'currency_code', case when p.currency_code is null then to_jsonb(tds.json_word(d.currency_code)) end,
                   'date', case when p.date is null then to_jsonb(tds.json_date(d.date)) end,
                   'discount_amount', case when p.discount_amount is null then to_jsonb(tds.discount_amount(d.discount_amount, d.discount_total, d.discount)) end,
                   'last_modified_time', case when p.last_modified_time is null then to_jsonb(tds.json_time(d.last_modified_time)) end,
                   'payment_made', case when p.payment_made is null then to_jsonb(tds.json_number(d.payment_made)) end,
                   'shipping_charge', case when p.shipping_charge is null then to_jsonb(tds.json_number(d.shipping_charge)) end,
                   'status', case when p.status is null then to_jsonb(tds.json_word(d.status)) end,
                   'tax_amount_withheld', case when p.tax_amount_withheld is null then to_jsonb(tds.json_number(d.tax_amount_withheld)) end,
                   'tcs_amount', case when p.tcs_amount is null then to_jsonb(tds.json_number(d.tcs_amount)) end,
                   'tds_amount', case when p.tds_amount is null then to_jsonb(tds.json_number(d.tds_amount)) end,
                   'total', case when p.total is null then to_jsonb(tds.json_number(d.total)) end,
                   'write_off_amount', case when p.write_off_amount is null then to_jsonb(tds.json_number(d.write_off_amount)) end)) as told,
               nullif(jsonb_strip_nulls(jsonb_build_object('adjustment', p.adjustment,
                   'balance', p.balance,
                   'credits_applied', p.credits_applied,
                   'currency_code', p.currency_code,
                   'date', p.date,
                   'discount_amount', p.discount_amount,
                   'last_modified_time', p.last_modified_time,
                   'payment_made', p.payment_made,
                   'shipping_charge', p.shipping_charge,
                   'status', p.status,
                   'tax_amount_withheld', p.tax_amount_withheld,
                   'tcs_amount', p.tcs_amount,
                   'tds_amount', p.tds_amount,
                   'total', p.total,
                   'write_off_amount', p.write_off_amount)), '{}') as problem
          from listed e
         cross join lateral (select tds.problem('number', e.doc -> 'adjustment', false, NULL) as adjustment,
                   tds.problem('number', e.doc -> 'balance', false, NULL) as balance,
                   tds.problem('number', e.doc -> 'credits_applied', false, NULL) as credits_applied,
                   tds.problem('word', e.doc -> 'currency_code', false, '10') as currency_code,
                   tds.problem('date', e.doc -> 'date', false, NULL) as date,
                   tds.problem('number', e.doc -> 'discount_amount', false, NULL) as discount_amount,
                   tds.problem('time', e.doc -> 'last_modified_time', false, NULL) as last_modified_time,
                   tds.problem('number', e.doc -> 'payment_made', false, NULL) as payment_made,
                   tds.problem('number', e.doc -> 'shipping_charge', false, NULL) as shipping_charge,
                   tds.problem('word', e.doc -> 'status', false, '50') as status,
                   tds.problem('number', e.doc -> 'tax_amount_withheld', false, NULL) as tax_amount_withheld,
                   tds.problem('number', e.doc -> 'tcs_amount', false, NULL) as tcs_amount,
                   tds.problem('number', e.doc -> 'tds_amount', false, NULL) as tds_amount,
                   tds.problem('number', e.doc -> 'total', false, NULL) as total,
                   tds.problem('number', e.doc -> 'write_off_amount', false, NULL) as write_off_amount offset 0) p
         cross join lateral (
               select e.doc -> 'adjustment' as adjustment,
                      e.doc -> 'balance' as balance,
                      e.doc -> 'created_time' as created_time,
                      e.doc -> 'credits_applied' as credits_applied,
                      e.doc -> 'currency_code' as currency_code,
                      e.doc -> 'customer_id' as customer_id,
                      e.doc -> 'customer_name' as customer_name,
                      e.doc -> 'date' as date,
                      e.doc -> 'discount' as discount,
                      e.doc -> 'discount_amount' as discount_amount,
                      e.doc -> 'discount_total' as discount_total,
                      e.doc -> 'due_date' as due_date,
                      e.doc -> 'exchange_rate' as exchange_rate,
                      e.doc -> 'invoice_id' as invoice_id,
                      e.doc -> 'invoice_number' as invoice_number,
                      e.doc -> 'last_modified_time' as last_modified_time,
                      e.doc -> 'line_items' as line_items,
                      e.doc -> 'payment_made' as payment_made,
                      e.doc -> 'reference_number' as reference_number,
                      e.doc -> 'shipping_charge' as shipping_charge,
                      e.doc -> 'status' as status,
                      e.doc -> 'sub_total' as sub_total,
                      e.doc -> 'tax_amount_withheld' as tax_amount_withheld,
                      e.doc -> 'tax_total' as tax_total,
                      e.doc -> 'tcs_amount' as tcs_amount,
                      e.doc -> 'tds_amount' as tds_amount,
                      e.doc -> 'total' as total,
                      e.doc -> 'write_off_amount' as write_off_amount
               offset 0) d
    ), kept as (
        select m.zoho_invoice_id as zoho_id, jsonb_build_object('adjustment', to_jsonb(m.adjustment),
                   'balance', to_jsonb(m.balance),
                   'credits_applied', to_jsonb(m.credits_applied),
                   'currency_code', to_jsonb(m.currency),
                   'date', to_jsonb(m.invoice_date),
                   'discount_amount', to_jsonb(m.discount_amount),
                   'last_modified_time', to_jsonb(m.zoho_modified_at),
                   'payment_made', to_jsonb(m.amount_paid),
                   'shipping_charge', to_jsonb(m.shipping_charge),
                   'status', to_jsonb(m.status),
                   'tax_amount_withheld', to_jsonb(m.tax_withheld),
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
