"""The units of systemd: what it says of them, and that each program tells it that it works."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.db.servers import Database
from tests.journeys.programs import TDS, Program, environment
from tests.journeys.waiting import PATIENCE

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = sorted(each.name for each in UNITS.glob("*.service"))
TIMERS = sorted(each.name for each in UNITS.glob("*.timer"))
PROGRAMS = [name for name in SERVICES if name.replace(".service", ".timer") not in TIMERS]
ANALYZE = shutil.which("systemd-analyze")
EXPOSURE = "20"  # tenths, of 100: what systemd calls OK; a unit without any of it has 96
there = pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze here")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program in them that is there."""
    for each in UNITS.iterdir():
        text = each.read_text().replace("/opt/tds/bin/tds", shutil.which("true") or "/bin/true")
        (tmp_path / each.name).write_text(text)
    return tmp_path


def analyze(units: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What systemd-analyze says of the units."""
    return subprocess.run(
        [str(ANALYZE), *words],
        cwd=units,
        env={"SYSTEMD_UNIT_PATH": f"{units}:", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@there
def test_systemd_finds_nothing_wrong_with_them(units: Path) -> None:
    told = analyze(units, "verify", "--man=no", *(f"./{each.name}" for each in sorted(units.iterdir())))
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


@there
@pytest.mark.parametrize("service", SERVICES)
def test_little_is_left_open(units: Path, service: str) -> None:
    told = analyze(units, "security", "--offline=true", f"--threshold={EXPOSURE}", f"./{service}")
    assert told.returncode == 0, told.stdout


def test_the_target_wants_each_program() -> None:
    wanted = re.search(r"^Wants=(.*)$", (UNITS / "tds.target").read_text(), re.MULTILINE)
    assert wanted
    assert sorted(wanted[1].split()) == sorted([*PROGRAMS, *TIMERS])
    assert [f"tds-{name}.service" for name in ("alerts", "poller", "receiver", "worker")] == PROGRAMS
    assert TIMERS == ["tds-backup.timer"]


def test_what_a_timer_starts_takes_the_backup_that_is_due(database: Database, tmp_path: Path) -> None:
    assert words_of("tds-backup.service") == ["backups", "take"]
    with database.connect(autocommit=True) as conn:
        conn.execute("select tds.schedule_backups(%s, verify => false)", [str(tmp_path / "kept")])
        conn.execute("select tds.request_backup()")
    for code, told in ((0, "rows"), (0, "None is due")):
        done = subprocess.run(
            [*TDS, *words_of("tds-backup.service")],
            env=environment(TDS_DATABASE_URL=database.conninfo),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert len(list((tmp_path / "kept").iterdir())) == 1


def words_of(service: str) -> list[str]:
    """The command of a unit, less the program's path and its port."""
    started = re.search(r"^ExecStart=/opt/tds/bin/tds (.*)$", (UNITS / service).read_text(), re.MULTILINE)
    assert started
    return started[1].replace("--port 8000", "--port 0").split()


@pytest.mark.parametrize(
    "service", [name for name in SERVICES if "Type=notify" in (UNITS / name).read_text()]
)
def test_the_program_says_that_it_works(database: Database, tmp_path: Path, service: str) -> None:
    """Type=notify: systemd counts a program as started once it works, and as hanging when it goes silent."""
    zoho = {
        f"ZOHO_{each}": "1000.none-of-it-is-real"
        for each in ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN", "ORGANIZATION_ID")
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(PATIENCE)
        program = Program(
            service,
            [*TDS, *words_of(service)],
            environment(TDS_DATABASE_URL=database.conninfo, NOTIFY_SOCKET=str(tmp_path / "notify"), **zoho),
            tmp_path,
        )
        program.start()
        try:
            assert channel.recv(100) == b"READY=1\nWATCHDOG=1", program.last_words
        finally:
            program.stop()
