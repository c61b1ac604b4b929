"""What looking costs at the largest mirror: every view, health, the dashboard's pages, /metrics.

Finished events, dead letters, runs, samples and differences lie behind it, and a row of each kind for every
organisation. Told are medians, and the CPU time of the backend or the receiver, of one look after another.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import LiteralString

import httpx
import psycopg

from benchmarks.bench import Bench, Story
from benchmarks.dashboard import KEY, PAGES, fill
from benchmarks.data import ORGANIZATION
from benchmarks.large import large
from benchmarks.memory import cpu_of
from benchmarks.receiving import receiving
from benchmarks.rows import Row
from tds_receiver.api.store import CACHE_SECONDS

LIMIT = 100.0
"""Milliseconds that a look may take."""
TIMES = 9
LONG = 1_000.0
"""Milliseconds of a first look, after which one more is enough."""
PATIENCE = 20
"""Seconds until a look is given up."""
SHOWN = 1_000
"""Rows of a view that are looked at."""
WORST = 4
"""Of a group, how many are named."""

GROUPS = {
    "state": "views of how it stands, all organisations",
    "own": "every view, one organisation",
    "reports": "views of the mirror's figures, all organisations, which read all rows of theirs",
    "calls": "tds.health(), tds.metrics(), tds.summary(), prices",
    "pages": "the dashboard's pages over HTTP, and /metrics past its cache",
}
REPORTS = frozenset(
    {
        "tds_customer_prices",
        "tds_danglers",
        "tds_document_mismatches",
        "tds_email_conflicts",
        "tds_low_stock",
        "tds_negative_stock",
        "tds_open_balances",
        "tds_open_payables",
        "tds_overdue_invoices",
        "tds_receivables_ageing",
        "tds_sku_conflicts",
        "tds_stock_days",
        "tds_stock_disagreements",
        "tds_stock_value",
        "tds_unallocated_payments",
    }
)
"""What is a sum or a search over the mirror itself: all organisations of it at once are a report."""

ROWS = tuple(
    Row(
        "looks",
        f"{what}: the slowest of them, at --huge-rows, against {LIMIT:.0f} ms",
        f"look_{group}",
        "look_bound",
        None if group == "reports" else 1.0,
        unit="ms",
        at_most=True,
    )
    for group, what in GROUPS.items()
)

FURNITURE: tuple[LiteralString, ...] = (
    """
    insert into tds.organization (organization_id, name, credentials, webhook_credentials, state_at, added_at)
    select o, 'Organisation ' || o, 'env:NONE_', 'env:NONE_', now(), now() from unnest(%(ids)s::text[]) o
     -- that of the receiver has its secrets elsewhere: where there are none to be read nothing is taken
     where o <> %(own)s""",
    """
    insert into tds.api_budget (organization_id, day_limit, day_left, day_told_at)
    select o, 10000, 4000, now() from unnest(%(ids)s::text[]) o on conflict do nothing""",
    """
    insert into tds.api_spending (organization_id, day, purpose, endpoint, outcome, calls)
    select o, current_date - n, p, 'items', 'ok', 40
      from unnest(%(ids)s::text[]) o, generate_series(0, 29) n, unnest(array['pull', 'details', 'sweep']) p
     order by 1, 2, 3""",
    """
    insert into tds.run (organization_id, entity, state, started_at, heartbeat_at, listed_at, finished_at,
                         pages, records)
    select o, e.entity, 'complete', t.at, t.at, t.at, t.at, 3, 500
      from unnest(%(ids)s::text[]) o, tds.entity e, (select now() - interval '6 hours' as at) t
     where e.api_path <> '' order by o, e.entity""",
    """
    insert into tds.full_pull (organization_id, began_at, finished_at)
    select o, now() - interval '40 days', now() - interval '39 days' from unnest(%(ids)s::text[]) o""",
    """
    insert into zoho.organizations (organization_id, zoho_organization_id, name, currency, time_zone,
                                    zoho_metadata, synced_at, sync_version, sync_observed_at, sync_rank)
    select o, o, 'Organisation ' || o, 'IQD', 'Asia/Baghdad', '{}', now(), 1, now(), 3
      from unnest(%(ids)s::text[]) o""",
)


@dataclass(frozen=True, slots=True)
class Look:
    """What a look took, in milliseconds."""

    name: str
    median: float
    cpu: float


def _furnish(bench: Bench) -> psycopg.Connection:
    mirror = large(bench, "huge")
    conn = mirror.conn
    for statement in FURNITURE:
        conn.execute(statement, {"ids": list(mirror.organizations), "own": ORGANIZATION})
    fill(conn, bench.sizes.past, len(mirror.organizations))
    return conn


def _timed(name: str, pid: int, look: Callable[[], object], pause: float = 0.0) -> Look:
    """Looks a number of times after a first one, or once more where that took long."""
    times, took, before = 1, list[float](), cpu_of(pid)
    while len(took) <= times:
        time.sleep(pause)
        began = time.perf_counter()
        try:
            look()
        except psycopg.errors.QueryCanceled:
            return Look(name, 1000.0 * PATIENCE, 1000 * (cpu_of(pid) - before))
        took.append(1000 * (time.perf_counter() - began))
        if len(took) == 1:
            times, before = 1 if took[0] > LONG else TIMES, cpu_of(pid)
    return Look(name, statistics.median(took[1:]), 1000 * (cpu_of(pid) - before) / times)


def _questions(conn: psycopg.Connection) -> dict[str, dict[str, str]]:
    """What is asked, by group and name."""
    found: dict[str, dict[str, str]] = {group: {} for group in GROUPS}
    for name, has_organization in conn.execute(
        """
        select c.relname,
               exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'organization_id')
          from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'v' order by c.relname"""
    ):
        query = f"select * from public.{name}"
        if has_organization:
            found["own"][name] = f"{query} where organization_id = '{ORGANIZATION}' limit {SHOWN}"
        if name in REPORTS:
            found["reports"][name] = f"{query} limit {SHOWN}"
        elif name.startswith("tds_"):
            found["state"][name] = f"{query} limit {SHOWN}"
    found["calls"] = {
        "health": "select * from tds.health()",
        "metrics": "select tds.metrics()",
        "summary": "select * from tds.summary(20)",
        "price_of": f"select * from tds.price_of((select zoho_item_id from zoho.products limit 1), null, "
        f"organization_id => '{ORGANIZATION}')",
        **{f"dashboard: {name}": query for name, (query, _) in PAGES.items()},
    }
    return found


def look(bench: Bench) -> Mapping[str, float]:
    """Looks at everything, a number of times."""
    conn: psycopg.Connection = bench.once("furnished", lambda: _furnish(bench))
    told = {"look_bound": LIMIT}
    conn.execute(f"set statement_timeout = '{PATIENCE}s'".encode())
    try:
        for group, questions in _questions(conn).items():
            looks = _pages(conn) if group == "pages" else _asked(conn, questions)
            told[f"look_{group}"] = _tell(bench, group, looks)
    finally:
        conn.execute("reset statement_timeout")
    return told


def _asked(conn: psycopg.Connection, questions: Mapping[str, str]) -> list[Look]:
    return [
        _timed(name, conn.info.backend_pid, lambda query=query: conn.execute(query.encode()).fetchall())  # type: ignore[misc]
        for name, query in questions.items()
    ]


def _pages(conn: psycopg.Connection) -> list[Look]:
    os.environ["TDS_API_KEY"] = KEY
    with (
        receiving(conn.info.dsn) as receiver,
        httpx.Client(base_url=receiver.url, trust_env=False, timeout=PATIENCE) as client,
    ):
        client.headers["x-api-key"] = KEY
        paths = {name: f"/dashboard{path}" for name, (_, path) in PAGES.items() if path or name == "overview"}
        looks = [
            _timed(name, receiver.pid, lambda path=path: client.get(path).raise_for_status())  # type: ignore[misc]
            for name, path in paths.items()
        ]
        scraped = _timed(
            "/metrics", receiver.pid, lambda: client.get("/metrics").raise_for_status(), CACHE_SECONDS + 0.1
        )
        return [*looks, scraped]


def _tell(bench: Bench, group: str, looks: list[Look]) -> float:
    """The slowest; the others go to the log."""
    slowest = sorted(looks, key=lambda each: -each.median)
    for each in slowest:
        bench.log.print(
            f"  {group}: {each.name}: {each.median:.1f} ms, CPU {each.cpu:.1f} ms", highlight=False
        )
    bench.notes[f"look_{group}"] = f"of {len(looks)}: " + ", ".join(
        f"{each.name} {each.median:.0f} (CPU {each.cpu:.0f})" for each in slowest[:WORST]
    )
    return slowest[0].median


STORIES = (Story("looks", (*(f"look_{group}" for group in GROUPS), "look_bound"), look, rounds=1),)
