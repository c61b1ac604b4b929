"""Answers that are well-mannered and make no sense: each is an error of that call, or no harm."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tds_poller.zoho import retry
from tds_poller.zoho.bounded import BoundedClient
from tds_poller.zoho.client import Reply, Skew, ZohoClient
from tds_poller.zoho.errors import AuthorizationError, RefusedError, UnreachableError
from tds_poller.zoho.grant import Client, Grant, exchange, organizations
from tds_poller.zoho.settings import Hosts, ZohoSettings
from tests.commands import tds
from tests.db.receivers import served
from tests.db.servers import Database

# What is tried here is the program.
pytestmark = pytest.mark.parametrize("test_server", ["pg18"], indirect=True)

TOKEN = b'{"access_token": "t", "expires_in": 3600}'
FINE = b'{"code": 0}'
DATE = "Mon, 30 Nov 2026 02:40:00 GMT"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without the waiting."""
    monkeypatch.setattr(retry, "PAUSES", (0.01, 0.01, 0.01))


@contextmanager
def answering(body: bytes, *, token: bytes = TOKEN, date: str = DATE, pause: float = 0) -> Iterator[str]:
    """A server that always answers so, a byte at a time where there is a pause between them; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(body)

        def do_POST(self) -> None:
            self._say(token)

        def _say(self, said: bytes) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response_only(200)
            self.send_header("Date", date)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            with suppress(OSError):
                for part in (bytes([byte]) for byte in said) if pause else [said]:
                    self.wfile.write(part)
                    time.sleep(pause)

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler) as url:
        yield url


def asked(database: Database, url: str) -> Reply:
    """The answer to one call; whatever becomes of it, the call is settled."""
    settings = ZohoSettings.model_validate(
        {"client_id": "1", "client_secret": "c", "refresh_token": "r", "organization_id": "7"}
        | {"api_base": url, "accounts_base": url, "minute_seconds": 0.1}
    )

    async def ask() -> Reply:
        async with ZohoClient(settings, database.conninfo) as client:
            return await client.get("/items")

    try:
        return asyncio.run(ask())
    finally:
        with database.connect() as connection:
            query = "select count(*) from tds.api_call where settled_at is null"
            assert connection.execute(query).fetchone() == (0,)


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b'{"code": [0], "message": "no"}', RefusedError, r"code \[0\]: no"),
        (b'{"code": {}, "message": "no"}', RefusedError, r"code \{\}: no"),
        (b'{"code": true, "message": "no"}', RefusedError, "code True: no"),
        (b'{"code": 12345678901, "message": "no"}', RefusedError, "code 12345678901: no"),
        (b'{"code": 1, "message": "a\\ud800\\u0000"}', RefusedError, r"a\\ud800\\x00"),
        (b"[" * 100_000, UnreachableError, "without a JSON object, 4 times"),
    ],
)
def test_what_no_document_of_zohos_is(
    database: Database, body: bytes, kind: type[Exception], told: str
) -> None:
    with answering(body) as url, pytest.raises(kind, match=told):
        asked(database, url)


@pytest.mark.parametrize("zone", ["", " -0000", " GMT", " +0000"])
def test_a_date_without_a_zone_is_gmts(database: Database, zone: str) -> None:
    with answering(FINE, date=f"Mon, 30 Nov 2026 02:40:00{zone}") as url:
        assert asked(database, url).server_time == datetime(2026, 11, 30, 2, 40, tzinfo=UTC)


ODD_TOKENS: list[Any] = [None, 5, ["t"], "", "secret\n", "secret\0", "secret€", "secret\ud800"]


@pytest.mark.parametrize("given", ODD_TOKENS)
def test_what_can_be_no_token_is_refused_and_not_shown(database: Database, given: object) -> None:
    with answering(FINE, token=json.dumps({"access_token": given}).encode()) as url:
        with pytest.raises(AuthorizationError, match="no access_token in the answer") as refused:
            asked(database, url)
        with pytest.raises(AuthorizationError, match="no access_token in the answer") as at_first:
            asyncio.run(exchange(client(url), code=SecretStr("code")))
    assert "secret" not in f"{refused.value}{at_first.value}"


@pytest.mark.parametrize("given", ODD_TOKENS)
def test_what_can_be_no_refresh_token_is_not_kept(database: Database, given: object) -> None:
    token = json.dumps({"access_token": "t", "refresh_token": given}).encode()
    with answering(FINE, token=token) as url:
        with pytest.raises(AuthorizationError, match="Zoho gave no refresh token") as refused:
            asyncio.run(exchange(client(url), code=SecretStr("code")))
        # one that serves already stays
        kept = asyncio.run(exchange(client(url), refresh_token=SecretStr("r")))
    assert "secret" not in str(refused.value)
    assert kept.refresh_token.get_secret_value() == "r"


@pytest.mark.parametrize("seconds", [None, "soon", [], -5, float("nan"), float("inf"), 1e300])
def test_a_lifetime_that_is_none_is_the_usual_one(database: Database, seconds: object) -> None:
    told = {"access_token": "t", "expires_in": seconds, "api_domain": None}
    with answering(FINE, token=json.dumps(told).encode()) as url:
        assert asked(database, url).body == FINE
    with database.connect() as connection:
        [(ends,)] = connection.execute("select expires_at - now() from tds.api_token").fetchall()
    assert timedelta(seconds=4) < ends <= timedelta(seconds=6), "an hour where a minute has 0.1 s"


@pytest.mark.parametrize("error", ["a\0b", "a\ud800b", ["a"]])
def test_a_refusal_in_odd_letters_is_kept_and_told(database: Database, error: object) -> None:
    token = json.dumps({"error": error}).encode()
    with (
        answering(FINE, token=token) as url,
        pytest.raises(AuthorizationError, match="Zoho refuses a token: "),
    ):
        asked(database, url)


@pytest.mark.parametrize("code", [[57], {}, 10**30])
def test_the_first_list_of_organisations_makes_no_sense(code: object, database: Database) -> None:
    body = json.dumps({"code": code, "organizations": []}).encode()
    with answering(body) as url, pytest.raises(RefusedError, match="code "):
        asyncio.run(organizations(Grant(SecretStr("r"), SecretStr("t"), url, "")))


def client(url: str) -> Client:
    """One that belongs to a server of ours."""
    return Client(Hosts(url, url), "1", SecretStr("c"))


def test_an_answer_that_trickles_is_not_waited_for(database: Database) -> None:
    async def ask(url: str) -> None:
        async with BoundedClient(longest=0.3, trust_env=False) as http:
            await http.get(url)

    with answering(FINE * 100, pause=0.02) as url:
        began = time.monotonic()
        with pytest.raises(httpx.ReadTimeout, match="the answer was not whole"):
            asyncio.run(ask(url))
        assert time.monotonic() - began < 10


ORGANIZATION = '{"code": 0, "organization": %s, "organizations": %s, "webhooks": [], "workflows": []}'


@pytest.mark.parametrize("odd", ["5", "null", '"x"', "[5]", "[]"])
@pytest.mark.parametrize("command", ["doctor", "webhooks check --url https://tds.example.com"])
def test_an_organisation_that_is_none_ends_no_command(database: Database, command: str, odd: str) -> None:
    with answering((ORGANIZATION % (odd, odd)).encode()) as url:
        settings = {"ZOHO_CLIENT_ID": "1", "ZOHO_CLIENT_SECRET": "c", "ZOHO_REFRESH_TOKEN": "r"}
        places = {"ZOHO_API_BASE": url, "ZOHO_ACCOUNTS_BASE": url, "TDS_DATABASE_URL": database.conninfo}
        done = tds({**settings, **places, "ZOHO_ORGANIZATION_ID": "7"}, *command.split())
    assert done.returncode in {1, 4}
    assert "fault of TDS" not in done.stderr
    assert "organisation" in done.stdout or "TDS items add or edit" in done.stdout


def test_an_answer_without_the_list_is_no_list_of_none(database: Database) -> None:
    with answering(b'{"code": 0, "message": "success"}') as url:
        settings = {"ZOHO_CLIENT_ID": "1", "ZOHO_CLIENT_SECRET": "c", "ZOHO_REFRESH_TOKEN": "r"}
        places = {"ZOHO_API_BASE": url, "ZOHO_ACCOUNTS_BASE": url, "TDS_DATABASE_URL": database.conninfo}
        given = {**settings, **places, "ZOHO_ORGANIZATION_ID": "7"}
        done = tds(given, "webhooks", "check", "--url", "https://tds.example.com")
    assert (done.returncode, done.stdout) == (1, "")
    assert "GET /settings/webhooks answered without webhooks." in done.stderr


def test_one_answer_of_another_time_dates_no_read_ahead(database: Database) -> None:
    """A Date years ahead would outrank every honest read until then; two that agree are Zoho's clock."""
    with answering(FINE, date="Thu, 01 Jan 2099 00:00:00 GMT") as url:
        reply = asked(database, url)
    assert abs(reply.sent_at - datetime.now(UTC)) < timedelta(days=1)
    with database.connect() as conn:
        assert conn.execute("select count(*) from tds.zoho_clock").fetchone() == (0,)
    skew, now = Skew(), datetime(2026, 6, 1, 12, tzinfo=UTC)

    def told(ahead: timedelta, at: datetime) -> float | None:
        return skew.narrowed(at + ahead, at, at)

    year, second = timedelta(days=365), timedelta(seconds=1)
    assert told(timedelta(), now) == 0
    assert told(year, now) is None
    assert told(timedelta(), now) == 0, "the next one says otherwise"
    assert told(year, now) is None
    assert told(year, now + second) == year.total_seconds()
    assert told(year, now + second) == year.total_seconds(), "it is known"
    assert told(-year, now + second) == -year.total_seconds(), "back at once"
