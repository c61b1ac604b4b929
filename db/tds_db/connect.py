"""Connections to the database of TDS: the one given by TDS_DATABASE_URL, else the embedded one."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from tds_db import embedded
from tds_db.settings import DatabaseSettings

DATABASE = "tds"


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
    with psycopg.connect(server.conninfo(), autocommit=True) as conn:
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


def connect(component: str, dsn: str | None = None, **options: Any) -> psycopg.Connection:
    """Opens a connection named `tds/<component>/<host>` in pg_stat_activity.

    Args:
        component: receiver, worker, poller, db …
        dsn: connection string; default `conninfo()`.
        options: what `psycopg.connect` takes (autocommit, row_factory …) and libpq's parameters.

    Raises:
        ServerError: the embedded server cannot be started.
        psycopg.OperationalError: the database cannot be reached.
    """
    return psycopg.connect(dsn or conninfo(), **({"application_name": application_name(component)} | options))


def pool(
    component: str, dsn: str | None = None, *, min_size: int = 1, max_size: int = 4, **options: Any
) -> ConnectionPool[psycopg.Connection]:
    """A pool of such connections, not yet open: use it as a context manager."""
    kwargs = {"application_name": application_name(component)} | options
    return ConnectionPool(dsn or conninfo(), kwargs=kwargs, min_size=min_size, max_size=max_size, open=False)


def application_name(component: str) -> str:
    """`tds/<component>/<host>`, cut to the 63 bytes that PostgreSQL keeps."""
    return f"tds/{component}/{socket.gethostname()}"[:63]
