"""Bad records cost their neighbours nothing, and say what is wrong with them."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror, product


def page_with_three_bad() -> list[dict[str, object]]:
    records = [product(str(1000 + n)) for n in range(200)]
    records[17]["rate"] = "12,5x"
    del records[99]["item_id"]
    records[150]["sku"] = "x" * 5000
    return records


def test_a_page_of_200_with_3_bad_ones_is_197_rows_and_3_dead_letters(mirror: Mirror) -> None:
    records = page_with_three_bad()
    mirror.receive("products", {"items": records}, shape="list")
    outcome = mirror.process()
    assert (outcome["applied"], outcome["dead"]) == (197, 3)
    assert mirror.value("select count(*) from zoho.products") == 197
    dead = mirror.rows("select * from tds_dead_letter_queue order by position")
    assert [(d["position"], d["path"], d["value"], d["reason"]) for d in dead] == [
        (18, "rate", "12,5x", "not a number"),
        (100, "item_id", None, "missing"),
        (151, "sku", "x" * 200, "5000 characters, the bound is 255"),
    ]
    assert [d["replay_command"] for d in dead] == [f"select tds.replay({d['dead_letter_id']});" for d in dead]
    assert mirror.rows("select status, applied, dead from tds_sync_queue order by status") == [
        {"status": "completed", "applied": 197, "dead": 3},
        *[{"status": "dead_letter", "applied": None, "dead": 1}] * 3,
    ]

    # the source is mended: each is replayed with what it says now
    for d, record in zip(
        dead,
        (records[17] | {"rate": 12.5}, product("1099"), records[150] | {"sku": "short"}),
        strict=True,
    ):
        mirror.conn.execute("select tds.replay(%s, %s)", [d["dead_letter_id"], Jsonb(record)])
    assert mirror.process()["applied"] == 3
    assert mirror.value("select count(*) from zoho.products") == 200
    assert mirror.value("select unit_price from zoho.products where zoho_item_id = '1017'") == 12.5
    assert mirror.rows("select * from tds_dead_letter_queue") == []


def test_a_replay_asks_the_source_too_and_the_mended_detail_closes_the_dead_letter(mirror: Mirror) -> None:
    mirror.receive("products", {"items": [product("1", rate="x")]}, shape="list")
    mirror.process()
    dead_letter_id = mirror.value("select dead_letter_id from tds_dead_letter_queue")
    mirror.conn.execute(f"select tds.replay({dead_letter_id})")
    assert mirror.process()["dead"] == 1, "the stored record is as bad as it was"
    assert mirror.value("select zoho_id from tds.wanted_detail where reason = 'replayed'") == "1"
    mirror.receive("products", {"item": product("1", rate=3, brand="")}, shape="detail")
    assert mirror.process()["applied"] == 1
    assert mirror.rows("select * from tds_dead_letter_queue") == []
    assert mirror.value("select count(*) from tds.wanted_detail") == 0


def test_what_the_readers_miss_is_found_by_halving_and_is_tried_five_times(mirror: Mirror) -> None:
    mirror.conn.execute(
        "alter table zoho.products add constraint nothing_costs_13 check (unit_price is distinct from 13) not valid"
    )
    records = [product(str(2000 + n), rate=13 if n == 70 else 1) for n in range(200)]
    mirror.receive("products", {"items": records}, shape="list")
    outcome = mirror.process()
    assert (outcome["applied"], outcome["retried"], outcome["dead"]) == (199, 1, 0)
    parked = mirror.rows("select * from tds_sync_queue where status = 'failed'")
    assert len(parked) == 1, "it left its page for an event of its own"
    assert (parked[0]["attempts"], parked[0]["error_code"]) == (1, "23514")

    attempts = [1]
    for hour in range(1, 6):
        mirror.conn.execute(
            "select set_config('tds.fake_now', (now() + %s * interval '2 hours')::text, false)", [hour]
        )
        mirror.process()
        attempts += [r["attempts"] for r in mirror.rows("select attempts from tds.inbox_open")]
    assert attempts == [1, 2, 3, 4]
    dead = mirror.rows("select * from tds_dead_letter_queue")
    assert [(d["zoho_id"], d["error_code"], d["attempts"]) for d in dead] == [("2070", "23514", 5)]
    assert "nothing_costs_13" in dead[0]["reason"]

    mirror.conn.execute("alter table zoho.products drop constraint nothing_costs_13")
    assert mirror.value(f"select tds.replay({dead[0]['dead_letter_id']})") > 0
    assert mirror.process()["applied"] == 1


def test_what_was_never_a_record_is_dismissed_by_somebody_for_a_reason(mirror: Mirror) -> None:
    """Nobody tells it anew, and a replay ends as the same letter."""
    for body in ("a test", "another", "not mine"):
        mirror.receive("products", body.encode())
    mirror.process()
    [first, second, third] = [
        row["dead_letter_id"] for row in mirror.rows("select * from tds_dead_letter_queue order by 1")
    ]
    refused = {
        "ZB048": ([first], " "),
        "ZB004": ([first, 4711], "a test of ours"),
    }
    for code, given in refused.items():
        with pytest.raises(psycopg.Error) as raised:
            mirror.conn.execute("select tds.dismiss(%s::bigint[], %s)", given)
        assert raised.value.sqlstate == code
    assert mirror.value("select count(*) from tds_dead_letter_queue") == 3, "all or none"
    dismissed = mirror.value(
        "select tds.dismiss(%s::bigint[], 'a test of ours', 'Ida')", [first, second, first]
    )
    assert dismissed == 2
    assert mirror.rows("select dead_letter_id from tds_dead_letter_queue") == [{"dead_letter_id": third}]
    said = "select resolution, resolved_at is null as is_open from tds.dead_letter where dead_letter_id = %s"
    assert mirror.rows(said, second) == [{"resolution": "dismissed by Ida: a test of ours", "is_open": False}]
    for again in (f"select tds.dismiss(array[{first}], 'why')", f"select tds.replay({first})"):
        with pytest.raises(psycopg.Error) as raised:
            mirror.conn.execute(again)
        assert raised.value.sqlstate == "ZB004"


def test_a_poison_record_delays_nobody_by_more_than_its_batch(mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("1", rate="x")})
    mirror.receive("products", {"item": product("2")})
    outcome = mirror.process()
    assert (outcome["applied"], outcome["dead"]) == (1, 1)


def test_an_outage_counts_no_attempt_and_buries_nobody(mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("1")})
    mirror.conn.execute("alter table zoho.products rename to away")
    for _ in range(7):
        mirror.process()
        mirror.conn.execute("update pgmq.q_tds_products set vt = now()")
    open_event = mirror.rows("select attempts, error_code, retry_at from tds.inbox_open")
    assert open_event == [{"attempts": 0, "error_code": "42P01", "retry_at": None}]
    assert mirror.value("select count(*) from tds.dead_letter") == 0
    mirror.conn.execute("alter table zoho.away rename to products")
    assert mirror.process()["applied"] == 1


def test_the_attempt_is_on_record_though_its_batch_was_rolled_back(mirror: Mirror) -> None:
    mirror.conn.execute("alter table zoho.products add constraint none check (false) not valid")
    mirror.receive("products", {"item": product("1")})
    mirror.process()
    assert mirror.value("select attempts from tds.inbox_open") == 1
    assert mirror.value("select count(*) from zoho.products") == 0


def test_a_newer_event_of_a_parked_record_need_not_wait(mirror: Mirror) -> None:
    mirror.conn.execute("alter table zoho.products add constraint dear check (unit_price < 100) not valid")
    mirror.receive("products", {"item": product("1", rate=500)})
    mirror.process()
    mirror.receive("products", {"item": product("1", rate=5, last_modified_time="2026-06-09T10:00:00-0400")})
    assert mirror.process()["applied"] == 1
    mirror.conn.execute("select set_config('tds.fake_now', (now() + interval '1 hour')::text, false)")
    assert mirror.process()["stale"] == 1
    assert mirror.value("select unit_price from zoho.products") == 5


def test_an_event_without_a_record_says_what_it_lacks(mirror: Mirror) -> None:
    mirror.receive("products", {"test": True})
    mirror.receive("products", {"items": []}, shape="list")
    mirror.process()
    assert mirror.rows("select status from tds_sync_queue order by inbox_id") == [
        {"status": "dead_letter"},
        {"status": "completed"},
    ]
    dead = mirror.rows("select reason, organization_id from tds_dead_letter_queue")
    assert dead == [
        {
            "reason": 'no record in it: neither "items" nor "item" nor "item_id"',
            "organization_id": ORGANIZATION,
        }
    ]


def test_only_a_record_that_says_it_anew_closes_a_dead_letter(mirror: Mirror) -> None:
    """A list row of an invoice says nothing of the lines that were wrong in its detail."""
    invoice = {"invoice_id": "3", "total": 1, "last_modified_time": MOMENT}
    mirror.receive("invoices", {"invoices": [invoice]}, shape="list")
    mirror.receive("invoices", {"invoice": invoice | {"line_items": [{"rate": "x"}]}}, shape="detail")
    mirror.receive("invoices", {"invoices": [invoice]}, shape="list")
    mirror.process()
    assert [d["path"] for d in mirror.rows("select path from tds_dead_letter_queue")] == [
        "line_items[0].rate"
    ]
    mirror.receive("invoices", {"invoice": invoice | {"line_items": [{"rate": 2}]}}, shape="detail")
    mirror.process()
    assert mirror.rows("select * from tds_dead_letter_queue") == []


def test_the_same_bad_value_told_with_every_pull_is_one_dead_letter(mirror: Mirror) -> None:
    for _ in range(3):
        mirror.receive(
            "products", {"items": [product("1", rate="x"), product(""), product("2", rate="y")]}, shape="list"
        )
        mirror.process()
    open_letters = mirror.rows("select inbox_id, zoho_id from tds_dead_letter_queue order by position")
    assert open_letters == [
        {"inbox_id": 3, "zoho_id": "1"},
        {"inbox_id": 3, "zoho_id": None},
        {"inbox_id": 3, "zoho_id": "2"},
    ]
    assert mirror.value("select count(*) from tds.dead_letter") == 9
