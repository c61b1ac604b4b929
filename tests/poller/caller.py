"""A process that makes calls: arguments are how many, what for, and how many at once; says what became of them."""

from __future__ import annotations

import asyncio
import json
import sys

from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.errors import LimitError
from tds_poller.zoho.settings import ZohoSettings


async def call(count: int, purpose: str) -> dict[str, int]:
    """Makes the calls, all as soon as they may be."""
    async with ZohoClient(ZohoSettings(), purpose=purpose) as client:
        print("ready", flush=True)
        sys.stdin.readline()
        calls = (client.get("/items", {"per_page": 1}) for _ in range(count))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, LimitError):
            raise outcome
    limited = sum(isinstance(outcome, LimitError) for outcome in outcomes)
    return {"answered": count - limited, "limited": limited, "made": client.calls}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(call(int(sys.argv[1]), sys.argv[2]))))
