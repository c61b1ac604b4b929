"""Folding the counters of past days: the counts stay, whoever counts meanwhile."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import psycopg

from tests.db.servers import Database
from tests.sql.conftest import Mirror

DAYS = 30
COUNT = "select tds.count_outcomes(%s, %s, %s)"
SLOTS = "select count(*) from tds.outcome_counter where slot >= 0 and day < (now() at time zone 'UTC')::date"
COUNTS = "select status, events from tds_queue_counts order by status"
BY_DAY = """select entity, day, status, sum(events) from tds.outcome_counter
             group by entity, day, status order by entity, day, status"""


def fill(conn: psycopg.Connection) -> None:
    """Thirty days and today, in all slots."""
    conn.execute(
        """insert into tds.outcome_counter (entity, day, status, slot, events)
           select e, (tds.now() at time zone 'UTC')::date - d, s, k, 1 + d * k
             from unnest('{invoices,products}'::text[]) e, unnest('{completed,dead_letter}'::text[]) s,
                  generate_series(0, %s) d, generate_series(0, 15) k""",
        [DAYS],
    )


def fold(conn: psycopg.Connection, rows: int = 50_000) -> int:
    """How many rows went into others."""
    got = conn.execute("select tds.fold_counters(%s)", [rows]).fetchone()
    assert got
    return int(got[0])


def test_the_counts_stay_and_a_second_fold_finds_nothing(database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        Mirror(conn).stop_clock()
        fill(conn)
        before = conn.execute(COUNTS).fetchall(), conn.execute(BY_DAY).fetchall()
        assert fold(conn, 100) == 100
        assert (conn.execute(COUNTS).fetchall(), conn.execute(BY_DAY).fetchall()) == before
        assert fold(conn) == 4 * 16 * DAYS - 100
        assert fold(conn) == 0
        assert (conn.execute(COUNTS).fetchall(), conn.execute(BY_DAY).fetchall()) == before
        # today's are left to the workers
        assert conn.execute("select count(*) from tds.outcome_counter").fetchone() == (4 * DAYS + 4 * 16,)
        # an event of a past day that finishes late is folded the next time
        late = datetime.now(UTC) - timedelta(days=3)
        conn.execute(COUNT, [["invoices"], [late], ["completed"]])
        counts = conn.execute(COUNTS).fetchall()
        assert fold(conn) == 1
        assert conn.execute(COUNTS).fetchall() == counts


def test_it_waits_for_no_writer(database: Database) -> None:
    late = datetime.now(UTC) - timedelta(days=3)
    with database.connect() as writer, database.connect(autocommit=True) as conn:
        writer.execute(COUNT, [["invoices"], [late], ["completed"]])
        writer.commit()
        writer.execute(COUNT, [["invoices"], [late], ["completed"]])
        conn.execute("set lock_timeout = '1s'")
        assert fold(conn) == 0
        writer.commit()
        assert fold(conn) == 1
        assert conn.execute(COUNTS).fetchall() == [("completed", 2)]


def test_writers_count_on_during_folds(database: Database) -> None:
    rounds, failures = 150, []
    days = [datetime.now(UTC) - timedelta(days=day) for day in range(1, 6)]

    def write() -> None:
        try:
            with database.connect() as conn:
                for _ in range(rounds):
                    conn.execute(COUNT, [["invoices"] * 5, days, ["completed"] * 5])
                    conn.commit()
        except psycopg.Error as error:
            failures.append(error)

    writers = [threading.Thread(target=write) for _ in range(3)]
    with database.connect(autocommit=True) as conn:
        for writer in writers:
            writer.start()
        folded = 0
        while any(writer.is_alive() for writer in writers):
            folded += fold(conn)
        for writer in writers:
            writer.join()
        fold(conn)
        assert failures == []
        assert folded > 0
        assert conn.execute(COUNTS).fetchall() == [("completed", 3 * rounds * 5)]
        assert conn.execute(SLOTS).fetchone() == (0,)
