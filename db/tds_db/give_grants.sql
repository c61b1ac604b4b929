-- Gives back what keep_grants.sql has remembered, as far as it is gone.
do $$
declare
    v_grant  jsonb;
    v_column text;
    v_has    boolean;
begin
    for v_grant in select e.doc from pg_catalog.jsonb_array_elements(pg_catalog.current_setting('tds.kept_grants')::jsonb) e(doc) loop
        continue when pg_catalog.to_regclass(v_grant ->> 'relation') is null;  -- no file makes that view any more
        v_column := v_grant ->> 'column';
        if v_column is not null and not exists (select from pg_catalog.pg_attribute a
                                                 where a.attrelid = (v_grant ->> 'relation')::regclass and a.attname = v_column
                                                   and not a.attisdropped) then
            raise warning 'a grant is gone with its column: % (%) on % to %', v_grant ->> 'privilege', v_column, v_grant ->> 'relation',
                v_grant ->> 'grantee';
            continue;
        end if;
        v_has := exists (
            select from pg_catalog.pg_class c
              left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = v_column
             cross join lateral pg_catalog.aclexplode(case when v_column is null then c.relacl else a.attacl end) x
             where c.oid = (v_grant ->> 'relation')::regclass and x.privilege_type = v_grant ->> 'privilege'
               and case when (v_grant ->> 'everybody')::boolean then x.grantee = 0
                        else x.grantee::regrole::text = v_grant ->> 'grantee' end);
        if not v_has then
            execute pg_catalog.format('grant %s%s on %s to %s%s', v_grant ->> 'privilege',
                                      case when v_column is null then '' else pg_catalog.format(' (%I)', v_column) end,
                                      v_grant ->> 'relation',
                                      case when (v_grant ->> 'everybody')::boolean then 'public' else v_grant ->> 'grantee' end,
                                      case when (v_grant ->> 'grantable')::boolean then ' with grant option' else '' end);
        end if;
    end loop;
end
$$;
