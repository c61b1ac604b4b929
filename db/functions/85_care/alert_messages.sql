-- What people are told of an alert: what, since when, how bad, the next command.

create or replace function tds.how_long(span interval) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_minutes constant bigint := greatest(0, floor(extract(epoch from how_long.span) / 60))::bigint;
begin
    return case when v_minutes < 120 then v_minutes || ' minutes' when v_minutes < 48 * 60 then v_minutes / 60 || ' hours'
                else v_minutes / (24 * 60) || ' days' end;
end
$$;
revoke all on function tds.how_long(interval) from public;
comment on function tds.how_long(interval) is 'A span as people say it.';

create or replace function tds.time_told(at timestamptz) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_zone constant text := tds.job_time_zone();
begin
    return to_char(time_told.at at time zone v_zone, 'YYYY-MM-DD HH24:MI ') || v_zone;
end
$$;
revoke all on function tds.time_told(timestamptz) from public;
comment on function tds.time_told(timestamptz) is 'A time as messages tell it, in the time zone of the setting job_time_zone.';

create or replace function tds.alert_title(alerts tds.alert[], change text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_alert  constant tds.alert := alert_title.alerts[1];
    v_many   constant int := cardinality(alert_title.alerts);
    v_matter text := v_alert.kind;
begin
    if v_alert.audience = 'business' then
        v_matter := format('%s of %s', case v_alert.kind when 'low_stock' then 'low stock' when 'negative_stock' then 'negative stock'
                                       else v_alert.kind end,
                           case when v_many > 1 then v_many || ' products' else split_part(v_alert.summary, ': ', 1) end);
    end if;
    return left('TDS ' || case alert_title.change when 'resolved' then 'resolved' when 'reminded' then 'still ' || v_alert.severity
                          else v_alert.severity end || ': ' || v_matter, 150);
end
$$;
revoke all on function tds.alert_title(tds.alert[], text) from public;
comment on function tds.alert_title(tds.alert[], text) is 'The title of a message about alerts of one kind.';

create or replace function tds.alert_matter(alert tds.alert, change text, at timestamptz) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_check tds.health_check;
begin
    select c.* into v_check from tds.health_check c where c.check_name = (alert_matter.alert).kind;
    return concat_ws(E'\n',
        coalesce('What: ' || v_check.meaning, 'What: ' || (alert_matter.alert).summary),
        'It says: ' || left(nullif((alert_matter.alert).says, ''), 500),
        'How bad: ' || (alert_matter.alert).severity
            || case when (alert_matter.alert).value is null then ''
                    else format('; %s %s, %s %s', trim_scale((alert_matter.alert).value), (alert_matter.alert).unit,
                                case when v_check.lower_is_worse then 'and it should be more than' else 'the limit is' end,
                                coalesce(trim_scale((alert_matter.alert).threshold)::text, 'unknown')) end
            || case when alert_matter.change = 'escalated' then ' (it was a warning)' else '' end,
        format('Since: %s (%s)', tds.time_told((alert_matter.alert).since),
               tds.how_long(coalesce((alert_matter.alert).well_since, alert_matter.at) - (alert_matter.alert).since)),
        case alert_matter.change
             when 'resolved' then 'Over: well since ' || tds.time_told(coalesce((alert_matter.alert).well_since, alert_matter.at))
             else 'Next: ' || nullif((alert_matter.alert).next_command, '') end);
end
$$;
revoke all on function tds.alert_matter(tds.alert, text, timestamptz) from public;
comment on function tds.alert_matter(tds.alert, text, timestamptz) is 'The text of a message about one alert.';

create or replace function tds.alert_list(alerts tds.alert[], change text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_alert constant tds.alert := alert_list.alerts[1];
    v_most  constant int := 50;
begin
    return concat_ws(E'\n',
        case when alert_list.change = 'resolved' then 'Over for:' else 'It is so for:' end,
        (select string_agg('- ' || (alert_list.alerts[l.place]).summary, E'\n' order by l.place)
           from generate_series(1, least(v_most, cardinality(alert_list.alerts))) l(place)),
        case when cardinality(alert_list.alerts) > v_most
             then format('and %s more: select * from tds_alerts where kind = ''%s'' and state <> ''resolved''',
                         cardinality(alert_list.alerts) - v_most, v_alert.kind) end,
        case when alert_list.change <> 'resolved' then 'Next: ' || case v_alert.kind
             when 'negative_stock' then 'look for a bill or an adjustment that is missing: tds explain products ID'
             else v_alert.next_command end end);
end
$$;
revoke all on function tds.alert_list(tds.alert[], text) from public;
comment on function tds.alert_list(tds.alert[], text) is 'The text of a message about several alerts of one kind.';

create or replace function tds.alert_body(alerts tds.alert[], change text, at timestamptz) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_alert constant tds.alert := alert_body.alerts[1];
begin
    return concat_ws(E'\n',
        case when cardinality(alert_body.alerts) = 1 then tds.alert_matter(v_alert, alert_body.change, alert_body.at)
             else tds.alert_list(alert_body.alerts, alert_body.change) end,
        '',
        format('Alert %s, %s, of the database %s%s.', v_alert.alert_id
                   || case when cardinality(alert_body.alerts) > 1
                           then format(' and %s more', cardinality(alert_body.alerts) - 1) else '' end,
               alert_body.change, current_database(), coalesce(', organisation ' || nullif(v_alert.organization_id, ''), '')),
        case when alert_body.change <> 'resolved'
             then format('I see to it: tds alerts ack %1$s. Not for two hours: tds alerts mute %1$s --for 2h', v_alert.alert_id) end);
end
$$;
revoke all on function tds.alert_body(tds.alert[], text, timestamptz) from public;
comment on function tds.alert_body(tds.alert[], text, timestamptz) is 'The text of a message.';
