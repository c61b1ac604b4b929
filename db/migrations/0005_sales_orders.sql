-- depends: 0004_documents
-- Sales orders: the entity of docs/adding-an-entity.md.

create sequence zoho.sales_order_id_seq;
create table zoho.sales_orders (
    id               bigint not null default nextval('zoho.sales_order_id_seq'),
    organization_id  text not null,
    zoho_salesorder_id text not null,
    order_number     text constraint order_number_within_100 check (char_length(order_number) <= 100),
    reference_number text constraint reference_number_within_255 check (char_length(reference_number) <= 255),
    zoho_customer_id text constraint zoho_customer_id_within_50 check (char_length(zoho_customer_id) <= 50),
    customer_id      bigint,
    customer_name    text constraint customer_name_within_500 check (char_length(customer_name) <= 500),
    order_date       date,
    shipment_date    date,
    status           text constraint status_within_50 check (char_length(status) <= 50),
    subtotal         numeric,
    tax_total        numeric,
    total_amount     numeric,
    currency         text constraint currency_within_10 check (char_length(currency) <= 10),
    exchange_rate    numeric,
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
    constraint sales_orders_pkey primary key (organization_id, zoho_salesorder_id),
    constraint sales_orders_id_key unique (organization_id, id)
);
create index sales_orders_customer_idx on zoho.sales_orders (organization_id, customer_id);
create index sales_orders_unlinked_idx on zoho.sales_orders (organization_id, zoho_customer_id)
    where customer_id is null and zoho_customer_id is not null;

create table zoho.sales_order_line_items (
    organization_id  text not null,
    zoho_salesorder_id text not null,
    line_number      int not null,
    zoho_line_item_id text constraint zoho_line_item_id_within_50 check (char_length(zoho_line_item_id) <= 50),
    zoho_item_id     text constraint zoho_item_id_within_50 check (char_length(zoho_item_id) <= 50),
    product_id       bigint,
    name             text constraint name_within_500 check (char_length(name) <= 500),
    description      text,
    unit             text constraint unit_within_100 check (char_length(unit) <= 100),
    quantity         numeric,
    rate             numeric,
    total_amount     numeric,
    zoho_metadata    jsonb not null,
    synced_at        timestamptz not null,
    constraint sales_order_line_items_pkey primary key (organization_id, zoho_salesorder_id, line_number)
);
create index sales_order_line_items_product_idx on zoho.sales_order_line_items (organization_id, product_id);
create index sales_order_line_items_unlinked_idx on zoho.sales_order_line_items (organization_id, zoho_item_id)
    where product_id is null and zoho_item_id is not null;
