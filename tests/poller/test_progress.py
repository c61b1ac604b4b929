"""What is shown while one waits: bars on a terminal, plain lines elsewhere; and what the shell completes."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from tds_cli.progress import Bars, LeftColumn, RateColumn, Steps, told_waiting
from tds_poller.mirror import Migration
from tds_poller.zoho.budget import Waiting
from tds_sandbox.clock import Clock
from tds_sandbox.organisation import Organisation
from tests.cli.test_events import read_event
from tests.commands import tds
from tests.db.servers import Database
from tests.poller.conftest import LENIENT, Poller, fast_sandbox

TDS = str(Path(sys.executable).with_name("tds"))


def test_lines_say_how_far_how_fast_how_long_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moment = 1000.0
    monkeypatch.setattr("tds_cli.progress.time.monotonic", lambda: moment)
    with Steps() as steps:
        steps.show_calls_left(lambda: 4321)
        step = steps.add("invoices, details")
        for done in (100, 200, 300, 400, 500, 600, 700, 1200):
            moment += 10
            step.at(done, 1300)
        moment += 60
        step.at(1300, 1300)
        step.finish()
        step.finish()
    assert capsys.readouterr().err.splitlines() == [
        "invoices, details: 600 of 1,300 in 60.0 s, 10/s, about 70 s left, 4,321 calls left today",
        "invoices, details: 1,300 of 1,300 in 140.0 s, 9/s, 4,321 calls left today",
        "invoices, details: 1,300, done in 140.0 s, 9/s",
    ]


NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WHOLE = Migration(
    at=NOON,
    lists_read=9,
    lists=15,
    records=12_345,
    details_fetched=678,
    calls_done=1_234,
    calls_to_do=2_377,
    calls_left_today=8_766,
    minutes_left=62.5,
    days_left=1,
    ends_at=NOON + timedelta(minutes=62.5),
    wait="minute",
    waits_for="the minute's calls",
    waits_until=NOON + timedelta(seconds=31),
)


def told_at(moment: datetime, form: str) -> str:
    """A time as it is shown here."""
    return f"{moment.astimezone():{form}}"


def test_one_line_a_minute_for_all_steps_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moment = 0.0
    monkeypatch.setattr("tds_cli.progress.time.monotonic", lambda: moment)
    waiting = Waiting("the minute's calls are used up", NOON + timedelta(seconds=31))
    with Steps() as steps:
        steps.show_calls_left(lambda: 8_766)
        steps.show_waiting(lambda: waiting)
        one, other = steps.add("products"), steps.add("customers")
        for second in range(1, 601):
            moment = float(second)
            one.at(second, 1_000)
            other.at(2 * second)
            steps.show_whole(replace(WHOLE, calls_done=WHOLE.calls_done + second))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    until = told_at(NOON + timedelta(minutes=62.5), "%H:%M")
    assert lines[0] == (
        f"all: 1,293 of 3,670 calls, 35 %, about 62 min left, until {until}, products 60 of 1,000, customers 118; "
        f"waits until {told_waiting(waiting, WHOLE)[12:]}, 8,766 calls left today"
    )


def test_nothing_new_is_told_once_an_hour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moment = 0.0
    monkeypatch.setattr("tds_cli.progress.time.monotonic", lambda: moment)
    with Steps() as steps:
        steps.show_waiting(lambda: Waiting("the day's calls are used up", NOON + timedelta(hours=9)))
        for second in range(0, 9 * 3600, 30):
            moment = float(second)
            steps.show_whole(WHOLE)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 9
    assert all("waits until" in line and "the day's calls are used up" in line for line in lines)


def test_the_end_is_told_by_the_pace_where_that_is_slower_than_the_ceilings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moment = 0.0
    monkeypatch.setattr("tds_cli.progress.time.monotonic", lambda: moment)
    with Steps(quiet=True) as steps:
        for second in range(0, 101, 10):
            moment = float(second)
            steps.show_whole(replace(WHOLE, calls_done=second // 10, calls_to_do=100))
    assert steps.bars.whole is not None
    assert steps.bars.whole.ends_at == max(WHOLE.ends_at or NOON, NOON + timedelta(seconds=1000))
    with Steps(quiet=True) as steps:
        for second in range(0, 101, 10):
            moment = float(second)
            steps.show_whole(replace(WHOLE, calls_done=second // 10, calls_to_do=1000))
    assert steps.bars.whole is not None
    assert steps.bars.whole.ends_at == NOON + timedelta(seconds=10_000)


@pytest.mark.parametrize("width", [50, 80, 120])
def test_the_display_fits_and_finished_steps_rest(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 0.0
    console = Console(width=width, height=24, force_terminal=True, file=io.StringIO(), record=True)
    steps = Steps(console=console)
    monkeypatch.setattr(steps.bars, "get_time", lambda: moment)
    monkeypatch.setattr("tds_cli.progress.time.monotonic", lambda: moment)
    steps.show_calls_left(lambda: 8_766)
    waiting = Waiting("the minute's calls are used up", NOON + timedelta(seconds=31))
    steps.show_waiting(lambda: waiting)
    steps.show_whole(WHOLE)
    empty, full, resumed = (
        steps.add(name) for name in ("vendor_payments", "customer_payments, details", "invoices, details")
    )
    empty.at(0)
    full.at(1_234_567, 1_234_567)
    empty.finish()
    full.finish()
    resumed.before(900_000, 1_000_000)

    def shown() -> list[str]:
        console.print(*steps.bars.get_renderables(), sep="\n")
        return [line.rstrip() for line in console.export_text().splitlines()]

    moment = 1.0
    first = shown()
    moment = 61.0
    resumed.at(906_000, 1_000_000)
    later = shown()
    assert max(cell_len(line) for line in later) <= width
    whole = " ".join(later[:4])
    for part in (
        "All:",
        "1,234 of 3,611 calls",
        "34 %",
        "62 min left",
        "Waits until",
        "8,766 calls left today",
    ):
        assert part in " ".join(later), part
    assert whole.index("All:") < whole.index("Waits until")
    [done] = [line for line in later if "vendor_payments" in line]
    assert done.startswith("✓")
    assert "0" in done.split()
    for each in (first, later):
        told = " ".join(each)
        assert told.count("✓") == 2
        assert "1,234,567" in told
    [going] = [line for line in later if "invoices" in line]
    assert "906,000/1,000,000" in going
    assert "-0:15:56" in going, "6,000 in a minute, whatever was there before"
    for number in range(40):
        steps.add(f"step {number}").finish()
    last = shown()
    assert len(last) <= 24
    assert any("invoices, details" in line for line in last), "what is under way is seen"
    assert any("more are done" in line for line in last)


def test_bars_on_a_terminal(poller: Poller, environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    shown = io.BytesIO()
    command = [sys.executable, "-P", "-m", "tds_cli", "migrate"]
    wide = {**environment, "TERM": "xterm", "COLUMNS": "140"}
    few = Organisation(items=234, contacts=8, invoices=6, bills=4, clock=Clock(600), lenient=LENIENT)
    with (
        fast_sandbox(few) as sandbox,
        subprocess.Popen(
            command, env=wide | sandbox.environment, stderr=theirs, stdout=subprocess.DEVNULL
        ) as process,
    ):
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
    assert "234" in text
    assert "━" in text, "a bar"
    assert "/s" in text
    with poller.database.connect() as conn:
        # its day lasts minutes, and may have begun anew
        [left] = conn.execute("select day_left from tds.api_budget").fetchone() or [0]
    assert f"{left:,} calls left today" in text
    assert "All: " in text
    assert "100 %" in text, "at its end all is done"


# A minute that no busy machine outlasts: what it allows is enough for the lists and some details, then all wait.
SLOW = {"ZOHO_CALLS_PER_MINUTE": "70", "ZOHO_MINUTE_SECONDS": "900"}


def test_ctrl_c_says_how_it_goes_on_and_what_was_fetched_before_is_done(
    poller: Poller, environment: dict[str, str]
) -> None:
    command = [TDS, "migrate", "--json"]
    seen = []
    with subprocess.Popen(
        command, env=environment | SLOW, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        assert process.stdout
        for line in process.stderr:
            seen.append(read_event(line))
            kinds = {event["event"] for event in seen if event.get("reason") or event.get("details_fetched")}
            if kinds == {"progress", "waiting"}:
                process.send_signal(signal.SIGINT)
                break
        seen += map(read_event, process.stderr)
        assert process.stdout.read() == ""
    assert process.returncode == 130
    assert (seen[-1]["event"], seen[-1]["next"]) == ("interrupted", "tds migrate")
    assert "The same command goes on" in seen[-1]["text"]
    waits = [event for event in seen if event["event"] == "waiting" and event["reason"]]
    assert waits
    assert "the minute's" in waits[0]["reason"]
    assert datetime.fromisoformat(waits[0]["until"]) > datetime.fromisoformat(waits[0]["at"]) - timedelta(
        hours=1
    )
    before = [event for event in seen if event["event"] == "progress"][-1]
    spent = poller.sandbox.ledger.summary()["calls"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events = [read_event(line) for line in done.stderr.splitlines()]
    progress = [event for event in events if event["event"] == "progress"]
    assert progress[0]["calls_done"] >= before["calls_done"] > 0
    assert (progress[-1]["calls_to_do"], progress[-1]["wait"]) == (0, None)
    assert all(event["calls_done"] >= before["calls_done"] for event in progress)
    steps = {
        event["step"]: event for event in events if event["event"] == "step" and event["state"] == "done"
    }
    assert (steps["products"]["done"], steps["products"]["total"]) == (450, 450)
    assert steps["products, details"]["done"] == 450, "those from before the stop are among them"
    assert steps["customers"]["done"] + steps["vendors"]["done"] == 60
    assert steps["processing"]["done"] is None
    assert json.loads(done.stdout)["pulled"]
    # a token is a call too, and is not of the migration
    assert abs(poller.sandbox.ledger.summary()["calls"] - progress[-1]["calls_done"]) <= 2 + spent // 100


def test_ctrl_c_on_a_terminal(environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    command = [TDS, "migrate", "--restart"]
    wide = {**environment, **SLOW, "TERM": "xterm", "COLUMNS": "50"}
    shown = ""
    pressed = False
    with subprocess.Popen(command, env=wide, stderr=theirs, stdout=subprocess.DEVNULL) as process:
        os.close(theirs)
        while True:
            try:
                shown += os.read(ours, 65536).decode(errors="replace")
            except OSError:
                break
            if not pressed and "Waits until" in shown:
                pressed = True
                process.send_signal(signal.SIGINT)
    os.close(ours)
    assert process.returncode == 130, shown[-2000:]
    assert "The same command goes on: tds migrate\r\n" in shown
    assert "Traceback" not in shown
    drawn = re.sub(r"(?:\x1b\[1A|\x1b\[2K)+", "\n", shown)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r", "").splitlines()
    assert [line for line in lines if cell_len(line.rstrip()) > 50 and "HTTP 400" not in line] == []


def test_status_fits_fifty_columns(database: Database, tmp_path: Path) -> None:
    names = {
        "products": "a_very_long_name_" * 12,
        "customers": "شركة الأندلس للتجارة العامة والمقاولات المحدودة " * 3,
        "vendors": "株式会社日本橋" * 9,
    }
    with database.connect() as conn:
        conn.execute("select tds.begin_full_pull(%s)", ["123456789012345678901"])
        conn.execute("select * from tds.set_budget('123456789012345678901')")
        for entity, told in names.items():
            conn.execute(
                "select tds.receive(%s, convert_to(%s, 'UTF8'), '123456789012345678901')",
                [entity, json.dumps({"item": {told: told}}, ensure_ascii=False)],
            )
            conn.execute(
                """insert into tds.run (organization_id, entity, state, started_at, heartbeat_at, finished_at, error, records)
                   values ('1', %s, 'failed', now(), now(), now(), %s, 2000000000)""",
                [entity, told],
            )
    with database.connect(autocommit=True) as conn:
        conn.execute("call tds.process_batch()")
    environment = {
        "TDS_DATABASE_URL": database.conninfo,
        "TDS_DATA_DIR": str(tmp_path),
        "PATH": os.environ["PATH"],
    }
    done = tds(environment | {"COLUMNS": "50"}, "status")
    assert done.returncode == 4, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if cell_len(line) > 50] == []
    assert "2,000,000,000" in done.stdout
    assert "123456789012345678901" in done.stdout
    shown = "".join(done.stdout.split())
    assert [name for name in names.values() if "".join(name.split()) not in shown] == [], "nothing is cut off"
    wide = tds(environment, "status")
    assert max(map(len, wide.stdout.splitlines())) > 200, "a line of a file is not broken"


def complete(environment: dict[str, str], *words: str) -> list[str]:
    """What bash would offer for the last of the words."""
    typed = {
        "_TDS_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = tds(environment | typed)
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
    bars = Bars(LeftColumn(), console=Console(stderr=True), get_time=lambda: moment)
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
