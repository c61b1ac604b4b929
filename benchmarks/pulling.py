"""Memory of the Python side during a long pull: the poller and two workers, every process of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from benchmarks.bench import Bench, Story, stopwatch
from benchmarks.data import PER_PAGE
from benchmarks.memory import peak_of
from benchmarks.mirror import BenchError, workers
from benchmarks.rows import Row
from benchmarks.source import Pages, serving

ROWS = (
    Row(
        "memory",
        "peak memory of the Python side (poller and two workers) during a pull of 1,000,000 records: "
        "at its end against at a tenth",
        "memory_end",
        "memory_tenth",
        1.1,
        unit="bytes",
        at_most=True,
    ),
)


def pull(bench: Bench) -> Mapping[str, float]:
    """`poller.pull` against a source that serves generated pages, two workers draining meanwhile."""
    count = bench.sizes.pulled // PER_PAGE * PER_PAGE
    pages = Pages(bench.products().rows[:PER_PAGE], count // PER_PAGE)
    with bench.connected() as conn, serving(pages) as base, workers(conn.info.dsn) as draining:
        environment = {
            **os.environ,
            "BENCH_DSN": conn.info.dsn,
            "BENCH_BASE": base,
            "BENCH_RECORDS": str(count),
        }
        puller = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.puller"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        with puller, stopwatch() as seconds:
            peaks = []
            for expected in ("a tenth", "all"):
                assert puller.stdout is not None
                assert puller.stdin is not None
                if puller.stdout.readline() != f"{expected}\n":
                    raise BenchError("the pull failed")
                if expected == "all":
                    pulled = peak_of(puller.pid)
                    report = draining.finish()
                    peaks.append(pulled + report.peak_bytes)
                else:
                    peaks.append(sum(peak_of(pid) for pid in (puller.pid, *draining.pids)))
                puller.stdin.write("\n")
                puller.stdin.flush()
        if report.outcome["applied"] != count:
            raise BenchError(f"of {count} records {report.outcome['applied']} were applied")
    bench.notes["memory_end"] = (
        f"{count:,} records in {seconds():,.0f} s; the poller alone {pulled / 2**20:.0f} MiB"
    )
    return {"memory_tenth": peaks[0], "memory_end": peaks[1]}


STORIES = (Story("pull", ("memory_tenth", "memory_end"), pull, rounds=1),)
