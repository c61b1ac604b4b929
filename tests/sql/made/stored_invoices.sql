CREATE OR REPLACE FUNCTION tds.stored_invoices(organization_id text, after text, batch integer)
 RETURNS tds.record_state[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return array(
        select row(t.zoho_invoice_id, t.zoho_metadata, t.sync_version, t.sync_hash, t.sync_modified_at, t.sync_observed_at, t.sync_rank,
                   t.sync_read_at, t.deleted_at, t.sync_layers, t.sync_event)::tds.record_state
          from zoho.invoices t
         where t.organization_id = stored_invoices.organization_id and t.zoho_invoice_id > stored_invoices.after
         order by t.zoho_invoice_id
         limit stored_invoices.batch);
end
$function$;
comment on function tds.stored_invoices(text,text,integer) is
'The next invoices after that id, as states. Made by tds.make_stored() from functions/60_entities/invoices.sql.';
