"""`tds` in this process: what it prints and its exit code, without half a second of imports for each command."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from click.testing import CliRunner

from tds_cli.main import main
from tests.journeys.waiting import PATIENCE

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def tds(environment: Mapping[str, str], *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a command as a program with this environment, and no other, would.

    For what is about the process itself (signals, its death, its clock, its terminal) it is started as one.
    """
    with _as_if_started(environment, arguments):
        done = CliRunner().invoke(main, arguments, input=stdin, prog_name="tds")
    fault = ""
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        fault = "".join(traceback.format_exception(done.exception))
    return subprocess.CompletedProcess(["tds", *arguments], done.exit_code, done.stdout, done.stderr + fault)


def started(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command as a program."""
    command = [sys.executable, "-P", "-m", "tds_cli", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


@contextmanager
def _as_if_started(environment: Mapping[str, str], arguments: tuple[str, ...]) -> Iterator[None]:
    """The process as a program finds its own, and afterwards as it was."""
    root = logging.getLogger()
    variables, argv, handlers, level = dict(os.environ), sys.argv, root.handlers[:], root.level
    heeded = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["tds", *arguments]
        root.handlers[:] = []
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
        root.handlers[:] = handlers
        root.setLevel(level)
        sys.argv = argv
        os.environ.clear()
        os.environ.update(variables)
