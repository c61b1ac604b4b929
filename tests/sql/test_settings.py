"""Whatever the server, the database or the role is set to, what is acknowledged is safe and what is read is the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tds_cli.doctor import check_database
from tds_db.connect import connect
from tds_db.worker import drain
from tests.db.servers import Database
from tests.sql.conftest import ORGANIZATION, Mirror, product

HOSTILE = {
    "synchronous_commit": "off",
    "lock_timeout": "1ms",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "standard_conforming_strings": "off",
    "search_path": "pg_temp, pg_catalog",
    "datestyle": "Postgres, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kolkata",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "row_security": "off",
    "session_replication_role": "replica",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "xmloption": "document",
    "lc_numeric": "C",
    "check_function_bodies": "off",
    "constraint_exclusion": "off",
    "enable_indexscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "plpgsql.variable_conflict": "use_column",
    "client_min_messages": "error",
}


@contextmanager
def hostile(database: Database, settings: dict[str, str]) -> Iterator[None]:
    """The database with these defaults."""
    name = sql.Identifier(psycopg.conninfo.conninfo_to_dict(database.conninfo)["dbname"])  # type: ignore[arg-type]
    with database.connect(autocommit=True, options="-c default_transaction_read_only=off") as conn:
        for setting, value in settings.items():
            change = sql.SQL("alter database {} set {} = {}")
            parts = sql.SQL(".").join(sql.Identifier(part) for part in setting.split("."))
            conn.execute(
                change.format(name, parts, sql.SQL(value) if setting == "search_path" else sql.Literal(value))
            )
    yield


def bodies(mirror: Mirror) -> None:
    """Something of each kind, through every door."""
    mirror.receive(
        "products", {"items": [product(str(n), rate="1,500.5") for n in range(1, 9)]}, shape="list"
    )
    mirror.receive("products", {"item": product("1", name="back\\slash \\d 'q'", rate=2.675)})
    mirror.receive("products", {"item": product("2", rate="dear")})
    mirror.receive("products", b"\xff\x00")
    mirror.receive("products", b'{"item": {"item_id": "3", "name": "\\u0000"}}')
    mirror.receive("nothing", {"x": 1})
    mirror.receive(
        "contacts", {"contact": {"contact_id": "9", "contact_name": "Å", "contact_type": "customer"}}
    )
    line = {"line_item_id": "1", "item_id": "1", "quantity": 3, "rate": 0.1, "item_total": 0.3}
    invoice = {
        "invoice_id": "1", "invoice_number": "I\\1", "date": "2026-04-03", "due_date": "2026-12-11", "customer_id": "9",
        "last_modified_time": "2026-04-03T23:59:59-0400", "sub_total": 0.3, "total": 0.3, "exchange_rate": 0.00076,
        "line_items": [line],
    }  # fmt: skip
    mirror.receive("invoices", {"invoice": invoice}, shape="detail")
    mirror.conn.execute(
        "select tds.receive_many(array['products', 'invoices'], array['{\"item\": {\"item_id\": \"7\"}}', '{']::bytea[], array[%s, null])",
        [ORGANIZATION],
    )


STATE = """
    select 'row', jsonb_agg(to_jsonb(p)
                            - array['id', 'product_id', 'synced_at', 'sync_observed_at', 'sync_read_at', 'sync_layers', 'sync_event']
                     order by p.zoho_item_id)
      from zoho.products p
    union all
    select 'invoice', jsonb_agg(to_jsonb(i)
                            - array['id', 'invoice_id', 'synced_at', 'sync_observed_at', 'sync_read_at', 'sync_event', 'customer_id'])
      from zoho.invoices i
    union all
    select 'line', jsonb_agg(to_jsonb(l)
                            - array['id', 'invoice_id', 'product_id', 'synced_at'])
      from zoho.invoice_line_items l
    union all
    select 'dead', jsonb_agg(jsonb_build_array(d.path, d.value, d.reason, d.error_code) order by d.dead_letter_id) from tds.dead_letter d
    union all
    select 'open', jsonb_agg(to_jsonb(o)) from tds.inbox_open o
    union all
    select 'outcome', jsonb_agg(jsonb_build_array(o.status, o.applied, o.unchanged, o.dead) order by o.inbox_id) from tds.inbox_outcome o"""


def state(database: Database) -> list[tuple[Any, ...]]:
    """What the mirror holds, as a session with ordinary settings sees it."""
    options = "-c TimeZone=UTC -c extra_float_digits=1 -c default_transaction_read_only=off -c DateStyle=ISO"
    with database.connect(autocommit=True, options=options) as conn:
        return conn.execute(STATE).fetchall()


def test_the_mirror_is_the_same_whatever_the_database_is_set_to(database: Database, mirror: Mirror) -> None:
    bodies(mirror)
    mirror.process()
    plain = state(database)
    assert all((plain[1][1], plain[3][1])), "there is something to compare"
    mirror.conn.execute(
        "truncate zoho.products, zoho.invoices, zoho.customers, tds.dead_letter, tds.inbox, tds.inbox_outcome cascade"
    )
    with hostile(database, HOSTILE):
        # a DBA's psql: nothing but what the database says
        with database.connect(autocommit=True) as conn:
            conn.execute("set default_transaction_read_only = off")
            bodies(Mirror(conn))
            conn.execute("set default_transaction_read_only = on")
            Mirror(conn).process()
        assert state(database) == plain


def test_our_sessions_bring_their_own_settings(database: Database) -> None:
    limits = {
        "statement_timeout": "1ms",
        "idle_in_transaction_session_timeout": "1ms",
        "idle_session_timeout": "1ms",
    }
    with hostile(database, HOSTILE | limits), connect("worker", database.conninfo, autocommit=True) as conn:
        bodies(Mirror(conn))
        assert drain(conn)["applied"] == 11
        assert conn.execute("show search_path").fetchone() == ("public",)
        assert conn.execute("show default_transaction_isolation").fetchone() == ("read committed",)


ACKNOWLEDGE = {
    "receive": """select tds.receive('products', '{"item": {"item_id": "1"}}', 'o')""",
    "receive_many": """select tds.receive_many(array['products'], array['{"item": {"item_id": "1"}}']::bytea[])""",
    "request_pull": "select tds.request_pull('products', organization_id => 'o')",
    "create_api_key": "select tds.create_api_key('a')",
    "want_detail": "select tds.want_detail('products', 'o', '1')",
}


@pytest.mark.parametrize("door", ACKNOWLEDGE)
def test_what_is_acknowledged_is_on_the_disk(database: Database, door: str) -> None:
    with hostile(database, {"synchronous_commit": "off"}), database.connect() as conn:
        assert conn.execute("show synchronous_commit").fetchone() == ("off",)
        conn.execute("select set_config('tds.fake_now', '', false)")
        conn.execute(ACKNOWLEDGE[door].encode())
        written = conn.execute("select pg_current_wal_insert_lsn()").fetchone()
        conn.commit()
        [flushed] = conn.execute("select pg_current_wal_flush_lsn() >= %s", written).fetchone() or [None]
        assert flushed


def test_a_claim_is_on_the_disk(mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("1")})
    mirror.conn.execute("set synchronous_commit = off")
    mirror.conn.execute("begin")
    mirror.conn.execute("select tds.our_terms('1s', true)")
    assert mirror.value("show synchronous_commit") == "local"
    mirror.conn.execute("rollback")


def test_what_is_overridden_is_named(database: Database, mirror: Mirror) -> None:
    assert not mirror.rows("select * from tds_overrides")
    with hostile(
        database, {"synchronous_commit": "off", "timezone": "Asia/Baghdad", "statement_timeout": "1s"}
    ):
        told = mirror.rows("select name, value, harmless, mend from tds_overrides order by name")
        assert [(row["name"], row["value"], row["harmless"]) for row in told] == [
            ("statement_timeout", "1s", False),
            ("synchronous_commit", "off", False),
            ("timezone", "Asia/Baghdad", True),
        ]
        checks = {check.check: check for check in check_database(database.conninfo)}
        assert not checks["settings"].ok
        assert "synchronous_commit to off" in checks["settings"].said
        assert "reset synchronous_commit" in checks["settings"].next
        for row in told:
            mirror.conn.execute(row["mend"])
    assert {check.check: check for check in check_database(database.conninfo)}["settings"].ok


def test_pg_crons_sessions_have_defaults_of_their_own(database: Database, mirror: Mirror) -> None:
    with (
        hostile(database, {"statement_timeout": "1s"}),
        database.connect(autocommit=True, role="tds_worker") as conn,
    ):
        assert conn.execute("select tds.set_own_defaults()").fetchone() == (6,)
        assert conn.execute("select tds.set_own_defaults()").fetchone() == (0,)
        told = mirror.rows("select who, name from tds_overrides where not harmless")
        assert [row["name"] for row in told] == ["statement_timeout"], (
            "the database's; the role's wins over it"
        )
        assert told[0]["who"].startswith("database ")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("job_time_zone", '"Europe/Berlim"', "no time zone of that name"),
        ("job_time_zone", '"UTC+3"', "no time zone of that name"),
        ("job_time_zone", "null", "a text in quotes"),
        ("job_grace_seconds", '"5 minutes"', "a number"),
        ("job_grace_seconds", "null", "a number"),
        ("keep_inbox_days", "-5", "from 0 to 1000000"),
        ("keep_inbox_days", "1e9", "from 0 to 1000000"),
        ("drain_seconds", "99999999999", "from 0 to"),
        ("max_attempts", "2.5", "a whole number"),
        ("low_stock_default", '"few"', "a number"),
        ("backup_verify", '"no"', "true or false"),
        ("backup_directory", "7", "a text in quotes"),
        ("organization_ids", '"1"', "an array"),
        ("health_workers", '{"warnig": 5}', "warnig: there are"),
        ("health_workers", '{"warning": "many"}', "a number or null"),
        ("health_workers", '{"minutes": null}', "minutes: a number"),
        ("health_workers", '{"alert": "no"}', "true or false"),
        ("health_workers", "[1]", "an object"),
    ],
)
def test_what_a_setting_cannot_be_is_refused_by_name(
    shared: Mirror, name: str, value: str, told: str
) -> None:
    with pytest.raises(psycopg.Error, match=told) as raised:
        shared.conn.execute("update tds.setting set value = %s where name = %s", [value, name])
    assert raised.value.sqlstate == "ZB007"
    assert name in str(raised.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("low_stock_default", ["null", "5", "0"]),
        ("backup_directory", ['"/srv"', "null", '"/srv"']),
        ("job_time_zone", ['"Asia/Kolkata"', '"UTC"']),
        ("reconcile_tolerance", ["0.5", "1"]),
        ("health_workers", ['{"warning": 0.5, "critical": null, "minutes": 1, "alert": false}']),
        ("sweep_days_of", ['{"invoices": 1}']),
    ],
)
def test_what_it_can_be_it_becomes(mirror: Mirror, name: str, values: list[str]) -> None:
    for value in values:
        mirror.conn.execute("update tds.setting set value = %s where name = %s", [value, name])
        assert mirror.value("select value = %s from tds.setting where name = %s", value, name)


def test_a_time_zone_that_this_server_does_not_know_stops_no_job(mirror: Mirror) -> None:
    """As where the backup of another server was restored."""
    mirror.conn.execute("alter table tds.setting disable trigger setting_is_checked")
    mirror.conn.execute("update tds.setting set value = '\"Europe/Berlim\"' where name = 'job_time_zone'")
    mirror.conn.execute("alter table tds.setting enable trigger setting_is_checked")
    mirror.conn.execute("update tds.job set enabled = job = 'health', since = tds.now() - interval '1 hour'")
    mirror.conn.execute("call tds.run_due_jobs()")
    assert mirror.rows("select job, state from tds.job_run") == [{"job": "health", "state": "done"}]
    [told] = mirror.rows("select state, told from tds_health where name = 'jobs_off'")
    assert told["state"] == "warning"
    assert "no time zone Europe/Berlim" in told["told"]
