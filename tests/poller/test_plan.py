"""`tds plan`: the forecast of calls, minutes and days, and that it is what a migration then takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tds_poller.forecast import Cost, Quota, cost, costs, forecast
from tds_poller.zoho.client import ZohoClient
from tds_sandbox.clock import Clock
from tds_sandbox.limits import LimitSettings
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running
from tests.commands import tds
from tests.db.servers import Database
from tests.poller.conftest import Poller, fast_sandbox

NOW = datetime(2026, 6, 9, 20, tzinfo=UTC)
PLAIN: dict[str, Any] = {
    "entity": "invoices",
    "paged": True,
    "needs_details": True,
    "bulk_details": False,
    "all_details": False,
    "rows_known": 0,
    "details_wanted": 0,
    "next_page": None,
    "count_calls": 2,
}


def quota(**changes: Any) -> Quota:
    """A plan of 2,500 calls a day, at eight in the evening."""
    usual: dict[str, Any] = {
        "per_minute": 86,
        "details_per_minute": 40,
        "minute_seconds": 60.0,
        "concurrency": 5,
        "day_limit": 2375,
        "left_today": 2000,
        "resets_at": NOW + timedelta(hours=4),
    }
    return Quota(**usual | changes)


@pytest.mark.parametrize(
    ("records", "changes", "calls"),
    [
        (0, {}, (1, 0)),
        (200, {}, (1, 200)),
        # of several pages it is counted, and its first page read again
        (201, {}, (4, 201)),
        (2218, {"bulk_details": True}, (14, 23)),
        (2218, {"needs_details": False}, (14, 0)),
        (35, {"paged": False, "needs_details": False}, (1, 0)),
        # what is here has its details, or they are wanted
        # known to be long it is counted before its first page is read
        (1000, {"rows_known": 900, "details_wanted": 30, "count_calls": 1}, (6, 130)),
        (1000, {"rows_known": 1200, "count_calls": 1}, (6, 0)),
        # whether or not they are here: they change without a sign
        (2218, {"bulk_details": True, "all_details": True, "rows_known": 2218, "count_calls": 1}, (13, 23)),
        # a run that stopped goes on, its list was counted
        (1000, {"next_page": 4, "rows_known": 600, "details_wanted": 600, "count_calls": 0}, (2, 1000)),
    ],
)
def test_the_calls_of_a_list(records: int, changes: dict[str, Any], calls: tuple[int, int]) -> None:
    found = cost(PLAIN | changes, records, "counted")
    assert (found.list_calls, found.detail_calls) == calls


def test_days_and_minutes() -> None:
    assert forecast(860, quota(), NOW) == (forecast(860, quota(day_limit=None), NOW))
    short = forecast(860, quota(), NOW)
    assert short.minutes == pytest.approx(10)
    assert (short.days, short.ends_at) == (1, NOW + timedelta(minutes=10))
    # 10,050 calls: 2,000 today, 2,375 on three days, 925 on the last
    long = forecast(10_050, quota(), NOW)
    assert long.days == 5
    assert long.ends_at - NOW == pytest.approx(
        timedelta(hours=4 + 72, minutes=925 / 86), abs=timedelta(seconds=1)
    )
    # nothing is left today, and tomorrow begins at midnight
    assert forecast(86, quota(left_today=0), NOW).ends_at == NOW + timedelta(hours=4, minutes=1)
    assert forecast(86, quota(left_today=-50), NOW).days == 1
    # midnight comes before today's calls are spent
    assert forecast(2000, quota(resets_at=NOW + timedelta(minutes=10)), NOW).days == 2
    # five at once, and each takes six seconds
    assert forecast(100, quota(), NOW, seconds_a_call=6).minutes == pytest.approx(2)


def test_single_records_are_asked_at_their_own_pace() -> None:
    # lists first: 86 in a minute, then 80 details in two
    short = forecast(166, quota(), NOW, singles=80)
    assert short.minutes == pytest.approx(3)
    assert short.ends_at - NOW == pytest.approx(timedelta(minutes=3), abs=timedelta(seconds=1))
    # the day's calls are what they are: 10 lists and 1,990 details today, the rest tomorrow
    long = forecast(2_410, quota(left_today=2000), NOW, singles=2_400)
    assert long.days == 2
    assert long.ends_at - NOW == pytest.approx(timedelta(hours=4, minutes=410 / 40), abs=timedelta(seconds=1))
    # midnight comes before the details are through: 400 in ten minutes
    late = forecast(410, quota(resets_at=NOW + timedelta(minutes=10)), NOW, singles=410)
    assert late.days == 2
    assert late.minutes == pytest.approx(410 / 40)
    assert late.ends_at - NOW == pytest.approx(timedelta(minutes=10 + 10 / 40), abs=timedelta(seconds=1))
    # a ceiling below the details' pace is theirs too
    assert forecast(40, quota(per_minute=20), NOW, singles=40).minutes == pytest.approx(2)
    # eight seconds each, five at once, are slower than either pace
    assert forecast(60, quota(), NOW, seconds_a_call=8, singles=30).minutes == pytest.approx(1.6)


@pytest.fixture
def company(database: Database) -> Iterator[Running]:
    """The real company's items and few of everything else; a minute lasts a tenth of a second."""
    organisation = Organisation(items=2218, contacts=60, invoices=30, clock=Clock(600), lenient=True)
    with fast_sandbox(organisation, limits=LimitSettings(per_day=2500)) as sandbox:
        yield sandbox


def look(
    company: Running, database: Database, *, exact: bool = False, **assumed: int
) -> tuple[dict[str, Cost], int]:
    """The costs, and the calls they cost."""
    names = {name.lower().removeprefix("zoho_"): value for name, value in company.environment.items()}

    async def run() -> tuple[dict[str, Cost], int]:
        from tds_poller.zoho.settings import ZohoSettings

        settings = ZohoSettings.model_validate({"minute_seconds": 0.1, **names})
        with psycopg.connect(database.conninfo, row_factory=dict_row) as conn:
            query = "select * from tds.plan_entities(%s)"
            known = conn.execute(query, [settings.organization_id]).fetchall()
        async with ZohoClient(settings, database.conninfo, purpose="plan") as client:
            found = await costs(client, known, assumed, exact=exact)
            return {row.entity: row for row in found}, client.calls

    return asyncio.run(run())


def test_the_products_of_the_company(company: Running, database: Database) -> None:
    found, spent = look(company, database)
    assert found["products"] == Cost("products", 2218, "counted by Zoho", 14, 23)
    assert found["invoices"] == Cost("invoices", 30, "counted by Zoho", 1, 30, 30)
    assert found["customers"].records + found["vendors"].records == 60
    assert found["organizations"] == Cost("organizations", 1, "one call", 1, 0)
    assert spent == len(found) - 3  # all that have pages


def test_where_zoho_does_not_count(company: Running, database: Database) -> None:
    company.organisation.counts_every_list = False
    found, spent = look(company, database)
    assert found["customers"].how == "counted: one page"
    assert found["products"].how.startswith("assumed: over 200")
    assert found["products"].records == 1000
    exact, more = look(company, database, exact=True)
    assert exact["products"] == Cost("products", 2218, "counted: last page found", 14, 23)
    assert more - spent == 5  # pages 2, 4, 8, 16 and 12
    told, fewer = look(company, database, products=5000)
    assert (told["products"].list_calls, told["products"].detail_calls, fewer) == (27, 50, spent - 1)
    company.sandbox.oauth.lacking = frozenset({"invoices.READ"})
    company.sandbox.oauth.revoke_tokens()
    lacking, _ = look(company, database)
    assert lacking["invoices"].how.startswith("not readable: GET /invoices: HTTP 401")
    assert lacking["invoices"].list_calls == 0


def test_the_forecast_is_what_a_migration_takes(poller: Poller, environment: dict[str, str]) -> None:
    done = tds(environment, "plan", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    ledger = poller.sandbox.ledger
    before = len(ledger.calls)
    assert answer["spent"] == before - 1  # all but the token
    poller.migrate()
    assert answer["calls"] == pytest.approx(len(ledger.calls) - before, rel=0.1)
    assert answer["quota"]["day_limit"] == 9500
    assert answer["quota"]["per_minute"] == 86
    shown = tds(environment, "plan", "products")
    assert "9 calls" in shown.stdout, "counted, three pages; stock by place is read again, by the hundred"
    assert "Next: tds migrate" in shown.stderr
    assert tds(environment, "plan", "--assume", "products").returncode == 2
    assert "There are " in tds(environment, "plan", "prodcts").stderr
    with psycopg.connect(poller.database.conninfo, autocommit=True, row_factory=dict_row) as conn:
        conn.execute("select tds.want_again('products', %s)", [poller.settings().organization_id])
        conn.execute("select tds.want_again('customers', %s)", [poller.settings().organization_id])
        wanted = conn.execute(
            "select * from tds.calls_wanted(%s)", [poller.settings().organization_id]
        ).fetchall()
        outlook = conn.execute("select * from tds_api_outlook").fetchone()
    assert {row["entity"]: row["calls"] for row in wanted}["products"] == 5
    assert outlook
    assert outlook["calls"] == sum(row["calls"] for row in wanted)
    assert outlook["more_days"] == 0
