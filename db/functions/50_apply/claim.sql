create or replace function tds.claim(
    queue text, max_records int, solo_at int default null, unseen_seconds int default null,
    out claim_id bigint, out events int, out apart boolean)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    v_now      constant timestamptz := tds.now();
    v_solo_at  constant int := coalesce(claim.solo_at, tds.setting_int('crashes_before_solo'));
    v_messages tds.message[] := array(select m from tds.read_messages(claim.queue, claim.max_records, claim.unseen_seconds) m);
    v_at_most  int;
    v_first    bigint;
    v_kept     bigint[];
begin
    -- a batch that outlasts the visibility timeout is still its worker's; this reading has renewed its messages
    if exists (select from unnest(v_messages) m where m.read_ct > 1) then
        v_messages := array(
            select m from unnest(v_messages) m
             where not exists (select from tds.claim c
                                where c.claim_id >= (select tds.claims_from()) and c.queue = claim.queue and m.msg_id = any (c.msg_ids)));
    end if;
    if cardinality(v_messages) = 0 then
        return;
    end if;
    -- whoever was in crashed batches too often runs alone, so that the guilty one is found; what took too long comes with fewer others
    select min(l.at_most), (array_agg(l.msg_id order by l.at_most, l.msg_id))[1], coalesce(bool_or(l.waits > 0), false)
      into v_at_most, v_first, claim.apart
      from (select m.msg_id, greatest(1, least(o.at_most, case when o.crashes >= v_solo_at then 1 end)) as at_most, o.waits
              from tds.inbox_open o
              join unnest(v_messages) m on (m.message ->> 'inbox_id')::bigint = o.inbox_id
             -- by key: a table that is believed to be empty may be full of dead rows
             where o.inbox_id = any (array(select (e.message ->> 'inbox_id')::bigint from unnest(v_messages) e))
               and (o.crashes >= v_solo_at or o.at_most is not null or o.waits > 0)) l;
    -- least() passes over a null, greatest() too
    if v_at_most < cardinality(v_messages) then
        v_kept := array(select m.msg_id from unnest(v_messages) m order by m.msg_id <> v_first, m.msg_id limit v_at_most);
        perform tds.queue_show(claim.queue, array(select m.msg_id from unnest(v_messages) m where m.msg_id <> all (v_kept)), 0);
        v_messages := array(select m from unnest(v_messages) m where m.msg_id = any (v_kept));
    end if;

    -- numbered by the insert itself: tds.senders() has to see who may have a number
    insert into tds.claim as c (queue, worker, backend_pid, claimed_at, msg_ids, inbox_ids, received_ats, redelivered)
    select claim.queue, current_setting('application_name'), pg_backend_pid(), v_now,
           array_agg(m.msg_id order by m.msg_id),
           array_agg((m.message ->> 'inbox_id')::bigint order by m.msg_id),
           array_agg((m.message ->> 'received_at')::timestamptz order by m.msg_id),
           bool_or(m.read_ct > 1)
      from unnest(v_messages) m
    returning c.claim_id into claim.claim_id;
    if claim.claim_id % 100 = 0 then
        perform tds.move_floor(tds.floor_of('tds.claim'), 0);
    end if;
    -- held by this session until finish_claim() or its death, whichever comes first; last, as a rollback does not undo it. A number that
    -- somebody holds already is passed over.
    while not pg_try_advisory_lock(tds.lock_class(), (claim.claim_id % 2147483647)::int) loop
        update tds.claim c set claim_id = default where c.claim_id = claim.claim_id returning c.claim_id into claim.claim_id;
    end loop;
    claim.events := cardinality(v_messages);
end
$$;
revoke all on function tds.claim(text, int, int, int) from public;
comment on function tds.claim(text, int, int, int) is
'Takes a batch out of a queue and names it; null where the queue is empty. apart: an event in it failed alone before, so begin by '
'taking it '
'apart. Commit before working on it, so that the '
'attempt is on record. Takes the session advisory lock of the claim. solo_at, unseen_seconds: the settings crashes_before_solo and '
'visibility_seconds, of whoever has read them.';

create or replace function tds.claimed_queues() returns text[]
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
-- from their floor on, whatever lies dead below
set enable_seqscan = off
as $$
declare
    v_from constant bigint := tds.claims_from();
begin
    return array(select distinct c.queue from tds.claim c where c.claim_id >= v_from order by c.queue);
end
$$;
revoke all on function tds.claimed_queues() from public;
comment on function tds.claimed_queues() is 'The queues of which batches are in work, or were when their worker died.';

create or replace function tds.free_claims(queue text) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    v_now     constant timestamptz := tds.now();
    v_solo_at constant int := tds.setting_int('crashes_before_solo');
    -- a little longer than tds.hung_claims() waits: one that can be ended is a crash
    v_age     constant interval := make_interval(secs => tds.setting_int('claim_seconds') + 5);
    v_from    constant bigint := tds.claims_from();
    v_claim   tds.claim;
    v_is_dead boolean;
    v_waiting bigint[];
    v_freed   int := 0;
begin
    for v_claim in
        select c.* from tds.claim c
         where c.claim_id >= v_from and c.queue = free_claims.queue
         order by c.claim_id
           for update skip locked
    loop
        -- to look through the locks takes longer than to find one free
        v_is_dead := pg_try_advisory_xact_lock(tds.lock_class(), (v_claim.claim_id % 2147483647)::int)
                     or not tds.is_held(tds.lock_class(), (v_claim.claim_id % 2147483647)::int, v_claim.backend_pid);
        continue when not v_is_dead and not (v_claim.backend_pid <> pg_backend_pid() and tds.is_overdue(v_claim.claimed_at, v_now, v_age));
        -- what the session still holds, if it hangs in the middle, is left: it tells for itself that it is locked
        with lost as materialized (
            select o.inbox_id from tds.inbox_open o where o.inbox_id = any (v_claim.inbox_ids) order by o.inbox_id for update skip locked
        ), noted as (
            update tds.inbox_open o
               set crashes = o.crashes + 1,
                   error_code = '08006',
                   error = format('the worker %s (backend %s) %s', v_claim.worker, v_claim.backend_pid, case when v_is_dead
                       then 'vanished' else 'hangs' end),
                   error_context = null,
                   at_most = case when tds.is_overdue(v_claim.claimed_at, v_now, v_age - interval '5 seconds')
                                  then greatest(cardinality(v_claim.inbox_ids) / 2, 1) else o.at_most end,
                   waiting_since = case when o.crashes >= v_solo_at then coalesce(o.waiting_since, v_now) else o.waiting_since end,
                   retry_at = case when o.crashes >= v_solo_at then v_now + tds.back_off(o.crashes) end
              from lost l
             where o.inbox_id = l.inbox_id
            returning o.inbox_id, o.retry_at)
        select array_agg(n.inbox_id) filter (where n.retry_at is not null) into v_waiting from noted n;
        -- one that crashed its worker alone waits, the others are taken up at once
        perform tds.give_back(v_claim.queue,
                              array(select m.msg_id from unnest(v_claim.msg_ids, v_claim.inbox_ids) m(msg_id, inbox_id)
                                     where m.inbox_id = any (v_waiting)),
                              v_claim.msg_ids, 0);
        delete from tds.claim c where c.claim_id = v_claim.claim_id;
        v_freed := v_freed + 1;
    end loop;
    return v_freed;
end
$$;
revoke all on function tds.free_claims(text) from public;
comment on function tds.free_claims(text) is
'Gives back the batches of workers that died (a claim whose advisory lock its session does not hold) or hang (older than the setting '
'claim_seconds). '
'Returns how many. '
'Counts a crash, never an attempt.';

create or replace function tds.give_back(queue text, done bigint[], shown bigint[], seconds int) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.queue_done(give_back.queue, give_back.done);
    perform tds.queue_show(give_back.queue, give_back.shown, give_back.seconds);
exception when lock_not_available then
    -- a session that hangs holds some of them; they are seen again when their time is over
    null;
end
$$;
revoke all on function tds.give_back(text, bigint[], bigint[], int) from public;
comment on function tds.give_back(text, bigint[], bigint[],
    int) is 'Deletes some of a batch''s messages and shows the others again after so many seconds.';

create or replace function tds.release_claim(claim_id bigint, error_code text, error text, error_context text default null,
    cut boolean default false)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_claim tds.claim;
    v_alone bigint[];
begin
    delete from tds.claim c where c.claim_id = release_claim.claim_id returning c.* into v_claim;
    if v_claim.claim_id is null then
        return; -- somebody has taken it over
    end if;
    with open as materialized (
        select o.inbox_id from tds.inbox_open o where o.inbox_id = any (v_claim.inbox_ids) order by o.inbox_id for update skip locked
    ), noted as (
        update tds.inbox_open o
           set error_code = release_claim.error_code,
               error = left(release_claim.error, 1000),
               error_context = release_claim.error_context,
               at_most = case when release_claim.cut then cardinality(v_claim.inbox_ids) / 2 else o.at_most end,
               -- it cannot be cut any further
               waits = o.waits + n.is_alone::int,
               waiting_since = case when n.is_alone then coalesce(o.waiting_since, v_now) else o.waiting_since end,
               retry_at = case when n.is_alone and o.at_most = 0 then v_now + tds.outage_pause(o.waits) end
          from open e
         cross join (select release_claim.cut and cardinality(v_claim.inbox_ids) = 1 as is_alone) n
         where o.inbox_id = e.inbox_id
        returning o.inbox_id, o.retry_at)
    select array_agg(n.inbox_id) filter (where n.retry_at is not null) into v_alone from noted n;
    perform tds.give_back(v_claim.queue,
                          array(select m.msg_id from unnest(v_claim.msg_ids, v_claim.inbox_ids) m(msg_id, inbox_id)
                              where m.inbox_id = any (v_alone)),
                          v_claim.msg_ids, case when release_claim.cut and release_claim.error_code <> '57014' then 0
                              else tds.setting_int('outage_pause_seconds') end);
end
$$;
revoke all on function tds.release_claim(bigint, text, text, text, boolean) from public;
comment on function tds.release_claim(bigint, text, text, text, boolean) is
'Puts a batch back that failed for a reason outside its records: no attempt is counted, however often. cut: it took too long, or could '
'not be taken '
'apart, so it comes again in halves, and at last record by record; a single event waits alone, as tds.wait_alone() has it.';

create or replace function tds.unlock_claim(claim_id bigint) returns boolean
language sql volatile
set search_path = pg_catalog, pg_temp
as $$ select pg_advisory_unlock(tds.lock_class(), ($1 % 2147483647)::int) $$;
revoke all on function tds.unlock_claim(bigint) from public;
comment on function tds.unlock_claim(bigint) is 'Lets go of the claim''s session advisory lock.';
