"""`tds undo`: what a run wrote, taken back."""

from collections import Counter

import click

from tds_cli.options import NUMBER, as_json
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows

UNDO = "select * from tds.undo_run(%s, dry => %s, partly => %s)"
SHOWN = 50
UNDOES = {"removed", "restored"}
REFUSED = "refused"


@click.command()
@click.argument("run_id", type=NUMBER)
@click.option("--yes", is_flag=True, help="Do it; without, it is only shown.")
@click.option("--partly", is_flag=True, help="Take back the rest, where some records cannot be.")
@as_json
def undo(run_id: int, yes: bool, partly: bool, as_json: bool) -> None:
    """Takes back what the run RUN_ID wrote: its new rows go, what it changed is as it was.

    Records of which something newer came are kept, and named. Without --yes nothing is changed.
    """
    with connect_for_rows("undo") as connection:
        rows = connection.execute(UNDO, [run_id, not yes, partly]).fetchall()
    if as_json:
        print_json({"run_id": run_id, "done": yes, "records": rows})
        return
    print_table("Taken back" if yes else "To be taken back", rows[:SHOWN])
    if len(rows) > SHOWN:
        echo(f"… and {len(rows) - SHOWN} more: --json shows all")
    counts = Counter(str(row["action"]) for row in rows)
    echo(
        ", ".join(f"{action}: {count}" for action, count in sorted(counts.items()))
        or "The run wrote nothing."
    )
    if not yes and counts.keys() & UNDOES:
        # with one that is refused nothing at all is done, unless partly
        echo(f"Next: tds undo {run_id} --yes{' --partly' if counts[REFUSED] else ''}", err=True)
    elif counts[REFUSED]:
        echo("What was is not known. What Zoho says now comes with a pull. Next: tds pull ENTITY", err=True)
