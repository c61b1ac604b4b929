"""A router and two shards on the server of the pg15 leg; skipped by name where PL/Proxy is not installed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tds_db import shards
from tds_db.shards import Moved
from tests.conftest import LEGS, all_servers
from tests.db.servers import DEBIAN_EXTENSIONS, Database

FIRST, SECOND, NOBODYS = "10001", "10002", "10009"
"""Organisations: of the first shard, of the second, and one that the directory does not know."""


def why_not() -> str:
    """Why these tests cannot run here; empty: they can."""
    if LEGS["pg15"]:
        return f"pg15 does not run: {LEGS['pg15']}"
    if not (DEBIAN_EXTENSIONS / "plproxy.control").exists():
        return "postgresql-15-plproxy is not installed"
    return ""


@dataclass
class Cluster:
    """A router, and shards `a` (the default) and `b`."""

    router: Database
    shards: dict[str, Database] = field(default_factory=dict)

    def rows(self, query: str, *parameters: object, shard: str = "") -> list[tuple[Any, ...]]:
        """Of the router, or of a shard."""
        database = self.shards[shard] if shard else self.router
        with database.connect(autocommit=True) as conn:
            return conn.execute(query.encode(), parameters).fetchall()

    def receive(self, *events: tuple[str | None, str]) -> list[tuple[int, int | None, str]]:
        """Products' webhooks of organisations, in one call of the router's."""
        return [
            (row[0], row[1], row[2])
            for row in self.rows(
                "select ord, inbox_id, status from tds.receive_many(%s::text[], %s::bytea[], %s::text[])",
                ["products"] * len(events),
                [body.encode() for _, body in events],
                [organization for organization, _ in events],
            )
        ]

    def drain(self, *names: str) -> None:
        """Works off what shards have."""
        for name in names or self.shards:
            with self.shards[name].connect(autocommit=True) as conn:
                conn.execute("call tds.process_batch()")

    def move(self, organization: str, to: str) -> Moved:
        """Moves an organisation."""
        return shards.move(self.router.conninfo, organization, to)


def product(number: str, name: str = "a", day: int = 1) -> str:
    """A webhook's body."""
    told = f"2026-01-{day:02d}T00:00:00+0000"
    return json.dumps({"item": {"item_id": number, "name": name, "rate": 1, "last_modified_time": told}})


def add(made: Cluster, name: str) -> None:
    """Adds a shard, as the server's own account can reach it."""
    conninfo = made.shards[name].conninfo
    given = Path(str(conninfo_to_dict(conninfo)["passfile"]))
    passfile = given.with_name("pgpass_of_server")
    if not passfile.exists():
        owner = (given.parent / "pgdata").stat()
        passfile.touch(0o600)
        passfile.write_bytes(given.read_bytes())
        os.chown(passfile, owner.st_uid, owner.st_gid)
    shards.add(made.router.conninfo, name, make_conninfo(conninfo, passfile=str(passfile)), admin=conninfo)


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Empty, with one organisation on each shard."""
    if reason := why_not():
        pytest.skip(reason)
    server = all_servers(request.config).get("pg15")
    with ExitStack() as stack:
        made = Cluster(stack.enter_context(server.empty_database()))
        shards.make_router(made.router.conninfo)
        for name in ("a", "b"):
            made.shards[name] = stack.enter_context(server.database())
            add(made, name)
        with made.router.connect(autocommit=True) as conn:
            conn.execute("select tds.place(%s, 'a'), tds.place(%s, 'b')", [FIRST, SECOND])
        try:
            yield made
        finally:
            with psycopg.connect(server.conninfo, autocommit=True) as conn:
                conn.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tds/router'"
                )
