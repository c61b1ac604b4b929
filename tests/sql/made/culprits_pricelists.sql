CREATE OR REPLACE FUNCTION tds.culprits_pricelists(records tds.record[])
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
          from unnest(culprits_pricelists.records) r
         where jsonb_typeof(r.doc) <> 'object'
        union all
        select r.ord, f.path, left(f.value #>> '{}', 200), f.reason
          from unnest(culprits_pricelists.records) r
         cross join lateral (
               select r.doc -> 'created_time' as created_time,
                      r.doc -> 'currency_code' as currency_code,
                      r.doc -> 'decimal_place' as decimal_place,
                      r.doc -> 'description' as description,
                      r.doc -> 'effective_from' as effective_from,
                      r.doc -> 'effective_to' as effective_to,
                      r.doc -> 'is_increase' as is_increase,
                      r.doc -> 'last_modified_time' as last_modified_time,
                      r.doc -> 'name' as name,
                      r.doc -> 'percentage' as percentage,
                      r.doc -> 'pricebook_id' as pricebook_id,
                      r.doc -> 'pricebook_items' as pricebook_items,
                      r.doc -> 'pricebook_type' as pricebook_type,
                      r.doc -> 'pricing_scheme' as pricing_scheme,
                      r.doc -> 'rounding_type' as rounding_type,
                      r.doc -> 'sales_or_purchase_type' as sales_or_purchase_type,
                      r.doc -> 'status' as status
               offset 0) d
         cross join lateral (values
                   ('created_time', d.created_time, tds.problem('time', d.created_time, false, NULL)),
                   ('currency_code', d.currency_code, tds.problem('word', d.currency_code, false, '10')),
                   ('decimal_place', d.decimal_place, tds.problem('number', d.decimal_place, false, NULL)),
                   ('description', d.description, tds.problem('text', d.description, false, NULL)),
                   ('effective_from', d.effective_from, tds.problem('date', d.effective_from, false, NULL)),
                   ('effective_to', d.effective_to, tds.problem('date', d.effective_to, false, NULL)),
                   ('is_increase', d.is_increase, tds.problem('boolean', d.is_increase, false, NULL)),
                   ('last_modified_time', d.last_modified_time, tds.problem('time', d.last_modified_time, false, NULL)),
                   ('name', d.name, tds.problem('text', d.name, false, NULL)),
                   ('percentage', d.percentage, tds.problem('number', d.percentage, false, NULL)),
                   ('pricebook_id', d.pricebook_id, tds.problem('id', d.pricebook_id, true, NULL)),
                   ('pricebook_items', d.pricebook_items, tds.problem('array', d.pricebook_items, false, NULL)),
                   ('pricebook_type', d.pricebook_type, tds.problem('word', d.pricebook_type, false, '50')),
                   ('pricing_scheme', d.pricing_scheme, tds.problem('word', d.pricing_scheme, false, '50')),
                   ('rounding_type', d.rounding_type, tds.problem('word', d.rounding_type, false, '50')),
                   ('sales_or_purchase_type', d.sales_or_purchase_type, tds.problem('word', d.sales_or_purchase_type, false, '50')),
                   ('status', d.status, tds.problem('word', d.status, false, NULL))) f(path, value, reason)
         where f.reason is not null and jsonb_typeof(r.doc) = 'object'
           -- of a deletion nothing else is read
           and (not r.is_delete or f.path in ('pricebook_id', 'last_modified_time'))
        union all
        select r.ord, f.path, left(coalesce(f.value #>> '{}', e.doc::text), 200), f.reason
          from unnest(culprits_pricelists.records) r
         cross join lateral jsonb_array_elements(
                            case jsonb_typeof(r.doc -> 'pricebook_items') when 'array' then r.doc -> 'pricebook_items'
                                 when 'object' then jsonb_build_array(r.doc -> 'pricebook_items') else '[]' end)
                            with ordinality e(doc, n)
         cross join lateral (
               select e.doc -> 'item_id' as item_id,
                      e.doc -> 'price_brackets' as price_brackets,
                      e.doc -> 'pricebook_discount' as pricebook_discount,
                      e.doc -> 'pricebook_item_id' as pricebook_item_id,
                      e.doc -> 'pricebook_rate' as pricebook_rate
               offset 0) d
         cross join lateral (values
                   (format('pricebook_items[%s]', e.n - 1), e.doc, case when jsonb_typeof(e.doc) <> 'object' then 'not an object' end),
                   (format('pricebook_items[%s]', e.n - 1) || '.' || 'item_id', d.item_id, tds.problem('id', d.item_id, true, NULL)),
                   (format('pricebook_items[%s]', e.n - 1) || '.' || 'price_brackets', d.price_brackets, tds.problem('array', d.price_brackets, false, NULL)),
                   (format('pricebook_items[%s]', e.n - 1) || '.' || 'pricebook_discount', d.pricebook_discount, tds.problem('number', d.pricebook_discount, false, NULL)),
                   (format('pricebook_items[%s]', e.n - 1) || '.' || 'pricebook_item_id', d.pricebook_item_id, tds.problem('id', d.pricebook_item_id, false, NULL)),
                   (format('pricebook_items[%s]', e.n - 1) || '.' || 'pricebook_rate', d.pricebook_rate, tds.problem('number', d.pricebook_rate, false, NULL))) f(path, value, reason)
         where f.reason is not null and not r.is_delete
        union all
        select r.ord, f.path, left(coalesce(f.value #>> '{}', e.doc::text), 200), f.reason
          from unnest(culprits_pricelists.records) r
         cross join lateral jsonb_array_elements(
                            case jsonb_typeof(r.doc -> 'pricebook_items') when 'array' then r.doc -> 'pricebook_items'
                                 when 'object' then jsonb_build_array(r.doc -> 'pricebook_items') else '[]' end)
                            with ordinality o(doc, n)
         cross join lateral jsonb_array_elements(
                            case jsonb_typeof(o.doc -> 'price_brackets') when 'array' then o.doc -> 'price_brackets'
                                 when 'object' then jsonb_build_array(o.doc -> 'price_brackets') else '[]' end)
                            with ordinality e(doc, n)
         cross join lateral (
               select e.doc -> 'end_quantity' as end_quantity,
                      e.doc -> 'pricebook_discount' as pricebook_discount,
                      e.doc -> 'pricebook_item_id' as pricebook_item_id,
                      e.doc -> 'pricebook_rate' as pricebook_rate,
                      e.doc -> 'start_quantity' as start_quantity
               offset 0) d
         cross join lateral (values
                   (format('pricebook_items[%s].price_brackets[%s]', o.n - 1, e.n - 1), e.doc, case when jsonb_typeof(e.doc) <> 'object' then 'not an object' end),
                   (format('pricebook_items[%s].price_brackets[%s]', o.n - 1, e.n - 1) || '.' || 'end_quantity', d.end_quantity, tds.problem('number', d.end_quantity, false, NULL)),
                   (format('pricebook_items[%s].price_brackets[%s]', o.n - 1, e.n - 1) || '.' || 'pricebook_discount', d.pricebook_discount, tds.problem('number', d.pricebook_discount, false, NULL)),
                   (format('pricebook_items[%s].price_brackets[%s]', o.n - 1, e.n - 1) || '.' || 'pricebook_item_id', d.pricebook_item_id, tds.problem('id', d.pricebook_item_id, false, NULL)),
                   (format('pricebook_items[%s].price_brackets[%s]', o.n - 1, e.n - 1) || '.' || 'pricebook_rate', d.pricebook_rate, tds.problem('number', d.pricebook_rate, false, NULL)),
                   (format('pricebook_items[%s].price_brackets[%s]', o.n - 1, e.n - 1) || '.' || 'start_quantity', d.start_quantity, tds.problem('number', d.start_quantity, false, NULL))) f(path, value, reason)
         where f.reason is not null and not r.is_delete
           ) c
     order by c.ord, c.path;
end
$function$;
comment on function tds.culprits_pricelists(tds.record[]) is
'Those pricelists that the strict readers refuse, each with the path, the value and the reason; asked only once a set has failed. Made by tds.make_culprits() from functions/60_entities/pricelists.sql.';
