"""The webhook endpoints without HTTP and without a database: what is stored is kept in a list."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from receiver.inbox import Accepted, Event, Inbox
from receiver.settings import ReceiverSettings
from receiver.webhook import Webhooks


class List(Inbox):
    """An inbox that keeps events, and stores none."""

    def __init__(self) -> None:
        super().__init__("")
        self.events: list[Event] = []

    async def put(self, event: Event) -> Accepted:
        """Keeps it."""
        self.events.append(event)
        return Accepted(len(self.events), "queued")


@dataclass
class Endpoint:
    """Webhooks with these settings."""

    settings: Mapping[str, Any]
    inbox: List = field(default_factory=List)

    def __post_init__(self) -> None:
        self._webhooks = Webhooks(ReceiverSettings.model_validate(dict(self.settings)), self.inbox)

    def send(
        self,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: bytes = b"",
        path: str = "/api/zoho/webhooks/products",
        method: str = "POST",
    ) -> int:
        """Sends one request and returns its status."""
        answers: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answers.append(message["status"])

        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": raw}
        asyncio.run(self._webhooks(scope, receive, send))
        [status] = answers
        return status
