"""Generated data has the real company's shares, and the same seed gives the same data."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tds_sandbox.organisation import Organisation
from tests.sandbox.conftest import Documents


def shared(values: list[str]) -> tuple[int, int, int]:
    """How many values occur twice or more, the records that share them, the most that share one."""
    counts = [n for value, n in Counter(values).items() if value and n > 1]
    return len(counts), sum(counts), max(counts, default=0)


def test_items(documents: Documents) -> None:
    items = documents("items", "list")
    assert len(items) == 2205
    skus = [item["sku"] for item in items if item["sku"]]
    assert len(skus) == len(set(skus)) == 449
    assert max(map(len, skus)) == 120
    assert sum(len(sku) > 50 for sku in skus) == 2
    assert shared([item["name"] for item in items]) == (2, 4, 2)
    assert max(len(item["name"]) for item in items) <= 68
    assert sum(item["status"] == "inactive" for item in items) == 909
    assert sum(item["rate"] == 0 for item in items) == 548
    assert sum(item["purchase_rate"] == 0 for item in items) == 74
    assert sum(0 < item["rate"] < item["purchase_rate"] for item in items) == 22
    assert 8 <= sorted(item["rate"] for item in items)[1102] <= 12
    assert max(item["rate"] for item in items) <= 555
    assert Counter(item["unit"] for item in items) == {"pcs": 2162, "": 43}
    levels = Counter(str(item.get("reorder_level", "none")) for item in items)
    assert (levels["none"], levels[""]) == (80, 530)
    assert levels["0.0"] == 1442
    assert {"5.0", "10.0", "2.0", "3.0", "20.0"} <= set(levels)
    pictured = [item["image_name"] for item in items if item["image_name"]]
    assert len(pictured) == 1605
    assert shared(pictured) == (16, 88, 25)
    assert len({item["image_document_id"] for item in items}) == 1606
    assert Counter(item.get("brand", "") for item in items).most_common(2)[1][1] >= 34
    stock = [item["stock_on_hand"] for item in items if item.get("stock_on_hand")]
    assert len(stock) == 479
    assert max(stock) == 46551
    assert sum("last_modified_time" not in item for item in items) <= 5


def test_customers(documents: Documents) -> None:
    customers = [c for c in documents("contacts", "list") if c["contact_type"] == "customer"]
    assert len(customers) == 2386
    emails = [c["email"] for c in customers]
    assert emails.count("") == 1329
    assert shared(emails) == (132, 271, 8)
    assert {email.partition("@")[2] for email in emails if email} == {"example.com"}
    phones = [c["phone"] for c in customers]
    assert 940 <= phones.count("") <= 980
    assert shared(phones)[0] >= 154
    shapes = {"".join("9" if sign.isdigit() else sign for sign in phone) for phone in phones if phone}
    assert len(shapes) == 10
    assert any("\u00a0" in phone for phone in phones)
    arabic = sum(any("\u0600" <= sign <= "\u06ff" for sign in c["contact_name"]) for c in customers)
    assert arabic / len(customers) == pytest.approx(0.973, abs=0.01)
    assert shared([c["contact_name"] for c in customers])[:2] == (17, 37)
    assert Counter(c["currency_code"] for c in customers) == {"USD": 1989, "IQD": 397}
    assert sum(c["status"] == "inactive" for c in customers) == 55
    terms = Counter(c["payment_terms_label"] for c in customers)
    assert len(terms) == 6
    assert (terms["Net 7"], terms["Due on Receipt"], terms["Due On Receipt"]) == (1132, 641, 260)


def test_vendors(documents: Documents) -> None:
    contacts = documents("contacts", "list")
    vendors = [c for c in contacts if c["contact_type"] == "vendor"]
    assert len(vendors) == 81
    assert {c["email"] for c in vendors} == {""}
    assert Counter(c["currency_code"] for c in vendors) == {"USD": 51, "RMB": 24, "IQD": 6}
    assert Counter(c["payment_terms_label"] for c in vendors)["Net 99999"] == 2
    customers = {c["contact_name"] for c in contacts if c["contact_type"] == "customer"}
    assert len(customers & {c["contact_name"] for c in vendors}) == 1


def test_invoices(documents: Documents) -> None:
    invoices = documents("invoices", "detail")
    statuses = Counter(d["status"] for d in invoices)
    assert set(statuses) == {"draft", "sent", "viewed", "overdue", "partially_paid", "paid", "void"}
    assert {len(d["line_items"]) for d in invoices} >= set(range(1, 11)) | {12}
    assert {d["currency_code"] for d in invoices} == {"USD", "IQD"}
    assert {type(d["discount"]) for d in invoices} >= {str}
    assert any(d["discount"] == "10.00%" for d in invoices)
    assert any(line["discount"] == "12.50%" for d in invoices for line in d["line_items"])
    assert any(d["taxes"] for d in invoices)
    assert {str(d["exchange_rate"]) for d in invoices} >= {"1.000000", "0.000763"}


def test_the_seed_decides_everything() -> None:
    def texts(seed: int) -> list[str]:
        made = Organisation(seed=seed, items=120, contacts=120, invoices=40, bad_records=7)
        for _ in range(10):
            made.edit("items", kind="rate")
        served = [made.row_json(name, r) for name, book in made.books.items() for r in book.records]
        stamps = {r.id for r in made.book("items").records if r.modified > made.data_ends}
        # The time of an edit is the clock's; everything else must be equal.
        return [text for text in served if not any(one in text for one in stamps)] + sorted(stamps)

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)


def test_ten_thousand_items_in_seconds() -> None:
    began = time.process_time()
    organisation = Organisation(items=10_000)
    assert time.process_time() - began < 3
    assert len(organisation.book("items").index) == 10_000


def test_no_records_at_all() -> None:
    empty = Organisation()
    assert not any(book.records for book in empty.books.values())
