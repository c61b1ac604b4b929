create or replace function tds.send_due_retries() returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_sent int := 0;
    v_due  record;
begin
    for v_due in
        with due as (
            select o.inbox_id
              from tds.inbox_open o
             where o.retry_at <= v_now
             order by o.retry_at
             limit 1000
               for update skip locked
        ), sent as (
            update tds.inbox_open o
               set retry_at = null
              from due d
             where o.inbox_id = d.inbox_id
            returning o.queue, o.inbox_id, o.received_at
        )
        select s.queue, array_agg(s.inbox_id order by s.inbox_id) as inbox_ids,
               array_agg(s.received_at order by s.inbox_id) as received_ats,
               array_agg(false) as pages
          from sent s
         group by s.queue
         order by s.queue
    loop
        perform tds.queue_send(v_due.queue, v_due.inbox_ids, v_due.received_ats, v_due.pages);
        v_sent := v_sent + cardinality(v_due.inbox_ids);
    end loop;
    return v_sent;
end
$$;
revoke all on function tds.send_due_retries() from public;
comment on function tds.send_due_retries() is
'Sends the parked events that are due, 1,000 at most; returns how many. Delayed messages never sit in the hot queue table.';

create or replace function tds.park(culprit tds.record, entity text, organization_id text, error_code text, error text, error_context text,
                                    at timestamptz)
returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_open     tds.inbox_open;
    v_event    tds.inbox;
    v_inbox_id bigint;
begin
    select o.* into strict v_open from tds.inbox_open o where o.inbox_id = (park.culprit).inbox_id;
    if (park.culprit).alone and v_open.attempts + 1 >= tds.setting_int('max_attempts') then
        perform tds.bury_record(park.culprit, park.entity, park.organization_id, null, null, park.error, park.error_code,
                                park.error_context,
                                v_open.attempts + 1, park.at);
        return 'dead';
    end if;
    if (park.culprit).alone then
        update tds.inbox_open o
           set attempts = o.attempts + 1,
               retry_at = park.at + tds.back_off(o.attempts),
               error_code = park.error_code,
               error = left(park.error, 1000),
               error_context = park.error_context
         where o.inbox_id = v_open.inbox_id;
        return 'parked';
    end if;
    -- a record of a page goes on alone, as an event of its own; the page is done with it
    select i.* into strict v_event
      from tds.inbox i
     where i.received_at = (park.culprit).received_at and i.inbox_id = (park.culprit).inbox_id;
    perform tds.ensure_partition((park.at at time zone 'UTC')::date);
    insert into tds.inbox (received_at, organization_id, entity, source, shape, event, record_id, observed_at, run_id, headers, body)
    values (park.at, park.organization_id, v_event.entity, 'retry', v_event.shape, v_event.event, (park.culprit).zoho_id,
            v_event.observed_at, v_event.run_id,
            jsonb_build_object('of_event', v_event.inbox_id, 'position', (park.culprit).position),
            (park.culprit).doc::text)
    returning inbox_id into v_inbox_id;
    insert into tds.inbox_open (inbox_id, received_at, queue, entity, attempts, retry_at, error_code, error, error_context)
    values (v_inbox_id, park.at, v_open.queue, v_event.entity, 1, park.at + tds.back_off(0), park.error_code, left(park.error, 1000),
            park.error_context);
    return 'retried';
end
$$;
revoke all on function tds.park(tds.record, text, text, text, text, text, timestamptz) from public;
comment on function tds.park(tds.record, text, text, text, text, text, timestamptz) is
'After a failure attributed to one record: tried again later (parked; retried where it leaves its page for an event of '
'its own), or dead after the setting max_attempts. Returns which.';
