"""Behind a pooler that shares sessions nothing of ours works: it is refused by name, at the start."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.db.servers import Database
from tests.journeys.waiting import PATIENCE, wait_until

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")
REFUSED = "leads to a pooler that shares sessions"


@contextmanager
def pooler(database: Database, mode: str, more: str = "") -> Iterator[str]:
    """A PgBouncer before the database; gives the URL."""
    at = {key: str(value) for key, value in conninfo_to_dict(database.conninfo).items()}
    password = (
        Path(at["passfile"]).read_text().strip().rpartition(":")[2]
        if "passfile" in at
        else at.get("password", "")
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as place:
        settings = Path(place) / "pgbouncer.ini"
        settings.write_text(
            "[databases]\n"
            f"{at['dbname']} = host={at['host']} port={at.get('port', '5432')} user={at['user']}"
            f" password='{password}'\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {mode}\n{more}\n"
        )
        # it does not run as root; whose the server's socket is may enter there
        user = None if os.geteuid() else Path(at["host"]).owner()
        if user:
            shutil.chown(place, user)
            shutil.chown(settings, user)
        assert PGBOUNCER is not None
        url = f"postgresql://{at['user']}@127.0.0.1:{port}/{at['dbname']}"

        def answers() -> bool:
            try:
                psycopg.connect(url, connect_timeout=5).close()
            except psycopg.OperationalError:
                return False
            return True

        with subprocess.Popen(
            [PGBOUNCER, "-q", str(settings)], stderr=subprocess.DEVNULL, user=user
        ) as process:
            try:
                wait_until(answers, "PgBouncer answers", PATIENCE)
                yield url
            finally:
                process.terminate()


def tds(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "tds_cli", *arguments],
        env={"TDS_DATABASE_URL": url, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize("more", ["", "ignore_startup_parameters = options,extra_float_digits"])
def test_transaction_mode_is_refused_at_the_start(database: Database, more: str) -> None:
    with pooler(database, "transaction", more) as url:
        for command in (["work"], ["serve", "--port", "0"], ["process"], ["status"], ["db", "upgrade"]):
            done = tds(url, *command)
            assert (done.returncode, REFUSED in done.stderr) == (1, True), (command, done.stderr)
            assert "pool_mode = session" in done.stderr
        told = tds(url, "doctor")
        assert told.returncode == 1
        assert REFUSED in told.stdout


def test_session_mode_is_let_through(database: Database) -> None:
    with pooler(database, "session", "ignore_startup_parameters = options,extra_float_digits") as url:
        done = tds(url, "process")
        assert (done.returncode, done.stderr) == (0, "")
