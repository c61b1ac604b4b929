"""Sweeps: what is gone without a word goes with the next whole reading of its list, and nothing that lives does."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from random import Random
from typing import Any, cast

import psycopg
import pytest

from tds_poller.mirror import Mirror
from tds_poller.poll import Poll, read_queue
from tds_poller.pull import pull_pages
from tds_poller.zoho.client import ZohoClient
from tds_sandbox.clock import Clock
from tds_sandbox.errors import SandboxError
from tds_sandbox.organisation import Organisation
from tests.conftest import share
from tests.db.servers import Database
from tests.poller.conftest import Poller, fast_sandbox
from tests.poller.test_scans import FIELDS, ORGANIZATION, Attacker

DELETIONS = int(os.environ.get("TDS_SILENT_DELETIONS", "40"))
"""How many records over all entities go without a word; 200 with a larger organisation take a minute."""
HISTORIES = int(os.environ.get("TDS_SWEEP_HISTORIES", "12"))
"""How many lists are swept while they are attacked; 1,000 take some minutes."""

ENTITIES = {
    "items": ("products", "zoho_item_id"),
    "contacts": ("contacts", "zoho_contact_id"),
    "invoices": ("invoices", "zoho_invoice_id"),
    "bills": ("bills", "zoho_bill_id"),
    "vendorcredits": ("vendor_credits", "zoho_vendor_credit_id"),
    "vendorpayments": ("vendor_payments", "zoho_payment_id"),
    "creditnotes": ("credit_notes", "zoho_creditnote_id"),
    "customerpayments": ("customer_payments", "zoho_payment_id"),
    "salesorders": ("sales_orders", "zoho_salesorder_id"),
    "pricebooks": ("pricelists", "zoho_pricebook_id"),
}


@pytest.fixture
def poller(database: Database) -> Iterator[Poller]:
    """An organisation with enough of each for several pages, and enough that may go."""
    size = max(1, DELETIONS // 40)
    organisation = Organisation(
        items=250 * size, contacts=60 * size, invoices=40 * size, bills=25 * size, vendorcredits=12 * size,
        vendorpayments=12 * size, creditnotes=12 * size, customerpayments=20 * size, salesorders=12 * size,
        pricebooks=8 * size, clock=Clock(600), lenient=True,
    )  # fmt: skip
    with fast_sandbox(organisation) as sandbox:
        yield Poller(sandbox, database)


def night(poller: Poller, *, days: int = 1) -> list[dict[str, Any]]:
    """What the clock asks for in the night after so many days, done to its end; the runs."""
    with poller.database.connect(autocommit=True) as conn:
        conn.execute(
            """update tds.run set listed_at = listed_at - make_interval(days => %(days)s),
                      finished_at = finished_at - make_interval(days => %(days)s)""",
            {"days": days},
        )
        conn.execute("update tds.full_pull set finished_at = finished_at - make_interval(days => %s)", [days])
        (last,) = conn.execute("select coalesce(max(run_id), 0) from tds.run").fetchone() or (0,)
        conn.execute("select tds.request_scheduled(false)")
    drain(poller)
    with poller.database.connect() as conn:
        rows = conn.execute(
            """select jsonb_build_object('entity', entity, 'state', state, 'options', options, 'pages', pages,
                                         'calls', calls, 'error', error)
                 from tds.run where run_id > %s order by run_id""",
            [last],
        )
        return [row for (row,) in rows]


def drain(poller: Poller) -> None:
    """Polls until nothing is left to do."""

    async def run(client: ZohoClient, mirror: Mirror) -> None:
        queue = await asyncio.to_thread(read_queue, poller.database.conninfo)
        await Poll(client, mirror, queue).once()
        assert queue.pool is not None
        await asyncio.to_thread(queue.pool.close)

    poller.run(run)


def tombstones(poller: Poller) -> set[tuple[str, str]]:
    """What is marked as gone."""
    with poller.database.connect() as conn:
        return {
            (source, zoho_id)
            for source, (target, key) in ENTITIES.items()
            for (zoho_id,) in conn.execute(
                f"select {key} from zoho.{target} where deleted_at is not null".encode()
            )
        }


def settings(poller: Poller, **values: Any) -> None:
    """Changes settings."""
    with poller.database.connect(autocommit=True) as conn:
        for name, value in values.items():
            conn.execute(
                "update tds.setting set value = %s::jsonb where name = %s", [json.dumps(value), name]
            )


def delete_silently(organisation: Organisation, count: int, chance: Random) -> set[tuple[str, str]]:
    """Deletes records over all entities without a webhook, as an import or a function does; which are gone."""
    gone: set[tuple[str, str]] = set()
    names, turn = list(ENTITIES), 0
    while len(gone) < count and turn < count * 20:
        turn += 1
        name = names[turn % len(names)]
        free = [
            record.id
            for record in organisation.book(name).records
            if not organisation.book(name).entity.refuses_deletion(organisation, record)
        ]
        if not free:
            continue
        try:
            change = organisation.delete(name, chance.choice(free), fire=False)
        except SandboxError:
            continue
        if change.event == "delete":
            gone.add((name, change.id))
    assert len(gone) == count
    return gone


def test_what_went_silently_is_gone_after_one_sweep(poller: Poller) -> None:
    poller.migrate()
    every = {
        "sales_orders": 1, "invoices": 1, "credit_notes": 1, "vendor_credits": 1, "vendor_payments": 1,
    }  # fmt: skip
    # so many at once are the operator's own doing here
    settings(poller, sweep_days_of=every, deletions_per_hour=10_000, deletions_percent_per_hour=100)
    organisation = poller.sandbox.organisation
    gone = delete_silently(organisation, DELETIONS, Random(17))
    before = len(poller.sandbox.ledger.calls)
    runs = night(poller)
    spent = len(poller.sandbox.ledger.calls) - before
    living = {(name, record.id) for name in ENTITIES for record in organisation.book(name).records}
    assert tombstones(poller) & living == set()
    assert tombstones(poller) == gone
    assert {run["state"] for run in runs} == {"complete"}, runs
    assert {run["entity"] for run in runs} > {*every, "products", "customers", "vendors", "bills"}
    # a call for each page and each record that is gone, besides the stock and the price lists
    assert spent < 3 * DELETIONS + 60, spent


def test_a_quiet_list_waits_and_no_longer_than_it_may(database: Database) -> None:
    organisation = Organisation(items=5, contacts=5, invoices=230, clock=Clock(600), lenient=True)
    with fast_sandbox(organisation) as sandbox:
        poller = Poller(sandbox, database)
        poller.migrate()
        others = ["sales_orders", "credit_notes", "vendor_credits", "vendor_payments"]
        settings(poller, sweep_nightly_pages=0, sweep_waits=2, sweep_days_of=dict.fromkeys(others, 0))
        assert [week(poller) for _ in range(4)] == [(0, 1), (0, 1), (2, 3), (0, 1)], "twice it may be put off"
        with database.connect() as conn:
            errors = conn.execute(
                "select error from tds.run where options ? 'sweep' and entity = 'invoices' order by run_id"
            ).fetchall()
        told = "not read: Zoho counts 230 records, as many as are here, and nothing has moved"
        assert errors == [(told,), (told,), (None,), (told,)]
        gone = organisation.delete("invoices", fire=False).id
        assert week(poller)[0] == 2, "Zoho counts another number"
        assert tombstones(poller) == {("invoices", gone)}


def week(poller: Poller) -> tuple[int, int]:
    """A week in which nothing was written, but for what the pulls of changes brought; pages and calls."""
    with poller.database.connect(autocommit=True) as conn:
        conn.execute("update zoho.invoices set synced_at = synced_at - make_interval(days => 9)")
    poller.pull("invoices", incremental=True)
    [run] = [run for run in night(poller, days=7) if run["entity"] == "invoices"]
    assert run["state"] == "complete"
    return run["pages"], run["calls"]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("entity", FIELDS)
def test_no_sweep_under_attack_marks_the_living(database: Database, entity: str) -> None:
    asyncio.run(_attack(database, entity))


async def _attack(database: Database, entity: str) -> None:
    """Lists are read, change without a word, and are swept while they go on changing."""
    target, key = {
        "invoices": ("invoices", "zoho_invoice_id"),
        "payments": ("customer_payments", "zoho_payment_id"),
        "products": ("products", "zoho_item_id"),
    }[entity]
    found = 0
    async with Mirror(database.conninfo, ORGANIZATION) as mirror:
        endpoint = (await mirror.endpoints())[entity]
        with psycopg.connect(database.conninfo, autocommit=True) as conn:
            conn.execute("update tds.setting set value = '10000' where name = 'deletions_per_hour'")
            conn.execute("update tds.setting set value = '100' where name = 'deletions_percent_per_hour'")
            for number in share(range(HISTORIES), database.leg):
                chance = Random(f"sweep {entity} {number}")
                attacker = Attacker(chance, entity, number, counts=chance.random() < 0.8)
                conn.execute(f"truncate zoho.{target}, tds.wanted_detail, tds.held_deletion cascade".encode())
                for sweep in (False, True):
                    if sweep:
                        for _ in range(chance.randint(0, 6)):
                            attacker.change()
                    options = {"batch_size": 10, **({"sweep": True} if sweep else {})}
                    run_id = await mirror.request_pull(entity, options)
                    await mirror.begin_pull(run_id, 1)
                    before = await mirror.run(run_id)
                    run = await pull_pages(cast(ZohoClient, attacker), mirror, endpoint, before)
                    conn.execute("call tds.process_batch()")
                    # whoever is asked for is asked for while the list goes on changing
                    for _ in range(3):
                        for (zoho_id,) in conn.execute(
                            "select zoho_id from tds.wanted_detail order by zoho_id"
                        ).fetchall():
                            attacker.answer(conn, endpoint, zoho_id)
                        conn.execute("call tds.process_batch()")
                        conn.execute("update tds.wanted_detail set not_before = null, leased_until = null")
                    marked = {
                        zoho_id
                        for (zoho_id,) in conn.execute(
                            f"select {key} from zoho.{target} where deleted_at is not null".encode()
                        )
                    }
                    assert marked & attacker.living == set(), (number, sweep)
                    found += len(marked)
                    if sweep and run.state in {"complete", "settling"} and not attacker.unrest:
                        kept = {
                            zoho_id
                            for (zoho_id,) in conn.execute(
                                f"select {key} from zoho.{target} where deleted_at is null".encode()
                            )
                        }
                        assert kept <= attacker.living, (number, kept - attacker.living)
                    conn.execute(
                        "update tds.run set state = 'cancelled', finished_at = now() where finished_at is null"
                    )
                    conn.execute("select pgmq.purge_queue('tds_pull')")
    assert found
