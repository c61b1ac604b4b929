"""`tds top`: health and status in a terminal, live."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click
import psycopg
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tds_cli.health import STATES, headline, worst
from tds_cli.output import cell, table_of
from tds_cli.terminal import escaped_line
from tds_db.connect import connect_for_rows
from tds_db.errors import TdsError

COLOURS = {"ok": "green", "warning": "yellow", "critical": "bold red", "unknown": "magenta"}
NARROW = 70  # columns: below, what is said and what to do stand under the name
LEAVE = {b"q", b"Q", b"\x03", b"\x1b", b""}

LOOK = """
    select json_build_object(
        'at', tds.now(),
        'checks', (select coalesce(json_agg(h), '[]') from tds.health() h),
        'open', (select coalesce(json_agg(o order by o.entity, o.status), '[]')
                   from (select u.entity, u.status, sum(u.events) as events, min(u.oldest) as oldest
                           from tds.unfinished_events() u group by u.entity, u.status) o),
        'summary', (select coalesce(json_object_agg(s.name, s.rows), '{}') from tds.summary(5) s
                     where s.name in ('queue', 'calls', 'processes', 'dead')),
        'pulls', (select coalesce(json_agg(p order by p.run_id desc), '[]')
                    from (select r.run_id, r.entity, r.state, r.pages, r.expected_pages, r.records,
                                 r.progress, r.eta
                            from tds_sync_runs r where r.finished_at is null
                           order by r.run_id desc limit 10) p))
        as look"""


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2),
    default=2.0,
    show_default=True,
    help="Seconds between looks.",
)
@click.option("--once", is_flag=True, help="Look once. So it is where the output is no terminal.")
def top(interval: float, once: bool) -> None:
    """Shows how all stands, live: the verdict, what is not well, the queue, pulls, calls, programs.

    \b
    q or Ctrl-C leaves. Exit code, as of tds health, of the last look:
      0  ok
      1  warning
      2  critical
      3  unknown: a check failed, or the database cannot be asked
    """
    if once or not sys.stdout.isatty():
        with connect_for_rows("top") as connection:
            seen = _look(connection)
        Console(highlight=False, soft_wrap=not sys.stdout.isatty()).print(screen(seen, _width()))
        sys.exit(STATES[worst(seen["checks"])])
    sys.exit(STATES[_live(interval)])


def _live(interval: float) -> str:
    """Looks and shows until somebody leaves; the last state."""
    state = "unknown"
    console = Console(highlight=False)
    with (
        suppress(KeyboardInterrupt),
        _keys() as keys,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        connection = None
        while True:
            try:
                connection = connection or connect_for_rows("top")
                seen = _look(connection)
                state = worst(seen["checks"])
                live.update(_fitted(screen(seen, console.width), console), refresh=True)
            except (psycopg.Error, TdsError) as error:
                # It may come back: what was seen before would be a lie by now.
                state = "unknown"
                if connection is not None:
                    connection.close()
                connection = None
                told = escaped_line(str(error).strip().splitlines()[0] if str(error).strip() else "gone")
                live.update(
                    Text(f"The database cannot be asked: {told}", style=COLOURS["critical"]), refresh=True
                )
            if _left(keys, interval):
                break
        if connection is not None:
            connection.close()
    return state


def _look(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    row = connection.execute(LOOK).fetchone()
    assert row is not None
    seen: dict[str, Any] = row["look"]
    return seen


def screen(seen: Mapping[str, Any], width: int) -> RenderableType:
    """What is shown.

    Args:
        seen: what the database said.
        width: columns there are.
    """
    checks = seen["checks"]
    state = worst(checks)
    summary = seen["summary"]
    ill = [check for check in checks if check["state"] != "ok"]
    parts: list[RenderableType] = [
        Text(escaped_line(headline(state, checks)), style=COLOURS[state]),
        Text(f"{cell(seen['at'])}   " + _line(summary.get("queue", ()), "status", "events"), style="dim"),
        Text(),
    ]
    if ill:
        parts += [_checks(ill, narrow=width < NARROW), Text()]
    for title, rows in (
        ("Not finished", seen["open"]),
        ("Pulls", seen["pulls"]),
        ("Dead letters", [_only(row, "entity", "reason", "letters") for row in summary.get("dead", ())]),
        (
            "Calls of Zoho's API",
            [_only(row, "organization_id", "left_today", "paused_until") for row in summary.get("calls", ())],
        ),
    ):
        if rows:
            shown = rows if width >= NARROW else [dict(list(row.items())[:4]) for row in rows]
            parts += [table_of(title, shown), Text()]
    parts.append(
        Text(_line(summary.get("processes", ()), "process", "sessions") or "no program is connected")
    )
    return Group(*parts)


def _checks(ill: Sequence[Mapping[str, Any]], *, narrow: bool) -> RenderableType:
    """What is not well, the worst first, and what to do."""
    if narrow:
        lines = []
        for check in ill:
            lines.append(Text(f"{check['state']} {check['name']}", style=COLOURS[check["state"]]))
            lines.append(Text(f"  {escaped_line(str(check['told']))}"))
            lines.append(Text(f"  > {escaped_line(str(check['next_step']))}", style="dim"))
        return Group(*lines)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("check", "since", "what it says", "what to do"):
        table.add_column(name, no_wrap=name in {"check", "since"})
    for check in ill:
        table.add_row(
            Text(check["name"], style=COLOURS[check["state"]]),
            cell(check["since"])[11:16] if check["since"] else "",
            Text(escaped_line(str(check["told"]))),
            Text(escaped_line(str(check["next_step"]))),
        )
    return table


def _line(rows: Sequence[Mapping[str, Any]], name: str, count: str) -> str:
    return ", ".join(f"{cell(row[count])} {escaped_line(str(row[name]))}" for row in rows)


def _only(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _width() -> int:
    return Console().width if sys.stdout.isatty() else 10_000


def _fitted(shown: RenderableType, console: Console) -> RenderableType:
    """As much as the terminal has lines for; what is cut is told."""
    lines = console.render_lines(shown, console.options, pad=False)
    if len(lines) <= console.height:
        return shown
    kept: list[RenderableType] = []
    for line in lines[: max(1, console.height - 1)]:
        text = Text(no_wrap=True, overflow="crop")
        for segment in line:
            text.append(segment.text, segment.style)
        kept.append(text)
    return Group(*kept, Text(f"… {len(lines) - len(kept)} lines more: tds health, tds status", style="dim"))


@contextmanager
def _keys() -> Iterator[int | None]:
    """Keys as they are pressed, from the terminal; None where the input is none. It is left as it was."""
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (OSError, ValueError, termios.error):
        yield None
        return
    tty.setcbreak(descriptor)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _left(keys: int | None, seconds: float) -> bool:
    """Waits so long; whether somebody wants to leave."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if keys is None:
            time.sleep(left)
        elif select.select([keys], [], [], left)[0] and os.read(keys, 1) in LEAVE:
            return True
    return False
