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
    v_is_kept constant boolean := tds.keeps_history('contacts');
    v_gone_contact_persons tid[];
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
          from (select x.* from unnest(insert_customers.events) x
                union all
                -- what is read here is read once: handed over as an array it would be copied at every step
                select y.* from tds.stored_events('customers', insert_customers.inbox_ids, insert_customers.received_ats) y) e
         cross join lateral (select case when e.look_closer and insert_customers.events is null then tds.unlooked(e.records)
                                         else e.records end as told offset 0) r
         cross join lateral (
               select a.doc, a.n
                 from jsonb_array_elements(case when jsonb_typeof(r.told) = 'array' then r.told end) with ordinality a(doc, n)
                union all
               select r.told, 1 where jsonb_typeof(r.told) = 'object') s
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
                         and not tds.may_exceed(s.doc, e.rank = 1)
                         and tds.contact_type(s.doc, tds.contact_type(k.zoho_metadata, k.contact_type)) = k.contact_type then 'over'
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
         order by m.organization_id, m.zoho_id, e.n), over as materialized (
        -- after the inserts: two sets, each in key order, and in every session the same one first
        select m.organization_id, m.ord, m.place, m.told, m.told_at, p.state, p.verdict,
               case when v_is_kept then m.known end as known, m.was_synced_at
          from met m
         cross join lateral tds.plainly('over', row(m.ord, m.inbox_id, m.received_at, m.position, m.alone, m.zoho_id, m.modified_at,
             m.observed_at, m.rank, m.is_delete, m.hash, m.doc, m.organization_id)::tds.record, m.known, false, 'billing_address') p
         where m.kind = 'over' and not exists (select from mixed) and (select count(*) from written) >= 0
    ), updated as (
        update zoho.contacts t
           set billing_address = tds.json_object(d.billing_address),
               company_name = tds.json_text(d.company_name),
               currency = tds.json_word(d.currency_code),
               customer_type = case tds.json_word(d.customer_sub_type) when 'business' then 'B2B' when 'individual' then 'B2C' end,
               email = tds.json_text(d.email),
               full_name = nullif(concat_ws(' ', tds.json_text(d.first_name), tds.json_text(d.last_name)), ''),
               is_active = tds.json_word(d.status) = 'active',
               mobile = tds.json_text(d.mobile),
               name = tds.json_text(d.contact_name),
               outstanding_payable = tds.json_number(d.outstanding_payable_amount),
               outstanding_receivable = tds.json_number(d.outstanding_receivable_amount),
               payment_terms = tds.json_number(d.payment_terms),
               payment_terms_label = tds.json_text(d.payment_terms_label),
               phone = tds.json_text(d.phone),
               pricelist_id = l1.id,
               pricelist_name = tds.json_text(d.pricebook_name),
               shipping_address = tds.json_object(d.shipping_address),
               tax_number = coalesce(tds.json_text(d.gst_no), tds.json_text(d.vat_reg_no), tds.json_text(d.tax_reg_no), tds.json_text(d.tax_id_value)),
               unused_credits_payable = tds.json_number(d.unused_credits_payable_amount),
               unused_credits_receivable = tds.json_number(d.unused_credits_receivable_amount),
               zoho_created_at = tds.json_time(d.created_time),
               zoho_modified_at = case when s.told <> '' then s.told_at else tds.json_time(d.last_modified_time) end,
               zoho_pricebook_id = tds.json_id(d.pricebook_id),
               zoho_metadata = s.doc, synced_at = own.at, sync_version = s.version, sync_hash = s.hash,
               sync_modified_at = s.modified_at, sync_observed_at = s.observed_at, sync_rank = s.rank, sync_read_at = s.read_at,
               sync_layers = s.layers, sync_event = s.inbox_id
          from (select o.organization_id, o.ord, o.place, o.told, o.told_at, (o.state).* from over o
                 order by o.organization_id, (o.state).zoho_id offset 0) s
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
         -- the version that was read, in its place: what another worker wrote meanwhile is looked at again
         where t.ctid = s.place and t.organization_id = own.organization_id and t.zoho_contact_id = s.zoho_id
           and t.sync_version = s.version - 1
        returning s.ord), noted as (
        insert into tds.record_history (
            organization_id, target, zoho_id, kind, changed_at, written_at, inbox_id, back, was_version, was_hash, was_modified_at,
            was_observed_at, was_rank, was_read_at, was_layers, was_deleted_at, was_synced_at, was_event)
        select s.organization_id, 'contacts', s.zoho_id, k.kind,
               case k.kind
                   when 'deleted' then s.deleted_at
                   when 'revived' then greatest(s.modified_at, s.read_at, s.observed_at)
                   when 'completed' then case when s.modified_at > b.sync_modified_at then s.modified_at end
                   else case when s.modified_at > coalesce(b.sync_modified_at, '-infinity') then s.modified_at else s.observed_at end end,
               insert_customers.at, s.inbox_id, d.back, b.sync_version, b.sync_hash, b.sync_modified_at,
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
         order by s.organization_id, s.zoho_id), contact_persons_differing as materialized (
        -- the elements beside the rows there are, record by record: what is the same is neither locked nor written
        select own.organization_id, s.zoho_id, e.*, own.at
          from (select o.organization_id, (o.state).*
                  from over o
                 where case when o.ord in (select u.ord from updated u) then true end) s
         cross join lateral (select s.organization_id, insert_customers.at as at) own
         cross join lateral (
               select coalesce(w.position, k.position) as position, w.position is null as is_gone, k.position is not null as is_known,
                      w.doc,
                      w.department, w.designation, w.email, w.first_name, w.is_primary, w.last_name, w.mobile,
                      w.phone, w.salutation, w.zoho_contact_person_id
                 from (select e.n::int as position, e.doc,
                              tds.json_text(d.department) as department,
                              tds.json_text(d.designation) as designation,
                              tds.json_text(d.email) as email,
                              tds.json_text(d.first_name) as first_name,
                              tds.json_boolean(d.is_primary_contact) as is_primary,
                              tds.json_text(d.last_name) as last_name,
                              tds.json_text(d.mobile) as mobile,
                              tds.json_text(d.phone) as phone,
                              tds.json_text(d.salutation) as salutation,
                              tds.json_id(d.contact_person_id) as zoho_contact_person_id
                         from jsonb_array_elements(coalesce(tds.json_array(s.doc -> 'contact_persons'), '[]')) with ordinality c(doc, n)
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
                       offset 0) w
                 full join (select t."position" as position, t.zoho_metadata,
                                   t.department, t.designation, t.email, t.first_name, t.is_primary, t.last_name, t.mobile,
                                   t.phone, t.salutation, t.zoho_contact_person_id
                              from zoho.contact_persons t
                             where t.organization_id = s.organization_id and t.zoho_contact_id between s.zoho_id and s.zoho_id
                               -- an empty array is no statement against the document's own sums
                               and not (tds.is_blank_list(s.doc -> 'contact_persons') and tds.lacks_elements(s.doc))
                             order by t.zoho_contact_id, t."position" offset 0) k on k.position = w.position
                where w.position is null or k.position is null
                   or k.zoho_metadata is distinct from w.doc
                   or k.department is distinct from w.department
                   or k.designation is distinct from w.designation
                   or k.email is distinct from w.email
                   or k.first_name is distinct from w.first_name
                   or k.is_primary is distinct from w.is_primary
                   or k.last_name is distinct from w.last_name
                   or k.mobile is distinct from w.mobile
                   or k.phone is distinct from w.phone
                   or k.salutation is distinct from w.salutation
                   or k.zoho_contact_person_id is distinct from w.zoho_contact_person_id
               offset 0) e
    ), contact_persons_held as materialized (
        -- in key order before any is written: what goes and what stays are two sets, and who links them takes both in one
        select h.place, g.is_gone
          from (select l.organization_id, l.zoho_id, l.position, l.is_gone
                  from contact_persons_differing l where l.is_known
                 order by l.organization_id, l.zoho_id, l.position offset 0) g
         cross join lateral (select t.ctid as place from zoho.contact_persons t
                              -- between bounds of the document as well all of its lines would be gone through for each
                              where t.organization_id = g.organization_id
                                and t.zoho_contact_id = g.zoho_id
                                and t."position" between g.position and g.position
                              order by t."position"
                                for update) h
    ), contact_persons_written as (
        insert into zoho.contact_persons as t (
               organization_id, zoho_contact_id, "position",
               department, designation, email, first_name, is_primary, last_name, mobile, phone,
               salutation, zoho_contact_person_id, zoho_metadata, synced_at)
        select w.organization_id, w.zoho_id, w.position,
               w.department, w.designation, w.email, w.first_name, w.is_primary, w.last_name, w.mobile,
               w.phone, w.salutation, w.zoho_contact_person_id, w.doc, w.at
          from contact_persons_differing w
         where not w.is_gone and (select count(*) from contact_persons_held) >= 0
         order by w.organization_id, w.zoho_id, w.position
        on conflict on constraint contact_persons_pkey do update
           set department = excluded.department, designation = excluded.designation,
               email = excluded.email, first_name = excluded.first_name, is_primary = excluded.is_primary,
               last_name = excluded.last_name, mobile = excluded.mobile, phone = excluded.phone,
               salutation = excluded.salutation, zoho_contact_person_id = excluded.zoho_contact_person_id, zoho_metadata = excluded.zoho_metadata, synced_at = excluded.synced_at)
    select array_agg(case when m.kind = 'over' then m.verdict else row(m.ord, m.inbox_id, m.zoho_id, case m.kind when 'new' then 'applied' else m.kind end,
                         m.modified_at, m.observed_at, m.rank,
                         case when m.kind <> 'new' then null
                              when m.rank = 2 and m.modified_at is null then 'webhook without last_modified_time'
                              when tds.lacks_elements(m.doc) then tds.empty_reason()
                              when not m.doc ? 'billing_address' then 'detail older than the record' end,
                         m.observed_at, m.kind = 'new' and m.modified_at is null, m.organization_id)::tds.verdict end) filter (where m.done),
           array_agg(row(m.ord, m.inbox_id, m.received_at, m.position, m.alone, m.zoho_id, m.modified_at, m.observed_at, m.rank,
                         m.is_delete, m.hash, m.doc, m.organization_id)::tds.record order by m.ord) filter (where not m.done),
           (count(*) filter (where m.position = 1))::int,
           array_agg(m.organization_id) filter (where m.done and m.kind in ('new', 'over') and (true)),
           array_agg(m.zoho_id) filter (where m.done and m.kind in ('new', 'over') and (true)),
           (select array_agg(h.place order by h.place) from contact_persons_held h where h.is_gone)
      into insert_customers.verdicts, insert_customers.rest, insert_customers.begun, v_owners, v_written, v_gone_contact_persons
      from (select m.*, o.state, o.verdict, m.kind <> 'rest' and case m.kind when 'new' then n.are_written
                                                           when 'over' then m.ord in (select u.ord from updated u)
                                                 else (m.organization_id, m.zoho_id) not in (
                                                     select d.organization_id, d.zoho_id from twice d) end as done
              from met m
             -- all or none
             cross join (select (select count(*) from written)
                                = (select count(*) from met m where m.kind = 'new') as are_written) n
              left join over o on o.ord = m.ord) m;
    if v_gone_contact_persons is not null then
        delete from zoho.contact_persons t where t.ctid = any (v_gone_contact_persons);
    end if;
    if v_written is not null then
        perform tds.write_contact_addresses(v_owners, v_written, insert_customers.at);
    end if;
end
$function$;
comment on function tds.insert_customers(bigint[],timestamp with time zone[],tds.event[],bigint[],timestamp with time zone) is
'Writes those customers of a batch that have no row yet or are later than all that it knows, knows the unchanged ones, and hands back the rest. Made by tds.make_inserter() from functions/60_entities/contacts.sql.';
