"""A day and two nights by pg_cron itself, at the jobs' own hours, while there is traffic: PostgreSQL 15.

The server's clock goes on by hours (tests/clock): pg_cron takes each step for a jump, runs what is due at that minute, and
what it has skipped that has an hour of its own. Every step is waited for: none goes on before the healing of its hour is done.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tds_db.upgrade import upgrade
from tests.clock import FILE, SECOND, environment, real_now
from tests.conftest import LEGS, all_servers
from tests.db.servers import CRON, Database
from tests.journeys.waiting import PATIENCE, wait_until

ORGANIZATION = "60069194202"
FROM, HOURS = "22:00:01", 30
FIVE_PAST, HALF_PAST = timedelta(minutes=5), timedelta(minutes=35)
TRIES = 10
SATURDAY = 5
WEBHOOKS = 20  # an hour
KEPT = ("inbox", "outcomes", "health", "measures", "heal_log", "arrivals", "job_runs", "api_calls")
SIZES = """
    select coalesce((select i.inhparent from pg_inherits i where i.inhrelid = c.oid), c.oid)::regclass::text as relation,
           sum(pg_total_relation_size(c.oid))::bigint as bytes
      from pg_class c
     where c.relkind = 'r' and c.relnamespace::regnamespace::text in ('tds', 'pgmq', 'cron')
     group by 1"""


class Clock:
    """The server's wall clock."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._file = Path(variables[FILE])
        [offset] = struct.unpack("q", self._file.read_bytes())
        now = real_now() + timedelta(seconds=offset / SECOND)
        hour = now.replace(minute=0, second=0, microsecond=0)
        # a Saturday, whatever today is: what is due once a week is due on Sundays
        self.begin = hour + timedelta(days=(SATURDAY - hour.weekday()) % 7)
        self.set(self.begin)

    def set(self, moment: datetime) -> None:
        """It is a second past that moment."""
        self.shown = moment
        ahead = (moment - real_now()).total_seconds() + 1
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", int(ahead * SECOND)))


@pytest.fixture
def moved(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Database, Clock]]:
    """A database with pg_cron on a server whose clock is moved."""
    if LEGS["pg15"]:
        pytest.skip(f"pg15 does not run: {LEGS['pg15']}")
    servers = all_servers(request.config)
    place = servers.directory / "cron_clock"
    place.mkdir()
    place.chmod(0o755)
    try:
        variables = environment(place, FROM)
    except RuntimeError as error:
        pytest.skip(str(error))
    clock = Clock(variables)
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        private = servers.private("pg15", CRON | {"cron.database_name": "'tds'"})
    with psycopg.connect(private.server.conninfo(), autocommit=True) as conn:
        conn.execute("create database tds")
        conn.execute("alter database tds set tds.test_database = 'on'")
    database = Database("private", private.server.conninfo("tds"), private.server.bin_dir)
    with database.connect(autocommit=True) as conn:
        conn.execute("create extension pg_cron")
    upgrade(database.conninfo)
    with database.connect(autocommit=True) as conn:
        conn.execute("select pg_reload_conf()")
    yield database, clock
    private.stop()


def send(conn: psycopg.Connection, number: int) -> None:
    """An hour's webhooks, processed as they come."""
    for n in range(number * WEBHOOKS, (number + 1) * WEBHOOKS):
        invoice = {"invoice_id": str(n % 50), "invoice_number": f"INV-{n}", "total": n, "notes": "so " * 500}
        conn.execute(
            "select tds.receive('invoices', %b, %s)",
            [json.dumps({"invoice": invoice}).encode(), ORGANIZATION],
        )
    conn.execute("call tds.process_batch()")


def is_healed(conn: psycopg.Connection, since: datetime) -> bool:
    """Whether pg_cron has run the healing since then, and nothing runs any more."""
    query = """select exists (select from tds.job_run
                               where job = 'heal' and runner = 'pg_cron' and state = 'done' and started_at >= %s)
                      and not exists (select from cron.job_run_details where status not in ('succeeded', 'failed'))"""
    return conn.execute(query, [since]).fetchone() == (True,)


def reach(conn: psycopg.Connection, clock: Clock, moment: datetime) -> None:
    """It is that moment, and pg_cron has seen it. One that looked too late, at another minute, gets the next five."""
    for _ in range(TRIES):
        clock.set(moment)
        # it sleeps by the real clock, for up to a minute while it knows no jobs: this wakes it
        conn.execute("select pg_reload_conf()")
        with suppress(AssertionError):
            wait_until(
                partial(is_healed, conn, moment), f"the healing of {moment:%d. %H:%M}", PATIENCE / TRIES
            )
            return
        moment += FIVE_PAST
    pytest.fail(f"pg_cron has run nothing since {clock.shown:%d. %H:%M}")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pg_cron_keeps_house_for_two_nights(
    moved: tuple[Database, Clock], record_property: Callable[[str, object], None]
) -> None:
    database, clock = moved
    sizes: list[dict[str, int]] = []
    with database.connect(autocommit=True) as conn:
        for what in KEPT:
            conn.execute("update tds.setting set value = '1' where name = %s", [f"keep_{what}_days"])
        assert conn.execute("select bool_and(in_pg_cron) from tds.job where enabled").fetchone() == (True,)
        # what cannot be applied, and what waits for somebody, are of the first hour
        conn.execute("select tds.receive('invoices', 'no JSON', %s)", [ORGANIZATION])
        conn.execute(
            "select tds.receive('invoices', %b, %s)",
            [b'{"invoice": {"invoice_id": "900", "total": "no number"}}', ORGANIZATION],
        )
        row = conn.execute("select count(*) from tds.inbox").fetchone()
        assert row == (2,)
        for hour in range(HOURS):
            send(conn, hour)
            begin = clock.begin + timedelta(hours=hour)
            # what is due at a minute of any hour is run at that minute only
            stops = [FIVE_PAST, HALF_PAST] if hour % 12 == 5 else []
            for stop in (*stops, timedelta(hours=1)):
                reach(conn, clock, begin + stop)
            if hour % 24 == 23 or hour == HOURS - 1:
                conn.execute("vacuum")
                sizes.append(dict(conn.execute(SIZES).fetchall()))
        runs = conn.execute(
            """select split_part(j.jobname, ':', 2), count(*), count(*) filter (where d.status <> 'succeeded')
                 from cron.job_run_details d join cron.job j on j.jobid = d.jobid group by 1 order by 1"""
        ).fetchall()
        for job, count, failed in runs:
            record_property("measured", f"{job:20} {count:3} runs by pg_cron, {failed} failed")
        told = conn.execute(
            "select job, last_runner, last_success_at is not null, last_error, overdue from tds_jobs where enabled"
        ).fetchall()
        assert [row for row in told if row[1:] != ("pg_cron", True, None, False)] == []
        counted = {job: count for job, count, _ in runs}
        assert counted.keys() == {job for job, *_ in told}
        assert counted["heal"] >= HOURS
        assert counted["health"] >= HOURS
        assert counted["retention"] == counted["ensure_partitions"] == 2
        failures = conn.execute(
            """select j.jobname, d.start_time, d.return_message
                 from cron.job_run_details d join cron.job j on j.jobid = d.jobid where d.status <> 'succeeded'"""
        ).fetchall()
        assert failures == []

        assert conn.execute("select what, error from tds_retention where error is not null").fetchall() == []
        assert conn.execute("select count(*) from tds_healed where not ok").fetchone() == (0,)
        looks = "select count(distinct looked_at) from tds.health_result where looked_at >= %s"
        row = conn.execute(looks, [clock.shown - timedelta(hours=20)]).fetchone()
        assert row is not None
        assert row[0] >= 20
        left = "select count(*), count(*) filter (where received_at < %s) from tds.inbox"
        row = conn.execute(left, [clock.begin + timedelta(hours=2)]).fetchone()
        assert row == (2 + (HOURS - 2) * WEBHOOKS, 2), (
            "the bodies of the first day go, those that are dead stay"
        )
        assert conn.execute("select count(*) from tds.dead_letter where resolved_at is null").fetchone() == (
            2,
        )
        assert conn.execute("select count(*) from zoho.invoices").fetchone() == (50,)
        for relation in sorted(sizes[-1], key=lambda each: -sizes[-1][each])[:8]:
            grown = " → ".join(f"{size.get(relation, 0) // 1024:,}" for size in sizes)
            record_property("measured", f"{relation:24} {grown} kB after a day, and after {HOURS} hours")
