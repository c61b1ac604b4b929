CREATE OR REPLACE FUNCTION tds.write_invoices_line_items(organization_ids text[], states tds.record_state[], written bigint[], at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_gone tid[];
begin
    with line_items_differing as materialized (
        -- the elements beside the rows there are, record by record: what is the same is neither locked nor written
        select own.organization_id, s.zoho_id, e.*, own.at
          from (select u.*
                  from unnest(write_invoices_line_items.organization_ids, write_invoices_line_items.states) with ordinality u(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)
                 where case when u.n in (select w.n from unnest(write_invoices_line_items.written) w(n)) then true end) s
         cross join lateral (select s.organization_id, write_invoices_line_items.at as at) own
         cross join lateral (
               select coalesce(w.position, k.position) as position, w.position is null as is_gone, k.position is not null as is_known,
                      w.doc,
                      w.description, w.discount, w.discount_amount, w.name, w.product_id, w.quantity, w.rate,
                      w.tax_name, w.tax_rate, w.total_amount, w.unit, w.zoho_item_id, w.zoho_line_item_id
                 from (select e.n::int as position, e.doc,
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
                         from jsonb_array_elements(coalesce(tds.json_array(s.doc -> 'line_items'), '[]')) with ordinality c(doc, n)
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
                       offset 0) w
                 full join (select t.line_number as position, t.zoho_metadata,
                                   t.description, t.discount, t.discount_amount, t.name, t.product_id, t.quantity, t.rate,
                                   t.tax_name, t.tax_rate, t.total_amount, t.unit, t.zoho_item_id, t.zoho_line_item_id
                              from zoho.invoice_line_items t
                             where t.organization_id = s.organization_id and t.zoho_invoice_id between s.zoho_id and s.zoho_id
                               -- an empty array is no statement against the document's own sums
                               and not (tds.is_blank_list(s.doc -> 'line_items') and tds.lacks_elements(s.doc))
                             order by t.zoho_invoice_id, t.line_number offset 0) k on k.position = w.position
                where w.position is null or k.position is null
                   or k.zoho_metadata is distinct from w.doc
                   or k.description is distinct from w.description
                   or k.discount is distinct from w.discount
                   or k.discount_amount is distinct from w.discount_amount
                   or k.name is distinct from w.name
                   or k.product_id is distinct from w.product_id
                   or k.quantity is distinct from w.quantity
                   or k.rate is distinct from w.rate
                   or k.tax_name is distinct from w.tax_name
                   or k.tax_rate is distinct from w.tax_rate
                   or k.total_amount is distinct from w.total_amount
                   or k.unit is distinct from w.unit
                   or k.zoho_item_id is distinct from w.zoho_item_id
                   or k.zoho_line_item_id is distinct from w.zoho_line_item_id
               offset 0) e
    ), line_items_held as materialized (
        -- in key order before any is written: what goes and what stays are two sets, and who links them takes both in one
        select h.place, g.is_gone
          from (select l.organization_id, l.zoho_id, l.position, l.is_gone
                  from line_items_differing l where l.is_known
                 order by l.organization_id, l.zoho_id, l.position offset 0) g
         cross join lateral (select t.ctid as place from zoho.invoice_line_items t
                              -- between bounds of the document as well all of its lines would be gone through for each
                              where t.organization_id = g.organization_id
                                and t.zoho_invoice_id = g.zoho_id
                                and t.line_number between g.position and g.position
                              order by t.line_number
                                for update) h
    ), line_items_written as (
        insert into zoho.invoice_line_items as t (
               organization_id, zoho_invoice_id, line_number,
               description, discount, discount_amount, name, product_id, quantity, rate, tax_name,
               tax_rate, total_amount, unit, zoho_item_id, zoho_line_item_id, zoho_metadata, synced_at)
        select w.organization_id, w.zoho_id, w.position,
               w.description, w.discount, w.discount_amount, w.name, w.product_id, w.quantity, w.rate,
               w.tax_name, w.tax_rate, w.total_amount, w.unit, w.zoho_item_id, w.zoho_line_item_id, w.doc, w.at
          from line_items_differing w
         where not w.is_gone and (select count(*) from line_items_held) >= 0
         order by w.organization_id, w.zoho_id, w.position
        on conflict on constraint invoice_line_items_pkey do update
           set description = excluded.description, discount = excluded.discount,
               discount_amount = excluded.discount_amount, name = excluded.name,
               product_id = excluded.product_id, quantity = excluded.quantity, rate = excluded.rate,
               tax_name = excluded.tax_name, tax_rate = excluded.tax_rate,
               total_amount = excluded.total_amount, unit = excluded.unit,
               zoho_item_id = excluded.zoho_item_id, zoho_line_item_id = excluded.zoho_line_item_id, zoho_metadata = excluded.zoho_metadata, synced_at = excluded.synced_at)
    select array_agg(h.place order by h.place) into v_gone from line_items_held h where h.is_gone;
    if v_gone is not null then
        delete from zoho.invoice_line_items t where t.ctid = any (v_gone);
    end if;
end
$function$;
comment on function tds.write_invoices_line_items(text[],tds.record_state[],bigint[],timestamp with time zone) is
'Makes the rows of invoice_line_items what these invoices list in line_items. Made by tds.make_child_writers() from functions/60_entities/invoices.sql.';
