create or replace function tds.told_stock_levels(organization_ids text[], zoho_ids text[], at timestamptz) returns setof zoho.stock_levels
language sql stable
as $$
    select distinct on (p.organization_id, p.zoho_item_id, l.zoho_warehouse_id)
           p.organization_id, p.zoho_item_id, l.zoho_warehouse_id, p.id, w.id, l.warehouse_name, l.on_hand, l.available, l.committed,
           l.actual_available, $3
      from unnest($1, $2) k(organization_id, zoho_item_id)
     cross join lateral (select p.* from zoho.products p
                          where p.organization_id = k.organization_id and p.zoho_item_id between k.zoho_item_id and k.zoho_item_id
                          order by p.zoho_item_id limit 1) p
     -- newer organisations say locations, older ones warehouses
     cross join lateral jsonb_array_elements(coalesce(nullif(tds.json_array(p.zoho_metadata -> 'locations'), '[]'),
                                                      tds.json_array(p.zoho_metadata -> 'warehouses'), '[]')) with ordinality r(doc, n)
     cross join lateral (select tds.json_row(r.doc) as doc, r.n offset 0) e
     cross join lateral (select coalesce(tds.json_id(e.doc -> 'location_id'),
                                         tds.json_id(e.doc -> 'warehouse_id'), tds.refuse(e.doc, 'missing location_id'))
                                    as zoho_warehouse_id,
                                coalesce(tds.json_text(e.doc -> 'location_name'),
                                         tds.json_text(e.doc -> 'warehouse_name')) as warehouse_name,
                                tds.json_number(coalesce(e.doc -> 'location_stock_on_hand',
                                                         e.doc -> 'warehouse_stock_on_hand')) as on_hand,
                                tds.json_number(coalesce(e.doc -> 'location_available_stock',
                                                         e.doc -> 'warehouse_available_stock')) as available,
                                tds.json_number(coalesce(e.doc -> 'location_committed_stock',
                                                         e.doc -> 'warehouse_committed_stock')) as committed,
                                tds.json_number(coalesce(e.doc -> 'location_actual_available_stock',
                                                         e.doc -> 'warehouse_actual_available_stock'))
                                    as actual_available) l
      left join zoho.warehouses w on w.organization_id = p.organization_id and w.zoho_warehouse_id = l.zoho_warehouse_id
     order by p.organization_id, p.zoho_item_id, l.zoho_warehouse_id, e.n desc
$$;
comment on function tds.told_stock_levels(text[], text[], timestamptz) is
'The stock levels that the documents of these products tell of, each of the organisation told beside it. The planner puts '
'its text in the place of the call.';

create or replace function tds.write_stock_levels(organization_ids text[], zoho_ids text[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- all rows in key order before any is written: what goes and what stays are two sets, and who links warehouses takes both in one
    perform from (select u.organization_id, u.zoho_id
                    from unnest(write_stock_levels.organization_ids, write_stock_levels.zoho_ids) u(organization_id, zoho_id)
                   order by u.organization_id, u.zoho_id offset 0) k
      cross join lateral (select from zoho.stock_levels t
                           where t.organization_id = k.organization_id and t.zoho_item_id between k.zoho_id and k.zoho_id
                           order by t.zoho_item_id, t.zoho_warehouse_id
                             for update) t;
    with told as materialized (
        select w.* from tds.told_stock_levels(write_stock_levels.organization_ids, write_stock_levels.zoho_ids, write_stock_levels.at) w
    ), known as materialized (
        select k.organization_id, t.zoho_item_id, t.zoho_warehouse_id, t.place
          from unnest(write_stock_levels.organization_ids, write_stock_levels.zoho_ids) k(organization_id, zoho_id)
         cross join lateral (select t.zoho_item_id, t.zoho_warehouse_id, t.ctid as place from zoho.stock_levels t
                              where t.organization_id = k.organization_id and t.zoho_item_id between k.zoho_id and k.zoho_id
                              order by t.zoho_item_id, t.zoho_warehouse_id offset 0) t
    ), gone as (
        -- by their places, which are locked: the plan is right even if it was made while the table was empty
        delete from zoho.stock_levels t
         where t.ctid = any (array(
               select d.place
                 from (select k.* from known k
                        where (k.organization_id, k.zoho_item_id, k.zoho_warehouse_id) not in (
                              select w.organization_id, w.zoho_item_id, w.zoho_warehouse_id from told w) offset 0) d
                cross join lateral (select p.zoho_metadata from zoho.products p
                                     where p.organization_id = d.organization_id
                                       and p.zoho_item_id between d.zoho_item_id and d.zoho_item_id
                                     order by p.zoho_item_id limit 1) p
                -- no places at all are no statement against a stock
                where not tds.lacks_elements(p.zoho_metadata)))
    ), come as (
        -- a new place of a product whose places were known is the other half of a transfer; the triggers see only what changes or goes
        insert into zoho.stock_history (organization_id, zoho_item_id, zoho_warehouse_id, kind, quantity_before, quantity, recorded_at, day)
        select w.organization_id, w.zoho_item_id, w.zoho_warehouse_id, 'change', 0, w.on_hand,
               write_stock_levels.at, tds.day_of(w.organization_id, write_stock_levels.at)
          from told w
         where w.on_hand <> 0
           and (w.organization_id, w.zoho_item_id) in (select k.organization_id, k.zoho_item_id from known k)
           and (w.organization_id, w.zoho_item_id, w.zoho_warehouse_id) not in (
               select k.organization_id, k.zoho_item_id, k.zoho_warehouse_id from known k)
         order by w.organization_id, w.zoho_item_id, w.zoho_warehouse_id)
    insert into zoho.stock_levels as t (
        organization_id, zoho_item_id, zoho_warehouse_id, product_id, warehouse_id, warehouse_name, on_hand, available, committed,
        actual_available, synced_at)
    select w.*
      from told w
     order by w.organization_id, w.zoho_item_id, w.zoho_warehouse_id
    on conflict on constraint stock_levels_pkey do update
       set product_id = excluded.product_id, warehouse_id = excluded.warehouse_id, warehouse_name = excluded.warehouse_name,
           on_hand = excluded.on_hand, available = excluded.available, committed = excluded.committed,
           actual_available = excluded.actual_available, synced_at = excluded.synced_at
     where (t.product_id, t.warehouse_id, t.warehouse_name, t.on_hand, t.available, t.committed, t.actual_available)
           is distinct from (excluded.product_id, excluded.warehouse_id, excluded.warehouse_name, excluded.on_hand, excluded.available,
                             excluded.committed, excluded.actual_available);
end
$$;
revoke all on function tds.write_stock_levels(text[], text[], timestamptz) from public;
comment on function tds.write_stock_levels(text[], text[], timestamptz) is
'Makes the stock levels of these products what their documents say of each place; a place no longer named has none.';

create or replace function tds.shown_images(organization_id text, zoho_ids text[])
returns table (zoho_item_id text, image_url text, shown text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select p.zoho_item_id, p.image_url, i.url
      from zoho.products p
      left join tds.image i on i.organization_id = p.organization_id and i.zoho_item_id = p.zoho_item_id and i.state = 'ready'
                           and i.image_document_id = p.image_document_id
     where p.organization_id = shown_images.organization_id and p.zoho_item_id = any (shown_images.zoho_ids)
       and p.image_url is distinct from i.url;
end
$$;
revoke all on function tds.shown_images(text, text[]) from public;
comment on function tds.shown_images(text, text[]) is
'Those of these products that show another picture than the one that was fetched of their document, and that.';

create or replace function tds.show_images(organization_id text, zoho_ids text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update zoho.products p set image_url = s.shown
      from tds.shown_images(show_images.organization_id, show_images.zoho_ids) s
     where p.organization_id = show_images.organization_id and p.zoho_item_id = s.zoho_item_id;
end
$$;
revoke all on function tds.show_images(text, text[]) from public;
comment on function tds.show_images(text, text[]) is 'Lets these products show the picture that was fetched of their document, or none.';

create or replace function tds.forget_image() returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update zoho.products p
       set image_url = null
     where p.organization_id = new.organization_id and p.zoho_item_id = new.zoho_item_id;
    return null;
end
$$;
revoke all on function tds.forget_image() from public;
comment on function tds.forget_image() is 'Trigger: a product with another picture has none to show until that one is fetched.';

-- afterwards: a trigger before it would have every row locked, and that written to the WAL, to be asked whether it fires
create or replace trigger products_image_changed after update of image_document_id on zoho.products
    for each row when (old.image_document_id is distinct from new.image_document_id and new.image_url is not null)
    execute function tds.forget_image();

create or replace function tds.note_stock() returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    insert into zoho.stock_history (organization_id, zoho_item_id, kind, quantity_before, quantity, recorded_at, day)
    values (new.organization_id, new.zoho_item_id, 'change', old.stock_quantity, new.stock_quantity, v_now,
            tds.day_of(new.organization_id, v_now));
    return null;
end
$$;
revoke all on function tds.note_stock() from public;
comment on function tds.note_stock() is
'Trigger: a row in the history for every change of a product''s stock. What is seen for the first time is no change.';

create or replace function tds.note_stock_level() returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    insert into zoho.stock_history (organization_id, zoho_item_id, zoho_warehouse_id, kind, quantity_before, quantity, recorded_at, day)
    values (old.organization_id, old.zoho_item_id, old.zoho_warehouse_id, 'change', old.on_hand,
            case when tg_op = 'UPDATE' then new.on_hand else 0 end, v_now, tds.day_of(old.organization_id, v_now));
    return null;
end
$$;
revoke all on function tds.note_stock_level() from public;
comment on function tds.note_stock_level() is
'Trigger: a row in the history for every change of the stock at a place, and for a place that is no longer named.';

create or replace trigger products_stock_changed after update of stock_quantity on zoho.products
    for each row when (old.stock_quantity is distinct from new.stock_quantity) execute function tds.note_stock();
create or replace trigger stock_level_changed after update of on_hand on zoho.stock_levels
    for each row when (old.on_hand is distinct from new.on_hand) execute function tds.note_stock_level();
create or replace trigger stock_level_gone after delete on zoho.stock_levels
    for each row when (old.on_hand <> 0) execute function tds.note_stock_level();

create or replace function tds.refuse_change() returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- only what makes the small form of an old history may take the large one away
    if tg_op = 'DELETE' and current_user = 'tds_owner' and current_setting('tds.folds_history', true) = 'on' then
        return null;
    end if;
    raise exception using errcode = 'ZB006', message = format('%I.%I is insert-only', tg_table_schema, tg_table_name), detail = tg_op,
        hint = 'what happened stays as it was; a new row says what is known better';
end
$$;
revoke all on function tds.refuse_change() from public;
comment on function tds.refuse_change() is
'Trigger of a history: rows are added, never changed or removed, by whomever; tds.fold_stock() alone takes away what it has kept in its '
'small form. Raises ZB006.';

create or replace trigger stock_history_is_insert_only before update or delete or truncate on zoho.stock_history
    for each statement execute function tds.refuse_change();

select tds.register('{
    "entity": "products", "queue": "products", "priority": 20,
    "aliases": ["product", "products"],
    "api_path": "/items", "list_key": "items", "record_key": "item", "id_key": "item_id",
    "list_filter": {"filter_by": "Status.All", "sort_column": "created_time", "sort_order": "A"}, "bulk_detail_path": "/itemdetails",
    "volatile_details": true,
    "detail_key": "brand",
    "target": "products", "target_key": "zoho_item_id",
    "complete": "write_stock_levels", "complete_if": "s.doc ?| array[''locations'', ''warehouses'']",
    "parts": {"stock_levels": "zoho_item_id"}}');

select tds.map_fields('products', '', $$
    item_id            id      zoho_item_id       required
    name               text    name
    sku                word    sku                255
    description        text    description
    rate               number  unit_price
    stock_on_hand      number  stock_quantity
    available_stock    number  available_stock
    stock_committed    number  -
    committed_stock    number  committed_stock    := coalesce(tds.json_number(d.committed_stock), tds.json_number(d.stock_committed))
    actual_available_stock number actual_available_stock
    actual_committed_stock number actual_committed_stock
    available_for_sale_stock number available_for_sale_stock
    status             word    is_active          := tds.json_word(d.status) = 'active'
    tax_percentage     number  tax_rate
    category_name      text    category_name
    image_document_id  id      image_document_id
    unit               text    unit
    purchase_rate      number  purchase_rate
    reorder_level      number  reorder_level
    brand              text    brand
    locations          array   -
    warehouses         array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);

select tds.map_fields('products', 'locations', $$
    location_id        id      -                  required
    location_name      text    -
    location_stock_on_hand number -
    location_available_stock number -
    location_committed_stock number -
    location_actual_available_stock number -
$$);

select tds.map_fields('products', 'warehouses', $$
    warehouse_id       id      -                  required
    warehouse_name     text    -
    warehouse_stock_on_hand number -
    warehouse_available_stock number -
    warehouse_committed_stock number -
    warehouse_actual_available_stock number -
$$);

select tds.write_beside('products', 'stock_levels', 'zoho_item_id', 'x.zoho_warehouse_id', 'told_stock_levels',
                        'tds.write_stock_levels(array_fill($1, array[cardinality($2)]), $2, $3), tds.show_images($1, $2)',
                        'tds.lacks_elements(s.doc)');

select tds.link('products', 'currency', 'organization_id', 'organizations', 'zoho_organization_id', 'currency', follows => true);
select tds.link('stock_levels', 'warehouse_id', 'zoho_warehouse_id', 'warehouses', 'zoho_warehouse_id');

-- the list tells a product's stock whole, only its detail tells it by place
select tds.sum_in_list('products', '{stock_levels}', l.column_name, 'made of', l.key, list_keys => '{locations,warehouses}', rounding => 0)
  from (values ('on_hand', 'stock_on_hand'), ('available', 'available_stock'), ('actual_available', 'actual_available_stock'))
       l(column_name, key);
