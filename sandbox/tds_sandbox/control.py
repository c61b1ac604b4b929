"""The control pages: what tests and demonstrations ask the sandbox to do, and what it knows."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import asdict, fields, replace
from decimal import Decimal
from functools import partial
from inspect import signature
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tds_sandbox.clock import Clock
from tds_sandbox.errors import SandboxError, UnknownRecordError
from tds_sandbox.faults import Faults
from tds_sandbox.jsontext import Document, decode, encode
from tds_sandbox.ledger import Ledger
from tds_sandbox.limits import Limits, LimitSettings
from tds_sandbox.oauth import OAuth
from tds_sandbox.organisation import Change, Organisation
from tds_sandbox.reports import Traps
from tds_sandbox.webhooks import Webhooks

Page = Callable[[Request], Awaitable[Response]]


class Controlled(Protocol):
    """What the pages control: a sandbox, by what they use of it."""

    organisations: dict[str, Organisation]
    organisation: Organisation
    clock: Clock
    date_ahead: float
    ledger: Ledger
    faults: Faults
    report_traps: Traps
    oauth: OAuth
    limits: dict[str, Limits]
    webhooks: dict[str, Webhooks]


def make_edits(
    organisation: Organisation,
    *,
    count: int = 1,
    entities: Iterable[str] = (),
    kind: str | None = None,
    id: str | None = None,  # noqa: A002 - the name of the JSON key
    seed: int | None = None,
    create: int = 0,
    delete: int = 0,
    void: int = 0,
    silent: bool = False,
    fire: bool | None = None,
) -> list[Change]:
    """Make a mixture of edits, creations, deletions and voidings in random order.

    Args:
        organisation: where.
        count: edits of existing records.
        entities: to choose from; all that have records if empty.
        kind: of the edits; any that suits if None.
        id: of the one record to edit or delete, with exactly one entity.
        seed: starts the choices anew; None goes on.
        create: how many records to add.
        delete: how many to delete.
        void: how many invoices to void.
        silent: whether stock may move, which nothing announces.
        fire: whether webhooks are sent; as Zoho would if None, which has none for price lists and settings.

    Raises:
        SandboxError: an entity, a record or an edit does not exist or does not suit.
    """
    entities = list(entities)
    names = entities or list(organisation.books)
    if id is not None and len(names) != 1:
        raise SandboxError("an id needs exactly one entity")
    if seed is not None:
        organisation.reseed(seed)
    rng = random.Random(f"{organisation.seed if seed is None else seed}/mixture")
    acts = ["edit"] * count + ["create"] * create + ["delete"] * delete + ["void"] * void
    rng.shuffle(acts)
    # Where an entity has no records yet there is nothing to edit, but something to create.
    filled = [name for name in names if organisation.book(name).records] or names
    changes = []
    for act in acts:
        if act == "create":
            # Modules this organisation does not use stay unused unless they are named.
            changes.append(organisation.create(rng.choice(names if entities else filled), fire=fire))
        elif act == "void":
            changes.append(organisation.void(id, fire=fire))
        elif act == "delete":
            changes.append(organisation.delete(rng.choice(filled), id, fire=fire))
        else:
            changes.append(organisation.edit(rng.choice(filled), id, kind=kind, silent=silent, fire=fire))
    return changes


def _json(document: Any, status: int = 200) -> Response:
    return Response(encode(document), status, media_type="application/json")


def _seconds(value: float) -> Decimal:
    return Decimal(f"{value:.6f}")


def _wire(value: Any) -> Any:
    """Settings hold floats; JSON here is written without."""
    if isinstance(value, float):
        return Decimal(str(value))
    if isinstance(value, dict):
        return {str(key): _wire(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_wire(part) for part in value]
    return value


def _floats(body: Document) -> Document:
    return {key: float(value) if isinstance(value, Decimal) else value for key, value in body.items()}


def _grouped(lines: Iterator[str], size: int = 200) -> Iterator[str]:
    """Fewer, larger pieces: each piece costs a hand-over between threads."""
    group: list[str] = []
    for line in lines:
        group.append(line)
        if len(group) == size:
            yield "\n".join(group) + "\n"
            group = []
    if group:
        yield "\n".join(group) + "\n"


class Control:
    """The handlers of ``/_sandbox/…``; JSON in, JSON out. Most take ``?organization_id=``."""

    def __init__(self, sandbox: Controlled) -> None:
        self._sandbox = sandbox

    def _organisation(self, request: Request) -> Organisation:
        asked = request.query_params.get("organization_id", self._sandbox.organisation.organization_id)
        if asked not in self._sandbox.organisations:
            raise UnknownRecordError(f"no organisation {asked}")
        return self._sandbox.organisations[asked]

    @staticmethod
    async def _body(request: Request) -> Document:
        text = await request.body()
        try:
            body = decode(text) if text.strip() else {}
        except ValueError as error:
            raise SandboxError(f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise SandboxError("the body must be a JSON object")
        return body

    async def index(self, _: Request) -> Response:
        """``GET /_sandbox/``: the organisations and how many records they have."""
        listed = [
            {
                "organization_id": organisation.organization_id,
                "name": organisation.name,
                "records": {name: len(book.records) for name, book in organisation.books.items()},
                "deleted": {name: len(book.deleted) for name, book in organisation.books.items()},
                "planted": len(organisation.planted),
            }
            for organisation in self._sandbox.organisations.values()
        ]
        return _json({"organisations": listed, "pages": [route.path for route in routes(self._sandbox)]})

    async def truth(self, request: Request) -> Response:
        """``GET /_sandbox/truth/{entity}?shape=detail|list&deleted=true|false&silent=true|false``: NDJSON."""
        organisation = self._organisation(request)
        entity = request.path_params["entity"]
        organisation.book(entity)
        shape = request.query_params.get("shape", "detail")
        if shape not in {"detail", "list"}:
            raise SandboxError(f"no shape {shape!r}; there are detail and list")
        deleted = request.query_params.get("deleted", "true") == "true"
        silent = request.query_params.get("silent", "true") == "true"
        lines = _grouped(organisation.truth_lines(entity, shape, deleted=deleted, silent=silent))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def entities(self, request: Request) -> Response:
        """``GET /_sandbox/entities``: keys, edits, silent keys of each entity."""
        organisation = self._organisation(request)
        books = [*organisation.books.values(), *organisation.settings.values()]
        listed = [
            {
                "entity": entity.name,
                "record_key": entity.record_key,
                "id_key": entity.id_key,
                "edits": {
                    kind: "silent" if edit.silent else "announced" for kind, edit in entity.edits.items()
                },
                "silent_keys": sorted(entity.silent_keys),
                "filters": list(entity.filters),
                "sort_columns": list(entity.sort_keys),
            }
            for entity in (book.entity for book in books)
        ]
        return _json({"entities": listed})

    async def planted(self, request: Request) -> Response:
        """``GET /_sandbox/planted``: the bad records."""
        return _json({"planted": self._organisation(request).planted_records()})

    async def mend(self, request: Request) -> Response:
        """``POST /_sandbox/mend {"ids": […], "fire": true}``: correct them, all without ids."""
        body = await self._body(request)
        changes = self._organisation(request).mend(body.get("ids"), fire=body.get("fire"))
        return _json({"changes": [change.as_dict() for change in changes]})

    async def edit(self, request: Request) -> Response:
        """``POST /_sandbox/edit``: the arguments of ``make_edits``; answers the changes made."""
        organisation = self._organisation(request)
        body = await self._body(request)
        if unknown := set(body) - (set(signature(make_edits).parameters) - {"organisation"}):
            raise SandboxError(f"unknown arguments: {', '.join(sorted(unknown))}")
        changes = await run_in_threadpool(partial(make_edits, organisation, **body))
        return _json({"changes": [change.as_dict() for change in changes]})

    async def webhooks(self, request: Request) -> Response:
        """``GET`` or ``POST /_sandbox/webhooks``: settings (the secret is not shown), and counts by state."""
        webhooks = self._sandbox.webhooks[self._organisation(request).organization_id]
        if request.method == "POST":
            webhooks.configure(**_floats(await self._body(request)))
        settings = asdict(webhooks.settings)
        settings["secret"] = "set" if settings["secret"] else ""
        states = {"pending": 0, "delivered": 0, "failed": 0}
        for delivery in list(webhooks.deliveries):
            states[delivery.state] += 1
        return _json({"settings": _wire(settings), "deliveries": states})

    async def deliveries(self, request: Request) -> Response:
        """``GET /_sandbox/webhooks/deliveries``: NDJSON, oldest first."""
        webhooks = self._sandbox.webhooks[self._organisation(request).organization_id]
        lines = (encode(delivery.as_dict()) for delivery in list(webhooks.deliveries))
        return StreamingResponse(_grouped(lines), media_type="application/x-ndjson")

    async def drain(self, request: Request) -> Response:
        """``POST /_sandbox/webhooks/drain {"timeout": 30}``: wait until nothing is pending."""
        webhooks = self._sandbox.webhooks[self._organisation(request).organization_id]
        timeout = float((await self._body(request)).get("timeout", 30))
        drained = await run_in_threadpool(webhooks.drain, timeout)
        return _json({"drained": drained, "pending": webhooks.pending})

    async def resend(self, request: Request) -> Response:
        """``POST /_sandbox/webhooks/resend {"number": 1}``: the same bytes again."""
        webhooks = self._sandbox.webhooks[self._organisation(request).organization_id]
        return _json(webhooks.resend(int((await self._body(request)).get("number", 0))).as_dict())

    async def faults(self, request: Request) -> Response:
        """``GET`` or ``POST /_sandbox/faults``: ``FaultSettings``; POST replaces all, ``{}`` ends them."""
        faults = self._sandbox.faults
        if request.method == "POST":
            faults.set(**_floats(await self._body(request)))
        return _json({"settings": _wire(asdict(faults.settings)), "struck": faults.struck})

    async def reports(self, request: Request) -> Response:
        """``GET`` or ``POST /_sandbox/reports {"salesbyitem": "echo"}``: traps; POST replaces all."""
        traps = self._sandbox.report_traps
        if request.method == "POST":
            traps.set({name: str(kind) for name, kind in (await self._body(request)).items()})
        return _json({"traps": traps.by_report})

    async def ledger(self, request: Request) -> Response:
        """``GET /_sandbox/ledger``: counts and violations; ``DELETE`` begins anew."""
        ledger = self._sandbox.ledger
        if request.method == "DELETE":
            ledger.clear()
        summary = ledger.summary()
        summary["tokens_given"] = self._sandbox.oauth.refreshed
        summary["most_in_process"] = {
            org: limits.most_in_process for org, limits in self._sandbox.limits.items()
        }
        return _json(summary)

    async def calls(self, _: Request) -> Response:
        """``GET /_sandbox/ledger/calls``: the calls one by one, NDJSON."""
        lines = (encode(line) for line in self._sandbox.ledger.lines())
        return StreamingResponse(_grouped(lines), media_type="application/x-ndjson")

    async def clock(self, request: Request) -> Response:
        """``GET`` or ``POST /_sandbox/clock {"advance": seconds, "scale": 60, "date_ahead": seconds}``.

        ``date_ahead`` shifts only the Date header of answers, which otherwise shows the real time.
        """
        clock = self._sandbox.clock
        if request.method == "POST":
            body = await self._body(request)
            try:
                if "scale" in body:
                    clock.rescale(float(body["scale"]))
                clock.advance(float(body.get("advance", 0)))
                self._sandbox.date_ahead = float(body.get("date_ahead", self._sandbox.date_ahead))
            except (TypeError, ValueError) as error:
                raise SandboxError(str(error)) from error
        now = clock.now()
        stamp = self._organisation(request).calendar.stamp(int(now))
        return _json({"now": _seconds(now), "stamp": stamp, "scale": _seconds(clock.scale)})

    async def grant_code(self, _: Request) -> Response:
        """``POST /_sandbox/grant-code``: what Zoho's console makes for a self client."""
        return _json({"code": self._sandbox.oauth.make_grant_code()})

    async def oauth(self, request: Request) -> Response:
        """``GET`` or ``POST /_sandbox/oauth {"revoked": true, "revoke_tokens": true, "lacking": []}``.

        ``revoked`` is the refresh token's state; ``revoke_tokens`` ends the access tokens given out so far;
        ``lacking`` are scopes (``bills.READ``) the next ones lack; ``api_domain`` is told as the data centre.
        """
        oauth = self._sandbox.oauth
        if request.method == "POST":
            body = await self._body(request)
            oauth.revoked = bool(body.get("revoked", oauth.revoked))
            oauth.lacking = frozenset(map(str, body.get("lacking", oauth.lacking)))
            oauth.api_domain = str(body.get("api_domain", oauth.api_domain))
            if body.get("revoke_tokens"):
                oauth.revoke_tokens()
        state = {"revoked": oauth.revoked, "lacking": sorted(oauth.lacking), "api_domain": oauth.api_domain}
        return _json(state | {"tokens_given": oauth.refreshed})

    async def limits(self, request: Request) -> Response:
        """``GET`` or ``POST /_sandbox/limits``: ``LimitSettings``, and how far they are used."""
        organisation = self._organisation(request)
        limits = self._sandbox.limits[organisation.organization_id]
        if request.method == "POST":
            body = _floats(await self._body(request))
            if unknown := set(body) - {entry.name for entry in fields(LimitSettings)}:
                raise SandboxError(f"unknown limits: {', '.join(sorted(unknown))}")
            limits.settings = replace(limits.settings, **body)
        return _json(_limits(limits))


def _limits(limits: Limits) -> Document:
    return {
        "settings": _wire(asdict(limits.settings)),
        "used_today": limits.used_today,
        "in_process": limits.in_process,
        "most_in_process": limits.most_in_process,
        "headers": limits.headers(),
    }


def _guarded(page: Page) -> Page:
    async def guarded(request: Request) -> Response:
        try:
            return await page(request)
        except UnknownRecordError as error:
            return _json({"error": str(error)}, 404)
        except SandboxError as error:
            return _json({"error": str(error)}, 400)

    return guarded


def routes(sandbox: Controlled) -> list[Route]:
    """The control pages of a sandbox."""
    control = Control(sandbox)
    pages: list[tuple[str, Page, list[str]]] = [
        ("/", control.index, ["GET"]),
        ("/truth/{entity}", control.truth, ["GET"]),
        ("/entities", control.entities, ["GET"]),
        ("/planted", control.planted, ["GET"]),
        ("/mend", control.mend, ["POST"]),
        ("/edit", control.edit, ["POST"]),
        ("/webhooks", control.webhooks, ["GET", "POST"]),
        ("/webhooks/deliveries", control.deliveries, ["GET"]),
        ("/webhooks/drain", control.drain, ["POST"]),
        ("/webhooks/resend", control.resend, ["POST"]),
        ("/faults", control.faults, ["GET", "POST"]),
        ("/reports", control.reports, ["GET", "POST"]),
        ("/ledger", control.ledger, ["GET", "DELETE"]),
        ("/ledger/calls", control.calls, ["GET"]),
        ("/clock", control.clock, ["GET", "POST"]),
        ("/oauth", control.oauth, ["GET", "POST"]),
        ("/grant-code", control.grant_code, ["POST"]),
        ("/limits", control.limits, ["GET", "POST"]),
    ]
    return [Route("/_sandbox" + path, _guarded(page), methods=methods) for path, page, methods in pages]
