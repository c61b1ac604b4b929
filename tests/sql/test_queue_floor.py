"""Where the reading of a queue begins: behind what was read, and never above what may still come."""

from __future__ import annotations

from tests.db.servers import Database
from tests.sql.conftest import Mirror

SEND = (
    "select count(*) from pgmq.send_batch('tds_products', array_fill('{\"page\": false}'::jsonb, array[%s]))"
)
READ = "select array_agg(m.msg_id order by m.msg_id) from tds.read_messages('products', %s) m"
DONE = "select tds.queue_done('products', %s::bigint[])"
FLOOR = "select (tds.queue_floor('products')).floor"


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
