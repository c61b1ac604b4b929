"""`tds top`: one look, and live in a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from tests.commands import tds
from tests.db.servers import Database
from tests.journeys.waiting import PATIENCE

pytestmark = pytest.mark.parametrize("test_server", ["pg18"], indirect=True)

CODES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}


def given(database: Database) -> dict[str, str]:
    """The environment of the command."""
    return {"TDS_DATABASE_URL": database.conninfo, "PATH": "", "TERM": "xterm"}


def _take_terminal(theirs: int) -> None:
    """What a shell in a terminal does for its children; a suite in the background has SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, environment: dict[str, str], *options: str, columns: int, lines: int = 60) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tds_cli", "top", *options],
            env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: _take_terminal(theirs),  # noqa: PLW1509 - its own terminal
        )  # fmt: skip
        self.said = ""

    def wait_for(self, text: str, times: int = 1) -> None:
        """Reads until it was said so often."""
        until = time.monotonic() + PATIENCE
        while self.said.count(text) < times:
            assert time.monotonic() < until, self.said
            assert self.process.poll() is None, self.said
            self._read()

    def _read(self) -> None:
        if select.select([self._ours], [], [], 0.1)[0]:
            self.said += os.read(self._ours, 65536).decode(errors="replace")

    def press(self, key: bytes) -> None:
        """Presses a key."""
        os.write(self._ours, key)

    def ended(self) -> int:
        """Its exit code; the terminal is as it was."""
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < until, self.said
            self._read()
        self._read()
        assert termios.tcgetattr(self._theirs) == self.before
        assert self.said.rstrip().endswith("\x1b[?25h") or "\x1b[?1049l" in self.said, (
            "the screen is given back"
        )
        os.close(self._ours)
        os.close(self._theirs)
        code: int = self.process.returncode
        return code


def test_one_look_says_what_health_says(database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        conn.execute("select tds.receive('products', '{\"item\": {\"item_id\": \"1\"}}', '748139205')")
        conn.execute("select tds.request_pull('bills', '{}', '748139205')")
    for options in ((), ("--once",)):
        done = tds(given(database), "top", *options)
        lines = done.stdout.splitlines()
        told = tds(given(database), "health")
        assert lines[0] == told.stdout.splitlines()[0]
        assert done.returncode == told.returncode == CODES[lines[0].split()[1]]
        assert "1 pending" in lines[1]
        assert "Not finished" in done.stdout
        assert "bills" in done.stdout
        assert "\x1b" not in done.stdout


@pytest.mark.parametrize(("columns", "key"), [(80, b"q"), (50, b"\x03")])
def test_it_is_live_and_leaves_cleanly(database: Database, columns: int, key: bytes) -> None:
    terminal = Terminal(given(database), "--interval", "0.2", columns=columns)
    terminal.wait_for("TDS ")
    with database.connect(autocommit=True) as conn:
        conn.execute("select tds.receive('products', '{\"item\": {\"item_id\": \"1\"}}', '748139205')")
    terminal.wait_for("1 pending")
    terminal.press(key)
    state = [word for word in CODES if f"TDS {word}" in terminal.said]
    assert terminal.ended() in {CODES[word] for word in state}


def test_ctrl_c_between_two_looks_leaves_too(database: Database) -> None:
    terminal = Terminal(given(database), "--interval", "60", columns=80)
    terminal.wait_for("TDS ")
    os.kill(terminal.process.pid, signal.SIGINT)
    assert terminal.ended() in CODES.values()


def test_a_database_that_goes_is_told_and_looked_for(database: Database) -> None:
    terminal = Terminal(given(database), "--interval", "0.2", columns=80)
    terminal.wait_for("TDS ")
    with database.connect(autocommit=True) as conn:
        name = conn.execute("select current_database()").fetchone()
        assert name is not None
    with database.connect(autocommit=True, dbname="postgres") as conn:
        conn.execute(f"alter database {name[0]} allow_connections false".encode())
        conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name[0]])
    terminal.wait_for("cannot be asked")
    with database.connect(autocommit=True, dbname="postgres") as conn:
        conn.execute(f"alter database {name[0]} allow_connections true".encode())
    terminal.wait_for("TDS ", times=terminal.said.count("TDS ") + 1)
    terminal.press(b"q")
    terminal.ended()
