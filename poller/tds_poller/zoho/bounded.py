"""An HTTP client that keeps no more of an answer than allowed, however small it was on its way.

Nor does it wait for one for ever, however steadily it comes.
"""

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import httpx

from tds_poller.zoho.errors import TooLargeError

LARGEST = 64 * 2**20  # bytes; a page of 200 documents has some hundred thousand
LONGEST = 300.0  # seconds until an answer is whole: httpx bounds only the pause between two pieces of it


@cache
def _trusted() -> ssl.SSLContext:
    """Whom we trust. Read once: it takes 20 ms, and there is a client for each organisation."""
    return httpx.create_ssl_context()


class BoundedClient(httpx.AsyncClient):
    """Reads answers whole, up to a bound; gzip is undone no further than that. Redirects are not followed.

    Args:
        largest: most bytes of an answer.
        longest: seconds that it may take until it is whole.
        options: of `httpx.AsyncClient`.
    """

    def __init__(self, *, largest: int = LARGEST, longest: float = LONGEST, **options: Any) -> None:
        super().__init__(
            follow_redirects=False, headers={"accept-encoding": "gzip"}, verify=_trusted(), **options
        )
        self._largest = largest
        self._longest = longest

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """See httpx.

        Raises:
            TooLargeError: the answer is larger than allowed, or compressed in a way that was not asked for.
            httpx.ReadTimeout: it was not whole in time.
        """
        try:
            async with asyncio.timeout(self._longest):
                return await self._whole(request, options)
        except TimeoutError:
            told = f"the answer was not whole within {self._longest:g} s"
            raise httpx.ReadTimeout(told, request=request) from None

    async def _whole(self, request: httpx.Request, options: dict[str, Any]) -> httpx.Response:
        response = await super().send(request, **(options | {"stream": True}))
        try:
            body = b"".join([part async for part in _bounded(response, self._largest)])
        finally:
            await response.aclose()
        kept = [
            (name, value)
            for name, value in response.headers.multi_items()
            if name not in {"content-encoding", "content-length", "transfer-encoding"}
        ]
        return httpx.Response(response.status_code, headers=kept, content=body, request=request)


async def _bounded(response: httpx.Response, largest: int) -> AsyncIterator[bytes]:
    left = largest
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in {"gzip", "x-gzip", "identity", ""}:
        raise TooLargeError(
            f"{response.request.url.path}: answered in {encoding[:50]}, which nobody asked for."
        )
    member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if encoding.endswith("gzip") else None
    is_empty = True
    async for raw in response.aiter_raw():
        is_empty = is_empty and not raw
        if member is not None and member.eof:
            # What follows is nobody's, and would be kept there; it counts all the same.
            left -= len(raw)
        try:
            part = raw if member is None else b"" if member.eof else member.decompress(raw, left + 1)
        except zlib.error as error:
            raise httpx.RemoteProtocolError(str(error), request=response.request) from error
        left -= len(part)
        if left < 0:
            raise TooLargeError(
                f"{response.request.url.path}: the answer is larger than {largest} bytes.",
                "Nothing of it is kept. If that is what Zoho sends, please report it.",
            )
        yield part
    if member is not None and not member.eof and not is_empty:
        raise httpx.RemoteProtocolError("the compressed answer is cut off", request=response.request)
