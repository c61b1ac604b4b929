"""Zoho's own reports beside the mirror's sums. Pages are read here; the database says which, and compares."""

from collections.abc import Mapping
from datetime import UTC, datetime

from tds_poller.mirror import Mirror, ReconcileTask
from tds_poller.zoho.client import PER_PAGE, Reply, ZohoClient
from tds_poller.zoho.errors import LimitError, PagingError, ZohoError
from tds_poller.zoho.pages import Pages

MOST_PAGES = 500


async def reconcile_some(
    client: ZohoClient, mirror: Mirror, run_id: int | None = None
) -> ReconcileTask | None:
    """Does the next task of a reconciliation: reads one report, or some documents anew.

    None: there is none, or what differs waits for its second look; see `Mirror.reconcile_pulls`.

    Whatever Zoho answers, or does not, is told to the database and stops nothing.

    Args:
        client: to ask with.
        mirror: whose sums.
        run_id: of this reconciliation; None: of those that the clock or an operator asked for.

    Raises:
        LimitError: the budget is used up: the task stands.
    """
    if (task := await mirror.next_reconcile(client.session, run_id)) is None:
        return None
    calls, since = client.calls, datetime.now(UTC)
    bodies: list[bytes] = []
    error: str | None = None
    client.purpose = "reconcile"
    try:
        await _read(client, task, bodies)
    except LimitError:
        raise
    except ZohoError as failure:
        error = failure.message
    await mirror.reconcile_told(task, bodies, error, since, client.calls - calls)
    return task


async def _read(client: ZohoClient, task: ReconcileTask, bodies: list[bytes]) -> None:
    """Reads all pages into `bodies`.

    Raises:
        PagingError: they do not end.
        ZohoError: Zoho cannot be asked, or does not answer.
    """
    asked = f"GET {task.path}"
    pages = Pages(asked)
    while True:
        place = {"page": len(bodies) + 1, "per_page": PER_PAGE} if task.paged else {}
        reply = await client.get(task.path, {**task.parameters, **place})
        bodies.append(reply.body)
        if not task.paged or not _more(reply):
            return
        pages.take(reply.document, len(bodies))
        if len(bodies) >= MOST_PAGES:
            raise PagingError(f"{asked} says that more follows page {MOST_PAGES}.", "Next: tds doctor")


def _more(reply: Reply) -> bool:
    context = reply.document.get("page_context")
    return isinstance(context, Mapping) and context.get("has_more_page") is True
