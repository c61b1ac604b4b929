"""The whole way of everything: all lists, the processing of these, the details that lists lack."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from tds_poller.details import PAUSE_SECONDS, fetch_details
from tds_poller.mirror import Endpoint, Mirror
from tds_poller.progress import Steps
from tds_poller.pull import pull_list, pull_organization
from tds_poller.zoho.client import ZohoClient


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
        ZohoError: Zoho cannot be asked any further.
    """
    endpoints = list((await mirror.endpoints()).values())
    began = await mirror.begin_full_pull(restart=restart)
    # Lists do not wait for one another: several pages are in flight, as far as the calls at once allow.
    counts = await asyncio.gather(
        *(_pull(client, mirror, endpoint, steps, began=began, restart=restart) for endpoint in endpoints),
        return_exceptions=True,
    )
    records = dict[str, int]()
    for endpoint, count in zip(endpoints, counts, strict=True):
        if isinstance(count, BaseException):
            raise count
        records[endpoint.entity] = count
    with steps.step("processing"):
        await _process(mirror)
    await mirror.want_volatile()
    # Stock and prices come first: few calls, by the hundred or a list each, and much is asked of them.
    missing = {
        endpoint.entity: await _details(client, mirror, endpoint, steps)
        for endpoint in sorted(endpoints, key=lambda endpoint: not endpoint.volatile_details)
    }
    await mirror.finish_full_pull()
    return [Pulled(entity, count, missing[entity]) for entity, count in records.items()]


async def _pull(
    client: ZohoClient,
    mirror: Mirror,
    endpoint: Endpoint,
    steps: Steps,
    *,
    began: datetime,
    restart: bool,
) -> int:
    """Pulls one list, unless the migration that began then has done so already."""
    with steps.step(endpoint.entity) as step:
        if (records := await mirror.pulled_since(endpoint.entity, began)) is not None:
            step.at(records)
            return records
        if endpoint.entity == "organizations":
            run = await mirror.start_run(endpoint.entity, client.session, restart=restart)
            await pull_organization(client, mirror, endpoint, run)
            step.at(1)
            return 1
        run = await pull_list(client, mirror, endpoint, restart=restart, on_page=step.advance)
        return run.records


async def _details(client: ZohoClient, mirror: Mirror, endpoint: Endpoint, steps: Steps) -> int:
    if not await mirror.wanted(endpoint.entity):
        return 0
    with steps.step(f"{endpoint.entity}, details") as step:
        return await fetch_details(
            client, mirror, endpoint, on_progress=lambda done, wanted: step.at(done, done + wanted)
        )


async def _process(mirror: Mirror) -> None:
    """Processes what has come by now, or waits for the workers that have it in hand."""
    up_to = await mirror.newest_event()
    while not await mirror.is_processed(up_to):
        if not (await mirror.drain())["claimed"]:
            await asyncio.sleep(PAUSE_SECONDS)
