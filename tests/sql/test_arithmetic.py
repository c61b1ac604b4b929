"""What must add up in a document: in its currency's decimals, with credits, write-offs, withheld tax.

What is right in Zoho is never flagged.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror

LATER = "2026-06-10T09:46:21-0400"
CURRENCIES = [
    {"currency_id": "1", "currency_code": "USD", "price_precision": 2},
    {"currency_id": "2", "currency_code": "IQD", "price_precision": 0},
    {"currency_id": "3", "currency_code": "KWD", "price_precision": 3},
]
KINDS = {
    "invoices": ("invoice", "invoice_id", "payment_made"),
    "bills": ("bill", "bill_id", "payment_made"),
    "credit_notes": ("creditnote", "creditnote_id", "total_credits_used"),
    "vendor_credits": ("vendor_credit", "vendor_credit_id", "total_credits_used"),
}
FLAGS = "select subtotal_differs as subtotal, total_differs as total, balance_differs as balance from zoho."


def document(entity: str, **changed: Any) -> dict[str, Any]:
    """Two lines of 10, a tax of 1, nothing paid; without decimals of its own."""
    _, id_key, paid_key = KINDS[entity]
    return {
        id_key: "60",
        paid_key: 0,
        "line_items": [{"item_id": "1", "item_total": 10}, {"item_id": "2", "item_total": 10}],
        "sub_total": 20,
        "tax_total": 1,
        "discount_type": "item_level",
        "discount_total": 0,
        "total": 21,
        "balance": 21,
        "currency_code": "USD",
        "status": "open",
        "last_modified_time": MOMENT,
    } | changed


def tell(mirror: Mirror, entity: str, **changed: Any) -> None:
    mirror.receive(entity, {KINDS[entity][0]: document(entity, **changed)}, shape="detail")
    assert mirror.process()["applied"] == 1


def tell_currencies(mirror: Mirror, **changed: Any) -> None:
    mirror.receive(
        "currencies", {"currencies": [{**currency, **changed} for currency in CURRENCIES]}, shape="list"
    )
    assert mirror.process()["applied"] > 0


def flags(mirror: Mirror, entity: str, zoho_id: str = "60") -> dict[str, bool | None]:
    [row] = mirror.rows(f"{FLAGS}{entity} where zoho_{KINDS[entity][1]} = %s", zoho_id)
    return row


OFF_BY = [
    # code, told by, decimals of the document itself, off by, flagged
    ("IQD", "code", None, 0.4, False),
    ("IQD", "code", None, 0.6, True),
    ("IQD", "id", None, 0.4, False),
    ("KWD", "code", None, 0.001, True),
    ("KWD", "id", None, 0.001, True),
    ("KWD", "code", None, 0.0004, False),
    ("USD", "code", None, 0.004, False),
    ("USD", "code", None, 0.01, True),
    ("IQD", "code", 2, 0.4, True),
    ("KWD", "code", 2, 0.001, False),
    ("KWD", "code", "2", 0.001, False),
    ("KWD", "code", "", 0.001, True),
    ("KWD", "code", 17, 0.001, True),
    ("EUR", "code", None, 0.004, False),
    ("EUR", "code", None, 0.01, True),
    ("EUR", "id", None, 0.01, True),
]


@pytest.mark.parametrize("first", ["currencies", "document"])
@pytest.mark.parametrize("entity", ["invoices", "bills"])
def test_amounts_are_compared_in_the_decimals_of_the_currency(
    mirror: Mirror, entity: str, first: str
) -> None:
    """By the document's own price_precision, else its currency's, else 2; whichever of the two was told first."""
    if first == "currencies":
        tell_currencies(mirror)
    ids = {"USD": "1", "IQD": "2", "KWD": "3", "EUR": "9"}
    record_key, id_key, _ = KINDS[entity]
    for number, (code, by, own, off, _) in enumerate(OFF_BY):
        changed: dict[str, Any] = {id_key: str(number), "balance": 21 + off}
        changed |= (
            {"currency_code": code} if by == "code" else {"currency_code": "", "currency_id": ids[code]}
        )
        changed |= {} if own is None else {"price_precision": own}
        mirror.receive(entity, {record_key: document(entity, **changed)}, shape="detail")
    assert mirror.process()["applied"] == len(OFF_BY)
    if first == "document":
        tell_currencies(mirror)
    rows = mirror.rows(f"select balance_differs from zoho.{entity} order by zoho_{id_key}::int")
    assert [(*case[:4], row["balance_differs"]) for case, row in zip(OFF_BY, rows, strict=True)] == OFF_BY


def test_decimals_that_change_are_judged_anew_and_only_where_the_document_has_none(mirror: Mirror) -> None:
    tell_currencies(mirror)
    tell(mirror, "invoices", currency_code="KWD", balance=21.001)
    tell(mirror, "invoices", invoice_id="61", currency_code="KWD", balance=21.001, price_precision=3)
    judged = "select balance_differs from zoho.invoices order by zoho_invoice_id"
    assert [r["balance_differs"] for r in mirror.rows(judged)] == [True, True]
    before = mirror.rows("select sync_version, synced_at from zoho.invoices order by zoho_invoice_id")
    tell_currencies(mirror, price_precision=2)
    assert [r["balance_differs"] for r in mirror.rows(judged)] == [False, True]
    assert mirror.rows("select * from tds.rebuild_difference('invoices')") == []
    assert mirror.rows("select sync_version, synced_at from zoho.invoices order by zoho_invoice_id") == before
    tell_currencies(mirror, price_precision=2, exchange_rate=3)
    assert [r["balance_differs"] for r in mirror.rows(judged)] == [False, True]


def test_another_organisations_currency_says_nothing(mirror: Mirror) -> None:
    mirror.receive("currencies", {"currencies": CURRENCIES}, shape="list")
    mirror.process()
    mirror.conn.execute("update zoho.currencies set organization_id = 'another'")
    tell(mirror, "invoices", currency_code="KWD", balance=21.001)
    assert mirror.rows("select organization_id, balance_differs from zoho.invoices") == [
        {"organization_id": ORGANIZATION, "balance_differs": False}
    ]


RIGHT = {"subtotal": False, "total": False, "balance": False}


@pytest.mark.parametrize(
    ("entity", "changed", "expected"),
    [
        ("invoices", {"payment_made": 5, "balance": 16}, False),
        ("invoices", {"payment_made": 5, "balance": 15}, True),
        ("invoices", {"payment_made": 5, "credits_applied": 6, "balance": 10}, False),
        ("invoices", {"payment_made": 5, "credits_applied": 6, "balance": 16}, True),
        ("invoices", {"payment_made": 5, "write_off_amount": 16, "balance": 0, "status": "paid"}, False),
        ("invoices", {"payment_made": 5, "write_off_amount": 16, "balance": 16, "status": "paid"}, True),
        (
            "invoices",
            {
                "payment_made": 5,
                "credits_applied": 6,
                "write_off_amount": 1,
                "tax_amount_withheld": 2,
                "balance": 7,
            },
            False,
        ),
        ("invoices", {"payment_made": 20, "tax_amount_withheld": 1, "balance": 0, "status": "paid"}, False),
        ("invoices", {"payment_made": 20, "tax_amount_withheld": 1, "balance": 5}, True),
        ("invoices", {"payment_made": "", "balance": 21}, None),
        ("invoices", {"payment_made": 20, "payment_discount": 1, "balance": 0, "status": "paid"}, None),
        ("invoices", {"payment_made": 21, "payment_discount": 1, "balance": 0, "status": "paid"}, False),
        ("invoices", {"payment_made": 0, "total_retention_amount": 2, "balance": 19}, None),
        ("invoices", {"balance": 0, "status": "void"}, None),
        ("invoices", {"balance": 0, "status": "draft"}, None),
        ("bills", {"payment_made": 5, "balance": 16}, False),
        ("bills", {"payment_made": 5, "balance": 15}, True),
        ("bills", {"payment_made": 5, "vendor_credits_applied": 6, "balance": 10}, False),
        ("bills", {"payment_made": 5, "vendor_credits_applied": 6, "balance": 16}, True),
        ("bills", {"payment_made": 21, "balance": 0, "status": "paid"}, False),
        ("bills", {"payment_made": 21, "balance": 21, "status": "paid"}, True),
        ("bills", {"payment_made": 20, "tax_amount_withheld": 1, "balance": 0, "status": "paid"}, False),
        ("bills", {"payment_made": 0, "tds_total": 2, "balance": 19}, None),
        ("bills", {"payment_made": 0, "tds_total": 2, "balance": 21}, False),
        ("credit_notes", {"total_credits_used": 5, "total_refunded_amount": 6, "balance": 10}, False),
        ("credit_notes", {"total_credits_used": 5, "total_refunded_amount": 6, "balance": 16}, True),
        ("vendor_credits", {"total_credits_used": 21, "balance": 0, "status": "closed"}, False),
        ("vendor_credits", {"total_credits_used": 20, "balance": 0, "status": "closed"}, True),
    ],
)
def test_a_balance_is_what_is_not_paid_credited_written_off_or_withheld(
    shared: Mirror, own_id: str, entity: str, changed: dict[str, Any], expected: bool | None
) -> None:
    tell(shared, entity, **{KINDS[entity][1]: own_id}, **changed)
    assert flags(shared, entity, own_id) == RIGHT | {"balance": expected}


@pytest.mark.parametrize(
    ("entity", "changed", "expected"),
    [
        # a discount of the whole document, before tax or after it, in each of the keys that tell it
        (
            "invoices",
            {"discount_type": "entity_level", "discount_total": 4, "tax_total": 0.8, "total": 16.8},
            False,
        ),
        (
            "invoices",
            {
                "discount_type": "entity_level",
                "is_discount_before_tax": False,
                "discount_total": 4,
                "total": 17,
            },
            False,
        ),
        ("invoices", {"discount_type": "entity_level", "discount_total": 4, "total": 21}, True),
        (
            "bills",
            {"discount_type": "entity_level", "discount_total": "", "discount_amount": 4, "total": 17},
            False,
        ),
        ("credit_notes", {"discount_type": "entity_level", "discount_total": None, "total": 21}, False),
        (
            "credit_notes",
            {"discount_type": "entity_level", "discount_total": "", "discount": 0, "total": 20},
            True,
        ),
        (
            "credit_notes",
            {"discount_type": "entity_level", "discount_total": "", "discount": "10%", "total": 19},
            None,
        ),
        (
            "credit_notes",
            {"discount_type": "entity_level", "discount_total": "", "discount": 2, "total": 19},
            None,
        ),
        # a discount of the lines is in their totals already
        ("invoices", {"discount_total": 4}, False),
        ("invoices", {"discount_total": 4, "total": 17}, True),
        ("invoices", {"discount_total": 4, "is_discount_before_tax": False, "total": 17}, None),
        # taxes that are withheld, collected, or owed to the state by the buyer
        ("bills", {"tds_total": 2, "total": 19}, None),
        ("bills", {"is_tds_applied": True, "total": 19}, None),
        ("bills", {"is_reverse_charge_applied": True, "total": 20}, None),
        ("bills", {"is_reverse_charge_applied": False, "total": 20}, True),
        ("invoices", {"tcs_total": 2, "total": 23}, None),
        ("invoices", {"tax_amount_withheld": 1, "total": 20}, None),
        ("invoices", {"tds_total": 0, "total": 20}, True),
        ("invoices", {"shipping_charge": 3, "total": 24}, False),
        ("invoices", {"shipping_charge": 3, "shipping_charge_tax": 0.15, "total": 24.15}, None),
        ("invoices", {"roundoff_value": -0.01, "total": 20.99}, False),
        ("invoices", {"is_inclusive_tax": "true", "sub_total": 19}, None),
        ("vendor_credits", {"tax_total": "", "total": 20}, None),
    ],
)
def test_a_total_that_zoho_makes_otherwise_is_not_flagged(
    shared: Mirror, own_id: str, entity: str, changed: dict[str, Any], expected: bool | None
) -> None:
    told = {KINDS[entity][1]: own_id, "balance": ""} | changed
    tell(shared, entity, **told)
    assert flags(shared, entity, own_id)["total"] is expected


def test_documents_as_zoho_has_sent_them_are_not_flagged(mirror: Mirror) -> None:
    """Heads of recorded answers, with the keys that their arithmetic goes by."""
    tell(
        mirror,
        "invoices",
        line_items=[{"item_total": 598}],
        sub_total=598,
        tax_total=0,
        total=598,
        balance=0,
        payment_made=598,
        price_precision=2,
        shipping_charge_tax="",
        roundoff_value=0,
        write_off_amount=0,
        credits_applied=0,
        tax_amount_withheld=0,
        status="paid",
        is_discount_before_tax=True,
        discount=0,
        total_retention_amount=0,
        payment_discount=0,
    )
    tell(
        mirror,
        "credit_notes",
        line_items=[{"item_total": 100}],
        sub_total=100,
        tax_total=0,
        total=100,
        balance=100,
        total_credits_used=0,
        total_refunded_amount=0,
        discount=0,
        discount_total=None,
    )
    assert flags(mirror, "invoices") == RIGHT
    assert flags(mirror, "credit_notes")["balance"] is False
    assert mirror.rows("select * from tds_document_mismatches") == []


def test_the_report_tells_what_is_expected(mirror: Mirror) -> None:
    tell(mirror, "bills", payment_made=5, vendor_credits_applied=6, balance=16, last_modified_time=LATER)
    report = "select entity, what, expected::float8, found::float8, difference::float8 from tds_document_mismatches"
    assert [tuple(r.values()) for r in mirror.rows(report)] == [("bills", "balance", 10, 16, 6)]
