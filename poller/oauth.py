"""The access token: fetched once for all who wait, two minutes before the old one ends."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

import httpx

from poller.errors import AuthorizationError
from poller.retry import json_object, retried
from poller.settings import DATA_CENTRES, ZohoSettings

log = logging.getLogger(__name__)

EARLY_SECONDS = 120
API_HOSTS = {hosts.api for hosts in DATA_CENTRES.values()}

# What the token endpoint answers, with HTTP 200, when it refuses.
REFUSALS = {
    "invalid_code": (
        "Zoho no longer accepts the refresh token: it was revoked, or 20 newer ones were made.",
        "Make a new one at https://api-console.zoho.com and set ZOHO_REFRESH_TOKEN.",
    ),
    "invalid_client": (
        "Zoho does not know this client.",
        "Check ZOHO_CLIENT_ID, and ZOHO_DC: a client belongs to one data centre.",
    ),
    "invalid_client_secret": ("Zoho does not accept the client secret.", "Check ZOHO_CLIENT_SECRET."),
    "access_denied": (
        "Zoho gives out no more tokens for now: 10 in 10 minutes are the limit.",
        "Wait ten minutes, and see what else uses this refresh token.",
    ),
}


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, good for calls to `api_base` until `expires_at` on the monotonic clock."""

    secret: str
    api_base: str
    expires_at: float

    def __repr__(self) -> str:
        return f"Token(api_base={self.api_base!r})"


class TokenSource:
    """Gives the token in force.

    Args:
        http: client to ask with.
        settings: whose client, refresh token and data centre to use.
    """

    def __init__(self, http: httpx.AsyncClient, settings: ZohoSettings) -> None:
        self._http = http
        self._settings = settings
        self._token: Token | None = None
        self._refreshing = asyncio.Lock()

    async def get(self) -> Token:
        """The token in force, refreshed if it ends within two minutes.

        Raises:
            AuthorizationError: Zoho refuses; no further token is asked for by this call.
            UnreachableError: the accounts server does not answer.
        """
        async with self._refreshing:
            if self._token is None or self._token.expires_at - EARLY_SECONDS < time.monotonic():
                self._token = await self._refresh()
            return self._token

    def reject(self, token: Token) -> None:
        """Forgets a token that the API did not accept, unless a newer one is in force already."""
        if self._token is token:
            self._token = None

    async def _refresh(self) -> Token:
        asked_at = time.monotonic()
        answer = await retried("POST /oauth/v2/token", self._ask)
        try:
            secret, lifetime = answer["access_token"], float(answer.get("expires_in", 3600))
        except KeyError:
            error = str(answer.get("error", "no access_token in the answer")).lower().replace(" ", "_")
            message, hint = REFUSALS.get(error, (f"Zoho refuses a token: {error[:100]}.", ""))
            raise AuthorizationError(message, hint) from None
        return Token(secret, self._api_base(answer), asked_at + lifetime)

    async def _ask(self) -> dict[str, Any]:
        # As a form, not in the query as Zoho's page shows it: URLs end up in logs.
        response = await self._http.post(
            f"{self._settings.hosts.accounts}/oauth/v2/token",
            data={
                "grant_type": "refresh_token",
                "client_id": self._settings.client_id,
                "client_secret": self._settings.client_secret.get_secret_value(),
                "refresh_token": self._settings.refresh_token.get_secret_value(),
            },
        )
        return json_object(response)

    def _api_base(self, answer: dict[str, Any]) -> str:
        configured = self._settings.hosts.api
        domain = str(answer.get("api_domain", configured)).rstrip("/")
        if self._settings.api_base or domain == configured or domain not in API_HOSTS:
            return configured
        log.warning(
            "The organisation lives at %s, not in the data centre of ZOHO_DC=%s.", domain, self._settings.dc
        )
        return domain
