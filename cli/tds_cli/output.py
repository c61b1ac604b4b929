"""Printing data: a table for people, JSON for programs; always on stdout."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tds_cli.terminal import escaped_json, escaped_line

IDENTIFIERS = {"run", "run_id", "number", "event", "pid"}  # numbers that are names: 1234, not 1,234
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d")  # as in JSON
NARROW = 70  # columns of a terminal; below, a table that is too wide is a list
WIDE = 10_000  # columns where nobody looks: a line of a file is never broken


def print_table(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """One line a row, a column a key of the first row; nothing but the title for no rows.

    Where that is too wide for a narrow terminal, a line a value, the first one of a row as its head. A file
    is no terminal, unless COLUMNS says that it is as narrow as one.
    """
    console = Console(width=None if sys.stdout.isatty() else _asked_width())
    shown: Table | Text | Group = table_of(title, rows) if rows else Text(f"{title}: none")
    as_wide_as_it_is = console.options.update(max_width=WIDE)
    if (
        rows
        and console.width < NARROW
        and shown.__rich_measure__(console, as_wide_as_it_is).maximum > console.width
    ):
        shown = _stacked(title, rows)
    console.print(shown, markup=False, highlight=False)


def _asked_width() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdigit() and 20 <= int(columns) < NARROW else WIDE


def _stacked(title: str, rows: Sequence[Mapping[str, object]]) -> Group:
    parts: list[RenderableType] = [Text(title, style="italic")]
    for row in rows:
        texts = {
            name: Text(escaped_line(cell(value, is_name=name in IDENTIFIERS)), overflow="fold")
            for name, value in row.items()
        }
        named = [(name, text) for name, text in texts.items() if text.plain]
        if not named:
            continue
        named[0][1].stylize("bold")
        parts.append(named[0][1])
        lines = Table.grid(padding=(0, 1))
        lines.add_column(overflow="fold", max_width=18)
        lines.add_column(overflow="fold")
        for name, text in named[1:]:
            lines.add_row(f"  {name.replace('_', ' ')}", text)
        parts.append(lines)
    return Group(*parts)


def table_of(title: str, rows: Sequence[Mapping[str, object]]) -> Table:
    """The same, to be shown with other things."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for name, value in (rows[0] if rows else {}).items():
        table.add_column(
            name.replace("_", " "), justify="right" if isinstance(value, int | float | Decimal) else "left"
        )
    for row in rows:
        cells = (cell(value, is_name=name in IDENTIFIERS) for name, value in row.items())
        table.add_row(*(Text(escaped_line(cell)) for cell in cells))
    return table


def print_json(document: object) -> None:
    """One JSON document on one line; times and decimals as text."""
    click.echo(escaped_json(json.dumps(document, default=str, ensure_ascii=False)))


def cell(value: object, *, is_name: bool = False) -> str:
    """A value as people read it."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int() if is_name:
            return str(value)
        case int():
            return f"{value:,}"
        case datetime():
            return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
        case timedelta():
            return f"{value.total_seconds():,.1f} s"
        case Decimal():
            return f"{value:,f}"
        case float():
            return f"{value:,.1f}"
        case str() if TIME.fullmatch(value):
            return cell(datetime.fromisoformat(value), is_name=False)
        case _:
            return str(value)
