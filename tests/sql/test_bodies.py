"""Whatever form a body comes in, it is read: each form by each entity gives the same row; what cannot be read is named at once.

All forms of an entity go through one database: a record of its own each, told without a `last_modified_time` so that nothing
is left to a later telling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from tds_demo.compare import ENTITIES
from tests.db.servers import Database
from tests.sql.conftest import ORGANIZATION, Mirror

Record = dict[str, Any]

ITEM = {"name": "Cable 2 m", "sku": "C-2", "rate": "12.5", "stock_on_hand": "5", "status": "active"}
CONTACT = {
    "contact_name": "Blue River Ltd",
    "customer_sub_type": "business",
    "status": "active",
    "currency_code": "USD",
    "billing_address": {"address": "1 First St", "city": "Basra"},
    "addresses": [{"address_id": "460000000031009", "address": "3 Third St", "city": "Erbil"}],
    "contact_persons": [
        {"contact_person_id": "460000000031010", "first_name": "Ali", "is_primary_contact": "true"}
    ],
    "custom_fields": [{"customfield_id": "460000000031011", "api_name": "cf_zone", "value": "[N]"}],
}
DOCUMENT = {
    "date": "2026-01-02",
    "status": "open",
    "currency_code": "USD",
    "sub_total": "100",
    "total": "100",
    "line_items": [
        {
            "line_item_id": "460000000061002",
            "name": "{Cable}",
            "quantity": "2",
            "rate": "50",
            "item_total": "100",
        }
    ],
}
PAID = {"amount_applied": "50", "date": "2026-01-03"}


class Kind:
    """An entity as bodies have it: where it is posted, what wraps a record, its id, its table, and a record without the id."""

    def __init__(
        self, entity: str, singular: str, plural: str, id_key: str, table: str, record: Record
    ) -> None:
        self.entity, self.singular, self.plural = entity, singular, plural
        self.id_key, self.table, self.record = id_key, table, record


KINDS = {
    kind.entity: kind
    for kind in (
        Kind("products", "item", "items", "item_id", "products", ITEM),
        Kind("customers", "contact", "contacts", "contact_id", "contacts", CONTACT | {"contact_type": "customer"}),
        Kind("vendors", "contact", "contacts", "contact_id", "contacts", CONTACT | {"contact_type": "vendor"}),
        Kind("invoices", "invoice", "invoices", "invoice_id", "invoices", DOCUMENT | {"invoice_number": "INV-1"}),
        Kind("bills", "bill", "bills", "bill_id", "bills", DOCUMENT | {"bill_number": "B-1"}),
        Kind("credit_notes", "creditnote", "creditnotes", "creditnote_id", "credit_notes",
             DOCUMENT | {"invoices_credited": [PAID | {"invoice_id": "460000000071001"}]}),
        Kind("vendor_credits", "vendor_credit", "vendor_credits", "vendor_credit_id", "vendor_credits", DOCUMENT),
        Kind("sales_orders", "salesorder", "salesorders", "salesorder_id", "sales_orders",
             DOCUMENT | {"order_status": "open", "shipped_status": "pending"}),
        Kind("payments", "payment", "customerpayments", "payment_id", "customer_payments",
             {"amount": "50", "date": "2026-01-03", "invoices": [PAID | {"invoice_id": "460000000071001"}]}),
        Kind("vendor_payments", "vendorpayment", "vendorpayments", "payment_id", "vendor_payments",
             {"amount": "50", "date": "2026-01-03", "bills": [PAID | {"bill_id": "460000000051001"}]}),
        Kind("pricelists", "pricebook", "pricebooks", "pricebook_id", "pricelists",
             {"name": "Retail", "status": "active", "currency_code": "USD",
              "pricebook_items": [{"item_id": "460000000027017", "pricebook_rate": "9.5"}]}),
    )
}  # fmt: skip
# Of these no detail is ever asked for.
SMALL = {
    kind.entity: kind
    for kind in (
        Kind("currencies", "currency", "currencies", "currency_id", "currencies",
             {"currency_code": "USD", "currency_name": "Dollar", "price_precision": "2"}),
        Kind("taxes", "tax", "taxes", "tax_id", "taxes", {"tax_name": "VAT", "tax_percentage": "5"}),
        Kind("warehouses", "location", "locations", "location_id", "warehouses",
             {"location_name": "Main", "status": "active", "address": {"city": "Basra"}}),
        Kind("stock_adjustments", "inventory_adjustment", "inventory_adjustments", "inventory_adjustment_id", "stock_adjustments",
             {"date": "2026-01-02", "reason": "count", "line_items": [{"item_id": "77", "quantity_adjusted": "3"}]}),
    )
}  # fmt: skip


MARK = b"\xef\xbb\xbf"


def told(value: Any) -> bytes:
    return json.dumps(value).encode()


def as_text(record: Record) -> Record:
    """Every value a text, nested ones JSON text: an entity map."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in record.items()}


def pairs(record: Any, name: str, dotted: bool) -> list[tuple[str, str]]:
    """A record as pairs with dotted or bracketed names."""
    if isinstance(record, dict):
        inner = [(f"{name}.{key}" if dotted else f"{name}[{key}]", value) for key, value in record.items()]
    elif isinstance(record, list):
        inner = [
            (f"{name}.{place}" if dotted else f"{name}[{place}]", value) for place, value in enumerate(record)
        ]
    else:
        return [(name, record)]
    return [pair for key, value in inner for pair in pairs(value, key, dotted)]


def form(named: list[tuple[str, str]]) -> bytes:
    return "&".join(f"{quote(name)}={quote(value)}" for name, value in named).encode()


def flat(record: Record, dotted: bool) -> bytes:
    return form([pair for key, value in record.items() for pair in pairs(value, key, dotted)])


FORMS: dict[str, Callable[[Kind, Record], bytes]] = {
    "wrapped": lambda kind, record: told({kind.singular: record}),
    "bare": lambda _, record: told(record),
    "page": lambda kind, record: told({"code": 0, kind.plural: [record], "page_context": {"page": 1}}),
    "with an integer id": lambda kind, record: told({kind.singular: record | {kind.id_key: int(record[kind.id_key])}}),
    "byte order mark": lambda kind, record: b"\xef\xbb\xbf" + told({kind.singular: record}),
    "data": lambda kind, record: told({"data": {kind.singular: record}}),
    "event and data": lambda kind, record: told({"event": f"{kind.singular}.updated", "data": record}),
    "payload": lambda kind, record: told({"payload": {kind.singular: record}}),
    "payload as text": lambda kind, record: told({"payload": json.dumps({kind.singular: record})}),
    "array of wrapped": lambda kind, record: told([{kind.singular: record}]),
    "events": lambda kind, record: told({"batch_id": "b", "events": [{"event_type": "update", "data": record}]}),
    "wrapped twice": lambda kind, record: told({kind.singular: {kind.singular: record}}),
    "record as text": lambda kind, record: told({kind.singular: json.dumps(record)}),
    "text of a text": lambda kind, record: told(json.dumps({kind.singular: record})),
    "JSONString as a key": lambda kind, record: told({"JSONString": json.dumps({kind.singular: record})}),
    "entity map": lambda _, record: told(as_text(record)),
    "wrapped entity map": lambda kind, record: told({kind.singular: as_text(record)}),
    "page of entity maps": lambda kind, record: told({kind.plural: [as_text(record)]}),
    "form": lambda _, record: form(list(as_text(record).items())),
    "form with JSONString": lambda kind, record: form([("JSONString", json.dumps({kind.singular: record}))]),
    "form with payload": lambda kind, record: form([("payload", json.dumps({kind.singular: record}))]),
    "form with data": lambda _, record: form([("data", json.dumps(record))]),
    "form with the wrapper as a name": lambda kind, record: form([(kind.singular, json.dumps(record))]),
    "bracketed names": lambda _, record: flat(record, dotted=False),
    "dotted names": lambda _, record: flat(record, dotted=True),
    "dotted names below the wrapper": lambda kind, record: flat({kind.singular: record}, dotted=True),
    "bracketed names below the wrapper": lambda kind, record: flat({kind.singular: record}, dotted=False),
    "dotted keys of JSON": lambda kind, record: told({f"{kind.singular}.{key}": value for key, value in record.items()}),
    # byte order marks and encodings
    "a form after a byte order mark": lambda _, record: MARK + form(list(as_text(record).items())),
    "an array after a byte order mark": lambda kind, record: MARK + told([{kind.singular: record}]),
    "a byte order mark after a line": lambda kind, record: b"\n " + MARK + b" " + told({kind.singular: record}),
    "a byte order mark in JSONString": lambda kind, record: form([("JSONString", MARK.decode() + json.dumps({kind.singular: record}))]),
    "UTF-16": lambda kind, record: json.dumps({kind.singular: record}).encode("utf-16"),
    "UTF-16, big endian": lambda kind, record: b"\xfe\xff" + json.dumps({kind.singular: record}).encode("utf-16-be"),
    "UTF-16 without its mark": lambda kind, record: json.dumps({kind.singular: record}).encode("utf-16-le"),
    "a form in UTF-16": lambda _, record: form(list(as_text(record).items())).decode().encode("utf-16"),
    # envelopes
    "data as text": lambda _, record: told({"data": json.dumps(record)}),
    "data as text of what is wrapped": lambda kind, record: told({"data": json.dumps({kind.singular: record})}),
    "data as an array of wrapped": lambda kind, record: told({"data": [{kind.singular: record}]}),
    "data as an array": lambda _, record: told({"data": [record]}),
    "data in data": lambda kind, record: told({"data": {"data": {kind.singular: record}}}),
    "data in payload": lambda kind, record: told({"payload": {"data": {kind.singular: record}}}),
    "data in an event": lambda kind, record: told({"event": {"type": "x", "data": {kind.singular: record}}}),
    "text of a text in payload": lambda kind, record: told({"payload": json.dumps(json.dumps({kind.singular: record}))}),
    "data beside another of the kind": lambda kind, record: told({"before": {kind.id_key: "9999"}, "data": record}),
    "Data": lambda kind, record: told({"Data": {kind.singular: record}}),
    "JSONString of the bare record": lambda _, record: told({"JSONString": json.dumps(record)}),
    "jsonString": lambda kind, record: told({"jsonString": json.dumps({kind.singular: record})}),
    "JSONString that is no text": lambda kind, record: told({"JSONString": {kind.singular: record}}),
    "an envelope nobody knows": lambda kind, record: told({"type": "edited", "notification": {kind.singular: record}}),
    "an envelope nobody knows, the bare record": lambda _, record: told({"type": "edited", "notification": record}),
    "an envelope nobody knows, as text": lambda kind, record: told({"message": json.dumps({kind.singular: record})}),
    "an envelope in an envelope nobody knows": lambda kind, record: told({"hook": {"id": 1}, "request": {"body": {kind.singular: record}}}),
    "what the event was beside it": lambda kind, record: told({"event_type": "x", "entity_id": "9", kind.singular: record}),
    # wrappers
    "wrapper with a capital": lambda kind, record: told({kind.singular.capitalize(): record}),
    "wrapper in capitals": lambda kind, record: told({kind.singular.upper(): record}),
    "wrapped three times": lambda kind, record: told({kind.singular: {kind.singular: {kind.singular: record}}}),
    "a list of wrapped": lambda kind, record: told({kind.plural: [{kind.singular: record}]}),
    "a list that is a record": lambda kind, record: told({kind.plural: record}),
    "a record that is a list": lambda kind, record: told({kind.singular: [record]}),
    "a list as text": lambda kind, record: told({kind.plural: json.dumps([record])}),
    "a list of texts": lambda kind, record: told({kind.plural: [json.dumps(record)]}),
    "a list by numbers": lambda kind, record: told({kind.plural: {"0": record}}),
    "array of texts": lambda kind, record: told([json.dumps({kind.singular: record})]),
    "array of envelopes": lambda kind, record: told([{"event": "x", "data": {kind.singular: record}}]),
    "array of arrays": lambda kind, record: told([[{kind.singular: record}]]),
    # forms
    "form with payload and more": lambda kind, record: form([("event", "x"), ("payload", json.dumps({kind.singular: record}))]),
    "form with data and more": lambda _, record: form([("event", "x"), ("data", json.dumps(record))]),
    "form with jsonstring and more": lambda kind, record: form([("a", "b"), ("jsonstring", json.dumps({kind.singular: record}))]),
    "form with an id beside JSONString": lambda kind, record: form([(kind.id_key, record[kind.id_key]),
                                                                    ("JSONString", json.dumps({kind.singular: record}))]),
    "form with a text of a text": lambda kind, record: form([("JSONString", json.dumps(json.dumps({kind.singular: record})))]),
    "form with an entity map": lambda kind, record: form([("payload", json.dumps({kind.singular: as_text(record)}))]),
    "form with a list": lambda kind, record: form([(kind.plural, json.dumps([record]))]),
    "bracketed names below data": lambda kind, record: flat({"data": {kind.singular: record}}, dotted=False),
    "brackets that are not escaped": lambda _, record: flat(record, dotted=False).replace(b"%5B", b"[").replace(b"%5D", b"]"),
    "brackets without numbers": lambda _, record: re.sub(rb"%5B\d+%5D", b"%5B%5D", flat(record, dotted=False)),
    "form with an empty pair before it": lambda _, record: b"&" + form(list(as_text(record).items())) + b"&\r\n",
    # entity maps and names of JSON
    "entity map of texts of texts": lambda kind, record: told({kind.singular: {
        key: value if isinstance(value, str) else json.dumps(json.dumps(value)) for key, value in record.items()}}),
    "entity map in data": lambda kind, record: told({"data": {kind.singular: as_text(record)}}),
    "array of entity maps": lambda _, record: told([as_text(record)]),
    "text of an entity map": lambda _, record: told(json.dumps(as_text(record))),
    "bracketed keys of JSON": lambda kind, record: told({f"{kind.singular}[{key}]": value for key, value in record.items()}),
    "dotted keys of a bare record": lambda _, record: told(dict(pair for key, value in record.items() for pair in pairs(value, key, True))),
    "bracketed keys of a wrapped record": lambda kind, record: told(
        {kind.singular: dict(pair for key, value in record.items() for pair in pairs(value, key, False))}),
}  # fmt: skip
OTHER_NAMES = {
    "products": ("product", "products"),
    "customers": ("customer", "customers"),
    "vendors": ("vendor", "vendors"),
    "credit_notes": ("credit_note", "credit_notes"),
    "payments": ("customer_payment", "customer_payments", "customerpayment"),
    "vendor_payments": ("vendor_payment", "vendor_payments", "payment"),
    "vendor_credits": ("vendorcredit", "vendorcredits"),
    "pricelists": ("pricelist", "price_list"),
    "sales_orders": ("order", "sales_order"),
}


def row_of(mirror: Mirror, kind: Kind, zoho_id: str) -> dict[str, Any]:
    """What the mirror has of a record, its children included, without what differs from telling to telling."""
    key = mirror.value("select target_key from tds.entity where entity = %s", kind.entity)
    [row] = mirror.rows(f"select to_jsonb(t) as row from zoho.{kind.table} t where t.{key} = %s", zoho_id)
    found = {name: value for name, value in row["row"].items() if not name.startswith(("sync", "id", key))}
    found["zoho_metadata"] = {
        name: value for name, value in found["zoho_metadata"].items() if name != kind.id_key
    }
    children = mirror.rows(
        "select c.target, c.parent_column from tds.child c where c.entity = %s order by 1", kind.entity
    )
    if kind.table == "contacts":
        children.append({"target": "contact_addresses", "parent_column": "zoho_contact_id"})
    if kind.table == "pricelists":
        children.append({"target": "product_prices", "parent_column": "zoho_pricebook_id"})
    for child in children:
        rows = mirror.rows(
            f"select to_jsonb(c) - array['synced_at', 'pricelist_id', '{child['parent_column']}'] as row "
            f"from zoho.{child['target']} c where c.{child['parent_column']} = %s order by 1",
            zoho_id,
        )
        found[child["target"]] = [each["row"] for each in rows]
    return found


def camel(name: str) -> str:
    """A name as programs in other languages write it."""
    return "".join(part.capitalize() for part in name.split("_"))


def wrapped(name: str, _: object, record: dict[str, Any]) -> bytes:
    """A record under a name of its own."""
    return told({name: record})


@pytest.mark.parametrize("entity", KINDS | SMALL)
def test_every_form_of_body_gives_the_same_row(shared: Mirror, entity: str) -> None:
    kinds = KINDS | SMALL
    kind = kinds[entity]
    forms = dict(FORMS)
    for name in OTHER_NAMES.get(entity, ()):
        forms[f"wrapped as {name}"] = partial(wrapped, name)
        forms[f"wrapped as {camel(name)}"] = partial(wrapped, camel(name))
    numbers = {name: f"46{list(kinds).index(entity):04}{place:012}" for place, name in enumerate(forms, 1)}
    before = shared.value("select coalesce(max(inbox_id), 0) from tds.inbox")
    for name, write in forms.items():
        status = shared.receive(entity, write(kind, {kind.id_key: numbers[name], **kind.record}))
        assert status == "queued", name
    outcome = shared.process()
    dead = shared.rows("select path, value, reason, record from tds.dead_letter where inbox_id > %s", before)
    assert dead == []
    assert outcome["applied"] == len(forms)
    expected = row_of(shared, kind, numbers["wrapped"])
    for name, number in numbers.items():
        assert row_of(shared, kind, number) == expected, name
    assert expected["zoho_metadata"] == kind.record


@pytest.mark.parametrize("entity", KINDS)
def test_what_cannot_be_read_is_named_at_once_and_its_detail_wanted(shared: Mirror, entity: str) -> None:
    kind = KINDS[entity]
    key = "date" if "date" in kind.record else "last_modified_time"
    numbers = {name: f"47{list(KINDS).index(entity):04}{place:012}" for place, name in enumerate(FORMS, 1)}
    for name, write in FORMS.items():
        shared.receive(entity, write(kind, {kind.id_key: numbers[name], **kind.record, key: "28 Nov 2026"}))
    assert shared.process()["dead"] == len(FORMS)
    for name, number in numbers.items():
        found = shared.rows(
            "select path, value, attempts, left(reason, 5) as reason from tds.dead_letter where zoho_id = %s",
            number,
        )
        assert found == [{"path": key, "value": "28 Nov 2026", "attempts": 1, "reason": "not a"}], name
        wanted = shared.rows("select entity, reason from tds.wanted_detail where zoho_id = %s", number)
        assert wanted == [{"entity": entity, "reason": "a hint that cannot be read"}], name
    shared.conn.execute(
        "update tds.dead_letter set resolved_at = now(), resolution = 'seen' where resolved_at is null"
    )


@pytest.mark.parametrize(
    ("endpoint", "entity"),
    [("items", "products"), ("contacts", "customers"), ("creditnotes", "credit_notes"), ("customerpayments", "payments"),
     ("vendorpayments", "vendor_payments"), ("pricebooks", "pricelists"), ("salesorders", "sales_orders"),
     ("orders", "sales_orders"), ("vendorcredits", "vendor_credits")],
)  # fmt: skip
def test_an_endpoint_is_also_called_as_zoho_calls_it(shared: Mirror, endpoint: str, entity: str) -> None:
    kind = KINDS[entity]
    number = f"48{list(KINDS).index(entity):04}{len(endpoint):012}"
    assert shared.receive(endpoint, {kind.singular: {kind.id_key: number, **kind.record}}) == "queued"
    stored = shared.rows("select entity, record_id from tds.inbox order by inbox_id desc limit 1")
    assert stored == [{"entity": entity, "record_id": number}]
    assert shared.process()["applied"] == 1
    # what is not JSON is known by its id all the same
    assert shared.receive(endpoint, f'{{"{kind.id_key}": "{number}", "x": "a\nb"}}'.encode()) == "rejected"
    assert shared.rows(
        "select entity, zoho_id from tds.dead_letter order by dead_letter_id desc limit 1"
    ) == [{"entity": entity, "zoho_id": number}]
    assert (
        shared.value("select reason from tds.wanted_detail where zoho_id = %s", number)
        == "a hint that cannot be read"
    )


@pytest.mark.parametrize(
    "body",
    [{"data": {"item": {"item_id": "1", "name": "a"}}}, {"payload": json.dumps({"item": {"item_id": "1", "name": "a"}})},
     [{"item": {"item_id": "1", "name": "a"}}]],
)  # fmt: skip
def test_an_endpoint_of_several_kinds_looks_into_what_is_wrapped(mirror: Mirror, body: Any) -> None:
    mirror.receive("stock", body)
    assert mirror.value("select entity from tds.inbox") == "products"
    assert mirror.process()["applied"] == 1


@pytest.mark.parametrize("text", ["[NEW] Cable", "{promo}", "[", "{}", "[1]", '{"a": 1}', '"quoted"'])
def test_a_text_that_looks_like_json_is_a_text(shared: Mirror, own_id: str, text: str) -> None:
    texts = {"name": text, "description": text, "notes": text, "sku": text, "cf_note": text}
    shared.receive("products", form([("item_id", f"{own_id}1"), *texts.items(), ("rate", "11")]))
    shared.receive("products", {"item": {"item_id": f"{own_id}2", "rate": "11", **texts}})
    assert shared.process()["applied"] == 2
    rows = shared.rows(
        "select name, description, sku, zoho_metadata from zoho.products where zoho_item_id ^@ %s", own_id
    )
    assert len(rows) == 2
    for row in rows:
        assert (row["name"], row["description"], row["sku"]) == (text, text, text)
        assert row["zoho_metadata"] | texts == row["zoho_metadata"]


def test_an_id_that_is_not_exactly_one_makes_no_row(mirror: Mirror) -> None:
    written = ["4.03e+18", "4.60000000027017e+17", "4.6E17", "4e18", "46E17", "4030000000000000000", "12.0"]
    for number in written:
        mirror.receive("products", f'{{"item": {{"item_id": {number}, "name": "a"}}}}'.encode())
        mirror.receive("products", f'{{"items": [{{"item_id": {number}, "name": "a"}}]}}'.encode(), "list")
    assert mirror.process()["dead"] == 2 * len(written)
    assert mirror.value("select count(*) from zoho.products") == 0
    named = mirror.rows("select distinct path, reason from tds.dead_letter")
    assert named == [{"path": "item_id", "reason": "not an id"}]
    assert set(written) <= {row["value"] for row in mirror.rows("select value from tds.dead_letter")}
    texts = [
        "4.03E+18",
        "4e18",
        "46E17",
        " 4030413000000029003",
        "4030413000000029003 ",
        "4,030",
        "12.0",
    ]
    for number in texts:
        mirror.receive("products", form([("item_id", number), ("name", "a")]))
        mirror.receive("products", {"item": {"item_id": number, "name": "a"}})
    assert mirror.process()["dead"] == 2 * len(texts)
    # nor in what is not JSON, where it is only glimpsed: there is nothing to ask for
    assert mirror.receive("products", b'{"item_id": "4e18", "name": "a\nb"}') == "rejected"
    assert mirror.value("select count(*) from tds.wanted_detail") == 0
    mirror.receive("products", b'{"item": {"item_id": 2646610000000113286, "name": "exact"}}')
    mirror.process()
    assert mirror.value("select zoho_item_id from zoho.products") == "2646610000000113286"


def test_what_only_describes_costs_no_record(mirror: Mirror) -> None:
    long = "x" * 5000
    mirror.receive(
        "products",
        {"item": {"item_id": "1", "name": long, "brand": {"a": 1}, "unit": True, "category_name": [1]}},
    )
    contact = {
        "contact_id": "2",
        "contact_type": "customer",
        "contact_name": long,
        "email": long,
        "phone": 5,
        "company_name": {},
    }
    mirror.receive("customers", {"contact": contact})
    assert mirror.process()["applied"] == 2
    [row] = mirror.rows("select name, brand, unit, category_name from zoho.products")
    assert row == {"name": long, "brand": '{"a": 1}', "unit": "true", "category_name": "[1]"}
    assert mirror.rows("select email, phone, company_name from zoho.customers") == [
        {"email": long, "phone": "5", "company_name": "{}"}
    ]


@pytest.mark.parametrize(
    ("entity", "record", "path", "value"),
    [
        ("customers", {"contact": {"contact_id": "1", "addresses": [{"zip": ["61001"]}]}}, "addresses[0].zip", '["61001"]'),
        ("customers", {"contact": {"contact_id": "1", "addresses": [{}, "x"]}}, "addresses[1]", "x"),
        ("vendors", {"contact": {"contact_id": "1", "billing_address": {"city": {"a": 1}}}}, "billing_address.city", '{"a": 1}'),
        ("customers", {"contact": {"contact_id": "1", "contact_persons": [{"contact_person_id": "a b"}]}},
         "contact_persons[0].contact_person_id", "a b"),
        ("products", {"item": {"item_id": "1", "locations": [{"location_id": "9", "location_stock_on_hand": "few"}]}},
         "locations[0].location_stock_on_hand", "few"),
        ("pricelists", {"pricebook": {"pricebook_id": "1", "pricebook_items": [{"item_id": "2"}, {"pricebook_rate": 3}]}},
         "pricebook_items[1].item_id", '{"pricebook_rate": 3}'),
        ("pricelists", {"pricebook": {"pricebook_id": "1", "pricebook_items": [
            {"item_id": "2", "price_brackets": [{"start_quantity": "one"}]}]}},
         "pricebook_items[0].price_brackets[0].start_quantity", "one"),
        ("invoices", {"invoice": {"invoice_id": "1", "total": "1,50,000.00"}}, "total", "1,50,000.00"),
        ("products", {"item": {"item_id": "1", "rate": "IQD 1,500"}}, "rate", "IQD 1,500"),
        ("invoices", {"invoice": {"invoice_id": "1", "status": "x" * 60}}, "status", "x" * 60),
    ],
)  # fmt: skip
def test_every_bad_value_is_named_at_once(
    shared: Mirror, own_id: str, entity: str, record: Record, path: str, value: str
) -> None:
    [(name, fields)] = record.items()
    record = {name: fields | {next(iter(fields)): own_id}}
    shared.receive(entity, record)
    assert shared.process()["dead"] == 1
    dead = "select path, value, attempts from tds.dead_letter where zoho_id = %s"
    assert shared.rows(dead, own_id) == [{"path": path, "value": value, "attempts": 1}]
    wants = "select reason from tds.wanted_detail where zoho_id = %s"
    assert shared.value(wants, own_id) == "a hint that cannot be read"
    # a detail is no hint: it is what there is
    shared.receive(entity, record, "detail")
    shared.process()
    assert shared.rows(wants, own_id) == []


def test_an_empty_object_of_php_and_days_told_as_midnights(mirror: Mirror) -> None:
    contact = {"contact_id": "1", "contact_type": "customer", "billing_address": [], "custom_field_hash": []}
    mirror.receive("customers", {"contact": contact})
    mirror.receive(
        "invoices",
        {
            "invoice": {
                "invoice_id": "1",
                "date": "2026-01-02T00:00:00+0300",
                "due_date": "2026-02-01T00:00:00.000Z",
            }
        },
    )
    mirror.receive("invoices", {"invoice": {"invoice_id": "2", "date": "2026-01-02T13:00:00+0300"}})
    outcome = mirror.process()
    assert (outcome["applied"], outcome["dead"]) == (2, 1)
    assert mirror.rows("select invoice_date::text, due_date::text from zoho.invoices") == [
        {"invoice_date": "2026-01-02", "due_date": "2026-02-01"}
    ]


def test_a_list_that_tells_the_same_bad_value_again_asks_once(mirror: Mirror) -> None:
    page = {"invoices": [{"invoice_id": "1", "total": "much"}]}
    for _ in range(2):
        mirror.receive("invoices", page, "list")
        mirror.process()
        wanted = mirror.value("select count(*) from tds.wanted_detail")
        mirror.conn.execute("delete from tds.wanted_detail")
        page["invoices"].append({"invoice_id": "2", "total": "1"})
    assert wanted == 1, "of the good one"


OURS, THEIRS = "9000000001", ORGANIZATION
NAMED: Record = {"organization_id": THEIRS, "item": {"item_id": "1", "name": "Cable"}}


def named_elsewhere() -> list[bytes]:
    """Their record, which says whose it is in every place where a body may say so."""
    text = json.dumps(NAMED)
    return [
        told(text),
        told([NAMED]),
        told({"items": [NAMED]}),
        told({"data": {"data": NAMED}}),
        told({"data": text}),
        told({"payload": text}),
        told({"JSONString": text}),
        told({"events": [{"event": "x", "organization_id": THEIRS, "data": {"item": NAMED["item"]}}]}),
        told({"event": {"organization_id": int(THEIRS)}, "data": {"item": NAMED["item"]}}),
        told({"notification": NAMED}),
        told({"item.organization_id": THEIRS, "item.item_id": "1"}),
        form([("JSONString", text)]),
        form([("payload", text), ("event", "x")]),
        form([("organization_id", THEIRS), ("payload", json.dumps({"item": NAMED["item"]}))]),
        form([("organization_id", THEIRS), ("item_id", "1")]),
        form([("item[organization_id]", THEIRS), ("item[item_id]", "1")]),
        MARK + told(NAMED),
        text.encode("utf-16"),
        told(NAMED)[:-4],
    ]


def take(mirror: Mirror, body: Any, *, many: bool, query: str | None = None) -> str:
    """As a receiver does whose own organisation is ours."""
    mirror.conn.execute("select set_config('tds.organization_id', %s, false)", [OURS])
    if many:
        return str(
            mirror.value(
                "select status from tds.receive_many(array['products'], array[%b::bytea], array[%s::text])",
                told(body),
                query,
            )
        )
    return str(mirror.value("select status from tds.receive('products', %b, %s)", told(body), query))


@pytest.mark.parametrize("many", [True, False])
def test_whose_it_is(mirror: Mirror, many: bool) -> None:
    def rows() -> list[tuple[str, str]]:
        mirror.process()
        found = mirror.rows("select organization_id, zoho_item_id from zoho.products order by 1, 2")
        return [(row["organization_id"], row["zoho_item_id"]) for row in found]

    # nobody has configured theirs: stored under its name, and dead with the reason
    for body in (NAMED, {"data": NAMED}, {"item": NAMED["item"] | {"organization_id": int(THEIRS)}}):
        assert take(mirror, body, many=many) == "rejected"
    assert rows() == []
    dead = mirror.rows("select distinct organization_id, reason from tds.dead_letter")
    assert [row["organization_id"] for row in dead] == [THEIRS]
    assert f"{THEIRS} is not configured here" in dead[0]["reason"]
    assert mirror.value("select count(*) from tds.wanted_detail") == 0
    assert take(mirror, NAMED | {"organization_id": "not an id"}, many=many) == "rejected"
    for place, raw in enumerate(named_elsewhere()):
        assert mirror.value("select status from tds.receive('products', %b)", raw) == "rejected", raw
        stored = mirror.value("select organization_id from tds.inbox order by inbox_id desc limit 1")
        assert stored == THEIRS, (place, raw)
    assert take(mirror, [NAMED, {"organization_id": OURS, "item": {"item_id": "5"}}], many=many) == "rejected"
    reasons = mirror.rows("select reason from tds.dead_letter order by dead_letter_id desc limit 1")
    assert reasons[0]["reason"].startswith(f"organization_id: several in one body ({THEIRS}, {OURS})")
    # the query goes before the body, the body before the receiver's own
    assert take(mirror, NAMED, many=many, query="9000000007") == "queued"
    assert take(mirror, {"item": {"item_id": "2"}}, many=many) == "queued"
    assert take(mirror, {"organization_id": OURS, "item": {"item_id": "3"}}, many=many) == "queued"
    assert rows() == [(OURS, "2"), (OURS, "3"), ("9000000007", "1")]
    mirror.conn.execute(
        "update tds.setting set value = %s where name = 'organization_ids'", [f'["{THEIRS}"]']
    )
    assert take(mirror, NAMED, many=many) == "queued"
    assert rows()[0] == (THEIRS, "1")


MONEY = {
    "invoices": (
        {"invoice": {"invoice_id": "1", "discount": "10%", "discount_amount": 10, "credits_applied": 5, "write_off_amount": 1,
                     "shipping_charge": 2, "adjustment": -1, "tax_amount_withheld": 3, "tds_amount": 4}},
        "discount_amount, credits_applied, write_off_amount, shipping_charge, adjustment, tax_withheld, tds_amount",
        (10, 5, 1, 2, -1, 3, 4),
    ),
    "credit_notes": (
        {"creditnote": {"creditnote_id": "1", "discount_type": "entity_level", "discount": 10, "discount_amount": 10, "sub_total": 100,
                        "tax_total": 0, "total": 90, "invoices_credited": [{"invoice_id": "5", "amount_applied": 50}]}},
        "discount_amount, (select amount from zoho.credit_note_invoices), total_differs::int",
        (10, 50, 0),
    ),
    "bills": (
        {"bill": {"bill_id": "1", "discount_type": "entity_level", "discount": 0, "sub_total": 45000, "tax_total": 8100, "tds_amount": 450,
                  "total": 52650, "payments": [{"payment_id": "7", "bill_payment_id": "8", "amount": 52650, "date": "2026-01-05"}]}},
        "tds_amount, (select amount from zoho.bill_payments), total_differs::int",
        (450, 52650, 0),
    ),
    "sales_orders": (
        {"salesorder": {"salesorder_id": "1", "discount_total": 7, "shipping_charge": 3, "adjustment": 1}},
        "discount_amount, shipping_charge, adjustment",
        (7, 3, 1),
    ),
    "customers": (
        {"contact": {"contact_id": "1", "contact_type": "customer", "pricebook_id": "9", "gst_no": "24ABC",
                     "unused_credits_receivable_amount": 12, "contact_persons": [{"contact_person_id": "3", "first_name": "Ali"},
                     {"contact_person_id": "4"}]}},
        "zoho_pricebook_id::int, unused_credits_receivable, (select count(*) from zoho.contact_persons)",
        (9, 12, 2),
    ),
    "products": (
        {"item": {"item_id": "1", "available_stock": 4, "committed_stock": 1, "actual_available_stock": 3}},
        "available_stock, committed_stock, actual_available_stock",
        (4, 1, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("entity", MONEY)
def test_what_is_told_of_money_has_its_column(mirror: Mirror, entity: str) -> None:
    body, columns, values = MONEY[entity]
    mirror.receive(entity, body, "detail")
    assert mirror.process()["applied"] == 1
    table = mirror.value("select target from tds.entity where entity = %s", entity)
    row = mirror.conn.execute(f"select {columns} from zoho.{table}").fetchone()
    assert row is not None
    assert tuple(map(Decimal, row)) == tuple(map(Decimal, values))


def test_columns_that_an_upgrade_brings_are_filled_from_what_is_stored(mirror: Mirror) -> None:
    for entity, (body, _, _) in MONEY.items():
        mirror.receive(entity, body, "detail")
    mirror.process()
    before = {}
    for entity, (_, columns, _) in MONEY.items():
        table = mirror.value("select target from tds.entity where entity = %s", entity)
        before[table] = (columns, mirror.conn.execute(f"select {columns} from zoho.{table}").fetchone())
    # as they are after the migration
    mirror.conn.execute(
        "update zoho.invoices set credits_applied = null, write_off_amount = null; update zoho.bills set tds_amount = null;"
        "update zoho.products set available_stock = null; update zoho.contacts set zoho_pricebook_id = null;"
        "delete from zoho.contact_persons; delete from zoho.bill_payments;"
        "update zoho.credit_note_invoices set amount = null; update zoho.sales_orders set discount_amount = null"
    )
    mirror.conn.execute("insert into tds.column_to_fill (entity, organization_id) select e, %s from unnest(%s::text[]) e",
                        [ORGANIZATION, list(MONEY)])  # fmt: skip
    wanted = mirror.value("select count(*) from tds.wanted_detail")
    steps = 0
    while mirror.value("select tds.fill_new_columns()"):
        steps += 1
        assert steps < 50
    for table, (columns, row) in before.items():
        assert mirror.conn.execute(f"select {columns} from zoho.{table}").fetchone() == row
    assert mirror.value("select count(*) from tds.wanted_detail") == wanted, "nothing was asked of Zoho"


def test_no_body_however_wrapped_ends_the_reading(database: Database) -> None:
    """Depth and nonsense end as dead letters."""
    deep: Any = {"item_id": "1"}
    for _ in range(40):
        deep = {"item": deep}
    nonsense = [
        deep,
        {"item": []},
        {"item": 5},
        {"data": "text"},
        [[[]]],
        {"": 1},
        {"a.b": 1},
        "text",
        {"items": [[], 1, None, "x"]},
    ]
    with database.connect(autocommit=True) as conn:
        mirror = Mirror(conn)
        for body in nonsense:
            mirror.receive("products", body)
        mirror.process()
        assert mirror.value("select count(*) from tds.inbox_open") == 0
        assert mirror.value("select count(*) from zoho.products") == 0


# A balance that does not follow is told by a list row's own, older edit; the contact's type names its table.
NOT_COMPARED = {"balance_differs", "total_differs", "contact_type", "account_name"}
# What a list may round or leave behind, and what is no money.
NOT_VERIFIED = {
    "exchange_rate", "payment_terms", "price_precision", "decimal_place", "percentage", "tax_percentage", "fiscal_year_start_month",
    "sub_total", "tax_total", "purchase_rate", "reorder_level", "bcy_amount", "bank_charges", "bcy_unused_amount",
}  # fmt: skip


def test_every_amount_is_compared_by_the_demo_and_by_verify(mirror: Mirror) -> None:
    for entity in KINDS:
        filled = mirror.rows(
            """select c.column_name as name
                 from tds.entity n cross join lateral tds.columns_of(n.entity, '') c
                where n.entity = %s and c.column_name not in (select l.column_name from tds.link l where l.target = n.target)""",
            entity,
        )
        spec = ENTITIES[entity]
        lacking = {row["name"] for row in filled} - set(spec.columns) - NOT_COMPARED
        assert lacking <= {"effective_from", "effective_to", "zoho_created_at"}, entity
        for child in mirror.rows("select list_key, target from tds.child where entity = %s", entity):
            [compared] = [part for part in spec.children if part.table == child["target"]]
            columns = mirror.rows(
                "select c.column_name as name from tds.columns_of(%s, %s) c where c.link_join is null",
                entity,
                child["list_key"],
            )
            assert {row["name"] for row in columns} - set(compared.columns) <= NOT_COMPARED, child
        unverified = mirror.rows(
            "select f.key from tds.field f where f.entity = %s and f.list_key = '' and f.reader = 'number' and f.column_name is not null "
            "and not exists (select from tds.verified_field v where v.entity = f.entity and v.key = f.key)",
            entity,
        )
        assert {row["key"] for row in unverified} <= NOT_VERIFIED, entity
