"""The way of a webhook as spans, for whoever traces; without traces none of this is used."""

from tds_db.traces import Span, span
from tds_receiver.body import Receive
from tds_receiver.inbox import Accepted, Event, Inbox
from tds_receiver.metrics import known
from tds_receiver.settings import ReceiverSettings
from tds_receiver.webhook import METHODS, Answered, Scope, Send, Watch, Webhooks


class TracedInbox(Inbox):
    """An inbox that tells how long an event waits for its commit."""

    async def put(self, event: Event) -> Accepted:
        """See `Inbox.put`."""
        with span("store"):
            return await super().put(event)


class TracedWebhooks:
    """`Webhooks`, a span a request.

    Args:
        settings: see `Webhooks`.
        inbox: see `Webhooks`.
        watch: see `Webhooks`.
    """

    def __init__(self, settings: ReceiverSettings, inbox: Inbox, watch: Watch) -> None:
        self._settings = settings
        self._inbox = inbox
        self._watch = watch
