"""`tds up`: everything a small company needs, in one process group.

Database, receiver, workers and poller, each a process of its own. One that ends is started again, more slowly
each time; SIGTERM or Ctrl-C stops them in the order in which they feed one another, the server last.
"""

import logging
import os
import time
from collections.abc import Sequence
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

import click
from pydantic import ValidationError

from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db import embedded
from tds_db.connect import conninfo
from tds_db.errors import TdsError
from tds_db.processes import Program, Supervisor, on_stop_signal, python
from tds_db.settings import DatabaseSettings
from tds_db.status import status
from tds_db.supervision import Hanging
from tds_db.upgrade import upgrade
from tds_poller.zoho.settings import ZohoSettings

LOG_BYTES, LOG_FILES = 10_000_000, 5
READY_SECONDS = 60.0


def wait_for_url(supervisor: Supervisor, program: Program) -> None:
    """Waits until a program has printed its URL, or all are to stop.

    Raises:
        TdsError: it ended, or took too long.
    """
    deadline = time.monotonic() + READY_SECONDS
    while program.url is None and not supervisor.stopping.is_set():
        assert program.process is not None
        if (code := program.process.poll()) is not None or time.monotonic() > deadline:
            raise TdsError(
                f"The {program.name} did not start (code {code}).",
                f"Its last words are in {log_path(program.name)}.",
            )
        time.sleep(0.05)


def log_path(name: str) -> Path:
    """Where a program's output goes."""
    return DatabaseSettings().data_dir / "logs" / f"{name}.log"


class PrivateFileHandler(RotatingFileHandler):
    """Writes files that nobody else may read: they tell of records, and of what went wrong with them."""

    def _open(self) -> TextIOWrapper:
        mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(self.baseFilename, mode, 0o600)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding=self.encoding)


def _logger(name: str) -> logging.Logger:
    path = log_path(name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    for kept in path.parent.glob(f"{path.name}*"):
        kept.chmod(0o600)
    handler = PrivateFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger(f"tds.up.{name}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers[:] = [handler]
    return logger


def _say_end(program: Program, code: int) -> None:
    log = log_path(program.name)
    echo(f"{program.name} ended with code {code}; it is started again. See {log}", err=True)


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
@as_json
def up(*, host: str, port: int, workers: int, insecure: bool, poll: bool, as_json: bool) -> None:
    """Runs everything until interrupted: database, receiver, workers, poller.

    Upgrades the database first if that is due. Prints what runs where on stdout, and what happens on stderr.
    """
    settings = DatabaseSettings()
    is_given = settings.database_url is not None and bool(settings.database_url.get_secret_value())
    was_running = is_given or embedded.is_running(settings.data_dir)
    dsn = conninfo(settings)
    try:
        found = status(dsn)
        if not found.applied:
            echo("Upgrading the database …", err=True)
            upgrade(dsn, lock_timeout=settings.lock_timeout)
        elif found.changed_by_hand:
            # Whoever mended something at night finds it there after a restart.
            names = ", ".join(change.object for change in found.changed_by_hand[:3])
            echo(f"Changed by hand, and left so: {names}. What else: tds db status", err=True)
        missing = _zoho_is_configured() if poll else None
        if missing:
            echo(f"No poller: set {missing}. Webhooks are taken all the same.", err=True)
        serve = ["serve", "--host", host, "--port", str(port), *(["--insecure"] if insecure else [])]
        plans = {"receiver": serve, "workers": ["work", "--workers", str(workers)]}
        if poll and not missing:
            plans = {"receiver": serve, "poller": ["poll"], "workers": plans["workers"]}
        programs = [
            Program(name, python("tds_cli", "-v", *arguments), _logger(name))
            for name, arguments in plans.items()
        ]
        everything = Supervisor(programs, one_by_one=True, on_end=_say_end, hanging=Hanging())
        on_stop_signal(everything.stop)
        try:
            everything.start()
            wait_for_url(everything, programs[0])
            _tell(programs, settings, is_given, as_json=as_json)
            everything.run()
        finally:
            echo("Stopping …", err=True)
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
