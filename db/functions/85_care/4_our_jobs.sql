create or replace function tds.forget_cron_runs(days int default null) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows bigint := 0::bigint;
begin
    if exists (select from pg_extension e where e.extname = 'pg_cron') then
        -- pg_cron itself never forgets one
        execute format('delete from %I.job_run_details d where d.username = current_user and d.database = current_database() and '
                       'd.start_time < $1', 'cron')
          using tds.now() - make_interval(days => coalesce(forget_cron_runs.days, tds.setting_int('keep_cron_runs_days')));
        get diagnostics v_rows = row_count;
    end if;
    return v_rows;
end
$$;
revoke all on function tds.forget_cron_runs(int) from public;
comment on function tds.forget_cron_runs(int) is
'Deletes what pg_cron has noted of the caller''s runs in this database longer ago (days; null: the setting keep_cron_runs_days); '
'returns how many. Without pg_cron here it does nothing.';

create or replace function tds.fold_counters(rows int default 50000) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows bigint;
begin
    -- Writers count in slots from 0 on, so nobody but a fold writes slot -1; what a writer holds waits for the next fold.
    -- So this waits for no writer, and a writer that waits for this inserts its row anew.
    with chosen as materialized (
        select c.entity, c.day, c.status, c.slot
          from tds.outcome_counter c
         where c.day < (tds.now() at time zone 'UTC')::date and c.slot >= 0
         order by c.entity, c.day, c.status, c.slot
         limit fold_counters.rows
           for update skip locked),
    taken as (
        delete from tds.outcome_counter c
         using chosen o
         where (c.entity, c.day, c.status, c.slot) = (o.entity, o.day, o.status, o.slot)
        returning c.entity, c.day, c.status, c.events),
    folded as (
        insert into tds.outcome_counter as c (entity, day, status, slot, events)
        select t.entity, t.day, t.status, -1, sum(t.events)
          from taken t
         group by t.entity, t.day, t.status
         order by t.entity, t.day, t.status
        on conflict on constraint outcome_counter_pkey do update set events = c.events + excluded.events)
    select count(*) into v_rows from taken;
    return v_rows;
end
$$;
revoke all on function tds.fold_counters(int) from public;
comment on function tds.fold_counters(int) is
'Makes one row of an entity, day and status of tds.outcome_counter out of those of the workers'' slots, for days past; returns how many '
'went into it. The counts stay as they are, and the day too: what is forgotten of the inbox goes by days.';

grant execute on function tds.fold_counters(int), tds.forget_cron_runs(int), tds.observe_drift(int), tds.ensure_partitions() to tds_worker;

insert into tds.job (job, schedule, command, description) values
    ('ensure_partitions', '15 0 * * *', 'select tds.ensure_partitions()', 'Makes the inbox''s partitions of the days ahead.'),
    ('snapshot_stock', '5 * * * *', 'select tds.snapshot_stock()', 'Writes the stock into the history as each organisation''s day begins.'),
    ('request_changes', '35 * * * *', 'select tds.request_scheduled(true)', 'Asks for what has changed in the lists that the API can '
        'filter.'),
    ('request_lists', '45 1 * * *', 'select tds.request_scheduled(false)', 'Asks for what the API cannot filter: whole lists, price lists, '
        'stock.'),
    ('observe_drift', '*/2 * * * *', 'select tds.observe_drift(500)', 'Looks for paths and types that Zoho never sent before.'),
    ('forget_cron_runs', '25 3 * * *', 'select tds.forget_cron_runs()', 'Keeps pg_cron''s own record of our runs small.'),
    ('fill_new_columns', '* * * * *', 'select tds.fill_new_columns(5000)',
     'After an upgrade that gave the mirror columns: fills them from the stored documents, 5000 rows a run, until that is done.'),
    ('verify_inside', '10 4 * * *', 'select tds.verify_on(true)', 'Begins to compare the mirror with its documents, without a call.'),
    ('verify_on', '* * * * *', 'select tds.verify_on()', 'Goes on with the comparison that the job verify_inside began.'),
    ('verify_lists', '20 5 * * 0', 'select tds.ask_for_lists()', 'Asks for a comparison with Zoho''s lists: a call for 200 records.'),
    ('fold_counters', '35 3 * * *', 'select tds.fold_counters()', 'Keeps the counters of finished events small: one row of a past day '
                                                                  'instead of sixteen.')
on conflict on constraint job_pkey do update
   set command = excluded.command, description = excluded.description
 where (tds.job.command, tds.job.description) is distinct from (excluded.command, excluded.description);
