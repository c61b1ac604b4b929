create or replace function tds.pg_cron_is_loaded() returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return current_setting('cron.database_name', true) is not null;
exception when insufficient_privilege then
    -- it exists, only not for these eyes
    return true;
end
$$;
comment on function tds.pg_cron_is_loaded() is 'Whether this server runs pg_cron, in whichever database.';

create or replace function tds.note_cron_jobs(jobs text[]) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.job j
       set in_pg_cron = j.job = any (note_cron_jobs.jobs)
     where j.in_pg_cron is distinct from (j.job = any (note_cron_jobs.jobs));
end
$$;
revoke all on function tds.note_cron_jobs(text[]) from public;
comment on function tds.note_cron_jobs(text[]) is 'Notes which jobs the pg_cron of this database has.';

create or replace function tds.take_defaults_turn() returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.take_turn('tds.set_own_defaults');
end
$$;
revoke all on function tds.take_defaults_turn() from public;
comment on function tds.take_defaults_turn() is
'The turn of who sets a role''s defaults: the turns are the owner''s, and a role sets its defaults with its own rights.';

create or replace function tds.set_own_defaults() returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_setting record;
    v_set     int := 0;
begin
    -- two that change one role at once fail
    perform tds.take_defaults_turn();
    for v_setting in
        select k.name, k.value
          from (values ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),
                       ('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', 'off'),
                       ('standard_conforming_strings', 'on')) k(name, value)
         where not exists (
                select from pg_db_role_setting s
                 where s.setdatabase = (select d.oid from pg_database d where d.datname = current_database())
                   and s.setrole = (select r.oid from pg_roles r where r.rolname = current_user)
                   and s.setconfig @> array[k.name || '=' || k.value])
         order by k.name
    loop
        execute format('alter role %I in database %I set %I = %L', current_user, current_database(), v_setting.name, v_setting.value);
        v_set := v_set + 1;
    end loop;
    return v_set;
end
$$;
revoke all on function tds.set_own_defaults() from public;
comment on function tds.set_own_defaults() is
'Sets for the caller''s role in this database what jobs rest on, so that pg_cron''s sessions do not have the database''s own; a role '
'may do that for itself. Returns how many settings were another.';
grant execute on function tds.set_own_defaults(), tds.take_defaults_turn() to tds_worker;

create or replace function tds.install_jobs() returns table (job text, action text, statement text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    -- the schema is there or not: its tables are named only when they are looked for
    v_cron     constant text := 'cron';
    v_job      text;
    v_jobname  text;
    v_schedule text;
    v_command  text;
    v_is_there boolean;
begin
    if not exists (select from pg_extension e where e.extname = 'pg_cron') then
        perform tds.note_cron_jobs('{}');
        return query
        select j.job, 'run in the database of pg_cron'::text,
               format('select cron.schedule_in_database(%L, %L, %L, %L, %L);', 'tds:' || current_database() || ':' || j.job, j.schedule,
                      format('call tds.run_job(%L, true, %L)', j.job, 'pg_cron'), current_database(), 'tds_worker')
          from tds.job j where j.enabled and tds.pg_cron_is_loaded()
         order by j.job;
        return;
    end if;
    if current_user <> 'tds_worker' then
        raise exception using errcode = 'ZB022', message = 'jobs belong to tds_worker', detail = 'pg_cron runs a job as whoever scheduled '
            'it',
            hint = 'set role tds_worker; select * from tds.install_jobs()';
    end if;
    perform tds.set_own_defaults();
    for v_job, v_jobname, v_schedule, v_command, v_is_there in execute format($sql$
        select w.job, c.jobname, w.schedule, w.command, w.schedule = c.schedule and w.command = c.command and c.active as is_there
          from (select j.job, 'tds:' || j.job as jobname, j.schedule, 'call tds.run_job(' || quote_literal(j.job)
                || ', true, ''pg_cron'')' as command
                  from tds.job j where j.enabled) w
          full join (select c.jobname::text as jobname, c.schedule, c.command, c.active from %1$I.job c
                      where starts_with(c.jobname::text, 'tds:') and c.username = current_user and c.database = current_database()) c
            on c.jobname = w.jobname
         order by 1, 2$sql$, v_cron)
    loop
        job := coalesce(v_job, substr(v_jobname, 5));
        if v_is_there then
            action := 'kept';
        elsif v_job is null then
            execute format('select %I.unschedule($1::%I)', v_cron, 'name') using v_jobname;
            action := 'removed';
        else
            execute format('select %I.schedule($1, $2, $3)', v_cron) using 'tds:' || v_job, v_schedule, v_command;
            action := 'scheduled';
        end if;
        return next;
    end loop;
    perform tds.note_cron_jobs(array(select j.job from tds.job j where j.enabled));
end
$$;
revoke all on function tds.install_jobs() from public;
comment on function tds.install_jobs() is
'Makes the pg_cron of this database run the jobs of tds.job, and what is no longer there no more; run as tds_worker, to whom they belong. '
'Where pg_cron works from another database: the statements to run there. No rows: there is no pg_cron, the workers run the jobs. Raises '
'ZB022.';
grant execute on function tds.install_jobs(), tds.pg_cron_is_loaded(), tds.note_cron_jobs(text[]) to tds_worker;
