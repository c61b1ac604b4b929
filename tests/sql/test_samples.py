"""The series that the dashboard draws, jobs that are wanted out of their turn, and records found by their number."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Mirror, product

TOTALS = """
select span_seconds, count(*) as rows, coalesce(sum((received ->> 'products')::int), 0)::int as received,
       coalesce(sum((completed ->> 'products')::int), 0)::int as completed, sum(dead)::int as dead
  from tds.sample group by span_seconds order by span_seconds"""


def sample(mirror: Mirror, at: str) -> None:
    mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [at])
    mirror.conn.execute("select tds.take_sample()")


def test_what_came_and_became_is_counted_once_in_every_step(mirror: Mirror) -> None:
    sample(mirror, "2026-11-20T10:00:05Z")
    mirror.receive("products", {"items": [product("1"), product("2", rate="x")]}, shape="list")
    sample(mirror, "2026-11-20T10:01:05Z")
    [minute, quarter, part] = mirror.rows(TOTALS)
    assert (minute["rows"], quarter["rows"], part["rows"]) == (2, 1, 1)
    assert {(row["received"], row["completed"], row["dead"]) for row in (minute, quarter, part)} == {
        (1, 0, 0)
    }
    mirror.process()
    for at in (
        "2026-11-20T10:02:05Z",
        "2026-11-20T10:02:45Z",
        "2026-11-20T10:16:05Z",
        "2026-11-20T13:00:00Z",
    ):
        sample(mirror, at)
    rows = mirror.rows(TOTALS)
    assert [(row["received"], row["completed"], row["dead"]) for row in rows] == [(1, 1, 1)] * 3
    assert [row["rows"] for row in rows] == [5, 3, 2]
    waited = mirror.rows("select waiting from tds.sample where span_seconds = 60 order by at")
    assert [row["waiting"] for row in waited] == [0, 1, 0, 0, 0]
    told = mirror.rows(
        "select label, value::int from tds.series('day') where chart = 'received' and value > 0"
    )
    assert told == [{"label": "products", "value": 1}]


def test_forgetting_counters_invents_nothing(mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("1")})
    mirror.process()
    sample(mirror, "2026-11-20T10:00:05Z")
    mirror.conn.execute("delete from tds.outcome_counter")
    sample(mirror, "2026-11-20T10:01:05Z")
    mirror.receive("products", {"item": product("2")})
    mirror.process()
    sample(mirror, "2026-11-20T10:02:05Z")
    assert {(row["received"], row["completed"]) for row in mirror.rows(TOTALS)} == {(1, 1)}
    # the clock is set back, and nothing is counted twice
    sample(mirror, "2026-11-19T10:00:00Z")
    sample(mirror, "2026-11-19T10:01:00Z")
    assert {(row["received"], row["completed"]) for row in mirror.rows(TOTALS)} == {(1, 1)}


def test_samples_are_few_however_long_it_goes_on(mirror: Mirror) -> None:
    mirror.conn.execute(
        """
        insert into tds.sample (span_seconds, at, received, completed, dead, parked, waiting, oldest_seconds, delay_seconds,
                                delay_events, calls)
        select s, '2026-11-20T10:00:00Z'::timestamptz - n * s * interval '1 second', '{"taxes": 1}', '{}', 0, 0, 0, 0, 0, 0, 0
          from unnest(array[60, 900, 21600]) s, generate_series(1, 5000) n"""
    )
    mirror.conn.execute("select set_config('tds.fake_now', '2026-11-20T10:00:00Z', false)")
    mirror.conn.execute("select * from tds.retain()")
    kept = {row["span_seconds"]: row["rows"] for row in mirror.rows(TOTALS)}
    assert kept == {60: 2880, 900: 768, 21600: 360}
    for span, points in (("hour", 60), ("day", 96), ("month", 120)):
        charts = mirror.value("select tds.dashboard_charts(%s)", span)["charts"]
        lengths = [len(line["points"]) for chart in charts for line in chart["series"]]
        assert max(lengths) <= points + 1
    with pytest.raises(psycopg.Error) as refused:
        mirror.rows("select * from tds.series('year')")
    assert refused.value.sqlstate == "ZB010"


def test_consistency_is_drawn_from_what_comparisons_said(mirror: Mirror) -> None:
    """A point where one ended, and the last one before holds until then; what compared nothing says nothing."""
    mirror.conn.execute("select set_config('tds.fake_now', '2026-11-20T10:00:30Z', false)")
    mirror.conn.execute(
        """
        insert into tds.reconcile_run (organization_id, as_of, month, requested_at, requested_by, finished_at, compared, differing)
        select '1', current_date, current_date, t.at::timestamptz, 'x', t.at::timestamptz, t.compared, t.differing
          from (values ('2026-11-10T00:00:00Z', 100, 50), ('2026-11-19T04:00:00Z', 200, 20), ('2026-11-20T09:30:10Z', 1000, 1),
                       ('2026-11-20T09:30:20Z', 1000, 0), ('2026-11-20T09:40:00Z', 0, 0)) t(at, compared, differing)"""
    )
    mirror.conn.execute(
        """
        insert into tds.verification (depth, entities, zoho_ids, state, asked_by, asked_at, finished_at, checked, differing)
        select t.depth, '{products}', t.ids, t.state, 'x', now(), '2026-11-20T09:45:00Z', t.checked, t.differing
          from (values ('inside', null::text[], 'done', 50, 5), ('details', '{1}', 'done', 1, 1), ('lists', null, 'failed', 50, 50),
                       ('lists', null, 'done', 2, 3)) t(depth, ids, state, checked, differing)"""
    )

    def drawn(span: str) -> dict[str, list[tuple[str, float]]]:
        lines: dict[str, list[tuple[str, float]]] = {}
        query = """
            select label, to_char(at at time zone 'UTC', 'DD HH24:MI') as at, value
              from tds.series(%s) where chart = 'consistency' order by label, at"""
        for row in mirror.rows(query, span):
            lines.setdefault(row["label"], []).append((row["at"], float(row["value"])))
        return lines

    assert drawn("hour") == {
        "Zoho's reports": [("20 09:00", 90.0), ("20 09:30", 99.95), ("20 10:00", 99.95)],
        "stored documents": [("20 09:45", 90.0), ("20 10:00", 90.0)],
        "Zoho's lists": [("20 09:45", 0.0), ("20 10:00", 0.0)],
    }
    assert drawn("day")["Zoho's reports"] == [("19 10:00", 90.0), ("20 09:30", 99.95), ("20 10:00", 99.95)]
    assert drawn("month")["Zoho's reports"] == [("10 00:00", 50.0), ("19 00:00", 90.0), ("20 06:00", 99.95)]
    chart = mirror.value("select tds.dashboard_charts('month')")["charts"][-1]
    assert (chart["name"], chart["unit"], len(chart["series"])) == ("consistency", "%", 3)
    assert not any(line["summed"] for line in chart["series"])


def test_the_mirror_is_counted_and_large_tables_estimated(mirror: Mirror) -> None:
    for number in range(3):
        mirror.receive("products", {"item": product(str(number))})
    mirror.process()
    sample(mirror, "2026-11-20T10:00:05Z")
    query = "select rows, deleted, estimated, changed_at is not null as changed from tds_entities where entity = 'products'"
    assert mirror.rows(query) == [{"rows": 3, "deleted": 0, "estimated": False, "changed": True}]
    mirror.conn.execute("analyze zoho.products")
    mirror.conn.execute("update tds.setting set value = '2' where name = 'count_rows_at_most'")
    sample(mirror, "2026-11-20T10:20:05Z")
    assert mirror.rows(query) == [{"rows": 3, "deleted": None, "estimated": True, "changed": True}]


def test_a_job_that_is_wanted_is_run_once_though_it_is_off(mirror: Mirror) -> None:
    mirror.conn.execute("update tds.job set enabled = false")
    mirror.conn.execute("insert into tds.job (job, schedule, command, description, enabled, since) "
                        "values ('probe', '0 0 1 1 *', 'select 1', 'x', false, now())")  # fmt: skip
    assert mirror.value("select tds.due_jobs()") == []
    since = mirror.value("select tds.want_job('probe', 'me')")
    assert mirror.value("select tds.want_job('probe', 'somebody else')") == since
    assert mirror.value("select wanted_by from tds.job where job = 'probe'") == "me"
    assert mirror.value("select tds.due_jobs()") == ["probe"]
    assert mirror.value("call tds.run_due_jobs(null)") == {"probe": "done"}
    assert mirror.value("call tds.run_due_jobs(null)") == {}
    with pytest.raises(psycopg.Error) as refused:
        mirror.rows("select tds.want_job('nonsense')")
    assert refused.value.sqlstate == "ZB021"


def test_records_are_found_by_what_people_know(mirror: Mirror) -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("products", {"item": product("1", sku="A-1")}),
        ("products", {"item": product("A-1", sku="B")}),
        ("invoices", {"invoice": {"invoice_id": "7", "invoice_number": "INV-7"}}),
        ("customers", {"contact": {"contact_id": "5", "contact_type": "customer", "email": "a@example.com"}}),
    ]
    for entity, body in bodies:
        mirror.receive(entity, json.loads(json.dumps(body)))
    mirror.process()

    def found(entity: str, text: str) -> list[str]:
        rows = mirror.rows("select zoho_id from tds.find_record(%s, %s)", entity, text)
        return [row["zoho_id"] for row in rows]

    assert found("products", "1") == ["1"]
    assert found("products", "A-1") == ["A-1", "1"]
    assert found("invoices", "INV-7") == found("invoices", "7") == ["7"]
    assert found("customers", "a@example.com") == ["5"]
    assert found("invoices", "' or true --") == found("taxes", "none") == []
    story = mirror.value("select tds.dashboard_record('invoices', 'INV-7')")
    assert (story["id"], story["row"]["invoice_number"], len(story["story"])) == ("7", "INV-7", 1)


def test_what_was_looked_at_long_ago_is_not_known(mirror: Mirror) -> None:
    mirror.conn.execute("select tds.observe_health()")
    states = {row["name"]: row["state"] for row in mirror.rows("select name, state from tds.health()")}
    assert {
        row["name"]: row["state"] for row in mirror.rows("select name, state from tds.health_now()")
    } == states
    mirror.conn.execute("update tds.health_state set looked_at = now() - interval '3 hours'")
    unknown = mirror.rows("select distinct area from tds.health_now() where state = 'unknown' order by 1")
    assert [row["area"] for row in unknown] == ["api", "database", "entities", "jobs", "mirror"]
    verdict = mirror.value("select tds.dashboard_verdict()")
    assert verdict["state"] == "unknown"
    assert "last looked at" in verdict["findings"][0]["told"]
