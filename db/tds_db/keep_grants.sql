-- Remembers what roles that TDS does not know may do with its views, and with their columns: a view that has to be made anew forgets it.
do $$
begin
    perform pg_catalog.set_config('tds.kept_grants', coalesce((
        select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                   'relation', g.relation, 'column', g.attname, 'privilege', g.privilege_type, 'grantee', g.grantee::regrole::text,
                   'everybody', g.grantee = 0, 'grantable', g.is_grantable))::text
          from (select pg_catalog.format('%I.%I', n.nspname, c.relname) as relation, null::name as attname, x.privilege_type, x.grantee,
                       x.is_grantable, c.relowner
                  from pg_catalog.pg_class c
                  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                 cross join lateral pg_catalog.aclexplode(c.relacl) x
                 where c.relkind = 'v' and n.nspname in ('public', 'tds') and c.relowner = 'tds_owner'::regrole
                 union all
                select pg_catalog.format('%I.%I', n.nspname, c.relname), a.attname, x.privilege_type, x.grantee, x.is_grantable, c.relowner
                  from pg_catalog.pg_class c
                  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                 cross join lateral pg_catalog.aclexplode(a.attacl) x
                 where c.relkind = 'v' and n.nspname in ('public', 'tds') and c.relowner = 'tds_owner'::regrole) g
          left join pg_catalog.pg_roles r on r.oid = g.grantee
         where g.grantee <> g.relowner and (g.grantee = 0 or r.rolname !~ '^tds_')), '[]'), true);
end
$$;
