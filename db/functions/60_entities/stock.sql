select tds.register('{
    "entity": "stock_adjustments", "queue": "stock_adjustments", "priority": 60,
    "aliases": ["inventoryadjustment", "inventoryadjustments", "stock_adjustment"],
    "api_path": "", "list_key": "inventory_adjustments", "record_key": "inventory_adjustment", "id_key": "inventory_adjustment_id",
    "target": "stock_adjustments", "target_key": "zoho_adjustment_id", "complete": "want_adjusted"}');

select tds.map_fields('stock_adjustments', '', $$
    inventory_adjustment_id id zoho_adjustment_id required
    reference_number   text    reference_number
    date               date    adjustment_date
    reason             text    reason
    description        text    description
    line_items         array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);

select tds.map_fields('stock_adjustments', 'line_items', $$
    item_id            id      -
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
    ('prices', 'item_id', 'products', 6),
    -- what Zoho calls them
    ('items', '', 'products', 100),
    ('item', '', 'products', 100),
    ('contacts', '', 'customers', 100),
    ('creditnotes', '', 'credit_notes', 100),
    ('customerpayments', '', 'payments', 100),
    ('customer_payments', '', 'payments', 100),
    ('vendorpayments', '', 'vendor_payments', 100),
    ('vendorcredits', '', 'vendor_credits', 100),
    ('pricebooks', '', 'pricelists', 100),
    ('price_lists', '', 'pricelists', 100),
    ('salesorders', '', 'sales_orders', 100),
    ('orders', '', 'sales_orders', 100),
    ('inventoryadjustments', '', 'stock_adjustments', 100),
    ('locations', '', 'warehouses', 100)
on conflict on constraint endpoint_pkey do update set entity = excluded.entity, priority = excluded.priority;
