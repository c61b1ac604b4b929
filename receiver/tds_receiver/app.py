"""The receiver's ASGI application: webhooks on a short way of their own, all else through Starlette."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tds_db import traces
from tds_db.images import ImageSettings
from tds_receiver.api.app import ORGANISATION, Api
from tds_receiver.api.settings import ApiSettings
from tds_receiver.images import image_routes
from tds_receiver.inbox import Inbox, UnavailableError
from tds_receiver.metrics import Metrics
from tds_receiver.organisations import Organisations
from tds_receiver.settings import ReceiverSettings
from tds_receiver.traced import TracedInbox, tell_answer, traced
from tds_receiver.webhook import Answered, Webhooks, is_webhook

# The bulk-sync API of one organisation is that of all, with its id in the path.
OF_ONE = re.compile(r"(/api/(?:zoho|tds))/([A-Za-z0-9_-]{1,50})(/bulk-sync(?:/.*)?)", re.DOTALL)


def create_app(settings: ReceiverSettings, conninfo: str) -> ASGIApp:
    """The ASGI application.

    Args:
        settings: see `ReceiverSettings`.
        conninfo: libpq connection string of the database; it need not be up yet.
    """
    organisations = Organisations(settings)
    inbox = (TracedInbox if traces.is_on() else Inbox)(
        conninfo,
        connections=settings.connections,
        organization_id=settings.organization_id,
        lane=organisations.lane,
        on_tell=organisations.load,
    )
    metrics = Metrics()
    api_settings = ApiSettings()
    if api_settings.organization_id is None:
        api_settings.organization_id = settings.organization_id
    api = Api(api_settings, conninfo, metrics, lambda: inbox.untold)

    def watch(answered: Answered) -> None:
        metrics.answered(*answered)

    def watch_and_tell(answered: Answered) -> None:
        metrics.answered(*answered)
        tell_answer(answered)

    webhooks: ASGIApp = Webhooks(settings, inbox, watch_and_tell if traces.is_on() else watch, organisations)
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
        if scope["type"] != "http":
            await rest(scope, receive, send)
        elif is_webhook(scope["path"]):
            await webhooks(scope, receive, send)
        elif found := OF_ONE.fullmatch(scope["path"]):
            if (refused := _why_not(organisations, inbox, found[2])) is not None:
                await refused(scope, receive, send)
                return
            path = found[1] + found[3]
            own = {"path": path, "raw_path": path.encode(), ORGANISATION: found[2]}
            await rest({**scope, **own}, receive, send)
        else:
            await rest(scope, receive, send)

    return app


def _why_not(organisations: Organisations, inbox: Inbox, organization_id: str) -> Response | None:
    """What is answered where an organisation's API is not served; None: it is."""
    try:
        if organisations.is_known(organization_id):
            return None
    except UnavailableError as error:
        return JSONResponse({"status": "unavailable", "reason": str(error)}, 503, {"retry-after": "5"})
    inbox.tell_soon()  # it may have been added just now
    return JSONResponse({"status": "refused", "reason": "there is no such organisation here"}, 404)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"status": "refused", "reason": error.detail}, error.status_code, headers=error.headers
    )
