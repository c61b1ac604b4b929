-- What a rebuild and a repair need beyond the writer of the live flow, made like it from the mapping.

create or replace function tds.tables_under(entity text) returns table (name text, id_column text, row_key text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select c.target, c.parent_column, format('x.%I::text', c.position_column) from tds.child c where c.entity = tables_under.entity
     union
    select b.target, b.id_column, b.row_key from tds.beside b where b.entity = tables_under.entity
     order by 1;
end
$$;
revoke all on function tds.tables_under(text) from public;
comment on function tds.tables_under(text) is
'The tables whose rows hang on records of an entity: its arrays'', and what hooks write; row_key: SQL over x, a row of it.';

create or replace function tds.unmapped_columns(entity text) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        select a.attname::text
          from tds.entity n
          join pg_attribute a on a.attrelid = format('zoho.%I', n.target)::regclass and a.attnum > 0 and not a.attisdropped
         where n.entity = unmapped_columns.entity
           and a.attname not in (n.target_key, 'id', 'organization_id', 'zoho_metadata', 'synced_at', 'deleted_at', 'image_url')
           and a.attname not like 'sync\_%'
           and a.attname not in (select k.column_name from tds.columns_of(unmapped_columns.entity, '') k)
         order by a.attname);
end
$$;
revoke all on function tds.unmapped_columns(text) from public;
comment on function tds.unmapped_columns(text) is
'Columns of an entity''s table that its mapping does not fill: they are empty.';

create or replace function tds.make_whole(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name   constant text := 'whole_' || make_whole.entity;
    v_empty  constant text[] := tds.unmapped_columns(make_whole.entity);
    v_entity tds.entity;
    v_body   text;
begin
    select n.* into strict v_entity from tds.entity n where n.entity = make_whole.entity;
    select coalesce(string_agg(tds.fill($sql$
    perform {{writer}}
       from (select coalesce(array_agg(s.zoho_id order by s.zoho_id), '{}') as zoho_ids
               from unnest({{me:I}}.states) s
              cross join (select {{me:I}}.organization_id as organization_id) own
              where s.zoho_id = any ({{me:I}}.written) and ({{kept_if}}) is not true) c;$sql$,
               jsonb_build_object('me', v_name, 'kept_if', b.kept_if, 'writer', replace(replace(replace(
                   b.writer, '$1', format('%I.organization_id', v_name)), '$2', 'c.zoho_ids'), '$3', format('%I.at', v_name)))),
               '' order by b.target), '')
      into v_body from tds.beside b where b.entity = make_whole.entity;
    if v_empty <> '{}' then
        v_body := v_body || tds.fill($sql$
    update zoho.{{target:I}} t set {{nothing}}, synced_at = {{me:I}}.at
     where t.organization_id = {{me:I}}.organization_id
       and t.{{target_key:I}} in (select s.zoho_id from unnest({{me:I}}.states) s where s.zoho_id = any ({{me:I}}.written))
       and num_nonnulls({{columns}}) > 0;$sql$,
            jsonb_build_object('me', v_name, 'target', v_entity.target, 'target_key', v_entity.target_key,
                'nothing', (select string_agg(format('%I = null', c), ', ') from unnest(v_empty) c),
                'columns', (select string_agg(format('t.%I', c), ', ') from unnest(v_empty) c)));
    end if;
    if v_body <> '' then
        perform tds.make(v_name, 'organization_id text, states tds.record_state[], written text[], at timestamptz', 'void', 'volatile',
            tds.made_comment(format('What is made beside %s whose rows were written, whatever their documents have of it.',
                                    v_entity.entity), 'make_whole', v_entity.entity), E'\nbegin' || v_body || E'\n    return;\nend\n');
    end if;
end
$$;
revoke all on function tds.make_whole(text) from public;
comment on function tds.make_whole(text) is
'Makes tds.whole_<entity>(): writes what hooks make beside records, and empties what the mapping does not fill.';

create or replace function tds.make_orphans(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity tds.entity;
    v_shown  text;
    v_gone   text;
begin
    select n.* into strict v_entity from tds.entity n where n.entity = make_orphans.entity;
    select string_agg(tds.fill($sql$
    return query
    select x.organization_id, x.{{id_column:I}}, {{name:L}}, {{row_key}}, to_jsonb(x)
      from zoho.{{name:I}} x
     where (orphans_{{entity}}.of_organization is null or x.organization_id = orphans_{{entity}}.of_organization)
       and not exists (select from zoho.{{target:I}} t where t.organization_id = x.organization_id
                                                         and t.{{target_key:I}} = x.{{id_column:I}})
     order by 1, 2, 4;$sql$, k.named), '' order by t.name),
           string_agg(tds.fill($sql$
    return query
    with orphan as materialized (
        select x.ctid, x.tableoid as relation
          from zoho.{{name:I}} x
         where (delete_orphans_{{entity}}.of_organization is null or x.organization_id = delete_orphans_{{entity}}.of_organization)
           and (delete_orphans_{{entity}}.zoho_ids is null or x.{{id_column:I}} = any (delete_orphans_{{entity}}.zoho_ids))
           and not exists (select from zoho.{{target:I}} t where t.organization_id = x.organization_id
                                                             and t.{{target_key:I}} = x.{{id_column:I}})
         order by x.organization_id, x.{{id_column:I}}, {{row_key}}
         limit 10000
           for update)
    delete from zoho.{{name:I}} x using orphan o where x.ctid = o.ctid and x.tableoid = o.relation
    returning x.organization_id, x.{{id_column:I}};$sql$, k.named), '' order by t.name)
      into v_shown, v_gone
      from tds.tables_under(make_orphans.entity) t
     cross join lateral (select jsonb_build_object('name', t.name, 'id_column', t.id_column, 'row_key', t.row_key,
                                                   'entity', v_entity.entity, 'target', v_entity.target,
                                                   'target_key', v_entity.target_key) as named) k;
    if v_shown is null then
        return;
    end if;
    perform tds.make('orphans_' || v_entity.entity, 'of_organization text',
                     'table (organization_id text, zoho_id text, table_name text, row_key text, ours jsonb)', 'stable',
                     tds.made_comment(format('Rows that hang on %s which the mirror has not.', v_entity.entity), 'make_orphans',
                                      v_entity.entity), E'\nbegin' || v_shown || E'\nend\n');
    perform tds.make('delete_orphans_' || v_entity.entity, 'of_organization text, zoho_ids text[]',
                     'table (organization_id text, zoho_id text)', 'volatile',
                     tds.made_comment(format('Deletes rows that hang on %s which the mirror has not, 10,000 of a table at most.',
                                             v_entity.entity), 'make_orphans', v_entity.entity), E'\nbegin' || v_gone || E'\nend\n');
end
$$;
revoke all on function tds.make_orphans(text) from public;
comment on function tds.make_orphans(text) is 'Makes tds.orphans_<entity>() and tds.delete_orphans_<entity>().';
