create or replace function tds.send_due_retries() returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
-- by the index of what is parked: a table that looks small is large with the dead rows that an old snapshot keeps
set enable_seqscan = off
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_never constant timestamptz := v_now + 2 * make_interval(secs => greatest(tds.setting_int('retry_max_seconds'),
        tds.setting_int('outage_max_seconds')));
    v_sent  int := 0;
    v_due   record;
begin
    -- no pause is that long: it was set by a clock that had jumped ahead
    update tds.inbox_open o set retry_at = v_now where o.retry_at > v_never;
    perform tds.give_up_waiting(v_now);
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
             where o.inbox_id = any (array(select d.inbox_id from due d))
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

create or replace function tds.give_up_waiting(at timestamptz) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select count(tds.bury_event(o.inbox_id, o.received_at, o.entity,
                                    format('failed alone since %s, %s times: %s', o.waiting_since, o.waits + o.crashes, o.error),
                                        o.error_code, o.error_context,
                                    give_up_waiting.at))::int
          from (select d.* from (select w.* from tds.inbox_open w
                                  where w.retry_at <= give_up_waiting.at
                                    and w.waiting_since < give_up_waiting.at
                                                          - make_interval(hours => (select tds.setting_int('outage_gives_up_hours')))
                                    and w.error_code <> '55P03'
                                  -- by the index of what is parked
                                  order by w.retry_at
                                  limit 1000
                                    for update skip locked) d
                 order by d.inbox_id) o);
end
$$;
revoke all on function tds.give_up_waiting(timestamptz) from public;
comment on function tds.give_up_waiting(timestamptz) is
'Makes dead letters of the events that are due again after failing alone for longer than the setting outage_gives_up_hours; returns how '
'many.';

create or replace function tds.leave_page(
    culprit tds.record, organization_id text, pause interval, error_code text, error text, error_context text, at timestamptz)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_event    tds.inbox;
    v_queue    text;
    v_inbox_id bigint;
begin
    select i.* into strict v_event
      from tds.inbox i
     where i.received_at = (leave_page.culprit).received_at and i.inbox_id = (leave_page.culprit).inbox_id;
    select o.queue into strict v_queue from tds.inbox_open o where o.inbox_id = v_event.inbox_id;
    perform tds.ensure_partition((leave_page.at at time zone 'UTC')::date);
    insert into tds.inbox (received_at, organization_id, entity, source, shape, event, record_id, observed_at, run_id, headers, body)
    values (leave_page.at, leave_page.organization_id, v_event.entity, 'retry', v_event.shape, v_event.event, (leave_page.culprit).zoho_id,
            v_event.observed_at, v_event.run_id,
            jsonb_build_object('of_event', v_event.inbox_id, 'position', (leave_page.culprit).position),
            (leave_page.culprit).doc::text)
    returning inbox_id into v_inbox_id;
    insert into tds.inbox_open (inbox_id, received_at, queue, entity, retry_at, error_code, error, error_context, organization_id)
    values (v_inbox_id, leave_page.at, v_queue, v_event.entity, leave_page.at + leave_page.pause, leave_page.error_code,
            left(leave_page.error, 1000), leave_page.error_context, leave_page.organization_id);
    return v_inbox_id;
end
$$;
revoke all on function tds.leave_page(tds.record, text, interval, text, text, text, timestamptz) from public;
comment on function tds.leave_page(tds.record, text, interval, text, text, text, timestamptz) is
'Makes an event of its own of a record of a page, to be tried after a pause; the page is done with it. Returns the event.';

create or replace function tds.wait_alone(culprit tds.record, organization_id text, error_code text, error text, error_context text,
    at timestamptz)
returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_inbox_id bigint := (wait_alone.culprit).inbox_id;
begin
    if not (wait_alone.culprit).alone then
        v_inbox_id := tds.leave_page(wait_alone.culprit, wait_alone.organization_id, interval '0', wait_alone.error_code,
                                     wait_alone.error, wait_alone.error_context, wait_alone.at);
        update tds.inbox_open o
           set error_code = wait_alone.error_code, error = left(wait_alone.error, 1000), error_context = wait_alone.error_context
         where o.inbox_id = (wait_alone.culprit).inbox_id and o.error_code is distinct from wait_alone.error_code;
    end if;
    update tds.inbox_open o
       set waits = o.waits + 1,
           waiting_since = coalesce(o.waiting_since, wait_alone.at),
           retry_at = wait_alone.at + tds.outage_pause(o.waits),
           error_code = wait_alone.error_code,
           error = left(wait_alone.error, 1000),
           error_context = wait_alone.error_context
     where o.inbox_id = v_inbox_id;
    return case when (wait_alone.culprit).alone then 'parked' else 'retried' end;
end
$$;
revoke all on function tds.wait_alone(tds.record, text, text, text, text, timestamptz) from public;
comment on function tds.wait_alone(tds.record, text, text, text, text, timestamptz) is
'Leaves out a record that fails alone for a reason outside its data: it is tried again after tds.outage_pause(), which is no attempt, '
'and given up by '
'tds.give_up_waiting(). Returns parked, or retried where it leaves its page for an event of its own.';

create or replace function tds.go_on_alone(
    records tds.record[], error_code text, error text, error_context text, at timestamptz) returns tds.verdict[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_record   tds.record;
    v_verdict  tds.verdict;
    v_verdicts tds.verdict[] := array[]::tds.verdict[];
begin
    foreach v_record in array go_on_alone.records loop
        v_verdict := tds.dead(v_record);
        v_verdict.outcome := tds.wait_alone(v_record, v_record.organization_id, go_on_alone.error_code, go_on_alone.error,
                                            go_on_alone.error_context, go_on_alone.at);
        v_verdicts := v_verdicts || v_verdict;
    end loop;
    return v_verdicts;
end
$$;
revoke all on function tds.go_on_alone(tds.record[], text, text, text, timestamptz) from public;
comment on function tds.go_on_alone(tds.record[], text, text, text, timestamptz) is
'tds.wait_alone() for each of these; returns the verdicts.';

create or replace function tds.leave_locked(entity tds.entity, records tds.record[], at timestamptz) returns tds.verdict[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_owners text[];
    v_ids    text[];
    v_held   tds.record[];
    v_xids   xid[];
begin
    begin
        -- one look finds them all, where halving would wait for each
        execute format($sql$
            select array_agg(f.organization_id), array_agg(f.zoho_id)
              from (select t.organization_id, t.%1$I as zoho_id
                      from (select distinct r.organization_id, r.zoho_id from unnest($1) r where r.zoho_id is not null) k
                      join zoho.%2$I t on t.organization_id = k.organization_id and t.%1$I = k.zoho_id
                     order by t.organization_id, t.%1$I
                       for no key update of t skip locked) f$sql$,
            (leave_locked.entity).target_key, (leave_locked.entity).target)
           into v_owners, v_ids using leave_locked.records;
    exception when lock_not_available then
        raise exception using errcode = '55006', message = format('zoho.%s is locked', (leave_locked.entity).target),
            detail = tds.lock_holders_told((leave_locked.entity).entity), hint = 'select * from tds_lock_holders';
    end;
    execute format($sql$
        select coalesce(array_agg(r), '{}'), array_agg(t.xmax)
          from unnest($1) r
          join zoho.%2$I t on t.organization_id = r.organization_id and t.%1$I = r.zoho_id
         where (r.organization_id, r.zoho_id) not in (
               select f.organization_id, f.zoho_id from unnest($2, $3) f(organization_id, zoho_id))$sql$,
        (leave_locked.entity).target_key, (leave_locked.entity).target)
       into v_held, v_xids using leave_locked.records, v_owners, v_ids;
    return tds.go_on_alone(v_held, '55P03',
                           concat_ws(': ', 'its row is locked', tds.lock_holders_told((leave_locked.entity).entity, v_xids)), null,
                           leave_locked.at);
end
$$;
revoke all on function tds.leave_locked(tds.entity, tds.record[], timestamptz) from public;
comment on function tds.leave_locked(tds.entity, tds.record[], timestamptz) is
'Leaves out those records whose rows another session holds locked; returns the verdicts on them. Raises 55006 where all of the table is '
'locked.';

create or replace function tds.park(
    culprit tds.record, entity text, organization_id text, error_code text, error text, error_context text, at timestamptz)
returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_open     tds.inbox_open;
    v_inbox_id bigint;
begin
    select o.* into strict v_open from tds.inbox_open o where o.inbox_id = (park.culprit).inbox_id;
    if (park.culprit).alone and v_open.attempts + 1 >= tds.setting_int('max_attempts') then
        perform tds.bury_records(array[park.culprit], park.entity, park.organization_id, array[null], array[null], array[park.error],
                                 park.error_code, park.error_context, v_open.attempts + 1, park.at);
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
    v_inbox_id := tds.leave_page(park.culprit, park.organization_id, tds.back_off(0), park.error_code, park.error, park.error_context,
        park.at);
    update tds.inbox_open o set attempts = 1 where o.inbox_id = v_inbox_id;
    return 'retried';
end
$$;
revoke all on function tds.park(tds.record, text, text, text, text, text, timestamptz) from public;
comment on function tds.park(tds.record, text, text, text, text, text, timestamptz) is
'After a failure attributed to one record: tried again later (parked; retried where it leaves its page for an event of '
'its own), or dead after the setting max_attempts. Returns which.';
