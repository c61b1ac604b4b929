create or replace function tds.subtotal_differs(line_items jsonb, sub_total jsonb) returns boolean
language sql immutable parallel safe
as $$
    select sum(tds.json_number(e.doc -> 'item_total')) <> tds.json_number($2)
      from jsonb_array_elements(coalesce(tds.json_array($1), '[]')) e(doc)
$$;
comment on function tds.subtotal_differs(jsonb, jsonb) is
'Whether the lines add up to something else than the subtotal; null where either is unknown.';

create or replace function tds.discount_amount(discount jsonb, discount_total jsonb) returns numeric
language sql immutable parallel safe
as $$
    select case when jsonb_typeof($2) = 'number' or $2 #>> '{}' <> '' then tds.json_number($2)
                when jsonb_typeof($1) = 'string' and $1 #>> '{}' like '%\%' then null
                else tds.json_number($1) end
$$;
comment on function tds.discount_amount(jsonb, jsonb) is
'The discount as an amount: discount_total, else discount unless that is a percentage.';

create or replace function tds.write_invoices(organization_id text, states tds.record_state[], at timestamptz) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_written text[];
begin
    with written as (
        insert into zoho.invoices as t (
            organization_id, zoho_invoice_id, invoice_number, reference_number, zoho_customer_id, customer_id, customer_name,
            invoice_date, due_date, status, subtotal, tax_total, discount_amount, total_amount, amount_paid, balance, currency,
            exchange_rate, subtotal_differs,
            zoho_metadata, zoho_created_at, zoho_modified_at, synced_at, deleted_at,
            sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_layers)
        select write_invoices.organization_id, s.zoho_id,
               tds.json_text(d.invoice_number), tds.json_text(d.reference_number), tds.json_id(d.customer_id), c.id,
               tds.json_text(d.customer_name), tds.json_date(d.date), tds.json_date(d.due_date), tds.json_text(d.status),
               tds.json_number(d.sub_total), tds.json_number(d.tax_total), tds.discount_amount(d.discount, d.discount_total),
               tds.json_number(d.total), tds.json_number(d.payment_made), tds.json_number(d.balance), tds.json_text(d.currency_code),
               tds.json_number(d.exchange_rate), tds.subtotal_differs(d.line_items, d.sub_total),
               s.doc, tds.json_time(d.created_time), tds.json_time(d.last_modified_time), write_invoices.at, s.deleted_at,
               s.version, s.hash, s.modified_at, s.observed_at, s.rank, s.read_at, s.layers
          from unnest(write_invoices.states) s
         cross join lateral jsonb_to_record(s.doc) d(
               invoice_number jsonb, reference_number jsonb, customer_id jsonb, customer_name jsonb, date jsonb, due_date jsonb,
               status jsonb, sub_total jsonb, tax_total jsonb, discount jsonb, discount_total jsonb, total jsonb, payment_made jsonb,
               balance jsonb, currency_code jsonb, exchange_rate jsonb, line_items jsonb, created_time jsonb, last_modified_time jsonb)
          left join zoho.customers c on c.organization_id = write_invoices.organization_id
                                    and c.contact_type = 'customer'
                                    and c.zoho_contact_id = d.customer_id #>> '{}'
         order by s.zoho_id
        on conflict on constraint invoices_pkey do update
           set invoice_number = excluded.invoice_number, reference_number = excluded.reference_number,
               zoho_customer_id = excluded.zoho_customer_id, customer_id = excluded.customer_id,
               customer_name = excluded.customer_name, invoice_date = excluded.invoice_date,
               due_date = excluded.due_date, status = excluded.status, subtotal = excluded.subtotal,
               tax_total = excluded.tax_total, discount_amount = excluded.discount_amount,
               total_amount = excluded.total_amount, amount_paid = excluded.amount_paid, balance = excluded.balance,
               currency = excluded.currency, exchange_rate = excluded.exchange_rate,
               subtotal_differs = excluded.subtotal_differs, zoho_metadata = excluded.zoho_metadata,
               zoho_created_at = excluded.zoho_created_at, zoho_modified_at = excluded.zoho_modified_at,
               synced_at = excluded.synced_at, deleted_at = excluded.deleted_at, sync_version = excluded.sync_version,
               sync_hash = excluded.sync_hash, sync_modified_at = excluded.sync_modified_at,
               sync_observed_at = excluded.sync_observed_at, sync_rank = excluded.sync_rank,
               sync_read_at = excluded.sync_read_at, sync_layers = excluded.sync_layers
         where t.sync_version = excluded.sync_version - 1
        returning t.zoho_invoice_id)
    select array_agg(w.zoho_invoice_id) into v_written from written w;
    perform tds.write_invoice_line_items(write_invoices.organization_id, v_written,
                                         array(select s from unnest(write_invoices.states) s where s.zoho_id = any (v_written)),
                                         write_invoices.at);
    return coalesce(v_written, '{}');
end
$$;
revoke all on function tds.write_invoices(text, tds.record_state[], timestamptz) from public;
comment on function tds.write_invoices(text, tds.record_state[], timestamptz) is
'Writes invoices and their lines, in key order, each only over the version it was resolved from; returns the ids written.';

create or replace function tds.write_invoice_line_items(
    organization_id text, zoho_ids text[], states tds.record_state[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    with wanted as materialized (
        select s.zoho_id, e.n::int as line_number, tds.json_id(d.line_item_id) as zoho_line_item_id, tds.json_id(d.item_id) as zoho_item_id,
               tds.json_text(d.name) as name, tds.json_text(d.description) as description, tds.json_text(d.unit) as unit,
               tds.json_number(d.quantity) as quantity, tds.json_number(d.rate) as rate, tds.json_text(d.discount) as discount,
               tds.json_number(d.discount_amount) as discount_amount, tds.json_text(d.tax_name) as tax_name,
               tds.json_number(d.tax_percentage) as tax_rate, tds.json_number(d.item_total) as total_amount, e.doc
          from unnest(write_invoice_line_items.states) s
         cross join lateral jsonb_array_elements(coalesce(tds.json_array(s.doc -> 'line_items'), '[]')) with ordinality e(doc, n)
         cross join lateral jsonb_to_record(tds.json_object(e.doc)) d(
               line_item_id jsonb, item_id jsonb, name jsonb, description jsonb, unit jsonb, quantity jsonb, rate jsonb, discount jsonb,
               discount_amount jsonb, tax_name jsonb, tax_percentage jsonb, item_total jsonb)
    ), gone as (
        delete from zoho.invoice_line_items l
         where l.organization_id = write_invoice_line_items.organization_id
           and l.zoho_invoice_id = any (write_invoice_line_items.zoho_ids)
           and not exists (select from wanted w where w.zoho_id = l.zoho_invoice_id and w.line_number = l.line_number))
    insert into zoho.invoice_line_items as l (
        organization_id, zoho_invoice_id, line_number, zoho_line_item_id, zoho_item_id, product_id, name, description, unit,
        quantity, rate, discount, discount_amount, tax_name, tax_rate, total_amount, zoho_metadata, synced_at)
    select write_invoice_line_items.organization_id, w.zoho_id, w.line_number, w.zoho_line_item_id, w.zoho_item_id, p.id, w.name,
           w.description, w.unit, w.quantity, w.rate, w.discount, w.discount_amount, w.tax_name, w.tax_rate, w.total_amount, w.doc,
           write_invoice_line_items.at
      from wanted w
      left join zoho.products p on p.organization_id = write_invoice_line_items.organization_id and p.zoho_item_id = w.zoho_item_id
     order by w.zoho_id, w.line_number
    on conflict on constraint invoice_line_items_pkey do update
       set zoho_line_item_id = excluded.zoho_line_item_id, zoho_item_id = excluded.zoho_item_id,
product_id
           = excluded.product_id, name = excluded.name, description = excluded.description, unit =
           excluded.unit, quantity = excluded.quantity, rate = excluded.rate, discount = excluded.discount,
           discount_amount = excluded.discount_amount, tax_name = excluded.tax_name, tax_rate =
           excluded.tax_rate, total_amount = excluded.total_amount, zoho_metadata = excluded.zoho_metadata,
           synced_at = excluded.synced_at
     where (l.zoho_metadata, l.product_id) is distinct from (excluded.zoho_metadata, excluded.product_id);
end
$$;
revoke all on function tds.write_invoice_line_items(text, text[], tds.record_state[], timestamptz) from public;
comment on function tds.write_invoice_line_items(text, text[], tds.record_state[], timestamptz) is
'Makes the lines of these invoices what their documents list.';

create or replace function tds.link_invoices(organization_id text, zoho_ids text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    with waiting as (
        select i.zoho_invoice_id, c.id
          from zoho.invoices i
          join zoho.customers c on c.organization_id = i.organization_id and c.zoho_contact_id = i.zoho_customer_id
         where i.organization_id = link_invoices.organization_id
           and i.zoho_invoice_id = any (link_invoices.zoho_ids)
           and i.customer_id is null
         order by i.zoho_invoice_id
           for update of i)
    update zoho.invoices i
       set customer_id = w.id
      from waiting w
     where i.organization_id = link_invoices.organization_id and i.zoho_invoice_id = w.zoho_invoice_id;

    with waiting as (
        select l.zoho_invoice_id, l.line_number, p.id
          from zoho.invoice_line_items l
          join zoho.products p on p.organization_id = l.organization_id and p.zoho_item_id = l.zoho_item_id
         where l.organization_id = link_invoices.organization_id
           and l.zoho_invoice_id = any (link_invoices.zoho_ids)
           and l.product_id is null
         order by l.zoho_invoice_id, l.line_number
           for update of l)
    update zoho.invoice_line_items l
       set product_id = w.id
      from waiting w
     where l.organization_id = link_invoices.organization_id
       and l.zoho_invoice_id = w.zoho_invoice_id and l.line_number = w.line_number;
end
$$;
revoke all on function tds.link_invoices(text, text[]) from public;
comment on function tds.link_invoices(text, text[]) is
'Links these invoices and their lines to customers and products that were written meanwhile.';

select tds.register('{
    "entity": "invoices", "queue": "invoices", "priority": 40,
    "api_path": "/invoices", "list_key": "invoices", "record_key": "invoice", "id_key": "invoice_id",
    "list_filter": {"filter_by": "Status.All", "sort_column": "created_time", "sort_order": "A"}, "has_modified_filter": true,
    "detail_key": "line_items",
    "target": "invoices", "target_key": "zoho_invoice_id", "writer": "write_invoices", "linker": "link_invoices"}');

select tds.map_fields('invoices', '', $$
    invoice_id         id      zoho_invoice_id    required
    invoice_number     text    invoice_number     100
    reference_number   text    reference_number   255
    customer_id        id      zoho_customer_id
    customer_name      text    customer_name      500
    date               date    invoice_date
    due_date           date    due_date
    status             text    status             50
    sub_total          number  subtotal
    tax_total          number  tax_total
    discount           number  discount_amount
    discount_total     number  discount_amount
    total              number  total_amount
    payment_made       number  amount_paid
    balance            number  balance
    currency_code      text    currency           10
    exchange_rate      number  exchange_rate
    line_items         array   -
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);

select tds.map_fields('invoices', 'line_items', $$
    line_item_id       id      zoho_line_item_id
    item_id            id      zoho_item_id
    name               text    name               500
    description        text    description
    unit               text    unit               100
    quantity           number  quantity
    rate               number  rate
    discount           text    discount           50
    discount_amount    number  discount_amount
    tax_name           text    tax_name           255
    tax_percentage     number  tax_rate
    item_total         number  total_amount
$$);
