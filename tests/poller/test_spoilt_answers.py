"""What others met in systems like this one: spells of 404s, pages that shift, clocks apart, details without lines."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import psycopg
import pytest

from tds_poller.details import fetch_details
from tds_poller.mirror import Mirror
from tds_poller.poll import Poll, read_queue
from tds_poller.pull import pull_list
from tds_poller.zoho.client import Reply, ZohoClient
from tds_sandbox.clock import Clock
from tds_sandbox.organisation import Organisation
from tests.commands import tds
from tests.db.servers import Database
from tests.poller.conftest import Poller, fast_sandbox, small_sandbox

# The SQL is tried on every server in tests/sql; what is tried here is the program.
pytestmark = pytest.mark.parametrize("test_server", ["pg18"], indirect=True)

Get = Callable[..., Awaitable[Reply]]
DELETED = """
    select (select count(*) from zoho.contacts where deleted_at is not null)
         + (select count(*) from zoho.invoices where deleted_at is not null)"""


MIGRATED = pytest.mark.parametrize("poller", ["migrated"], indirect=True)


@pytest.fixture
def poller(request: pytest.FixtureRequest, database: Database) -> Iterator[Poller]:
    """On a sandbox of its own; of `MIGRATED`, all has been fetched from it."""
    if hasattr(request, "param"):
        yield request.getfixturevalue(request.param)
    else:
        with small_sandbox() as sandbox:
            yield Poller(sandbox, database)


@pytest.fixture
def conn(poller: Poller) -> Iterator[psycopg.Connection[Any]]:
    """To a mirror that looks a second time after a second."""
    with poller.database.connect(autocommit=True) as connection:
        connection.execute(
            "update tds.setting set value = '1' where name in ('second_look_seconds', 'deletion_probe_seconds')"
        )
        yield connection


def value(conn: psycopg.Connection[Any], query: str, *parameters: Any) -> Any:
    [(only,)] = conn.execute(query.encode(), parameters).fetchall()
    return only


def poll(poller: Poller, conn: psycopg.Connection[Any], *, times: int = 1) -> None:
    """Does what a poller does once, and has it processed, so many times with a pause after each."""

    async def once(client: ZohoClient, mirror: Mirror) -> None:
        queue = await asyncio.to_thread(read_queue, poller.database.conninfo)
        await Poll(client, mirror, queue).once()
        assert queue.pool is not None
        await asyncio.to_thread(queue.pool.close)

    for _ in range(times):
        poller.run(once)
        conn.execute("call tds.process_batch()")
        time.sleep(1.1)


def night(poller: Poller, conn: psycopg.Connection[Any]) -> None:
    """The hourly job, and the nightly one."""
    for filtered in (True, False):
        conn.execute("update tds.held_deletion set changed_at = changed_at - interval '2 hours'")
        conn.execute("select tds.request_scheduled(%s)", [filtered])
        poll(poller, conn)


SPELLS = {
    "all": (1.0, r"^/(contacts|invoices)/\d+$"),
    "three calls of ten": (0.3, r"^/(contacts|invoices)/\d+$"),
}


@MIGRATED
@pytest.mark.parametrize("spell", SPELLS)
def test_a_spell_of_404s_is_held_back_told_and_over_by_itself(
    poller: Poller, environment: dict[str, str], conn: psycopg.Connection[Any], spell: str
) -> None:
    share, only = SPELLS[spell]
    poller.sandbox.faults.set(missing=share, only=only)
    for entity in ("customers", "invoices"):
        conn.execute("select tds.want_again(%s, %s)", [entity, poller.sandbox.organisation.organization_id])
    poll(poller, conn, times=3)
    deleted, held = value(conn, DELETED), value(conn, "select count(*) from tds_held_deletions")
    if share == 1:
        assert deleted == 0
        assert held >= 20
        assert tds(environment, "status").returncode == 4
    else:
        assert deleted <= 10, "up to five of each are never too many"
    poller.sandbox.faults.set()
    poll(poller, conn, times=3)
    night(poller, conn)
    assert value(conn, DELETED) == 0
    left = "select entity, state, count(*), min(proved_at) from tds.held_deletion group by 1, 2"
    assert conn.execute(left).fetchall() == []
    assert value(conn, "select count(*) from tds.wanted_detail") == 0


def test_a_spell_of_404s_while_the_first_details_are_fetched(
    poller: Poller, conn: psycopg.Connection[Any]
) -> None:
    poller.sandbox.faults.set(missing=1.0, only=r"^/(contacts|invoices|bills)/\d+$")
    poller.migrate()
    poll(poller, conn, times=2)
    assert value(conn, "select count(*) from tds_held_deletions") >= 12
    assert value(conn, DELETED) <= 5, "of the few vendors some are not too many"
    poller.sandbox.faults.set()
    poll(poller, conn, times=3)
    night(poller, conn)
    assert value(conn, DELETED) == 0
    assert value(conn, "select count(*) from tds_held_deletions") == 0
    query = "select count(*) from zoho.invoices where not zoho_metadata ? 'line_items'"
    assert value(conn, query) == 0
    assert value(conn, "select count(*) from tds.wanted_detail") == 0


def between(client: ZohoClient, after: Callable[[str, Mapping[str, str], Reply], Reply]) -> None:
    """Stands between the client and the sandbox: what it makes of an answer is what comes."""
    ask: Get = client.get

    async def get(path: str, parameters: Mapping[str, str] | None = None, **options: Any) -> Reply:
        wanted = parameters or {}
        reply = await ask(path, parameters, **options)
        return after(path, wanted, reply)

    client.get = get  # type: ignore[assignment, method-assign]


LISTS = {
    "customers": "contacts",
    "invoices": "invoices",
    "bills": "bills",
    "payments": "customerpayments",
    "credit_notes": "creditnotes",
}
SHIFTS = ["first of page 1", "last of page 1", "one of each page", "one edited to the end"]


@pytest.mark.parametrize(
    ("entity", "shift"),
    [
        *((entity, SHIFTS[1]) for entity in LISTS),
        *(("invoices", shift) for shift in SHIFTS if shift != SHIFTS[1]),
    ],
)
def test_a_list_that_moves_while_it_is_read_loses_nobody(database: Database, entity: str, shift: str) -> None:
    source = LISTS[entity]
    counts: dict[str, Any] = {"items": 5, "contacts": 20, source: 450}
    organisation = Organisation(clock=Clock(600), lenient=True, **counts)
    left, counted = 2 if shift == "one of each page" else 1, False

    def move(path: str, query: Mapping[str, str], reply: Reply) -> Reply:
        nonlocal left, counted
        # what moves before the list is counted is not missed
        counted = counted or "response_option" in query
        rows = reply.document.get(source, [])
        if path == f"/{source}" and len(rows) == 200 and counted and left > 0:
            left -= 1
            book = organisation.book(source)
            row = rows[0 if shift == "first of page 1" else -1]
            gone = next(str(row[key]) for key in row if row[key] in book.index)
            if shift == "one edited to the end":
                record = book.index[gone]
                book.records.remove(record)
                book.records.append(record)
                record.created = organisation.clock.now()
            else:
                # whatever hangs on it: the list is shorter by one
                book.records.remove(book.index.pop(gone))
            book.version += 1
        return reply

    async def pull(client: ZohoClient, mirror: Mirror) -> tuple[str, int]:
        between(client, move)
        endpoint = (await mirror.endpoints())[entity]
        run = await pull_list(client, mirror, endpoint)
        await mirror.drain(endpoint.queue)
        return run.state, (await mirror.run(run.run_id)).passes

    with fast_sandbox(organisation) as sandbox:
        state, passes = Poller(sandbox, database).run(pull)
        assert (state, left) == ("complete", 0)
        assert passes > 1
        with database.connect() as conn:
            target, key = conn.execute(
                "select target, target_key from tds.entity where entity = %s", [entity]
            ).fetchone() or ("", "")
            mirrored = {
                row[0] for row in conn.execute(f"select {key} from zoho.{target}".encode()).fetchall()
            }
        living = {
            record.id for record in organisation.book(source).records if not getattr(record, "vendor", False)
        }
        assert living <= mirrored


NOTHING: dict[str, Any] = {"[]": [], "null": None, '""': ""}


@MIGRATED
@pytest.mark.parametrize("nothing", NOTHING)
def test_a_detail_that_comes_once_without_lines_wipes_none(
    poller: Poller, conn: psycopg.Connection[Any], nothing: str
) -> None:
    lines = value(conn, "select count(*) from zoho.invoice_line_items")
    organization_id = poller.sandbox.organisation.organization_id

    def empty(path: str, query: Mapping[str, str], reply: Reply) -> Reply:
        if not path.startswith("/invoices/"):
            return reply
        document = json.loads(reply.body)
        document["invoice"]["line_items"] = NOTHING[nothing]
        return Reply(json.dumps(document).encode(), document, reply.sent_at, reply.server_time)

    async def fetch(client: ZohoClient, mirror: Mirror) -> None:
        between(client, empty)
        await fetch_details(client, mirror, (await mirror.endpoints())["invoices"])

    async def honest(client: ZohoClient, mirror: Mirror) -> None:
        await fetch_details(client, mirror, (await mirror.endpoints())["invoices"])

    # however slow the machine, the second look comes when the test says so
    conn.execute("update tds.setting set value = '3600' where name = 'second_look_seconds'")
    conn.execute("select tds.want_again('invoices', %s)", [organization_id])
    poller.run(fetch)
    assert value(conn, "select count(*) from zoho.invoice_line_items") == lines
    assert value(conn, "select count(*) from tds_document_mismatches where entity = 'invoices'") > 0
    assert value(conn, "select count(*) from tds.wanted_detail where entity = 'invoices'") > 0
    conn.execute("update tds.wanted_detail set wanted_at = wanted_at - interval '1 hour', not_before = null")
    poller.run(honest)
    assert value(conn, "select count(*) from zoho.invoice_line_items") == lines
    assert value(conn, "select count(*) from tds_document_mismatches where entity = 'invoices'") == 0
    assert value(conn, "select count(*) from tds.wanted_detail where entity = 'invoices'") == 0


def test_what_the_rules_cost_of_a_migration_and_of_a_quiet_day(
    database: Database, conn: psycopg.Connection[Any]
) -> None:
    """At most 5 % more calls than the plan's minimum: each page and each detail once."""
    organisation = Organisation(clock=Clock(600), lenient=True, items=210, contacts=210, invoices=250)
    with fast_sandbox(organisation) as sandbox:
        poller = Poller(sandbox, database)

        def spent() -> tuple[int, int]:
            calls = [
                f"{call.path}?{call.query}"
                for call in sandbox.ledger.calls
                if not call.path.startswith("/oauth")
            ]
            needed = {call for call in calls if "response_option" not in call}
            sandbox.ledger.clear()
            return len(calls), len(needed)

        poller.migrate()
        calls, needed = spent()
        assert calls > 450
        assert (calls - needed) * 20 <= needed, f"{calls} calls, of which {needed} are needed"
        for filtered in (True, False):
            conn.execute("select tds.request_scheduled(%s)", [filtered])
            poll(poller, conn)
            calls, needed = spent()
            # a list of several pages that is read whole is counted, by a call
            assert calls - needed <= 2, f"{calls} calls, of which {needed} are needed"
