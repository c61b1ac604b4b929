"""A sandbox of the real company's size, served over HTTP, and clients for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import httpx
import pytest

from tds_sandbox.jsontext import decode
from tds_sandbox.limits import UNLIMITED
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running, running

# Reading the certificates of TLS takes longer than most tests here; nothing here is encrypted.
HTTP = httpx.Client(verify=False)
Documents = Callable[[str, str], list[dict[str, Any]]]


def get_token(url: str, environment: dict[str, str], **changes: str) -> dict[str, object]:
    """Ask the accounts server for an access token."""
    parameters = {
        "grant_type": "refresh_token",
        "client_id": environment["ZOHO_CLIENT_ID"],
        "client_secret": environment["ZOHO_CLIENT_SECRET"],
        "refresh_token": environment["ZOHO_REFRESH_TOKEN"],
    }
    answer = HTTP.post(f"{url}/oauth/v2/token", params=parameters | changes)
    assert answer.status_code == 200
    body: dict[str, object] = answer.json()
    return body


def sign_in(sandbox: Running) -> httpx.Client:
    """A client with a token and the organisation, on `/books/v3`."""
    token = get_token(sandbox.url, sandbox.environment)["access_token"]
    return httpx.Client(
        base_url=f"{sandbox.url}/books/v3",
        headers={"Authorization": f"Zoho-oauthtoken {token}"},
        params={"organization_id": sandbox.organisation.organization_id},
        verify=False,
    )


@pytest.fixture(scope="session")
def organisation() -> Organisation:
    """The real company's size. Shared: tests must not change it."""
    return Organisation(items=2205, contacts=2467, invoices=1000, lenient=True)


@pytest.fixture(scope="session")
def documents(organisation: Organisation) -> Documents:
    """All true documents of an entity in a shape; made once, as they are many."""

    @cache
    def made(entity: str, shape: str) -> list[dict[str, Any]]:
        return [decode(line)["document"] for line in organisation.truth_lines(entity, shape)]

    return made


@pytest.fixture(scope="session")
def served(organisation: Organisation) -> Iterator[Running]:
    """The same over HTTP, without limits. Shared: tests must not change it."""
    with running(organisation, limits=UNLIMITED) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def books(served: Running) -> Iterator[httpx.Client]:
    """A client of the shared sandbox."""
    with sign_in(served) as client:
        yield client
