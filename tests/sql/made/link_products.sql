CREATE OR REPLACE FUNCTION tds.link_products(organization_ids text[], zoho_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_owners constant text[] := array(select distinct o.id from unnest(link_products.organization_ids) o(id));
begin
    if exists (select from zoho.products t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_item_id, p.currency as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.products t on t.organization_id = i.organization_id and t.zoho_item_id = i.zoho_id
          join zoho.organizations p on p.organization_id = t.organization_id and p.zoho_organization_id = t.organization_id
         where t.currency is distinct from p.currency
         order by t.organization_id, t.zoho_item_id
           for update of t)
    update zoho.products t
       set currency = w.value
      from waiting w
     where (t.organization_id, t.zoho_item_id) = (w.organization_id, w.zoho_item_id)
    $link$ using link_products.organization_ids, link_products.zoho_ids;
    end if;

    if exists (select from zoho.bill_line_items t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_bill_id, t.line_number, p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.bill_line_items t on t.organization_id = i.organization_id and t.zoho_item_id = i.zoho_id
          join zoho.products p on p.organization_id = t.organization_id and p.zoho_item_id = t.zoho_item_id
         where t.product_id is null
         order by t.organization_id, t.zoho_bill_id, t.line_number
           for update of t)
    update zoho.bill_line_items t
       set product_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_bill_id, t.line_number) = (w.organization_id, w.zoho_bill_id, w.line_number)
    $link$ using link_products.organization_ids, link_products.zoho_ids;
    end if;

    if exists (select from zoho.credit_note_line_items t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_creditnote_id, t.line_number, p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.credit_note_line_items t on t.organization_id = i.organization_id and t.zoho_item_id = i.zoho_id
          join zoho.products p on p.organization_id = t.organization_id and p.zoho_item_id = t.zoho_item_id
         where t.product_id is null
         order by t.organization_id, t.zoho_creditnote_id, t.line_number
           for update of t)
    update zoho.credit_note_line_items t
       set product_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_creditnote_id, t.line_number) = (w.organization_id, w.zoho_creditnote_id, w.line_number)
    $link$ using link_products.organization_ids, link_products.zoho_ids;
    end if;

    if exists (select from zoho.invoice_line_items t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_invoice_id, t.line_number, p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.invoice_line_items t on t.organization_id = i.organization_id and t.zoho_item_id = i.zoho_id
          join zoho.products p on p.organization_id = t.organization_id and p.zoho_item_id = t.zoho_item_id
         where t.product_id is null
         order by t.organization_id, t.zoho_invoice_id, t.line_number
           for update of t)
    update zoho.invoice_line_items t
       set product_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_invoice_id, t.line_number) = (w.organization_id, w.zoho_invoice_id, w.line_number)
    $link$ using link_products.organization_ids, link_products.zoho_ids;
    end if;

    if exists (select from zoho.product_prices t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_pricebook_id, t.zoho_item_id, t.start_quantity, p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.product_prices t on t.organization_id = i.organization_id and t.zoho_item_id = i.zoho_id
          join zoho.products p on p.organization_id = t.organization_id and p.zoho_item_id = t.zoho_item_id
         where t.product_id is null
         order by t.organization_id, t.zoho_pricebook_id, t.zoho_item_id, t.start_quantity
           for update of t)
    update zoho.product_prices t
       set product_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_pricebook_id, t.zoho_item_id, t.start_quantity) = (w.organization_id, w.zoho_pricebook_id, w.zoho_item_id, w.start_quantity)
    $link$ using link_products.organization_ids, link_products.zoho_ids;
    end if;

    if exists (select from zoho.sales_order_line_items t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_salesorder_id, t.line_number, p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.sales_order_line_items t on t.organization_id = i.organization_id and t.zoho_item_id = i.zoho_id
          join zoho.products p on p.organization_id = t.organization_id and p.zoho_item_id = t.zoho_item_id
         where t.product_id is null
         order by t.organization_id, t.zoho_salesorder_id, t.line_number
           for update of t)
    update zoho.sales_order_line_items t
       set product_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_salesorder_id, t.line_number) = (w.organization_id, w.zoho_salesorder_id, w.line_number)
    $link$ using link_products.organization_ids, link_products.zoho_ids;
    end if;

    if exists (select from zoho.stock_levels t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_item_id, t.zoho_warehouse_id, p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.stock_levels t on t.organization_id = i.organization_id and t.zoho_item_id = i.zoho_id
          join zoho.warehouses p on p.organization_id = t.organization_id and p.zoho_warehouse_id = t.zoho_warehouse_id
         where t.warehouse_id is null
         order by t.organization_id, t.zoho_item_id, t.zoho_warehouse_id
           for update of t)
    update zoho.stock_levels t
       set warehouse_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_item_id, t.zoho_warehouse_id) = (w.organization_id, w.zoho_item_id, w.zoho_warehouse_id)
    $link$ using link_products.organization_ids, link_products.zoho_ids;
    end if;

    if exists (select from zoho.vendor_credit_line_items t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_vendor_credit_id, t.line_number, p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.vendor_credit_line_items t on t.organization_id = i.organization_id and t.zoho_item_id = i.zoho_id
          join zoho.products p on p.organization_id = t.organization_id and p.zoho_item_id = t.zoho_item_id
         where t.product_id is null
         order by t.organization_id, t.zoho_vendor_credit_id, t.line_number
           for update of t)
    update zoho.vendor_credit_line_items t
       set product_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_vendor_credit_id, t.line_number) = (w.organization_id, w.zoho_vendor_credit_id, w.line_number)
    $link$ using link_products.organization_ids, link_products.zoho_ids;
    end if;

    return;
end
$function$;
comment on function tds.link_products(text[],text[]) is
'Links these products with the rows they name and the rows that name them, as tds.link has it. Made by tds.make_linker() from functions/60_entities/products.sql.';
