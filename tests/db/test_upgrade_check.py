"""`tds db upgrade --check`: what is due, what it locks, how long it waits and what it breaks, without touching anything."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import LiteralString

import pytest
from click.testing import CliRunner
from psycopg import Connection

from tds_cli.exits import UPGRADE_DUE
from tds_cli.main import main
from tds_db import upgrade as upgrade_module
from tds_db.check import READERS, WRITERS, Lock, check, every_time, existing, locks_of
from tds_db.sqlfiles import DIRECTORY, read_functions, read_migrations
from tds_db.status import read_orphans
from tds_db.upgrade import _transaction, upgrade
from tests.db.conftest import Files
from tests.db.servers import Database

# What this session locks so that others, who read or write, wait: relations that others see, not their partitions' own.
LOCKED: LiteralString = """
    select distinct format('%%I.%%I', n.nspname, t.relname),
           case when l.mode = 'AccessExclusiveLock' then 'readers and writers' else 'writers' end
      from pg_locks as l
      join pg_class as c on c.oid = l.relation and c.relkind <> 'c'
      left join pg_index as i on i.indexrelid = c.oid
      join pg_class as t
        on t.oid = coalesce(pg_partition_root(coalesce(i.indrelid, c.oid)), i.indrelid, c.oid)
      join pg_namespace as n on n.oid = t.relnamespace and n.nspname in ('tds', 'zoho', 'public')
     where l.pid = pg_backend_pid() and l.locktype = 'relation'
       and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
       and c.oid = any (%s::oid[])"""
THERE: LiteralString = (
    "select array_agg(oid) from pg_class where relnamespace::regnamespace::text in ('tds', 'zoho', 'public')"
)


OLDER = {"0002_mirror", "0026_bodies", "0044_dashboard", "0053_history"}


def locked(conn: Connection, there: list[int]) -> set[tuple[str, str]]:
    return set(conn.execute(LOCKED, [there]).fetchall())


def said(locks: Iterable[Lock]) -> set[tuple[str, str]]:
    """What is told; who keeps readers off keeps writers off."""
    told = {(lock.relation, lock.waits) for lock in locks}
    return told | {(relation, WRITERS) for relation, _ in told}


def test_each_migration_locks_what_is_said(empty_database: Database, files: Files) -> None:
    for file in (files.directory / "functions").rglob("*.sql"):
        file.unlink()
    for file in (files.directory / "migrations").iterdir():
        file.unlink()
    upgrade(empty_database.conninfo, directory=files.directory)
    seen, unsaid = 0, {}
    for migration in read_migrations(DIRECTORY / "migrations"):
        with _transaction(empty_database.conninfo, "5s") as conn:
            conn.execute("set local role tds_owner")
            [(there,)] = conn.execute(THERE).fetchall()
            told = existing(conn, locks_of([migration]))
            migration.run(conn)
            found = locked(conn, there or [])
            seen += len(found)
            if missing := found - said(told):
                unsaid[migration.id] = missing
    # whose code makes up the names; a newer one says them in its head, as it must: -- locks: tds.one, zoho.other
    assert unsaid.keys() <= OLDER, unsaid
    assert seen > 50, "there was something to see"


def test_all_function_files_lock_what_is_said(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    found: set[tuple[str, str]] = set()
    with database.connect() as conn:
        [(there,)] = conn.execute(THERE).fetchall()

    def look(conn: Connection) -> list[str]:
        found.update(locked(conn, there))
        return read_orphans(conn)

    monkeypatch.setattr(upgrade_module, "read_orphans", look)
    upgrade(database.conninfo, dry_run=True)
    assert len(found) > 50
    with database.connect() as conn:
        assert found - said(every_time(conn, read_functions(DIRECTORY / "functions"))) == set()


def told(database: Database, *options: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(
        main,
        ["db", "upgrade", "--check", *options],
        env={"TDS_DATABASE_URL": database.conninfo, "TDS_ENV_FILE": ""},
    )
    return done.exit_code, done.stdout, done.stderr


def test_an_upgraded_database_is_up_to_date(database: Database) -> None:
    assert told(database) == (0, "Up to date.\n", "")
    with database.connect(autocommit=True) as conn:
        conn.execute("alter function tds.now() set work_mem = '1MB'")
    code, said_, _ = told(database)
    assert (code, "overwrites function tds.now() (changed by hand)" in said_) == (UPGRADE_DUE, True)


def test_a_database_without_tds_is_told_of_all(empty_database: Database) -> None:
    code, _, _ = told(empty_database)
    plan = json.loads(told(empty_database, "--json")[1])
    assert (code, plan["due"], plan["migrations"][0]["locks"], plan["breaking"]) == (
        UPGRADE_DUE,
        True,
        [],
        [],
    )
    with empty_database.connect() as conn:
        assert conn.execute("select to_regnamespace('tds')").fetchone() == (None,)


PENDING = """\
-- What a thing is called.
-- breaking: workers before 0.9 write things without a name
-- locks: tds.hidden
-- depends: 0001_first
alter table tds.thing add column name text not null default '';
create index thing_name on tds.thing (name);
create index other_name on tds.other (id);
do $$ begin execute 'alter table tds.' || 'hidden' || ' add column name text'; end $$;
"""


def test_locks_waits_and_what_breaks_are_told_and_nothing_is_touched(
    empty_database: Database, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.migration(
        "0001_first.sql",
        "create table tds.thing (id int); create table tds.other (id int); create table tds.hidden ();",
    )
    upgrade(empty_database.conninfo, directory=files.directory)
    files.migration("0002_name.sql", PENDING)
    files.function("20_layer/two.sql", "create or replace view tds.two as select id from tds.thing;")
    with empty_database.connect() as holder:
        holder.execute("set application_name = 'a report'")
        holder.execute("lock table tds.thing in access share mode")
        holder.execute("select pg_sleep(0.02)")
        # nobody is waited for, whoever holds what
        plan = check(empty_database.conninfo, lock_timeout="10ms", attempts=4, directory=files.directory)
    [step] = plan.migrations
    assert step.locks == [Lock("tds.hidden", READERS), Lock("tds.other", WRITERS), Lock("tds.thing", READERS)]
    assert (step.runs_code, step.breaking) == (True, "workers before 0.9 write things without a name")
    assert [step.name for step in plan.functions] == ["functions/20_layer/two.sql"]
    assert [(h.relation, h.application) for h in plan.holders] == [("tds.thing", "a report")]
    monkeypatch.setattr("tds_cli.db.check", lambda *_, **__: plan)
    code, text, _ = told(empty_database)
    assert code == UPGRADE_DUE
    for words in (
        "migration 0002_name; runs code",
        "locks tds.other against writers",
        "locks tds.thing against readers and writers",
        "breaking: workers before 0.9",
        "within 10ms (TDS_LOCK_TIMEOUT)",
        "4 times in all",
        "(a report) has used tds.thing",
        "Breaking: stop the receivers and workers of the version before",
    ):
        assert words in text, words
    report = upgrade(empty_database.conninfo, directory=files.directory)
    assert report.breaking == {"0002_name": "workers before 0.9 write things without a name"}
    monkeypatch.setattr("tds_cli.db.upgrade", lambda *_, **__: report)
    done = CliRunner().invoke(main, ["db", "upgrade"], env={"TDS_DATABASE_URL": empty_database.conninfo})
    assert "breaking  0002_name: workers before 0.9" in done.output
