CREATE OR REPLACE FUNCTION tds.link_invoices(organization_id text, zoho_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    if exists (select from zoho.invoices t where t.organization_id = link_invoices.organization_id) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_invoice_id, p.id as value
          from zoho.invoices t
          join zoho.customers p on p.organization_id = t.organization_id and p.zoho_contact_id = t.zoho_customer_id
         where t.organization_id = $1
           and t.zoho_invoice_id = any ($2)
           and t.customer_id is null
         order by t.organization_id, t.zoho_invoice_id
           for update of t)
    update zoho.invoices t
       set customer_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_invoice_id) = (w.organization_id, w.zoho_invoice_id)
    $link$ using link_invoices.organization_id, link_invoices.zoho_ids;
    end if;

    if exists (select from zoho.credit_note_invoices t where t.organization_id = link_invoices.organization_id) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_creditnote_id, t."position", p.id as value
          from zoho.credit_note_invoices t
          join zoho.invoices p on p.organization_id = t.organization_id and p.zoho_invoice_id = t.zoho_invoice_id
         where t.organization_id = $1
           and t.zoho_invoice_id = any ($2)
           and t.invoice_id is null
         order by t.organization_id, t.zoho_creditnote_id, t."position"
           for update of t)
    update zoho.credit_note_invoices t
       set invoice_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_creditnote_id, t."position") = (w.organization_id, w.zoho_creditnote_id, w."position")
    $link$ using link_invoices.organization_id, link_invoices.zoho_ids;
    end if;

    if exists (select from zoho.customer_payment_invoices t where t.organization_id = link_invoices.organization_id) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_payment_id, t."position", p.id as value
          from zoho.customer_payment_invoices t
          join zoho.invoices p on p.organization_id = t.organization_id and p.zoho_invoice_id = t.zoho_invoice_id
         where t.organization_id = $1
           and t.zoho_invoice_id = any ($2)
           and t.invoice_id is null
         order by t.organization_id, t.zoho_payment_id, t."position"
           for update of t)
    update zoho.customer_payment_invoices t
       set invoice_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_payment_id, t."position") = (w.organization_id, w.zoho_payment_id, w."position")
    $link$ using link_invoices.organization_id, link_invoices.zoho_ids;
    end if;

    if exists (select from zoho.invoice_line_items t where t.organization_id = link_invoices.organization_id) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_invoice_id, t.line_number, p.id as value
          from zoho.invoice_line_items t
          join zoho.products p on p.organization_id = t.organization_id and p.zoho_item_id = t.zoho_item_id
         where t.organization_id = $1
           and t.zoho_invoice_id = any ($2)
           and t.product_id is null
         order by t.organization_id, t.zoho_invoice_id, t.line_number
           for update of t)
    update zoho.invoice_line_items t
       set product_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_invoice_id, t.line_number) = (w.organization_id, w.zoho_invoice_id, w.line_number)
    $link$ using link_invoices.organization_id, link_invoices.zoho_ids;
    end if;

    return;
end
$function$;
comment on function tds.link_invoices(text,text[]) is
'Links these invoices with the rows they name and the rows that name them, as tds.link has it. Made by tds.make_linker() from functions/60_entities/invoices.sql.';
