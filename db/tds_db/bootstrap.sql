-- What the upgrade itself needs in the database: the owner's rights, its books, the list of what files define.
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
comment on column tds.sql_file.objects is 'The functions, procedures and views that it created or replaced.';
comment on column tds.sql_file.applied_at is 'When the upgrade that applied it began.';
comment on column tds.sql_file.applied_by is 'The role that had logged in.';

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

-- CREATE OR REPLACE renews a routine's dependency on its schema and a view's rule; GRANT, COMMENT and ALTER … SET
-- leave these rows alone. So a changed place of that row tells which file created or replaced what.
create or replace view tds.sql_object as
select
    (select i.type || ' ' || replace(i.identity, 'pg_catalog.', '')
     from pg_catalog.pg_identify_object(o.classid, o.objid, 0) as i) as object,
    o.objid || ' ' || o.place as version
from (
    select d.classid, d.objid, d.ctid as place, p.pronamespace as namespace, p.proowner as owner
    from pg_catalog.pg_proc as p
    join pg_catalog.pg_depend as d
        on d.classid = 'pg_catalog.pg_proc'::regclass
        and d.objid = p.oid
        and d.refclassid = 'pg_catalog.pg_namespace'::regclass
    union all
    select 'pg_catalog.pg_class'::regclass, c.oid, r.ctid, c.relnamespace, c.relowner
    from pg_catalog.pg_class as c
    join pg_catalog.pg_rewrite as r on r.ev_class = c.oid and r.rulename = '_RETURN'
    where c.oid <> coalesce(pg_catalog.to_regclass('tds.sql_object'), 0)
) as o
join pg_catalog.pg_namespace as n on n.oid = o.namespace
where n.nspname in ('tds', 'zoho')
    or (n.nspname = 'public' and pg_catalog.pg_get_userbyid(o.owner) = 'tds_owner');
comment on view tds.sql_object is 'Functions, procedures and views of TDS. Those that no row of tds.sql_file names are orphans.';
comment on column tds.sql_object.object is 'Kind, name and arguments.';
comment on column tds.sql_object.version is 'Changes whenever it is created or replaced.';
