"""The receiver's ASGI application: webhooks on a short way of their own, all else through Starlette."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.inbox import Inbox
from receiver.settings import ReceiverSettings
from receiver.webhook import PREFIXES, RETRY_AFTER_SECONDS, Answered, Webhooks


def create_app(
    settings: ReceiverSettings,
    conninfo: str,
    *,
    routes: Sequence[BaseRoute] = (),
    watch: Callable[[Answered], None] = lambda _: None,
) -> ASGIApp:
    """The ASGI application.

    Args:
        settings: see `ReceiverSettings`.
        conninfo: libpq connection string of the database; it need not be up yet.
        routes: of other parts, which come before the receiver's own (`/healthz`, `/readyz`).
        watch: is told of every answer to a webhook.
    """
    inbox = Inbox(conninfo, connections=settings.connections)
    webhooks = Webhooks(settings, inbox, watch)

    async def healthz(_: Request) -> Response:
        """Whether this process runs."""
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        """Whether events can be stored now."""
        if await inbox.is_ready():
            return JSONResponse({"status": "ready"})
        headers = {"retry-after": str(RETRY_AFTER_SECONDS)}
        return JSONResponse({"status": "unavailable"}, 503, headers=headers)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with inbox:
            yield

    rest = Starlette(
        routes=[*routes, Route("/healthz", healthz), Route("/readyz", readyz)],
        exception_handlers={HTTPException: _refused},
        lifespan=lifespan,
    )
    rest.router.redirect_slashes = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Starlette's routing, middleware and request object cost a webhook more than everything it needs.
        is_webhook = scope["type"] == "http" and scope["path"].startswith(PREFIXES)
        await (webhooks if is_webhook else rest)(scope, receive, send)

    return app


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"status": "refused", "reason": error.detail}, error.status_code, headers=error.headers
    )
