"""Showing how long things take: bars on a terminal, plain lines elsewhere; always on stderr."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

LINE_EVERY_SECONDS = 5.0
SHORTEST_SECONDS = 0.001


class Step:
    """One thing that takes time and can be counted."""

    def __init__(self, bars: "Bars", task: TaskID, title: str, lines: Console | None) -> None:
        self._bars = bars
        self._task = task
        self._title = title
        self._lines = lines
        self._began = self._last_line = time.monotonic()
        self._done = 0
        self._finished = False

    def at(self, done: int, total: int | None = None) -> None:
        """So many are done, of so many if that is known."""
        self._done = done
        self._bars.update(self._task, completed=done, total=total)
        if self._lines and time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            self._line(f"{done:,} of {total:,}" if total else f"{done:,}", self._left(done, total))

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.at(self._done + count)

    def finish(self) -> None:
        """That was all; to say so again does nothing."""
        if self._finished:
            return
        self._finished = True
        self._bars.update(self._task, completed=self._done, total=self._done or 1)
        self._bars.stop_task(self._task)
        if self._lines:
            self._line(f"{self._done:,}, done" if self._done else "done")

    def _left(self, done: int, total: int | None) -> str:
        """How long it takes still, and what is left of the calls."""
        seconds = time.monotonic() - self._began
        rest = (total - done) * seconds / done if total and done else 0
        told = f"about {rest / 60:,.0f} min left" if rest >= 90 else f"about {rest:,.0f} s left"
        return ", ".join(filter(None, [told if rest else "", self._bars.told_calls_left()]))

    def _line(self, text: str, left: str = "") -> None:
        assert self._lines is not None
        seconds = time.monotonic() - self._began
        # What was over when it was first looked at has no rate.
        rate = f"{self._done / seconds:,.0f}/s" if self._done and seconds >= SHORTEST_SECONDS else ""
        told = ", ".join(filter(None, [f"{self._title}: {text} in {seconds:.1f} s", rate, left]))
        self._lines.print(told, markup=False, highlight=False, soft_wrap=True)


class Bars(Progress):
    """The bars, and below them the calls that are left of the day's, once that is known."""

    calls_left: Callable[[], int | None] = staticmethod(lambda: None)

    def told_calls_left(self) -> str:
        """As text, empty while it is not known."""
        left = self.calls_left()
        return "" if left is None else f"{left:,} calls left today"

    def get_renderables(self) -> Iterable[RenderableType]:
        """See rich."""
        yield from super().get_renderables()
        if told := self.told_calls_left():
            yield Text(told, style="dim")


class Steps:
    """A display of steps. Use as a context manager.

    Args:
        quiet: show nothing at all.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._lines = None if quiet or console.is_terminal else console
        self._bars = Bars(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            CountColumn(),
            RateColumn(),
            TimeElapsedColumn(),
            LeftColumn(),
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

    def show_calls_left(self, calls_left: Callable[[], int | None]) -> None:
        """Shows from now on what is left of the day's calls; None: it is not known yet."""
        self._bars.calls_left = calls_left

    def add(self, title: str) -> Step:
        """Shows a step from now on; it is to be finished."""
        return Step(self._bars, self._bars.add_task(title, total=None), title, self._lines)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Shows a step as long as the block lasts."""
        step = self.add(title)
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
        # rich's own speed begins anew whenever the total changes
        seconds = task.elapsed or 0
        return Text(f"{task.completed / seconds:,.0f}/s" if seconds and task.completed else "", style="dim")


class LeftColumn(ProgressColumn):
    """`-0:04:10`: how long it takes still, at the rate so far."""

    def render(self, task: Task) -> Text:
        """See rich."""
        if task.finished or not (task.total and task.completed and task.elapsed):
            return Text("")
        seconds = (task.total - task.completed) * task.elapsed / task.completed
        return Text(f"-{timedelta(seconds=round(seconds))}", style="cyan")
