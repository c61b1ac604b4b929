"""The webhook endpoints, as plain ASGI: bytes in, one place in the next commit, answer.

An event is acknowledged with 202 after its commit and never before. What the body says is the database's
business: it is not read here, except to check a signature and to undo what only a header tells. Nothing
redirects, because Zoho takes a redirect for a failure.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from random import getrandbits
from typing import Any, Literal, NamedTuple

import orjson

from tds_receiver.bodies import (
    FORM,
    MAX_CONTENT_TYPE,
    MULTIPART,
    as_stored,
    is_covered,
    media_type,
    multipart_pairs,
)
from tds_receiver.body import GoneError, Receive, RefusedError, aside, decompressed, read_body, too_large
from tds_receiver.inbox import Accepted, Event, Inbox, UnavailableError
from tds_receiver.organisations import Address, Organisations
from tds_receiver.quota import CrowdedError, Room, Strangers, peer_of
from tds_receiver.settings import ReceiverSettings
from tds_receiver.signature import Pairs, is_authentic, is_token, signed_text, url_pairs

log = logging.getLogger(__name__)

PREFIXES = ("/api/zoho/webhooks/", "/api/tds/webhooks/")
# Any entity, known or not: what nobody knows yet is stored too and can be replayed later. A slash at the end
# is served and not redirected, because a redirect would lose the event.
PATH = re.compile(r"/api/(?:zoho|tds)/(?:([A-Za-z0-9_-]{1,50})/)?webhooks/([a-z][a-z_-]{1,40})/?")
OF_ONE = re.compile(r"/api/(?:zoho|tds)/[A-Za-z0-9_-]{1,50}/webhooks/")
IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,50}")
RETRY_AFTER_SECONDS = 5
MOST_PAUSING = 1000  # refusals that are held back at once; a connection and a few KB each
KEPT = (b"content-type", b"user-agent")
METHODS = ("POST", "PUT", "DELETE")
INTERESTING = frozenset(
    {
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"user-agent",
        b"x-request-id",
        b"x-zoho-webhook-signature",
        b"x-tds-token",
        b"authorization",
    }
)

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Answered(NamedTuple):
    """How a request to a webhook's URL was answered, for whoever counts."""

    entity: str
    code: int
    status: str
    """queued, duplicate, rejected, refused or unavailable."""
    seconds: float


class _Given(NamedTuple):
    """What the head of a request says."""

    entity: str
    address: Address
    event: Literal["upsert", "delete"]
    query: bytes
    headers: dict[bytes, str]
    request_id: str
    peer: str
    is_delete: bool
    """Whether the method is DELETE."""

    @property
    def kept(self) -> dict[str, str]:
        """The headers that are stored with the event."""
        kept = {name.decode(): _printable(self.headers[name]) for name in KEPT if name in self.headers}
        return kept | {"x-request-id": self.request_id}

    def tokens(self, pairs: Pairs) -> list[bytes]:
        """The tokens it brings, in a header or among the pairs of its query."""
        found = [value for name, value in pairs if name == b"token"]
        if token := self.headers.get(b"x-tds-token"):
            found.append(token.encode("latin-1"))
        scheme, _, token = self.headers.get(b"authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            found.append(token.strip().encode("latin-1"))
        return found


def is_webhook(path: str) -> bool:
    """Whether a path is one of those."""
    return path.startswith(PREFIXES) or OF_ONE.match(path) is not None


class Webhooks:
    """The endpoints below `PREFIXES`, and the same of each organisation: `/api/zoho/ORGANISATION/webhooks/`.

    Args:
        settings: see `ReceiverSettings`.
        inbox: where events go.
        watch: is told of every answer.
        organisations: whose address is whose; None: there is only that of the settings.
    """

    def __init__(
        self,
        settings: ReceiverSettings,
        inbox: Inbox,
        watch: Callable[[Answered], None] = lambda _: None,
        organisations: Organisations | None = None,
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._watch = watch
        self._organisations = organisations or Organisations(settings)
        self._strangers = Strangers()
        self._pausing = 0
        self._room = Room(
            requests=settings.max_requests,
            held=settings.max_held_bytes,
            arriving=max(settings.max_arriving_bytes, settings.max_body_bytes),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; see ASGI."""
        began = time.perf_counter()
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in INTERESTING}
        request_id = _printable(headers.get(b"x-request-id", "")) or f"{getrandbits(128):032x}"
        entity = ""
        closes = False
        extra: dict[str, object] = {}
        try:
            named, entity = _parts(scope["path"])
            if scope["method"] not in METHODS:
                code, status, answer = _explained(scope["method"], entity)
            else:
                given = _Given(
                    entity,
                    self._address(named, scope["query_string"]),
                    _event(scope),
                    scope["query_string"],
                    headers,
                    request_id,
                    peer_of(scope),
                    scope["method"] == "DELETE",
                )
                accepted = await self._take(given, receive)
                code, status = 202, accepted.status
                answer = b'{"status":"%s","inbox_id":%d}' % (status.encode(), accepted.inbox_id)
                extra = {"event": given.event, "inbox_id": accepted.inbox_id}
        except RefusedError as error:
            code, status = error.status, "refused"
            closes = code in {401, 408, 413, 429, 431}
            answer = orjson.dumps({"status": status, "reason": error.reason})
            extra = {"reason": error.reason}
        except (UnavailableError, CrowdedError) as error:
            closes = isinstance(error, CrowdedError)
            code, status = 503, "unavailable"
            answer = b'{"status":"unavailable","reason":"not stored, send it again"}'
            extra = {"reason": str(error)}
        except GoneError:
            code, status, answer = 400, "refused", b""
            extra = {"reason": "the sender left before its body was complete"}
        seconds = time.perf_counter() - began
        if code != 200:
            told = {"entity": entity, "code": code, "request_id": request_id, "ms": round(1000 * seconds, 2)}
            log.log(logging.INFO if code < 500 else logging.WARNING, status, extra=told | extra)
        self._watch(Answered(entity, code, status, seconds))
        if code in {401, 429}:
            await self._pause(peer_of(scope))
        await _send(send, code, answer, request_id, closes=closes)

    async def _pause(self, peer: str) -> None:
        """Holds the refusal of a peer back that has shown many a wrong thing."""
        if self._pausing < MOST_PAUSING and (seconds := self._strangers.pause(peer)):
            self._pausing += 1
            try:
                await asyncio.sleep(seconds)
            finally:
                self._pausing -= 1

    async def _take(self, given: "_Given", receive: Receive) -> Accepted:
        """Reads, checks and stores one event."""
        headers = given.headers
        content_type = headers.get(b"content-type", "")
        if len(content_type) > MAX_CONTENT_TYPE:
            raise RefusedError(431, f"Content-Type is longer than {MAX_CONTENT_TYPE} characters")
        kind, charset = media_type(content_type)
        is_open = given.address.is_open
        is_signed = not is_open and self._admit(given)
        if is_signed and given.is_delete and not given.address.signed_delete:
            raise RefusedError(405, "a signature does not cover the method: use ?event=delete")
        self._look_at_length(headers)
        with self._room.enter(given.peer, is_proven=not is_open and not is_signed) as place:
            limit = self._settings.max_body_bytes
            seconds = self._settings.body_seconds
            body = await read_body(receive, limit=limit, seconds=seconds, place=place)
            if is_signed:
                # Over the bytes as they came: whoever sent them has proved nothing until now.
                await self._authenticate(given, kind, body)
                charset = charset if is_covered(charset) else None
            place.settle()
            if encoding := headers.get(b"content-encoding"):
                # It may be large although what came is small.
                body = await aside(limit, decompressed, body, encoding, limit)
                place.grow(max(0, len(body) - place.held))
            multipart = await multipart_pairs(content_type, body) if kind == MULTIPART else None
            event = Event(
                given.entity,
                await aside(len(body), as_stored, kind, charset, body, multipart),
                given.address.organization_id,
                given.event,
                orjson.dumps(given.kept).decode(),
            )
            return await self._inbox.put(event)

    def _look_at_length(self, headers: dict[bytes, str]) -> None:
        """Refuses what announces too much; what it announces counts for nothing else."""
        try:
            announced = int(headers.get(b"content-length", 0))
        except ValueError:
            raise RefusedError(400, "Content-Length is no number") from None
        if announced > self._settings.max_body_bytes:
            raise too_large(self._settings.max_body_bytes)

    def _admit(self, given: "_Given") -> bool:
        """Whether there is a signature to check. Raises 401 unless there is, or a token that fits."""
        credentials = given.address.credentials(given.entity)
        if not self._strangers.may_try(given.peer):
            raise RefusedError(429, "too many wrong tokens or signatures; the next one in a second")
        if credentials.secrets and b"x-zoho-webhook-signature" in given.headers:
            return True
        self._judge(given, is_token(credentials.tokens, given.tokens(url_pairs(given.query))))
        return False

    def _judge(self, given: "_Given", is_right: bool) -> None:
        """Raises 401 if what proves the sender does not."""
        if is_right:
            self._strangers.was_right(given.peer)
            return
        self._strangers.was_wrong(given.peer)
        raise RefusedError(401, "Unauthorized")

    async def _authenticate(self, given: "_Given", kind: str, body: bytes) -> None:
        """Raises 401 unless the signature is right. What is compressed is signed as it came."""
        pairs = url_pairs(given.query)
        form: Pairs | None = None
        if not given.headers.get(b"content-encoding"):
            if kind == FORM:
                form = await aside(len(body), url_pairs, body)
            elif kind == MULTIPART:
                form = await multipart_pairs(given.headers[b"content-type"], body)
        text = signed_text(pairs, body) if form is None else signed_text(pairs + form, b"")
        secrets = given.address.credentials(given.entity).secrets
        signature = given.headers[b"x-zoho-webhook-signature"]
        self._judge(given, await aside(len(text), is_authentic, secrets, text, signature))

    def _address(self, named: str | None, query: bytes) -> Address:
        asked = _query(query).get("organization_id") if query else None
        if asked is not None and not IDENTIFIER.fullmatch(asked):
            raise RefusedError(400, "organization_id in the query is not an id of Zoho's")
        try:
            return self._organisations.address(named, asked)
        except RefusedError as error:
            if error.status == 404:
                self._inbox.tell_soon()  # it may have been added just now: Zoho comes again
            raise


@lru_cache(maxsize=256)
def _parts(path: str) -> tuple[str | None, str]:
    """The organisation that a path names, if it does, and the entity."""
    if (found := PATH.fullmatch(path)) is None:
        raise RefusedError(404, "Not Found")
    return found[1], found[2].replace("-", "_")


def _event(scope: Scope) -> Literal["upsert", "delete"]:
    if scope["method"] == "DELETE":
        return "delete"
    query = scope["query_string"]
    asked = _query(query).get("event", "").lower() if query else ""
    return "delete" if asked in {"delete", "deleted"} else "upsert"


def _query(query: bytes) -> dict[str, str]:
    return {key.decode("latin-1"): value.decode("latin-1") for key, value in url_pairs(query)}


def _explained(method: str, entity: str) -> tuple[int, str, bytes]:
    """What this URL is for, to whoever opens it in a browser."""
    if method not in {"GET", "HEAD"}:
        raise RefusedError(405, "Method Not Allowed")
    told = {
        "endpoint": f"Zoho Books webhook for {entity}",
        "send": "POST or PUT the record, as JSON or a form; DELETE, or ?event=delete, for a deletion",
        "answer": "202 once the event is stored; 503 when it could not be: send it again",
    }
    return 200, "explained", orjson.dumps(told)


async def _send(send: Send, code: int, answer: bytes, request_id: str, *, closes: bool) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(answer)),
        (b"x-request-id", request_id.encode("ascii", "replace")),
    ]
    if code == 429:
        headers.append((b"retry-after", b"1"))
    if code == 503:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_SECONDS))
    if code == 405:
        headers.append((b"allow", b"GET, HEAD, POST, PUT, DELETE"))
    if closes:
        # the rest of the body is not waited for
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def _printable(header: str) -> str:
    """A header's value as it may be stored and logged: no control characters, 200 characters at most."""
    return header[:200] if header.isprintable() else "".join(filter(str.isprintable, header))[:200]
