create or replace function tds.link_statement(link tds.link, ids_column text, name text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_keys constant text[] := tds.key_columns((link_statement.link).target);
begin
    -- planned anew each time: a plan made while the tables were empty would read all of them for ever
    return tds.fill($sql$
    if exists (select from zoho.{{target:I}} t where t.organization_id = any (v_owners)) then
    execute $link$
    with waiting as (
        select {{keys}}, p.{{parent_column:I}} as value
          from unnest($1, $2) i(organization_id, zoho_id)
          join zoho.{{target:I}} t on t.organization_id = i.organization_id and t.{{ids_column:I}} = i.zoho_id
          join zoho.{{parent:I}} p on p.organization_id = t.organization_id and p.{{parent_key:I}} = t.{{key_column:I}}
         where {{is_missing}}
         order by {{keys}}
           for update of t)
    update zoho.{{target:I}} t
       set {{column_name:I}} = w.value
      from waiting w
     where ({{keys}}) = ({{waiting_keys}})
    $link$ using {{me:I}}.organization_ids, {{me:I}}.zoho_ids;
    end if;
$sql$,
        jsonb_build_object(
            'me', link_statement.name, 'ids_column', link_statement.ids_column,
            'target', (link_statement.link).target, 'column_name', (link_statement.link).column_name,
            'key_column', (link_statement.link).key_column, 'parent', (link_statement.link).parent,
            'parent_key', (link_statement.link).parent_key, 'parent_column', (link_statement.link).parent_column,
            'keys', (select string_agg(format('t.%I', k), ', ' order by n) from unnest(v_keys) with ordinality u(k, n)),
            'waiting_keys', (select string_agg(format('w.%I', k), ', ' order by n) from unnest(v_keys) with ordinality u(k, n)),
            'is_missing', case when (link_statement.link).follows
                               then format('t.%I is distinct from p.%I', (link_statement.link).column_name,
                                           (link_statement.link).parent_column)
                               else format('t.%I is null', (link_statement.link).column_name) end));
end
$$;
comment on function tds.link_statement(tds.link, text, text) is
'The statement that sets a link where it is missing, for rows whose organisation and ids_column are among those given.';

create or replace function tds.make_linker(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name       constant text := 'link_' || make_linker.entity;
    v_entity     tds.entity;
    v_statements text;
begin
    select n.* into strict v_entity from tds.entity n where n.entity = make_linker.entity;
    -- in the order of the writers: a record's row, then those of its arrays
    select string_agg(tds.link_statement(l, m.ids_column, v_name), ''
                      order by not exists (select from tds.entity n where n.target = l.target), l.target, l.column_name, m.ids_column)
      into v_statements
      from (select l as link, v_entity.target_key as ids_column
              from tds.link l where l.target = v_entity.target
            union all
            select l, c.parent_column from tds.link l join tds.child c on c.target = l.target and c.entity = make_linker.entity
            union all
            -- what a hook writes beside the record holds its key
            select l, v_entity.target_key
              from tds.link l
              join pg_attribute a on a.attrelid = format('zoho.%I', l.target)::regclass and a.attname = v_entity.target_key
             where l.key_column <> v_entity.target_key
               and v_entity.complete is not null
               and not exists (select from tds.entity n where n.target = l.target)
               and not exists (select from tds.child c where c.target = l.target)
            union all
            select l, l.key_column
              from tds.link l
             where l.parent = v_entity.target
                or format('zoho.%I', l.parent)::regclass in (
                    select h.inhrelid from pg_inherits h where h.inhparent = format('zoho.%I', v_entity.target)::regclass)
           ) m
     cross join lateral (select (m.link).*) l;
    if v_statements is null then
        return;
    end if;
    perform tds.make(v_name, 'organization_ids text[], zoho_ids text[]', 'void', 'volatile',
                     tds.made_comment(format('Links these %s with the rows they name and the rows that name them, as tds.link has it.',
                                             make_linker.entity), 'make_linker', make_linker.entity),
                     tds.fill(E'\ndeclare\n    v_owners constant text[] := array('
                              'select distinct o.id from unnest({{me:I}}.organization_ids) o(id));\n'
                              'begin{{statements}}\n    return;\nend\n', jsonb_build_object('me', v_name, 'statements', v_statements)));
end
$$;
revoke all on function tds.make_linker(text) from public;
comment on function tds.make_linker(text) is
'Makes tds.link_<entity>(): in a transaction of its own after the apply, so that whichever of two rows commits last sees the other.';
