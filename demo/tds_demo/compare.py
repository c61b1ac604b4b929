"""Whether the mirror is what Zoho says: every record, every typed column, every key of the stored documents.

Written from the mapping in words and knowing nothing of the SQL that does the mapping, so that it can find
that wrong. It keeps what it compares in memory: it is for tests and demonstrations.

A list row lacks keys that a detail has, and the other way round. What must be stored is what Zoho has told:
the keys of the list row, and those of the detail where one was fetched, each with the value that one of the
two has. A column whose key nobody has told is null.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_loads

Document = Mapping[str, Any]
Reader = Callable[[Document], object]

read_json = partial(json.loads, parse_float=Decimal)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as Zoho has it: its two shapes, and whether it was deleted."""

    zoho_id: str
    listed: Document
    detail: Document
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not as it should be: a column, `zoho_metadata.<key>`, a child's column, or the row as such."""

    entity: str
    zoho_id: str
    path: str
    expected: object
    found: object


@dataclass(slots=True)
class Comparison:
    """The result for one entity: records in Zoho, rows and values that were looked at, and what differs."""

    entity: str
    records: int = 0
    rows: int = 0
    values: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def differing(self) -> int:
        """How many records differ."""
        return len({difference.zoho_id for difference in self.differences})


# Readers of the columns' values


def text(key: str) -> Reader:
    """Text and ids; Zoho's empty string is nothing."""
    return lambda told: None if told.get(key) in (None, "") else str(told[key])


def number(key: str) -> Reader:
    """Numbers, which are sometimes strings."""

    def read(told: Document) -> Decimal | None:
        value = told.get(key)
        return None if value in (None, "") else Decimal(str(value).rstrip("%"))

    return read


def day(key: str) -> Reader:
    """`2026-06-09`."""
    return lambda told: date.fromisoformat(told[key]) if told.get(key) else None


def moment(key: str) -> Reader:
    """`2026-06-09T09:46:21-0400`."""
    return lambda told: datetime.fromisoformat(told[key]) if told.get(key) else None


def is_active(told: Document) -> bool | None:
    """From `status`."""
    status = text("status")(told)
    return None if status is None else status == "active"


def full_name(told: Document) -> str | None:
    """First and last name."""
    return " ".join(filter(None, (told.get("first_name"), told.get("last_name")))) or None


def tax_number(told: Document) -> str | None:
    """Whichever of its names the edition has."""
    names = ("gst_no", "vat_reg_no", "tax_reg_no", "tax_id_value")
    return next((str(told[name]) for name in names if told.get(name)), None)


def customer_type(told: Document) -> str | None:
    """B2B or B2C."""
    return {"business": "B2B", "individual": "B2C"}.get(told.get("customer_sub_type", ""))


def discount_amount(told: Document) -> object:
    """`discount_amount`, or `discount_total`: amounts even where `discount` is a percentage."""
    amount, total = number("discount_amount")(told), number("discount_total")(told)
    if amount or (amount is not None and total is None):
        return amount
    if total is not None:
        return total
    return None if str(told.get("discount", "")).endswith("%") else number("discount")(told)


def adds_up(key: str) -> Reader:
    """A check of a document's arithmetic: the sandbox's documents add up, where they say enough to tell."""
    return lambda told: False if told.get("line_items") and key in told else None


def first_number(*keys: str) -> Reader:
    """The first of these numbers that is there."""
    return lambda told: next((value for key in keys if (value := number(key)(told)) is not None), None)


def itself(key: str) -> Reader:
    """A part of the document as it is."""
    return lambda told: told.get(key)


# The mapping


@dataclass(frozen=True, slots=True)
class Children:
    """Rows that hang on a record, known by `position`: `documents` says what they are made from."""

    table: str
    position: str | tuple[str, ...]
    documents: Callable[[Document], Iterable[tuple[Any, Document]]]
    columns: Mapping[str, Reader]

    def place(self, row: DictRow) -> Any:
        """What tells a row from the others of its record."""
        if isinstance(self.position, str):
            return row[self.position]
        return tuple(row[column] for column in self.position)


@dataclass(frozen=True, slots=True)
class Entity:
    """A table of the mirror. `has_detail`: each record's detail is fetched, not only its list row."""

    table: str
    id_column: str
    columns: Mapping[str, Reader]
    has_detail: bool = True
    children: tuple[Children, ...] = ()


COMMON: Mapping[str, Reader] = {
    "zoho_created_at": moment("created_time"),
    "zoho_modified_at": moment("last_modified_time"),
}
ADDRESS_KEYS = ("attention", "address", "street2", "city", "state", "zip", "country", "phone", "fax")
PERSON_KEYS = (
    "salutation",
    "first_name",
    "last_name",
    "email",
    "phone",
    "mobile",
    "designation",
    "department",
)


def _addresses(told: Document) -> Iterator[tuple[int, Document]]:
    every = [("billing", told.get("billing_address")), ("shipping", told.get("shipping_address"))]
    every += [("additional", address) for address in told.get("addresses") or ()]
    for position, (kind, address) in enumerate(every, start=1):
        if address and any(address.get(key) for key in ADDRESS_KEYS):
            yield position, {**address, "address_type": kind}


def _places(told: Document) -> Iterator[tuple[str, Document]]:
    for place in told.get("locations") or ():
        yield place["location_id"], place


def _prices(told: Document) -> Iterator[tuple[tuple[Any, Any], Document]]:
    for item in told.get("pricebook_items") or ():
        for price in item.get("price_brackets") or (item,):
            start = number("start_quantity")(price) or Decimal(0)
            yield (item["item_id"], start), {**price, "currency_code": told["currency_code"]}


def _contacts(table: str, addresses: str) -> Entity:
    return Entity(
        table,
        "zoho_contact_id",
        {
            **COMMON,
            "name": text("contact_name"),
            "full_name": full_name,
            "email": text("email"),
            "phone": text("phone"),
            "mobile": text("mobile"),
            "company_name": text("company_name"),
            "customer_type": customer_type,
            "is_active": is_active,
            "currency": text("currency_code"),
            "payment_terms": number("payment_terms"),
            "payment_terms_label": text("payment_terms_label"),
            "outstanding_receivable": number("outstanding_receivable_amount"),
            "outstanding_payable": number("outstanding_payable_amount"),
            "unused_credits_receivable": number("unused_credits_receivable_amount"),
            "unused_credits_payable": number("unused_credits_payable_amount"),
            "zoho_pricebook_id": text("pricebook_id"),
            "pricelist_name": text("pricebook_name"),
            "tax_number": tax_number,
            "billing_address": itself("billing_address"),
            "shipping_address": itself("shipping_address"),
        },
        children=(
            Children(
                addresses,
                "position",
                _addresses,
                {
                    "address_type": text("address_type"),
                    "zoho_address_id": text("address_id"),
                    "country_code": text("country_code"),
                    **{key: text(key) for key in ADDRESS_KEYS},
                },
            ),
            _listed(
                "contact_persons",
                "position",
                "contact_persons",
                {
                    "zoho_contact_person_id": text("contact_person_id"),
                    "is_primary": itself("is_primary_contact"),
                    **{key: text(key) for key in PERSON_KEYS},
                },
            ),
        ),
    )


def _listed(table: str, position: str, key: str, columns: Mapping[str, Reader]) -> Children:
    """The elements of an array as rows, by their place."""
    return Children(
        table,
        position,
        lambda told: enumerate(told.get(key) or (), start=1),
        {**columns, "zoho_metadata": dict},
    )


LINES: Mapping[str, Reader] = {
    "zoho_line_item_id": text("line_item_id"),
    "zoho_item_id": text("item_id"),
    "name": text("name"),
    "description": text("description"),
    "unit": text("unit"),
    "quantity": number("quantity"),
    "rate": number("rate"),
    "total_amount": number("item_total"),
}
TAXED_LINES: Mapping[str, Reader] = {
    **LINES,
    "discount": text("discount"),
    "discount_amount": number("discount_amount"),
    "tax_name": text("tax_name"),
    "tax_rate": number("tax_percentage"),
}
MONEY: Mapping[str, Reader] = {
    "subtotal": number("sub_total"),
    "tax_total": number("tax_total"),
    "total_amount": number("total"),
    "currency": text("currency_code"),
    "exchange_rate": number("exchange_rate"),
}
CHECKS: Mapping[str, Reader] = {
    "subtotal_differs": adds_up("sub_total"),
    "total_differs": adds_up("total"),
}
CUSTOMER: Mapping[str, Reader] = {
    "zoho_customer_id": text("customer_id"),
    "customer_name": text("customer_name"),
    "reference_number": text("reference_number"),
}
VENDOR: Mapping[str, Reader] = {
    "zoho_vendor_id": text("vendor_id"),
    "vendor_name": text("vendor_name"),
    "reference_number": text("reference_number"),
}


ENTITIES: Mapping[str, Entity] = {
    "products": Entity(
        "products",
        "zoho_item_id",
        {
            **COMMON,
            "name": text("name"),
            "sku": text("sku"),
            "description": text("description"),
            "unit_price": number("rate"),
            "stock_quantity": number("stock_on_hand"),
            "available_stock": number("available_stock"),
            "committed_stock": first_number("committed_stock", "stock_committed"),
            "actual_available_stock": number("actual_available_stock"),
            "actual_committed_stock": number("actual_committed_stock"),
            "available_for_sale_stock": number("available_for_sale_stock"),
            "is_active": is_active,
            "tax_rate": number("tax_percentage"),
            "category_name": text("category_name"),
            "image_document_id": text("image_document_id"),
            "unit": text("unit"),
            "purchase_rate": number("purchase_rate"),
            "reorder_level": number("reorder_level"),
            "brand": text("brand"),
        },
        has_detail=False,
        children=(
            Children(
                "stock_levels",
                "zoho_warehouse_id",
                _places,
                {
                    "warehouse_name": text("location_name"),
                    "on_hand": number("location_stock_on_hand"),
                    "available": number("location_available_stock"),
                    "committed": number("location_committed_stock"),
                    "actual_available": number("location_actual_available_stock"),
                },
            ),
        ),
    ),
    "currencies": Entity(
        "currencies",
        "zoho_currency_id",
        {
            "code": text("currency_code"),
            "name": text("currency_name"),
            "symbol": text("currency_symbol"),
            "price_precision": number("price_precision"),
            "exchange_rate": number("exchange_rate"),
            "is_base": itself("is_base_currency"),
            "effective_date": day("effective_date"),
        },
        has_detail=False,
    ),
    "taxes": Entity(
        "taxes",
        "zoho_tax_id",
        {"name": text("tax_name"), "percentage": number("tax_percentage"), "tax_type": text("tax_type")},
        has_detail=False,
    ),
    "warehouses": Entity(
        "warehouses",
        "zoho_warehouse_id",
        {
            "name": text("location_name"),
            "is_primary": itself("is_primary"),
            "is_active": is_active,
            "email": text("email"),
            "phone": text("phone"),
            "address": itself("address"),
        },
        has_detail=False,
    ),
    "pricelists": Entity(
        "pricelists",
        "zoho_pricebook_id",
        {
            "zoho_modified_at": moment("last_modified_time"),
            "name": text("name"),
            "description": text("description"),
            "kind": text("pricebook_type"),
            "pricing_scheme": text("pricing_scheme"),
            "sales_or_purchase": text("sales_or_purchase_type"),
            "percentage": number("percentage"),
            "is_increase": itself("is_increase"),
            "rounding_type": text("rounding_type"),
            "decimal_place": number("decimal_place"),
            "currency": text("currency_code"),
            "is_active": is_active,
        },
        children=(
            Children(
                "product_prices",
                ("zoho_item_id", "start_quantity"),
                _prices,
                {
                    "end_quantity": number("end_quantity"),
                    "zoho_pricebook_item_id": text("pricebook_item_id"),
                    "rate": number("pricebook_rate"),
                    "discount": number("pricebook_discount"),
                    "currency": text("currency_code"),
                },
            ),
        ),
    ),
    "customers": _contacts("customers", "customer_addresses"),
    "vendors": _contacts("vendors", "vendor_addresses"),
    "invoices": Entity(
        "invoices",
        "zoho_invoice_id",
        {
            **COMMON,
            **CUSTOMER,
            **MONEY,
            **CHECKS,
            "invoice_number": text("invoice_number"),
            "invoice_date": day("date"),
            "due_date": day("due_date"),
            "status": text("status"),
            "discount_amount": discount_amount,
            "amount_paid": number("payment_made"),
            "credits_applied": number("credits_applied"),
            "write_off_amount": number("write_off_amount"),
            "tax_withheld": number("tax_amount_withheld"),
            "tds_amount": number("tds_amount"),
            "tcs_amount": number("tcs_amount"),
            "shipping_charge": number("shipping_charge"),
            "adjustment": number("adjustment"),
            "balance": number("balance"),
        },
        children=(_listed("invoice_line_items", "line_number", "line_items", TAXED_LINES),),
    ),
    "bills": Entity(
        "bills",
        "zoho_bill_id",
        {
            **COMMON,
            **VENDOR,
            **MONEY,
            **CHECKS,
            "bill_number": text("bill_number"),
            "bill_date": day("date"),
            "due_date": day("due_date"),
            "payment_status": text("status"),
            "discount_amount": discount_amount,
            "adjustment": number("adjustment"),
            "tax_withheld": number("tax_amount_withheld"),
            "tds_amount": number("tds_amount"),
            "tcs_amount": number("tcs_amount"),
            "amount_paid": number("payment_made"),
            "credits_applied": number("vendor_credits_applied"),
            "balance": number("balance"),
        },
        children=(
            _listed("bill_line_items", "line_number", "line_items", TAXED_LINES),
            _listed(
                "bill_payments",
                "position",
                "payments",
                {
                    "zoho_allocation_id": text("bill_payment_id"),
                    "zoho_payment_id": text("payment_id"),
                    "payment_number": text("payment_number"),
                    "payment_mode": text("payment_mode"),
                    "reference_number": text("reference_number"),
                    "paid_on": day("date"),
                    "amount": number("amount"),
                },
            ),
            _listed(
                "bill_vendor_credits",
                "position",
                "vendor_credits",
                {
                    "zoho_vendor_credit_id": text("vendor_credit_id"),
                    "vendor_credit_number": text("vendor_credit_number"),
                    "credited_on": day("date"),
                    "amount": number("amount"),
                },
            ),
        ),
    ),
    "vendor_credits": Entity(
        "vendor_credits",
        "zoho_vendor_credit_id",
        {
            **COMMON,
            **VENDOR,
            **MONEY,
            **CHECKS,
            "vendor_credit_number": text("vendor_credit_number"),
            "credit_date": day("date"),
            "discount_amount": discount_amount,
            "adjustment": number("adjustment"),
            "status": text("status"),
            "credits_used": number("total_credits_used"),
            "amount_refunded": number("total_refunded_amount"),
            "balance": number("balance"),
        },
        children=(
            _listed("vendor_credit_line_items", "line_number", "line_items", TAXED_LINES),
            _listed(
                "vendor_credit_bills",
                "position",
                "bills_credited",
                {
                    "zoho_bill_id": text("bill_id"),
                    "bill_number": text("bill_number"),
                    "credited_on": day("date"),
                    "amount": number("amount"),
                },
            ),
        ),
    ),
    "credit_notes": Entity(
        "credit_notes",
        "zoho_creditnote_id",
        {
            **COMMON,
            **CUSTOMER,
            **MONEY,
            "credit_note_number": text("creditnote_number"),
            "credit_note_date": day("date"),
            "discount_amount": discount_amount,
            "shipping_charge": number("shipping_charge"),
            "adjustment": number("adjustment"),
            "status": text("status"),
            "subtotal_differs": adds_up("sub_total"),
            "credits_used": number("total_credits_used"),
            "amount_refunded": number("total_refunded_amount"),
            "balance": number("balance"),
        },
        children=(
            _listed("credit_note_line_items", "line_number", "line_items", TAXED_LINES),
            _listed(
                "credit_note_invoices",
                "position",
                "invoices_credited",
                {
                    "zoho_invoice_id": text("invoice_id"),
                    "invoice_number": text("invoice_number"),
                    "credited_on": day("date"),
                    "amount": number("credited_amount"),
                },
            ),
        ),
    ),
    "payments": Entity(
        "customer_payments",
        "zoho_payment_id",
        {
            **COMMON,
            **CUSTOMER,
            "payment_number": text("payment_number"),
            "payment_date": day("date"),
            "payment_mode": text("payment_mode"),
            "amount": number("amount"),
            "unused_amount": number("unused_amount"),
            "bank_charges": number("bank_charges"),
            "account_name": text("account_name"),
            "currency": text("currency_code"),
            "exchange_rate": number("exchange_rate"),
            "description": text("description"),
        },
        children=(
            _listed(
                "customer_payment_invoices",
                "position",
                "invoices",
                {
                    "zoho_allocation_id": text("invoice_payment_id"),
                    "zoho_invoice_id": text("invoice_id"),
                    "invoice_number": text("invoice_number"),
                    "applied_on": day("apply_date"),
                    "amount": number("amount_applied"),
                    "tax_withheld": number("tax_amount_withheld"),
                },
            ),
        ),
    ),
    "vendor_payments": Entity(
        "vendor_payments",
        "zoho_payment_id",
        {
            **COMMON,
            **VENDOR,
            "payment_number": text("payment_number"),
            "payment_date": day("date"),
            "payment_mode": text("payment_mode"),
            "status": text("status"),
            "amount": number("amount"),
            "unused_amount": number("balance"),
            "account_name": text("paid_through_account_name"),
            "currency": text("currency_code"),
            "exchange_rate": number("exchange_rate"),
            "description": text("description"),
        },
        children=(
            _listed(
                "vendor_payment_bills",
                "position",
                "bills",
                {
                    "zoho_allocation_id": text("bill_payment_id"),
                    "zoho_bill_id": text("bill_id"),
                    "bill_number": text("bill_number"),
                    "applied_on": day("apply_date"),
                    "amount": number("amount_applied"),
                    "tax_withheld": number("tax_amount_withheld"),
                },
            ),
        ),
    ),
    "sales_orders": Entity(
        "sales_orders",
        "zoho_salesorder_id",
        {
            **COMMON,
            **CUSTOMER,
            **MONEY,
            "order_number": text("salesorder_number"),
            "order_date": day("date"),
            "shipment_date": day("shipment_date"),
            "status": text("status"),
            "discount_amount": discount_amount,
            "shipping_charge": number("shipping_charge"),
            "adjustment": number("adjustment"),
            "order_status": text("order_status"),
            "invoiced_status": text("invoiced_status"),
            "paid_status": text("paid_status"),
            "shipped_status": text("shipped_status"),
        },
        children=(_listed("sales_order_line_items", "line_number", "line_items", LINES),),
    ),
}

# Where a link leads: its column, the Zoho id beside it, the table it follows that id to, and that table's id.
CUSTOMER_LINK = ("customer_id", "zoho_customer_id", "customers", "zoho_contact_id")
VENDOR_LINK = ("vendor_id", "zoho_vendor_id", "vendors", "zoho_contact_id")
PRODUCT_LINK = ("product_id", "zoho_item_id", "products", "zoho_item_id")
INVOICE_LINK = ("invoice_id", "zoho_invoice_id", "invoices", "zoho_invoice_id")
PRICELIST_LINK = ("pricelist_id", "zoho_pricebook_id", "pricelists", "zoho_pricebook_id")
BILL_LINK = ("bill_id", "zoho_bill_id", "bills", "zoho_bill_id")
LINKS = {
    "product_prices": PRODUCT_LINK,
    "stock_levels": ("warehouse_id", "zoho_warehouse_id", "warehouses", "zoho_warehouse_id"),
    "invoices": CUSTOMER_LINK,
    "invoice_line_items": PRODUCT_LINK,
    "bills": VENDOR_LINK,
    "bill_line_items": PRODUCT_LINK,
    "bill_payments": ("vendor_payment_id", "zoho_payment_id", "vendor_payments", "zoho_payment_id"),
    "customers": PRICELIST_LINK,
    "vendors": PRICELIST_LINK,
    "bill_vendor_credits": (
        "vendor_credit_id",
        "zoho_vendor_credit_id",
        "vendor_credits",
        "zoho_vendor_credit_id",
    ),
    "vendor_credits": VENDOR_LINK,
    "vendor_credit_line_items": PRODUCT_LINK,
    "vendor_credit_bills": BILL_LINK,
    "credit_notes": CUSTOMER_LINK,
    "credit_note_line_items": PRODUCT_LINK,
    "credit_note_invoices": INVOICE_LINK,
    "customer_payments": CUSTOMER_LINK,
    "customer_payment_invoices": INVOICE_LINK,
    "vendor_payments": VENDOR_LINK,
    "vendor_payment_bills": BILL_LINK,
    "sales_orders": CUSTOMER_LINK,
    "sales_order_line_items": PRODUCT_LINK,
}

ABSENT = "(absent)"
TWIN = "_formatted"  # such keys hold the same value once more for people, and webhooks have more of them
Pair = tuple[str, object, object]


def compare(
    connection: psycopg.Connection[Any],
    organization_id: str,
    entity: str,
    records: Iterable[Record],
    *,
    constants: Mapping[str, object] | None = None,
    planted: Collection[str] = (),
    unannounced: Collection[str] = (),
) -> Comparison:
    """Compares every record of an entity with its row, and looks for rows that should not be.

    Args:
        connection: to the database; from now on it reads the numbers in JSON as decimals.
        organization_id: whose records.
        entity: a key of `ENTITIES`.
        records: all that Zoho has, and those it had and deleted.
        constants: columns that have the same value in every row.
        planted: ids of records that Zoho serves damaged: their rows are not looked at.
        unannounced: keys of details that change without any sign, so that an old value is no fault.
    """
    set_json_loads(read_json, connection)
    spec = ENTITIES[entity]
    columns = {**spec.columns, **{name: _always(value) for name, value in (constants or {}).items()}}
    rows = {row[spec.id_column]: row for row in _rows(connection, spec.table, organization_id)}
    result = Comparison(entity, rows=sum(row["deleted_at"] is None for row in rows.values()))
    children: dict[str, dict[str, dict[Any, DictRow]]] = {child.table: {} for child in spec.children}
    for kind in spec.children:
        for child in _rows(connection, kind.table, organization_id):
            children[kind.table].setdefault(child[spec.id_column], {})[kind.place(child)] = child
    for record in records:
        result.records += not record.deleted
        row = rows.pop(record.zoho_id, None)
        if record.zoho_id in planted:
            continue
        pairs: list[Pair] = [("row", not record.deleted, row is not None and row["deleted_at"] is None)]
        if row is not None and not record.deleted:
            stored = row["zoho_metadata"]
            told = {k: value for k, value in {**record.listed, **record.detail}.items() if k in stored}
            pairs += [(column, read(told), row[column]) for column, read in columns.items()]
            pairs += _document_pairs(record, stored, spec, unannounced)
            for kind in spec.children:
                pairs += _child_pairs(kind, told, children[kind.table].get(record.zoho_id, {}))
        result.values += len(pairs)
        result.differences += [
            Difference(entity, record.zoho_id, path, expected, found)
            for path, expected, found in pairs
            if not same(expected, found)
        ]
    result.differences += [
        Difference(entity, zoho_id, "row", False, True)
        for zoho_id, row in rows.items()
        if zoho_id not in planted and row["deleted_at"] is None
    ]
    for table in (spec.table, *(child.table for child in spec.children)):
        result.differences += _wrong_links(connection, organization_id, entity, table)
    return result


def same(expected: object, found: object) -> bool:
    """Equality as JSON has it: 1 is 1.0 and 1.00, but neither true nor "1". Twins are not looked at."""
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        keys = {key for key in expected.keys() | found.keys() if not key.endswith(TWIN)}
        return all(same(expected.get(key, ABSENT), found.get(key, ABSENT)) for key in keys)
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    return expected == found


def _document_pairs(
    record: Record, stored: Document, spec: Entity, unannounced: Collection[str]
) -> list[Pair]:
    """Each key of the stored document with what it should be."""
    is_detailed = spec.has_detail or not stored.keys() <= record.listed.keys()
    expected = {**record.listed, **(record.detail if is_detailed else {})}
    pairs: list[Pair] = []
    for key in expected.keys() | stored.keys():
        if key.endswith(TWIN):
            continue
        if key in unannounced and key not in record.listed:
            continue
        if key == "last_modified_time" and key not in stored and not is_detailed:
            continue  # Zoho leaves it out of some list rows
        found = stored.get(key, ABSENT)
        told = [shape[key] for shape in (record.detail, record.listed) if key in shape]
        fitting = next((value for value in told if same(value, found)), told[0] if told else ABSENT)
        pairs.append((f"zoho_metadata.{key}", fitting, found))
    return pairs


def _child_pairs(spec: Children, told: Document, found: Mapping[Any, DictRow]) -> list[Pair]:
    expected = dict(spec.documents(told))
    pairs: list[Pair] = [(spec.table, sorted(expected), sorted(found))]
    for position in expected.keys() & found.keys():
        pairs += [
            (f"{spec.table}[{position}].{column}", read(expected[position]), found[position][column])
            for column, read in spec.columns.items()
        ]
    return pairs


def _wrong_links(
    connection: psycopg.Connection[Any], organization_id: str, entity: str, table: str
) -> list[Difference]:
    if table not in LINKS:
        return []
    own_id = ENTITIES[entity].id_column
    column, followed, target, target_id = LINKS[table]
    query = sql.SQL(
        """select r.{own_id}, t.id, r.{column}
             from zoho.{table} r
             left join zoho.{target} t
               on t.organization_id = r.organization_id and t.{target_id} = r.{followed}
            where r.organization_id = %s and r.{column} is distinct from t.id"""
    ).format(
        own_id=sql.Identifier(own_id),
        column=sql.Identifier(column),
        table=sql.Identifier(table),
        target=sql.Identifier(target),
        target_id=sql.Identifier(target_id),
        followed=sql.Identifier(followed),
    )
    wrong = connection.execute(query, [organization_id]).fetchall()
    return [Difference(entity, zoho_id, f"{table}.{column}", id_, link) for zoho_id, id_, link in wrong]


def _rows(connection: psycopg.Connection[Any], table: str, organization_id: str) -> list[DictRow]:
    query = sql.SQL("select * from zoho.{} where organization_id = %s").format(sql.Identifier(table))
    return connection.cursor(row_factory=dict_row).execute(query, [organization_id]).fetchall()


def _always(value: object) -> Reader:
    return lambda _: value
