"""The budget of calls and the one token, as SQL, on a clock of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import Mirror

NOON = datetime(2026, 6, 9, 12, tzinfo=UTC)
ORG = "60069194202"
ACCOUNT = "a" * 64


class Budget:
    """One session that makes calls, at times of the test's choosing."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self.mirror = Mirror(conn)
        self.at = NOON
        self.go(0)
        conn.execute("select tds.set_budget(%s)", [ORG])

    def go(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.mirror.conn.execute(f"set tds.fake_now = '{self.at.isoformat()}'")

    def reserve(self, calls: int = 1, purpose: str = "migration", endpoint: str = "/items") -> dict[str, Any]:
        query = "select * from tds.reserve_calls(%s, %s, %s, %s)"
        return self.mirror.rows(query, ORG, calls, purpose, endpoint)[0]

    def settle(
        self, call_id: int, status: int | None = 200, code: int | None = 0, *headers: float | None
    ) -> float:
        marks = ", %s" * len(headers)
        return float(
            self.mirror.value(f"select tds.settle_call(%s, %s, %s{marks})", call_id, status, code, *headers)
        )

    def call(self, *settled: Any, purpose: str = "migration") -> float:
        got = self.reserve(purpose=purpose)
        assert got["granted"] == 1, got
        return self.settle(got["call_ids"][0], *settled)

    def shown(self) -> dict[str, Any]:
        return self.mirror.rows("select * from tds_api_budget")[0]


@pytest.fixture
def budget(mirror: Mirror) -> Budget:
    return Budget(mirror.conn)


@pytest.fixture
def other(database: Database) -> Iterator[Budget]:
    with database.connect(autocommit=True) as conn:
        yield Budget(conn)


def test_single_records_have_a_pace_of_their_own(budget: Budget) -> None:
    detail = "/invoices/{id}"
    budget.mirror.conn.execute("select tds.set_budget(%s, 90, 100)", [ORG])
    first = budget.reserve(50, endpoint=detail)["call_ids"]
    assert len(first) == 40
    # under way: when they leave the minute is not known yet
    waits = budget.reserve(endpoint=detail)
    assert (waits["granted"], waits["wait_seconds"]) == (0, pytest.approx(0.1))
    budget.go(10)
    for call_id in first:
        budget.settle(call_id)
    budget.go(5)
    waits = budget.reserve(endpoint=detail)
    assert (waits["granted"], waits["reason"]) == (0, "the minute's details are used up")
    assert waits["wait_seconds"] == pytest.approx(55)
    # lists go on to what the minute has, and so does live repair with its details
    lists = budget.reserve(100)
    assert lists["granted"] == 86 - 40
    repairs = budget.reserve(3, "repair", detail)
    assert repairs["granted"] == 3
    for call_id in [*lists["call_ids"], *repairs["call_ids"]]:
        budget.settle(call_id)
    # the details of live repair count for the others: 40 - 3 are free when the first have left
    budget.go(54.9)
    assert budget.reserve(endpoint=detail)["granted"] == 0
    budget.go(0.1)
    assert budget.reserve(50, endpoint=detail)["granted"] == 37
    assert budget.shown()["details_per_minute"] == 40


def test_the_pace_of_single_records_is_never_above_the_ceiling(budget: Budget) -> None:
    budget.mirror.conn.execute("select tds.set_budget(%s, 20, 100)", [ORG])
    assert budget.shown()["details_per_minute"] == 20
    assert budget.reserve(50, "migration", "/bills/{id}")["granted"] == 19
    budget.mirror.conn.execute("update tds.setting set value = '5' where name = 'api_details_per_minute'")
    assert budget.shown()["details_per_minute"] == 5


def test_the_minute_counts_from_the_end_of_a_call(budget: Budget) -> None:
    budget.mirror.conn.execute("select tds.set_budget(%s, 3, 10)", [ORG])
    first = budget.reserve(2, "live")["call_ids"]
    budget.go(50)
    budget.settle(first[0])
    budget.go(5)
    budget.settle(first[1])
    budget.call(purpose="live")
    budget.go(1)
    full = budget.reserve(purpose="live")
    # reserved at 0, it may have reached Zoho as late as second 50
    assert (full["granted"], full["call_ids"], full["wait_seconds"]) == (0, None, 54)
    assert full["reason"] == "the minute's calls are used up"
    budget.go(53.9)
    assert budget.reserve(purpose="live")["granted"] == 0
    budget.go(0.1)
    assert budget.reserve(2, purpose="live")["granted"] == 1


def test_what_is_kept_for_repair(budget: Budget) -> None:
    assert budget.reserve(100)["granted"] == 5  # calls at once
    budget.mirror.conn.execute("select tds.set_budget(%s, 40, 100)", [ORG])
    assert budget.reserve(100)["granted"] == 33  # of 40 a minute, 2 are kept
    assert budget.reserve()["granted"] == 0
    assert budget.reserve(100, "repair")["granted"] == 2
    assert budget.reserve(1, "live")["granted"] == 0


def test_the_day(budget: Budget) -> None:
    budget.call(200, 0, 1000, 52, 3600)
    assert budget.shown()["kept_for_repair"] == 50
    last = budget.reserve(5)
    assert last["granted"] == 2
    for left, call_id in zip((51, 50), last["call_ids"], strict=True):
        budget.settle(call_id, 200, 0, 1000, left, 3600)
    refused = budget.reserve()
    assert (refused["granted"], refused["wait_seconds"]) == (0, 3600)
    assert "kept for live repair" in refused["reason"]
    assert budget.reserve(2, "live")["granted"] == 2
    shown = budget.shown()
    assert (shown["left_today"], shown["used_today"], shown["under_way"]) == (48, 952, 2)
    # the new day begins with what is under way taken off, until an answer tells
    budget.go(3601)
    assert budget.shown()["left_today"] == 1000
    assert budget.reserve()["granted"] == 1
    assert budget.mirror.value("select day_left from tds.api_budget") == 999


def test_answers_out_of_turn_do_not_give_calls_back(budget: Budget) -> None:
    first, second, third = budget.reserve(3)["call_ids"]
    budget.settle(second, 200, 0, 1000, 997, 3600)
    assert budget.shown()["left_today"] == 995
    budget.go(1)
    budget.settle(first, 200, 0, 1000, 999, 3600)
    # second had ended after first began, third is under way: either may be missing in what first was told
    assert budget.shown()["left_today"] == 997
    budget.settle(third, None, None)
    budget.go(1)
    later = budget.reserve(2)["call_ids"]
    budget.go(1)
    budget.call(200, 0, 1000, 996, 3600)
    assert budget.shown()["left_today"] == 994
    budget.settle(later[0], 200, 0, 1000, 995, 3600)
    assert budget.shown()["left_today"] == 994
    # somebody else spends of the same quota
    budget.settle(later[1], 200, 0, 1000, 900, 3600)
    assert budget.shown()["left_today"] == 900


def test_calls_without_an_answer_do_not_stop_the_day(budget: Budget) -> None:
    budget.call(200, 0, 100, 2, 3600)
    budget.call(401, 57, purpose="live")
    assert budget.shown()["left_today"] == 2  # not let in, not counted
    budget.call(None, None, purpose="live")
    budget.call(None, None, purpose="live")
    assert budget.shown()["left_today"] == 0
    budget.go(1)
    # Zoho may have counted neither: one is tried
    tried = budget.reserve(2, "live")
    assert tried["granted"] == 1
    assert budget.reserve(1, "live")["granted"] == 0
    budget.go(1)
    budget.settle(tried["call_ids"][0], 200, 0, 100, 1, 3600)
    assert budget.shown()["left_today"] == 1
    budget.call(200, 0, 100, 0, 3600, purpose="live")
    assert budget.reserve(1, "live")["reason"] == "the day's calls are used up"


def test_a_call_that_was_not_made_is_given_back(budget: Budget) -> None:
    budget.call(200, 0, 1000, 500, 3600)
    [call_id] = budget.reserve()["call_ids"]
    assert budget.shown()["left_today"] == 499
    budget.mirror.rows("select tds.cancel_call(%s)", call_id)
    budget.mirror.rows("select tds.cancel_call(%s)", call_id)
    shown = budget.shown()
    assert (shown["left_today"], shown["under_way"], shown["left_this_minute"]) == (500, 0, 89)
    assert budget.mirror.value("select sum(calls)::int from tds_api_spending") == 1


def test_the_last_calls_under_way_are_waited_for(budget: Budget) -> None:
    budget.call(200, 0, 100, 2, 3600)
    first, second = budget.reserve(2, "live")["call_ids"]
    waits = budget.reserve(purpose="live")
    assert (waits["granted"], waits["wait_seconds"]) == (0, 0.1)
    assert waits["reason"] == "the last of the day's calls are under way"
    # the answer counts both already: none was left, and none is
    budget.settle(second, 200, 0, 100, 1, 3600)
    budget.settle(first, 200, 0, 100, 0, 3600)
    assert budget.reserve(purpose="live")["wait_seconds"] == 3600
    assert budget.shown()["left_today"] == 0


@pytest.mark.parametrize(
    ("code", "headers", "seconds"),
    [
        (44, (), 120),
        (43, (), 1200),
        (45, (1000, 0, 5400), 5400),
        (1070, (), 1),
        (44, (None, None, None, 7), 7),
        (None, (), 120),
    ],
)
def test_a_refusal_stops_everybody(
    budget: Budget, other: Budget, code: int, headers: tuple[float | None, ...], seconds: int
) -> None:
    assert budget.call(429, code, *headers) == seconds
    waits = other.reserve(purpose="live")
    assert (waits["granted"], waits["wait_seconds"]) == (0, seconds)
    assert code is None or str(code) in waits["reason"]
    assert other.shown()["paused_until"] == NOON + timedelta(seconds=seconds)
    other.go(seconds)
    assert other.reserve(purpose="live")["granted"] == 1
    assert budget.mirror.rows("select outcome, calls from tds_api_spending") == [
        {"outcome": f"limit_{code or 'unknown'}", "calls": 1}
    ]


@pytest.mark.parametrize(
    ("code", "headers", "most"),
    [
        (44, (None, None, None, 0), 10),
        (44, (None, None, None, 1), 10),
        (43, (None, None, None, 1), 4),
        (45, (1000, 0, 0), 12),
        (45, (1000, 0, 0, 0), 12),
    ],
)
def test_headers_that_tell_of_too_short_a_pause_are_believed_once(
    budget: Budget, code: int, headers: tuple[float | None, ...], most: int
) -> None:
    refused = 0
    while budget.at < NOON + timedelta(minutes=10):
        got = budget.reserve(purpose="live")
        if not got["granted"]:
            budget.go(max(0.1, got["wait_seconds"]))
            continue
        budget.go(0.2)
        budget.settle(got["call_ids"][0], 429, code, *headers)
        refused += 1
    assert 1 < refused <= most


@pytest.mark.parametrize(("left", "purpose"), [(0, "live"), (40, "migration")])
def test_a_day_whose_end_nobody_tells_is_over_after_one(budget: Budget, left: int, purpose: str) -> None:
    budget.call(200, 0, 1000, left)
    budget.go(3600)
    assert (budget.reserve(purpose=purpose)["granted"], budget.shown()["left_today"]) == (0, left)
    budget.go(23 * 3600)
    assert budget.reserve(purpose=purpose)["granted"] == 1


def test_a_pause_is_not_made_shorter_but_ended_by_hand(budget: Budget) -> None:
    first, second = budget.reserve(2)["call_ids"]
    budget.settle(first, 429, 43)
    budget.settle(second, 429, 1070)
    assert budget.shown()["paused_until"] == NOON + timedelta(minutes=20)
    assert "code 43" in budget.shown()["pause_reason"]
    assert budget.mirror.value("select tds.resume_calls(%s)", ORG)
    assert budget.reserve()["granted"] == 1


@pytest.mark.parametrize("ahead", [timedelta(hours=5), timedelta(days=200)])
def test_a_clock_that_was_ahead_keeps_no_day_from_beginning_anew(budget: Budget, ahead: timedelta) -> None:
    """What was told then is no newer than what is told now: the end of today, and how many are left."""

    def call(left: int) -> None:
        midnight = (budget.at + timedelta(days=1)).replace(hour=0, minute=0, second=0)
        budget.call(200, 0, 50, left, (midnight - budget.at).total_seconds(), purpose="live")

    budget.go(ahead.total_seconds())
    call(49)
    budget.go(-ahead.total_seconds() + 60)
    call(1)
    told = "select day_left, day_resets_at from tds.api_budget"
    assert budget.mirror.rows(told) == [{"day_left": 1, "day_resets_at": NOON + timedelta(hours=12)}]
    call(0)
    assert budget.reserve(purpose="live")["granted"] == 0
    budget.go(timedelta(days=1).total_seconds())
    call(49)
    assert budget.mirror.rows(told)[0]["day_left"] == 49


def test_too_many_at_once_lowers_it_for_some_minutes(budget: Budget) -> None:
    calls = budget.reserve(5)["call_ids"]
    for call in calls[:3]:
        budget.settle(call, 429, 1070)
    assert budget.shown()["calls_at_once"] == 4  # refused together, lowered once
    budget.settle(calls[3])
    budget.settle(calls[4])
    budget.go(2)
    assert budget.reserve(5)["granted"] == 4
    budget.go(60)
    assert budget.shown()["calls_at_once"] == 5


def test_calls_of_a_dead_session_are_given_up(budget: Budget, database: Database) -> None:
    budget.mirror.conn.execute("select tds.set_budget(%s, null, 2)", [ORG])
    with database.connect(autocommit=True) as conn:
        dying = Budget(conn)
        assert dying.reserve(2)["granted"] == 2
        budget.go(60)
        waits = budget.reserve()
        assert (waits["granted"], waits["reason"]) == (0, "as many calls are under way as are allowed")
        assert waits["wait_seconds"] == 0.1
    budget.mirror.rows("select pg_sleep(0.05)")
    assert budget.reserve()["granted"] == 1
    assert budget.mirror.rows("select outcome, calls from tds_api_spending") == [
        {"outcome": "lost", "calls": 2}
    ]
    # and one that lives is given up only much later
    budget.go(301)
    assert budget.reserve(2)["granted"] == 2


def test_nothing_is_counted_twice(budget: Budget) -> None:
    [call] = budget.reserve()["call_ids"]
    budget.settle(call, 200, 0)
    assert budget.settle(call, 429, 44) == 0
    assert budget.shown()["paused_until"] is None
    assert budget.settle(123456) == 0
    outcomes = [(404, 1002), (404, 5), (401, 57), (500, 1000), (None, None), (200, None), (429, 44)]
    for status, code in outcomes:
        budget.call(status, code)
    budget.go(600)
    budget.call()
    told = "select outcome, calls::int from tds_api_spending order by outcome"
    assert {row["outcome"]: row["calls"] for row in budget.mirror.rows(told)} == {
        "limit_44": 1,
        "no_answer": 2,
        "not_found": 1,
        "ok": 2,
        "refused": 1,
        "server_error": 1,
        "unauthorized": 1,
    }
    # rows of calls do not pile up
    assert budget.mirror.value("select count(*) from tds.api_call") == 1


# the token


def token(budget: Budget, rejected: str | None = None) -> dict[str, Any]:
    return budget.mirror.rows("select * from tds.access_token(%s, %s)", ACCOUNT, rejected)[0]


def store(budget: Budget, secret: str) -> None:
    query = "select tds.store_access_token(%s, %s, 'https://www.zohoapis.com', 3600, tds.now())"
    budget.mirror.rows(query, ACCOUNT, secret)


def test_one_asks_the_others_wait(budget: Budget, other: Budget) -> None:
    assert token(budget)["state"] == "refresh"
    waits = token(other)
    assert (waits["state"], waits["access_token"]) == ("wait", None)
    store(budget, "one")
    assert (token(other)["state"], token(other)["access_token"]) == ("ok", "one")
    for each in (budget, other):
        each.go(3500)
    # two minutes before its end one goes and asks, while the others go on with it
    assert token(other)["state"] == "refresh"
    assert (token(budget)["state"], token(budget)["access_token"]) == ("ok", "one")
    store(other, "two")
    assert token(budget)["access_token"] == "two"
    assert token(budget, rejected="one")["state"] == "ok"
    assert token(budget, rejected="two")["state"] == "refresh"


def test_a_refresher_that_dies_lets_go(budget: Budget, database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        assert token(Budget(conn))["state"] == "refresh"
        assert token(budget)["state"] == "wait"
    budget.mirror.rows("select pg_sleep(0.05)")
    assert token(budget)["state"] == "refresh"


def test_ten_in_ten_minutes(budget: Budget) -> None:
    for number in range(10):
        assert token(budget, rejected=str(number - 1))["state"] == "refresh"
        store(budget, str(number))
        budget.go(30)
    waits = token(budget, rejected="9")
    assert (waits["state"], waits["wait_seconds"]) == ("wait", 300)
    assert budget.mirror.value("select refreshes_in_ten_minutes from tds_api_accounts") == 10
    assert token(budget)["state"] == "ok"
    budget.go(300)
    assert token(budget, rejected="9")["state"] == "refresh"


def test_a_revoked_token_is_not_tried_again(budget: Budget, other: Budget) -> None:
    assert token(budget)["state"] == "refresh"
    budget.mirror.rows("select tds.refresh_failed(%s, 'invalid_code')", ACCOUNT)
    other.go(86400)
    assert (token(other)["state"], token(other)["reason"]) == ("refused", "invalid_code")
    assert other.mirror.value("select state from tds_api_accounts") == "refused"
    # another refresh token is another account
    fresh = other.mirror.rows("select * from tds.access_token(%s)", "b" * 64)[0]
    assert fresh["state"] == "refresh"
    assert other.mirror.value("select tds.allow_refresh()") == 1
    assert token(other)["state"] == "refresh"


def test_denied_for_ten_minutes(budget: Budget) -> None:
    assert token(budget)["state"] == "refresh"
    budget.mirror.rows("select tds.refresh_failed(%s, 'access_denied')", ACCOUNT)
    assert token(budget)["wait_seconds"] == 600
    budget.go(600)
    assert token(budget)["state"] == "refresh"
    budget.mirror.rows("select tds.refresh_failed(%s, 'something else')", ACCOUNT)
    assert token(budget)["state"] == "refresh"


def test_the_token_is_the_pollers_and_in_no_dump(budget: Budget, database: Database) -> None:
    token(budget)
    store(budget, "very-secret-token")
    for role in ("tds_receiver", "tds_worker", "tds_operator", "tds_reader"):
        with database.connect(autocommit=True, role=role) as conn:
            for attempt in ("select * from tds.api_token", f"select * from tds.access_token('{ACCOUNT}')"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(attempt)
    with database.connect(autocommit=True, role="tds_poller") as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("select * from tds.api_token")
        conn.execute(f"set tds.fake_now = '{NOON.isoformat()}'")
        assert (
            Mirror(conn).rows("select * from tds.access_token(%s)", ACCOUNT)[0]["access_token"]
            == "very-secret-token"
        )
        assert Mirror(conn).rows("select * from tds_api_budget")
    import subprocess

    dump = subprocess.run(
        [database.bin_dir / "pg_dump", "--no-unlogged-table-data", "--schema=tds"],
        env=database.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert ACCOUNT in dump
    assert "very-secret-token" not in dump


@pytest.mark.parametrize("error", ["invalid_code", "invalid_client", "invalid_client_secret"])
def test_what_was_refused_is_not_sent_again_and_the_right_ones_work_at_once(
    budget: Budget, other: Budget, error: str
) -> None:
    def asked(session: Budget, credentials: str) -> tuple[str, str | None]:
        query = "select state, reason from tds.access_token(%s, null, 60, %s)"
        row = session.mirror.rows(query, ACCOUNT, credentials)[0]
        return row["state"], row["reason"]

    for typo in range(20):  # more than the ten tokens of ten minutes
        assert asked(budget, f"typo {typo}") == ("refresh", None)
        budget.mirror.rows("select tds.refresh_failed(%s, %s, 60, %s)", ACCOUNT, error, f"typo {typo}")
    assert asked(other, "typo 0") == asked(other, "typo 19") == ("refused", error)
    assert budget.mirror.value("select state from tds_api_accounts") == "refused"
    assert asked(other, "right") == ("refresh", None)
    store(other, "good")
    assert asked(budget, "right") == ("ok", None)
    assert asked(budget, "typo 3") == ("refused", error)
    shown = budget.mirror.rows("select state, refreshes_in_ten_minutes as refreshes from tds_api_accounts")
    assert shown == [{"state": "ok", "refreshes": 1}]
    assert budget.mirror.value("select tds.allow_refresh()") == 1
    budget.go(3600)
    assert asked(budget, "typo 3") == ("refresh", None)
