create or replace function tds.shape_rank(shape text) returns smallint
language sql immutable parallel safe
as $$ select case $1 when 'list' then 1 when 'webhook' then 2 else 3 end::smallint $$;
comment on function tds.shape_rank(text) is 'How much a body says: 1 list, 2 webhook, 3 detail; settles two observations of one moment.';

create or replace function tds.record_id(value jsonb) returns text
language sql immutable parallel safe
as $$ select case when jsonb_typeof($1) in ('string', 'number') and tds.is_id($1 ->> 0) then $1 ->> 0 end $$;
comment on function tds.record_id(jsonb) is 'A record''s id, null where it cannot be read.';

create or replace function tds.record_time(value text, inherited timestamptz, rank smallint) returns timestamptz
language sql stable parallel safe
as $$ select case when tds.has_time_shape($1) then $1::timestamptz when coalesce($1, '') = '' and $3 = 3 then $2 end $$;
comment on function tds.record_time(text, timestamptz, smallint) is
'A record''s last_modified_time; a detail without one inherits the version of what asked for it. Null where it cannot be '
'read; raises class 22 for hour 25.';

create or replace function tds.read_events(inbox_ids bigint[], received_ats timestamptz[]) returns tds.event[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select array_agg(row((b.n - 1) << 32, b.inbox_id, b.received_at, b.alone, b.observed_at, b.modified_at, b.rank, b.is_delete,
                             b.records)::tds.event order by b.n)
          -- offset 0: a body is parsed once, not once a mention
          from (select e.n, i.inbox_id, i.received_at, i.record_id is not null as alone, i.observed_at,
                       (i.headers ->> 'modified_at')::timestamptz as modified_at, tds.shape_rank(i.shape) as rank,
                       i.event = 'delete' as is_delete,
                       case when jsonb_typeof(l.list) = 'array' then l.list
                            else tds.payload(j.doc, n.list_key, n.record_key, n.id_key) end as records
                  from unnest(read_events.inbox_ids, read_events.received_ats) with ordinality e(inbox_id, received_at, n)
                  join tds.inbox i on i.received_at = e.received_at and i.inbox_id = e.inbox_id
                  join tds.entity n on n.entity = i.entity
                 cross join lateral (select tds.document(i.body) as doc offset 0) j
                 cross join lateral (select j.doc -> n.list_key as list offset 0) l
                offset 0) b
         where b.records is not null);
end
$$;
comment on function tds.read_events(bigint[], timestamptz[]) is
'These events of one entity with their bodies parsed; those whose body holds no record are left out. Raises class 22 for a body that is not JSON.';

create or replace function tds.explode(entity text, events tds.event[], ords bigint[] default null) returns tds.record[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_id_key constant text := (select n.id_key from tds.entity n where n.entity = explode.entity);
begin
    return (
        select array_agg(row(r.ord, r.inbox_id, r.received_at, r.position, r.alone, tds.record_id(r.doc -> v_id_key),
                             case when coalesce(t.told, '') = '' or tds.is_time(t.told)
                                  then tds.record_time(t.told, r.modified_at, r.rank) end,
                             r.observed_at, r.rank, r.is_delete, jsonb_hash_extended(r.doc, 0), r.doc)::tds.record order by r.ord)
          from (select e.first_ord + p.position as ord, e.inbox_id, e.received_at, p.position::int as position, e.alone,
                       e.modified_at, e.observed_at, e.rank, e.is_delete, p.doc
                  from unnest(explode.events) e
                 cross join lateral jsonb_array_elements(e.records) with ordinality p(doc, position)) r
         -- offset 0: read once, not once for every mention
         cross join lateral (select r.doc ->> 'last_modified_time' as told offset 0) t
         where explode.ords is null or r.ord in (select unnest(explode.ords)));
end
$$;
comment on function tds.explode(text, tds.event[], bigint[]) is
'The records of these events (or those of them named), each with its id and version; an id or a last_modified_time that '
'cannot be read is null here and named by the culprits_… function of the entity.';
