"""Stock by place and its history, pictures, reports, and what is wired to the endpoints stock and prices."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror, product

LATER = "2026-06-10T09:46:21-0400"
LATEST = "2026-06-11T09:46:21-0400"
LEVELS = "select zoho_warehouse_id, on_hand::float8 from zoho.stock_levels where zoho_item_id = %s order by 1"


def places(form: str, **on_hand: Any) -> dict[str, Any]:
    return {
        f"{form}s": [
            {f"{form}_id": place, f"{form}_name": place.upper(), f"{form}_stock_on_hand": quantity}
            for place, quantity in on_hand.items()
        ]
    }


def tell(mirror: Mirror, record: dict[str, Any], shape: str = "detail") -> None:
    body = {"items": [record]} if shape == "list" else {"item": record}
    mirror.receive("products", body, shape=shape)
    mirror.process()


def values(mirror: Mirror, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in mirror.rows(query, *parameters)]


@pytest.mark.parametrize("form", ["location", "warehouse"])
def test_stock_by_place_in_either_form(shared: Mirror, own_id: str, form: str) -> None:
    shared.receive(
        "warehouses",
        {"locations": [{"location_id": "a", "location_name": "Main", "status": "active"}]},
        shape="list",
    )
    shared.process()
    tell(shared, product(own_id, stock_on_hand=7, brand="", **places(form, a="5", b=2)))
    assert values(shared, LEVELS, own_id) == [("a", 5), ("b", 2)]
    assert values(
        shared,
        "select warehouse_id is not null from zoho.stock_levels where zoho_item_id = %s order by zoho_warehouse_id",
        own_id,
    ) == [(True,), (False,)]
    assert values(shared, "select * from zoho.stock_history where zoho_item_id = %s", own_id) == [], (
        "what is seen first is no change"
    )
    tell(shared, product(own_id, stock_on_hand=4, brand="", last_modified_time=LATER, **places(form, a=4)))
    assert values(shared, LEVELS, own_id) == [("a", 4)]
    history = (
        "select zoho_warehouse_id, quantity_before::float8, quantity::float8 from zoho.stock_history"
        " where zoho_item_id = %s order by 1"
    )
    assert values(shared, history, own_id) == [("a", 5, 4), ("b", 2, 0), (None, 7, 4)]
    assert values(shared, "select * from tds_stock_disagreements where zoho_item_id = %s", own_id) == []


@pytest.mark.parametrize(("empty", "filled"), [("location", "warehouse"), ("warehouse", "location")])
def test_an_empty_list_of_places_says_nothing_beside_a_filled_one(
    shared: Mirror, own_id: str, empty: str, filled: str
) -> None:
    """Organisations that were moved from one form to the other tell both."""
    tell(shared, product(own_id, stock_on_hand=7, brand="", **places(empty), **places(filled, a=5, b=2)))
    assert values(shared, LEVELS, own_id) == [("a", 5), ("b", 2)]
    tell(
        shared,
        product(
            own_id,
            stock_on_hand=4,
            brand="",
            last_modified_time=LATER,
            **places(empty),
            **places(filled, a=4),
        ),
    )
    assert values(shared, LEVELS, own_id) == [("a", 4)]


def test_a_warehouse_that_comes_late_is_linked(mirror: Mirror) -> None:
    tell(mirror, product("1", stock_on_hand=5, brand="", **places("location", a=5)))
    mirror.receive("warehouses", {"locations": [{"location_id": "a", "location_name": "Main"}]}, shape="list")
    mirror.process()
    assert values(mirror, "select l.warehouse_id = w.id from zoho.stock_levels l, zoho.warehouses w") == [
        (True,)
    ]


def test_an_old_detail_does_not_move_stock_back(shared: Mirror, own_id: str) -> None:
    tell(
        shared,
        product(own_id, stock_on_hand=4, brand="", last_modified_time=LATER, **places("location", a=4)),
    )
    tell(shared, product(own_id, stock_on_hand=7, brand="", **places("location", a=7)))
    assert values(shared, LEVELS, own_id) == [("a", 4)]


def test_a_list_that_disagrees_shows_until_the_next_detail(mirror: Mirror) -> None:
    tell(mirror, product("1", stock_on_hand=5, brand="", **places("location", a=5)))
    tell(mirror, product("1", stock_on_hand=3, last_modified_time=LATER), "list")
    disagreements = "select zoho_item_id, difference::float8 from tds_stock_disagreements"
    assert values(mirror, disagreements) == [("1", -2)]
    assert values(mirror, "select zoho_id from tds.wanted_detail") == [("1",)]
    tell(mirror, product("1", stock_on_hand=3, brand="", last_modified_time=LATER, **places("location", a=3)))
    assert values(mirror, disagreements) == []


def test_low_and_negative_stock(mirror: Mirror) -> None:
    for number, (stock, level) in enumerate([(5, ""), (6, 0), (9, 10), (11, 10), (-2, 3)]):
        tell(mirror, product(str(number), stock_on_hand=stock, reorder_level=level, brand=""))
    low = "select zoho_item_id, by_default from tds_low_stock order by 1"
    assert values(mirror, low) == [("0", True), ("2", False), ("4", False)]
    assert values(mirror, "select zoho_item_id, quantity::float8 from tds_negative_stock") == [("4", -2)]


def test_a_snapshot_is_taken_once_a_day(mirror: Mirror) -> None:
    tell(mirror, product("1", stock_on_hand=5, brand="", **places("location", a=3, b=2)))
    mirror.conn.execute("set tds.fake_now = '2026-07-01 10:00:00+00'")
    assert mirror.value("select tds.snapshot_stock()") == 3
    assert mirror.value("select tds.snapshot_stock()") == 0
    mirror.conn.execute("set tds.fake_now = '2026-07-02 10:00:00+00'")
    assert mirror.value("select tds.snapshot_stock()") == 3


def test_places_of_a_deleted_product_are_no_stock(mirror: Mirror) -> None:
    """They are kept, for it may come back, and count nowhere until it has."""
    told = [product(number, stock_on_hand=-1, brand="", **places("location", a=-1)) for number in ("1", "2")]
    tell(mirror, told[0])
    tell(mirror, told[1])
    negative = "select zoho_item_id, zoho_warehouse_id is null from tds_negative_stock order by 1, 2"
    both = [(number, whole) for number in ("1", "2") for whole in (False, True)]
    assert values(mirror, negative) == both
    gone = {"item": {"item_id": "1"}}
    mirror.receive("products", gone, event="delete")
    mirror.receive("products", gone, "detail", event="delete")
    mirror.process()
    assert values(mirror, "select zoho_item_id from zoho.stock_levels order by 1") == [("1",), ("2",)]
    assert values(mirror, negative) == both[2:]
    mirror.conn.execute("select tds.snapshot_stock()")
    assert values(mirror, "select distinct zoho_item_id from tds_stock_days") == [("2",)]
    tell(mirror, told[0])
    assert values(mirror, negative) == both
    mirror.conn.execute("select tds.snapshot_stock()")
    assert mirror.value("select count(*) from tds_stock_days") == 4


def test_only_a_picture_that_exists_is_shown(mirror: Mirror) -> None:
    tell(mirror, product("1", image_document_id="77", brand=""))
    assert values(mirror, "select zoho_item_id, image_document_id from tds_wanted_images") == [("1", "77")]
    assert values(mirror, "select * from tds.take_images('60069194202')") == [("1", "77")]
    assert values(mirror, "select * from tds.take_images('60069194202')") == [], "somebody has it"
    fetched = "select tds.image_fetched('60069194202', '1', %s, 'abc', 'image/png', 3, '/images/abc.png')"
    assert mirror.value(fetched, "77")
    assert values(mirror, "select image_url from zoho.products") == [("/images/abc.png",)]
    assert values(mirror, "select * from tds_wanted_images") == []
    tell(mirror, product("1", name="other", image_document_id="77", brand="", last_modified_time=LATER))
    assert values(mirror, "select image_url from zoho.products") == [("/images/abc.png",)], (
        "the writer leaves it"
    )
    tell(mirror, product("1", image_document_id="78", brand="", last_modified_time=LATEST))
    assert values(mirror, "select image_url from zoho.products") == [(None,)]
    assert not mirror.value(fetched, "77"), "too late: that picture is not shown any more"
    assert values(mirror, "select image_document_id from tds.take_images('60069194202')") == [("78",)]
    mirror.conn.execute("select tds.image_failed('60069194202', '1', '78', 'no such document', gone => true)")
    assert values(mirror, "select * from tds_wanted_images") == []


def test_conflicts_are_reported_not_refused(mirror: Mirror) -> None:
    for number in ("1", "2"):
        tell(mirror, product(number, sku="X-1", brand=""))
        mirror.receive(
            "customers",
            {"contact": {"contact_id": number, "contact_type": "customer", "email": "A@example.com"}},
        )
    mirror.process()
    assert values(mirror, "select sku, zoho_item_ids from tds_sku_conflicts") == [("X-1", ["1", "2"])]
    assert values(mirror, "select email, contacts from tds_email_conflicts") == [("a@example.com", 2)]


@pytest.mark.parametrize("endpoint", ["stock", "prices"])
def test_an_item_wired_to_another_endpoint_is_an_item(shared: Mirror, own_id: str, endpoint: str) -> None:
    tell(shared, product(own_id, stock_on_hand=5, brand=""))
    assert (
        shared.receive(
            endpoint, {"item": product(own_id, rate=2, stock_on_hand=4, brand="", last_modified_time=LATER)}
        )
        == "queued"
    )
    assert shared.process()["applied"] == 1
    told = "select unit_price::float8, stock_quantity::float8 from zoho.products where zoho_item_id = %s"
    assert values(shared, told, own_id) == [(2, 4)]


def test_a_bare_stock_number_is_applied_and_asked_about(shared: Mirror, own_id: str) -> None:
    tell(shared, product(own_id, stock_on_hand=5, brand=""))
    shared.receive("stock", {"item_id": own_id, "stock_on_hand": 3})
    assert shared.process()["applied"] == 1
    assert values(
        shared, "select stock_quantity::float8 from zoho.products where zoho_item_id = %s", own_id
    ) == [(3,)]
    assert values(shared, "select entity from tds.wanted_detail where zoho_id = %s", own_id) == [
        ("products",)
    ]


def test_an_adjustment_asks_for_its_items(mirror: Mirror) -> None:
    lines = [{"item_id": "1", "quantity_adjusted": -2}, {"item_id": "2", "quantity_adjusted": 1}]
    mirror.receive(
        "stock",
        {"inventory_adjustment": {"inventory_adjustment_id": "9", "date": "2026-06-09", "line_items": lines}},
    )
    outcome = mirror.process()
    assert (outcome["applied"], outcome["dead"]) == (1, 0)
    wanted = "select entity, zoho_id, reason from tds.wanted_detail order by 2"
    assert values(mirror, wanted) == [("products", one, "inventory adjustment") for one in ("1", "2")]


def test_a_body_that_says_nothing_of_stock_is_a_dead_letter(mirror: Mirror) -> None:
    assert mirror.receive("stock", {"hello": "world"}) == "rejected"
    assert values(mirror, "select reason from tds_dead_letter_queue") == [("unknown entity stock",)]


def pricelist(*items: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        "pricebook_id": "5",
        "name": "Retail",
        "pricebook_type": "per_item",
        "pricing_scheme": "volume",
        "currency_code": "IQD",
        "status": "active",
        "sales_or_purchase_type": "sales",
        "pricebook_items": list(items),
    } | changed


PRICES = (
    "select zoho_item_id, start_quantity::float8, rate::float8, currency, product_id is not null "
    "from zoho.product_prices order by 1, 2"
)


def test_prices_follow_their_list(mirror: Mirror) -> None:
    tell(mirror, product("1", brand=""))
    brackets = [
        {"pricebook_item_id": "1", "start_quantity": 1, "end_quantity": 9, "pricebook_rate": 100},
        {"pricebook_item_id": "2", "start_quantity": 10, "end_quantity": "", "pricebook_rate": 90},
    ]
    mirror.receive(
        "prices",
        {
            "pricebook": pricelist(
                {"item_id": "1", "price_brackets": brackets}, {"item_id": "2", "pricebook_rate": 7}
            )
        },
    )
    mirror.process()
    assert values(mirror, PRICES) == [
        ("1", 1, 100, "IQD", True),
        ("1", 10, 90, "IQD", True),
        ("2", 0, 7, "IQD", False),
    ]
    tell(mirror, product("2", brand=""))
    assert values(mirror, PRICES)[-1] == ("2", 0, 7, "IQD", True)
    mirror.receive(
        "pricelists", {"pricebook": pricelist({"item_id": "2", "pricebook_rate": 8})}, shape="detail"
    )
    mirror.process()
    assert values(mirror, PRICES) == [("2", 0, 8, "IQD", True)]
    row = {key: value for key, value in pricelist().items() if key != "pricebook_items"} | {
        "last_modified_time": MOMENT
    }
    mirror.receive("pricelists", {"pricebooks": [row | {"name": "Retail B"}]}, shape="list")
    mirror.process()
    assert values(mirror, PRICES) == [("2", 0, 8, "IQD", True)], "a list row says nothing of prices"


def test_a_bad_price_is_named_by_its_path(mirror: Mirror) -> None:
    bad = pricelist({"item_id": "1", "price_brackets": [{"start_quantity": 1, "pricebook_rate": "12,5x"}]})
    mirror.receive("pricelists", {"pricebook": bad}, shape="detail")
    assert mirror.process()["dead"] == 1
    assert values(mirror, "select path, value, reason from tds_dead_letter_queue") == [
        ("pricebook_items[0].price_brackets[0].pricebook_rate", "12,5x", "not a number")
    ]


def test_reference_data_read_again_is_unchanged_and_wants_nothing(mirror: Mirror) -> None:
    told = {
        "currencies": {
            "currencies": [
                {"currency_id": "1", "currency_code": "USD", "exchange_rate": 1, "is_base_currency": True}
            ]
        },
        "taxes": {"taxes": [{"tax_id": "2", "tax_name": "VAT", "tax_percentage": 5}]},
        "warehouses": {
            "locations": [
                {"location_id": "3", "location_name": "Main", "is_primary": True, "status": "active"}
            ]
        },
    }
    for entity, body in told.items():
        mirror.receive(entity, body, shape="list")
    assert mirror.process()["applied"] == 3
    for entity, body in told.items():
        mirror.receive(entity, json.dumps(body, indent=1).encode(), shape="list")
    outcome = mirror.process()
    assert (outcome["applied"], outcome["unchanged"]) == (0, 3)
    assert mirror.value("select count(*) from tds.wanted_detail") == 0


def test_a_transfer_to_a_new_place_leaves_both_halves_in_the_history(shared: Mirror, own_id: str) -> None:
    tell(shared, product(own_id, brand="", stock_on_hand=10, **places("location", a=10)))
    assert shared.value("select count(*) from zoho.stock_history where zoho_item_id = %s", own_id) == 0, (
        "first sight is no change"
    )
    moved = product(
        own_id, brand="", stock_on_hand=10, last_modified_time=LATER, **places("location", a=6, b=4)
    )
    tell(shared, moved)
    assert values(
        shared,
        "select zoho_warehouse_id, quantity_before::int, quantity::int from zoho.stock_history where zoho_item_id = %s order by 1",
        own_id,
    ) == [("a", 10, 6), ("b", 0, 4)]


def test_a_picture_that_comes_back_is_wanted_again(mirror: Mirror) -> None:
    fetched = (
        "select tds.image_fetched(organization_id, '1', 'A', 'x', 'image/png', 1, '/a.png') from products"
    )
    wanted = "select image_document_id from tds_wanted_images"
    taken = "select t.image_document_id from products p, tds.take_images(p.organization_id) t"
    tell(mirror, product("1", image_document_id="A"), "list")
    assert values(mirror, taken) == [("A",)]
    assert mirror.value(fetched) is True
    assert values(mirror, wanted) == []
    tell(mirror, product("1", image_document_id="B", last_modified_time=LATER), "list")
    tell(mirror, product("1", image_document_id="A", last_modified_time=LATEST), "list")
    assert mirror.value("select image_url from zoho.products") is None
    assert values(mirror, taken) == [("A",)]
    assert mirror.value(fetched) is True
    assert mirror.value("select image_url from zoho.products") == "/a.png"
    assert values(mirror, wanted) == []


def price_list(*items: dict[str, Any]) -> dict[str, Any]:
    kind = {"pricebook_type": "per_item", "pricing_scheme": "unit", "sales_or_purchase_type": "sales"}
    told = {"pricebook_id": "7", "currency_code": "USD", "status": "active", "last_modified_time": MOMENT}
    return {"pricebook": kind | told | {"pricebook_items": list(items)}}


def bracket(start: Any, end: Any, rate: float) -> dict[str, Any]:
    return {"start_quantity": start, "end_quantity": end, "pricebook_rate": rate}


@pytest.mark.parametrize(
    ("items", "prices"),
    [
        ([{"item_id": "1", "pricebook_rate": 55000.0, "price_brackets": []}], [(0, None, 55000)]),
        ([{"item_id": "1", "price_brackets": [bracket("", 9, 3), bracket(0, "", 2)]}], [(0, None, 2)]),
        ([{"item_id": "1", "pricebook_rate": 3}, {"item_id": "1", "pricebook_rate": 2}], [(0, None, 2)]),
    ],
    ids=["no bracket in the array", "no start is 0", "an item told twice"],
)
def test_odd_price_lists(
    shared: Mirror, own_id: str, items: list[dict[str, Any]], prices: list[tuple[Any, ...]]
) -> None:
    shared.receive(
        "pricelists",
        {"pricebook": price_list(*items)["pricebook"] | {"pricebook_id": own_id}},
        shape="detail",
    )
    shared.process()
    told = (
        "select start_quantity::float8, end_quantity::float8, rate::float8 from zoho.product_prices"
        " where zoho_pricebook_id = %s"
    )
    assert values(shared, told, own_id) == prices


def test_a_price_without_an_organisation_is_of_the_only_one(mirror: Mirror) -> None:
    mirror.receive("pricelists", price_list({"item_id": "1", "pricebook_rate": 3}), shape="detail")
    tell(mirror, product("1"))
    assert mirror.value("select tds.price_of('1', '7')") == 3
    body = json.dumps(price_list({"item_id": "1", "pricebook_rate": 4})).encode()
    mirror.conn.execute("select tds.receive('pricelists', %b, '2')", [body])
    mirror.process()
    assert mirror.value("select tds.price_of('1', '7')") is None
    mirror.conn.execute(
        "update tds.setting set value = to_jsonb(%s::text) where name = 'organization_id'", [ORGANIZATION]
    )
    assert mirror.value("select tds.price_of('1', '7')") == 3


def test_what_stock_there_was_is_never_changed_by_anybody(mirror: Mirror) -> None:
    tell(mirror, product("1", brand="", stock_on_hand=10, **places("location", a=10)))
    tell(mirror, product("1", brand="", stock_on_hand=9, last_modified_time=LATER, **places("location", b=9)))
    history = "select to_jsonb(h)::text from zoho.stock_history h order by 1"
    before = mirror.rows(history)
    assert len(before) == 3
    for statement in (
        "update zoho.stock_history set quantity = 0",
        "delete from zoho.stock_history",
        "delete from stock_history where false",
        "truncate zoho.stock_history",
        "merge into zoho.stock_history h using zoho.products p on true when matched then delete",
    ):
        with pytest.raises(psycopg.Error) as refused:
            mirror.conn.execute(statement.encode())
        assert refused.value.sqlstate == "ZB006", statement
        assert mirror.rows(history) == before, statement
    assert mirror.value("select tds.snapshot_stock() + tds.snapshot_stock()") == 2, "a row more is no change"
    mirror.conn.execute("call tds.rebuild('products', false, everything => true)")
    assert len(mirror.rows(history)) == 5, "a rebuild leaves it"


@pytest.mark.parametrize("form", ["data", "data array", "array", "two", "form"])
def test_a_wrapped_body_is_unwrapped_at_these_endpoints_too(shared: Mirror, own_id: str, form: str) -> None:
    before = shared.value("select coalesce(max(inbox_id), 0) from tds.inbox")
    price = {
        "pricebook_id": f"{own_id}7",
        "name": "Retail",
        "pricebook_items": [{"item_id": own_id, "pricebook_rate": 3}],
    }
    stock = {"item_id": own_id, "name": "Cable", "stock_on_hand": 3}
    moved = {
        "inventory_adjustment_id": f"{own_id}9",
        "line_items": [{"item_id": own_id, "quantity_adjusted": -2}],
    }

    def wrapped(record: dict[str, Any]) -> Any:
        body: Any = {
            "data": {"data": record},
            "data array": {"data": [record]},
            "array": [record],
            "two": {"data": [record, record | {"name": "B"}]},
            "form": b"JSONString=" + quote(json.dumps({"data": record})).encode(),
        }[form]
        return body

    assert shared.receive("prices", wrapped(price)) == "queued"
    assert shared.receive("stock", wrapped(stock)) == "queued"
    assert shared.receive("stock", wrapped(moved)) == "queued"
    assert shared.process()["dead"] == 0
    assert values(
        shared,
        "select zoho_item_id, rate::float8 from zoho.product_prices where zoho_pricebook_id = %s",
        f"{own_id}7",
    ) == [(own_id, 3)]
    assert values(
        shared, "select stock_quantity::float8 from zoho.products where zoho_item_id = %s", own_id
    ) == [(3,)]
    assert values(
        shared, "select count(*) from zoho.stock_adjustments where zoho_adjustment_id = %s", f"{own_id}9"
    ) == [(1,)]
    by_id = "select entity, record_id is not null from tds.inbox where inbox_id > %s order by inbox_id"
    entities = ["pricelists", "products", "stock_adjustments"]
    assert values(shared, by_id, before) == [(entity, form != "two") for entity in entities]
    assert shared.receive("prices", wrapped(price)) == ("queued" if form == "two" else "duplicate")
    shared.process()


def test_a_reader_asks_for_prices_of_every_kind(database: Database, mirror: Mirror) -> None:
    tell(mirror, product("1", rate=10))
    percent = {
        "pricebook_type": "fixed_percentage",
        "percentage": 5,
        "is_increase": True,
        "currency_code": "",
        "effective_from": "2020-01-01",
    }
    mirror.receive(
        "pricelists",
        {"pricebook": price_list()["pricebook"] | percent | {"pricebook_id": "8"}},
        shape="detail",
    )
    mirror.receive("pricelists", price_list({"item_id": "1", "pricebook_rate": 3}), shape="detail")
    mirror.process()
    with database.connect(autocommit=True, role="tds_reader") as conn:
        row = conn.execute(
            "select tds.price_of('1', '7')::float8, tds.price_of('1', '8', 2)::float8"
        ).fetchone()
    assert row == (3, 10.5)
