"""`tds process`: a worker's work, once."""

import click

from tds_cli.options import as_json
from tds_cli.output import print_json
from tds_cli.terminal import echo
from tds_cli.waiting import holders, waiting
from tds_db.connect import connect
from tds_db.errors import notice_text
from tds_db.worker import SETTINGS, drain


@click.command()
@click.argument("queue", required=False)
@as_json
def process(queue: str | None, as_json: bool) -> None:
    """Processes what has come, until nothing is left in QUEUE, or in any queue."""
    totals: dict[str, int] = {}
    with connect("process", settings=SETTINGS, autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: echo(notice_text(notice), err=True))
        while (outcome := drain(connection, queue))["claimed"]:
            for name, count in outcome.items():
                totals[name] = totals.get(name, 0) + count
        left, who = waiting(connection), holders(connection)
    if as_json:
        print_json(totals)
    else:
        echo(", ".join(f"{name} {count:,}" for name, count in totals.items()) or "Nothing waited.")
    for row in left:
        echo(f"Still waiting: {row['events']:,} {row['entity']}: {row['error_code']} {row['why']}", err=True)
    for row in who:
        told = f"pid {row['pid']} ({row['user']}, {row['application']}, {row['state']})"
        echo(f"Holds locks since {row['since']:%Y-%m-%d %H:%M:%S}: {told}: {row['query']}", err=True)
