"""The tools for trust: what a record went through, rebuilding, drift, custom fields."""

from __future__ import annotations

from typing import Any

from tests.sql.conftest import ORGANIZATION, Mirror, product

OLD = "2026-06-01T09:46:21-0400"
NEW = "2026-06-10T09:46:21-0400"


def test_a_record_is_explained_event_by_event(mirror: Mirror) -> None:
    mirror.receive("products", {"items": [product("5"), product("6")]}, shape="list")
    mirror.process()
    mirror.receive(
        "products",
        {
            "items": [
                product("7"),
                product("5", name="older", last_modified_time=OLD),
                product("6", rate="x", last_modified_time=NEW),
            ]
        },
        shape="list",
    )
    mirror.process()
    mirror.receive("products", {"item": product("5", rate=9, last_modified_time=NEW)})
    rows = mirror.rows("select position, outcome, why from tds.explain_record('products', '5')")
    assert [(r["position"], r["outcome"]) for r in rows] == [(1, "applied"), (2, "stale"), (1, "pending")]
    assert rows[1]["why"].startswith("older than event ")
    dead = mirror.rows(
        "select position, outcome, why from tds.explain_record('products', '6', %s)", ORGANIZATION
    )
    assert [(r["position"], r["outcome"]) for r in dead] == [(2, "applied"), (3, "dead")]
    assert dead[1]["why"].startswith("rate: not a number")


def test_a_rebuild_shows_the_difference_writes_it_and_then_touches_nothing(mirror: Mirror) -> None:
    mirror.receive("products", {"items": [product(str(n), brand=f"b{n}") for n in range(1, 8)]}, shape="list")
    mirror.process()
    mirror.conn.execute(
        "update tds.field set expression = 'upper(tds.json_text(d.brand))' where entity = 'products' and key = 'brand'"
    )
    mirror.conn.execute("select tds.build()")
    shown = mirror.value("call tds.rebuild('products', batch => 2)")
    assert shown["differences"]["brand"] == {"rows_differ": 7, "zoho_id": "1", "before": "b1", "after": "B1"}
    assert mirror.value("select min(brand) from products") == "b1", "showing writes nothing"
    mirror.receive("products", {"item": product("3", brand="live", last_modified_time=NEW)})
    mirror.process()
    assert mirror.value("call tds.rebuild('products', false, 2)") == {"looked": 7, "written": 6, "refused": 0}
    assert {r["brand"] for r in mirror.rows("select brand from products")} == {
        "B1",
        "B2",
        "LIVE",
        "B4",
        "B5",
        "B6",
        "B7",
    }
    assert mirror.value("call tds.rebuild('products', false, 2)")["written"] == 0


def test_a_clock_that_was_ahead_hides_no_new_path(mirror: Mirror) -> None:
    def tell(number: str, moment: str, **keys: object) -> None:
        mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [moment])
        mirror.receive("products", {"item": product(number, **keys)})
        assert mirror.process()["applied"] == 1

    tell("1", "2026-06-01 10:00Z")
    mirror.conn.execute("select set_config('tds.fake_now', '2026-06-01 10:01Z', false)")
    assert mirror.value("select tds.observe_drift()") == 1
    tell("2", "2027-06-01 10:00Z")
    mirror.conn.execute("select set_config('tds.fake_now', '2027-06-01 10:01Z', false)")
    assert mirror.value("select tds.observe_drift()") == 1
    tell("3", "2026-06-01 10:02Z", novelty=1)
    tell("4", "2026-06-01 10:03Z")
    mirror.conn.execute("select set_config('tds.fake_now', '2026-06-01 10:04Z', false)")
    assert [mirror.value("select tds.observe_drift()") for _ in range(2)] == [2, 0]
    assert mirror.value("select count(*) from tds.drift where path like '%%novelty%%'") == 1


def test_new_paths_and_changed_types_are_entered_and_break_nothing(mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("5", novelty={"depth": [{"n": 1}]}, flag=True)})
    mirror.receive("products", {"item": product("6", flag="yes")})
    assert mirror.process()["applied"] == 2
    assert mirror.value("select tds.observe_drift(1)") == 1
    assert mirror.value("select tds.observe_drift()") == 1
    assert mirror.value("select tds.observe_drift()") == 0
    drift: set[Any] = {
        (r["path"], r["json_type"], r["what"]) for r in mirror.rows("select * from tds_schema_drift")
    }
    assert {("novelty.depth[].n", "number", "not mapped"), ("flag", "string", "type differs")} <= drift
    assert not any(path == "name" for path, _, _ in drift)


def test_custom_fields_read_alike_in_every_form(mirror: Mirror) -> None:
    detail = {
        "custom_fields": [
            {"api_name": "cf_n", "label": "N", "data_type": "number", "value": 3, "value_formatted": "3.00"}
        ]
    }
    mirror.receive("products", {"item": product("5", **detail)}, shape="detail")
    mirror.receive("products", {"item": product("6", cf_n="3.00", cf_n_unformatted=3)})
    mirror.receive(
        "products", {"item": product("7", custom_field_hash={"cf_n": "3.00", "cf_n_unformatted": 3})}
    )
    mirror.process()
    assert mirror.rows("select zoho_id, value, value_text from tds_custom_fields order by zoho_id") == [
        {"zoho_id": n, "value": 3, "value_text": "3.00"} for n in ("5", "6", "7")
    ]
    assert mirror.value("select tds.custom_fields(zoho_metadata) from products limit 1") == {"cf_n": 3}
