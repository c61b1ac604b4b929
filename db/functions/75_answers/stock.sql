create or replace function tds.snapshot_items(organization_id text, day date, items text[], at timestamptz) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_half    constant int := cardinality(snapshot_items.items) / 2;
    v_rows    bigint;
    v_code    text;
    v_error   text;
    v_context text;
begin
    begin
        insert into zoho.stock_history (organization_id, zoho_item_id, zoho_warehouse_id, kind, quantity, recorded_at, day)
        select snapshot_items.organization_id, s.zoho_item_id, s.zoho_warehouse_id, 'snapshot', s.quantity, snapshot_items.at,
               snapshot_items.day
          from (select p.zoho_item_id, null::text as zoho_warehouse_id, p.stock_quantity as quantity
                  from zoho.products p
                 where p.organization_id = snapshot_items.organization_id and p.zoho_item_id = any (snapshot_items.items)
                   and p.deleted_at is null and p.stock_quantity is not null
                union all
                select l.zoho_item_id, l.zoho_warehouse_id, l.on_hand
                  from zoho.stock_levels l
                 where l.organization_id = snapshot_items.organization_id and l.zoho_item_id = any (snapshot_items.items)
                   and l.on_hand is not null
                   -- the places of a deleted product are kept, for it may come back
                   and not exists (select from zoho.products p
                                    where p.organization_id = l.organization_id and p.zoho_item_id = l.zoho_item_id
                                      and p.deleted_at is not null)) s
         where not exists (select from zoho.stock_history h
                            where h.kind = 'snapshot' and h.organization_id = snapshot_items.organization_id and h.day = snapshot_items.day
                              and h.zoho_item_id = s.zoho_item_id
                              and coalesce(h.zoho_warehouse_id, '') = coalesce(s.zoho_warehouse_id, ''))
         order by s.zoho_item_id, s.zoho_warehouse_id
        on conflict do nothing;
        get diagnostics v_rows = row_count;
        return v_rows;
    exception when others then
        get stacked diagnostics v_code = returned_sqlstate, v_error = message_text, v_context = pg_exception_context;
        if tds.stops_all(v_code) then
            raise;
        end if;
    end;
    if v_half = 0 then
        perform tds.set_aside('snapshot_stock', format('product %s of %s', snapshot_items.items[1], snapshot_items.organization_id),
                              v_code, v_error, v_context, snapshot_items.at);
        return 0::bigint;
    end if;
    return tds.snapshot_items(snapshot_items.organization_id, snapshot_items.day, snapshot_items.items[:v_half], snapshot_items.at)
         + tds.snapshot_items(snapshot_items.organization_id, snapshot_items.day, snapshot_items.items[v_half + 1:], snapshot_items.at);
end
$$;
revoke all on function tds.snapshot_items(text, date, text[], timestamptz) from public;
comment on function tds.snapshot_items(text, date, text[], timestamptz) is
'Writes the stock of these products into the history, where the day has none of it and Zoho has them; one that cannot be written is set '
'aside (tds.set_aside), and the others are written. Returns the rows.';

create or replace function tds.snapshot_stock() returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_rows  bigint := 0::bigint;
    v_items record;
begin
    for v_items in
        select o.organization_id, o.day, array_agg(i.zoho_item_id order by i.zoho_item_id) as items
          -- once an organisation, and not once a product
          from (select g.organization_id, tds.day_of(g.organization_id, v_now) as day
                  from unnest(tds.organizations_of('products')) g(organization_id) offset 0) o
         cross join lateral (
               select p.zoho_item_id from zoho.products p where p.organization_id = o.organization_id
                union
               select l.zoho_item_id from zoho.stock_levels l where l.organization_id = o.organization_id) i
         -- once a day: what has become a large history's small form is not written again
         where not exists (select from tds.stock_day d where d.organization_id = o.organization_id and d.day = o.day)
         group by o.organization_id, o.day
         order by o.organization_id
    loop
        v_rows := v_rows + tds.snapshot_items(v_items.organization_id, v_items.day, v_items.items, v_now);
    end loop;
    return v_rows;
end
$$;
revoke all on function tds.snapshot_stock() from public;
comment on function tds.snapshot_stock() is
'Writes today''s stock of every product and place into the history, once a day of the organisation''s however often it is called; returns '
'the rows written. A product whose stock cannot be written is set aside.';
create or replace view public.tds_stock_days as
select h.organization_id, h.zoho_item_id, h.zoho_warehouse_id, h.day, h.quantity, h.recorded_at from zoho.stock_history h
    where h.kind = 'snapshot'
 union all
select d.organization_id, u.zoho_item_id, nullif(d.zoho_warehouse_id, ''), d.day, u.quantity, d.recorded_at
  from tds.stock_day d
 cross join lateral unnest(d.zoho_item_ids, d.quantities) u(zoho_item_id, quantity);
comment on view public.tds_stock_days is
'The stock of every product and place at the beginning of each day: days for 90 days, the first of each month before that.';
comment on column public.tds_stock_days.organization_id is 'Zoho organisation.';
comment on column public.tds_stock_days.zoho_item_id is 'The product.';
comment on column public.tds_stock_days.zoho_warehouse_id is 'The place; null: the product''s stock on hand.';
comment on column public.tds_stock_days.day is 'The organisation''s day.';
comment on column public.tds_stock_days.quantity is 'Its stock when the snapshot was taken.';
comment on column public.tds_stock_days.recorded_at is 'When that was.';

create or replace view public.tds_low_stock as
select p.organization_id, p.zoho_item_id, p.sku, p.name, p.stock_quantity, l.level, p.reorder_level is null
    or p.reorder_level = 0 as by_default,
       p.unit
  from zoho.products p
 cross join lateral (select coalesce(nullif(p.reorder_level, 0),
                                     (select (s.value #>> '{}')::numeric from tds.setting s where s.name = 'low_stock_default')) as level) l
 where p.deleted_at is null and p.is_active and p.stock_quantity <= l.level;
comment on view public.tds_low_stock is
'Active products with no more stock than their reorder_level, or than the setting low_stock_default where they have none.';
comment on column public.tds_low_stock.organization_id is 'Zoho organisation.';
comment on column public.tds_low_stock.zoho_item_id is 'The product.';
comment on column public.tds_low_stock.sku is 'Its SKU.';
comment on column public.tds_low_stock.name is 'Its name.';
comment on column public.tds_low_stock.stock_quantity is 'Stock on hand.';
comment on column public.tds_low_stock.level is 'What it is compared with.';
comment on column public.tds_low_stock.by_default is 'Whether that is the default.';
comment on column public.tds_low_stock.unit is 'Unit of the quantities.';

create or replace view public.tds_negative_stock as
select p.organization_id, p.zoho_item_id, null::text as zoho_warehouse_id, p.name, p.stock_quantity as quantity
  from zoho.products p where p.deleted_at is null and p.stock_quantity < 0
 union all
select l.organization_id, l.zoho_item_id, l.zoho_warehouse_id, coalesce(p.name, l.zoho_item_id) || ' @ '
    || coalesce(l.warehouse_name, l.zoho_warehouse_id), l.on_hand
  from zoho.stock_levels l
  left join zoho.products p on p.organization_id = l.organization_id and p.zoho_item_id = l.zoho_item_id
 where l.on_hand < 0 and p.deleted_at is null;
comment on view public.tds_negative_stock is 'Products that Zoho has, and places of such, with less than nothing in stock.';
comment on column public.tds_negative_stock.organization_id is 'Zoho organisation.';
comment on column public.tds_negative_stock.zoho_item_id is 'The product.';
comment on column public.tds_negative_stock.zoho_warehouse_id is 'The place; null: all together.';
comment on column public.tds_negative_stock.name is 'The product, and the place.';
comment on column public.tds_negative_stock.quantity is 'How much less.';

grant execute on function tds.snapshot_stock() to tds_worker, tds_operator;
grant execute on function tds.price_of(text, text, numeric, timestamptz, text), tds.round_price(numeric, text, numeric),
    tds.percentage_price(zoho.pricelists, numeric), tds.is_effective(zoho.pricelists, timestamptz), tds.time_zone_of(text),
    tds.is_time_zone(text), tds.known_organization(text, boolean), tds.setting_text(text), tds.now() to tds_reader, tds_operator;

insert into tds.setting (name, value, description) values
    ('low_stock_default', '5', 'Stock at or below which a product is low that has no reorder_level of its own, in its unit.')
on conflict on constraint setting_pkey do nothing;
