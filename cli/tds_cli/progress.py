"""Showing how long things take: bars on a terminal, plain lines elsewhere, events for programs: on stderr."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

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
from rich.table import Column
from rich.text import Text

from tds_cli.events import Events
from tds_cli.terminal import escaped_line

if TYPE_CHECKING:  # of commands that ask Zoho for nothing as well
    from tds_poller.mirror import Migration
    from tds_poller.zoho.budget import Waiting
    from tds_poller.zoho.client import ZohoClient

LINE_EVERY_SECONDS = 60.0
SAME_LINE_EVERY_SECONDS = 3600.0  # nothing has moved
EVENT_EVERY_SECONDS = 1.0
SHORTEST_SECONDS = 0.001
PACE_SECONDS = 180.0  # as far back it is looked how fast it is
WIDE = 90  # columns; below, no bars
NARROW = 70  # below, no pace either
AROUND = 6  # lines besides the steps


class Step:
    """One thing that takes time and can be counted."""

    def __init__(self, shown: Steps, task: TaskID, title: str) -> None:
        self._shown = shown
        self._task = task
        self.title = title
        self._began = self._last_event = time.monotonic()
        self._done = self._before = 0
        self._total: int | None = None
        self._counted = False
        self.finished = False

    def before(self, done: int, total: int | None = None) -> None:
        """So many were done before this began: they say nothing of its pace."""
        self._before = done
        self._shown.bars.update(self._task, before=done)
        self.at(done, total)

    def at(self, done: int, total: int | None = None) -> None:
        """So many are done, of so many if that is known."""
        self._done, self._total, self._counted = done, total, True
        self._shown.bars.update(self._task, completed=done, total=total, counted=True)
        if self._shown.events and time.monotonic() - self._last_event >= EVENT_EVERY_SECONDS:
            self._last_event = time.monotonic()
            self._tell("running")
        self._shown.tick(self)

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.at(self._done + count)

    def finish(self) -> None:
        """That was all; to say so again does nothing."""
        if self.finished:
            return
        self.finished = True
        # an empty one is full, too
        self._shown.bars.update(
            self._task, completed=self._done or 1, total=self._done or 1, nothing=not self._done
        )
        self._shown.bars.stop_task(self._task)
        if self._shown.events:
            self._tell("done")
        elif self._shown.lines:
            self._shown.line(self.told())

    def _tell(self, state: str) -> None:
        assert self._shown.events
        seconds = round(time.monotonic() - self._began, 3)
        total = self._done if self.finished and self._counted else self._total
        self._shown.events.tell(
            "step",
            self.told(),
            step=self.title,
            state=state,
            done=self._done if self._counted else None,
            total=total,
            seconds=seconds,
        )

    def count(self) -> str:
        """`100 of 1,300`."""
        return f"{self._done:,} of {self._total:,}" if self._total else f"{self._done:,}"

    def told(self) -> str:
        """How far it is, how fast, and for how long still."""
        seconds = time.monotonic() - self._began
        # What was over when it was first looked at has no rate.
        done = self._done - self._before
        rate = f"{done / seconds:,.0f}/s" if done > 0 and seconds >= SHORTEST_SECONDS else ""
        if self.finished:
            text, left = f"{self._done:,}, done" if self._counted else "done", ""
        else:
            text = self.count()
            rest = (self._total - self._done) * seconds / done if self._total and done > 0 else 0
            left = f"{about(rest)} left" if rest > 0 else ""
        return ", ".join(filter(None, [f"{self.title}: {text} in {seconds:.1f} s", rate, left]))


class Bars(Progress):
    """Above the bars how far all is, and what it waits for; below them the calls left of the day's."""

    calls_left: Callable[[], int | None] = staticmethod(lambda: None)
    waiting: Callable[[], Waiting | None] = staticmethod(lambda: None)
    whole: Migration | None = None

    def __init__(self, *columns: ProgressColumn, console: Console, **options: Any) -> None:
        self._on = console  # it is asked before rich has a console of its own
        super().__init__(*columns, console=console, **options)

    def told_calls_left(self) -> str:
        """As text, empty while it is not known."""
        left = self.calls_left()
        return "" if left is None else f"{left:,} calls left today"

    def get_renderables(self) -> Iterable[RenderableType]:
        """See rich."""
        if self.whole:
            yield Text(f"All: {told_whole(self.whole)}", style="bold")
        if told := told_waiting(self.waiting(), self.whole):
            yield Text(told, style="yellow")
        # What is under way is seen, however small the terminal: of what is done the oldest make room.
        room = max(1, self._on.height - AROUND)
        gone = [task.id for task in self.tasks if task.finished][: max(0, len(self.tasks) - room)]
        if gone:
            yield Text(f"✓ {len(gone)} more are done", style="green")
        yield self.make_tasks_table([task for task in self.tasks if task.id not in gone])
        if told := self.told_calls_left():
            yield Text(told, style="dim")


class Steps:
    """A display of steps, and of the whole that they are parts of. Use as a context manager.

    Args:
        quiet: show nothing at all.
        as_json: events for programs instead, one a line.
        console: where to; None: stderr.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        is_live = console.is_terminal and not quiet and not as_json
        self.events = Events() if as_json and not quiet else None
        self.lines = None if quiet or as_json or is_live else console
        self._last_line = time.monotonic()
        self._last_told, self._told_at = "", 0.0
        self._waited: Waiting | None = None
        self._seen: deque[tuple[float, int]] = deque()
        self._handlers: list[tuple[logging.StreamHandler[Any], Any]] = []
        self._steps: list[Step] = []
        # A title that has no room is folded; figures are whole.
        columns: list[ProgressColumn] = [
            SpinnerColumn(finished_text="[green]✓", table_column=Column(no_wrap=True)),
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
        ]
        if console.width >= WIDE:
            columns.append(BarColumn(bar_width=min(30, console.width - WIDE + 10)))
        columns.append(CountColumn(table_column=Column(no_wrap=True)))
        if console.width >= NARROW:
            columns.append(RateColumn(table_column=Column(no_wrap=True)))
        if console.width >= WIDE:
            columns.append(TimeElapsedColumn(table_column=Column(no_wrap=True)))
        columns.append(LeftColumn(table_column=Column(no_wrap=True)))
        self.bars = Bars(*columns, console=console, disable=not is_live)

    def __enter__(self) -> Self:
        self.bars.start()
        if not self.bars.disable:
            # what is logged goes above the bars, not through them
            for handler in logging.getLogger().handlers:
                if type(handler) is logging.StreamHandler:
                    import sys  # noqa: PLC0415 - rich has put its own in its place just now

                    self._handlers.append((handler, handler.setStream(sys.stderr)))
        elif self.events:
            self.events.take_log()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handler, stream in self._handlers:
            handler.setStream(stream)
        self.bars.stop()

    def show_calls_left(self, calls_left: Callable[[], int | None]) -> None:
        """Shows from now on what is left of the day's calls; None: it is not known yet."""
        self.bars.calls_left = calls_left

    def show_waiting(self, waiting: Callable[[], Waiting | None]) -> None:
        """Shows from now on what all wait for; None: nothing."""
        self.bars.waiting = waiting

    def show_client(self, client: ZohoClient) -> None:
        """Shows from now on what a client has left of the day's calls, and what it waits for."""
        self.show_calls_left(lambda: client.calls_left)
        self.show_waiting(lambda: client.waiting)

    def show_whole(self, whole: Migration | None) -> None:
        """Shows how far all is."""
        whole = whole and self._at_the_pace_so_far(whole)
        if self.events and whole and whole != self.bars.whole:
            self.events.tell("progress", told_whole(whole), **_facts(whole))
        self.bars.whole = whole
        self.tick()

    def _at_the_pace_so_far(self, whole: Migration) -> Migration:
        """The ceilings say how fast it may be; the end is later if it has been slower in the last minutes."""
        now = time.monotonic()
        if whole.wait in {"pause", "day"}:
            self._seen.clear()
        self._seen.append((now, whole.calls_done))
        while now - self._seen[0][0] > PACE_SECONDS:
            self._seen.popleft()
        seconds, calls = now - self._seen[0][0], whole.calls_done - self._seen[0][1]
        if whole.ends_at is None or seconds < PACE_SECONDS / 6 or not calls:
            return whole
        at_this_pace = whole.at + timedelta(seconds=whole.calls_to_do * seconds / calls)
        within_the_day = whole.days_left == 1
        return replace(whole, ends_at=max(whole.ends_at, at_this_pace)) if within_the_day else whole

    def tick(self, step: Step | None = None) -> None:
        """A moment for a line, if the last one is a minute old, or for the event of a wait that has begun."""
        waiting = self.bars.waiting()
        if self.events and waiting != self._waited:
            self._waited = waiting
            self.events.tell(
                "waiting",
                told_waiting(waiting, None) or "Goes on.",
                reason=waiting.reason if waiting else None,
                until=waiting.until if waiting else None,
            )
        now = time.monotonic()
        if not self.lines or now - self._last_line < LINE_EVERY_SECONDS:
            return
        whole = self.bars.whole
        if whole:
            under_way = [f"{one.title} {one.count()}" for one in self._steps if not one.finished]
            told = ", ".join([f"all: {told_whole(whole)}", *under_way[:3]])
        elif step:
            told = step.told()
        else:
            return
        if waits := told_waiting(waiting, whole):
            told += f"; {waits[0].lower()}{waits[1:]}"
        if left := self.bars.told_calls_left():
            told += f", {left}"
        if told == self._last_told and now - self._told_at < SAME_LINE_EVERY_SECONDS:
            return
        self._last_line = self._told_at = now
        self._last_told = told
        self.line(told)

    def line(self, text: str) -> None:
        """A line of text where there is no terminal."""
        assert self.lines is not None
        self.lines.print(escaped_line(text), markup=False, highlight=False, soft_wrap=True)

    def add(self, title: str) -> Step:
        """Shows a step from now on; it is to be finished."""
        step = Step(
            self, self.bars.add_task(title, total=None, counted=False, nothing=False, before=0), title
        )
        self._steps.append(step)
        return step

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Shows a step as long as the block lasts."""
        step = self.add(title)
        yield step
        step.finish()


def about(seconds: float) -> str:
    """`about 40 s`, `about 12 min`, `about 5 h`, `about 3 days`."""
    for most, length, name in ((90, 1, "s"), (5400, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < most:
            return f"about {seconds / length:,.0f} {name}"
    return f"about {seconds / 86400:,.0f} days"


def moment(time_: datetime, seen: datetime) -> str:
    """`14:32`, or with its day if that is another one than that of `seen`."""
    local = time_.astimezone()
    return f"{local:%H:%M}" if local.date() == seen.astimezone().date() else f"{local:%Y-%m-%d %H:%M}"


def told_whole(whole: Migration) -> str:
    """`1,234 of 3,611 calls, 34 %, about 58 min left, until 14:32`."""
    total = whole.calls_done + whole.calls_to_do
    told = f"{whole.calls_done:,} of {total:,} calls"
    if total:
        told += f", {100 * whole.calls_done // total} %"
    if whole.calls_to_do and whole.ends_at:
        seconds = max(0.0, (whole.ends_at - whole.at).total_seconds())
        told += f", {about(seconds)} left, until {moment(whole.ends_at, whole.at)}"
    return told


def told_waiting(waiting: Waiting | None, whole: Migration | None) -> str:
    """`Waits until 13:34:07: the minute's calls are used up`; empty: it does not wait."""
    if waiting is None:
        return ""
    local = waiting.until.astimezone()
    today = whole.at.astimezone().date() if whole else datetime.now().astimezone().date()
    until = f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"
    return f"Waits until {until}: {escaped_line(waiting.reason)}"


def _facts(whole: Migration) -> dict[str, Any]:
    return {
        "calls_done": whole.calls_done,
        "calls_to_do": whole.calls_to_do,
        "calls_left_today": whole.calls_left_today,
        "lists_read": whole.lists_read,
        "lists": whole.lists,
        "records": whole.records,
        "details_fetched": whole.details_fetched,
        "minutes_left": whole.minutes_left,
        "days_left": whole.days_left,
        "ends_at": whole.ends_at,
        "wait": whole.wait,
        "waits_until": whole.waits_until,
    }


class Titled:
    """A display whose steps have something before their titles, as the organisation's id.

    Args:
        steps: where they are shown.
        before: what is shown before each.
    """

    def __init__(self, steps: Steps, before: str) -> None:
        self._steps = steps
        self._before = before

    def add(self, title: str) -> Step:
        """See `Steps`."""
        return self._steps.add(self._before + title)

    def show_client(self, client: ZohoClient) -> None:
        """Nothing: several have no day and no wait in common."""

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """See `Steps`."""
        with self._steps.step(self._before + title) as step:
            yield step


class CountColumn(ProgressColumn):
    """`1,200/2,218`, or without the total where it is unknown, or nothing where nothing is counted."""

    def render(self, task: Task) -> Text:
        """See rich."""
        if task.fields.get("nothing"):
            return Text("0" if task.fields.get("counted") else "", justify="right")
        if not task.completed and not task.total:
            return Text("")
        total = f"/{task.total:,.0f}" if task.total and not task.finished else ""
        return Text(f"{task.completed:,.0f}{total}", justify="right")


class RateColumn(ProgressColumn):
    """`85/s`."""

    def render(self, task: Task) -> Text:
        """See rich."""
        # rich's own speed begins anew whenever the total changes
        seconds, done = task.elapsed or 0, task.completed - task.fields.get("before", 0)
        counted = seconds and done > 0 and not task.fields.get("nothing")
        return Text(f"{done / seconds:,.0f}/s" if counted else "", style="dim")


class LeftColumn(ProgressColumn):
    """`-0:04:10`: how long it takes still, at the rate so far."""

    def render(self, task: Task) -> Text:
        """See rich."""
        done = task.completed - task.fields.get("before", 0)
        if task.finished or not (task.total and done > 0 and task.elapsed):
            return Text("")
        seconds = max(0.0, task.total - task.completed) * task.elapsed / done
        return Text(f"-{timedelta(seconds=round(seconds))}", style="cyan")
