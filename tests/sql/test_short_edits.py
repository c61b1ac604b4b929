"""Edits by the short way, from the stored body to the row and what hangs on it: they end as they do by the long one, byte for byte."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import Mirror
from tests.sql.test_locks import interleave

SEEDS = int(os.environ.get("TDS_TEST_EDIT_SEEDS", "1"))
"""So many histories are told, each twice."""
STEPS = int(os.environ.get("TDS_TEST_EDIT_STEPS", "24"))
"""Batches of a history."""

SHORT, LONG, OTHER = "7200000001", "7200000002", "7200000003"
"""Two organisations that are told the same; whatever the second is told comes with something of the third that needs the long way."""
START = datetime(2026, 5, 1, 9, tzinfo=UTC)
IDS = ("1", "2", "3")

Doc = dict[str, Any]


def line(rng: Random, number: int) -> Doc:
    return {"line_item_id": f"8{number}{rng.randint(1, 3)}", "item_id": rng.choice(IDS), "name": "Cable", "quantity": rng.randint(1, 3),
            "rate": rng.choice((5, 5.0, 7.25)), "item_total": 10, "discount": rng.choice(("", "5%"))}  # fmt: skip


def applied_to(key: str) -> Any:
    """An element of what a payment or a credit is applied to."""

    def element(rng: Random, number: int) -> Doc:
        return {
            key: rng.choice(IDS),
            "amount_applied": rng.randint(1, 5),
            "amount": rng.randint(1, 5),
            "date": "2026-05-01",
        }

    return element


def person(rng: Random, number: int) -> Doc:
    return {
        "contact_person_id": f"6{number}",
        "first_name": rng.choice(("Ana", "Bo")),
        "is_primary_contact": number == 0,
    }


# What each is told as: the key of one record, that of its id, its arrays, and what else it may say.
KINDS: Mapping[str, tuple[str, str, Mapping[str, Any], Doc]] = {
    "invoices": ("invoice", "invoice_id", {"line_items": line}, {"customer_id": "1", "sub_total": 10, "total": 10, "balance": 4}),
    "bills": ("bill", "bill_id", {"line_items": line, "vendor_credits": applied_to("vendor_credit_id"),
                                  "payments": applied_to("payment_id")}, {"vendor_id": "2", "total": 10}),
    "credit_notes": ("creditnote", "creditnote_id",
                     {"line_items": line, "invoices_credited": applied_to("invoice_id")}, {"customer_id": "1", "total": 9}),
    "sales_orders": ("salesorder", "salesorder_id", {"line_items": line}, {"customer_id": "1", "total": 9}),
    "vendor_credits": ("vendor_credit", "vendor_credit_id",
                       {"line_items": line, "bills_credited": applied_to("bill_id")}, {"vendor_id": "2", "total": 9}),
    "payments": ("payment", "payment_id", {"invoices": applied_to("invoice_id")}, {"customer_id": "1", "amount": 9, "unused_amount": 1}),
    "vendor_payments": ("vendorpayment", "payment_id", {"bills": applied_to("bill_id")}, {"vendor_id": "2", "amount": 9, "balance": 1}),
    "customers": ("contact", "contact_id", {"contact_persons": person},
                  {"contact_name": "n", "contact_type": "customer", "billing_address": {"city": "Basel"}}),
    "products": ("item", "item_id", {}, {"name": "Cable", "rate": 2, "status": "active", "brand": "b"}),
    "pricelists": ("pricebook", "pricebook_id", {"pricebook_items": lambda rng, number: {"item_id": IDS[number % 3], "pricebook_rate": 2}},
                   {"name": "p", "pricebook_type": "per_item", "status": "active"}),
}  # fmt: skip


class History:
    """What Zoho tells of a few records as they are edited: a batch a step, each told to two organisations.

    Args:
        conn: in autocommit mode.
        rng: what happens.
        organizations: the two.
    """

    def __init__(self, conn: psycopg.Connection, rng: Random, organizations: tuple[str, str]) -> None:
        self.conn = conn
        self.rng = rng
        self.organizations = organizations
        self.now = START
        self.kinds = rng.sample(list(KINDS), 2)
        self.docs: dict[tuple[str, str], Doc] = {}

    def edited(self, entity: str, key: str) -> Doc:
        """The record as it is from now on."""
        id_key, arrays, more = KINDS[entity][1:]
        doc = dict(self.docs.get((entity, key)) or {id_key: key, **more})
        for name, element in arrays.items():
            rows = list(doc.get(name) or [])
            match self.rng.randrange(7):
                case 0 | 1:
                    rows.insert(self.rng.randint(0, len(rows)), element(self.rng, len(rows)))
                case 2 if rows:
                    rows.pop(self.rng.randrange(len(rows)))
                case 3 if rows:
                    at = self.rng.randrange(len(rows))
                    rows[at] = rows[at] | element(self.rng, at)
                case 4 if rows and self.rng.random() < 0.3:
                    rows = []
            doc[name] = rows
        doc["reference_number"] = f"r{self.rng.randint(1, 9)}"
        if entity == "customers" and self.rng.random() < 0.1:
            doc["contact_type"] = "vendor" if doc["contact_type"] == "customer" else "customer"
        doc["last_modified_time"] = f"{self.now:%Y-%m-%dT%H:%M:%SZ}"
        self.docs[entity, key] = doc
        return doc

    def telling(self, entity: str) -> tuple[Doc, str, str]:
        """A body, its shape, and what it tells: mostly the next edit, now and then something else."""
        record_key, id_key, arrays, _ = KINDS[entity]
        key = self.rng.choice(IDS[:2])
        doc = self.edited(entity, key)
        told = dict(doc)
        match self.rng.randrange(20):
            case 0:
                for name in arrays:
                    told.pop(name)
            case 1:
                told = {name: told[name] for name in (id_key, "reference_number", "last_modified_time")}
            case 2:
                told["last_modified_time"] = (
                    f"{self.now - timedelta(hours=self.rng.randint(1, 9)):%Y-%m-%dT%H:%M:%SZ}"
                )
            case 3:
                return (
                    {record_key: {id_key: key, "reference_number": self.now.isoformat()}},
                    "webhook",
                    "delete",
                )
            case 4 if arrays:
                told[self.rng.choice(list(arrays))] = []
            case 5 if arrays and self.rng.random() < 0.5:
                told[next(iter(arrays))] = [{"amount": "dear", "rate": "dear", "is_primary_contact": 7}]
        return {record_key: told}, self.rng.choice(("webhook", "webhook", "detail", "list")), "upsert"

    def step(self) -> None:
        """A batch of one kind: told and processed for the one, then for the other beside something that needs the long way."""
        self.now += timedelta(minutes=self.rng.randint(1, 90))
        self.conn.execute("select set_config('tds.fake_now', %s, false)", [self.now.isoformat()])
        entity = self.rng.choice(self.kinds)
        told = [self.telling(entity) for _ in range(self.rng.choice((1, 1, 1, 1, 2)))]
        claimed: list[int] = []
        for organization in self.organizations:
            for number, (body, shape, verb) in enumerate(told):
                self.tell(organization, entity, body, shape, verb, self.now - timedelta(seconds=9 - number))
            if organization == self.organizations[1]:
                gone = {KINDS[entity][1]: "404", "reference_number": self.now.isoformat()}
                self.tell(OTHER, entity, {KINDS[entity][0]: gone}, "webhook", "delete", self.now)
            row = self.conn.execute("call tds.process_batch(null, 100000)").fetchone()
            assert row is not None
            claimed.append(row[0]["claimed"])
        assert claimed[1] == claimed[0] + 1

    def tell(
        self, organization: str, entity: str, body: Doc, shape: str, verb: str, observed_at: datetime
    ) -> None:
        self.conn.execute(
            "select tds.receive(%s, %b, %s, 'test', %s, %s, %s)",
            [entity, json.dumps(body).encode(), organization, shape, verb, observed_at],
        )


class State:
    """Reads every row that the mirror and its books have of an organisation, without what numbers were drawn for them."""

    NUMBERS = ("id", "history_id", "dead_letter_id", "organization_id")
    EVENTS = ("inbox_id", "sync_event", "was_event", "newer_inbox_id")
    NOT_THEIRS = ("tds.inbox", "tds.verify_run", "tds.organization")

    def __init__(self, conn: psycopg.Connection) -> None:
        self.conn = conn
        names = conn.execute(
            "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            "  join pg_attribute a on a.attrelid = c.oid and a.attname = 'organization_id'"
            " where n.nspname in ('zoho', 'tds') and c.relkind in ('r', 'p') and not c.relispartition"
        ).fetchall()
        self.query = " union all ".join(
            f"select '{name}', to_jsonb(t) from {name} t where organization_id = %(organization)s"
            for (name,) in names
            if name not in self.NOT_THEIRS
        )

    def of(self, organization: str) -> list[tuple[str, str]]:
        """The rows as text, each with its table."""
        events = {
            inbox_id: f"event {n}"
            for n, (inbox_id,) in enumerate(
                self.conn.execute(
                    "select inbox_id from tds.inbox where organization_id = %s order by 1", [organization]
                )
            )
        }
        rows = self.conn.execute(self.query.encode(), {"organization": organization}).fetchall()
        return sorted(
            (table, json.dumps({name: self.shown(table, name, value, events) for name, value in spelled_out(row).items()},
                               sort_keys=True).replace(organization, "ORG"))
            for table, row in rows
        )  # fmt: skip

    def shown(self, table: str, name: str, value: Any, events: Mapping[int, str]) -> Any:
        if name in self.NUMBERS:
            return None
        if name in self.EVENTS:
            return events.get(value, value)
        if name == "resolution" and value:
            return " ".join("a number" if word.isdigit() else word for word in value.split())
        # a link is a number that was drawn for another row
        return (
            value is not None
            if table.startswith("zoho.") and name.endswith("_id") and not name.startswith("zoho_")
            else value
        )


def spelled_out(row: Doc) -> Doc:
    """A row whose layers name the keys of which a read's version is kept, as the fold does: the short form says all but which."""
    for layers, keys in (("sync_layers", set(row.get("zoho_metadata") or ())), ("was_layers", set[str]())):
        for layer in row.get(layers) or ():
            shown = {key for other in row[layers] for key in other.get("keys", ())}
            if "rest" in layer:
                layer["under"] = sorted({*layer.get("under", ()), *keys - shown - set(layer.pop("rest"))})
            layer["keys"] = sorted(layer.get("keys", ()))
            if layers == "was_layers":
                layer.pop("under", None)
    return row


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "update tds.setting set value = %s where name = 'organization_ids'",
            [json.dumps([f"{name}{seed}" for seed in range(SEEDS) for name in (SHORT, LONG)] + [OTHER])],
        )
        yield connection


NOTHING_IS_LATER = """
    create or replace function tds.is_later(stored text, m text, o text, r text) returns text
    language sql stable set search_path = pg_catalog, pg_temp as $$ select 'false' $$"""


@pytest.mark.parametrize("way", ["the long way", "the fold"])
def test_an_edit_ends_the_same_by_the_short_way_and_by(conn: psycopg.Connection, way: str) -> None:
    if way == "the fold":
        # whoever is met on the long way is folded key by key; the short way was made before
        conn.execute(NOTHING_IS_LATER)
        conn.execute("select tds.make_meeting(n.entity) from tds.entity n")
    state = State(conn)
    seen: set[str] = set()
    for seed in range(SEEDS):
        history = History(conn, Random(seed), (f"{SHORT}{seed}", f"{LONG}{seed}"))
        for number in range(STEPS):
            history.step()
            if number < STEPS - 1 and number % 4:
                continue
            short, long = (state.of(organization) for organization in history.organizations)
            assert (set(short) - set(long), set(long) - set(short)) == (set(), set()), (
                seed,
                number,
                history.kinds,
            )
            assert short == long
        seen |= {table for table, _ in short}
    assert "tds.record_history" in seen


NO_LONG_WAY = """
    create or replace function tds.resolve(
        entity tds.entity, records tds.record[],
        out organization_ids text[], out states tds.record_state[], out verdicts tds.verdict[], out folded bigint[])
    language plpgsql as $$ begin raise exception 'the long way'; end $$"""


@pytest.mark.parametrize("shape", ["webhook", "detail"])
def test_an_edit_needs_no_long_way(conn: psycopg.Connection, shape: str) -> None:
    history = History(conn, Random(5), (f"{SHORT}0", f"{LONG}0"))
    for entity in KINDS:
        for key in IDS:
            history.edited(entity, key)
    for edition in range(3):
        history.now += timedelta(hours=1)
        conn.execute("select set_config('tds.fake_now', %s, false)", [history.now.isoformat()])
        for entity, (record_key, *_) in KINDS.items():
            for key in IDS:
                doc = history.edited(entity, key) | (
                    {"contact_type": "customer"} if entity == "customers" else {}
                )
                # told at once: Zoho's clock and ours are one
                history.tell(
                    f"{SHORT}0",
                    entity,
                    {record_key: doc},
                    shape,
                    "upsert",
                    history.now + timedelta(seconds=1),
                )
        row = conn.execute("call tds.process_batch(null, 100000)").fetchone()
        assert row is not None
        assert row[0] == {"claimed": 30, "applied": 30, "unchanged": 0, "stale": 0, "retried": 0, "dead": 0}
        if edition == 0:
            conn.execute(NO_LONG_WAY)


def test_an_element_that_an_edit_does_not_change_is_neither_locked_nor_written(mirror: Mirror) -> None:
    def told(hour: int, *rates: int) -> Doc:
        lines = [{"line_item_id": f"8{n}", "item_id": "5", "rate": rate} for n, rate in enumerate(rates)]
        return {"invoice_id": "1", "line_items": lines, "last_modified_time": f"2026-05-01T{hour:02}:00:00Z"}

    query = "select line_number, ctid::text || xmin || ' ' || xmax as place from zoho.invoice_line_items order by 1"
    mirror.receive("invoices", {"invoice": told(1, 1, 2, 3, 4)}, shape="detail")
    mirror.process()
    before = {row["line_number"]: row["place"] for row in mirror.rows(query)}
    mirror.receive("invoices", {"invoice": told(2, 1, 7, 3)}, shape="webhook")
    mirror.process()
    after = {row["line_number"]: row["place"] for row in mirror.rows(query)}
    assert after.keys() == {1, 2, 3}
    assert {number for number in after if after[number] != before[number]} == {2}


def test_a_line_that_vanishes_while_it_is_linked_is_gone(database: Database, mirror: Mirror) -> None:
    """Whoever links it has it, and gives it another place; the edit waits, and deletes it where it is then."""
    lines = [{"line_item_id": str(n), "item_id": "5", "rate": n} for n in range(3)]
    invoice = {"invoice_id": "1", "line_items": lines, "last_modified_time": "2026-05-01T01:00:00Z"}
    mirror.receive("invoices", {"invoice": invoice}, shape="detail")
    mirror.process()
    later = invoice | {"line_items": lines[:1], "last_modified_time": "2026-05-01T02:00:00Z"}
    mirror.receive("invoices", {"invoice": later}, shape="detail")
    claim = mirror.value("select claim_id from tds.claim('invoices', 1000)")
    interleave(
        database,
        "select from zoho.invoice_line_items where line_number = 2 for update",
        "update zoho.invoice_line_items set product_id = 7 where line_number = 2",
        f"select tds.apply_claim({claim}); commit",
    )
    assert mirror.rows("select line_number, product_id from zoho.invoice_line_items") == [
        {"line_number": 1, "product_id": None}
    ]
