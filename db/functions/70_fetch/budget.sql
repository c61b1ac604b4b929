insert into tds.setting (name, value, description) values
    ('api_calls_per_minute', '90', 'Calls an organisation may be asked in any minute by all processes together; Zoho blocks it, users '
                                   'included, beyond 100.'),
    ('api_details_per_minute', '40', 'Of these, calls for a single record each, whatever but live and repair they are for; Zoho was seen '
                                     'to block an organisation for 20 minutes after some minutes of 58.'),
    ('api_concurrency', '5', 'Calls at once for an organisation; Zoho allows 5 in the free plan, 10 in the paid ones.'),
    ('api_reserve_percent', '5', 'Share of the minute''s and the day''s calls that only the purposes live and repair may use.'),
    ('api_orphan_seconds', '5', 'How long a call of a process that died is taken to be still going on at Zoho, in seconds.'),
    ('api_lease_seconds', '300', 'After how long a call without an answer is given up although its process lives, in seconds.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.set_budget(
    organization_id text, calls_per_minute int default null, concurrency int default null, minute_seconds float8 default null)
returns table (calls_per_minute_now int, concurrency_now int, minute_seconds_now float8)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_number int := pg_backend_pid();
    v_now    constant timestamptz := tds.now();
    v_living constant int[] := tds.living_sessions();
begin
    perform tds.refuse_moving(set_budget.organization_id);
    -- the session's mark of life: its calls are given up when it has none; a number that somebody holds already is passed over
    if pg_backend_pid() <> all (v_living) then
        while not pg_try_advisory_lock(tds.api_lock_class(), v_number) loop
            v_number := v_number + 1;
        end loop;
    end if;
    -- who does so is known, so that a move to another shard can wait for it; those that died are forgotten
    delete from tds.asking a where a.organization_id = set_budget.organization_id and a.session <> all (v_living);
    insert into tds.asking (organization_id, session, since) values (set_budget.organization_id, pg_backend_pid(), v_now)
        on conflict on constraint asking_pkey do nothing;
    return query
    insert into tds.api_budget as b (organization_id, calls_per_minute, concurrency, minute_seconds)
    values (set_budget.organization_id, set_budget.calls_per_minute, set_budget.concurrency, coalesce(set_budget.minute_seconds, 60))
    on conflict on constraint api_budget_pkey do update
       set calls_per_minute = coalesce(set_budget.calls_per_minute, b.calls_per_minute),
           concurrency = coalesce(set_budget.concurrency, b.concurrency),
           minute_seconds = coalesce(set_budget.minute_seconds, b.minute_seconds)
    returning coalesce(b.calls_per_minute, tds.setting_int('api_calls_per_minute')),
              coalesce(b.concurrency, tds.setting_int('api_concurrency')), b.minute_seconds;
end
$$;
revoke all on function tds.set_budget(text, int, int, float8) from public;
comment on function tds.set_budget(text, int, int, float8) is
'Sets an organisation''s own ceilings (null leaves one as it is; the settings api_… hold where none was ever given) and returns those in '
'force. A session that makes calls says so with this once: while it lives, its calls are not given up. Raises ZB080 and ZB081 where the '
'organisation has moved to another shard, or is being moved.';
grant execute on function tds.set_budget(text, int, int, float8) to tds_poller, tds_operator;

create or replace function tds.end_asking(organization_id text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from tds.asking a where a.organization_id = end_asking.organization_id and a.session = pg_backend_pid();
    -- what it had taken and not fetched is anybody's
    update tds.wanted_detail w set leased_until = null, leased_for = null, leased_by = null
      from (select l.organization_id, l.entity, l.zoho_id from tds.wanted_detail l
             where l.organization_id = end_asking.organization_id and l.leased_by = pg_backend_pid()
             order by l.organization_id, l.entity, l.zoho_id for update) t
     where (w.organization_id, w.entity, w.zoho_id) = (t.organization_id, t.entity, t.zoho_id);
end
$$;
revoke all on function tds.end_asking(text) from public;
comment on function tds.end_asking(text) is
'This session asks Zoho no more for an organisation, though it lives on: what tds.set_budget() began.';
grant execute on function tds.end_asking(text) to tds_poller, tds_operator;

create or replace function tds.reserve_calls(
    organization_id text, calls int default 1, purpose text default 'migration', endpoint text default '',
    out granted int, out call_ids bigint[], out wait_seconds float8, out wait_until timestamptz, out reason text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_budget tds.api_budget;
    v_now    timestamptz;
    v_room   int;
begin
    -- A crash of the server may forget the last half second: the ceiling is below Zoho's limit for such things too.
    set local synchronous_commit = off;
    perform tds.refuse_moving(reserve_calls.organization_id);
    perform tds.beat();
    insert into tds.api_budget as b (organization_id) values (reserve_calls.organization_id)
        on conflict on constraint api_budget_pkey do nothing;
    select b.* into v_budget from tds.api_budget b where b.organization_id = reserve_calls.organization_id for update;
    -- not before: who waited for the lock would count with a time gone by
    v_now := tds.now();
    v_budget := tds.question_budget(v_budget, v_now);
    perform tds.drop_calls(v_budget, v_now);
    v_budget := tds.turn_day(v_budget, v_now);
    select r.room, r.wait_until, r.reason into v_room, reserve_calls.wait_until, reserve_calls.reason
      from tds.api_room(v_budget, reserve_calls.purpose, reserve_calls.endpoint, v_now) r;
    reserve_calls.granted := least(reserve_calls.calls, v_room);
    if reserve_calls.granted > 0 then
        with made as (
            insert into tds.api_call as c (organization_id, purpose, endpoint, backend_pid, reserved_at)
            select reserve_calls.organization_id, reserve_calls.purpose, reserve_calls.endpoint, pg_backend_pid(), v_now
              from generate_series(1, reserve_calls.granted)
            returning c.call_id)
        select array_agg(m.call_id order by m.call_id) into reserve_calls.call_ids from made m;
        update tds.api_budget b
           set day_left = b.day_left - reserve_calls.granted
         where b.organization_id = reserve_calls.organization_id and b.day_left is not null;
        reserve_calls.wait_until := null;
        reserve_calls.reason := null;
    end if;
    reserve_calls.wait_seconds := greatest(0, extract(epoch from reserve_calls.wait_until - v_now))::float8;
end
$$;
revoke all on function tds.reserve_calls(text, int, text, text) from public;
comment on function tds.reserve_calls(text, int, text, text) is
'Grants up to so many calls, to be begun now, and their ids; each is ended with settle_call(). None: wait_seconds, wait_until and the '
'reason. All processes share the minute (no more than the ceiling in any minute as Zoho sees it), the day and the calls at once of an '
'organisation. A part of the minute and the day is kept for the purposes live and repair, a larger one by sweeps; others ask for single '
'records (an {id} in the endpoint) at a slower pace. Raises ZB080 and ZB081 where the organisation has moved to another shard, or is being '
'moved.';
grant execute on function tds.reserve_calls(text, int, text, text) to tds_poller, tds_operator;

create or replace function tds.question_budget(budget tds.api_budget, at timestamptz) returns tds.api_budget
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_budget   tds.api_budget := question_budget.budget;
    v_tomorrow constant timestamptz := question_budget.at + interval '1 day';
    v_is_wrong constant boolean := coalesce(tds.is_ahead(v_budget.day_resets_at, v_tomorrow), false)
                                   or coalesce(tds.is_ahead(v_budget.day_told_at, question_budget.at), false);
begin
    -- no pause and no day is longer, and no answer newer: the clock was ahead when they were noted
    if v_is_wrong or tds.is_ahead(v_budget.paused_until, v_tomorrow) or tds.is_ahead(v_budget.lowered_at, question_budget.at) then
        update tds.api_budget b
           set paused_until = case when not tds.is_ahead(b.paused_until, v_tomorrow) then b.paused_until end,
               pause_reason = case when not tds.is_ahead(b.paused_until, v_tomorrow) then b.pause_reason end,
               day_left = case when not v_is_wrong then b.day_left end,
               day_told_at = case when not v_is_wrong then b.day_told_at end,
               day_resets_at = case when not tds.is_ahead(b.day_resets_at, v_tomorrow) then b.day_resets_at end,
               lowered_at = least(b.lowered_at, question_budget.at)
         where b.organization_id = v_budget.organization_id
        returning b.* into v_budget;
    end if;
    return v_budget;
end
$$;
revoke all on function tds.question_budget(tds.api_budget, timestamptz) from public;
comment on function tds.question_budget(tds.api_budget, timestamptz) is
'Forgets a pause, a day''s end, an answer and a lowering that lie further ahead than they can; the next answer tells how many calls are '
'left.';

create or replace function tds.turn_day(budget tds.api_budget, at timestamptz) returns tds.api_budget
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_budget tds.api_budget := turn_day.budget;
begin
    if v_budget.day_resets_at <= turn_day.at then
        update tds.api_budget b
           set day_resets_at = null,
               day_untold = 0,
               day_left = b.day_limit - (select count(*) from tds.api_call c
                                          where c.organization_id = v_budget.organization_id and c.settled_at is null)
         where b.organization_id = v_budget.organization_id
        returning b.* into v_budget;
    end if;
    return v_budget;
end
$$;
revoke all on function tds.turn_day(tds.api_budget, timestamptz) from public;
comment on function tds.turn_day(tds.api_budget, timestamptz) is
'Gives an organisation its new day''s calls once its midnight is past; the next answer tells how many it really has.';

create or replace function tds.api_room(
    budget tds.api_budget, purpose text, endpoint text, at timestamptz, out room int, out wait_until timestamptz, out reason text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_minute  constant interval := make_interval(secs => (api_room.budget).minute_seconds);
    v_kept    constant numeric := case when api_room.purpose in ('live', 'repair') then 0
        else greatest(tds.setting_int('api_reserve_percent'),
                      case when api_room.purpose = 'sweep' then tds.setting_int('sweep_reserve_percent') end) / 100.0 end;
    v_ceiling constant int := coalesce((api_room.budget).calls_per_minute, tds.setting_int('api_calls_per_minute'));
    v_paced   constant boolean := tds.is_detail(api_room.endpoint) and api_room.purpose not in ('live', 'repair');
    v_minute_room int;
    v_detail_room int;
    v_slots       int;
    v_flying      int;
    v_day_room    int;
begin
    -- A call reaches Zoho between reserved_at and settled_at, so it counts for a minute from its end on.
    select (v_ceiling - floor(v_ceiling * v_kept) - count(*))::int,
           case when v_paced then (tds.api_details(api_room.budget) - count(*) filter (where tds.is_detail(c.endpoint)))::int end,
           (tds.api_slots(api_room.budget, api_room.at) - count(*) filter (where c.settled_at is null))::int,
           count(*) filter (where c.settled_at is null)::int
      into v_minute_room, v_detail_room, v_slots, v_flying
      from tds.api_call c
     where c.organization_id = (api_room.budget).organization_id
       and (c.settled_at is null or c.settled_at > api_room.at - v_minute);
    -- of a limit of its own what others have used of the plan's is used, too
    v_day_room := (least((api_room.budget).day_left,
                         (api_room.budget).calls_per_day - (api_room.budget).day_limit + (api_room.budget).day_left)
                   - floor(least((api_room.budget).day_limit, (api_room.budget).calls_per_day) * v_kept))::int;
    -- calls without an answer may not have been counted: one more is tried, and its answer tells
    if v_day_room <= 0 and v_flying = 0 and v_day_room + (api_room.budget).day_untold > 0 then
        v_day_room := 1;
    end if;
    if (api_room.budget).paused_until > api_room.at then
        api_room.room := 0;
        api_room.reason := (api_room.budget).pause_reason;
        api_room.wait_until := (api_room.budget).paused_until;
    -- those under way may be in what was told already, and then some are left
    elsif v_day_room <= 0 and v_day_room + v_flying > 0 then
        api_room.room := 0;
        api_room.reason := 'the last of the day''s calls are under way';
        api_room.wait_until := api_room.at + v_minute / 600;
    elsif v_day_room <= 0 then
        api_room.room := 0;
        api_room.reason := case when v_kept > 0 and (api_room.budget).day_left > 0 then 'what is left of the day''s calls is kept for live '
            'repair'
                                else 'the day''s calls are used up' end;
        api_room.wait_until := coalesce((api_room.budget).day_resets_at, api_room.at + v_minute);
    else
        -- least() passes over the null of a call that is not paced
        api_room.room := greatest(0, least(v_minute_room, v_detail_room, v_slots, v_day_room));
        if api_room.room = 0 then
            api_room.reason := case when v_minute_room <= 0 then 'the minute''s calls are used up'
                                    when v_detail_room <= 0 then 'the minute''s details are used up'
                                    else 'as many calls are under way as are allowed' end;
            api_room.wait_until := coalesce(greatest(tds.minute_opens(api_room.budget, v_minute, api_room.at, 1 - v_minute_room, false),
                                                     tds.minute_opens(api_room.budget, v_minute, api_room.at, 1 - v_detail_room, true)),
                                            api_room.at + v_minute / 600);
        end if;
    end if;
end
$$;
revoke all on function tds.api_room(tds.api_budget, text, text, timestamptz) from public;
comment on function tds.api_room(tds.api_budget, text, text, timestamptz) is
'How many calls of an endpoint an organisation may begin now for a purpose; if none, until when to wait and why.';

create or replace function tds.minute_opens(budget tds.api_budget, minute interval, at timestamptz, calls int, details boolean)
    returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select c.settled_at + minute_opens.minute
              from tds.api_call c
             where c.organization_id = (minute_opens.budget).organization_id and minute_opens.calls > 0
               and c.settled_at > minute_opens.at - minute_opens.minute
               and (not minute_opens.details or tds.is_detail(c.endpoint))
             order by c.settled_at
            offset greatest(minute_opens.calls, 1) - 1 limit 1);
end
$$;
revoke all on function tds.minute_opens(tds.api_budget, interval, timestamptz, int, boolean) from public;
comment on function tds.minute_opens(tds.api_budget, interval, timestamptz, int, boolean) is
'When so many calls more (details: of single records) will have left the minute; null: that is not known, as they are still under way.';

create or replace function tds.is_detail(endpoint text) returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
select position('{id}' in $1) > 0
$$;
revoke all on function tds.is_detail(text) from public;
comment on function tds.is_detail(text) is 'Whether a call is for a single record: there is an id in its path.';

create or replace function tds.api_details(budget tds.api_budget) returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return least(tds.setting_int('api_details_per_minute'),
                 coalesce((api_details.budget).calls_per_minute, tds.setting_int('api_calls_per_minute')));
end
$$;
revoke all on function tds.api_details(tds.api_budget) from public;
comment on function tds.api_details(tds.api_budget) is
'Calls for single records that are begun in a minute, other than for live and repair.';

create or replace function tds.api_slots(budget tds.api_budget, at timestamptz) returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return least(coalesce((api_slots.budget).concurrency, tds.setting_int('api_concurrency')),
                 (api_slots.budget).lowered_to
                 + floor(least(1000, extract(epoch from api_slots.at - (api_slots.budget).lowered_at)
                                     / (api_slots.budget).minute_seconds))::int);
end
$$;
revoke all on function tds.api_slots(tds.api_budget, timestamptz) from public;
comment on function tds.api_slots(tds.api_budget, timestamptz) is
'Calls at once that are tried now: after code 1070 fewer, and one more each minute.';

create or replace function tds.drop_calls(budget tds.api_budget, at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_orphan_at constant timestamptz := drop_calls.at - make_interval(secs => tds.setting_int('api_orphan_seconds'));
    v_lease_at  constant timestamptz := drop_calls.at - make_interval(secs => tds.setting_int('api_lease_seconds'));
    v_living    int[];
begin
    -- what no minute counts any more, and no call under way began before
    delete from tds.api_call c
     where c.organization_id = (drop_calls.budget).organization_id
       and tds.is_ahead(c.settled_at, drop_calls.at);
    delete from tds.api_call c
     where c.organization_id = (drop_calls.budget).organization_id
       and c.settled_at <= drop_calls.at - make_interval(secs => (drop_calls.budget).minute_seconds)
       and not exists (select from tds.api_call u
                        where u.organization_id = c.organization_id and u.settled_at is null and u.reserved_at < c.settled_at);
    -- to look through the locks takes longer than most of this: only where somebody may have died
    if exists (select from tds.api_call c
                where c.organization_id = (drop_calls.budget).organization_id and c.settled_at is null and c.reserved_at < v_orphan_at
                  and c.backend_pid <> pg_backend_pid()) then
        v_living := tds.living_sessions();
    end if;
    with lost as (
        update tds.api_call c
           set settled_at = drop_calls.at
         where c.organization_id = (drop_calls.budget).organization_id and c.settled_at is null
           and (c.reserved_at < v_lease_at or tds.is_ahead(c.reserved_at, drop_calls.at)
                or c.reserved_at < v_orphan_at and c.backend_pid <> pg_backend_pid() and c.backend_pid <> all (v_living))
        returning c.*)
    insert into tds.api_spending as s (organization_id, day, purpose, endpoint, outcome, calls)
    select l.organization_id, (drop_calls.at at time zone 'UTC')::date, l.purpose, l.endpoint, 'lost', count(*)
      from lost l group by l.organization_id, l.purpose, l.endpoint
     order by l.organization_id, l.purpose, l.endpoint
    on conflict on constraint api_spending_pkey do update set calls = s.calls + excluded.calls;
end
$$;
revoke all on function tds.drop_calls(tds.api_budget, timestamptz) from public;
comment on function tds.drop_calls(tds.api_budget, timestamptz) is
'Forgets the calls that no longer count, and ends those whose process has died or that never were answered.';

create or replace function tds.settle_call(
    call_id bigint, status int default null, code int default null, day_limit int default null, day_left int default null,
    reset_seconds float8 default null, retry_after float8 default null) returns float8
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    timestamptz;
    v_budget tds.api_budget;
    v_call   tds.api_call;
begin
    -- lost in a crash of the server, it would be a call whose process has died
    set local synchronous_commit = off;
    select b.* into v_budget from tds.api_budget b
     where b.organization_id = (select c.organization_id from tds.api_call c where c.call_id = settle_call.call_id) for update;
    v_now := tds.now();
    update tds.api_call c
       set settled_at = v_now, told = case when settle_call.day_left is not null or settle_call.status is distinct from 401
           then settle_call.day_left is not null end
     where c.call_id = settle_call.call_id and c.settled_at is null
    returning c.* into v_call;
    if v_call.call_id is null then
        return 0::float8;
    end if;
    insert into tds.api_spending as s (organization_id, day, purpose, endpoint, outcome, calls)
    values (v_call.organization_id, (v_now at time zone 'UTC')::date, v_call.purpose, v_call.endpoint,
            tds.call_outcome(settle_call.status, settle_call.code), 1)
    on conflict on constraint api_spending_pkey do update set calls = s.calls + 1;
    -- one that is not let in is no call of the organisation
    if settle_call.day_left is null then
        update tds.api_budget b
           set day_left = b.day_left + (settle_call.status is not distinct from 401)::int,
               day_untold = b.day_untold + (settle_call.status is distinct from 401)::int
         where b.organization_id = v_call.organization_id;
    end if;
    perform tds.learn_quota(v_budget, v_call, settle_call.day_limit, settle_call.day_left,
                            v_now + make_interval(secs => settle_call.reset_seconds * v_budget.minute_seconds / 60));
    if settle_call.status is distinct from 429 then
        return 0::float8;
    end if;
    return tds.pause_calls(v_budget, v_call, v_now, coalesce(settle_call.code, 0),
                           make_interval(secs => settle_call.reset_seconds * v_budget.minute_seconds / 60),
                           make_interval(secs => settle_call.retry_after * v_budget.minute_seconds / 60));
end
$$;
revoke all on function tds.settle_call(bigint, int, int, int, int, float8, float8) from public;
comment on function tds.settle_call(bigint, int, int, int, int, float8, float8) is
'Ends a call: HTTP status and Zoho''s code (null: no answer), and what the headers X-Rate-Limit-Limit, -Remaining, -Reset and Retry-After '
'said. A 429 pauses the organisation for every process, by its code. Returns the seconds of that pause, 0 where there is none. Settling '
'twice changes nothing.';
grant execute on function tds.settle_call(bigint, int, int, int, int, float8, float8) to tds_poller, tds_operator;

create or replace function tds.cancel_call(call_id bigint) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    set local synchronous_commit = off;
    with cancelled as (
        delete from tds.api_call c where c.call_id = cancel_call.call_id and c.settled_at is null returning c.organization_id)
    update tds.api_budget b set day_left = b.day_left + 1 from cancelled c where c.organization_id = b.organization_id;
end
$$;
revoke all on function tds.cancel_call(bigint) from public;
comment on function tds.cancel_call(bigint) is 'Gives a reserved call back that was not made.';
grant execute on function tds.cancel_call(bigint) to tds_poller, tds_operator;

create or replace function tds.call_outcome(status int, code int) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
select case when $1 = 200 and $2 = 0 then 'ok'
            when $1 is null or $1 = 200 and $2 is null then 'no_answer'
            when $1 = 404 and $2 in (1001, 1002) then 'not_found'
            when $1 = 401 then 'unauthorized'
            when $1 = 429 then 'limit_' || coalesce($2::text, 'unknown')
            when $1 >= 500 then 'server_error'
            else 'refused' end
$$;
revoke all on function tds.call_outcome(int, int) from public;
comment on function tds.call_outcome(int, int) is
'What became of a call, by its HTTP status and Zoho''s code, as tds.api_spending counts it.';

create or replace function tds.learn_quota(budget tds.api_budget, call tds.api_call, day_limit int, day_left int, resets_at timestamptz)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_newest constant boolean := coalesce((learn_quota.call).reserved_at >= (learn_quota.budget).day_told_at, true);
    v_flying int;
    v_since  int;
    v_untold int;
    v_left   int;
begin
    if learn_quota.day_left is null then
        return;
    end if;
    select count(*) filter (where c.settled_at is null)::int, count(*) filter (where c.told is not null)::int,
           count(*) filter (where not c.told)::int
      into v_flying, v_since, v_untold
      from tds.api_call c
     where c.organization_id = (learn_quota.call).organization_id and c.call_id <> (learn_quota.call).call_id
       and (c.settled_at is null or c.settled_at >= (learn_quota.call).reserved_at);
    -- Lower bounds of what is left without the calls under way, from what was known and from what is told now. Each answer
    -- counts one call more, so the least told so far counts all that told; calls without an answer are missing in it.
    v_left := (learn_quota.budget).day_left + v_flying + 1;
    v_left := case when v_untold = 0 then least(v_left, learn_quota.day_left) when not v_newest then v_left - 1 end;
    -- What ended before this call began is in what it was told, whoever had spent it.
    if v_newest then
        v_left := greatest(v_left, learn_quota.day_left - v_since);
    end if;
    update tds.api_budget b
       set day_limit = coalesce(learn_quota.day_limit, b.day_limit),
           day_left = v_left - v_flying,
           -- without a word of its end no day is taken to be longer than one
           day_resets_at = case when v_newest
                                then coalesce(learn_quota.resets_at, b.day_resets_at,
                                              (learn_quota.call).reserved_at + make_interval(secs => 1440 * b.minute_seconds))
                                else b.day_resets_at end,
           day_untold = case when v_newest then v_untold else b.day_untold end,
           day_told_at = greatest(b.day_told_at, (learn_quota.call).reserved_at)
     where b.organization_id = (learn_quota.call).organization_id;
end
$$;
revoke all on function tds.learn_quota(tds.api_budget, tds.api_call, int, int, timestamptz) from public;
comment on function tds.learn_quota(tds.api_budget, tds.api_call, int, int, timestamptz) is
'Takes over what an answer''s headers say of the day''s calls, less those that the answer may not have counted: never more than are left.';

create or replace function tds.pause_calls(
    budget tds.api_budget, call tds.api_call, at timestamptz, code int, to_reset interval, retry_after interval) returns float8
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_minute constant interval := make_interval(secs => (pause_calls.budget).minute_seconds);
    v_own    constant interval := case pause_calls.code
        when 1070 then v_minute / 60
        when 45 then greatest(v_minute, coalesce(pause_calls.to_reset, (pause_calls.budget).day_resets_at - pause_calls.at, 60 * v_minute))
        -- was seen to last 15 to 20 minutes, longer if asked meanwhile
        when 43 then 20 * v_minute
        else 2 * v_minute end;
    v_before constant timestamptz := case when (pause_calls.budget).pause_reason = tds.limit_told(pause_calls.code)
                                          then (pause_calls.budget).paused_until end;
    v_pause  interval := coalesce(pause_calls.retry_after, v_own);
    v_slots  int;
begin
    -- who has just waited for it, and is refused again, was told of too short a pause
    if v_before <= (pause_calls.call).reserved_at and v_before > (pause_calls.call).reserved_at - v_own then
        v_pause := greatest(v_pause, v_own);
    end if;
    -- calls refused together lower it once
    if pause_calls.code = 1070 and (pause_calls.call).reserved_at > coalesce((pause_calls.budget).lowered_at, '-infinity') then
        select greatest(1, least(tds.api_slots(pause_calls.budget, pause_calls.at), count(*)::int + 1) - 1) into v_slots
          from tds.api_call c where c.organization_id = (pause_calls.call).organization_id and c.settled_at is null;
    end if;
    update tds.api_budget b
       set paused_until = greatest(b.paused_until, pause_calls.at + v_pause),
           pause_reason = case when b.paused_until > pause_calls.at + v_pause then b.pause_reason else tds.limit_told(pause_calls.code) end,
           day_left = case when pause_calls.code = 45 then least(b.day_left, 0) else b.day_left end,
           lowered_to = coalesce(v_slots, b.lowered_to),
           lowered_at = case when v_slots is null then b.lowered_at else pause_calls.at end
     where b.organization_id = (pause_calls.call).organization_id;
    return extract(epoch from v_pause)::float8;
end
$$;
revoke all on function tds.pause_calls(tds.api_budget, tds.api_call, timestamptz, int, interval, interval) from public;
comment on function tds.pause_calls(tds.api_budget, tds.api_call, timestamptz, int, interval, interval) is
'Stops all calls for an organisation after a 429: for as long as Retry-After says, unless that was too short before, else as its code asks '
'for; and after 1070 tries fewer at once. Returns the pause in seconds.';

create or replace function tds.limit_told(code int) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
select case $1 when 43 then 'Zoho has blocked the organisation for some time (code 43)'
               when 44 then 'more than the minute''s calls reached Zoho (code 44)'
               when 45 then 'the day''s calls are used up (code 45)'
               when 1070 then 'too many calls were under way at once (code 1070)'
               else format('Zoho refuses calls for now (code %s)', $1) end
$$;
revoke all on function tds.limit_told(int) from public;
comment on function tds.limit_told(int) is 'What a code of a 429 means.';

create or replace function tds.resume_calls(organization_id text) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_paused boolean;
begin
    update tds.api_budget b
       set paused_until = null, pause_reason = null, lowered_to = null, lowered_at = null,
           day_left = case when b.day_left <= 0 then null else b.day_left end
     where b.organization_id = resume_calls.organization_id
    returning true into v_paused;
    return coalesce(v_paused, false);
end
$$;
revoke all on function tds.resume_calls(text) from public;
comment on function tds.resume_calls(text) is
'Ends a pause by hand, as after an administrator had the quota raised; the next answer tells how many calls are left. False: no such '
'organisation.';
grant execute on function tds.resume_calls(text) to tds_operator;
