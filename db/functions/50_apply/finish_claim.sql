create or replace function tds.later_events(entity tds.entity, unsettled tds.touch[], own bigint[])
returns table (organization_id text, inbox_ids bigint[], received_ats timestamptz[])
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_names constant text[] := tds.namesakes((later_events.entity).entity);
    v_first timestamptz;
    v_since timestamptz;
begin
    -- where Zoho's clock is ahead, what was observed later may have come before by ours
    select min(u.unsettled_since - greatest(tds.zoho_ahead(u.organization_id), interval '0')), min(u.unsettled_since)
      into v_first, v_since
      from unnest(later_events.unsettled) u;
    return query
    -- what came lately is gone through once, whosever it is
    with recent as materialized (
        select i.inbox_id, i.received_at, i.observed_at, i.organization_id
          from tds.inbox i
         where i.received_at > v_first
           and i.observed_at >= v_since
           and i.entity = any (v_names)
           and i.refusal is null
           and (i.record_id is null or (i.organization_id, i.record_id) in (
                select u.organization_id, z.zoho_id
                  from unnest(later_events.unsettled) u cross join lateral unnest(u.unsettled_ids) z(zoho_id)))
           -- hints of one claim have met one another
           and not (i.shape = 'webhook' and i.inbox_id in (select w.inbox_id from unnest(later_events.own) w(inbox_id))))
    select i.organization_id, array_agg(i.inbox_id order by i.inbox_id), array_agg(i.received_at order by i.inbox_id)
      from recent i
      join unnest(later_events.unsettled) u on u.organization_id = i.organization_id
     where i.observed_at >= u.unsettled_since
       -- what was observed at one moment has met as well
       and not (i.observed_at = u.unsettled_since and i.inbox_id in (select w.inbox_id from unnest(later_events.own) w(inbox_id)))
       and (exists (select from tds.inbox_outcome d
                     where d.received_at = i.received_at and d.inbox_id = i.inbox_id and d.status = 'completed')
            or exists (select from tds.claim c where c.claim_id >= (select tds.claims_from()) and i.inbox_id = any (c.inbox_ids)))
     group by i.organization_id
     order by i.organization_id;
end
$$;
comment on function tds.later_events(tds.entity, tds.touch[], bigint[]) is
'Finished or claimed events that may tell of these unsettled records, each observed since what its organisation left open, by '
'organisation; own: the events of a claim, whose webhooks are left out.';

create or replace function tds.records_told(entity text, inbox_ids bigint[], received_ats timestamptz[], zoho_ids text[])
returns tds.record[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        select r
          from unnest(tds.explode(records_told.entity, tds.read_events(records_told.entity, records_told.inbox_ids,
                                                                       records_told.received_ats))) r
         where r.zoho_id in (select z.zoho_id from unnest(records_told.zoho_ids) z(zoho_id)));
end
$$;
comment on function tds.records_told(text, bigint[], timestamptz[], text[]) is
'What these events of one organisation say of these records.';

create or replace function tds.later_records(
    entity tds.entity, organization_id text, zoho_ids text[], since timestamptz, own bigint[] default '{}') returns tds.record[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce((
        select tds.records_told((later_records.entity).entity, e.inbox_ids, e.received_ats, later_records.zoho_ids)
          from tds.later_events(later_records.entity,
                                array[row((later_records.entity).entity, later_records.organization_id, null, later_records.zoho_ids,
                                          later_records.since)::tds.touch], later_records.own) e), '{}');
end
$$;
comment on function tds.later_records(tds.entity, text, text[], timestamptz, bigint[]) is
'What finished or claimed events, observed since that moment, say of these records; own: the events of a claim, whose webhooks are '
'left out.';

create or replace function tds.settle(entity tds.entity, records tds.record[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_half constant int := cardinality(settle.records) / 2;
begin
    if settle.records = '{}' then
        return;
    end if;
    begin
        perform tds.apply_records(settle.entity, settle.records, settle.at);
        return;
    exception when others then
        -- one that fails on its data failed when it came, and has its dead letter or its retry since
        if not tds.is_data_error(sqlstate) then
            raise;
        end if;
    end;
    if v_half > 0 then
        perform tds.settle(settle.entity, settle.records[:v_half], settle.at);
        perform tds.settle(settle.entity, settle.records[v_half + 1:], settle.at);
    end if;
end
$$;
revoke all on function tds.settle(tds.entity, tds.record[], timestamptz) from public;
comment on function tds.settle(tds.entity, tds.record[], timestamptz) is
'Applies records that were applied once before, so that they count against what was written since; those that could not '
'be applied then are left out.';

create or replace function tds.link_apart(
    entity text, organization_ids text[], zoho_ids text[], out failed_of text[], out failed text[], out error_code text,
    out error text, out error_context text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_half constant int := cardinality(link_apart.zoho_ids) / 2;
    v_part record;
begin
    begin
        perform tds.link_rows(link_apart.entity, link_apart.organization_ids, link_apart.zoho_ids);
        return;
    exception when others then
        get stacked diagnostics link_apart.error_code = returned_sqlstate, link_apart.error = message_text,
                                link_apart.error_context = pg_exception_context;
        if tds.stops_all(link_apart.error_code) then
            raise;
        end if;
    end;
    if v_half = 0 then
        link_apart.failed_of := link_apart.organization_ids;
        link_apart.failed := link_apart.zoho_ids;
        return;
    end if;
    link_apart.failed_of := '{}';
    link_apart.failed := '{}';
    for v_part in
        select l.* from (values (link_apart.organization_ids[:v_half], link_apart.zoho_ids[:v_half]),
                                (link_apart.organization_ids[v_half + 1:], link_apart.zoho_ids[v_half + 1:])) h(organization_ids, zoho_ids)
         cross join lateral tds.link_apart(link_apart.entity, h.organization_ids, h.zoho_ids) l
         where l.failed is not null
    loop
        link_apart.failed_of := link_apart.failed_of || v_part.failed_of;
        link_apart.failed := link_apart.failed || v_part.failed;
        link_apart.error_code := v_part.error_code;
        link_apart.error := v_part.error;
        link_apart.error_context := v_part.error_context;
    end loop;
end
$$;
revoke all on function tds.link_apart(text, text[], text[]) from public;
comment on function tds.link_apart(text, text[], text[]) is
'Links these records, each of the organisation told beside it, and where that fails, all but those that fail alone, which it returns '
'with the last one''s error. Raises what '
'stops all.';

create or replace function tds.link_again(
    claim tds.claim, organization_ids text[], zoho_ids text[], error_code text, error text, error_context text, at timestamptz)
returns bigint[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_old constant timestamptz := link_again.at - make_interval(hours => tds.setting_int('outage_gives_up_hours'));
begin
    insert into tds.dead_letter (inbox_id, received_at, entity, organization_id, zoho_id, observed_at, reason, error_code,
                                 error_context, attempts, dead_at)
    select i.inbox_id, i.received_at, i.entity, i.organization_id, i.record_id, i.observed_at, left(link_again.error, 1000),
        link_again.error_code,
           tds.error_context(link_again.error_context), 1, link_again.at
      from unnest((link_again.claim).inbox_ids, (link_again.claim).received_ats) e(inbox_id, received_at)
      join tds.inbox i on i.received_at = e.received_at and i.inbox_id = e.inbox_id
     where i.received_at < v_old and i.organization_id = any (link_again.organization_ids)
       and (i.record_id is null or (i.organization_id, i.record_id) in (
            select l.organization_id, l.zoho_id
              from unnest(link_again.organization_ids, link_again.zoho_ids) l(organization_id, zoho_id)))
     order by i.inbox_id;
    return array(
        select e.msg_id
          from unnest((link_again.claim).msg_ids, (link_again.claim).inbox_ids, (link_again.claim).received_ats) e(msg_id, inbox_id,
              received_at)
          join tds.inbox i on i.received_at = e.received_at and i.inbox_id = e.inbox_id
         where i.received_at >= v_old and i.organization_id = any (link_again.organization_ids)
           and (i.record_id is null or (i.organization_id, i.record_id) in (
                select l.organization_id, l.zoho_id
                  from unnest(link_again.organization_ids, link_again.zoho_ids) l(organization_id, zoho_id))));
end
$$;
revoke all on function tds.link_again(tds.claim, text[], text[], text, text, text, timestamptz) from public;
comment on function tds.link_again(tds.claim, text[], text[], text, text, text, timestamptz) is
'The messages of a claim that hold these records, which could not be linked and will be tried again; those that came longer ago than '
'the setting '
'outage_gives_up_hours become dead letters instead.';

create or replace function tds.finish_claim(claim_id bigint, touches tds.touch[], apart boolean default false) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
-- one record or a thousand, the plan is the same; planning anew would cost more than the work of a small batch
set plan_cache_mode = force_generic_plan
set jit = off
-- every look-up is by key; a table never analysed, or empty when the plan was made, would be read whole
set enable_seqscan = off
as $$
declare
    v_now       constant timestamptz := tds.now();
    v_group     record;
    v_entity    tds.entity;
    v_unsettled tds.touch[];
    v_touched   record;
    v_claim     tds.claim;
    v_linked    record;
    v_left      bigint[] := array[]::bigint[];
    v_error     text;
begin
    if finish_claim.apart then
        -- it waited once as long as it may
        perform set_config('lock_timeout', '100ms', true);
        select c.* into v_claim from tds.claim c where c.claim_id = finish_claim.claim_id;
    elsif exists (select from unnest(finish_claim.touches) t where t.unsettled_ids is not null) then
        perform tds.prepare_new(array_agg(t.entity), array_agg(t.organization_id))
           from unnest(finish_claim.touches) t
          where t.unsettled_ids is not null;
    end if;
    for v_group in
        select t.entity, array_agg(t order by t.organization_id) as touches
          from unnest(finish_claim.touches) t
         where t.zoho_ids is not null
         group by t.entity
         order by t.entity
    loop
        select n.* into strict v_entity from tds.entity n where n.entity = v_group.entity;
        -- an unchanged record leaves no trace in its row, so a read that confirmed it may have come after what was just applied
        v_unsettled := array(select t from unnest(v_group.touches) t where t.unsettled_ids is not null);
        if cardinality(v_unsettled) > 0 then
            perform tds.settle(v_entity, array(
                        select r
                          from tds.later_events(v_entity, v_unsettled,
                                                (select c.inbox_ids from tds.claim c where c.claim_id = finish_claim.claim_id)) e
                          join unnest(v_unsettled) u on u.organization_id = e.organization_id
                         cross join lateral unnest(tds.records_told(v_entity.entity, e.inbox_ids, e.received_ats, u.unsettled_ids)) r),
                        v_now);
        end if;
        select array_agg(t.organization_id) as organization_ids, array_agg(i.zoho_id) as zoho_ids
          into v_touched
          from unnest(v_group.touches) t cross join lateral unnest(t.zoho_ids) i(zoho_id);
        -- in a transaction of its own, so that whichever of parent and child commits last sees the other
        if not finish_claim.apart then
            perform tds.link_rows(v_group.entity, v_touched.organization_ids, v_touched.zoho_ids);
            continue;
        end if;
        select l.* into v_linked from tds.link_apart(v_group.entity, v_touched.organization_ids, v_touched.zoho_ids) l;
        if v_linked.failed is not null then
            v_error := format('%s %s could not be linked: %s %s', v_group.entity, v_linked.failed[1], v_linked.error_code, v_linked.error);
            v_left := v_left || tds.link_again(v_claim, v_linked.failed_of, v_linked.failed, v_linked.error_code, v_error,
                                               v_linked.error_context, v_now);
        end if;
    end loop;
    delete from tds.claim c where c.claim_id = finish_claim.claim_id returning c.* into v_claim;
    if v_claim.claim_id is not null then
        -- what is left comes again, and is linked then
        perform tds.queue_done(v_claim.queue, array(select m.msg_id from unnest(v_claim.msg_ids) m(msg_id) where m.msg_id <> all (v_left)));
        if v_left <> '{}' then
            perform tds.queue_show(v_claim.queue, v_left, tds.setting_int('outage_max_seconds'));
        end if;
    end if;
    return v_error;
end
$$;
revoke all on function tds.finish_claim(bigint, tds.touch[], boolean) from public;
comment on function tds.finish_claim(bigint, tds.touch[], boolean) is
'Ends a claim after its apply has committed: links records, settles those that last_modified_time left open, deletes the messages. '
'apart: it failed, '
'so find what cannot be linked, whose messages come again. Returns what could not be linked, and why; null: all was.';
