"""What one body may cost once it is believed: keys, depth, elements, digits and texts are bounded, on every way in."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.conftest import share
from tests.db.servers import Database, TestServer
from tests.sql.conftest import ORGANIZATION, Mirror, mirror, product

__all__ = ["mirror"]

LONG = ("1e131071", "-1e131071", "1E+5000", "0e-16383", "1e-16383", "7" * 101, "0." + "3" * 101, "1.5e-300")


def record(item_id: str, extra: str = "") -> str:
    """A product as text, so that its numbers are written as they are given."""
    return json.dumps(product(item_id))[:-1] + extra + "}"


def items(*records: str) -> bytes:
    return ('{"items": [' + ", ".join(records) + "]}").encode()


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def dead(mirror: Mirror) -> list[dict[str, Any]]:
    return mirror.rows(
        "select zoho_id, path, value, reason, error_code, record from tds.dead_letter"
        " where resolved_at is null order by dead_letter_id"
    )


def read_all(mirror: Mirror) -> int:
    """Bytes of `select * from products`, and of all that a dump would read."""
    return int(
        mirror.value(
            "select (select coalesce(sum(octet_length(p::text)), 0) from public.products p)"
            " + (select coalesce(sum(octet_length(d::text)), 0) from tds.dead_letter d)"
            " + (select coalesce(sum(octet_length(d::text)), 0) from tds.drift d)"
        )
    )


def webhook(mirror: Mirror, records: list[str]) -> None:
    for each in records:
        mirror.receive("products", f'{{"item": {each}}}'.encode())


def batch(mirror: Mirror, records: list[str]) -> None:
    bodies = [f'{{"item": {each}}}'.encode() for each in records]
    mirror.conn.execute(
        "select * from tds.receive_many(%s, %b::bytea[], %s)",
        [["products"] * len(bodies), bodies, [ORGANIZATION] * len(bodies)],
    )


def page(mirror: Mirror, records: list[str]) -> None:
    mirror.receive("products", items(*records), "list", source="poller")


def detail(mirror: Mirror, records: list[str]) -> None:
    for each in records:
        mirror.receive("products", f'{{"item": {each}}}'.encode(), "detail", source="poller")


def form(mirror: Mirror, records: list[str]) -> None:
    for each in records:
        mirror.receive("products", urlencode({"JSONString": each}).encode())


def text(mirror: Mirror, records: list[str]) -> None:
    for each in records:
        hidden = json.dumps(each).replace("e", "\\u0065").replace("E", "\\u0045")
        mirror.receive("products", f'{{"data": {hidden}}}'.encode())


WAYS: dict[str, Callable[[Mirror, list[str]], None]] = {
    way.__name__: way for way in (webhook, batch, page, detail, form, text)
}


def ids(mirror: Mirror) -> set[str]:
    return {row["zoho_item_id"] for row in mirror.rows("select zoho_item_id from zoho.products")}


@pytest.mark.parametrize("way", WAYS)
def test_a_long_number_is_refused_by_name_and_costs_its_neighbours_nothing(mirror: Mirror, way: str) -> None:
    guilty = {
        str(600 + n): record(str(600 + n), f', "deep": [{{"weight": {number}}}]')
        for n, number in enumerate(LONG)
        # in a page what is as long to write as to read is a text among others
        if way != "page" or "e" in number.lower()
    }
    honest = {str(100 + n): record(str(100 + n)) for n in range(len(guilty))}
    WAYS[way](mirror, [each for pair in zip(honest.values(), guilty.values(), strict=False) for each in pair])
    outcome = mirror.process()
    assert (outcome["applied"], outcome["dead"]) == (len(honest), len(guilty))
    letters = dead(mirror)
    assert {letter["zoho_id"] for letter in letters} == set(guilty)
    for letter in letters:
        assert (letter["path"], letter["error_code"], letter["record"]) == ("deep[0].weight", "ZB001", None)
        assert "number_digits (100)" in letter["reason"]
        assert 0 < len(letter["value"]) < 30
    assert ids(mirror) == set(honest)
    assert read_all(mirror) < 4_000 * len(LONG)
    assert len(guilty) >= 5
    # the second version of a row that is there
    WAYS[way](mirror, [record("100", ', "name": "B", "weight": 1e131071')])
    assert mirror.process()["dead"] == 1
    # as it was it fails again, mended it goes through
    [letter_id] = [
        row["dead_letter_id"]
        for row in mirror.rows(
            "select dead_letter_id from tds.dead_letter where zoho_id = '600' and resolved_at is null"
        )
    ]
    if way != "page":
        mirror.conn.execute("select tds.replay(%s)", [letter_id])
        assert mirror.process()["dead"] == 1
        letter_id = mirror.value(
            "select dead_letter_id from tds.dead_letter where zoho_id = '600' and resolved_at is null"
        )
    mirror.conn.execute("select tds.replay(%s, %s::jsonb)", [letter_id, record("600", ', "deep": 1')])
    assert mirror.process()["applied"] == 1
    assert "600" in ids(mirror)


WITHIN = {
    "digits": ', "n": ' + "7" * 100 + ', "m": 1e99, "o": 1e-100',
    "depth": ', "n": ' + nested(31),
    "keys": ', "n": {' + ", ".join(f'"k{n}": 1' for n in range(10_000)) + "}",
    "elements": ', "n": [' + "0, " * 99_999 + "0]",
    "text": ', "n": "' + "x" * 100_000 + '"',
}
BEYOND = {
    "digits": (', "n": ' + "7" * 101, "n", "number_digits (100)"),
    "depth": (', "n": ' + nested(32), "$", "record_depth (32)"),
    "stack": (', "n": ' + nested(3_000), "$", "record_depth (32)"),
    "keys": (', "n": {' + ", ".join(f'"k{n}": 1' for n in range(10_001)) + "}",
             "n", "10001 keys: more than the setting object_keys (10000)"),
    "own keys": ("".join(f', "k{n}": 1' for n in range(10_001)), "$", "object_keys (10000)"),
    "elements": (', "n": [' + "0, " * 100_000 + "0]", "n", "100001 elements: more than the setting array_elements (100000)"),
    "text": (', "n": [{"m": "' + "x" * 100_001 + '"}]', "n[0].m", "text_characters (100000)"),
    "key": (', "' + "k" * 100_001 + '": 1', "k" * 100, "a key of 100001 characters"),
    "bytes": (', "n": [' + ", ".join('"' + "x" * 90_000 + '"' for _ in range(24)) + "]", "$", "record_bytes (2097152)"),
}  # fmt: skip


def test_every_bound_is_exact(test_server: TestServer) -> None:
    for way in share(["batch", "detail", "page", "form"], test_server.leg):
        with test_server.database() as database, database.connect(autocommit=True) as conn:
            every_bound_is_exact(Mirror(conn), way)


def every_bound_is_exact(mirror: Mirror, way: str) -> None:
    """A record that keeps each bound is applied, and one that is beyond it by one is refused by name, whichever way they come."""
    for name, value in (("text_characters", 100_000), ("record_bytes", 2 * 2**20)):
        mirror.conn.execute("update tds.setting set value = to_jsonb(%s::int) where name = %s", [value, name])
    fits = {str(100 + n): record(str(100 + n), extra) for n, extra in enumerate(WITHIN.values())}
    WAYS[way](mirror, list(fits.values()))
    exceeding = {
        str(600 + n): (name, *told) for n, (name, told) in enumerate(BEYOND.items())
        # a row of a list is looked into only where it is long, or longer to read than to write
        if way != "page" or name not in ("digits", "depth", "stack")
    }  # fmt: skip
    WAYS[way](mirror, [record(item_id, told[1]) for item_id, told in exceeding.items()])
    outcome = mirror.process()
    assert (outcome["applied"], outcome["dead"]) == (len(fits), len(exceeding))
    letters = {letter["zoho_id"]: letter for letter in dead(mirror)}
    for item_id, (name, _, path, reason) in exceeding.items():
        assert letters[item_id]["path"] == path, name
        assert reason in letters[item_id]["reason"], name
        assert len(letters[item_id]["value"]) <= 200, name
    assert ids(mirror) == set(fits)


def test_a_body_of_too_many_values_is_not_even_parsed(mirror: Mirror) -> None:
    for body in (b"[" + b"[]," * 1_100_000 + b"[]]", b'{"item": {"a": [' + b"0," * 1_100_000 + b"0]}}"):
        assert mirror.receive("products", body) == "rejected"
        assert mirror.receive("products", body, "list", source="poller") == "queued"
    assert mirror.process()["claimed"] == 2
    assert [letter["reason"].split(":")[1] for letter in dead(mirror)] == [
        " more than the setting body_values (1000000)"
    ] * 4
    mirror.conn.execute("update tds.setting set value = '2000000' where name = 'body_bytes'")
    assert mirror.receive("products", b'{"item": "' + b"x" * 2_000_000 + b'"}') == "rejected"
    assert (
        "2000012 bytes in one body: more than the setting body_bytes (2000000)" in dead(mirror)[-1]["reason"]
    )


def test_a_name_of_many_levels_is_no_name(mirror: Mirror) -> None:
    for name in ("a." * 100_000 + "b", "a" + "[0]" * 100_000):
        assert mirror.receive("products", urlencode({"item_id": "1", name: "1"}).encode()) == "rejected"
        assert dead(mirror)[-1]["reason"] == "a name of more than 50 levels"


def test_text_of_json_in_text_does_not_exhaust_the_stack(mirror: Mirror) -> None:
    inner = "1"
    for _ in range(3_000):
        inner = f'[{{"line_items": {inner}}}]' if len(inner) < 40 else f"[{inner}]"
    body = json.dumps({"item": {"item_id": "5", "name": "x", "locations": inner}})
    mirror.receive("products", body.encode())
    webhook(mirror, [record("100")])
    outcome = mirror.process()
    assert (outcome["applied"], outcome["dead"]) == (1, 1)
    assert dead(mirror)[0]["reason"] == "deeper than the setting record_depth (32)"


def test_a_dump_of_it_all_is_small(database: Database) -> None:
    numbers = ", ".join("1e131071" for _ in range(9_000))
    with database.connect(autocommit=True) as conn:
        mirror = Mirror(conn)
        webhook(mirror, [record("1", f', "weights": [{numbers}]'), record("2")])
        page(mirror, [record("3", f', "weights": [{numbers}]'), record("4")])
        assert mirror.process()["dead"] == 2
        conn.execute("select tds.observe_drift()")
        assert read_all(mirror) < 20_000
    dump = subprocess.run(
        [database.bin_dir / "pg_dump", "--data-only"],
        env=database.environment,
        capture_output=True,
        check=True,
    )
    assert len(dump.stdout) < 1_000_000


def test_what_takes_too_long_to_look_at_is_stored_without(mirror: Mirror) -> None:
    mirror.conn.execute(
        "create or replace function tds.told_organization(document jsonb, record jsonb) returns text language sql volatile as"
        " $$ select case when $1 ? 'slow' then pg_sleep(600)::text end $$"
    )
    bodies = [
        json.dumps({"slow": 1, "item": product("1")}).encode(),
        json.dumps({"item": product("2")}).encode(),
    ]
    mirror.conn.execute("set statement_timeout = '500ms'")
    told = mirror.rows("select status from tds.receive_many(array['items', 'products'], %b::bytea[], array[%s, %s])",
                       bodies, ORGANIZATION, ORGANIZATION)  # fmt: skip
    mirror.conn.execute("set statement_timeout = 0")
    assert [row["status"] for row in told] == ["queued", "queued"]
    assert mirror.process()["applied"] == 2


def test_whoever_fills_the_disk_alone_is_found(mirror: Mirror) -> None:
    """A trigger that sorts more than may be kept, for one record of three: its neighbours are applied, and it is a dead letter."""
    assert mirror.value("select has_parameter_privilege('tds_owner', 'temp_file_limit', 'set')")
    mirror.conn.execute(
        "update tds.setting set value = '1' where name in ('temporary_mb', 'retry_base_seconds')"
    )
    mirror.conn.execute(
        """create function public.greedy() returns trigger language plpgsql set work_mem = '64kB' as $$
           begin
               if new.zoho_item_id = '2' then
                   perform count(*) from (select n from generate_series(1, 300000) n order by md5(n::text) offset 1) s;
               end if;
               return new;
           end $$;
           create trigger greedy before insert on zoho.products for each row execute function public.greedy()"""
    )
    page(mirror, [record("1"), record("2"), record("3")])
    outcome = mirror.process()
    assert (outcome["applied"], outcome["retried"]) == (2, 1)
    assert mirror.value("select error_code from tds.inbox_open") == "53400"
    for _ in range(5):
        mirror.conn.execute("update tds.inbox_open set retry_at = tds.now() where retry_at is not null")
        mirror.process()
    [letter] = dead(mirror)
    assert (letter["zoho_id"], letter["error_code"]) == ("2", "53400")
    assert mirror.value("show temp_file_limit") == "-1"
