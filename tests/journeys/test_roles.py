"""Each program and command with the login made for it, on a server where nobody who takes part is a superuser."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import httpx
import psycopg
import pytest

from tds_db.upgrade import upgrade
from tests.commands import tds
from tests.conftest import RUNNING, all_servers
from tests.journeys.programs import TDS, Program, environment
from tests.journeys.waiting import wait_until
from tests.poller.conftest import small_sandbox

ROOT = Path(__file__).parents[2]
LOCAL = [leg for leg in RUNNING if leg in ("pg18", "pg15")]
OWNER, PASSWORD = "owner_of_all", "an owner's"
TOKEN = "a-token-of-webhooks"
# Exit codes that tell how all stands: health's are monitoring's, and the sandbox's damaged records are dead letters.
AS_IT_STANDS = {
    "health": (0, 1, 2, 3),
    "status": (0, 4),
    "migrate": (0, 4),
    "pull": (0, 4),
    "verify": (0, 1, 4),
}


@dataclass(frozen=True)
class Company:
    """A database, whose owner installed TDS in it, and a login for each program."""

    variables: dict[str, str]
    logins: dict[str, str]
    directory: Path

    def environment(self, role: str) -> dict[str, str]:
        return self.variables | {"TDS_DATABASE_URL": self.logins[role]}

    def run(self, role: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A command with the login of that role, to its end."""
        return tds(self.environment(role), *command)

    def look(self, query: str, role: str = "tds_reader") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.logins[role], autocommit=True) as conn:
            return conn.execute(query.encode()).fetchall()


@pytest.fixture(scope="module", params=LOCAL)
def company(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """With a worker at work. The server's superuser makes the owner, who may make databases and roles, and goes."""
    server = all_servers(request.config).private(request.param, {"fsync": "off"})
    directory = tmp_path_factory.mktemp("company")
    try:
        with psycopg.connect(server.server.conninfo(), autocommit=True) as administrator:
            administrator.execute(
                f"create role {OWNER} login createdb createrole password '{PASSWORD.replace(chr(39), chr(39) * 2)}'"
            )
        with psycopg.connect(server.server.conninfo(user=OWNER, password=PASSWORD), autocommit=True) as owner:
            owner.execute("create database tds")
        owners = server.server.conninfo("tds", user=OWNER, password=PASSWORD)
        upgrade(owners)
        with small_sandbox(bad_records=2) as sandbox:
            variables = environment(
                ZOHO_MINUTE_SECONDS="0.1",
                TDS_DATA_DIR=str(directory),
                TDS_IMAGE_URL=(directory / "images").as_uri(),
                ZOHO_WEBHOOK_SECRET=secrets.token_hex(16),
                **sandbox.environment,
            )
            command = [*TDS, "db", "roles", "--make", "--json"]
            made = subprocess.run(
                command,
                env=variables | {"TDS_DATABASE_URL": owners},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                check=True,
            )
            logins = {
                row["role"]: server.server.conninfo("tds", user=row["login"], password=row["password"])
                for row in json.loads(made.stdout)
            }
            there = Company(variables, logins, directory)
            worker = Program(
                "work", [*TDS, "work", "--workers", "1"], there.environment("tds_worker"), directory
            )
            worker.start()
            try:
                wait_until(lambda: there.look("select from tds_workers"), "the worker is connected")
                yield there
                assert worker.is_running
                assert "denied" not in worker.last_words
            finally:
                if worker.is_running:
                    worker.stop()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def migrated(company: Company) -> Company:
    """After tds migrate."""
    done = company.run("tds_poller", "migrate")
    # 4: the damaged records of the sandbox are dead letters
    assert done.returncode in (0, 4), done.stderr
    return company


def test_nobody_is_a_superuser(company: Company) -> None:
    connected = company.look(
        "select distinct a.usename::text, r.rolsuper from pg_stat_activity a join pg_roles r on r.oid = a.usesysid "
        "where a.datname = current_database()"
    )
    assert len(connected) > 1
    assert not [name for name, is_super in connected if is_super]


@pytest.mark.parametrize(
    "command",
    [
        ["plan"],
        ["plan", "--json"],
        ["pull", "products"],
        ["pull", "invoices", "--incremental"],
        ["pull", "stock"],
        ["pull", "pricelists", "--no-details"],
        ["pull", "customers", "--restart"],
        ["migrate"],
        ["poll", "--once"],
        ["images"],
        ["verify"],
        ["doctor"],
        ["runs"],
    ],
    ids=" ".join,
)
def test_the_poller_s_commands(migrated: Company, command: list[str]) -> None:
    done = migrated.run("tds_poller", *command)
    assert done.returncode in AS_IT_STANDS.get(command[0], (0,)), done.stdout + done.stderr
    assert "denied" not in done.stderr + done.stdout or command == ["doctor"]
    assert "Error" not in done.stderr


def test_a_poller_that_goes_on_takes_what_is_asked_for(migrated: Company) -> None:
    poller = Program("poll", [*TDS, "poll"], migrated.environment("tds_poller"), migrated.directory)
    poller.start()
    try:
        organization = migrated.variables["ZOHO_ORGANIZATION_ID"]
        [(run,)] = migrated.look(
            f"select tds.request_pull('bills', '{{}}', '{organization}')", "tds_operator"
        )
        wait_until(
            lambda: migrated.look(f"select from tds_sync_runs where run_id = {run} and state = 'complete'"),
            "the pull is complete",
        )
        assert poller.is_running
    finally:
        assert poller.stop() == 0
    assert "denied" not in poller.last_words


@pytest.mark.parametrize(
    "command",
    [
        ["doctor"],
        ["status"],
        ["health"],
        ["heal"],
        ["heal", "--dry-run"],
        ["dead", "list"],
        ["deletions", "list"],
        ["runs"],
        ["jobs"],
        ["process"],
        ["keys", "list"],
        ["db", "status"],
        ["explain", "products", "ID"],
    ],
    ids=" ".join,
)
def test_the_operator_s_commands(migrated: Company, command: list[str]) -> None:
    [(item,)] = migrated.look("select min(zoho_item_id) from products")
    done = migrated.run("tds_operator", *(item if word == "ID" else word for word in command))
    assert done.returncode in AS_IT_STANDS.get(command[0], (0,)), done.stdout + done.stderr
    assert "denied" not in done.stderr + done.stdout
    assert "Error" not in done.stderr


def test_the_operator_makes_a_key_and_revokes_it(migrated: Company) -> None:
    for command in (["keys", "create", "somebody"], ["keys", "revoke", "somebody"]):
        done = migrated.run("tds_operator", *command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "denied" not in done.stderr + done.stdout
        assert "Error" not in done.stderr


def test_the_operator_shows_and_replays_a_dead_letter(migrated: Company) -> None:
    dead = json.loads(migrated.run("tds_operator", "dead", "list", "--json").stdout)
    assert dead
    number = str(next(value for name, value in dead[0].items() if "dead_letter" in name or name == "number"))
    for command in (["dead", "show", number], ["dead", "replay", number]):
        done = migrated.run("tds_operator", *command)
        assert done.returncode == 0, done.stderr
        assert "denied" not in done.stderr + done.stdout


def test_what_the_operator_may_not_is_told_with_the_next_command(migrated: Company) -> None:
    done = migrated.run("tds_operator", "verify")
    assert done.returncode == 1
    assert "tds db roles" in done.stderr
    assert "tds_poller" in done.stderr


@pytest.mark.parametrize(
    "command", [["process"], ["jobs"], ["jobs", "run", "snapshot_stock"], ["heal"], ["health"]], ids=" ".join
)
def test_the_worker_s_commands(migrated: Company, command: list[str]) -> None:
    done = migrated.run("tds_worker", *command)
    assert done.returncode in AS_IT_STANDS.get(command[0], (0,)), done.stdout + done.stderr
    assert "denied" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "command",
    [["status"], ["runs"], ["health"], ["dead", "list"], ["keys", "list"], ["jobs"], ["deletions", "list"]],
    ids=" ".join,
)
def test_the_reader_s_commands(migrated: Company, command: list[str]) -> None:
    done = migrated.run("tds_reader", *command)
    assert done.returncode in AS_IT_STANDS.get(command[0], (0,)), done.stdout + done.stderr
    assert "denied" not in done.stderr + done.stdout


def test_dashboards_read_every_view_and_table_of_the_mirror(migrated: Company) -> None:
    shown = migrated.look(
        """select format('%I.%I', n.nspname, c.relname)
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where pg_get_userbyid(c.relowner) = 'tds_owner'
              and (n.nspname = 'public' and c.relkind = 'v' or n.nspname = 'zoho' and c.relkind in ('r', 'p', 'v'))
              and not c.relispartition
            order by 1"""
    )
    assert len(shown) > 60
    for (name,) in shown:
        for role in ("tds_reader", "tds_operator"):
            migrated.look(f"select * from {name} limit 3", role)
    assert migrated.look("select count(*) > 400 from products") == [(True,)]


def test_the_receiver_takes_webhooks_and_shows_how_all_stands(migrated: Company) -> None:
    with closing(socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    key = migrated.run("tds_operator", "keys", "create", "dashboards").stdout.strip()
    command = [*TDS, "serve", "--port", str(port)]
    variables = migrated.environment("tds_receiver") | {
        "ZOHO_WEBHOOK_SECRET": "",
        "ZOHO_WEBHOOK_TOKEN": TOKEN,
    }
    receiver = Program("serve", command, variables, migrated.directory)
    receiver.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:

            def ready() -> bool:
                try:
                    return client.get("/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            wait_until(ready, "the receiver is ready")
            body = {"item": {"item_id": "987654321", "name": "Cable", "rate": 1}}
            taken = client.post("/api/zoho/webhooks/products", json=body, headers={"X-TDS-Token": TOKEN})
            assert taken.status_code == 202, taken.text
            shown = {"X-API-Key": key}
            assert client.get("/metrics").status_code == 200
            assert client.get("/dashboard", headers=shown).status_code == 200
            asked = client.post("/api/zoho/bulk-sync/products", headers=shown)
            assert asked.status_code == 202, asked.text
            run = asked.json()["run_id"]
            assert client.get(f"/api/zoho/bulk-sync/runs/{run}", headers=shown).json()["state"] == "queued"
            assert client.post(f"/api/zoho/bulk-sync/runs/{run}/cancel", headers=shown).status_code == 200
            assert client.get("/api/zoho/bulk-sync/runs", headers=shown).status_code == 200
            assert client.post("/dashboard/login", data={"key": key}).status_code == 303
            assert client.get("/dashboard").status_code == 200
    finally:
        assert receiver.stop() in (0, -15)
    assert "denied" not in receiver.last_words
    wait_until(
        lambda: migrated.look("select from products where zoho_item_id = '987654321'"),
        "the webhook is applied",
    )
