-- The roles of TDS. They belong to the whole cluster, so this is run apart from the rest, and may be run again.
-- Needs CREATEROLE. Nobody is granted one of them but the one who installs; what each role may do stands beside the
-- objects themselves.
do $$
declare
    wanted text;
begin
    foreach wanted in array array[
        'tds_owner',     -- owns every object; nobody logs in as it
        'tds_receiver',  -- stores webhooks, and nothing else
        'tds_worker',    -- processes the inbox, runs the scheduled jobs
        'tds_poller',    -- asks Zoho, stores the answers
        'tds_operator',  -- retries, replays, pauses
        'tds_reader'     -- reads the mirror and the views
    ] loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
            execute pg_catalog.format('create role %I nologin', wanted);
        end if;
    end loop;
    -- pg_cron runs no job of a role that may not log in. Without a password it still cannot where one is asked for.
    if not (select rolcanlogin from pg_catalog.pg_roles where rolname = 'tds_worker') then
        alter role tds_worker login;
    end if;
end
$$;

-- The checks name who holds a lock or an old transaction, whoever it is. Without this they see the sessions of TDS alone.
do $$
begin
    if not pg_catalog.pg_has_role('tds_owner', 'pg_read_all_stats', 'member') then
        grant pg_read_all_stats to tds_owner;
    end if;
exception when insufficient_privilege then
    raise notice 'an administrator has to run: grant pg_read_all_stats to tds_owner';
end
$$;

-- What fills the disk with temporary files is stopped by our own functions, which run as tds_owner.
do $$
begin
    if not pg_catalog.has_parameter_privilege('tds_owner', 'temp_file_limit', 'set') then
        grant set on parameter temp_file_limit to tds_owner;
    end if;
exception when insufficient_privilege then
    raise notice 'an administrator has to run: grant set on parameter temp_file_limit to tds_owner';
end
$$;

-- From 16 on the creator of a role administers it, but may only become it after this grant.
do $$
begin
    if not pg_catalog.pg_has_role(
        'tds_owner',
        case when pg_catalog.current_setting('server_version_num')::int < 160000 then 'member' else 'set' end
    ) then
        execute pg_catalog.format('grant tds_owner to %I', current_user);
    end if;
end
$$;
