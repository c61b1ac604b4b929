"""What many keys, layers and lines cost the database: its CPU time and its temporary files grow as they do, not as their square."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.work import LINEAR, TIMES
from tests.sql.conftest import Mirror, mirror, product

__all__ = ["mirror"]

FEW = 1_000


def spent(mirror: Mirror, work: Callable[[], object]) -> float:
    """Seconds of CPU that the server's process takes for this session meanwhile."""
    stat = Path(f"/proc/{mirror.value('select pg_backend_pid()')}/schedstat")
    before = int(stat.read_text().split()[0])
    work()
    return (int(stat.read_text().split()[0]) - before) / 1e9


def temporary(mirror: Mirror) -> int:
    """Bytes of temporary files so far."""
    mirror.conn.execute("select pg_stat_force_next_flush()")
    return int(mirror.value("select temp_bytes from pg_stat_database where datname = current_database()"))


def keys(count: int, told: str, every: int = 1) -> dict[str, str]:
    return {f"key_{n:06}": f"{told} {n}" for n in range(0, count, every)}


def at(minute: int) -> str:
    return f"2026-06-09T09:{minute:02}:00-0400"


def tell(mirror: Mirror, item_id: str, shape: str, minute: int | None, more: dict[str, Any]) -> None:
    stamped = {} if minute is None else {"last_modified_time": at(minute)}
    told = product(item_id) | {"last_modified_time": ""} | stamped | more
    body = {"items": [told]} if shape == "list" else {"item": told}
    assert (
        mirror.receive("products", body, shape, **({} if shape == "webhook" else {"source": "poller"}))
        == "queued"
    )
    outcome = mirror.process()
    assert outcome["dead"] + outcome["retried"] == 0, outcome


def every_way(mirror: Mirror, item_id: str, count: int) -> None:
    """A record whose keys come to have versions of their own, hidden values and doubts, and then one after the other again."""
    tell(mirror, item_id, "detail", 1, keys(count, "a"))
    tell(mirror, item_id, "detail", 2, keys(count, "b"))
    tell(mirror, item_id, "list", 3, keys(count, "c", 2))
    tell(mirror, item_id, "webhook", 5, keys(count, "d", 3))
    tell(mirror, item_id, "list", 4, keys(count, "e", 2))
    tell(mirror, item_id, "webhook", None, keys(count, "f", 2))
    tell(mirror, item_id, "detail", 4, keys(count, "g"))
    tell(mirror, item_id, "list", 4, keys(count, "g", 2))
    tell(mirror, item_id, "detail", 6, keys(count, "h"))


@pytest.mark.slow
def test_many_keys_cost_what_they_are(mirror: Mirror) -> None:
    every_way(mirror, "1", FEW)  # what is planned once is planned
    before = temporary(mirror)
    few = spent(mirror, lambda: every_way(mirror, "2", FEW))
    many = spent(mirror, lambda: every_way(mirror, "3", FEW * TIMES))
    assert many / few < LINEAR
    assert temporary(mirror) - before < 30 * 2**20
    assert (
        mirror.value(
            "select count(*) from jsonb_object_keys((select zoho_metadata from zoho.products where zoho_item_id = '3'))"
        )
        > 8_000
    )


def test_many_values_cost_what_they_are(mirror: Mirror) -> None:
    """Of a record so long that it is looked at closer, before anything reads it."""

    def told(item_id: str, count: int) -> None:
        tell(mirror, item_id, "detail", 1, {"weights": list(range(count))})

    told("1", 6 * FEW)
    few = spent(mirror, lambda: told("2", 6 * FEW))
    many = spent(mirror, lambda: told("3", 6 * FEW * 2 * TIMES))
    assert many / few < 2 * LINEAR


@pytest.mark.slow
def test_many_lines_cost_what_they_are(mirror: Mirror) -> None:
    def invoice(number: str, count: int, rate: int) -> None:
        lines = [
            {
                "line_item_id": f"{number}{n:06}",
                "item_id": "1",
                "name": f"n {n}",
                "quantity": 1,
                "rate": rate,
                "item_total": rate,
            }
            for n in range(count)
        ]
        body = {"invoice_id": number, "invoice_number": number, "customer_id": "5", "date": "2026-06-09", "status": "sent",
                "currency_code": "USD", "sub_total": rate * count, "total": rate * count, "balance": rate * count,
                "last_modified_time": at(rate), "line_items": lines}  # fmt: skip
        mirror.receive("invoices", {"invoice": body}, "detail", source="poller")
        outcome = mirror.process()
        assert outcome["applied"] == 1, json.dumps(outcome)

    def twice(number: str, count: int) -> None:
        for rate in (1, 2):
            invoice(number, count, rate)

    twice("7", FEW)
    before = temporary(mirror)
    few = spent(mirror, lambda: twice("8", FEW))
    many = spent(mirror, lambda: twice("9", FEW * TIMES))
    assert many / few < LINEAR
    assert temporary(mirror) - before < 60 * 2**20
    assert (
        mirror.value("select count(*) from zoho.invoice_line_items where zoho_invoice_id = '9'")
        == FEW * TIMES
    )
