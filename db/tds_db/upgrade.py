"""Brings a database to the state of the files in db/: roles, pgmq, numbered migrations, functions.

Everything but the roles, which belong to the whole cluster, happens in one transaction under one advisory
lock: twenty upgrades at once do the work once, and one that fails or is killed leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from pgmq import get_embedded_install_sql, get_embedded_sql_version
from psycopg import Connection, IsolationLevel, errors, sql
from psycopg.conninfo import make_conninfo

from tds_db.connect import connect
from tds_db.errors import MigrationError, PrivilegeError, SqlFileError, UpgradeError
from tds_db.sqlfiles import Migration, SqlFile, read_functions, read_migrations

PACKAGE = Path(__file__).parent
# Installed, migrations/ and functions/ are in the package; in a checkout they stand beside it.
DIRECTORY = PACKAGE if (PACKAGE / "migrations").is_dir() else PACKAGE.parent
OLDEST_SERVER = 150000

# The statements that the upgrade and the dump for psql have in common. They are DO blocks where a SELECT
# would do, because psql prints what a SELECT returns.
LOCK = """\
set local client_min_messages = warning;
set local search_path = pg_catalog, pg_temp;
set local statement_timeout = 0;
set local lock_timeout = 0;
do $$ begin perform pg_advisory_xact_lock(hashtextextended('tds.upgrade', 0)); end $$;
set local lock_timeout = '{lock_timeout}';
"""
RECORD_MIGRATION = "insert into tds.migration (id, content_hash) values ('{id}', '{sha256}');\n"
RECORD_PGMQ = """\
insert into tds.pgmq_install (kind, version)
select coalesce(max('extension'), 'sql'), coalesce(max(extversion), '{version}')
from pg_extension where extname = 'pgmq';
"""
REMEMBER_OBJECTS = """\
do $$ begin
    perform set_config('tds.objects', array(select version from tds.sql_object)::text, true);
    perform set_config('tds.file', '{path}', true);
end $$;
"""
RECORD_FILE = """\
insert into tds.sql_file (path, sha256, objects)
select '{path}', '{sha256}', array(
    select object from tds.sql_object
    where version <> all (current_setting('tds.objects')::text[])
    order by 1)
on conflict (path) do update set
    sha256 = excluded.sha256,
    objects = excluded.objects,
    applied_at = excluded.applied_at,
    applied_by = excluded.applied_by;
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

ORPHANS = """\
select object from tds.sql_object
where object not in (select unnest(objects) from tds.sql_file)
order by 1
"""


@dataclass(frozen=True)
class Pgmq:
    """How pgmq is installed: kind `extension` or `sql`."""

    kind: str
    version: str


@dataclass(frozen=True)
class Job:
    """What became of a job in pg_cron: see tds.install_jobs()."""

    job: str
    action: str
    statement: str | None


@dataclass(frozen=True)
class Report:
    """What an upgrade did, or, as a dry run, would do."""

    dry_run: bool
    migrations: list[str]
    """Ids of the numbered migrations it applied."""
    functions: int
    """Number of function files; all of them are applied every time."""
    changed_functions: list[str]
    """Those that differ from what was applied before."""
    orphans: list[str]
    """Routines and views of TDS that no file defines."""
    pgmq: Pgmq
    jobs: list[Job]
    """What became of the jobs in pg_cron; none where the server has no pg_cron: the workers run them."""
    seconds: float


@dataclass(frozen=True)
class FileState:
    """A file against the database's books: applied, pending, changed or missing (on disk)."""

    name: str
    state: str
    applied_at: datetime | None = None


@dataclass(frozen=True)
class Status:
    """The database against the files."""

    database: str
    server_version: str
    pgmq: Pgmq | None
    migrations: list[FileState]
    functions: list[FileState]
    orphans: list[str] = field(default_factory=list)

    @property
    def current(self) -> bool:
        """Whether the database is exactly what the files say. Orphans are reported but do not count."""
        return all(file.state == "applied" for file in (*self.migrations, *self.functions))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"current": self.current, **asdict(self)}


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
    started = time.monotonic()
    migrations = read_migrations(directory / "migrations")
    functions = read_functions(directory / "functions")
    if not dry_run:
        _create_roles(conninfo, lock_timeout)
    with _transaction(conninfo, lock_timeout, rollback=dry_run) as conn:
        if dry_run:
            _run_as_installer(conn, _own_file("roles.sql"))
        _run_as_installer(conn, _own_file("bootstrap.sql"))
        pgmq = _install_pgmq(conn)
        pending = _pending(migrations, _applied_migrations(conn))
        for migration in pending:
            migration.run(conn)
            _execute(conn, _record_migration(migration))
        before = dict(conn.execute("select path, sha256 from tds.sql_file").fetchall())
        for file in functions:
            _execute(conn, _sql(REMEMBER_OBJECTS, path=file.path))
            file.run(conn)
            _execute(conn, _record_file(file))
        _execute(conn, _forget_other_files(functions))
        orphans = [name for (name,) in conn.execute(ORPHANS)]
        jobs = install_jobs(conn)
    return Report(
        dry_run=dry_run,
        migrations=[migration.id for migration in pending],
        functions=len(functions),
        changed_functions=[file.path for file in functions if before.get(file.path) != file.sha256],
        orphans=orphans,
        pgmq=pgmq,
        jobs=jobs,
        seconds=time.monotonic() - started,
    )


def status(conninfo: str, *, directory: Path = DIRECTORY) -> Status:
    """Compares the database with the files; changes nothing.

    Raises:
        MigrationError: a file cannot be read.
        psycopg.OperationalError: the database cannot be reached.
        psycopg.errors.InsufficientPrivilege: the role may not read the books (tds_owner and its members may).
    """
    migrations = read_migrations(directory / "migrations")
    functions = read_functions(directory / "functions")
    with connect("db", conninfo) as conn:
        installed = _scalar(conn, "select to_regclass('tds.sql_object') is not null")
        books = _read_books(conn) if installed else _Books({}, {}, None, [])
        return Status(
            database=conn.info.dbname,
            server_version=conn.info.parameter_status("server_version") or "",
            pgmq=books.pgmq,
            migrations=_compare({m.id: m.sha256 for m in migrations}, books.migrations),
            functions=_compare({file.path: file.sha256 for file in functions}, books.files),
            orphans=books.orphans,
        )


def file_hashes(directory: Path = DIRECTORY) -> dict[str, str]:
    """This program's migrations and function files by their paths, with the SHA-256 that the books have.

    Raises:
        MigrationError: a file cannot be read.
    """
    files = [*read_migrations(directory / "migrations"), *read_functions(directory / "functions")]
    return {file.path: file.sha256 for file in files}


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
    yield PSQL_PGMQ.format(script=get_embedded_install_sql(), record=_record_pgmq())
    for migration in migrations:
        if migration.id not in applied:
            yield f"-- {migration.path}\n{migration.text}\n{_record_migration(migration)}\n"
    for file in functions:
        yield f"-- {file.path}\n{_sql(REMEMBER_OBJECTS, path=file.path)}{file.text}\n{_record_file(file)}\n"
    yield _forget_other_files(functions)
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
    if found := _read_pgmq(conn):
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
        SqlFile("pgmq.sql (of the package pgmq)", get_embedded_install_sql()).run(conn)
    elif not _scalar(
        conn,
        "select has_schema_privilege('pgmq', 'usage') and has_schema_privilege('pgmq', 'create') "
        "and has_table_privilege('pgmq.meta', 'select, insert, update, delete')",
    ):
        raise PrivilegeError(
            "tds_owner may not use the extension pgmq that somebody else installed.", GRANT_PGMQ
        )
    _execute(conn, _record_pgmq())
    installed = _read_pgmq(conn)
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


# The books


@dataclass(frozen=True)
class _Books:
    migrations: dict[str, tuple[str, datetime]]
    files: dict[str, tuple[str, datetime]]
    pgmq: Pgmq | None
    orphans: list[str]


def _read_books(conn: Connection) -> _Books:
    def hashes(query: LiteralString) -> dict[str, tuple[str, datetime]]:
        return {name: (sha256, applied_at) for name, sha256, applied_at in conn.execute(query)}

    return _Books(
        hashes("select id, content_hash, applied_at from tds.migration"),
        hashes("select path, sha256, applied_at from tds.sql_file"),
        _read_pgmq(conn),
        [name for (name,) in conn.execute(ORPHANS)],
    )


def _compare(files: Mapping[str, str], books: Mapping[str, tuple[str, datetime]]) -> list[FileState]:
    def state(name: str) -> FileState:
        if name not in books:
            return FileState(name, "pending")
        sha256, applied_at = books[name]
        if name not in files:
            return FileState(name, "missing", applied_at)
        return FileState(name, "applied" if files[name] == sha256 else "changed", applied_at)

    return [state(name) for name in (*files, *sorted(books.keys() - files.keys()))]


def _applied_migrations(conn: Connection) -> dict[str, str]:
    return dict(conn.execute("select id, content_hash from tds.migration order by id").fetchall())


def _read_pgmq(conn: Connection) -> Pgmq | None:
    """The extension's version is asked of the server, which may have updated it since."""
    row = conn.execute(
        "select p.kind, coalesce(e.extversion, p.version) from tds.pgmq_install as p "
        "left join pg_extension as e on e.extname = 'pgmq' and p.kind = 'extension'"
    ).fetchone()
    return Pgmq(*row) if row else None


# SQL


def _own_file(name: str) -> SqlFile:
    return SqlFile(name, (PACKAGE / name).read_text(encoding="utf-8"))


def _record_migration(migration: Migration) -> str:
    return _sql(RECORD_MIGRATION, id=migration.id, sha256=migration.sha256)


def _record_file(file: SqlFile) -> str:
    return _sql(RECORD_FILE, path=file.path, sha256=file.sha256)


def _record_pgmq() -> str:
    return _sql(RECORD_PGMQ, version=get_embedded_sql_version())


def _forget_other_files(files: Iterable[SqlFile]) -> str:
    return "delete from tds.sql_file where path not in ({});\n".format(
        ", ".join(["''", *(_sql("'{path}'", path=file.path) for file in files)])
    )


def _sql(template: str, **values: str) -> str:
    """Fills in string literals (the template has the quotes)."""
    return template.format(**{name: value.replace("'", "''") for name, value in values.items()})


def _execute(conn: Connection, statements: str) -> None:
    conn.execute(statements.encode())


def _scalar(conn: Connection, query: LiteralString) -> Any:
    row = conn.execute(query).fetchone()
    return row[0] if row else None
