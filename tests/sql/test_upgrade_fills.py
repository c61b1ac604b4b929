"""Columns and tables that an upgrade brings are filled from the documents that are stored, without a call to Zoho."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
from psycopg import sql

from tds_db.sqlfiles import DIRECTORY
from tds_db.upgrade import upgrade
from tests.db.servers import Database
from tests.sql.conftest import Mirror
from tests.sql.test_bodies import MONEY

BEFORE = "0026"


def older(directory: Path) -> Path:
    """A directory like db/ as it was before the migration that brings the columns, without any function."""
    (directory / "functions").mkdir(parents=True)
    (directory / "migrations").mkdir()
    for each in (DIRECTORY / "migrations").glob("[0-9]*.sql"):
        if each.name < BEFORE:
            shutil.copy(each, directory / "migrations")
    return directory


def tables(conn: psycopg.Connection) -> dict[str, list[str]]:
    """Of each table of the mirror (a partitioned one by its partitions) the columns that are stored."""
    return dict(
        conn.execute(
            "select c.relname, array_agg(a.attname::text order by a.attname) from pg_class c"
            " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''"
            " where c.relnamespace = 'zoho'::regnamespace and c.relkind = 'r' group by c.relname order by c.relname"
        ).fetchall()
    )


def contents(conn: psycopg.Connection, table: str, columns: list[str]) -> list[str]:
    """The rows of a table as text."""
    # when, how often and by which event a row was written is no part of what it says
    said = [each for each in columns if each not in {"synced_at", "sync_version", "sync_event"}]
    kept = sql.SQL(", ").join(map(sql.Identifier, said))
    return [
        row
        for (row,) in conn.execute(
            sql.SQL("select to_jsonb(r)::text from (select {} from {}) r order by 1").format(
                kept, sql.Identifier("zoho", table)
            )
        )
    ]


def carry(source: psycopg.Connection, target: psycopg.Connection) -> list[str]:
    """The rows of one mirror into another, as far as that one has tables and columns for them."""
    carried = []
    there = tables(source)
    for table, columns in tables(target).items():
        known = sql.SQL(", ").join(map(sql.Identifier, sorted(set(columns) & set(there.get(table, ())))))
        name = sql.Identifier("zoho", table)
        with (
            source.cursor().copy(sql.SQL("copy (select {} from {}) to stdout").format(known, name)) as rows,
            target.cursor().copy(sql.SQL("copy {} ({}) from stdin").format(name, known)) as into,
        ):
            for block in rows:
                into.write(block)
        carried.append(table)
    return carried


def test_an_older_database_has_after_the_upgrade_what_a_new_one_has(
    mirror: Mirror, empty_database: Database, tmp_path: Path
) -> None:
    for entity, (body, _, _) in MONEY.items():
        mirror.receive(entity, body, "detail")
    assert mirror.process()["applied"] == len(MONEY)

    upgrade(empty_database.conninfo, directory=older(tmp_path / "older"))
    with empty_database.connect(autocommit=True) as conn:
        assert "contact_persons" not in tables(conn)
        assert "invoices" in carry(mirror.conn, conn)
    upgrade(empty_database.conninfo)

    with empty_database.connect(autocommit=True) as conn:
        now = tables(conn)
        assert now == tables(mirror.conn)
        for table, columns in now.items():
            assert contents(conn, table, columns) == contents(mirror.conn, table, columns), table
        assert conn.execute("select count(*) from tds.wanted_detail").fetchone() == (0,), (
            "nothing is asked of Zoho"
        )
        assert conn.execute("select count(*) from tds.column_to_fill").fetchone() == (0,)
