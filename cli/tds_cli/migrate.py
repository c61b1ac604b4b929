"""`tds migrate`: everything, resumable."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from math import inf

import click
import psycopg

from tds_cli.exits import INCOMPLETE
from tds_cli.interrupts import goes_on
from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_cli.plan import tell_costs
from tds_cli.progress import Steps
from tds_cli.terminal import echo
from tds_db.connect import conninfo
from tds_poller.migrate import Pulled
from tds_poller.migrate import migrate as migrate_all
from tds_poller.mirror import Mirror
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.settings import ZohoSettings

LOOK_SECONDS = 2.0  # between looks at how far all is


@click.command()
@click.option("--restart", is_flag=True, help="Begin anew even if an earlier try was left unfinished.")
@click.option("--wait/--no-wait", default=True, help="Whether to wait for the next day's calls, and go on.")
@click.option("--dry-run", is_flag=True, help="Tell the calls, as tds plan does, and fetch nothing.")
@as_json
def migrate(*, restart: bool, wait: bool, dry_run: bool, as_json: bool) -> None:
    """Fetches every list from Zoho, and then the details that lists lack.

    It takes as many days as the quota of calls needs; `tds plan` says how many. Whatever stops it, the same
    command goes on where it stopped: no page and no detail is fetched twice.

    With --json, stderr has events while it works, one a line (docs/events.md), and stdout what became of it.
    """
    if dry_run:
        tell_costs((), as_json=as_json)
        return
    settings = ZohoSettings()
    if wait:
        settings = settings.model_copy(update={"longest_wait": inf})

    async def run() -> tuple[list[Pulled], int, int | None]:
        with Steps(as_json=as_json) as steps:
            async with Mirror(conninfo(), settings.organization_id) as mirror, ZohoClient(settings) as client:
                steps.show_calls_left(lambda: client.calls_left)
                steps.show_waiting(lambda: client.waiting)
                async with shown(mirror, steps):
                    pulled = await migrate_all(client, mirror, steps, restart=restart)
                return pulled, client.calls, client.calls_left

    with goes_on(["tds", "migrate", *([] if wait else ["--no-wait"])], as_json=as_json):
        pulled, calls, calls_left = asyncio.run(run())
    if as_json:
        print_json({"pulled": [asdict(row) for row in pulled], "calls": calls, "calls_left": calls_left})
    else:
        print_table("Fetched", [asdict(row) for row in pulled])
        left = "" if calls_left is None else f", {calls_left:,} left today"
        echo(f"{calls:,} calls{left}.", err=True)
    if any(row.missing for row in pulled):
        echo("Some details could not be had. See: tds status", err=True)
        sys.exit(INCOMPLETE)


@asynccontextmanager
async def shown(mirror: Mirror, steps: Steps) -> AsyncIterator[None]:
    """Shows how far all is as long as the block lasts, and at its end."""

    async def watch() -> None:
        while True:
            # that nobody sees how far it is ends no migration
            with suppress(psycopg.Error):
                steps.show_whole(await mirror.migration())
            await asyncio.sleep(LOOK_SECONDS)

    watching = asyncio.create_task(watch())
    try:
        yield
        steps.show_whole(await mirror.migration())
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
