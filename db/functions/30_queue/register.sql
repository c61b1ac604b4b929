create or replace function tds.register(spec jsonb) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_queue constant text := tds.queue_name(register.spec ->> 'queue');
begin
    insert into tds.entity
    select (jsonb_populate_record(null::tds.entity,
                '{"list_filter": {}, "paged": true, "has_modified_filter": false}' || register.spec)).*
    on conflict on constraint entity_pkey do update
       set queue = excluded.queue, priority = excluded.priority, api_path = excluded.api_path, list_key = excluded.list_key,
           record_key = excluded.record_key, id_key = excluded.id_key, target = excluded.target,
           target_key = excluded.target_key, writer = excluded.writer, linker = excluded.linker,
           list_filter = excluded.list_filter, paged = excluded.paged, has_modified_filter = excluded.has_modified_filter,
           detail_key = excluded.detail_key, bulk_detail_path = excluded.bulk_detail_path;
    perform pgmq.create(v_queue);
    execute format('alter table pgmq.%I set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, '
                   'autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0)', 'q_' || v_queue);
end
$$;
revoke all on function tds.register(jsonb) from public;
comment on function tds.register(jsonb) is 'Enters an entity into the registry, by the columns of tds.entity, and makes its queue.';

create or replace function tds.map_fields(entity text, parent text, fields text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from tds.field f where f.entity = map_fields.entity and f.parent = map_fields.parent;
    insert into tds.field (entity, parent, key, reader, column_name, required, max_length)
    select map_fields.entity, map_fields.parent, w.word[1], w.word[2], nullif(w.word[3], '-'),
           coalesce(w.word[4] = 'required', false),
           case when w.word[4] ~ '^[0-9]+$' then w.word[4]::int end
      from regexp_split_to_table(map_fields.fields, '\n') l(line)
     cross join lateral (select regexp_split_to_array(btrim(l.line), '\s+')) w(word)
     where btrim(l.line) <> ''
     order by w.word[1];
end
$$;
revoke all on function tds.map_fields(text, text, text) from public;
comment on function tds.map_fields(text, text, text) is
'Writes an entity''s mapping, a line a field: key, reader, column (or -), and required or the longest text. parent: the array the fields sit in.';
