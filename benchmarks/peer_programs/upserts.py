"""Two ways of writing that people write themselves, in plain psycopg.

naive   a loop: parse the page, write a row, commit, the next
stripe  an emulation of how stripe-sync-engine upserts (its code is TypeScript and knows Stripe's objects
        only): the raw document in a jsonb column, the key and the fields as generated columns, one
        statement a row, five of them in flight on connections of their own, a guard on the time of the sync,
        RETURNING the row
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

IN_FLIGHT = 5
TEXTS = ("name", "sku", "description", "status", "category_name", "image_document_id", "unit", "brand")
NUMBERS = ("rate", "stock_on_hand", "tax_percentage", "purchase_rate", "reorder_level")
TIMES = ("created_time", "last_modified_time")


def pages(path: str) -> Iterator[list[dict[str, Any]]]:
    """The records of each page."""
    with Path(path).open("rb") as file:
        for line in file:
            yield json.loads(line)["items"]


def naive(url: str, path: str) -> None:
    """A row a transaction."""
    names = ("item_id", *TEXTS, *NUMBERS, *TIMES, "raw")
    changes = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    statement = (
        f"insert into naive.items ({', '.join(names)}) values ({', '.join(['%s'] * len(names))}) "
        f"on conflict (item_id) do update set {changes}"
    ).encode()
    columns = "".join(
        f"{name} {kind}, "
        for kind, group in (("text", TEXTS), ("numeric", NUMBERS), ("timestamptz", TIMES))
        for name in group
    )
    create = (
        "create schema if not exists naive; "
        f"create table if not exists naive.items (item_id text primary key, {columns} raw jsonb not null)"
    )
    with psycopg.connect(url) as conn:
        conn.execute(create.encode())
        conn.commit()
        for records in pages(path):
            for record in records:
                values = [record.get(name) or None for name in names[:-1]]
                conn.execute(statement, [*values, json.dumps(record)])
                conn.commit()


async def stripe(url: str, path: str) -> None:
    """A statement a row, five in flight."""
    generated = "".join(
        f"{name} text generated always as (_raw_data ->> '{name}') stored, "
        for name in TEXTS + NUMBERS + TIMES
    )
    create = (
        "create schema if not exists stripelike; "
        f"create table if not exists stripelike.items (_raw_data jsonb, {generated} "
        "_last_synced_at timestamptz, _account_id text, "
        "id text generated always as (_raw_data ->> 'item_id') stored primary key)"
    )
    statement = (
        "insert into stripelike.items (_raw_data, _last_synced_at, _account_id) "
        "values (%s::jsonb, now(), '1') "
        "on conflict (id) do update set _raw_data = excluded._raw_data, "
        "_last_synced_at = excluded._last_synced_at, _account_id = excluded._account_id "
        "where items._last_synced_at is null or items._last_synced_at < excluded._last_synced_at returning *"
    )
    async with AsyncConnectionPool(
        url, min_size=IN_FLIGHT, max_size=IN_FLIGHT, kwargs={"autocommit": True}, open=False
    ) as pool:
        await pool.wait()
        async with pool.connection() as conn:
            await conn.execute(create.encode())

        async def upsert(record: dict[str, Any]) -> None:
            async with pool.connection() as conn:
                await (await conn.execute(statement.encode(), [json.dumps(record)])).fetchall()

        for records in pages(path):
            for first in range(0, len(records), IN_FLIGHT):
                await asyncio.gather(*[upsert(record) for record in records[first : first + IN_FLIGHT]])


def main(form: str, path: str) -> None:
    """Loads the file once, as `naive` or `stripe`."""
    began = time.perf_counter()
    url = os.environ["BENCH_URL"]
    if form == "naive":
        naive(url, path)
    else:
        asyncio.run(stripe(url, path))
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
