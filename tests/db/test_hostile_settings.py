"""Whatever a database or a role is set to: receiver, worker, poller, jobs and a DBA's psql work, or say which setting is in the way.

docs/surroundings.md has the table, which is made from what is tried here.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tds_cli.explanations import explanation
from tds_db.connect import SESSION, SINCE, connect
from tds_db.worker import SETTINGS, drain, tell
from tds_receiver.inbox import Event, Inbox, UnavailableError
from tests.conftest import RUNNING
from tests.db.servers import Database, TestServer
from tests.poller.conftest import Poller, small_sandbox

DOCS = Path(__file__).parents[2] / "docs/surroundings.md"
PASSWORD = "s3cret-value"
numbers = count(1)


@dataclass(frozen=True)
class Hostile:
    """A setting that is against us."""

    name: str
    value: str
    programs: str = ""
    """How it goes for programs, where their sessions do not set it for themselves."""

    psql: str = ""
    """What a DBA's session is told, where it is not spared."""

    since: int = 150000

    @property
    def is_limit(self) -> bool:
        """Whether it is the limit of connections, which is no parameter."""
        return self.name == "connection limit"

    @property
    def row(self) -> str:
        """What the documentation says of it."""
        ours = self.name in {*SESSION, *SINCE, "client_encoding"}
        version = f", from PostgreSQL {self.since // 10000} on" if self.since > 150000 else ""
        told = f"is told: {self.psql}" if self.psql else "works"
        return f"| `{self.name}` = `{self.value}`{version} | {'their sessions set it' if ours else self.programs} | {told} |"


PASSED_OVER = "PostgreSQL passes over what is not there"
NOTHING = "nothing rests on it"
SETTINGS_AGAINST_US = [
    Hostile("statement_timeout", "1ms", psql="canceling statement due to"),
    Hostile("lock_timeout", "1ms"),
    Hostile("idle_in_transaction_session_timeout", "5s"),
    Hostile("idle_session_timeout", "5s"),
    Hostile("transaction_timeout", "5s", since=170000),
    Hostile("default_transaction_isolation", "serializable"),
    Hostile("default_transaction_isolation", "repeatable read"),
    Hostile("default_transaction_read_only", "on", psql="default_transaction_read_only is on"),
    Hostile("default_transaction_deferrable", "on"),
    Hostile("DateStyle", "German, DMY"),
    Hostile("IntervalStyle", "sql_standard"),
    Hostile("TimeZone", "Asia/Kolkata", "times are shown in it; none is read or stored by it"),
    Hostile("search_path", "nowhere, pg_temp"),
    Hostile("row_security", "off"),
    Hostile("bytea_output", "escape"),
    Hostile("standard_conforming_strings", "off"),
    Hostile("escape_string_warning", "off", NOTHING),
    Hostile("backslash_quote", "off"),
    Hostile("quote_all_identifiers", "on"),
    Hostile("client_encoding", "LATIN1"),
    Hostile("client_min_messages", "error"),
    Hostile("extra_float_digits", "-15"),
    Hostile("enable_indexscan", "off"),
    Hostile("enable_bitmapscan", "off"),
    Hostile("enable_seqscan", "off"),
    Hostile("enable_nestloop", "off"),
    Hostile("enable_hashjoin", "off"),
    Hostile("plan_cache_mode", "force_generic_plan"),
    Hostile("jit_above_cost", "0", "nothing of theirs is compiled (`jit = off`)"),
    Hostile("work_mem", "64kB", "work, with files for what does not fit"),
    Hostile(
        "temp_file_limit", "0", "work; a batch that needs a file fails with 53400 and comes again in halves"
    ),
    Hostile("synchronous_commit", "off", "what acknowledges waits for the disk all the same"),
    Hostile("session_replication_role", "replica", "the triggers fire all the same"),
    Hostile("default_tablespace", "nowhere", PASSED_OVER),
    Hostile("temp_tablespaces", "nowhere", PASSED_OVER),
    Hostile("check_function_bodies", "off", NOTHING),
    Hostile("plpgsql.variable_conflict", "use_column", "every name of a variable is qualified"),
    Hostile(
        "connection limit",
        "0",
        "the receiver answers 503, commands say what to alter; both are back without being started again",
        "too many connections for",
    ),
]


class World:
    """A database, a login of it that may do what each program may, and a sandbox."""

    def __init__(self, database: Database, login: str, sandbox: Any) -> None:
        self.database, self.login = database, login
        self.dsn = database.dsn(user=login, password=PASSWORD)
        self.poller = Poller(sandbox, Database(database.leg, self.dsn, database.bin_dir))
        self.name = str(conninfo_to_dict(database.conninfo)["dbname"])
        self.pulled = count()

    @contextmanager
    def against(self, hostile: Hostile, level: str) -> Iterator[None]:
        """The database, or the role, is set so meanwhile."""
        whom = sql.Identifier(self.name if level == "database" else self.login)
        alter = sql.SQL("alter {} {} ").format(sql.SQL(level), whom)
        name = sql.SQL(".").join(sql.Identifier(part) for part in hostile.name.split("."))
        value = (
            sql.SQL(hostile.value)
            if hostile.name in {"search_path", "DateStyle"}
            else sql.Literal(hostile.value)
        )
        with self.database.connect(autocommit=True) as conn:
            if hostile.is_limit:
                conn.execute(alter + sql.SQL("connection limit ") + sql.SQL(hostile.value))
            else:
                conn.execute(alter + sql.SQL("set {} = {}").format(name, value))
        try:
            yield
        finally:
            with self.database.connect(
                autocommit=True, options="-c default_transaction_read_only=off -c statement_timeout=0"
            ) as conn:
                if hostile.is_limit:
                    conn.execute(alter + sql.SQL("connection limit -1"))
                else:
                    conn.execute(alter + sql.SQL("reset {}").format(name))

    def webhook(self) -> str:
        """The receiver takes one; the record's id."""
        item = str(next(numbers))
        body = json.dumps({"item": {"item_id": item, "name": "back\\slash 'Å'", "rate": 2.675}}).encode()

        async def put() -> None:
            async with Inbox(self.dsn, connections=1) as inbox:
                accepted = await inbox.put(Event("products", body, "1", "upsert", "{}"))
                assert accepted.status == "queued"

        asyncio.run(put())
        return item

    def is_named(self, hostile: Hostile, level: str) -> bool:
        """Whether it is among what tds doctor tells of."""
        query = "select from tds_overrides where name = lower(%s) and starts_with(who, %s)"
        options = "-c search_path=public -c default_transaction_read_only=off -c statement_timeout=0"
        with self.database.connect(autocommit=True, options=options) as conn:
            return conn.execute(query, [hostile.name, level]).fetchone() is not None

    def rows(self, item: str) -> list[tuple[Any, ...]]:
        """The row of a record, as a session with ordinary settings sees it."""
        query = "select name, unit_price, organization_id from zoho.products where zoho_item_id = %s"
        options = "-c search_path=public -c default_transaction_read_only=off -c statement_timeout=0"
        with self.database.connect(autocommit=True, options=options) as conn:
            return conn.execute(query, [item]).fetchall()


@pytest.fixture(scope="module")
def world(test_server: TestServer) -> Iterator[World]:
    login = f"surrounded_{os.getpid()}"
    roles = "tds_receiver, tds_worker, tds_poller, tds_operator"
    with test_server.database() as database, small_sandbox() as sandbox:
        with database.connect(autocommit=True) as conn:
            conn.execute(f"create role {login} login password '{PASSWORD}' in role {roles}")
        yield World(database, login, sandbox)
        with database.connect(autocommit=True) as conn:
            conn.execute(f"drop role {login}")


@pytest.mark.parametrize(
    "hostile", SETTINGS_AGAINST_US, ids=lambda hostile: f"{hostile.name}={hostile.value}"
)
def test_all_work_whatever_is_set_or_say_what_is_in_the_way(world: World, hostile: Hostile) -> None:
    with world.database.connect() as conn:
        if conn.info.server_version < hostile.since:
            pytest.skip(f"PostgreSQL {hostile.since // 10000} has it")
    for level in levels(hostile, world.database.leg):
        with world.against(hostile, level):
            assert world.is_named(hostile, level), "tds doctor names it"
            if hostile.is_limit:
                says_that_nobody_is_let_in(world, f"{hostile.psql} {level}")
            else:
                works_or_says_why(world, hostile)


def levels(hostile: Hostile, leg: str) -> list[str]:
    """Of the database and the role one on each leg, in turn; both with TDS_TEST_HOSTILE_SETTINGS=all."""
    both = ["database", "role"]
    if os.environ.get("TDS_TEST_HOSTILE_SETTINGS") == "all" or hostile.is_limit or len(RUNNING) == 1:
        return both
    return [both[(SETTINGS_AGAINST_US.index(hostile) + RUNNING.index(leg)) % 2]]


def works_or_says_why(world: World, hostile: Hostile) -> None:
    """All programs, and a DBA's psql."""
    item = world.webhook()
    with connect("worker", world.dsn, settings=SETTINGS, autocommit=True) as conn:
        for name, value in {**SESSION, **SETTINGS, "transaction_timeout": "0"}.items():
            shown = conn.execute("select current_setting(%s, true)", [name]).fetchone()
            assert shown is not None
            assert shown[0] is None or shown[0].startswith(value), name
        assert drain(conn)["applied"] >= 1
        assert conn.execute("call tds.run_job('heal', false, 'by hand', null)").fetchone() == ("done",)
    assert world.rows(item) == [("back\\slash 'Å'", Decimal("2.675"), "1")]
    assert world.poller.pull("taxes").is_finished
    try:
        told = of_a_psql(world)
    except psycopg.Error as error:
        told = f"{error} {error.diag.message_detail}"
        assert hostile.psql, told
    assert hostile.psql in told


def says_that_nobody_is_let_in(world: World, reason: str) -> None:
    """The receiver answers 503, and a command says what to do."""
    with pytest.raises(UnavailableError, match=reason):
        world.webhook()
    with pytest.raises(psycopg.OperationalError, match=reason) as refused:
        connect("worker", world.dsn)
    assert "connection limit -1" in str(explanation(refused.value))


def of_a_psql(world: World) -> str:
    """A session that brings nothing of its own: heals, stores and processes. What it was told."""
    item = str(next(numbers))
    with psycopg.connect(world.dsn, autocommit=True) as conn:
        healed = conn.execute("select step, ok, detail from tds.heal()").fetchall()
        told = " ".join(str(detail) for _, ok, detail in healed if not ok)
        if told:
            return told
        body = json.dumps({"item": {"item_id": item, "name": "by hand"}})
        conn.execute("select tds.receive('products', %s, '1')", [body])
        conn.execute("call tds.process_batch()")
        assert conn.execute("call tds.run_job('snapshot_stock')").fetchone() == ("done",)
    assert world.rows(item)
    return ""


def test_the_documentation_tells_of_each() -> None:
    assert "\n".join(hostile.row for hostile in SETTINGS_AGAINST_US) in DOCS.read_text()


def test_a_worker_goes_on_where_it_may_not_enter_the_server_s_directory(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = Mock(side_effect=PermissionError(13, "Permission denied"))
    with connect("worker", database.conninfo, autocommit=True) as conn:
        for name in ("is_dir", "stat"):
            with monkeypatch.context() as patched:
                patched.setattr(Path, name, refuse)
                assert tell(conn) is False
        with monkeypatch.context() as patched:
            patched.setattr("shutil.disk_usage", refuse)
            assert tell(conn) is False
        assert conn.execute("select count(*) from tds.disk").fetchone() == (0,)
        assert tell(conn) is False
        assert conn.execute("select count(*) from tds.disk").fetchone() == (1,)
