-- The pieces that the generated functions are put together from. Aliases in them: d the fields, as jsonb by their keys;
-- s the record's state; own the call (organization_id, at); l1, l2, … the rows that links lead to;
-- owner what links by the organisation lead to.

create or replace function tds.columns_of(entity text, list_key text)
returns table (column_name text, expression text, link_join text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with field as (
        select f.column_name, coalesce(f.expression, format('tds.json_%s(d.%I)', f.reader, f.key)) as expression, f.key
          from tds.field f
          join tds.entity n on n.entity = f.entity
         where f.entity = columns_of.entity and f.list_key = columns_of.list_key and f.column_name is not null
           and not (f.list_key = '' and f.key = n.id_key)
    ), linked as (
        select l.*, 'l' || row_number() over (order by l.column_name) as alias,
               case when f.key is not null then format('(d.%I ->> 0)', f.key) end as value
          from tds.entity n
          left join tds.child c on c.entity = n.entity and c.list_key = columns_of.list_key
          join tds.link l on l.target = case when columns_of.list_key = '' then n.target else c.target end
          left join field f on f.column_name = l.key_column
         where n.entity = columns_of.entity
    )
    select f.column_name, f.expression, null::text from field f
    union all
    select v.column_name, v.expression, null
      from tds.derived v where v.entity = columns_of.entity and v.list_key = columns_of.list_key
    union all
    -- the same for all records of an organisation: looked up once for each of these
    select l.column_name, format('((select o.%I from owner o) ->> own.organization_id)', l.column_name), null
      from linked l
     where l.key_column = 'organization_id'
    union all
    select l.column_name, format('%s.%I', l.alias, l.parent_column), tds.fill($sql$
          left join lateral (select p.{{parent_column:I}} from zoho.{{parent:I}} p
                              where p.organization_id = own.organization_id
                                and p.{{parent_key:I}} between {{value}} and {{value}}
                              order by p.{{parent_key:I}} limit 1) {{alias:I}} on true$sql$,
               jsonb_build_object('parent', l.parent, 'parent_column', l.parent_column, 'parent_key', l.parent_key,
                                  'value', l.value, 'alias', l.alias))
      from linked l
     where l.key_column <> 'organization_id'
    order by 1;
end
$$;
comment on function tds.columns_of(text, text) is
'The columns an entity''s mapping fills (or those of one of its arrays), the SQL of each, and the join it needs if it is a link.';

create or replace function tds.owner_of(entity text, organizations text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_linked text;
begin
    select string_agg(tds.fill($sql$jsonb_object_agg(o.organization_id, (
                   select p.{{parent_column:I}} from zoho.{{parent:I}} p
                    where p.organization_id = o.organization_id
                      and p.{{parent_key:I}} between o.organization_id and o.organization_id
                    order by p.{{parent_key:I}} limit 1)) as {{column_name:I}}$sql$,
               jsonb_build_object('column_name', l.column_name, 'parent', l.parent, 'parent_column', l.parent_column,
                                  'parent_key', l.parent_key)), E',\n               ' order by l.column_name)
      into v_linked
      from tds.entity n
      join tds.link l on l.target = n.target
     where n.entity = owner_of.entity and l.key_column = 'organization_id';
    return case when v_linked is null then '' else tds.fill($sql$owner as materialized (
        select {{linked}}
          from (select distinct u.organization_id from {{organizations}}) o
    ), $sql$, jsonb_build_object('linked', v_linked, 'organizations', owner_of.organizations)) end;
end
$$;
comment on function tds.owner_of(text, text) is
'SQL: the query owner of the links of an entity that go by the organisation: each as an object of what it leads to by the organisations '
'(alias u); empty where it has none.';

create or replace function tds.fields_of(entity text, list_key text, document text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- offset 0: each key is looked up once; this costs three quarters of jsonb_to_record(), which fills a tuplestore a row
    return (select format(E'(\n               select %s\n               offset 0)',
                          string_agg(format('%s -> %L as %I', fields_of.document, f.key, f.key),
                                     E',\n                      ' order by f.key))
              from tds.field f where f.entity = fields_of.entity and f.list_key = fields_of.list_key);
end
$$;
comment on function tds.fields_of(text, text, text) is
'A subquery over a document: the fields of an entity, or of one of its arrays, by their keys.';

create or replace function tds.parts_of(
    entity text, list_key text, out columns text, out expressions text, out named text, out updates text, out joins text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    select string_agg(format('%I', k.column_name), ', ' order by k.column_name),
           string_agg(k.expression, E',\n               ' order by k.column_name),
           string_agg(format('%s as %I', k.expression, k.column_name), E',\n               ' order by k.column_name),
           string_agg(format('%I = excluded.%1$I', k.column_name), ', ' order by k.column_name)
               filter (where k.column_name <> all (p.names)),
           case when parts_of.list_key = '' and n.joins <> '' then E'\n          ' || n.joins else '' end
           || coalesce(string_agg(k.link_join, '' order by k.column_name), '')
      into parts_of.columns, parts_of.expressions, parts_of.named, parts_of.updates, parts_of.joins
      from tds.entity n
      left join tds.child c on c.entity = n.entity and c.list_key = parts_of.list_key
     cross join lateral (select tds.key_columns(coalesce(c.target, n.target)) as names offset 0) p
     cross join lateral tds.columns_of(n.entity, parts_of.list_key) k
     where n.entity = parts_of.entity
     group by n.entity, n.joins;
end
$$;
comment on function tds.parts_of(text, text) is
'The parts of the SQL that fills an entity''s table (or that of one of its arrays): columns, their expressions, these named, what an '
'update sets, joins.';

create or replace function tds.children_of(entity text)
returns table (
    list_key text, target text, parent_column text, position_column text, columns text, expressions text, named text, updates text,
    fields text, joins text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select c.list_key, c.target, c.parent_column, c.position_column, k.columns, k.expressions, k.named, k.updates,
           tds.fields_of(c.entity, c.list_key, 'e.doc'), k.joins
      from tds.child c
     cross join lateral tds.parts_of(c.entity, c.list_key) k
     where c.entity = children_of.entity
     order by c.list_key;
end
$$;
comment on function tds.children_of(text) is
'The arrays of an entity that have a table of their own, with the parts of the SQL that fills it.';

create or replace function tds.qualified(alias text, columns text) returns text
language sql immutable parallel safe
as $$ select $1 || '.' || replace($2, ', ', ', ' || $1 || '.') $$;
comment on function tds.qualified(text, text) is 'A column list with each column qualified by the alias.';

create or replace function tds.wrapped(columns text, indent int) returns text
language sql immutable parallel safe
as $$ select rtrim(regexp_replace($1 || ', ', '(.{1,90},) ', E'\\1\n' || repeat(' ', $2), 'g'), E', \n') $$;
comment on function tds.wrapped(text, int) is 'A column list in lines of a readable length, all but the first indented.';

create or replace function tds.made_comment(what text, maker text, entity text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return format('%s Made by tds.%s() from %s.', made_comment.what, made_comment.maker,
                  (select n.file from tds.entity n where n.entity = made_comment.entity));
end
$$;
comment on function tds.made_comment(text, text, text) is
'The comment of a made function: what it does, and where to change it: the function that made it, and the file of the entity''s mapping.';

create or replace function tds.make(name text, arguments text, returns text, volatility text, comment text, body text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    execute tds.fill(E'create or replace function tds.{{name:I}}({{arguments}}) returns {{returns}}\n'
                     'language plpgsql {{volatility}}\nset search_path = pg_catalog, pg_temp\nas {{body:L}}',
                     jsonb_build_object('name', make.name, 'arguments', make.arguments, 'returns', make.returns,
                                        'volatility', make.volatility, 'body', make.body));
    execute format('revoke all on function tds.%I from public', make.name);
    execute format('comment on function tds.%I is %L', make.name, make.comment);
end
$$;
revoke all on function tds.make(text, text, text, text, text, text) from public;
comment on function tds.make(text, text, text, text, text, text) is 'Creates a function of schema tds, closed to PUBLIC and commented.';

create or replace function tds.verified_table(entity text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- where several entities share a table, each has the part that bears its name
    return (select case when cardinality(tds.namesakes(n.entity)) > 1 then n.entity else n.target end
              from tds.entity n where n.entity = verified_table.entity);
end
$$;
comment on function tds.verified_table(text) is 'The table of schema zoho that holds the records of this entity and no others.';
