"""Memory of all that runs, at a small mirror and at a large one: receiver, workers, poller, sessions."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import psycopg

from benchmarks.bench import Bench, Story
from benchmarks.data import PER_PAGE
from benchmarks.large import large
from benchmarks.memory import anonymous_of, peak_of
from benchmarks.mirror import BenchError, unfinished
from benchmarks.receiving import receiving, template, wrk
from benchmarks.rows import Row
from benchmarks.source import Pages, serving

CONNECTIONS = 32
PULLED = 20_000
LOOK_SECONDS = 0.2
PATIENCE = 600.0  # seconds that the workers may take
WHAT = {
    "programs": "of the receiver, two workers and the poller",
    "sessions": "of their sessions in PostgreSQL, without what all share",
}

ROWS = tuple(
    Row("service", f"memory {what}, webhooks and a pull at once: a mirror of --huge-rows against --few-rows",
        f"service_{kind}_huge", f"service_{kind}_few", 1.1, unit="bytes", at_most=True)
    for kind, what in WHAT.items()
)  # fmt: skip


class _Watch:
    """Looks again and again at the memory of sessions; keeps the most of each kind of program."""

    def __init__(self, dsn: str) -> None:
        self.peaks: Counter[str] = Counter()
        self._dsn = dsn
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            while not self._ended.wait(LOOK_SECONDS):
                now: Counter[str] = Counter()
                for pid, name in conn.execute(
                    "select pid, split_part(application_name, '/', 2) from pg_stat_activity "
                    "where datname = current_database() and application_name like 'tds/%'"
                ).fetchall():
                    now[name] += anonymous_of(pid)
                self.peaks |= now

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Looks as long as the block lasts."""
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()


def serve(bench: Bench, size: str) -> Mapping[str, float]:
    """A receiver under load with two workers beside it, while a poller reads a list."""
    mirror = large(bench, size)
    dsn, watch = mirror.conn.info.dsn, _Watch(mirror.conn.info.dsn)
    base = str(2 * 10**6 + len(mirror.organizations))
    with (
        receiving(dsn, "--workers", "2") as receiver,
        tempfile.TemporaryDirectory() as directory,
        _pulling(bench, dsn) as puller,
        watch.watching(),
    ):
        body = Path(directory) / "body"
        body.write_text(template(bench))
        _, told = wrk(
            receiver.url,
            CONNECTIONS,
            body,
            base,
            lambda: _webhooks(mirror.conn),
            organizations=",".join(mirror.organizations),
        )
        deadline, is_read = time.monotonic() + PATIENCE, False
        while unfinished(mirror.conn) or not is_read:
            is_read = is_read or _is_read(puller)
            if time.monotonic() > deadline:
                raise BenchError("the workers do not get through")
            time.sleep(0.5)
        programs: Counter[str] = Counter({"receiver": receiver.peak, "poller": peak_of(puller.pid)})
        for child in psutil.Process(receiver.pid).children(recursive=True):
            programs["workers" if any("work" in word for word in child.cmdline()) else "receiver"] += peak_of(
                child.pid
            )
    for kind, found in (("programs", programs), ("sessions", watch.peaks)):
        bench.notes[f"service_{kind}_{size}"] = ", ".join(
            f"{name} {used / 2**20:.0f} MiB" for name, used in sorted(found.items())
        )
    bench.notes[f"service_programs_{size}"] += f"; {told}"
    return {
        f"service_programs_{size}": float(sum(programs.values())),
        f"service_sessions_{size}": float(sum(watch.peaks.values())),
    }


def _webhooks(conn: psycopg.Connection) -> int:
    row = conn.execute(
        "select count(*) from tds.inbox where source = 'webhook' and received_at > now() - interval '1 hour'"
    ).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def _pulling(bench: Bench, dsn: str) -> Iterator[subprocess.Popen[str]]:
    pages = Pages(bench.products(PER_PAGE).rows[:PER_PAGE], PULLED // PER_PAGE)
    with serving(pages) as base:
        environment = {
            **os.environ, "BENCH_DSN": dsn, "BENCH_BASE": base, "BENCH_RECORDS": str(PULLED)
        }  # fmt: skip
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks.puller"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        ) as puller:
            try:
                assert puller.stdin is not None
                puller.stdin.write("\n")  # it need not wait at a tenth
                puller.stdin.flush()
                yield puller
            finally:
                puller.kill()


def _is_read(puller: subprocess.Popen[str]) -> bool:
    """Whether it has said just now that all is stored."""
    assert puller.stdout is not None
    os.set_blocking(puller.stdout.fileno(), False)
    return "all\n" in puller.stdout.readlines()


STORIES = tuple(
    Story(
        f"service, {size}",
        tuple(f"service_{kind}_{size}" for kind in WHAT),
        partial(serve, size=size),
        rounds=1,
    )
    for size in ("few", "huge")
)
