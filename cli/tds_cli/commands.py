"""`tds migrate`, `status`, `dead`, `process`, `work`."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from math import inf
from typing import Any

import click
import psycopg
from psycopg.rows import DictRow, dict_row

from tds_cli.output import print_json, print_table
from tds_cli.progress import Steps
from tds_db.connect import connect, conninfo
from tds_db.errors import TdsError
from tds_db.worker import drain, run_worker, run_workers
from tds_poller.migrate import Pulled
from tds_poller.migrate import migrate as migrate_all
from tds_poller.mirror import Mirror
from tds_poller.plan import tell_costs
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.settings import ZohoSettings

INCOMPLETE = 4

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.option("--restart", is_flag=True, help="Begin anew even if an earlier try was left unfinished.")
@click.option("--wait/--no-wait", default=True, help="Whether to wait for the next day's calls, and go on.")
@click.option("--dry-run", is_flag=True, help="Tell the calls, as tds plan does, and fetch nothing.")
@as_json
def migrate(*, restart: bool, wait: bool, dry_run: bool, as_json: bool) -> None:
    """Fetches every list from Zoho, and then the details that lists lack.

    It takes as many days as the quota of calls needs; `tds plan` says how many. Whatever stops it, the same
    command goes on where it stopped: no page and no detail is fetched twice.
    """
    if dry_run:
        tell_costs((), as_json=as_json)
        return
    settings = ZohoSettings()
    if wait:
        settings = settings.model_copy(update={"longest_wait": inf})

    async def run() -> tuple[list[Pulled], int, int | None]:
        with Steps() as steps:
            async with Mirror(conninfo(), settings.organization_id) as mirror, ZohoClient(settings) as client:
                steps.show_calls_left(lambda: client.calls_left)
                pulled = await migrate_all(client, mirror, steps, restart=restart)
                return pulled, client.calls, client.calls_left

    pulled, calls, calls_left = asyncio.run(run())
    if as_json:
        print_json({"pulled": [asdict(row) for row in pulled], "calls": calls, "calls_left": calls_left})
    else:
        print_table("Fetched", [asdict(row) for row in pulled])
        left = "" if calls_left is None else f", {calls_left:,} left today"
        click.echo(f"{calls:,} calls{left}.", err=True)
    if any(row.missing for row in pulled):
        click.echo("Some details could not be had. See: tds status", err=True)
        sys.exit(INCOMPLETE)


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
    with _connect() as connection:
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


@click.group()
def dead() -> None:
    """What could not be applied, why, and the way back."""


@dead.command("list")
@click.option("--entity", help="Only of this entity.")
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="How many, newest first."
)
@as_json
def dead_list(entity: str | None, limit: int, as_json: bool) -> None:
    """Lists what is dead: number, record, path, value and reason."""
    with _connect() as connection:
        rows = connection.execute(
            """select dead_letter_id as number, dead_at, entity, zoho_id, path,
                      left(value, 60) as value, reason
                 from tds_dead_letter_queue where %(entity)s::text is null or entity = %(entity)s
                order by dead_letter_id desc limit %(limit)s""",
            {"entity": entity, "limit": limit},
        ).fetchall()
    if as_json:
        print_json(rows)
        return
    print_table("Dead letters", rows)
    if rows:
        click.echo("Next: tds dead show NUMBER, tds dead replay NUMBER", err=True)


@dead.command("show")
@click.argument("number", type=int)
def dead_show(number: int) -> None:
    """Shows all that is known of one dead letter, its record included, as JSON."""
    with _connect() as connection:
        row = connection.execute(
            "select * from tds.dead_letter where dead_letter_id = %s", [number]
        ).fetchone()
    if row is None:
        raise TdsError(f"There is no dead letter {number}.", "See: tds dead list")
    print_json(row)


@dead.command("replay")
@click.argument("numbers", type=int, nargs=-1)
@click.option("--entity", help="All of this entity.")
@click.option("--reason-code", help="With --entity: only those of this SQLSTATE.")
@click.option("--dry-run", is_flag=True, help="List what would be sent, and send nothing.")
@as_json
def dead_replay(
    *, numbers: tuple[int, ...], entity: str | None, reason_code: str | None, dry_run: bool, as_json: bool
) -> None:
    """Sends dead letters on their way once more; what fails again is dead again."""
    if bool(numbers) == bool(entity):
        raise click.UsageError("Name dead letters by their numbers, or all of an --entity.")
    with _connect() as connection:
        if dry_run:
            _show_replay(connection, numbers, entity, reason_code, as_json=as_json)
            return
        if entity:
            sent = connection.execute(
                "select tds.replay(%s::text, %s::text) as sent", [entity, reason_code]
            ).fetchone()
            if as_json:
                print_json(sent)
            else:
                click.echo(f"{sent['sent'] if sent else 0:,} sent.", err=True)
            return
        replayed = [
            {"number": number, "event": row["event"]}
            for number in numbers
            for row in connection.execute("select tds.replay(%s::bigint) as event", [number])
        ]
    if as_json:
        print_json({"sent": len(replayed), "replayed": replayed})
        return
    for letter in replayed:
        click.echo(f"Dead letter {letter['number']} goes on as event {letter['event']}.", err=True)


def _show_replay(
    connection: psycopg.Connection[DictRow],
    numbers: Sequence[int],
    entity: str | None,
    reason_code: str | None,
    *,
    as_json: bool,
) -> None:
    """Shows the dead letters that a replay would send, or refuses as it would."""
    rows = connection.execute(
        """select dead_letter_id as number, dead_at, entity, zoho_id, path, reason
             from tds.dead_letter
            where resolved_at is null
              and (dead_letter_id = any (%(numbers)s::bigint[])
                   or entity = %(entity)s::text and (%(code)s::text is null or error_code = %(code)s))
            order by dead_letter_id""",
        {"numbers": list(numbers), "entity": entity, "code": reason_code},
    ).fetchall()
    if unknown := sorted(set(numbers) - {row["number"] for row in rows}):
        named = ", ".join(map(str, unknown))
        raise TdsError(f"No such dead letter, or resolved already: {named}.", "See: tds dead list")
    if as_json:
        print_json({"would_send": rows})
    else:
        print_table("Would be sent", rows)


@click.command()
@click.argument("queue", required=False)
@as_json
def process(queue: str | None, as_json: bool) -> None:
    """Processes what has come, until nothing is left in QUEUE, or in any queue."""
    totals: dict[str, int] = {}
    with connect("process", conninfo(), autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: click.echo(notice.message_primary, err=True))
        while (outcome := drain(connection, queue))["claimed"]:
            for name, count in outcome.items():
                totals[name] = totals.get(name, 0) + count
    if as_json:
        print_json(totals)
    else:
        click.echo(", ".join(f"{name} {count:,}" for name, count in totals.items()) or "Nothing waited.")


@click.command()
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="How many processes.")
def work(workers: int) -> None:
    """Runs workers until interrupted: they process events as these come."""
    if workers == 1:
        run_worker()
    else:
        run_workers(workers)


def _connect() -> psycopg.Connection[DictRow]:
    options: dict[str, Any] = {"row_factory": dict_row, "autocommit": True}
    return psycopg.connect(conninfo(), **options)
