"""A process that pulls a list as `tds migrate` does, and says when a tenth of it and all of it is stored."""

from __future__ import annotations

import asyncio
import os
import sys

from pydantic import SecretStr

from benchmarks.data import ORGANIZATION
from tds_poller.mirror import Mirror
from tds_poller.pull import pull_list
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.settings import ZohoSettings


async def pull(dsn: str, base: str, records: int) -> None:
    """Pulls all products from `base`; a line on stdout at a tenth of `records`, and at the end.

    After each it waits for a line on stdin, so that somebody can look at its memory.
    """
    settings = ZohoSettings(
        client_id="bench",
        client_secret=SecretStr("bench"),
        refresh_token=SecretStr("bench"),
        organization_id=ORGANIZATION,
        accounts_base=base,
        api_base=base,
        calls_per_minute=100_000,
        minute_seconds=1,
    )
    stored, told = 0, False

    def on_page(count: int) -> None:
        nonlocal stored, told
        stored += count
        if not told and stored >= records / 10:
            told = True
            _tell("a tenth")

    async with ZohoClient(settings, dsn) as client, Mirror(dsn, ORGANIZATION) as mirror:
        endpoint = (await mirror.endpoints())["products"]
        await pull_list(client, mirror, endpoint, on_page=on_page)
        _tell("all")


def _tell(what: str) -> None:
    print(what, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    asyncio.run(pull(os.environ["BENCH_DSN"], os.environ["BENCH_BASE"], int(os.environ["BENCH_RECORDS"])))
