"""Reading a request's body whole, and never more of it than allowed."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from tds_receiver.quota import CrowdedError, Place

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Given = ParamSpec("Given")
Result = TypeVar("Result")

SLICE = 64 * 1024  # bytes that are worked on in one go, and on the event loop
MEMBERS = 100  # of a gzip file; Zoho and its proxies send one
_ASIDE = ThreadPoolExecutor(2, "bodies")


async def aside(
    size: int, function: Callable[Given, Result], *args: Given.args, **named: Given.kwargs
) -> Result:
    """Calls a function that works on so many bytes: here if they are few, else beside the event loop."""
    if size <= SLICE:
        return function(*args, **named)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_ASIDE, lambda: function(*args, **named))


class RefusedError(Exception):
    """A request that is answered without being stored.

    Args:
        status: the HTTP status.
        reason: for the sender.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class GoneError(Exception):
    """The sender left before its body was complete."""


async def read_body(receive: Receive, *, limit: int, seconds: float, place: Place) -> bytes:
    """The body as it comes.

    Args:
        receive: of ASGI; nothing must have been read.
        limit: the most bytes allowed.
        seconds: how long the sender may take.
        place: where its bytes are counted.

    Raises:
        RefusedError: 413 too large, 408 too slow.
        CrowdedError: there is no room for it.
        GoneError: it will never be complete.
    """
    try:
        async with asyncio.timeout(seconds) as place.patience:
            return await _read_whole(receive, limit, place)
    except TimeoutError:
        if place.is_evicted:
            raise CrowdedError("it gave way to others") from None
        raise RefusedError(408, f"the body did not arrive within {seconds:g} s") from None
    finally:
        place.patience = None


async def _read_whole(receive: Receive, limit: int, place: Place) -> bytes:
    parts: list[bytes] = []
    left = limit
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        part: bytes = message.get("body", b"")
        left -= len(part)
        if left < 0:
            raise too_large(limit)
        place.grow(len(part))
        parts.append(part)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """The body with `Content-Encoding: gzip` undone.

    Raises:
        RefusedError: 413 too large, 415 another encoding than gzip, 400 not gzip after all.
    """
    match encoding.strip().lower():
        case "identity" | "":
            return body
        case "gzip" | "x-gzip":
            return gunzip(body, limit)
        case _:
            raise RefusedError(415, "Content-Encoding may be gzip or absent")


def gunzip(compressed: bytes, limit: int) -> bytes:
    """The content of a gzip file of one or several members, in time proportional to its length.

    Raises:
        RefusedError: 413 when it is larger than `limit` bytes, 400 when it is damaged or of too many members.
    """
    # Twice: what turns out to be too large has not been kept meanwhile.
    for _ in _inflated(compressed, limit):
        pass
    return b"".join(_inflated(compressed, limit))


def _inflated(compressed: bytes, limit: int) -> Iterator[bytes]:
    left = limit
    whole = memoryview(compressed)
    start = 0
    for _ in range(MEMBERS):
        if start == len(whole):
            return
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        while not member.eof:
            part = whole[start : start + SLICE]
            try:
                content = member.decompress(part, min(SLICE, left + 1))
            except zlib.error:
                raise RefusedError(400, "the body is not gzip") from None
            if not part and not content:
                raise RefusedError(400, "the gzip body is cut off")
            left -= len(content)
            if left < 0:
                raise too_large(limit)
            # What is left, and what follows a member, is in it again: never more than a slice.
            start += len(part) - len(member.unconsumed_tail) - len(member.unused_data)
            yield content
    if start < len(whole):
        raise RefusedError(400, f"the gzip body has more than {MEMBERS} members")


def too_large(limit: int) -> RefusedError:
    """The refusal of a body larger than that."""
    return RefusedError(413, f"the body is larger than {limit} bytes")
