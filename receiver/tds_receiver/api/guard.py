"""Whoever asks for a pull shows a key first; only then is a body read, and not a large or slow one."""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tds_receiver.api.store import Store, UnavailableError
from tds_receiver.dashboard.render import (
    HEADERS,
    LOGIN,
    LOGOUT,
    PATH,
    login_page,
    unavailable_page,
)
from tds_receiver.quota import Strangers, is_loopback, peer_of

KEY = re.compile(r"tds_[0-9a-f]{64}")
COOKIE = "tds_session"
SESSION = re.compile(r"tds_session_[0-9a-f]{64}")
SESSION_SECONDS = 8 * 60 * 60
LARGEST_BODY = 64 * 1024
LARGEST_FORM = 1024 * 1024  # of the dashboard, where records are mended; read of whoever has shown a key
BODY_SECONDS = 10.0
READING = {"GET", "HEAD", "OPTIONS"}
THEN = re.compile(rf"{PATH}(?:[/?][!-\[\]-~]{{0,500}})?")  # a page of the dashboard, and no other address


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str
    """Of the key."""

    scope: str
    """What the key is good for: read, operate."""

    csrf: str | None = None
    """What a form or a script of ours sends along, where a cookie stands for the key."""


class Guard:
    """ASGI middleware in front of what needs a key.

    Args:
        app: what it guards.
        store: where the keys are.
        prefixes: paths that need a key begin so.
        api_key: one more key, of the environment.
    """

    def __init__(self, app: ASGIApp, *, store: Store, prefixes: tuple[str, ...], api_key: str | None) -> None:
        self._app = app
        self._store = store
        self._prefixes = prefixes
        self._api_key = api_key.encode() if api_key else None
        # The database is shown what a session's key was, and nothing that a short one could be guessed by.
        self._mark = (
            hashlib.scrypt(self._api_key, salt=b"tds api session", n=2**14, r=8, p=1, dklen=32)
            if self._api_key
            else None
        )
        self._strangers = Strangers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or refuses it."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefixes):
            await self._app(scope, receive, send)
            return
        most = LARGEST_FORM if _is_deed(scope["path"]) else LARGEST_BODY
        request = Request(scope, _bounded(receive, most))
        try:
            answer = await self._answer(request)
        except UnavailableError:
            answer = _unavailable(request)
        except HTTPException as error:
            answer = _refused(error.status_code, error.detail)
        if answer is None:
            await self._app(scope, _bounded(receive, most), send)
        else:
            await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        """What is answered in the application's place; None: it may have the request."""
        changes = request.method not in READING
        if changes and _is_foreign(request.headers):
            return _refused(403, "a page of another origin may not ask for this")
        peer = peer_of(request.scope)
        if not self._strangers.may_try(peer):
            return _refused(429, "too many wrong keys; the next one in a second", {"retry-after": "1"})
        if request.url.path == LOGIN:
            return await self._log_in(request, peer)
        caller = await self._caller(request, changes=changes)
        if caller is None:
            if _shows_a_key(request):
                self._strangers.was_wrong(peer)
            return _ask_for_a_key(request)
        self._strangers.was_right(peer)
        if request.url.path == LOGOUT:
            return await self._log_out(request, caller)
        if changes and caller.scope == "read":
            return _refused(403, f"the key {caller.name} may only read")
        form = await _form(request) if changes and _is_deed(request.url.path) else {}
        token = request.headers.get("x-csrf-token", form.get("csrf", ""))
        if changes and caller.csrf and not _is_same(token, caller.csrf):
            return _refused(403, "a browser that has logged in sends X-CSRF-Token along, or a key")
        state = request.state
        state.caller, state.csrf, state.scope, state.form = caller.name, caller.csrf, caller.scope, form
        return None

    async def _caller(self, request: Request, *, changes: bool) -> Caller | None:
        """Whose key it is; None: nobody's."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "bearer":
                key = given.strip()
            # A browser that knows it sends it along with whatever any page asks for.
            case "basic" if not changes:
                key = _password(given.strip())
            case "" if "x-api-key" not in request.headers and COOKIE in request.cookies:
                return await self._of_cookie(request.cookies[COOKIE])
            case _:
                key = request.headers.get("x-api-key", "")
        shown = self._shown(key)
        return await self._of_key(shown) if shown else None

    def _shown(self, key: str) -> bytes | None:
        """By what a session or the database knows the key; None: it cannot be one."""
        # A secret somebody chose is compared in constant time; one that we made is looked up by its hash.
        if self._api_key and hmac.compare_digest(key.encode(), self._api_key):
            return self._mark
        return hashlib.sha256(key.encode()).digest() if KEY.fullmatch(key) else None

    async def _of_key(self, shown: bytes) -> Caller | None:
        if self._mark and hmac.compare_digest(shown, self._mark):
            return Caller("TDS_API_KEY", "operate")
        found = await self._store.caller(shown)
        return Caller(*found) if found else None

    async def _of_cookie(self, cookie: str) -> Caller | None:
        if not SESSION.fullmatch(cookie):
            return None
        shown = await self._store.session_key(hashlib.sha256(cookie.encode()).digest())
        caller = await self._of_key(shown) if shown else None
        return replace(caller, csrf=_csrf(cookie)) if caller else None

    async def _log_in(self, request: Request, peer: str) -> Response:
        if request.method in {"GET", "HEAD"}:
            return HTMLResponse(login_page(then=_then(request.query_params.get("then", ""))), headers=HEADERS)
        if request.method != "POST":
            return _refused(405, "Method Not Allowed", {"allow": "GET, HEAD, POST"})
        form = await _form(request)
        then = _then(form.get("then", ""))
        shown = self._shown(form.get("key", "").strip())
        caller = await self._of_key(shown) if shown else None
        if shown is None or caller is None:
            self._strangers.was_wrong(peer)
            return HTMLResponse(login_page("No such key is in force.", then), 401, headers=HEADERS)
        self._strangers.was_right(peer)
        cookie = f"tds_session_{secrets.token_hex(32)}"
        await self._store.begin_session(hashlib.sha256(cookie.encode()).digest(), shown, SESSION_SECONDS)
        answer = RedirectResponse(then or PATH, 303, headers=HEADERS)
        answer.set_cookie(
            COOKIE,
            cookie,
            max_age=SESSION_SECONDS,
            secure=not is_loopback(request.url.hostname or ""),
            httponly=True,
            samesite="strict",
        )
        return answer

    async def _log_out(self, request: Request, caller: Caller) -> Response:
        if request.method != "POST":
            return _refused(405, "Method Not Allowed", {"allow": "POST"})
        if caller.csrf is None or not _is_same((await _form(request)).get("csrf", ""), caller.csrf):
            return _refused(403, "log out on the dashboard")
        await self._store.end_session(hashlib.sha256(request.cookies[COOKIE].encode()).digest())
        answer = RedirectResponse(LOGIN, 303, headers=HEADERS)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer


def _refused(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"status": "refused", "reason": reason}, status, headers=headers)


def _ask_for_a_key(request: Request) -> Response:
    of_the_page = _is_page(request.url.path)
    shown = "authorization" in request.headers or "x-api-key" in request.headers
    if of_the_page and not shown and "text/html" in request.headers.get("accept", ""):
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        then = asked if request.method in READING and asked != PATH and _then(asked) else ""
        answer = RedirectResponse(
            f"{LOGIN}?then={quote(then, safe='/')}" if then else LOGIN, 303, headers=HEADERS
        )
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer
    # for what cannot show a form
    challenge = 'Basic realm="TDS", charset="UTF-8"' if of_the_page else "Bearer"
    return _refused(401, "Unauthorized", {"www-authenticate": challenge})


def _unavailable(request: Request) -> Response:
    if _is_page(request.url.path) and "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(unavailable_page(), 503, headers=HEADERS | {"retry-after": "5"})
    told = {"status": "unavailable", "reason": "the database cannot be asked now"}
    return JSONResponse(told, 503, headers={"retry-after": "5"})


def _is_page(path: str) -> bool:
    return path == PATH or path.startswith(f"{PATH}/")


def _is_deed(path: str) -> bool:
    """Whether a form of the dashboard is sent there, by whoever has shown a key."""
    return _is_page(path) and path not in {LOGIN, LOGOUT}


def _then(given: str) -> str:
    """The page that was asked for before the key was, if it is one of the dashboard's."""
    return given if THEN.fullmatch(given) and not given.startswith((LOGIN, LOGOUT)) else ""


def _csrf(cookie: str) -> str:
    return hmac.new(cookie.encode(), b"csrf", hashlib.sha256).hexdigest()


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, each once.

    Raises:
        HTTPException: the body is too large, or too slow.
    """
    try:
        return dict(parse_qsl((await request.body()).decode("latin-1"), max_num_fields=20))
    except ValueError:
        raise HTTPException(400, "a form has at most 20 fields") from None


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a page from elsewhere asks."""
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def _shows_a_key(request: Request) -> bool:
    return "authorization" in request.headers or "x-api-key" in request.headers or COOKIE in request.cookies


def _password(credentials: str) -> str:
    """The password of basic authentication, empty if it is none."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _bounded(receive: Receive, most: int) -> Receive:
    """The same, but a body has so many bytes and takes so long at most."""
    left = most
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS
    complete = False

    async def bounded() -> Message:
        nonlocal left, complete
        if complete:  # now it is waited for the client's hanging up
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"the body took longer than {BODY_SECONDS:.0f} s") from None
        left -= len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if left < 0:
            raise HTTPException(413, f"the body is larger than {most} bytes")
        return message

    return bounded
