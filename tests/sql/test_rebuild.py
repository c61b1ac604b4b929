"""A rebuild: columns, child rows, links and what hooks write, made anew of the documents beside the live flow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import MOMENT, Mirror, product

LATER = "2026-06-10T09:46:21-0400"


def remap(mirror: Mirror, entity: str, key: str, expression: str, list_key: str = "") -> None:
    """Changes the expression of one field, as a new release of its file would."""
    changed = mirror.conn.execute(
        "update tds.field set expression = %s where entity = %s and list_key = %s and key = %s",
        [expression, entity, list_key, key],
    )
    assert changed.rowcount == 1
    mirror.conn.execute("select tds.build()")


def invoice(invoice_id: str, **changed: Any) -> dict[str, Any]:
    lines = [{"item_id": "5", "name": f"line {n}", "quantity": n} for n in (1, 2)]
    return {
        "invoice_id": invoice_id,
        "customer_id": "77",
        "line_items": lines,
        "last_modified_time": MOMENT,
    } | changed


def contact(contact_id: str, kind: str = "customer", **changed: Any) -> dict[str, Any]:
    return {
        "contact_id": contact_id,
        "contact_name": f"Contact {contact_id}",
        "contact_type": kind,
        "billing_address": {"city": "Basra", "zip": "61001"},
        "shipping_address": {"city": "Erbil"},
        "last_modified_time": MOMENT,
    } | changed


def rebuilt(mirror: Mirror, entity: str, **named: Any) -> dict[str, Any]:
    extra = "".join(f", {name} => {value}" for name, value in named.items())
    return dict(mirror.value(f"call tds.rebuild('{entity}', false{extra})"))


def test_lines_are_made_anew_and_only_those_that_differ(mirror: Mirror) -> None:
    for number in "1234":
        lines: dict[str, Any] = {"line_items": []} if number == "3" else {}
        mirror.receive("invoices", {"invoice": invoice(number, **lines)}, shape="detail")
    mirror.process()
    mirror.conn.execute("update zoho.invoice_line_items set name = 'LINE 2' where line_number = 2")
    mirror.conn.execute(
        "update zoho.invoice_line_items set name = 'LINE 1' where (zoho_invoice_id, line_number) = ('4', 1)"
    )
    remap(mirror, "invoices", "name", "upper(tds.json_text(d.name))", "line_items")
    [shown] = mirror.rows("select * from tds.rebuild_difference('invoices', 1)")
    assert (shown["column_name"], shown["rows_differ"], shown["zoho_id"]) == ("invoice_line_items", 2, "1")
    assert [row["name"] for row in shown["before"]] == ["line 1", "LINE 2"]
    assert [row["name"] for row in shown["after"]] == ["LINE 1", "LINE 2"]
    assert rebuilt(mirror, "invoices", batch=1) == {"looked": 4, "written": 2, "refused": 0}
    names = "select zoho_invoice_id || name from zoho.invoice_line_items order by 1"
    assert [row["?column?"] for row in mirror.rows(names)] == [f"{i}LINE {n}" for i in "124" for n in (1, 2)]
    assert rebuilt(mirror, "invoices")["written"] == 0


def test_rows_that_are_missing_or_too_many_are_a_difference(mirror: Mirror) -> None:
    for number in "12":
        mirror.receive("invoices", {"invoice": invoice(number)}, shape="detail")
    mirror.process()
    mirror.conn.execute("delete from zoho.invoice_line_items where (zoho_invoice_id, line_number) = ('1', 2)")
    mirror.conn.execute(
        "insert into zoho.invoice_line_items (organization_id, zoho_invoice_id, line_number, zoho_metadata, synced_at) "
        "select organization_id, '2', 3, '{}', now() from zoho.invoices limit 1"
    )
    assert rebuilt(mirror, "invoices")["written"] == 2
    rows = "select zoho_invoice_id, line_number from zoho.invoice_line_items order by 1, 2"
    assert [tuple(r.values()) for r in mirror.rows(rows)] == [("1", 1), ("1", 2), ("2", 1), ("2", 2)]


def test_links_that_are_lost_or_wrong_are_mended(mirror: Mirror) -> None:
    mirror.receive("customers", {"contact": contact("77")}, shape="detail")
    mirror.receive("products", {"item": product("5", brand="")}, shape="detail")
    for number in "123":
        mirror.receive("invoices", {"invoice": invoice(number)}, shape="detail")
    mirror.process()
    mirror.conn.execute("update zoho.invoices set customer_id = null where zoho_invoice_id = '1'")
    mirror.conn.execute("update zoho.invoices set customer_id = -1 where zoho_invoice_id = '2'")
    mirror.conn.execute("update zoho.invoice_line_items set product_id = null where zoho_invoice_id = '3'")
    shown = mirror.value("call tds.rebuild('invoices')")["differences"]
    assert {name: told["rows_differ"] for name, told in shown.items()} == {
        "customer_id": 2,
        "invoice_line_items": 1,
    }
    assert rebuilt(mirror, "invoices")["written"] == 3
    linked = (
        "select bool_and(i.customer_id = c.id) as customers, bool_and(l.product_id = p.id) as products from zoho.invoices i "
        "join zoho.invoice_line_items l using (organization_id, zoho_invoice_id), zoho.customers c, zoho.products p"
    )
    assert [tuple(r.values()) for r in mirror.rows(linked)] == [(True, True)]


@pytest.mark.parametrize("entity", ["customers", "vendors"])
def test_contacts_keep_their_kind_and_what_a_hook_writes_is_made_anew_if_asked(
    mirror: Mirror, entity: str
) -> None:
    mirror.receive("customers", {"contact": contact("77")}, shape="detail")
    mirror.receive("vendors", {"contact": contact("88", "vendor")}, shape="detail")
    mirror.process()
    mirror.conn.execute("update zoho.contact_addresses set city = 'nowhere' where address_type = 'billing'")
    mirror.conn.execute("delete from zoho.contact_addresses where address_type = 'shipping'")
    other = "vendors" if entity == "customers" else "customers"
    assert rebuilt(mirror, entity) == {"looked": 1, "written": 1, "refused": 0}, (
        "its own, and what a hook writes"
    )
    named = mirror.rows(
        f"select zoho_id, table_name, row_key, column_name, what from tds.rebuild_differences('{other}')"
    )
    own = {"customers": "77", "vendors": "88"}[other]
    assert named == [
        {
            "zoho_id": own,
            "table_name": "contact_addresses",
            "row_key": "1",
            "column_name": "city",
            "what": "differs",
        },
        {
            "zoho_id": own,
            "table_name": "contact_addresses",
            "row_key": "2",
            "column_name": "",
            "what": "missing",
        },
    ]
    for name in ("customers", "vendors"):
        mirror.conn.execute(
            "update tds.field set expression = 'upper(tds.json_text(d.contact_name))' "
            "where entity = %s and key = 'contact_name'",
            [name],
        )
    mirror.conn.execute("select tds.build()")
    mirror.conn.execute("update zoho.contacts set name = 'CONTACT 88' where zoho_contact_id = '88'")
    mirror.conn.execute("update zoho.contact_addresses set city = 'nowhere' where address_type = 'billing'")
    for name in ("customers", "vendors"):
        assert rebuilt(mirror, name, batch=1) == {"looked": 1, "written": 1, "refused": 0}
        assert rebuilt(mirror, name, batch=1) == {"looked": 1, "written": 0, "refused": 0}
    assert rebuilt(mirror, entity, batch=1, everything="true") == {"looked": 1, "written": 1, "refused": 0}
    contacts = (
        "select c.zoho_contact_id, c.contact_type, c.name, string_agg(a.city, ' ' order by a.position) as cities "
        "from zoho.contacts c join zoho.contact_addresses a using (organization_id, contact_type, zoho_contact_id) "
        "group by 1, 2, 3 order by 1"
    )
    assert [tuple(r.values()) for r in mirror.rows(contacts)] == [
        ("77", "customer", "CONTACT 77", "Basra Erbil"),
        ("88", "vendor", "CONTACT 88", "Basra Erbil"),
    ]


def test_a_document_the_mapping_cannot_read_stays_and_stops_nobody(mirror: Mirror) -> None:
    for number in "123":
        mirror.receive("products", {"item": product(number, brand=f"{number}")}, shape="detail")
    mirror.process()
    mirror.conn.execute("update tds.field set reader = 'date' where entity = 'products' and key = 'brand'")
    mirror.conn.execute(
        "update tds.field set expression = 'tds.json_date(d.brand)::text' where entity = 'products' and key = 'brand'"
    )
    mirror.conn.execute("select tds.build()")
    mirror.receive("products", {"item": product("2", brand="2026-06-01", last_modified_time=LATER)})
    mirror.process()
    assert rebuilt(mirror, "products") == {"looked": 3, "written": 0, "refused": 2}
    assert [r["brand"] for r in mirror.rows("select brand from products order by zoho_item_id")] == [
        "1",
        "2026-06-01",
        "3",
    ]


@contextmanager
def rebuilding(database: Database, mirror: Mirror, statement: str, held: str) -> Iterator[list[Any]]:
    """Runs the statement in a session of its own, that waits at the row `held` selects until the block is left."""
    told: list[Any] = []

    def run(conn: psycopg.Connection) -> None:
        told.append(conn.execute(statement).fetchone())

    with database.connect(autocommit=True) as conn, database.connect() as holder:
        assert holder.execute(held).rowcount == 1
        thread = threading.Thread(target=run, args=[conn])
        thread.start()
        waits = "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
        while not mirror.rows(waits, conn.info.backend_pid):
            assert thread.is_alive()
            time.sleep(0.005)
        try:
            yield told
        finally:
            holder.rollback()
            thread.join()


def test_what_is_applied_between_two_batches_wins_and_loses_nothing(
    database: Database, mirror: Mirror
) -> None:
    """Records 1 and 2 are rebuilt when the third holds it up: 1 (done), 4 (yet to come) and 7 (new) are told anew meanwhile."""
    for number in range(1, 7):
        mirror.receive("invoices", {"invoice": invoice(str(number), invoice_number="a")}, shape="detail")
    mirror.process()
    remap(mirror, "invoices", "invoice_number", "upper(tds.json_text(d.invoice_number))")
    statement = "call tds.rebuild('invoices', false, 1)"
    with rebuilding(
        database, mirror, statement, "select from zoho.invoices where zoho_invoice_id = '3' for update"
    ) as told:
        for live_one in "147":
            body = invoice(
                live_one, invoice_number="live", last_modified_time=LATER, line_items=[{"name": "new"}]
            )
            mirror.receive("invoices", {"invoice": body}, shape="detail")
        assert mirror.process("invoices")["applied"] == 3
    assert told == [({"looked": 7, "written": 5, "refused": 0},)]
    rows = (
        "select i.invoice_number, count(l.*), max(l.name) from zoho.invoices i left join zoho.invoice_line_items l "
        "using (organization_id, zoho_invoice_id) group by i.zoho_invoice_id, 1 order by i.zoho_invoice_id"
    )
    old, live = ("A", 2, "line 2"), ("LIVE", 1, "new")
    assert [tuple(r.values()) for r in mirror.rows(rows)] == [live, old, old, live, old, old, live]


def test_what_is_applied_within_a_batch_wins_over_what_it_has_read(
    database: Database, mirror: Mirror
) -> None:
    for number in range(1, 5):
        mirror.receive("invoices", {"invoice": invoice(str(number), invoice_number="a")}, shape="detail")
    mirror.process()
    remap(mirror, "invoices", "invoice_number", "upper(tds.json_text(d.invoice_number))")
    statement = "call tds.rebuild('invoices', false, 1000)"
    with rebuilding(
        database, mirror, statement, "select from zoho.invoices where zoho_invoice_id = '1' for update"
    ) as told:
        body = invoice("3", invoice_number="live", last_modified_time=LATER, line_items=[{"name": "new"}])
        mirror.receive("invoices", {"invoice": body}, shape="detail")
        assert mirror.process("invoices")["applied"] == 1
    assert told == [({"looked": 4, "written": 3, "refused": 0},)]
    assert [
        r["invoice_number"]
        for r in mirror.rows("select invoice_number from invoices order by zoho_invoice_id")
    ] == ["A", "A", "LIVE", "A"]
    assert mirror.value("select count(*) from zoho.invoice_line_items where zoho_invoice_id = '3'") == 1


def test_a_link_that_is_made_while_a_batch_is_written_is_not_lost(database: Database, mirror: Mirror) -> None:
    """The batch began before the customer came, and writes the second invoice after that was linked."""
    mirror.receive("invoices", {"invoice": invoice("1", invoice_number="a", customer_id="")}, shape="detail")
    mirror.receive("invoices", {"invoice": invoice("2", invoice_number="a")}, shape="detail")
    mirror.process()
    remap(mirror, "invoices", "invoice_number", "upper(tds.json_text(d.invoice_number))")
    linked = "select customer_id is not null from zoho.invoices where zoho_invoice_id = '2'"
    statement = "call tds.rebuild('invoices', false, 1000)"
    with rebuilding(
        database, mirror, statement, "select from zoho.invoices where zoho_invoice_id = '1' for update"
    ) as told:
        mirror.receive("customers", {"contact": contact("77")}, shape="detail")
        assert mirror.process("contacts")["applied"] == 1
        assert mirror.value(linked) is True
    assert told == [({"looked": 2, "written": 2, "refused": 0},)]
    assert mirror.value(linked) is True


def test_an_operator_rebuilds_with_no_right_on_the_tables(database: Database, mirror: Mirror) -> None:
    mirror.receive("invoices", {"invoice": invoice("1")}, shape="detail")
    mirror.process()
    with database.connect(autocommit=True, role="tds_operator") as conn:
        row = conn.execute("call tds.rebuild('invoices', false, everything => true)").fetchone()
    assert row == ({"looked": 1, "written": 1, "refused": 0},)
