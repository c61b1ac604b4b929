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

from psycopg.types.json import set_json_loads

from tds_db.connect import connect_for_rows
from tds_poller.mirror import Endpoint
from tds_poller.progress import Step
from tds_poller.pull import more_follows
from tds_poller.zoho.client import PER_PAGE, ZohoClient
from tds_poller.zoho.errors import RefusedError

LOOK_EVERY_SECONDS = 0.2

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
        has_more = endpoint.paged and more_follows(endpoint, reply.document, number, records)
        step.advance(records)
    await books.settle(endpoint.entity)
    return books.compare(endpoint.entity, pages, since)


def agrees(result: Result) -> bool:
    """Whether nothing differs; what was changed meanwhile is left out."""
    return not (result["missing"] or result["extra"] or result["differing"])
