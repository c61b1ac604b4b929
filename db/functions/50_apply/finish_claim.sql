create or replace function tds.later_records(
    entity tds.entity, organization_id text, zoho_ids text[], since timestamptz) returns tds.record[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_names constant text[] := tds.namesakes((later_records.entity).entity);
    v_later record;
begin
    select coalesce(array_agg(i.inbox_id order by i.inbox_id), '{}') as inbox_ids,
           coalesce(array_agg(i.received_at order by i.inbox_id), '{}') as received_ats
      into v_later
      from tds.inbox i
     where i.received_at > later_records.since
       and i.observed_at > later_records.since
       and i.organization_id = later_records.organization_id
       and i.entity = any (v_names)
       and i.refusal is null
       and (i.record_id is null or i.record_id = any (later_records.zoho_ids))
       and (exists (select from tds.inbox_outcome d
                     where d.received_at = i.received_at and d.inbox_id = i.inbox_id and d.status = 'completed')
            or exists (select from tds.claim c where i.inbox_id = any (c.inbox_ids)));
    return array(
        select r
          from unnest(tds.explode((later_records.entity).entity,
                                  tds.read_events((later_records.entity).entity, v_later.inbox_ids, v_later.received_ats))) r
          join unnest(later_records.zoho_ids) z(zoho_id) on z.zoho_id = r.zoho_id);
end
$$;
comment on function tds.later_records(tds.entity, text, text[], timestamptz) is
'What finished or claimed events, observed after that moment, say of these records.';

create or replace function tds.settle(entity tds.entity, organization_id text, records tds.record[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_half constant int := cardinality(settle.records) / 2;
begin
    begin
        perform tds.apply_records(settle.entity, settle.organization_id, settle.records, settle.at);
        return;
    exception when others then
        -- one that fails on its data failed when it came, and has its dead letter or its retry since
        if not tds.is_data_error(sqlstate) then
            raise;
        end if;
    end;
    if v_half > 0 then
        perform tds.settle(settle.entity, settle.organization_id, settle.records[:v_half], settle.at);
        perform tds.settle(settle.entity, settle.organization_id, settle.records[v_half + 1:], settle.at);
    end if;
end
$$;
revoke all on function tds.settle(tds.entity, text, tds.record[], timestamptz) from public;
comment on function tds.settle(tds.entity, text, tds.record[], timestamptz) is
'Applies records that were applied once before, so that they count against what was written since; those that could not '
'be applied then are left out.';

create or replace function tds.finish_claim(claim_id bigint, touches tds.touch[]) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
-- one record or a thousand, the plan is the same; planning anew would cost more than the work of a small batch
set plan_cache_mode = force_generic_plan
set jit = off
-- every look-up is by key; a table never analysed, or empty when the plan was made, would be read whole
set enable_seqscan = off
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_touch  tds.touch;
    v_entity tds.entity;
    v_claim  tds.claim;
begin
    foreach v_touch in array finish_claim.touches loop
        continue when v_touch.zoho_ids is null;
        select n.* into strict v_entity from tds.entity n where n.entity = v_touch.entity;
        -- an unchanged record leaves no trace in its row, so a read that confirmed it may have come after what was just applied
        if v_touch.unsettled_ids is not null then
            perform tds.settle(v_entity, v_touch.organization_id,
                               tds.later_records(v_entity, v_touch.organization_id, v_touch.unsettled_ids, v_touch.unsettled_since),
                               v_now);
        end if;
        -- in a transaction of its own, so that whichever of parent and child commits last sees the other
        perform tds.link_rows(v_touch.entity, v_touch.organization_id, v_touch.zoho_ids);
    end loop;
    delete from tds.claim c where c.claim_id = finish_claim.claim_id returning c.* into v_claim;
    perform tds.queue_done(v_claim.queue, v_claim.msg_ids);
end
$$;
revoke all on function tds.finish_claim(bigint, tds.touch[]) from public;
comment on function tds.finish_claim(bigint, tds.touch[]) is
'Ends a claim after its apply has committed: links records, settles those that last_modified_time left open, deletes the messages.';
