CREATE OR REPLACE FUNCTION tds.write_invoices(organization_ids text[], states tds.record_state[], at timestamp with time zone)
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_written bigint[];
    v_is_kept constant boolean := tds.keeps_history('invoices');
begin
    with written as (
        insert into zoho.invoices as t (
            organization_id, zoho_invoice_id,
            adjustment, amount_paid, balance, balance_differs, credits_applied, currency, customer_id,
            customer_name, discount_amount, due_date, exchange_rate, invoice_date, invoice_number,
            reference_number, shipping_charge, status, subtotal, subtotal_differs, tax_total,
            tax_withheld, tcs_amount, tds_amount, total_amount, total_differs, write_off_amount,
            zoho_created_at, zoho_customer_id, zoho_modified_at,
            zoho_metadata, synced_at, deleted_at,
            sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_layers, sync_event)
        select own.organization_id, s.zoho_id,
               tds.json_number(d.adjustment),
               tds.json_number(d.payment_made),
               tds.json_number(d.balance),
               case when s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               '{payment_made,credits_applied,write_off_amount,tax_amount_withheld,status,total,balance}')
                    then tds.differs(sums.balance, s.doc -> 'balance', s.doc, own.organization_id)
                     and tds.is_certain(s.doc, '{tds_total,tcs_total,tds_amount,tcs_amount,total_retention_amount,payment_discount,unprocessed_payment_amount}') end,
               tds.json_number(d.credits_applied),
               tds.json_word(d.currency_code),
               l1.id,
               tds.json_text(d.customer_name),
               tds.discount_amount(d.discount_amount, d.discount_total, d.discount),
               tds.json_date(d.due_date),
               tds.json_number(d.exchange_rate),
               tds.json_date(d.date),
               tds.json_word(d.invoice_number),
               tds.json_text(d.reference_number),
               tds.json_number(d.shipping_charge),
               tds.json_word(d.status),
               tds.json_number(d.sub_total),
               case when tds.lacks_elements(s.doc) then true
                    when s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               '{line_items,is_inclusive_tax,sub_total}')
                    then tds.differs(sums.subtotal, s.doc -> 'sub_total', s.doc, own.organization_id)
                     and tds.is_certain(s.doc, '{}') end,
               tds.json_number(d.tax_total),
               tds.json_number(d.tax_amount_withheld),
               tds.json_number(d.tcs_amount),
               tds.json_number(d.tds_amount),
               tds.json_number(d.total),
               case when s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               '{sub_total,discount_type,discount_total,discount_amount,tax_total,shipping_charge,adjustment,roundoff_value,tds_amount,tcs_amount,total}')
                    then tds.differs(sums.total, s.doc -> 'total', s.doc, own.organization_id)
                     and tds.is_certain(s.doc, '{tds_total,tcs_total,tds_amount,tcs_amount,is_tds_applied,tax_amount_withheld,total_retention_amount,is_reverse_charge_applied,shipping_charge_tax}') end,
               tds.json_number(d.write_off_amount),
               tds.json_time(d.created_time),
               tds.json_id(d.customer_id),
               tds.json_time(d.last_modified_time),
               s.doc, own.at, s.deleted_at, s.version, s.hash, s.modified_at, s.observed_at, s.rank, s.read_at, s.layers, s.inbox_id
          from unnest(write_invoices.organization_ids, write_invoices.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)
         cross join lateral (select s.organization_id, write_invoices.at as at) own
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
                              order by p.zoho_contact_id limit 1) l1 on true
         where true
         order by s.organization_id, s.zoho_id
        on conflict on constraint invoices_pkey do update
           set adjustment = excluded.adjustment, amount_paid = excluded.amount_paid,
               balance = excluded.balance, balance_differs = excluded.balance_differs,
               credits_applied = excluded.credits_applied, currency = excluded.currency,
               customer_id = excluded.customer_id, customer_name = excluded.customer_name,
               discount_amount = excluded.discount_amount, due_date = excluded.due_date,
               exchange_rate = excluded.exchange_rate, invoice_date = excluded.invoice_date,
               invoice_number = excluded.invoice_number, reference_number = excluded.reference_number,
               shipping_charge = excluded.shipping_charge, status = excluded.status,
               subtotal = excluded.subtotal, subtotal_differs = excluded.subtotal_differs,
               tax_total = excluded.tax_total, tax_withheld = excluded.tax_withheld,
               tcs_amount = excluded.tcs_amount, tds_amount = excluded.tds_amount,
               total_amount = excluded.total_amount, total_differs = excluded.total_differs,
               write_off_amount = excluded.write_off_amount, zoho_created_at = excluded.zoho_created_at,
               zoho_customer_id = excluded.zoho_customer_id, zoho_modified_at = excluded.zoho_modified_at,
               zoho_metadata = excluded.zoho_metadata, synced_at = excluded.synced_at, deleted_at = excluded.deleted_at,
               sync_version = excluded.sync_version, sync_hash = excluded.sync_hash, sync_modified_at = excluded.sync_modified_at,
               sync_observed_at = excluded.sync_observed_at, sync_rank = excluded.sync_rank, sync_read_at = excluded.sync_read_at,
               sync_layers = excluded.sync_layers, sync_event = excluded.sync_event
         where t.sync_version = excluded.sync_version - 1
        returning t.organization_id, t.zoho_invoice_id as zoho_id), noted as (
        insert into tds.record_history (
            organization_id, target, zoho_id, kind, changed_at, written_at, inbox_id, back, was_version, was_hash, was_modified_at,
            was_observed_at, was_rank, was_read_at, was_layers, was_deleted_at, was_synced_at, was_event)
        select s.organization_id, 'invoices', s.zoho_id, k.kind,
               case k.kind
                   when 'deleted' then s.deleted_at
                   when 'revived' then greatest(s.modified_at, s.read_at, s.observed_at)
                   when 'completed' then case when s.modified_at > b.sync_modified_at then s.modified_at end
                   else case when s.modified_at > coalesce(b.sync_modified_at, '-infinity') then s.modified_at else s.observed_at end end,
               write_invoices.at, s.inbox_id, d.back, b.sync_version, b.sync_hash, b.sync_modified_at,
               b.sync_observed_at, b.sync_rank, b.sync_read_at, b.sync_layers, b.deleted_at, b.synced_at, b.sync_event
          from unnest(write_invoices.organization_ids, write_invoices.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)
          join written w on w.organization_id = s.organization_id and w.zoho_id = s.zoho_id
         cross join lateral (select t.* from zoho.invoices t
                              where t.organization_id = s.organization_id
                                and t.zoho_invoice_id between s.zoho_id and s.zoho_id
                              order by t.zoho_invoice_id limit 1) b
         cross join lateral tds.put_back(b.zoho_metadata, s.doc) d
         cross join lateral (select case when s.deleted_at is not null and b.deleted_at is null then 'deleted'
                                         when s.deleted_at is null and b.deleted_at is not null then 'revived'
                                         when tds.only_completes(d.back, b.sync_layers, s.modified_at) then 'completed'
                                         else 'changed' end as kind offset 0) k
         where v_is_kept and b.sync_version = s.version - 1
         order by s.organization_id, s.zoho_id)
    select coalesce(array_agg(s.n) filter (where (s.organization_id, s.zoho_id) in (
               select w.organization_id, w.zoho_id from written w)), '{}')
      into v_written
      from unnest(write_invoices.organization_ids, write_invoices.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n);
    perform tds.write_invoices_line_items(write_invoices.organization_ids, write_invoices.states, v_written, write_invoices.at);
    return v_written;
end
$function$;
comment on function tds.write_invoices(text[],tds.record_state[],timestamp with time zone) is
'Writes invoices in key order, each of the organisation told beside it and only over the version it was resolved from; returns the places of those written. Made by tds.make_writer() from functions/60_entities/invoices.sql.';
