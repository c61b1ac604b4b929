-- Who is there: every session of TDS has a name, tds/<process>/<host>….

create or replace view public.tds_workers as
select a.application_name as worker, a.pid, a.backend_start as since, a.state
  from pg_catalog.pg_stat_activity a
 where a.datname = pg_catalog.current_database() and a.application_name like 'tds/worker/%'
   -- a session may call itself what it likes
   and pg_catalog.has_function_privilege(a.usesysid, 'tds.process_batch(text, int, jsonb)', 'execute');
comment on view public.tds_workers is 'The workers that live: each is a session, which listens for events and runs what is due.';
comment on column public.tds_workers.worker is 'Its name: tds/worker/host/process id there; of its batch, tds.claim.worker.';
comment on column public.tds_workers.pid is 'Its backend.';
comment on column public.tds_workers.since is 'Since when it is connected; null for those who may not see it (see pg_read_all_stats).';
comment on column public.tds_workers.state is 'active: it works; idle: it waits; null for those who may not see it.';
grant select on public.tds_workers to tds_worker, tds_poller;

create or replace function tds.refuse_read_only() returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_read_only') = 'on' and not pg_is_in_recovery() then
        raise exception using errcode = 'read_only_sql_transaction', message = 'this transaction is read-only, and nothing can be written',
            detail = format('default_transaction_read_only is %s in this session', current_setting('default_transaction_read_only')),
            hint = 'set default_transaction_read_only = off; for good: select who, mend from tds_overrides';
    end if;
end
$$;
revoke all on function tds.refuse_read_only() from public;
comment on function tds.refuse_read_only() is
'Raises 25006 where the session, the database or the role has transactions be read-only, and says how that is undone.';
grant execute on function tds.refuse_read_only() to tds_worker, tds_operator;

insert into tds.setting (name, value, description) values
    ('temporary_mb', '4096',
        'Megabytes of temporary files that a batch or a job may fill; then it is halved, and what fails alone is set aside. In force where '
        'tds_owner may set temp_file_limit (grant set on parameter temp_file_limit to tds_owner).')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.limit_temporary_files(temporary_mb int default null) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ours constant bigint := coalesce(limit_temporary_files.temporary_mb, tds.setting_int('temporary_mb')) * 1024::bigint * 1024;
begin
    if (current_setting('temp_file_limit') = '-1' or pg_size_bytes(current_setting('temp_file_limit')) > v_ours)
       and has_parameter_privilege('temp_file_limit', 'set') then
        perform set_config('temp_file_limit', (v_ours / 1024)::text, true);
    end if;
end
$$;
revoke all on function tds.limit_temporary_files(int) from public;
comment on function tds.limit_temporary_files(int) is
'Bounds the temporary files of this session by the setting temporary_mb (the argument, of whoever has read it), to the end of the '
'transaction or of the function that calls it; where that may not be set, or is less, it stays as it is. What goes beyond fails with '
'53400.';
