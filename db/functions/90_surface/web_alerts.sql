-- The page of the alerts, and what the holder of an API key may do with them.

create or replace function tds.dashboard_alerts(at_most int default 100) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now     constant timestamptz := tds.now();
    v_most    constant int := least(dashboard_alerts.at_most, 500);
    v_counted constant int := 10000;
    v_counts  jsonb;
    v_alerts  jsonb;
begin
    -- each state by itself, and few of each are looked at: of a million the worst are found by an index
    select coalesce(jsonb_object_agg(c.state, c.alerts) filter (where c.alerts > 0), '{}') into v_counts
      from (select 'open' as state, (select count(*) from (
                   select from tds.alert_now n where n.resolved_at is null and n.state = 'open' limit v_counted) o) as alerts
             union all
            select 'acknowledged', (select count(*) from (
                   select from tds.alert_now n
                    where n.id in (select s.alert_id from tds.alert s where s.resolved_at is null and s.acknowledged_at is not null)
                      and n.state = 'acknowledged' limit v_counted) a)
             union all
            select 'muted', (select count(*) from (
                   select from tds.alert_now n where n.resolved_at is null and n.state = 'muted' and exists (select from tds.alert_mute)
                    limit v_counted) m)) c;
    select coalesce(jsonb_agg(to_jsonb(l) - 'place' order by l.place, l.severity, l.since, l.id), '[]') into v_alerts
      from (select u.*
              from ((select n.*, 1 as place from tds.alert_now n
                      where n.resolved_at is null and n.state = 'open' order by n.severity, n.since, n.id limit v_most)
                     union all
                    (select n.*, 2 from tds.alert_now n
                      where n.id in (select s.alert_id from tds.alert s where s.resolved_at is null and s.acknowledged_at is not null)
                        and n.state = 'acknowledged'
                      order by n.severity, n.since, n.id limit v_most)
                     union all
                    (select n.*, 3 from tds.alert_now n
                      where n.resolved_at is null and n.state = 'muted' and exists (select from tds.alert_mute)
                      order by n.severity, n.since, n.id limit v_most)) u
             order by u.place, u.severity, u.since, u.id limit v_most) l;
    return jsonb_build_object(
        'at', v_now, 'sql', tds.sql_of('alerts'), 'most', v_most, 'counts', v_counts, 'alerts', v_alerts,
        'resolved', (select coalesce(jsonb_agg(to_jsonb(l) order by l.resolved_at desc, l.id desc), '[]')
                       from (select n.* from tds.alert_now n where n.resolved_at is not null order by n.id desc limit 20) l),
        'mutes', (select coalesce(jsonb_agg(to_jsonb(l) order by l.muted_until, l.kind, l.entity, l.organization_id), '[]')
                    from (select m.* from tds.alert_mute m where m.muted_until > v_now
                           order by m.muted_until, m.kind, m.entity, m.organization_id limit v_most) l),
        'messages', (select coalesce(jsonb_agg(to_jsonb(l) order by l.delivery_id desc), '[]')
                       from (select d.delivery_id, d.created_at, d.audience, d.change, d.severity, d.title, d.tries, d.error, d.sent_at,
                                    d.gave_up_at, d.next_try_at
                               from tds.alert_delivery d order by d.delivery_id desc limit 10) l));
end
$$;
revoke all on function tds.dashboard_alerts(int) from public;
comment on function tds.dashboard_alerts(int) is
'The page of the alerts: so many that are not over, those that nobody sees to first, the worst before the others; how many there are, '
'counted up to 10,000 of a state; the last that are over; what is muted; the last messages.';

create or replace function tds.span_ahead(span text) returns timestamptz
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.time_ahead(tds.now() + nullif(btrim(span_ahead.span), '')::interval);
exception
    when data_exception then
        raise exception using errcode = 'ZB061', message = 'that is no time within the next ten years', detail = left(span_ahead.span, 100),
            hint = 'say 2 hours, 1 day, 1 week';
end
$$;
revoke all on function tds.span_ahead(text) from public;
comment on function tds.span_ahead(text) is 'The end of a span that begins now: 2 hours, 1 week. Raises ZB061.';

create or replace function tds.api_acknowledge_alert(alert_id bigint, span text, requested_by text) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.acknowledge_alert(
        api_acknowledge_alert.alert_id, 'API key ' || api_acknowledge_alert.requested_by,
        case when btrim(coalesce(api_acknowledge_alert.span, '')) <> '' then tds.span_ahead(api_acknowledge_alert.span) end);
end
$$;
revoke all on function tds.api_acknowledge_alert(bigint, text, text) from public;
comment on function tds.api_acknowledge_alert(bigint, text, text) is
'tds.acknowledge_alert() for the holder of an API key: for a span (2 hours), or to the alert''s end where that is null or empty. Raises '
'ZB060, ZB061.';

create or replace function tds.api_mute_alert(alert_id bigint, span text, requested_by text) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.mute_alert(api_mute_alert.alert_id, tds.span_ahead(api_mute_alert.span), 'API key ' || api_mute_alert.requested_by);
end
$$;
revoke all on function tds.api_mute_alert(bigint, text, text) from public;
comment on function tds.api_mute_alert(bigint, text, text) is
'tds.mute_alert() for the holder of an API key, for a span (2 hours). Raises ZB060, ZB061.';

create or replace function tds.api_unmute_alert(alert_id bigint) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.unmute_alert(api_unmute_alert.alert_id);
end
$$;
revoke all on function tds.api_unmute_alert(bigint) from public;
comment on function tds.api_unmute_alert(bigint) is 'tds.unmute_alert() for the holder of an API key. Raises ZB060.';

create or replace function tds.api_unmute_alerts(kind text, entity text) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.unmute_alerts(api_unmute_alerts.kind, api_unmute_alerts.entity);
end
$$;
revoke all on function tds.api_unmute_alerts(text, text) from public;
comment on function tds.api_unmute_alerts(text, text) is 'tds.unmute_alerts() for the holder of an API key.';

grant execute on function tds.dashboard_alerts(int) to tds_receiver, tds_operator;
grant execute on function
    tds.api_acknowledge_alert(bigint, text, text), tds.api_mute_alert(bigint, text, text), tds.api_unmute_alert(bigint),
    tds.api_unmute_alerts(text, text)
    to tds_receiver;
