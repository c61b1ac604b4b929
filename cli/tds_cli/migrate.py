"""`tds migrate`: everything, resumable."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from math import inf

import click
import psycopg

from tds_cli.events import note
from tds_cli.exits import FAILED, INCOMPLETE
from tds_cli.interrupts import goes_on
from tds_cli.options import as_json
from tds_cli.organisations import beside_one_another, by_org, tell_failed
from tds_cli.output import print_json, print_table
from tds_cli.plan import tell_costs
from tds_cli.progress import Steps, Titled
from tds_cli.terminal import echo
from tds_db.connect import conninfo
from tds_db.errors import TdsError
from tds_poller.migrate import Pulled
from tds_poller.migrate import migrate as migrate_all
from tds_poller.mirror import Mirror
from tds_poller.organisations import Served, to_be_asked
from tds_poller.tasks import ended
from tds_poller.zoho.client import Ground, ZohoClient

LOOK_SECONDS = 2.0  # between looks at how far all is
CONNECTIONS = 8


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
    chosen = to_be_asked(dsn, organisations)
    chosen_by_name = [word for name in organisations for word in ("--org", name)]
    with goes_on(["tds", "migrate", *([] if wait else ["--no-wait"]), *chosen_by_name], as_json=as_json):
        fetched, failed = asyncio.run(_migrate(dsn, chosen, restart=restart, wait=wait, as_json=as_json))
    tell_failed(failed)
    _show(fetched, is_only=len(chosen) == 1, as_json=as_json)
    is_incomplete = any(row.missing for result in fetched for row in result.pulled)
    if is_incomplete:
        note("Some details could not be had. See: tds status", as_json=as_json)
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
) -> tuple[list[Migrated], list[tuple[str, TdsError]]]:
    # of all, however many they are
    root, ground = Mirror(dsn, "", connections=CONNECTIONS), Ground(dsn)

    async def one(each: Served, shown: Steps | Titled) -> Migrated:
        settings = each.needed()
        if wait:
            settings = settings.model_copy(update={"longest_wait": inf})
        mirror = root.beside(settings.organization_id)
        async with ZohoClient(settings, dsn, ground=ground) as client:
            shown.show_client(client)
            async with whole_shown(mirror, shown):
                pulled = await migrate_all(client, mirror, shown, restart=restart)
            return Migrated(settings.organization_id, pulled, client.calls, client.calls_left)

    async with root, ground:
        with Steps(as_json=as_json) as steps:
            return await beside_one_another(chosen, steps, one)


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
async def whole_shown(mirror: Mirror, steps: Steps | Titled) -> AsyncIterator[None]:
    """Shows how far all is as long as the block lasts, and at its end; nothing of one among several."""
    if isinstance(steps, Titled):
        yield
        return

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
        await ended(watching)
