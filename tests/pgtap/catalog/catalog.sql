-- The catalogue: everything public is explained, nothing is open to all, every definer function is hardened.
begin;
create extension if not exists plpgsql_check;
select plan(9);

select is_empty($$
    select p.oid::regprocedure from pg_proc p
     where p.pronamespace = 'tds'::regnamespace and coalesce(obj_description(p.oid, 'pg_proc'), '') = ''$$,
    'every function has a comment');
select is_empty($$
    select c.oid::regclass from pg_class c
     where c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace, 'public'::regnamespace)
       and c.relkind in ('r', 'p', 'v') and not c.relispartition
       and (c.relnamespace <> 'public'::regnamespace or c.relowner = 'tds_owner'::regrole)
       and coalesce(obj_description(c.oid, 'pg_class'), '') = ''$$,
    'every table and view has a comment');
select is_empty($$
    select c.oid::regclass, a.attname from pg_class c
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where (c.relnamespace = 'zoho'::regnamespace
            or c.relnamespace = 'tds'::regnamespace and not c.relispartition
            or c.relnamespace = 'public'::regnamespace and c.relowner = 'tds_owner'::regrole)
       and c.relkind in ('r', 'p', 'v')
       and coalesce(col_description(c.oid, a.attnum), '') = ''$$,
    'every column has a comment');
select is_empty($$
    select p.oid::regprocedure from pg_proc p
     where p.pronamespace = 'tds'::regnamespace and p.prosecdef
       and not coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false)$$,
    'every SECURITY DEFINER function sets its search_path, pg_temp last');
select is_empty($$
    select p.oid::regprocedure from pg_proc p
     cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
     where p.pronamespace = 'tds'::regnamespace and a.grantee = 0$$,
    'no function may be executed by PUBLIC');
select is_empty($$
    select c.oid::regclass from pg_class c
     cross join lateral aclexplode(c.relacl) a
     where c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace) and a.grantee = 0$$,
    'no table is open to PUBLIC');
select is_empty($$
    select p.oid::regprocedure, c.*
      from pg_proc p
      join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
     cross join lateral plpgsql_check_function(
           p.oid, coalesce((select min(t.tgrelid::int8)::oid from pg_trigger t where t.tgfoid = p.oid), 0),
           newtable => (select min(t.tgnewtable) from pg_trigger t where t.tgfoid = p.oid),
           fatal_errors => false,
           -- these execute SQL by trade: what only the upgrade's own files give, a job's command with the caller's rights, and what the
           -- catalogue's columns make of a table
           security_warnings => p.proname not in ('make', 'make_view', 'run_job', 'erase_words', 'org_erase_some',
                                                    'remove_moved'),
           performance_warnings => true) c
     where p.pronamespace = 'tds'::regnamespace$$,
    'plpgsql_check has nothing to say');
select is_empty($$
    select c.oid::regclass, a.attname from pg_class c
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace) and c.relkind in ('r', 'p')
       and a.atttypid = 'timestamp'::regtype$$,
    'no column is a timestamp without time zone');
select is_empty($$
    select k.conrelid::regclass, k.conname
      from pg_constraint k
      join tds.entity n on to_regclass('zoho.' || n.target) = k.conrelid
     where k.contype = 'c' and k.conname like '%\_within\_%' and k.conname <> 'full_name_within_500'
       and not exists (select from tds.field f
                        where f.entity = n.entity
                          and k.conname = format('%s_within_%s', f.column_name, case f.reader when 'id' then 50 else f.max_length end))$$,
    'every bound of a column is known to the mapping, so that its culprit is named');

select * from finish();
rollback;
