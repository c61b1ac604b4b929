"""Tasks that go on beside the work."""

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Ends tasks and waits until they have ended; what went wrong in one by then is logged.

    A cancellation can be lost where it meets an answer, in asyncio.wait_for among others: it is said again.
    """
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("%s: %s", type(error).__name__, str(error).strip())
