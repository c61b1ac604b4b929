-- Gives our views back what others had put on those that were made anew, and makes the views again that set_views_aside.sql has taken
-- away. Run as the installing role.
do $$
declare
    v_super     constant boolean := (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user);
    v_role      constant text := current_user;
    v_view      jsonb;
    v_statement text;
begin
    for v_statement in
        select a.said
          from pg_catalog.jsonb_array_elements_text(coalesce(nullif(pg_catalog.current_setting('tds.attached', true), ''), '[]')::jsonb)
                   with ordinality a(said, n)
         order by a.n
    loop
        execute v_statement;
    end loop;
    perform pg_catalog.set_config('tds.attached', '', true);
    for v_view in
        select e.doc
          from pg_catalog.jsonb_array_elements(coalesce(nullif(pg_catalog.current_setting('tds.kept_views', true), ''), '[]')::jsonb)
                   with ordinality e(doc, n)
         order by e.n
    loop
        begin
            if not v_super then
                perform pg_catalog.set_config('role', v_view ->> 'owner', true);
            end if;
            execute v_view -> 'statements' ->> 0;
            if v_super then
                execute pg_catalog.format('alter table %s owner to %I', v_view ->> 'view', v_view ->> 'owner');
            end if;
            for v_statement in
                select s.said from pg_catalog.jsonb_array_elements_text(v_view -> 'statements') with ordinality s(said, n)
                 where s.n > 1 order by s.n
            loop
                execute v_statement;
            end loop;
            perform pg_catalog.set_config('role', v_role, true);
        exception when others then
            raise exception using errcode = sqlstate,
                message = pg_catalog.format('%s uses what this upgrade changes, and cannot be made again as it was', v_view ->> 'view'),
                detail = sqlerrm,
                hint = pg_catalog.format('drop view %s; upgrade; and make it again so that it fits: %s', v_view ->> 'view',
                                         v_view -> 'statements' ->> 0);
        end;
    end loop;
    perform pg_catalog.set_config('tds.kept_views', '', true);
end
$$;
