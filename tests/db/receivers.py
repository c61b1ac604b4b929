"""Who is told of alerts: a mail server and a webhook, both real, on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

from tests.journeys.programs import free_port


@dataclass
class Mailbox:
    """Mails that have come; `refuses` says of how many more the server will take none."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)
    refuses: int = 0
    on_mail: Callable[[], object] = lambda: None

    def url(self, *people: str) -> str:
        """The URL that Apprise takes."""
        to = ",".join(people or ("ops@example.com",))
        return f"mailto://127.0.0.1:{self.port}?from=tds@example.com&to={to}"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's)
        """See aiosmtpd."""
        if self.refuses:
            self.refuses -= 1
            return "451 not now"
        self.mails.append(message_from_bytes(envelope.content, _class=EmailMessage, policy=policy.default))
        self.on_mail()
        return "250 taken"


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on loopback, with a thread for each request; its URL, without a slash at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """A mail server."""
    port = free_port()
    box = Mailbox(port)
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    try:
        yield box
    finally:
        server.stop()


@dataclass
class Hook:
    """Posts that have come, with their headers; `refuses` says of how many more the answer is 503."""

    port: int = 0
    posts: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    refuses: int = 0

    def url(self, path: str = "") -> str:
        """The URL that Apprise takes."""
        return f"json://127.0.0.1:{self.port}/{path}"


@contextmanager
def webhook() -> Iterator[Hook]:
    """An HTTP server."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if hook.refuses:
                hook.refuses -= 1
                self.send_response(503)
            else:
                hook.posts.append(json.loads(body))
                hook.headers.append(dict(self.headers))
                self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler) as url:
        hook.port = int(url.rpartition(":")[2])
        yield hook
