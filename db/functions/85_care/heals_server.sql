-- Steps that mend what is around the queue: programs that hang, jobs that pg_cron has lost, vacuum.

create or replace function tds.heal_programs(at timestamptz, dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_silent  constant timestamptz := heal_programs.at - make_interval(secs => tds.setting_int('program_silent_seconds'));
    v_program record;
begin
    for v_program in
        select p.program, p.kind, p.beat_at, p.restart_wanted_at,
               exists (select from pg_stat_activity a where a.application_name = p.program) as is_connected,
               exists (select from tds.program o
                        where o.kind = p.kind and o.host = p.host and o.program <> p.program and o.stopped_at is null
                          and o.beat_at > v_silent
                          and o.started_at > p.started_at) as is_replaced
          from tds.program p
         where p.stopped_at is null and p.kind <> 'pg_cron' and p.beat_at < v_silent and not tds.is_busy(p)
         order by p.program
           for update skip locked
    loop
        if not v_program.is_connected and (v_program.is_replaced or v_program.beat_at < heal_programs.at - interval '1 day') then
            if not heal_programs.dry_run then
                update tds.program p set stopped_at = heal_programs.at, restart_wanted_at = null where p.program = v_program.program;
            end if;
            return next row(v_program.program, 'noted that it is gone', true,
                            case when v_program.is_replaced then 'another one has taken its place' else 'for a day' end)::tds.healed;
        elsif v_program.restart_wanted_at is null then
            if not heal_programs.dry_run then
                update tds.program p set restart_wanted_at = heal_programs.at,
                    restart_reason = format('no turn since %s', v_program.beat_at)
                 where p.program = v_program.program;
            end if;
            return next row(v_program.program, 'asked for a restart', true, format('no turn since %s', v_program.beat_at))::tds.healed;
        end if;
    end loop;
end
$$;
revoke all on function tds.heal_programs(timestamptz, boolean) from public;
comment on function tds.heal_programs(timestamptz, boolean) is
'Step: asks whoever started them to start hung programs again; forgets the dead ones that have been replaced.';
select tds.register_heal('programs', 80, 'Asks tds up, tds work or tds serve to start a program again that hangs; forgets one that died '
                                         'and was replaced.');

create or replace function tds.heal_cron(dry_run boolean) returns setof tds.healed
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_cron constant text := 'cron';
    v_lost text[];
begin
    if not exists (select from pg_extension e where e.extname = 'pg_cron') or current_user <> 'tds_worker' then
        return;
    end if;
    execute format($sql$
        select coalesce(array_agg(j.job order by j.job), '{}') from tds.job j
         where j.in_pg_cron and j.enabled
           and not exists (select from %I.job c where c.jobname::text = 'tds:' || j.job and c.username = current_user and c.active)$sql$,
               v_cron)
       into v_lost;
    if v_lost = '{}' then
        return;
    end if;
    if not heal_cron.dry_run then
        perform tds.install_jobs();
    end if;
    return next row('jobs in pg_cron', 'entered them anew', true, array_to_string(v_lost, ', '))::tds.healed;
end
$$;
revoke all on function tds.heal_cron(boolean) from public;
comment on function tds.heal_cron(boolean) is
'Step: enters jobs into pg_cron again that somebody took out of it; as tds_worker only, to whom they belong.';
select tds.register_heal('cron', 15, 'Enters jobs into pg_cron again that are missing there.');

create or replace function tds.heal_autovacuum(dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table regclass;
begin
    -- what uses the table just then is not waited for
    perform set_config('lock_timeout', '1s', true);
    for v_table in
        select c.oid::regclass from pg_class c
         where c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace, (select n.oid from pg_namespace n where n.nspname = 'pgmq'))
           and c.relkind = 'r'
           and exists (select from pg_options_to_table(c.reloptions) o
                        where o.option_name = 'autovacuum_enabled' and lower(o.option_value) in ('off', 'false', 'no', '0'))
         order by c.oid limit 50
    loop
        if not heal_autovacuum.dry_run then
            execute format('alter table %s reset (autovacuum_enabled)', v_table);
        end if;
        return next row(v_table::text, 'switched autovacuum on', true, null)::tds.healed;
    end loop;
end
$$;
revoke all on function tds.heal_autovacuum(boolean) from public;
comment on function tds.heal_autovacuum(boolean) is 'Step: switches autovacuum on for tables of ours where somebody switched it off.';
select tds.register_heal('autovacuum', 90, 'Switches autovacuum on for tables of TDS where it is off.');

create or replace function tds.heal_vacuum(at timestamptz, dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table record;
begin
    for v_table in
        select h.name, t.n_dead_tup, t.n_live_tup
          from tds.hot_table h
          join pg_stat_all_tables t on t.relid = h.relation
         where t.n_dead_tup >= tds.setting_int('dead_tuples_least') and t.n_dead_tup > t.n_live_tup
           and coalesce(greatest(t.last_autovacuum, t.last_vacuum), '-infinity') < clock_timestamp() - interval '15 minutes'
           and not exists (select from tds.vacuum_wish w where w.relation = h.name)
         order by h.name
    loop
        if not heal_vacuum.dry_run then
            insert into tds.vacuum_wish (relation, wished_at) values (v_table.name, heal_vacuum.at)
                on conflict on constraint vacuum_wish_pkey do nothing;
        end if;
        return next row(v_table.name, 'asked the workers to vacuum it', true,
                        format('%s dead rows beside %s', v_table.n_dead_tup, v_table.n_live_tup))::tds.healed;
    end loop;
end
$$;
revoke all on function tds.heal_vacuum(timestamptz, boolean) from public;
comment on function tds.heal_vacuum(timestamptz, boolean) is 'Step: has the workers vacuum hot tables that autovacuum has left.';
select tds.register_heal('vacuum', 95, 'Has the workers vacuum hot tables that autovacuum has left.');

create or replace function tds.take_vacuums() returns setof text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    -- who may not vacuum a table leaves it to one who may
    return query
    with taken as (
        delete from tds.vacuum_wish w
         where w.relation in (
               select p.relation from tds.vacuum_wish p
                 join pg_class c on c.oid = to_regclass(p.relation)
                where pg_has_role(session_user, c.relowner, 'usage')
                   or current_setting('server_version_num')::int >= 170000 and session_user = 'tds_worker'
                order by p.relation limit 1 for update of p skip locked)
        returning w.relation)
    select format('vacuum (analyze) %s', t.relation) from taken t where to_regclass(t.relation) is not null;
end
$$;
revoke all on function tds.take_vacuums() from public;
comment on function tds.take_vacuums() is
'A statement that vacuums a table, for the caller to execute by itself: no function can. None: nothing is left to be vacuumed.';

-- who may vacuum besides the owner: from 17 on there is a privilege for it
do $$
declare
    v_table regclass;
begin
    if current_setting('server_version_num')::int >= 170000 then
        for v_table in select h.relation from tds.hot_table h join pg_class c on c.oid = h.relation
            and c.relowner = 'tds_owner'::regrole loop
            execute format('grant maintain on %s to tds_worker', v_table);
        end loop;
    end if;
end
$$;

grant execute on function tds.heal_programs(timestamptz, boolean), tds.heal_cron(boolean), tds.heal_autovacuum(boolean),
    tds.heal_vacuum(timestamptz, boolean), tds.take_vacuums() to tds_worker, tds_operator;
