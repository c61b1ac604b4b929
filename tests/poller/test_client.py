"""The client against the sandbox: tokens, classes of error, limits."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from tds_poller.mirror import Mirror
from tds_poller.zoho import retry
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.errors import (
    AuthorizationError,
    LimitError,
    NotFoundError,
    RefusedError,
    UnauthorizedError,
    UnreachableError,
)
from tds_poller.zoho.oauth import Token, TokenSource
from tds_poller.zoho.settings import ZohoSettings
from tds_sandbox.clock import Clock
from tds_sandbox.oauth import Credentials
from tds_sandbox.organisation import Organisation
from tests.db.servers import Database
from tests.journeys.programs import free_port
from tests.poller.conftest import Poller, fast_sandbox


async def get(client: ZohoClient, _: Mirror) -> bytes:
    """One call."""
    return (await client.get("/items", {"per_page": 1})).body


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without the waiting."""
    monkeypatch.setattr(retry, "PAUSES", (0.01, 0.01, 0.01))


def tokens(poller: Poller) -> int:
    """How many tokens were asked for."""
    return poller.sandbox.ledger.by_path["POST /oauth/v2/token"]


def test_one_token_serves_all_who_wait(poller: Poller) -> None:
    async def many(client: ZohoClient, mirror: Mirror) -> None:
        await asyncio.gather(*(get(client, mirror) for _ in range(20)))

    poller.run(many)
    assert tokens(poller) == 1
    assert poller.sandbox.limits.most_in_process <= 5


def test_a_token_that_ended_is_replaced_once(poller: Poller) -> None:
    async def again(client: ZohoClient, mirror: Mirror) -> None:
        await get(client, mirror)
        poller.sandbox.sandbox.oauth.revoke_tokens()
        await get(client, mirror)

    poller.run(again)
    assert tokens(poller) == 2


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"refresh_token": "1000.wrong"}, "ZOHO_REFRESH_TOKEN"),
        ({"client_id": "wrong"}, "ZOHO_CLIENT_ID"),
        ({"client_secret": "wrong"}, "ZOHO_CLIENT_SECRET"),
    ],
)
def test_refusals_that_come_with_http_200(
    poller: Poller, changes: dict[str, str], hint: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(AuthorizationError) as raised:
        poller.run(get, **changes)
    assert hint in raised.value.hint
    assert tokens(poller) == 1
    shown = caplog.text + str(raised.value) + repr(poller.settings(**changes))
    for name in ("client_secret", "refresh_token"):
        assert changes.get(name, poller.sandbox.environment[f"ZOHO_{name.upper()}"]) not in shown


def test_the_token_is_in_no_log(poller: Poller, caplog: pytest.LogCaptureFixture) -> None:
    async def token(client: ZohoClient, mirror: Mirror) -> str:
        await get(client, mirror)
        return (await client.token()).secret

    with caplog.at_level(logging.DEBUG):
        secret = poller.run(token)
    assert secret
    assert secret not in caplog.text


@pytest.mark.parametrize("fault", ["500", "502", "cut_before", "cut_within"])
def test_faults_are_tried_again_three_times(poller: Poller, fault: str) -> None:
    poller.sandbox.faults.set(next=[fault] * 3)
    assert poller.run(get).startswith(b'{"code":0')
    poller.sandbox.faults.set(next=[fault] * 4)
    with pytest.raises(UnreachableError, match=r"GET /items: .*4 times in a row"):
        poller.run(get)


def test_a_token_is_asked_for_four_times_and_no_more(poller: Poller) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UnreachableError, match=r"POST /oauth/v2/token: .*4 times in a row"):
        poller.run(get, accounts_base=nobody)


def test_what_is_wrong_is_not_tried_again(poller: Poller) -> None:
    async def wrong(client: ZohoClient, _: Mirror) -> None:
        with pytest.raises(RefusedError, match="code 2: Invalid value passed for page") as refused:
            await client.get("/items", {"page": "x"})
        assert not isinstance(refused.value, NotFoundError)
        with pytest.raises(NotFoundError, match="code 1002"):
            await client.get("/items/123456789012345")
        with pytest.raises(RefusedError, match="code 5"):
            await client.get("/pricelists")
        assert client.calls == 3

    poller.run(wrong)
    with pytest.raises(RefusedError, match="6041") as refused:
        poller.run(get, organization_id="10234695")
    assert "ZOHO_ORGANIZATION_ID" in refused.value.hint


def test_a_scope_that_is_missing_is_an_error_after_one_refresh(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong_token(_: object) -> Token:
        return Token("wrong", poller.sandbox.url)

    monkeypatch.setattr(TokenSource, "get", wrong_token)
    with pytest.raises(UnauthorizedError, match="HTTP 401"):
        poller.run(get)
    assert poller.sandbox.ledger.by_status["401"] == 2


def test_calls_without_their_scope_use_up_no_tokens(database: Database) -> None:
    scopes = ("ZohoBooks.settings.READ", "ZohoBooks.invoices.READ")
    organisation = Organisation(items=10, contacts=6, invoices=5, clock=Clock(600), lenient=True)

    async def ask(client: ZohoClient, mirror: Mirror) -> None:
        for _ in range(14):
            with pytest.raises(UnauthorizedError, match="code 57"):
                await client.get("/bills/123456")
        assert b"invoices" in (await client.get("/invoices")).body

    with fast_sandbox(organisation, credentials=Credentials(scopes=scopes)) as sandbox:
        poller = Poller(sandbox, database)
        poller.run(ask, minute_seconds=60, longest_wait=5)
        assert tokens(poller) == 2


@pytest.mark.parametrize(("code", "waits"), [("44", 0.2), ("1070", 0.001)])
def test_short_limits_are_waited_for(poller: Poller, code: str, waits: float) -> None:
    poller.sandbox.faults.set(next=[code])
    began = time.monotonic()
    assert poller.run(get).startswith(b'{"code":0')
    assert time.monotonic() - began >= waits


def test_a_limit_is_waited_for_three_times_and_no_more(poller: Poller) -> None:
    poller.sandbox.faults.set(next=["1070"] * 4)
    with pytest.raises(LimitError, match="code 1070"):
        poller.run(get)
    assert poller.sandbox.ledger.by_status["429"] == 4


def test_long_limits_are_an_error_that_says_until_when(poller: Poller) -> None:
    poller.sandbox.faults.set(next=["45"])
    with pytest.raises(LimitError, match="code 45") as limit:
        poller.run(get, longest_wait=1)
    assert "Run the same command again in" in limit.value.hint
    assert limit.value.seconds > 1
    with poller.database.connect(autocommit=True) as operator:
        operator.execute("select tds.resume_calls(organization_id) from tds_api_budget")
    poller.sandbox.faults.set(next=["43"])
    with pytest.raises(LimitError, match="code 43"):
        poller.run(get, longest_wait=1)


def test_data_centres() -> None:
    credentials = {"client_id": "a", "client_secret": "b", "refresh_token": "c", "organization_id": "1"}

    def hosts(**changes: str) -> tuple[str, str]:
        return ZohoSettings.model_validate(credentials | changes).hosts

    assert hosts(dc="us") == hosts(dc=".com") == ("https://accounts.zoho.com", "https://www.zohoapis.com")
    assert hosts(dc="ca") == ("https://accounts.zohocloud.ca", "https://www.zohoapis.ca")
    assert hosts(dc="eu", api_base="http://127.0.0.1:1/") == (
        "https://accounts.zoho.eu",
        "http://127.0.0.1:1",
    )
