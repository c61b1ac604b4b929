"""Whatever the body, it is stored and has its defined answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.db.servers import Database
from tests.sql.conftest import ORGANIZATION, Mirror, product

RECORD = {"name": "كابل", "rate": 1.5}
# The forms of a record of which the id is told.
TAKEN: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "wrapped": lambda record: json.dumps({"item": record}).encode(),
    "bare": lambda record: json.dumps(record).encode(),
    "in data": lambda record: json.dumps({"event_type": "item.updated", "data": record}).encode(),
    "in an array": lambda record: json.dumps([record]).encode(),
    "id as a 19-digit number": lambda record: json.dumps({"item": record | {"item_id": int(record["item_id"])}}).encode(),
    "form with JSONString": lambda record: urlencode({"JSONString": json.dumps({"item": record})}).encode(),
    "form with JSONString among others": lambda record: urlencode({"a": "b", "JSONString": json.dumps(record)}).encode(),
    "form with pairs": lambda record: urlencode(record).encode(),
    "form with a nested object": lambda record: urlencode({"item": json.dumps(record)}).encode(),
    "10 MB": lambda record: json.dumps({"item": record | {"description": "x" * 10_000_000}}).encode(),
}  # fmt: skip
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty body"),
    "blank": (b" \r\n", "empty body"),
    "not JSON": (b"<html>", "not JSON"),
    "cut off": (b'{"item": {"item_id": "1"', "not JSON"),
    "NUL escape": (b'{"item": {"item_id": "1", "name": "a\\u0000b"}}', "not JSON"),
    "lone surrogate": (b'{"item": {"item_id": "1", "name": "\\ud83d"}}', "not JSON"),
    "NUL byte": (b'{"item": \x00}', "not UTF-8"),
    "not UTF-8": (b'{"item": {"name": "\xff\xfe"}}', "not UTF-8"),
    "too deep": (b"[" * 100_000, "not JSON"),
    "a broken form": (b"JSONString=%7B", "not JSON"),
    "a form of broken UTF-8": (b"JSONString=%FF", "not JSON"),
}


@pytest.mark.parametrize("form", TAKEN)
def test_every_form_of_one_record_is_applied(shared: Mirror, own_id: str, form: str) -> None:
    item_id = f"2646610{own_id}"
    before = shared.rows("select zoho_item_id from zoho.products")
    assert shared.receive("products", TAKEN[form]({"item_id": item_id} | RECORD)) == "queued"
    assert shared.process()["applied"] == 1
    rows = shared.rows("select zoho_item_id, name, unit_price from zoho.products")
    assert [row for row in rows if {"zoho_item_id": row["zoho_item_id"]} not in before] == [
        {"zoho_item_id": item_id, "name": "كابل", "unit_price": 1.5}
    ]


@pytest.mark.parametrize(("body", "reason"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("shape", ["webhook", "list"])
def test_what_cannot_be_read_is_stored_as_it_came_and_dead_lettered(
    shared: Mirror, own_id: str, body: bytes, reason: str, shape: str
) -> None:
    before = shared.value("select coalesce(max(inbox_id), 0) from tds.inbox")
    shared.receive("products", body, shape=shape)
    shared.receive("products", {"item": product(own_id)})
    assert shared.process()["applied"] == 1, "its neighbour is not harmed"
    new = "where inbox_id > %s order by inbox_id"
    stored = shared.rows(f"select body, body_raw from tds.inbox {new}", before)[0]
    assert (stored["body_raw"] if stored["body"] is None else stored["body"].encode()) == body
    dead = shared.rows(f"select * from tds_dead_letter_queue {new}", before)
    assert len(dead) == 1
    assert dead[0]["reason"].startswith(reason)
    assert shared.value("select count(*) from tds.inbox_open") == 0


def test_a_webhook_that_cannot_be_read_is_rejected_at_once(mirror: Mirror) -> None:
    assert mirror.receive("products", b"<html>") == "rejected"
    assert mirror.rows("select status from tds_sync_queue") == [{"status": "dead_letter"}]


@pytest.mark.parametrize("entity", ["stocks", "", "products; drop table", "PRODUCTS"])
def test_an_unknown_entity_is_stored_and_rejected(shared: Mirror, entity: str) -> None:
    before = shared.value("select coalesce(max(dead_letter_id), 0) from tds.dead_letter")
    assert shared.receive(entity, {"x": 1}) == "rejected"
    letters = "select entity, error_code from tds_dead_letter_queue where dead_letter_id > %s"
    assert shared.rows(letters, before) == [{"entity": entity, "error_code": "ZB002"}]


def test_a_body_inserted_by_hand_takes_the_same_way(mirror: Mirror) -> None:
    """A DBA may feed the inbox with plain SQL."""
    mirror.conn.execute(
        """
        insert into tds.inbox (received_at, organization_id, entity, source, shape, event, observed_at, body)
        select now(), 'o', 'products', 'by hand', 'webhook', 'upsert', now(), body
          from unnest(array['{"item": {"item_id": "1"}}', '{']) body"""
    )
    outcome = mirror.process()
    assert (outcome["claimed"], outcome["applied"]) == (2, 1)
    assert mirror.value("select count(*) from tds_dead_letter_queue") == 1


def test_receive_many_gives_one_status_each(mirror: Mirror) -> None:
    same = json.dumps({"item": product("1")}).encode()
    statuses: list[Any] = mirror.rows(
        "select ord, status from tds.receive_many(%s, %s::bytea[])",
        ["products", "products", "nonsense", "products"],
        [same, same, b"{}", b"not json"],
    )
    assert statuses == [
        {"ord": 1, "status": "queued"},
        {"ord": 2, "status": "duplicate"},
        {"ord": 3, "status": "rejected"},
        {"ord": 4, "status": "rejected"},
    ]


def test_the_organisation_is_the_callers_the_bodys_or_the_settings(mirror: Mirror) -> None:
    for organization_id, body in [
        ("111", {"organization_id": 222, "item": product("1")}),
        (None, {"organization_id": 222, "item": product("2")}),
        (None, {"item": product("3")}),
    ]:
        mirror.conn.execute(
            "select tds.receive('products', %b, %s)", [json.dumps(body).encode(), organization_id]
        )
    mirror.process()
    assert mirror.rows("select zoho_item_id, organization_id from zoho.products order by 1") == [
        {"zoho_item_id": "1", "organization_id": "111"},
        {"zoho_item_id": "2", "organization_id": "222"},
        {"zoho_item_id": "3", "organization_id": "default"},
    ]


def test_a_batch_is_taken_as_its_bodies_would_be_one_by_one(database: Database) -> None:
    """Whatever the batch: statuses, and what is stored, are those of single calls, record by record."""
    one, two = (json.dumps({"item": product("1", name=name)}).encode() for name in ("A", "B"))
    contact = json.dumps({"contact": {"contact_id": "5", "contact_name": "C"}}).encode()
    batches = [
        [("products", one), ("products", one), ("products", two), ("products", one), ("products", one)],
        [("customers", contact), ("vendors", contact), ("nonsense", contact), ("nonsense", contact)],
        [("products", one), ("products", b"not json"), ("products", b"\xff"), ("products", b"")],
        [("products", b"[" * 20_000 + b"]" * 20_000), ("customers", contact)],
        [("products", b"[]"), ("products", b"[]"), ("stock", one), ("prices", one), ("stock", b"1")],
        [("products", b"JSONString=" + quote(two).encode()), ("products", two), ("", b"{}")],
        [("products", json.dumps({"organization_id": 77, "item": product("1")}).encode())] * 2,
    ]
    for batch in batches:
        found = []
        for whole in (True, False):
            with database.connect() as conn:
                mirror = Mirror(conn)
                entities, bodies = zip(*batch, strict=True)
                if whole:
                    query = "select ord, status from tds.receive_many(%s, %s::bytea[])"
                    statuses = mirror.rows(query, list(entities), list(bodies))
                else:
                    statuses = [
                        {
                            "ord": place,
                            "status": mirror.value("select status from tds.receive(%s, %b)", *each),
                        }
                        for place, each in enumerate(batch, 1)
                    ]
                stored = mirror.rows(
                    """select organization_id, entity, source, shape, event, record_id, body, body_raw, refusal,
                              observed_at between received_at - interval '1 s' and received_at as at_once
                         from tds.inbox order by entity, record_id, inbox_id"""
                )
                opened = mirror.rows("select queue, entity from tds.inbox_open order by 1, 2")
                dead = mirror.value("select count(*) from tds.dead_letter")
                found.append((statuses, stored, opened, dead))
                conn.rollback()
        assert found[0] == found[1], batch


@pytest.mark.parametrize("names", [("A", "B"), ("B", "A"), ("A", "B", "A"), ("B", "A", "B")])
def test_of_two_edits_in_one_second_and_one_batch_the_later_wins(
    shared: Mirror, own_id: str, names: tuple[str, ...]
) -> None:
    bodies = [json.dumps({"item": product(own_id, name=name)}).encode() for name in names]
    query = "select count(*) from tds.receive_many(%s, %s::bytea[]) where status = 'queued'"
    assert shared.value(query, ["products"] * len(bodies), bodies) == len(bodies)
    shared.process()
    assert shared.value("select name from zoho.products where zoho_item_id = %s", own_id) == names[-1]


def test_a_batch_knows_what_came_before_it(mirror: Mirror) -> None:
    body = json.dumps({"item": product("1")}).encode()
    query = "select ord, inbox_id, status from tds.receive_many(%s, %s::bytea[], event => %s)"
    first = mirror.rows(query, ["products"], [body], None)
    again = mirror.rows(query, ["products"] * 2, [body, body], ["upsert", "delete"])
    assert again[0] == {**first[0], "status": "duplicate"}
    assert again[1]["status"] == "queued"
    mirror.receive("products", json.dumps({"items": [product("1")]}).encode(), shape="list")
    mirror.conn.execute("update tds.inbox set organization_id = 'default' where shape = 'list'")
    assert mirror.rows(query, ["products"], [body], ["delete"])[0]["status"] == "queued"


@pytest.mark.parametrize("between", ["webhook", "detail", "same set"])
def test_what_a_body_of_several_records_has_told_in_between_is_told_back(
    shared: Mirror, own_id: str, between: str
) -> None:
    """A template may tell no time: the edit back to what was before is the very bytes of before."""
    first = {"item_id": own_id, "rate": 1}
    several = [{"item_id": own_id, "rate": 2}, {"item_id": f"{own_id}9", "rate": 3}]
    shared.receive("products", {"item": product(own_id, rate=1)}, "detail")
    shared.receive("products", first)
    shared.process()
    if between == "same set":
        bodies = [json.dumps(body).encode() for body in (several, first)]
        query = "select array_agg(status order by ord) from tds.receive_many(%s, %s::bytea[], %s)"
        assert shared.value(query, ["products"] * 2, bodies, [ORGANIZATION] * 2) == ["queued"] * 2
    else:
        shared.receive("products", several if between == "webhook" else {"items": several}, between)
        shared.process()
        assert shared.receive("products", first) == "queued"
    shared.process()
    assert shared.value("select unit_price from zoho.products where zoho_item_id = %s", own_id) == 1
    assert shared.receive("products", first) == "duplicate"


@pytest.mark.new_database
def test_the_search_for_duplicates_does_not_grow_with_the_day(mirror: Mirror) -> None:
    """Even if it was planned while the day was empty, and known to be."""
    mirror.conn.execute("vacuum analyze tds.inbox")
    query = "select count(*) from tds.receive_many(%s, %s::bytea[]) where status = %s"
    batches = [
        [json.dumps({"item": product(f"{batch}-{number}")}).encode() for number in range(50)]
        for batch in range(30)
    ]
    for status in ("queued", "duplicate"):
        for batch in batches:
            assert mirror.value(query, ["products"] * 50, batch, status) == 50
    mirror.conn.execute("select pg_stat_clear_snapshot()")
    time.sleep(1.1)  # a session tells of its reads once a second at most
    mirror.conn.execute("select 1")
    read = mirror.value(
        """select sum(t.seq_tup_read) + sum(i.idx_tup_read)
             from pg_stat_user_tables t join pg_stat_user_indexes i using (relid)
            where starts_with(t.relname, 'inbox_2')"""
    )
    assert read < 10 * 3000
