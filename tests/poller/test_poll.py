"""Pulls that are asked for: from the queue to the rows, through kills, cancellations and filters that are ignored."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from tds_poller.details import fetch_details
from tds_poller.mirror import Mirror
from tds_poller.poll import Poll, read_queue
from tds_poller.zoho.client import ZohoClient
from tds_sandbox.clock import Clock
from tds_sandbox.limits import UNLIMITED
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import running
from tests.commands import tds
from tests.db.servers import Database
from tests.journeys.waiting import wait_until
from tests.poller.conftest import Poller, midnight_just_past
from tests.poller.test_migrate import compared

# The SQL is tried on every server in tests/sql; what is tried here is the program.
pytestmark = pytest.mark.parametrize("test_server", ["pg18"], indirect=True)

PASSES = int(
    os.environ.get("TDS_PASSES", "25")
)  # of the test whose subject is the boundary between two of them
POLL = [sys.executable, "-P", "-m", "tds_cli", "poll"]


class Pulls:
    """Asking for pulls, and looking at them."""

    def __init__(self, poller: Poller, environment: dict[str, str], conn: psycopg.Connection[Any]) -> None:
        self.poller = poller
        self.environment = environment
        self.conn = conn

    def ask(self, entity: str, **options: Any) -> int:
        """The run of a new wish."""
        query = "select tds.request_pull(%s, %s::jsonb, %s) as run"
        organization = self.poller.sandbox.organisation.organization_id
        return int(self.value(query, entity, json.dumps(options), organization))

    def once(self, code: int = 0) -> list[dict[str, Any]]:
        """Does all there is; the runs, as the command prints them."""
        done = tds(self.environment, "poll", "--once", "--json")
        assert done.returncode == code, done.stderr
        return list(json.loads(done.stdout))

    def value(self, query: str, *parameters: Any) -> Any:
        """The one value of a query."""
        [row] = self.conn.execute(query, parameters)
        return next(iter(row.values()))

    def run(self, run: int) -> dict[str, Any]:
        """A run as the view shows it."""
        [row] = self.conn.execute("select * from tds_sync_runs where run_id = %s", [run])
        return dict(row)

    def calls(self) -> int:
        """The calls of the API so far; those for a token are not of it."""
        return sum(
            count for path, count in self.poller.sandbox.ledger.by_path.items() if path.startswith("GET")
        )

    def pictures(self) -> int:
        """The calls for pictures among them."""
        return sum(
            count for path, count in self.poller.sandbox.ledger.by_path.items() if path.endswith("/image")
        )

    def pages(self, path: str) -> list[int]:
        """The pages of a list asked for so far; 0 is the call that counts it."""
        return self.poller.pages(path)


@pytest.fixture
def pulls(poller: Poller, environment: dict[str, str]) -> Iterator[Pulls]:
    with psycopg.connect(poller.database.conninfo, autocommit=True, row_factory=dict_row) as conn:
        yield Pulls(poller, environment, conn)


@contextmanager
def polling(pulls: Pulls, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`tds poll` in the background."""
    environment = pulls.environment | variables
    with subprocess.Popen(POLL, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def draining(conninfo: str) -> Iterator[None]:
    """A worker."""
    ended = threading.Event()

    def drain() -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            while not ended.wait(0.05):
                connection.execute("call tds.process_batch()")

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_what_is_asked_for_arrives(pulls: Pulls) -> None:
    asked = {
        name: pulls.ask(name) for name in ("products", "customers", "vendors", "invoices", "organizations")
    }
    asked["stock"] = pulls.ask("stock", update_only=True)
    shown = {row["run_id"]: row for row in pulls.once()}
    assert set(shown) == set(asked.values())
    assert {row["state"] for row in shown.values()} == {"complete"}
    assert shown[asked["products"]]["records"] == 450
    assert [result.differences for result in compared(pulls.poller).values()] == [[], [], [], []]
    summary = pulls.poller.sandbox.ledger.summary()
    # The first page of products, which is read again once they have been counted.
    assert (summary["repeated"], summary["violations"]) == (1, [])
    assert pulls.pages("/items") == [1, 0, 1, 2, 3]
    # Every call is on some run's account.
    assert sum(row["calls"] for row in shown.values()) == pulls.calls() - pulls.pictures()
    # Pictures come after all else.
    assert pulls.value("select count(*) from tds_wanted_images") == 0
    assert (
        pulls.value("select count(*) from zoho.products where image_url is not null") == pulls.pictures() > 0
    )
    assert pulls.value("select count(*) from pgmq.q_tds_pull") == 0
    assert pulls.once() == []


def test_an_incremental_pull_costs_what_has_changed(pulls: Pulls) -> None:
    pulls.ask("invoices")
    pulls.once()
    pulls.poller.sandbox.organisation.edit("invoices")
    before = pulls.calls()
    run = pulls.ask("invoices", incremental=True)
    pulls.once()
    shown = pulls.run(run)
    assert (shown["state"], shown["filtered"], shown["records"]) == ("complete", True, 1)
    assert (shown["calls"], shown["details_fetched"]) == (2, 1)
    assert pulls.calls() - before == 2
    assert compared(pulls.poller)["invoices"].differences == []
    assert pulls.poller.asked("/invoices")[-1].count("last_modified_time=") == 1


def test_a_want_that_is_there_after_its_answer_is_asked_for_again(pulls: Pulls) -> None:
    """A worker that is slow with a page asks for what another has settled meanwhile: that answer was not in vain."""
    pulls.ask("invoices")
    pulls.once()
    pulls.conn.execute(
        """create table public.late (zoho_id text primary key);
           create function public.comes_late() returns trigger language plpgsql security definer as $$
           begin
               insert into public.late select old.zoho_id where not exists (select from public.late);
               if found then
                   insert into tds.wanted_detail (organization_id, entity, zoho_id, reason, wanted_at, run_id)
                   values (old.organization_id, old.entity, old.zoho_id, 'late', old.wanted_at, old.run_id);
               end if;
               return null;
           end $$;
           create trigger comes_late after delete on tds.wanted_detail
              for each row execute function public.comes_late()"""
    )
    pulls.poller.sandbox.organisation.edit("invoices")
    run = pulls.ask("invoices", incremental=True)
    pulls.once()
    shown = pulls.run(run)
    assert (shown["state"], shown["error"], shown["details_fetched"]) == ("complete", None, 2)

    pulls.conn.execute("truncate public.late")
    organization_id = pulls.poller.sandbox.organisation.organization_id
    pulls.value("select tds.want('invoices', min(zoho_invoice_id), %s) from zoho.invoices", organization_id)

    async def fetched(client: ZohoClient, mirror: Mirror) -> int:
        return await fetch_details(client, mirror, (await mirror.endpoints())["invoices"])

    assert pulls.poller.run(fetched) == 0
    assert pulls.value("select count(*) from public.late") == 1


@pytest.mark.parametrize("stamp", [None, "the last pages only"])
def test_a_filter_that_is_ignored_is_noticed(pulls: Pulls, stamp: str | None) -> None:
    # As if the API were documented to filter bills; it answers with all of them, without a word.
    pulls.conn.execute("update tds.entity set has_modified_filter = true where entity = 'bills'")
    organisation = pulls.poller.sandbox.organisation
    bills = sorted(organisation.book("bills").records, key=lambda bill: (bill.created, bill.id))
    if stamp:
        # Only the second page tells: what came before may have been filtered, so that all is read again.
        for bill in bills[:5]:
            organisation.edit("bills", record_id=bill.id)
        pulls.value("select pg_sleep(1.1)::text")
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(organisation.clock.now() - 30 * 600))
    run = pulls.ask("bills", modified_since=since, batch_size=5, include_line_items=False)
    pulls.once()
    shown = pulls.run(run)
    assert (shown["state"], shown["filtered"]) == ("complete", False)
    assert pulls.pages("/bills") == ([1, 2, 1, 2, 3] if stamp else [1, 2, 3])
    kept = pulls.value("select count(*) from zoho.bills")
    assert kept == sum(bill.modified >= organisation.clock.now() - 30 * 600 for bill in bills)


def test_a_killed_poller_is_gone_on_from(pulls: Pulls) -> None:
    pulls.poller.sandbox.sandbox.latency = 0.03
    run = pulls.ask("products", batch_size=15)
    with polling(pulls) as process:
        wait_until(lambda: pulls.run(run)["pages"] >= 5, "five pages")
        process.send_signal(signal.SIGKILL)
        process.wait()
    stored = pulls.run(run)["pages"]
    assert (pulls.run(run)["state"], stored < 30) == ("running", True)
    # its message would stay invisible for a minute
    with polling(pulls):
        wait_until(lambda: pulls.run(run)["state"] == "complete", "the end")
    pages = pulls.pages("/items")
    assert pages[:3] == [1, 0, 1], "counted once, before all else"
    assert sorted(set(pages[2:])) == list(range(1, 31))
    # Only the page that was on its way when the poller died is asked for again.
    assert [page for page in set(pages) if pages[2:].count(page) > 1] in ([], [stored + 1])
    assert pulls.value("select count(*) from tds.inbox where run_id = %s and shape = 'list'", run) == 31
    assert compared(pulls.poller)["products"].differences == []


def test_a_cancelled_pull_stops_between_pages(pulls: Pulls) -> None:
    pulls.poller.sandbox.sandbox.latency = 0.05
    run = pulls.ask("products", batch_size=10)
    with polling(pulls):
        wait_until(lambda: pulls.run(run)["pages"] >= 2, "two pages")
        assert pulls.value("select tds.cancel_run(%s)", run) == "cancelled"
        other = pulls.ask("bills", include_line_items=False)
        wait_until(lambda: pulls.run(other)["state"] == "complete", "the next one")
    shown = pulls.run(run)
    assert (shown["state"], shown["error"]) == ("cancelled", None)
    pages = pulls.pages("/items")
    assert pages[:3] == [1, 0, 1]
    assert shown["pages"] <= len(pages[2:]) <= shown["pages"] + 1


def test_three_pollers_share_the_work(pulls: Pulls) -> None:
    pulls.poller.sandbox.sandbox.latency = 0.02
    runs = [
        pulls.ask("products", batch_size=50),
        pulls.ask("customers"),
        pulls.ask("bills"),
        pulls.ask("stock"),
    ]
    with polling(pulls), polling(pulls), polling(pulls):
        for run in runs:
            wait_until(lambda run=run: pulls.run(run)["state"] == "complete", "the end")  # type: ignore[misc]
    # Those of products, nine, and those that stock reads first; each counted once its first page said that more follow.
    assert sorted(pulls.pages("/items")) == sorted([1, 0, *range(1, 10), 1, 0, 1, 2, 3])
    ledger = pulls.poller.sandbox.ledger
    details = [call.path for call in ledger.calls if re.search(r"/\d+$", call.path)]
    assert len(details) == len(set(details)) > 50, "no detail was fetched twice"
    assert ledger.violations == []
    assert pulls.poller.sandbox.sandbox.oauth.refreshed == 1


def test_a_long_pull_stays_with_its_poller(pulls: Pulls) -> None:
    pulls.conn.execute("update tds.setting set value = '1' where name = 'pull_visibility_seconds'")
    pulls.poller.sandbox.sandbox.latency = 0.1
    run = pulls.ask("products", batch_size=15)
    with polling(pulls), polling(pulls):
        wait_until(lambda: pulls.run(run)["state"] == "complete", "the end")
    assert pulls.run(run)["duration"].total_seconds() > 2
    assert pulls.pages("/items") == [1, 0, *range(1, 31)]


def test_the_pollers_own_role_is_enough(pulls: Pulls, database: Database) -> None:
    pulls.environment["TDS_DATABASE_URL"] = database.dsn(options="-c role=tds_poller")
    runs = [pulls.ask("bills"), pulls.ask("products"), pulls.ask("pricelists")]
    with polling(pulls), draining(database.conninfo):
        for run in runs:
            wait_until(lambda run=run: pulls.run(run)["state"] == "complete", "the end")  # type: ignore[misc]
    assert pulls.value("select count(*) from zoho.bill_line_items") > 0
    pulls.ask("stock", update_only=True)
    with draining(database.conninfo):
        assert [row["state"] for row in pulls.once()] == ["complete"]


def test_options_of_stock_and_price_lists(pulls: Pulls) -> None:
    pulls.ask("pricelists", include_item_prices=False)
    pulls.ask("products", update_only=True)
    first = pulls.once()
    assert [row["calls"] for row in first] == [1, 3]
    assert pulls.value("select count(*) from zoho.product_prices") == 0
    assert pulls.value("select count(*) from zoho.products") == 0, "none was known"
    books = pulls.poller.sandbox.organisation.book("pricebooks").records
    priced = [book.id for book in books if book.shown]
    one = pulls.ask("pricelists", pricelist_ids=[priced[0]])
    pulls.once()
    assert pulls.run(one)["calls"] == 2
    assert pulls.value("select array_agg(distinct zoho_pricebook_id) from zoho.product_prices") == [priced[0]]
    unknown = pulls.ask("pricelists", pricelist_ids=[priced[0], "12345"])
    pulls.once(code=4)
    assert (pulls.run(unknown)["state"], pulls.run(unknown)["error"]) == (
        "partial",
        "no such price list: 12345",
    )
    stock = pulls.ask("stock", batch_size=50)
    pulls.once()
    shown = pulls.run(stock)
    assert shown["state"] == "complete"
    assert shown["pages"] == 3
    asked = [len(parse_qs(query)["item_ids"][0].split(",")) for query in pulls.poller.asked("/itemdetails")]
    assert max(asked) == 50
    assert shown["details_fetched"] == sum(asked)
    assert pulls.value("select count(*) from zoho.stock_levels") > 0


def test_what_zoho_refuses_fails_alone(pulls: Pulls) -> None:
    pulls.conn.execute("update tds.entity set api_path = '/nowhere' where entity = 'bills'")
    bills, credit = pulls.ask("bills"), pulls.ask("credit_notes")
    rows = {row["run_id"]: row for row in pulls.once(code=4)}
    assert rows[bills]["state"] == "failed"
    assert "Invalid URL Passed" in rows[bills]["error"]
    assert (rows[bills]["calls"], rows[credit]["state"]) == (1, "complete")


def test_a_limit_leaves_the_pull_for_later(pulls: Pulls) -> None:
    run = pulls.ask("products")
    pulls.poller.sandbox.faults.set(next=["43"])  # twenty minutes, of a tenth of a second here
    done = tds(pulls.environment | {"ZOHO_LONGEST_WAIT": "1"}, "poll", "--once")
    assert done.returncode == 1
    assert "Run the same command again in" in done.stderr
    shown = pulls.run(run)
    assert shown["state"] == "running"
    assert "code 43" in shown["error"], "what it waits for"
    with polling(pulls):
        wait_until(lambda: pulls.run(run)["state"] == "complete", "the end")
    assert pulls.run(run)["error"] is None


@pytest.mark.parametrize("once", [True, False])
def test_what_is_kept_for_webhooks_is_theirs_while_a_pull_waits(pulls: Pulls, once: bool) -> None:
    limits = {"per_day": 10_000, "per_minute": None, "midnight": midnight_just_past()}
    httpx.post(f"{pulls.poller.sandbox.url}/_sandbox/limits", json=limits).raise_for_status()
    pulls.ask("invoices")
    pulls.once()
    pulls.conn.execute("update tds.setting set value = '100' where name = 'api_reserve_percent'")
    run = pulls.ask("bills")
    organization_id = pulls.poller.sandbox.organisation.organization_id
    pulls.value("select tds.want('invoices', min(zoho_invoice_id), %s) from zoho.invoices", organization_id)
    wanted = "select count(*) from tds.wanted_detail"
    if once:
        done = tds(pulls.environment | {"ZOHO_LONGEST_WAIT": "1"}, "poll", "--once")
        assert (done.returncode, "kept for live repair" in done.stderr) == (1, True)
    else:
        with polling(pulls, ZOHO_LONGEST_WAIT="1"):
            wait_until(lambda: "kept for live" in (pulls.run(run)["error"] or ""), "that the pull waits")
            wait_until(lambda: pulls.value(wanted) == 0, "the detail")
    assert (pulls.value(wanted), pulls.run(run)["state"]) == (0, "running")


def test_a_larger_plan_is_used_at_once(pulls: Pulls) -> None:
    control = f"{pulls.poller.sandbox.url}/_sandbox/limits"
    limits = {"per_day": 1, "per_minute": None, "midnight": midnight_just_past()}
    httpx.post(control, json=limits).raise_for_status()
    run = pulls.ask("products")
    # a day lasts 24 minutes of ours, and a poller waits five itself
    with polling(pulls, ZOHO_MINUTE_SECONDS="1"):
        wait_until(lambda: "until" in (pulls.run(run)["error"] or ""), "the day's calls are gone")
        httpx.post(control, json={"per_day": 10_000, "per_minute": None}).raise_for_status()
        pulls.value("select tds.resume_calls(organization_id) from tds_api_budget")
        wait_until(lambda: pulls.run(run)["state"] == "complete", "the end")


def test_while_it_is_off_nothing_is_pulled(pulls: Pulls) -> None:
    run = pulls.ask("products")
    pulls.conn.execute("update tds.setting set value = 'false' where name = 'bulk_sync_enabled'")
    done = tds(pulls.environment, "poll", "--once")
    assert (done.returncode, "bulk sync is switched off" in done.stderr) == (1, True)
    assert pulls.run(run)["state"] == "queued"
    assert pulls.pages("/items") == []


def test_a_lost_queue_is_made_again(pulls: Pulls) -> None:
    run = pulls.ask("organizations")
    pulls.conn.execute("delete from pgmq.q_tds_pull")
    assert pulls.value("select tds.requeue_unprocessed()") == 1
    assert pulls.value("select tds.requeue_unprocessed()") == 0
    assert pulls.once()[0]["run_id"] == run


def test_keys_from_the_command_line(pulls: Pulls) -> None:
    key = tds(pulls.environment, "keys", "create", "ERP").stdout.strip()
    [row] = json.loads(tds(pulls.environment, "keys", "list", "--json").stdout)
    assert (row["name"], row["revoked_at"]) == ("ERP", None)
    check = "select tds.check_api_key(sha256(%s::text::bytea))"
    assert pulls.value(check, key) == "ERP"
    assert tds(pulls.environment, "keys", "revoke", "ERP").returncode == 0
    assert pulls.value(check, key) is None
    assert tds(pulls.environment, "keys", "revoke", "ERP").returncode == 1


def test_no_edit_falls_between_two_incremental_pulls(database: Database) -> None:
    # Zoho's times have whole seconds and its filter leaves out the very second: edits in it, before, during and
    # after a pass are what an overlap of a second is for.
    rng = random.Random(5)
    organisation = Organisation(items=5, contacts=5, invoices=40, clock=Clock(1.0), lenient=True)
    with (
        running(organisation, limits=UNLIMITED) as sandbox,
        psycopg.connect(database.conninfo, autocommit=True) as connection,
    ):
        poller = Poller(sandbox, database)
        connection.execute("update tds.setting set value = '1' where name = 'cursor_overlap_seconds'")

        async def passes(client: ZohoClient, mirror: Mirror) -> None:
            queue = await asyncio.to_thread(read_queue, database.conninfo)
            for number in range(PASSES):
                options = {"incremental": number > 0, "batch_size": 10, "include_line_items": False}
                connection.execute(
                    "select tds.request_pull('invoices', %s::jsonb, %s)",
                    [json.dumps(options), organisation.organization_id],
                )
                edits = asyncio.create_task(edit())
                await Poll(client, mirror, queue).once()
                await edits
            connection.execute(
                "select tds.request_pull('invoices', %s::jsonb, %s)",
                ['{"incremental": true, "include_line_items": false}', organisation.organization_id],
            )
            await Poll(client, mirror, queue).once()
            assert queue.pool is not None
            queue.pool.close()

        async def edit() -> None:
            for _ in range(6):
                await asyncio.sleep(rng.random() * 0.06)
                organisation.edit("invoices")

        poller.run(passes, calls_per_minute=100_000, minute_seconds=60.0)
        told: dict[str, datetime] = dict(
            connection.execute("select zoho_invoice_id, zoho_modified_at from zoho.invoices").fetchall()
        )
    for line in organisation.truth_lines("invoices", "list"):
        record = json.loads(line)
        stamp = record["document"]["last_modified_time"]
        assert told[record["id"]] == datetime.fromisoformat(stamp), record["id"]
