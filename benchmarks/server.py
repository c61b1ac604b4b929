"""The server of the measurements: our own, production-like, on loopback, gone afterwards."""

from __future__ import annotations

import itertools
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.data import ORGANIZATION
from tds_db import embedded
from tds_db.upgrade import upgrade

PORT = 5432
TEMPLATE = "bench_template"
SETTINGS: Mapping[str, str] = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "'2GB'",
    "work_mem": "'64MB'",
    "maintenance_work_mem": "'256MB'",
    "max_wal_size": "'8GB'",
    "wal_keep_size": "'8GB'",  # the WAL of a sample is read after it
    "checkpoint_timeout": "'15min'",
    "random_page_cost": "1.1",
    "autovacuum": "on",
    "logging_collector": "off",
}
SHOWN = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_compression",
    "shared_buffers",
    "work_mem",
    "max_wal_size",
    "autovacuum",
    "jit",
    "default_toast_compression",
    "data_checksums",
)


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach a database over TCP, for programs that want a URL."""

    host: str
    port: int
    user: str
    password: str
    dbname: str

    @property
    def url(self) -> str:
        """A URL with the password in it: for the environment of a child, never for a command line."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.dbname}"


class BenchServer:
    """A running server that hands out fresh databases.

    Args:
        server: as `db.embedded` started it.
        host: the loopback address it listens on.
    """

    def __init__(self, server: embedded.Server, host: str) -> None:
        self._server = server
        self._host = host
        self._numbers = itertools.count(1)
        self._password = (server.data_dir / "pgpass").read_text().strip().rpartition(":")[2]
        self._make_template()

    def address(self, dbname: str = "postgres") -> Address:
        """Where a database is."""
        return Address(self._host, PORT, self._server.superuser, self._password, dbname)

    def dsn(self, dbname: str = "postgres") -> str:
        """libpq connection string over loopback; it names the password file."""
        return self._server.conninfo(dbname, host=self._host)

    def settings(self) -> dict[str, str]:
        """The settings worth knowing when the figures are read."""
        with psycopg.connect(self.dsn()) as conn:
            rows = conn.execute(
                "select name, current_setting(name) from pg_settings where name = any (%s)", [list(SHOWN)]
            ).fetchall()
        found: dict[str, str] = dict(rows)
        return {name: found[name] for name in SHOWN}

    @contextmanager
    def database(self, template: str = TEMPLATE) -> Iterator[str]:
        """The connection string of a fresh copy of a template, dropped at the end."""
        name = f"bench_{next(self._numbers)}"
        self._administer("create database {} template {}", name, template)
        try:
            yield self.dsn(name)
        finally:
            self._administer("drop database if exists {} with (force)", name)

    def _administer(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.dsn(), autocommit=True) as conn:
            conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _make_template(self) -> None:
        self._administer("create database {}", TEMPLATE)
        upgrade(self.dsn(TEMPLATE))
        with psycopg.connect(self.dsn(TEMPLATE), autocommit=True) as conn:
            conn.execute(
                "update tds.setting set value = to_jsonb(%s::text) where name = 'organization_id'",
                [ORGANIZATION],
            )
            conn.execute("create extension pg_walinspect")
            conn.execute("create schema bench")
            conn.execute("vacuum analyze")


@contextmanager
def bench_server(place: Path | None) -> Iterator[BenchServer]:
    """A server in a new directory below `place` (default: the system's for temporary files).

    Raises:
        ServerError: it does not start.
    """
    data_dir = Path(tempfile.mkdtemp(prefix="tds-bench-", dir=place))
    data_dir.chmod(0o711)  # as root, another account runs the server and has to pass through
    host = _free_loopback()
    try:
        server = embedded.ensure_running(data_dir, settings={**SETTINGS, "listen_addresses": f"'{host}'"})
        try:
            yield BenchServer(server, host)
        finally:
            embedded.stop(data_dir)
    finally:
        shutil.rmtree(data_dir)


def _free_loopback() -> str:
    """A loopback address whose port nobody has taken: 127.0.0.1 may be another server's."""
    for last in range(1, 255):
        with socket.socket() as probe:
            try:
                probe.bind((f"127.0.0.{last}", PORT))
            except OSError:
                continue
            return f"127.0.0.{last}"
    raise OSError(f"port {PORT} is taken on every loopback address")


def settle(conn: psycopg.Connection, *tables: str) -> None:
    """VACUUM, ANALYZE and CHECKPOINT, so that a sample begins with its own work.

    Args:
        conn: in autocommit mode.
        tables: only these; none: the whole database.
    """
    names = ", ".join(tables)
    conn.execute(f"vacuum (analyze) {names}".encode())
    conn.execute("checkpoint")
