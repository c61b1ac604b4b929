"""A drain reads each setting once, however many batches and queues it goes through, and parses each body once."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.sql.conftest import Mirror, product

pytestmark = pytest.mark.new_database

READ = {  # of what a drain reads when nothing goes wrong
    "lock_wait_ms",
    "drain_seconds",
    "crashes_before_solo",
    "visibility_seconds",
    "temporary_mb",
    "retry_max_seconds",
    "outage_max_seconds",
}
LATER = "2026-06-10T09:46:21-0400"


def calls(mirror: Mirror, batch: int, **counts: int) -> Counter[str]:
    """Drains once, and tells how often each function was called meanwhile that the planner does not put in its place."""
    mirror.conn.execute("select pg_stat_force_next_flush()")
    mirror.conn.execute("select pg_stat_reset()")
    mirror.conn.execute("set track_functions = 'all'")
    outcome = mirror.process(None, batch)
    mirror.conn.execute("set track_functions = 'none'")
    assert {name: outcome[name] for name in counts} == counts
    mirror.conn.execute("select pg_stat_force_next_flush()")
    return Counter(dict(mirror.conn.execute("select funcname, calls from pg_stat_user_functions").fetchall()))


def test_each_setting_is_read_once_a_drain_however_many_batches(mirror: Mirror) -> None:
    mirror.conn.execute("update tds.setting set value = '60' where name = 'drain_seconds'")
    for batch, batches, first in ((1_000, 1, 1000), (20, 6, 2000)):
        ids = [str(first + n) for n in range(120)]
        mirror.receive("products", {"items": [product(item_id) for item_id in ids]}, "list")
        mirror.process()
        for item_id in ids:
            mirror.receive("products", {"item": product(item_id, rate=2, last_modified_time=LATER)})
        found = calls(mirror, batch, claimed=120, applied=120)
        assert found["apply_claim"] == batches
        assert found["setting_text"] == len(READ), found


def test_no_body_is_parsed_twice(mirror: Mirror) -> None:
    # what is longer than a megabyte goes by tds.check_body() whenever it is parsed
    for edition, stamp in ((1, LATER), (2, "2026-06-11T09:46:21-0400")):
        for page in range(3):
            rows = [
                product(
                    str(1000 * page + n), rate=edition, description="x" * 22_000, last_modified_time=stamp
                )
                for n in range(50)
            ]
            mirror.receive("products", {"items": rows}, "list")
        found = calls(mirror, 1_000, applied=150)
        assert found["check_body"] == 3, found
