"""Where the reading of a queue begins: behind what was read, and never above what may still come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.db.servers import Database
from tests.sql.conftest import Mirror

SEND = (
    "select count(*) from pgmq.send_batch('tds_products', array_fill('{\"page\": false}'::jsonb, array[%s]))"
)
READ = "select array_agg(m.msg_id order by m.msg_id) from tds.read_messages('products', %s) m"
DONE = "select tds.queue_done('products', %s::bigint[])"
FLOOR = "select (tds.floor_of('pgmq.q_tds_products')).floor"


@contextmanager
def old_snapshot(database: Database) -> Iterator[psycopg.Connection]:
    """Somebody reads, and goes to lunch: what is deleted meanwhile stays."""
    with database.connect(application_name="a report") as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("select /* of the month */ count(*) from tds.inbox_open")
        yield reader
        reader.rollback()


def work_off(mirror: Mirror, events: int) -> None:
    mirror.conn.execute(SEND, [events])
    while ids := mirror.value(READ, 400):
        mirror.conn.execute(DONE, [ids])


def test_the_floor_follows_and_no_uncommitted_message_falls_below_it(
    database: Database, mirror: Mirror
) -> None:
    work_off(mirror, 1200)
    assert 700 < mirror.value(FLOOR) <= 1201
    with database.connect() as sender:
        sender.execute(SEND, [1])
        work_off(mirror, 2000)
        assert mirror.value(FLOOR) <= 1201
        sender.commit()
    assert mirror.value(READ, 400) == [1201]


def test_what_was_emptied_or_entered_by_hand_is_read(mirror: Mirror) -> None:
    work_off(mirror, 1200)
    mirror.conn.execute(
        "insert into pgmq.q_tds_products (msg_id, vt, message) overriding system value"
        " values (7, now(), '{\"page\": false}')"
    )
    assert mirror.value(READ, 400) is None
    assert mirror.value("select count(*) from tds.heal_floors(false)") == 1
    assert mirror.value(READ, 400) == [7]
    work_off(mirror, 1200)
    mirror.conn.execute("truncate pgmq.q_tds_products restart identity")
    mirror.conn.execute(SEND, [1])
    assert mirror.value(READ, 400) == [1]


def test_health_names_who_holds_the_old_snapshot(database: Database, mirror: Mirror) -> None:
    mirror.conn.execute(
        "update tds.setting set value = value || %s where name = 'health_oldest_transaction'",
        [json.dumps({"warning": 0})],
    )
    with old_snapshot(database) as reader:
        work_off(mirror, 1200)
        assert mirror.value(FLOOR) > 700, "it moves all the same"
        pid, since = reader.info.backend_pid, "select xact_start::text from pg_stat_activity where pid = %s"
        [found] = mirror.rows("select * from tds.health() where name = 'oldest_transaction'")
        assert found["state"] == "warning"
        for part in (
            f"pid {pid}, user {reader.info.user}, application a report, idle in transaction",
            f"since {mirror.value(since, pid)}",
            "query: select /* of the month */",
        ):
            assert part in found["told"]
        assert "pg_terminate_backend" in found["next_step"]
    [gone] = mirror.rows("select * from tds.health() where name = 'oldest_transaction'")
    assert "a report" not in gone["told"]
