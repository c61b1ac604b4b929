"""Documents have the keys of the recorded answers, and the real API's ways of writing values."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from tds_sandbox.jsontext import encode
from tds_sandbox.organisation import Organisation
from tests.sandbox.conftest import Documents

RECORDED: dict[str, list[str]] = json.loads((Path(__file__).parent / "recorded_keys.json").read_text())
EXTRA = {
    # What the recorded organisation had no use for: stock, custom fields; and keys of the official documents.
    "items detail": {
        "category_id", "category_name", "item_tax_preferences", "preferred_vendors", "inventory_account_id",
        "inventory_account_name", "reorder_level", "initial_stock", "initial_stock_rate", "stock_on_hand",
        "available_stock", "actual_available_stock", "locations",
    },
    "items list": {
        "brand", "category_name", "reorder_level", "stock_on_hand", "available_stock",
        "actual_available_stock",
    },
    "contacts detail": {"credit_limit", "tax_info_list"},
}  # fmt: skip
LIST_ONLY = {
    "items": {"item_name", "has_attachment", "vendor_name", "image_document_id"},
    "contacts": {"customer_name", "vendor_name", "contact_type_formatted", "has_attachment"},
    "invoices": {
        "due_days",
        "company_name",
        "has_attachment",
        "created_by",
        "updated_time",
        "transaction_type",
    },
}
DETAIL_ONLY = {
    "items": {
        "custom_fields",
        "custom_field_hash",
        "price_brackets",
        "pricebook_rate",
        "sales_rate",
        "locations",
    },
    "contacts": {
        "addresses",
        "billing_address",
        "shipping_address",
        "contact_persons",
        "bank_accounts",
        "notes",
    },
    "invoices": {"line_items", "taxes", "sub_total", "tax_total", "payment_made", "credits_applied", "terms"},
}


@pytest.mark.parametrize("shape", ["list", "detail"])
@pytest.mark.parametrize("entity", ["items", "contacts", "invoices"])
def test_keys_are_those_of_the_recorded_answers(documents: Documents, entity: str, shape: str) -> None:
    name = f"{entity} {shape}"
    seen: set[str] = set().union(*documents(entity, shape))
    flattened = {key for key in seen if key.startswith("cf_")}
    assert seen - flattened == set(RECORDED[name]) | EXTRA.get(name, set())
    # Only lists carry custom fields as keys of their own.
    assert bool(flattened) is (shape == "list")


def test_invoice_lines_have_the_recorded_keys(documents: Documents) -> None:
    lines = [line for invoice in documents("invoices", "detail") for line in invoice["line_items"]]
    assert {frozenset(line) for line in lines} == {frozenset(RECORDED["invoice line"])}


@pytest.mark.parametrize("entity", ["items", "contacts", "invoices"])
def test_neither_shape_is_a_superset(documents: Documents, entity: str) -> None:
    row = set().union(*documents(entity, "list"))
    detail = set().union(*documents(entity, "detail"))
    assert LIST_ONLY[entity] <= row - detail
    assert DETAIL_ONLY[entity] <= detail - row | {"billing_address", "shipping_address"}
    assert ("line_items" in row) is False


@pytest.mark.parametrize("entity", ["items", "contacts", "invoices"])
def test_envelope_and_page_context(books: httpx.Client, entity: str) -> None:
    body = books.get(f"/{entity}", params={"filter_by": "Status.All"}).json()
    assert list(body) == ["code", "message", entity, "page_context"]
    assert (body["code"], body["message"]) == (0, "success")
    assert set(body["page_context"]) == set(RECORDED[f"{entity} list page_context"])
    assert len(body[entity]) == 200
    assert body["page_context"]["per_page"] == 200
    assert body["page_context"]["applied_filter"] == "Status.All"


def test_values_are_written_as_zoho_writes_them(documents: Documents) -> None:
    stamp = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d-0400")
    for entity, id_key in (("items", "item_id"), ("contacts", "contact_id"), ("invoices", "invoice_id")):
        for shape in ("list", "detail"):
            for document in documents(entity, shape):
                assert re.fullmatch(r"\d{19}", document[id_key])
                assert stamp.fullmatch(document["created_time"])
                modified = str(document.get("last_modified_time", document["created_time"]))
                assert stamp.fullmatch(modified)
                assert document["created_time"] <= modified
                assert None not in document.values()


def test_decimals_reach_the_wire_exactly(books: httpx.Client) -> None:
    assert encode(
        {"a": Decimal("0.1"), "b": Decimal("17551910"), "c": Decimal("49.990"), "d": Decimal("1E+3")}
    ) == ('{"a":0.1,"b":17551910.0,"c":49.99,"d":1000.0}')
    with pytest.raises(TypeError, match="float"):
        encode({"a": 0.1})
    text = books.get("/invoices").text
    assert re.search(r'"exchange_rate":1\.000000[,}]', text)
    assert not re.search(r":-?\d+\.\d{7,}[,}]", text)


def test_stock_by_location_comes_only_with_the_single_item(
    books: httpx.Client, organisation: Organisation
) -> None:
    tracked = next(i for i in organisation.book("items").records if i.tracked and i.on_hand)
    untracked = next(i for i in organisation.book("items").records if not i.tracked)
    item = books.get(f"/items/{tracked.id}").json()["item"]
    assert sum(place["location_stock_on_hand"] for place in item["locations"]) == item["stock_on_hand"]
    assert "locations" not in books.get(f"/items/{untracked.id}").json()["item"]
    bulk = books.get("/itemdetails", params={"item_ids": f"{tracked.id},{untracked.id},99"}).json()["items"]
    assert bulk == [item, books.get(f"/items/{untracked.id}").json()["item"]]


def test_a_hundred_and_one_ids_are_too_many(books: httpx.Client, organisation: Organisation) -> None:
    ids = [item.id for item in organisation.book("items").records[:101]]
    assert len(books.get("/itemdetails", params={"item_ids": ",".join(ids[:100])}).json()["items"]) == 100
    refused = books.get("/itemdetails", params={"item_ids": ",".join(ids)})
    assert (refused.status_code, refused.json()["code"]) == (400, 2)


def test_pages_of_settings(books: httpx.Client, organisation: Organisation) -> None:
    listed = books.get("/organizations").json()
    assert "page_context" not in listed
    assert listed["organizations"][0]["fiscal_year_start_month"] == 1
    single = books.get(f"/organizations/{organisation.organization_id}").json()["organization"]
    assert single["fiscal_year_start_month"] == "january"
    assert "plan_name" in listed["organizations"][0]
    assert "plan_name" not in single
    assert "page_context" not in books.get("/settings/currencies").json()
    assert {row["currency_code"] for row in books.get("/settings/currencies").json()["currencies"]} >= {"RMB"}
    assert books.get("/settings/taxes").json()["page_context"]["report_name"] == "Taxes"
    assert len(books.get("/locations").json()["locations"]) == 3
