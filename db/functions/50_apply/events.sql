create or replace function tds.shape_rank(shape text) returns smallint
language sql immutable parallel safe
as $$ select case $1 when 'list' then 1 when 'webhook' then 2 else 3 end::smallint $$;
comment on function tds.shape_rank(text) is 'How much a body says: 1 list, 2 webhook, 3 detail; settles two observations of one moment.';

create or replace function tds.record_id(value jsonb) returns text
language sql immutable parallel safe
as $$ select tds.exact_id($1) $$;
comment on function tds.record_id(jsonb) is 'A record''s id, null where it cannot be read.';

create or replace function tds.record_time(value text, inherited timestamptz, rank smallint) returns timestamptz
language sql stable parallel safe
as $$
    select case when tds.is_plain_time($1) then $1::timestamptz
                when coalesce($1, '') = '' then case when $3 = 3 then $2 end
                when tds.is_time($1) then $1::timestamptz end
$$;
comment on function tds.record_time(text, timestamptz, smallint) is
'A record''s last_modified_time; a detail without one inherits the version of what asked for it. Null where it cannot be read.';

create or replace function tds.believed_time(told timestamptz, observed_at timestamptz) returns timestamptz
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    -- the setting is read only for what lies ahead: hardly ever
    return case when told <= observed_at then told
                when told <= observed_at + make_interval(secs => tds.setting_int('stamp_ahead_seconds')) then observed_at end;
end
$$;
comment on function tds.believed_time(timestamptz, timestamptz) is
'What a last_modified_time is taken for by whoever was told it then: itself; the moment of the telling, where it lies ahead of that by no '
'more than the setting stamp_ahead_seconds; else null, as if there were none.';

create or replace function tds.as_array(records jsonb) returns jsonb
language sql immutable parallel safe
as $$ select case when jsonb_typeof($1) = 'object' then jsonb_build_array($1) else $1 end $$;
comment on function tds.as_array(jsonb) is 'Records as an array, where one was told by itself.';

create or replace function tds.stored_events(entity text, inbox_ids bigint[], received_ats timestamptz[]) returns setof tds.event
language sql stable
as $$
    select (e.n - 1) << 32, i.inbox_id, i.received_at, i.record_id is not null, i.observed_at,
           (i.headers ->> 'modified_at')::timestamptz, tds.shape_rank(i.shape), i.event = 'delete',
           case when f.are_any then tds.unless_forgotten(k, i.organization_id, tds.as_array(r.records)) else r.records end,
           coalesce(r.look_closer, i.look_closer, tds.has_long_number(i.body, true)),
           i.organization_id
      from tds.entity k
     cross join unnest($2, $3) with ordinality e(inbox_id, received_at, n)
     -- offset 0: one by one by key; a table that was believed to be empty would be read whole
     cross join lateral (select x.* from tds.inbox x where x.received_at = e.received_at and x.inbox_id = e.inbox_id offset 0) i
     cross join lateral tds.body_records(i.body, k.list_key, k.record_key, k.id_key, i.shape <> 'list', true) r
     cross join (select exists (select from tds.forgotten) as are_any) f
     where k.entity = $1
$$;
comment on function tds.stored_events(text, bigint[], timestamptz[]) is
'These events of one entity with their bodies parsed, numbered by their places; records is null where a body holds none, and a record by '
'itself where it is wrapped alone. The planner '
'puts its text in the place of the call. What describes forgotten persons is taken out. Raises class 22 for a body that is not JSON.';

create or replace function tds.versions(doc jsonb, id_key text, inherited timestamptz, rank smallint, observed_at timestamptz)
returns table (zoho_id text, told text, told_at timestamptz, modified_at timestamptz, hash bigint)
language sql stable parallel safe rows 1
as $$
    -- offset 0: read once, not once a mention
    select i.zoho_id, i.told, i.told_at,
           case when i.told_at <= $5 then i.told_at else tds.believed_time(i.told_at, $5) end, jsonb_hash_extended($1, 0)
      from (select $1 -> $2 as id, $1 ->> 'last_modified_time' as told offset 0) k
     cross join lateral (select tds.record_id(k.id) as zoho_id, k.told, tds.record_time(k.told, $3, $4) as told_at offset 0) i
    offset 0
$$;
comment on function tds.versions(jsonb, text, timestamptz, smallint, timestamptz) is
'What a record is known by: its id, its last_modified_time as told and as it is read (null where they cannot be), what that is taken for '
'(tds.believed_time()), its hash. One row, '
'so that it can be joined laterally; the planner puts its text in the place of the call.';

create or replace function tds.read_events(entity text, inbox_ids bigint[], received_ats timestamptz[]) returns tds.event[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select array_agg(row(e.first_ord, e.inbox_id, e.received_at, e.alone, e.observed_at, e.modified_at, e.rank, e.is_delete,
                                 tds.as_array(e.records), e.look_closer, e.organization_id)::tds.event order by e.first_ord)
              from tds.stored_events(read_events.entity, read_events.inbox_ids, read_events.received_ats) e
             where e.records is not null);
end
$$;
comment on function tds.read_events(text, bigint[], timestamptz[]) is
'These events of one entity (or of its namesakes) with their bodies parsed; those whose body holds no record are left out. Raises class 22 '
'for a body that is not JSON.';

create or replace function tds.explode(entity text, events tds.event[], ords bigint[] default null) returns tds.record[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_id_key constant text := (select n.id_key from tds.entity n where n.entity = explode.entity);
begin
    return (
        select array_agg(row(e.first_ord + p.position, e.inbox_id, e.received_at, p.position::int, e.alone, v.zoho_id, v.modified_at,
                             e.observed_at, e.rank, e.is_delete, v.hash, p.doc, e.organization_id)::tds.record
                         order by e.first_ord + p.position)
          from unnest(explode.events) e
         cross join lateral jsonb_array_elements(e.records) with ordinality p(doc, position)
         cross join lateral tds.versions(p.doc, v_id_key, e.modified_at, e.rank, e.observed_at) v
         where explode.ords is null or e.first_ord + p.position in (select unnest(explode.ords)));
end
$$;
comment on function tds.explode(text, tds.event[], bigint[]) is
'The records of these events (or those of them named), each with its id and version; an id or a last_modified_time that '
'cannot be read is null here and named by the culprits_… function of the entity.';

create or replace function tds.unlooked(records jsonb) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using errcode = 'program_limit_exceeded', message = 'a body that has to be looked at more closely first',
        detail = pg_column_size(unlooked.records) || ' bytes', hint = 'tds.apply_events() does, with tds.outsized_ords()';
end
$$;
comment on function tds.unlooked(jsonb) is
'In the place of the records of a body that may hold too long a number, where nobody has looked yet: raises 54000, before anything is '
'read from them.';

create or replace function tds.outsized_ords(events tds.event[]) returns bigint[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        select e.first_ord + p.position
          from unnest(outsized_ords.events) e
         cross join lateral jsonb_array_elements(e.records) with ordinality p(doc, position)
         where e.look_closer or tds.may_exceed(p.doc, e.rank = 1));
end
$$;
comment on function tds.outsized_ords(tds.event[]) is
'The ords of those records of these events that may exceed a bound: all of an event whose text may hold a long number, and what is long or '
'deep.';
