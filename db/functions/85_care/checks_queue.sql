-- Checks of the queue: what waits, what failed, what is dead. Counts stop at 100,000: beyond that a number more says nothing more.

create or replace function tds.check_queue_pending() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_events bigint;
begin
    select count(*) into v_events from (select from tds.inbox_open o where o.retry_at is null limit 100000) c;
    return row(v_events, case when v_events = 100000 then 'at least ' else '' end || v_events || ' events wait or are in work',
               null)::tds.finding;
end
$$;
revoke all on function tds.check_queue_pending() from public;
comment on function tds.check_queue_pending() is 'Check: how many events wait or are in work.';
select tds.register_check('queue_pending', 'queue', 'events', 50, 200, 15,
    'Events that are stored and not processed yet.',
    'see workers and queue_oldest; a migration or a whole pull passes by itself');

create or replace function tds.check_queue_oldest(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_oldest record;
begin
    -- by the key, which grows with time; parked ones ahead of it are few
    select o.inbox_id, o.received_at, o.entity, o.error_code, o.error into v_oldest
      from tds.inbox_open o where o.retry_at is null order by o.inbox_id limit 1;
    return row(case when v_oldest.inbox_id is null then null
               else greatest(0, round(extract(epoch from check_queue_oldest.at - v_oldest.received_at))) end,
               case when v_oldest.inbox_id is null then 'nothing waits'
                    else format('event %s of %s%s', v_oldest.inbox_id, v_oldest.entity,
                                coalesce(': ' || v_oldest.error_code || ' ' || v_oldest.error, '')) end,
               v_oldest.received_at)::tds.finding;
end
$$;
revoke all on function tds.check_queue_oldest(timestamptz) from public;
comment on function tds.check_queue_oldest(timestamptz) is 'Check: how long the oldest event has waited.';
select tds.register_check('queue_oldest', 'queue', 'seconds', 1800, 7200, 15,
    'How long the oldest event has waited that is not parked for another try.',
    'tds process, and see what it says; tds explain ENTITY ID; see workers, lock_waits and oldest_transaction');

create or replace function tds.check_queue_failed() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_events bigint;
    v_told   text;
begin
    select count(*) into v_events from (select from tds.inbox_open o where o.retry_at is not null limit 100000) c;
    select string_agg(format('%s× %s %s: %s', g.events, g.entity, g.error_code, g.error), '; ' order by g.events desc) into v_told
      from (select o.entity, o.error_code, left(o.error, 100) as error, count(*) as events
              from (select p.* from tds.inbox_open p where p.retry_at is not null order by p.retry_at limit 1000) o
             group by 1, 2, 3 order by 4 desc limit 3) g;
    return row(v_events, coalesce(v_told, 'none'), null)::tds.finding;
end
$$;
revoke all on function tds.check_queue_failed() from public;
comment on function tds.check_queue_failed() is 'Check: events that failed and are tried again later.';
select tds.register_check('queue_failed', 'queue', 'events', 10, 100, 15,
    'Events that failed and wait for another try; after five each is a dead letter.',
    'select * from tds_sync_queue where status = ''failed''; mend what the error names');

create or replace function tds.check_throughput(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    numeric;
    v_before record;
    v_claims record;
begin
    select coalesce(sum(c.events), 0) into v_now from tds.outcome_counter c;
    select m.value, m.measured_at into v_before from tds.measure m
     where m.name = 'completed' and m.measured_at between check_throughput.at - interval '75 minutes'
       and check_throughput.at - interval '1 minute'
     order by m.measured_at limit 1;
    select count(*) as claims, coalesce(sum(cardinality(c.inbox_ids)), 0) as events, min(c.claimed_at) as oldest into v_claims
        from tds.claim c;
    return row(case when v_before.measured_at is not null
                    then greatest(0, round((v_now - v_before.value) * 3600 / extract(epoch
                                                                                     from check_throughput.at - v_before.measured_at))) end,
               format('%s batches with %s events in work%s; %s events finished in all', v_claims.claims, v_claims.events,
                      coalesce(', the oldest since ' || v_claims.oldest::text, ''), v_now),
               null)::tds.finding;
end
$$;
revoke all on function tds.check_throughput(timestamptz) from public;
comment on function tds.check_throughput(timestamptz) is 'Check: events finished an hour, and what the workers have in hand.';
select tds.register_check('throughput', 'queue', 'events an hour', null, null, 15,
    'Events finished an hour, since about an hour ago; and what the workers have in hand. It tells, and warns of nothing.',
    '');

create or replace function tds.check_claims_stuck(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select row(count(*), coalesce(string_agg(format('claim %s of %s, %s (backend %s), since %s', c.claim_id, c.queue, c.worker,
                                                        c.backend_pid, c.claimed_at),
                                                 '; ' order by c.claimed_at), 'none'), min(c.claimed_at))::tds.finding
          from tds.claim c
         where c.claimed_at not between check_claims_stuck.at - make_interval(mins => tds.setting_int('claim_stuck_minutes'))
                                    and check_claims_stuck.at + interval '1 minute');
end
$$;
revoke all on function tds.check_claims_stuck(timestamptz) from public;
comment on function tds.check_claims_stuck(timestamptz) is 'Check: batches that have been in work for too long.';
select tds.register_check('claims_stuck', 'queue', 'batches', 1, 3, 15,
    'Batches that have been in work for longer than the setting claim_stuck_minutes.',
    'select * from tds.heal(); else select pg_terminate_backend(PID) for the backend named');

create or replace function tds.check_dead_letters() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_letters bigint;
    v_oldest  timestamptz;
    v_told    text;
begin
    select count(*), min(d.dead_at) into v_letters, v_oldest
      from (select l.dead_at from tds.dead_letter l where l.resolved_at is null limit 20000) d;
    select string_agg(format('%s× %s %s%s', g.letters, g.entity, g.path || ': ', g.reason), '; ' order by g.letters desc) into v_told
      from (select d.entity, coalesce(d.path, '') as path, left(d.reason, 100) as reason, count(*) as letters
              from (select l.* from tds.dead_letter l where l.resolved_at is null limit 2000) d
             group by 1, 2, 3 order by 4 desc limit 3) g;
    return row(v_letters, coalesce(v_told, 'none'), v_oldest)::tds.finding;
end
$$;
revoke all on function tds.check_dead_letters() from public;
comment on function tds.check_dead_letters() is 'Check: dead letters that wait for somebody.';
select tds.register_check('dead_letters', 'errors', 'letters', 1, 100, 15,
    'Records and events that could not be applied and that nothing has overtaken since.',
    'tds dead list; mend the cause, then tds dead replay; what can never be applied: tds dead dismiss');

create or replace function tds.check_error_burst(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_all record;
begin
    select sum(g.letters) as letters, min(g.first_at) as since,
           string_agg(format('%s× %s %s %s', g.letters, g.entity, g.error_code, g.path), '; ' order by g.letters desc) as told
      into v_all
      from (select d.entity, d.error_code, coalesce(d.path, '') as path, count(*) as letters, min(d.dead_at) as first_at
              from (select l.entity, l.error_code, l.path, l.dead_at from tds.dead_letter l
                     where l.dead_at > check_error_burst.at - interval '1 hour' and l.dead_at <= check_error_burst.at limit 20000) d
             group by 1, 2, 3 order by 4 desc limit 5) g;
    return row(coalesce(v_all.letters, 0), coalesce(v_all.told, 'none in the last hour'), v_all.since)::tds.finding;
end
$$;
revoke all on function tds.check_error_burst(timestamptz) from public;
comment on function tds.check_error_burst(timestamptz) is 'Check: dead letters of the last hour.';
select tds.register_check('error_burst', 'errors', 'letters', 20, 200, 15,
    'Dead letters made in the last hour, whatever became of them: five reasons at most are counted, the commonest.',
    'tds dead list shows what they have in common; a release of Zoho''s or of an ERP''s trigger is the usual cause');

create or replace function tds.check_error_news(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_all record;
begin
    select count(*) as reasons, min(g.first_at) as since,
           string_agg(format('%s %s %s: %s', g.entity, g.error_code, g.path, g.reason), '; ' order by g.first_at) as told
      into v_all
      from (select d.entity, d.error_code, d.path, min(d.dead_at) as first_at, left(min(d.reason), 100) as reason
              from (select l.entity, l.error_code, l.path, l.dead_at, l.reason from tds.dead_letter l
                     where l.dead_at > check_error_news.at - interval '1 day' and l.dead_at <= check_error_news.at limit 20000) d
             group by d.entity, d.error_code, d.path) g
     where not exists (select from tds.dead_letter o
                        where o.entity = g.entity and o.error_code = g.error_code and o.path is not distinct from g.path
                          and o.dead_at <= check_error_news.at - interval '1 day');
    return row(v_all.reasons, coalesce(v_all.told, 'no reason that was not known before'), v_all.since)::tds.finding;
end
$$;
revoke all on function tds.check_error_news(timestamptz) from public;
comment on function tds.check_error_news(timestamptz) is 'Check: reasons of dead letters of the last day that there were none of before.';
select tds.register_check('error_news', 'errors', 'reasons', 1, 10, 15,
    'Kinds of failure (entity, SQLSTATE, path) of the last day that there were none of before.',
    'tds dead list; a new kind is a change in what Zoho sends, in the mapping, or in the database');

insert into tds.setting (name, value, description) values
    ('claim_stuck_minutes', '30', 'After how many minutes a batch in work is stuck.')
on conflict on constraint setting_pkey do nothing;
