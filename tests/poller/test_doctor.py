"""`tds doctor`: what is well is ok, and each fault has a line of its own and a next command."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import asdict
from typing import Any

import psycopg
import pytest

from tds_cli.doctor import Check, check_database, check_webhooks, check_zoho
from tds_poller.zoho import retry
from tds_poller.zoho.scopes import SCOPES
from tests.commands import tds
from tests.db.servers import Database
from tests.journeys.waiting import wait_until
from tests.poller.conftest import Poller
from tests.poller.test_worker import working


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without the waiting."""
    monkeypatch.setattr(retry, "PAUSES", (0.01, 0.01, 0.01))


def zoho(poller: Poller, **changes: object) -> dict[str, Check]:
    """The lines about Zoho."""

    async def run() -> dict[str, Check]:
        settings = poller.settings(**changes)
        return {check.check: check async for check in check_zoho(settings, poller.database.conninfo)}

    return asyncio.run(run())


def wrong(checks: dict[str, Check]) -> list[str]:
    """The names of those that are not ok; every one says what to do."""
    assert all(check.next for check in checks.values() if not check.ok)
    return [name for name, check in checks.items() if not check.ok]


def test_all_is_well(poller: Poller) -> None:
    checks = zoho(poller)
    scopes = [f"scope {name}" for name in SCOPES]
    assert list(checks) == [
        "token",
        "data centre",
        "organisation",
        "clock",
        *scopes,
        "stock by place",
        "activity log",
        "webhook failures",
        "quota",
    ]
    assert wrong(checks) == []
    # the token, the organisation, one call a scope, one to the Inventory API, and one for each feed of hints
    assert len(poller.sandbox.ledger.calls) == 14
    assert all("per_page=1&" in call.query for call in list(poller.sandbox.ledger.calls)[2:])
    assert checks["quota"].said == "9,988 of 10,000 calls left today"


def test_missing_scopes_are_named_one_by_one(poller: Poller) -> None:
    oauth = poller.sandbox.sandbox.oauth
    oauth.lacking = frozenset({"bills.READ", "debitnotes.READ"})
    checks = zoho(poller)
    assert wrong(checks) == ["scope bills", "scope debitnotes"]
    assert checks["scope debitnotes"].said == "the refresh token lacks ZohoBooks.debitnotes.READ"
    assert "ZohoBooks.debitnotes.READ" in checks["scope debitnotes"].next
    assert oauth.refreshed == 1  # a scope that is missing is not looked for in a new token


def test_without_settings_the_rest_is_looked_at(poller: Poller) -> None:
    poller.sandbox.sandbox.oauth.lacking = frozenset({"settings.READ"})
    assert wrong(zoho(poller)) == ["organisation", "scope settings"]


def test_another_organisation(poller: Poller) -> None:
    checks = zoho(poller, organization_id="10234695")
    assert wrong(checks) == ["organisation"]
    assert "code 6041" in checks["organisation"].said
    told = "Check ZOHO_ORGANIZATION_ID. Next: tds connect, which lists the organisations"
    assert checks["organisation"].next == told
    assert "scope bills" not in checks


def test_a_revoked_token(poller: Poller) -> None:
    poller.sandbox.sandbox.oauth.revoked = True
    checks = zoho(poller)
    assert list(checks) == wrong(checks) == ["token"]
    assert "ZOHO_REFRESH_TOKEN" in checks["token"].next


def test_another_data_centre(poller: Poller) -> None:
    poller.sandbox.sandbox.oauth.api_domain = "https://www.zohoapis.eu"
    checks = zoho(poller)
    assert wrong(checks) == ["data centre"]
    assert checks["data centre"].next == "set ZOHO_DC=eu"


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_wrong_clock(poller: Poller, ahead: float) -> None:
    poller.sandbox.sandbox.date_ahead = ahead
    checks = zoho(poller)
    assert wrong(checks) == ["clock"]
    said = re.search(r"Zoho's ([+-]\d+) s", checks["clock"].said)
    assert said is not None
    assert abs(float(said[1]) - ahead) < 30


def test_an_organisation_that_is_paused(poller: Poller) -> None:
    poller.sandbox.faults.set(next=["43"])
    checks = zoho(poller, minute_seconds=60)
    assert wrong(checks) == ["organisation"]
    assert "code 43" in checks["organisation"].said


def test_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def lines() -> dict[str, Check]:
        return {check.check: check for check in check_database(database.conninfo)}

    checks = lines()
    assert list(checks) == ["database", "schema", "pgmq", "pg_cron", "workers", "settings"]
    assert wrong(checks) == ["workers"]
    assert checks["workers"].next == "tds work &"
    assert ("in database" if database.leg == "pg15" else "not on this server") in checks["pg_cron"].said
    with working(database):
        wait_until(lambda: not wrong(lines()), "nothing is wrong")
    with database.connect(autocommit=True) as conn:
        conn.execute("update tds.sql_file set sha256 = 'x' where path like '%%budget.sql'")
    assert wrong(lines()) == ["schema", "workers"]
    assert lines()["schema"].next == "tds db upgrade"
    [nowhere] = check_database("host=127.0.0.1 port=1 dbname=x")
    assert not nowhere.ok
    monkeypatch.setenv("ZOHO_WEBHOOK_SECRET", "one,two")
    assert asdict(check_webhooks())["said"] == "2 set"
    monkeypatch.delenv("ZOHO_WEBHOOK_SECRET")
    assert not check_webhooks().ok


def test_an_empty_database(empty_database: Database) -> None:
    checks = {check.check: check for check in check_database(empty_database.conninfo)}
    assert {"schema", "pgmq"} <= set(wrong(checks))
    assert checks["pgmq"].next == "tds db upgrade"


def test_the_command(poller: Poller, environment: dict[str, str]) -> None:
    done = tds(environment, "doctor", "--json")
    assert done.returncode == 1
    answer: dict[str, Any] = json.loads(done.stdout)
    assert [check["check"] for check in answer["checks"] if not check["ok"]] == ["workers", "webhook secret"]
    assert answer["ok"] is False
    name = psycopg.conninfo.conninfo_to_dict(poller.database.conninfo)["dbname"]
    assert str(name) in next(check["said"] for check in answer["checks"] if check["check"] == "database")
    with working(poller.database):
        done = tds(environment | {"ZOHO_WEBHOOK_SECRET": "x" * 12}, "doctor")
        assert done.returncode == 0, done.stdout
    assert all(line.startswith("ok  ") for line in done.stdout.splitlines())
    assert "x" * 12 not in done.stdout
    done = tds({k: v for k, v in environment.items() if k != "ZOHO_CLIENT_ID"}, "doctor")
    assert done.returncode == 1
    assert "ZOHO_CLIENT_ID is not set" in done.stdout
