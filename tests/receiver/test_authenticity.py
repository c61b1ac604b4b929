"""Who may send: signatures over every form of body, secrets in rotation and by endpoint, tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tds_receiver.settings import ReceiverSettings
from tests.db.servers import Database
from tests.receiver.asgi import Endpoint
from tests.receiver.conftest import Receive
from tests.receiver.test_webhooks import ITEM, PRODUCTS, events

ID = re.compile(rb"[A-Za-z0-9_-]{1,50}")
SECRET = "a1b2c3d4e5f6a7b8"
OTHER = "b8a7f6e5d4c3b2a1"
SIGNATURE = "X-Zoho-Webhook-Signature"
BOUNDARY = "multipart/form-data; boundary=b"

# Name: (Content-Type, query, body, the text that Zoho signs).
VECTORS: dict[str, tuple[str, bytes, bytes, bytes]] = {
    "documented": (
        "application/json",
        b"subscription_id=90343&name=basic",
        b'{"created_date":"2019-03-06","event_id":"5675"}',
        b'namebasicsubscription_id90343{"created_date":"2019-03-06","event_id":"5675"}',
    ),
    "JSON": ("application/json", b"", b' {"item": {"b": 1, "a": 2}}', b' {"item": {"b": 1, "a": 2}}'),
    "JSON after a query": (
        "application/json",
        b"organization_id=748139205&event=delete&note=a+b%26c",
        b"{}",
        b"eventdeletenotea b&corganization_id748139205{}",
    ),
    "form": (
        "application/x-www-form-urlencoded",
        b"",
        b"name=a+b%C3%A9&item_id=1&empty=",
        b"emptyitem_id1namea b\xc3\xa9",
    ),
    "form after a query": ("application/x-www-form-urlencoded", b"k=9", b"z=1&a=2", b"a2k9z1"),
    "JSONString": (
        "application/x-www-form-urlencoded; charset=UTF-8",
        b"",
        b"JSONString=%7B%22item%22%3A%7B%7D%7D",
        b'JSONString{"item":{}}',
    ),
    "multipart": (
        BOUNDARY,
        b"k=9",
        b'--b\r\nContent-Disposition: form-data; name="z"\r\n\r\n1\r\n'
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n2\r\n--b--\r\n',
        b"a2k9z1",
    ),
}


def digest(secret: str, text: bytes) -> bytes:
    """The signature's bytes."""
    return hmac.digest(secret.encode(), text, hashlib.sha256)


def base64_of(raw: bytes) -> str:
    """As some say Zoho sends it."""
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize("encode", [bytes.hex, base64_of])
@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str, encode: Callable[[bytes], str]) -> None:
    kind, query, body, text = VECTORS[name]
    endpoint = Endpoint({"webhook_secret": f"{OTHER}, {SECRET}"})
    headers = {"Content-Type": kind, SIGNATURE: encode(digest(SECRET, text))}
    assert endpoint.send(body, headers, query) == 202
    assert endpoint.send(body, headers | {SIGNATURE: encode(digest("another", text))}, query) == 401
    assert endpoint.send(body, {"Content-Type": kind}, query) == 401
    assert len(endpoint.inbox.events) == 1


@given(st.sampled_from(sorted(VECTORS)), st.data())
def test_a_wrong_byte_anywhere_is_refused(name: str, data: st.DataObject) -> None:
    kind, query, body, text = VECTORS[name]
    signature = digest(SECRET, text).hex()
    where = data.draw(
        st.sampled_from([part for part, it in (("query", query), ("body", body), ("signature", b"x")) if it])
    )
    parts: dict[str, bytes] = {"query": query, "body": body, "signature": signature.encode()}
    place = data.draw(st.integers(0, len(parts[where]) - 1))
    wrong = bytearray(parts[where])
    wrong[place] ^= data.draw(st.integers(1, 255))
    parts[where] = bytes(wrong)
    if where == "signature" and parts[where].lower() == signature.encode():
        return  # the case of hexadecimal digits says nothing
    if where == "query" and sorted(_pairs(parts[where])) == sorted(_pairs(query)):
        return  # another spelling of the same pairs
    if where == "body" and "json" not in kind and _signs_the_same(kind, parts[where], body):
        return
    headers = {"Content-Type": kind, SIGNATURE: parts["signature"].decode("latin-1")}
    endpoint = Endpoint({"webhook_secret": SECRET})
    named = dict(_pairs(parts["query"])).get(b"organization_id", b"1")
    # what is no id is nobody's, whatever is signed
    assert endpoint.send(parts["body"], headers, parts["query"]) == (401 if ID.fullmatch(named) else 400)


def _pairs(encoded: bytes) -> list[tuple[bytes, bytes]]:
    from tds_receiver.signature import url_pairs

    return url_pairs(encoded)


def _signs_the_same(kind: str, wrong: bytes, body: bytes) -> bool:
    """A byte of the wrapping (a boundary, a part's header, %c3 for %C3) may change nothing that is said."""
    import asyncio

    from tds_receiver.bodies import multipart_pairs

    if kind != BOUNDARY:
        return sorted(_pairs(wrong)) == sorted(_pairs(body))
    found = [asyncio.run(multipart_pairs(kind, each)) for each in (wrong, body)]
    return found[0] is not None and sorted(found[0]) == sorted(found[1] or [])


def test_secrets_of_an_endpoint_replace_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOHO_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("ZOHO_WEBHOOK_SECRETS__CREDIT_NOTES", f"{OTHER},third")
    monkeypatch.setenv("ZOHO_WEBHOOK_TOKENS", '{"stock": "t1"}')
    settings = ReceiverSettings()
    assert settings.credentials("products").secrets == (SECRET.encode(),)
    assert settings.credentials("credit_notes").secrets == (OTHER.encode(), b"third")
    assert settings.credentials("stock").tokens == (b"t1",)
    endpoint = Endpoint({"webhook_secret": SECRET, "webhook_secrets": {"credit_notes": OTHER}})
    for path, secret, status in [
        ("products", SECRET, 202),
        ("products", OTHER, 401),
        ("credit-notes", OTHER, 202),
        ("credit-notes", SECRET, 401),
    ]:
        headers = {SIGNATURE: digest(secret, b"{}").hex()}
        assert endpoint.send(b"{}", headers, path=f"/api/tds/webhooks/{path}/") == status


def test_what_is_configured_for_some_endpoints_closes_the_others() -> None:
    endpoint = Endpoint({"webhook_tokens": {"invoices": "t1"}})
    assert endpoint.send(b"{}", query=b"token=t1", path="/api/zoho/webhooks/invoices") == 202
    assert endpoint.send(b"{}", query=b"token=t1") == 401
    assert endpoint.send(b"{}", query=b"token=") == 401
    assert endpoint.send(b"{}") == 401


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({"X-TDS-Token": "t2"}, b"", 202),
        ({"Authorization": "Bearer t1"}, b"", 202),
        ({"Authorization": "bearer  t1"}, b"", 202),
        ({}, b"a=b&token=t%31", 202),
        ({}, b"", 401),
        ({"X-TDS-Token": "t"}, b"", 401),
        ({"X-TDS-Token": "t1,t2"}, b"", 401),
        ({"Authorization": "Basic t1"}, b"", 401),
        ({"Authorization": "t1"}, b"", 401),
        ({"X-TDS-Token": "é"}, b"token=%ff", 401),
        # Without secrets a signature says nothing.
        ({SIGNATURE: "00" * 32, "X-TDS-Token": "t1"}, b"", 202),
        ({SIGNATURE: "00" * 32}, b"", 401),
    ],
)
def test_tokens(headers: dict[str, str], query: bytes, status: int) -> None:
    assert Endpoint({"webhook_token": "t1, t2"}).send(b"{}", headers, query) == status


def test_a_signature_covers_the_token_of_its_query_and_no_token_mends_a_wrong_one() -> None:
    endpoint = Endpoint({"webhook_secret": SECRET, "webhook_token": "t1"})
    right = {SIGNATURE: digest(SECRET, b"tokent1{}").hex()}
    assert endpoint.send(b"{}", right, b"token=t1") == 202
    assert endpoint.send(b"{}", right) == 401
    assert endpoint.send(b"{}", {SIGNATURE: "00" * 32}, b"token=t1") == 401
    assert endpoint.send(b"{}", {}, b"token=t1") == 202


def test_who_may_not_send_is_not_read(receiver: Receive) -> None:
    client = receiver(webhook_secret=SECRET, body_seconds=60)
    answer = client.post(PRODUCTS, content=b"x" * 100_000, headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()) == (401, {"status": "refused", "reason": "Unauthorized"})
    assert answer.headers["connection"] == "close"


def test_what_proves_the_sender_is_neither_stored_nor_logged(
    receiver: Receive, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = receiver(webhook_token="hidden1,hidden2")
    headers = {"X-TDS-Token": "hidden1", "Authorization": "Bearer hidden2", "X-Request-Id": "r-7"}
    assert client.post(PRODUCTS, json=ITEM, params={"token": "hidden1"}, headers=headers).status_code == 202
    assert client.post(PRODUCTS, json=ITEM, params={"token": "hidden3"}).status_code == 401
    [event] = events(database)
    assert "hidden" not in str(event)
    assert event["headers"]["x-request-id"] == "r-7"
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert "hidden" not in str([vars(record) for record in ours])
    accepted = next(record for record in ours if record.getMessage() == "queued")
    assert vars(accepted)["request_id"] == "r-7"
    assert vars(accepted)["inbox_id"] == event["inbox_id"]
