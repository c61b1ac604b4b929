"""The worker: listens for new events and has the database process them.

All the work happens in `CALL tds.process_batch()`. A worker killed at any moment loses nothing: the next
call, anybody's, takes up what it had claimed.
"""

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import psycopg
from psycopg import sql

from tds_db.connect import application_name, connect, conninfo

log = logging.getLogger(__name__)

CHANNEL = "tds_inbox"
POLL_SECONDS = 1.0  # notifications only hasten; retries that fall due send none
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds between attempts while the database is away
RESPAWN_SECONDS = 0.5
JOBS_SECONDS = 10.0  # between looks at what is due by the clock; schedules know minutes
WORKER_COMMAND = (sys.executable, "-P", "-m", "tds_db.worker")  # and the pid of its parent
CONNECTION: Mapping[str, Any] = {
    "autocommit": True,
    # A server that vanished without a word is noticed within about a minute, even in the middle of a call.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    # And a worker that vanished, within a second: its backend ends and sets its batch free.
    "options": "-c client_connection_check_interval=1s",
}

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


class Worker:
    """One worker on one connection; `run` returns after `stop`, which any thread or signal handler may call.

    Args:
        dsn: libpq connection string of the database.
        is_orphaned: asked at every turn; when true the worker stops by itself.
    """

    def __init__(self, dsn: str, *, is_orphaned: Callable[[], bool] = lambda: False) -> None:
        self._dsn = dsn
        self._name = f"{application_name('worker')[:52]}/{os.getpid()}"  # PostgreSQL keeps 63 bytes
        self._is_orphaned = is_orphaned
        self._stopping = threading.Event()
        self._next_jobs = 0.0

    def stop(self) -> None:
        """Ends `run` after the batch in hand."""
        self._stopping.set()

    def run(self) -> None:
        """Works until stopped. Whatever the database answers, it is tried again, more slowly each time."""
        pause = FIRST_PAUSE
        while self._goes_on():
            try:
                with connect("worker", self._dsn, application_name=self._name, **CONNECTION) as connection:
                    connection.add_notice_handler(lambda notice: log.info("%s", notice.message_primary))
                    connection.execute(sql.SQL("listen {}").format(sql.Identifier(CHANNEL)))
                    while self._goes_on():
                        self._turn(connection)
                        pause = FIRST_PAUSE
            except psycopg.Error as error:
                log.error("%s %s: %s", type(error).__name__, error.sqlstate or "", str(error).strip())
                self._stopping.wait(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE)

    def _turn(self, connection: psycopg.Connection) -> None:
        outcome = drain(connection)
        if outcome["claimed"]:
            log.info(" ".join(f"{name} {count}" for name, count in outcome.items() if count))
        if time.monotonic() >= self._next_jobs:
            # Told before it is tried: should it fail, the next turns drain all the same.
            self._next_jobs = time.monotonic() + JOBS_SECONDS
            for job, became in run_due_jobs(connection).items():
                log.log(logging.ERROR if became == "failed" else logging.INFO, "job %s: %s", job, became)
        if outcome["claimed"]:
            return
        for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
            pass

    def _goes_on(self) -> bool:
        return not self._stopping.is_set() and not self._is_orphaned()


def run_worker(is_orphaned: Callable[[], bool] = lambda: False) -> None:
    """Runs one worker in this process until SIGTERM or SIGINT; a second signal ends it at once.

    Raises:
        ServerError: the embedded server cannot be started.
    """
    worker = Worker(conninfo(), is_orphaned=is_orphaned)
    _on_stop_signal(worker.stop)
    worker.run()


def run_workers(count: int) -> None:
    """Runs `count` worker processes until SIGTERM or SIGINT, replacing those that end before."""
    # It is told its parent's pid, because a parent that is killed early is gone before the worker could ask.
    # Its own process group: Ctrl-C reaches the parent only, which then asks each worker once.
    supervise(
        [lambda: subprocess.Popen([*WORKER_COMMAND, str(os.getpid())], process_group=0)] * count,
    )


def supervise(
    spawns: Sequence[Callable[[], subprocess.Popen[bytes]]], stopping: Callable[[], None] = lambda: None
) -> None:
    """Runs processes until SIGTERM or SIGINT, replacing those that end before; then stops each.

    Args:
        spawns: how each is started; it should notice by itself when this process is gone.
        stopping: called before they are asked.
    """
    stop = threading.Event()
    _on_stop_signal(stop.set)
    children = [spawn() for spawn in spawns]
    while not stop.wait(RESPAWN_SECONDS):
        for place, child in enumerate(children):
            if (code := child.poll()) is not None:
                log.warning("process %d ended with code %d, another one takes its place", child.pid, code)
                children[place] = spawns[place]()
    stopping()
    for child in children:
        child.terminate()
    for child in children:
        child.wait()


def _on_stop_signal(stop: Callable[[], None]) -> None:
    def handle(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s worker[%(process)d] %(message)s")
    parent = int(sys.argv[1])
    run_worker(lambda: os.getppid() != parent)
