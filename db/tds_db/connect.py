"""Connections to the database of TDS: the one given by TDS_DATABASE_URL, else the embedded one."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from math import inf
from types import MappingProxyType
from typing import Any, LiteralString, Self, TypeVar

import psycopg
from psycopg import ConnectionInfo, IsolationLevel, errors, waiting
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import AsyncRowFactory, DictRow, Row, TupleRow, dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from tds_db import embedded
from tds_db.errors import AddressError, PoolerError
from tds_db.settings import DatabaseSettings

DATABASE = "tds"
LOOK_SECONDS = 0.1
POOLER_SECONDS = 5.0  # that an answer may take while a pooler is looked for
POOLER_LOOKS = 20
Value = TypeVar("Value")

# The planner's ways; one that is shut makes a look-up a scan.
WAYS = (
    *("indexscan", "indexonlyscan", "bitmapscan", "seqscan", "nestloop", "hashjoin", "mergejoin"),
    *("sort", "hashagg", "material", "memoize", "partition_pruning"),
)
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
    "client_min_messages": "notice",
    "quote_all_identifiers": "off",
    "backslash_quote": "safe_encoding",
    "plan_cache_mode": "auto",
    "jit": "off",
    **{f"enable_{way}": "on" for way in WAYS},
}
# The same, of servers that know it: a session cannot begin with what another version does not know.
SINCE: Mapping[str, tuple[int, str]] = MappingProxyType({"transaction_timeout": (170000, "0")})
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


@dataclass(frozen=True)
class Terms:
    """What a connection is to be like, whatever stands between."""

    component: str
    settings: Mapping[str, str]
    answer_seconds: float = inf
    may_share: bool = False
    """Whether it does without a session of its own; behind a pooler each transaction is set then."""

    def startup(self, dsn: str) -> dict[str, str]:
        """The parameter that has a session of PostgreSQL itself begin with all of them."""
        given = conninfo_to_dict(dsn).get("options")
        ours = [f"-c {name}={_escaped(value)}" for name, value in self.settings.items()]
        return {"options": " ".join([str(given), *ours] if given else ours)}

    def look(self, info: ConnectionInfo) -> tuple[LiteralString, list[object]]:
        """Asks which backend answers; the one that greeted us is set what it could not begin with."""
        later = _later(info.server_version)
        sets: LiteralString = ", case when pg_backend_pid() = %s then set_config(%s, %s, false) end"
        values: list[object] = [
            each for name, value in later.items() for each in (info.backend_pid, name, value)
        ]
        return "select pg_backend_pid()" + sets * len(later), values

    def set(self, info: ConnectionInfo, *, once: bool) -> tuple[LiteralString, list[object]]:
        """Sets all of them, for this transaction or for the session."""
        name = {"application_name": application_name(self.component)}
        all_ = {**self.settings, **_later(info.server_version), **name}
        query: LiteralString = (
            "select set_config(name, value, %s) from unnest(%s::text[], %s::text[]) as s(name, value)"
        )
        return query, [once, list(all_), list(all_.values())]


def _later(version: int) -> dict[str, str]:
    return {name: value for name, (since, value) in SINCE.items() if version >= since}


_refusing: set[str] = set()
"""Connection strings behind which somebody refuses what a session begins with."""


def _refuses(dsn: str, error: psycopg.OperationalError) -> bool:
    """Whether it is PgBouncer, which knows few settings, and says so."""
    if dsn not in _refusing and "unsupported startup parameter" in str(error):
        _refusing.add(dsn)
        return True
    return False


class Connection(psycopg.Connection[Row]):
    """Gives up a server that does not answer: the network may be gone, or the backend stopped."""

    answer_seconds: float = inf
    """How long one answer may take."""

    each: Terms | None = None
    """What each transaction has to be set to, as the session may not be ours."""

    @classmethod
    def connect(cls, conninfo: str = "", **named: Any) -> Self:
        """Connects as psycopg does, on the `terms` given.

        Raises:
            PoolerError: a session of its own is needed, and what answers gives one to many.
            psycopg.OperationalError: the database cannot be reached.
        """
        terms: Terms | None = named.pop("terms", None)
        if terms is None:
            return super().connect(conninfo, **named)
        begins = {} if conninfo in _refusing else terms.startup(conninfo)
        try:
            connection = super().connect(conninfo, **{**begins, **named, "autocommit": True})
        except psycopg.OperationalError as error:
            if not _refuses(conninfo, error):
                raise
            connection = super().connect(conninfo, **{**named, "autocommit": True})
        try:
            connection.answer_seconds = terms.answer_seconds
            connection._settle(conninfo, terms)
            connection.autocommit = named.get("autocommit", False)
        except BaseException:
            connection.close()
            raise
        return connection

    def _settle(self, dsn: str, terms: Terms) -> None:
        cursor = self.cursor(row_factory=tuple_row)
        [pid, *_] = next(iter(cursor.execute(*terms.look(self.info))))
        if pid == self.info.backend_pid and dsn not in _refusing:
            return
        if terms.may_share:
            self.each, self.prepare_threshold = terms, None
            self.isolation_level, self.read_only, self.deferrable = (
                IsolationLevel.READ_COMMITTED,
                False,
                False,
            )
        elif pooling(dsn) in SHARED:
            raise PoolerError
        else:
            cursor.execute(*terms.set(self.info, once=False))

    @contextmanager
    def on_terms(self) -> Iterator[None]:
        """What is done meanwhile has our settings: in a transaction where the session may not be ours."""
        if self.each is None:
            yield
            return
        with self.pipeline(), self.transaction():
            self.execute(*self.each.set(self.info, once=True))
            yield

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

    each: Terms | None = None
    """What each transaction has to be set to, as the session may not be ours."""

    @classmethod
    async def connect(cls, conninfo: str = "", **named: Any) -> Self:
        """Connects as psycopg does, on the `terms` given.

        Raises:
            PoolerError: a session of its own is needed, and what answers gives one to many.
            psycopg.OperationalError: the database cannot be reached.
        """
        terms: Terms | None = named.pop("terms", None)
        if terms is None:
            return await super().connect(conninfo, **named)
        begins = {} if conninfo in _refusing else terms.startup(conninfo)
        try:
            connection = await super().connect(conninfo, **{**begins, **named, "autocommit": True})
        except psycopg.OperationalError as error:
            if not _refuses(conninfo, error):
                raise
            connection = await super().connect(conninfo, **{**named, "autocommit": True})
        try:
            connection.answer_seconds = terms.answer_seconds
            await connection._settle(conninfo, terms)
            await connection.set_autocommit(named.get("autocommit", False))
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _settle(self, dsn: str, terms: Terms) -> None:
        cursor = self.cursor(row_factory=tuple_row)
        await cursor.execute(*terms.look(self.info))
        [(pid, *_)] = await cursor.fetchall()
        if pid == self.info.backend_pid and dsn not in _refusing:
            return
        if terms.may_share:
            self.each, self.prepare_threshold = terms, None
            await self.set_isolation_level(IsolationLevel.READ_COMMITTED)
            await self.set_read_only(False)
            await self.set_deferrable(False)
        elif await asyncio.to_thread(pooling, dsn) in SHARED:
            raise PoolerError
        else:
            await cursor.execute(*terms.set(self.info, once=False))

    @asynccontextmanager
    async def on_terms(self) -> AsyncIterator[None]:
        """What is done meanwhile has our settings: in a transaction where the session may not be ours."""
        if self.each is None:
            yield
            return
        async with self.pipeline(), self.transaction():
            await self.execute(*self.each.set(self.info, once=True))
            yield

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
    """The connection string for whatever needs a session: that of TDS_SESSION_DATABASE_URL, else of
    TDS_DATABASE_URL, else the embedded server's, which is started and gets its database if need be.

    Raises:
        ServerError: the embedded server cannot be started.
        PoolerError: it leads to a pooler that gives one session to many.
        AddressError: the variable is neither a URL nor a key=value string.
    """
    settings = settings or DatabaseSettings()
    if (given := settings.for_sessions) is None:
        return _embedded(settings)
    dsn = read_address(*given)
    # one that cannot be reached is for whoever needs it to tell
    with suppress(psycopg.OperationalError):
        if (found := pooling(dsn)) in SHARED:
            raise PoolerError(given[0], found.value)
    return dsn


def receiver_conninfo(settings: DatabaseSettings | None = None) -> str:
    """The connection string for the receiver, which needs no more than a transaction at a time: that of
    TDS_DATABASE_URL, else as `conninfo` has it.

    Raises:
        ServerError, AddressError: as `conninfo`.
        PoolerError: it leads to a pooler in statement mode, which has not even transactions.
    """
    settings = settings or DatabaseSettings()
    if (given := settings.for_receiver) is None:
        return _embedded(settings)
    dsn = read_address(*given)
    with suppress(psycopg.OperationalError):
        if (found := pooling(dsn)) is Pooling.STATEMENT:
            raise PoolerError(given[0], found.value)
    return dsn


def read_address(variable: str, given: str) -> str:
    """The connection string that a variable holds.

    Raises:
        AddressError: it is none.
    """
    try:
        dsn = make_conninfo(escape_credentials(given))
    except psycopg.ProgrammingError:
        raise AddressError(variable) from None
    # libpq sends them after what a session begins with, so that they would win
    for name in ("PGDATESTYLE", "PGGEQO"):
        os.environ.pop(name, None)
    return dsn


def _embedded(settings: DatabaseSettings) -> str:
    server = embedded.ensure_running(settings.data_dir)
    with connect("db", server.conninfo(), autocommit=True) as conn:
        if conn.execute("select from pg_database where datname = %s", [DATABASE]).fetchone() is None:
            # Another command may have created it just now.
            with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                conn.execute(f"create database {DATABASE}")
    return server.conninfo(DATABASE)


class Pooling(StrEnum):
    """What stands between us and PostgreSQL: nothing, or a pooler in that mode."""

    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"
    STATEMENT = "statement"


SHARED = frozenset({Pooling.TRANSACTION, Pooling.STATEMENT})


@cache
def pooling(dsn: str) -> Pooling:
    """What a connection string leads to; found out once.

    Raises:
        psycopg.OperationalError: the database cannot be reached, or does not answer.
    """
    looking = partial(
        connect, "db", dsn, may_share=True, answer_seconds=POOLER_SECONDS, autocommit=True, connect_timeout=5
    )
    with looking() as one, looking() as other:
        first = _pids(one, other)
        if first[0] != first[1] and one.each is None and other.each is None:
            return Pooling.NONE
        # a pooler gives out first what was given back last; but others may be at it, too
        if not any(
            pid[0] == pid[1] or pid != first for pid in (_pids(one, other) for _ in range(POOLER_LOOKS))
        ):
            return Pooling.SESSION
        try:
            one.execute("begin")
            one.execute("commit")
        except psycopg.Error:
            return Pooling.STATEMENT
        return Pooling.TRANSACTION


def is_same_database(*dsns: str) -> bool:
    """Whether all lead to one database.

    Raises:
        psycopg.OperationalError: one cannot be reached.
    """
    query = "select oid, pg_postmaster_start_time() from pg_database where datname = current_database()"
    found = set()
    for dsn in dsns:
        with connect("db", dsn, may_share=True, answer_seconds=POOLER_SECONDS) as connection:
            found.add(connection.execute(query).fetchone())
    return len(found) == 1


def _pids(*connections: Connection[TupleRow]) -> list[int]:
    """The backend that each gets for a statement."""
    return [next(iter(connection.execute("select pg_backend_pid()")))[0] for connection in connections]


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
    may_share: bool = False,
    **options: Any,
) -> Connection[TupleRow]:
    """Opens a connection named `tds/<component>/<host>/<pid>` in pg_stat_activity, set as `SESSION` says.

    Args:
        component: receiver, worker, poller, db, or the command.
        dsn: connection string; default `conninfo()`.
        answer_seconds: how long an answer may take, until the connection is given up.
        settings: more parameters of PostgreSQL for this session.
        may_share: whether a pooler's session will do, which is ours for a transaction (`on_terms`).
        options: what `psycopg.connect` takes (autocommit …) and libpq's parameters.

    Raises:
        ServerError: the embedded server cannot be started.
        PoolerError: a pooler gives its sessions to many, and it may not be shared.
        psycopg.OperationalError: the database cannot be reached.
    """
    terms = Terms(component, {**SESSION, **settings}, answer_seconds, may_share)
    return Connection.connect(dsn or conninfo(), row_factory=tuple_row, **_parameters(terms, options))


def connect_for_rows(component: str, dsn: str | None = None, **options: Any) -> Connection[DictRow]:
    """As `connect`, in autocommit mode and with rows as dictionaries: what a command needs that looks."""
    parameters = _parameters(Terms(component, SESSION), {"autocommit": True} | options)
    return Connection.connect(dsn or conninfo(), row_factory=dict_row, **parameters)


async def connect_async(
    component: str,
    dsn: str,
    row_factory: AsyncRowFactory[Row],
    *,
    answer_seconds: float = inf,
    settings: Mapping[str, str] = NONE,
    may_share: bool = False,
    **options: Any,
) -> AsyncConnection[Row]:
    """As `connect`, in autocommit mode, for an event loop."""
    terms = Terms(component, {**SESSION, **settings}, answer_seconds, may_share)
    parameters = _parameters(terms, {"autocommit": True} | options)
    return await AsyncConnection.connect(dsn, row_factory=row_factory, **parameters)


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
    terms = Terms(component, {**SESSION, **settings}, answer_seconds)
    return ConnectionPool(
        dsn,
        connection_class=Connection,
        kwargs=_parameters(terms, {"autocommit": True} | options),
        min_size=min_size,
        max_size=max_size,
        open=False,
        check=ConnectionPool.check_connection,
    )


def pool_async(
    component: str,
    dsn: str,
    *,
    answer_seconds: float = inf,
    settings: Mapping[str, str] = NONE,
    may_share: bool = False,
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
        may_share: as in `connect`.
        session: options of the connections.
        on_notice: is given what the database has to say.
        options: of `AsyncConnectionPool`.
    """

    async def prepare(connection: AsyncConnection[Any]) -> None:
        if on_notice:
            connection.add_notice_handler(on_notice)

    terms = Terms(component, {**SESSION, **settings}, answer_seconds, may_share)
    kwargs = _parameters(terms, {"autocommit": True} | dict(session))
    return AsyncConnectionPool(
        dsn, connection_class=AsyncConnection[Any], kwargs=kwargs, open=False, configure=prepare, **options
    )


def _parameters(terms: Terms, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "terms": terms,
        "application_name": application_name(terms.component),
        "client_encoding": "utf8",
        **LIVELY,
        **options,
    }


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def application_name(component: str) -> str:
    """`tds/<component>/<host>/<pid>`, by which a program is known; PostgreSQL keeps 63 bytes of it."""
    return f"{f'tds/{component}/{socket.gethostname()}'[:52]}/{os.getpid()}"
