"""Whatever Zoho answers to a report: it is compared, or not checked with a reason; never an error, nor a false discrepancy."""

from __future__ import annotations

import json
from typing import Any

from tests.db.servers import Database
from tests.sql.conftest import MOMENT, Mirror
from tests.sql.conftest import ORGANIZATION as OWN

ORGANIZATION = """
insert into zoho.organizations (organization_id, zoho_organization_id, name, currency, zoho_metadata, synced_at, sync_version,
                                sync_observed_at, sync_rank)
values ('1', '1', 'Books', 'USD', '{}', now(), 1, now(), 3)"""


def test_an_answer_that_cannot_be_read_is_not_checked(database: Database) -> None:
    with database.connect(autocommit=True) as conn:

        def value(query: str, *parameters: object) -> Any:
            row = conn.execute(query.encode(), parameters).fetchone()
            assert row is not None
            return row[0]

        conn.execute(ORGANIZATION.encode())
        day = str(value("select tds.day_of('1', tds.now())"))
        context = {"page": 1, "has_more_page": False, "to_date": day}

        def body(amount: object, **other: object) -> bytes:
            row = {"customer_id": "5", "customer_name": "Noor", "closing_balance": amount} | other
            return json.dumps({"customerbalancesummary": [row], "page_context": context}).encode()

        spoilt = {
            "a page of HTML": b"<html>busy</html>",
            "200 with a code": b'{"code": 57, "message": "You are not authorized"}',
            "half a page": b'{"code":0,"customerbalancesummary":[{"customer_id":"5"',
            "thousands": body("1,234.50"),
            "no number": body("NaN"),
            "a number beyond all": body(0).replace(b": 0}", b": 1e400000}"),
            "rows of nothing": json.dumps(
                {"customerbalancesummary": ["x", 3, None], "page_context": context}
            ).encode(),
            "an object for a list": json.dumps(
                {"customerbalancesummary": {"a": 1}, "page_context": context}
            ).encode(),
            "another day": body(0).replace(day.encode(), b"2020-01-31"),
            "another page": body(0).replace(b'"page": 1', b'"page": 2'),
            "a page that is a word": body(0).replace(b'"page": 1', b'"page": "one"'),
            "an array": b"[]",
            "zeros": b"\x00",
            "no UTF-8": b"\xff\xfe",
        }
        # nothing on both sides, in whatever sign and currency
        sound = {
            "negative zero": body(-0.0),
            "an unknown currency": body(0, currency_id="9", currency_code="XYZ"),
        }
        for name, answer in {**spoilt, **sound}.items():
            run_id = value("select tds.request_reconcile('1', null, null, 'a command')")
            conn.execute("select from tds.next_reconcile('1', 1, %s)", [run_id])
            task = value(
                "select task from tds.reconcile_task where reconcile_id = %s and report = 'customerbalancesummary'",
                run_id,
            )
            conn.execute(
                "select tds.reconcile_told(%s, %s, array[%s]::bytea[], null, tds.now(), 1)",
                [run_id, task, answer],
            )
            told = conn.execute(
                "select state, reason <> '' from tds.reconciliation where reconcile_id = %s", [run_id]
            ).fetchall()
            assert told == ([("not checked", True)] if name in spoilt else []), name
        assert value("select count(*) from tds.discrepancy") == 0
        assert value("select count(*) from tds.reconciliation where state = 'differs'") == 0


def compared(mirror: Mirror, owes: int) -> list[Any]:
    """What is open after Zoho has said what its only customer owes: id, ours, Zoho's, currency, note; and what alarms."""
    run_id = mirror.value("select tds.request_reconcile(%s, null, null, 'a command')", OWN)
    mirror.conn.execute("select from tds.next_reconcile(%s, 1, %s)", [OWN, run_id])
    row = {"contact_id": "10", "contact_name": "Noor", "outstanding_receivable_amount": owes}
    page = {"contacts": [row], "page_context": {"page": 1, "has_more_page": False}}
    for look in (1, 2):
        mirror.conn.execute(
            """select tds.reconcile_told(t.reconcile_id, t.task, array[%s]::bytea[], null, tds.now(), 1) from tds.reconcile_task t
                where t.reconcile_id = %s and t.report = 'contacts:customers' and t.look = %s""",
            [json.dumps(page).encode(), run_id, look],
        )
        mirror.conn.execute(
            """select tds.reconcile_told(t.reconcile_id, t.task, null, 'not asked', tds.now(), 0) from tds.reconcile_task t
                where t.reconcile_id = %s and t.done_at is null and t.report <> 'contacts:customers'""",
            [run_id],
        )
    mirror.conn.execute("select tds.end_reconcile(%s, null)", [run_id])
    told = mirror.rows("select discrepancy_id, ours::int, zoho::int, currency, note from tds_discrepancies")
    return [
        *(tuple(row.values()) for row in told),
        int(mirror.value("select (tds.check_reconcile(tds.now())).value")),
    ]


def test_a_noted_difference_is_that_one_and_no_other(mirror: Mirror) -> None:
    """An opening balance, which no document carries: known once, whatever comes and is paid; but not what comes besides."""
    contact = {"contact_id": "10", "contact_name": "Noor", "contact_type": "customer", "currency_code": "EUR"}
    mirror.receive("customers", {"contact": contact | {"last_modified_time": MOMENT}}, shape="detail")
    mirror.process()
    [(known, *told), alarms] = compared(mirror, 500)
    assert (told, alarms) == ([None, 500, "EUR", None], 1)
    mirror.conn.execute("select tds.note_discrepancy(%s, 'opening balance')", [known])
    assert compared(mirror, 500) == [(known, None, 500, "EUR", "opening balance"), 0]

    invoice = {
        "invoice_id": "60",
        "customer_id": "10",
        "status": "sent",
        "balance": 100,
        "total": 100,
        "currency_code": "EUR",
    }
    mirror.receive(
        "invoices",
        {"invoice": invoice | {"date": "2026-06-09", "last_modified_time": MOMENT}},
        shape="detail",
    )
    mirror.process()
    mirror.conn.execute("select set_config('tds.fake_now', (tds.now() + interval '1 hour')::text, false)")
    assert compared(mirror, 600) == [(known, 100, 600, "EUR", "opening balance"), 0]
    assert compared(mirror, 650) == [(known, 100, 650, "EUR", "opening balance"), 1], "50 more than was noted"
    mirror.conn.execute("select tds.note_discrepancy(%s, 'and a journal')", [known])
    assert compared(mirror, 650) == [(known, 100, 650, "EUR", "and a journal"), 0]
    assert compared(mirror, 100) == [0], "equal"
    assert compared(mirror, 130) == [(known, 100, 130, "EUR", "and a journal"), 1], "another one, later"


def answered(mirror: Mirror, run_id: int, payments: list[dict[str, Any]]) -> None:
    """All of a reconciliation is asked; only customers' payments are answered, the same at each look."""
    while asked := mirror.rows("select * from tds.next_reconcile(%s, 1, %s)", OWN, run_id):
        [task] = asked
        month = {key: task["parameters"].get(key) for key in ("from_date", "to_date")}
        page = {"customerpayments": payments, "page_context": {"page": 1, "has_more_page": False} | month}
        told = [json.dumps(page).encode()] if task["report"] == "customerpayments" else None
        mirror.conn.execute(
            "select tds.reconcile_told(%s, %s, %b::bytea[], %s, tds.now(), 1)",
            [run_id, task["task"], told, None if told else "not asked"],
        )


def test_what_differed_in_a_month_past_is_compared_until_it_is_equal_or_noted(mirror: Mirror) -> None:
    """What is found in a month's last night is mended the day after, when the next month has its turn."""

    def night(day: str) -> list[str]:
        mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [f"{day} 04:25:00+00"])
        mirror.conn.execute("select tds.request_reconciles()")
        asked = mirror.rows(
            "select reconcile_id, month from tds.reconcile_run where finished_at is null order by 1"
        )
        for run in asked:
            answered(mirror, run["reconcile_id"], zoho if str(run["month"]) == "2026-05-01" else [])
        return [str(run["month"]) for run in asked]

    mirror.conn.execute("update tds.setting set value = '0' where name = 'reconcile_again_seconds'")
    mirror.conn.execute(
        "insert into tds.full_pull (organization_id, began_at, finished_at) values (%s, '2026-01-01', '2026-01-02')",
        [OWN],
    )
    zoho = [{"payment_id": "90", "payment_number": "1", "amount": 5, "unused_amount": 0, "bcy_amount": 5}]
    assert night("2026-06-30") == ["2026-05-01"]
    found = "select period, measure, difference::int from tds_discrepancies order by measure"
    differs = [("2026-05", "amount", -5), ("2026-05", "bcy_amount", -5)]
    assert [tuple(row.values()) for row in mirror.rows(found)] == differs
    assert night("2026-07-01") == ["2026-05-01", "2026-06-01"]
    assert [tuple(row.values()) for row in mirror.rows(found)] == differs
    asked = mirror.rows(
        "select report from tds.reconcile_task t join tds.reconcile_run r using (reconcile_id) where r.month = '2026-05-01' "
        "and r.requested_at >= '2026-07-01' and t.report is not null and t.look = 1"
    )
    assert asked == [{"report": "customerpayments"}], "nothing else is asked for again"
    payment = {
        "payment_id": "90",
        "payment_number": "1",
        "amount": 5,
        "unused_amount": 0,
        "exchange_rate": 1,
        "date": "2026-05-20",
    }
    mirror.receive(
        "payments", {"payment": payment | {"invoices": [], "last_modified_time": MOMENT}}, shape="detail"
    )
    mirror.process()
    assert night("2026-07-02") == ["2026-05-01", "2026-06-01"]
    assert mirror.rows(found) == []
    assert night("2026-07-03") == ["2026-06-01"]
    zoho[0]["amount"] = 6
    run_id = mirror.value("select tds.request_reconcile(%s, '2026-05-01', null, 'a command')", OWN)
    answered(mirror, run_id, zoho)
    mirror.conn.execute("select tds.note_discrepancy(d.discrepancy_id, 'known') from tds_discrepancies d")
    assert night("2026-07-04") == ["2026-06-01"], "what is noted is known"


def test_the_stock_of_a_day_past_is_not_compared(mirror: Mirror) -> None:
    """Zoho tells it, and the mirror has the stock of now: a difference would say nothing, and nobody would look again."""
    mirror.conn.execute("select set_config('tds.fake_now', '2026-11-30 12:00:00+00', false)")
    told = {"item_id": "500", "name": "Cable", "status": "active", "stock_on_hand": 5, "brand": ""}
    mirror.receive("products", {"item": told | {"last_modified_time": MOMENT}}, shape="detail")
    mirror.process()

    def stock(day: str, quantity: int, answered_at: str = "12:00") -> list[tuple[Any, ...]]:
        mirror.conn.execute(f"select set_config('tds.fake_now', '2026-11-30 {answered_at}:00+00', false)")
        run_id = mirror.value("select tds.request_reconcile(%s, null, %s, 'a command')", OWN, day)
        row = {"item_id": "500", "item_name": "Cable", "quantity_available": quantity}
        page = {
            "inventory": [{"item_details": [row]}],
            "page_context": {"page": 1, "has_more_page": False, "to_date": day},
        }
        while asked := mirror.rows("select * from tds.next_reconcile(%s, 1, %s)", OWN, run_id):
            [task] = asked
            answer = [json.dumps(page).encode()] if task["report"] == "inventorysummary" else None
            mirror.conn.execute(
                "select tds.reconcile_told(%s, %s, %b::bytea[], %s, tds.now() + interval '1 s', 1)",
                [run_id, task["task"], answer, None if answer else "not asked"],
            )
        query = """select state, ours::int, zoho::int, reason from tds.reconciliation
                    where reconcile_id = %s and report = 'inventorysummary'"""
        return [tuple(found.values()) for found in mirror.rows(query, run_id)]

    unknown = [("not checked", None, None, "the stock of a day past is not known")]
    assert stock("2026-10-31", 3) == unknown
    assert stock("2026-11-29", 5) == unknown
    assert mirror.value("select count(*) from tds.discrepancy") == 0
    assert stock("2026-11-29", 5, "00:30") == [("equal", 5, 5, None)], "midnight came in between"
    assert stock("2026-11-30", 5) == [("equal", 5, 5, None)]
    assert stock("2026-11-30", 3) == [("differs", 5, 3, None)]
    assert mirror.value("select count(*) from tds.discrepancy") == 1


def test_what_differed_on_a_day_past_is_compared_until_it_is_equal_or_noted(mirror: Mirror) -> None:
    """Somebody asked for that day once: no night's own comparison is of it, and what is mended would alarm for ever."""
    owed = 21

    def compare(run_id: int) -> list[str]:
        reports = []
        while asked := mirror.rows("select * from tds.next_reconcile(%s, 1, %s)", OWN, run_id):
            [task] = asked
            reports += [task["report"]] if task["report"] else []
            row = {"customer_id": "10", "customer_name": "Noor", "closing_balance": owed}
            day = task["parameters"].get("to_date")
            page = {
                "customerbalancesummary": [row],
                "page_context": {"page": 1, "has_more_page": False, "to_date": day},
            }
            told = [json.dumps(page).encode()] if task["report"] == "customerbalancesummary" else None
            mirror.conn.execute(
                "select tds.reconcile_told(%s, %s, %b::bytea[], %s, tds.now(), 1)",
                [run_id, task["task"], told, None if told else "not asked"],
            )
        return reports

    def night(day: str) -> list[tuple[str, list[str]]]:
        nonlocal owed
        mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [f"{day} 04:25:00+00"])
        mirror.conn.execute("select tds.request_reconciles()")
        query = "select reconcile_id, as_of, requested_by from tds.reconcile_run where finished_at is null order by 1"
        runs = []
        for run in mirror.rows(query):
            asked = compare(run["reconcile_id"]) if run["requested_by"] == "the clock, again" else []
            runs.append((str(run["as_of"]), asked))
            mirror.conn.execute("select tds.end_reconcile(%s, null)", [run["reconcile_id"]])
        return runs

    mirror.conn.execute("update tds.setting set value = '0' where name = 'reconcile_again_seconds'")
    mirror.conn.execute(
        "insert into tds.full_pull (organization_id, began_at, finished_at) values (%s, '2026-01-01', '2026-01-02')",
        [OWN],
    )
    mirror.conn.execute("select set_config('tds.fake_now', '2026-07-01 12:00:00+00', false)")
    compare(mirror.value("select tds.request_reconcile(%s, null, '2026-06-15', 'a command')", OWN))
    found = "select period, difference::int from tds_discrepancies"
    assert [tuple(row.values()) for row in mirror.rows(found)] == [("2026-06-15", -21)]
    only = "customerbalancesummary"
    assert night("2026-07-02") == [("2026-06-15", [only]), ("2026-07-02", [])], (
        "nothing else is asked for again"
    )
    assert [tuple(row.values()) for row in mirror.rows(found)] == [("2026-06-15", -21)]
    invoice = {"invoice_id": "60", "customer_id": "10", "status": "sent", "balance": 21, "exchange_rate": 1}
    invoice |= {"date": "2026-06-09", "last_modified_time": MOMENT}
    mirror.receive("invoices", {"invoice": invoice}, shape="detail")
    mirror.process()
    assert night("2026-07-03") == [("2026-06-15", [only]), ("2026-07-03", [])]
    assert mirror.rows(found) == []
    assert night("2026-07-04") == [("2026-07-04", [])]
    owed = 30
    compare(mirror.value("select tds.request_reconcile(%s, null, '2026-06-15', 'a command')", OWN))
    mirror.conn.execute("select tds.note_discrepancy(d.discrepancy_id, 'known') from tds_discrepancies d")
    assert night("2026-07-05") == [("2026-07-05", [])], "what is noted is known"


def test_what_an_edition_refuses_of_a_list_is_not_asked_of_its_count(mirror: Mirror) -> None:
    """A pull has learned that; the count with the same parameter was refused each night, and nothing of the list was compared."""
    refused = [
        ("/items", "sort_order", "A"), ("/items", "sort_column", "created_time"), ("/pricebooks", "filter_by", "Status.All"),
        ("/contacts", "filter_by", "Status.All"), ("/invoices", "sort_column", "created_time"),
    ]  # fmt: skip
    for path, parameter, value in refused:
        mirror.conn.execute(
            "insert into tds.refused_parameter (organization_id, api_path, parameter, value, message, refused_at) "
            "values (%s, %s, %s, %s, 'Invalid value', tds.now())",
            [OWN, path, parameter, value],
        )
    run_id = mirror.value("select tds.request_reconcile(%s, null, null, 'a command')", OWN)
    mirror.conn.execute("select from tds.next_reconcile(%s, 1, %s)", [OWN, run_id])
    tasks = mirror.rows("select report, parameters from tds.reconcile_task where reconcile_id = %s", run_id)
    keys = {
        task["report"]: {
            key: value
            for key, value in task["parameters"].items()
            if key in ("filter_by", "sort_column", "sort_order")
        }
        for task in tasks
    }
    assert keys["count:products"] == {"filter_by": "Status.All"}
    assert keys["count:pricelists"] == {}
    assert keys["count:customers"]["filter_by"] == "Status.All", "without it the list is not of all"
    assert keys["count:invoices:draft"] == {"filter_by": "Status.Draft"}
    assert keys["count:bills"] == {"sort_column": "created_time", "sort_order": "A"}

    # so are the lists that explain what differs
    [contacts] = [r for r in mirror.rows("select * from tds.reconcile_task where reconcile_id = %s", run_id)
                  if r["report"] == "contacts:customers"]  # fmt: skip
    row = {"contact_id": "10", "contact_name": "Noor", "outstanding_receivable_amount": 5}
    page = {"contacts": [row], "page_context": {"page": 1, "has_more_page": False}}
    while asked := mirror.rows("select * from tds.next_reconcile(%s, 1, %s)", OWN, run_id):
        [task] = asked
        told = [json.dumps(page).encode()] if task["report"] == contacts["report"] else None
        mirror.conn.execute(
            "select tds.reconcile_told(%s, %s, %b::bytea[], %s, tds.now(), 1)",
            [run_id, task["task"], told, None if told else "not asked"],
        )
        if task["path"] == "/invoices" and "customer_id" in task["parameters"]:
            assert task["parameters"] == {"filter_by": "Status.All", "customer_id": "10"}
            break
    else:
        raise AssertionError("the customer's invoices are not read")
