create or replace function tds.round_price(amount numeric, rounding_type text, decimal_place numeric) returns numeric
language sql immutable parallel safe
as $$
    select case when r.price < 0 then 0 else r.price end from (select case
        -- the documents of the API write dollor, its answers dollar
        when $2 in ('round_to_dollor', 'round_to_dollar') then round($1)
        when $2 in ('round_to_dollor_minus_01', 'round_to_dollar_minus_01') then round($1) - 0.01
        when $2 in ('round_to_half_dollor', 'round_to_half_dollar') then round($1 * 2) / 2
        when $2 in ('round_to_half_dollor_minus_01', 'round_to_half_dollar_minus_01') then round($1 * 2) / 2 - 0.01
        when coalesce($2, '') in ('', 'no_rounding') then case when $3 > 0 then round($1, $3::int) else $1 end end) r(price)
$$;
comment on function tds.round_price(numeric, text, numeric) is
'A price rounded as a price list says, halves away from zero and never below 0: to the unit, the half unit, one hundredth less '
'than either, or (no_rounding) to decimal_place if that is above 0. Null for a rule that is not known.';

create or replace function tds.own_organization() returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_told constant text := tds.setting_text('organization_id');
begin
    -- unset, the setting says default: where only one organisation is mirrored, that is the one meant
    return case when v_told <> 'default' then v_told
                else (select min(l.organization_id) from zoho.pricelists l having min(l.organization_id) = max(l.organization_id)) end;
end
$$;
comment on function tds.own_organization() is
'The organisation of a question that names none: the setting organization_id, or, unset, the only one with price lists; null if there are several.';

create or replace function tds.price_of(
    product text, pricelist text, quantity numeric default 1, at timestamptz default null, organization_id text default null)
returns numeric
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_organization constant text := coalesce(price_of.organization_id, tds.own_organization());
    v_day          constant date := (coalesce(price_of.at, tds.now()) at time zone 'UTC')::date;
    v_list         zoho.pricelists;
    v_product      zoho.products;
    v_base         numeric;
    v_price        zoho.product_prices;
begin
    select l.* into v_list from zoho.pricelists l
     where l.organization_id = v_organization and l.zoho_pricebook_id = price_of.pricelist and l.deleted_at is null and l.is_active
       and v_day between coalesce(l.effective_from, v_day) and coalesce(l.effective_to, v_day);
    select p.* into v_product from zoho.products p
     where p.organization_id = v_organization and p.zoho_item_id = price_of.product and p.deleted_at is null;
    if v_list.zoho_pricebook_id is null or v_product.zoho_item_id is null or coalesce(price_of.quantity, 0) <= 0 then
        return null;
    end if;
    v_base := case when v_list.sales_or_purchase like 'purchase%' then v_product.purchase_rate else v_product.unit_price end;
    if v_list.kind = 'fixed_percentage' then
        return tds.round_price(v_base * (1 + case when v_list.is_increase then 1 else -1 end * v_list.percentage / 100),
                               v_list.rounding_type, v_list.decimal_place);
    end if;
    select t.* into v_price from zoho.product_prices t
     where t.organization_id = v_organization and t.zoho_pricebook_id = price_of.pricelist and t.zoho_item_id = price_of.product
       and price_of.quantity between t.start_quantity and coalesce(t.end_quantity, price_of.quantity)
     order by t.start_quantity desc
     limit 1;
    -- a discount is off the product's own price, which is in the organisation's currency: in another there is no price
    return coalesce(v_price.rate, case when v_list.currency = v_product.currency then v_base * (1 - v_price.discount / 100) end);
end
$$;
comment on function tds.price_of(text, text, numeric, timestamptz, text) is
'The price of a product in a price list, in the list''s currency (of a percentage: in the organisation''s), for a quantity at a '
'moment; null where there is none: list inactive, deleted or not effective, product deleted or not in it, no bracket for the '
'quantity. Never a price of another list or currency. product, pricelist: Zoho''s item_id and pricebook_id.';
