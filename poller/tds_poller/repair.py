"""Repair: records are read from Zoho and written whatever is stored of them; the database writes."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tds_poller.details import MOST_AT_ONCE, fetch_taken
from tds_poller.mirror import Endpoint, Mirror
from tds_poller.zoho.client import ZohoClient

LOOK_SECONDS = 0.2
PATIENCE_SECONDS = 60.0  # for answers that other processes have in hand
FORGOTTEN = "the API does not tell of it, and no event that did is kept: have Zoho send it again"


@dataclass
class Repaired:
    """What became of records that were to be repaired."""

    written: dict[str, list[str]] = field(default_factory=dict)
    """Ids, by entity, of which Zoho's answer is written."""
    absent: dict[str, list[str]] = field(default_factory=dict)
    """Ids, by entity, that Zoho does not have: no row of them is left that is not marked deleted."""
    pending: list[dict[str, object]] = field(default_factory=list)
    """Those that are asked for once more, or could not be had, and why."""


async def repair(
    client: ZohoClient,
    mirror: Mirror,
    endpoints: Mapping[str, Endpoint],
    wishes: Mapping[str, Sequence[str]],
    asked_by: str | None = None,
) -> Repaired:
    """Has these records written as Zoho tells them now.

    Args:
        client: to ask with.
        mirror: to store in.
        endpoints: of all entities, as `Mirror.endpoints` has them.
        wishes: ids, by entity.
        asked_by: stands with the events; None: the session's user.

    Raises:
        ZohoError: Zoho cannot be asked any further. What was asked for is still wanted.
        psycopg.Error: an entity or an id is none.
    """
    client.purpose = "repair"
    done = Repaired()
    unwritten: dict[str, list[dict[str, object]]] = {}
    for entity, ids in wishes.items():
        if entity in endpoints:
            await mirror.repair(entity, ids, asked_by)
            await _fetch(client, mirror, endpoints[entity], ids)
        else:
            unwritten[entity] = [
                {"zoho_id": i, "reason": FORGOTTEN, "error": None, "not_before": None, "is_asked": False}
                for i in ids
                if not await mirror.repair(entity, [i], asked_by)
            ]
    for entity, ids in wishes.items():
        left = await mirror.unwritten(entity, ids) if entity in endpoints else unwritten[entity]
        open_ids = {row["zoho_id"] for row in left}
        settled = [zoho_id for zoho_id in ids if zoho_id not in open_ids]
        absent = await mirror.not_living(entity, settled) if entity in endpoints else []
        done.written[entity] = [zoho_id for zoho_id in settled if zoho_id not in absent]
        if absent:
            done.absent[entity] = absent
        done.pending += [{"entity": entity} | row for row in left]
    return done


async def _fetch(client: ZohoClient, mirror: Mirror, endpoint: Endpoint, ids: Sequence[str]) -> None:
    """Fetches what is wanted of an entity until these are answered; other processes may help."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + PATIENCE_SECONDS
    at_once = MOST_AT_ONCE if endpoint.bulk_detail_path else min(client.calls_per_minute, MOST_AT_ONCE)
    asked: set[str] = set()
    while rest := set(ids) - asked:
        # The newest wants come first, and these are the newest.
        taken = await mirror.take_details(endpoint.entity, min(at_once, len(rest)), client.session)
        if taken:
            asked |= (await fetch_taken(client, mirror, endpoint, taken)).keys() | taken.keys()
            continue
        if not rest & await mirror.open_wants(endpoint.entity) or loop.time() > give_up:
            break
        await asyncio.sleep(LOOK_SECONDS)
    up_to = await mirror.newest_event()
    await mirror.drain(endpoint.queue)
    while not await mirror.is_processed(up_to) and loop.time() < give_up:
        await asyncio.sleep(LOOK_SECONDS)
        await mirror.drain(endpoint.queue)
