"""The sandbox as a web server: accounts, the Books API, and the control pages under ``/_sandbox``."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from email.utils import formatdate
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tds_sandbox import settings_api
from tds_sandbox.activity import activity_logs, webhook_histories
from tds_sandbox.control import routes as control_routes
from tds_sandbox.errors import ApiError, UnknownRecordError
from tds_sandbox.faults import BadGatewayError, Faults, Hit
from tds_sandbox.images import png
from tds_sandbox.jsontext import Document, encode
from tds_sandbox.ledger import Call, Ledger, Violation
from tds_sandbox.limits import LimitError, Limits, LimitSettings
from tds_sandbox.listing import list_records
from tds_sandbox.modules.items import Items
from tds_sandbox.oauth import Credentials, OAuth
from tds_sandbox.organisation import Organisation
from tds_sandbox.reports import PREFIX as REPORTS
from tds_sandbox.reports import SCOPE as REPORTS_SCOPE
from tds_sandbox.reports import Traps, report
from tds_sandbox.webhooks import Sender, Webhooks, WebhookSettings

PREFIX = "/books/v3"
INVENTORY = "/inventory/v1/"
MAX_DETAIL_IDS = 100
_JSON = "application/json;charset=UTF-8"
_DETAIL = re.compile(r"/([a-z]+)/(\d+)")
_IMAGE = re.compile(r"/items/(\d+)/image")

Handler = Callable[[Organisation, Request], str | Response]


Setting = TypeVar("Setting")


class Sandbox:
    """A running stand-in for Zoho: an ASGI application.

    Args:
        organisations: one or more, each with data, limits and webhooks of its own.
        limits: of every organisation, or by its id.
        credentials: of the one client that all share, or of each organisation's own by its id: a token of one
            opens no other, then.
        webhooks: of every organisation, or by its id.
        latency: real seconds that each call to the API takes at least; it makes concurrency visible.
    """

    def __init__(
        self,
        organisations: Organisation | Sequence[Organisation],
        *,
        limits: LimitSettings | Mapping[str, LimitSettings] | None = None,
        credentials: Credentials | Mapping[str, Credentials] | None = None,
        webhooks: WebhookSettings | Mapping[str, WebhookSettings] | None = None,
        latency: float = 0.0,
    ) -> None:
        listed = [organisations] if isinstance(organisations, Organisation) else list(organisations)
        self.organisations = {organisation.organization_id: organisation for organisation in listed}
        self.organisation = listed[0]
        """The first one, which the control pages mean unless they are told another."""
        self.clock = self.organisation.clock
        self.latency = latency
        self.date_ahead = 0.0
        """Seconds by which the Date header of the API's answers is ahead of the real time."""
        self.ledger = Ledger()
        self.faults = Faults()
        self.report_traps = Traps()
        """Reports that answer as they should not."""
        if isinstance(credentials, Mapping):
            self.accounts = {
                own.organization_id: OAuth(credentials[own.organization_id], own.clock, own.seed)
                for own in listed
            }
        else:
            shared = OAuth(credentials or Credentials(), self.clock, self.organisation.seed)
            self.accounts = dict.fromkeys(self.organisations, shared)
        self.oauth = self.accounts[self.organisation.organization_id]
        """The first organisation's account, which the control pages mean."""
        self.limits = {
            own.organization_id: Limits(
                _own(limits, own.organization_id) or LimitSettings(), own.clock, own.calendar
            )
            for own in listed
        }
        self._sender = Sender()
        self.webhooks = {
            own.organization_id: Webhooks(own, _own(webhooks, own.organization_id), self._sender)
            for own in listed
        }
        self._pages = Starlette(
            routes=[Route("/oauth/v2/token", self._token, methods=["POST"]), *control_routes(self)]
        )

    def close(self) -> None:
        """Stop the webhooks."""
        for webhooks in self.webhooks.values():
            webhooks.close()
        self._sender.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"].startswith((PREFIX + "/", INVENTORY)):
            await self._books(scope, receive, send)
        elif scope["type"] == "http" and not scope["path"].startswith(("/_sandbox", "/oauth/v2/token")):
            await _answer(ApiError(404, 5, "Invalid URL Passed"), {})(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    # the accounts server

    async def _token(self, request: Request) -> Response:
        began = time.monotonic()
        parameters = {key: str(value) for key, value in (await request.form()).items()}
        # The documentation puts them into the query, where they end up in access logs; both are accepted.
        parameters |= dict(request.query_params)
        organisation, account = next(
            (
                (self.organisations[organization_id], account)
                for organization_id, account in self.accounts.items()
                if account.knows(parameters)
            ),
            (self.organisation, self.oauth),
        )
        body = account.token(parameters, str(request.base_url).rstrip("/"))
        now = self.clock.now()
        if body.get("error") == "Access Denied":
            self.ledger.violate(
                Violation(
                    now, organisation.organization_id, "tokens", "/oauth/v2/token", body["error_description"]
                )
            )
        call = Call(now, "", "POST", "/oauth/v2/token", "", 200, 0, time.monotonic() - began)
        self.ledger.record(call, organisation.calendar.day(now).isoformat())
        return Response(encode(body), media_type=_JSON)

    # the Books API

    async def _books(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        request = Request(scope, receive)
        path = scope["path"].removeprefix(PREFIX)
        organisation, entered = self.organisation, None
        hit: Hit | None = None
        status, code = 200, 0
        try:
            handler, module_scope = self._route(request.method, path)
            authorization = request.headers.get("authorization", "")
            account = next((each for each in self.accounts.values() if each.gave(authorization)), self.oauth)
            account.check(authorization, module_scope)
            organisation = self._organisation_of(request, path, account)
            entered = self._enter(organisation, path)
            hit = self.faults.draw(path)
            await asyncio.sleep(self.latency + (hit.wait if hit else 0.0))
            if hit and hit.error:
                raise hit.error
            if request.method == "POST":
                request.state.body = await request.body()
            answer = handler(organisation, request)
            if hit and hit.empty and isinstance(answer, str):
                answer = _emptied(answer)
            response = answer if isinstance(answer, Response) else Response(answer, media_type=_JSON)
            response.headers.update(entered.headers())
        except ApiError as error:
            status, code = error.status, error.code
            limits = self.limits[organisation.organization_id]
            response = _answer(error, limits.headers() if status != 401 else {})
        finally:
            # Before the answer is written: a client that has it may count on the call being over.
            if entered:
                entered.leave()
        response.headers["date"] = formatdate(time.time() + self.date_ahead, usegmt=True)
        now = organisation.clock.now()
        self.ledger.record(
            Call(
                now,
                organisation.organization_id,
                request.method,
                path,
                scope["query_string"].decode("latin-1"),
                0 if hit and hit.cut else status,
                code,
                time.monotonic() - began,
            ),
            organisation.calendar.day(now).isoformat(),
        )
        if hit and hit.cut:
            await _cut(response, hit.cut, send)
        else:
            await response(scope, receive, send)

    def _enter(self, organisation: Organisation, path: str) -> Limits:
        limits = self.limits[organisation.organization_id]
        try:
            limits.enter(is_detail=_DETAIL.fullmatch(path) is not None)
        except LimitError as error:
            self.ledger.violate(
                Violation(
                    organisation.clock.now(),
                    organisation.organization_id,
                    error.kind,
                    path,
                    f"code {error.code}",
                )
            )
            raise
        return limits

    def _organisation_of(self, request: Request, path: str, account: OAuth) -> Organisation:
        if path == "/organizations":
            # lists what the user has, whatever organization_id says
            return next(self.organisations[each] for each, of in self.accounts.items() if of is account)
        asked = request.query_params.get("organization_id", "")
        if path.startswith("/organizations/"):
            asked = path.removeprefix("/organizations/")
        if not (asked.isascii() and asked.isdigit()):
            raise ApiError(400, 4029, "Invalid value passed for organization_id")
        if self.accounts.get(asked) is not account:
            message = f"This user is not associated with the CompanyID/CompanyName:{asked}."
            raise ApiError(400, 6041, message)
        return self.organisations[asked]

    def _route(self, method: str, path: str) -> tuple[Handler, str]:
        """The handler of a path and the OAuth scope it needs.

        Raises:
            ApiError: 404 for a path the sandbox does not have, 405 for another method; code 5 either way.
        """
        if match := re.fullmatch(r"/settings/(webhooks|workflows)", path):
            return self._automation(method, match[1])
        handler, module_scope = self._find_route(path)
        if method != "GET":
            raise ApiError(405, 5, "Invalid URL Passed")
        return handler, module_scope

    def _listed(self, organisation: Organisation) -> Document:
        """The organisations that the user of this one has."""
        account = self.accounts[organisation.organization_id]
        own = [self.organisations[each] for each, of in self.accounts.items() if of is account]
        return settings_api.organizations(
            {each: self.webhooks[each.organization_id].automation.plan for each in own}
        )

    def _automation(self, method: str, what: str) -> tuple[Handler, str]:
        def handle(organisation: Organisation, request: Request) -> str:
            automation = self.webhooks[organisation.organization_id].automation
            if method == "GET":
                return encode(automation.listed(what))
            try:
                given = json.loads(request.state.body)
            except ValueError:
                given = None
            if not isinstance(given, dict):
                raise ApiError(400, 9, "Invalid JSON.")
            make = automation.create_webhook if what == "webhooks" else automation.create_workflow
            return encode(make(given))

        if method not in {"GET", "POST"}:
            raise ApiError(405, 5, "Invalid URL Passed")
        return handle, "settings.READ" if method == "GET" else "settings.CREATE"

    def _find_route(self, path: str) -> tuple[Handler, str]:
        pages: dict[str, Callable[[Organisation], Document]] = {
            "/settings/currencies": settings_api.currencies,
            "/settings/taxes": settings_api.taxes,
            "/locations": settings_api.locations,
        }
        if path in pages:
            return lambda organisation, _: encode(pages[path](organisation)), "settings.READ"
        if path == "/reports/activitylogs":
            return (
                lambda organisation, request: activity_logs(organisation, request.query_params),
                "reports.READ",
            )
        if path == "/settings/webhooks/histories":
            return self._histories, "settings.READ"
        if path == "/organizations":
            return lambda organisation, _: encode(self._listed(organisation)), "settings.READ"
        if re.fullmatch(r"/organizations/[^/]+", path):
            return lambda organisation, _: encode(settings_api.organization(organisation)), "settings.READ"
        books = self.organisation.books
        if path == "/itemdetails" and "items" in books:
            return _item_details, books["items"].entity.scope
        if path[1:] in books:
            name = path[1:]
            return (
                lambda organisation, request: list_records(organisation, name, request.query_params),
                books[name].entity.scope,
            )
        if path == f"{INVENTORY}items" and "items" in books:
            return (
                lambda organisation, request: list_records(organisation, "items", request.query_params),
                "ZohoInventory.items.READ",
            )
        if path.startswith(f"{INVENTORY}items/") and "items" in books:
            item_id = path.removeprefix(f"{INVENTORY}items/")
            return lambda organisation, _: _inventory_item(organisation, item_id), "ZohoInventory.items.READ"
        if path.startswith(REPORTS):
            return (
                lambda organisation, request: report(
                    organisation, path, request.query_params, self.report_traps
                ),
                REPORTS_SCOPE,
            )
        picture = _IMAGE.fullmatch(path)
        if picture and "items" in books:
            return lambda organisation, _: _image(organisation, picture[1]), books["items"].entity.scope
        match = _DETAIL.fullmatch(path)
        if match and match[1] in books:
            name, record_id = match.groups()
            return lambda organisation, _: _detail(organisation, name, record_id), books[name].entity.scope
        raise ApiError(404, 5, "Invalid URL Passed")

    def _histories(self, organisation: Organisation, request: Request) -> str:
        deliveries = list(self.webhooks[organisation.organization_id].deliveries)
        return webhook_histories(organisation, deliveries, request.query_params)


def _detail(organisation: Organisation, name: str, record_id: str) -> str:
    entity = organisation.book(name).entity
    with organisation.lock:
        try:
            record = organisation.find(name, record_id)
        except UnknownRecordError:
            raise ApiError(404, 1002, f"{entity.noun} does not exist.") from None
        document = organisation.detail_json(name, record)
    return f'{{"code":0,"message":"success","{entity.record_key}":{document}}}'


def _inventory_item(organisation: Organisation, item_id: str) -> str:
    """``/inventory/v1/items/{id}``: the item with its stock by place, whether or not Books tells that."""
    with organisation.lock:
        try:
            item = organisation.find("items", item_id)
        except UnknownRecordError:
            raise ApiError(404, 1002, "Item does not exist.") from None
        module = organisation.book("items").entity
        assert isinstance(module, Items)
        document = module.detail(organisation, item) | module.places(organisation, item)
    return encode({"code": 0, "message": "success", "item": document})


def _image(organisation: Organisation, item_id: str) -> Response:
    """``/items/{id}/image``: the picture as the API serves it, whatever the name it was uploaded under."""
    with organisation.lock:
        try:
            item = organisation.find("items", item_id)
        except UnknownRecordError:
            raise ApiError(404, 1002, "Item does not exist.") from None
        if not item.image_id:
            raise ApiError(404, 1002, "Image does not exist.")
        return Response(png(item.image_id), media_type="image/png")


def _item_details(organisation: Organisation, request: Request) -> str:
    """``/itemdetails?item_ids=a,b``: details in bulk; ids that are gone are left out.

    How many ids are allowed is not documented; clients in production send at most 100, more is refused here.
    """
    ids = [part.strip() for part in request.query_params.get("item_ids", "").split(",") if part.strip()]
    if not ids or len(ids) > MAX_DETAIL_IDS or not all(part.isascii() and part.isdigit() for part in ids):
        raise ApiError(400, 2, "Invalid value passed for item_ids")
    with organisation.lock:
        index = organisation.book("items").index
        rows = [organisation.detail_json("items", index[part]) for part in ids if part in index]
    context = {
        "page": 1,
        "per_page": 200,
        "has_more_page": False,
        "report_name": "Items",
        "sort_column": "name",
        "sort_order": "A",
    }
    return f'{{"code":0,"message":"success","items":[{",".join(rows)}],"page_context":{encode(context)}}}'


def _answer(error: ApiError, headers: dict[str, str]) -> Response:
    if isinstance(error, BadGatewayError):
        return Response(error.message, error.status, media_type="text/html")
    body = encode({"code": error.code, "message": error.message})
    return Response(body, error.status, headers, media_type=_JSON)


def _emptied(answer: str) -> str:
    """The answer without what its arrays hold."""
    document: Document = json.loads(answer, parse_float=Decimal)
    for key, value in document.items():
        if isinstance(value, list):
            document[key] = []
        elif isinstance(value, dict) and key != "page_context":
            document[key] = {name: [] if isinstance(held, list) else held for name, held in value.items()}
    if "page_context" in document:
        document["page_context"]["has_more_page"] = False
    return encode(document)


async def _cut(response: Response, where: str, send: Send) -> None:
    """Close the connection before or within the answer, as a failing network does."""
    if where == "within":
        await send({"type": "http.response.start", "status": 200, "headers": response.raw_headers})
        half = bytes(response.body)[: len(response.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await asyncio.sleep(0.005)
    # ASGI has no word for hanging up; uvicorn's send is a method of the object that holds the transport.
    cycle: Any = getattr(send, "__self__", None)
    cycle.transport.abort()
    # Until uvicorn has noticed, it would take the missing answer for an error of ours.
    while not cycle.disconnected:  # noqa: ASYNC110 - uvicorn has no event to wait for
        await asyncio.sleep(0.001)


def _own(settings: Setting | Mapping[str, Setting] | None, organization_id: str) -> Setting | None:
    """What holds for an organisation, of what is given for all or by ids."""
    return settings.get(organization_id) if isinstance(settings, Mapping) else settings
