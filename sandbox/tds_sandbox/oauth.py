"""Zoho's accounts server: tokens for a grant code or a refresh token, with its errors in HTTP 200."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from tds_sandbox.clock import Clock
from tds_sandbox.errors import ApiError
from tds_sandbox.jsontext import Document

TOKEN_SECONDS = 3600
REFRESHES = 10
REFRESH_WINDOW = 600.0
LIVE_TOKENS = 15
REFRESH_TOKENS = 20
CODE_SECONDS = 600.0
TOO_MANY = "You have made too many requests continuously. Please try again after some time."


@dataclass(frozen=True)
class Credentials:
    """What a client signs in with. None of these opens anything but a sandbox.

    Args:
        grant_code: gives a refresh token, once.
        scopes: granted, ``ZohoBooks.contacts.READ`` each; ``ZohoBooks.fullaccess.all`` grants all.
    """

    client_id: str = "1000.SANDBOXCLIENT"
    client_secret: str = "sandbox-client-secret"  # noqa: S105 - opens a sandbox only
    refresh_token: str = "1000.sandboxrefresh.token"  # noqa: S105
    grant_code: str = "1000.sandboxgrant.code"
    scopes: tuple[str, ...] = ("ZohoBooks.fullaccess.all",)


class OAuth:
    """Gives out and checks access tokens.

    Args:
        credentials: the one client's.
        clock: of expiry and of the cap on refreshes.
        seed: of the tokens' digits.
    """

    def __init__(self, credentials: Credentials, clock: Clock, seed: int = 1) -> None:
        self.credentials = credentials
        self.revoked = False
        """Whether the refresh token was revoked: answers ``invalid_code``."""
        self.lives = TOKEN_SECONDS
        """Seconds of the clock that an access token given out from now on is good for."""
        self.lacking: frozenset[str] = frozenset()
        """Scopes (``bills.READ``) that access tokens given out from now on lack, whatever was granted."""
        self.api_domain = ""
        """Told as the organisation's data centre; empty: where the sandbox really is."""
        self._clock = clock
        self._lock = threading.Lock()
        self._rng = random.Random(f"{seed}/tokens")
        self._tokens: dict[str, tuple[float, frozenset[str]]] = {}
        self._refreshes: deque[float] = deque()
        self._codes: dict[str, float] = {credentials.grant_code: float("inf")}
        self._refresh_tokens: deque[str] = deque([credentials.refresh_token], REFRESH_TOKENS)
        self.refreshed = 0
        """Access tokens given out so far."""

    def token(self, parameters: Mapping[str, str], api_domain: str) -> Document:
        """Answer ``POST /oauth/v2/token``; errors are bodies too, sent with HTTP 200."""
        known = self.credentials
        if (grant := parameters.get("grant_type")) not in {"refresh_token", "authorization_code"}:
            return {"error": "unsupported_grant_type" if grant else "invalid_request"}
        if parameters.get("client_id") != known.client_id:
            return {"error": "invalid_client"}
        if parameters.get("client_secret") != known.client_secret:
            return {"error": "invalid_client_secret"}
        made: Document = {}
        if grant == "authorization_code":
            with self._lock:
                if self._codes.pop(parameters.get("code", ""), 0.0) <= self._clock.now():
                    return {"error": "invalid_code"}
                made = {"refresh_token": f"1000.{self._rng.getrandbits(128):032x}"}
                self._refresh_tokens.append(made["refresh_token"])
        elif self.revoked or parameters.get("refresh_token") not in self._refresh_tokens:
            return {"error": "invalid_code"}
        with self._lock:
            now = self._clock.now()
            while self._refreshes and self._refreshes[0] <= now - REFRESH_WINDOW:
                self._refreshes.popleft()
            if len(self._refreshes) >= REFRESHES:
                return {"error_description": TOO_MANY, "error": "Access Denied", "status": "failure"}
            self._refreshes.append(now)
            token = f"1000.{self._rng.getrandbits(128):032x}.{self._rng.getrandbits(128):032x}"
            self._tokens[token] = (now + self.lives, self.lacking)
            while len(self._tokens) > LIVE_TOKENS:
                del self._tokens[next(iter(self._tokens))]
            self.refreshed += 1
        return made | {
            "access_token": token,
            "scope": " ".join(known.scopes),
            "api_domain": self.api_domain or api_domain,
            "token_type": "Bearer",
            "expires_in": self.lives,
        }

    def make_grant_code(self) -> str:
        """As somebody does in the console: a code that is good once, for ten minutes of the clock."""
        with self._lock:
            code = f"1000.{self._rng.getrandbits(128):032x}"
            self._codes[code] = self._clock.now() + CODE_SECONDS
        return code

    def revoke_tokens(self) -> None:
        """Make all access tokens invalid; the refresh token stays."""
        with self._lock:
            self._tokens.clear()

    def knows(self, parameters: Mapping[str, str]) -> bool:
        """Whether a request for a token is this account's."""
        with self._lock:
            return parameters.get("client_id") == self.credentials.client_id and (
                parameters.get("code") in self._codes
                or parameters.get("refresh_token") in self._refresh_tokens
            )

    def gave(self, header: str) -> bool:
        """Whether the token of ``Authorization: Zoho-oauthtoken …`` was given out here and is not revoked."""
        with self._lock:
            return header.partition(" ")[2].strip() in self._tokens

    def check(self, header: str, scope: str) -> None:
        """Check ``Authorization: Zoho-oauthtoken …`` for a scope such as ``contacts.READ``.

        Raises:
            ApiError: 401 with code 57 (none, another scheme, scope missing) or 14 (unknown, expired).
        """
        kind, _, token = header.partition(" ")
        if kind != "Zoho-oauthtoken" or not token:
            raise ApiError(401, 57, "You are not authorized to perform this operation")
        with self._lock:
            expires, lacking = self._tokens.get(token.strip(), (0.0, frozenset()))
        if expires <= self._clock.now():
            raise ApiError(401, 14, "Invalid value passed for authtoken.")
        granted = self.credentials.scopes
        module = scope.partition(".")[0]
        covering = {"ZohoBooks.fullaccess.all", f"ZohoBooks.{scope}", f"ZohoBooks.{module}.ALL"}
        if module == "ZohoInventory":
            covering = {"ZohoInventory.fullaccess.all", scope}
        if scope in lacking or not covering & set(granted):
            raise ApiError(401, 57, "You are not authorized to perform this operation")
