"""Messages of alerts leave through Apprise, to a real mail server and a real webhook, and what a killed sender leaves is sent.

`TDS_ALERT_KILLS` says how many senders are killed; without it, as few as a few seconds allow.
"""

from __future__ import annotations

import io
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tds_db import alert_sender
from tests.db.receivers import Hook, Mailbox, mailbox, webhook
from tests.db.servers import Database
from tests.journeys.waiting import PATIENCE, wait_until

KILLS = int(os.environ.get("TDS_ALERT_KILLS", "2"))
ONCE = (sys.executable, "-P", "-m", "tds_db.alert_sender")
WATCH = (sys.executable, "-P", "-m", "tds_cli", "alerts", "send")
WORKER = (sys.executable, "-P", "-m", "tds_db.worker")


@pytest.fixture
def mails() -> Iterator[Mailbox]:
    with mailbox() as box:
        yield box


@pytest.fixture
def hook() -> Iterator[Hook]:
    with webhook() as found:
        yield found


class Desk:
    """A database whose checks are made ill and well by hand, and programs that send."""

    def __init__(self, database: Database, urls: str, business: str = "") -> None:
        self.database = database
        self.environment = {
            **os.environ,
            "TDS_DATABASE_URL": database.conninfo,
            "TDS_ALERT_URLS": urls,
            "TDS_BUSINESS_ALERT_URLS": business,
        }
        self.conn = database.connect(autocommit=True)
        self.processes: list[subprocess.Popen[str]] = []
        # a try follows the other at once, and nothing is waited for
        self.run(
            "update tds.setting set value = '0' where name in ('retry_base_seconds', 'alert_well_seconds')"
        )
        self.run("update tds.job set enabled = false")
        self.run("select tds.observe_health()")
        self.run("update tds.health_state set state = 'ok', looked_at = '2020-01-01'")
        self.run("select tds.raise_alerts()")
        assert self.value("select count(*) from tds_alerts") == 0

    def run(self, statement: str, *parameters: Any) -> None:
        self.conn.execute(statement.encode(), parameters or None)

    def value(self, query: str, *parameters: Any) -> Any:
        row = self.conn.execute(query.encode(), parameters or None).fetchone()
        assert row is not None
        return row[0]

    def make(self, state: str, checks: str = "check_name <> 'alerts_undelivered'", many: int = 1000) -> None:
        """So many checks are ill, or well, and alerts are raised."""
        self.run(
            "update tds.health_state set state = %s, value = 7, threshold = 5, told = 'a test''s', since = '2020-01-01' "
            f"where check_name in (select check_name from tds.health_state where {checks} order by 1 limit {many})",
            state,
        )
        self.run("select tds.raise_alerts()")

    def start(self, command: tuple[str, ...]) -> subprocess.Popen[str]:
        self.processes.append(
            subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True)
        )
        return self.processes[-1]

    def close(self) -> None:
        """Ends what was started."""
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stderr:
                process.stderr.close()
        self.conn.close()

    def send(self) -> str:
        """Sends what is due, in this process; returns the log."""
        log, root, us = io.StringIO(), logging.getLogger(), threading.get_ident()
        listener, level = logging.StreamHandler(log), root.level
        listener.addFilter(lambda record: record.thread == us)  # who receives has a log, too
        root.addHandler(listener)
        root.setLevel(logging.INFO)
        try:
            # the alarm is pytest's here
            with patch.dict(os.environ, self.environment), patch.object(alert_sender, "signal"):
                assert alert_sender.main() == 0, log.getvalue()
        finally:
            root.removeHandler(listener)
            root.setLevel(level)
        return log.getvalue()

    def waiting(self) -> int:
        return int(self.value("select count(*) from tds_alert_messages where state = 'waiting'"))


@contextmanager
def desk(database: Database, urls: str, business: str = "") -> Iterator[Desk]:
    made = Desk(database, urls, business)
    try:
        yield made
    finally:
        made.close()


def test_a_change_is_told_once_to_every_address(database: Database, mails: Mailbox, hook: Hook) -> None:
    urls = f"{mails.url('a@example.com', 'b@example.com')}, {hook.url('secretpath')}"
    with desk(database, urls) as at:
        at.make("warning", "check_name = 'queue_pending'")
        log = at.send()
        assert len(mails.mails) == 2
        assert {mail["To"] for mail in mails.mails} == {"a@example.com", "b@example.com"}
        assert len(hook.posts) == 1
        [mail, _] = mails.mails
        assert mail["Subject"] == "TDS warning: queue_pending"
        text = mail.get_body(("plain", "html"))
        assert text is not None
        told = text.get_content()
        for part in (
            "Events that are stored and not processed",
            "7 events",
            "the limit is 5",
            "Since: 2020-01-01",
            "Next: see workers",
        ):
            assert part in told
        [post], [headers] = hook.posts, hook.headers
        assert post["title"] == mail["Subject"]
        assert (post["change"], post["severity"], post["kind"]) == ("opened", "warning", "queue_pending")
        message_id = str(at.value("select message_id from tds_alert_messages"))
        assert mail["Message-ID"] == f"<{message_id}@127.0.0.1>"
        assert mail["X-TDS-Alert"] == headers["X-TDS-Alert"] == headers["Idempotency-Key"] == message_id
        assert at.send() == ""
        at.make("critical", "check_name = 'queue_pending'")
        at.make("ok")
        at.send()
        assert [post["change"] for post in hook.posts] == ["opened", "escalated", "resolved"]
        assert len(mails.mails) == 6
        assert at.waiting() == 0
        assert at.value("select max(tries) from tds_alert_messages") == 1
        kept = at.value("select string_agg(t::text, '') from (table tds.alert_address) t")
        kept += at.value("select string_agg(t::text, '') from (table tds.alert_delivery) t")
        for secret in ("secretpath", "ops@", "a@example.com"):
            assert secret not in log
            assert secret not in kept


def test_what_one_address_refuses_is_tried_again_there_alone(
    database: Database, mails: Mailbox, hook: Hook
) -> None:
    with desk(database, f"{mails.url()} {hook.url('tokenoftheirs')} foo://nothing-of-the-kind") as at:
        hook.refuses = 1
        at.make("critical", many=1)
        log = at.send()
        assert (len(mails.mails), len(hook.posts), hook.refuses) == (1, 0, 0)
        log += at.send()
        assert (len(mails.mails), len(hook.posts), hook.refuses) == (1, 1, 0)
        assert at.waiting() == 1, "one of three addresses is none"
        assert "tokenoftheirs" not in log
        assert "nothing-of-the-kind" not in log + str(
            at.value("select string_agg(t::text, '') from (table tds.alert_delivery) t")
        )
        assert at.value("select error from tds_alert_messages").startswith("foo 1: Apprise knows no such URL")


def test_what_cannot_be_delivered_is_a_finding(database: Database, hook: Hook) -> None:
    look = "select state, told from tds.health() where name = 'alerts_undelivered'"
    with desk(database, hook.url()) as at:
        assert at.value(look) == "ok"
        at.run("update tds.setting set value = '3600' where name = 'retry_base_seconds'")
        hook.refuses = 1
        at.make("critical", many=1)
        at.send()
        assert at.value(look) == "ok", "not yet"
        at.run("select set_config('tds.fake_now', (now() + interval '16 minutes')::text, false)")
        state, told = at.conn.execute(look.encode()).fetchone() or ("", "")
        assert state == "warning"
        assert "json 1 (operations)" in told
        assert "503" in told
        at.run("reset tds.fake_now; update tds.alert_delivery set next_try_at = now()")
        at.send()
        assert len(hook.posts) == 1
        at.run("update tds.alert_delivery set created_at = now() - interval '1 hour'")
        assert at.value(look) == "ok"


def test_what_is_given_up_is_a_finding_for_a_day(database: Database, hook: Hook) -> None:
    look = "select state from tds.health() where name = 'alerts_undelivered'"
    with desk(database, hook.url()) as at:
        at.send()
        at.make("critical", many=1)
        at.run("update tds.alert_delivery set created_at = now() - interval '25 hours'")
        at.send()
        assert hook.posts == []
        assert at.value("select state from tds_alert_messages") == "given up"
        assert at.value(look) == "warning"
        at.run("update tds.alert_delivery set gave_up_at = now() - interval '25 hours'")
        assert at.value(look) == "ok"


def test_business_has_an_address_of_its_own(database: Database, mails: Mailbox, hook: Hook) -> None:
    with desk(database, hook.url(), mails.url("shop@example.com")) as at:
        at.run(
            "insert into zoho.products (organization_id, zoho_item_id, name, is_active, stock_quantity, reorder_level, zoho_metadata, "
            "synced_at, sync_version, sync_observed_at, sync_rank) "
            "select '1', n, 'Cable ' || n, true, n, 100, '{}', now(), 1, now(), 1 from generate_series(1, 60) n"
        )
        at.make("critical", many=1)
        at.send()
        [mail], [post] = mails.mails, hook.posts
        assert mail["Subject"] == "TDS warning: low stock of 60 products"
        assert "low_stock" not in str(post)
        body = mail.get_body(("plain", "html"))
        assert body is not None
        assert "Cable 1: 1 left, level 100" in body.get_content()
        assert "and 10 more" in body.get_content()


def test_a_worker_sends(database: Database, hook: Hook) -> None:
    with desk(database, hook.url()) as at:
        at.make("critical", many=2)
        worker = at.start(WORKER)
        wait_until(lambda: at.waiting() == 0, "the worker sends all")
        worker.terminate()
        _, log = worker.communicate(timeout=PATIENCE)
        assert worker.returncode == 0, log
        assert len(hook.posts) == 2


def test_who_sends_looks_at_the_health_where_nobody_does(database: Database, hook: Hook) -> None:
    with desk(database, hook.url()) as at:
        at.run("update tds.setting set value = '0' where name = 'alert_settle_seconds'")
        at.run("update tds.job set enabled = job in ('health', 'heal', 'retention')")
        at.run("update tds.job set since = now() - interval '3 days'")
        watch = at.start(WATCH)
        wait_until(lambda: any("jobs_overdue" in post["title"] for post in hook.posts), "somebody is told")
        watch.terminate()
        assert watch.wait(PATIENCE) == 0


def test_who_starts_senders_keeps_nothing_of_them(database: Database, hook: Hook) -> None:
    with desk(database, hook.url()) as at:
        watch = at.start(WATCH)
        files = Path(f"/proc/{watch.pid}/fd")
        held = []
        for number in range(4):
            at.make("critical" if number % 2 == 0 else "ok", many=1)
            wait_until(lambda: at.waiting() == 0, "something is sent")
            wait_until(lambda: sender_of(watch) is None, "the sender ends")
            held.append(len(list(files.iterdir())))
        watch.terminate()
        assert watch.wait(PATIENCE) == 0
    assert held[-1] <= held[0] + 1, "it has a pipe to each that is at work"


def sender_of(process: subprocess.Popen[str]) -> int | None:
    """The process that sends for this one, if there is one just now."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else None


def test_what_arrived_is_noted_though_its_sender_is_cut_off_before_its_note(
    database: Database, mails: Mailbox
) -> None:
    with desk(database, mails.url()) as at, database.connect(autocommit=True) as other:

        def cut_off() -> None:
            mails.on_mail = lambda: None
            found = other.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity where state = 'idle' and query like '%begin_sending%'"
            ).fetchall()
            assert (True,) in found

        mails.on_mail = cut_off
        at.make("critical", many=2)
        watch = at.start(WATCH)
        wait_until(lambda: at.waiting() == 0, "all is sent")
        assert len(mails.mails) == 2
        assert at.value("select sum(doubts) from tds_alert_messages") == 0
        watch.terminate()
        _, log = watch.communicate(timeout=PATIENCE)
        assert "the sender of alerts ended with code 1" in log


def killed_while_sending(
    at: Desk, command: tuple[str, ...], got: Callable[[], int], seed: int, under: bool
) -> int:
    """Kills senders in the middle of it, as many as there are to be; then all is sent. Returns the doubts.

    Args:
        at: where.
        command: what is started; anew after each kill, unless what it starts is killed.
        got: how many messages have come.
        seed: of the moments.
        under: what the command starts is killed, and not the command.
    """
    chance = random.Random(seed)
    process = None
    for _ in range(KILLS):
        if at.waiting() < 4:
            at.make("ok")
            at.make("critical", many=4)
        before = got()
        process = at.start(command) if process is None else process
        wait_until(lambda before=before: got() > before, "something is sent")  # type: ignore[misc]
        time.sleep(chance.random() * 0.05)
        if not under:
            process.kill()
            process.communicate()
            process = None
        elif victim := sender_of(process):
            os.kill(victim, signal.SIGKILL)
    if process is not None:
        wait_until(lambda: at.waiting() == 0, "all is sent")
    wait_until(lambda: at.waiting() == 0 or (at.send() is not None and at.waiting() == 0), "all is sent")
    return int(at.value("select sum(doubts) from tds_alert_messages"))


@pytest.mark.timeout(max(300, 30 * KILLS))  # a second or two each on a quiet machine
@pytest.mark.parametrize(
    ("command", "under"),
    [(WATCH, False), (WATCH, True), (ONCE, False)],
    ids=["who starts it", "who sends it", "who sends it and was started by nobody"],
)
def test_a_killed_sender_neither_loses_nor_doubles(
    database: Database,
    mails: Mailbox,
    hook: Hook,
    command: tuple[str, ...],
    under: bool,
    record_property: Callable[[str, object], None],
) -> None:
    with desk(database, f"{mails.url()} {hook.url()}") as at:
        doubts = killed_while_sending(at, command, lambda: len(hook.posts), seed=7, under=under)
        told = {
            str(row[0]) for row in at.conn.execute("select message_id from tds_alert_messages").fetchall()
        }
        by_mail = Counter(mail["X-TDS-Alert"] for mail in mails.mails)
        by_hook = Counter(headers["X-TDS-Alert"] for headers in hook.headers)
        assert set(by_mail) == set(by_hook) == told, "something is lost"
        again = sum(by_mail.values()) + sum(by_hook.values()) - 2 * len(told)
        record_property(
            "measured",
            f"{KILLS} killed, {len(told)} messages to 2 addresses, {again} came again, {doubts} in doubt",
        )
        # whoever starts it may die at any moment; who sends leaves at most what it had in hand, under the same id
        assert again <= doubts <= (KILLS if under or command == ONCE else 0)
        # a change is one message
        changes = [
            tuple(row)
            for row in at.conn.execute("select unnest(alert_ids), change from tds_alert_messages").fetchall()
        ]
        assert len(changes) == len(set(changes))
