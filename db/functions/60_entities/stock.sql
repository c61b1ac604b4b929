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
