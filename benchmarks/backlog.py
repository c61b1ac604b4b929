"""Long queues and old ones: a million events waiting, half a million worked off unvacuumed, old snapshots."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping

import psycopg
from psycopg.rows import tuple_row

from benchmarks.bench import Bench, Story, stopwatch
from benchmarks.data import ORGANIZATION
from benchmarks.mirror import drain_all, expect
from benchmarks.rows import Row
from benchmarks.server import settle
from tds_db.worker import drain

CHUNK = 50_000  # events put in by one transaction
SMALL = 5  # events of a small batch
PLACEHOLDER = "<id>"

ROWS = (
    Row("waiting", "1,000,000 events waiting: speed of draining against 10,000 waiting", "many", "few", 0.9),
    Row("aged", "after 500,000 events without vacuum, against fresh", "aged", "few"),
    Row("aged", "the same with an old snapshot held open, against fresh", "held", "few", 0.6),
    Row(
        "aged", f"{SMALL} events a call, with the old snapshot, against fresh", "held_small", "few_small", 0.6
    ),
)


def fill(conn: psycopg.Connection, template: str, first: int, count: int) -> None:
    """Puts webhooks into the inbox, as sets; its trigger queues them as it does any others.

    Args:
        conn: in autocommit mode.
        template: body with a placeholder for the record's id.
        first: number of the first record.
        count: how many records.
    """
    for start in range(first, first + count, CHUNK):
        conn.execute(
            """
            insert into tds.inbox (received_at, organization_id, entity, source, shape, event, record_id,
                                   observed_at, body)
            select now(), %s, 'products', 'webhook', 'webhook', 'upsert', n::text, now(),
                   replace(%s, %s, n::text)
              from generate_series(%s::bigint, %s::bigint) n""",
            [ORGANIZATION, template, PLACEHOLDER, start, min(start + CHUNK, first + count) - 1],
        )


def _template(bench: Bench) -> str:
    table = bench.products()
    row = table.rows[0]
    own = row.split('"item_id":"', 1)[1].split('"', 1)[0]
    return f'{{"item":{row.replace(own, PLACEHOLDER)}}}'


def few_waiting(bench: Bench) -> Mapping[str, float]:
    """Drains a short queue in a fresh database."""
    count = bench.sizes.few_waiting
    with bench.connected() as conn:
        fill(conn, _template(bench), 10**12, count)
        settle(conn)
        with stopwatch() as seconds:
            outcome = drain_all(conn)
        expect(outcome, applied=count)
        small = _drain_small(bench, conn, 3 * 10**12)
    return {"few": count / seconds(), "few_small": small}


def many_waiting(bench: Bench) -> Mapping[str, float]:
    """Drains as many out of a long queue, which is kept for all rounds."""
    dbname = bench.once("many", lambda: _long_queue(bench))
    done = 0
    with bench.session(dbname) as conn:
        conn.execute("truncate zoho.products")
        settle(conn)
        with stopwatch() as seconds:
            while done < bench.sizes.few_waiting and (claimed := drain(conn)["claimed"]):
                done += claimed
    return {"many": done / seconds()}


def _long_queue(bench: Bench) -> str:
    conn = bench.kept()
    conn.execute("update tds.setting set value = '1' where name = 'drain_seconds'")
    fill(conn, _template(bench), 10**12, bench.sizes.waiting)
    return conn.info.dbname


def aged(bench: Bench) -> Mapping[str, float]:
    """Drains where no table has been vacuumed since half a million events."""
    return {"aged": _drain_aged(bench, "aged", hold=False)[0]}


def held(bench: Bench) -> Mapping[str, float]:
    """The same, while a snapshot from before all that is held."""
    large, small = _drain_aged(bench, "held", hold=True)
    return {"held": large, "held_small": small}


def _drain_small(bench: Bench, conn: psycopg.Connection, first: int) -> float:
    """Drains small batches, each as soon as it has come; how many events a second of draining."""
    template, spent = _template(bench), 0.0
    count = max(1, bench.sizes.few_waiting // 50)
    for batch in range(count):
        fill(conn, template, first + batch * SMALL, SMALL)
        with stopwatch() as seconds:
            outcome = drain(conn)
        expect(Counter(outcome), applied=SMALL)
        spent += seconds()
    return count * SMALL / spent


def _drain_aged(bench: Bench, name: str, *, hold: bool) -> tuple[float, float]:
    dbname, numbers = bench.once(name, lambda: _age(bench, name, hold=hold))
    done = 0
    with bench.session(dbname) as conn:
        fill(conn, _template(bench), next(numbers), bench.sizes.few_waiting)
        conn.execute("checkpoint")
        before = _queue_entries_read(conn)
        deadline = time.perf_counter() + bench.sizes.patience
        with stopwatch() as seconds:
            while time.perf_counter() < deadline and (claimed := drain(conn)["claimed"]):
                done += claimed
        bench.notes[name] = (
            f"{bench.notes[f'{name}, aged']}; {_dead_rows(conn)}; index entries of the queues "
        )
        bench.notes[name] += f"read for each event: {(_queue_entries_read(conn) - before) / done:,.0f}"
        small = _drain_small(bench, conn, next(numbers))
    return done / seconds(), small


def _age(bench: Bench, name: str, *, hold: bool) -> tuple[str, Iterator[int]]:
    conn = bench.kept()
    _forbid_vacuum(conn)
    if hold:
        holder = bench.kept(conn.info.dbname)
        holder.autocommit = False
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        holder.execute("select count(*) from tds.inbox_open")
    began, done, first = time.perf_counter(), 0, 10**12
    while done < bench.sizes.aged and time.perf_counter() - began < bench.sizes.patience:
        fill(conn, _template(bench), first + done, min(CHUNK, bench.sizes.aged - done))
        deadline = began + bench.sizes.patience
        while (claimed := drain(conn)["claimed"]) and time.perf_counter() < deadline:
            done += claimed
        done += claimed
    bench.notes[f"{name}, aged"] = f"{done:,} events before"
    return conn.info.dbname, iter(range(2 * 10**12, 3 * 10**12, 10**9))


def _forbid_vacuum(conn: psycopg.Connection) -> None:
    """Switches autovacuum off for every table of this database alone."""
    conn.execute(
        """
        do $$
        declare
            target regclass;
        begin
            for target in
                select c.oid from pg_class c
                 where c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace, 'pgmq'::regnamespace)
                   and c.relkind = 'r'
            loop
                execute format('alter table %s set (autovacuum_enabled = off)', target);
            end loop;
        end
        $$"""
    )


def _dead_rows(conn: psycopg.Connection) -> str:
    """The tables with the most dead rows: what a slow claim wades through."""
    conn.execute("select pg_stat_force_next_flush()")
    with conn.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(
            """select relid::regclass::text, n_dead_tup, pg_size_pretty(pg_table_size(relid))
                 from pg_stat_user_tables where n_dead_tup > 0 order by n_dead_tup desc limit 3"""
        ).fetchall()
    return "dead rows: " + ", ".join(f"{table} {dead:,} ({size})" for table, dead, size in rows)


def _queue_entries_read(conn: psycopg.Connection) -> int:
    """Entries that scans of the queues' indexes have gone over: a claim begins at the oldest, gone or not."""
    conn.execute("select pg_stat_force_next_flush()")
    row = conn.execute(
        "select coalesce(sum(idx_tup_read), 0) from pg_stat_user_indexes where schemaname = 'pgmq'"
    ).fetchone()
    assert row is not None
    return int(row[0])


STORIES = (
    Story("10,000 waiting", ("few", "few_small"), few_waiting),
    Story("1,000,000 waiting", ("many",), many_waiting),
    Story("aged", ("aged",), aged),
    Story("aged, old snapshot", ("held", "held_small"), held),
)
