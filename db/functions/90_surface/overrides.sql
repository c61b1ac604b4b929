-- What the database or a role sets for itself that the promises of TDS rest on.

insert into tds.setting (name, value, description) values
    ('fewest_connections', '10', 'A limit of connections of the database, or of a login of TDS, below this is told as a problem.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.is_one_of_ours(role oid) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (select from pg_roles r
                    where r.oid = is_one_of_ours.role
                      and (r.rolsuper
                           or exists (select from pg_roles g
                                       where g.rolname in ('tds_owner', 'tds_receiver', 'tds_worker', 'tds_poller', 'tds_operator')
                                         and pg_has_role(r.oid, g.oid, 'member'))));
end
$$;
revoke all on function tds.is_one_of_ours(oid) from public;
comment on function tds.is_one_of_ours(oid) is 'Whether a role may do what programs of TDS do.';

create or replace function tds.overrides() returns table (who text, name text, value text, harmless boolean, mend text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select o.who, k.name, o.value, k.harmless is null or lower(o.value) = any (k.harmless),
           format('alter %s reset %I', o.target, k.name)
      from (select s.setdatabase, s.setrole, split_part(c.setting, '=', 1) as name, substr(c.setting, strpos(c.setting, '=') + 1) as value,
                   case when s.setrole = 0 then 'database ' || d.datname
                        else 'role ' || r.rolname || coalesce(' in database ' || d.datname, '') end as who,
                   case when s.setrole = 0 then format('database %I', d.datname)
                        else format('role %I', r.rolname)
                             || case when s.setdatabase = 0 then '' else format(' in database %I', d.datname) end end as target
              from pg_db_role_setting s
              left join pg_database d on d.oid = s.setdatabase
              left join pg_roles r on r.oid = s.setrole
             cross join lateral unnest(s.setconfig) c(setting)
             where s.setdatabase in (0, (select n.oid from pg_database n where n.datname = current_database()))
               -- whoever only reads may have what limits he likes
               and (s.setrole = 0 or tds.is_one_of_ours(s.setrole))) o
      join (values
            ('synchronous_commit', array['on', 'local', 'remote_write', 'remote_apply']),
            ('statement_timeout', array['0']),
            ('lock_timeout', array['0']),
            ('transaction_timeout', array['0']),
            ('idle_in_transaction_session_timeout', array['0']),
            ('idle_session_timeout', array['0']),
            ('default_transaction_isolation', array['read committed']),
            ('default_transaction_read_only', array['off']),
            ('default_transaction_deferrable', array['off']),
            ('session_replication_role', array['origin', 'local']),
            ('standard_conforming_strings', array['on']),
            ('row_security', array['on']),
            ('search_path', array['public', '"$user", public']),
            ('temp_file_limit', array['-1']),
            ('quote_all_identifiers', array['off']),
            ('plan_cache_mode', array['auto']),
            ('enable_indexscan', array['on']), ('enable_indexonlyscan', array['on']), ('enable_bitmapscan', array['on']),
            ('enable_seqscan', array['on']), ('enable_nestloop', array['on']), ('enable_hashjoin', array['on']),
            ('enable_mergejoin', array['on']), ('enable_sort', array['on']), ('enable_hashagg', array['on']),
            ('enable_material', array['on']), ('enable_memoize', array['on']), ('enable_partition_pruning', array['on']),
            ('client_min_messages', null), ('client_encoding', null), ('work_mem', null), ('check_function_bodies', null),
            ('default_tablespace', null), ('temp_tablespaces', null), ('escape_string_warning', null), ('backslash_quote', null),
            ('jit', null), ('jit_above_cost', null), ('plpgsql.variable_conflict', null),
            ('datestyle', null), ('intervalstyle', null), ('timezone', null), ('extra_float_digits', null), ('bytea_output', null)
           ) k(name, harmless) on k.name = lower(o.name)
    union all
    select l.who, 'connection limit', l.most::text, l.most >= tds.setting_int('fewest_connections'),
           format('alter %s connection limit -1', l.target)
      from (select 'database ' || d.datname, format('database %I', d.datname), d.datconnlimit
              from pg_database d where d.datname = current_database()
            union all
            select 'role ' || r.rolname, format('role %I', r.rolname), r.rolconnlimit
              from pg_roles r where r.rolcanlogin and tds.is_one_of_ours(r.oid)) l(who, target, most)
     where l.most >= 0
     order by 1, 2;
end
$$;
revoke all on function tds.overrides() from public;
comment on function tds.overrides() is 'What tds_overrides shows.';
grant execute on function tds.overrides() to tds_operator, tds_reader, tds_worker;

create or replace view public.tds_overrides as select o.who, o.name, o.value, o.harmless, o.mend from tds.overrides() o;
comment on view public.tds_overrides is
'Settings that the database or a role has of its own and that promises rest on. Programs of TDS bring their own, and what acknowledges '
'waits for the disk all the same; whoever else calls its functions has these.';
comment on column public.tds_overrides.who is 'The database, the role, or the role in the database.';
comment on column public.tds_overrides.name is 'The setting.';
comment on column public.tds_overrides.value is 'What it is set to.';
comment on column public.tds_overrides.harmless is 'Whether that harms nothing.';
comment on column public.tds_overrides.mend is 'The statement that takes it back.';
