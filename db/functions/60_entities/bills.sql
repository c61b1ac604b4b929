-- Zoho ignores every filter on this list, last_modified_time too.
select tds.register('{
    "entity": "bills", "queue": "bills", "priority": 42,
    "api_path": "/bills", "list_key": "bills", "record_key": "bill", "id_key": "bill_id",
    "list_filter": {"sort_column": "created_time", "sort_order": "A"},
    "detail_key": "line_items",
    "target": "bills", "target_key": "zoho_bill_id"}');

select tds.map_fields('bills', '', $$
    bill_id            id      zoho_bill_id       required
    bill_number        word    bill_number        100
    reference_number   text    reference_number
    vendor_id          id      zoho_vendor_id
    vendor_name        text    vendor_name
    date               date    bill_date
    due_date           date    due_date
    status             word    payment_status     50
    sub_total          number  subtotal
    tax_total          number  tax_total
    discount           number  -
    discount_total     number  -
    discount_amount    number  discount_amount    := tds.discount_amount(d.discount_amount, d.discount_total, d.discount)
    adjustment         number  adjustment
    tds_amount         number  tds_amount
    tcs_amount         number  tcs_amount
    tax_amount_withheld number tax_withheld
    total              number  total_amount
    payment_made       number  amount_paid
    vendor_credits_applied number credits_applied
    balance            number  balance
    currency_code      word    currency           10
    exchange_rate      number  exchange_rate
    line_items         array   -
    vendor_credits     array   -
    payments           array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);

select tds.map_document('bills');
select tds.map_lines('bills', 'bill_line_items', 'zoho_bill_id');

select tds.map_child('bills', 'vendor_credits', 'bill_vendor_credits', 'zoho_bill_id', 'position', $$
    vendor_credit_id     id      zoho_vendor_credit_id
    vendor_credit_number word    vendor_credit_number 100
    date                 date    credited_on
    amount_applied       number  -
    amount               number  amount               := coalesce(tds.json_number(d.amount), tds.json_number(d.amount_applied))
$$);

select tds.map_child('bills', 'payments', 'bill_payments', 'zoho_bill_id', 'position', $$
    bill_payment_id      id      zoho_allocation_id
    payment_id           id      zoho_payment_id
    payment_number       word    payment_number       100
    payment_mode         text    payment_mode
    reference_number     text    reference_number
    date                 date    paid_on
    amount               number  amount
$$);

select tds.link('bills', 'vendor_id', 'zoho_vendor_id', 'vendors', 'zoho_contact_id');
select tds.link('bill_vendor_credits', 'vendor_credit_id', 'zoho_vendor_credit_id', 'vendor_credits', 'zoho_vendor_credit_id');
select tds.link('bill_payments', 'vendor_payment_id', 'zoho_payment_id', 'vendor_payments', 'zoho_payment_id');

select tds.sum_in_list('bills', '{bill_vendor_credits,bill_payments}', 'amount', 'used up', 'total', 'balance');
