-- depends: 0025_unknown
-- What records are also called, texts without a bound where they only describe, and columns for what was told of money and
-- stood in zoho_metadata alone. The rows that are there get them from their documents: tds.fill_new_columns().

alter table tds.entity add column aliases text[] not null default '{}';
comment on column tds.entity.aliases is 'Keys under which bodies hold its records besides list_key and record_key, as others call them.';

alter table tds.field drop constraint reader_is_known;
alter table tds.field add constraint reader_is_known
    check (reader in ('id', 'text', 'word', 'number', 'boolean', 'date', 'time', 'object', 'array'));

-- A text that only describes is never a reason to refuse a record. What is a key, or is looked up by, keeps its bound.
do $$
declare
    v_bound record;
begin
    for v_bound in
        select k.conrelid::regclass as relation, k.conname
          from pg_constraint k
         where k.connamespace = 'zoho'::regnamespace and k.contype = 'c' and k.coninhcount = 0
           and k.conname ~ ('^(name|full_name|email|phone|mobile|company_name|category_name|unit|brand|tax_name|account_name|'
                            'reference_number|customer_name|vendor_name|payment_terms_label|payment_mode|reason|country|plan_name|symbol'
                            ')_within_[0-9]+$')
         order by 1, 2
    loop
        execute format('alter table %s drop constraint %I', v_bound.relation, v_bound.conname);
    end loop;
end
$$;
-- the index holds what an index can
drop index zoho.contacts_email_idx;
create index contacts_email_idx on zoho.contacts (organization_id, email) where char_length(email) <= 320;

alter table zoho.products
    add column available_stock numeric, add column committed_stock numeric, add column actual_available_stock numeric,
    add column actual_committed_stock numeric, add column available_for_sale_stock numeric;

alter table zoho.contacts
    add column zoho_pricebook_id text constraint zoho_pricebook_id_within_50 check (char_length(zoho_pricebook_id) <= 50),
    add column pricelist_id bigint, add column pricelist_name text, add column tax_number text,
    add column unused_credits_receivable numeric, add column unused_credits_payable numeric;
create index contacts_pricelist_idx on zoho.contacts (organization_id, zoho_pricebook_id) where zoho_pricebook_id is not null;

create table zoho.contact_persons (
    organization_id  text not null,
    zoho_contact_id  text not null,
    position         int not null,
    zoho_contact_person_id text constraint zoho_contact_person_id_within_50 check (char_length(zoho_contact_person_id) <= 50),
    salutation       text,
    first_name       text,
    last_name        text,
    email            text,
    phone            text,
    mobile           text,
    designation      text,
    department       text,
    is_primary       boolean,
    zoho_metadata    jsonb not null,
    synced_at        timestamptz not null,
    constraint contact_persons_pkey primary key (organization_id, zoho_contact_id, position)
);

alter table zoho.invoices
    add column credits_applied numeric, add column write_off_amount numeric, add column shipping_charge numeric,
    add column adjustment numeric, add column tax_withheld numeric, add column tds_amount numeric, add column tcs_amount numeric;

alter table zoho.bills
    add column adjustment numeric, add column tax_withheld numeric, add column tds_amount numeric, add column tcs_amount numeric;

create table zoho.bill_payments (
    organization_id  text not null,
    zoho_bill_id     text not null,
    position         int not null,
    zoho_allocation_id text constraint zoho_allocation_id_within_50 check (char_length(zoho_allocation_id) <= 50),
    zoho_payment_id  text constraint zoho_payment_id_within_50 check (char_length(zoho_payment_id) <= 50),
    vendor_payment_id bigint,
    payment_number   text constraint payment_number_within_100 check (char_length(payment_number) <= 100),
    payment_mode     text,
    reference_number text,
    paid_on          date,
    amount           numeric,
    zoho_metadata    jsonb not null,
    synced_at        timestamptz not null,
    constraint bill_payments_pkey primary key (organization_id, zoho_bill_id, position)
);
create index bill_payments_payment_idx on zoho.bill_payments (organization_id, zoho_payment_id);

alter table zoho.credit_notes
    add column shipping_charge numeric, add column adjustment numeric;

alter table zoho.vendor_credits
    add column discount_amount numeric, add column adjustment numeric;

alter table zoho.sales_orders
    add column discount_amount numeric, add column shipping_charge numeric, add column adjustment numeric,
    add column order_status text constraint order_status_within_50 check (char_length(order_status) <= 50),
    add column invoiced_status text constraint invoiced_status_within_50 check (char_length(invoiced_status) <= 50),
    add column paid_status text constraint paid_status_within_50 check (char_length(paid_status) <= 50),
    add column shipped_status text constraint shipped_status_within_50 check (char_length(shipped_status) <= 50);

create table tds.column_to_fill (
    entity          text not null,
    organization_id text not null,
    after           text not null default '',
    constraint column_to_fill_pkey primary key (entity, organization_id)
);
comment on table tds.column_to_fill is
'Entities whose rows are still to be made anew from their documents after an upgrade that gave them columns; see tds.fill_new_columns().';
comment on column tds.column_to_fill.entity is 'The entity.';
comment on column tds.column_to_fill.organization_id is 'Whose rows.';
comment on column tds.column_to_fill.after is 'The last id that is done.';

insert into tds.column_to_fill (entity, organization_id)
select 'products', t.organization_id from zoho.products t group by t.organization_id
union all
select 'customers', t.organization_id from zoho.customers t group by t.organization_id
union all
select 'vendors', t.organization_id from zoho.vendors t group by t.organization_id
union all
select 'invoices', t.organization_id from zoho.invoices t group by t.organization_id
union all
select 'bills', t.organization_id from zoho.bills t group by t.organization_id
union all
select 'credit_notes', t.organization_id from zoho.credit_notes t group by t.organization_id
union all
select 'vendor_credits', t.organization_id from zoho.vendor_credits t group by t.organization_id
union all
select 'sales_orders', t.organization_id from zoho.sales_orders t group by t.organization_id;
