create or replace function tds.make_child_writers(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_child record;
    v_name  text;
begin
    for v_child in select c.* from tds.children_of(make_child_writers.entity) c loop
        v_name := format('write_%s_%s', make_child_writers.entity, v_child.list_key);
        perform tds.make(
            v_name, 'organization_id text, states tds.record_state[], written text[], at timestamptz', 'void', 'volatile',
            format('Makes the rows of %s what these %s list in %s; made from the mapping.', v_child.target, make_child_writers.entity, v_child.list_key),
            format($body$
begin
    -- all rows in key order before any is written: what goes and what stays are two sets, and who links them takes both in one
    perform from zoho.%2$I t
      where t.organization_id = %1$s.organization_id and t.%8$I = any (%1$s.written)
      order by t.%8$I, t.%9$I
        for update;
    with wanted as materialized (
        select s.zoho_id, e.n::int as position, own.organization_id, own.at, e.doc,
               %5$s
          from unnest(%1$s.states) s
          join unnest(%1$s.written) w(zoho_id) on w.zoho_id = s.zoho_id
         cross join (select %1$s.organization_id as organization_id, %1$s.at as at) own
         cross join lateral jsonb_array_elements(coalesce(tds.json_array(s.doc -> %3$L), '[]')) with ordinality c(doc, n)
         cross join lateral (select tds.json_object(c.doc) as doc, c.n offset 0) e
         cross join lateral %6$s d%7$s
    ), gone as (
        delete from zoho.%2$I t
         where t.organization_id = %1$s.organization_id
           and t.%8$I = any (%1$s.written)
           and not exists (select from wanted w where w.zoho_id = t.%8$I and w.position = t.%9$I))
    insert into zoho.%2$I as t (organization_id, %8$I, %9$I, %4$s, zoho_metadata, synced_at)
    select w.organization_id, w.zoho_id, w.position, %10$s, w.doc, w.at
      from wanted w
     order by w.zoho_id, w.position
    on conflict on constraint %2$s_pkey do update
       set %11$s, zoho_metadata = excluded.zoho_metadata, synced_at = excluded.synced_at
     where t.zoho_metadata is distinct from excluded.zoho_metadata%12$s;
end
$body$,
                v_name, v_child.target, v_child.list_key, v_child.columns,
                v_child.named, v_child.fields, v_child.joins, v_child.parent_column, v_child.position_column,
                tds.qualified('w', v_child.columns), v_child.updates,
                (select string_agg(format(' or t.%I is distinct from excluded.%1$I', k.column_name), '' order by k.column_name)
                   from tds.columns_of(make_child_writers.entity, v_child.list_key) k)));
    end loop;
end
$$;
revoke all on function tds.make_child_writers(text) from public;
comment on function tds.make_child_writers(text) is 'Makes tds.write_<entity>_<array>() for each array of the entity that has a table of its own.';

create or replace function tds.make_writer(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name   constant text := 'write_' || make_writer.entity;
    v_entity tds.entity;
    v_made   record;
begin
    select n.* into strict v_entity from tds.entity n where n.entity = make_writer.entity;
    select m.* into v_made from tds.parts_of(make_writer.entity, '') m;
    perform tds.make(
        v_name, 'organization_id text, states tds.record_state[], at timestamptz', 'text[]', 'volatile',
        format('Writes %s in key order, each only over the version it was resolved from; returns the ids written. Made from the mapping.', make_writer.entity),
        format($body$
declare
    v_written text[];
begin%10$s
    with written as (
        insert into zoho.%2$I as t (
            organization_id, %3$I, %4$s,
            zoho_metadata, synced_at, deleted_at,
            sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_layers)
        select own.organization_id, s.zoho_id,
               %5$s,
               s.doc, own.at, s.deleted_at, s.version, s.hash, s.modified_at, s.observed_at, s.rank, s.read_at, s.layers
          from unnest(%1$s.states) s
         cross join (select %1$s.organization_id as organization_id, %1$s.at as at) own
         cross join lateral %6$s d%7$s
         where %8$s
         order by s.zoho_id
        on conflict on constraint %2$s_pkey do update
           set %9$s,
               zoho_metadata = excluded.zoho_metadata, synced_at = excluded.synced_at, deleted_at = excluded.deleted_at,
               sync_version = excluded.sync_version, sync_hash = excluded.sync_hash, sync_modified_at = excluded.sync_modified_at,
               sync_observed_at = excluded.sync_observed_at, sync_rank = excluded.sync_rank, sync_read_at = excluded.sync_read_at,
               sync_layers = excluded.sync_layers
         where t.sync_version = excluded.sync_version - 1
        returning t.%3$I as zoho_id)
    select coalesce(array_agg(w.zoho_id), '{}') into v_written from written w;%11$s
    return v_written;
end
$body$,
            v_name, v_entity.target, v_entity.target_key, v_made.columns, v_made.expressions, tds.fields_of(make_writer.entity, '', 's.doc'),
            v_made.joins, v_entity.only_if, v_made.updates,
            case when v_entity.prepare is not null then format(E'\n    perform tds.%I(%s.organization_id, %2$s.states);', v_entity.prepare, v_name) else '' end,
            (select coalesce(string_agg(format(E'\n    perform tds.write_%s_%s(%s.organization_id, %3$s.states, v_written, %3$s.at);',
                                               c.entity, c.list_key, v_name), '' order by c.list_key), '')
               from tds.child c where c.entity = make_writer.entity)
            || case when v_entity.complete is not null
                    then format(E'\n    perform tds.%1$I(%2$s.organization_id, c.zoho_ids, %2$s.at)\n'
                                 '       from (select array_agg(s.zoho_id) as zoho_ids from unnest(%2$s.states) s\n'
                                 '              where s.zoho_id in (select unnest(v_written)) and (%3$s)) c\n'
                                 '      where c.zoho_ids is not null;', v_entity.complete, v_name, v_entity.complete_if) else '' end));
end
$$;
revoke all on function tds.make_writer(text) from public;
comment on function tds.make_writer(text) is 'Makes tds.write_<entity>() from the mapping: it writes resolved states.';
