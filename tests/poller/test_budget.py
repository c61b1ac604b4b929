"""Several processes share one budget and one token; the sandbox notes every limit that is broken."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from tds_poller.mirror import Mirror
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.errors import AuthorizationError, LimitError
from tds_sandbox.clock import Clock
from tds_sandbox.limits import LimitSettings
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running, running
from tests.db.servers import Database
from tests.journeys.waiting import PATIENCE
from tests.poller.conftest import Poller

NOON = 1_790_006_400.0


class Caller:
    """A process of `tests.poller.caller`."""

    def __init__(self, environment: Mapping[str, str], count: int, purpose: str = "migration") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.poller.caller", str(count), purpose],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def go(self) -> None:
        """Lets it begin, once it is ready."""
        assert self.process.stdout
        assert self.process.stdin
        assert self.process.stdout.readline() == "ready\n"
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def result(self) -> dict[str, int]:
        """What became of its calls."""
        out, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0
        answer: dict[str, int] = json.loads(out)
        return answer

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)


@contextmanager
def callers(
    environment: Mapping[str, str], *counts: int, purpose: str = "migration"
) -> Iterator[list[Caller]]:
    """Several such processes, begun together."""
    made = [Caller(environment, count, purpose) for count in counts]
    try:
        for caller in made:
            caller.go()
        yield made
    finally:
        for caller in made:
            caller.kill()


def environment_of(sandbox: Running, database: Database, **changes: str) -> dict[str, str]:
    """For such a process."""
    return {"TDS_DATABASE_URL": database.conninfo, **sandbox.environment, **changes}


@contextmanager
def limited(limits: LimitSettings, scale: float, latency: float) -> Iterator[Running]:
    """A sandbox whose limits are tight."""
    organisation = Organisation(items=3, clock=Clock(scale, NOON))
    with running(organisation, limits=limits, latency=latency) as sandbox:
        yield sandbox


def test_three_processes_never_break_a_limit_and_share_one_token(database: Database) -> None:
    # The ceilings are the very limits: there is no slack that could hide a fault.
    limits = LimitSettings(per_minute=30, per_day=130, concurrency=4)
    with limited(limits, scale=120, latency=0.01) as sandbox:
        tight = {"ZOHO_CALLS_PER_MINUTE": "30", "ZOHO_CONCURRENCY": "4", "ZOHO_MINUTE_SECONDS": "0.5"}
        environment = environment_of(sandbox, database, ZOHO_LONGEST_WAIT="60", **tight)
        with callers(environment, 50, 50, 50, purpose="live") as made:
            results = [caller.result() for caller in made]
        assert sandbox.ledger.violations == []
        assert sandbox.sandbox.oauth.refreshed == 1
        assert sandbox.limits.most_in_process == 4
        assert sandbox.limits.used_today == 130
    assert sum(result["answered"] for result in results) == 130
    assert sum(result["limited"] for result in results) == 20
    with database.connect() as conn:
        spent = conn.execute("select purpose, endpoint, outcome, calls from tds_api_spending").fetchall()
        assert spent == [("live", "/items", "ok", 130)]
        shown = conn.execute("select used_today, left_today, under_way from tds_api_budget").fetchone()
        assert shown == (130, 0, 0)


def test_calls_are_spread_over_days(database: Database) -> None:
    # A day takes two seconds, a minute 1.4 ms. A token lasts a day, too: of an hour, a twelfth of a second, nothing may
    # be left twice running by the time that a call arrives at a busy machine, and the second 401 is an error.
    scale = 43_200
    with limited(LimitSettings(per_minute=None, per_day=60, concurrency=3), scale, latency=0.003) as sandbox:
        sandbox.sandbox.oauth.lives = 86_400
        fast = {
            "ZOHO_MINUTE_SECONDS": str(60 / scale),
            "ZOHO_CONCURRENCY": "3",
            "ZOHO_CALLS_PER_MINUTE": "1000",
        }
        environment = environment_of(sandbox, database, ZOHO_LONGEST_WAIT="60", **fast)
        with callers(environment, 70, 80, purpose="live") as made:
            assert sum(caller.result()["answered"] for caller in made) == 150
        assert sandbox.ledger.violations == []
        days = [calls for calls in sandbox.ledger.by_day.values() if calls]
        assert len(days) >= 3
        tokens = sandbox.ledger.by_path["POST /oauth/v2/token"]
        assert sum(days) - tokens - sandbox.ledger.by_status["401"] == 150


def test_a_killed_process_sets_its_calls_free(database: Database) -> None:
    with limited(LimitSettings(concurrency=None), scale=1, latency=0) as sandbox:
        environment = environment_of(sandbox, database, ZOHO_CONCURRENCY="2", ZOHO_LONGEST_WAIT="60")
        with database.connect(autocommit=True) as conn:
            conn.execute("update tds.setting set value = '0' where name = 'api_orphan_seconds'")
            sandbox.faults.set(next=["slow", "slow"], slow_seconds=20)
            with callers(environment, 2) as [dying]:
                under_way = "select under_way from tds_api_budget"
                while conn.execute(under_way).fetchone() != (2,):
                    time.sleep(0.01)
                with callers(environment, 1) as [waiting]:
                    time.sleep(0.3)
                    assert waiting.process.poll() is None
                    dying.kill()
                    began = time.monotonic()
                    assert waiting.result()["answered"] == 1
                    assert time.monotonic() - began < 5
            spent = "select outcome, calls from tds_api_spending order by outcome"
            assert conn.execute(spent).fetchall() == [("lost", 2), ("ok", 1)]
        assert sandbox.sandbox.oauth.refreshed == 1


def test_a_process_whose_clock_is_wrong_asks_for_one_token(
    database: Database, wrong_clock: dict[str, str]
) -> None:
    with limited(LimitSettings(), scale=1, latency=0) as sandbox:
        for count in (3, 2):
            with callers(environment_of(sandbox, database, **wrong_clock), count) as [caller]:
                assert caller.result()["answered"] == count
        assert sandbox.sandbox.oauth.refreshed == 1


async def get(client: ZohoClient, _: Mirror) -> None:
    """One call."""
    await client.get("/items", {"per_page": 1})


def test_a_revoked_token_stops_everybody_until_it_is_allowed_again(poller: Poller) -> None:
    oauth = poller.sandbox.sandbox.oauth
    asked = poller.sandbox.ledger.by_path
    poller.run(get)
    oauth.revoked = True
    oauth.revoke_tokens()
    for _ in range(3):
        with pytest.raises(AuthorizationError, match="no longer accepts"):
            poller.run(get)
    assert asked["POST /oauth/v2/token"] == 2
    oauth.revoked = False
    with pytest.raises(AuthorizationError):
        poller.run(get)
    with poller.database.connect(autocommit=True, role="tds_operator") as conn:
        assert conn.execute("select state from tds_api_accounts").fetchone() == ("refused",)
        conn.execute("select tds.allow_refresh()")
    poller.run(get)
    assert asked["POST /oauth/v2/token"] == 3


def test_never_more_than_ten_tokens_in_ten_minutes(poller: Poller) -> None:
    async def again(client: ZohoClient, mirror: Mirror) -> None:
        for _ in range(14):
            poller.sandbox.sandbox.oauth.revoke_tokens()
            await get(client, mirror)

    began = time.monotonic()
    poller.run(again)
    assert time.monotonic() - began >= 1  # ten of the sandbox's minutes
    assert poller.sandbox.sandbox.oauth.refreshed == 14
    assert poller.sandbox.ledger.violations == []


def test_a_cap_that_lasts_longer_than_may_be_waited_is_an_error(poller: Poller) -> None:
    async def again(client: ZohoClient, mirror: Mirror) -> None:
        for _ in range(11):
            poller.sandbox.sandbox.oauth.revoke_tokens()
            await get(client, mirror)

    with pytest.raises(LimitError, match="ten tokens") as limit:
        poller.run(again, minute_seconds=60, longest_wait=1)
    assert "refresh token" in limit.value.hint
    assert poller.sandbox.sandbox.oauth.refreshed == 10


@pytest.mark.parametrize("codes", [{1070: 0.1}, {44: 0.02, 1070: 0.05, 43: 0.005}])
def test_refusals_cost_waiting_only(poller: Poller, codes: dict[int, float]) -> None:
    async def many(client: ZohoClient, mirror: Mirror) -> None:
        for _ in range(60):
            await get(client, mirror)

    poller.sandbox.faults.set(codes=codes, seed=3)
    poller.run(many, minute_seconds=0.05)
    struck = poller.sandbox.faults.struck
    assert struck
    assert poller.sandbox.ledger.violations == []
    with poller.database.connect() as conn:
        told = "select coalesce(sum(calls), 0)::int from tds_api_spending where outcome like %s"
        assert conn.execute(told, ["limit_%"]).fetchone() == (struck,)
        assert conn.execute(told, ["ok"]).fetchone() == (60,)


def test_a_connection_that_breaks_is_opened_anew(poller: Poller, caplog: pytest.LogCaptureFixture) -> None:
    async def twice(client: ZohoClient, mirror: Mirror) -> None:
        await get(client, mirror)
        with poller.database.connect(autocommit=True) as conn:
            ended = """select pg_terminate_backend(l.pid) from pg_locks l
                        where l.locktype = 'advisory' and l.classid::bigint = tds.api_lock_class()"""
            assert conn.execute(ended).fetchall() == [(True,)]
        await get(client, mirror)
        with poller.database.connect(autocommit=True) as conn:
            held = "select count(*)::int from pg_locks l where l.classid::bigint = tds.api_lock_class()"
            assert conn.execute(held).fetchone() == (1,)

    with caplog.at_level(logging.WARNING):
        poller.run(twice)
    assert "connecting again" in caplog.text


def test_a_detail_that_waits_holds_up_no_list(database: Database, poller: Poller) -> None:
    with database.connect(autocommit=True) as conn:
        conn.execute("update tds.setting set value = '2' where name = 'api_details_per_minute'")

    async def mixed(client: ZohoClient, mirror: Mirror) -> None:
        organization = f"/organizations/{poller.settings().organization_id}"
        for _ in range(2):
            await client.get(organization)
        late = asyncio.create_task(client.get(organization))
        await asyncio.sleep(0.05)
        for _ in range(3):
            await client.get("/items", {"per_page": 1})
        assert not late.done()
        began = time.monotonic()
        await late
        assert time.monotonic() - began < PATIENCE

    poller.run(mixed, minute_seconds=2.0, calls_per_minute=90)


@pytest.mark.parametrize("typo", ["client_id", "client_secret", "refresh_token"])
def test_a_typo_is_asked_once_and_the_right_credentials_work_at_once(poller: Poller, typo: str) -> None:
    asked = poller.sandbox.ledger.by_path
    for _ in range(12):
        with pytest.raises(AuthorizationError, match="Next: tds connect"):
            poller.run(get, **{typo: "1000.mistyped"})
    assert asked["POST /oauth/v2/token"] == 1
    poller.run(get, minute_seconds=60, longest_wait=0)
    with pytest.raises(AuthorizationError):
        poller.run(get, **{typo: "1000.mistyped"})
    assert asked["POST /oauth/v2/token"] == 2
    assert poller.sandbox.ledger.violations == []
