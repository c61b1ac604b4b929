"""The accounts server and its odd ways."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from tds_sandbox.clock import Clock
from tds_sandbox.oauth import Credentials
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running, running
from tests.sandbox.conftest import HTTP, get_token, sign_in


@pytest.fixture
def sandbox() -> Iterator[Running]:
    with running(Organisation(items=3, clock=Clock(start=1_790_000_000))) as started:
        yield started


def test_token_answer(sandbox: Running) -> None:
    body = get_token(sandbox.url, sandbox.environment)
    assert set(body) == {"access_token", "scope", "api_domain", "token_type", "expires_in"}
    assert (body["expires_in"], body["token_type"], body["api_domain"]) == (3600, "Bearer", sandbox.url)


def test_parameters_may_be_a_form(sandbox: Running) -> None:
    environment = sandbox.environment
    form = {
        "grant_type": "refresh_token",
        "client_id": environment["ZOHO_CLIENT_ID"],
        "client_secret": environment["ZOHO_CLIENT_SECRET"],
        "refresh_token": environment["ZOHO_REFRESH_TOKEN"],
    }
    assert "access_token" in HTTP.post(f"{sandbox.url}/oauth/v2/token", data=form).json()
    # Secrets in the query must not reach the ledger.
    get_token(sandbox.url, environment)
    assert environment["ZOHO_CLIENT_SECRET"] not in str(list(sandbox.ledger.lines()))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "x"}, "invalid_client"),
        ({"client_secret": "x"}, "invalid_client_secret"),
        ({"refresh_token": "x"}, "invalid_code"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_errors_come_with_http_200(sandbox: Running, changes: dict[str, str], error: str) -> None:
    assert get_token(sandbox.url, sandbox.environment, **changes) == {"error": error}


def test_revoked_refresh_token(sandbox: Running) -> None:
    with sign_in(sandbox) as books:
        HTTP.post(f"{sandbox.url}/_sandbox/oauth", json={"revoked": True})
        assert get_token(sandbox.url, sandbox.environment) == {"error": "invalid_code"}
        assert books.get("/items").status_code == 200
        HTTP.post(f"{sandbox.url}/_sandbox/oauth", json={"revoke_tokens": True})
        assert books.get("/items").json()["code"] == 14
        HTTP.post(f"{sandbox.url}/_sandbox/oauth", json={"revoked": False})
        assert "access_token" in get_token(sandbox.url, sandbox.environment)


def test_ten_tokens_in_ten_minutes(sandbox: Running) -> None:
    for _ in range(10):
        assert "access_token" in get_token(sandbox.url, sandbox.environment)
    refused = get_token(sandbox.url, sandbox.environment)
    assert refused["error"] == "Access Denied"
    assert [violation.kind for violation in sandbox.ledger.violations] == ["tokens"]
    sandbox.clock.advance(601)
    assert "access_token" in get_token(sandbox.url, sandbox.environment)


def test_tokens_expire_and_the_sixteenth_drops_the_oldest(sandbox: Running) -> None:
    with sign_in(sandbox) as books:
        sandbox.clock.advance(3599)
        assert books.get("/items").status_code == 200
        sandbox.clock.advance(2)
        answer = books.get("/items")
        assert (answer.status_code, answer.json()["code"]) == (401, 14)
    with sign_in(sandbox) as books:
        for _ in range(3):
            sandbox.clock.advance(601)
            for _ in range(5):
                get_token(sandbox.url, sandbox.environment)
        assert books.get("/items").json()["code"] == 14


@pytest.mark.parametrize("header", ["", "Zoho-oauthtoken", "Bearer {}", "{}"])
def test_another_header_is_no_authorisation(sandbox: Running, header: str) -> None:
    token = get_token(sandbox.url, sandbox.environment)["access_token"]
    url = f"{sandbox.url}/books/v3/items?organization_id={sandbox.organisation.organization_id}"
    answer = HTTP.get(url, headers={"Authorization": header.format(token)})
    assert answer.status_code == 401
    assert answer.json() == {"code": 57, "message": "You are not authorized to perform this operation"}
    assert "x-rate-limit-limit" not in answer.headers
    assert sandbox.limits.used_today == 0


def test_scopes() -> None:
    credentials = Credentials(scopes=("ZohoBooks.settings.READ",))
    with running(Organisation(items=3), credentials=credentials) as sandbox, sign_in(sandbox) as books:
        assert books.get("/items").status_code == 200
        assert (books.get("/contacts").status_code, books.get("/contacts").json()["code"]) == (401, 57)
        assert books.get("/invoices").json()["code"] == 57


def test_scopes_may_be_taken_from_the_next_tokens(sandbox: Running) -> None:
    with sign_in(sandbox) as before:
        told = HTTP.post(f"{sandbox.url}/_sandbox/oauth", json={"lacking": ["contacts.READ"]}).json()
        assert told["lacking"] == ["contacts.READ"]
        with sign_in(sandbox) as books:
            assert books.get("/items").status_code == 200
            assert books.get("/contacts").json()["code"] == 57
        assert before.get("/contacts").status_code == 200


def test_another_data_centre_and_another_time(sandbox: Running) -> None:
    HTTP.post(f"{sandbox.url}/_sandbox/oauth", json={"api_domain": "https://www.zohoapis.eu"})
    assert get_token(sandbox.url, sandbox.environment)["api_domain"] == "https://www.zohoapis.eu"
    HTTP.post(f"{sandbox.url}/_sandbox/clock", json={"date_ahead": 3600})
    with sign_in(sandbox) as books:
        date = parsedate_to_datetime(books.get("/items").headers["date"])
    assert 3590 < (date - datetime.now(UTC)).total_seconds() < 3610
