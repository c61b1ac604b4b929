"""A small sandbox, and the poller's own parts on it and on the test's database."""

from __future__ import annotations

import asyncio
import copy
import os
import time
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
from tds_poller.poll import Poll, opened_queue
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.settings import ZohoSettings
from tds_sandbox.clock import Clock
from tds_sandbox.ledger import Ledger
from tds_sandbox.limits import Limits
from tds_sandbox.oauth import OAuth
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running, running
from tests import clock
from tests.db.servers import TEMPLATE, Database, TestServer

LENIENT = os.environ.get("TDS_TEST_SANDBOX", "lenient") != "strict"
MINUTE_SECONDS = 0.1
"""Of the pollers that ask a fast sandbox."""
Result = TypeVar("Result")
Task = Callable[[ZohoClient, Mirror], Awaitable[Result]]


class Poller:
    """The poller between one sandbox and one database."""

    def __init__(self, sandbox: Running, database: Database) -> None:
        self.sandbox = sandbox
        self.database = database
        self.answer: Any = None
        """Of what furnished the two, if that was done."""

    def settings(self, **changes: object) -> ZohoSettings:
        """The sandbox's, whose minute lasts a tenth of a second."""
        names = {
            name.lower().removeprefix("zoho_"): value for name, value in self.sandbox.environment.items()
        }
        return ZohoSettings.model_validate({"minute_seconds": MINUTE_SECONDS, **names, **changes})

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
            run_id = await mirror.request_pull(entity, options)
            async with opened_queue(self.database.conninfo) as queue:
                await Poll(client, mirror, queue, first=[run_id]).once()
            [progress] = await mirror.progress([run_id])
            return progress

        return self.run(run)

    def poll(self) -> None:
        """Does all there is to do."""

        async def run(client: ZohoClient, mirror: Mirror) -> None:
            async with opened_queue(self.database.conninfo) as queue:
                await Poll(client, mirror, queue).once()

        self.run(run)

    def asked(self, path: str) -> list[str]:
        """The queries of the successful calls of a path so far."""
        return [call.query for call in self.sandbox.ledger.calls if call.path == path and call.status == 200]

    def pages(self, path: str) -> list[int]:
        """The pages of a list asked for so far, in their order; 0 is the call that counts it."""
        queries = map(parse_qs, self.asked(path))
        return [0 if "response_option" in query else int(query["page"][0]) for query in queries]


@contextmanager
def fast_sandbox(organisation: Organisation, **options: Any) -> Iterator[Running]:
    """A sandbox for pollers whose minute lasts a tenth of a second, but whose tokens last an hour of ours.

    To such a poller a token's hour is six seconds: how many a test asks for, of which the eleventh in ten minutes is
    refused, would depend on the machine's speed.
    """
    with running(organisation, **options) as sandbox:
        sandbox.sandbox.oauth.lives *= round(60 / MINUTE_SECONDS)
        yield sandbox


def midnight_just_past() -> int:
    """Where it is midnight in this hour, in minutes east of UTC: what is left of a day of calls lasts for all that is run."""
    return 60 * ((12 - datetime.now(UTC).hour) % 24 - 12)


class Kept:
    """What a sandbox remembers of those who asked it; its records it makes alike each time."""

    OF = (
        (Ledger, ("calls", "violations", "by_path", "by_status", "by_code", "by_day", "_answered", "_total")),
        (OAuth, ("_rng", "_tokens", "_refreshes", "_codes", "_refresh_tokens", "refreshed")),
        (Limits, ("_recent", "_details", "_day", "used_today", "most_in_process")),
    )

    def __init__(self, sandbox: Running, answer: Any) -> None:
        self.answer = answer
        """Of what was done."""
        self._ahead = sandbox.clock.now() - time.time()
        self._values = [
            copy.deepcopy({name: vars(one)[name] for name in names}) for one, names in self._of(sandbox)
        ]

    def put_back(self, sandbox: Running) -> None:
        """Into another one of the same records; its clock is as far ahead of ours."""
        sandbox.clock.advance(max(0.0, self._ahead - (sandbox.clock.now() - time.time())))
        for (one, _), values in zip(self._of(sandbox), self._values, strict=True):
            vars(one).update(copy.deepcopy(values))

    def _of(self, sandbox: Running) -> list[tuple[object, tuple[str, ...]]]:
        known = {Ledger: sandbox.ledger, OAuth: sandbox.sandbox.oauth, Limits: sandbox.limits}
        return [(known[kind], names) for kind, names in self.OF]


KEPT: dict[tuple[str, str], Kept] = {}


@contextmanager
def furnished(
    server: TestServer,
    name: str,
    organise: Callable[[], Organisation],
    furnish: Callable[[Poller], object] = Poller.migrate,
    **options: Any,
) -> Iterator[Poller]:
    """On a sandbox and a database of its own that are as `furnish` leaves them, which is done once a server.

    Args:
        server: where the database is.
        name: of the template; equal names have all else equal.
        organise: makes the organisation, alike each time.
        furnish: what is done; the organisation's records stay as they are.
        options: of the sandbox.
    """

    def fill(database: Database) -> None:
        with fast_sandbox(organise(), **options) as sandbox:
            answer = furnish(Poller(sandbox, database))
            KEPT[server.leg, name] = Kept(sandbox, answer)

    # where each test begins at the same time, what one left is of the next one's future
    template = TEMPLATE if clock.EACH in os.environ else name
    with (
        server.database(template, None if template == TEMPLATE else fill) as database,
        fast_sandbox(organise(), **options) as sandbox,
    ):
        poller = Poller(sandbox, database)
        if template == TEMPLATE:
            poller.answer = furnish(poller)
        else:
            poller.answer = KEPT[server.leg, name].answer
            KEPT[server.leg, name].put_back(sandbox)
        yield poller


def small_organisation(bad_records: int = 0, *, lenient: bool = LENIENT) -> Organisation:
    """450 items are three pages; a minute lasts a tenth of a second.

    Args:
        bad_records: how many it serves damaged.
        lenient: whether it takes parameters that the documents do not list. One that does not costs a call more
            for each that it refuses, and tests count calls; `test_editions.py` tries both.
    """
    return Organisation(
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


@contextmanager
def small_sandbox(bad_records: int = 0, *, lenient: bool = LENIENT) -> Iterator[Running]:
    """On a `small_organisation`."""
    with fast_sandbox(small_organisation(bad_records, lenient=lenient)) as sandbox:
        yield sandbox


@pytest.fixture
def migrated(test_server: TestServer) -> Iterator[Poller]:
    """As `poller`, when all has been fetched."""
    with furnished(test_server, "migrated", small_organisation) as poller:
        yield poller


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
        "ZOHO_MINUTE_SECONDS": str(MINUTE_SECONDS),
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
