CREATE OR REPLACE FUNCTION tds.insert_pricelists(inbox_ids bigint[], received_ats timestamp with time zone[], events tds.event[], skip bigint[], at timestamp with time zone, OUT verdicts tds.verdict[], OUT rest tds.record[], OUT begun integer)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
-- A look-up says "between x and x order by" for "= x": only the index that ends in that column gives the order, so the plan
-- is right even if it was made while the table was empty.
declare
    v_owners  text[];
    v_written text[];
    v_is_kept constant boolean := tds.keeps_history('pricelists');
begin
    with met as materialized (
        select e.organization_id, e.first_ord + s.n as ord, s.n::int as position, e.inbox_id,
               e.received_at, e.alone, e.observed_at, e.rank, e.is_delete,
               v.zoho_id, v.told, v.told_at, v.modified_at, v.hash, s.doc, x.kind,
               case when x.kind = 'over' then k.place end as place, case when x.kind = 'over' then k.synced_at end as was_synced_at,
               case when x.kind = 'over'
                    -- uncompressed once, not once a mention
                    then row(v.zoho_id, k.zoho_metadata || '{}', k.sync_version, k.sync_hash, k.sync_modified_at,
                             k.sync_observed_at, k.sync_rank, k.sync_read_at, null, k.sync_layers, k.sync_event
                         )::tds.record_state end as known
          from (select x.* from unnest(insert_pricelists.events) x
                union all
                -- what is read here is read once: handed over as an array it would be copied at every step
                select y.* from tds.stored_events('pricelists', insert_pricelists.inbox_ids, insert_pricelists.received_ats) y) e
         cross join lateral (select case when e.look_closer and insert_pricelists.events is null then tds.unlooked(e.records)
                                         else e.records end as told offset 0) r
         cross join lateral (
               select a.doc, a.n
                 from jsonb_array_elements(case when jsonb_typeof(r.told) = 'array' then r.told end) with ordinality a(doc, n)
                union all
               select r.told, 1 where jsonb_typeof(r.told) = 'object') s
         cross join lateral tds.versions(s.doc, 'pricebook_id', e.modified_at, e.rank, e.observed_at) v
          left join lateral (select t.*, t.ctid as place from zoho.pricelists t
                              where t.organization_id = e.organization_id
                                and t.zoho_pricebook_id between v.zoho_id and v.zoho_id
                              order by t.zoho_pricebook_id limit 1) k on true
         cross join lateral (select
               case when v.zoho_id is null or e.is_delete or (v.told_at is null and coalesce(v.told, '') <> '') then 'rest'
                    when k.sync_version is null
                         then case when true and not (tds.may_exceed(s.doc, e.rank = 1) and (tds.excess(s.doc)).reason is not null)
                                   then 'new' else 'rest' end
                    when k.deleted_at is not null or e.rank = 3 and tds.tells_less(s.doc, 'pricebook_items') then 'rest'
                    when k.sync_modified_at is not distinct from v.modified_at
                        -- a read that says what a hint said is the first to say so
                        and (k.sync_rank <> 2 or e.rank = 2)
                        and (k.sync_hash = v.hash
                             or k.zoho_metadata || s.doc = k.zoho_metadata
                                and not exists (select from jsonb_to_recordset(k.sync_layers) l(m timestamptz, r smallint, keys jsonb,
                                    hidden jsonb)
                                                 where l.hidden <> '{}'
                                                    or (l.m is distinct from v.modified_at or l.r = 2 and e.rank <> 2)
                                                       -- each looked up in the object: an array is looked through
                                                       and exists (select from jsonb_array_elements_text(l.keys) k(key)
                                                                    where s.doc ? k.key))) then 'unchanged'
                    -- of one moment it may be told otherwise, which is looked at closer; a read that came after a hint has the last word
                    when (v.modified_at <> k.sync_modified_at or k.sync_rank = 2 and e.rank <> 2)
                         and case when k.sync_rank = 2 or e.rank = 2
                             then e.observed_at > k.sync_observed_at
                                  and case when k.sync_rank = 2 then v.modified_at >= k.sync_modified_at
                                           else v.modified_at > k.sync_modified_at end
                             else (v.modified_at, e.observed_at) > (k.sync_modified_at, k.sync_observed_at) end
                        and not exists (
                            select from jsonb_to_recordset(k.sync_layers) l(m timestamptz, o timestamptz, r smallint, hidden jsonb)
                             where l.m is null
                                or case when l.r = 2 then l.hidden <> '{}' or v.modified_at < l.m or e.observed_at <= l.o
                                        when e.rank = 2 then v.modified_at <= l.m or e.observed_at <= l.o
                                        else (v.modified_at, e.observed_at) <= (l.m, l.o) end)
                         and not tds.may_exceed(s.doc, e.rank = 1) then 'over'
                    else 'rest' end as kind offset 0) x
         where e.first_ord + s.n <> all (insert_pricelists.skip)
    ), twice as (
        select m.organization_id, m.zoho_id from met m where m.zoho_id is not null
         group by m.organization_id, m.zoho_id having count(*) > 1
    ), mixed as (
        select from met m where m.kind = 'rest' union all select from twice limit 1
    ), written as (
        insert into zoho.pricelists as t (
            organization_id, zoho_pricebook_id,
            currency, decimal_place, description, effective_from, effective_to, is_active, is_increase,
            kind, name, percentage, pricing_scheme, rounding_type, sales_or_purchase, zoho_created_at,
            zoho_modified_at,
            zoho_metadata, synced_at, sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_event)
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
               case when s.told <> '' then s.told_at end,
               s.doc, own.at, 1, s.hash, s.modified_at, s.observed_at, s.rank, case when s.rank <> 2 then s.observed_at end, s.inbox_id
          -- a row that another worker is just inserting fails the statement, and all are resolved then: a rare thing, and an
          -- ON CONFLICT would cost every row a look. All or none: with a rest to be written after them, two workers could wait
          -- for one another
          from (select m.*, null::jsonb as layers
                  from met m where m.kind = 'new' and not exists (select from mixed)
                 order by m.organization_id, m.zoho_id offset 0) s
         cross join lateral (select s.organization_id, insert_pricelists.at as at) own
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
         order by s.organization_id, s.zoho_id
        returning t.organization_id, t.zoho_pricebook_id as zoho_id), over as materialized (
        -- after the inserts: two sets, each in key order, and in every session the same one first
        select m.organization_id, m.ord, m.place, m.told, m.told_at, p.state, p.verdict,
               case when v_is_kept then m.known end as known, m.was_synced_at
          from met m
         cross join lateral tds.plainly('over', row(m.ord, m.inbox_id, m.received_at, m.position, m.alone, m.zoho_id, m.modified_at,
             m.observed_at, m.rank, m.is_delete, m.hash, m.doc, m.organization_id)::tds.record, m.known, false, 'pricebook_items') p
         where m.kind = 'over' and not exists (select from mixed) and (select count(*) from written) >= 0
    ), updated as (
        update zoho.pricelists t
           set currency = tds.json_word(d.currency_code),
               decimal_place = tds.json_number(d.decimal_place),
               description = tds.json_text(d.description),
               effective_from = tds.json_date(d.effective_from),
               effective_to = tds.json_date(d.effective_to),
               is_active = tds.json_word(d.status) = 'active',
               is_increase = tds.json_boolean(d.is_increase),
               kind = tds.json_word(d.pricebook_type),
               name = tds.json_text(d.name),
               percentage = tds.json_number(d.percentage),
               pricing_scheme = tds.json_word(d.pricing_scheme),
               rounding_type = tds.json_word(d.rounding_type),
               sales_or_purchase = tds.json_word(d.sales_or_purchase_type),
               zoho_created_at = tds.json_time(d.created_time),
               zoho_modified_at = case when s.told <> '' then s.told_at else tds.json_time(d.last_modified_time) end,
               zoho_metadata = s.doc, synced_at = own.at, sync_version = s.version, sync_hash = s.hash,
               sync_modified_at = s.modified_at, sync_observed_at = s.observed_at, sync_rank = s.rank, sync_read_at = s.read_at,
               sync_layers = s.layers, sync_event = s.inbox_id
          from (select o.organization_id, o.ord, o.place, o.told, o.told_at, (o.state).* from over o
                 order by o.organization_id, (o.state).zoho_id offset 0) s
         cross join lateral (select s.organization_id, insert_pricelists.at as at) own
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
         -- the version that was read, in its place: what another worker wrote meanwhile is looked at again
         where t.ctid = s.place and t.organization_id = own.organization_id and t.zoho_pricebook_id = s.zoho_id
           and t.sync_version = s.version - 1
        returning s.ord), noted as (
        insert into tds.record_history (
            organization_id, target, zoho_id, kind, changed_at, written_at, inbox_id, back, was_version, was_hash, was_modified_at,
            was_observed_at, was_rank, was_read_at, was_layers, was_deleted_at, was_synced_at, was_event)
        select s.organization_id, 'pricelists', s.zoho_id, k.kind,
               case k.kind
                   when 'deleted' then s.deleted_at
                   when 'revived' then greatest(s.modified_at, s.read_at, s.observed_at)
                   when 'completed' then case when s.modified_at > b.sync_modified_at then s.modified_at end
                   else case when s.modified_at > coalesce(b.sync_modified_at, '-infinity') then s.modified_at else s.observed_at end end,
               insert_pricelists.at, s.inbox_id, d.back, b.sync_version, b.sync_hash, b.sync_modified_at,
               b.sync_observed_at, b.sync_rank, b.sync_read_at, b.sync_layers, b.deleted_at, b.synced_at, b.sync_event
          from (select o.organization_id, (o.state).*, o.known, o.was_synced_at
                  from over o
                 where case when o.ord in (select u.ord from updated u) then true end) s
         cross join lateral (select (s.known).doc as zoho_metadata, (s.known).version as sync_version, (s.known).hash as sync_hash,
                                    (s.known).modified_at as sync_modified_at, (s.known).observed_at as sync_observed_at,
                                    (s.known).rank as sync_rank, (s.known).read_at as sync_read_at, (s.known).layers as sync_layers,
                                    (s.known).deleted_at, s.was_synced_at as synced_at, (s.known).inbox_id as sync_event) b
         cross join lateral tds.put_back(b.zoho_metadata, s.doc) d
         cross join lateral (select case when s.deleted_at is not null and b.deleted_at is null then 'deleted'
                                         when s.deleted_at is null and b.deleted_at is not null then 'revived'
                                         when tds.only_completes(d.back, b.sync_layers, s.modified_at) then 'completed'
                                         else 'changed' end as kind offset 0) k
         where v_is_kept and b.sync_version = s.version - 1
         order by s.organization_id, s.zoho_id)
    select array_agg(case when m.kind = 'over' then m.verdict else row(m.ord, m.inbox_id, m.zoho_id, case m.kind when 'new' then 'applied' else m.kind end,
                         m.modified_at, m.observed_at, m.rank,
                         case when m.kind <> 'new' then null
                              when m.rank = 2 and m.modified_at is null then 'webhook without last_modified_time'
                              when tds.lacks_elements(m.doc) then tds.empty_reason()
                              when not m.doc ? 'pricebook_items' then 'detail older than the record' end,
                         m.observed_at, m.kind = 'new' and m.modified_at is null, m.organization_id)::tds.verdict end) filter (where m.done),
           array_agg(row(m.ord, m.inbox_id, m.received_at, m.position, m.alone, m.zoho_id, m.modified_at, m.observed_at, m.rank,
                         m.is_delete, m.hash, m.doc, m.organization_id)::tds.record order by m.ord) filter (where not m.done),
           (count(*) filter (where m.position = 1))::int,
           array_agg(m.organization_id) filter (where m.done and m.kind in ('new', 'over') and (coalesce((m.state).doc, m.doc) ? 'pricebook_items')),
           array_agg(m.zoho_id) filter (where m.done and m.kind in ('new', 'over') and (coalesce((m.state).doc, m.doc) ? 'pricebook_items'))
      into insert_pricelists.verdicts, insert_pricelists.rest, insert_pricelists.begun, v_owners, v_written
      from (select m.*, o.state, o.verdict, m.kind <> 'rest' and case m.kind when 'new' then n.are_written
                                                           when 'over' then m.ord in (select u.ord from updated u)
                                                 else (m.organization_id, m.zoho_id) not in (
                                                     select d.organization_id, d.zoho_id from twice d) end as done
              from met m
             -- all or none
             cross join (select (select count(*) from written)
                                = (select count(*) from met m where m.kind = 'new') as are_written) n
              left join over o on o.ord = m.ord) m;
    if v_written is not null then
        perform tds.write_product_prices(v_owners, v_written, insert_pricelists.at);
    end if;
end
$function$;
comment on function tds.insert_pricelists(bigint[],timestamp with time zone[],tds.event[],bigint[],timestamp with time zone) is
'Writes those pricelists of a batch that have no row yet or are later than all that it knows, knows the unchanged ones, and hands back the rest. Made by tds.make_inserter() from functions/60_entities/pricelists.sql.';
