create or replace function tds.claim(queue text, max_records int, out claim_id bigint, out events int)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now      constant timestamptz := tds.now();
    v_solo_at  constant int := tds.setting_int('crashes_before_solo');
    v_messages pgmq.message_record[] := array(select m from tds.read_messages(claim.queue, claim.max_records) m);
    v_solo     bigint;
begin
    -- a batch that outlasts the visibility timeout is still its worker's; this reading has renewed its messages
    if exists (select from unnest(v_messages) m where m.read_ct > 1) then
        v_messages := array(
            select m from unnest(v_messages) m
             where not exists (select from tds.claim c where c.queue = claim.queue and m.msg_id = any (c.msg_ids)));
    end if;
    if cardinality(v_messages) = 0 then
        return;
    end if;
    -- whoever was in crashed batches too often runs alone, so that the guilty one is found
    select m.msg_id into v_solo
      from unnest(v_messages) m
      join tds.inbox_open o on o.inbox_id = (m.message ->> 'inbox_id')::bigint
     where o.crashes >= v_solo_at
     order by m.msg_id
     limit 1;
    if v_solo is not null and cardinality(v_messages) > 1 then
        perform tds.queue_show(claim.queue, array(select m.msg_id from unnest(v_messages) m where m.msg_id <> v_solo), 0);
        v_messages := array(select m from unnest(v_messages) m where m.msg_id = v_solo);
    end if;

    claim.claim_id := nextval(pg_get_serial_sequence('tds.claim', 'claim_id'));
    insert into tds.claim (claim_id, queue, worker, backend_pid, claimed_at, msg_ids, inbox_ids, received_ats, redelivered)
    overriding system value
    select claim.claim_id, claim.queue, current_setting('application_name'), pg_backend_pid(), v_now,
           array_agg(m.msg_id order by m.msg_id),
           array_agg((m.message ->> 'inbox_id')::bigint order by m.msg_id),
           array_agg((m.message ->> 'received_at')::timestamptz order by m.msg_id),
           bool_or(m.read_ct > 1)
      from unnest(v_messages) m;
    -- held by this session until finish_claim() or its death, whichever comes first; last, as a rollback does not undo it
    perform pg_advisory_lock(tds.lock_class(), (claim.claim_id % 2147483647)::int);
    claim.events := cardinality(v_messages);
end
$$;
revoke all on function tds.claim(text, int) from public;
comment on function tds.claim(text, int) is
'Takes a batch out of a queue and names it; null where the queue is empty. Commit before working on it, so that the '
'attempt is on record. Takes the session advisory lock of the claim.';

create or replace function tds.free_claims(queue text) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now     constant timestamptz := tds.now();
    v_solo_at constant int := tds.setting_int('crashes_before_solo');
    v_claim   tds.claim;
    v_freed   int := 0;
begin
    for v_claim in
        select c.* from tds.claim c where c.queue = free_claims.queue order by c.claim_id for update skip locked
    loop
        continue when not pg_try_advisory_xact_lock(tds.lock_class(), (v_claim.claim_id % 2147483647)::int);
        update tds.inbox_open o
           set crashes = o.crashes + 1,
               error_code = '08006',
               error = format('the worker %s (backend %s) vanished', v_claim.worker, v_claim.backend_pid),
               error_context = null,
               retry_at = case when o.crashes >= v_solo_at then v_now + tds.back_off(o.crashes) end
         where o.inbox_id = any (v_claim.inbox_ids);
        -- one that crashed its worker alone waits, the others are taken up at once
        perform tds.queue_done(v_claim.queue, array(
            select m.msg_id from unnest(v_claim.msg_ids, v_claim.inbox_ids) m(msg_id, inbox_id)
              join tds.inbox_open o on o.inbox_id = m.inbox_id and o.retry_at is not null));
        perform tds.queue_show(v_claim.queue, v_claim.msg_ids, 0);
        delete from tds.claim c where c.claim_id = v_claim.claim_id;
        v_freed := v_freed + 1;
    end loop;
    return v_freed;
end
$$;
revoke all on function tds.free_claims(text) from public;
comment on function tds.free_claims(text) is
'Gives back the batches of workers that died: a claim whose advisory lock is free. Returns how many. Counts a crash, never an attempt.';

create or replace function tds.release_claim(claim_id bigint, error_code text, error text, error_context text default null) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_claim tds.claim;
begin
    delete from tds.claim c where c.claim_id = release_claim.claim_id returning c.* into v_claim;
    perform tds.queue_show(v_claim.queue, v_claim.msg_ids, tds.setting_int('outage_pause_seconds'));
    update tds.inbox_open o
       set error_code = release_claim.error_code,
           error = left(release_claim.error, 1000),
           error_context = release_claim.error_context
     where o.inbox_id = any (v_claim.inbox_ids);
end
$$;
revoke all on function tds.release_claim(bigint, text, text, text) from public;
comment on function tds.release_claim(bigint, text, text, text) is
'Puts a batch back that failed for a reason outside its records: no attempt is counted, however often.';

create or replace function tds.unlock_claim(claim_id bigint) returns boolean
language sql volatile
set search_path = pg_catalog, pg_temp
as $$ select pg_advisory_unlock(tds.lock_class(), ($1 % 2147483647)::int) $$;
revoke all on function tds.unlock_claim(bigint) from public;
comment on function tds.unlock_claim(bigint) is 'Lets go of the claim''s session advisory lock.';
