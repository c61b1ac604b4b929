"""Charts as inline SVG: the points come from the database, here is only where they go on the paper."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

WIDTH, HEIGHT = 400, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 26
Point = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: where, and what it says."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Paper:
    """Where a time and a value go."""

    start: float
    end: float
    low: float
    top: float

    def x(self, at: float) -> float:
        """Across, of a time."""
        share = (at - self.start) / max(self.end - self.start, 1)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Down, of a value."""
        share = (value - self.low) / (self.top - self.low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its path, and its figures in words."""

    label: str
    path: str
    dots: Sequence[tuple[float, float]]
    last: str
    least: str
    most: str
    total: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, ready to be written into the page."""

    name: str
    title: str
    what: str
    query: str
    axis: str
    lines: Sequence[Line]
    ticks_x: Sequence[Tick]
    ticks_y: Sequence[Tick]
    told: str
    is_summed: bool


def amount(value: float | None, unit: str) -> str:
    """A figure with its unit, short: 1.2k, 35 ms, 4.1 GB.

    Args:
        value: the figure; None: there is none.
        unit: events, calls, seconds, bytes or %.
    """
    if value is None:
        return "-"
    if unit == "bytes":
        return _scaled(value, 1024, ("B", "kB", "MB", "GB", "TB"))
    if unit == "%":
        return f"{math.floor(value * 100) / 100:.2f}".rstrip("0").removesuffix(".") + " %"
    if unit == "seconds":
        for below, factor, name in (
            (1, 1000, "ms"),
            (120, 1, "s"),
            (7200, 1 / 60, "min"),
            (172800, 1 / 3600, "h"),
        ):
            if value < below:
                return f"{_short(value * factor)} {name}" if value else "0 s"
        return f"{_short(value / 86400)} d"
    return _scaled(value, 1000, ("", "k", "M", "G")).rstrip()


def _scaled(value: float, base: int, names: Sequence[str]) -> str:
    place = 0
    while abs(value) >= base and place < len(names) - 1:
        value /= base
        place += 1
    return f"{_short(value)} {names[place]}".replace(" k", "k").replace(" M", " M")


def _short(value: float) -> str:
    text = f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
    return text.removesuffix(".0")


def drawn(told: Mapping[str, Any], given: Mapping[str, Any]) -> Chart:
    """One chart.

    Args:
        told: what `tds.dashboard_charts()` returns: from, to, step.
        given: one of its charts.
    """
    unit = given["unit"]
    start, end, step = float(told["from"]), float(told["to"]), float(told["step"])
    if given["name"] == "size":
        step = max(step, 900.0)
    if unit == "%":
        step = math.inf  # what was said last holds until it is said anew
    series: list[tuple[Mapping[str, Any], list[Point]]] = [
        (one, [(float(at), None if value is None else float(value)) for at, value in one["points"]])
        for one in given["series"]
    ]
    values = [value for _, points in series for _, value in points if value is not None]
    low, high = 0.0, max(values, default=0.0)
    if values and given["name"] == "size":
        low = _floor(values)
    elif unit == "%":
        low, high = (
            next(
                mark
                for mark in (99.0, 98.0, 96.0, 90.0, 80.0, 60.0, 0.0)
                if mark < min(values, default=100.0) or not mark
            ),
            100.0,
        )
    marks = _nice(low, high, base=1024 if unit == "bytes" else 10)
    top = marks[-1]

    on = Paper(start, end, low, top)
    is_summed = any(one["summed"] for one in given["series"])
    lines = [_line(one, points, unit, step, on) for one, points in series]
    return Chart(
        name=given["name"],
        title=given["title"],
        what=given["what"],
        query=given["query"],
        axis=f"{unit} in {_length(step)}" if is_summed else "% equal" if unit == "%" else unit,
        lines=lines,
        ticks_x=[Tick(on.x(at), label) for at, label in _times(start, end, told["span"])],
        ticks_y=[Tick(on.y(mark), amount(mark, unit).removesuffix(" %")) for mark in marks],
        told=_in_words(given["what"], lines),
        is_summed=is_summed,
    )


def _line(one: Mapping[str, Any], points: Sequence[Point], unit: str, step: float, on: Paper) -> Line:
    path: list[str] = []
    dots: list[tuple[float, float]] = []
    before: float | None = None
    stretch = 0
    for at, value in points:
        if value is None:
            continue
        joined = before is not None and at - before < 1.6 * step
        if not joined and stretch == 1:
            dots.append(_end(path[-1]))
        path.append(f"{'L' if joined else 'M'}{on.x(at)} {on.y(value)}")
        stretch = stretch + 1 if joined else 1
        before = at
    if stretch == 1:
        dots.append(_end(path[-1]))
    known = [value for _, value in points if value is not None]
    return Line(
        one["label"],
        "".join(path),
        dots,
        amount(known[-1] if known else None, unit),
        amount(min(known, default=None), unit),
        amount(max(known, default=None), unit),
        amount(sum(known), unit) if one["summed"] else "",
    )


def _end(step: str) -> tuple[float, float]:
    at, _, value = step[1:].partition(" ")
    return float(at), float(value)


def _floor(values: Sequence[float]) -> float:
    """A size that hardly grows is shown from just below it on, so that its growth is seen."""
    least, most = min(values), max(values)
    return 0.0 if most <= 0 or least < most * 0.8 else math.floor(least * 0.95 / 2**20) * 2**20


def _nice(low: float, high: float, base: int) -> list[float]:
    """Three to five marks, at figures that are easily read, the last not below the highest value."""
    reach = max(high - low, 1e-9)
    if high <= low:
        reach = max(abs(low), 1.0) if base == 10 else 2.0**20
    rough = reach / 4
    if base == 1024:
        power = 1024.0 ** math.floor(math.log(max(rough, 1), 1024))
        steps = [power * n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)]
    else:
        power = 10.0 ** math.floor(math.log10(rough))
        steps = [power * n for n in (1, 2, 2.5, 5, 10)]
    step = next((one for one in steps if one >= rough * 0.999), steps[-1])
    count = max(1, math.ceil((low + reach - low) / step - 1e-9))
    return [low + step * n for n in range(count + 1)]


def _times(start: float, end: float, span: str) -> list[tuple[float, str]]:
    every = {"hour": 900, "day": 6 * 3600}.get(span, 5 * 86400)
    first = math.ceil(start / every) * every
    form = "%H:%M" if span in {"hour", "day"} else "%d %b"
    return [
        (at, datetime.fromtimestamp(at, UTC).strftime(form))
        for at in range(int(first), int(end) + 1, every)
        # none that would hang over the edge of the paper
        if at - start > (end - start) * 0.02 and end - at > (end - start) * 0.04
    ]


def _length(step: float) -> str:
    if step < 3600:
        return "a minute" if step == 60 else f"{step / 60:.0f} minutes"
    return f"{step / 3600:.0f} hours"


def _in_words(what: str, lines: Sequence[Line]) -> str:
    if not any(line.path for line in lines):
        return f"{what} Nothing has been noted in this time."
    parts = [
        f"{line.label}: {f'{line.total} in all, ' if line.total else ''}last {line.last}, at most {line.most}"
        for line in lines
    ]
    return f"{what} {'; '.join(parts)}."
