"""The project's own programs as processes that can be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.db.servers import Database

TDS = [sys.executable, "-P", "-m", "tds_cli"]
WORKER = [*TDS, "work", "--workers", "1"]

# Starts a program so that Linux kills it when the thread that started it is gone, however that went.
PR_SET_PDEATHSIG = 1
LAUNCHER = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, {signal.SIGKILL.value})
os.execv(sys.argv[1], sys.argv[1:])
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with these variables, and no others that say where TDS or Zoho are."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TDS_", "ZOHO_"))}
    return kept | {"COLUMNS": "200"} | variables


class Program:
    """A program that is started, killed and started again; its output goes to files.

    Args:
        name: of the files.
        command: what to run.
        variables: its whole environment.
        directory: where its files are.
    """

    def __init__(self, name: str, command: list[str], variables: Mapping[str, str], directory: Path) -> None:
        self.name = name
        self.starts = 0
        self._command = command
        self._variables = variables
        self._stdout = directory / f"{name}.out"
        self._stderr = directory / f"{name}.err"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; what it says from now on is in `said`."""
        assert not self.is_running
        with self._stdout.open("wb") as stdout, self._stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-SEI", "-c", LAUNCHER, *self._command],
                env=self._variables,
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                # Ctrl-C is for pytest alone, which then stops this in order.
                start_new_session=True,
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    @property
    def said(self) -> str:
        """What it wrote to stdout since it was started last."""
        return self._stdout.read_text() if self._process else ""

    @property
    def last_words(self) -> str:
        """The end of its stderr, of all starts."""
        lines = self._stderr.read_text(errors="replace").splitlines() if self.starts else []
        return "\n".join([f"--- {self.name}:", *lines[-15:]])

    def kill(self) -> int:
        """SIGKILLs it and returns its exit code, which is another one if it had ended before."""
        return self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Asks it to stop, waits for at most a minute and returns its exit code."""
        return self._end(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """Waits for its end and returns the exit code.

        Raises:
            subprocess.TimeoutExpired: it takes longer.
        """
        assert self._process is not None
        return self._process.wait(seconds)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self.wait(60)


@contextmanager
def worker(database: Database, directory: Path) -> Iterator[Program]:
    """A worker process on that database."""
    program = Program("worker", WORKER, environment(TDS_DATABASE_URL=database.conninfo), directory)
    program.start()
    try:
        yield program
    finally:
        program.kill()
