create or replace function tds.met_of(entity tds.entity, me text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.fill($sql$
        select e.first_ord + s.n as ord, s.n::int as position, e.inbox_id, e.received_at, e.alone, e.observed_at, e.rank, e.is_delete,
               v.zoho_id, v.told, v.told_at, v.modified_at, v.hash, s.doc,
               case when v.zoho_id is null or e.is_delete or (v.told_at is null and coalesce(v.told, '') <> '') then 'rest'
                    when k.sync_version is null
                         then case when {{new_if}} and not (tds.may_exceed(s.doc, e.rank = 1) and (tds.excess(s.doc)).reason is not null)
                                   then 'new' else 'rest' end
                    when k.sync_hash = v.hash and k.sync_modified_at is not distinct from v.modified_at and k.deleted_at is null
                         and (k.sync_rank <> 2 or e.rank = 2)
                         and (e.rank <> 3 or tds.tells_less(s.doc, {{detail_key:L}}) is not true) then 'unchanged'
                    else 'rest' end as kind
          from (select x.* from unnest({{me:I}}.events) x
                union all
                -- what is read here is read once: handed over as an array it would be copied at every step
                select y.* from tds.stored_events({{entity:L}}, {{me:I}}.inbox_ids, {{me:I}}.received_ats) y) e
         cross join lateral jsonb_array_elements(e.records) with ordinality s(doc, n)
         cross join lateral tds.versions(s.doc, {{id_key:L}}, e.modified_at, e.rank, e.observed_at) v
          left join lateral (select t.sync_version, t.sync_hash, t.sync_modified_at, t.sync_rank, t.deleted_at
                               from zoho.{{target:I}} t
                              where t.organization_id = {{me:I}}.organization_id
                                and t.{{target_key:I}} between v.zoho_id and v.zoho_id
                              order by t.{{target_key:I}} limit 1) k on true
         where e.first_ord + s.n <> all ({{me:I}}.skip)$sql$,
        jsonb_build_object('me', met_of.me, 'entity', (met_of.entity).entity, 'new_if', (met_of.entity).new_if,
                           'id_key', (met_of.entity).id_key, 'target', (met_of.entity).target, 'target_key', (met_of.entity).target_key,
                           'detail_key', (met_of.entity).detail_key));
end
$$;
comment on function tds.met_of(tds.entity, text) is
'SQL: each record of a batch, from the bodies, with its kind: new, unchanged (by its hash), or rest, for tds.resolve().';

create or replace function tds.inserted_children(entity text, me text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select coalesce(string_agg(tds.fill($sql$, {{list_key:I}} as (
        insert into zoho.{{target:I}} (
               organization_id, {{parent_column:I}}, {{position_column:I}},
               {{columns}}, zoho_metadata, synced_at)
        select own.organization_id, m.zoho_id, e.n,
               {{expressions}},
               e.doc, own.at
          from met m
          join written w on w.zoho_id = m.zoho_id
         cross join (select {{me:I}}.organization_id as organization_id, {{me:I}}.at as at) own
         cross join lateral jsonb_array_elements(coalesce(tds.json_array(m.doc -> {{list_key:L}}), '[]')) with ordinality c(doc, n)
         cross join lateral (select tds.json_row(c.doc) as doc, c.n offset 0) e
         cross join lateral {{fields}} d{{joins}}
         order by m.zoho_id, e.n)$sql$,
                jsonb_build_object(
                    'me', inserted_children.me, 'list_key', c.list_key, 'target', c.target, 'parent_column', c.parent_column,
                    'position_column', c.position_column, 'columns', tds.wrapped(c.columns, 15), 'expressions', c.expressions,
                    'fields', c.fields, 'joins', c.joins)), '' order by c.list_key), '')
              from tds.children_of(inserted_children.entity) c);
end
$$;
comment on function tds.inserted_children(text, text) is 'SQL: the rows of an entity''s arrays, inserted beside those of its records.';

create or replace function tds.make_inserter(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name   constant text := 'insert_' || make_inserter.entity;
    v_entity tds.entity;
    v_made   record;
    v_hooks  jsonb;
begin
    select n.* into strict v_entity from tds.entity n where n.entity = make_inserter.entity;
    select m.* into v_made from tds.parts_of(make_inserter.entity, '') m;
    v_hooks := tds.inserter_hooks(v_entity, v_name);
    perform tds.make(
        v_name,
        'organization_id text, inbox_ids bigint[], received_ats timestamptz[], events tds.event[], skip bigint[], at timestamptz, '
        'out verdicts tds.verdict[], out rest tds.record[], out begun int',
        'record', 'volatile',
        tds.made_comment(format('Inserts those %s of a batch that have no row yet, knows the unchanged ones by their hash, and hands back '
                                'the rest.', make_inserter.entity), 'make_inserter', make_inserter.entity),
        tds.fill($body$
-- A look-up says "between x and x order by" for "= x": only the index that ends in that column gives the order, so the plan
-- is right even if it was made while the table was empty.
{{declare}}begin{{prepare}}
    with met as materialized ({{met}}
    ), twice as (
        select m.zoho_id from met m where m.zoho_id is not null group by m.zoho_id having count(*) > 1
    ), mixed as (
        select from met m where m.kind = 'rest' union all select from twice limit 1
    ), written as (
        insert into zoho.{{target:I}} as t (
            organization_id, {{target_key:I}},
            {{columns}},
            zoho_metadata, synced_at, sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_event)
        select own.organization_id, s.zoho_id,
               {{expressions}},
               s.doc, own.at, 1, s.hash, s.modified_at, s.observed_at, s.rank, case when s.rank <> 2 then s.observed_at end, s.inbox_id
          -- a row that another worker is just inserting fails the statement, and all are resolved then: a rare thing, and an
          -- ON CONFLICT would cost every row a look. All or none: with a rest to be written after them, two workers could wait
          -- for one another
          from (select m.*, null::jsonb as layers
                  from met m where m.kind = 'new' and not exists (select from mixed) order by m.zoho_id offset 0) s
         cross join (select {{me:I}}.organization_id as organization_id, {{me:I}}.at as at) own
         cross join lateral {{fields}} d{{joins}}
         order by s.zoho_id
        returning t.{{target_key:I}} as zoho_id){{children}}
    select array_agg(row(m.ord, m.inbox_id, m.zoho_id, case m.kind when 'new' then 'applied' else m.kind end,
                         m.modified_at, m.observed_at, m.rank,
                         case when m.kind <> 'new' then null
                              when m.rank = 2 and m.modified_at is null then 'webhook without last_modified_time'
                              when m.rank > 1 and tds.lacks_elements(m.doc) then tds.empty_reason()
                              when not m.doc ? {{detail_key:L}} then 'detail older than the record' end,
                         m.observed_at, m.kind = 'new' and m.modified_at is null)::tds.verdict) filter (where m.done),
           array_agg(row(m.ord, m.inbox_id, m.received_at, m.position, m.alone, m.zoho_id, m.modified_at, m.observed_at, m.rank,
                         m.is_delete, m.hash, m.doc)::tds.record order by m.ord) filter (where not m.done),
           (count(*) filter (where m.position = 1))::int{{completed}}
      into {{me:I}}.verdicts, {{me:I}}.rest, {{me:I}}.begun{{into_completed}}
      from (select m.*, m.kind <> 'rest' and case m.kind when 'new' then w.zoho_id is not null
                                                 else m.zoho_id not in (select d.zoho_id from twice d) end as done
              from met m
              left join written w on w.zoho_id = m.zoho_id) m;{{complete}}
end
$body$,
            v_hooks || jsonb_build_object(
                'me', v_name, 'met', tds.met_of(v_entity, v_name), 'target', v_entity.target, 'target_key', v_entity.target_key,
                'columns', tds.wrapped(v_made.columns, 12),
                -- it has been read for the version already; one that was inherited is not told by the document
                'expressions', replace(v_made.expressions, 'tds.json_time(d.last_modified_time)',
                                       'case when s.told <> '''' then s.told_at end'),
                'fields', tds.fields_of(make_inserter.entity, '', 's.doc'), 'joins', v_made.joins,
                'children', tds.inserted_children(make_inserter.entity, v_name), 'detail_key', v_entity.detail_key)));
end
$$;
revoke all on function tds.make_inserter(text) from public;
comment on function tds.make_inserter(text) is
'Makes tds.insert_<entity>() from the mapping: the way of what needs no resolving, from the parsed bodies to the rows in one statement.';

create or replace function tds.inserter_hooks(entity tds.entity, me text) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_none constant jsonb := '{"declare": "", "prepare": "", "completed": "", "into_completed": "", "complete": ""}'::jsonb;
begin
    return v_none
        || case when (inserter_hooks.entity).prepare_new is null then '{}'::jsonb else jsonb_build_object(
                'prepare', tds.fill($sql$
    perform tds.{{prepare_new:I}}({{me:I}}.organization_id);$sql$,
                    jsonb_build_object('me', inserter_hooks.me, 'prepare_new', (inserter_hooks.entity).prepare_new))) end
        || case when (inserter_hooks.entity).complete is null then '{}'::jsonb else jsonb_build_object(
                'declare', E'declare\n    v_written text[];\n', 'into_completed', ', v_written',
                'completed', tds.fill($sql$,
           array_agg(m.zoho_id) filter (where m.done and m.kind = 'new' and ({{complete_if}}))$sql$,
                    jsonb_build_object('complete_if', replace((inserter_hooks.entity).complete_if, 's.doc', 'm.doc'))),
                'complete', tds.fill($sql$
    if v_written is not null then
        perform tds.{{complete:I}}({{me:I}}.organization_id, v_written, {{me:I}}.at);
    end if;$sql$,
                    jsonb_build_object('me', inserter_hooks.me, 'complete', (inserter_hooks.entity).complete))) end;
end
$$;
comment on function tds.inserter_hooks(tds.entity, text) is
'What an inserter does for an entity that prepares or completes its records by functions of its own, by the places of its template.';
