create or replace function tds.forget_cron_runs(days int default 7) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows bigint := 0::bigint;
begin
    if exists (select from pg_extension e where e.extname = 'pg_cron') then
        -- pg_cron itself never forgets one
        execute format('delete from %I.job_run_details d where d.username = current_user and d.database = current_database() and d.start_time < $1', 'cron')
          using tds.now() - make_interval(days => forget_cron_runs.days);
        get diagnostics v_rows = row_count;
    end if;
    return v_rows;
end
$$;
revoke all on function tds.forget_cron_runs(int) from public;
comment on function tds.forget_cron_runs(int) is
'Deletes what pg_cron has noted of the caller''s runs in this database longer ago; returns how many. Without pg_cron here it does nothing.';

grant execute on function tds.forget_cron_runs(int), tds.observe_drift(int), tds.ensure_partitions() to tds_worker;

insert into tds.job (job, schedule, command, description) values
    ('ensure_partitions', '15 0 * * *', 'select tds.ensure_partitions()', 'Makes the inbox''s partitions of the days ahead.'),
    ('snapshot_stock', '5 0 * * *', 'select tds.snapshot_stock()', 'Writes the day''s stock into the history.'),
    ('request_changes', '35 * * * *', 'select tds.request_changes()', 'Asks for what has changed in the lists that the API can filter.'),
    ('request_lists', '45 1 * * *', 'select tds.request_lists()', 'Asks for what the API cannot filter: whole lists, price lists, stock.'),
    ('observe_drift', '*/2 * * * *', 'select tds.observe_drift(500)', 'Looks for paths and types that Zoho never sent before.'),
    ('forget_cron_runs', '25 3 * * *', 'select tds.forget_cron_runs()', 'Keeps pg_cron''s own record of our runs small.')
on conflict on constraint job_pkey do update
   set command = excluded.command, description = excluded.description
 where (tds.job.command, tds.job.description) is distinct from (excluded.command, excluded.description);
