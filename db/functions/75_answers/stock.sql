create or replace function tds.snapshot_stock() returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_rows bigint;
begin
    insert into zoho.stock_history (organization_id, zoho_item_id, zoho_warehouse_id, kind, quantity, recorded_at, day)
    select s.organization_id, s.zoho_item_id, s.zoho_warehouse_id, 'snapshot', s.quantity, v_now, (v_now at time zone 'UTC')::date
      from (select p.organization_id, p.zoho_item_id, null::text as zoho_warehouse_id, p.stock_quantity as quantity
              from zoho.products p where p.deleted_at is null and p.stock_quantity is not null
            union all
            select l.organization_id, l.zoho_item_id, l.zoho_warehouse_id, l.on_hand from zoho.stock_levels l where l.on_hand is not null) s
     order by s.organization_id, s.zoho_item_id, s.zoho_warehouse_id
    on conflict do nothing;
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.snapshot_stock() from public;
comment on function tds.snapshot_stock() is
'Writes today''s stock (UTC) of every product and place into the history, once a day however often it is called; returns the rows written.';
grant execute on function tds.snapshot_stock() to tds_worker, tds_operator;
grant execute on function tds.price_of(text, text, numeric, timestamptz, text), tds.round_price(numeric, text, numeric),
    tds.percentage_price(zoho.pricelists, numeric), tds.is_effective(zoho.pricelists, timestamptz), tds.time_zone_of(text),
    tds.own_organization(), tds.setting_text(text), tds.now() to tds_reader, tds_operator;

insert into tds.setting (name, value, description) values
    ('low_stock_default', '5', 'Stock at or below which a product is low that has no reorder_level of its own, in its unit.')
on conflict on constraint setting_pkey do nothing;
