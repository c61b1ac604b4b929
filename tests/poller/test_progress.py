"""What is shown while one waits: bars on a terminal, plain lines elsewhere; and what the shell completes."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tds_cli.progress import Bars, LeftColumn, RateColumn, Steps
from tests.db.servers import Database
from tests.poller.conftest import Poller

TDS = str(Path(sys.executable).with_name("tds"))


def test_lines_say_how_far_how_fast_how_long_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moment = 1000.0
    monkeypatch.setattr("tds_cli.progress.time.monotonic", lambda: moment)
    with Steps() as steps:
        steps.show_calls_left(lambda: 4321)
        step = steps.add("invoices, details")
        moment += 10
        step.at(100, 1300)
        moment += 1
        step.at(101, 1300)
        moment += 10
        step.at(1300, 1300)
        step.finish()
        step.finish()
    assert capsys.readouterr().err.splitlines() == [
        "invoices, details: 100 of 1,300 in 10.0 s, 10/s, about 2 min left, 4,321 calls left today",
        "invoices, details: 1,300 of 1,300 in 21.0 s, 62/s, 4,321 calls left today",
        "invoices, details: 1,300, done in 21.0 s, 62/s",
    ]


def test_bars_on_a_terminal(poller: Poller, environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    shown = io.BytesIO()
    command = [sys.executable, "-P", "-m", "tds_cli", "migrate"]
    wide = {**environment, "TERM": "xterm", "COLUMNS": "140"}
    with subprocess.Popen(command, env=wide, stderr=theirs, stdout=subprocess.DEVNULL) as process:
        os.close(theirs)
        # reading from a terminal that nobody writes to any more is an error
        while True:
            try:
                shown.write(os.read(ours, 65536))
            except OSError:
                break
    os.close(ours)
    text = shown.getvalue().decode()
    assert process.returncode == 0, text
    assert "450" in text
    assert "━" in text, "a bar"
    assert "/s" in text
    left = 10_000 - poller.sandbox.ledger.summary()["calls"] + 1
    assert f"{left:,} calls left today" in text


def complete(environment: dict[str, str], *words: str) -> list[str]:
    """What bash would offer for the last of the words."""
    typed = {
        "_TDS_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run([TDS], env=environment | typed, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_the_shell_completes_commands_options_and_entities(database: Database, tmp_path: Path) -> None:
    environment = {
        "TDS_DATABASE_URL": database.conninfo,
        "TDS_DATA_DIR": str(tmp_path),
        "PATH": os.environ["PATH"],
    }
    assert complete(environment, "tds", "pu") == ["pull"]
    assert "--incremental" in complete(environment, "tds", "pull", "--in")
    assert complete(environment, "tds", "pull", "invoices", "p") == ["products", "pricelists", "payments"]
    assert complete(environment, "tds", "pull", "st") == ["stock"]
    assert complete(environment, "tds", "verify", "cust") == ["customers"]
    assert complete(environment, "tds", "explain", "bil") == ["bills"]
    # without a database nothing is started, and nothing said
    assert complete(environment | {"TDS_DATABASE_URL": ""}, "tds", "pull", "p") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_each_shell(shell: str) -> None:
    source = {"_TDS_COMPLETE": f"{shell}_source", "PATH": os.environ["PATH"]}
    done = subprocess.run([TDS], env=source, capture_output=True, text=True, check=True)
    assert "_TDS_COMPLETE" in done.stdout


def test_how_long_it_takes_still_is_told_although_the_total_grows() -> None:
    moment = 0.0
    bars = Bars(LeftColumn(), get_time=lambda: moment)
    task = bars.add_task("invoices, details", total=None)
    moment = 10.0
    bars.update(task, completed=100, total=1200)
    bars.update(task, completed=100, total=1300)
    assert LeftColumn().render(bars.tasks[0]).plain == "-0:02:00"
    assert RateColumn().render(bars.tasks[0]).plain == "10/s"


def test_what_was_over_when_first_seen_has_no_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tds_cli.progress.SHORTEST_SECONDS", 60.0)
    with Steps() as steps:
        step = steps.add("details")
        step.at(7, 7)
        step.finish()
    told = capsys.readouterr().err
    assert told.startswith("details: 7, done in ")
    assert "/s" not in told
