"""The pages and deeds of the dashboard: request, one SQL call, page."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, LiteralString

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tds_receiver.api.shared import Shared
from tds_receiver.api.store import RefusedError, Store, UnavailableError
from tds_receiver.dashboard import charts, documents
from tds_receiver.dashboard.render import ASSETS, HEADERS, PATH, asset, message_page, page, unavailable_page

log = logging.getLogger(__name__)

LARGEST_ID = 2**63 - 1
LONGEST_TEXT = 200  # of what is looked for
LONGEST_NOTE = 2000  # characters of what an accountant says
SPANS = ("hour", "day", "month")
ALERT_SPANS = ("1 hour", "4 hours", "1 day", "1 week")
STATES = ("queued", "running", "settling", "complete", "partial", "failed", "cancelled")
STATUS_OF = {
    "ZB001": 422,
    "ZB002": 422,
    "ZB004": 404,
    "ZB010": 422,
    "ZB011": 503,
    "ZB012": 404,
    "ZB013": 422,
    "ZB021": 404,
    "ZB060": 404,
    "ZB061": 422,
    "ZB062": 422,
    "ZB063": 404,
}
Handler = Callable[[Request], Awaitable[Response]]


class Dashboard:
    """The pages.

    Args:
        store: the database.
        organization_id: whose pulls are asked for; None: the one that is known.
    """

    def __init__(self, store: Store, organization_id: Callable[[], str | None]) -> None:
        self._store = store
        self._organization_id = organization_id
        self._verdict = Shared(store.verdict)

    def cancel(self) -> None:
        """Ends a look that is under way."""
        self._verdict.cancel()

    @property
    def routes(self) -> list[Route]:
        """What is served, below `PATH`."""
        gets: dict[str, Handler] = {
            "": self._overview,
            "/entities": self._entities,
            "/dead": self._dead,
            "/dead/{number:int}": self._letter,
            "/records": self._record,
            "/runs": self._runs,
            "/runs/{number:int}": self._run,
            "/jobs": self._jobs,
            "/stock": self._stock,
            "/alerts": self._alerts,
            "/discrepancies": self._discrepancies,
            "/discrepancies/{number:int}": self._discrepancy,
            "/verification": self._verification,
            "/health": self._health,
        }
        posts: dict[str, Handler] = {
            "/entities/{entity}/pull": self._pull,
            "/dead/{number:int}/replay": self._replay,
            "/runs/{number:int}/cancel": self._cancel,
            "/jobs/{job}/run": self._want_job,
            "/alerts/{number:int}/acknowledge": self._acknowledge,
            "/alerts/{number:int}/mute": self._mute,
            "/alerts/{number:int}/unmute": self._unmute,
            "/alerts/mutes/end": self._end_mute,
            "/discrepancies/{number:int}/note": self._note,
        }
        return [
            *(Route(PATH + path, _page(handler), methods=["GET"]) for path, handler in gets.items()),
            *(Route(PATH + path, _page(handler), methods=["POST"]) for path, handler in posts.items()),
        ]

    async def _shown(
        self,
        request: Request,
        name: str,
        query: LiteralString,
        *parameters: object,
        status: int = 200,
        **more: Any,
    ) -> Response:
        """The page of that name, with what the query answers as `told`."""
        told: Mapping[str, Any] = await self._store.page(query, *parameters)
        return await self._written(request, name, told, status, **more)

    async def _written(
        self, request: Request, name: str, told: Mapping[str, Any], status: int = 200, **more: Any
    ) -> Response:
        state = request.state
        text = page(
            name,
            here=name,
            told=told,
            verdict=await self._verdict(),
            caller=state.caller,
            csrf=state.csrf,
            may_change=state.csrf is not None and state.scope == "operate",
            address=request.url.path,
            **more,
        )
        return HTMLResponse(text, status, headers=HEADERS)

    async def _overview(self, request: Request) -> Response:
        span = request.query_params.get("span", "hour")
        if span not in SPANS:
            raise HTTPException(404, "hour, day or month")
        drawn = await self._store.page("select tds.dashboard_charts(%b)", span)
        figures = [charts.drawn(drawn, one) for one in drawn["charts"]]
        return await self._shown(
            request, "overview", "select tds.dashboard_overview()", span=span, spans=SPANS, charts=figures
        )

    async def _entities(self, request: Request) -> Response:
        return await self._shown(request, "entities", "select tds.dashboard_entities()")

    async def _dead(self, request: Request) -> Response:
        given = {name: _text(request, name) for name in ("entity", "code", "q")}
        return await self._shown(
            request,
            "dead",
            "select tds.dashboard_dead(%b, %b, %b, %b)",
            given["entity"],
            given["code"],
            given["q"],
            _number(request, "before"),
            given=given,
        )

    async def _letter(self, request: Request) -> Response:
        return await self._one_letter(request, request.path_params["number"])

    async def _one_letter(
        self, request: Request, number: int, refused: RefusedError | None = None, written: str | None = None
    ) -> Response:
        told = await self._store.page("select tds.dashboard_letter(%b)", _id(number))
        letter = told["letter"]
        record = letter["record"] or ""
        return await self._written(
            request,
            "letter",
            told,
            STATUS_OF[refused.code] if refused else 200,
            rows=documents.rows(record, letter["path"]),
            mended=written if written is not None else documents.pretty(record),
            refused=refused,
        )

    async def _record(self, request: Request) -> Response:
        entity, looked_for = _text(request, "entity"), _text(request, "id")
        known = await self._store.page("select tds.dashboard_names()")
        told: Mapping[str, Any] = {}
        if entity and looked_for:
            told = await self._store.page("select tds.dashboard_record(%b, %b)", entity, looked_for)
        return await self._written(
            request,
            "record",
            told,
            names=known["names"],
            given={"entity": entity, "id": looked_for},
            at=known["at"],
        )

    async def _runs(self, request: Request) -> Response:
        given = {name: _text(request, name) for name in ("state", "entity")}
        return await self._shown(
            request,
            "runs",
            "select tds.dashboard_runs(%b, %b, %b)",
            given["state"],
            given["entity"],
            _number(request, "before"),
            given=given,
            states=STATES,
        )

    async def _run(self, request: Request) -> Response:
        return await self._shown(
            request, "run", "select tds.dashboard_run(%b)", _id(request.path_params["number"])
        )

    async def _jobs(self, request: Request) -> Response:
        return await self._shown(request, "jobs", "select tds.dashboard_jobs()")

    async def _stock(self, request: Request) -> Response:
        return await self._shown(request, "stock", "select tds.dashboard_stock()")

    async def _alerts(self, request: Request) -> Response:
        return await self._shown(request, "alerts", "select tds.dashboard_alerts()", spans=ALERT_SPANS)

    async def _discrepancies(self, request: Request) -> Response:
        report = _text(request, "report")
        return await self._shown(
            request,
            "discrepancies",
            "select tds.dashboard_discrepancies(%b, %b)",
            report,
            _number(request, "before"),
            given={"report": report},
        )

    async def _discrepancy(self, request: Request) -> Response:
        return await self._shown(
            request,
            "discrepancy",
            "select tds.dashboard_discrepancy(%b)",
            _id(request.path_params["number"]),
            longest=LONGEST_NOTE,
        )

    async def _verification(self, request: Request) -> Response:
        entity = _text(request, "entity")
        return await self._shown(
            request,
            "verification",
            "select tds.dashboard_verification(%b)",
            entity,
            given={"entity": entity},
        )

    async def _health(self, request: Request) -> Response:
        return await self._shown(request, "health", "select tds.dashboard_health()")

    async def _pull(self, request: Request) -> Response:
        run = await self._store.request_pull(
            request.path_params["entity"], {}, self._organization_id(), request.state.caller
        )
        return _then(f"/runs/{run['run_id']}")

    async def _cancel(self, request: Request) -> Response:
        run = await self._store.cancel(_id(request.path_params["number"]))
        return _then(f"/runs/{run['run_id']}")

    async def _want_job(self, request: Request) -> Response:
        await self._store.page(
            "select tds.api_want_job(%b, %b)", request.path_params["job"], request.state.caller
        )
        return _then("/jobs")

    async def _acknowledge(self, request: Request) -> Response:
        return await self._alert_deed(request, "select tds.api_acknowledge_alert(%b, %b, %b)")

    async def _mute(self, request: Request) -> Response:
        return await self._alert_deed(request, "select tds.api_mute_alert(%b, %b, %b)")

    async def _alert_deed(self, request: Request, query: LiteralString) -> Response:
        number = _id(request.path_params["number"])
        await self._store.page(query, number, _field(request, "span"), request.state.caller)
        return _then("/alerts")

    async def _unmute(self, request: Request) -> Response:
        await self._store.page("select tds.api_unmute_alert(%b)", _id(request.path_params["number"]))
        return _then("/alerts")

    async def _end_mute(self, request: Request) -> Response:
        await self._store.page(
            "select tds.api_unmute_alerts(%b, %b)", _field(request, "kind"), _field(request, "entity")
        )
        return _then("/alerts")

    async def _note(self, request: Request) -> Response:
        number = _id(request.path_params["number"])
        note = _field(request, "note")[:LONGEST_NOTE]
        await self._store.page(
            "select tds.api_note_discrepancy(%b, %b, %b)", number, note, request.state.caller
        )
        return _then(f"/discrepancies/{number}")

    async def _replay(self, request: Request) -> Response:
        number = request.path_params["number"]
        written: str | None = request.state.form.get("record")
        try:
            await self._store.page(
                "select tds.api_replay(%b, %b, %b)", _id(number), written, request.state.caller
            )
        except RefusedError as error:
            # what was written is not lost
            if error.code != "ZB001":
                raise
            return await self._one_letter(request, number, error, written)
        return _then(f"/dead/{number}")


def assets() -> list[Route]:
    """Style sheet, script and picture of the pages, which are no secret."""
    return [Route("/assets/{name}", _asset), Route("/", _home)]


async def _home(_: Request) -> Response:
    return RedirectResponse(PATH, 307)


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ASSETS:
        raise HTTPException(404)
    body, media_type = asset(name)
    kept = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(body, media_type=media_type, headers=HEADERS | kept)


def _page(handler: Handler) -> Handler:
    """The same, but what goes wrong is a page, too."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except UnavailableError as error:
            log.error("%s %s: %s", request.method, request.url.path, error)
            return HTMLResponse(unavailable_page(), 503, headers=HEADERS | {"retry-after": "5"})
        except RefusedError as error:
            told = {"reason": error.detail, "hint": error.hint}
            return HTMLResponse(message_page(error.message, told), STATUS_OF[error.code], headers=HEADERS)
        except HTTPException as error:
            told = {"reason": str(error.detail), "hint": ""}
            return HTMLResponse(
                message_page("There is no such page", told), error.status_code, headers=HEADERS
            )

    return answered


def not_found(request: Request) -> Response:
    """What is answered where there is no page of that address."""
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"status": "refused", "reason": "Not Found"}, 404)
    told = {"reason": request.url.path, "hint": ""}
    return HTMLResponse(message_page("There is no such page", told), 404, headers=HEADERS)


def _then(path: str) -> Response:
    return RedirectResponse(PATH + path, 303, headers=HEADERS)


def _text(request: Request, name: str) -> str | None:
    text = request.query_params.get(name, "").strip().replace("\x00", "")
    return text[:LONGEST_TEXT] or None


def _field(request: Request, name: str) -> str:
    """A field of the form that was sent."""
    text: str = request.state.form.get(name, "")
    return text.replace("\x00", "")


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    return _id(int(text)) if text.isdecimal() and text.isascii() and len(text) < 20 else None


def _id(number: int) -> int:
    if not 1 <= number <= LARGEST_ID:
        raise HTTPException(404, str(number)[:40])
    return number
