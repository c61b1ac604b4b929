create or replace function tds.make_inserter(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name     constant text := 'insert_' || make_inserter.entity;
    v_entity   tds.entity;
    v_made     record;
    v_children text;
begin
    select n.* into strict v_entity from tds.entity n where n.entity = make_inserter.entity;
    select m.* into v_made from tds.parts_of(make_inserter.entity, '') m;
    select coalesce(string_agg(format($sql$, %1$s as (
        insert into zoho.%2$I (organization_id, %3$I, %4$I, %5$s, zoho_metadata, synced_at)
        select own.organization_id, m.zoho_id, e.n,
               %6$s,
               e.doc, own.at
          from met m
          join written w on w.zoho_id = m.zoho_id
         cross join (select %7$s.organization_id as organization_id, %7$s.at as at) own
         cross join lateral jsonb_array_elements(coalesce(tds.json_array(m.doc -> %1$L), '[]')) with ordinality c(doc, n)
         cross join lateral (select tds.json_object(c.doc) as doc, c.n offset 0) e
         cross join lateral %8$s d%9$s
         order by m.zoho_id, e.n)$sql$,
                c.list_key, c.target, c.parent_column, c.position_column, c.columns, c.expressions, v_name, c.fields, c.joins), '' order by c.list_key), '')
      into v_children
      from tds.children_of(make_inserter.entity) c;

    perform tds.make(
        v_name,
        'organization_id text, inbox_ids bigint[], received_ats timestamptz[], events tds.event[], skip bigint[], at timestamptz, '
        'out verdicts tds.verdict[], out rest tds.record[], out begun int',
        'record', 'volatile',
        format('Inserts those %s of a batch that have no row yet, knows the unchanged ones by their hash, and hands back the rest. Made from the mapping.', make_inserter.entity),
        format($body$
-- A look-up says "between x and x order by" for "= x": only the index that ends in that column gives the order, so the plan
-- is right even if it was made while the table was empty.
%14$sbegin%11$s
    with met as materialized (
        select e.first_ord + s.n as ord, s.n::int as position, e.inbox_id, e.received_at, e.alone, e.observed_at, e.rank, e.is_delete,
               v.zoho_id, v.told, v.modified_at, v.hash, s.doc,
               case when v.zoho_id is null or e.is_delete or (v.modified_at is null and coalesce(v.told, '') <> '') then 'rest'
                    when k.sync_version is null then case when %10$s then 'new' else 'rest' end
                    when k.sync_hash = v.hash and k.sync_modified_at is not distinct from v.modified_at and k.deleted_at is null then 'unchanged'
                    else 'rest' end as kind
          from (select x.* from unnest(%1$s.events) x
                union all
                -- what is read here is read once: handed over as an array it would be copied at every step
                select y.* from tds.stored_events(%1$s.inbox_ids, %1$s.received_ats) y) e
         cross join lateral jsonb_array_elements(e.records) with ordinality s(doc, n)
         cross join lateral tds.versions(s.doc, %12$L, e.modified_at, e.rank) v
          left join lateral (select t.sync_version, t.sync_hash, t.sync_modified_at, t.deleted_at
                               from zoho.%2$I t
                              where t.organization_id = %1$s.organization_id and t.%3$I between v.zoho_id and v.zoho_id
                              order by t.%3$I limit 1) k on true
         where e.first_ord + s.n <> all (%1$s.skip)
    ), twice as (
        select m.zoho_id from met m where m.zoho_id is not null group by m.zoho_id having count(*) > 1
    ), mixed as (
        select from met m where m.kind = 'rest' union all select from twice limit 1
    ), written as (
        insert into zoho.%2$I as t (
            organization_id, %3$I, %4$s,
            zoho_metadata, synced_at, sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at)
        select own.organization_id, s.zoho_id,
               %5$s,
               s.doc, own.at, 1, s.hash, s.modified_at, s.observed_at, s.rank, case when s.rank <> 2 then s.observed_at end
          -- a row that another worker is just inserting fails the statement, and all are resolved then: a rare thing, and an
          -- ON CONFLICT would cost every row a look. All or none: with a rest to be written after them, two workers could wait for one another
          from (select m.*, null::jsonb as layers from met m where m.kind = 'new' and not exists (select from mixed) order by m.zoho_id offset 0) s
         cross join (select %1$s.organization_id as organization_id, %1$s.at as at) own
         cross join lateral %6$s d%7$s
         order by s.zoho_id
        returning t.%3$I as zoho_id)%8$s
    select array_agg(row(m.ord, m.inbox_id, m.zoho_id, case m.kind when 'new' then 'applied' else m.kind end,
                         m.modified_at, m.observed_at, m.rank,
                         case when m.kind <> 'new' then null
                              when m.rank = 2 and m.modified_at is null then 'webhook without last_modified_time'
                              when not m.doc ? %9$L then 'detail older than the record' end,
                         m.observed_at, m.kind = 'new' and m.modified_at is null)::tds.verdict) filter (where m.done),
           array_agg(row(m.ord, m.inbox_id, m.received_at, m.position, m.alone, m.zoho_id, m.modified_at, m.observed_at, m.rank,
                         m.is_delete, m.hash, m.doc)::tds.record order by m.ord) filter (where not m.done),
           (count(*) filter (where m.position = 1))::int%15$s
      from (select m.*, m.kind <> 'rest' and case m.kind when 'new' then w.zoho_id is not null
                                                 else m.zoho_id not in (select d.zoho_id from twice d) end as done
              from met m
              left join written w on w.zoho_id = m.zoho_id) m;%13$s
end
$body$,
            v_name, v_entity.target, v_entity.target_key, v_made.columns,
            -- it has been read for the version already; one that was inherited is not told by the document
            replace(v_made.expressions, 'tds.json_time(d.last_modified_time)', 'case when s.told <> '''' then s.modified_at end'),
            tds.fields_of(make_inserter.entity, '', 's.doc'), v_made.joins,
            v_children, v_entity.detail_key, v_entity.new_if,
            case when v_entity.prepare_new is not null then format(E'\n    perform tds.%I(%s.organization_id);', v_entity.prepare_new, v_name) else '' end,
            v_entity.id_key,
            case when v_entity.complete is not null
                 then format(E'\n    if v_written is not null then\n        perform tds.%I(%s.organization_id, v_written, %2$s.at);\n    end if;', v_entity.complete, v_name) else '' end,
            case when v_entity.complete is not null then E'declare\n    v_written text[];\n' else '' end,
            case when v_entity.complete is not null
                 then format(E',\n           array_agg(m.zoho_id) filter (where m.done and m.kind = ''new'' and (%s))\n      into %s.verdicts, %2$s.rest, %2$s.begun, v_written',
                             replace(v_entity.complete_if, 's.doc', 'm.doc'), v_name)
                 else format(E'\n      into %s.verdicts, %1$s.rest, %1$s.begun', v_name) end));
end
$$;
revoke all on function tds.make_inserter(text) from public;
comment on function tds.make_inserter(text) is
'Makes tds.insert_<entity>() from the mapping: the way of what needs no resolving, from the parsed bodies to the rows in one statement.';
