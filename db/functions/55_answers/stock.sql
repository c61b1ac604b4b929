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

create or replace function tds.take_images(organization_id text, at_most int default 20)
returns table (zoho_item_id text, image_document_id text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    -- one at a time: of two who looked at once, the second would choose the same and get none of them
    perform pg_advisory_xact_lock(hashtextextended('tds.take_images', 0));
    return query
    insert into tds.image as i (organization_id, zoho_item_id, image_document_id, state, leased_until, changed_at)
    select c.organization_id, c.zoho_item_id, c.image_document_id, 'wanted', v_now + interval '2 minutes', v_now
      from (select w.organization_id, w.zoho_item_id, w.image_document_id
              from public.tds_wanted_images w
              join zoho.products p on p.organization_id = w.organization_id and p.zoho_item_id = w.zoho_item_id
             where w.organization_id = take_images.organization_id and coalesce(w.not_before, v_now) <= v_now
             order by p.sync_modified_at desc nulls last, w.zoho_item_id
             limit take_images.at_most) c
     order by c.zoho_item_id
    on conflict on constraint image_pkey do update
       set image_document_id = excluded.image_document_id, state = excluded.state, leased_until = excluded.leased_until,
           changed_at = excluded.changed_at, tries = case when i.image_document_id = excluded.image_document_id then i.tries else 0 end
     where i.leased_until is null or i.leased_until <= v_now
    returning i.zoho_item_id, i.image_document_id;
end
$$;
revoke all on function tds.take_images(text, int) from public;
comment on function tds.take_images(text, int) is 'Leases wanted pictures to a fetcher for two minutes, those of the newest edits first; it answers with image_fetched() or image_failed().';

create or replace function tds.image_fetched(
    organization_id text, zoho_item_id text, image_document_id text, sha256 text, content_type text, bytes bigint, url text) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    update tds.image i
       set state = 'ready', sha256 = image_fetched.sha256, content_type = image_fetched.content_type, bytes = image_fetched.bytes,
           url = image_fetched.url, error = null, leased_until = null, changed_at = v_now
     where i.organization_id = image_fetched.organization_id and i.zoho_item_id = image_fetched.zoho_item_id
       and i.image_document_id = image_fetched.image_document_id;
    update zoho.products p
       set image_url = image_fetched.url
     where p.organization_id = image_fetched.organization_id and p.zoho_item_id = image_fetched.zoho_item_id
       and p.image_document_id = image_fetched.image_document_id;
    return found;
end
$$;
revoke all on function tds.image_fetched(text, text, text, text, text, bigint, text) from public;
comment on function tds.image_fetched(text, text, text, text, text, bigint, text) is
'Notes that a picture is stored, and shows it at its product; false if that has another picture by now.';

create or replace function tds.image_failed(organization_id text, zoho_item_id text, image_document_id text, error text, gone boolean default false)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    update tds.image i
       set state = case when image_failed.gone then 'gone' else 'failed' end, tries = i.tries + 1, error = left(image_failed.error, 1000),
           leased_until = v_now + tds.back_off(i.tries), changed_at = v_now
     where i.organization_id = image_failed.organization_id and i.zoho_item_id = image_failed.zoho_item_id
       and i.image_document_id = image_failed.image_document_id;
end
$$;
revoke all on function tds.image_failed(text, text, text, text, boolean) from public;
comment on function tds.image_failed(text, text, text, text, boolean) is
'Notes why a picture could not be had; it is wanted again after a pause, unless there is none to be had (gone: Zoho has none, or it is nothing that is kept).';

grant execute on function tds.take_images(text, int), tds.image_fetched(text, text, text, text, text, bigint, text),
    tds.image_failed(text, text, text, text, boolean) to tds_poller;
grant execute on function tds.snapshot_stock() to tds_worker, tds_operator;
grant execute on function tds.price_of(text, text, numeric, timestamptz, text), tds.round_price(numeric, text, numeric),
    tds.percentage_price(zoho.pricelists, numeric), tds.is_effective(zoho.pricelists, timestamptz), tds.time_zone_of(text),
    tds.own_organization(), tds.setting_text(text), tds.now() to tds_reader, tds_operator;

insert into tds.setting (name, value, description) values
    ('low_stock_default', '5', 'Stock at or below which a product is low that has no reorder_level of its own, in its unit.')
on conflict on constraint setting_pkey do nothing;
