"""The receiver: bytes in, one SQL call, answer.

An event is acknowledged with 202 after its commit and never before. What the body says is the database's
business: this module does not read it, except to undo gzip and to check a signature. Nothing here redirects,
because Zoho takes a redirect for a failure.
"""

import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from uuid import uuid4

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from db.images import ImageSettings
from receiver.api.app import Api
from receiver.api.settings import ApiSettings
from receiver.body import read_body
from receiver.images import image_routes
from receiver.inbox import Event, Inbox, UnavailableError
from receiver.metrics import Metrics
from receiver.settings import ReceiverSettings
from receiver.signature import Pairs, is_authentic, signed_text, url_pairs

log = logging.getLogger(__name__)

PREFIXES = ("/api/zoho/webhooks", "/api/tds/webhooks")
SIGNATURE_HEADER = "x-zoho-webhook-signature"
KEPT_HEADERS = ("content-type", "user-agent")
ENTITY = re.compile(r"[a-z][a-z_-]{1,40}")
IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,50}")
RETRY_AFTER_SECONDS = "5"


def create_app(settings: ReceiverSettings, conninfo: str) -> Starlette:
    """The ASGI application.

    Args:
        settings: see `ReceiverSettings`.
        conninfo: libpq connection string of the database; it need not be up yet.
    """
    inbox = Inbox(conninfo, connections=settings.connections)
    metrics = Metrics()
    api_settings = ApiSettings()
    if api_settings.organization_id is None:
        api_settings.organization_id = settings.organization_id
    api = Api(api_settings, conninfo, metrics)
    receiver = Receiver(settings, inbox, metrics)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with inbox, api:
            yield

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and request.url.path.startswith(PREFIXES):
            metrics.answered("", error.status_code, "refused", 0)
        return await _refused(request, error)

    async def unavailable(request: Request, error: Exception) -> Response:
        metrics.answered("", 503, "unavailable", 0)
        return await _unavailable(request, error)

    # The path names any entity, known or not: what nobody knows yet is stored too and can be replayed later.
    # Both spellings of the path exist because a redirect would lose the event.
    webhooks = [f"{prefix}/{{entity}}{end}" for prefix in PREFIXES for end in ("", "/")]
    app = Starlette(
        routes=[
            *(Route(path, receiver.webhook, methods=["POST", "PUT", "DELETE"]) for path in webhooks),
            *(Route(path, receiver.explain, methods=["GET"]) for path in webhooks),
            *api.routes,
            *image_routes(ImageSettings(url=settings.image_url).place),
        ],
        exception_handlers={HTTPException: refused, UnavailableError: unavailable, ClientDisconnect: _gone},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


class Receiver:
    """The endpoints."""

    def __init__(self, settings: ReceiverSettings, inbox: Inbox, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._secrets = settings.secrets
        self._inbox = inbox

    async def webhook(self, request: Request) -> Response:
        """Takes one event; answers 202 `{"status": …, "inbox_id": …}` after the commit (see `Accepted`)."""
        began = time.monotonic()
        request_id = _printable(request.headers.get("x-request-id", "")) or uuid4().hex
        if self._secrets and SIGNATURE_HEADER not in request.headers:
            raise HTTPException(401)
        body = await read_body(
            request, limit=self._settings.max_body_bytes, seconds=self._settings.body_seconds
        )
        if self._secrets and not await self._is_authentic(request, body):
            raise HTTPException(401)
        event = Event(
            entity=_entity(request),
            body=body,
            organization_id=self._organization_id(request),
            event=_event(request),
            headers={
                name: _printable(request.headers[name]) for name in KEPT_HEADERS if name in request.headers
            }
            | {"x-request-id": request_id},
        )
        accepted = await self._inbox.put(event)
        self._metrics.answered(event.entity, 202, accepted.status, time.monotonic() - began)
        log.info(
            "%s %s: %s as %d, request %s",
            event.event,
            event.entity,
            accepted.status,
            accepted.inbox_id,
            request_id,
        )
        answer = {"status": accepted.status, "inbox_id": accepted.inbox_id}
        return JSONResponse(answer, 202, headers={"x-request-id": request_id})

    async def explain(self, request: Request) -> Response:
        """What this URL is for, to whoever opens it in a browser."""
        entity = _entity(request)
        return JSONResponse(
            {
                "endpoint": f"Zoho Books webhook for {entity}",
                "send": "POST or PUT the record, as JSON or a form; DELETE, or ?event=delete, for a deletion",
                "answer": "202 once the event is stored; 503 when it could not be: send it again",
            }
        )

    async def _is_authentic(self, request: Request, body: bytes) -> bool:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        pairs = url_pairs(request.scope["query_string"])
        if kind == "application/x-www-form-urlencoded":
            text = signed_text(pairs + url_pairs(body), b"")
        elif kind == "multipart/form-data":
            text = signed_text(pairs + await _multipart_pairs(request.headers, body), b"")
        else:
            text = signed_text(pairs, body)
        return is_authentic(self._secrets, text, request.headers[SIGNATURE_HEADER])

    def _organization_id(self, request: Request) -> str | None:
        given = request.query_params.get("organization_id")
        if given is None:
            return self._settings.organization_id
        if not IDENTIFIER.fullmatch(given):
            raise HTTPException(400, "organization_id in the query is not an id of Zoho's")
        return given


async def _multipart_pairs(headers: Headers, body: bytes) -> Pairs:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(headers, stream(), max_part_size=len(body)).parse()
    except MultiPartException:
        raise HTTPException(401) from None
    pairs = [(key.encode(), value.encode()) for key, value in form.multi_items() if isinstance(value, str)]
    await form.close()
    return pairs


def _entity(request: Request) -> str:
    entity: str = request.path_params["entity"]
    if not ENTITY.fullmatch(entity):
        raise HTTPException(404)
    return entity.replace("-", "_")


def _event(request: Request) -> Literal["upsert", "delete"]:
    asked = request.query_params.get("event", "").lower()
    return "delete" if request.method == "DELETE" or asked in {"delete", "deleted"} else "upsert"


def _printable(header: str) -> str:
    """A header's value as it may be stored and logged: no control characters, 200 characters at most."""
    return "".join(character for character in header if character.isprintable())[:200]


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"status": "refused", "reason": error.detail}, error.status_code, headers=error.headers
    )


async def _unavailable(request: Request, error: Exception) -> Response:
    log.error("%s %s not stored: %s", request.method, request.url.path, error)
    answer = {"status": "unavailable", "reason": "not stored, send it again"}
    return JSONResponse(answer, 503, headers={"retry-after": RETRY_AFTER_SECONDS})


async def _gone(request: Request, _: Exception) -> Response:
    log.info("%s %s: the sender left before its body was complete", request.method, request.url.path)
    return Response(status_code=400)
