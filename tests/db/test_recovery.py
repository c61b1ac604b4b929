"""Point-in-time recovery by the server's own means, as docs/backup.md has it, once for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from tds_db import embedded
from tests.conftest import RUNNING, all_servers
from tests.db.servers import DEBIAN, Database, PrivateServer
from tests.journeys.waiting import PATIENCE, wait_until
from tests.sql.conftest import Mirror, product

NAMES = "select zoho_item_id as id, name from zoho.products order by 1"
LEG = next((leg for leg in ("pg15", "pg18") if leg in RUNNING), "pg18")


def as_server(server: PrivateServer, *command: str | Path) -> None:
    """Runs a program as the account of the server."""
    owner = (server.data_dir / "pgdata").stat()
    account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run([str(word) for word in command], check=True, capture_output=True, cwd="/", **account)  # type: ignore[call-overload]


class Archive:
    """A server whose WAL is archived, and the base backup of it, which is a second server's data directory."""

    def __init__(self, config: pytest.Config, bin_dir: Path) -> None:
        servers = all_servers(config)
        # the watchdog stops what has its pgdata there
        self.copy = servers.directory / f"recovered{os.getpid()}"
        self.files = servers.directory / f"archive{os.getpid()}"
        self.files.mkdir(mode=0o777)
        self.files.chmod(0o777)
        self.bin_dir = bin_dir
        command = f"'test ! -f {self.files}/%f && cp %p {self.files}/%f'"
        self.server = servers.private(
            LEG, {"archive_mode": "on", "archive_command": command, "fsync": "off"}, upgraded=True
        )
        self.owner = (self.server.data_dir / "pgdata").stat()

    def owned(self, path: Path) -> Path:
        """What the server's account reads."""
        os.chown(path, self.owner.st_uid, self.owner.st_gid)
        return path

    def take_base_backup(self) -> None:
        """pg_basebackup, as the runbook has it."""
        self.copy.mkdir(mode=0o755)
        self.owned(self.copy)
        secret, readable = self.server.data_dir / "pgpass", self.files / "pgpass"
        shutil.copy(secret, readable)
        self.owned(readable)
        base = self.server.server.conninfo(passfile=str(readable))
        as_server(
            self.server,
            self.bin_dir / "pg_basebackup",
            "-d",
            base,
            "-D",
            self.copy / "pgdata",
            "--checkpoint=fast",
        )

    def recover(self, moment: str) -> PrivateServer:
        """The base backup as a server, brought to that moment; it returns when that is done."""
        pgdata = self.copy / "pgdata"
        with (pgdata / "postgresql.auto.conf").open("a") as conf:
            conf.write(
                f"archive_mode = 'off'\nrestore_command = 'cp {self.files}/%f %p'\n"
                f"recovery_target_time = '{moment}'\nrecovery_target_action = 'promote'\n"
            )
        (pgdata / "recovery.signal").touch()
        self.owned(pgdata / "recovery.signal")
        shutil.copy(self.server.data_dir / "pgpass", self.copy / "pgpass")
        recovered = PrivateServer(self.copy, self.server.bin_dir, {"fsync": "off"})
        deadline = time.monotonic() + PATIENCE
        while True:
            with psycopg.connect(recovered.server.conninfo()) as conn:
                if conn.execute("select pg_is_in_recovery()").fetchone() == (False,):
                    return recovered
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_server_goes_back_to_a_moment_and_goes_on(request: pytest.FixtureRequest) -> None:
    bin_dir = DEBIAN if LEG == "pg15" else embedded.package_bin_dir()
    if not (bin_dir / "pg_basebackup").exists():
        pytest.skip(f"there is no pg_basebackup in {bin_dir}")
    archive = Archive(request.config, bin_dir)
    with archive.server.database().connect(autocommit=True) as conn:
        source = Mirror(conn)
        source.receive("products", {"item": product("1", name="before the base backup")})
        source.process()
        archive.take_base_backup()
        source.receive("products", {"item": product("2", name="after it")})
        source.process()
        # acknowledged before the moment, and not yet processed
        source.receive("products", {"item": product("3", name="open at the moment")})
        moment = source.value("select clock_timestamp()::text")
        time.sleep(0.01)
        source.receive("products", {"item": product("4", name="after the moment")})
        conn.execute("delete from zoho.products")  # the damage
        segment = source.value("select pg_walfile_name(pg_current_wal_lsn())")
        conn.execute("select pg_switch_wal()")
        wait_until((archive.files / segment).exists, f"{segment} is archived")
        assert source.value("select count(*) from zoho.products") == 0
    archive.server.stop()
    recovered = archive.recover(moment)
    try:
        with Database("private", recovered.server.conninfo("tds"), bin_dir).connect(autocommit=True) as conn:
            mirror = Mirror(conn)
            there = [{"id": "1", "name": "before the base backup"}, {"id": "2", "name": "after it"}]
            assert mirror.rows(NAMES) == there
            mirror.process()
            assert mirror.rows(NAMES) == [*there, {"id": "3", "name": "open at the moment"}]
            # what came later is lost, and the next pull brings it
            page = {"items": [product("4", name="after the moment")]}
            mirror.receive("products", page, "list", source="poller")
            mirror.process()
            assert mirror.rows(NAMES)[-1] == {"id": "4", "name": "after the moment"}
            assert mirror.value("select count(*) from tds.api_token") == 0
    finally:
        recovered.stop()
