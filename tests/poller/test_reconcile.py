"""The mirror's sums against Zoho's own reports: equal after a migration, and every cent that is not is named."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.rows import dict_row

from tds_cli.main import main
from tds_poller.mirror import Mirror
from tds_poller.poll import Poll, opened_queue, reconcile_all
from tds_poller.zoho.client import ZohoClient
from tds_sandbox.limits import UNLIMITED
from tds_sandbox.money import round_base
from tds_sandbox.organisation import Organisation
from tds_sandbox.reports import REPORTS, Window
from tests.db.servers import TestServer
from tests.poller.conftest import Poller, furnished

MONTH = dt.date(2025, 10, 1)
CENT = Decimal("0.01")
Rows = list[dict[str, Any]]


def organisation() -> Organisation:
    """Customers and vendors in several currencies."""
    return Organisation(
        items=60, contacts=40, invoices=120, bills=30, vendorcredits=8, vendorpayments=15, creditnotes=25,
        customerpayments=60, salesorders=2, pricebooks=2, lenient=True,
    )  # fmt: skip


@pytest.fixture
def books(test_server: TestServer) -> Iterator[Poller]:
    """After a migration."""
    with furnished(test_server, "books", organisation, limits=UNLIMITED) as poller:
        yield poller


def rows(poller: Poller, query: str, *parameters: object) -> Rows:
    with psycopg.connect(poller.database.conninfo, autocommit=True, row_factory=dict_row) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def do(poller: Poller, statement: str, *parameters: object) -> None:
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        assert connection.execute(statement.encode(), parameters).rowcount == 1


def reconciled(poller: Poller, as_of: dt.date | None = None) -> int:
    organization_id = poller.sandbox.organisation.organization_id
    query = "select tds.request_reconcile(%s, %s, %s, 'a command') as id"
    run_id: int = rows(poller, query, organization_id, MONTH, as_of)[0]["id"]

    poller.run(lambda client, mirror: reconcile_all(client, mirror, run_id))
    return run_id


def told(poller: Poller, run_id: int, state: str) -> Rows:
    query = "select * from tds.reconciliation where reconcile_id = %s and state = %s order by 1"
    return rows(poller, query, run_id, state)


def test_after_a_migration_all_is_equal(books: Poller) -> None:
    """And what an ERP asks for is right to the cent; one migration for all of it."""
    a_day_past_is_reckoned_back(books)
    the_reports_of_an_erp_are_right_to_the_cent(books)
    what_hangs_on_a_deleted_record_goes_and_comes_back_with_it(books)
    run_id = reconciled(books)
    assert told(books, run_id, "differs") == []
    assert told(books, run_id, "not checked") == []
    equal = told(books, run_id, "equal")
    assert {row["report"] for row in equal} >= {
        row["report"] for row in rows(books, "select report from tds.report")
    }


# in the mirror: a statement, the report and party that show it, the document that explains it
CENTS: dict[str, tuple[str, str, str]] = {
    "a balance": (
        """update zoho.invoices i set balance = balance + 0.01
            where zoho_invoice_id = (select zoho_invoice_id from zoho.invoices where currency = 'USD' and balance > 0
                                        and status in ('sent', 'overdue', 'viewed') order by 1 limit 1)
           returning zoho_customer_id as party, 'invoices' as entity, zoho_invoice_id as id""",
        "aragingsummary",
        "total",
    ),
    "a balance in another currency": (
        """update zoho.invoices i set balance = balance + 0.01
            where zoho_invoice_id = (select zoho_invoice_id from zoho.invoices where currency = 'IQD' and balance > 0
                                        and status not in ('draft', 'void') order by 1 limit 1)
           returning zoho_customer_id as party, 'invoices' as entity, zoho_invoice_id as id""",
        "contacts:customers",
        "outstanding_receivable",
    ),
    "a bill": (
        """update zoho.bills set balance = balance - 0.01
            where zoho_bill_id = (select zoho_bill_id from zoho.bills where payment_status in ('open', 'overdue') and currency = 'USD'
                                  order by 1 limit 1)
           returning zoho_vendor_id as party, 'bills' as entity, zoho_bill_id as id""",
        "vendorbalancesummary",
        "closing_balance",
    ),
    "a line": (
        """update zoho.invoice_line_items l set total_amount = total_amount + 0.01
            where (zoho_invoice_id, line_number) = (
                   select l.zoho_invoice_id, l.line_number from tds.sales_lines((select min(organization_id) from zoho.invoices),
                          '2025-10-01', '2025-10-31') s
                     join zoho.invoice_line_items l on l.zoho_invoice_id = s.zoho_id and l.zoho_item_id = s.item_id
                    where not exists (select from tds.sales_lines((select min(organization_id) from zoho.invoices), '2025-10-01',
                                                                  '2025-10-31') o where o.item_id = s.item_id and not o.is_exact)
                    order by 1, 2 limit 1)
           returning zoho_item_id as party, 'invoices' as entity, zoho_invoice_id as id""",
        "salesbyitem",
        "amount",
    ),
    "a total": (
        """update zoho.credit_notes set total_amount = total_amount + 0.01
            where zoho_creditnote_id = (select zoho_creditnote_id from zoho.credit_notes where currency = 'USD'
                                           and status not in ('draft', 'void') and credit_note_date between '2025-10-01' and '2025-10-31'
                                         order by 1 limit 1)
           returning zoho_customer_id as party, 'credit_notes' as entity, zoho_creditnote_id as id""",
        "salesbycustomer",
        "sales",
    ),
    "a payment": (
        """update zoho.customer_payments set amount = amount + 0.01
            where zoho_payment_id = (select zoho_payment_id from zoho.customer_payments
                                      where payment_date between '2025-10-01' and '2025-10-31' order by 1 limit 1)
           returning zoho_payment_id as party, 'payments' as entity, zoho_payment_id as id""",
        "customerpayments",
        "amount",
    ),
    "a unit of stock": (
        """update zoho.products set stock_quantity = stock_quantity + 1
            where zoho_item_id = (select zoho_item_id from zoho.products where stock_quantity > 0 order by 1 limit 1)
           returning zoho_item_id as party, 'products' as entity, zoho_item_id as id""",
        "inventorysummary",
        "quantity_available",
    ),
    "a void one": (
        """update zoho.invoices set status = 'sent'
            where zoho_invoice_id = (select zoho_invoice_id from zoho.invoices where status in ('draft', 'void') and balance > 0
                                        and invoice_date >= '2025-10-01' order by 1 desc limit 1)
           returning zoho_customer_id as party, 'invoices' as entity, zoho_invoice_id as id""",
        "aragingsummary",
        "total",
    ),
}


def test_every_planted_cent_is_found_and_its_document_named(books: Poller) -> None:
    planted = {}
    for name, (statement, _, _) in CENTS.items():
        [planted[name]] = rows(books, statement)
    # and what Zoho has and the mirror was never told of
    organisation = books.sandbox.organisation
    silent = next(
        i for i in organisation.books["invoices"].records
        if i.status in {"sent", "overdue", "viewed"} and i.id not in {p["id"] for p in planted.values()}
    )  # fmt: skip
    silent.balance += CENT
    organisation.refresh("invoices", silent)
    first = reconciled(books)
    found = rows(books, "select * from tds_discrepancies")
    shown = {(d["report"], d["measure"], d["party_id"]): d for d in found}
    expected = {name: (report, measure) for name, (_, report, measure) in CENTS.items()}
    planted["what Zoho alone has"] = {"party": silent.contact.id, "entity": "invoices", "id": silent.id}
    expected["what Zoho alone has"] = ("aragingsummary", "fcy_total")
    for name, place in expected.items():
        one = shown[(*place, planted[name]["party"])]
        assert one["party_name"], name
        named = {(d["entity"], d["id"]) for d in one["documents"] or ()}
        assert (planted[name]["entity"], planted[name]["id"]) in named, (name, one, planted[name])
        assert abs(one["difference"]) >= CENT or name.endswith("void one")
    known = {p["party"] for p in planted.values()} | {"invoices"}
    assert {d["party_id"] for d in found if d["report"] != "salesbyitem"} <= known
    assert told(books, first, "not checked") == []
    assert rows(books, "select entity, error from tds.reconcile_task where error is not null") == []
    assert [r["percent"] < 100 for r in rows(books, "select percent from tds_consistency")] == [True]

    # seen again: still the same, with what an accountant says
    one = found[0]
    do(books, "select tds.note_discrepancy(%s, 'known: a rounding of 2019')", one["discrepancy_id"])
    reconciled(books)
    [again] = [
        d
        for d in rows(books, "select * from tds_discrepancies")
        if d["discrepancy_id"] == one["discrepancy_id"]
    ]
    assert (again["times_seen"], again["first_seen"], again["note"]) == (
        2,
        one["first_seen"],
        "known: a rounding of 2019",
    )
    assert again["last_seen"] > one["last_seen"]


def what_is_mended_is_resolved(books: Poller) -> None:
    [planted] = rows(books, CENTS["a balance"][0])
    told = "select (tds.check_reconcile(tds.now())).value"
    reconciled(books)
    assert (
        rows(books, "select count(*) as value from tds_discrepancies where note is null")
        == rows(books, told)
        != [{"value": 0}]
    )
    do(books, "update zoho.invoices set balance = balance - 0.01 where zoho_invoice_id = %s", planted["id"])
    reconciled(books)
    assert rows(books, "select from tds_discrepancies") == []
    assert rows(books, told) == [{"value": 0}]
    assert rows(books, "select from tds.discrepancy where resolved_at is not null") != []


def poll_once(books: Poller) -> None:
    async def run(client: ZohoClient, mirror: Mirror) -> None:
        async with opened_queue(books.database.conninfo) as queue:
            await Poll(client, mirror, queue).once()

    books.run(run)


def test_an_edit_between_pull_and_report_is_no_discrepancy(books: Poller) -> None:
    organisation = books.sandbox.organisation
    open_ones = [
        i for i in organisation.books["invoices"].records
        if i.status in {"sent", "overdue", "viewed"} and i.date >= dt.date(2025, 10, 1)
    ]  # fmt: skip
    organisation.void(open_ones[0].id, fire=False)
    organisation.create("bills", fire=False)
    [planted] = rows(books, CENTS["a balance"][0])
    run_id = reconciled(books)
    # what was on its way has come, and is told; the cent is still there at the second look
    found = rows(books, "select * from tds_discrepancies")
    assert {d["party_id"] for d in found} == {planted["party"]}
    assert {(n["entity"], n["id"]) for d in found for n in d["documents"]} == {("invoices", planted["id"])}
    came = [row for row in told(books, run_id, "equal") if row["reason"]]
    assert {row["party_kind"] for row in came} >= {"entity", "vendor"}, came
    assert all("at the first look" in row["reason"] for row in came)
    assert {row["party_id"] for row in told(books, run_id, "differs")} == {planted["party"]}
    # what is known is not asked twice
    again = reconciled(books)
    assert rows(books, "select from tds.reconcile_task where reconcile_id = %s and look = 2", again) == []
    assert {d["times_seen"] for d in rows(books, "select times_seen from tds_discrepancies")} == {2}
    do(books, "update zoho.invoices set balance = balance - 0.01 where zoho_invoice_id = %s", planted["id"])
    a_second_look_waits_for_its_time(books)
    a_look_that_is_not_repeated_proves_nothing(books)


def a_second_look_waits_for_its_time(books: Poller) -> None:
    organisation = books.sandbox.organisation
    known = rows(books, "select discrepancy_id from tds_discrepancies order by 1")
    # not the one whose detail is wanted
    open_one = [i for i in organisation.books["invoices"].records if i.status in {"sent", "overdue"}][-1]
    organisation.void(open_one.id, fire=False)
    organization_id = organisation.organization_id
    do(books, "select tds.request_reconcile(%s, %s, null, 'the clock')", organization_id, MONTH)
    newest = "select * from tds.reconcile_run order by 1 desc limit 1"
    poll_once(books)
    [run] = rows(books, newest)
    assert run["finished_at"] is None
    assert run["again_at"] is not None
    assert run["pulls"] != []
    assert rows(books, "select discrepancy_id from tds_discrepancies order by 1") == known
    do(books, "update tds.reconcile_run set again_at = tds.now() where finished_at is null")
    poll_once(books)
    [run] = rows(books, newest)
    assert (run["finished_at"] is None, run["error"], run["differing"]) == (False, None, 0)
    assert rows(books, "select from tds_discrepancies") == []


def a_look_that_is_not_repeated_proves_nothing(books: Poller) -> None:
    traps = books.sandbox.sandbox.report_traps
    reports = len(rows(books, "select from tds.report"))
    done = 0

    def on_task() -> None:
        nonlocal done
        done += 1
        traps.set({"vendorpayments": "cent" if done < reports else "missing"})

    traps.set({"vendorpayments": "cent"})
    query = "select tds.request_reconcile(%s, %s, null, 'a command') as id"
    [asked] = rows(books, query, books.sandbox.organisation.organization_id, MONTH)
    books.run(lambda client, mirror: reconcile_all(client, mirror, asked["id"], on_task))
    unsaid = told(books, asked["id"], "not checked")
    assert {row["report"] for row in unsaid} == {"vendorpayments"}
    assert all("it differed, and could not be looked at once more: " in row["reason"] for row in unsaid)
    assert told(books, asked["id"], "differs") == []
    assert rows(books, "select from tds_discrepancies") == []


TRAPS: dict[str, tuple[str, str]] = {
    "aragingsummary": ("echo", "it answered for"),
    "apagingsummary": ("other_form", "it has no"),
    "customerbalancesummary": ("missing", "404"),
    "vendorbalancesummary": ("unauthorised", "401"),
    "salesbyitem": ("texts", "cannot be read"),
    "salesbycustomer": ("echo", "it answered for"),
    "purchasesbyitem": ("no_pages", "is page 1 again"),
    "customerpayments": ("other_form", "it has no"),
}


def test_a_report_that_fails_stops_nothing_and_is_not_checked(books: Poller) -> None:
    the_night_asks_and_the_poller_does_it(books)
    traps = {name: kind for name, (kind, _) in TRAPS.items()}
    books.sandbox.sandbox.report_traps.set(traps | {"vendorpayments": "cent"})
    run_id = reconciled(books)
    reasons = {row["report"]: row["reason"] for row in told(books, run_id, "not checked")}
    assert reasons.keys() == TRAPS.keys()
    for name, (_, reason) in TRAPS.items():
        assert reason in reasons[name], (name, reasons[name])
    assert {row["report"] for row in told(books, run_id, "differs")} == {"vendorpayments"}
    assert {row["report"] for row in told(books, run_id, "equal")} >= {
        "inventorysummary",
        "contacts:customers",
        "count:invoices",
    }

    # what could not be compared leaves what is known as it is, and a list that does not count says so
    books.sandbox.sandbox.report_traps.set({"vendorpayments": "missing"})
    books.sandbox.organisation.counts_every_list = False
    run_id = reconciled(books)
    assert [d["report"] for d in rows(books, "select report from tds_discrepancies")] != []
    assert {row["report"] for row in told(books, run_id, "not checked")} > {
        "vendorpayments",
        "count:products",
    }
    assert told(books, run_id, "differs") == []


def a_day_past_is_reckoned_back(books: Poller) -> None:
    run_id = reconciled(books, dt.date(2025, 9, 15))
    assert told(books, run_id, "differs") == []
    assert {row["report"] for row in told(books, run_id, "not checked")} == {"inventorysummary"}
    assert len([row for row in told(books, run_id, "equal") if row["report"] == "aragingsummary"]) > 5


def base(amount: Decimal, document: Any) -> Decimal:
    return round_base(amount * Decimal(document.exchange_rate))


def by(key: str, found: Rows, value: str) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in found:
        sums[row[key]] += row[value]
    return {party: amount for party, amount in sums.items() if amount}


def the_reports_of_an_erp_are_right_to_the_cent(books: Poller) -> None:
    organisation = books.sandbox.organisation
    records = {name: book.records for name, book in organisation.books.items()}
    living = {
        name: [r for r in records[name] if r.status not in {"draft", "void"}]
        for name in ("invoices", "creditnotes", "bills", "vendorcredits")
    }
    owed: dict[str, Decimal] = defaultdict(Decimal)
    owed_base: dict[str, Decimal] = defaultdict(Decimal)
    left_base: dict[str, Decimal] = defaultdict(Decimal)
    for one in living["invoices"]:
        owed[one.contact.id] += one.balance
        owed_base[one.contact.id] += base(one.balance, one)
    for one in living["creditnotes"]:
        left_base[one.contact.id] += base(one.balance, one)
    for one in records["customerpayments"]:
        left_base[one.contact.id] += base(one.unused, one)
    found = rows(books, "select * from tds_open_balances")
    assert {row["currency"] for row in found} >= {"USD", "IQD"}
    assert by("customer_id", found, "owed") == {k: v for k, v in owed.items() if v}
    assert by("customer_id", found, "owed_base") == {k: v for k, v in owed_base.items() if v}
    assert by("customer_id", found, "unused_credits_base") == {k: v for k, v in left_base.items() if v}
    ageing = rows(books, "select * from tds_receivables_ageing")
    assert by("customer_id", ageing, "total_base") == {k: v for k, v in owed_base.items() if v}
    assert sum(row["total_base"] for row in ageing) == sum(
        row[name] for row in ageing for name in row if name == "not_due" or name.startswith("days_")
    )
    today = organisation.calendar.day(organisation.now())
    late = {i.id: base(i.balance, i) for i in living["invoices"] if i.balance and i.due_date < today}
    overdue = rows(books, "select zoho_invoice_id as id, balance_base from tds_overdue_invoices")
    assert {row["id"]: row["balance_base"] for row in overdue} == late != {}

    payable: dict[str, Decimal] = defaultdict(Decimal)
    for one in living["bills"]:
        payable[one.contact.id] += base(one.balance, one)
    for one in [*living["vendorcredits"], *records["vendorpayments"]]:
        payable[one.contact.id] -= base(one.balance, one)
    found = rows(books, "select * from tds_open_payables")
    assert by("vendor_id", found, "balance_base") == {k: v for k, v in payable.items() if v}

    unused = {p.id: base(p.unused, p) for p in records["customerpayments"] if p.unused}
    unused |= {p.id: base(p.balance, p) for p in records["vendorpayments"] if p.balance}
    found = rows(books, "select zoho_payment_id as id, unused_base from tds_unallocated_payments")
    assert {row["id"]: row["unused_base"] for row in found} == unused != {}
    stock = {i.id: round_base(i.on_hand * i.cost) for i in records["items"] if i.tracked and i.on_hand}
    found = rows(books, "select zoho_item_id as id, value_base from tds_stock_value")
    assert {row["id"]: row["value_base"] for row in found} == stock != {}

    # what was traded in three months, as Zoho's reports of each say
    for month in (dt.date(2025, 8, 1), dt.date(2025, 9, 1), MONTH):
        window = Window(month, (month + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1))
        period = (organisation.organization_id, window.begins, window.ends)
        for name, function, key, party in (
            ("salesbyitem", "sales_by_item", "amount", "item_id"),
            ("purchasesbyitem", "purchases_by_item", "amount", "item_id"),
            ("salesbycustomer", "sales_by_customer", "sales", "customer_id"),
        ):
            truth = by(party, REPORTS[name].rows(organisation, window), key)
            sums = rows(books, f"select * from tds.{function}(%s, %s, %s)", *period)
            assert by(party, sums, "amount_base") == truth, (name, month)

    # a customer's own prices
    lists = rows(books, "select zoho_pricebook_id as id from zoho.pricelists where is_active order by 1")
    do(books, "update zoho.customers set zoho_pricebook_id = %s where zoho_contact_id = (select min(zoho_contact_id) from zoho.customers)",
       lists[0]["id"])  # fmt: skip
    found = rows(books, "select * from tds_customer_prices")
    assert len(found) == len([item for item in records["items"] if item.active])
    for row in found[:20]:
        [one] = rows(books, "select tds.price_of(%s, %s) as price", row["zoho_item_id"], lists[0]["id"])
        assert row["price"] == one["price"]


def what_hangs_on_a_deleted_record_goes_and_comes_back_with_it(books: Poller) -> None:
    children = {
        "invoices": ["invoice_line_items", "invoice_line_items_posted"],
        "customer_payments": ["customer_payment_invoices"],
        "credit_notes": ["credit_note_line_items", "credit_note_invoices"],
        "bills": ["bill_line_items"],
        "products": ["stock_levels"],
        "pricelists": ["product_prices"],
    }

    def counted(view: str) -> int:
        name = view if view.endswith("_posted") else f"{view}_current"
        count: int = rows(books, f"select count(*) as n from public.{name}")[0]["n"]
        return count

    for parent, views in children.items():
        before = {view: counted(view) for view in [parent, *views]}
        assert all(before.values()), before
        with psycopg.connect(books.database.conninfo, autocommit=True) as connection:
            connection.execute(f"update zoho.{parent} set deleted_at = now()".encode())
        assert {view: counted(view) for view in before} == dict.fromkeys(before, 0)
        with psycopg.connect(books.database.conninfo, autocommit=True) as connection:
            connection.execute(f"update zoho.{parent} set deleted_at = null".encode())
        assert {view: counted(view) for view in before} == before
    [sums] = rows(
        books,
        """select (select count(*) from invoices) as every, (select count(*) from invoices_current) as living,
                  (select count(*) from invoices_posted) as posted,
                  (select count(*) from invoices where status in ('draft', 'void')) as others""",
    )
    assert sums["every"] == sums["living"] == sums["posted"] + sums["others"] > sums["posted"]


def the_night_asks_and_the_poller_does_it(books: Poller) -> None:
    poll_once(books)
    assert rows(books, "select from tds.reconcile_run") == []
    do(books, "select tds.request_reconciles()")
    do(books, "select tds.request_reconciles()")
    poll_once(books)
    runs = rows(books, "select * from tds.reconcile_run order by 1")
    assert [run["error"] is None for run in runs] == [False, True], (
        "the one that nobody began is not done twice"
    )
    assert runs[1]["compared"] > 100
    assert [(n["report"], n["reason"]) for n in told(books, runs[1]["reconcile_id"], "not checked")] == []
    assert runs[1]["differing"] == 0
    assert runs[1]["calls"] == len(rows(books, "select from tds.report"))
    with psycopg.connect(books.database.conninfo, autocommit=True) as connection:
        connection.execute("update tds.setting set value = 'false' where name = 'reconcile_nightly'")
    do(books, "select tds.request_reconciles()")
    assert len(rows(books, "select from tds.reconcile_run")) == 2


def test_the_command(books: Poller, tmp_path: Path) -> None:
    what_is_mended_is_resolved(books)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TDS_", "ZOHO_"))}
    own = {
        "TDS_DATABASE_URL": books.database.conninfo,
        "TDS_DATA_DIR": str(tmp_path),
        "ZOHO_MINUTE_SECONDS": "0.1",
    }
    environment = {**kept, **own, **books.sandbox.environment}
    done = CliRunner().invoke(main, ["reconcile", "--dry-run", "--json"], env=environment)
    assert json.loads(done.stdout)["calls"] == len(rows(books, "select from tds.report"))
    books.sandbox.sandbox.report_traps.set({"vendorpayments": "unauthorised"})
    done = CliRunner().invoke(main, ["reconcile", "--month", "2025-10"], env=environment)
    assert (done.exit_code, "1 not checked" in done.stdout) == (4, True), done.output
    books.sandbox.sandbox.report_traps.set({})
    done = CliRunner().invoke(main, ["reconcile", "--month", "2025-10"], env=environment)
    assert done.exit_code == 0, done.output
    [planted] = rows(books, CENTS["a balance"][0])
    done = CliRunner().invoke(main, ["reconcile", "--month", "2025-10"], env=environment)
    assert done.exit_code == 1, done.output
    [number] = rows(
        books, "select invoice_number as n from zoho.invoices where zoho_invoice_id = %s", planted["id"]
    )
    assert number["n"] in done.stdout
    assert "tds.note_discrepancy" in done.stderr
    done = CliRunner().invoke(main, ["reconcile", "--month", "2025-10", "--json"], env=environment)
    told = json.loads(done.stdout)
    assert told["differing"] == len(told["discrepancies"]) > 0
    assert CliRunner().invoke(main, ["reconcile", "--month", "October"], env=environment).exit_code == 2
