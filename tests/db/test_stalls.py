"""A connection that stalls without closing keeps nobody waiting for longer than is promised."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial

import psycopg
import pytest

from tds_db import supervision
from tds_db import worker as worker_module
from tds_db.connect import Connection, NoAnswerError, connect, connect_async, pool
from tds_db.worker import Worker
from tds_poller.mirror import Mirror
from tds_receiver import inbox as inbox_module
from tds_receiver.inbox import Event, Inbox, UnavailableError
from tests.db.servers import Database
from tests.db.stalling import stalling

PATIENCE = 20.0


def until(condition: Callable[[], object]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def event(number: int) -> Event:
    """A webhook of a product."""
    return Event("products", json.dumps({"item": {"item_id": str(number)}}).encode(), "1", "upsert", "{}")


def has(conn: psycopg.Connection, count: int) -> bool:
    """Whether there are so many products."""
    return conn.execute("select count(*) from zoho.products").fetchone() == (count,)


def test_an_answer_that_does_not_come_is_given_up(database: Database) -> None:
    with (
        stalling(database) as (proxy, dsn),
        connect("test", dsn, autocommit=True, answer_seconds=0.5) as conn,
    ):
        assert conn.execute("select 1").fetchone() == (1,)
        assert conn.execute("select pg_sleep(0.2)").fetchone() == ("",)
        proxy.stall()
        with pytest.raises(NoAnswerError, match="no answer within"):
            conn.execute("select 1")
        assert conn.closed
    with pool("test", database.conninfo, answer_seconds=0.5) as pooled, pooled.connection() as conn:
        assert isinstance(conn, Connection)
        assert conn.answer_seconds == 0.5


def test_an_answer_that_does_not_come_is_given_up_in_an_event_loop(database: Database) -> None:
    async def ask(dsn: str, stall: Callable[[], None]) -> None:
        conn = await connect_async("test", dsn, psycopg.rows.tuple_row, answer_seconds=0.5)
        async with conn:
            await conn.execute("select 1")
            stall()
            with pytest.raises(NoAnswerError):
                await conn.execute("select 1")
            assert conn.closed

    async def cancelled(dsn: str, stall: Callable[[], None]) -> float:
        conn = await connect_async("test", dsn, psycopg.rows.tuple_row)
        async with conn:
            stall()
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await conn.execute("select 1")
            return time.monotonic() - began

    for drill in (ask, cancelled):
        with stalling(database) as (proxy, dsn):
            seconds = asyncio.run(drill(dsn, proxy.stall))
            assert seconds is None or seconds < 3, "whoever is cancelled does not wait for the server"


def test_a_worker_comes_back_when_the_network_does(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(worker_module, "JOB_SECONDS", 1.0)
    monkeypatch.setattr(worker_module, "LONGEST_PAUSE", 0.2)
    with database.connect(autocommit=True) as conn, stalling(database) as (proxy, dsn):
        worker = Worker(dsn)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            for number in (1, 2):
                conn.execute("select tds.receive('products', %s, '1')", [event(number).body])
                until(partial(has, conn, number))
                proxy.stall()
                time.sleep(2.5)
                proxy.resume()
        finally:
            worker.stop()
            thread.join(PATIENCE)
        assert not thread.is_alive()


SLOW = """
    create function public.slow() returns trigger language plpgsql as $$
    begin
        perform pg_catalog.pg_sleep(3600) where new.zoho_item_id = '2';
        return new;
    end $$;
    create trigger slow before insert on zoho.products for each row execute function public.slow();
    update tds.setting set value = '1' where name in ('retry_base_seconds', 'outage_pause_seconds')"""


def test_a_pollers_drain_is_cut_as_a_workers_is(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "CALL_SECONDS", 1)

    async def drain() -> None:
        async with Mirror(database.conninfo, "1", connections=1) as mirror:
            while not has(conn, 3):
                await mirror.drain()
            assert await mirror.setting("claim_seconds") > 0
            row = await mirror._row(psycopg.rows.scalar_row, "show statement_timeout")
            assert row == "0", "of the drain alone"

    with database.connect(autocommit=True) as conn:
        conn.execute(SLOW)
        for number in range(1, 5):
            conn.execute("select tds.receive('products', %s, '1')", [event(number).body])
        asyncio.run(asyncio.wait_for(drain(), 2 * PATIENCE))
        waiting = conn.execute("select zoho_id, error_code from tds_waiting").fetchall()
        assert waiting == [("2", "57014")]


def test_a_pollers_drain_is_given_up_when_nobody_answers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "ANSWER_SECONDS", 0.5)

    async def drain(dsn: str, stall: Callable[[], None], resume: Callable[[], None]) -> None:
        async with Mirror(dsn, "1", connections=1) as mirror:
            await mirror.drain()
            stall()
            with pytest.raises(NoAnswerError):
                await mirror.drain()
            resume()
            conn.execute("select tds.receive('products', %s, '1')", [event(1).body])
            while not has(conn, 1):
                await mirror.drain()

    with database.connect(autocommit=True) as conn, stalling(database) as (proxy, dsn):
        asyncio.run(asyncio.wait_for(drain(dsn, proxy.stall, proxy.resume), 2 * PATIENCE))


def test_a_supervisor_whose_backend_hangs_asks_another(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(supervision, "ANSWER_SECONDS", 0.5)
    looking = "select pid from pg_stat_activity where application_name like 'tds/supervisor/%'"
    with database.connect(autocommit=True) as conn:
        hanging = supervision.Hanging(database.conninfo)
        hanging.start()
        try:
            until(lambda: conn.execute(looking).fetchall())
            [(pid,)] = conn.execute(looking).fetchall()
            os.kill(pid, signal.SIGSTOP)
            try:
                conn.execute(
                    """
                    insert into tds.program (program, kind, host, pid, backend_pid, started_at, beat_at, restart_wanted_at)
                    values ('tds/worker/x/4711', 'worker', %s, 4711, 1, now(), now(), now())""",
                    [socket.gethostname()],
                )
                until(lambda: hanging.take(4711))
            finally:
                os.kill(pid, signal.SIGCONT)
        finally:
            hanging.stop()


@pytest.mark.parametrize("connections", [1, 2])
def test_a_sender_is_answered_in_time_whatever_stalls(
    database: Database, monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    # a tenth of what they are
    monkeypatch.setattr(inbox_module, "ANSWER_SECONDS", 1.6)
    monkeypatch.setattr(inbox_module, "COMMIT_SECONDS", 1.0)
    monkeypatch.setattr(inbox_module, "TRY_SECONDS", 0.4)
    monkeypatch.setattr(inbox_module, "IDLE_SECONDS", 0.3)

    async def send(inbox: Inbox, number: int) -> tuple[bool, float]:
        began = time.monotonic()
        try:
            await inbox.put(event(number))
        except UnavailableError:
            return False, time.monotonic() - began
        return True, time.monotonic() - began

    async def drill(dsn: str, stall: Callable[[], None], resume: Callable[[], None], idle: float) -> None:
        async with Inbox(dsn, connections=connections) as inbox:
            assert all(stored for stored, _ in await asyncio.gather(*(send(inbox, n) for n in range(20))))
            await asyncio.sleep(idle)
            stall()
            answers = []
            for number in range(100, 130):
                answers.append(asyncio.ensure_future(send(inbox, number)))
                await asyncio.sleep(0.1)
            told = await asyncio.gather(*answers)
            assert not any(stored for stored, _ in told)
            assert max(seconds for _, seconds in told) < 2.4
            resume()
            deadline = time.monotonic() + PATIENCE
            while not (await send(inbox, 500))[0]:
                assert time.monotonic() < deadline, "it comes back"

    for idle in (0.0, 0.5):
        with stalling(database) as (proxy, dsn):
            asyncio.run(drill(dsn, proxy.stall, proxy.resume, idle))
