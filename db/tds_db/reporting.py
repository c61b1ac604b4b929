"""A reporting database: the mirror's tables of all shards as one, read where they are, by postgres_fdw.

Each table is partitioned by organisation, a foreign partition a shard: a query of one organisation goes to
its shard alone, one of all asks all shards at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tds_db.connect import connect
from tds_db.shards import Conn, ShardError, shards_of

# libpq's parameters that are a user mapping's, or a session's own.
NOT_OF_SERVER = {"user", "password", "application_name", "options", "client_encoding", "target_session_attrs"}


@dataclass(frozen=True, slots=True)
class Reporting:
    """What was made."""

    shards: Sequence[str]
    tables: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the mirror."""

    name: str
    columns: Sequence[str]
    types: Sequence[str]

    @property
    def listed(self) -> sql.Composable:
        """Its columns and their types."""
        return _listed(self.columns, self.types)


def make_reporting(conninfo: str, reporting: str) -> Reporting:
    """Makes or renews the tables of a reporting database; again after a move, a new shard or an upgrade.

    Args:
        conninfo: the router.
        reporting: the database, as a superuser of its server, which reaches the shards as the router's does.

    Raises:
        ShardError: the router has no shards, or the database has a mirror of its own.
        psycopg.Error: one of them refuses.
    """
    shards = shards_of(conninfo)
    if not shards:
        raise ShardError("There are no shards.", "Next: tds shard add NAME CONNINFO")
    tables: list[Table] = []
    for shard in shards:
        with connect("shard", shard.conninfo) as conn:
            conn.execute("create schema if not exists tds_shared authorization tds_owner")
            conn.execute("set role tds_owner")
            tables = [Table(*row) for row in conn.execute("select * from tds.share_tables()")]
    with connect("shard", conninfo) as router:
        default = router.execute("select tds.default_shard()").fetchone()
        placed: dict[int, list[str]] = {}
        for organization, number in router.execute(
            "select organization_id, shard from tds.directory order by 1"
        ):
            placed.setdefault(number, []).append(organization)
        ways: dict[int, str] = dict(
            router.execute("select number, conninfo from tds.shard where removed_at is null").fetchall()
        )
    with connect("shard", reporting) as conn:
        row = conn.execute(
            "select to_regclass('tds.inbox') is not null or to_regclass('tds.router') is not null"
        ).fetchone()
        if row == (True,):
            raise ShardError(
                "That database is a mirror or a router itself.", "Next: createdb another one, for the reports"
            )
        conn.execute("create extension if not exists postgres_fdw")
        conn.execute("create schema if not exists zoho")
        _drop_partitions(conn)
        for shard in shards:
            _make_server(conn, shard.name, conninfo_to_dict(ways[shard.number]))
        for table in tables:
            _make_parent(conn, table)
            for shard in shards:
                organizations = None if default == (shard.number,) else placed.get(shard.number, [])
                if organizations != []:
                    _make_partition(conn, table, shard.name, organizations)
    return Reporting([shard.name for shard in shards], [table.name for table in tables])


def _drop_partitions(conn: Conn) -> None:
    found = conn.execute(
        "select n.nspname, c.relname from pg_foreign_table f join pg_class c on c.oid = f.ftrelid "
        "join pg_namespace n on n.oid = c.relnamespace join pg_foreign_server s on s.oid = f.ftserver "
        "where s.srvname like 'tds\\_%'"
    ).fetchall()
    for name in found:
        conn.execute(sql.SQL("drop foreign table {}").format(sql.Identifier(*name)))


def _make_server(conn: Conn, name: str, way: Mapping[str, object]) -> None:
    server, schema = sql.Identifier(f"tds_{name}"), sql.Identifier(f"shard_{name}")
    options = {key: str(value) for key, value in way.items() if key not in NOT_OF_SERVER and str(value)}
    options |= {"async_capable": "true", "fetch_size": "10000"}
    conn.execute(sql.SQL("drop server if exists {} cascade").format(server))
    conn.execute(sql.SQL("create schema if not exists {}").format(schema))
    conn.execute(
        sql.SQL("create server {} foreign data wrapper postgres_fdw options ({})").format(
            server, _options(options)
        )
    )
    # without a password: that is in the passfile of the server's account
    mapping = {"password_required": "false"} | ({"user": str(way["user"])} if "user" in way else {})
    conn.execute(
        sql.SQL("create user mapping for public server {} options ({})").format(server, _options(mapping))
    )


def _options(options: Mapping[str, str]) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(key), sql.Literal(value)) for key, value in options.items()
    )


def _make_parent(conn: Conn, table: Table) -> None:
    parent = sql.Identifier("zoho", table.name)
    create = sql.SQL("create table if not exists {} ({}) partition by list (organization_id)")
    conn.execute(create.format(parent, table.listed))
    add = sql.SQL("alter table {} add column if not exists {}")
    for column, kind in zip(table.columns, table.types, strict=True):
        conn.execute(add.format(parent, _listed([column], [kind])))


def _make_partition(conn: Conn, table: Table, shard: str, organizations: Sequence[str] | None) -> None:
    """The rows of a shard: those of some organisations, or of all that no other shard has."""
    partition = sql.Identifier(f"shard_{shard}", table.name)
    create = sql.SQL(
        "create foreign table {} ({}) server {} options (schema_name 'tds_shared', table_name {})"
    )
    conn.execute(
        create.format(partition, table.listed, sql.Identifier(f"tds_{shard}"), sql.Literal(table.name))
    )
    bound = (
        sql.SQL("default")
        if organizations is None
        else sql.SQL("for values in ({})").format(sql.SQL(", ").join(map(sql.Literal, organizations)))
    )
    attach = sql.SQL("alter table {} attach partition {} {}")
    conn.execute(attach.format(sql.Identifier("zoho", table.name), partition, bound))


def _listed(columns: Sequence[str], types: Sequence[str]) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind))
        for column, kind in zip(columns, types, strict=True)
    )
