"""The same seed gives the same bytes: what the benchmarks and demonstrations measured stays comparable."""

from __future__ import annotations

from hashlib import sha256

import pytest

from tds_sandbox.clock import Clock
from tds_sandbox.organisation import Organisation


def digest(organisation: Organisation, entity: str) -> str:
    """Of all documents of an entity, in both shapes."""
    text = sha256()
    for shape in ("list", "detail"):
        for line in organisation.truth_lines(entity, shape):
            text.update(line.encode())
    return text.hexdigest()[:16]


@pytest.fixture
def generated() -> Organisation:
    return Organisation(items=200, contacts=200, invoices=300, bad_records=9)


@pytest.fixture
def edited() -> Organisation:
    organisation = Organisation(
        items=200, contacts=200, invoices=300, seed=3, clock=Clock(1e-9, start=1_790_000_000.0)
    )
    for entity in ("items", "contacts", "invoices") * 200:
        organisation.edit(entity)
    for _ in range(30):
        organisation.create("invoices")
        organisation.delete("invoices")
    return organisation


def test_generated_data(generated: Organisation) -> None:
    assert digest(generated, "items") == "01354b13fb2bd416"
    assert digest(generated, "contacts") == "e85a437b62568185"
    assert digest(generated, "invoices") == "4ecb062ba76c0ebd"


def test_edits(edited: Organisation) -> None:
    assert digest(edited, "items") == "121a33227e3fcf1b"
    assert digest(edited, "contacts") == "9a45751e531d6ebc"
    assert digest(edited, "invoices") == "77dc92c91cb13658"
