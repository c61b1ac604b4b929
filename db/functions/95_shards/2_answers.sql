-- What a router asks of its shards. Each answer is a row of JSON, with the rights of the router's login.

create or replace function tds.shard_report() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return jsonb_build_object(
        'rows', (select coalesce(sum(m.rows), 0) from tds.mirror_count m),
        'open', (select coalesce(sum(o.events), 0) from public.tds_open_counts o),
        'dead', (select coalesce(sum(d.letters), 0) from public.tds_dead_letter_counts d),
        'health', coalesce(tds.health_summary() ->> 'state', 'unknown'),
        'migration', (select max(m.id) from tds.migration m));
end
$$;
revoke all on function tds.shard_report() from public;
grant execute on function tds.shard_report() to tds_operator;
comment on function tds.shard_report() is
'How this database stands, for tds shard list: rows, open events, dead letters, state of health, newest migration.';

create or replace function tds.shard_organizations() returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return jsonb_build_object(
        'left', (select coalesce(jsonb_object_agg(g.organization_id, g.other), '{}') from tds.gate g
                  where g.state in ('departed', 'gone')),
        'here', (select coalesce(jsonb_object_agg(h.organization_id, true), '{}')
                   from (select o.organization_id from tds.organization o
                          union select f.organization_id from tds.full_pull f
                         except select g.organization_id from tds.gate g) h));
end
$$;
revoke all on function tds.shard_organizations() from public;
grant execute on function tds.shard_organizations() to tds_operator;
comment on function tds.shard_organizations() is
'Which organisations have left this database (left), each with the shard that it has left for, and which are served here (here).';

create or replace function tds.beat_for(program text, clock timestamptz) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_own constant text := current_setting('application_name');
    v_is_wanted boolean;
begin
    perform set_config('application_name', beat_for.program, true);
    v_is_wanted := tds.beat(beat_for.clock);
    perform set_config('application_name', v_own, true);
    return v_is_wanted;
end
$$;
revoke all on function tds.beat_for(text, timestamptz) from public;
grant execute on function tds.beat_for(text, timestamptz) to tds_operator;
comment on function tds.beat_for(text, timestamptz) is 'tds.beat() of a program that works for this database by a router.';

create or replace function tds.stop_for(program text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_own constant text := current_setting('application_name');
begin
    perform set_config('application_name', stop_for.program, true);
    perform tds.stop_program();
    perform set_config('application_name', v_own, true);
end
$$;
revoke all on function tds.stop_for(text) from public;
grant execute on function tds.stop_for(text) to tds_operator;
comment on function tds.stop_for(text) is 'tds.stop_program() of a program that works for this database by a router.';

create or replace function tds.answer_router(what text, args jsonb) returns setof jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    case what
    when 'report' then return next tds.shard_report();
    when 'shard_organizations' then return next tds.shard_organizations();
    when 'beat' then return next to_jsonb(tds.beat_for(args ->> 'program', (args ->> 'clock')::timestamptz));
    when 'stop' then perform tds.stop_for(args ->> 'program');
    when 'strays' then
        perform tds.note_strays(array(select jsonb_array_elements_text(args -> 'paths')),
                                array(select jsonb_array_elements_text(args -> 'requests'))::int[]);
    when 'health' then return query select to_jsonb(h) from tds.health() h;
    when 'health_kept' then return query select to_jsonb(h) from public.tds_health h;
    when 'health_summary' then return next tds.health_summary();
    when 'summary' then return query select to_jsonb(s) from tds.summary((args ->> 'at_most')::int) s;
    when 'heal' then return query select to_jsonb(h) from tds.heal((args ->> 'dry_run')::boolean) h;
    when 'metrics' then return next tds.metrics();
    when 'files' then return next tds.installed_files();
    when 'organizations' then return query select to_jsonb(o) from tds.organizations_listed() o;
    when 'queues' then return next to_jsonb(tds.missing_queues());
    when 'waiting' then return query select to_jsonb(w) from public.tds_waiting w;
    when 'holders' then return query select to_jsonb(h) from public.tds_lock_holders h;
    when 'counts' then return query select to_jsonb(c) from public.tds_queue_counts c;
    when 'dead' then
        return query select to_jsonb(d) from public.tds_dead_letter_queue d order by d.dead_letter_id desc
                      limit (args ->> 'at_most')::int;
    when 'alerts' then return query select to_jsonb(a) from public.tds_alerts a;
    when 'runs' then return query select jsonb_array_elements(tds.api_runs(args ->> 'state', args ->> 'entity', (args ->> 'before')::bigint,
                                                                           (args ->> 'at_most')::int));
    when 'run' then return next tds.api_run((args ->> 'run_id')::bigint);
    when 'cancel_run' then return next tds.api_cancel_run((args ->> 'run_id')::bigint);
    when 'pull' then
        return next tds.api_request_pull(args ->> 'entity', args -> 'options', args ->> 'organization_id', args ->> 'by');
    when 'no_option' then return next to_jsonb(tds.why_no_option(args ->> 'entity', args ->> 'name'));
    when 'no_pulls' then return next to_jsonb(tds.bulk_sync_refusal());
    when 'replay' then return next to_jsonb(tds.replay((args ->> 'dead_letter_id')::bigint, nullif(args -> 'record', 'null')));
    when 'replay_all' then
        return next to_jsonb(tds.replay(args ->> 'entity', args ->> 'error_code', (args ->> 'details')::boolean));
    when 'want' then
        perform tds.want_detail(args ->> 'entity', args ->> 'organization_id', args ->> 'zoho_id', args ->> 'reason');
    when 'repair' then
        return next to_jsonb(tds.repair_records(args ->> 'entity', array(select jsonb_array_elements_text(args -> 'zoho_ids')),
                                                args ->> 'organization_id', args ->> 'by'));
    when 'explain' then
        return query select to_jsonb(x) from tds.explain_record(args ->> 'entity', args ->> 'zoho_id', args ->> 'organization_id') x;
    when 'record' then
        return query select to_jsonb(x) from tds.record_now(args ->> 'entity', args ->> 'zoho_id', args ->> 'organization_id') x;
    end case;
end
$$;
revoke all on function tds.answer_router(text, jsonb) from public;
grant execute on function tds.answer_router(text, jsonb) to tds_operator;
comment on function tds.answer_router(text, jsonb) is
'What a router asks (what, with args), in rows of JSON: with the rights of its login, a member of tds_operator and tds_receiver.';
