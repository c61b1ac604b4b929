"""Pulls: what may be asked for, how a run goes from queued to its end, and how it is stopped."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror, product


def ask(mirror: Mirror, entity: str, **options: Any) -> int:
    """Asks for a pull and returns its run."""
    query = "select tds.request_pull(%s, %s::jsonb, %s)"
    return int(mirror.value(query, entity, json.dumps(options), ORGANIZATION))


def begin(mirror: Mirror, run: int) -> str:
    return str(mirror.value("select tds.begin_pull(%s)", run))


def page(
    mirror: Mirror, run: int, key: str, records: list[dict[str, Any]], number: int = 1, more: bool = False
) -> int:
    """Stores a page of a run and returns its event."""
    body = json.dumps({"code": 0, key: records}).encode()
    query = "select tds.store_page(%s, %s, %b, now(), %s, %s)"
    return int(mirror.value(query, run, number, body, more, len(records)))


def settle(mirror: Mirror) -> int:
    return int(mirror.value("select tds.settle_pulls(%s)", ORGANIZATION))


def row(mirror: Mirror, run: int) -> dict[str, Any]:
    [found] = mirror.rows("select * from tds_sync_runs where run_id = %s", run)
    return found


def wants(mirror: Mirror, run: int) -> set[str]:
    return {
        want["zoho_id"]
        for want in mirror.rows("select zoho_id from tds.wanted_detail where run_id = %s", run)
    }


def refusal(mirror: Mirror, entity: str, options: Any) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as raised:
        mirror.value("select tds.request_pull(%s, %s::jsonb, %s)", entity, json.dumps(options), ORGANIZATION)
    return raised.value


def invoice(invoice_id: str, **changed: Any) -> dict[str, Any]:
    """An invoice as a list shows it."""
    return {
        "invoice_id": invoice_id,
        "invoice_number": f"I-{invoice_id}",
        "last_modified_time": MOMENT,
    } | changed


def test_the_same_wish_is_one_run_however_it_is_written(mirror: Mirror) -> None:
    first = ask(mirror, "invoices", modified_since="2026-01-01T03:00:00+03:00", batch_size=200)
    again = ask(
        mirror, "invoices", modified_since="2026-01-01T00:00:00Z", incremental=True, include_line_items=True
    )
    other = ask(mirror, "invoices", modified_since="2026-01-02")
    assert first == again != other
    assert ask(mirror, "stock", warehouses=["2", "1", "2"]) == ask(mirror, "stock", warehouses=["1", "2"])
    assert begin(mirror, first) == "running"
    assert ask(mirror, "invoices", modified_since="2026-01-01T00:00:00Z") == first
    assert begin(mirror, other) == "queued", "one run of a list at a time"
    assert mirror.value("select count(*) from pgmq.q_tds_pull") == 3
    assert row(mirror, first)["options"] == {
        "incremental": True,
        "modified_since": "2026-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("entity", "options", "path", "reason"),
    [
        ("products", {"colour": 1}, "colour", "no such option"),
        ("products", {"include_line_items": True}, "include_line_items", "no line items"),
        ("products", {"batch_size": 0}, "batch_size", "from 1 to 200"),
        ("products", {"batch_size": 201}, "batch_size", "from 1 to 200"),
        ("products", {"batch_size": 1.5}, "batch_size", "from 1 to 200"),
        ("products", {"batch_size": "20"}, "batch_size", "from 1 to 200"),
        ("products", {"batch_size": 1e30}, "batch_size", "from 1 to 200"),
        ("products", {"incremental": 1}, "incremental", "true or false"),
        ("products", {"modified_since": "2026-13-01"}, "modified_since", "must be a date"),
        ("products", {"modified_since": "2026-01-01T00:00:00"}, "modified_since", "must be a date"),
        ("products", {"modified_since": "2026-01-01T00:00:00+30:28"}, "modified_since", "must be a date"),
        ("products", {"modified_since": 5}, "modified_since", "must be a date"),
        ("products", {"modified_since": "2999-01-01"}, "modified_since", "in the future"),
        ("products", {"modified_since": "1999-01-01"}, "modified_since", "full pull"),
        ("products", {"modified_since": "2026-01-01", "incremental": False}, "modified_since", "incremental is false"),
        ("invoices", {"include_addresses": False}, "include_addresses", "addresses of their own"),
        ("customers", {"warehouses": ["1"]}, "warehouses", "only stock"),
        ("stock", {"incremental": True}, "incremental", "last_modified_time"),
        ("stock", {"batch_size": 101}, "batch_size", "from 1 to 100"),
        ("stock", {"warehouses": [""]}, "warehouses", "array of 1 to 200 ids"),
        ("stock", {"warehouses": ["Nowhere"]}, "warehouses", "no warehouse 'Nowhere'"),
        ("stock", {"warehouses": [1]}, "warehouses", "array of 1 to 200 ids"),
        ("stock", {"warehouses": {"1": 2}}, "warehouses", "array of 1 to 200 ids"),
        ("pricelists", {"modified_since": "2026-01-01"}, "modified_since", "always read whole"),
        ("pricelists", {"pricelist_ids": ["a b"]}, "pricelist_ids", "array of 1 to 200 ids"),
        ("currencies", {"batch_size": 20}, "batch_size", "handful"),
        ("organizations", {"update_only": True}, "update_only", "handful"),
        ("products", [], "options", "must be an object"),
    ],
)  # fmt: skip
def test_what_would_do_nothing_is_refused_with_its_reason(
    mirror: Mirror, entity: str, options: Any, path: str, reason: str
) -> None:
    error = refusal(mirror, entity, options)
    assert error.sqlstate == "ZB010"
    told, _, why = (error.diag.message_detail or "").partition(": ")
    assert told == path
    assert reason in why
    assert (error.diag.message_hint or "").startswith(f"options of {entity}: ")
    assert mirror.rows("select * from tds.run") == []


def test_who_and_whose(mirror: Mirror) -> None:
    assert refusal(mirror, "sheep", {}).sqlstate == "ZB002"
    assert refusal(mirror, "stock_adjustments", {}).sqlstate == "ZB002", "which has no list"
    with pytest.raises(psycopg.Error) as raised:
        mirror.value("select tds.request_pull('products')")
    assert raised.value.sqlstate == "ZB013"
    mirror.receive(
        "organizations", {"organization": {"organization_id": ORGANIZATION, "name": "T"}}, "detail"
    )
    mirror.process()
    run = mirror.value("select tds.request_pull('products')")
    assert row(mirror, run)["organization_id"] == ORGANIZATION, "the only one needs no name"
    assert row(mirror, run)["requested_by"] == mirror.value("select session_user")
    mirror.conn.execute("""update tds.setting set value = '"77"' where name = 'organization_id'""")
    assert row(mirror, mirror.value("select tds.request_pull('products')"))["organization_id"] == "77"


def test_a_date_begins_where_the_organisation_is(mirror: Mirror) -> None:
    named = {"organization_id": ORGANIZATION, "name": "T", "time_zone": "Asia/Baghdad"}
    mirror.receive("organizations", {"organization": named}, "detail")
    mirror.process()
    run = ask(mirror, "bills", modified_since="2026-02-01")
    assert row(mirror, run)["options"]["modified_since"] == "2026-01-31T21:00:00+00:00"


def test_a_switch_stops_pulls_with_a_reason(mirror: Mirror) -> None:
    mirror.conn.execute("update tds.setting set value = 'false' where name = 'bulk_sync_enabled'")
    mirror.conn.execute(
        """update tds.setting set value = '"rollback until Monday"' where name = 'bulk_sync_reason'"""
    )
    error = refusal(mirror, "products", {})
    assert (error.sqlstate, error.diag.message_detail) == ("ZB011", "rollback until Monday")
    assert mirror.receive("products", {"item": product("1")}) == "queued"


def test_an_incremental_pull_starts_where_the_last_pass_began(mirror: Mirror) -> None:
    first = ask(mirror, "invoices", incremental=True)
    assert begin(mirror, first) == "running"
    assert (row(mirror, first)["since"], row(mirror, first)["filtered"]) == (None, False), (
        "nothing was read before"
    )
    page(mirror, first, "invoices", [invoice("1")])
    mirror.conn.execute(
        "update tds.run set cursor_from = '2026-01-01T00:00:00.9Z' where run_id = %s", [first]
    )
    known = ask(mirror, "invoices", update_only=True)
    begin(mirror, known)
    page(mirror, known, "invoices", [invoice("1")])
    gap = ask(mirror, "invoices", modified_since="2026-06-01")
    begin(mirror, gap)
    page(mirror, gap, "invoices", [])
    second = ask(mirror, "invoices", incremental=True)
    begin(mirror, second)
    told = "select since, filtered, is_pass from tds.run where run_id = %s"
    [shown] = mirror.rows(told, second)
    assert shown["since"] == datetime(2025, 12, 31, 23, 50, tzinfo=UTC), (
        "neither of the two in between was a pass"
    )
    assert (shown["filtered"], shown["is_pass"]) == (True, True)
    # Where the API has no such filter, the whole list is read.
    products = ask(mirror, "products", modified_since="2026-01-01")
    begin(mirror, products)
    assert row(mirror, products)["filtered"] is False
    [is_pass] = (
        mirror.conn.execute("select is_pass from tds.run where run_id = %s", [products]).fetchone() or []
    )
    assert is_pass is False, "what is older than modified_since was never read"


def test_a_page_keeps_what_the_options_ask_for(mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("1")})
    mirror.process()
    records = [product("1", name="New", rate=0.10), product("2"), product("3")]
    run = ask(mirror, "products", update_only=True)
    begin(mirror, run)
    event = page(mirror, run, "items", records)
    body = mirror.value("select body from tds.inbox where inbox_id = %s", event)
    assert [record["item_id"] for record in json.loads(body)["items"]] == ["1"]
    assert '"rate": 0.1' in body
    assert row(mirror, run)["records"] == 3, "seen"
    since = ask(mirror, "products", modified_since="2026-06-09T13:46:21Z")
    begin(mirror, since)
    told = [
        product("4"),
        product("5", last_modified_time="2026-06-09T09:46:20-0400"),
        product("6", last_modified_time=""),
    ]
    event = page(mirror, since, "items", told)
    kept = json.loads(mirror.value("select body from tds.inbox where inbox_id = %s", event))["items"]
    assert [record["item_id"] for record in kept] == ["4", "6"], "what does not say when may be newer"
    lists = ask(mirror, "pricelists", pricelist_ids=["8"])
    begin(mirror, lists)
    event = page(mirror, lists, "pricebooks", [{"pricebook_id": "7"}, {"pricebook_id": "8"}])
    kept = json.loads(mirror.value("select body from tds.inbox where inbox_id = %s", event))["pricebooks"]
    assert kept == [{"pricebook_id": "8"}]


def test_a_page_that_cannot_be_read_goes_on_as_it_came(mirror: Mirror) -> None:
    run = ask(mirror, "products", update_only=True)
    begin(mirror, run)
    body = b'{"items": [{"item_id": "1", "name": "a\\u0000b"}]}'
    event = mirror.value("select tds.store_page(%s, 1, %b, now(), false, 1)", run, body)
    assert mirror.value("select body from tds.inbox where inbox_id = %s", event) == body.decode()
    mirror.process()
    assert mirror.value("select count(*) from tds_dead_letter_queue") == 1


HALF = b"a \\ud83d"
UNREADABLE = [b"a\\u0000b", HALF, HALF + b"\\ud83d\\ude00", b"\\\\\\u0000", b"\\uDE00"]


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_record_that_cannot_be_read_costs_its_neighbours_nothing(mirror: Mirror, name: bytes) -> None:
    run = ask(mirror, "products")
    begin(mirror, run)
    good = [b'{"item_id": "1", "name": "x"}', b'{"item_id": "3", "name": "\\\\u0000 \\ud83d\\ude00"}']
    bad = b'{"item_id": "2", "name": "%s"}' % name
    body = b'{"items": [%s, %s, %s]}' % (good[0], bad, good[1])
    mirror.value("select tds.store_page(%s, 1, %b, now(), false, 3)", run, body)
    mirror.process()
    assert mirror.rows("select zoho_item_id, name from zoho.products order by 1") == [
        {"zoho_item_id": "1", "name": "x"},
        {"zoho_item_id": "3", "name": "\\u0000 \U0001f600"},
    ]
    [letter] = mirror.rows("select inbox_id, reason from tds.dead_letter")
    assert letter["reason"].startswith("not JSON: ")
    stored = mirror.value(
        "select convert_to(body, 'UTF8') from tds.inbox where inbox_id = %s", letter["inbox_id"]
    )
    assert json.loads(bytes(stored)) == {"item": json.loads(bad)}
    assert row(mirror, run)["error"] is None


def test_a_record_that_cannot_be_read_was_on_its_page(mirror: Mirror) -> None:
    run = ask(mirror, "products")
    begin(mirror, run)
    body = b'{"items": [{"item_id": "1", "name": "\\ud83d"}, {"item_id": "2"}]}'
    mirror.value("select tds.store_page(%s, 1, %b, now(), true, 2)", run, body)
    assert mirror.value("select zoho_ids from tds.run_page where run_id = %s", run) == ["1", "2"]


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_detail_that_cannot_be_read_costs_those_it_came_with_nothing(mirror: Mirror, name: bytes) -> None:
    body = b'{"items": [{"item_id": "1", "name": "x"}, {"item_id": "2", "name": "%s"}]}' % name
    query = "select tds.store_detail('products', %s, array['1', '2'], %b, tds.now())"
    assert mirror.value(query, ORGANIZATION, body) == "queued"
    mirror.process()
    assert mirror.value("select array_agg(zoho_item_id) from zoho.products") == ["1"]
    assert mirror.value("select array_agg(zoho_id) from tds.dead_letter") == ["2"]


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_record_that_cannot_be_read_stops_no_comparison(mirror: Mirror, name: bytes) -> None:
    mirror.receive("products", {"item": {"item_id": "1", "name": "x"}}, "detail")
    mirror.process()
    body = b'{"items": [{"item_id": "1", "name": "%s"}, {"item_id": "2", "name": "y"}]}' % name
    assert mirror.value("select tds.listed('products', %b)", body) == [
        {"item_id": "1"},
        {"item_id": "2", "name": "y"},
    ]
    number = mirror.value("select tds.begin_verification('details', array['products'], %s)", ORGANIZATION)
    detail = b'{"item": {"item_id": "1", "name": "%s"}}' % name
    mirror.value(
        "select tds.note_detail(%s, 'products', %s, array['1'], %b, now() + interval '1 s')",
        number,
        ORGANIZATION,
        detail,
    )
    [found] = mirror.rows(
        "select zoho_id, what, should_be #>> '{}' as said from tds.verification_difference where verification_id = %s",
        number,
    )
    assert (found["zoho_id"], found["what"]) == ("1", "document")
    assert found["said"].startswith("not JSON: ")


def test_details_that_a_pull_leaves_out_are_had_by_the_next_one(mirror: Mirror) -> None:
    run = ask(mirror, "invoices", include_line_items=False)
    begin(mirror, run)
    page(mirror, run, "invoices", [invoice("1"), invoice("2")])
    mirror.process()
    assert mirror.rows("select * from tds.wanted_detail") == []
    assert settle(mirror) == 1
    assert row(mirror, run)["state"] == "complete"
    detail = {"invoice": invoice("2", line_items=[])}
    mirror.receive("invoices", detail, "detail")
    mirror.process()
    full = ask(mirror, "invoices")
    begin(mirror, full)
    page(mirror, full, "invoices", [invoice("1"), invoice("2"), invoice("3")])
    mirror.process()
    settle(mirror)
    assert wants(mirror, full) == {"1", "3"}, "1 is unchanged, yet lacks its lines"
    later = ask(mirror, "invoices", incremental=True)
    begin(mirror, later)
    page(mirror, later, "invoices", [])
    settle(mirror)
    assert (wants(mirror, later), wants(mirror, full)) == (set(), {"1", "3"}), "one that asks is enough"
    shown = row(mirror, full)
    assert (shown["state"], shown["details_wanted"], shown["details_fetched"]) == ("settling", 2, 0)


def test_a_run_ends_with_its_last_detail(mirror: Mirror) -> None:
    run = ask(mirror, "invoices")
    begin(mirror, run)
    page(mirror, run, "invoices", [invoice("1"), invoice("2")])
    assert settle(mirror) == 0, "its page is not processed yet"
    mirror.process()
    assert settle(mirror) == 0, "two details are wanted"
    mirror.receive("invoices", {"invoice": invoice("1", line_items=[])}, "detail")
    mirror.process()
    mirror.conn.execute("select tds.note_progress(%s, 2, 1)", [run])
    shown = row(mirror, run)
    assert (shown["calls"], shown["details_wanted"], shown["details_fetched"]) == (3, 2, 1)
    assert shown["progress"] == pytest.approx(0.5)
    assert shown["eta"] is not None
    mirror.conn.execute("select tds.detail_failed('invoices', %s, '2', 'code 5')", [ORGANIZATION])
    assert settle(mirror) == 1
    shown = row(mirror, run)
    assert (shown["state"], shown["details_failed"]) == ("partial", 1)
    assert shown["error"] == "1 details could not be had, e.g. code 5"


def test_a_cancelled_run_takes_no_more(mirror: Mirror) -> None:
    waiting, running, settling = ask(mirror, "bills"), ask(mirror, "products"), ask(mirror, "invoices")
    begin(mirror, running)
    begin(mirror, settling)
    page(mirror, settling, "invoices", [invoice("1")])
    mirror.process()
    assert wants(mirror, settling) == {"1"}
    for run in (waiting, running, settling):
        assert mirror.value("select tds.cancel_run(%s)", run) == "cancelled"
        assert mirror.value("select tds.cancel_run(%s)", run) == "cancelled"
        assert begin(mirror, run) == "cancelled"
    assert mirror.value("select count(*) from pgmq.q_tds_pull") == 0
    assert wants(mirror, settling) == set()
    with pytest.raises(psycopg.Error) as raised:
        page(mirror, running, "items", [product("1")])
    assert raised.value.sqlstate == "ZB003"
    assert "is cancelled" in (raised.value.diag.message_detail or "")
    with pytest.raises(psycopg.Error) as raised:
        mirror.value("select tds.cancel_run(999)")
    assert raised.value.sqlstate == "ZB012"
    again = ask(mirror, "invoices")
    begin(mirror, again)
    page(mirror, again, "invoices", [invoice("1")])
    mirror.process()
    settle(mirror)
    assert wants(mirror, again) == {"1"}, "what the cancelled one wanted is wanted again"


def test_a_run_whose_command_has_died_is_gone_on_with(mirror: Mirror) -> None:
    dead = mirror.value("select tds.start_run('bills', %s)", ORGANIZATION)
    other = ask(mirror, "bills", batch_size=20)
    assert begin(mirror, other) == "queued"
    assert mirror.value("select message_id from tds.run where run_id = %s", dead) is None
    mirror.conn.execute(
        "update tds.run set heartbeat_at = now() - interval '11 minutes' where run_id = %s", [dead]
    )
    assert begin(mirror, other) == "queued"
    assert (
        mirror.value("select count(*) from pgmq.q_tds_pull where (message ->> 'run_id')::bigint = %s", dead)
        == 1
    )
    assert begin(mirror, dead) == "running"
    assert begin(mirror, dead) == "running", "it is the poller's from now on"
    page(mirror, dead, "bills", [])
    assert row(mirror, dead)["state"] == "settling"
    assert begin(mirror, other) == "running"


def test_a_command_that_lives_is_left_alone(mirror: Mirror) -> None:
    own = mirror.value("select tds.start_run('bills', %s)", ORGANIZATION)
    assert ask(mirror, "bills") == own, "the same wish"
    assert begin(mirror, own) == "queued", "not the poller's turn"
    page(mirror, own, "bills", [])
    assert begin(mirror, own) == "complete"


def test_an_unfinished_list_tells_its_eta_from_the_one_before(mirror: Mirror) -> None:
    first = ask(mirror, "bills", batch_size=3)
    begin(mirror, first)
    assert (row(mirror, first)["progress"], row(mirror, first)["eta"]) == (None, None), "nobody knows"
    page(mirror, first, "bills", [{"bill_id": number} for number in "123"], more=True)
    page(mirror, first, "bills", [{"bill_id": "4"}], 2)
    mirror.process()
    mirror.conn.execute("select tds.cancel_run(%s)", [first])
    second = ask(mirror, "bills", batch_size=1)
    begin(mirror, second)
    page(mirror, second, "bills", [{"bill_id": "1"}], more=True)
    shown = row(mirror, second)
    assert (shown["expected_pages"], float(shown["progress"])) == (4, 0.25)
    assert shown["eta"] > shown["heartbeat_at"]


def test_stock_asks_for_what_is_kept_in_these_warehouses(mirror: Mirror) -> None:
    place = {"location_id": "9", "location_name": "Main", "location_stock_on_hand": 1}
    for number, places in (("1", [place]), ("2", [place | {"location_id": "8"}])):
        item = product(number, stock_on_hand=1, locations=places, brand="")
        mirror.receive("products", {"item": item}, "detail")
    mirror.receive("products", {"item": product("3", brand="")}, "detail")
    mirror.process()
    run = ask(mirror, "stock", update_only=True)
    assert begin(mirror, run) == "settling"
    settle(mirror)
    assert wants(mirror, run) == {"1", "2"}
    mirror.conn.execute("select tds.cancel_run(%s)", [run])
    run = ask(mirror, "stock", update_only=True, warehouses=["9"])
    begin(mirror, run)
    settle(mirror)
    assert wants(mirror, run) == {"1"}


def test_keys_are_shown_once_and_end_when_revoked(mirror: Mirror) -> None:
    key = mirror.value("select tds.create_api_key('ERP')")
    assert key.startswith("tds_")
    assert len(key) == 4 + 64
    check = "select tds.check_api_key(sha256(%s::text::bytea))"
    assert mirror.value(check, key) == "ERP"
    assert mirror.value(check, key[:-1] + ("0" if key[-1] != "0" else "1")) is None
    assert key not in str(mirror.rows("select * from tds.api_key"))
    with pytest.raises(psycopg.Error, match="in force"):
        mirror.value("select tds.create_api_key('ERP')")
    second = mirror.value("select tds.create_api_key('1')")
    assert mirror.value("select tds.revoke_api_key('1')") == "1", "a name goes before a number"
    assert (mirror.value(check, key), mirror.value(check, second)) == ("ERP", None)
    assert mirror.value("select tds.revoke_api_key('1')") == "ERP"
    assert mirror.value(check, key) is None
    with pytest.raises(psycopg.Error, match="no such key"):
        mirror.value("select tds.revoke_api_key('ERP')")
    assert mirror.value("select tds.create_api_key('ERP')") != key
    assert mirror.value("select count(*) from tds_api_keys where last_used_at is not null") == 1


def test_metrics_count_what_is_there(mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("1")})
    mirror.receive("products", {"item": product("2", rate="x")})
    mirror.process()
    mirror.receive("invoices", {"invoice": invoice("1")})
    mirror.receive("invoices", {"invoice": invoice("2")})
    ask(mirror, "bills")
    shown = mirror.value("select tds.metrics()")
    assert shown["events"] == {"completed": 1, "dead_letter": 1, "pending": 2}
    assert shown["queues"]["invoices"]["depth"] == 2
    assert 0 < shown["queues"]["invoices"]["oldest_seconds"] < 60
    assert shown["queues"]["products"] == {"depth": 0, "oldest_seconds": 0}
    assert shown["dead_letters"] == {"products": 1}
    assert shown["runs"] == {"queued": 1}
    assert shown["calls"] == {}
    [call] = mirror.rows("select call_ids[1] as id from tds.reserve_calls('77')")
    mirror.rows("select tds.settle_call(%s, 200, 0, 1000, 600, 3600)", call["id"])
    assert mirror.value("select tds.metrics()")["calls"] == {
        "77": {"left_today": 600, "left_this_minute": 89, "paused_seconds": 0}
    }
    assert mirror.value("select tds.missing_queues()") == []
    mirror.conn.execute("drop table pgmq.q_tds_invoices")
    assert mirror.value("select tds.missing_queues()") == ["tds_invoices"]


def test_the_poller_reads_its_queue_and_no_other(database: Database) -> None:
    with database.connect(autocommit=True) as owner:
        run = owner.execute("select tds.request_pull('products', '{}', '77')").fetchone()
    with database.connect(autocommit=True, role="tds_poller") as conn:
        read = "select message from pgmq.read('tds_pull', 30, 1, %s)"
        assert conn.execute(read, ['{"organization_id": "78"}']).fetchall() == []
        assert run is not None
        assert conn.execute(read, ['{"organization_id": "77"}']).fetchall() == [
            ({"run_id": run[0], "organization_id": "77"},)
        ]
        conn.execute("select pgmq.set_vt('tds_pull', 1::bigint, 0)")
        conn.execute("select pgmq.delete('tds_pull', 1::bigint)")
        for statement in (
            "select pgmq.read('tds_products', 30, 1)",
            "select pgmq.send('tds_pull', '{}'::jsonb)",
            "select * from tds.api_key",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)


def test_the_clock_asks_for_pulls_once_a_migration_has_ended(mirror: Mirror) -> None:
    def asked() -> set[tuple[str, str]]:
        rows = mirror.rows("select entity, options::text from tds.run where message_id is not null")
        return {(found["entity"], found["options"]) for found in rows}

    everything = {
        name["entity"] for name in mirror.rows("select entity from tds.entity where api_path <> ''")
    }
    filtered = {
        name["entity"] for name in mirror.rows("select entity from tds.entity where has_modified_filter")
    }
    assert "invoices" in filtered < everything
    mirror.conn.execute("select tds.begin_full_pull(%s)", [ORGANIZATION])
    assert mirror.value("select tds.request_scheduled(true) + tds.request_scheduled(false)") == 0
    mirror.conn.execute("select tds.finish_full_pull(%s)", [ORGANIZATION])
    mirror.conn.execute("update tds.setting set value = 'false' where name = 'bulk_sync_enabled'")
    assert mirror.value("select tds.request_scheduled(true) + tds.request_scheduled(false)") == 0
    mirror.conn.execute("update tds.setting set value = 'true' where name = 'bulk_sync_enabled'")
    assert mirror.value("select tds.request_scheduled(true)") == len(filtered)
    assert asked() == {(name, '{"incremental": true}') for name in filtered}
    # the same wish is the same run
    assert mirror.value("select tds.request_scheduled(true)") == len(filtered)
    assert mirror.value("select count(*) from tds.run") == len(filtered)
    mirror.conn.execute("delete from tds.run")
    assert mirror.value("select tds.request_scheduled(false)") == len(everything - filtered) + 1
    assert asked() == {(name, "{}") for name in everything - filtered} | {("stock", '{"update_only": true}')}
    assert mirror.value("select count(*) from tds.job where command ~ 'tds.request_scheduled'") == 2


def test_a_migration_that_is_begun_again_and_given_up_stops_no_clock(mirror: Mirror) -> None:
    mirror.conn.execute("select tds.begin_full_pull(%s)", [ORGANIZATION])
    mirror.conn.execute("select tds.finish_full_pull(%s)", [ORGANIZATION])
    hourly, nightly = (mirror.value("select tds.request_scheduled(%s)", which) for which in (True, False))
    assert hourly > 0 < nightly
    for restart in (False, True):
        mirror.conn.execute("delete from tds.run")
        mirror.conn.execute("select tds.begin_full_pull(%s, %s)", [ORGANIZATION, restart])
        assert mirror.value("select tds.request_scheduled(true)") == hourly
        assert mirror.value("select tds.request_scheduled(false)") == nightly
    assert mirror.value("select tds.ask_for_lists()") == mirror.value("select tds.request_reconciles()") == 1
    mirror.conn.execute(
        "update tds.full_pull set first_ended_at = tds.now() - interval '40 hours', began_at = tds.now()"
    )
    assert mirror.value("select (tds.check_pulls_late(tds.now())).value") == 40


def test_calls_made_in_vain_are_no_progress_and_waiting_for_calls_is(mirror: Mirror) -> None:
    run = ask(mirror, "invoices")
    assert begin(mirror, run) == "running"
    mirror.conn.execute(
        "update tds.run set heartbeat_at = tds.now() - interval '7 hours' where run_id = %s", [run]
    )
    stuck = "select (tds.check_pulls_stuck(tds.now())).value"
    mirror.conn.execute("select tds.note_progress(%s, 4, 0, 'HTTP 500')", [run])
    assert mirror.value(stuck) == 1
    mirror.conn.execute("select tds.note_progress(%s, 0, 0, 'the day''s calls are used up')", [run])
    assert mirror.value(stuck) == 0


def test_a_list_whose_filter_was_ignored_is_not_read_whole_each_hour(mirror: Mirror) -> None:
    mirror.conn.execute("select tds.begin_full_pull(%s)", [ORGANIZATION])
    mirror.conn.execute("select tds.finish_full_pull(%s)", [ORGANIZATION])
    run = ask(mirror, "invoices", modified_since="2026-01-01")
    assert begin(mirror, run) == "running"
    mirror.conn.execute("select tds.fall_back(%s)", [run])
    page(mirror, run, "invoices", [])
    settle(mirror)
    settle(mirror)
    newest = "select options::text from tds.run where entity = 'invoices' and run_id > %s"
    others = mirror.value("select tds.request_scheduled(true)")
    assert mirror.rows(newest, run) == []
    mirror.conn.execute("select tds.request_scheduled(false)")
    assert mirror.rows(newest, run) == [{"options": "{}"}]
    mirror.conn.execute(
        "update tds.run set listed_at = listed_at - interval '6 days' where run_id = %s", [run]
    )
    assert mirror.value("select tds.request_scheduled(true)") == others
    # ignored but once, it would else be read in the nights alone for ever
    mirror.conn.execute(
        "update tds.run set listed_at = listed_at - interval '2 days' where run_id = %s", [run]
    )
    assert mirror.value("select tds.request_scheduled(true)") == others + 1
    assert mirror.rows(newest, run)[-1] == {"options": '{"incremental": true}'}
