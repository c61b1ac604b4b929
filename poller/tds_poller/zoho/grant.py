"""Before anything is mirrored: a refresh token for a grant code, and the organisations that it opens."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from pydantic import SecretStr

from tds_poller.zoho.bounded import BoundedClient
from tds_poller.zoho.client import BOOKS, TIMEOUT
from tds_poller.zoho.errors import AuthorizationError, RefusedError, UnauthorizedError, UnreachableError
from tds_poller.zoho.oauth import API_HOSTS, REFUSALS, refusal_of, token_of
from tds_poller.zoho.retry import TransientError, code_of, json_object, plain
from tds_poller.zoho.settings import Hosts

SPENT = (
    "Zoho does not accept the grant code: it was used already, has expired, or is of another data centre.",
    "Make another one and give it at once. Is the data centre right, and the client the one of that code? "
    "Next: tds connect",
)


@dataclass(frozen=True, slots=True)
class Client:
    """A client registered in Zoho's console, and where it belongs."""

    hosts: Hosts
    client_id: str
    client_secret: SecretStr


@dataclass(frozen=True, slots=True)
class Grant:
    """What the accounts server gave: tokens, the organisation's API host and the scopes as it told them."""

    refresh_token: SecretStr
    access_token: SecretStr
    api: str
    scopes: str


@dataclass(frozen=True, slots=True)
class Organization:
    """A company in Zoho Books, as the list of them has it."""

    organization_id: str
    name: str
    plan: str


async def exchange(
    client: Client, *, code: SecretStr | None = None, refresh_token: SecretStr | None = None
) -> Grant:
    """Tokens for a grant code, which is good once, or for a refresh token.

    Raises:
        AuthorizationError: the accounts server refuses.
        UnreachableError: it does not answer.
    """
    form = {"client_id": client.client_id, "client_secret": client.client_secret.get_secret_value()}
    if code is not None:
        form |= {"grant_type": "authorization_code", "code": code.get_secret_value()}
    else:
        assert refresh_token is not None
        form |= {"grant_type": "refresh_token", "refresh_token": refresh_token.get_secret_value()}
    url = f"{client.hosts.accounts}/oauth/v2/token"
    # Not sent twice: what came of a code whose answer was lost nobody knows.
    answer = await _json("POST", url, data=form)
    try:
        access_token = token_of(answer, "access_token")
    except KeyError:
        error = refusal_of(answer)
        if error == "invalid_code" and code is not None:
            raise AuthorizationError(*SPENT) from None
        unknown = (f"Zoho refuses: {error[:100]}.", "Next: tds connect, with another grant code")
        raise AuthorizationError(*REFUSALS.get(error, unknown)) from None
    try:
        given = SecretStr(token_of(answer, "refresh_token"))
    except KeyError:
        if refresh_token is None:
            raise AuthorizationError(
                "Zoho gave no refresh token for this code: it was not made for a self client.",
                f"Register a Self Client at {client.hosts.console} and make a code there. Next: tds connect",
            ) from None
        given = refresh_token
    domain = str(answer.get("api_domain", "")).rstrip("/")
    api = domain if domain in API_HOSTS and client.hosts.api in API_HOSTS else client.hosts.api
    return Grant(given, SecretStr(access_token), api, str(answer.get("scope", "")))


async def organizations(grant: Grant) -> list[Organization]:
    """The organisations of the token's user that Zoho Books has: one call.

    Raises:
        UnauthorizedError: the token lacks the scope of settings.
        RefusedError: Zoho answers otherwise than with a list.
        UnreachableError: the API does not answer.
    """
    headers = {"Authorization": f"Zoho-oauthtoken {grant.access_token.get_secret_value()}"}
    answer = await _json("GET", f"{grant.api}{BOOKS}/organizations", headers=headers)
    if code_of(answer) in {57, 14}:
        raise UnauthorizedError(
            "The grant code lacks ZohoBooks.settings.READ: the organisations cannot be listed.",
            "Next: tds connect, with a code for the whole scope string",
        )
    listed = answer.get("organizations")
    if code_of(answer) != 0 or not isinstance(listed, list):
        code, said = plain(answer.get("code"), 100), plain(answer.get("message"), 200)
        told = f"{grant.api}{BOOKS}/organizations: code {code}: {said}"
        raise RefusedError(told, datetime.now(UTC), "Is ZOHO_API_BASE right? Next: tds connect")
    return [
        Organization(str(row["organization_id"]), str(row.get("name", "")), str(row.get("plan_name", "")))
        for row in listed
        if isinstance(row, dict) and row.get("organization_id")
    ]


def self_client(text: str) -> dict[str, str]:
    """What is in the file that the console's button Download makes.

    Raises:
        AuthorizationError: it is no such file.
    """
    try:
        document = json.loads(text)
        return {name: str(document[name]) for name in ("client_id", "client_secret", "code")}
    except (ValueError, KeyError, TypeError):
        told = "The file does not hold client_id, client_secret and code, as Zoho's console writes them."
        raise AuthorizationError(
            told, "Download it once more, or give its parts. Next: tds connect"
        ) from None


async def _json(method: str, url: str, **options: Any) -> dict[str, Any]:
    host = httpx.URL(url).host
    async with BoundedClient(timeout=TIMEOUT) as http:
        try:
            return json_object(await http.request(method, url, **options))
        except (httpx.TransportError, TransientError) as error:
            raise UnreachableError(
                f"{host} does not answer as Zoho does: {str(error) or type(error).__name__}.",
                "Check the network, ZOHO_DC, and ZOHO_ACCOUNTS_BASE and ZOHO_API_BASE if they are set. "
                "Next: tds connect",
            ) from None
