"""Any order of the same observations of a record ends in the same row."""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.conftest import share
from tests.db.servers import Database

ORGANIZATION = "60069194202"
BEGIN = datetime(2026, 6, 9, 12, 0, tzinfo=UTC)
ORDERS = int(os.environ.get("TDS_TEST_ORDERS", "240"))
"""How many orders of a story are tried, divided among the legs; 720 are every order of six observations."""
RECORDS = int(os.environ.get("TDS_TEST_RECORDS", "16"))
"""Of how many records two workers are told at once, each in an order of its own."""
FIRST, SECOND = "2026-06-09T07:00:00-0400", "2026-06-09T07:30:00-0400"


@dataclass(frozen=True)
class Observation:
    """What one body says of a record, and when it was seen (minutes after BEGIN)."""

    name: str
    shape: str
    minute: int
    body: tuple[tuple[str, Any], ...]
    event: str = "upsert"

    def record(self, item_id: str) -> dict[str, Any]:
        return {"item_id": item_id, **dict(self.body)}


def seen(name: str, shape: str, minute: int, /, event: str = "upsert", **body: Any) -> Observation:
    return Observation(name, shape, minute, tuple(body.items()), event)


LIST = seen("list", "list", 1, name="A", rate=10, stock_on_hand=5, status="active", last_modified_time=FIRST)
WEBHOOK = seen("webhook", "webhook", 2, name="A", rate=10, status="active", last_modified_time=FIRST)
DETAIL = seen(
    "detail",
    "detail",
    3,
    name="A",
    rate=10,
    brand="Acme",
    locations=[{"location_id": "1"}],
    last_modified_time=FIRST,
)
SAME_SECOND = seen("same second", "webhook", 4, name="B", rate=10, status="active", last_modified_time=FIRST)
REDELIVERY = seen("redelivery", "webhook", 5, name="A", rate=10, status="active", last_modified_time=FIRST)
STOCK = seen(
    "stock moved", "list", 6, name="B", rate=10, stock_on_hand=4, status="active", last_modified_time=FIRST
)
UNTIMED = seen("untimed", "webhook", 7, name="C", rate="12.50")
DELETED = seen("deleted", "detail", 8, event="delete")
LATE_READ = seen(
    "read once more", "list", 9, name="B", rate=10, stock_on_hand=4, status="active", last_modified_time=FIRST
)
NEWER = seen(
    "newer",
    "detail",
    10,
    name="D",
    rate=11,
    brand="",
    locations=[{"location_id": "2"}],
    last_modified_time=SECOND,
)
NEWER_LIST = seen(
    "newer list", "list", 4, name="E", rate=11, stock_on_hand=3, status="inactive", last_modified_time=SECOND
)

STORIES = {
    "webhook, page, detail, redelivery, second edit in the same second, deletion": [
        LIST, WEBHOOK, DETAIL, SAME_SECOND, REDELIVERY, DELETED,
    ],
    "bodies without a time among bodies with one": [LIST, DETAIL, UNTIMED, SAME_SECOND, NEWER_LIST, STOCK],
    "stock moves without a new time, and is read again unchanged": [LIST, DETAIL, STOCK, LATE_READ, SAME_SECOND, UNTIMED],
    "deleted, and read once more": [LIST, WEBHOOK, DELETED, LATE_READ, NEWER],
    "all of it": [LIST, DETAIL, SAME_SECOND, STOCK, UNTIMED, DELETED, NEWER],
}  # fmt: skip


def store(conn: psycopg.Connection, observation: Observation, item_ids: Sequence[str]) -> None:
    """Puts in one event that tells the same of many records, so that thousands of orders can be tried at once."""
    body = json.dumps(
        {"items" if observation.shape == "list" else "item": [observation.record(i) for i in item_ids]}
    )
    conn.execute(
        "select tds.receive('products', %b, %s, 'test', %s, %s, %s)",
        [
            body.encode(),
            ORGANIZATION,
            observation.shape,
            observation.event,
            BEGIN + timedelta(minutes=observation.minute),
        ],
    )


def rows(conn: psycopg.Connection) -> dict[str, tuple[Any, ...]]:
    """Every product but for its own id and what tells when and how often it was written."""
    found = conn.execute(
        """
        select zoho_item_id, name, unit_price, stock_quantity, is_active, brand, zoho_metadata - 'item_id',
               zoho_modified_at, deleted_at
          from zoho.products""",
    ).fetchall()
    return {row[0]: row[1:] for row in found}


def orders(story: Sequence[Observation], sample: int) -> Iterator[tuple[Observation, ...]]:
    """Every order of the story, or a seeded sample of so many."""
    every = list(itertools.permutations(story))
    return iter(every if len(every) <= sample else random.Random(len(every)).sample(every, sample))


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
@pytest.mark.parametrize("at_once", [1, 3])
def test_every_order_ends_in_the_same_row(database: Database, story: list[Observation], at_once: int) -> None:
    mine = share(orders(story, ORDERS), database.leg)
    by_order = dict(zip((f"77{n:08}" for n in itertools.count()), mine, strict=False))
    with database.connect(autocommit=True) as conn:
        for step in range(len(story)):
            for observation in story:
                item_ids = [item_id for item_id, order in by_order.items() if order[step] is observation]
                store(conn, observation, item_ids)
            if (step + 1) % at_once == 0:
                conn.execute("call tds.process_batch()")
        conn.execute("call tds.process_batch()")
        end = rows(conn)
        assert conn.execute("select count(*) from tds.dead_letter").fetchone() == (0,)
    assert len(end) == len(by_order)
    outcomes: dict[str, list[str]] = {}
    for item_id, row in end.items():
        outcomes.setdefault(repr(row), []).append(" > ".join(o.name for o in by_order[item_id]))
    assert len(outcomes) == 1, "\n".join(
        f"{row}\n  e.g. {told[0]} ({len(told)} orders)" for row, told in outcomes.items()
    )


@pytest.mark.parametrize("seed", range(4))
def test_two_workers_end_in_the_same_row(database: Database, seed: int) -> None:
    """Interleavings over two workers that take a few messages at a time, for many records at once."""
    story = STORIES["all of it"]
    chance = random.Random(seed)
    item_ids = [f"88{n:08}" for n in range(RECORDS)]
    with database.connect(autocommit=True) as conn:
        for observation in story:
            store(conn, observation, item_ids)
        conn.execute("call tds.process_batch()")
        expected = set(map(repr, rows(conn).values()))
        conn.execute("delete from zoho.products")
        told = [(observation, [i]) for observation in story for i in item_ids]
        chance.shuffle(told)
        for observation, ids in told:
            store(conn, observation, ids)
        # the first telling of the story must not help the second: its events are forgotten
        conn.execute("delete from tds.inbox where inbox_id not in (select inbox_id from tds.inbox_open)")

        def work() -> None:
            with database.connect(autocommit=True) as mine:
                while True:
                    batch = mine.execute(
                        f"call tds.process_batch('products', {chance.randint(1, 40)})"
                    ).fetchone()
                    if batch is not None and batch[0]["claimed"] == 0:
                        # what was locked for longer than a batch waits comes back by itself
                        if mine.execute("select from tds.inbox_open limit 1").fetchone() is None:
                            break
                        time.sleep(0.05)

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert conn.execute("select count(*) from tds.inbox_open").fetchone() == (0,)
        assert conn.execute("select count(*) from tds.dead_letter").fetchone() == (0,)
        assert set(map(repr, rows(conn).values())) == expected


@pytest.mark.parametrize(
    "time", [{}, {"last_modified_time": FIRST}], ids=["without a time", "with the same time"]
)
def test_a_b_a_ends_at_a(database: Database, time: dict[str, str]) -> None:
    with database.connect(autocommit=True) as conn:
        for name in "ABA":
            body = json.dumps({"item": {"item_id": "1", "name": name, **time}}).encode()
            status = conn.execute("select status from tds.receive('products', %b, 'o')", [body]).fetchone()
            assert status == ("queued",)
            conn.execute("call tds.process_batch()")
        assert conn.execute("select name from zoho.products").fetchone() == ("A",)


def test_the_very_bytes_of_the_newest_event_are_a_duplicate(database: Database) -> None:
    body = json.dumps({"item": {"item_id": "1", "name": "A", "last_modified_time": FIRST}}).encode()
    with database.connect(autocommit=True) as conn:
        first, second = (
            conn.execute("select inbox_id, status from tds.receive('products', %b, 'o')", [body]).fetchone()
            for _ in range(2)
        )
        assert first is not None
        assert second == (first[0], "duplicate")
        assert conn.execute("select count(*) from tds.inbox").fetchone() == (1,)
        conn.execute(
            "select tds.receive('products', %b, 'o', shape => 'list')",
            [json.dumps({"items": [{"item_id": "1"}]}).encode()],
        )
        third = conn.execute("select status from tds.receive('products', %b, 'o')", [body]).fetchone()
        assert third == ("queued",), "a page that came since may have told otherwise"
