"""Whatever Zoho answers to a report: it is compared, or not checked with a reason; never an error, nor a false discrepancy."""

from __future__ import annotations

import json
from typing import Any

from tests.db.servers import Database

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
