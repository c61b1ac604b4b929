"""A drill of a queue's floor: whatever is done to a queue, in any order, no message stays below where its reading begins."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from tests.db.servers import Database
from tests.journeys.waiting import wait_until
from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror

SEEDS = [int(seed) for seed in os.environ.get("TDS_DRILL_SEEDS", "6").split(",")]
STEPS = int(os.environ.get("TDS_DRILL_STEPS", "30"))
QUEUE = "tds_products"


class Drill:
    """A queue and whoever sends to it, works on it, dies over it, or sets its messages by hand.

    Args:
        database: a fresh one.
        mirror: a session of it.
        seed: of all that is random.
    """

    def __init__(self, database: Database, mirror: Mirror, seed: int) -> None:
        self.database = database
        self.mirror = mirror
        self.random = random.Random(seed)
        self.told: list[str] = []
        self.senders: list[psycopg.Connection] = []
        self.stack = ExitStack()
        self.number = 0
        mirror.conn.execute("update tds.setting set value = '1' where name = 'lock_wait_ms'")
        mirror.conn.execute("select setseed(%s)", [self.random.random()])
        self.events(mirror.conn, 20)
        mirror.process()

    def events(self, conn: psycopg.Connection, count: int) -> None:
        """Webhooks of products; each tenth has a price that cannot be read."""
        conn.execute(
            """insert into tds.inbox (received_at, organization_id, entity, source, shape, event, record_id, observed_at, body)
               select now(), %s, 'products', 'webhook', 'webhook', 'upsert', n::text, now(),
                      jsonb_build_object('item', jsonb_build_object('item_id', n::text, 'name', 'Cable', 'status', 'active',
                          'rate', case when n %% 10 = 0 then 'dear' else '1.5' end, 'last_modified_time', %s::text))::text
                 from generate_series(%s::int, %s::int) n""",
            [ORGANIZATION, MOMENT, self.number + 1, self.number + count],
        )
        self.number += count

    def receive(self) -> None:
        """Events come."""
        self.events(self.mirror.conn, self.random.choice((1, 7, 40)))

    def flood(self) -> None:
        """Messages come again, of an event that is done: they cost least."""
        self.mirror.conn.execute(
            """select count(*) from pgmq.send_batch(%s, (
                   select array_fill(jsonb_build_object('inbox_id', i.inbox_id, 'received_at', i.received_at, 'page', false), array[%s])
                     from tds.inbox i order by i.inbox_id limit 1))""",
            [QUEUE, self.random.choice((300, 600, 1500))],
        )

    def send_slowly(self) -> None:
        """Events come whose transaction has not ended."""
        if len(self.senders) < 3:
            sender = self.stack.enter_context(self.database.connect())
            self.events(sender, self.random.choice((1, 7)))
            self.senders.append(sender)

    def claim_slowly(self) -> None:
        """A worker takes a batch, in a transaction that has not ended, while the claims' numbers have gone far."""
        if len(self.senders) < 3:
            self.mirror.conn.execute(
                "select setval(s.seq, (nextval(s.seq) / 100 + 6) * 100 - %s)"
                " from (select pg_get_serial_sequence('tds.claim', 'claim_id') as seq) s",
                [self.random.choice((1, 2))],
            )
            worker = self.stack.enter_context(self.database.connect())
            worker.execute("select from tds.claim('products', 5)")
            self.senders.append(worker)

    def end_sending(self) -> None:
        """A slow sender, or worker, commits; or it fails, so that its numbers are never used."""
        if self.senders:
            sender = self.senders.pop(self.random.randrange(len(self.senders)))
            if self.random.random() < 0.7:
                sender.commit()
            sender.close()

    def work(self) -> None:
        """A worker takes some batches, and dies over the last one, early or late."""
        with self.database.connect(autocommit=True) as worker:
            for _ in range(self.random.randrange(1, 5)):
                batch = self.random.choice((5, 200, 1000))
                claim = worker.execute("select claim_id from tds.claim('products', %s)", [batch]).fetchone()
                if not claim or claim[0] is None:
                    return
                if self.random.random() < 0.2:
                    return
                worker.execute("create temp table done as select a.touches from tds.apply_claim(%s) a", claim)
                if self.random.random() < 0.1:
                    return
                worker.execute("select tds.finish_claim(%s, (select d.touches from done d))", claim)
                worker.execute("select tds.unlock_claim(%s)", claim)
                worker.execute("drop table done")

    def drain(self) -> None:
        """All that can be seen is worked off."""
        self.mirror.process("products", self.random.choice((200, 1000)))

    def drain_locked(self) -> None:
        """The same, while somebody holds a row: its event is parked."""
        with self.database.connect() as holder:
            holder.execute("select from zoho.products where zoho_item_id = '2' for update")
            self.events(self.mirror.conn, 3)
            self.mirror.conn.execute(
                """insert into tds.inbox (received_at, organization_id, entity, source, shape, event, record_id, observed_at, body)
                   values (now(), %s, 'products', 'webhook', 'webhook', 'upsert', '2', now(),
                           '{"item": {"item_id": "2", "name": "Rope"}}')""",
                [ORGANIZATION],
            )
            self.drain()
            holder.rollback()

    def hide(self) -> None:
        """Somebody reads, and forgets it; or sets a time by hand."""
        self.mirror.conn.execute("select count(*) from tds.read_messages('products', %s)", [30])
        self.set_vt(600)

    def show(self) -> None:
        """Messages are seen again, late, some by a time that is past."""
        self.set_vt(0)
        self.set_vt(-3600)

    def set_vt(self, seconds: int) -> None:
        """Sets when some of the messages can be seen."""
        # what is in work is locked
        some = f"select m.msg_id from pgmq.q_{QUEUE} m where random() < %s for update skip locked"
        self.mirror.conn.execute(
            f"select count(*) from pgmq.set_vt(%s, array({some}), %s)",
            [QUEUE, self.random.choice((0.01, 0.3)), seconds],
        )

    def purge(self) -> None:
        """The queue is emptied, and filled from the inbox again."""
        while self.senders:
            self.end_sending()
        self.mirror.conn.execute("select pgmq.purge_queue(%s)", [QUEUE])
        self.mirror.conn.execute("select tds.requeue_unprocessed()")

    def replay(self) -> None:
        """What was dead comes again."""
        self.mirror.conn.execute("select tds.replay('products', details => false)")

    def vacuum(self) -> None:
        """What no snapshot sees goes."""
        self.mirror.conn.execute(f"vacuum pgmq.q_{QUEUE}")

    def wait(self) -> None:
        """An hour goes by: what is parked is due."""
        self.mirror.conn.execute(
            "select set_config('tds.fake_now', (tds.now() + interval '1 hour')::text, false)"
        )

    def unseen(self) -> int:
        """How many messages, and claims, no reading would find."""
        return int(
            self.mirror.value(
                f"""select (select count(*) from tds.floor_of('pgmq.q_{QUEUE}') f
                                join pgmq.q_{QUEUE} m on m.msg_id < f.floor and m.msg_id <> all (f.aside))
                         + (select count(*) from tds.floor_of('tds.claim') f
                              join tds.claim c on c.claim_id < f.floor)"""
            )
        )

    def run(self, steps: int) -> None:
        """Does everything once at least, in any order, and looks after each whether all can be found."""
        often = (
            self.receive,
            self.flood,
            self.send_slowly,
            self.claim_slowly,
            self.end_sending,
            self.work,
            self.drain,
        )
        seldom = (
            self.drain_locked,
            self.hide,
            self.show,
            self.purge,
            self.replay,
            self.vacuum,
            self.wait,
        )
        steps_of = [*often, *seldom, *self.random.choices(often * 4 + seldom, k=steps)]
        self.random.shuffle(steps_of)
        for doing in steps_of:
            self.told.append(doing.__name__)
            doing()
            assert self.unseen() == 0, " ".join(self.told)

    def end(self) -> None:
        """Works all off, and looks whether each event that was committed has its outcome."""
        while self.senders:
            self.end_sending()
        self.mirror.conn.execute(
            f"select count(*) from pgmq.set_vt(%s, array(select m.msg_id from pgmq.q_{QUEUE} m), 0)", [QUEUE]
        )
        others = """select count(*) from pg_stat_activity
                     where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()"""
        wait_until(lambda: self.mirror.value(others) == 0, "who died is gone")
        for _ in range(5):
            self.wait()
            self.mirror.process()
        assert self.mirror.value(f"select count(*) from pgmq.q_{QUEUE}") == 0, " ".join(self.told)
        assert self.mirror.value("select count(*) from tds.inbox_open") == 0, " ".join(self.told)
        assert self.mirror.value("select count(*) from tds.claim") == 0, " ".join(self.told)
        without = """select count(*) from tds.inbox i
                      where not exists (select from tds.inbox_outcome o where o.inbox_id = i.inbox_id)"""
        assert self.mirror.value(without) == 0, " ".join(self.told)


@pytest.fixture(params=SEEDS)
def drill(database: Database, mirror: Mirror, request: pytest.FixtureRequest) -> Iterator[Drill]:
    drill = Drill(database, mirror, request.param)
    with drill.stack:
        yield drill


def test_no_message_stays_below_the_floor(drill: Drill) -> None:
    drill.run(STEPS)
    drill.end()
    assert drill.mirror.value("select (tds.floor_of('pgmq.q_tds_products')).floor") > 0, "it moved"


def test_a_floor_that_is_too_high_is_seen_and_healed(drill: Drill) -> None:
    while drill.mirror.value("select (tds.floor_of('pgmq.q_tds_products')).floor") == 0:
        drill.flood()
        drill.drain()
    drill.receive()
    drill.mirror.conn.execute(
        f"update tds.reading_floor f set floor = (select s.last_value + 1 from pgmq.q_{QUEUE}_msg_id_seq s)"
    )
    assert drill.unseen() > 0, "a step would fail"
    assert drill.mirror.process()["claimed"] == 0
    [healed] = drill.mirror.rows("select * from tds.heal(false) where step = 'floors'")
    assert "lay below its floor" in healed["act"], healed
    drill.end()
