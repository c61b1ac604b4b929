"""Health and healing: each illness is planted, and found by the check that is for it, within its period, and healed where that can be.

The clock is the tests': it goes on by five minutes a step, as the jobs, a worker, a poller and a receiver do their turns. What the server
itself measures (transactions, locks) goes by the server's clock, with thresholds that a test can wait for.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database, TestServer
from tests.sql.conftest import ORGANIZATION, Mirror, product

BEGINNING = datetime(2026, 6, 9, 10, 0, tzinfo=UTC)
STEP = timedelta(minutes=5)
PROGRAMS = ("worker", "poller", "receiver")
LATEST = 9
"""Steps after which an illness that nobody found is one that nobody finds."""


class Ward:
    """A database with all that works for it, step by step."""

    def __init__(self, mirror: Mirror, database: Database) -> None:
        self.mirror = mirror
        self.database = database
        self.now = BEGINNING
        self.step = STEP
        self.working = set(PROGRAMS)
        self.stack = ExitStack()
        self.neighbours = 0
        self.products = 1000
        self.tell_time()

    def furnish(self) -> None:
        """What is the same of each."""
        self.run("update tds.job set enabled = job in ('health', 'heal'), since = tds.now()")
        self.run("select tds.accept_drift()")
        # that a job is switched off is an illness of its own; what is looked at each hour is looked at each time
        self.run("update tds.setting set value = value || '{\"minutes\": 15}' where name like 'health\\_%'")
        self.threshold("jobs_off", warning=None)
        # or else the first healing makes them
        self.run("select tds.ensure_partitions()")

    def run(self, statement: str, *parameters: Any) -> None:
        self.mirror.conn.execute(statement.encode() if not parameters else statement, parameters or None)

    def tell_time(self) -> None:
        self.run("select set_config('tds.fake_now', %s, false)", self.now.isoformat())

    def threshold(self, check: str, **changed: float | None) -> None:
        self.run(
            "update tds.setting set value = value || %s where name = 'health_' || %s",
            json.dumps(changed),
            check,
        )

    def turn(self) -> None:
        """Five minutes go by: who works does a turn, an event of a neighbour comes and is applied, due jobs are run."""
        self.now += self.step
        self.tell_time()
        for kind in sorted(self.working):
            self.run("select set_config('application_name', %s, false)", f"tds/{kind}/ward/1")
            self.run("select tds.beat(tds.now())")
        self.run("select set_config('application_name', 'ward', false)")
        self.mirror.receive(
            "currencies",
            {"currencies": [{"currency_id": str(self.neighbours), "currency_code": "USD"}]},
            "list",
        )
        self.mirror.process("currencies")
        self.neighbours += 1
        assert self.mirror.value("select count(*) from zoho.currencies") == self.neighbours, (
            "a neighbour waits"
        )
        self.mirror.conn.execute("call tds.run_due_jobs()")

    def receive_product(self) -> None:
        """An event of a product that no other tells of."""
        self.products += 1
        self.mirror.receive("products", {"item": product(str(self.products))})

    def state(self, check: str) -> Any:
        rows = self.mirror.rows("select * from tds_health where name = %s", check)
        return rows[0] if rows else None


def furnish(database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        Ward(Mirror(conn), database).furnish()


@pytest.fixture
def ward(test_server: TestServer) -> Iterator[Ward]:
    with (
        test_server.database("ward", furnish) as database,
        database.connect(autocommit=True) as conn,
        ExitStack() as stack,
    ):
        ward = Ward(Mirror(conn), database)
        ward.stack = stack
        yield ward


@dataclass(frozen=True)
class Illness:
    """What is planted, which check has to find it and as what, and how it is seen to be healed (None: by people only)."""

    plant: Callable[[Ward], object]
    check: str
    state: str
    told: str
    healed: str | None = None


def silence_program(kind: str) -> Callable[[Ward], object]:
    return lambda ward: ward.working.discard(kind)


def switch_job_off(ward: Ward) -> None:
    ward.threshold("jobs_off", warning=1)
    ward.run("update tds.job set enabled = true where job <> 'fold_counters'")


def set_something_aside(ward: Ward) -> None:
    ward.run("select tds.set_aside('observe_drift', 'event 7', '22000', 'a test''s', null, tds.now())")


def fail_a_job(ward: Ward) -> None:
    ward.run(
        "insert into tds.job (job, schedule, command, description) values ('broken', '* * * * *', 'select 1/0', 'a test''s')"
    )


def let_a_job_lie(ward: Ward) -> None:
    ward.run("update tds.job set enabled = true where job = 'ensure_partitions'")
    ward.run("update tds.job set since = tds.now() - interval '3 days' where job = 'ensure_partitions'")
    # another session is at it, and does not get on
    other = ward.stack.enter_context(ward.database.connect(autocommit=True))
    other.execute("select tds.try_lease('job', 'ensure_partitions')")


def kill_a_worker(ward: Ward) -> None:
    ward.receive_product()
    with ward.database.connect(autocommit=True) as dying:
        dying.execute("select set_config('tds.fake_now', %s, false)", [ward.now.isoformat()])
        dying.execute("select * from tds.claim('products', 10)")


def leave_a_claim(ward: Ward) -> None:
    ward.threshold("claims_stuck", warning=1)
    ward.run("update tds.setting set value = '10' where name = 'claim_stuck_minutes'")
    ward.receive_product()
    holder = ward.stack.enter_context(ward.database.connect(autocommit=True))
    holder.execute("select set_config('tds.fake_now', %s, false)", [ward.now.isoformat()])
    holder.execute("select * from tds.claim('products', 10)")


def open_transaction(ward: Ward) -> None:
    ward.run("update tds.setting set value = '0' where name = 'idle_transaction_seconds'")
    holder = ward.stack.enter_context(ward.database.connect(application_name="a DBA"))
    holder.execute("select pg_current_xact_id()")


def hold_xmin(ward: Ward) -> None:
    ward.threshold("oldest_transaction", warning=0)
    open_transaction(ward)


def wait_for_a_lock(ward: Ward) -> None:
    ward.threshold("lock_waits", warning=0.0001)
    holder = ward.stack.enter_context(ward.database.connect(application_name="a DBA"))
    holder.execute("lock table zoho.products in access exclusive mode")

    def wait() -> None:
        with (
            ward.database.connect(autocommit=True, application_name="tds/worker/ward/2") as waiting,
            suppress(psycopg.Error),
        ):
            waiting.execute("select count(*) from zoho.products")

    thread = threading.Thread(target=wait)
    thread.start()
    ward.stack.callback(thread.join)
    ward.stack.callback(holder.rollback)
    while not ward.mirror.value("select count(*) from pg_locks where not granted"):
        pass


def revoke_token(ward: Ward) -> None:
    ward.run(
        "insert into tds.api_account (account, refused, refused_at) values (repeat('a', 64), 'invalid_code', tds.now())"
    )


def use_quota_up(ward: Ward) -> None:
    ward.run(
        "insert into tds.api_budget (organization_id, day_limit, day_left, day_resets_at) "
        "values ('1', 2500, 0, tds.now() + interval '8 hours')"
    )


def pause_the_api(ward: Ward) -> None:
    ward.run(
        "insert into tds.api_budget (organization_id, paused_until, pause_reason) "
        "values ('2', tds.now() + interval '4 hours', 'code 44')"
    )


def bad_records(ward: Ward) -> None:
    for number in range(25):
        ward.mirror.receive("products", {"item": product(str(number), rate="x")})
    ward.mirror.process("products")


def silence_entity(ward: Ward) -> None:
    end = ward.now

    def hear(number: int, *entities: str) -> None:
        for each in range(10 * number, 10 * number + 5):
            for entity in entities:
                document = (
                    {"invoice": {"invoice_id": str(each)}}
                    if entity == "invoices"
                    else {"contact": {"contact_id": str(each), "contact_type": "customer"}}
                )
                ward.mirror.receive(entity, document)

    for hour in range(3 * 24, 0, -1):
        ward.now = end - timedelta(hours=hour)
        ward.tell_time()
        hear(hour, "invoices", "customers")
    ward.now = end
    for hour in (100, 101):
        # the other one goes on to the end
        ward.now += timedelta(minutes=59)
        ward.tell_time()
        hear(hour, "customers")
    ward.now += timedelta(minutes=20)
    ward.tell_time()


def autovacuum_off(ward: Ward) -> None:
    ward.run("alter table tds.inbox_open set (autovacuum_enabled = false)")


def leave_a_slot(ward: Ward) -> None:
    slot = f"left_{ward.mirror.conn.info.backend_pid}"
    ward.run(f"select pg_create_physical_replication_slot('{slot}')")
    ward.stack.callback(ward.run, f"select pg_drop_replication_slot('{slot}')")


def fill_the_disk(ward: Ward) -> None:
    ward.run("select tds.note_disk('db1', '/srv/data', 2e9::bigint, 100e9::bigint)")


def grow_fast(ward: Ward) -> None:
    fill_the_disk(ward)
    size = ward.mirror.value("select pg_database_size(current_database())")
    ward.run(
        "insert into tds.measure values ('database_bytes', tds.now() - interval '2 days', %s)",
        size - 1_000_000_000,
    )


def post_elsewhere(ward: Ward) -> None:
    ward.run("select tds.note_strays(array['/api/v2/zoho/webhook', '/wp-login.php'], array[7, 900])")


def set_a_clock_wrong(ward: Ward) -> None:
    ward.working.discard("poller")
    ward.run("select set_config('application_name', 'tds/poller/elsewhere/7', false)")
    ward.run("select tds.beat(tds.now() + interval '2 minutes')")


def lose_partitions(ward: Ward) -> None:
    lost = ", ".join(
        f"tds.{parent}_{ward.now + timedelta(days=days):%Y%m%d}"
        for parent in ("inbox", "inbox_outcome")
        for days in range(2, 20)
    )
    ward.run(f"drop table if exists {lost}")


def park_for_ever(ward: Ward) -> None:
    ward.threshold("queue_failed", warning=1)
    ward.receive_product()
    ward.run(
        "update tds.inbox_open set retry_at = tds.now() + interval '90 days', attempts = 1, error_code = '42501' where entity = 'products'"
    )
    ward.run("delete from pgmq.q_tds_products")


def crash_again_and_again(ward: Ward) -> None:
    ward.receive_product()
    ward.run(
        "update tds.inbox_open set crashes = 12, error_code = '08006', error = 'the worker vanished' where entity = 'products'"
    )


def lose_a_pull(ward: Ward) -> None:
    ward.threshold("pulls_stuck", warning=1)
    ward.run("select tds.request_pull('products', '{}', %s)", ORGANIZATION)
    ward.run("update tds.run set requested_at = tds.now() - interval '7 hours'")
    ward.run("delete from pgmq.q_tds_pull")


def lock_the_inbox_at_night(ward: Ward) -> None:
    ward.run("update tds.setting set value = '1' where name = 'keep_inbox_days'")
    ward.run("select tds.ensure_partition((tds.now() - interval '5 days')::date)")
    reader = ward.database.connect()
    reader.execute("select count(*) from tds.inbox")
    ward.run("set lock_timeout = '50ms'")
    ward.run("select tds.retain()")
    reader.close()


def write_dead_rows(ward: Ward) -> None:
    ward.run("update tds.setting set value = '1000' where name = 'dead_tuples_least'")
    # neither for its dead rows nor for its new ones may it be vacuumed between two looks
    ward.run(
        "alter table zoho.taxes set (autovacuum_vacuum_threshold = 1000000, autovacuum_vacuum_insert_threshold = -1)"
    )
    ward.run(
        "insert into zoho.taxes (organization_id, zoho_tax_id, zoho_metadata, synced_at, sync_version, sync_observed_at, sync_rank) "
        "select '1', n, '{}', now(), 1, now(), 1 from generate_series(1, 3000) n"
    )
    ward.run("delete from zoho.taxes")
    ward.run("select pg_stat_force_next_flush()")


def break_a_check(ward: Ward) -> None:
    ward.run(
        "create or replace function tds.check_connections() returns tds.finding language plpgsql stable "
        "as $$ begin return row(1/0, '', null)::tds.finding; end $$"
    )


def wait_in_vain(ward: Ward) -> None:
    now = ward.now
    ward.now = now - timedelta(minutes=40)
    ward.tell_time()
    ward.receive_product()
    ward.now = now
    ward.tell_time()


def fill_the_queue(ward: Ward) -> None:
    for number in range(60):
        ward.mirror.receive("products", {"item": product(str(number))})


def details_in_vain(ward: Ward) -> None:
    ward.run(
        "insert into tds.wanted_detail (organization_id, entity, zoho_id, reason, wanted_at, tries, error, leased_until) "
        "values ('1', 'invoices', '5', 'test', tds.now(), 4, 'code 57: no scope', tds.now() + interval '90 days')"
    )


def pull_nothing_for_days(ward: Ward) -> None:
    ward.run(
        "insert into tds.full_pull (organization_id, began_at, finished_at) "
        "values ('1', tds.now() - interval '5 days', tds.now() - interval '4 days')"
    )


def hold_deletions(ward: Ward) -> None:
    ward.run(
        "insert into tds.held_deletion (organization_id, entity, zoho_id, absent_at, state, changed_at) "
        "select '1', 'invoices', n, tds.now(), 'held', tds.now() from generate_series(1, 300) n"
    )


def lose_a_message(ward: Ward) -> None:
    ward.receive_product()
    ward.run("delete from pgmq.q_tds_products")


def heal_in_vain(ward: Ward) -> None:
    ward.run(
        "create or replace function tds.heal_pulls(dry_run boolean) returns setof tds.healed language plpgsql as "
        "$$ begin perform 1/0; end $$"
    )


def heal_again_and_again(ward: Ward) -> None:
    ward.run(
        "insert into tds.heal_log (healed_at, step, subject, act, ok) "
        "select tds.now() - n * interval '1 hour', 'claims', 'queue products', 'x', true from generate_series(0, 3) n"
    )


def fail_a_pull(ward: Ward) -> None:
    ward.run(
        "insert into tds.run (organization_id, entity, state, started_at, heartbeat_at, finished_at, error) "
        "values ('1', 'bills', 'failed', tds.now(), tds.now(), tds.now(), 'code 57')"
    )


LOG = "select count(*) > 0 from tds.heal_log where ok and step = "
ILLNESSES = {
    "worker stopped": Illness(silence_program("worker"), "workers", "critical", "none at work"),
    "poller stopped": Illness(silence_program("poller"), "poller", "warning", "none at work"),
    "receiver stopped": Illness(silence_program("receiver"), "receiver", "critical", "none at work"),
    "program hangs": Illness(
        silence_program("poller"), "programs_silent", "warning", "tds/poller/ward/1",
        "select restart_wanted_at is not null from tds.program where kind = 'poller'",
    ),
    "job switched off": Illness(switch_job_off, "jobs_off", "warning", "fold_counters"),
    "job that fails": Illness(fail_a_job, "jobs_failed", "warning", "division by zero"),
    "job that sets aside": Illness(set_something_aside, "set_aside", "warning", "observe_drift: event 7"),
    "job that nobody runs": Illness(let_a_job_lie, "jobs_overdue", "warning", "ensure_partitions"),
    "worker killed": Illness(kill_a_worker, "queue_pending", "ok", "1 events", "select count(*) = 0 from tds.claim"),
    "claim stuck": Illness(
        leave_a_claim, "claims_stuck", "warning", "products", "select count(*) = 0 from tds.claim"
    ),
    "event waits in vain": Illness(wait_in_vain, "queue_oldest", "warning", "products"),
    "queue fills": Illness(fill_the_queue, "queue_pending", "warning", "60 events"),
    "parked for ever": Illness(
        park_for_ever, "queue_failed", "warning", "42501", "select count(*) = 0 from tds.inbox_open where retry_at > tds.now()"
    ),
    "event that kills its worker": Illness(
        crash_again_and_again, "dead_letters", "warning", "12 crashes", "select count(*) = 1 from tds.dead_letter"
    ),
    "transaction left open": Illness(open_transaction, "idle_transactions", "warning", "a DBA"),
    "xmin held back": Illness(hold_xmin, "oldest_transaction", "warning", "a DBA"),
    "lock held": Illness(wait_for_a_lock, "lock_waits", "warning", "application a DBA"),
    "token revoked": Illness(revoke_token, "api_token", "critical", "invalid_code"),
    "quota gone": Illness(use_quota_up, "api_quota", "critical", "0 of 2500"),
    "API paused": Illness(pause_the_api, "api_pause", "critical", "code 44"),
    "details in vain": Illness(
        details_in_vain, "details_failed", "warning", "no scope", "select leased_until is null from tds.wanted_detail"
    ),
    "list not read for days": Illness(pull_nothing_for_days, "pulls_late", "critical", "was read last"),
    "pull failed": Illness(fail_a_pull, "pulls_failed", "warning", "code 57"),
    "pull lost": Illness(
        lose_a_pull, "pulls_stuck", "warning", "products", "select count(*) = 1 from pgmq.q_tds_pull"
    ),
    "mass deletion held": Illness(hold_deletions, "held_deletions", "critical", "300 of invoices"),
    "message lost": Illness(
        lose_a_message, "queue_pending", "ok", "1 events", "select count(*) = 1 from pgmq.q_tds_products"
    ),
    "healing that fails": Illness(heal_in_vain, "heal_failed", "warning", "division by zero"),
    "healed again and again": Illness(heal_again_and_again, "healed_again", "warning", "queue products"),
    "object changed by hand": Illness(
        lambda ward: ward.run("create or replace function tds.lock_class() returns int language sql immutable as 'select 7'"),
        "changed_by_hand", "warning", "tds.lock_class() changed",
    ),
    "burst of errors": Illness(bad_records, "error_burst", "warning", "rate"),
    "a new kind of error": Illness(bad_records, "error_news", "warning", "not a number"),
    "silence of one entity": Illness(silence_entity, "silence", "warning", "invoices: none since"),
    "webhook to a wrong address": Illness(post_elsewhere, "strays", "warning", "/api/v2/zoho/webhook"),
    "autovacuum off": Illness(
        autovacuum_off, "autovacuum", "warning", "inbox_open",
        "select not coalesce('autovacuum_enabled=false' = any (reloptions), false) from pg_class where oid = 'tds.inbox_open'::regclass",
    ),
    "dead rows left": Illness(
        write_dead_rows, "dead_tuples", "critical", "zoho.taxes", "select count(*) = 1 from tds.vacuum_wish where relation = 'zoho.taxes'"
    ),
    "transaction ids used up": Illness(lambda ward: ward.threshold("xids", warning=0), "xids", "warning", "the oldest of database"),
    "slot left": Illness(leave_a_slot, "slots", "warning", "left_"),
    "disk nearly full": Illness(fill_the_disk, "disk_free", "critical", "db1"),
    "disk fills fast": Illness(grow_fast, "disk_days", "critical", "a day"),
    "clock wrong": Illness(set_a_clock_wrong, "clock", "critical", "tds/poller/elsewhere/7"),
    "partitions missing": Illness(
        lose_partitions, "partitions_ahead", "warning", "the first day without",
        "select to_regclass('tds.inbox_' || to_char(tds.now() + interval '9 days', 'YYYYMMDD')) is not null",
    ),
    "inbox locked at night": Illness(
        lock_the_inbox_at_night, "retention", "warning", "55P03",
        "select to_regclass('tds.inbox_' || to_char(tds.now() - interval '5 days', 'YYYYMMDD')) is null",
    ),
    "a check that fails": Illness(break_a_check, "connections", "unknown", "division by zero"),
}  # fmt: skip


@pytest.mark.parametrize("name", ILLNESSES)
def test_an_illness_is_found_by_its_check_and_healed(
    name: str, ward: Ward, record_property: Callable[[str, object], None]
) -> None:
    illness = ILLNESSES[name]
    ward.turn()
    assert ward.mirror.value("select count(*) from tds_health where state <> 'ok'") == 0
    illness.plant(ward)
    planted, found, healed = ward.now, None, None
    for _ in range(LATEST):
        ward.turn()
        state = ward.state(illness.check)
        if found is None and state and state["state"] == illness.state and illness.told in state["told"]:
            found = ward.now - planted
        if healed is None and illness.healed and ward.mirror.value(illness.healed):
            healed = ward.now - planted
        if found is not None and (healed is not None or illness.healed is None):
            break
    minutes = {"found": found, "healed": healed}
    assert found is not None or illness.healed is not None, ward.mirror.rows(
        "select * from tds_health where state <> 'ok'"
    )
    assert illness.healed is None or healed is not None, ward.mirror.rows("select * from tds.heal_log")
    record_property(
        "measured", f"{name}: " + ", ".join(f"{word} after {at}" for word, at in minutes.items() if at)
    )
    if illness.healed:
        assert ward.mirror.value("select count(*) from tds.heal_log where not ok") == 0


def test_each_role_may_do_its_part(mirror: Mirror, database: Database) -> None:
    mirror.receive("products", {"item": product("1")})
    ill = {"claims": "insert into tds.claim (queue, worker, backend_pid, claimed_at, msg_ids, inbox_ids, received_ats, redelivered) "
                     "values ('products', 'gone', 1, now(), '{1}', '{1}', array[now()], false)",
           "autovacuum": "alter table tds.claim set (autovacuum_enabled = false)"}  # fmt: skip
    for statement in ill.values():
        mirror.conn.execute(statement.encode())
    with database.connect(autocommit=True, role="tds_worker") as worker:
        acts = worker.execute("select step, ok, detail from tds.heal()").fetchall()
        assert set(ill) <= {step for step, ok, _ in acts if ok}, acts
        assert all(ok for _, ok, _ in acts), acts
        assert worker.execute("select tds.observe_health()").fetchone() is not None
        assert worker.execute("select count(error) from tds.retain()").fetchone() == (0,)
        assert worker.execute("call tds.run_job('heal', false, 'x', null)").fetchone() == ("done",)
    for role in ("tds_reader", "tds_operator"):
        with database.connect(autocommit=True, role=role) as conn:
            states = conn.execute("select state, told from tds.health()").fetchall()
            assert not [told for state, told in states if state == "unknown"]
            conn.execute("select * from tds_health, tds_retention, tds_healed limit 1")
    for role in ("tds_receiver", "tds_poller"):
        with database.connect(autocommit=True, role=role) as conn:
            conn.execute("select tds.beat(now()), tds.health_summary(), tds.stop_program()")


def test_a_sign_of_life_is_written_at_most_every_ten_seconds(mirror: Mirror) -> None:
    row = "select ctid::text, beat_at from tds.program"
    mirror.conn.execute("set application_name = 'tds/worker/h/1'")
    at = BEGINNING
    seen = set()
    for _ in range(60):
        mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [at.isoformat()])
        mirror.conn.execute("call tds.process_batch()")
        [found] = mirror.rows(row)
        seen.add(found["ctid"] + str(found["beat_at"]))
        at += timedelta(seconds=1)
    assert len(seen) <= 6
    mirror.conn.execute("set application_name = 'psql'")
    mirror.conn.execute("call tds.process_batch()")
    assert len(mirror.rows(row)) == 1, "who looks by hand is no program"


def test_a_step_that_fails_costs_no_other(mirror: Mirror) -> None:
    mirror.conn.execute("alter table tds.claim set (autovacuum_enabled = false)")
    mirror.conn.execute(
        "create or replace function tds.heal_partitions(at timestamptz, dry_run boolean) returns setof tds.healed "
        "language plpgsql as $$ begin perform 1/0; end $$"
    )
    acts = {row["step"]: row["ok"] for row in mirror.rows("select step, ok from tds.heal()")}
    assert acts == {"partitions": False, "autovacuum": True}
    assert mirror.value("select count(*) from tds.heal_log") == 2


def test_a_clock_that_was_ahead_is_told_of_for_a_day(mirror: Mirror) -> None:
    """What came then stays where it is, and so does what was forgotten then: neither is anything to be mended."""

    def at(later: timedelta, *statements: str) -> None:
        mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [(BEGINNING + later).isoformat()])
        for statement in statements:
            mirror.conn.execute(statement.encode())

    def state(check: str) -> object:
        return mirror.rows("select state from tds_health where name = %s", check)[0]["state"]

    month, day = timedelta(days=200), timedelta(days=1)
    at(timedelta(0), "select tds.ensure_partitions()")
    mirror.receive("products", product("1"))
    mirror.process()
    at(month, "select tds.ensure_partitions()")
    mirror.receive("products", product("2"))
    mirror.process()
    at(month, "select tds.retain()", "select tds.observe_health()")
    assert mirror.value("select tds.kept_until('inbox') > %s", BEGINNING), "today was forgotten"
    at(STEP, "select tds.ensure_partitions()", "select tds.observe_health()")
    assert (state("clock"), state("partitions_ahead")) == ("critical", "ok")
    assert mirror.rows("select * from tds.heal(true) where step = 'partitions'") == []
    mirror.receive("products", product("3"))
    assert mirror.process()["applied"] == 1
    at(day, "select tds.observe_health()")
    assert state("clock") == "critical"
    at(day + 2 * STEP + 2 * STEP, "select tds.observe_health()")
    assert state("clock") == "ok"
    # what is newer still is of another time that it was ahead
    at(month + day)
    mirror.receive("products", product("4"))
    mirror.process()
    at(day + 9 * STEP, "select tds.observe_health()")
    assert state("clock") == "critical"


def test_whoever_keeps_the_hours_of_a_clock_is_not_silent_when_it_is_changed(mirror: Mirror) -> None:
    """Berlin's was put back on 2026-10-25: what came from eight on came from six on by UTC, and then from seven on."""
    mirror.conn.execute(
        "update tds.setting set value = to_jsonb(%s::text) where name = 'organization_id'", [ORGANIZATION]
    )
    mirror.conn.execute(
        "select tds.org_add(%s, credentials => 'env:A_', time_zone => 'Europe/Berlin')", [ORGANIZATION]
    )
    mirror.conn.execute(
        """
        insert into tds.arrival (entity, hour, webhooks, last_at)
        select 'products', m.at at time zone 'Europe/Berlin', 30, (m.at + interval '50 minutes') at time zone 'Europe/Berlin'
          from generate_series(timestamp '2026-09-20 08:00', timestamp '2026-10-26 18:00', interval '1 hour') m(at)
         where extract(hour from m.at) between 8 and 18"""
    )
    silence = "select (tds.check_silence(%s)).value"
    assert mirror.value(silence, "2026-10-27 07:00+00") == 0
    assert mirror.value(silence, "2026-10-27 08:00+00") == 30


def test_a_check_that_has_gone_costs_no_other(mirror: Mirror) -> None:
    """As of somebody's own after a restore, which brings its row and not its function; so with a table that is to be forgotten of."""
    mirror.conn.execute("drop function tds.check_disk_free(timestamptz)")
    looked = {row["name"]: row for row in mirror.rows("select * from tds.health()")}
    assert looked["disk_free"]["state"] == "unknown"
    assert "check_disk_free" in looked["disk_free"]["told"]
    assert [name for name, row in looked.items() if row["state"] == "unknown"] == ["disk_free"]
    mirror.conn.execute("select tds.observe_health()")
    assert mirror.value("select count(*) from tds_health") == len(looked)
    mirror.conn.execute(
        """
        create table tds.own (at timestamptz);
        create function tds.forget_nothing(timestamptz, timestamptz) returns bigint language sql as 'select 0::bigint';
        select tds.register_retention('own', 'tds.own', 5, 'Own.', 'at');
        select tds.register_retention('empty', 'tds.own', 5, 'Own.', null, null, 'forget_nothing');
        drop table tds.own;
        drop function tds.forget_nothing(timestamptz, timestamptz)"""
    )
    said = {row["what"]: row["error"] for row in mirror.rows("select * from tds.retain()") if row["error"]}
    assert said.keys() == {"own", "empty"}
    assert "tds.own" in said["own"]
