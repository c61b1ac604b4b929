"""Edits, silent changes, deletions, planted records, as a client and the truth see them."""

from __future__ import annotations

import httpx
import pytest

from tds_sandbox.clock import Clock
from tds_sandbox.errors import SandboxError, UnknownRecordError, UnsuitableEditError
from tds_sandbox.jsontext import decode
from tds_sandbox.limits import UNLIMITED
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running, running
from tests.sandbox.conftest import sign_in

START = 1_790_000_000.0


@pytest.fixture
def organisation() -> Organisation:
    return Organisation(clock=Clock(start=START), items=60, contacts=60, invoices=60)


@pytest.mark.parametrize("entity", ["items", "contacts", "invoices"])
def test_every_kind_of_edit_changes_the_document_and_its_time(
    organisation: Organisation, entity: str
) -> None:
    for kind, edit in organisation.book(entity).entity.edits.items():
        organisation.clock.advance(5)
        suited = [r.id for r in organisation.book(entity).records if edit.suits(r)]
        assert suited, kind
        before = {one: organisation.document(entity, one) for one in suited}
        change = organisation.edit(entity, kind=kind)
        after = organisation.document(entity, change.id)
        changed = {key for key in after if after[key] != before[change.id].get(key)}
        assert changed - {"last_modified_time"}, kind
        assert ("last_modified_time" in changed) is not edit.silent
        if edit.silent:
            assert changed <= organisation.book(entity).entity.silent_keys
        row = decode(organisation.row_json(entity, organisation.find(entity, change.id)))
        assert row.get("last_modified_time", after["last_modified_time"]) == after["last_modified_time"]


def test_two_edits_in_one_second_have_the_same_time(organisation: Organisation) -> None:
    change = organisation.edit("items", kind="rate")
    first = organisation.document("items", change.id)
    organisation.edit("items", change.id, kind="rate")
    second = organisation.document("items", change.id)
    assert first["rate"] != second["rate"]
    assert first["last_modified_time"] == second["last_modified_time"] == "2026-09-21T10:13:20-0400"


def test_random_edits_are_never_silent_unless_allowed(organisation: Organisation) -> None:
    assert not any(organisation.edit("items").silent for _ in range(200))
    assert any(organisation.edit("items", silent=True).silent for _ in range(200))


def test_errors(organisation: Organisation) -> None:
    with pytest.raises(UnknownRecordError):
        organisation.edit("purchaseorders")
    with pytest.raises(UnknownRecordError):
        organisation.edit("items", "123")
    with pytest.raises(UnsuitableEditError):
        organisation.edit("items", kind="colour")
    with pytest.raises(SandboxError, match="purchaseorders"):
        Organisation(purchaseorders=3)
    with pytest.raises(SandboxError, match="planted"):
        Organisation(items=1, bad_records=50)


def test_deleted_records_are_gone_but_in_the_truth() -> None:
    organisation = Organisation(items=50)
    with running(organisation, limits=UNLIMITED) as sandbox, sign_in(sandbox) as books:
        change = organisation.delete("items")
        gone = books.get(f"/items/{change.id}")
        assert (gone.status_code, gone.json()) == (404, {"code": 1002, "message": "Item does not exist."})
        rows = books.get("/items", params={"filter_by": "Status.All"}).json()["items"]
        assert change.id not in {row["item_id"] for row in rows}
        assert len(rows) == 49
        truth = list(organisation.truth("items"))
        assert [one.id for one in truth if one.deleted] == [change.id]
        assert len(truth) == 50


def test_planted_records() -> None:
    organisation = Organisation(items=80, contacts=80, invoices=80, bad_records=18)
    planted = {row["id"]: row for row in organisation.planted_records()}
    assert len(planted) == 18
    assert {row["entity"] for row in planted.values()} == {"items", "contacts", "invoices"}
    assert {row["fault"] for row in planted.values()} >= {
        "bad number", "missing id", "empty id", "bad purchase rate", "sku too long", "bad stock",
        "impossible date",
    }  # fmt: skip
    for entity in ("items", "contacts", "invoices"):
        id_key = organisation.book(entity).entity.id_key
        for truth in organisation.truth(entity):
            row = planted.get(truth.id)
            assert truth.planted == ((row["fault"],) if row else ())
            assert truth.document[id_key] == truth.id
            if row is None:
                continue
            record = organisation.find(entity, truth.id)
            served = {
                "list": decode(organisation.row_json(entity, record)),
                "detail": decode(organisation.detail_json(entity, record)),
            }
            for shape in set(row["shapes"]) & set(served):
                node = served[shape]
                *parents, last = row["path"].split(".")
                for step in parents:
                    node = node[int(step)] if isinstance(node, list) else node.get(step, {})
                if node:
                    assert (last not in node) if row["absent"] else node[last] == row["value"]
    # Random edits leave planted records alone; mending makes them what they are in truth.
    touched = {
        organisation.edit(entity).id for entity in ("items", "contacts", "invoices") for _ in range(100)
    }
    assert not touched & set(planted)
    mended = organisation.mend()
    assert {change.id for change in mended} == set(planted)
    assert organisation.planted_records() == []


def control(sandbox: Running) -> httpx.Client:
    return httpx.Client(base_url=f"{sandbox.url}/_sandbox", verify=False)


def test_control_pages() -> None:
    organisation = Organisation(clock=Clock(start=START), items=30, contacts=30, invoices=30, bad_records=3)
    with running(organisation, limits=UNLIMITED) as sandbox, control(sandbox) as pages:
        listed = pages.get("/").json()["organisations"][0]
        filled = {name: count for name, count in listed["records"].items() if count}
        assert filled == {"items": 30, "contacts": 30, "invoices": 30}
        asked = {"count": 20, "create": 2, "delete": 2, "void": 1, "seed": 7}
        changes = pages.post("/edit", json=asked).json()["changes"]
        assert len(changes) == 25
        assert sum(change["kind"] == "create" for change in changes) == 2
        lines = [decode(line) for line in pages.get("/truth/items").text.splitlines()]
        assert [line["id"] for line in lines] == [truth.id for truth in organisation.truth("items")]
        assert [line["document"] for line in lines] == [t.document for t in organisation.truth("items")]
        plain = decode(pages.get("/truth/items?silent=false&shape=list").text.splitlines()[0])["document"]
        assert "stock_on_hand" not in plain
        planted = pages.get("/planted").json()["planted"]
        assert len(planted) == 3
        assert len(pages.post("/mend", json={"ids": [planted[0]["id"]]}).json()["changes"]) == 1
        assert pages.post("/clock", json={"advance": 3600}).json()["stamp"].startswith("2026-09-21T11:13")
        stock = pages.get("/entities").json()["entities"][0]
        assert stock["edits"]["stock"] == "silent"
        for path, body in (
            ("/edit", {"many": 3}),
            ("/edit", {"entities": ["items"], "kind": "colour"}),
            ("/faults", {"error_500": 2}),
            ("/clock", {"advance": -1}),
            ("/limits", {"per_hour": 5}),
            ("/webhooks", {"form": "xml"}),
        ):
            assert pages.post(path, json=body).status_code == 400
        assert pages.post("/edit", json={"entities": ["purchaseorders"]}).status_code == 404
        assert pages.get("/truth/purchaseorders").status_code == 404
        assert pages.post("/edit", content=b"{").status_code == 400


def test_two_organisations_share_a_client_but_nothing_else() -> None:
    both = [Organisation(items=3), Organisation(items=5, organization_id="60069194202", seed=2)]
    with running(both) as sandbox, sign_in(sandbox) as books:
        counts = []
        for organisation in both:
            query = {"organization_id": organisation.organization_id, "filter_by": "Status.All"}
            counts.append(len(books.get("/items", params=query).json()["items"]))
        assert counts == [3, 5]
        assert len(books.get("/organizations").json()["organizations"]) == 2
        used = [limits.used_today for limits in sandbox.sandbox.limits.values()]
        assert used == [2, 1]
        assert not set(both[0].book("items").index) & set(both[1].book("items").index)
