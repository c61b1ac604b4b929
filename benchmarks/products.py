"""Products and invoices: loading, loading again, the whole way, bad records, webhooks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import psycopg

from benchmarks.bench import Bench, Story, stopwatch, timed_drain
from benchmarks.limit import (
    BY_DOCUMENT,
    BY_STAMP,
    INVOICES,
    LINES,
    PRODUCTS,
    Limit,
    Target,
    fingerprint,
    left_out,
)
from benchmarks.mirror import (
    drain_all,
    expect,
    receive,
    receive_webhooks,
    wal_of_the_mirror,
    wal_position,
    workers,
)
from benchmarks.rows import Row
from benchmarks.server import settle

CHANGED = 0.1
BAD_EVERY = 100
SINGLE_PRODUCT = "jsonb_build_array(p.body::jsonb -> 'item')"
SINGLE_INVOICE = "jsonb_build_array(p.body::jsonb -> 'invoice')"

ROWS = (
    Row("first_load", "products, first load, pages of 200, one worker: process_batch alone",
        "apply", "limit", 0.75),
    Row("whole", "the same, the whole way (receive, queue, apply, finish)", "whole", "limit", 0.60),
    Row("two_workers", "the whole way with two workers", "two", "limit", 1.0),
    Row("resync", "re-sync, 10 % changed, process_batch alone; limit guarded by the document",
        "apply_again", "limit_document", 0.90),
    Row("resync", "the same; limit guarded by the stamp alone (loses silent changes)",
        "apply_again", "limit_stamp"),
    Row("invoices", "invoices with 5 lines each, first load, pages of 200 details: process_batch alone",
        "invoices", "limit_invoices", 0.65, unit="invoices/s"),
    Row("invoices", "the same, an event a detail", "invoices_single", "limit_invoices_single",
        unit="invoices/s"),
    Row("bad", "1 bad record in 100, process_batch alone", "bad", "limit", 0.45,
        note="the limit runs on clean pages: it would fail"),
    Row("webhooks", "single-record webhooks drained in batches", "webhooks", "limit_single", 0.30),
    Row("edits", "webhooks that edit existing products, process_batch alone; limit: guarded upsert",
        "edits", "limit_edits", 0.50),
    Row("edits", "the same, edited before the list was read that did not show it yet",
        "late_edits", "limit_edits"),
    Row("wal", "WAL of the mirror's tables: unchanged re-sync against first load",
        "wal_again", "wal_first", 0.05, unit="bytes", at_most=True),
)  # fmt: skip


def _run(conn: psycopg.Connection, statement: str, records: int) -> float:
    """Settles, runs the statement and returns records a second."""
    settle(conn)
    with stopwatch() as seconds:
        conn.execute(statement.encode())
    return records / seconds()


def limit_of_products(bench: Bench) -> Mapping[str, float]:
    """The limit: first load, and two re-syncs with its two guards."""
    table = bench.products()
    count, seed = len(table.rows), bench.sizes.seed
    second = table.changed(CHANGED, 2, seed)
    with bench.connected() as conn:
        limit = Limit(conn)
        limit.stage(table.pages())
        first = _run(conn, limit.products(), count)
        bench.same("products", "the limit", fingerprint(conn, "bench", PRODUCTS))
        limit.stage(second.pages())
        by_document = _run(conn, limit.products(guard=BY_DOCUMENT), count)
        bench.same("products again", "the limit", fingerprint(conn, "bench", PRODUCTS))
        limit.stage(second.changed(CHANGED, 3, seed).pages())
        by_stamp = _run(conn, limit.products(guard=BY_STAMP), count)
    return {"limit": first, "limit_document": by_document, "limit_stamp": by_stamp}


def apply_products(bench: Bench) -> Mapping[str, float]:
    """process_batch alone: first load, a re-sync with changes, and one without."""
    table = bench.products()
    count = len(table.rows)
    second = table.changed(CHANGED, 2, bench.sizes.seed)
    changed = sum(old != new for old, new in zip(table.rows, second.rows, strict=True))
    with bench.connected() as conn:
        receive(conn, "products", table.pages(), "list")
        settle(conn)
        since = wal_position(conn)
        first = timed_drain(conn, count, applied=count)
        wal_first = wal_of_the_mirror(conn, since)
        bench.same("products", "process_batch", fingerprint(conn, "zoho", PRODUCTS))
        _note_left_out(bench, conn, "apply", PRODUCTS)
        receive(conn, "products", second.pages(), "list")
        again = timed_drain(conn, count, applied=changed, unchanged=count - changed)
        bench.same("products again", "process_batch", fingerprint(conn, "zoho", PRODUCTS))
        receive(conn, "products", second.pages(), "list")
        settle(conn)
        since = wal_position(conn)
        timed_drain(conn, count, unchanged=count)
        wal_again = wal_of_the_mirror(conn, since)
    return {"apply": first, "apply_again": again, "wal_first": wal_first, "wal_again": wal_again}


def whole_way(bench: Bench) -> Mapping[str, float]:
    """Each page received in its own transaction, then drained, on one connection."""
    table = bench.products()
    with bench.connected() as conn:
        bodies = table.pages()
        settle(conn)
        with stopwatch() as seconds:
            receive(conn, "products", bodies, "list")
            outcome = drain_all(conn)
        expect(outcome, applied=len(table.rows))
        bench.same("products", "the whole way", fingerprint(conn, "zoho", PRODUCTS))
    return {"whole": len(table.rows) / seconds()}


def two_workers(bench: Bench) -> Mapping[str, float]:
    """Two worker processes drain while the pages are received."""
    table = bench.products()
    with bench.connected() as conn:
        settle(conn)
        bodies = table.pages()
        with workers(conn.info.dsn) as running, stopwatch() as seconds:
            receive(conn, "products", bodies, "list")
            report = running.finish()
            total = seconds()
        expect(report.outcome, applied=len(table.rows))
        bench.same("products", "two workers", fingerprint(conn, "zoho", PRODUCTS))
    return {"two": len(table.rows) / total}


def bad_records(bench: Bench) -> Mapping[str, float]:
    """One record in a hundred cannot be read."""
    table = bench.products()
    bad = len(range(BAD_EVERY // 2, len(table.rows), BAD_EVERY))
    with bench.connected() as conn:
        receive(conn, "products", table.spoiled(BAD_EVERY).pages(), "list")
        speed = timed_drain(conn, len(table.rows), applied=len(table.rows) - bad, dead=bad)
    return {"bad": speed}


def limit_of_singles(bench: Bench) -> Mapping[str, float]:
    """The limit over bodies of one record."""
    table = bench.products(bench.sizes.webhooks)
    with bench.connected() as conn:
        limit = Limit(conn)
        limit.stage(table.singles())
        speed = _run(conn, limit.products(records=SINGLE_PRODUCT), len(table.rows))
        bench.same("products singly", "the limit", fingerprint(conn, "bench", PRODUCTS))
    return {"limit_single": speed}


def webhooks(bench: Bench) -> Mapping[str, float]:
    """Webhooks, an event each, received beforehand."""
    table = bench.products(bench.sizes.webhooks)
    with bench.connected() as conn:
        receive_webhooks(conn, "products", table.singles())
        speed = timed_drain(conn, len(table.rows), applied=len(table.rows))
        bench.same("products singly", "webhooks", fingerprint(conn, "zoho", PRODUCTS))
    return {"webhooks": speed}


def limit_of_edits(bench: Bench) -> Mapping[str, float]:
    """The limit over bodies of one record, each of an existing row that it changes."""
    table = bench.products(bench.sizes.webhooks)
    with bench.connected() as conn:
        limit = Limit(conn)
        limit.stage(table.pages())
        conn.execute(limit.products().encode())
        limit.stage(table.changed(1, 2, bench.sizes.seed).singles())
        speed = _run(conn, limit.products(guard=BY_STAMP, records=SINGLE_PRODUCT), len(table.rows))
    return {"limit_edits": speed}


def edits(bench: Bench) -> Mapping[str, float]:
    """Webhooks of edits, an event each: a row's first since it was loaded, as the limit's are."""
    return {"edits": _edited(bench, late=False)}


def late_edits(bench: Bench) -> Mapping[str, float]:
    """The same of edits that were made before a list was read, which does not show them."""
    return {"late_edits": _edited(bench, late=True)}


def _edited(bench: Bench, *, late: bool) -> float:
    table = bench.products(bench.sizes.webhooks)
    edited_at = None
    with bench.connected() as conn:
        receive(conn, "products", table.pages(), "list")
        expect(drain_all(conn), applied=len(table.rows))
        if not late:
            time.sleep(1.1)  # a last_modified_time has whole seconds
            edited_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S%z")
        receive_webhooks(conn, "products", table.changed(1, 2, bench.sizes.seed, edited_at).singles())
        return timed_drain(conn, len(table.rows), applied=len(table.rows))


def limit_of_invoices(bench: Bench) -> Mapping[str, float]:
    """The limit for invoices and their lines, from pages."""
    return {
        "limit_invoices": _limit_of_invoices(bench, bench.invoices().pages(), "p.body::jsonb -> 'invoices'")
    }


def limit_of_single_invoices(bench: Bench) -> Mapping[str, float]:
    """The same from bodies of one invoice."""
    return {"limit_invoices_single": _limit_of_invoices(bench, bench.invoices().singles(), SINGLE_INVOICE)}


def _limit_of_invoices(bench: Bench, bodies: Sequence[bytes], records: str) -> float:
    with bench.connected() as conn:
        limit = Limit(conn)
        limit.stage(bodies)
        speed = _run(conn, limit.invoices(records=records), len(bench.invoices().rows))
        bench.same("invoices", "the limit", fingerprint(conn, "bench", INVOICES))
        bench.same("lines", "the limit", fingerprint(conn, "bench", LINES))
    return speed


def apply_invoices(bench: Bench) -> Mapping[str, float]:
    """process_batch on pages of details."""
    return {"invoices": _apply_invoices(bench, "invoices", bench.invoices().pages())}


def apply_single_invoices(bench: Bench) -> Mapping[str, float]:
    """process_batch on details, an event each."""
    return {"invoices_single": _apply_invoices(bench, "invoices_single", bench.invoices().singles())}


def _apply_invoices(bench: Bench, sample: str, bodies: Sequence[bytes]) -> float:
    count = len(bench.invoices().rows)
    with bench.connected() as conn:
        receive(conn, "invoices", bodies, "detail")
        speed = timed_drain(conn, count, applied=count)
        bench.same("invoices", "process_batch", fingerprint(conn, "zoho", INVOICES))
        bench.same("lines", "process_batch", fingerprint(conn, "zoho", LINES))
        _note_left_out(bench, conn, sample, INVOICES, LINES)
    return speed


def _note_left_out(bench: Bench, conn: psycopg.Connection, sample: str, *targets: Target) -> None:
    if names := [name for target in targets for name in left_out(conn, target)]:
        bench.notes[sample] = f"the limit is spared {', '.join(names)}"


STORIES = (
    Story("limit, products", ("limit", "limit_document", "limit_stamp"), limit_of_products),
    Story("process_batch, products", ("apply", "apply_again", "wal_first", "wal_again"), apply_products),
    Story("whole way", ("whole",), whole_way),
    Story("two workers", ("two",), two_workers),
    Story("bad records", ("bad",), bad_records),
    Story("limit, single records", ("limit_single",), limit_of_singles),
    Story("webhooks", ("webhooks",), webhooks),
    Story("limit, edits", ("limit_edits",), limit_of_edits),
    Story("edits", ("edits",), edits),
    Story("late edits", ("late_edits",), late_edits),
    Story("limit, invoices", ("limit_invoices",), limit_of_invoices),
    Story("process_batch, invoices", ("invoices",), apply_invoices),
    Story("limit, single invoices", ("limit_invoices_single",), limit_of_single_invoices),
    Story("process_batch, single invoices", ("invoices_single",), apply_single_invoices),
)
