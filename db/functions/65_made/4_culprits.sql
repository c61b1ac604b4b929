create or replace function tds.problems_of(entity text, list_key text, prefix text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select string_agg(tds.fill('({{prefix}}{{key:L}}, d.{{key:I}}, '
                                       'tds.problem({{reader:L}}, d.{{key:I}}, {{required}}, {{max_length:L}}))',
                                       jsonb_build_object('prefix', problems_of.prefix, 'key', f.key, 'reader', f.reader,
                                                          'required', f.required, 'max_length', f.max_length)),
                              E',\n                   ' order by f.key)
              from tds.field f where f.entity = problems_of.entity and f.list_key = problems_of.list_key);
end
$$;
comment on function tds.problems_of(text, text, text) is
'VALUES rows that ask of each field of an entity, or of one of its arrays, why it cannot be read.';

create or replace function tds.any_problem_of(entity text, list_key text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select string_agg(
                       case f.reader
                           when 'time' then tds.fill('d.{{key:I}} not in (''""'', ''null'') '
                                                     'and tds.is_plain_time(d.{{key:I}} ->> 0) is not true',
                                                     jsonb_build_object('key', f.key))
                           else tds.fill('tds.problem({{reader:L}}, d.{{key:I}}, {{required}}, {{max_length:L}}) is not null',
                                         jsonb_build_object('key', f.key, 'reader', f.reader, 'required', f.required,
                                                            'max_length', f.max_length)) end,
                       E'\n            or ' order by f.key)
              from tds.field f where f.entity = any_problem_of.entity and f.list_key = any_problem_of.list_key);
end
$$;
comment on function tds.any_problem_of(text, text) is
'A condition: whether any field of an entity, or of one of its arrays, may be one that cannot be read.';

create or replace function tds.elements_of(source text, key text, alias text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.fill($sql$
         cross join lateral jsonb_array_elements(
                            case jsonb_typeof({{source:I}}.doc -> {{key:L}}) when 'array' then {{source:I}}.doc -> {{key:L}}
                                 when 'object' then jsonb_build_array({{source:I}}.doc -> {{key:L}}) else '[]' end)
                            with ordinality {{alias:I}}(doc, n)$sql$,
        jsonb_build_object('source', elements_of.source, 'key', elements_of.key, 'alias', elements_of.alias));
end
$$;
comment on function tds.elements_of(text, text, text) is
'A join that gives the elements of an array under a key, or the object there; none where it is neither.';

create or replace function tds.arrays_of(entity text)
returns table (list_key text, outer_key text, elements text, place text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select k.list_key, k.outer_key,
           case when k.inner_key = '' then tds.elements_of('r', k.outer_key, 'e')
                else tds.elements_of('r', k.outer_key, 'o') || tds.elements_of('o', k.inner_key, 'e') end,
           case when k.is_object then format('%L::text', k.outer_key)
                when k.inner_key = '' then format('format(''%s[%%s]'', e.n - 1)', k.outer_key)
                else format('format(''%s[%%s].%s[%%s]'', o.n - 1, e.n - 1)', k.outer_key, k.inner_key) end
      from (select distinct f.list_key, split_part(f.list_key, '.', 1) as outer_key, split_part(f.list_key, '.', 2) as inner_key,
                   exists (select from tds.field o where o.entity = f.entity and o.list_key = '' and o.key = f.list_key
                                                     and o.reader = 'object') as is_object
              from tds.field f where f.entity = arrays_of.entity and f.list_key <> '') k
     order by k.list_key;
end
$$;
comment on function tds.arrays_of(text) is
'The arrays of an entity whose elements are mapped (a.b: an array of each element of one; an object is one element without a number): '
'the join that gives the elements e of a '
'record r, and the SQL of an element''s path.';

create or replace function tds.make_suspects(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name   constant text := 'suspects_' || make_suspects.entity;
    v_arrays text;
begin
    select coalesce(string_agg(tds.fill($sql$
            or r.doc ? {{outer_key:L}} and exists (
               select from (select 1) x{{elements}}
                cross join lateral {{fields}} d
                where jsonb_typeof(e.doc) <> 'object'
                   or {{any_problem}})$sql$,
               jsonb_build_object('outer_key', c.outer_key, 'elements', c.elements,
                                  'fields', tds.fields_of(make_suspects.entity, c.list_key, 'e.doc'),
                                  'any_problem', tds.any_problem_of(make_suspects.entity, c.list_key))), '' order by c.list_key), '')
      into v_arrays
      from tds.arrays_of(make_suspects.entity) c;
    perform tds.make(
        v_name, 'events tds.event[]', 'bigint[]', 'stable',
        tds.made_comment(format('The ords of those %s of a batch that a second look may find unreadable; few, and all that are.',
                                make_suspects.entity), 'make_suspects', make_suspects.entity),
        tds.fill($body$
begin
    return array(
        select e.first_ord + r.n
          from unnest({{me:I}}.events) e
         cross join lateral jsonb_array_elements(e.records) with ordinality r(doc, n)
         cross join lateral {{fields}} d
         where jsonb_typeof(r.doc) <> 'object'
            or {{any_problem}}{{arrays}});
end
$body$,
            jsonb_build_object('me', v_name, 'fields', tds.fields_of(make_suspects.entity, '', 'r.doc'),
                               'any_problem', tds.any_problem_of(make_suspects.entity, ''), 'arrays', v_arrays)));
end
$$;
revoke all on function tds.make_suspects(text) from public;
comment on function tds.make_suspects(text) is 'Makes tds.suspects_<entity>() from the mapping: who may be at fault.';

create or replace function tds.make_culprits(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name   constant text := 'culprits_' || make_culprits.entity;
    v_arrays text;
begin
    select coalesce(string_agg(tds.fill($sql$
        union all
        select r.ord, f.path, left(coalesce(f.value #>> '{}', e.doc::text), 200), f.reason
          from unnest({{me:I}}.records) r{{elements}}
         cross join lateral {{fields}} d
         cross join lateral (values
                   ({{place}}, e.doc, case when jsonb_typeof(e.doc) <> 'object' then 'not an object' end),
                   {{problems}}) f(path, value, reason)
         where f.reason is not null and not r.is_delete$sql$,
               jsonb_build_object('me', v_name, 'elements', c.elements, 'place', c.place,
                                  'fields', tds.fields_of(make_culprits.entity, c.list_key, 'e.doc'),
                                  'problems', tds.problems_of(make_culprits.entity, c.list_key, c.place || ' || ''.'' || '))),
               '' order by c.list_key), '')
      into v_arrays
      from tds.arrays_of(make_culprits.entity) c;
    perform tds.make(
        v_name, 'records tds.record[]', 'table (ord bigint, path text, value text, reason text)', 'stable',
        tds.made_comment(format('Those %s that the strict readers refuse, each with the path, the value and the reason; '
                                'asked only once a set has failed.', make_culprits.entity), 'make_culprits', make_culprits.entity),
        tds.fill($body$
begin
    return query
    select distinct on (c.ord) c.ord, c.path, c.value, c.reason
      from (
        select r.ord, '$' as path, left(r.doc::text, 200) as value, 'not an object' as reason
          from unnest({{me:I}}.records) r
         where jsonb_typeof(r.doc) <> 'object'
        union all
        select r.ord, f.path, left(f.value #>> '{}', 200), f.reason
          from unnest({{me:I}}.records) r
         cross join lateral {{fields}} d
         cross join lateral (values
                   {{problems}}) f(path, value, reason)
         where f.reason is not null and jsonb_typeof(r.doc) = 'object'
           -- of a deletion nothing else is read
           and (not r.is_delete or f.path in ({{id_key:L}}, 'last_modified_time')){{arrays}}
           ) c
     order by c.ord, c.path;
end
$body$,
            jsonb_build_object('me', v_name, 'fields', tds.fields_of(make_culprits.entity, '', 'r.doc'),
                               'id_key', (select n.id_key from tds.entity n where n.entity = make_culprits.entity),
                               'problems', tds.problems_of(make_culprits.entity, '', ''), 'arrays', v_arrays)));
end
$$;
revoke all on function tds.make_culprits(text) from public;
comment on function tds.make_culprits(text) is 'Makes tds.culprits_<entity>() from the mapping: what the strict readers refuse.';
