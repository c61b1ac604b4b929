"""Limits with the real codes and headers, on a clock that can be moved, and the ledger of violations."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tds_sandbox.clock import Clock
from tds_sandbox.limits import LimitSettings
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running, running
from tests.sandbox.conftest import HTTP, sign_in

NOON = 1_790_006_400.0  # 2026-09-21T12:00:00-0400


@contextmanager
def limited(settings: LimitSettings, latency: float = 0.0) -> Iterator[tuple[Running, httpx.Client]]:
    organisation = Organisation(items=3, clock=Clock(start=NOON))
    with running(organisation, limits=settings, latency=latency) as sandbox, sign_in(sandbox) as books:
        yield sandbox, books


def code(books: httpx.Client, path: str = "/items") -> tuple[int, int]:
    answer = books.get(path)
    assert "retry-after" not in answer.headers
    return answer.status_code, answer.json()["code"]


def test_a_hundred_a_minute_then_blocked_for_minutes() -> None:
    with limited(LimitSettings()) as (sandbox, books):
        assert {code(books) for _ in range(100)} == {(200, 0)}
        assert code(books) == (429, 44)
        sandbox.clock.advance(61)
        assert code(books) == (429, 44)
        sandbox.clock.advance(60)
        assert code(books) == (200, 0)
        assert [violation.kind for violation in sandbox.ledger.violations] == ["minute", "blocked"]
        # 429s are not taken from the day's quota unless asked for.
        assert sandbox.limits.used_today == 101


def test_the_minute_slides() -> None:
    with limited(LimitSettings(per_minute=4)) as (sandbox, books):
        for _ in range(10):
            assert code(books) == (200, 0)
            sandbox.clock.advance(16)
        assert sandbox.ledger.violations == []


def test_daily_quota_until_local_midnight() -> None:
    with limited(LimitSettings(per_day=5)) as (sandbox, books):
        for left in (4, 3, 2, 1, 0):
            answer = books.get("/items")
            assert answer.headers["X-Rate-Limit-Limit"] == "5"
            assert answer.headers["X-Rate-Limit-Remaining"] == str(left)
            assert 43_190 <= int(answer.headers["X-Rate-Limit-Reset"]) <= 43_200
        refused = books.get("/items")
        assert (refused.status_code, refused.json()["code"]) == (429, 45)
        assert refused.json()["message"].endswith("exceeded the maximum call rate limit of 5.")
        assert refused.headers["X-Rate-Limit-Remaining"] == "0"
        sandbox.clock.advance(int(refused.headers["X-Rate-Limit-Reset"]))
        # The token has expired by then; a new one opens the new day.
        with sign_in(sandbox) as again:
            assert code(again) == (200, 0)
        assert sandbox.ledger.summary()["by_day"]["2026-09-22"] >= 1


def test_concurrency() -> None:
    with (
        limited(LimitSettings(concurrency=3), latency=0.15) as (sandbox, books),
        ThreadPoolExecutor(6) as pool,
    ):
        codes = sorted(pool.map(lambda _: code(books), range(6)))
        assert codes == [(200, 0)] * 3 + [(429, 1070)] * 3
        assert sandbox.limits.most_in_process == 3
        assert code(books) == (200, 0)
        assert {violation.kind for violation in sandbox.ledger.violations} == {"concurrency"}


def test_code_43_is_prolonged_by_retries() -> None:
    settings = LimitSettings(sustained=5, sustained_seconds=210, sustained_block_seconds=900)
    with limited(settings) as (sandbox, books):
        path = f"/items/{sandbox.organisation.book('items').records[0].id}"
        for _ in range(5):
            assert code(books, path) == (200, 0)
        assert code(books) == (200, 0)
        assert code(books, path) == (429, 43)
        sandbox.clock.advance(890)
        assert code(books) == (429, 43)
        sandbox.clock.advance(890)
        assert code(books) == (429, 43)
        sandbox.clock.advance(901)
        assert code(books, path) == (200, 0)


def test_refused_calls_may_count() -> None:
    with limited(LimitSettings(per_minute=2, count_refused=True)) as (sandbox, books):
        assert [code(books)[1] for _ in range(4)] == [0, 0, 44, 44]
        assert sandbox.limits.used_today == 4


def test_a_fast_clock_brings_the_next_minute_sooner() -> None:
    clock = Clock(scale=3600, start=NOON)
    organisation = Organisation(items=3, clock=clock)
    with running(organisation, limits=LimitSettings(per_minute=5)) as sandbox, sign_in(sandbox) as books:
        # At 3,600 times the speed a minute takes 17 ms.
        before = clock.now()
        assert code(books) == (200, 0)
        assert clock.now() > before
        assert clock.real(60) == pytest.approx(1 / 60)
        sandbox.clock.rescale(1)
        later = sandbox.clock.now()
        assert later >= before
        assert sandbox.clock.now() - later < 1


def test_ledger_knows_every_call() -> None:
    with limited(LimitSettings()) as (sandbox, books):
        books.get("/items")
        books.get("/items")
        books.get("/nothing")
        books.get("/items/123456789")
        summary = HTTP.get(f"{sandbox.url}/_sandbox/ledger").json()
        assert summary["by_path"] == {
            "POST /oauth/v2/token": 1,
            "GET /items": 2,
            "GET /nothing": 1,
            "GET /items/{id}": 1,
        }
        assert summary["by_status"] == {"200": 3, "404": 2}
        assert (summary["calls"], summary["repeated"], summary["tokens_given"]) == (5, 1, 1)
        lines = HTTP.get(f"{sandbox.url}/_sandbox/ledger/calls").text.splitlines()
        assert len(lines) == 5
        assert HTTP.delete(f"{sandbox.url}/_sandbox/ledger").json()["calls"] == 0
        changed = HTTP.post(f"{sandbox.url}/_sandbox/limits", json={"per_minute": 1}).json()
        assert changed["settings"]["per_minute"] == 1
        assert code(books)[1] == 44


@pytest.mark.parametrize("scale", [0, -1])
def test_a_clock_runs_forward(scale: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        Clock(scale)
