"""Several organisations in one poller: each at its own pace, and what stops one stops no other."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tds_cli.exits import FAILED
from tds_cli.explanations import explanation
from tds_cli.main import COMMANDS
from tds_db.worker import drain
from tds_poller.zoho.session import Session
from tds_receiver.settings import ReceiverSettings
from tds_sandbox.clock import Clock
from tds_sandbox.limits import LimitSettings
from tds_sandbox.oauth import Credentials
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running, environment, running
from tests.db.servers import Database
from tests.journeys.waiting import PATIENCE, wait_until
from tests.poller.conftest import MINUTE_SECONDS
from tests.receiver.conftest import serving

LARGE, REVOKED, LIVE = "81000000001", "81000000002", "81000000003"
SIZES = {LARGE: 700, REVOKED: 20, LIVE: 30}
PER_MINUTE = {LARGE: 60, REVOKED: 100, LIVE: 40}


@dataclass
class Group:
    """A sandbox of three organisations with tokens and limits of their own, and a database that has them as rows."""

    sandbox: Running
    database: Database
    directory: Path

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TDS_", "ZOHO_"))}
        return kept | {
            "TDS_DATABASE_URL": self.database.conninfo,
            "TDS_DATA_DIR": str(self.directory),
            "TDS_ENV_FILE": "",
            "ZOHO_MINUTE_SECONDS": str(MINUTE_SECONDS),
            "ZOHO_API_BASE": self.sandbox.url,
            "ZOHO_ACCOUNTS_BASE": self.sandbox.url,
        }

    def reference(self, organization: str, **changed: str) -> str:
        """A file with its credentials."""
        path = self.directory / f"{organization}.env"
        found = environment(self.sandbox.sandbox, self.sandbox.url, organization) | changed
        names = ("ZOHO_CLIENT_ID", "ZOHO_CLIENT_SECRET", "ZOHO_REFRESH_TOKEN")
        secret = f"ZOHO_WEBHOOK_SECRET=secret{organization}\n"
        path.write_text("".join(f"{name}={found[name]}\n" for name in names) + secret)
        path.chmod(0o600)
        return f"file:{path}"

    def run(self, name: str, *arguments: str, code: int = 0) -> Any:
        """A command, in this process: what it prints, parsed if it is JSON; or its refusal."""
        module, _, function = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), function)
        done = CliRunner().invoke(command, arguments, env=self.environment())
        error = done.exception
        if isinstance(error, Exception):
            assert code == FAILED, (name, arguments, repr(error))
            return explanation(error)
        assert done.exit_code == code, (name, arguments, done.output)
        return json.loads(done.stdout) if "--json" in arguments else done.output

    def value(self, query: str, *parameters: object) -> Any:
        with self.database.connect(autocommit=True) as conn:
            row = conn.execute(query, parameters).fetchone()
        assert row is not None
        return row[0]

    def until(self, query: str, *parameters: object) -> None:
        wait_until(lambda: self.value(query, *parameters), query)

    def process(self) -> None:
        with self.database.connect(autocommit=True) as conn:
            while drain(conn)["claimed"]:
                pass

    def items(self, organization: str) -> dict[str, str]:
        """Names of items by id, as they are in the books."""
        lines = self.sandbox.sandbox.organisations[organization].truth_lines("items", "list")
        return {row["id"]: row["document"]["name"] for row in map(json.loads, lines)}

    def mirrored(self, organization: str) -> dict[str, str]:
        query = "select coalesce(jsonb_object_agg(zoho_item_id, name), '{}') from zoho.products where organization_id = %s"
        found: dict[str, str] = self.value(query, organization)
        return found


@pytest.fixture
def group(database: Database, tmp_path: Path) -> Iterator[Group]:
    organisations = [
        Organisation(
            seed=n, organization_id=each, items=items, contacts=3, invoices=2, clock=Clock(600), lenient=True
        )
        for n, (each, items) in enumerate(SIZES.items(), 1)
    ]
    credentials = {
        each: Credentials(client_id=f"1000.{each}", refresh_token=f"1000.refresh.{each}") for each in SIZES
    }
    limits = {each: LimitSettings(per_minute=most + 10) for each, most in PER_MINUTE.items()}
    with running(organisations, limits=limits, credentials=credentials) as sandbox:
        for account in sandbox.sandbox.accounts.values():
            account.lives *= round(60 / MINUTE_SECONDS)
        made = Group(sandbox, database, tmp_path)
        for each in SIZES:
            made.value(
                "select (tds.org_add(%s, credentials => %s, calls_per_minute => %s)).state",
                *(each, made.reference(each), PER_MINUTE[each]),
            )
        yield made


def test_one_migrates_one_is_revoked_one_is_live_and_all_end_right(group: Group) -> None:
    group.sandbox.sandbox.accounts[REVOKED].revoked = True
    live, settings = (
        group.sandbox.sandbox.organisations[LIVE],
        ReceiverSettings(organization_id=None, connections=1),
    )
    log = (group.directory / "poller.log").open("w")
    poller = subprocess.Popen(
        [sys.executable, "-m", "tds_cli", "poll", "--no-images"], env=group.environment(), stderr=log
    )
    try:
        group.value("select tds.want('products', %s, %s)", next(iter(group.items(LIVE))), LIVE)
        group.value("select tds.request_pull('products', '{}', %s)", LARGE)
        for each in (LARGE, REVOKED):
            for entity in ("customers", "invoices"):
                group.value("select tds.request_pull(%s, '{}', %s)", entity, each)
        with serving(group.database.conninfo, settings) as receiver:
            webhooks = group.sandbox.sandbox.webhooks[LIVE]
            path = f"/api/zoho/{LIVE}/webhooks/items"
            webhooks.configure(url=str(receiver.base_url), secret=f"secret{LIVE}", paths={"products": path})
            edited = {live.edit("items").id for _ in range(8)}
            assert webhooks.drain(PATIENCE)
            assert {delivery.state for delivery in webhooks.deliveries} == {"delivered"}
        group.until(
            "select count(*) = %s from zoho.products where organization_id = %s and zoho_item_id = any (%s)",
            *(len(edited), LIVE, list(edited)),
        )
        group.until("select refused is not null from tds_organizations where organization_id = %s", REVOKED)
        group.until(
            "select count(*) > 0 from zoho.products where organization_id = %s and sync_rank = 3", LIVE
        )
        group.until(
            "select bool_and(state = 'complete') from tds.run where organization_id = %s and requested_at is not null",
            LARGE,
        )
        listed = group.run("org", "list", "--json", code=FAILED)
        assert {row["organization_id"] for row in listed if row["refused"]} == {REVOKED}
        health = group.value("select told from tds.health() where name = 'api_refused'")
        assert REVOKED in health
        assert LIVE not in health
        # mended where its credentials stand, which is noticed
        account = group.sandbox.sandbox.accounts[REVOKED]
        account.revoked = False
        known = account.credentials
        told = {"client_id": known.client_id, "client_secret": known.client_secret}
        told |= {"grant_type": "authorization_code", "code": account.make_grant_code()}
        group.reference(REVOKED, ZOHO_REFRESH_TOKEN=str(account.token(told, "")["refresh_token"]))
        group.until(
            "select count(*) = 2 from tds.run where organization_id = %s and state = 'complete'", REVOKED
        )
        group.until("select refused is null from tds_organizations where organization_id = %s", REVOKED)
    finally:
        poller.terminate()
        poller.wait(PATIENCE)
        log.close()
    assert poller.returncode == 0, (group.directory / "poller.log").read_text()
    assert group.mirrored(LARGE) == group.items(LARGE)
    assert group.mirrored(LIVE).items() <= group.items(LIVE).items()
    assert edited <= group.mirrored(LIVE).keys()
    assert not group.sandbox.ledger.violations


def test_commands_serve_all_or_those_that_are_named(group: Group) -> None:
    done = group.run("migrate", "--json", "--org", LIVE, "--org", REVOKED)
    assert [each["organization_id"] for each in done["organisations"]] == [REVOKED, LIVE]
    assert group.mirrored(LARGE) == {}
    for each in (LIVE, REVOKED):
        assert group.mirrored(each) == group.items(each)
    assert group.run("verify", "--org", LIVE, "--json")["agree"]
    several = group.run("verify", "--org", LIVE, "--org", REVOKED, "--json")["organisations"]
    assert [each["agree"] for each in several] == [True, True]
    (group.directory / f"{LARGE}.env").write_text("ZOHO_CLIENT_ID=x\n")
    told = group.run("plan", "--json", code=FAILED)["organisations"]
    assert [each["organization_id"] for each in told if "error" in each] == [LARGE]
    assert "ZOHO_REFRESH_TOKEN" in next(each["error"] for each in told if "error" in each)
    assert "There is no organisation 5" in group.run("pull", "products", "--org", "5", code=FAILED)
    doctor = group.run("doctor", "--json", code=FAILED)
    assert any(LARGE in check["said"] and not check["ok"] for check in doctor["checks"])
    assert f"/api/zoho/{LIVE}/webhooks/items" in json.dumps(
        group.run("webhooks", "--url", "https://tds.example.com", "--org", LIVE, "--json")
    )
    assert not group.sandbox.ledger.violations


def test_what_is_refused_is_not_stored_and_what_is_removed_is_gone(group: Group) -> None:
    for wrong in (
        ["add", "5", "--credentials", "env:NOBODY_"],
        ["add", "5", "--credentials", "file:/no/such/file"],
        ["add", "5", "--credentials", "1000.secret"],
        ["add", LIVE, "--credentials", group.reference(LIVE)],
        ["remove", "5", "--yes"],
    ):
        said = group.run("org", *wrong, code=FAILED)
        assert len(said.splitlines()) > 1, said
        assert "1000." not in said
    assert len(group.run("org", "list", "--json")) == 3
    group.run("org", "pause", LIVE, "--reason", "audit")
    assert "is paused" in group.run("migrate", "--org", LIVE, code=FAILED)
    group.run("org", "resume", LIVE)
    group.run("pull", "products", "--no-details", "--org", LIVE, code=FAILED)
    group.run("pull", "customers", "--org", LIVE)
    with group.database.connect(autocommit=True) as conn:
        conn.execute("update tds.setting set value = '0' where name = 'org_remove_grace_seconds'")
    removed = group.run("org", "remove", LIVE, "--yes", "--json", "--rows", "10")
    assert removed["state"] == "removed"
    assert removed["rows"] > 10
    assert group.mirrored(LIVE) == {}
    assert {row["organization_id"] for row in group.run("org", "list", "--json")} == {LARGE, REVOKED}


def test_where_all_are_paused_nothing_passes_for_done(group: Group) -> None:
    """Exit code 0 of tds verify says that all agrees: not where nobody was asked."""
    paused = [row["organization_id"] for row in group.run("org", "list", "--json")]
    for organization_id in paused:
        group.run("org", "pause", organization_id)
    for command in ("verify --yes", "verify --depth inside", "repair products 1", "repair --all-differing", "reconcile", "images",
                    "plan", "migrate", "migrate --dry-run", "pull products", "webhooks --url https://tds.example.com"):  # fmt: skip
        name, *arguments = command.split()
        said = group.run(name, *arguments, "--json", code=FAILED)
        assert f"No organisation is active, so nothing was asked: {paused[0]} is paused" in said
        assert "Next: tds org list" in said
    # what does what is due has nothing to do
    assert group.run("poll", "--once", "--json") == []
    with group.database.connect(autocommit=True) as conn:
        conn.execute(
            "update tds.organization set state = 'removing' where organization_id <> %s", [paused[0]]
        )
    assert group.run("pull", "products", code=FAILED).endswith(f"Next: tds org resume {paused[0]}")


def test_one_that_is_let_go_of_ends_no_session_of_the_others(database: Database) -> None:
    """They share one, whose life says what they have taken."""

    async def ask() -> list[int]:
        pids = []
        async with Session(database.conninfo) as session:
            for _ in range(2):
                pids.append((await session.row("select pg_backend_pid() as pid"))["pid"])
                asking = asyncio.create_task(session.row("select pg_sleep(0.1)::text as slept"))
                await asyncio.sleep(0.02)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
        return pids

    assert len(set(asyncio.run(ask()))) == 1
