"""`make mutants`: breaks a seeded sample of the product's lines, one at a time, and says which ones no test noticed.

It works on a copy of the checkout below a directory of its own, with the libraries of the checkout's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

from tests.mutants.first import WORDS
from tests.mutants.near import near_to
from tests.mutants.operators import Mutation, mutations

ROOT = Path(__file__).parents[2]
PRODUCT = ("db/functions", "db/tds_db", "receiver/tds_receiver", "poller/tds_poller", "cli/tds_cli")
ON_PATH = ("db", "receiver", "poller", "cli", "demo", "sandbox")
TEST_SECONDS = 150
NOTICED = ("failed", "hung", "does not load")


@dataclass(frozen=True)
class Outcome:
    """What became of one broken line. `verdict`: survived, or how it was noticed, or why it does not count."""

    file: str
    line: int
    operator: str
    before: str
    after: str
    verdict: str
    by: str
    seconds: float


class Scratch:
    """A copy of the checkout, in which lines may be broken."""

    def __init__(self, place: Path) -> None:
        self.root = place / "tds"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (source := ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, self.root / name)
        self._make_environment()
        self._clean: dict[str, bool] = {}

    def _make_environment(self) -> None:
        """An interpreter that finds the copy before the checkout, whatever a child's environment says."""
        venv = self.root / ".venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        self.python = venv / "bin" / "python"
        [own] = venv.glob("lib/*/site-packages")
        [theirs] = (Path(sys.prefix) / "lib").glob("python*/site-packages")
        lines = [str(self.root / name) for name in ON_PATH]
        (own / "copy.pth").write_text(
            "\n".join([*lines, f"import site; site.addsitedir({str(theirs)!r})", ""])
        )
        script = self.python.with_name("tds")
        script.write_text(f"#!{self.python} -P\nfrom tds_cli.main import main\nmain()\n")
        script.chmod(0o755)

    def run(self, tests: list[str], limit: float, words: str = "") -> tuple[int | None, str]:
        """pytest's exit code, or None after `limit` seconds, and what it printed."""
        command = [
            *(str(self.python), "-m", "pytest", "-x", "-q", "--tb=short"),
            *("-p", "no:cacheprovider", "-p", "tests.mutants.first"),
            *(f"--timeout={TEST_SECONDS}", "-k", "not pg15 or pgtap", *tests),
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command,
                cwd=self.root,
                env=environment
                | {
                    WORDS: words,
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "HYPOTHESIS_STORAGE_DIRECTORY": str(self.root / ".hypothesis"),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            code: int | None = None
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                pass
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            output.seek(0)
            return code, output.read()

    def passes_unbroken(self, test: str) -> bool:
        """Whether a test passes where nothing is broken: only then its failure says something."""
        if test not in self._clean:
            self._clean[test] = self.run([test], 10 * TEST_SECONDS)[0] == 0
        return self._clean[test]


def judge(scratch: Scratch, name: str, mutation: Mutation, limit: float) -> Outcome:
    """Breaks one line, runs the tests near it, mends the line."""
    path = scratch.root / name
    source = path.read_text()
    broken = mutation.apply(source)
    began = time.monotonic()
    path.write_text(broken)
    try:
        code, output = scratch.run(near_to(name), limit, _words(source, mutation))
    finally:
        path.write_text(source)
    found = re.search(r"^(FAILED|ERROR) (.+?)(?: - (.*))?$", output, re.MULTILINE)
    by = found[2] if found else ""
    if code is None:
        verdict = "hung"
    elif code == 0:
        verdict = "survived"
    elif "upgrade(template.conninfo)" in output or (found is None and "UpgradeError" in output):
        verdict = "does not install"
    elif found is None or (found[1] == "ERROR" and "::" not in by):
        verdict, by = "does not load", by or output.strip()[-200:]
    elif "Timeout (>" in output or "Failed: Timeout" in output:
        verdict = "hung"
    else:
        verdict = "failed" if scratch.passes_unbroken(by) else "fails unbroken"
    return Outcome(
        name, mutation.line, mutation.operator, _line(source, mutation.line), _line(broken, mutation.line),
        verdict, by, round(time.monotonic() - began, 1),
    )  # fmt: skip


def _words(source: str, mutation: Mutation) -> str:
    """What the broken line and the function or view around it are about."""
    before = source[: mutation.start]
    named = re.findall(r"(?:function|view|def|class) (?:tds\.)?(\w+)", before)[-1:]
    return " ".join({*named, *re.findall(r"[a-z_]{4,}", _line(source, mutation.line))})


def _line(source: str, number: int) -> str:
    lines = source.split("\n")
    return lines[number - 1].strip() if number <= len(lines) else ""


def sample(seed: int, suffix: str, only: str) -> Iterator[tuple[str, Mutation]]:
    """Lines in random order, of each one way to break it. The same seed gives the same order for the same files."""
    rng = random.Random(f"{seed} {suffix}")
    lines: dict[tuple[str, int], list[Mutation]] = {}
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob(f"*{suffix}")):
            name = path.relative_to(ROOT).as_posix()
            if only in name:
                for mutation in mutations(name, path.read_text()):
                    lines.setdefault((name, mutation.line), []).append(mutation)
    for key in rng.sample(sorted(lines), len(lines)):
        yield key[0], rng.choice(lines[key])


def main() -> int:
    """Runs the sample and prints each line's outcome and the score."""
    given = arguments()
    part, parts = (int(number) for number in given.part.split("/"))
    halves: list[Iterator[tuple[str, Mutation]]] = [
        islice(sample(given.seed, suffix, given.only), given.skip + part, None, parts)
        for suffix in (".sql", ".py")
    ]
    if given.list:
        for name, mutation in chain.from_iterable(islice(zip(*halves, strict=False), given.count // 2)):
            source = (ROOT / name).read_text()
            print(f"{name}:{mutation.line} {mutation.operator}: {_line(source, mutation.line)}")
            print(f"    {_line(mutation.apply(source), mutation.line)}")
        return 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit("ended"))
    with tempfile.TemporaryDirectory(prefix="tds-mutants-") as made:
        place = Path(made)
        place.chmod(0o711)
        report = given.json or place / "outcomes"
        if given.jobs > 1:
            in_parts(given, report)
        else:
            break_lines(Scratch(place), halves, given.count, given.limit, report)
        if parts == 1:
            _score([Outcome(**json.loads(line)) for line in report.read_text().splitlines()])
    return 0


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    add = parser.add_argument
    add("--seed", type=int, default=1, help="which sample (default 1)")
    add("--count", type=int, default=20, help="lines that count, half of them SQL (default 20)")
    add("--only", default="", help="only files whose path contains this")
    add("--skip", type=int, default=0, help="lines of each half that were looked at before")
    add("--limit", type=float, default=900, help="seconds for the tests near one line (default 900)")
    add(
        "--jobs",
        type=int,
        default=1,
        help="lines broken at the same time, each in a copy of its own (default 1)",
    )
    add("--part", default="0/1", help="only each n-th line, beginning with the k-th: k/n")
    add(
        "--json",
        type=Path,
        help="append each outcome to this file, one JSON object a line, and score the whole file",
    )
    add("--list", action="store_true", help="show the sample, run nothing")
    return parser.parse_args()


def in_parts(given: argparse.Namespace, report: Path) -> None:
    """The same in as many processes as were asked for, each of which takes its part of the sample."""
    own = [
        "--seed",
        str(given.seed),
        "--only",
        given.only,
        "--skip",
        str(given.skip),
        "--limit",
        str(given.limit),
    ]
    counts = [given.count // given.jobs + (number < given.count % given.jobs) for number in range(given.jobs)]
    command = [sys.executable, "-m", "tests.mutants", *own]
    running = [
        subprocess.Popen(
            [*command, "--count", str(count), "--json", str(report), "--part", f"{number}/{given.jobs}"],
            cwd=ROOT,
        )
        for number, count in enumerate(counts)
    ]
    try:
        for process in running:
            process.wait()
    finally:
        for process in running:
            process.terminate()
            process.wait()


def break_lines(
    scratch: Scratch, halves: list[Iterator[tuple[str, Mutation]]], count: int, limit: float, report: Path
) -> None:
    """Breaks lines of either half by turns until so many have counted, and appends what became of each."""
    report.touch()
    counted = 0
    while counted < count and halves:
        half = halves.pop(0)
        if (drawn := next(half, None)) is None:
            continue
        outcome = judge(scratch, *drawn, limit)
        counts = outcome.verdict in (*NOTICED, "survived")
        counted += counts
        # one that counts lets the other half go on; one that does not is drawn anew
        halves.insert(len(halves) if counts else 0, half)
        _show(outcome)
        with report.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")


def _show(outcome: Outcome) -> None:
    print(
        f"{outcome.verdict:16} {outcome.file}:{outcome.line}  {outcome.operator}  ({outcome.seconds:.0f} s)"
    )
    print(f"    - {outcome.before}\n    + {outcome.after}")
    if outcome.by:
        print(f"    {outcome.by}")
    sys.stdout.flush()


def _score(outcomes: list[Outcome]) -> None:
    for suffix, language in ((".sql", "SQL"), (".py", "Python")):
        verdicts = Counter(o.verdict for o in outcomes if o.file.endswith(suffix))
        counted = sum(verdicts[v] for v in (*NOTICED, "survived"))
        noticed = counted - verdicts["survived"]
        print(f"{language}: {noticed} of {counted} noticed; {dict(verdicts)}")


if __name__ == "__main__":
    sys.exit(main())
