-- After a mapping change: which rows the mapping makes differently now, and writing those anew.

create or replace function tds.readable_states(entity text, states tds.record_state[]) returns tds.record_state[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        select s
          from unnest(readable_states.states) s
         where s.zoho_id not in (
               select n.zoho_id
                 from unnest(readable_states.states) with ordinality n(zoho_id, doc, version, hash, modified_at, observed_at, rank,
                                                                     read_at, deleted_at, layers, inbox_id, ord)
                 join tds.culprits(readable_states.entity, array(
                          select row(o.ord, 0, null, 1, true, o.zoho_id, o.modified_at, o.observed_at, o.rank, false, o.hash,
                                     o.doc, null)::tds.record
                            from unnest(readable_states.states) with ordinality o(zoho_id, doc, version, hash, modified_at, observed_at,
                                                                                rank, read_at, deleted_at, layers, inbox_id, ord))) c
                   on c.ord = n.ord));
end
$$;
comment on function tds.readable_states(text, tds.record_state[]) is 'Those states whose documents the mapping can read.';

create or replace function tds.derive_readable(
    entity text, organization_id text, states tds.record_state[], out readable tds.record_state[], out derivations tds.derivation[])
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    derive_readable.readable := array(select s from unnest(derive_readable.states) s where tds.is_sound(s));
    begin
        derive_readable.derivations := array(
            select v from tds.derive_states(derive_readable.entity, derive_readable.organization_id, derive_readable.readable) v);
    exception when others then
        if not tds.is_data_error(sqlstate) then
            raise;
        end if;
        derive_readable.readable := tds.readable_states(derive_readable.entity, derive_readable.readable);
        derive_readable.derivations := array(
            select v from tds.derive_states(derive_readable.entity, derive_readable.organization_id, derive_readable.readable) v);
    end;
    derive_readable.derivations := array(select v from unnest(derive_readable.derivations) v where v.before is distinct from v.after);
end
$$;
revoke all on function tds.derive_readable(text, text, tds.record_state[]) from public;
comment on function tds.derive_readable(text, text, tds.record_state[]) is
'Of these states those whose documents the mapping can read, and those of their rows that it makes differently.';

create or replace function tds.differing(
    entity text, organization_id text, after text, batch int, everything boolean,
    out states tds.record_state[], out derivations tds.derivation[], out last_id text, out looked int, out refused int)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_all      constant tds.record_state[] := tds.stored_states(differing.entity, differing.organization_id, differing.after,
                                                                differing.batch);
    v_readable tds.record_state[];
begin
    differing.looked := cardinality(v_all);
    differing.last_id := v_all[cardinality(v_all)].zoho_id;
    select d.readable, d.derivations into v_readable, differing.derivations
      from tds.derive_readable(differing.entity, differing.organization_id, v_all) d;
    differing.refused := cardinality(v_all) - cardinality(v_readable);
    differing.states := array(
        select row(s.zoho_id, s.doc, s.version + 1, s.hash, s.modified_at, s.observed_at, s.rank, s.read_at, s.deleted_at,
                   s.layers, s.inbox_id)::tds.record_state
          from unnest(v_readable) s
         where differing.everything or s.zoho_id in (select v.zoho_id from unnest(differing.derivations) v)
         order by s.zoho_id);
end
$$;
comment on function tds.differing(text, text, text, int, boolean) is
'Of the next rows after that id, those that the mapping makes differently of their documents, ready to be written (everything: all of '
'them); refused: documents it cannot read.';

create or replace function tds.derivation_differences(entity text, derivations tds.derivation[]) returns setof tds.difference
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tables constant text[] := array(select c.target from tds.child c where c.entity = derivation_differences.entity
                                      union select b.target from tds.beside b where b.entity = derivation_differences.entity);
begin
    return query
    with part as materialized (
        select v.zoho_id, k.key, v.before -> k.key as ours, k.value as should_be
          from unnest(derivation_differences.derivations) v
         cross join lateral jsonb_each(v.after) k
         where v.before -> k.key is distinct from k.value
    ), pair as materialized (
        -- the rows of a table, side by side by what tells them apart
        select p.zoho_id, p.key, r.n, r.ours, r.should_be
          from part p
         cross join lateral (
               select coalesce(o.row ->> 'n', t.row ->> 'n') as n, o.row as ours, t.row as should_be
                 from jsonb_array_elements(case when jsonb_typeof(p.ours) = 'array' then p.ours else '[]' end) o(row)
                 full join jsonb_array_elements(case when jsonb_typeof(p.should_be) = 'array' then p.should_be else '[]' end) t(row)
                   on t.row ->> 'n' = o.row ->> 'n') r
         where p.key = any (v_tables) and r.ours is distinct from r.should_be
    )
    select p.zoho_id, tds.verified_table(derivation_differences.entity), '', p.key, 'differs', p.ours, p.should_be, 'rebuild'
      from part p where p.key <> all (v_tables)
     union all
    select r.zoho_id, r.key, r.n, '', case when r.ours is null then 'missing' else 'extra' end, r.ours - 'n', r.should_be - 'n', 'rebuild'
      from pair r where r.ours is null or r.should_be is null
     union all
    select r.zoho_id, r.key, r.n, k.key, 'differs', r.ours -> k.key, k.value, 'rebuild'
      from pair r
     cross join lateral jsonb_each(r.should_be) k
     where r.ours is not null and r.ours -> k.key is distinct from k.value
     order by 1, 2, 3, 4;
end
$$;
revoke all on function tds.derivation_differences(text, tds.derivation[]) from public;
comment on function tds.derivation_differences(text, tds.derivation[]) is
'Rows as they are against rows as they should be, a difference a column, or a row that is missing or too many.';

create or replace function tds.rebuild_differences(entity text, batch int default 1000)
returns table (organization_id text, zoho_id text, table_name text, row_key text, column_name text, what text, before jsonb, after jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_after text;
    v_found record;
begin
    foreach rebuild_differences.organization_id in array tds.organizations_of(rebuild_differences.entity) loop
        v_after := '';
        loop
            select d.* into v_found
              from tds.differing(rebuild_differences.entity, rebuild_differences.organization_id, v_after, rebuild_differences.batch,
                                 false) d;
            exit when v_found.looked = 0;
            v_after := v_found.last_id;
            return query
            select rebuild_differences.organization_id, d.zoho_id, d.table_name, d.row_key, d.column_name, d.what, d.ours, d.should_be
              from tds.derivation_differences(rebuild_differences.entity, v_found.derivations) d;
        end loop;
    end loop;
    return query
    select o.organization_id, o.zoho_id, o.table_name, o.row_key, '', 'orphan', o.ours, null::jsonb
      from tds.orphans(rebuild_differences.entity, null) o;
end
$$;
revoke all on function tds.rebuild_differences(text, int) from public;
comment on function tds.rebuild_differences(text, int) is
'Everything that tds.rebuild() would change: a row a column, or a row that is missing or too many, with the ids. Writes nothing.';

create or replace function tds.rebuild_difference(entity text, batch int default 1000)
returns table (column_name text, rows_differ bigint, zoho_id text, before jsonb, after jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_organization text;
    v_after        text;
    v_found        record;
    v_sum          jsonb := '{}'::jsonb;
begin
    foreach v_organization in array tds.organizations_of(rebuild_difference.entity) loop
        v_after := '';
        loop
            select d.* into v_found
              from tds.differing(rebuild_difference.entity, v_organization, v_after, rebuild_difference.batch, false) d;
            exit when v_found.looked = 0;
            v_after := v_found.last_id;
            v_sum := v_sum || coalesce((
                select jsonb_object_agg(c.key, coalesce(v_sum -> c.key, c.example) || jsonb_build_object(
                           'rows', coalesce((v_sum -> c.key ->> 'rows')::bigint, 0) + c.rows))
                  from (select k.key, count(*) as rows,
                               (array_agg(jsonb_build_object('id', v.zoho_id, 'before', v.before -> k.key, 'after', k.value)
                                          order by v.zoho_id))[1] as example
                          from unnest(v_found.derivations) v
                         cross join lateral jsonb_each(v.after) k
                         where v.before -> k.key is distinct from k.value
                         group by k.key) c), '{}');
            if v_found.refused > 0 then
                v_sum := v_sum || jsonb_build_object('(refused)', jsonb_build_object(
                    'rows', coalesce((v_sum -> '(refused)' ->> 'rows')::bigint, 0) + v_found.refused));
            end if;
        end loop;
    end loop;
    return query
        select s.key, (s.value ->> 'rows')::bigint, s.value ->> 'id', s.value -> 'before', s.value -> 'after'
          from jsonb_each(v_sum) s
         order by s.key;
end
$$;
revoke all on function tds.rebuild_difference(text, int) from public;
comment on function tds.rebuild_difference(text, int) is
'What tds.rebuild() would change: the column (or child table), how many rows, and one of them before and after. Writes nothing. '
'(refused): rows whose document the mapping cannot read; they stay as they are.';

create or replace function tds.rebuild_batch(
    entity text, organization_id text, after text, batch int default 1000, everything boolean default false,
    out last_id text, out looked int, out written int, out refused int)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_found record;
begin
    select d.* into v_found
      from tds.differing(rebuild_batch.entity, rebuild_batch.organization_id, rebuild_batch.after, rebuild_batch.batch,
                         rebuild_batch.everything) d;
    rebuild_batch.last_id := v_found.last_id;
    rebuild_batch.looked := v_found.looked;
    rebuild_batch.refused := v_found.refused;
    rebuild_batch.written := 0;
    if v_found.states <> '{}' then
        perform tds.remove_twins(rebuild_batch.entity, rebuild_batch.organization_id,
                                 array(select s.zoho_id from unnest(v_found.states) s));
        rebuild_batch.written := cardinality(tds.write_whole(rebuild_batch.entity, rebuild_batch.organization_id, v_found.states,
                                                             tds.now()));
    end if;
    if rebuild_batch.entity = 'products' and rebuild_batch.looked > 0 then
        perform tds.show_images(rebuild_batch.organization_id, array(
            select p.zoho_item_id from zoho.products p
             where p.organization_id = rebuild_batch.organization_id and p.zoho_item_id > rebuild_batch.after
               and p.zoho_item_id <= rebuild_batch.last_id));
    end if;
end
$$;
revoke all on function tds.rebuild_batch(text, text, text, int, boolean) from public;
comment on function tds.rebuild_batch(text, text, text, int, boolean) is
'One step of tds.rebuild(): writes those of the next rows after that id whose columns are not what the mapping makes of them, each only '
'over the version that was read, so that a worker that is faster wins. last_id: where to go on; null: done. Commit, and then call '
'tds.rebuild_links().';

create or replace function tds.rebuild_links(entity text, organization_id text, after text, last_id text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity tds.entity;
    v_ids    text[];
begin
    select n.* into strict v_entity from tds.entity n where n.entity = rebuild_links.entity;
    execute format('select array(select t.%1$I from zoho.%2$I t where t.organization_id = $1 and t.%1$I > $2 and t.%1$I <= $3 order by '
                   't.%1$I)',
                   v_entity.target_key, v_entity.target)
       into v_ids using rebuild_links.organization_id, rebuild_links.after, rebuild_links.last_id;
    perform tds.link_rows(rebuild_links.entity, array(select rebuild_links.organization_id from unnest(v_ids)), v_ids);
end
$$;
revoke all on function tds.rebuild_links(text, text, text, text) from public;
comment on function tds.rebuild_links(text, text, text, text) is
'Links the rows after one id up to another, after tds.rebuild_batch() has committed: it looked parents up as they were when it began, and '
'may have written over a link that was made since.';

create or replace procedure tds.rebuild(
    entity text, dry_run boolean default true, batch int default 1000, everything boolean default false, inout outcome jsonb default null)
language plpgsql
as $$
declare
    v_organization text;
    v_after        text;
    v_step         record;
    v_looked       bigint := 0::bigint;
    v_written      bigint := 0::bigint;
    v_refused      bigint := 0::bigint;
begin
    if rebuild.dry_run then
        rebuild.outcome := (select pg_catalog.jsonb_object_agg(d.column_name, pg_catalog.to_jsonb(d) - 'column_name')
                              from tds.rebuild_difference(rebuild.entity, rebuild.batch) d);
        rebuild.outcome := pg_catalog.jsonb_build_object('differences', coalesce(rebuild.outcome, '{}'));
        return;
    end if;
    foreach v_organization in array tds.organizations_of(rebuild.entity) loop
        v_after := '';
        loop
            select b.* into v_step
              from tds.rebuild_batch(rebuild.entity, v_organization, v_after, rebuild.batch, rebuild.everything) b;
            commit;
            exit when v_step.last_id is null;
            if v_step.written > 0 then
                perform tds.rebuild_links(rebuild.entity, v_organization, v_after, v_step.last_id);
                commit;
            end if;
            v_after := v_step.last_id;
            v_looked := v_looked + v_step.looked;
            v_written := v_written + v_step.written;
            v_refused := v_refused + v_step.refused;
        end loop;
    end loop;
    loop
        exit when tds.remove_orphans(rebuild.entity) = 0;
        commit;
    end loop;
    rebuild.outcome := pg_catalog.jsonb_build_object('looked', v_looked, 'written', v_written, 'refused', v_refused);
end
$$;
revoke all on procedure tds.rebuild(text, boolean, int, boolean, jsonb) from public;
comment on procedure tds.rebuild(text, boolean, int, boolean, jsonb) is
'After a mapping change (and tds.build()): shows what differs (dry_run), or derives columns, child rows and links of every row anew from '
'its document, in batches that are committed one by one. What hooks write is covered; rows of records that are '
'not there go, and the records are asked for. Rows that are right already are not touched, unless everything is asked for. '
'tds.rebuild_differences() names all that differ. Call it outside a transaction.';

create or replace function tds.next_id(entity text, organization_id text, after text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity tds.entity;
    v_id     text;
begin
    select n.* into strict v_entity from tds.entity n where n.entity = next_id.entity;
    execute format('select min(t.%1$I) from zoho.%2$I t where t.organization_id = $1 and t.%1$I > $2', v_entity.target_key, v_entity.target)
       into v_id using next_id.organization_id, next_id.after;
    return v_id;
end
$$;
revoke all on function tds.next_id(text, text, text) from public;
comment on function tds.next_id(text, text, text) is 'The id of the next row of an entity after that one; null: there is none.';

create or replace function tds.fill_apart(due tds.column_to_fill, batch int, at timestamptz) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_last    text;
    v_code    text;
    v_error   text;
    v_context text;
begin
    begin
        select b.last_id into v_last
          from tds.rebuild_batch((fill_apart.due).entity, (fill_apart.due).organization_id, (fill_apart.due).after, fill_apart.batch) b;
        if v_last is not null then
            perform tds.rebuild_links((fill_apart.due).entity, (fill_apart.due).organization_id, (fill_apart.due).after, v_last);
        end if;
        return v_last;
    exception when others then
        get stacked diagnostics v_code = returned_sqlstate, v_error = message_text, v_context = pg_exception_context;
        if tds.stops_all(v_code) then
            raise;
        end if;
    end;
    if fill_apart.batch > 1 then
        return tds.fill_apart(fill_apart.due, fill_apart.batch / 2, fill_apart.at);
    end if;
    v_last := tds.next_id((fill_apart.due).entity, (fill_apart.due).organization_id, (fill_apart.due).after);
    perform tds.set_aside('fill_new_columns', format('%s %s of %s', (fill_apart.due).entity, v_last, (fill_apart.due).organization_id),
                          v_code, v_error, v_context, fill_apart.at);
    return v_last;
end
$$;
revoke all on function tds.fill_apart(tds.column_to_fill, int, timestamptz) from public;
comment on function tds.fill_apart(tds.column_to_fill, int, timestamptz) is
'Makes the next rows anew, as many as can be; a row that cannot be made alone is set aside (tds.set_aside) and gone past. Returns the last '
'id that is done; null: there is no more.';

create or replace function tds.fill_new_columns(batch int default 1000) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_due  tds.column_to_fill;
    v_last text;
begin
    select d.* into v_due from tds.column_to_fill d order by d.entity, d.organization_id limit 1 for update skip locked;
    if not found then
        return tds.note_whose_outcomes(10 * fill_new_columns.batch);
    end if;
    v_last := tds.fill_apart(v_due, fill_new_columns.batch, v_now);
    if v_last is null then
        delete from tds.column_to_fill d where d.entity = v_due.entity and d.organization_id = v_due.organization_id;
    else
        update tds.column_to_fill d set after = v_last where d.entity = v_due.entity and d.organization_id = v_due.organization_id;
    end if;
    return (select count(*)::int from tds.column_to_fill);
end
$$;
revoke all on function tds.fill_new_columns(int) from public;
grant execute on function tds.fill_new_columns(int) to tds_worker, tds_operator;
comment on function tds.fill_new_columns(int) is
'One step of what an upgrade with new columns leaves to do: makes the next rows anew from their documents, as tds.rebuild() does, without '
'asking Zoho; then notes whose finished events are. Returns how many entities (of each organisation) are not done; the upgrade and a job '
'call it until that is none. A row that cannot be made is set aside, and the others are made.';
