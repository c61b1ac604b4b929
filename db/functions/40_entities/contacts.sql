-- Customers and vendors are one kind of record in Zoho (contact_type tells them apart), and one partitioned table here.

create or replace function tds.contact_type(doc jsonb, known text) returns text
language sql immutable parallel safe
as $$
    select case when $1 ->> 'contact_type' in ('customer', 'vendor') then $1 ->> 'contact_type' else $2 end
$$;
comment on function tds.contact_type(jsonb, text) is
'Which of the two a contact is: what its document says, else what is known of it otherwise.';

create or replace function tds.write_contacts(organization_id text, states tds.record_state[], at timestamptz, kind text) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_lock    constant bigint := hashtextextended('zoho.contacts ' || write_contacts.organization_id, 0);
    v_written text[];
begin
    -- the key holds the type, so nothing else keeps one contact from standing in both tables while its type is in doubt
    if exists (select from unnest(write_contacts.states) s where tds.contact_type(s.doc, null) is null or s.version > 1) then
        perform pg_advisory_xact_lock(v_lock);
    else
        perform pg_advisory_xact_lock_shared(v_lock);
    end if;
    update zoho.contacts t
       set contact_type = tds.contact_type(s.doc, t.contact_type)
      from unnest(write_contacts.states) s
     where t.organization_id = write_contacts.organization_id
       and t.zoho_contact_id = s.zoho_id
       and t.sync_version = s.version - 1
       and t.contact_type <> tds.contact_type(s.doc, t.contact_type);

    with written as (
        insert into zoho.contacts as t (
            organization_id, contact_type, zoho_contact_id, name, full_name, email, phone, mobile, company_name, customer_type,
            is_active, currency, payment_terms, payment_terms_label, outstanding_receivable, outstanding_payable,
            billing_address, shipping_address,
            zoho_metadata, zoho_created_at, zoho_modified_at, synced_at, deleted_at,
            sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_layers)
        select write_contacts.organization_id, tds.contact_type(s.doc, coalesce(k.contact_type, write_contacts.kind)), s.zoho_id,
               tds.json_text(d.contact_name),
               nullif(concat_ws(' ', tds.json_text(d.first_name), tds.json_text(d.last_name)), ''),
               tds.json_text(d.email), tds.json_text(d.phone), tds.json_text(d.mobile), tds.json_text(d.company_name),
               case tds.json_text(d.customer_sub_type) when 'business' then 'B2B' when 'individual' then 'B2C' end,
               tds.json_text(d.status) = 'active', tds.json_text(d.currency_code), tds.json_number(d.payment_terms),
               tds.json_text(d.payment_terms_label), tds.json_number(d.outstanding_receivable_amount),
               tds.json_number(d.outstanding_payable_amount), tds.json_object(d.billing_address), tds.json_object(d.shipping_address),
               s.doc, tds.json_time(d.created_time), tds.json_time(d.last_modified_time), write_contacts.at, s.deleted_at,
               s.version, s.hash, s.modified_at, s.observed_at, s.rank, s.read_at, s.layers
          from unnest(write_contacts.states) s
         cross join lateral jsonb_to_record(s.doc) d(
               contact_name jsonb, first_name jsonb, last_name jsonb, email jsonb, phone jsonb, mobile jsonb, company_name jsonb,
               customer_sub_type jsonb, status jsonb, currency_code jsonb, payment_terms jsonb, payment_terms_label jsonb,
               outstanding_receivable_amount jsonb, outstanding_payable_amount jsonb, billing_address jsonb,
               shipping_address jsonb, created_time jsonb, last_modified_time jsonb)
          left join zoho.contacts k on k.organization_id = write_contacts.organization_id and k.zoho_contact_id = s.zoho_id
         where k.sync_version is null or k.sync_version = s.version - 1
         order by s.zoho_id
        on conflict on constraint contacts_pkey do update
           set name = excluded.name, full_name = excluded.full_name, email = excluded.email, phone = excluded.phone,
               mobile = excluded.mobile, company_name = excluded.company_name, customer_type = excluded.customer_type,
               is_active = excluded.is_active, currency = excluded.currency, payment_terms = excluded.payment_terms,
               payment_terms_label = excluded.payment_terms_label,
               outstanding_receivable = excluded.outstanding_receivable,
               outstanding_payable = excluded.outstanding_payable, billing_address = excluded.billing_address,
               shipping_address = excluded.shipping_address, zoho_metadata = excluded.zoho_metadata,
               zoho_created_at = excluded.zoho_created_at, zoho_modified_at = excluded.zoho_modified_at,
               synced_at = excluded.synced_at, deleted_at = excluded.deleted_at, sync_version = excluded.sync_version,
               sync_hash = excluded.sync_hash, sync_modified_at = excluded.sync_modified_at,
               sync_observed_at = excluded.sync_observed_at, sync_rank = excluded.sync_rank,
               sync_read_at = excluded.sync_read_at, sync_layers = excluded.sync_layers
         where t.sync_version = excluded.sync_version - 1
        returning t.zoho_contact_id)
    select array_agg(w.zoho_contact_id) into v_written from written w;
    perform tds.write_contact_addresses(write_contacts.organization_id, v_written, write_contacts.at);
    return coalesce(v_written, '{}');
end
$$;
revoke all on function tds.write_contacts(text, tds.record_state[], timestamptz, text) from public;
comment on function tds.write_contacts(text, tds.record_state[], timestamptz, text) is
'Writes contacts and their addresses, in key order, each only over the version it was resolved from; returns the ids '
'written. kind: customer or vendor, for a contact of which nothing else says it.';

create or replace function tds.write_contact_addresses(organization_id text, zoho_ids text[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    with told as materialized (
        select c.contact_type, c.zoho_contact_id, a.position::int as position, a.address_type,
               tds.json_id(d.address_id) as zoho_address_id, tds.json_text(d.attention) as attention, tds.json_text(d.address) as address,
               tds.json_text(d.street2) as street2, tds.json_text(d.city) as city, tds.json_text(d.state) as state,
               coalesce(tds.json_text(d.zip), tds.json_text(d.zipcode)) as zip, tds.json_text(d.country) as country,
               tds.json_text(d.country_code) as country_code, tds.json_text(d.phone) as phone, tds.json_text(d.fax) as fax
          from zoho.contacts c
         cross join lateral (
               select 1, 'billing', c.billing_address
                union all
               select 2, 'shipping', c.shipping_address
                union all
               select 2 + e.n, 'additional', e.doc
                 from jsonb_array_elements(coalesce(tds.json_array(c.zoho_metadata -> 'addresses'), '[]')) with ordinality e(doc, n)
               ) a(position, address_type, doc)
         cross join lateral jsonb_to_record(tds.json_object(a.doc)) d(
               address_id jsonb, attention jsonb, address jsonb, street2 jsonb, city jsonb, state jsonb, zip jsonb, zipcode jsonb,
               country jsonb, country_code jsonb, phone jsonb, fax jsonb)
         where c.organization_id = write_contact_addresses.organization_id
           and c.zoho_contact_id = any (write_contact_addresses.zoho_ids)
    ), wanted as materialized (
        select t.* from told t
         where coalesce(t.attention, t.address, t.street2, t.city, t.state, t.zip, t.country, t.phone, t.fax) is not null
    ), gone as (
        delete from zoho.contact_addresses a
         where a.organization_id = write_contact_addresses.organization_id
           and a.zoho_contact_id = any (write_contact_addresses.zoho_ids)
           and not exists (select from wanted w where (w.contact_type, w.zoho_contact_id, w.position) = (a.contact_type, a.zoho_contact_id, a.position)))
    insert into zoho.contact_addresses as a (
        organization_id, contact_type, zoho_contact_id, position, address_type, zoho_address_id, attention, address, street2,
        city, state, zip, country, country_code, phone, fax, synced_at)
    select write_contact_addresses.organization_id, w.*, write_contact_addresses.at
      from wanted w
     order by w.contact_type, w.zoho_contact_id, w.position
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
revoke all on function tds.write_contact_addresses(text, text[], timestamptz) from public;
comment on function tds.write_contact_addresses(text, text[], timestamptz) is
'Makes the address rows of these contacts what their documents say: 1 billing, 2 shipping, then the others.';

create or replace function tds.write_customers(organization_id text, states tds.record_state[], at timestamptz) returns text[]
language sql volatile
as $$ select tds.write_contacts($1, $2, $3, 'customer') $$;
revoke all on function tds.write_customers(text, tds.record_state[], timestamptz) from public;
comment on function tds.write_customers(text, tds.record_state[], timestamptz) is 'write_contacts() for events called customers.';

create or replace function tds.write_vendors(organization_id text, states tds.record_state[], at timestamptz) returns text[]
language sql volatile
as $$ select tds.write_contacts($1, $2, $3, 'vendor') $$;
revoke all on function tds.write_vendors(text, tds.record_state[], timestamptz) from public;
comment on function tds.write_vendors(text, tds.record_state[], timestamptz) is 'write_contacts() for events called vendors.';

create or replace function tds.link_contacts(organization_id text, zoho_ids text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    with waiting as (
        select i.zoho_invoice_id, c.id
          from zoho.invoices i
          join zoho.customers c on c.organization_id = i.organization_id and c.zoho_contact_id = i.zoho_customer_id
         where i.organization_id = link_contacts.organization_id
           and i.zoho_customer_id = any (link_contacts.zoho_ids)
           and i.customer_id is null
         order by i.zoho_invoice_id
           for update of i)
    update zoho.invoices i
       set customer_id = w.id
      from waiting w
     where i.organization_id = link_contacts.organization_id
       and i.zoho_invoice_id = w.zoho_invoice_id;
end
$$;
revoke all on function tds.link_contacts(text, text[]) from public;
comment on function tds.link_contacts(text, text[]) is 'Links the invoices that waited for these customers.';

select tds.register('{
    "entity": "customers", "queue": "contacts", "priority": 30,
    "api_path": "/contacts", "list_key": "contacts", "record_key": "contact", "id_key": "contact_id",
    "list_filter": {"filter_by": "Status.All", "contact_type": "customer", "sort_column": "created_time", "sort_order": "A"},
    "detail_key": "billing_address",
    "target": "contacts", "target_key": "zoho_contact_id", "writer": "write_customers", "linker": "link_contacts"}');

select tds.register('{
    "entity": "vendors", "queue": "contacts", "priority": 31,
    "api_path": "/contacts", "list_key": "contacts", "record_key": "contact", "id_key": "contact_id",
    "list_filter": {"filter_by": "Status.All", "contact_type": "vendor", "sort_column": "created_time", "sort_order": "A"},
    "detail_key": "billing_address",
    "target": "contacts", "target_key": "zoho_contact_id", "writer": "write_vendors", "linker": "link_contacts"}');

select tds.map_fields(e.entity, '', $$
    contact_id         id      zoho_contact_id    required
    contact_name       text    name               500
    first_name         text    full_name          250
    last_name          text    full_name          249
    email              text    email              320
    phone              text    phone              100
    mobile             text    mobile             100
    company_name       text    company_name       500
    contact_type       text    contact_type
    customer_sub_type  text    customer_type
    status             text    is_active
    currency_code      text    currency           10
    payment_terms      number  payment_terms
    payment_terms_label text   payment_terms_label 255
    outstanding_receivable_amount number outstanding_receivable
    outstanding_payable_amount    number outstanding_payable
    billing_address    object  billing_address
    shipping_address   object  shipping_address
    addresses          array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$) from (values ('customers'), ('vendors')) e(entity);
