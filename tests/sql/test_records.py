"""What becomes of the records of each entity: mapping, links, deletions, wanted details."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg

from tests.db.servers import Database
from tests.journeys.waiting import wait_until
from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror, product

LATER = "2026-06-09T10:00:00-0400"


def contact(contact_id: str, **changed: Any) -> dict[str, Any]:
    return {
        "contact_id": contact_id,
        "contact_name": "متجر النور",
        "company_name": "Al Noor",
        "contact_type": "customer",
        "customer_sub_type": "business",
        "status": "active",
        "first_name": "Nour",
        "last_name": "Hadi",
        "email": "",
        "phone": "",
        "currency_code": "IQD",
        "payment_terms": 7,
        "payment_terms_label": "Net 7",
        "outstanding_receivable_amount": 120.5,
        "last_modified_time": MOMENT,
    } | changed


def invoice(invoice_id: str, *lines: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        "invoice_id": invoice_id,
        "invoice_number": "INV-000001",
        "customer_id": "77",
        "customer_name": "متجر النور",
        "date": "2026-06-09",
        "due_date": "",
        "status": "sent",
        "sub_total": 30.3,
        "tax_total": 0,
        "discount": "10.00%",
        "discount_total": 3.03,
        "total": 27.27,
        "payment_made": 7.27,
        "balance": 20.0,
        "currency_code": "USD",
        "exchange_rate": 0.00076,
        "line_items": list(lines),
        "last_modified_time": MOMENT,
    } | changed


def line(number: int, item_id: str = "5", total: float = 30.3) -> dict[str, Any]:
    return {
        "line_item_id": f"9{number}",
        "item_id": item_id,
        "name": "Cable",
        "quantity": 3,
        "rate": 10.1,
        "discount": "10%",
        "tax_percentage": "",
        "item_total": total,
    }


def test_a_product_has_every_column(mirror: Mirror) -> None:
    mirror.receive(
        "organizations",
        {"organization": {"organization_id": ORGANIZATION, "name": "Shop", "currency_code": "USD"}},
        shape="detail",
    )
    mirror.receive(
        "products",
        {
            "item": product(
                "5",
                sku="tsh00059",
                description="RCA",
                rate="1,500.00",
                stock_on_hand=120,
                tax_percentage="15%",
                category_name="Cables",
                unit="pcs",
                purchase_rate=0.75,
                reorder_level="",
                brand="Acme",
                image_document_id="2646610000097534017",
                cf_shelf="A1",
            )
        },
        shape="detail",
    )
    mirror.process()
    row = mirror.rows("select * from products")[0]
    metadata = row.pop("zoho_metadata")
    assert metadata["cf_shelf"] == "A1"
    assert {k: v for k, v in row.items() if not k.startswith("sync") and k not in ("id", "synced_at")} == {
        "organization_id": ORGANIZATION,
        "zoho_item_id": "5",
        "name": "Cable 5",
        "sku": "tsh00059",
        "description": "RCA",
        "unit_price": Decimal("1500.00"),
        "stock_quantity": Decimal(120),
        "available_stock": None,
        "committed_stock": None,
        "actual_available_stock": None,
        "actual_committed_stock": None,
        "available_for_sale_stock": None,
        "is_active": True,
        "tax_rate": Decimal(15),
        "category_name": "Cables",
        "image_document_id": "2646610000097534017",
        "image_url": None,
        "unit": "pcs",
        "purchase_rate": Decimal("0.75"),
        "reorder_level": None,
        "brand": "Acme",
        "currency": "USD",
        "zoho_created_at": datetime.fromisoformat("2026-06-09T13:46:21+00:00"),
        "zoho_modified_at": datetime.fromisoformat("2026-06-09T13:46:21+00:00"),
        "deleted_at": None,
    }


def test_the_organisation_may_come_after_its_products(mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("5")})
    mirror.process()
    assert mirror.value("select currency from zoho.products") is None
    body = {"organization": {"organization_id": ORGANIZATION, "currency_code": "IQD"}}
    mirror.receive("organizations", body, shape="detail")
    mirror.process()
    assert mirror.value("select currency from zoho.products") == "IQD"


def test_a_webhook_may_be_a_hint(mirror: Mirror) -> None:
    """A whole body is believed; where an administrator thinks otherwise, it is applied and the detail is read."""
    whole = product("5", brand="Acme")
    mirror.receive("products", {"item": whole})
    mirror.process()
    assert mirror.rows("select * from tds.wanted_detail") == []
    mirror.conn.execute("update tds.setting set value = '[\"products\"]' where name = 'webhook_is_hint'")
    mirror.receive("products", {"item": whole | {"name": "New", "last_modified_time": LATER}})
    mirror.process()
    assert mirror.value("select name from zoho.products") == "New"
    assert mirror.rows("select zoho_id, reason from tds.wanted_detail") == [
        {"zoho_id": "5", "reason": "a webhook is a hint"}
    ]
    mirror.receive("products", {"item": whole | {"name": "New", "last_modified_time": LATER}}, shape="detail")
    mirror.process()
    assert mirror.rows("select * from tds.wanted_detail") == []


def test_absent_is_not_null(mirror: Mirror) -> None:
    """A list row, though newer, leaves alone what only a detail says."""
    mirror.receive("products", {"item": product("5", brand="Acme")}, shape="detail")
    mirror.receive("products", {"items": [product("5", name="New", last_modified_time=LATER)]}, shape="list")
    mirror.process()
    assert mirror.rows("select name, brand from zoho.products") == [{"name": "New", "brand": "Acme"}]
    assert mirror.rows("select zoho_id, reason from tds.wanted_detail") == [
        {"zoho_id": "5", "reason": "detail older than the record"}
    ]
    mirror.receive(
        "products", {"item": product("5", name="New", last_modified_time=LATER, brand="Bolt")}, shape="detail"
    )
    mirror.process()
    assert mirror.value("select brand from zoho.products") == "Bolt"
    assert mirror.rows("select * from tds.wanted_detail") == []


def test_contacts_go_where_their_type_says_whatever_the_address(mirror: Mirror) -> None:
    mirror.receive("customers", {"contact": contact("77")})
    mirror.receive("customers", {"contact": contact("78", contact_type="vendor", currency_code="RMB")})
    mirror.receive("vendors", {"contact": {"contact_id": "79", "contact_name": "Untold"}})
    mirror.process()
    assert mirror.rows(
        "select zoho_contact_id, customer_type, full_name, currency, payment_terms_label from zoho.customers"
    ) == [
        {
            "zoho_contact_id": "77",
            "customer_type": "B2B",
            "full_name": "Nour Hadi",
            "currency": "IQD",
            "payment_terms_label": "Net 7",
        }
    ]
    assert mirror.rows("select zoho_contact_id, currency from zoho.vendors order by 1") == [
        {"zoho_contact_id": "78", "currency": "RMB"},
        {"zoho_contact_id": "79", "currency": None},
    ]
    mirror.receive("vendors", {"contact": contact("79")}, shape="detail")
    mirror.process()
    assert mirror.rows(
        "select tableoid::regclass::text as home, name from zoho.contacts where zoho_contact_id = '79'"
    ) == [{"home": "zoho.customers", "name": "متجر النور"}]


def test_addresses_follow_the_document_that_lists_them(mirror: Mirror) -> None:
    home = {"attention": "", "address": "Karrada 1", "city": "Baghdad", "zip": "10069", "country": "Iraq"}
    full = contact(
        "77",
        billing_address=home,
        shipping_address=dict.fromkeys(home, ""),
        addresses=[home | {"city": "Basra"}],
    )
    mirror.receive("customers", {"contact": full}, shape="detail")
    mirror.receive("customers", {"contacts": [contact("77", last_modified_time=LATER)]}, shape="list")
    mirror.process()
    query = "select position, address_type, city from customer_addresses order by 1"
    assert mirror.rows(query) == [
        {"position": 1, "address_type": "billing", "city": "Baghdad"},
        {"position": 3, "address_type": "additional", "city": "Basra"},
    ]
    assert mirror.value("select billing_address ->> 'zip' from customers") == "10069"
    mirror.receive(
        "customers", {"contact": full | {"addresses": [], "last_modified_time": LATER}}, shape="detail"
    )
    mirror.process()
    assert mirror.rows(query) == [{"position": 1, "address_type": "billing", "city": "Baghdad"}]


def test_an_invoice_keeps_every_cent_and_every_line(mirror: Mirror) -> None:
    mirror.receive("invoices", {"invoice": invoice("3", line(1), line(2, item_id="", total=0))})
    mirror.process()
    row = mirror.rows("select * from invoices")[0]
    assert (
        row["subtotal"],
        row["discount_amount"],
        row["total_amount"],
        row["amount_paid"],
        row["balance"],
    ) == tuple(map(Decimal, ("30.3", "3.03", "27.27", "7.27", "20.0")))
    assert (row["exchange_rate"], row["invoice_date"], row["due_date"]) == (
        Decimal("0.00076"),
        date(2026, 6, 9),
        None,
    )
    assert row["subtotal_differs"] is False
    lines = mirror.rows("select * from invoice_line_items order by line_number")
    assert [
        (x["zoho_item_id"], x["quantity"], x["rate"], x["discount"], x["total_amount"]) for x in lines
    ] == [
        ("5", Decimal(3), Decimal("10.1"), "10%", Decimal("30.3")),
        (None, Decimal(3), Decimal("10.1"), "10%", Decimal(0)),
    ]
    changed = invoice("3", line(1, total=31), sub_total=31.5, last_modified_time=LATER)
    mirror.receive("invoices", {"invoice": changed})
    mirror.process()
    assert mirror.value("select count(*) from zoho.invoice_line_items") == 1
    assert mirror.value("select subtotal_differs from invoices") is True


def test_parents_never_block_and_link_when_they_come(mirror: Mirror) -> None:
    mirror.receive("invoices", {"invoice": invoice("3", line(1))})
    mirror.process()
    linked = """select i.customer_id, l.product_id from zoho.invoices i
                  join zoho.invoice_line_items l using (organization_id, zoho_invoice_id)"""
    assert mirror.rows(linked) == [{"customer_id": None, "product_id": None}]
    mirror.receive("customers", {"contact": contact("77")})
    mirror.receive("products", {"item": product("5")})
    mirror.process()
    assert mirror.rows(linked) == mirror.rows(
        "select c.id as customer_id, p.id as product_id from customers c, products p"
    )
    mirror.receive("invoices", {"invoice": invoice("4", line(1))})
    mirror.process()
    assert mirror.value("select count(*) from zoho.invoices where customer_id is not null") == 2


def test_a_deletion_is_a_hint_until_the_api_proves_it(mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("5", brand="")}, shape="detail")
    mirror.receive("products", {"item": product("5", brand="")}, event="delete")
    mirror.process()
    assert mirror.value("select deleted_at from zoho.products") is None
    assert mirror.value("select reason from tds.wanted_detail") == "said to be deleted"
    mirror.receive("products", {"item": {"item_id": "5"}}, shape="detail", event="delete")
    mirror.process()
    assert mirror.value("select deleted_at is not null and name = 'Cable 5' from zoho.products"), (
        "a tombstone keeps what was known"
    )
    assert mirror.rows("select * from tds.wanted_detail") == []

    mirror.receive("products", {"item": product("5", name="Late webhook")})
    mirror.process()
    assert mirror.value("select deleted_at is not null from zoho.products"), (
        "a webhook does not raise the dead"
    )
    mirror.receive(
        "products", {"item": product("5", name="Back", brand="", last_modified_time=LATER)}, shape="detail"
    )
    mirror.process()
    assert mirror.rows("select name, deleted_at from zoho.products") == [{"name": "Back", "deleted_at": None}]


def test_a_hint_wants_the_detail_and_a_detail_sent_earlier_does_not_settle_it(mirror: Mirror) -> None:
    now: datetime = mirror.value("select now()")
    mirror.receive("products", {"item": {"item_id": "5", "rate": 9}})
    mirror.process()
    assert mirror.value("select reason from tds.wanted_detail") == "webhook without last_modified_time"
    earlier, later = now - timedelta(hours=1), now + timedelta(hours=1)
    mirror.receive("products", {"item": product("5", brand="")}, shape="detail", observed_at=earlier)
    mirror.process()
    assert mirror.value("select count(*) from tds.wanted_detail") == 1
    assert mirror.value("select unit_price from zoho.products") == 9, "it was read before the webhook came"
    mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [str(later)])
    mirror.receive("products", {"item": product("5", brand="")}, shape="detail", observed_at=later)
    mirror.process()
    assert mirror.value("select count(*) from tds.wanted_detail") == 0
    assert mirror.value("select unit_price from zoho.products") == Decimal("1.5")


def test_details_are_leased_newest_first_and_wait_after_a_failure(mirror: Mirror) -> None:
    for item_id in "12":
        mirror.receive(
            "invoices", {"invoices": [{"invoice_id": item_id, "last_modified_time": MOMENT}]}, shape="list"
        )
    mirror.process()
    taken = "select zoho_id from tds.take_details('invoices', %s, 1)"
    assert mirror.rows(taken, ORGANIZATION) == [{"zoho_id": "2"}]
    assert mirror.rows(taken, ORGANIZATION) == [{"zoho_id": "1"}]
    assert mirror.rows(taken, ORGANIZATION) == []
    mirror.conn.execute("select tds.detail_failed('invoices', %s, '1', 'HTTP 500')", [ORGANIZATION])
    assert mirror.rows("select tries, error from tds.wanted_detail where zoho_id = '1'") == [
        {"tries": 1, "error": "HTTP 500"}
    ]
    mirror.conn.execute("select set_config('tds.fake_now', (now() + interval '3 minutes')::text, false)")
    assert {row["zoho_id"] for row in mirror.rows(taken.replace(", 1)", ", 9)"), ORGANIZATION)} == {"1", "2"}


def test_a_lease_dies_with_its_fetcher_unless_its_answer_is_stored(
    mirror: Mirror, database: Database
) -> None:
    invoices = [{"invoice_id": item_id, "last_modified_time": MOMENT} for item_id in "12"]
    mirror.receive("invoices", {"invoices": invoices}, shape="list")
    mirror.process()
    taken = "select zoho_id from tds.take_details('invoices', %s, 9, pg_backend_pid())"
    fetcher = psycopg.connect(database.conninfo, autocommit=True)
    fetcher.execute("select tds.set_budget(%s)", [ORGANIZATION])
    assert sorted(fetcher.execute(taken, [ORGANIZATION]).fetchall()) == [("1",), ("2",)]
    assert mirror.rows(taken, ORGANIZATION) == []
    assert mirror.rows("select * from tds.details_to_take(%s)", ORGANIZATION) == []
    body = json.dumps({"invoice": {"invoice_id": "1", "last_modified_time": MOMENT, "line_items": []}})
    stored = "select tds.store_detail('invoices', %s, '{1}', %b, tds.now())"
    assert fetcher.execute(stored, [ORGANIZATION, body.encode()]).fetchone() == ("queued",)
    fetcher.close()
    wait_until(lambda: mirror.value("select tds.living_sessions() = '{}'"), "the fetcher's session is gone")
    assert mirror.rows("select * from tds.details_to_take(%s)", ORGANIZATION) == [
        {"entity": "invoices", "at_most": 100}
    ]
    assert mirror.rows(taken, ORGANIZATION) == [{"zoho_id": "2"}], "1 is only not processed yet"
    mirror.process()
    assert mirror.rows("select zoho_id from tds.wanted_detail") == [{"zoho_id": "2"}]


def test_a_repaired_row_has_the_version_of_the_detail_that_repaired_it(mirror: Mirror) -> None:
    detail = {
        "invoice_id": "1",
        "last_modified_time": MOMENT,
        "reference_number": "as it is",
        "line_items": [],
    }
    version = "select reference_number, sync_rank, sync_modified_at, sync_read_at from zoho.invoices"
    stored = "select tds.store_detail('invoices', %s, '{1}', %b, '2026-06-09T14:00:00Z')"
    told = json.dumps({"invoice": detail}).encode()
    mirror.conn.execute("select tds.want_detail('invoices', %s, '1', 'test')", [ORGANIZATION])
    mirror.conn.execute(stored, [ORGANIZATION, told])
    mirror.process()
    read = mirror.rows(version)
    assert [(row["reference_number"], row["sync_rank"]) for row in read] == [("as it is", 3)]
    mirror.conn.execute(
        "update zoho.invoices set reference_number = 'spoilt', sync_rank = 2, sync_modified_at = now()"
    )
    mirror.conn.execute("select tds.repair_records('invoices', '{1}', %s)", [ORGANIZATION])
    assert mirror.rows("select zoho_id from tds.take_details('invoices', %s)", ORGANIZATION) == [
        {"zoho_id": "1"}
    ]
    mirror.conn.execute(stored, [ORGANIZATION, told])
    assert mirror.rows(version) == read, "it does not wait for its turn"
    mirror.process()
    assert mirror.rows(version) == read
    newer = detail | {"reference_number": "edited", "last_modified_time": "2026-06-10T09:46:21-0400"}
    mirror.receive("invoices", {"invoice": newer})
    mirror.process()
    assert mirror.value("select reference_number from zoho.invoices") == "edited"


def test_a_new_need_does_not_wait_for_the_lease_of_an_older_one(mirror: Mirror) -> None:
    mirror.receive(
        "invoices", {"invoices": [{"invoice_id": "1", "last_modified_time": MOMENT}]}, shape="list"
    )
    mirror.process()
    taken = "select zoho_id from tds.take_details('invoices', %s)"
    assert mirror.rows(taken, ORGANIZATION) == [{"zoho_id": "1"}]
    assert mirror.rows(taken, ORGANIZATION) == []
    mirror.conn.execute("update tds.wanted_detail set wanted_at = wanted_at + interval '1 second'")
    assert mirror.rows(taken, ORGANIZATION) == [{"zoho_id": "1"}]
    assert mirror.rows(taken, ORGANIZATION) == []


def test_a_run_goes_on_where_it_stopped_and_takes_no_page_out_of_turn(mirror: Mirror) -> None:
    run = mirror.value("select tds.start_run('products', 'o')")
    page = b'{"items": [{"item_id": "1"}]}'
    mirror.conn.execute("select tds.store_page(%s, 1, %b, now(), true, 1)", [run, page])
    assert mirror.value("select tds.start_run('products', 'o')") == run
    refused = mirror.rows("select tds.start_run('products', 'o', '{\"restart\": true}') as run_id")
    assert refused[0]["run_id"] != run
    assert mirror.rows("select state, next_page from tds.run order by run_id") == [
        {"state": "cancelled", "next_page": 2},
        {"state": "running", "next_page": 1},
    ]


def test_public_names_of_others_are_left_alone(mirror: Mirror) -> None:
    mirror.conn.execute("drop view public.products; create table public.products (mine int)")
    mirror.conn.execute("select tds.describe_mirror()")
    assert mirror.value("select count(mine) = 0 from public.products"), "the table is still theirs"
