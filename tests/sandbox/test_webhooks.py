"""Bodies, signatures and deliveries of webhooks, seen by a real receiver."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from tds_sandbox.clock import Clock
from tds_sandbox.errors import SandboxError
from tds_sandbox.organisation import Organisation
from tds_sandbox.webhooks import Webhooks, WebhookSettings, sign, signature_base

SECRET = "a1b2c3d4e5f6g7h8"


class Receiver(ThreadingHTTPServer):
    """Keeps what it gets; answers the statuses it was told, then 202."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.got]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status = self.server.answers.pop(0) if self.server.answers else 202
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def organisation() -> Organisation:
    return Organisation(items=40, contacts=40, invoices=40, clock=Clock(scale=6000))


@pytest.fixture
def webhooks(receiver: Receiver, organisation: Organisation) -> Iterator[Webhooks]:
    hooks = Webhooks(organisation, WebhookSettings(url=receiver.url, secret=SECRET))
    yield hooks
    hooks.close()


def test_the_documented_example() -> None:
    query = [("subscription_id", "90343"), ("name", "basic")]
    body = b'{"created_date":"2019-03-06","event_id":"5675"}'
    text = b'namebasicsubscription_id90343{"created_date":"2019-03-06","event_id":"5675"}'
    assert signature_base(query, body) == text
    digest = hmac.new(SECRET.encode(), text, hashlib.sha256).digest()
    assert sign(SECRET, query, body) == digest.hex()
    assert sign(SECRET, query, body, encoding="base64") == base64.b64encode(digest).decode()
    # A fixed value besides, reckoned by openssl dgst -sha256 -hmac.
    assert sign(SECRET, query, body) == "e7dade79c8ff315df828f066814ce3bbaf0cbe1645b4f1c7aea43deee0d46e95"


def test_forms_are_signed_decoded_and_sorted() -> None:
    form = b"name=a%20b&id=12&note=%D8%B4"
    base = signature_base([("event", "edit")], form, "application/x-www-form-urlencoded")
    assert base == "eventeditid12namea bnoteش".encode()


def holds(body: Any, document: Any) -> bool:
    """Whether a body has all of a document; `*_formatted` twins and flattened fields may come on top."""
    if isinstance(document, dict):
        return set(document) <= set(body) and all(holds(body[key], document[key]) for key in document)
    if isinstance(document, list):
        return len(body) == len(document) and all(map(holds, body, document))
    return bool(body == document)


def test_default_bodies(organisation: Organisation, webhooks: Webhooks, receiver: Receiver) -> None:
    vendor = next(c.id for c in organisation.book("contacts").records if c.vendor)
    customer = next(c.id for c in organisation.book("contacts").records if not c.vendor)
    wanted = {}
    for entity, record_id, path, wrapper in (
        ("items", None, "products", "item"),
        ("contacts", customer, "customers", "contact"),
        ("contacts", vendor, "vendors", "contact"),
        ("invoices", None, "invoices", "invoice"),
    ):
        change = organisation.edit(entity, record_id)
        truth = next(t.document for t in organisation.truth(entity) if t.id == change.id)
        wanted[f"/api/zoho/webhooks/{path}"] = (wrapper, json.loads(json.dumps(truth, default=float)))
    assert webhooks.drain(10)
    assert len(receiver.got) == 4
    for path, headers, body in receiver.got:
        wrapper, document = wanted[path]
        assert headers["content-type"] == "application/json"
        assert headers["x-zoho-webhook-signature"] == sign(SECRET, [], body)
        outer = json.loads(body)
        assert list(outer) == [wrapper]
        inner = outer[wrapper]
        assert holds(inner, document)
        assert any(key.endswith("_formatted") for key in inner)
        assert list(inner) != list(document), "the order of keys is mixed up"
        assert b'": ' not in body, "compact"
        assert not {"event", "event_type"} & set(inner)


def test_deletions_go_to_a_rule_of_their_own(
    organisation: Organisation, webhooks: Webhooks, receiver: Receiver
) -> None:
    webhooks.configure(query={"source": "zoho books"}, encoding="base64")
    change = organisation.delete("items")
    assert webhooks.drain(10)
    ((path, headers, body),) = receiver.got
    pairs = parse_qsl(urlsplit(path).query)
    assert sorted(pairs) == [("event", "delete"), ("source", "zoho books")]
    assert headers["x-zoho-webhook-signature"] == sign(SECRET, pairs, body, encoding="base64")
    assert json.loads(body)["item"]["item_id"] == change.id


def test_other_forms(organisation: Organisation, webhooks: Webhooks, receiver: Receiver) -> None:
    changes = []
    for form in ("thin", "raw", "form", "jsonstring"):
        webhooks.configure(form=form)
        changes.append(organisation.edit("invoices", kind="notes").id)
        assert webhooks.drain(10)
    thin, raw, form_body, jsonstring = (body for _, _, body in receiver.got)
    assert set(json.loads(thin)["invoice"]) == {"invoice_id", "invoice_number", "status"}
    assert raw.startswith(
        b'{"organization_id":748139205,"invoice":{"invoice_id":' + changes[1].encode() + b","
    )
    pairs = parse_qs(form_body.decode(), keep_blank_values=True)
    assert pairs["invoice_id"] == [changes[2]]
    assert isinstance(json.loads(pairs["line_items"][0]), list)
    assert pairs["is_emailed"] == ["false"]
    inner = json.loads(parse_qs(jsonstring.decode())["JSONString"][0])
    assert inner["invoice"]["invoice_id"] == changes[3]
    for _, headers, body in receiver.got:
        kind = headers["content-type"]
        assert headers["x-zoho-webhook-signature"] == sign(SECRET, [], body, kind)


def test_retries_with_growing_waits(
    organisation: Organisation, webhooks: Webhooks, receiver: Receiver
) -> None:
    receiver.answers = [500, 301, 503]
    change = organisation.edit("items")
    assert webhooks.drain(10)
    (delivery,) = webhooks.deliveries
    assert (delivery.state, delivery.id) == ("delivered", change.id)
    assert [attempt.status for attempt in delivery.attempts] == [500, 301, 503, 202]
    assert len({body for _, _, body in receiver.got}) == 1
    gaps = [b.at - a.at for a, b in zip(delivery.attempts, delivery.attempts[1:], strict=False)]
    # 60, 120 and 240 sandbox seconds at 6,000 times the speed.
    assert gaps[0] >= 0.01
    assert gaps[1] >= 0.02
    assert gaps[2] >= 0.04
    assert delivery.delivered_at is not None
    assert delivery.delivered_at >= delivery.edited_at
    again = webhooks.resend(1)
    assert webhooks.drain(10)
    assert again.state == "delivered"
    assert receiver.got[-1][2] == receiver.got[0][2]


def test_after_five_retries_it_is_given_up(
    organisation: Organisation, webhooks: Webhooks, receiver: Receiver
) -> None:
    receiver.answers = [404] * 6
    organisation.edit("items")
    assert webhooks.drain(10)
    assert (webhooks.deliveries[0].state, len(webhooks.deliveries[0].attempts)) == ("failed", 6)
    webhooks.configure(url="http://127.0.0.1:9", retries=1)
    organisation.edit("items")
    assert webhooks.drain(10)
    assert webhooks.deliveries[1].state == "failed"
    assert "Connect" in webhooks.deliveries[1].attempts[0].error


def test_what_fires_no_webhook(organisation: Organisation, webhooks: Webhooks, receiver: Receiver) -> None:
    organisation.edit("items", kind="stock")
    organisation.edit("items", fire=False)
    organisation.create("contacts", fire=False)
    webhooks.configure(url="")
    organisation.edit("items")
    assert webhooks.deliveries == []
    assert receiver.got == []


def test_many_edits_arrive_once_each_in_another_order(
    organisation: Organisation, webhooks: Webhooks, receiver: Receiver
) -> None:
    webhooks.configure(spread_seconds=0.3)
    changes = [organisation.edit(entity) for entity in ("items", "contacts", "invoices") for _ in range(20)]
    assert webhooks.drain(15)
    assert len(receiver.got) == len(webhooks.deliveries) == 60
    arrived = [
        next(iter(body.values())).get("item_id")
        or next(iter(body.values())).get("contact_id")
        or next(iter(body.values()))["invoice_id"]
        for body in receiver.bodies()
    ]
    edited = [change.id for change in changes]
    # An invoice carries no id of an item at its top, so the first key found is its own.
    assert sorted(arrived) == sorted(edited)
    assert arrived != edited


@pytest.mark.parametrize(
    "settings", [{"form": "xml"}, {"encoding": "rot13"}, {"secret": "short"}, {"secret": "with spaces in it"}]
)
def test_bad_settings(settings: dict[str, str]) -> None:
    with pytest.raises(SandboxError):
        WebhookSettings(**settings)  # type: ignore[arg-type]


def test_stock_that_somebody_wired(
    organisation: Organisation, webhooks: Webhooks, receiver: Receiver
) -> None:
    item = next(i for i in organisation.book("items").records if i.tracked and i.on_hand > 3)
    for form in ("item", "adjustment", "bare"):
        webhooks.configure(stock=form)
        organisation.edit("items", item.id, kind="transfer")
        assert webhooks.drain(10)
    assert {path for path, _, _ in receiver.got} == {"/api/zoho/webhooks/stock"}
    whole, adjusted, bare = receiver.bodies()
    assert whole["item"]["item_id"] == item.id
    assert sum(row["location_stock_on_hand"] for row in whole["item"]["locations"]) == item.on_hand
    lines = adjusted["inventory_adjustment"]["line_items"]
    assert [line["item_id"] for line in lines] == [item.id, item.id]
    assert sum(line["quantity_adjusted"] for line in lines) == 0
    assert {line["location_id"] for line in lines} <= {place.id for place in organisation.locations}
    assert bare == {"item_id": item.id, "stock_on_hand": item.on_hand}
    for _, headers, body in receiver.got:
        assert headers["x-zoho-webhook-signature"] == sign(SECRET, [], body)


def test_where_the_other_modules_webhooks_go(receiver: Receiver) -> None:
    organisation = Organisation(
        items=40, contacts=40, invoices=40, pricebooks=3, creditnotes=10, customerpayments=30
    )
    hooks = Webhooks(organisation, WebhookSettings(url=receiver.url))
    try:
        organisation.edit("pricebooks")
        organisation.edit("locations")
        assert hooks.deliveries == []
        organisation.edit("pricebooks", fire=True)
        organisation.edit("creditnotes", kind="notes")
        organisation.edit("customerpayments", kind="reference")
        assert hooks.drain(10)
    finally:
        hooks.close()
    sent = {path.rsplit("/", 1)[1]: next(iter(json.loads(body))) for path, _, body in receiver.got}
    assert sent == {"prices": "pricebook", "credit-notes": "creditnote", "payments": "payment"}
