"""`tds alerts`: what is open, who sees to it, whether messages arrive."""

from __future__ import annotations

import json
import os
import shlex
import subprocess

import pytest

from tests import commands
from tests.db.receivers import mailbox, webhook
from tests.db.servers import Database


@pytest.fixture
def ill(database: Database) -> Database:
    """One with an alert."""
    with database.connect(autocommit=True) as conn:
        conn.execute("select tds.observe_health()")
        conn.execute(
            "insert into tds.api_account (account, refused, refused_at) values (repeat('a', 64), 'x', now() - interval '1 hour')"
        )
        conn.execute("update tds.health_state set looked_at = '2020-01-01'")
        conn.execute("update tds.setting set value = '0' where name = 'alert_settle_seconds'")
        conn.execute("select tds.observe_health()")
    return database


def tds(database: Database, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "TDS_DATABASE_URL": database.conninfo, **environment}
    return commands.tds(variables, "alerts", *arguments)


def test_an_alert_is_listed_acknowledged_and_muted(ill: Database) -> None:
    shown = tds(ill, "list")
    assert shown.returncode == 4
    assert "api_token" in shown.stdout
    assert "tds alerts ack NUMBER" in shown.stderr
    [alert] = json.loads(tds(ill, "list", "--json").stdout)
    assert (alert["kind"], alert["severity"], alert["state"]) == ("api_token", "critical", "open")
    number = str(alert["id"])
    assert "Acknowledged by Ada: api_token" in tds(ill, "ack", number, "--by", "Ada", "--for", "2h").stdout
    listed = tds(ill, "list", "--json")
    [alert] = json.loads(listed.stdout)
    assert (listed.returncode, alert["state"], alert["acknowledged_by"]) == (0, "acknowledged", "Ada")
    assert tds(ill, "mute", number).returncode == 2
    assert tds(ill, "mute", number, "--for", "2h", "--until", "tomorrow").returncode == 2
    assert tds(ill, "mute", number, "--for", "2 hours").returncode == 0
    assert json.loads(tds(ill, "list", "--json").stdout)[0]["state"] == "muted"
    assert tds(ill, "unmute", number).returncode == 0
    nothing = tds(ill, "unmute", number)
    assert (nothing.returncode, "Nothing was muted" in nothing.stdout) == (1, True)


def test_what_is_muted_still_is_told(ill: Database) -> None:
    """An alert may be muted by its own name, its kind's, or every one's: who ends one of these hears of the others."""
    tds(ill, "mute", "dead_letters", "--for", "2h")
    tds(ill, "mute", "low_stock", "4711", "--for", "2h")
    nothing = tds(ill, "unmute", "*")
    assert (nothing.returncode, nothing.stdout.strip()) == (1, "Nothing was muted by that name.")
    assert "Next: tds alerts unmute dead_letters\n" in nothing.stderr
    tds(ill, "mute", "*", "--for", "1h")
    ended = tds(ill, "unmute", "dead_letters")
    assert ended.returncode == 0
    named = [line.rpartition("Next: tds alerts unmute ")[2] for line in ended.stderr.splitlines()]
    assert named == ["'*'", "low_stock 4711"]
    for name in named:
        assert tds(ill, "unmute", *shlex.split(name)).returncode == 0
    assert "Muted still" not in tds(ill, "unmute", "*").stderr


def test_what_cannot_be_is_told(ill: Database) -> None:
    for arguments, told in {
        ("ack", "4711"): "there is no such alert",
        ("mute", "slotz", "--for", "2h"): "there is no such kind of alert",
        ("mute", "slots", "--for", "two hours"): "two hours",
        ("mute", "slots", "--until", "2020-01-01"): "within the next ten years",
        ("test",): "TDS_ALERT_URLS",
        ("send", "--once"): "TDS_ALERT_URLS",
    }.items():
        refused = tds(ill, *arguments, TDS_ALERT_URLS="", TDS_BUSINESS_ALERT_URLS="")
        assert (refused.returncode, told in refused.stderr) == (1, True), refused.stderr


def test_addresses_are_tried_and_what_is_due_is_sent(ill: Database) -> None:
    with mailbox() as mails, webhook() as hook:
        urls = {"TDS_ALERT_URLS": mails.url(), "TDS_BUSINESS_ALERT_URLS": hook.url("theirsecret")}
        tried = tds(ill, "test", "--json", **urls)
        assert tried.returncode == 0, tried.stderr
        assert [(row["audience"], row["address"], row["arrived"]) for row in json.loads(tried.stdout)] == [
            ("operations", "mailto 1", True),
            ("business", "json 1", True),
        ]
        hook.refuses = 1
        tried = tds(ill, "test", "--audience", "business", **urls)
        assert tried.returncode == 1
        assert "503" in tried.stdout
        assert "theirsecret" not in tried.stdout + tried.stderr
        assert len(mails.mails) == 1
        sent = tds(ill, "send", "--once", **urls)
        assert sent.returncode == 0, sent.stderr
        assert [mail["Subject"] for mail in mails.mails][1:] == ["TDS critical: api_token"]
