"""What records were: asked back at random moments, field by field, told by which event."""

from __future__ import annotations

import json
import os
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Mirror

EDITS = int(os.environ.get("TDS_HISTORY_EDITS", "40"))
START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def invoice(number: int, **changed: Any) -> dict[str, Any]:
    """An invoice as its detail tells it."""
    return {
        "invoice_id": f"99{number:04}",
        "invoice_number": f"INV-{number}",
        "customer_id": "5001",
        "customer_name": "Quill & Co",
        "date": "2026-03-01",
        "status": "sent",
        "total": 100.00,
        "sub_total": 100.00,
        "balance": 100.00,
        "currency_code": "EUR",
        "line_items": [{"line_item_id": "1", "item_id": "7", "name": "Cable", "quantity": 1, "rate": 100.00, "item_total": 100.00}],
        "created_time": "2026-03-01T09:00:00+0000",
    } | changed  # fmt: skip


class Past:
    """A feed in Zoho's time that keeps what each record was."""

    def __init__(self, mirror: Mirror, seed: int) -> None:
        self.mirror = mirror
        self.dice = random.Random(seed)
        self.now = START
        self.docs: dict[str, dict[str, Any]] = {}
        self.past: dict[str, list[tuple[datetime, dict[str, Any] | None]]] = {}

    def step(self) -> None:
        """An edit, a deletion or a revival of one of a few invoices, told to the mirror in one of the ways there are."""
        self.now += timedelta(seconds=self.dice.randint(60, 9000))
        number = self.dice.randint(1, 4)
        key = f"99{number:04}"
        doc = dict(self.docs.get(key) or self.last(key) or invoice(number))
        if key in self.docs and self.dice.random() < 0.08:
            self.delete(key)
            return
        if key in self.docs:
            self.edit(doc)
        doc["last_modified_time"] = f"{self.now:%Y-%m-%dT%H:%M:%S+0000}"
        self.docs[key] = doc
        self.past.setdefault(key, []).append((self.now, doc))
        self.tell(key, doc)

    def last(self, key: str) -> dict[str, Any] | None:
        # what was deleted and is there again is what it was
        return next((doc for _, doc in reversed(self.past.get(key, [])) if doc is not None), None)

    def edit(self, doc: dict[str, Any]) -> None:
        for _ in range(self.dice.randint(1, 3)):
            match self.dice.randint(0, 5):
                case 0:
                    doc["balance"] = self.dice.randint(0, 10000) / 100
                case 1:
                    doc["status"] = self.dice.choice(["sent", "paid", "overdue", "void"])
                case 2:
                    lines = [dict(line) for line in doc["line_items"]]
                    self.dice.choice(lines)["quantity"] = self.dice.randint(1, 99)
                    doc["line_items"] = lines
                case 3:
                    line = dict(doc["line_items"][0], line_item_id=str(self.dice.randint(2, 10**6)))
                    doc["line_items"] = [*doc["line_items"], line]
                    self.dice.shuffle(doc["line_items"])
                case 4 if len(doc["line_items"]) > 1:
                    gone = self.dice.randrange(len(doc["line_items"]))
                    doc["line_items"] = doc["line_items"][:gone] + doc["line_items"][gone + 1 :]
                case _:
                    doc["notes"] = f"note {self.dice.random()}"
                    doc["custom_field_hash"] = {
                        "cf_ref": str(self.dice.random()),
                        "nested": [1.5, {"a": None}],
                    }

    def delete(self, key: str) -> None:
        clock = self.now + timedelta(seconds=20)
        self.at(clock)
        for moment in (clock - timedelta(seconds=10), clock):
            self.mirror.receive("invoices", {"invoice": {"invoice_id": key}}, shape="detail", event="delete",
                                source="poller", observed_at=moment)  # fmt: skip
            self.mirror.receive(
                "invoices", {"invoice": {"invoice_id": key}}, event="delete", observed_at=moment
            )
        self.mirror.process()
        gone = self.mirror.value("select deleted_at from zoho.invoices where zoho_invoice_id = %s", key)
        assert gone == clock
        del self.docs[key]
        self.past[key].append((clock, None))
        self.now = clock

    def tell(self, key: str, doc: dict[str, Any]) -> None:
        way = self.dice.choice(["detail", "detail", "list", "webhook"])
        told = self.now + timedelta(seconds=self.dice.randint(1, 30))
        self.at(told)
        shape = "detail" if self.past[key][-2:-1] and self.past[key][-2][1] is None else way
        if shape == "list":
            # a list row first, that lacks the lines, and its detail after it
            row = {k: v for k, v in doc.items() if k not in ("line_items", "notes", "custom_field_hash")}
            self.mirror.receive(
                "invoices", {"invoices": [row]}, shape="list", source="poller", observed_at=told
            )
            self.mirror.process()
            shape = "detail"
        self.mirror.receive("invoices", {"invoice": doc}, shape=shape, observed_at=told,
                            source="webhook" if shape == "webhook" else "poller")  # fmt: skip
        self.mirror.process()
        self.now = told

    def at(self, moment: datetime) -> None:
        self.mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [moment.isoformat()])

    def was(self, key: str, moment: datetime) -> tuple[bool, dict[str, Any] | None]:
        known = [doc for since, doc in self.past.get(key, []) if since <= moment]
        return (bool(known), known[-1] if known else None)


@pytest.mark.timeout(300 + 2 * EDITS)
@pytest.mark.parametrize("seed", [7])
def test_random_edits_are_asked_back_at_random_moments(mirror: Mirror, seed: int) -> None:
    past = Past(mirror, seed)
    for _ in range(EDITS):
        past.step()
    for _ in range(EDITS):
        key = past.dice.choice(sorted(past.past))
        moment = START + (past.now - START) * past.dice.random()
        moment = moment.replace(microsecond=0)
        known, doc = past.was(key, moment)
        found = mirror.rows("select * from tds.record_at('invoices', %s, %s)", key, moment)
        assert len(found) == known, (key, moment)
        if doc is None:
            assert not known or found[0]["deleted_at"] is not None, (key, moment)
        else:
            assert found[0]["deleted_at"] is None, (key, moment)
            assert found[0]["document"] == doc, (key, moment)
    # from the very moment of the edit on, though a list row told half of it and the detail the rest
    for key, versions in past.past.items():
        for (since, doc), before in zip(versions, [None, *versions], strict=False):
            if doc is not None and (before is None or before[1] is not None):
                found = mirror.rows("select document from tds.record_at('invoices', %s, %s)", key, since)
                assert found == [{"document": doc}], (key, since)
    # and what the fields became, one after the other, is what the record is
    for key, versions in past.past.items():
        assert (
            mirror.value("select count(*) from tds.record_changes('invoices', %s) where kind = 'first'", key)
            == 1
        )
        last = [doc for _, doc in versions if doc is not None][-1]
        row = mirror.value("select zoho_metadata from zoho.invoices where zoho_invoice_id = %s", key)
        assert row == last


def test_every_row_names_its_event_and_a_first_load_has_no_past(mirror: Mirror) -> None:
    mirror.receive("invoices", {"invoice": invoice(1, last_modified_time="2026-03-01T09:00:00+0000")})
    mirror.receive("products", {"item": {"item_id": "7", "name": "Cable", "rate": 1.5}})
    mirror.process()
    newest = mirror.value("select max(inbox_id) from tds.inbox where entity = 'invoices'")
    assert mirror.value("select sync_event from zoho.invoices") == newest
    assert mirror.value("select sync_event is not null from zoho.products")
    assert mirror.value("select count(*) from tds.record_history") == 0
    changed = invoice(1, last_modified_time="2026-03-02T09:00:00+0000", status="paid", balance=0)
    changed["line_items"] = [
        changed["line_items"][0] | {"quantity": 2},
        {"line_item_id": "2", "item_id": "7"},
    ]
    mirror.receive("invoices", {"invoice": changed})
    mirror.receive("products", {"item": {"item_id": "7", "name": "Cord", "rate": 1.5}})
    mirror.process()
    event = mirror.value("select max(inbox_id) from tds.inbox where entity = 'invoices'")
    assert event > newest
    assert mirror.value("select sync_event from zoho.invoices") == event
    told = mirror.rows("select * from tds.record_changes('invoices', '990001') where kind <> 'first'")
    assert {(row["field"], json.dumps(row["before"]), json.dumps(row["after"])) for row in told} == {
        ("status", '"sent"', '"paid"'),
        ("balance", "100.0", "0"),
        ("last_modified_time", '"2026-03-01T09:00:00+0000"', '"2026-03-02T09:00:00+0000"'),
        ("line_items[1].quantity", "1", "2"),
        ("line_items[2]", "null", '{"item_id": "7", "line_item_id": "2"}'),
    }
    assert {(row["inbox_id"], row["kind"], row["changed_at"].isoformat()) for row in told} == {
        (event, "changed", "2026-03-02T09:00:00+00:00")
    }
    # of products none is kept, until somebody says so
    assert mirror.value("select count(*) from tds.record_history where target = 'products'") == 0
    mirror.value("select tds.keep_history('products')")
    mirror.receive("products", {"item": {"item_id": "7", "name": "Wire", "rate": 1.5}})
    mirror.process()
    assert [
        r["field"]
        for r in mirror.rows("select * from tds.record_changes('products', '7') where kind <> 'first'")
    ] == ["name"]


def test_before_its_first_event_nothing_is_known_of_a_record(mirror: Mirror) -> None:
    stamps = ["2026-03-01T09:00:00+0000", "2026-03-02T09:00:00+0000"]
    for stamp, status in zip(stamps, ("sent", "paid"), strict=True):
        mirror.receive("invoices", {"invoice": invoice(1, last_modified_time=stamp, status=status)})
        mirror.process()
    at = "select document ->> 'status' as was from tds.record_at('invoices', %s, %s)"
    for moment in ("2026-03-01T08:59:59.999999+0000", "1970-01-01", "-infinity"):
        assert mirror.rows(at, "990001", moment) == []
    assert mirror.rows(at, "990001", stamps[0]) == [{"was": "sent"}]
    assert mirror.rows(at, "990001", "infinity") == [{"was": "paid"}]
    # as the mirror knew it before it was told of it, and of a record that nobody told of
    known = "select * from tds.record_at('invoices', '990001', now(), known_at => now() - interval '1 year')"
    assert mirror.rows(known) == []
    assert mirror.rows(at, "990002", "infinity") == []
    assert mirror.rows("select * from tds.record_changes('invoices', '990002')") == []
    with pytest.raises(psycopg.Error) as refused:
        mirror.rows("select * from tds.record_at('invoces', '990001', now())")
    assert refused.value.sqlstate == "ZB002"


def test_what_differs_is_put_back_byte_by_byte(mirror: Mirror) -> None:
    pairs = [
        ('{"a": 1.00, "b": [1, 2, 3], "c": {"d": null}}', '{"a": 1.0, "b": [1, 9], "e": []}'),
        ('{"b": []}', '{"b": [{"x": 1}]}'),
        ('{"b": [{"x": 1}, null, []]}', '{"b": "none"}'),
        ('{}', '{"a": null}'),
        ('{"a": null, "b": [[1], [2]]}', '{"b": [[1]]}'),
    ]  # fmt: skip
    for one, other in pairs:
        for older, newer in ((one, other), (other, one), (one, one)):
            found = mirror.value(
                "select tds.as_it_was(%s::jsonb, tds.put_back(%s::jsonb, %s::jsonb))::text",
                newer,
                older,
                newer,
            )
            assert found == mirror.value("select %s::jsonb::text", older)
    assert mirror.value("select tds.put_back('{\"a\": [1]}', '{\"a\": [1]}')") == {}
