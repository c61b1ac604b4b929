CREATE OR REPLACE FUNCTION tds.culprits_products(records tds.record[])
 RETURNS TABLE(ord bigint, path text, value text, reason text)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return query
    select distinct on (c.ord) c.ord, c.path, c.value, c.reason
      from (
        select r.ord, '$' as path, left(r.doc::text, 200) as value, 'not an object' as reason
          from unnest(culprits_products.records) r
         where jsonb_typeof(r.doc) <> 'object'
        union all
        select r.ord, f.path, left(f.value #>> '{}', 200), f.reason
          from unnest(culprits_products.records) r
         cross join lateral (
               select r.doc -> 'actual_available_stock' as actual_available_stock,
                      r.doc -> 'actual_committed_stock' as actual_committed_stock,
                      r.doc -> 'available_for_sale_stock' as available_for_sale_stock,
                      r.doc -> 'available_stock' as available_stock,
                      r.doc -> 'brand' as brand,
                      r.doc -> 'category_name' as category_name,
                      r.doc -> 'committed_stock' as committed_stock,
                      r.doc -> 'created_time' as created_time,
                      r.doc -> 'description' as description,
                      r.doc -> 'image_document_id' as image_document_id,
                      r.doc -> 'item_id' as item_id,
                      r.doc -> 'last_modified_time' as last_modified_time,
                      r.doc -> 'locations' as locations,
                      r.doc -> 'name' as name,
                      r.doc -> 'purchase_rate' as purchase_rate,
                      r.doc -> 'rate' as rate,
                      r.doc -> 'reorder_level' as reorder_level,
                      r.doc -> 'sku' as sku,
                      r.doc -> 'status' as status,
                      r.doc -> 'stock_committed' as stock_committed,
                      r.doc -> 'stock_on_hand' as stock_on_hand,
                      r.doc -> 'tax_percentage' as tax_percentage,
                      r.doc -> 'unit' as unit,
                      r.doc -> 'warehouses' as warehouses
               offset 0) d
         cross join lateral (values
                   ('actual_available_stock', d.actual_available_stock, tds.problem('number', d.actual_available_stock, false, NULL)),
                   ('actual_committed_stock', d.actual_committed_stock, tds.problem('number', d.actual_committed_stock, false, NULL)),
                   ('available_for_sale_stock', d.available_for_sale_stock, tds.problem('number', d.available_for_sale_stock, false, NULL)),
                   ('available_stock', d.available_stock, tds.problem('number', d.available_stock, false, NULL)),
                   ('brand', d.brand, tds.problem('text', d.brand, false, NULL)),
                   ('category_name', d.category_name, tds.problem('text', d.category_name, false, NULL)),
                   ('committed_stock', d.committed_stock, tds.problem('number', d.committed_stock, false, NULL)),
                   ('created_time', d.created_time, tds.problem('time', d.created_time, false, NULL)),
                   ('description', d.description, tds.problem('text', d.description, false, NULL)),
                   ('image_document_id', d.image_document_id, tds.problem('id', d.image_document_id, false, NULL)),
                   ('item_id', d.item_id, tds.problem('id', d.item_id, true, NULL)),
                   ('last_modified_time', d.last_modified_time, tds.problem('time', d.last_modified_time, false, NULL)),
                   ('locations', d.locations, tds.problem('array', d.locations, false, NULL)),
                   ('name', d.name, tds.problem('text', d.name, false, NULL)),
                   ('purchase_rate', d.purchase_rate, tds.problem('number', d.purchase_rate, false, NULL)),
                   ('rate', d.rate, tds.problem('number', d.rate, false, NULL)),
                   ('reorder_level', d.reorder_level, tds.problem('number', d.reorder_level, false, NULL)),
                   ('sku', d.sku, tds.problem('word', d.sku, false, '255')),
                   ('status', d.status, tds.problem('word', d.status, false, NULL)),
                   ('stock_committed', d.stock_committed, tds.problem('number', d.stock_committed, false, NULL)),
                   ('stock_on_hand', d.stock_on_hand, tds.problem('number', d.stock_on_hand, false, NULL)),
                   ('tax_percentage', d.tax_percentage, tds.problem('number', d.tax_percentage, false, NULL)),
                   ('unit', d.unit, tds.problem('text', d.unit, false, NULL)),
                   ('warehouses', d.warehouses, tds.problem('array', d.warehouses, false, NULL))) f(path, value, reason)
         where f.reason is not null and jsonb_typeof(r.doc) = 'object'
           -- of a deletion nothing else is read
           and (not r.is_delete or f.path in ('item_id', 'last_modified_time'))
        union all
        select r.ord, f.path, left(coalesce(f.value #>> '{}', e.doc::text), 200), f.reason
          from unnest(culprits_products.records) r
         cross join lateral jsonb_array_elements(
                            case jsonb_typeof(r.doc -> 'locations') when 'array' then r.doc -> 'locations'
                                 when 'object' then jsonb_build_array(r.doc -> 'locations') else '[]' end)
                            with ordinality e(doc, n)
         cross join lateral (
               select e.doc -> 'location_actual_available_stock' as location_actual_available_stock,
                      e.doc -> 'location_available_stock' as location_available_stock,
                      e.doc -> 'location_committed_stock' as location_committed_stock,
                      e.doc -> 'location_id' as location_id,
                      e.doc -> 'location_name' as location_name,
                      e.doc -> 'location_stock_on_hand' as location_stock_on_hand
               offset 0) d
         cross join lateral (values
                   (format('locations[%s]', e.n - 1), e.doc, case when jsonb_typeof(e.doc) <> 'object' then 'not an object' end),
                   (format('locations[%s]', e.n - 1) || '.' || 'location_actual_available_stock', d.location_actual_available_stock, tds.problem('number', d.location_actual_available_stock, false, NULL)),
                   (format('locations[%s]', e.n - 1) || '.' || 'location_available_stock', d.location_available_stock, tds.problem('number', d.location_available_stock, false, NULL)),
                   (format('locations[%s]', e.n - 1) || '.' || 'location_committed_stock', d.location_committed_stock, tds.problem('number', d.location_committed_stock, false, NULL)),
                   (format('locations[%s]', e.n - 1) || '.' || 'location_id', d.location_id, tds.problem('id', d.location_id, true, NULL)),
                   (format('locations[%s]', e.n - 1) || '.' || 'location_name', d.location_name, tds.problem('text', d.location_name, false, NULL)),
                   (format('locations[%s]', e.n - 1) || '.' || 'location_stock_on_hand', d.location_stock_on_hand, tds.problem('number', d.location_stock_on_hand, false, NULL))) f(path, value, reason)
         where f.reason is not null and not r.is_delete
        union all
        select r.ord, f.path, left(coalesce(f.value #>> '{}', e.doc::text), 200), f.reason
          from unnest(culprits_products.records) r
         cross join lateral jsonb_array_elements(
                            case jsonb_typeof(r.doc -> 'warehouses') when 'array' then r.doc -> 'warehouses'
                                 when 'object' then jsonb_build_array(r.doc -> 'warehouses') else '[]' end)
                            with ordinality e(doc, n)
         cross join lateral (
               select e.doc -> 'warehouse_actual_available_stock' as warehouse_actual_available_stock,
                      e.doc -> 'warehouse_available_stock' as warehouse_available_stock,
                      e.doc -> 'warehouse_committed_stock' as warehouse_committed_stock,
                      e.doc -> 'warehouse_id' as warehouse_id,
                      e.doc -> 'warehouse_name' as warehouse_name,
                      e.doc -> 'warehouse_stock_on_hand' as warehouse_stock_on_hand
               offset 0) d
         cross join lateral (values
                   (format('warehouses[%s]', e.n - 1), e.doc, case when jsonb_typeof(e.doc) <> 'object' then 'not an object' end),
                   (format('warehouses[%s]', e.n - 1) || '.' || 'warehouse_actual_available_stock', d.warehouse_actual_available_stock, tds.problem('number', d.warehouse_actual_available_stock, false, NULL)),
                   (format('warehouses[%s]', e.n - 1) || '.' || 'warehouse_available_stock', d.warehouse_available_stock, tds.problem('number', d.warehouse_available_stock, false, NULL)),
                   (format('warehouses[%s]', e.n - 1) || '.' || 'warehouse_committed_stock', d.warehouse_committed_stock, tds.problem('number', d.warehouse_committed_stock, false, NULL)),
                   (format('warehouses[%s]', e.n - 1) || '.' || 'warehouse_id', d.warehouse_id, tds.problem('id', d.warehouse_id, true, NULL)),
                   (format('warehouses[%s]', e.n - 1) || '.' || 'warehouse_name', d.warehouse_name, tds.problem('text', d.warehouse_name, false, NULL)),
                   (format('warehouses[%s]', e.n - 1) || '.' || 'warehouse_stock_on_hand', d.warehouse_stock_on_hand, tds.problem('number', d.warehouse_stock_on_hand, false, NULL))) f(path, value, reason)
         where f.reason is not null and not r.is_delete
           ) c
     order by c.ord, c.path;
end
$function$;
comment on function tds.culprits_products(tds.record[]) is
'Those products that the strict readers refuse, each with the path, the value and the reason; asked only once a set has failed. Made by tds.make_culprits() from functions/60_entities/products.sql.';
