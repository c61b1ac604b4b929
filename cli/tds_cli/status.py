"""`tds status`: how all stands."""

import sys

import click

from tds_cli.exits import INCOMPLETE
from tds_cli.options import as_json
from tds_cli.organisations import by_org
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_cli.waiting import holders, waiting
from tds_db.connect import connect_for_rows


@click.command()
@by_org
@as_json
def status(organisations: tuple[str, ...], as_json: bool) -> None:
    """Shows events, runs, wanted details, dead letters, calls, organisations, jobs, workers.

    With --org it shows of what belongs to an organisation only that one's; counts of events are of all.

    Exit code 4: there are dead letters, or deletions held back.
    """
    with connect_for_rows("status") as connection:
        tables = connection.execute("select name, title, rows from tds.summary()").fetchall()
        # what a router's summary tells of its shards; who waits for whom there, each tells for itself
        if "shards" not in {table["name"] for table in tables}:
            tables += [
                {"name": "waiting", "title": "Waiting, and why", "rows": waiting(connection)},
                {"name": "holders", "title": "Who holds locks", "rows": holders(connection)},
            ]
    if organisations:
        for table in tables:
            table["rows"] = [
                row for row in table["rows"] if row.get("organization_id", organisations[0]) in organisations
            ]
    found = {table["name"]: table["rows"] for table in tables}
    if as_json:
        print_json(found)
    else:
        for table in tables:
            print_table(table["title"], table["rows"])
            echo()
    if found.get("held"):
        echo("See the deletions held back: tds deletions list", err=True)
    if found.get("dead"):
        echo("See the dead letters: tds dead list", err=True)
    if found.get("dead") or found.get("held"):
        sys.exit(INCOMPLETE)
