select tds.register('{
    "entity": "invoices", "queue": "invoices", "priority": 40,
    "api_path": "/invoices", "list_key": "invoices", "record_key": "invoice", "id_key": "invoice_id",
    "list_filter": {"filter_by": "Status.All", "sort_column": "created_time", "sort_order": "A"}, "has_modified_filter": true,
    "detail_key": "line_items",
    "target": "invoices", "target_key": "zoho_invoice_id"}');

select tds.map_fields('invoices', '', $$
    invoice_id         id      zoho_invoice_id    required
    invoice_number     word    invoice_number     100
    reference_number   text    reference_number
    customer_id        id      zoho_customer_id
    customer_name      text    customer_name
    date               date    invoice_date
    due_date           date    due_date
    status             word    status             50
    sub_total          number  subtotal
    tax_total          number  tax_total
    discount           number  -
    discount_total     number  -
    discount_amount    number  discount_amount    := tds.discount_amount(d.discount_amount, d.discount_total, d.discount)
    shipping_charge    number  shipping_charge
    adjustment         number  adjustment
    tds_amount         number  tds_amount
    tcs_amount         number  tcs_amount
    total              number  total_amount
    payment_made       number  amount_paid
    credits_applied    number  credits_applied
    write_off_amount   number  write_off_amount
    tax_amount_withheld number tax_withheld
    balance            number  balance
    currency_code      word    currency           10
    exchange_rate      number  exchange_rate
    line_items         array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);

select tds.map_document('invoices');

select tds.map_child('invoices', 'line_items', 'invoice_line_items', 'zoho_invoice_id', 'line_number', $$
    line_item_id       id      zoho_line_item_id
    item_id            id      zoho_item_id
    name               text    name
    description        text    description
    unit               text    unit
    quantity           number  quantity
    rate               number  rate
    discount           word    discount           50
    discount_amount    number  discount_amount
    tax_name           text    tax_name
    tax_percentage     number  tax_rate
    item_total         number  total_amount
$$);

select tds.link('invoices', 'customer_id', 'zoho_customer_id', 'customers', 'zoho_contact_id');
select tds.link('invoice_line_items', 'product_id', 'zoho_item_id', 'products', 'zoho_item_id');

select tds.sum_in_list('invoices', '{invoice_line_items}', 'total_amount', 'made of', 'total', 'sub_total');
