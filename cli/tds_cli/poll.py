"""`tds poll`: does what is asked for, until interrupted."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import click

from tds_cli.events import note
from tds_cli.exits import INCOMPLETE
from tds_cli.interrupts import goes_on
from tds_cli.options import as_json
from tds_cli.organisations import by_org
from tds_cli.output import print_json, print_table
from tds_cli.progress import Steps, Titled
from tds_cli.watching import Watch, watched
from tds_db.connect import connect_for_rows, conninfo
from tds_db.images import ImageSettings
from tds_db.runs import RunState
from tds_poller.fleet import Fleet
from tds_poller.mirror import Mirror
from tds_poller.organisations import served
from tds_poller.poll import opened_queue
from tds_poller.zoho.client import ZohoClient

log = logging.getLogger("tds_poller")

RESULT = """
    select run_id, entity, state, pages, records, calls, details_fetched, details_failed, duration, error
      from tds_sync_runs where run_id = any (%s) order by run_id"""


@click.command()
@click.option("--once", is_flag=True, help="End when there is nothing left to do.")
@click.option(
    "--images/--no-images", default=True, help="Whether to fetch pictures too, when all else is done."
)
@by_org
@as_json
def poll(once: bool, images: bool, organisations: tuple[str, ...], as_json: bool) -> None:
    """Does the pulls that are asked for, fetches the details that are wanted, and then pictures.

    Pulls come from tds.request_pull() and the bulk-sync API. Several pollers may run. Each organisation has
    its own pace; those added, paused or removed meanwhile are noticed within seconds.
    Exit code 4, with --once: a pull did not complete, or deletions are held back.
    """
    if not once:
        logging.getLogger("tds_poller").setLevel(logging.INFO)
    pictures = ImageSettings() if images else None
    if not once:
        asyncio.run(_poll(conninfo(), pictures, organisations))
        return
    with goes_on(as_json=as_json):
        runs = asyncio.run(_poll_once(conninfo(), pictures, organisations, as_json=as_json))
    is_complete = show_runs(runs, as_json=as_json)
    with connect_for_rows("poll") as connection:
        held = connection.execute("select 1 from tds_held_deletions where state = 'held' limit 1").fetchone()
    if held:
        note("Deletions are held back: too many at once. See: tds deletions list", as_json=as_json)
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
        note("Not all is complete. See: tds status", as_json=as_json)
    return is_complete


async def _poll(dsn: str, images: ImageSettings | None, organisations: Sequence[str]) -> None:
    """Polls until SIGTERM or Ctrl-C."""
    chosen = await asyncio.to_thread(served, dsn, organisations)
    async with opened_queue(dsn) as queue:
        task = asyncio.ensure_future(Fleet(dsn, queue, images, organisations).forever(chosen))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            log.info("stopped")


async def _poll_once(
    dsn: str, images: ImageSettings | None, organisations: Sequence[str], *, as_json: bool
) -> Sequence[int]:
    """Does what there is to do, and shows it; the runs whose lists were pulled."""
    chosen = await asyncio.to_thread(served, dsn, organisations)
    async with opened_queue(dsn) as queue:
        is_alone = len(chosen) == 1
        with Steps(as_json=as_json) as steps:
            fleet = Fleet(dsn, queue, images, organisations)

            @asynccontextmanager
            async def shown(mirror: Mirror, client: ZohoClient) -> AsyncIterator[None]:
                seen = set[int]()

                async def all_there_are() -> Sequence[int]:
                    seen.update(await mirror.open_runs(), fleet.runs if is_alone else ())
                    return sorted(seen)

                shows = steps if is_alone else Titled(steps, f"{mirror.organization_id} ")
                shows.show_client(client)
                async with watched(Watch(mirror, shows, all_there_are), to_the_end=False):
                    yield

            await fleet.once(chosen, shown)
            return fleet.runs
