"""Organisations as rows: what may be one, whose a webhook is, and that one that is removed leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.db.servers import Database
from tests.sql.conftest import MOMENT, Mirror, product

ONE, OTHER, THIRD = "81000000001", "81000000002", "81000000003"
PRICES = {"pricebook": {"pricebook_id": "7", "pricebook_type": "per_item", "status": "active",
                        "pricebook_items": [{"item_id": "7", "pricebook_rate": 3}]}}  # fmt: skip
ADD = "select (tds.org_add(%s, credentials => 'env:ONE_')).state"


def refused(mirror: Mirror, query: str, *parameters: object) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as raised:
        mirror.conn.execute(query, parameters)
    return raised.value


def add(mirror: Mirror, *organizations: str) -> None:
    for organization in organizations:
        mirror.conn.execute("select tds.org_add(%s, credentials => 'env:ONE_')", [organization])


def test_an_organisation_is_added_changed_paused_and_resumed(mirror: Mirror) -> None:
    mirror.conn.execute(
        "select tds.org_add(%s, 'eu', 'env:ACME_', 'Acme', calls_per_minute => 50, calls_per_day => 900,"
        " concurrency => 3, time_zone => 'Asia/Baghdad', webhook_credentials => 'file:/etc/tds/acme.env')",
        [ONE],
    )
    [row] = mirror.rows("select * from tds_organizations")
    assert (row["state"], row["name"], row["data_centre"]) == ("active", "Acme", "eu")
    assert (row["calls_per_minute"], row["calls_per_day"], row["concurrency"]) == (50, 900, 3)
    assert (row["credentials"], row["webhook_credentials"]) == ("env:ACME_", "file:/etc/tds/acme.env")
    assert mirror.value("select tds.time_zone_of(%s)", ONE) == "Asia/Baghdad"
    assert mirror.value("select calls_per_minute_now from tds.set_budget(%s)", ONE) == 50
    assert mirror.value("select (tds.org_pause(%s, 'audit')).state_reason", ONE) == "audit"
    assert not mirror.value("select tds.is_served(%s)", ONE)
    assert mirror.value("select (tds.org_resume(%s)).state", ONE) == "active"
    mirror.conn.execute("select tds.org_set(%s, name => 'New', calls_per_minute => 60)", [ONE])
    [row] = mirror.rows("select * from tds_organizations")
    assert (row["name"], row["calls_per_minute"], row["concurrency"]) == ("New", 60, 3)


def test_one_that_is_paused_is_not_asked_for_at_night_and_ails_nothing(mirror: Mirror) -> None:
    add(mirror, ONE, OTHER)
    mirror.conn.execute("select tds.org_pause(%s)", [ONE])
    mirror.conn.execute(
        "insert into tds.full_pull (organization_id, began_at, finished_at)"
        " select o.organization_id, tds.now() - interval '9 days', tds.now() - interval '8 days' from tds.organization o"
    )
    for ask in ("request_reconciles", "ask_for_lists"):
        assert mirror.value(f"select tds.{ask}()") == 1
    assert mirror.rows(
        "select organization_id from tds.reconcile_run union select organization_id from tds.verification"
    ) == [{"organization_id": OTHER}]
    # of each a pull that waits and one that failed, and a detail in vain
    mirror.conn.execute(
        b"""
        insert into tds.run (organization_id, entity, options, state, requested_at, started_at, finished_at, error)
        select o.organization_id, k.entity, '{}', k.state, tds.now() - interval '1 day', k.finished_at, k.finished_at, k.state
          from tds.organization o,
               (values ('products', 'queued', null), ('invoices', 'failed', tds.now())) k(entity, state, finished_at);
        insert into tds.wanted_detail (entity, organization_id, zoho_id, reason, wanted_at, tries, error)
        select 'products', o.organization_id, '1', 'r', tds.now(), 5, 'no' from tds.organization o"""
    )
    mirror.conn.execute("update tds.organization set state_at = tds.now() - interval '9 days'")
    ailing = {
        "reconcile_late": 192,
        "pulls_late": 192,
        "pulls_stuck": 1,
        "pulls_failed": 1,
        "details_failed": 1,
    }
    ask_health = (
        "select name, round(value)::int as value from tds.health() where name = any (%s) and state <> 'ok'"
    )
    assert {row["name"]: row["value"] for row in mirror.rows(ask_health, list(ailing))} == ailing
    mirror.conn.execute("select tds.org_pause(%s)", [OTHER])
    assert mirror.rows(ask_health, list(ailing)) == []
    # whose turn it was while it was paused has not missed it
    mirror.conn.execute("select tds.org_resume(%s)", [ONE])
    at_once = {"pulls_failed": 1, "details_failed": 1}
    assert {row["name"]: row["value"] for row in mirror.rows(ask_health, list(ailing))} == at_once
    mirror.conn.execute("update tds.organization set state_at = tds.now() - interval '60 hours'")
    later = ailing | {"reconcile_late": 60, "pulls_late": 60}
    assert {row["name"]: row["value"] for row in mirror.rows(ask_health, list(ailing))} == later
    mirror.conn.execute("update tds.organization set state_at = tds.now() + interval '1 year'")
    assert {row["name"]: row["value"] for row in mirror.rows(ask_health, list(ailing))} == ailing
    # nor is anything asked for one that is on its way to another shard
    mirror.conn.execute(
        "insert into tds.gate (organization_id, state, other, since) values (%s, 'leaving', 'b', tds.now())",
        [ONE],
    )
    assert mirror.rows(ask_health, list(ailing)) == []


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("org_add('no id!', credentials => 'env:A_')", "ZB015"),
        ("org_add('', credentials => 'env:A_')", "ZB015"),
        ("org_add(null, credentials => 'env:A_')", "ZB015"),
        ("org_add('4e18', credentials => 'env:A_')", "ZB015"),
        ("org_add('1', 'mars', 'env:A_')", "ZB072"),
        ("org_add('1', null, 'env:A_')", "ZB072"),
        ("org_add('1', credentials => '1000.secret')", "ZB073"),
        ("org_add('1', credentials => 'file:relative')", "ZB073"),
        ("org_add('1')", "ZB073"),
        ("org_add('1', credentials => 'env:A_', time_zone => 'Mars/Base')", "ZB074"),
        ("org_add('1', credentials => 'env:A_', time_zone => 'UTC+3')", "ZB074"),
        ("org_add('1', credentials => 'env:A_', time_zone => '+03:00')", "ZB074"),
        ("org_add('1', credentials => 'env:A_', concurrency => 0)", "ZB075"),
        ("org_pause('1')", "ZB070"),
        ("org_resume('1')", "ZB070"),
        ("org_set('1')", "ZB070"),
        ("org_remove('1')", "ZB070"),
        ("org_remove_step('1')", "ZB077"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name_and_nothing_is_written(
    shared: Mirror, call: str, code: str
) -> None:
    error = refused(shared, f"select tds.{call}")
    assert error.sqlstate == code
    assert "1000." not in str(error)
    assert shared.value("select count(*) from tds.organization") == 0
    assert shared.value("select count(*) from tds.api_budget") == 0


def test_one_that_is_there_is_not_added_and_one_that_goes_is_not_touched(mirror: Mirror) -> None:
    add(mirror, ONE)
    assert refused(mirror, ADD, ONE).sqlstate == "ZB076"
    mirror.conn.execute("select tds.org_remove(%s)", [ONE])
    for call in ("org_add(%s, credentials => 'env:A_')", "org_pause(%s)", "org_resume(%s)", "org_set(%s)"):
        assert refused(mirror, f"select tds.{call}", ONE).sqlstate == "ZB071"


@pytest.mark.parametrize("many", [False, True])
def test_what_is_signed_for_one_says_nothing_of_another(mirror: Mirror, many: bool) -> None:
    add(mirror, ONE, OTHER)

    def came(address: str | None, named: str | None) -> tuple[str, str]:
        item = product("7") | ({"organization_id": named} if named else {})
        body = json.dumps({"item": item}).encode()
        if many:
            query = "select inbox_id, status from tds.receive_many(array['products', 'products'], array[%b, %b], array[%s, %s])"
            row = mirror.conn.execute(
                query, [body, b'{"item": {"item_id": "8"}}', address, address]
            ).fetchone()
        else:
            query = "select inbox_id, status from tds.receive('products', %b, %s)"
            row = mirror.conn.execute(query, [body, address]).fetchone()
        assert row is not None
        return row[1], mirror.value("select organization_id from tds.inbox where inbox_id = %s", row[0])

    assert came(ONE, OTHER) == ("rejected", ONE)
    assert came(OTHER, f"{ONE}, {THIRD}")[0] == "rejected"
    assert came(ONE, ONE) == ("queued", ONE)
    assert came(OTHER, None) == ("queued", OTHER)
    mirror.conn.execute("select set_config('tds.organization_id', %s, false)", [THIRD])
    # at the address of the receiver's own, whose secret is that one's
    assert came(None, ONE)[0] == "rejected"
    assert came(None, THIRD) == ("queued", THIRD)
    reasons = [row["reason"] for row in mirror.rows("select reason from tds_dead_letter_queue order by 1")]
    assert any("address of" in reason for reason in reasons)
    mirror.process()
    assert (
        mirror.value(
            "select count(*) from zoho.products where organization_id = %s and zoho_item_id = '7'", ONE
        )
        == 1
    )


def test_the_only_row_is_meant_by_what_names_nobody(mirror: Mirror) -> None:
    body = json.dumps({"item": product("7")}).encode()
    add(mirror, ONE)
    assert mirror.value("select tds.default_organization()") == ONE
    mirror.conn.execute("select tds.receive('products', %b)", [body])
    assert mirror.value("select organization_id from tds.inbox") == ONE
    assert mirror.value("select tds.own_organization()") == ONE
    add(mirror, OTHER)
    assert mirror.value("select tds.default_organization()") == "default"
    assert refused(mirror, "select tds.own_organization()").sqlstate == "ZB013"


def receive(mirror: Mirror, organization: str, entity: str, body: Any, shape: str = "webhook") -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    mirror.conn.execute("select tds.receive(%s, %b, %s, shape => %s)", [entity, raw, organization, shape])


def filled(mirror: Mirror, organization: str) -> None:
    """Something of an organisation in as many tables as come easily."""
    item = product("460000000026001", stock_on_hand=5, unit="pcs", image_document_id="9") | {
        "locations": [{"location_id": "1", "location_name": "Main", "location_stock_on_hand": 5}]
    }
    receive(mirror, organization, "products", {"item": item}, "detail")
    receive(mirror, organization, "products", {"items": [product(str(n)) for n in range(30)]}, "list")
    receive(
        mirror,
        organization,
        "customers",
        {"contact": {"contact_id": "5", "contact_type": "customer", "contact_name": "Ann"}},
    )
    receive(
        mirror, organization, "invoices", {"invoice": {"invoice_id": "3", "customer_id": "5", "surprise": 1}}
    )
    receive(mirror, organization, "products", b"{not json")
    receive(
        mirror,
        organization,
        "organizations",
        {"organization": {"organization_id": organization, "name": "T"}},
        "detail",
    )
    mirror.process()
    receive(
        mirror,
        organization,
        "products",
        {"item": item | {"name": "Renamed", "last_modified_time": MOMENT}},
        "detail",
    )
    mirror.process()
    receive(mirror, organization, "products", {"item": product("99")})  # waits
    mirror.conn.execute("select tds.request_pull('invoices', '{}', %s)", [organization])
    mirror.conn.execute("select * from tds.reserve_calls(%s)", [organization])
    mirror.conn.execute("select tds.begin_full_pull(%s)", [organization])
    mirror.conn.execute(
        "select tds.mute_alerts('low_stock', tds.now() + interval '1 day', organization_id => %s)",
        [organization],
    )
    mirror.conn.execute(
        "select tds.set_aside('job', 'item of ' || %s, 'ZB001', 'x', 'x', tds.now())", [organization]
    )
    mirror.conn.execute(
        "insert into tds.stray (path, first_at, last_at, requests) values ('/api/zoho/' || %s || '/x', now(), now(), 1)",
        [organization],
    )


def holding(mirror: Mirror, organization: str) -> dict[str, int]:
    """How many rows of each table say the organisation's id anywhere, whatever the column."""
    found = {}
    tables = mirror.rows(
        "select c.oid::regclass::text as t from pg_class c where c.relkind = 'r'"
        " and c.relnamespace = any (array['tds', 'zoho', 'pgmq']::regnamespace[]) order by 1"
    )
    for row in tables:
        count = mirror.value(
            f"select count(*) from {row['t']} t where position(%s in t::text) > 0", organization
        )
        if count:
            found[row["t"]] = count
    return found


def counts(mirror: Mirror) -> dict[str, int]:
    return {
        name: mirror.value(f"select count(*) from {name}")
        for name in (
            "tds.inbox",
            "tds.inbox_open",
            "tds.inbox_outcome",
            "pgmq.q_tds_products",
            "zoho.products",
            "tds.run",
        )
    }


def remove(mirror: Mirror, organization: str, most: int = 7) -> int:
    steps = 0
    while True:
        [step] = mirror.rows("select * from tds.org_remove_step(%s, %s)", organization, most)
        steps += 1
        assert steps < 500
        # updates of a text count as what they are; a table's batch is never larger than it was asked to be
        assert step["removed"] <= most
        if step["is_done"]:
            return steps


def test_one_that_is_removed_leaves_nothing_and_the_others_as_they_were(mirror: Mirror) -> None:
    mirror.conn.execute("update tds.setting set value = '0' where name = 'org_remove_grace_seconds'")
    add(mirror, ONE, OTHER)
    filled(mirror, OTHER)
    mirror.conn.execute("select tds.observe_drift(100)")
    mirror.conn.execute("select * from tds.health()")
    mirror.process()
    before, alone = holding(mirror, OTHER), counts(mirror)
    filled(mirror, ONE)
    mirror.conn.execute("select tds.health()")
    assert len(holding(mirror, ONE)) >= 19
    mirror.conn.execute("select tds.org_remove(%s)", [ONE])
    for _ in range(4):
        mirror.conn.execute("select * from tds.org_remove_step(%s, 7)", [ONE])
    # killed, and gone on with by whoever calls next; what comes meanwhile goes, too
    receive(mirror, ONE, "products", {"item": product("100")})
    mirror.process()
    assert remove(mirror, ONE) > 10
    assert holding(mirror, ONE) == {}
    assert counts(mirror) == alone
    after = holding(mirror, OTHER)
    assert {name: n for name, n in after.items() if "health" not in name} == {
        name: n for name, n in before.items() if "health" not in name
    }
    counted = {row["status"]: row["events"] for row in mirror.rows("select * from tds_queue_counts")}
    told = mirror.rows("select status, count(*) as n from tds_sync_queue group by status")
    assert {status: n for status, n in counted.items() if n} == {row["status"]: row["n"] for row in told}
    assert refused(mirror, "select tds.org_remove(%s)", ONE).sqlstate == "ZB070"
    mirror.conn.execute("call tds.remove_organization(%s)", [OTHER])
    assert holding(mirror, OTHER) == {}


def test_a_batch_in_hand_is_waited_for(mirror: Mirror) -> None:
    mirror.conn.execute("update tds.setting set value = '0' where name = 'org_remove_grace_seconds'")
    add(mirror, ONE)
    receive(mirror, ONE, "products", {"item": product("7")})
    [claim] = mirror.rows("select * from tds.claim('products', 10)")
    mirror.conn.execute("select tds.org_remove(%s)", [ONE])
    for _ in range(20):
        [step] = mirror.rows("select * from tds.org_remove_step(%s)", ONE)
        assert not step["is_done"]
    mirror.conn.execute("delete from tds.claim")
    assert claim
    remove(mirror, ONE)
    assert holding(mirror, ONE) == {}


def test_of_a_limit_of_its_own_what_others_used_is_used_too(mirror: Mirror) -> None:
    mirror.conn.execute("select tds.org_add(%s, credentials => 'env:A_', calls_per_day => 100)", [ONE])
    mirror.conn.execute(
        "update tds.api_budget set day_limit = 1000, day_left = 905, day_resets_at = tds.now() + interval '1 hour'"
    )
    [row] = mirror.rows("select granted from tds.reserve_calls(%s, 50, 'live')", ONE)
    assert row["granted"] == 5
    [row] = mirror.rows("select granted, reason from tds.reserve_calls(%s, 50, 'live')", ONE)
    assert row["granted"] == 0


@pytest.fixture
def reader(database: Database) -> Iterator[str]:
    """A login of a name of its own; what it has been given goes with the database."""
    name = f"reader_of_{conninfo_to_dict(database.conninfo)['dbname']}"
    with database.connect(autocommit=True) as conn:
        conn.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
        yield name
        conn.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
        conn.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_a_bound_reader_sees_one_organisation_and_nothing_else(mirror: Mirror, reader: str) -> None:
    add(mirror, ONE, OTHER)
    for organization in (ONE, OTHER):
        filled(mirror, organization)
        receive(mirror, organization, "pricelists", PRICES, "detail")
    mirror.process()
    assert mirror.value("select tds.bind_reader(%s, %s)", reader, ONE) > 60
    with pytest.raises(psycopg.Error) as raised:
        mirror.conn.execute("select tds.bind_reader(%s, %s)", [reader, OTHER])
    assert raised.value.sqlstate == "ZB078"
    readable = mirror.rows(
        "select c.oid::regclass::text as name, n.nspname as schema from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p', 'v', 'm') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')"
        "   and has_schema_privilege(%s, n.oid, 'usage') and has_table_privilege(%s, c.oid, 'select')",
        *(reader, reader),
    )
    ours = [row for row in readable if row["schema"] == f"tds_org_{ONE}"]
    # an extension of the server's may show something of its own in public
    assert not [row for row in readable if row not in ours and "tds" in row["name"]]
    with mirror.conn.cursor() as cursor:
        cursor.execute(sql.SQL("set role {}").format(sql.Identifier(reader)))
        cursor.execute(f"set search_path = tds_org_{ONE}")
        seen = 0
        for row in ours:
            cursor.execute(
                f"select count(*), count(*) filter (where organization_id <> %s) from {row['name']}", [ONE]
            )
            count, strange = cursor.fetchone() or (0, 0)
            assert strange == 0, row
            cursor.execute(f"select count(*) from {row['name']} t where position(%s in t::text) > 0", [OTHER])
            assert cursor.fetchone() == (0,), row
            seen += count > 0
        assert seen > 20
        assert cursor.execute("select price_of('7', '7')").fetchone() is not None
        for query in (
            "select * from zoho.products",
            "select * from public.products",
            "select * from tds.inbox",
            "select * from public.tds_sync_runs",
            f"select tds.price_of('7', '7', organization_id => '{OTHER}')",
            f"select tds.receive('products', '', '{ONE}')",
            "select * from tds.organizations_listed()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                cursor.execute(query)
        cursor.execute("reset role")
        cursor.execute("reset search_path")
    # made anew by every upgrade, and gone with the organisation
    mirror.conn.execute("update tds.setting set value = '0' where name = 'org_remove_grace_seconds'")
    mirror.conn.execute("select tds.org_remove(%s)", [ONE])
    remove(mirror, ONE, 5000)
    assert mirror.value("select count(*) from pg_namespace where nspname = %s", f"tds_org_{ONE}") == 0
    assert holding(mirror, ONE) == {}


def test_organisations_with_rows_and_records_of_any_are_found(mirror: Mirror) -> None:
    assert mirror.value("select tds.organizations_of('products')") == []
    mirror.conn.execute(
        """insert into zoho.products (organization_id, zoho_item_id, sku, zoho_metadata, synced_at, sync_version,
                                      sync_observed_at, sync_rank)
           select o, n::text, o || '-' || n, '{}', now(), 1, now(), 3
             from unnest(%s::text[]) o, generate_series(1, 3) n order by 1, 2""",
        [[THIRD, ONE, OTHER]],
    )
    assert mirror.value("select tds.organizations_of('products')") == [ONE, OTHER, THIRD]
    found = "select organization_id, zoho_id from tds.find_record('products', %s) order by 1"
    assert [tuple(row.values()) for row in mirror.rows(found, "2")] == [
        (ONE, "2"),
        (OTHER, "2"),
        (THIRD, "2"),
    ]
    assert [row["zoho_id"] for row in mirror.rows(found, f"{OTHER}-3")] == ["3"]
    assert mirror.rows(found, "4") == []
