-- The API calls them price books. A list has prices by item, prices by item and quantity (brackets), or one percentage.

create or replace function tds.told_product_prices(organization_ids text[], zoho_ids text[], at timestamptz)
returns setof zoho.product_prices
language sql stable
as $$
    select distinct on (l.organization_id, l.zoho_pricebook_id, i.zoho_item_id, b.start_quantity)
           l.organization_id, l.zoho_pricebook_id, i.zoho_item_id, b.start_quantity, b.end_quantity, l.id, p.id, b.zoho_pricebook_item_id,
           b.rate, b.discount, f.currency, $3
      from unnest($1, $2) o(organization_id, zoho_pricebook_id)
     cross join lateral (select l.* from zoho.pricelists l
                          where l.organization_id = o.organization_id
                            and l.zoho_pricebook_id between o.zoho_pricebook_id and o.zoho_pricebook_id
                          order by l.zoho_pricebook_id limit 1) l
     cross join lateral (select tds.json_word(l.zoho_metadata -> 'currency_code') as currency offset 0) f
     cross join lateral jsonb_array_elements(coalesce(tds.json_array(l.zoho_metadata -> 'pricebook_items'),
                                                      '[]')) with ordinality r(doc, n)
     cross join lateral (select tds.json_row(r.doc) as doc, r.n offset 0) e
     cross join lateral (select coalesce(tds.json_id(e.doc -> 'item_id'), tds.refuse(e.doc, 'missing item_id')) as zoho_item_id) i
     -- an item without brackets (or with none in the array) is its own, from any quantity on; of two that begin alike the last counts
     cross join lateral jsonb_array_elements(coalesce(nullif(tds.json_array(e.doc -> 'price_brackets'), '[]'),
                                                      jsonb_build_array(e.doc))) with ordinality k(doc, n)
     cross join lateral (select tds.json_row(k.doc) as doc, k.n offset 0) c
     cross join lateral (select coalesce(tds.json_number(c.doc -> 'start_quantity'), 0) as start_quantity,
                                tds.json_number(c.doc -> 'end_quantity') as end_quantity,
                                tds.json_id(c.doc -> 'pricebook_item_id') as zoho_pricebook_item_id,
                                tds.json_number(c.doc -> 'pricebook_rate') as rate,
                                -- Zoho writes 10%: without the sign it may as well be an amount
                                case when c.doc ->> 'pricebook_discount' like '%\%'
                                    or tds.json_number(c.doc -> 'pricebook_discount') = 0
                                     then tds.json_number(c.doc -> 'pricebook_discount') end as discount) b
      left join zoho.products p on p.organization_id = l.organization_id and p.zoho_item_id = i.zoho_item_id
     order by l.organization_id, l.zoho_pricebook_id, i.zoho_item_id, b.start_quantity, e.n desc, c.n desc
$$;
comment on function tds.told_product_prices(text[], text[], timestamptz) is
'The prices that the documents of these price lists, each of the organisation told beside it, tell of: a row an item, or a '
'row a bracket. The planner puts its text in the place of '
'the call.';

create or replace function tds.write_product_prices(
    organization_ids text[], zoho_ids text[], at timestamptz, believed boolean default false)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- all rows in key order before any is written: what goes and what stays are two sets, and who links products takes both in one
    perform from (select u.organization_id, u.zoho_id
                    from unnest(write_product_prices.organization_ids, write_product_prices.zoho_ids) u(organization_id, zoho_id)
                   order by u.organization_id, u.zoho_id offset 0) k
      cross join lateral (select from zoho.product_prices t
                           where t.organization_id = k.organization_id and t.zoho_pricebook_id between k.zoho_id and k.zoho_id
                           order by t.zoho_pricebook_id, t.zoho_item_id, t.start_quantity
                             for update) t;
    with told as materialized (
        select w.* from tds.told_product_prices(write_product_prices.organization_ids, write_product_prices.zoho_ids,
                                                write_product_prices.at) w
    ), known as materialized (
        select k.organization_id, t.zoho_pricebook_id, t.zoho_item_id, t.start_quantity, t.place,
               count(*) over (partition by k.organization_id, t.zoho_pricebook_id) as prices
          from unnest(write_product_prices.organization_ids, write_product_prices.zoho_ids) k(organization_id, zoho_id)
         cross join lateral (select t.zoho_pricebook_id, t.zoho_item_id, t.start_quantity, t.ctid as place from zoho.product_prices t
                              where t.organization_id = k.organization_id and t.zoho_pricebook_id between k.zoho_id and k.zoho_id
                              order by t.zoho_pricebook_id, t.zoho_item_id, t.start_quantity offset 0) t
    ), gone as (
        -- by their places, which are locked: the plan is right even if it was made while the table was empty
        delete from zoho.product_prices t
         where t.ctid = any (array(
               select k.place from known k
                where (k.organization_id, k.zoho_pricebook_id, k.zoho_item_id, k.start_quantity) not in (
                      select w.organization_id, w.zoho_pricebook_id, w.zoho_item_id, w.start_quantity from told w)
                  -- a list that has lost all of its many prices at once has to say so twice
                  and case when write_product_prices.believed or k.prices <= 5 then true
                           else (k.organization_id, k.zoho_pricebook_id) in (
                                select w.organization_id, w.zoho_pricebook_id from told w) end)))
    insert into zoho.product_prices as t (
        organization_id, zoho_pricebook_id, zoho_item_id, start_quantity, end_quantity, pricelist_id, product_id, zoho_pricebook_item_id,
        rate, discount, currency, synced_at)
    select w.*
      from told w
     order by w.organization_id, w.zoho_pricebook_id, w.zoho_item_id, w.start_quantity
    on conflict on constraint product_prices_pkey do update
       set end_quantity = excluded.end_quantity, pricelist_id = excluded.pricelist_id, product_id = excluded.product_id,
           zoho_pricebook_item_id = excluded.zoho_pricebook_item_id, rate = excluded.rate, discount = excluded.discount,
           currency = excluded.currency, synced_at = excluded.synced_at
     where (t.end_quantity, t.pricelist_id, t.product_id, t.zoho_pricebook_item_id, t.rate, t.discount, t.currency)
           is distinct from (excluded.end_quantity, excluded.pricelist_id, excluded.product_id, excluded.zoho_pricebook_item_id,
                             excluded.rate, excluded.discount, excluded.currency);
end
$$;
revoke all on function tds.write_product_prices(text[], text[], timestamptz, boolean) from public;
comment on function tds.write_product_prices(text[], text[], timestamptz, boolean) is
'Makes the prices of these lists what their documents say: a row an item, or a row a bracket. One that told of more than 5 prices and '
'now of '
'none keeps them, unless that is believed: once it was said twice.';

comment on column zoho.product_prices.discount is
'Percent off the product''s own price, where the list gives that instead of a rate; null where it gives one without %.';

select tds.register('{
    "entity": "pricelists", "queue": "pricelists", "priority": 41,
    "aliases": ["pricelist", "pricelists", "price_list", "price_lists", "price_book", "price_books"],
    "api_path": "/pricebooks", "list_key": "pricebooks", "record_key": "pricebook", "id_key": "pricebook_id",
    "list_filter": {"filter_by": "Status.All"},
    "detail_key": "pricebook_items", "volatile_details": true,
    "target": "pricelists", "target_key": "zoho_pricebook_id",
    "complete": "write_product_prices", "complete_if": "s.doc ? ''pricebook_items''",
    "parts": {"product_prices": "zoho_pricebook_id"}, "empty_twice": "write_product_prices"}');

select tds.map_fields('pricelists', '', $$
    pricebook_id       id      zoho_pricebook_id  required
    name               text    name
    description        text    description
    pricebook_type     word    kind               50
    pricing_scheme     word    pricing_scheme     50
    sales_or_purchase_type word sales_or_purchase 50
    percentage         number  percentage
    is_increase        boolean is_increase
    rounding_type      word    rounding_type      50
    decimal_place      number  decimal_place
    currency_code      word    currency           10
    status             word    is_active          := tds.json_word(d.status) = 'active'
    effective_from     date    effective_from
    effective_to       date    effective_to
    pricebook_items    array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);

select tds.map_fields('pricelists', 'pricebook_items', $$
    item_id            id      -                  required
    pricebook_item_id  id      -
    pricebook_rate     number  -
    pricebook_discount number  -
    price_brackets     array   -
$$);

select tds.map_fields('pricelists', 'pricebook_items.price_brackets', $$
    pricebook_item_id  id      -
    start_quantity     number  -
    end_quantity       number  -
    pricebook_rate     number  -
    pricebook_discount number  -
$$);

select tds.write_beside('pricelists', 'product_prices', 'zoho_pricebook_id',
                        'concat_ws(''/'', x.zoho_item_id, trim_scale(x.start_quantity))', 'told_product_prices',
                        'tds.write_product_prices(array_fill($1, array[cardinality($2)]), $2, $3, true)',
                        -- one that told of many and now of none is asked a second time
                        'tds.is_blank_list(s.doc -> ''pricebook_items'') and exists (select from tds.wanted_detail w where '
                        'w.organization_id = own.organization_id and w.entity = ''pricelists'' and w.zoho_id = s.zoho_id '
                        'and w.forced_by is null)');

select tds.link('product_prices', 'product_id', 'zoho_item_id', 'products', 'zoho_item_id');
