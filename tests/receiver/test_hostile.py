"""Hostile requests: none is answered 5xx, none hangs, what is taken is stored, and nothing grows.

`TDS_TEST_HOSTILE` says how many are sent to each server, others to each; without it as many as a few seconds allow.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from tds_db.worker import drain
from tests.conftest import RUNNING
from tests.db.servers import Database, TestServer
from tests.receiver.hostile import Hostile, answered, hostile, long, wired
from tests.receiver.test_serve import Served

PROCESSES = 2
AT_ONCE = 16
SLOWEST_SECONDS = 10.0  # Zoho's patience
GROWTH_BYTES = 24 * 2**20
LONG = 500
"""So many bodies of 200,000 bytes are among them: twice what all receivers together may grow by."""
CUT_OFF = 0
"""Whoever is refused while still sending may find the connection closed before having read why."""
ANSWERS = {CUT_OFF, 200, 202, 400, 401, 404, 405, 408, 413, 415, 431}


@dataclass
class Told:
    """What came of the requests."""

    answers: Counter[int] = field(default_factory=Counter)
    taken: dict[int, Hostile] = field(default_factory=dict)
    slowest: float = 0.0


@pytest.fixture
def serving(database: Database, tmp_path: Path) -> Iterator[list[Served]]:
    programs = []
    try:
        for number in range(PROCESSES):
            (place := tmp_path / str(number)).mkdir()
            programs.append(Served(database.conninfo, place))
        yield programs
    finally:
        for program in programs:
            if program.is_running:
                program.kill()


async def send_all(urls: list[str], requests: list[Hostile], told: Told) -> None:
    """Over so many connections at a time, in turn to each of the receivers."""
    left = iter(requests)

    async def send(url: str) -> None:
        where = urlsplit(url)
        streams = None
        try:
            for request in left:
                began = time.monotonic()
                if streams is None:
                    streams = await asyncio.open_connection(where.hostname, where.port)
                try:
                    status, is_closed, body = await asyncio.wait_for(
                        answered(streams, wired(request)), 2 * SLOWEST_SECONDS
                    )
                except (ConnectionError, asyncio.IncompleteReadError):
                    status, is_closed, body = CUT_OFF, True, b""
                told.slowest = max(told.slowest, time.monotonic() - began)
                told.answers[status] += 1
                if status == 202 and (answer := json.loads(body))["status"] != "duplicate":
                    told.taken[answer["inbox_id"]] = request
                if is_closed:
                    streams[1].close()
                    streams = None
        finally:
            if streams is not None:
                streams[1].close()

    async with asyncio.TaskGroup() as group:
        for number in range(AT_ONCE):
            group.create_task(send(urls[number % len(urls)]))


@pytest.mark.timeout(1200)
def test_whatever_is_sent(serving: list[Served], database: Database, test_server: TestServer) -> None:
    urls = [served.url for served in serving]
    processes = [psutil.Process(served.pid) for served in serving]
    count = int(os.environ.get("TDS_TEST_HOSTILE", "1500"))
    rng = random.Random(20_261_124 + RUNNING.index(test_server.leg))
    requests = [hostile(rng) for _ in range(count)] + [long(rng) for _ in range(LONG)]
    rng.shuffle(requests)
    warm = len(requests) // 5
    told = Told()

    asyncio.run(send_all(urls, requests[:warm], told))
    before = [process.memory_info().rss for process in processes]
    asyncio.run(send_all(urls, requests[warm:], told))
    grown = [process.memory_info().rss - was for process, was in zip(processes, before, strict=True)]

    assert set(told.answers) <= ANSWERS, told.answers
    assert told.answers[CUT_OFF] <= count // 100
    assert told.slowest < SLOWEST_SECONDS
    assert max(grown) < GROWTH_BYTES, f"{grown} bytes more"
    assert [served.last_words for served in serving if "Traceback" in served.last_words] == []
    with psycopg.connect(database.conninfo, autocommit=True) as conn:
        stored = {
            int(inbox_id): bytes(body)
            for inbox_id, body in conn.execute(
                "select inbox_id, coalesce(convert_to(body, 'UTF8'), body_raw) from tds.inbox"
            )
        }
        assert stored.keys() == told.taken.keys()
        assert [
            n for n, request in told.taken.items() if request.is_plain and stored[n] != request.body
        ] == []
        # and the workers get through all of it, with an outcome for each
        while drain(conn)["claimed"]:
            pass
        assert conn.execute("select count(*) from tds.inbox_open where retry_at is null").fetchone() == (0,)
    print(
        f"{sum(told.answers.values()):,} requests: {dict(told.answers)}; slowest {told.slowest:.2f} s; "
        f"{grown} bytes more"
    )
