"""What the measurements do with TDS: put bodies in, drain, look at what became of them and what it cost."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from benchmarks.data import ORGANIZATION
from tds_db.worker import drain

WORKERS = 2
BATCH = 1_000  # bodies of one receive_many


class BenchError(Exception):
    """A measurement that did not do what it was to measure."""


def receive(
    conn: psycopg.Connection,
    entity: str,
    bodies: Iterable[bytes],
    shape: str,
    organization: str = ORGANIZATION,
) -> None:
    """Stores bodies as the poller does, each in a transaction of its own."""
    for body in bodies:
        conn.execute(
            "select status from tds.receive(%s, %b, %s, 'poller', %s)", [entity, body, organization, shape]
        )


def receive_webhooks(
    conn: psycopg.Connection, entity: str, bodies: Sequence[bytes], organizations: Sequence[str] = ()
) -> None:
    """Stores bodies as the receiver does when many come at once.

    Args:
        conn: in autocommit mode.
        entity: of all of them.
        bodies: the webhooks.
        organizations: whose each is; none: all are of the one organisation.
    """
    owners = list(organizations) or [ORGANIZATION] * len(bodies)
    for first in range(0, len(bodies), BATCH):
        part = list(bodies[first : first + BATCH])
        conn.execute(
            "select count(*) from tds.receive_many(%s, %b, %s)",
            [[entity] * len(part), part, owners[first : first + BATCH]],
        )


def drain_all(conn: psycopg.Connection) -> Counter[str]:
    """`CALL tds.process_batch()` until nothing is claimed any more: the counts of all calls."""
    total: Counter[str] = Counter()
    while (outcome := drain(conn))["claimed"]:
        total.update(outcome)
    return total


def expect(outcome: Counter[str], **counts: int) -> None:
    """Makes sure that the work was done.

    Raises:
        BenchError: another number of records was applied, unchanged, dead …
    """
    found = {name: outcome[name] for name in ("applied", "unchanged", "stale", "retried", "dead")}
    if found != {name: counts.get(name, 0) for name in found}:
        raise BenchError(f"expected {counts}, process_batch counted {found}")


def unfinished(conn: psycopg.Connection) -> int:
    """Events without an outcome."""
    row = conn.execute(
        "select coalesce(sum(events), 0) from public.tds_queue_counts "
        "where status not in ('completed', 'dead_letter')"
    ).fetchone()
    assert row is not None
    return int(row[0])


def wal_position(conn: psycopg.Connection) -> str:
    """Where the WAL ends now."""
    row = conn.execute("select pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    return str(row[0])


def wal_of_the_mirror(conn: psycopg.Connection, since: str) -> int:
    """Bytes of WAL records since then that touch a table of schema zoho, its indexes or its TOAST."""
    conn.execute("checkpoint")  # a drain's commits do not wait for the disk, and only flushed WAL is read
    row = conn.execute(
        """
        with mirrored as (
            select c.oid, c.reltoastrelid from pg_class c
             where c.relnamespace = 'zoho'::regnamespace and c.relkind = 'r'
        ), owners as (
            select m.oid from mirrored m
             union all
            select m.reltoastrelid from mirrored m where m.reltoastrelid <> 0
        ), files as (
            select c.relfilenode from pg_class c
             where c.relfilenode <> 0
               and (c.oid in (select o.oid from owners o)
                    or c.oid in (select i.indexrelid from pg_index i join owners o on o.oid = i.indrelid)))
        select coalesce(sum(w.record_length), 0)
          from (select distinct b.start_lsn, b.record_length
                  from pg_get_wal_block_info(%s, pg_current_wal_flush_lsn()) b
                  join pg_database d on d.oid = b.reldatabase and d.datname = current_database()
                 where b.relfilenode in (select f.relfilenode from files f)) w""",
        [since],
    ).fetchone()
    assert row is not None
    return int(row[0])


@dataclass(slots=True)
class WorkersReport:
    """What the worker processes said when they ended."""

    outcome: Counter[str]
    peak_bytes: int
    """Sum of the workers' peaks of resident memory."""
    ended_at: float
    """`time.perf_counter()` when the last of them had finished its work."""


class Workers:
    """Worker processes that drain until told to end. Started and warm when the constructor returns.

    Args:
        dsn: the database.
        count: how many processes.
    """

    def __init__(self, dsn: str, count: int = WORKERS) -> None:
        environment = {**os.environ, "BENCH_DSN": dsn}
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.drainer"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for _ in range(count)
        ]
        for process in self._processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise BenchError("a worker did not start")

    @property
    def pids(self) -> list[int]:
        """Their process ids."""
        return [process.pid for process in self._processes]

    def finish(self) -> WorkersReport:
        """Tells them to end once they find nothing to do, and waits for that.

        Raises:
            BenchError: one of them failed.
        """
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        report = WorkersReport(Counter(), 0, 0.0)
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            report.ended_at = time.perf_counter()
            if not line:
                raise BenchError(f"worker {process.pid} failed")
            told = json.loads(line)
            report.outcome.update(told["outcome"])
            report.peak_bytes += told["peak_bytes"]
        self.stop()
        return report

    def stop(self) -> None:
        """Ends them whatever they do, and waits until they are gone."""
        for process in self._processes:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def workers(dsn: str, count: int = WORKERS) -> Iterator[Workers]:
    """`Workers` that are gone at the end, whatever happens."""
    running = Workers(dsn, count)
    try:
        yield running
    finally:
        running.stop()


def is_closed(stream: int) -> bool:
    """Whether the other end of a pipe was closed; does not wait."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(0)) and not os.read(stream, 1)
