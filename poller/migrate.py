"""The whole way of some entities: their lists, the processing of these, the details that lists lack."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from poller.client import ZohoClient
from poller.details import PAUSE_SECONDS, fetch_details
from poller.errors import ZohoError
from poller.mirror import Endpoint, Mirror
from poller.progress import Steps
from poller.pull import pull_list, pull_organization


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of one entity: `missing` details could not be had and stay wanted."""

    entity: str
    records: int
    missing: int


async def migrate(
    client: ZohoClient,
    mirror: Mirror,
    entities: Sequence[str] | None,
    steps: Steps,
    *,
    restart: bool = False,
    details: bool = True,
) -> list[Pulled]:
    """Pulls lists, has them processed, fetches details. Whatever stops it, the same call goes on from there.

    Args:
        client: to ask with.
        mirror: to store in.
        entities: which; None: all there are, in the order of `tds.entity.priority`.
        steps: where to show the progress.
        restart: begin lists anew even if they were left unfinished.
        details: whether to wait for the processing and fetch the details that it wants.

    Raises:
        ZohoError: an entity is unknown, or Zoho cannot be asked any further.
    """
    known = await mirror.endpoints()
    if unknown := set(entities or ()) - known.keys():
        raise ZohoError(f"Unknown: {', '.join(sorted(unknown))}.", f"There are {', '.join(known)}.")
    chosen = [endpoint for name, endpoint in known.items() if entities is None or name in entities]
    began = await mirror.begin_full_pull(restart=restart) if entities is None else None
    # Lists do not wait for one another: several pages are in flight, as far as the calls at once allow.
    counts = await asyncio.gather(
        *(_pull(client, mirror, endpoint, steps, began=began, restart=restart) for endpoint in chosen),
        return_exceptions=True,
    )
    records = dict[str, int]()
    for endpoint, count in zip(chosen, counts, strict=True):
        if isinstance(count, BaseException):
            raise count
        records[endpoint.entity] = count
    missing = dict.fromkeys(records, 0)
    if details:
        with steps.step("processing"):
            await _process(mirror)
        if began is not None:
            await mirror.want_volatile()
        # Stock and prices come first: few calls, by the hundred or a list each, and much is asked of them.
        for endpoint in sorted(chosen, key=lambda endpoint: not endpoint.volatile_details):
            missing[endpoint.entity] = await _details(client, mirror, endpoint, steps)
    if began is not None:
        await mirror.finish_full_pull()
    return [Pulled(entity, count, missing[entity]) for entity, count in records.items()]


async def _pull(
    client: ZohoClient,
    mirror: Mirror,
    endpoint: Endpoint,
    steps: Steps,
    *,
    began: datetime | None,
    restart: bool,
) -> int:
    """Pulls one list, unless the migration that began then has done so already."""
    with steps.step(endpoint.entity) as step:
        if began is not None and (records := await mirror.pulled_since(endpoint.entity, began)) is not None:
            step.at(records)
            return records
        if endpoint.entity == "organizations":
            run = await mirror.start_run(endpoint.entity, restart=restart)
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
