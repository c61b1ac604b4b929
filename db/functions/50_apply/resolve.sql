-- What a set of records means for the rows it meets; the rules are docs/evidence.md's. Every key of a record has three
-- registers, each a maximum of its own, so that any order of the same observations ends in the same row:
--   A  reads with a last_modified_time, by (it, when the request was sent)
--   U  reads without one, by when they were sent
--   H  hints (webhooks), by what they may claim: their last_modified_time, but no later than they came
-- Shown is the later sent of A and U, or H while what it claims lies after that, or while it came after A was sent and has a later
-- last_modified_time. What is not shown is kept only as long as it could be shown again, or must be known to refuse an older telling.

create or replace function tds.registers(records tds.record[], states tds.record_state[])
returns table (zoho_id text, key text, value jsonb, m timestamptz, o timestamptz, r smallint, c timestamptz, ord bigint)
language sql stable
as $$
    -- the layers are taken apart once, and joined: looked through for each key, they cost the square of the keys
    select d.zoho_id, d.key, d.value, coalesce(l.m, case when l.key is null then d.modified_at end),
           coalesce(l.o, d.observed_at), coalesce(l.r, d.rank), null::timestamptz, 0::bigint
      from (select s.zoho_id, s.modified_at, s.observed_at, s.rank, e.key, e.value
              from unnest($2) s cross join lateral jsonb_each(s.doc) e offset 0) d
      left join (select s.zoho_id, k.key, l.m, l.o, l.r
                   from unnest($2) s
                  cross join lateral jsonb_to_recordset(s.layers) l(m timestamptz, o timestamptz, r smallint, keys jsonb)
                  cross join lateral jsonb_array_elements_text(l.keys) k(key) offset 0) l
        on l.zoho_id = d.zoho_id and l.key = d.key
    union all
    select s.zoho_id, h.key, h.value, l.m, l.o, l.r, l.c, 0
      from unnest($2) s
     cross join lateral jsonb_to_recordset(s.layers) l(m timestamptz, o timestamptz, r smallint, c timestamptz, hidden jsonb)
     cross join lateral jsonb_each(l.hidden) h
    union all
    select s.zoho_id, u.key, null, l.m, l.o, l.r, null, 0
      from unnest($2) s
     cross join lateral jsonb_to_recordset(s.layers) l(m timestamptz, o timestamptz, r smallint, under jsonb)
     cross join lateral jsonb_array_elements_text(l.under) u(key)
    union all
    select d.zoho_id, d.key, null, d.m, d.o, d.r, null, 0
      from (select s.zoho_id, e.key, l.m, l.o, l.r
              from unnest($2) s
             cross join lateral jsonb_to_recordset(s.layers) l(m timestamptz, o timestamptz, r smallint, rest jsonb)
             cross join lateral jsonb_object_keys(s.doc) e(key)
             where not l.rest ? e.key offset 0) d
      left join (select s.zoho_id, k.key
                   from unnest($2) s
                  cross join lateral jsonb_to_recordset(s.layers) l(keys jsonb)
                  cross join lateral jsonb_array_elements_text(l.keys) k(key) offset 0) l
        on l.zoho_id = d.zoho_id and l.key = d.key
     where l.key is null
    union all
    select a.zoho_id, d.key, d.value, a.modified_at, a.observed_at, a.rank, null, a.ord
      from unnest($1) a
     cross join lateral jsonb_each(a.doc) d
     where not a.is_delete
$$;
comment on function tds.registers(tds.record[], tds.record_state[]) is
'Every value known of every key of these records with its version (m modified_at, o observed_at, r rank, c since when a read '
'contradicts it): '
'those of the stored states (ord 0; without a value: a read that something later stands over) and those that arrive.';

create or replace function tds.fold(
    records tds.record[], states tds.record_state[], detail_key text, fields text[], pause interval)
returns table (state tds.record_state, changed boolean, authors bigint[], unsettled boolean, wanted text, wanted_at timestamptz,
    read_m timestamptz)
language sql stable
as $$
    with told as materialized (
        select g.*, k.register, case k.register when 'A' then g.m when 'H' then least(g.m, g.o) else g.o end as v
          from tds.registers($1, $2) g
         cross join lateral (select case when g.r = 2 then 'H' when g.m is null then 'U' else 'A' end offset 0) k(register)
    ), register as materialized (
        select t.*,
               row_number() over w as place,
               first_value(case when t.ord = 0 then t.value end) over stored as stored_value,
               first_value(case when t.ord = 0 then t.m end) over stored as stored_m,
               bool_or(t.ord = 0) over stored as is_stored,
               -- the same key read differently at one last_modified_time; what a list and a detail spell differently counts only
               -- where it is mapped
               t.register = 'A' and min(jsonb_hash_extended(t.value, 1)) over same_time <> max(jsonb_hash_extended(t.value,
                   1)) over same_time
               and (t.key = any ($4) or min(t.r) over same_time = max(t.r) over same_time) as tied
          from told t
        window w as (partition by t.zoho_id, t.key, t.register order by t.v desc, t.o desc, t.r desc, t.value desc nulls last, t.ord),
               stored as (partition by t.zoho_id, t.key, t.register order by t.ord
                          rows between unbounded preceding and unbounded following),
               same_time as (partition by t.zoho_id, t.key, t.register, t.m)
    ), pair as materialized (
        -- the newest of each register, side by side
        select t.zoho_id, t.key,
               max(t.m) filter (where t.register = 'A') as am, max(t.o) filter (where t.register = 'A') as ao,
               (array_agg(t.value) filter (where t.register = 'A'))[1] as av,
               max(t.o) filter (where t.register = 'U') as uo, (array_agg(t.value) filter (where t.register = 'U'))[1] as uv,
               max(t.m) filter (where t.register = 'H') as hm, max(t.o) filter (where t.register = 'H') as ho,
               max(t.v) filter (where t.register = 'H') as hc, (array_agg(t.value) filter (where t.register = 'H'))[1] as hv,
               max(t.c) filter (where t.register = 'H') as since,
               bool_or(t.tied and t.register = 'A') as tied,
               max(t.ord) filter (where t.register = 'A') as a_ord, max(t.ord) filter (where t.register = 'H') as h_ord,
               bool_or(t.ord > 0) as is_told
          from register t
         where t.place = 1
         group by t.zoho_id, t.key
    ), judged as materialized (
        select p.*,
               case when p.ho is not null and (greatest(p.ao, p.uo) is null or p.hc > greatest(p.ao, p.uo)
                                               or p.hm > p.am and p.ho > p.ao and (p.uo is null or p.ao >= p.uo)) then 'H'
                    when p.uo is not null and (p.ao is null or p.uo > p.ao) then 'U' else 'A' end as shown
          from pair p
    ), newest as materialized (
        select g.*, j.shown, j.shown = g.register as is_shown,
               -- of a read that cannot be shown again the version alone is kept
               j.shown <> 'A' and g.register = 'A' and (j.shown = 'U' or j.hc > j.ao) as is_under,
               g.ord > 0 and (not g.is_stored or g.stored_value is distinct from g.value or g.stored_m is distinct from g.m) as is_news
          from register g
          join judged j on j.zoho_id = g.zoho_id and j.key = g.key
         where g.place = 1
           and case g.register when j.shown then true
                               when 'A' then true
                               when 'U' then case j.shown when 'A' then g.o > j.am else g.o >= j.hc end
                               else case j.shown when 'A' then g.v > j.am else g.m is not null and g.o > j.uo end end
    ), top as (
        select distinct on (g.zoho_id) g.zoho_id, g.m, g.o, g.r
          from newest g
         where g.is_shown
         order by g.zoho_id, g.m desc nulls last, g.o desc, g.r desc
    ), doubt as materialized (
        -- a key that a read tells otherwise than a later-stamped hint: since the first of those reads
        select j.zoho_id, j.key, j.ao, j.is_told,
               coalesce(j.since, min(t.o) filter (where t.register = 'A' and t.m < j.hm and t.o >= j.ho)) as since
          from judged j
          join told t on t.zoho_id = j.zoho_id and t.key = j.key
         where j.shown = 'A' and j.hm > j.am and j.hv <> j.av
         group by j.zoho_id, j.key, j.ao, j.is_told, j.since
    ), layer as (
        select g.zoho_id, g.m, g.o, g.r, d.since,
               jsonb_agg(g.key order by g.key) filter (where g.is_shown) as keys,
               jsonb_agg(g.key order by g.key) filter (where g.is_under) as under,
               jsonb_object_agg(g.key, g.value) filter (where not g.is_shown and not g.is_under) as hidden
          from newest g
          join top t on t.zoho_id = g.zoho_id
          left join doubt d on d.zoho_id = g.zoho_id and d.key = g.key and g.register = 'H'
         where not g.is_shown or (t.m, t.o, t.r) is distinct from (g.m, g.o, g.r)
         group by g.zoho_id, g.m, g.o, g.r, d.since
    ), layers as (
        select l.zoho_id,
               jsonb_agg(jsonb_strip_nulls(jsonb_build_object('m', l.m, 'o', l.o, 'r', l.r, 'c', l.since))
                         || jsonb_build_object('keys', coalesce(l.keys, '[]'), 'hidden', coalesce(l.hidden, '{}'))
                         || case when l.under is not null then jsonb_build_object('under', l.under) else '{}' end
                         order by l.m, l.o, l.r, l.since) as layers
          from layer l
         group by l.zoho_id
    ), merged as (
        select g.zoho_id, jsonb_object_agg(g.key, g.value) filter (where g.is_shown) as doc,
               array_agg(distinct g.ord) filter (where g.ord > 0 and (g.is_news or g.is_shown and w.value is distinct from g.value))
                   as authors,
               max(g.m) filter (where g.is_shown and g.key = $3) as detail_m,
               max(g.o) filter (where g.is_shown and g.key = $3) as detail_o,
               bool_or(g.is_shown and g.ord > 0 and g.r = 2) as shows_hint,
               -- a read without a last_modified_time tells by its content alone that there is news
               max(g.o) filter (where g.is_shown and g.ord > 0 and g.register = 'U' and w.value is distinct from g.value) as news_at
          from newest g
          -- key by key: a join with the document would carry it along with every key
          left join (select s.zoho_id, d.key, d.value from unnest($2) s cross join lateral jsonb_each(s.doc) d offset 0) w
            on w.zoho_id = g.zoho_id and w.key = g.key
         group by g.zoho_id
    ), open as (
        select j.zoho_id,
               max(j.ho) filter (where j.h_ord > 0 and (j.hm is null and j.shown = 'H'
                                                        or j.hm = j.am and j.hv <> j.av and j.ho > greatest(j.ao, j.uo))) as hinted_at,
               max(j.ao) filter (where j.tied and j.is_told) as tied_at,
               max(j.am) as read_m,
               bool_or(j.hm is null and j.ho is not null or j.is_told and (j.uo is not null or j.shown = 'A' and j.hm > j.am)) as is_untimed
          from judged j
         group by j.zoho_id
    ), doubted as (
        select d.zoho_id, min(d.since) + $5 as ask_at
          from doubt d
         where d.is_told and d.ao < d.since + $5
         group by d.zoho_id
    ), life as (
        select l.zoho_id, max(l.read_at) as read_at, max(l.ask_at) as ask_at, bool_or(l.proof) as proof, max(l.hint_at) as hint_at,
               case when max(l.read_at) is null or max(l.dead_at) >= max(l.read_at) then max(l.dead_at) end as deleted_at,
               -- of one moment the deletion counts, and whoever knows is asked
               case when max(l.dead_at) = max(l.read_at) then max(l.dead_at) end as both_at
          from (select s.zoho_id, s.read_at, s.deleted_at as dead_at, null::timestamptz as ask_at, null::timestamptz as hint_at,
              false as proof
                  from unnest($2) s
                union all
                select a.zoho_id, case when not a.is_delete and a.rank <> 2 then a.observed_at end,
                       case when a.is_delete and a.rank = 3 then a.observed_at end,
                       case when a.is_delete and a.rank <> 3 then a.observed_at end,
                       case when not a.is_delete and a.rank = 2 then a.observed_at end,
                       a.is_delete and a.rank = 3
                  from unnest($1) a) l
         group by l.zoho_id
    ), author as (
        -- the event that came last of those that say the news, or of all where it is a deletion or a sign of life
        select a.zoho_id, max(a.inbox_id) as inbox_id
          from unnest($1) a
          join life l on l.zoho_id = a.zoho_id
          left join merged m on m.zoho_id = a.zoho_id
         where m.authors is null or a.ord = any (m.authors) or a.is_delete and l.deleted_at is not null
         group by a.zoho_id
    ), verdict as (
        select l.zoho_id, m.doc, t.m, t.o, t.r, y.layers, s.version, l.read_at, l.deleted_at,
               m.authors, m.authors is not null or l.deleted_at is distinct from s.deleted_at
                   -- that it was read at all, whatever it told
                   or s.read_at is null and l.read_at is not null as changed,
               n.hinted_at is not null or n.tied_at is not null or n.is_untimed or coalesce(m.shows_hint, false) or l.proof as unsettled,
               -- a sign of life after the proof
               case when l.deleted_at is not null and l.hint_at > l.deleted_at then l.hint_at end as alive_at,
               l.both_at, n.hinted_at, n.tied_at, n.read_m, b.ask_at as doubted_at, l.ask_at, m.detail_m, m.detail_o, m.news_at
          from life l
          left join merged m on m.zoho_id = l.zoho_id
          left join open n on n.zoho_id = l.zoho_id
          left join doubted b on b.zoho_id = l.zoho_id
          left join top t on t.zoho_id = l.zoho_id
          left join layers y on y.zoho_id = l.zoho_id
          left join unnest($2) s on s.zoho_id = l.zoho_id
    )
    select row(v.zoho_id, v.doc, coalesce(v.version, 0) + 1,
               (select a.hash from unnest($1) a
                 where a.zoho_id = v.zoho_id and not a.is_delete and a.modified_at is not distinct from v.m and v.doc || a.doc = v.doc
                 order by a.observed_at desc, a.ord limit 1),
               v.m, v.o, v.r, v.read_at, v.deleted_at, v.layers,
               h.inbox_id)::tds.record_state,
           v.changed and v.doc is not null, v.authors, v.unsettled,
           case when v.ask_at is not null then 'said to be deleted'
                when v.alive_at is not null then 'edited after its deletion'
                when v.both_at is not null then 'there and gone at one moment'
                when v.hinted_at is not null then 'last_modified_time does not decide'
                when v.deleted_at is not null then null
                when v.doubted_at is not null then 'read otherwise than a later webhook told'
                when v.tied_at is not null then tds.tie_reason()
                when $3 is not null and v.changed
                     and (v.detail_o is null or v.detail_m < v.m or (v.detail_m is null and v.detail_o < v.o) or v.detail_o < v.news_at)
                         then 'detail older than the record' end,
           coalesce(greatest(v.ask_at, v.alive_at, v.both_at + $5, v.hinted_at), v.doubted_at, v.tied_at, greatest(v.o, v.news_at)),
           v.read_m
      from verdict v
      left join author h on h.zoho_id = v.zoho_id
     order by v.zoho_id
$$;
comment on function tds.fold(tds.record[], tds.record_state[], text, text[], interval) is
'Merges records into states, key by key: a pure function of the set of observations, whatever their order. changed: the '
'row must be written; authors: the ords that said something new; unsettled: a read that left no trace may have come since; '
'wanted: why the detail should be read, and from when; read_m: the newest last_modified_time that a read told. '
'fields: the keys that are mapped; pause: after which a read that contradicts a hint is asked once more.';

comment on type tds.record_state is
'What a mirror row knows of its record: doc, the merged newest document (zoho_metadata); version, how often the row '
'was written (sync_version); modified_at, observed_at and rank, the version of the keys of doc (sync_…); layers, the '
'keys that have another version: [{"m": modified_at, "o": observed_at, "r": rank, "keys": [shown in doc], '
'"hidden": {key: value behind a later observation}, "under": [told by a read that a webhook stands over], "rest": [these excepted, all '
'keys of the row''s own version are told by it]}]; read_at, the last API read that had the record; deleted_at, the '
'proof of deletion, if no read came after it; hash, that of the last body whose every value is in doc; inbox_id, the '
'event that said the last news.';

create or replace function tds.layers_left(
    doc jsonb, known tds.record_state, m timestamptz, o timestamptz, r smallint) returns jsonb
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    with layer as (
        select l.* from jsonb_to_recordset($2.layers) l(m timestamptz, o timestamptz, r smallint, keys jsonb, hidden jsonb, under jsonb,
            rest jsonb)
    ), main as (
        select d.key, d.value from jsonb_each($2.doc) d
         where d.key not in (select k.key from layer l cross join lateral jsonb_array_elements_text(l.keys) k(key))
    ), version as (
        select $2.modified_at as m, $2.observed_at as o, $2.rank as r, d.key, d.value, 'shown' as place from main d
        union all
        select l.m, l.o, l.r, k.key, $2.doc -> k.key, 'shown'
          from layer l cross join lateral jsonb_array_elements_text(l.keys) k(key)
        union all
        select l.m, l.o, l.r, h.key, h.value, 'hidden' from layer l cross join lateral jsonb_each(l.hidden) h
        union all
        select l.m, l.o, l.r, u.key, null, 'under' from layer l cross join lateral jsonb_array_elements_text(l.under) u(key)
        union all
        select l.m, l.o, l.r, d.key, null, 'under' from layer l join main d on not l.rest ? d.key
    ), kept as (
        -- under a read nothing is left, under a hint the reads: their values too, while what it claims is no later than their sending
        select v.m, v.o, v.r, v.key, v.value,
               case when not $1 ? v.key then v.place
                    when v.place <> 'under' and least($3, $4) <= v.o then 'hidden' else 'under' end as place
          from version v
         where not $1 ? v.key or $5 = 2 and v.r <> 2
    ), remaining as (
        select k.m, k.o, k.r, jsonb_agg(k.key order by k.key) filter (where k.place = 'shown') as keys,
               jsonb_object_agg(k.key, k.value) filter (where k.place = 'hidden') as hidden,
               jsonb_agg(k.key order by k.key) filter (where k.place = 'under') as under
          from kept k
         group by k.m, k.o, k.r
    )
    select jsonb_agg(jsonb_build_object('m', l.m, 'o', l.o, 'r', l.r, 'keys', coalesce(l.keys, '[]'), 'hidden', coalesce(l.hidden, '{}'))
                     || case when l.under is not null then jsonb_build_object('under', l.under) else '{}' end
                     order by l.m, l.o, l.r)
      from remaining l
$$;
comment on function tds.layers_left(jsonb, tds.record_state, timestamptz, timestamptz, smallint) is
'What remains of a row''s versions under a newer document, key by key; see tds.layers_under().';

create or replace function tds.layers_under(
    doc jsonb, known tds.record_state, m timestamptz, o timestamptz, r smallint) returns jsonb
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    -- uncompressed once, not once a key
    v_old  constant jsonb := (layers_under.known).doc || '{}'::jsonb;
    v_left text[];
    v_top  jsonb;
begin
    if (layers_under.known).layers is not null then
        return tds.layers_left(layers_under.doc, layers_under.known, layers_under.m, layers_under.o, layers_under.r);
    end if;
    v_left := array(select d.key from jsonb_object_keys(v_old) d(key) where not layers_under.doc ? d.key);
    v_top := jsonb_build_object('m', (layers_under.known).modified_at, 'o', (layers_under.known).observed_at,
                                'r', (layers_under.known).rank, 'keys', v_left, 'hidden', '{}'::jsonb);
    if layers_under.r <> 2 or (layers_under.known).rank = 2 then
        return case when v_left <> '{}' then jsonb_build_array(v_top) end;
    elsif least(layers_under.m, layers_under.o) <= (layers_under.known).observed_at then
        return jsonb_build_array(v_top || jsonb_build_object('hidden', v_old - v_left));
    end if;
    return jsonb_build_array(v_top || jsonb_build_object(
        'rest', array(select d.key from jsonb_object_keys(layers_under.doc) d(key) where not v_old ? d.key)));
end
$$;
comment on function tds.layers_under(jsonb, tds.record_state, timestamptz, timestamptz, smallint) is
'What remains of a row''s versions under a newer document that is shown with all it tells: the keys that it does not carry, by their own '
'versions; and under a hint the reads it stands over: their versions (rest: of all keys of the row''s own version but these; under: of '
'these), and their values (hidden) while the hint claims no later time than they were sent.';

create or replace function tds.layers_alike(known tds.record_state, doc jsonb, m timestamptz, o timestamptz) returns jsonb
-- stable, as what it calls is: so the planner puts its text in the place of the call
language sql stable parallel safe
as $$
    select case when $1.layers is null and $1.rank = 2 then null
                when $1.layers is null and least($3, $4) > $1.observed_at
                then jsonb_build_array(jsonb_build_object('m', $1.modified_at, 'o', $1.observed_at, 'r', $1.rank, 'keys', '[]'::jsonb,
                                                          'hidden', '{}'::jsonb, 'rest', '[]'::jsonb))
                -- the next of several edits: what it stands over is what the one before stood over
                when $1.rank = 2 and $1.layers -> 0 ? 'rest' and $1.layers -> 0 -> 'keys' = '[]' and jsonb_array_length($1.layers) = 1
                then $1.layers
                else tds.layers_under($2, $1, $3, $4, 2::smallint) end
$$;
comment on function tds.layers_alike(tds.record_state, jsonb, timestamptz, timestamptz) is
'As tds.layers_under(), of a hint that carries the very keys of the row: nearly always they are told without looking at them one by one.';

create or replace function tds.applied_amount(doc jsonb, unused jsonb, refunds jsonb) returns numeric
language sql immutable parallel safe
as $$
    select tds.amount_of($1 -> 'amount') - coalesce(tds.amount_of($2), 0)
           - case when jsonb_typeof($3) = 'array'
                  then coalesce((select sum(tds.amount_of(coalesce(e.doc -> 'amount', e.doc -> 'amount_fcy', e.doc -> 'amount_bcy')))
                                   from jsonb_array_elements($3) e(doc)), 0) else 0 end
$$;
comment on function tds.applied_amount(jsonb, jsonb, jsonb) is
'How much of a payment is applied to documents: its amount less what is unused and what was refunded; null where it does not say.';

create or replace function tds.lacks_elements(doc jsonb) returns boolean
language sql immutable parallel safe
as $$
    select case when not $1 ?| '{line_items,locations,warehouses,invoices,bills}' then false else coalesce(
        tds.is_blank_list($1 -> 'line_items')
        and tds.amount_of(case when coalesce($1 ->> 'sub_total', '') <> '' then $1 -> 'sub_total' else $1 -> 'total' end) <> 0
        or ($1 ? 'locations' or $1 ? 'warehouses')
           and coalesce(tds.is_blank_list($1 -> 'locations'), true) and coalesce(tds.is_blank_list($1 -> 'warehouses'), true)
           and tds.amount_of(coalesce($1 -> 'stock_on_hand', $1 -> 'actual_available_stock')) <> 0
        or $1 ? 'payment_id' and tds.is_blank_list($1 -> 'invoices')
           and tds.applied_amount($1, $1 -> 'unused_amount', $1 -> 'payment_refunds') > 0
        or $1 ? 'payment_id' and tds.is_blank_list($1 -> 'bills')
           and tds.applied_amount($1, $1 -> 'balance', $1 -> 'vendorpayment_refunds') > 0, false) end
$$;
comment on function tds.lacks_elements(jsonb) is
'Whether a document says by its own sums that an array must have elements which it tells as empty: lines of a subtotal, places of a '
'stock, documents of a payment that is applied. Such an array is no statement.';

create or replace function tds.lost_elements(known jsonb, doc jsonb) returns boolean
language sql immutable parallel safe
as $$
    select case when $1 ? 'pricebook_items' and tds.is_blank_list($2 -> 'pricebook_items')
                then jsonb_typeof($1 -> 'pricebook_items') = 'array' and jsonb_array_length($1 -> 'pricebook_items') > 5 else false end
$$;
comment on function tds.lost_elements(jsonb, jsonb) is
'Whether a document tells of none of the many elements that it had, in an array that has no sums: a price list''s. It has to say so twice.';

create or replace function tds.plainly(
    kind text, told tds.record, known tds.record_state, is_contested boolean, detail_key text)
returns table (state tds.record_state, verdict tds.verdict)
language sql stable parallel safe rows 1
as $$
    select row(($2).zoho_id, d.merged, coalesce(($3).version, 0) + 1, ($2).hash, ($2).modified_at, ($2).observed_at, ($2).rank,
               greatest(($3).read_at, case when ($2).rank <> 2 then ($2).observed_at end), null,
               -- nothing is left under a read that has every key of the document before it
               case when $1 = 'new' or ($2).rank <> 2 and d.carries_all then null
                    when d.is_alike
                    then tds.layers_alike($3, ($2).doc, ($2).modified_at, ($2).observed_at)
                    else tds.layers_under(($2).doc, $3, ($2).modified_at, ($2).observed_at, ($2).rank) end,
               ($2).inbox_id)::tds.record_state,
           row(($2).ord, ($2).inbox_id, ($2).zoho_id, 'applied', ($2).modified_at, ($2).observed_at, ($2).rank,
               case when ($2).rank = 2 and ($2).modified_at is null then 'webhook without last_modified_time'
                    when ($2).rank = 2 and $4 then 'last_modified_time does not decide'
                    when tds.lacks_elements(d.merged) or tds.lost_elements(($3).doc, d.merged) then tds.empty_reason()
                    when $4 then tds.tie_reason()
                    when not ($2).doc ? $5
                         and ($1 = 'new' or not ($3).doc ? $5
                              or coalesce((select l.m from jsonb_to_recordset(($3).layers) l(m timestamptz, keys jsonb)
                                            where l.keys ? $5), ($3).modified_at) < ($2).modified_at)
                    then 'detail older than the record' end,
               ($2).observed_at, ($2).modified_at is null or $4 or $1 = 'over' and ($2).rank = 2, ($2).organization_id)::tds.verdict
      -- by their keys alone: to merge two documents goes through all that is in them
      from (select k.is_alike, k.carries_all, case when k.carries_all then ($2).doc else ($3).doc || ($2).doc end as merged
              from (select n.is_alike, n.is_alike or ($2).doc ?& n.names as carries_all
                      -- the keys of an object lie in an order of their own
                      from (select n.names, ($2).rank = 2 and record_image_eq(row(n.names),
                                                                             row(array(select jsonb_object_keys(($2).doc)))) as is_alike
                              from (select array(select jsonb_object_keys(($3).doc)) as names offset 0) n offset 0) n offset 0) k
            offset 0) d
    offset 0
$$;
comment on function tds.plainly(text, tds.record, tds.record_state, boolean, text) is
'The state that a record makes where it is new, or later than all that is known, and the verdict on it. One row, so that it can be joined '
'laterally; the planner puts its text in the place of the call.';

create or replace function tds.resolve(
    entity tds.entity, records tds.record[],
    out organization_ids text[], out states tds.record_state[], out verdicts tds.verdict[], out folded bigint[])
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_fields text[];
begin
    v_fields := array(select f.key from tds.field f where f.entity = (resolve.entity).entity and f.list_key = '');
    with met as materialized (
        select m.kind, m.incoming as i, m.known as t,
               -- the same moment told differently: older layers aside, which side wins depends on when they were observed
               -- a read that came after a hint has the last word
               m.kind = 'over' and ((m.incoming).rank = 2 or (m.known).rank <> 2)
               and (m.incoming).modified_at = (m.known).modified_at and exists (
                   select k.key from jsonb_each((m.known).doc) k
                    where (m.incoming).doc -> k.key <> k.value
                      and ((m.incoming).rank = (m.known).rank or k.key = any (v_fields))
                   except
                   select o.key
                     from jsonb_to_recordset((m.known).layers) l(m timestamptz, keys jsonb)
                    cross join lateral jsonb_array_elements_text(l.keys) o(key)
                    where l.m < (m.incoming).modified_at) as contested
          from tds.meet((resolve.entity).entity, resolve.records) m
    ), plain as (
        select (m.i).organization_id, p.state, p.verdict
          from met m
         cross join lateral tds.plainly(m.kind, m.i, m.t, m.contested, resolve.entity.detail_key) p
         where m.kind in ('new', 'over')
    ), known as materialized (
        -- one row a record, however many tellings meet it
        select distinct on ((m.i).organization_id, (m.t).zoho_id) (m.i).organization_id, m.t
          from met m
         where m.kind = 'fold' and (m.t).zoho_id is not null
         order by (m.i).organization_id, (m.t).zoho_id
    ), owner as materialized (
        select r.organization_id, r.records, coalesce(k.states, '{}') as states
          from (select (m.i).organization_id, array_agg(m.i) as records from met m where m.kind = 'fold'
                 group by (m.i).organization_id) r
          left join (select n.organization_id, array_agg(n.t) as states from known n group by n.organization_id) k
            on k.organization_id = r.organization_id
    ), folded as materialized (
        select o.organization_id, f.*,
               tds.lacks_elements((f.state).doc) or tds.lost_elements((k.t).doc, (f.state).doc) as lacks
          from owner o
         cross join lateral tds.fold(o.records, o.states, resolve.entity.detail_key, v_fields, (select tds.second_look())) f
          left join known k on k.organization_id = o.organization_id and (k.t).zoho_id = (f.state).zoho_id
    ), judged as (
        select row((m.i).ord, (m.i).inbox_id, (m.i).zoho_id,
                   case when f.changed and (f.authors is null or (m.i).ord = any (f.authors)) then 'applied'
                        when (m.i).is_delete or (f.state).doc || (m.i).doc = (f.state).doc then 'unchanged'
                        else 'stale' end,
                   (m.i).modified_at, (m.i).observed_at, (m.i).rank,
                   case when f.lacks and f.changed and coalesce(f.wanted, 'detail older than the record') in (
                                 'detail older than the record', tds.tie_reason())
                        then tds.empty_reason()
                        -- a detail that tells of an older edit than what is known answers nothing; one that tells less does only if it
                        -- does so twice
                        when (m.i).rank = 3 and not (m.i).is_delete and (m.i).modified_at < f.read_m
                        then coalesce(f.wanted, 'detail older than the record')
                        when (m.i).rank = 3 and not (m.i).is_delete
                             and coalesce(f.wanted, 'detail older than the record') in ('detail older than the record', tds.tie_reason())
                             and tds.tells_less((m.i).doc, resolve.entity.detail_key) and (f.state).doc ? resolve.entity.detail_key
                        then tds.less_reason()
                        else f.wanted end,
                   f.wanted_at, f.unsettled, f.organization_id)::tds.verdict as verdict
          from met m
          join folded f on f.organization_id = (m.i).organization_id and (f.state).zoho_id = (m.i).zoho_id
         where m.kind = 'fold'
    )
    select s.organization_ids, s.states,
           (select array_agg(v.verdict)
              from (select p.verdict from plain p
                    union all
                    select j.verdict from judged j
                    union all
                    select row((m.i).ord, (m.i).inbox_id, (m.i).zoho_id, 'unchanged', (m.i).modified_at, (m.i).observed_at,
                               (m.i).rank, null, null, false, (m.i).organization_id)::tds.verdict
                      from met m where m.kind = 'unchanged') v),
           (select array_agg((m.i).ord) from met m where m.kind = 'fold' and not (m.i).is_delete)
      into resolve.organization_ids, resolve.states, resolve.verdicts, resolve.folded
      from (select array_agg(w.organization_id order by w.organization_id, (w.state).zoho_id) as organization_ids,
                   array_agg(w.state order by w.organization_id, (w.state).zoho_id) as states
              from (select p.organization_id, p.state from plain p
                    union all
                    select f.organization_id, f.state from folded f where f.changed) w) s;
end
$$;
comment on function tds.resolve(tds.entity, tds.record[]) is
'What a set of records means: the states to write, in key order and each of the organisation told beside it, a verdict on each record, and '
'which of them were folded key by key with others or with what is stored. Reads, never writes.';


insert into tds.setting (name, value, description) values
    ('stamp_ahead_seconds', '60',
        'How far a last_modified_time may lie ahead of the moment it was told, in seconds; one that lies further ahead counts as none.'),
    ('second_look_seconds', '60',
        'Pause before an answer that contradicts what is known is asked for once more, in seconds: a list or a replica may lag.')
on conflict on constraint setting_pkey do nothing;
