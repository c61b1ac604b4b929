"""The budget of calls: kept in the database, shared by every process that asks Zoho for an organisation."""

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

import httpx
import psycopg
from psycopg.rows import DictRow

from tds_poller.zoho.errors import LimitError, MovingError
from tds_poller.zoho.session import Session
from tds_poller.zoho.settings import ZohoSettings

log = logging.getLogger(__name__)

TOLD_SECONDS = 5.0  # pauses longer than this are worth a line in the log
SHOWN_SECONDS = 1.0  # and these are worth a word to whoever looks
LOOK_SECONDS = 20.0  # in a long wait: whether the organisation is still to be asked for here


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a call waits for, in the budget's words, and until when."""

    reason: str
    until: datetime


class Budget:
    """Asks before each call, and says afterwards how it ended.

    Args:
        session: the lasting connection; its end sets free what it had reserved.
        settings: whose organisation, and how long to wait.
    """

    def __init__(self, session: Session, settings: ZohoSettings) -> None:
        self._session = session
        self._settings = settings
        self._turns: defaultdict[tuple[str, bool], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: dict[tuple[str, bool], Waiting] = {}
        self._given_back: set[asyncio.Task[None]] = set()
        self.calls_per_minute = 0
        self.concurrency = 0
        self.minute_seconds = 60.0
        self.session = 0

    @property
    def waiting(self) -> Waiting | None:
        """What calls wait for, the longest wait of several; None: nothing that is worth a word."""
        return max(self._waiting.values(), key=lambda wait: wait.until, default=None)

    async def open(self) -> None:
        """Shows the database that this session lives, and learns the ceilings in force.

        Raises:
            MovingError: the organisation is being moved to another shard.
        """
        try:
            row = await self._session.row(
                "select *, pg_backend_pid() as session from tds.set_budget(%s, %s, %s, %s)",
                self._settings.organization_id,
                self._settings.calls_per_minute,
                self._settings.concurrency,
                self._settings.minute_seconds,
            )
        except psycopg.Error as error:
            if (moving := MovingError.of(error)) is None:
                raise
            if self.session:
                return  # a new connection, which others share: the next call says so
            raise moving from error
        self.calls_per_minute = row["calls_per_minute_now"]
        self.concurrency = row["concurrency_now"]
        self.minute_seconds = row["minute_seconds_now"]
        self.session = row["session"]

    async def reserve(self, purpose: str, endpoint: str) -> int:
        """Waits until one more call may be made.

        Args:
            purpose: live and repair may use what is kept for them.
            endpoint: path of the call, ids as {id}.

        Returns:
            The number to settle it with.

        Raises:
            LimitError: the wait is longer than the settings allow.
            MovingError: the organisation is being moved to another shard.
        """
        # One of each purpose asks at a time: in turn, and not all of them again and again.
        # Single records have a slower pace of their own, for which no list need wait.
        turn = purpose, "{id}" in endpoint
        async with self._turns[turn]:
            waited = 0.0
            while True:
                asked = asyncio.create_task(
                    self._session.row(
                        "select * from tds.reserve_calls(%s, 1, %s, %s)",
                        *(self._settings.organization_id, purpose, endpoint),
                    )
                )
                try:
                    row = await asyncio.shield(asked)
                except asyncio.CancelledError:
                    asked.add_done_callback(self._give_back)
                    raise
                except psycopg.Error as error:
                    if (moving := MovingError.of(error)) is None:
                        raise
                    raise moving from error
                if row["granted"]:
                    return int(row["call_ids"][0])
                seconds: float = row["wait_seconds"]
                if seconds > self._settings.longest_wait:
                    raise LimitError(_told(row["reason"], row["wait_until"]), seconds, _hint(seconds))
                if seconds > TOLD_SECONDS and waited == 0:
                    # a minute's end is nothing to warn of
                    level = logging.INFO if seconds <= self.minute_seconds else logging.WARNING
                    log.log(level, "%s; nothing is asked for %.0f s.", row["reason"], seconds)
                waited += seconds
                if seconds >= SHOWN_SECONDS:
                    self._waiting[turn] = Waiting(row["reason"], row["wait_until"])
                try:
                    await asyncio.sleep(min(seconds, LOOK_SECONDS))
                finally:
                    self._waiting.pop(turn, None)

    def _give_back(self, asked: asyncio.Task[DictRow]) -> None:
        """Whoever reserved a call is gone: it is not made."""
        if not asked.cancelled() and asked.exception() is None and asked.result()["granted"]:
            task = asyncio.create_task(self.cancel(int(asked.result()["call_ids"][0])))
            self._given_back.add(task)
            task.add_done_callback(self._given_back.discard)

    async def close(self) -> None:
        """Shows the database that this session asks no more for the organisation."""
        await self._session.row("select tds.end_asking(%s)", self._settings.organization_id)

    async def cancel(self, call_id: int) -> None:
        """Gives back a call that was not made."""
        await self._session.row("select tds.cancel_call(%s)", call_id)

    async def settle(self, call_id: int, response: httpx.Response | None, code: int | None) -> float:
        """Ends a call, also one without an answer. Returns the seconds of the pause that it brought, or 0."""
        headers = response.headers if response is not None else httpx.Headers()
        limit, left = (_number(headers, f"x-rate-limit-{name}") for name in ("limit", "remaining"))
        row = await self._session.row(
            "select tds.settle_call(%s, %s, %s, %s, %s, %s, %s) as pause",
            call_id,
            response.status_code if response is not None else None,
            code,
            limit if limit is None else int(limit),
            left if left is None else int(left),
            _number(headers, "x-rate-limit-reset"),
            _number(headers, "retry-after"),
        )
        return float(row["pause"])


def _number(headers: httpx.Headers, name: str) -> float | None:
    try:
        value = float(headers[name])
    except (KeyError, ValueError):
        return None
    return value if 0 <= value < 2**31 else None


def _told(reason: str, until: datetime) -> str:
    return f"{reason[0].upper()}{reason[1:]}, until {until.astimezone():%Y-%m-%d %H:%M:%S %Z}."


def _hint(seconds: float) -> str:
    return f"Run the same command again in {seconds / 60:.1f} minutes: it goes on where it stopped."
