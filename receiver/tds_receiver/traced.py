"""The way of a webhook as spans, for whoever traces; without traces none of this is used."""

from starlette.types import ASGIApp, Receive, Scope, Send

from tds_db.traces import span, tell
from tds_receiver.inbox import Accepted, Event, Inbox
from tds_receiver.metrics import ENTITIES
from tds_receiver.webhook import Answered

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})


class TracedInbox(Inbox):
    """An inbox that tells how long an event waits for its commit."""

    async def put(self, event: Event) -> Accepted:
        """See `Inbox.put`."""
        with span("store") as made:
            accepted = await super().put(event)
            made.tell({"tds.inbox_id": accepted.inbox_id})
            return accepted


def traced(app: ASGIApp) -> ASGIApp:
    """The application, a span a request."""

    async def within_a_span(scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        with span("webhook", {"http.request.method": method}, serves=True):
            await app(scope, receive, send)

    return within_a_span


def tell_answer(answered: Answered) -> None:
    """Adds to the span of a request how it was answered. Whoever sends may name any entity: few are told."""
    entity = answered.entity if answered.entity in ENTITIES else "other"
    tell({"tds.entity": entity, "tds.status": answered.status, "http.response.status_code": answered.code})
