"""`tds status`: how all stands."""

import sys

import click

from tds_cli.exits import INCOMPLETE
from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_db.connect import connect_for_rows

# Key of the JSON object: title of the table, and where its rows come from.
STATUS = {
    "queue": ("Events", "select status, events from tds_queue_counts order by status"),
    "open": (
        "Events not finished",
        """select entity, count(*) as events, count(retry_at) as parked, min(received_at) as oldest
             from tds.inbox_open group by entity order by entity""",
    ),
    "runs": (
        "Newest run of each list",
        """select distinct on (r.organization_id, r.entity)
                  r.entity, r.run_id, r.state, r.pages, r.records, r.started_at, r.finished_at, r.error
             from tds.run r order by r.organization_id, r.entity, r.run_id desc""",
    ),
    "details": (
        "Details wanted",
        """select entity, count(*) as wanted, count(error) as failed, min(wanted_at) as oldest,
                  max(error) as last_error
             from tds.wanted_detail group by entity order by entity""",
    ),
    "dead": (
        "Dead letters",
        """select entity, path, reason, count(*) as letters, max(dead_at) as newest
             from tds_dead_letter_queue group by entity, path, reason order by entity, letters desc""",
    ),
    "workers": (
        "Workers",
        """select application_name as worker, pid, backend_start as since, state from pg_stat_activity
            where datname = current_database() and application_name like 'tds/worker/%' order by pid""",
    ),
}


@click.command()
@as_json
def status(as_json: bool) -> None:
    """Shows queues, runs, wanted details, dead letters and workers. Exit code 4: there are dead letters."""
    with connect_for_rows("status") as connection:
        found = {name: connection.execute(query).fetchall() for name, (_, query) in STATUS.items()}
    if as_json:
        print_json(found)
    else:
        for name, rows in found.items():
            print_table(STATUS[name][0], rows)
            click.echo()
    if found["dead"]:
        click.echo("See the dead letters: tds dead list", err=True)
        sys.exit(INCOMPLETE)
