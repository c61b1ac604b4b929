-- Never a wrong price: where a list can be read in two ways, or cannot be right, there is none.
begin;
select plan(41);

update tds.setting set value = '"o"' where name = 'organization_id';
select tds.receive('products', '{"items": [
    {"item_id": "1", "name": "a", "rate": 10, "purchase_rate": 6.4, "brand": ""}]}', 'o', shape => 'list');
select tds.receive('pricelists', jsonb_build_object('pricebooks', (
    select jsonb_agg('{"pricebook_type": "per_item", "pricing_scheme": "unit", "sales_or_purchase_type": "sales", "status": "active",
                       "currency_code": "USD"}' || l.told || jsonb_build_object('pricebook_id', l.id))
      from (values
        ('percent',   '{"pricebook_items": [{"item_id": "1", "pricebook_rate": "", "pricebook_discount": "10%"}]}'::jsonb),
        ('bare',      '{"pricebook_items": [{"item_id": "1", "pricebook_rate": "", "pricebook_discount": "10"}]}'),
        ('number',    '{"pricebook_items": [{"item_id": "1", "pricebook_rate": "", "pricebook_discount": 10}]}'),
        ('nothing',   '{"pricebook_items": [{"item_id": "1", "pricebook_rate": "", "pricebook_discount": "0"}]}'),
        ('zero',      '{"pricebook_items": [{"item_id": "1", "pricebook_rate": "", "pricebook_discount": 0}]}'),
        ('all',       '{"pricebook_items": [{"item_id": "1", "pricebook_rate": "", "pricebook_discount": "100%"}]}'),
        ('over',      '{"pricebook_items": [{"item_id": "1", "pricebook_rate": "", "pricebook_discount": "100.01%"}]}'),
        ('negative',  '{"pricebook_items": [{"item_id": "1", "pricebook_rate": "", "pricebook_discount": "-5%"}]}'),
        ('both',      '{"pricebook_items": [{"item_id": "1", "pricebook_rate": 7, "pricebook_discount": "10"}]}'),
        ('below',     '{"pricebook_items": [{"item_id": "1", "pricebook_rate": -7}]}'),
        ('untold',    '{"currency_code": "", "pricebook_items": [{"item_id": "1", "pricebook_rate": "", "pricebook_discount": "10%"}]}'),
        ('bracket',   '{"pricing_scheme": "volume", "pricebook_items": [{"item_id": "1", "price_brackets": [
                          {"start_quantity": 1, "end_quantity": 9, "pricebook_discount": "10%"},
                          {"start_quantity": 10, "end_quantity": "", "pricebook_discount": "20"}]}]}'),
        ('down',      '{"pricebook_type": "fixed_percentage", "currency_code": "", "percentage": 25, "is_increase": false, '
                      '"rounding_type": "no_rounding"}'),
        ('down100',   '{"pricebook_type": "fixed_percentage", "currency_code": "", "percentage": 100, "is_increase": false, '
                      '"rounding_type": "no_rounding"}'),
        ('down101',   '{"pricebook_type": "fixed_percentage", "currency_code": "", "percentage": 101, "is_increase": false, '
                      '"rounding_type": "no_rounding"}'),
        ('up101',     '{"pricebook_type": "fixed_percentage", "currency_code": "", "percentage": 101, "is_increase": true, '
                      '"rounding_type": "no_rounding"}'),
        ('minus',     '{"pricebook_type": "fixed_percentage", "currency_code": "", "percentage": -5, "is_increase": true, "rounding_type": '
                      '"no_rounding"}'),
        ('whither',   '{"pricebook_type": "fixed_percentage", "currency_code": "", "percentage": 5, "rounding_type": "no_rounding"}'),
        ('neither',   '{"pricebook_type": "fixed_percentage", "currency_code": "", "percentage": 5, "is_increase": true, '
                      '"sales_or_purchase_type": ""}'),
        ('decimals',  '{"pricebook_type": "fixed_percentage", "currency_code": "", "percentage": 33.333, "is_increase": true, '
                      '"decimal_place": 2}'),
        ('toomany',   '{"pricebook_type": "fixed_percentage", "currency_code": "", "percentage": 5, "is_increase": true, "decimal_place": '
                      '99999999999}'),
        ('dollar',    '{"pricebook_type": "fixed_percentage", "currency_code": "USD", "percentage": 25, "is_increase": false}'),
        ('dinar',     '{"pricebook_type": "fixed_percentage", "currency_code": "IQD", "percentage": 25, "is_increase": false}'),
        ('june',      '{"effective_from": "2026-06-01", "effective_to": "2026-06-30", "pricebook_items": [{"item_id": "1", '
                      '"pricebook_rate": 5}]}'),
        ('onwards',   '{"effective_from": "2026-06-01", "effective_to": "", "pricebook_items": [{"item_id": "1", "pricebook_rate": 5}]}')
        ) l(id, told)))::text::bytea, 'o', shape => 'list');
create function pg_temp.drain(queues text[]) returns void language sql as $$
    select from unnest($1) q(queue) cross join lateral tds.claim(q.queue, 1000) c
     cross join lateral tds.apply_claim(c.claim_id) a cross join lateral tds.finish_claim(c.claim_id, a.touches) $$;
select pg_temp.drain(array['products', 'pricelists']);

-- the organisation, and so the currency of the product's own prices, is not known yet
select is(tds.price_of('1', 'down'), 7.50, 'a percentage of the product''s price is in whatever currency that is');
select is(tds.price_of('1', 'dollar'), null, 'unless the list has a currency, and the product''s is unknown');
select is(tds.price_of('1', 'percent'), null, 'so with a discount');
select is(tds.price_of('1', 'june', 1, '2026-06-15 12:00+00'), 5::numeric, 'a rate is in the list''s currency');
select is(tds.price_of('1', 'june', 1, '2026-05-31 23:00+00'), null, 'days are those of UTC: the last of May');
select is(tds.price_of('1', 'june', 1, '2026-06-01 00:00+00'), 5::numeric, 'the first of June');
select is(tds.price_of('1', 'june', 1, '2026-06-30 23:59+00'), 5::numeric, 'the last of June');
select is(tds.price_of('1', 'june', 1, '2026-07-01 00:00+00'), null, 'the first of July');

select tds.receive('organizations', '{"organization": {"organization_id": "o", "currency_code": "USD", "time_zone": "Asia/Baghdad"}}', 'o',
                   shape => 'detail');
select pg_temp.drain(array['organizations']);
select is(tds.price_of('1', 'june', 1, '2026-05-31 20:59+00'), null, 'days are the organisation''s: in Baghdad it is 23:59, the last of '
                                                                     'May');
select is(tds.price_of('1', 'june', 1, '2026-05-31 21:00+00'), 5::numeric, 'midnight there, the first of June');
select is(tds.price_of('1', 'june', 1, '2026-06-30 20:59+00'), 5::numeric, 'a minute before the end of June');
select is(tds.price_of('1', 'june', 1, '2026-06-30 21:00+00'), null, 'July');
select is(tds.price_of('1', 'onwards', 1, '2026-05-31 20:59+00'), null, 'a list without an end begins');
select is(tds.price_of('1', 'onwards', 1, '2100-01-01 00:00+00'), 5::numeric, 'and does not end');
update zoho.organizations set time_zone = 'America/New_York';
select is(tds.price_of('1', 'june', 1, '2026-06-01 03:59+00'), null, 'in New York it is May yet');
select is(tds.price_of('1', 'june', 1, '2026-06-01 04:00+00'), 5::numeric, 'and now it is June');
select is(tds.price_of('1', 'june', 1, '2026-07-01 03:59+00'), 5::numeric, 'for a month');
update zoho.organizations set time_zone = 'Atlantis/Harbour';
select is(tds.price_of('1', 'june', 1, '2026-05-31 23:59+00'), null, 'a zone the server does not know is none');
select is(tds.price_of('1', 'june', 1, '2026-06-01 00:00+00'), 5::numeric, 'days are those of UTC then');
select is(tds.time_zone_of('o'), 'UTC', 'as they are');
select is(tds.time_zone_of('another'), 'UTC', 'for whom nothing is known of');

select is(tds.price_of('1', 'percent'), 9.0, '10.00 less 10 %');
select is(tds.price_of('1', 'bare'), null, '10 is 10 % or 10.00: no price');
select is(tds.price_of('1', 'number'), null, 'as a number too');
select is(tds.price_of('1', 'nothing'), 10.0, '0 is 0 either way');
select is(tds.price_of('1', 'zero'), 10.0, 'as a number too');
select is(tds.price_of('1', 'all'), 0.0, '100 % off is for nothing');
select is(tds.price_of('1', 'over'), null, 'more is a mistake, not a price');
select is(tds.price_of('1', 'negative'), null, 'and so is less than nothing off');
select is(tds.price_of('1', 'both'), 7.0, 'a rate goes before a discount');
select is(tds.price_of('1', 'below'), null, 'a rate below 0 is none');
select is(tds.price_of('1', 'untold'), null, 'a discount in a list without a currency gives no price');
select is(tds.price_of('1', 'bracket', 5), 9.0, 'a bracket''s discount');
select is(tds.price_of('1', 'bracket', 15), null, 'and one without %');

select is(array[tds.price_of('1', 'down'), tds.price_of('1', 'down100'), tds.price_of('1', 'up101')], array[7.5, 0, 20.1],
          'percentages down and up');
select is(array[tds.price_of('1', 'down101'), tds.price_of('1', 'minus')], array[null, null]::numeric[], 'none below 0, none of less than '
    '0 %');
select is(tds.price_of('1', 'whither'), null, 'neither up nor down');
select is(tds.price_of('1', 'neither'), null, 'neither for sales nor for purchases');
select is(array[tds.price_of('1', 'decimals'), tds.price_of('1', 'toomany')], array[13.33, null], 'rounded to as many decimals as there '
    'can be');
select is(array[tds.price_of('1', 'dollar'), tds.price_of('1', 'dinar')], array[7.5, null], 'a percentage in the currency of the '
    'product''s price, never another');
select is((select array_agg(p.zoho_pricebook_id || ' ' || coalesce(p.discount::text, '-') order by p.zoho_pricebook_id)
           from zoho.product_prices p
            where p.zoho_pricebook_id in ('percent', 'bare', 'number', 'zero')),
          array['bare -', 'number -', 'percent 10', 'zero 0'], 'a discount is kept as what it is sure to be: percent');

select * from finish();
rollback;
