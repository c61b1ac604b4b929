"""What an observation may prove: the SQL against the model of tests/sql/evidence_model.py, many histories at once."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import ORGANIZATION
from tests.sql.evidence_model import KEYS, Seen, Story, shown, story

BEGIN = datetime(2026, 6, 9, 12, 0, tzinfo=UTC)
HISTORIES = int(os.environ.get("TDS_EVIDENCE_HISTORIES", "400"))
"""How many are tried; 10,000 take some minutes."""
SEED = int(os.environ.get("TDS_EVIDENCE_SEED", "13"))


def moment(minute: int) -> datetime:
    return BEGIN + timedelta(minutes=minute)


def record(item_id: str, seen: Seen) -> dict[str, Any]:
    stamped = (
        {}
        if seen.stamp is None
        else {"last_modified_time": moment(seen.stamp).strftime("%Y-%m-%dT%H:%M:%SZ")}
    )
    return {"item_id": item_id, **dict(seen.body), **stamped}


def tell(conn: psycopg.Connection, said: Mapping[str, Seen]) -> None:
    """Stores one observation of each of these records, those of one kind and minute in one body, and applies them."""
    bodies: dict[tuple[str, int, str], list[dict[str, Any]]] = defaultdict(list)
    for item_id, seen in said.items():
        bodies[seen.shape, seen.at, seen.event].append(record(item_id, seen))
    for (shape, minute, event), records in bodies.items():
        body = json.dumps({"items" if shape == "list" else "item": records}).encode()
        conn.execute(
            "select tds.receive('products', %b, %s, 'test', %s, %s, %s)",
            [body, ORGANIZATION, shape, event, moment(minute)],
        )
    conn.execute("call tds.process_batch()")


def documents(conn: psycopg.Connection) -> dict[str, dict[str, Any]]:
    query = "select zoho_item_id, zoho_metadata - '{item_id,last_modified_time}'::text[] from zoho.products"
    return dict(conn.execute(query).fetchall())


def is_phantom(told: Story) -> bool:
    """Whether it may have been taken for one that never was, before any read of it came, and what webhooks told forgotten."""
    return [seen.event for seen in told.seen if not seen.is_hint].count("delete") > 1


@pytest.fixture
def believing(database: Database) -> Iterator[psycopg.Connection]:
    """A database in which however many deletions are never too many."""
    with database.connect(autocommit=True) as conn:
        conn.execute(
            "update tds.setting set value = '1000000' where name in ('deletions_per_hour', 'deletions_percent_per_hour')"
        )
        conn.execute("update tds.setting set value = '600' where name = 'drain_seconds'")
        yield conn


def tell_in_turn(conn: psycopg.Connection, orders: Mapping[str, Sequence[Seen]], at_once: int = 1) -> None:
    for step in range(max(len(order) for order in orders.values())):
        tell(conn, {item_id: order[step] for item_id, order in orders.items() if step < len(order)})


KINDS = {
    "honest": {"lies": False, "stale": False, "unstamped": False, "deletions": False},
    "lying stamps": {"lies": True, "stale": False, "unstamped": False, "deletions": False},
    "stale answers": {"lies": True, "stale": True, "unstamped": False, "deletions": False},
    "answers without a stamp": {"lies": True, "stale": True, "unstamped": True, "deletions": False},
    "all of it, and 404s": {"lies": True, "stale": True, "unstamped": True, "deletions": True},
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_the_mirror_shows_what_the_model_does(believing: psycopg.Connection, kind: str) -> None:
    """Told in any order, and then read honestly once: what the model says, and then what is true."""
    chance = Random(f"{SEED} {kind}")
    stories: dict[str, Story] = {}
    orders: dict[str, Sequence[Seen]] = {}
    for number in range(max(1, HISTORIES // len(KINDS))):
        told = story(chance, **KINDS[kind])
        for copy in range(2):  # of two orders both must end alike
            item_id = f"{7 + copy}{number:09}"
            stories[item_id] = told
            orders[item_id] = chance.sample(told.seen, len(told.seen))
    tell_in_turn(believing, orders)
    found = documents(believing)
    wrong = {
        item_id: (found.get(item_id), shown(told.seen), told.versions, orders[item_id])
        for item_id, told in stories.items()
        if not is_phantom(told) and found.get(item_id, {}) != shown(told.seen)
    }
    assert not wrong, f"{len(wrong)} of {len(stories)}, e.g. {next(iter(wrong.items()))}"

    # after quiet, what is there is read once, and what is gone is asked for twice
    alive = {item_id: told for item_id, told in stories.items() if told.deleted is None}
    gone = {item_id: told for item_id, told in stories.items() if told.deleted is not None}
    for minute, shape in ((100, "list"), (101, "detail")):
        tell(
            believing,
            {
                item_id: Seen(
                    shape, minute, told.versions[-1][0], tuple((key, told.truth[key]) for key in KEYS[shape])
                )
                for item_id, told in alive.items()
            },
        )
        tell(believing, {item_id: Seen("detail", minute + 10, None, (), "delete") for item_id in gone})
    found = documents(believing)
    untrue = {
        item_id: (found[item_id], told) for item_id, told in alive.items() if found[item_id] != told.truth
    }
    assert not untrue, f"{len(untrue)} of {len(alive)}, e.g. {next(iter(untrue.items()))}"
    deleted = {
        row[0]
        for row in believing.execute("select zoho_item_id from zoho.products where deleted_at is not null")
    }
    assert deleted <= gone.keys(), "what lives is not deleted"
    assert gone.keys() & found.keys() == deleted, "what is gone and was ever read is"
    assert believing.execute("select count(*) from tds.dead_letter").fetchone() == (0,)
