"""Large mirrors: edits, loads, re-syncs and verification, with millions of rows of a thousand organisations.

The first organisation's rows are written by the product's own apply, and copied to the others by one
INSERT … SELECT each fifty: they are what the apply would have written, except for organisation and number.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import psycopg

from benchmarks.bench import Bench, Story, stopwatch
from benchmarks.data import ORGANIZATION, Table
from benchmarks.limit import BY_STAMP, Limit
from benchmarks.memory import cpu_of
from benchmarks.mirror import BenchError, drain_all, expect, receive, receive_webhooks
from benchmarks.products import CHANGED, SINGLE_PRODUCT
from benchmarks.rows import Row
from benchmarks.server import settle

EACH = 10_000
"""Products of an organisation."""
COPIED = 50
"""Organisations that one statement copies to."""
OTHERS = 10**6
"""How far from the others the organisation is that a load is measured with."""
SIZES = ("few", "many", "huge")
WHAT = {
    "load": "first load of another organisation's products, pages of 200",
    "again": f"re-sync of them, {CHANGED:.0%} changed",
    "edits": "webhooks that edit existing products of all organisations",
}

EDITS = "webhooks that edit existing products, process_batch alone"
BY_CPU = "the same by the CPU time of the backend"
CPU = "/s of CPU"

ROWS = (
    Row("large_edits", f"{EDITS}, a mirror of --few-rows; limit: guarded upsert of the same bodies",
        "edits_few", "limit_edits_few", 0.50),
    Row("large_edits", BY_CPU, "edits_few_cpu", "limit_edits_few_cpu", 0.50, unit=CPU),
    Row("large_edits", "the same, a mirror of --many-rows", "edits_many", "limit_edits_many", 0.50),
    Row("large_edits", BY_CPU, "edits_many_cpu", "limit_edits_many_cpu", 0.50, unit=CPU),
    Row("large_edits", f"{EDITS}: --many-rows against --few-rows", "edits_many", "edits_few", 0.80),
    Row("large_edits", BY_CPU, "edits_many_cpu", "edits_few_cpu", 0.80, unit=CPU),
    Row("large_edits", "for comparison the limit, by CPU time: --many-rows against --few-rows",
        "limit_edits_many_cpu", "limit_edits_few_cpu", unit=CPU),
    *(Row("large", f"{what}, process_batch alone: --huge-rows against --few-rows{by}",
          f"{kind}_huge{end}", f"{kind}_few{end}", unit=unit)
      for kind, what in WHAT.items()
      for end, by, unit in (("", "", "rows/s"), ("_cpu", ", by CPU time", CPU))),
    Row("large", "verification inside of that organisation: --huge-rows against --few-rows, by CPU time",
        "verify_huge_cpu", "verify_few_cpu", unit=CPU),
)  # fmt: skip


@dataclass(slots=True)
class Large:
    """A mirror of so many organisations, each with the same `EACH` products.

    Args:
        conn: in autocommit mode, on a fresh copy of the template.
        base: an organisation's products.
        organizations: their ids.
        seed: of which records are edited when.
        limit: a copy of the mirror's rows for the limit; None: none was asked for.
    """

    conn: psycopg.Connection
    base: Table
    organizations: Sequence[str]
    seed: int
    limit: Limit | None = None
    edited: int = 0
    """How many of the records have been edited: each once, since a row's first edit is not like its next."""
    editions: Iterator[int] = field(default_factory=partial(itertools.count, 5))

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.organizations) * len(self.base.rows)

    def edits(self, count: int) -> tuple[list[str], list[int], list[bytes]]:
        """The next so many edits: organisation, place in the base, and body, of records not edited before.

        Raises:
            BenchError: all have been.
        """
        if self.edited + count > self.rows:
            raise BenchError(f"{self.rows:,} rows are too few for the rounds: each is edited once")
        order = random.Random(self.seed).sample(range(self.rows), self.edited + count)[self.edited :]
        self.edited += count
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S%z")
        bodies = self.base.changed(1, next(self.editions), self.seed, now).singles()
        places = [number % len(self.base.rows) for number in order]
        owners = [self.organizations[number // len(self.base.rows)] for number in order]
        return owners, places, [bodies[place] for place in places]


def _make(bench: Bench, name: str, rows: int, *, with_limit: bool) -> Large:
    base = bench.plain_products(min(EACH, rows))
    count = max(1, rows // len(base.rows))
    organizations = [str(int(ORGANIZATION) + number) for number in range(count)]
    conn = bench.kept()
    conn.execute(
        "update tds.setting set value = %s where name = 'organization_ids'",
        [json.dumps([*organizations, str(int(ORGANIZATION) + OTHERS)])],
    )
    receive(conn, "products", base.pages(), "list")
    expect(drain_all(conn), applied=len(base.rows))
    with stopwatch() as seconds:
        for first in range(1, count, COPIED):
            conn.execute(_copy(conn), [organizations[first : first + COPIED], ORGANIZATION])
    bench.log.print(f"{rows:,} rows of {count:,} organisations after {seconds():.0f} s", highlight=False)
    made = Large(conn, base, organizations, bench.sizes.seed)
    if with_limit:
        made.limit = Limit(conn)
        for first in range(0, count, COPIED):
            conn.execute(
                "insert into bench.products select p.* from zoho.products p "
                "where p.organization_id = any (%s) order by p.organization_id, p.zoho_item_id",
                [organizations[first : first + COPIED]],
            )
    settle(conn)
    bench.notes[f"edits_{name}"] = f"{rows:,} rows of {count:,} organisations"
    time.sleep(1.1)  # a last_modified_time has whole seconds: every edit is newer than the list
    return made


def _copy(conn: psycopg.Connection) -> bytes:
    row = conn.execute(
        """select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
             from pg_attribute a
            where a.attrelid = 'zoho.products'::regclass and a.attnum > 0 and not a.attisdropped
              and a.attname <> all (array['id', 'organization_id'])"""
    ).fetchone()
    assert row is not None
    return (
        f"insert into zoho.products (organization_id, {row[0]}) select o.id, {row[0]} "
        "from unnest(%s::text[]) o(id) "
        "cross join (select p.* from zoho.products p where p.organization_id = %s) p "
        "order by o.id, p.zoho_item_id"
    ).encode()


def large(bench: Bench, size: str) -> Large:
    """One of the three, made on first use and kept for the run."""
    rows = {"few": bench.sizes.few_rows, "many": bench.sizes.many_rows, "huge": bench.sizes.huge_rows}[size]
    made: Large = bench.once(f"large {size}", lambda: _make(bench, size, rows, with_limit=size != "huge"))
    return made


@contextmanager
def _timed(conn: psycopg.Connection, told: dict[str, float], name: str, records: int) -> Iterator[None]:
    """Enters records a second, and a second of the backend's CPU, of what is done meanwhile."""
    before = cpu_of(conn.info.backend_pid)
    with stopwatch() as seconds:
        yield
    told[name] = records / seconds()
    told[f"{name}_cpu"] = records / (cpu_of(conn.info.backend_pid) - before)


def edit(bench: Bench, size: str) -> Mapping[str, float]:
    """Webhooks that edit so many rows, by TDS and by the limit, which must write the same."""
    mirror = large(bench, size)
    conn, count, told = mirror.conn, bench.sizes.webhooks, dict[str, float]()
    owners, places, bodies = mirror.edits(count)
    receive_webhooks(conn, "products", bodies, owners)
    _settle(conn)
    with _timed(conn, told, f"edits_{size}", count):
        outcome = drain_all(conn)
    expect(outcome, applied=count)
    if mirror.limit is not None:
        mirror.limit.stage(bodies, owners)
        _settle(conn)
        statement = mirror.limit.products(guard=BY_STAMP, records=SINGLE_PRODUCT, mixed=True).encode()
        with _timed(conn, told, f"limit_edits_{size}", count):
            conn.execute(statement)
        _same(mirror, owners, places)
    return told


def _same(mirror: Large, owners: Sequence[str], places: Sequence[int]) -> None:
    """Makes sure that the limit has written what TDS has.

    Raises:
        BenchError: it has not.
    """
    ids = [json.loads(row)["item_id"] for row in mirror.base.rows]
    row = mirror.conn.execute(
        """
        select count(*),
               count(*) filter (where (z.unit_price, z.zoho_modified_at, z.zoho_metadata)
                                      is distinct from (b.unit_price, b.zoho_modified_at, b.zoho_metadata))
          from unnest(%s::text[], %s::text[]) k(organization_id, zoho_item_id)
          join zoho.products z using (organization_id, zoho_item_id)
          join bench.products b using (organization_id, zoho_item_id)""",
        [list(owners), [ids[place] for place in places]],
    ).fetchone()
    if row != (len(owners), 0):
        raise BenchError(f"of {len(owners)} edited rows (found, differing from the limit's): {row}")


def lists(bench: Bench, size: str) -> Mapping[str, float]:
    """Another organisation is loaded, loaded again, and verified inside; then its rows are taken away."""
    mirror = large(bench, size)
    conn, told = mirror.conn, dict[str, float]()
    other = str(int(ORGANIZATION) + OTHERS)
    count, seed = len(mirror.base.rows), bench.sizes.seed
    second = mirror.base.changed(CHANGED, 2, seed)
    receive(conn, "products", mirror.base.pages(), "list", other)
    _settle(conn)
    with _timed(conn, told, f"load_{size}", count):
        outcome = drain_all(conn)
    expect(outcome, applied=count)
    receive(conn, "products", second.pages(), "list", other)
    changed = round(count * CHANGED)
    _settle(conn)
    with _timed(conn, told, f"again_{size}", count):
        outcome = drain_all(conn)
    expect(outcome, applied=changed, unchanged=count - changed)
    with _timed(conn, told, f"verify_{size}", count):
        row = conn.execute("call tds.verify_inside(array['products'], %s)", [other]).fetchone()
    assert row is not None
    if (row[0]["checked"], row[0]["differing"]) != (count, 0):
        raise BenchError(f"verification of {count} rows: {row[0]}")
    conn.execute("delete from zoho.products where organization_id = %s", [other])
    return told


def _settle(conn: psycopg.Connection) -> None:
    """As `settle`, without a look at all rows of the mirror, which change little."""
    settle(conn, "tds.inbox_open", "tds.claim", "pgmq.q_tds_products", "tds.wanted_detail")


ENDS = ("", "_cpu")
LISTS = ("load", "again", "verify")
STORIES = (
    *(
        Story(
            f"edits, {size}",
            tuple(f"{who}edits_{size}{end}" for who in ("", "limit_") for end in ENDS),
            partial(edit, size=size),
        )
        for size in ("few", "many")
    ),
    Story("edits, huge", ("edits_huge", "edits_huge_cpu"), partial(edit, size="huge")),
    *(
        Story(
            f"lists, {size}",
            tuple(f"{kind}_{size}{end}" for kind in LISTS for end in ENDS),
            partial(lists, size=size),
        )
        for size in ("few", "huge")
    ),
)
