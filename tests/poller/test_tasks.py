"""Tasks that go on beside the work are ended, whatever they make of that."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tds_poller import tasks


def test_a_task_that_loses_a_cancellation_is_ended_all_the_same() -> None:
    async def watch(losses: int) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                losses -= 1
                if losses < 0:
                    raise

    async def fails() -> None:
        raise ValueError("it is told")

    async def end() -> list[bool]:
        watching = [asyncio.create_task(watch(losses)) for losses in (0, 1, 2)]
        failing = asyncio.create_task(fails())
        await asyncio.sleep(0)
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(tasks.ended(*watching, failing), 30)
        return [task.cancelled() for task in watching]

    before, tasks.AGAIN_SECONDS = tasks.AGAIN_SECONDS, 0.01
    try:
        assert asyncio.run(end()) == [True, True, True]
    finally:
        tasks.AGAIN_SECONDS = before
