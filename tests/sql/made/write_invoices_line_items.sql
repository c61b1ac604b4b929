CREATE OR REPLACE FUNCTION tds.write_invoices_line_items(organization_id text, states tds.record_state[], written text[], at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    -- all rows in key order before any is written: what goes and what stays are two sets, and who links them takes both in one
    perform from zoho.invoice_line_items t
      where t.organization_id = write_invoices_line_items.organization_id and t.zoho_invoice_id = any (write_invoices_line_items.written)
      order by t.zoho_invoice_id, t.line_number
        for update;
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
          from unnest(write_invoices_line_items.states) s
          join unnest(write_invoices_line_items.written) w(zoho_id) on w.zoho_id = s.zoho_id
         cross join (select write_invoices_line_items.organization_id as organization_id, write_invoices_line_items.at as at) own
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
    ), gone as (
        delete from zoho.invoice_line_items t
         where t.organization_id = write_invoices_line_items.organization_id
           and t.zoho_invoice_id = any (write_invoices_line_items.written)
           -- an empty array is no statement against the document's own sums
           and t.zoho_invoice_id not in (select s.zoho_id from unnest(write_invoices_line_items.states) s
                                              where tds.is_blank_list(s.doc -> 'line_items') and tds.lacks_elements(s.doc))
           -- hashed, however few are expected
           and (t.zoho_invoice_id, t.line_number) not in (select w.zoho_id, w.position from wanted w))
    insert into zoho.invoice_line_items as t (
           organization_id, zoho_invoice_id, line_number,
           description, discount, discount_amount, name, product_id, quantity, rate, tax_name,
           tax_rate, total_amount, unit, zoho_item_id, zoho_line_item_id, zoho_metadata, synced_at)
    select w.organization_id, w.zoho_id, w.position,
           w.description, w.discount, w.discount_amount, w.name, w.product_id, w.quantity, w.rate,
           w.tax_name, w.tax_rate, w.total_amount, w.unit, w.zoho_item_id, w.zoho_line_item_id, w.doc, w.at
      from wanted w
     order by w.zoho_id, w.position
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
comment on function tds.write_invoices_line_items(text,tds.record_state[],text[],timestamp with time zone) is
'Makes the rows of invoice_line_items what these invoices list in line_items. Made by tds.make_child_writers() from functions/60_entities/invoices.sql.';
