"""Pulling a list: page by page, each stored as it came together with the cursor that points past it."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from math import ceil
from types import TracebackType
from typing import Any, Self

from tds_db.runs import RunState
from tds_poller.mirror import Endpoint, Mirror, OutOfTurnError, Run
from tds_poller.tasks import ended
from tds_poller.zoho.client import Reply, ZohoClient
from tds_poller.zoho.errors import PagingError, RefusedError, ZohoError
from tds_poller.zoho.pages import Pages
from tds_poller.zoho.retry import plain

log = logging.getLogger(__name__)

MODIFIED = "last_modified_time"
MOST_RECORDS = 2**31 - 1


async def pull_list(
    client: ZohoClient,
    mirror: Mirror,
    endpoint: Endpoint,
    *,
    restart: bool = False,
    on_page: Callable[[int], None] = lambda _: None,
) -> Run:
    """Pulls the whole list of an entity, going on where an unfinished run stopped.

    Args:
        client: to ask with.
        mirror: to store in.
        endpoint: which list.
        restart: begin at page 1 even if a run is unfinished.
        on_page: is told how many records came with each page, and first how many were stored before.

    Returns:
        The run, complete.

    Raises:
        PagingError: the list cannot be walked to its end; the run has failed.
        ZohoError: anything else; the run stays unfinished and will be gone on with.
    """
    run = await mirror.start_run(endpoint.entity, client.session, restart=restart)
    return await pull_pages(client, mirror, endpoint, run, on_page=on_page)


async def pull_pages(
    client: ZohoClient,
    mirror: Mirror,
    endpoint: Endpoint,
    run: Run,
    *,
    on_page: Callable[[int], None] = lambda _: None,
    between: Callable[[], Awaitable[None]] | None = None,
) -> Run:
    """Pulls the pages that a run lacks; see `pull_list`.

    Args:
        client: to ask with.
        mirror: to store in.
        endpoint: which list.
        run: whose pages.
        on_page: is told how many records came with each page.
        between: what goes first, before each page but the first.

    Raises:
        OutOfTurnError: the run was cancelled, or another process goes on with it.
        PagingError: as `pull_list`.
        ZohoError: as `pull_list`.
    """
    shown = 0

    def show(records: int) -> None:
        nonlocal shown
        shown += records
        on_page(records)

    show(run.records)
    endpoint = await mirror.renewed(endpoint)
    # An unfiltered list has about the pages that it had last time: these need not wait for one another.
    before = await mirror.records_before(run) if endpoint.paged else 0
    while True:
        known = ceil(before / run.per_page)
        try:
            if run.counted is None and _is_to_count(endpoint, run, known):
                run = await _count(client, mirror, endpoint, run)
                show(run.records - shown)
                if run.is_sweep and await mirror.put_off(run):
                    return await mirror.run(run.run_id)
            run = await _pass(client, mirror, endpoint, run, known, on_page=show, between=between)
        except RefusedError as error:
            endpoint = await _adapt(mirror, endpoint, run, error)
            run = await mirror.run(run.run_id)
            show(run.records - shown)
            continue
        if run.state != RunState.RUNNING or run.next_page > 1:
            return run
        # It moved while it was read, or turned out to be long enough to: once more, from the first page on.
        show(-shown)


def _is_to_count(endpoint: Endpoint, run: Run, known: int) -> bool:
    """Whether Zoho is asked how many records a list has before a page more is read."""
    is_counted = endpoint.counted and run.is_pass
    if run.next_page > 1:
        # What kept its first page from being counted may have lasted for hours.
        return is_counted
    return run.passes > 1 or (is_counted and known > 1 and not run.filtered)


async def _adapt(mirror: Mirror, endpoint: Endpoint, run: Run, error: RefusedError) -> Endpoint:
    """The list without what the organisation's edition refuses of its parameters, which is remembered.

    Raises:
        RefusedError: the error itself, if it is about something else.
    """
    if (parameter := error.refused([*endpoint.list_filter, MODIFIED])) is None:
        raise error
    log.warning("%s The list is read without %s from now on.", error.message, parameter)
    if parameter == MODIFIED or (await mirror.run(run.run_id)).next_page > 1:
        # What was read before was read in another order.
        await mirror.fall_back(run)
    if parameter == MODIFIED:
        return endpoint
    return await mirror.leave_off(endpoint, parameter, error.message)


async def _count(client: ZohoClient, mirror: Mirror, endpoint: Endpoint, run: Run) -> Run:
    """Asks Zoho how many records a list has; one that does not say answers with a page as ever, or refuses.

    Raises:
        RefusedError: it is about a parameter of the list itself.
        ZohoError: anything else that is not about the count.
    """
    query = {**_query(endpoint, run, 1), "response_option": "2"}
    try:
        reply = await client.get(endpoint.api_path, query)
    except ZohoError as error:
        if isinstance(error, RefusedError) and not error.refused([*endpoint.list_filter, MODIFIED]):
            # If anything else is wrong with the call, it is with the list's pages too, and they say so.
            await mirror.note_count(run, None, error.sent_at, error.calls)
            return await mirror.run(run.run_id)
        await mirror.note_progress(run.run_id, error.calls, error=error.message)
        raise
    await mirror.note_count(run, total(reply.document), reply.server_time or reply.sent_at, reply.calls)
    return await mirror.run(run.run_id)


async def _pass(
    client: ZohoClient,
    mirror: Mirror,
    endpoint: Endpoint,
    run: Run,
    known: int,
    *,
    on_page: Callable[[int], None],
    between: Callable[[], Awaitable[None]] | None,
) -> Run:
    """Reads the pages that a pass lacks; says how the run stands then."""
    walk = Walk(endpoint)
    async with _Pages(client, endpoint, known) as pages:
        page, has_more = run.next_page, True
        while has_more:
            try:
                reply = await pages.get(run, page)
            except ZohoError as error:
                await mirror.note_progress(run.run_id, error.calls, error=error.message)
                raise
            try:
                records = _records(endpoint, reply.document)
                has_more = walk.more_follows(reply.document, page, len(records))
            except PagingError as error:
                await mirror.note_progress(run.run_id, reply.calls)
                await mirror.fail_run(run, error.message)
                raise
            if run.filtered and not _satisfy(records, run.since):
                # The filter was ignored, without a word. A first page is then that of the whole list.
                await mirror.fall_back(run)
                run = replace(run, filtered=False, counted=None)
                if page > 1:
                    await mirror.note_progress(run.run_id, reply.calls)
                    page, has_more = 1, True
                    continue
            count = len(records)
            await mirror.store_page(
                run, page, reply.body, reply.sent_at, has_more=has_more, records=count, calls=reply.calls
            )
            on_page(count)
            if page == 1 and has_more and endpoint.counted and run.is_pass and run.counted is None:
                # What was deleted before the list was counted must not have been seen: from page 1 on.
                on_page(-count)
                run = await _count(client, mirror, endpoint, run)
                continue
            page += 1
            if has_more and between:
                await between()
            if has_more and (state := (await mirror.run(run.run_id)).state) != RunState.RUNNING:
                raise OutOfTurnError(f"Run {run.run_id} is {state}.")
    return await mirror.run(run.run_id)


class _Pages:
    """The pages of a list, asked for ahead of their turn as far as they are known to exist.

    Args:
        client: to ask with.
        endpoint: which list.
        known: pages that an unfiltered list has, as far as anybody knows.
    """

    def __init__(self, client: ZohoClient, endpoint: Endpoint, known: int) -> None:
        self._client = client
        self._endpoint = endpoint
        self._known = known
        self._asked: dict[int, asyncio.Task[Reply]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await ended(*self._asked.values())

    async def get(self, run: Run, page: int) -> Reply:
        """One page; raises as `ZohoClient.get` does."""
        last = page
        # Without an order the rows of a page ahead are not those that it will have.
        if not run.filtered and "sort_column" in self._endpoint.list_filter:
            last = max(page, min(self._known, page + self._client.concurrency - 1))
        for number in range(page, last + 1):
            if number not in self._asked:
                ask = self._client.get(self._endpoint.api_path, _query(self._endpoint, run, number))
                self._asked[number] = asyncio.create_task(ask)
        return await self._asked.pop(page)


async def pull_organization(client: ZohoClient, mirror: Mirror, endpoint: Endpoint, run: Run) -> None:
    """Reads the organisation itself, by its id: unlike the list of organisations, that fails for a wrong one.

    Args:
        client: to ask with.
        mirror: to store in.
        endpoint: that of organizations.
        run: what is completed by it.

    Raises:
        ZohoError: it could not be read.
    """
    reply = await client.get(f"{endpoint.api_path}/{mirror.organization_id}")
    await mirror.store_organization(run, reply.body, reply.sent_at, reply.calls)


def _query(endpoint: Endpoint, run: Run, page: int) -> dict[str, str]:
    query = dict(endpoint.list_filter)
    if endpoint.paged:
        query |= {"page": str(page), "per_page": str(run.per_page)}
    if run.filtered and run.since is not None:
        # The one form that every endpoint takes: Z is refused, and without an offset it is anybody's time.
        query[MODIFIED] = run.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
    return query


def _satisfy(records: Sequence[Mapping[str, Any]], since: datetime | None) -> bool:
    """Whether no record says that it was modified before; one that does not say is let pass."""
    for record in records:
        with suppress(ValueError, TypeError):
            told = record.get("last_modified_time", "") if isinstance(record, Mapping) else ""
            if since is not None and datetime.fromisoformat(told) < since:
                return False
    return True


def _records(endpoint: Endpoint, document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    # Zoho's own documents have vendorcredits for vendor_credits, customer_payments for customerpayments,
    # and of credit notes one where they mean a list: tds.payload() reads any of them.
    plain = endpoint.list_key.replace("_", "")
    told = next((value for key, value in document.items() if key.replace("_", "") == plain), None)
    records = [told] if isinstance(told, dict) else told
    if not isinstance(records, list):
        raise PagingError(f"GET {endpoint.api_path} answered without {endpoint.list_key}.")
    return records


def page_context(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an answer says of its page; the documents of invoices show an array of one. Empty: nothing."""
    match document.get("page_context"):
        case dict(told) | [dict(told)]:
            return told
    return {}


def total(document: Mapping[str, Any]) -> int | None:
    """How many records a list has, if its answer says so in the known form: a number or its digits."""
    told = str(page_context(document).get("total"))
    if re.fullmatch("[0-9]{1,10}", told) and (records := int(told)) <= MOST_RECORDS:
        return records
    return None


class Walk:
    """One walk through the pages of a list, which has to have an end.

    Args:
        endpoint: which list.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._asked = f"GET {endpoint.api_path}"
        self._pages = Pages(self._asked)

    def more_follows(self, document: Mapping[str, Any], page: int, records: int) -> bool:
        """Whether a page follows: only `has_more_page` says so, and only if the rest makes sense.

        Args:
            document: the answer for the page.
            page: its number.
            records: how many are on it.

        Raises:
            PagingError: it makes none.
        """
        if not self._endpoint.paged:
            return False
        match page_context(document):
            case {"page": shown, "has_more_page": bool(has_more)}:
                pass
            case _:
                raise PagingError(f"{self._asked} answered without page_context: nobody knows its end.")
        # Any of these would make an endless loop of the same page.
        if shown != page:
            raise PagingError(f"{self._asked} answered page {plain(shown, 100)} when asked for page {page}.")
        if has_more and not records:
            raise PagingError(f"{self._asked} says that more follows page {page}, which is empty.")
        if has_more:
            self._pages.take(document, page)
        return has_more
