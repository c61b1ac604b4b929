"""Two transactions at once, step by step: what one cannot see of the other is mended by whoever commits last."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import MOMENT, Mirror, product

INVOICE = {
    "invoice": {
        "invoice_id": "3",
        "customer_id": "77",
        "line_items": [{"item_id": "5"}],
        "last_modified_time": MOMENT,
    }
}
CUSTOMER = {"contact": {"contact_id": "77", "contact_type": "customer", "last_modified_time": MOMENT}}


class Worker:
    """The steps of process_batch(), one at a time, over a connection of its own."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self.conn = conn

    def claim(self, queue: str) -> None:
        self.claim_id = self.one("select claim_id from tds.claim(%s, 1000)", queue)

    def apply(self) -> None:
        """Applies and does not commit."""
        self.conn.execute("begin")
        self.conn.execute(
            "create temp table touched on commit preserve rows as select touches from tds.apply_claim(%s)",
            [self.claim_id],
        )

    def finish(self) -> None:
        """Commits what apply() did, and finishes."""
        self.conn.execute("commit")
        self.conn.execute("select tds.finish_claim(%s, touches) from touched", [self.claim_id])
        self.one("select tds.unlock_claim(%s)", self.claim_id)

    def one(self, query: str, *parameters: Any) -> Any:
        row = self.conn.execute(query, parameters).fetchone()
        assert row is not None
        return row[0]


@contextmanager
def worker(database: Database) -> Iterator[Worker]:
    with database.connect(autocommit=True) as conn:
        yield Worker(conn)


LINKED = "select customer_id is not null from zoho.invoices"


@pytest.mark.parametrize("slow", ["invoices", "contacts"])
def test_parent_and_child_in_transactions_that_do_not_see_each_other(
    database: Database, mirror: Mirror, slow: str
) -> None:
    mirror.receive("invoices", INVOICE)
    mirror.receive("customers", CUSTOMER)
    with worker(database) as first:
        first.claim(slow)
        first.apply()
        mirror.process("contacts" if slow == "invoices" else "invoices")
        first.finish()
    assert mirror.rows(LINKED) == [{"?column?": True}]


@pytest.mark.parametrize("slow", ["pricelists", "products"])
def test_a_row_that_a_hook_wrote_is_linked_by_whoever_commits_last(
    database: Database, mirror: Mirror, slow: str
) -> None:
    items = [{"item_id": "5", "pricebook_rate": 1}]
    mirror.receive(
        "pricelists", {"pricebook": {"pricebook_id": "7", "pricebook_items": items}}, shape="detail"
    )
    mirror.receive("products", {"item": product("5")})
    with worker(database) as first:
        first.claim(slow)
        first.apply()
        mirror.process("products" if slow == "pricelists" else "pricelists")
        first.finish()
    assert mirror.value("select product_id is not null from zoho.product_prices")


def test_an_unchanged_read_that_leaves_no_trace_still_counts_against_an_older_one(
    database: Database, mirror: Mirror
) -> None:
    """A seen at 1 and again at 5, and between them, told late, a B of the same second: the end is A."""
    at = "2026-06-09 13:%02d+00"

    def read(name: str, minute: int) -> None:
        mirror.receive(
            "products", {"items": [product("5", name=name)]}, shape="list", observed_at=at % minute
        )

    read("A", 1)
    mirror.process()
    read("A", 5)
    with worker(database) as first:
        first.claim("products")
        first.apply()
        read("B", 3)
        mirror.process()
        first.finish()
    assert mirror.value("select name from zoho.products") == "A"

    read("B", 4)
    mirror.process()
    assert mirror.value("select name from zoho.products") == "A", "the read at 5 is long finished, and counts"
    read("B", 6)
    mirror.process()
    assert mirror.value("select name from zoho.products") == "B"


def test_a_row_that_another_worker_wrote_meanwhile_is_resolved_anew(
    database: Database, mirror: Mirror
) -> None:
    later = "2026-06-09T10:00:00-0400"
    mirror.receive("products", {"item": product("5", name="newer", last_modified_time=later)})
    with worker(database) as first, database.connect(autocommit=True) as second:
        first.claim("products")
        first.apply()
        mirror.receive("products", {"item": product("5", name="older", unit="pcs")})
        second.execute("set application_name = 'second'")
        waiting = psycopg.connect(database.conninfo, autocommit=True)
        pid = waiting.info.backend_pid
        drain = threading.Thread(target=lambda: waiting.execute("call tds.process_batch('products')"))
        drain.start()
        while not second.execute(
            "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'", [pid]
        ).fetchall():
            assert drain.is_alive()
        first.finish()
        drain.join()
        waiting.close()
    assert mirror.rows("select name, unit from zoho.products") == [{"name": "newer", "unit": "pcs"}]


def test_a_lost_queue_is_rebuilt_from_the_inbox(mirror: Mirror) -> None:
    for item_id in "123":
        mirror.receive("products", {"item": product(item_id)})
    mirror.conn.execute("select pgmq.purge_queue('tds_products')")
    assert mirror.process()["claimed"] == 0
    mirror.receive("products", {"item": product("4")})
    assert mirror.value("select tds.requeue_unprocessed()") == 3, "the fourth is in its queue"
    assert mirror.value("select tds.requeue_unprocessed()") == 0
    mirror.conn.execute(
        "delete from tds.inbox_open where inbox_id = 1; select pgmq.purge_queue('tds_products')"
    )
    assert mirror.value("select tds.requeue_unprocessed()") == 4
    assert mirror.process()["applied"] == 4
    assert mirror.value("select count(*) from tds_sync_queue where status = 'completed'") == 4


def test_a_batch_is_as_large_as_its_records(mirror: Mirror) -> None:
    """Pages are taken five at a time, single records by the thousand."""
    for number in range(7):
        mirror.receive("products", {"items": [product(f"{number}")]}, shape="list")
    taken = "select events from tds.claim('products', 1000)"
    assert mirror.value(taken) == 5
    assert mirror.value(taken) == 2
    mirror.conn.execute(
        "insert into tds.inbox (received_at, organization_id, entity, source, shape, event, observed_at, body) "
        "select now(), 'o', 'products', 'x', 'webhook', 'upsert', now(), %s from generate_series(1, 1500)",
        [json.dumps({"item": product("1")})],
    )
    assert mirror.value(taken) == 1000
    assert mirror.value(taken) == 500


def test_work_that_outlasts_the_visibility_timeout_is_not_taken_away(
    database: Database, mirror: Mirror
) -> None:
    mirror.receive("products", {"item": product("1")})
    with worker(database) as first:
        first.claim("products")
        first.apply()
        mirror.conn.execute("update pgmq.q_tds_products set vt = now() - interval '1 second'")
        mirror.receive("products", {"item": product("2")})
        outcome = mirror.process("products")
        assert (outcome["claimed"], outcome["applied"]) == (1, 1), "only the second is free"
        first.finish()
    assert mirror.value("select count(*) from zoho.products") == 2
    assert mirror.value("select count(*) from pgmq.q_tds_products") == 0


def test_a_later_telling_that_died_does_not_stop_the_settling(mirror: Mirror) -> None:
    """B, observed between two reads of the same second; of the later reads one is A and one is spoilt."""
    at = "2026-06-09 13:%02d+00"
    for minute, told in [
        (1, {"name": "A"}),
        (5, {"name": "A"}),
        (6, {"name": "A", "rate": "x"}),
        (3, {"name": "B"}),
    ]:
        body = {"items": [product("5", **told), product("6")]}
        mirror.receive("products", body, shape="list", observed_at=at % minute)
        mirror.process()
    assert mirror.value("select name from zoho.products where zoho_item_id = '5'") == "A"
    assert mirror.value("select count(*) from tds.claim") == 0
    assert mirror.value("select count(*) from pgmq.q_tds_products") == 0
    assert mirror.value("select count(*) from tds.dead_letter") == 1


def test_a_later_read_counts_under_whichever_name_it_came(mirror: Mirror) -> None:
    """The second read of A came with the vendors' list, though the contact is a customer."""
    at = "2026-06-09 13:%02d+00"
    for entity, minute, name in [("customers", 1, "A"), ("vendors", 5, "A"), ("customers", 3, "B")]:
        told = {
            "contact_id": "77",
            "contact_name": name,
            "contact_type": "customer",
            "last_modified_time": MOMENT,
        }
        mirror.receive(entity, {"contacts": [told]}, shape="list", observed_at=at % minute)
        mirror.process()
    assert mirror.rows("select name from zoho.contacts") == [{"name": "A"}]


DRIFT = "select entity, path from tds.drift where path in ('novelty_a', 'novelty_b') order by path"


@pytest.mark.parametrize("claim_is_seen", [True, False])
def test_an_event_that_is_committed_late_is_observed_late(
    database: Database, mirror: Mirror, claim_is_seen: bool
) -> None:
    mirror.receive("products", {"item": product("1", novelty_a=1)})
    with worker(database) as slow:
        if claim_is_seen:
            slow.claim("products")
            slow.apply()
        else:
            slow.conn.execute("begin")
            slow.claim("products")
            slow.conn.execute(
                "create temp table touched as select touches from tds.apply_claim(%s)", [slow.claim_id]
            )
        mirror.receive("products", {"item": product("2", novelty_b=1)})
        assert mirror.process("products")["applied"] == 1
        assert mirror.value("select tds.observe_drift()") == 0, "what is not committed began earlier"
        slow.finish()
    assert mirror.value("select tds.observe_drift()") == 2
    assert mirror.rows(DRIFT) == [
        {"entity": "products", "path": "novelty_a"},
        {"entity": "products", "path": "novelty_b"},
    ]


def test_who_reads_or_receives_does_not_hold_the_drift_up(database: Database, mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("1", novelty_a=1)})
    mirror.process()
    with database.connect() as reader, database.connect() as receiver:
        reader.execute("select count(*) from tds.inbox_outcome, tds.claim")
        receiver.execute("select tds.receive('products', '{}')")
        assert mirror.value("select tds.observe_drift()") == 1


def test_a_link_that_is_made_while_records_are_settled_is_not_lost(
    database: Database, mirror: Mirror
) -> None:
    """Two invoices are settled anew; while that waits for the first, the customer of the second comes and links it."""

    def told(name: str, minute: int) -> None:
        rows = [
            {
                "invoice_id": number,
                "customer_id": customer,
                "invoice_number": name,
                "last_modified_time": MOMENT,
            }
            for number, customer in (("1", ""), ("2", "77"))
        ]
        at = f"2026-06-09 13:{minute:02}+00"
        mirror.receive("invoices", {"invoices": rows}, shape="list", observed_at=at)

    for name, minute in (("A", 1), ("A", 5)):
        told(name, minute)
        mirror.process()
    told("B", 3)
    linked = (
        "select invoice_number, customer_id is not null as linked from zoho.invoices order by zoho_invoice_id"
    )
    with worker(database) as first, database.connect() as holder:
        first.claim("invoices")
        first.apply()
        first.conn.execute("commit")
        holder.execute("select from zoho.invoices where zoho_invoice_id = '1' for update")
        finish = threading.Thread(target=first.finish)
        finish.start()
        waits = "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
        while not mirror.rows(waits, first.conn.info.backend_pid):
            assert finish.is_alive()
        mirror.receive("customers", CUSTOMER)
        assert mirror.process("contacts")["applied"] == 1
        assert [row["linked"] for row in mirror.rows(linked)] == [False, True]
        holder.rollback()
        finish.join()
    assert mirror.rows(linked) == [
        {"invoice_number": "A", "linked": False},
        {"invoice_number": "A", "linked": True},
    ]


@contextmanager
def of_one_slot(database: Database) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
    """Two sessions that begin to look for a slot of the counters at the same number."""
    found: dict[int, psycopg.Connection] = {}
    try:
        while True:
            conn = database.connect()
            other = found.get(conn.info.backend_pid % 16)
            found[len(found) + 16 if other else conn.info.backend_pid % 16] = conn
            if other:
                yield other, conn
                return
    finally:
        for conn in found.values():
            conn.close()


def test_who_counts_what_was_refused_waits_for_no_other(database: Database, mirror: Mirror) -> None:
    """Nor do two wait for one another, whose transactions refuse of the same entities in another order."""
    refused = "select status from tds.receive(%s, '{]')"
    with of_one_slot(database) as (one, other):
        for conn in (one, other):
            conn.execute("set local lock_timeout = '10s'")
        for entities in (("bills", "invoices"), ("invoices", "bills")):
            for conn, entity in zip((one, other), entities, strict=True):
                assert conn.execute(refused, [entity]).fetchone() == ("rejected",)
        one.commit()
        other.commit()
        with one.transaction():
            one.execute(refused, ["bills"])
    assert mirror.rows(
        "select entity, sum(events)::int as events from tds.outcome_counter group by 1 order by 1"
    ) == [
        {"entity": "bills", "events": 3},
        {"entity": "invoices", "events": 2},
    ]
    assert mirror.value("select count(distinct slot) from tds.outcome_counter") == 2
