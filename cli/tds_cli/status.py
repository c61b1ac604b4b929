"""`tds status`: how all stands."""

import sys

import click

from tds_cli.exits import INCOMPLETE
from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_cli.waiting import holders, waiting
from tds_db.connect import connect_for_rows


@click.command()
@as_json
def status(as_json: bool) -> None:
    """Shows events, runs, wanted details, dead letters, calls, jobs, workers.

    Exit code 4: there are dead letters, or deletions held back.
    """
    with connect_for_rows("status") as connection:
        tables = connection.execute("select name, title, rows from tds.summary()").fetchall()
        tables += [
            {"name": "waiting", "title": "Waiting, and why", "rows": waiting(connection)},
            {"name": "holders", "title": "Who holds locks", "rows": holders(connection)},
        ]
    found = {table["name"]: table["rows"] for table in tables}
    if as_json:
        print_json(found)
    else:
        for table in tables:
            print_table(table["title"], table["rows"])
            echo()
    if found["held"]:
        echo("See the deletions held back: tds deletions list", err=True)
    if found["dead"]:
        echo("See the dead letters: tds dead list", err=True)
    if found["dead"] or found["held"]:
        sys.exit(INCOMPLETE)
