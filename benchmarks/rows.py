"""The table: what is measured, against what, what was promised; medians, spread, printing, JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Samples = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a sample, divided round by round by another."""

    key: str
    title: str
    sample: str
    against: str | None = None
    target: float | None = None
    unit: str = "rows/s"
    at_most: bool = False
    """Whether the target is an upper bound."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """A row with its figures."""

    row: Row
    values: Sequence[float]
    baseline: Sequence[float]
    note: str

    @property
    def ratios(self) -> list[float]:
        """Round by round."""
        return [value / base for value, base in zip(self.values, self.baseline, strict=False) if base]

    @property
    def ratio(self) -> float | None:
        """Median of the rounds' ratios."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None where there is none, or nothing was measured."""
        if self.ratio is None or self.row.target is None:
            return None
        return self.ratio <= self.row.target if self.row.at_most else self.ratio >= self.row.target

    def as_dict(self) -> dict[str, Any]:
        """For JSON: every round, so that nothing has to be believed."""
        return {
            "key": self.row.key,
            "title": self.row.title,
            "unit": self.row.unit,
            "values": list(self.values),
            "median": statistics.median(self.values) if self.values else None,
            "against": self.row.against,
            "baseline": list(self.baseline),
            "ratios": self.ratios,
            "ratio": self.ratio,
            "target": self.row.target,
            "target_is": "at most" if self.row.at_most else "at least",
            "met": self.met,
            "note": self.note,
        }


def measured(rows: Sequence[Row], samples: Samples, notes: Mapping[str, str]) -> list[Measured]:
    """The rows with what was sampled for them; a note of a sample goes to its row."""
    return [
        Measured(
            row,
            samples.get(row.sample, ()),
            samples.get(row.against, ()) if row.against else (),
            "; ".join(filter(None, (row.note, notes.get(row.sample, "")))),
        )
        for row in rows
    ]


def show(console: Console, title: str, lines: Sequence[Measured]) -> None:
    """Prints the table."""
    table = Table(title=title, title_justify="left", caption_justify="left", expand=False)
    table.add_column("what", overflow="fold", max_width=58)
    for name in ("median", "against", "ratio", "spread", "target", ""):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note", overflow="fold", max_width=48)
    for line in lines:
        table.add_row(*_cells(line), style=None if line.met in {True, None} else "bold red")
    console.print(table)


def _cells(line: Measured) -> list[str]:
    bound = "≤" if line.row.at_most else "≥"
    ratios = line.ratios
    return [
        line.row.title,
        amount(statistics.median(line.values), line.row.unit) if line.values else "-",
        amount(statistics.median(line.baseline), line.row.unit) if line.baseline else "",
        f"{line.ratio:.2f}" if line.ratio is not None else "",
        f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "",
        f"{bound} {line.row.target:g}" if line.row.target is not None else "",
        {True: "met", False: "MISSED", None: ""}[line.met],
        line.note,
    ]


def amount(value: float, unit: str) -> str:
    """A figure with its unit, as people read it."""
    if unit == "bytes":
        return f"{value / 2**20:,.1f} MiB"
    return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.2f} {unit}"


def write(path: Path, facts: Mapping[str, Any], lines: Sequence[Measured]) -> None:
    """Writes the facts of the run and every round of every row as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {**facts, "rows": [line.as_dict() for line in lines]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
