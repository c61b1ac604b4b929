"""`tds webhooks`: what Zoho is to be told, made through its API, and compared with it; against the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tds_cli.main import main
from tds_poller.zoho import retry
from tds_poller.zoho.webhooks import MODULES, RULES, bounds
from tds_sandbox.automation import MODULES as KNOWN
from tds_sandbox.webhooks import Webhooks
from tests.db.servers import Database
from tests.poller.conftest import Poller, small_sandbox

URL = "https://tds.example.com"
SECRET = "abcdefghijkl0123456789"


class Zoho:
    """The organisation's settings, and the command."""

    def __init__(self, hooks: Webhooks) -> None:
        self.hooks = hooks
        self.automation = hooks.automation

    def tds(self, *arguments: str) -> Result:
        """Runs `tds webhooks …`."""
        return CliRunner().invoke(main, ["webhooks", *arguments], prog_name="tds")

    def states(self, *arguments: str) -> dict[str, str]:
        """How each stands."""
        answer = json.loads(self.tds(*arguments, "--json").stdout)
        return {row["webhook"]: row["state"] for row in answer["webhooks"]}


@pytest.fixture
def zoho(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> Zoho:
    monkeypatch.setattr(retry, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setenv("TDS_DATABASE_URL", poller.database.conninfo)
    monkeypatch.setenv("ZOHO_MINUTE_SECONDS", "0.1")
    for name, value in poller.sandbox.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TDS_PUBLIC_URL", URL)
    monkeypatch.setenv("ZOHO_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("ZOHO_WEBHOOK_SECRETS__INVOICES", "forinvoicesonly1,old" + SECRET)
    return Zoho(poller.sandbox.webhooks)


def test_what_the_form_wants(zoho: Zoho) -> None:
    rows: list[dict[str, Any]] = json.loads(zoho.tds("--json").stdout)
    assert len(rows) == len(MODULES) * len(RULES) == 18
    assert set(MODULES) == set(KNOWN)
    by_url = {row["url"]: row for row in rows}
    invoices = by_url[f"{URL}/api/zoho/webhooks/invoices"]
    assert invoices == {
        "name": "TDS invoices add or edit",
        "module": "invoice",
        "rule": "add or edit",
        "method": "POST",
        "url": f"{URL}/api/zoho/webhooks/invoices",
        "body": "Raw: ${JSONString}",
        "secret": "forinvoicesonly1",
    }
    assert by_url[f"{URL}/api/zoho/webhooks/items?event=delete"]["secret"] == SECRET
    assert all(len(row["name"]) <= 50 for row in rows)


def test_made_once_and_compared(zoho: Zoho, poller: Poller) -> None:
    assert set(zoho.states("check").values()) == {"missing"}
    assert zoho.tds("check").exit_code == 4
    made = zoho.tds("create")
    assert made.exit_code == 0, made.output
    assert (len(zoho.automation.webhooks), len(zoho.automation.workflows)) == (18, 18)
    assert SECRET not in made.output
    calls = len(poller.sandbox.ledger.calls)
    assert zoho.tds("create").exit_code == 0
    assert all(call.method == "GET" for call in list(poller.sandbox.ledger.calls)[calls:])
    assert zoho.tds("check").exit_code == 0
    # what went wrong in between is found, each with its reason
    hooks = list(zoho.automation.webhooks.values())
    rules = list(zoho.automation.workflows.values())
    hooks[0]["method"] = "PUT"
    hooks[1]["url"] = "https://elsewhere.example.com/"
    rules[2]["is_active"] = False
    rules[3]["rule_type"] = "add"
    del zoho.automation.workflows[rules[4]["workflow_id"]]
    rules[5]["is_active"] = "false"
    states = list(zoho.states("check").values())
    assert states == [
        *("differs", "differs", "rule is off", "differs", "without rule", "rule is off"),
        *["set"] * 12,
    ]
    # what is there is left as it is
    assert zoho.tds("create").exit_code == 4
    assert list(zoho.states("check").values()) == [
        *("differs", "differs", "rule is off", "differs", "set", "rule is off"),
        *["set"] * 12,
    ]


def test_what_was_made_is_sent_and_signed(zoho: Zoho, poller: Poller) -> None:
    assert zoho.tds("create").exit_code == 0
    poller.sandbox.organisation.edit("invoices")
    poller.sandbox.organisation.delete("items")
    sent = {delivery.url: delivery for delivery in zoho.hooks.deliveries}
    assert {f"{URL}/api/zoho/webhooks/invoices", f"{URL}/api/zoho/webhooks/items?event=delete"} <= set(sent)
    assert all(delivery.signature for delivery in sent.values())


def test_a_token_that_may_not(zoho: Zoho, poller: Poller) -> None:
    poller.sandbox.sandbox.oauth.lacking = frozenset({"settings.CREATE"})
    refused = zoho.tds("create")
    assert refused.exit_code == 1
    assert "Next: tds connect --webhooks" in refused.stderr
    assert zoho.automation.webhooks == {}


def test_what_the_plan_does_not_allow(zoho: Zoho) -> None:
    zoho.automation.plan = "Standard"
    done = zoho.tds("create")
    assert done.exit_code == 4
    assert "The plan Standard has no workflow rules" in done.stderr
    assert zoho.automation.webhooks == {}
    zoho.automation.plan = "Premium"
    for number in range(9):
        zoho.automation.create_workflow(
            {"workflow_name": f"mine {number}", "entity": "bill", "rule_type": "add"}
        )
    done = zoho.tds("check")
    assert "bill: 9 rules, and 2 are missing; 10 are allowed." in done.stderr
    assert "bill: " in zoho.tds("create").stderr
    states = zoho.states("check")
    assert [name for name, state in states.items() if state != "set"] == ["TDS bills delete"]
    assert bounds([], [], "Premium", 950) != bounds([], [], "Premium", 100) == []


@pytest.mark.parametrize(
    ("name", "value"), [("TDS_PUBLIC_URL", ""), ("ZOHO_WEBHOOK_SECRET", "not/alnum/secret")]
)
def test_what_zoho_would_not_take(zoho: Zoho, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    done = zoho.tds()
    assert (done.exit_code, "Next: " in done.stderr, value in done.stderr) == (1, True, not value)


@pytest.fixture
def poller(database: Database) -> Iterator[Poller]:
    """On a sandbox of its own."""
    with small_sandbox() as sandbox:
        yield Poller(sandbox, database)
