"""Pulling a list: page by page, each stored as it came together with the cursor that points past it."""

from collections.abc import Callable, Mapping
from typing import Any

from poller.client import ZohoClient
from poller.errors import PagingError
from poller.mirror import Endpoint, Mirror, Run

PER_PAGE = 200  # Zoho's maximum


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
    run = await mirror.start_run(endpoint.entity, restart=restart)
    on_page(run.records)
    page, has_more = run.next_page, True
    while has_more:
        place = {"page": str(page), "per_page": str(PER_PAGE)} if endpoint.paged else {}
        reply = await client.get(endpoint.api_path, {**endpoint.list_filter, **place})
        try:
            records = _records(endpoint, reply.document)
            has_more = endpoint.paged and _has_more(endpoint, reply.document, page, records)
        except PagingError as error:
            await mirror.fail_run(run, error.message)
            raise
        await mirror.store_page(run, page, reply, has_more, records)
        on_page(records)
        page += 1
    return await mirror.run(run.run_id)


async def pull_organization(client: ZohoClient, mirror: Mirror, endpoint: Endpoint) -> None:
    """Reads the organisation itself, by its id: unlike the list of organisations, that fails for a wrong one.

    Raises:
        ZohoError: it could not be read.
    """
    reply = await client.get(f"{endpoint.api_path}/{mirror.organization_id}")
    await mirror.store_detail(endpoint.entity, reply.body, reply.sent_at)


def _records(endpoint: Endpoint, document: Mapping[str, Any]) -> int:
    # vendor_credits is vendorcredits in Zoho's own documentation: tds.payload() reads either
    records = document.get(endpoint.list_key, document.get(endpoint.list_key.replace("_", "")))
    if not isinstance(records, list):
        raise PagingError(f"GET {endpoint.api_path} answered without {endpoint.list_key}.")
    return len(records)


def _has_more(endpoint: Endpoint, document: Mapping[str, Any], page: int, records: int) -> bool:
    """Whether a page follows: only `has_more_page` says so, and only if the rest makes sense."""
    match document.get("page_context"):
        case {"page": shown, "has_more_page": bool(has_more)}:
            pass
        case _:
            raise PagingError(f"GET {endpoint.api_path} answered without page_context: nobody knows its end.")
    # Either would make an endless loop of the same page.
    if shown != page:
        raise PagingError(f"GET {endpoint.api_path} answered page {shown} when asked for page {page}.")
    if has_more and not records:
        raise PagingError(f"GET {endpoint.api_path} says that more follows page {page}, which is empty.")
    return has_more
