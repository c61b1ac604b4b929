"""`tds images`."""

import asyncio
import sys
from dataclasses import asdict

import click

from tds_cli.exits import INCOMPLETE
from tds_cli.options import as_json
from tds_cli.output import print_json
from tds_cli.progress import Steps
from tds_cli.terminal import echo
from tds_db.connect import conninfo
from tds_db.images import ImageSettings
from tds_poller.images import Images, fetch_images
from tds_poller.mirror import Mirror
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.settings import ZohoSettings


@click.command()
@click.option("--limit", type=click.IntRange(1), help="How many at most: each is a call.")
@as_json
def images(limit: int | None, as_json: bool) -> None:
    """Fetches the pictures of products that are wanted (tds_wanted_images), those of the newest edits first.

    Exit code 4: some could not be had. What failed for now is tried again by a later `tds images`.
    """
    zoho = ZohoSettings()

    async def run() -> tuple[Images, int, int | None]:
        with Steps() as steps, steps.step("pictures") as step:
            async with Mirror(conninfo(), zoho.organization_id) as mirror, ZohoClient(zoho) as client:
                fetched = await fetch_images(
                    client, mirror, ImageSettings(), limit=limit, on_progress=step.at
                )
                return fetched, await mirror.wanted_images(), client.calls_left

    fetched, wanted, calls_left = asyncio.run(run())
    if as_json:
        print_json({**asdict(fetched), "still_wanted": wanted, "calls_left": calls_left})
    else:
        echo(
            f"{fetched.fetched:,} pictures fetched, {fetched.bytes:,} bytes; {fetched.gone:,} cannot be had, "
            f"{fetched.failed:,} failed for now. {wanted:,} are still wanted."
        )
        for error in fetched.errors:
            echo(error, err=True)
    if fetched.gone or fetched.failed:
        sys.exit(INCOMPLETE)
