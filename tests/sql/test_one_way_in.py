"""From a stored body to its records there is one way, whoever asks: the made inserters, a second look, a proof."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror, product

ITEM = product("460000000026001")
OTHER = product(460000000026002)
FORM = b"JSONString=" + json.dumps({"item": ITEM}).encode().replace(b" ", b"+").replace(b'"', b"%22")


def without_time(**changed: Any) -> dict[str, Any]:
    return {key: value for key, value in {**ITEM, **changed}.items() if key != "last_modified_time"}


BODIES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "a list": ({"items": [ITEM, OTHER], "page_context": {}}, "list", {}),
    "an empty list": ({"items": []}, "list", {}),
    "one record": ({"item": ITEM}, "webhook", {}),
    "wrapped in data": ({"data": ITEM}, "webhook", {}),
    "several in data": ({"data": [ITEM, OTHER]}, "webhook", {}),
    "bare": (ITEM, "webhook", {}),
    "an array": ([ITEM, OTHER], "webhook", {}),
    "no record": ({"message": "hello"}, "webhook", {}),
    "no list": ({"items": "none"}, "list", {}),
    "not an object": ({"items": [1, "x", None, ITEM]}, "list", {}),
    "no id": ({"item": product("")}, "webhook", {}),
    "not an id": ({"items": [product("a b"), product({"id": 1})]}, "list", {}),
    "no such hour": ({"item": product("1", last_modified_time="2026-06-09T25:00:00-0400")}, "webhook", {}),
    "no such day": ({"item": product("1", last_modified_time="2026-02-30T10:00:00Z")}, "webhook", {}),
    "end of the month": ({"item": product("1", last_modified_time="2026-01-31T10:00:00Z")}, "webhook", {}),
    "not a time": ({"item": product("1", last_modified_time="yesterday")}, "webhook", {}),
    "not even a text": ({"item": product("1", last_modified_time={"at": 1})}, "webhook", {}),
    "no time": ({"item": without_time()}, "webhook", {}),
    "a detail without a time": (
        {"item": without_time()},
        "detail",
        {"headers": json.dumps({"modified_at": MOMENT})},
    ),
    "a deletion": ({"item": ITEM}, "webhook", {"event": "delete"}),
}

# What may hold a number too long is read nowhere before it has been looked at.
LOOKED_AT_FIRST: dict[str, Any] = {
    "a form": FORM,
    "a rounded id": {"items": [ITEM, product(4.6e17)]},
    "an exponent": {"item": {**ITEM, "weight": 1e90}},
    "a long run of digits": {"item": {**ITEM, "weight": 10**50}},
    "an escape": json.dumps({"item": {**ITEM, "name": "Caf\u00e9"}}).replace("\\u00e9", "\\u0043").encode(),
}

# The records of all events in work, by the two ways: the inserter's own reading (nothing is new to it that is said to be
# deleted, so it hands all of them back), and that of a second look.
BOTH_WAYS = """
with stored as materialized (
    select array_agg(i.inbox_id order by i.inbox_id) as ids, array_agg(i.received_at order by i.inbox_id) as ats from tds.inbox i
), inserter as (
    select r from stored s cross join lateral tds.insert_events('products', s.ids, s.ats, null, '{}', now()) n
     cross join lateral unnest(n.rest) r
), second_look as (
    select r from stored s cross join lateral unnest(tds.explode('products', tds.read_events('products', s.ids, s.ats))) r
)
select (select coalesce(jsonb_agg(to_jsonb(i.r) order by (i.r).ord), '[]') from inserter i),
       (select coalesce(jsonb_agg(to_jsonb(l.r) order by (l.r).ord), '[]') from second_look l)
"""


@pytest.mark.parametrize("form", BODIES)
def test_the_inserter_and_a_second_look_read_the_same(shared: Mirror, form: str) -> None:
    body, shape, named = BODIES[form]
    with shared.conn.transaction(force_rollback=True):
        shared.receive("products", body, shape, **named)
        # beside a deletion nothing is inserted, so that all that was read comes back
        shared.receive("products", {"item": product("9")}, event="delete")
        row = shared.conn.execute(BOTH_WAYS, {"org": ORGANIZATION}).fetchone()
    assert row is not None
    inserter, second_look = row
    assert inserter[-1]["zoho_id"] == "9"
    assert inserter == second_look


@pytest.mark.parametrize("form", LOOKED_AT_FIRST)
def test_the_inserter_refuses_what_has_to_be_looked_at_first(mirror: Mirror, form: str) -> None:
    mirror.receive("products", LOOKED_AT_FIRST[form])
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="looked at more closely"):
        mirror.conn.execute(BOTH_WAYS, {"org": ORGANIZATION})
    mirror.process()
    assert mirror.value("select count(*) from zoho.products") == 1


def readers(database: Database, pattern: str) -> set[str]:
    """The functions of TDS whose text has the pattern, comments aside."""
    with database.connect() as conn:
        return {
            name
            for (name,) in conn.execute(
                "select proname from pg_proc where pronamespace = 'tds'::regnamespace"
                "   and regexp_replace(prosrc, '--[^\\n]*', '', 'g') ~ %s",
                [pattern],
            )
        }


def test_no_function_takes_records_out_of_a_body_by_itself(database: Database) -> None:
    # look() is asked before it is known what the body is about, and by the whole document
    assert readers(database, r"tds\.payload\(") == {"body_records", "look"}
    # set_apart() sorts an answer that is no document yet, so that it becomes one
    whole = {"body_records", "look", "why_no_document", "set_apart"}
    assert readers(database, r"tds\.document\(") == whole
    assert readers(database, r"tds\.form_document\(|\mbody::jsonb|\(i\.body\)::jsonb") == {"document"}
    # besides: who looks whether a document is the one that was told, erases a person from it, or compares what Zoho answers
    assert readers(database, r"tds\.record_time\(|tds\.record_id\(|jsonb_hash_extended\(\w+\.doc, 0\)") == {
        "versions",
        "version_differences",
        "erase_rows",
        "note_detail",
    }


def test_what_the_one_way_learns_every_reader_knows(database: Database, mirror: Mirror) -> None:
    """A form of body that nobody knows yet, taught to tds.payload() alone."""
    body = {"parcel": {"content": ITEM}}
    bad = {"parcel": {"content": product("7", rate="much")}}
    assert mirror.value("select tds.document_problem(%s)", json.dumps(body)) is None
    source = mirror.value("select pg_get_functiondef('tds.payload(jsonb,text,text,text)'::regprocedure)")
    first = "select case when jsonb_typeof($1 -> $3 -> $4)"
    assert first in source
    taught = "select case when $1 ? 'parcel' then jsonb_build_array($1 #> '{parcel,content}')"
    mirror.conn.execute(source.replace(first, first.replace("select case", taught)))
    mirror.receive("products", body)
    assert mirror.process()["applied"] == 1
    assert mirror.rows("select zoho_item_id from zoho.products") == [{"zoho_item_id": ITEM["item_id"]}]
    # told by the body itself, and found in it by whoever explains
    assert mirror.value("select record_id from tds.inbox order by inbox_id limit 1") == ITEM["item_id"]
    assert (
        mirror.value("select outcome from tds.explain_record('products', %s)", ITEM["item_id"]) == "applied"
    )
    # beside one that cannot be read, which takes the way of a second look and names the value
    mirror.receive("products", bad)
    mirror.receive("products", {"parcel": {"content": OTHER}})
    outcome = mirror.process()
    assert (outcome["applied"], outcome["dead"]) == (1, 1)
    assert mirror.rows("select path, value, reason from tds.dead_letter") == [
        {"path": "rate", "value": "much", "reason": "not a number"}
    ]
    listed = mirror.value("select tds.listed('products', %b)", json.dumps(body).encode())
    assert [record["item_id"] for record in listed] == [ITEM["item_id"]]
