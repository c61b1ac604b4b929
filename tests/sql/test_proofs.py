"""What one answer may and may not do: forged stamps, ties, older answers, 404s, empty arrays, phantoms."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.db.servers import Database
from tests.journeys.waiting import wait_until
from tests.sql.conftest import ORGANIZATION, Mirror, product

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
EDITED = "2026-11-28T09:46:21+0000"


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def clock_of(mirror: Mirror) -> Callable[[float], None]:
    """Sets the clock so many minutes after noon."""

    def set_to(minutes: float) -> None:
        mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [at(minutes).isoformat()])

    set_to(0)
    return set_to


@pytest.fixture
def clock(mirror: Mirror) -> Callable[[float], None]:
    return clock_of(mirror)


@pytest.fixture
def shared_clock(shared: Mirror) -> Callable[[float], None]:
    return clock_of(shared)


def wanted(mirror: Mirror) -> dict[str, str]:
    return {
        row["zoho_id"]: row["reason"] for row in mirror.rows("select zoho_id, reason from tds.wanted_detail")
    }


def told(mirror: Mirror, entity: str, body: Any, shape: str = "webhook", **named: Any) -> None:
    mirror.receive(entity, body, shape, **named)
    mirror.process()


@pytest.mark.parametrize(
    "stamp",
    [
        "2099-01-01T00:00:00Z",
        "2206-11-28T12:00:00Z",
        "2026-11-28T15:00:00Z",
        "2026-11-28T12:09:00Z",
        "2026-11-28T12:05:00Z",
        "2026-11-28T10:00:00Z",
        "2026-11-28T09:46:22+0000",
        "",
    ],
)
@pytest.mark.parametrize("shape", ["list", "detail"])
def test_no_stamp_of_a_webhook_locks_zoho_out(
    shared: Mirror, shared_clock: Callable[[float], None], own_id: str, stamp: str, shape: str
) -> None:
    mirror, clock = shared, shared_clock
    shown = "select name, unit_price::float from zoho.products where zoho_item_id = %s"

    def read(name: str, **changed: Any) -> None:
        record = product(own_id, name=name, last_modified_time=EDITED, brand="", **changed)
        told(mirror, "products", {"items": [record]} if shape == "list" else {"item": record}, shape)

    read("Zoho's")
    clock(5)
    told(mirror, "products", {"item": product(own_id, name="forged", rate=1.23, last_modified_time=stamp)})
    assert mirror.value(shown, own_id) == "forged", "a hint is shown at once"
    clock(10)
    read("Zoho's")
    assert mirror.rows(shown, own_id) == [{"name": "Zoho's", "unit_price": 1.5}]
    clock(11)
    read("Zoho's own edit", rate=7)
    assert mirror.value(shown, own_id) == "Zoho's own edit"
    clock(12)
    told(mirror, "products", {"item": product(own_id, name="forged", rate=1.23, last_modified_time=stamp)})
    clock(14)
    read("Zoho's own edit", rate=7)
    assert mirror.value(shown, own_id) == "Zoho's own edit"


def test_a_read_that_contradicts_a_hint_is_asked_once_more(
    mirror: Mirror, clock: Callable[[float], None]
) -> None:
    before = product("5", name="A", last_modified_time=EDITED, brand="")
    told(mirror, "products", {"item": before}, "detail")
    clock(5)
    told(
        mirror,
        "products",
        {"item": product("5", name="B", last_modified_time="2026-11-28T12:05:00Z", brand="")},
    )
    assert wanted(mirror) == {}
    clock(6)
    told(mirror, "products", {"items": [{k: v for k, v in before.items() if k != "brand"}]}, "list")
    assert mirror.value("select name from zoho.products") == "A"
    assert wanted(mirror) == {"5": "read otherwise than a later webhook told"}
    taken = "select zoho_id from tds.take_details('products', %s)"
    assert mirror.rows(taken, ORGANIZATION) == [], "a list may lag: not at once"
    clock(7.1)
    assert mirror.rows(taken, ORGANIZATION) == [{"zoho_id": "5"}]
    told(mirror, "products", {"item": before}, "detail")
    assert mirror.value("select name from zoho.products") == "A", "the two reads decide"
    assert wanted(mirror) == {}
    clock(9)
    told(mirror, "products", {"item": before | {"name": "A"}}, "detail")
    assert wanted(mirror) == {}


INVOICE = {
    "invoice_id": "3",
    "sub_total": 12,
    "total": 12,
    "balance": 12,
    "last_modified_time": EDITED,
    "line_items": [{"line_item_id": "31", "item_total": 12}],
}


@pytest.mark.parametrize("shape", ["list", "webhook", "detail"])
def test_a_tie_is_asked_whoever_brings_it(mirror: Mirror, clock: Callable[[float], None], shape: str) -> None:
    told(mirror, "invoices", {"invoice": INVOICE}, "detail")
    clock(1)
    other = INVOICE | {"sub_total": 16, "total": 16, "balance": 16}
    if shape == "detail":
        other["line_items"] = [{"line_item_id": "31", "item_total": 16}]
    else:
        del other["line_items"]
    told(mirror, "invoices", {"invoices": [other]} if shape == "list" else {"invoice": other}, shape)
    assert wanted(mirror).keys() == {"3"}
    clock(3)
    other["line_items"] = [{"line_item_id": "31", "item_total": 16}]
    assert mirror.rows("select zoho_id from tds.take_details('invoices', %s)", ORGANIZATION) == [
        {"zoho_id": "3"}
    ]
    told(mirror, "invoices", {"invoice": other}, "detail")
    assert mirror.rows(
        """select i.total_amount::int as total, l.total_amount::int as line, i.subtotal_differs as differs
             from zoho.invoices i join zoho.invoice_line_items l using (zoho_invoice_id)"""
    ) == [{"total": 16, "line": 16, "differs": False}]
    assert wanted(mirror) == {}


def test_an_older_answer_settles_nothing(mirror: Mirror, clock: Callable[[float], None]) -> None:
    told(mirror, "invoices", {"invoice": INVOICE}, "detail")
    clock(1)
    row = {k: v for k, v in INVOICE.items() if k != "line_items"} | {
        "total": 20,
        "last_modified_time": "2026-11-28T12:00:30+0000",
    }
    told(mirror, "invoices", {"invoices": [row]}, "list")
    assert wanted(mirror) == {"3": "detail older than the record"}
    clock(2)
    told(mirror, "invoices", {"invoice": INVOICE | {"reference_number": "a replica that lags"}}, "detail")
    assert wanted(mirror) == {"3": "detail older than the record"}
    told(mirror, "invoices", {"invoice": INVOICE | {"total": 20}}, "detail", observed_at=at(0.5))
    assert wanted(mirror) == {"3": "detail older than the record"}
    clock(3)
    told(mirror, "invoices", {"invoice": row | {"line_items": INVOICE["line_items"]}}, "detail")
    assert wanted(mirror) == {}


@pytest.mark.parametrize("same", [False, True], ids=["new", "known"])
def test_a_detail_that_tells_less_settles_nothing_until_it_is_told_twice(
    mirror: Mirror, clock: Callable[[float], None], same: bool
) -> None:
    """Whether or not what it does tell is known already."""
    told(mirror, "invoices", {"invoice": INVOICE}, "detail")
    clock(1)
    row = {k: v for k, v in INVOICE.items() if k != "line_items"} | {
        "total": 20,
        "last_modified_time": "2026-11-28T12:00:30+0000",
    }
    told(mirror, "invoices", {"invoices": [row]}, "list")
    assert wanted(mirror) == {"3": "detail older than the record"}
    clock(2)
    told(mirror, "invoices", {"invoice": row if same else row | {"reference_number": "new"}}, "detail")
    assert wanted(mirror) == {"3": "a detail tells less than what is known"}
    assert mirror.value("select count(*) from zoho.invoice_line_items") == 1
    assert mirror.rows("select zoho_id from tds.take_details('invoices', %s)", ORGANIZATION) == []
    clock(5)
    if same:  # it is believed then, as what is not there any more keeps its last telling
        told(mirror, "invoices", {"invoice": row}, "detail")
        assert mirror.value("select count(*) from zoho.invoice_line_items") == 1
    else:
        told(mirror, "invoices", {"invoice": row | {"line_items": []}}, "detail")
        assert wanted(mirror) == {"3": "an array is empty against the document's own sums"}
        clock(7)
        told(
            mirror,
            "invoices",
            {"invoice": row | {"line_items": [{"line_item_id": "31"}, {"line_item_id": "32"}]}},
            "detail",
        )
        assert mirror.value("select count(*) from zoho.invoice_line_items") == 2
    assert wanted(mirror) == {}


# Of each kind: a whole document, what the empty array is, and how many children must stay.
EMPTIED = {
    "lines": ("invoices", "invoice", INVOICE, "line_items", "zoho.invoice_line_items", 1),
    "lines of a bill": (
        "bills",
        "bill",
        {"bill_id": "3", "sub_total": 5, "total": 5, "line_items": [{"line_item_id": "1", "item_total": 5}]},
        "line_items",
        "zoho.bill_line_items",
        1,
    ),
    "places": (
        "products",
        "item",
        product(
            "5", brand="", stock_on_hand=4, locations=[{"location_id": "9", "location_stock_on_hand": 4}]
        ),
        "locations",
        "zoho.stock_levels",
        1,
    ),
    "documents of a payment": (
        "payments",
        "payment",
        {
            "payment_id": "3",
            "amount": 1136.05,
            "unused_amount": 120,
            "invoices": [{"invoice_payment_id": "1", "invoice_id": "3", "amount_applied": 1016.05}],
        },
        "invoices",
        "zoho.customer_payment_invoices",
        1,
    ),
    "prices": (
        "pricelists",
        "pricebook",
        {
            "pricebook_id": "3",
            "name": "Retail",
            "pricebook_items": [
                {"pricebook_item_id": str(n), "item_id": str(n), "pricebook_rate": n} for n in range(1, 9)
            ],
        },
        "pricebook_items",
        "zoho.product_prices",
        8,
    ),
}


@pytest.mark.parametrize("empty", [[], None, ""])
@pytest.mark.parametrize("kind", EMPTIED)
@pytest.mark.parametrize("shape", ["detail", "webhook"])
def test_an_empty_array_is_no_statement_against_the_sums(
    shared: Mirror, shared_clock: Callable[[float], None], own_id: str, kind: str, empty: Any, shape: str
) -> None:
    entity, key, document, array, children, count = EMPTIED[kind]
    id_key = next(iter(document))
    document, before = document | {id_key: own_id}, wanted(shared)
    told(shared, entity, {key: document}, "detail")
    shared_clock(1)
    told(shared, entity, {key: document | {array: empty}}, shape)
    rows = f"select count(*) from {children} where zoho_{id_key} = %s"
    mismatches = "select count(*) from tds_document_mismatches where entity = %s"
    assert shared.value(rows, own_id) == count
    assert wanted(shared).keys() - before.keys() == {own_id}
    if entity in ("invoices", "bills", "payments") and shape == "detail":
        assert shared.value(mismatches, entity) == 1
    if kind == "places" and shape == "detail":
        assert shared.value("select count(*) from tds_stock_disagreements") == 1
    assert shared.rows(f"select * from tds.rebuild_difference('{entity}')") == []
    shared_clock(5)
    told(shared, entity, {key: document}, "detail")
    assert (shared.value(rows, own_id), wanted(shared)) == (count, before)
    assert shared.value("select count(*) from tds_document_mismatches") == 0


@pytest.mark.parametrize("asked", ["", "by the night", "by a list"])
@pytest.mark.parametrize("first", ["detail", "webhook"])
def test_a_price_list_that_says_twice_that_it_is_empty_is_believed(
    mirror: Mirror, clock: Callable[[float], None], asked: str, first: str
) -> None:
    """Whatever else it is asked for meanwhile."""
    document = EMPTIED["prices"][2]
    told(mirror, "pricelists", {"pricebook": document}, "detail")
    empty = {"pricebook": document | {"pricebook_items": []}}
    clock(1)
    told(mirror, "pricelists", empty, first)
    assert mirror.value("select count(*) from zoho.product_prices") == 8
    clock(3)
    if asked == "by the night":
        mirror.value("select tds.want_again('pricelists', %s) is null", ORGANIZATION)
    elif asked == "by a list":
        row = {"pricebook_id": "3", "name": "Retail 2", "last_modified_time": at(2).isoformat()}
        told(mirror, "pricelists", {"pricebooks": [row]}, "list")
    clock(4)
    assert mirror.rows("select zoho_id from tds.take_details('pricelists', %s)", ORGANIZATION) == [
        {"zoho_id": "3"}
    ]
    told(mirror, "pricelists", empty, "detail")
    assert (mirror.value("select count(*) from zoho.product_prices"), wanted(mirror)) == (0, {})


def test_a_new_document_without_lines_is_flagged(mirror: Mirror, clock: Callable[[float], None]) -> None:
    told(mirror, "invoices", {"invoice": INVOICE | {"line_items": []}}, "detail")
    assert mirror.value("select subtotal_differs from zoho.invoices") is True
    assert len(wanted(mirror)) == 1
    told(
        mirror,
        "invoices",
        {"invoice": {"invoice_id": "4", "sub_total": 0, "total": 0, "line_items": []}},
        "detail",
    )
    assert mirror.value("select subtotal_differs from zoho.invoices where zoho_invoice_id = '4'") is False
    assert "4" not in wanted(mirror)


def absent(mirror: Mirror, *ids: str, entity: str = "products", **named: Any) -> None:
    """Zoho answers 404 for these."""
    key = {"products": "item_id", "customers": "contact_id", "invoices": "invoice_id"}[entity]
    told(mirror, entity, [{key: item_id} for item_id in ids], "detail", event="delete", **named)


def deleted(mirror: Mirror) -> set[str]:
    return {
        row["id"]
        for row in mirror.rows("select zoho_item_id as id from zoho.products where deleted_at is not null")
    }


def listed(mirror: Mirror, count: int) -> list[str]:
    ids = [str(n) for n in range(1, count + 1)]
    told(mirror, "products", {"items": [product(item_id) for item_id in ids]}, "list")
    mirror.conn.execute("delete from tds.wanted_detail")
    return ids


def test_one_404_deletes_nothing_and_a_second_one_after_a_pause_does(
    mirror: Mirror, clock: Callable[[float], None]
) -> None:
    listed(mirror, 100)
    clock(1)
    absent(mirror, "5")
    assert (deleted(mirror), wanted(mirror)) == (set(), {"5": "answered 404 once"})
    clock(1.5)
    assert mirror.rows("select * from tds.take_details('products', %s)", ORGANIZATION) == []
    absent(mirror, "5")
    assert deleted(mirror) == set(), "too soon after the first"
    clock(3)
    absent(mirror, "5")
    assert (deleted(mirror), wanted(mirror)) == ({"5"}, {})


def test_a_sign_of_life_forbids_or_revives(mirror: Mirror, clock: Callable[[float], None]) -> None:
    listed(mirror, 100)
    clock(1)
    absent(mirror, "5")
    clock(2)
    told(mirror, "products", {"item": product("5")})
    clock(4)
    absent(mirror, "5")
    assert deleted(mirror) == set(), "it was alive in between"
    clock(6)
    absent(mirror, "5")
    assert deleted(mirror) == {"5"}
    clock(7)
    told(mirror, "products", {"item": product("5", name="Late webhook")})
    assert (deleted(mirror), wanted(mirror)["5"]) == ({"5"}, "edited after its deletion")
    told(mirror, "products", {"items": [product("5")]}, "list")
    assert deleted(mirror) == set()


@pytest.mark.parametrize(("living", "gone"), [(400, 60), (60, 30), (450, 135)])
def test_a_spell_of_404s_deletes_nothing_and_ends_by_itself(
    mirror: Mirror, clock: Callable[[float], None], living: int, gone: int
) -> None:
    ids = listed(mirror, living)[:gone]
    for minute in (1, 3, 5):
        clock(minute)
        for some in (ids[:2], ids[2:]):  # the first few are deleted before anybody can know
            absent(mirror, *some)
    assert deleted(mirror) == set()
    held = "select count(*) from tds_held_deletions where state = 'held'"
    assert mirror.value(held) == gone
    assert mirror.value("select (tds.check_held_deletions()).value") == gone
    assert len(wanted(mirror)) == 1, "one is asked for now and then"
    for minute in (20, 40, 60):  # the spell lasts
        clock(minute)
        [probe] = mirror.rows("select zoho_id from tds.take_details('products', %s)", ORGANIZATION)
        absent(mirror, probe["zoho_id"])
        assert mirror.rows("select zoho_id from tds.take_details('products', %s)", ORGANIZATION) == []
        assert mirror.value(held) == gone
    clock(80)
    [probe] = mirror.rows("select zoho_id from tds.take_details('products', %s)", ORGANIZATION)
    told(mirror, "products", {"item": product(probe["zoho_id"], brand="")}, "detail")
    assert mirror.value(held) == 0
    assert wanted(mirror).keys() == set(ids) - {probe["zoho_id"]}, "all are asked for again"


def test_a_spell_ends_by_itself_whatever_else_comes(mirror: Mirror, clock: Callable[[float], None]) -> None:
    """Beside a deletion that was marked before it, under webhooks, and while others answer 404."""
    clock(-110)
    *ids, busy, gone = listed(mirror, 400)
    for minute in (-100, -90):
        clock(minute)
        absent(mirror, gone)
    assert deleted(mirror) == {gone}
    for minute in (1, 3):
        clock(minute)
        absent(mirror, *ids[:60])
    taken = []
    for minute in range(5, 26, 5):
        clock(minute)
        told(mirror, "products", {"item": product(busy, name=f"edit {minute}")})
        absent(mirror, ids[60 + minute])
        taken += mirror.rows("select zoho_id from tds.take_details('products', %s)", ORGANIZATION)
    assert {row["zoho_id"] for row in taken} & set(ids[:60])
    assert deleted(mirror) == {gone}


def test_two_batches_that_each_mark_few_do_not_mark_too_many_together(
    database: Database, mirror: Mirror, clock: Callable[[float], None]
) -> None:
    """Neither sees the other's before it is committed: the second one waits until it does."""
    ids = listed(mirror, 100)
    clock(1)
    for item_id in ids[:12]:
        told(mirror, "products", {"item_id": item_id}, event="delete")
    clock(3)
    first, second = ids[:6], ids[6:12]
    mirror.receive("products", [{"item_id": item_id} for item_id in first], "detail", event="delete")
    claim = mirror.value("select claim_id from tds.claim('products', 1)")
    mirror.conn.execute("begin")
    mirror.value("select counts from tds.apply_claim(%s)", claim)
    with ThreadPoolExecutor(1) as threads, database.connect(autocommit=True) as other:
        other.execute("select set_config('tds.fake_now', %s, false)", [at(3).isoformat()])
        body = json.dumps([{"item_id": item_id} for item_id in second]).encode()
        other.execute(
            "select tds.receive('products', %b, %s, 'poller', 'detail', 'delete')", [body, ORGANIZATION]
        )
        batch = threads.submit(other.execute, "call tds.process_batch()")
        waits = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
        wait_until(lambda: batch.done() or mirror.value(waits, other.info.backend_pid), "it waits")
        mirror.conn.execute("commit")
        batch.result()
    assert deleted(mirror) == set()
    assert mirror.value("select count(*) from tds_held_deletions where state = 'held'") == 12


@pytest.mark.parametrize("verb", ["confirm", "refuse"])
def test_what_is_held_back_is_confirmed_or_refused(
    mirror: Mirror, clock: Callable[[float], None], verb: str
) -> None:
    ids = listed(mirror, 400)[:100]
    for minute in (1, 3):
        clock(minute)
        absent(mirror, *ids)
    clock(4)
    assert (
        mirror.value(f"select tds.{verb}_deletions('products', organization_id => %s)", ORGANIZATION) == 100
    )
    mirror.process()
    clock(6)
    absent(mirror, *ids[:50])
    assert deleted(mirror) == (set(ids) if verb == "confirm" else set())
    assert mirror.value("select count(*) from tds_held_deletions where state = 'held'") == 0


def test_a_phantom_leaves_no_row_behind(mirror: Mirror, clock: Callable[[float], None]) -> None:
    told(
        mirror,
        "invoices",
        {
            "invoice": {
                "invoice_id": "999",
                "total": 1,
                "line_items": [{"line_item_id": "1", "item_total": 1}],
            }
        },
    )
    for minute in (1, 3):
        clock(minute)
        absent(mirror, "999", entity="invoices")
    for table in ("zoho.invoices", "zoho.invoice_line_items", "tds.wanted_detail", "tds.held_deletion"):
        assert mirror.value(f"select count(*) from {table}") == 0, table


def test_nobody_leads_to_a_phantom_and_all_lead_to_the_record_that_comes_in_its_place(
    mirror: Mirror, clock: Callable[[float], None]
) -> None:
    """A row that comes again has another number: whoever held the old one would hold it for ever."""
    line = {"line_item_id": "1", "item_id": "500", "item_total": 1}
    told(mirror, "invoices", {"invoice": {"invoice_id": "60", "customer_id": "10", "line_items": [line]}})
    allocation = {"invoice_id": "60", "amount_applied": 1, "apply_date": "2026-06-09"}
    told(
        mirror,
        "payments",
        {"payment": {"payment_id": "61", "customer_id": "10", "amount": 1, "invoices": [allocation]}},
    )
    prices = [{"item_id": "500", "pricebook_rate": 2}]
    told(mirror, "pricelists", {"pricebook": {"pricebook_id": "7", "pricebook_items": prices}})
    parents: list[tuple[str, dict[str, Any]]] = [
        ("customers", {"contact": {"contact_id": "10", "contact_type": "customer", "pricebook_id": "7"}}),
        ("products", {"item": product("500")}),
    ]
    for entity, body in parents:
        told(mirror, entity, body)
    links = """select array[(select customer_id from zoho.invoices), (select product_id from zoho.invoice_line_items),
                            (select customer_id from zoho.customer_payments), (select product_id from zoho.product_prices)]"""
    rows = """select array[c.id, p.id, c.id, p.id] from zoho.customers c, zoho.products p"""
    before = mirror.value(rows)
    assert mirror.value(links) == before
    for minute in (1, 3):
        clock(minute)
        absent(mirror, "10", entity="customers")
        absent(mirror, "500")
    assert (
        mirror.value("select count(*) from zoho.customers")
        == mirror.value("select count(*) from zoho.products")
        == 0
    )
    assert mirror.value(links) == [None] * 4
    clock(10)
    for entity, body in parents:
        told(mirror, entity, body)
    assert mirror.value(links) == mirror.value(rows) != before


def test_ids_that_only_webhooks_name_are_asked_for_at_a_bounded_rate(
    mirror: Mirror, clock: Callable[[float], None]
) -> None:
    mirror.conn.execute("update tds.setting set value = '10' where name = 'unknown_details_per_hour'")
    listed(mirror, 3)
    told(mirror, "products", {"item": [product(str(n), last_modified_time="") for n in range(1, 40)]})
    taken = "select zoho_id from tds.take_details('products', %s, 100)"
    first = {row["zoho_id"] for row in mirror.rows(taken, ORGANIZATION)}
    assert len(first) == 3 + 10
    assert {"1", "2", "3"} <= first
    clock(10)
    told(mirror, "products", {"item": [product(str(n), last_modified_time="") for n in range(40, 60)]})
    assert len(mirror.rows(taken, ORGANIZATION)) == 13, "what was leased ran out; of the new ones none"
    clock(65)
    assert len(mirror.rows(taken, ORGANIZATION)) >= 10 + 13


@pytest.mark.parametrize(("at_once", "day_limit"), [(1, 250), (7, 250), (60, 250), (7, None)])
def test_ids_that_only_webhooks_name_wait_behind_one_another(
    mirror: Mirror, clock: Callable[[float], None], at_once: int, day_limit: int | None
) -> None:
    mirror.conn.execute("update tds.setting set value = '10' where name = 'unknown_details_per_hour'")
    # ten of a hundred calls a day are 25, whatever the hours leave; of a plan that nobody has told of the hours alone count
    mirror.conn.execute(
        "insert into tds.api_budget (organization_id, day_limit) values (%s, %s)", [ORGANIZATION, day_limit]
    )
    numbers = list(range(1, 61))
    for some in (numbers[n : n + at_once] for n in range(0, 60, at_once)):
        told(mirror, "products", {"item": [product(str(n), last_modified_time="") for n in some]})
    waiting = {
        row["hour"]: row["wants"]
        for row in mirror.rows(
            """select coalesce(not_before, date_trunc('hour', tds.now())) as hour, count(*) as wants
                 from tds.wanted_detail group by 1"""
        )
    }
    assert sum(waiting.values()) == 60
    assert max(waiting.values()) == 10
    days = [hour.astimezone(UTC).date() for hour, wants in waiting.items() for _ in range(wants)]
    if day_limit is None:
        assert max(waiting) - min(waiting) == timedelta(hours=5)
    else:
        assert sorted(Counter(days).values()) == [10, 25, 25]
    # a clock that was wrong keeps nobody waiting
    mirror.conn.execute("update tds.unknown_asked set hour = hour + interval '200 days'")
    assert mirror.value("select (tds.unknown_hours(%s, 1, tds.now()))[1] <= tds.now()", ORGANIZATION)


def test_an_array_of_too_many_records_is_refused_with_a_reason(mirror: Mirror) -> None:
    mirror.conn.execute("update tds.setting set value = '20' where name = 'webhook_records'")
    many = {"item": [product(str(n)) for n in range(21)]}
    assert mirror.receive("products", many) == "rejected"
    status = mirror.rows(
        "select status from tds.receive_many(array['products', 'products'], array[%b, %b])",
        json.dumps(many | {"x": 1}).encode(),
        json.dumps({"item": product("77")}).encode(),
    )
    assert [row["status"] for row in status] == ["rejected", "queued"]
    mirror.process()
    assert mirror.rows("select zoho_item_id from zoho.products") == [{"zoho_item_id": "77"}]
    assert mirror.value("select distinct reason from tds_dead_letter_queue") == (
        "21 records in one webhook: more than the setting webhook_records (20)"
    )
    assert mirror.receive("products", {"items": many["item"]}, "list") == "queued"


MOMENT: dict[str, Callable[[Mirror], None]] = {
    "list row": lambda mirror: told(mirror, "products", {"items": [product("5", name="A")]}, "list"),
    "delete event": lambda mirror: told(mirror, "products", {"item": {"item_id": "5"}}, event="delete"),
    "404": lambda mirror: absent(mirror, "5"),
}


@pytest.mark.parametrize("lives", [True, False])
@pytest.mark.parametrize("order", list(itertools.permutations(MOMENT)), ids=" > ".join)
def test_of_one_moment_the_deletion_counts_in_any_order_and_is_asked(
    mirror: Mirror, clock: Callable[[float], None], order: tuple[str, ...], lives: bool
) -> None:
    listed(mirror, 100)
    clock(5)
    for observation in order:
        MOMENT[observation](mirror)
    assert deleted(mirror) == {"5"}
    assert wanted(mirror).keys() == {"5"}, "whoever knows is asked"
    clock(7)
    if lives:
        told(mirror, "products", {"item": product("5", name="A", brand="")}, "detail")
    else:
        absent(mirror, "5")
    assert (deleted(mirror), wanted(mirror)) == (set() if lives else {"5"}, {})


def test_a_read_between_two_404s_that_comes_late_is_asked(
    mirror: Mirror, clock: Callable[[float], None]
) -> None:
    listed(mirror, 100)
    for minute in (1, 5):
        clock(minute)
        absent(mirror, "5")
    assert (deleted(mirror), wanted(mirror)) == ({"5"}, {})
    clock(6)
    told(mirror, "products", {"items": [product("5", name="A")]}, "list", observed_at=at(3))
    assert wanted(mirror) == {"5": "seen between two 404s"}
    clock(7)
    told(mirror, "products", {"item": product("5", name="A", brand="")}, "detail")
    assert (deleted(mirror), wanted(mirror)) == (set(), {})


def test_ids_that_never_were_hold_no_deletion_back(mirror: Mirror, clock: Callable[[float], None]) -> None:
    listed(mirror, 100)
    forged = [f"66{n:03}" for n in range(80)]
    told(mirror, "products", {"item": [product(item_id) for item_id in forged]})
    for minute in (1, 3):
        clock(minute)
        absent(mirror, *forged, "5")
    assert deleted(mirror) == {"5"}
    assert mirror.value("select count(*) from zoho.products") == 100, "a phantom leaves no row behind"
    assert mirror.value("select count(*) from tds_held_deletions") == 0


@pytest.mark.parametrize("listed_since", [None, EDITED, "2026-11-28T12:00:30+0000"])
def test_what_only_a_webhook_told_is_confirmed_by_night(
    mirror: Mirror, clock: Callable[[float], None], listed_since: str | None
) -> None:
    known = product("5", name="A", brand="Acme", last_modified_time=EDITED)
    told(mirror, "products", {"item": known}, "detail")
    clock(1)
    hint = {"item_id": "5", "brand": "forged", "last_modified_time": at(0.5).isoformat()}
    told(mirror, "products", {"item": hint})
    if listed_since:
        clock(2)
        row = known | {"last_modified_time": listed_since}
        told(mirror, "products", {"items": [{k: v for k, v in row.items() if k != "brand"}]}, "list")
    mirror.conn.execute("delete from tds.wanted_detail")
    assert mirror.value("select brand from zoho.products") == "forged"
    clock(70)
    assert mirror.value("select tds.confirm_hints(%s)", ORGANIZATION) == 1
    assert wanted(mirror) == {"5": "no read has confirmed a webhook"}
    known = known | {"last_modified_time": listed_since or EDITED}
    told(mirror, "products", {"item": known}, "detail")
    assert mirror.value("select brand from zoho.products") == "Acme"
    clock(140)
    assert mirror.value("select tds.confirm_hints(%s)", ORGANIZATION) == 0


@pytest.mark.parametrize("lives", [True, False])
def test_what_is_gone_by_404s_alone_is_asked_for_once_more_by_night(
    mirror: Mirror, clock: Callable[[float], None], lives: bool
) -> None:
    listed(mirror, 100)
    told(mirror, "products", {"item": {"item_id": "6"}}, event="delete")
    for minute in (1, 3):
        clock(minute)
        absent(mirror, "5", "6")
    assert (deleted(mirror), wanted(mirror)) == ({"5", "6"}, {})
    ask = "select tds.ask_for_deleted(%s)"
    clock(13 * 60)
    assert mirror.value(ask, ORGANIZATION) == 1
    assert wanted(mirror) == {"5": "gone by its 404s alone"}
    if lives:
        told(mirror, "products", {"item": product("5", brand="")}, "detail")
    else:
        absent(mirror, "5")
    assert (deleted(mirror), wanted(mirror)) == ({"6"} if lives else {"5", "6"}, {})
    clock(37 * 60)
    assert mirror.value(ask, ORGANIZATION) == 0
