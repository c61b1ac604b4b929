"""`tds verify`, `tds explain`, `tds runs`: what agrees is said to agree, and every difference is found with its id."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from tds_cli.main import main
from tds_sandbox.clock import Clock
from tds_sandbox.organisation import Organisation
from tests.db.servers import TestServer
from tests.poller.conftest import Poller, furnished

DAYS = 86_400


def tds(environment: dict[str, str], *arguments: str) -> Result:
    """Runs the command in this process."""
    return CliRunner(env=environment).invoke(main, arguments, prog_name="tds")


def organisation() -> Organisation:
    """A small one whose clock is three days behind, so that its edits are older than what is read now."""
    return Organisation(
        items=210,
        contacts=14,
        invoices=8,
        bills=4,
        vendorcredits=2,
        vendorpayments=3,
        creditnotes=3,
        customerpayments=5,
        salesorders=2,
        pricebooks=2,
        clock=Clock(600, start=time.time() - 3 * DAYS),
    )


@pytest.fixture
def poller(test_server: TestServer) -> Iterator[Poller]:
    """After a migration."""
    with furnished(test_server, "verified", organisation) as poller:
        yield poller


def verified(environment: dict[str, str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what was found, by entity."""
    done = tds(environment, "verify", "--json", "--wait", "0", *arguments)
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    assert answer["agree"] == (done.exit_code == 0)
    return done.exit_code, {result["entity"]: result for result in answer["entities"]}


def differences(result: dict[str, Any]) -> dict[str, tuple[str, list[str]]]:
    """Of what cannot be put down to a change meanwhile: what, and the fields, by id."""
    return {
        row["id"]: (row["what"], sorted(row["fields"]))
        for row in result["differences"]
        if not row["meanwhile"]
    }


def test_all_agrees_after_a_migration(poller: Poller, environment: dict[str, str]) -> None:
    calls = poller.sandbox.ledger.summary()["calls"]
    done = tds(environment, "verify", "--dry-run", "--json")
    assert (done.exit_code, poller.sandbox.ledger.summary()["calls"]) == (0, calls)
    plan = json.loads(done.stdout)
    code, found = verified(environment)
    assert (code, [differences(result) for result in found.values()]) == (0, [{}] * len(found))
    assert {result["meanwhile"] for result in found.values()} == {0}
    # the token's is one more
    assert poller.sandbox.ledger.summary()["calls"] - calls in {plan["calls"], plan["calls"] + 1}
    assert poller.pages("/items") == [1, 0, 1, 2, 1, 2], "the migration's, counted, and two pages now"
    books = poller.sandbox.organisation.books
    assert {e: (found[e]["zoho"], found[e]["mirror"]) for e in ("products", "invoices", "payments")} == {
        "products": (210, 210),
        "invoices": (8, 8),
        "payments": (5, 5),
    }
    assert found["customers"]["zoho"] + found["vendors"]["zoho"] == len(books["contacts"].records)
    for side in ("zoho", "mirror"):
        assert sum(group[f"{side}_count"] for group in found["invoices"]["groups"]) == 8
    total = sum(
        (
            json.loads(line)["document"]["total"]
            for line in poller.sandbox.organisation.truth_lines("invoices", "list")
        ),
    )
    assert sum(float(group["mirror_sum"]) for group in found["invoices"]["groups"]) == pytest.approx(total)
    assert {group["currency"] for group in found["payments"]["groups"]} <= {"USD", "IQD"}
    assert {"status", "currency", "month"} < found["invoices"]["groups"][0].keys()
    assert found["products"]["groups"][0]["status"] == "active"


# What is done to the mirror of one invoice each, and what must be found.
DAMAGE = {
    "delete from zoho.invoices where zoho_invoice_id = %s": ("missing", []),
    "update zoho.invoices set deleted_at = now() where zoho_invoice_id = %s": ("deleted", []),
    "update zoho.invoices set total_amount = total_amount + 0.01 where zoho_invoice_id = %s": (
        "differs",
        ["total"],
    ),
    "update zoho.invoices set balance = null where zoho_invoice_id = %s": ("differs", ["balance"]),
    "update zoho.invoices set status = 'lost' where zoho_invoice_id = %s": ("differs", ["status"]),
    """update zoho.invoices set zoho_modified_at = zoho_modified_at - interval '1 s'
        where zoho_invoice_id = %s""": ("differs", ["last_modified_time"]),
}


def test_damage_is_found_with_its_ids(poller: Poller, environment: dict[str, str]) -> None:
    ids = [record.id for record in poller.sandbox.organisation.books["invoices"].records]
    item = poller.sandbox.organisation.books["items"].records[0].id
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        for zoho_id, damage in zip(ids, DAMAGE, strict=False):
            assert connection.execute(damage.encode(), [zoho_id]).rowcount == 1
        connection.execute(
            """insert into zoho.products (organization_id, zoho_item_id, zoho_metadata, synced_at, sync_version,
                                          sync_observed_at, sync_rank)
               values (%s, '77', '{}', now() - interval '1 h', 1, now() - interval '1 h', 0)""",
            [poller.sandbox.organisation.organization_id],
        )
        connection.execute(
            "update zoho.products set is_active = not is_active where zoho_item_id = %s", [item]
        )
    code, found = verified(environment)
    assert code == 1
    assert differences(found["invoices"]) == dict(zip(ids, DAMAGE.values(), strict=False))
    assert [found["invoices"][name] for name in ("zoho", "mirror", "missing", "differing")] == [8, 6, 2, 4]
    lost = [group for group in found["invoices"]["groups"] if group["status"] == "lost"]
    assert [(group["zoho_count"], group["mirror_count"]) for group in lost] == [(0, 1)]
    assert differences(found["products"]) == {"77": ("extra", []), item: ("differs", ["status"])}
    assert found["products"]["extra"] == 1
    assert not [e for e in found if differences(found[e]) and e not in {"invoices", "products"}]
    assert verified(environment, "customers", "bills")[0] == 0

    shown = tds(environment, "verify", "invoices", "--yes")
    assert shown.exit_code == 1
    assert all(zoho_id in shown.stdout for zoho_id in ids[: len(DAMAGE)])
    assert "DIFFER" in shown.stdout
    assert "Next: tds explain invoices" in shown.stderr


def test_edits_that_were_not_pulled_are_found(poller: Poller, environment: dict[str, str]) -> None:
    organisation = poller.sandbox.organisation
    edited = organisation.edit("items", kind="rate", fire=False)
    created = organisation.create("items", fire=False)
    code, found = verified(environment, "products")
    assert code == 1
    [(what, fields), (new, _)] = (differences(found["products"])[change.id] for change in (edited, created))
    assert (what, new) == ("differs", "missing")
    assert set(fields) <= {"rate", "last_modified_time"}
    assert fields
    poller.pull("products")
    assert verified(environment, "products")[0] == 0

    # What Zoho changes after the verification has begun cannot be compared.
    poller.sandbox.clock.advance(5 * DAYS)
    later = organisation.edit("items", kind="rate", fire=False)
    code, found = verified(environment, "products")
    assert code == 0
    assert [(row["id"], row["meanwhile"]) for row in found["products"]["differences"]] == [(later.id, True)]
    assert found["products"]["meanwhile"] == 1


def test_events_that_wait_are_waited_for_and_told(poller: Poller, environment: dict[str, str]) -> None:
    record = poller.sandbox.organisation.books["items"].records[0]
    body = json.dumps({"item": {"item_id": record.id}})
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        receive = "select tds.receive('products', convert_to(%s, 'UTF8'), %s)"
        connection.execute(receive, [body, poller.sandbox.organisation.organization_id])
        done = tds(environment, "verify", "products", "bills", "--wait", "0.3", "--json")
        assert [result["waiting"] for result in json.loads(done.stdout)["entities"]] == [1, 0]
        assert "products: 1 events wait" in done.stderr

        worker = threading.Timer(0.3, connection.execute, ["call tds.process_batch()"])
        began = time.monotonic()
        worker.start()
        done = tds(environment, "verify", "products", "--wait", "60", "--json")
        worker.join()
        assert 0.3 < time.monotonic() - began < 30
        assert [result["waiting"] for result in json.loads(done.stdout)["entities"]] == [0]

        newer = json.dumps({"item": {"item_id": record.id, "name": record.id}})
        connection.execute(receive, [newer, poller.sandbox.organisation.organization_id])
        worker = threading.Timer(1.5, connection.execute, ["call tds.process_batch()"])
        began = time.monotonic()
        worker.start()
        one = ("products", "--depth", "details", "--id", record.id)
        done = tds(environment, "verify", *one, "--wait", "60", "--json")
        worker.join()
        assert 1.5 < time.monotonic() - began < 30, done.output


def test_what_cannot_be_read_and_what_comes_twice(poller: Poller, environment: dict[str, str]) -> None:
    done = tds(environment, "verify", "sheep")
    assert done.exit_code == 1
    assert "Unknown: sheep" in done.stderr
    organization = poller.sandbox.organisation.organization_id
    record = poller.sandbox.organisation.books["items"].records[0].id
    nameless = {"name": "Cable", "rate": 1}
    page = json.dumps([{"item_id": record, "rate": "dear", "last_modified_time": "soon"}, nameless, nameless])
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        with pytest.raises(psycopg.Error, match="no list of records"):
            connection.execute("select tds.listed('products', %b)", [b'{"code": 0}'])
        compare = "select tds.verify('products', %s, array[%s::jsonb, '[]'], now())"
        [(found,)] = connection.execute(compare, [organization, page])
        [(earlier,)] = connection.execute(
            compare.replace("now()", "now() - interval '1 h'"), [organization, page]
        )
    # What the mirror has read since the list was read may be newer than the list.
    assert (earlier["extra"], earlier["meanwhile"]) == (0, 210)
    unreadable = [(row["id"], row["fields"]) for row in found["differences"] if row["what"] == "unreadable"]
    assert [zoho_id for zoho_id, _ in unreadable] == [record, None, None]
    assert unreadable[0][1]["rate"] == {"problem": "not a number"}
    assert unreadable[1][1] == {"id": {"problem": "missing"}}
    assert (found["zoho"], found["extra"], found["differing"]) == (3, 209, 3)

    # A list that moves while it is read shows records twice: the later telling counts.
    lines = [json.loads(line) for line in poller.sandbox.organisation.truth_lines("invoices", "list")]
    old = [{**line["document"], "total": 1, "status": "draft"} for line in lines[:2]]
    pages = [json.dumps(old), json.dumps([line["document"] for line in lines])]
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        compare = "select tds.verify('invoices', %s, %s::jsonb[], now())"
        [(found,)] = connection.execute(compare, [organization, pages])
    assert (found["zoho"], found["mirror"], found["differences"]) == (8, 8, [])


def test_explain_and_runs(poller: Poller, environment: dict[str, str]) -> None:
    record = poller.sandbox.organisation.books["invoices"].records[0].id
    organization = poller.sandbox.organisation.organization_id
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        connection.execute("select tds.want_detail('invoices', %s, %s, 'by hand')", [organization, record])
        body = json.dumps({"invoice": {"invoice_id": record, "total": "dear"}})
        connection.execute("select tds.receive('invoices', convert_to(%s, 'UTF8'), %s)", [body, organization])
        connection.execute("call tds.process_batch()")
    told = json.loads(tds(environment, "explain", "invoices", record, "--json").stdout)
    first, *_, last = ((event["shape"], event["outcome"]) for event in told["events"])
    assert (first, last) == (("list", "applied"), ("webhook", "dead"))
    [now] = told["now"]
    assert (now["organization_id"], now["in_mirror"], now["deleted_at"]) == (organization, True, None)
    assert now["wanted_reason"] == "a hint that cannot be read", "the newest need is told"
    [letter] = now["dead_letters"]
    done = tds(environment, "explain", "invoices", record)
    assert done.exit_code == 0
    assert "run " in done.stdout
    assert "version " in done.stdout
    assert f"tds dead show {letter}" in done.stderr
    assert tds(environment, "dead", "replay", str(letter)).exit_code == 0
    told = json.loads(tds(environment, "explain", "invoices", record, "--json").stdout)
    assert told["events"][-1]["outcome"] == "pending"
    assert told["now"][0]["dead_letters"] is None
    assert tds(environment, "explain", "invoices", "12345").exit_code == 1
    done = tds(environment, "explain", "sheep", "1")
    assert done.exit_code == 1
    assert "unknown entity" in done.stderr

    runs = json.loads(tds(environment, "runs", "--json").stdout)
    assert [run["run"] for run in runs] == sorted((run["run"] for run in runs), reverse=True)
    [products] = json.loads(tds(environment, "runs", "--entity", "products", "--json").stdout)
    assert (products["state"], products["pages"], products["records"]) == ("complete", 2, 210)
    assert products["seconds"] >= 0
    assert json.loads(tds(environment, "runs", "--state", "failed", "--json").stdout) == []
    assert len(tds(environment, "runs", "--limit", "2").stdout.splitlines()) == 4


def test_a_list_that_cannot_be_read_keeps_no_other_from_being_compared(
    poller: Poller, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tds_poller.zoho.retry.PAUSES", (0, 0, 0))
    poller.sandbox.faults.set(error_500=1.0, only="^/bills$")
    done = tds(environment, "verify", "--wait", "0", "bills", "invoices", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["agree"]) == (4, True)
    assert [result["entity"] for result in told["entities"]] == ["invoices"]
    assert told["not_compared"].startswith("bills: GET /bills: HTTP 500")
    assert "Not compared: bills: GET /bills" in done.stderr
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        query = "select state, entities, error like 'bills: %' from tds_verifications order by 1"
        assert connection.execute(query).fetchall() == [("done", ["invoices"], True)]
        connection.execute(
            "delete from zoho.invoices where zoho_invoice_id = (select min(zoho_invoice_id) from zoho.invoices)"
        )
        assert tds(environment, "verify", "--wait", "0", "bills", "invoices").exit_code == 1
        alone = tds(environment, "verify", "--wait", "0", "bills")
        assert (alone.exit_code, "GET /bills: HTTP 500" in alone.stderr) == (1, True)
        failed = "select error like 'GET /bills: HTTP 500%' from tds_verifications where state = 'failed'"
        assert connection.execute(failed).fetchall() == [(True,)]


def test_a_record_that_cannot_be_read_keeps_no_other_from_being_compared(
    poller: Poller, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tds_poller.zoho.retry.PAUSES", (0, 0, 0))
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        [[first]] = connection.execute("select min(zoho_bill_id) from zoho.bills").fetchall()
    poller.sandbox.faults.set(error_500=1.0, only=f"^/bills/{first}$")
    done = tds(environment, "verify", "--depth", "details", "--wait", "0", "bills", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["agree"], told["checked"]) == (4, True, 3)
    assert f"bills: GET /bills/{first}: HTTP 500" in told["not_compared"]
