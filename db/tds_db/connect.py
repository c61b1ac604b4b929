"""Connections to the database of TDS: the one given by TDS_DATABASE_URL, else the embedded one."""

from __future__ import annotations

import os
import socket
import time
from asyncio import CancelledError
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import cache
from math import inf
from types import MappingProxyType
from typing import Any, TypeVar

import psycopg
from psycopg import errors, waiting
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import AsyncRowFactory, DictRow, Row, dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from tds_db import embedded
from tds_db.errors import AddressError, PoolerError
from tds_db.settings import DatabaseSettings

DATABASE = "tds"
LOOK_SECONDS = 0.1
POOLER_SECONDS = 5.0  # that an answer may take while a pooler is looked for
POOLER_LOOKS = 3
Value = TypeVar("Value")

# What our sessions rest on, whatever the server, the database or the role is set to: what a session
# begins with wins over all of them.
SESSION: Mapping[str, str] = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "standard_conforming_strings": "on",
    "search_path": "public",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "row_security": "on",
}
# A server that vanished without a word is noticed within half a minute, whether it owes an answer or an
# acknowledgement.
LIVELY: Mapping[str, Any] = MappingProxyType(
    {
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,  # milliseconds
    }
)
# A client that vanished is noticed within a second: its backend ends and sets free what it held.
LASTING: Mapping[str, str] = MappingProxyType({"client_connection_check_interval": "1s"})
NONE: Mapping[str, str] = MappingProxyType({})


class NoAnswerError(psycopg.OperationalError):
    """The server has not answered for as long as it may take; the connection is closed."""


def _in_time(answer: PQGen[Value], seconds: float) -> Generator[Any, Any, Value]:
    """The same wait, which ends after so many seconds: psycopg looks in every LOOK_SECONDS."""
    until = time.monotonic() + seconds
    try:
        wanted = next(answer)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > until:
                raise NoAnswerError(f"no answer within {seconds:g} s: the connection is given up")
            wanted = answer.send(ready)
    except StopIteration as done:
        value: Value = done.value
        return value


class Connection(psycopg.Connection[Row]):
    """Gives up a server that does not answer: the network may be gone, or the backend stopped."""

    answer_seconds: float = inf
    """How long one answer may take."""

    def wait(self, gen: PQGen[Value], *args: Any, **named: Any) -> Value:
        """Waits as psycopg does, but not for ever.

        Raises:
            NoAnswerError: the answer took longer than `answer_seconds`.
        """
        try:
            return super().wait(_in_time(gen, self.answer_seconds), *args, **named)
        except NoAnswerError:
            self.pgconn.finish()
            raise


class AsyncConnection(psycopg.AsyncConnection[Row]):
    """The same for asyncio. Cancelled in the middle, it is closed at once and waits for nobody."""

    answer_seconds: float = inf
    """How long one answer may take."""

    async def wait(
        self,
        gen: PQGen[Value],
        interval: float = LOOK_SECONDS,
        timeout: float | None = None,  # noqa: ASYNC109 (psycopg's)
    ) -> Value:
        """Waits as psycopg does, but not for ever.

        Raises:
            NoAnswerError: the answer took longer than `answer_seconds`.
        """
        try:
            seconds = self.answer_seconds if timeout is None else min(self.answer_seconds, timeout)
            return await waiting.wait_async(_in_time(gen, seconds), self.pgconn.socket, interval=interval)
        except (NoAnswerError, CancelledError):
            if self.pgconn.transaction_status != TransactionStatus.IDLE:
                self.pgconn.finish()
            raise


def conninfo(settings: DatabaseSettings | None = None) -> str:
    """The connection string of the database; starts the embedded server and creates its database if need be.

    Raises:
        ServerError: the embedded server cannot be started.
        PoolerError: TDS_DATABASE_URL leads to a pooler in transaction mode.
        AddressError: TDS_DATABASE_URL is neither a URL nor a key=value string.
    """
    settings = settings or DatabaseSettings()
    if settings.database_url is not None and (given := settings.database_url.get_secret_value()):
        try:
            dsn = make_conninfo(escape_credentials(given))
        except psycopg.ProgrammingError:
            raise AddressError from None
        # libpq sends them after what a session begins with, so that they would win
        for name in ("PGDATESTYLE", "PGGEQO"):
            os.environ.pop(name, None)
        refuse_pooler(dsn)
        return dsn
    server = embedded.ensure_running(settings.data_dir)
    with connect("db", server.conninfo(), autocommit=True) as conn:
        if conn.execute("select from pg_database where datname = %s", [DATABASE]).fetchone() is None:
            # Another command may have created it just now.
            with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                conn.execute(f"create database {DATABASE}")
    return server.conninfo(DATABASE)


def refuse_pooler(dsn: str) -> None:
    """Raises where sessions are shared. A database that cannot be reached is for whoever needs it to tell.

    Raises:
        PoolerError: between us and PostgreSQL is a pooler in transaction mode.
    """
    with suppress(psycopg.OperationalError):
        if _shares_sessions(dsn):
            raise PoolerError


@cache
def _shares_sessions(dsn: str) -> bool:
    """Whether two connections are one session: the second was given the first one's. Found out once."""
    try:
        with (
            connect("db", dsn, answer_seconds=POOLER_SECONDS, autocommit=True) as one,
            connect("db", dsn, answer_seconds=POOLER_SECONDS, autocommit=True) as other,
        ):
            # a pooler gives out first what was given back last
            pid = "select pg_backend_pid()"
            return any(
                one.execute(pid).fetchone() == other.execute(pid).fetchone() for _ in range(POOLER_LOOKS)
            )
    except psycopg.OperationalError as error:
        # PgBouncer knows few of the settings that a session begins with, and says so
        if "unsupported startup parameter" in str(error):
            return True
        raise


def escape_credentials(url: str) -> str:
    """Percent-encodes the @ of a password, which libpq would take for the end of it."""
    scheme, separator, rest = url.partition("://")
    end = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    credentials, at, host = rest[:end].rpartition("@")
    return scheme + separator + credentials.replace("@", "%40") + at + host + rest[end:]


def connect(
    component: str,
    dsn: str | None = None,
    *,
    answer_seconds: float = inf,
    settings: Mapping[str, str] = NONE,
    **options: Any,
) -> Connection[tuple[Any, ...]]:
    """Opens a connection named `tds/<component>/<host>/<pid>` in pg_stat_activity, set as `SESSION` says.

    Args:
        component: receiver, worker, poller, db, or the command.
        dsn: connection string; default `conninfo()`.
        answer_seconds: how long an answer may take, until the connection is given up.
        settings: more parameters of PostgreSQL for this session.
        options: what `psycopg.connect` takes (autocommit …) and libpq's parameters.

    Raises:
        ServerError: the embedded server cannot be started.
        psycopg.OperationalError: the database cannot be reached.
    """
    dsn = dsn or conninfo()
    connection = Connection.connect(dsn, row_factory=tuple_row, **_session(component, dsn, settings, options))
    connection.answer_seconds = answer_seconds
    return connection


def connect_for_rows(component: str, dsn: str | None = None, **options: Any) -> Connection[DictRow]:
    """As `connect`, in autocommit mode and with rows as dictionaries: what a command needs that looks."""
    dsn = dsn or conninfo()
    options = _session(component, dsn, NONE, {"autocommit": True} | options)
    return Connection.connect(dsn, row_factory=dict_row, **options)


async def connect_async(
    component: str,
    dsn: str,
    row_factory: AsyncRowFactory[Row],
    *,
    answer_seconds: float = inf,
    settings: Mapping[str, str] = NONE,
    **options: Any,
) -> AsyncConnection[Row]:
    """As `connect`, in autocommit mode, for an event loop."""
    options = _session(component, dsn, settings, {"autocommit": True} | options)
    connection = await AsyncConnection.connect(dsn, row_factory=row_factory, **options)
    connection.answer_seconds = answer_seconds
    return connection


def pool(
    component: str,
    dsn: str,
    *,
    min_size: int = 1,
    max_size: int = 4,
    answer_seconds: float = inf,
    settings: Mapping[str, str] = NONE,
    **options: Any,
) -> ConnectionPool[psycopg.Connection]:
    """A pool of such connections, in autocommit mode; not yet open: use it as a context manager."""

    def prepare(connection: psycopg.Connection) -> None:
        assert isinstance(connection, Connection)
        connection.answer_seconds = answer_seconds

    kwargs = _session(component, dsn, settings, {"autocommit": True} | options)
    return ConnectionPool(
        dsn,
        connection_class=Connection,
        kwargs=kwargs,
        min_size=min_size,
        max_size=max_size,
        open=False,
        configure=prepare,
        check=ConnectionPool.check_connection,
    )


def pool_async(
    component: str,
    dsn: str,
    *,
    answer_seconds: float = inf,
    settings: Mapping[str, str] = NONE,
    session: Mapping[str, Any] = MappingProxyType({}),
    on_notice: Callable[[errors.Diagnostic], None] | None = None,
    **options: Any,
) -> AsyncConnectionPool[AsyncConnection[Any]]:
    """A pool for an event loop, its connections in autocommit mode; not yet open.

    Args:
        component: as in `connect`.
        dsn: connection string.
        answer_seconds: as in `connect`.
        settings: as in `connect`.
        session: options of the connections.
        on_notice: is given what the database has to say.
        options: of `AsyncConnectionPool`.
    """

    async def prepare(connection: AsyncConnection[Any]) -> None:
        connection.answer_seconds = answer_seconds
        if on_notice:
            connection.add_notice_handler(on_notice)

    kwargs = _session(component, dsn, settings, {"autocommit": True} | dict(session))
    return AsyncConnectionPool(
        dsn, connection_class=AsyncConnection[Any], kwargs=kwargs, open=False, configure=prepare, **options
    )


def _session(
    component: str, dsn: str, settings: Mapping[str, str], options: Mapping[str, Any]
) -> dict[str, Any]:
    given = conninfo_to_dict(dsn).get("options")
    ours = [f"-c {name}={_escaped(value)}" for name, value in {**SESSION, **settings}.items()]
    return {
        "application_name": application_name(component),
        "client_encoding": "utf8",
        "options": " ".join([str(given), *ours] if given else ours),
        **LIVELY,
        **options,
    }


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def application_name(component: str) -> str:
    """`tds/<component>/<host>/<pid>`, by which a program is known; PostgreSQL keeps 63 bytes of it."""
    return f"{f'tds/{component}/{socket.gethostname()}'[:52]}/{os.getpid()}"
