"""The receiver's ASGI application: webhooks on a short way of their own, all else through Starlette."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tds_db import traces
from tds_db.images import ImageSettings
from tds_receiver.api.app import Api
from tds_receiver.api.settings import ApiSettings
from tds_receiver.images import image_routes
from tds_receiver.inbox import Inbox
from tds_receiver.metrics import Metrics
from tds_receiver.settings import ReceiverSettings
from tds_receiver.traced import TracedInbox, tell_answer, traced
from tds_receiver.webhook import PREFIXES, Answered, Webhooks


def create_app(settings: ReceiverSettings, conninfo: str) -> ASGIApp:
    """The ASGI application.

    Args:
        settings: see `ReceiverSettings`.
        conninfo: libpq connection string of the database; it need not be up yet.
    """
    inbox = (TracedInbox if traces.is_on() else Inbox)(
        conninfo, connections=settings.connections, organization_id=settings.organization_id
    )
    metrics = Metrics()
    api_settings = ApiSettings()
    if api_settings.organization_id is None:
        api_settings.organization_id = settings.organization_id
    api = Api(api_settings, conninfo, metrics)

    def watch(answered: Answered) -> None:
        metrics.answered(*answered)

    def watch_and_tell(answered: Answered) -> None:
        metrics.answered(*answered)
        tell_answer(answered)

    webhooks: ASGIApp = Webhooks(settings, inbox, watch_and_tell if traces.is_on() else watch)
    if traces.is_on():
        webhooks = traced(webhooks)

    async def refused(request: Request, error: Exception) -> Response:
        if request.method == "POST":
            inbox.stray(request.url.path)
        return await _refused(request, error)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        beats = asyncio.create_task(metrics.watch_loop(), name="beats")
        try:
            async with inbox, api:
                yield
        finally:
            beats.cancel()
            if traces.is_on():
                await asyncio.to_thread(traces.stop)

    rest = Starlette(
        routes=[*api.routes, *image_routes(ImageSettings(url=settings.image_url).place)],
        exception_handlers={HTTPException: refused},
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
