-- Who may do what, as on a shard.
grant usage on schema tds to tds_receiver, tds_poller, tds_operator, tds_reader;
grant execute on function
    tds.receive(text, bytea, text, text, text, text, timestamptz, bigint, jsonb),
    tds.receive_many(text[], bytea[], text[], text, text, text[], jsonb[]), tds.beat(timestamptz), tds.stop_program(),
    tds.note_strays(text[], int[]), tds.lanes(),
    tds.check_api_key(bytea), tds.api_key_scope(bytea), tds.begin_api_session(bytea, bytea, int), tds.api_session_key(bytea),
    tds.end_api_session(bytea), tds.api_request_pull(text, jsonb, text, text), tds.api_run(bigint), tds.api_runs(text, text, bigint, int),
    tds.api_cancel_run(bigint), tds.why_no_option(text, text), tds.bulk_sync_refusal(), tds.installed_files(), tds.missing_queues(),
    tds.metrics(), tds.health_summary(), tds.organizations_listed()
    to tds_receiver;
grant execute on function tds.receive(text, bytea, text, text, text, text, timestamptz, bigint, jsonb) to tds_poller, tds_operator;
grant execute on function
    tds.health(), tds.health_kept(), tds.health_summary(), tds.summary(int), tds.dead_letters(int), tds.queue_counts(), tds.alerts(),
    tds.explain_record(text, text, text), tds.record_now(text, text, text), tds.metrics(),
    tds.report_shards(), tds.misplaced(), tds.organizations_listed(), tds.shard_of(text), tds.default_shard(),
    tds.default_organization(), tds.now(), tds.setting_text(text)
    to tds_operator, tds_reader;
grant execute on function
    tds.heal(boolean), tds.replay(bigint, jsonb), tds.replay(text, text, boolean), tds.want_detail(text, text, text, text),
    tds.repair_records(text, text[], text, text), tds.repair(text, text[]), tds.request_pull(text, jsonb, text), tds.api_cancel_run(bigint),
    tds.create_api_key(text, text), tds.revoke_api_key(text), tds.place(text, text)
    to tds_operator;
grant select on tds.shard, tds.directory, tds.move, tds.setting, tds.router, public.tds_health, public.tds_dead_letter_queue,
    public.tds_queue_counts, public.tds_api_keys
    to tds_operator, tds_reader;
