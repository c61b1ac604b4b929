"""The Zoho Books API: one call, its class of error. Token and budget are the database's."""

import asyncio
import logging
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx
import psycopg

from tds_db import traces
from tds_db.traces import span
from tds_poller.zoho.bounded import BoundedClient
from tds_poller.zoho.budget import Budget, Waiting
from tds_poller.zoho.errors import (
    LimitError,
    NotFoundError,
    OrganizationError,
    RefusedError,
    UnauthorizedError,
    UnreachableError,
    ZohoError,
)
from tds_poller.zoho.oauth import Token, TokenSource, fingerprint
from tds_poller.zoho.retry import Retries, TransientError, code_of, json_object, plain
from tds_poller.zoho.session import Session
from tds_poller.zoho.settings import ZohoSettings

log = logging.getLogger(__name__)

PER_PAGE = 200  # records of a page; Zoho gives no more

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
BOOKS = "/books/v3"
INVENTORY = "/inventory/v1/"
WRONG_ORGANIZATION = {4029, 6041}
INVALID_URL = 5
WRONG_BASE = "Is ZOHO_API_BASE right (unset: the data centre's), without /books/v3? Next: tds doctor"
NO_SUCH_RECORD = {1001, 1002}
CLOCK_STEP = 2.0  # seconds: less is what whole seconds and the way there leave open
DOUBTED = 86400.0  # seconds: that Zoho's clock is so much further ahead than was known, two answers must say
IDS = re.compile(r"/\d{5,}")


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer: `body` as it came, `document` the same parsed (of a file: empty), and when it was
    asked for, `sent_at`, by Zoho's clock.

    `server_time` is what the answer's Date header says, to the second; `calls` how many it took; `ahead` by
    how many seconds Zoho's clock was taken to be ahead of ours for it.
    """

    body: bytes
    document: Mapping[str, Any]
    sent_at: datetime
    server_time: datetime | None = None
    calls: int = 1
    ahead: float = 0.0


class Ground:
    """What the clients of many organisations in one process share: a session, connections, accounts' tokens.

    Use as an async context manager around them.

    Args:
        dsn: libpq connection string of the database.
    """

    def __init__(self, dsn: str) -> None:
        self.session = Session(dsn)
        self.http = BoundedClient(timeout=TIMEOUT, limits=httpx.Limits(max_connections=None))
        self._tokens: dict[tuple[str, str], TokenSource] = {}

    async def __aenter__(self) -> Self:
        traces.start("poller")
        await self.session.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()
        await self.session.__aexit__(kind, error, trace)
        if traces.is_on():
            await asyncio.to_thread(traces.stop)

    def tokens(self, settings: ZohoSettings, minute_seconds: float) -> TokenSource:
        """The one that asks for an account's tokens: organisations of one refresh token share them."""
        account = (fingerprint(settings), settings.hosts.api)
        if account not in self._tokens:
            self._tokens[account] = TokenSource(self.http, self.session, settings, minute_seconds)
        return self._tokens[account]


class ZohoClient:
    """Calls on behalf of one organisation. Use as an async context manager, from one event loop.

    Every call is reserved in the database's budget, made, and settled there, whatever becomes of it.

    Args:
        settings: see `ZohoSettings`.
        dsn: libpq connection string; None: the database of TDS.
        purpose: what the calls are for: live and repair may use what is kept of the budget for them.
        ground: what it shares with the clients of other organisations; None: it has all for itself.
    """

    def __init__(
        self,
        settings: ZohoSettings,
        dsn: str | None = None,
        purpose: str = "migration",
        ground: Ground | None = None,
    ) -> None:
        self._settings = settings
        self._ground = ground
        self.organization_id = settings.organization_id
        self.purpose = purpose
        """What calls are for that do not say themselves."""
        self._session = ground.session if ground else Session(dsn, self._open)
        self._budget = Budget(self._session, settings)
        self.calls = 0
        """Calls made, failed ones included."""
        self._skew = Skew()
        self._noted: float | None = None
        self.calls_left: int | None = None
        """What Zoho said is left of the day's calls."""

    @property
    def session(self) -> int:
        """The database session whose lock says that this process lives."""
        return self._budget.session

    @property
    def waiting(self) -> Waiting | None:
        """What calls wait for now; None: nothing that is worth a word."""
        return self._budget.waiting

    @property
    def concurrency(self) -> int:
        """Most calls at once of all processes together."""
        return self._budget.concurrency

    @property
    def calls_per_minute(self) -> int:
        """The ceiling of all processes together."""
        return self._budget.calls_per_minute

    @property
    def minute_seconds(self) -> float:
        """How long the limits' minute lasts, in seconds: 60, but for a sandbox whose clock is fast."""
        return self._budget.minute_seconds

    async def __aenter__(self) -> Self:
        if self._ground:
            await self._session.join(self._open)
            self._http = self._ground.http
            self._tokens = self._ground.tokens(self._settings, self._budget.minute_seconds)
            self._at_once = asyncio.Semaphore(self._budget.concurrency)
            return self
        traces.start("poller")
        await self._session.__aenter__()
        limits = httpx.Limits(max_connections=self._budget.concurrency)
        self._http = BoundedClient(timeout=TIMEOUT, limits=limits)
        self._tokens = TokenSource(self._http, self._session, self._settings, self._budget.minute_seconds)
        self._at_once = asyncio.Semaphore(self._budget.concurrency)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ground:
            self._session.leave(self._open)
            with suppress(psycopg.Error):  # the session has ended, and with it what it did
                await self._budget.close()
            return
        await self._http.aclose()
        await self._session.__aexit__(kind, error, trace)
        if traces.is_on():
            await asyncio.to_thread(traces.stop)

    async def _open(self) -> None:
        await self._budget.open()

    async def token(self) -> Token:
        """The access token in force; see `TokenSource.get`."""
        return await self._tokens.get()

    async def stops_all(self, error: ZohoError) -> bool:
        """Whether nothing else can be asked of Zoho now either, by what went wrong with one call.

        Where no answer came, or one of an organisation that is none, something small is asked for: what Zoho
        fails at alone, as a page or a record that is out of order there, must keep nothing else waiting.
        """
        if isinstance(error, UnreachableError | OrganizationError):
            # two, for it may be the first that fails; whether we may read them is no matter
            for path in (f"/organizations/{self.organization_id}", "/settings/taxes"):
                try:
                    await self.get(path, again=False)
                except UnreachableError:
                    continue
                except ZohoError as answer:
                    return answer.stops_all
                return False
            return True
        return error.stops_all

    async def get(
        self,
        path: str,
        parameters: Mapping[str, str | int] | None = None,
        *,
        purpose: str | None = None,
        refresh: bool = True,
        file: bool = False,
        again: bool = True,
    ) -> Reply:
        """`GET /books/v3{path}` with the organisation's id.

        Faults are retried, an expired token is refreshed once, limits are waited for, all within bounds.

        Args:
            path: below /books/v3; or of the Inventory API, which takes the same ids: `/inventory/v1/…`.
            parameters: of the query.
            purpose: another one than the client's.
            refresh: whether a 401 may be the token's fault.
            file: whether a success answers with a file instead of a JSON object.
            again: whether a fault is retried.

        Raises:
            NotFoundError: there is no such record.
            LimitError: waiting for the budget takes longer than the settings allow.
            MovingError: the organisation is being moved to another shard.
            ZohoError: everything else, see `poller.errors`.
        """
        retries = Retries(f"GET {path}", again=again)
        try:
            return await self._retried(
                retries, path, parameters or {}, purpose or self.purpose, refresh=refresh, file=file
            )
        except ZohoError as error:
            error.calls = retries.calls
            raise

    async def post(self, path: str, document: Mapping[str, Any], *, purpose: str | None = None) -> Reply:
        """`POST /books/v3{path}` with a JSON document; only the webhooks' settings are ever written.

        Sent again only where Zoho refused it before it did anything: an expired token, a limit.

        Raises:
            UnreachableError: no answer came; nobody knows whether it was done.
            ZohoError: as in `get`.
        """
        retries = Retries(f"POST {path}")
        try:
            return await self._retried(
                retries, path, {}, purpose or self.purpose, refresh=True, file=False, document=document
            )
        except ZohoError as error:
            error.calls = retries.calls
            raise

    async def _ahead(self, response: httpx.Response, sent_at: datetime) -> float:
        """How far Zoho's clock is ahead of ours by this answer; noted for all when it changes."""
        if (date := _date(response)) is None:
            return self._skew.seconds
        if (skew := self._skew.narrowed(date, sent_at, datetime.now(UTC))) is None:
            log.warning("Zoho's Date is %s: not believed before a second answer says so.", date.isoformat())
            return self._skew.seconds
        if self._noted is None or abs(skew - self._noted) > CLOCK_STEP:
            self._noted = skew
            noted = await self._session.row(
                "select tds.note_clock(%s, %s, %s) as is_much",
                *(self._settings.organization_id, skew, datetime.now(UTC)),
            )
            if noted["is_much"]:
                log.warning(
                    "Zoho's clock is %.0f s %s ours: its own is gone by. Set this computer's (NTP).",
                    abs(skew),
                    "ahead of" if skew > 0 else "behind",
                )
        return skew

    async def _retried(
        self,
        retries: Retries,
        path: str,
        parameters: Mapping[str, str | int],
        purpose: str,
        *,
        refresh: bool,
        file: bool,
        document: Mapping[str, Any] | None = None,
    ) -> Reply:
        asked = {"tds.endpoint": IDS.sub("/{id}", path), "tds.purpose": purpose}
        with span("zoho.request", asked) as made:
            try:
                return await self._had(
                    retries, path, parameters, purpose, refresh=refresh, file=file, document=document
                )
            finally:
                made.tell({"tds.calls": retries.calls})

    async def _had(
        self,
        retries: Retries,
        path: str,
        parameters: Mapping[str, str | int],
        purpose: str,
        *,
        refresh: bool,
        file: bool,
        document: Mapping[str, Any] | None,
    ) -> Reply:
        while True:
            try:
                return await self._send(
                    retries, path, parameters, purpose, refresh=refresh, file=file, sent=document
                )
            except (httpx.TransportError, TransientError) as error:
                if document is not None:
                    said = str(error) or type(error).__name__
                    told = f"{retries.name}: {said}. Whether it was done is not known."
                    raise UnreachableError(told, "Next: tds webhooks check") from error
                await retries.after(error)
            except UnauthorizedError:
                # The token has been rejected: another one is got for the next try.
                if not refresh:
                    raise
                refresh = False
            except LimitError as limit:
                # Whoever asks next waits for it in the budget.
                if retries.exhausted or limit.seconds > self._settings.longest_wait:
                    raise
                retries.count()
                log.warning("%s Nothing is asked for %.1f s.", limit.message, limit.seconds)

    async def _send(
        self,
        retries: Retries,
        path: str,
        parameters: Mapping[str, str | int],
        purpose: str,
        *,
        refresh: bool,
        file: bool,
        sent: Mapping[str, Any] | None = None,
    ) -> Reply:
        async with self._at_once:
            call = await self._budget.reserve(purpose, IDS.sub("/{id}", path))
            try:
                # Not before: the wait may have been longer than the token lasts.
                token = await self._tokens.get()
            except BaseException:
                await asyncio.shield(self._budget.cancel(call))
                raise
            response: httpx.Response | None = None
            document: dict[str, Any] = {}
            try:
                sent_at = datetime.now(UTC)
                self.calls += 1
                retries.calls += 1
                method = "GET" if sent is None else "POST"
                with span("zoho.call", {"http.request.method": method}) as made:
                    response = await self._http.request(
                        method,
                        token.api_base + ("" if path.startswith(INVENTORY) else BOOKS) + path,
                        json=sent,
                        params={**parameters, "organization_id": self._settings.organization_id},
                        headers={"Authorization": f"Zoho-oauthtoken {token.secret}"},
                    )
                    made.tell({"http.response.status_code": response.status_code})
                # what went wrong is told as JSON, whatever was asked for, and sometimes with a 200
                if (
                    not file
                    or response.status_code != 200
                    or "json" in response.headers.get("content-type", "")
                ):
                    document = json_object(response)
            finally:
                pause = await asyncio.shield(self._budget.settle(call, response, code_of(document)))
        ahead = await self._ahead(response, sent_at)
        sent_at += timedelta(seconds=ahead)
        if (left := response.headers.get("x-rate-limit-remaining", "")).isdigit():
            self.calls_left = int(left)
        code = 0 if file and "code" not in document else code_of(document)
        if response.status_code == 401 and refresh:
            self._tokens.reject(token, code)
        if response.status_code in ({200} if sent is None else {200, 201}) and code == 0:
            return Reply(response.content, document, sent_at, _date(response), retries.calls, ahead)
        said = plain(document.get("message", ""), 300)
        shown = plain(document.get("code", code), 100)
        told = f"{retries.name}: HTTP {response.status_code}, code {shown}: {said}"
        raise _error(told, response, code, sent_at, pause)


class Skew:
    """By how many seconds the clock that writes the Date headers is ahead of ours, as answers have told.

    A header tells whole seconds, and of a moment between the sending and the receipt; what that leaves open
    is less with every answer, until a clock is set anew.
    """

    def __init__(self) -> None:
        self._least, self._most = -math.inf, math.inf
        self._doubted = (math.inf, -math.inf)
        self.seconds = 0.0

    def narrowed(self, date: datetime, sent_at: datetime, received_at: datetime) -> float | None:
        """What is left by this answer too; 0 as far as that can be.

        None: it leaps ahead, and the answer before said nothing of it. Believed at once, one wrong header
        would date a read years ahead, which no honest one outranks until then. A leap back is believed: who
        did not would miss what is edited from then on.

        Of what remains possible the least is taken, so that nothing passes for asked later than it was; and
        what was asked for later must not pass for earlier, so that a little less than before is no news.
        """
        least = (date - received_at).total_seconds()
        most = (date - sent_at).total_seconds() + 1
        before, self._doubted = self._doubted, (least, most)
        if least - self.seconds > DOUBTED and not (least <= before[1] and most >= before[0]):
            return None
        if least <= self._most and most >= self._least:
            least, most = max(least, self._least), min(most, self._most)
        self._least, self._most = least, most
        skew = 0.0 if least <= 0 <= most else least
        if not 0 < self.seconds - skew < CLOCK_STEP:
            self.seconds = skew
        return self.seconds


def _error(
    message: str, response: httpx.Response, code: int | None, sent_at: datetime, pause: float
) -> ZohoError:
    match response.status_code:
        case 401:
            return UnauthorizedError(
                message,
                "The refresh token may lack this scope, or its user this organisation. "
                "Next: tds doctor, which names the scope",
            )
        case 404 if code in NO_SUCH_RECORD:
            return NotFoundError(message, sent_at)
        case 429:
            hint = f"Run the same command again in {pause / 60:.1f} minutes: it goes on where it stopped."
            return LimitError(message, pause, hint)
        case _ if code in WRONG_ORGANIZATION:
            hint = "Check ZOHO_ORGANIZATION_ID. Next: tds connect, which lists the organisations"
            return OrganizationError(message, sent_at, hint)
        case _:
            hint = WRONG_BASE if code == INVALID_URL else "Next: tds doctor"
            return RefusedError(message, sent_at, hint, code)


def _date(response: httpx.Response) -> datetime | None:
    with suppress(KeyError, ValueError, TypeError):
        found = parsedate_to_datetime(response.headers["date"])
        # in a header, one without a zone is GMT's too
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None
