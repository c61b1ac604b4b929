"""Thousands of alerts that open at one look, by plans made while there was none."""

from __future__ import annotations

import pytest

from tests.sql.conftest import ORGANIZATION, Mirror

pytestmark = pytest.mark.new_database

MANY = 3_000
PAGES_EACH = 60
"""What an alert may read and write: index pages and its rows, whatever there are of it in all."""


def test_alerts_that_open_at_once_are_not_looked_for_one_in_all(mirror: Mirror) -> None:
    """The table was vacuumed while it was empty, which tells the planner that to read it whole costs nothing; then it fills within one
    statement, and a second look finds all of them."""
    mirror.conn.execute("vacuum analyze")
    mirror.conn.execute(
        """
        insert into zoho.products (organization_id, zoho_item_id, name, stock_quantity, is_active, reorder_level, synced_at, zoho_metadata,
                                   sync_version, sync_observed_at, sync_rank)
        select %s, n::text, 'Product ' || n, 1, true, 5, now(), '{}', 1, now(), 3 from generate_series(1, %s) n""",
        [ORGANIZATION, MANY],
    )
    [told] = mirror.rows(
        "explain (analyze, buffers, timing off, format json) select tds.raise_alerts(array['business'])"
    )
    assert (
        mirror.value("select count(*) from tds.alert where resolved_at is null and kind = 'low_stock'")
        == MANY
    )
    assert pages(told) < PAGES_EACH * MANY
    mirror.conn.execute("update zoho.products set stock_quantity = 9 where zoho_item_id::int % 2 = 0")
    mirror.conn.execute("update tds.setting set value = '0' where name = 'alert_well_seconds'")
    [told] = mirror.rows(
        "explain (analyze, buffers, timing off, format json) select tds.raise_alerts(array['business'])"
    )
    assert (
        mirror.value("select count(*) from tds.alert where resolved_at is null and kind = 'low_stock'")
        == MANY / 2
    )
    assert pages(told) < PAGES_EACH * MANY


def pages(told: dict[str, list[dict[str, dict[str, int]]]]) -> int:
    """Pages that a statement touched, read or not."""
    plan = told["QUERY PLAN"][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
