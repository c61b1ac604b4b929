CREATE OR REPLACE FUNCTION tds.write_pricelists(organization_ids text[], states tds.record_state[], at timestamp with time zone)
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    v_written bigint[];
    v_is_kept constant boolean := tds.keeps_history('pricelists');
begin
    with written as (
        insert into zoho.pricelists as t (
            organization_id, zoho_pricebook_id,
            currency, decimal_place, description, effective_from, effective_to, is_active, is_increase,
            kind, name, percentage, pricing_scheme, rounding_type, sales_or_purchase, zoho_created_at,
            zoho_modified_at,
            zoho_metadata, synced_at, deleted_at,
            sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_layers, sync_event)
        select own.organization_id, s.zoho_id,
               tds.json_word(d.currency_code),
               tds.json_number(d.decimal_place),
               tds.json_text(d.description),
               tds.json_date(d.effective_from),
               tds.json_date(d.effective_to),
               tds.json_word(d.status) = 'active',
               tds.json_boolean(d.is_increase),
               tds.json_word(d.pricebook_type),
               tds.json_text(d.name),
               tds.json_number(d.percentage),
               tds.json_word(d.pricing_scheme),
               tds.json_word(d.rounding_type),
               tds.json_word(d.sales_or_purchase_type),
               tds.json_time(d.created_time),
               tds.json_time(d.last_modified_time),
               s.doc, own.at, s.deleted_at, s.version, s.hash, s.modified_at, s.observed_at, s.rank, s.read_at, s.layers, s.inbox_id
          from unnest(write_pricelists.organization_ids, write_pricelists.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)
         cross join lateral (select s.organization_id, write_pricelists.at as at) own
         cross join lateral (
               select s.doc -> 'created_time' as created_time,
                      s.doc -> 'currency_code' as currency_code,
                      s.doc -> 'decimal_place' as decimal_place,
                      s.doc -> 'description' as description,
                      s.doc -> 'effective_from' as effective_from,
                      s.doc -> 'effective_to' as effective_to,
                      s.doc -> 'is_increase' as is_increase,
                      s.doc -> 'last_modified_time' as last_modified_time,
                      s.doc -> 'name' as name,
                      s.doc -> 'percentage' as percentage,
                      s.doc -> 'pricebook_id' as pricebook_id,
                      s.doc -> 'pricebook_items' as pricebook_items,
                      s.doc -> 'pricebook_type' as pricebook_type,
                      s.doc -> 'pricing_scheme' as pricing_scheme,
                      s.doc -> 'rounding_type' as rounding_type,
                      s.doc -> 'sales_or_purchase_type' as sales_or_purchase_type,
                      s.doc -> 'status' as status
               offset 0) d
         where true
         order by s.organization_id, s.zoho_id
        on conflict on constraint pricelists_pkey do update
           set currency = excluded.currency, decimal_place = excluded.decimal_place,
               description = excluded.description, effective_from = excluded.effective_from,
               effective_to = excluded.effective_to, is_active = excluded.is_active,
               is_increase = excluded.is_increase, kind = excluded.kind, name = excluded.name,
               percentage = excluded.percentage, pricing_scheme = excluded.pricing_scheme,
               rounding_type = excluded.rounding_type, sales_or_purchase = excluded.sales_or_purchase,
               zoho_created_at = excluded.zoho_created_at, zoho_modified_at = excluded.zoho_modified_at,
               zoho_metadata = excluded.zoho_metadata, synced_at = excluded.synced_at, deleted_at = excluded.deleted_at,
               sync_version = excluded.sync_version, sync_hash = excluded.sync_hash, sync_modified_at = excluded.sync_modified_at,
               sync_observed_at = excluded.sync_observed_at, sync_rank = excluded.sync_rank, sync_read_at = excluded.sync_read_at,
               sync_layers = excluded.sync_layers, sync_event = excluded.sync_event
         where t.sync_version = excluded.sync_version - 1
        returning t.organization_id, t.zoho_pricebook_id as zoho_id), noted as (
        insert into tds.record_history (
            organization_id, target, zoho_id, kind, changed_at, written_at, inbox_id, back, was_version, was_hash, was_modified_at,
            was_observed_at, was_rank, was_read_at, was_layers, was_deleted_at, was_synced_at, was_event)
        select s.organization_id, 'pricelists', s.zoho_id, k.kind,
               case k.kind
                   when 'deleted' then s.deleted_at
                   when 'revived' then greatest(s.modified_at, s.read_at, s.observed_at)
                   when 'completed' then case when s.modified_at > b.sync_modified_at then s.modified_at end
                   else case when s.modified_at > coalesce(b.sync_modified_at, '-infinity') then s.modified_at else s.observed_at end end,
               write_pricelists.at, s.inbox_id, d.back, b.sync_version, b.sync_hash, b.sync_modified_at,
               b.sync_observed_at, b.sync_rank, b.sync_read_at, b.sync_layers, b.deleted_at, b.synced_at, b.sync_event
          from unnest(write_pricelists.organization_ids, write_pricelists.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)
          join written w on w.organization_id = s.organization_id and w.zoho_id = s.zoho_id
         cross join lateral (select t.* from zoho.pricelists t
                              where t.organization_id = s.organization_id
                                and t.zoho_pricebook_id between s.zoho_id and s.zoho_id
                              order by t.zoho_pricebook_id limit 1) b
         cross join lateral tds.put_back(b.zoho_metadata, s.doc) d
         cross join lateral (select case when s.deleted_at is not null and b.deleted_at is null then 'deleted'
                                         when s.deleted_at is null and b.deleted_at is not null then 'revived'
                                         when tds.only_completes(d.back, b.sync_layers, s.modified_at) then 'completed'
                                         else 'changed' end as kind offset 0) k
         where v_is_kept and b.sync_version = s.version - 1
         order by s.organization_id, s.zoho_id)
    select coalesce(array_agg(s.n) filter (where (s.organization_id, s.zoho_id) in (
               select w.organization_id, w.zoho_id from written w)), '{}')
      into v_written
      from unnest(write_pricelists.organization_ids, write_pricelists.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n);
    perform tds.write_product_prices(array_agg(s.organization_id), array_agg(s.zoho_id), write_pricelists.at)
       from unnest(write_pricelists.organization_ids, write_pricelists.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)
      where s.n in (select unnest(v_written)) and (s.doc ? 'pricebook_items')
     having count(*) > 0;
    return v_written;
end
$function$;
comment on function tds.write_pricelists(text[],tds.record_state[],timestamp with time zone) is
'Writes pricelists in key order, each of the organisation told beside it and only over the version it was resolved from; returns the places of those written. Made by tds.make_writer() from functions/60_entities/pricelists.sql.';
