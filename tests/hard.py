"""`make test-hard`: the whole suite on a busy machine, at other times of the day, in other orders, in full; says which tests failed when.

It changes nothing in the tests: beside them processes keep all cores busy, or the wall clock shows another time to
them, to the programs they start and to the servers (tests/clock).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import clock

ROOT = Path(__file__).parents[1]
# The last one is where clocks in Europe are put forward.
TIMES = ("23:59:30", "09:00", "13:35", "20:45", "2027-03-28T00:59:30")
# The amounts of which a run of every day makes a share; docs/testing.md says of what they are.
FULL = {
    "TDS_TEST_EVENTS": "1000000",
    "TDS_TEST_HISTORIES": "1000",
    "TDS_TEST_HOSTILE": "20000",
    "TDS_TEST_HOSTILE_SETTINGS": "all",
    "TDS_TEST_KILLS": "3",
    "TDS_TEST_ORDERS": "720",
    "TDS_TEST_RECORDS": "40",
}
BUSY = "while True: sum(range(10000))"


@dataclass(frozen=True)
class Run:
    """One run of the suite."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    code: int = 0
    seconds: float = 0.0


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keeps that many cores busy, at the suite's own priority."""
    loads = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for load in loads:
            load.kill()
            load.wait()


def suite(name: str, variables: Mapping[str, str], arguments: list[str], place: Path) -> Run:
    """Runs pytest with these arguments."""
    report = place / "report.xml"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    code = subprocess.run(
        [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        check=False,
    ).returncode
    return Run(name, variables, tuple(failures(report)), code, time.monotonic() - began)


def failures(report: Path) -> Iterator[str]:
    """The names of the tests that failed, or had an error, by pytest's report."""
    if report.exists():
        for case in ET.parse(report).iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                yield f"{case.get('classname')}::{case.get('name')}"


def main() -> int:
    """Runs what was asked for; exit code 1 if any run was not green."""
    parser = argparse.ArgumentParser(prog="make test-hard", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how often beside busy cores (default 5)")
    parser.add_argument(
        "--busy", type=int, default=os.cpu_count(), help="busy processes (default: one a core)"
    )
    parser.add_argument(
        "--at", action="append", help=f"a time of day or moment, UTC; repeat it (default {TIMES})"
    )
    parser.add_argument(
        "--each-at", action="append", default=[], help="a time at which every single test begins; repeat it"
    )
    parser.add_argument(
        "--shuffle",
        type=int,
        action="append",
        default=[],
        help="a number that chooses an order of the tests; repeat it",
    )
    parser.add_argument(
        "--full", action="store_true", help="once with the full amounts of what is tried at random"
    )
    parser.add_argument("tests", nargs="*", help="for pytest, after -- (default: -n 4 --dist worksteal)")
    given = parser.parse_args()
    arguments = given.tests or ["-n", "4", "--dist", "worksteal", "-q"]
    done: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="tds-clock-") as made:
        place = Path(made)
        place.chmod(0o711)
        with busy(given.busy if given.runs else 0):
            for number in range(1, given.runs + 1):
                done.append(suite(f"busy, {number} of {given.runs}", {}, arguments, place))
        for text in TIMES if given.at is None else filter(None, given.at):
            done.append(suite(f"from {text}", clock.environment(place, text), arguments, place))
        for text in given.each_at:
            moved = clock.environment(place, text) | {clock.EACH: text}
            done.append(suite(f"every test at {text}", moved, arguments, place))
        if given.full:
            done.append(suite("in full", FULL, arguments, place))
        for seed in given.shuffle:
            done.append(suite(f"order {seed}", {"TDS_TEST_ORDER": str(seed)}, arguments, place))
    print()
    for run in done:
        print(f"{'green' if run.code == 0 else f'RED ({run.code})':8} {run.seconds:5.0f} s  {run.name}")
        for test in run.failed:
            print(f"           {test}")
    return int(any(run.code for run in done))


if __name__ == "__main__":
    sys.exit(main())
