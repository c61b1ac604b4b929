"""Start a sandbox inside this process, for tests and demonstrations."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import uvicorn

from tds_sandbox.app import Sandbox
from tds_sandbox.clock import Clock
from tds_sandbox.errors import SandboxError
from tds_sandbox.faults import Faults
from tds_sandbox.ledger import Ledger
from tds_sandbox.limits import Limits, LimitSettings
from tds_sandbox.oauth import Credentials
from tds_sandbox.organisation import Organisation
from tds_sandbox.webhooks import Webhooks, WebhookSettings

START_SECONDS = 10.0


class Running:
    """A sandbox that answers on ``url`` (``http://127.0.0.1:port``)."""

    def __init__(self, sandbox: Sandbox, url: str) -> None:
        self.sandbox = sandbox
        self.url = url

    @property
    def organisation(self) -> Organisation:
        """The first organisation."""
        return self.sandbox.organisation

    @property
    def clock(self) -> Clock:
        """The clock of tokens, limits and edits."""
        return self.sandbox.clock

    @property
    def ledger(self) -> Ledger:
        """What was asked, and the violations."""
        return self.sandbox.ledger

    @property
    def faults(self) -> Faults:
        """Faults on demand."""
        return self.sandbox.faults

    @property
    def limits(self) -> Limits:
        """The first organisation's limits."""
        return self.sandbox.limits[self.organisation.organization_id]

    @property
    def webhooks(self) -> Webhooks:
        """The first organisation's webhooks."""
        return self.sandbox.webhooks[self.organisation.organization_id]

    @property
    def environment(self) -> dict[str, str]:
        """The variables a client needs to take this sandbox for Zoho."""
        return environment(self.sandbox, self.url)


def environment(sandbox: Sandbox, url: str, organization_id: str = "") -> dict[str, str]:
    """The variables a client needs to take the sandbox at ``url`` for Zoho; bases without ``/books/v3``.

    Args:
        sandbox: which.
        url: where it is.
        organization_id: of the organisation that is asked for; the first if empty.
    """
    organization_id = organization_id or sandbox.organisation.organization_id
    known = sandbox.accounts[organization_id].credentials
    return {
        "ZOHO_API_BASE": url,
        "ZOHO_ACCOUNTS_BASE": url,
        "ZOHO_CLIENT_ID": known.client_id,
        "ZOHO_CLIENT_SECRET": known.client_secret,
        "ZOHO_REFRESH_TOKEN": known.refresh_token,
        "ZOHO_ORGANIZATION_ID": organization_id,
    }


def listen(port: int = 0) -> socket.socket:
    """A listening socket on the loopback address; port 0 takes a free one."""
    # asyncio turns Nagle's delay off (40 ms an answer) only where the protocol is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


def server(sandbox: Sandbox) -> uvicorn.Server:
    """The web server of a sandbox, not started yet."""
    return uvicorn.Server(
        uvicorn.Config(
            sandbox,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_keep_alive=60,
            date_header=False,  # the sandbox's own may be shifted
        )
    )


@contextmanager
def running(
    organisations: Organisation | Sequence[Organisation],
    *,
    limits: LimitSettings | Mapping[str, LimitSettings] | None = None,
    credentials: Credentials | Mapping[str, Credentials] | None = None,
    webhooks: WebhookSettings | Mapping[str, WebhookSettings] | None = None,
    latency: float = 0.0,
    port: int = 0,
) -> Iterator[Running]:
    """Serve a sandbox from a thread of this process until the block ends.

    Args:
        organisations: one or more.
        limits: the real ones if None; ``limits.UNLIMITED`` for none; or by organisation.
        credentials: of the client; fixed ones if None; or by organisation.
        webhooks: none are sent if None; or by organisation.
        latency: real seconds each call takes at least.
        port: on 127.0.0.1; 0 takes a free one.

    Raises:
        SandboxError: the server did not start within 10 s.
        OSError: the port is taken.
    """
    sandbox = Sandbox(
        organisations, limits=limits, credentials=credentials, webhooks=webhooks, latency=latency
    )
    listener = listen(port)
    web = server(sandbox)
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not web.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise SandboxError("the sandbox did not start")
            time.sleep(0.005)
        yield Running(sandbox, f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        web.should_exit = True
        web.force_exit = True
        thread.join(START_SECONDS)
        listener.close()
        sandbox.close()
