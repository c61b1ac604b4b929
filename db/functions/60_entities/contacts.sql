-- Customers and vendors are one kind of record in Zoho (contact_type tells them apart), and one partitioned table here.

create or replace function tds.contact_type(doc jsonb, known text) returns text
language sql immutable parallel safe
as $$
    select case when $1 ->> 'contact_type' in ('customer', 'vendor') then $1 ->> 'contact_type' else $2 end
$$;
comment on function tds.contact_type(jsonb, text) is
'Which of the two a contact is: what its document says, else what is known of it otherwise.';

create or replace function tds.lock_contacts(organization_id text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- the key holds the type, so nothing else keeps one contact from standing in both tables while its type is in doubt
    perform tds.take_turn('zoho.contacts', lock_contacts.organization_id);
end
$$;
revoke all on function tds.lock_contacts(text) from public;
comment on function tds.lock_contacts(text) is 'Whoever writes an organisation''s contacts does it alone until the transaction ends.';

create or replace function tds.prepare_contacts(organization_ids text[], states tds.record_state[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_moved record;
begin
    perform tds.lock_contacts(o.id)
       from (select distinct u.id from unnest(prepare_contacts.organization_ids) u(id) order by u.id) o;
    for v_moved in
        with moved as (
            update zoho.contacts t
               set contact_type = tds.contact_type(s.doc, t.contact_type)
              from unnest(prepare_contacts.organization_ids, prepare_contacts.states) s(
                   organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id)
             where t.organization_id = s.organization_id
               and t.zoho_contact_id = s.zoho_id
               and t.sync_version = s.version - 1
               and t.contact_type <> tds.contact_type(s.doc, t.contact_type)
            returning t.organization_id, t.contact_type, t.zoho_contact_id, t.id)
        select m.organization_id, case m.contact_type when 'vendor' then 'customers' else 'vendors' end as was,
               array_agg(m.zoho_contact_id) as zoho_ids, array_agg(m.id) as row_ids
          from moved m
         group by m.organization_id, was
         order by m.organization_id, was
    loop
        -- a document that names a customer does not lead to a vendor
        perform tds.unlink_rows(array[v_moved.was], v_moved.organization_id, v_moved.zoho_ids, v_moved.row_ids);
    end loop;
end
$$;
revoke all on function tds.prepare_contacts(text[], tds.record_state[]) from public;
comment on function tds.prepare_contacts(text[], tds.record_state[]) is
'Before contacts are written: locks, and moves those whose type has changed into the other table, to which no document of the one leads.';

create or replace function tds.told_contact_addresses(organization_ids text[], zoho_ids text[], at timestamptz)
returns setof zoho.contact_addresses
language sql stable
as $$
    select c.organization_id, c.contact_type, c.zoho_contact_id, a.position::int, a.address_type, w.address_id,
           w.attention, w.address, w.street2, w.city, w.state, w.zip, w.country, w.country_code, w.phone, w.fax, $3
      from unnest($1, $2) k(organization_id, zoho_contact_id)
     cross join lateral (select c.* from zoho.contacts c
                          where c.organization_id = k.organization_id
                            and c.zoho_contact_id between k.zoho_contact_id and k.zoho_contact_id
                          order by c.zoho_contact_id offset 0) c
     cross join lateral jsonb_to_record(c.zoho_metadata) m(billing_address jsonb, shipping_address jsonb, addresses jsonb)
     cross join lateral (
           select 1, 'billing', m.billing_address
            union all
           select 2, 'shipping', m.shipping_address
            union all
           select 2 + e.n, 'additional', tds.json_row(e.doc)
             from jsonb_array_elements(coalesce(tds.json_array(m.addresses), '[]')) with ordinality e(doc, n)
           ) a(position, address_type, doc)
     cross join lateral jsonb_to_record(tds.json_object(a.doc)) d(
           address_id jsonb, attention jsonb, address jsonb, street2 jsonb, city jsonb, state jsonb, zip jsonb, zipcode jsonb,
           country jsonb, country_code jsonb, phone jsonb, fax jsonb)
     -- all of it is read, also where nothing of it makes a row: what cannot be read is never passed over
     cross join lateral (select tds.json_id(d.address_id) as address_id, tds.json_word(d.country_code) as country_code,
                                tds.json_word(d.attention) as attention, tds.json_word(d.address) as address,
                                tds.json_word(d.street2) as street2, tds.json_word(d.city) as city, tds.json_word(d.state) as state,
                                coalesce(tds.json_word(d.zip), tds.json_word(d.zipcode)) as zip, tds.json_word(d.country) as country,
                                tds.json_word(d.phone) as phone, tds.json_word(d.fax) as fax offset 0) w
     where coalesce(w.attention, w.address, w.street2, w.city, w.state, w.zip, w.country, w.phone, w.fax) is not null
$$;
comment on function tds.told_contact_addresses(text[], text[], timestamptz) is
'The address rows that the documents of these contacts, each of the organisation told beside it, tell of: 1 billing, 2 shipping, then '
'the others. The planner puts its text in the '
'place of the call.';

create or replace function tds.write_contact_addresses(organization_ids text[], zoho_ids text[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    with wanted as materialized (
        select w.* from tds.told_contact_addresses(write_contact_addresses.organization_ids, write_contact_addresses.zoho_ids,
                                                   write_contact_addresses.at) w
    ), left_over as materialized (
        select t.organization_id, t.contact_type, t.zoho_contact_id, t.position, t.place
          from unnest(write_contact_addresses.organization_ids, write_contact_addresses.zoho_ids) k(organization_id, zoho_id)
         cross join (values ('customer'), ('vendor')) y(contact_type)
         cross join lateral (select t.*, t.ctid as place from zoho.contact_addresses t
                              where t.organization_id = k.organization_id and t.contact_type = y.contact_type
                                and t.zoho_contact_id between k.zoho_id and k.zoho_id
                              order by t.zoho_contact_id, t.position offset 0) t
         where (t.organization_id, t.contact_type, t.zoho_contact_id, t.position) not in (
               select w.organization_id, w.contact_type, w.zoho_contact_id, w.position from wanted w)
    ), gone as (
        -- by their places, as whoever writes an organisation's contacts does it alone; both partitions have such places
        delete from zoho.contact_addresses a
         where a.ctid = any (array(select l.place from left_over l))
           and case when (a.organization_id, a.contact_type, a.zoho_contact_id, a.position) in (
                         select l.organization_id, l.contact_type, l.zoho_contact_id, l.position from left_over l) then true end)
    insert into zoho.contact_addresses as a (
        organization_id, contact_type, zoho_contact_id, position, address_type, zoho_address_id, attention, address, street2,
        city, state, zip, country, country_code, phone, fax, synced_at)
    select w.*
      from wanted w
     order by w.organization_id, w.contact_type, w.zoho_contact_id, w.position
    on conflict on constraint contact_addresses_pkey do update
       set address_type = excluded.address_type, zoho_address_id = excluded.zoho_address_id,
           attention = excluded.attention, address = excluded.address, street2 = excluded.street2,
           city = excluded.city, state = excluded.state, zip = excluded.zip, country = excluded.country,
           country_code = excluded.country_code, phone = excluded.phone, fax = excluded.fax,
           synced_at = excluded.synced_at
     where (a.address_type, a.zoho_address_id, a.attention, a.address, a.street2, a.city, a.state, a.zip, a.country,
            a.country_code, a.phone, a.fax)
           is distinct from (excluded.address_type, excluded.zoho_address_id, excluded.attention, excluded.address, excluded.street2,
            excluded.city, excluded.state, excluded.zip, excluded.country, excluded.country_code, excluded.phone, excluded.fax);
end
$$;
revoke all on function tds.write_contact_addresses(text[], text[], timestamptz) from public;
comment on function tds.write_contact_addresses(text[], text[], timestamptz) is
'Makes the address rows of these contacts what their documents say: 1 billing, 2 shipping, then the others.';

select tds.register(jsonb_build_object(
    'entity', e.entity, 'queue', 'contacts', 'priority', e.priority,
    'aliases', '["customer", "customers", "vendor", "vendors"]'::jsonb,
    'api_path', '/contacts', 'list_key', 'contacts', 'record_key', 'contact', 'id_key', 'contact_id',
    'list_filter', jsonb_build_object('filter_by', 'Status.All', 'contact_type', e.kind, 'sort_column', 'created_time', 'sort_order', 'A'),
    'detail_key', 'billing_address',
    'target', 'contacts', 'target_key', 'zoho_contact_id',
    'prepare', 'prepare_contacts', 'prepare_new', 'lock_contacts', 'complete', 'write_contact_addresses',
    'parts', '{"contact_addresses": "zoho_contact_id"}'::jsonb,
    'joins', 'left join lateral (select c.contact_type, c.sync_version from zoho.contacts c
                              where c.organization_id = own.organization_id and c.zoho_contact_id between s.zoho_id and s.zoho_id
                              order by c.zoho_contact_id limit 1) k on true',
    'only_if', 'k.sync_version is null or k.sync_version = s.version - 1',
    'over_if', 'tds.contact_type(s.doc, tds.contact_type(k.zoho_metadata, k.contact_type)) = k.contact_type',
    'new_if', 'tds.contact_type(s.doc, null) is not null'))
  from (values ('customers', 30, 'customer'), ('vendors', 31, 'vendor')) e(entity, priority, kind);

select tds.map_fields(e.entity, '', $$
    contact_id         id      zoho_contact_id    required
    contact_name       text    name
    first_name         text    -
    last_name          text    full_name  := nullif(concat_ws(' ', tds.json_text(d.first_name), tds.json_text(d.last_name)), '')
    email              text    email
    phone              text    phone
    mobile             text    mobile
    company_name       text    company_name
    contact_type       text    -
    customer_sub_type  word    customer_type      := case tds.json_word(d.customer_sub_type) \
        when 'business' then 'B2B' when 'individual' then 'B2C' end
    status             word    is_active          := tds.json_word(d.status) = 'active'
    currency_code      word    currency           10
    payment_terms      number  payment_terms
    payment_terms_label text   payment_terms_label
    outstanding_receivable_amount number outstanding_receivable
    outstanding_payable_amount    number outstanding_payable
    unused_credits_receivable_amount number unused_credits_receivable
    unused_credits_payable_amount number unused_credits_payable
    pricebook_id       id      zoho_pricebook_id
    pricebook_name     text    pricelist_name
    vat_reg_no         text    -
    tax_reg_no         text    -
    tax_id_value       text    -
    gst_no             text    tax_number         := coalesce(tds.json_text(d.gst_no), tds.json_text(d.vat_reg_no), \
        tds.json_text(d.tax_reg_no), tds.json_text(d.tax_id_value))
    contact_persons    array   -
    billing_address    object  billing_address
    shipping_address   object  shipping_address
    addresses          array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$) from (values ('customers'), ('vendors')) e(entity);

select tds.derive(e.entity, '', 'contact_type', format('tds.contact_type(s.doc, coalesce(k.contact_type, %L))', e.kind),
                  'customer or vendor; names the partition.')
  from (values ('customers', 'customer'), ('vendors', 'vendor')) e(entity, kind);

-- Addresses have no columns of their own here, but the readers of write_contact_addresses() are named.
select tds.map_fields(e.entity, a.list_key, $$
    address_id         id      -
    attention          word    -
    address            word    -
    street2            word    -
    city               word    -
    state              word    -
    zip                word    -
    zipcode            word    -
    country            word    -
    country_code       word    -
    phone              word    -
    fax                word    -
$$) from (values ('customers'), ('vendors')) e(entity)
 cross join (values ('addresses'), ('billing_address'), ('shipping_address')) a(list_key);

select tds.map_child(e.entity, 'contact_persons', 'contact_persons', 'zoho_contact_id', 'position', $$
    contact_person_id  id      zoho_contact_person_id
    salutation         text    salutation
    first_name         text    first_name
    last_name          text    last_name
    email              text    email
    phone              text    phone
    mobile             text    mobile
    designation        text    designation
    department         text    department
    is_primary_contact boolean is_primary
$$) from (values ('customers'), ('vendors')) e(entity);

select tds.write_beside(e.entity, 'contact_addresses', 'zoho_contact_id', 'x.position::text', 'told_contact_addresses',
                        'tds.write_contact_addresses(array_fill($1, array[cardinality($2)]), $2, $3)')
  from (values ('customers'), ('vendors')) e(entity);

select tds.link('contacts', 'pricelist_id', 'zoho_pricebook_id', 'pricelists', 'zoho_pricebook_id');
