-- Checks of Zoho's API: what may still be asked of it, whether we may ask, and what was asked in vain.

create or replace function tds.check_api_quota(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_least record;
begin
    select b.organization_id, b.day_limit, case when b.day_resets_at > check_api_quota.at then b.day_left else b.day_limit end as day_left,
        b.day_resets_at
      into v_least
      from tds.api_budget b where b.day_limit > 0
     order by 3::numeric / b.day_limit limit 1;
    return row(round(100.0 * v_least.day_left / v_least.day_limit, 1),
               case when v_least.organization_id is null then 'Zoho has not told yet'
                    else format('%s of %s calls are left to organisation %s; they begin anew at %s', v_least.day_left, v_least.day_limit,
                                v_least.organization_id, coalesce(v_least.day_resets_at::text, 'its midnight')) end, null)::tds.finding;
end
$$;
revoke all on function tds.check_api_quota(timestamptz) from public;
comment on function tds.check_api_quota(timestamptz) is 'Check: what is left of the day''s calls.';
select tds.register_check('api_quota', 'api', '% left', 10, 1, 15,
    'What is left of the day''s calls of Zoho''s API, of the organisation with least.',
    'select * from tds_api_spending shows where they went; pulls go on by themselves when the day begins anew', lower_is_worse => true);

create or replace function tds.check_api_pause(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_longest record;
begin
    select b.organization_id, b.paused_until, b.pause_reason into v_longest
      from tds.api_budget b where b.paused_until > check_api_pause.at order by b.paused_until desc limit 1;
    return row(coalesce(round(extract(epoch from v_longest.paused_until - check_api_pause.at) / 60, 1), 0),
               case when v_longest.organization_id is null then 'nobody is paused'
                    else format('organisation %s until %s: %s', v_longest.organization_id, v_longest.paused_until,
                                v_longest.pause_reason) end,
               null)::tds.finding;
end
$$;
revoke all on function tds.check_api_pause(timestamptz) from public;
comment on function tds.check_api_pause(timestamptz) is 'Check: how long an organisation may not be asked at all.';
select tds.register_check('api_pause', 'api', 'minutes', 15, 120, 15,
    'How long an organisation may not be asked at all from now on, because Zoho said so.',
    'it ends by itself; find who else calls the API with many requests a minute');

create or replace function tds.check_api_token() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select row(count(*), coalesce(string_agg(format('refresh token %s…: Zoho answers %s', left(a.account, 12), a.refused), '; '
                                                     order by a.account), 'good'),
                       min(a.refused_at))::tds.finding
              from tds.api_account a
             -- nobody has used what was mistyped or replaced a day ago
             where a.refused is not null and coalesce(a.asked_at, a.refused_at) > tds.now() - interval '1 day');
end
$$;
revoke all on function tds.check_api_token() from public;
comment on function tds.check_api_token() is 'Check: refresh tokens that Zoho refuses for good.';
select tds.register_check('api_token', 'api', 'tokens', 1, 1, 15,
    'Refresh tokens that Zoho no longer takes: nothing can be asked with them.',
    'tds connect makes another one, then restart tds poll; '
    'if the old one is good again: select tds.allow_refresh()');

create or replace function tds.check_api_refused() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select row(count(*), coalesce(string_agg(format('organisation %s: %s', b.organization_id, b.refused), '; '
                                                     order by b.organization_id), 'none'),
                       min(b.refused_at))::tds.finding
              from tds.api_budget b
             where b.refused is not null and tds.is_served(b.organization_id));
end
$$;
revoke all on function tds.check_api_refused() from public;
comment on function tds.check_api_refused() is 'Check: organisations that cannot be asked for until somebody mends it.';
select tds.register_check('api_refused', 'api', 'organisations', 1, 1, 15,
    'Organisations that pollers pass over, because their credentials are missing or Zoho refuses them; the others are served.',
    'tds org list names each; mend what its credentials refer to, which is looked at again within a minute; tds doctor --org ID');

create or replace function tds.check_details_failed() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_all record;
begin
    select sum(g.details) as details, min(g.since) as since,
           string_agg(format('%s× %s: %s', g.details, g.entity, g.error), '; ' order by g.details desc) as told
      into v_all
      from (select w.entity, left(w.error, 100) as error, count(*) as details, min(w.wanted_at) as since
              from (select d.entity, d.error, d.wanted_at from tds.wanted_detail d
                     where d.error is not null and d.tries >= 3 and tds.is_served(d.organization_id)
                     limit 20000) w
             group by 1, 2 order by 3 desc limit 3) g;
    return row(coalesce(v_all.details, 0), coalesce(v_all.told, 'none'), v_all.since)::tds.finding;
end
$$;
revoke all on function tds.check_details_failed() from public;
comment on function tds.check_details_failed() is 'Check: wanted details that could not be had in three tries.';
select tds.register_check('details_failed', 'api', 'details', 1, 100, 15,
    'Details that Zoho has been asked for three times or more in vain.',
    'select * from tds.wanted_detail where error is not null; a scope that is missing is the usual cause: tds doctor');

create or replace function tds.check_pulls_late(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_oldest record;
begin
    -- every list is swept by the clock once its organisation has been migrated
    select f.organization_id, n.entity, coalesce(l.listed_at, tds.migrated_since(f)) as listed_at,
           tds.late_from(coalesce(l.listed_at, tds.migrated_since(f)), o.state_at, check_pulls_late.at) as since
      into v_oldest
      from tds.full_pull f
      left join tds.organization o on o.organization_id = f.organization_id
     cross join tds.entity n
      left join lateral (select r.listed_at from tds.run r
                          where r.organization_id = f.organization_id and r.entity = n.entity and r.listed_at is not null
                            and r.listed_at <= check_pulls_late.at
                          order by r.listed_at desc limit 1) l on true
     where tds.is_kept_in_step(f) and n.api_path <> ''
     order by 4 limit 1;
    return row(round(extract(epoch from check_pulls_late.at - v_oldest.since) / 3600, 1),
               case when v_oldest.entity is null then 'no migration has ended yet: no list is read by the clock'
                    else format('the list of %s (organisation %s) was read last at %s', v_oldest.entity, v_oldest.organization_id,
                                v_oldest.listed_at) end,
               v_oldest.since)::tds.finding;
end
$$;
revoke all on function tds.check_pulls_late(timestamptz) from public;
comment on function tds.check_pulls_late(timestamptz) is 'Check: how long ago the list was read whose reading is longest ago.';
select tds.register_check('pulls_late', 'entities', 'hours', 30, 78, 15,
    'Hours since the last successful pull of the list whose pull is longest ago; each is due once a day.',
    'tds runs shows what became of the pulls; see poller, api_quota and api_token; tds pull ENTITY reads it now');

create or replace function tds.check_pulls_failed(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select row(count(*), coalesce(string_agg(format('run %s of %s: %s', r.run_id, r.entity, r.error), '; ' order by r.run_id), 'none'),
                   min(r.finished_at))::tds.finding
          from (select distinct on (n.organization_id, n.entity) n.*
                  from tds.run n where n.run_id > (select coalesce(max(m.run_id), 0) - 2000 from tds.run m)
                 order by n.organization_id, n.entity, n.run_id desc) r
         where r.state in ('failed', 'partial') and r.finished_at > check_pulls_failed.at - interval '3 days'
           and tds.is_served(r.organization_id));
end
$$;
revoke all on function tds.check_pulls_failed(timestamptz) from public;
comment on function tds.check_pulls_failed(timestamptz) is 'Check: lists whose newest pull failed.';
select tds.register_check('pulls_failed', 'entities', 'pulls', 1, 10, 15,
    'Lists whose newest pull, of the last three days, failed or stayed partial.',
    'tds runs; tds pull ENTITY, once the error named is mended');

create or replace function tds.check_pulls_stuck(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select row(count(*), coalesce(string_agg(concat_ws(': ', format('run %s of %s is %s since %s', r.run_id, r.entity, r.state,
                                                                        coalesce(r.heartbeat_at, r.requested_at)), left(r.error, 200)),
                                                 '; ' order by r.run_id), 'none'),
                   min(coalesce(r.heartbeat_at, r.requested_at)))::tds.finding
          from tds.run r
          left join tds.organization o on o.organization_id = r.organization_id
         where r.finished_at is null
           -- what waits for its organisation, or for the day's calls, is not stuck
           and tds.late_from(coalesce(r.heartbeat_at, r.requested_at), o.state_at, check_pulls_stuck.at)
               < check_pulls_stuck.at - interval '6 hours'
           and tds.is_served(r.organization_id)
           and not exists (select from tds.api_budget b where b.organization_id = r.organization_id
                              and (b.paused_until > check_pulls_stuck.at or b.day_resets_at > check_pulls_stuck.at and b.day_left <= 0)));
end
$$;
revoke all on function tds.check_pulls_stuck(timestamptz) from public;
comment on function tds.check_pulls_stuck(timestamptz) is 'Check: pulls that have made no progress for six hours.';
select tds.register_check('pulls_stuck', 'entities', 'pulls', 1, 5, 15,
    'Pulls that were begun or asked for and have made no progress for six hours, those left out that wait for the day''s calls, or whose '
    'organisation is paused.',
    'see poller; tds poll goes on with them; tds.cancel_run(run_id) gives one up');

create or replace function tds.check_delay(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_all record;
begin
    select max(d.p99) as worst, string_agg(format('%s median %s s, p99 %s s (%s)', d.entity, d.median, d.p99, d.events), '; '
                                           order by d.p99 desc, d.entity) as told
      into v_all
      from (select f.entity, count(*) as events, round(percentile_cont(0.5) within group (order by f.seconds)::numeric, 2) as median,
                   round(percentile_cont(0.99) within group (order by f.seconds)::numeric, 2) as p99
              from (select o.entity, extract(epoch from o.finished_at - o.received_at) as seconds
                      from (select d.entity, d.inbox_id, d.received_at, d.finished_at from tds.inbox_outcome d
                             where d.received_at > check_delay.at - interval '3 hours' and d.received_at <= check_delay.at
                             order by d.received_at desc limit 2000) o
                     -- "offset 0": looked up one by one, whatever the planner takes the days to hold
                     cross join lateral (select from tds.inbox i
                                          where i.received_at = o.received_at and i.inbox_id = o.inbox_id and i.source = 'webhook'
                                         offset 0) w) f
             group by f.entity) d;
    return row(v_all.worst, coalesce(v_all.told, 'no webhook in the last three hours'), null)::tds.finding;
end
$$;
revoke all on function tds.check_delay(timestamptz) from public;
comment on function tds.check_delay(timestamptz) is
'Check: from the webhook to the row, by entity: median and 99th percentile of the newest 2,000 events of three hours.';
select tds.register_check('delay', 'entities', 'seconds', 300, 1800, 15,
    'How long a webhook takes until its row is written: the 99th percentile of the entity where it is longest, of the newest 2,000 events.',
    'see queue_oldest, workers, lock_waits and dead_tuples; more workers: tds work --workers 4');

create or replace function tds.check_silence(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    -- people keep the hours of their clocks, which are changed twice a year
    v_zone  constant text := tds.time_zone_of(tds.default_organization());
    v_until constant timestamptz := date_trunc('hour', check_silence.at);
    v_all   record;
begin
    with last as materialized (
        -- the whole hours without one, at most a week of them
        select a.entity, max(a.last_at) as last_at, min(a.hour) as first_hour,
               greatest(date_trunc('hour', max(a.last_at)) + interval '1 hour', v_until - interval '7 days') as silent_from
          from tds.arrival a
         where a.last_at <= check_silence.at
         group by a.entity
    ), usual as materialized (
        -- the same hours of up to four weeks before; where there is no such week yet, of the days before
        select l.entity, l.last_at, k.back, sum(a.webhooks) as webhooks
          from last l
         cross join lateral (
               select w.back from unnest(array[interval '7 days', '14 days', '21 days', '28 days']) w(back)
                where l.first_hour <= l.silent_from - w.back
                union all
               select d.back from unnest(array[interval '1 day', '2 days', '3 days', '4 days', '5 days', '6 days']) d(back)
                where l.first_hour > l.silent_from - interval '7 days' and l.first_hour <= l.silent_from - d.back
                  and v_until - l.silent_from <= interval '1 day') k
          left join tds.arrival a
            on a.entity = l.entity and a.hour >= ((l.silent_from at time zone v_zone) - k.back) at time zone v_zone
           and a.hour < ((v_until at time zone v_zone) - k.back) at time zone v_zone
         where l.silent_from < v_until
         group by l.entity, l.last_at, k.back)
    select max(m.missed) as missed, min(m.last_at) as since,
           string_agg(format('%s: none since %s, where %s are usual', m.entity, m.last_at, m.missed), '; ' order by m.missed desc) as told
      into v_all
      from (select u.entity, u.last_at, round(avg(coalesce(u.webhooks, 0)), 1) as missed from usual u group by u.entity, u.last_at) m
     where m.missed >= 3;
    return row(coalesce(v_all.missed, 0), coalesce(v_all.told, 'every entity comes as it is used to'), v_all.since)::tds.finding;
end
$$;
revoke all on function tds.check_silence(timestamptz) from public;
comment on function tds.check_silence(timestamptz) is
'Check: webhooks that an entity misses against its own rhythm of the same hours in earlier weeks.';
select tds.register_check('silence', 'entities', 'webhooks missed', 8, 100, 15,
    'Webhooks that would have come in the hours since the last one, by the entity''s own rhythm: the same hours of up to four weeks before '
    '(or days, in the first week).',
    'look at the webhook rules in Zoho Books (a rule that failed too often is switched off there) and at strays; tds pull ENTITY fetches '
    'what was missed');

create or replace function tds.check_strays(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select row(coalesce(sum(s.requests), 0), coalesce(string_agg(format('%s× %s', s.requests, s.path), '; '
                                                                         order by s.last_at desc), 'none'),
                       min(s.first_at))::tds.finding
              from tds.stray s
             where s.last_at > check_strays.at - interval '1 day'
               -- scanners of the internet post anywhere
               and s.path ~* 'zoho|tds|hook|books');
end
$$;
revoke all on function tds.check_strays(timestamptz) from public;
comment on function tds.check_strays(timestamptz) is
'Check: posts to addresses like a webhook''s where nothing is, that came in the last day.';
select tds.register_check('strays', 'entities', 'requests', 1, null, 15,
    'Requests to addresses that look like a webhook''s and are none, where the last one came within a day: they are lost.',
    'correct the URL of the webhook in Zoho Books: docs/receiver.md lists them; then delete from tds.stray where path = …');

create or replace function tds.check_healed_again(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select row(coalesce(max(g.times), 0), coalesce(string_agg(format('%s× %s: %s', g.times, g.step, g.subject), '; '
                                                                  order by g.times desc), 'nothing'),
                   min(g.since))::tds.finding
          from (select h.step, h.subject, count(distinct h.healed_at) as times, min(h.healed_at) as since
                  from (select l.step, l.subject, l.healed_at from tds.heal_log l
                         where l.healed_at > check_healed_again.at - interval '1 day' and l.healed_at <= check_healed_again.at
                         order by l.healed_at desc limit 20000) h
                 group by h.step, h.subject having count(distinct h.healed_at) >= 3) g);
end
$$;
revoke all on function tds.check_healed_again(timestamptz) from public;
comment on function tds.check_healed_again(timestamptz) is 'Check: what was healed again and again within a day.';
select tds.register_check('healed_again', 'errors', 'times', 3, 20, 15,
    'How often the same thing was healed within a day, if at least three times: what is healed again and again has a cause that is not.',
    'select * from tds_healed order by healed_at desc; find the cause of what comes back');

create or replace function tds.check_heal_failed(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select row(count(*), coalesce(string_agg(format('%s: %s %s: %s', g.step, g.subject, g.act, g.detail), '; ' order by g.step),
                                      'whatever was tried was done'),
                   min(g.healed_at))::tds.finding
          from (select distinct on (h.step, h.subject) h.*
                  from (select l.* from tds.heal_log l
                         where l.healed_at > check_heal_failed.at - interval '1 hour' and l.healed_at <= check_heal_failed.at
                         order by l.healed_at desc limit 5000) h
                 order by h.step, h.subject, h.heal_id desc) g
         where not g.ok);
end
$$;
revoke all on function tds.check_heal_failed(timestamptz) from public;
comment on function tds.check_heal_failed(timestamptz) is 'Check: what could not be healed in the last hour.';
select tds.register_check('heal_failed', 'errors', 'acts', 1, null, 15,
    'What the healing tried in the last hour and could not do.',
    'select * from tds_healed where not ok order by healed_at desc; detail says what is missing');
