"""`tds health` and `tds heal`: how all stands, and mending what can be mended."""

import sys
from typing import Any

import click

from tds_cli.exits import FAILED
from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows

STATES = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}
"""The exit codes of monitoring plugins."""
WORST_FIRST = ("critical", "warning", "unknown", "ok")

NOW = "select name, state, value, unit, threshold, since, told, next_step, area from tds.health()"
LAST = """
    select name, state, value, unit, threshold, since, told, next_step, area, looked_at from tds_health
     order by array_position(array['critical', 'warning', 'unknown', 'ok'], state), area, name"""


@click.command()
@click.option("--last", is_flag=True, help="Show what the job saw, without looking again.")
@click.option("--all", "show_all", is_flag=True, help="Show the checks that are well, too.")
@as_json
def health(*, last: bool, show_all: bool, as_json: bool) -> None:
    """Tells how all stands: a line of summary, then each check that is not well, and what to do.

    \b
    Exit code, as of monitoring plugins:
      0  ok
      1  warning
      2  critical
      3  unknown: a check failed, or nobody has looked for long
    """
    with connect_for_rows("health") as connection:
        rows = connection.execute(LAST if last else NOW).fetchall()
        summary = connection.execute("select tds.health_summary() as summary").fetchone()
    kept = summary["summary"] if summary else None
    state = kept["state"] if last and kept else worst(rows)
    if as_json:
        print_json({"state": state, "last_look": kept, "checks": rows})
    else:
        echo(headline(state, rows))
        shown = rows if show_all else [row for row in rows if row["state"] != "ok"]
        if shown:
            print_table("Checks", shown)
    sys.exit(STATES[state])


def worst(rows: list[dict[str, Any]]) -> str:
    """The state of all: unknown where nothing was looked at."""
    found = {row["state"] for row in rows}
    return next((state for state in WORST_FIRST if state in found), "unknown")


def headline(state: str, rows: list[dict[str, Any]]) -> str:
    """The line that monitoring shows: the state first, then the names of what is not well."""
    counts = {word: [row["name"] for row in rows if row["state"] == word] for word in WORST_FIRST}
    told = [f"{len(names)} {word}: {', '.join(names)}" for word, names in counts.items() if names]
    if counts["ok"]:
        told[-1] = f"{len(counts['ok'])} ok"
    return f"TDS {state.upper()} - {'; '.join(told) or 'nothing has been looked at yet'}"


@click.command()
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@as_json
def heal(*, dry_run: bool, as_json: bool) -> None:
    """Mends what can be mended, as the job does every five minutes. Exit code 1: something could not be."""
    with connect_for_rows("heal") as connection:
        rows = connection.execute(
            "select step, subject, act, ok, detail from tds.heal(%s)", [dry_run]
        ).fetchall()
    if as_json:
        print_json({"dry_run": dry_run, "acts": rows})
    elif rows:
        print_table("Would be done" if dry_run else "Done", rows)
    else:
        echo("Nothing has to be mended.")
    if not all(row["ok"] for row in rows):
        sys.exit(FAILED)
