"""What the SQL tests share: putting bodies in, draining, looking at what became of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.db.servers import REUSED, Database, Reused, TestServer

ORGANIZATION = "60069194202"
MOMENT = "2026-06-09T09:46:21-0400"
NUMBERS = itertools.count(1)


class Mirror:
    """A connection to a fresh database with the few verbs every test needs."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self.conn = conn

    def receive(self, entity: str, body: Any, shape: str = "webhook", **named: Any) -> str:
        """Stores a body (bytes as they are, anything else as JSON) and returns the status."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        extra = "".join(f", {name} => %({name})s" for name in named)
        row = self.conn.execute(
            f"select status from tds.receive(%(entity)s, %(body)b, %(org)s, shape => %(shape)s{extra})",
            {"entity": entity, "body": raw, "org": ORGANIZATION, "shape": shape, **named},
        ).fetchone()
        assert row is not None
        return str(row[0])

    def process(self, *arguments: Any) -> dict[str, int]:
        """Drains, and returns the outcome."""
        marks = ", ".join(["%s"] * len(arguments))
        row = self.conn.execute(f"call tds.process_batch({marks})", arguments).fetchone()
        assert row is not None
        return dict(row[0])

    def stop_clock(self) -> None:
        """What this session does next it does at one moment, and on one day."""
        self.conn.execute("select set_config('tds.fake_now', tds.now()::text, false)")

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """All rows of a query, as dicts."""
        with self.conn.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, parameters).fetchall()

    def value(self, query: str, *parameters: Any) -> Any:
        """The one value of a query."""
        row = self.conn.execute(query, parameters).fetchone()
        assert row is not None
        return row[0]


@pytest.fixture
def database(test_server: TestServer, request: pytest.FixtureRequest) -> Iterator[Database]:
    """One that is as fresh; a test marked `new_database` asks what only one that is new can tell."""
    if test_server.leg not in REUSED or request.node.get_closest_marker("new_database"):
        with test_server.database() as new:
            yield new
    else:
        with test_server.reused_database() as reused:
            yield reused


@pytest.fixture
def mirror(database: Database) -> Iterator[Mirror]:
    if isinstance(database, Reused):
        yield Mirror(database.session)
    else:
        with database.connect(autocommit=True) as conn:
            yield Mirror(conn)


@pytest.fixture(scope="module")
def shared(test_server: TestServer) -> Iterator[Mirror]:
    """One database for the tests of a module that ask for it: each tells of records of its own."""
    with test_server.database() as fresh, fresh.connect(autocommit=True) as conn:
        yield Mirror(conn)


@pytest.fixture
def own_id() -> str:
    """Of a record that no other test tells of."""
    return f"88{next(NUMBERS):010}"


def product(item_id: Any, **changed: Any) -> dict[str, Any]:
    """A product as a list shows it."""
    return {
        "item_id": item_id,
        "name": f"Cable {item_id}",
        "rate": 1.5,
        "sku": "",
        "status": "active",
        "created_time": MOMENT,
        "last_modified_time": MOMENT,
    } | changed
