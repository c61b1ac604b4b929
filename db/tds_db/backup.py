"""Backups: all rows of the mirror and its books in one file, and back into an empty database.

The schema is not in the file: `upgrade` makes it, with the roles, pgmq and settings of the other server. So a
backup goes from one major version to another, from a server with lz4 to one without, and from pgmq as an
extension to pgmq as SQL. Queues hold numbers only; they are filled anew from the inbox.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import psycopg
from psycopg import IsolationLevel, sql

from tds_db.connect import LASTING, connect
from tds_db.errors import TdsError
from tds_db.progress import UNSEEN, Step
from tds_db.sqlfiles import DIRECTORY, migration_hashes, read_functions
from tds_db.status import status
from tds_db.upgrade import install_jobs, upgrade
from tds_db.version import VERSION

FORMAT = 1
MANIFEST = "manifest.json"
PARTITION = re.compile(
    r"tds\.inbox\w* tds\.inbox\w* FOR VALUES FROM \((MINVALUE|'[-0-9:+ .]+')\) TO \('[-0-9:+ .]+'\)"
)
SUFFIX = ".tdsbackup"
UNFINISHED, DOUBTFUL = ".unfinished", ".unverified"
ABANDONED_SECONDS = 86_400.0  # since something was written to what is not finished
ROWS_SHOWN = 10_000  # between two looks at how far it is
SCRATCH = "tds_verify_"
# What the other server's own upgrade writes, what is secret or ends with its session, and what is
# said of queues, which are filled anew.
LEFT_OUT = (
    "tds.migration",
    "tds.sql_file",
    "tds.sql_hash",
    "tds.pgmq_install",
    "tds.api_token",
    "tds.lease",
    "tds.partition_lock",
    "tds.reading_floor",
    "tds.backup_wanted",
    "tds.restoring",
)
SETTINGS = {**LASTING, "TimeZone": "UTC"}
TABLES = """
    select format('%%I.%%I', n.nspname, c.relname),
           array_agg(quote_ident(a.attname) order by a.attnum)
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
     where not a.attisdropped and a.attgenerated = '' and n.nspname in ('tds', 'zoho')
       and c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence = 'p'
       and format('%%I.%%I', n.nspname, c.relname) <> all (%s)
     group by 1
     order by 1"""
TYPES = """
    select quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)
      from pg_attribute a where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped"""
PARTITIONS = """
    select format('%I.%I', n.nspname, c.relname), i.inhparent::regclass::text,
           pg_get_expr(c.relpartbound, c.oid)
      from pg_inherits i
      join pg_class c on c.oid = i.inhrelid
      join pg_namespace n on n.oid = c.relnamespace
      join pg_partitioned_table p on p.partrelid = i.inhparent and p.partstrat = 'r'
     where n.nspname = 'tds'
     order by 1"""
SEQUENCES = """
    select format('%I.%I', schemaname, sequencename), last_value
      from pg_sequences where schemaname in ('tds', 'zoho') and last_value is not null order by 1"""
REFERENCES = """
    select conrelid::regclass::text, confrelid::regclass::text
      from pg_constraint where contype = 'f' and conrelid <> confrelid and conparentid = 0"""
LEFT_BEHIND = """
    select d.datname from pg_database d
     where d.datname like %s and pg_has_role(d.datdba, 'member')
       and not exists (select from pg_stat_activity a where a.datid = d.oid)"""
# What is enabled always is to be so again: ENABLE alone is less.
TRIGGERED = """
    select tgrelid::regclass::text, quote_ident(tgname),
           case tgenabled when 'A' then 'enable always' else 'enable' end
      from pg_trigger t join pg_class c on c.oid = t.tgrelid
     where not t.tgisinternal and t.tgenabled <> 'D' and c.relnamespace::regnamespace::text in ('tds', 'zoho')
     order by 1, 2"""


class BackupError(TdsError):
    """A backup cannot be made, read or restored."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What was written, or is in a file."""

    path: Path
    taken_at: datetime
    bytes: int
    rows: int
    tables: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of a restore."""

    rows: int
    requeued: int
    seconds: float
    left_out: Sequence[str] = ()
    """Somebody's own tables and columns that are in the backup, and that this database does not have."""


def back_up(conninfo: str, directory: Path, step: Step = UNSEEN) -> Backup:
    """Writes one file with the state of one moment; whole or not at all, mode 0600.

    Args:
        conninfo: the database, as a member of tds_owner.
        directory: where; it is made if need be.
        step: where to show the progress, in rows.

    Raises:
        BackupError: the schema is not this program's, or the file cannot be written.
        psycopg.Error: the database refuses.
    """
    if not status(conninfo).applied:
        raise BackupError("The database is not what the files say.", "Next: tds db upgrade, then tds backup")
    taken_at = datetime.now(UTC)
    path = directory / f"tds-{taken_at:%Y%m%dT%H%M%S%fZ}{SUFFIX}"
    unfinished = path.with_suffix(UNFINISHED)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file, connect("backup", conninfo, settings=SETTINGS) as conn:
                conn.isolation_level, conn.read_only = IsolationLevel.REPEATABLE_READ, True
                with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                    manifest = _write(conn, archive, taken_at, step)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        told = f"{error.filename or directory}: {error.strerror}."
        raise BackupError(
            f"No backup was written. {told}", f"Next: df -h {directory}; tds backup DIR"
        ) from error
    return _described(path, manifest)


def forget(directory: Path, keep: int, made: Iterable[str]) -> list[Path]:
    """Removes all but the newest backups of one database, and what killed ones left; returns those removed.

    Another database's in the same directory are its own; and which is newer the names do not say, should the
    clock have been set back.

    Args:
        directory: where they are.
        keep: how many stay.
        made: their files, in whatever directory, the newest first.

    Raises:
        OSError: one of them cannot be removed.
    """
    found = [path for file in made if (path := directory / Path(file).name).exists()]
    for path in found[keep:]:
        path.unlink()
    for path in directory.glob(f"tds-*{UNFINISHED}"):
        if path.stat().st_mtime < time.time() - ABANDONED_SECONDS:
            path.unlink()
    return found[keep:]


def set_aside(path: Path) -> Path:
    """Names a backup so that nobody takes it for one that can be restored; one such is kept, the newest."""
    for other in path.parent.glob(f"tds-*{DOUBTFUL}"):
        other.unlink()
    return path.replace(path.with_suffix(DOUBTFUL))


def read(path: Path) -> dict[str, Any]:
    """What a backup says of itself; every byte of it is checked.

    Raises:
        BackupError: it is none, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (bad := archive.testzip()) is not None:
                raise BackupError(f"{path} is damaged: {bad}.", "Next: tds restore with another backup")
            manifest: dict[str, Any] = json.loads(archive.read(MANIFEST))
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}.", f"Next: ls -l {path.parent}") from error
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise BackupError(f"{path} is no whole backup.", "Next: tds restore with another backup") from error
    if manifest.get("format") != FORMAT:
        raise BackupError(
            f"{path} is of another format.", f"Next: pip install tds-mirror=={manifest.get('version')}"
        )
    return manifest


def restore(conninfo: str, path: Path, *, lock_timeout: str = "5s", step: Step = UNSEEN) -> Restored:
    """Fills an empty database from a backup, compares counts and sums, and fills the queues.

    All rows in one transaction after the schema is made: whatever stops it, the same call begins anew, or
    goes on where they are all there.

    Args:
        conninfo: an empty database, as one who may upgrade it.
        path: the backup.
        lock_timeout: see `upgrade`.
        step: where to show the progress, in rows.

    Raises:
        BackupError: the backup is damaged or of another version, or the database is not empty.
        UpgradeError: the schema cannot be made.
        psycopg.Error: the database refuses.
    """
    began = time.monotonic()
    manifest = read(path)
    if manifest["migrations"] != migration_hashes(DIRECTORY / "migrations"):
        version = manifest["version"]
        raise BackupError(
            f"{path} was made by version {version}, with other migrations than this program, {VERSION}.",
            f"Next: pip install tds-mirror=={version}; tds restore {path}; then this one, and tds db upgrade",
        )
    if not status(conninfo).applied:
        upgrade(conninfo, lock_timeout=lock_timeout)
    with connect("restore", conninfo, settings=SETTINGS) as conn, as_owner(conn):
        left_out = _check_names(conn, path, manifest)
        # one that was stopped after its rows were there goes on from there
        going_on = conn.execute(
            "select requeued from tds.restoring where taken_at = %s", [manifest["taken_at"]]
        ).fetchone()
        requeued = int(going_on[0]) if going_on else _load(conn, path, manifest, step)
        conn.commit()
    ours = {file.path: file.sha256 for file in read_functions(DIRECTORY / "functions")}
    if manifest.get("functions") == ours:
        with connect("restore", conninfo) as conn, as_owner(conn):
            install_jobs(conn)  # as the rows have them
            conn.commit()
    else:
        # ours write their rows of the registries over those of other functions
        upgrade(conninfo, lock_timeout=lock_timeout)
    with connect("restore", conninfo, autocommit=True) as conn:
        conn.execute("analyze")
        with as_owner(conn):
            conn.execute("delete from tds.restoring")
    rows = sum(table["rows"] for name, table in manifest["tables"].items() if name not in left_out)
    return Restored(rows, requeued, time.monotonic() - began, left_out)


@contextmanager
def scratch(conninfo: str) -> Iterator[str]:
    """A database on the same server, dropped afterwards; those that a killed one left are dropped, too.

    Raises:
        psycopg.errors.InsufficientPrivilege: this login may make none.
    """
    name = f"{SCRATCH}{os.getpid()}_{secrets.token_hex(4)}"
    with connect("backup", conninfo, autocommit=True) as conn:
        for (left,) in conn.execute(LEFT_BEHIND, [f"{SCRATCH}%"]).fetchall():
            with suppress(psycopg.errors.ObjectInUse, psycopg.errors.InvalidCatalogName):
                conn.execute(sql.SQL("drop database {}").format(sql.Identifier(left)))
        conn.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    empty = psycopg.conninfo.make_conninfo(conninfo, dbname=name)
    try:
        with connect("backup", empty, autocommit=True):  # who is connected says that it is not left behind
            yield empty
    finally:
        with connect("backup", conninfo, autocommit=True) as conn:
            conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _write(
    conn: psycopg.Connection, archive: zipfile.ZipFile, taken_at: datetime, step: Step
) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for name, columns in conn.execute(TABLES, [list(LEFT_OUT)]).fetchall():
        listed = ", ".join(columns)
        number = 0
        with (
            archive.open(name, "w", force_zip64=True) as member,
            conn.cursor().copy(f"copy (select {listed} from {name}) to stdout".encode()) as copy,  # noqa: S608
        ):
            for number, row in enumerate(copy, 1):
                member.write(row)
                if number % ROWS_SHOWN == 0:
                    step.advance(ROWS_SHOWN)
            step.advance(number % ROWS_SHOWN)
        rows, total = _sum(conn, name, listed)
        tables[name] = {"columns": columns, "rows": rows, "sum": total}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "taken_at": taken_at.isoformat(),
        "server_version": conn.info.server_version,
        "migrations": dict(conn.execute("select id, content_hash from tds.migration").fetchall()),
        "functions": dict(conn.execute("select path, sha256 from tds.sql_file").fetchall()),
        "tables": tables,
        "partitions": [list(row) for row in conn.execute(PARTITIONS)],
        "sequences": dict(conn.execute(SEQUENCES).fetchall()),
    }
    archive.writestr(MANIFEST, json.dumps(manifest))
    return manifest


def _sum(conn: psycopg.Connection, name: str, listed: str) -> tuple[int, str]:
    """How many rows, and a sum over all that is in them, in whatever order."""
    query = f"""select count(*),
                       coalesce(sum(('x' || left(md5(row({listed})::text), 15))::bit(60)::bigint), 0)::text
                  from {name}"""  # noqa: S608 - names of the catalogue, quoted by it
    row = conn.execute(query.encode()).fetchone()
    assert row
    return int(row[0]), str(row[1])


def _described(path: Path, manifest: Mapping[str, Any]) -> Backup:
    rows = {name: int(table["rows"]) for name, table in manifest["tables"].items()}
    taken_at = datetime.fromisoformat(manifest["taken_at"])
    return Backup(path, taken_at, path.stat().st_size, sum(rows.values()), rows)


def _load(conn: psycopg.Connection, path: Path, manifest: Mapping[str, Any], step: Step) -> int:
    """Every row, in one transaction that the caller commits; returns how many events were queued anew."""
    ours = _ours(conn)
    tables = {name: table for name, table in manifest["tables"].items() if name in ours}
    _refuse_rows(conn, tables)
    triggers = conn.execute(TRIGGERED).fetchall()
    for name, trigger, _ in triggers:
        conn.execute(f"alter table {name} disable trigger {trigger}".encode())
    conn.execute(("truncate " + ", ".join(tables)).encode())
    _make_partitions(conn, manifest["partitions"])
    step.at(0, total := sum(table["rows"] for table in tables.values()))
    done = 0
    with zipfile.ZipFile(path) as archive:
        for name in _in_order(conn, tables):
            for rows in _fill(conn, archive, name, tables[name], ours[name]):
                done += rows
                step.at(done, total)
    conn.execute("update tds.backup set is_anothers = true")
    for name, last in manifest["sequences"].items():
        conn.execute("select setval(s, %s) from to_regclass(%s) s where s is not null", [last, name])
    for name, trigger, enable in triggers:
        conn.execute(f"alter table {name} {enable} trigger {trigger}".encode())
    conn.execute("select tds.ensure_partitions()")
    row = conn.execute("select tds.requeue_unprocessed()").fetchone()
    requeued = int(row[0]) if row else 0
    conn.execute(
        "insert into tds.restoring (taken_at, requeued) values (%s, %s)", [manifest["taken_at"], requeued]
    )
    return requeued


@contextmanager
def as_owner(conn: psycopg.Connection) -> Iterator[None]:
    """Acts as tds_owner meanwhile."""
    conn.execute("set role tds_owner")
    yield
    with suppress(psycopg.Error):
        conn.execute("reset role")


def _ours(conn: psycopg.Connection) -> dict[str, list[str]]:
    return dict(conn.execute(TABLES, [list(LEFT_OUT)]).fetchall())


def _check_names(conn: psycopg.Connection, path: Path, manifest: Mapping[str, Any]) -> list[str]:
    """What becomes part of a statement is what this database calls its own, whoever made the file.

    Returns:
        What it does not have: tables and columns that somebody has given the one that the backup is of.
    """
    ours = _ours(conn)
    named: dict[str, list[str]] = {name: table["columns"] for name, table in manifest["tables"].items()}
    lacks = [
        *ours.keys() - named.keys(),
        *(
            f"{name}.{column}"
            for name in ours.keys() & named.keys()
            for column in {*ours[name]} - {*named[name]}
        ),
    ]
    if lacks:
        raise BackupError(
            f"{path} lacks what this database has: {', '.join(sorted(lacks)[:10])}.",
            "Next: tds db status; what is not of TDS there is made after the restore",
        )
    if not all(PARTITION.fullmatch(" ".join(part)) for part in manifest["partitions"]):
        raise BackupError(
            f"{path} names other partitions than there can be.", "Next: tds restore with another backup"
        )
    return sorted(
        [
            *named.keys() - ours.keys(),
            *(f"{name}.{column}" for name in ours for column in {*named[name]} - {*ours[name]}),
        ]
    )


def _refuse_rows(conn: psycopg.Connection, tables: Iterable[str]) -> None:
    for name in tables:
        if not (name.startswith("zoho.") or name in {"tds.inbox", "tds.run"}):
            continue
        row = conn.execute(f"select exists (select from {name})".encode()).fetchone()  # noqa: S608
        if row == (True,):
            raise BackupError(
                f"The database is not empty: {name} has rows. Nothing was changed.",
                "Next: createdb another one, and TDS_DATABASE_URL=… tds restore FILE",
            )


def _make_partitions(conn: psycopg.Connection, partitions: Iterable[tuple[str, str, str]]) -> None:
    """Those of the backup in place of those that the upgrade made, which are empty."""
    for name, _, _ in conn.execute(PARTITIONS).fetchall():
        conn.execute(f"drop table {name}".encode())
    for name, parent, bound in partitions:
        conn.execute(f"create table {name} (like {parent} including all)".encode())
        conn.execute(f"alter table {parent} attach partition {name} {bound}".encode())


def _in_order(conn: psycopg.Connection, tables: Mapping[str, Any]) -> list[str]:
    """Whatever is referred to comes first."""
    order: TopologicalSorter[str] = TopologicalSorter({name: set() for name in tables})
    for child, parent in conn.execute(REFERENCES).fetchall():
        if child in tables and parent in tables:
            order.add(child, parent)
    return list(order.static_order())


def _fill(
    conn: psycopg.Connection,
    archive: zipfile.ZipFile,
    name: str,
    table: Mapping[str, Any],
    columns: Sequence[str],
) -> Iterator[int]:
    """Fills a table's columns and compares it; tells after each part how many rows that had."""
    among = {column: f"c{number}" for number, column in enumerate(table["columns"])}
    own = among.keys() == {*columns}
    # those that this database does not have come as far as a table of their texts, under names of ours
    place, listed = (name, ", ".join(among)) if own else ("pg_temp.restored", ", ".join(among.values()))
    if not own:
        texts = ", ".join(f"{text} text" for text in among.values())
        conn.execute(f"create temp table restored ({texts})".encode())
    with (
        archive.open(name) as member,
        conn.cursor().copy(f"copy {place} ({listed}) from stdin".encode()) as copy,
    ):
        while part := member.read(1 << 20):
            copy.write(part)
            yield part.count(b"\n")  # one within a value is escaped
    found = _sum(conn, place, listed)
    if not own:
        types: dict[str, str] = dict(conn.execute(TYPES, [name]).fetchall())
        values = ", ".join(f"{among[column]}::{types[column]}" for column in columns)
        conn.execute(
            f"insert into {name} ({', '.join(columns)}) overriding system value "  # noqa: S608 - as _sum
            f"select {values} from {place}".encode()
        )
        conn.execute(b"drop table pg_temp.restored")
    if found != (table["rows"], table["sum"]):
        raise BackupError(
            f"{name} came out otherwise: {found[0]:,} rows of {table['rows']:,}, or other values; undone.",
            "Next: tds restore with another backup",
        )
