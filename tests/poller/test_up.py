"""`tds up`: one command, everything; nothing of it stays when it goes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from tds_db import embedded
from tests.commands import started
from tests.conftest import all_servers
from tests.db.servers import Database
from tests.journeys.programs import TDS, environment, free_port
from tests.journeys.waiting import PATIENCE, wait_until


class Running:
    """A running `tds up`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.told = json.loads(process.stdout.readline())
        self.url = str(self.told["base_url"])

    def children(self) -> list[psutil.Process]:
        """Its processes, and theirs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def send(self, item: int) -> None:
        """One webhook, sent again until it is taken."""
        body = {"item": {"item_id": str(item), "name": "x", "last_modified_time": "2026-01-01T00:00:00+0000"}}

        def taken() -> bool:
            try:
                url = f"{self.url}/api/zoho/webhooks/products"
                return httpx.post(url, json=body, timeout=5).status_code == 202
            except httpx.TransportError:
                return False

        wait_until(taken, "it is taken")


@pytest.fixture
def up(database: Database, tmp_path: Path) -> Iterator[Running]:
    variables = environment(TDS_DATABASE_URL=database.conninfo, TDS_DATA_DIR=str(tmp_path))
    command = [*TDS, "up", "--json", "--workers", "1", "--port", str(free_port())]
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            running = Running(process)
            yield running
        finally:
            process.kill()


def products(database: Database) -> list[str]:
    """The ids in the mirror."""
    with psycopg.connect(database.conninfo) as conn:
        rows = conn.execute("select zoho_item_id from zoho.products order by 1")
        return [str(zoho_item_id) for (zoho_item_id,) in rows]


def test_a_webhook_becomes_a_row_and_sigterm_leaves_nothing_behind(up: Running, database: Database) -> None:
    up.send(1)
    wait_until(lambda: products(database) == ["1"], "the product is there")
    children = up.children()
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(PATIENCE) == 0
    assert [child for child in children if child.is_running()] == []


def test_whatever_is_killed_comes_back(up: Running, database: Database) -> None:
    victims = up.children()
    for victim in victims:
        victim.kill()
    up.send(2)
    wait_until(lambda: products(database) == ["2"], "the product is there")
    assert {child.pid for child in victims} & {child.pid for child in up.children()} == set()


def test_nothing_outlives_it(up: Running) -> None:
    children = up.children()
    assert len(children) >= 2
    up.process.kill()
    up.process.wait()
    wait_until(
        lambda: not any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children),
        "all have ended",
    )


def test_what_does_not_start_says_why(database: Database, tmp_path: Path) -> None:
    variables = environment(TDS_DATABASE_URL=database.conninfo, TDS_DATA_DIR=str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = started(variables, "up", "--workers", "1", "--port", port)
    assert done.returncode == 1
    assert "The receiver did not start (code 1)" in done.stderr
    assert f"Cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "tds up --port 0" in done.stderr


def test_who_is_impatient_leaves_no_server_behind(request: pytest.FixtureRequest) -> None:
    private = all_servers(request.config).private(upgraded=True)
    private.stop()
    variables = environment(TDS_DATA_DIR=str(private.data_dir))
    command = [*TDS, "up", "--json", "--no-poll", "--workers", "1", "--port", "0"]
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["base_url"]
        server = psutil.Process(embedded.postmaster(private.data_dir))
        programs = psutil.Process(process.pid).children(recursive=True)
        for program in programs:
            program.suspend()  # so that one signal is not enough
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "Stopping …\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == -signal.SIGINT
        for program in programs:
            program.resume()
    wait_until(lambda: not server.is_running(), "the server has ended")
