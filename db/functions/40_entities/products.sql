create or replace function tds.write_products(organization_id text, states tds.record_state[], at timestamptz) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_written text[];
begin
    with written as (
        insert into zoho.products as t (
            organization_id, zoho_item_id, name, sku, description, unit_price, stock_quantity, is_active, tax_rate,
            category_name, image_document_id, unit, purchase_rate, reorder_level, brand, currency,
            zoho_metadata, zoho_created_at, zoho_modified_at, synced_at, deleted_at,
            sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_layers)
        select write_products.organization_id, s.zoho_id,
               tds.json_text(d.name), tds.json_text(d.sku), tds.json_text(d.description), tds.json_number(d.rate),
               tds.json_number(d.stock_on_hand), tds.json_text(d.status) = 'active', tds.json_number(d.tax_percentage),
               tds.json_text(d.category_name), tds.json_id(d.image_document_id), tds.json_text(d.unit),
               tds.json_number(d.purchase_rate), tds.json_number(d.reorder_level), tds.json_text(d.brand), o.currency,
               s.doc, tds.json_time(d.created_time), tds.json_time(d.last_modified_time), write_products.at, s.deleted_at,
               s.version, s.hash, s.modified_at, s.observed_at, s.rank, s.read_at, s.layers
          from unnest(write_products.states) s
         cross join lateral jsonb_to_record(s.doc) d(
               name jsonb, sku jsonb, description jsonb, rate jsonb, stock_on_hand jsonb, status jsonb, tax_percentage jsonb,
               category_name jsonb, image_document_id jsonb, unit jsonb, purchase_rate jsonb, reorder_level jsonb, brand jsonb,
               created_time jsonb, last_modified_time jsonb)
          left join zoho.organizations o on o.organization_id = write_products.organization_id
                                      and o.zoho_organization_id = write_products.organization_id
         order by s.zoho_id
        on conflict on constraint products_pkey do update
           set name = excluded.name, sku = excluded.sku, description = excluded.description,
               unit_price = excluded.unit_price, stock_quantity = excluded.stock_quantity,
               is_active = excluded.is_active, tax_rate = excluded.tax_rate, category_name = excluded.category_name,
               image_document_id = excluded.image_document_id, unit = excluded.unit,
               purchase_rate = excluded.purchase_rate, reorder_level = excluded.reorder_level, brand = excluded.brand,
               currency = excluded.currency, zoho_metadata = excluded.zoho_metadata,
               zoho_created_at = excluded.zoho_created_at, zoho_modified_at = excluded.zoho_modified_at,
               synced_at = excluded.synced_at, deleted_at = excluded.deleted_at, sync_version = excluded.sync_version,
               sync_hash = excluded.sync_hash, sync_modified_at = excluded.sync_modified_at,
               sync_observed_at = excluded.sync_observed_at, sync_rank = excluded.sync_rank,
               sync_read_at = excluded.sync_read_at, sync_layers = excluded.sync_layers
         where t.sync_version = excluded.sync_version - 1
        returning t.zoho_item_id)
    select array_agg(w.zoho_item_id) into v_written from written w;
    return coalesce(v_written, '{}');
end
$$;
revoke all on function tds.write_products(text, tds.record_state[], timestamptz) from public;
comment on function tds.write_products(text, tds.record_state[], timestamptz) is
'Writes products, in key order, each only over the version it was resolved from; returns the ids written.';

create or replace function tds.link_products(organization_id text, zoho_ids text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    with waiting as (
        select l.zoho_invoice_id, l.line_number, p.id
          from zoho.invoice_line_items l
          join zoho.products p on p.organization_id = l.organization_id and p.zoho_item_id = l.zoho_item_id
         where l.organization_id = link_products.organization_id
           and l.zoho_item_id = any (link_products.zoho_ids)
           and l.product_id is null
         order by l.zoho_invoice_id, l.line_number
           for update of l)
    update zoho.invoice_line_items l
       set product_id = w.id
      from waiting w
     where l.organization_id = link_products.organization_id
       and l.zoho_invoice_id = w.zoho_invoice_id
       and l.line_number = w.line_number;
end
$$;
revoke all on function tds.link_products(text, text[]) from public;
comment on function tds.link_products(text, text[]) is 'Links the lines that waited for these products.';

select tds.register('{
    "entity": "products", "queue": "products", "priority": 20,
    "api_path": "/items", "list_key": "items", "record_key": "item", "id_key": "item_id",
    "list_filter": {"filter_by": "Status.All", "sort_column": "created_time", "sort_order": "A"}, "bulk_detail_path": "/itemdetails",
    "detail_key": "brand",
    "target": "products", "target_key": "zoho_item_id", "writer": "write_products", "linker": "link_products"}');

select tds.map_fields('products', '', $$
    item_id            id      zoho_item_id       required
    name               text    name               500
    sku                text    sku                255
    description        text    description
    rate               number  unit_price
    stock_on_hand      number  stock_quantity
    status             text    is_active
    tax_percentage     number  tax_rate
    category_name      text    category_name      500
    image_document_id  id      image_document_id
    unit               text    unit               100
    purchase_rate      number  purchase_rate
    reorder_level      number  reorder_level
    brand              text    brand              500
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);
