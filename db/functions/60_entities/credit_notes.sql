select tds.register('{
    "entity": "credit_notes", "queue": "credit_notes", "priority": 44,
    "aliases": ["credit_note", "credit_notes"],
    "api_path": "/creditnotes", "list_key": "creditnotes", "record_key": "creditnote", "id_key": "creditnote_id",
    "list_filter": {"filter_by": "Status.All", "sort_column": "created_time", "sort_order": "A"}, "has_modified_filter": true,
    "detail_key": "line_items",
    "target": "credit_notes", "target_key": "zoho_creditnote_id"}');

select tds.map_fields('credit_notes', '', $$
    creditnote_id      id      zoho_creditnote_id required
    creditnote_number  word    credit_note_number 100
    reference_number   text    reference_number
    customer_id        id      zoho_customer_id
    customer_name      text    customer_name
    date               date    credit_note_date
    status             word    status             50
    sub_total          number  subtotal
    tax_total          number  tax_total
    discount           number  -
    discount_total     number  -
    discount_amount    number  discount_amount    := tds.discount_amount(d.discount_amount, d.discount_total, d.discount)
    shipping_charge    number  shipping_charge
    adjustment         number  adjustment
    total              number  total_amount
    total_credits_used number  credits_used
    total_refunded_amount number amount_refunded
    balance            number  balance
    currency_code      word    currency           10
    exchange_rate      number  exchange_rate
    line_items         array   -
    invoices_credited  array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);

select tds.map_document('credit_notes');
select tds.map_lines('credit_notes', 'credit_note_line_items', 'zoho_creditnote_id');

select tds.map_child('credit_notes', 'invoices_credited', 'credit_note_invoices', 'zoho_creditnote_id', 'position', $$
    invoice_id           id      zoho_invoice_id
    invoice_number       word    invoice_number       100
    date                 date    credited_on
    amount_applied       number  -
    amount               number  -
    credited_amount      number  amount               := coalesce(tds.json_number(d.credited_amount), \
        tds.json_number(d.amount_applied), tds.json_number(d.amount))
$$);

select tds.link('credit_notes', 'customer_id', 'zoho_customer_id', 'customers', 'zoho_contact_id');
select tds.link('credit_note_invoices', 'invoice_id', 'zoho_invoice_id', 'invoices', 'zoho_invoice_id');

select tds.sum_in_list('credit_notes', '{credit_note_invoices}', 'amount', 'used up', 'total', 'balance');
