create or replace function tds.states_of_writer(me text) returns text
language sql immutable
as $$
    select format('unnest(%1$I.organization_ids, %1$I.states) with ordinality s(
               organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers, inbox_id, n)', $1)
$$;
comment on function tds.states_of_writer(text) is
'SQL: the states that a writer was given, each with its organisation and its place (n).';

create or replace function tds.written_children(child_of text, child text, source text, me text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select tds.fill($sql${{list_key}}_differing as materialized (
        -- the elements beside the rows there are, record by record: what is the same is neither locked nor written
        select own.organization_id, s.zoho_id, e.*, own.at
          from {{source}}
         cross join lateral (select s.organization_id, {{me:I}}.at as at) own
         cross join lateral (
               select coalesce(w.position, k.position) as position, w.position is null as is_gone, k.position is not null as is_known,
                      w.doc,
                      {{wanted_columns}}
                 from (select e.n::int as position, e.doc,
                              {{named}}
                         from jsonb_array_elements(coalesce(tds.json_array(s.doc -> {{list_key:L}}), '[]')) with ordinality c(doc, n)
                        cross join lateral (select tds.json_row(c.doc) as doc, c.n offset 0) e
                        cross join lateral {{fields}} d{{joins}}
                       offset 0) w
                 full join (select t.{{position_column:I}} as position, t.zoho_metadata,
                                   {{known_columns}}
                              from zoho.{{target:I}} t
                             where t.organization_id = s.organization_id and t.{{parent_column:I}} between s.zoho_id and s.zoho_id
                               -- an empty array is no statement against the document's own sums
                               and not (tds.is_blank_list(s.doc -> {{list_key:L}}) and tds.lacks_elements(s.doc))
                             order by t.{{parent_column:I}}, t.{{position_column:I}} offset 0) k on k.position = w.position
                where w.position is null or k.position is null
                   or k.zoho_metadata is distinct from w.doc{{differs}}
               offset 0) e
    ), {{list_key}}_held as materialized (
        -- in key order before any is written: what goes and what stays are two sets, and who links them takes both in one
        select h.place, g.is_gone
          from (select l.organization_id, l.zoho_id, l.position, l.is_gone
                  from {{list_key}}_differing l where l.is_known
                 order by l.organization_id, l.zoho_id, l.position offset 0) g
         cross join lateral (select t.ctid as place from zoho.{{target:I}} t
                              -- between bounds of the document as well all of its lines would be gone through for each
                              where t.organization_id = g.organization_id
                                and t.{{parent_column:I}} = g.zoho_id
                                and t.{{position_column:I}} between g.position and g.position
                              order by t.{{position_column:I}}
                                for update) h
    ), {{list_key}}_written as (
        insert into zoho.{{target:I}} as t (
               organization_id, {{parent_column:I}}, {{position_column:I}},
               {{columns}}, zoho_metadata, synced_at)
        select w.organization_id, w.zoho_id, w.position,
               {{written_columns}}, w.doc, w.at
          from {{list_key}}_differing w
         where not w.is_gone and (select count(*) from {{list_key}}_held) >= 0
         order by w.organization_id, w.zoho_id, w.position
        on conflict on constraint {{primary_key:I}} do update
           set {{updates}}, zoho_metadata = excluded.zoho_metadata, synced_at = excluded.synced_at)$sql$,
                jsonb_build_object(
                    'me', written_children.me, 'source', written_children.source, 'target', c.target,
                    'primary_key', c.target || '_pkey', 'list_key', c.list_key,
                    'parent_column', c.parent_column, 'position_column', c.position_column,
                    'columns', tds.wrapped(c.columns, 15),
                    'wanted_columns', tds.wrapped(tds.qualified('w', c.columns), 22),
                    'known_columns', tds.wrapped(tds.qualified('t', c.columns), 35),
                    'written_columns', tds.wrapped(tds.qualified('w', c.columns), 15),
                    'named', replace(c.named, E'\n               ', E'\n                              '),
                    'fields', c.fields, 'joins', c.joins,
                    'updates', tds.wrapped(c.updates, 15),
                    'differs', (select string_agg(format(E'\n                   or k.%I is distinct from w.%1$I', k.column_name), ''
                                                  order by k.column_name)
                                  from tds.columns_of(written_children.child_of, c.list_key) k)))
          from tds.children_of(written_children.child_of) c
         where c.list_key = written_children.child);
end
$$;
comment on function tds.written_children(text, text, text, text) is
'SQL: the queries that make the rows of an array (child) of an entity (child_of) what the documents of source (an item of FROM, alias s) '
'have in it. Those named <array>_held say by is_gone which rows are left to be deleted, by their places, which are locked.';

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
            v_name, 'organization_ids text[], states tds.record_state[], written bigint[], at timestamptz', 'void', 'volatile',
            tds.made_comment(
                format('Makes the rows of %s what these %s list in %s.', v_child.target, make_child_writers.entity, v_child.list_key),
                'make_child_writers', make_child_writers.entity),
            tds.fill($body$
declare
    v_gone tid[];
begin
    with {{written}}
    select array_agg(h.place order by h.place) into v_gone from {{list_key}}_held h where h.is_gone;
    if v_gone is not null then
        delete from zoho.{{target:I}} t where t.ctid = any (v_gone);
    end if;
end
$body$,
                jsonb_build_object(
                    'list_key', v_child.list_key, 'target', v_child.target,
                    'written', tds.written_children(
                        make_child_writers.entity, v_child.list_key, tds.fill($sql$(select u.*
                  from {{states}}
                 where case when u.n in (select w.n from unnest({{me:I}}.written) w(n)) then true end) s$sql$,
                            jsonb_build_object('me', v_name, 'states', replace(tds.states_of_writer(v_name), ' s(', ' u('))),
                        v_name))));
    end loop;
end
$$;
revoke all on function tds.make_child_writers(text) from public;
comment on function tds.make_child_writers(text) is
'Makes tds.write_<entity>_<array>() for each array of the entity that has a table of its own.';

create or replace function tds.after_writing(entity tds.entity, me text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return
        (select coalesce(string_agg(tds.fill($sql$
    perform tds.{{writer:I}}({{me:I}}.organization_ids, {{me:I}}.states, v_written, {{me:I}}.at);$sql$,
                                             jsonb_build_object('me', after_writing.me,
                                                                'writer', format('write_%s_%s', c.entity, c.list_key))),
                                    '' order by c.list_key), '')
           from tds.child c where c.entity = (after_writing.entity).entity)
        || case when (after_writing.entity).complete is null then '' else tds.fill($sql$
    perform tds.{{complete:I}}(array_agg(s.organization_id), array_agg(s.zoho_id), {{me:I}}.at)
       from {{states}}
      where s.n in (select unnest(v_written)) and ({{complete_if}})
     having count(*) > 0;$sql$,
                jsonb_build_object('states', tds.states_of_writer(after_writing.me), 'me', after_writing.me,
                                   'complete', (after_writing.entity).complete,
                                   'complete_if', (after_writing.entity).complete_if)) end;
end
$$;
comment on function tds.after_writing(tds.entity, text) is
'What a writer calls once the records'' own rows are written: the writers of their arrays, and what completes the entity.';

create or replace function tds.noted_change(entity tds.entity, me text, source text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.fill($sql$
        insert into tds.record_history (
            organization_id, target, zoho_id, kind, changed_at, written_at, inbox_id, back, was_version, was_hash, was_modified_at,
            was_observed_at, was_rank, was_read_at, was_layers, was_deleted_at, was_synced_at, was_event)
        select s.organization_id, {{target:L}}, s.zoho_id, k.kind,
               case k.kind
                   when 'deleted' then s.deleted_at
                   when 'revived' then greatest(s.modified_at, s.read_at, s.observed_at)
                   when 'completed' then case when s.modified_at > b.sync_modified_at then s.modified_at end
                   else case when s.modified_at > coalesce(b.sync_modified_at, '-infinity') then s.modified_at else s.observed_at end end,
               {{me:I}}.at, s.inbox_id, d.back, b.sync_version, b.sync_hash, b.sync_modified_at,
               b.sync_observed_at, b.sync_rank, b.sync_read_at, b.sync_layers, b.deleted_at, b.synced_at, b.sync_event
          from {{source}}
         cross join lateral tds.put_back(b.zoho_metadata, s.doc) d
         cross join lateral (select case when s.deleted_at is not null and b.deleted_at is null then 'deleted'
                                         when s.deleted_at is null and b.deleted_at is not null then 'revived'
                                         when tds.only_completes(d.back, b.sync_layers, s.modified_at) then 'completed'
                                         else 'changed' end as kind offset 0) k
         where v_is_kept and b.sync_version = s.version - 1
         order by s.organization_id, s.zoho_id$sql$,
        jsonb_build_object('me', noted_change.me, 'source', noted_change.source, 'target', (noted_change.entity).target));
end
$$;
comment on function tds.noted_change(tds.entity, text, text) is
'SQL: what the rows that are written over were, into tds.record_history, where it is kept. source, items of FROM: s, the states written, '
'each with its organisation; b, the rows that they are written over.';

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
        v_name, 'organization_ids text[], states tds.record_state[], at timestamptz', 'bigint[]', 'volatile',
        tds.made_comment(
            format('Writes %s in key order, each of the organisation told beside it and only over the version it was resolved from; '
                   'returns the places of those written.', make_writer.entity),
            'make_writer', make_writer.entity),
        tds.fill($body$
declare
    v_written bigint[];
    v_is_kept constant boolean := tds.keeps_history({{target:L}});
begin{{prepare}}
    with {{owner}}written as (
        insert into zoho.{{target:I}} as t (
            organization_id, {{target_key:I}},
            {{columns}},
            zoho_metadata, synced_at, deleted_at,
            sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_layers, sync_event)
        select own.organization_id, s.zoho_id,
               {{expressions}},
               s.doc, own.at, s.deleted_at, s.version, s.hash, s.modified_at, s.observed_at, s.rank, s.read_at, s.layers, s.inbox_id
          from {{states}}
         cross join lateral (select s.organization_id, {{me:I}}.at as at) own
         cross join lateral {{fields}} d{{joins}}
         where {{only_if}}
         order by s.organization_id, s.zoho_id
        on conflict on constraint {{primary_key:I}} do update
           set {{updates}},
               zoho_metadata = excluded.zoho_metadata, synced_at = excluded.synced_at, deleted_at = excluded.deleted_at,
               sync_version = excluded.sync_version, sync_hash = excluded.sync_hash, sync_modified_at = excluded.sync_modified_at,
               sync_observed_at = excluded.sync_observed_at, sync_rank = excluded.sync_rank, sync_read_at = excluded.sync_read_at,
               sync_layers = excluded.sync_layers, sync_event = excluded.sync_event
         where t.sync_version = excluded.sync_version - 1
        returning t.organization_id, t.{{target_key:I}} as zoho_id), noted as ({{noted}})
    select coalesce(array_agg(s.n) filter (where (s.organization_id, s.zoho_id) in (
               select w.organization_id, w.zoho_id from written w)), '{}')
      into v_written
      from {{states}};{{after_writing}}
    return v_written;
end
$body$,
            jsonb_build_object(
                'me', v_name, 'states', tds.states_of_writer(v_name), 
                'owner', tds.owner_of(make_writer.entity, format('unnest(%I.organization_ids) u(organization_id)', v_name)),
                'target', v_entity.target, 'target_key', v_entity.target_key, 'primary_key', v_entity.target || '_pkey',
                'columns', tds.wrapped(v_made.columns, 12), 'expressions', v_made.expressions,
                'fields', tds.fields_of(make_writer.entity, '', 's.doc'), 'joins', v_made.joins, 'only_if', v_entity.only_if,
                'updates', tds.wrapped(v_made.updates, 15), 'after_writing', tds.after_writing(v_entity, v_name),
                -- the row as the statement found it, which is the one that was written over: its version is the one resolved from
                'noted', tds.noted_change(v_entity, v_name, tds.fill($sql${{states}}
          join written w on w.organization_id = s.organization_id and w.zoho_id = s.zoho_id
         cross join lateral (select t.* from zoho.{{target:I}} t
                              where t.organization_id = s.organization_id
                                and t.{{target_key:I}} between s.zoho_id and s.zoho_id
                              order by t.{{target_key:I}} limit 1) b$sql$,
                    jsonb_build_object('states', tds.states_of_writer(v_name), 'target', v_entity.target,
                                       'target_key', v_entity.target_key))),
                'prepare', case when v_entity.prepare is null then '' else tds.fill($sql$
    perform tds.{{prepare:I}}({{me:I}}.organization_ids, {{me:I}}.states);$sql$,
                                jsonb_build_object('me', v_name, 'prepare', v_entity.prepare)) end)));
end
$$;
revoke all on function tds.make_writer(text) from public;
comment on function tds.make_writer(text) is 'Makes tds.write_<entity>() from the mapping: it writes resolved states.';
