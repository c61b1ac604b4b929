-- An event that ends without a record: what it needs, receive() and the apply alike.

create or replace function tds.counter_slot() returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    -- what a transaction has already is given to it again
    v_own  constant int := pg_backend_pid() % 16;
    v_slot int := v_own;
begin
    while not pg_try_advisory_xact_lock(tds.counter_class(), v_slot) loop
        v_slot := v_slot + 1;
        -- somebody holds a thousand for nothing: then it may have to wait
        if v_slot > v_own + 1000 then
            return v_own;
        end if;
    end loop;
    return v_slot;
end
$$;
revoke all on function tds.counter_slot() from public;
comment on function tds.counter_slot() is
'The slot of tds.outcome_counter that this transaction counts in, and no other one meanwhile: so none waits for another, in whatever order '
'it finishes its events.';

comment on column tds.outcome_counter.slot is 'tds.counter_slot() of whoever counted; -1: folded, of a day past.';

create or replace function tds.count_outcomes(entities text[], received_ats timestamptz[], statuses text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.outcome_counter as c (entity, day, status, slot, events)
    select o.entity, (o.received_at at time zone 'UTC')::date as day, o.status, s.slot, count(*)
      from unnest(count_outcomes.entities, count_outcomes.received_ats, count_outcomes.statuses) o(entity, received_at, status)
     cross join tds.counter_slot() s(slot)
     group by 1, 2, 3, 4
     order by 1, 2, 3
    on conflict on constraint outcome_counter_pkey do update set events = c.events + excluded.events;
end
$$;
revoke all on function tds.count_outcomes(text[], timestamptz[], text[]) from public;
comment on function tds.count_outcomes(text[], timestamptz[], text[]) is 'Adds finished events to tds.outcome_counter.';

create or replace function tds.bury_event(
    inbox_id bigint, received_at timestamptz, entity text, reason text, error_code text, error_context text, at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.dead_letter (inbox_id, received_at, entity, organization_id, zoho_id, observed_at, value, reason,
                                 error_code, error_context, attempts, dead_at)
    select i.inbox_id, i.received_at, i.entity, i.organization_id, i.record_id, i.observed_at,
           left(coalesce(i.body, encode(substr(i.body_raw, 1, 100), 'escape')), 200),
           bury_event.reason, bury_event.error_code, bury_event.error_context, 1, bury_event.at
      from tds.inbox i
     where i.received_at = bury_event.received_at and i.inbox_id = bury_event.inbox_id;
    insert into tds.inbox_outcome (inbox_id, received_at, entity, status, dead, finished_at, organization_id)
    values (bury_event.inbox_id, bury_event.received_at, bury_event.entity, 'dead_letter', 1, bury_event.at,
            (select i.organization_id from tds.inbox i
              where i.received_at = bury_event.received_at and i.inbox_id = bury_event.inbox_id));
    delete from tds.inbox_open o where o.inbox_id = bury_event.inbox_id;
    perform tds.count_outcomes(array[bury_event.entity], array[bury_event.received_at], array['dead_letter']);
end
$$;
revoke all on function tds.bury_event(bigint, timestamptz, text, text, text, text, timestamptz) from public;
comment on function tds.bury_event(bigint, timestamptz, text, text, text, text, timestamptz) is
'Makes a whole event a dead letter and finishes it.';
