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
        select e.zoho_id, jsonb_strip_nulls(jsonb_build_object('actual_available_stock', case when p.actual_available_stock is null then to_jsonb(tds.json_number(d.actual_available_stock)) end,
                   'actual_committed_stock', case when p.actual_committed_stock is null then to_jsonb(tds.json_number(d.actual_committed_stock)) end,
                   'available_for_sale_stock', case when p.available_for_sale_stock is null then to_jsonb(tds.json_number(d.available_for_sale_stock)) end,
                   'available_stock', case when p.available_stock is null then to_jsonb(tds.json_number(d.available_stock)) end,
                   'committed_stock', case when p.committed_stock is null then to_jsonb(coalesce(tds.json_number(d.committed_stock), tds.json_number(d.stock_committed))) end,
                   'created_time', case when p.created_time is null then to_jsonb(tds.json_time(d.created_time)) end,
                   'last_modified_time', case when p.last_modified_time is null then to_jsonb(tds.json_time(d.last_modified_time)) end,
                   'rate', case when p.rate is null then to_jsonb(tds.json_number(d.rate)) end,
                   'status', case when p.status is null then to_jsonb(tds.json_word(d.status) = 'active') end,
                   'stock_on_hand', case when p.stock_on_hand is null then to_jsonb(tds.json_number(d.stock_on_hand)) end)) as told,
               nullif(jsonb_strip_nulls(jsonb_build_object('actual_available_stock', p.actual_available_stock,
                   'actual_committed_stock', p.actual_committed_stock,
                   'available_for_sale_stock', p.available_for_sale_stock,
                   'available_stock', p.available_stock,
                   'committed_stock', p.committed_stock,
                   'created_time', p.created_time,
                   'last_modified_time', p.last_modified_time,
                   'rate', p.rate,
                   'status', p.status,
                   'stock_on_hand', p.stock_on_hand)), '{}') as problem
          from listed e
         cross join lateral (select tds.problem('number', e.doc -> 'actual_available_stock', false, NULL) as actual_available_stock,
                   tds.problem('number', e.doc -> 'actual_committed_stock', false, NULL) as actual_committed_stock,
                   tds.problem('number', e.doc -> 'available_for_sale_stock', false, NULL) as available_for_sale_stock,
                   tds.problem('number', e.doc -> 'available_stock', false, NULL) as available_stock,
                   tds.problem('number', e.doc -> 'committed_stock', false, NULL) as committed_stock,
                   tds.problem('time', e.doc -> 'created_time', false, NULL) as created_time,
                   tds.problem('time', e.doc -> 'last_modified_time', false, NULL) as last_modified_time,
                   tds.problem('number', e.doc -> 'rate', false, NULL) as rate,
                   tds.problem('word', e.doc -> 'status', false, NULL) as status,
                   tds.problem('number', e.doc -> 'stock_on_hand', false, NULL) as stock_on_hand offset 0) p
         cross join lateral (
               select e.doc -> 'actual_available_stock' as actual_available_stock,
                      e.doc -> 'actual_committed_stock' as actual_committed_stock,
                      e.doc -> 'available_for_sale_stock' as available_for_sale_stock,
                      e.doc -> 'available_stock' as available_stock,
                      e.doc -> 'brand' as brand,
                      e.doc -> 'category_name' as category_name,
                      e.doc -> 'committed_stock' as committed_stock,
                      e.doc -> 'created_time' as created_time,
                      e.doc -> 'description' as description,
                      e.doc -> 'image_document_id' as image_document_id,
                      e.doc -> 'item_id' as item_id,
                      e.doc -> 'last_modified_time' as last_modified_time,
                      e.doc -> 'locations' as locations,
                      e.doc -> 'name' as name,
                      e.doc -> 'purchase_rate' as purchase_rate,
                      e.doc -> 'rate' as rate,
                      e.doc -> 'reorder_level' as reorder_level,
                      e.doc -> 'sku' as sku,
                      e.doc -> 'status' as status,
                      e.doc -> 'stock_committed' as stock_committed,
                      e.doc -> 'stock_on_hand' as stock_on_hand,
                      e.doc -> 'tax_percentage' as tax_percentage,
                      e.doc -> 'unit' as unit,
                      e.doc -> 'warehouses' as warehouses
               offset 0) d
    ), kept as (
        select m.zoho_item_id as zoho_id, jsonb_build_object('actual_available_stock', to_jsonb(m.actual_available_stock),
                   'actual_committed_stock', to_jsonb(m.actual_committed_stock),
                   'available_for_sale_stock', to_jsonb(m.available_for_sale_stock),
                   'available_stock', to_jsonb(m.available_stock),
                   'committed_stock', to_jsonb(m.committed_stock),
                   'created_time', to_jsonb(m.zoho_created_at),
                   'last_modified_time', to_jsonb(m.zoho_modified_at),
                   'rate', to_jsonb(m.unit_price),
                   'status', to_jsonb(m.is_active),
                   'stock_on_hand', to_jsonb(m.stock_quantity)) as kept, m.deleted_at, m.sync_observed_at
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
