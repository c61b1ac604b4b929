"""A database that one test hands on to the next, emptied to what the template holds.

To copy a template, to drop the copy, and to plan anew whatever a batch executes costs a small test more than what it
tests. So the copy and one session of it are kept, if they can be made what they were: all rows, all sequences and the
session's settings are put back, and what cannot be put back is looked for: another session, any change of the catalogue,
of grants or of statistics. Where one is found, the copy is dropped, and the next test gets a new one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import psycopg
from psycopg import Connection, pq
from psycopg.rows import tuple_row

# Of which rows are counted, and who wrote them: so one that was written since, changed or deleted is noticed.
CATALOGUES = (
    *(
        "pg_class",
        "pg_attribute",
        "pg_attrdef",
        "pg_proc",
        "pg_type",
        "pg_constraint",
        "pg_index",
        "pg_trigger",
    ),
    *("pg_policy", "pg_rewrite", "pg_description", "pg_event_trigger", "pg_extension", "pg_default_acl"),
    *("pg_largeobject_metadata", "pg_namespace where nspname !~ '^pg_(toast_)?temp_'"),
)
WRITTEN = "count(*), sum(xmin::text::bigint)::bigint"
# Statistics are written in place.
CATALOGUE = f"""
select array[
    {", ".join(f"(select concat_ws(' ', {WRITTEN}) from {catalogue})" for catalogue in CATALOGUES)},
    (select sum(reltuples::numeric)::text from pg_class where oid >= 16384),
    (select string_agg(setrole::text || setconfig::text, ' ' order by setrole)
       from pg_db_role_setting s where s.setdatabase = d.oid),
    (select count(*)::text from pg_prepared_xacts x where x.database = d.datname),
    concat_ws(' ', d.datdba, d.datallowconn, d.datconnlimit, d.datacl)]
  from pg_database d where d.datname = current_database()"""
FILLED = """
select c.oid::regclass::text from pg_class c
 where c.relkind = 'r' and c.oid >= 16384 and pg_relation_size(c.oid) > 0 order by c.oid"""
SEQUENCES = """
select format('%I.%I', schemaname, sequencename), start_value, last_value from pg_sequences"""
SESSION = (
    "set session authorization default; reset role; reset all; unlisten *; close all; discard temp;"
    " select pg_advisory_unlock_all()"
)
# The history of stock gives its rows up only to its owner, who folds them, whatever other triggers heed.
UNHEEDED = "set session_replication_role = replica; set role tds_owner; set tds.folds_history = on"
OTHERS = "select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
PATIENCE = 0.1
"""For sessions that were closed and whose process has not noticed, in seconds."""


class Rows(NamedTuple):
    """Of a table: how many there are, and who wrote them."""

    number: int
    written: int | None


NOTHING = Rows(0, None)


@dataclass(frozen=True)
class Content:
    """What every copy of a template holds at first."""

    sequences: Mapping[str, int | None]
    tables: Mapping[str, bytes]

    @classmethod
    def of(cls, conn: Connection) -> Content:
        """Reads it from a copy that nothing has been done to."""
        sequences = {name: last for name, _, last in conn.execute(SEQUENCES)}
        return cls(sequences, {table: _copy_out(conn, table) for table in _rows(conn)})


class Copy:
    """One copy of a template, and its one session.

    Args:
        name: of the database.
        conninfo: of the database.
        content: what the copy holds at first; None: it is read now.
    """

    def __init__(self, name: str, conninfo: str, content: Content | None) -> None:
        self.name = name
        self.conn = psycopg.connect(conninfo, autocommit=True)
        self.content = content or Content.of(self.conn)
        self._conninfo = conninfo
        # of this copy alone: a template may be vacuumed between two copies
        self._catalogue = _catalogue(self.conn)
        self._rows = _rows(self.conn)

    def put_back(self) -> bool:
        """Makes it what it was at first.

        Returns:
            Whether it is; one that is not, or whose session was ended, is to be dropped.
        """
        conn = self.conn
        if conn.closed or conn.info.transaction_status != pq.TransactionStatus.IDLE or not conn.autocommit:
            return False
        conn.row_factory = tuple_row
        try:
            conn.execute(SESSION)
        except psycopg.OperationalError:
            return False
        if not self._alone() or _catalogue(conn) != self._catalogue:
            return False
        # by another session, as to change session_replication_role makes one forget its plans
        with psycopg.connect(self._conninfo, autocommit=True) as other:
            other.execute(UNHEEDED)
            # what goes leaves a trace in a history, whose trigger heeds all
            if not any(self._put_back_rows(other) for _ in range(3)):
                return False
            with other.transaction():
                self._put_back_sequences(other)
        return True

    def _alone(self) -> bool:
        """Whether nobody else is there, once those have gone that close their sessions."""
        deadline = time.monotonic() + PATIENCE
        while self.conn.execute(OTHERS).fetchone() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def _put_back_sequences(self, other: Connection) -> None:
        for name, start, last in self.conn.execute(SEQUENCES).fetchall():
            if last != (before := self.content.sequences[name]):
                other.execute(
                    "select setval(%s::regclass, %s, %s)", [name, before or start, before is not None]
                )

    def _put_back_rows(self, other: Connection) -> bool:
        """Says whether all rows were what they were at first."""
        written = [
            table for table, rows in _rows(self.conn).items() if rows != self._rows.get(table, NOTHING)
        ]
        with other.transaction():
            for table in written:
                other.execute(f"delete from only {table}".encode())
                if copy := self.content.tables.get(table):
                    _copy_in(other, table, copy)
        self._rows |= _rows(self.conn, [table for table in written if table in self._rows])
        return not written


def _catalogue(conn: Connection) -> list[str]:
    [(found,)] = conn.execute(CATALOGUE.encode())
    return list(found)


def _rows(conn: Connection, tables: Iterable[str] | None = None) -> dict[str, Rows]:
    if tables is None:
        tables = [table for (table,) in conn.execute(FILLED)]
    query = " union all ".join(f"select '{table}', {WRITTEN} from only {table}" for table in tables)
    return {table: Rows(number, by) for table, number, by in conn.execute(query.encode())} if query else {}


def _copy_out(conn: Connection, table: str) -> bytes:
    with conn.cursor() as cursor, cursor.copy(f"copy {table} to stdout".encode()) as copy:
        return b"".join(bytes(block) for block in copy)


def _copy_in(conn: Connection, table: str, rows: bytes) -> None:
    with conn.cursor() as cursor, cursor.copy(f"copy {table} from stdin".encode()) as copy:
        copy.write(rows)
