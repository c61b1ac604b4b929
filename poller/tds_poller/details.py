"""Fetching what lists lack: the details in the wanted set."""

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from tds_poller.mirror import Endpoint, Mirror, Want
from tds_poller.pull import Walk
from tds_poller.zoho.client import INVENTORY, PER_PAGE, Reply, ZohoClient
from tds_poller.zoho.errors import (
    NotFoundError,
    OrganizationError,
    RefusedError,
    UnauthorizedError,
    UnreachableError,
)

log = logging.getLogger(__name__)

PLACES = ("locations", "warehouses")  # of an item, in newer organisations and in older ones

MOST_AT_ONCE = 100  # also the ids in one call of /itemdetails, as other clients send them
PAUSE_SECONDS = 0.2  # between looks at what other processes are still working on


async def fetch_details(client: ZohoClient, mirror: Mirror, endpoint: Endpoint) -> int:
    """Fetches the wanted details and has them processed until there are no more; others may help.

    Args:
        client: to ask with.
        mirror: to store in.
        endpoint: whose details.

    Returns:
        How many could not be had, or did not settle what they were wanted for; they are tried again later.

    Raises:
        ZohoError: Zoho cannot be asked any further. What was fetched is stored, the rest is still wanted.
    """
    fetched: dict[str, datetime] = {}
    # A minute's worth at most where each costs a call, because a lease lasts two: what is stored and not
    # processed by then would be asked for again.
    a_minute = min(client.calls_per_minute, await mirror.setting("api_details_per_minute"))
    at_once = MOST_AT_ONCE if endpoint.bulk_detail_path else min(a_minute, MOST_AT_ONCE)
    # Only for what had come by then is waited: under a stream of webhooks some event is always unfinished.
    up_to = await mirror.newest_event()
    while True:
        taken = await mirror.take_details(endpoint.entity, at_once, client.session)
        asked_at, _ = await asyncio.gather(
            fetch_taken(client, mirror, endpoint, taken), mirror.drain(endpoint.queue)
        )
        fetched |= asked_at
        if taken:
            up_to = await mirror.newest_event()
            continue
        if await mirror.is_processed(up_to) and await mirror.note_vain(endpoint.entity, fetched) == 0:
            return await mirror.wanted(endpoint.entity)
        await asyncio.sleep(PAUSE_SECONDS)


async def fetch_taken(
    client: ZohoClient, mirror: Mirror, endpoint: Endpoint, wanted: Mapping[str, Want]
) -> dict[str, datetime]:
    """Fetches and stores these details; says when each was asked for.

    Raises:
        ZohoError: Zoho cannot be asked any further. What was fetched is stored, the rest is still wanted.
    """
    asked_at: dict[str, datetime] = {}
    unlisted_at: datetime | None = None
    if wanted and not endpoint.has_details and endpoint.entity != "organizations":
        asked_at, unlisted_at = await _from_list(client, mirror, endpoint, wanted)
    if endpoint.bulk_detail_path and (reply := await _many(client, endpoint, wanted)):
        asked_at |= {zoho_id: reply.sent_at for zoho_id in _answered(reply, endpoint) if zoho_id in wanted}
        if asked_at:
            await mirror.store_detail(endpoint.entity, list(asked_at), reply.body, reply.sent_at)
            await _stock_by_place(client, mirror, endpoint, reply)
    # What an answer for many leaves out, or refuses, may be gone or not: only its own URL tells.
    one_by_one = [zoho_id for zoho_id in wanted if zoho_id not in asked_at]
    fetches = [
        _fetch(client, mirror, endpoint, (zoho_id, wanted[zoho_id]), unlisted_at) for zoho_id in one_by_one
    ]
    unanswered: dict[str, UnreachableError] = {}
    for zoho_id, outcome in zip(
        one_by_one, await asyncio.gather(*fetches, return_exceptions=True), strict=True
    ):
        if isinstance(outcome, UnreachableError):
            unanswered[zoho_id] = outcome
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            asked_at[zoho_id] = outcome
    if unanswered and not asked_at and await client.stops_all(error := next(iter(unanswered.values()))):
        raise error
    # Others were answered, or something else is: it is these records that Zoho fails at.
    for zoho_id, error in unanswered.items():
        log.warning("%s The others go on.", error.message)
        await mirror.detail_failed(endpoint.entity, zoho_id, error.message)
    return asked_at


async def _many(client: ZohoClient, endpoint: Endpoint, wanted: Mapping[str, Want]) -> Reply | None:
    """The answer for many records at once; None: there is none, which one of them may be the fault of.

    Raises:
        ZohoError: Zoho cannot be asked any further.
    """
    # Zoho takes digits only, and of a list with anything else nothing.
    if not (ids := [zoho_id for zoho_id in wanted if zoho_id.isascii() and zoho_id.isdigit()]):
        return None
    try:
        return await client.get(endpoint.bulk_detail_path or "", {f"{endpoint.id_key}s": ",".join(ids)})
    except (RefusedError, UnreachableError) as error:
        if await client.stops_all(error):
            raise
        log.warning("%s Each of these %d is asked for by itself.", error.message, len(ids))
        return None


async def _from_list(
    client: ZohoClient, mirror: Mirror, endpoint: Endpoint, wanted: Mapping[str, Want]
) -> tuple[dict[str, datetime], datetime]:
    """Reads a list that says all there is of its records, and of which Zoho may have no single ones.

    Returns:
        When those it has were asked for, and when the list was.
    """
    asked_at: dict[str, datetime] = {}
    walk = Walk(endpoint)
    page, has_more, began = 1, True, datetime.max.replace(tzinfo=UTC)
    while has_more:
        place = {"page": str(page), "per_page": str(PER_PAGE)} if endpoint.paged else {}
        reply = await client.get(endpoint.api_path, {**endpoint.list_filter, **place})
        began = min(began, reply.sent_at)
        told = _answered(reply, endpoint)
        if found := [zoho_id for zoho_id in told if zoho_id in wanted]:
            await mirror.store_detail(endpoint.entity, found, reply.body, reply.sent_at)
            asked_at |= dict.fromkeys(found, reply.sent_at)
        has_more = walk.more_follows(reply.document, page, len(told))
        page += 1
    return asked_at, began


def _answered(reply: Reply, endpoint: Endpoint) -> list[str]:
    """The ids of the records in an answer for many; they may be told as integers."""
    records = reply.document.get(endpoint.list_key)
    if not isinstance(records, list):
        return []
    return [
        str(record[endpoint.id_key])
        for record in records
        if isinstance(record, dict) and endpoint.id_key in record
    ]


async def _stock_by_place(client: ZohoClient, mirror: Mirror, endpoint: Endpoint, reply: Reply) -> None:
    """Asks the Inventory API for the places of products of which Books tells a stock and no place.

    It is the same record with the same id; only its places are kept, under the version that Books told.

    Raises:
        ZohoError: Zoho cannot be asked any further.
    """
    if endpoint.entity != "products":
        return
    placeless = [
        item
        for item in reply.document[endpoint.list_key]
        if isinstance(item, dict)
        and endpoint.id_key in item
        and item.get("stock_on_hand") not in (None, "")
        and not any(item.get(key) for key in PLACES)
    ]
    if not placeless or not await mirror.asks_inventory():
        return
    for item in placeless:
        zoho_id = str(item[endpoint.id_key])
        try:
            found = await client.get(f"{INVENTORY}items/{quote(zoho_id, safe='')}", refresh=False)
        except UnauthorizedError as error:
            await mirror.no_inventory(error.message)
            return
        except (RefusedError, UnreachableError) as error:
            if await client.stops_all(error):
                raise
            log.warning("%s No stock by place of product %s.", error.message, zoho_id)
            continue
        told = found.document.get(endpoint.record_key)
        if not isinstance(told, dict):
            continue
        places = {key: told[key] for key in PLACES if told.get(key)}
        if not places:
            continue
        kept = {key: item[key] for key in (endpoint.id_key, "last_modified_time") if item.get(key)}
        body = json.dumps({endpoint.record_key: kept | places}).encode()
        await mirror.store_detail(endpoint.entity, [zoho_id], body, found.sent_at)


async def _fetch(
    client: ZohoClient,
    mirror: Mirror,
    endpoint: Endpoint,
    wanted: tuple[str, Want],
    unlisted_at: datetime | None,
) -> datetime:
    """Fetches and stores one detail; returns when it was asked for.

    Where Zoho has no single records, one that the whole list lacks (`unlisted_at`) is not there.
    """
    zoho_id, (modified_at, _) = wanted
    try:
        reply = await client.get(f"{endpoint.api_path}/{quote(zoho_id, safe='')}")
    except NotFoundError as absence:
        await _absent(mirror, endpoint, zoho_id, absence.sent_at)
        return absence.sent_at
    except RefusedError as error:
        if endpoint.entity == "organizations" and zoho_id != mirror.organization_id:
            # Another's is refused, whether there is one or not: it has no place here.
            unlisted_at = error.sent_at
        elif isinstance(error, OrganizationError):
            # it is not the record's fault
            raise
        if unlisted_at is not None:
            await _absent(mirror, endpoint, zoho_id, unlisted_at)
            return unlisted_at
        await mirror.detail_failed(endpoint.entity, zoho_id, error.message)
        return error.sent_at
    await mirror.store_detail(endpoint.entity, [zoho_id], reply.body, reply.sent_at, modified_at=modified_at)
    return reply.sent_at


async def _absent(mirror: Mirror, endpoint: Endpoint, zoho_id: str, at: datetime) -> None:
    """Stores that Zoho has not a record."""
    proof = json.dumps({endpoint.record_key: {endpoint.id_key: zoho_id}}).encode()
    await mirror.store_detail(endpoint.entity, [zoho_id], proof, at, event="delete")
