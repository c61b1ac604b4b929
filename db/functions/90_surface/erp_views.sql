-- How the views of the mirror in public are made: what an ERP expects of a table, without our bookkeeping.

create or replace function tds.erp_columns(target regclass, view_name text, alias text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_view  constant regclass := to_regclass(format('public.%I', erp_columns.view_name));
    -- what the upgrade has found; nobody has looked where this is called by hand
    v_users constant jsonb := nullif(current_setting('tds.machinery_users', true), '')::jsonb;
    v_stays constant boolean := v_users is null or v_users @> jsonb_build_array(jsonb_build_object('view', erp_columns.view_name));
begin
    return (
        select string_agg(format('%s.%I', erp_columns.alias, c.attname), ', ' order by c.added, c.attnum)
          from (select s.attname, false as added, s.attnum
                  from pg_attribute s
                 where s.attrelid = v_view and s.attnum > 0 and not s.attisdropped and v_stays
                   and exists (select from pg_attribute a where a.attrelid = erp_columns.target and a.attname = s.attname
                               and not a.attisdropped)
                 union all
                select a.attname, true, a.attnum
                  from pg_attribute a
                 where a.attrelid = erp_columns.target and a.attnum > 0 and not a.attisdropped and a.attname !~ '^sync_'
                   and not (v_stays and exists (select from pg_attribute s where s.attrelid = v_view and s.attname = a.attname
                                                and not s.attisdropped))) c);
end
$$;
comment on function tds.erp_columns(regclass, text, text) is
'The columns of a table of the mirror that its view in public shows: all but our bookkeeping (sync_…), which stays in a view where '
'somebody uses it.';

create or replace function tds.attached_to(view_name text) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_view constant regclass := to_regclass(format('public.%I', attached_to.view_name));
begin
    return array(
        select a.statement
          from (select 1 as place, format('alter view %s alter column %I set default %s', d.adrelid::regclass, c.attname,
                                          pg_get_expr(d.adbin, d.adrelid)) as statement
                  from pg_attrdef d join pg_attribute c on c.attrelid = d.adrelid and c.attnum = d.adnum
                 where d.adrelid = v_view
                 union all
                select 2, pg_get_ruledef(r.oid) from pg_rewrite r where r.ev_class = v_view and r.rulename <> '_RETURN'
                 union all
                select 3, pg_get_triggerdef(g.oid) from pg_trigger g where g.tgrelid = v_view and not g.tgisinternal) a
         order by a.place, a.statement);
end
$$;
comment on function tds.attached_to(text) is
'The statements that give a view in public back what others have put on it: defaults, rules and triggers.';

create or replace function tds.make_view(name text, query text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_attached  text[];
    v_statement text;
begin
    begin
        execute format('create or replace view public.%I as %s', make_view.name, make_view.query);
        return;
    exception when invalid_table_definition then  -- a column has another type, or is gone
        v_attached := tds.attached_to(make_view.name);
    end;
    execute format('drop view public.%I', make_view.name);
    execute format('create view public.%I as %s', make_view.name, make_view.query);
    -- An upgrade puts them back in the end, as the role that installs: they are no file's, and may use what only that role can.
    if nullif(current_setting('tds.file', true), '') is not null then
        perform set_config('tds.attached',
            (coalesce(nullif(current_setting('tds.attached', true), ''), '[]')::jsonb || to_jsonb(v_attached))::text, true);
        return;
    end if;
    foreach v_statement in array v_attached loop
        execute v_statement;
    end loop;
end
$$;
comment on function tds.make_view(text, text) is
'Creates a view in schema public, or makes it anew; only the files of an upgrade say which.';

create or replace function tds.comment_columns(target oid, view_name text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_column record;
begin
    for v_column in
        select s.attname, col_description(a.attrelid, a.attnum) as told
          from pg_attribute s
          join pg_attribute a on a.attrelid = comment_columns.target and a.attname = s.attname and not a.attisdropped
         where s.attrelid = to_regclass(format('public.%I', comment_columns.view_name)) and s.attnum > 0 and not s.attisdropped
         order by s.attnum
    loop
        execute format('comment on column public.%I.%I is %L', comment_columns.view_name, v_column.attname, v_column.told);
    end loop;
end
$$;
comment on function tds.comment_columns(oid, text) is 'Gives the columns of a view the comments of a table''s.';

revoke all on function tds.erp_columns(regclass, text, text), tds.attached_to(text), tds.make_view(text, text),
    tds.comment_columns(oid, text) from public;
