"""One look for all who ask: at most one at a time, and not more than one a second for long."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Seen = TypeVar("Seen")

SECONDS = 1.0  # what was seen is good for so long, when many ask
AT_ONCE = 4  # looks that may follow one another without a pause; who asks now and then always has a fresh one


class Shared(Generic[Seen]):
    """What a look has found, for everybody who asks meanwhile.

    Args:
        look: the look, which may be dear.
        clock: seconds, from anywhere.
    """

    def __init__(
        self, look: Callable[[], Awaitable[Seen]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._clock = clock
        self._left = float(AT_ONCE)
        self._at = clock()
        self._seen: asyncio.Task[Seen] | None = None

    async def __call__(self) -> Seen:
        """What it found.

        Raises:
            Exception: whatever the look raised.
        """
        now = self._clock()
        self._left = min(AT_ONCE, self._left + (now - self._at) / SECONDS)
        self._at = now
        if self._seen is None or (self._seen.done() and self._left >= 1):
            self._left -= 1
            self._seen = asyncio.create_task(self._once(), name="look")
        # Who hangs up ends his waiting, and nobody else's.
        return await asyncio.shield(self._seen)

    async def _once(self) -> Seen:
        return await self._look()

    def cancel(self) -> None:
        """Ends a look that is under way."""
        if self._seen is not None:
            self._seen.cancel()
