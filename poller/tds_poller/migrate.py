"""The whole way of everything: all lists, the processing of these, the details that lists lack."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime

from tds_db.progress import Step, Steps
from tds_db.runs import RunState
from tds_poller.details import PAUSE_SECONDS, fetch_details
from tds_poller.mirror import Endpoint, Mirror, OutOfTurnError, Run
from tds_poller.pull import pull_organization, pull_pages
from tds_poller.tasks import ended
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.errors import UnreachableError, ZohoError

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # between looks at how many details there are


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of one entity: `missing` details could not be had and stay wanted."""

    entity: str
    records: int
    missing: int


async def migrate(client: ZohoClient, mirror: Mirror, steps: Steps, *, restart: bool = False) -> list[Pulled]:
    """Pulls all lists, has them processed, fetches details. Whatever stops it, the next call goes on.

    Args:
        client: to ask with.
        mirror: to store in.
        steps: where to show the progress.
        restart: begin everything anew even if it was left unfinished.

    Returns:
        What became of each entity, in the order of `tds.entity.priority`.

    Raises:
        ZohoError: Zoho cannot be asked any further; or it refuses or fails at one list, not the others.
    """
    endpoints = list((await mirror.endpoints()).values())
    began = await mirror.begin_full_pull(restart=restart)
    # Lists do not wait for one another: several pages are in flight, as far as the calls at once allow.
    counts = await asyncio.gather(
        *(_pull(client, mirror, endpoint, steps, began=began, restart=restart) for endpoint in endpoints),
        return_exceptions=True,
    )
    records = dict[str, int]()
    refused: ZohoError | None = None
    for endpoint, count in zip(endpoints, counts, strict=True):
        if isinstance(count, ZohoError) and not await client.stops_all(count):
            refused = _first(refused, endpoint, count)
        elif isinstance(count, BaseException):
            raise count
        else:
            records[endpoint.entity] = count
    with steps.step("processing"):
        await _process(mirror)
    await mirror.want_volatile()
    # Stock and prices come first: few calls, by the hundred or a list each, and much is asked of them.
    missing = dict[str, int]()
    for endpoint in sorted(endpoints, key=lambda endpoint: not endpoint.volatile_details):
        try:
            missing[endpoint.entity] = await _details(client, mirror, endpoint, steps)
        except ZohoError as error:
            if await client.stops_all(error):
                raise
            refused = _first(refused, endpoint, error)
    if refused is not None:
        # where every list is refused, nothing has been migrated
        if records:
            await mirror.start_clock()
        raise refused
    await mirror.finish_full_pull()
    return [Pulled(entity, count, missing[entity]) for entity, count in records.items()]


def _first(before: ZohoError | None, endpoint: Endpoint, error: ZohoError) -> ZohoError:
    """What the migration ends with once all else is here: the first of what was refused."""
    log.error("%s: %s The others go on.", endpoint.entity, error.message)
    return before or (error.alone() if isinstance(error, UnreachableError) else error)


async def _pull(
    client: ZohoClient,
    mirror: Mirror,
    endpoint: Endpoint,
    steps: Steps,
    *,
    began: datetime,
    restart: bool,
) -> int:
    """Pulls one list, unless the migration that began then has done so already.

    Raises:
        OutOfTurnError: its run was cancelled.
    """
    with steps.step(endpoint.entity) as step:
        while True:
            if (records := await mirror.pulled_since(endpoint.entity, began)) is not None:
                step.before(records)
                return records
            run = await mirror.start_run(endpoint.entity, client.session, restart=restart)
            if endpoint.entity == "organizations":
                await pull_organization(client, mirror, endpoint, run)
                step.at(1)
                return 1
            try:
                return (await _pages(client, mirror, endpoint, run, step)).records
            except OutOfTurnError:
                # a poller was at the same run: what it has read is ours, too, and the rest we read
                if (await mirror.run(run.run_id)).state == RunState.CANCELLED:
                    raise
                restart = False
                await asyncio.sleep(PAUSE_SECONDS)


async def _pages(client: ZohoClient, mirror: Mirror, endpoint: Endpoint, run: Run, step: Step) -> Run:
    step.before(run.records)
    shown = 0

    def show(records: int) -> None:
        # the first are those that were stored before
        nonlocal shown
        shown += records
        step.at(shown)

    return await pull_pages(client, mirror, endpoint, run, on_page=show)


async def _details(client: ZohoClient, mirror: Mirror, endpoint: Endpoint, steps: Steps) -> int:
    wanted = await mirror.wanted(endpoint.entity)
    before = await mirror.migrated(endpoint.entity)
    if not wanted and not before:
        return 0
    with steps.step(f"{endpoint.entity}, details") as step:
        step.before(before, before + wanted)

        async def watch() -> None:
            while True:
                done = await mirror.migrated(endpoint.entity)
                step.at(done, done + await mirror.unanswered(endpoint.entity))
                await asyncio.sleep(LOOK_SECONDS)

        watching = asyncio.create_task(watch())
        try:
            missing = await fetch_details(client, mirror, endpoint) if wanted else 0
        finally:
            await ended(watching)
        done = await mirror.migrated(endpoint.entity)
        step.at(done, done + missing)
        return missing


async def _process(mirror: Mirror) -> None:
    """Processes what has come by now, or waits for the workers that have it in hand."""
    up_to = await mirror.newest_event()
    while not await mirror.is_processed(up_to):
        if not (await mirror.drain())["claimed"]:
            await asyncio.sleep(PAUSE_SECONDS)
