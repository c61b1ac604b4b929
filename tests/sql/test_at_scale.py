"""What an unchanged re-sync leaves behind, and what counting costs with a long history."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.sql.conftest import ORGANIZATION, Mirror, product

Record = Callable[[str, object], None]
PRODUCTS = 50_000
EVENTS = 1_000_000


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_counting_is_quick_with_a_million_finished_events(mirror: Mirror, record_property: Record) -> None:
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
        "completed": 990_000,
        "dead_letter": 10_000,
        "pending": 1,
    }
    quick = mirror.rows("select status, events from tds_queue_counts")
    assert {row["status"]: row["events"] for row in quick} == {
        "completed": 990_000,
        "dead_letter": 10_000,
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
