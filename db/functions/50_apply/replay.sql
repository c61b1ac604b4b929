create or replace function tds.replay(dead_letter_id bigint, record jsonb default null) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now      constant timestamptz := tds.now();
    v_dead     tds.dead_letter;
    v_event    tds.inbox;
    v_inbox_id bigint;
begin
    select d.* into v_dead from tds.dead_letter d where d.dead_letter_id = replay.dead_letter_id and d.resolved_at is null for update;
    if not found then
        raise exception using errcode = 'ZB004', message = 'no such dead letter', detail = replay.dead_letter_id::text,
            hint = 'select * from tds_dead_letter_queue';
    end if;
    select i.* into v_event from tds.inbox i where i.received_at = v_dead.received_at and i.inbox_id = v_dead.inbox_id;
    if v_event.inbox_id is null then
        raise exception using errcode = 'ZB004', message = 'the body of this dead letter is gone', detail = replay.dead_letter_id::text,
            hint = 'select tds.want_detail(entity, organization_id, zoho_id) asks Zoho for its record';
    end if;
    perform tds.ensure_partition((v_now at time zone 'UTC')::date);
    insert into tds.inbox (received_at, organization_id, entity, source, shape, event, record_id, observed_at, run_id, headers,
                           body, body_raw, refusal)
    values (v_now, v_event.organization_id, v_event.entity, 'replay', v_event.shape, v_event.event,
            coalesce(v_dead.zoho_id, v_event.record_id), v_event.observed_at, v_event.run_id,
            jsonb_build_object('of_event', v_event.inbox_id, 'dead_letter_id', v_dead.dead_letter_id),
            coalesce(replay.record::text, v_dead.record, v_event.body),
            case when coalesce(replay.record::text, v_dead.record, v_event.body) is null then v_event.body_raw end,
            case when replay.record is null and v_dead.record is null then coalesce(
                case when v_event.body is null then 'not UTF-8 text' end, tds.document_problem(v_event.body)) end)
    returning inbox_id into v_inbox_id;
    update tds.dead_letter d
       set resolved_at = v_now, resolution = format('replayed as event %s', v_inbox_id)
     where d.dead_letter_id = v_dead.dead_letter_id;
    -- the stored body may be what was wrong: ask the source as well
    if v_dead.zoho_id is not null and v_dead.organization_id is not null
       and exists (select from tds.entity n where n.entity = v_dead.entity and n.api_path <> '')
    then
        perform tds.want(v_dead.entity, v_dead.zoho_id, v_dead.organization_id, 'replayed');
    end if;
    return v_inbox_id;
end
$$;
revoke all on function tds.replay(bigint, jsonb) from public;
comment on function tds.replay(bigint, jsonb) is
'Sends a dead letter on its way once more, as it was or with the record given instead, and asks the source for its detail; '
'returns the new event. Should it fail again, it is a new dead letter. Raises ZB004 for one that is unknown or resolved.';

create or replace function tds.replay_costs(entity text, error_code text default null, out letters bigint, out calls bigint,
    out calls_left int)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    select count(*), count(distinct (d.organization_id, d.zoho_id)) filter (where d.zoho_id is not null and d.organization_id is not null)
      into replay_costs.letters, replay_costs.calls
      from tds.dead_letter d
     where d.entity = replay_costs.entity and d.resolved_at is null
       and (replay_costs.error_code is null or d.error_code = replay_costs.error_code);
    replay_costs.calls_left := (select min(b.left_today) from public.tds_api_budget b);
end
$$;
revoke all on function tds.replay_costs(text, text) from public;
comment on function tds.replay_costs(text, text) is
'What it would take to replay an entity''s dead letters (of one SQLSTATE, if given): how many there are, the calls that asking the '
'source for each record '
'costs, and how many calls are left today.';
grant execute on function tds.replay_costs(text, text) to tds_operator;

create or replace function tds.replay(entity text, error_code text default null, details boolean default null) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_cost constant record := tds.replay_costs(replay.entity, replay.error_code);
    v_sent int;
begin
    if replay.details is null and v_cost.calls > tds.setting_int('replay_calls') then
        raise exception using errcode = 'ZB042', message = 'replaying these would cost many calls',
            detail = format('%s dead letters, %s calls to ask Zoho for their records; %s left today', v_cost.letters, v_cost.calls,
                            coalesce(v_cost.calls_left::text, 'an unknown number is')),
            hint = format('select tds.replay(%L, details => false) sends them without a call; details => true asks Zoho as well',
                          replay.entity);
    end if;
    perform tds.ensure_partition((v_now at time zone 'UTC')::date);
    with dead as materialized (
        select d.*, nextval('tds.inbox_id_seq') as new_id
          from (select l.* from tds.dead_letter l
                 where l.entity = replay.entity and l.resolved_at is null
                   and (replay.error_code is null or l.error_code is not distinct from replay.error_code)
                 order by l.dead_letter_id
                   for update) d
         -- one whose body is gone has nothing to send
         where exists (select from tds.inbox i where i.received_at = d.received_at and i.inbox_id = d.inbox_id)
    ), sent as (
        insert into tds.inbox (inbox_id, received_at, organization_id, entity, source, shape, event, record_id, observed_at, run_id,
            headers,
                               body, body_raw, refusal)
        select d.new_id, v_now, i.organization_id, i.entity, 'replay', i.shape, i.event, coalesce(d.zoho_id, i.record_id), i.observed_at,
            i.run_id,
               jsonb_build_object('of_event', i.inbox_id, 'dead_letter_id', d.dead_letter_id), coalesce(d.record, i.body),
               case when coalesce(d.record, i.body) is null then i.body_raw end,
               case when d.record is null then coalesce(case when i.body is null then 'not UTF-8 text' end,
                   tds.document_problem(i.body)) end
          from dead d
          join tds.inbox i on i.received_at = d.received_at and i.inbox_id = d.inbox_id
         order by d.new_id
    ), closed as (
        update tds.dead_letter l
           set resolved_at = v_now, resolution = format('replayed as event %s', d.new_id)
          from dead d
         where l.dead_letter_id = d.dead_letter_id
        returning l.organization_id, l.zoho_id
    ), wanted as (
        -- the stored body may be what was wrong: ask the source as well
        select count(tds.want_detail(replay.entity, w.organization_id, w.zoho_id, 'replayed'))
          from (select distinct c.organization_id, c.zoho_id from closed c
                 where coalesce(replay.details, true) and c.zoho_id is not null and c.organization_id is not null
                 order by 1, 2) w)
    select count(*)::int into v_sent from closed c cross join wanted;
    return v_sent;
end
$$;
revoke all on function tds.replay(text, text, boolean) from public;
comment on function tds.replay(text, text, boolean) is
'Replays every dead letter of an entity (of one SQLSTATE, if given); returns how many. details: whether Zoho is asked for each record '
'too, a call each; '
'null: it is, unless that takes more calls than the setting replay_calls. Then nothing is sent, and it raises ZB042, which says what it '
'would cost.';

create or replace function tds.dismiss(dead_letter_ids bigint[], reason text, dismissed_by text default null) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now     constant timestamptz := tds.now();
    v_by      constant text := coalesce(nullif(btrim(dismiss.dismissed_by), ''), session_user);
    v_letters bigint[];
begin
    if btrim(coalesce(dismiss.reason, '')) = '' then
        raise exception using errcode = 'ZB048', message = 'why dead letters are dismissed is not said',
            hint = 'tds.dismiss(array[4711], reason => ''a test body of ours'')';
    end if;
    v_letters := array(select d.dead_letter_id from tds.dead_letter d
                        where d.dead_letter_id = any (dismiss.dead_letter_ids) and d.resolved_at is null
                        order by d.dead_letter_id
                          for update);
    if not v_letters @> dismiss.dead_letter_ids then
        raise exception using errcode = 'ZB004', message = 'no such dead letter',
            detail = array_to_string(array(select u.id from unnest(dismiss.dead_letter_ids) u(id) where u.id <> all (v_letters)
                                            order by u.id), ', '),
            hint = 'select * from tds_dead_letter_queue';
    end if;
    update tds.dead_letter d
       set resolved_at = v_now, resolution = left(format('dismissed by %s: %s', v_by, btrim(dismiss.reason)), 1000)
     where d.dead_letter_id = any (v_letters);
    return cardinality(v_letters);
end
$$;
revoke all on function tds.dismiss(bigint[], text, text) from public;
comment on function tds.dismiss(bigint[], text, text) is
'Closes dead letters that nothing can come of, as a body that was never a record, and says who did so (null: who is logged in) and why: '
'all of them or none; returns how many. What they told is not in the mirror. Raises ZB004 for one that is unknown or resolved, ZB048 '
'without a reason.';
grant execute on function tds.dismiss(bigint[], text, text) to tds_operator;

create or replace function tds.requeue_unfinished() returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_claim  tds.claim;
    v_table  text;
    v_queued bigint[];
    v_events record;
    v_sent   int := 0;
begin
    for v_claim in
        select c.* from tds.claim c
         where not tds.is_held(tds.lock_class(), (c.claim_id % 2147483647)::int, c.backend_pid)
         order by c.claim_id
           for update skip locked
    loop
        perform pgmq.create(tds.queue_name(v_claim.queue));
        v_table := 'q_' || tds.queue_name(v_claim.queue);
        execute format('select coalesce(array_agg((m.message ->> ''inbox_id'')::bigint), ''{}'') from pgmq.%I m', v_table) into v_queued;
        -- what is in its queue still is given out again from there
        continue when v_claim.inbox_ids && v_queued;
        select array_agg(i.inbox_id order by i.inbox_id) as inbox_ids, array_agg(i.received_at order by i.inbox_id) as received_ats,
               array_agg(i.shape = 'list' order by i.inbox_id) as pages
          into v_events
          from unnest(v_claim.inbox_ids, v_claim.received_ats) e(inbox_id, received_at)
          join tds.inbox i on i.received_at = e.received_at and i.inbox_id = e.inbox_id
          join tds.inbox_outcome d on d.received_at = e.received_at and d.inbox_id = e.inbox_id and d.status = 'completed';
        if v_events.inbox_ids is not null then
            perform tds.queue_send(v_claim.queue, v_events.inbox_ids, v_events.received_ats, v_events.pages);
            -- read before: whoever takes it finishes it
            execute format('update pgmq.%I m set read_ct = 1 where m.read_ct = 0 and (m.message ->> ''inbox_id'')::bigint = any ($1)',
                           v_table) using v_events.inbox_ids;
            v_sent := v_sent + cardinality(v_events.inbox_ids);
        end if;
        delete from tds.claim c where c.claim_id = v_claim.claim_id;
    end loop;
    return v_sent;
end
$$;
revoke all on function tds.requeue_unfinished() from public;
comment on function tds.requeue_unfinished() is
'Events that were applied by a worker which could not finish them (links, what was told later), and whose messages are gone, get messages '
'again. Returns how many.';

create or replace function tds.requeue_unprocessed() returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_lost   record;
    v_events record;
    v_queued bigint[];
    v_sent   int := tds.requeue_unfinished();
begin
    insert into tds.inbox_open (inbox_id, received_at, queue, entity, organization_id)
    select i.inbox_id, i.received_at, n.queue, i.entity, i.organization_id
      from tds.inbox i
      join tds.entity n on n.entity = i.entity
     where i.refusal is null
       and not exists (select from tds.inbox_outcome d where d.received_at = i.received_at and d.inbox_id = i.inbox_id)
       and not exists (select from tds.inbox_held h where h.inbox_id = i.inbox_id)
       and i.organization_id not in (select g.organization_id from tds.gate g)
     order by i.inbox_id
    on conflict on constraint inbox_open_pkey do nothing;

    for v_lost in
        select o.queue from tds.inbox_open o where o.retry_at is null group by o.queue order by o.queue
    loop
        perform pgmq.create(tds.queue_name(v_lost.queue));
        execute format('select coalesce(array_agg((m.message ->> ''inbox_id'')::bigint), ''{}'') from pgmq.%I m',
                       'q_' || tds.queue_name(v_lost.queue)) into v_queued;
        select array_agg(o.inbox_id order by o.inbox_id) as inbox_ids, array_agg(o.received_at order by o.inbox_id) as received_ats,
               array_agg(i.shape = 'list' order by o.inbox_id) as pages
          into v_events
          from tds.inbox_open o
          join tds.inbox i on i.received_at = o.received_at and i.inbox_id = o.inbox_id
          left join unnest(v_queued) q(inbox_id) on q.inbox_id = o.inbox_id
         where o.queue = v_lost.queue and o.retry_at is null and q.inbox_id is null;
        continue when v_events.inbox_ids is null;
        perform tds.queue_send(v_lost.queue, v_events.inbox_ids, v_events.received_ats, v_events.pages);
        v_sent := v_sent + cardinality(v_events.inbox_ids);
    end loop;
    return v_sent + tds.requeue_pulls();
end
$$;
revoke all on function tds.requeue_unprocessed() from public;
comment on function tds.requeue_unprocessed() is
'Rebuilds the queues from the inbox: every event without an outcome that is neither parked nor in its queue gets a message, '
'so does every one that was applied and not finished by a worker that is gone, and every pull. '
'Returns how many. After a restore, or whenever a queue was lost.';
