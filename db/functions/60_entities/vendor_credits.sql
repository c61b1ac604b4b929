select tds.register('{
    "entity": "vendor_credits", "queue": "vendor_credits", "priority": 43,
    "aliases": ["vendorcredit", "vendorcredits", "debitnote", "debit_note"],
    "api_path": "/vendorcredits", "list_key": "vendor_credits", "record_key": "vendor_credit", "id_key": "vendor_credit_id",
    "list_filter": {"sort_column": "created_time", "sort_order": "A"}, "has_modified_filter": true,
    "detail_key": "line_items",
    "target": "vendor_credits", "target_key": "zoho_vendor_credit_id"}');

select tds.map_fields('vendor_credits', '', $$
    vendor_credit_id   id      zoho_vendor_credit_id required
    vendor_credit_number word  vendor_credit_number 100
    reference_number   text    reference_number
    vendor_id          id      zoho_vendor_id
    vendor_name        text    vendor_name
    date               date    credit_date
    status             word    status             50
    sub_total          number  subtotal
    tax_total          number  tax_total
    discount           number  -
    discount_total     number  -
    discount_amount    number  discount_amount    := tds.discount_amount(d.discount_amount, d.discount_total, d.discount)
    adjustment         number  adjustment
    total              number  total_amount
    total_credits_used number  credits_used
    total_refunded_amount number amount_refunded
    balance            number  balance
    currency_code      word    currency           10
    exchange_rate      number  exchange_rate
    line_items         array   -
    bills_credited     array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);

select tds.map_document('vendor_credits');
select tds.map_lines('vendor_credits', 'vendor_credit_line_items', 'zoho_vendor_credit_id');

select tds.map_child('vendor_credits', 'bills_credited', 'vendor_credit_bills', 'zoho_vendor_credit_id', 'position', $$
    bill_id              id      zoho_bill_id
    bill_number          word    bill_number          100
    date                 date    credited_on
    amount_applied       number  -
    amount               number  amount               := coalesce(tds.json_number(d.amount), tds.json_number(d.amount_applied))
$$);

select tds.link('vendor_credits', 'vendor_id', 'zoho_vendor_id', 'vendors', 'zoho_contact_id');
select tds.link('vendor_credit_bills', 'bill_id', 'zoho_bill_id', 'bills', 'zoho_bill_id');

select tds.sum_in_list('vendor_credits', '{vendor_credit_bills}', 'amount', 'used up', 'total', 'balance');
