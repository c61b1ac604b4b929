"""Webhooks as Zoho Books sends them: bodies, signature, delivery with retries."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from tds_sandbox.automation import Automation
from tds_sandbox.books import Record
from tds_sandbox.errors import SandboxError
from tds_sandbox.jsontext import Document, RawNumber, encode
from tds_sandbox.organisation import Change, Organisation

SIGNATURE_HEADER = "X-Zoho-Webhook-Signature"
FORM_TYPE = "application/x-www-form-urlencoded"
JSON_TYPE = "application/json"
FORMS = ("default", "thin", "raw", "form", "jsonstring")
STOCK_FORMS = ("item", "adjustment", "bare")
_RAW_KEYS = ("status", "name", "rate", "contact_name", "email", "total", "balance", "payment_made")
_THIN_KEYS = ("name", "contact_name", "invoice_number", "status")


@dataclass
class WebhookSettings:
    """How the organisation's webhooks are set up.

    Args:
        url: where to, up to but without ``/api/zoho/webhooks/…``; empty for no webhooks at all.
        secret: of the signature, 12 to 50 letters and digits; empty for unsigned requests.
        form: of the body: ``default`` (the whole record), ``thin`` (id and few keys), ``raw`` (a user's
            template with numeric ids), ``form`` (key and value pairs), ``jsonstring`` (one pair, the
            record as JSON).
        stock: what is sent to ``stock`` when stock moves, which Zoho announces by itself to nobody: ``item``
            (the whole item), ``adjustment`` (an inventory adjustment), ``bare`` (the item's id and its
            stock), ``mixed`` (any of them); empty for nothing.
        encoding: of the signature, ``hex`` or ``base64``; sources disagree on what Zoho does.
        query: pairs put into every URL; they are part of what is signed.
        delete_query: pairs put into the URL of delete rules besides; a body names no event.
        paths: paths by webhook entity in place of ``{prefix}/{entity}``.
        prefix: of the paths.
        retries: after the first attempt.
        retry_seconds: sandbox seconds before the first retry.
        backoff: factor between one retry's wait and the next's.
        spread_seconds: real seconds over which the order of events is mixed up.
        connect_timeout: real seconds.
        read_timeout: real seconds.
        concurrency: deliveries under way at once; as it is at the first delivery.
    """

    url: str = ""
    secret: str = ""
    form: str = "default"
    stock: str = ""
    encoding: str = "hex"
    query: dict[str, str] = field(default_factory=dict)
    delete_query: dict[str, str] = field(default_factory=lambda: {"event": "delete"})
    paths: dict[str, str] = field(default_factory=dict)
    prefix: str = "/api/zoho/webhooks"
    retries: int = 5
    retry_seconds: float = 60.0
    backoff: float = 2.0
    spread_seconds: float = 0.03
    connect_timeout: float = 5.0
    read_timeout: float = 10.0
    concurrency: int = 8

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise SandboxError(f"no body form {self.form!r}; there are {', '.join(FORMS)}")
        if self.stock not in {"", "mixed", *STOCK_FORMS}:
            raise SandboxError(f"no stock webhooks {self.stock!r}; there are {', '.join(STOCK_FORMS)}, mixed")
        if self.encoding not in {"hex", "base64"}:
            raise SandboxError(f"no signature encoding {self.encoding!r}; there are hex and base64")
        if self.secret and not (
            12 <= len(self.secret) <= 50 and self.secret.isascii() and self.secret.isalnum()
        ):
            raise SandboxError("a webhook secret has 12 to 50 letters and digits")


@dataclass
class Attempt:
    """One try: real epoch seconds, and the HTTP status or the error."""

    at: float
    seconds: float
    status: int | None
    error: str = ""


@dataclass
class Delivery:
    """One webhook. Times are real epoch seconds; ``state`` is pending, delivered or failed."""

    number: int
    change: int
    entity: str
    id: str
    event: str
    url: str
    edited_at: float
    body: bytes
    content_type: str
    signature: str
    state: str = "pending"
    delivered_at: float | None = None
    attempts: list[Attempt] = field(default_factory=list)

    def as_dict(self) -> Document:
        """For the control API, without the body."""

        def seconds(value: float | None) -> Decimal | None:
            return None if value is None else Decimal(f"{value:.6f}")

        return {
            "number": self.number,
            "change": self.change,
            "entity": self.entity,
            "id": self.id,
            "event": self.event,
            "url": self.url,
            "state": self.state,
            "edited_at": seconds(self.edited_at),
            "delivered_at": seconds(self.delivered_at),
            "bytes": len(self.body),
            "attempts": [
                {"at": seconds(a.at), "seconds": seconds(a.seconds), "status": a.status, "error": a.error}
                for a in self.attempts
            ],
        }


def signature_base(query: Sequence[tuple[str, str]], body: bytes, content_type: str = JSON_TYPE) -> bytes:
    """The bytes that are signed: sorted, decoded key and value pairs, then the raw JSON.

    Source: zoho.com/billing/kb/webhooks/securing-webhooks.html; Books uses the same scheme.
    """
    pairs = list(query)
    tail = body
    if content_type.startswith(FORM_TYPE):
        pairs += parse_qsl(body.decode(), keep_blank_values=True)
        tail = b""
    return "".join(key + value for key, value in sorted(pairs)).encode() + tail


def sign(
    secret: str,
    query: Sequence[tuple[str, str]],
    body: bytes,
    content_type: str = JSON_TYPE,
    encoding: str = "hex",
) -> str:
    """HMAC-SHA256 of ``signature_base``, in hex or base64."""
    digest = hmac.new(secret.encode(), signature_base(query, body, content_type), hashlib.sha256).digest()
    return digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()


def _twins(node: Any, symbol: str, precision: int) -> Any:
    """Add the ``*_formatted`` twins of amounts, dates and statuses, in the organisation's locale."""
    if isinstance(node, list):
        return [_twins(value, symbol, precision) for value in node]
    if not isinstance(node, dict):
        return node
    result: Document = {}
    for key, value in node.items():
        result[key] = _twins(value, symbol, precision)
        twin = f"{key}_formatted"
        if twin in node or key.endswith("_formatted"):
            continue
        if isinstance(value, Decimal) and "quantity" not in key and "percent" not in key:
            result[twin] = f"{value:,.2f}" if "stock" in key else f"{symbol}{value:,.{precision}f}"
        elif isinstance(value, str) and value[4:5] == "-" and key.endswith(("date", "_time")):
            result[twin] = f"{value[8:10]}/{value[5:7]}/{value[:4]}"
        elif key == "status" and isinstance(value, str):
            result[twin] = value.replace("_", " ").title()
    return result


def _shuffled(node: Any, rng: random.Random) -> Any:
    if isinstance(node, list):
        return [_shuffled(value, rng) for value in node]
    if not isinstance(node, dict):
        return node
    keys = list(node)
    rng.shuffle(keys)
    return {key: _shuffled(node[key], rng) for key in keys}


def _form_value(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else encode(value)


def build_body(
    organisation: Organisation, change: Change, document: Document, form: str
) -> tuple[bytes, str]:
    """The body of a webhook and its content type; ``document`` is the record's as of the change."""
    entity = organisation.book(change.entity).entity
    rng = random.Random(change.seed)
    if form == "raw":
        # A template such as {"invoice":{"invoice_id":${INVOICE.INVOICE_ID},…}} leaves ids without quotes.
        inner: Document = {entity.id_key: RawNumber(change.id)}
        inner |= {key: document[key] for key in _RAW_KEYS if key in document}
        outer = {"organization_id": RawNumber(organisation.organization_id), entity.record_key: inner}
        return encode(outer).encode(), JSON_TYPE
    if form == "thin":
        inner = {entity.id_key: change.id} | {key: document[key] for key in _THIN_KEYS if key in document}
        return encode({entity.record_key: inner}).encode(), JSON_TYPE
    full = _twins(document, document.get("currency_symbol", "$"), document.get("price_precision", 2))
    full = _shuffled(full, rng)
    if form == "form":
        return urlencode({key: _form_value(value) for key, value in full.items()}).encode(), FORM_TYPE
    text = encode({entity.record_key: full})
    if form == "jsonstring":
        return urlencode({"JSONString": text}).encode(), FORM_TYPE
    return text.encode(), JSON_TYPE


class Sender:
    """A thread that sends the webhooks of any number of organisations."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._client: httpx.AsyncClient | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="sandbox-webhooks", daemon=True)
        self._thread.start()

    def client(self) -> httpx.AsyncClient:
        """What is sent with, by this thread."""
        if self._client is None:
            self._client = httpx.AsyncClient(limits=httpx.Limits(max_connections=None))
        return self._client

    def soon(self, act: Callable[..., object], *arguments: object) -> None:
        """Has this thread do it, from any other."""
        self._loop.call_soon_threadsafe(act, *arguments)

    def task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begins it, in this thread."""
        return self._loop.create_task(work)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Has this thread do it, and waits."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
        else:
            work.close()

    def close(self) -> None:
        """Ends the thread."""

        async def finish() -> None:
            if self._client is not None:
                await self._client.aclose()

        if self._thread.is_alive():
            self.run(finish())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()


class Webhooks:
    """Sends a webhook for every change of an organisation that is not silent.

    Bodies are made at the moment of the edit. A failure is anything but 2xx, redirects included.

    Args:
        organisation: whose changes.
        settings: to begin with.
        sender: who sends them, for other organisations too; None: one of its own, which `close` ends.
    """

    def __init__(
        self,
        organisation: Organisation,
        settings: WebhookSettings | None = None,
        sender: Sender | None = None,
    ) -> None:
        self.settings = settings or WebhookSettings()
        self.automation = Automation()
        """What is set in the organisation; as soon as it has workflow rules, these alone say what is sent."""
        self.deliveries: list[Delivery] = []
        self._organisation = organisation
        self._changed = threading.Condition()
        self._pending = 0
        self._rng = random.Random(f"{organisation.seed}/webhooks")
        self._sender = sender or Sender()
        self._is_own = sender is None
        self._gate: asyncio.Semaphore | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        organisation.listeners.append(self._on_change)

    def configure(self, **settings: Any) -> WebhookSettings:
        """Change some settings (``WebhookSettings``).

        Raises:
            SandboxError: a setting is unknown or bad.
        """
        known = {entry.name: getattr(self.settings, entry.name) for entry in fields(WebhookSettings)}
        if unknown := set(settings) - set(known):
            raise SandboxError(f"unknown webhook settings: {', '.join(sorted(unknown))}")
        try:
            self.settings = WebhookSettings(**(known | settings))
        except TypeError as error:
            raise SandboxError(f"bad webhook settings: {error}") from error
        return self.settings

    def _on_change(self, change: Change, record: Record) -> None:
        if self.automation.workflows:
            self._by_rules(change, record)
            return
        settings = self.settings
        if not settings.url:
            return
        organisation = self._organisation
        entity = organisation.book(change.entity).entity
        if change.silent:
            stock = self._stock_body(change, record)
            if stock is None:
                return
            target, body, content_type = "stock", stock, JSON_TYPE
        else:
            target = entity.webhook_entity(record)
            document = organisation.webhook_document(change.entity, record)
            body, content_type = build_body(organisation, change, document, settings.form)
        pairs = [
            *settings.query.items(),
            *(settings.delete_query.items() if change.event == "delete" else ()),
        ]
        path = settings.paths.get(target, f"{settings.prefix}/{target}")
        url = settings.url.rstrip("/") + path + (f"?{urlencode(pairs)}" if pairs else "")
        signature = ""
        if settings.secret:
            signature = sign(settings.secret, pairs, body, content_type, settings.encoding)
        delivery = Delivery(
            number=len(self.deliveries) + 1,
            change=change.number,
            entity=target,
            id=change.id,
            event=change.event,
            url=url,
            edited_at=change.wall,
            body=body,
            content_type=content_type,
            signature=signature,
        )
        self._enqueue(delivery, self._rng.random() * settings.spread_seconds)

    def _by_rules(self, change: Change, record: Record) -> None:
        """What the organisation's workflow rules fire: nothing tells of stock."""
        if change.silent:
            return
        document = self._organisation.webhook_document(change.entity, record)
        body, content_type = build_body(self._organisation, change, document, self.settings.form)
        for url, secret in self.automation.fired(change.entity.removesuffix("s"), change.event):
            pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
            delivery = Delivery(
                number=len(self.deliveries) + 1,
                change=change.number,
                entity=urlsplit(url).path.rpartition("/")[2],
                id=change.id,
                event=change.event,
                url=url,
                edited_at=change.wall,
                body=body,
                content_type=content_type,
                signature=sign(secret, pairs, body, content_type, self.settings.encoding) if secret else "",
            )
            self._enqueue(delivery, self._rng.random() * self.settings.spread_seconds)

    def _stock_body(self, change: Change, record: Record) -> bytes | None:
        form = self.settings.stock
        if form == "mixed":
            form = STOCK_FORMS[change.seed % len(STOCK_FORMS)]
        organisation = self._organisation
        movement = organisation.book(change.entity).entity.movement(organisation, record, form)
        if not form or movement is None:
            return None
        if form == "item":
            document = organisation.webhook_document(change.entity, record)
            return build_body(organisation, change, document, "default")[0]
        return encode(movement).encode()

    def _enqueue(self, delivery: Delivery, delay: float) -> None:
        with self._changed:
            self.deliveries.append(delivery)
            self._pending += 1
        settings = self.settings
        self._sender.soon(self._start, delivery, settings, delay)

    def resend(self, number: int) -> Delivery:
        """Send an old delivery's very bytes again, as Zoho's history page can.

        Raises:
            SandboxError: there is no such delivery.
        """
        if not 1 <= number <= len(self.deliveries):
            raise SandboxError(f"no delivery {number}")
        old = self.deliveries[number - 1]
        again = replace(old, number=len(self.deliveries) + 1, state="pending", delivered_at=None, attempts=[])
        self._enqueue(again, 0.0)
        return again

    def _start(self, delivery: Delivery, settings: WebhookSettings, delay: float) -> None:
        task = self._sender.task(self._deliver(delivery, settings, delay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: Delivery, settings: WebhookSettings, delay: float) -> None:
        await asyncio.sleep(delay)
        wait = settings.retry_seconds
        for retry in range(settings.retries + 1):
            if await self._attempt(delivery, settings):
                self._finish(delivery, "delivered")
                return
            if retry < settings.retries:
                await asyncio.sleep(self._organisation.clock.real(wait))
                wait *= settings.backoff
        self._finish(delivery, "failed")

    async def _attempt(self, delivery: Delivery, settings: WebhookSettings) -> bool:
        if self._gate is None:
            self._gate = asyncio.Semaphore(settings.concurrency)
        headers = {"Content-Type": delivery.content_type, "User-Agent": "ZohoBooks"}
        if delivery.signature:
            headers[SIGNATURE_HEADER] = delivery.signature
        timeout = httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout)
        async with self._gate:
            attempt = Attempt(time.time(), 0.0, None)
            began = time.monotonic()
            try:
                answer = await self._sender.client().post(
                    delivery.url, content=delivery.body, headers=headers, timeout=timeout
                )
                attempt.status = answer.status_code
            except httpx.HTTPError as error:
                attempt.error = f"{type(error).__name__}: {error}"
            attempt.seconds = time.monotonic() - began
        delivery.attempts.append(attempt)
        return attempt.status is not None and 200 <= attempt.status < 300

    def _finish(self, delivery: Delivery, state: str) -> None:
        with self._changed:
            delivery.state = state
            if state == "delivered":
                delivery.delivered_at = time.time()
            self._pending -= 1
            self._changed.notify_all()

    @property
    def pending(self) -> int:
        """Deliveries neither delivered nor given up."""
        with self._changed:
            return self._pending

    def drain(self, timeout: float = 30.0) -> bool:
        """Wait real seconds until nothing is pending; False if time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: self._pending == 0, timeout)

    def close(self) -> None:
        """Stop sending; what is pending stays so."""
        if self._on_change in self._organisation.listeners:
            self._organisation.listeners.remove(self._on_change)

        async def finish() -> None:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._sender.run(finish())
        if self._is_own:
            self._sender.close()
