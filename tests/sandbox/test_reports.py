"""Zoho's own reports: from the ledger, in their shapes, and with their traps."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from tds_sandbox.errors import ApiError
from tds_sandbox.jsontext import decode
from tds_sandbox.organisation import Organisation
from tds_sandbox.reports import REPORTS, Traps, report

CUSTOM = {
    "filter_by": "TransactionDate.CustomDate", "from_date": "2025-10-01", "to_date": "2025-10-31", "usestate": "false",
}  # fmt: skip


@pytest.fixture(scope="module")
def organisation() -> Organisation:
    return Organisation(
        items=40, contacts=30, invoices=80, bills=20, vendorcredits=5, vendorpayments=8, creditnotes=12,
        customerpayments=30,
    )  # fmt: skip


def asked(
    organisation: Organisation, name: str, query: dict[str, str], traps: Traps | None = None
) -> dict[str, Any]:
    document: dict[str, Any] = decode(report(organisation, f"/reports/{name}", query, traps or Traps()))
    return document


def test_the_period_is_told_and_ignored_without_its_filter(organisation: Organisation) -> None:
    context = asked(organisation, "salesbyitem", CUSTOM)["page_context"]
    assert (context["from_date"], context["to_date"], context["cash_based"]) == (
        "2025-10-01",
        "2025-10-31",
        False,
    )
    ignored = asked(organisation, "salesbyitem", {"from_date": "2025-10-01", "to_date": "2025-10-31"})[
        "page_context"
    ]
    today = organisation.calendar.day(organisation.now())
    assert (ignored["from_date"], ignored["to_date"]) == (today.replace(day=1).isoformat(), today.isoformat())
    assert ignored["cash_based"] is True


def test_ageing_has_neither_drafts_nor_void_ones_and_stops_at_its_day(organisation: Organisation) -> None:
    query = CUSTOM | {"filter_by": "InvoiceDueDate.CustomDate", "to_date": dt.date.today().isoformat()}
    [group] = asked(organisation, "aragingsummary", query)["invoice"]["group_list"]
    total = sum(row["fcy_total"] for row in group["group_list"])
    counted = sum(
        (i.balance for i in organisation.books["invoices"].records if i.status not in {"draft", "void"}),
        Decimal(0),
    )
    assert total == counted
    assert counted < sum(i.balance for i in organisation.books["invoices"].records)
    before = asked(organisation, "aragingsummary", query | {"to_date": "2025-09-01"})["invoice"]
    assert before["total"] != asked(organisation, "aragingsummary", query)["invoice"]["total"]
    # the form that is no summary counts what came later, too
    late = CUSTOM | {"to_date": "2025-08-01"}
    summed = asked(organisation, "customerbalancesummary", late)["customerbalancesummary"]
    others = asked(organisation, "customerbalances", late)["customerbalances"]
    assert len(summed) < len(others)


def test_pages_hold_every_row_once(organisation: Organisation) -> None:
    whole = asked(organisation, "salesbyitem", CUSTOM)["sales"]
    pages = []
    for page in range(1, 100):
        document = asked(organisation, "salesbyitem", CUSTOM | {"page": str(page), "per_page": "3"})
        pages += document["sales"]
        if not document["page_context"]["has_more_page"]:
            break
    assert pages == whole != []


def test_traps(organisation: Organisation) -> None:
    traps = Traps()
    traps.set({"salesbyitem": "other_form", "salesbycustomer": "missing", "purchasesbyitem": "unauthorised"})
    assert "sales" not in asked(organisation, "salesbyitem", CUSTOM, traps)
    for name, status in (("salesbycustomer", 404), ("purchasesbyitem", 401), ("salesbyvendor", 404)):
        with pytest.raises(ApiError) as refused:
            asked(organisation, name, CUSTOM, traps)
        assert refused.value.status == status
    traps.set({"salesbyitem": "echo"})
    assert asked(organisation, "salesbyitem", CUSTOM, traps)["page_context"]["to_date"] != "2025-10-31"
    assert set(REPORTS) > {"aragingsummary", "inventorysummary"}
