"""A receiver that serves over HTTP in a thread of the test's process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
import uvicorn

from tds_receiver.app import create_app
from tds_receiver.server import configured
from tds_receiver.settings import ReceiverSettings
from tests.db.servers import Database
from tests.journeys.waiting import PATIENCE, wait_until

Receive = Callable[..., httpx.Client]


@contextmanager
def serving(conninfo: str, settings: ReceiverSettings) -> Iterator[httpx.Client]:
    """A receiver and a client of it, until the block ends."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    web = uvicorn.Server(configured(create_app(settings, conninfo), settings))
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not web.started:
            assert thread.is_alive()
            time.sleep(0.002)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=url, verify=False, trust_env=False, timeout=PATIENCE) as client:
            yield client
    finally:
        web.should_exit = True
        thread.join()
        listener.close()


def is_ready(client: httpx.Client) -> bool:
    """Whether the receiver says so, once it could ask its database.

    On a busy machine the first connection takes longer than the second that a probe or a scrape gives it.
    """

    def asked() -> object:
        told = client.get("/readyz").json()
        return None if "database" in told.get("failed", {}) else told

    return wait_until(asked, "the database is asked") == {"status": "ready"}


@contextmanager
def receivers(database: Database) -> Iterator[Receive]:
    """Starts receivers on a database: `receiver(webhook_secret=…)` gives a client of one."""
    with ExitStack() as stack:

        def start(**settings: object) -> httpx.Client:
            defaults: dict[str, object] = {"organization_id": "748139205", "connections": 2}
            made = ReceiverSettings.model_validate(defaults | settings)
            return stack.enter_context(serving(database.conninfo, made))

        yield start


@pytest.fixture
def receiver(database: Database) -> Iterator[Receive]:
    """Starts receivers on the test's database."""
    with receivers(database) as start:
        yield start
