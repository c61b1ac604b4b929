CREATE OR REPLACE FUNCTION tds.link_pricelists(organization_ids text[], zoho_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_owners constant text[] := array(select distinct o.id from unnest(link_pricelists.organization_ids) o(id));
begin
    if exists (select from zoho.contacts t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.contact_type, t.zoho_contact_id, p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.contacts t on t.organization_id = i.organization_id and t.zoho_pricebook_id = i.zoho_id
          join zoho.pricelists p on p.organization_id = t.organization_id and p.zoho_pricebook_id = t.zoho_pricebook_id
         where t.pricelist_id is null
         order by t.organization_id, t.contact_type, t.zoho_contact_id
           for update of t)
    update zoho.contacts t
       set pricelist_id = w.value
      from waiting w
     where (t.organization_id, t.contact_type, t.zoho_contact_id) = (w.organization_id, w.contact_type, w.zoho_contact_id)
    $link$ using link_pricelists.organization_ids, link_pricelists.zoho_ids;
    end if;

    if exists (select from zoho.product_prices t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select t.organization_id, t.zoho_pricebook_id, t.zoho_item_id, t.start_quantity, p.id as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.product_prices t on t.organization_id = i.organization_id and t.zoho_pricebook_id = i.zoho_id
          join zoho.products p on p.organization_id = t.organization_id and p.zoho_item_id = t.zoho_item_id
         where t.product_id is null
         order by t.organization_id, t.zoho_pricebook_id, t.zoho_item_id, t.start_quantity
           for update of t)
    update zoho.product_prices t
       set product_id = w.value
      from waiting w
     where (t.organization_id, t.zoho_pricebook_id, t.zoho_item_id, t.start_quantity) = (w.organization_id, w.zoho_pricebook_id, w.zoho_item_id, w.start_quantity)
    $link$ using link_pricelists.organization_ids, link_pricelists.zoho_ids;
    end if;

    return;
end
$function$;
comment on function tds.link_pricelists(text[],text[]) is
'Links these pricelists with the rows they name and the rows that name them, as tds.link has it. Made by tds.make_linker() from functions/60_entities/pricelists.sql.';
