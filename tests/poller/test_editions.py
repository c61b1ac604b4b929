"""Editions of Zoho Books differ: what one refuses is left off and remembered; and the bulk-sync bodies as people type them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tds_poller.forecast import Cost
from tds_poller.mirror import Mirror
from tds_poller.poll import Poll, read_queue
from tds_poller.zoho.client import ZohoClient
from tds_sandbox import app
from tds_sandbox.clock import Clock
from tds_sandbox.oauth import Credentials
from tds_sandbox.organisation import Organisation
from tests.db.servers import Database, TestServer
from tests.poller.conftest import LENIENT, Poller, fast_sandbox, furnished, small_organisation, small_sandbox
from tests.poller.test_migrate import compared
from tests.poller.test_plan import look


def rows(poller: Poller, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def refusals(poller: Poller) -> int:
    return sum(call.status == 400 for call in poller.sandbox.ledger.calls)


@pytest.fixture
def strict(test_server: TestServer) -> Iterator[Poller]:
    """After a migration from a sandbox that refuses what the documents do not list."""
    with furnished(test_server, "strict", lambda: small_organisation(lenient=False)) as poller:
        yield poller


def test_what_an_edition_refuses_is_left_off_and_remembered(strict: Poller) -> None:
    for result in compared(strict).values():
        assert result.differences == []
        assert result.rows == result.records > 0
    left_off = rows(strict, "select api_path, parameter from tds.refused_parameter order by 1, 2")
    assert left_off == [
        ("/contacts", "sort_order"),
        ("/creditnotes", "sort_order"),
        ("/customerpayments", "sort_order"),
        ("/invoices", "sort_order"),
        ("/items", "sort_column"),
        ("/items", "sort_order"),
        ("/pricebooks", "filter_by"),
        ("/vendorcredits", "sort_order"),
        ("/vendorpayments", "sort_order"),
    ]
    assert rows(strict, "select tds.lists_all('products', organization_id) from tds.run limit 1") == [(True,)]
    # once is enough: of each organisation and list
    before = refusals(strict)
    for entity in ("products", "customers", "vendors", "pricelists", "vendor_payments"):
        assert strict.pull(entity).is_finished
    assert refusals(strict) == before >= len(left_off)
    # and where a list hides what is inactive, nothing follows from what it lacks
    rows(
        strict,
        "select tds.leave_off('products', organization_id, 'filter_by', 'Invalid value passed for filter_by')"
        "  from (select distinct organization_id from tds.run) o",
    )
    assert rows(strict, "select tds.lists_all('products', organization_id) from tds.run limit 1") == [
        (False,)
    ]


def test_a_plan_counts_a_list_whose_parameters_are_refused(database: Database, strict: Poller) -> None:
    with small_sandbox(lenient=False) as sandbox:
        found, _ = look(sandbox, database)
    assert found["products"] == Cost("products", 450, "counted by Zoho", 5, 5)
    assert [row for row in found.values() if row.how.startswith("not readable")] == []
    before = refusals(strict)
    again, _ = look(strict.sandbox, strict.database)
    assert again["products"].records == 450
    assert refusals(strict) == before, "what a pull was refused is remembered"


def test_a_lenient_edition_takes_what_it_is_asked(database: Database) -> None:
    with small_sandbox(lenient=True) as sandbox:
        poller = Poller(sandbox, database)
        assert poller.pull("products").is_finished
        assert refusals(poller) == 0
        assert rows(poller, "select count(*) from tds.refused_parameter") == [(0,)]
        assert "sort_column=created_time" in poller.asked("/items")[0]


@pytest.fixture
def poller(database: Database) -> Iterator[Poller]:
    """On a sandbox with a few of each."""
    organisation = Organisation(
        items=60, contacts=12, invoices=6, bills=4, pricebooks=3, clock=Clock(600), lenient=LENIENT
    )
    with fast_sandbox(organisation) as sandbox:
        yield Poller(sandbox, database)


def test_ids_may_be_integers_in_details_too(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = app._item_details

    def with_integers(*arguments: Any) -> str:
        document = json.loads(asked(*arguments))
        return json.dumps(
            document | {"items": [item | {"item_id": int(item["item_id"])} for item in document["items"]]}
        )

    monkeypatch.setattr(app, "_item_details", with_integers)
    progress = poller.pull("stock")
    assert progress.is_finished
    assert progress.details > 0
    assert rows(poller, "select state from tds.run") == [("complete",)]
    assert rows(poller, "select count(*) > 0 from zoho.stock_levels") == [(True,)]
    assert rows(poller, "select count(*) from tds.wanted_detail") == [(0,)]


BODIES: list[tuple[str, dict[str, Any]]] = [
    ("products", {"incremental": False, "modified_since": None, "batch_size": 200}),
    ("customers", {"incremental": False, "batch_size": 200, "include_addresses": True}),
    ("invoices", {"modified_since": "2001-01-01", "include_line_items": True}),
    ("stock", {"warehouses": ["all"], "update_only": True}),
    ("pricelists", {"pricelist_ids": [], "include_item_prices": True}),
    ("bills", {"batch_size": 200, "include_line_items": True}),
]


def ask_for_all(poller: Poller, bodies: list[tuple[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Asks for these pulls at once, does them, and says how each ended."""

    async def run(client: ZohoClient, mirror: Mirror) -> list[int]:
        queue = await asyncio.to_thread(read_queue, poller.database.conninfo)
        run_ids = [await mirror.request_pull(entity, options) for entity, options in bodies]
        await Poll(client, mirror, queue, first=run_ids).once()
        assert queue.pool is not None
        await asyncio.to_thread(queue.pool.close)
        return run_ids

    run_ids = poller.run(run)
    found = rows(
        poller,
        f"select to_jsonb(r) from tds.run r where r.run_id = any ('{{{','.join(map(str, run_ids))}}}')",
    )
    return {row["entity"]: row for (row,) in found}


def test_the_six_bodies_as_they_are_typed_without_a_pause(poller: Poller) -> None:
    runs = ask_for_all(poller, BODIES)
    assert {entity: (run["state"], run["error"]) for entity, run in runs.items()} == dict.fromkeys(
        dict(BODIES), ("complete", None)
    )
    books = poller.sandbox.organisation.books
    assert (runs["products"]["records"], runs["bills"]["records"]) == (60, len(books["bills"].records))
    stocked = rows(poller, "select count(*) from zoho.products where stock_quantity is not null")[0][0]
    assert runs["stock"]["details"] == stocked > 0
    for table in (
        "products",
        "customers",
        "customer_addresses",
        "contact_persons",
        "invoices",
        "invoice_line_items",
        "stock_levels",
        "pricelists",
        "product_prices",
        "bills",
        "bill_line_items",
    ):
        assert rows(poller, f"select count(*) from zoho.{table}")[0][0] > 0, table


def test_warehouses_by_their_names_and_a_run_that_did_nothing(poller: Poller) -> None:
    nothing = ask_for_all(poller, [("stock", {"warehouses": ["all"], "update_only": True})])["stock"]
    assert (nothing["state"], nothing["error"]) == (
        "partial",
        "no product with stock is known: pull products first",
    )
    ask_for_all(poller, [("products", {}), ("warehouses", {}), ("stock", {})])
    (name, zoho_id), *_ = rows(poller, "select name, zoho_warehouse_id from zoho.warehouses order by 2")
    named = ask_for_all(poller, [("stock", {"warehouses": [name.upper()], "update_only": True})])["stock"]
    assert named["options"]["warehouses"] == [zoho_id]
    assert named["details"] > 0
    with pytest.raises(psycopg.Error, match="option refused") as refused:
        ask_for_all(poller, [("stock", {"warehouses": [name, "Atlantis"]})])
    assert "there is no warehouse 'Atlantis'" in str(refused.value.diag.message_detail)


@pytest.mark.parametrize("allowed", [True, False])
def test_stock_by_place_of_the_inventory_api_where_the_scope_allows(
    database: Database, allowed: bool
) -> None:
    """Books tells this organisation's stock, and no place of it."""
    scopes = ("ZohoBooks.fullaccess.all", *(["ZohoInventory.items.READ"] if allowed else []))
    organisation = Organisation(items=40, stock_by="inventory", clock=Clock(600), lenient=True)
    with fast_sandbox(organisation, credentials=Credentials(scopes=scopes)) as sandbox:
        poller = Poller(sandbox, database)
        assert poller.pull("warehouses").is_finished
        assert poller.pull("stock").is_finished
        stocked = [item for item in organisation.book("items").records if item.tracked]
        found = rows(poller, "select zoho_item_id, sum(on_hand) from zoho.stock_levels group by 1 order by 1")
        expected = sorted((item.id, item.on_hand) for item in stocked) if allowed else []
        assert [(zoho_id, int(on_hand)) for zoho_id, on_hand in found] == expected
        # what Books says of a product stays what it said
        assert rows(poller, "select count(*) from zoho.products where zoho_metadata ? 'brand'") == [(40,)]
        refused = rows(poller, "select api_path, value from tds.refused_parameter")
        assert refused == ([] if allowed else [("/inventory/v1", "ZohoInventory.items.READ")])
        assert poller.pull("stock").is_finished
        asked = [call for call in sandbox.ledger.calls if call.path.startswith("/inventory/v1/items/")]
        assert len(asked) == (2 * len(stocked) if allowed else 1), "a refusal is remembered"
