"""Shapes kept as JSON: what a record has of its own is laid over what is the same in all documents."""

from __future__ import annotations

import pytest

from tds_sandbox.books import ABSENT, Fault
from tds_sandbox.jsontext import encode
from tds_sandbox.modules.shapes import Shape, shapes
from tds_sandbox.organisation import Organisation


@pytest.fixture
def organisation() -> Organisation:
    return Organisation(items=5, contacts=8, invoices=3)


def test_own_values_lie_over_the_template_in_its_order() -> None:
    shape = Shape({"id": None, "kind": "standard", "total": None})
    document = shape.fill({"total": 3, "id": "7", "of_another_shape": True})
    assert list(document.items()) == [("id", "7"), ("kind", "standard"), ("total", 3)]


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError, match="total"):
        Shape({"id": None, "total": None}).fill({"id": "7"})


def test_a_file_with_other_shapes_is_an_error() -> None:
    with pytest.raises(ValueError, match="row, detail, line"):
        shapes("invoices", "row", "detail")


@pytest.mark.parametrize("value", ["many", ABSENT])
@pytest.mark.parametrize("path", ["lock_details.can_lock", "qr_code.qr_source", "line_items.0.rate"])
def test_a_fault_spoils_one_document_alone(organisation: Organisation, path: str, value: object) -> None:
    module = organisation.book("invoices").entity
    spoiled, other, *_ = organisation.book("invoices").records
    before = [encode(module.detail(organisation, record)) for record in (spoiled, other)]
    Fault("bad", path, value, "not what is expected").plant(module.detail(organisation, spoiled))
    assert [encode(module.detail(organisation, record)) for record in (spoiled, other)] == before


def test_a_fault_spoils_what_it_names(organisation: Organisation) -> None:
    module = organisation.book("invoices").entity
    document = module.detail(organisation, organisation.book("invoices").records[0])
    Fault("bad", "lock_details.can_lock", "many", "not a truth value").plant(document)
    Fault("bad", "line_items.0.rate", ABSENT, "no rate").plant(document)
    Fault("bad", "line_items.99.rate", "many", "there is no such line").plant(document)
    Fault("bad", "nowhere.rate", "many", "there is no such key").plant(document)
    assert document["lock_details"] == {"can_lock": "many"}
    assert "rate" not in document["line_items"][0]
    assert "nowhere" not in document
