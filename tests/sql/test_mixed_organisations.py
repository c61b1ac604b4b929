"""Batches across organisations: mixed, each ends as it does alone, and what befalls one costs the others nothing."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import product

SEEDS = int(os.environ.get("TDS_TEST_MIXED_SEEDS", "1"))
"""So many stories are told, each by organisations of its own."""


def mixed(seed: int) -> list[str]:
    return [f"70{seed:05d}000{n}" for n in range(4)]


def alone(organization: str) -> str:
    """The twin, whose events are told and applied by themselves."""
    return f"71{organization[2:]}"


IDS = ("1", "2", "3")
EVENTS = 24
"""So many an organisation."""

Event = tuple[str, dict[str, Any], str, str]
"""Entity, body, shape, and upsert or delete."""

STATE = {
    "products": "select zoho_item_id, zoho_metadata, sync_rank, sync_modified_at, deleted_at is null, name, unit_price, currency"
    " from zoho.products where organization_id = %s order by 1",
    "stock": "select zoho_item_id, zoho_warehouse_id, on_hand, product_id is not null from zoho.stock_levels"
    " where organization_id = %s order by 1, 2",
    "invoices": "select zoho_invoice_id, zoho_metadata, sync_rank, sync_modified_at, deleted_at is null"
    " from zoho.invoices where organization_id = %s order by 1",
    "lines": "select zoho_invoice_id, line_number, zoho_item_id, quantity, product_id is not null"
    " from zoho.invoice_line_items where organization_id = %s order by 1, 2",
    "contacts": "select zoho_contact_id, contact_type, zoho_metadata from zoho.contacts where organization_id = %s order by 1",
    "prices": "select zoho_pricebook_id, zoho_item_id, rate from zoho.product_prices where organization_id = %s order by 1, 2",
    "dead letters": "select entity, zoho_id, path, reason, resolved_at is null from tds.dead_letter"
    " where organization_id = %s order by 1, 2, 3, 4, 5",
    "absences": "select entity, zoho_id, state from tds.held_deletion where organization_id = %s order by 1, 2",
    "wants": "select entity, zoho_id, reason, wanted_at, modified_at from tds.wanted_detail"
    " where organization_id = %s order by 1, 2",
    "outcomes": "select i.entity, i.observed_at, o.status, o.applied, o.unchanged, o.stale, o.retried, o.dead, o.outcomes"
    " from tds.inbox i join tds.inbox_outcome o using (received_at, inbox_id) where i.organization_id = %s order by 2, 1",
}  # fmt: skip


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "update tds.setting set value = %s where name = 'organization_ids'",
            [
                json.dumps(
                    [name for seed in range(SEEDS) for one in mixed(seed) for name in (one, alone(one))]
                )
            ],
        )
        yield connection


def an_event(rng: Random, minute: int, bad: bool) -> Event:
    """One of the kinds of tellings: readable and not, newer and older, whole and thin, of products and documents."""
    item = rng.choice(IDS)
    at = f"2026-06-{rng.randint(1, 9):02d}T09:{minute:02d}:00Z"
    whole = product(item, last_modified_time=at, rate=rng.randint(1, 9), brand="b", stock_on_hand=1)
    kind = rng.randrange(11)
    if kind < 3:
        return "products", {"item": whole}, "webhook", "upsert"
    if kind == 3:
        return "products", {"item": {"item_id": item, "name": f"Thin {minute}"}}, "webhook", "upsert"
    if kind == 4:
        place = {"location_id": "5", "location_name": "Main", "location_stock_on_hand": rng.randint(1, 9)}
        return "products", {"item": whole | {"locations": [place]}}, "detail", "upsert"
    if kind == 5:
        rows = [product(other, last_modified_time=at, rate=rng.randint(1, 9)) for other in IDS]
        return "products", {"items": rows}, "list", "upsert"
    if kind == 6 and bad:
        return "products", {"item": whole | {"rate": "dear"}}, "webhook", "upsert"
    if kind in (6, 7):
        return "products", {"item": {"item_id": item}}, rng.choice(("webhook", "detail")), "delete"
    if kind == 8:
        lines = [{"item_id": other, "quantity": rng.randint(1, 4), "rate": 2} for other in rng.sample(IDS, 2)]
        return (
            "invoices",
            {"invoice": {"invoice_id": item, "invoice_number": f"I{item}", "status": "sent", "date": "2026-06-01",
                         "customer_id": "9", "last_modified_time": at, "line_items": lines}},
            rng.choice(("webhook", "detail")),
            "upsert",
        )  # fmt: skip
    if kind == 9:
        contact = {"contact_id": item, "contact_name": "n", "contact_type": rng.choice(("customer", "vendor")),
                   "last_modified_time": at, "billing_address": {"city": f"c{minute}"}}  # fmt: skip
        return "customers", {"contact": contact}, rng.choice(("webhook", "detail")), "upsert"
    book = {"pricebook_id": item, "name": "p", "pricebook_type": "per_item", "status": "active", "last_modified_time": at,
            "pricebook_items": [{"item_id": "1", "pricebook_rate": rng.randint(1, 9)}]}  # fmt: skip
    return "pricelists", {"pricebook": book}, "detail", "upsert"


def tell(conn: psycopg.Connection, organization: str, event: Event, minute: int) -> None:
    entity, body, shape, verb = event
    conn.execute(
        "select tds.receive(%s, %b, %s, 'test', %s, %s, %s::timestamptz)",
        [entity, json.dumps(body).encode(), organization, shape, verb, f"2026-06-09T12:{minute:02d}:00Z"],
    )


def drain(conn: psycopg.Connection) -> Counter[str]:
    """All that waits in one batch a queue, pages too: an outcome and a want depend on what came in one batch."""
    row = conn.execute("call tds.process_batch(null, 100000)").fetchone()
    assert row is not None
    return Counter(row[0])


def state(conn: psycopg.Connection, organization: str) -> Mapping[str, Sequence[Any]]:
    return {what: conn.execute(query.encode(), [organization]).fetchall() for what, query in STATE.items()}


@pytest.mark.parametrize("bad", [False, True], ids=["readable", "some unreadable"])
def test_organisations_mixed_end_as_each_does_alone(conn: psycopg.Connection, bad: bool) -> None:
    seen: Counter[str] = Counter()
    for seed in range(SEEDS):
        rng = Random(seed)
        stories = {
            organization: [an_event(rng, minute, bad) for minute in range(EVENTS)]
            for organization in mixed(seed)
        }
        for first in range(0, EVENTS, EVENTS // 2):
            batch = range(first, first + EVENTS // 2)
            for organization, story in stories.items():
                for minute in batch:
                    tell(conn, alone(organization), story[minute], minute)
                drain(conn)
            for minute in batch:
                for organization in rng.sample(list(stories), len(stories)):
                    tell(conn, organization, stories[organization][minute], minute)
            drain(conn)
        for organization in stories:
            told = state(conn, organization)
            assert told == state(conn, alone(organization)), (seed, organization)
            seen.update(what for what in STATE if told[what])
    assert set(STATE) - set(seen) <= (set() if bad else {"dead letters", "absences"})


@pytest.mark.parametrize("company", ["alone", "beside a body that nobody can read"])
def test_a_value_under_a_newer_one_is_read_whatever_came_with_it(
    conn: psycopg.Connection, company: str
) -> None:
    first, neighbour = mixed(0)[:2]
    bodies = [
        product("1", last_modified_time="2026-06-03T09:00:00Z", rate=3),
        product("1", last_modified_time="2026-06-02T09:00:00Z", rate="dear"),
    ]
    for minute, item in enumerate(bodies):
        tell(conn, first, ("products", {"item": item}, "webhook", "upsert"), minute)
    if company != "alone":
        conn.execute("select tds.receive('products', '{', %s)", [neighbour])
    drain(conn)
    told = state(conn, first)
    # overtaken at once by the newer one, but told
    assert [(row[2], row[4]) for row in told["dead letters"]] == [("rate", False)]
    assert [row[6] for row in told["products"]] == [3]
