create or replace function tds.names_of(target regclass) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(select c.relname::text
                   from (select names_of.target::oid
                          union all
                         select h.inhparent from pg_inherits h where h.inhrelid = names_of.target) t(id)
                   join pg_class c on c.oid = t.id
                  where c.relnamespace = 'zoho'::regnamespace
                  order by 1);
end
$$;
comment on function tds.names_of(regclass) is
'The names by which the mapping may speak of a table of the mirror: its own, and that of the table it is a partition of.';

create or replace function tds.compress_well() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table  regclass;
    v_column record;
begin
    -- A row with a document of 2 KB is as long as PostgreSQL lets rows be by default: compressed it just fits, and with some more
    -- to be known of it, it does not, and is cut in two with every edit. Up to 4 KB they stay whole, and as they are.
    for v_table in
        select c.oid::regclass from pg_class c
          join pg_attribute a on a.attrelid = c.oid and a.attname = 'zoho_metadata' and not a.attisdropped
         where c.relnamespace = 'zoho'::regnamespace and c.relkind = 'r'
           and not exists (select from unnest(c.reloptions) o where o like 'toast_tuple_target=%')
         order by c.oid::regclass::text
    loop
        execute format('alter table %s set (toast_tuple_target = 4080)', v_table);
    end loop;
    -- lz4 halves the cost of large values against pglz. Without it (the embedded server has none) pglz would be three fifths
    -- of what it costs to store a page, so that bodies, which are dropped after a while, are stored as they are.
    if not exists (select from pg_settings where name = 'default_toast_compression' and 'lz4' = any (enumvals)) then
        for v_column in
            select a.attrelid::regclass as relation, a.attname
              from pg_attribute a
             where a.attname = 'body' and a.attstorage <> 'e'
               and (a.attrelid = 'tds.inbox'::regclass or a.attrelid in (select h.inhrelid from pg_inherits h
                                                                         where h.inhparent = 'tds.inbox'::regclass))
             order by a.attrelid <> 'tds.inbox'::regclass
        loop
            execute format('alter table %s alter column %I set storage external', v_column.relation, v_column.attname);
        end loop;
        return;
    end if;
    for v_column in
        select a.attrelid::regclass as relation, a.attname
          from pg_attribute a
          join pg_class c on c.oid = a.attrelid
         where c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace)
           and c.relkind in ('r', 'p')
           and a.attname in ('zoho_metadata', 'sync_layers', 'body', 'record')
           and a.atttypid in ('jsonb'::regtype, 'text'::regtype)
           and a.attcompression <> 'l'
           and not a.attisdropped
    loop
        execute format('alter table %s alter column %I set compression lz4', v_column.relation, v_column.attname);
    end loop;
end
$$;
revoke all on function tds.compress_well() from public;
comment on function tds.compress_well() is
'Keeps the mirror''s documents up to 4 KB in their rows as they are; chooses lz4 for longer ones and the inbox''s bodies wherever the '
'server has it, and no compression for bodies where it has not.';

select tds.compress_well();

create or replace function tds.leave_room() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table record;
begin
    -- An edit whose new version finds room in the page of the old one touches no index. With pages filled to the last, each edit of many
    -- rows writes a page and a leaf of every index besides, all in other places: at a million products 400 microseconds of CPU, not 220.
    -- A fifth has room for a record of 1.6 KB; documents lie beside their rows, which are half as long, and edited a few times
    for v_table in
        select c.oid::regclass as name,
               case when tds.names_of(c.oid) && '{products,contacts}' then 80 else 90 end as fillfactor
          from pg_class c
          join pg_attribute a on a.attrelid = c.oid and a.attname = 'sync_version' and not a.attisdropped
         where c.relnamespace = 'zoho'::regnamespace and c.relkind = 'r'
           and not exists (select from unnest(c.reloptions) o where o like 'fillfactor=%')
         order by c.oid::regclass::text
    loop
        execute format('alter table %s set (fillfactor = %s)', v_table.name, v_table.fillfactor);
    end loop;
end
$$;
revoke all on function tds.leave_room() from public;
comment on function tds.leave_room() is
'Leaves room for a version in each page of the tables of the mirror''s records, so that edits touch no index; what an administrator has '
'set is left alone. It is for pages that are filled from then on.';
select tds.leave_room();

create or replace function tds.mirror_column_comment(target regclass, column_name text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_names constant text[] := tds.names_of(mirror_column_comment.target);
    v_told  text;
begin
    v_told := case mirror_column_comment.column_name
        when 'id' then 'Our number for the row: what other tables'' links hold.'
        when 'organization_id' then 'Zoho organisation; leads every key.'
        when 'image_url' then 'Where the picture is served; null while none has been fetched.'
        when 'line_number' then 'Place among the lines, from 1.'
        when 'position' then 'Place in the list, from 1 (of addresses: 1 billing, 2 shipping, from 3 the others).'
        when 'address_type' then 'billing, shipping or additional.'
        when 'zoho_metadata' then 'The whole merged document, as Zoho''s JSON.'
        when 'synced_at' then 'When this row was last written.'
        when 'deleted_at' then 'Proof of deletion in Zoho (when the API said so); null: it exists.'
        when 'sync_version' then 'How often the row was written.'
        when 'sync_hash' then 'Hash of the last body whose every value is in zoho_metadata.'
        when 'sync_modified_at' then 'Version of the document: its last_modified_time.'
        when 'sync_observed_at' then 'Version of the document: when it was observed.'
        when 'sync_rank' then 'Version of the document: 1 list, 2 webhook, 3 detail.'
        when 'sync_read_at' then 'Last API read that changed or confirmed the row in writing.'
        when 'sync_layers' then 'Keys of zoho_metadata that have another version; see type tds.record_state.'
        when 'sync_event' then 'The event that wrote the row (tds.inbox.inbox_id); null: none did, or it was written before this was kept.'
        end;
    v_told := coalesce(v_told,
        (select min(v.description) from tds.derived v where v.column_name = mirror_column_comment.column_name
            and v.entity in (select n.entity from tds.entity n where n.target = any (v_names))),
        (select format('%s.%s where %s.%s is this row''s %s; null until it is mirrored.', l.parent, l.parent_column, l.parent,
                       l.parent_key, l.key_column)
           from tds.link l where l.column_name = mirror_column_comment.column_name and l.target = any (v_names)));
    if v_told is not null then
        return v_told;
    end if;
    select format('Zoho''s %s, read as %s.', string_agg(distinct concat_ws('.', nullif(f.list_key, ''), f.key), ' or '), min(f.reader))
      into v_told
      from tds.field f
      join tds.entity n on n.entity = f.entity
     where f.column_name = mirror_column_comment.column_name
       and coalesce((select c.target from tds.child c where c.entity = f.entity and c.list_key = f.list_key), n.target) = any (v_names);
    return coalesce(v_told,
        (select col_description(a.attrelid, a.attnum) from pg_attribute a
          where a.attrelid = mirror_column_comment.target and a.attname = mirror_column_comment.column_name),
        format('Zoho''s %s.', mirror_column_comment.column_name));
end
$$;
comment on function tds.mirror_column_comment(regclass, text) is 'What a column of the mirror holds, from the mapping in tds.field.';

create or replace function tds.describe_mirror() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table  record;
    v_column record;
begin
    for v_table in
        select c.oid::regclass as target, c.relname, v.oid as taken,
               coalesce(v.relkind = 'v' and v.relowner = c.relowner, true) as ours
          from pg_class c
          left join pg_class v on v.relname = c.relname and v.relnamespace = 'public'::regnamespace
         where c.relnamespace = 'zoho'::regnamespace and c.relkind in ('r', 'p')
         order by c.relname
    loop
        execute format('comment on table %s is %L', v_table.target,
                       format('Mirror of Zoho Books: %s. Rows with deleted_at are gone in Zoho.', replace(v_table.relname, '_', ' ')));
        if v_table.ours then
            perform tds.make_view(v_table.relname, format('select %s from %s t', tds.erp_columns(v_table.target, v_table.relname, 't'),
                                                          v_table.target));
            execute format('comment on view public.%I is %L', v_table.relname,
                           format('zoho.%s, under the name an ERP expects.', v_table.relname));
        else
            raise notice 'public.% is somebody else''s: read zoho.% instead', v_table.relname, v_table.relname;
        end if;
        for v_column in
            select a.attname, tds.mirror_column_comment(v_table.target, a.attname) as told
              from pg_attribute a where a.attrelid = v_table.target and a.attnum > 0 and not a.attisdropped
        loop
            execute format('comment on column %s.%I is %L', v_table.target, v_column.attname, v_column.told);
        end loop;
        if v_table.ours then
            perform tds.comment_columns(v_table.target, v_table.relname);
        end if;
    end loop;
end
$$;
comment on function tds.describe_mirror() is
'Comments the mirror''s tables and columns from the mapping, and gives each a view in public wherever that name is free.';

select tds.describe_mirror();
