"""An insert never fails for want of a partition."""

from __future__ import annotations

import threading

import psycopg
import pytest

from tests.db.servers import Database
from tests.journeys.waiting import PATIENCE
from tests.sql.conftest import Mirror, product


def test_the_clock_moves_by_60_days_and_a_body_still_finds_its_partition(mirror: Mirror) -> None:
    mirror.conn.execute("select set_config('tds.fake_now', (now() + interval '60 days')::text, false)")
    assert mirror.receive("products", {"item": product("1")}) == "queued"
    assert mirror.process()["applied"] == 1
    assert mirror.value(
        "select max(received_at) between now() + interval '59 days' and now() + interval '61 days' from tds.inbox"
    )


def test_many_sessions_meet_a_missing_partition_at_once(database: Database) -> None:
    sessions = [database.connect(autocommit=True) for _ in range(16)]
    together = threading.Barrier(len(sessions))
    failures: list[BaseException] = []

    def store(number: int) -> None:
        try:
            conn = sessions[number]
            for day in range(5):
                conn.execute(
                    "select set_config('tds.fake_now', (now() + %s * interval '1 day')::text, false)",
                    [60 + day],
                )
                together.wait(timeout=PATIENCE)
                conn.execute(
                    "select tds.receive('products', %b)", [b'{"item": {"item_id": "%d-%d"}}' % (number, day)]
                )
        except BaseException as failure:
            failures.append(failure)
            together.abort()

    threads = [threading.Thread(target=store, args=[n]) for n in range(len(sessions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = sessions[0].execute("select count(*) from tds.inbox").fetchone()
    for conn in sessions:
        conn.close()
    assert failures == []
    assert count == (80,)


def test_partitions_are_made_14_days_ahead(mirror: Mirror) -> None:
    ahead = mirror.value("select count(*) from pg_inherits where inhparent = 'tds.inbox'::regclass")
    assert ahead == 15
    # on the day they were made, should midnight have passed since
    first = "select min(right(inhrelid::regclass::text, 8)) from pg_inherits where inhparent = 'tds.inbox'::regclass"
    mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [mirror.value(first) + " 12:00+00"])
    assert mirror.value("select tds.ensure_partitions()") == 0


def test_the_day_after_those_that_are_kept_together_has_partitions(mirror: Mirror) -> None:
    of_inbox = "from pg_inherits where inhparent = 'tds.inbox'::regclass"
    last = mirror.value(f"select to_date(max(right(inhrelid::regclass::text, 8)), 'YYYYMMDD') {of_inbox}")
    for parent in ("inbox", "inbox_outcome"):
        mirror.conn.execute(
            "select tds.forget_days(%s, (%s::date + 1)::timestamp at time zone 'UTC', 100)", [parent, last]
        )
    made = "select to_regclass('tds.inbox_' || to_char(%s::date + %s, 'YYYYMMDD')) is not null"
    for later, is_made in ((0, False), (1, True)):
        assert mirror.value("select tds.ensure_partition(%s::date + %s)", last, later) is is_made
        assert mirror.value(made, last, later) is is_made


def test_who_has_once_waited_for_a_partition_does_not_wait_again(database: Database) -> None:
    """Until it is another one, a day later or made anew."""
    ensure = "select tds.ensure_partition((tds.now() at time zone 'UTC')::date)"
    told, new = database.connect(autocommit=True), database.connect(autocommit=True)
    with told, new, database.connect() as maker:
        told.execute(ensure)
        for conn in (told, new):
            conn.execute("set lock_timeout = '100ms'")
        maker.execute("lock table tds.partition_lock in share row exclusive mode")
        assert told.execute(ensure).fetchone() == (False,)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            new.execute(ensure)
        told.execute("select set_config('tds.fake_now', (now() + interval '1 day')::text, false)")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            told.execute(ensure)
