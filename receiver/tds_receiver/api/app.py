"""The operators' part of the ASGI application: bulk sync, health, metrics, OpenAPI."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Annotated, Any, Self

from fastapi import APIRouter, Body, FastAPI, Path, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.security import APIKeyHeader, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tds_db.runs import RunState
from tds_db.status import file_hashes
from tds_db.version import VERSION
from tds_receiver.api import docs, models
from tds_receiver.api.guard import Guard
from tds_receiver.api.settings import ApiSettings
from tds_receiver.api.shared import Shared
from tds_receiver.api.store import RefusedError, Store, UnavailableError
from tds_receiver.api.webhook_paths import IMAGE_PATHS, WEBHOOK_PATHS, WEBHOOK_SECURITY
from tds_receiver.dashboard import render
from tds_receiver.dashboard.pages import Dashboard, assets, not_found
from tds_receiver.metrics import Metrics

log = logging.getLogger(__name__)

PREFIXES = ("/api/zoho/bulk-sync", "/api/tds/bulk-sync")
ORGANISATION = "tds.organisation"  # of the scope: the one that the path has named
HEALTH_SECONDS = 5.0  # between two looks of /healthz at what the job health found
RETRY_AFTER = {"retry-after": "5"}
OLDER = "the database is newer than this program, which goes on: start the newer one"
DESCRIPTION = """\
Mirrors a company's Zoho Books into PostgreSQL. Webhooks of Zoho's come in here; operators ask for pulls.

Bulk sync needs a key (`tds keys create NAME`), as `Authorization: Bearer KEY` or `X-API-Key: KEY`.
One of scope `read` looks at runs, one of scope `operate` asks for pulls and cancels them, too.
Every path below `/api/zoho` is there below `/api/tds` too, and below `/api/zoho/ORGANISATION` for one of
several organisations.
"""
TAGS = [
    {"name": "webhooks", "description": "What Zoho sends."},
    {
        "name": "bulk sync",
        "description": "Pulls that are asked for. Other entities are taken by their names, too.",
    },
    {"name": "images", "description": "Pictures of products; without a key."},
    {"name": "operations", "description": "For probes and for Prometheus; without a key."},
]
PULLS: dict[str, type[models.Options]] = {
    "products": models.ProductOptions,
    "customers": models.CustomerOptions,
    "invoices": models.DocumentOptions,
    "bills": models.DocumentOptions,
    "stock": models.StockOptions,
    "pricelists": models.PricelistOptions,
}
STATUS_OF = {
    "ZB001": 422,
    "ZB002": 422,
    "ZB004": 404,
    "ZB021": 404,
    "ZB010": 422,
    "ZB011": 503,
    "ZB012": 404,
    "ZB013": 422,
}

RunId = Annotated[int, Path(ge=1, le=models.LARGEST_ID)]
OrganizationId = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9_-]{1,50}$",
        description="Zoho's organisation; default: the receiver's own, ZOHO_ORGANIZATION_ID.",
    ),
]
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": models.Refusal, "description": told}
    for status, told in {
        400: "The body is not text.",
        401: "No key, or one that is not in force.",
        403: "The key may only read, or a page of another origin asks.",
        408: "The body took too long.",
        413: "The body is too large.",
        422: "A value is refused; `path` and `reason` say which and why.",
        429: "Too many wrong keys from that address; `Retry-After` says when the next may be tried.",
        503: "Bulk sync is off, or the database is away; `reason` says which.",
    }.items()
}
NO_RUN: dict[int | str, dict[str, Any]] = {
    404: {"model": models.Refusal, "description": "There is no such run."}
}
BY_NAME = (
    "By the name of the entity, or the one Zoho has for it: `vendors`, `credit-notes`, `salesorders`, …; "
    "`select entity from tds.entity` lists them. An option that it does not take is refused by name."
)
NO_LIST: dict[int | str, dict[str, Any]] = {
    404: {"model": models.Refusal, "description": "There is no such list."}
}


class Api:
    """The API and its connections. Use as an async context manager around the serving of `routes`.

    Args:
        settings: see `ApiSettings`.
        conninfo: libpq connection string of the database; it need not be up yet.
        metrics: the counters of this process, which webhooks are counted in.
        why_not_stored: why this process cannot store anything, as far as it knows; empty: it can.
    """

    def __init__(
        self, settings: ApiSettings, conninfo: str, metrics: Metrics, why_not_stored: Callable[[], str] = str
    ) -> None:
        self._settings = settings
        self._why_not_stored = why_not_stored
        self._metrics = metrics
        self._store = Store(conninfo)
        self._files = file_hashes()
        self._matched_at: datetime | None = (
            None  # the upgrade that made the database as this program knows it
        )
        self._is_older = False
        self._health: Mapping[str, Any] | None = None
        self._asked_at = float("-inf")
        self._look: asyncio.Task[None] | None = None
        self._readiness = Shared(self._failed_now)
        self._scrape = Shared(self._scraped)
        self._dashboard = Dashboard(self._store, lambda: settings.organization_id)

    async def __aenter__(self) -> Self:
        await self._store.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._look is not None:
            self._look.cancel()
        self._readiness.cancel()
        self._scrape.cancel()
        self._dashboard.cancel()
        await self._store.__aexit__(kind, error, trace)

    @property
    def routes(self) -> list[BaseRoute]:
        """Routes for the application that serves webhooks as well; it has no say in what they answer."""
        paths = ["/healthz", "/readyz", "/metrics", "/openapi.json"]
        paths += [render.PATH, f"{render.PATH}/{{rest:path}}"]
        # The application as it is, not a mount: the path that it sees is the whole one.
        return [
            *(Route(path, self.app) for path in paths),
            *assets(),
            Route(docs.PATH, docs.page),
            Route(docs.ASSETS, docs.asset),
            *(Route(f"{prefix}/{{rest:path}}", self.app) for prefix in PREFIXES),
        ]

    @cached_property
    def app(self) -> FastAPI:
        """The FastAPI application."""
        app = FastAPI(
            title="TDS",
            description=DESCRIPTION,
            version=VERSION,
            redirect_slashes=False,
            docs_url=None,
            redoc_url=None,
        )
        key = self._settings.api_key
        app.add_middleware(
            Guard,
            store=self._store,
            prefixes=(*PREFIXES, render.PATH),
            api_key=key.get_secret_value() if key else None,
        )
        app.include_router(self._operations())
        app.include_router(self._bulk_sync(), prefix=PREFIXES[0])
        app.include_router(self._bulk_sync(), prefix=PREFIXES[1], include_in_schema=False)
        app.router.routes.extend(self._dashboard.routes)
        app.add_exception_handler(HTTPException, _http_error)
        app.add_exception_handler(RequestValidationError, self._invalid)
        app.add_exception_handler(RefusedError, _refused)
        app.add_exception_handler(UnavailableError, _unavailable)
        app.openapi = _openapi(app)  # type: ignore[method-assign]
        return app

    def _bulk_sync(self) -> APIRouter:
        router = APIRouter(
            tags=["bulk sync"],
            responses=REFUSALS,
            dependencies=[
                # For the document only: Guard has seen the key before anything is read.
                Security(HTTPBearer(auto_error=False, scheme_name="bearer")),
                Security(APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="header")),
            ],
        )
        for entity, options in PULLS.items():
            router.add_api_route(
                f"/{entity}",
                self._asker(entity, options),
                methods=["POST"],
                status_code=202,
                response_model=models.Accepted,
                summary=f"Ask for a pull of {entity}",
                operation_id=f"pull_{entity}",
            )
        # Whatever else the database pulls, and the names that Zoho has for it: it reads the options itself.
        router.add_api_route(
            "/{name}",
            self._ask_by_name,
            methods=["POST"],
            status_code=202,
            response_model=models.Accepted,
            responses=NO_LIST,
            summary="Ask for a pull of any other list",
            description=BY_NAME,
            operation_id="pull_by_name",
        )
        router.add_api_route(
            "/runs", self._runs, response_model=models.Runs, summary="List runs", operation_id="list_runs"
        )
        router.add_api_route(
            "/runs/{run_id}",
            self._run,
            response_model=models.Run,
            responses=NO_RUN,
            summary="How a run stands",
            operation_id="get_run",
        )
        for path, method, name in (
            ("/runs/{run_id}/cancel", "POST", "cancel_run"),
            ("/runs/{run_id}", "DELETE", "delete_run"),
        ):
            router.add_api_route(
                path,
                self._cancel,
                methods=[method],
                response_model=models.Run,
                responses=NO_RUN,
                summary="Cancel a run",
                description="What is stored stays. A run that has ended is answered as it is.",
                operation_id=name,
            )
        return router

    def _asker(self, entity: str, options: type[models.Options]) -> Callable[..., Any]:
        async def ask(
            request: Request,
            response: Response,
            organization_id: OrganizationId = None,
            wish: models.Options = Body(default_factory=options),  # noqa: B008 - FastAPI reads it
        ) -> models.Accepted:
            """Queues a pull. The same wish while one waits or runs is that run; another wish waits for it."""
            return await self._asked(entity, wish.given(), organization_id, request, response)

        ask.__annotations__["wish"] = options
        return ask

    async def _ask_by_name(
        self,
        name: Annotated[str, Path(max_length=50)],
        request: Request,
        response: Response,
        organization_id: OrganizationId = None,
        wish: Annotated[dict[str, Any] | None, Body()] = None,
    ) -> models.Accepted:
        if "\x00" in name:
            raise HTTPException(404)
        try:
            return await self._asked(name, wish or {}, organization_id, request, response)
        except RefusedError as error:
            if error.code == "ZB002":
                raise HTTPException(404) from None
            raise

    async def _asked(
        self,
        entity: str,
        options: Mapping[str, Any],
        organization_id: str | None,
        request: Request,
        response: Response,
    ) -> models.Accepted:
        named = request.scope.get(ORGANISATION)
        if named and organization_id not in {None, named}:
            raise HTTPException(422, "the path names one organisation, organization_id another")
        own = named or organization_id or self._settings.organization_id
        run = await self._store.request_pull(entity, options, own, request.state.caller)
        base = request.url.path.rpartition("/")[0]
        if named:
            base = base.replace("/bulk-sync", f"/{named}/bulk-sync", 1)
        url = f"{base}/runs/{run['run_id']}"
        response.headers["location"] = url
        return models.Accepted(run_id=run["run_id"], status=run["state"], url=url)

    async def _runs(
        self,
        request: Request,
        state: RunState | None = None,
        entity: Annotated[str | None, Query(pattern="^[a-z][a-z_]{1,40}$")] = None,
        before: Annotated[int | None, Query(ge=1, le=models.LARGEST_ID)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> dict[str, Any]:
        """Newest first. `next` of one answer is `before` of the next."""
        runs = await self._store.runs(state, entity, before, limit, request.scope.get(ORGANISATION))
        return {"runs": runs, "next": runs[-1]["run_id"] if len(runs) == limit else None}

    async def _run(self, run_id: RunId, request: Request) -> dict[str, Any]:
        """Progress, calls spent, and when it will be through."""
        run = await self._store.run(run_id)
        if request.scope.get(ORGANISATION) not in {None, run["organization_id"]}:
            raise HTTPException(404)
        return run

    async def _cancel(self, run_id: RunId, request: Request) -> dict[str, Any]:
        await self._run(run_id, request)
        return await self._store.cancel(run_id)

    def _operations(self) -> APIRouter:
        router = APIRouter(tags=["operations"])
        router.add_api_route(
            "/healthz",
            self._healthz,
            response_model=models.Living,
            response_model_exclude_none=True,
            summary="Whether this process runs",
        )
        router.add_api_route(
            "/readyz",
            self._readyz,
            summary="Whether the database, its schema and its queues are there, and take what comes",
            responses={
                200: {"model": models.Ready, "description": "They are."},
                503: {"model": models.NotReady, "description": "`failed` says which part is not, and why."},
            },
        )
        router.add_api_route(
            "/metrics",
            self._metrics_text,
            summary="Metrics for Prometheus",
            response_class=Response,
            responses={200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}},
        )
        return router

    async def _invalid(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # The values stay out of it: whoever sent them knows them.
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        entity = request.url.path.rpartition("/")[2]
        if first["type"] != "extra_forbidden" or entity not in PULLS:
            return _answer(422, str(first["msg"]), path)
        options = ", ".join(sorted(PULLS[entity].model_fields))
        with suppress(UnavailableError):
            first["msg"] = await self._store.why_no_option(entity, path)
        return _answer(422, str(first["msg"]), path, f"options of {entity}: {options}")

    async def _healthz(self) -> dict[str, Any]:
        """A database that is away is no reason to restart the receiver: it is not waited for.

        `health` is what the last look at the whole said, as far as this process knows.
        """
        self._look_at_health()
        return {"status": "ok", **self._told_health()}

    def _look_at_health(self) -> None:
        """Has the summary read again, beside this request, if it was not read just now."""
        if time.monotonic() - self._asked_at < HEALTH_SECONDS:
            return
        self._asked_at = time.monotonic()
        self._look = asyncio.create_task(self._read_health(), name="health")

    async def _read_health(self) -> None:
        try:
            self._health = await self._store.health()
        except UnavailableError as error:
            log.debug("the health is not known: %s", error)
            self._health = None

    def _told_health(self) -> dict[str, Any]:
        return {} if self._health is None else {"health": self._health}

    async def _readyz(self) -> Response:
        """Ready: the database answers and stores, is of this program's files, its queues are reachable."""
        failed = await self._readiness()
        if not failed:
            note = {"note": OLDER} if self._is_older else {}
            return JSONResponse({"status": "ready", **note, **self._told_health()})
        return JSONResponse({"status": "unavailable", "failed": failed}, 503, headers=RETRY_AFTER)

    async def _failed_now(self) -> dict[str, str]:
        failed = await self._failed()
        if not failed:
            await self._read_health()
        return failed

    async def _failed(self) -> dict[str, str]:
        """What is not ready, and why."""
        try:
            installed = await self._store.installed_files()
            upgraded = await self._store.last_upgrade()
            missing = await self._store.missing_queues()
        except UnavailableError as error:
            if isinstance(error.__cause__, Exception) and getattr(error.__cause__, "sqlstate", None) in {
                "42883",
                "3F000",
            }:
                return {"schema": "not installed, or older than this program: tds db upgrade"}
            log.warning("not ready: %s", error)
            return {"database": "it cannot be reached"}
        failed = self._schema(installed, upgraded)
        if missing:
            failed["queue"] = f"{', '.join(missing)} cannot be reached"
        if why := self._why_not_stored():
            failed["storage"] = f"nothing is stored: {why}"
        return failed

    def _schema(self, installed: Mapping[str, str], upgraded: Mapping[str, Any]) -> dict[str, str]:
        """What of the database this program cannot live with: an older one, or one that breaks it."""
        self._is_older = False
        differing = sorted(
            name
            for name in self._files.keys() | installed.keys()
            if self._files.get(name) != installed.get(name)
        )
        at = datetime.fromisoformat(upgraded["at"]) if upgraded["at"] else None
        if not differing:
            self._matched_at = at
            return {}
        for name, what in sorted(upgraded["breaking"].items()):
            if name not in self._files:
                return {"schema": f"{name} breaks this program ({what}): start the newer one"}
        migrations = {name: sha256 for name, sha256 in self._files.items() if name.startswith("migrations/")}
        unknown = any(name.startswith("migrations/") and name not in self._files for name in installed)
        if migrations.items() <= installed.items() and (
            unknown or (self._matched_at is not None and at is not None and at > self._matched_at)
        ):
            self._is_older = True
            return {}
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        return {"schema": f"{', '.join(differing[:3])}{more} differ from this program's: tds db upgrade"}

    async def _metrics_text(self) -> Response:
        """Counters of this process, and how it stands in the database (at most 3 seconds old)."""
        return Response(await self._scrape(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def _scraped(self) -> bytes:
        return await asyncio.to_thread(self._metrics.text, await self._store.metrics())


def _openapi(app: FastAPI) -> Callable[[], dict[str, Any]]:
    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            made["paths"] |= WEBHOOK_PATHS | IMAGE_PATHS
            made["components"]["securitySchemes"] |= WEBHOOK_SECURITY
            made["tags"] = TAGS
            app.openapi_schema = made
        return app.openapi_schema

    return document


def _answer(status: int, reason: str, path: str | None = None, hint: str | None = None) -> JSONResponse:
    told = {"status": "refused", "reason": reason, "path": path, "hint": hint}
    return JSONResponse({name: value for name, value in told.items() if value is not None}, status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and request.url.path.startswith(f"{render.PATH}/"):
        return not_found(request)
    answer = _answer(error.status_code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    if error.code == "ZB010":
        path, _sep, reason = error.detail.partition(": ")
        return _answer(422, reason, path, error.hint)
    if error.code == "ZB011":
        answer = _answer(503, error.detail)
        answer.headers.update(RETRY_AFTER)
        return answer
    return _answer(STATUS_OF[error.code], f"{error.message}: {error.detail}".rstrip(": "), None, error.hint)


async def _unavailable(request: Request, error: Exception) -> Response:
    log.error("%s %s: %s", request.method, request.url.path, error)
    answer = {"status": "unavailable", "reason": "the database cannot be asked now"}
    return JSONResponse(answer, 503, headers=RETRY_AFTER)
