-- Finds what others have on the columns of our own bookkeeping (sync_…) in the views of the mirror in public, or what keeps such a view
-- from being made anew without them. Those views stay as they are; all others lose these columns. Run as the installing role, before
-- anything is changed.
do $$
declare
    v_super constant boolean := (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user);
begin
    perform pg_catalog.set_config('tds.machinery_users', coalesce((
        with recursive shown as materialized (
            select v.oid, v.relname, v.reltype, t.typarray, v.relowner, a.attnum, a.attname
              from pg_catalog.pg_class v
              join pg_catalog.pg_type t on t.oid = v.reltype
              join pg_catalog.pg_attribute a on a.attrelid = v.oid and a.attname ~ '^sync_' and not a.attisdropped
             where v.relnamespace = 'public'::regnamespace and v.relkind = 'v' and v.relowner = 'tds_owner'::regrole
               and exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                            where n.nspname = 'zoho' and v.relname in (c.relname, c.relname || '_current', c.relname || '_posted'))),
        views as materialized (select distinct s.oid, s.relname, s.reltype, s.typarray, s.relowner from shown s),
        -- what reads which column of what; a rule that makes a view is the view
        uses as materialized (
            select d.refobjid as used, d.refobjsubid as attnum, coalesce(r.ev_class, d.objid) as user_id,
                   case when r.ev_class is null then d.classid else 'pg_catalog.pg_class'::regclass end as classid, d.objsubid,
                   r.ev_class is not null and c.relkind in ('v', 'm') and r.rulename = '_RETURN' as is_view, d.objid, r.ev_class
              from pg_catalog.pg_depend d
              left join pg_catalog.pg_rewrite r on d.classid = 'pg_catalog.pg_rewrite'::regclass and r.oid = d.objid
              left join pg_catalog.pg_class c on c.oid = r.ev_class
             where d.refclassid = 'pg_catalog.pg_class'::regclass and d.deptype in ('n', 'a') and coalesce(r.ev_class, 0) <> d.refobjid),
        above as (
            select v.oid, v.oid as top from views v
             union
            select a.oid, u.user_id from above a join uses u on u.used = a.top and u.is_view),
        found (view, object, attname) as (
            select s.relname, i.type || ' ' || i.identity, s.attname
              from shown s
              join uses u on u.used = s.oid and u.attnum = s.attnum
             cross join lateral pg_catalog.pg_identify_object(u.classid, u.user_id, u.objsubid) i
             union
            -- rules, triggers and defaults of others on the view itself
            select s.relname, i.type || ' ' || i.identity, s.attname
              from shown s
              join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = s.oid
                                         and d.refobjsubid = s.attnum
             cross join lateral pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) i
             where not exists (select from uses u where u.objid = d.objid and u.used = s.oid)
             union
            select s.relname, pg_catalog.format('grant of %s to %s', x.privilege_type,
                                                case x.grantee when 0 then 'public' else x.grantee::regrole::text end), s.attname
              from shown s
              join pg_catalog.pg_attribute a on a.attrelid = s.oid and a.attnum = s.attnum
             cross join lateral pg_catalog.aclexplode(a.attacl) x
             where x.grantee <> s.relowner
             union
            -- the text of a function says what it reads, and nothing else does
            select s.relname, i.type || ' ' || i.identity, s.attname
              from shown s
              join pg_catalog.pg_proc p on p.prosrc ~ ('\m' || s.attname || '\M') and p.prosqlbody is null
              join pg_catalog.pg_namespace n on n.oid = p.pronamespace
             cross join lateral pg_catalog.pg_identify_object('pg_catalog.pg_proc'::regclass, p.oid, 0) i
             where n.nspname not in ('tds', 'zoho', 'pg_catalog', 'information_schema')
               and (pg_catalog.regexp_replace(p.prosrc, '\m"?zoho"?\s*\.\s*"?\w+', '', 'gi') ~* ('\m' || s.relname || '\M')
                    or exists (select from pg_catalog.pg_trigger g where g.tgfoid = p.oid and g.tgrelid = s.oid))
             union
            -- who has it, or a view on it, in a way that no view can be set aside for
            select v.relname, i.type || ' ' || i.identity, null
              from views v
              join above a on a.oid = v.oid
              join pg_catalog.pg_class c on c.oid = a.top
              join pg_catalog.pg_type t on t.oid = c.reltype
              join pg_catalog.pg_depend d on d.refobjid in (c.oid, t.oid, t.typarray)
                   and d.refclassid in ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_type'::regclass) and d.deptype = 'n'
              left join pg_catalog.pg_rewrite r on d.classid = 'pg_catalog.pg_rewrite'::regclass and r.oid = d.objid
              left join pg_catalog.pg_class w on w.oid = r.ev_class
             cross join lateral pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) i
             where d.classid <> 'pg_catalog.pg_trigger'::regclass
               and not coalesce(r.rulename = '_RETURN' and w.relkind in ('v', 'm') and w.relpersistence <> 't'
                                and (v_super or pg_catalog.pg_has_role(w.relowner, 'member')) or r.ev_class in (c.oid, v.oid), false)
             union
            select v.relname, pg_catalog.format('what is on it (%s)', i.identity), null
              from views v
              join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = v.oid and d.deptype = 'a'
              left join pg_catalog.pg_rewrite r on d.classid = 'pg_catalog.pg_rewrite'::regclass and r.oid = d.objid
             cross join lateral pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) i
             where not v_super and r.rulename is distinct from '_RETURN')
        select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('view', g.view, 'object', g.object, 'columns', g.columns)
                                    order by g.view collate "C", g.object collate "C")::text
          from (select f.view, f.object, coalesce(pg_catalog.string_agg(f.attname, ', ' order by f.attname collate "C"),
                                                  'the whole of it') as columns
                  from found f group by f.view, f.object) g), '[]'), true);
end
$$;
