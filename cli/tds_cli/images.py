"""`tds images`."""

import asyncio
from dataclasses import asdict
from typing import Any

import click

from tds_cli.exits import INCOMPLETE
from tds_cli.interrupts import goes_on
from tds_cli.options import COUNT, as_json
from tds_cli.organisations import by_org, for_each
from tds_cli.output import print_json
from tds_cli.progress import Steps
from tds_cli.terminal import echo
from tds_db.connect import conninfo
from tds_db.images import ImageSettings
from tds_poller.images import Images, Pruned, fetch_images, prune
from tds_poller.mirror import Mirror
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.settings import ZohoSettings


@click.command()
@click.option("--limit", type=COUNT, help="How many at most: each is a call.")
@click.option("--prune", "prunes", is_flag=True, help="Remove files instead that no product shows any more.")
@click.option("--dry-run", is_flag=True, help="With --prune: only tell which.")
@by_org
@as_json
def images(
    limit: int | None, prunes: bool, dry_run: bool, organisations: tuple[str, ...], as_json: bool
) -> None:
    """Fetches the pictures of products that are wanted (tds_wanted_images), those of the newest edits first.

    With --prune it asks Zoho nothing: it removes the files of pictures that no product has shown for as many
    days as the setting keep_image_files_days says (tds poll does so every hour), and what killed fetchers
    left more than a day ago. The place of the pictures (TDS_IMAGE_URL) must be this database's alone.

    Exit code 4: some could not be had. What failed for now is tried again by a later `tds images`.

    With --json, stderr has events while it works, one a line (docs/events.md), and stdout what became of it.
    """
    if dry_run and not prunes:
        raise click.UsageError("--dry-run is for --prune.")
    if prunes:
        if limit is not None:
            raise click.UsageError("--limit is for fetching; --prune removes all.")
        with goes_on(as_json=as_json):
            _prune(dry_run=dry_run, as_json=as_json)
        return
    with goes_on(as_json=as_json):
        for_each(organisations, lambda zoho: _fetch(zoho, limit, as_json=as_json), as_json=as_json)


def _fetch(zoho: ZohoSettings, limit: int | None, *, as_json: bool) -> tuple[int, dict[str, Any]]:
    async def run() -> tuple[Images, int, int | None]:
        with Steps(as_json=as_json) as steps, steps.step("pictures") as step:
            async with Mirror(conninfo(), zoho.organization_id) as mirror, ZohoClient(zoho) as client:
                steps.show_client(client)
                fetched = await fetch_images(
                    client, mirror, ImageSettings(), limit=limit, on_progress=step.at
                )
                return fetched, await mirror.wanted_images(), client.calls_left

    fetched, wanted, calls_left = asyncio.run(run())
    if not as_json:
        echo(
            f"{fetched.fetched:,} pictures fetched, {fetched.bytes:,} bytes; {fetched.gone:,} cannot be had, "
            f"{fetched.failed:,} failed for now. {wanted:,} are still wanted."
        )
        for error in fetched.errors:
            echo(error, err=True)
    told = {**asdict(fetched), "still_wanted": wanted, "calls_left": calls_left}
    return INCOMPLETE if fetched.gone or fetched.failed else 0, told


def _prune(*, dry_run: bool, as_json: bool) -> None:
    async def run() -> Pruned:
        # Files belong to no organisation.
        with Steps(as_json=as_json) as steps, steps.step("files that nothing shows"):
            async with Mirror(conninfo(), "") as mirror:
                return await prune(mirror, ImageSettings(), dry_run=dry_run)

    pruned = asyncio.run(run())
    if as_json:
        print_json({**asdict(pruned), "dry_run": dry_run})
        return
    for name in (*pruned.removed, *pruned.strangers):
        echo(name)
    echo(
        f"{'Would be removed' if dry_run else 'Removed'}: {len(pruned.removed):,} files that no product "
        f"shows, {pruned.bytes:,} bytes, and {len(pruned.strangers):,} that killed fetchers left."
    )
