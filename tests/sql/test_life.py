"""When a record counts as deleted and when it lives again, and what a status says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.sql.conftest import MOMENT, Mirror, product

READ_AT = datetime(2026, 6, 9, 14, tzinfo=UTC)
# What a list shows of one record: its key, its entity's table and id, and the record.
LISTED = {
    "products": ("items", "item_id", product("5")),
    "invoices": ("invoices", "invoice_id", {"invoice_id": "5", "invoice_number": "INV-5", "last_modified_time": MOMENT}),
    "customers": ("contacts", "contact_id",
                  {"contact_id": "5", "contact_type": "customer", "contact_name": "X", "last_modified_time": MOMENT}),
    "pricelists": ("pricebooks", "pricebook_id", {"pricebook_id": "5", "name": "Retail", "currency_code": "USD", "status": "active"}),
}  # fmt: skip


def listed(mirror: Mirror, entity: str, at: datetime, **more: Any) -> None:
    key, _, record = LISTED[entity]
    mirror.receive(entity, {key: [record]} | more, shape="list", observed_at=at)


def read_as_deleted(mirror: Mirror, entity: str, at: datetime) -> None:
    _, id_key, record = LISTED[entity]
    # proved by an announcement, too, which comes a second after the answer
    mirror.receive(entity, {id_key: record[id_key]}, event="delete", observed_at=at + timedelta(seconds=1))
    mirror.receive(entity, {id_key: record[id_key]}, shape="detail", event="delete", observed_at=at)


def deleted_at(mirror: Mirror, entity: str) -> Any:
    return mirror.value(f"select deleted_at from zoho.{entity}")


@pytest.mark.parametrize("entity", LISTED)
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
def test_a_list_that_tells_a_tombstoned_record_again_unchanged_brings_it_back(
    mirror: Mirror, entity: str, at_once: bool
) -> None:
    """Also where the row knows the record by its hash: read and deleted in one batch."""
    listed(mirror, entity, READ_AT)
    if not at_once:
        mirror.process()
    read_as_deleted(mirror, entity, READ_AT + timedelta(minutes=1))
    mirror.process()
    assert deleted_at(mirror, entity) == READ_AT + timedelta(minutes=1)
    # word for word the same record, in another page
    listed(mirror, entity, READ_AT + timedelta(minutes=2), page_context={"page": 2})
    mirror.process()
    assert deleted_at(mirror, entity) is None
    assert mirror.value(f"select sync_read_at from zoho.{entity}") == READ_AT + timedelta(minutes=2)
    assert mirror.value("select count(*) from tds.dead_letter") == 0


@pytest.mark.parametrize("entity", LISTED)
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
@pytest.mark.parametrize("deletion_first", [False, True], ids=["read first", "deletion first"])
def test_a_deletion_at_the_very_instant_of_a_read_counts(
    mirror: Mirror, entity: str, at_once: bool, deletion_first: bool
) -> None:
    """An answer 404 is proof, and only what was read later than it takes it back: whichever comes first."""
    listed(mirror, entity, READ_AT - timedelta(hours=1), page_context={"page": 1})
    mirror.process()
    steps = [listed, read_as_deleted]
    for step in reversed(steps) if deletion_first else steps:
        step(mirror, entity, READ_AT)
        if not at_once:
            mirror.process()
    mirror.process()
    assert deleted_at(mirror, entity) == READ_AT
    listed(mirror, entity, READ_AT + timedelta(microseconds=1), page_context={"page": 2})
    mirror.process()
    assert deleted_at(mirror, entity) is None


@pytest.mark.parametrize(
    ("status", "is_active"),
    [
        ("active", True),
        ("inactive", False),
        ("confirmation_pending", False),
        ("duplicate", False),
        ("", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("entity", ["products", "customers", "vendors", "pricelists", "warehouses"])
def test_only_what_is_said_to_be_active_is(
    mirror: Mirror, entity: str, status: str | None, is_active: bool | None
) -> None:
    """A status that is neither is not active, and none at all says nothing."""
    key, record = {
        "products": ("items", product("5")),
        "customers": ("contacts", {"contact_id": "5", "contact_type": "customer", "contact_name": "X"}),
        "vendors": ("contacts", {"contact_id": "5", "contact_type": "vendor", "contact_name": "X"}),
        "pricelists": ("pricebooks", {"pricebook_id": "5", "name": "Retail", "currency_code": "USD"}),
        "warehouses": ("locations", {"location_id": "5", "location_name": "X"}),
    }[entity]
    mirror.receive(entity, {key: [record | {"status": status}]}, shape="list")
    mirror.process()
    assert mirror.rows(f"select is_active from zoho.{entity}") == [{"is_active": is_active}]
