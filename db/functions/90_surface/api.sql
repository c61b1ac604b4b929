-- What the receiver's bulk-sync API may call: the same as an operator's functions, with the caller's name for the record, answering as
-- JSON.

create or replace function tds.api_request_pull(entity text, options jsonb, organization_id text, requested_by text) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.api_run(tds.request_pull_for(
        api_request_pull.entity, api_request_pull.options, api_request_pull.organization_id, 'API key ' || api_request_pull.requested_by));
end
$$;
revoke all on function tds.api_request_pull(text, jsonb, text, text) from public;
comment on function tds.api_request_pull(text, jsonb, text, text) is
'tds.request_pull() for the holder of an API key; answers with tds.api_run().';

create or replace function tds.api_run(run_id bigint) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run jsonb;
begin
    perform tds.run_of(api_run.run_id);
    select to_jsonb(r) || jsonb_build_object('duration', round(extract(epoch from r.duration), 3)) into v_run
      from public.tds_sync_runs r where r.run_id = api_run.run_id;
    return v_run;
end
$$;
revoke all on function tds.api_run(bigint) from public;
comment on function tds.api_run(bigint) is 'A run as tds_sync_runs shows it, as JSON; duration in seconds. Raises ZB012.';

create or replace function tds.api_runs(state text, entity text, before bigint, at_most int) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce((
        select jsonb_agg(tds.api_run(l.run_id) order by l.run_id desc)
          from (select r.run_id from tds.run r
                 where (api_runs.state is null or r.state = api_runs.state)
                   and (api_runs.entity is null or r.entity = api_runs.entity)
                   and (api_runs.before is null or r.run_id < api_runs.before)
                 order by r.run_id desc
                 limit api_runs.at_most) l), '[]');
end
$$;
revoke all on function tds.api_runs(text, text, bigint, int) from public;
comment on function tds.api_runs(text, text, bigint, int) is
'Runs, newest first, as JSON: of a state, of an entity, older than a run; null: any.';

create or replace function tds.api_runs(state text, entity text, before bigint, at_most int, organization_id text) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return case when api_runs.organization_id is null then tds.api_runs(api_runs.state, api_runs.entity, api_runs.before, api_runs.at_most)
    else coalesce((
        select jsonb_agg(tds.api_run(l.run_id) order by l.run_id desc)
          from (select r.run_id from tds.run r
                 where r.organization_id = api_runs.organization_id
                   and (api_runs.state is null or r.state = api_runs.state)
                   and (api_runs.entity is null or r.entity = api_runs.entity)
                   and (api_runs.before is null or r.run_id < api_runs.before)
                 order by r.run_id desc
                 limit api_runs.at_most) l), '[]') end;
end
$$;
revoke all on function tds.api_runs(text, text, bigint, int, text) from public;
comment on function tds.api_runs(text, text, bigint, int, text) is
'Runs, newest first, as JSON, of an organisation; null: of any. Otherwise as tds.api_runs(state, entity, before, at_most).';
grant execute on function tds.api_runs(text, text, bigint, int, text) to tds_receiver;

create or replace function tds.api_cancel_run(run_id bigint) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.cancel_run(api_cancel_run.run_id);
    return tds.api_run(api_cancel_run.run_id);
end
$$;
revoke all on function tds.api_cancel_run(bigint) from public;
comment on function tds.api_cancel_run(bigint) is 'tds.cancel_run(), answering with tds.api_run().';
