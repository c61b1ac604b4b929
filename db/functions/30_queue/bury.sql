create or replace function tds.count_outcomes(entities text[], received_ats timestamptz[], statuses text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.outcome_counter as c (entity, day, status, slot, events)
    select o.entity, (o.received_at at time zone 'UTC')::date as day, o.status, pg_backend_pid() % 16, count(*)
      from unnest(count_outcomes.entities, count_outcomes.received_ats, count_outcomes.statuses) o(entity, received_at, status)
     group by 1, 2, 3
     order by 1, 2, 3
    on conflict on constraint outcome_counter_pkey do update set events = c.events + excluded.events;
end
$$;
revoke all on function tds.count_outcomes(text[], timestamptz[], text[]) from public;
comment on function tds.count_outcomes(text[], timestamptz[], text[]) is 'Adds finished events to tds.outcome_counter.';

create or replace function tds.bury_event(
    inbox_id bigint, received_at timestamptz, entity text, reason text, error_code text, at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.dead_letter (inbox_id, received_at, entity, organization_id, zoho_id, observed_at, value, reason,
                                 error_code, attempts, dead_at)
    select i.inbox_id, i.received_at, i.entity, i.organization_id, i.record_id, i.observed_at,
           left(coalesce(i.body, encode(substr(i.body_raw, 1, 100), 'escape')), 200),
           bury_event.reason, bury_event.error_code, 1, bury_event.at
      from tds.inbox i
     where i.received_at = bury_event.received_at and i.inbox_id = bury_event.inbox_id;
    insert into tds.inbox_outcome (inbox_id, received_at, entity, status, dead, finished_at)
    values (bury_event.inbox_id, bury_event.received_at, bury_event.entity, 'dead_letter', 1, bury_event.at);
    delete from tds.inbox_open o where o.inbox_id = bury_event.inbox_id;
    perform tds.count_outcomes(array[bury_event.entity], array[bury_event.received_at], array['dead_letter']);
end
$$;
revoke all on function tds.bury_event(bigint, timestamptz, text, text, text, timestamptz) from public;
comment on function tds.bury_event(bigint, timestamptz, text, text, text, timestamptz) is
'Makes a whole event a dead letter and finishes it.';

create or replace function tds.bury_record(
    culprit tds.record, entity text, organization_id text, path text, value text, reason text, error_code text,
    attempts int, at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_dead_letter_id bigint;
begin
    insert into tds.dead_letter (inbox_id, received_at, position, entity, organization_id, zoho_id, modified_at, observed_at,
                                 path, value, reason, error_code, attempts, record, dead_at)
    values ((bury_record.culprit).inbox_id, (bury_record.culprit).received_at, (bury_record.culprit).position,
            bury_record.entity, bury_record.organization_id, (bury_record.culprit).zoho_id, (bury_record.culprit).modified_at,
            (bury_record.culprit).observed_at, bury_record.path, left(bury_record.value, 200), left(bury_record.reason, 1000), bury_record.error_code, bury_record.attempts,
            (bury_record.culprit).doc::text, bury_record.at)
    returning dead_letter_id into v_dead_letter_id;
    -- told again with every pull, it is still one thing for somebody to mend
    update tds.dead_letter d
       set resolved_at = bury_record.at, resolution = format('told again as dead letter %s', v_dead_letter_id)
     where d.entity = bury_record.entity
       and d.organization_id = bury_record.organization_id
       and d.resolved_at is null
       and d.dead_letter_id < v_dead_letter_id
       and d.path is not distinct from bury_record.path
       -- one without an id is known by all it says
       and case when (bury_record.culprit).zoho_id is null then d.record = (bury_record.culprit).doc::text else true end
       and d.zoho_id is not distinct from (bury_record.culprit).zoho_id;
end
$$;
revoke all on function tds.bury_record(tds.record, text, text, text, text, text, text, int, timestamptz) from public;
comment on function tds.bury_record(tds.record, text, text, text, text, text, text, int, timestamptz) is
'Makes one record a dead letter, in place of an open one for the same value of the same record; its neighbours are not touched.';
