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

do $$
begin
    if not exists (select from pg_catalog.pg_attribute as a
                   where a.attrelid = 'tds.sql_hash'::pg_catalog.regclass and a.attname = 'seen') then
        alter table tds.sql_hash add column seen text, add column names numeric;
    end if;
end
$$;
comment on column tds.sql_hash.seen is
'The row of the catalogue that the hash was taken of, as in tds.sql_row: while it stands there, only names of others can have changed.';
comment on column tds.sql_hash.names is 'tds.names_hash() then; null with seen: one that did not say, whose hash is always taken anew.';

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

-- What is printed names schemas, types, functions, tables and columns as they are called now, so one that is renamed changes objects whose
-- own rows stay. Partitions come and go with the days, and nothing of ours names one.
create or replace function tds.names_hash() returns numeric
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        with ours as materialized (
            select n.oid, n.nspname
              from pg_namespace n where n.nspname in ('tds', 'zoho', 'public', 'pgmq')
        ), relation as materialized (
            select c.oid, c.relname, c.reltype
              from pg_class c
              join ours o on o.oid = c.relnamespace
             where not c.relispartition and c.relkind in ('r', 'p', 'v', 'm', 'f', 'c')
               and (o.nspname <> 'public' or pg_get_userbyid(c.relowner) = 'tds_owner')
        )
        select sum(hashnameextended(f.name, f.place))
          from (select o.nspname as name, o.oid::bigint as place from ours o
                 union all
                select r.relname, r.oid::bigint from relation r
                 union all
                select a.attname, (a.attrelid::bigint << 16) + a.attnum
                  from pg_attribute a
                  join relation r on r.oid = a.attrelid
                 where a.attnum > 0
                 union all
                select t.typname, t.oid::bigint
                  from pg_type t
                  join ours o on o.oid = t.typnamespace
                 where t.typrelid = 0 and t.typelem = 0 and o.nspname <> 'public'
                 union all
                select p.proname, p.oid::bigint
                  from pg_proc p
                  join ours o on o.oid = p.pronamespace
                 where o.nspname <> 'public') f(name, place));
end
$$;
revoke all on function tds.names_hash() from public;
comment on function tds.names_hash() is
'Changes whenever a schema, type, relation, column or routine that objects of TDS may name is made, dropped or called otherwise.';

-- Its name and meaning were others once; a view keeps its columns.
do $$ begin
    if exists (select from pg_catalog.pg_attribute where attrelid = pg_catalog.to_regclass('tds.sql_object') and attname = 'version') then
        alter view tds.sql_object rename column version to command;
        alter view tds.sql_row rename column version to command;
    end if;
end $$;

-- CREATE OR REPLACE renews a routine's dependency on its schema, a view's rule and a trigger's row; GRANT, COMMENT and
-- ALTER … SET leave these rows alone. So the command that wrote that row tells which file created or replaced what. Savepoints have numbers
-- of their own, all of them later than the transaction's.
-- A quoted name that needs no quotes is a word that this version of PostgreSQL reserves and another one does not.
create or replace view tds.sql_row as
select o.classid, o.objid, case when age(o.maker) <= 0 then lpad(o.command::text, 10, '0') end as command,
       o.objid || ' ' || o.seen as seen
from (
    select d.classid, d.objid, d.xmin as maker, d.cmin as command, p.xmin::text || ' ' || p.ctid::text as seen,
        p.pronamespace as namespace, p.proowner as owner
    from pg_catalog.pg_proc as p
    join pg_catalog.pg_depend as d
        on d.classid = 'pg_catalog.pg_proc'::regclass
        and d.objid = p.oid
        and d.refclassid = 'pg_catalog.pg_namespace'::regclass
    where p.oid not in ('tds.object_hash'::regproc, 'tds.names_hash'::regproc)
    union all
    select 'pg_catalog.pg_class'::regclass, c.oid, r.xmin, r.cmin, concat_ws(' ', r.xmin, r.ctid, c.reloptions), c.relnamespace,
        c.relowner
    from pg_catalog.pg_class as c
    join pg_catalog.pg_rewrite as r on r.ev_class = c.oid and r.rulename = '_RETURN'
    where c.oid not in (
        coalesce(pg_catalog.to_regclass('tds.sql_row'), 0),
        coalesce(pg_catalog.to_regclass('tds.sql_object'), 0), coalesce(pg_catalog.to_regclass('public.tds_changed_by_hand'), 0))
    union all
    select 'pg_catalog.pg_trigger'::regclass, t.oid, t.xmin, t.cmin, t.xmin::text || ' ' || t.ctid::text, c.relnamespace, c.relowner
    from pg_catalog.pg_trigger as t
    join pg_catalog.pg_class as c on c.oid = t.tgrelid
    where not t.tgisinternal and t.tgparentid = 0
) as o
join pg_catalog.pg_namespace as n on n.oid = o.namespace
where n.nspname in ('tds', 'zoho')
    or (n.nspname = 'public' and pg_catalog.pg_get_userbyid(o.owner) = 'tds_owner');
comment on view tds.sql_row is
'The rows of the catalogue in which functions, procedures, views and triggers of TDS stand: seen without printing one.';
comment on column tds.sql_row.classid is 'Its catalogue.';
comment on column tds.sql_row.objid is 'Its number there.';
comment on column tds.sql_row.command is
'Which command of the transaction that asks created or replaced it, of ten digits, so that texts are in the order of numbers; null: none.';
comment on column tds.sql_row.seen is 'Changes whenever its row is written, by whatever.';

create or replace view tds.sql_object as
select
    (select i.type || ' ' || regexp_replace(replace(i.identity, 'pg_catalog.', ''), '\."([a-z_][a-z0-9_]*)"', '.\1', 'g')
     from pg_catalog.pg_identify_object(o.classid, o.objid, 0) as i) as object,
    o.command,
    tds.object_hash(o.classid, o.objid) as hash,
    o.seen
from tds.sql_row as o;
comment on view tds.sql_object is
'Functions, procedures, views and triggers of TDS. Those that no row of tds.sql_file names are orphans.';
comment on column tds.sql_object.object is 'Kind, name and arguments.';
comment on column tds.sql_object.command is 'As in tds.sql_row.';
comment on column tds.sql_object.hash is 'Changes whenever it is made to do something else.';
comment on column tds.sql_object.seen is 'As in tds.sql_row.';

-- Printed and hashed is only what may have changed: what stands in another row than the upgrade left it in, or everything, once something
-- is called otherwise. Materialized: a join would have the hash of every view of the server, information_schema's among them, before it
-- asks whose it is.
create or replace view public.tds_changed_by_hand as
with place as materialized (
    select tds.names_hash() as names, pg_catalog.current_setting('server_version_num')::int / 10000 as server_version,
           'tds.sql_hash'::regclass::oid as book
), known as materialized (
    select h.object, h.hash, h.taken_at, h.seen, h.server_version = p.server_version and h.book = p.book as is_here,
           coalesce(h.names = p.names and h.server_version = p.server_version and h.book = p.book, false) as is_called_so
    from tds.sql_hash as h
    cross join place as p
), suspect as materialized (
    select k.object, k.hash, k.taken_at, k.is_here
    from known as k
    where not k.is_called_so or k.seen not in (select r.seen from tds.sql_row as r)
), o as materialized (
    select s.object, s.hash
    from tds.sql_object as s
    where exists (select from suspect)
        and (s.seen not in (select k.seen from known as k where k.seen is not null)
            or exists (select from known as k where not k.is_called_so))
)

select
    h.object,
    case when o.object is null then 'dropped' else 'changed' end as change,
    (select max(f.path) from tds.sql_file as f where h.object = any (f.objects)) as file,
    h.taken_at as upgraded_at
from suspect as h
left join o on o.object = h.object
where o.object is null
    or (o.hash <> h.hash and (h.is_here or split_part(h.object, ' ', 1) in ('function', 'procedure')));
comment on view public.tds_changed_by_hand is
'Functions, procedures, views and triggers of TDS that are not as the last upgrade left them: somebody changed or dropped them. '
'The next upgrade (tds db upgrade) sets them right again; what is to stay belongs into the file.';
comment on column public.tds_changed_by_hand.object is 'Kind, name and arguments.';
comment on column public.tds_changed_by_hand.change is 'changed or dropped.';
comment on column public.tds_changed_by_hand.file is 'The file below db/ that defines it.';
comment on column public.tds_changed_by_hand.upgraded_at is 'When the last upgrade began: it was changed later.';
