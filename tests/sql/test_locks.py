"""Rows are locked in the order of their keys, whoever writes them: what would wait for each other in another order does not.

Each story has two sessions. One is held in the middle of its work, after the first row it locks; the other then does its whole
work and waits for that row; then the first goes on. If the second took a later row before it waited, the two wait for each other.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror, product

LATER = "2026-06-10T09:46:21-0400"


def detail(mirror: Mirror, entity: str, key: str, *records: dict[str, Any]) -> None:
    for record in records:
        mirror.receive(entity, {key: record}, shape="detail")


def interleave(database: Database, first_row: str, first: str, second: str) -> None:
    """Runs first and second at once: first has its row already, second waits for it, first goes on."""
    failed: list[BaseException] = []

    def run(conn: psycopg.Connection) -> None:
        try:
            conn.execute(second)
        except psycopg.Error as error:
            failed.append(error)

    with database.connect() as one, database.connect() as two, database.connect(autocommit=True) as watch:
        one.execute("set deadlock_timeout = '200ms'")
        two.execute("set deadlock_timeout = '200ms'")
        assert one.execute(first_row).rowcount == 1
        thread = threading.Thread(target=run, args=[two])
        thread.start()
        waits = "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
        while not watch.execute(waits, [two.info.backend_pid]).fetchall():
            assert thread.is_alive(), f"the second did not wait: {failed}"
            time.sleep(0.005)
        try:
            one.execute(first)
            one.commit()
        finally:
            one.close()
            thread.join()
        assert not failed, failed


def places(*names: str) -> dict[str, Any]:
    return {"locations": [{"location_id": name, "location_stock_on_hand": 1} for name in names]}


def test_stock_that_vanishes_and_warehouses_that_are_linked(database: Database, mirror: Mirror) -> None:
    detail(mirror, "products", "item", *(product(n, brand="", **places("a", "b")) for n in "12"))
    mirror.process()
    for item in (product("1", brand="", **places("b")), product("2", brand="", **places("a", "b"))):
        doc = psycopg.types.json.Jsonb(item)
        mirror.conn.execute(
            "update zoho.products set zoho_metadata = %s where zoho_item_id = %s", [doc, item["item_id"]]
        )
    mirror.conn.execute(
        "insert into zoho.warehouses (organization_id, zoho_warehouse_id, zoho_metadata, synced_at, sync_version, "
        "sync_observed_at, sync_rank) select %s, w, '{}', now(), 1, now(), 1 from unnest(array['a', 'b']) w",
        [ORGANIZATION],
    )
    interleave(
        database,
        "select from zoho.stock_levels where zoho_item_id = '1' and zoho_warehouse_id = 'a' for update",
        f"select tds.link_warehouses(array['{ORGANIZATION}', '{ORGANIZATION}'], array['a', 'b'])",
        f"select tds.write_stock_levels(array['{ORGANIZATION}', '{ORGANIZATION}'], array['1', '2'], now())",
    )
    assert mirror.value("select count(*) from zoho.stock_levels where warehouse_id is not null") == 3


def invoice(invoice_id: str, *items: str, **changed: Any) -> dict[str, Any]:
    lines = [{"line_item_id": f"{invoice_id}{n}", "item_id": item} for n, item in enumerate(items)]
    return {"invoice_id": invoice_id, "line_items": lines, "last_modified_time": MOMENT} | changed


CLAIM = "select claim_id from tds.claim(%s, 1000)"


def test_lines_that_vanish_and_products_that_are_linked(database: Database, mirror: Mirror) -> None:
    detail(mirror, "invoices", "invoice", invoice("1", "5"), invoice("2", "5", "6"))
    mirror.process()
    detail(mirror, "products", "item", product("5", brand=""), product("6", brand=""))
    claim = mirror.value(CLAIM, "products")
    mirror.value("select touches is not null from tds.apply_claim(%s)", claim)
    detail(
        mirror,
        "invoices",
        "invoice",
        invoice("1", last_modified_time=LATER),
        invoice("2", "5", "6", total=1, last_modified_time=LATER),
    )
    claim = mirror.value(CLAIM, "invoices")
    interleave(
        database,
        "select from zoho.invoice_line_items where zoho_invoice_id = '1' for update",
        f"select tds.link_products(array['{ORGANIZATION}', '{ORGANIZATION}'], array['5', '6'])",
        f"select tds.apply_claim({claim})",
    )


def test_prices_that_vanish_and_products_that_are_linked(database: Database, mirror: Mirror) -> None:
    def listed(pricebook_id: str, *items: str, at: str) -> dict[str, Any]:
        told = [{"item_id": item, "pricebook_rate": 1} for item in items]
        return {"pricebook_id": pricebook_id, "pricebook_items": told, "last_modified_time": at}

    detail(mirror, "pricelists", "pricebook", *(listed(n, "5", "6", at=MOMENT) for n in "12"))
    mirror.process()
    detail(mirror, "products", "item", product("5", brand=""), product("6", brand=""))
    claim = mirror.value(CLAIM, "products")
    mirror.value("select touches is not null from tds.apply_claim(%s)", claim)
    detail(mirror, "pricelists", "pricebook", listed("1", "6", at=LATER), listed("2", "6", "5", at=LATER))
    claim = mirror.value(CLAIM, "pricelists")
    interleave(
        database,
        "select from zoho.product_prices where zoho_pricebook_id = '1' and zoho_item_id = '5' for update",
        f"select tds.link_products(array['{ORGANIZATION}', '{ORGANIZATION}'], array['5', '6'])",
        f"select tds.apply_claim({claim})",
    )


@pytest.mark.parametrize("rows", ["invoices", "bills"])
def test_a_document_is_linked_before_its_lines_as_it_is_written(
    database: Database, mirror: Mirror, rows: str
) -> None:
    """The writer takes the document and then its lines; so does who links them."""
    key, head, contacts, contact_id = {
        "invoices": ("invoice", "invoice_id", "customers", "customer_id"),
        "bills": ("bill", "bill_id", "vendors", "vendor_id"),
    }[rows]

    def document(**changed: Any) -> dict[str, Any]:
        lines = [{"line_item_id": "1", "item_id": "5"}]
        return {head: "1", contact_id: "10", "line_items": lines, "last_modified_time": MOMENT} | changed

    detail(mirror, rows, key, document())
    mirror.process()
    kind = contacts[:-1]
    detail(mirror, contacts, "contact", {"contact_id": "10", "contact_type": kind, "billing_address": {}})
    detail(mirror, "products", "item", product("5", brand=""))
    for queue in (contacts, "products"):
        claim = mirror.value(
            "select claim_id from tds.claim((select queue from tds.entity where entity = %s), 1000)", queue
        )
        mirror.value("select touches is not null from tds.apply_claim(%s)", claim)
    detail(
        mirror,
        rows,
        key,
        document(line_items=[{"line_item_id": "1", "item_id": "5", "rate": 2}], last_modified_time=LATER),
    )
    claim = mirror.value(CLAIM, rows)
    interleave(
        database,
        f"select from zoho.{rows} for update",
        f"select tds.apply_claim({claim})",
        f"select tds.link_{rows}(array['{ORGANIZATION}'], array['1'])",
    )


def test_wants_that_are_settled_and_wants_that_are_noted(database: Database, mirror: Mirror) -> None:
    """An adjustment asks for items whose details another worker is just applying."""
    items = [str(n) for n in range(1, 10)]

    def adjusted(adjustment_id: str) -> dict[str, Any]:
        lines = [{"item_id": item, "quantity_adjusted": 1} for item in items]
        return {"inventory_adjustment": {"inventory_adjustment_id": adjustment_id, "line_items": lines}}

    mirror.receive("stock", adjusted("1"))
    mirror.process()
    detail(mirror, "products", "item", *(product(item, brand="") for item in items))
    details = mirror.value(CLAIM, "products")
    mirror.receive("stock", adjusted("2"))
    adjustment = mirror.value(CLAIM, "stock_adjustments")
    interleave(
        database,
        "select from tds.wanted_detail where zoho_id = '1' for update",
        f"select tds.apply_claim({adjustment})",
        f"select tds.apply_claim({details})",
    )
