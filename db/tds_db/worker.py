"""The worker: listens for new events and has the database process them.

All the work happens in `CALL tds.process_batch()`. A worker killed at any moment loses nothing: the next
call, anybody's, takes up what it had claimed.
"""

import logging
import random
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from tds_db.alerting import STOP_SECONDS, Sending
from tds_db.backups import Taking
from tds_db.connect import LASTING, Connection, connect, conninfo
from tds_db.envfile import load
from tds_db.errors import notice_text
from tds_db.processes import Program, end_with_parent, on_stop_signal, python, supervise
from tds_db.supervision import Hanging, notify_systemd

log = logging.getLogger(__name__)

CHANNEL = "tds_inbox"
POLL_SECONDS = 1.0  # notifications only hasten; retries that fall due send none
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds between attempts while the database is away
JOBS_SECONDS = 10.0  # between looks at what is due by the clock; schedules know minutes
# A batch that takes longer is cancelled by the server and comes back in halves; should nobody answer at all,
# the connection is given up.
CALL_SECONDS = 20
ANSWER_SECONDS = 30.0
JOB_SECONDS = 3600.0  # of one look at what is due by the clock: jobs may be long
SETTINGS: Mapping[str, str] = {**LASTING, "statement_timeout": f"{CALL_SECONDS}s"}

Outcome = Mapping[str, int]


def drain(connection: psycopg.Connection, queue: str | None = None, max_records: int = 1000) -> Outcome:
    """Processes what is waiting, once: `CALL tds.process_batch()`.

    Args:
        connection: in autocommit mode, because the procedure commits.
        queue: one queue; None: every queue, by priority, until all are empty.
        max_records: most records of one claim.

    Returns:
        How many records were claimed, applied, unchanged, stale, retried and dead.
    """
    call = sql.SQL("call tds.process_batch({}, {}, null)").format(queue, max_records)
    row = connection.execute(call).fetchone()
    assert row is not None
    outcome: Outcome = row[0]
    return outcome


def run_due_jobs(connection: psycopg.Connection) -> Mapping[str, str]:
    """Runs the jobs that are due, if no other worker is at it: `CALL tds.run_due_jobs()`.

    Args:
        connection: in autocommit mode, because the procedure commits.

    Returns:
        What became of each: done, failed (tds.job_run says why), not due, running already.
    """
    row = connection.execute("call tds.run_due_jobs(null)").fetchone()
    assert row is not None
    outcome: Mapping[str, str] = row[0]
    return outcome


def tell(connection: psycopg.Connection) -> bool:
    """Tells what only a program can see: its clock, and, beside the server, how full the disk is.

    Args:
        connection: in autocommit mode.

    Returns:
        Whether this program is to end, so that another one takes its place.
    """
    row = connection.execute("select tds.beat(%s)", [datetime.now(UTC)]).fetchone()
    assert row is not None
    if (place := _data_directory(connection)) is not None and (usage := _usage(place)) is not None:
        connection.execute(
            "select tds.note_disk(%s, %s, %s, %s)", [socket.gethostname(), place, usage.free, usage.total]
        )
    return bool(row[0])


def _data_directory(connection: psycopg.Connection) -> str | None:
    """Where the server's data is, if that is on this machine: it is reached by a socket or the loopback."""
    if not (connection.info.host.startswith("/") or connection.info.hostaddr in {"127.0.0.1", "::1"}):
        return None
    # None too where this role may not know it.
    row = connection.execute(
        """select case when pg_has_role('pg_read_all_settings', 'usage')
                       then current_setting('data_directory') end"""
    ).fetchone()
    return str(row[0]) if row and row[0] else None


def _usage(place: str) -> shutil._ntuple_diskusage | None:
    """None where this account sees no such directory, or may not enter what it lies in."""
    try:
        return shutil.disk_usage(place) if Path(place).is_dir() else None
    except OSError:
        return None


class Worker:
    """One worker on one connection; `run` returns after `stop`, which any thread or signal handler may call.

    Args:
        dsn: libpq connection string of the database.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stopping = threading.Event()
        self._next_jobs = 0.0
        self._sending = Sending(dsn)
        self._taking = Taking(dsn)

    def stop(self) -> None:
        """Ends `run` after the batch in hand."""
        self._stopping.set()

    def run(self) -> None:
        """Works until stopped. Whatever the database answers, it is tried again, more slowly each time."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            try:
                with connect(
                    "worker", self._dsn, answer_seconds=ANSWER_SECONDS, settings=SETTINGS, autocommit=True
                ) as connection:
                    connection.add_notice_handler(lambda notice: log.info("%s", notice_text(notice)))
                    connection.execute(sql.SQL("listen {}").format(sql.Identifier(CHANNEL)))
                    while not self._stopping.is_set():
                        self._turn(connection)
                        pause = FIRST_PAUSE
                    connection.execute("select tds.stop_program()")
            except psycopg.Error as error:
                log.error("%s %s: %s", type(error).__name__, error.sqlstate or "", str(error).strip())
                self._stopping.wait(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE)
        self._taking.stop()
        self._sending.wait(STOP_SECONDS)

    def _turn(self, connection: Connection[TupleRow]) -> None:
        outcome = drain(connection)
        notify_systemd()
        if outcome["claimed"]:
            log.info(" ".join(f"{name} {count}" for name, count in outcome.items() if count))
        if time.monotonic() >= self._next_jobs:
            # Told before it is tried: should it fail, the next turns drain all the same.
            self._next_jobs = time.monotonic() + JOBS_SECONDS
            if tell(connection):
                log.warning("a restart is asked for")
                self.stop()
                return
            with _at_leisure(connection):
                for job, became in run_due_jobs(connection).items():
                    log.log(logging.ERROR if became == "failed" else logging.INFO, "job %s: %s", job, became)
                for (statement,) in connection.execute("select tds.take_vacuums()").fetchall():
                    log.info("%s", statement)
                    connection.execute(statement)
            self._sending.turn(connection)
            self._taking.turn(connection)
        if outcome["claimed"]:
            return
        for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
            pass


@contextmanager
def _at_leisure(connection: Connection[TupleRow]) -> Iterator[None]:
    """Jobs may take longer than a batch."""
    connection.execute("set statement_timeout = 0")
    connection.answer_seconds = JOB_SECONDS
    yield
    connection.answer_seconds = ANSWER_SECONDS
    # not reset: a session behind a pooler began with the database's
    connection.execute(f"set statement_timeout = '{SETTINGS['statement_timeout']}'")


def run_worker() -> None:
    """Runs one worker in this process until SIGTERM or SIGINT; a second signal ends it at once.

    Raises:
        ServerError: the embedded server cannot be started.
    """
    worker = Worker(conninfo())
    on_stop_signal(worker.stop)
    worker.run()


def run_workers(count: int) -> None:
    """Runs `count` worker processes until SIGTERM or SIGINT, replacing those that end before.

    Raises:
        ServerError: the embedded server cannot be started.
        PoolerError: TDS_DATABASE_URL leads to a pooler in transaction mode.
    """
    conninfo()  # what no worker can mend is told once
    supervise(worker_programs(count), hanging=Hanging())


def worker_programs(count: int) -> list[Program]:
    """So many worker processes, for whoever supervises them."""
    return [Program(f"worker {number}", python("tds_db.worker")) for number in range(1, count + 1)]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s worker[%(process)d] %(message)s")
    end_with_parent()
    load()
    run_worker()
