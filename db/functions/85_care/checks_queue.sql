-- Checks of the queue: what waits, what failed, what is dead. Counts stop at 100,000: beyond that a number more says nothing more.

create or replace function tds.check_queue_pending() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_events bigint;
begin
    select count(*) into v_events from (select from tds.inbox_open o where o.retry_at is null limit 100000) c;
    return row(v_events, case when v_events = 100000 then 'at least ' else '' end || v_events || ' events wait or are in work', null)::tds.finding;
end
$$;
revoke all on function tds.check_queue_pending() from public;
comment on function tds.check_queue_pending() is 'Check: how many events wait or are in work.';
select tds.register_check('queue_pending', 'queue', 'events', 50, 200, 15,
    'Events that are stored and not processed yet.',
    'select * from tds_health where area = ''services''; tds work, if no worker lives; see queue_oldest for what it waits for');
