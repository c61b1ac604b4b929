"""Zoho's feeds of hints: what its activity log and its history of webhooks name is asked for.

Nothing is promised of them: a feed that fails or answers in another form is told, and stops nothing.
"""

import logging
from datetime import date
from typing import NamedTuple

from tds_poller.mirror import Mirror
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.errors import AuthorizationError, UnauthorizedError, ZohoError

log = logging.getLogger(__name__)

PER_PAGE = 200
PURPOSE = "hints"
# What each needs besides the days.
PARAMETERS = {"webhook_failures": {"filter_by": "Status.Failed"}}


class Feed(NamedTuple):
    """A feed that is to be read: from which day to which, and so many pages at most."""

    name: str
    api_path: str
    from_day: date
    to_day: date
    pages: int


async def read_feed(client: ZohoClient, mirror: Mirror, feed: Feed) -> int:
    """Reads the days of a feed, and has what they name asked for.

    Args:
        client: to ask with.
        mirror: to store in.
        feed: what `Mirror.take_feed` gave.

    Returns:
        How many records were asked for.

    Raises:
        AuthorizationError: Zoho refuses us altogether.
    """
    began_at, error = await mirror.zoho_now(), None
    refused = False
    try:
        error = await _walk(client, mirror, feed)
    except AuthorizationError:
        raise
    except ZohoError as failure:
        error, refused = failure.message, isinstance(failure, UnauthorizedError)
    if error:
        log.warning("%s is not checked: %s", feed.name, error)
    return await mirror.end_feed(feed.name, began_at, error, refused=refused)


async def _walk(client: ZohoClient, mirror: Mirror, feed: Feed) -> str | None:
    """Notes page after page; what was wrong, None if all were read."""
    last = None
    for page in range(1, feed.pages + 1):
        parameters: dict[str, str | int] = {
            **PARAMETERS.get(feed.name, {}),
            "from_date": feed.from_day.isoformat(),
            "to_date": feed.to_day.isoformat(),
            "page": page,
            "per_page": PER_PAGE,
        }
        reply = await client.get(feed.api_path, parameters, purpose=PURPOSE, refresh=False)
        if reply.body == last:
            return f"page {page} is the one before it"
        last = reply.body
        if problem := await mirror.note_feed_page(feed.name, reply.body, feed.from_day, feed.to_day):
            return problem
        context = reply.document.get("page_context")
        if not isinstance(context, dict) or context.get("page", page) != page:
            # Without an end of its own it is read no further; what came is known.
            return None if context is None else "its pages do not say where they are"
        if context.get("has_more_page") is not True:
            return None
    return f"it has more than {feed.pages} pages (setting feed_pages)"
