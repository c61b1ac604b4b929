"""Bills, vendor credits, payments to vendors, sales orders: the money holds after any mixture of edits."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest

from sandbox.errors import InvalidValueError
from sandbox.jsontext import decode
from sandbox.listing import list_records
from sandbox.organisation import Organisation

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


def test_lists_lack_what_details_have(organisation: Organisation) -> None:
    for entity, key in zip(MODULES, ("line_items", "line_items", "bills", "line_items"), strict=True):
        record = organisation.book(entity).records[0]
        assert key not in decode(organisation.row_json(entity, record))
        assert key in decode(organisation.detail_json(entity, record))


def test_other_modules_are_as_they_were_without() -> None:
    without = Organisation(items=30, contacts=40, invoices=20)
    beside = Organisation(items=30, contacts=40, invoices=20, salesorders=5)
    assert documents(without, "invoices") == documents(beside, "invoices")
