"""Hostile requests: none is answered 5xx, none hangs, what is taken is stored, and nothing grows.

`TDS_HOSTILE` says how many are sent; without it, as many as a few seconds allow.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from tds_db.worker import drain
from tests.db.servers import Database
from tests.receiver.hostile import Hostile, hostile
from tests.receiver.test_serve import Served

COUNT = int(os.environ.get("TDS_HOSTILE", "1500"))
AT_ONCE = 8
SLOWEST_SECONDS = 10.0  # Zoho's patience
GROWTH_BYTES = 24 * 2**20
ANSWERS = {200, 202, 400, 401, 404, 405, 408, 413, 415, 431}


@pytest.fixture
def served(database: Database, tmp_path: Path) -> Iterator[Served]:
    program = Served(database.conninfo, tmp_path)
    yield program
    if program.is_running:
        program.kill()


def test_whatever_is_sent(served: Served, database: Database) -> None:
    url = served.url
    process = psutil.Process(served.pid)
    rng = random.Random(20_261_124)
    requests = [hostile(rng) for _ in range(COUNT)]
    warm = len(requests) // 5
    answers: Counter[int] = Counter()
    taken: dict[int, Hostile] = {}
    slowest = 0.0
    lock = threading.Lock()

    def send(some: list[Hostile]) -> None:
        nonlocal slowest
        with httpx.Client(base_url=url, timeout=2 * SLOWEST_SECONDS, trust_env=False, verify=False) as http:
            for request in some:
                began = time.monotonic()
                answer = http.request(
                    request.method,
                    httpx.URL(f"{url}{request.path}"),
                    content=request.body,
                    headers=[
                        (name.encode(), value.encode("latin-1")) for name, value in request.headers.items()
                    ],
                )
                with lock:
                    slowest = max(slowest, time.monotonic() - began)
                    answers[answer.status_code] += 1
                    if answer.status_code == 202 and answer.json()["status"] != "duplicate":
                        taken[answer.json()["inbox_id"]] = request

    def send_all(some: list[Hostile]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(send, [some[n::AT_ONCE] for n in range(AT_ONCE)]))

    send_all(requests[:warm])
    before = process.memory_info().rss
    send_all(requests[warm:])
    grown = process.memory_info().rss - before

    assert set(answers) <= ANSWERS, answers
    assert slowest < SLOWEST_SECONDS
    assert grown < GROWTH_BYTES, f"{grown:,} bytes more"
    assert "Traceback" not in served.last_words
    with psycopg.connect(database.conninfo, autocommit=True) as conn:
        stored = {
            int(inbox_id): bytes(body)
            for inbox_id, body in conn.execute(
                "select inbox_id, coalesce(convert_to(body, 'UTF8'), body_raw) from tds.inbox"
            )
        }
        assert stored.keys() == taken.keys()
        assert [n for n, request in taken.items() if request.is_plain and stored[n] != request.body] == []
        # and the workers get through all of it, with an outcome for each
        while drain(conn)["claimed"]:
            pass
        assert conn.execute("select count(*) from tds.inbox_open where retry_at is null").fetchone() == (0,)
    print(
        f"{sum(answers.values()):,} requests: {dict(answers)}; slowest {slowest:.2f} s; {grown:,} bytes more"
    )
