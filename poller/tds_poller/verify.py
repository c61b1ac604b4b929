"""The mirror against what Zoho lists. Pages are read here; the database compares."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from psycopg.types.json import set_json_loads

from tds_db.connect import connect_for_rows
from tds_db.progress import UNSEEN, Step
from tds_poller.mirror import Endpoint, Mirror
from tds_poller.pull import Walk
from tds_poller.zoho.client import PER_PAGE, ZohoClient
from tds_poller.zoho.errors import NotFoundError, RefusedError, ZohoError

LOOK_EVERY_SECONDS = 0.2
ASKED_WAIT_SECONDS = 30.0  # for events that are on their way, where nobody waits for the comparison

Result = Mapping[str, Any]


class Books:
    """The database's side of a comparison. Use as a context manager.

    Args:
        dsn: libpq connection string.
        organization_id: whose records.
        wait: seconds to wait, all in all, for events that are on their way into the mirror.
    """

    def __init__(self, dsn: str, organization_id: str, wait: float) -> None:
        self._dsn = dsn
        self._organization_id = organization_id
        self._wait = wait

    def __enter__(self) -> Self:
        self._connection = connect_for_rows("verify", self._dsn)
        set_json_loads(partial(json.loads, parse_float=Decimal), self._connection)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def plan(self) -> list[dict[str, Any]]:
        """Every entity that Zoho has a list of, the rows that the mirror has, and the calls these cost."""
        query = "select entity, rows, calls from tds.verify_plan(%s, %s)"
        return self._connection.execute(query, [self._organization_id, PER_PAGE]).fetchall()

    def listed(self, entity: str, body: bytes) -> str:
        """What of a page is needed, as JSON: much less than the page."""
        query = "select tds.listed(%s, %b)::text as listed"
        [row] = self._connection.execute(query, [entity, body])
        return str(row["listed"])

    def leave_off(self, endpoint: Endpoint, parameter: str, message: str) -> Endpoint:
        """Notes that the organisation's edition refuses a parameter of a list; the list without it."""
        query = "select tds.leave_off(%s, %s, %s, %s) as left"
        [row] = self._connection.execute(
            query, [endpoint.entity, self._organization_id, parameter, message]
        ).fetchall()
        return replace(endpoint, list_filter=row["left"])

    def begin(
        self,
        depth: str,
        entities: Sequence[str],
        *,
        sample: int | None = None,
        seed: str | None = None,
        zoho_ids: Sequence[str] | None = None,
    ) -> int:
        """Begins a comparison whose result is stored; returns its number."""
        query = (
            """select tds.begin_verification(%s, %s, %s, sample => %s, seed => %s, zoho_ids => %s) as id"""
        )
        of = [depth, list(entities), self._organization_id, sample, seed, zoho_ids and list(zoho_ids)]
        [row] = self._connection.execute(query, of).fetchall()
        return int(row["id"])

    def keep(self, verification: int, result: Result) -> None:
        """Stores what a comparison with a list has found."""
        query = "select tds.note_lists(%s, %s, %s, %s)"
        found = json.dumps(result, default=_number)
        of = [verification, result["entity"], self._organization_id, found]
        self._connection.execute(query, of)

    def leave_out(self, verification: int, entity: str, error: str) -> None:
        """Notes that a list, or a record of an entity, cannot be compared."""
        self._connection.execute("select tds.leave_out(%s, %s, %s)", [verification, entity, error])

    def finish(self, verification: int, calls: int, error: str | None = None) -> None:
        """Ends a comparison."""
        self._connection.execute("select tds.finish_verification(%s, %s, %s)", [verification, calls, error])

    def inside(self, entities: Sequence[str]) -> dict[str, Any]:
        """Compares rows with the stored documents; see `tds.verify_inside()`."""
        row = self._connection.execute(
            "call tds.verify_inside(%s, %s)", [list(entities) or None, self._organization_id]
        ).fetchone()
        assert row is not None
        outcome: dict[str, Any] = row["outcome"]
        return outcome

    def told(self, verification: int) -> dict[str, Any]:
        """How a comparison ended: `state`, `checked`, `differing`, …"""
        query = "select tds.verification_told(%s) as told"
        [row] = self._connection.execute(query, [verification]).fetchall()
        told: dict[str, Any] = row["told"]
        return told

    def differences(self, verification: int) -> list[dict[str, Any]]:
        """What a comparison found and stands, as `tds_differences` shows it."""
        query = """select entity, zoho_id, table_name, row_key, column_name, what, ours, should_be, since,
                          next_command
                     from tds_differences where verification_id = %s
                    order by entity, zoho_id, table_name, row_key, column_name"""
        return self._connection.execute(query, [verification]).fetchall()

    def sampled(self, entity: str, sample: int, seed: str) -> list[str]:
        """Records drawn at random."""
        query = "select tds.sampled(%s, %s, %s, %s) as ids"
        [row] = self._connection.execute(query, [entity, self._organization_id, sample, seed]).fetchall()
        ids: list[str] = row["ids"]
        return ids

    def keep_detail(
        self, verification: int, entity: str, zoho_ids: Sequence[str], body: bytes | None, since: datetime
    ) -> None:
        """Compares records with Zoho's answer for them (None: it has them not), and stores what differs."""
        query = "select tds.note_detail(%s, %s, %s, %s, %b, %s)"
        of = [verification, entity, self._organization_id, list(zoho_ids), body, since]
        self._connection.execute(query, of)

    def is_due(self) -> bool:
        """Whether pulls or details are due that a comparison would only find on their way."""
        [row] = self._connection.execute(
            "select tds.due_first(%s) as due", [self._organization_id]
        ).fetchall()
        return bool(row["due"])

    def take(self) -> dict[str, Any] | None:
        """The next comparison that somebody asked for, now ours to do."""
        query = """select verification_id, depth, entities, sample, seed, zoho_ids
                     from tds.take_verification(%s)"""
        return self._connection.execute(query, [self._organization_id]).fetchone()

    async def settle(self, entity: str) -> None:
        """Waits for the events of an entity, as long as there is time left to wait."""
        while self._wait > 0:
            [row] = self._connection.execute("select tds.waiting_events(array[%s]) as events", [entity])
            if not row["events"]:
                return
            began = time.monotonic()
            await asyncio.sleep(min(LOOK_EVERY_SECONDS, self._wait))
            self._wait -= time.monotonic() - began

    def compare(self, entity: str, pages: Sequence[str], since: datetime) -> Result:
        """What `tds.verify()` says."""
        query = "select tds.verify(%s, %s, %s::jsonb[], %s) as found"
        [row] = self._connection.execute(query, [entity, self._organization_id, list(pages), since])
        found: Result = row["found"]
        return found


async def verify_entity(
    client: ZohoClient, books: Books, endpoint: Endpoint, own_id: str, step: Step
) -> Result:
    """Reads the whole list of an entity and compares it with the mirror.

    Args:
        client: to ask with.
        books: to compare in.
        endpoint: which list.
        own_id: the organisation's id.
        step: where to show the progress, in records.

    Raises:
        PagingError: the list cannot be walked to its end.
        ZohoError: Zoho cannot be asked.
    """
    # The list of organisations is of all that the user has; the mirror has one.
    path = f"{endpoint.api_path}/{own_id}" if endpoint.entity == "organizations" else endpoint.api_path
    walk = Walk(endpoint)
    pages: list[str] = []
    since = datetime.max.replace(tzinfo=UTC)
    has_more = True
    while has_more:
        number = len(pages) + 1
        place = {"page": str(number), "per_page": str(PER_PAGE)} if endpoint.paged else {}
        try:
            reply = await client.get(path, {**endpoint.list_filter, **place})
        except RefusedError as error:
            if (parameter := error.refused(endpoint.list_filter)) is None:
                raise
            endpoint = books.leave_off(endpoint, parameter, error.message)
            pages.clear()
            continue
        since = min(since, reply.sent_at)
        pages.append(books.listed(endpoint.entity, reply.body))
        records = len(json.loads(pages[-1]))
        has_more = walk.more_follows(reply.document, number, records)
        step.advance(records)
    await books.settle(endpoint.entity)
    return books.compare(endpoint.entity, pages, since)


async def verify_list(
    client: ZohoClient, books: Books, endpoint: Endpoint, verification: int, step: Step
) -> Result | ZohoError:
    """Does `verify_entity` and stores what it finds; why not, where this list alone cannot be read.

    Raises:
        ZohoError: Zoho cannot be asked.
    """
    try:
        found = await verify_entity(client, books, endpoint, client.organization_id, step)
    except ZohoError as error:
        if await client.stops_all(error):
            raise
        books.leave_out(verification, endpoint.entity, error.message)
        return error
    books.keep(verification, found)
    return found


def finish_lists(books: Books, verification: int, calls: int, found: Sequence[Result | ZohoError]) -> None:
    """Ends a comparison with lists, which has failed where none of them could be read."""
    errors = [each.message for each in found if isinstance(each, ZohoError)]
    books.finish(verification, calls, errors[0] if errors and len(errors) == len(found) else None)


async def verify_details(
    client: ZohoClient,
    books: Books,
    endpoint: Endpoint,
    verification: int,
    ids: Sequence[str],
    *,
    step: Step = UNSEEN,
) -> list[str]:
    """Reads records from Zoho and compares each field by field.

    Args:
        client: to ask with.
        books: to compare in.
        endpoint: whose records.
        verification: the comparison that this is part of.
        ids: which.
        step: where to show the progress, in records.

    Returns:
        The ids that Zoho has no record of.

    Raises:
        ZohoError: Zoho cannot be asked.
    """
    absent: list[str] = []
    await books.settle(endpoint.entity)
    for done, zoho_id in enumerate(ids):
        step.at(done, len(ids))
        body: bytes | None
        try:
            reply = await client.get(f"{endpoint.api_path}/{quote(zoho_id, safe='')}")
            body, sent_at = reply.body, reply.sent_at
        except NotFoundError as absence:
            body, sent_at = None, absence.sent_at
            absent.append(zoho_id)
        except ZohoError as error:
            if await client.stops_all(error):
                raise
            books.leave_out(verification, endpoint.entity, error.message)
            continue
        books.keep_detail(verification, endpoint.entity, [zoho_id], body, sent_at)
    step.at(len(ids), len(ids))
    return absent


async def do_asked(client: ZohoClient, mirror: Mirror, dsn: str) -> bool:
    """Does the next comparison that was asked for (`tds.ask_for_lists()`); whether there was one.

    Args:
        client: to ask with.
        mirror: whose endpoints.
        dsn: libpq connection string.

    Raises:
        ZohoError: Zoho cannot be asked; the comparison has failed of it.
    """
    with Books(dsn, mirror.organization_id, ASKED_WAIT_SECONDS) as books:
        if (asked := books.take()) is None:
            return False
        number, calls = int(asked["verification_id"]), client.calls
        found: list[Result | ZohoError] = []
        try:
            endpoints = await mirror.endpoints()
            for name in asked["entities"]:
                endpoint = endpoints[name]
                if asked["depth"] == "lists":
                    found.append(await verify_list(client, books, endpoint, number, UNSEEN))
                elif endpoint.has_details:
                    drawn = books.sampled(name, asked["sample"] or 10, asked["seed"] or "0")
                    await verify_details(client, books, endpoint, number, asked["zoho_ids"] or drawn)
        except ZohoError as error:
            books.finish(number, client.calls - calls, error.message)
            raise
        finish_lists(books, number, client.calls - calls, found)
        return True


def _number(value: object) -> float | str:
    return float(value) if isinstance(value, Decimal) else str(value)


def agrees(result: Result) -> bool:
    """Whether nothing differs; what was changed meanwhile is left out."""
    return not (result["missing"] or result["extra"] or result["differing"])
