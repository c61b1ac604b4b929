CREATE OR REPLACE FUNCTION tds.compare_products(organization_id text, pages jsonb[])
 RETURNS SETOF tds.compared
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return query
    with listed as (
        -- a list that moves while it is read shows a record twice: the later telling counts; what has no id is nobody's twin
        select distinct on (i.zoho_id, i.place) i.zoho_id, e.doc
          from unnest(compare_products.pages) with ordinality g(page, n)
         cross join lateral jsonb_array_elements(g.page) with ordinality e(doc, n)
         cross join lateral (select nullif(e.doc ->> 'item_id', '') as zoho_id,
                                    case when e.doc ->> 'item_id' <> '' then null else array[g.n, e.n] end as place) i
         order by i.zoho_id, i.place, g.n desc, e.n desc
    ), told as (
        select e.zoho_id, jsonb_strip_nulls(jsonb_build_object('actual_available_stock', case when p.actual_available_stock is null and e.doc ? 'actual_available_stock' then to_jsonb(tds.json_number(d.actual_available_stock)) end,
                   'actual_committed_stock', case when p.actual_committed_stock is null and e.doc ? 'actual_committed_stock' then to_jsonb(tds.json_number(d.actual_committed_stock)) end,
                   'available_for_sale_stock', case when p.available_for_sale_stock is null and e.doc ? 'available_for_sale_stock' then to_jsonb(tds.json_number(d.available_for_sale_stock)) end,
                   'available_stock', case when p.available_stock is null and e.doc ? 'available_stock' then to_jsonb(tds.json_number(d.available_stock)) end,
                   'brand', case when p.brand is null and e.doc ? 'brand' then to_jsonb(tds.json_text(d.brand)) end,
                   'category_name', case when p.category_name is null and e.doc ? 'category_name' then to_jsonb(tds.json_text(d.category_name)) end,
                   'committed_stock', case when p.committed_stock is null and e.doc ? 'committed_stock' then to_jsonb(coalesce(tds.json_number(d.committed_stock), tds.json_number(d.stock_committed))) end,
                   'created_time', case when p.created_time is null and e.doc ? 'created_time' then to_jsonb(tds.json_time(d.created_time)) end,
                   'description', case when p.description is null and e.doc ? 'description' then to_jsonb(tds.json_text(d.description)) end,
                   'image_document_id', case when p.image_document_id is null and e.doc ? 'image_document_id' then to_jsonb(tds.json_id(d.image_document_id)) end,
                   'last_modified_time', case when p.last_modified_time is null and e.doc ? 'last_modified_time' and not tds.stamp_lags(m.zoho_metadata, m.sync_layers, m.sync_observed_at, 'brand', m.zoho_modified_at, e.doc -> 'last_modified_time') then to_jsonb(tds.json_time(d.last_modified_time)) end,
                   'name', case when p.name is null and e.doc ? 'name' then to_jsonb(tds.json_text(d.name)) end,
                   'purchase_rate', case when p.purchase_rate is null and e.doc ? 'purchase_rate' then to_jsonb(tds.json_number(d.purchase_rate)) end,
                   'rate', case when p.rate is null and e.doc ? 'rate' then to_jsonb(tds.json_number(d.rate)) end,
                   'reorder_level', case when p.reorder_level is null and e.doc ? 'reorder_level' then to_jsonb(tds.json_number(d.reorder_level)) end,
                   'sku', case when p.sku is null and e.doc ? 'sku' then to_jsonb(tds.json_word(d.sku)) end,
                   'status', case when p.status is null and e.doc ? 'status' then to_jsonb(tds.json_word(d.status) = 'active') end,
                   'stock_on_hand', case when p.stock_on_hand is null and e.doc ? 'stock_on_hand' then to_jsonb(tds.json_number(d.stock_on_hand)) end,
                   'tax_percentage', case when p.tax_percentage is null and e.doc ? 'tax_percentage' then to_jsonb(tds.json_number(d.tax_percentage)) end,
                   'unit', case when p.unit is null and e.doc ? 'unit' then to_jsonb(tds.json_text(d.unit)) end)) as told,
               nullif(jsonb_strip_nulls(jsonb_build_object('actual_available_stock', p.actual_available_stock,
                   'actual_committed_stock', p.actual_committed_stock,
                   'available_for_sale_stock', p.available_for_sale_stock,
                   'available_stock', p.available_stock,
                   'brand', p.brand,
                   'category_name', p.category_name,
                   'committed_stock', p.committed_stock,
                   'created_time', p.created_time,
                   'description', p.description,
                   'image_document_id', p.image_document_id,
                   'last_modified_time', p.last_modified_time,
                   'name', p.name,
                   'purchase_rate', p.purchase_rate,
                   'rate', p.rate,
                   'reorder_level', p.reorder_level,
                   'sku', p.sku,
                   'status', p.status,
                   'stock_on_hand', p.stock_on_hand,
                   'tax_percentage', p.tax_percentage,
                   'unit', p.unit)), '{}') as problem
          from listed e
          left join zoho.products m on m.organization_id = compare_products.organization_id and m.zoho_item_id = e.zoho_id
         cross join lateral (select tds.problem('number', e.doc -> 'actual_available_stock', false, NULL) as actual_available_stock,
                   tds.problem('number', e.doc -> 'actual_committed_stock', false, NULL) as actual_committed_stock,
                   tds.problem('number', e.doc -> 'available_for_sale_stock', false, NULL) as available_for_sale_stock,
                   tds.problem('number', e.doc -> 'available_stock', false, NULL) as available_stock,
                   tds.problem('text', e.doc -> 'brand', false, NULL) as brand,
                   tds.problem('text', e.doc -> 'category_name', false, NULL) as category_name,
                   tds.problem('number', e.doc -> 'committed_stock', false, NULL) as committed_stock,
                   tds.problem('time', e.doc -> 'created_time', false, NULL) as created_time,
                   tds.problem('text', e.doc -> 'description', false, NULL) as description,
                   tds.problem('id', e.doc -> 'image_document_id', false, NULL) as image_document_id,
                   tds.problem('time', e.doc -> 'last_modified_time', false, NULL) as last_modified_time,
                   tds.problem('text', e.doc -> 'name', false, NULL) as name,
                   tds.problem('number', e.doc -> 'purchase_rate', false, NULL) as purchase_rate,
                   tds.problem('number', e.doc -> 'rate', false, NULL) as rate,
                   tds.problem('number', e.doc -> 'reorder_level', false, NULL) as reorder_level,
                   tds.problem('word', e.doc -> 'sku', false, '255') as sku,
                   tds.problem('word', e.doc -> 'status', false, NULL) as status,
                   tds.problem('number', e.doc -> 'stock_on_hand', false, NULL) as stock_on_hand,
                   tds.problem('number', e.doc -> 'tax_percentage', false, NULL) as tax_percentage,
                   tds.problem('text', e.doc -> 'unit', false, NULL) as unit offset 0) p
         -- a column made of several keys is what the list's would make of what is known of the others
         cross join lateral (select case jsonb_typeof(m.zoho_metadata) when 'object' then m.zoho_metadata else '{}' end || e.doc as doc
                               offset 0) x
         cross join lateral (
               select x.doc -> 'actual_available_stock' as actual_available_stock,
                      x.doc -> 'actual_committed_stock' as actual_committed_stock,
                      x.doc -> 'available_for_sale_stock' as available_for_sale_stock,
                      x.doc -> 'available_stock' as available_stock,
                      x.doc -> 'brand' as brand,
                      x.doc -> 'category_name' as category_name,
                      x.doc -> 'committed_stock' as committed_stock,
                      x.doc -> 'created_time' as created_time,
                      x.doc -> 'description' as description,
                      x.doc -> 'image_document_id' as image_document_id,
                      x.doc -> 'item_id' as item_id,
                      x.doc -> 'last_modified_time' as last_modified_time,
                      x.doc -> 'locations' as locations,
                      x.doc -> 'name' as name,
                      x.doc -> 'purchase_rate' as purchase_rate,
                      x.doc -> 'rate' as rate,
                      x.doc -> 'reorder_level' as reorder_level,
                      x.doc -> 'sku' as sku,
                      x.doc -> 'status' as status,
                      x.doc -> 'stock_committed' as stock_committed,
                      x.doc -> 'stock_on_hand' as stock_on_hand,
                      x.doc -> 'tax_percentage' as tax_percentage,
                      x.doc -> 'unit' as unit,
                      x.doc -> 'warehouses' as warehouses
               offset 0) d
    ), kept as (
        select m.zoho_item_id as zoho_id, jsonb_build_object('actual_available_stock', to_jsonb(m.actual_available_stock),
                   'actual_committed_stock', to_jsonb(m.actual_committed_stock),
                   'available_for_sale_stock', to_jsonb(m.available_for_sale_stock),
                   'available_stock', to_jsonb(m.available_stock),
                   'brand', to_jsonb(m.brand),
                   'category_name', to_jsonb(m.category_name),
                   'committed_stock', to_jsonb(m.committed_stock),
                   'created_time', to_jsonb(m.zoho_created_at),
                   'description', to_jsonb(m.description),
                   'image_document_id', to_jsonb(m.image_document_id),
                   'last_modified_time', to_jsonb(m.zoho_modified_at),
                   'name', to_jsonb(m.name),
                   'purchase_rate', to_jsonb(m.purchase_rate),
                   'rate', to_jsonb(m.unit_price),
                   'reorder_level', to_jsonb(m.reorder_level),
                   'sku', to_jsonb(m.sku),
                   'status', to_jsonb(m.is_active),
                   'stock_on_hand', to_jsonb(m.stock_quantity),
                   'tax_percentage', to_jsonb(m.tax_rate),
                   'unit', to_jsonb(m.unit)) as kept, m.deleted_at, m.sync_observed_at
          from zoho.products m
         where m.organization_id = compare_products.organization_id
    )
    select coalesce(t.zoho_id, k.zoho_id), t.told, k.kept, t.problem, k.deleted_at, k.sync_observed_at
      from told t
      full join kept k on k.zoho_id = t.zoho_id;
end
$function$;
comment on function tds.compare_products(text,jsonb[]) is
'Every one of products that Zoho lists or the mirror has: what the pages tell of it, and what the mirror keeps. Made by tds.make_comparison() from functions/60_entities/products.sql.';
