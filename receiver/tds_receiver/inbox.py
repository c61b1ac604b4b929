"""The way from a webhook into the database: events that wait for a commit share the next one.

`Inbox.put` is the only door. While a commit is under way, the events that arrive queue up, and whoever
commits next takes all of them, up to a bound: no timer holds anything back, and under load one wait for the
disk serves many. Each event is acknowledged after the commit that holds it, and never before.

Where a router stands before several shards, each shard is a lane: what waits for one of them shares a commit
there. Lanes commit in rounds, all at the same time on connections of their own, and the next round takes what
has come to any of them meanwhile; a lane that is slow or frozen is left behind, and the others go on.
"""

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from psycopg import Error
from psycopg.rows import TupleRow, tuple_row

from tds_db.connect import AsyncConnection, connect_async
from tds_db.supervision import notify_systemd

log = logging.getLogger(__name__)

# Zoho gives up on a webhook after 10 seconds: all waiting has to end before, so that it sees our 503.
ANSWER_SECONDS = 8.0
CONNECT_SECONDS = 3
COMMIT_SECONDS = 5.0
TRY_SECONDS = 2.0  # until a connection that was unused is given up
RECONNECT_SECONDS = 0.5  # between two attempts to reach a database that is away
EMPTY_TURNS = 3  # of the event loop without a new event, until a batch is taken: microseconds
STEP_IN_SECONDS = 0.05  # how long a commit takes until the next connection begins another beside it
TELL_SECONDS = 10.0  # between two signs of life
STOP_SECONDS = 1.0  # for the last one
MOST_CONNECTIONS = 16  # that are made for lanes; of more lanes some wait for each other
STRAYS = 50  # addresses remembered between two signs
IDLE_SECONDS = 1.0  # a connection unused for longer is tried before an event is trusted to it
# The server ends what its time is over for; the connection ends what nobody answers.
SETTINGS: Mapping[str, str] = {"statement_timeout": "4s", "lock_timeout": "3s"}
CONNECTION: Mapping[str, Any] = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": 5000}

RECEIVE = """
    select inbox_id, status
      from tds.receive_many(entity => %b::text[], body => %b::bytea[], organization_id => %b::text[],
                            event => %b::text[], headers => %b::text[]::jsonb[])
     order by ord"""

# Not the fault of any body: the server is away, full, shutting down, read-only or without our functions.
OUTAGES = frozenset({"08", "25", "28", "3D", "42", "53", "55", "57", "58"})
CANNOT_STORE = frozenset(
    {"25", "53", "58"}
)  # those that befall whatever is stored: read-only, full, out of order


class UnavailableError(Exception):
    """The event was not stored, or nobody knows: the sender has to come again."""


class Event(NamedTuple):
    """One webhook as it is stored: `headers` is the JSON of those worth keeping, without secrets."""

    entity: str
    body: bytes
    organization_id: str | None
    event: Literal["upsert", "delete"]
    headers: str


class Accepted(NamedTuple):
    """What the database said; it has committed. `status` is queued, duplicate or rejected (stored too)."""

    inbox_id: int
    status: str


class _Waiting(NamedTuple):
    event: Event
    answer: asyncio.Future[Accepted]
    number: int


@dataclass(slots=True, eq=False)
class _Lane:
    """Events that may share a commit; `busy`: how many commits of them are under way."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    busy: int = 0


Connection = AsyncConnection[TupleRow]


class Inbox:
    """A few connections that commit what waits. Use as an async context manager.

    Opening does not wait for the database: a receiver that starts before it answers 503 until it is there.

    Args:
        conninfo: libpq connection string.
        connections: how many may commit at once; there are at least as many as lanes. In a lane one does, as
            long as it is quick: what waits for it shares its next commit, which is cheaper than two. Only
            where one takes long, another steps in, of several lanes in the others.
        waiting: events that may wait; more are turned away at once.
        waiting_bytes: the same for the sum of their bodies.
        batch: most events of one commit.
        batch_bytes: most bytes of the bodies of one commit of several events.
        organization_id: whose events are that name no organisation; the database decides that.
        lane: tells by an event's organisation which others it shares a commit with.
        on_tell: is given a connection with every sign of life, about every `TELL_SECONDS`.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        connections: int = 2,
        waiting: int = 2000,
        waiting_bytes: int = 128 * 2**20,
        batch: int = 128,
        batch_bytes: int = 4 * 2**20,
        organization_id: str | None = None,
        lane: Callable[[str | None], int] = lambda _: 0,
        on_tell: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self._conninfo = conninfo
        self._on_tell = on_tell
        self._connections = connections
        self._most_waiting = waiting
        self._most_bytes = waiting_bytes
        self._batch = batch
        self._batch_bytes = batch_bytes
        self._organization_id = organization_id
        self._lane = lane
        self._lanes: dict[int, _Lane] = {}
        self._numbers = itertools.count()
        self._count = 0
        self._bytes = 0
        self._prompt = 0
        """Commits under way that have not taken long so far."""
        self._due: list[_Lane] = []
        """Those of the round that nobody has begun yet."""
        self._idle: deque[asyncio.Future[None]] = deque()
        self._connected = 0
        self._connecting: set[asyncio.Task[Any] | None] = set()
        self._stopping = False
        self._told_at = float("-inf")
        self._has_told = False
        self.untold = ""
        """Why the last sign of life was not stored, and nothing else will be; empty: it was."""
        self._strays: dict[str, int] = {}
        self._committers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for _ in range(self._connections):
            self._add_committer()
        return self

    def _add_committer(self) -> None:
        name = f"committer {len(self._committers)}"
        self._committers.append(asyncio.create_task(self._commit_forever(), name=name))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # One that is just connecting is let be: the server would wait a minute for the rest of its greeting.
        self._stopping = True
        for committer in self._committers:
            if committer not in self._connecting:
                committer.cancel()
        await asyncio.gather(*self._committers, return_exceptions=True)
        self._turn_away("the receiver stops")
        await self._stop_telling()

    async def put(self, event: Event) -> Accepted:
        """Stores the event and returns after the commit.

        Raises:
            UnavailableError: the database is away, too busy or refuses.
        """
        if self._count >= self._most_waiting or self._bytes + len(event.body) > self._most_bytes:
            raise UnavailableError(f"{self._count} events with {self._bytes} bytes wait already")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Accepted] = loop.create_future()
        lane = self._lane_of(event)
        lane.waiting.append(_Waiting(event, answer, next(self._numbers)))
        self._count += 1
        self._bytes += len(event.body)
        if not self._prompt and len(lane.waiting) == 1:
            self._wake()
        late = loop.call_later(ANSWER_SECONDS, _give_up, answer)
        try:
            return await answer
        finally:
            late.cancel()

    def _lane_of(self, event: Event) -> _Lane:
        number = self._lane(event.organization_id)
        if (lane := self._lanes.get(number)) is None:
            lane = self._lanes[number] = _Lane()
            if len(self._committers) < min(len(self._lanes), MOST_CONNECTIONS):
                self._add_committer()
        return lane

    def _ready(self) -> list[_Lane]:
        """The lanes with events, the oldest first; of several none in which a commit is under way."""
        alone = len(self._lanes) == 1
        ready = [lane for lane in self._lanes.values() if lane.waiting and (alone or not lane.busy)]
        return sorted(ready, key=lambda lane: lane.waiting[0].number)

    def _wake(self) -> None:
        """Has an idle committer look for events."""
        while self._idle and (self._due or (not self._prompt and self._ready())):
            if not (woken := self._idle.popleft()).done():
                woken.set_result(None)
                return

    async def _next(self, last: _Lane | None) -> _Lane | None:
        """A lane whose turn it is: of this round, or of a new one if nobody is under way with this one.

        Args:
            last: the lane in which the caller has committed before: its session knows the way there.
        """
        ready = self._ready()
        self._due = [lane for lane in self._due if lane in ready]
        if ready and not self._due and not self._prompt:
            self._prompt += 1  # nobody else begins one
            try:
                await self._gather()
            finally:
                self._prompt -= 1
            self._due = self._ready()
        if not self._due:
            return None
        mine = last if last in self._due else self._due[0]
        self._due.remove(mine)
        for _ in self._due:
            self._wake()
        return mine

    async def _gather(self) -> None:
        """Lets those in that have arrived already: as long as there are more after each turn of the loop."""
        seen, turns = 0, 0
        while turns < EMPTY_TURNS and seen < self._batch:
            arrived = sum(len(lane.waiting) for lane in self._ready())
            turns = 0 if arrived > seen else turns + 1
            seen = arrived
            await asyncio.sleep(0)

    async def _commit_forever(self) -> None:
        """One committer: a connection that takes whatever waits, again and again."""
        me = asyncio.current_task()
        while not self._stopping:
            self._connecting.add(me)
            try:
                connection = await self._connect()
            except (Error, TimeoutError) as error:
                log.error("the database is away", extra={"error": _told(error)})
                if not self._connected:
                    self._turn_away(_told(error))
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            finally:
                self._connecting.discard(me)
            self._connected += 1
            try:
                async with connection:
                    await self._commit_on(connection)
            except (Error, TimeoutError) as error:
                log.error("the connection is given up", extra={"error": _told(error)})
            finally:
                self._connected -= 1
                self._wake()  # another connection may be alive

    async def _commit_on(self, connection: Connection) -> None:
        await self._tell(connection)
        used = time.monotonic()
        lane: _Lane | None = None
        while not self._stopping:
            if (turn := await self._next(lane)) is not None:
                lane = turn
                if time.monotonic() - used > IDLE_SECONDS:
                    # If it died meanwhile, another one is made, and who waits does not notice.
                    async with asyncio.timeout(TRY_SECONDS):
                        await connection.execute("")
                await self._commit(connection, lane)
                used = time.monotonic()
                await self._tell(connection)
                continue
            woken = asyncio.get_running_loop().create_future()
            self._idle.append(woken)
            try:
                async with asyncio.timeout(TELL_SECONDS):
                    await woken
            except TimeoutError:
                self._idle.remove(woken)
                await self._tell(connection)
                used = time.monotonic()
            else:
                if not self._count:
                    await self._tell(connection)

    async def _commit(self, connection: Connection, lane: _Lane) -> None:
        """Commits what waits in a lane.

        Raises:
            Error, TimeoutError: the connection is of no use any more.
        """
        lane.busy += 1
        self._prompt += 1
        is_prompt = True

        def step_in() -> None:
            nonlocal is_prompt
            is_prompt = False
            self._prompt -= 1
            self._wake()

        stepping_in = asyncio.get_running_loop().call_later(STEP_IN_SECONDS, step_in)
        batch = self._take(lane)
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                if batch:
                    await _store(connection, batch)
        except (Error, TimeoutError) as error:
            _refuse(batch, _told(error))
            # They have waited as long as this one took, and would have to wait as long again.
            self._turn_away(_told(error), [lane])
            raise
        finally:
            lane.busy -= 1
            self._prompt -= is_prompt
            stepping_in.cancel()
            _refuse(batch, "interrupted")

    async def _tell(self, connection: Connection) -> None:
        """Tells, now and then, that events can be stored, and what came to no address of ours."""
        if time.monotonic() - self._told_at < TELL_SECONDS - 1:
            return
        self._told_at = time.monotonic()
        notify_systemd()
        strays, self._strays = self._strays, {}
        try:
            async with asyncio.timeout(COMMIT_SECONDS), connection.on_terms():
                if self._on_tell is not None:
                    await self._on_tell(connection)
                await connection.execute("select tds.beat(%s)", [datetime.now(UTC)])
                self._has_told, self.untold = True, ""
                if strays:
                    await connection.execute(
                        "select tds.note_strays(%s, %s)", [list(strays), list(strays.values())]
                    )
        except TimeoutError as error:
            self.untold = _told(error)
            raise
        except Error as error:
            if (error.sqlstate or "")[:2] in CANNOT_STORE:
                self.untold = _told(error)
            # A database that cannot take this yet may take events all the same.
            if connection.closed:
                raise
            log.warning("what is told is not taken", extra={"error": _told(error)})

    def tell_soon(self) -> None:
        """The next sign of life is due now, if the last was a second ago."""
        if time.monotonic() - self._told_at > IDLE_SECONDS:
            self._told_at = float("-inf")
            if self._idle and not (woken := self._idle.popleft()).done():
                woken.set_result(None)

    async def _stop_telling(self) -> None:
        if not self._has_told:
            return
        with suppress(Error, TimeoutError):
            async with (
                asyncio.timeout(STOP_SECONDS),
                await self._connect() as connection,
                connection.on_terms(),
            ):
                await connection.execute("select tds.stop_program()")

    def stray(self, path: str) -> None:
        """Something was posted to an address where nothing is."""
        if path in self._strays or len(self._strays) < STRAYS:
            self._strays[path] = self._strays.get(path, 0) + 1

    async def _connect(self) -> Connection:
        settings = SETTINGS
        if self._organization_id:
            settings = {**SETTINGS, "tds.organization_id": self._organization_id}
        # Every address that a name has may take that long.
        async with asyncio.timeout(CONNECT_SECONDS + 1):
            return await connect_async(
                "receiver", self._conninfo, tuple_row, settings=settings, may_share=True, **CONNECTION
            )

    def _take(self, lane: _Lane) -> list[_Waiting]:
        """The events of the next commit, oldest first; at least one if anybody still waits for any."""
        batch: list[_Waiting] = []
        size = 0
        while lane.waiting and len(batch) < self._batch:
            first = lane.waiting[0]
            if not first.answer.done():  # else given up: the sender comes again
                size += len(first.event.body)
                if batch and size > self._batch_bytes:
                    break
                batch.append(first)
            lane.waiting.popleft()
            self._count -= 1
            self._bytes -= len(first.event.body)
        return batch

    def _turn_away(self, reason: str, lanes: Sequence[_Lane] | None = None) -> None:
        """Refuses what waits, in these lanes or in all."""
        for lane in self._lanes.values() if lanes is None else lanes:
            waiting, lane.waiting = lane.waiting, deque()
            self._count -= len(waiting)
            self._bytes -= sum(len(each.event.body) for each in waiting)
            _refuse(waiting, reason)


async def _store(connection: Connection, batch: Sequence[_Waiting]) -> None:
    """One commit for all; where one body spoils it, half of them at a time, until it stands alone.

    Raises:
        Error: an outage; some may have been answered.
    """
    events = [waiting.event for waiting in batch]
    columns = ([event[place] for event in events] for place in range(len(Event._fields)))
    try:
        async with connection.on_terms():
            cursor = await connection.execute(RECEIVE, tuple(columns), binary=True, prepare=True)
            rows = await cursor.fetchall()
    except Error as error:
        if connection.closed or error.sqlstate is None or error.sqlstate[:2] in OUTAGES:
            raise
        if len(batch) == 1:
            log.error("an event cannot be stored", extra={"error": _told(error), "entity": events[0].entity})
            _refuse(batch, _told(error))
            return
        half = len(batch) // 2
        await _store(connection, batch[:half])
        await _store(connection, batch[half:])
        return
    for (_, answer, _), (inbox_id, status) in zip(batch, rows, strict=True):
        if answer.done():
            continue
        if status == "unavailable":  # a router says so: that organisation's shard is away, others are not
            answer.set_exception(UnavailableError("the organisation's shard is away"))
        else:
            answer.set_result(Accepted(inbox_id, status))


def _give_up(answer: asyncio.Future[Accepted]) -> None:
    if not answer.done():
        answer.set_exception(UnavailableError(f"not stored within {ANSWER_SECONDS:g} s, as far as is known"))


def _refuse(batch: Sequence[_Waiting] | deque[_Waiting], reason: str) -> None:
    for _, answer, _ in batch:
        if not answer.done():
            answer.set_exception(UnavailableError(reason))


def _told(error: BaseException) -> str:
    code = error.sqlstate if isinstance(error, Error) else None
    return " ".join(filter(None, (type(error).__name__, code, str(error).strip())))
