"""Jobs: when they are due, what is noted of them, who runs them, and that nobody runs them twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest

from tds_db.upgrade import install_jobs
from tests.db.servers import Database
from tests.journeys.waiting import PATIENCE, wait_until
from tests.sql.conftest import Mirror

OURS = [
    "ensure_partitions",
    "fill_new_columns",
    "fold_counters",
    "forget_again",
    "forget_cron_runs",
    "heal",
    "health",
    "observe_drift",
    "request_backup",
    "request_changes",
    "request_lists",
    "request_reconciles",
    "retention",
    "sample",
    "snapshot_stock",
    "verify_inside",
    "verify_lists",
    "verify_on",
]
STATES = "select state, runner, error from tds.job_run where job = 'probe' order by job_run_id"


def at(mirror: Mirror, moment: str) -> None:
    """Sets the clock of this session."""
    mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [moment])


def add(mirror: Mirror, command: str, schedule: str = "* * * * *", job: str = "probe") -> None:
    mirror.conn.execute(
        "insert into tds.job (job, schedule, command, description) values (%s, %s, %s, 'a test''s')",
        [job, schedule, command],
    )


def only_probe(mirror: Mirror) -> None:
    mirror.conn.execute("update tds.job set enabled = false where job <> 'probe'")


def due(mirror: Mirror) -> dict[str, str]:
    row = mirror.conn.execute("call tds.run_due_jobs()").fetchone()
    assert row is not None
    return dict(row[0])


def run(mirror: Mirror, job: str = "probe") -> str:
    return str(mirror.value("call tds.run_job(%s)", job))


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", "2026-06-09 10:00:00", "2026-06-09 10:01:00"),
        ("* * * * *", "2026-06-09 10:00:59.9", "2026-06-09 10:01:00"),
        ("*/5 * * * *", "2026-06-09 10:56:00", "2026-06-09 11:00:00"),
        ("5 0 * * *", "2026-06-09 00:05:00", "2026-06-10 00:05:00"),
        ("15 3 * * 1-5", "2026-06-12 04:00:00", "2026-06-15 03:15:00"),
        ("0 0 * * 7", "2026-06-09 00:00:00", "2026-06-14 00:00:00"),
        ("0 0 * * 0", "2026-06-09 00:00:00", "2026-06-14 00:00:00"),
        ("0 12 13 * 5", "2026-06-09 00:00:00", "2026-06-12 12:00:00"),
        ("0 12 13 * *", "2026-06-09 00:00:00", "2026-06-13 12:00:00"),
        ("7,3 10-20/5 1 1,7 *", "2026-06-09 00:00:00", "2026-07-01 10:03:00"),
        ("0 0 29 2 *", "2026-06-09 00:00:00", "2028-02-29 00:00:00"),
    ],
)
def test_a_schedule_means_what_cron_means(shared: Mirror, schedule: str, after: str, expected: str) -> None:
    query = "select tds.cron_next(%s, %s::timestamp at time zone 'UTC') at time zone 'UTC' = %s::timestamp"
    assert shared.value(query, schedule, after, expected)


def test_a_schedule_counts_in_its_time_zone(shared: Mirror) -> None:
    query = (
        "select tds.cron_next('0 6 * * *', '2026-06-09 10:00+00', 'Europe/Berlin') = '2026-06-10 04:00+00'"
    )
    assert shared.value(query)


def test_the_short_way_of_utc_is_the_long_way(shared: Mirror) -> None:
    """Of a zone by another name every clock time is looked at for being there once, twice or not at all."""
    chance = random.Random(5)
    fields = [("*", "*/7", "0", "59", "7,3", "10-50/20"), ("*", "*/5", "0", "23", "7,3", "9-17"),
              ("*", "31", "*/10", "1,29"), ("*", "2", "*/3"), ("*", "0", "1-5", "7")]  # fmt: skip
    schedules = [" ".join(map(chance.choice, fields)) for _ in range(300)]
    moments = [
        datetime(2027, 12, 27, tzinfo=UTC)
        + chance.choice((60, 1)) * timedelta(seconds=chance.randrange(10_000))
        for _ in schedules
    ]
    [found] = shared.rows(
        """select count(n.short) as found, count(*) filter (where n.short is distinct from n.long) as differing
             from unnest(%s::text[], %s::timestamptz[]) s(schedule, after)
            cross join lateral (select tds.cron_next(s.schedule, s.after) as short,
                                       tds.cron_next(s.schedule, s.after, 'Etc/UTC') as long) n""",
        schedules,
        moments,
    )
    assert found["found"] > 250
    assert found["differing"] == 0


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "* * * * * *", "60 * * * *", "5/2 * * * *", "*/0 * * * *", "a * * * *",
     "9-3 * * * *", "1,,2 * * * *", "0 0 31 2 *", "@daily", "5 seconds"],
)  # fmt: skip
def test_what_cron_would_not_understand_is_no_schedule(shared: Mirror, schedule: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        add(shared, "select 1", schedule)
    assert caught.value.sqlstate == "ZB020"


def test_a_job_runs_when_it_is_due_and_what_was_missed_once(mirror: Mirror) -> None:
    only_probe(mirror)
    at(mirror, "2026-06-09 10:00:00+00")
    add(mirror, "insert into tds.inbox_open_probe values (tds.now())", "30 * * * *")
    mirror.conn.execute("create table tds.inbox_open_probe (at timestamptz)")
    runs = (
        "select array_agg(to_char(at at time zone 'UTC', 'DD HH24:MI') order by at) from tds.inbox_open_probe"
    )
    for moment, became in (
        ("2026-06-09 10:29:59+00", {}),
        ("2026-06-09 10:30:00+00", {"probe": "done"}),
        ("2026-06-09 10:30:01+00", {}),
        ("2026-06-09 11:29:00+00", {}),
        ("2026-06-11 04:05:00+00", {"probe": "done"}),
        ("2026-06-11 04:06:00+00", {}),
        ("2026-06-11 04:31:00+00", {"probe": "done"}),
    ):
        at(mirror, moment)
        assert due(mirror) == became, moment
    assert mirror.value(runs) == ["09 10:30", "11 04:05", "11 04:31"]


def test_an_error_is_noted_and_told_and_stops_nobody(mirror: Mirror) -> None:
    only_probe(mirror)
    at(mirror, "2026-06-09 10:00:00+00")
    add(mirror, "select 1/0")
    add(mirror, "select 1", job="sound")
    told: list[str | None] = []
    mirror.conn.add_notice_handler(lambda notice: told.append(notice.message_primary))
    at(mirror, "2026-06-09 10:01:00+00")
    assert due(mirror) == {"probe": "failed", "sound": "done"}
    assert told == ["job probe failed: 22012 division by zero"]
    [shown] = mirror.rows("select * from tds_jobs where job = 'probe'")
    assert (shown["state"], shown["last_error"], shown["last_success_at"]) == (
        "failed",
        "22012 division by zero",
        None,
    )
    assert mirror.value("select state from tds_jobs where job = 'sound'") == "done"
    assert due(mirror) == {}, "the next try is the next time it is due"


def test_what_a_failed_job_did_is_undone(mirror: Mirror) -> None:
    mirror.conn.execute("create table tds.trace (n int)")
    add(mirror, "with w as (insert into tds.trace values (1) returning n) select n/0 from w")
    assert run(mirror) == "failed"
    assert mirror.value("select count(*) from tds.trace") == 0


def test_the_notes_stay_few(mirror: Mirror) -> None:
    mirror.conn.execute("update tds.setting set value = '3' where name = 'job_failures_kept'")
    add(mirror, "select 1")
    for _ in range(3):
        assert run(mirror) == "done"
    mirror.conn.execute("update tds.job set command = 'select 1/0' where job = 'probe'")
    for _ in range(6):
        assert run(mirror) == "failed"
    assert [row["state"] for row in mirror.rows(STATES)] == ["done", "failed", "failed", "failed"]
    mirror.conn.execute("update tds.job set command = 'select 1' where job = 'probe'")
    assert run(mirror) == "done"
    assert [row["state"] for row in mirror.rows(STATES)] == ["failed", "failed", "failed", "done"]


def test_nothing_runs_inside_a_transaction(mirror: Mirror) -> None:
    """What it held would be held until the session ends."""
    for call in ("call tds.run_job('snapshot_stock')", "call tds.run_due_jobs()"):
        with pytest.raises(psycopg.errors.InvalidTransactionTermination), mirror.conn.transaction():
            mirror.conn.execute(call)
    assert (
        mirror.value("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")
        == 0
    )


def test_an_unknown_job_is_an_error(mirror: Mirror) -> None:
    with pytest.raises(psycopg.Error) as caught:
        run(mirror, "nonsense")
    assert caught.value.sqlstate == "ZB021"


@contextmanager
def held_up(mirror: Mirror) -> Iterator[None]:
    """A job `probe` that cannot end before the block does."""
    add(mirror, "select pg_advisory_lock(99), pg_advisory_unlock(99)")
    mirror.conn.execute("update tds.job set since = '2026-01-01' where job = 'probe'")
    mirror.conn.execute("select pg_advisory_lock(99)")
    try:
        yield
    finally:
        mirror.conn.execute("select pg_advisory_unlock_all()")


def test_no_job_runs_beside_itself_and_no_runner_beside_another(database: Database, mirror: Mirror) -> None:
    only_probe(mirror)
    with database.connect(autocommit=True) as other, ThreadPoolExecutor() as pool:
        with held_up(mirror):
            add(mirror, "select 1", job="waits")
            mirror.conn.execute("update tds.job set since = '2026-01-01' where job = 'waits'")
            first = pool.submit(due, Mirror(other))
            wait_until(lambda: [row["state"] for row in mirror.rows(STATES)] == ["running"], "it runs")
            assert run(mirror) == "running already"
            assert due(mirror) == {}, "whoever looks first does what waits, too"
            shown = mirror.rows("select state, overdue from tds_jobs where job = 'probe'")
            assert shown == [{"state": "running", "overdue": False}]
        assert first.result(PATIENCE) == {"probe": "done", "waits": "done"}
    assert len(mirror.rows(STATES)) == 1


def test_one_that_hangs_keeps_no_other_waiting_for_long(database: Database, mirror: Mirror) -> None:
    only_probe(mirror)
    with database.connect(autocommit=True) as other, ThreadPoolExecutor() as pool:
        with held_up(mirror):
            first = pool.submit(due, Mirror(other))
            wait_until(lambda: [row["state"] for row in mirror.rows(STATES)] == ["running"], "it runs")
            add(mirror, "select 1", job="waits")
            mirror.conn.execute("update tds.job set since = '2026-01-01' where job = 'waits'")
            overdue = "select (tds.check_jobs_overdue()).told"
            assert due(mirror) == {}
            assert "probe" not in mirror.value(overdue)
            mirror.conn.execute(
                "select set_config('tds.fake_now', (now() + interval '7 minutes')::text, false)"
            )
            assert due(mirror) == {"waits": "done"}
            assert mirror.value(overdue).startswith("probe runs since")
            assert due(mirror) == {}, "it has been done"
        assert first.result(PATIENCE)["probe"] == "done"


def start_worker(database: Database) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TDS_DATABASE_URL": database.conninfo}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tds_cli", "work", "--workers", "1"], env=environment
    )


def test_a_killed_worker_leaves_its_job_to_the_next(database: Database, mirror: Mirror) -> None:
    only_probe(mirror)
    mirror.conn.execute("update tds.setting set value = '0' where name = 'job_grace_seconds'")
    with held_up(mirror):
        worker = start_worker(database)
        try:
            wait_until(lambda: [row["state"] for row in mirror.rows(STATES)] == ["running"], "it runs")
            assert mirror.value("select runner from tds_jobs where job = 'probe'") == "worker"
        finally:
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
        wait_until(
            lambda: mirror.value("select state from tds_jobs where job = 'probe'") == "lost", "it is lost"
        )
        assert mirror.value("select runner from tds_jobs where job = 'probe'") == "none"
        assert mirror.value("select overdue from tds_jobs where job = 'probe'")
    second = start_worker(database)
    try:
        wait_until(
            lambda: [row["state"] for row in mirror.rows(STATES)] == ["lost", "done"], "it is done anew"
        )
    finally:
        second.terminate()
        second.wait()
    assert (
        mirror.value("select last_error from tds_jobs where job = 'probe'")
        == "its session was gone before the end"
    )


def test_a_lost_run_is_made_up_after_a_pause(mirror: Mirror) -> None:
    only_probe(mirror)
    at(mirror, "2026-06-09 00:00:00+00")
    add(mirror, "select 1", "0 12 * * *")
    mirror.conn.execute(
        "insert into tds.job_run (job, runner, state, started_at) values ('probe', 'worker', 'running', '2026-06-09 12:00:00+00')"
    )
    at(mirror, "2026-06-09 12:04:59+00")
    assert due(mirror) == {}
    at(mirror, "2026-06-09 12:05:00+00")
    assert due(mirror) == {"probe": "done"}


def test_what_pg_cron_lets_lie_a_worker_runs(mirror: Mirror) -> None:
    only_probe(mirror)
    at(mirror, "2026-06-09 10:00:00+00")
    add(mirror, "select 1", "0 12 * * *")
    mirror.conn.execute("select tds.note_cron_jobs('{probe}')")
    shown = "select runner || ' ' || overdue from tds_jobs where job = 'probe'"
    at(mirror, "2026-06-09 12:04:00+00")
    assert due(mirror) == {}
    assert mirror.value(shown) == "pg_cron false"
    at(mirror, "2026-06-09 12:05:01+00")
    assert mirror.value(shown) == "none true"
    assert due(mirror) == {"probe": "done"}
    # should pg_cron come at last: that time has been served
    assert mirror.value("call tds.run_job('probe', true, 'pg_cron')") == "not due"
    at(mirror, "2026-06-10 12:00:00+00")
    assert mirror.value("call tds.run_job('probe', true, 'pg_cron')") == "done"
    assert mirror.value(shown) == "pg_cron false"


def test_our_own_jobs_run_with_the_worker_s_rights(database: Database, mirror: Mirror) -> None:
    assert [row["job"] for row in mirror.rows("select job from tds_jobs")] == OURS
    day = mirror.value("select to_char(now() at time zone 'UTC' + interval '9 days', 'YYYYMMDD')")
    mirror.conn.execute(f"drop table tds.inbox_outcome_{day}")
    with database.connect(autocommit=True, role="tds_worker") as conn:
        for job in OURS:
            assert run(Mirror(conn), job) == "done"
    assert mirror.value("select count(*) from tds.job_run where state = 'done'") == len(OURS)


def test_without_pg_cron_here_its_statements_are_for_elsewhere(database: Database, mirror: Mirror) -> None:
    done = install_jobs(mirror.conn)
    if database.leg != "pg15":
        assert done == []
        return
    assert [job.job for job in done] == OURS
    name = mirror.conn.info.dbname
    statements = {job.job: job.statement or "" for job in done}
    assert f"'tds:{name}:observe_drift', '*/2 * * * *'" in statements["observe_drift"]


def tds(database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "tds_cli", "jobs", *arguments]
    environment = {**os.environ, "TDS_DATABASE_URL": database.conninfo}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_command_shows_and_runs_them(database: Database, mirror: Mirror) -> None:
    add(mirror, "select 1/0")
    done = tds(database, "run", "snapshot_stock")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    failed = tds(database, "run", "probe")
    assert (failed.returncode, failed.stdout) == (1, "failed\n")
    assert "22012 division by zero" in failed.stderr
    shown = tds(database, "--json")
    assert shown.returncode == 0, shown.stderr
    states = {row["job"]: row["state"] for row in json.loads(shown.stdout)}
    assert states == dict.fromkeys(OURS) | {"snapshot_stock": "done", "probe": "failed"}
    mirror.conn.execute("update tds.job set since = '2026-01-01' where job = 'observe_drift'")
    assert tds(database).returncode == 4
    assert tds(database, "run", "nonsense").returncode == 1
    assert tds(database, "install").returncode == 0


def test_a_worker_goes_on_where_jobs_cannot_be_run(database: Database, mirror: Mirror) -> None:
    mirror.conn.execute("drop function tds.due_jobs()")
    worker = start_worker(database)
    try:
        for item in ("1", "2"):
            mirror.receive("products", {"item": {"item_id": item, "name": "x"}})
            applied = "select count(*) = %s from zoho.products"
            wait_until(partial(mirror.value, applied, int(item)), "it is applied")
    finally:
        worker.terminate()
        worker.wait()


# Where pg_cron is


@pytest.fixture
def cron(cron_database: Database) -> Iterator[Mirror]:
    with cron_database.connect(autocommit=True) as conn:
        yield Mirror(conn)
        conn.execute("delete from tds.job where job = 'probe'")
        conn.execute("update tds.job set enabled = true, schedule = '5 0 * * *' where job = 'snapshot_stock'")


def install(mirror: Mirror) -> dict[str, str]:
    with mirror.conn.transaction():
        return {job.job: job.action for job in install_jobs(mirror.conn)}


def test_pg_cron_gets_the_jobs_as_they_stand(cron: Mirror) -> None:
    install(cron)
    assert install(cron) == dict.fromkeys(OURS, "kept")
    scheduled = cron.rows(
        "select jobname::text, schedule, command, username from cron.job where jobname like 'tds:%%' order by 1"
    )
    assert [(row["jobname"], row["username"]) for row in scheduled] == [
        (f"tds:{job}", "tds_worker") for job in OURS
    ]
    commands = {row["jobname"]: row["command"] for row in scheduled}
    assert commands["tds:snapshot_stock"] == "call tds.run_job('snapshot_stock', true, 'pg_cron')"
    cron.conn.execute("update tds.job set schedule = '6 0 * * *' where job = 'snapshot_stock'")
    cron.conn.execute("update tds.job set enabled = false where job = 'observe_drift'")
    changed = {"observe_drift": "removed", "snapshot_stock": "scheduled"}
    assert install(cron) == dict.fromkeys(OURS, "kept") | changed
    assert cron.value("select schedule from cron.job where jobname = 'tds:snapshot_stock'") == "6 0 * * *"
    assert cron.rows("select job, in_pg_cron from tds.job where not in_pg_cron") == [
        {"job": "observe_drift", "in_pg_cron": False}
    ]
    cron.conn.execute("update tds.job set enabled = true where job = 'observe_drift'")
    assert install(cron)["observe_drift"] == "scheduled"


def test_pg_cron_s_jobs_belong_to_the_worker_only(cron: Mirror) -> None:
    with pytest.raises(psycopg.Error) as caught:
        cron.conn.execute("select * from tds.install_jobs()")
    assert caught.value.sqlstate == "ZB022"


def test_who_may_not_is_told_what_an_administrator_has_to_do(cron: Mirror) -> None:
    with cron.conn.transaction(force_rollback=True):
        cron.conn.execute("create role tds_test_installer; grant tds_owner to tds_test_installer")
        cron.conn.execute("set local session authorization tds_test_installer")
        [job] = install_jobs(cron.conn)
        assert job.action == "run here as an administrator"
        cron.conn.execute("set local session authorization default")
        cron.conn.execute((job.statement or "").encode())


def test_the_statements_for_elsewhere_can_be_run_there(cron: Mirror, database: Database) -> None:
    if database.leg != "pg15":
        pytest.skip("pg_cron is on the pg15 leg")
    with database.connect(autocommit=True) as conn:
        name = conn.info.dbname
        statements = [job.statement for job in install_jobs(conn)]
    try:
        for statement in statements:
            cron.conn.execute((statement or "").encode())
        there = "select count(*) from cron.job where database = %s and username = 'tds_worker'"
        assert cron.value(there, name) == len(OURS)
        assert install(cron).keys() == set(OURS), "another database's jobs are none of ours"
        assert cron.value(there, name) == len(OURS)
    finally:
        cron.conn.execute("delete from cron.job where database <> current_database()")


def test_what_pg_cron_noted_long_ago_is_forgotten(cron: Mirror) -> None:
    note = (
        "insert into cron.job_run_details (jobid, database, username, start_time) select 4711, current_database(), u, t"
        "  from unnest(array['tds_worker', 'somebody']) u, unnest(array[now() - interval '8 days', now()]) t"
    )
    cron.conn.execute(note)
    try:
        cron.conn.execute("set role tds_worker")
        assert run(cron, "forget_cron_runs") == "done"
        cron.conn.execute("reset role")
        left = cron.rows(
            "select username, start_time > now() - interval '1 day' as young from cron.job_run_details where jobid = 4711 order by 1, 2"
        )
        assert [tuple(row.values()) for row in left] == [
            ("somebody", False),
            ("somebody", True),
            ("tds_worker", True),
        ]
    finally:
        cron.conn.execute("reset role")
        cron.conn.execute("delete from cron.job_run_details where jobid = 4711")


@pytest.mark.slow
def test_pg_cron_really_runs_them(cron: Mirror) -> None:
    """It knows minutes only: this waits for the next one."""
    add(cron, "select tds.ensure_partitions()")
    assert install(cron)["probe"] == "scheduled"
    done = "select from tds.job_run where job = 'probe' and state = 'done'"
    wait_until(lambda: cron.rows(done), "its minute has come", 60 + PATIENCE)
    [shown] = cron.rows("select state, runner, last_runner, overdue from tds_jobs where job = 'probe'")
    assert shown == {"state": "done", "runner": "pg_cron", "last_runner": "pg_cron", "overdue": False}
    cron.conn.execute("delete from tds.job where job = 'probe'")
    assert install(cron)["probe"] == "removed"


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        # 2026-10-25 in Berlin: 02:00 to 03:00 comes twice, at 00:00 and at 01:00 UTC
        ("*/5 * * * *", "2026-10-25 00:55+00", "2026-10-25 01:00+00"),
        ("5 * * * *", "2026-10-25 00:10+00", "2026-10-25 01:05+00"),
        ("5 * * * *", "2026-10-25 01:10+00", "2026-10-25 02:05+00"),
        ("30 2 * * *", "2026-10-24 20:00+00", "2026-10-25 00:30+00"),
        ("30 2 * * *", "2026-10-25 00:30+00", "2026-10-26 01:30+00"),
        # 2026-03-29: 02:00 to 03:00 is left out
        ("5 * * * *", "2026-03-29 00:10+00", "2026-03-29 01:05+00"),
        ("30 2 * * *", "2026-03-28 20:00+00", "2026-03-29 01:30+00"),
    ],
)
def test_a_schedule_skips_no_hour_when_the_clocks_are_changed(
    shared: Mirror, schedule: str, after: str, expected: str
) -> None:
    query = "select tds.cron_next(%s, %s, 'Europe/Berlin') = %s::timestamptz"
    assert shared.value(query, schedule, after, expected)
