"""Which lists are read whole when, what speaks against waiting, and what the clock costs on a day."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest

from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror
from tests.sql.test_pulls import ask, begin, invoice, page, row, settle

COMPANY = {
    "products": 2218, "customers": 2386, "vendors": 81, "invoices": 6000, "bills": 1200, "payments": 2000,
    "vendor_payments": 300, "credit_notes": 250, "vendor_credits": 50, "sales_orders": 200, "pricelists": 8,
    "organizations": 1, "currencies": 8, "taxes": 6, "warehouses": 4,
}  # fmt: skip
"""A company of 2,218 products, 2,467 contacts and 10,000 documents."""
FILTERED = {"invoices", "credit_notes", "vendor_payments", "vendor_credits", "sales_orders"}


def at(mirror: Mirror, moment: str) -> None:
    """Sets the clock."""
    mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [moment])


def settled(mirror: Mirror, day: str) -> None:
    """A migration ended on that day, and every list was read whole then."""
    at(mirror, f"{day} 10:00Z")
    mirror.conn.execute("select tds.begin_full_pull(%s)", [ORGANIZATION])
    for found in mirror.rows("select entity from tds.entity where api_path <> '' order by entity"):
        run = ask(mirror, found["entity"])
        mirror.conn.execute(
            """update tds.run set state = 'complete', started_at = tds.now(), heartbeat_at = tds.now(),
                      listed_at = tds.now(), cursor_from = tds.now(), finished_at = tds.now()
                where run_id = %s""",
            [run],
        )
    mirror.conn.execute("select tds.finish_full_pull(%s)", [ORGANIZATION])


def due(mirror: Mirror) -> dict[str, Any]:
    """What is to be read whole in this night."""
    return {
        found["entity"]: found["options"]
        for found in mirror.rows("select entity, options from tds.lists_to_sweep(tds.now())")
    }


def setting(mirror: Mirror, name: str, value: object) -> None:
    """Changes a setting."""
    mirror.conn.execute("update tds.setting set value = %s where name = %s", [json.dumps(value), name])


def test_each_list_has_its_own_time(mirror: Mirror) -> None:
    settled(mirror, "2026-06-01")
    setting(mirror, "sweep_nightly_pages", 0)
    always = {
        found["entity"]
        for found in mirror.rows(
            "select entity from tds.entity where api_path <> '' and not has_modified_filter"
        )
    }
    seen: dict[str, list[int]] = {}
    for night in range(1, 21):
        at(mirror, f"{date(2026, 6, 1) + timedelta(days=night)} 01:45Z")
        found = due(mirror)
        assert found.keys() >= always
        assert len(found.keys() - always) <= 1, "one a night of those that cost something"
        for name in found.keys() - always:
            assert found[name] == {"sweep": True}
            seen.setdefault(name, []).append(night)
            mirror.conn.execute(
                "update tds.run set listed_at = tds.now() where entity = %s and listed_at is not null", [name]
            )
    assert {name: len(nights) for name, nights in seen.items()} == dict.fromkeys(FILTERED, 2), seen
    assert all(nights[1] - nights[0] == 7 for nights in seen.values())
    # small lists each night, and each as it is told
    setting(mirror, "sweep_nightly_pages", 2)
    at(mirror, "2026-06-23 01:45Z")
    assert due(mirror).keys() == always | FILTERED
    setting(mirror, "sweep_days_of", {"invoices": 0, "bills": 30})
    assert due(mirror).keys() == (always | FILTERED) - {"invoices", "bills"}
    # nobody was there for a month: what is late is read at once
    setting(mirror, "sweep_nightly_pages", 0)
    setting(mirror, "sweep_days_of", {})
    at(mirror, "2026-07-30 01:45Z")
    assert due(mirror).keys() == always | FILTERED


def test_a_list_that_was_read_by_a_clock_that_was_ahead_is_read_again(mirror: Mirror) -> None:
    settled(mirror, "2026-06-01")
    at(mirror, "2026-06-02 01:45Z")
    assert due(mirror).keys() >= FILTERED
    mirror.conn.execute(
        "update tds.run set listed_at = tds.now() + interval '200 days' where entity in ('invoices', 'products')"
        " and listed_at is not null"
    )
    assert due(mirror).keys() >= {"invoices", "products"}
    mirror.conn.execute(
        "update tds.run set listed_at = tds.now() where entity = 'invoices' and listed_at is not null"
    )
    assert "invoices" not in due(mirror)


@pytest.fixture
def quiet(mirror: Mirror) -> Mirror:
    """A mirror of one invoice, which was read whole a week ago; nothing has moved since."""
    at(mirror, "2026-06-01 09:00Z")
    mirror.receive("customers", {"contact": {"contact_id": "7", "contact_type": "customer",
                                             "last_modified_time": MOMENT}}, shape="detail",
                   observed_at="2026-06-01T08:59:00Z")  # fmt: skip
    mirror.receive("invoices", {"invoice": invoice("1", customer_id="7", status="sent", balance=5, total=5,
                                                   due_date="2026-06-20", line_items=[])}, shape="detail",
                   observed_at="2026-06-01T08:59:00Z")  # fmt: skip
    mirror.process()
    settled(mirror, "2026-06-01")
    at(mirror, "2026-06-08 01:45Z")
    changes = ask(mirror, "invoices", incremental=True)
    begin(mirror, changes)
    page(mirror, changes, "invoices", [])
    mirror.conn.execute("update tds.run set cursor_from = tds.now() where run_id = %s", [changes])
    settle(mirror)
    settle(mirror)
    return mirror


def why(mirror: Mirror, counted: int | None = 1) -> str | None:
    """Why the invoices are to be swept now."""
    query = "select tds.why_sweep(tds.entity_named('invoices'), %s, %s, tds.now())"
    found: str | None = mirror.value(query, ORGANIZATION, counted)
    return found


def test_a_list_waits_only_while_nothing_speaks_for_it(quiet: Mirror) -> None:
    assert why(quiet) is None
    assert why(quiet, 2) == "Zoho counts 2 records, and 1 are here"
    assert why(quiet, None) == "Zoho counts not its records, and 1 are here"
    # the calendar alone: due on 20 June, and nothing was told since
    at(quiet, "2026-06-21 03:00Z")
    assert why(quiet) == "no pull of what has changed was complete within a day"
    quiet.conn.execute(
        "update tds.run set cursor_from = tds.now() where entity = 'invoices' and since is not null"
    )
    assert why(quiet) == "documents have come due"
    quiet.conn.execute("update zoho.invoices set status = 'overdue'")
    assert why(quiet) is None
    # the contact was merged into another, and its invoices went along
    quiet.conn.execute("update zoho.contacts set deleted_at = tds.now()")
    assert why(quiet) == "records name one that is gone"
    assert "invoices" in due(quiet), "at once, not in a week"
    quiet.conn.execute("update zoho.contacts set deleted_at = null")
    quiet.conn.execute("update zoho.invoices set synced_at = tds.now()")
    assert why(quiet) == "records were written since"


def test_a_sweep_that_waits_is_no_pass(quiet: Mirror) -> None:
    run = ask(quiet, "invoices", sweep=True)
    before = quiet.value("select tds.last_pass('invoices', %s)", ORGANIZATION)
    begin(quiet, run)
    quiet.conn.execute("select tds.note_count(%s, 1, tds.now())", [run])
    assert quiet.value("select tds.put_off(%s)", run) is True
    assert row(quiet, run)["state"] == "complete"
    assert quiet.value("select tds.last_pass('invoices', %s)", ORGANIZATION) == before
    query = "select tds.pulled_since('invoices', %s, tds.now() - interval '1 hour')"
    assert quiet.value(query, ORGANIZATION) is None, "a migration still reads it"
    for _ in range(2):
        run = ask(quiet, "invoices", sweep=True)
        begin(quiet, run)
        quiet.conn.execute("select tds.note_count(%s, 1, tds.now())", [run])
        assert quiet.value("select tds.put_off(%s)", run) is True
    assert why(quiet) == "it was put off 3 times"
    run = ask(quiet, "invoices", sweep=True)
    begin(quiet, run)
    quiet.conn.execute("select tds.note_count(%s, 1, tds.now())", [run])
    assert quiet.value("select tds.put_off(%s)", run) is False
    page(quiet, run, "invoices", [invoice("1")])
    assert why(quiet) is None


def test_a_sweep_that_may_not_go_on_keeps_no_other_pull_waiting(quiet: Mirror) -> None:
    run = ask(quiet, "invoices", sweep=True)
    begin(quiet, run)
    page(quiet, run, "invoices", [invoice("1")], more=True)
    quiet.conn.execute("select tds.pause_sweep(%s, 'the day''s calls are used up')", [run])
    other = ask(quiet, "invoices", incremental=True)
    assert begin(quiet, other) == "running"
    page(quiet, other, "invoices", [])
    settle(quiet)
    assert begin(quiet, run) == "running"
    assert row(quiet, run)["pages"] == 1, "what it has stays"
    page(quiet, run, "invoices", [invoice("2")], number=2)


def test_what_a_day_costs(mirror: Mirror) -> None:
    def day() -> dict[str, float]:
        query = "select what, sum(calls_a_day)::float8 as calls from tds.plan_day(%s, %s) group by what"
        return {
            found["what"]: found["calls"] for found in mirror.rows(query, ORGANIZATION, json.dumps(COMPANY))
        }

    assert sum(COMPANY.values()) - COMPANY["products"] == 12_494 == 10_000 + 2_467 + 27
    plain = day()
    assert plain.keys() == {"changes", "sweep", "details"}
    assert plain["changes"] == 5 * 24
    # 31 pages of invoices every week, and the rest each night
    assert plain["sweep"] == pytest.approx(
        31 / 7 + 12 + 13 + 1 + 7 + 11 + 2 + 1 + 1 + 3 + 3 + 1 + 1 + 4, abs=5
    )
    assert sum(plain.values()) <= 300, "3 % of a day of 10,000 calls"
    setting(mirror, "activity_log", "on")
    setting(mirror, "webhook_failures", "on")
    fed = day()
    assert (fed["activity_log"], fed["webhook_failures"]) == (144, 24)
    # what finds and mends, without the pulls of changes that were there before
    assert sum(fed.values()) - fed["changes"] <= 300
    setting(mirror, "sweep_days", 28)
    assert day()["sweep"] < plain["sweep"]
    mirror.conn.execute("update tds.job set enabled = false where job like 'request_%'")
    assert day().keys() == {"activity_log", "webhook_failures"}
