-- What is wired to the endpoints stock and prices: an item, a price list, or an adjustment of the inventory, which names the
-- items whose stock has moved; these are asked for.

create or replace function tds.want_adjusted(organization_id text, zoho_ids text[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.wanted_detail as w (organization_id, entity, zoho_id, reason, wanted_at)
    select distinct want_adjusted.organization_id, 'products', i.zoho_item_id, 'inventory adjustment', want_adjusted.at
      from zoho.stock_adjustments a
     cross join lateral jsonb_array_elements(coalesce(tds.json_array(a.zoho_metadata -> 'line_items'), '[]')) e(doc)
     cross join lateral (select tds.json_id(e.doc -> 'item_id') as zoho_item_id) i
     where a.organization_id = want_adjusted.organization_id
       and a.zoho_adjustment_id = any (want_adjusted.zoho_ids)
       and i.zoho_item_id is not null
     order by i.zoho_item_id
    on conflict on constraint wanted_detail_pkey do update
       set wanted_at = excluded.wanted_at, reason = excluded.reason
     where excluded.wanted_at > w.wanted_at;
end
$$;
revoke all on function tds.want_adjusted(text, text[], timestamptz) from public;
comment on function tds.want_adjusted(text, text[], timestamptz) is 'Asks for the products that these adjustments name: their stock has moved.';

select tds.register('{
    "entity": "stock_adjustments", "queue": "stock_adjustments", "priority": 60,
    "api_path": "", "list_key": "inventory_adjustments", "record_key": "inventory_adjustment", "id_key": "inventory_adjustment_id",
    "target": "stock_adjustments", "target_key": "zoho_adjustment_id", "complete": "want_adjusted"}');

select tds.map_fields('stock_adjustments', '', $$
    inventory_adjustment_id id zoho_adjustment_id required
    reference_number   text    reference_number   255
    date               date    adjustment_date
    reason             text    reason             500
    description        text    description
    line_items         array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);

select tds.map_fields('stock_adjustments', 'line_items', $$
    item_id            id      -
    quantity_adjusted  number  -
$$);

insert into tds.endpoint (endpoint, key, entity, priority) values
    ('stock', 'inventory_adjustment', 'stock_adjustments', 1),
    ('stock', 'inventory_adjustments', 'stock_adjustments', 2),
    ('stock', 'inventory_adjustment_id', 'stock_adjustments', 3),
    ('stock', 'item', 'products', 4),
    ('stock', 'items', 'products', 5),
    ('stock', 'item_id', 'products', 6),
    ('prices', 'pricebook', 'pricelists', 1),
    ('prices', 'pricebooks', 'pricelists', 2),
    ('prices', 'pricebook_id', 'pricelists', 3),
    ('prices', 'item', 'products', 4),
    ('prices', 'items', 'products', 5),
    ('prices', 'item_id', 'products', 6)
on conflict on constraint endpoint_pkey do update set entity = excluded.entity, priority = excluded.priority;
