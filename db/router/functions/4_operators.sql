-- What programs and operators ask, put to the shards: to the organisation's one, to the one that has it, or to all, with the shard's name.

create or replace function tds.ask(number int, what text, args jsonb, is_probe boolean default false) returns setof jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_state  text;
    v_error  text;
    v_detail text;
    v_hint   text;
begin
    if ask.is_probe then
        return query select p.p from tds.probe_shard(ask.number, ask.what, ask.args) p(p);
    else
        return query select a.a from tds.ask_shard(ask.number, ask.what, ask.args) a(a);
    end if;
exception when others then
    -- as the shard said it
    get stacked diagnostics v_state = returned_sqlstate, v_error = message_text, v_detail = pg_exception_detail, v_hint = pg_exception_hint;
    raise exception using errcode = case when v_state like 'XX%' then '08006' else v_state end,
        message = regexp_replace(v_error, '^.*?REMOTE ERROR: ', ''), detail = regexp_replace(v_detail, '^Remote detail: ', ''),
        hint = coalesce(nullif(regexp_replace(v_hint, '^Remote hint: ', ''), ''), 'tds shard list');
end
$$;
revoke all on function tds.ask(int, text, jsonb, boolean) from public;
comment on function tds.ask(int, text, jsonb, boolean) is
'tds.answer_router() of the shard of that number; its errors are as it raised them, and class 08 where it is away.';

create or replace function tds.ask_all(what text, args jsonb default '{}', is_probe boolean default false)
returns table (shard text, answer jsonb, error text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_shard record;
begin
    for v_shard in select s.number, s.name from tds.shard s where s.removed_at is null order by s.number loop
        if tds.is_down(v_shard.number) then
            return query select v_shard.name, null::jsonb, 'away, as it was a moment ago';
            continue;
        end if;
        begin
            return query
            select v_shard.name, a.a, null::text from tds.ask(v_shard.number, ask_all.what, ask_all.args, ask_all.is_probe) a(a);
        exception
          when query_canceled then
            perform tds.note_down(v_shard.number, 'does not answer', 30);
            return query select v_shard.name, null::jsonb, 'does not answer';
          when others then
            if tds.is_outage(sqlstate) then
                perform tds.note_down(v_shard.number, sqlerrm);
            end if;
            return query select v_shard.name, null::jsonb, format('%s (%s)', sqlerrm, sqlstate);
        end;
    end loop;
end
$$;
revoke all on function tds.ask_all(text, jsonb, boolean) from public;
comment on function tds.ask_all(text, jsonb, boolean) is
'tds.answer_router() of every shard: its rows with the shard''s name; one row with the error of a shard that gives none.';

create or replace function tds.ask_whoever(what text, args jsonb, error_code text) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_shard record;
    v_last  text;
begin
    for v_shard in select s.number, s.name from tds.shard s where s.removed_at is null order by s.number loop
        begin
            return (select a.a || case when jsonb_typeof(a.a) = 'object' then jsonb_build_object('shard', v_shard.name) else '[]' end
                      from tds.ask(v_shard.number, ask_whoever.what, ask_whoever.args) a(a));
        exception when others then
            -- another one may have it; one that is away may, too
            if sqlstate <> ask_whoever.error_code and not tds.is_outage(sqlstate) then
                raise;
            end if;
            v_last := coalesce(v_last, case when tds.is_outage(sqlstate) then format('%s: %s', v_shard.name, sqlerrm) end);
        end;
    end loop;
    raise exception using errcode = case when v_last is null then ask_whoever.error_code else '08006' end,
        message = case when v_last is null then 'no shard has that' else 'no shard that answers has that' end,
        detail = coalesce(v_last, ask_whoever.args::text), hint = 'tds shard list';
end
$$;
revoke all on function tds.ask_whoever(text, jsonb, text) from public;
comment on function tds.ask_whoever(text, jsonb, text) is
'The answer of the one shard that has what a number names: numbers of different shards are never the same. error_code: of those who have '
'not.';

create or replace function tds.health()
returns table (name text, state text, value numeric, unit text, threshold numeric, since timestamptz, told text, next_step text, area text,
    shard text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select a.shard || '/' || h.name, h.state, h.value, h.unit, h.threshold, h.since, h.told, h.next_step, h.area, a.shard
      from tds.ask_all('health') a
     cross join lateral (
        select j.* from jsonb_to_record(a.answer) j(name text, state text, value numeric, unit text, threshold numeric, since timestamptz,
                                                    told text, next_step text, area text)
         where a.error is null
         union all
        select 'reachable', 'critical', null, '', null, null, a.error, 'start that server; tds shard list', 'shards'
         where a.error is not null) h
     order by array_position(array['critical', 'warning', 'unknown', 'ok'], h.state), a.shard, h.area, h.name;
end
$$;
revoke all on function tds.health() from public;
comment on function tds.health() is
'How all shards stand, now: every check of each, named SHARD/CHECK; one that does not answer is critical, as SHARD/reachable.';

create or replace function tds.health_kept()
returns table (area text, name text, state text, value numeric, unit text, threshold numeric, since timestamptz, told text, next_step text,
    looked_at timestamptz, shard text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select h.area, a.shard || '/' || h.name, h.state, h.value, h.unit, h.threshold, h.since, h.told, h.next_step, h.looked_at, a.shard
      from tds.ask_all('health_kept') a
     cross join lateral jsonb_to_record(a.answer) h(area text, name text, state text, value numeric, unit text, threshold numeric,
                                                    since timestamptz, told text, next_step text, looked_at timestamptz)
     where a.error is null;
end
$$;
revoke all on function tds.health_kept() from public;
comment on function tds.health_kept() is 'tds_health of all shards.';

create or replace view public.tds_health as select * from tds.health_kept();
comment on view public.tds_health is 'What each check of each shard said when it was last looked at.';

create or replace function tds.health_summary() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select jsonb_build_object(
                       'state', (array_agg(k.state order by array_position(array['critical', 'unknown', 'warning', 'ok'], k.state)))[1],
                       'looked_at', min(k.answer ->> 'looked_at'), 'age_seconds', max((k.answer ->> 'age_seconds')::numeric),
                       'checks', coalesce(sum((k.answer ->> 'checks')::bigint), 0),
                       'critical', coalesce(jsonb_agg(k.shard || '/reachable') filter (where k.error is not null), '[]')
                                   || coalesce((select jsonb_agg(q.n) from unnest(array_agg(k.shard), array_agg(k.answer)) s(shard, answer)
                                                 cross join lateral (select s.shard || '/' || e.c as n from jsonb_array_elements_text(
                                                       s.answer -> 'critical') e(c)) q), '[]'),
                       'warning', coalesce((select jsonb_agg(q.n) from unnest(array_agg(k.shard), array_agg(k.answer)) s(shard, answer)
                                             cross join lateral (select s.shard || '/' || e.c as n from jsonb_array_elements_text(
                                                   s.answer -> 'warning') e(c)) q), '[]'),
                       'unknown', coalesce((select jsonb_agg(q.n) from unnest(array_agg(k.shard), array_agg(k.answer)) s(shard, answer)
                                             cross join lateral (select s.shard || '/' || e.c as n from jsonb_array_elements_text(
                                                   s.answer -> 'unknown') e(c)) q), '[]'))
              from (select a.shard, nullif(a.answer, 'null') as answer, a.error,
                           case when a.error is not null then 'critical' else coalesce(a.answer ->> 'state', 'unknown') end as state
                      from tds.ask_all('health_summary', is_probe => true) a) k
            having count(*) > 0);
end
$$;
revoke all on function tds.health_summary() from public;
comment on function tds.health_summary() is 'The last looks at the health of all shards, as one; a shard that does not answer is critical.';

create or replace function tds.summary(at_most int default null) returns table (name text, title text, rows json)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with told as materialized (
        select a.shard, a.error, s.n, s.name, s.title, r.doc
          from (select k.*, row_number() over (partition by k.shard) as n
                  from tds.ask_all('summary', jsonb_build_object('at_most', summary.at_most)) k) a
         cross join lateral (select a.n, a.answer ->> 'name' as name, a.answer ->> 'title' as title) s
          left join lateral jsonb_array_elements(a.answer -> 'rows') with ordinality r(doc, n) on true)
    select 'shards', 'Shards', (
        select json_agg(json_build_object(
                   'shard', s.name, 'number', s.number,
                   'organizations', (select count(*) from tds.directory d where d.shard = s.number),
                   'arriving', (select count(*) from tds.directory d where d.arrives_at = s.number),
                   'away', (select min(t.error) from told t where t.shard = s.name)) order by s.number)
          from tds.shard s where s.removed_at is null)
     union all
    select * from (
        select t.name, min(t.title), coalesce(json_agg(jsonb_build_object('shard', t.shard) || t.doc order by t.shard)
                                                  filter (where t.doc is not null), '[]')
          from told t where t.error is null
         group by t.name
         order by min(t.n)) s;
end
$$;
revoke all on function tds.summary(int) from public;
comment on function tds.summary(int) is 'tds.summary() of all shards, the rows with the shard''s name.';

create or replace function tds.heal(dry_run boolean default false)
returns table (step text, subject text, act text, ok boolean, detail text, shard text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select a.shard || '/' || coalesce(a.answer ->> 'step', 'reachable'), coalesce(a.answer ->> 'subject', ''),
           coalesce(a.answer ->> 'act', 'asked it to heal'), coalesce((a.answer ->> 'ok')::boolean, false),
           coalesce(a.answer ->> 'detail', a.error, ''), a.shard
      from tds.ask_all('heal', jsonb_build_object('dry_run', heal.dry_run)) a;
end
$$;
revoke all on function tds.heal(boolean) from public;
comment on function tds.heal(boolean) is 'tds.heal() of all shards.';

create or replace function tds.dead_letters(at_most int default 10000)
returns table (shard text, dead_letter_id bigint, dead_at timestamptz, entity text, organization_id text, zoho_id text, path text,
    value text, reason text, error_code text, attempts int, inbox_id bigint, "position" int, replay_command text, record text,
    error_context text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select a.shard, d.*
      from tds.ask_all('dead', jsonb_build_object('at_most', dead_letters.at_most)) a
     cross join lateral jsonb_to_record(a.answer) d(
           dead_letter_id bigint, dead_at timestamptz, entity text, organization_id text, zoho_id text, path text, value text, reason text,
           error_code text, attempts int, inbox_id bigint, "position" int, replay_command text, record text, error_context text)
     where a.error is null;
end
$$;
revoke all on function tds.dead_letters(int) from public;
comment on function tds.dead_letters(int) is 'tds_dead_letter_queue of all shards that answer: at most so many of each, the newest.';

create or replace view public.tds_dead_letter_queue as select * from tds.dead_letters();
comment on view public.tds_dead_letter_queue is 'What could not be applied, on all shards that answer; tds.replay() finds the shard.';

create or replace function tds.queue_counts() returns table (status text, events bigint, shard text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select a.answer ->> 'status', (a.answer ->> 'events')::bigint, a.shard from tds.ask_all('counts') a where a.error is null;
end
$$;
revoke all on function tds.queue_counts() from public;
comment on function tds.queue_counts() is 'tds_queue_counts of all shards that answer.';

create or replace view public.tds_queue_counts as
select c.status, sum(c.events)::bigint as events from tds.queue_counts() c group by c.status;
comment on view public.tds_queue_counts is 'How many events are in each state, on all shards that answer.';

create or replace function tds.alerts() returns table (shard text, alert jsonb)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query select a.shard, a.answer from tds.ask_all('alerts') a where a.error is null;
end
$$;
revoke all on function tds.alerts() from public;
comment on function tds.alerts() is 'tds_alerts of all shards that answer, each as JSON.';

create or replace function tds.replay(dead_letter_id bigint, record jsonb default null) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (tds.ask_whoever('replay', jsonb_build_object('dead_letter_id', replay.dead_letter_id, 'record', replay.record), 'ZB004')
            ->> 0)::bigint;
end
$$;
revoke all on function tds.replay(bigint, jsonb) from public;
comment on function tds.replay(bigint, jsonb) is 'tds.replay() on the shard that has the dead letter.';

create or replace function tds.replay(entity text, error_code text default null, details boolean default null) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_sent int;
    v_told text;
begin
    select coalesce(sum((a.answer)::int) filter (where a.error is null), 0), string_agg(a.shard || ': ' || a.error, '; ')
      into v_sent, v_told
      from tds.ask_all('replay_all', jsonb_build_object(
               'entity', replay.entity, 'error_code', replay.error_code, 'details', replay.details)) a;
    if v_told is not null then
        raise warning 'not replayed: %', v_told;
    end if;
    return v_sent;
end
$$;
revoke all on function tds.replay(text, text, boolean) from public;
comment on function tds.replay(text, text, boolean) is
'tds.replay() of an entity on all shards; returns how many were sent. A shard that refuses or is away is told in a warning.';

create or replace function tds.want_detail(entity text, organization_id text, zoho_id text, reason text default 'asked for') returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform from tds.ask(tds.shard_to_write(want_detail.organization_id), 'want', jsonb_build_object(
        'entity', want_detail.entity, 'organization_id', want_detail.organization_id, 'zoho_id', want_detail.zoho_id,
        'reason', want_detail.reason));
end
$$;
revoke all on function tds.want_detail(text, text, text, text) from public;
comment on function tds.want_detail(text, text, text, text) is 'tds.want_detail() on the organisation''s shard.';

create or replace function tds.repair_records(
    entity text, zoho_ids text[], organization_id text default null, asked_by text default null) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select (a.a ->> 0)::bigint from tds.ask(tds.shard_to_write(repair_records.organization_id), 'repair', jsonb_build_object(
                'entity', repair_records.entity, 'zoho_ids', repair_records.zoho_ids,
                'organization_id', coalesce(repair_records.organization_id, nullif(tds.default_organization(), 'default')),
                'by', coalesce(repair_records.asked_by, session_user))) a(a));
end
$$;
revoke all on function tds.repair_records(text, text[], text, text) from public;
comment on function tds.repair_records(text, text[], text, text) is 'tds.repair_records() on the organisation''s shard.';

create or replace function tds.repair(entity text, variadic zoho_ids text[]) returns bigint
language sql volatile
set search_path = pg_catalog, pg_temp
as $$ select tds.repair_records($1, $2) $$;
revoke all on function tds.repair(text, text[]) from public;
comment on function tds.repair(text, text[]) is 'tds.repair_records() of the default organisation.';

create or replace function tds.explain_record(entity text, zoho_id text, organization_id text default null)
returns table (
    inbox_id bigint, received_at timestamptz, source text, shape text, event text, observed_at timestamptz, last_modified_time text,
    run_id bigint, page int, "position" int, outcome text, why text, finished_at timestamptz, shard text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select x.*, s.name
      from tds.shard s
     cross join lateral tds.ask(s.number, 'explain', jsonb_build_object(
               'entity', explain_record.entity, 'zoho_id', explain_record.zoho_id, 'organization_id', explain_record.organization_id)) a(a)
     cross join lateral jsonb_to_record(a.a) x(
               inbox_id bigint, received_at timestamptz, source text, shape text, event text, observed_at timestamptz,
               last_modified_time text, run_id bigint, page int, "position" int, outcome text, why text, finished_at timestamptz)
     where s.removed_at is null
       and (explain_record.organization_id is null or s.number = tds.shard_of(explain_record.organization_id));
end
$$;
revoke all on function tds.explain_record(text, text, text) from public;
comment on function tds.explain_record(text, text, text) is
'tds.explain_record() on the organisation''s shard; on all, where none is named.';

create or replace function tds.record_now(entity text, zoho_id text, organization text default null)
returns table (organization_id text, in_mirror boolean, version int, last_modified_at timestamptz, observed_at timestamptz,
    synced_at timestamptz, deleted_at timestamptz, wanted_since timestamptz, wanted_reason text, wanted_error text, dead_letters bigint[],
    shard text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select x.*, s.name
      from tds.shard s
     cross join lateral tds.ask(s.number, 'record', jsonb_build_object(
               'entity', $1, 'zoho_id', $2, 'organization_id', $3)) a(a)
     cross join lateral jsonb_to_record(a.a) x(
               organization_id text, in_mirror boolean, version int, last_modified_at timestamptz, observed_at timestamptz,
               synced_at timestamptz, deleted_at timestamptz, wanted_since timestamptz, wanted_reason text, wanted_error text,
               dead_letters bigint[])
     where s.removed_at is null and ($3 is null or s.number = tds.shard_of($3));
end
$$;
revoke all on function tds.record_now(text, text, text) from public;
comment on function tds.record_now(text, text, text) is 'tds.record_now() on the organisation''s shard; on all, where none is named.';

-- The receiver

create or replace function tds.organizations_listed()
returns table (organization_id text, name text, data_centre text, accounts_base text, api_base text, credentials text,
    webhook_credentials text, state text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now      constant timestamptz := tds.now();
    v_answered int[];
    v_told     jsonb[];
begin
    select array_agg(distinct s.number) filter (where a.error is null),
           -- one that is being moved is a row of both: that of its own shard counts
           array_agg(jsonb_build_object('shard', s.number, 'row', a.answer)) filter (
               where a.error is null and a.answer is not null
                 and s.number = coalesce((select d.shard from tds.directory d where d.organization_id = a.answer ->> 'organization_id'),
                                         tds.default_shard()))
      into v_answered, v_told
      from tds.shard s
      join tds.ask_all('organizations', is_probe => true) a on a.shard = s.name;
    -- a shard without organisations answers with no row at all, and cannot be told from one that was not asked: its rows stay
    delete from tds.organization_told t
     where t.shard = any (v_answered)
       and t.organization_id <> all (array(select u.told -> 'row' ->> 'organization_id' from unnest(v_told) u(told)));
    insert into tds.organization_told as t (organization_id, shard, told, told_at)
    select u.told -> 'row' ->> 'organization_id', (u.told ->> 'shard')::int, u.told -> 'row', v_now
      from unnest(v_told) u(told)
     order by 1
    on conflict on constraint organization_told_pkey do update
       set shard = excluded.shard, told = excluded.told, told_at = excluded.told_at
     where (t.shard, t.told) is distinct from (excluded.shard, excluded.told);
    return query
    select t.organization_id, t.told ->> 'name', t.told ->> 'data_centre', t.told ->> 'accounts_base', t.told ->> 'api_base',
           t.told ->> 'credentials', t.told ->> 'webhook_credentials', t.told ->> 'state'
      from tds.organization_told t
     order by t.organization_id;
end
$$;
revoke all on function tds.organizations_listed() from public;
comment on function tds.organizations_listed() is
'The rows of the organisations of all shards, for receivers: each has an address and secrets of its own. Of a shard that is away, as it '
'told them last.';

create or replace function tds.beat(clock timestamptz default null) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select coalesce(bool_or(a.answer::boolean), false)
              from tds.ask_all('beat', jsonb_build_object('program', current_setting('application_name'), 'clock', beat.clock), true) a);
end
$$;
revoke all on function tds.beat(timestamptz) from public;
comment on function tds.beat(timestamptz) is 'tds.beat() of this session''s program on every shard that answers.';

create or replace function tds.stop_program() returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform from tds.ask_all('stop', jsonb_build_object('program', current_setting('application_name')), true);
end
$$;
revoke all on function tds.stop_program() from public;
comment on function tds.stop_program() is 'tds.stop_program() of this session''s program on every shard that answers.';

create or replace function tds.note_strays(paths text[], requests int[]) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform from tds.ask(tds.default_shard(), 'strays',
                         jsonb_build_object('paths', note_strays.paths, 'requests', note_strays.requests), true);
end
$$;
revoke all on function tds.note_strays(text[], int[]) from public;
comment on function tds.note_strays(text[], int[]) is 'tds.note_strays() on the default shard.';

create or replace function tds.api_request_pull(entity text, options jsonb, organization_id text, requested_by text) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select a.a from tds.ask(tds.shard_to_write(api_request_pull.organization_id), 'pull', jsonb_build_object(
                'entity', api_request_pull.entity, 'options', api_request_pull.options,
                'organization_id', coalesce(api_request_pull.organization_id, nullif(tds.default_organization(), 'default')),
                'by', api_request_pull.requested_by)) a(a));
end
$$;
revoke all on function tds.api_request_pull(text, jsonb, text, text) from public;
comment on function tds.api_request_pull(text, jsonb, text, text) is 'tds.api_request_pull() on the organisation''s shard.';

create or replace function tds.request_pull(entity text, options jsonb default '{}', organization_id text default null) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (tds.api_request_pull(request_pull.entity, request_pull.options, request_pull.organization_id, session_user)
            ->> 'run_id')::bigint;
end
$$;
revoke all on function tds.request_pull(text, jsonb, text) from public;
comment on function tds.request_pull(text, jsonb, text) is 'tds.request_pull() on the organisation''s shard.';

create or replace function tds.api_run(run_id bigint) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.ask_whoever('run', jsonb_build_object('run_id', api_run.run_id), 'ZB012');
end
$$;
revoke all on function tds.api_run(bigint) from public;
comment on function tds.api_run(bigint) is 'tds.api_run() of the shard that has the run. Raises ZB012.';

create or replace function tds.api_runs(state text, entity text, before bigint, at_most int) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce((
        select jsonb_agg(r.run order by (r.run ->> 'run_id')::bigint desc)
          from (select a.answer || jsonb_build_object('shard', a.shard) as run
                  from tds.ask_all('runs', jsonb_build_object('state', api_runs.state, 'entity', api_runs.entity, 'before', api_runs.before,
                                                              'at_most', api_runs.at_most)) a
                 where a.error is null
                 order by (a.answer ->> 'run_id')::bigint desc
                 limit api_runs.at_most) r), '[]');
end
$$;
revoke all on function tds.api_runs(text, text, bigint, int) from public;
comment on function tds.api_runs(text, text, bigint, int) is 'tds.api_runs() of all shards that answer, in the order of their numbers.';

create or replace function tds.api_cancel_run(run_id bigint) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.ask_whoever('cancel_run', jsonb_build_object('run_id', api_cancel_run.run_id), 'ZB012');
end
$$;
revoke all on function tds.api_cancel_run(bigint) from public;
comment on function tds.api_cancel_run(bigint) is 'tds.api_cancel_run() on the shard that has the run. Raises ZB012.';

create or replace function tds.why_no_option(entity text, name text) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select a.a ->> 0 from tds.ask(
                tds.default_shard(), 'no_option', jsonb_build_object('entity', why_no_option.entity, 'name', why_no_option.name),
                true) a(a));
end
$$;
revoke all on function tds.why_no_option(text, text) from public;
comment on function tds.why_no_option(text, text) is 'tds.why_no_option(), as the default shard has it.';

create or replace function tds.bulk_sync_refusal() returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select a.a ->> 0 from tds.ask(tds.default_shard(), 'no_pulls', '{}', true) a(a));
end
$$;
revoke all on function tds.bulk_sync_refusal() from public;
comment on function tds.bulk_sync_refusal() is 'tds.bulk_sync_refusal(), as the default shard has it.';

create or replace function tds.installed_files() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select jsonb_object_agg(f.key, f.value)
              from (select e.key, min(e.value) as value
                      from (select a.answer, count(*) over () as shards from tds.ask_all('files', '{}', true) a where a.error is null) s
                     cross join lateral jsonb_each_text(s.answer) e
                     group by e.key
                    having count(*) = min(s.shards) and min(e.value) = max(e.value)) f);
end
$$;
revoke all on function tds.installed_files() from public;
comment on function tds.installed_files() is 'The files that all shards that answer were made from alike, with their SHA-256.';

create or replace function tds.missing_queues() returns text[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce((select array_agg(a.shard || '/' || q.name order by a.shard, q.name)
                       from tds.ask_all('queues', '{}', true) a
                      cross join lateral (select jsonb_array_elements_text(a.answer) where a.error is null) q(name)), '{}');
end
$$;
revoke all on function tds.missing_queues() from public;
comment on function tds.missing_queues() is 'The queues of shards that answer which cannot be reached, as SHARD/QUEUE.';

create or replace function tds.add_told(one jsonb, other jsonb) returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if add_told.one is null or add_told.one = 'null' then
        return add_told.other;
    elsif add_told.other is null or add_told.other = 'null' then
        return add_told.one;
    elsif jsonb_typeof(add_told.one) = 'object' and jsonb_typeof(add_told.other) = 'object' then
        return coalesce((
            select jsonb_object_agg(k.key, case
                       when k.key = any (array['oldest_seconds', 'looked_at', 'state', 'average', 'p99', 'success_at', 'seconds', 'is',
                                               'enabled', 'running', 'value', 'left_today', 'left_this_minute', 'paused_seconds',
                                               'day_limit'])
                            and jsonb_typeof(a.value) = 'number' and jsonb_typeof(b.value) = 'number'
                            then to_jsonb(greatest((a.value)::numeric, (b.value)::numeric))
                       else tds.add_told(a.value, b.value) end)
              from (select jsonb_object_keys(add_told.one) union select jsonb_object_keys(add_told.other)) k(key)
             cross join lateral (select add_told.one -> k.key) a(value)
             cross join lateral (select add_told.other -> k.key) b(value)), '{}');
    elsif jsonb_typeof(add_told.one) = 'number' and jsonb_typeof(add_told.other) = 'number' then
        return to_jsonb((add_told.one)::numeric + (add_told.other)::numeric);
    elsif jsonb_typeof(add_told.one) = 'boolean' and jsonb_typeof(add_told.other) = 'boolean' then
        return to_jsonb((add_told.one)::boolean or (add_told.other)::boolean);
    elsif jsonb_typeof(add_told.one) = 'array' and jsonb_typeof(add_told.other) = 'array' then
        -- rows with the same words are one row, their numbers added
        return coalesce((
            select jsonb_agg(g.told)
              from (select case when count(*) = 1 then (array_agg(e.doc))[1] else tds.add_told((array_agg(e.doc))[1], (array_agg(e.doc))[2])
                           end as told
                      from (select x.doc, (select coalesce(jsonb_object_agg(w.key, w.value), '{}') from jsonb_each(x.doc) w
                                            where jsonb_typeof(w.value) = 'string') as words
                              from (select jsonb_array_elements(add_told.one)
                                     union all
                                    select jsonb_array_elements(add_told.other)) x(doc)) e
                     group by e.words) g), '[]');
    end if;
    return add_told.one;
end
$$;
revoke all on function tds.add_told(jsonb, jsonb) from public;
comment on function tds.add_told(jsonb, jsonb) is
'The metrics of two shards as one: counts are added, of ages, states and limits the greater counts, rows go by their words.';

create or replace function tds.metrics() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_shard record;
    v_all   jsonb;
begin
    for v_shard in select a.answer from tds.ask_all('metrics', '{}', true) a where a.error is null loop
        v_all := tds.add_told(v_all, v_shard.answer);
    end loop;
    return v_all;
end
$$;
revoke all on function tds.metrics() from public;
comment on function tds.metrics() is 'tds.metrics() of all shards that answer, as one.';
