-- What the database or a role sets for itself that the promises of TDS rest on.

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
                        else format('role %I', r.rolname) || coalesce(format(' in database %I', d.datname), '') end as target
              from pg_db_role_setting s
              left join pg_database d on d.oid = s.setdatabase
              left join pg_roles r on r.oid = s.setrole
             cross join lateral unnest(s.setconfig) c(setting)
             where s.setdatabase in (0, (select n.oid from pg_database n where n.datname = current_database()))) o
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
            ('datestyle', null), ('intervalstyle', null), ('timezone', null), ('extra_float_digits', null), ('bytea_output', null)
           ) k(name, harmless) on k.name = lower(o.name)
     order by o.who, k.name;
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
