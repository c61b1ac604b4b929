"""The dashboard: for whoever has a key, what the database says, and nothing that could be run."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.db.servers import Database
from tests.receiver.conftest import Receive

KEY = "a-secret-of-the-environment"


@pytest.fixture
def client(receiver: Receive, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    monkeypatch.setenv("TDS_API_KEY", KEY)
    return receiver()


def test_the_dashboard_shows_how_all_stands(client: httpx.Client, database: Database) -> None:
    evil = {"item": {"item_id": "1", "name": "Cable", "rate": "<script>alert(1)</script>"}}
    with database.connect(autocommit=True) as conn:
        conn.execute("select tds.receive('products', %s, '77')", [json.dumps(evil).encode()])
        conn.execute("call tds.process_batch()")
        conn.execute("select tds.receive('customers', '{}', '77')")
        run = conn.execute("select tds.request_pull('invoices', '{}', '77')").fetchone()
        conn.execute("update tds.run set error = '<b>no</b>'")
    assert run is not None
    page = client.get("/dashboard", auth=httpx.BasicAuth("anybody", KEY))
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for shown in (
        "dead_letter",
        "Dead letters",
        "not a number",
        "invoices",
        "queued",
        "request_changes",
        "Processes",
    ):
        assert shown in page.text
    assert "&lt;b&gt;no&lt;/b&gt;" in page.text
    assert "<b>" not in page.text
    assert "alert(1)" not in page.text, "no value of a record's"
    assert client.get("/dashboard", headers={"x-api-key": KEY}).status_code == 200


def test_the_dashboard_needs_a_key(client: httpx.Client) -> None:
    for refused in (
        client.get("/dashboard"),
        client.get("/dashboard", auth=httpx.BasicAuth("anybody", "wrong")),
        client.get("/dashboard", headers={"authorization": "Basic &&&"}),
    ):
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
    pulls = client.get("/api/zoho/bulk-sync/runs")
    assert (pulls.status_code, pulls.headers["www-authenticate"]) == (401, "Bearer")
