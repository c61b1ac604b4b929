select tds.register('{
    "entity": "organizations", "queue": "organizations", "priority": 10,
    "api_path": "/organizations", "list_key": "organizations", "record_key": "organization", "id_key": "organization_id",
    "paged": false,
    "target": "organizations", "target_key": "zoho_organization_id"}');

select tds.map_fields('organizations', '', $$
    organization_id    id      zoho_organization_id required
    name               text    name
    currency_code      word    currency           10
    price_precision    number  price_precision
    time_zone          word    time_zone          100
    country_name       text    -
    country            text    country   := coalesce(tds.json_text(d.country_name), tds.json_text(d.country))
    plan_name          text    plan_name
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);
