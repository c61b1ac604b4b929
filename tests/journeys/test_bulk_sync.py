"""The bulk-sync bodies of a user's note, over HTTP against real programs: one after the other, without a pause."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tds_sandbox.serve import Running
from tests.db.servers import Database
from tests.journeys.programs import TDS, WORKER, Program, environment
from tests.journeys.waiting import wait_until
from tests.poller.conftest import Poller, small_sandbox
from tests.poller.test_migrate import compared

pytestmark = pytest.mark.parametrize("test_server", ["pg18"], indirect=True)

KEY = "an operator's own key"
SINCE = "2025-05-01"
# In the order of the note, and as they are typed there.
BODIES: dict[str, dict[str, Any]] = {
    "products": {"incremental": False, "modified_since": None, "batch_size": 200},
    "customers": {"incremental": False, "include_addresses": True},
    "invoices": {"incremental": True, "modified_since": SINCE, "include_line_items": True},
    "stock": {"warehouses": ["all"], "update_only": True},
    "pricelists": {"pricelist_ids": [], "include_item_prices": True},
    "bills": {"incremental": False, "modified_since": None, "batch_size": 200, "include_line_items": True},
}
FINISHED = {"complete", "partial", "failed", "cancelled"}
FILLED = (
    "products",
    "stock_levels",
    "customers",
    "contact_addresses",
    "contact_persons",
    "invoices",
    "invoice_line_items",
    "pricelists",
    "product_prices",
    "bills",
    "bill_line_items",
    "bill_payments",
)


@pytest.fixture
def sandbox() -> Iterator[Running]:
    """With stock by place and price lists."""
    with small_sandbox() as running:
        yield running


def serves(client: httpx.Client) -> bool:
    """Whether the receiver answers; it tells its address before it does."""
    with suppress(httpx.ConnectError):
        return client.get("/healthz").is_success
    return False


@pytest.fixture
def operator(sandbox: Running, database: Database, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of `tds serve`, beside which `tds poll` and `tds work` run."""
    variables = environment(
        TDS_DATABASE_URL=database.conninfo,
        TDS_DATA_DIR=str(tmp_path),
        TDS_API_KEY=KEY,
        ZOHO_MINUTE_SECONDS="0.1",
        **sandbox.environment,
    )
    receiver = Program("receiver", [*TDS, "serve", "--port", "0", "--insecure"], variables, tmp_path)
    programs = [
        receiver,
        Program("poller", [*TDS, "poll", "--no-images"], variables, tmp_path),
        Program("worker", WORKER, variables, tmp_path),
    ]
    try:
        for program in programs:
            program.start()
        url = wait_until(lambda: receiver.said.strip() if receiver.said.endswith("\n") else "", "it serves")
        with httpx.Client(base_url=url, headers={"X-API-Key": KEY}, trust_env=False, timeout=30) as client:
            wait_until(lambda: serves(client), "it answers")
            yield client
    finally:
        for program in programs:
            program.kill()


def test_the_six_bodies_of_the_note_without_a_pause(
    operator: httpx.Client, sandbox: Running, database: Database
) -> None:
    answers = {
        entity: operator.post(f"/api/zoho/bulk-sync/{entity}", json=body) for entity, body in BODIES.items()
    }
    assert {entity: answer.status_code for entity, answer in answers.items()} == dict.fromkeys(BODIES, 202)
    urls = {entity: answer.json()["url"] for entity, answer in answers.items()}
    assert len(set(urls.values())) == len(BODIES)

    def finished() -> dict[str, dict[str, Any]]:
        runs = {entity: operator.get(url).raise_for_status().json() for entity, url in urls.items()}
        return runs if all(run["state"] in FINISHED for run in runs.values()) else {}

    runs = wait_until(finished, "every run has ended", 600)
    assert {entity: (run["state"], run["error"]) for entity, run in runs.items()} == dict.fromkeys(
        BODIES, ("complete", None)
    )

    # each run's count is what Zoho has
    def listed(module: str) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in sandbox.organisation.truth_lines(module, "list")]
        return [row["document"] for row in rows if not row["deleted"]]

    since = datetime.fromisoformat(f"{SINCE}T00:00:00Z")
    told = {
        "products": len(listed("items")),
        "customers": sum(row["contact_type"] == "customer" for row in listed("contacts")),
        "invoices": sum(
            datetime.fromisoformat(row["last_modified_time"]) >= since for row in listed("invoices")
        ),
        "pricelists": len(listed("pricebooks")),
        "bills": len(listed("bills")),
    }
    stocked = [item.id for item in sandbox.organisation.book("items").records if item.tracked]
    assert {entity: runs[entity]["records"] for entity in told} == told
    assert min(told.values()) > 0
    assert (runs["stock"]["records"], runs["stock"]["details_fetched"]) == (0, len(stocked))
    for entity in ("customers", "invoices", "pricelists", "bills"):
        assert runs[entity]["details_fetched"] == told[entity], entity
    # every table is filled, and with what Zoho says
    with database.connect(autocommit=True) as conn:
        counts = {
            table: conn.execute(f"select count(*) from zoho.{table}".encode()).fetchone() for table in FILLED
        }
        assert all(count and count[0] > 0 for count in counts.values()), counts
        of_stock = conn.execute("select array_agg(distinct zoho_item_id) from zoho.stock_levels").fetchone()
        assert of_stock is not None
        assert sorted(of_stock[0]) == sorted(stocked)
        assert conn.execute("select count(*) from tds.dead_letter").fetchone() == (0,)
        assert conn.execute("select count(*) from tds.wanted_detail").fetchone() == (0,)
    found = compared(Poller(sandbox, database))
    assert {name: found[name].differences for name in ("products", "customers")} == {
        "products": [],
        "customers": [],
    }
