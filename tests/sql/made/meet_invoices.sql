CREATE OR REPLACE FUNCTION tds.meet_invoices(records tds.record[])
 RETURNS SETOF tds.meeting
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
begin
    return query
        select k.kind, i.incoming,
               case when t.zoho_invoice_id is not null then
                   row(t.zoho_invoice_id, case when k.kind in ('fold', 'over') then t.zoho_metadata || '{}' end, t.sync_version,
                       t.sync_hash, t.sync_modified_at, t.sync_observed_at, t.sync_rank, t.sync_read_at, t.deleted_at,
                       t.sync_layers, t.sync_event)::tds.record_state end
          from (select r as incoming, count(*) over (partition by r.organization_id, r.zoho_id) as observations
                  from unnest(meet_invoices.records) r) i
          left join lateral (select t.* from zoho.invoices t
                              where t.organization_id = (i.incoming).organization_id
                                and t.zoho_invoice_id between (i.incoming).zoho_id and (i.incoming).zoho_id
                              order by t.zoho_invoice_id limit 1) t on true
         cross join lateral (select case
                   when i.observations > 1 or (i.incoming).is_delete then 'fold'
                   when t.zoho_invoice_id is null then 'new'
                   when t.deleted_at is not null then 'fold'
                   -- a detail that tells less than details do and than is known has to be looked at
                   when (i.incoming).rank = 3 and tds.tells_less((i.incoming).doc, 'line_items') and t.zoho_metadata ? 'line_items'
                        then 'fold'
                   when t.sync_modified_at is not distinct from (i.incoming).modified_at
                        -- a read that says what a hint said is the first to say so
                        and (t.sync_rank <> 2 or (i.incoming).rank = 2)
                        and (t.sync_hash = (i.incoming).hash
                             or t.zoho_metadata || (i.incoming).doc = t.zoho_metadata
                                and not exists (select from jsonb_to_recordset(t.sync_layers) l(m timestamptz, r smallint, keys jsonb,
                                    hidden jsonb)
                                                 where l.hidden <> '{}'
                                                    or (l.m is distinct from (i.incoming).modified_at or l.r = 2 and (i.incoming).rank <> 2)
                                                       -- each looked up in the object: an array is looked through
                                                       and exists (select from jsonb_array_elements_text(l.keys) k(key)
                                                                    where (i.incoming).doc ? k.key))) then 'unchanged'
                   when case when t.sync_rank = 2 or (i.incoming).rank = 2
                             then (i.incoming).observed_at > t.sync_observed_at
                                  and case when t.sync_rank = 2 then (i.incoming).modified_at >= t.sync_modified_at
                                           else (i.incoming).modified_at > t.sync_modified_at end
                             else ((i.incoming).modified_at, (i.incoming).observed_at) > (t.sync_modified_at, t.sync_observed_at) end
                        and not exists (
                            select from jsonb_to_recordset(t.sync_layers) l(m timestamptz, o timestamptz, r smallint, hidden jsonb)
                             where l.m is null
                                or case when l.r = 2 then l.hidden <> '{}' or (i.incoming).modified_at < l.m or (i.incoming).observed_at <= l.o
                                        when (i.incoming).rank = 2 then (i.incoming).modified_at <= l.m or (i.incoming).observed_at <= l.o
                                        else ((i.incoming).modified_at, (i.incoming).observed_at) <= (l.m, l.o) end) then 'over'
                   else 'fold' end) k(kind);
end
$function$;
comment on function tds.meet_invoices(tds.record[]) is
'Each of these invoices beside the row it meets; see tds.meet(). Made by tds.make_meeting() from functions/60_entities/invoices.sql.';
