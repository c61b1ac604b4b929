-- Prices of every kind and every rounding rule, against cases worked out by hand.
begin;
select plan(45);

update tds.setting set value = '"o"' where name = 'organization_id';
-- the products: sold at 10.00, bought at 6.40; one without prices
select tds.receive('organizations', '{"organization": {"organization_id": "o", "currency_code": "USD"}}', 'o', shape => 'detail');
select tds.receive('products', '{"items": [
    {"item_id": "1", "name": "a", "rate": 10, "purchase_rate": 6.4, "brand": ""},
    {"item_id": "2", "name": "b", "rate": "", "purchase_rate": "", "brand": ""},
    {"item_id": "3", "name": "c", "rate": 0, "purchase_rate": 0, "brand": ""}]}', 'o', shape => 'list');
select tds.receive('pricelists', '{"pricebooks": [
    {"pricebook_id": "unit", "pricebook_type": "per_item", "pricing_scheme": "unit", "sales_or_purchase_type": "sales", "status": "active",
     "currency_code": "IQD", "percentage": "", "pricebook_items": [
        {"pricebook_item_id": "11", "item_id": "1", "pricebook_rate": 14500, "pricebook_discount": ""},
        {"pricebook_item_id": "12", "item_id": "3", "pricebook_rate": 0, "pricebook_discount": ""},
        {"pricebook_item_id": "13", "item_id": "2", "pricebook_rate": "", "pricebook_discount": "10%"}]},
    {"pricebook_id": "off", "pricebook_type": "per_item", "pricing_scheme": "unit", "sales_or_purchase_type": "sales", "status": "active",
     "currency_code": "USD", "pricebook_items": [{"pricebook_item_id": "15", "item_id": "1", "pricebook_rate": "",
     "pricebook_discount": "12.5%"}]},
    {"pricebook_id": "dinar", "pricebook_type": "per_item", "pricing_scheme": "unit", "sales_or_purchase_type": "sales", "status": "active",
     "currency_code": "IQD", "pricebook_items": [{"pricebook_item_id": "16", "item_id": "1", "pricebook_rate": "",
     "pricebook_discount": "12.5%"}]},
    {"pricebook_id": "volume", "pricebook_type": "per_item", "pricing_scheme": "volume", "sales_or_purchase_type": "sales",
    "status": "active",
     "currency_code": "USD", "pricebook_items": [{"item_id": "1", "price_brackets": [
        {"pricebook_item_id": "21", "start_quantity": 10, "end_quantity": 19, "pricebook_rate": 9},
        {"pricebook_item_id": "22", "start_quantity": 20, "end_quantity": 49, "pricebook_rate": 8},
        {"pricebook_item_id": "23", "start_quantity": 60, "end_quantity": "", "pricebook_rate": 7.25}]}]},
    {"pricebook_id": "old", "pricebook_type": "per_item", "pricing_scheme": "unit", "sales_or_purchase_type": "sales", "status": "inactive",
     "currency_code": "USD", "pricebook_items": [{"pricebook_item_id": "31", "item_id": "1", "pricebook_rate": 3}]},
    {"pricebook_id": "june", "pricebook_type": "per_item", "pricing_scheme": "unit", "sales_or_purchase_type": "sales", "status": "active",
     "currency_code": "USD", "effective_from": "2026-06-01", "effective_to": "2026-06-30",
     "pricebook_items": [{"pricebook_item_id": "41", "item_id": "1", "pricebook_rate": 5}]},
    {"pricebook_id": "down", "pricebook_type": "fixed_percentage", "pricing_scheme": "", "sales_or_purchase_type": "sales",
    "status": "active",
     "currency_code": "", "percentage": 12.5, "is_increase": false, "rounding_type": "no_rounding", "decimal_place": 0,
     "pricebook_items": []},
    {"pricebook_id": "up", "pricebook_type": "fixed_percentage", "pricing_scheme": "", "sales_or_purchase_type": "sales",
    "status": "active",
     "currency_code": "", "percentage": "35.71", "is_increase": "true", "rounding_type": "round_to_dollar", "decimal_place": 0,
     "pricebook_items": []},
    {"pricebook_id": "buy", "pricebook_type": "fixed_percentage", "pricing_scheme": "", "sales_or_purchase_type": "purchases",
    "status": "active",
     "currency_code": "", "percentage": 10, "is_increase": false, "rounding_type": "round_to_half_dollar_minus_01",
     "pricebook_items": []}]}',
    'o', shape => 'list');
select tds.apply_claim(c.claim_id), tds.finish_claim(c.claim_id, '{}')
  from (values (1, 'organizations'), (2, 'products'), (3, 'pricelists')) q(n, queue)
 cross join lateral tds.claim(q.queue, 1000) c;
select is((select count(*) from zoho.product_prices), 10::bigint, 'a row an item, and a row a bracket');

select is(tds.price_of('1', 'unit'), 14500.0, 'the list''s rate, in the list''s currency');
select is(tds.price_of('1', 'unit', 1000), 14500.0, 'whatever the quantity');
select is(tds.price_of('3', 'unit'), 0.0, 'a price of 0 is a price');
select is(tds.price_of('2', 'unit'), null, 'a discount in another currency than the product''s gives none');
select is(tds.price_of('1', 'dinar'), null, 'and neither does one where the product has a price');
select is(tds.price_of('1', 'off'), 8.75, '10.00 less 12.5 % is 8.75');
select is(tds.price_of('4', 'unit'), null, 'an unknown product has no price');
select is(tds.price_of('1', 'none'), null, 'an unknown list has no price');
select is(tds.price_of('1', 'old'), null, 'an inactive list has no price');
select is(tds.price_of('1', 'unit', 0), null, 'nothing has no price');
select is(tds.price_of('1', 'unit', -1), null, 'less than nothing has no price');

select is(tds.price_of('1', 'volume', 9), null, 'below the first bracket there is no price');
select is(tds.price_of('1', 'volume', 10), 9.0, 'a bracket begins with its first quantity');
select is(tds.price_of('1', 'volume', 19), 9.0, 'and ends with its last');
select is(tds.price_of('1', 'volume', 19.5), null, 'between two brackets there is no price');
select is(tds.price_of('1', 'volume', 20), 8.0, 'the next bracket');
select is(tds.price_of('1', 'volume', 50), null, 'a gap has no price');
select is(tds.price_of('1', 'volume', 60), 7.25, 'the open bracket');
select is(tds.price_of('1', 'volume', 1000000), 7.25, 'has no end');
select is(tds.price_of('2', 'volume', 60), null, 'a product that is not in the list has no price');

select is(tds.price_of('1', 'june', 1, '2026-05-31 12:00+00'), null, 'not effective yet');
select is(tds.price_of('1', 'june', 1, '2026-06-01 12:00+00'), 5.0, 'from its first day');
select is(tds.price_of('1', 'june', 1, '2026-06-30 12:00+00'), 5.0, 'to its last');
select is(tds.price_of('1', 'june', 1, '2026-07-01 12:00+00'), null, 'no longer effective');

select is(tds.price_of('1', 'down'), 8.75, '10.00 * (1 - 0.125) = 8.75');
select is(tds.price_of('1', 'up'), 14.0, '10.00 * 1.3571 = 13.571, to the unit 14');
select is(tds.price_of('1', 'buy'), 5.99, '6.40 * 0.9 = 5.76, to the half unit 6.00, less 0.01');
select is(tds.price_of('2', 'down'), null, 'without a price of its own a product has none by percentage');
select is(tds.price_of('3', 'buy'), 0.0, '0 less 0.01 is not below 0');
select is(tds.price_of('1', 'down', 1, null, 'another'), null, 'another organisation has no such list');

select is(tds.round_price(12.345, 'no_rounding', 0), 12.345, 'not rounded');
select is(tds.round_price(12.345, 'no_rounding', 2), 12.35, 'half a hundredth goes up');
select is(tds.round_price(12.345, '', null), 12.345, 'no rule is no rounding');
select is(tds.round_price(12.5, 'round_to_dollor', 0), 13::numeric, 'half a unit goes up');
select is(tds.round_price(12.49, 'round_to_dollar', 0), 12::numeric, 'less goes down');
select is(tds.round_price(12.5, 'round_to_dollar_minus_01', 0), 12.99, '13 less 0.01');
select is(tds.round_price(12.49, 'round_to_dollor_minus_01', 0), 11.99, '12 less 0.01');
select is(tds.round_price(12.25, 'round_to_half_dollar', 0), 12.5, 'a quarter goes up to the half');
select is(tds.round_price(12.24, 'round_to_half_dollor', 0), 12.0, 'less goes down');
select is(tds.round_price(12.75, 'round_to_half_dollar', 0), 13.0, 'three quarters go up to the unit');
select is(tds.round_price(12.74, 'round_to_half_dollar_minus_01', 0), 12.49, '12.50 less 0.01');
select is(tds.round_price(0.004, 'round_to_dollar_minus_01', 0), 0::numeric, 'never below 0');
select is(tds.round_price(-3, 'no_rounding', 0), 0::numeric, 'not even from below');
select is(tds.round_price(12.5, 'round_to_thousand', 0), null, 'an unknown rule has no price');

select * from finish();
rollback;
