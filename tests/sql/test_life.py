"""When a record counts as deleted and when it lives again, and what a status says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.sql.conftest import MOMENT, Mirror, product

READ_AT = datetime(2026, 6, 9, 14, tzinfo=UTC)
# What a list shows of one record: its key, the key of its id, and the record without it.
LISTED = {
    "products": ("items", "item_id", product("")),
    "invoices": ("invoices", "invoice_id", {"invoice_number": "INV-5", "last_modified_time": MOMENT}),
    "customers": ("contacts", "contact_id", {"contact_type": "customer", "contact_name": "X", "last_modified_time": MOMENT}),
    "pricelists": ("pricebooks", "pricebook_id", {"name": "Retail", "currency_code": "USD", "status": "active"}),
}  # fmt: skip


def listed(mirror: Mirror, entity: str, zoho_id: str, at: datetime, **more: Any) -> None:
    key, id_key, record = LISTED[entity]
    mirror.receive(entity, {key: [record | {id_key: zoho_id}]} | more, shape="list", observed_at=at)


def read_as_deleted(mirror: Mirror, entity: str, zoho_id: str, at: datetime) -> None:
    _, id_key, _ = LISTED[entity]
    # proved by an announcement, too, which comes a second after the answer
    mirror.receive(entity, {id_key: zoho_id}, event="delete", observed_at=at + timedelta(seconds=1))
    mirror.receive(entity, {id_key: zoho_id}, shape="detail", event="delete", observed_at=at)


def stored(mirror: Mirror, entity: str, zoho_id: str, column: str = "deleted_at") -> Any:
    return mirror.value(f"select {column} from zoho.{entity} where zoho_{LISTED[entity][1]} = %s", zoho_id)


@pytest.mark.parametrize("entity", LISTED)
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
def test_a_list_that_tells_a_tombstoned_record_again_unchanged_brings_it_back(
    shared: Mirror, own_id: str, entity: str, at_once: bool
) -> None:
    """Also where the row knows the record by its hash: read and deleted in one batch."""
    listed(shared, entity, own_id, READ_AT)
    if not at_once:
        shared.process()
    read_as_deleted(shared, entity, own_id, READ_AT + timedelta(minutes=1))
    shared.process()
    assert stored(shared, entity, own_id) == READ_AT + timedelta(minutes=1)
    # word for word the same record, in another page
    listed(shared, entity, own_id, READ_AT + timedelta(minutes=2), page_context={"page": 2})
    shared.process()
    assert stored(shared, entity, own_id) is None
    assert stored(shared, entity, own_id, "sync_read_at") == READ_AT + timedelta(minutes=2)
    assert shared.value("select count(*) from tds.dead_letter") == 0


@pytest.mark.parametrize("entity", LISTED)
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
@pytest.mark.parametrize("deletion_first", [False, True], ids=["read first", "deletion first"])
def test_a_deletion_at_the_very_instant_of_a_read_counts(
    shared: Mirror, own_id: str, entity: str, at_once: bool, deletion_first: bool
) -> None:
    """An answer 404 is proof, and only what was read later than it takes it back: whichever comes first."""
    listed(shared, entity, own_id, READ_AT - timedelta(hours=1), page_context={"page": 1})
    shared.process()
    steps = [listed, read_as_deleted]
    for step in reversed(steps) if deletion_first else steps:
        step(shared, entity, own_id, READ_AT)
        if not at_once:
            shared.process()
    shared.process()
    assert stored(shared, entity, own_id) == READ_AT
    listed(shared, entity, own_id, READ_AT + timedelta(microseconds=1), page_context={"page": 2})
    shared.process()
    assert stored(shared, entity, own_id) is None


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
    shared: Mirror, own_id: str, entity: str, status: str | None, is_active: bool | None
) -> None:
    """A status that is neither is not active, and none at all says nothing."""
    key, id_key, record = {
        "products": ("items", "item_id", product(own_id)),
        "customers": ("contacts", "contact_id", {"contact_id": own_id, "contact_type": "customer", "contact_name": "X"}),
        "vendors": ("contacts", "contact_id", {"contact_id": own_id, "contact_type": "vendor", "contact_name": "X"}),
        "pricelists": ("pricebooks", "pricebook_id", {"pricebook_id": own_id, "name": "Retail", "currency_code": "USD"}),
        "warehouses": ("locations", "warehouse_id", {"location_id": own_id, "location_name": "X"}),
    }[entity]  # fmt: skip
    shared.receive(entity, {key: [record | {"status": status}]}, shape="list")
    shared.process()
    active = f"select is_active from zoho.{entity} where zoho_{id_key} = %s"
    assert shared.rows(active, own_id) == [{"is_active": is_active}]
