select tds.register('{
    "entity": "sales_orders", "queue": "sales_orders", "priority": 48,
    "aliases": ["sales_order", "sales_orders", "order", "orders"],
    "api_path": "/salesorders", "list_key": "salesorders", "record_key": "salesorder", "id_key": "salesorder_id",
    "list_filter": {"filter_by": "Status.All", "sort_column": "created_time", "sort_order": "A"}, "has_modified_filter": true,
    "detail_key": "line_items",
    "target": "sales_orders", "target_key": "zoho_salesorder_id"}');

select tds.map_fields('sales_orders', '', $$
    salesorder_id      id      zoho_salesorder_id required
    salesorder_number  word    order_number       100
    reference_number   text    reference_number
    customer_id        id      zoho_customer_id
    customer_name      text    customer_name
    date               date    order_date
    shipment_date      date    shipment_date
    status             word    status             50
    sub_total          number  subtotal
    tax_total          number  tax_total
    total              number  total_amount
    discount           number  -
    discount_total     number  -
    discount_amount    number  discount_amount    := tds.discount_amount(d.discount_amount, d.discount_total, d.discount)
    shipping_charge    number  shipping_charge
    adjustment         number  adjustment
    order_status       word    order_status       50
    invoiced_status    word    invoiced_status    50
    paid_status        word    paid_status        50
    shipped_status     word    shipped_status     50
    currency_code      word    currency           10
    exchange_rate      number  exchange_rate
    line_items         array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);

select tds.map_child('sales_orders', 'line_items', 'sales_order_line_items', 'zoho_salesorder_id', 'line_number', $$
    line_item_id       id      zoho_line_item_id
    item_id            id      zoho_item_id
    name               text    name
    description        text    description
    unit               text    unit
    quantity           number  quantity
    rate               number  rate
    item_total         number  total_amount
$$);

select tds.link('sales_orders', 'customer_id', 'zoho_customer_id', 'customers', 'zoho_contact_id');
select tds.link('sales_order_line_items', 'product_id', 'zoho_item_id', 'products', 'zoho_item_id');

select tds.sum_in_list('sales_orders', '{sales_order_line_items}', 'total_amount', 'made of', 'total', 'sub_total');
