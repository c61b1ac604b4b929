create or replace function tds.link_statement(link tds.link, ids_column text, name text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_keys constant text[] := tds.key_columns((link_statement.link).target);
begin
    -- planned anew each time: a plan made while the tables were empty would read all of them for ever
    return format($sql$
    if exists (select from zoho.%3$I t where t.organization_id = %7$s.organization_id) then
    execute $link$
    with waiting as (
        select %1$s, p.%2$I as value
          from zoho.%3$I t
          join zoho.%4$I p on p.organization_id = t.organization_id and p.%5$I = t.%6$I
         where t.organization_id = $1
           and t.%8$I = any ($2)
           and %9$s
         order by %1$s
           for update of t)
    update zoho.%3$I t
       set %10$I = w.value
      from waiting w
     where (%1$s) = (%11$s)
    $link$ using %7$s.organization_id, %7$s.zoho_ids;
    end if;
$sql$,
        (select string_agg(format('t.%I', k), ', ' order by n) from unnest(v_keys) with ordinality u(k, n)),
        (link_statement.link).parent_column, (link_statement.link).target, (link_statement.link).parent, (link_statement.link).parent_key,
        (link_statement.link).key_column, link_statement.name, link_statement.ids_column,
        case when (link_statement.link).follows then format('t.%I is distinct from p.%I', (link_statement.link).column_name, (link_statement.link).parent_column)
             else format('t.%I is null', (link_statement.link).column_name) end,
        (link_statement.link).column_name,
        (select string_agg(format('w.%I', k), ', ' order by n) from unnest(v_keys) with ordinality u(k, n)));
end
$$;
comment on function tds.link_statement(tds.link, text, text) is 'The statement that sets a link where it is missing, for rows whose ids_column is among the ids given.';

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
    perform tds.make(v_name, 'organization_id text, zoho_ids text[]', 'void', 'volatile',
                     format('Links these %s with the rows they name and the rows that name them. Made from tds.link.', make_linker.entity),
                     format(E'\nbegin%s\n    return;\nend\n', v_statements));
end
$$;
revoke all on function tds.make_linker(text) from public;
comment on function tds.make_linker(text) is
'Makes tds.link_<entity>(): in a transaction of its own after the apply, so that whichever of two rows commits last sees the other.';
