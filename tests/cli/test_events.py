"""Events for programs (docs/events.md): every command that works long tells them, each line in its form."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tds_cli.organisations import for_each_served
from tds_db.errors import TdsError
from tds_poller.organisations import Served
from tds_sandbox.limits import UNLIMITED
from tds_sandbox.organisation import Organisation
from tests.cli.test_mistakes import invoke
from tests.conftest import RUNNING, all_servers
from tests.docs.world import scratch
from tests.poller.conftest import fast_sandbox

EVENTS = Path(__file__).parents[2] / "docs/events.md"
# What is typed, the exit codes that are no failure of the command, and steps that it has to tell of.
COMMANDS = {
    "migrate": ({0}, {"products", "processing"}),
    "pull invoices": ({0}, {"invoices"}),
    "poll --once": ({0}, set[str]()),
    "verify products customers": ({0}, {"products", "customers"}),
    "verify --depth inside": ({0}, {"rows and documents"}),
    "verify products --depth details --sample 2": ({0}, {"products, details"}),
    "verify products --fix": ({0}, {"products", "mending"}),
    "repair --all-differing": ({0}, {"mending"}),
    "images --limit 2": ({0}, {"pictures"}),
    "images --prune": ({0}, {"files that nothing shows"}),
    "reconcile": ({0, 1, 4}, {"reports"}),
    "backup copies": ({0}, {"writing", "verifying"}),
    "restore": ({0}, {"restoring"}),
    "backups take": ({0}, {"writing"}),
}
BEFORE = {
    "verify products --fix": "update zoho.products set name = 'somebody else''s'",
    "backups take": "select tds.schedule_backups('DIRECTORY', 1, null, false); select tds.request_backup()",
}
"""What is done in the database before."""


def documented() -> dict[str, set[str]]:
    """The keys of each kind of event, as the documents have them."""
    table = EVENTS.read_text().partition("| event |")[2].partition("| key |")[0]
    return {
        name: {"event", "at", "text", *re.findall(r"`([a-z_]+)`", keys)}
        for name, keys in re.findall(r"^\| `([a-z]+)` \|(.*?)\|", table, re.MULTILINE)
    }


def read_event(line: str) -> dict[str, Any]:
    """An event as it has to be."""
    event: dict[str, Any] = json.loads(line)
    assert set(event) == documented()[event["event"]], event
    assert datetime.fromisoformat(event["at"]).tzinfo is not None
    assert event["text"]
    return event


@pytest.fixture
def empty(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A small organisation and its database, set for this process; and another one for what is restored."""
    server = all_servers(request.config).get(RUNNING[0])
    small = Organisation(items=12, contacts=6, invoices=6, bills=2, customerpayments=2, pricebooks=1)
    with ExitStack() as stack:
        sandbox = stack.enter_context(fast_sandbox(small, limits=UNLIMITED))
        database = stack.enter_context(server.database())
        other = stack.enter_context(server.database())
        variables = {
            "TDS_DATABASE_URL": database.conninfo,
            "TDS_DATA_DIR": str(tmp_path / "data"),
            "TDS_IMAGE_URL": str(tmp_path / "pictures"),
            "ZOHO_MINUTE_SECONDS": "0.1",
            **sandbox.environment,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("tds_db.backups.scratch", lambda _: scratch(server))
        monkeypatch.chdir(tmp_path)
        yield other.conninfo


def test_every_line_of_long_work_is_an_event(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = set[str]()
    for typed, (codes, steps) in COMMANDS.items():
        arguments = [*typed.split(), "--json"]
        with monkeypatch.context() as patch:
            if made := BEFORE.get(typed):
                with psycopg.connect(os.environ["TDS_DATABASE_URL"], autocommit=True) as connection:
                    connection.execute(made.replace("DIRECTORY", str(tmp_path / "by the clock")).encode())
            if typed == "restore":
                patch.setenv("TDS_DATABASE_URL", empty)
                arguments[1:1] = map(str, (tmp_path / "copies").glob("*.tdsbackup"))
            result = invoke(arguments)
        assert result.exit_code in codes, f"{typed}: {result.output}"
        json.loads(result.stdout)
        events = [read_event(line) for line in result.stderr.splitlines()]
        told = {event["step"]: event for event in events if event["event"] == "step"}
        assert steps <= told.keys(), f"{typed}: {events}"
        assert {event["state"] for event in told.values()} <= {"done"}, f"{typed}: a step is left open"
        kinds |= {event["event"] for event in events}
    assert kinds >= {"step", "progress", "note"}


def test_what_is_done_for_one_after_the_other_says_for_which(capsys: pytest.CaptureFixture[str]) -> None:
    def one(each: Served) -> tuple[int, Any]:
        if each.organization_id == "2":
            raise TdsError("It cannot be done.", "Next: something else")
        return 0, {"calls": 1}

    with pytest.raises(SystemExit) as ended:
        for_each_served([Served("1"), Served("2")], one, as_json=True)
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("{")]
    assert [read_event(line)["organization_id"] for line in lines] == ["1", "2"]
    assert ended.value.code == 1
    assert json.loads(said.out)["organisations"][1]["error"] == "It cannot be done."
