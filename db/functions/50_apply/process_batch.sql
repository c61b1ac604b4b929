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

create or replace procedure tds.process_batch(queue text default null, max_records int default 1000, inout outcome jsonb default null)
language plpgsql
as $$
-- It commits as it goes, so it can have neither SECURITY DEFINER nor a SET clause: it only calls functions that do.
-- The claim waits for the disk, so that a record that takes the server down is known by its crashes. The other commits do
-- not: an event is safe since it was received, and a crash takes back its rows, its outcome and its message's deletion
-- together, so that it is processed again.
declare
    v_until   constant timestamptz := pg_catalog.clock_timestamp()
                                      operator(pg_catalog.+) pg_catalog.make_interval(secs => tds.setting_int('drain_seconds'));
    v_queue   text;
    v_claim   record;
    v_applied record;
    v_code    text;
    v_error   text;
    v_context text;
    v_wary    boolean;
begin
    process_batch.outcome := tds.outcome(null, 0, null);
    perform tds.beat();
    perform tds.send_due_retries();
    commit;
    foreach v_queue in array tds.queues(process_batch.queue) loop
        perform tds.free_claims(v_queue);
        commit;
        v_wary := false;
        while pg_catalog.clock_timestamp() operator(pg_catalog.<) v_until loop
            perform tds.beat();
            select c.claim_id, c.events into v_claim from tds.claim(v_queue, process_batch.max_records) c;
            commit;
            exit when v_claim.claim_id is null;
            v_code := null;
            perform pg_catalog.set_config('synchronous_commit', 'off', true);
            begin
                select a.counts, a.touches into v_applied from tds.apply_claim(v_claim.claim_id, v_wary) a;
            exception when query_canceled or others then
                get stacked diagnostics v_code = returned_sqlstate, v_error = message_text, v_context = pg_exception_context;
            end;
            commit;
            perform pg_catalog.set_config('synchronous_commit', 'off', true);
            if v_code is null then
                process_batch.outcome := tds.outcome(process_batch.outcome, v_claim.events, v_applied.counts);
                -- what cannot be read seldom comes alone: to look first is cheaper than to fail first
                v_wary := v_applied.counts[5] operator(pg_catalog.>) 0;
                begin
                    perform tds.finish_claim(v_claim.claim_id, v_applied.touches);
                exception when query_canceled or others then
                    get stacked diagnostics v_code = returned_sqlstate, v_error = message_text, v_context = pg_exception_context;
                end;
            end if;
            if v_code is not null then
                v_context := coalesce(tds.error_context(v_context), '');
                perform tds.release_claim(v_claim.claim_id, v_code, v_error, v_context);
            end if;
            commit;
            perform tds.unlock_claim(v_claim.claim_id);
            if v_code is not null then
                raise warning using errcode = v_code, message = 'a batch was put back: ' operator(pg_catalog.||) v_error,
                    detail = v_context, hint = 'select * from tds.inbox_open where error is not null';
                exit;
            end if;
        end loop;
    end loop;
end
$$;
revoke all on procedure tds.process_batch(text, int, jsonb) from public;
comment on procedure tds.process_batch(text, int, jsonb) is
'The one way through: drains the queues by priority (or the one named) in batches of about max_records records, each '
'claimed, committed, applied, committed, finished, committed, until they are empty or the setting drain_seconds is over. '
'outcome counts events claimed and records applied (a row was written), unchanged, stale, retried, dead. '
'Call it outside a transaction.';
