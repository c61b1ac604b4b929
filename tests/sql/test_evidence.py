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

from tests.conftest import RUNNING
from tests.db.servers import Database
from tests.sql.evidence_model import KEYS, Seen, Story, shown, story

BEGIN = datetime(2026, 6, 9, 12, 0, tzinfo=UTC)
HISTORIES = int(os.environ.get("TDS_TEST_HISTORIES", 240 // len(RUNNING)))
"""How many are tried on each leg, others on each; 10,000 take some minutes."""
AT_ONCE = 250
"""So many are told of one organisation: whatever came later is looked at again, so that fewer are faster."""
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


class Teller:
    """Tells one organisation's mirror of many records at once."""

    def __init__(self, conn: psycopg.Connection, organization_id: str) -> None:
        self.conn = conn
        self.organization_id = organization_id

    def tell(self, said: Mapping[str, Seen], most: int = 200) -> None:
        """Stores one observation of each of these records, those of one kind and minute in bodies of so many."""
        bodies: dict[tuple[str, int, str], list[dict[str, Any]]] = defaultdict(list)
        for item_id, seen in said.items():
            bodies[seen.shape, seen.at, seen.event].append(record(item_id, seen))
        for (shape, minute, event), records in bodies.items():
            for first in range(0, len(records), most):  # no webhook may tell of many more than 200
                some = records[first : first + most]
                body = json.dumps({"items" if shape == "list" else "item": some}).encode()
                self.conn.execute(
                    "select tds.receive('products', %b, %s, 'test', %s, %s, %s)",
                    [body, self.organization_id, shape, event, moment(minute)],
                )

    def tell_in_turn(
        self, orders: Mapping[str, Sequence[Seen]], at_once: int = 1, *, alone: bool = False
    ) -> None:
        """Tells each record's observations in its order, so many of them before they are applied.

        Args:
            alone: each record in a body and a batch of its own, so that whatever may take the short way does.
        """
        last = max((len(order) for order in orders.values()), default=0) - 1
        for step in range(last + 1):
            said = {item_id: order[step] for item_id, order in orders.items() if step < len(order)}
            self.tell(said, 1 if alone else 200)
            if step == last or (step + 1) % at_once == 0:
                self.conn.execute("call tds.process_batch(null, %s)", [1 if alone else 1000])

    def quieten(self, stories: Mapping[str, Story], minute: int) -> int:
        """Answers every want, as often as the answers bring new ones; returns the minute after."""
        for _ in range(6):
            query = "select zoho_id from tds.wanted_detail where organization_id = %s order by zoho_id"
            wanted = [row[0] for row in self.conn.execute(query, [self.organization_id])]
            if not wanted:
                return minute
            self.tell_in_turn({item_id: [truth(stories[item_id], "detail", minute)] for item_id in wanted})
            minute += 5
        query = "select reason, count(*), min(zoho_id) from tds.wanted_detail group by 1"
        raise AssertionError(f"asked for ever: {self.conn.execute(query).fetchall()}")

    def night(self, stories: Mapping[str, Story], minute: int) -> None:
        """What only webhooks told is asked for, the list is read whole, and what it lacks is asked for."""
        self.conn.execute("select set_config('tds.fake_now', (now() + interval '2 hours')::text, false)")
        self.conn.execute("select tds.confirm_hints(%s)", [self.organization_id])
        self.conn.execute("select set_config('tds.fake_now', '', false)")
        self.conn.execute("update tds.wanted_detail set wanted_at = %s", [moment(minute)])
        self.tell_in_turn({item_id: [truth(told, "list", minute + 1)] for item_id, told in stories.items()})
        self.quieten(stories, minute + 2)

    def documents(self) -> dict[str, dict[str, Any]]:
        query = """
            select zoho_item_id, zoho_metadata - '{item_id,last_modified_time}'::text[]
              from zoho.products where organization_id = %s"""
        return dict(self.conn.execute(query, [self.organization_id]).fetchall())

    def forged(self) -> list[Any]:
        """Where documents, and who told them when, are said not to be what the inbox has."""
        query = """select d.* from tds.document_differences(
                       'products', %(of)s, tds.stored_states('products', %(of)s, '', 100000)) d"""
        return self.conn.execute(query, {"of": self.organization_id}).fetchall()

    def deleted(self) -> set[str]:
        query = "select zoho_item_id from zoho.products where organization_id = %s and deleted_at is not null"
        return {row[0] for row in self.conn.execute(query, [self.organization_id])}


def truth(told: Story, shape: str, minute: int) -> Seen:
    """What Zoho says of a record when it is asked honestly."""
    if told.deleted is not None:
        return Seen("detail", minute, None, (), "delete")
    return Seen(shape, minute, told.versions[-1][0], tuple((key, told.truth[key]) for key in KEYS[shape]))


def is_phantom(order: Sequence[Seen], at_once: int) -> bool:
    """Whether it may have been taken, in this order, for one that never was, and what webhooks told forgotten.

    Of what is told at once, single records may be applied before a page.
    """
    reads = [step for step, seen in enumerate(order) if not seen.is_hint and seen.event == "upsert"]
    before = order[: (reads[0] // at_once + 1) * at_once] if reads else order
    return sum(seen.is_absence for seen in before) > 1


@pytest.fixture
def believing(database: Database) -> Iterator[psycopg.Connection]:
    """A database in which however many deletions are never too many."""
    with database.connect(autocommit=True) as conn:
        conn.execute(
            "update tds.setting set value = '1000000' where name in "
            "('deletions_per_hour', 'deletions_percent_per_hour', 'hints_confirmed_per_night')"
        )
        conn.execute("update tds.setting set value = '600' where name = 'drain_seconds'")
        yield conn


KINDS: dict[str, dict[str, bool]] = {
    "honest": {"lies": False, "stale": False, "unstamped": False, "deletions": False},
    "lying stamps": {"lies": True, "stale": False, "unstamped": False, "deletions": False},
    "stale answers": {"lies": True, "stale": True, "unstamped": False, "deletions": False},
    "answers without a stamp": {"lies": True, "stale": True, "unstamped": True, "deletions": False},
    "all of it, and 404s": {"lies": True, "stale": True, "unstamped": True, "deletions": True},
    "all of it at one moment": {
        "lies": True, "stale": True, "unstamped": True, "deletions": True, "crowded": True,
    },
}  # fmt: skip


TOLD_AT_ONCE = {"7": 1, "8": 3, "9": 1}
"""How many observations of a record are told before they are applied, by how its id begins."""


def test_a_read_of_the_moment_of_a_hint_has_the_last_word(believing: psycopg.Connection) -> None:
    """Also where it said nothing new, so that the row does not know of it."""
    body = (("name", "name 2"), ("rate", 2))
    hint = Seen("webhook", 81, 1012, (("rate", 0),))
    order = [Seen("list", 60, 15, body), Seen("list", 81, 15, body), hint]
    teller = Teller(believing, "60069194202")
    teller.tell_in_turn({"7": order})
    assert teller.documents()["7"] == shown(order) == dict(body)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_the_mirror_shows_what_the_model_does(
    believing: psycopg.Connection, database: Database, kind: str
) -> None:
    """Told in any order: what the model says; after a quiet night and an honest list: what is true."""
    chance = Random(f"{SEED + RUNNING.index(database.leg)} {kind}")
    left = max(1, HISTORIES // len(KINDS))
    for number in range(-(-left // AT_ONCE)):
        many = min(AT_ONCE, left - number * AT_ONCE)
        check(Teller(believing, f"{60069194202 + number}"), chance, many, **KINDS[kind])
    assert believing.execute("select count(*) from tds.dead_letter").fetchone() == (0,)


def check(teller: Teller, chance: Random, histories: int, **kind: bool) -> None:
    """Lives through so many histories, in two orders each, and through some record by record."""
    stories: dict[str, Story] = {}
    orders: dict[str, Sequence[Seen]] = {}
    for number in range(histories):
        told = story(chance, **kind)
        for copy in "78" if number % 8 else "789":  # of two or three orders all must end alike
            item_id = f"{copy}{number:09}"
            stories[item_id] = told
            orders[item_id] = chance.sample(told.seen, len(told.seen))
    for copy, at_once in TOLD_AT_ONCE.items():
        some = {i: order for i, order in orders.items() if i[0] == copy}
        teller.tell_in_turn(some, at_once, alone=copy == "9")
    found = teller.documents()
    wrong = {
        item_id: (found.get(item_id), shown(told.seen), told.versions, orders[item_id])
        for item_id, told in stories.items()
        if not is_phantom(orders[item_id], TOLD_AT_ONCE[item_id[0]])
        and found.get(item_id, {}) != shown(told.seen)
    }
    assert not wrong, f"{len(wrong)} of {len(stories)}, e.g. {next(iter(wrong.items()))}"

    assert teller.forged() == []

    teller.night(stories, teller.quieten(stories, 100))
    assert teller.forged() == []
    found = teller.documents()
    untrue = {
        item_id: (found.get(item_id), told.truth, told.versions, orders[item_id])
        for item_id, told in stories.items()
        if told.deleted is None
        and found.get(item_id) != {key: told.truth[key] for key in found.get(item_id, KEYS["list"])}
    }
    assert not untrue, f"{len(untrue)} of {len(stories)}, e.g. {next(iter(untrue.items()))}"
    deleted = teller.deleted()
    gone = {item_id for item_id, told in stories.items() if told.deleted is not None}
    alive = {item_id: orders[item_id] for item_id in deleted - gone}
    assert not alive, f"what lives is deleted: {len(alive)}, e.g. {next(iter(alive.items()))}"
    left = {item_id: (stories[item_id], orders[item_id]) for item_id in (gone & found.keys()) - deleted}
    assert not left, f"what is gone is there: {len(left)}, e.g. {next(iter(left.items()))}"
