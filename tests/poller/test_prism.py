"""Prism's mock of the official documents goes through the poller: every list, and the details it wants.

Opt-in: TDS_OPENAPI names a directory with the documents (items.yml, contacts.yml, …), TDS_PRISM the program
(`npm install @stoplight/prism-cli`).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import psycopg
import pytest
import uvicorn
from psycopg.rows import dict_row
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tds_poller.mirror import Mirror
from tds_poller.poll import Poll, read_queue
from tds_poller.zoho.client import ZohoClient
from tds_sandbox.serve import Running
from tests.db.servers import Database
from tests.journeys.programs import free_port
from tests.journeys.waiting import wait_until
from tests.poller.conftest import Poller

pytestmark = [
    pytest.mark.skipif(
        not {"TDS_OPENAPI", "TDS_PRISM"} <= os.environ.keys(),
        reason="TDS_OPENAPI names no documents, or TDS_PRISM no program",
    ),
    pytest.mark.parametrize("test_server", ["pg18"], indirect=True),
]
ORGANIZATION = "10234695"

# The document of each list, and the record whose detail it shows (its list may show another).
LISTS = {
    "currencies": "currency",
    "taxes": "taxes",
    "warehouses": "locations",
    "products": "items",
    "customers": "contacts",
    "vendors": "contacts",
    "invoices": "invoices",
    "bills": "bills",
    "credit_notes": "credit-notes",
    "vendor_credits": "vendor-credits",
    "payments": "customer-payments",
    "vendor_payments": "vendor-payments",
    "pricelists": "pricelists",
}
# Lists of which the documents show no page_context, or show it as null: live, each has one, and without it nobody knows
# where a list ends.
WITHOUT_END = {"/creditnotes", "/customerpayments", "/vendorpayments", "/vendorcredits", "/pricebooks"}
# What no record of Zoho's has: the examples' own slips, and what Prism makes up where a document has no example.
EXPLAINED = {
    ("bills", "vendor_credits[0].date"): "27 Dec 2016",
    ("vendor_credits", "line_items"): "one object where the description has an array as well",
    ("vendor_payments", "last_modified_time"): "made up: string",
    ("vendor_payments", "bills[0].tax_amount_withheld"): "made up: -1.8e308",
    ("pricelists", "pricebook_items[0].price_brackets[0].end_quantity"): "made up: -1.8e308",
}
# The documents have no GET of one price list, which works all the same.
WITHOUT_DETAIL = {"pricelists"}


class Front:
    """What stands before Prism: the accounts server, and what Prism does not know of Zoho's ways."""

    def __init__(self) -> None:
        self.mock = ""
        """Base URL of the Prism that is asked now."""
        self.answers: list[tuple[str, int]] = []

    async def token(self, _: Request) -> Response:
        return JSONResponse({"access_token": "t", "expires_in": 3600, "token_type": "Bearer"})

    async def books(self, request: Request) -> Response:
        path = "/" + request.path_params["path"]
        scheme, _, token = request.headers["authorization"].partition(" ")
        assert scheme == "Zoho-oauthtoken"
        # Prism knows the scheme of the OAuth 2 standard only.
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            answer = await http.get(
                self.mock + path,
                params=request.query_params,
                headers={"authorization": f"Bearer {token}", "connection": "close"},
            )
        self.answers.append((path, answer.status_code))
        document = answer.json()
        if path in WITHOUT_END and answer.status_code == 200:
            assert document.get("page_context") is None, f"{path} tells its end now: it need not be added"
            document["page_context"] = {"page": int(request.query_params["page"]), "has_more_page": False}
        return JSONResponse(document, answer.status_code)


@pytest.fixture
def front() -> Iterator[tuple[Front, str]]:
    made = Front()
    app = Starlette(
        routes=[
            Route("/oauth/v2/token", made.token, methods=["POST"]),
            Route("/books/v3/{path:path}", made.books),
        ]
    )
    listener = socket.create_server(("127.0.0.1", 0))
    web = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
    thread.start()
    while not web.started:
        time.sleep(0.002)
    try:
        yield made, f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        web.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def prism(document: Path) -> Iterator[str]:
    """Prism with that document; yields its base URL."""
    port = free_port()
    program = subprocess.Popen(
        [os.environ["TDS_PRISM"], "mock", "--port", str(port), str(document)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def listens() -> bool:
        assert program.poll() is None, f"{document} is not served"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, "Prism listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        program.kill()
        program.wait()


def pulled(poller: Poller, entity: str) -> dict[str, Any]:
    """Pulls an entity, its details too, and says how the run ended."""

    async def run(client: ZohoClient, mirror: Mirror) -> int:
        queue = await asyncio.to_thread(read_queue, poller.database.conninfo)
        run_id = await mirror.request_pull(entity, {})
        await Poll(client, mirror, queue, first=[run_id]).once()
        assert queue.pool is not None
        await asyncio.to_thread(queue.pool.close)
        return run_id

    run_id = poller.run(run)
    with psycopg.connect(poller.database.conninfo, row_factory=dict_row) as connection:
        row = connection.execute("select * from tds_sync_runs where run_id = %s", [run_id]).fetchone()
    assert row is not None
    return row


def test_what_the_documents_show_goes_through_the_poller(
    front: tuple[Front, str], database: Database
) -> None:
    made, url = front
    environment = {
        "ZOHO_ACCOUNTS_BASE": url,
        "ZOHO_API_BASE": url,
        "ZOHO_CLIENT_ID": "id",
        "ZOHO_CLIENT_SECRET": "secret",
        "ZOHO_REFRESH_TOKEN": "token",
        "ZOHO_ORGANIZATION_ID": ORGANIZATION,
    }
    poller = Poller(cast(Running, SimpleNamespace(environment=environment)), database)
    runs = {}
    for name in dict.fromkeys(LISTS.values()):
        with prism(Path(os.environ["TDS_OPENAPI"]) / f"{name}.yml") as made.mock:
            for entity in (entity for entity, document in LISTS.items() if document == name):
                runs[entity] = pulled(poller, entity)
    with psycopg.connect(database.conninfo, row_factory=dict_row) as connection:
        dead = connection.execute(
            "select entity, path, value, reason, zoho_id from tds_dead_letter_queue order by entity, path"
        ).fetchall()
    unexplained = [letter for letter in dead if (letter["entity"], letter["path"]) not in EXPLAINED]
    assert unexplained == [], json.dumps(unexplained, indent=1)
    for entity, run in runs.items():
        expected = "partial" if entity in WITHOUT_DETAIL else "complete"
        assert (run["state"], run["records"]) == (expected, 1), (entity, run)
        with psycopg.connect(database.conninfo) as connection:
            rows = connection.execute(
                "select count(*) from tds.inbox i join tds.inbox_outcome o using (inbox_id)"
                " where i.entity = %s and o.applied + o.unchanged > 0",
                [entity],
            ).fetchone()
        assert rows != (0,) or any(letter["entity"] == entity for letter in dead), entity
