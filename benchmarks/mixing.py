"""Webhooks of many organisations mixed in one queue, against as many of one organisation."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import psycopg

from benchmarks.bench import Bench, Story, timed_drain
from benchmarks.data import ORGANIZATION
from benchmarks.mirror import BATCH
from benchmarks.rows import Row

MANY = (1, 50, 1_000)
"""Organisations of a story."""
KINDS = {
    "new": "of new products",
    "edit": "that edit existing products",
    "late": "that tell of older edits than the rows know, folded key by key",
}

ROWS = tuple(
    Row("mixed", f"webhooks {what}, {organisations:,} organisations mixed, process_batch alone; against one",
        f"mixed_{kind}_{organisations}", f"mixed_{kind}_1", 0.75)
    for kind, what in KINDS.items()
    for organisations in MANY[1:]
)  # fmt: skip


def mixed(bench: Bench, organisations: int) -> Mapping[str, float]:
    """New products, edits of them and older edits, told by so many organisations in turn."""
    table = bench.products(bench.sizes.mixed)
    count, seed = len(table.rows), bench.sizes.seed
    with bench.connected() as conn:
        names = [str(int(ORGANIZATION) + number) for number in range(organisations)]
        conn.execute("update tds.setting set value = %s where name = 'organization_ids'", [json.dumps(names)])
        told = {}
        _receive(conn, names, table.singles())
        told["new"] = timed_drain(conn, count, applied=count)
        time.sleep(1.1)  # a last_modified_time has whole seconds
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S%z")
        _receive(conn, names, table.changed(1, 4, seed, now).singles())
        told["edit"] = timed_drain(conn, count, applied=count)
        _receive(conn, names, table.changed(1, 2, seed).singles())
        told["late"] = timed_drain(conn, count, stale=count)
    return {f"mixed_{kind}_{organisations}": speed for kind, speed in told.items()}


def _receive(conn: psycopg.Connection, organisations: Sequence[str], bodies: Sequence[bytes]) -> None:
    owners = [organisations[number % len(organisations)] for number in range(len(bodies))]
    for first in range(0, len(bodies), BATCH):
        part = list(bodies[first : first + BATCH])
        conn.execute(
            "select count(*) from tds.receive_many(%s, %b, %s)",
            [["products"] * len(part), part, owners[first : first + BATCH]],
        )


STORIES = tuple(
    Story(
        f"{organisations:,} organisations mixed",
        tuple(f"mixed_{kind}_{organisations}" for kind in KINDS),
        partial(mixed, organisations=organisations),
    )
    for organisations in MANY
)
