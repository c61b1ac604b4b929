-- How long each table's rows are kept, or why it needs no forgetting. A catalogue test fails for a table that is not named here.

select tds.register_retention('inbox', 'tds.inbox', 30,
    'Bodies of finished events go with their day''s partition; what is not finished, or is dead, stays under its number until it is not.',
        function_name => 'forget_inbox');
select tds.register_retention('outcomes', 'tds.inbox_outcome', 30,
    'What became of each event; the counters of tds_queue_counts go with it.', function_name => 'forget_outcomes');
select tds.register_retention('dead_letters', 'tds.dead_letter', 30,
    'Dead letters that were resolved; open ones stay.', 'resolved_at');
select tds.register_retention('runs', 'tds.run', 180,
    'Pulls that ended; of each list the newest twenty stay.', 'finished_at',
    't.run_id not in (select n.run_id from (select r.run_id, row_number() over (partition by r.organization_id, r.entity order by r.run_id '
    'desc) as place from tds.run r) n where n.place <= 20) and not exists (select from tds.wanted_detail w where w.run_id = t.run_id)');
select tds.register_retention('api_calls', 'tds.api_call', 1, 'Calls that ended; the minute''s ceiling needs the last minute.',
                              'settled_at');
select tds.register_retention('api_spending', 'tds.api_spending', 400, 'Calls counted by day.', 'day');
select tds.register_retention('job_runs', 'tds.job_run', 30,
    'Runs of jobs; the newest of each job stays, and so does the newest that was done.', 'started_at',
    't.job_run_id not in (select max(r.job_run_id) from tds.job_run r group by r.job, r.state)');
select tds.register_retention('heal_log', 'tds.heal_log', 30, 'Acts of healing.', 'healed_at');
select tds.register_retention('health', 'tds.health_result', 30, 'The series of the checks.', 'looked_at');
select tds.register_retention('measures', 'tds.measure', 30, 'Totals measured with each look at the health.', 'measured_at');
select tds.register_retention('arrivals', 'tds.arrival', 36, 'Webhooks by entity and hour; five weeks are needed for the rhythm.', 'hour');
select tds.register_retention('delays', 'tds.delay', 36, 'How long webhooks took, by entity and hour.', 'hour');
select tds.register_retention('strays', 'tds.stray', 30, 'Addresses that were posted to and are none.', 'last_at');
select tds.register_retention('programs', 'tds.program', 7, 'Programs that stopped or vanished.', 'beat_at');
select tds.register_retention('disks', 'tds.disk', 7, 'Disks that nobody tells of any more.', 'noted_at');
select tds.register_retention('drift', 'tds.drift', 400, 'Paths that Zoho''s records have had and have no more.', 'last_seen_at');
select tds.register_retention('wants', 'tds.wanted_detail', 30,
    'Wanted details of records that are deleted and that Zoho does not give; all others stay until they are had.',
        function_name => 'forget_wants');
select tds.register_retention('feed_hints', 'tds.feed_hint', 14, 'Rows of the feeds that were read; no feed is read so far back.',
    'told_at');
select tds.register_retention('images', 'tds.image', 30,
    'Pictures of products that are deleted or show none.', function_name => 'forget_images');
select tds.register_retention('image_files', 'tds.image_file', 30,
    'Files of pictures that nothing shows any more: marked here, removed by tds poll or tds images --prune.',
        function_name => 'forget_image_files');
select tds.register_retention('history', 'tds.record_history', 3650,
                              'Changes of documents, where their history is kept (tds_history).', 'written_at');
select tds.register_retention('stock_days', 'tds.stock_day', 90,
    'Snapshots of the stock, in their small form after a day; then the first of each month stays.', function_name => 'fold_stock');
select tds.register_retention('held_deletions', 'tds.held_deletion', 90, 'Deletions that were proved, confirmed or refused.',
    'changed_at', 't.state in (''done'', ''confirmed'', ''refused'')');
select tds.register_retention('set_aside', 'tds.set_aside', 90, 'What a job went on without; it is tried again then.', 'set_aside_at');
select tds.register_retention('verifications', 'tds.verification', 90,
    'Comparisons that ended; what they found goes before them.', 'finished_at',
    'not exists (select from tds.verification_difference d where d.verification_id = t.verification_id)');
select tds.register_retention('differences', 'tds.verification_difference', 30,
    'What comparisons found and was mended, or found right later; what stands stays.', 'closed_at');
select tds.register_retention('api_keys', 'tds.api_key', 400, 'Keys that were revoked.', 'revoked_at');
select tds.register_retention('api_sessions', 'tds.api_session', 1, 'Sessions of browsers that have ended.', 'ends_at');
select tds.register_retention('alerts', 'tds.alert', 400, 'Alerts that are resolved.', 'resolved_at');
select tds.register_retention('alert_messages', 'tds.alert_delivery', 90, 'Messages of alerts.', 'created_at');
select tds.register_retention('alert_mutes', 'tds.alert_mute', 30, 'Mutes that have ended.', 'muted_until');
select tds.register_retention('alert_addresses', 'tds.alert_address', 30, 'Addresses that no sender has any more.', 'seen_at');
insert into tds.setting (name, value, description) values
    ('keep_cron_runs_days', '7', 'Days. What pg_cron has noted of our jobs'' runs, in cron.job_run_details.'),
    ('keep_stock_changes_days', '1825', 'Days. Changes of the stock, in zoho.stock_history.')
on conflict on constraint setting_pkey do nothing;

select tds.register_retention(r.what, r.relation, null, r.reason, reason => r.reason)
  from (values
    ('stock_changes', 'zoho.stock_history', 'changes are forgotten by the rule stock_days, after the setting keep_stock_changes_days; '
                                            'snapshots leave it after a day'),
    ('outcome_counters', 'tds.outcome_counter', 'go with the outcomes of their day; the job fold_counters makes one row of a day''s '
                                                'sixteen'),
    ('inbox_open', 'tds.inbox_open', 'a row goes when its event is finished'),
    ('claims', 'tds.claim', 'a row goes when its batch is finished'),
    ('api_accounts', 'tds.api_account', 'a row a refresh token'),
    ('api_refusals', 'tds.api_refusal', 'a row for each mistyped or revoked set of credentials'),
    ('feeds', 'tds.feed', 'a row an organisation and feed'),
    ('leases', 'tds.lease', 'a row a lock; of an organisation, an entity, a job or an account'),
    ('partition_lock', 'tds.partition_lock', 'it is empty'),
    ('reading_floors', 'tds.reading_floor', 'a row a queue, and one of the claims'),
    ('api_tokens', 'tds.api_token', 'a row a refresh token'),
    ('api_budgets', 'tds.api_budget', 'a row an organisation'),
    ('full_pulls', 'tds.full_pull', 'a row an organisation'),
    ('organisations', 'tds.organization', 'a row an organisation'),
    ('bound_readers', 'tds.bound_reader', 'a row a role'),
    ('settings', 'tds.setting', 'a row a setting'),
    ('jobs', 'tds.job', 'a row a job'),
    ('entities', 'tds.entity', 'a row an entity'),
    ('fields', 'tds.field', 'a row a field of the mapping'),
    ('derived', 'tds.derived', 'a row a computed column'),
    ('children', 'tds.child', 'a row a list that has a table'),
    ('links', 'tds.link', 'a row a link'),
    ('forgotten', 'tds.forgotten', 'a row a person who was forgotten: an id'),
    ('history_rules', 'tds.history_rule', 'a row a table of the mirror'),
    ('besides', 'tds.beside', 'a row a table that a hook writes'),
    ('verified_sums', 'tds.verified_sum', 'a row a sum of a list'),
    ('endpoints', 'tds.endpoint', 'a row a kind of body'),
    ('health_checks', 'tds.health_check', 'a row a check'),
    ('health_states', 'tds.health_state', 'a row a check'),
    ('heal_steps', 'tds.heal_step', 'a row a step'),
    ('retention_rules', 'tds.retention_rule', 'a row a rule'),
    ('retention_states', 'tds.retention_state', 'a row a rule'),
    ('unknown_asked', 'tds.unknown_asked', 'a row an organisation'),
    ('refused_parameters', 'tds.refused_parameter', 'a row a list and parameter'),
    ('own_shard', 'tds.own_shard', 'one row'),
    ('gates', 'tds.gate', 'a row an organisation that moves, or has left'),
    ('asking', 'tds.asking', 'a row an organisation and session that asks Zoho for it; those of sessions that died go with the next'),
    ('events_held', 'tds.inbox_held', 'a row goes when its organisation has arrived'),
    ('columns_to_fill', 'tds.column_to_fill', 'a row goes when its entity is filled'),
    ('outcomes_to_note', 'tds.outcome_to_note', 'a row at most, which goes when they are noted'),
    ('migrations', 'tds.migration', 'a row a migration'),
    ('sql_files', 'tds.sql_file', 'a row a file of functions'),
    ('sql_hashes', 'tds.sql_hash', 'a row an object of the schema'),
    ('pgmq_installs', 'tds.pgmq_install', 'one row'),
    ('run_pages', 'tds.run_page', 'rows go when their list is read'),
    ('zoho_clocks', 'tds.zoho_clock', 'a row an organisation'),
    ('vacuum_wishes', 'tds.vacuum_wish', 'a row goes when its table is vacuumed'),
    ('arrivals_counted', 'tds.arrival_counted', 'one row'),
    ('delays_counted', 'tds.delay_counted', 'one row'),
    ('outcomes_past', 'tds.outcome_past', 'a row an entity and status'),
    ('drift_observed', 'tds.drift_observed', 'one row'),
    ('mirror', 'zoho', 'the mirror itself: as many rows as Zoho has records, the deleted ones included'),
    ('cron_runs', 'cron.job_run_details', 'the job forget_cron_runs deletes our rows that are older')) r(what, relation, reason)
 order by r.what;
