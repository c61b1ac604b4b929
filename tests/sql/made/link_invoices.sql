CREATE OR REPLACE FUNCTION tds.link_invoices(organization_ids text[], zoho_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_owners constant text[] := array(select distinct o.id from unnest(link_invoices.organization_ids) o(id));
begin
    if exists (select from zoho.invoices t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_invoice_id, p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.invoices t on t.organization_id = i.organization_id and t.zoho_invoice_id = i.zoho_id
          join zoho.customers p on p.organization_id = t.organization_id and p.zoho_contact_id = t.zoho_customer_id
         where t.customer_id is null
         order by t.organization_id, t.zoho_invoice_id
           for update of t)
    update zoho.invoices t
       set customer_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_invoice_id) = (w.organization_id, w.zoho_invoice_id)
    $link$ using link_invoices.organization_ids, link_invoices.zoho_ids;
    end if;

    if exists (select from zoho.credit_note_invoices t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_creditnote_id, t."position", p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.credit_note_invoices t on t.organization_id = i.organization_id and t.zoho_invoice_id = i.zoho_id
          join zoho.invoices p on p.organization_id = t.organization_id and p.zoho_invoice_id = t.zoho_invoice_id
         where t.invoice_id is null
         order by t.organization_id, t.zoho_creditnote_id, t."position"
           for update of t)
    update zoho.credit_note_invoices t
       set invoice_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_creditnote_id, t."position") = (w.organization_id, w.zoho_creditnote_id, w."position")
    $link$ using link_invoices.organization_ids, link_invoices.zoho_ids;
    end if;

    if exists (select from zoho.customer_payment_invoices t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_payment_id, t."position", p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.customer_payment_invoices t on t.organization_id = i.organization_id and t.zoho_invoice_id = i.zoho_id
          join zoho.invoices p on p.organization_id = t.organization_id and p.zoho_invoice_id = t.zoho_invoice_id
         where t.invoice_id is null
         order by t.organization_id, t.zoho_payment_id, t."position"
           for update of t)
    update zoho.customer_payment_invoices t
       set invoice_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_payment_id, t."position") = (w.organization_id, w.zoho_payment_id, w."position")
    $link$ using link_invoices.organization_ids, link_invoices.zoho_ids;
    end if;

    if exists (select from zoho.invoice_line_items t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_invoice_id, t.line_number, p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.invoice_line_items t on t.organization_id = i.organization_id and t.zoho_invoice_id = i.zoho_id
          join zoho.products p on p.organization_id = t.organization_id and p.zoho_item_id = t.zoho_item_id
         where t.product_id is null
         order by t.organization_id, t.zoho_invoice_id, t.line_number
           for update of t)
    update zoho.invoice_line_items t
       set product_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_invoice_id, t.line_number) = (w.organization_id, w.zoho_invoice_id, w.line_number)
    $link$ using link_invoices.organization_ids, link_invoices.zoho_ids;
    end if;

    return;
end
$function$;
comment on function tds.link_invoices(text[],text[]) is
'Links these invoices with the rows they name and the rows that name them, as tds.link has it. Made by tds.make_linker() from functions/60_entities/invoices.sql.';
