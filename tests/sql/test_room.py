"""An edit touches the row's own page and no index: pages keep room for a version, and nothing locks a row before it is updated."""

from __future__ import annotations

import pytest

from tests.sql.conftest import Mirror, product

pytestmark = pytest.mark.new_database

LATER = "2026-06-10T09:46:21-0400"


def fillfactors(mirror: Mirror) -> dict[str, str | None]:
    """How full the pages of the tables of records are made."""
    rows = mirror.rows(
        """
        select c.relname, (select split_part(o, '=', 2) from unnest(c.reloptions) o where split_part(o, '=', 1) = 'fillfactor')
          from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'sync_version'
         where c.relnamespace = 'zoho'::regnamespace and c.relkind = 'r'"""
    )
    return {row["relname"]: row["split_part"] for row in rows}


def test_every_table_of_records_leaves_room_and_what_was_set_is_left_alone(mirror: Mirror) -> None:
    found = fillfactors(mirror)
    assert (found["products"], found["customers"], found["vendors"], found["invoices"]) == (
        "80",
        "80",
        "80",
        "90",
    )
    assert None not in found.values(), found
    mirror.conn.execute("alter table zoho.products set (fillfactor = 95)")
    mirror.conn.execute("select tds.leave_room()")
    assert fillfactors(mirror) == found | {"products": "95"}


def test_an_edit_among_many_touches_no_index(mirror: Mirror) -> None:
    rows = [product(str(1000 + n), description="x" * 300) for n in range(400)]
    mirror.receive("products", {"items": rows}, "list")
    assert mirror.process()["applied"] == 400
    mirror.conn.execute("select pg_stat_force_next_flush()")
    mirror.conn.execute("select pg_stat_reset()")
    for row in rows[::20]:
        mirror.receive("products", {"item": row | {"rate": 2, "last_modified_time": LATER}})
    assert mirror.process()["applied"] == 20
    mirror.conn.execute("select pg_stat_force_next_flush()")
    assert mirror.rows(
        "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relid = 'zoho.products'::regclass"
    ) == [{"n_tup_upd": 20, "n_tup_hot_upd": 20}]


def test_no_trigger_comes_before_an_update_of_the_mirror(mirror: Mirror) -> None:
    # the row would be locked, and that written to the WAL, to ask whether it fires; 1: a row, 2: before, 16: an update
    assert (
        mirror.rows(
            "select t.tgrelid::regclass::text, t.tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid "
            "where c.relnamespace = 'zoho'::regnamespace and not t.tgisinternal and t.tgtype & 19 = 19"
        )
        == []
    )
