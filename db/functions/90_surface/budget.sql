create or replace view public.tds_api_budget as
select b.organization_id,
       coalesce(b.calls_per_minute, s.calls_per_minute) as calls_per_minute,
       greatest(0, coalesce(b.calls_per_minute, s.calls_per_minute) - c.minute)::int as left_this_minute,
       tds.api_slots(b, s.at) as calls_at_once,
       c.flying::int as under_way,
       b.day_limit,
       case when b.day_resets_at > s.at then b.day_limit - b.day_left end as used_today,
       case when b.day_resets_at > s.at then b.day_left else b.day_limit end as left_today,
       floor(b.day_limit * s.kept)::int as kept_for_repair,
       b.day_resets_at,
       case when b.paused_until > s.at then b.paused_until end as paused_until,
       case when b.paused_until > s.at then b.pause_reason end as pause_reason,
       b.minute_seconds,
       tds.api_details(b) as details_per_minute
  from tds.api_budget b
 cross join (select tds.now() as at, tds.setting_int('api_calls_per_minute') as calls_per_minute,
                    tds.setting_int('api_reserve_percent') / 100.0 as kept) s
 cross join lateral (
       select count(*) as minute, count(*) filter (where k.settled_at is null) as flying
         from tds.api_call k
        where k.organization_id = b.organization_id
          and (k.settled_at is null or k.settled_at > s.at - make_interval(secs => b.minute_seconds))) c;
comment on view public.tds_api_budget is 'What each organisation may still ask of Zoho, and until when and why it is paused.';
comment on column public.tds_api_budget.organization_id is 'Zoho organisation.';
comment on column public.tds_api_budget.calls_per_minute is 'Most calls in any minute.';
comment on column public.tds_api_budget.left_this_minute is 'Calls that may begin now.';
comment on column public.tds_api_budget.calls_at_once is 'Most calls under way.';
comment on column public.tds_api_budget.under_way is 'Calls under way.';
comment on column public.tds_api_budget.day_limit is 'The plan''s calls a day; null: no answer has told it yet.';
comment on column public.tds_api_budget.used_today is 'Calls used of it, by whomever; null before the day''s first answer.';
comment on column public.tds_api_budget.left_today is 'Calls left today.';
comment on column public.tds_api_budget.kept_for_repair is 'The part of them that only live and repair may use.';
comment on column public.tds_api_budget.day_resets_at is 'When the day''s calls begin anew.';
comment on column public.tds_api_budget.paused_until is 'Nobody calls before then; null: no pause.';
comment on column public.tds_api_budget.pause_reason is 'Why.';
comment on column public.tds_api_budget.minute_seconds is 'Length of a minute in seconds: less than 60 only against a sandbox.';
comment on column public.tds_api_budget.details_per_minute is
'Most calls for single records in any minute, other than for live and repair.';

create or replace view public.tds_api_spending as
select s.day, s.organization_id, s.purpose, s.endpoint, s.outcome, s.calls from tds.api_spending s;
comment on view public.tds_api_spending is 'Calls by day (UTC), purpose, endpoint and outcome: where the quota went.';
comment on column public.tds_api_spending.day is 'Day (UTC).';
comment on column public.tds_api_spending.organization_id is 'Zoho organisation.';
comment on column public.tds_api_spending.purpose is 'What the calls were for.';
comment on column public.tds_api_spending.endpoint is 'Path below /books/v3, ids as {id}.';
comment on column public.tds_api_spending.outcome is 'ok, not_found, unauthorized, refused, limit_<code>, server_error, no_answer, lost.';
comment on column public.tds_api_spending.calls is 'How many.';

create or replace view public.tds_api_accounts as
select left(a.account, 12) as account,
       case when a.refused is not null then 'refused' when a.closed_until > s.at then 'waiting' else 'ok' end as state,
       a.refused as reason, a.refused_at, a.closed_until, a.refreshes[1] as last_refresh,
       (select count(*)::int from unnest(a.refreshes) r(at) where r.at > s.at - interval '10 minutes') as refreshes_in_ten_minutes
  from tds.api_account a
 cross join (select tds.now() as at) s;
comment on view public.tds_api_accounts is
'Refresh tokens (by the head of their SHA-256), and whether Zoho still takes them. select tds.allow_refresh() after mending one.';
comment on column public.tds_api_accounts.account is 'First 12 digits of the refresh token''s SHA-256.';
comment on column public.tds_api_accounts.state is
'ok; waiting (for the cap on refreshes); refused (what was sent with it, see reason, is not tried again).';
comment on column public.tds_api_accounts.reason is 'What Zoho refused it with.';
comment on column public.tds_api_accounts.refused_at is 'When.';
comment on column public.tds_api_accounts.closed_until is 'Nobody asks for an access token before then.';
comment on column public.tds_api_accounts.last_refresh is 'When an access token was last asked for.';
comment on column public.tds_api_accounts.refreshes_in_ten_minutes is 'How often within ten minutes; Zoho allows ten.';

-- a view's functions are called with the rights of whoever looks
grant execute on function tds.now(), tds.setting_text(text), tds.setting_int(text), tds.api_slots(tds.api_budget, timestamptz),
                          tds.api_details(tds.api_budget)
    to tds_reader, tds_operator, tds_poller;
grant select on tds.setting to tds_poller;
grant select on public.tds_api_budget, public.tds_api_spending, public.tds_api_accounts to tds_poller;

create or replace view public.tds_api_outlook as
select b.organization_id, w.calls,
       round(m.minutes, 1) as minutes,
       case when r.per_day > 0 then
           greatest(0, ceil((w.calls - greatest(0, b.left_today - b.kept_for_repair))::numeric / r.per_day))::int end as more_days,
       case when w.calls <= b.left_today - b.kept_for_repair or b.day_limit is null
            then tds.now() + make_interval(secs => (m.minutes * b.minute_seconds::numeric)::float8) end as ends_at
  from public.tds_api_budget b
 cross join lateral (
       select coalesce(sum(c.calls), 0)::bigint as calls,
              coalesce(sum(c.calls) filter (where n.bulk_detail_path is null), 0)::bigint as singles
         from tds.calls_wanted(b.organization_id) c
         join tds.entity n on n.entity = c.entity) w
 cross join lateral (
       select b.calls_per_minute - floor(b.calls_per_minute * tds.setting_int('api_reserve_percent') / 100.0) as per_minute,
              b.day_limit - b.kept_for_repair as per_day) r
 cross join lateral (
       select (w.calls - w.singles)::numeric / r.per_minute + w.singles::numeric / least(b.details_per_minute, r.per_minute) as minutes) m;
comment on view public.tds_api_outlook is
'What the wanted details of each organisation still cost, and when they will be here if nothing else asks.';
comment on column public.tds_api_outlook.organization_id is 'Zoho organisation.';
comment on column public.tds_api_outlook.calls is 'Calls that the wanted details cost.';
comment on column public.tds_api_outlook.minutes is
'Minutes that they take at the ceilings of all calls and of those for single records, pauses for the day''s quota not counted.';
comment on column public.tds_api_outlook.more_days is 'Days after today that their quota takes; null: the quota is not known.';
comment on column public.tds_api_outlook.ends_at is 'When they will be here, if today''s quota is enough.';
grant select on public.tds_api_outlook to tds_poller;
