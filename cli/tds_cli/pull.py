"""`tds pull`: asks for pulls as anybody may, and works as a poller until they have ended."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import click
from pgmq import PGMQueue

from tds_cli.completion import entity_names
from tds_cli.exits import FAILED, INCOMPLETE
from tds_cli.interrupts import goes_on
from tds_cli.options import as_json
from tds_cli.organisations import beside_one_another, by_org, tell_failed
from tds_cli.plan import tell_costs
from tds_cli.poll import show_runs
from tds_cli.progress import Steps, Titled
from tds_cli.watching import Watch, watched
from tds_db.connect import conninfo
from tds_db.errors import TdsError
from tds_poller.mirror import Mirror
from tds_poller.organisations import Served, to_be_asked
from tds_poller.poll import PULLED, Poll, opened_queue
from tds_poller.zoho.client import ZohoClient


@click.command()
@click.argument("entities", metavar="ENTITY...", nargs=-1, required=True, shell_complete=entity_names)
@click.option("--full", is_flag=True, help="The whole list; so it is unless told otherwise.")
@click.option("--incremental", is_flag=True, help="Only what has changed since the last complete pull.")
@click.option("--since", metavar="TIME", help="Only what has changed since a date, or a time with offset.")
@click.option("--update-only", is_flag=True, help="Only records that the mirror has.")
@click.option(
    "--details/--no-details", default=True, help="Whether to fetch the details that the list lacks."
)
@click.option("--restart", is_flag=True, help="Cancel what is unfinished and begin anew.")
@click.option("--dry-run", is_flag=True, help="Tell the calls, and ask for nothing else.")
@by_org
@as_json
def pull(
    entities: tuple[str, ...],
    *,
    full: bool,
    incremental: bool,
    since: str | None,
    update_only: bool,
    details: bool,
    restart: bool,
    dry_run: bool,
    organisations: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fetches each ENTITY from Zoho: products, customers, invoices, …, or stock.

    It is the pull that tds.request_pull() and the bulk-sync API ask for. Stopped half-way, it goes on with
    the same command, or with whatever poller runs. Exit code 4: not all is complete.
    """
    if full and (incremental or since):
        raise click.UsageError("--full is the opposite of --incremental and --since.")
    if dry_run:
        pulled = [PULLED.get(name, name) for name in entities]
        all_details = {PULLED.get(name, name) for name in ("stock", "pricelists") if name in entities}
        then = f"tds pull {' '.join(entities)}"
        tell_costs(
            pulled,
            details=details,
            all_details=all_details,
            organisations=organisations,
            as_json=as_json,
            then=then,
        )
        return
    options = {"incremental": incremental, "modified_since": since, "update_only": update_only}
    wishes = {name: {key: value for key, value in options.items() if value} for name in entities}
    dsn = conninfo()
    chosen = to_be_asked(dsn, organisations)
    again = [word for word in sys.argv[1:] if word != "--restart"]
    with goes_on(["tds", *again], as_json=as_json):
        runs, failed = asyncio.run(
            _pull(chosen, dsn, wishes, details=details, restart=restart, as_json=as_json)
        )
    is_complete = show_runs(runs, as_json=as_json)
    tell_failed(failed)
    if failed or not is_complete:
        sys.exit(FAILED if failed else INCOMPLETE)


async def _pull(
    chosen: Sequence[Served],
    dsn: str,
    wishes: Mapping[str, Mapping[str, Any]],
    *,
    details: bool,
    restart: bool,
    as_json: bool,
) -> tuple[list[int], list[tuple[str, TdsError]]]:
    """The runs of all, and which organisations could not be asked for, where there are several."""

    async def one(each: Served, shown: Steps | Titled, queue: PGMQueue) -> list[int]:
        settings = each.needed()
        async with Mirror(dsn, settings.organization_id) as mirror, ZohoClient(settings, dsn) as client:
            shown.show_client(client)
            runs = []
            for entity, options in wishes.items():
                left_out = {} if details else await _left_out(mirror, entity)
                runs.append(await mirror.request_pull(entity, {**options, **left_out}, restart=restart))

            async def ours() -> Sequence[int]:
                return sorted(set(runs))

            async with watched(Watch(mirror, shown, ours), to_the_end=True):
                await Poll(client, mirror, queue, first=runs).once()
            return runs

    with Steps(as_json=as_json) as steps:
        async with opened_queue(dsn) as queue:
            done, failed = await beside_one_another(chosen, steps, partial(one, queue=queue))
    return [run_id for runs in done for run_id in runs], failed


async def _left_out(mirror: Mirror, entity: str) -> Mapping[str, bool]:
    """The option that keeps an entity's details from being fetched.

    Raises:
        TdsError: it has none.
    """
    for name in await mirror.pull_option_names(entity):
        if name.startswith("include_"):
            return {name: False}
    raise TdsError(f"A pull of {entity} always fetches the details that it needs.", "Leave out --no-details.")
