create or replace function tds.outcome(total jsonb, claimed int, counts bigint[]) returns jsonb
language sql immutable parallel safe
as $$
    select jsonb_build_object(
        'claimed', coalesce(($1 ->> 'claimed')::bigint, 0) + $2,
        'applied', coalesce(($1 ->> 'applied')::bigint, 0) + coalesce($3[1], 0),
        'unchanged', coalesce(($1 ->> 'unchanged')::bigint, 0) + coalesce($3[2], 0),
        'stale', coalesce(($1 ->> 'stale')::bigint, 0) + coalesce($3[3], 0),
        'retried', coalesce(($1 ->> 'retried')::bigint, 0) + coalesce($3[4], 0),
        'dead', coalesce(($1 ->> 'dead')::bigint, 0) + coalesce($3[5], 0))
$$;
comment on function tds.outcome(jsonb, int, bigint[]) is 'The outcome of process_batch() with one more batch added to it.';

create or replace function tds.our_terms(lock_wait text, durable boolean) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config('lock_timeout', our_terms.lock_wait, true);
    if not our_terms.durable then
        perform set_config('synchronous_commit', 'off', true);
    else
        perform tds.durably();
    end if;
    -- from PostgreSQL 17 on
    if current_setting('transaction_timeout', true) <> '0' then
        perform set_config('transaction_timeout', '0', true);
    end if;
end
$$;
revoke all on function tds.our_terms(text, boolean) from public;
comment on function tds.our_terms(text, boolean) is
'Sets for this transaction what a batch needs whatever the server, the database or the role is set to: how long a lock is waited for, '
'whether the commit '
'waits for the disk, and no limit of its own.';

create or replace procedure tds.process_batch(queue text default null, max_records int default 1000, inout outcome jsonb default null)
language plpgsql
as $$
-- It commits as it goes, so it can have neither SECURITY DEFINER nor a SET clause: it only calls functions that do, and sets for
-- each transaction what must not be left to the server, the database or the role: isolation, how long a lock is waited for, and
-- whether a commit waits for the disk. The claim's does, so that a record that takes the server down is known by its crashes.
-- The other commits do not: an event is safe since it was received, and a crash takes back its rows, its outcome and its
-- message's deletion together, so that it is processed again.
declare
    v_until   timestamptz;
    v_lock    constant text := tds.setting_int('lock_wait_ms') operator(pg_catalog.||) 'ms';
    v_solo_at constant int := tds.setting_int('crashes_before_solo');
    v_unseen  constant int := tds.setting_int('visibility_seconds');
    v_files   constant int := tds.setting_int('temporary_mb');
    v_limit   constant interval := pg_catalog.current_setting('statement_timeout')::pg_catalog.interval;
    v_queue   text;
    v_is_idle boolean;
    v_claimed text[];
    v_claim   record;
    v_applied record;
    v_code    text;
    v_error   text;
    v_context text;
    v_second  text;
    v_hint    text;
    v_wary    boolean;
    v_apart   boolean;
    v_cut     boolean;
begin
    -- inside a transaction it fails here, before it has done anything
    commit;
    set transaction isolation level read committed, read write;
    -- half of the time that the caller's statement may take, so that the last batch has the other half
    v_until := pg_catalog.clock_timestamp() operator(pg_catalog.+) least(
        case when v_limit operator(pg_catalog.>) interval '0' then v_limit operator(pg_catalog./) 2 end,
        pg_catalog.make_interval(secs => tds.setting_int('drain_seconds')));
    process_batch.outcome := tds.outcome(null, 0, null);
    -- should the first claim fail, there is none
    select null::bigint as claim_id into v_claim;
    perform tds.our_terms(v_lock, true);
    perform tds.beat();
    perform tds.send_due_retries();
    commit and chain;
    foreach v_queue in array tds.queues(process_batch.queue) loop
        v_wary := false;
        v_is_idle := false;
        v_code := null;
        v_context := null;
        begin
            perform tds.our_terms(v_lock, true);
            if v_claimed is null then
                v_claimed := tds.claimed_queues();
            end if;
            if v_queue operator(pg_catalog.=) any (v_claimed) then
                perform tds.end_hung(v_queue);
                perform tds.free_claims(v_queue);
            end if;
            v_is_idle := tds.is_idle(v_queue);
        exception when others then
            get stacked diagnostics v_code = returned_sqlstate, v_error = message_text;
        end;
        commit and chain;
        while v_code is null and not v_is_idle and pg_catalog.clock_timestamp() operator(pg_catalog.<) v_until loop
            v_cut := false;
            begin
                perform tds.our_terms(v_lock, true);
                perform tds.beat();
                select c.claim_id, c.events, c.apart into v_claim
                  from tds.claim(v_queue, process_batch.max_records, v_solo_at, v_unseen) c;
            exception when others then
                get stacked diagnostics v_code = returned_sqlstate, v_error = message_text;
            end;
            commit and chain;
            exit when v_code is not null or v_claim.claim_id is null;
            v_apart := v_claim.apart;
            loop
                v_code := null;
                v_hint := null;
                begin
                    perform tds.our_terms(v_lock, false);
                    select a.counts, a.touches into v_applied from tds.apply_claim(v_claim.claim_id, v_wary, v_apart, v_files) a;
                exception when query_canceled or others then
                    get stacked diagnostics v_code = returned_sqlstate, v_error = message_text, v_hint = pg_exception_hint,
                                            v_second = pg_exception_context;
                    -- where it happened is told by the first try
                    v_context := case when v_hint operator(pg_catalog.=) 'all alike' then v_context else v_second end;
                end;
                -- what failed as a whole is taken apart at once, and what fails alone is left out
                exit when v_code is null or v_apart or v_code operator(pg_catalog.=) '57014' or tds.stops_all(v_code);
                v_apart := true;
            end loop;
            -- what befalls all alike does not become less by being cut
            v_cut := v_code is not null and not tds.stops_all(v_code) and v_hint is distinct from 'all alike';
            commit and chain;
            if v_code is null then
                process_batch.outcome := tds.outcome(process_batch.outcome, v_claim.events, v_applied.counts);
                -- what cannot be read seldom comes alone: to look first is cheaper than to fail first
                v_wary := v_applied.counts[5] operator(pg_catalog.>) 0;
                v_apart := false;
                loop
                    v_code := null;
                    begin
                        perform tds.our_terms(v_lock, false);
                        v_error := tds.finish_claim(v_claim.claim_id, v_applied.touches, v_apart);
                    exception when query_canceled or others then
                        get stacked diagnostics v_code = returned_sqlstate, v_error = message_text, v_context = pg_exception_context;
                    end;
                    exit when v_code is null or v_apart or v_code operator(pg_catalog.=) '57014' or tds.stops_all(v_code);
                    v_apart := true;
                end loop;
                if v_code is null and v_error is not null then
                    raise warning using errcode = 'ZB041', message = v_error,
                        hint = 'it is tried again until it is linked; call tds.rebuild() links all';
                end if;
            end if;
            if v_code is not null then
                v_context := coalesce(tds.error_context(v_context), '');
                perform tds.our_terms(v_lock, false);
                perform tds.release_claim(v_claim.claim_id, v_code, v_error, v_context, v_cut);
            end if;
            commit and chain;
            perform tds.unlock_claim(v_claim.claim_id);
            exit when v_code is not null and (not v_cut or v_code operator(pg_catalog.=) '57014');
            -- its halves are next
            v_code := null;
        end loop;
        if v_code is not null then
            raise warning using errcode = v_code, message = pg_catalog.format('%s was put back: %s', v_queue, v_error),
                detail = coalesce(v_context, ''),
                    hint = 'select * from tds.inbox_open where error is not null; select * from tds_lock_holders';
            -- cancelled, by whoever called or by a limit of time: what is left is for the next call
            exit when v_code operator(pg_catalog.=) '57014';
        end if;
    end loop;
end
$$;
revoke all on procedure tds.process_batch(text, int, jsonb) from public;
comment on procedure tds.process_batch(text, int, jsonb) is
'The one way through: drains the queues by priority (or the one named) in batches of about max_records records, each '
'claimed, committed, applied, committed, finished, committed, until they are empty or the setting drain_seconds is over. '
'outcome counts events claimed and records applied (a row was written), unchanged, stale, retried, dead. What fails as a whole is taken '
'apart; what fails alone for a reason outside its data, as a lock, waits alone and is told by tds_waiting. Call it outside a transaction.';
