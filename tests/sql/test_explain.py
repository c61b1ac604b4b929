"""tds.explain_record(): every event that told of a record, whatever its name and fate, with the run and page that brought it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror, product

OLD = "2026-06-01T09:46:21-0400"
NEW = "2026-06-10T09:46:21-0400"


def explain(mirror: Mirror, entity: str, zoho_id: str, *columns: str) -> list[tuple[Any, ...]]:
    query = f"select {', '.join(columns)} from tds.explain_record(%s, %s, %s)"
    return [tuple(row.values()) for row in mirror.rows(query, entity, zoho_id, ORGANIZATION)]


def page(mirror: Mirror, run_id: int, number: int, *records: dict[str, Any]) -> int:
    body = json.dumps({"items": records}).encode()
    stored = "select tds.store_page(%s, %s, %b, now(), true)"
    return int(mirror.value(stored, run_id, number, body))


def test_a_record_of_a_page_that_is_retried_parked_and_buried(mirror: Mirror) -> None:
    mirror.conn.execute(
        "alter table zoho.products add constraint dear check (unit_price is distinct from 13) not valid"
    )
    run_id = mirror.value("select tds.start_run('products', %s)", ORGANIZATION)
    page(mirror, run_id, 1, product("1"))
    paged = page(mirror, run_id, 2, product("2"), product("5", rate=13), product("3"))
    mirror.process()
    columns = ("inbox_id", "source", "run_id", "page", "position", "outcome")
    first, second = explain(mirror, "products", "5", *columns)
    retry = second[0]
    assert first == (paged, "poller", run_id, 2, 2, "retried")
    assert second == (retry, "retry", run_id, 2, 2, "parked")
    [(went_on,), (waits,)] = explain(mirror, "products", "5", "why")
    assert went_on == f"goes on as event {retry}"
    assert waits.startswith("tried again at ")
    assert " after 23514: " in waits
    assert '"dear"' in waits
    assert explain(mirror, "products", "1", *columns[2:]) == [(run_id, 1, 1, "applied")]
    assert explain(mirror, "products", "3", *columns[2:]) == [(run_id, 2, 3, "applied")]

    for hours in range(1, 6):
        moment = "select set_config('tds.fake_now', (now() + %s * interval '2 hours')::text, false)"
        mirror.conn.execute(moment, [hours])
        mirror.process()
    assert explain(mirror, "products", "5", "outcome") == [("retried",), ("dead",)]
    [_, (why,)] = explain(mirror, "products", "5", "why")
    assert '"dear"' in why

    mirror.conn.execute("alter table zoho.products drop constraint dear")
    mirror.conn.execute("select tds.replay('products')")
    mirror.process()
    assert explain(mirror, "products", "5", "source", "run_id", "page", "outcome", "why")[2] == (
        "replay",
        run_id,
        2,
        "applied",
        f"replay of event {retry}",
    )


def test_a_webhook_that_is_parked_says_why(mirror: Mirror) -> None:
    mirror.conn.execute("alter table zoho.products add constraint none check (false) not valid")
    mirror.receive("products", {"item": product("5")})
    assert explain(mirror, "products", "5", "outcome", "why") == [("pending", None)]
    mirror.conn.execute("select tds.claim('products', 1000)")
    assert explain(mirror, "products", "5", "outcome", "why") == [("processing", None)]
    mirror.conn.execute("select tds.release_claim(claim_id, '40P01', 'again') from tds.claim")
    mirror.conn.execute("select pg_advisory_unlock_all(); update pgmq.q_tds_products set vt = now()")
    mirror.process()
    [(outcome, page_number, why)] = explain(mirror, "products", "5", "outcome", "page", "why")
    assert (outcome, page_number) == ("parked", None)
    assert " after 23514: " in why


@pytest.mark.parametrize("asked", ["customers", "vendors"])
def test_a_contact_is_known_under_both_names(mirror: Mirror, asked: str) -> None:
    told = {"contact_id": "77", "contact_type": "customer", "last_modified_time": MOMENT}
    mirror.receive("customers", {"contact": told})
    mirror.process()
    others = [{"contact_id": "76", "contact_type": "vendor", "last_modified_time": MOMENT}]
    mirror.receive("vendors", {"contacts": [*others, told | {"last_modified_time": NEW}]}, shape="list")
    mirror.receive("vendors", {"contact": told | {"last_modified_time": OLD}})
    mirror.process()
    assert explain(mirror, asked, "77", "position", "shape", "outcome") == [
        (1, "webhook", "applied"),
        (2, "list", "applied"),
        (1, "webhook", "stale"),
    ]


def test_a_product_is_known_under_the_endpoints_it_was_wired_to(mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("5")}, shape="detail")
    mirror.process()
    for endpoint, body in [
        ("stock", {"item_id": "5", "stock_on_hand": 3, "last_modified_time": NEW}),
        ("prices", {"item": product("5", rate=2, last_modified_time=OLD)}),
        ("stock", {"data": {"item_id": "5", "stock_on_hand": 4, "last_modified_time": NEW}}),
    ]:
        mirror.receive(endpoint, body)
        mirror.process()
    assert explain(mirror, "products", "5", "source", "shape", "outcome") == [
        ("webhook", "detail", "applied"),
        ("webhook", "webhook", "applied"),
        ("webhook", "webhook", "stale"),
        ("webhook", "webhook", "applied"),
    ]


def stale(mirror: Mirror) -> list[str]:
    found = mirror.rows(
        "select why from tds.explain_record('products', '5') where outcome = 'stale' order by inbox_id"
    )
    return [row["why"] for row in found]


def test_a_stale_event_names_the_one_it_is_older_than(mirror: Mirror) -> None:
    at = "2026-06-10 14:%02d:00+00"
    ids = []
    for minute, name, modified in [
        (1, "a", MOMENT),
        (2, "b", NEW),
        (3, "c", MOMENT),
    ]:
        mirror.receive(
            "products",
            {"item": product("5", name=name, last_modified_time=modified)},
            shape="detail",
            observed_at=at % minute,
        )
        mirror.process()
        ids.append(mirror.value("select max(inbox_id) from tds.inbox"))
    [why] = stale(mirror)
    assert why.startswith(f"older than event {ids[1]} (last_modified_time {NEW}, observed 2026-06-10 ")
    # what was read only afterwards is no reason for what was decided before
    later = NEW.replace("2026", "2027")
    mirror.receive("products", {"item": product("5", name="d", last_modified_time=later)}, shape="detail")
    mirror.process()
    assert stale(mirror) == [why]


def test_an_event_without_a_time_is_older_than_what_was_observed_later(mirror: Mirror) -> None:
    at = "2026-06-10 14:%02d:00+00"
    bare = {"item_id": "5"}
    mirror.receive("products", {"item": product("5")}, shape="detail", observed_at=at % 1)
    mirror.process()
    mirror.receive("products", {"item": bare | {"rate": 3}}, observed_at=at % 5)
    mirror.process()
    newer = mirror.value("select max(inbox_id) from tds.inbox")
    mirror.receive("products", {"item": bare | {"rate": 2}}, observed_at=at % 3)
    mirror.process()
    assert mirror.value("select unit_price from products") == 3
    [why] = stale(mirror)
    assert why.startswith(f"older than event {newer} (last_modified_time none, observed 2026-06-10 ")


def test_a_detail_has_the_time_it_inherited(mirror: Mirror) -> None:
    """A payment's detail tells no last_modified_time: it has that of the list row that asked for it."""
    payment = {"payment_id": "5", "amount": 30, "invoices": []}
    at = "2026-06-10 14:%02d:00+00"
    for minute, amount, modified in [(1, 30, NEW), (2, 20, MOMENT)]:
        mirror.receive(
            "payments",
            {"payment": payment | {"amount": amount}},
            shape="detail",
            observed_at=at % minute,
            headers=json.dumps({"modified_at": modified}),
        )
        mirror.process()
    [(_, first), (second, _)] = explain(mirror, "payments", "5", "why", "inbox_id")
    assert second.startswith(f"older than event {first} ")
