"""One lasting connection to the database: the locks of its session say that the process lives."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import psycopg
from psycopg.rows import DictRow, dict_row

from tds_db.connect import LASTING, AsyncConnection, connect_async, conninfo

log = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0  # these statements take milliseconds
SETTINGS = {**LASTING, "statement_timeout": "25s"}


class Session:
    """Use as an async context manager, from one event loop.

    Args:
        dsn: libpq connection string; None: the database of TDS.
        on_connect: are called after each new connection, and may ask for rows themselves.
    """

    def __init__(self, dsn: str | None, *on_connect: Callable[[], Awaitable[None]]) -> None:
        self._dsn = dsn
        self._on_connect = list(on_connect)
        self._connection: AsyncConnection[DictRow] | None = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            if self._connection:
                await self._connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection:
            # that the program is silent from now on is in order; what goes on in other sessions tells anew
            with suppress(psycopg.Error):
                await self._connection.execute("select tds.stop_program()")
            await self._connection.close()

    async def row(self, query: str, *parameters: object) -> DictRow:
        """The one row of a statement, a transaction of its own.

        A connection that broke is opened anew and the statement sent once more: it must bear that. Whoever is
        cancelled leaves it to its end: cut off, it would end the session, and with it all that the others who
        share it have taken.

        Raises:
            psycopg.Error: the database refuses, or cannot be reached.
        """
        asked = asyncio.create_task(self._row(query, parameters))
        asked.add_done_callback(_look)
        return await asyncio.shield(asked)

    async def _row(self, query: str, parameters: Sequence[object]) -> DictRow:
        for again in (True, False):
            connection = await self._open()
            try:
                cursor = await connection.execute(query, parameters)
                row = await cursor.fetchone()
                assert row is not None
                return row
            except psycopg.OperationalError as error:
                if not (again and connection.broken):
                    raise
                log.warning("The database went away (%s); connecting again", str(error).strip())
        raise AssertionError("not reached")

    async def _open(self) -> AsyncConnection[DictRow]:
        async with self._connecting:
            if self._connection is None or self._connection.closed:
                dsn = self._dsn if self._dsn is not None else conninfo()
                self._connection = await connect_async(
                    "poller", dsn, dict_row, answer_seconds=ANSWER_SECONDS, settings=SETTINGS
                )
                opened = self._connection
            else:
                return self._connection
        # Outside the lock, as it asks for rows itself.
        for connected in list(self._on_connect):
            await connected()
        return opened

    async def join(self, on_connect: Callable[[], Awaitable[None]]) -> None:
        """One more that is called after each new connection, and now."""
        await on_connect()
        self._on_connect.append(on_connect)

    def leave(self, on_connect: Callable[[], Awaitable[None]]) -> None:
        """It is called no more."""
        if on_connect in self._on_connect:
            self._on_connect.remove(on_connect)


def _look(done: asyncio.Task[DictRow]) -> None:
    """Takes note of what came of it: nobody may be waiting any more."""
    if not done.cancelled() and (error := done.exception()) is not None:
        log.debug("%s %s", type(error).__name__, str(error).strip())
