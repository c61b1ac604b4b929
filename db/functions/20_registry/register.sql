create or replace function tds.register(spec jsonb) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_queue constant text := tds.queue_name(register.spec ->> 'queue');
begin
    delete from tds.entity n where n.entity = register.spec ->> 'entity';
    insert into tds.entity
    select (jsonb_populate_record(null::tds.entity,
                '{"list_filter": {}, "paged": true, "has_modified_filter": false, "volatile_details": false, "counted": true, "joins": "", '
                '"aliases": [], "parts": {}, "only_if": "true", "new_if": "true", "complete_if": "true"}'
                || jsonb_build_object('file', coalesce(nullif(current_setting('tds.file', true), ''), 'a file run by hand'))
                || register.spec)).*;
    perform pgmq.create(v_queue);
    execute format('alter table pgmq.%I set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, '
                   'autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0)', 'q_' || v_queue);
    -- what follows describes it anew
    delete from tds.field f where f.entity = register.spec ->> 'entity';
    delete from tds.derived f where f.entity = register.spec ->> 'entity';
    delete from tds.child c where c.entity = register.spec ->> 'entity';
    delete from tds.beside b where b.entity = register.spec ->> 'entity';
    delete from tds.verified_sum v where v.entity = register.spec ->> 'entity';
end
$$;
revoke all on function tds.register(jsonb) from public;
comment on function tds.register(jsonb) is
'Enters an entity into the registry, by the columns of tds.entity, and makes its queue; the upgrade tells the file by the setting '
'tds.file. Its mapping follows: map_fields, derive, map_child, write_beside, link.';

create or replace function tds.map_fields(entity text, list_key text, fields text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.field (entity, list_key, key, reader, column_name, required, max_length, expression)
    select map_fields.entity, map_fields.list_key, w.word[1], w.word[2], nullif(w.word[3], '-'),
           coalesce(w.word[4] = 'required', false),
           case when w.word[4] ~ '^[0-9]+$' then w.word[4]::int end,
           nullif(btrim(split_part(l.line, ':=', 2)), '')
      from regexp_split_to_table(regexp_replace(map_fields.fields, '\\\n\s*', '', 'g'), '\n') l(line)
     cross join lateral (select regexp_split_to_array(btrim(split_part(l.line, ':=', 1)), '\s+')) w(word)
     where btrim(l.line) <> ''
     order by w.word[1];
end
$$;
revoke all on function tds.map_fields(text, text, text) from public;
comment on function tds.map_fields(text, text, text) is
'Writes an entity''s mapping, a line a field: key, reader, column (or -), required or the longest text, and := an expression '
'where the reader alone does not make the column; a line that ends in a backslash goes on in the next. '
'list_key: the array the fields sit in, or empty.';

create or replace function tds.derive(entity text, list_key text, column_name text, expression text, description text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.derived (entity, list_key, column_name, expression, description)
    values (derive.entity, derive.list_key, derive.column_name, derive.expression, derive.description);
end
$$;
revoke all on function tds.derive(text, text, text, text, text) from public;
comment on function tds.derive(text, text, text, text, text) is
'Adds a computed column to an entity''s mapping: SQL over d (the fields, as jsonb), s (the state) and the entity''s joins.';

create or replace function tds.map_child(entity text, list_key text, target text, parent_column text, position_column text, fields text)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.child (entity, list_key, target, parent_column, position_column)
    values (map_child.entity, map_child.list_key, map_child.target, map_child.parent_column, map_child.position_column);
    perform tds.map_fields(map_child.entity, map_child.list_key, map_child.fields);
end
$$;
revoke all on function tds.map_child(text, text, text, text, text, text) from public;
comment on function tds.map_child(text, text, text, text, text, text) is
'Gives an array of the record a table of its own, a row an element, and maps the element''s fields (see map_fields).';

create or replace function tds.write_beside(
    entity text, target text, id_column text, row_key text, told text, writer text, kept_if text default 'false') returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.beside (entity, target, id_column, row_key, told, writer, kept_if)
    values (write_beside.entity, write_beside.target, write_beside.id_column, write_beside.row_key, write_beside.told, write_beside.writer,
            write_beside.kept_if);
end
$$;
revoke all on function tds.write_beside(text, text, text, text, text, text, text) from public;
comment on function tds.write_beside(text, text, text, text, text, text, text) is
'Says of a table that an entity''s hook writes it, and how its rows are known, what they should be and how they are written: what '
'verification and rebuild go by. The arguments are the columns of tds.beside.';

create or replace function tds.sum_in_list(
    entity text, targets text[], column_name text, kind text, whole text, rest text default null, list_keys text[] default null,
    rounding numeric default 0.005) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.verified_sum (entity, targets, column_name, list_keys, id_column, kind, whole, rest, rounding)
    select sum_in_list.entity, sum_in_list.targets, sum_in_list.column_name,
           coalesce(sum_in_list.list_keys, array_agg(distinct o.list_key)), min(o.id_column), sum_in_list.kind,
           sum_in_list.whole, coalesce(sum_in_list.rest, sum_in_list.whole), sum_in_list.rounding
      from (select c.list_key, c.parent_column from tds.child c
             where c.entity = sum_in_list.entity and c.target = any (sum_in_list.targets)
             union all
            select null, b.id_column from tds.beside b
             where b.entity = sum_in_list.entity and b.target = any (sum_in_list.targets)) o(list_key, id_column);
end
$$;
revoke all on function tds.sum_in_list(text, text[], text, text, text, text, text[], numeric) from public;
comment on function tds.sum_in_list(text, text[], text, text, text, text, text[], numeric) is
'Says of tables below a record, mapped already, what sum of their rows Zoho''s list tells: see tds.verified_sum. rest null: the whole '
'itself; list_keys null: those that the tables are mapped from.';

create or replace function tds.link(
    target text, column_name text, key_column text, parent text, parent_key text, parent_column text default 'id',
    follows boolean default false) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.link (target, column_name, key_column, parent, parent_key, parent_column, follows)
    values (link.target, link.column_name, link.key_column, link.parent, link.parent_key, link.parent_column, link.follows)
    on conflict on constraint link_pkey do update
       set key_column = excluded.key_column, parent = excluded.parent, parent_key = excluded.parent_key,
           parent_column = excluded.parent_column, follows = excluded.follows;
end
$$;
revoke all on function tds.link(text, text, text, text, text, text, boolean) from public;
comment on function tds.link(text, text, text, text, text, text, boolean) is
'Links rows of target with rows of parent: column_name takes parent_column where parent_key is the key_column beside it.';
