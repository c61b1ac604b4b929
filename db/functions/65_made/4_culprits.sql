create or replace function tds.problems_of(entity text, list_key text, prefix text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select string_agg(format('(%s%L, d.%I, tds.problem(%L, d.%3$I, %5$L, %6$L))', problems_of.prefix, f.key, f.key, f.reader, f.required, f.max_length),
                              E',\n                   ' order by f.key)
              from tds.field f where f.entity = problems_of.entity and f.list_key = problems_of.list_key);
end
$$;
comment on function tds.problems_of(text, text, text) is 'VALUES rows that ask of each field of an entity, or of one of its arrays, why it cannot be read.';

create or replace function tds.any_problem_of(entity text, list_key text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select string_agg(
                       case f.reader when 'time' then format('d.%I not in (''""'', ''null'') and tds.is_plain_time(d.%1$I ->> 0) is not true', f.key)
                                     else format('tds.problem(%L, d.%I, %L, %L) is not null', f.reader, f.key, f.required, f.max_length) end,
                              E'\n            or ' order by f.key)
              from tds.field f where f.entity = any_problem_of.entity and f.list_key = any_problem_of.list_key);
end
$$;
comment on function tds.any_problem_of(text, text) is 'A condition: whether any field of an entity, or of one of its arrays, may be one that cannot be read.';

create or replace function tds.arrays_of(entity text)
returns table (list_key text, outer_key text, elements text, place text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_array constant text := E'\n         cross join lateral jsonb_array_elements(case when jsonb_typeof(%1$s) = ''array'' then %1$s else ''[]'' end)'
                             || E'\n                            with ordinality %2$s(doc, n)';
begin
    return query
    select k.list_key, k.outer_key,
           case when k.inner_key = '' then format(v_array, format('r.doc -> %L', k.outer_key), 'e')
                else format(v_array, format('r.doc -> %L', k.outer_key), 'o') || format(v_array, format('o.doc -> %L', k.inner_key), 'e') end,
           case when k.inner_key = '' then format('format(''%s[%%s]'', e.n - 1)', k.outer_key)
                else format('format(''%s[%%s].%s[%%s]'', o.n - 1, e.n - 1)', k.outer_key, k.inner_key) end
      from (select distinct f.list_key, split_part(f.list_key, '.', 1) as outer_key, split_part(f.list_key, '.', 2) as inner_key
              from tds.field f where f.entity = arrays_of.entity and f.list_key <> '') k
     order by k.list_key;
end
$$;
comment on function tds.arrays_of(text) is
'The arrays of an entity whose elements are mapped (a.b: an array of each element of one): the join that gives the elements e of a '
'record r, and the SQL of an element''s path.';

create or replace function tds.make_culprits(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name     constant text := 'culprits_' || make_culprits.entity;
    v_children text;
    v_suspects text;
begin
    select string_agg(format($sql$
            or r.doc ? %1$L and exists (
               select from (select 1) x%2$s
                cross join lateral %3$s d
                where jsonb_typeof(e.doc) <> 'object'
                   or %4$s)$sql$,
               c.outer_key, c.elements, tds.fields_of(make_culprits.entity, c.list_key, 'e.doc'),
               tds.any_problem_of(make_culprits.entity, c.list_key)), '' order by c.list_key),
           string_agg(format($sql$
        union all
        select r.ord, f.path, left(coalesce(f.value #>> '{}', e.doc::text), 200), f.reason
          from unnest(%1$s.records) r%2$s
         cross join lateral %3$s d
         cross join lateral (values
                   (%4$s, e.doc, case when jsonb_typeof(e.doc) <> 'object' then 'not an object' end),
                   %5$s) f(path, value, reason)
         where f.reason is not null$sql$,
               v_name, c.elements, tds.fields_of(make_culprits.entity, c.list_key, 'e.doc'), c.place,
               tds.problems_of(make_culprits.entity, c.list_key, c.place || ' || ''.'' || ')), '' order by c.list_key)
      into v_suspects, v_children
      from tds.arrays_of(make_culprits.entity) c;
    perform tds.make(
        'suspects_' || make_culprits.entity, 'events tds.event[]', 'bigint[]', 'stable',
        format('The ords of those %s of a batch that a second look may find unreadable; few, and all that are. Made from the mapping.', make_culprits.entity),
        format($body$
begin
    return array(
        select e.first_ord + r.n
          from unnest(suspects_%1$s.events) e
         cross join lateral jsonb_array_elements(e.records) with ordinality r(doc, n)
         cross join lateral %2$s d
         where jsonb_typeof(r.doc) <> 'object'
            or %3$s%4$s);
end
$body$,
            make_culprits.entity, tds.fields_of(make_culprits.entity, '', 'r.doc'), tds.any_problem_of(make_culprits.entity, ''),
            coalesce(v_suspects, '')));
    perform tds.make(
        v_name, 'records tds.record[]', 'table (ord bigint, path text, value text, reason text)', 'stable',
        format('Those %s that the strict readers refuse, each with the path, the value and the reason; asked only once a set has failed. Made from the mapping.', make_culprits.entity),
        format($body$
begin
    return query
    select distinct on (c.ord) c.ord, c.path, c.value, c.reason
      from (
        select r.ord, '$' as path, left(r.doc::text, 200) as value, 'not an object' as reason
          from unnest(%1$s.records) r
         where jsonb_typeof(r.doc) <> 'object'
        union all
        select r.ord, f.path, left(f.value #>> '{}', 200), f.reason
          from unnest(%1$s.records) r
         cross join lateral %2$s d
         cross join lateral (values
                   %3$s) f(path, value, reason)
         where f.reason is not null and jsonb_typeof(r.doc) = 'object'%4$s
           ) c
     order by c.ord, c.path;
end
$body$,
            v_name, tds.fields_of(make_culprits.entity, '', 'r.doc'), tds.problems_of(make_culprits.entity, '', ''), coalesce(v_children, '')));
end
$$;
revoke all on function tds.make_culprits(text) from public;
comment on function tds.make_culprits(text) is 'Makes tds.suspects_<entity>() and tds.culprits_<entity>() from the mapping: who may be at fault, and what the strict readers refuse.';
