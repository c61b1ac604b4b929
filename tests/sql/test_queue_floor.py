"""Where the reading of a queue begins: behind what was read, and never above what may still come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.db.servers import Database
from tests.journeys.waiting import wait_until
from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror

pytestmark = pytest.mark.new_database

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


def events(mirror: Mirror, first: int, count: int) -> None:
    """Webhooks of so many products."""
    mirror.conn.execute(
        """insert into tds.inbox (received_at, organization_id, entity, source, shape, event, record_id, observed_at, body)
           select now(), %s, 'products', 'webhook', 'webhook', 'upsert', n::text, now(),
                  format('{"item": {"item_id": "%%s", "name": "Cable", "last_modified_time": "%%s"}}', n, %s::text)
             from generate_series(%s::int, %s::int) n""",
        [ORGANIZATION, MOMENT, first, first + count - 1],
    )


def entries_read(mirror: Mirror) -> dict[str, int]:
    """How many entries of each index have been gone over, of rows that are there and of rows that are not."""
    mirror.conn.execute("select pg_stat_force_next_flush()")
    hot = "'{tds.inbox_open,tds.inbox_held,tds.claim,pgmq.q_tds_products}'::regclass[]"
    counts = mirror.rows(
        f"""select i.indexrelname as name, i.idx_tup_read as entries from pg_stat_user_indexes i where i.relid = any ({hot})
            union all
            -- one that reads a table whole reads all
            select t.relname, 100000 * t.seq_scan from pg_stat_user_tables t where t.relid = any ({hot})"""
    )
    return {row["name"]: row["entries"] for row in counts}


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


def test_who_drains_a_queue_that_looks_idle_moves_its_floor_where_it_has_to(mirror: Mirror) -> None:
    work_off(mirror, 2000)
    mirror.conn.execute("update tds.reading_floor set floor = 1 where relation = 'pgmq.q_tds_products'")
    for _ in range(2):  # it is known by the second look that nobody sends any more
        mirror.process()
    assert mirror.value(FLOOR) == 2001
    mirror.conn.execute("alter table pgmq.q_tds_products alter msg_id restart")
    events(mirror, 1, 2)
    assert sum(mirror.process()["applied"] for _ in range(2)) == 2


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


def test_a_small_batch_passes_over_what_an_old_snapshot_keeps(database: Database, mirror: Mirror) -> None:
    claims = "insert into tds.claim (queue, worker, backend_pid, claimed_at, msg_ids, inbox_ids, received_ats, redelivered)"
    one = " select 'products', '', 0, now(), '{}', '{}', '{}', false"
    first = 1

    def read_by_a_call() -> dict[str, int]:
        """Of a small batch, by a session that knew the tables when they were small."""
        nonlocal first
        # its claim moves the floor
        mirror.conn.execute(
            "select setval('tds.claim_claim_id_seq', nextval('tds.claim_claim_id_seq') / 100 * 100 + 99)"
        )
        events(mirror, first, 5)
        first += 5
        before = entries_read(mirror)
        assert mirror.process("products")["applied"] == 5
        return {name: entries - before[name] for name, entries in entries_read(mirror).items()}

    for _ in range(6):
        fresh = read_by_a_call()
    with old_snapshot(database):
        with database.connect(autocommit=True) as other:
            events(mirror, first, 3000)
            first += 3000
            other.execute("call tds.process_batch('products', 1000, null)")
            other.execute(f"{claims}{one} from generate_series(1, 3000)")
            other.execute("delete from tds.claim")
            other.execute("select pg_stat_force_next_flush()")
        for stage in ("never analysed", "analysed"):
            read_by_a_call()
            # of all that is dead, 3,000 rows, each a table, a floor trails by 500 at most, which may be read twice
            for name, entries in read_by_a_call().items():
                assert entries < fresh[name] + 1200, (stage, name)
            mirror.conn.execute("analyze")


def test_a_claim_that_is_not_committed_yet_is_above_the_floor(database: Database, mirror: Mirror) -> None:
    far = "select setval('tds.claim_claim_id_seq', nextval('tds.claim_claim_id_seq') / 100 * 100 + 1199)"
    events(mirror, 1, 5)
    with database.connect() as worker:
        pid = worker.info.backend_pid
        [claim] = worker.execute("select claim_id from tds.claim('products', 1000)").fetchone() or [None]
        for first in (11, 21, 31):
            mirror.conn.execute(far)
            events(mirror, first, 1)
            assert mirror.process("products")["claimed"] == 1
            assert mirror.value("select tds.claims_from()") <= claim
        worker.commit()
    session = "select exists (select from pg_stat_activity where pid = %s)"
    wait_until(lambda: not mirror.value(session, pid), "its session ends")
    assert mirror.process("products")["applied"] == 5
    mirror.conn.execute(far)
    events(mirror, 41, 1)
    mirror.process("products")
    assert mirror.value("select tds.claims_from()") > claim, "it moves on"


def test_a_queue_that_somebody_has_locked_costs_the_others_nothing(
    database: Database, mirror: Mirror
) -> None:
    mirror.conn.execute("update tds.setting set value = '50' where name = 'lock_wait_ms'")
    events(mirror, 1, 1)
    mirror.receive("currencies", {"currencies": [{"currency_id": "1", "currency_code": "USD"}]}, "list")
    told: list[str] = []
    mirror.conn.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    with database.connect() as other:
        other.execute("lock table pgmq.q_tds_products in access exclusive mode")
        assert mirror.process()["applied"] == 1
        other.rollback()
    assert ["products was put back" in said for said in told] == [True], told
    assert mirror.process()["applied"] == 1
