"""Ninety days in minutes: whether what is stored stays as large as it is, and nothing unfinished is lost.

`python -m benchmarks.ninety_days [pg18|pg15] [days]`. The clock is the database's fake one. Every day there
are webhooks, details with stock, records that are refused and some that wait; four times a day the jobs that
are due run as a worker runs them. Autovacuum goes by the real clock and sees a few minutes; its part is done
by one VACUUM a simulated day. Exit code 1: something was lost, or grew after day 31.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import psycopg

from tests.db.servers import Servers

ORGANIZATION = "60069194202"
BEGINNING = datetime(2026, 1, 5, tzinfo=UTC)
WEBHOOKS, PRODUCTS, STEPS = 400, 400, 4
FLAT_FROM, TOLERANCE = 34, 1.05
"""A month, and the days that a partition may be late; how much the last ten days may be larger than those."""
BY_DESIGN = ("zoho.", "tds.stock_day", "tds.arrival")
"""The mirror, the stock's history, and the rhythm of five weeks: what is kept for longer than a month."""

SIZES = """
    select coalesce((select i.inhparent from pg_inherits i where i.inhrelid = c.oid), c.oid)::regclass::text,
           sum(pg_total_relation_size(c.oid))::bigint
      from pg_class c
     where c.relkind = 'r' and c.relnamespace::regnamespace::text in ('tds', 'zoho', 'pgmq')
     group by 1"""


class Company:
    """What comes in a day, and the jobs."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self.conn = conn
        self.events = 0
        self.waiting: list[int] = []

    def at(self, moment: datetime) -> None:
        """Sets the clock."""
        self.conn.execute("select set_config('tds.fake_now', %s, false)", [moment.isoformat()])

    def receive(self, entity: str, body: object, shape: str) -> int:
        """Stores a body; its number."""
        self.events += 1
        row = self.conn.execute(
            "select inbox_id from tds.receive(%s, %b, %s, shape => %s)",
            [entity, json.dumps(body).encode(), ORGANIZATION, shape],
        ).fetchone()
        assert row is not None
        return int(row[0])

    def day(self, number: int) -> None:
        """A day's traffic: edits by webhook, a page, details with stock, and some that cannot be used."""
        begin = BEGINNING + timedelta(days=number)
        for step in range(STEPS):
            moment = begin + timedelta(hours=6 * step + 3)
            self.at(moment)
            stamp = moment.isoformat()
            for n in range(WEBHOOKS // STEPS):
                key = str((number * 37 + step * 101 + n) % 3000)
                record = {
                    "invoice_id": key,
                    "invoice_number": f"INV-{key}",
                    "total": n + number,
                    "last_modified_time": stamp,
                }
                self.receive(
                    "invoices", {"invoice": record | {"notes": f"{number} {step} {n} " * 20}}, "webhook"
                )
            items = [
                {
                    "item_id": f"2646610000{n:09d}",
                    "name": f"Cable {n}",
                    "rate": n,
                    "stock_on_hand": (n + number) % 50 if n % 10 == 0 else 5,
                    "brand": "",
                    "last_modified_time": stamp,
                    "locations": [
                        {"location_id": str(p), "location_name": f"P{p}", "location_stock_on_hand": 2}
                        for p in range(3)
                    ],
                }
                for n in range(step * PRODUCTS // STEPS, (step + 1) * PRODUCTS // STEPS)
            ]
            self.receive("products", {"items": items}, "detail")
            self.receive(
                "customers",
                {
                    "contact": {
                        "contact_id": f"bad{number}",
                        "contact_type": "customer",
                        "outstanding_receivable_amount": "x",
                    }
                },
                "webhook",
            )
            if step == 0 and number % 10 == 0:
                # parked by an illness of the ERP's that nobody mends for months
                self.waiting.append(
                    self.receive(
                        "bills", {"bill": {"bill_id": str(number), "bill_number": str(number)}}, "webhook"
                    )
                )
                self.conn.execute("delete from pgmq.q_tds_bills")
            self.conn.execute(
                "update tds.inbox_open set retry_at = tds.now() + interval '30 minutes', attempts = 1 "
                "where entity = 'bills'"
            )
            self.conn.execute("call tds.process_batch()")
            self.conn.execute("call tds.run_due_jobs()")
        # what is wanted would be fetched, and settled by what comes
        self.conn.execute("delete from tds.wanted_detail")
        for (table,) in self.conn.execute("select name from tds.hot_table").fetchall():
            self.conn.execute(f"vacuum {table}".encode())
        self.conn.execute(
            "vacuum tds.health_result, tds.health_state, tds.heal_log, tds.measure, tds.job_run, "
            "tds.stock_day"
        )

    def sizes(self) -> dict[str, int]:
        """Bytes by table, partitions with their parent."""
        return {str(name): int(size) for name, size in self.conn.execute(SIZES.encode()).fetchall()}


def main(leg: str = "pg18", days: str = "90") -> int:
    """Runs it, prints what it found as Markdown, and returns the exit code."""
    servers = Servers()
    try:
        with (
            servers.get(leg).database() as database,
            psycopg.connect(database.conninfo, autocommit=True) as conn,
        ):
            return run(Company(conn), int(days))
    finally:
        servers.close()


def run(company: Company, days: int) -> int:
    """The days one after the other, and what is to be seen then."""
    company.at(BEGINNING)
    # the healing would take the parked ones up; what is asked for has nobody who answers
    company.conn.execute("update tds.job set since = tds.now()")
    company.conn.execute(
        "update tds.job set enabled = false where job in ('heal', 'request_changes', 'request_lists')"
    )
    sizes: list[dict[str, int]] = []
    events: list[int] = []
    started = time.monotonic()
    for number in range(days):
        company.day(number)
        sizes.append(company.sizes())
        events.append(company.events)
        if number % 10 == 9:
            total = sum(sizes[-1].values())
            print(
                f"day {number + 1}: {total / 1e6:.1f} MB, {company.events} events, "
                f"{time.monotonic() - started:.0f} s",
                file=sys.stderr,
            )
    failed = lost(company)
    print("\n".join(report(sizes, events)))
    if days > FLAT_FROM + 20:
        for name in sizes[-1]:
            before = max(day.get(name, 0) for day in sizes[FLAT_FROM : FLAT_FROM + 10])
            after = max(day.get(name, 0) for day in sizes[-10:])
            if after > before * TOLERANCE + 65536 and not name.startswith(BY_DESIGN):
                print(
                    f"{name} grows: {before} bytes after {FLAT_FROM} days, {after} in the last ten",
                    file=sys.stderr,
                )
                failed = True
    return int(failed)


def lost(company: Company) -> bool:
    """Whether an event that waited is no longer there, or cannot be applied when the cause is mended."""
    conn = company.conn
    row = conn.execute(
        "select count(*) from tds.inbox_open o join tds.inbox i using (received_at, inbox_id) "
        "where o.inbox_id = any (%s)",
        [company.waiting],
    ).fetchone()
    assert row is not None
    conn.execute("update tds.inbox_open set retry_at = tds.now()")
    conn.execute("call tds.process_batch()")
    bills = conn.execute("select count(*) from zoho.bills").fetchone()
    dead = conn.execute(
        "select count(*), count(i.inbox_id) from tds.dead_letter d "
        "left join tds.inbox i using (received_at, inbox_id) where d.resolved_at is null"
    ).fetchone()
    assert bills is not None
    assert dead is not None
    print(
        f"{len(company.waiting)} events waited up to {len(company.waiting) * 10} days: "
        f"{row[0]} there, {bills[0]} applied at the end."
    )
    print(f"{dead[0]} open dead letters, the bodies of {dead[1]} are there.\n")
    return not len(company.waiting) == row[0] == bills[0] or dead[0] != dead[1]


def report(sizes: list[dict[str, int]], events: list[int]) -> list[str]:
    """A table: each table's growth per 10,000 events before anything is forgotten, and its size after."""
    early, late = min(9, len(sizes) - 1), min(29, len(sizes) - 1)
    marks = [day for day in (31, 60, 90) if day <= len(sizes)]
    lines = [
        "| table | growth per 10,000 events, kB | " + " | ".join(f"day {day}, kB" for day in marks) + " |",
        "|---|---:|" + "---:|" * len(marks),
    ]

    def line(name: str, of: list[Mapping[str, int]]) -> str:
        grown = (
            (of[late].get(name, 0) - of[early].get(name, 0)) / max(1, events[late] - events[early]) * 10_000
        )
        return (
            f"| {name} | {grown / 1000:,.0f} | "
            + " | ".join(f"{of[day - 1].get(name, 0) / 1000:,.0f}" for day in marks)
            + " |"
        )

    totals: list[Mapping[str, int]] = [{"all": sum(day.values())} for day in sizes]
    shown = sorted(sizes[-1], key=lambda name: -sizes[-1][name])
    lines += [line("all", totals)]
    lines += [line(name, list(sizes)) for name in shown if sizes[-1][name] > 100_000]
    return lines


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
