"""The webhook endpoints without HTTP and without a database: what is stored is kept in a list."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tds_receiver.inbox import Accepted, Event, Inbox
from tds_receiver.settings import ReceiverSettings
from tds_receiver.webhook import Webhooks


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
    """Webhooks with these settings; told: the statuses of all answers, in the order in which they came."""

    settings: Mapping[str, Any]
    inbox: List = field(default_factory=List)
    told: list[int] = field(default_factory=list)

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
        message = {"type": "http.request", "body": body, "more_body": False}
        return asyncio.run(self._one([message], headers or {}, query, path, method))

    def send_raw(self, messages: list[dict[str, Any]]) -> int:
        """Sends these messages of ASGI and returns the status."""
        return asyncio.run(self._one(messages, {}))

    def send_all(self, requests: list[tuple[bytes, dict[str, str]]]) -> list[int]:
        """Sends several at once and returns their statuses."""

        async def at_once() -> list[int]:
            sent = [
                self._one([{"type": "http.request", "body": body, "more_body": False}], headers)
                for body, headers in requests
            ]
            return await asyncio.gather(*sent)

        return asyncio.run(at_once())

    async def _one(
        self,
        messages: list[dict[str, Any]],
        headers: Mapping[str, str],
        query: bytes = b"",
        path: str = "/api/zoho/webhooks/products",
        method: str = "POST",
    ) -> int:
        answers: list[int] = []
        waiting = iter(messages)

        async def receive() -> dict[str, Any]:
            return next(waiting)

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answers.append(message["status"])
                self.told.append(message["status"])

        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": raw}
        await self._webhooks(scope, receive, send)
        [status] = answers
        return status
