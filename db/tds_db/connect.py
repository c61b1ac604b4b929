"""Connections to the database of TDS: the one given by TDS_DATABASE_URL, else the embedded one."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection, errors
from psycopg.conninfo import make_conninfo
from psycopg.rows import AsyncRowFactory, DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from tds_db import embedded
from tds_db.settings import DatabaseSettings

Row = TypeVar("Row")

DATABASE = "tds"
# A server that vanished without a word is noticed within about a minute, even in the middle of a call; a
# client that vanished, within a second: its backend ends and sets free what it held.
LASTING: Mapping[str, Any] = MappingProxyType(
    {
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "options": "-c client_connection_check_interval=1s",
    }
)


def conninfo(settings: DatabaseSettings | None = None) -> str:
    """The connection string of the database; starts the embedded server and creates its database if need be.

    Raises:
        ServerError: the embedded server cannot be started.
        psycopg.ProgrammingError: TDS_DATABASE_URL is neither a URL nor a key=value string.
    """
    settings = settings or DatabaseSettings()
    if settings.database_url is not None and (given := settings.database_url.get_secret_value()):
        return make_conninfo(escape_credentials(given))
    server = embedded.ensure_running(settings.data_dir)
    with connect("db", server.conninfo(), autocommit=True) as conn:
        if conn.execute("select from pg_database where datname = %s", [DATABASE]).fetchone() is None:
            # Another command may have created it just now.
            with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                conn.execute(f"create database {DATABASE}")
    return server.conninfo(DATABASE)


def escape_credentials(url: str) -> str:
    """Percent-encodes the @ of a password, which libpq would take for the end of it."""
    scheme, separator, rest = url.partition("://")
    end = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    credentials, at, host = rest[:end].rpartition("@")
    return scheme + separator + credentials.replace("@", "%40") + at + host + rest[end:]


def connect(component: str, dsn: str | None = None, **options: Any) -> Connection:
    """Opens a connection named `tds/<component>/<host>/<pid>` in pg_stat_activity.

    Args:
        component: receiver, worker, poller, db, or the command.
        dsn: connection string; default `conninfo()`.
        options: what `psycopg.connect` takes (autocommit …) and libpq's parameters.

    Raises:
        ServerError: the embedded server cannot be started.
        psycopg.OperationalError: the database cannot be reached.
    """
    return psycopg.connect(dsn or conninfo(), **_named(component, options))


def connect_for_rows(component: str, dsn: str | None = None, **options: Any) -> Connection[DictRow]:
    """As `connect`, in autocommit mode and with rows as dictionaries: what a command needs that looks."""
    options = {"autocommit": True} | options
    return Connection[DictRow].connect(dsn or conninfo(), row_factory=dict_row, **_named(component, options))


async def connect_async(
    component: str, dsn: str, row_factory: AsyncRowFactory[Row], **options: Any
) -> AsyncConnection[Row]:
    """As `connect`, in autocommit mode, for an event loop."""
    options = {"autocommit": True} | options
    return await AsyncConnection.connect(dsn, row_factory=row_factory, **_named(component, options))


def pool(
    component: str, dsn: str, *, min_size: int = 1, max_size: int = 4, **options: Any
) -> ConnectionPool[Connection]:
    """A pool of such connections, in autocommit mode; not yet open: use it as a context manager."""
    kwargs = {"autocommit": True} | _named(component, options)
    return ConnectionPool(dsn, kwargs=kwargs, min_size=min_size, max_size=max_size, open=False,
                          check=ConnectionPool.check_connection)  # fmt: skip


def pool_async(
    component: str, dsn: str, *, session: Mapping[str, Any] = MappingProxyType({}), **options: Any
) -> AsyncConnectionPool[AsyncConnection[Any]]:
    """A pool for an event loop, its connections in autocommit mode; not yet open.

    Args:
        component: as in `connect`.
        dsn: connection string.
        session: options of the connections.
        options: of `AsyncConnectionPool`.
    """
    kwargs = {"autocommit": True} | _named(component, session)
    return AsyncConnectionPool(dsn, kwargs=kwargs, open=False, **options)


def _named(component: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"application_name": application_name(component)} | dict(options)


def application_name(component: str) -> str:
    """`tds/<component>/<host>/<pid>`, by which a program is known; PostgreSQL keeps 63 bytes of it."""
    return f"{f'tds/{component}/{socket.gethostname()}'[:52]}/{os.getpid()}"
