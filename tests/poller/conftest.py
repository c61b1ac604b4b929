"""A small sandbox, and the poller's own parts on it and on the test's database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs

import pytest

from tds_cli.progress import Steps
from tds_poller.migrate import Pulled, migrate
from tds_poller.mirror import Mirror, Progress
from tds_poller.poll import Poll, read_queue
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.settings import ZohoSettings
from tds_sandbox.clock import Clock
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running, running
from tests import clock
from tests.db.servers import Database

LENIENT = os.environ.get("TDS_TEST_SANDBOX", "lenient") != "strict"
Result = TypeVar("Result")
Task = Callable[[ZohoClient, Mirror], Awaitable[Result]]


class Poller:
    """The poller between one sandbox and one database."""

    def __init__(self, sandbox: Running, database: Database) -> None:
        self.sandbox = sandbox
        self.database = database

    def settings(self, **changes: object) -> ZohoSettings:
        """The sandbox's, whose minute lasts a tenth of a second."""
        names = {
            name.lower().removeprefix("zoho_"): value for name, value in self.sandbox.environment.items()
        }
        return ZohoSettings.model_validate({"minute_seconds": 0.1, **names, **changes})

    def run(self, task: Task[Result], **changes: object) -> Result:
        """Runs a task with a client and the mirror of its own."""

        async def run() -> Result:
            settings = self.settings(**changes)
            async with (
                Mirror(self.database.conninfo, settings.organization_id) as mirror,
                ZohoClient(settings, self.database.conninfo) as client,
            ):
                return await task(client, mirror)

        return asyncio.run(run())

    def migrate(self) -> list[Pulled]:
        """Fetches all there is."""
        return self.run(lambda client, mirror: migrate(client, mirror, Steps(quiet=True)))

    def pull(self, entity: str, **options: object) -> Progress:
        """Asks for one pull and does it."""

        async def run(client: ZohoClient, mirror: Mirror) -> Progress:
            queue = await asyncio.to_thread(read_queue, self.database.conninfo)
            run_id = await mirror.request_pull(entity, options)
            await Poll(client, mirror, queue, first=[run_id]).once()
            assert queue.pool is not None
            await asyncio.to_thread(queue.pool.close)
            [progress] = await mirror.progress([run_id])
            return progress

        return self.run(run)

    def asked(self, path: str) -> list[str]:
        """The queries of the successful calls of a path so far."""
        return [call.query for call in self.sandbox.ledger.calls if call.path == path and call.status == 200]

    def pages(self, path: str) -> list[int]:
        """The pages of a list asked for so far, in their order; 0 is the call that counts it."""
        queries = map(parse_qs, self.asked(path))
        return [0 if "response_option" in query else int(query["page"][0]) for query in queries]


@contextmanager
def fast_sandbox(organisation: Organisation, **options: Any) -> Iterator[Running]:
    """A sandbox whose minute lasts a tenth of a second, but whose tokens last an hour of ours.

    An hour of its own is six seconds: how many tokens a test asks for would depend on the machine's speed.
    """
    with running(organisation, **options) as sandbox:
        sandbox.sandbox.oauth.lives *= round(organisation.clock.scale)
        yield sandbox


@contextmanager
def small_sandbox(bad_records: int = 0, *, lenient: bool = LENIENT) -> Iterator[Running]:
    """450 items are three pages; a minute lasts a tenth of a second.

    Args:
        bad_records: how many it serves damaged.
        lenient: whether it takes parameters that the documents do not list. One that does not costs a call more
            for each that it refuses, and tests count calls; `test_editions.py` tries both.
    """
    organisation = Organisation(
        items=450,
        contacts=60,
        invoices=20,
        bills=12,
        vendorcredits=4,
        vendorpayments=6,
        creditnotes=8,
        customerpayments=15,
        salesorders=5,
        pricebooks=3,
        bad_records=bad_records,
        clock=Clock(600),
        lenient=lenient,
    )
    with fast_sandbox(organisation) as sandbox:
        yield sandbox


@pytest.fixture
def poller(database: Database) -> Iterator[Poller]:
    """On a sandbox of its own."""
    with small_sandbox() as sandbox:
        yield Poller(sandbox, database)


@pytest.fixture
def environment(poller: Poller, tmp_path: Path) -> dict[str, str]:
    """For commands: this sandbox, this database, a directory of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TDS_", "ZOHO_"))}
    own = {
        "TDS_DATABASE_URL": poller.database.conninfo,
        "TDS_DATA_DIR": str(tmp_path),
        "ZOHO_MINUTE_SECONDS": "0.1",
    }
    return {**kept, **own, **poller.sandbox.environment}


@pytest.fixture(params=[-5, 5])
def wrong_clock(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """For a program whose computer's clock is so many hours off."""
    moment = datetime.now(UTC) + timedelta(hours=request.param)
    try:
        return clock.environment(tmp_path, moment.isoformat())
    except RuntimeError as error:
        pytest.skip(str(error))
