"""Webhooks of many organisations mixed in one queue, against as many of one organisation."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

from benchmarks.bench import Bench, Story, timed_drain
from benchmarks.data import ORGANIZATION
from benchmarks.mirror import receive_webhooks
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
        owners = [names[number % len(names)] for number in range(count)]
        receive_webhooks(conn, "products", table.singles(), owners)
        told["new"] = timed_drain(conn, count, applied=count)
        time.sleep(1.1)  # a last_modified_time has whole seconds
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S%z")
        receive_webhooks(conn, "products", table.changed(1, 4, seed, now).singles(), owners)
        told["edit"] = timed_drain(conn, count, applied=count)
        receive_webhooks(conn, "products", table.changed(1, 2, seed).singles(), owners)
        told["late"] = timed_drain(conn, count, stale=count)
    return {f"mixed_{kind}_{organisations}": speed for kind, speed in told.items()}


STORIES = tuple(
    Story(
        f"{organisations:,} organisations mixed",
        tuple(f"mixed_{kind}_{organisations}" for kind in KINDS),
        partial(mixed, organisations=organisations),
    )
    for organisations in MANY
)
