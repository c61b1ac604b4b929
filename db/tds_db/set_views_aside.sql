-- Takes away the views of others that use something of TDS, and remembers how to make them again: with their owners, grants, comments,
-- triggers, rules and indexes. Run as the installing role, only where something that they use has to be made anew.
do $$
declare
    v_view  record;
    v_kept  jsonb := '[]';
    v_super constant boolean := (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user);
    v_role  constant text := current_user;
begin
    for v_view in
        with recursive ours as materialized (
            select 'pg_catalog.pg_class'::regclass as classid, c.oid from pg_catalog.pg_class c
              join pg_catalog.pg_namespace n on n.oid = c.relnamespace
             where n.nspname in ('tds', 'zoho') or n.nspname = 'public' and c.relowner = 'tds_owner'::regrole
             union all
            select 'pg_catalog.pg_proc'::regclass, p.oid from pg_catalog.pg_proc p where p.pronamespace = 'tds'::regnamespace
             union all
            select 'pg_catalog.pg_type'::regclass, t.oid from pg_catalog.pg_type t where t.typnamespace = 'tds'::regnamespace),
        uses as materialized (
            select distinct v.oid, d.refclassid, d.refobjid
              from pg_catalog.pg_class v
              join pg_catalog.pg_rewrite r on r.ev_class = v.oid
              join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid and d.refobjid <> v.oid
             where v.relkind in ('v', 'm') and v.relpersistence <> 't'
               and v.oid not in (select o.oid from ours o where o.classid = 'pg_catalog.pg_class'::regclass)),
        found as (
            select u.oid, 1 as depth from uses u join ours o on o.classid = u.refclassid and o.oid = u.refobjid
             union
            select u.oid, f.depth + 1 from found f join uses u on u.refclassid = 'pg_catalog.pg_class'::regclass and u.refobjid = f.oid),
        foreign_views as (select f.oid, max(f.depth) as depth from found f group by f.oid)
        select c.oid, c.relkind, c.relispopulated, pg_catalog.format('%I.%I', n.nspname, c.relname) as name,
               pg_catalog.pg_get_userbyid(c.relowner) as owner, c.reloptions, c.relacl, t.spcname, m.amname, f.depth
          from foreign_views f
          join pg_catalog.pg_class c on c.oid = f.oid
          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          left join pg_catalog.pg_tablespace t on t.oid = c.reltablespace
          left join pg_catalog.pg_am m on m.oid = c.relam
         order by f.depth desc, 4
    loop
        -- the last to go is the first to come again
        v_kept := pg_catalog.jsonb_build_object('view', v_view.name, 'owner', v_view.owner, 'statements', (
            select pg_catalog.jsonb_agg(s.statement order by s.place, s.statement)
              from (
                select 1 as place, pg_catalog.format('create %s %s (%s)%s%s%s as %s%s',
                       case v_view.relkind when 'm' then 'materialized view' else 'view' end, v_view.name,
                       (select pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by a.attnum)
                          from pg_catalog.pg_attribute a where a.attrelid = v_view.oid and a.attnum > 0 and not a.attisdropped),
                       case when v_view.amname is not null then ' using ' || pg_catalog.quote_ident(v_view.amname) else '' end,
                       case when v_view.reloptions is not null
                            then (select ' with (' || pg_catalog.string_agg(pg_catalog.format('%s = %L', o.option_name, o.option_value),
                                                                            ', ') || ')'
                                    from pg_catalog.pg_options_to_table(v_view.reloptions) o)
                            else '' end,
                       case when v_view.spcname is not null then ' tablespace ' || pg_catalog.quote_ident(v_view.spcname) else '' end,
                       pg_catalog.rtrim(pg_catalog.pg_get_viewdef(v_view.oid), ';'),
                       case when v_view.relkind = 'm' and not v_view.relispopulated then ' with no data' else '' end) as statement
                union all
                select 2, pg_catalog.format('alter view %s alter column %I set default %s', v_view.name, a.attname,
                                            pg_catalog.pg_get_expr(d.adbin, d.adrelid))
                  from pg_catalog.pg_attrdef d
                  join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
                 where d.adrelid = v_view.oid
                union all
                select 3, pg_catalog.pg_get_indexdef(i.indexrelid) from pg_catalog.pg_index i where i.indrelid = v_view.oid
                union all
                select 4, pg_catalog.pg_get_ruledef(r.oid) from pg_catalog.pg_rewrite r
                 where r.ev_class = v_view.oid and r.rulename <> '_RETURN'
                union all
                select 5, pg_catalog.pg_get_triggerdef(g.oid) from pg_catalog.pg_trigger g
                 where g.tgrelid = v_view.oid and not g.tgisinternal
                union all
                select 6, pg_catalog.format('comment on %s %s is %L',
                                            case when d.objsubid > 0 then 'column' when v_view.relkind = 'm' then 'materialized view'
                                                 else 'view' end,
                                            v_view.name || coalesce('.' || pg_catalog.quote_ident(a.attname), ''), d.description)
                  from pg_catalog.pg_description d
                  left join pg_catalog.pg_attribute a on a.attrelid = d.objoid and a.attnum = d.objsubid and d.objsubid > 0
                 where d.classoid = 'pg_catalog.pg_class'::regclass and d.objoid = v_view.oid
                union all
                -- what its owner may was perhaps taken back
                select 7, pg_catalog.format('revoke all on %s from %I', v_view.name, v_view.owner) where v_view.relacl is not null
                union all
                select 8, pg_catalog.format('grant %s on %s to %s%s', x.privilege_type, v_view.name,
                                            case x.grantee when 0 then 'public' else x.grantee::regrole::text end,
                                            case when x.is_grantable and x.grantee <> c.relowner then ' with grant option' else '' end)
                  from pg_catalog.pg_class c cross join lateral pg_catalog.aclexplode(c.relacl) x where c.oid = v_view.oid
                union all
                select 8, pg_catalog.format('grant %s (%I) on %s to %s%s', x.privilege_type, a.attname, v_view.name,
                                            case x.grantee when 0 then 'public' else x.grantee::regrole::text end,
                                            case when x.is_grantable then ' with grant option' else '' end)
                  from pg_catalog.pg_attribute a cross join lateral pg_catalog.aclexplode(a.attacl) x where a.attrelid = v_view.oid
                ) s)) || v_kept;
        begin
            if not v_super then
                perform pg_catalog.set_config('role', v_view.owner, true);
            end if;
            execute pg_catalog.format('drop %s %s', case v_view.relkind when 'm' then 'materialized view' else 'view' end, v_view.name);
            perform pg_catalog.set_config('role', v_role, true);
        exception when insufficient_privilege or dependent_objects_still_exist or invalid_parameter_value then
            raise exception using errcode = sqlstate,
                message = pg_catalog.format('%s is in the way of this upgrade, which cannot set it aside', v_view.name),
                detail = sqlerrm,
                hint = pg_catalog.format('upgrade as a superuser, or as a member of %s; or drop it, upgrade, and make it again',
                                         v_view.owner);
        end;
    end loop;
    perform pg_catalog.set_config('tds.kept_views',
        (v_kept || coalesce(nullif(pg_catalog.current_setting('tds.kept_views', true), ''), '[]')::jsonb)::text, true);
end
$$;
