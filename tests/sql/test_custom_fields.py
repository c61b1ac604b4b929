"""Custom fields of a document that was told in parts: of each field the newest telling counts, whatever form it came in."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from tests.sql.conftest import MOMENT, Mirror, product

SECOND = "2026-06-10T09:46:21-0400"
THIRD = "2026-06-11T09:46:21-0400"


def array(**fields: Any) -> dict[str, Any]:
    return {
        "brand": "",
        "custom_fields": [
            {"api_name": name, "label": name.upper(), "value": value, "value_formatted": f"{value}.00"}
            for name, value in fields.items()
        ],
    }


def flat(**fields: Any) -> dict[str, Any]:
    return {name: f"{value}.00" for name, value in fields.items()} | {
        f"{name}_unformatted": value for name, value in fields.items()
    }


def hashed(**fields: Any) -> dict[str, Any]:
    return {"custom_field_hash": flat(**fields)}


Telling = tuple[str, str, int, dict[str, Any]]
STORIES: dict[str, tuple[list[Telling], dict[str, Any]]] = {
    "a list after the detail, field by field": (
        [("detail", MOMENT, 1, array(cf_a=1, cf_b=1)), ("list", SECOND, 2, flat(cf_a=2))],
        {"cf_a": 2, "cf_b": 1},
    ),
    "the detail after the list": (
        [("list", MOMENT, 1, flat(cf_a=1)), ("detail", SECOND, 2, array(cf_a=2, cf_b=2))],
        {"cf_a": 2, "cf_b": 2},
    ),
    "a list after the detail, and then a word of something else": (
        [
            ("detail", MOMENT, 1, array(cf_a=1, cf_b=1)),
            ("list", SECOND, 2, flat(cf_a=2)),
            ("webhook", THIRD, 3, {"rate": 9}),
        ],
        {"cf_a": 2, "cf_b": 1},
    ),
    "a field that a later detail names no more": (
        [("list", MOMENT, 1, flat(cf_a=1)), ("detail", SECOND, 2, array(cf_b=2))],
        {"cf_b": 2},
    ),
    "a field that a later list does not show": (
        [("detail", MOMENT, 1, array(cf_a=1, cf_b=1)), ("list", SECOND, 2, flat(cf_b=2))],
        {"cf_a": 1, "cf_b": 2},
    ),
    "a hash after the detail": (
        [("detail", MOMENT, 1, array(cf_a=1)), ("webhook", SECOND, 2, hashed(cf_a=2))],
        {"cf_a": 2},
    ),
    "a webhook that says only what is shown": (
        [("list", MOMENT, 1, flat(cf_a=1)), ("webhook", SECOND, 2, {"cf_a": "2.00"})],
        {"cf_a": "2.00"},
    ),
    "a webhook without a time, and the detail it asked for": (
        [("webhook", "", 2, flat(cf_a=1)), ("detail", MOMENT, 3, array(cf_a=2))],
        {"cf_a": 2},
    ),
    "a webhook without a time after the detail": (
        [("detail", MOMENT, 1, array(cf_a=1, cf_b=1)), ("webhook", "", 2, flat(cf_a=2))],
        {"cf_a": 2, "cf_b": 1},
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_of_each_field_the_newest_telling_counts_in_any_order(
    shared: Mirror, own_id: str, story: str
) -> None:
    tellings, expected = STORIES[story]
    for number, order in enumerate(permutations(tellings), 1):
        item_id = f"{own_id}{number}"
        for shape, modified, minute, fields in order:
            record = product(item_id, **fields) | {"last_modified_time": modified}
            if not modified:
                record = {"item_id": item_id, **fields}
            body = {"items": [record]} if shape == "list" else {"item": record}
            at = f"2026-06-12 10:{minute:02}:00+00"
            shared.receive("products", body, shape=shape, observed_at=at)
            shared.process()
        fields_now = shared.rows(
            "select api_name, value, value_text from tds_custom_fields where zoho_id = %s", item_id
        )
        assert {row["api_name"]: row["value"] for row in fields_now} == expected, [t[:3] for t in order]
        shown = {name: value if isinstance(value, str) else f"{value}.00" for name, value in expected.items()}
        assert {row["api_name"]: row["value_text"] for row in fields_now} == shown
