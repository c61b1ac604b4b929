"""What is asked in several places is answered in one: entities, runs, organisations, days, counts, workers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tds_db.connect import connect
from tests.db.servers import Database
from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror, product
from tests.sql.test_pulls import ask

FUNCTIONS = Path(__file__).parents[2] / "db" / "functions"


def refused(mirror: Mirror, query: str, *parameters: Any) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as raised:
        mirror.rows(query, *parameters)
    return raised.value


@pytest.mark.parametrize(
    "query",
    [
        "select tds.entity_named('sheep')",
        "select * from tds.explain_record('sheep', '1')",
        "select * from tds.record_now('sheep', '1')",
        "select tds.start_run('sheep', '1')",
        "select tds.pull_option_names('sheep')",
        "select tds.verify('sheep', '1', '{}', now())",
        "select tds.organizations_of('sheep')",
        "select tds.want_again('sheep', '1')",
        "select tds.suspects('sheep', '{}')",
        "select tds.confirm_deletions('sheep')",
        "select tds.refuse_deletions('sheep')",
    ],
)
def test_an_unknown_entity_is_told_in_one_way(shared: Mirror, query: str) -> None:
    error = refused(shared, query)
    assert (error.sqlstate, error.diag.message_primary, error.diag.message_detail) == (
        "ZB002",
        "unknown entity",
        "sheep",
    )
    assert (error.diag.message_hint or "").startswith("select entity from tds.entity")


@pytest.mark.parametrize(
    "query", ["begin_pull(%s)", "cancel_run(%s)", "api_run(%s)", "store_page(%s, 1, '{}', now(), false)"]
)
def test_an_unknown_run_is_told_in_one_way(shared: Mirror, query: str) -> None:
    error = refused(shared, f"select tds.{query}", 4711)
    assert (error.sqlstate, error.diag.message_detail) == ("ZB012", "4711")
    assert error.diag.message_hint == "select * from tds_sync_runs"


@pytest.mark.parametrize(
    ("code", "raisers"),
    [
        ("ZB002", {"entity_named", "queues"}),
        ("ZB012", {"run_of"}),
        ("ZB013", {"own_organization", "price_of"}),
    ],
)
def test_each_is_raised_by_one(shared: Mirror, code: str, raisers: set[str]) -> None:
    found = shared.rows(
        "select proname from pg_proc where pronamespace = 'tds'::regnamespace and prosrc ~ ('raise[^;]*errcode = ''' || %s)",
        code,
    )
    assert {row["proname"] for row in found} == raisers


def known(mirror: Mirror, *organizations: str) -> None:
    for organization in organizations:
        body = json.dumps({"organization": {"organization_id": organization, "name": "T"}}).encode()
        mirror.conn.execute(
            "select tds.receive('organizations', %b, %s, shape => 'detail')", [body, organization]
        )
    mirror.process()


PRICES = {
    "pricebook": {"pricebook_id": "7", "pricebook_type": "per_item", "status": "active", "currency_code": "USD",
                  "sales_or_purchase_type": "sales", "pricebook_items": [{"item_id": "1", "pricebook_rate": 3}]}
}  # fmt: skip


def test_one_organisation_is_meant_whatever_is_asked(mirror: Mirror) -> None:
    assert mirror.value("select count(*) from pg_proc where proname = 'own_organization'") == 1
    assert refused(mirror, "select tds.own_organization()").sqlstate == "ZB013"
    known(mirror, ORGANIZATION)
    mirror.receive("pricelists", PRICES, shape="detail")
    mirror.receive("products", {"item": product("1")}, shape="detail")
    # what a webhook left that named nobody is not another organisation
    mirror.conn.execute("select tds.receive('pricelists', %b)", [json.dumps(PRICES).encode()])
    mirror.process()
    assert mirror.value("select count(distinct organization_id) from zoho.pricelists") == 2
    assert mirror.value("select tds.own_organization()") == ORGANIZATION
    assert mirror.value("select tds.price_of('1', '7')") == 3
    run = mirror.value("select tds.request_pull('products')")
    assert mirror.value("select organization_id from tds.run where run_id = %s", run) == ORGANIZATION
    mirror.conn.execute("select tds.want('invoices', '8')")
    assert (
        mirror.value("select organization_id from tds.wanted_detail where entity = 'invoices'")
        == ORGANIZATION
    )


def test_where_several_are_known_none_is_taken_for_granted_and_that_is_said(mirror: Mirror) -> None:
    known(mirror, ORGANIZATION)
    mirror.receive("pricelists", PRICES, shape="detail")
    mirror.receive("products", {"item": product("1")}, shape="detail")
    mirror.process()
    known(mirror, "2")
    told: list[tuple[str | None, str | None]] = []
    mirror.conn.add_notice_handler(lambda notice: told.append((notice.sqlstate, notice.message_hint)))
    assert mirror.value("select tds.price_of('1', '7')") is None
    [(code, hint)] = told
    assert code == "ZB013"
    assert "organization_id" in (hint or "")
    assert mirror.value("select tds.price_of('1', '7', organization_id => %s)", ORGANIZATION) == 3
    for query in (
        "select tds.request_pull('products')",
        "select tds.want('invoices', '8')",
        "select tds.own_organization()",
    ):
        assert refused(mirror, query).sqlstate == "ZB013"


def test_only_what_nobody_named_is_there_to_be_read_but_not_to_be_asked_for(mirror: Mirror) -> None:
    mirror.conn.execute(
        "select tds.receive('pricelists', %b, shape => 'detail')", [json.dumps(PRICES).encode()]
    )
    mirror.conn.execute("select tds.receive('products', %b)", [json.dumps({"item": product("1")}).encode()])
    mirror.process()
    assert mirror.value("select tds.price_of('1', '7')") == 3
    assert refused(mirror, "select tds.request_pull('products')").sqlstate == "ZB013"


@pytest.mark.parametrize("zone", ["Asia/Baghdad", "America/New_York", "Atlantis/Harbour", "+03:00", None])
def test_a_day_begins_at_the_same_moment_for_a_pull_and_for_a_price(mirror: Mirror, zone: str | None) -> None:
    body = json.dumps(
        {"organization": {"organization_id": ORGANIZATION, "name": "T", "time_zone": zone}}
    ).encode()
    mirror.receive("organizations", body, shape="detail")
    mirror.process()
    begins = mirror.value("select tds.option_moment('2026-02-01', %s)", ORGANIZATION)
    mirror.conn.execute(
        "insert into zoho.pricelists (organization_id, zoho_pricebook_id, zoho_metadata, synced_at, effective_from, sync_version,"
        " sync_observed_at, sync_rank) values (%s, '7', '{}', now(), '2026-02-01', 1, now(), 3)",
        [ORGANIZATION],
    )
    effective = mirror.rows(
        """select tds.is_effective(l, %s - interval '1 second') as before, tds.is_effective(l, %s) as after
             from zoho.pricelists l""",
        begins,
        begins,
    )
    assert effective == [{"before": False, "after": True}]


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Pacific/Kiritimati", "2026-02-02"),
        ("Pacific/Pago_Pago", "2026-01-31"),
        ("Etc/GMT-14", "2026-02-02"),
        ("EST5EDT", "2026-02-01"),
        ("UTC+14", "2026-02-01"),
        ("GMT-12:00", "2026-02-01"),
        ("(GMT 14:00) Kiritimati", "2026-02-01"),
        ("posixrules", "2026-02-01"),
    ],
)
def test_an_offset_is_no_time_zone(mirror: Mirror, zone: str, day: str) -> None:
    """PostgreSQL reads UTC+14 as POSIX has it, fourteen hours behind: the day before, and not the day after."""
    told = {"organization_id": ORGANIZATION, "name": "T", "time_zone": zone}
    mirror.receive("organizations", {"organization": told}, shape="detail")
    mirror.process()
    assert str(mirror.value("select tds.day_of(%s, '2026-02-01 10:30+00')", ORGANIZATION)) == day


def test_status_dashboard_and_metrics_count_alike(mirror: Mirror, database: Database) -> None:
    mirror.receive(
        "products", {"items": [product("1"), product("2", rate="x"), product("3", rate="x")]}, shape="list"
    )
    mirror.receive(
        "invoices", {"invoices": [{"invoice_id": "1", "last_modified_time": MOMENT}]}, shape="list"
    )
    mirror.process()
    mirror.receive("customers", {"contact": {"contact_id": "1"}})
    mirror.conn.execute("select tds.detail_failed('invoices', %s, '1', 'HTTP 500')", [ORGANIZATION])
    ask(mirror, "bills")
    with connect("worker", database.conninfo):
        summary = {row["name"]: row["rows"] for row in mirror.rows("select name, rows from tds.summary()")}
    assert summary["queue"] == mirror.rows("select status, events from tds_queue_counts order by status")
    assert {"status": "pending", "events": 1} in summary["queue"]
    [waiting] = summary["open"]
    assert (waiting["entity"], waiting["events"], waiting["parked"]) == ("customers", 1, 0)
    [dead] = summary["dead"]
    assert (dead["entity"], dead["path"], dead["reason"], dead["letters"]) == (
        "products",
        "rate",
        "not a number",
        2,
    )
    wanted = {row["entity"]: row for row in summary["details"]}
    assert (wanted["invoices"]["wanted"], wanted["invoices"]["failed"], wanted["invoices"]["last_error"]) == (
        1,
        1,
        "HTTP 500",
    )
    assert [(run["entity"], run["state"]) for run in summary["runs"]] == [("bills", "queued")]
    assert [worker["worker"].split("/")[:2] for worker in summary["workers"]] == [["tds", "worker"]]
    metrics = mirror.value("select tds.metrics()")
    assert metrics["events"] == {row["status"]: row["events"] for row in summary["queue"]}
    assert metrics["dead_letters"] == {"products": 2}
    assert metrics["details"] == {entity: row["wanted"] for entity, row in wanted.items()}
    assert {queue for queue, row in metrics["queues"].items() if row["depth"]} == {"contacts"}
    shown = mirror.value("select tds.dashboard_overview()")
    assert {status: events for status, events in shown["events"].items() if events} == metrics["events"]
    assert (shown["dead"], shown["wanted"]) == (2, sum(row["wanted"] for row in summary["details"]))
    assert [(run["entity"], run["state"]) for run in shown["runs"]] == [("bills", "queued")]
    assert [(one["organization_id"], one["left_today"]) for one in shown["calls"]] == [
        (one["organization_id"], one["left_today"]) for one in summary["calls"]
    ]
    entities = {one["entity"]: one for one in mirror.value("select tds.dashboard_entities()")["entities"]}
    assert {entity: one["dead"] for entity, one in entities.items() if one["dead"]} == metrics["dead_letters"]
    assert {entity: one["wanted"] for entity, one in entities.items() if one["wanted"]} == metrics["details"]
    assert {entity: one["waiting"] for entity, one in entities.items() if one["waiting"]} == {"customers": 1}
    [kind] = mirror.value("select tds.dashboard_dead(null, null, null, null)")["kinds"]
    assert (kind["entity"], kind["path"], kind["reason"], kind["letters"]) == (
        "products",
        "rate",
        "not a number",
        2,
    )


def test_nobody_else_counts_them_or_looks_for_workers() -> None:
    """The counts stand in one file, and what a living worker is in one view."""
    files = [*FUNCTIONS.rglob("*.sql"), *(FUNCTIONS.parents[1] / "cli").rglob("*.py")]
    counting = [
        file.name
        for file in files
        if re.search(r"count\([^)]*\)[^;]*?from\s+(tds\.inbox_open|tds\.wanted_detail|tds_dead_letter_queue|public\.tds_dead_letter_queue)"
                     r"\s+\w+\s+group by", file.read_text())
    ]  # fmt: skip
    assert counting == ["summary.sql"]
    assert [
        file.name for file in files if "tds/worker" in file.read_text() and "like" in file.read_text()
    ] == ["sessions.sql"]
