"""A disk that fills up: nothing is acknowledged that is not stored, and all goes on by itself once there is room."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from benchmarks.drills import missing
from tds_db.worker import Worker
from tds_receiver.settings import ReceiverSettings
from tests.db.servers import Database, PrivateServer
from tests.journeys.waiting import PATIENCE, wait_until
from tests.receiver.conftest import serving

SIZE = "600m"
SMALL_WAL = {"min_wal_size": "32MB", "max_wal_size": "64MB"}


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own, in memory."""
    with tempfile.TemporaryDirectory(prefix="tds-disk-", dir="/tmp") as place:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0711", "tmpfs", place]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no file system may be mounted here")
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)


def fill(path: Path) -> None:
    """Writes until there is no room left."""
    block = b"\0" * 65536
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(block):
            pass


class Company:
    """Sends webhooks, and keeps which were acknowledged."""

    def __init__(self, client: httpx.Client) -> None:
        self.client, self.acknowledged, self.number = client, set[str](), 0

    def send(self, padding: int = 0) -> int:
        """One, with so many random characters in it; the answer's code."""
        self.number += 1
        item = {"item_id": str(self.number), "name": "x", "notes": secrets.token_hex(padding // 2)}
        code = self.client.post("/api/zoho/webhooks/products", json={"item": item}).status_code
        if code == 202:
            self.acknowledged.add(str(self.number))
        return code


def test_a_full_disk_refuses_loses_nothing_and_is_over_when_there_is_room(small_disk: Path) -> None:
    server = PrivateServer(small_disk / "data", settings=SMALL_WAL)
    try:
        database = server.database()
        worker = Worker(database.conninfo)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            with serving(
                database.conninfo, ReceiverSettings.model_validate({"organization_id": "1"})
            ) as client:
                told = drill(server, database, Company(client), small_disk / "filler")
        finally:
            worker.stop()
            thread.join(PATIENCE)
        print(told)
    finally:
        server.stop()


def drill(server: PrivateServer, database: Database, company: Company, filler: Path) -> str:
    """Fills the disk under a stream of webhooks, makes room, and looks what came of it; a line about it."""
    for _ in range(20):
        wait_until(lambda: company.send() == 202, "an ordinary day")
    fill(filler)
    wait_until(lambda: company.send(1 << 20) == 503, "the disk is full")
    refused = [company.send(1 << 20) for _ in range(5)]
    assert set(refused) == {503}
    ended = not server_answers(database)
    filler.unlink()
    began = time.monotonic()
    server.start()  # what the system's service manager does, where PostgreSQL has ended
    wait_until(lambda: company.send() == 202, "it is taken again")
    back = time.monotonic() - began
    with psycopg.connect(database.conninfo, autocommit=True) as conn:
        wait_until(lambda: missing(conn, company.acknowledged) == 0, "every acknowledged one has its row")
        assert conn.execute("select count(*) from tds.dead_letter").fetchone() == (0,)
    done = time.monotonic() - began
    return (
        f"{len(company.acknowledged)} of {company.number} acknowledged, none lost; the server {'ended' if ended else 'went on'}; "
        f"{back:.1f} s after there was room webhooks were taken, {done:.1f} s all were written"
    )


def server_answers(database: Database) -> bool:
    """Whether it lets anybody in."""
    try:
        psycopg.connect(database.conninfo, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
