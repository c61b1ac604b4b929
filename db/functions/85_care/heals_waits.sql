-- Steps that see to it that nothing waits for ever: lost messages and bodies, hung sessions, times that cannot be.

create or replace function tds.queued_events(queue text) returns bigint[]
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_events bigint[];
begin
    execute format('select coalesce(array_agg((m.message ->> ''inbox_id'')::bigint), ''{}'') from pgmq.%I m where m.message ? ''inbox_id''',
                   'q_' || tds.queue_name(queued_events.queue)) into v_events;
    return v_events;
end
$$;
revoke all on function tds.queued_events(text) from public;
comment on function tds.queued_events(text) is 'The events that a queue has messages for; a batch in work has its messages still.';

create or replace function tds.lost_events(queue text, at_most int default 5000)
returns table (inbox_id bigint, received_at timestamptz, page boolean)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    -- with the caller's one look: what comes or goes meanwhile is seen whole or not at all
    v_waiting constant bigint[] := array(
        select o.inbox_id from tds.inbox_open o where o.queue = lost_events.queue and o.retry_at is null);
    v_queued  constant bigint[] := tds.queued_events(lost_events.queue);
begin
    return query
    select o.inbox_id, o.received_at, i.shape = 'list'
      from (select w.inbox_id from unnest(v_waiting) w(inbox_id) except select q.inbox_id from unnest(v_queued) q(inbox_id)) l
      join tds.inbox_open o on o.inbox_id = l.inbox_id and o.retry_at is null
      join tds.inbox i on i.received_at = o.received_at and i.inbox_id = o.inbox_id
     order by o.inbox_id
     limit lost_events.at_most;
end
$$;
revoke all on function tds.lost_events(text, int) from public;
comment on function tds.lost_events(text, int) is 'Events that wait in a queue which has no message for them: purged, or deleted by hand.';

create or replace function tds.heal_lost_messages(dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_queue  text;
    v_gone   boolean;
    v_events record;
begin
    for v_queue, v_gone in
        select q.queue, tds.queue_name(q.queue) = any (m.missing)
          from (select distinct n.queue from tds.entity n) q
         cross join (select tds.missing_queues() as missing) m
         order by q.queue
    loop
        if v_gone then
            if not heal_lost_messages.dry_run then
                perform pgmq.create(tds.queue_name(v_queue));
            end if;
            return next row('queue ' || v_queue, 'made the queue anew', true, 'it had been dropped')::tds.healed;
            continue when heal_lost_messages.dry_run;
        end if;
        select array_agg(l.inbox_id order by l.inbox_id) as inbox_ids, array_agg(l.received_at order by l.inbox_id) as received_ats,
               array_agg(l.page order by l.inbox_id) as pages
          into v_events
          from tds.lost_events(v_queue) l;
        continue when v_events.inbox_ids is null;
        if not heal_lost_messages.dry_run then
            perform tds.queue_send(v_queue, v_events.inbox_ids, v_events.received_ats, v_events.pages);
        end if;
        return next row('queue ' || v_queue, format('gave %s events their message again', cardinality(v_events.inbox_ids)), true,
                        format('first: event %s', v_events.inbox_ids[1]))::tds.healed;
    end loop;
end
$$;
revoke all on function tds.heal_lost_messages(boolean) from public;
comment on function tds.heal_lost_messages(boolean) is
'Step: makes queues that were dropped, and gives waiting events that have lost their message another one.';
select tds.register_heal('lost_messages', 50,
    'Makes queues again that were dropped, and gives waiting events that have lost their message another one.');

create or replace function tds.heal_lost_bodies(at timestamptz, dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_lost   tds.inbox_open;
    v_reason text;
begin
    for v_lost in
        select o.* from tds.inbox_open o
         where not exists (select from tds.inbox i where i.received_at = o.received_at and i.inbox_id = o.inbox_id)
           and not exists (select from tds.claim c where o.inbox_id = any (c.inbox_ids))
         order by o.inbox_id
         limit 5000
           for update skip locked
    loop
        v_reason := case when to_regclass('tds.inbox_' || to_char(v_lost.received_at at time zone 'UTC', 'YYYYMMDD')) is null
                         then 'its body is gone: the partition of its day was dropped before it was processed'
                         else 'its body is gone: it was deleted before it was processed' end;
        if not heal_lost_bodies.dry_run then
            insert into tds.dead_letter (inbox_id, received_at, entity, observed_at, reason, error_code, error_context, attempts, dead_at)
            values (v_lost.inbox_id, v_lost.received_at, v_lost.entity, v_lost.received_at, v_reason, 'ZB043', null, v_lost.attempts,
                    heal_lost_bodies.at);
            delete from tds.inbox_open o where o.inbox_id = v_lost.inbox_id;
            perform tds.count_outcomes(array[v_lost.entity], array[v_lost.received_at], array['dead_letter']);
        end if;
        return next row('events without a body', 'made a dead letter of one', true, format('event %s of %s: %s', v_lost.inbox_id,
            v_lost.entity, v_reason))::tds.healed;
    end loop;
end
$$;
revoke all on function tds.heal_lost_bodies(timestamptz, boolean) from public;
comment on function tds.heal_lost_bodies(timestamptz,
    boolean) is 'Step: makes dead letters of waiting events whose body is gone; the next pull of their list brings what they said.';
select tds.register_heal('lost_bodies', 45,
    'Makes dead letters of waiting events whose body is gone, as with a partition that somebody dropped.');

create or replace function tds.heal_hung(dry_run boolean) returns setof tds.healed
language plpgsql volatile
-- with the caller's rights, which say whose sessions it may end
set search_path = pg_catalog, pg_temp
as $$
declare
    v_hung  record;
    v_ended boolean;
begin
    for v_hung in select h.* from tds.hung_claims() h loop
        v_ended := heal_hung.dry_run or tds.end_backend(v_hung.backend_pid);
        return next row('queue ' || v_hung.queue, 'ended a session that hangs', v_ended,
                        format('claim %s of %s, backend %s, since %s; its batch is given back', v_hung.claim_id, v_hung.worker,
                            v_hung.backend_pid,
                               v_hung.claimed_at))::tds.healed;
        if not heal_hung.dry_run then
            perform tds.free_claims(v_hung.queue);
        end if;
    end loop;
end
$$;
revoke all on function tds.heal_hung(boolean) from public;
comment on function tds.heal_hung(boolean) is
'Step: ends sessions that hang over a batch for longer than the setting claim_seconds, and gives the batch back.';
select tds.register_heal('hung', 19,
    'Ends sessions that hang over a batch for longer than the setting claim_seconds, and gives their batches back.');

create or replace function tds.heal_mutes(at timestamptz, dry_run boolean) returns setof tds.healed
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_mutes bigint;
    v_acks  bigint;
begin
    select count(*) into v_mutes from tds.alert_mute m where tds.is_ahead(m.muted_at, heal_mutes.at);
    select count(*) into v_acks from tds.alert a
     where a.resolved_at is null and tds.is_ahead(a.acknowledged_at, heal_mutes.at) and a.acknowledged_until > heal_mutes.at;
    if v_mutes + v_acks = 0 then
        return;
    end if;
    if not heal_mutes.dry_run then
        delete from tds.alert_mute m where tds.is_ahead(m.muted_at, heal_mutes.at);
        update tds.alert a set acknowledged_until = heal_mutes.at
         where a.resolved_at is null and tds.is_ahead(a.acknowledged_at, heal_mutes.at) and a.acknowledged_until > heal_mutes.at;
    end if;
    return next row('alerts', 'ended what was muted or acknowledged in the future', true,
                    format('%s mutes, %s acknowledgements', v_mutes, v_acks))::tds.healed;
end
$$;
revoke all on function tds.heal_mutes(timestamptz, boolean) from public;
comment on function tds.heal_mutes(timestamptz, boolean) is
'Part of the step clock: two hours of a clock that was ahead would not be over until then, and nobody told.';

create or replace function tds.heal_clock(at timestamptz, dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    -- what no visibility timeout and no heartbeat reaches; pgmq reads the machine's clock
    v_never constant timestamptz := clock_timestamp() + interval '1 day';
    v_queue text;
    v_ids   bigint[];
    v_rows  bigint;
begin
    foreach v_queue in array array(select distinct tds.queue_name(n.queue) from tds.entity n union select 'tds_pull' order by 1) loop
        continue when to_regclass(format('pgmq.%I', 'q_' || v_queue)) is null;
        execute format('select array(select m.msg_id from pgmq.%I m where m.vt > $1 order by m.msg_id limit 5000)', 'q_' || v_queue)
           into v_ids using v_never;
        continue when v_ids = '{}';
        if not heal_clock.dry_run then
            perform pgmq.set_vt(v_queue, v_ids, 0);
        end if;
        return next row('queue ' || v_queue, 'showed messages that were hidden until a time that cannot be', true,
            cardinality(v_ids)::text)::tds.healed;
    end loop;
    -- no detail is sent after a moment that has not come, so none would ever settle it
    if heal_clock.dry_run then
        select count(*) into v_rows from tds.wanted_detail w where tds.is_ahead(w.wanted_at, heal_clock.at);
    else
        perform from tds.wanted_detail w where tds.is_ahead(w.wanted_at, heal_clock.at) order by w.organization_id, w.entity,
            w.zoho_id for update;
        update tds.wanted_detail w set wanted_at = heal_clock.at, leased_until = null, leased_for = null, leased_by = null
         where tds.is_ahead(w.wanted_at, heal_clock.at);
        get diagnostics v_rows = row_count;
    end if;
    if v_rows > 0 then
        return next row('wanted details', 'dated back those that were wanted in the future', true, v_rows::text)::tds.healed;
    end if;
    return query select h.* from tds.heal_mutes(heal_clock.at, heal_clock.dry_run) h;
end
$$;
revoke all on function tds.heal_clock(timestamptz, boolean) from public;
comment on function tds.heal_clock(timestamptz, boolean) is
'Step: questions times that a clock which had jumped ahead has left: messages hidden until then, details wanted and alerts muted then.';
select tds.register_heal('clock', 65, 'Questions the times that a clock which had jumped ahead has left behind.');

grant execute on function tds.heal_lost_messages(boolean), tds.heal_lost_bodies(timestamptz, boolean), tds.heal_hung(boolean),
    tds.heal_clock(timestamptz, boolean) to tds_worker, tds_operator;
