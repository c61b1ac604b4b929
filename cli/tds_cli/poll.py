"""`tds poll`: does what is asked for, until interrupted."""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click
import psycopg

from tds_cli.exits import INCOMPLETE
from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows, conninfo
from tds_db.images import ImageSettings
from tds_db.runs import RunState
from tds_poller.mirror import Mirror
from tds_poller.poll import Poll, read_queue
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.settings import ZohoSettings

log = logging.getLogger("tds_poller")

RESULT = """
    select run_id, entity, state, pages, records, calls, details_fetched, details_failed, duration, error
      from tds_sync_runs where run_id = any (%s) order by run_id"""


@click.command()
@click.option("--once", is_flag=True, help="End when there is nothing left to do.")
@click.option(
    "--images/--no-images", default=True, help="Whether to fetch pictures too, when all else is done."
)
@as_json
def poll(once: bool, images: bool, as_json: bool) -> None:
    """Does the pulls that are asked for, fetches the details that are wanted, and then pictures.

    Pulls come from tds.request_pull() and the bulk-sync API. Several pollers may run.
    Exit code 4, with --once: a pull did not complete, or deletions are held back.
    """
    if not once:
        logging.getLogger("tds_poller").setLevel(logging.INFO)
    runs = asyncio.run(_poll(ZohoSettings(), conninfo(), ImageSettings() if images else None, once=once))
    if not once:
        return
    is_complete = show_runs(runs, as_json=as_json)
    with connect_for_rows("poll") as connection:
        held = connection.execute("select 1 from tds_held_deletions where state = 'held' limit 1").fetchone()
    if held:
        echo("Deletions are held back: too many at once. See: tds deletions list", err=True)
    if held or not is_complete:
        sys.exit(INCOMPLETE)


def show_runs(runs: Sequence[int], *, as_json: bool) -> bool:
    """Prints what became of these runs; whether all are complete, or cancelled."""
    with connect_for_rows("pull") as connection:
        rows = connection.execute(RESULT, [list(runs)]).fetchall()
    if as_json:
        print_json(rows)
    else:
        print_table("Pulled", rows)
    is_complete = all(row["state"] in {RunState.COMPLETE, RunState.CANCELLED} for row in rows)
    if not is_complete:
        echo("Not all is complete. See: tds status", err=True)
    return is_complete


async def _poll(
    settings: ZohoSettings, dsn: str, images: ImageSettings | None, *, once: bool
) -> Sequence[int]:
    queue = await asyncio.to_thread(read_queue, dsn)
    try:
        async with Mirror(dsn, settings.organization_id) as mirror, ZohoClient(settings, dsn) as client:
            work = Poll(client, mirror, queue, images)
            task = asyncio.ensure_future(work.once() if once else work.forever())
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, task.cancel)
            try:
                await task
            except asyncio.CancelledError:
                log.info("stopped")
            with suppress(psycopg.Error):
                await mirror.stop()
            return work.runs
    finally:
        pool: Any = queue.pool
        await asyncio.to_thread(pool.close)
