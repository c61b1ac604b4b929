"""What an unchanged re-sync leaves behind, and what counting costs with a long history."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, LiteralString

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import ORGANIZATION, Mirror, product

pytestmark = pytest.mark.new_database

Record = Callable[[str, object], None]
PRODUCTS = 10_000
EVENTS = int(os.environ.get("TDS_TEST_EVENTS", "500000"))
"""Finished ones. Whoever reads all of them looks at more pages and rows than any bound allows."""


def pull(mirror: Mirror) -> dict[str, int]:
    """Stores every page of the catalogue, as a full pull would, and drains."""
    for first in range(0, PRODUCTS, 200):
        page = {
            "items": [
                product(f"55{n:08}", rate=n % 500, stock_on_hand=n % 70) for n in range(first, first + 200)
            ]
        }
        mirror.conn.execute(
            "select tds.receive('products', %b, %s, 'poller', 'list')",
            [json.dumps(page).encode(), ORGANIZATION],
        )
    total: dict[str, int] = {}
    while (outcome := mirror.process())["claimed"]:
        total = {name: total.get(name, 0) + count for name, count in outcome.items()}
    return total


def wal_of_the_mirror(mirror: Mirror, since: str) -> int:
    """Bytes of WAL records that touch zoho.products or its indexes since then; inbox and queue are apart."""
    mirror.conn.execute("create extension if not exists pg_walinspect")
    return int(
        mirror.value(
            """
            select coalesce(sum(w.record_length), 0)
              from pg_get_wal_records_info(%s, pg_current_wal_flush_lsn()) w
             where exists (select from pg_class c
                            where c.relfilenode <> 0
                              and (c.oid = 'zoho.products'::regclass or c.oid in (
                                   select i.indexrelid from pg_index i where i.indrelid = 'zoho.products'::regclass)
                                   or c.oid = (select t.reltoastrelid from pg_class t where t.oid = 'zoho.products'::regclass))
                              and w.block_ref like '%%/' || c.relfilenode || ' %%')""",
            since,
        )
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_unchanged_resync_leaves_no_trace_in_the_mirror(mirror: Mirror, record_property: Record) -> None:
    mirror.conn.execute("set synchronous_commit = on")
    start = mirror.value("select pg_current_wal_insert_lsn()::text")
    assert pull(mirror)["applied"] == PRODUCTS
    first = wal_of_the_mirror(mirror, start)

    before = mirror.rows(
        "select xmin::text, ctid::text, zoho_item_id from zoho.products order by zoho_item_id"
    )
    start = mirror.value("select pg_current_wal_insert_lsn()::text")
    outcome = pull(mirror)
    assert (outcome["applied"], outcome["unchanged"]) == (0, PRODUCTS)
    second = wal_of_the_mirror(mirror, start)
    assert (
        mirror.rows("select xmin::text, ctid::text, zoho_item_id from zoho.products order by zoho_item_id")
        == before
    )
    assert mirror.value("select count(*) from zoho.products where xmax <> 0") == 0
    record_property(
        "measured",
        f"WAL of the mirror's tables: first load {first:,} bytes, unchanged re-sync {second:,} bytes ({second / first:.2%})",
    )
    assert first > PRODUCTS * 100
    assert second < first * 0.05


def a_month_of_events(mirror: Mirror) -> None:
    """So many finished events of thirty days, with what else has come together meanwhile."""
    mirror.rows(
        "select tds.ensure_partition((now() at time zone 'UTC')::date - n) from generate_series(0, 30) n"
    )
    mirror.conn.execute(
        """
        insert into tds.inbox_outcome (inbox_id, received_at, entity, status, applied, finished_at, organization_id)
        select e.n, e.at, (array['products', 'invoices', 'bills'])[1 + e.n %% 3],
               case when e.n %% 100 = 0 then 'dead_letter' else 'completed' end, 1, e.at + interval '2 seconds', '60069194202'
          from (select n, now() - interval '30 days' + n * (interval '30 days' / (%(events)s + 1)) as at
                  from generate_series(1, %(events)s) n) e""",
        {"events": EVENTS},
    )
    mirror.conn.execute("alter table tds.inbox disable trigger inbox_enqueue")
    for statement in A_MONTH:
        mirror.conn.execute(statement)
    mirror.conn.execute("alter table tds.inbox enable always trigger inbox_enqueue")
    mirror.receive("products", {"item": product("1")})
    mirror.conn.execute("vacuum analyze")


A_MONTH: tuple[LiteralString, ...] = (
    """
    insert into tds.inbox (inbox_id, received_at, organization_id, entity, source, shape, event, record_id, observed_at, body)
    select o.inbox_id, o.received_at, '60069194202', o.entity, 'webhook', 'webhook', 'upsert', (o.inbox_id % 50000)::text,
           o.received_at, '{}'
      from tds.inbox_outcome o""",
    "select setval('tds.inbox_id_seq', (select max(inbox_id) from tds.inbox))",
    """
    insert into tds.outcome_counter (entity, day, status, slot, events)
    select entity, (received_at at time zone 'UTC')::date, status, inbox_id % 16, count(*)
      from tds.inbox_outcome group by 1, 2, 3, 4""",
    """
    insert into tds.dead_letter (inbox_id, received_at, entity, organization_id, zoho_id, observed_at, path, reason, error_code,
                                 attempts, dead_at, of_page, position)
    select o.inbox_id, o.received_at, o.entity, '60069194202', o.inbox_id::text, o.received_at, '$.rate', 'not a number', 'ZB101', 1,
           o.finished_at, o.inbox_id % 1000 = 500, case when o.inbox_id % 1000 = 500 then 1 end
      from tds.inbox_outcome o where o.inbox_id % 100 = 0""",
    """
    insert into tds.run (organization_id, entity, state, started_at, heartbeat_at, listed_at, finished_at, pages, records, filtered)
    select '60069194202', (array['products', 'invoices', 'bills', 'payments'])[1 + n % 4], 'complete', r.at, r.at, r.at, r.at, 3, 500,
           n % 25 <> 0
      from generate_series(17000, 1, -1) n, lateral (select now() - n * interval '15 minutes' as at) r""",
    """
    insert into tds.wanted_detail (organization_id, entity, zoho_id, reason, wanted_at)
    select '60069194202', 'products', n::text, 'new', now() - n * interval '1 second' from generate_series(1, 5000) n""",
    """
    insert into tds.heal_log (healed_at, step, subject, act, ok)
    select now() - n * interval '5 minutes', 'claims', n::text, 'given back', true from generate_series(1, 8640) n""",
    """
    insert into tds.job_run (job, runner, state, started_at, finished_at, error)
    select j.job, 'worker', case when n = 10 then 'done' else 'failed' end, r.at, r.at, case when n <> 10 then 'x' end
      from generate_series(20, 1, -1) n, tds.job j, lateral (select now() - n * interval '5 minutes' as at) r""",
    """
    insert into tds.api_spending (organization_id, day, purpose, endpoint, outcome, calls)
    select '60069194202', current_date - d, 'live', '/' || e, 'ok', 5 from generate_series(0, 399) d, generate_series(1, 20) e""",
    """
    insert into tds.health_result (looked_at, check_name, state, value, told)
    select now() - n * interval '15 minutes', c.check_name, 'ok', 1, '' from tds.health_check c, generate_series(1, 2880) n""",
    """
    insert into tds.delay (hour, entity, under, events, seconds)
    select date_trunc('hour', now()) - n * interval '1 hour', e.entity, b.under, 50, 50 * least(b.under, 100000) / 2
      from tds.entity e, generate_series(0, 719) n, unnest(array[0.25, 1, 5, 30, 'Infinity']::numeric[]) b (under)""",
    """
    insert into tds.drift (entity, path, json_type, first_seen_at, last_seen_at, seen, first_inbox_id, sample, known)
    select 'products', '$.p' || n, 'string', now(), now(), 1, 1, '', n % 2 = 0 from generate_series(1, 1500) n""",
    """
    insert into tds.held_deletion (organization_id, entity, zoho_id, state, changed_at)
    select '60069194202', 'products', n::text, 'held', now() from generate_series(1, 1000) n""",
    """
    insert into tds.alert (organization_id, kind, entity, audience, severity, worst, since, summary, says, next_command, opened_at,
                           updated_at, resolved_at)
    select '60069194202', 'low_stock', n::text, 'business', 'warning', 'warning', now(), 'x', '', '', now(), now(),
           case when n > 2000 then now() end
      from generate_series(1, 20000) n""",
    """
    insert into tds.discrepancy (organization_id, report, measure, status, period, currency, party_kind, party_id, difference, first_seen,
                                 last_seen, resolved_at, reconciliation_id)
    select '60069194202', 'salesbyitem', 'quantity', '', n::text, '', 'product', n::text, 1, now(), now(),
           case when n % 4 <> 0 then now() end, 1
      from generate_series(1, 20000) n""",
    """
    insert into tds.reconcile_run (organization_id, as_of, month, requested_at, requested_by, finished_at, compared, differing)
    select '60069194202', current_date, current_date, r.at, 'x', r.at, 1000, n % 3
      from generate_series(1, 1100) n, lateral (select now() - n * interval '1 day' as at) r""",
    """
    insert into tds.verification (depth, entities, state, asked_by, asked_at, finished_at, checked, differing)
    select 'inside', '{bills}', 'done', 'x', r.at, r.at, 1000, n % 3
      from generate_series(1, 400) n, lateral (select now() - n * interval '6 hours' as at) r""",
    """
    insert into tds.verification_difference (verification_id, organization_id, entity, zoho_id, table_name, what, since, mend, closed_at)
    select 1, '60069194202', 'bills', n::text, 'bills', 'differs', now(), 'repair', case when n > 10000 then now() end
      from generate_series(1, 100000) n""",
)

# What a DBA types. The first ones count every event there is; no other looks at more than a few.
COUNTS = (
    "select count(*) from tds_sync_queue",
    "select status, count(*) from tds_sync_queue group by status",
    "select entity, status, count(*) from tds_sync_queue group by entity, status",
    "select count(*) from tds_sync_queue where status = 'completed'",
)
HABITS = (
    "select * from tds_sync_queue limit 20",
    "select * from tds_sync_queue where status = 'failed'",
    "select * from tds_sync_queue where status in ('pending', 'processing') order by received_at",
    "select count(*) from tds_sync_queue where status = 'dead_letter'",
    "select * from tds_sync_queue where status = 'dead_letter' order by received_at desc limit 20",
    "select * from tds_sync_queue where entity = 'bills' order by received_at desc limit 20",
    "select * from tds_sync_queue where error is not null",
    "select * from tds_sync_queue order by received_at desc limit 20",
    "select * from tds_sync_queue order by inbox_id desc limit 20",
    "select * from tds_sync_queue order by finished_at desc limit 20",
    "select * from tds_sync_queue where inbox_id = 400000",
    "select * from tds_sync_queue where organization_id = '60069194202' order by received_at desc limit 1000",
    "select count(*) from tds_sync_queue where organization_id = '70069194203'",
    "select count(*) from tds_sync_queue where received_at > now() - interval '1 day'",
    "select * from tds_inbox_events order by received_at desc limit 20",
    "select * from tds_inbox_events order by inbox_id desc limit 20",
    "select * from tds_inbox_events where inbox_id = 400000",
    "select * from tds_inbox_events where entity = 'bills' order by received_at desc limit 20",
    "select * from tds_inbox_events where record_id = '77' and entity = 'bills' and organization_id = '60069194202'",
    "select e.* from tds_sync_queue q join tds_inbox_events e using (received_at, inbox_id) where q.status = 'failed'",
    "select * from tds_dead_letter_queue order by dead_at desc limit 20",
)
# What Prometheus asks for with each scrape.
SCRAPE = "select tds.metrics()"
SCRAPE_PAGES = 1_500
# It reads what is installed, an object after the other, however much history there is.
BY_HAND = "select * from tds_changed_by_hand"
OBJECT_PAGES = 6
DASHBOARD = (
    "select tds.dashboard_verdict()",
    "select tds.dashboard_overview()",
    "select tds.dashboard_charts('month')",
    "select tds.dashboard_entities()",
    "select tds.dashboard_dead('bills', null, 'number', 5000)",
    "select tds.dashboard_letter(5000)",
    "select tds.dashboard_record('bills', '77')",
    "select tds.dashboard_runs('complete', 'bills', 9000)",
    "select tds.dashboard_run(9000)",
    "select tds.dashboard_jobs()",
    "select tds.dashboard_health()",
    "select tds.dashboard_stock()",
    "select tds.dashboard_alerts()",
    "select tds.dashboard_discrepancies('salesbyitem', 15000)",
    "select tds.dashboard_discrepancy(15000)",
    "select tds.dashboard_verification('bills')",
    "select tds.take_sample()",
)
# A page read from memory and a row looked at each take a microsecond, more or less.
PAGES, ROWS = 6_000, 100_000


def measure(mirror: Mirror, query: str) -> tuple[float, int, int]:
    """What a query took: milliseconds, pages read and rows looked at."""
    mirror.rows(query)
    [told] = mirror.rows(f"explain (analyze, buffers, timing off, format json) {query}")
    [explained] = told["QUERY PLAN"]

    def looked_at(node: dict[str, Any]) -> float:
        below = sum(looked_at(part) for part in node.get("Plans", []))
        rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        return below + (rows if "Scan" in node["Node Type"] and node["Node Type"] != "Subquery Scan" else 0)

    plan = explained["Plan"]
    pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return explained["Execution Time"], pages, round(looked_at(plan))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_view_reads_the_history(mirror: Mirror, record_property: Record) -> None:
    """Every view, and what is asked of the queue, judged by what is read of a long history: the clock is only told."""
    a_month_of_events(mirror)
    views = mirror.rows(
        """
        select c.relname as view from pg_class c
         where c.relkind = 'v' and c.relnamespace = 'public'::regnamespace and c.relname ^@ 'tds_'
         order by 1"""
    )
    whole = [f"select * from {row['view']}" for row in views]
    assert len(whole) > 30
    whole = [query for query in whole if query not in EVERYTHING]
    assert len(whole) == len(views) - len(EVERYTHING)
    mirror.rows("select tds.take_sample()")
    bounds = {SCRAPE: SCRAPE_PAGES, BY_HAND: OBJECT_PAGES * mirror.value("select count(*) from tds.sql_hash")}
    for query in (*COUNTS, *whole, *HABITS, *DASHBOARD, SCRAPE):
        milliseconds, pages, rows = measure(mirror, query)
        record_property("measured", f"{milliseconds:8.1f} ms {pages:6,} pages {rows:9,} rows  {query}")
        assert pages <= bounds.get(query, PAGES), query
        if query in COUNTS:
            assert rows <= EVENTS * 1.01, query
        else:
            assert rows <= ROWS, query
    assert {
        row["status"]: row["count"]
        for row in mirror.rows("select status, count(*) from tds_sync_queue group by status")
    } == {row["status"]: row["events"] for row in mirror.rows("select status, events from tds_queue_counts")}


# One row an event, so that nobody reads all of it: the habits are what is asked of them.
EVERYTHING = ("select * from tds_sync_queue", "select * from tds_inbox_events")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_counting_is_quick_with_many_finished_events(mirror: Mirror, record_property: Record) -> None:
    """Cost is judged by what is read, not by the clock: no body, and from the counters only rows of the counters."""
    mirror.conn.execute(
        """
        insert into tds.inbox_outcome (inbox_id, received_at, entity, status, applied, finished_at)
        select n, date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' + n * interval '10 milliseconds', 'products',
               case when n %% 100 = 0 then 'dead_letter' else 'completed' end, 1, now()
          from generate_series(1, %s) n""",
        [EVENTS],
    )
    mirror.conn.execute(
        """
        insert into tds.outcome_counter (entity, day, status, slot, events)
        select entity, (received_at at time zone 'UTC')::date, status, inbox_id % 16, count(*)
          from tds.inbox_outcome group by 1, 2, 3, 4"""
    )
    mirror.receive("products", {"item": product("1")})
    counts = mirror.rows("SELECT status, COUNT(*) FROM tds_sync_queue GROUP BY status")
    assert {row["status"]: row["count"] for row in counts} == {
        "completed": EVENTS - EVENTS // 100,
        "dead_letter": EVENTS // 100,
        "pending": 1,
    }
    quick = mirror.rows("select status, events from tds_queue_counts")
    assert {row["status"]: row["events"] for row in quick} == {
        "completed": EVENTS - EVENTS // 100,
        "dead_letter": EVENTS // 100,
        "pending": 1,
    }
    plan = "\n".join(row["QUERY PLAN"] for row in mirror.rows("explain select * from tds_queue_counts"))
    assert "inbox_outcome" not in plan
    plan = "\n".join(
        row["QUERY PLAN"]
        for row in mirror.rows("explain select status, count(*) from tds_sync_queue group by status")
    )
    assert " inbox_2" not in plan, "no body is read"
    for query in (
        "select status, count(*) from tds_sync_queue group by status",
        "select * from tds_queue_counts",
    ):
        told = mirror.rows(f"explain (analyze, timing off, summary on) {query}")
        record_property("measured", f"{query}: {told[-1]['QUERY PLAN']}")


LEDGER = int(os.environ.get("TDS_TEST_LEDGER_ROWS", "20000"))
"""Rows of each table that a small batch must find its own in."""
MANY = LEDGER // 10
"""No node of a small batch's plans may look at more rows of one table: whatever read it whole looks at ten times as many."""
A_LEDGER: tuple[LiteralString, ...] = (
    "alter table tds.inbox disable trigger inbox_enqueue",
    """
    insert into tds.inbox (inbox_id, received_at, organization_id, entity, source, shape, event, record_id, observed_at, body)
    select 1000000 + n, now() - n * interval '5 seconds', %(own)s, (array['products', 'invoices'])[1 + n %% 2], 'webhook', 'webhook',
           'upsert', (n %% 5000)::text, now() - n * interval '5 seconds', '{}'
      from generate_series(1, %(rows)s) n""",
    "alter table tds.inbox enable always trigger inbox_enqueue",
    "select setval('tds.inbox_id_seq', 2000000)",
    """
    insert into tds.inbox_outcome (inbox_id, received_at, entity, status, applied, finished_at)
    select i.inbox_id, i.received_at, i.entity, 'completed', 1, i.received_at from tds.inbox i where i.inbox_id > 1000000""",
    """
    insert into tds.wanted_detail (organization_id, entity, zoho_id, reason, wanted_at, not_before)
    select %(own)s, 'products', 'w' || n, 'new', now(), now() + interval '1 year' from generate_series(1, %(rows)s) n""",
    """
    insert into tds.dead_letter (inbox_id, received_at, entity, organization_id, zoho_id, observed_at, path, reason, error_code,
                                 attempts, dead_at, of_page, resolved_at, resolution)
    select i.inbox_id, i.received_at, i.entity, %(own)s, 'd' || i.inbox_id, i.received_at, '$.rate', 'not a number', 'ZB101', 1, now(),
           false, case when i.inbox_id %% 100 <> 0 then now() end, case when i.inbox_id %% 100 <> 0 then 'told anew' end
      from tds.inbox i where i.inbox_id > 1000000""",
    """
    insert into tds.record_history (organization_id, target, zoho_id, kind, written_at, back, was_version, was_observed_at, was_rank,
                                    was_synced_at)
    select %(own)s, 'invoices', 'h' || n, 'changed', now(), '{}', 1, now(), 3, now() from generate_series(1, %(rows)s) n""",
    """
    insert into zoho.products (organization_id, zoho_item_id, zoho_metadata, synced_at, sync_version, sync_observed_at, sync_rank)
    select %(own)s, 'p' || n, '{}', now(), 1, now(), 1 from generate_series(1, %(rows)s) n""",
    """
    insert into zoho.invoices (organization_id, zoho_invoice_id, zoho_metadata, synced_at, sync_version, sync_observed_at, sync_rank)
    select %(own)s, 'i' || n, '{}', now(), 1, now(), 1 from generate_series(1, %(rows)s) n""",
    """
    insert into zoho.invoice_line_items (organization_id, zoho_invoice_id, line_number, zoho_metadata, synced_at)
    select %(own)s, 'i' || n, 1, '{}', now() from generate_series(1, %(rows)s) n""",
)


class Plans:
    """What a session's statements looked at, nested ones too, as auto_explain tells it.

    Args:
        mirror: its connection is told of.
    """

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.read: dict[str, tuple[int, str]] = {}
        mirror.conn.add_notice_handler(self.note)
        for statement in (
            "load 'auto_explain'",
            "set auto_explain.log_min_duration = 0",
            "set auto_explain.log_nested_statements = on",
            "set auto_explain.log_analyze = on",
            "set auto_explain.log_timing = off",
            "set auto_explain.log_format = 'json'",
            "set client_min_messages = log",
        ):
            mirror.conn.execute(statement.encode())

    def note(self, told: psycopg.errors.Diagnostic) -> None:
        """Keeps of each table the most rows that one node looked at, and whose node it was."""
        _, found, plan = (told.message_primary or "").partition("plan:")
        if found:
            explained = json.loads(plan)
            self.look(explained["Plan"], explained.get("Query Text", ""))

    def look(self, node: dict[str, Any], query: str) -> None:
        rows = round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        if (table := node.get("Relation Name")) and rows > self.read.get(table, (0, ""))[0]:
            self.read[table] = (rows, f"{node['Node Type']} of {query[:300]}")
        for part in node.get("Plans", []):
            self.look(part, query)


def a_small_batch(mirror: Mirror, edition: int) -> dict[str, int]:
    """A few of each kind: new and edited, unchanged and late, twice in a batch, thin, with lines and without, and a bad one."""
    at = [f"2026-06-{9 + day:02}T09:{edition:02}:00Z" for day in (0, -3)]
    for n in range(3):
        lines = [
            {"line_item_id": f"{n}{k}", "item_id": str(k), "quantity": edition}
            for k in range(3 + edition % 2)
        ]
        invoice = {
            "invoice_id": str(n),
            "customer_id": "5",
            "line_items": lines,
            "last_modified_time": at[0],
            "total": edition,
        }
        mirror.receive("products", {"item": product(str(n), rate=edition, last_modified_time=at[0])})
        mirror.receive("products", {"item": product(f"{edition}{n}", last_modified_time=at[0])})
        mirror.receive("invoices", {"invoice": invoice})
        mirror.receive("invoices", {"invoice": invoice | {"invoice_id": f"{edition}{n}"}}, shape="detail")
    total = mirror.process()
    mirror.receive("invoices", {"invoice": {"invoice_id": "1", "total": edition}})
    mirror.receive("invoices", {"invoice": {"invoice_id": "2", "total": 2, "last_modified_time": at[1]}})
    mirror.receive("products", {"item": product("1", rate=edition + 1, last_modified_time=at[1])})
    mirror.receive("products", {"item": product("2", rate=edition, last_modified_time=at[0])})
    mirror.receive("products", {"item": product("0", rate="dear", last_modified_time=at[0])})
    mirror.receive("products", {"item": {"item_id": "1"}}, event="delete")
    later = mirror.process()
    return {name: total[name] + later[name] for name in total}


def test_a_small_batch_reads_no_table_whole(database: Database, mirror: Mirror) -> None:
    """However long the ledger, by whatever way a record goes, and whether the plans were made before it was long or after."""
    assert a_small_batch(mirror, 1)["applied"]
    with database.connect(autocommit=True) as conn:
        conn.execute(
            "select tds.ensure_partition((now() at time zone 'UTC')::date - n) from generate_series(0, 2) n"
        )
        for statement in A_LEDGER:
            conn.execute(statement, {"own": ORGANIZATION, "rows": LEDGER})
        for edition, session in ((2, mirror), (3, Mirror(conn))):
            plans = Plans(session)
            assert a_small_batch(session, edition)["applied"] >= 12
            assert {"products", "invoices", "invoice_line_items", "record_history"} & set(plans.read)
            assert {table: told for table, told in plans.read.items() if told[0] >= MANY} == {}, edition
