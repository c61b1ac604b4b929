"""The arithmetic of every invoice holds, as generated and after every edit."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest

from tds_sandbox.errors import UnsuitableEditError
from tds_sandbox.organisation import Organisation
from tests.sandbox.conftest import Documents


def percent(text: Any) -> Decimal:
    return Decimal(text.removesuffix("%")) if isinstance(text, str) else Decimal(0)


def check(invoice: dict[str, Any]) -> None:
    """Recompute an invoice from its lines alone, by the rules of the official documents."""
    step = Decimal(1).scaleb(-invoice["price_precision"])

    def rounded(amount: Decimal) -> Decimal:
        return amount.quantize(step, ROUND_HALF_UP)

    sub_total = Decimal(0)
    by_tax: dict[str, Decimal] = {}
    item_level = invoice["discount_type"] == "item_level"
    for line in invoice["line_items"]:
        gross = Decimal(line["quantity"]) * Decimal(line["rate"])
        off = rounded(gross * percent(line["discount"]) / 100)
        assert line["discount_amount"] == off
        assert line["item_total"] == rounded(gross) - off
        sub_total += line["item_total"]
    assert invoice["sub_total"] == sub_total
    if item_level:
        off = Decimal(0)
        assert invoice["discount_total"] == sum(line["discount_amount"] for line in invoice["line_items"])
    else:
        discount = invoice["discount"]
        off = rounded(sub_total * percent(discount) / 100) if isinstance(discount, str) else Decimal(discount)
        assert invoice["discount_total"] == min(off, sub_total)
    share = 1 - off / sub_total if invoice["is_discount_before_tax"] else Decimal(1)
    rates = {}
    for line in invoice["line_items"]:
        if line["tax_id"]:
            rates[line["tax_id"]] = Decimal(line["tax_percentage"])
            by_tax[line["tax_id"]] = by_tax.get(line["tax_id"], Decimal(0)) + line["item_total"] * share
    taxes = {tax_id: rounded(base * rates[tax_id] / 100) for tax_id, base in by_tax.items()}
    assert {tax["tax_id"]: tax["tax_amount"] for tax in invoice["taxes"]} == taxes
    assert invoice["tax_total"] == sum(taxes.values())
    total = sub_total - off + invoice["tax_total"] + invoice["shipping_charge"] + invoice["adjustment"]
    assert invoice["total"] == total
    assert total >= 0
    paid = invoice["payment_made"] + invoice["credits_applied"] + invoice["write_off_amount"]
    status = invoice["status"]
    assert invoice["balance"] == (0 if status == "void" else total - paid)
    assert invoice["balance"] >= 0
    for key in ("total", "balance", "sub_total", "tax_total", "payment_made", "discount_total"):
        assert rounded(Decimal(invoice[key])) == invoice[key]
    if status == "paid":
        assert invoice["balance"] == 0
    if status in {"draft", "sent", "viewed", "overdue", "void"}:
        assert paid == 0
    if status == "partially_paid":
        assert 0 < paid < total


def balances(organisation: Organisation) -> dict[str, Decimal]:
    owed: dict[str, Decimal] = {}
    for truth in organisation.truth("invoices"):
        invoice = truth.document
        if not truth.deleted and invoice["status"] in {"sent", "viewed", "overdue", "partially_paid"}:
            owed[invoice["customer_id"]] = owed.get(invoice["customer_id"], Decimal(0)) + invoice["balance"]
    return owed


def check_balances(organisation: Organisation) -> None:
    owed = balances(organisation)
    for truth in organisation.truth("contacts"):
        assert truth.document["outstanding_receivable_amount"] == owed.get(truth.id, 0)


def test_generated_invoices(documents: Documents) -> None:
    invoices = documents("invoices", "detail")
    assert len(invoices) == 1000
    for invoice in invoices:
        check(invoice)


def test_after_many_edits() -> None:
    organisation = Organisation(items=100, contacts=60, invoices=150)
    for _ in range(600):
        organisation.edit("invoices")
    for _ in range(20):
        organisation.create("invoices")
        organisation.delete("invoices")
    for truth in organisation.truth("invoices"):
        check(truth.document)
    check_balances(organisation)
    kinds = {change.kind for change in organisation.changes}
    assert kinds >= {"quantity", "add_line", "remove_line", "payment", "send", "void", "due_date", "notes"}


def test_items_and_customers_in_use_cannot_be_deleted() -> None:
    organisation = Organisation(items=20, contacts=20, invoices=30)
    invoice = organisation.book("invoices").records[0]
    item_id = invoice.lines[0].item_id
    change = organisation.delete("items", item_id)
    assert (change.event, change.kind) == ("edit", "status")
    assert organisation.find("items", item_id).active is False
    change = organisation.delete("contacts", invoice.customer_id)
    assert (change.event, organisation.find("contacts", invoice.customer_id).active) == ("edit", False)
    for other in [i for i in organisation.book("invoices").records if not i.paid]:
        assert organisation.delete("invoices", other.id).event == "delete"
    for paid in list(organisation.book("invoices").records):
        change = organisation.delete("invoices", paid.id)
        assert (change.event, change.kind, paid.status, paid.balance) == ("edit", "void", "void", 0)
        check(next(t.document for t in organisation.truth("invoices") if t.id == paid.id))
    check_balances(organisation)
    with pytest.raises(UnsuitableEditError):
        organisation.void(organisation.book("invoices").records[0].id)
