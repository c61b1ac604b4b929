"""The mirror beside what a sandbox holds: every record it has had, field by field."""

from collections.abc import Callable, Collection, Iterable
from functools import lru_cache

import httpx
import psycopg

from tds_demo.compare import Comparison, Record, compare, read_json

# Zoho's name for the entities of the mirror, and which of Zoho's records those are.
SOURCES = {
    "currencies": "currencies",
    "taxes": "taxes",
    "warehouses": "locations",
    "products": "items",
    "customers": "contacts",
    "vendors": "contacts",
    "invoices": "invoices",
    "bills": "bills",
    "vendor_credits": "vendorcredits",
    "credit_notes": "creditnotes",
    "payments": "customerpayments",
    "vendor_payments": "vendorpayments",
    "sales_orders": "salesorders",
    "pricelists": "pricebooks",
}
KINDS = {"customers": "customer", "vendors": "vendor"}


@lru_cache(maxsize=64)
def truth(control: httpx.Client, source: str) -> tuple[Record, ...]:
    """Every record as the sandbox has it in the end, the deleted ones too; asked for once.

    Args:
        control: a client of the sandbox's control pages.
        source: Zoho's name of the entity.
    """
    listed, details = (
        {row["id"]: row for row in map(read_json, control.get(page).text.splitlines())}
        for page in (f"/truth/{source}?shape=list", f"/truth/{source}?shape=detail")
    )
    return tuple(
        Record(zoho_id, listed[zoho_id]["document"], row["document"], row["deleted"])
        for zoho_id, row in details.items()
    )


def compare_all(
    control: httpx.Client,
    connection: psycopg.Connection,
    organization_id: str,
    entities: Iterable[str],
    *,
    only: Collection[str] = (),
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[Comparison]:
    """Every record of these entities with its row.

    Args:
        control: a client of the sandbox's control pages.
        connection: to the database of the mirror.
        organization_id: whose records.
        entities: the mirror's names, of `SOURCES`.
        only: ids of the records to look at; none: all.
        on_progress: is told after each entity how many values were compared.
    """
    planted = {fault["id"] for fault in read_json(control.get("/planted").text)["planted"]}
    told = read_json(control.get("/entities").text)["entities"]
    silent = {entity["entity"]: entity["silent_keys"] for entity in told}
    results = []
    for entity in entities:
        kind = KINDS.get(entity)
        result = compare(
            connection,
            organization_id,
            entity,
            (
                record
                for record in truth(control, SOURCES[entity])
                if record.detail.get("contact_type") == kind and (not only or record.zoho_id in only)
            ),
            constants={"currency": "USD"} if entity == "products" else {},
            planted=planted,
            unannounced=silent.get(SOURCES[entity], ()),
        )
        on_progress(result.values)
        results.append(result)
    return results
