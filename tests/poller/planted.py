"""Faults planted in the mirror's tables, made from the catalogue: every table and column has its turn."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

HOUSEKEEPING = {"synced_at", "id"}
HISTORIES = {"stock_history"}  # insert-only: a trigger refuses what would change it
NOBODY = "999000999"
NO_DOCUMENTS = ("null", "[]", '"x"', "{}", "5", '[{"a": 1}]')
NO_LAYERS = ("{}", '"x"', "[]", "[1]", '[{"keys": 1}]', '[{"o": "x", "keys": []}]', '[{"hidden": [1]}]')


@dataclass(frozen=True)
class Table:
    """A table of schema zoho: the column with the record's id, and those that tell its rows apart."""

    name: str
    id_column: str
    keys: tuple[str, ...]
    columns: dict[str, str] = field(hash=False)
    is_header: bool
    entity: str | None


@dataclass
class Fault:
    """What is done to one row, and how it must be found."""

    kind: str
    table: Table
    column: str
    zoho_id: str
    wanted: set[str]
    """Any of these, of the record's differences: 'column' or 'what'."""

    def __str__(self) -> str:
        return f"{self.table.name}.{self.column or '*'} of {self.zoho_id}: {self.kind}"


def tables(conn: psycopg.Connection[Any]) -> list[Table]:
    """Every table of the mirror, by the catalogue and the registry."""
    parents = dict(
        conn.execute(
            "select target, parent_column from tds.child union select target, id_column from tds.beside"
        ).fetchall()
    )
    headers: dict[str, tuple[str, str]] = {}
    for entity, target, key in conn.execute(
        "select entity, target, target_key from tds.entity order by entity desc"
    ):
        headers[target] = (entity, key)
    found = []
    query = """
        select c.relname, array_agg(a.attname::text order by a.attnum),
               array_agg(format_type(a.atttypid, null) order by a.attnum),
               (select array_agg(k.attname::text order by k.attnum) from pg_index i
                  join pg_attribute k on k.attrelid = c.oid and k.attnum = any (i.indkey) where i.indrelid = c.oid and i.indisprimary)
          from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         where c.relnamespace = 'zoho'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
         group by c.oid, c.relname order by c.relname"""
    for name, columns, types, keys in conn.execute(query):
        if name in HISTORIES:
            continue
        entity, id_column = headers.get(name, (None, parents.get(name)))
        assert id_column is not None, f"nobody says which records the rows of {name} belong to"
        found.append(
            Table(
                name, id_column, tuple(keys), dict(zip(columns, types, strict=True)), name in headers, entity
            )
        )
    return found


class Planter:
    """Plants faults, at most one in a record.

    Args:
        conn: an owner's connection that commits by itself.
        seed: what is chosen by.
    """

    def __init__(self, conn: psycopg.Connection[Any], seed: int) -> None:
        self.conn = conn
        self.random = random.Random(seed)
        self.tables = tables(conn)
        self.spoilt: set[tuple[str, str]] = set()
        """Records, by their table's group, that have one."""

    def _group(self, table: Table) -> str:
        return table.id_column

    def _rows(self, table: Table, condition: str = "true") -> list[dict[str, Any]]:
        from psycopg.rows import dict_row

        order = sql.SQL(", ").join(map(sql.Identifier, table.keys))
        query = sql.SQL("select * from zoho.{} where {} order by {}").format(
            sql.Identifier(table.name), sql.SQL(condition), order
        )
        with self.conn.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(query).fetchall()
        self.random.shuffle(rows)
        return [row for row in rows if (self._group(table), row[table.id_column]) not in self.spoilt]

    def _where(self, table: Table, row: dict[str, Any]) -> sql.Composed:
        return sql.SQL(" and ").join(
            sql.SQL("{} = {}").format(sql.Identifier(key), sql.Literal(row[key])) for key in table.keys
        )

    def _set(self, table: Table, row: dict[str, Any], column: str, value: Any) -> None:
        done = self.conn.execute(
            sql.SQL("update zoho.{} set {} = {} where {}").format(
                sql.Identifier(table.name),
                sql.Identifier(column),
                sql.Literal(Jsonb(value) if isinstance(value, dict | list) else value),
                self._where(table, row),
            )
        )
        assert done.rowcount == 1, (table.name, column)

    def _fault(self, kind: str, table: Table, column: str, row: dict[str, Any], *wanted: str) -> Fault:
        zoho_id = str(row[table.id_column])
        self.spoilt.add((self._group(table), zoho_id))
        return Fault(kind, table, column, zoho_id, set(wanted))

    def possible(self) -> Iterator[tuple[str, Table, str]]:
        """Every kind of fault, table and column."""
        for table in self.tables:
            for column in table.columns:
                if column in HOUSEKEEPING or column.startswith("sync_"):
                    continue
                if column in {"zoho_metadata", "deleted_at"} or column in table.keys:
                    continue
                yield "value changed", table, column
                yield "value changed slightly", table, column
                yield "null set", table, column
            yield "row deleted", table, ""
            yield "row added", table, ""
            yield "organization changed", table, "organization_id"
            if table.is_header:
                yield "tombstone set", table, "deleted_at"
                yield "tombstone cleared", table, "deleted_at"
                yield "tombstone moved", table, "deleted_at"
                yield "key changed", table, table.id_column
                yield "document altered", table, "zoho_metadata"
                yield "document altered below", table, "zoho_metadata"
                yield "document lost a key", table, "zoho_metadata"
                yield "document gained a key", table, "zoho_metadata"
                for number in range(len(NO_DOCUMENTS)):
                    yield f"document spoilt {number}", table, "zoho_metadata"
                for number in range(len(NO_LAYERS)):
                    yield f"layers spoilt {number}", table, "sync_layers"
                yield "hash changed", table, "sync_hash"
                for column in ("sync_modified_at", "sync_observed_at", "sync_read_at"):
                    yield "stamp ahead", table, column
                yield "document and column altered", table, "zoho_metadata"
                yield "another's document", table, "zoho_metadata"
            else:
                yield "row moved", table, table.id_column
                yield "key changed", table, table.keys[-1]
                yield "rows exchanged", table, table.keys[-1]
                if "zoho_metadata" in table.columns:
                    yield "value changed", table, "zoho_metadata"
        for target, column in self.conn.execute("select target, column_name from tds.link order by 1, 2"):
            yield "link to another row", next(t for t in self.tables if t.name == target), column

    def plant(self, kind: str, table: Table, column: str) -> Fault | None:
        """One fault of a kind, or none where no row is left that it could befall."""
        with self.conn.transaction():
            name, _, number = kind.partition(" spoilt ")
            if number:
                return self._spoilt(table, column, name, int(number))
            planted: Fault | None = getattr(self, "_" + kind.replace("'", "").replace(" ", "_"))(
                table, column
            )
            return planted

    def _value_changed_slightly(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table):
            match row[column]:
                case bool() | dict() | list() | None:
                    continue
                case str(text) if column in {"address_type", "contact_type"}:
                    continue
                case str(text):
                    changed: Any = text.swapcase() if text != text.swapcase() else text + " "
                case datetime() as time:
                    changed = time + timedelta(microseconds=1)
                case date() as day:
                    changed = day + timedelta(days=1)
                case Decimal() as number:
                    changed = number + Decimal(1).scaleb(number.as_tuple().exponent)  # type: ignore[arg-type]
                case number:
                    changed = number + 1
            self._set(table, row, column, changed)
            return self._fault("value changed slightly", table, column, row, column)
        return None

    def _spoilt(self, table: Table, column: str, name: str, number: int) -> Fault | None:
        text = {"document": NO_DOCUMENTS, "layers": NO_LAYERS}[name][number]
        for row in self._rows(table, "sync_layers is not null" if name == "layers" else "true")[:1]:
            self.conn.execute(
                sql.SQL("update zoho.{} set {} = {}::jsonb where {}").format(
                    sql.Identifier(table.name),
                    sql.Identifier(column),
                    sql.Literal(text),
                    self._where(table, row),
                )
            )
            return self._fault(
                f"{name} spoilt: {text}", table, column, row, "unreadable", "document", "sync_layers"
            )
        return None

    def _hash_changed(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table, "sync_hash is not null")[:1]:
            self._set(table, row, column, (row[column] + 1) % 2**60)
            return self._fault("hash changed", table, column, row, column)
        return None

    def _stamp_ahead(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table, f"{column} is not null")[:1]:
            self._set(table, row, column, "2099-01-01T00:00:00Z")
            return self._fault("stamp ahead", table, column, row, column)
        return None

    def _tombstone_moved(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table, "deleted_at is not null")[:1]:
            self._set(table, row, column, row[column] + timedelta(hours=1))
            return self._fault("tombstone moved", table, column, row, "tombstone")
        return None

    def _key_changed(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table)[:1]:
            new: Any = 779 if table.columns[column] in {"integer", "numeric"} else "779000779"
            self._set(table, row, column, new)
            if table.is_header:
                self.spoilt.add((self._group(table), new))
            return self._fault("key changed", table, column, row, "missing")
        return None

    def _rows_exchanged(self, table: Table, column: str) -> Fault | None:
        rows = self._rows(table)
        for row in rows:
            for other in rows:
                if other[column] != row[column] and all(other[key] == row[key] for key in table.keys[:-1]):
                    spare: Any = 780 if table.columns[column] in {"integer", "numeric"} else "780000780"
                    here, there = row[column], other[column]
                    self._set(table, row, column, spare)
                    self._set(table, other, column, here)
                    self._set(table, row | {column: spare}, column, there)
                    if {k: v for k, v in row.items() if k not in {column, "id", "synced_at"}} == {
                        k: v for k, v in other.items() if k not in {column, "id", "synced_at"}
                    }:
                        continue
                    return self._fault("rows exchanged", table, column, row, "differs")
        return None

    def _document_altered_below(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table, "sync_layers is not null"):
            keys = [
                key
                for layer in row["sync_layers"]
                for key in layer["keys"]
                if isinstance(row[column][key], str | int | float | bool)
            ]
            if keys:
                key = self.random.choice(sorted(keys))
                self._set(table, row, column, row[column] | {key: "planted"})
                return self._fault(
                    f"document altered below ({key})", table, column, row, f"zoho_metadata.{key}"
                )
        return None

    def _document_lost_a_key(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table):
            key = self.random.choice(sorted(row[column]))
            self._set(table, row, column, {k: v for k, v in row[column].items() if k != key})
            return self._fault(f"document lost a key ({key})", table, column, row, f"zoho_metadata.{key}")
        return None

    def _document_gained_a_key(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table):
            self._set(table, row, column, row[column] | {"planted": [1]})
            return self._fault("document gained a key", table, column, row, "zoho_metadata.planted")
        return None

    def _value_changed(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table):
            value = row[column]
            match table.columns[column]:
                case "numeric" | "integer" | "bigint":
                    changed: Any = (value or 0) + 7
                case "boolean":
                    changed = not value
                case "date":
                    changed = "2001-02-03"
                case "timestamp with time zone":
                    changed = "2001-02-03T04:05:06Z"
                case "jsonb":
                    changed = {"planted": 1}
                case _:
                    changed = {"address_type": "additional", "contact_type": value}.get(column, "zz")
            if changed == value:
                continue
            self._set(table, row, column, changed)
            return self._fault("value changed", table, column, row, column)
        return None

    def _null_set(self, table: Table, column: str) -> Fault | None:
        if column in {"address_type"}:
            return None
        for row in self._rows(table):
            if row[column] is not None:
                self._set(table, row, column, None)
                return self._fault("null set", table, column, row, column)
        return None

    def _link_to_another_row(self, table: Table, column: str) -> Fault | None:
        rows = self._rows(table)
        values = sorted({row[column] for row in rows if row[column] is not None}, key=str)
        for row in rows:
            for value in values or [-1]:
                if value != row[column]:
                    self._set(table, row, column, value)
                    return self._fault("link to another row", table, column, row, column)
        return None

    def _row_deleted(self, table: Table, _: str) -> Fault | None:
        for row in self._rows(table)[:1]:
            self.conn.execute(
                sql.SQL("delete from zoho.{} where {}").format(
                    sql.Identifier(table.name), self._where(table, row)
                )
            )
            return self._fault("row deleted", table, "", row, "missing")
        return None

    def _copy(self, table: Table, row: dict[str, Any], **changed: Any) -> None:
        new = {k: v for k, v in row.items() if k != "id"} | changed
        self.conn.execute(
            sql.SQL("insert into zoho.{} ({}) values ({})").format(
                sql.Identifier(table.name),
                sql.SQL(", ").join(map(sql.Identifier, new)),
                sql.SQL(", ").join(
                    sql.Literal(Jsonb(value) if isinstance(value, dict | list) else value)
                    for value in new.values()
                ),
            )
        )

    def _row_added(self, table: Table, _: str) -> Fault | None:
        for row in self._rows(table)[:1]:
            last = table.keys[-1]
            new = {last: 777 if table.columns[last] in {"integer", "numeric"} else "777000777"}
            self._copy(table, row, **new)
            if table.is_header:
                added = row | {table.id_column: "777000777"}
                return self._fault("row added", table, "", added, "document")
            return self._fault("row added", table, "", row, "extra")
        return None

    def _row_moved(self, table: Table, column: str) -> Fault | None:
        rows = self._rows(table)
        for row in rows:
            for other in rows:
                if other[column] != row[column]:
                    last = table.keys[-1]
                    self.conn.execute(
                        sql.SQL("update zoho.{} set {} = {}, {} = {} where {}").format(
                            sql.Identifier(table.name),
                            sql.Identifier(column),
                            sql.Literal(other[column]),
                            sql.Identifier(last),
                            sql.Literal(
                                778 if table.columns[last] in {"integer", "numeric"} else "778000778"
                            ),
                            self._where(table, row),
                        )
                    )
                    self.spoilt.add((self._group(table), str(other[column])))
                    return self._fault("row moved", table, column, row, "missing")
        return None

    def _organization_changed(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table)[:1]:
            self._set(table, row, column, NOBODY)
            return self._fault(
                "organization changed", table, column, row, "stray", "orphan", "organization_id"
            )
        return None

    def _tombstone_set(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table, "deleted_at is null")[:1]:
            self.conn.execute(
                sql.SQL("update zoho.{} set deleted_at = tds.now() where {}").format(
                    sql.Identifier(table.name), self._where(table, row)
                )
            )
            return self._fault("tombstone set", table, column, row, "tombstone")
        return None

    def _tombstone_cleared(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table, "deleted_at is not null")[:1]:
            self._set(table, row, column, None)
            return self._fault("tombstone cleared", table, column, row, "tombstone")
        return None

    def _document_altered(self, table: Table, column: str) -> Fault | None:
        for row in self._rows(table, "sync_layers is null or sync_hash is not null")[:1]:
            doc = dict(row[column])
            hidden = {key for layer in row["sync_layers"] or [] for key in layer["keys"]}
            keys = [
                k for k, v in doc.items() if isinstance(v, str) and k not in hidden and not k.endswith("_id")
            ]
            key = self.random.choice(sorted(keys))
            self._set(table, row, column, doc | {key: "planted"})
            return self._fault(f"document altered ({key})", table, column, row, f"zoho_metadata.{key}")
        return None

    def _document_and_column_altered(self, table: Table, column: str) -> Fault | None:
        key, typed = {"organizations": ("name", "name")}.get(table.name, ("", ""))
        found = self.conn.execute(
            "select f.key, f.column_name from tds.field f join tds.entity n using (entity) where n.target = %s and f.list_key = '' "
            "and f.reader in ('text', 'word') and f.column_name is not null and f.expression is null order by 1",
            [table.name],
        ).fetchall()
        for row in self._rows(table):
            hidden = {key for layer in row["sync_layers"] or [] for key in layer["keys"]}
            for key, typed in found:
                if isinstance(row[column].get(key), str) and key not in hidden and typed != "contact_type":
                    self._set(table, row, column, row[column] | {key: "zz"})
                    self._set(table, row, typed, "zz")
                    return self._fault(
                        f"document and {typed} altered", table, column, row, f"zoho_metadata.{key}"
                    )
        return None

    def _anothers_document(self, table: Table, column: str) -> Fault | None:
        rows = self._rows(table)
        if len(rows) < 2:
            return None
        self._set(table, rows[0], column, rows[1][column])
        return self._fault("another's document", table, column, rows[0], "document")
