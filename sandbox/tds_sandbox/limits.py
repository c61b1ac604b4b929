"""The API's limits, with the codes and headers of the real ones.

Sources: zoho.com/books/api/v3/introduction for limits and messages; recorded answers for the headers.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from math import ceil

from tds_sandbox.clock import Calendar, Clock
from tds_sandbox.errors import ApiError

MINUTE_MESSAGE = (
    "For security reasons your organization has been blocked as it have exceeded the maximum number of "
    "requests per minute that can originate from an organization."
)
DAY_MESSAGE = "The API call for this organization has exceeded the maximum call rate limit of {}."
CONCURRENCY_MESSAGE = (
    "You have reached the maximum number of in process requests allowed. Kindly try again after some time."
)
SUSTAINED_MESSAGE = (
    "Your organization has been blocked for some time as it has exceeded the maximum number of requests per "
    "minute."
)


@dataclass(frozen=True)
class LimitSettings:
    """Limits of one organisation; None means without limit. Times are sandbox seconds.

    Args:
        per_minute: calls within any 60 s; real: 100.
        per_day: calls from local midnight to local midnight; real: 1,000 to 10,000 by plan.
        concurrency: calls in process; real: 5 or 10.
        block_seconds: how long code 44 lasts once it struck; not documented, minutes by reports.
        sustained: details within ``sustained_seconds`` that bring code 43; seen once, at about 190 in 210 s.
        sustained_seconds: length of that window.
        sustained_block_seconds: how long code 43 lasts; every call meanwhile starts it anew, as seen.
        count_refused: whether calls answered 429 count for the day; unknown, so off.
        midnight: minutes east of UTC of where the day of calls begins at midnight; None: the organisation.
    """

    per_minute: int | None = 100
    per_day: int | None = 10_000
    concurrency: int | None = 10
    block_seconds: float = 120.0
    sustained: int | None = None
    sustained_seconds: float = 210.0
    sustained_block_seconds: float = 900.0
    count_refused: bool = False
    midnight: int | None = None


UNLIMITED = LimitSettings(per_minute=None, per_day=None, concurrency=None)


class LimitError(ApiError):
    """A 429; ``kind`` names the rule for the ledger."""

    def __init__(self, kind: str, code: int, message: str) -> None:
        super().__init__(429, code, message)
        self.kind = kind


class Limits:
    """Counts the calls of one organisation.

    Args:
        settings: the limits.
        clock: whose seconds count.
        calendar: the organisation's own.
    """

    def __init__(self, settings: LimitSettings, clock: Clock, calendar: Calendar) -> None:
        self.settings = settings
        self._clock = clock
        self._own_calendar = calendar
        self._lock = threading.Lock()
        self._recent: deque[float] = deque()
        self._details: deque[float] = deque()
        self._blocked_until = 0.0
        self._blocked_by = 44
        self._day = self._calendar.day(clock.now())
        self.used_today = 0
        self.in_process = 0
        self.most_in_process = 0

    @property
    def _calendar(self) -> Calendar:
        midnight = self.settings.midnight
        return self._own_calendar if midnight is None else Calendar(midnight)

    def enter(self, *, is_detail: bool) -> None:
        """Let a call in, or refuse it. Every call let in must ``leave``.

        Raises:
            LimitError: with kind minute, day, concurrency, sustained, or blocked.
        """
        with self._lock:
            now = self._clock.now()
            self._turn_day(now)
            try:
                self._check(now, is_detail)
            except LimitError:
                if self.settings.count_refused:
                    self.used_today += 1
                raise
            self._recent.append(now)
            if is_detail:
                self._details.append(now)
            self.used_today += 1
            self.in_process += 1
            self.most_in_process = max(self.most_in_process, self.in_process)

    def leave(self) -> None:
        """The call that was let in has been answered."""
        with self._lock:
            self.in_process -= 1

    def _check(self, now: float, is_detail: bool) -> None:
        limits = self.settings
        if now < self._blocked_until:
            if self._blocked_by == 43:
                self._blocked_until = now + limits.sustained_block_seconds
            raise LimitError("blocked", self._blocked_by, self._block_message())
        if limits.per_day is not None and self.used_today >= limits.per_day:
            raise LimitError("day", 45, DAY_MESSAGE.format(limits.per_day))
        if limits.concurrency is not None and self.in_process >= limits.concurrency:
            raise LimitError("concurrency", 1070, CONCURRENCY_MESSAGE)
        if limits.per_minute is not None and self._within(self._recent, now, 60.0) >= limits.per_minute:
            self.block(44, limits.block_seconds)
            raise LimitError("minute", 44, MINUTE_MESSAGE)
        details = self._within(self._details, now, limits.sustained_seconds)
        if limits.sustained is not None and is_detail and details >= limits.sustained:
            self.block(43, limits.sustained_block_seconds)
            raise LimitError("sustained", 43, SUSTAINED_MESSAGE)

    def _block_message(self) -> str:
        return SUSTAINED_MESSAGE if self._blocked_by == 43 else MINUTE_MESSAGE

    @staticmethod
    def _within(times: deque[float], now: float, seconds: float) -> int:
        while times and times[0] <= now - seconds:
            times.popleft()
        return len(times)

    def block(self, code: int, seconds: float) -> None:
        """Block the organisation with code 43 or 44 for sandbox seconds from now."""
        self._blocked_by = code
        self._blocked_until = self._clock.now() + seconds

    def _turn_day(self, now: float) -> None:
        day = self._calendar.day(now)
        if day != self._day:
            self._day = day
            self.used_today = 0

    def headers(self) -> dict[str, str]:
        """The daily quota, as every answer shows it; reset in seconds to the local midnight."""
        if self.settings.per_day is None:
            return {}
        with self._lock:
            now = self._clock.now()
            self._turn_day(now)
            reset = ceil(self._calendar.midnight_after(now) - now)
            return {
                "X-Rate-Limit-Limit": str(self.settings.per_day),
                "X-Rate-Limit-Remaining": str(max(0, self.settings.per_day - self.used_today)),
                "X-Rate-Limit-Reset": str(reset),
            }
