"""`tds migrate`: everything, resumable."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from math import inf

import click
import psycopg

from tds_cli.exits import FAILED, INCOMPLETE
from tds_cli.interrupts import goes_on
from tds_cli.options import as_json
from tds_cli.organisations import by_org
from tds_cli.output import print_json, print_table
from tds_cli.plan import tell_costs
from tds_cli.progress import Steps, Titled
from tds_cli.terminal import echo
from tds_db.connect import conninfo
from tds_db.errors import TdsError
from tds_poller.migrate import Pulled
from tds_poller.migrate import migrate as migrate_all
from tds_poller.mirror import Mirror
from tds_poller.organisations import Served, served
from tds_poller.zoho.client import ZohoClient

AT_ONCE = 10  # organisations migrated beside one another: each takes a few connections
LOOK_SECONDS = 2.0  # between looks at how far all is


@click.command()
@click.option("--restart", is_flag=True, help="Begin anew even if an earlier try was left unfinished.")
@click.option("--wait/--no-wait", default=True, help="Whether to wait for the next day's calls, and go on.")
@click.option("--dry-run", is_flag=True, help="Tell the calls, as tds plan does, and fetch nothing.")
@by_org
@as_json
def migrate(
    *, restart: bool, wait: bool, dry_run: bool, organisations: tuple[str, ...], as_json: bool
) -> None:
    """Fetches every list from Zoho, and then the details that lists lack.

    It takes as many days as the quota of calls needs; `tds plan` says how many. Whatever stops it, the same
    command goes on where it stopped: no page and no detail is fetched twice. Several organisations are
    migrated beside one another, each at its own pace; one that stops does not stop the others.

    With --json, stderr has events while it works, one a line (docs/events.md), and stdout what became of it.
    """
    if dry_run:
        tell_costs((), organisations=organisations, as_json=as_json)
        return
    dsn = conninfo()
    chosen = served(dsn, organisations)
    chosen_by_name = [word for name in organisations for word in ("--org", name)]
    with goes_on(["tds", "migrate", *([] if wait else ["--no-wait"]), *chosen_by_name], as_json=as_json):
        done = asyncio.run(_migrate(dsn, chosen, restart=restart, wait=wait, as_json=as_json))
    failed = [
        (each, result) for each, result in zip(chosen, done, strict=True) if isinstance(result, Exception)
    ]
    for each, error in failed:
        if len(chosen) == 1 or not isinstance(error, TdsError):
            raise error
        echo(f"Organisation {each.organization_id}: {error}", err=True)
    fetched = [result for result in done if isinstance(result, Migrated)]
    _show(fetched, is_only=len(chosen) == 1, as_json=as_json)
    is_incomplete = any(row.missing for result in fetched for row in result.pulled)
    if is_incomplete:
        echo("Some details could not be had. See: tds status", err=True)
    if failed or is_incomplete:
        sys.exit(FAILED if failed else INCOMPLETE)


@dataclass(frozen=True)
class Migrated:
    """What became of one organisation's migration."""

    organization_id: str
    pulled: list[Pulled]
    calls: int
    calls_left: int | None


async def _migrate(
    dsn: str, chosen: Sequence[Served], *, restart: bool, wait: bool, as_json: bool
) -> list[Migrated | BaseException]:
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(each: Served, steps: Steps) -> Migrated:
        async with at_once:
            settings = each.needed()
            if wait:
                settings = settings.model_copy(update={"longest_wait": inf})
            shown: Steps | Titled = steps
            if len(chosen) > 1:
                shown = Titled(steps, f"{each.organization_id} ")
            async with Mirror(dsn, settings.organization_id) as mirror, ZohoClient(settings, dsn) as client:
                if len(chosen) == 1:
                    steps.show_calls_left(lambda: client.calls_left)
                    steps.show_waiting(lambda: client.waiting)
                    async with whole_shown(mirror, steps):
                        pulled = await migrate_all(client, mirror, shown, restart=restart)
                else:
                    pulled = await migrate_all(client, mirror, shown, restart=restart)
                return Migrated(settings.organization_id, pulled, client.calls, client.calls_left)

    with Steps(as_json=as_json) as steps:
        return await asyncio.gather(*(one(each, steps) for each in chosen), return_exceptions=True)


def _show(done: Sequence[Migrated], *, is_only: bool, as_json: bool) -> None:
    results = [
        {
            "pulled": [asdict(row) for row in each.pulled],
            "calls": each.calls,
            "calls_left": each.calls_left,
        }
        for each in done
    ]
    if as_json and is_only:
        print_json(results[0])
    elif as_json:
        listed = [
            {"organization_id": each.organization_id, **told}
            for each, told in zip(done, results, strict=True)
        ]
        print_json({"organisations": listed})
    else:
        for each in done:
            print_table(
                "Fetched" if is_only else f"Fetched of {each.organization_id}",
                [asdict(row) for row in each.pulled],
            )
            left = "" if each.calls_left is None else f", {each.calls_left:,} left today"
            echo(f"{each.calls:,} calls{left}.", err=True)


@asynccontextmanager
async def whole_shown(mirror: Mirror, steps: Steps) -> AsyncIterator[None]:
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
