-- What a reporting database reads of this shard: the mirror's tables, without organisations that are not whole here.

create or replace function tds.share_tables() returns table (name text, columns text[], types text[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    comment on schema tds_shared is
        'The mirror''s tables for a reporting database (tds shard reporting): of the organisations that are whole here.';
    for share_tables.name, share_tables.columns, share_tables.types in
        select c.relname::text, array_agg(a.attname::text order by a.attnum),
               array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum)
          from pg_class c
          join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         where c.relnamespace = 'zoho'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
         group by c.relname
         order by c.relname
    loop
        execute format('drop view if exists tds_shared.%I', share_tables.name);
        execute format('create view tds_shared.%1$I as select t.* from zoho.%1$I t where t.organization_id not in '
                       '(select g.organization_id from tds.gate g where g.state in (''arriving'', ''gone''))', share_tables.name);
        execute format('comment on view tds_shared.%1$I is ''zoho.%1$I, of the organisations that are whole here.''', share_tables.name);
        return next;
    end loop;
    grant usage on schema tds_shared to tds_reader, tds_operator;
    grant select on all tables in schema tds_shared to tds_reader, tds_operator;
end
$$;
revoke all on function tds.share_tables() from public;
comment on function tds.share_tables() is
'Makes the views of schema tds_shared, which a reporting database reads, anew; returns them with their columns and types.';
