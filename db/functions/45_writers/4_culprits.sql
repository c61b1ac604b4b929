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

create or replace function tds.make_culprits(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name     constant text := 'culprits_' || make_culprits.entity;
    v_children text;
begin
    -- an array of the record, or (a.b) an array of each element of one
    select string_agg(format($sql$
        union all
        select r.ord, f.path, left(coalesce(f.value #>> '{}', e.doc::text), 200), f.reason
          from unnest(%1$s.records) r%2$s
         cross join lateral jsonb_array_elements(case when jsonb_typeof(%3$s) = 'array' then %3$s else '[]' end)
                            with ordinality e(doc, n)
         cross join lateral %4$s d
         cross join lateral (values
                   (%5$s, e.doc, case when jsonb_typeof(e.doc) <> 'object' then 'not an object' end),
                   %6$s) f(path, value, reason)
         where f.reason is not null$sql$,
               v_name,
               case when c.inner_key <> '' then format(E'\n         cross join lateral jsonb_array_elements(case when jsonb_typeof(r.doc -> %1$L) = ''array'' then r.doc -> %1$L else ''[]'' end)\n'
                                                       '                            with ordinality o(doc, n)', c.outer_key) else '' end,
               case when c.inner_key <> '' then format('o.doc -> %L', c.inner_key) else format('r.doc -> %L', c.outer_key) end,
               tds.fields_of(c.entity, c.list_key, 'e.doc'), p.place,
               tds.problems_of(c.entity, c.list_key, p.place || ' || ''.'' || ')), '' order by c.list_key)
      into v_children
      from (select k.*, split_part(k.list_key, '.', 1) as outer_key, split_part(k.list_key, '.', 2) as inner_key
              from (select c.entity, c.list_key from tds.child c
                    union
                    select f.entity, f.list_key from tds.field f where f.list_key <> '') k) c
     cross join lateral (select case when c.inner_key <> ''
                                     then format('format(''%s[%%s].%s[%%s]'', o.n - 1, e.n - 1)', c.outer_key, c.inner_key)
                                     else format('format(''%s[%%s]'', e.n - 1)', c.outer_key) end as place) p
     where c.entity = make_culprits.entity;
    perform tds.make(
        v_name, 'records tds.record[]', 'table (ord int, path text, value text, reason text)', 'stable',
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
comment on function tds.make_culprits(text) is 'Makes tds.culprits_<entity>() from the mapping: it names what the strict readers refuse.';
