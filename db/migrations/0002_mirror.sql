-- depends: 0001_inbox
-- The mirror's first tables: organisations, products, contacts (customers and vendors), invoices.
-- The sync_ columns are the record's version; what they mean is written once, in tds.record_state.

create sequence zoho.product_id_seq;
create sequence zoho.contact_id_seq;
create sequence zoho.invoice_id_seq;

create table zoho.organizations (
    organization_id  text not null,
    zoho_organization_id text not null,
    name             text constraint name_within_500 check (char_length(name) <= 500),
    currency         text constraint currency_within_10 check (char_length(currency) <= 10),
    price_precision  numeric,
    time_zone        text constraint time_zone_within_100 check (char_length(time_zone) <= 100),
    country          text constraint country_within_100 check (char_length(country) <= 100),
    plan_name        text constraint plan_name_within_100 check (char_length(plan_name) <= 100),
    zoho_metadata    jsonb not null,
    zoho_created_at  timestamptz,
    zoho_modified_at timestamptz,
    synced_at        timestamptz not null,
    deleted_at       timestamptz,
    sync_version     int not null,
    sync_hash        bigint,
    sync_modified_at timestamptz,
    sync_observed_at timestamptz not null,
    sync_rank        smallint not null,
    sync_read_at     timestamptz,
    sync_layers      jsonb,
    constraint organizations_pkey primary key (organization_id, zoho_organization_id)
);

create table zoho.products (
    id               bigint not null default nextval('zoho.product_id_seq'),
    organization_id  text not null,
    zoho_item_id     text not null,
    name             text constraint name_within_500 check (char_length(name) <= 500),
    sku              text constraint sku_within_255 check (char_length(sku) <= 255),
    description      text,
    unit_price       numeric,
    stock_quantity   numeric,
    is_active        boolean,
    tax_rate         numeric,
    category_name    text constraint category_name_within_500 check (char_length(category_name) <= 500),
    image_document_id text constraint image_document_id_within_50 check (char_length(image_document_id) <= 50),
    image_url        text,
    unit             text constraint unit_within_100 check (char_length(unit) <= 100),
    purchase_rate    numeric,
    reorder_level    numeric,
    brand            text constraint brand_within_500 check (char_length(brand) <= 500),
    currency         text,
    zoho_metadata    jsonb not null,
    zoho_created_at  timestamptz,
    zoho_modified_at timestamptz,
    synced_at        timestamptz not null,
    deleted_at       timestamptz,
    sync_version     int not null,
    sync_hash        bigint,
    sync_modified_at timestamptz,
    sync_observed_at timestamptz not null,
    sync_rank        smallint not null,
    sync_read_at     timestamptz,
    sync_layers      jsonb,
    constraint products_pkey primary key (organization_id, zoho_item_id),
    constraint products_id_key unique (organization_id, id)
);
create index products_sku_idx on zoho.products (organization_id, sku) where sku is not null;

create table zoho.contacts (
    id               bigint not null default nextval('zoho.contact_id_seq'),
    organization_id  text not null,
    contact_type     text not null,
    zoho_contact_id  text not null,
    name             text constraint name_within_500 check (char_length(name) <= 500),
    full_name        text constraint full_name_within_500 check (char_length(full_name) <= 500),
    email            text constraint email_within_320 check (char_length(email) <= 320),
    phone            text constraint phone_within_100 check (char_length(phone) <= 100),
    mobile           text constraint mobile_within_100 check (char_length(mobile) <= 100),
    company_name     text constraint company_name_within_500 check (char_length(company_name) <= 500),
    customer_type    text,
    is_active        boolean,
    currency         text constraint currency_within_10 check (char_length(currency) <= 10),
    payment_terms    numeric,
    payment_terms_label text constraint payment_terms_label_within_255 check (char_length(payment_terms_label) <= 255),
    outstanding_receivable numeric,
    outstanding_payable numeric,
    billing_address  jsonb,
    shipping_address jsonb,
    zoho_metadata    jsonb not null,
    zoho_created_at  timestamptz,
    zoho_modified_at timestamptz,
    synced_at        timestamptz not null,
    deleted_at       timestamptz,
    sync_version     int not null,
    sync_hash        bigint,
    sync_modified_at timestamptz,
    sync_observed_at timestamptz not null,
    sync_rank        smallint not null,
    sync_read_at     timestamptz,
    sync_layers      jsonb,
    constraint contacts_pkey primary key (organization_id, contact_type, zoho_contact_id),
    constraint contacts_id_key unique (organization_id, contact_type, id)
) partition by list (contact_type);
create table zoho.customers partition of zoho.contacts for values in ('customer');
create table zoho.vendors partition of zoho.contacts for values in ('vendor');
create index contacts_zoho_contact_id_idx on zoho.contacts (organization_id, zoho_contact_id);
create index contacts_email_idx on zoho.contacts (organization_id, email) where email is not null;

create table zoho.contact_addresses (
    organization_id  text not null,
    contact_type     text not null,
    zoho_contact_id  text not null,
    position         int not null,
    address_type     text not null,
    zoho_address_id  text,
    attention        text,
    address          text,
    street2          text,
    city             text,
    state            text,
    zip              text,
    country          text,
    country_code     text,
    phone            text,
    fax              text,
    synced_at        timestamptz not null,
    constraint contact_addresses_pkey primary key (organization_id, contact_type, zoho_contact_id, position),
    constraint address_type_is_known check (address_type in ('billing', 'shipping', 'additional'))
) partition by list (contact_type);
create table zoho.customer_addresses partition of zoho.contact_addresses for values in ('customer');
create table zoho.vendor_addresses partition of zoho.contact_addresses for values in ('vendor');

create table zoho.invoices (
    id               bigint not null default nextval('zoho.invoice_id_seq'),
    organization_id  text not null,
    zoho_invoice_id  text not null,
    invoice_number   text constraint invoice_number_within_100 check (char_length(invoice_number) <= 100),
    reference_number text constraint reference_number_within_255 check (char_length(reference_number) <= 255),
    zoho_customer_id text constraint zoho_customer_id_within_50 check (char_length(zoho_customer_id) <= 50),
    customer_id      bigint,
    customer_name    text constraint customer_name_within_500 check (char_length(customer_name) <= 500),
    invoice_date     date,
    due_date         date,
    status           text constraint status_within_50 check (char_length(status) <= 50),
    subtotal         numeric,
    tax_total        numeric,
    discount_amount  numeric,
    total_amount     numeric,
    amount_paid      numeric,
    balance          numeric,
    currency         text constraint currency_within_10 check (char_length(currency) <= 10),
    exchange_rate    numeric,
    subtotal_differs boolean,
    zoho_metadata    jsonb not null,
    zoho_created_at  timestamptz,
    zoho_modified_at timestamptz,
    synced_at        timestamptz not null,
    deleted_at       timestamptz,
    sync_version     int not null,
    sync_hash        bigint,
    sync_modified_at timestamptz,
    sync_observed_at timestamptz not null,
    sync_rank        smallint not null,
    sync_read_at     timestamptz,
    sync_layers      jsonb,
    constraint invoices_pkey primary key (organization_id, zoho_invoice_id),
    constraint invoices_id_key unique (organization_id, id)
);
create index invoices_customer_idx on zoho.invoices (organization_id, customer_id);
create index invoices_unlinked_idx on zoho.invoices (organization_id, zoho_customer_id)
    where customer_id is null and zoho_customer_id is not null;

create table zoho.invoice_line_items (
    organization_id  text not null,
    zoho_invoice_id  text not null,
    line_number      int not null,
    zoho_line_item_id text constraint zoho_line_item_id_within_50 check (char_length(zoho_line_item_id) <= 50),
    zoho_item_id     text constraint zoho_item_id_within_50 check (char_length(zoho_item_id) <= 50),
    product_id       bigint,
    name             text constraint name_within_500 check (char_length(name) <= 500),
    description      text,
    unit             text constraint unit_within_100 check (char_length(unit) <= 100),
    quantity         numeric,
    rate             numeric,
    discount         text constraint discount_within_50 check (char_length(discount) <= 50),
    discount_amount  numeric,
    tax_name         text constraint tax_name_within_255 check (char_length(tax_name) <= 255),
    tax_rate         numeric,
    total_amount     numeric,
    zoho_metadata    jsonb not null,
    synced_at        timestamptz not null,
    constraint invoice_line_items_pkey primary key (organization_id, zoho_invoice_id, line_number)
);
create index invoice_line_items_product_idx on zoho.invoice_line_items (organization_id, product_id);
create index invoice_line_items_unlinked_idx on zoho.invoice_line_items (organization_id, zoho_item_id)
    where product_id is null and zoho_item_id is not null;

-- lz4 halves the cost of large values against pglz; builds without it (the embedded server) keep pglz.
do $$
declare
    target record;
begin
    if not exists (select from pg_settings where name = 'default_toast_compression' and 'lz4' = any (enumvals)) then
        return;
    end if;
    for target in
        select a.attrelid::regclass as relation, a.attname
          from pg_attribute a
          join pg_class c on c.oid = a.attrelid
         where c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace)
           and c.relkind in ('r', 'p')
           and a.attname in ('zoho_metadata', 'sync_layers', 'body', 'record')
           and a.atttypid in ('jsonb'::regtype, 'text'::regtype)
           and not a.attisdropped
    loop
        execute format('alter table %s alter column %I set compression lz4', target.relation, target.attname);
    end loop;
end
$$;
