"""`tds up`: everything a small company needs, in one process group.

Database, receiver, workers and poller, each a process of its own. One that ends is started again, more slowly
each time; SIGTERM or Ctrl-C stops them in the order in which they feed one another, the server last.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType
from typing import IO

import click
from pydantic import ValidationError

from tds_cli.output import print_json, print_table
from tds_db import embedded
from tds_db.connect import conninfo
from tds_db.errors import TdsError
from tds_db.settings import DatabaseSettings
from tds_db.upgrade import status, upgrade
from tds_poller.zoho.settings import ZohoSettings

LOG_BYTES, LOG_FILES = 10_000_000, 5
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a program that ended is started again
STEADY_SECONDS = 60.0  # after so long without an end the pause is short again
STOP_SECONDS = 20.0  # longer than the receiver takes for the requests in hand
READY_SECONDS = 60.0
URL = re.compile(r"https?://\S+")


@dataclass
class Program:
    """One of the programs: how it is started, and how it fares.

    Args:
        name: of the program and of its log.
        arguments: of `tds`.
        log: where its output goes.
    """

    name: str
    arguments: Sequence[str]
    log: logging.Logger
    process: subprocess.Popen[str] | None = None
    pause: float = FIRST_PAUSE
    started_at: float = 0.0
    start_at: float = 0.0
    url: str | None = None
    readers: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Starts it, with its output going to its log."""
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tds_cli", "-v", *self.arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # Ctrl-C reaches the parent only, which stops the others in order. They are told who it is, so
            # that they do not outlive it.
            process_group=0,
            env={**os.environ, "TDS_PARENT_PID": str(os.getpid())},
        )
        self.started_at = time.monotonic()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.readers = [
            threading.Thread(target=self._read, args=[stream], daemon=True)
            for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            if self.url is None and stream is not self._stderr and (found := URL.match(line)):
                self.url = found.group()
            self.log.info("%s", line.rstrip("\n"))

    @property
    def _stderr(self) -> IO[str] | None:
        return self.process.stderr if self.process else None

    def tend(self) -> int | None:
        """Starts it again if it ended and its pause is over; returns the code of an end just found."""
        if self.process is None:
            if time.monotonic() >= self.start_at:
                self.start()
            return None
        if (code := self.process.poll()) is None:
            return None
        if time.monotonic() - self.started_at >= STEADY_SECONDS:
            self.pause = FIRST_PAUSE
        self.process, self.url = None, None
        self.start_at = time.monotonic() + self.pause
        self.pause = min(2 * self.pause, LONGEST_PAUSE)
        return code

    def stop(self) -> None:
        """Asks it to end, waits, and ends it if it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for reader in self.readers:
            reader.join(timeout=5)


class Up:
    """All of it.

    Args:
        programs: in the order in which they are stopped.
        say: tells the operator what happens.
    """

    def __init__(self, programs: Sequence[Program], say: Callable[[str], None]) -> None:
        self._programs = programs
        self._say = say
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ends `run`; any thread or signal handler may call it."""
        self._stopping.set()

    def start(self) -> None:
        """Starts every program and waits until the receiver listens.

        Raises:
            TdsError: it does not.
        """
        for program in self._programs:
            program.start()
        receiver = self._programs[0]
        deadline = time.monotonic() + READY_SECONDS
        while receiver.url is None and not self._stopping.is_set():
            assert receiver.process is not None
            if (code := receiver.process.poll()) is not None or time.monotonic() > deadline:
                raise TdsError(
                    f"The receiver did not start (code {code}).",
                    f"Its last words are in {log_path(receiver.name)}.",
                )
            time.sleep(0.05)

    def run(self) -> None:
        """Looks after the programs until stopped."""
        while not self._stopping.wait(0.2):
            for program in self._programs:
                if (code := program.tend()) is not None:
                    log = log_path(program.name)
                    self._say(f"{program.name} ended with code {code}; it is started again. See {log}")

    def close(self) -> None:
        """Stops every program, one after the other."""
        for program in self._programs:
            program.stop()


def log_path(name: str) -> Path:
    """Where a program's output goes."""
    return DatabaseSettings().data_dir / "logs" / f"{name}.log"


def _logger(name: str) -> logging.Logger:
    path = log_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger(f"tds.up.{name}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers[:] = [handler]
    return logger


def _zoho_is_configured() -> str | None:
    """What is missing for the poller, or None."""
    try:
        ZohoSettings()
    except ValidationError as error:
        return ", ".join(sorted(str(problem["loc"][0]) for problem in error.errors(include_input=False)))
    return None


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the receiver.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Worker processes.")
@click.option("--insecure", is_flag=True, help="See tds serve.")
@click.option("--poll/--no-poll", default=True, help="Whether to ask Zoho's API too.")
@click.option("--json", "as_json", is_flag=True, help="Print what runs where as JSON.")
def up(*, host: str, port: int, workers: int, insecure: bool, poll: bool, as_json: bool) -> None:
    """Runs everything until interrupted: database, receiver, workers, poller.

    Upgrades the database first if that is due. Prints what runs where on stdout, and what happens on stderr.
    """
    settings = DatabaseSettings()
    is_given = settings.database_url is not None and bool(settings.database_url.get_secret_value())
    was_running = is_given or embedded.is_running(settings.data_dir)
    dsn = conninfo(settings)
    try:
        if not status(dsn).current:
            click.echo("Upgrading the database …", err=True)
            upgrade(dsn, lock_timeout=settings.lock_timeout)
        missing = _zoho_is_configured() if poll else None
        if missing:
            click.echo(f"No poller: set {missing}. Webhooks are taken all the same.", err=True)
        serve = ["serve", "--host", host, "--port", str(port), *(["--insecure"] if insecure else [])]
        plans = {"receiver": serve, "workers": ["work", "--workers", str(workers)]}
        if poll and not missing:
            plans = {"receiver": serve, "poller": ["poll"], "workers": plans["workers"]}
        programs = [Program(name, arguments, _logger(name)) for name, arguments in plans.items()]
        everything = Up(programs, lambda text: click.echo(text, err=True))

        def on_signal(number: int, _: FrameType | None) -> None:
            signal.signal(number, signal.SIG_IGN)
            everything.stop()

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        try:
            everything.start()
            _tell(programs, settings, is_given, as_json=as_json)
            everything.run()
        finally:
            click.echo("Stopping …", err=True)
            everything.close()
    finally:
        if not was_running:
            embedded.stop(settings.data_dir)


def _tell(programs: Sequence[Program], settings: DatabaseSettings, is_given: bool, *, as_json: bool) -> None:
    base = programs[0].url
    where = {
        "webhooks": f"{base}/api/zoho/webhooks/…",
        "dashboard": f"{base}/dashboard (any user name, an API key as password: tds keys create NAME)",
        "documentation": f"{base}/docs",
        "health": f"{base}/readyz",
        "database": "that of TDS_DATABASE_URL; tds psql" if is_given else f"{settings.data_dir}; tds psql",
        "logs": str(settings.data_dir / "logs"),
        "programs": ", ".join(program.name for program in programs),
    }
    if as_json:
        print_json(
            {**where, "base_url": base, "pids": {p.name: p.process.pid for p in programs if p.process}}
        )
    else:
        print_table("TDS is up", [{"what": what, "where": place} for what, place in where.items()])
