"""What a user would pick instead, on the same server with the same items: rows a second, and memory.

Each peer is installed from PyPI into an environment of its own, at the version named here. A peer's clock
starts when its program has been imported and stops when its last row is committed; its memory is the sum of
the peaks of all its processes. TDS stands beside them with a feeding process and two workers; the clock of
its load starts before the feeder's interpreter does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.bench import Bench, Story
from benchmarks.data import PER_PAGE, Table
from benchmarks.memory import peak_of
from benchmarks.mirror import BenchError, expect, workers
from benchmarks.products import CHANGED
from benchmarks.rows import Row
from benchmarks.server import settle

PROGRAMS = Path(__file__).parent / "peer_programs"
FAST_PAGE = 5_000
LOOK_SECONDS = 0.05  # between two looks at a peer's memory
DLT = (
    "dlt[postgres]==1.31.0",
    "pyarrow==26.0.1",
    "adbc-driver-manager==1.13.0",
    "adbc-driver-postgresql==1.13.0",
)
TARGET_POSTGRES = ("meltanolabs-target-postgres==0.8.1",)


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer: how its program is started, and how fast TDS must be against it."""

    key: str
    title: str
    times: float | None
    packages: tuple[str, ...] = ()
    page: int = PER_PAGE
    slow: bool = False


DLT_DEFAULT = Peer("dlt", "dlt, default loader", 6, DLT)
DLT_FAST = Peer("dlt_fast", "dlt, arrow tables as Parquet over ADBC, pages of 5,000", 2, DLT, FAST_PAGE)
MELTANO = Peer("target_postgres", "Meltano's target-postgres with COPY", 4, TARGET_POSTGRES)
STRIPE = Peer("stripe", "stripe-sync-engine's way of upserting (emulated)", None, slow=True)
NAIVE = Peer("naive", "a naive worker (psycopg, a row a transaction)", 30, slow=True)
PEERS = (DLT_FAST, DLT_DEFAULT, MELTANO, STRIPE, NAIVE)

ROWS = (
    *(
        Row("peers", f"TDS with two workers against {peer.title}: {title}", f"tds_{load}",
            f"{peer.key}_{load}", peer.times)
        for peer in PEERS
        for load, title in (("first", "first load"), ("again", "re-sync, 10 % changed"))
    ),
    *(
        Row("peers", f"memory of TDS (feeder and two workers) against {peer.title}", "tds_memory",
            f"{peer.key}_memory", 1.0, unit="bytes", at_most=True)
        for peer in PEERS
    ),
)  # fmt: skip


class Watch:
    """Watches the memory of a process and its descendants, from a thread, while the block runs.

    Args:
        pid: where to begin.
    """

    def __init__(self, pid: int) -> None:
        self._root = pid
        self._peaks: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def peak(self) -> int:
        """The sum of the peaks of all processes seen."""
        return sum(self._peaks.values())

    def _look_on(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            for pid in self._family():
                self._peaks[pid] = max(self._peaks.get(pid, 0), peak_of(pid))

    def _family(self) -> list[int]:
        try:
            children = psutil.Process(self._root).children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        return [self._root, *(child.pid for child in children)]


@dataclass(frozen=True, slots=True)
class Files:
    """The pages of both loads on disk."""

    count: int
    changed: int
    paths: Mapping[tuple[int, int], Path]
    """By load (1, 2) and page size."""
    singer: Mapping[int, Path]


def _files(bench: Bench, *, slow: bool) -> Files:
    count = bench.sizes.slow_products if slow else bench.sizes.peer_products
    files: Files = bench.once(f"files {count}", lambda: _make_files(bench, count))
    return files


def _make_files(bench: Bench, count: int) -> Files:
    place = Path(bench.stack.enter_context(tempfile.TemporaryDirectory(prefix="tds-bench-pages-")))
    first = bench.products(count)
    second = first.changed(CHANGED, 2, bench.sizes.seed)
    changed = sum(old != new for old, new in zip(first.rows, second.rows, strict=True))
    paths: dict[tuple[int, int], Path] = {}
    singer: dict[int, Path] = {}
    for load, table in ((1, first), (2, second)):
        for size in (PER_PAGE, FAST_PAGE):
            path = paths[load, size] = place / f"{load}-{size}"
            with path.open("wb") as file:
                file.writelines(body + b"\n" for body in table.pages(size))
        singer[load] = place / f"{load}-singer"
        _write_singer(singer[load], table)
    return Files(count, changed, paths, singer)


def _write_singer(path: Path, table: Table) -> None:
    """The messages a tap would send: a schema with every key, and the records, null for an empty number."""
    numbers = {"rate", "purchase_rate", "reorder_level", "tax_percentage"}
    numbers |= {"stock_on_hand", "available_stock", "actual_available_stock"}
    properties: dict[str, Any] = {}
    records = [json.loads(row) for row in table.rows]
    for record in records:
        for key, value in record.items():
            if key in numbers and value == "":
                record[key] = None
            if key not in properties:
                kind = (
                    "number"
                    if key in numbers
                    else {bool: "boolean", int: "integer", list: "array"}.get(type(value), "string")
                )
                properties[key] = {"type": [kind, "null"]}
    schema = {"type": "object", "properties": properties}
    message = {"type": "SCHEMA", "stream": "items", "schema": schema, "key_properties": ["item_id"]}
    with path.open("w") as file:
        file.write(json.dumps(message) + "\n")
        file.writelines(
            json.dumps({"type": "RECORD", "stream": "items", "record": record}) + "\n" for record in records
        )


def _python_of(bench: Bench, packages: tuple[str, ...]) -> Path:
    """The Python of an environment with exactly these packages, made where it is missing.

    Raises:
        BenchError: pip failed; the message ends with its last words.
    """
    if not packages:
        return Path(sys.executable)
    name = packages[0].replace("[", "-").replace("]", "").replace("==", "-")
    home = bench.peers.absolute() / name
    python, ready = home / "bin/python", home / "ready"
    if not ready.exists() or ready.read_text() != "\n".join(packages):
        bench.log.print(f"installing {', '.join(packages)}", highlight=False)
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(home)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BenchError(f"{name} cannot be installed: {done.stderr.strip()[-300:]}")
        ready.write_text("\n".join(packages))
    return python


def _watched(command: Sequence[str], environment: Mapping[str, str], stdin: Path | None) -> tuple[float, int]:
    """Runs a peer: its seconds and its peak of memory.

    Raises:
        BenchError: it failed; the message ends with its last words.
    """
    with (stdin or Path(os.devnull)).open("rb") as source, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=source, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, **environment}
        )
        try:
            with Watch(process.pid) as watch:
                told, _ = process.communicate()
        except BaseException:
            process.kill()
            process.wait()
            raise
        took = time.perf_counter() - began
        if process.returncode:
            errors.seek(0)
            raise BenchError(f"{command[0]} failed: {errors.read().decode(errors='replace').strip()[-500:]}")
    last = told.decode().strip().rpartition("\n")[2]
    if last.startswith('{"seconds"'):
        took = float(json.loads(last)["seconds"])
    return took, watch.peak


def _tell(peer: Peer) -> Callable[[Bench], Mapping[str, float]]:
    def tell(bench: Bench) -> Mapping[str, float]:
        failed = f"{peer.key} failed"
        if failed in bench.notes:
            return {}
        try:
            return _measure(bench, peer)
        except BenchError as error:
            bench.notes[failed] = str(error)
            for sample in ("first", "again", "memory"):
                bench.notes[f"{peer.key}_{sample}"] = f"not measured: {error}"
            bench.log.print(f"{peer.title}: {error}", style="bold red", highlight=False)
            return {}

    return tell


def _measure(bench: Bench, peer: Peer) -> Mapping[str, float]:
    files = _files(bench, slow=peer.slow)
    python = _python_of(bench, peer.packages)
    samples: dict[str, float] = {}
    with bench.connected() as conn, tempfile.TemporaryDirectory(prefix="tds-bench-peer-") as place:
        dbname = str(conninfo_to_dict(conn.info.dsn)["dbname"])
        environment = {
            "BENCH_URL": bench.server.address(dbname).url,
            "BENCH_DIR": place,
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "ERROR",
        }
        for load, name in ((1, "first"), (2, "again")):
            settle(conn)
            stdin = None
            if peer is MELTANO:
                command, stdin = (
                    _target_postgres(bench, python, dbname, load, Path(place)),
                    files.singer[load],
                )
            elif peer.packages:
                form = "fast" if peer is DLT_FAST else "default"
                path = files.paths[load, peer.page]
                command = [str(python), str(PROGRAMS / "dlt_load.py"), form, str(path), str(load)]
            else:
                path = files.paths[load, peer.page]
                command = [str(python), str(PROGRAMS / "upserts.py"), peer.key, str(path)]
            seconds, peak = _watched(command, environment, stdin)
            samples[f"{peer.key}_{name}"] = files.count / seconds
            samples[f"{peer.key}_memory"] = max(peak, samples.get(f"{peer.key}_memory", 0))
        _check(conn, peer, files.count)
    return samples


def _target_postgres(bench: Bench, python: Path, dbname: str, load: int, place: Path) -> list[str]:
    config = {
        "sqlalchemy_url": bench.server.address(dbname).url.replace("postgresql://", "postgresql+psycopg://"),
        "use_copy": True,
        "default_target_schema": "meltano",
        "load_method": "append-only" if load == 1 else "upsert",
    }
    path = place / f"config-{load}.json"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return [str(python.parent / "target-postgres"), "--config", str(path)]


def _check(conn: psycopg.Connection, peer: Peer, count: int) -> None:
    """Makes sure that the peer holds every record once, and the changes of the second load."""
    schema = {"dlt": "zoho_dlt", "dlt_fast": "zoho_dlt", "target_postgres": "meltano", "stripe": "stripelike"}
    where = f"{schema.get(peer.key, peer.key)}.items"
    key = "id" if peer is STRIPE else "item_id"
    row = conn.execute(f"select count(*), count(distinct {key}) from {where}".encode()).fetchone()
    if row != (count, count):
        raise BenchError(f"{peer.title} holds {row} records and ids, not {count}")


def tds(bench: Bench) -> Mapping[str, float]:
    """TDS: a process that feeds the pages, and two workers."""
    files = _files(bench, slow=False)
    samples: dict[str, float] = {"tds_memory": 0}
    counts = {1: {"applied": files.count}, 2: {"applied": files.changed}}
    counts[2]["unchanged"] = files.count - files.changed
    with bench.connected() as conn:
        for load, name in ((1, "first"), (2, "again")):
            settle(conn)
            environment = {**os.environ, "BENCH_URL": conn.info.dsn}
            path = files.paths[load, PER_PAGE]
            with workers(conn.info.dsn) as running:
                feeder = subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.peer_programs.tds_load", str(path)],
                    stdout=subprocess.PIPE,
                    env=environment,
                )
                with feeder, Watch(feeder.pid) as watch:
                    assert feeder.stdout is not None
                    feeder.stdout.readline()
                    began = time.perf_counter()
                if feeder.returncode:
                    raise BenchError("the feeder failed")
                report = running.finish()
                peak = watch.peak + report.peak_bytes
            expect(report.outcome, **counts[load])
            samples[f"tds_{name}"] = files.count / (report.ended_at - began)
            samples["tds_memory"] = max(samples["tds_memory"], peak)
    return samples


STORIES = (
    Story("TDS, two workers", ("tds_first", "tds_again", "tds_memory"), tds, is_peer=True),
    *(
        Story(
            peer.title,
            tuple(f"{peer.key}_{name}" for name in ("first", "again", "memory")),
            _tell(peer),
            True,
        )
        for peer in PEERS
    ),
)
