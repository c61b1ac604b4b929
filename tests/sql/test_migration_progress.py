"""How a migration stands, as SQL: what it has cost and still costs, when it ends, what it waits for and until when."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.sql.conftest import ORGANIZATION, Mirror

NOON = datetime(2026, 6, 9, 12, tzinfo=UTC)
MIDNIGHT = NOON + timedelta(hours=12)


@pytest.fixture
def under_way(mirror: Mirror) -> Mirror:
    """A migration that has begun at noon, of an organisation with 10,000 calls a day, 500 of them kept."""
    mirror.conn.execute(f"set tds.fake_now = '{NOON.isoformat()}'")
    mirror.conn.execute("select tds.set_budget(%s)", [ORGANIZATION])
    mirror.conn.execute(
        "update tds.api_budget set day_limit = 10000, day_left = 9000, day_resets_at = %s", [MIDNIGHT]
    )
    spend(mirror, 70)
    mirror.conn.execute("select tds.begin_full_pull(%s)", [ORGANIZATION])
    return mirror


def spend(mirror: Mirror, calls: int) -> None:
    """Counts calls for migrations, as settling them does."""
    mirror.conn.execute(
        """insert into tds.api_spending as s (organization_id, day, purpose, endpoint, outcome, calls)
           values (%s, %s, 'migration', '/items', 'ok', %s)
           on conflict on constraint api_spending_pkey do update set calls = s.calls + excluded.calls""",
        [ORGANIZATION, NOON.date(), calls],
    )


def now(mirror: Mirror) -> dict[str, Any]:
    """How it stands."""
    [row] = mirror.rows("select * from tds.migration_now(%s)", ORGANIZATION)
    return row


def ends(mirror: Mirror, calls: int, singles: int = 0) -> tuple[float, int, datetime]:
    """Minutes, days and end of so many calls."""
    [row] = mirror.rows("select * from tds.time_for_calls(%s, %s, %s)", ORGANIZATION, calls, singles)
    return float(row["minutes"]), row["days"], row["ends_at"]


def test_calls_take_minutes_by_the_ceilings_and_days_by_the_quota(under_way: Mirror) -> None:
    # 86 of 90 calls a minute, 40 single records; 8,500 of today's 9,000, and 9,500 on each day after
    assert ends(under_way, 860) == (10.0, 1, NOON + timedelta(minutes=10))
    assert ends(under_way, 400, 400) == (10.0, 1, NOON + timedelta(minutes=10))
    assert ends(under_way, 0) == (0.0, 1, NOON)
    minutes, days, end = ends(under_way, 8_500 + 9_500 + 400, 8_500)
    assert (days, end) == (3, MIDNIGHT + timedelta(days=1, minutes=10))
    assert minutes > 300
    under_way.conn.execute("update tds.api_budget set day_left = 0")
    assert ends(under_way, 860, 400)[1:] == (1, MIDNIGHT + timedelta(minutes=21.5))
    assert ends(under_way, 9_500)[1] == 1
    assert ends(under_way, 9_501)[1] == 2
    assert under_way.rows("select minutes from tds.time_for_calls('nobody', 1, 1)") == [{"minutes": None}]


def test_what_was_spent_before_it_began_is_not_its_own(under_way: Mirror) -> None:
    lists = under_way.value("select count(*) from tds.entity where api_path <> ''")
    assert (now(under_way)["calls_done"], now(under_way)["calls_to_do"]) == (0, lists)
    spend(under_way, 30)
    assert now(under_way)["calls_done"] == 30
    under_way.conn.execute("select tds.begin_full_pull(%s)", [ORGANIZATION])
    assert now(under_way)["calls_done"] == 30, "it goes on"
    under_way.conn.execute("select tds.begin_full_pull(%s, true)", [ORGANIZATION])
    assert now(under_way)["calls_done"] == 0, "it begins anew"
    under_way.conn.execute("select tds.finish_full_pull(%s)", [ORGANIZATION])
    ended = now(under_way)
    assert [ended[name] for name in ("calls_to_do", "minutes_left", "days_left", "ends_at", "wait")] == [
        0,
        *[None] * 4,
    ]


def test_a_list_that_is_counted_tells_its_pages_and_its_details(under_way: Mirror) -> None:
    def to_do(entity: str) -> tuple[int, int]:
        query = "select calls, singles from tds.calls_expected(%s) where entity = %s"
        [row] = under_way.rows(query, ORGANIZATION, entity)
        return row["calls"], row["singles"]

    assert to_do("invoices") == (1, 0)
    run = under_way.value("select tds.start_run('invoices', %s)", ORGANIZATION)
    under_way.conn.execute("select tds.note_count(%s, 1000, tds.now())", [run])
    assert to_do("invoices") == (5 + 1000, 1000)
    page = {"invoices": [{"invoice_id": str(number)} for number in range(200)]}
    under_way.conn.execute(
        "select tds.store_page(%s, 1, %b, tds.now(), true, 200)", [run, json.dumps(page).encode()]
    )
    assert to_do("invoices") == (4 + 1000, 1000)
    under_way.process()
    wanted = under_way.value("select count(*) from tds.wanted_detail where entity = 'invoices'")
    assert wanted == 200
    assert to_do("invoices") == (4 + 800, 800), "those that are wanted are counted as that"
    assert now(under_way)["calls_to_do"] > 1000
    [taken] = under_way.rows("select zoho_id from tds.take_details('invoices', %s, 1, 1)", ORGANIZATION)
    detail = json.dumps({"invoice": {"invoice_id": taken["zoho_id"]}}).encode()
    for _ in range(2):  # the second answers nothing that is wanted
        under_way.conn.execute(
            "select tds.store_detail('invoices', %s, %s, %b, tds.now())",
            [ORGANIZATION, [taken["zoho_id"]], detail],
        )
    assert under_way.value("select tds.migrated(%s, 'invoices')", ORGANIZATION) == 1
    assert now(under_way)["details_fetched"] == 1


def test_the_organization_is_read_without_a_list(under_way: Mirror) -> None:
    before = now(under_way)
    run = under_way.value("select tds.start_run('organizations', %s)", ORGANIZATION)
    under_way.conn.execute(
        "update tds.run set state = 'complete', finished_at = tds.now() where run_id = %s", [run]
    )
    after = now(under_way)
    assert (after["lists_read"], after["calls_to_do"]) == (1, before["calls_to_do"] - 1)


def test_single_records_have_a_minute_of_their_own(under_way: Mirror) -> None:
    under_way.conn.execute("update tds.setting set value = '1' where name = 'api_details_per_minute'")
    under_way.conn.execute(
        """insert into tds.run (organization_id, entity, state, started_at, heartbeat_at, finished_at, listed_at)
           select %s, entity, 'complete', tds.now(), tds.now(), tds.now(), tds.now() from tds.entity where api_path <> ''""",
        [ORGANIZATION],
    )
    under_way.conn.execute("select tds.want_detail('invoices', %s, '4711')", [ORGANIZATION])
    assert (now(under_way)["calls_to_do"], now(under_way)["wait"]) == (1, None)
    call = under_way.value(
        "select call_ids[1] from tds.reserve_calls(%s, 1, 'migration', '/invoices/{id}')", ORGANIZATION
    )
    under_way.conn.execute("select tds.settle_call(%s, 200, 0)", [call])
    waits = now(under_way)
    assert (waits["wait"], waits["waits_until"]) == ("minute", NOON + timedelta(minutes=1))
    assert waits["waits_for"] == "the minute's calls for single records"


def test_what_it_waits_for_and_until_when(under_way: Mirror) -> None:
    assert (now(under_way)["wait"], now(under_way)["waits_until"]) == (None, None)
    under_way.conn.execute("update tds.setting set value = '2' where name = 'api_calls_per_minute'")
    for seconds in (0, 10):
        under_way.conn.execute(f"set tds.fake_now = '{(NOON + timedelta(seconds=seconds)).isoformat()}'")
        [call] = under_way.value("select call_ids from tds.reserve_calls(%s)", ORGANIZATION) or [None]
        under_way.conn.execute("select tds.settle_call(%s, 200, 0)", [call])
    waits = now(under_way)
    assert (waits["wait"], waits["waits_until"]) == ("minute", NOON + timedelta(minutes=1))
    under_way.conn.execute("update tds.setting set value = '90' where name = 'api_calls_per_minute'")
    assert now(under_way)["wait"] is None
    under_way.conn.execute("update tds.api_budget set day_left = 500")
    waits = now(under_way)
    assert (waits["wait"], waits["waits_until"]) == ("day", MIDNIGHT)
    under_way.conn.execute(
        "update tds.api_budget set paused_until = %s, pause_reason = 'refused'",
        [NOON + timedelta(minutes=20)],
    )
    waits = now(under_way)
    assert (waits["wait"], waits["waits_until"]) == ("pause", NOON + timedelta(minutes=20))
    assert "refused" in waits["waits_for"]
    under_way.conn.execute("update tds.api_budget set paused_until = null, day_left = 9000")
    under_way.conn.execute(f"set tds.fake_now = '{(NOON + timedelta(minutes=11)).isoformat()}'")
    waits = now(under_way)
    assert (waits["wait"], waits["waits_until"]) == ("nobody", None)
    assert "tds migrate" in waits["waits_for"]
