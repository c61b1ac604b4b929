"""Price lists, credit notes, customer payments, stock by place, pictures and settings."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tds_sandbox.clock import Clock
from tds_sandbox.errors import SandboxError, UnsuitableEditError
from tds_sandbox.jsontext import decode
from tds_sandbox.limits import UNLIMITED
from tds_sandbox.organisation import Change, Organisation
from tds_sandbox.serve import running
from tds_sandbox.webhooks import WebhookSettings
from tests.sandbox.conftest import HTTP, sign_in

RECORDED: dict[str, list[str]] = json.loads((Path(__file__).parent / "recorded_keys.json").read_text())
NEW = ("pricebooks", "creditnotes", "customerpayments")
START = 1_790_000_000.0


@pytest.fixture
def organisation() -> Organisation:
    return Organisation(
        clock=Clock(start=START), items=150, contacts=80, invoices=120, pricebooks=9, creditnotes=40,
        customerpayments=100,
    )  # fmt: skip


def documents(organisation: Organisation, entity: str, shape: str = "detail") -> list[dict[str, Any]]:
    lines = organisation.truth_lines(entity, shape, deleted=False)
    return [decode(line)["document"] for line in lines]


def total(rows: list[dict[str, Any]], key: str) -> Decimal:
    return sum((row[key] for row in rows), Decimal(0))


def check_balances(organisation: Organisation) -> None:
    """Every amount that was paid or credited is on both sides, and customers owe what is left."""
    paid: dict[str, Decimal] = defaultdict(Decimal)
    credited: dict[str, Decimal] = defaultdict(Decimal)
    unused: dict[str, Decimal] = defaultdict(Decimal)
    owed: dict[str, Decimal] = defaultdict(Decimal)
    for payment in documents(organisation, "customerpayments"):
        applied = total(payment["invoices"], "amount_applied")
        refunded = total(payment["payment_refunds"], "amount_fcy")
        assert payment["amount"] == applied + refunded + payment["unused_amount"]
        assert payment["unused_amount"] >= 0
        unused[payment["customer_id"]] += payment["unused_amount"]
        for row in payment["invoices"]:
            paid[row["invoice_id"]] += row["amount_applied"]
    for note in documents(organisation, "creditnotes"):
        gone = total(note["invoices_credited"], "credited_amount")
        gone += total(note["creditnote_refunds"], "amount_fcy")
        assert note["total"] == total(note["line_items"], "item_total") + note["tax_total"]
        assert note["balance"] == (0 if note["status"] == "void" else note["total"] - gone)
        assert (note["status"] == "closed") is (note["status"] != "void" and note["balance"] == 0)
        unused[note["customer_id"]] += note["balance"] if note["status"] == "open" else 0
        for row in note["invoices_credited"]:
            credited[row["invoice_id"]] += row["credited_amount"]
    for invoice in documents(organisation, "invoices"):
        assert invoice["payment_made"] == paid[invoice["invoice_id"]]
        assert invoice["credits_applied"] == credited[invoice["invoice_id"]]
        assert invoice["balance"] >= 0
        if invoice["status"] in {"sent", "viewed", "overdue", "partially_paid"}:
            owed[invoice["customer_id"]] += invoice["balance"]
    for contact in documents(organisation, "contacts"):
        assert contact["outstanding_receivable_amount"] == owed[contact["contact_id"]]
        assert contact["unused_credits_receivable_amount"] == unused[contact["contact_id"]]


@pytest.mark.parametrize("entity", NEW)
def test_keys_are_those_of_the_recorded_answers(organisation: Organisation, entity: str) -> None:
    for shape in ("list", "detail"):
        assert set().union(*documents(organisation, entity, shape)) == set(RECORDED[f"{entity} {shape}"])
    rows = {
        "creditnotes": ("line_items", {frozenset(RECORDED["creditnote line"])}),
        "customerpayments": ("invoices", {frozenset(RECORDED["payment allocation"])}),
        "pricebooks": (
            "pricebook_items",
            {frozenset(RECORDED["price by unit"]), frozenset(RECORDED["price by volume"])},
        ),
    }
    key, expected = rows[entity]
    seen = {frozenset(row) for document in documents(organisation, entity) for row in document[key]}
    assert seen == expected


def test_times_of_lists_and_details_differ(organisation: Organisation) -> None:
    for entity in ("pricebooks", "customerpayments"):
        assert all("last_modified_time" in row for row in documents(organisation, entity, "list"))
        assert not any("last_modified_time" in row for row in documents(organisation, entity))
    assert all("updated_time" in row for row in documents(organisation, "customerpayments"))


@pytest.mark.parametrize("entity", NEW)
def test_every_kind_of_edit_changes_the_document(organisation: Organisation, entity: str) -> None:
    module = organisation.book(entity).entity
    for kind, edit in module.edits.items():
        organisation.clock.advance(5)
        suited = [r.id for r in organisation.book(entity).records if edit.suits(r)]
        assert suited, kind
        before = {one: organisation.document(entity, one) for one in suited}
        stamps = {one: organisation.find(entity, one).modified for one in suited}
        change = organisation.edit(entity, kind=kind)
        after = organisation.document(entity, change.id)
        times = {"last_modified_time", "updated_time"}
        changed = {key for key in after if after[key] != before[change.id].get(key)}
        assert changed - times, kind
        moved = organisation.find(entity, change.id).modified != stamps[change.id]
        assert moved is not edit.silent
        if edit.silent:
            assert changed <= module.silent_keys


def test_price_lists_are_of_every_kind() -> None:
    books = documents(Organisation(items=2218, pricebooks=7), "pricebooks")
    kinds = {(book["pricebook_type"], book["pricing_scheme"]) for book in books}
    assert kinds == {("per_item", "unit"), ("per_item", "volume"), ("fixed_percentage", "")}
    assert 7_500 < sum(len(book["pricebook_items"]) for book in books) < 8_100
    assert {book["currency_code"] for book in books} == {"USD", "IQD", ""}
    assert {book["sales_or_purchase_type"] for book in books} == {"sales", "purchases"}
    assert {book["status"] for book in books} == {"active", "inactive"}
    volume = next(book for book in books if book["pricing_scheme"] == "volume")
    for item in volume["pricebook_items"]:
        brackets = item["price_brackets"]
        assert [b["start_quantity"] for b in brackets[1:]] == [b["end_quantity"] + 1 for b in brackets[:-1]]
        assert brackets[-1]["end_quantity"] == ""
    ids = [b["pricebook_item_id"] for i in volume["pricebook_items"] for b in i["price_brackets"]]
    assert len(ids) == len(set(ids))
    more = documents(Organisation(items=30, pricebooks=40), "pricebooks")
    assert len({book["rounding_type"] for book in more}) == 6


def test_a_deleted_item_leaves_every_price_list() -> None:
    organisation = Organisation(items=30, pricebooks=3)
    first = organisation.book("pricebooks").records[0]
    item_id = first.prices[0].item.id
    organisation.delete("items", item_id)
    shown = organisation.document("pricebooks", first.id)["pricebook_items"]
    assert item_id not in {row["item_id"] for row in shown}
    assert len(shown) == len(first.prices) - 1


def test_generated_payments_account_for_the_invoices(organisation: Organisation) -> None:
    check_balances(organisation)
    payments = documents(organisation, "customerpayments")
    assert len(payments) == 100
    assert any(len(payment["invoices"]) > 1 for payment in payments)
    assert any(payment["unused_amount"] > 0 for payment in payments)
    assert {note["status"] for note in documents(organisation, "creditnotes")} == {
        "draft", "open", "closed", "void",
    }  # fmt: skip


def test_they_change_nothing_that_was_generated_before(organisation: Organisation) -> None:
    plain = Organisation(clock=Clock(start=START), items=150, contacts=80, invoices=120)
    for entity in ("items", "invoices"):
        for shape in ("list", "detail"):
            with_, without = documents(organisation, entity, shape), documents(plain, entity, shape)
            for row in (*with_, *without):
                row.pop("contact", None)  # what the customer is to be credited
            assert with_ == without


def test_balances_hold_after_many_edits(organisation: Organisation) -> None:
    for entity in ("customerpayments", "creditnotes", "invoices") * 60:
        organisation.edit(entity)
    check_balances(organisation)
    for entity in ("customerpayments", "creditnotes", "invoices") * 8:
        organisation.create(entity)
        organisation.delete(entity)
    for invoice in [i for i in organisation.book("invoices").records if i.paid][:10]:
        organisation.delete("invoices", invoice.id)
    for note in list(organisation.book("creditnotes").records)[:10]:
        organisation.delete("creditnotes", note.id)
    check_balances(organisation)


def test_a_deleted_payment_stamps_its_invoices(organisation: Organisation) -> None:
    payment = next(p for p in organisation.book("customerpayments").records if len(p.applications) > 1)
    invoices = [one.invoice for one in payment.applications]
    heard: list[Change] = []
    organisation.listeners.append(lambda change, _: heard.append(change))
    organisation.delete("customerpayments", payment.id)
    assert [change.event for change in heard] == ["delete", *["edit"] * len(invoices)]
    assert {change.id for change in heard} == {payment.id, *(invoice.id for invoice in invoices)}
    assert {invoice.modified for invoice in invoices} == {int(START)}
    truth = next(t for t in organisation.truth("customerpayments") if t.id == payment.id)
    assert truth.deleted
    assert len(truth.document["invoices"]) == len(invoices)


def test_paying_an_invoice_makes_a_payment(organisation: Organisation) -> None:
    change = organisation.edit("invoices", kind="payment")
    payment = organisation.book("customerpayments").records[-1]
    assert [one.invoice.id for one in payment.applications] == [change.id]
    assert organisation.changes[-1].id == payment.id
    check_balances(organisation)


def test_faults_can_be_planted_in_every_module() -> None:
    organisation = Organisation(
        items=100, contacts=80, invoices=150, pricebooks=12, creditnotes=60, customerpayments=100,
        bad_records=36,
    )  # fmt: skip
    planted = {(row["entity"], row["fault"]) for row in organisation.planted_records()}
    assert len([one for one in planted if one[0] in NEW]) == 18
    for row in organisation.planted_records():
        node = decode(organisation.detail_json(row["entity"], organisation.find(row["entity"], row["id"])))
        if "detail" in row["shapes"] and not row["absent"]:
            for step in row["path"].split("."):
                node = node[int(step)] if isinstance(node, list) else node[step]
            assert node == row["value"]


def test_two_thousand_are_quick() -> None:
    import time

    began = time.process_time()
    Organisation(items=2000, contacts=2000, invoices=1000, creditnotes=2000, customerpayments=2000)
    assert time.process_time() - began < 3


def test_stock_agrees_with_the_places() -> None:
    organisation = Organisation(items=40, stock_by="warehouses")
    for _ in range(400):
        organisation.edit("items", silent=True)
    for _ in range(60):
        organisation.edit("items", kind="transfer")
    lowest = Decimal(0)
    for item in documents(organisation, "items"):
        assert "locations" not in item
        for place in item.get("warehouses", ()):
            assert not any(key.startswith("location_") for key in place)
            lowest = min(lowest, place["warehouse_stock_on_hand"])
        if "warehouses" in item:
            assert total(item["warehouses"], "warehouse_stock_on_hand") == item["stock_on_hand"]
    assert lowest < 0
    with pytest.raises(SandboxError, match="shelves"):
        Organisation(stock_by="shelves")


def test_pictures() -> None:
    organisation = Organisation(items=60)
    with running(organisation, limits=UNLIMITED) as sandbox, sign_in(sandbox) as books:
        records = organisation.book("items").records
        pictured = [item for item in records if item.image_id][:2]
        pages = [books.get(f"/items/{item.id}/image") for item in pictured]
        assert {page.headers["content-type"] for page in pages} == {"image/png"}
        assert all(page.content.startswith(b"\x89PNG") for page in pages)
        assert pages[0].content != pages[1].content
        assert books.get(f"/items/{pictured[0].id}/image").content == pages[0].content
        organisation.edit("items", pictured[0].id, kind="image")
        assert books.get(f"/items/{pictured[0].id}/image").content != pages[0].content
        organisation.edit("items", pictured[0].id, kind="remove_image")
        for missing in (pictured[0].id, "999"):
            gone = books.get(f"/items/{missing}/image")
            assert (gone.status_code, gone.json()["code"]) == (404, 1002)


def test_settings_have_a_truth_and_can_change() -> None:
    organisation = Organisation(items=20)
    pages = {"locations": "/locations", "currencies": "/settings/currencies", "taxes": "/settings/taxes"}
    with running(organisation, limits=UNLIMITED) as sandbox, sign_in(sandbox) as books:
        for name, path in pages.items():
            for kind in organisation.book(name).entity.edits:
                before = books.get(path).text
                change = organisation.edit(name, kind=kind)
                assert books.get(path).text != before
                assert change.entity == name
            truth = [decode(x) for x in HTTP.get(f"{sandbox.url}/_sandbox/truth/{name}").text.splitlines()]
            assert [row["document"] for row in truth] == decode(books.get(path).text)[name]
        status = {row["status"] for row in books.get("/locations").json()["locations"]}
        assert status == {"active", "inactive"}
    with pytest.raises(UnsuitableEditError):
        organisation.delete("taxes", organisation.taxes[0].id)


def test_webhooks_settings_of_stock() -> None:
    with pytest.raises(SandboxError, match="stock webhooks"):
        WebhookSettings(stock="everything")
