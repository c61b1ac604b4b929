-- What a set of records means for the rows it meets. Every key of a record has its own version, so that any order of the
-- same observations ends in the same row: (last_modified_time, observed_at, rank), and an observation without a
-- last_modified_time stands above those that have one only while it was made later than they were.

create or replace function tds.registers(records tds.record[], states tds.record_state[], id_key text)
returns table (zoho_id text, key text, value jsonb, m timestamptz, o timestamptz, r smallint, ord bigint, hidden boolean)
language sql stable
as $$
    select s.zoho_id, d.key, d.value, coalesce(l.m, case when l.keys is null then s.modified_at end),
           coalesce(l.o, s.observed_at), coalesce(l.r, s.rank), 0, false
      from unnest($2) s
     cross join lateral jsonb_each(s.doc) d
      left join lateral (select l.* from jsonb_to_recordset(s.layers) l(m timestamptz, o timestamptz, r smallint, keys jsonb)
                          where l.keys ? d.key) l on true
    union all
    select s.zoho_id, h.key, h.value, l.m, l.o, l.r, 0, true
      from unnest($2) s
     cross join lateral jsonb_to_recordset(s.layers) l(m timestamptz, o timestamptz, r smallint, hidden jsonb)
     cross join lateral jsonb_each(l.hidden) h
    union all
    select a.zoho_id, d.key, d.value, a.modified_at, a.observed_at, a.rank, a.ord, false
      from unnest($1) a
     cross join lateral jsonb_each(a.doc) d
     where not a.is_delete or (a.rank = 3 and d.key = $3)
$$;
comment on function tds.registers(tds.record[], tds.record_state[], text) is
'Every value known of every key of these records with its version (m modified_at, o observed_at, r rank): those of the '
'stored states (ord 0; hidden: behind a later observation) and those that arrive. A deletion carries only the id.';

create or replace function tds.winners(records tds.record[], states tds.record_state[], id_key text)
returns table (
    zoho_id text, key text, value jsonb, m timestamptz, o timestamptz, r smallint, ord bigint, shown boolean, is_news boolean,
    contested boolean)
language sql stable
as $$
    with register as materialized (
        select g.*,
               row_number() over w as place,
               -- the same key told differently where last_modified_time does not decide
               min(jsonb_hash_extended(g.value, 1)) over same_moment <> max(jsonb_hash_extended(g.value, 1)) over same_moment
               or (bool_or(g.m is null) over same_key
                   and min(jsonb_hash_extended(g.value, 1)) over same_key <> max(jsonb_hash_extended(g.value, 1)) over same_key)
               as contested,
               first_value(case when g.ord = 0 then g.value end) over stored as stored_value,
               first_value(case when g.ord = 0 then g.m end) over stored as stored_m,
               bool_or(g.ord = 0) over stored as is_stored
          from tds.registers($1, $2, $3) g
        window w as (partition by g.zoho_id, g.key, g.m is null order by g.m desc, g.o desc, g.r desc, g.value desc, g.ord),
               stored as (partition by g.zoho_id, g.key, g.m is null order by g.ord
                          rows between unbounded preceding and unbounded following),
               same_moment as (partition by g.zoho_id, g.key, g.m),
               same_key as (partition by g.zoho_id, g.key)
    )
    select g.zoho_id, g.key, g.value, g.m, g.o, g.r, g.ord,
           row_number() over (partition by g.zoho_id, g.key order by g.o desc, g.m is null, g.r desc) = 1,
           g.ord > 0 and (not g.is_stored or g.stored_value is distinct from g.value or g.stored_m is distinct from g.m),
           g.contested
      from register g
     where g.place = 1
$$;
comment on function tds.winners(tds.record[], tds.record_state[], text) is
'Of all values known of a key the newest with a last_modified_time and the newest without: shown is the one of the two that the row has; '
'is_news: it arrives and says something new; contested: last_modified_time does not decide.';

create or replace function tds.fold(records tds.record[], states tds.record_state[], id_key text, detail_key text)
returns table (state tds.record_state, changed boolean, authors bigint[], unsettled boolean, wanted text, wanted_at timestamptz)
language sql stable
as $$
    with winner as materialized (
        select w.* from tds.winners($1, $2, $3) w
    ), top as (
        select distinct on (g.zoho_id) g.zoho_id, g.m, g.o, g.r
          from winner g
         order by g.zoho_id, g.m desc nulls last, g.o desc, g.r desc
    ), layer as (
        select g.zoho_id, g.m, g.o, g.r,
               jsonb_agg(g.key order by g.key) filter (where g.shown) as keys,
               jsonb_object_agg(g.key, g.value) filter (where not g.shown) as hidden
          from winner g
          join top t on t.zoho_id = g.zoho_id
         where not g.shown or (t.m, t.o, t.r) is distinct from (g.m, g.o, g.r)
         group by g.zoho_id, g.m, g.o, g.r
    ), layers as (
        select l.zoho_id,
               jsonb_agg(jsonb_strip_nulls(jsonb_build_object('m', l.m, 'o', l.o, 'r', l.r))
                         || jsonb_build_object('keys', coalesce(l.keys, '[]'), 'hidden', coalesce(l.hidden, '{}'))
                         order by l.m, l.o, l.r) as layers
          from layer l
         group by l.zoho_id
    ), merged as (
        select g.zoho_id, jsonb_object_agg(g.key, g.value) filter (where g.shown) as doc,
               array_agg(distinct g.ord) filter (where g.is_news or (g.shown and g.ord > 0 and s.doc -> g.key is distinct from g.value))
                   as authors,
               bool_or(g.contested) as contested,
               max(g.o) filter (where g.shown and g.ord > 0 and g.r = 2 and (g.m is null or g.contested)) as hinted_at,
               max(g.m) filter (where g.shown and g.key = $4) as detail_m,
               max(g.o) filter (where g.shown and g.key = $4) as detail_o
          from winner g
          left join unnest($2) s on s.zoho_id = g.zoho_id
         group by g.zoho_id
    ), life as (
        select l.zoho_id, max(l.read_at) as read_at, max(l.ask_at) as ask_at, bool_or(l.proof) as proof,
               case when max(l.read_at) is null or max(l.dead_at) >= max(l.read_at) then max(l.dead_at) end as deleted_at
          from (select s.zoho_id, s.read_at, s.deleted_at as dead_at, null::timestamptz as ask_at, false as proof from unnest($2) s
                union all
                select a.zoho_id, case when not a.is_delete and a.rank <> 2 then a.observed_at end,
                       case when a.is_delete and a.rank = 3 then a.observed_at end,
                       case when a.is_delete and a.rank <> 3 then a.observed_at end,
                       a.is_delete and a.rank = 3
                  from unnest($1) a) l
         group by l.zoho_id
    ), verdict as (
        select l.zoho_id, m.doc, t.m, t.o, t.r, y.layers, s.version, l.read_at, l.deleted_at,
               m.authors, m.authors is not null or l.deleted_at is distinct from s.deleted_at as changed,
               coalesce(m.contested, false) or l.proof as contested,
               m.hinted_at, l.ask_at, m.detail_m, m.detail_o
          from life l
          left join merged m on m.zoho_id = l.zoho_id
          left join top t on t.zoho_id = l.zoho_id
          left join layers y on y.zoho_id = l.zoho_id
          left join unnest($2) s on s.zoho_id = l.zoho_id
    )
    select row(v.zoho_id, v.doc, coalesce(v.version, 0) + 1,
               (select a.hash from unnest($1) a
                 where a.zoho_id = v.zoho_id and not a.is_delete and a.modified_at is not distinct from v.m and v.doc || a.doc = v.doc
                 order by a.observed_at desc, a.ord limit 1),
               v.m, v.o, v.r, v.read_at, v.deleted_at, v.layers)::tds.record_state,
           v.changed and v.doc is not null, v.authors, v.contested,
           case when v.ask_at is not null then 'said to be deleted'
                when v.hinted_at is not null and v.deleted_at is not null then 'edited after its deletion'
                when v.hinted_at is not null then 'last_modified_time does not decide'
                when $4 is not null and v.changed and v.deleted_at is null
                     and (v.detail_o is null or v.detail_m < v.m or (v.detail_m is null and v.detail_o < v.o))
                    then 'detail older than the record' end,
           greatest(v.ask_at, v.hinted_at, case when v.ask_at is null and v.hinted_at is null then v.o end)
      from verdict v
     order by v.zoho_id
$$;
comment on function tds.fold(tds.record[], tds.record_state[], text, text) is
'Merges records into states, key by key: a pure function of the set of observations, whatever their order. changed: the '
'row must be written; authors: the ords that said something new; unsettled: last_modified_time could not decide; wanted: why the detail '
'should be read, and from when.';

create or replace function tds.layers_under(doc jsonb, old jsonb, layers jsonb, m timestamptz, o timestamptz, r smallint) returns jsonb
language sql immutable parallel safe
as $$
    select jsonb_agg(jsonb_build_object('m', l.m, 'o', l.o, 'r', l.r, 'keys', l.keys, 'hidden', '{}'::jsonb) order by l.m, l.o, l.r)
      from (select s.m, s.o, s.r, jsonb_agg(k.key order by k.key) as keys
              from jsonb_to_recordset($3) s(m timestamptz, o timestamptz, r smallint, keys jsonb)
             cross join lateral jsonb_array_elements_text(s.keys) k(key)
             where not $1 ? k.key
             group by s.m, s.o, s.r
             union all
            select $4, $5, $6, jsonb_agg(k.key order by k.key)
              from jsonb_object_keys($2) k(key)
             where not $1 ? k.key
               and not exists (select from jsonb_to_recordset($3) s(keys jsonb) where s.keys ? k.key)
            having count(*) > 0) l
$$;
comment on function tds.layers_under(jsonb, jsonb, jsonb, timestamptz, timestamptz, smallint) is
'What remains of an old document''s versions under a newer one: the keys the newer does not carry, by their own versions.';

create or replace function tds.resolve(
    entity tds.entity, organization_id text, records tds.record[],
    out states tds.record_state[], out verdicts tds.verdict[])
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    with met as materialized (
        select m.kind, m.incoming as i, m.known as t,
               -- the same moment told differently: older layers aside, which side wins depends on when they were observed
               m.kind = 'over' and (m.incoming).modified_at = (m.known).modified_at and exists (
                   select from jsonb_each((m.known).doc) k
                    where (m.incoming).doc -> k.key <> k.value
                      and not exists (select from jsonb_to_recordset((m.known).layers) l(m timestamptz, keys jsonb)
                                       where l.m < (m.incoming).modified_at and l.keys ? k.key)) as contested
          from tds.meet((resolve.entity).entity, resolve.organization_id, resolve.records) m
    ), plain as (
        select row((m.i).zoho_id, d.merged, coalesce((m.t).version, 0) + 1, (m.i).hash,
                   (m.i).modified_at, (m.i).observed_at, (m.i).rank,
                   greatest((m.t).read_at, case when (m.i).rank <> 2 then (m.i).observed_at end), null,
                   -- nothing is left under a document that has every key of the one before it
                   case when m.kind = 'over' and ((m.t).layers is not null or d.merged <> (m.i).doc) then
                       tds.layers_under((m.i).doc, (m.t).doc, (m.t).layers, (m.t).modified_at, (m.t).observed_at, (m.t).rank) end
                   )::tds.record_state as state,
               row((m.i).ord, (m.i).inbox_id, (m.i).zoho_id, 'applied', (m.i).modified_at, (m.i).observed_at, (m.i).rank,
                   case when (m.i).rank = 2 and (m.i).modified_at is null then 'webhook without last_modified_time'
                        when (m.i).rank = 2 and m.contested then 'last_modified_time does not decide'
                        when not (m.i).doc ? resolve.entity.detail_key
                             and (m.kind = 'new' or not (m.t).doc ? resolve.entity.detail_key
                                  or coalesce((select l.m from jsonb_to_recordset((m.t).layers) l(m timestamptz, keys jsonb)
                                                where l.keys ? resolve.entity.detail_key), (m.t).modified_at) < (m.i).modified_at)
                             then 'detail older than the record' end,
                   (m.i).observed_at, (m.i).modified_at is null or m.contested)::tds.verdict as verdict
          from met m
         cross join lateral (select coalesce((m.t).doc || (m.i).doc, (m.i).doc) as merged offset 0) d
         where m.kind in ('new', 'over')
    ), folded as materialized (
        select f.*
          from tds.fold(array(select m.i from met m where m.kind = 'fold'),
                        array(select distinct m.t from met m where m.kind = 'fold' and (m.t).zoho_id is not null),
                        resolve.entity.id_key, resolve.entity.detail_key) f
    ), judged as (
        select row((m.i).ord, (m.i).inbox_id, (m.i).zoho_id,
                   case when f.changed and (f.authors is null or (m.i).ord = any (f.authors)) then 'applied'
                        when (m.i).is_delete or (f.state).doc || (m.i).doc = (f.state).doc then 'unchanged'
                        else 'stale' end,
                   (m.i).modified_at, (m.i).observed_at, (m.i).rank, f.wanted, f.wanted_at, f.unsettled)::tds.verdict as verdict
          from met m
          join folded f on (f.state).zoho_id = (m.i).zoho_id
         where m.kind = 'fold'
    )
    select (select array_agg(s.state order by (s.state).zoho_id)
              from (select p.state from plain p
                    union all
                    select f.state from folded f where f.changed) s),
           (select array_agg(v.verdict)
              from (select p.verdict from plain p
                    union all
                    select j.verdict from judged j
                    union all
                    select row((m.i).ord, (m.i).inbox_id, (m.i).zoho_id, 'unchanged', (m.i).modified_at, (m.i).observed_at,
                               (m.i).rank, null, null, false)::tds.verdict
                      from met m where m.kind = 'unchanged') v)
      into resolve.states, resolve.verdicts;
end
$$;
comment on function tds.resolve(tds.entity, text, tds.record[]) is
'What a set of records means: the states to write, and a verdict on each record. Reads, never writes.';
