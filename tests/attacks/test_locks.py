"""A login without any grant takes every advisory lock it can think of, and waits for those that it sees: nobody's work waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from tds_db.upgrade import upgrade
from tests.db.servers import Database
from tests.journeys.waiting import wait_until
from tests.sql.conftest import ORGANIZATION, Mirror, mirror, product

__all__ = ["mirror"]

ACCOUNT = "a" * 64
# Whoever waits for a lock is refused it after so long. The stranger holds on for the whole test.
IMPATIENT = "set lock_timeout = '2s'"
CLASSES = "array[7311, 7312, 7313, 7314, 1415861073]"
NAMES = [
    *("tds.upgrade", "tds.ensure_partition", "tds.set_own_defaults", "tds.take_images", "zoho.contacts"),
    *(f"zoho.contacts {ORGANIZATION}", f"tds.unknown_asked {ORGANIZATION}", f"tds token {ACCOUNT}"),
    *(f"tds.request_pull {ORGANIZATION} {entity}" for entity in ("products", "customers", "bills")),
]


@contextmanager
def login_without_grants(database: Database) -> Iterator[psycopg.Connection]:
    """A session of somebody who may connect, and nothing else."""
    with database.connect(autocommit=True) as owner:
        name = f"stranger_of_{owner.info.dbname}"
        owner.execute(sql.SQL("create role {} login password 'stranger'").format(sql.Identifier(name)))
        try:
            with psycopg.connect(database.dsn(user=name, password="stranger"), autocommit=True) as conn:
                yield conn
        finally:
            owner.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = %s", [name]
            )
            owner.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def take_all(stranger: psycopg.Connection, near: int) -> None:
    """Each lock that somebody could guess, exclusively: every class's low numbers, and pids to come."""
    stranger.execute(f"select pg_advisory_lock(c, n) from unnest({CLASSES}) c, generate_series(0, 500) n")
    stranger.execute(
        "select pg_advisory_lock(1415861073, n) from generate_series(%s::int - 10, %s::int + 300) n",
        [near, near],
    )
    stranger.execute(
        "select pg_advisory_lock(hashtextextended(name, 0)) from unnest(%s::text[]) name", [NAMES]
    )


def test_no_work_waits_for_a_stranger(database: Database, mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("1")}, shape="detail")
    mirror.receive("customers", {"contact": {"contact_id": "1", "contact_type": "customer"}}, shape="detail")
    mirror.conn.execute("update tds.job set since = '2026-01-01' where job = 'ensure_partitions'")
    with login_without_grants(database) as stranger:
        take_all(stranger, mirror.conn.info.backend_pid)
        mirror.conn.execute(IMPATIENT)
        mirror.conn.execute("update tds.setting set value = '2000' where name = 'lock_wait_ms'")
        assert mirror.process()["applied"] == 2
        assert mirror.value("call tds.run_due_jobs()")["ensure_partitions"] == "done"
        assert mirror.value("call tds.run_job('observe_drift')") == "done"
        assert mirror.value("select tds.request_pull('bills', '{}', %s)", ORGANIZATION)
        assert mirror.value("select tds.ensure_partition('2031-01-01')") is True
        assert mirror.value("select tds.ensure_partition('2031-01-01')") is False
        mirror.conn.execute("select tds.set_own_defaults(), tds.take_images(%s)", [ORGANIZATION])
        # held by the stranger, it would let ten through
        mirror.conn.execute("update tds.setting set value = '13' where name = 'unknown_details_per_hour'")
        hours = "select tds.unknown_hours(%s, 14, tds.now()) as all_of_them offset 0"
        this_hour = f"select count(*) from ({hours}) h cross join unnest(h.all_of_them) u(hour) where u.hour = h.all_of_them[1]"
        assert mirror.value(this_hour, ORGANIZATION) == 13
        mirror.conn.execute("select tds.set_budget(%s)", [ORGANIZATION])
        assert mirror.value("select pg_backend_pid() = any (tds.living_sessions())")
        assert mirror.value("select state from tds.access_token(%s)", ACCOUNT) == "refresh"
        mirror.conn.execute("select tds.store_access_token(%s, 't', '', 3600, tds.now())", [ACCOUNT])
        mirror.conn.execute("reset lock_timeout")
        assert upgrade(database.conninfo, lock_timeout="2s").migrations == []
        # the stranger's are no one's
        assert stranger.info.backend_pid not in {
            row["pid"] for row in mirror.rows("select pid from tds_locks where lock in ('job', 'tds token')")
        }


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        ("select * from tds.claim('products', 10)", "claim"),
        ("select tds.begin_job('observe_drift', 'by hand', false)", "job"),
        (f"select tds.access_token('{ACCOUNT}')", "token"),
        (f"select tds.set_budget('{ORGANIZATION}'), tds.reserve_calls('{ORGANIZATION}')", "call"),
    ],
)
def test_whoever_waits_for_the_lock_of_one_who_dies_does_not_pass_for_it(
    database: Database, mirror: Mirror, begin: str, again: str
) -> None:
    """The stranger sees the lock in pg_locks, waits for it, and has it once its holder is gone."""
    mirror.receive("products", {"item": product("1")}, shape="detail")
    held = "select classid::bigint::int, objid::bigint::int from pg_locks where locktype = 'advisory' and pid = %s and granted"
    with login_without_grants(database) as stranger:
        with database.connect(autocommit=True) as dying:
            dying.execute(begin.encode())
            victim = dying.info.backend_pid
            keys = stranger.execute(held, [victim]).fetchall()
            assert len(keys) == 1
            waiting = threading.Thread(
                target=stranger.execute, args=["select pg_advisory_lock(%s, %s)", keys[0]]
            )
            waiting.start()
            waits = "select count(*) from pg_locks where pid = %s and not granted"
            wait_until(lambda: mirror.value(waits, stranger.info.backend_pid), "the stranger waits")
        waiting.join()
        assert stranger.execute(held, [stranger.info.backend_pid]).fetchall() == keys
        mirror.conn.execute(IMPATIENT)
        if again == "claim":
            assert mirror.process()["applied"] == 1
        elif again == "job":
            assert mirror.value("call tds.run_job('observe_drift')") == "done"
        elif again == "token":
            assert mirror.value("select state from tds.access_token(%s)", ACCOUNT) == "refresh"
        else:
            assert mirror.value("select tds.living_sessions()") == [stranger.info.backend_pid]
            mirror.conn.execute("update tds.setting set value = '0' where name = 'api_orphan_seconds'")
            mirror.conn.execute("select tds.reserve_calls(%s)", [ORGANIZATION])
            lost = "select count(*) from tds.api_call where backend_pid = %s and settled_at is null"
            assert mirror.value(lost, victim) == 0


def test_a_stranger_does_not_pass_for_a_worker(database: Database, mirror: Mirror) -> None:
    with login_without_grants(database) as stranger:
        stranger.execute("set application_name = 'tds/worker/elsewhere/1'")
        wait_until(
            lambda: mirror.value(
                "select count(*) from pg_stat_activity where application_name = 'tds/worker/elsewhere/1'"
            ),
            "the name is seen",
        )
        assert mirror.rows("select * from tds_workers") == []
        assert mirror.value("select bool_and(runner is distinct from 'worker') from tds_jobs")


def test_what_keeps_others_out_cannot_be_locked_by_a_stranger(database: Database) -> None:
    with login_without_grants(database) as stranger:
        for statement in (
            "select * from tds.lease for update",
            "lock table tds.lease in access share mode",
            "lock table tds.partition_lock in access share mode",
            "select tds.take_turn('tds.take_images')",
            "select tds.try_lease('job', 'observe_drift')",
            "select nextval('tds.lease_number')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), stranger.transaction():
                stranger.execute(statement.encode())
