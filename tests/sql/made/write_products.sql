CREATE OR REPLACE FUNCTION tds.write_products(organization_ids text[], states tds.record_state[], at timestamp with time zone)
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_written bigint[];
    v_is_kept constant boolean := tds.keeps_history('products');
begin
    with owner as materialized (
        select jsonb_object_agg(o.organization_id, (
                   select p.currency from zoho.organizations p
                    where p.organization_id = o.organization_id
                      and p.zoho_organization_id between o.organization_id and o.organization_id
                    order by p.zoho_organization_id limit 1)) as currency
          from (select distinct u.organization_id from unnest(write_products.organization_ids) u(organization_id)) o
    ), written as (
        insert into zoho.products as t (
            organization_id, zoho_item_id,
            actual_available_stock, actual_committed_stock, available_for_sale_stock, available_stock,
            brand, category_name, committed_stock, currency, description, image_document_id, is_active,
            name, purchase_rate, reorder_level, sku, stock_quantity, tax_rate, unit, unit_price,
            zoho_created_at, zoho_modified_at,
            zoho_metadata, synced_at, deleted_at,
            sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_layers, sync_event)
        select own.organization_id, s.zoho_id,
               tds.json_number(d.actual_available_stock),
               tds.json_number(d.actual_committed_stock),
               tds.json_number(d.available_for_sale_stock),
               tds.json_number(d.available_stock),
               tds.json_text(d.brand),
               tds.json_text(d.category_name),
               coalesce(tds.json_number(d.committed_stock), tds.json_number(d.stock_committed)),
               ((select o.currency from owner o) ->> own.organization_id),
               tds.json_text(d.description),
               tds.json_id(d.image_document_id),
               tds.json_word(d.status) = 'active',
               tds.json_text(d.name),
               tds.json_number(d.purchase_rate),
               tds.json_number(d.reorder_level),
               tds.json_word(d.sku),
               tds.json_number(d.stock_on_hand),
               tds.json_number(d.tax_percentage),
               tds.json_text(d.unit),
               tds.json_number(d.rate),
               tds.json_time(d.created_time),
               tds.json_time(d.last_modified_time),
               s.doc, own.at, s.deleted_at, s.version, s.hash, s.modified_at, s.observed_at, s.rank, s.read_at, s.layers, s.inbox_id
          from unnest(write_products.organization_ids, write_products.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)
         cross join lateral (select s.organization_id, write_products.at as at) own
         cross join lateral (
               select s.doc -> 'actual_available_stock' as actual_available_stock,
                      s.doc -> 'actual_committed_stock' as actual_committed_stock,
                      s.doc -> 'available_for_sale_stock' as available_for_sale_stock,
                      s.doc -> 'available_stock' as available_stock,
                      s.doc -> 'brand' as brand,
                      s.doc -> 'category_name' as category_name,
                      s.doc -> 'committed_stock' as committed_stock,
                      s.doc -> 'created_time' as created_time,
                      s.doc -> 'description' as description,
                      s.doc -> 'image_document_id' as image_document_id,
                      s.doc -> 'item_id' as item_id,
                      s.doc -> 'last_modified_time' as last_modified_time,
                      s.doc -> 'locations' as locations,
                      s.doc -> 'name' as name,
                      s.doc -> 'purchase_rate' as purchase_rate,
                      s.doc -> 'rate' as rate,
                      s.doc -> 'reorder_level' as reorder_level,
                      s.doc -> 'sku' as sku,
                      s.doc -> 'status' as status,
                      s.doc -> 'stock_committed' as stock_committed,
                      s.doc -> 'stock_on_hand' as stock_on_hand,
                      s.doc -> 'tax_percentage' as tax_percentage,
                      s.doc -> 'unit' as unit,
                      s.doc -> 'warehouses' as warehouses
               offset 0) d
         where true
         order by s.organization_id, s.zoho_id
        on conflict on constraint products_pkey do update
           set actual_available_stock = excluded.actual_available_stock,
               actual_committed_stock = excluded.actual_committed_stock,
               available_for_sale_stock = excluded.available_for_sale_stock,
               available_stock = excluded.available_stock, brand = excluded.brand,
               category_name = excluded.category_name, committed_stock = excluded.committed_stock,
               currency = excluded.currency, description = excluded.description,
               image_document_id = excluded.image_document_id, is_active = excluded.is_active,
               name = excluded.name, purchase_rate = excluded.purchase_rate,
               reorder_level = excluded.reorder_level, sku = excluded.sku,
               stock_quantity = excluded.stock_quantity, tax_rate = excluded.tax_rate,
               unit = excluded.unit, unit_price = excluded.unit_price,
               zoho_created_at = excluded.zoho_created_at, zoho_modified_at = excluded.zoho_modified_at,
               zoho_metadata = excluded.zoho_metadata, synced_at = excluded.synced_at, deleted_at = excluded.deleted_at,
               sync_version = excluded.sync_version, sync_hash = excluded.sync_hash, sync_modified_at = excluded.sync_modified_at,
               sync_observed_at = excluded.sync_observed_at, sync_rank = excluded.sync_rank, sync_read_at = excluded.sync_read_at,
               sync_layers = excluded.sync_layers, sync_event = excluded.sync_event
         where t.sync_version = excluded.sync_version - 1
        returning t.organization_id, t.zoho_item_id as zoho_id), noted as (
        insert into tds.record_history (
            organization_id, target, zoho_id, kind, changed_at, written_at, inbox_id, back, was_version, was_hash, was_modified_at,
            was_observed_at, was_rank, was_read_at, was_layers, was_deleted_at, was_synced_at, was_event)
        select s.organization_id, 'products', s.zoho_id, k.kind,
               case k.kind
                   when 'deleted' then s.deleted_at
                   when 'revived' then greatest(s.modified_at, s.read_at, s.observed_at)
                   when 'completed' then case when s.modified_at > b.sync_modified_at then s.modified_at end
                   else case when s.modified_at > coalesce(b.sync_modified_at, '-infinity') then s.modified_at else s.observed_at end end,
               write_products.at, s.inbox_id, d.back, b.sync_version, b.sync_hash, b.sync_modified_at,
               b.sync_observed_at, b.sync_rank, b.sync_read_at, b.sync_layers, b.deleted_at, b.synced_at, b.sync_event
          from unnest(write_products.organization_ids, write_products.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)
          join written w on w.organization_id = s.organization_id and w.zoho_id = s.zoho_id
         cross join lateral (select t.* from zoho.products t
                              where t.organization_id = s.organization_id
                                and t.zoho_item_id between s.zoho_id and s.zoho_id
                              order by t.zoho_item_id limit 1) b
         cross join lateral tds.put_back(b.zoho_metadata, s.doc) d
         cross join lateral (select case when s.deleted_at is not null and b.deleted_at is null then 'deleted'
                                         when s.deleted_at is null and b.deleted_at is not null then 'revived'
                                         when tds.only_completes(d.back, b.sync_layers, s.modified_at) then 'completed'
                                         else 'changed' end as kind offset 0) k
         where v_is_kept and b.sync_version = s.version - 1
         order by s.organization_id, s.zoho_id)
    select coalesce(array_agg(s.n) filter (where (s.organization_id, s.zoho_id) in (
               select w.organization_id, w.zoho_id from written w)), '{}')
      into v_written
      from unnest(write_products.organization_ids, write_products.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n);
    perform tds.write_stock_levels(array_agg(s.organization_id), array_agg(s.zoho_id), write_products.at)
       from unnest(write_products.organization_ids, write_products.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)
      where s.n in (select unnest(v_written)) and (s.doc ?| array['locations', 'warehouses'])
     having count(*) > 0;
    return v_written;
end
$function$;
comment on function tds.write_products(text[],tds.record_state[],timestamp with time zone) is
'Writes products in key order, each of the organisation told beside it and only over the version it was resolved from; returns the places of those written. Made by tds.make_writer() from functions/60_entities/products.sql.';
