"""The pollers of all organisations in one process: each has its own pace, and none waits for another.

Every organisation has a client, a token, a budget and a loop of its own; what they share are a few
connections. Rows that are added, changed, paused or removed are noticed within seconds. One that cannot be
asked for, because its credentials are missing or Zoho refuses them, is told in `tds.api_budget.refused` and
tried again; the others go on.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, suppress

import psycopg
from pgmq import PGMQueue
from pydantic import ValidationError

from tds_db.errors import TdsError
from tds_db.images import ImageSettings
from tds_poller.mirror import Mirror
from tds_poller.organisations import Known, Served, served
from tds_poller.poll import LOOK_SECONDS, OUTAGE_SECONDS, TELL_SECONDS, Poll, RestartWantedError, told_alive
from tds_poller.tasks import ended
from tds_poller.zoho.client import Ground, ZohoClient
from tds_poller.zoho.errors import AuthorizationError, LimitError, MovingError, UnreachableError
from tds_poller.zoho.settings import ZohoSettings

log = logging.getLogger(__name__)

RELOAD_SECONDS = 5.0  # between looks at which organisations there are
REFUSED_SECONDS = 60.0  # until one that could not be asked for is tried again
FEW = 20  # organisations that each look for work by themselves, every second
IDLE_SECONDS = 60.0  # between such looks where there are more: whoever has work is woken
CONNECTIONS = 8

Shown = Callable[[Mirror, ZohoClient], AbstractAsyncContextManager[None]]


class Fleet:
    """Serves organisations until cancelled, or until nothing is left to do.

    Args:
        dsn: libpq connection string of the database.
        queue: the client of the pgmq queue.
        images: where pictures are kept; None: they are not fetched.
        only: ids of the organisations to serve; none: all that are active.
    """

    def __init__(
        self, dsn: str, queue: PGMQueue, images: ImageSettings | None = None, only: Collection[str] = ()
    ) -> None:
        self._dsn = dsn
        self._queue = queue
        self._images = images
        self._only = only
        self._root = Mirror(dsn, "", connections=CONNECTIONS)
        self._ground = Ground(dsn)
        self._known: Known = {}
        self._serving: dict[str, tuple[Served, asyncio.Task[None]]] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self.runs: list[int] = []
        """The runs whose lists were pulled here."""

    async def forever(self, first: Sequence[Served]) -> None:
        """Serves them, and those that are added, until cancelled.

        Args:
            first: whom to begin with.

        Raises:
            AuthorizationError: there is one organisation, that of the environment, and Zoho refuses us.
            RestartWantedError: another process is to take this one's place.
        """
        async with self._root, self._ground:
            try:
                await self._adjust(first)
                looked_at = asyncio.get_running_loop().time()
                told_at = -TELL_SECONDS
                while True:
                    for _, task in self._serving.values():
                        if task.done():
                            task.result()
                    now = asyncio.get_running_loop().time()
                    try:
                        if now - told_at >= TELL_SECONDS:
                            told_at = now
                            await told_alive(self._root)
                        if now - looked_at >= RELOAD_SECONDS:
                            looked_at = now
                            await self._adjust(await asyncio.to_thread(self._chosen))
                        if len(self._serving) > FEW:
                            for organization_id in await self._root.organizations_with_work():
                                self._wake(organization_id)
                    except psycopg.Error as error:
                        log.error("%s %s: %s", type(error).__name__, error.sqlstate or "", str(error).strip())
                    await asyncio.sleep(LOOK_SECONDS)
            finally:
                await self._end([*self._serving])
                with suppress(psycopg.Error):
                    await self._root.stop()

    async def once(self, chosen: Sequence[Served], shown: Shown) -> None:
        """Works until nothing is left to do for any of them.

        Args:
            chosen: whom.
            shown: shows one's work as long as its block lasts.

        Raises:
            TdsError: one of them could not be asked for; the others are done nevertheless.
        """
        async with self._root, self._ground:
            outcomes = await asyncio.gather(
                *(self._once(each, shown) for each in chosen), return_exceptions=True
            )
        failed = [(each, outcome) for each, outcome in zip(chosen, outcomes, strict=True) if outcome]
        for each, outcome in failed:
            assert isinstance(outcome, BaseException)
            if len(chosen) == 1 or not isinstance(outcome, TdsError):
                raise outcome
            log.error("Organisation %s: %s", each.organization_id, outcome.message)
        if failed:
            named = ", ".join(each.organization_id for each, _ in failed)
            raise TdsError(f"Not served: {named}.", "Next: tds org list, which says why")

    def _chosen(self) -> list[Served]:
        try:
            found = served(self._dsn, known=self._known)
        except ValidationError:
            return []  # the last row was taken away, and the environment has none
        return [each for each in found if not self._only or each.organization_id in self._only]

    async def _adjust(self, wanted: Sequence[Served]) -> None:
        """Begins with those who are new or changed, and lets go of those who are gone."""
        by_id = {each.organization_id: each for each in wanted}
        gone = []
        for organization_id, (before, _) in self._serving.items():
            now = by_id.get(organization_id)
            if now is None or _is_changed(before, now):
                log.info("organisation %s: %s", organization_id, "let go of" if now is None else "begun anew")
                gone.append(organization_id)
        await self._end(gone)
        is_alone = len(by_id) == 1
        for organization_id, each in by_id.items():
            if organization_id not in self._serving:
                task = asyncio.create_task(
                    self._serve(each, is_alone=is_alone), name=f"organisation {organization_id}"
                )
                self._serving[organization_id] = each, task

    async def _end(self, organization_ids: Sequence[str]) -> None:
        tasks = [self._serving.pop(each)[1] for each in organization_ids]
        await ended(*tasks)

    def _wake(self, organization_id: str) -> None:
        if organization_id in self._wakes:
            self._wakes[organization_id].set()

    async def _serve(self, each: Served, *, is_alone: bool) -> None:
        """Polls for one organisation until cancelled; what is wrong with it alone stops it alone."""
        mirror = self._root.beside(each.organization_id)
        wake = self._wakes[each.organization_id] = asyncio.Event()
        told = ""
        while True:
            pause = REFUSED_SECONDS
            try:
                settings = each.needed()
                async with ZohoClient(settings, self._dsn, ground=self._ground) as client:
                    await client.token()
                    await mirror.note_refusal(None)
                    poll = self._poll(client, mirror)
                    poll.rest_on(wake, lambda: IDLE_SECONDS if len(self._serving) > FEW else LOOK_SECONDS)
                    await poll.forever()
            except AuthorizationError as error:
                if is_alone and not each.is_row:
                    raise
                await self._refused(mirror, error)
            except RestartWantedError:
                raise
            except MovingError as error:
                pause = LOOK_SECONDS  # it is gone soon, or has arrived
                if told != error.message:
                    told = error.message
                    log.info("organisation %s: %s", each.organization_id, told)
            except (LimitError, UnreachableError) as error:
                pause = error.seconds if isinstance(error, LimitError) else OUTAGE_SECONDS
                log.warning("Organisation %s: %s", each.organization_id, error.message)
            except TdsError as error:
                await self._refused(mirror, error)
            except psycopg.Error as error:
                pause = LOOK_SECONDS
                log.error("%s %s: %s", type(error).__name__, error.sqlstate or "", str(error).strip())
            await asyncio.sleep(pause)

    async def _once(self, each: Served, shown: Shown) -> None:
        mirror = self._root.beside(each.organization_id)
        try:
            async with ZohoClient(each.needed(), self._dsn, ground=self._ground) as client:
                async with shown(mirror, client):
                    await self._poll(client, mirror).once()
                await mirror.note_refusal(None)
        except AuthorizationError as error:
            await self._refused(mirror, error)
            raise

    def _poll(self, client: ZohoClient, mirror: Mirror) -> Poll:
        poll = Poll(client, mirror, self._queue, self._images)
        poll.runs = self.runs
        return poll

    async def _refused(self, mirror: Mirror, error: TdsError) -> None:
        log.error("Organisation %s is passed over: %s", mirror.organization_id, error.message)
        with suppress(psycopg.Error):
            await mirror.note_refusal(error.message)


def _is_changed(before: Served, now: Served) -> bool:
    """Whether it is to be asked for in another way than before."""
    if before is now:
        return False
    said = [each.problem.message if each.problem else None for each in (before, now)]
    return _facts(before.settings) != _facts(now.settings) or said[0] != said[1]


def _facts(settings: ZohoSettings | None) -> dict[str, object] | None:
    return settings.model_dump() if settings else None
