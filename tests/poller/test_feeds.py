"""The activity log and the history of webhooks as feeds of hints: they ask, and nothing of them is believed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tds_cli.doctor import check_zoho
from tds_sandbox.clock import Clock
from tds_sandbox.organisation import Organisation
from tds_sandbox.webhooks import WebhookSettings
from tests.db.servers import TestServer
from tests.poller.conftest import Poller, furnished
from tests.poller.test_sweeps import drain, settings

LOG = "/reports/activitylogs"


def organisation() -> Organisation:
    """A small one whose day is ours."""
    return Organisation(items=4, contacts=4, invoices=5, clock=Clock(1), lenient=True)


@pytest.fixture
def poller(test_server: TestServer) -> Iterator[Poller]:
    """After a migration, with webhooks that reach nobody."""
    webhooks = WebhookSettings(url="http://127.0.0.1:9", retries=0)
    with furnished(test_server, "fed", organisation, webhooks=webhooks) as poller:
        settings(poller, second_look_seconds=0)
        yield poller


def doctor(poller: Poller) -> dict[str, str]:
    """What `tds doctor` says of Zoho."""

    async def run() -> dict[str, str]:
        found = check_zoho(poller.settings(), poller.database.conninfo)
        return {check.check: check.said async for check in found}

    return asyncio.run(run())


def read(poller: Poller) -> list[dict[str, Any]]:
    """Reads the feeds that are on, and does what they ask for; how they stand."""
    with poller.database.connect(autocommit=True) as conn:
        conn.execute("update tds.feed set tried_at = null")
    drain(poller)
    with poller.database.connect() as conn:
        return [row for (row,) in conn.execute("select to_jsonb(f) from tds_feeds f order by feed")]


def shown(poller: Poller, query: str, *values: Any) -> Any:
    """A value of the mirror's."""
    with poller.database.connect() as conn:
        row = conn.execute(query.encode(), values).fetchone()
    return row[0] if row else None


def test_what_the_log_names_is_asked_for(poller: Poller) -> None:
    organisation = poller.sandbox.organisation
    poller.sandbox.sandbox.oauth.lacking = frozenset({"reports.READ"})
    poller.sandbox.sandbox.oauth.revoke_tokens()
    assert "lacks ZohoBooks.reports.READ" in doctor(poller)["activity log"]
    assert read(poller)[0]["state"] == "off"
    assert poller.asked(LOG) == []
    poller.sandbox.sandbox.oauth.lacking = frozenset()
    poller.sandbox.sandbox.oauth.revoke_tokens()
    assert doctor(poller)["activity log"] == "read for hints by tds poll"

    edited = organisation.edit("invoices", kind="notes", fire=False)
    made = organisation.create("items", fire=False)
    gone = organisation.delete("invoices", fire=False)
    [log, _] = read(poller)
    assert (log["state"], log["error"]) == ("read", None)
    truth = organisation.document("invoices", edited.id) if edited.id != gone.id else None
    if truth:
        notes = "select zoho_metadata ->> 'notes' from zoho.invoices where zoho_invoice_id = %s"
        assert shown(poller, notes, edited.id) == truth["notes"]
    assert shown(poller, "select deleted_at is null from zoho.products where zoho_item_id = %s", made.id)
    query = "select deleted_at is not null from zoho.invoices where zoho_invoice_id = %s"
    assert shown(poller, query, gone.id), "two 404s prove it"

    # who did it is kept nowhere, and each row asks once
    assert shown(poller, "select count(*) from tds.feed_hint where feed_hint::text ~ 'Sandbox User'") == 0
    before = poller.sandbox.ledger.summary()["calls"]
    [again, _] = read(poller)
    assert again["rows_new"] == log["rows_new"]
    # a call a feed
    assert poller.sandbox.ledger.summary()["calls"] - before == 2


def test_a_log_that_lies_changes_nothing(poller: Poller) -> None:
    organisation = poller.sandbox.organisation
    settings(poller, activity_log="on", webhook_failures="off")
    living = {record.id for record in organisation.book("invoices").records}
    rows = [
        {
            "activity_id": str(number),
            "date": organisation.calendar.day(organisation.now()).isoformat(),
            "activity_details": {
                "transaction_id": zoho_id,
                "transaction_type": kind,
                "operation_type": "deleted",
            },
        }
        for number, (zoho_id, kind) in enumerate(
            [*((zoho_id, "Invoice") for zoho_id in sorted(living)), ("", "login"), ("1", "expense")]
        )
    ]
    with poller.database.connect(autocommit=True) as conn:
        conn.execute("select * from tds.take_feed(%s)", [organisation.organization_id])
        for key in ("activity_logs", "activities", "activitylogs"):
            body = json.dumps({key: rows}).encode()
            query = "select tds.note_feed_page(%s, 'activity_log', %b, current_date - 2, current_date + 1)"
            assert conn.execute(query, [organisation.organization_id, body]).fetchone() == (None,)
        # of another day than was asked for: it did not listen
        old = [{**rows[0], "activity_id": "77", "date": "2020-01-01"}]
        body = json.dumps({"activity_logs": old}).encode()
        assert conn.execute(query, [organisation.organization_id, body]).fetchone() == (None,)
        for body in (b"[]", b'{"report": {}}', b"<html>", b'{"activity_logs": [1, [], null, {}]}'):
            conn.execute(query, [organisation.organization_id, body])
        asked = conn.execute(
            "select tds.end_feed(%s, 'activity_log', now(), null)", [organisation.organization_id]
        )
        assert asked.fetchone() == (len(living),)
    drain(poller)
    assert shown(poller, "select count(*) from zoho.invoices where deleted_at is null") == len(living)
    assert shown(poller, "select count(*) from tds.wanted_detail") == 0


def test_a_log_that_answers_in_another_form_stops_nothing(poller: Poller) -> None:
    organisation = poller.sandbox.organisation
    settings(poller, activity_log="on", webhook_failures="off")
    organisation.activity_key = None
    edited = organisation.edit("invoices", kind="notes", fire=False)
    [log] = read(poller)
    assert (log["state"], log["error"]) == ("not checked", "the answer has no rows")
    poller.pull("invoices")
    notes = "select zoho_metadata ->> 'notes' from zoho.invoices where zoho_invoice_id = %s"
    assert shown(poller, notes, edited.id) == organisation.document("invoices", edited.id)["notes"]
    organisation.activity_key = "activities"
    [log] = read(poller)
    assert (log["state"], log["rows_new"] > 0) == ("read", True)


def test_webhooks_that_did_not_arrive_are_asked_for(poller: Poller) -> None:
    organisation = poller.sandbox.organisation
    settings(poller, activity_log="off", webhook_failures="on")
    edited = organisation.edit("invoices", kind="notes")
    assert poller.sandbox.sandbox.webhooks[organisation.organization_id].drain()
    [log] = read(poller)
    assert (log["state"], log["error"]) == ("read", None)
    notes = "select zoho_metadata ->> 'notes' from zoho.invoices where zoho_invoice_id = %s"
    assert shown(poller, notes, edited.id) == organisation.document("invoices", edited.id)["notes"]
