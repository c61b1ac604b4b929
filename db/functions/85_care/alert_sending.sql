-- How messages get out. A sender has the lease 'alert sender', claims a message, says to which address it is about to send it, sends, and
-- says what came of it: each step is committed before the next. Claiming it moves its next try, so that what a sender that died has left
-- is taken up after the usual pause.

insert into tds.setting (name, value, description) values
    ('alert_gives_up_hours', '24', 'After so many hours a message of an alert that cannot be sent is given up.'),
    ('alert_when_in_doubt', '"again"', 'What becomes of a message whose sender died while it was sending: again (the same Message-ID and '
                                       'Idempotency-Key, by which a receiver knows it) or never.'),
    ('alert_late_minutes', '15', 'After how many minutes a message that no address got is told of by the check alerts_undelivered.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.is_sendable(delivery tds.alert_delivery, at timestamptz) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (is_sendable.delivery).sent_at is null and (is_sendable.delivery).gave_up_at is null
       -- a try further away than any pause was set by a clock that was ahead
       and (is_sendable.delivery).next_try_at not between is_sendable.at + interval '1 microsecond'
           and is_sendable.at + make_interval(secs => 2 * tds.setting_int('retry_max_seconds'))
       -- what an alert's earlier message says comes first
       and not exists (select from tds.alert_delivery e
                        where e.sent_at is null and e.gave_up_at is null and e.delivery_id < (is_sendable.delivery).delivery_id
                          and e.alert_ids && (is_sendable.delivery).alert_ids);
end
$$;
revoke all on function tds.is_sendable(tds.alert_delivery, timestamptz) from public;
comment on function tds.is_sendable(tds.alert_delivery, timestamptz) is 'Whether a message is to be sent now.';

create or replace function tds.messages_due(audiences text[]) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    return (select count(*)::int from tds.alert_delivery d
             where d.sent_at is null and d.gave_up_at is null and d.audience = any (messages_due.audiences) and tds.is_sendable(d, v_now));
end
$$;
revoke all on function tds.messages_due(text[]) from public;
comment on function tds.messages_due(text[]) is 'How many messages for these audiences are to be sent now.';

create or replace function tds.begin_messages(audiences text[], addresses text[]) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not tds.try_lease('alert sender') then
        return false;
    end if;
    insert into tds.alert_address as a (audience, address, seen_at)
    select k.audience, k.address, tds.now()
      from unnest(begin_messages.audiences, begin_messages.addresses) k(audience, address)
     order by k.audience, k.address
    on conflict on constraint alert_address_pkey do update set seen_at = excluded.seen_at;
    -- what somebody has taken out of the environment has no errors any more
    delete from tds.alert_address a
     where not exists (select from unnest(begin_messages.audiences, begin_messages.addresses) k(audience, address)
                        where k.audience = a.audience and k.address = a.address);
    return true;
end
$$;
revoke all on function tds.begin_messages(text[], text[]) from public;
comment on function tds.begin_messages(text[], text[]) is
'Makes this session the one that sends, and tells which addresses it has, by their kind and number; false: another one that lives is it.';

create or replace function tds.end_messages() returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.end_lease('alert sender');
end
$$;
revoke all on function tds.end_messages() from public;
comment on function tds.end_messages() is 'This session sends no more.';

create or replace function tds.claim_message(audiences text[], after bigint default 0)
returns table (delivery_id bigint, message_id uuid, audience text, change text, severity text, title text, body text, had_by text[],
               alert_ids bigint[], kinds text[], troubled text[])
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_late  constant timestamptz := v_now - make_interval(hours => tds.setting_int('alert_gives_up_hours'));
    v_again constant boolean := tds.setting_text('alert_when_in_doubt') is distinct from 'never';
begin
    perform tds.durably();
    if not tds.is_leased('alert sender') then
        return;
    end if;
    update tds.alert_delivery d
       set gave_up_at = v_now
     where d.sent_at is null and d.gave_up_at is null and d.created_at < v_late and d.audience = any (claim_message.audiences);
    return query
    update tds.alert_delivery d
       set tries = d.tries + 1, next_try_at = v_now + tds.back_off(d.tries),
           -- whoever was sending it has died, for this session has the lease
           doubts = d.doubts + case when d.trying is not null then 1 else 0 end, trying = null,
           had_by = case when v_again or d.trying is null then d.had_by else d.had_by || d.trying end
     where d.delivery_id = (select c.delivery_id from tds.alert_delivery c
                             where c.sent_at is null and c.gave_up_at is null and c.audience = any (claim_message.audiences)
                               and c.delivery_id > claim_message.after and tds.is_sendable(c, v_now)
                             order by c.delivery_id limit 1 for update skip locked)
    returning d.delivery_id, d.message_id, d.audience, d.change, d.severity, d.title, d.body, d.had_by, d.alert_ids,
              array(select distinct a.kind from tds.alert a where a.alert_id = any (d.alert_ids) order by a.kind),
              array(select a.address from tds.alert_address a where a.audience = d.audience and a.error is not null order by a.address);
end
$$;
revoke all on function tds.claim_message(text[], bigint) from public;
comment on function tds.claim_message(text[], bigint) is
'Takes the oldest message after that one that is to be sent, for whoever has the lease alert sender; no row: there is none. What is older '
'than the setting '
'alert_gives_up_hours is given up. troubled: the addresses where the last try failed. The address that a '
'sender which died was sending to may have it: the setting alert_when_in_doubt.';

create or replace function tds.begin_sending(delivery_id bigint, address text) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.durably();
    update tds.alert_delivery d
       set trying = begin_sending.address
     where d.delivery_id = begin_sending.delivery_id and begin_sending.address <> all (d.had_by);
    if not found then
        return false;
    end if;
    -- it stands there should nobody be left to take it away
    update tds.alert_address a set error = 'it gave no answer, or the sender died'
      from tds.alert_delivery d
     where d.delivery_id = begin_sending.delivery_id and a.audience = d.audience and a.address = begin_sending.address;
    return true;
end
$$;
revoke all on function tds.begin_sending(bigint, text) from public;
comment on function tds.begin_sending(bigint, text) is
'A sender is about to send a message to an address; false: that address has it.';

create or replace function tds.end_sending(delivery_id bigint, address text, error text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    perform tds.durably();
    update tds.alert_delivery d
       set trying = nullif(d.trying, end_sending.address),
           had_by = case when end_sending.error is null and end_sending.address <> all (d.had_by) then d.had_by || end_sending.address
                         else d.had_by end,
           error = coalesce(left(end_sending.address || ': ' || end_sending.error, 1000), d.error)
     where d.delivery_id = end_sending.delivery_id;
    update tds.alert_address a
       set had_at = case when end_sending.error is null then v_now else a.had_at end, error = left(end_sending.error, 1000)
      from tds.alert_delivery d
     where d.delivery_id = end_sending.delivery_id and a.audience = d.audience and a.address = end_sending.address;
end
$$;
revoke all on function tds.end_sending(bigint, text, text) from public;
comment on function tds.end_sending(bigint, text, text) is
'What came of it: the address has it (error null), or not. Told by the sender, and by whoever started it should it have died over it.';

create or replace function tds.finish_message(delivery_id bigint, addresses text[]) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_sent boolean;
begin
    perform tds.durably();
    update tds.alert_delivery d
       set sent_at = case when finish_message.addresses <@ d.had_by then v_now end,
           error = case when finish_message.addresses <@ d.had_by then null else d.error end,
           next_try_at = v_now + tds.back_off(d.tries - 1)
     where d.delivery_id = finish_message.delivery_id
    returning d.sent_at is not null into v_sent;
    return v_sent;
end
$$;
revoke all on function tds.finish_message(bigint, text[]) from public;
comment on function tds.finish_message(bigint, text[]) is
'A sender is through with a message; true: every address has it, else it is tried again.';

create or replace function tds.look_if_overdue() returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_latest constant timestamptz := tds.now() - make_interval(secs => tds.setting_int('job_grace_seconds'));
begin
    if not exists (select from tds.job_states() s join tds.job j on j.job = s.job
                    where s.job in ('health', 'heal') and j.enabled and s.state is distinct from 'running' and s.due_at < v_latest) then
        return false;
    end if;
    perform tds.observe_health();
    perform from tds.heal_alerts(tds.now(), false);
    return true;
end
$$;
revoke all on function tds.look_if_overdue() from public;
comment on function tds.look_if_overdue() is
'Looks at the health, and raises alerts, should nobody else: neither pg_cron nor a worker runs the jobs health and heal. Returns whether.';

create or replace function tds.check_alerts_undelivered(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_late constant timestamptz := check_alerts_undelivered.at - make_interval(mins => tds.setting_int('alert_late_minutes'));
    v_all  record;
    v_told text;
begin
    if not exists (select from tds.alert_address) then
        return row(null, 'no sender has an address so far: TDS_ALERT_URLS, TDS_BUSINESS_ALERT_URLS', null)::tds.finding;
    end if;
    select count(*) as messages, min(d.created_at) as since, (array_agg(d.error order by d.delivery_id desc))[1] as error into v_all
      from tds.alert_delivery d
     where d.sent_at is null and d.created_at < v_late
       and (d.gave_up_at is null or d.gave_up_at > check_alerts_undelivered.at - interval '1 day')
       and d.audience in (select a.audience from tds.alert_address a)
       -- its own do not make it worse
       and not exists (select from tds.alert a where a.alert_id = any (d.alert_ids) and a.kind = 'alerts_undelivered');
    select string_agg(format('%s (%s)', a.address, a.audience), ', ' order by a.audience, a.address) into v_told
      from tds.alert_address a where a.error is not null;
    return row(v_all.messages,
               case when v_all.messages = 0 then 'every message arrived, or is on its way'
                    else coalesce('not reached: ' || v_told || '; ', '') || coalesce(v_all.error, 'no sender has tried') end,
               case when v_all.messages > 0 then v_all.since end)::tds.finding;
end
$$;
revoke all on function tds.check_alerts_undelivered(timestamptz) from public;
comment on function tds.check_alerts_undelivered(timestamptz) is 'Check: messages of alerts that have not arrived.';
select tds.register_check('alerts_undelivered', 'services', 'messages', 1, 20, 15,
    'Messages of alerts that have not arrived everywhere after alert_late_minutes, or were given up within the last day.',
    'tds alerts test; correct TDS_ALERT_URLS or TDS_BUSINESS_ALERT_URLS where the workers run, and restart them');

create or replace view public.tds_alert_messages as
select d.delivery_id, d.created_at, d.audience, d.change, d.severity, d.title, d.body, d.alert_ids,
       case when d.sent_at is not null then 'sent' when d.gave_up_at is not null then 'given up' else 'waiting' end as state,
       d.sent_at, d.had_by, d.tries, d.doubts, case when d.sent_at is null then d.next_try_at end as next_try_at, d.error, d.message_id
  from tds.alert_delivery d;
comment on view public.tds_alert_messages is 'Who was told what of which alerts, and when.';
comment on column public.tds_alert_messages.delivery_id is 'Number.';
comment on column public.tds_alert_messages.created_at is 'When it was written.';
comment on column public.tds_alert_messages.audience is 'Who is told: operations, or business.';
comment on column public.tds_alert_messages.change is 'opened, escalated, reminded (an acknowledgement has ended), resolved.';
comment on column public.tds_alert_messages.severity is 'warning or critical.';
comment on column public.tds_alert_messages.title is 'Title.';
comment on column public.tds_alert_messages.body is 'Text.';
comment on column public.tds_alert_messages.alert_ids is 'The alerts that it is about: tds_alerts.id.';
comment on column public.tds_alert_messages.state is 'waiting, sent, or given up.';
comment on column public.tds_alert_messages.sent_at is 'When every address had it.';
comment on column public.tds_alert_messages.had_by is 'The addresses that have it, by kind and number.';
comment on column public.tds_alert_messages.tries is 'How often it was tried.';
comment on column public.tds_alert_messages.doubts is 'How often a sender died over it, so that an address may have it twice.';
comment on column public.tds_alert_messages.next_try_at is 'When it is tried next.';
comment on column public.tds_alert_messages.error is 'Why it has not arrived.';
comment on column public.tds_alert_messages.message_id is 'Id of the message, the same with every try.';

grant execute on function tds.messages_due(text[]), tds.begin_messages(text[], text[]), tds.end_messages(),
    tds.claim_message(text[], bigint), tds.begin_sending(bigint, text), tds.end_sending(bigint, text, text),
    tds.finish_message(bigint, text[]), tds.look_if_overdue()
    to tds_worker, tds_operator;
