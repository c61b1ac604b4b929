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


def customer_type(told: Document) -> str | None:
    """B2B or B2C."""
    return {"business": "B2B", "individual": "B2C"}.get(told.get("customer_sub_type", ""))


def discount_amount(told: Document) -> object:
    """`discount_total`, which is an amount even where `discount` is a percentage."""
    amount = number("discount_total")(told)
    is_percentage = str(told.get("discount", "")).endswith("%")
    return amount if amount is not None or is_percentage else number("discount")(told)


def subtotal_differs(told: Document) -> bool | None:
    """Whether the lines add up to something else than the subtotal."""
    subtotal, lines = number("sub_total")(told), told.get("line_items")
    if subtotal is None or not lines:
        return None
    return bool(subtotal != sum(line["item_total"] for line in lines))


def itself(key: str) -> Reader:
    """A part of the document as it is."""
    return lambda told: told.get(key)


# The mapping


@dataclass(frozen=True, slots=True)
class Children:
    """Rows that hang on a record: `documents` says what they are made from, in the order of `position`."""

    table: str
    position: str
    documents: Callable[[Document], Iterable[tuple[int, Document]]]
    columns: Mapping[str, Reader]


@dataclass(frozen=True, slots=True)
class Entity:
    """A table of the mirror. `has_detail`: each record's detail is fetched, not only its list row."""

    table: str
    id_column: str
    columns: Mapping[str, Reader]
    has_detail: bool = True
    children: Children | None = None


COMMON: Mapping[str, Reader] = {
    "zoho_created_at": moment("created_time"),
    "zoho_modified_at": moment("last_modified_time"),
}
ADDRESS_KEYS = ("attention", "address", "street2", "city", "state", "zip", "country", "phone", "fax")


def _addresses(told: Document) -> Iterator[tuple[int, Document]]:
    every = [("billing", told.get("billing_address")), ("shipping", told.get("shipping_address"))]
    every += [("additional", address) for address in told.get("addresses") or ()]
    for position, (kind, address) in enumerate(every, start=1):
        if address and any(address.get(key) for key in ADDRESS_KEYS):
            yield position, {**address, "address_type": kind}


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
            "billing_address": itself("billing_address"),
            "shipping_address": itself("shipping_address"),
        },
        children=Children(
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
    )


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
    ),
    "customers": _contacts("customers", "customer_addresses"),
    "vendors": _contacts("vendors", "vendor_addresses"),
    "invoices": Entity(
        "invoices",
        "zoho_invoice_id",
        {
            **COMMON,
            "invoice_number": text("invoice_number"),
            "reference_number": text("reference_number"),
            "zoho_customer_id": text("customer_id"),
            "customer_name": text("customer_name"),
            "invoice_date": day("date"),
            "due_date": day("due_date"),
            "status": text("status"),
            "subtotal": number("sub_total"),
            "tax_total": number("tax_total"),
            "discount_amount": discount_amount,
            "total_amount": number("total"),
            "amount_paid": number("payment_made"),
            "balance": number("balance"),
            "currency": text("currency_code"),
            "exchange_rate": number("exchange_rate"),
            "subtotal_differs": subtotal_differs,
        },
        children=Children(
            "invoice_line_items",
            "line_number",
            lambda told: enumerate(told.get("line_items") or (), start=1),
            {
                "zoho_line_item_id": text("line_item_id"),
                "zoho_item_id": text("item_id"),
                "name": text("name"),
                "description": text("description"),
                "unit": text("unit"),
                "quantity": number("quantity"),
                "rate": number("rate"),
                "discount": text("discount"),
                "discount_amount": number("discount_amount"),
                "tax_name": text("tax_name"),
                "tax_rate": number("tax_percentage"),
                "total_amount": number("item_total"),
                "zoho_metadata": dict,
            },
        ),
    ),
}

# Where a link leads: the table it is in, the column, the Zoho id beside it, the table it follows that id to.
LINKS = {
    "invoices": ("zoho_invoice_id", "customer_id", "zoho_customer_id", "customers", "zoho_contact_id"),
    "invoice_line_items": ("zoho_invoice_id", "product_id", "zoho_item_id", "products", "zoho_item_id"),
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
    children: dict[str, dict[int, DictRow]] = {zoho_id: {} for zoho_id in rows}
    if spec.children:
        for child in _rows(connection, spec.children.table, organization_id):
            children.setdefault(child[spec.id_column], {})[child[spec.children.position]] = child
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
            pairs += _child_pairs(spec.children, told, children[record.zoho_id]) if spec.children else []
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
    for table in (spec.table, spec.children.table if spec.children else ""):
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


def _child_pairs(spec: Children, told: Document, found: Mapping[int, DictRow]) -> list[Pair]:
    expected = dict(spec.documents(told))
    pairs: list[Pair] = [(f"{spec.table}", sorted(expected), sorted(found))]
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
    own_id, column, followed, target, target_id = LINKS[table]
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
