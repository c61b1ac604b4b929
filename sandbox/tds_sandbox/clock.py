"""The sandbox's clock: real time, or time that runs faster, so that days of quota pass in seconds.

And how the API reads times and dates.
"""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, date, datetime, timedelta, timezone

from tds_sandbox.errors import InvalidValueError

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([+-]\d{4})?")


class Clock:
    """A clock that runs ``scale`` times as fast as the real one.

    Args:
        scale: sandbox seconds per real second; must be positive.
        start: epoch seconds shown at the moment of creation; the real time if None.

    Raises:
        ValueError: scale is not positive.
    """

    def __init__(self, scale: float = 1.0, start: float | None = None) -> None:
        if scale <= 0:
            raise ValueError(f"clock scale must be positive, not {scale}")
        self._lock = threading.Lock()
        self._scale = scale
        self._origin = time.monotonic()
        self._start = time.time() if start is None else start

    @property
    def scale(self) -> float:
        """Sandbox seconds per real second."""
        return self._scale

    def now(self) -> float:
        """Epoch seconds on this clock."""
        with self._lock:
            return self._start + (time.monotonic() - self._origin) * self._scale

    def advance(self, seconds: float) -> float:
        """Move the clock forward by sandbox seconds and return the new time.

        Raises:
            ValueError: seconds is negative; tokens and quotas rely on time never going back.
        """
        if seconds < 0:
            raise ValueError("the clock does not go back")
        with self._lock:
            self._start += seconds
        return self.now()

    def rescale(self, scale: float) -> None:
        """Change the speed from now on.

        Raises:
            ValueError: scale is not positive.
        """
        if scale <= 0:
            raise ValueError(f"clock scale must be positive, not {scale}")
        with self._lock:
            instant = time.monotonic()
            self._start += (instant - self._origin) * self._scale
            self._origin = instant
            self._scale = scale

    def real(self, seconds: float) -> float:
        """Real seconds that the given sandbox seconds take."""
        return seconds / self._scale


class Calendar:
    """The organisation's local time, at a fixed offset from UTC.

    Args:
        offset_minutes: minutes east of UTC; -240 gives the ``-0400`` of the recorded answers.
    """

    def __init__(self, offset_minutes: int = -240) -> None:
        self.zone = timezone(timedelta(minutes=offset_minutes))

    def stamp(self, epoch: int) -> str:
        """``2026-06-09T09:46:21-0400``."""
        return datetime.fromtimestamp(epoch, self.zone).strftime("%Y-%m-%dT%H:%M:%S%z")

    def day(self, epoch: float) -> date:
        """The local date."""
        return datetime.fromtimestamp(epoch, self.zone).date()

    def midnight_after(self, epoch: float) -> float:
        """Epoch seconds of the next local midnight, when the daily quota starts anew."""
        day = self.day(epoch) + timedelta(days=1)
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()

    def epoch(self, local: datetime) -> int:
        """Epoch seconds of a local time; a time with its own offset keeps it."""
        if local.tzinfo is None:
            local = local.replace(tzinfo=self.zone)
        return int(local.astimezone(UTC).timestamp())


def parse_time(parameter: str, text: str) -> datetime:
    """Read ``2023-11-18T02:02:51-0800``; without an offset the organisation's own is meant.

    Raises:
        InvalidValueError: anything else, ``…Z`` included (seen live: 400, code 2).
    """
    if not _TIME.fullmatch(text):
        raise InvalidValueError(parameter)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValueError(parameter) from None


def parse_date(parameter: str, text: str) -> str:
    """Check a ``YYYY-MM-DD`` and return it.

    Raises:
        InvalidValueError: not such a date.
    """
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise InvalidValueError(parameter) from None
