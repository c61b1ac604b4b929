create or replace function tds.child_derivations(entity text) returns table (target text, after text, before text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select c.target,
           format($sql$
               (select jsonb_agg(to_jsonb(x) order by x.n)
                  from (select e.n, %1$s
                          from jsonb_array_elements(coalesce(tds.json_array(s.doc -> %2$L), '[]')) with ordinality c(doc, n)
                         cross join lateral (select tds.json_object(c.doc) as doc, c.n offset 0) e
                         cross join lateral %3$s d%4$s) x)$sql$,
                  c.named, c.list_key, c.fields, c.joins),
           format($sql$
               (select jsonb_agg(to_jsonb(x) order by x.n)
                  from (select b.%1$I as n, %2$s
                          from zoho.%3$I b
                         where b.organization_id = own.organization_id and b.%4$I = s.zoho_id) x)$sql$,
                  c.position_column, tds.qualified('b', c.columns), c.target, c.parent_column)
      from tds.children_of(child_derivations.entity) c;
end
$$;
comment on function tds.child_derivations(text) is
'SQL for each array of an entity that has a table: its rows as the mapping makes them, and as they are.';

create or replace function tds.make_deriver(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_stored constant text := 'stored_' || make_deriver.entity;
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
    perform tds.make(v_stored, 'organization_id text, after text, batch int', 'tds.record_state[]', 'stable',
        format('The next %s after that id, as states. Made from the mapping.', make_deriver.entity),
        format($body$
begin
    return array(
        select row(t.%2$I, t.zoho_metadata, t.sync_version, t.sync_hash, t.sync_modified_at, t.sync_observed_at, t.sync_rank,
                   t.sync_read_at, t.deleted_at, t.sync_layers)::tds.record_state
          from zoho.%3$I t
         where t.organization_id = %1$s.organization_id and t.%2$I > %1$s.after
         order by t.%2$I
         limit %1$s.batch);
end
$body$, v_stored, v_entity.target_key, v_entity.target));
    perform tds.make(v_name, 'organization_id text, states tds.record_state[]', 'setof tds.derivation', 'stable',
        format('Rows of %s as they are, and as the mapping makes them of their documents. Made from the mapping.', v_entity.target),
        format($body$
begin
    return query
        select s.zoho_id, to_jsonb(b)%8$s, to_jsonb(a)%7$s
          from unnest(%1$s.states) s
         cross join (select %1$s.organization_id as organization_id) own
          join zoho.%2$I t on t.organization_id = own.organization_id and t.%3$I = s.zoho_id and t.sync_version = s.version
         cross join lateral (select %9$s) b
         cross join lateral (
                select %4$s
                  from (select) one
          cross join lateral %5$s d%6$s) a
         order by s.zoho_id;
end
$body$,
            v_name, v_entity.target, v_entity.target_key, v_made.named, tds.fields_of(make_deriver.entity, '', 's.doc'),
            v_made.joins, v_child.after, v_child.before, tds.qualified('t', v_made.columns)));
end
$$;
revoke all on function tds.make_deriver(text) from public;
comment on function tds.make_deriver(text) is
'Makes tds.stored_<entity>() and tds.derive_<entity>(): what tds.rebuild() compares.';
