"""The Zoho Books API, read only: one call, its class of error, its pace."""

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx

from poller.errors import LimitError, NotFoundError, RefusedError, UnauthorizedError, ZohoError
from poller.oauth import Token, TokenSource
from poller.pace import Pace
from poller.retry import json_object, retried
from poller.settings import ZohoSettings

log = logging.getLogger(__name__)

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
WRONG_ORGANIZATION = {4029, 6041}
NO_SUCH_RECORD = {1001, 1002}


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer: `body` as it came, `document` the same parsed (of a file: empty), and `sent_at`,
    when it was asked for."""

    body: bytes
    document: Mapping[str, Any]
    sent_at: datetime


class ZohoClient:
    """Calls on behalf of one organisation. Use as an async context manager, from one event loop.

    Args:
        settings: see `ZohoSettings`.
    """

    def __init__(self, settings: ZohoSettings) -> None:
        self._settings = settings
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT, limits=httpx.Limits(max_connections=settings.concurrency), follow_redirects=False
        )
        self._tokens = TokenSource(self._http, settings)
        self._pace = Pace(settings.calls_per_minute, settings.minute_seconds, settings.concurrency)
        self.calls_per_minute = settings.calls_per_minute
        self.calls = 0
        """Calls made, failed ones included."""
        self.calls_left: int | None = None
        """What Zoho said is left of the day's calls."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def get(
        self, path: str, parameters: Mapping[str, str | int] | None = None, *, file: bool = False
    ) -> Reply:
        """`GET /books/v3{path}` with the organisation's id.

        Faults are retried, an expired token is refreshed, limits are waited for, all within bounds.

        Args:
            path: below /books/v3.
            parameters: besides the organisation's id.
            file: whether a success answers with a file instead of a JSON object.

        Raises:
            NotFoundError: there is no such record.
            ZohoError: everything else, see `poller.errors`.
        """
        name = f"GET {path}"
        refreshed, waited = False, 0.0
        while True:
            token = await self._tokens.get()
            try:
                return await retried(name, partial(self._send, name, token, path, parameters or {}, file))
            except UnauthorizedError:
                if refreshed:
                    raise
                refreshed = True
                self._tokens.reject(token)
            except LimitError as limit:
                waited += limit.seconds
                if waited > self._settings.longest_wait:
                    raise
                if self._pace.pause(limit.seconds):
                    log.warning("%s Nothing is asked for %.1f s.", limit.message, limit.seconds)

    async def _send(
        self, name: str, token: Token, path: str, parameters: Mapping[str, str | int], file: bool
    ) -> Reply:
        async with self._pace:
            sent_at = datetime.now(UTC)
            self.calls += 1
            response = await self._http.get(
                f"{token.api_base}/books/v3{path}",
                params={**parameters, "organization_id": self._settings.organization_id},
                headers={"Authorization": f"Zoho-oauthtoken {token.secret}"},
            )
        if (left := response.headers.get("x-rate-limit-remaining", "")).isdigit():
            self.calls_left = int(left)
        # what went wrong is told as JSON, whatever was asked for, and sometimes with a 200
        if file and response.status_code == 200 and "json" not in response.headers.get("content-type", ""):
            return Reply(response.content, {}, sent_at)
        document = json_object(response)
        code = document.get("code")
        if response.status_code == 200 and code == 0:
            return Reply(response.content, document, sent_at)
        said = str(document.get("message", ""))[:300]
        raise self._error(
            f"{name}: HTTP {response.status_code}, code {code}: {said}", response, code, sent_at
        )

    def _error(self, message: str, response: httpx.Response, code: object, sent_at: datetime) -> ZohoError:
        match response.status_code:
            case 401:
                return UnauthorizedError(
                    message, "The refresh token may lack this scope, or its user this organisation."
                )
            case 404 if code in NO_SUCH_RECORD:
                return NotFoundError(message, sent_at)
            case 429:
                return self._limit(message, response, code)
            case _ if code in WRONG_ORGANIZATION:
                return RefusedError(message, sent_at, "Check ZOHO_ORGANIZATION_ID.")
            case _:
                return RefusedError(message, sent_at)

    def _limit(self, message: str, response: httpx.Response, code: object) -> LimitError:
        minute = self._settings.minute_seconds
        match code:
            case 1070:  # too many at once
                seconds = random.uniform(1.0, 2.0)
            case 45:  # the day's calls are used up
                seconds = _seconds(response, "x-rate-limit-reset") or 86400.0
            case 43:  # undocumented; was seen to last 15 to 20 minutes, longer if asked meanwhile
                seconds = 20 * minute
            case _:  # 44: too many in a minute
                seconds = 2 * minute
        hint = f"Run the same command again in {seconds / 60:.1f} minutes: it goes on where it stopped."
        return LimitError(message, _seconds(response, "retry-after") or seconds, hint)


def _seconds(response: httpx.Response, header: str) -> float | None:
    try:
        return float(response.headers[header])
    except (KeyError, ValueError):
        return None
