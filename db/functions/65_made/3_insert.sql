create or replace function tds.met_of(entity tds.entity, me text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.fill($sql$
        select e.organization_id, e.first_ord + s.n as ord, s.n::int as position, e.inbox_id,
               e.received_at, e.alone, e.observed_at, e.rank, e.is_delete,
               v.zoho_id, v.told, v.told_at, v.modified_at, v.hash, s.doc, x.kind{{known}}
          from (select x.* from unnest({{me:I}}.events) x
                union all
                -- what is read here is read once: handed over as an array it would be copied at every step
                select y.* from tds.stored_events({{entity:L}}, {{me:I}}.inbox_ids, {{me:I}}.received_ats) y) e
         cross join lateral (select case when e.look_closer and {{me:I}}.events is null then tds.unlooked(e.records)
                                         else e.records end as told offset 0) r
         cross join lateral (
               select a.doc, a.n
                 from jsonb_array_elements(case when jsonb_typeof(r.told) = 'array' then r.told end) with ordinality a(doc, n)
                union all
               select r.told, 1 where jsonb_typeof(r.told) = 'object') s
         cross join lateral tds.versions(s.doc, {{id_key:L}}, e.modified_at, e.rank, e.observed_at) v
          left join lateral (select t.*, t.ctid as place from zoho.{{target:I}} t
                              where t.organization_id = e.organization_id
                                and t.{{target_key:I}} between v.zoho_id and v.zoho_id
                              order by t.{{target_key:I}} limit 1) k on true
         cross join lateral (select
               case when v.zoho_id is null or e.is_delete or (v.told_at is null and coalesce(v.told, '') <> '') then 'rest'
                    when k.sync_version is null
                         then case when {{new_if}} and not (tds.may_exceed(s.doc, e.rank = 1) and (tds.excess(s.doc)).reason is not null)
                                   then 'new' else 'rest' end
                    when k.deleted_at is not null or e.rank = 3 and tds.tells_less(s.doc, {{detail_key:L}}) then 'rest'
                    when {{says_nothing}} then 'unchanged'{{over}}
                    else 'rest' end as kind offset 0) x
         where e.first_ord + s.n <> all ({{me:I}}.skip)$sql$,
        jsonb_build_object('me', met_of.me, 'entity', (met_of.entity).entity, 'new_if', (met_of.entity).new_if,
                           'id_key', (met_of.entity).id_key, 'target', (met_of.entity).target, 'target_key', (met_of.entity).target_key,
                           'detail_key', (met_of.entity).detail_key,
                           'says_nothing', tds.says_nothing('k', 'v.modified_at', 'e.rank', 'v.hash', 's.doc'),
                           'over', case when tds.over_if(met_of.entity) is null then '' else tds.fill($sql$
                    -- of one moment it may be told otherwise, which is looked at closer; a read that came after a hint has the last word
                    when (v.modified_at <> k.sync_modified_at or k.sync_rank = 2 and e.rank <> 2)
                         and {{is_later}}
                         and not tds.may_exceed(s.doc, e.rank = 1){{over_if}} then 'over'$sql$,
                               jsonb_build_object(
                                   'over_if', coalesce(E'\n                         and '
                                                       || nullif(tds.over_if(met_of.entity), 'true'), ''),
                                   'is_later', tds.is_later('k', 'v.modified_at', 'e.observed_at', 'e.rank'))) end,
                           'known', case when tds.over_if(met_of.entity) is null then '' else tds.fill($sql$,
               case when x.kind = 'over' then k.place end as place, case when x.kind = 'over' then k.synced_at end as was_synced_at,
               case when x.kind = 'over'
                    -- uncompressed once, not once a mention
                    then row(v.zoho_id, k.zoho_metadata || '{}', k.sync_version, k.sync_hash, k.sync_modified_at,
                             k.sync_observed_at, k.sync_rank, k.sync_read_at, null, k.sync_layers, k.sync_event
                         )::tds.record_state end as known$sql$, '{}') end));
end
$$;
comment on function tds.met_of(tds.entity, text) is
'SQL: each record of a batch, from the bodies, with its kind: new, unchanged, over (later than all that its row knows, of entities that '
'tds.over_if() tells), or rest, for tds.resolve().';

create or replace function tds.over_if(entity tds.entity) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(($1).over_if, case when ($1).prepare is null and ($1).only_if = 'true' then 'true' end)
$$;
comment on function tds.over_if(tds.entity) is
'SQL over s, a record, and k, its row: when an edit of the entity may take the short way; null: never.';

create or replace function tds.updated_rows(entity tds.entity, me text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if tds.over_if(updated_rows.entity) is null then
        return '';
    end if;
    return (select tds.fill($sql$, over as materialized (
        -- after the inserts: two sets, each in key order, and in every session the same one first
        select m.organization_id, m.ord, m.place, m.told, m.told_at, p.state, p.verdict,
               case when v_is_kept then m.known end as known, m.was_synced_at
          from met m
         cross join lateral tds.plainly('over', row(m.ord, m.inbox_id, m.received_at, m.position, m.alone, m.zoho_id, m.modified_at,
             m.observed_at, m.rank, m.is_delete, m.hash, m.doc, m.organization_id)::tds.record, m.known, false, {{detail_key:L}}) p
         where m.kind = 'over' and not exists (select from mixed) and (select count(*) from written) >= 0
    ), updated as (
        update zoho.{{target:I}} t
           set {{sets}},
               zoho_metadata = s.doc, synced_at = own.at, sync_version = s.version, sync_hash = s.hash,
               sync_modified_at = s.modified_at, sync_observed_at = s.observed_at, sync_rank = s.rank, sync_read_at = s.read_at,
               sync_layers = s.layers, sync_event = s.inbox_id
          from (select o.organization_id, o.ord, o.place, o.told, o.told_at, (o.state).* from over o
                 order by o.organization_id, (o.state).zoho_id offset 0) s
         cross join lateral (select s.organization_id, {{me:I}}.at as at) own
         cross join lateral {{fields}} d{{joins}}
         -- the version that was read, in its place: what another worker wrote meanwhile is looked at again
         where t.ctid = s.place and t.organization_id = own.organization_id and t.{{target_key:I}} = s.zoho_id
           and t.sync_version = s.version - 1
        returning s.ord), noted as ({{noted}}){{children}}$sql$,
                jsonb_build_object(
                    'me', updated_rows.me, 'target', (updated_rows.entity).target, 'target_key', (updated_rows.entity).target_key,
                    'detail_key', (updated_rows.entity).detail_key,
                    -- what the record tells has been read for its version already
                    'sets', string_agg(format('%I = %s', k.column_name, replace(
                                k.expression, 'tds.json_time(d.last_modified_time)',
                                'case when s.told <> '''' then s.told_at else tds.json_time(d.last_modified_time) end')),
                                       E',\n               ' order by k.column_name)
                                filter (where k.column_name not in (select unnest(tds.key_columns((updated_rows.entity).target)))),
                    'fields', tds.fields_of((updated_rows.entity).entity, '', 's.doc'),
                    'joins', (select m.joins from tds.parts_of((updated_rows.entity).entity, '') m),
                    'noted', tds.noted_change(updated_rows.entity, updated_rows.me, format($sql$%s
         cross join lateral (select (s.known).doc as zoho_metadata, (s.known).version as sync_version, (s.known).hash as sync_hash,
                                    (s.known).modified_at as sync_modified_at, (s.known).observed_at as sync_observed_at,
                                    (s.known).rank as sync_rank, (s.known).read_at as sync_read_at, (s.known).layers as sync_layers,
                                    (s.known).deleted_at, s.was_synced_at as synced_at, (s.known).inbox_id as sync_event) b$sql$,
                        tds.states_over('known, o.was_synced_at'))),
                    'children', (select coalesce(string_agg(', ' || tds.written_children(c.entity, c.list_key, tds.states_over(),
                                                                                         updated_rows.me), '' order by c.list_key), '')
                                   from tds.child c where c.entity = (updated_rows.entity).entity)))
              from tds.columns_of((updated_rows.entity).entity, '') k);
end
$$;
comment on function tds.updated_rows(tds.entity, text) is
'SQL: the rows that a later record is written over, with what hangs on them, beside those that are inserted.';

create or replace function tds.states_over(further text default null) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select format($sql$(select o.organization_id, (o.state).*%s
                  from over o
                 where case when o.ord in (select u.ord from updated u) then true end) s$sql$, ', o.' || $1)
$$;
comment on function tds.states_over(text) is
'SQL: the states that an inserter has written over rows, each with its organisation, and what else of the query over is asked for.';

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
          join written w on w.organization_id = m.organization_id and w.zoho_id = m.zoho_id
         cross join lateral (select m.organization_id, {{me:I}}.at as at) own
         cross join lateral jsonb_array_elements(coalesce(tds.json_array(m.doc -> {{list_key:L}}), '[]')) with ordinality c(doc, n)
         cross join lateral (select tds.json_row(c.doc) as doc, c.n offset 0) e
         cross join lateral {{fields}} d{{joins}}
         order by m.organization_id, m.zoho_id, e.n)$sql$,
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
begin
    select n.* into strict v_entity from tds.entity n where n.entity = make_inserter.entity;
    select m.* into v_made from tds.parts_of(make_inserter.entity, '') m;
    perform tds.make(
        v_name,
        'inbox_ids bigint[], received_ats timestamptz[], events tds.event[], skip bigint[], at timestamptz, '
        'out verdicts tds.verdict[], out rest tds.record[], out begun int',
        'record', 'volatile',
        tds.made_comment(format('Writes those %s of a batch that have no row yet%s, knows the unchanged ones, and hands back the rest.',
                                make_inserter.entity,
                                case when tds.over_if(v_entity) is not null then ' or are later than all that it knows' else '' end),
                         'make_inserter', make_inserter.entity),
        tds.fill($body$
-- A look-up says "between x and x order by" for "= x": only the index that ends in that column gives the order, so the plan
-- is right even if it was made while the table was empty.
{{declare}}begin
    with met as materialized ({{met}}
    ), twice as (
        select m.organization_id, m.zoho_id from met m where m.zoho_id is not null
         group by m.organization_id, m.zoho_id having count(*) > 1
    ), mixed as (
        select from met m where m.kind = 'rest' union all select from twice limit 1
    ), {{owner}}written as (
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
                  from met m where m.kind = 'new' and not exists (select from mixed)
                 order by m.organization_id, m.zoho_id offset 0) s
         cross join lateral (select s.organization_id, {{me:I}}.at as at) own
         cross join lateral {{fields}} d{{joins}}
         order by s.organization_id, s.zoho_id
        returning t.organization_id, t.{{target_key:I}} as zoho_id){{children}}{{updated}}
    select array_agg({{verdict}}) filter (where m.done),
           array_agg(row(m.ord, m.inbox_id, m.received_at, m.position, m.alone, m.zoho_id, m.modified_at, m.observed_at, m.rank,
                         m.is_delete, m.hash, m.doc, m.organization_id)::tds.record order by m.ord) filter (where not m.done),
           (count(*) filter (where m.position = 1))::int{{completed}}
      into {{me:I}}.verdicts, {{me:I}}.rest, {{me:I}}.begun{{into_completed}}
      from (select m.*{{of_over}}, m.kind <> 'rest' and case m.kind when 'new' then n.are_written{{over_done}}
                                                 else (m.organization_id, m.zoho_id) not in (
                                                     select d.organization_id, d.zoho_id from twice d) end as done
              from met m
             -- all or none
             cross join (select (select count(*) from written)
                                = (select count(*) from met m where m.kind = 'new') as are_written) n{{join_over}}) m;{{complete}}
end
$body$,
            tds.inserter_hooks(v_entity, v_name) || tds.inserter_verdict(v_entity) || jsonb_build_object(
                'me', v_name, 'owner', tds.owner_of(make_inserter.entity, 'met u'), 'met', tds.met_of(v_entity, v_name),
                'target', v_entity.target, 'target_key', v_entity.target_key,
                'columns', tds.wrapped(v_made.columns, 12),
                -- it has been read for the version already; one that was inherited is not told by the document
                'expressions', replace(v_made.expressions, 'tds.json_time(d.last_modified_time)',
                                       'case when s.told <> '''' then s.told_at end'),
                'fields', tds.fields_of(make_inserter.entity, '', 's.doc'), 'joins', v_made.joins,
                'children', tds.inserted_children(make_inserter.entity, v_name), 'updated', tds.updated_rows(v_entity, v_name))));
end
$$;
revoke all on function tds.make_inserter(text) from public;
comment on function tds.make_inserter(text) is
'Makes tds.insert_<entity>() from the mapping: the way of what needs no resolving, from the parsed bodies to the rows in one statement, '
'whichever organisations they are of.';

create or replace function tds.inserter_verdict(entity tds.entity) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_new constant text := tds.fill($sql$row(m.ord, m.inbox_id, m.zoho_id, case m.kind when 'new' then 'applied' else m.kind end,
                         m.modified_at, m.observed_at, m.rank,
                         case when m.kind <> 'new' then null
                              when m.rank = 2 and m.modified_at is null then 'webhook without last_modified_time'
                              when tds.lacks_elements(m.doc) then tds.empty_reason()
                              when not m.doc ? {{detail_key:L}} then 'detail older than the record' end,
                         m.observed_at, m.kind = 'new' and m.modified_at is null, m.organization_id)::tds.verdict$sql$,
        jsonb_build_object('detail_key', (inserter_verdict.entity).detail_key));
begin
    if tds.over_if(inserter_verdict.entity) is null then
        return jsonb_build_object('verdict', v_new, 'of_over', '', 'over_done', '', 'join_over', '');
    end if;
    return jsonb_build_object(
        'verdict', format('case when m.kind = ''over'' then m.verdict else %s end', v_new),
        'of_over', ', o.state, o.verdict',
        'over_done', E'\n                                                           '
                     'when ''over'' then m.ord in (select u.ord from updated u)',
        'join_over', E'\n              left join over o on o.ord = m.ord');
end
$$;
comment on function tds.inserter_verdict(tds.entity) is
'The verdict of an inserter on a record, and where it comes from, by the places of its template.';

create or replace function tds.inserter_hooks(entity tds.entity, me text) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_is_short constant boolean := tds.over_if(inserter_hooks.entity) is not null;
    v_hooks    record;
    v_children record;
begin
    select array_remove(array[case when (inserter_hooks.entity).complete is not null then 'v_owners  text[];' end,
                              case when (inserter_hooks.entity).complete is not null then 'v_written text[];' end,
                              case when v_is_short then format('v_is_kept constant boolean := tds.keeps_history(%L);',
                                                               (inserter_hooks.entity).target) end], null) as declared,
           case when (inserter_hooks.entity).complete is null then '' else tds.fill($sql$,
           array_agg(m.organization_id) filter (where m.done and m.kind in ('new', 'over') and ({{complete_if}})),
           array_agg(m.zoho_id) filter (where m.done and m.kind in ('new', 'over') and ({{complete_if}}))$sql$,
               jsonb_build_object('complete_if', replace((inserter_hooks.entity).complete_if, 's.doc',
                   case when v_is_short then 'coalesce((m.state).doc, m.doc)' else 'm.doc' end))) end as completed,
           case when (inserter_hooks.entity).complete is null then '' else ', v_owners, v_written' end as into_completed,
           case when (inserter_hooks.entity).complete is null then '' else tds.fill($sql$
    if v_written is not null then
        perform tds.{{complete:I}}(v_owners, v_written, {{me:I}}.at);
    end if;$sql$, jsonb_build_object('me', inserter_hooks.me, 'complete', (inserter_hooks.entity).complete)) end as complete
      into v_hooks;
    -- what the arrays of later records no longer have
    select coalesce(array_agg(format('v_gone_%s tid[];', c.list_key) order by c.list_key), '{}') as declared,
           coalesce(string_agg(format(E',\n           (select array_agg(h.place order by h.place) from %s_held h where h.is_gone)',
                                      c.list_key), '' order by c.list_key), '') as completed,
           coalesce(string_agg(format(', v_gone_%s', c.list_key), '' order by c.list_key), '') as into_completed,
           coalesce(string_agg(tds.fill($sql$
    if v_gone_{{list_key}} is not null then
        delete from zoho.{{target:I}} t where t.ctid = any (v_gone_{{list_key}});
    end if;$sql$, jsonb_build_object('list_key', c.list_key, 'target', c.target)), '' order by c.list_key), '') as complete
      into v_children
      from tds.child c where c.entity = (inserter_hooks.entity).entity and v_is_short;
    return jsonb_build_object(
        'declare', coalesce(E'declare\n    ' || nullif(array_to_string(v_hooks.declared || v_children.declared, E'\n    '), '')
                            || E'\n', ''),
        'completed', v_hooks.completed || v_children.completed,
        'into_completed', v_hooks.into_completed || v_children.into_completed,
        'complete', v_children.complete || v_hooks.complete);
end
$$;
comment on function tds.inserter_hooks(tds.entity, text) is
'What an inserter does for an entity once its statement is done, by the places of its template: rows that are gone from its arrays, and '
'the function that completes its records.';
