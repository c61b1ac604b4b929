CREATE OR REPLACE FUNCTION tds.write_invoices_line_items(organization_ids text[], states tds.record_state[], written bigint[], at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    -- all rows in key order before any is written: what goes and what stays are two sets, and who links them takes both in one
    perform from (select s.organization_id, s.zoho_id
                    from unnest(write_invoices_line_items.organization_ids, write_invoices_line_items.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)
                   where s.n = any (write_invoices_line_items.written)
                   order by s.organization_id, s.zoho_id offset 0) k
      cross join lateral (select from zoho.invoice_line_items t
                           where t.organization_id = k.organization_id and t.zoho_invoice_id between k.zoho_id and k.zoho_id
                           order by t.zoho_invoice_id, t.line_number
                             for update) t;
    with wanted as materialized (
        select s.zoho_id, e.n::int as position, own.organization_id, own.at, e.doc,
               tds.json_text(d.description) as description,
               tds.json_word(d.discount) as discount,
               tds.json_number(d.discount_amount) as discount_amount,
               tds.json_text(d.name) as name,
               l1.id as product_id,
               tds.json_number(d.quantity) as quantity,
               tds.json_number(d.rate) as rate,
               tds.json_text(d.tax_name) as tax_name,
               tds.json_number(d.tax_percentage) as tax_rate,
               tds.json_number(d.item_total) as total_amount,
               tds.json_text(d.unit) as unit,
               tds.json_id(d.item_id) as zoho_item_id,
               tds.json_id(d.line_item_id) as zoho_line_item_id
          from unnest(write_invoices_line_items.organization_ids, write_invoices_line_items.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)
          join unnest(write_invoices_line_items.written) w(n) on w.n = s.n
         cross join lateral (select s.organization_id, write_invoices_line_items.at as at) own
         cross join lateral jsonb_array_elements(coalesce(tds.json_array(s.doc -> 'line_items'), '[]')) with ordinality c(doc, n)
         cross join lateral (select tds.json_row(c.doc) as doc, c.n offset 0) e
         cross join lateral (
               select e.doc -> 'description' as description,
                      e.doc -> 'discount' as discount,
                      e.doc -> 'discount_amount' as discount_amount,
                      e.doc -> 'item_id' as item_id,
                      e.doc -> 'item_total' as item_total,
                      e.doc -> 'line_item_id' as line_item_id,
                      e.doc -> 'name' as name,
                      e.doc -> 'quantity' as quantity,
                      e.doc -> 'rate' as rate,
                      e.doc -> 'tax_name' as tax_name,
                      e.doc -> 'tax_percentage' as tax_percentage,
                      e.doc -> 'unit' as unit
               offset 0) d
          left join lateral (select p.id from zoho.products p
                              where p.organization_id = own.organization_id
                                and p.zoho_item_id between (d.item_id ->> 0) and (d.item_id ->> 0)
                              order by p.zoho_item_id limit 1) l1 on true
    ), known as materialized (
        select s.organization_id, s.zoho_id, t.line_number as position, t.place
          from unnest(write_invoices_line_items.organization_ids, write_invoices_line_items.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)
         cross join lateral (select t.line_number, t.ctid as place from zoho.invoice_line_items t
                              where t.organization_id = s.organization_id and t.zoho_invoice_id between s.zoho_id and s.zoho_id
                              order by t.zoho_invoice_id, t.line_number offset 0) t
         where s.n = any (write_invoices_line_items.written)
           -- an empty array is no statement against the document's own sums
           and not (tds.is_blank_list(s.doc -> 'line_items') and tds.lacks_elements(s.doc))
    ), gone as (
        -- by their places, which are locked: the plan is right even if it was made while the table was empty
        delete from zoho.invoice_line_items t
         where t.ctid = any (array(
               select k.place from known k
                where (k.organization_id, k.zoho_id, k.position) not in (select w.organization_id, w.zoho_id, w.position from wanted w))))
    insert into zoho.invoice_line_items as t (
           organization_id, zoho_invoice_id, line_number,
           description, discount, discount_amount, name, product_id, quantity, rate, tax_name,
           tax_rate, total_amount, unit, zoho_item_id, zoho_line_item_id, zoho_metadata, synced_at)
    select w.organization_id, w.zoho_id, w.position,
           w.description, w.discount, w.discount_amount, w.name, w.product_id, w.quantity, w.rate,
           w.tax_name, w.tax_rate, w.total_amount, w.unit, w.zoho_item_id, w.zoho_line_item_id, w.doc, w.at
      from wanted w
     order by w.organization_id, w.zoho_id, w.position
    on conflict on constraint invoice_line_items_pkey do update
       set description = excluded.description, discount = excluded.discount,
           discount_amount = excluded.discount_amount, name = excluded.name,
           product_id = excluded.product_id, quantity = excluded.quantity, rate = excluded.rate,
           tax_name = excluded.tax_name, tax_rate = excluded.tax_rate,
           total_amount = excluded.total_amount, unit = excluded.unit,
           zoho_item_id = excluded.zoho_item_id, zoho_line_item_id = excluded.zoho_line_item_id, zoho_metadata = excluded.zoho_metadata, synced_at = excluded.synced_at
     where t.zoho_metadata is distinct from excluded.zoho_metadata
        or t.description is distinct from excluded.description
        or t.discount is distinct from excluded.discount
        or t.discount_amount is distinct from excluded.discount_amount
        or t.name is distinct from excluded.name
        or t.product_id is distinct from excluded.product_id
        or t.quantity is distinct from excluded.quantity
        or t.rate is distinct from excluded.rate
        or t.tax_name is distinct from excluded.tax_name
        or t.tax_rate is distinct from excluded.tax_rate
        or t.total_amount is distinct from excluded.total_amount
        or t.unit is distinct from excluded.unit
        or t.zoho_item_id is distinct from excluded.zoho_item_id
        or t.zoho_line_item_id is distinct from excluded.zoho_line_item_id;
end
$function$;
comment on function tds.write_invoices_line_items(text[],tds.record_state[],bigint[],timestamp with time zone) is
'Makes the rows of invoice_line_items what these invoices list in line_items. Made by tds.make_child_writers() from functions/60_entities/invoices.sql.';
