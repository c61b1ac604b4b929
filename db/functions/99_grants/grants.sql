-- Who may do what. A role can do its work and nothing else; what a file's functions need beyond this stands beside them.

grant usage on schema tds, zoho to tds_receiver, tds_worker, tds_poller, tds_operator, tds_reader;

-- the receiver puts bodies in; it can read nothing back
grant execute on function
    tds.receive(text, bytea, text, text, text, text, timestamptz, bigint, jsonb),
    tds.receive_many(text[], bytea[], text[], text, text, text[], jsonb[])
    to tds_receiver;

-- and the bulk-sync API, which asks for an operator's key first; what it shows of the database are counts and the names of files
grant execute on function
    tds.check_api_key(bytea), tds.api_key_scope(bytea), tds.begin_api_session(bytea, bytea, int), tds.api_session_key(bytea),
    tds.end_api_session(bytea), tds.api_request_pull(text, jsonb, text, text), tds.api_run(bigint), tds.api_runs(text, text, bigint, int),
    tds.api_cancel_run(bigint), tds.why_no_option(text, text), tds.bulk_sync_refusal(), tds.installed_files(), tds.last_upgrade(),
    tds.missing_queues(),
        tds.metrics()
    to tds_receiver;

-- the worker drains: process_batch() runs with its rights, the functions it calls with the owner's
grant execute on procedure tds.process_batch(text, int, jsonb) to tds_worker, tds_operator;
grant execute on function
    tds.now(), tds.setting_text(text), tds.setting_int(text), tds.outcome(jsonb, int, bigint[]), tds.queues(text),
    tds.send_due_retries(), tds.claimed_queues(), tds.free_claims(text), tds.is_idle(text), tds.claim(text, int, int, int),
    tds.apply_claim(bigint, boolean, boolean, int),
    tds.finish_claim(bigint, tds.touch[], boolean), tds.release_claim(bigint, text, text, text, boolean), tds.unlock_claim(bigint),
        tds.lock_class(),
    tds.durably(), tds.our_terms(text, boolean), tds.stops_all(text), tds.error_context(text)
    to tds_worker, tds_operator;
grant select on tds.setting to tds_worker;

-- the poller feeds pages and details, and knows what is wanted
grant execute on function
    tds.receive(text, bytea, text, text, text, text, timestamptz, bigint, jsonb),
    tds.start_run(text, text, jsonb), tds.store_page(bigint, int, bytea, timestamptz, boolean, int, int),
        tds.finish_run(bigint, text, text),
    tds.take_details(text, text, int, int), tds.details_to_take(text),
        tds.store_detail(text, text, text[], bytea, timestamptz, text, timestamptz),
    tds.want_detail(text, text, text, text), tds.detail_failed(text, text, text, text), tds.is_answered(tds.wanted_detail),
    tds.begin_pull(bigint, int), tds.fall_back(bigint), tds.note_progress(bigint, int, int, text), tds.settle_pulls(text),
    tds.request_pull(text, jsonb, text), tds.cancel_run(bigint), tds.pull_option_names(text), tds.bulk_sync_refusal(),
        tds.setting_int(text), tds.setting_text(text), tds.now()
    to tds_poller;
grant select on tds.entity, tds.run, tds.wanted_detail, tds.inbox_open, tds.setting, public.tds_sync_runs to tds_poller;

-- the pulls it is asked for are the one queue it reads, and it reads it itself
do $$
begin
    grant usage on schema pgmq to tds_poller;
    if not has_schema_privilege('tds_poller', 'pgmq', 'usage') then
        raise notice 'an administrator has to run: grant usage on schema pgmq to tds_poller';
    end if;
end
$$;
grant select, update, delete on pgmq.q_tds_pull to tds_poller;

-- the reader sees all and changes nothing; the operator sees the same
grant select on all tables in schema zoho to tds_reader, tds_operator;
-- which there are, not where their secrets stand
grant select (organization_id, name, time_zone, state) on tds.organization to tds_reader, tds_operator;
grant select on tds.setting, tds.entity, tds.field, tds.inbox, tds.inbox_open, tds.inbox_outcome, tds.outcome_counter, tds.claim,
    tds.dead_letter, tds.run, tds.wanted_detail, tds.migration, tds.sql_file, tds.sql_hash,
    tds.sql_object, tds.pgmq_install
    to tds_reader, tds_operator;
do $$
declare
    v_view regclass;
begin
    for v_view in
        select c.oid from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'v' and c.relowner = 'tds_owner'::regrole
    loop
        execute format('grant select on %s to tds_reader, tds_operator', v_view);
    end loop;
end
$$;

-- and what the commands of workers and pollers show
grant select on public.tds_waiting, public.tds_lock_holders, public.tds_jobs to tds_worker;
grant select on public.tds_waiting to tds_poller;

-- a view calls functions with its reader's rights, whoever owns it
do $$
declare
    v_function regprocedure;
begin
    for v_function in
        select distinct p.oid
          from pg_class c
          join pg_rewrite r on r.ev_class = c.oid
          join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_proc'::regclass
          join pg_proc p on p.oid = d.refobjid and p.pronamespace = 'tds'::regnamespace and p.prokind = 'f'
         where c.relkind = 'v' and c.relowner = 'tds_owner'::regrole and c.relnamespace = 'public'::regnamespace
         order by p.oid
    loop
        execute format('grant execute on function %s to tds_reader, tds_operator', v_function);
    end loop;
end
$$;

-- what functions ask that run with their caller's rights
grant execute on function tds.entity_named(text, boolean), tds.pulled_entity(text) to tds_poller, tds_operator, tds_reader;
grant execute on function tds.is_blank_list(jsonb), tds.is_number(text), tds.applied_amount(jsonb, jsonb, jsonb)
    to tds_operator, tds_reader;

-- who compares what stands there with the books
grant execute on function tds.object_hash(oid, oid), tds.names_hash() to tds_reader, tds_operator;

-- the operator sends things on their way again
grant execute on function
    tds.replay(bigint, jsonb), tds.replay(text, text, boolean), tds.requeue_unprocessed(), tds.want_detail(text, text, text, text),
    tds.ensure_partitions(), tds.request_pull(text, jsonb, text), tds.cancel_run(bigint), tds.pull_option_names(text),
        tds.last_pass(text, text),
    tds.bulk_sync_refusal(), tds.create_api_key(text, text), tds.revoke_api_key(text), tds.metrics()
    to tds_operator;

-- what a record went through, and what it says; a rebuild commits, so it runs with the operator's rights and its steps with the owner's
grant execute on function
    tds.explain_record(text, text, text), tds.custom_fields(jsonb),
    tds.custom_field_rows(jsonb, jsonb, timestamptz, timestamptz, smallint), tds.custom_fields_told(jsonb),
    tds.is_newer(timestamptz, timestamptz, smallint, timestamptz, timestamptz, smallint)
    to tds_reader, tds_operator;
grant execute on function
    tds.rebuild_difference(text, int), tds.rebuild_batch(text, text, text, int, boolean),
    tds.rebuild_links(text, text, text, text), tds.organizations_of(text), tds.observe_drift(int)
    to tds_operator;
grant execute on procedure tds.rebuild(text, boolean, int, boolean, jsonb) to tds_operator;
grant select on tds.drift, tds.drift_observed, tds.set_aside to tds_reader, tds_operator;
grant delete on tds.set_aside to tds_operator;

select tds.ensure_partitions();
