"""The API's few SQL calls, over a pool of its own, so that no webhook ever waits for an operator."""

import asyncio
import logging
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, LiteralString, Self

from psycopg import Error
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from tds_db.connect import pool_async

log = logging.getLogger(__name__)

WAIT_SECONDS = 2.0  # for a connection; nobody is kept waiting while the database is away
PROBE_SECONDS = 1.0  # the same for probes and scrapes
CACHE_SECONDS = 3.0  # a snapshot of the metrics is good for so long
OURS = {
    *("ZB001", "ZB002", "ZB004", "ZB010", "ZB011", "ZB012", "ZB013", "ZB021"),
    *("ZB060", "ZB061", "ZB062", "ZB063"),
}


class UnavailableError(Exception):
    """The database cannot be asked now."""


class RefusedError(Exception):
    """The database refuses with a reason of ours.

    Args:
        code: SQLSTATE.
        message: what.
        detail: the values it is about.
        hint: what to do next.
    """

    def __init__(self, code: str, message: str, detail: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail
        self.hint = hint


class Store:
    """A pool of connections. Use as an async context manager; opening does not wait for the database.

    Args:
        conninfo: libpq connection string.
    """

    def __init__(self, conninfo: str) -> None:
        self._pool = pool_async(
            "receiver",
            conninfo,
            answer_seconds=6.0,
            settings={"statement_timeout": "5s"},
            may_share=True,
            session={"connect_timeout": 4},
            min_size=0,
            max_size=2,
            max_waiting=50,
            timeout=WAIT_SECONDS,
            reconnect_timeout=2.0,
            check=AsyncConnectionPool.check_connection,
        )
        # Whoever likes may probe and scrape: that takes no connection from operators.
        self._probes = pool_async(
            "receiver",
            conninfo,
            answer_seconds=6.0,
            settings={"statement_timeout": "5s"},
            may_share=True,
            session={"connect_timeout": 4},
            min_size=0,
            max_size=1,
            max_waiting=10,
            timeout=PROBE_SECONDS,
            reconnect_timeout=2.0,
            check=AsyncConnectionPool.check_connection,
        )
        self._turn = asyncio.Lock()
        self._snapshot: Mapping[str, Any] | None = None
        self._taken_at = float("-inf")

    async def __aenter__(self) -> Self:
        await self._pool.open()
        await self._probes.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close()
        await self._probes.close()

    async def caller(self, sha256: bytes) -> tuple[str, str] | None:
        """The name and the scope of the API key with that hash, if it is in force."""
        query = "select array[tds.check_api_key(%b), tds.api_key_scope(%b)]"
        name, scope = await self._value(query, sha256, sha256)
        return None if name is None or scope is None else (name, scope)

    async def begin_session(self, sha256: bytes, key: bytes, seconds: int) -> None:
        """Notes that a browser has shown a key; both by their hashes."""
        await self._value("select tds.begin_api_session(%b, %b, %b)", sha256, key, seconds)

    async def session_key(self, sha256: bytes) -> bytes | None:
        """The key, by its hash, that the browser with that cookie has shown; None: its session has ended."""
        key: bytes | None = await self._value("select tds.api_session_key(%b)", sha256)
        return key

    async def end_session(self, sha256: bytes) -> None:
        """Ends a browser's session."""
        await self._value("select tds.end_api_session(%b)", sha256)

    async def request_pull(
        self, entity: str, options: Mapping[str, Any], organization_id: str | None, caller: str
    ) -> dict[str, Any]:
        """Asks for a pull; the run."""
        query = "select tds.api_request_pull(%b, %b, %b, %b)"
        return await self._run(query, entity, Jsonb(dict(options)), organization_id, caller)

    async def why_no_option(self, entity: str, name: str) -> str:
        """Why a pull of an entity does not take an option."""
        return str(await self._value("select tds.why_no_option(%b, %b)", entity, name))

    async def run(self, run_id: int) -> dict[str, Any]:
        """A run."""
        return await self._run("select tds.api_run(%b)", run_id)

    async def cancel(self, run_id: int) -> dict[str, Any]:
        """Cancels a run; the run."""
        return await self._run("select tds.api_cancel_run(%b)", run_id)

    async def runs(
        self,
        state: str | None,
        entity: str | None,
        before: int | None,
        limit: int,
        organization_id: str | None = None,
    ) -> list[dict[str, Any]]:
        """Runs, newest first, of one organisation or of all."""
        query = "select tds.api_runs(%b, %b, %b, %b, %b)"
        runs: list[dict[str, Any]] = await self._value(query, state, entity, before, limit, organization_id)
        return runs

    async def refusal(self) -> str | None:
        """Why no pulls are done now, if so."""
        refusal: str | None = await self._value("select tds.bulk_sync_refusal()")
        return refusal

    async def installed_files(self) -> dict[str, str]:
        """The migrations and function files the database was made from, and their hashes."""
        return dict(await self._value("select tds.installed_files()", probes=True) or {})

    async def last_upgrade(self) -> Mapping[str, Any]:
        """When the database was upgraded last (`at`), which migrations break older programs (`breaking`)."""
        told: Mapping[str, Any] = await self._value("select tds.last_upgrade()", probes=True)
        return told

    async def missing_queues(self) -> list[str]:
        """The queues that cannot be reached."""
        return list(await self._value("select tds.missing_queues()", probes=True))

    async def health(self) -> Mapping[str, Any] | None:
        """What the last look at the health said; None: nobody has looked yet."""
        summary: Mapping[str, Any] | None = await self._value("select tds.health_summary()", probes=True)
        return summary

    async def metrics(self) -> Mapping[str, Any] | None:
        """How it stands in the database, at most `CACHE_SECONDS` old; None: it cannot be asked."""
        async with self._turn:
            if time.monotonic() - self._taken_at > CACHE_SECONDS:
                try:
                    self._snapshot = await self._value("select tds.metrics()", probes=True)
                except UnavailableError as error:
                    log.warning("metrics without the database's: %s", error)
                    self._snapshot = None
                self._taken_at = time.monotonic()
            return self._snapshot

    async def verdict(self) -> Mapping[str, Any]:
        """Whether all is well, and if not, what is to be done."""
        verdict: Mapping[str, Any] = await self._value("select tds.dashboard_verdict()")
        return verdict

    async def page(self, query: LiteralString, *parameters: object) -> Any:
        """What a page of the dashboard shows, or what became of a deed.

        Args:
            query: one call of a function of the dashboard.
            parameters: its arguments, in the query as %b.
        """
        return await self._value(query, *parameters)

    async def _run(self, query: str, *parameters: object) -> dict[str, Any]:
        run: dict[str, Any] = await self._value(query, *parameters)
        return run

    async def _value(self, query: str, *parameters: object, probes: bool = False) -> Any:
        pool = self._probes if probes else self._pool
        try:
            async with pool.connection() as connection, connection.on_terms():
                cursor = await connection.execute(query, parameters, binary=True)
                row = await cursor.fetchone()
        except Error as error:
            if error.sqlstate in OURS:
                told = error.diag
                raise RefusedError(
                    str(error.sqlstate),
                    told.message_primary or "",
                    told.message_detail or "",
                    told.message_hint or "",
                ) from error
            raise UnavailableError(f"{type(error).__name__} {error.sqlstate or ''}: {error}") from error
        assert row is not None
        return row[0]
