"""The access token: kept in the database, fetched by one process for all, two minutes early.

The database, its logs and its backups never see it: what is kept there is sealed with a key that comes of the
refresh token, which all processes of an account have in their environment and the database does not.
"""

import asyncio
import base64
import hashlib
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from psycopg.errors import InsufficientPrivilege

from tds_poller.zoho.budget import TOLD_SECONDS
from tds_poller.zoho.errors import AuthorizationError, LimitError
from tds_poller.zoho.retry import json_object, plain, retried
from tds_poller.zoho.session import Session
from tds_poller.zoho.settings import DATA_CENTRES, ZohoSettings

log = logging.getLogger(__name__)

API_HOSTS = {hosts.api for hosts in DATA_CENTRES.values()}
SECRET = re.compile("[!-~]{1,8000}")  # what a header takes; of another one the client's error would show it
LIFETIME = 3600.0  # seconds, as Zoho's documents have it
UNAUTHORIZED = 57  # a scope is missing, or the token is none; 14 is said of tokens alone
TRUSTED_MINUTES = 10  # that a token is taken to be right which has taken a rejected one's place

AGAIN = "The same is not sent again, unless an operator says: select tds.allow_refresh();"
# What the token endpoint answers, with HTTP 200, when it refuses. For good: tds.is_final_refusal().
REFUSALS = {
    "invalid_code": (
        "Zoho no longer accepts the refresh token: it was revoked, or 20 newer ones were made.",
        f"Next: tds connect, which makes another ZOHO_REFRESH_TOKEN. Is ZOHO_DC right? {AGAIN}",
    ),
    "invalid_client": (
        "Zoho does not know this client.",
        "Check ZOHO_CLIENT_ID, and ZOHO_DC: a client belongs to one data centre. Next: tds connect",
    ),
    "invalid_client_secret": (
        "Zoho does not accept the client secret.",
        "Check ZOHO_CLIENT_SECRET; with the right one it works at once. Next: tds connect",
    ),
    "access_denied": (
        "Zoho gives out no more tokens for now: 10 in 10 minutes are the limit.",
        "Wait ten minutes, and see what else uses this refresh token. Next: tds doctor",
    ),
}


@dataclass(frozen=True, slots=True)
class Token:
    """An access token for calls to `api_base`; `api_domain` is the host that the accounts server named."""

    secret: str
    api_base: str
    api_domain: str = ""
    sealed: str = ""
    """As the database keeps it."""

    def __repr__(self) -> str:
        return f"Token(api_base={self.api_base!r})"


class TokenSource:
    """Gives the token in force.

    Args:
        http: client to ask with.
        session: the lasting connection: the lock of who refreshes is that session's.
        settings: whose client, refresh token and data centre to use.
        minute_seconds: length of a minute: less than 60 only against a sandbox whose clock runs faster.
    """

    def __init__(
        self, http: httpx.AsyncClient, session: Session, settings: ZohoSettings, minute_seconds: float
    ) -> None:
        self._minute = minute_seconds
        self._http = http
        self._session = session
        self._settings = settings
        secret = settings.refresh_token.get_secret_value()
        self._account = hashlib.sha256(secret.encode()).hexdigest()
        self._credentials = fingerprint(settings)
        self._seal = _seal(secret)
        self._rejected: str | None = None
        self._kept: Token | None = None
        self._kept_until = 0.0
        self._trusted_until = 0.0
        self._turn = asyncio.Lock()
        self._warned = False

    async def get(self) -> Token:
        """The token in force, refreshed if it ends within two minutes.

        Raises:
            AuthorizationError: Zoho refuses; no further token is asked for by this call.
            LimitError: Zoho gives out no more tokens for longer than the settings allow to wait.
            UnreachableError: the accounts server does not answer.
        """
        async with self._turn:
            if self._kept and time.monotonic() < self._kept_until:
                return self._kept
            while True:
                asked_at = time.monotonic()
                try:
                    row = await self._session.row(
                        "select * from tds.access_token(%s, %s, %s, %s)",
                        *(self._account, self._rejected, self._minute, self._credentials),
                    )
                except InsufficientPrivilege:
                    told = "This login of the database may not ask Zoho: the access token is the poller's."
                    raise AuthorizationError(told, "Use a login of tds_poller: tds db roles") from None
                match row["state"]:
                    case "ok":
                        token = self._unsealed(row["access_token"], row["api_domain"])
                        if token is None:
                            self._rejected = row["access_token"]
                            continue
                        self._kept, self._kept_until = token, asked_at + row["good_seconds"]
                        return token
                    case "refresh":
                        return await self._refresh()
                    case "refused":
                        raise AuthorizationError(*_refusal(row["reason"]))
                seconds: float = row["wait_seconds"]
                if seconds > self._settings.longest_wait:
                    hint = (
                        f"Try again in {seconds / 60:.1f} minutes, and see what else uses this refresh token."
                    )
                    raise LimitError(f"No access token: {row['reason']}.", seconds, hint)
                if seconds > TOLD_SECONDS:
                    log.warning("No access token: %s; nothing is asked for %.0f s.", row["reason"], seconds)
                await asyncio.sleep(seconds)

    def reject(self, token: Token, code: int | None) -> None:
        """Has a token that the API did not accept replaced, unless another is in force already.

        Or unless one was just now, and what Zoho says may be of a scope: what is refused with that token is
        refused for want of one, and a token for each such call would be more than Zoho gives out.

        Args:
            token: the one that was sent.
            code: of Zoho's answer; None: it told none.
        """
        if code == UNAUTHORIZED and time.monotonic() < self._trusted_until:
            return
        self._rejected = token.sealed
        if self._kept == token:
            self._kept = None

    async def _refresh(self) -> Token:
        asked_at = time.monotonic()
        error = "unreachable"
        try:
            answer = await retried("POST /oauth/v2/token", self._ask)
            error = refusal_of(answer)
            secret, lifetime = token_of(answer, "access_token"), _lifetime(answer)
        except BaseException as failure:
            # Whatever it was, the others must not wait for this one.
            await asyncio.shield(
                self._session.row(
                    "select tds.refresh_failed(%s, %s, %s, %s)",
                    *(self._account, error[:100], self._minute, self._credentials),
                )
            )
            if isinstance(failure, KeyError):
                raise AuthorizationError(*_refusal(error)) from None
            raise
        domain = plain(answer.get("api_domain") or "", 200).rstrip("/")
        sealed = self._seal.encrypt(secret.encode()).decode()
        await self._session.row(
            # By the database's clock: this computer's may be hours wrong.
            "select tds.store_access_token(%s, %s, %s, %s, tds.now() - make_interval(secs => %s))",
            *(self._account, sealed, domain, lifetime * self._minute / 60, time.monotonic() - asked_at),
        )
        if self._rejected is not None:
            self._trusted_until = time.monotonic() + TRUSTED_MINUTES * self._minute
        return self._token(secret, domain, sealed)

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

    def _unsealed(self, sealed: str, domain: str) -> Token | None:
        """The token that is kept; None if it was not sealed with this key, so that another is asked for."""
        try:
            secret = self._seal.decrypt(sealed.encode()).decode()
        except InvalidToken:
            log.warning("The access token in the database was not sealed by this version; asking for another")
            return None
        return self._token(secret, domain, sealed)

    def _token(self, secret: str, domain: str, sealed: str) -> Token:
        configured = self._settings.hosts.api
        if domain in {"", configured}:
            return Token(secret, configured, domain, sealed)
        if not self._warned and not self._settings.api_base:
            self._warned = True
            told = "The organisation lives at %s, not in the data centre of ZOHO_DC=%s."
            log.warning(told, domain[:100], self._settings.dc)
        followed = domain in API_HOSTS and not self._settings.api_base
        return Token(secret, domain if followed else configured, domain, sealed)


def _seal(refresh_token: str) -> Fernet:
    key = HKDF(SHA256(), 32, salt=None, info=b"tds access token").derive(refresh_token.encode())
    return Fernet(base64.urlsafe_b64encode(key))


def _refusal(error: str) -> tuple[str, str]:
    return REFUSALS.get(error, (f"Zoho refuses a token: {error[:100]}.", "Next: tds doctor"))


def refusal_of(answer: Mapping[str, Any]) -> str:
    """Why the accounts server gave no token, in one spelling."""
    said = answer.get("error")
    return plain(said, 200).lower().replace(" ", "_") if said else "no access_token in the answer"


def token_of(answer: Mapping[str, Any], name: str) -> str:
    """A token that the accounts server gave.

    Args:
        answer: of the accounts server.
        name: access_token or refresh_token.

    Raises:
        KeyError: there is none, or what is there can be none.
    """
    secret = answer[name]
    if not isinstance(secret, str) or not SECRET.fullmatch(secret):
        raise KeyError(name)
    return secret


def _lifetime(answer: Mapping[str, Any]) -> float:
    """Seconds that it lasts; what is no such number is not believed."""
    try:
        seconds = float(answer.get("expires_in", LIFETIME))
    except (TypeError, ValueError, OverflowError):
        return LIFETIME
    return seconds if 0 <= seconds < 2**31 else LIFETIME


def fingerprint(settings: ZohoSettings) -> str:
    """Of all that decides what the accounts server answers; it tells nothing of what it is made of."""
    sent = (
        settings.hosts.accounts,
        settings.client_id,
        settings.client_secret.get_secret_value(),
        settings.refresh_token.get_secret_value(),
    )
    return hashlib.sha256("\0".join(sent).encode()).hexdigest()
