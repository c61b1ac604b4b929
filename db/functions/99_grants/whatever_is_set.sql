-- What must not depend on how the server, the database or a role is set.

-- Backslashes stand for themselves: in our regular expressions, and in those of pgmq, which has no settings of its own.
do $$
declare
    v_door regprocedure;
begin
    for v_door in
        select p.oid from pg_proc p
         where p.pronamespace = 'tds'::regnamespace and p.prosecdef and p.prokind = 'f'
           and not coalesce(p.proconfig, '{}') @> array['standard_conforming_strings=on']
         order by p.oid::regprocedure::text
    loop
        execute format('alter function %s set standard_conforming_strings = on', v_door);
    end loop;
end
$$;

-- Our triggers fire whatever session_replication_role is set to: an event without its message would wait for ever.
do $$
declare
    v_trigger record;
begin
    for v_trigger in
        select t.tgrelid::regclass as relation, t.tgname
          from pg_trigger t
          join pg_class c on c.oid = t.tgrelid and c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace)
          join pg_proc p on p.oid = t.tgfoid and p.pronamespace = 'tds'::regnamespace
         where not t.tgisinternal and t.tgparentid = 0 and t.tgenabled = 'O'
         order by t.tgrelid::regclass::text, t.tgname
    loop
        execute format('alter table %s enable always trigger %I', v_trigger.relation, v_trigger.tgname);
    end loop;
end
$$;
