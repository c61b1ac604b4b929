"""Brings a database to the state of the files in db/: roles, pgmq, numbered migrations, functions.

Everything but the roles, which belong to the whole cluster, happens in one transaction under one advisory
lock: twenty upgrades at once do the work once, and one that fails or is killed leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, IsolationLevel, errors, sql
from psycopg.conninfo import make_conninfo

from tds_db.connect import connect
from tds_db.errors import DeadlockError, MigrationError, PrivilegeError, SqlFileError, UpgradeError
from tds_db.models import Job, MachineryUser, Pgmq, Report
from tds_db.sqlfiles import (
    DIRECTORY,
    PACKAGE,
    ROUTER,
    Migration,
    SqlFile,
    read_functions,
    read_migrations,
    read_router_functions,
)
from tds_db.status import read_changes, read_orphans, read_pgmq
from tds_db.version import VERSION

OLDEST_SERVER = 150000
DEADLOCKS = 3  # after which it begins anew
FILL_SECONDS = 300.0  # how long an upgrade itself fills new columns

# The statements that the upgrade and the dump for psql have in common. They are DO blocks where a SELECT
# would do, because psql prints what a SELECT returns.
LOCK = """\
set local client_min_messages = warning;
set local search_path = pg_catalog, pg_temp;
set local statement_timeout = 0;
set local lock_timeout = 0;
do $$
declare
    v_holder text;
begin
    loop
        begin
            set local lock_timeout = '1s';
            perform pg_advisory_xact_lock(hashtextextended('tds.upgrade', 0));
            return;
        exception when lock_not_available then
            null;
        end;
        -- anybody may take it: one who cannot upgrade does not, and is not waited for
        select string_agg(format('session %s of %s (%s)', l.pid, r.rolname, a.application_name), ', ')
        into v_holder
        from pg_locks as l
        join pg_stat_activity as a on a.pid = l.pid
        join pg_roles as r on r.oid = a.usesysid
        where l.locktype = 'advisory' and l.granted and l.objsubid = 1
            and l.classid::bigint << 32 | l.objid::bigint = hashtextextended('tds.upgrade', 0)
            and l.database = (select d.oid from pg_database as d where d.datname = current_database())
        having not bool_or(
            r.rolsuper or r.rolcreaterole or has_database_privilege(r.oid, current_database(), 'create')
            or exists (
                select from pg_roles as t
                where t.rolname = 'tds_owner' and pg_has_role(r.oid, t.oid, 'member')));
        if v_holder is not null then
            raise warning 'not waited for, as it may not upgrade: % holds the lock of upgrades', v_holder;
            return;
        end if;
    end loop;
end $$;
set local lock_timeout = '{lock_timeout}';
"""
RECORD_MIGRATION = """\
insert into tds.migration (id, content_hash, version, breaking)
values ('{id}', '{sha256}', '{version}', nullif('{breaking}', ''));
"""
RECORD_PGMQ = """\
insert into tds.pgmq_install (kind, version)
select coalesce(max('extension'), 'sql'), coalesce(max(extversion), '{version}')
from pg_extension where extname = 'pgmq';
"""
# A fix by hand is about to be lost: whoever runs the script with psql has to hear of it.
WARN_OF_CHANGES = """\
do $$
declare
    v_change record;
begin
    for v_change in
        select c.object, c.change from public.tds_changed_by_hand as c order by c.object collate "C"
    loop
        raise warning 'set right again: %, which was % by hand', v_change.object, v_change.change;
    end loop;
end $$;
"""
# Books without hashes are of a version that kept no triggers; those that call a function of ours were ours.
REMEMBER_BOOKS = """\
do $$ begin
    perform set_config(
        'tds.booked',
        array(
            select unnest(f.objects) from tds.sql_file as f
            union
            select format('trigger %s on %s', quote_ident(t.tgname), i.identity)
            from pg_trigger as t
            join pg_proc as p on p.oid = t.tgfoid and p.pronamespace = 'tds'::regnamespace
            cross join lateral pg_identify_object('pg_class'::regclass, t.tgrelid, 0) as i
            where not t.tgisinternal and t.tgparentid = 0 and not exists (select from tds.sql_hash)
        )::text,
        true);
end $$;
"""
NAME_FILE = """\
do $$ begin
    perform set_config('tds.file', '{path}', true);
end $$;
"""
# What a file makes is written by commands between the one that writes its row and that of the file before.
RECORD_FILE = """\
insert into tds.sql_file (path, sha256, objects, version)
values ('{path}', '{sha256}', array[]::text[], '{version}')
on conflict (path) do update set
    sha256 = excluded.sha256,
    objects = excluded.objects,
    version = excluded.version,
    applied_at = excluded.applied_at,
    applied_by = excluded.applied_by;
"""
RECORD_OBJECTS = """\
with step as (
    select null as path, m.xmin as maker, lpad(m.cmin::text, 10, '0') as command from tds.migration as m
    union all
    select f.path, f.xmin, lpad(f.cmin::text, 10, '0') from tds.sql_file as f
), turn as (
    select s.path, s.command, lag(s.command, 1, '') over (order by s.command) as after
    from step as s
    where age(s.maker) <= 0
), made as materialized (
    select o.object, o.command from tds.sql_object as o where o.command is not null
)
update tds.sql_file as f set objects = m.objects
from (
    select t.path, array_agg(o.object order by o.object) as objects
    from turn as t
    join made as o on o.command > t.after and o.command < t.command
    group by t.path
) as m
where m.path = f.path;
"""
# What the last upgrade made and this one did not. One may use another, so whatever can go goes first; what
# somebody else's object uses stays, and is an orphan.
DROP_UNMADE = """\
do $$
declare
    v_object text;
    v_dropped boolean := true;
begin
    while v_dropped loop
        v_dropped := false;
        for v_object in
            select o.object from tds.sql_object as o
            where o.object in (select unnest(current_setting('tds.booked')::text[]))
                and o.object not in (select unnest(f.objects) from tds.sql_file as f)
            order by split_part(o.object, ' ', 1) desc, o.object
        loop
            begin
                execute 'drop ' || v_object;
                v_dropped := true;
            exception when dependent_objects_still_exist then
                null;
            end;
        end loop;
    end loop;
end $$;
"""
MACHINERY_USERS: LiteralString = """\
select u.doc ->> 'view', u.doc ->> 'object', u.doc ->> 'columns'
from jsonb_array_elements(current_setting('tds.machinery_users')::jsonb) with ordinality as u(doc, n)
order by u.n
"""
# Whoever runs the script with psql has to hear of it, too.
WARN_OF_MACHINERY = """\
do $$
declare
    v_user record;
begin
    for v_user in
        select u.doc ->> 'view' as view, u.doc ->> 'object' as object, u.doc ->> 'columns' as columns
        from jsonb_array_elements(nullif(current_setting('tds.machinery_users', true), '')::jsonb) as u(doc)
    loop
        raise warning 'public.% keeps its columns sync_…: % uses %',
            v_user.view, v_user.object, v_user.columns;
    end loop;
end $$;
"""
RECORD_HASHES = """\
delete from tds.sql_hash;
with n as materialized (select tds.names_hash() as names)
insert into tds.sql_hash (object, hash, book, seen, names)
select o.object, o.hash, 'tds.sql_hash'::regclass, o.seen, (select n.names from n)
from tds.sql_object as o
where o.object in (select unnest(objects) from tds.sql_file);
"""
GRANT_PGMQ = """\
grant usage, create on schema pgmq to tds_owner;
grant all on all tables in schema pgmq to tds_owner;
grant all on all sequences in schema pgmq to tds_owner;"""
PSQL_PGMQ = """\
select
    not exists (select from tds.pgmq_install) as pgmq_wanted,
    exists (select from pg_available_extensions where name = 'pgmq') as pgmq_offered \\gset
\\if :pgmq_wanted
\\if :pgmq_offered
create extension if not exists pgmq;
\\else
{script}
\\endif
{record}\\endif

"""

# pg_cron runs a job as whoever scheduled it, so the installing role becomes tds_worker for a moment.
BECOME_WORKER = """\
reset role;
do $$ begin
    if not has_schema_privilege('tds_worker', 'cron', 'usage') then
        grant usage on schema cron to tds_worker;
    end if;
    if not pg_has_role(
        'tds_worker',
        case when current_setting('server_version_num')::int < 160000 then 'member' else 'set' end
    ) then
        execute format('grant tds_worker to %I', current_user);
    end if;
end $$;
set local role tds_worker;
"""
INSTALL_JOBS_BY_HAND = """\
grant usage on schema cron to tds_worker;
set role tds_worker;
select * from tds.install_jobs();"""
PSQL_JOBS = """\
select
    exists (select from pg_extension where extname = 'pg_cron')
    and to_regprocedure('tds.install_jobs()') is not null as jobs_here \\gset
\\if :jobs_here
{become_worker}select * from tds.install_jobs();
\\endif
"""


def upgrade(
    conninfo: str, *, dry_run: bool = False, lock_timeout: str = "5s", directory: Path = DIRECTORY
) -> Report:
    """Applies the roles, pgmq, the pending migrations and all function files.

    Args:
        conninfo: the database, as a role that owns it and has CREATEROLE or finds the roles made.
        dry_run: do everything, roles included, in one transaction, and roll it back.
        lock_timeout: how long to wait for any one lock, in PostgreSQL's syntax. Other upgrades are waited for
            as long as they take.
        directory: where migrations/ and functions/ are.

    Raises:
        UpgradeError: or one of its kin, see db.errors. Nothing has changed then; roles may have been made.
        psycopg.OperationalError: the database cannot be reached.
    """
    migrations = read_migrations(directory / "migrations")
    functions = read_functions(directory / "functions")
    if not dry_run:
        _create_roles(conninfo, lock_timeout)
    report = _apply_patiently(conninfo, migrations, functions, dry_run=dry_run, lock_timeout=lock_timeout)
    if report.migrations and not dry_run:
        _fill_new_columns(conninfo, lock_timeout)
    return report


def upgrade_router(conninfo: str, *, dry_run: bool = False, lock_timeout: str = "5s") -> Report:
    """The same for a router, which has no mirror and no queues.

    Args:
        conninfo: the router's database, as a superuser: PL/Proxy's language is not trusted.
        dry_run, lock_timeout: as in `upgrade`.

    Raises:
        UpgradeError: or one of its kin.
        psycopg.OperationalError: the database cannot be reached.
    """
    if not dry_run:
        _create_roles(conninfo, lock_timeout)
    migrations = read_migrations(ROUTER / "migrations")
    return _apply_patiently(
        conninfo,
        migrations,
        read_router_functions(),
        dry_run=dry_run,
        lock_timeout=lock_timeout,
        has_queues=False,
    )


def dump_sql(
    *, applied: Collection[str] = (), lock_timeout: str = "5s", directory: Path = DIRECTORY
) -> Iterator[str]:
    """The upgrade as a script for psql, in pieces: the same statements in the same order as `upgrade` runs.

    Args:
        applied: ids of migrations to leave out; without any the script is for a database that has none.
        lock_timeout, directory: as in `upgrade`.

    Raises:
        MigrationError: a file cannot be read.
    """
    migrations = read_migrations(directory / "migrations")
    functions = read_functions(directory / "functions")
    lock = _sql(LOCK, lock_timeout=lock_timeout)
    yield "-- The upgrade of TDS, for psql: psql -X -q -f this-file -d database\n\\set ON_ERROR_STOP on\n\n"
    yield f"begin isolation level read committed;\n{lock}{_own_file('roles.sql').text}commit;\n\n"
    yield f"begin isolation level read committed;\n{lock}{_own_file('bootstrap.sql').text}\n"
    yield PSQL_PGMQ.format(script=_pgmq_script(), record=_record_pgmq())
    yield f"{WARN_OF_CHANGES}{_own_file('keep_grants.sql').text}{REMEMBER_BOOKS}\n"
    if any(migration.id not in applied for migration in migrations):
        yield _text_as_installer("find_machinery_users.sql")
        yield _text_as_installer("set_views_aside.sql")
    for migration in migrations:
        if migration.id not in applied:
            yield f"-- {migration.path}\n{migration.text}\n{_record_migration(migration)}\n"
    for file in functions:
        yield f"-- {file.path}\n{_sql(NAME_FILE, path=file.path)}{file.text}\n{_record_file(file)}\n"
    yield RECORD_OBJECTS
    yield f"{_own_file('give_grants.sql').text}{_text_as_installer('bring_views_back.sql')}\n"
    yield f"{_forget_other_files(functions)}{DROP_UNMADE}{RECORD_HASHES}{WARN_OF_MACHINERY}"
    yield PSQL_JOBS.format(become_worker=BECOME_WORKER)
    yield "commit;\n"


def install_jobs(conn: Connection) -> list[Job]:
    """Has pg_cron run the jobs, if it is here.

    Whoever installs may lack the right to. TDS works without: a worker runs what nobody else does.

    Args:
        conn: in a transaction, which goes on as tds_worker where pg_cron is here.

    Returns:
        What became of each job, or what is left to do for an administrator; nothing where pg_cron is not.
    """
    if not _scalar(conn, "select to_regprocedure('tds.install_jobs()') is not null"):
        return []  # an upgrade from other files than ours
    here = _scalar(conn, "select exists (select from pg_extension where extname = 'pg_cron')")
    try:
        with conn.transaction():
            if here:
                _execute(conn, BECOME_WORKER)
            return [Job(*row) for row in conn.execute("select * from tds.install_jobs()")]
    except errors.InsufficientPrivilege:
        return [Job("all", "run here as an administrator", INSTALL_JOBS_BY_HAND)]


# The steps


def _apply_patiently(
    conninfo: str,
    migrations: list[Migration],
    functions: list[SqlFile],
    *,
    dry_run: bool,
    lock_timeout: str,
    has_queues: bool = True,
) -> Report:
    def apply() -> Report:
        return _apply(
            conninfo,
            migrations,
            functions,
            dry_run=dry_run,
            lock_timeout=lock_timeout,
            has_queues=has_queues,
        )

    for _ in range(DEADLOCKS):
        # With an autovacuum, or a batch in work: nothing was changed, and the other one goes on.
        with suppress(DeadlockError):
            return apply()
    return apply()


def _fill_new_columns(conninfo: str, lock_timeout: str) -> None:
    """Fills columns that a migration added from the stored documents; a job goes on should this stop."""
    began = time.monotonic()
    left = 1
    while left and time.monotonic() - began < FILL_SECONDS:
        with _transaction(conninfo, lock_timeout) as conn:
            # files of one's own may have neither
            known = _scalar(conn, "select to_regprocedure('tds.fill_new_columns(int)') is not null")
            left = _scalar(conn, "select tds.fill_new_columns()") if known else 0


def _apply(
    conninfo: str,
    migrations: list[Migration],
    functions: list[SqlFile],
    *,
    dry_run: bool,
    lock_timeout: str,
    has_queues: bool,
) -> Report:
    started = time.monotonic()
    with _transaction(conninfo, lock_timeout, rollback=dry_run) as conn:
        if dry_run:
            _run_as_installer(conn, _own_file("roles.sql"))
        _run_as_installer(conn, _own_file("bootstrap.sql"))
        pgmq = _install_pgmq(conn) if has_queues else None
        changes = read_changes(conn)
        _own_file("keep_grants.sql").run(conn)
        _as_installer(conn, "find_machinery_users.sql")
        _execute(conn, REMEMBER_BOOKS)
        booked = _names(
            conn,
            "select object from tds.sql_object "
            "where object in (select unnest(current_setting('tds.booked')::text[]))",
        )
        pending = _pending(migrations, _applied_migrations(conn))
        for migration in pending:
            _run(conn, migration)
            _execute(conn, _record_migration(migration))
        before = dict(conn.execute("select path, sha256 from tds.sql_file").fetchall())
        for file in functions:
            _execute(conn, _sql(NAME_FILE, path=file.path))
            _run(conn, file)
            _execute(conn, _record_file(file))
        _execute(conn, RECORD_OBJECTS)
        _own_file("give_grants.sql").run(conn)
        _as_installer(conn, "bring_views_back.sql")
        _execute(conn, _forget_other_files(functions))
        SqlFile("what no file makes any more", DROP_UNMADE).run(conn)
        _execute(conn, RECORD_HASHES)
        made, orphans = _names(conn, "select object from tds.sql_hash"), read_orphans(conn)
        users = [MachineryUser(*row) for row in conn.execute(MACHINERY_USERS)]
        jobs = install_jobs(conn)
    return Report(
        dry_run=dry_run,
        migrations=[migration.id for migration in pending],
        breaking={migration.id: migration.breaking for migration in pending if migration.breaking},
        functions=len(functions),
        changed_functions=[file.path for file in functions if before.get(file.path) != file.sha256],
        overwritten=[change for change in changes if change.object in made],
        dropped=sorted(booked - made - set(orphans)),
        orphans=orphans,
        machinery_users=users,
        pgmq=pgmq,
        jobs=jobs,
        seconds=time.monotonic() - started,
    )


def _run(conn: Connection, file: SqlFile) -> None:
    """Runs a file; if views of others are in its way, they are set aside until all files have run."""
    try:
        with conn.transaction():
            file.run(conn)
        return
    except SqlFileError as error:
        if not isinstance(error.__cause__, errors.DependentObjectsStillExist | errors.FeatureNotSupported):
            raise
        _as_installer(conn, "set_views_aside.sql")
        if not _scalar(conn, "select jsonb_array_length(current_setting('tds.kept_views')::jsonb)"):
            raise
    file.run(conn)


def _as_installer(conn: Connection, name: str) -> None:
    _execute(conn, "reset role")
    _own_file(name).run(conn)
    _execute(conn, "set local role tds_owner")


def _create_roles(conninfo: str, lock_timeout: str) -> None:
    """Roles belong to the cluster, so upgrades of its other databases have to be kept out as well: by a lock
    in `postgres`, where everybody can meet (or in the target, when that one may not be connected to)."""
    try:
        with _transaction(make_conninfo(conninfo, dbname="postgres"), lock_timeout) as conn:
            _run_as_installer(conn, _own_file("roles.sql"))
    except psycopg.OperationalError:
        with _transaction(conninfo, lock_timeout) as conn:
            _run_as_installer(conn, _own_file("roles.sql"))


@contextmanager
def _transaction(conninfo: str, lock_timeout: str, *, rollback: bool = False) -> Iterator[Connection]:
    """A transaction that holds the upgrade's lock, on a connection of its own."""
    with connect("db", conninfo, autocommit=True, client_encoding="utf8") as conn:
        if conn.info.server_version < OLDEST_SERVER:
            raise UpgradeError(
                f"The server is PostgreSQL {conn.info.parameter_status('server_version')}.",
                "TDS needs 15 or newer.",
            )
        # Whatever the role's default: what others committed while we waited for the lock has to be seen.
        conn.isolation_level = IsolationLevel.READ_COMMITTED
        with conn.transaction(force_rollback=rollback):
            _execute(conn, _sql(LOCK, lock_timeout=lock_timeout))
            yield conn


def _run_as_installer(conn: Connection, file: SqlFile) -> None:
    try:
        file.run(conn)
    except SqlFileError as error:
        if not isinstance(error.__cause__, errors.InsufficientPrivilege):
            raise
        me = sql.Identifier(conn.info.user).as_string(conn)
        if file.path == "roles.sql":
            needed = f"{file.text}\ngrant tds_owner to {me};"
            raise PrivilegeError(f"The role {me} may not create the roles of TDS.", needed) from error
        needed = error.__cause__.diag.message_hint or ""
        raise PrivilegeError(f"The role {me} may not prepare this database for TDS.", needed) from error


def _install_pgmq(conn: Connection) -> Pgmq:
    """Once in a database's life: the script of the Python package cannot be run twice, so its later versions
    are migrations of ours, and those of the extension are the administrator's."""
    if found := read_pgmq(conn):
        return found
    has_extension = _scalar(conn, "select exists (select from pg_extension where extname = 'pgmq')")
    if not has_extension and _scalar(conn, "select to_regnamespace('pgmq') is not null"):
        raise UpgradeError(
            "This database has a schema pgmq that is neither the extension's nor of TDS.",
            "Install the extension pgmq there, or give TDS a database of its own.",
        )
    if not has_extension and _scalar(
        conn, "select exists (select from pg_available_extensions where name = 'pgmq')"
    ):
        try:
            with conn.transaction():
                conn.execute("create extension pgmq")
            has_extension = True
        except errors.InsufficientPrivilege:
            pass  # on this server only an administrator may; the script serves as well
    if not has_extension:
        SqlFile("pgmq.sql (of the package pgmq)", _pgmq_script()).run(conn)
    elif not _scalar(
        conn,
        "select has_schema_privilege('pgmq', 'usage') and has_schema_privilege('pgmq', 'create') "
        "and has_table_privilege('pgmq.meta', 'select, insert, update, delete')",
    ):
        raise PrivilegeError(
            "tds_owner may not use the extension pgmq that somebody else installed.", GRANT_PGMQ
        )
    _execute(conn, _record_pgmq())
    installed = read_pgmq(conn)
    assert installed is not None
    return installed


def _pending(migrations: Iterable[Migration], applied: Mapping[str, str]) -> list[Migration]:
    """The migrations to apply.

    Raises:
        MigrationError: one that was applied has changed since, or is gone.
    """
    files = {migration.id: migration for migration in migrations}
    for name, sha256 in applied.items():
        if name not in files:
            raise MigrationError(
                f"Migration {name} was applied to this database, but its file is missing.",
                "This looks like an older checkout. Upgrade with the newest one, or restore the file.",
            )
        if files[name].sha256 != sha256:
            raise MigrationError(
                f"Migration {files[name].path} was changed after it had been applied.\n"
                f"  applied: {sha256}\n  on disk: {files[name].sha256}",
                "Restore the file as it was, and put the change into a new migration.",
            )
    return [migration for name, migration in files.items() if name not in applied]


def _applied_migrations(conn: Connection) -> dict[str, str]:
    return dict(conn.execute("select id, content_hash from tds.migration order by id").fetchall())


# SQL


def _own_file(name: str) -> SqlFile:
    return SqlFile(name, (PACKAGE / name).read_text(encoding="utf-8"))


def _text_as_installer(name: str) -> str:
    return f"reset role;\n{_own_file(name).text}set local role tds_owner;\n"


def _record_migration(migration: Migration) -> str:
    return _sql(
        RECORD_MIGRATION,
        id=migration.id,
        sha256=migration.sha256,
        version=VERSION,
        breaking=migration.breaking or "",
    )


def _record_file(file: SqlFile) -> str:
    return _sql(RECORD_FILE, path=file.path, sha256=file.sha256, version=VERSION)


def _pgmq_script() -> str:
    from pgmq import get_embedded_install_sql  # noqa: PLC0415 - most that import this upgrade nothing

    return str(get_embedded_install_sql())


def _record_pgmq() -> str:
    from pgmq import get_embedded_sql_version  # noqa: PLC0415

    return _sql(RECORD_PGMQ, version=get_embedded_sql_version())


def _forget_other_files(files: Iterable[SqlFile]) -> str:
    # paths of the package's own files, as quoted literals: this is also printed for whoever runs it by hand
    return "delete from tds.sql_file where path not in ({});\n".format(  # noqa: S608
        ", ".join(["''", *(_sql("'{path}'", path=file.path) for file in files)])
    )


def _sql(template: str, **values: str) -> str:
    """Fills in string literals (the template has the quotes)."""
    return template.format(**{name: value.replace("'", "''") for name, value in values.items()})


def _execute(conn: Connection, statements: str) -> None:
    conn.execute(statements.encode())


def _names(conn: Connection, query: LiteralString) -> set[str]:
    return {name for (name,) in conn.execute(query)}


def _scalar(conn: Connection, query: LiteralString) -> Any:
    row = conn.execute(query).fetchone()
    return row[0] if row else None
