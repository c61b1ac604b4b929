-- Details to be read from the API: a set of records, with one way in.

create or replace function tds.is_newer_wish(wish tds.wanted_detail, known tds.wanted_detail) returns boolean
language sql immutable parallel safe
as $$ select ($1.wanted_at, coalesce($1.run_id, 0)) > ($2.wanted_at, coalesce($2.run_id, 0)) $$;
comment on function tds.is_newer_wish(tds.wanted_detail, tds.wanted_detail) is
'Whether a wish is newer than what is known of it: by its time, and of one moment by its run.';

create or replace function tds.is_answered(want tds.wanted_detail) returns boolean
language sql immutable parallel safe
as $$ select ($1).leased_until is not null and ($1).leased_by is null and ($1).error is null $$;
comment on function tds.is_answered(tds.wanted_detail) is
'Whether the answer to a want is stored and being processed: nobody has to be asked, as far as is known.';

create or replace function tds.needs_asking(wish tds.wanted_detail, known tds.wanted_detail) returns boolean
language sql immutable parallel safe
as $$ select tds.is_newer_wish($1, $2) and not (tds.is_answered($2) and $1.wanted_at <= $2.leased_for) $$;
comment on function tds.needs_asking(tds.wanted_detail, tds.wanted_detail) is
'Whether a wish is newer than what is known of it, and than the request whose answer is stored and being processed, if one is.';

create or replace function tds.want(entity text, organization_ids text[], wishes tds.wish[]) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity  constant tds.entity := tds.entity_named(want.entity, of_the_api => true);
    v_now     constant timestamptz := tds.now();
    v_refused tds.wish;
    v_rows    bigint;
begin
    select n.* into v_refused from unnest(want.wishes) n where tds.is_id(n.zoho_id) is not true limit 1;
    if found then
        -- an empty one would ask for the list, and be asked for ever
        raise exception using errcode = 'ZB015', message = 'not the id of a record',
            detail = coalesce(quote_literal(v_refused.zoho_id), 'null'),
            hint = format('up to 50 letters, digits, _ and -, as in zoho.%s.%s: select tds.want(''%s'', ''460000000026049'')',
                          v_entity.target, v_entity.target_key, v_entity.entity);
    end if;
    insert into tds.wanted_detail as w (organization_id, entity, zoho_id, reason, wanted_at, modified_at, run_id, not_before)
    select n.organization_id, v_entity.entity, n.zoho_id,
           (array_agg(n.reason order by n.wanted_at desc, n.run_id desc nulls last, n.reason))[1],
           max(n.wanted_at), max(n.modified_at), max(n.run_id), case when max(n.wanted_at) - a.ahead > v_now
               then max(n.wanted_at) - a.ahead end
      from unnest(want.organization_ids, want.wishes) n(organization_id, zoho_id, reason, wanted_at, modified_at, run_id)
      join (select o.id, tds.zoho_ahead(o.id) as ahead
              from (select distinct u.id from unnest(want.organization_ids) u(id)) o offset 0) a on a.id = n.organization_id
     group by n.organization_id, n.zoho_id, a.ahead
     order by n.organization_id, n.zoho_id
    on conflict on constraint wanted_detail_pkey do update
       set wanted_at = greatest(w.wanted_at, excluded.wanted_at),
           modified_at = greatest(w.modified_at, excluded.modified_at),
           -- by whichever came last; one without a run leaves it to the run that waits for it
           run_id = case when tds.is_newer_wish(excluded, w) then coalesce(excluded.run_id, w.run_id)
               else greatest(w.run_id, excluded.run_id) end,
           reason = case when tds.is_newer_wish(excluded, w) then excluded.reason else w.reason end,
           -- what was tried, and whoever has it in hand, was for an older need
           not_before = case when tds.is_newer_wish(excluded, w) then excluded.not_before else w.not_before end,
           tries = case when tds.is_newer_wish(excluded, w) then 0 else w.tries end,
           error = case when tds.is_newer_wish(excluded, w) then null else w.error end,
           leased_until = case when tds.needs_asking(excluded, w) then null else w.leased_until end,
           leased_for = case when tds.needs_asking(excluded, w) then null else w.leased_for end,
           leased_by = case when tds.needs_asking(excluded, w) then null else w.leased_by end
     where tds.is_newer_wish(excluded, w)
        or greatest(w.modified_at, excluded.modified_at) is distinct from w.modified_at
        or greatest(w.run_id, excluded.run_id) is distinct from w.run_id;
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.want(text, text[], tds.wish[]) from public;
comment on function tds.want(text, text[], tds.wish[]) is
'The one way into tds.wanted_detail: asks for the details of these records, each of the organisation told beside it, in key order, and '
'returns how many that was news of. A newer '
'wish takes over time (Zoho''s; nobody asks before it has come), reason and run, and clears tries, error and lease, but not that of a '
'later request whose answer is stored; the version is the greatest told. Raises ZB002 for an entity that the API does not tell of, '
'ZB015 for what is no record''s id.';

create or replace function tds.want(entity text, organization_id text, wishes tds.wish[]) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.want(want.entity, array(select want.organization_id from unnest(want.wishes)), want.wishes);
end
$$;
revoke all on function tds.want(text, text, tds.wish[]) from public;
comment on function tds.want(text, text, tds.wish[]) is 'Asks for the details of these records of one organisation.';

create or replace function tds.want(entity text, zoho_id text, organization_id text default null, reason text default 'asked for')
    returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_organization_id constant text := tds.own_organization(want.organization_id, of_the_api => true);
begin
    perform tds.durably();
    return tds.want(want.entity, v_organization_id,
                    array[row(want.zoho_id, want.reason, tds.zoho_now(v_organization_id), null, null)::tds.wish]);
end
$$;
revoke all on function tds.want(text, text, text, text) from public;
comment on function tds.want(text, text, text, text) is
'Asks for a record''s detail to be read from the API, now and by whoever polls, whatever was tried before; of stock, the product''s. '
'organization_id: as tds.own_organization() has it. Raises ZB002 (entity), ZB013 (organisation), ZB015 (zoho_id).';
grant execute on function tds.want(text, text, text, text) to tds_poller, tds_operator;

create or replace function tds.want_forced(entity text, organization_id text, zoho_ids text[], asked_by text) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant text := (tds.entity_named(want_forced.entity, of_the_api => true)).entity;
    v_now    constant timestamptz := tds.zoho_now(want_forced.organization_id);
    v_rows   bigint;
begin
    v_rows := tds.want(v_entity, want_forced.organization_id, array(
        select row(i.id, format('repair, asked for by %s', want_forced.asked_by), v_now, null, null)::tds.wish
          from unnest(want_forced.zoho_ids) i(id)));
    update tds.wanted_detail w
       set forced_by = want_forced.asked_by, not_before = null, leased_until = null, leased_for = null, leased_by = null
     where w.organization_id = want_forced.organization_id and w.entity = v_entity and w.zoho_id = any (want_forced.zoho_ids);
    return v_rows;
end
$$;
revoke all on function tds.want_forced(text, text, text[], text) from public;
comment on function tds.want_forced(text, text, text[], text) is
'Asks for the details of these records; the answers are written whatever is stored of them.';

create or replace function tds.second_look() returns interval
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return make_interval(secs => tds.setting_int('second_look_seconds'));
end
$$;
comment on function tds.second_look() is 'The pause before Zoho is asked once more what it said (setting second_look_seconds).';

create or replace function tds.empty_reason() returns text
language sql immutable parallel safe
as $$ select 'an array is empty against the document''s own sums' $$;
comment on function tds.empty_reason() is
'Why a detail is wanted whose document lacks elements that its sums tell of; see tds.lacks_elements().';

create or replace function tds.tells_less(doc jsonb, detail_key text) returns boolean
language sql immutable parallel safe
as $$
    -- where a product's places are told by an API of their own, that answer tells of nothing else
    select not $1 ? $2 and not $1 ?| '{locations,warehouses}'
$$;
comment on function tds.tells_less(jsonb, text) is
'Whether the document of a detail lacks the key that details have; null for an entity without one.';

create or replace function tds.less_reason() returns text
language sql immutable parallel safe
as $$ select 'a detail tells less than what is known' $$;
comment on function tds.less_reason() is
'Why a detail is wanted once more that came without the key that details have (detail_key), which is known of the record.';

create or replace function tds.tie_reason() returns text
language sql immutable parallel safe
as $$ select 'read twice of one last_modified_time, differently' $$;
comment on function tds.tie_reason() is 'Why a detail is wanted whose last_modified_time was read with two contents.';

create or replace function tds.older_error() returns text
language sql immutable parallel safe
as $$ select 'the detail tells of an older edit than is known' $$;
comment on function tds.older_error() is
'Why a detail is wanted still that was answered: what Zoho answers is older than what it told before; see tds.note_wants().';

create or replace function tds.is_own_doubt(reason text) returns boolean
language sql immutable parallel safe
as $$ select $1 in (tds.empty_reason(), tds.less_reason(), tds.tie_reason()) $$;
comment on function tds.is_own_doubt(text) is
'Whether it is the detail itself that gives this reason to want one: it is no answer to that, and is asked for after a pause.';

create or replace function tds.note_wants(
    entity tds.entity, verdicts tds.verdict[], inbox_ids bigint[], received_ats timestamptz[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now     constant timestamptz := tds.now();
    v_wanted  record;
    v_settled tid[];
    v_older   tid[];
    v_empty_owners   text[];
    v_empty_zoho_ids text[];
    -- whose webhooks' bodies are hints only, whatever they hold
    v_hints constant boolean := exists (select from tds.setting s
                                         where s.name = 'webhook_is_hint' and s.value ? (note_wants.entity).entity);
begin
    if (note_wants.entity).api_path <> ''
       and exists (select from unnest(note_wants.verdicts) v
                    where v.wanted is not null or v_hints and v.rank = 2 and v.outcome = 'applied')
    then
        select array_agg(w.organization_id) as organization_ids, array_agg(w.wish) as wishes
          into v_wanted
          from (select v.organization_id,
                       row(v.zoho_id, coalesce(v.wanted, 'a webhook is a hint'),
                           coalesce(v.wanted_at, v.observed_at)
                           -- a detail is no answer to the doubt that it brings itself
                           + case when v.rank = 3 and tds.is_own_doubt(v.wanted) then (select tds.second_look())
                                  else interval '0' end,
                           -- what a webhook claims is no version for others to inherit
                           case when v.rank <> 2 then v.modified_at end, r.run_id)::tds.wish as wish
                  from unnest(note_wants.verdicts) v
                  left join (select i.inbox_id, u.run_id, tds.wants_details(u.options) as wants_details
                               from unnest(note_wants.inbox_ids, note_wants.received_ats) e(inbox_id, received_at)
                              cross join lateral (select x.inbox_id, x.run_id from tds.inbox x
                                                   where x.received_at = e.received_at and x.inbox_id = e.inbox_id offset 0) i
                               join tds.run u on u.run_id = i.run_id) r on r.inbox_id = v.inbox_id
                 where (v.wanted is not null or v_hints and v.rank = 2 and v.outcome = 'applied')
                   and r.wants_details is not false
                   -- the answer to a want may say otherwise than what is known: that is what it was asked for
                   and not (v.rank = 3 and (tds.is_own_doubt(v.wanted) or v.wanted = 'detail older than the record')
                            and exists (select from tds.wanted_detail k
                                         where k.organization_id = v.organization_id and k.entity = (note_wants.entity).entity
                                           and k.zoho_id = v.zoho_id and k.wanted_at <= v.observed_at
                                           -- what is empty or missing has to be told so twice
                                           and (v.wanted not in (tds.empty_reason(), tds.less_reason()) or k.reason = v.wanted)))) w;
        perform tds.want((note_wants.entity).entity, coalesce(v_wanted.organization_ids, '{}'), coalesce(v_wanted.wishes, '{}'));
        perform tds.pace_unknown(note_wants.entity, u.organization_ids, u.zoho_ids, v_now)
           from (select array_agg(d.organization_id) as organization_ids, array_agg(d.zoho_id) as zoho_ids
                   from (select distinct v.organization_id, v.zoho_id
                           from unnest(note_wants.verdicts) v
                          where v.rank = 2 and v.wanted is not null) d) u
          where u.zoho_ids is not null;
    end if;

    -- a detail settles a want if its request was sent later and if it tells of no older edit than what is known
    if exists (select from unnest(note_wants.verdicts) v where v.rank = 3) then
        -- one that says a second time that it has none, a price list of its prices, is believed: the first time is the doubt, and
        -- whatever else it is wanted for by then, the answer to that is the second
        if (note_wants.entity).empty_twice is not null then
            execute format($sql$
                select array_agg(d.organization_id), array_agg(d.zoho_id)
                  from (select distinct w.organization_id, w.zoho_id
                          from unnest($1) v
                          join tds.wanted_detail w on w.organization_id = v.organization_id and w.entity = $2 and w.zoho_id = v.zoho_id
                          join zoho.%1$I t on t.organization_id = w.organization_id and t.%2$I = w.zoho_id
                         where v.rank = 3 and v.outcome <> 'stale' and v.observed_at >= w.wanted_at
                           and v.wanted is distinct from tds.empty_reason() and tds.is_blank_list(t.zoho_metadata -> %3$L)
                         order by w.organization_id, w.zoho_id) d$sql$,
                (note_wants.entity).target, (note_wants.entity).target_key, (note_wants.entity).detail_key)
               into v_empty_owners, v_empty_zoho_ids using note_wants.verdicts, (note_wants.entity).entity;
        end if;
        -- one by one by key, in key order, and then by their places, which are locked
        select array_agg(w.place) filter (where w.is_settled), array_agg(w.place) filter (where not w.is_settled)
          into v_settled, v_older
          from (select v.organization_id, n.entity, v.zoho_id, max(v.observed_at) filter (where s.settles) as settled_at,
                       max(v.observed_at) filter (where not s.settles and n.entity = (note_wants.entity).entity) as older_at
                  from unnest(note_wants.verdicts) v
                 cross join lateral (select v.outcome <> 'stale' and v.wanted is distinct from 'detail older than the record' as settles) s
                 cross join unnest(tds.namesakes((note_wants.entity).entity)) n(entity)
                 where v.rank = 3
                 group by v.organization_id, n.entity, v.zoho_id
                 order by v.organization_id, n.entity, v.zoho_id offset 0) v
         cross join lateral (select k.ctid as place, k.wanted_at <= coalesce(v.settled_at, '-infinity') as is_settled
                               from tds.wanted_detail k
                              -- bounds of the whole key: to whoever has no statistics only its own index is cheap
                              where (k.organization_id, k.entity, k.zoho_id) >= (v.organization_id, v.entity, v.zoho_id)
                                and (k.organization_id, k.entity, k.zoho_id) <= (v.organization_id, v.entity, v.zoho_id)
                                and k.wanted_at <= greatest(v.settled_at, v.older_at)
                              order by k.organization_id, k.entity, k.zoho_id limit 1 for update) w;
        delete from tds.wanted_detail w where w.ctid = any (v_settled);
        -- what an answer leaves standing it may leave so for ever: it is asked for again after pauses that grow
        update tds.wanted_detail w
           set tries = w.tries + 1, error = tds.older_error(), leased_until = greatest(w.leased_until, v_now + tds.back_off(w.tries)),
               leased_for = w.wanted_at, leased_by = null
         where w.ctid = any (v_older) and w.forced_by is null;
        if v_empty_zoho_ids is not null then
            execute format('select tds.%I($1, $2, $3, true)', (note_wants.entity).empty_twice)
              using v_empty_owners, v_empty_zoho_ids, v_now;
        end if;
    end if;
end
$$;
revoke all on function tds.note_wants(tds.entity, tds.verdict[], bigint[], timestamptz[]) from public;
comment on function tds.note_wants(tds.entity, tds.verdict[], bigint[], timestamptz[]) is
'Adds the details that these verdicts on these events want (but not for pages of a run without details), and takes away those that have '
'come; those that came and were older than what is known are asked for again after growing pauses (tds.back_off()).';

-- What is wired to the endpoints stock and prices: an item, a price list, or an adjustment of the inventory, which names the
-- items whose stock has moved; these are asked for.

create or replace function tds.want_adjusted(organization_ids text[], zoho_ids text[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.want('products', array_agg(a.organization_id),
                     array_agg(row(i.zoho_item_id, 'inventory adjustment', want_adjusted.at + tds.zoho_ahead(a.organization_id), null,
                                   null)::tds.wish))
       from unnest(want_adjusted.organization_ids, want_adjusted.zoho_ids) k(organization_id, zoho_adjustment_id)
       join zoho.stock_adjustments a on a.organization_id = k.organization_id and a.zoho_adjustment_id = k.zoho_adjustment_id
      cross join lateral jsonb_array_elements(coalesce(tds.json_array(a.zoho_metadata -> 'line_items'), '[]')) e(doc)
      cross join lateral (select tds.json_id(tds.json_row(e.doc) -> 'item_id') as zoho_item_id) i
      where i.zoho_item_id is not null
     having count(*) > 0;
end
$$;
revoke all on function tds.want_adjusted(text[], text[], timestamptz) from public;
comment on function tds.want_adjusted(text[], text[], timestamptz) is
'Asks for the products that these adjustments name: their stock has moved.';

create or replace function tds.is_free(want tds.wanted_detail, living int[], at timestamptz) returns boolean
language sql immutable parallel safe
as $$ select (($1).not_before is null or ($1).not_before <= $3)
              and (($1).leased_until is null or ($1).leased_until < $3 or ($1).wanted_at > ($1).leased_for
                   or ($1).leased_by is not null and ($1).leased_by <> all ($2)) $$;
comment on function tds.is_free(tds.wanted_detail, int[], timestamptz) is
'Whether a wanted detail may be taken: its time has come, and nobody has it, whoever had it has died or was too slow, or the need is '
'newer than that.';

insert into tds.setting (name, value, description) values
    ('unknown_details_per_hour', '100',
        'Details asked for within an hour, at most, of records that only webhooks have told of; the rest waits.'),
    ('unknown_details_percent', '10', 'The same within a day, as a share of the plan''s calls, in percent.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.unknown_limit(organization_id text) returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- greatest() would make one a day of a limit that is not known
    return (select greatest(1, b.day_limit * tds.setting_int('unknown_details_percent') / 100) from tds.api_budget b
             where b.organization_id = unknown_limit.organization_id and b.day_limit is not null);
end
$$;
revoke all on function tds.unknown_limit(text) from public;
comment on function tds.unknown_limit(text) is
'How many details a day may be asked for of records that only webhooks have told of; null: nobody knows how many calls a day has.';

create or replace function tds.unknown_hours(organization_id text, wanted int, at timestamptz) returns timestamptz[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_hour     constant timestamptz := date_trunc('hour', unknown_hours.at);
    v_day      constant date := (unknown_hours.at at time zone 'UTC')::date;
    v_per_hour constant int := greatest(1, tds.setting_int('unknown_details_per_hour'));
    v_per_day  constant int := tds.unknown_limit(unknown_hours.organization_id);
    v_asked    tds.unknown_asked;
    v_some     int;
    v_hours    timestamptz[] := array[]::timestamptz[];
begin
    if tds.try_turn('tds.unknown_asked', unknown_hours.organization_id) then
        insert into tds.unknown_asked (organization_id, hour, in_hour, day, in_day)
        values (unknown_hours.organization_id, v_hour, 0, v_day, 0)
        on conflict on constraint unknown_asked_pkey do nothing;
        select u.* into strict v_asked from tds.unknown_asked u where u.organization_id = unknown_hours.organization_id;
    else
        -- whoever counts has the turn until the transaction ends; nobody waits for that: these few are not counted
        v_asked := row(null, v_hour, greatest(0, v_per_hour - 10), v_day, 0);
    end if;
    -- those that wait for a later hour came first; further ahead than a month it was a clock that was wrong
    if v_asked.hour < v_hour or v_asked.hour >= v_hour + interval '30 days' then
        v_asked := row(v_asked.organization_id, v_hour, 0, v_day, case when v_asked.day = v_day then v_asked.in_day else 0 end);
    end if;
    loop
        v_some := greatest(0, least(unknown_hours.wanted - cardinality(v_hours), v_per_hour - v_asked.in_hour, v_per_day - v_asked.in_day));
        v_hours := v_hours || array_fill(v_asked.hour, array[v_some]);
        v_asked.in_hour := v_asked.in_hour + v_some;
        v_asked.in_day := v_asked.in_day + v_some;
        exit when cardinality(v_hours) >= unknown_hours.wanted;
        -- of a day that is used up none of its other hours is looked at
        v_asked.hour := case when v_asked.in_day >= v_per_day then (v_asked.day + 1)::timestamp at time zone 'UTC'
                             else v_asked.hour + interval '1 hour' end;
        v_asked.in_hour := 0;
        v_asked.in_day := case when (v_asked.hour at time zone 'UTC')::date = v_asked.day then v_asked.in_day else 0 end;
        v_asked.day := (v_asked.hour at time zone 'UTC')::date;
    end loop;
    update tds.unknown_asked u
       set hour = v_asked.hour, in_hour = v_asked.in_hour, day = v_asked.day, in_day = v_asked.in_day
     where u.organization_id = v_asked.organization_id;
    return v_hours;
end
$$;
revoke all on function tds.unknown_hours(text, int, timestamptz) from public;
comment on function tds.unknown_hours(text, int, timestamptz) is
'The hours, this one and those after it, in which so many details of records that only webhooks have told of are asked for: behind those '
'that wait already. They count from now on.';

create or replace function tds.pace_unknown(entity tds.entity, organization_ids text[], zoho_ids text[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_owners text[];
    v_ids    text[];
    v_places tid[];
begin
    -- one by one by key, and then by their places, which are locked: as a join all wants of the entity would be gone through
    execute format('select array_agg(w.organization_id order by w.organization_id, w.zoho_id),
                           array_agg(w.zoho_id order by w.organization_id, w.zoho_id),
                           array_agg(w.place order by w.organization_id, w.zoho_id)
                      from (select u.organization_id, u.zoho_id from unnest($1, $3) u(organization_id, zoho_id)
                             order by u.organization_id, u.zoho_id offset 0) i
                     cross join lateral (select k.organization_id, k.zoho_id, k.unknown, k.ctid as place
                                           from tds.wanted_detail k
                                          -- bounds of the whole key: to whoever has no statistics only its own index is cheap
                                          where (k.organization_id, k.entity, k.zoho_id) >= (i.organization_id, $2, i.zoho_id)
                                            and (k.organization_id, k.entity, k.zoho_id) <= (i.organization_id, $2, i.zoho_id)
                                          order by k.organization_id, k.entity, k.zoho_id limit 1 for update) w
                     cross join lateral (select m.sync_read_at from zoho.%2$I m
                                          where m.organization_id = i.organization_id
                                            and m.%1$I between i.zoho_id and i.zoho_id order by m.%1$I limit 1) t
                     where t.sync_read_at is null and not w.unknown',
                   (pace_unknown.entity).target_key, (pace_unknown.entity).target)
       into v_owners, v_ids, v_places using pace_unknown.organization_ids, (pace_unknown.entity).entity, pace_unknown.zoho_ids;
    if v_ids is null then
        return;
    end if;
    with paced as materialized (
        select o.organization_id, tds.unknown_hours(o.organization_id, o.wanted, pace_unknown.at) as hours
          from (select u.organization_id, count(*)::int as wanted from unnest(v_owners) u(organization_id)
                 group by u.organization_id order by u.organization_id offset 0) o
    ), numbered as (
        select i.organization_id, i.place, row_number() over (partition by i.organization_id order by i.zoho_id) as n
          from unnest(v_owners, v_ids, v_places) i(organization_id, zoho_id, place))
    update tds.wanted_detail w
       set unknown = true,
           -- those of this hour as they are, the rest of them hour by hour
           not_before = case when p.hours[i.n] > pace_unknown.at then p.hours[i.n] else w.not_before end
      from numbered i
      join paced p on p.organization_id = i.organization_id
     where w.ctid = i.place;
end
$$;
revoke all on function tds.pace_unknown(tds.entity, text[], text[], timestamptz) from public;
comment on function tds.pace_unknown(tds.entity, text[], text[], timestamptz) is
'Lets those of these wants wait that are of records which only webhooks have told of, beyond what may be asked for of such by each '
'organisation.';

create or replace function tds.newest_read(entity tds.entity, organization_id text, zoho_ids text[]) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_read jsonb;
begin
    execute format(
        $sql$
        select coalesce(jsonb_object_agg(t.%1$I, greatest(
                   case when t.sync_rank <> 2 then t.sync_modified_at end,
                   (select max(l.m) from jsonb_to_recordset(t.sync_layers) l(m timestamptz, r smallint) where l.r <> 2))), '{}')
          from zoho.%2$I t
         where t.organization_id = $1 and t.%1$I = any ($2)$sql$, (newest_read.entity).target_key, (newest_read.entity).target)
       into v_read using newest_read.organization_id, newest_read.zoho_ids;
    return v_read;
end
$$;
revoke all on function tds.newest_read(tds.entity, text, text[]) from public;
comment on function tds.newest_read(tds.entity, text, text[]) is
'The newest last_modified_time that a read, no webhook, has told of each of these records, by their ids.';

create or replace function tds.take_details(entity text, organization_id text, at_most int default 20, session int default null)
returns table (zoho_id text, wanted_at timestamptz, reason text, modified_at timestamptz, run_id bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_living constant int[] := tds.living_sessions();
    v_taken  tds.wanted_detail[];
    v_read   jsonb;
begin
    with taken as (
        select w.organization_id, w.entity, w.zoho_id
          from tds.wanted_detail w
         where w.organization_id = take_details.organization_id
           and w.entity = take_details.entity
           and tds.is_free(w, v_living, v_now)
         order by w.wanted_at desc, w.zoho_id
         limit take_details.at_most
           for update skip locked
    ), leased as (
        update tds.wanted_detail w
           set leased_until = v_now + interval '2 minutes', leased_for = w.wanted_at, leased_by = take_details.session
          from taken t
         where (w.organization_id, w.entity, w.zoho_id) = (t.organization_id, t.entity, t.zoho_id)
        returning w)
    select array_agg(l.w) into v_taken from leased l;
    if v_taken is null then
        return;
    end if;
    -- who asks now is told no less than what has been read since somebody wanted it
    v_read := tds.newest_read(tds.entity_named(take_details.entity), take_details.organization_id,
                              array(select t.zoho_id from unnest(v_taken) t where t.modified_at is not null));
    return query
    select t.zoho_id, t.wanted_at, t.reason,
           case when t.modified_at is not null then greatest(t.modified_at, (v_read ->> t.zoho_id)::timestamptz) end, t.run_id
      from unnest(v_taken) t;
end
$$;
revoke all on function tds.take_details(text, text, int, int) from public;
comment on function tds.take_details(text, text, int, int) is
'Leases wanted details to a fetcher for two minutes, the newest want first. What it stores with tds.store_detail() settles them once it is '
'processed. session: the fetcher''s, see tds.set_budget(); should it die, its leases die with it. modified_at: the version that a detail '
'without one inherits, of the read that asked for it or a newer one.';

create or replace function tds.details_to_take(organization_id text) returns table (entity text, at_most int)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_living constant int[] := tds.living_sessions();
begin
    return query
    select w.entity, least(100, min((r.options ->> 'batch_size')::int))::int
      from tds.wanted_detail w
      left join tds.run r on r.run_id = w.run_id and r.entity = 'stock'
     where w.organization_id = details_to_take.organization_id and tds.is_free(w, v_living, v_now)
     group by w.entity
     order by max(w.wanted_at) desc, w.entity;
end
$$;
revoke all on function tds.details_to_take(text) from public;
comment on function tds.details_to_take(text) is
'The entities of which details may be taken now, the newest need first, and how many at once: the smallest batch_size that a pull of stock '
'in work asks for, else 100.';

create or replace function tds.store_detail(
    entity text, organization_id text, zoho_ids text[], body bytea, observed_at timestamptz,
    event text default 'upsert', modified_at timestamptz default null) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_status text;
    v_forced text[];
    v_asker  text;
    v_run_id bigint;
    v_told   timestamptz := store_detail.modified_at;
    v_answered int;
    v_headers jsonb;
    v_split   record;
begin
    select array_agg(w.zoho_id order by w.zoho_id) filter (where w.forced_by is not null), string_agg(distinct w.forced_by, ', '),
           max(w.run_id)
      into v_forced, v_asker, v_run_id
      from tds.wanted_detail w
     where w.organization_id = store_detail.organization_id and w.entity = store_detail.entity
       and w.zoho_id = any (store_detail.zoho_ids);
    if cardinality(v_forced) = 1 and v_told is null then
        -- a detail without a version has that of the list's row
        v_told := (select max(r.modified_at)
                     from unnest(tds.newest_told(store_detail.entity, store_detail.organization_id, v_forced, 'list')) r);
    end if;
    -- for_run: the pull that wanted them, so that it can be taken back
    v_headers := nullif(jsonb_strip_nulls(jsonb_build_object('modified_at', v_told, 'asked_by', v_asker, 'for_run', v_run_id)), '{}');
    select s.* into v_split
      from tds.entity n
     cross join lateral tds.set_apart(store_detail.body, n.list_key, n.record_key, n.id_key) s
     where n.entity = store_detail.entity;
    select e.status into v_status
      from tds.receive(store_detail.entity, coalesce(v_split.others, store_detail.body), store_detail.organization_id, 'poller', 'detail',
                       store_detail.event, store_detail.observed_at, null, v_headers) e;
    -- what cannot be read costs its neighbours nothing
    perform tds.receive(store_detail.entity, a.body, store_detail.organization_id, 'poller', 'detail', store_detail.event,
                        store_detail.observed_at, null, v_headers)
       from unnest(v_split.apart) a(body);
    if v_forced is not null and store_detail.event = 'upsert' then
        perform tds.write_forced(store_detail.entity, store_detail.organization_id, v_forced,
                                 coalesce(v_split.others, store_detail.body), store_detail.observed_at, v_told);
    elsif v_forced is not null then
        perform tds.forced_absence(store_detail.entity, store_detail.organization_id, v_forced, store_detail.observed_at);
    end if;
    -- it outlives the fetcher now: nobody need ask again while it is processed
    with answered as materialized (
        select w.zoho_id from tds.wanted_detail w
         where w.organization_id = store_detail.organization_id and w.entity = store_detail.entity
           and w.zoho_id = any (store_detail.zoho_ids)
           -- whoever has it in hand, or nobody any more: it was wished for anew between the request and the answer
           and (w.leased_by is not null or w.leased_until is null and w.wanted_at <= store_detail.observed_at)
         order by w.zoho_id
           for update)
    update tds.wanted_detail w
       set leased_by = null, leased_until = v_now + interval '2 minutes',
           leased_for = greatest(w.leased_for, store_detail.observed_at)
      from answered a
     where (w.organization_id, w.entity, w.zoho_id) = (store_detail.organization_id, store_detail.entity, a.zoho_id);
    get diagnostics v_answered = row_count;
    -- a migration that goes on tells how many it has
    update tds.full_pull f
       set details = f.details || jsonb_build_object(store_detail.entity,
                         coalesce((f.details ->> store_detail.entity)::int, 0) + v_answered)
     where f.organization_id = store_detail.organization_id and f.finished_at is null and v_answered > 0;
    return v_status;
end
$$;
revoke all on function tds.store_detail(text, text, text[], bytea, timestamptz, text, timestamptz) from public;
comment on function tds.store_detail(text, text, text[], bytea, timestamptz, text, timestamptz) is
'Stores the answer that holds the details of these records (event delete: the proof that there is none any more); returns the event''s '
'status. modified_at: what tds.take_details() gave, for details without a last_modified_time. Raises what tds.receive() does.';

create or replace function tds.want_detail(entity text, organization_id text, zoho_id text, reason text default 'asked for') returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.want(want_detail.entity, want_detail.zoho_id, want_detail.organization_id, want_detail.reason);
end
$$;
revoke all on function tds.want_detail(text, text, text, text) from public;
comment on function tds.want_detail(text, text, text, text) is 'tds.want() under the name it had first.';

create or replace function tds.detail_failed(entity text, organization_id text, zoho_id text, error text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    update tds.wanted_detail w
       set tries = w.tries + 1,
           error = left(detail_failed.error, 1000),
           leased_until = v_now + tds.back_off(w.tries), leased_for = w.wanted_at, leased_by = null
     where (w.organization_id, w.entity, w.zoho_id) = (detail_failed.organization_id, detail_failed.entity, detail_failed.zoho_id);
end
$$;
revoke all on function tds.detail_failed(text, text, text, text) from public;
comment on function tds.detail_failed(text, text, text, text) is 'Notes why a detail could not be read; it is wanted again after a pause.';

create or replace function tds.note_vain(entity text, organization_id text, zoho_ids text[], asked_ats timestamptz[]) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    perform tds.detail_failed(note_vain.entity, note_vain.organization_id, v.zoho_id, 'the detail that came did not settle it')
       from (select w.zoho_id
               from tds.wanted_detail w
               join unnest(note_vain.zoho_ids, note_vain.asked_ats) a(zoho_id, asked_at) on a.zoho_id = w.zoho_id
              where w.organization_id = note_vain.organization_id and w.entity = note_vain.entity
                -- one that nobody has answered may be older than an answer all the same: what asked for it was committed later
                and tds.is_answered(w) and w.wanted_at <= a.asked_at and coalesce(w.not_before, '-infinity') <= v_now
              order by w.zoho_id
                for update of w) v;
    return (select count(*)::int
              from tds.wanted_detail w
             where w.organization_id = note_vain.organization_id and w.entity = note_vain.entity
               and w.error is null and coalesce(w.not_before, '-infinity') <= v_now);
end
$$;
revoke all on function tds.note_vain(text, text, text[], timestamptz[]) from public;
comment on function tds.note_vain(text, text, text[], timestamptz[]) is
'To be called once the answers to these requests (zoho_ids, asked_ats) are processed: notes of the wants that they have left open that '
'they did not settle them. Returns how many others of the entity are open, whose time has come: to be asked for, or answered to somebody '
'else.';
grant execute on function tds.note_vain(text, text, text[], timestamptz[]) to tds_poller;

create or replace function tds.want_again(entity text, organization_id text) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(want_again.entity, of_the_api => true);
    v_run_id constant bigint := (select max(r.run_id) from tds.run r
                                  where r.organization_id = want_again.organization_id and r.entity = v_entity.entity);
    v_wishes tds.wish[];
begin
    execute format($sql$
        select array_agg(row(t.%1$I, 'read again', $2, t.sync_modified_at, $3)::tds.wish)
          from zoho.%2$I t
         where t.organization_id = $1 and t.deleted_at is null$sql$, v_entity.target_key, v_entity.target)
       into v_wishes using want_again.organization_id, tds.zoho_now(want_again.organization_id), v_run_id;
    return tds.want(v_entity.entity, want_again.organization_id, v_wishes);
end
$$;
revoke all on function tds.want_again(text, text) from public;
comment on function tds.want_again(text, text) is
'Asks for every record''s detail once more, on the account of the newest run of its list; returns how many. Raises ZB002.';
grant execute on function tds.want_again(text, text) to tds_poller, tds_operator;

-- What may be asked of a pull: which option for which entity, which values, and the one way each is written down.

create or replace function tds.wants_details(options jsonb) returns boolean
language sql immutable parallel safe
as $$ select not $1 ?| array['include_line_items', 'include_addresses', 'include_item_prices'] $$;
comment on function tds.wants_details(jsonb) is
'Whether a run fetches the details its records lack: an include_… is in its options only where it is false.';

create or replace function tds.want_for_run(run tds.run, at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named((want_for_run.run).entity, of_the_api => true);
    v_wishes tds.wish[];
begin
    execute format($sql$
        select array_agg(row(t.%1$I, 'asked for by a pull', $2, t.sync_modified_at, $3)::tds.wish)
          from zoho.%2$I t
         where t.organization_id = $1 and t.%1$I = any ($4)$sql$, v_entity.target_key, v_entity.target)
       into v_wishes
      using (want_for_run.run).organization_id, want_for_run.at + tds.zoho_ahead((want_for_run.run).organization_id),
          (want_for_run.run).run_id,
          tds.ids_for_run(want_for_run.run, v_entity);
    perform tds.want(v_entity.entity, (want_for_run.run).organization_id, v_wishes);
end
$$;
revoke all on function tds.want_for_run(tds.run, timestamptz) from public;
comment on function tds.want_for_run(tds.run, timestamptz) is
'Asks for the details that a run is about whether or not its pages say anything new (see tds.ids_for_run()).';

create or replace function tds.ids_for_run(run tds.run, entity tds.entity) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_options constant jsonb := (ids_for_run.run).options;
    v_ids     text[];
begin
    if (ids_for_run.run).entity = 'stock' then
        return array(
            select p.zoho_item_id from zoho.products p
             where p.organization_id = (ids_for_run.run).organization_id and p.deleted_at is null and p.stock_quantity is not null
               and (not v_options ? 'warehouses'
                    or exists (select from zoho.stock_levels s
                                where s.organization_id = p.organization_id and s.zoho_item_id = p.zoho_item_id
                                  and v_options -> 'warehouses' ? s.zoho_warehouse_id)
                    -- one whose places nobody has told of may be there
                    or not exists (select from zoho.stock_levels s
                                    where s.organization_id = p.organization_id and s.zoho_item_id = p.zoho_item_id)));
    elsif (ids_for_run.run).entity = 'pricelists' then
        return array(
            select l.zoho_pricebook_id from zoho.pricelists l
             where l.organization_id = (ids_for_run.run).organization_id and l.deleted_at is null
               and (not v_options ? 'pricelist_ids' or v_options -> 'pricelist_ids' ? l.zoho_pricebook_id));
    elsif (ids_for_run.entity).detail_key is null or not exists (
            select from tds.run r
             where r.organization_id = (ids_for_run.run).organization_id and r.entity = (ids_for_run.run).entity
               and r.run_id < (ids_for_run.run).run_id and (r.state = 'cancelled' or not tds.wants_details(r.options))
               -- and no run has asked for what that one left out
               and not exists (
                    select from tds.run c
                     where c.organization_id = r.organization_id and c.entity = r.entity and c.asked_at is not null
                       and c.state <> 'cancelled'
                       and c.run_id > r.run_id and c.run_id < (ids_for_run.run).run_id and tds.wants_details(c.options))) then
        return v_ids;
    end if;
    execute format($sql$
        select array_agg(t.%1$I) from zoho.%2$I t
         where t.organization_id = $1 and t.deleted_at is null
           and (not t.zoho_metadata ? $2
                or exists (select from jsonb_to_recordset(t.sync_layers) l(m timestamptz, keys jsonb)
                            where l.keys ? $2 and l.m < t.sync_modified_at))
           and ($3 is null or t.zoho_metadata ->> 'contact_type' = $3)$sql$,
        (ids_for_run.entity).target_key, (ids_for_run.entity).target)
       into v_ids
      using (ids_for_run.run).organization_id, (ids_for_run.entity).detail_key, (ids_for_run.entity).list_filter ->> 'contact_type';
    return v_ids;
end
$$;
revoke all on function tds.ids_for_run(tds.run, tds.entity) from public;
comment on function tds.ids_for_run(tds.run, tds.entity) is
'The records whose details a run asks for although no page may: those with stock, all price lists, and what earlier runs without details '
'left out.';
