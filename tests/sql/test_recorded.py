"""Recorded answers of Zoho, if TDS_RECORDED_SAMPLES names a directory with api/ and webhooks/, pass without a dead letter."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.sql.conftest import ORGANIZATION, Mirror

RENAMED = {"items": "products", "item": "products", "contacts": "customers", "contact": "customers"}

# Zoho's published example shows the lines of a vendor credit as one object. Its description has that form and an array.
EXPLAINED = {("vendorcredits__openapi-get.json", "line_items", "not an array")}


@pytest.mark.skipif(
    "TDS_RECORDED_SAMPLES" not in os.environ, reason="TDS_RECORDED_SAMPLES names no directory"
)
def test_recorded_answers_leave_no_dead_letter(mirror: Mirror) -> None:
    entities = {r["entity"]: r for r in mirror.rows("select * from tds.entity")}
    modules = {str(r["api_path"]).strip("/"): name for name, r in entities.items()} | RENAMED
    unknown = sent = 0
    names: dict[int, str] = {}
    for path in sorted(Path(os.environ["TDS_RECORDED_SAMPLES"]).glob("*/*.json")):
        module = path.name.split("__")[0]
        entity = modules.get(module) or modules.get(module + "s")
        body = json.loads(path.read_bytes())
        if entity not in entities or not isinstance(body, dict):
            unknown += 1
            continue
        row = entities[entity]
        list_keys = {row["list_key"], row["list_key"].replace("_", "")}
        shape = (
            "webhook" if path.parent.name == "webhooks" else "list" if list_keys & body.keys() else "detail"
        )
        # an answer that only says "deleted" or "voided" holds no record
        if shape == "detail" and row["record_key"] not in body:
            unknown += 1
            continue
        found = mirror.rows(
            "select inbox_id from tds.receive(%s, %b, %s, shape => %s)",
            entity,
            path.read_bytes(),
            ORGANIZATION,
            shape,
        )
        names[found[0]["inbox_id"]] = path.name
        sent += 1
    mirror.process()
    dead = mirror.rows("select inbox_id, path, value, reason from tds_dead_letter_queue")
    assert [
        (names[d["inbox_id"]], d["path"], d["value"], d["reason"])
        for d in dead
        if (names[d["inbox_id"]], d["path"], d["reason"]) not in EXPLAINED
    ] == []
    assert sent > 0, f"{unknown} answers of modules that are not mirrored"
