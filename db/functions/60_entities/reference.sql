-- Currencies, taxes and warehouses: lists without last_modified_time and without details; only the taxes come in pages.
select tds.register('{
    "entity": "currencies", "queue": "settings", "priority": 11,
    "api_path": "/settings/currencies", "list_key": "currencies", "record_key": "currency", "id_key": "currency_id", "paged": false,
    "target": "currencies", "target_key": "zoho_currency_id"}');

select tds.map_fields('currencies', '', $$
    currency_id        id      zoho_currency_id   required
    currency_code      word    code               10
    currency_name      text    name
    currency_symbol    text    symbol
    price_precision    number  price_precision
    exchange_rate      number  exchange_rate
    is_base_currency   boolean is_base
    effective_date     date    effective_date
    last_modified_time time    zoho_modified_at
$$);

select tds.register('{
    "entity": "taxes", "queue": "settings", "priority": 12,
    "api_path": "/settings/taxes", "list_key": "taxes", "record_key": "tax", "id_key": "tax_id",
    "target": "taxes", "target_key": "zoho_tax_id"}');

select tds.map_fields('taxes', '', $$
    tax_id             id      zoho_tax_id        required
    tax_name           text    name
    tax_percentage     number  percentage
    tax_type           word    tax_type           50
    last_modified_time time    zoho_modified_at
$$);

select tds.register('{
    "entity": "warehouses", "queue": "settings", "priority": 13,
    "api_path": "/locations", "list_key": "locations", "record_key": "location", "id_key": "location_id", "paged": false,
    "target": "warehouses", "target_key": "zoho_warehouse_id"}');

select tds.map_fields('warehouses', '', $$
    location_id        id      zoho_warehouse_id  required
    location_name      text    name
    is_primary         boolean is_primary
    status             word    is_active          := tds.json_word(d.status) = 'active'
    email              text    email
    phone              text    phone
    address            object  address
    last_modified_time time    zoho_modified_at
$$);
