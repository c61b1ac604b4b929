"""The life of an alert: whatever the checks say in whatever order, one is open at most, each ends, and each change is told once.

`TDS_ALERT_HISTORIES` says how many random histories are played, `TDS_ALERT_QUIET_STEP` how many minutes a step of the quiet week has.
"""

from __future__ import annotations

import builtins
import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import Mirror
from tests.sql.test_health import ILLNESSES, PROGRAMS, Ward, ward

__all__ = ["ward"]

HISTORIES = int(os.environ.get("TDS_ALERT_HISTORIES", "6"))
QUIET_STEP = int(os.environ.get("TDS_ALERT_QUIET_STEP", "360"))
BEGINNING = datetime(2026, 6, 9, 10, 0, tzinfo=UTC)
KINDS = ("queue_pending", "queue_oldest", "slots")
CHANGES = {"opened", "escalated", "reminded", "resolved"}


class House:
    """Checks that say what they are told to, and a clock."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.now = BEGINNING
        self.states = dict.fromkeys(KINDS, "ok")
        self.since = dict.fromkeys(KINDS, BEGINNING)
        self.tell_time()

    def run(self, statement: str, *parameters: Any) -> None:
        self.mirror.conn.execute(statement.encode(), parameters or None)

    def tell_time(self) -> None:
        self.run("select set_config('tds.fake_now', %s, false)", self.now.isoformat())

    def look(self, minutes: float = 5, **states: str) -> None:
        """Time goes by; the checks say what is given, the others what they said before."""
        self.now += timedelta(minutes=minutes)
        self.tell_time()
        for kind, state in states.items():
            if self.states[kind] != state:
                self.states[kind], self.since[kind] = state, self.now
        for kind in KINDS:
            self.run(
                "insert into tds.health_state as s values (%s, %s, 7, 5, %s, %s, %s) on conflict (check_name) do update "
                "set state = excluded.state, told = excluded.told, since = excluded.since, looked_at = excluded.looked_at",
                kind,
                self.states[kind],
                f"{kind} says {self.states[kind]}",
                self.since[kind],
                self.now,
            )
        self.run("select tds.raise_alerts()")

    def alert(self, kind: str = "queue_pending") -> dict[str, Any] | None:
        """The newest alert of that kind."""
        rows = self.mirror.rows("select * from tds_alerts where kind = %s order by id desc limit 1", kind)
        return rows[0] if rows else None

    def list(self, query: str, *parameters: Any) -> builtins.list[Any]:
        """The one column of a query."""
        return [next(iter(row.values())) for row in self.mirror.rows(query, *parameters)]

    def told(self) -> builtins.list[str]:
        return self.list("select change from tds_alert_messages order by delivery_id")

    def state(self) -> str | None:
        found = self.alert()
        return found["state"] if found else None


@pytest.fixture
def house(mirror: Mirror) -> House:
    return House(mirror)


def test_an_alert_is_opened_escalated_eased_and_resolved(house: House) -> None:
    house.look(queue_pending="warning")
    assert house.alert() is None, "a peak may be over"
    house.look()
    found = house.alert()
    assert found is not None
    assert (found["state"], found["severity"], found["kind"], found["organization_id"]) == (
        "open", "warning", "queue_pending", None,
    )  # fmt: skip
    assert found["summary"] == "queue_pending: 7 events (warning from 5): queue_pending says warning"
    assert found["next_command"].startswith("see workers")
    house.look(queue_pending="critical")
    assert house.told() == ["opened"]
    house.look()
    assert house.told() == ["opened", "escalated"]
    house.look(queue_pending="warning")
    house.look()
    assert (house.alert() or {})["severity"] == "critical", "not believed yet"
    house.look()
    assert (house.alert() or {})["severity"] == "warning"
    house.look(queue_pending="ok")
    house.look()
    assert house.state() == "open", "not believed yet"
    house.look()
    assert house.state() == "resolved"
    assert house.told() == ["opened", "escalated", "resolved"]
    house.look(60)
    assert house.mirror.value("select count(*) from tds_alerts") == 1


def test_what_is_ill_for_long_already_is_told_at_once(house: House) -> None:
    house.since["slots"] = BEGINNING - timedelta(hours=1)
    house.states["slots"] = "critical"
    house.look()
    assert house.told() == ["opened"]
    assert (house.alert("slots") or {})["since"] == house.since["slots"]


def test_a_check_that_fails_is_told_and_resolves_nothing(house: House) -> None:
    for state in ("critical", "unknown"):
        for _ in range(10):
            house.look(queue_pending=state, slots="unknown")
    assert (house.alert() or {})["severity"] == "critical"
    assert (house.alert("slots") or {})["severity"] == "warning"
    assert "says unknown" in (house.alert("slots") or {})["summary"]
    assert house.told() == ["opened", "opened"]


def test_flapping_is_no_storm(house: House) -> None:
    """Whatever it does within a week: it comes back and is well for just long enough each time."""
    while house.now < BEGINNING + timedelta(days=7):
        house.look(queue_pending="critical")
        while house.state() in (None, "resolved"):
            house.look()
        house.look(queue_pending="ok")
        while house.state() == "open":
            house.look(30)
    told = Counter(house.told())
    assert told["opened"] <= 14, told
    assert told["opened"] == told["resolved"]


def test_a_check_that_goes_up_and_down_escalates_seldom(house: House) -> None:
    chance = random.Random(3)
    for _ in range(4 * 24 * 4):
        house.look(15, queue_pending=chance.choice(("warning", "critical")))
        house.look(5)
    told = Counter(house.told())
    assert told["opened"] == 1
    assert told["escalated"] <= 10, told


def test_an_escalation_breaks_through_an_acknowledgement(house: House) -> None:
    house.look(queue_pending="warning")
    house.look()
    number = (house.alert() or {})["id"]
    assert house.mirror.value("select tds.acknowledge_alert(%s, 'Ada')", number).startswith(
        "queue_pending: 7 events"
    )
    assert house.state() == "acknowledged"
    assert (house.alert() or {})["acknowledged_by"] == "Ada"
    house.look(300)
    assert house.told() == ["opened"]
    house.look(queue_pending="critical")
    house.look()
    assert house.state() == "open"
    assert (house.alert() or {})["acknowledged_by"] is None
    assert house.told() == ["opened", "escalated"]


def test_an_acknowledgement_ends_and_what_is_open_then_is_told_again(house: House) -> None:
    house.look(queue_pending="warning")
    house.look()
    number = (house.alert() or {})["id"]
    house.run("select tds.acknowledge_alert(%s, until => tds.now() + interval '1 hour')", number)
    house.look(55)
    assert house.state() == "acknowledged"
    house.look(5)
    assert house.state() == "open"
    house.look(600)
    assert house.told() == ["opened", "reminded"]
    house.run("select tds.acknowledge_alert(%s, until => tds.now() + interval '1 hour')", number)
    house.look(30, queue_pending="ok")
    house.look(30)
    assert house.told() == ["opened", "reminded", "resolved"]


def test_a_mute_ends_by_itself_and_what_is_so_then_is_told(house: House) -> None:
    assert house.mirror.value("select tds.mute_alerts('queue_pending', tds.now() + interval '2 hours')") == 0
    house.look(queue_pending="warning")
    house.look()
    assert house.state() == "muted"
    assert (house.alert() or {})["muted_until"] == BEGINNING + timedelta(hours=2)
    house.look(queue_pending="critical", slots="warning")
    house.look()
    assert house.told() == ["opened"], "of another one"
    house.look(120)
    assert house.state() == "open"
    assert house.mirror.rows(
        "select change, severity, title from tds_alert_messages order by 1, delivery_id"
    ) == [
        {"change": "opened", "severity": "warning", "title": "TDS warning: slots"},
        {"change": "opened", "severity": "critical", "title": "TDS critical: queue_pending"},
    ]


def test_two_hours_of_a_clock_that_was_ahead_are_over_when_it_is_right(house: House) -> None:
    house.look(queue_pending="critical", slots="warning")
    house.look()
    assert house.told() == ["opened", "opened"]
    ahead = "tds.now() + interval '200 days'"
    house.run(f"select set_config('tds.fake_now', ({ahead})::text, false)")
    house.run("select tds.mute_alerts('*', tds.now() + interval '2 hours')")
    house.run("select tds.acknowledge_alert(min(id), 'Ada', tds.now() + interval '2 hours') from tds_alerts")
    house.look(queue_oldest="warning")
    house.look()
    assert house.told() == ["opened", "opened"], "muted"
    acts = house.mirror.rows("select act, detail from tds.heal_clock(tds.now(), false)")
    assert [act["detail"] for act in acts] == ["1 mutes, 1 acknowledgements"]
    house.look()
    assert sorted(house.told()) == ["opened", "opened", "opened", "reminded"]
    assert house.mirror.rows("select * from tds.heal_clock(tds.now(), true)") == []


def test_what_opens_and_ends_within_a_mute_is_told_to_nobody(house: House) -> None:
    house.run("select tds.mute_alerts('*', tds.now() + interval '5 hours')")
    house.look(queue_pending="critical")
    house.look()
    house.look(queue_pending="ok")
    house.look(60)
    assert house.state() == "resolved"
    house.look(600)
    assert house.told() == []


def test_what_was_told_and_ends_within_a_mute_is_told_afterwards(house: House) -> None:
    house.look(queue_pending="critical")
    house.look()
    number = (house.alert() or {})["id"]
    house.run("select tds.mute_alert(%s, tds.now() + interval '3 hours')", number)
    house.look(queue_pending="ok")
    house.look(60)
    assert house.state() == "resolved"
    assert house.told() == ["opened"]
    house.look(180)
    assert house.told() == ["opened", "resolved"]


def test_a_mute_can_be_ended(house: House) -> None:
    house.look(queue_pending="critical")
    house.look()
    number = (house.alert() or {})["id"]
    house.run("select tds.mute_alert(%s, now() + interval '1 year')", number)
    assert house.state() == "muted"
    assert house.mirror.value("select tds.unmute_alert(%s)", number) == 1
    assert house.state() == "open"
    assert house.mirror.value("select tds.unmute_alerts('queue_pending')") == 0


@pytest.mark.parametrize(
    ("deed", "code"),
    [
        ("select tds.acknowledge_alert(4711)", "ZB060"),
        ("select tds.mute_alert(4711, tds.now() + interval '1 hour')", "ZB060"),
        ("select tds.mute_alerts('slots', tds.now())", "ZB061"),
        ("select tds.mute_alerts('slots', null)", "ZB061"),
        ("select tds.mute_alerts('slots', 'infinity')", "ZB061"),
        ("select tds.mute_alerts('slotz', tds.now() + interval '1 hour')", "ZB062"),
        ("select tds.mute_alerts(null, tds.now() + interval '1 hour')", "ZB062"),
    ],
)
def test_what_cannot_be_is_refused(shared: Mirror, deed: str, code: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        shared.conn.execute(deed.encode())
    assert caught.value.sqlstate == code


def test_a_check_may_be_left_out(house: House) -> None:
    house.run(
        "update tds.setting set value = value || '{\"alert\": false}' where name = 'health_queue_pending'"
    )
    house.look(queue_pending="critical")
    house.look(60)
    assert house.alert() is None


def test_a_clock_set_back_holds_nothing_up(house: House) -> None:
    house.look(queue_pending="critical")
    house.look()
    house.look(queue_pending="ok")
    house.now -= timedelta(days=30)
    for _ in range(4):
        house.since["queue_pending"] = house.now
        house.look()
    assert house.state() == "resolved"


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_any_history_keeps_what_holds_of_alerts(seed: int, house: House) -> None:
    """At most one is open of a name; a change is in one message; what was told as open is told as over; mutes are kept."""
    chance = random.Random(seed)
    for _ in range(120):
        changed = {
            kind: chance.choice(("ok", "ok", "warning", "critical", "unknown"))
            for kind in KINDS
            if chance.random() < 0.3
        }
        muted = set(
            house.list(
                "select kind from tds_alerts where state = 'muted' and muted_until > tds.now() + interval '5 hours'"
            )
        )
        before = house.mirror.value("select coalesce(max(delivery_id), 0) from tds_alert_messages")
        house.look(chance.choice((5, 5, 15, 60, 240)), **changed)
        new = house.list(
            "select distinct a.kind from tds_alert_messages m join tds_alerts a on a.id = any (m.alert_ids) where m.delivery_id > %s",
            before,
        )
        assert not muted & set(new)
        number = house.mirror.value("select max(id) from tds_alerts where resolved_at is null")
        if number and chance.random() < 0.2:
            deed = chance.choice(("acknowledge_alert(%s)", "acknowledge_alert(%s, until => tds.now() + interval '90 minutes')",
                                  "mute_alert(%s, tds.now() + interval '10 hours')", "unmute_alert(%s)"))  # fmt: skip
            house.run(f"select tds.{deed}", number)
    for _ in range(4):
        house.look(24 * 60, **dict.fromkeys(KINDS, "ok"))
    assert house.mirror.value("select count(*) from tds_alerts where resolved_at is null") == 0
    overlapping = """
        select count(*) from tds_alerts a join tds_alerts b
            on a.kind = b.kind and a.entity = b.entity and a.id < b.id and a.resolved_at > b.opened_at"""
    assert house.mirror.value(overlapping) == 0
    stories: dict[int, list[str]] = {}
    for row in house.mirror.rows("select alert_ids, change from tds_alert_messages order by delivery_id"):
        assert len(row["alert_ids"]) == 1
        stories.setdefault(row["alert_ids"][0], []).append(row["change"])
    assert set(stories) <= {row["id"] for row in house.mirror.rows("select id from tds_alerts")}
    for story in stories.values():
        assert story[0] == "opened"
        assert story[-1] == "resolved"
        assert story.count("opened") == story.count("resolved") == 1
        assert set(story) <= CHANGES
    assert house.mirror.value("select count(*) from tds_alerts where announced <> 'resolved'") == 0


def stock(
    mirror: Mirror, number: int, quantity: float | None, level: float | None = None, **more: Any
) -> None:
    given = {"stock_quantity": quantity, "reorder_level": level, "is_active": True, "deleted_at": None} | more
    mirror.conn.execute(
        "insert into zoho.products as p (organization_id, zoho_item_id, name, unit, is_active, stock_quantity, reorder_level, deleted_at, "
        "zoho_metadata, synced_at, sync_version, sync_observed_at, sync_rank) values ('1', %(id)s, %(name)s, 'pcs', %(is_active)s, "
        "%(stock_quantity)s, %(reorder_level)s, %(deleted_at)s, '{}', now(), 1, now(), 1) "
        "on conflict (organization_id, zoho_item_id) do update set stock_quantity = excluded.stock_quantity, "
        "reorder_level = excluded.reorder_level, is_active = excluded.is_active, deleted_at = excluded.deleted_at",
        {"id": str(number), "name": f"Cable\n{number}", **given},
    )


def open_stock(house: House) -> set[tuple[str, str]]:
    rows = house.mirror.rows(
        "select kind, entity, organization_id, audience from tds_alerts where resolved_at is null"
    )
    assert {(row["organization_id"], row["audience"]) for row in rows} <= {("1", "business")}
    return {(row["kind"], row["entity"]) for row in rows}


def test_stock_is_told_once_until_restocked(house: House) -> None:
    stock(house.mirror, 1, 5)
    stock(house.mirror, 2, 6)
    stock(house.mirror, 3, 20, 20)
    stock(house.mirror, 4, 21, 20)
    stock(house.mirror, 5, 3, 0)
    stock(house.mirror, 6, -2)
    stock(house.mirror, 7, 0, is_active=False)
    stock(house.mirror, 8, 0, deleted_at=BEGINNING)
    stock(house.mirror, 9, None)
    house.look()
    low = {("low_stock", number) for number in "1356"}
    assert open_stock(house) == low | {("negative_stock", "6")}
    assert house.told() == ["opened", "opened"]
    rows = house.mirror.rows("select title, body, audience, alert_ids from tds_alert_messages order by title")
    assert [row["title"] for row in rows] == [
        "TDS warning: low stock of 4 products",
        "TDS warning: negative stock of Cable 6",
    ]
    assert {row["audience"] for row in rows} == {"business"}
    assert "- Cable 3: 20 pcs left, level 20\n" in rows[0]["body"]
    assert "- Cable 5: 3 pcs left, level 5 (the default: it has none of its own)" in rows[0]["body"]
    for quantity in (4, 3, 2, 1, 0):
        stock(house.mirror, 1, quantity)
        house.look(120)
    assert house.told() == ["opened", "opened"], "once"
    stock(house.mirror, 1, 50)
    stock(house.mirror, 6, 50)
    house.look()
    house.look(15)
    assert open_stock(house) == {("low_stock", "3"), ("low_stock", "5")}
    assert house.told() == ["opened", "opened", "resolved", "resolved"]
    stock(house.mirror, 1, 2)
    house.look(15)
    assert open_stock(house) >= {("low_stock", "1")}
    house.run("update tds.setting set value = 'null' where name = 'low_stock_default'")
    house.look(24 * 60)
    house.look(24 * 60)
    assert open_stock(house) == {("low_stock", "3")}


def test_the_place_where_stock_is_negative_is_named(house: House) -> None:
    stock(house.mirror, 1, 10)
    house.run(
        "insert into zoho.stock_levels (organization_id, zoho_item_id, zoho_warehouse_id, warehouse_name, on_hand, synced_at) "
        "values ('1', '1', '77', 'Harbour', -3, now())"
    )
    house.look()
    assert open_stock(house) == {("negative_stock", "1")}
    assert "-3 in Harbour" in (house.alert("negative_stock") or {})["summary"]


def test_a_fault_of_the_alerts_costs_the_health_nothing(mirror: Mirror) -> None:
    broken = "create or replace function tds.stock_signals() returns setof tds.alert_signal language plpgsql as $$ begin %s end $$"
    mirror.conn.execute((broken % "perform 1/0;").encode())
    mirror.conn.execute(
        "select tds.set_aside('observe_drift', 'event 7', '22000', 'a test''s', null, now() - interval '1 hour')"
    )
    assert mirror.value("select tds.observe_health()") is not None
    assert mirror.value("select count(*) from tds.health_state") > 40
    kept = "select item, error_code from tds.set_aside where job = 'health'"
    assert mirror.rows(kept) == [{"item": "alerts of business", "error_code": "22012"}]
    assert mirror.value("select count(*) from tds_alerts where kind = 'set_aside'") == 1, (
        "the other audience is told all the same"
    )
    mirror.conn.execute((broken % "return;").encode())
    mirror.conn.execute("select tds.observe_health()")
    assert mirror.rows(kept) == [], "it went well since"


def test_each_role_may_do_its_part(mirror: Mirror, database: Database) -> None:
    house = House(mirror)
    house.look(queue_pending="critical")
    house.look()
    number = (house.alert() or {})["id"]
    deeds = (
        "select tds.acknowledge_alert(%s)",
        "select tds.mute_alert(%s, now() + interval '1 year')",
        "select tds.unmute_alert(%s)",
    )
    for role, may in {
        "tds_reader": False,
        "tds_operator": True,
        "tds_receiver": False,
        "tds_poller": False,
    }.items():
        with database.connect(autocommit=True, role=role) as conn:
            for deed in deeds:
                if may:
                    conn.execute(deed.encode(), [number])
                else:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        conn.execute(deed.encode(), [number])
    for role in ("tds_reader", "tds_operator"):
        with database.connect(autocommit=True, role=role) as conn:
            assert conn.execute("select count(*) from tds_alerts, tds_alert_messages").fetchone() == (1,)
    for role in ("tds_worker", "tds_operator"):
        with database.connect(autocommit=True, role=role) as conn:
            assert conn.execute("select tds.begin_messages('{operations}', '{json 1}')").fetchone() == (True,)
            claimed = conn.execute("select delivery_id from tds.claim_message('{operations}')").fetchone()
            if claimed:
                conn.execute(
                    "select tds.begin_sending(%s, 'json 1'), tds.end_sending(%s, 'json 1', null)", claimed * 2
                )
                conn.execute("select tds.finish_message(%s, '{json 1}')", claimed)
            conn.execute("select tds.messages_due('{operations}'), tds.end_messages(), tds.look_if_overdue()")


# What is planted in tests/sql/test_health.py, all of it, and how it ends ("": by itself, once whoever holds something has gone and
# who was silent works again). What is told of beside the others is in one database.
LASTING = {
    "worker stopped": "",
    "poller stopped": "",
    "receiver stopped": "",
    "program hangs": "",
    "job that fails": "delete from tds.job where job = 'broken'",
    "job that sets aside": "delete from tds.set_aside",
    "job that nobody runs": "",
    "event that kills its worker": "delete from tds.dead_letter",
    "burst of errors": "delete from tds.dead_letter",
    "a new kind of error": "delete from tds.dead_letter",
    "event waits in vain": "",
    "queue fills": "",
    "transaction left open": "",
    "xmin held back": "update tds.setting set value = value || '{\"warning\": 900}' where name = 'health_oldest_transaction'",
    "transaction ids used up": "update tds.setting set value = value || '{\"warning\": 50}' where name = 'health_xids'",
    "token revoked": "delete from tds.api_account",
    "quota gone": "delete from tds.api_budget",
    "API paused": "delete from tds.api_budget",
    "details in vain": "delete from tds.wanted_detail",
    "list not read for days": "delete from tds.full_pull",
    "pull failed": "delete from tds.run",
    "pull lost": "delete from tds.run",
    "mass deletion held": "delete from tds.held_deletion",
    "healing that fails": "delete from tds.heal_log",
    "healed again and again": "delete from tds.heal_log",
    "object changed by hand": "",
    "webhook to a wrong address": "delete from tds.stray",
    "dead rows left": "vacuum zoho.taxes",
    "slot left": "",
    "disk nearly full": "delete from tds.disk",
    "disk fills fast": "delete from tds.disk",
    "clock wrong": "delete from tds.program where host = 'elsewhere'",
    "a check that fails": "",
}
LOCKED = {"lock held": ""}
SILENT = {
    "silence of one entity": "select tds.receive('invoices', '{\"invoice\": {\"invoice_id\": \"1\"}}', '1')",
    "job switched off": "update tds.job set enabled = true",
}
MENDED = {
    "partitions missing": "partitions_ahead",
    "autovacuum off": "autovacuum",
    "inbox locked at night": "retention",
    "message lost": "queue_oldest",
    "parked for ever": "queue_oldest",
    "worker killed": "queue_oldest",
    "claim stuck": "claims_stuck",
}
"""What heals within minutes, and what is told of it where it lasts."""
AT_LEAST = {"queue_oldest": timedelta(minutes=30), "claims_stuck": timedelta(minutes=10)}
"""How old what these tell of has to be: their thresholds, as they are or as it was planted."""
BY_HAND = ("tds.lock_class()", "tds.heal_pulls(boolean)", "tds.check_connections()")
STEPS = 12
"""After which what was not told is never told."""


def plant_what_heals(name: str, ward: Ward) -> None:
    """Plants one of MENDED; what is left of a night at which the inbox was locked, without its 13 seconds of waiting."""
    if name != "inbox locked at night":
        ILLNESSES[name].plant(ward)
        return
    ward.run("update tds.setting set value = '1' where name = 'keep_inbox_days'")
    ward.run("select tds.ensure_partition((tds.now() - interval '5 days')::date)")
    ward.run(
        "insert into tds.retention_state (what, ran_at, removed, error) "
        "values ('inbox', tds.now(), 0, '55P03 canceling statement due to lock timeout')"
    )


def changes(ward: Ward) -> dict[str, list[str]]:
    """What was told of each kind."""
    return {
        row["kind"]: row["changes"]
        for row in ward.mirror.rows(
            """select a.kind, array_agg(m.change order by m.delivery_id) as changes
                 from tds_alert_messages m join tds_alerts a on a.id = any (m.alert_ids) group by a.kind"""
        )
    }


def until_told(ward: Ward, checks: set[str], again: Callable[[], object] = lambda: None) -> None:
    """Turns until all of them are told of, each once, and none before it was ill for two minutes."""
    for _ in range(STEPS):
        again()
        ward.turn()
        if checks <= set(changes(ward)):
            break
    ill = changes(ward)
    assert checks <= set(ill), checks - set(ill)
    assert all(found in (["opened"], ["opened", "escalated"]) for found in ill.values()), ill
    early = """
        select a.kind, a.opened_at, a.since, a.value, a.threshold
          from tds_alerts a join tds.health_check c on c.check_name = a.kind
         where a.opened_at < a.since + interval '2 minutes'
            or case when c.lower_is_worse then a.value > a.threshold else a.value < a.threshold end"""
    assert ward.mirror.rows(early) == []


def until_over(ward: Ward, checks: set[str]) -> None:
    """Turns, in which what waits is worked on, until nothing is open, and of each it was told once that it is over."""
    for _ in range(STEPS):
        ward.turn()
        ward.mirror.process()
        if not ward.mirror.value("select count(*) from tds_alerts where resolved_at is null"):
            break
    assert ward.mirror.rows("select kind, summary from tds_alerts where resolved_at is null") == []
    well = changes(ward)
    for check in checks:
        assert well[check] in (["opened", "resolved"], ["opened", "escalated", "resolved"]), (
            check,
            well[check],
        )


def test_every_illness_has_its_place() -> None:
    assert [*LASTING, *LOCKED, *SILENT, *MENDED] == list(dict.fromkeys([*LASTING, *LOCKED, *SILENT, *MENDED]))
    assert {*LASTING, *LOCKED, *SILENT, *MENDED} == set(ILLNESSES)


@pytest.mark.parametrize(
    "endings",
    [pytest.param(LASTING, id="most"), pytest.param(LOCKED, id="locked"), pytest.param(SILENT, id="silent")],
)
def test_every_illness_is_told_once_and_resolved_once(endings: dict[str, str], ward: Ward) -> None:
    # one slow look at the delay of what came is not what this is about
    ward.threshold("delay", warning=None, critical=None)
    ward.turn()
    assert changes(ward) == {}
    definitions = [ward.mirror.value("select pg_get_functiondef(%s::regprocedure)", name) for name in BY_HAND]

    def tell_wrong_time() -> None:
        if "clock wrong" in endings:
            ILLNESSES["clock wrong"].plant(ward)

    for name in endings:
        ILLNESSES[name].plant(ward)
    checks = {ILLNESSES[name].check for name in endings}
    until_told(ward, checks, tell_wrong_time)
    ward.working |= set(PROGRAMS)
    ward.stack.close()
    for statement in [*definitions, *dict.fromkeys(filter(None, endings.values()))]:
        ward.run(statement)
    until_over(ward, checks)


def test_what_heals_within_minutes_is_told_to_nobody(ward: Ward) -> None:
    ward.threshold("delay", warning=None, critical=None)
    ward.turn()
    for name in MENDED:
        plant_what_heals(name, ward)
        healed = ILLNESSES[name].healed
        assert healed
        for _ in range(STEPS):
            ward.turn()
            if ward.mirror.value(healed):
                break
        assert ward.mirror.value(healed), name
        ward.mirror.process()
        assert ward.mirror.value("select count(*) from tds.inbox_open") == 0
    for _ in range(STEPS):
        ward.turn()
    assert ward.mirror.value("select count(*) from zoho.products") == ward.products - 1000
    assert ward.mirror.rows("select kind, summary, opened_at from tds_alerts") == []
    assert changes(ward) == {}


def test_what_heals_not_is_told_once_it_lasts_and_resolved_once(ward: Ward) -> None:
    ward.threshold("delay", warning=None, critical=None)
    ward.turn()
    ward.run("update tds.job set enabled = false where job = 'heal'")
    for name in MENDED:
        plant_what_heals(name, ward)
    planted, checks = ward.now, set(MENDED.values())
    until_told(ward, checks)
    opened = {
        row["kind"]: row["at"] - planted
        for row in ward.mirror.rows("select kind, opened_at as at from tds_alerts")
    }
    assert all(opened[kind] >= least for kind, least in AT_LEAST.items()), opened
    ward.run("update tds.job set enabled = true where job = 'heal'")
    until_over(ward, checks)


def test_a_quiet_week_raises_none(ward: Ward) -> None:
    ward.run("update tds.setting set value = '36000' where name = 'job_grace_seconds'")
    ward.run("update tds.job set enabled = true where job = 'retention'")
    ward.step = timedelta(minutes=QUIET_STEP)
    for _ in range(7 * 24 * 60 // QUIET_STEP):
        ward.turn()
    assert ward.mirror.rows("select kind, summary, opened_at from tds_alerts") == []
    assert ward.mirror.value("select count(*) from tds_alert_messages") == 0
