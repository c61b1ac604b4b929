create or replace function tds.job_states()
returns table (job text, state text, runner text, started_at timestamptz, due_at timestamptz)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_zone constant text := tds.job_time_zone();
begin
    return query
    select j.job, l.state, l.runner, l.started_at,
           -- begun by a clock that was ahead: nobody knows when, so now
           case when tds.is_ahead(l.started_at, v_now) then v_now
                when l.started_at is null and tds.is_ahead(j.since, v_now) then v_now
                -- what was lost is made up, after a pause: it may be what ends its server
                when l.state = 'lost' then l.started_at + make_interval(secs => tds.setting_int('job_grace_seconds'))
                else tds.cron_next(j.schedule, greatest(l.started_at, case when not tds.is_ahead(j.since, v_now) then j.since end),
                                   v_zone) end
      from tds.job j
      left join lateral (
            select r.runner, r.started_at,
                   case when r.state = 'running' and not tds.is_leased('job', j.job) then 'lost' else r.state end as state
              from tds.job_run r where r.job = j.job order by r.job_run_id desc limit 1) l on true
     order by j.job;
end
$$;
revoke all on function tds.job_states() from public;
comment on function tds.job_states() is
'Each job''s last run and when the next is due. A run whose session is gone is lost, whatever its row says.';

create or replace function tds.begin_job(job text, runner text, only_if_due boolean, out job_run_id bigint, out command text,
                                         out outcome text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_job   tds.job;
    v_state record;
begin
    select j.* into v_job from tds.job j where j.job = begin_job.job;
    if v_job.job is null then
        raise exception using errcode = 'ZB021', message = 'unknown job', detail = begin_job.job, hint = 'select * from tds_jobs';
    end if;
    if not tds.try_lease('job', v_job.job) then
        begin_job.outcome := 'running already';
        return;
    end if;
    -- ours now: a run that is still noted as running has nobody who runs it
    update tds.job_run r set state = 'lost', finished_at = v_now, error = 'its session was gone before the end'
     where r.job = begin_job.job and r.state = 'running';
    select s.* into strict v_state from tds.job_states() s where s.job = begin_job.job;
    if begin_job.only_if_due and not (v_job.wanted_at is not null or (v_job.enabled and v_state.due_at <= v_now)) then
        perform tds.end_lease('job', v_job.job);
        begin_job.outcome := 'not due';
        return;
    end if;
    perform tds.beat();
    update tds.job j set wanted_at = null, wanted_by = null where j.job = begin_job.job and j.wanted_at is not null;
    insert into tds.job_run as r (job, runner, state, started_at)
    values (begin_job.job, begin_job.runner, 'running', v_now)
    returning r.job_run_id into begin_job.job_run_id;
    begin_job.command := v_job.command;
    begin_job.outcome := 'running';
end
$$;
revoke all on function tds.begin_job(text, text, boolean) from public;
comment on function tds.begin_job(text, text, boolean) is
'Takes the job for this session and notes that it runs; or says why not: running already, not due. Raises ZB021.';

create or replace function tds.finish_job(job_run_id bigint, error_code text, error text, error_context text default null) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_job   tds.job;
    v_state constant text := case when finish_job.error is null then 'done' else 'failed' end;
begin
    select j.* into v_job from tds.job j
     where j.job = (select r.job from tds.job_run r where r.job_run_id = finish_job.job_run_id);
    update tds.job_run r
       set state = v_state, finished_at = v_now, error_code = finish_job.error_code, error = left(finish_job.error, 1000),
           error_context = finish_job.error_context
     where r.job_run_id = finish_job.job_run_id;
    -- of what was done the last, of what was not the last few: the table stays small
    delete from tds.job_run r
     where r.job = v_job.job and r.job_run_id < finish_job.job_run_id
       and case when r.state = 'done' then v_state = 'done'
                else r.job_run_id <= (select f.job_run_id from tds.job_run f
                                       where f.job = v_job.job and f.state <> 'done'
                                       order by f.job_run_id desc offset tds.setting_int('job_failures_kept') limit 1) end;
    perform tds.beat();
    perform tds.end_lease('job', v_job.job);
    return v_state;
end
$$;
revoke all on function tds.finish_job(bigint, text, text, text) from public;
comment on function tds.finish_job(bigint, text, text, text) is
'Notes how a run ended, forgets older runs, and gives the job back. Returns done or failed.';

create or replace procedure tds.run_job(job text, only_if_due boolean default false, runner text default 'by hand',
                                        inout outcome text default null)
language plpgsql
as $$
declare
    v_run     record;
    v_code    text;
    v_error   text;
    v_context text;
begin
    -- It commits, so it can have neither the owner's rights nor a search_path: every name is qualified, and the command runs as the
    -- caller. First of all it commits nothing: inside a transaction it fails here, before it holds a lock of the session.
    commit;
    set transaction isolation level read committed, read write;
    perform tds.our_terms('0', true);
    select * into v_run from tds.begin_job(run_job.job, run_job.runner, run_job.only_if_due);
    commit and chain;
    perform tds.our_terms('0', true);
    outcome := v_run.outcome;
    if v_run.job_run_id is null then
        return;
    end if;
    begin
        execute v_run.command;
    exception when query_canceled or assert_failure or others then
        get stacked diagnostics v_code = returned_sqlstate, v_error = message_text, v_context = pg_exception_context;
        v_context := coalesce(tds.error_context(v_context), '');
        raise warning 'job % failed: % %', run_job.job, v_code, v_error
              using detail = v_context, hint = 'select * from tds.job_run where error is not null';
    end;
    outcome := tds.finish_job(v_run.job_run_id, v_code, v_error, v_context);
    commit;
end
$$;
revoke all on procedure tds.run_job(text, boolean, text, text) from public;
comment on procedure tds.run_job(text, boolean, text, text) is
'Runs a job now, or only if it is due, and notes in tds.job_run what came of it; an error is noted and told as a warning. outcome: done, '
'failed, running already, not due. The command runs in one transaction, with the caller''s rights; a procedure that commits cannot be one. '
'Not inside a transaction. Raises ZB021 for an unknown job.';

create or replace function tds.due_jobs() returns text[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_grace constant interval := make_interval(secs => tds.setting_int('job_grace_seconds'));
begin
    return array(
        select s.job
          from tds.job_states() s
          join tds.job j on j.job = s.job
         where s.state is distinct from 'running'
           -- pg_cron's are left to it unless it lets them lie; one that is wanted out of its turn is run whoever has it
           and (j.wanted_at is not null or j.enabled and s.due_at <= v_now - case when j.in_pg_cron then v_grace else interval '0' end)
         order by j.wanted_at is null, s.due_at, s.job);
end
$$;
revoke all on function tds.due_jobs() from public;
comment on function tds.due_jobs() is
'Jobs a worker has to run now, those first that somebody wants, then the longest due: what pg_cron does not run, and what it should have '
'run job_grace_seconds ago.';

create or replace function tds.jobs_behind_another() returns text[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_latest constant timestamptz := v_now - make_interval(secs => tds.setting_int('job_grace_seconds'));
begin
    if not exists (select from tds.job_states() s where s.state = 'running' and s.started_at <= v_latest) then
        return array[]::text[];
    end if;
    return array(
        select s.job
          from tds.job_states() s
          join tds.job j on j.job = s.job
         where s.state is distinct from 'running' and (j.wanted_at <= v_latest or j.enabled and s.due_at <= v_latest)
         order by s.due_at, s.job);
end
$$;
revoke all on function tds.jobs_behind_another() from public;
comment on function tds.jobs_behind_another() is
'Jobs that are late by job_grace_seconds because whoever runs what is due has been at another one for as long: it may hang, and health and '
'healing are not to wait for it.';

create or replace function tds.want_job(job text, wanted_by text default session_user) returns timestamptz
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_at timestamptz;
begin
    update tds.job j
       set wanted_at = coalesce(j.wanted_at, tds.now()), wanted_by = coalesce(j.wanted_by, want_job.wanted_by)
     where j.job = want_job.job
    returning j.wanted_at into v_at;
    if v_at is null then
        raise exception using errcode = 'ZB021', message = 'unknown job', detail = want_job.job, hint = 'select * from tds_jobs';
    end if;
    return v_at;
end
$$;
revoke all on function tds.want_job(text, text) from public;
comment on function tds.want_job(text, text) is
'Asks for a run of a job out of its turn, also of one that is switched off: the next worker that looks runs it, within ten seconds. '
'Returns since when it is wanted. call tds.run_job(job) runs it in this session instead. Raises ZB021.';
grant execute on function tds.want_job(text, text) to tds_operator;

create or replace procedure tds.run_due_jobs(inout outcome jsonb default null)
language plpgsql
as $$
declare
    v_jobs    text[];
    v_job     text;
    v_outcome text;
    v_is_ours boolean;
begin
    commit;
    set transaction isolation level read committed, read write;
    perform tds.our_terms('0', true);
    outcome := '{}';
    v_is_ours := tds.try_lease('due jobs');
    commit and chain;
    v_jobs := case when v_is_ours then tds.due_jobs() else tds.jobs_behind_another() end;
    foreach v_job in array v_jobs loop
        call tds.run_job(v_job, true, 'worker', v_outcome);
        outcome := outcome operator(pg_catalog.||) pg_catalog.jsonb_build_object(v_job, v_outcome);
    end loop;
    if v_is_ours then
        set transaction isolation level read committed, read write;
        perform tds.end_lease('due jobs');
    end if;
end
$$;
revoke all on procedure tds.run_due_jobs(jsonb) from public;
comment on procedure tds.run_due_jobs(jsonb) is
'Runs the jobs that are due, one after the other; one session at a time, others return at once, unless a job of that session goes on and '
'on (tds.jobs_behind_another()). outcome: job → done, failed, … Not inside a transaction.';

create or replace function tds.jobs()
returns table (job text, schedule text, enabled boolean, state text, runner text, next_due_at timestamptz, overdue boolean,
               last_started_at timestamptz, last_runner text, last_duration interval, last_success_at timestamptz,
               last_error_at timestamptz, last_error text, in_pg_cron boolean, command text, description text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now     constant timestamptz := tds.now();
    v_latest  constant timestamptz := v_now - make_interval(secs => tds.setting_int('job_grace_seconds'));
    v_workers constant boolean := exists (select from public.tds_workers);
begin
    return query
    select j.job, j.schedule, j.enabled, s.state,
           case when not j.enabled then null
                when j.in_pg_cron and not o.overdue and s.runner is distinct from 'worker' then 'pg_cron'
                when v_workers then 'worker'
                when s.runner = 'pg_cron' and not o.overdue then 'pg_cron'
                else 'none' end,
           case when j.enabled then s.due_at end, o.overdue, s.started_at, s.runner, d.finished_at - d.started_at, d.started_at,
           f.started_at, f.error, j.in_pg_cron, j.command, j.description
      from tds.job_states() s
      join tds.job j on j.job = s.job
     cross join lateral (select coalesce(j.enabled and s.state is distinct from 'running' and s.due_at < v_latest, false) as overdue) o
      left join lateral (select r.started_at, r.finished_at from tds.job_run r
                          where r.job = j.job and r.state = 'done' order by r.job_run_id desc limit 1) d on true
      left join lateral (select r.started_at, coalesce(r.error_code || ' ', '') || r.error as error from tds.job_run r
                          where r.job = j.job and r.state in ('failed', 'lost') order by r.job_run_id desc limit 1) f on true
     order by j.job;
end
$$;
revoke all on function tds.jobs() from public;
comment on function tds.jobs() is 'The jobs and how they fare: what tds_jobs shows.';

create or replace view public.tds_jobs as select * from tds.jobs();
comment on view public.tds_jobs is 'What runs by the clock, how its last runs went, when the next is due, and who is there to run it.';
comment on column public.tds_jobs.job is 'Name; call tds.run_job(job) runs it now.';
comment on column public.tds_jobs.schedule is
'When: minute, hour, day of month, month, day of week, in the time zone of the setting job_time_zone.';
comment on column public.tds_jobs.enabled is 'Whether it runs.';
comment on column public.tds_jobs.state is
'Of its last run: running, done, failed, lost (its session was gone before the end); null: none yet.';
comment on column public.tds_jobs.runner is 'Who is there to run it: pg_cron; worker; or none, so that it will not run.';
comment on column public.tds_jobs.next_due_at is 'When it is due next; in the past: since when it is due.';
comment on column public.tds_jobs.overdue is 'Whether it was due longer ago than the setting job_grace_seconds: nobody runs it.';
comment on column public.tds_jobs.last_started_at is 'When its last run began.';
comment on column public.tds_jobs.last_runner is 'Who ran it: pg_cron, worker, or by hand.';
comment on column public.tds_jobs.last_duration is 'How long the last run took that was done.';
comment on column public.tds_jobs.last_success_at is 'When the last run began that was done.';
comment on column public.tds_jobs.last_error_at is 'When the last run began that failed or was lost.';
comment on column public.tds_jobs.last_error is 'What it said.';
comment on column public.tds_jobs.in_pg_cron is 'Whether the pg_cron of this database has it; the workers then run it only if it is late.';
comment on column public.tds_jobs.command is 'What is run.';
comment on column public.tds_jobs.description is 'What it is for.';

grant execute on procedure tds.run_job(text, boolean, text, text), tds.run_due_jobs(jsonb) to tds_worker;
grant execute on function tds.begin_job(text, text, boolean), tds.finish_job(bigint, text, text, text), tds.due_jobs(),
    tds.jobs_behind_another(), tds.try_lease(text, text), tds.end_lease(text, text) to tds_worker;
grant execute on function tds.jobs() to tds_worker, tds_reader, tds_operator;
grant select on tds.job, tds.job_run to tds_worker, tds_reader, tds_operator;

insert into tds.setting (name, value, description) values
    ('job_grace_seconds', '300', 'How late a job may be, in seconds, before it is overdue and a worker runs it though pg_cron has it.'),
    ('job_failures_kept', '20', 'How many failures of a job are kept in tds.job_run.'),
    ('job_time_zone', '"UTC"', 'Time zone of the jobs'' schedules; where pg_cron has another (cron.timezone), that one.')
on conflict on constraint setting_pkey do nothing;
