-- Checks of the services: each lives by doing its work, not by a connection.

create or replace function tds.silence_of(kind text, at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_all record;
begin
    select max(p.beat_at) as beat_at, count(*) filter (where p.stopped_at is null
                                                       and p.beat_at > silence_of.at - interval '1 minute') as living,
           (array_agg(p.program || case when p.stopped_at is null then '' else ', which was stopped' end
                      order by p.beat_at desc))[1] as last
      into v_all
      from tds.program p
     where p.kind = silence_of.kind and p.beat_at <= silence_of.at + interval '1 minute';
    if v_all.beat_at is null then
        return row(null, format('none has worked here so far, or for long: no %s', silence_of.kind), null)::tds.finding;
    end if;
    return row(greatest(0, round(extract(epoch from silence_of.at - v_all.beat_at))),
               case when v_all.living > 0 then format('%s at work', v_all.living)
                    else format('none at work; the last was %s, at %s', v_all.last, v_all.beat_at) end,
               v_all.beat_at)::tds.finding;
end
$$;
revoke all on function tds.silence_of(text, timestamptz) from public;
comment on function tds.silence_of(text, timestamptz) is 'How long ago any program of that kind did a turn of its work, in seconds.';

create or replace function tds.check_workers(at timestamptz) returns tds.finding
language sql stable set search_path = pg_catalog, pg_temp
as $$ select tds.silence_of('worker', $1) $$;
revoke all on function tds.check_workers(timestamptz) from public;
comment on function tds.check_workers(timestamptz) is 'Check: how long no worker has worked.';
select tds.register_check('workers', 'services', 'seconds', 60, 300, 15,
    'How long no worker has done a turn: each looks at the queues every second.',
    'start them: tds work, or tds up; if they run, see their log, and programs_silent');

create or replace function tds.check_receiver(at timestamptz) returns tds.finding
language sql stable set search_path = pg_catalog, pg_temp
as $$ select tds.silence_of('receiver', $1) $$;
revoke all on function tds.check_receiver(timestamptz) from public;
comment on function tds.check_receiver(timestamptz) is
'Check: how long no receiver has reached the database by the way it stores webhooks.';
select tds.register_check('receiver', 'services', 'seconds', 60, 300, 15,
    'How long no receiver has reached the database by the connection that stores webhooks; it does so every ten seconds, even if none '
    'comes.',
    'start it: tds serve, or tds up; if it runs, see its log');

create or replace function tds.check_poller(at timestamptz) returns tds.finding
language sql stable set search_path = pg_catalog, pg_temp
as $$ select tds.silence_of('poller', $1) $$;
revoke all on function tds.check_poller(timestamptz) from public;
comment on function tds.check_poller(timestamptz) is 'Check: how long no poller has done a turn.';
select tds.register_check('poller', 'services', 'seconds', 120, 900, 15,
    'How long no poller has done a turn: looked for pulls and wanted details, stored a page or a detail, or asked for leave to call.',
    'start it: tds poll, or tds up; if it runs, see its log, and api_token');

create or replace function tds.check_programs_silent(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_all record;
begin
    select count(*) as programs, min(p.beat_at) as since,
           string_agg(format('%s since %s%s', p.program, p.beat_at, case when p.restart_wanted_at is not null then ' (a restart is asked '
               'for)' else '' end),
                      '; ' order by p.beat_at) as told
      into v_all
      from tds.program p
     where p.stopped_at is null and p.kind <> 'pg_cron'
       and p.beat_at not between check_programs_silent.at - make_interval(secs => tds.setting_int('program_silent_seconds'))
                             and check_programs_silent.at + interval '1 minute'
       and not tds.is_busy(p);
    return row(v_all.programs, coalesce(v_all.told, 'every program works that has not said that it stops'), v_all.since)::tds.finding;
end
$$;
revoke all on function tds.check_programs_silent(timestamptz) from public;
comment on function tds.check_programs_silent(timestamptz) is
'Check: programs that neither work nor said that they stop: they hang, or died.';

create or replace function tds.is_busy(program tds.program) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (select from pg_stat_activity a
                    where a.pid = (is_busy.program).backend_pid and a.application_name = (is_busy.program).program and a.state = 'active');
end
$$;
revoke all on function tds.is_busy(tds.program) from public;
comment on function tds.is_busy(tds.program) is 'Whether the database works for a program just now: then it is not the program that hangs.';
select tds.register_check('programs_silent', 'services', 'programs', 1, null, 15,
    'Programs that have not worked for longer than the setting program_silent_seconds, although they did not say that they stop, and no '
    'statement of theirs is running.',
    'tds up and tds work start one that hangs again by themselves; elsewhere restart it; one that is gone for good is forgotten after a '
    'day');

create or replace function tds.check_pg_cron(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_last timestamptz;
begin
    if not exists (select from tds.job j where j.in_pg_cron and j.enabled) then
        return row(null, 'the workers run the jobs', null)::tds.finding;
    end if;
    select max(r.started_at) into v_last from tds.job_run r where r.runner = 'pg_cron' and r.started_at <= check_pg_cron.at;
    v_last := coalesce(v_last, (select max(j.since) from tds.job j where j.in_pg_cron and j.enabled));
    return row(round(extract(epoch from check_pg_cron.at - v_last) / 60, 1), format('its last run began at %s', v_last),
               v_last)::tds.finding;
end
$$;
revoke all on function tds.check_pg_cron(timestamptz) from public;
comment on function tds.check_pg_cron(timestamptz) is 'Check: how long pg_cron, which has our jobs, has run none.';
select tds.register_check('pg_cron', 'services', 'minutes', 10, 60, 15,
    'How long pg_cron has begun none of the jobs it has; one is due every two minutes. The workers run what it lets lie.',
    'see the server''s log, select * from cron.job_run_details order by runid desc limit 10; tds jobs install');

create or replace function tds.check_jobs_overdue() returns tds.finding
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_latest constant timestamptz := tds.now() - make_interval(secs => tds.setting_int('job_grace_seconds'));
    v_all record;
begin
    select count(*) as jobs, min(l.since) as since, string_agg(l.told, '; ' order by l.since) as told
      into v_all
      from (select case when j.overdue then j.next_due_at else j.last_started_at end as since,
                   format(case when j.overdue then '%s since %s' else '%s runs since %s' end, j.job,
                          case when j.overdue then j.next_due_at else j.last_started_at end) as told
              from tds.jobs() j
             -- one that runs should have run again by now, or a worker has given it up
             where j.overdue
                or j.state = 'running' and least(j.next_due_at, j.last_started_at + interval '1 hour') < v_latest) l;
    return row(v_all.jobs, coalesce(v_all.told, 'none is late'), v_all.since)::tds.finding;
end
$$;
revoke all on function tds.check_jobs_overdue() from public;
comment on function tds.check_jobs_overdue() is 'Check: jobs that nobody runs.';
select tds.register_check('jobs_overdue', 'jobs', 'jobs', 1, 3, 15,
    'Jobs that were due longer ago than the setting job_grace_seconds, or still run by then though they are due again, or after an hour.',
    'tds work runs them; tds jobs says who should; tds jobs run NAME runs one now; what hangs: select * from pg_stat_activity, then '
    'select pg_terminate_backend(PID)');

create or replace function tds.check_jobs_failed() returns tds.finding
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_all record;
begin
    select count(*) as jobs, min(j.last_error_at) as since, string_agg(format('%s: %s', j.job, j.last_error), '; ' order by j.job) as told
      into v_all
      from tds.jobs() j where j.enabled and j.state in ('failed', 'lost');
    return row(v_all.jobs, coalesce(v_all.told, 'the last run of each was done'), v_all.since)::tds.finding;
end
$$;
revoke all on function tds.check_jobs_failed() from public;
comment on function tds.check_jobs_failed() is 'Check: jobs whose last run failed.';
select tds.register_check('jobs_failed', 'jobs', 'jobs', 1, 3, 15,
    'Jobs whose last run failed, or whose session was gone before the end.',
    'mend what the error names, then tds jobs run NAME');

create or replace function tds.check_jobs_off() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select row(count(j.job) + z.unknown::int,
                       coalesce(nullif(concat_ws('; ', 'switched off: ' || string_agg(j.job, ', ' order by j.job),
                                                 case when z.unknown then format('the server knows no time zone %s: UTC is taken',
                                                                                 z.told) end), ''), 'all run'),
                       min(j.since))::tds.finding
              from (select t.told, t.told <> tds.job_time_zone() as unknown
                      from (select coalesce(tds.setting_text('job_time_zone'), 'UTC') as told) t) z
              left join tds.job j on not j.enabled
             group by z.told, z.unknown);
end
$$;
revoke all on function tds.check_jobs_off() from public;
comment on function tds.check_jobs_off() is 'Check: jobs that are switched off.';
select tds.register_check('jobs_off', 'jobs', 'jobs', 1, null, 15,
    'Jobs of tds.job that are switched off; one more where the server does not know the time zone that they are to run by.',
    'update tds.job set enabled = true where job = …; select * from tds.install_jobs(), where pg_cron is; '
    'update tds.setting set value = ''"UTC"'' where name = ''job_time_zone''');

create or replace function tds.check_set_aside() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select row(count(*),
                       coalesce(left(string_agg(format('%s: %s', s.job, s.item), '; ' order by s.set_aside_at desc), 500), 'nothing'),
                       min(s.set_aside_at))::tds.finding
              from tds.set_aside s);
end
$$;
revoke all on function tds.check_set_aside() from public;
comment on function tds.check_set_aside() is 'Check: items that a job could not do, and went on without.';
select tds.register_check('set_aside', 'jobs', 'items', 1, null, 15,
    'Items that a job could not do, and went on without.',
    'select * from tds.set_aside; mend what the error names, then delete its row there');

create or replace function tds.check_clock(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_program record;
    v_newest  timestamptz;
begin
    select p.program, abs(p.skew_seconds) as seconds into v_program
      from tds.program p
     where p.stopped_at is null and p.skew_seconds is not null and p.beat_at > check_clock.at - interval '15 minutes'
     order by 2 desc limit 1;
    select max(t.at) into v_newest
      from (select i.at
              from (select max(e.received_at) as at from tds.inbox e where e.received_at > check_clock.at) i
             -- events stay where they are: of those that were seen a day ago all is said
             where not exists (select from tds.measure m
                                where m.name = 'seconds_ahead' and m.measured_at <= check_clock.at - interval '1 day'
                                  and m.measured_at + make_interval(secs => m.value::float8) >= i.at - interval '1 second')
             union all select (select max(r.started_at) from tds.job_run r)
             union all select (select max(p.beat_at) from tds.program p)) t;
    if v_newest > check_clock.at + interval '1 second' and extract(epoch from v_newest - check_clock.at) > coalesce(v_program.seconds,
        0) then
        return row(round(extract(epoch from v_newest - check_clock.at), 1), format('rows say %s, which is in the future: the clock was set '
            'back', v_newest),
                   null)::tds.finding;
    end if;
    return row(v_program.seconds, coalesce('the clock that differs most from the database''s is that of ' || v_program.program,
                                           'no program has told its clock'), null)::tds.finding;
end
$$;
revoke all on function tds.check_clock(timestamptz) from public;
comment on function tds.check_clock(timestamptz) is
'Check: how far clocks are apart, of programs and the database, or of the database now and before.';
select tds.register_check('clock', 'services', 'seconds', 5, 60, 15,
    'How far the clock of a program is from the database''s, or how far in the future the newest row is, for a day.',
    'set the clocks (chrony, systemd-timesyncd) of the machines named; times in the future are not believed, and nothing has to be mended '
    'by hand');

insert into tds.setting (name, value, description) values
    ('program_silent_seconds', '120', 'After how many seconds without a turn of its work a program is taken to hang, unless the database '
                                      'works for it just then.')
on conflict on constraint setting_pkey do nothing;
