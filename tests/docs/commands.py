"""docs/commands.md: its prose is written by hand, its screens are what the commands print.

A block that begins with `$ tds …` is run, in the order of the page, against one small sandbox and one database; what has to happen
between two of them is named by a comment (`<!-- somebody edits an invoice -->`) and done by `Story`. What differs from one run to the
next (times, durations, numbers of processes, ports, versions of what is installed) is replaced by the same text each time.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from tds_cli import output
from tds_cli.main import main
from tds_sandbox.limits import LimitSettings
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running, running
from tests.db.servers import Database
from tests.poller.conftest import midnight_just_past

ACT_OR_SCREEN = re.compile(
    r"^<!-- (?P<act>[^\n]+) -->$|^```console\n\$ (?P<with>(?:[A-Z_]+=\S* )*)tds (?P<command>[^\n]*)\n(?P<shown>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
HELP = re.compile(r"(?<=<!-- help -->\n).*(?=<!-- end of help -->)", re.DOTALL)

THEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
NEAR = timedelta(hours=3)
STAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(?:\.\d+)?([+-]\d\d:?\d\d)?")
VARYING = [
    (re.compile(r"http://127\.0\.0\.1:\d+"), "http://127.0.0.1:8900"),
    (re.compile(r"PostgreSQL \d+\.\d+"), "PostgreSQL 18.6"),
    (re.compile(r"pgmq( +)\d+\.\d+\.\d+"), r"pgmq\g<1>1.13.0"),
    (re.compile(r"database tds_test_\w+"), "database tds"),
    (re.compile(r"(?<=database's is )[+-]\d+ s|(?<=Zoho's )[+-]\d+ s"), "+0 s"),
    (re.compile(r"[\d.,]+(?= minutes of asking)"), "1.0"),
    (re.compile(r"(?<![\d,])(?<!of )[\d,]+(?= (of 10,000 )?(calls )?left today| are left for it)"), "9,000"),
    (re.compile(r" in \d+\.\d s(, [\d,]+/s)?"), " in 0.1 s"),
    (re.compile(r"\d+\.\d s$", re.MULTILINE), "0.1 s"),
]
UNDER_WAY = re.compile(r"^\S[^:\n]*: [\d,]+( of [\d,]+)? in [^\n]*\n", re.MULTILINE)
DONE = re.compile(r"(?:^[a-z_]+: [^\n]*done in [^\n]*\n)+", re.MULTILINE)


class Story:
    """A sandbox, a database, and what happens to them. Use as a context manager."""

    def __init__(self, database: Database, directory: Path) -> None:
        self.database = database
        self.directory = directory
        self.sandbox: Running
        self.acts: Mapping[str, Callable[[], None]] = {
            "workers run": self.workers_run,
            "somebody edits an invoice": self.edit,
            "somebody changes a price and deletes an item, and somebody writes to the mirror": self.drift,
            "a webhook tells of a price that is no number": self.bad_webhook,
            "the workers stop": self.workers_stop,
            "somebody mends a function at night": self.mend,
        }
        self._workers: subprocess.Popen[bytes] | None = None

    @contextmanager
    def told(self) -> Iterator[Story]:
        """Serves the sandbox, and names it and the database in the environment."""
        organisation = Organisation(
            items=40, contacts=12, invoices=10, bills=4, vendorcredits=2, vendorpayments=3,
            creditnotes=3, customerpayments=5, salesorders=3, pricebooks=3,
        )  # fmt: skip
        limits = LimitSettings(
            per_minute=None, per_day=10_000, concurrency=None, midnight=midnight_just_past()
        )
        before = dict(os.environ)
        with running(organisation, limits=limits) as self.sandbox:
            for name in [name for name in os.environ if name.startswith(("TDS_", "ZOHO_", "NO_COLOR"))]:
                del os.environ[name]
            os.environ |= {
                "TDS_DATABASE_URL": self.database.conninfo,
                "TDS_DATA_DIR": str(self.directory),
                "ZOHO_MINUTE_SECONDS": "0.1",
                "ZOHO_WEBHOOK_SECRET": "a secret of 24 characters",
                "COLUMNS": "100",
                "TZ": "UTC",
                **self.sandbox.environment,
            }
            time.tzset()
            # What the clock asks for would come between two screens.
            self._sql("update tds.job set enabled = false")
            try:
                with _settled(self._first_runs):
                    yield self
            finally:
                self.workers_stop()
                os.environ.clear()
                os.environ.update(before)
                time.tzset()

    def run(self, command: str) -> tuple[int, str]:
        """Runs `tds COMMAND`; returns its exit code and what a terminal would show, stdout and stderr."""
        done = CliRunner().invoke(main, shlex.split(command), catch_exceptions=False)
        return done.exit_code, settle(done.output)

    def workers_run(self) -> None:
        self._workers = subprocess.Popen(
            [sys.executable, "-P", "-m", "tds_cli", "work", "--workers", "2"],
            env={**os.environ, "TDS_PARENT_PID": str(os.getpid())},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        alive = (
            "select count(*) from pg_stat_activity "
            "where datname = current_database() and application_name like 'tds/worker/%'"
        )
        deadline = time.monotonic() + 60
        while self._sql(alive) != 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def workers_stop(self) -> None:
        if self._workers:
            self._workers.terminate()
            self._workers.wait()
            self._workers = None

    def edit(self) -> None:
        self.sandbox.organisation.edit("invoices", kind="notes", fire=False)

    def drift(self) -> None:
        books = self.sandbox.organisation
        books.edit("items", books.book("items").records[0].id, kind="rate", fire=False)
        books.delete("items", fire=False)
        self._sql(
            "update zoho.invoices set total_amount = total_amount + 10 "
            "where zoho_invoice_id = (select min(zoho_invoice_id) from zoho.invoices)"
        )

    def bad_webhook(self) -> None:
        item = self.sandbox.organisation.book("items").records[0].id
        body = json.dumps({"item": {"item_id": item, "rate": "12,5x"}})
        self._sql(
            "select count(*) from tds.receive('products', convert_to(%s, 'UTF8'), %s)",
            body,
            self.sandbox.organisation.organization_id,
        )
        self._sql("call tds.process_batch()")

    def mend(self) -> None:
        self._sql("alter function tds.names_of(regclass) cost 200")

    def _first_runs(self) -> dict[int, int]:
        """The runs of a migration begin at the same time: numbers for them in the order of the entities' names."""
        with self.database.connect(autocommit=True) as conn:
            rows = conn.execute("select min(run_id) from tds.run group by entity order by entity").fetchall()
        return {run: place for place, (run,) in enumerate(rows, 1)}

    def _sql(self, query: str, *parameters: object) -> Any:
        with self.database.connect(autocommit=True) as conn:
            cursor = conn.execute(query.encode(), parameters or None)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None


def commands(page: str, story: Story) -> str:
    """The page with its screens as they are now.

    Args:
        page: as it was.
        story: told from its beginning.
    """

    def renewed(found: re.Match[str]) -> str:
        if act := found["act"]:
            if act in story.acts:
                story.acts[act]()
            elif act not in ("help", "end of help"):
                raise KeyError(f"docs/commands.md: nobody knows how to do this: {act}")
            return found[0]
        command = found["command"].partition("        #")[0]
        given = dict(word.split("=", 1) for word in shlex.split(found["with"]))
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            code, printed = story.run(command)
        finally:
            os.environ.update({name: value for name, value in before.items() if value is not None})
        return (
            f"```console\n$ {found['with']}tds {command}        # exit code {code}\n{printed.rstrip()}\n```"
        )

    page = HELP.sub("", page)
    page = ACT_OR_SCREEN.sub(renewed, page)
    return page.replace("<!-- help -->\n", "<!-- help -->\n" + "\n".join(helps(main, None, "tds")) + "\n", 1)


def helps(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    """What `--help` says of a command and of those below it, in the order of the list."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100)
    yield from [f"### `{context.command_path}`", "", "```text", settle(command.get_help(context)), "```", ""]
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            child = command.get_command(context, each)
            if child is not None and not child.hidden:
                yield from helps(child, context, each)


def settle(text: str) -> str:
    """The same text whenever it was printed."""
    text = UNDER_WAY.sub(lambda found: found[0] if "done in" in found[0] else "", text)
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    text = STAMP.sub(_then, text)
    # Lists are fetched at the same time, and are done in any order.
    text = DONE.sub(lambda found: "".join(sorted(found[0].splitlines(keepends=True))), text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def _then(found: re.Match[str]) -> str:
    stamp = datetime.fromisoformat(found[0])
    stamp = stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
    if abs(stamp - datetime.now(UTC)) > NEAR:
        return found[0]
    zone = found[2] or ""
    return f"{THEN:%Y-%m-%d}{found[0][10]}{THEN:%H:%M:%S}"[: 19 if found[1] else 16] + zone


@contextmanager
def _settled(first_runs: Callable[[], Mapping[int, int]]) -> Iterator[None]:
    """Tables are laid out with what stands for the values that vary, so that columns are as wide each time."""
    # A command that is loaded later would keep what is only put in its place for now.
    for name in main.list_commands(click.Context(main)):
        main.get_command(click.Context(main), name)
    print_table = output.print_table

    def print_settled(title: str, rows: Sequence[Mapping[str, object]]) -> None:
        runs = first_runs()
        if title == "Events" and rows and "number" in rows[0]:
            rows = list(_numbered(rows))
        print_table(title, [{name: _value(name, value, runs) for name, value in row.items()} for row in rows])

    patched = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("tds_") and getattr(module, "print_table", None) is print_table
    ]
    for module in patched:
        module.print_table = print_settled  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in patched:
            module.print_table = print_table  # type: ignore[attr-defined]


def _numbered(rows: Sequence[Mapping[str, object]]) -> Iterator[Mapping[str, object]]:
    """The events of a record, numbered from 1: their own numbers depend on what was stored at the same time."""
    places = {str(row["number"]): str(place) for place, row in enumerate(rows, 1)}
    for row in rows:
        yield {
            name: re.sub(r"(?<=\bevent )\d+", lambda found: places.get(found[0], found[0]), value)
            if isinstance(value, str)
            else value
            for name, value in {**row, "number": int(places[str(row["number"])])}.items()
        }


def _value(name: str, value: object, runs: Mapping[int, int]) -> object:
    match name, value:
        case (("run" | "run_id"), int()):
            return runs.get(value, value)
        case _, datetime():
            return THEN if abs(value - datetime.now(UTC)) < NEAR else value
        case _, timedelta():
            return timedelta(seconds=0.1)
        case ("seconds" | "duration", int() | float()):
            return 0.1
        case "records_per_second", int() | float():
            return 100.0
        case "pid", _:
            return 4711
        case _, str():
            value = STAMP.sub(_then, value)
            value = re.sub(r"(?<=\brun )\d+", lambda run: str(runs.get(int(run[0]), run[0])), value)
            return re.sub(rf"{re.escape(socket.gethostname())}/\d+", "host/4711", value)
    return value
