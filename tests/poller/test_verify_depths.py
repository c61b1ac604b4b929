"""`tds verify --depth`, `--fix`, `tds repair`: each comparison is stored; the clock's are done by whoever polls."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tds_sandbox.clock import Clock
from tds_sandbox.organisation import Organisation
from tests.db.servers import TestServer
from tests.poller.conftest import Poller, furnished
from tests.poller.test_planted_faults import tds


def organisation() -> Organisation:
    """A few of each, and enough documents for every sum that a list tells to be of another one."""
    return Organisation(
        items=12, contacts=6, invoices=9, bills=9, vendorcredits=8, vendorpayments=2, creditnotes=8, customerpayments=3,
        salesorders=2, pricebooks=2, clock=Clock(600, start=time.time() - 3 * 86_400),
    )  # fmt: skip


@pytest.fixture
def poller(test_server: TestServer) -> Iterator[Poller]:
    """After a migration."""
    with furnished(test_server, "depths", organisation) as poller:
        yield poller


def verified(environment: dict[str, str], *arguments: str) -> tuple[int, dict[str, Any]]:
    done = tds(environment, "verify", "--json", "--wait", "0", *arguments)
    assert done.stdout, done.output
    told = json.loads(done.stdout)
    if "--depth" in arguments:
        assert ("tds repair --all-differing" in done.stderr) is not told["agree"]
    return done.exit_code, told


def test_every_depth_finds_what_it_can_see_and_fix_mends(poller: Poller, environment: dict[str, str]) -> None:
    with psycopg.connect(poller.database.conninfo, autocommit=True) as conn:
        for depth in ("inside", "lists", "details"):
            code, told = verified(environment, "--depth", depth)
            assert (code, told["agree"]) == (0, True), told
        [name] = conn.execute("select min(zoho_invoice_id) from zoho.invoices").fetchone() or [""]
        [item] = conn.execute("select min(zoho_item_id) from zoho.products").fetchone() or [""]
        spoil = "update zoho.invoices set customer_name = 'somebody else' where zoho_invoice_id = %s"
        conn.execute(spoil, [name])
        code, told = verified(environment, "--depth", "inside", "invoices")
        assert (code, [(d["zoho_id"], d["column_name"]) for d in told["differences"]]) == (
            1,
            [(name, "customer_name")],
        )
        # lists carry it too, and what they found is stored
        code, told = verified(environment, "invoices")
        assert code == 1
        stored = "select zoho_id, column_name, ours from tds_differences where depth = 'lists'"
        assert conn.execute(stored).fetchall() == [(name, "customer_name", "somebody else")]
        # a key that neither a column nor a list has
        conn.execute(
            """update zoho.products set zoho_metadata = zoho_metadata || '{"product_type": "planted"}', sync_hash = null
                where zoho_item_id = %s""",
            [item],
        )
        code, told = verified(environment, "--depth", "inside", "products")
        assert [(d["zoho_id"], d["column_name"]) for d in told["differences"]] == [
            (item, "zoho_metadata.product_type")
        ]
        # which the inbox has forgotten: of another moment it has no telling
        conn.execute(
            "update zoho.products set sync_observed_at = sync_observed_at - interval '1 day' where zoho_item_id = %s",
            [item],
        )
        assert verified(environment, "--depth", "inside", "products")[0] == 0
        code, told = verified(environment, "--depth", "details", "products", "--id", item)
        assert [(d["zoho_id"], d["column_name"]) for d in told["differences"]] == [
            (item, "zoho_metadata.product_type")
        ]
        code, told = verified(environment, "--depth", "details", "products", "--id", item, "--fix")
        assert (code, told["agree"]) == (0, True), told
        code, told = verified(environment, "invoices", "--fix")
        assert (code, told["agree"]) == (0, True), told
        assert conn.execute("select count(*) from tds_differences").fetchone() == (0,)
        # a repair that is asked for in psql is done by whoever polls, and the event says who asked
        conn.execute(spoil, [name])
        conn.execute(
            "update zoho.invoices set sync_layers = null, balance = 7 where zoho_invoice_id = %s", [name]
        )
        conn.execute("select tds.repair('invoices', %s)", [name])
        assert tds(environment, "poll", "--once").exit_code == 0
        assert verified(environment, "--depth", "inside", "invoices")[0] == 0
        explained = tds(environment, "explain", "invoices", name).stdout
        assert "repair" in explained


def test_a_list_tells_that_lines_are_gone_though_the_header_agrees(
    poller: Poller, environment: dict[str, str]
) -> None:
    spoils = {
        ("invoices", "invoice_line_items", "total_amount"): "delete from zoho.{0} where zoho_invoice_id = %s",
        (
            "bills",
            "bill_line_items",
            "total_amount",
        ): "update zoho.{0} set {1} = {1} + 1 where zoho_bill_id = %s",
        ("payments", "customer_payment_invoices", "amount"): (
            "update zoho.{0} set {1} = {1} + 1 where zoho_payment_id = %s"
        ),
    }
    with psycopg.connect(poller.database.conninfo, autocommit=True) as conn:
        wanted = []
        for (entity, table, column), spoil in spoils.items():
            key = spoil.split()[-3]
            [zoho_id] = conn.execute(f"select min({key}) from zoho.{table}").fetchone() or [""]
            conn.execute(spoil.format(table, column), [zoho_id])
            wanted.append((entity, zoho_id, table, column, "differs"))
        code, told = verified(environment, "--no-pull", *(entity for entity, *_ in wanted))
        assert code == 1
        assert [
            (d["entity"], d["zoho_id"], d["table_name"], d["column_name"], d["what"])
            for d in conn.execute(
                "select to_jsonb(d) from tds_differences d where depth = 'lists' order by entity"
            ).fetchall()
            for d in d
        ] == sorted(wanted)
        code, told = verified(environment, "--fix", *(entity for entity, *_ in wanted))
        assert (code, told["agree"]) == (0, True), told


def test_every_sum_that_a_list_tells_is_held_against_its_rows(
    poller: Poller, environment: dict[str, str]
) -> None:
    with psycopg.connect(poller.database.conninfo, autocommit=True) as conn:
        code, told = verified(environment)
        assert (code, told["agree"]) == (0, True), told
        wanted: set[tuple[str, ...]] = set()
        unseen = []
        for entity, targets, column, key in conn.execute(
            "select entity, targets, column_name, id_column from tds.verified_sum order by 1, 2, 3"
        ).fetchall():
            for target in targets:
                row = conn.execute(
                    f"""update zoho.{target} t set {column} = {column} + 1
                         where ctid = (select t.ctid from zoho.{target} t
                                         join tds.list_sums(%s, t.organization_id) s on s.zoho_id = t.{key}
                                        where t.{column} <> 0 and s.key = %s and t.{key} <> all (%s) order by t.{key} limit 1)
                     returning {key}""".encode(),
                    [entity, f"{targets[0]}.{column}", [zoho_id for _, zoho_id, *_ in wanted]],
                ).fetchone()
                if row:
                    wanted.add((entity, row[0], targets[0], column))
                else:
                    unseen.append(target)
        assert unseen == []
        assert {entity for entity, *_ in wanted} >= {"products", "bills", "credit_notes", "vendor_credits"}
        code, told = verified(environment, "--no-pull")
        found = conn.execute(
            "select entity, zoho_id, table_name, column_name from tds_differences where depth = 'lists'"
        ).fetchall()
        assert (code, set(found)) == (1, wanted)
        code, told = verified(environment, "--fix")
        assert (code, told["agree"]) == (0, True), told


def test_the_clock_compares_inside_in_steps_and_asks_for_lists(
    poller: Poller, environment: dict[str, str]
) -> None:
    with psycopg.connect(poller.database.conninfo, autocommit=True) as conn:
        conn.execute("update tds.setting set value = '0' where name = 'verify_step_seconds'")
        [begun] = conn.execute("select tds.verify_on(true)").fetchone() or [None]
        state = "select state, checked > 0 from tds.verification where verification_id = %s"
        assert conn.execute(state, [begun]).fetchone() == ("running", False)
        conn.execute("update tds.setting set value = '10' where name = 'verify_step_seconds'")
        assert conn.execute("select tds.verify_on()").fetchone() == (begun,)
        assert conn.execute(state, [begun]).fetchone() == ("done", True)
        assert conn.execute("select tds.verify_on()").fetchone() == (None,)
        assert conn.execute("select tds.ask_for_lists()").fetchone() == (1,)
        assert tds(environment, "poll", "--once").exit_code == 0
        lists = "select state, asked_by, calls > 10, differing from tds_verifications where depth = 'lists'"
        assert conn.execute(lists).fetchall() == [("done", "the clock", True, 0)]


def test_a_payment_that_was_read_after_its_edit_is_not_called_different(
    poller: Poller, environment: dict[str, str]
) -> None:
    """Its detail has no last_modified_time, so that the stamp of the last list lags until the next."""
    organisation = poller.sandbox.organisation
    with psycopg.connect(poller.database.conninfo, autocommit=True) as conn:
        for module, entity in (("customerpayments", "payments"), ("pricebooks", "pricelists")):
            change = organisation.edit(module, fire=False)
            conn.execute("select tds.want(%s, %s, %s)", [entity, change.id, organisation.organization_id])
    assert tds(environment, "poll", "--once").exit_code == 0
    code, told = verified(environment, "payments", "pricelists")
    assert (code, told["agree"]) == (0, True), told


def test_danglers_are_listed(poller: Poller) -> None:
    with psycopg.connect(poller.database.conninfo, autocommit=True) as conn:
        assert conn.execute("select * from tds_danglers").fetchall() == []
        conn.execute("update zoho.invoices set customer_id = customer_id + 1000")
        conn.execute("update zoho.bills set vendor_id = null")
        conn.execute(
            "delete from zoho.products where zoho_item_id = (select min(zoho_item_id) from zoho.product_prices)"
        )
        conn.execute("update zoho.vendors set deleted_at = now()")
        told = conn.execute(
            "select table_name, what, count(*) > 0 from tds_danglers group by 1, 2 order by 1, 2"
        ).fetchall()
        assert ("invoices", "another row's id", True) in told
        assert ("bills", "not linked", True) in told
        assert ("product_prices", "parent gone", True) in told
        assert ("vendor_payments", "parent deleted", True) in told


def test_a_repair_says_written_only_of_what_was(poller: Poller, environment: dict[str, str]) -> None:
    """Stock is in products, as for a pull; of what the API does not tell only what the inbox still has can be written."""
    organization_id = poller.sandbox.organisation.organization_id
    with psycopg.connect(poller.database.conninfo, autocommit=True) as conn:
        query = "select zoho_item_id, stock_quantity from zoho.products where stock_quantity > 0 order by 1 limit 1"
        [item, quantity] = conn.execute(query).fetchone() or []
        conn.execute(
            "update zoho.products set stock_quantity = stock_quantity + 1 where zoho_item_id = %s", [item]
        )
        done = tds(environment, "repair", "stock", item, "--json")
        assert (done.exit_code, json.loads(done.stdout)["written"]) == (0, {"products": [item]}), done.output
        kept = "select stock_quantity from zoho.products where zoho_item_id = %s"
        assert conn.execute(kept, [item]).fetchone() == (quantity,)

        told = {"inventory_adjustment_id": "700", "reason": "counted", "line_items": []}
        body = json.dumps({"inventory_adjustment": told}).encode()
        conn.execute("select tds.receive('stock_adjustments', %b, %s)", [body, organization_id])
        conn.execute("call tds.process_batch()")
        conn.execute("update zoho.stock_adjustments set reason = 'spoilt'")
        done = tds(environment, "repair", "stock_adjustments", "700", "701", "--json")
        result = json.loads(done.stdout)
        assert (done.exit_code, result["written"]) == (4, {"stock_adjustments": ["700"]}), done.output
        assert [one["zoho_id"] for one in result["pending"]] == ["701"]
        assert "tds poll" not in done.stderr, "which never asks for it"
        assert conn.execute("select reason from zoho.stock_adjustments").fetchall() == [("counted",)]
        # what differs of an entity is asked for by the same names
        conn.execute("update zoho.products set name = 'spoilt' where zoho_item_id = %s", [item])
        assert verified(environment, "--depth", "inside", "products")[0] == 1
        refused = tds(environment, "repair", "sheep", "--all-differing")
        assert (refused.exit_code, "unknown entity" in refused.stderr) == (1, True), refused.output
        assert tds(environment, "repair", "stock", "--all-differing").exit_code == 0
        assert conn.execute("select count(*) from zoho.products where name = 'spoilt'").fetchone() == (0,)
