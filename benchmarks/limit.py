"""The limit: what one plain INSERT … SELECT … ON CONFLICT reaches on the same server with the same pages.

The pages are staged as text in `bench.page`; one statement parses them all into a table that is `like` the
mirror's own, with its columns, keys, checks and indexes. No queue, no version, no checking of values: a bad
one fails the whole statement, which is what plain SQL does.

Tried, and slower or equal (20,000 products of 2 KB; thousands of rows a second, 4 rounds each):
    jsonb_array_elements in a materialised CTE, then jsonb_to_record      23.7 to 24.5   kept
    the same without materialising                                        23.2 to 24.1
    every field by its own ->>                                            23.0 to 24.6
    the same in key order (ORDER BY the id)                               22.2 to 23.5
    ROWS FROM (jsonb_array_elements, jsonb_to_recordset)                  16.1 to 23.4
    json_array_elements of the text, each record cast to jsonb            19.2 to 20.6
For invoices (2,000 of 11 KB): the head's fields and the lines in one record, or the lines as a recordset, are
no faster (2.7 to 3.0 thousand invoices a second, all of them).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psycopg

from benchmarks.data import ORGANIZATION


@dataclass(frozen=True, slots=True)
class Target:
    """One table of the mirror: how plain SQL fills its columns from `d`, a record of `reads`, and `e.doc`."""

    table: str
    key: tuple[str, ...]
    reads: str
    columns: Mapping[str, str]


PRODUCTS = Target(
    "products",
    ("organization_id", "zoho_item_id"),
    "item_id text, name text, sku text, description text, rate numeric, stock_on_hand numeric, status text, "
    "tax_percentage numeric, category_name text, image_document_id text, unit text, purchase_rate numeric, "
    "reorder_level text, brand text, created_time timestamptz, last_modified_time timestamptz",
    {
        "organization_id": f"'{ORGANIZATION}'",
        "zoho_item_id": "d.item_id",
        "name": "nullif(d.name, '')",
        "sku": "nullif(d.sku, '')",
        "description": "nullif(d.description, '')",
        "unit_price": "d.rate",
        "stock_quantity": "d.stock_on_hand",
        "is_active": "d.status = 'active'",
        "tax_rate": "d.tax_percentage",
        "category_name": "nullif(d.category_name, '')",
        "image_document_id": "nullif(d.image_document_id, '')",
        "unit": "nullif(d.unit, '')",
        "purchase_rate": "d.purchase_rate",
        "reorder_level": "nullif(d.reorder_level, '')::numeric",
        "brand": "nullif(d.brand, '')",
        "zoho_metadata": "e.doc",
        "zoho_created_at": "d.created_time",
        "zoho_modified_at": "d.last_modified_time",
    },
)

INVOICES = Target(
    "invoices",
    ("organization_id", "zoho_invoice_id"),
    "invoice_id text, invoice_number text, reference_number text, customer_id text, customer_name text, "
    "date date, due_date date, status text, sub_total numeric, tax_total numeric, discount_total numeric, "
    "total numeric, payment_made numeric, balance numeric, currency_code text, exchange_rate numeric, "
    "created_time timestamptz, last_modified_time timestamptz",
    {
        "organization_id": f"'{ORGANIZATION}'",
        "zoho_invoice_id": "d.invoice_id",
        "invoice_number": "nullif(d.invoice_number, '')",
        "reference_number": "nullif(d.reference_number, '')",
        "zoho_customer_id": "nullif(d.customer_id, '')",
        "customer_name": "nullif(d.customer_name, '')",
        "invoice_date": "d.date",
        "due_date": "d.due_date",
        "status": "nullif(d.status, '')",
        "subtotal": "d.sub_total",
        "tax_total": "d.tax_total",
        "discount_amount": "d.discount_total",
        "total_amount": "d.total",
        "amount_paid": "d.payment_made",
        "balance": "d.balance",
        "currency": "nullif(d.currency_code, '')",
        "exchange_rate": "d.exchange_rate",
        "zoho_metadata": "e.doc",
        "zoho_created_at": "d.created_time",
        "zoho_modified_at": "d.last_modified_time",
    },
)

LINES = Target(
    "invoice_line_items",
    ("organization_id", "zoho_invoice_id", "line_number"),
    "line_item_id text, item_id text, name text, description text, unit text, quantity numeric, "
    "rate numeric, discount text, discount_amount numeric, tax_name text, tax_percentage numeric, "
    "item_total numeric",
    {
        "organization_id": f"'{ORGANIZATION}'",
        "zoho_invoice_id": "i.doc ->> 'invoice_id'",
        "line_number": "e.n",
        "zoho_line_item_id": "nullif(d.line_item_id, '')",
        "zoho_item_id": "nullif(d.item_id, '')",
        "name": "nullif(d.name, '')",
        "description": "nullif(d.description, '')",
        "unit": "nullif(d.unit, '')",
        "quantity": "d.quantity",
        "rate": "d.rate",
        "discount": "nullif(d.discount, '')",
        "discount_amount": "d.discount_amount",
        "tax_name": "nullif(d.tax_name, '')",
        "tax_rate": "d.tax_percentage",
        "total_amount": "d.item_total",
        "zoho_metadata": "e.doc",
    },
)

# Guards of a re-sync. Only the first is right; the second costs less and loses a change without a new time.
BY_DOCUMENT = "t.zoho_metadata is distinct from excluded.zoho_metadata"
BY_STAMP = "t.zoho_modified_at < excluded.zoho_modified_at"

# What plain SQL puts into columns that must not be null and that only the mirror's bookkeeping fills.
FILLERS: Mapping[str, str] = {
    "timestamptz": "now()",
    "int2": "1",
    "int4": "1",
    "int8": "1",
    "text": "''",
    "jsonb": "'{}'",
    "bool": "false",
    "numeric": "0",
}


class Limit:
    """The limit in one database: its schema `bench`, its staging table and its statements.

    Args:
        conn: in autocommit mode, on a fresh copy of the template.
    """

    def __init__(self, conn: psycopg.Connection) -> None:
        self._conn = conn
        conn.execute(
            "create table bench.page (n int generated always as identity primary key, body text not null, "
            "organization_id text)"
        )
        # Its pages are stored as the inbox stores them, compressed or not.
        conn.execute(
            """do $$ begin
                   if (select attstorage = 'e' from pg_attribute
                        where attrelid = 'tds.inbox'::regclass and attname = 'body') then
                       alter table bench.page alter column body set storage external;
                   end if;
               end $$"""
        )
        for target in (PRODUCTS, INVOICES, LINES):
            conn.execute(
                f"create table bench.{target.table} (like zoho.{target.table} including all)".encode()
            )
            # what LIKE leaves out: how long a row may be before its document is compressed or cut off, and
            # how full a page
            options = conn.execute(
                "select array_to_string(c.reloptions, ', ') from pg_class c where c.oid = %s::regclass",
                [f"zoho.{target.table}"],
            ).fetchone()
            assert options is not None
            conn.execute(f"alter table bench.{target.table} set ({options[0]})".encode())

    def stage(self, bodies: Iterable[bytes], organizations: Iterable[str] = ()) -> None:
        """Replaces the staged pages; organizations: whose each is, for `products(mixed=True)`."""
        self._conn.execute("truncate bench.page restart identity")
        with (
            self._conn.cursor() as cursor,
            cursor.copy("copy bench.page (body, organization_id) from stdin") as copy,
        ):
            for body, organization in itertools.zip_longest(bodies, organizations):
                copy.write_row([body.decode(), organization])

    def products(
        self, *, guard: str | None = None, records: str = "p.body::jsonb -> 'items'", mixed: bool = False
    ) -> str:
        """The statement that loads products.

        Args:
            guard: what must hold for an existing row `t` to be updated.
            records: the array of records in a page `p`.
            mixed: whether each page is of the organisation that was staged with it.
        """
        filled, owner = self._filled(PRODUCTS), ""
        if mixed:
            filled["organization_id"], owner = "e.organization_id", "p.organization_id, "
        return (
            f"with e as materialized (select {owner}e.doc from bench.page p "
            f"cross join lateral jsonb_array_elements({records}) e(doc)) "
            f"{_insert(PRODUCTS, filled)} from e "
            f"cross join lateral jsonb_to_record(e.doc) d({PRODUCTS.reads}) "
            f"{_on_conflict(PRODUCTS, filled, guard)}"
        )

    def invoices(self, *, guard: str | None = None, records: str = "p.body::jsonb -> 'invoices'") -> str:
        """The statement that loads invoices and their lines from one parse."""
        filled, lines = self._filled(INVOICES), self._filled(LINES)
        return (
            "with e as materialized (select e.doc from bench.page p "
            f"cross join lateral jsonb_array_elements({records}) e(doc)), "
            f"head as ({_insert(INVOICES, filled)} from e "
            f"cross join lateral jsonb_to_record(e.doc) d({INVOICES.reads}) "
            f"{_on_conflict(INVOICES, filled, guard)}) "
            f"{_insert(LINES, lines)} from e i "
            "cross join lateral jsonb_array_elements(i.doc -> 'line_items') with ordinality e(doc, n) "
            f"cross join lateral jsonb_to_record(e.doc) d({LINES.reads}) "
            f"{_on_conflict(LINES, lines, guard and BY_DOCUMENT)}"
        )

    def _filled(self, target: Target) -> dict[str, str]:
        """Column and expression of every column it fills: the mapped ones, and what must not be null."""
        found = self._conn.execute(
            """select a.attname, t.typname, a.attnotnull and not a.atthasdef
                 from pg_attribute a join pg_type t on t.oid = a.atttypid
                where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum""",
            [f"bench.{target.table}"],
        ).fetchall()
        return {
            name: target.columns.get(name) or FILLERS[type_name]
            for name, type_name, wanted in found
            if name in target.columns or wanted
        }


def fingerprint(conn: psycopg.Connection, schema: str, target: Target) -> tuple[int, int]:
    """Number of rows, and a sum over their parsed columns: equal means that the same was written."""
    columns = ", ".join(f"t.{name}" for name in target.columns)
    row = conn.execute(
        f"select count(*), coalesce(sum(hashtextextended(row({columns})::text, 0)::numeric), 0) "
        f"from {schema}.{target.table} t where t.organization_id = %s".encode(),
        [ORGANIZATION],
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def left_out(conn: psycopg.Connection, target: Target) -> list[str]:
    """Columns that the mirror fills and the limit does not, bookkeeping apart: work it is spared."""
    names = [
        name
        for (name,) in conn.execute(
            """select a.attname from pg_attribute a
                where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped
                  and a.attname !~ '^(id|synced_at|sync_.*)$' order by a.attnum""",
            [f"zoho.{target.table}"],
        )
        if name not in target.columns
    ]
    if not names:
        return []
    filled = ", ".join(f"count(t.{name}) > 0" for name in names)
    row = conn.execute(f"select {filled} from zoho.{target.table} t".encode()).fetchone()
    assert row is not None
    return [f"{target.table}.{name}" for name, has in zip(names, row, strict=True) if has]


def _insert(target: Target, filled: Mapping[str, str]) -> str:
    return f"insert into bench.{target.table} as t ({', '.join(filled)}) select {', '.join(filled.values())}"


def _on_conflict(target: Target, filled: Mapping[str, str], guard: str | None) -> str:
    changes = ", ".join(f"{name} = excluded.{name}" for name in filled if name not in target.key)
    where = f" where {guard}" if guard else ""
    return f"on conflict ({', '.join(target.key)}) do update set {changes}{where}"
