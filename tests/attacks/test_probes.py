"""However many probe and scrape, it costs the database one look a second, and operators nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tds_receiver.api.shared import AT_ONCE, SECONDS, Shared
from tds_receiver.api.store import Store
from tests.db.servers import Database
from tests.journeys.waiting import wait_until
from tests.receiver.conftest import Receive, is_ready

KEY = "a-key-of-the-environment"


def test_looks_are_shared_and_few() -> None:
    now = 0.0
    looks = 0

    async def look() -> int:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return looks

    async def play() -> None:
        nonlocal now
        shared = Shared(look, lambda: now)
        assert set(await asyncio.gather(*(shared() for _ in range(100)))) == {1}
        for _ in range(100):
            await shared()
        assert looks == AT_ONCE
        for second in range(1, 11):
            now = second * SECONDS
            for _ in range(100):
                await shared()
        assert looks == AT_ONCE + 10
        now += 60
        assert [await shared() for _ in range(AT_ONCE)] == list(range(looks - AT_ONCE + 1, looks + 1))

    asyncio.run(play())


def test_a_look_that_fails_fails_for_all_and_is_tried_again() -> None:
    tries = 0

    async def look() -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError("away")
        return tries

    async def play() -> None:
        shared = Shared(look)
        first = await asyncio.gather(shared(), shared(), return_exceptions=True)
        assert [str(each) for each in first] == ["away", "away"]
        one = asyncio.create_task(shared())
        other = asyncio.create_task(shared())
        await asyncio.sleep(0)
        one.cancel()
        assert await other == 2

    asyncio.run(play())


def stranger(client: httpx.Client, path: str) -> httpx.Response:
    """Asks on a connection of its own, as the others of a crowd do."""
    # without reading whom to trust by TLS, which takes longer than the answer
    return httpx.get(client.base_url.join(path), timeout=client.timeout, verify=False)


@pytest.mark.parametrize("path", ["/readyz", "/metrics", "/healthz"])
def test_a_crowd_at_the_probes(
    receiver: Receive, database: Database, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("TDS_API_KEY", KEY)
    asked: Counter[str] = Counter()
    value = Store._value

    async def counted(self: Store, query: str, *given: object, **named: Any) -> Any:
        asked[query] += 1
        return await value(self, query, *given, **named)

    monkeypatch.setattr(Store, "_value", counted)
    client = receiver(webhook_secret="a1b2c3d4e5f6")
    operator = {"X-API-Key": KEY}
    assert is_ready(client)
    with ThreadPoolExecutor(60) as crowd:
        probes = [crowd.submit(stranger, client, path) for _ in range(300)]
        runs = [client.get("/api/zoho/bulk-sync/runs", headers=operator).status_code for _ in range(10)]
        assert {probe.result().status_code for probe in probes} == {200}
    assert runs == [200] * 10
    del asked["select tds.api_runs(%b, %b, %b, %b)"]
    # None of 300 but a few at first, and one a second, however long the machine took over them.
    assert max(asked.values(), default=0) < 60


def test_probes_and_operators_have_connections_of_their_own(receiver: Receive, database: Database) -> None:
    """Whoever holds up the probes' look holds up nobody else."""
    client = receiver()
    assert is_ready(client)
    with psycopg.connect(database.conninfo) as holder, ThreadPoolExecutor(60) as crowd:
        holder.execute("lock table tds.sql_file, tds.setting in access exclusive mode")
        probes = [crowd.submit(stranger, client, "/readyz") for _ in range(60)]
        with database.connect(autocommit=True) as watch:
            name = conninfo_to_dict(database.conninfo)["dbname"]
            waiting = """select count(*) from pg_stat_activity
                          where datname = %s and application_name like 'tds/receiver%%' and wait_event_type = 'Lock'"""
            wait_until(
                lambda: watch.execute(waiting, [name]).fetchone() == (1,), "one look waits, and no other"
            )
        holder.rollback()
        assert {probe.result().status_code for probe in probes} <= {200, 503}
