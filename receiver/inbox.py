"""The way from a webhook into the database: one SQL call, one commit.

`Inbox.put` is the only door. It may come to share one commit among the events that wait for it
(`tds.receive_many`) without its callers noticing.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from psycopg import AsyncConnection, Error
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from db.connect import application_name

# Zoho gives up on a webhook after 10 seconds: all waiting has to end before, so that it sees our 503.
WAIT_FOR_CONNECTION = 4.0
STATEMENT_TIMEOUT = "5s"

RECEIVE = """
    select inbox_id, status
      from tds.receive(entity => %b, body => %b, organization_id => %b, source => 'webhook',
                       shape => 'webhook', event => %b, headers => %b)"""
READY = "select to_regproc('tds.receive') is not null"


class UnavailableError(Exception):
    """The event was not stored, or nobody knows: the sender has to come again."""


@dataclass(frozen=True, slots=True)
class Event:
    """One webhook as it came: `body` untouched, `headers` already without secrets."""

    entity: str
    body: bytes
    organization_id: str | None
    event: Literal["upsert", "delete"]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the database said; it has committed. `status` is queued, duplicate or rejected (stored too)."""

    inbox_id: int
    status: str


class Inbox:
    """A pool of connections to the inbox. Use as an async context manager.

    Opening does not wait for the database: a receiver that starts before it answers 503 until it is there.

    Args:
        conninfo: libpq connection string.
        connections: how many at most.
        waiting: events that may wait for a connection; more are turned away at once.
    """

    def __init__(self, conninfo: str, *, connections: int = 8, waiting: int = 1000) -> None:
        self._pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
            conninfo,
            min_size=1,
            max_size=connections,
            max_waiting=waiting,
            timeout=WAIT_FOR_CONNECTION,
            # Few attempts, begun anew by each waiting event: the pool's own back-off would grow to minutes.
            reconnect_timeout=2.0,
            check=AsyncConnectionPool.check_connection,
            open=False,
            kwargs={
                "autocommit": True,
                "application_name": application_name("receiver"),
                "connect_timeout": 4,
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT}",
            },
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close()

    async def put(self, event: Event) -> Accepted:
        """Stores the event and returns after the commit.

        Raises:
            UnavailableError: the database is away, too busy or refuses.
        """
        parameters = (event.entity, event.body, event.organization_id, event.event, Jsonb(event.headers))
        inbox_id, status = await self._one_row(RECEIVE, parameters)
        return Accepted(inbox_id, status)

    async def is_ready(self) -> bool:
        """Whether the database answers and has the schema."""
        try:
            (ready,) = await self._one_row(READY)
        except UnavailableError:
            return False
        return bool(ready)

    async def _one_row(self, query: str, parameters: tuple[object, ...] = ()) -> TupleRow:
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(query, parameters, binary=True)
                row = await cursor.fetchone()
        except Error as error:
            raise UnavailableError(f"{type(error).__name__} {error.sqlstate or ''}: {error}") from error
        assert row is not None
        return row
