"""A database whose network can be had to stall."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import conninfo_to_dict

from benchmarks.stalling import Proxy
from tests.db.servers import Database


@contextmanager
def stalling(database: Database) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the database's server, and the connection string that goes through it."""
    given = conninfo_to_dict(database.conninfo)
    host, port = str(given["host"]), int(str(given["port"]))
    proxy = Proxy(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port))
    try:
        yield proxy, database.dsn(host="127.0.0.1", port=proxy.port)
    finally:
        proxy.close()
