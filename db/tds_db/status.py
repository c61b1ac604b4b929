"""What the database's books say, and how that compares with the files of this program. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import LiteralString

from psycopg import Connection

from tds_db.connect import connect
from tds_db.models import Change, FileState, Pgmq, Status
from tds_db.sqlfiles import DIRECTORY, ROUTER, migration_hashes, read_functions, read_router_functions


def status(conninfo: str, *, directory: Path = DIRECTORY) -> Status:
    """Compares the database with the files; changes nothing.

    Raises:
        MigrationError: a file cannot be read.
        psycopg.OperationalError: the database cannot be reached.
        psycopg.errors.InsufficientPrivilege: the role may not read the books (tds_owner and its members may).
    """
    with connect("db", conninfo) as conn:
        if _exists(conn, "tds.router"):
            migrations, functions = migration_hashes(ROUTER / "migrations"), read_router_functions()
        else:
            migrations = migration_hashes(directory / "migrations")
            functions = read_functions(directory / "functions")
        books = _read_books(conn) if _exists(conn, "tds.sql_object") else _Books(None, {}, {}, None, [], [])
        return Status(
            database=conn.info.dbname,
            server_version=conn.info.parameter_status("server_version") or "",
            version=books.version,
            pgmq=books.pgmq,
            migrations=_compare(migrations, books.migrations),
            functions=_compare({file.path: file.sha256 for file in functions}, books.files),
            changed_by_hand=books.changes,
            orphans=books.orphans,
        )


def is_router(conninfo: str) -> bool:
    """Whether the database is a router's.

    Raises:
        psycopg.OperationalError: the database cannot be reached.
    """
    with connect("db", conninfo) as conn:
        return _exists(conn, "tds.router")


def file_hashes(directory: Path = DIRECTORY) -> dict[str, str]:
    """This program's migrations and function files by their paths, with the SHA-256 that the books have.

    Raises:
        MigrationError: a file cannot be read.
    """
    migrations = migration_hashes(directory / "migrations")
    functions = read_functions(directory / "functions")
    return {
        **{f"migrations/{name}.sql": sha256 for name, sha256 in migrations.items()},
        **{file.path: file.sha256 for file in functions},
    }


def read_changes(conn: Connection) -> list[Change]:
    """What somebody has changed or dropped since the last upgrade, in the order of the names."""
    query = 'select object, change, file from public.tds_changed_by_hand order by object collate "C"'
    return [Change(*row) for row in conn.execute(query)]


def read_orphans(conn: Connection) -> list[str]:
    """What stands in the schemas of TDS and no file defines."""
    return [
        name
        for (name,) in conn.execute(
            "select object from tds.sql_object "
            "where object not in (select unnest(objects) from tds.sql_file) order by 1"
        )
    ]


def read_pgmq(conn: Connection) -> Pgmq | None:
    """How pgmq is installed, if it is.

    The extension's version is asked of the server, which may have updated it since.
    """
    row = conn.execute(
        "select p.kind, coalesce(e.extversion, p.version) from tds.pgmq_install as p "
        "left join pg_extension as e on e.extname = 'pgmq' and p.kind = 'extension'"
    ).fetchone()
    return Pgmq(*row) if row else None


@dataclass(frozen=True)
class _Books:
    version: str | None
    migrations: dict[str, tuple[str, datetime]]
    files: dict[str, tuple[str, datetime]]
    pgmq: Pgmq | None
    changes: list[Change]
    orphans: list[str]


def _read_books(conn: Connection) -> _Books:
    def hashes(query: LiteralString) -> dict[str, tuple[str, datetime]]:
        return {name: (sha256, applied_at) for name, sha256, applied_at in conn.execute(query)}

    # A row without the column is one of an older version's book.
    version = conn.execute("select to_jsonb(f) ->> 'version' from tds.sql_file as f limit 1").fetchone()
    return _Books(
        version[0] if version else None,
        hashes("select id, content_hash, applied_at from tds.migration"),
        hashes("select path, sha256, applied_at from tds.sql_file"),
        read_pgmq(conn),
        # The books of an older version know of no changes.
        read_changes(conn) if _exists(conn, "public.tds_changed_by_hand") else [],
        read_orphans(conn),
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


def _exists(conn: Connection, relation: str) -> bool:
    return conn.execute("select to_regclass(%s)", [relation]).fetchone() != (None,)
