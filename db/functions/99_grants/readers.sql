-- Readers bound to one organisation: a schema of views of that one's rows, which they alone may read. Nothing of it is
-- looked at where somebody else reads, so that it costs others nothing; and there is no policy that a role could be exempt from.

create or replace function tds.reader_schema(organization_id text) returns name
language sql immutable parallel safe
as $$ select ('tds_org_' || $1)::name $$;
revoke all on function tds.reader_schema(text) from public;
comment on function tds.reader_schema(text) is 'The schema of the views that show one organisation only.';

create or replace function tds.views_for_readers() returns table (relation regclass, name name)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with recursive ours as materialized (
        -- the view of our name; the mirror's table where an ERP has that name
        select coalesce(v.oid, t.oid) as oid, coalesce(v.relname, t.relname) as relname
          from (select c.oid, c.relname from pg_class c
                 where c.relkind = 'v' and c.relnamespace = 'public'::regnamespace and c.relowner = 'tds_owner'::regrole) v
          full join (select c.oid, c.relname from pg_class c
                      where c.relkind in ('r', 'p') and c.relnamespace = 'zoho'::regnamespace and not c.relispartition) t
            on t.relname = v.relname
    ), shown as (
        select o.oid, o.relname
          from ours o
         where exists (select from pg_attribute a where a.attrelid = o.oid and a.attname = 'organization_id' and not a.attisdropped)
           -- the one tells where credentials stand, the other would look at the events of all
           and o.relname not in ('tds_organizations', 'tds_sync_queue')
    ), uses as (
        select s.oid as root, s.oid from shown s
        union
        select u.root, d.refobjid
          from uses u
          join pg_rewrite r on r.ev_class = u.oid
          join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
          join pg_class k on k.oid = d.refobjid and k.relkind = 'v'
    ), calls as (
        select distinct u.root, p.oid
          from uses u
          join pg_rewrite r on r.ev_class = u.oid
          join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_proc'::regclass
          join pg_proc p on p.oid = d.refobjid and p.pronamespace = 'tds'::regnamespace
    )
    -- a view calls functions with the rights of whoever reads, who is given none but the clock
    select s.oid::regclass, s.relname
      from shown s
     where not exists (select from calls c where c.root = s.oid and c.oid <> 'tds.now()'::regprocedure)
     order by s.relname;
end
$$;
revoke all on function tds.views_for_readers() from public;
comment on function tds.views_for_readers() is
'The views that are shown to readers of one organisation: those with an organization_id that call no function of ours but tds.now().';

create or replace function tds.make_reader_views(organization_id text) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_schema constant name := tds.reader_schema(make_reader_views.organization_id);
    v_view   record;
    v_made   int := 0;
    v_text   text;
begin
    -- two at once would make the same
    lock table tds.bound_reader in share row exclusive mode;
    for v_view in select v.relation, v.name from tds.views_for_readers() v loop
        v_text := format('view %I.%I with (security_barrier) as select * from %s where organization_id = %L', v_schema, v_view.name,
                         v_view.relation, make_reader_views.organization_id);
        begin
            execute 'create or replace ' || v_text;
        exception when invalid_table_definition then  -- a column has another type, or is gone
            execute format('drop view %I.%I', v_schema, v_view.name);
            execute 'create ' || v_text;
        end;
        execute format('comment on view %I.%I is %L', v_schema, v_view.name, format('%s, of organisation %s alone.', v_view.relation,
                                                                                  make_reader_views.organization_id));
        v_made := v_made + 1;
    end loop;
    execute format(
        'create or replace function %I.price_of(product text, pricelist text, quantity numeric default 1, at timestamptz default null) '
        'returns numeric language sql stable security definer set search_path = pg_catalog, pg_temp '
        'as $f$ select tds.price_of($1, $2, $3, $4, %L) $f$', v_schema, make_reader_views.organization_id);
    execute format('revoke all on function %I.price_of(text, text, numeric, timestamptz) from public', v_schema);
    return v_made;
end
$$;
revoke all on function tds.make_reader_views(text) from public;
comment on function tds.make_reader_views(text) is
'Makes the views of one organisation, and price_of() for it, in the schema that is there for them; returns how many.';

create or replace function tds.grant_reader(reader name, organization_id text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_schema constant name := tds.reader_schema(grant_reader.organization_id);
begin
    execute format('grant usage on schema %I to %I', v_schema, grant_reader.reader);
    execute format('grant select on all tables in schema %I to %I', v_schema, grant_reader.reader);
    execute format('grant execute on function %I.price_of(text, text, numeric, timestamptz) to %I', v_schema, grant_reader.reader);
    execute format('grant execute on function tds.now() to %I', grant_reader.reader);
end
$$;
revoke all on function tds.grant_reader(name, text) from public;
comment on function tds.grant_reader(name, text) is 'Lets a role read the views of one organisation.';

create or replace function tds.bind_reader(reader name, organization_id text) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_role   constant text := current_setting('role');
    v_schema constant name := tds.reader_schema(bind_reader.organization_id);
    v_bound  text;
    v_views  int;
begin
    if not coalesce(tds.is_id(bind_reader.organization_id), false) then
        raise exception using errcode = 'ZB015', message = 'this is no id of an organisation',
            detail = coalesce(bind_reader.organization_id, ''), hint = 'tds org list';
    end if;
    select b.organization_id into v_bound from tds.bound_reader b where b.reader = bind_reader.reader;
    if v_bound <> bind_reader.organization_id
       or exists (select from pg_roles r
                   where r.rolname = bind_reader.reader
                     and (r.rolsuper or exists (select from pg_roles m where m.rolname like 'tds\_%' and not m.rolcanlogin
                                                                         and pg_has_role(r.oid, m.oid, 'member')))) then
        raise exception using errcode = 'ZB078', message = 'the role may read more than one organisation', detail = bind_reader.reader,
            hint = 'bind a role of its own, which is no member of tds_reader or the like';
    end if;
    if not exists (select from pg_namespace n where n.nspname = v_schema) then
        execute format('create schema %I authorization tds_owner', v_schema);
        execute format('comment on schema %I is %L', v_schema, format('Organisation %s alone, for readers that are bound to it.',
                                                                      bind_reader.organization_id));
    end if;
    execute format('alter role %I in database %I set search_path = %I', bind_reader.reader, current_database(), v_schema);
    perform set_config('role', 'tds_owner', true);
    v_views := tds.make_reader_views(bind_reader.organization_id);
    perform tds.grant_reader(bind_reader.reader, bind_reader.organization_id);
    insert into tds.bound_reader (reader, organization_id, bound_at)
    values (bind_reader.reader, bind_reader.organization_id, tds.now())
    on conflict on constraint bound_reader_pkey do nothing;
    perform set_config('role', v_role, true);
    return v_views;
end
$$;
revoke all on function tds.bind_reader(name, text) from public;
comment on function tds.bind_reader(name, text) is
'Binds a role that is there to one organisation: it reads that one''s views, by the names that public has, and nothing else of TDS. For '
'whoever installs: it makes a schema, and sets the role''s search_path. Returns how many views. Raises ZB015, ZB078.';

-- every upgrade shows bound readers what is new
do $$
declare
    v_bound record;
begin
    for v_bound in
        select b.organization_id, array_agg(b.reader order by b.reader) as readers
          from tds.bound_reader b
         where exists (select from pg_namespace n where n.nspname = tds.reader_schema(b.organization_id))
         group by b.organization_id order by b.organization_id
    loop
        perform tds.make_reader_views(v_bound.organization_id);
        perform tds.grant_reader(r.rolname, v_bound.organization_id) from pg_roles r where r.rolname = any (v_bound.readers);
    end loop;
end
$$;
