create or replace function tds.round_price(amount numeric, rounding_type text, decimal_place numeric) returns numeric
language sql immutable parallel safe
as $$
    select case when r.price < 0 then 0 else r.price end from (select case
        -- the documents of the API write dollor, its answers dollar
        when $2 in ('round_to_dollor', 'round_to_dollar') then round($1)
        when $2 in ('round_to_dollor_minus_01', 'round_to_dollar_minus_01') then round($1) - 0.01
        when $2 in ('round_to_half_dollor', 'round_to_half_dollar') then round($1 * 2) / 2
        when $2 in ('round_to_half_dollor_minus_01', 'round_to_half_dollar_minus_01') then round($1 * 2) / 2 - 0.01
        when coalesce($2, '') in ('', 'no_rounding') then case when $3 > 20 then null when $3 > 0 then round($1, $3::int)
            else $1 end end) r(price)
$$;
comment on function tds.round_price(numeric, text, numeric) is
'A price rounded as a price list says, halves away from zero and never below 0: to the unit, the half unit, one hundredth less '
'than either, or (no_rounding) to decimal_place if that is above 0. Null for a rule that is not known, or more than 20 decimals.';

create or replace function tds.is_effective(list zoho.pricelists, at timestamptz) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_day date;
begin
    if (is_effective.list).effective_from is null and (is_effective.list).effective_to is null then
        return true;
    end if;
    v_day := (is_effective.at at time zone tds.time_zone_of((is_effective.list).organization_id))::date;
    return v_day between coalesce((is_effective.list).effective_from, v_day) and coalesce((is_effective.list).effective_to, v_day);
end
$$;
comment on function tds.is_effective(zoho.pricelists, timestamptz) is
'Whether a price list is effective at a moment: both its days count, in the organisation''s time zone.';

create or replace function tds.percentage_price(list zoho.pricelists, base numeric) returns numeric
language sql immutable parallel safe
as $$
    select tds.round_price($2 * (1 + case when ($1).is_increase then 1 when not ($1).is_increase then -1 end * ($1).percentage / 100),
                           ($1).rounding_type, ($1).decimal_place)
     where ($1).percentage >= 0 and (($1).is_increase or ($1).percentage <= 100)
$$;
comment on function tds.percentage_price(zoho.pricelists, numeric) is
'What a list of one percentage makes of a product''s own price; null where it does not say whether up or down, or takes off more than '
'there is.';

create or replace function tds.price_of(
    product text, pricelist text, quantity numeric default 1, at timestamptz default null, organization_id text default null)
returns numeric
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_organization constant text := tds.known_organization(price_of.organization_id, of_the_api => false);
    v_list         zoho.pricelists;
    v_product      zoho.products;
    v_base         numeric;
    v_price        zoho.product_prices;
begin
    if v_organization is null then
        raise warning using errcode = 'ZB013', message = 'organisation unknown: there is no price',
            hint = 'name it, or: update tds.setting set value = ''"…"'' where name = ''organization_id''';
        return null;
    end if;
    select l.* into v_list from zoho.pricelists l
     where l.organization_id = v_organization and l.zoho_pricebook_id = price_of.pricelist and l.deleted_at is null and l.is_active;
    select p.* into v_product from zoho.products p
     where p.organization_id = v_organization and p.zoho_item_id = price_of.product and p.deleted_at is null;
    if v_list.zoho_pricebook_id is null or v_product.zoho_item_id is null or coalesce(price_of.quantity, 0) <= 0
       or not tds.is_effective(v_list, coalesce(price_of.at, tds.now())) then
        return null;
    end if;
    v_base := case when v_list.sales_or_purchase like 'purchase%' then v_product.purchase_rate
                   when v_list.sales_or_purchase like 'sale%' then v_product.unit_price end;
    if v_list.kind = 'fixed_percentage' then
        -- a list that names no currency is in that of the product's own price, whichever it is
        return case when v_list.currency is null or v_list.currency = v_product.currency then tds.percentage_price(v_list, v_base) end;
    end if;
    select t.* into v_price from zoho.product_prices t
     where t.organization_id = v_organization and t.zoho_pricebook_id = price_of.pricelist and t.zoho_item_id = price_of.product
       and price_of.quantity between t.start_quantity and coalesce(t.end_quantity, price_of.quantity)
     order by t.start_quantity desc
     limit 1;
    if v_price.rate is not null then
        return case when v_price.rate >= 0 then v_price.rate end;
    end if;
    -- a discount is off the product's own price, which is in the organisation's currency: in another there is no price
    return case when v_list.currency = v_product.currency and v_price.discount between 0 and 100
        then v_base * (1 - v_price.discount / 100) end;
end
$$;
comment on function tds.price_of(text, text, numeric, timestamptz, text) is
'The price of a product in a price list, in the list''s currency (of a percentage without one: in that of the product''s own price), for a '
'quantity at a moment; null where there is none or it is in doubt: list inactive, deleted or not effective (by the organisation''s days), '
'product deleted or not in it, no bracket for the quantity, a discount without %, below 0 % or above 100 %. Never a price of another list '
'or currency. product, pricelist: Zoho''s item_id and pricebook_id. Warns (ZB013) where no organisation is named and several are known.';
