create or replace function tds.snapshot_stock() returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_rows bigint;
begin
    insert into zoho.stock_history (organization_id, zoho_item_id, zoho_warehouse_id, kind, quantity, recorded_at, day)
    select s.organization_id, s.zoho_item_id, s.zoho_warehouse_id, 'snapshot', s.quantity, v_now, o.day
      from (select p.organization_id, p.zoho_item_id, null::text as zoho_warehouse_id, p.stock_quantity as quantity
              from zoho.products p where p.deleted_at is null and p.stock_quantity is not null
            union all
            select l.organization_id, l.zoho_item_id, l.zoho_warehouse_id, l.on_hand from zoho.stock_levels l where l.on_hand is not null) s
      join (select g.organization_id, tds.day_of(g.organization_id, v_now) as day
              from (select distinct p.organization_id from zoho.products p) g) o on o.organization_id = s.organization_id
     -- once a day: what has become a large history's small form is not written again
     where not exists (select from tds.stock_day d where d.organization_id = s.organization_id and d.day = o.day)
       and not exists (select from zoho.stock_history h
                        where h.kind = 'snapshot' and h.organization_id = s.organization_id and h.day = o.day
                          and h.zoho_item_id = s.zoho_item_id
                          and coalesce(h.zoho_warehouse_id, '') = coalesce(s.zoho_warehouse_id, ''))
     order by s.organization_id, s.zoho_item_id, s.zoho_warehouse_id
    on conflict do nothing;
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.snapshot_stock() from public;
comment on function tds.snapshot_stock() is
'Writes today''s stock of every product and place into the history, once a day of the organisation''s however often it is called; returns '
'the rows written.';
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

grant execute on function tds.snapshot_stock() to tds_worker, tds_operator;
grant execute on function tds.price_of(text, text, numeric, timestamptz, text), tds.round_price(numeric, text, numeric),
    tds.percentage_price(zoho.pricelists, numeric), tds.is_effective(zoho.pricelists, timestamptz), tds.time_zone_of(text),
    tds.known_organization(text, boolean), tds.setting_text(text), tds.now() to tds_reader, tds_operator;

insert into tds.setting (name, value, description) values
    ('low_stock_default', '5', 'Stock at or below which a product is low that has no reorder_level of its own, in its unit.')
on conflict on constraint setting_pkey do nothing;
