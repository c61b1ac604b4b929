"""The embedded server and `tds up` among what an environment says, and after what a kill leaves."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from tds_cli.main import main
from tds_db import embedded
from tests.db.servers import PrivateServer
from tests.journeys.programs import TDS, environment
from tests.journeys.waiting import PATIENCE, wait_until

ELSEWHERE = {
    "PGHOST": "nowhere.invalid",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "somebody",
    "PGPASSWORD": "s3cret-value",
    "PGDATABASE": "another",
    "PGSERVICE": "nowhere",
    "PGOPTIONS": "-c nonsense=1",
    "PGDATESTYLE": "German",
    "PGSSLMODE": "verify-full",
    "PGCHANNELBINDING": "require",
    "PGREQUIREAUTH": "none",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCLIENTENCODING": "LATIN1",
    "PGTZ": "Asia/Baghdad",
}


@pytest.fixture
def own(server: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> PrivateServer:
    """The embedded server, and an environment that is about others."""
    monkeypatch.delenv("TDS_DATABASE_URL", raising=False)
    monkeypatch.setenv("TDS_DATA_DIR", str(server.data_dir))
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    return server


def test_variables_about_other_servers_do_not_reach_ours(
    own: PrivateServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = (
        "select current_user, current_setting('DateStyle'), current_setting('TimeZone'), current_database()"
    )

    def psql(*arguments: str) -> str:
        for name, value in ELSEWHERE.items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(main, ["psql", "-XAtc", asked, *arguments])
        assert done.exit_code == 0, done.output + capfd.readouterr().err
        return capfd.readouterr().out.strip()

    assert psql() == "postgres|ISO, MDY|UTC|tds"
    # another database of the same server is not elsewhere, however it is named
    for named in (["-d", "postgres"], ["--dbname=postgres"], ["postgres"], ["--db", "postgres"]):
        assert psql(*named) == "postgres|ISO, MDY|UTC|postgres"


def test_what_tds_up_started_is_stopped_even_by_the_next_one(own: PrivateServer) -> None:
    embedded.stop(own.data_dir)
    variables = environment(TDS_DATA_DIR=str(own.data_dir), **ELSEWHERE)
    command = [*TDS, "up", "--json", "--workers", "1", "--port", "0", "--no-poll"]

    def up() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        assert "base_url" in process.stdout.readline()
        return process

    def ended(process: subprocess.Popen[str], number: int) -> int:
        process.send_signal(number)
        code = process.wait(PATIENCE)
        assert process.stdout is not None
        process.stdout.close()
        return code

    killed = up()
    second = subprocess.run([*command], env=variables, capture_output=True, text=True, check=False)
    assert (second.returncode, "tds up runs already on" in second.stderr) == (1, True)
    ended(killed, signal.SIGKILL)
    assert embedded.is_running(own.data_dir), "nobody could stop it"
    # a terminal that goes
    assert ended(up(), signal.SIGHUP) == 0
    assert not embedded.is_running(own.data_dir)
    # interrupted while it starts
    early = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(Path(own.data_dir, "up.lock").read_text, "it has the lock")
    early.send_signal(signal.SIGTERM)
    early.wait(PATIENCE)
    assert not embedded.is_running(own.data_dir)
    # one that was there before stays
    embedded.ensure_running(own.data_dir)
    ended(up(), signal.SIGINT)
    assert embedded.is_running(own.data_dir)
