"""Workers: notified at once, stopped cleanly, back after an outage, replaced when killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from tds_db import worker as worker_module
from tds_db.worker import Worker
from tests.db.servers import Database
from tests.journeys.waiting import PATIENCE, wait_until


@contextmanager
def working(database: Database) -> Iterator[Worker]:
    """A worker in a thread."""
    worker = Worker(database.conninfo)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def receive(connection: psycopg.Connection, item: int) -> None:
    """One webhook."""
    body = (
        b'{"item": {"item_id": "%d", "name": "x", "last_modified_time": "2026-01-01T00:00:00+0000"}}' % item
    )
    connection.execute("select tds.receive('products', %s, '1')", [body])


def products(connection: psycopg.Connection) -> int:
    """How many rows there are."""
    [(count,)] = connection.execute("select count(*) from zoho.products")
    return int(count)


def has_products(connection: psycopg.Connection, count: int) -> bool:
    """Whether there are so many."""
    return products(connection) == count


def workers(connection: psycopg.Connection) -> list[tuple[int, str]]:
    """The backends of workers, and their names."""
    query = (
        "select pid, application_name from pg_stat_activity "
        "where datname = current_database() and application_name like 'tds/worker/%%'"
    )
    return connection.execute(query).fetchall()


def test_what_comes_is_processed_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 60)
    with database.connect(autocommit=True) as connection, working(database) as worker:
        wait_until(lambda: workers(connection), "it is at work")
        time.sleep(0.1)
        for number in range(1, 6):
            receive(connection, number)
            wait_until(partial(has_products, connection, number), "it is applied")
        assert [name.rpartition("/")[2] for _, name in workers(connection)] == [str(os.getpid())]
        worker.stop()
        receive(connection, 99)


def test_what_was_not_told_is_found_by_looking(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute("update tds.setting set value = 'false' where name = 'notify'")
        with working(database):
            wait_until(lambda: workers(connection), "it is at work")
            receive(connection, 1)
            wait_until(lambda: products(connection) == 1, "it is applied")


def test_it_comes_back_after_an_outage(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "LONGEST_PAUSE", 0.2)
    with database.connect(autocommit=True) as connection, working(database):
        wait_until(lambda: workers(connection), "it is at work")
        [(first, _)] = workers(connection)
        connection.execute("select pg_terminate_backend(%s)", [first])
        wait_until(
            lambda: [pid for pid, _ in workers(connection) if pid != first], "another session is at work"
        )
        receive(connection, 1)
        wait_until(lambda: products(connection) == 1, "it is applied")


def start(database: Database, count: int) -> subprocess.Popen[bytes]:
    """`tds work`."""
    environment = {**os.environ, "TDS_DATABASE_URL": database.conninfo}
    command = [sys.executable, "-P", "-m", "tds_cli", "work", "--workers", str(count)]
    return subprocess.Popen(command, env=environment)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_processes_stop_when_asked(database: Database, count: int, stop: signal.Signals) -> None:
    with database.connect(autocommit=True) as connection:
        command = start(database, count)
        wait_until(lambda: len(workers(connection)) == count, "all are at work")
        command.send_signal(stop)
        assert command.wait(PATIENCE) == 0
        wait_until(lambda: not workers(connection), "all have gone")


def test_a_killed_worker_is_replaced_and_orphans_stop(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        command = start(database, 2)
        wait_until(lambda: len(workers(connection)) == 2, "both are at work")
        killed = {int(name.rpartition("/")[2]) for _, name in workers(connection)}
        os.kill(min(killed), signal.SIGKILL)
        wait_until(
            lambda: {int(name.rpartition("/")[2]) for _, name in workers(connection)} - killed,
            "another one is at work",
        )
        wait_until(lambda: len(workers(connection)) == 2, "both are at work")
        receive(connection, 1)
        wait_until(lambda: products(connection) == 1, "it is applied")
        command.kill()
        command.wait(PATIENCE)
        wait_until(lambda: not workers(connection), "all have gone")
