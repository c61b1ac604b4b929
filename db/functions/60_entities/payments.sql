-- A payment over several documents is a row for each of them. Details of customers' payments have no last_modified_time but an
-- updated_time, lists the other way round: the later of the two is the record's, whichever was read last.
select tds.register('{
    "entity": "payments", "queue": "payments", "priority": 46,
    "aliases": ["customer_payment", "customer_payments", "customerpayment", "payments"],
    "api_path": "/customerpayments", "list_key": "customerpayments", "record_key": "payment", "id_key": "payment_id",
    "list_filter": {"sort_column": "created_time", "sort_order": "A"},
    "detail_key": "invoices",
    "target": "customer_payments", "target_key": "zoho_payment_id"}');

select tds.map_fields('payments', '', $$
    payment_id         id      zoho_payment_id    required
    payment_number     word    payment_number     100
    reference_number   text    reference_number
    customer_id        id      zoho_customer_id
    customer_name      text    customer_name
    date               date    payment_date
    payment_mode       text    payment_mode
    amount             number  amount
    unused_amount      number  unused_amount
    bank_charges       number  bank_charges
    account_name       text    account_name
    currency_code      word    currency           10
    exchange_rate      number  exchange_rate
    description        text    description
    invoices           array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at   := greatest(tds.json_time(d.last_modified_time), tds.json_time(d.updated_time))
    updated_time       time    -
$$);

select tds.map_child('payments', 'invoices', 'customer_payment_invoices', 'zoho_payment_id', 'position', $$
    invoice_payment_id   id      zoho_allocation_id
    invoice_id           id      zoho_invoice_id
    invoice_number       word    invoice_number       100
    apply_date           date    applied_on
    amount_applied       number  amount
    tax_amount_withheld  number  tax_withheld
$$);

select tds.link('customer_payments', 'customer_id', 'zoho_customer_id', 'customers', 'zoho_contact_id');
select tds.link('customer_payment_invoices', 'invoice_id', 'zoho_invoice_id', 'invoices', 'zoho_invoice_id');

select tds.sum_in_list('payments', '{customer_payment_invoices}', 'amount', 'used up', 'amount', 'unused_amount');

select tds.register('{
    "entity": "vendor_payments", "queue": "vendor_payments", "priority": 47,
    "aliases": ["vendor_payment", "vendor_payments", "payment"],
    "api_path": "/vendorpayments", "list_key": "vendorpayments", "record_key": "vendorpayment", "id_key": "payment_id",
    "list_filter": {"sort_column": "date", "sort_order": "A"}, "has_modified_filter": true,
    "detail_key": "bills",
    "target": "vendor_payments", "target_key": "zoho_payment_id"}');

select tds.map_fields('vendor_payments', '', $$
    payment_id         id      zoho_payment_id    required
    payment_number     word    payment_number     100
    reference_number   text    reference_number
    vendor_id          id      zoho_vendor_id
    vendor_name        text    vendor_name
    date               date    payment_date
    payment_mode       text    payment_mode
    status             word    status             50
    amount             number  amount
    balance            number  unused_amount
    paid_through_account_name text account_name
    currency_code      word    currency           10
    exchange_rate      number  exchange_rate
    description        text    description
    bills              array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at   := greatest(tds.json_time(d.last_modified_time), tds.json_time(d.updated_time))
    updated_time       time    -
$$);

select tds.map_child('vendor_payments', 'bills', 'vendor_payment_bills', 'zoho_payment_id', 'position', $$
    bill_payment_id      id      zoho_allocation_id
    bill_id              id      zoho_bill_id
    bill_number          word    bill_number          100
    apply_date           date    applied_on
    amount_applied       number  amount
    tax_amount_withheld  number  tax_withheld
$$);

select tds.link('vendor_payments', 'vendor_id', 'zoho_vendor_id', 'vendors', 'zoho_contact_id');
select tds.link('vendor_payment_bills', 'bill_id', 'zoho_bill_id', 'bills', 'zoho_bill_id');

select tds.sum_in_list('vendor_payments', '{vendor_payment_bills}', 'amount', 'used up', 'amount', 'balance');
