CREATE OR REPLACE FUNCTION tds.derive_products(organization_id text, states tds.record_state[])
 RETURNS SETOF tds.derivation
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return query
        with owner as materialized (
        select jsonb_object_agg(o.organization_id, (
                   select p.currency from zoho.organizations p
                    where p.organization_id = o.organization_id
                      and p.zoho_organization_id between o.organization_id and o.organization_id
                    order by p.zoho_organization_id limit 1)) as currency
          from (select distinct u.organization_id from (select derive_products.organization_id) u) o
    )
        select s.zoho_id, to_jsonb(b) || jsonb_build_object('stock_levels', 
               (select jsonb_agg(jsonb_build_object('n', x.zoho_warehouse_id)
                                 || (to_jsonb(x) - array['organization_id', 'synced_at', 'zoho_item_id']) order by x.zoho_warehouse_id)
                  from (select * from zoho.stock_levels k where k.organization_id = own.organization_id and k.zoho_item_id = s.zoho_id) x)), to_jsonb(a) || jsonb_build_object('stock_levels', case when tds.lacks_elements(s.doc) then 
               (select jsonb_agg(jsonb_build_object('n', x.zoho_warehouse_id)
                                 || (to_jsonb(x) - array['organization_id', 'synced_at', 'zoho_item_id']) order by x.zoho_warehouse_id)
                  from (select * from zoho.stock_levels k where k.organization_id = own.organization_id and k.zoho_item_id = s.zoho_id) x) else 
               (select jsonb_agg(jsonb_build_object('n', x.zoho_warehouse_id)
                                 || (to_jsonb(x) - array['organization_id', 'synced_at', 'zoho_item_id']) order by x.zoho_warehouse_id)
                  from tds.told_stock_levels(array[own.organization_id], array[s.zoho_id], null) x) end)
          from unnest(derive_products.states) s
         cross join (select derive_products.organization_id as organization_id) own
          join zoho.products t on t.organization_id = own.organization_id
                                  and t.zoho_item_id = s.zoho_id and t.sync_version = s.version
         cross join lateral (
                select t.actual_available_stock, t.actual_committed_stock, t.available_for_sale_stock,
                       t.available_stock, t.brand, t.category_name, t.committed_stock, t.currency, t.description,
                       t.image_document_id, t.is_active, t.name, t.purchase_rate, t.reorder_level, t.sku,
                       t.stock_quantity, t.tax_rate, t.unit, t.unit_price, t.zoho_created_at, t.zoho_modified_at) b
         cross join lateral (
                select tds.json_number(d.actual_available_stock) as actual_available_stock,
               tds.json_number(d.actual_committed_stock) as actual_committed_stock,
               tds.json_number(d.available_for_sale_stock) as available_for_sale_stock,
               tds.json_number(d.available_stock) as available_stock,
               tds.json_text(d.brand) as brand,
               tds.json_text(d.category_name) as category_name,
               coalesce(tds.json_number(d.committed_stock), tds.json_number(d.stock_committed)) as committed_stock,
               ((select o.currency from owner o) ->> own.organization_id) as currency,
               tds.json_text(d.description) as description,
               tds.json_id(d.image_document_id) as image_document_id,
               tds.json_word(d.status) = 'active' as is_active,
               tds.json_text(d.name) as name,
               tds.json_number(d.purchase_rate) as purchase_rate,
               tds.json_number(d.reorder_level) as reorder_level,
               tds.json_word(d.sku) as sku,
               tds.json_number(d.stock_on_hand) as stock_quantity,
               tds.json_number(d.tax_percentage) as tax_rate,
               tds.json_text(d.unit) as unit,
               tds.json_number(d.rate) as unit_price,
               tds.json_time(d.created_time) as zoho_created_at,
               tds.json_time(d.last_modified_time) as zoho_modified_at
                  from (select) one
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
               offset 0) d) a
         order by s.zoho_id;
end
$function$;
comment on function tds.derive_products(text,tds.record_state[]) is
'Rows of products as they are, and as the mapping makes them of their documents. Made by tds.make_deriver() from functions/60_entities/products.sql.';
