"""Nothing waits for ever: one lock, one record, one slow batch, one hung session cost their neighbours nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import Mirror, product

NEW = "2026-06-10T09:46:21-0400"


@pytest.fixture
def other(database: Database) -> Iterator[psycopg.Connection]:
    """Somebody else's session, in a transaction."""
    with database.connect(application_name="a DBA") as conn:
        yield conn
        conn.rollback()


@pytest.fixture
def mirror(mirror: Mirror) -> Mirror:
    """With short waits."""
    mirror.conn.execute(
        "update tds.setting set value = case name when 'lock_wait_ms' then '50' else '0' end::jsonb "
        "where name in ('lock_wait_ms', 'outage_pause_seconds')"
    )
    return mirror


def fill(mirror: Mirror, count: int = 20) -> None:
    """A page of products, applied."""
    mirror.receive("products", {"items": [product(str(n)) for n in range(1, count + 1)]}, shape="list")
    mirror.process()


def edit(mirror: Mirror, count: int = 20) -> None:
    """A webhook for each of them, with a new name."""
    for n in range(1, count + 1):
        mirror.receive("products", {"item": product(str(n), name=f"new {n}", last_modified_time=NEW)})


def later(mirror: Mirror, seconds: int) -> None:
    """Sets the clock so many seconds ahead of now."""
    mirror.conn.execute(
        "select set_config('tds.fake_now', (clock_timestamp() + make_interval(secs => %s))::text, false)",
        [seconds],
    )


def work_off(mirror: Mirror, products: int, pause: int = 0) -> None:
    """Batches until there are so many products, with so many seconds between them: on a busy machine few are in time."""
    for batch in range(1, 60):
        mirror.process()
        if mirror.value("select count(*) from zoho.products") == products:
            return
        if pause:
            later(mirror, pause * batch)


def renamed(mirror: Mirror) -> int:
    """How many products have their new name."""
    return int(mirror.value("select count(*) from zoho.products where starts_with(name, 'new ')"))


def trigger(mirror: Mirror, sqlstate: str, condition: str) -> None:
    """An ERP's trigger that fails for some records."""
    mirror.conn.execute(f"""
        create function public.erp() returns trigger language plpgsql as $$
        begin
            if {condition} then
                raise exception using errcode = '{sqlstate}', message = 'the ERP is ill';
            end if;
            return new;
        end $$;
        create trigger erp before insert or update on zoho.products for each row execute function public.erp();""")


@contextmanager
def told(conn: psycopg.Connection) -> Iterator[list[str]]:
    """The notices that come meanwhile."""
    notices: list[str] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        notices.append(str(notice.message_primary))

    conn.add_notice_handler(note)
    yield notices
    conn.remove_notice_handler(note)


def test_one_locked_row_keeps_nobody_else_waiting(mirror: Mirror, other: psycopg.Connection) -> None:
    fill(mirror)
    edit(mirror)
    other.execute("select from zoho.products where zoho_item_id = '7' for update")
    with told(mirror.conn) as notices:
        outcome = mirror.process()
    assert outcome["applied"] == 19, (notices, mirror.rows("select * from tds.inbox_open limit 2"))
    [row] = mirror.rows("select * from tds_waiting")
    pid = other.info.backend_pid
    assert (row["zoho_id"], row["error_code"], row["tries"]) == ("7", "55P03", 1)
    assert row["retry_at"]
    assert f"pid {pid} " in row["error"]
    assert "application a DBA" in row["error"]
    assert "for update" in row["error"], "what it ran is told"
    holders = mirror.rows("select * from tds_lock_holders")
    assert [(h["pid"], h["application_name"], h["state"]) for h in holders] == [
        (pid, "a DBA", "idle in transaction")
    ]
    later(mirror, 30)
    assert mirror.process()["retried"] == 1, "still locked: it goes on waiting"
    assert mirror.value("select attempts from tds.inbox_open") == 0
    other.rollback()
    later(mirror, 90)
    assert mirror.process()["applied"] == 1
    assert renamed(mirror) == 20
    assert not mirror.rows("select * from tds.inbox_open")


def test_a_locked_row_of_a_page_leaves_the_page(mirror: Mirror, other: psycopg.Connection) -> None:
    fill(mirror)
    other.execute("select from zoho.products where zoho_item_id in ('3', '7') for update")
    page = [product(str(n), name=f"new {n}", last_modified_time=NEW) for n in range(1, 21)]
    mirror.receive("products", {"items": page}, shape="list")
    assert mirror.process()["applied"] == 18
    assert {r["zoho_id"] for r in mirror.rows("select zoho_id from tds_waiting")} == {"3", "7"}
    other.rollback()
    later(mirror, 60)
    assert mirror.process()["applied"] == 2


@pytest.mark.parametrize(
    "lock",
    [
        "lock table zoho.products in access exclusive mode",
        "lock table pgmq.q_tds_products in access exclusive mode",
    ],
)
def test_a_locked_table_keeps_no_other_queue_waiting(
    mirror: Mirror, other: psycopg.Connection, lock: str
) -> None:
    fill(mirror)
    edit(mirror)
    mirror.receive(
        "customers", {"contact": {"contact_id": "1", "contact_name": "x", "contact_type": "customer"}}
    )
    other.execute(lock)
    with told(mirror.conn) as notices:
        mirror.process()
    assert any("products" in notice for notice in notices)
    assert mirror.value("select count(*) from zoho.customers") == 1
    other.rollback()
    mirror.conn.execute(
        "select pgmq.set_vt(q.queue_name, m.msg_id, 0) from pgmq.list_queues() q, pgmq.q_tds_products m where q.queue_name = 'tds_products'"
    )
    assert mirror.process()["applied"] == 20


def test_a_locked_line_keeps_its_invoice_only_waiting(mirror: Mirror, other: psycopg.Connection) -> None:
    def invoice(n: int, quantity: int, moment: str) -> dict[str, object]:
        line = {
            "line_item_id": f"{n}1",
            "item_id": "5",
            "quantity": quantity,
            "rate": 2,
            "item_total": 2 * quantity,
        }
        return {
            "invoice_id": str(n), "invoice_number": f"INV-{n}", "date": "2026-06-01", "last_modified_time": moment,
            "status": "sent", "sub_total": 2 * quantity, "total": 2 * quantity, "line_items": [line],
        }  # fmt: skip

    for n in range(1, 9):
        mirror.receive("invoices", {"invoice": invoice(n, 1, "2026-06-01T00:00:00+0000")}, shape="detail")
    assert mirror.process()["applied"] == 8
    other.execute("select from zoho.invoice_line_items where zoho_invoice_id = '5' for update")
    for n in range(1, 9):
        mirror.receive("invoices", {"invoice": invoice(n, 3, NEW)}, shape="detail")
    assert mirror.process()["applied"] == 7
    assert [r["zoho_id"] for r in mirror.rows("select zoho_id from tds_waiting")] == ["5"]
    other.rollback()
    later(mirror, 60)
    assert mirror.process()["applied"] == 1


@pytest.mark.parametrize("sqlstate", ["42501", "42883", "XX000", "0A000", "40001", "P0003"])
def test_one_record_that_fails_keeps_nobody_else_waiting(mirror: Mirror, sqlstate: str) -> None:
    trigger(mirror, sqlstate, "new.zoho_item_id = '7'")
    for n in range(1, 21):
        mirror.receive("products", {"item": product(str(n))})
    page = [product(str(n)) for n in (7, *range(21, 40))]
    mirror.receive("products", {"items": page}, shape="list")
    outcome = mirror.process()
    assert (outcome["applied"], outcome["dead"]) == (38, 0)
    waiting = mirror.rows("select * from tds_waiting")
    assert {(r["zoho_id"], r["error_code"]) for r in waiting} == {("7", sqlstate)}
    assert all("the ERP is ill" in r["error"] for r in waiting)
    later(mirror, 23 * 3600)
    mirror.process()
    assert not mirror.rows("select * from tds_dead_letter_queue"), "no attempt counts: it is nobody's fault"
    later(mirror, 25 * 3600)
    mirror.process()
    dead = mirror.rows("select * from tds_dead_letter_queue")
    assert {(d["zoho_id"], d["error_code"]) for d in dead} == {("7", sqlstate)}
    assert "failed alone since" in dead[0]["reason"]
    assert not mirror.rows("select * from tds.inbox_open")
    mirror.conn.execute("drop trigger erp on zoho.products")
    mirror.conn.execute("select tds.replay(dead_letter_id) from tds_dead_letter_queue")
    assert mirror.process()["applied"] == 1


def test_what_stops_all_parks_nothing(mirror: Mirror) -> None:
    trigger(mirror, "53100", "true")
    for n in range(1, 5):
        mirror.receive("products", {"item": product(str(n))})
    with told(mirror.conn) as notices:
        assert mirror.process()["retried"] == 0
    assert any("the ERP is ill" in notice for notice in notices)
    assert (
        mirror.value(
            "select count(*) from tds.inbox_open where waits = 0 and retry_at is null and error_code = '53100'"
        )
        == 4
    )
    mirror.conn.execute("drop trigger erp on zoho.products")
    mirror.conn.execute("select pgmq.set_vt('tds_products', msg_id, 0) from pgmq.q_tds_products")
    assert mirror.process()["applied"] == 4


def test_all_that_fail_each_come_back_when_it_is_mended(mirror: Mirror) -> None:
    trigger(mirror, "42501", "true")
    for n in range(1, 51):
        mirror.receive("products", {"item": product(str(n))})
    mirror.receive("products", {"items": [product(str(n)) for n in range(51, 101)]}, shape="list")
    for _ in range(3):
        assert mirror.process()["retried"] == 0, "who is to blame is not known while none succeeds"
    mirror.conn.execute("drop trigger erp on zoho.products")
    assert mirror.process()["applied"] == 100


def test_a_batch_that_takes_too_long_comes_back_in_halves(mirror: Mirror) -> None:
    trigger(mirror, "P0001", "pg_sleep(0.02) is null")
    for n in range(1, 65):
        mirror.receive("products", {"item": product(str(n))})
    mirror.conn.execute("set statement_timeout = '600ms'")
    work_off(mirror, 64)
    assert mirror.value("select count(*) from zoho.products") == 64
    assert mirror.value("select count(*) from tds_dead_letter_queue") == 0


def test_a_page_that_takes_too_long_goes_on_record_by_record(mirror: Mirror) -> None:
    trigger(mirror, "P0001", "pg_sleep(case new.zoho_item_id when '7' then 3600 else 0 end) is null")
    mirror.receive("products", {"items": [product(str(n)) for n in range(1, 21)]}, shape="list")
    mirror.conn.execute("set statement_timeout = '400ms'")
    work_off(mirror, 19, pause=61)
    assert mirror.value("select count(*) from zoho.products") == 19
    [row] = mirror.rows("select * from tds_waiting")
    assert (row["zoho_id"], row["error_code"]) == ("7", "57014")


def claim(conn: psycopg.Connection, queue: str = "products") -> int:
    """A batch of that session's."""
    row = conn.execute("select claim_id from tds.claim(%s, 1000)", [queue]).fetchone()
    assert row is not None
    return int(row[0])


def test_a_hung_sessions_batch_is_taken_over_and_not_applied_twice(
    database: Database, mirror: Mirror
) -> None:
    edit(mirror, 3)
    with database.connect() as hung:
        lost = claim(hung)
        hung.commit()
        assert mirror.process()["claimed"] == 0, "it is in work"
        later(mirror, 46)
        # as by a session of another role that may not end it
        mirror.conn.execute("set role tds_operator")
        with told(mirror.conn) as notices:
            mirror.process()
        assert any("may not be ended" in notice for notice in notices)
        later(mirror, 51)
        mirror.process()
        mirror.conn.execute("reset role")
        assert renamed(mirror) == 3
        assert mirror.value("select max(crashes) from tds.inbox_open") is None
        versions = mirror.rows("select zoho_item_id, sync_version from zoho.products order by 1")
        with pytest.raises(psycopg.Error, match="taken over") as refused:
            hung.execute("select tds.apply_claim(%s)", [lost])
        assert refused.value.sqlstate == "ZB040"
        hung.rollback()
        hung.execute("select tds.finish_claim(%s, '{}')", [lost])
        hung.execute("select tds.release_claim(%s, '57014', 'late', cut => true)", [lost])
        hung.commit()
    assert mirror.rows("select zoho_item_id, sync_version from zoho.products order by 1") == versions
    assert (
        mirror.value("select count(*) from tds.claim")
        == 0
        == mirror.value("select count(*) from pgmq.q_tds_products")
    )


def test_a_hung_session_is_ended(database: Database, mirror: Mirror) -> None:
    edit(mirror, 3)
    with database.connect() as hung:
        claim(hung)
        hung.commit()
        later(mirror, 46)
        while not (done := mirror.process()["applied"]):
            pass
        assert done == 3
        with pytest.raises(psycopg.OperationalError):
            hung.execute("select 1")


def test_what_hangs_in_the_middle_keeps_only_what_it_holds(database: Database, mirror: Mirror) -> None:
    fill(mirror, 4)
    edit(mirror, 2)
    with database.connect() as hung:
        lost = claim(hung)
        hung.commit()
        hung.execute("update zoho.products set brand = brand where zoho_item_id = '1'")
        hung.execute(
            "update tds.inbox_open set error = 'mine' where inbox_id = (select min(inbox_id) from tds.inbox_open)"
        )
        mirror.receive("products", {"item": product("3", name="new 3", last_modified_time=NEW)})
        mirror.receive("products", {"item": product("4", name="new 4", last_modified_time=NEW)})
        later(mirror, 51)
        mirror.conn.execute("set role tds_operator")
        for _ in range(3):
            mirror.process()
        assert renamed(mirror) == 3
        hung.rollback()
        with pytest.raises(psycopg.Error, match="taken over"):
            hung.execute("select tds.apply_claim(%s)", [lost])
        hung.rollback()
    for seconds in (200, 400):
        later(mirror, seconds)
        mirror.process()
    assert renamed(mirror) == 4


@pytest.mark.parametrize("way", ["webhook and 404", "404 twice"])
def test_a_dead_letter_of_a_record_that_zoho_has_no_more_is_closed(mirror: Mirror, way: str) -> None:
    """Nobody tells that record anew: the letter would be open for ever, and its alarm with it."""
    start = mirror.value("select tds.now() - interval '1 hour'")

    def gone(seconds: int, shape: str = "detail") -> None:
        moment = start + timedelta(seconds=seconds)
        mirror.receive("products", {"item_id": "9"}, shape, event="delete", observed_at=moment)
        mirror.process()

    mirror.receive("products", {"item": product("9", rate="dear")}, observed_at=start)
    mirror.receive("products", {"item": product("8", rate="dear")}, observed_at=start)
    mirror.process()
    gone(1, "webhook" if way == "webhook and 404" else "detail")
    assert mirror.value("select count(*) from tds_dead_letter_queue") == 2, "that proves nothing yet"
    gone(120)
    left = mirror.rows("select zoho_id from tds_dead_letter_queue")
    assert left == [{"zoho_id": "8"}]
    said = mirror.value("select resolution from tds.dead_letter where zoho_id = '9'")
    assert said.startswith("Zoho has deleted the record: 404 at ")
    # what is told of it later is of a record that is there
    later = start + timedelta(seconds=300)
    mirror.receive("products", {"item": product("9", rate="dearer")}, observed_at=later)
    mirror.process()
    assert mirror.value("select count(*) from tds_dead_letter_queue") == 2


def test_many_dead_letters_are_told_again_and_replayed_as_one(mirror: Mirror) -> None:
    page = {
        "items": [product(str(n), rate="dear") for n in range(1, 131)] + [{"rate": n} for n in range(130)]
    }
    mirror.receive("products", page, shape="list")
    mirror.process()
    assert mirror.value("select count(*) from tds_dead_letter_queue") == 260
    mirror.receive("products", page, shape="list")
    mirror.process()
    assert mirror.value("select count(*) from tds_dead_letter_queue") == 260
    assert (
        mirror.value(
            "select count(*) from tds.dead_letter where resolution like 'told again as dead letter %%'"
        )
        == 260
    )
    with pytest.raises(psycopg.Error) as asked:
        mirror.conn.execute("select tds.replay('products')")
    assert asked.value.sqlstate == "ZB042"
    assert "130 calls" in str(asked.value.diag.message_detail)
    assert "details => false" in str(asked.value.diag.message_hint)
    assert mirror.value("select count(*) from tds_dead_letter_queue") == 260, "nothing was sent"
    assert mirror.value("select tds.replay('products', details => false)") == 260
    assert mirror.value("select count(*) from tds.wanted_detail where reason = 'replayed'") == 0
    mirror.process()
    assert mirror.value("select count(*) from tds_dead_letter_queue") == 260
    assert mirror.value("select tds.replay('products', 'ZB001', true)") == 260
    assert mirror.value("select count(*) from tds.wanted_detail where reason = 'replayed'") == 130
    assert mirror.value("select count(distinct inbox_id) from tds.inbox where source = 'replay'") == 520


@pytest.mark.new_database
def test_telling_dead_letters_again_looks_each_up_by_its_key(mirror: Mirror) -> None:
    mirror.receive("products", {"items": [product(str(n), rate="x") for n in range(1, 200)]}, shape="list")
    mirror.receive("products", {"items": [{"rate": n} for n in range(1, 200)]}, shape="list")
    mirror.process()
    mirror.conn.execute("select pg_stat_force_next_flush()")
    read = "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables where relname = 'dead_letter'"
    before = mirror.value(read)
    mirror.receive("products", {"items": [product(str(n), rate="x") for n in range(1, 200)]}, shape="list")
    mirror.receive("products", {"items": [{"rate": n} for n in range(1, 200)]}, shape="list")
    mirror.process()
    mirror.conn.execute("select pg_stat_force_next_flush()")
    assert mirror.value(read) - before < 10 * 400, (
        "a comparison that no index serves reads all of them, each time"
    )


def heal(mirror: Mirror) -> set[tuple[str, str, bool]]:
    """What is healed, after a dry run that tells the same and changes nothing."""
    told = mirror.rows("select step, subject, ok from tds.heal(dry_run => true) where step <> 'partitions'")
    done = mirror.rows("select step, subject, ok from tds.heal() where step <> 'partitions'")
    assert told == done
    return {(act["step"], act["subject"], act["ok"]) for act in done}


@pytest.mark.parametrize("loss", ["purge_queue", "drop_queue"])
def test_a_lost_queue_is_noticed_and_filled_again(mirror: Mirror, loss: str) -> None:
    edit(mirror, 5)
    mirror.conn.execute(f"select pgmq.{loss}('tds_products')")
    mirror.receive(
        "customers", {"contact": {"contact_id": "1", "contact_name": "x", "contact_type": "customer"}}
    )
    mirror.process()
    assert mirror.value("select count(*) from zoho.customers") == 1, "other queues go on"
    if loss == "drop_queue":
        told = mirror.rows("select subject, act from tds.heal(dry_run => true) where step = 'lost_messages'")
        assert told == [{"subject": "queue products", "act": "made the queue anew"}]
        mirror.conn.execute("select * from tds.heal()")
    else:
        assert ("lost_messages", "queue products", True) in heal(mirror)
    assert mirror.process()["applied"] == 5
    assert not heal(mirror)


def test_an_event_whose_message_is_gone_is_sent_again_and_no_other(
    database: Database, mirror: Mirror
) -> None:
    edit(mirror, 5)
    mirror.conn.execute(
        "delete from pgmq.q_tds_products where msg_id = (select min(msg_id) from pgmq.q_tds_products)"
    )
    with database.connect() as working:
        claim(working)
        working.commit()
        assert mirror.value("select count(*) from tds.lost_events('products')") == 1
        assert ("lost_messages", "queue products", True) in heal(mirror)
        assert mirror.process()["applied"] == 1


def test_an_event_whose_partition_was_dropped_is_buried(mirror: Mirror) -> None:
    mirror.conn.execute("select set_config('tds.fake_now', '2026-03-01 12:00:00+00', false)")
    edit(mirror, 2)
    mirror.conn.execute("select set_config('tds.fake_now', '', false)")
    mirror.receive("products", {"item": product("5")})
    mirror.conn.execute("drop table tds.inbox_20260301")
    assert mirror.process()["applied"] == 1
    assert ("lost_bodies", "events without a body", True) in heal(mirror)
    dead = mirror.rows("select * from tds_dead_letter_queue")
    assert [(d["error_code"], "partition of its day was dropped" in d["reason"]) for d in dead] == [
        ("ZB043", True)
    ] * 2
    assert not mirror.rows("select * from tds.inbox_open")
    with pytest.raises(psycopg.Error, match="body of this dead letter is gone"):
        mirror.conn.execute("select tds.replay(%s)", [dead[0]["dead_letter_id"]])
    assert mirror.value("select tds.replay('products')") == 0


AHEAD = 90 * 86400


def test_a_clock_that_jumped_parks_nothing_and_stops_no_job(mirror: Mirror) -> None:
    trigger(mirror, "23514", "new.zoho_item_id = '2'")
    later(mirror, AHEAD)
    mirror.conn.execute("select tds.request_pull('products', organization_id => '1')")
    mirror.receive("products", {"item": product("1")})
    mirror.receive("products", {"item": product("2")})
    mirror.conn.execute("select tds.want_detail('products', '1', '1')")
    mirror.conn.execute("select tds.set_budget('1')")
    for _ in range(90):
        mirror.conn.execute(
            "select tds.settle_call(call_ids[1], 200, 0, 1000, 5) from tds.reserve_calls('1', purpose => 'live')"
        )
    mirror.conn.execute(
        "update tds.api_budget set paused_until = tds.now() + interval '1 hour', pause_reason = 'x'"
    )
    mirror.process()
    jobs = [row["job"] for row in mirror.rows("select job from tds.job where enabled")]
    mirror.conn.execute("call tds.run_due_jobs()")
    mirror.conn.execute("update pgmq.q_tds_pull set vt = vt + interval '90 days'")
    mirror.conn.execute("select tds.access_token(repeat('a', 64))")
    later(mirror, 0)
    states = mirror.rows(
        "select job, due_at <= tds.now() + interval '32 days' as comes from tds.job_states() where job = any (%s)",
        jobs,
    )
    assert all(row["comes"] for row in states), states
    mirror.conn.execute("drop trigger erp on zoho.products")
    assert mirror.process()["applied"] == 1
    granted = mirror.rows("select granted, wait_until, reason from tds.reserve_calls('1', purpose => 'live')")
    assert granted[0]["granted"] == 1, granted
    steps = {step for step, _, _ in heal(mirror)}
    assert "clock" in steps
    assert mirror.value("select max(wanted_at) <= tds.now() + interval '1 minute' from tds.wanted_detail")
    assert mirror.value("select max(vt) < clock_timestamp() + interval '1 minute' from pgmq.q_tds_pull")
    assert (
        mirror.value(
            "select count(*) from tds.access_token(repeat('a', 64)) where state in ('refresh', 'wait')"
        )
        == 1
    )
    assert mirror.value("select tds.last_pass('products', '1')") is None
