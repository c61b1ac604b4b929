-- What the upgrade itself needs in the database: the owner's rights, its books, the list of what files define, and of what
-- somebody changed since.
-- Run at every upgrade as the installing role; leaves the transaction as tds_owner.
do $$
declare
    denied text[] := '{}';
begin
    -- GRANT by somebody who may not grant is only a warning, hence the second look.
    if not pg_catalog.has_database_privilege('tds_owner', pg_catalog.current_database(), 'create') then
        execute pg_catalog.format('grant create on database %I to tds_owner', pg_catalog.current_database());
        if not pg_catalog.has_database_privilege('tds_owner', pg_catalog.current_database(), 'create') then
            denied := denied || pg_catalog.format('grant create on database %I to tds_owner;', pg_catalog.current_database());
        end if;
    end if;
    if not pg_catalog.has_schema_privilege('tds_owner', 'public', 'create') then
        grant create on schema public to tds_owner;
        if not pg_catalog.has_schema_privilege('tds_owner', 'public', 'create') then
            denied := denied || 'grant create on schema public to tds_owner;'::text;
        end if;
    end if;
    if denied <> '{}' then
        raise insufficient_privilege
            using message = 'tds_owner may not create objects here', hint = pg_catalog.array_to_string(denied, E'\n');
    end if;
end
$$;

set local role tds_owner;

create schema if not exists tds;
comment on schema tds is 'TDS, the Zoho Books mirror: its inbox, its functions and its books.';

create table if not exists tds.migration (
    id text primary key,
    content_hash text not null,
    applied_at timestamptz not null default now(),
    applied_by text not null default session_user
);
-- one upgrade at a time, even where a stranger keeps the lock that they wait for
lock table tds.migration in share update exclusive mode;
comment on table tds.migration is 'Numbered migrations that have been applied. Written by the upgrade only.';
comment on column tds.migration.id is 'Name of the file in db/migrations, without .sql.';
comment on column tds.migration.content_hash is 'SHA-256 of the file as it was applied; an edited one is refused.';
comment on column tds.migration.applied_at is 'When the upgrade that applied it began.';
comment on column tds.migration.applied_by is 'The role that had logged in.';

create table if not exists tds.sql_file (
    path text primary key,
    sha256 text not null,
    objects text[] not null,
    applied_at timestamptz not null default now(),
    applied_by text not null default session_user
);
comment on table tds.sql_file is 'Function files as the last upgrade applied them. Written by the upgrade only.';
comment on column tds.sql_file.path is 'Path of the file below db/.';
comment on column tds.sql_file.sha256 is 'SHA-256 of the file as it was applied.';
comment on column tds.sql_file.objects is 'The functions, procedures, views and triggers that it created or replaced.';
comment on column tds.sql_file.applied_at is 'When the upgrade that applied it began.';
comment on column tds.sql_file.applied_by is 'The role that had logged in.';

do $$
declare
    v_book text;
begin
    foreach v_book in array array['migration', 'sql_file'] loop
        if not exists (select from pg_catalog.pg_attribute as a
                       where a.attrelid = pg_catalog.format('tds.%I', v_book)::pg_catalog.regclass and a.attname = 'version') then
            execute pg_catalog.format('alter table tds.%I add column version text', v_book);
        end if;
    end loop;
    if not exists (select from pg_catalog.pg_attribute as a
                   where a.attrelid = 'tds.migration'::pg_catalog.regclass and a.attname = 'breaking') then
        alter table tds.migration add column breaking text;
    end if;
end
$$;
comment on column tds.migration.breaking is 'What programs of the version before it cannot live with, as its file says; null: they go on.';
comment on column tds.migration.version is 'Version of TDS that applied it; null: one that did not say.';
comment on column tds.sql_file.version is 'Version of TDS that applied it last; null: one that did not say.';

create table if not exists tds.pgmq_install (
    only_row boolean primary key default true check (only_row),
    kind text not null check (kind in ('extension', 'sql')),
    version text not null,
    installed_at timestamptz not null default now(),
    installed_by text not null default session_user
);
comment on table tds.pgmq_install is 'How pgmq came into this database. One row.';
comment on column tds.pgmq_install.only_row is 'Always true: keeps the table at one row.';
comment on column tds.pgmq_install.kind is 'extension: CREATE EXTENSION; sql: the script of the Python package pgmq.';
comment on column tds.pgmq_install.version is 'Version of pgmq as it was installed.';
comment on column tds.pgmq_install.installed_at is 'When the upgrade that installed it began.';
comment on column tds.pgmq_install.installed_by is 'The role that had logged in.';

create table if not exists tds.sql_hash (
    object text primary key,
    hash text not null,
    server_version int not null default current_setting('server_version_num')::int / 10000,
    book oid not null,
    taken_at timestamptz not null default now()
);
comment on table tds.sql_hash is
'What the objects of tds.sql_file looked like when the last upgrade ended. Written by the upgrade only; tds_changed_by_hand compares.';
comment on column tds.sql_hash.object is 'Kind, name and arguments.';
comment on column tds.sql_hash.hash is 'tds.object_hash() at the end of the upgrade.';
comment on column tds.sql_hash.server_version is
'The PostgreSQL that took it: views and triggers are printed, and so hashed, in another way by another one.';
comment on column tds.sql_hash.book is
'This table''s oid when it was taken: a dump restored elsewhere has another, and prints some views in another way, too.';
comment on column tds.sql_hash.taken_at is 'When that upgrade began.';

-- The search_path decides which names are printed with their schema.
create or replace function tds.object_hash(classid oid, objid oid) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return encode(sha256(convert_to(case object_hash.classid
        when 'pg_proc'::regclass then
            (select (l.lanname, p.prosrc, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.provolatile,
                     p.proparallel, p.proisstrict, p.proleakproof, p.prosecdef, p.procost, p.prorows, p.proconfig)::text
               from pg_proc p
               join pg_language l on l.oid = p.prolang
              where p.oid = object_hash.objid)
        when 'pg_class'::regclass then
            (select (pg_get_viewdef(c.oid), c.reloptions)::text from pg_class c where c.oid = object_hash.objid)
        when 'pg_trigger'::regclass then
            (select (pg_get_triggerdef(t.oid), t.tgenabled)::text from pg_trigger t where t.oid = object_hash.objid)
        end, 'UTF8')), 'hex');
end
$$;
revoke all on function tds.object_hash(oid, oid) from public;
comment on function tds.object_hash(oid, oid) is
'Hash of what an object does: the text and the properties of a routine, the query of a view, a trigger and whether it fires. Owner, '
'grants and comments do not count.';

-- CREATE OR REPLACE renews a routine's dependency on its schema, a view's rule and a trigger's row; GRANT, COMMENT and
-- ALTER … SET leave these rows alone. So a changed place of that row tells which file created or replaced what.
-- A quoted name that needs no quotes is a word that this version of PostgreSQL reserves and another one does not.
create or replace view tds.sql_object as
select
    (select i.type || ' ' || regexp_replace(replace(i.identity, 'pg_catalog.', ''), '\."([a-z_][a-z0-9_]*)"', '.\1', 'g')
     from pg_catalog.pg_identify_object(o.classid, o.objid, 0) as i) as object,
    o.objid || ' ' || o.place as version,
    tds.object_hash(o.classid, o.objid) as hash
from (
    select d.classid, d.objid, d.ctid as place, p.pronamespace as namespace, p.proowner as owner
    from pg_catalog.pg_proc as p
    join pg_catalog.pg_depend as d
        on d.classid = 'pg_catalog.pg_proc'::regclass
        and d.objid = p.oid
        and d.refclassid = 'pg_catalog.pg_namespace'::regclass
    where p.oid <> 'tds.object_hash'::regproc
    union all
    select 'pg_catalog.pg_class'::regclass, c.oid, r.ctid, c.relnamespace, c.relowner
    from pg_catalog.pg_class as c
    join pg_catalog.pg_rewrite as r on r.ev_class = c.oid and r.rulename = '_RETURN'
    where c.oid not in (
        coalesce(pg_catalog.to_regclass('tds.sql_object'), 0), coalesce(pg_catalog.to_regclass('public.tds_changed_by_hand'), 0))
    union all
    select 'pg_catalog.pg_trigger'::regclass, t.oid, t.ctid, c.relnamespace, c.relowner
    from pg_catalog.pg_trigger as t
    join pg_catalog.pg_class as c on c.oid = t.tgrelid
    where not t.tgisinternal and t.tgparentid = 0
) as o
join pg_catalog.pg_namespace as n on n.oid = o.namespace
where n.nspname in ('tds', 'zoho')
    or (n.nspname = 'public' and pg_catalog.pg_get_userbyid(o.owner) = 'tds_owner');
comment on view tds.sql_object is
'Functions, procedures, views and triggers of TDS. Those that no row of tds.sql_file names are orphans.';
comment on column tds.sql_object.object is 'Kind, name and arguments.';
comment on column tds.sql_object.version is 'Changes whenever it is created or replaced.';
comment on column tds.sql_object.hash is 'Changes whenever it is made to do something else.';

-- Materialized: a join would have the hash of every view of the server, information_schema's among them, before it asks whose it is.
create or replace view public.tds_changed_by_hand as
with o as materialized (select s.object, s.hash from tds.sql_object as s)

select
    h.object,
    case when o.object is null then 'dropped' else 'changed' end as change,
    (select max(f.path) from tds.sql_file as f where h.object = any (f.objects)) as file,
    h.taken_at as upgraded_at
from tds.sql_hash as h
left join o on o.object = h.object
where o.object is null
    or (o.hash <> h.hash
        and (h.server_version = pg_catalog.current_setting('server_version_num')::int / 10000 and h.book = 'tds.sql_hash'::regclass
            or split_part(h.object, ' ', 1) in ('function', 'procedure')));
comment on view public.tds_changed_by_hand is
'Functions, procedures, views and triggers of TDS that are not as the last upgrade left them: somebody changed or dropped them. '
'The next upgrade (tds db upgrade) sets them right again; what is to stay belongs into the file.';
comment on column public.tds_changed_by_hand.object is 'Kind, name and arguments.';
comment on column public.tds_changed_by_hand.change is 'changed or dropped.';
comment on column public.tds_changed_by_hand.file is 'The file below db/ that defines it.';
comment on column public.tds_changed_by_hand.upgraded_at is 'When the last upgrade began: it was changed later.';
