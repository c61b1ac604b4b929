"""Showing how far runs are, whoever works on them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from tds_cli.progress import Step, Steps, Titled
from tds_poller.mirror import Mirror
from tds_poller.tasks import ended

LOOK_SECONDS = 0.3  # between looks at how far the runs are


class Watch:
    """The lists and the details of runs, each a step.

    Args:
        mirror: where they are.
        steps: where to show them.
        runs: says which they are.
    """

    def __init__(
        self, mirror: Mirror, steps: Steps | Titled, runs: Callable[[], Awaitable[Sequence[int]]]
    ) -> None:
        self._mirror = mirror
        self._steps = steps
        self._runs = runs
        self._lists: dict[int, Step] = {}
        self._details: dict[int, Step] = {}

    async def look(self) -> bool:
        """Shows how they stand; whether all of them have ended."""
        runs = await self._runs()
        progress = await self._mirror.progress(runs)
        for run_id, run in zip(runs, progress, strict=True):
            if run_id not in self._lists:
                self._lists[run_id] = self._steps.add(run.entity)
                self._lists[run_id].before(run.records)
            if not self._lists[run_id].finished:
                self._lists[run_id].at(run.records)
            if run.is_listed or run.is_finished:
                self._lists[run_id].finish()
            if run.details + run.wanted and run.is_listed:
                if run_id not in self._details:
                    self._details[run_id] = self._steps.add(f"{run.entity}, details")
                    self._details[run_id].before(run.details, run.details + run.wanted)
                if not self._details[run_id].finished:
                    self._details[run_id].at(run.details, run.details + run.wanted)
                if run.is_finished:
                    self._details[run_id].finish()
        return all(run.is_finished for run in progress)


@asynccontextmanager
async def watched(watch: Watch, *, to_the_end: bool) -> AsyncIterator[None]:
    """Shows the runs as long as the block lasts, and once more at its end.

    Args:
        watch: which.
        to_the_end: whether to wait until all have ended, whoever works on them.
    """

    async def look() -> None:
        while True:
            if await watch.look() and to_the_end:
                return
            await asyncio.sleep(LOOK_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield
        if to_the_end:
            await looking
        else:
            await watch.look()
    finally:
        await ended(looking)
