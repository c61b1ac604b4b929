CREATE OR REPLACE FUNCTION tds.insert_invoices(inbox_ids bigint[], received_ats timestamp with time zone[], events tds.event[], skip bigint[], at timestamp with time zone, OUT verdicts tds.verdict[], OUT rest tds.record[], OUT begun integer)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
-- A look-up says "between x and x order by" for "= x": only the index that ends in that column gives the order, so the plan
-- is right even if it was made while the table was empty.
declare
    v_is_kept constant boolean := tds.keeps_history('invoices');
    v_gone_line_items tid[];
begin
    with met as materialized (
        select e.organization_id, e.first_ord + s.n as ord, s.n::int as position, e.inbox_id,
               e.received_at, e.alone, e.observed_at, e.rank, e.is_delete,
               v.zoho_id, v.told, v.told_at, v.modified_at, v.hash, s.doc, x.kind,
               case when x.kind = 'over' then k.place end as place, case when x.kind = 'over' then k.synced_at end as was_synced_at,
               case when x.kind = 'over'
                    -- uncompressed once, not once a mention
                    then row(v.zoho_id, k.zoho_metadata || '{}', k.sync_version, k.sync_hash, k.sync_modified_at,
                             k.sync_observed_at, k.sync_rank, k.sync_read_at, null, k.sync_layers, k.sync_event
                         )::tds.record_state end as known
          from (select x.* from unnest(insert_invoices.events) x
                union all
                -- what is read here is read once: handed over as an array it would be copied at every step
                select y.* from tds.stored_events('invoices', insert_invoices.inbox_ids, insert_invoices.received_ats) y) e
         cross join lateral (select case when e.look_closer and insert_invoices.events is null then tds.unlooked(e.records)
                                         else e.records end as told offset 0) r
         cross join lateral (
               select a.doc, a.n
                 from jsonb_array_elements(case when jsonb_typeof(r.told) = 'array' then r.told end) with ordinality a(doc, n)
                union all
               select r.told, 1 where jsonb_typeof(r.told) = 'object') s
         cross join lateral tds.versions(s.doc, 'invoice_id', e.modified_at, e.rank, e.observed_at) v
          left join lateral (select t.*, t.ctid as place from zoho.invoices t
                              where t.organization_id = e.organization_id
                                and t.zoho_invoice_id between v.zoho_id and v.zoho_id
                              order by t.zoho_invoice_id limit 1) k on true
         cross join lateral (select
               case when v.zoho_id is null or e.is_delete or (v.told_at is null and coalesce(v.told, '') <> '') then 'rest'
                    when k.sync_version is null
                         then case when true and not (tds.may_exceed(s.doc, e.rank = 1) and (tds.excess(s.doc)).reason is not null)
                                   then 'new' else 'rest' end
                    when k.deleted_at is not null or e.rank = 3 and tds.tells_less(s.doc, 'line_items') then 'rest'
                    when k.sync_modified_at is not distinct from v.modified_at
                        -- a read that says what a hint said is the first to say so
                        and (k.sync_rank <> 2 or e.rank = 2)
                        and (k.sync_hash = v.hash
                             or k.zoho_metadata || s.doc = k.zoho_metadata
                                and not exists (select from jsonb_to_recordset(k.sync_layers) l(m timestamptz, r smallint, keys jsonb,
                                    hidden jsonb)
                                                 where l.hidden <> '{}'
                                                    or (l.m is distinct from v.modified_at or l.r = 2 and e.rank <> 2)
                                                       -- each looked up in the object: an array is looked through
                                                       and exists (select from jsonb_array_elements_text(l.keys) k(key)
                                                                    where s.doc ? k.key))) then 'unchanged'
                    -- of one moment it may be told otherwise, which is looked at closer; a read that came after a hint has the last word
                    when (v.modified_at <> k.sync_modified_at or k.sync_rank = 2 and e.rank <> 2)
                         and case when k.sync_rank = 2 or e.rank = 2
                             then e.observed_at > k.sync_observed_at
                                  and case when k.sync_rank = 2 then v.modified_at >= k.sync_modified_at
                                           else v.modified_at > k.sync_modified_at end
                             else (v.modified_at, e.observed_at) > (k.sync_modified_at, k.sync_observed_at) end
                        and not exists (
                            select from jsonb_to_recordset(k.sync_layers) l(m timestamptz, o timestamptz, r smallint, hidden jsonb)
                             where l.m is null
                                or case when l.r = 2 then l.hidden <> '{}' or v.modified_at < l.m or e.observed_at <= l.o
                                        when e.rank = 2 then v.modified_at <= l.m or e.observed_at <= l.o
                                        else (v.modified_at, e.observed_at) <= (l.m, l.o) end)
                         and not tds.may_exceed(s.doc, e.rank = 1) then 'over'
                    else 'rest' end as kind offset 0) x
         where e.first_ord + s.n <> all (insert_invoices.skip)
    ), twice as (
        select m.organization_id, m.zoho_id from met m where m.zoho_id is not null
         group by m.organization_id, m.zoho_id having count(*) > 1
    ), mixed as (
        select from met m where m.kind = 'rest' union all select from twice limit 1
    ), written as (
        insert into zoho.invoices as t (
            organization_id, zoho_invoice_id,
            adjustment, amount_paid, balance, balance_differs, credits_applied, currency, customer_id,
            customer_name, discount_amount, due_date, exchange_rate, invoice_date, invoice_number,
            reference_number, shipping_charge, status, subtotal, subtotal_differs, tax_total,
            tax_withheld, tcs_amount, tds_amount, total_amount, total_differs, write_off_amount,
            zoho_created_at, zoho_customer_id, zoho_modified_at,
            zoho_metadata, synced_at, sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_event)
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
               case when s.told <> '' then s.told_at end,
               s.doc, own.at, 1, s.hash, s.modified_at, s.observed_at, s.rank, case when s.rank <> 2 then s.observed_at end, s.inbox_id
          -- a row that another worker is just inserting fails the statement, and all are resolved then: a rare thing, and an
          -- ON CONFLICT would cost every row a look. All or none: with a rest to be written after them, two workers could wait
          -- for one another
          from (select m.*, null::jsonb as layers
                  from met m where m.kind = 'new' and not exists (select from mixed)
                 order by m.organization_id, m.zoho_id offset 0) s
         cross join lateral (select s.organization_id, insert_invoices.at as at) own
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
         order by s.organization_id, s.zoho_id
        returning t.organization_id, t.zoho_invoice_id as zoho_id), line_items as (
        insert into zoho.invoice_line_items (
               organization_id, zoho_invoice_id, line_number,
               description, discount, discount_amount, name, product_id, quantity, rate, tax_name,
               tax_rate, total_amount, unit, zoho_item_id, zoho_line_item_id, zoho_metadata, synced_at)
        select own.organization_id, m.zoho_id, e.n,
               tds.json_text(d.description),
               tds.json_word(d.discount),
               tds.json_number(d.discount_amount),
               tds.json_text(d.name),
               l1.id,
               tds.json_number(d.quantity),
               tds.json_number(d.rate),
               tds.json_text(d.tax_name),
               tds.json_number(d.tax_percentage),
               tds.json_number(d.item_total),
               tds.json_text(d.unit),
               tds.json_id(d.item_id),
               tds.json_id(d.line_item_id),
               e.doc, own.at
          from met m
          join written w on w.organization_id = m.organization_id and w.zoho_id = m.zoho_id
         cross join lateral (select m.organization_id, insert_invoices.at as at) own
         cross join lateral jsonb_array_elements(coalesce(tds.json_array(m.doc -> 'line_items'), '[]')) with ordinality c(doc, n)
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
                              order by p.zoho_item_id limit 1) l1 on true
         order by m.organization_id, m.zoho_id, e.n), over as materialized (
        -- after the inserts: two sets, each in key order, and in every session the same one first
        select m.organization_id, m.ord, m.place, m.told, m.told_at, p.state, p.verdict,
               case when v_is_kept then m.known end as known, m.was_synced_at
          from met m
         cross join lateral tds.plainly('over', row(m.ord, m.inbox_id, m.received_at, m.position, m.alone, m.zoho_id, m.modified_at,
             m.observed_at, m.rank, m.is_delete, m.hash, m.doc, m.organization_id)::tds.record, m.known, false, 'line_items') p
         where m.kind = 'over' and not exists (select from mixed) and (select count(*) from written) >= 0
    ), updated as (
        update zoho.invoices t
           set adjustment = tds.json_number(d.adjustment),
               amount_paid = tds.json_number(d.payment_made),
               balance = tds.json_number(d.balance),
               balance_differs = case when s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               '{payment_made,credits_applied,write_off_amount,tax_amount_withheld,status,total,balance}')
                    then tds.differs(sums.balance, s.doc -> 'balance', s.doc, own.organization_id)
                     and tds.is_certain(s.doc, '{tds_total,tcs_total,tds_amount,tcs_amount,total_retention_amount,payment_discount,unprocessed_payment_amount}') end,
               credits_applied = tds.json_number(d.credits_applied),
               currency = tds.json_word(d.currency_code),
               customer_id = l1.id,
               customer_name = tds.json_text(d.customer_name),
               discount_amount = tds.discount_amount(d.discount_amount, d.discount_total, d.discount),
               due_date = tds.json_date(d.due_date),
               exchange_rate = tds.json_number(d.exchange_rate),
               invoice_date = tds.json_date(d.date),
               invoice_number = tds.json_word(d.invoice_number),
               reference_number = tds.json_text(d.reference_number),
               shipping_charge = tds.json_number(d.shipping_charge),
               status = tds.json_word(d.status),
               subtotal = tds.json_number(d.sub_total),
               subtotal_differs = case when tds.lacks_elements(s.doc) then true
                    when s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               '{line_items,is_inclusive_tax,sub_total}')
                    then tds.differs(sums.subtotal, s.doc -> 'sub_total', s.doc, own.organization_id)
                     and tds.is_certain(s.doc, '{}') end,
               tax_total = tds.json_number(d.tax_total),
               tax_withheld = tds.json_number(d.tax_amount_withheld),
               tcs_amount = tds.json_number(d.tcs_amount),
               tds_amount = tds.json_number(d.tds_amount),
               total_amount = tds.json_number(d.total),
               total_differs = case when s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               '{sub_total,discount_type,discount_total,discount_amount,tax_total,shipping_charge,adjustment,roundoff_value,tds_amount,tcs_amount,total}')
                    then tds.differs(sums.total, s.doc -> 'total', s.doc, own.organization_id)
                     and tds.is_certain(s.doc, '{tds_total,tcs_total,tds_amount,tcs_amount,is_tds_applied,tax_amount_withheld,total_retention_amount,is_reverse_charge_applied,shipping_charge_tax}') end,
               write_off_amount = tds.json_number(d.write_off_amount),
               zoho_created_at = tds.json_time(d.created_time),
               zoho_customer_id = tds.json_id(d.customer_id),
               zoho_modified_at = case when s.told <> '' then s.told_at else tds.json_time(d.last_modified_time) end,
               zoho_metadata = s.doc, synced_at = own.at, sync_version = s.version, sync_hash = s.hash,
               sync_modified_at = s.modified_at, sync_observed_at = s.observed_at, sync_rank = s.rank, sync_read_at = s.read_at,
               sync_layers = s.layers, sync_event = s.inbox_id
          from (select o.organization_id, o.ord, o.place, o.told, o.told_at, (o.state).* from over o
                 order by o.organization_id, (o.state).zoho_id offset 0) s
         cross join lateral (select s.organization_id, insert_invoices.at as at) own
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
         -- the version that was read, in its place: what another worker wrote meanwhile is looked at again
         where t.ctid = s.place and t.organization_id = own.organization_id and t.zoho_invoice_id = s.zoho_id
           and t.sync_version = s.version - 1
        returning s.ord), noted as (
        insert into tds.record_history (
            organization_id, target, zoho_id, kind, changed_at, written_at, inbox_id, back, was_version, was_hash, was_modified_at,
            was_observed_at, was_rank, was_read_at, was_layers, was_deleted_at, was_synced_at, was_event)
        select s.organization_id, 'invoices', s.zoho_id, k.kind,
               case k.kind
                   when 'deleted' then s.deleted_at
                   when 'revived' then greatest(s.modified_at, s.read_at, s.observed_at)
                   when 'completed' then case when s.modified_at > b.sync_modified_at then s.modified_at end
                   else case when s.modified_at > coalesce(b.sync_modified_at, '-infinity') then s.modified_at else s.observed_at end end,
               insert_invoices.at, s.inbox_id, d.back, b.sync_version, b.sync_hash, b.sync_modified_at,
               b.sync_observed_at, b.sync_rank, b.sync_read_at, b.sync_layers, b.deleted_at, b.synced_at, b.sync_event
          from (select o.organization_id, (o.state).*, o.known, o.was_synced_at
                  from over o
                 where case when o.ord in (select u.ord from updated u) then true end) s
         cross join lateral (select (s.known).doc as zoho_metadata, (s.known).version as sync_version, (s.known).hash as sync_hash,
                                    (s.known).modified_at as sync_modified_at, (s.known).observed_at as sync_observed_at,
                                    (s.known).rank as sync_rank, (s.known).read_at as sync_read_at, (s.known).layers as sync_layers,
                                    (s.known).deleted_at, s.was_synced_at as synced_at, (s.known).inbox_id as sync_event) b
         cross join lateral tds.put_back(b.zoho_metadata, s.doc) d
         cross join lateral (select case when s.deleted_at is not null and b.deleted_at is null then 'deleted'
                                         when s.deleted_at is null and b.deleted_at is not null then 'revived'
                                         when tds.only_completes(d.back, b.sync_layers, s.modified_at) then 'completed'
                                         else 'changed' end as kind offset 0) k
         where v_is_kept and b.sync_version = s.version - 1
         order by s.organization_id, s.zoho_id), line_items_differing as materialized (
        -- the elements beside the rows there are, record by record: what is the same is neither locked nor written
        select own.organization_id, s.zoho_id, e.*, own.at
          from (select o.organization_id, (o.state).*
                  from over o
                 where case when o.ord in (select u.ord from updated u) then true end) s
         cross join lateral (select s.organization_id, insert_invoices.at as at) own
         cross join lateral (
               select coalesce(w.position, k.position) as position, w.position is null as is_gone, k.position is not null as is_known,
                      w.doc,
                      w.description, w.discount, w.discount_amount, w.name, w.product_id, w.quantity, w.rate,
                      w.tax_name, w.tax_rate, w.total_amount, w.unit, w.zoho_item_id, w.zoho_line_item_id
                 from (select e.n::int as position, e.doc,
                              tds.json_text(d.description) as description,
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
                              order by p.zoho_item_id limit 1) l1 on true
                       offset 0) w
                 full join (select t.line_number as position, t.zoho_metadata,
                                   t.description, t.discount, t.discount_amount, t.name, t.product_id, t.quantity, t.rate,
                                   t.tax_name, t.tax_rate, t.total_amount, t.unit, t.zoho_item_id, t.zoho_line_item_id
                              from zoho.invoice_line_items t
                             where t.organization_id = s.organization_id and t.zoho_invoice_id between s.zoho_id and s.zoho_id
                               -- an empty array is no statement against the document's own sums
                               and not (tds.is_blank_list(s.doc -> 'line_items') and tds.lacks_elements(s.doc))
                             order by t.zoho_invoice_id, t.line_number offset 0) k on k.position = w.position
                where w.position is null or k.position is null
                   or k.zoho_metadata is distinct from w.doc
                   or k.description is distinct from w.description
                   or k.discount is distinct from w.discount
                   or k.discount_amount is distinct from w.discount_amount
                   or k.name is distinct from w.name
                   or k.product_id is distinct from w.product_id
                   or k.quantity is distinct from w.quantity
                   or k.rate is distinct from w.rate
                   or k.tax_name is distinct from w.tax_name
                   or k.tax_rate is distinct from w.tax_rate
                   or k.total_amount is distinct from w.total_amount
                   or k.unit is distinct from w.unit
                   or k.zoho_item_id is distinct from w.zoho_item_id
                   or k.zoho_line_item_id is distinct from w.zoho_line_item_id
               offset 0) e
    ), line_items_held as materialized (
        -- in key order before any is written: what goes and what stays are two sets, and who links them takes both in one
        select h.place, g.is_gone
          from (select l.organization_id, l.zoho_id, l.position, l.is_gone
                  from line_items_differing l where l.is_known
                 order by l.organization_id, l.zoho_id, l.position offset 0) g
         cross join lateral (select t.ctid as place from zoho.invoice_line_items t
                              -- between bounds of the document as well all of its lines would be gone through for each
                              where t.organization_id = g.organization_id
                                and t.zoho_invoice_id = g.zoho_id
                                and t.line_number between g.position and g.position
                              order by t.line_number
                                for update) h
    ), line_items_written as (
        insert into zoho.invoice_line_items as t (
               organization_id, zoho_invoice_id, line_number,
               description, discount, discount_amount, name, product_id, quantity, rate, tax_name,
               tax_rate, total_amount, unit, zoho_item_id, zoho_line_item_id, zoho_metadata, synced_at)
        select w.organization_id, w.zoho_id, w.position,
               w.description, w.discount, w.discount_amount, w.name, w.product_id, w.quantity, w.rate,
               w.tax_name, w.tax_rate, w.total_amount, w.unit, w.zoho_item_id, w.zoho_line_item_id, w.doc, w.at
          from line_items_differing w
         where not w.is_gone and (select count(*) from line_items_held) >= 0
         order by w.organization_id, w.zoho_id, w.position
        on conflict on constraint invoice_line_items_pkey do update
           set description = excluded.description, discount = excluded.discount,
               discount_amount = excluded.discount_amount, name = excluded.name,
               product_id = excluded.product_id, quantity = excluded.quantity, rate = excluded.rate,
               tax_name = excluded.tax_name, tax_rate = excluded.tax_rate,
               total_amount = excluded.total_amount, unit = excluded.unit,
               zoho_item_id = excluded.zoho_item_id, zoho_line_item_id = excluded.zoho_line_item_id, zoho_metadata = excluded.zoho_metadata, synced_at = excluded.synced_at)
    select array_agg(case when m.kind = 'over' then m.verdict else row(m.ord, m.inbox_id, m.zoho_id, case m.kind when 'new' then 'applied' else m.kind end,
                         m.modified_at, m.observed_at, m.rank,
                         case when m.kind <> 'new' then null
                              when m.rank = 2 and m.modified_at is null then 'webhook without last_modified_time'
                              when tds.lacks_elements(m.doc) then tds.empty_reason()
                              when not m.doc ? 'line_items' then 'detail older than the record' end,
                         m.observed_at, m.kind = 'new' and m.modified_at is null, m.organization_id)::tds.verdict end) filter (where m.done),
           array_agg(row(m.ord, m.inbox_id, m.received_at, m.position, m.alone, m.zoho_id, m.modified_at, m.observed_at, m.rank,
                         m.is_delete, m.hash, m.doc, m.organization_id)::tds.record order by m.ord) filter (where not m.done),
           (count(*) filter (where m.position = 1))::int,
           (select array_agg(h.place order by h.place) from line_items_held h where h.is_gone)
      into insert_invoices.verdicts, insert_invoices.rest, insert_invoices.begun, v_gone_line_items
      from (select m.*, o.state, o.verdict, m.kind <> 'rest' and case m.kind when 'new' then n.are_written
                                                           when 'over' then m.ord in (select u.ord from updated u)
                                                 else (m.organization_id, m.zoho_id) not in (
                                                     select d.organization_id, d.zoho_id from twice d) end as done
              from met m
             -- all or none
             cross join (select (select count(*) from written)
                                = (select count(*) from met m where m.kind = 'new') as are_written) n
              left join over o on o.ord = m.ord) m;
    if v_gone_line_items is not null then
        delete from zoho.invoice_line_items t where t.ctid = any (v_gone_line_items);
    end if;
end
$function$;
comment on function tds.insert_invoices(bigint[],timestamp with time zone[],tds.event[],bigint[],timestamp with time zone) is
'Writes those invoices of a batch that have no row yet or are later than all that it knows, knows the unchanged ones, and hands back the rest. Made by tds.make_inserter() from functions/60_entities/invoices.sql.';
