"""A synchronous standby: while it is away nothing is acknowledged, and that is told; it takes over, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.db.servers import PrivateServer
from tests.journeys.feeder import Feeder
from tests.journeys.programs import TDS, Program, environment, free_port
from tests.journeys.waiting import wait_until

ORGANIZATION = "60069194202"
NEWEST = """
    select zoho_item_id, (zoho_metadata ->> 'revision')::int from zoho.products
     union all select zoho_contact_id, (zoho_metadata ->> 'revision')::int from zoho.contacts
     union all select zoho_invoice_id, (zoho_metadata ->> 'revision')::int from zoho.invoices"""


class Pair:
    """Two servers, of which the second follows, and the programs; they know both, and take whichever is written to."""

    def __init__(self, first: PrivateServer, second: PrivateServer, directory: Path) -> None:
        self.first, self.second = first, second
        servers = (first.server, second.server)
        self.dsn = make_conninfo(
            "",
            host=",".join(str(each.socket_dir) for each in servers),
            port=",".join(str(5432) for _ in servers),
            user=first.server.superuser,
            password=first.password,
            dbname="tds",
            target_session_attrs="read-write",
        )
        self.port = free_port()
        self.variables = environment(TDS_DATABASE_URL=self.dsn, ZOHO_ORGANIZATION_ID=ORGANIZATION)
        serve = [*TDS, "serve", "--port", str(self.port)]
        self.programs = [
            Program("receiver", serve, self.variables, directory),
            Program("workers", [*TDS, "work", "--workers", "2"], self.variables, directory),
        ]
        self.feeder = Feeder(lambda: f"http://127.0.0.1:{self.port}", ORGANIZATION, 3)

    def value(self, query: str) -> Any:
        """The one value of a query, of whichever server is written to."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            row = conn.execute(query).fetchone()
        assert row is not None
        return row[0]

    def tds(self, dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command on that server."""
        variables = self.variables | {"TDS_DATABASE_URL": dsn}
        return subprocess.run(
            [*TDS, *arguments], env=variables, capture_output=True, text=True, check=False, timeout=60
        )

    def readiness(self) -> dict[str, Any]:
        """What the receiver says of itself."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=20) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as refused:
            return dict(json.load(refused))
        except OSError:
            return {}

    def more(self, acknowledged: int = 100) -> None:
        """Waits until so many more have been acknowledged."""
        known = len(self.feeder.acknowledged)
        wait_until(lambda: len(self.feeder.acknowledged) >= known + acknowledged, "acknowledgements")


@pytest.fixture
def pair(server: PrivateServer, tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        standby = server.standby()
        stack.callback(standby.stop)
        with psycopg.connect(server.server.conninfo(), autocommit=True) as conn:
            conn.execute("alter system set synchronous_standby_names = 'standby'")
            conn.execute("select pg_reload_conf()")
        pair = Pair(server, standby, tmp_path)
        for program in pair.programs:
            program.start()
            stack.callback(program.kill)
        pair.feeder.start()
        stack.callback(pair.feeder.stop)
        pair.more()
        yield pair


@pytest.mark.timeout(180)
def test_without_its_standby_nothing_is_acknowledged_and_with_it_nothing_is_lost(pair: Pair) -> None:
    assert pair.readiness()["status"] == "ready"
    pair.value(
        """update tds.setting set value = value || '{"warning": 1}' where name = 'health_commit_waits'
           returning value"""
    )
    pair.second.kill()
    # what is not on both is answered 503, and who asks is told why
    failed = wait_until(lambda: pair.readiness().get("failed", {}).get("storage"), "not ready")
    assert failed.startswith("nothing is stored: ")
    known = len(pair.feeder.acknowledged)
    health = pair.tds(pair.dsn, "health")
    assert len(pair.feeder.acknowledged) == known
    assert (health.returncode, "commit_waits" in health.stdout) == (1, True), health.stdout
    pair.second.start()
    pair.more()
    wait_until(lambda: pair.readiness().get("status") == "ready", "ready")

    # whoever names the standby alone is told so
    alone = pair.second.database().conninfo
    health, processed = pair.tds(alone, "health"), pair.tds(alone, "process")
    assert (health.returncode, "standby" in health.stdout) == (2, True), health.stdout
    assert (processed.returncode, "Is it a standby?" in processed.stderr) == (1, True), processed.stderr

    pair.first.kill()
    pair.second.promote()
    pair.more()
    pair.feeder.stop()
    pair.feeder.check()
    wait_until(lambda: pair.value("select count(*) from tds.inbox_open") == 0, "all written")
    with psycopg.connect(pair.dsn) as conn:
        found: dict[str, int] = dict(conn.execute(NEWEST).fetchall())
    assert all(program.starts == 1 and program.is_running for program in pair.programs)
    lost = {
        key: revision for key, revision in pair.feeder.newest().items() if found.get(key[1], 0) < revision
    }
    assert lost == {}
    assert pair.value("select count(*) from tds.dead_letter") == 0
