-- The life of an alert: opened, escalated, eased and resolved by what the checks and the stock say.

insert into tds.setting (name, value, description) values
    ('alert_settle_seconds', '120', 'How long a check has to be ill, in seconds, before an alert is opened or escalated: a peak that is '
                                    'over by then is told to nobody.'),
    ('alert_well_seconds', '600', 'How long it has to be well, in seconds, before its alert is resolved, or eased from critical to '
                                  'warning; twice as long each time that it comes back within alert_flap_hours.'),
    ('alert_well_max_seconds', '86400', 'The longest that this becomes, in seconds.'),
    ('alert_flap_hours', '24', 'An alert that opens within so many hours of the end of the last one of its kind has come back.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.alert_patience(flaps int) returns interval
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return make_interval(secs => least(tds.setting_int('alert_well_max_seconds'),
                                       tds.setting_int('alert_well_seconds') * 2 ^ least(alert_patience.flaps, 20)));
end
$$;
revoke all on function tds.alert_patience(int) from public;
comment on function tds.alert_patience(int) is 'How long something has to be well that has come back so often, before that is believed.';

create or replace function tds.is_settled(signal tds.alert_signal, at timestamptz) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (is_settled.signal).since is null
        or (is_settled.signal).since <= is_settled.at - make_interval(secs => tds.setting_int('alert_settle_seconds'));
end
$$;
revoke all on function tds.is_settled(tds.alert_signal, timestamptz) from public;
comment on function tds.is_settled(tds.alert_signal, timestamptz) is 'Whether something has been ill for long enough to be told.';

create or replace function tds.alert_step(alert tds.alert, signal tds.alert_signal, at timestamptz) returns tds.alert
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v          tds.alert := alert_step.alert;
    v_patience constant interval := tds.alert_patience(v.flaps);
    v_state    constant text := coalesce((alert_step.signal).state, 'ok');
begin
    if v_state = 'ok' then
        -- a time ahead is of a clock that was
        v.well_since := least(v.well_since, alert_step.at);
        if v.well_since is null then
            v.well_since := alert_step.at;
        end if;
        if v.well_since <= alert_step.at - v_patience then
            v.resolved_at := alert_step.at;
            v.announced := case when v.announced = 'nothing' then 'resolved' else v.announced end;
        end if;
    else
        v.well_since := null;
        v.value := (alert_step.signal).value;
        v.threshold := (alert_step.signal).threshold;
        v.summary := (alert_step.signal).summary;
        v.says := (alert_step.signal).says;
        v.next_command := (alert_step.signal).next_command;
    end if;
    if v_state = 'critical' then
        v.milder_since := null;
        if v.severity = 'warning' and tds.is_settled(alert_step.signal, alert_step.at) then
            v.flaps := v.flaps + case when v.worst = 'critical' then 1 else 0 end;
            v.severity := 'critical';
            v.worst := 'critical';
            -- who saw to a warning has not seen this
            v.acknowledged_at := null;
            v.acknowledged_by := null;
            v.acknowledged_until := null;
        end if;
    elsif v_state = 'warning' and v.severity = 'critical' then
        v.milder_since := coalesce(least(v.milder_since, alert_step.at), alert_step.at);
        if v.milder_since <= alert_step.at - v_patience then
            v.severity := 'warning';
            v.milder_since := null;
            v.announced := case when v.announced = 'critical' then 'warning' else v.announced end;
        end if;
    end if;
    if v.acknowledged_until <= alert_step.at then
        v.acknowledged_at := null;
        v.acknowledged_by := null;
        v.acknowledged_until := null;
        v.remind := true;
    end if;
    if v is distinct from alert_step.alert then
        v.updated_at := alert_step.at;
    end if;
    return v;
end
$$;
revoke all on function tds.alert_step(tds.alert, tds.alert_signal, timestamptz) from public;
comment on function tds.alert_step(tds.alert, tds.alert_signal, timestamptz) is
'What becomes of an open alert, by how its matter stands now (null: well). A check that failed changes nothing but what is said.';

create or replace function tds.muted_until(organization_id text, kind text, entity text, at timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select max(m.muted_until) from tds.alert_mute m
             where m.muted_until > muted_until.at and m.kind in ('*', muted_until.kind) and m.entity in ('*', muted_until.entity)
               and m.organization_id in ('*', muted_until.organization_id));
end
$$;
revoke all on function tds.muted_until(text, text, text, timestamptz) from public;
comment on function tds.muted_until(text, text, text, timestamptz) is 'Until when nobody is told of it; null: it is not muted.';

create or replace function tds.raise_alerts(audiences text[] default array['operations', 'business']) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
-- all that is compared here is compared as a set, and looked up by its index: a table that was empty when it was last analysed, and fills
-- within this very statement, would be read whole for each row of it
set enable_nestloop = off
set enable_seqscan = off
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_wanted constant timestamptz := v_now - make_interval(hours => tds.setting_int('alert_flap_hours'));
begin
    -- another session is at it, and sees the same
    if not tds.try_turn('tds.raise_alerts') then
        return 0;
    end if;
    with signal as materialized (
        select s as signal from tds.alert_signals(raise_alerts.audiences, v_now) s
    ), stepped as materialized (
        select n.* from tds.alert a
          left join signal s
            on ((s.signal).organization_id, (s.signal).kind, (s.signal).entity) = (a.organization_id, a.kind, a.entity)
         cross join lateral tds.alert_step(a, s.signal, v_now) n
         where a.resolved_at is null and a.audience = any (raise_alerts.audiences) and n is distinct from a
    ), changed as (
        update tds.alert a
           set severity = n.severity, worst = n.worst, value = n.value, threshold = n.threshold, summary = n.summary, says = n.says,
               next_command = n.next_command, updated_at = n.updated_at, resolved_at = n.resolved_at, well_since = n.well_since,
               milder_since = n.milder_since, flaps = n.flaps, announced = n.announced, remind = n.remind,
               acknowledged_at = n.acknowledged_at, acknowledged_by = n.acknowledged_by, acknowledged_until = n.acknowledged_until
          from stepped n
         -- named twice: only those are read of all there ever were
         where a.alert_id = n.alert_id and a.alert_id = any (array(select i.alert_id from stepped i))
    )
    insert into tds.alert (organization_id, kind, entity, audience, severity, worst, value, unit, threshold, since, summary, says,
                           next_command, opened_at, updated_at, flaps)
    select (s.signal).organization_id, (s.signal).kind, (s.signal).entity, (s.signal).audience, w.severity, w.severity, (s.signal).value,
           (s.signal).unit, (s.signal).threshold, least(coalesce((s.signal).since, v_now), v_now), (s.signal).summary, (s.signal).says,
           (s.signal).next_command, v_now, v_now,
           coalesce((select least(l.flaps, 20) + 1 from tds.alert l
                      where l.organization_id = (s.signal).organization_id and l.kind = (s.signal).kind
                        and l.entity = (s.signal).entity and l.resolved_at is not null and l.resolved_at > v_wanted
                      order by l.resolved_at desc limit 1), 0)
      from signal s
     cross join lateral (select case when (s.signal).state = 'critical' then 'critical' else 'warning' end as severity) w
     where (s.signal).state <> 'ok' and tds.is_settled(s.signal, v_now)
       and not exists (select from tds.alert a
                        where a.resolved_at is null and (a.organization_id, a.kind, a.entity)
                            = ((s.signal).organization_id, (s.signal).kind, (s.signal).entity))
     order by (s.signal).organization_id, (s.signal).kind, (s.signal).entity
    on conflict do nothing;
    return tds.write_messages(v_now);
end
$$;
revoke all on function tds.raise_alerts(text[]) from public;
comment on function tds.raise_alerts(text[]) is
'Opens, escalates, eases and resolves alerts by what the checks said last and what the stock is, and writes the messages; returns '
'how many. The jobs health and heal call it.';

create or replace function tds.write_messages(at timestamptz) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_messages int;
begin
    with untold as materialized (
        select a as alert, c.change
          from tds.alert a
         cross join lateral (
            select case when a.resolved_at is not null then 'resolved'
                        when a.announced = 'nothing' then 'opened'
                        when a.announced = 'warning' and a.severity = 'critical' then 'escalated'
                        when a.remind then 'reminded' end as change) c
         where a.announced <> 'resolved' and c.change is not null
           and tds.muted_until(a.organization_id, a.kind, a.entity, write_messages.at) is null
    ), told as (
        update tds.alert a
           set announced = case when a.resolved_at is not null then 'resolved' else a.severity end, remind = false
         where a.alert_id = any (array(select (u.alert).alert_id from untold u))
    )
    insert into tds.alert_delivery (audience, change, severity, alert_ids, title, body, created_at, next_try_at)
    select g.audience, g.change, g.severity, array(select l.alert_id from unnest(g.alerts) l order by l.alert_id),
           tds.alert_title(g.alerts, g.change), tds.alert_body(g.alerts, g.change, write_messages.at), write_messages.at, write_messages.at
      from (select (u.alert).audience, u.change, min((u.alert).severity) as severity,
                   array_agg(u.alert order by (u.alert).value, (u.alert).alert_id) as alerts
              from untold u
             -- a thousand products that are low at once are one message
             group by (u.alert).audience, u.change,
                      case when (u.alert).audience = 'business' then ((u.alert).organization_id, (u.alert).kind)::text
                           else (u.alert).alert_id::text end) g
     order by (g.alerts[1]).alert_id, g.change;
    get diagnostics v_messages = row_count;
    return v_messages;
end
$$;
revoke all on function tds.write_messages(timestamptz) from public;
comment on function tds.write_messages(timestamptz) is
'Writes a message of each change that nobody was told of yet, those left out that are muted; returns how many.';

create or replace function tds.open_alert(alert_id bigint) returns tds.alert
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_alert tds.alert;
begin
    select a.* into v_alert from tds.alert a where a.alert_id = open_alert.alert_id and a.resolved_at is null for update;
    if not found then
        raise exception using errcode = 'ZB060', message = 'there is no such alert, or it is resolved', detail = open_alert.alert_id::text,
            hint = 'select * from tds_alerts where state <> ''resolved''';
    end if;
    return v_alert;
end
$$;
revoke all on function tds.open_alert(bigint) from public;
comment on function tds.open_alert(bigint) is 'That alert, locked. Raises ZB060 where it is not open.';

create or replace function tds.time_ahead(until timestamptz) returns timestamptz
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- for good is for the settings to say; and programs know no time that never comes
    if time_ahead.until is null or time_ahead.until <= tds.now() or time_ahead.until > tds.now() + interval '10 years' then
        raise exception using errcode = 'ZB061', message = 'that is no time within the next ten years',
            detail = coalesce(time_ahead.until::text, 'null'),
            hint = 'now() + interval ''2 hours''; for good: {"alert": false} in tds.setting, health_<check>';
    end if;
    return time_ahead.until;
end
$$;
revoke all on function tds.time_ahead(timestamptz) from public;
comment on function tds.time_ahead(timestamptz) is 'That time. Raises ZB061 where it has passed, or never comes.';

create or replace function tds.acknowledge_alert(alert_id bigint, acknowledged_by text default null, until timestamptz default null)
returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_until constant timestamptz := case when acknowledge_alert.until is not null then tds.time_ahead(acknowledge_alert.until) end;
    v_alert constant tds.alert := tds.open_alert(acknowledge_alert.alert_id);
begin
    update tds.alert a
       set acknowledged_at = v_now, acknowledged_by = coalesce(nullif(btrim(acknowledge_alert.acknowledged_by), ''), session_user),
           acknowledged_until = v_until, remind = false, updated_at = v_now
     where a.alert_id = v_alert.alert_id;
    return v_alert.summary;
end
$$;
revoke all on function tds.acknowledge_alert(bigint, text, timestamptz) from public;
comment on function tds.acknowledge_alert(bigint, text, timestamptz) is
'Says that somebody (null: who is logged in) sees to an alert, to its end or until then: should it still be open then, it is told again. '
'Should it become critical meanwhile, that is told, and the acknowledgement is gone. Returns its summary. Raises ZB060, ZB061.';

create or replace function tds.alert_kind_named(kind text) returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if alert_kind_named.kind is null
       or alert_kind_named.kind not in ('low_stock', 'negative_stock')
          and not exists (select from tds.health_check c where c.check_name = alert_kind_named.kind)
          -- of a check that there was
          and not exists (select from tds.alert a where a.kind = alert_kind_named.kind) then
        raise exception using errcode = 'ZB062', message = 'there is no such kind of alert',
            detail = coalesce(left(alert_kind_named.kind, 100), 'null'),
            hint = 'select name from tds_health, or low_stock, negative_stock, or *';
    end if;
    return alert_kind_named.kind;
end
$$;
revoke all on function tds.alert_kind_named(text) from public;
grant execute on function tds.alert_kind_named(text) to tds_reader, tds_operator;
comment on function tds.alert_kind_named(text) is 'That kind of alert, if there is one. Raises ZB062 where there is none.';

create or replace function tds.mute_alerts(kind text, until timestamptz, entity text default '*', muted_by text default null,
                                           organization_id text default '*') returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_until constant timestamptz := tds.time_ahead(mute_alerts.until);
begin
    if mute_alerts.kind is distinct from '*' then
        perform tds.alert_kind_named(mute_alerts.kind);
    end if;
    insert into tds.alert_mute as m (organization_id, kind, entity, muted_at, muted_by, muted_until)
    values (mute_alerts.organization_id, mute_alerts.kind, mute_alerts.entity, v_now,
            coalesce(nullif(btrim(mute_alerts.muted_by), ''), session_user), v_until)
    on conflict on constraint alert_mute_pkey do update
       set muted_at = excluded.muted_at, muted_by = excluded.muted_by, muted_until = excluded.muted_until;
    return (select count(*)::int from public.tds_alerts a where a.state = 'muted'
               and mute_alerts.kind in ('*', a.kind) and mute_alerts.entity in ('*', a.entity)
               and mute_alerts.organization_id in ('*', coalesce(a.organization_id, '')));
end
$$;
revoke all on function tds.mute_alerts(text, timestamptz, text, text, text) from public;
comment on function tds.mute_alerts(text, timestamptz, text, text, text) is
'Has nobody told of alerts of a kind (*: every one), of one entity or of all (*), until then; also of those that open meanwhile. What is '
'still open then is told then. Returns how many are open of those. Raises ZB061, ZB062.';

create or replace function tds.mute_alert(alert_id bigint, until timestamptz, muted_by text default null) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_alert constant tds.alert := tds.open_alert(mute_alert.alert_id);
begin
    perform tds.mute_alerts(v_alert.kind, mute_alert.until, v_alert.entity, mute_alert.muted_by, v_alert.organization_id);
    return v_alert.summary;
end
$$;
revoke all on function tds.mute_alert(bigint, timestamptz, text) from public;
comment on function tds.mute_alert(bigint, timestamptz, text) is
'Has nobody told of this alert, or of the next one of its name, until then. Returns its summary. Raises ZB060, ZB061.';

create or replace function tds.unmute_alerts(kind text, entity text default null) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_mutes int;
begin
    delete from tds.alert_mute m
     where m.kind = unmute_alerts.kind and (unmute_alerts.entity is null or m.entity = unmute_alerts.entity);
    get diagnostics v_mutes = row_count;
    return v_mutes;
end
$$;
revoke all on function tds.unmute_alerts(text, text) from public;
comment on function tds.unmute_alerts(text, text) is 'Ends mutes of that kind, of one entity or of any (null); returns how many.';

create or replace function tds.unmute_alert(alert_id bigint) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_alert constant tds.alert := tds.open_alert(unmute_alert.alert_id);
    v_mutes int;
begin
    delete from tds.alert_mute m
     where m.kind in ('*', v_alert.kind) and m.entity in ('*', v_alert.entity) and m.organization_id in ('*', v_alert.organization_id);
    get diagnostics v_mutes = row_count;
    return v_mutes;
end
$$;
revoke all on function tds.unmute_alert(bigint) from public;
comment on function tds.unmute_alert(bigint) is
'Ends whatever mutes this alert, also what mutes others with it; returns how many mutes. Raises ZB060.';

create or replace view tds.alert_now as
select a.alert_id as id, a.kind, a.entity, a.severity,
       case when a.resolved_at is not null then 'resolved' when m.muted_until is not null then 'muted'
            when k.holds then 'acknowledged' else 'open' end as state,
       a.summary, a.next_command, a.opened_at, a.updated_at, a.resolved_at, case when k.holds then a.acknowledged_by end as acknowledged_by,
       m.muted_until, nullif(a.organization_id, '') as organization_id, a.audience, a.since, a.value, a.unit, a.threshold, a.says,
       case when k.holds then a.acknowledged_at end as acknowledged_at,
       case when k.holds then a.acknowledged_until end as acknowledged_until, a.announced
  from (select tds.now() as now offset 0) t
 cross join tds.alert a
 cross join lateral (select a.acknowledged_at is not null and coalesce(a.acknowledged_until > t.now, true) as holds) k
 cross join lateral (select case when a.resolved_at is null and exists (select from tds.alert_mute)
                                 then tds.muted_until(a.organization_id, a.kind, a.entity, t.now) end as muted_until) m;
comment on view tds.alert_now is 'The alerts as they stand; who may only read sees them as tds_alerts.';

create or replace view public.tds_alerts as select * from tds.alert_now;
-- a view's functions are called with the rights of whoever looks
grant execute on function tds.muted_until(text, text, text, timestamptz) to tds_reader, tds_operator;
comment on view public.tds_alerts is 'What is not well, and what was: a row an alert.';
comment on column public.tds_alerts.id is 'Number; tds.acknowledge_alert(id), tds.mute_alert(id, until).';
comment on column public.tds_alerts.kind is 'The check of tds.health(), or low_stock, negative_stock.';
comment on column public.tds_alerts.entity is 'What of that kind: the product''s id; empty: there is one.';
comment on column public.tds_alerts.severity is 'warning or critical.';
comment on column public.tds_alerts.state is 'open, acknowledged, muted, or resolved.';
comment on column public.tds_alerts.summary is 'What is the matter, in a line.';
comment on column public.tds_alerts.next_command is 'What to do.';
comment on column public.tds_alerts.opened_at is 'When it was opened.';
comment on column public.tds_alerts.updated_at is 'When anything of it was last changed.';
comment on column public.tds_alerts.resolved_at is 'When it was seen to be over; null: it is open.';
comment on column public.tds_alerts.acknowledged_by is 'Who sees to it.';
comment on column public.tds_alerts.muted_until is 'Until when nobody is told of it.';
comment on column public.tds_alerts.organization_id is 'Zoho organisation; null: it is about TDS itself.';
comment on column public.tds_alerts.audience is 'Who is told: operations, or business.';
comment on column public.tds_alerts.since is 'Since when it is not well, as far as that is known.';
comment on column public.tds_alerts.value is 'What was measured last while it was not well.';
comment on column public.tds_alerts.unit is 'Unit of value and threshold.';
comment on column public.tds_alerts.threshold is 'The threshold that was crossed.';
comment on column public.tds_alerts.says is 'What the check said.';
comment on column public.tds_alerts.acknowledged_at is 'Since when somebody sees to it.';
comment on column public.tds_alerts.acknowledged_until is 'Until when that holds; null: to the end.';
comment on column public.tds_alerts.announced is
'What messages were made of: nothing, warning, critical, or all there is to tell (resolved).';

-- one view has the columns of the other
do $$
declare
    v_column record;
begin
    for v_column in
        select a.attname, col_description(a.attrelid, a.attnum) as told
          from pg_attribute a where a.attrelid = 'public.tds_alerts'::regclass and a.attnum > 0 order by a.attnum
    loop
        execute format('comment on column tds.alert_now.%I is %L', v_column.attname, v_column.told);
    end loop;
end
$$;

grant execute on function tds.raise_alerts(text[]) to tds_worker, tds_operator;
grant execute on function tds.acknowledge_alert(bigint, text, timestamptz), tds.mute_alert(bigint, timestamptz, text),
    tds.mute_alerts(text, timestamptz, text, text, text), tds.unmute_alert(bigint), tds.unmute_alerts(text, text) to tds_operator;
grant select on tds.alert, tds.alert_mute, tds.alert_delivery, tds.alert_address to tds_reader, tds_operator;
