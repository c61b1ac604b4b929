"""Webhooks over HTTP into a real database."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from tds_receiver.body import RefusedError, gunzip
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import running
from tds_sandbox.webhooks import FORMS, WebhookSettings
from tests.db.servers import Database, TestServer
from tests.journeys.waiting import PATIENCE, wait_until
from tests.receiver.conftest import Receive, is_ready, receivers

ITEM = {
    "item": {
        "item_id": "4030413020000029001",
        "name": "Toner",
        "last_modified_time": "2026-01-02T03:04:05-0400",
    }
}
SECRET = "a1b2c3d4e5f6a7b8"
PRODUCTS = "/api/zoho/webhooks/products"


def events(database: Database) -> list[dict[str, Any]]:
    """What is in the inbox, oldest first."""
    query = "select *, coalesce(convert_to(body, 'UTF8'), body_raw) as bytes from tds.inbox order by inbox_id"
    with psycopg.connect(database.conninfo, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


def test_an_event_is_committed_before_it_is_acknowledged(receiver: Receive, database: Database) -> None:
    body = b' {"item": {"item_id": "4030413020000029001", "rate": 1.50}} '
    headers = {
        b"Content-Type": b"application/json; charset=utf-8",
        b"X-Request-Id": b"r-1\x85",
        b"Authorization": b"Bearer secret",
        b"Cookie": b"session=secret",
        b"X-Zoho-Webhook-Signature": b"secret",
        b"User-Agent": b"ZohoBooks",
    }
    answer = receiver().post(PRODUCTS, content=body, headers=headers)
    [event] = events(database)
    assert answer.status_code == 202
    assert answer.json() == {"status": "queued", "inbox_id": event["inbox_id"]}
    assert answer.headers["x-request-id"] == "r-1"
    assert event["bytes"] == body
    assert event["headers"] == {
        "content-type": "application/json; charset=utf-8",
        "user-agent": "ZohoBooks",
        "x-request-id": "r-1",
    }
    assert (event["entity"], event["source"], event["shape"], event["event"]) == (
        "products",
        "webhook",
        "webhook",
        "upsert",
    )
    assert event["organization_id"] == "748139205"


@pytest.mark.parametrize("prefix", ["/api/zoho/webhooks", "/api/tds/webhooks"])
def test_every_path_that_zoho_may_know(receiver: Receive, database: Database, prefix: str) -> None:
    names = "products customers vendors invoices bills credit-notes vendor-credits sales-orders payments vendor-payments"
    known = {name: name.replace("-", "_") for name in names.split()}
    # What comes under these is told by its keys, and by none of them here.
    later = {"stock": "stock", "prices": "prices", "expenses": "expenses"}
    client = receiver()
    for path, entity in {**known, **later}.items():
        for end in ("", "/"):
            answer = client.post(f"{prefix}/{path}{end}", content=json.dumps({"id": path + end}))
            assert answer.status_code == 202
            # What the registry does not know yet is stored all the same.
            assert answer.json()["status"] == ("queued" if path in known else "rejected")
            assert events(database)[-1]["entity"] == entity
    for path in ("UPPER", "a", "x" * 50, "a.b", "a/b"):
        assert client.post(f"{prefix}/{path}", content="{}").status_code == 404


def test_the_same_bytes_again_are_a_duplicate_and_other_bytes_are_not(
    receiver: Receive, database: Database
) -> None:
    client = receiver()
    first = client.post(PRODUCTS, json=ITEM).json()
    assert client.post(PRODUCTS, json=ITEM).json() == {"status": "duplicate", "inbox_id": first["inbox_id"]}
    other = {"item": {**ITEM["item"], "name": "Drum"}}
    assert client.post(PRODUCTS, json=other).json()["status"] == "queued"
    # A → B → A: the first bytes again are news once others came between.
    assert client.post(PRODUCTS, json=ITEM).json()["status"] == "queued"
    assert len(events(database)) == 3


def test_deletions(receiver: Receive, database: Database) -> None:
    client = receiver()
    client.put(PRODUCTS, json=ITEM)
    client.request("DELETE", PRODUCTS, json=ITEM)
    client.post(PRODUCTS, params={"event": "delete"}, json={**ITEM, "again": 1})
    client.post(PRODUCTS, params={"event": "edit"}, json={**ITEM, "again": 2})
    assert [event["event"] for event in events(database)] == ["upsert", "delete", "delete", "upsert"]


HOSTILE = {
    "nothing": b"",
    "not JSON": b"hello",
    "half": b'{"item": {"item_id": "4',
    "null character": b'{"item": {"item_id": "1", "name": "a\\u0000b"}}',
    "zero byte": b'{"item": {"item_id": "1"}}\x00',
    "not UTF-8": b'{"item": {"item_id": "1", "name": "\xff\xfe"}}',
    "lone surrogate": b'{"item": {"item_id": "1", "name": "\\ud800"}}',
    "numeric id": b'{"item": {"item_id": 4030413020000029001}}',
    "array": b"[]",
    "scalar": b"1",
    "deep": b"[" * 5000 + b"]" * 5000,
    "form": b"JSONString=%7B%22item%22%3A%7B%22item_id%22%3A%221%22%7D%7D",
    "pairs": b"item_id=1&name=%D8%B2",
    "broken form": b"JSONString=%7B",
    "ten megabytes": b'{"item": {"item_id": "2", "name": "' + b"x" * 10_000_000 + b'"}}',
}


def test_no_body_is_lost_or_an_error(receiver: Receive, database: Database) -> None:
    client = receiver()
    for name, body in HOSTILE.items():
        kind = "application/x-www-form-urlencoded" if b"=" in body[:20] else "application/json"
        answer = client.post(PRODUCTS, content=body, headers={"Content-Type": kind})
        assert answer.status_code == 202, name
        assert answer.json()["status"] in {"queued", "rejected"}, name
        assert events(database)[-1]["bytes"] == body, name


def test_limits_of_a_body(receiver: Receive, database: Database) -> None:
    client = receiver(max_body_bytes=1000)
    squeezed = {"Content-Encoding": "gzip"}

    def chunks(size: int) -> Iterator[bytes]:
        yield from [b"x" * 100] * (size // 100)

    body = json.dumps(ITEM).encode()
    assert client.post(PRODUCTS, content=gzip.compress(body), headers=squeezed).status_code == 202
    assert events(database)[-1]["bytes"] == body
    two = gzip.compress(b'{"item"') + gzip.compress(b': {"item_id": "2"}}')
    assert client.post(PRODUCTS, content=two, headers=squeezed).status_code == 202
    assert client.post(PRODUCTS, content=chunks(1000)).status_code == 202
    assert client.post(PRODUCTS, content=chunks(1100)).status_code == 413
    assert client.post(PRODUCTS, content=b"x" * 1001).status_code == 413
    bomb = gzip.compress(b"x" * 100_000)
    assert len(bomb) < 1000
    refused = client.post(PRODUCTS, content=bomb, headers=squeezed)
    assert refused.status_code == 413
    assert refused.json() == {"status": "refused", "reason": "the body is larger than 1000 bytes"}
    assert client.post(PRODUCTS, content=gzip.compress(body)[:-9], headers=squeezed).status_code == 400
    assert client.post(PRODUCTS, content=body, headers=squeezed).status_code == 400
    assert client.post(PRODUCTS, content=body, headers={"Content-Encoding": "br"}).status_code == 415
    assert len(events(database)) == 3


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"x" * 50_000_000)
    tracemalloc.start()
    with pytest.raises(RefusedError, match="larger than 1000 bytes"):
        gunzip(bomb, 1000)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_slow_sender_is_not_waited_for(receiver: Receive) -> None:
    def slowly() -> Iterator[bytes]:
        yield b"{"
        time.sleep(0.5)
        yield b"}"

    assert receiver(body_seconds=0.2).post(PRODUCTS, content=slowly()).status_code == 408


@pytest.fixture(scope="module")
def two_secrets(test_server: TestServer) -> Iterator[httpx.Client]:
    """A client of a receiver that knows two secrets, for all forms."""
    with test_server.database() as database, receivers(database) as receiver:
        yield receiver(webhook_secret=f"another1another1,{SECRET}")


@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("form", FORMS)
def test_what_the_sandbox_signs_is_taken(two_secrets: httpx.Client, form: str, encoding: str) -> None:
    organisation = Organisation(items=20, contacts=3, invoices=1)
    settings = WebhookSettings(
        url=str(two_secrets.base_url),
        secret=SECRET,
        form=form,
        encoding=encoding,
        query={"organization_id": "748139205"},
        retries=0,
    )
    with running(organisation, webhooks=settings) as sandbox:
        for entity in ("items", "contacts", "invoices"):
            organisation.edit(entity)
        organisation.delete("items")
        assert sandbox.webhooks.drain()
        assert [delivery.state for delivery in sandbox.webhooks.deliveries] == ["delivered"] * 4


def test_what_is_not_signed_is_refused_without_a_word(receiver: Receive, database: Database) -> None:
    client = receiver(webhook_secret=SECRET)
    answers = [
        client.post(PRODUCTS, json=ITEM),
        client.post(PRODUCTS, json=ITEM, headers={"X-Zoho-Webhook-Signature": "00" * 32}),
        client.post(PRODUCTS, data={"a": "b"}, headers={"X-Zoho-Webhook-Signature": "00" * 32}),
        client.post(PRODUCTS, files={"a": b"b"}, headers={"X-Zoho-Webhook-Signature": "00" * 32}),
        client.post(
            PRODUCTS,
            content=b"--",
            headers={"Content-Type": "multipart/form-data", "X-Zoho-Webhook-Signature": "x"},
        ),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()) == (401, {"status": "refused", "reason": "Unauthorized"})
    assert events(database) == []


def test_multipart_pairs_are_signed_like_those_of_a_form(receiver: Receive, database: Database) -> None:
    client = receiver(webhook_secret=SECRET)
    signature = hmac.new(SECRET.encode(), "idزb9name1".encode(), hashlib.sha256).hexdigest()
    headers = {"X-Zoho-Webhook-Signature": signature}
    parts = {"name": (None, "1"), "idزb": (None, "9")}
    assert client.post(PRODUCTS, files=parts, headers=headers).status_code == 202
    assert events(database)[0]["headers"]["content-type"].startswith("multipart/form-data; boundary=")


def test_a_browser_is_told_what_the_url_is_for(receiver: Receive) -> None:
    client = receiver(webhook_secret=SECRET)
    for end in ("", "/"):
        answer = client.get(PRODUCTS + end)
        assert answer.status_code == 200
        assert answer.json()["endpoint"] == "Zoho Books webhook for products"
    assert client.get("/nowhere").json() == {"status": "refused", "reason": "Not Found"}
    assert client.patch(PRODUCTS).status_code == 405


def test_the_organisation_of_an_event(receiver: Receive, database: Database) -> None:
    client = receiver(organization_id=None)
    assert client.post(PRODUCTS, params={"organization_id": "10234695"}, json=ITEM).status_code == 202
    assert client.post(PRODUCTS, json={**ITEM, "organization_id": 60069194202}).status_code == 202
    assert client.post(PRODUCTS, params={"organization_id": "a\x00b"}, json=ITEM).status_code == 400
    assert [event["organization_id"] for event in events(database)] == ["10234695", "60069194202"]


def test_without_a_database_the_sender_is_asked_to_come_again(receiver: Receive, database: Database) -> None:
    client = receiver()
    assert is_ready(client)
    name = str(conninfo_to_dict(database.conninfo)["dbname"])
    with psycopg.connect(database.dsn(dbname="postgres"), autocommit=True) as administrator:
        administrator.execute(f"alter database {name} allow_connections false".encode())
        administrator.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
        )
        answer = client.post(PRODUCTS, json=ITEM)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json() == {"status": "unavailable", "reason": "not stored, send it again"}
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        administrator.execute(f"alter database {name} allow_connections true".encode())
    wait_until(lambda: client.post(PRODUCTS, json=ITEM).status_code == 202, "it is taken again")
    # by another connection, which is tried for again when somebody asks
    wait_until(lambda: client.get("/readyz").status_code == 200, "it is ready again")
    assert len(events(database)) == 1


def test_a_sender_that_hangs_up_leaves_nothing_behind(receiver: Receive, database: Database) -> None:
    client = receiver()

    def broken() -> Iterator[bytes]:
        yield b"{"
        raise OSError("hung up")

    with pytest.raises(OSError, match="hung up"):
        client.post(PRODUCTS, content=broken())
    assert client.post(PRODUCTS, json=ITEM).status_code == 202
    assert len(events(database)) == 1


def test_http_clients_share_it(receiver: Receive, database: Database) -> None:
    url = str(receiver().base_url)

    def send(number: int) -> int:
        body = {"item": {"item_id": str(number)}}
        return httpx.post(
            url + PRODUCTS, json=body, timeout=PATIENCE, verify=False, trust_env=False
        ).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(send, range(100))) == {202}
    assert {event["record_id"] for event in events(database)} == {str(number) for number in range(100)}
