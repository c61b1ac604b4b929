"""The poller: does the pulls that were asked for, and fetches the details that are wanted.

A pull is a message in the pgmq queue `tds_pull`. While it is worked on, heartbeats keep it invisible to other
pollers; it is deleted once its list is stored. A poller killed at any moment leaves a message that becomes
visible again, and a run whose cursor says where to go on.
"""

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from itertools import accumulate
from typing import Any

import psycopg
from pgmq import Message, PGMQueue

from tds_db.connect import pool
from tds_db.errors import TdsError
from tds_db.images import ImageSettings
from tds_db.runs import RunState
from tds_db.supervision import notify_systemd
from tds_poller.details import fetch_taken
from tds_poller.feeds import Feed, read_feed
from tds_poller.images import fetch_images, prune_known
from tds_poller.mirror import Endpoint, Mirror, OutOfTurnError, Want
from tds_poller.pull import pull_organization, pull_pages
from tds_poller.reconcile import reconcile_some
from tds_poller.tasks import ended
from tds_poller.verify import do_asked
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.errors import (
    AuthorizationError,
    LimitError,
    MovingError,
    PagingError,
    UnreachableError,
    ZohoError,
)

log = logging.getLogger(__name__)

QUEUE = "tds_pull"
LOOK_SECONDS = 1.0  # between looks when there was nothing to do
SOON_SECONDS = 0.1  # the same while something of ours is still being processed
TURN_SECONDS = 5  # until a pull that waits for another one of the same list is looked at again
TELL_SECONDS = 10.0  # between two signs of life
PRUNE_SECONDS = 3600.0  # between looks for files of pictures that nothing shows any more
COMPARE_SECONDS = 60.0  # between looks for comparisons that somebody asked for
QUEUE_SECONDS = 20.0  # until a connection that does not answer is given up
OUTAGE_SECONDS = 30.0  # pause after Zoho could not be reached
# Details of one call each between two looks into the queue: a quarter of a minute at their pace.
SINGLE_DETAILS = 10
# Pulled as the list and the details of another entity.
PULLED = {"stock": "products"}


class RestartWantedError(TdsError):
    """The database asks this process to end, so that another one takes its place."""


class Poll:
    """One poller of one organisation.

    Args:
        client: to ask with.
        mirror: to store in.
        queue: the client of the pgmq queue.
        images: where pictures are kept; None: they are not fetched.
        first: runs to be done before all others.
    """

    def __init__(
        self,
        client: ZohoClient,
        mirror: Mirror,
        queue: PGMQueue,
        images: ImageSettings | None = None,
        first: Sequence[int] = (),
    ) -> None:
        self.runs: list[int] = []
        """The runs whose lists were pulled here."""
        self._client = client
        self._mirror = mirror
        self._queue = queue
        self._images = images
        self._first = first
        self._endpoints: Mapping[str, Endpoint] = {}
        self._visibility = 0
        self._closed_until = 0.0
        self._no_list_until = 0.0
        self._left: ZohoError | None = None
        self._tell_at = 0.0
        self._prune_at = 0.0
        self._no_image_until = 0.0
        self._compare_at = 0.0
        self._refusal: str | None = None
        self._patient = True
        # Details fetched and not yet known to be processed, by entity, and the newest event by then.
        self._fetched: dict[str, dict[str, datetime]] = {}
        self._up_to = 0
        self._woken: asyncio.Event | None = None
        self._idle_seconds: Callable[[], float] = lambda: LOOK_SECONDS

    def rest_on(self, woken: asyncio.Event, idle_seconds: Callable[[], float]) -> None:
        """Between looks it waits so long, or until it is woken."""
        self._woken, self._idle_seconds = woken, idle_seconds

    async def _rest(self) -> None:
        await self._rest_for(SOON_SECONDS if self._fetched else self._idle_seconds())

    async def _rest_for(self, seconds: float) -> None:
        if self._woken is None:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    async def forever(self) -> None:
        """Works until cancelled. While the database is away it is tried again.

        Raises:
            AuthorizationError: Zoho refuses us; trying again would do harm.
            MovingError: the organisation is being moved to another shard.
        """
        while True:
            try:
                await self._prepare()
                # where there are many, not all of them look at once; whoever has work is woken
                if (seconds := self._idle_seconds()) > LOOK_SECONDS:
                    await self._rest_for(random.uniform(0, seconds))
                while True:
                    if not await self._turn():
                        await self._rest()
            except psycopg.Error as error:
                log.error("%s %s: %s", type(error).__name__, error.sqlstate or "", str(error).strip())
                await asyncio.sleep(LOOK_SECONDS)

    async def once(self) -> None:
        """Works until there is nothing left to do, or the runs that were to be done first have ended.

        Raises:
            ZohoError: Zoho cannot be asked any further now.
            TdsError: bulk sync is off, or the organisation is being moved to another shard.
        """
        await self._prepare()
        await self._mirror.show_pulls()
        try:
            await self._work_off()
        finally:
            # that it is silent from now on is in order
            with suppress(psycopg.Error):
                await self._mirror.stop()

    async def _work_off(self) -> None:
        while True:
            if self._first and all(run.is_finished for run in await self._mirror.progress(self._first)):
                return
            if await self._turn(patient=False):
                continue
            if self._left and not self._fetched:
                raise self._left
            if self._refusal:
                raise TdsError(f"No pulls are done: {self._refusal}.", "See the setting bulk_sync_enabled.")
            if not self._fetched and not await self._mirror.open_pulls():
                return
            await asyncio.sleep(SOON_SECONDS)

    async def _prepare(self) -> None:
        self._endpoints = await self._mirror.endpoints()
        self._visibility = await self._mirror.setting("pull_visibility_seconds")

    async def _turn(self, *, patient: bool = True) -> bool:
        """Does one thing: a list, or some details. False: there was nothing to do.

        Args:
            patient: whether to wait for Zoho rather than raise that it cannot be asked now.
        """
        self._patient = patient
        await self._tell()
        self._refusal = await self._mirror.refusal()
        if self._closed_until > asyncio.get_running_loop().time():
            return False
        try:
            if self._refusal is None and await self._pull_next():
                return True
            ended = await self._mirror.settle_pulls()
            if await self._some_hints():
                return True
            if await self._some_details() or await self._some_images() or await self._compare():
                return True
            # last: the mirror is compared when nothing is on its way into it
            if not self._fetched and await reconcile_some(self._client, self._mirror):
                return True
        except (LimitError, UnreachableError) as error:
            if not patient:
                raise
            seconds = self._pause(error) if isinstance(error, LimitError) else OUTAGE_SECONDS
            log.warning("%s Nothing is asked for %.0f s.", error.message, seconds)
            self._closed_until = asyncio.get_running_loop().time() + seconds
            return False
        await self._process()
        return ended > 0

    async def _pull_next(self) -> bool:
        """Does what a message asks for; whether there was one that could be done.

        What lists may not spend is kept for the details that webhooks want: these do not wait with them.
        """
        now = asyncio.get_running_loop().time()
        if self._no_list_until > now or not (message := await self._next()):
            return False
        try:
            await self._pull(message)
        except LimitError as error:
            if self._first:
                raise
            seconds = self._pause(error)
            log.warning("%s No list is read for %.0f s.", error.message, seconds)
            self._no_list_until = math.inf if not self._patient else now + seconds
            self._left = error
            return False
        return True

    def _pause(self, error: LimitError) -> float:
        """Until Zoho is asked again: a minute at most, for the plan may have become larger meanwhile."""
        return min(error.seconds, max(LOOK_SECONDS, self._client.minute_seconds))

    async def _tell(self) -> None:
        """Tells that this poller works.

        Raises:
            RestartWantedError: another one is to take its place.
        """
        if (now := asyncio.get_running_loop().time()) < self._tell_at:
            return
        self._tell_at = now + TELL_SECONDS
        await told_alive(self._mirror)

    async def _next(self) -> Message | None:
        own: dict[str, Any] = {"organization_id": self._mirror.organization_id}
        for condition in (*({**own, "run_id": run_id} for run_id in self._first), own):
            found = await asyncio.to_thread(
                self._queue.read, QUEUE, vt=self._visibility, conditional=condition
            )
            assert not isinstance(found, list)
            if found:
                return found
        return None

    async def _show(self, message: Message, seconds: float) -> None:
        """Makes a message visible again after so long."""
        await asyncio.to_thread(self._queue.set_vt, QUEUE, message.msg_id, int(seconds))

    @asynccontextmanager
    async def _kept(self, message: Message) -> AsyncIterator[None]:
        """Keeps a message invisible as long as the block lasts."""

        async def beat() -> None:
            while True:
                await asyncio.sleep(self._visibility / 3)
                # An outage that lasts gives the message away, and this run's next page is refused.
                with suppress(psycopg.Error):
                    await self._show(message, self._visibility)

        heart = asyncio.create_task(beat())
        try:
            yield
        finally:
            await ended(heart)

    async def _pull(self, message: Message) -> None:
        """Does what a message asks for, and deletes it; or leaves it for later."""
        run_id = int(message.message["run_id"])
        state = await self._mirror.begin_pull(run_id, self._client.session)
        if state == RunState.QUEUED:
            await self._show(message, TURN_SECONDS)
            return
        if state == RunState.RUNNING:
            try:
                async with self._kept(message):
                    await self._list(run_id)
            except OutOfTurnError as error:
                log.warning("%s", error.message)
                if (await self._mirror.run(run_id)).state == RunState.RUNNING:
                    await self._show(message, self._visibility)
                    return
            except UnreachableError as error:
                if self._first or await self._client.stops_all(error):
                    await self._show(message, 0)
                    raise
                pause = await self._mirror.put_aside(run_id)
                log.warning("%s Run %d is gone on with in %d s.", error.message, run_id, pause)
                self._left = error.alone()
                return
            except (LimitError, AuthorizationError, MovingError, asyncio.CancelledError) as error:
                await self._show(message, self._pause(error) if isinstance(error, LimitError) else 0)
                if isinstance(error, LimitError) and self._patient and self._client.purpose == "sweep":
                    # What a sweep may not spend is there for all else, the other pulls of its list among it.
                    await self._mirror.pause_sweep(run_id, error.message)
                    log.info("run %d waits: %s", run_id, error.message)
                    return
                raise
            except PagingError as error:
                log.error("Run %d failed: %s", run_id, error.message)
            except ZohoError as error:
                log.error("Run %d failed: %s", run_id, error.message)
                await self._mirror.fail_run(await self._mirror.run(run_id), error.message)
        self.runs.append(run_id)
        await asyncio.to_thread(self._queue.delete, QUEUE, message.msg_id)
        await self._process()

    async def _list(self, run_id: int) -> None:
        run = await self._mirror.run(run_id)
        self._client.purpose = "sweep" if run.is_by_the_clock else "pull"
        endpoint = self._endpoints[PULLED.get(run.entity, run.entity)]
        log.info("run %d: %s, from page %d on", run_id, run.entity, run.next_page)
        if endpoint.entity == "organizations":
            await pull_organization(self._client, self._mirror, endpoint, run)
        else:
            between = self._live_first if run.is_by_the_clock else None
            await pull_pages(self._client, self._mirror, endpoint, run, between=between)

    async def _live_first(self) -> None:
        """Between two pages of a sweep: what webhooks, hints and operators want is not kept waiting by it."""
        try:
            while await self._mirror.is_live_wanted() and await self._some_details():
                pass
        finally:
            self._client.purpose = "sweep"

    async def _some_details(self) -> bool:
        """Fetches some of the wanted details of the entity that comes first; whether there were any."""
        if self._fetched and not await self._settled():
            return False
        wanting = await self._mirror.wanting()
        for entity, at_once in wanting.items():
            endpoint = self._endpoints[entity]
            single = min(at_once, SINGLE_DETAILS, self._client.calls_per_minute)
            at_most = at_once if endpoint.bulk_detail_path else single
            if taken := await self._mirror.take_details(entity, at_most, self._client.session):
                await self._fetch(endpoint, taken)
                return True
        return False

    async def _some_hints(self) -> bool:
        """Reads a feed of hints, if one is due; whether one was."""
        if (due := await self._mirror.take_feed()) is None:
            return False
        feed = Feed(*due)
        asked = await read_feed(self._client, self._mirror, feed)
        if asked:
            log.info("%s names %d records, which are asked for", feed.name, asked)
        return True

    async def _some_images(self) -> bool:
        """Fetches some of the wanted pictures; whether there were any."""
        if self._images is None:
            return False
        self._client.purpose = "images"
        if (now := asyncio.get_running_loop().time()) >= self._prune_at:
            self._prune_at = now + PRUNE_SECONDS
            try:
                pruned = await prune_known(self._mirror, self._images)
            except OSError as failure:
                # Pictures are still fetched; the files are still unneeded.
                log.error("Files of pictures that nothing shows cannot be removed: %s", failure)
            else:
                if pruned.removed:
                    log.info("%d files of pictures that nothing shows are removed", len(pruned.removed))
        if self._no_image_until > now:
            return False
        try:
            fetched = await fetch_images(self._client, self._mirror, self._images, limit=SINGLE_DETAILS)
        except (ZohoError, OSError) as failure:
            if isinstance(failure, ZohoError) and await self._client.stops_all(failure):
                raise
            # A scope is missing, or room for files: all else goes on.
            log.error("Pictures are not fetched for %.0f s: %s", PRUNE_SECONDS, failure)
            self._no_image_until = now + PRUNE_SECONDS
            return False
        for error in fetched.errors:
            log.warning("%s", error)
        return fetched.done > 0

    async def _compare(self) -> bool:
        """Does a comparison with Zoho that was asked for; whether there was one."""
        if (now := asyncio.get_running_loop().time()) < self._compare_at:
            return False
        self._compare_at = now + COMPARE_SECONDS
        self._client.purpose = "verify"
        return await do_asked(self._client, self._mirror, self._mirror.conninfo)

    async def _fetch(self, endpoint: Endpoint, taken: Mapping[str, Want]) -> None:
        # What no pull wants, a webhook does: such calls may use what is kept for them.
        self._client.purpose = "live" if any(want.run_id is None for want in taken.values()) else "pull"
        calls, asked_at = self._client.calls, dict[str, datetime]()
        try:
            asked_at = await fetch_taken(self._client, self._mirror, endpoint, taken)
        except ZohoError as error:
            if await self._client.stops_all(error):
                raise
            # A scope is missing, or the list that tells of them is out of order: the others go on.
            log.error("%s", error.message)
            for zoho_id in taken:
                await self._mirror.detail_failed(endpoint.entity, zoho_id, error.message)
        finally:
            await self._account(taken, asked_at, self._client.calls - calls)
        self._fetched[endpoint.entity] = asked_at
        self._up_to = await self._mirror.newest_event()
        await self._process()

    async def _account(self, taken: Mapping[str, Want], asked_at: Mapping[str, datetime], calls: int) -> None:
        """Puts the calls on the account of the runs that wanted the details, each its share."""
        owners = [want.run_id for want in taken.values()]
        runs = sorted({run_id for run_id in owners if run_id is not None})
        marks = [0, *accumulate(owners.count(run_id) * calls / len(owners) for run_id in runs)]
        for place, run_id in enumerate(runs):
            share = round(marks[place + 1]) - round(marks[place])
            fetched = sum(taken[zoho_id].run_id == run_id for zoho_id in asked_at)
            await self._mirror.note_progress(run_id, share, fetched)

    async def _settled(self) -> bool:
        """Whether what was fetched is processed; a want that is open all the same has failed."""
        await self._process()
        if not await self._mirror.is_processed(self._up_to):
            return False
        for entity, asked_at in self._fetched.items():
            await self._mirror.note_vain(entity, asked_at)
        self._fetched.clear()
        return True

    async def _process(self) -> None:
        """Processes what has come, if this role may; else that is the workers'."""
        await self._mirror.drain()


async def told_alive(mirror: Mirror) -> None:
    """Tells that this poller works.

    Raises:
        RestartWantedError: another one is to take its place.
    """
    notify_systemd()
    if await mirror.beat():
        raise RestartWantedError("A restart is asked for.", "select * from tds.program")


def read_queue(dsn: str) -> PGMQueue:
    """The client of the pgmq queues; close its `pool`.

    Args:
        dsn: libpq connection string of the database.
    """
    connections = pool("poller", dsn, max_size=2, answer_seconds=QUEUE_SECONDS)
    connections.open()
    return PGMQueue(pool=connections, init_extension=False)


@asynccontextmanager
async def opened_queue(dsn: str) -> AsyncIterator[PGMQueue]:
    """As `read_queue`, in an event loop, for as long as the block lasts."""
    queue = await asyncio.to_thread(read_queue, dsn)
    try:
        yield queue
    finally:
        connections: Any = queue.pool
        await asyncio.to_thread(connections.close)


async def reconcile_all(
    client: ZohoClient, mirror: Mirror, run_id: int, on_task: Callable[[], None] = lambda: None
) -> None:
    """Does a whole reconciliation, and the pulls that it waits for before it looks at a difference again.

    Args:
        client: to ask with.
        mirror: whose sums.
        run_id: of the reconciliation.
        on_task: is called after each task.

    Raises:
        ZohoError: Zoho cannot be asked any further now.
        TdsError: bulk sync is off.
    """
    while True:
        while await reconcile_some(client, mirror, run_id):
            on_task()
        if (pulls := await mirror.reconcile_pulls(run_id)) is None:
            return
        if pulls:
            async with opened_queue(mirror.conninfo) as queue:
                await Poll(client, mirror, queue, first=pulls).once()
        else:
            # another process is at it
            await asyncio.sleep(LOOK_SECONDS)
