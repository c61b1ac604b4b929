"""Bills, vendor credits, payments to vendors, sales orders: the money holds after any mixture of edits."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tds_sandbox.errors import InvalidValueError
from tds_sandbox.jsontext import decode
from tds_sandbox.listing import list_records
from tds_sandbox.organisation import Organisation

MODULES = ("bills", "vendorcredits", "vendorpayments", "salesorders")


def documents(organisation: Organisation, entity: str) -> list[dict[str, Any]]:
    return [decode(organisation.detail_json(entity, record)) for record in organisation.book(entity).records]


def check(organisation: Organisation) -> None:
    owed: dict[str, Decimal] = defaultdict(Decimal)
    left: dict[str, Decimal] = defaultdict(Decimal)
    for bill in documents(organisation, "bills"):
        assert bill["sub_total"] == sum(line["item_total"] for line in bill["line_items"])
        paid = bill["payment_made"] + bill["vendor_credits_applied"]
        assert bill["payment_made"] == sum(one["amount"] for one in bill["payments"])
        assert bill["vendor_credits_applied"] == sum(one["amount"] for one in bill["vendor_credits"])
        if bill["status"] != "void":
            assert bill["balance"] == bill["total"] - paid
        assert (bill["status"] == "paid") == (
            bill["balance"] <= 0 and bill["status"] not in {"void", "draft"}
        )
        if bill["status"] in {"open", "overdue", "partially_paid"}:
            owed[bill["vendor_id"]] += bill["balance"]
    for payment in documents(organisation, "vendorpayments"):
        assert payment["amount"] == payment["balance"] + sum(b["amount_applied"] for b in payment["bills"])
        assert payment["balance"] >= 0
        left[payment["vendor_id"]] += payment["balance"]
    for credit in documents(organisation, "vendorcredits"):
        assert credit["total_credits_used"] == sum(one["amount"] for one in credit["bills_credited"])
        if credit["status"] != "void":
            assert credit["balance"] == credit["total"] - credit["total_credits_used"]
        if credit["status"] in {"open", "closed"}:
            assert (credit["status"] == "closed") == (credit["balance"] == 0)
            left[credit["vendor_id"]] += credit["balance"]
        else:
            assert credit["bills_credited"] == []
    for contact in documents(organisation, "contacts"):
        if contact["contact_type"] == "vendor":
            assert contact["outstanding_payable_amount"] == owed[contact["contact_id"]]
            assert contact["unused_credits_payable_amount"] == left[contact["contact_id"]]


@pytest.fixture
def organisation() -> Organisation:
    return Organisation(
        items=80, contacts=90, invoices=20, bills=60, vendorcredits=15, vendorpayments=30, salesorders=25
    )


def test_what_is_generated_adds_up(organisation: Organisation) -> None:
    check(organisation)
    assert {bill["status"] for bill in documents(organisation, "bills")} >= {"paid", "partially_paid"}
    assert any(payment["bills"] for payment in documents(organisation, "vendorpayments"))
    assert any(credit["bills_credited"] for credit in documents(organisation, "vendorcredits"))


def test_it_adds_up_after_any_mixture_of_edits(organisation: Organisation) -> None:
    for entity in MODULES * 50:
        organisation.edit(entity)
    for entity in MODULES * 5:
        organisation.create(entity)
    for entity in MODULES * 6:
        organisation.delete(entity)
    check(organisation)


def test_a_void_credit_stays_void(organisation: Organisation) -> None:
    change = organisation.edit("vendorcredits", kind="void")
    for _ in range(20):
        organisation.edit("vendorcredits", change.id)
    assert organisation.document("vendorcredits", change.id)["status"] == "void"
    check(organisation)


def test_a_payment_comes_after_its_bills_and_moves_their_time(organisation: Organisation) -> None:
    for payment in organisation.book("vendorpayments").records:
        for one in payment.applied:
            assert one.bill.created <= payment.created <= one.bill.modified


def test_payments_are_made_even_where_nothing_is_owed() -> None:
    organisation = Organisation(items=5, contacts=20, vendorpayments=4)
    assert len(organisation.book("vendorpayments").records) == 4
    organisation.create("vendorpayments")
    assert all(not payment["bills"] for payment in documents(organisation, "vendorpayments"))


def test_what_a_vendor_is_owed_changes_in_silence(organisation: Organisation) -> None:
    silent = organisation.book("contacts").entity.silent_keys
    before = {row["contact_id"]: row for row in documents(organisation, "contacts")}
    for entity in ("bills", "vendorcredits", "vendorpayments") * 20:
        organisation.edit(entity)
    for row in documents(organisation, "contacts"):
        assert {key for key in row if row[key] != before[row["contact_id"]][key]} <= silent


def test_the_list_of_bills_ignores_every_filter(organisation: Organisation) -> None:
    shown = [
        decode(list_records(organisation, "bills", query))
        for query in ({}, {"filter_by": "Status.Void"}, {"status": "paid"}, {"filter_by": "nonsense"})
    ]
    assert all(answer == shown[0] for answer in shown)
    assert len(shown[0]["bills"]) == 60
    with pytest.raises(InvalidValueError):
        list_records(organisation, "vendorcredits", {"filter_by": "nonsense"})


RECORDED: dict[str, list[str]] = json.loads((Path(__file__).parent / "recorded_keys.json").read_text())


@pytest.mark.parametrize("entity", ["bills", "vendorpayments"])
def test_keys_are_those_of_the_recorded_answers(organisation: Organisation, entity: str) -> None:
    for shape in ("list", "detail"):
        rows = [decode(line)["document"] for line in organisation.truth_lines(entity, shape)]
        keys = {key for row in rows for key in row if not key.startswith("cf_")}
        assert keys == set(RECORDED[f"{entity} {shape}"])
    context = decode(list_records(organisation, entity, {}))["page_context"]
    assert set(context) == set(RECORDED[f"{entity} list page_context"])
    inner, name = {"bills": ("line_items", "bill line"), "vendorpayments": ("bills", "vendorpayment bill")}[
        entity
    ]
    parts = [part for row in documents(organisation, entity) for part in row[inner]]
    assert {frozenset(part) for part in parts} == {frozenset(RECORDED[name])}


def test_what_is_bought_has_taxes_discounts_currencies_and_custom_fields() -> None:
    organisation = Organisation(items=100, contacts=900, bills=300, vendorpayments=100, salesorders=100)
    bills = documents(organisation, "bills")
    assert {bill["currency_code"] for bill in bills} >= {"USD", "RMB"}
    assert {bill["discount_type"] for bill in bills} == {"entity_level", "item_level"}
    assert any(isinstance(bill["discount"], str) for bill in bills)
    assert any(bill["taxes"] for bill in bills)
    assert any(bill["custom_field_hash"].get("cf_container") for bill in bills)
    assert any(len(bill["payments"]) > 1 for bill in bills)
    for document in bills + documents(organisation, "salesorders"):
        off = document["discount_total"] if document["discount_type"] == "entity_level" else 0
        assert document["tax_total"] == sum(tax["tax_amount"] for tax in document["taxes"])
        assert document["total"] == document["sub_total"] - off + document["tax_total"]


def test_a_bill_follows_what_its_payment_says(organisation: Organisation) -> None:
    payment = next(p for p in organisation.book("vendorpayments").records if p.applied)
    change = organisation.edit("vendorpayments", payment.id, kind="reference")
    bill = payment.applied[0].bill
    shown = organisation.document("bills", bill.id)
    assert payment.reference in {one["reference_number"] for one in shown["payments"]}
    assert ("bills", bill.id) in {(c.entity, c.id) for c in organisation.changes[change.number :]}


def test_every_edit_tells_all_that_it_changed() -> None:
    """A mirror fed by webhooks alone holds the truth, silent keys aside."""
    organisation = Organisation(
        items=20, contacts=30, bills=16, vendorcredits=6, vendorpayments=8, salesorders=6
    )

    def truth() -> dict[tuple[str, str], Any]:
        return {
            (entity, decode(line)["id"]): decode(line)["document"]
            for entity in (*MODULES, "contacts")
            for line in organisation.truth_lines(entity, silent=False)
        }

    mirror = truth()
    for number in range(100):
        seen = len(organisation.changes)
        entity = MODULES[number % len(MODULES)]
        act = organisation.delete if number % 11 == 5 else organisation.edit
        (organisation.create if number % 7 == 3 else act)(entity)
        now = truth()
        told = {(change.entity, change.id) for change in organisation.changes[seen:]}
        for key, document in now.items():
            assert key in told or mirror.get(key) == document, organisation.changes[seen]
        mirror = now


def test_lists_lack_what_details_have(organisation: Organisation) -> None:
    for entity, key in zip(MODULES, ("line_items", "line_items", "bills", "line_items"), strict=True):
        record = organisation.book(entity).records[0]
        assert key not in decode(organisation.row_json(entity, record))
        assert key in decode(organisation.detail_json(entity, record))


def test_other_modules_are_as_they_were_without() -> None:
    without = Organisation(items=30, contacts=40, invoices=20)
    beside = Organisation(items=30, contacts=40, invoices=20, salesorders=5)
    assert documents(without, "invoices") == documents(beside, "invoices")


@pytest.mark.parametrize("entity", MODULES)
def test_every_kind_of_edit_changes_the_document_and_its_time(entity: str) -> None:
    organisation = Organisation(
        items=80, contacts=90, bills=300, vendorcredits=60, vendorpayments=150, salesorders=90
    )
    for kind, edit in organisation.book(entity).entity.edits.items():
        organisation.clock.advance(5)
        before = {
            record.id: organisation.document(entity, record.id)
            for record in organisation.book(entity).records
            if edit.suits(record)
        }
        change = organisation.edit(entity, kind=kind)
        after = organisation.document(entity, change.id)
        changed = {key for key in after if after[key] != before[change.id].get(key)}
        assert "last_modified_time" in changed, kind
        assert changed - {"last_modified_time"}, kind


def test_deletion_is_refused_where_something_hangs_on_the_record(organisation: Organisation) -> None:
    for entity in ("vendorcredits", "bills", "salesorders"):
        module = organisation.book(entity).entity
        record = next(
            r for r in organisation.book(entity).records if module.refuses_deletion(organisation, r)
        )
        change = organisation.delete(entity, record.id)
        assert (change.event, record.status) == ("edit", "void")
        check(organisation)
    payment = next(r for r in organisation.book("vendorpayments").records if r.applied)
    bill = payment.applied[0].bill
    assert organisation.delete("vendorpayments", payment.id).event == "delete"
    assert payment.id not in {
        one["payment_id"] for one in organisation.document("bills", bill.id)["payments"]
    }
    check(organisation)


def test_the_seed_decides_everything() -> None:
    def made(seed: int) -> list[list[str]]:
        organisation = Organisation(
            items=50, contacts=60, bills=60, vendorcredits=15, vendorpayments=30, salesorders=25, seed=seed
        )
        return [list(organisation.truth_lines(entity)) for entity in (*MODULES, "contacts")]

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_thousands_of_bills_in_about_a_second() -> None:
    began = time.process_time()
    Organisation(items=2205, contacts=2467, bills=2000, vendorcredits=300, vendorpayments=1500)
    assert time.process_time() - began < 3
