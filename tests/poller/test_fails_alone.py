"""A list or a record that Zoho answers with an error, or not at all, for ever: it keeps nothing else waiting, and is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tds_poller.zoho.errors import RefusedError, UnreachableError
from tests.poller.conftest import Poller

# What is tried here is the program.
pytestmark = pytest.mark.parametrize("test_server", ["pg18"], indirect=True)

Connection = psycopg.Connection[dict[str, Any]]
WANTED = "select zoho_id, tries, error like '%HTTP 500, 4 times%' as told from tds.wanted_detail order by 1"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again at once."""
    monkeypatch.setattr("tds_poller.zoho.retry.PAUSES", (0, 0, 0))


def connected(poller: Poller) -> Connection:
    return psycopg.connect(poller.database.conninfo, autocommit=True, row_factory=dict_row)


@pytest.fixture
def conn(migrated: Poller) -> Iterator[Connection]:
    with connected(migrated) as connection:
        yield connection


def want(conn: Connection, poller: Poller, entity: str, ids: list[str]) -> None:
    organization_id = poller.sandbox.organisation.organization_id
    for zoho_id in ids:
        conn.execute("select tds.want(%s, %s, %s)", [entity, zoho_id, organization_id])


def three(conn: Connection, table: str, key: str) -> list[str]:
    return [str(row[key]) for row in conn.execute(f"select {key} from zoho.{table} order by 1 limit 3")]


def test_a_record_keeps_no_other_waiting(migrated: Poller, conn: Connection) -> None:
    faults = migrated.sandbox.faults
    ids = three(conn, "invoices", "zoho_invoice_id")
    bad = ids[1]
    faults.set(error_500=1.0, only=f"^/invoices/{bad}$")
    want(conn, migrated, "invoices", ids)
    migrated.poll()
    failed = [{"zoho_id": bad, "tries": 1, "told": True}]
    assert conn.execute(WANTED).fetchall() == failed
    # by itself nothing is answered; but something else is
    want(conn, migrated, "invoices", [bad])
    migrated.poll()
    assert conn.execute(WANTED).fetchall() == failed
    want(conn, migrated, "invoices", [bad])
    assert {row.entity: row.missing for row in migrated.migrate()}["invoices"] == 1
    assert conn.execute(WANTED).fetchall() == failed
    # while nothing is, it is not the record's fault
    faults.set(error_500=1.0)
    want(conn, migrated, "invoices", [bad])
    with pytest.raises(UnreachableError, match=f"GET /invoices/{bad}: HTTP 500"):
        migrated.poll()
    assert conn.execute(WANTED).fetchall() == [{"zoho_id": bad, "tries": 0, "told": None}]
    faults.set()
    migrated.poll()
    assert conn.execute(WANTED).fetchall() == []


def test_a_call_for_many_is_made_one_by_one(migrated: Poller, conn: Connection) -> None:
    migrated.sandbox.faults.set(error_500=1.0, only="^/itemdetails$")
    want(conn, migrated, "products", three(conn, "products", "zoho_item_id"))
    migrated.poll()
    assert conn.execute(WANTED).fetchall() == []
    assert migrated.sandbox.ledger.by_path["GET /items/{id}"] == 3


def test_a_list_keeps_nothing_waiting_and_is_told(migrated: Poller, conn: Connection) -> None:
    organization_id = migrated.sandbox.organisation.organization_id
    ask = "select tds.request_pull(%s, '{}', %s) as run_id"
    bills, notes = (
        conn.execute(ask, [entity, organization_id]).fetchall()[0]["run_id"]
        for entity in ("bills", "credit_notes")
    )
    want(conn, migrated, "invoices", three(conn, "invoices", "zoho_invoice_id"))
    migrated.sandbox.faults.set(error_500=1.0, only="^/bills$")
    with pytest.raises(UnreachableError, match="GET /bills: HTTP 500"):
        migrated.poll()
    assert conn.execute(WANTED).fetchall() == []
    state = "select state, error like '%%GET /bills: HTTP 500%%' as told from tds_sync_runs where run_id = %s"
    assert conn.execute(state, [notes]).fetchall() == [{"state": "complete", "told": None}]
    assert conn.execute(state, [bills]).fetchall() == [{"state": "running", "told": True}]
    hidden = "select count(*) as messages from pgmq.q_tds_pull where vt > clock_timestamp() + interval '30 s'"
    assert conn.execute(hidden).fetchall() == [{"messages": 1}]
    # to be tried in vain is no progress
    conn.execute(
        "update tds.run set heartbeat_at = heartbeat_at - interval '7 hours' where run_id = %s", [bills]
    )
    with pytest.raises(UnreachableError):
        migrated.poll()
    # who asks by hand does not wait; and the longer it lasts, the longer it is left alone
    assert conn.execute(hidden.replace("30 s", "50 minutes")).fetchall() == [{"messages": 1}]
    [stuck] = conn.execute("select state, told from tds.health() where name = 'pulls_stuck'").fetchall()
    assert stuck["state"] == "warning"
    assert f"run {bills} of bills is running since" in stuck["told"]
    assert "GET /bills: HTTP 500" in stuck["told"]
    migrated.sandbox.faults.set()
    migrated.poll()
    assert conn.execute(state, [bills]).fetchall() == [{"state": "complete", "told": None}]


def test_what_is_asked_for_to_tell_may_be_what_fails(migrated: Poller, conn: Connection) -> None:
    organization_id = migrated.sandbox.organisation.organization_id
    for entity in ("organizations", "bills"):
        conn.execute("select tds.request_pull(%s, '{}', %s)", [entity, organization_id])
    migrated.sandbox.faults.set(error_500=1.0, only="^/organizations")
    with pytest.raises(UnreachableError, match="GET /organizations/"):
        migrated.poll()
    states = "select entity, state from tds_sync_runs where requested_by is not null order by entity"
    assert conn.execute(states).fetchall() == [
        {"entity": "bills", "state": "complete"},
        {"entity": "organizations", "state": "running"},
    ]


def test_a_comparison_by_the_clock_goes_on_without_a_list(migrated: Poller, conn: Connection) -> None:
    migrated.sandbox.faults.set(error_500=1.0, only="^/bills$")
    conn.execute("select tds.ask_for_lists()")
    migrated.poll()
    query = "select state, 'bills' = any (entities) as has_it, cardinality(entities) > 9 as many, error from tds_verifications"
    [done] = conn.execute(query).fetchall()
    assert (done["state"], done["has_it"], done["many"]) == ("done", False, True)
    assert done["error"].startswith("bills: GET /bills: HTTP 500")


FIRST = "select finished_at is not null as whole, first_ended_at is not null as kept from tds.full_pull"


def test_a_list_ends_a_first_migration_last(poller: Poller) -> None:
    poller.sandbox.faults.set(error_500=1.0, only="^/bills$")
    with connected(poller) as conn:
        with pytest.raises(UnreachableError, match="GET /bills: HTTP 500"):
            poller.migrate()
        details = (
            "select count(*) > 0 as some, bool_and(zoho_metadata ? 'line_items') as whole from zoho.invoices"
        )
        assert conn.execute(details).fetchall() == [{"some": True, "whole": True}]
        assert conn.execute(FIRST).fetchall() == [{"whole": False, "kept": True}]
        poller.sandbox.faults.set()
        poller.migrate()
        assert conn.execute(FIRST).fetchall() == [{"whole": True, "kept": True}]


def test_where_every_list_is_refused_nothing_has_been_migrated(poller: Poller) -> None:
    with connected(poller) as conn:
        conn.execute("update tds.entity set api_path = '/nowhere' where api_path <> ''")
        with pytest.raises(RefusedError):
            poller.migrate()
        assert conn.execute(FIRST).fetchall() == [{"whole": False, "kept": False}]
