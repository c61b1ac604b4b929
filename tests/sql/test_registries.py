"""SQLSTATEs and advisory locks: each stands in one list, which says what it means, and tds_locks says who holds it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tds_db.connect import connect
from tests.db.servers import Database, TestServer
from tests.journeys.waiting import wait_until
from tests.sql.conftest import ORGANIZATION, Mirror, product

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "db" / "functions"
PROGRAMS = [
    file
    for room in ("db", "receiver", "poller", "cli")
    for file in (ROOT / room).rglob("*")
    if file.suffix in (".py", ".sql")
]
LOCKING = re.compile(r"pg_(?:try_)?advisory_(?:xact_)?(?:un)?lock(?:_shared)?\(\s*([\w.]+)")
REGISTERED = {
    "tds.lock_class",
    "tds.api_lock_class",
    "tds.counter_class",
    "tds.lease_class",
    "draw_lock.class",
}


def test_every_error_of_ours_is_in_the_list_and_nothing_else_is(database: Database) -> None:
    with database.connect() as conn:
        listed = {code for (code,) in conn.execute("select code from tds_error_codes").fetchall()}
        live = "select prosrc from pg_proc where pronamespace = 'tds'::regnamespace"
        raised = {
            code for (source,) in conn.execute(live).fetchall() for code in re.findall(r"'(ZB\d{3})'", source)
        }
        # what only a router raises
        for file in (ROOT / "db" / "router").rglob("*.sql"):
            raised |= set(re.findall(r"'(ZB\d{3})'", file.read_text()))
        empty = conn.execute("select code from tds_error_codes where meaning = '' or next = ''").fetchall()
        twice = conn.execute("select code from tds_error_codes group by code having count(*) > 1").fetchall()
    assert raised == listed
    assert empty == twice == []
    files = {
        code
        for file in PROGRAMS
        if file.name != "errors.sql" or file.parent.name != "10_ground"
        for code in re.findall(r"\b(ZB\d{3})\b", file.read_text())
    }
    assert files == listed


def test_every_advisory_lock_is_in_the_list(database: Database) -> None:
    """In SQL and in the programs: by a number or a key of locks.sql, and of nothing else is a key made."""
    for file in PROGRAMS:
        text = file.read_text()
        if file.name != "upgrade.py":
            assert set(LOCKING.findall(text)) <= REGISTERED, file
        if file.name not in ("upgrade.py", "locks.sql"):
            assert "hashtextextended(" not in text, file
    with database.connect() as conn:
        names = {
            name for (name,) in conn.execute("select name from tds.lock_kind where class is null").fetchall()
        }
        classes = [
            number for (number,) in conn.execute("select class from tds.lock_kind where class is not null")
        ]
        assert len(classes) == len(set(classes))
        with_class = {
            name
            for (name,) in conn.execute("select name from tds.lock_kind where class is not null").fetchall()
        }
        # the upgrade cannot call a function that it has not made yet
        upgrade = (ROOT / "db" / "tds_db" / "upgrade.py").read_text()
        assert re.findall(r"advisory\w*lock\((.*?)\);", upgrade) == ["hashtextextended('tds.upgrade', 0)"]
    used = {
        name
        for file in FUNCTIONS.rglob("*.sql")
        for name in re.findall(r"tds\.(?:take|try)_turn\('([^']+)'", file.read_text())
    }
    assert used | {"tds.ensure_partition", "tds.upgrade"} == names
    leased = {
        name
        for file in FUNCTIONS.rglob("*.sql")
        for name in re.findall(r"tds\.(?:try|end)_lease\('([^']+)'", file.read_text())
    }
    assert leased | {"claim", "api session", "counter"} == with_class


@pytest.fixture(scope="module")
def in_work(test_server: TestServer) -> Iterator[tuple[Database, Mirror]]:
    """A database with a product that waits, a customer and a pull: one batch has been claimed there."""
    with test_server.database() as database, database.connect(autocommit=True) as conn:
        mirror = Mirror(conn)
        mirror.receive("products", {"item": product("1")})
        mirror.receive("customers", {"contact": {"contact_id": "1", "contact_type": "customer"}})
        conn.execute("call tds.process_batch('contacts')")
        conn.execute("select tds.request_pull('bills', '{}', %s)", [ORGANIZATION])
        yield database, mirror


@pytest.mark.parametrize(
    ("take", "lock", "of"),
    [
        ("select tds.claim('products', 10)", "claim", "2 of products"),
        (f"select tds.set_budget('{ORGANIZATION}')", "api session", None),
        ("begin; select tds.receive('unknown', '{}')", "counter", None),
        ("select tds.begin_job('observe_drift', 'by hand', false)", "job", "observe_drift"),
        ("select tds.try_lease('due jobs')", "due jobs", None),
        (f"begin; select tds.lock_contacts('{ORGANIZATION}')", "zoho.contacts", ORGANIZATION),
        (f"begin; select tds.request_pull('bills', '{{}}', '{ORGANIZATION}')", "tds.request_pull", f"{ORGANIZATION} bills"),
        ("begin; select tds.ensure_partition('2031-01-01')", "tds.ensure_partition", None),
        (f"begin; select tds.unknown_hours('{ORGANIZATION}', 1, now())", "tds.unknown_asked", ORGANIZATION),
        ("select tds.try_lease('alert sender')", "alert sender", None),
        ("begin; select tds.raise_alerts()", "tds.raise_alerts", None),
        (f"begin; select tds.take_images('{ORGANIZATION}')", "tds.take_images", None),
        ("begin; select pg_advisory_xact_lock(hashtextextended('tds.upgrade', 0))", "tds.upgrade", None),
        (f"select tds.access_token('{'a' * 64}')", "tds token", "a" * 64),
    ],
)  # fmt: skip
def test_a_lock_tells_who_holds_it(
    in_work: tuple[Database, Mirror], take: str, lock: str, of: str | None
) -> None:
    database, mirror = in_work
    wait_until(lambda: mirror.rows("select * from tds_locks") == [], "nobody holds anything")
    with connect("doctor", database.conninfo, autocommit=True) as holder:
        for statement in take.split("; "):
            holder.execute(statement.encode())
        [held] = mirror.rows("select * from tds_locks where lock = %s", lock)
        pid = holder.info.backend_pid
        assert held["of"] == {"api session": str(pid), "counter": str(pid % 16)}.get(lock, of)
        assert (held["does"], held["pid"], held["waits_for"]) == ("holds", holder.info.backend_pid, None)
        assert held["application"].startswith("tds/doctor/")
        assert held["role"] == holder.info.user
        assert held["since"] is not None
        assert held["meaning"]


def test_a_lock_tells_who_waits_and_for_whom(mirror: Mirror, database: Database) -> None:
    mirror.receive("customers", {"contact": {"contact_id": "1", "contact_type": "customer"}})
    mirror.process()
    with connect("worker", database.conninfo) as holder, connect("poller", database.conninfo) as waiter:
        take = "select tds.lock_contacts(%s)"
        holder.execute(take, [ORGANIZATION])
        waiting = threading.Thread(target=lambda: waiter.execute(take, [ORGANIZATION]))
        waiting.start()
        query = "select does, pid, application, waits_for from tds_locks where lock = 'zoho.contacts' order by does"
        rows: list[dict[str, Any]] = []
        while len(rows) < 2:
            rows = mirror.rows(query)
        holder.rollback()
        waiting.join()
    assert [(row["does"], row["pid"], row["waits_for"]) for row in rows] == [
        ("holds", rows[0]["pid"], None),
        ("waits", rows[1]["pid"], [rows[0]["pid"]]),
    ]
    assert rows[0]["application"].startswith("tds/worker/")
    assert rows[1]["application"].startswith("tds/poller/")


def test_what_is_not_ours_is_not_shown(mirror: Mirror, database: Database) -> None:
    with psycopg.connect(database.conninfo) as other:
        other.execute("select pg_advisory_lock(4711), pg_advisory_lock(1, 2)")
        assert mirror.rows("select * from tds_locks") == []
