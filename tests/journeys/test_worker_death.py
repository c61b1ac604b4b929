"""A worker that dies at a known place loses nothing, and nobody waits for its messages to time out.

The place is made known by a lock: the test takes one that the worker has to wait for.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.db.servers import Database, PrivateServer
from tests.journeys.programs import TDS, Program, environment, worker
from tests.journeys.waiting import PATIENCE, wait_until
from tests.sql.conftest import Mirror, product

# A statement that makes a worker wait inside apply_claim(), or later, inside finish_claim().
APPLY = "lock table zoho.products in share row exclusive mode"
FINISH = "lock table zoho.invoice_line_items in exclusive mode"

WAITING = """select pid from pg_stat_activity
              where wait_event_type = 'Lock' and datname = current_database() and application_name like %s"""
ADVISORY_LOCKS = """select count(*) from pg_locks where locktype = 'advisory' and classid = tds.lock_class()
                       and database = (select oid from pg_database where datname = current_database())"""
OUTCOMES = "select status, applied, unchanged, dead from tds.inbox_outcome order by inbox_id"
DONE = {"status": "completed", "applied": 1, "unchanged": 0, "dead": 0}
LINES_LINKED = "select count(*) from zoho.invoice_line_items where product_id is not null"


@contextmanager
def blocked(database: Database, statement: str) -> Iterator[psycopg.Connection]:
    """Holds the lock that `statement` takes until the block ends."""
    with database.connect() as holder:
        holder.execute(statement.encode())
        yield holder


def waiting_backend(mirror: Mirror, application: str = "tds/worker/%") -> int:
    """The backend that waits for the lock, as soon as there is one."""

    def found() -> int:
        return next((int(row["pid"]) for row in mirror.rows(WAITING, application)), 0)

    return wait_until(found, f"{application} waits for the lock")


def receive_an_invoice_and_then_its_product(mirror: Mirror) -> None:
    """The invoice is applied: its line waits for the product, which is in the queue."""
    line = {"line_item_id": "501", "item_id": "1", "quantity": 1, "rate": 2, "item_total": 2}
    invoice = {
        "invoice_id": "401",
        "line_items": [line],
        "last_modified_time": "2026-06-09T09:00:00-0400",
    }
    mirror.receive("invoices", {"invoice": invoice})
    assert mirror.process()["applied"] == 1
    mirror.receive("products", {"item": product("1")})


def assert_nothing_is_left(mirror: Mirror) -> None:
    """No event, message, claim, dead letter or lock."""
    for table in ("tds.inbox_open", "tds.claim", "tds.dead_letter", "pgmq.q_tds_products"):
        assert mirror.value(f"select count(*) from {table}") == 0, table
    assert mirror.value(ADVISORY_LOCKS) == 0


PLACES = pytest.mark.parametrize(
    ("place", "applied_before"),
    [
        pytest.param(APPLY, 0, id="between claim and apply"),
        pytest.param(FINISH, 1, id="between apply and finish"),
    ],
)


def assert_the_next_drain_takes_it_up(mirror: Mirror, applied_before: int) -> None:
    """The product's batch, whose worker died when it had applied that many records."""
    assert mirror.value("select count(*) from zoho.products") == applied_before
    assert mirror.value(LINES_LINKED) == 0
    assert mirror.value("select count(*) from tds.claim") == 1
    assert mirror.value("select vt > clock_timestamp() from pgmq.q_tds_products"), "it did not time out"
    outcome = mirror.process()
    assert (outcome["claimed"], outcome["applied"]) == (1, 1 - applied_before)
    assert mirror.rows(OUTCOMES) == [DONE, DONE]
    assert mirror.value(LINES_LINKED) == 1
    assert mirror.value("select events from tds_queue_counts where status = 'completed'") == 2
    assert_nothing_is_left(mirror)


@PLACES
def test_a_killed_workers_batch_is_taken_up_by_the_next_drain(
    database: Database, tmp_path: Path, place: str, applied_before: int
) -> None:
    with database.connect(autocommit=True) as conn:
        mirror = Mirror(conn)
        receive_an_invoice_and_then_its_product(mirror)
        with blocked(database, place), worker(database, tmp_path) as program:
            backend = waiting_backend(mirror)
            program.kill()
            alive = "select from pg_stat_activity where pid = %s"
            wait_until(lambda: not mirror.rows(alive, backend), "its backend misses it")
        assert_the_next_drain_takes_it_up(mirror, applied_before)


def kill_a_worker_and_its_backend(database: Database, directory: Path, place: str) -> None:
    """PostgreSQL takes a backend that was SIGKILLed for a crash, and throws everybody out, this one included."""
    with database.connect(autocommit=True) as conn:
        mirror = Mirror(conn)
        receive_an_invoice_and_then_its_product(mirror)
        with blocked(database, place), worker(database, directory) as program:
            backend = waiting_backend(mirror)
            program.kill()
            os.kill(backend, signal.SIGKILL)
            wait_until(lambda: conn.execute("select") is None, "the server throws everybody out")


@PLACES
def test_so_is_that_of_a_worker_that_went_down_with_the_server(
    server: PrivateServer, tmp_path: Path, place: str, applied_before: int
) -> None:
    database = server.database()
    with pytest.raises(psycopg.OperationalError):
        kill_a_worker_and_its_backend(database, tmp_path, place)
    server.start()
    with database.connect(autocommit=True) as conn:
        mirror = Mirror(conn)
        # Only the claim's commit waits for the disk: what was applied last may be taken back, and is done again.
        applied = mirror.value("select count(*) from zoho.products")
        assert applied <= applied_before
        assert_the_next_drain_takes_it_up(mirror, applied)


class Session:
    """A session of its own that drains in a thread, to be ended or cancelled in the middle."""

    def __init__(self, database: Database, threads: ThreadPoolExecutor) -> None:
        self.conn = database.connect(autocommit=True, application_name="drains")
        self.drained: Future[dict[str, int]] = threads.submit(Mirror(self.conn).process)


@contextmanager
def draining(database: Database) -> Iterator[Session]:
    """A session in the middle of a drain."""
    with ThreadPoolExecutor(1) as threads:
        session = Session(database, threads)
        try:
            yield session
        finally:
            # Where a test failed half-way it still waits for the lock.
            if not session.drained.done():
                session.conn.cancel_safe(timeout=PATIENCE)
                session.drained.exception(30)
            session.conn.close()


@contextmanager
def draining_after_lock(database: Database, statement: str) -> Iterator[Session]:
    """A session whose drain waits for the lock; it lives until the block ends."""
    with blocked(database, statement), draining(database) as session:
        yield session


def crash(database: Database, mirror: Mirror) -> list[int]:
    """Lets a session claim what waits and die before it can apply it; returns the events it had claimed."""
    with blocked(database, APPLY), draining(database) as session:
        backend = waiting_backend(mirror, "drains")
        claimed: list[int] = mirror.value("select inbox_ids from tds.claim")
        mirror.conn.execute("select pg_terminate_backend(%s, 10000)", [backend])
        with pytest.raises(psycopg.errors.AdminShutdown):
            session.drained.result()
    return claimed


def test_after_three_crashes_each_event_runs_alone(database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        mirror = Mirror(conn)
        for number in "123":
            mirror.receive("products", {"item": product(number)})
        events = [row["inbox_id"] for row in mirror.rows("select inbox_id from tds.inbox order by 1")]
        assert [crash(database, mirror) for _ in range(3)] == [events] * 3
        mirror.conn.execute("select tds.free_claims('products')")
        states = mirror.rows("select crashes, attempts, retry_at, error_code from tds.inbox_open")
        assert states == [{"crashes": 3, "attempts": 0, "retry_at": None, "error_code": "08006"}] * 3

        mirror.conn.execute("create table alone (inbox_ids bigint[])")
        mirror.conn.execute("grant insert on alone to public")
        mirror.conn.execute(
            """create function note_claim() returns trigger language plpgsql as $$
               begin insert into public.alone values (new.inbox_ids); return null; end $$"""
        )
        mirror.conn.execute(
            "create trigger note after insert on tds.claim for each row execute function note_claim()"
        )
        outcome = mirror.process()
        assert (outcome["claimed"], outcome["applied"]) == (3, 3)
        alone = [row["inbox_ids"] for row in mirror.rows("select inbox_ids from alone")]
        assert alone == [[event] for event in events]
        assert mirror.rows(OUTCOMES) == [DONE] * 3
        assert_nothing_is_left(mirror)


def test_who_crashes_its_worker_alone_waits_and_the_others_go_on(database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        mirror = Mirror(conn)
        for number in "123":
            mirror.receive("products", {"item": product(number)})
        for _ in range(3):
            crash(database, mirror)
        [guilty] = crash(database, mirror)
        outcome = mirror.process()
        assert (outcome["claimed"], outcome["applied"]) == (2, 2)
        parked = mirror.rows(
            "select inbox_id, crashes, attempts, retry_at > tds.now() as waits from tds.inbox_open"
        )
        assert parked == [{"inbox_id": guilty, "crashes": 4, "attempts": 0, "waits": True}]
        assert mirror.process()["claimed"] == 0
        mirror.conn.execute("select set_config('tds.fake_now', (now() + interval '1 hour')::text, false)")
        assert mirror.process()["applied"] == 1
        assert_nothing_is_left(mirror)


@PLACES
def test_a_cancelled_call_puts_its_batch_back_and_lets_go_of_it(
    database: Database, place: str, applied_before: int
) -> None:
    with database.connect(autocommit=True) as conn:
        mirror = Mirror(conn)
        mirror.conn.execute(
            "update tds.setting set value = %s where name = 'outage_pause_seconds'", [Jsonb(1)]
        )
        receive_an_invoice_and_then_its_product(mirror)
        with draining_after_lock(database, place) as session:
            backend = waiting_backend(mirror, "drains")
            mirror.conn.execute("select pg_cancel_backend(%s)", [backend])
            outcome = session.drained.result(PATIENCE)
            assert outcome["applied"] == applied_before
            assert mirror.value("select count(*) from tds.claim") == 0
            assert mirror.value(ADVISORY_LOCKS) == 0, "the session lives, its lock is gone"
            left = mirror.rows("select attempts, crashes, error_code from tds.inbox_open")
            assert left == [{"attempts": 0, "crashes": 0, "error_code": "57014"}][applied_before:]
        pause = mirror.value("select vt - clock_timestamp() from pgmq.q_tds_products")
        assert pause.total_seconds() < 1.1

        outcomes: list[dict[str, int]] = []

        def claimed() -> int:
            outcomes.append(mirror.process())
            return outcomes[-1]["claimed"]

        wait_until(claimed, "the pause is over")
        assert (outcomes[-1]["claimed"], outcomes[-1]["applied"]) == (1, 1 - applied_before)
        assert mirror.value("select count(*) from tds.dead_letter") == 0
        assert mirror.rows(OUTCOMES) == [DONE, DONE]
        assert mirror.value(LINES_LINKED) == 1
        assert_nothing_is_left(mirror)


def test_a_call_cancelled_while_it_claims_leaves_no_lock_behind(database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        mirror = Mirror(conn)
        mirror.receive("products", {"item": product("1")})
        with draining_after_lock(database, "lock table tds.claim in share mode") as session:
            backend = waiting_backend(mirror, "drains")
            mirror.conn.execute("select pg_cancel_backend(%s)", [backend])
            with pytest.raises(psycopg.errors.QueryCanceled):
                session.drained.result(PATIENCE)
            assert mirror.value(ADVISORY_LOCKS) == 0
        assert mirror.process()["applied"] == 1
        assert_nothing_is_left(mirror)


def test_workers_end_when_the_command_that_keeps_them_is_killed(database: Database, tmp_path: Path) -> None:
    variables = environment(TDS_DATABASE_URL=database.conninfo)
    command = Program("workers", [*TDS, "work", "--workers", "2"], variables, tmp_path)
    command.start()
    workers: list[psutil.Process] = []
    try:
        # At once, while they are still loading their modules: the worst moment to lose a parent.
        workers = wait_until(lambda: psutil.Process(command.pid).children(), "there are workers")
        command.kill()
        _, alive = psutil.wait_procs(workers, timeout=PATIENCE)
        assert alive == []
    finally:
        if command.is_running:
            command.kill()
        for process in workers:
            with suppress(psutil.NoSuchProcess):
                process.kill()
