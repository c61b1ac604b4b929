create or replace function tds.child_derivations(entity text) returns table (target text, after text, before text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select c.target,
           tds.fill('case when tds.is_blank_list(s.doc -> {{list_key:L}}) and tds.lacks_elements(s.doc) then {{before}} else {{after}} end',
                    jsonb_build_object('list_key', c.list_key, 'before', c.before, 'after', c.after)), c.before
      from (select k.list_key, k.target, tds.fill($sql$
               (select jsonb_agg(to_jsonb(x) order by x.n)
                  from (select e.n, e.doc as zoho_metadata, {{named}}
                          from jsonb_array_elements(coalesce(tds.json_array(s.doc -> {{list_key:L}}), '[]')) with ordinality c(doc, n)
                         cross join lateral (select tds.json_row(c.doc) as doc, c.n offset 0) e
                         cross join lateral {{fields}} d{{joins}}) x)$sql$,
                  jsonb_build_object('named', k.named, 'list_key', k.list_key, 'fields', k.fields, 'joins', k.joins)) as after,
           tds.fill($sql$
               (select jsonb_agg(to_jsonb(x) order by x.n)
                  from (select b.{{position_column:I}} as n, b.zoho_metadata,
                               {{columns}}
                          from zoho.{{target:I}} b
                         where b.organization_id = own.organization_id and b.{{parent_column:I}} = s.zoho_id) x)$sql$,
                  jsonb_build_object('position_column', k.position_column, 'columns', tds.wrapped(tds.qualified('b', k.columns), 31),
                                     'target', k.target, 'parent_column', k.parent_column)) as before
              from tds.children_of(child_derivations.entity) k) c
    union all
    select b.target, tds.fill('case when {{kept_if}} then {{before}} else {{after}} end',
                              jsonb_build_object('kept_if', b.kept_if, 'before', b.before, 'after', b.after)), b.before
      from (select o.target, o.kept_if, r.before,
                   replace(r.before, r.stored, format('tds.%I(array[own.organization_id], array[s.zoho_id], null)', o.told)) as after
              from tds.beside o
             cross join lateral (select tds.fill('(select * from zoho.{{target:I}} k where k.organization_id = own.organization_id '
                                                 'and k.{{id_column:I}} = s.zoho_id)',
                                                 jsonb_build_object('target', o.target, 'id_column', o.id_column)) as stored) f
             cross join lateral (select tds.fill($sql$
               (select jsonb_agg(jsonb_build_object('n', {{row_key}})
                                 || (to_jsonb(x) - array['organization_id', 'synced_at', {{id_column:L}}]) order by {{row_key}})
                  from {{stored}} x)$sql$,
                  jsonb_build_object('row_key', o.row_key, 'id_column', o.id_column, 'stored', f.stored))
                      as before, f.stored) r
             where o.entity = child_derivations.entity) b;
end
$$;
comment on function tds.child_derivations(text) is
'SQL for each array of an entity that has a table, and for what a hook writes beside it: its rows as the mapping makes them, and as they '
'are.';

create or replace function tds.make_stored(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name   constant text := 'stored_' || make_stored.entity;
    v_entity tds.entity;
begin
    select n.* into strict v_entity from tds.entity n where n.entity = make_stored.entity;
    perform tds.make(v_name, 'organization_id text, after text, batch int', 'tds.record_state[]', 'stable',
        tds.made_comment(format('The next %s after that id, as states.', make_stored.entity), 'make_stored', make_stored.entity),
        tds.fill($body$
begin
    return array(
        select row(t.{{target_key:I}}, t.zoho_metadata, t.sync_version, t.sync_hash, t.sync_modified_at, t.sync_observed_at, t.sync_rank,
                   t.sync_read_at, t.deleted_at, t.sync_layers, t.sync_event)::tds.record_state
          from zoho.{{table:I}} t
         where t.organization_id = {{me:I}}.organization_id and t.{{target_key:I}} > {{me:I}}.after
         order by t.{{target_key:I}}
         limit {{me:I}}.batch);
end
$body$, jsonb_build_object('me', v_name, 'table', tds.verified_table(v_entity.entity), 'target_key', v_entity.target_key)));
end
$$;
revoke all on function tds.make_stored(text) from public;
comment on function tds.make_stored(text) is 'Makes tds.stored_<entity>(): the rows that tds.rebuild() goes through.';

create or replace function tds.make_deriver(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name   constant text := 'derive_' || make_deriver.entity;
    v_entity tds.entity;
    v_made   record;
    v_child  record;
begin
    select n.* into strict v_entity from tds.entity n where n.entity = make_deriver.entity;
    select m.* into v_made from tds.parts_of(make_deriver.entity, '') m;
    select coalesce(string_agg(format(' || jsonb_build_object(%L, %s)', c.target, c.after), '' order by c.target), '') as after,
           coalesce(string_agg(format(' || jsonb_build_object(%L, %s)', c.target, c.before), '' order by c.target), '') as before
      into v_child
      from tds.child_derivations(make_deriver.entity) c;
    perform tds.make(v_name, 'organization_id text, states tds.record_state[]', 'setof tds.derivation', 'stable',
        tds.made_comment(format('Rows of %s as they are, and as the mapping makes them of their documents.', v_entity.target),
                         'make_deriver', make_deriver.entity),
        tds.fill($body$
begin
    return query
        {{owner}}select s.zoho_id, to_jsonb(b){{children_before}}, to_jsonb(a){{children_after}}
          from unnest({{me:I}}.states) s
         cross join (select {{me:I}}.organization_id as organization_id) own
          join zoho.{{table:I}} t on t.organization_id = own.organization_id
                                  and t.{{target_key:I}} = s.zoho_id and t.sync_version = s.version
         cross join lateral (
                select {{columns}}) b
         cross join lateral (
                select {{named}}
                  from (select) one
          cross join lateral {{fields}} d{{joins}}) a
         order by s.zoho_id;
end
$body$,
            jsonb_build_object(
                'me', v_name, 'table', tds.verified_table(v_entity.entity), 'target_key', v_entity.target_key,
                'owner', coalesce(
                    'with ' || nullif(rtrim(tds.owner_of(v_entity.entity, format('(select %I.organization_id) u', v_name)), ', '), '')
                    || E'\n        ', ''),
                'named', v_made.named || (select coalesce(string_agg(format(E',\n               null as %I', c), ''), '')
                                              from unnest(tds.unmapped_columns(make_deriver.entity)) c),
                'columns', tds.wrapped(tds.qualified('t', v_made.columns || (
                    select coalesce(string_agg(format(', %I', c), ''), '') from unnest(tds.unmapped_columns(make_deriver.entity)) c)), 23),
                'fields', tds.fields_of(make_deriver.entity, '', 's.doc'), 'joins', v_made.joins,
                'children_after', v_child.after, 'children_before', v_child.before)));
end
$$;
revoke all on function tds.make_deriver(text) from public;
comment on function tds.make_deriver(text) is
'Makes tds.derive_<entity>(): what tds.rebuild() compares.';
