"""Whoever asks for a pull shows a key first; only then is a body read, and not a large or slow one."""

import asyncio
import base64
import hashlib
import hmac
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tds_receiver.api.dashboard import PATH
from tds_receiver.api.store import Store, UnavailableError
from tds_receiver.quota import Strangers, peer_of

KEY = re.compile(r"tds_[0-9a-f]{64}")
LARGEST_BODY = 64 * 1024
BODY_SECONDS = 10.0
READING = {"GET", "HEAD", "OPTIONS"}


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
        self._strangers = Strangers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or refuses it."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefixes):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        changes = scope["method"] not in READING
        if changes and _is_foreign(headers):
            answer = {"status": "refused", "reason": "a page of another origin may not ask for this"}
            await JSONResponse(answer, 403)(scope, receive, send)
            return
        peer = peer_of(scope)
        if not self._strangers.may_try(peer):
            answer = {"status": "refused", "reason": "too many wrong keys; the next one in a second"}
            await JSONResponse(answer, 429, headers={"retry-after": "1"})(scope, receive, send)
            return
        try:
            caller = await self._caller(headers, changes=changes)
        except UnavailableError:
            answer = {"status": "unavailable", "reason": "the database cannot be asked now"}
            await JSONResponse(answer, 503, headers={"retry-after": "5"})(scope, receive, send)
            return
        if caller is None:
            if _shows_a_key(headers):
                self._strangers.was_wrong(peer)
            answer = {"status": "refused", "reason": "Unauthorized"}
            # A browser that shows a page asks for the key then.
            challenge = 'Basic realm="TDS", charset="UTF-8"' if scope["path"] == PATH else "Bearer"
            await JSONResponse(answer, 401, headers={"www-authenticate": challenge})(scope, receive, send)
            return
        self._strangers.was_right(peer)
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, _bounded(receive), send)

    async def _caller(self, headers: Headers, *, changes: bool) -> str | None:
        """Whose key it is; None: nobody's."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "bearer":
                key = given.strip()
            # A browser that knows it sends it along with whatever any page asks for.
            case "basic" if not changes:
                key = _password(given.strip())
            case _:
                key = headers.get("x-api-key", "")
        # A secret somebody chose is compared in constant time; one that we made is looked up by its hash.
        if self._api_key and hmac.compare_digest(key.encode(), self._api_key):
            return "TDS_API_KEY"
        if not KEY.fullmatch(key):
            return None
        return await self._store.caller(hashlib.sha256(key.encode()).digest())


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a page from elsewhere asks."""
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def _shows_a_key(headers: Headers) -> bool:
    return "authorization" in headers or "x-api-key" in headers


def _password(credentials: str) -> str:
    """The password of basic authentication, empty if it is none."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _bounded(receive: Receive) -> Receive:
    """The same, but a body has so many bytes and takes so long at most."""
    left = LARGEST_BODY
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
            raise HTTPException(413, f"the body is larger than {LARGEST_BODY} bytes")
        return message

    return bounded
