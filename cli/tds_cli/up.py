"""`tds up`: everything a small company needs, in one process group.

Database, receiver, workers and poller, each a process of its own. One that ends is started again, more slowly
each time; SIGTERM or Ctrl-C stops them in the order in which they feed one another, the server last.
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

import click
from pydantic import ValidationError

from tds_cli.explanations import problems
from tds_cli.options import as_json
from tds_cli.organisations import by_org
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db import embedded
from tds_db.connect import conninfo, is_same_database, receiver_conninfo
from tds_db.errors import TdsError
from tds_db.processes import Program, Supervisor, on_stop_signal, python
from tds_db.settings import DatabaseSettings
from tds_db.status import status
from tds_db.supervision import Hanging
from tds_db.upgrade import upgrade
from tds_poller.organisations import served

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
            if code is not None:
                program.wait()  # until all is read that it said
            words = "\n  ".join(program.last_words) or "nothing"
            raise TdsError(
                f"The {program.name} did not start (code {code}). Its last words:\n  {words}",
                f"All of them: {log_path(program.name)}. Next: mend that, or tds up --port 0",
            )
        time.sleep(0.05)


@contextmanager
def alone(data_dir: Path) -> Iterator[IO[str]]:
    """Holds the directory against another `tds up`; yields a file for what the next one has to know.

    Raises:
        TdsError: another one runs there, or the directory cannot be used.
    """
    path = data_dir / "up.lock"
    try:
        data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TdsError(
            f"{data_dir} cannot be used: {error.strerror}.",
            f"Next: ls -ld {data_dir}; or set TDS_DATA_DIR to a directory of yours",
        ) from error
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TdsError(
                f"tds up runs already on {data_dir}.",
                "Next: tds status shows how it stands; another one needs a TDS_DATA_DIR of its own",
            ) from None
        yield file


def _is_ours(note: IO[str], settings: DatabaseSettings) -> bool:
    """Whether the running server was started by a `tds up` that was killed: it is ours to stop, then."""
    note.seek(0)
    return note.read().strip() == str(embedded.postmaster(settings.data_dir))


def _refuse_two_databases(settings: DatabaseSettings, dsn: str) -> None:
    """What the receiver stores in one, no worker of the other would see."""
    if settings.for_receiver == settings.for_sessions:
        return
    if not is_same_database(receiver_conninfo(settings), dsn):
        raise TdsError(
            "TDS_DATABASE_URL and TDS_SESSION_DATABASE_URL lead to different databases.",
            "Set both to the same one. Next: tds doctor",
        )


def _note(note: IO[str], pid: int | None) -> None:
    note.seek(0)
    note.truncate()
    note.write("" if pid is None else str(pid))
    note.flush()


def _stop_early() -> None:
    raise KeyboardInterrupt


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
    with suppress(OSError):
        echo(f"{program.name} ended with code {code}; it is started again. See {log}", err=True)


def _nobody_to_poll(dsn: str, organisations: Sequence[str]) -> str | None:
    """Why there is nobody to ask Zoho for, or None."""
    try:
        served(dsn, organisations)
    except ValidationError as error:
        return ", ".join(sorted(f"{name} {said}" for name, said in problems(error)))
    return None


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the receiver.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Worker processes.")
@click.option("--insecure", is_flag=True, help="See tds serve.")
@click.option("--poll/--no-poll", default=True, help="Whether to ask Zoho's API too.")
@by_org
@as_json
def up(
    *,
    host: str,
    port: int,
    workers: int,
    insecure: bool,
    poll: bool,
    organisations: tuple[str, ...],
    as_json: bool,
) -> None:
    """Runs everything until interrupted: database, receiver, workers, poller.

    All organisations are served, those that are added meanwhile, too (tds org add).

    Upgrades the database first if that is due. Prints what runs where on stdout, and what happens on stderr.
    """
    settings = DatabaseSettings()
    is_given = settings.for_sessions is not None
    with alone(settings.data_dir) as note:
        leaves = is_given or (embedded.is_running(settings.data_dir) and not _is_ours(note, settings))
        # what was started is stopped, however early the signal comes, and however impatient a second one
        at_once = (lambda: None) if leaves else partial(embedded.ask_to_stop, settings.data_dir)
        on_stop_signal(_stop_early, at_once)
        try:
            dsn = conninfo(settings)
            _refuse_two_databases(settings, dsn)
            if not leaves:
                _note(note, embedded.postmaster(settings.data_dir))
            serve = ["serve", "--host", host, "--port", str(port), *(["--insecure"] if insecure else [])]
            _run(settings, dsn, serve, workers, organisations, at_once=at_once, poll=poll, as_json=as_json)
        finally:
            if not leaves:
                embedded.stop(settings.data_dir)
                _note(note, None)


def _run(
    settings: DatabaseSettings,
    dsn: str,
    serve: list[str],
    workers: int,
    organisations: Sequence[str],
    *,
    at_once: Callable[[], None],
    poll: bool,
    as_json: bool,
) -> None:
    found = status(dsn)
    if not found.applied:
        echo("Upgrading the database …", err=True)
        upgrade(dsn, lock_timeout=settings.lock_timeout)
    elif found.changed_by_hand:
        # Whoever mended something at night finds it there after a restart.
        names = ", ".join(change.object for change in found.changed_by_hand[:3])
        echo(f"Changed by hand, and left so: {names}. What else: tds db status", err=True)
    missing = _nobody_to_poll(dsn, organisations) if poll else None
    only = [part for organisation in organisations for part in ("--org", organisation)]
    if missing:
        echo(f"No poller: {missing}. Webhooks are taken all the same. Next: tds connect", err=True)
    serve = [*serve, *only]
    plans = {"receiver": serve, "workers": ["work", "--workers", str(workers)]}
    if poll and not missing:
        plans = {"receiver": serve, "poller": ["poll", *only], "workers": plans["workers"]}
    programs = [
        Program(name, python("tds_cli", "-v", *arguments), _logger(name)) for name, arguments in plans.items()
    ]
    everything = Supervisor(programs, one_by_one=True, on_end=_say_end, hanging=Hanging())
    on_stop_signal(everything.stop, at_once)
    try:
        everything.start()
        wait_for_url(everything, programs[0])
        _tell(programs, settings, as_json=as_json)
        everything.run()
    finally:
        with suppress(OSError):  # the terminal may be gone
            echo("Stopping …", err=True)
        everything.close()


def _tell(programs: Sequence[Program], settings: DatabaseSettings, *, as_json: bool) -> None:
    if (base := programs[0].url) is None:
        return  # stopped before it was up
    is_given = settings.for_sessions is not None
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
