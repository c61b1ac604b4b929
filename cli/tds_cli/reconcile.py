"""`tds reconcile`: the mirror's sums against Zoho's own reports."""

import asyncio
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import click
import psycopg
from psycopg.rows import DictRow

from tds_cli.events import note
from tds_cli.exits import FAILED, INCOMPLETE
from tds_cli.interrupts import goes_on
from tds_cli.options import as_json
from tds_cli.organisations import by_org, for_each
from tds_cli.output import print_table
from tds_cli.progress import Steps
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows, conninfo
from tds_poller.mirror import Mirror
from tds_poller.poll import reconcile_all
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.settings import ZohoSettings

SHOWN = 30  # discrepancies in the table; JSON has them all

Row = dict[str, Any]


def _month(_: click.Context, __: click.Parameter, value: str | None) -> date | None:
    if value is None:
        return None
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", value):
        raise click.BadParameter("a month is written as 2025-10.")
    return date(int(value[:4]), int(value[5:]), 1)


def _day(_: click.Context, __: click.Parameter, value: str | None) -> date | None:
    try:
        return None if value is None else date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("a day is written as 2025-10-31.") from None


@click.command()
@click.option("--month", callback=_month, metavar="YYYY-MM",
              help="Of what was sold, bought and paid; else the last that has ended.")  # fmt: skip
@click.option("--as-of", callback=_day, metavar="YYYY-MM-DD",
              help="Of what is owed, at the end of that day; else of today.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Tell what it would cost, and ask nothing of Zoho.")
@by_org
@as_json
def reconcile(
    month: date | None,
    as_of: date | None,
    *,
    dry_run: bool,
    organisations: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compares the mirror's sums with Zoho's own reports, and names the documents that explain a difference.

    Records counted, what customers owe and vendors are owed, what was sold, bought and paid in a month, what
    is in stock: a row each in tds.reconciliation, what is open in tds_discrepancies. Where something differs
    that is not known, what has changed is pulled and the report asked once more. A report that Zoho does not
    give, or in another form, is shown as not checked. Exit code 1: something differs; 4: nothing that could
    be compared does, and something could not be.

    With --json, stderr has events while it works, one a line (docs/events.md), and stdout what was found.
    """

    def one(settings: ZohoSettings) -> tuple[int, Any]:
        return _one(settings, month, as_of, dry_run=dry_run, as_json=as_json)

    with goes_on(as_json=as_json, anew="What was compared is kept."):
        for_each(organisations, one, as_json=as_json)


def _one(
    settings: ZohoSettings, month: date | None, as_of: date | None, *, dry_run: bool, as_json: bool
) -> tuple[int, Any]:
    with connect_for_rows("reconcile", conninfo()) as connection:
        if dry_run:
            rows = connection.execute(
                "select report, calls from tds.reconcile_calls(%s)", [settings.organization_id]
            ).fetchall()
            calls = sum(row["calls"] for row in rows)
            None if as_json else print_table("Plan", rows)
            note(f"About {calls:,} calls.", as_json=as_json)
            return 0, {"calls": calls, "reports": rows}
        query = "select tds.request_reconcile(%s, %s, %s, 'a command') as id"
        asked = connection.execute(query, [settings.organization_id, month, as_of]).fetchone()
        assert asked
        asyncio.run(_reconcile(settings, asked["id"], as_json=as_json))
        told = _told(connection, asked["id"])
    if not as_json:
        _show(told)
    return FAILED if told["differing"] else INCOMPLETE if told["not_checked"] else 0, told


async def _reconcile(settings: ZohoSettings, run_id: int, *, as_json: bool) -> None:
    with Steps(as_json=as_json) as steps, steps.step("reports") as step:
        async with Mirror(conninfo(), settings.organization_id) as mirror, ZohoClient(settings) as client:
            steps.show_client(client)
            await reconcile_all(client, mirror, run_id, lambda: step.advance(1))


def _told(connection: psycopg.Connection[DictRow], run_id: int) -> Row:
    run = connection.execute("select * from tds_consistency where reconcile_id = %s", [run_id]).fetchone()
    assert run
    reports = connection.execute(
        """select n.report, count(*) filter (where n.state = 'equal') as equal,
                  count(*) filter (where n.state = 'differs') as differs,
                  count(*) filter (where n.state = 'not checked') as not_checked, min(n.reason) as reason
             from tds.reconciliation n where n.reconcile_id = %s group by n.report order by n.report""",
        [run_id],
    ).fetchall()
    found = connection.execute(
        """select d.* from tds_discrepancies d
            where exists (select from tds.reconciliation n
                           where n.reconcile_id = %s and n.state = 'differs' and n.report = d.report
                             and n.measure = d.measure and n.party_id = d.party_id)
              and d.organization_id = %s
            order by abs(d.difference) desc, d.discrepancy_id""",
        [run_id, run["organization_id"]],
    ).fetchall()
    return {**run, "reports": reports, "discrepancies": found}


def _show(told: Row) -> None:
    print_table("Reports", told["reports"])
    names = ("discrepancy_id", "report", "measure", "period", "party_name", "currency")
    rows = [
        {name: row[name] for name in names}
        | {name: f"{row[name] or 0:f}" for name in ("ours", "zoho", "difference")}
        | {"documents": _documents(row["documents"]), "note": row["note"]}
        for row in told["discrepancies"][:SHOWN]
    ]
    if rows:
        echo()
        print_table("What differs", rows)
        if len(told["discrepancies"]) > SHOWN:
            echo(f"And {len(told['discrepancies']) - SHOWN:,} more: --json")
    percent = "nothing was compared" if told["percent"] is None else f"{told['percent']} % equal"
    counts = f"{told['compared']:,} figures compared, {told['differing']:,} differ"
    echo(f"\n{counts}, {told['not_checked']:,} not checked: {percent}.")
    echo(f"{told['calls']:,} calls spent.", err=True)
    if rows:
        known = "what is known to differ: select tds.note_discrepancy(id, 'why')"
        echo(f"Next: the view tds_discrepancies; {known}", err=True)


def _documents(found: Sequence[Row] | None) -> str:
    if found is None:
        return "not looked for"
    named = (f"{one['entity']} {one.get('number') or one.get('id')}: {one['what']}" for one in found)
    return ", ".join(named) or "all agree"
