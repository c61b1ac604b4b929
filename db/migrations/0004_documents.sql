-- depends: 0003_mapping
-- Bills, vendor credits, credit notes, payments and sales orders, each with its lines or allocations.

create temporary table record_columns (
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
    sync_layers      jsonb
);

create temporary table line_columns (
    line_number      int not null,
    zoho_line_item_id text constraint zoho_line_item_id_within_50 check (char_length(zoho_line_item_id) <= 50),
    zoho_item_id     text constraint zoho_item_id_within_50 check (char_length(zoho_item_id) <= 50),
    product_id       bigint,
    name             text constraint name_within_500 check (char_length(name) <= 500),
    description      text,
    account_name     text constraint account_name_within_255 check (char_length(account_name) <= 255),
    unit             text constraint unit_within_100 check (char_length(unit) <= 100),
    quantity         numeric,
    rate             numeric,
    discount         text constraint discount_within_50 check (char_length(discount) <= 50),
    discount_amount  numeric,
    tax_name         text constraint tax_name_within_255 check (char_length(tax_name) <= 255),
    tax_rate         numeric,
    total_amount     numeric,
    zoho_metadata    jsonb not null,
    synced_at        timestamptz not null
);

alter table zoho.invoices add column total_differs boolean, add column balance_differs boolean;

create sequence zoho.bill_id_seq;
create table zoho.bills (
    id               bigint not null default nextval('zoho.bill_id_seq'),
    organization_id  text not null,
    zoho_bill_id     text not null,
    bill_number      text constraint bill_number_within_100 check (char_length(bill_number) <= 100),
    reference_number text constraint reference_number_within_255 check (char_length(reference_number) <= 255),
    zoho_vendor_id   text constraint zoho_vendor_id_within_50 check (char_length(zoho_vendor_id) <= 50),
    vendor_id        bigint,
    vendor_name      text constraint vendor_name_within_500 check (char_length(vendor_name) <= 500),
    bill_date        date,
    due_date         date,
    payment_status   text constraint payment_status_within_50 check (char_length(payment_status) <= 50),
    subtotal         numeric,
    tax_total        numeric,
    discount_amount  numeric,
    total_amount     numeric,
    amount_paid      numeric,
    credits_applied  numeric,
    balance          numeric,
    currency         text constraint currency_within_10 check (char_length(currency) <= 10),
    exchange_rate    numeric,
    subtotal_differs boolean,
    total_differs    boolean,
    balance_differs  boolean,
    like record_columns,
    constraint bills_pkey primary key (organization_id, zoho_bill_id),
    constraint bills_id_key unique (organization_id, id)
);
create index bills_vendor_idx on zoho.bills (organization_id, vendor_id);
create index bills_unlinked_idx on zoho.bills (organization_id, zoho_vendor_id) where vendor_id is null and zoho_vendor_id is not null;

create table zoho.bill_line_items (
    organization_id  text not null,
    zoho_bill_id     text not null,
    like line_columns including constraints,
    constraint bill_line_items_pkey primary key (organization_id, zoho_bill_id, line_number)
);
create index bill_line_items_product_idx on zoho.bill_line_items (organization_id, product_id);
create index bill_line_items_unlinked_idx on zoho.bill_line_items (organization_id, zoho_item_id)
    where product_id is null and zoho_item_id is not null;

create table zoho.bill_vendor_credits (
    organization_id  text not null,
    zoho_bill_id     text not null,
    position         int not null,
    zoho_vendor_credit_id text constraint zoho_vendor_credit_id_within_50 check (char_length(zoho_vendor_credit_id) <= 50),
    vendor_credit_id bigint,
    vendor_credit_number text constraint vendor_credit_number_within_100 check (char_length(vendor_credit_number) <= 100),
    credited_on      date,
    amount           numeric,
    zoho_metadata    jsonb not null,
    synced_at        timestamptz not null,
    constraint bill_vendor_credits_pkey primary key (organization_id, zoho_bill_id, position)
);
create index bill_vendor_credits_credit_idx on zoho.bill_vendor_credits (organization_id, zoho_vendor_credit_id);

create sequence zoho.vendor_credit_id_seq;
create table zoho.vendor_credits (
    id               bigint not null default nextval('zoho.vendor_credit_id_seq'),
    organization_id  text not null,
    zoho_vendor_credit_id text not null,
    vendor_credit_number text constraint vendor_credit_number_within_100 check (char_length(vendor_credit_number) <= 100),
    reference_number text constraint reference_number_within_255 check (char_length(reference_number) <= 255),
    zoho_vendor_id   text constraint zoho_vendor_id_within_50 check (char_length(zoho_vendor_id) <= 50),
    vendor_id        bigint,
    vendor_name      text constraint vendor_name_within_500 check (char_length(vendor_name) <= 500),
    credit_date      date,
    status           text constraint status_within_50 check (char_length(status) <= 50),
    subtotal         numeric,
    tax_total        numeric,
    total_amount     numeric,
    credits_used     numeric,
    amount_refunded  numeric,
    balance          numeric,
    currency         text constraint currency_within_10 check (char_length(currency) <= 10),
    exchange_rate    numeric,
    subtotal_differs boolean,
    total_differs    boolean,
    balance_differs  boolean,
    like record_columns,
    constraint vendor_credits_pkey primary key (organization_id, zoho_vendor_credit_id),
    constraint vendor_credits_id_key unique (organization_id, id)
);
create index vendor_credits_vendor_idx on zoho.vendor_credits (organization_id, vendor_id);
create index vendor_credits_unlinked_idx on zoho.vendor_credits (organization_id, zoho_vendor_id)
    where vendor_id is null and zoho_vendor_id is not null;

create table zoho.vendor_credit_line_items (
    organization_id  text not null,
    zoho_vendor_credit_id text not null,
    like line_columns including constraints,
    constraint vendor_credit_line_items_pkey primary key (organization_id, zoho_vendor_credit_id, line_number)
);
create index vendor_credit_line_items_product_idx on zoho.vendor_credit_line_items (organization_id, product_id);
create index vendor_credit_line_items_unlinked_idx on zoho.vendor_credit_line_items (organization_id, zoho_item_id)
    where product_id is null and zoho_item_id is not null;

create table zoho.vendor_credit_bills (
    organization_id  text not null,
    zoho_vendor_credit_id text not null,
    position         int not null,
    zoho_bill_id     text constraint zoho_bill_id_within_50 check (char_length(zoho_bill_id) <= 50),
    bill_id          bigint,
    bill_number      text constraint bill_number_within_100 check (char_length(bill_number) <= 100),
    credited_on      date,
    amount           numeric,
    zoho_metadata    jsonb not null,
    synced_at        timestamptz not null,
    constraint vendor_credit_bills_pkey primary key (organization_id, zoho_vendor_credit_id, position)
);
create index vendor_credit_bills_bill_idx on zoho.vendor_credit_bills (organization_id, zoho_bill_id);

create sequence zoho.credit_note_id_seq;
create table zoho.credit_notes (
    id               bigint not null default nextval('zoho.credit_note_id_seq'),
    organization_id  text not null,
    zoho_creditnote_id text not null,
    credit_note_number text constraint credit_note_number_within_100 check (char_length(credit_note_number) <= 100),
    reference_number text constraint reference_number_within_255 check (char_length(reference_number) <= 255),
    zoho_customer_id text constraint zoho_customer_id_within_50 check (char_length(zoho_customer_id) <= 50),
    customer_id      bigint,
    customer_name    text constraint customer_name_within_500 check (char_length(customer_name) <= 500),
    credit_note_date date,
    status           text constraint status_within_50 check (char_length(status) <= 50),
    subtotal         numeric,
    tax_total        numeric,
    discount_amount  numeric,
    total_amount     numeric,
    credits_used     numeric,
    amount_refunded  numeric,
    balance          numeric,
    currency         text constraint currency_within_10 check (char_length(currency) <= 10),
    exchange_rate    numeric,
    subtotal_differs boolean,
    total_differs    boolean,
    balance_differs  boolean,
    like record_columns,
    constraint credit_notes_pkey primary key (organization_id, zoho_creditnote_id),
    constraint credit_notes_id_key unique (organization_id, id)
);
create index credit_notes_customer_idx on zoho.credit_notes (organization_id, customer_id);
create index credit_notes_unlinked_idx on zoho.credit_notes (organization_id, zoho_customer_id)
    where customer_id is null and zoho_customer_id is not null;

create table zoho.credit_note_line_items (
    organization_id  text not null,
    zoho_creditnote_id text not null,
    like line_columns including constraints,
    constraint credit_note_line_items_pkey primary key (organization_id, zoho_creditnote_id, line_number)
);
create index credit_note_line_items_product_idx on zoho.credit_note_line_items (organization_id, product_id);
create index credit_note_line_items_unlinked_idx on zoho.credit_note_line_items (organization_id, zoho_item_id)
    where product_id is null and zoho_item_id is not null;

create table zoho.credit_note_invoices (
    organization_id  text not null,
    zoho_creditnote_id text not null,
    position         int not null,
    zoho_invoice_id  text constraint zoho_invoice_id_within_50 check (char_length(zoho_invoice_id) <= 50),
    invoice_id       bigint,
    invoice_number   text constraint invoice_number_within_100 check (char_length(invoice_number) <= 100),
    credited_on      date,
    amount           numeric,
    zoho_metadata    jsonb not null,
    synced_at        timestamptz not null,
    constraint credit_note_invoices_pkey primary key (organization_id, zoho_creditnote_id, position)
);
create index credit_note_invoices_invoice_idx on zoho.credit_note_invoices (organization_id, zoho_invoice_id);

create sequence zoho.customer_payment_id_seq;
create table zoho.customer_payments (
    id               bigint not null default nextval('zoho.customer_payment_id_seq'),
    organization_id  text not null,
    zoho_payment_id  text not null,
    payment_number   text constraint payment_number_within_100 check (char_length(payment_number) <= 100),
    reference_number text constraint reference_number_within_255 check (char_length(reference_number) <= 255),
    zoho_customer_id text constraint zoho_customer_id_within_50 check (char_length(zoho_customer_id) <= 50),
    customer_id      bigint,
    customer_name    text constraint customer_name_within_500 check (char_length(customer_name) <= 500),
    payment_date     date,
    payment_mode     text constraint payment_mode_within_100 check (char_length(payment_mode) <= 100),
    amount           numeric,
    unused_amount    numeric,
    bank_charges     numeric,
    account_name     text constraint account_name_within_255 check (char_length(account_name) <= 255),
    currency         text constraint currency_within_10 check (char_length(currency) <= 10),
    exchange_rate    numeric,
    description      text,
    like record_columns,
    constraint customer_payments_pkey primary key (organization_id, zoho_payment_id),
    constraint customer_payments_id_key unique (organization_id, id)
);
create index customer_payments_customer_idx on zoho.customer_payments (organization_id, customer_id);
create index customer_payments_unlinked_idx on zoho.customer_payments (organization_id, zoho_customer_id)
    where customer_id is null and zoho_customer_id is not null;

create table zoho.customer_payment_invoices (
    organization_id  text not null,
    zoho_payment_id  text not null,
    position         int not null,
    zoho_allocation_id text constraint zoho_allocation_id_within_50 check (char_length(zoho_allocation_id) <= 50),
    zoho_invoice_id  text constraint zoho_invoice_id_within_50 check (char_length(zoho_invoice_id) <= 50),
    invoice_id       bigint,
    invoice_number   text constraint invoice_number_within_100 check (char_length(invoice_number) <= 100),
    applied_on       date,
    amount           numeric,
    tax_withheld     numeric,
    zoho_metadata    jsonb not null,
    synced_at        timestamptz not null,
    constraint customer_payment_invoices_pkey primary key (organization_id, zoho_payment_id, position)
);
create index customer_payment_invoices_invoice_idx on zoho.customer_payment_invoices (organization_id, zoho_invoice_id);

create sequence zoho.vendor_payment_id_seq;
create table zoho.vendor_payments (
    id               bigint not null default nextval('zoho.vendor_payment_id_seq'),
    organization_id  text not null,
    zoho_payment_id  text not null,
    payment_number   text constraint payment_number_within_100 check (char_length(payment_number) <= 100),
    reference_number text constraint reference_number_within_255 check (char_length(reference_number) <= 255),
    zoho_vendor_id   text constraint zoho_vendor_id_within_50 check (char_length(zoho_vendor_id) <= 50),
    vendor_id        bigint,
    vendor_name      text constraint vendor_name_within_500 check (char_length(vendor_name) <= 500),
    payment_date     date,
    payment_mode     text constraint payment_mode_within_100 check (char_length(payment_mode) <= 100),
    status           text constraint status_within_50 check (char_length(status) <= 50),
    amount           numeric,
    unused_amount    numeric,
    account_name     text constraint account_name_within_255 check (char_length(account_name) <= 255),
    currency         text constraint currency_within_10 check (char_length(currency) <= 10),
    exchange_rate    numeric,
    description      text,
    like record_columns,
    constraint vendor_payments_pkey primary key (organization_id, zoho_payment_id),
    constraint vendor_payments_id_key unique (organization_id, id)
);
create index vendor_payments_vendor_idx on zoho.vendor_payments (organization_id, vendor_id);
create index vendor_payments_unlinked_idx on zoho.vendor_payments (organization_id, zoho_vendor_id)
    where vendor_id is null and zoho_vendor_id is not null;

create table zoho.vendor_payment_bills (
    organization_id  text not null,
    zoho_payment_id  text not null,
    position         int not null,
    zoho_allocation_id text constraint zoho_allocation_id_within_50 check (char_length(zoho_allocation_id) <= 50),
    zoho_bill_id     text constraint zoho_bill_id_within_50 check (char_length(zoho_bill_id) <= 50),
    bill_id          bigint,
    bill_number      text constraint bill_number_within_100 check (char_length(bill_number) <= 100),
    applied_on       date,
    amount           numeric,
    tax_withheld     numeric,
    zoho_metadata    jsonb not null,
    synced_at        timestamptz not null,
    constraint vendor_payment_bills_pkey primary key (organization_id, zoho_payment_id, position)
);
create index vendor_payment_bills_bill_idx on zoho.vendor_payment_bills (organization_id, zoho_bill_id);

drop function if exists tds.subtotal_differs(jsonb, jsonb);

drop table record_columns, line_columns;
