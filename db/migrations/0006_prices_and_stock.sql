-- depends: 0005_sales_orders
-- Currencies, taxes, warehouses; price lists and prices; stock by place, its history; pictures.

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

alter table tds.entity add column complete_if text not null default 'true';
comment on column tds.entity.complete_if is 'SQL over s.doc: for which of the written records complete is called.';

create table zoho.currencies (
    organization_id  text not null,
    zoho_currency_id text not null,
    code             text constraint code_within_10 check (char_length(code) <= 10),
    name             text constraint name_within_100 check (char_length(name) <= 100),
    symbol           text constraint symbol_within_20 check (char_length(symbol) <= 20),
    price_precision  numeric,
    exchange_rate    numeric,
    is_base          boolean,
    effective_date   date,
    like record_columns,
    constraint currencies_pkey primary key (organization_id, zoho_currency_id)
);

create table zoho.taxes (
    organization_id  text not null,
    zoho_tax_id      text not null,
    name             text constraint name_within_255 check (char_length(name) <= 255),
    percentage       numeric,
    tax_type         text constraint tax_type_within_50 check (char_length(tax_type) <= 50),
    like record_columns,
    constraint taxes_pkey primary key (organization_id, zoho_tax_id)
);

create sequence zoho.warehouse_id_seq;
create table zoho.warehouses (
    id               bigint not null default nextval('zoho.warehouse_id_seq'),
    organization_id  text not null,
    zoho_warehouse_id text not null,
    name             text constraint name_within_255 check (char_length(name) <= 255),
    is_primary       boolean,
    is_active        boolean,
    email            text constraint email_within_320 check (char_length(email) <= 320),
    phone            text constraint phone_within_100 check (char_length(phone) <= 100),
    address          jsonb,
    like record_columns,
    constraint warehouses_pkey primary key (organization_id, zoho_warehouse_id),
    constraint warehouses_id_key unique (organization_id, id)
);

create sequence zoho.pricelist_id_seq;
create table zoho.pricelists (
    id               bigint not null default nextval('zoho.pricelist_id_seq'),
    organization_id  text not null,
    zoho_pricebook_id text not null,
    name             text constraint name_within_255 check (char_length(name) <= 255),
    description      text,
    kind             text constraint kind_within_50 check (char_length(kind) <= 50),
    pricing_scheme   text constraint pricing_scheme_within_50 check (char_length(pricing_scheme) <= 50),
    sales_or_purchase text constraint sales_or_purchase_within_50 check (char_length(sales_or_purchase) <= 50),
    percentage       numeric,
    is_increase      boolean,
    rounding_type    text constraint rounding_type_within_50 check (char_length(rounding_type) <= 50),
    decimal_place    numeric,
    currency         text constraint currency_within_10 check (char_length(currency) <= 10),
    is_active        boolean,
    effective_from   date,
    effective_to     date,
    like record_columns,
    constraint pricelists_pkey primary key (organization_id, zoho_pricebook_id),
    constraint pricelists_id_key unique (organization_id, id)
);

create table zoho.product_prices (
    organization_id  text not null,
    zoho_pricebook_id text not null,
    zoho_item_id     text not null,
    start_quantity   numeric not null,
    end_quantity     numeric,
    pricelist_id     bigint,
    product_id       bigint,
    zoho_pricebook_item_id text,
    rate             numeric,
    discount         numeric,
    currency         text,
    synced_at        timestamptz not null,
    constraint product_prices_pkey primary key (organization_id, zoho_pricebook_id, zoho_item_id, start_quantity)
);
create index product_prices_item_idx on zoho.product_prices (organization_id, zoho_item_id);

create table zoho.stock_levels (
    organization_id  text not null,
    zoho_item_id     text not null,
    zoho_warehouse_id text not null,
    product_id       bigint,
    warehouse_id     bigint,
    warehouse_name   text,
    on_hand          numeric,
    available        numeric,
    committed        numeric,
    actual_available numeric,
    synced_at        timestamptz not null,
    constraint stock_levels_pkey primary key (organization_id, zoho_item_id, zoho_warehouse_id)
);
create index stock_levels_warehouse_idx on zoho.stock_levels (organization_id, zoho_warehouse_id);

create table zoho.stock_history (
    stock_history_id  bigint generated always as identity,
    organization_id   text not null,
    zoho_item_id      text not null,
    zoho_warehouse_id text,
    kind              text not null,
    quantity_before   numeric,
    quantity          numeric,
    recorded_at       timestamptz not null,
    day               date not null,
    constraint stock_history_pkey primary key (organization_id, zoho_item_id, stock_history_id),
    constraint kind_is_known check (kind in ('change', 'snapshot'))
);
create unique index stock_history_snapshot_idx on zoho.stock_history (organization_id, day, zoho_item_id, coalesce(zoho_warehouse_id, ''))
    where kind = 'snapshot';

create table tds.image (
    organization_id   text not null,
    zoho_item_id      text not null,
    image_document_id text not null,
    state             text not null,
    sha256            text,
    content_type      text,
    bytes             bigint,
    url               text,
    tries             int not null default 0,
    error             text,
    leased_until      timestamptz,
    changed_at        timestamptz not null,
    constraint image_pkey primary key (organization_id, zoho_item_id),
    constraint state_is_known check (state in ('wanted', 'ready', 'failed', 'gone'))
);
comment on table  tds.image is 'Pictures of products that were asked for, by the document they show; what is wanted besides is in tds_wanted_images.';
comment on column tds.image.organization_id is 'Zoho organisation.';
comment on column tds.image.zoho_item_id is 'The product.';
comment on column tds.image.image_document_id is 'The document it shows; a product with another one wants its picture again.';
comment on column tds.image.state is 'wanted (a fetcher has it), ready (the file exists), failed (tried again later), gone (Zoho has none).';
comment on column tds.image.sha256 is 'Of the file, which is stored under it.';
comment on column tds.image.content_type is 'As its first bytes tell.';
comment on column tds.image.bytes is 'Size of the file.';
comment on column tds.image.url is 'Where it is served: products.image_url.';
comment on column tds.image.tries is 'Times it was fetched in vain.';
comment on column tds.image.error is 'What the last of those answered.';
comment on column tds.image.leased_until is 'Not handed out again before.';
comment on column tds.image.changed_at is 'When its state changed.';

create table zoho.stock_adjustments (
    organization_id  text not null,
    zoho_adjustment_id text not null,
    reference_number text constraint reference_number_within_255 check (char_length(reference_number) <= 255),
    adjustment_date  date,
    reason           text constraint reason_within_500 check (char_length(reason) <= 500),
    description      text,
    like record_columns,
    constraint stock_adjustments_pkey primary key (organization_id, zoho_adjustment_id)
);

create table tds.endpoint (
    endpoint text not null,
    key      text not null,
    entity   text not null,
    priority int not null,
    constraint endpoint_pkey primary key (endpoint, key)
);
comment on table  tds.endpoint is 'Names under which several kinds of record come: what a body is about is known by a key it has.';
comment on column tds.endpoint.endpoint is 'The name tds.receive() takes.';
comment on column tds.endpoint.key is 'A key of the body.';
comment on column tds.endpoint.entity is 'The entity such a body is about.';
comment on column tds.endpoint.priority is 'Lower is looked for first.';

comment on column tds.entity.api_path is 'Path of the list below /books/v3; a detail is <api_path>/<id>. Empty: told by webhooks only.';

comment on column zoho.product_prices.start_quantity is 'Smallest quantity the price is for; 0: any.';
comment on column zoho.product_prices.end_quantity is 'Largest quantity the price is for; null: no end.';
comment on column zoho.product_prices.zoho_pricebook_id is 'Zoho''s id of the price list.';
comment on column zoho.product_prices.zoho_item_id is 'Zoho''s id of the product.';
comment on column zoho.product_prices.zoho_pricebook_item_id is 'Zoho''s id of this price.';
comment on column zoho.product_prices.pricelist_id is 'pricelists.id.';
comment on column zoho.product_prices.rate is 'The price of one, in currency; null: see discount.';
comment on column zoho.product_prices.discount is 'Percent off the product''s own price, where the list gives that instead of a rate.';
comment on column zoho.product_prices.currency is 'Currency of the list.';
comment on column zoho.stock_levels.zoho_item_id is 'Zoho''s id of the product.';
comment on column zoho.stock_levels.zoho_warehouse_id is 'Zoho''s id of the location or warehouse.';
comment on column zoho.stock_levels.warehouse_name is 'Its name, as the product tells it.';
comment on column zoho.stock_levels.product_id is 'products.id.';
comment on column zoho.stock_levels.on_hand is 'Stock on hand there; null: not told.';
comment on column zoho.stock_levels.available is 'Of that, available.';
comment on column zoho.stock_levels.committed is 'Of that, committed to orders.';
comment on column zoho.stock_levels.actual_available is 'Physically available there.';
comment on column zoho.stock_history.stock_history_id is 'Number of the row.';
comment on column zoho.stock_history.zoho_item_id is 'Zoho''s id of the product.';
comment on column zoho.stock_history.zoho_warehouse_id is 'Zoho''s id of the place; null: the product''s stock on hand.';
comment on column zoho.stock_history.kind is 'change, or snapshot (one a day; tds.snapshot_stock()).';
comment on column zoho.stock_history.quantity_before is 'Quantity before the change.';
comment on column zoho.stock_history.quantity is 'Quantity after it, or at the snapshot.';
comment on column zoho.stock_history.recorded_at is 'When.';
comment on column zoho.stock_history.day is 'The day of it (UTC).';

drop table record_columns;
