select tds.register('{
    "entity": "products", "queue": "products", "priority": 20,
    "api_path": "/items", "list_key": "items", "record_key": "item", "id_key": "item_id",
    "list_filter": {"filter_by": "Status.All", "sort_column": "created_time", "sort_order": "A"}, "bulk_detail_path": "/itemdetails",
    "detail_key": "brand",
    "target": "products", "target_key": "zoho_item_id"}');

select tds.map_fields('products', '', $$
    item_id            id      zoho_item_id       required
    name               text    name               500
    sku                text    sku                255
    description        text    description
    rate               number  unit_price
    stock_on_hand      number  stock_quantity
    status             text    is_active          := tds.json_text(d.status) = 'active'
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

select tds.link('products', 'currency', 'organization_id', 'organizations', 'zoho_organization_id', 'currency', follows => true);
