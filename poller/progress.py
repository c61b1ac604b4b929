"""Showing how long things take: bars on a terminal, plain lines elsewhere; always on stderr."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_EVERY_SECONDS = 5.0


class Step:
    """One thing that takes time and can be counted."""

    def __init__(self, bars: Progress, task: TaskID, title: str, lines: Console | None) -> None:
        self._bars = bars
        self._task = task
        self._title = title
        self._lines = lines
        self._began = self._last_line = time.monotonic()
        self._done = 0

    def at(self, done: int, total: int | None = None) -> None:
        """So many are done, of so many if that is known."""
        self._done = done
        self._bars.update(self._task, completed=done, total=total)
        if self._lines and time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            self._line(f"{done:,} of {total:,}" if total else f"{done:,}")

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.at(self._done + count)

    def finish(self) -> None:
        """That was all."""
        self._bars.update(self._task, completed=self._done, total=self._done or 1)
        self._bars.stop_task(self._task)
        if self._lines:
            self._line(f"{self._done:,}, done" if self._done else "done")

    def _line(self, text: str) -> None:
        assert self._lines is not None
        seconds = time.monotonic() - self._began
        rate = f", {self._done / seconds:,.0f}/s" if self._done and seconds else ""
        self._lines.print(f"{self._title}: {text} in {seconds:.1f} s{rate}", markup=False, highlight=False)


class Steps:
    """A display of steps. Use as a context manager.

    Args:
        quiet: show nothing at all.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._lines = None if quiet or console.is_terminal else console
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            CountColumn(),
            RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=quiet or not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Shows a step as long as the block lasts."""
        step = Step(self._bars, self._bars.add_task(title, total=None), title, self._lines)
        yield step
        step.finish()


class CountColumn(ProgressColumn):
    """`1,200/2,218`, or without the total where it is unknown."""

    def render(self, task: Task) -> Text:
        """See rich."""
        if not task.completed:
            return Text("")
        total = f"/{task.total:,.0f}" if task.total and not task.finished else ""
        return Text(f"{task.completed:,.0f}{total}", justify="right")


class RateColumn(ProgressColumn):
    """`85/s`."""

    def render(self, task: Task) -> Text:
        """See rich."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed and task.completed else "", style="dim")
