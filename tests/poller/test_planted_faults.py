"""Faults of every kind planted in every table: verify names each by id and column, repair mends each, verify is clean."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.rows import dict_row

from tds_cli.main import main
from tds_sandbox.clock import Clock
from tds_sandbox.organisation import Organisation
from tests.db.servers import Database
from tests.poller.conftest import Poller, fast_sandbox
from tests.poller.planted import Fault, Planter, Table

FAULTS = int(os.environ.get("TDS_PLANTED_FAULTS", "70"))
SEED = int(os.environ.get("TDS_PLANTED_SEED", "17"))


@pytest.fixture
def poller(database: Database) -> Iterator[Poller]:
    organisation = Organisation(
        items=60, contacts=26, invoices=18, bills=11, vendorcredits=7, vendorpayments=8, creditnotes=8,
        customerpayments=11, salesorders=7, pricebooks=6, clock=Clock(600, start=time.time() - 3 * 86_400),
    )  # fmt: skip
    with fast_sandbox(organisation) as sandbox:
        poller = Poller(sandbox, database)
        poller.migrate()
        yield poller


def found(conn: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    """What a comparison inside finds now."""
    conn.execute("call tds.verify_inside()")
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select * from tds_differences where depth = 'inside' order by entity, zoho_id"
        ).fetchall()


DELETED = {"invoices": "invoice", "bills": "bill", "creditnotes": "creditnote", "customerpayments": "payment"}
ENTITIES = {"creditnotes": "credit_notes", "customerpayments": "payments"}


def delete_some(poller: Poller, conn: psycopg.Connection[Any], environment: dict[str, str]) -> None:
    """A few records are deleted in Zoho, and proved to be: announced, and answered 404."""
    organisation = poller.sandbox.organisation
    for module, record_key in DELETED.items():
        record = organisation.books[module].records[-1]
        organisation.delete(module, record.id, fire=False)
        id_key = {"customerpayments": "payment_id"}.get(module, f"{record_key}_id")
        body = json.dumps({record_key: {id_key: record.id}}).encode()
        conn.execute(
            "select tds.receive(%s, %b, %s, event => 'delete')",
            [ENTITIES.get(module, module), body, organisation.organization_id],
        )
    conn.execute("call tds.process_batch()")
    assert tds(environment, "poll", "--once").exit_code == 0


def names(difference: dict[str, Any], fault: Fault) -> bool:
    """Whether it tells of the fault."""
    return difference["zoho_id"] == fault.zoho_id and bool(
        fault.wanted & {difference["what"], difference["column_name"]}
    )


def tds(environment: dict[str, str], *arguments: str) -> Result:
    """Runs the command in this process."""
    return CliRunner(env=environment).invoke(main, arguments, prog_name="tds")


def test_each_is_named_and_mended(poller: Poller, environment: dict[str, str]) -> None:
    with psycopg.connect(poller.database.conninfo, autocommit=True) as conn:
        conn.execute("update tds.setting set value = '0' where name = 'second_look_seconds'")
        delete_some(poller, conn, environment)
        assert found(conn) == []
        left = list(Planter(conn, SEED).possible())
        random.Random(SEED).shuffle(left)
        kinds: Counter[str] = Counter()
        while done := plant(Planter(conn, SEED + len(left)), left, FAULTS - kinds.total()):
            kinds.update(f"{fault.kind.split(' (')[0]}" for fault in done)
            differences = found(conn)
            assert [str(fault) for fault in done if not any(names(d, fault) for d in differences)] == []
            mended = tds(environment, "repair", "--all-differing", "--json")
            assert mended.exit_code == 0, mended.output
            assert {json.loads(line)["event"] for line in mended.stderr.splitlines()} == {"step"}
            assert [
                (d["what"], [str(fault) for fault in done if fault.zoho_id == d["zoho_id"]], d)
                for d in found(conn)
            ] == []
        print(f"{kinds.total()} planted, found and mended: {dict(kinds)}; {len(left)} found no row")
        assert kinds.total() >= min(FAULTS, 60)


def takes_away(kind: str, table: Table, column: str) -> bool:
    """Whether it takes a record from those that name it: what they are linked to is then another matter."""
    return table.is_header and kind in {"row deleted", "key changed", "organization changed"}


def plant(planter: Planter, left: list[tuple[str, Table, str]], at_most: int) -> list[Fault]:
    """Plants as many as there are records for, of one sort; takes what it planted from the list."""
    done: list[Fault] = []
    sort = None
    for wish in list(left):
        if len(done) == at_most or sort not in {None, takes_away(*wish)}:
            continue
        if fault := planter.plant(*wish):
            sort = takes_away(*wish)
            done.append(fault)
            left.remove(wish)
    return done
