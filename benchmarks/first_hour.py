"""`python -m benchmarks.first_hour`: from the wheel alone, in a clean venv, to a dashboard.

As docs/getting-started.md has it, against the sandbox as Zoho, which runs from the same wheel. Prints each
command and how long it took, and what there is at the end. Exit code 1: one of them failed.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("README.md", "LICENSE", "pyproject.toml", "db", "receiver", "poller", "cli", "demo", "sandbox")
ORGANISATION = ("--items", "400", "--contacts", "120", "--invoices", "60")
PATIENCE = 600.0  # seconds that one command may take


class Folder:
    """An empty folder, a clean venv beside it, and an environment that says nothing of TDS."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.mirror = place / "mirror"
        self.bin = place / "tds" / "bin"
        self.commands = 0
        self.began = time.monotonic()
        kept = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(("TDS_", "ZOHO_", "PYTHON", "PG"))
        }
        self.environment = {
            **kept,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "TDS_DATA_DIR": str(place / "data"),
            "COLUMNS": "100",
        }

    def run(self, *command: str, stdin: str = "", shown: str | None = None) -> str:
        """A command that a user types; returns what it printed."""
        began = time.monotonic()
        where = self.mirror if self.mirror.exists() else self.place
        done = subprocess.run(
            command, cwd=where, env=self.environment, input=stdin, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        self.commands += 1
        print(
            f"| {self.commands} | `{shown or ' '.join(command)}` | {time.monotonic() - began:.0f} s |",
            flush=True,
        )
        if done.returncode:
            raise SystemExit(f"exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    @contextmanager
    def running(self, *command: str, until: str) -> Iterator[str]:
        """A program beside them, from when it has said so much of what it says; it is stopped at the end."""
        process = subprocess.Popen(
            command, cwd=self.mirror, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            said = ""
            while not (found := re.search(until, said)):
                if not (line := process.stdout.readline()):
                    raise SystemExit(f"{command} ended:\n{said}")
                said += line
            yield found[1]
        finally:
            process.terminate()
            process.wait(PATIENCE)
            process.stdout.close()


def wheel(place: Path) -> Path:
    """The wheel of this tree."""
    tree = place / "tree"
    tree.mkdir()
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, tree / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(place),
        str(tree),
    ]
    subprocess.run(command, check=True)
    [made] = place.glob("*.whl")
    return made


def fetched(url: str, key: str) -> tuple[int, str]:
    """A page of the dashboard, as a browser gets it."""
    secret = base64.b64encode(f"me:{key}".encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {secret}"})  # noqa: S310 (http)
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return int(answer.status), answer.read().decode()


def main() -> int:
    """Does it once."""
    place = Path(tempfile.mkdtemp(prefix="tds-first-", dir="/tmp"))  # a socket's path is short
    place.chmod(0o711)
    try:
        made = wheel(place)
        folder = Folder(place)
        print("| | command | |\n|---|---|---|")
        folder.run(sys.executable, "-m", "venv", "tds", shown="python3 -m venv tds && . tds/bin/activate")
        folder.run(str(folder.bin / "pip"), "install", "--quiet", str(made), shown="pip install tds-mirror")
        folder.mirror.mkdir()
        with folder.running("tds", "sandbox", *ORGANISATION, until=r"ZOHO_API_BASE=(\S+)") as base:
            folder.environment |= {"ZOHO_ACCOUNTS_BASE": base, "ZOHO_API_BASE": base}
            folder.run(
                "tds", "connect", "--client-id", "1000.SANDBOXCLIENT", "--code", "1000.sandboxgrant.code",
                stdin="sandbox-client-secret\n", shown="tds connect",
            )  # fmt: skip
            began = time.monotonic()
            with folder.running("tds", "up", "--port", "0", until=r"dashboard +(http\S+)") as dashboard:
                folder.commands += 1
                print(f"| {folder.commands} | `tds up` | {time.monotonic() - began:.0f} s |", flush=True)
                folder.run("tds", "plan")
                folder.run("tds", "migrate")
                key = folder.run("tds", "keys", "create", "me").split()[-1]
                status, page = fetched(dashboard, key)
                rows = folder.run(
                    "tds", "psql", "-Atc",
                    "select (select count(*) from products), (select count(*) from invoices), "
                    "(select count(*) from invoice_line_items)",
                    shown="tds psql -c 'select count(*) from products'",
                )  # fmt: skip
        minutes = (time.monotonic() - folder.began) / 60
        told = f"{folder.commands} commands, {minutes:.1f} minutes; the dashboard answers {status}"
        print(f"\n{told} ({len(page):,} bytes); products, invoices, lines: {rows.strip().replace('|', ', ')}")
    finally:
        shutil.rmtree(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
