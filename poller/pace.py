"""How fast calls are made: the minute's allowance, the calls at once, and pauses for the whole organisation.

One process has one `Pace`. It is the place where an allowance shared by all processes can be asked for later.
"""

import asyncio
from collections import deque
from types import TracebackType


class Pace:
    """Entering waits until one more call may be made; leaving ends the call.

    Args:
        calls: most calls begun in any `seconds`.
        seconds: length of that window.
        concurrency: most calls at once.
    """

    def __init__(self, calls: int, seconds: float, concurrency: int) -> None:
        self._seconds = seconds
        self._begun: deque[float] = deque([-seconds] * calls, maxlen=calls)
        self._at_once = asyncio.Semaphore(concurrency)
        self._turn = asyncio.Lock()
        self._closed_until = 0.0

    async def __aenter__(self) -> None:
        await self._at_once.acquire()
        try:
            async with self._turn:
                await self._wait()
                self._begun.append(asyncio.get_running_loop().time())
        except BaseException:
            self._at_once.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._at_once.release()

    def pause(self, seconds: float) -> bool:
        """Begins no call for so long. False if such a pause was on already: it is not made longer."""
        now = asyncio.get_running_loop().time()
        if now < self._closed_until:
            return False
        self._closed_until = now + seconds
        return True

    async def _wait(self) -> None:
        while True:
            open_at = max(self._closed_until, self._begun[0] + self._seconds)
            if (left := open_at - asyncio.get_running_loop().time()) <= 0:
                return
            await asyncio.sleep(left)
