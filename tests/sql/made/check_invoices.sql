CREATE OR REPLACE FUNCTION tds.check_invoices(organization_id text, zoho_currency_id text, codes text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    with judged as materialized (
        select t.zoho_invoice_id as zoho_id,
               case when s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               '{payment_made,credits_applied,write_off_amount,tax_amount_withheld,status,total,balance}')
                    then tds.differs(sums.balance, s.doc -> 'balance', s.doc, own.organization_id)
                     and tds.is_certain(s.doc, '{tds_total,tcs_total,tds_amount,tcs_amount,total_retention_amount,payment_discount,unprocessed_payment_amount}') end as balance_differs,
               case when tds.lacks_elements(s.doc) then true
                    when s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               '{line_items,is_inclusive_tax,sub_total}')
                    then tds.differs(sums.subtotal, s.doc -> 'sub_total', s.doc, own.organization_id)
                     and tds.is_certain(s.doc, '{}') end as subtotal_differs,
               case when s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               '{sub_total,discount_type,discount_total,discount_amount,tax_total,shipping_charge,adjustment,roundoff_value,tds_amount,tcs_amount,total}')
                    then tds.differs(sums.total, s.doc -> 'total', s.doc, own.organization_id)
                     and tds.is_certain(s.doc, '{tds_total,tcs_total,tds_amount,tcs_amount,is_tds_applied,tax_amount_withheld,total_retention_amount,is_reverse_charge_applied,shipping_charge_tax}') end as total_differs
          from zoho.invoices t
         cross join lateral (select t.zoho_metadata as doc, t.sync_layers as layers, t.sync_modified_at as modified_at) s
         cross join lateral (select t.organization_id) own
         cross join lateral tds.expected_sums(s.doc, '{payment_made,credits_applied,write_off_amount,tax_amount_withheld}') sums
         where t.organization_id = check_invoices.organization_id
           and (t.currency = any (check_invoices.codes) or t.zoho_metadata ->> 'currency_id' = check_invoices.zoho_currency_id)
           and (tds.amount_of(t.zoho_metadata -> 'price_precision') between 0 and 6) is not true
         order by t.zoho_invoice_id
           for update of t)
    update zoho.invoices t
       set (balance_differs, subtotal_differs, total_differs) = (j.balance_differs, j.subtotal_differs, j.total_differs)
      from judged j
     where t.organization_id = check_invoices.organization_id and t.zoho_invoice_id = j.zoho_id
       and (t.balance_differs, t.subtotal_differs, t.total_differs) is distinct from (j.balance_differs, j.subtotal_differs, j.total_differs);
end
$function$;
comment on function tds.check_invoices(text,text,text[]) is
'Makes the arithmetic checks anew of those invoices in a currency that do not tell their decimals themselves, in key order. Made by tds.make_checker() from functions/60_entities/invoices.sql.';
