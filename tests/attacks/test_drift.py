"""What drift costs: long keys, many keys, huge and unreadable records stop nobody, and the ledger stays small."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sql.conftest import Mirror, mirror, product

__all__ = ["mirror"]


def observe(mirror: Mirror) -> None:
    while mirror.value("select tds.observe_drift()"):
        pass


def paths(mirror: Mirror) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in mirror.rows("select path, json_type, seen, sample from tds.drift")}


def test_long_keys_are_cut_and_told_apart(mirror: Mirror) -> None:
    keys = ["k" * length + end for length in (201, 3_200, 100_000, 1_000_000) for end in "ab"]
    told: dict[str, Any] = dict.fromkeys(keys, 1) | {"\U0001f600" * 3_200: 2, "deep": {}}
    inner = told["deep"]
    for _ in range(25):
        inner["x" * 150] = {"y": 1}
        inner = inner["x" * 150]
    mirror.receive("products", {"item": product("1", **told)})
    mirror.receive("products", {"item": product("2", zzz=1)})
    assert mirror.process()["applied"] == 2
    observe(mirror)
    found = paths(mirror)
    assert "zzz" in found
    assert sum(path.startswith("k") for path in found) == len(keys)
    assert max(len(path) for path in found) < 520
    assert sum(path.startswith("deep.") for path in found) == 50
    assert all(len(row["sample"]) <= 200 for row in found.values())


def test_an_entity_has_so_many_paths_and_the_rest_is_counted(mirror: Mirror) -> None:
    mirror.conn.execute("update tds.setting set value = '100' where name = 'drift_paths'")
    mirror.receive("products", {"item": product("1")})
    mirror.process()
    observe(mirror)
    known = set(paths(mirror))
    for item in range(3):
        mirror.receive("products", {"item": product(str(item), **{f"n{item}_{n}": 1 for n in range(200)})})
        mirror.process()
        observe(mirror)
    found = paths(mirror)
    assert len(found) == 101
    assert known <= set(found)
    assert found["…"]["seen"] == 600 - (100 - len(known))
    assert "more paths than the setting drift_paths (100)" in found["…"]["sample"]
    # what is known goes on being counted, and another entity has its own
    assert found["name"]["seen"] == 4
    mirror.receive(
        "customers", {"contact": {"contact_id": "9", "contact_name": "x", "contact_type": "customer"}}
    )
    mirror.process()
    observe(mirror)
    assert mirror.value("select count(*) from tds.drift where entity = 'customers'") >= 3


@pytest.mark.parametrize("place", [0, 2, 4])
def test_the_one_that_fails_is_set_aside_by_name(mirror: Mirror, place: int) -> None:
    for item in range(5):
        mirror.receive(
            "products", {"item": product(str(item), **{f"of_{item}": "poison" if item == place else 1})}
        )
    assert mirror.process()["applied"] == 5
    mirror.conn.execute("alter table tds.drift add constraint planted check (sample <> '\"poison\"')")
    observe(mirror)
    assert {path for path in paths(mirror) if path.startswith("of_")} == {
        f"of_{n}" for n in range(5) if n != place
    }
    [aside] = mirror.rows("select * from tds.set_aside")
    guilty = mirror.value("select inbox_id from tds.inbox where body like '%%poison%%'")
    assert (aside["job"], aside["item"], aside["error_code"]) == ("observe_drift", f"event {guilty}", "23514")
    assert "note_drift" in aside["error_context"]
    # the next ones are read
    mirror.receive("products", {"item": product("7", later=1)})
    mirror.process()
    observe(mirror)
    assert "later" in paths(mirror)


def test_what_exceeds_a_bound_is_not_walked(mirror: Mirror) -> None:
    nested = json.loads("[" * 500 + "]" * 500)
    mirror.receive("products", {"item": product("1", nested=nested)})
    mirror.receive(
        "products", b'{"item": {"item_id": "2", "name": "x", "long": [' + b"1e131071, " * 9_000 + b"1]}}"
    )
    mirror.receive("products", {"items": [product("3", fine=1), product("4", wide=dict.fromkeys(map(str, range(20_000)), 1))]},
                   "list", source="poller")  # fmt: skip
    outcome = mirror.process()
    assert (outcome["applied"], outcome["dead"]) == (1, 3)
    observe(mirror)
    found = paths(mirror)
    assert "fine" in found
    assert not {"nested", "long", "wide"} & set(found)
    assert mirror.value("select count(*) from tds.set_aside") == 0
