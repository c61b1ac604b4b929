CREATE OR REPLACE FUNCTION tds.insert_customers(inbox_ids bigint[], received_ats timestamp with time zone[], events tds.event[], skip bigint[], at timestamp with time zone, OUT verdicts tds.verdict[], OUT rest tds.record[], OUT begun integer)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
-- A look-up says "between x and x order by" for "= x": only the index that ends in that column gives the order, so the plan
-- is right even if it was made while the table was empty.
declare
    v_owners  text[];
    v_written text[];
begin
    with met as materialized (
        select e.organization_id, e.first_ord + s.n as ord, s.n::int as position, e.inbox_id,
               e.received_at, e.alone, e.observed_at, e.rank, e.is_delete,
               v.zoho_id, v.told, v.told_at, v.modified_at, v.hash, s.doc, x.kind
          from (select x.* from unnest(insert_customers.events) x
                union all
                -- what is read here is read once: handed over as an array it would be copied at every step
                select y.* from tds.stored_events('customers', insert_customers.inbox_ids, insert_customers.received_ats) y) e
         cross join lateral jsonb_array_elements(case when e.look_closer and insert_customers.events is null then tds.unlooked(e.records)
                                                     else e.records end) with ordinality s(doc, n)
         cross join lateral tds.versions(s.doc, 'contact_id', e.modified_at, e.rank, e.observed_at) v
          left join lateral (select t.*, t.ctid as place from zoho.contacts t
                              where t.organization_id = e.organization_id
                                and t.zoho_contact_id between v.zoho_id and v.zoho_id
                              order by t.zoho_contact_id limit 1) k on true
         cross join lateral (select
               case when v.zoho_id is null or e.is_delete or (v.told_at is null and coalesce(v.told, '') <> '') then 'rest'
                    when k.sync_version is null
                         then case when tds.contact_type(s.doc, null) is not null and not (tds.may_exceed(s.doc, e.rank = 1) and (tds.excess(s.doc)).reason is not null)
                                   then 'new' else 'rest' end
                    when k.deleted_at is not null or e.rank = 3 and tds.tells_less(s.doc, 'billing_address') then 'rest'
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
                    else 'rest' end as kind offset 0) x
         where e.first_ord + s.n <> all (insert_customers.skip)
    ), twice as (
        select m.organization_id, m.zoho_id from met m where m.zoho_id is not null
         group by m.organization_id, m.zoho_id having count(*) > 1
    ), mixed as (
        select from met m where m.kind = 'rest' union all select from twice limit 1
    ), written as (
        insert into zoho.contacts as t (
            organization_id, zoho_contact_id,
            billing_address, company_name, contact_type, currency, customer_type, email, full_name,
            is_active, mobile, name, outstanding_payable, outstanding_receivable, payment_terms,
            payment_terms_label, phone, pricelist_id, pricelist_name, shipping_address, tax_number,
            unused_credits_payable, unused_credits_receivable, zoho_created_at, zoho_modified_at,
            zoho_pricebook_id,
            zoho_metadata, synced_at, sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_event)
        select own.organization_id, s.zoho_id,
               tds.json_object(d.billing_address),
               tds.json_text(d.company_name),
               tds.contact_type(s.doc, coalesce(k.contact_type, 'customer')),
               tds.json_word(d.currency_code),
               case tds.json_word(d.customer_sub_type) when 'business' then 'B2B' when 'individual' then 'B2C' end,
               tds.json_text(d.email),
               nullif(concat_ws(' ', tds.json_text(d.first_name), tds.json_text(d.last_name)), ''),
               tds.json_word(d.status) = 'active',
               tds.json_text(d.mobile),
               tds.json_text(d.contact_name),
               tds.json_number(d.outstanding_payable_amount),
               tds.json_number(d.outstanding_receivable_amount),
               tds.json_number(d.payment_terms),
               tds.json_text(d.payment_terms_label),
               tds.json_text(d.phone),
               l1.id,
               tds.json_text(d.pricebook_name),
               tds.json_object(d.shipping_address),
               coalesce(tds.json_text(d.gst_no), tds.json_text(d.vat_reg_no), tds.json_text(d.tax_reg_no), tds.json_text(d.tax_id_value)),
               tds.json_number(d.unused_credits_payable_amount),
               tds.json_number(d.unused_credits_receivable_amount),
               tds.json_time(d.created_time),
               case when s.told <> '' then s.told_at end,
               tds.json_id(d.pricebook_id),
               s.doc, own.at, 1, s.hash, s.modified_at, s.observed_at, s.rank, case when s.rank <> 2 then s.observed_at end, s.inbox_id
          -- a row that another worker is just inserting fails the statement, and all are resolved then: a rare thing, and an
          -- ON CONFLICT would cost every row a look. All or none: with a rest to be written after them, two workers could wait
          -- for one another
          from (select m.*, null::jsonb as layers
                  from met m where m.kind = 'new' and not exists (select from mixed)
                 order by m.organization_id, m.zoho_id offset 0) s
         cross join lateral (select s.organization_id, insert_customers.at as at) own
         cross join lateral (
               select s.doc -> 'addresses' as addresses,
                      s.doc -> 'billing_address' as billing_address,
                      s.doc -> 'company_name' as company_name,
                      s.doc -> 'contact_id' as contact_id,
                      s.doc -> 'contact_name' as contact_name,
                      s.doc -> 'contact_persons' as contact_persons,
                      s.doc -> 'contact_type' as contact_type,
                      s.doc -> 'created_time' as created_time,
                      s.doc -> 'currency_code' as currency_code,
                      s.doc -> 'customer_sub_type' as customer_sub_type,
                      s.doc -> 'email' as email,
                      s.doc -> 'first_name' as first_name,
                      s.doc -> 'gst_no' as gst_no,
                      s.doc -> 'last_modified_time' as last_modified_time,
                      s.doc -> 'last_name' as last_name,
                      s.doc -> 'mobile' as mobile,
                      s.doc -> 'outstanding_payable_amount' as outstanding_payable_amount,
                      s.doc -> 'outstanding_receivable_amount' as outstanding_receivable_amount,
                      s.doc -> 'payment_terms' as payment_terms,
                      s.doc -> 'payment_terms_label' as payment_terms_label,
                      s.doc -> 'phone' as phone,
                      s.doc -> 'pricebook_id' as pricebook_id,
                      s.doc -> 'pricebook_name' as pricebook_name,
                      s.doc -> 'shipping_address' as shipping_address,
                      s.doc -> 'status' as status,
                      s.doc -> 'tax_id_value' as tax_id_value,
                      s.doc -> 'tax_reg_no' as tax_reg_no,
                      s.doc -> 'unused_credits_payable_amount' as unused_credits_payable_amount,
                      s.doc -> 'unused_credits_receivable_amount' as unused_credits_receivable_amount,
                      s.doc -> 'vat_reg_no' as vat_reg_no
               offset 0) d
          left join lateral (select c.contact_type, c.sync_version from zoho.contacts c
                              where c.organization_id = own.organization_id and c.zoho_contact_id between s.zoho_id and s.zoho_id
                              order by c.zoho_contact_id limit 1) k on true
          left join lateral (select p.id from zoho.pricelists p
                              where p.organization_id = own.organization_id
                                and p.zoho_pricebook_id between (d.pricebook_id ->> 0) and (d.pricebook_id ->> 0)
                              order by p.zoho_pricebook_id limit 1) l1 on true
         order by s.organization_id, s.zoho_id
        returning t.organization_id, t.zoho_contact_id as zoho_id), contact_persons as (
        insert into zoho.contact_persons (
               organization_id, zoho_contact_id, "position",
               department, designation, email, first_name, is_primary, last_name, mobile, phone,
               salutation, zoho_contact_person_id, zoho_metadata, synced_at)
        select own.organization_id, m.zoho_id, e.n,
               tds.json_text(d.department),
               tds.json_text(d.designation),
               tds.json_text(d.email),
               tds.json_text(d.first_name),
               tds.json_boolean(d.is_primary_contact),
               tds.json_text(d.last_name),
               tds.json_text(d.mobile),
               tds.json_text(d.phone),
               tds.json_text(d.salutation),
               tds.json_id(d.contact_person_id),
               e.doc, own.at
          from met m
          join written w on w.organization_id = m.organization_id and w.zoho_id = m.zoho_id
         cross join lateral (select m.organization_id, insert_customers.at as at) own
         cross join lateral jsonb_array_elements(coalesce(tds.json_array(m.doc -> 'contact_persons'), '[]')) with ordinality c(doc, n)
         cross join lateral (select tds.json_row(c.doc) as doc, c.n offset 0) e
         cross join lateral (
               select e.doc -> 'contact_person_id' as contact_person_id,
                      e.doc -> 'department' as department,
                      e.doc -> 'designation' as designation,
                      e.doc -> 'email' as email,
                      e.doc -> 'first_name' as first_name,
                      e.doc -> 'is_primary_contact' as is_primary_contact,
                      e.doc -> 'last_name' as last_name,
                      e.doc -> 'mobile' as mobile,
                      e.doc -> 'phone' as phone,
                      e.doc -> 'salutation' as salutation
               offset 0) d
         order by m.organization_id, m.zoho_id, e.n)
    select array_agg(row(m.ord, m.inbox_id, m.zoho_id, case m.kind when 'new' then 'applied' else m.kind end,
                         m.modified_at, m.observed_at, m.rank,
                         case when m.kind <> 'new' then null
                              when m.rank = 2 and m.modified_at is null then 'webhook without last_modified_time'
                              when m.rank > 1 and tds.lacks_elements(m.doc) then tds.empty_reason()
                              when not m.doc ? 'billing_address' then 'detail older than the record' end,
                         m.observed_at, m.kind = 'new' and m.modified_at is null, m.organization_id)::tds.verdict) filter (where m.done),
           array_agg(row(m.ord, m.inbox_id, m.received_at, m.position, m.alone, m.zoho_id, m.modified_at, m.observed_at, m.rank,
                         m.is_delete, m.hash, m.doc, m.organization_id)::tds.record order by m.ord) filter (where not m.done),
           (count(*) filter (where m.position = 1))::int,
           array_agg(m.organization_id) filter (where m.done and m.kind in ('new', 'over') and (true)),
           array_agg(m.zoho_id) filter (where m.done and m.kind in ('new', 'over') and (true))
      into insert_customers.verdicts, insert_customers.rest, insert_customers.begun, v_owners, v_written
      from (select m.*, m.kind <> 'rest' and case m.kind when 'new' then n.are_written
                                                 else (m.organization_id, m.zoho_id) not in (
                                                     select d.organization_id, d.zoho_id from twice d) end as done
              from met m
             -- all or none
             cross join (select (select count(*) from written)
                                = (select count(*) from met m where m.kind = 'new') as are_written) n) m;
    if v_written is not null then
        perform tds.write_contact_addresses(v_owners, v_written, insert_customers.at);
    end if;
end
$function$;
comment on function tds.insert_customers(bigint[],timestamp with time zone[],tds.event[],bigint[],timestamp with time zone) is
'Writes those customers of a batch that have no row yet, knows the unchanged ones, and hands back the rest. Made by tds.make_inserter() from functions/60_entities/contacts.sql.';
