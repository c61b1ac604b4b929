"""Reading a request's body whole, and never more of it than allowed."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


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


async def read_body(receive: Receive, *, limit: int, seconds: float) -> bytes:
    """The body as it comes.

    Args:
        receive: of ASGI; nothing must have been read.
        limit: the most bytes allowed.
        seconds: how long the sender may take.

    Raises:
        RefusedError: 413 too large, 408 too slow.
        GoneError: it will never be complete.
    """
    try:
        async with asyncio.timeout(seconds):
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                body: bytes = message.get("body", b"")
                if len(body) > limit:
                    raise too_large(limit)
                return body
            return await _read_on(message, receive, limit)
    except TimeoutError:
        raise RefusedError(408, f"the body did not arrive within {seconds:g} s") from None


async def _read_on(message: MutableMapping[str, Any], receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise GoneError
        body += message.get("body", b"")
        if len(body) > limit:
            raise too_large(limit)
        if not message.get("more_body"):
            return bytes(body)
        message = await receive()


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
    """The content of a gzip file of one or several members.

    Raises:
        RefusedError: 413 when it is larger than `limit` bytes, 400 when it is damaged.
    """
    content = bytearray()
    while compressed:
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            content += member.decompress(compressed, limit + 1 - len(content))
        except zlib.error:
            raise RefusedError(400, "the body is not gzip") from None
        if len(content) > limit:
            raise too_large(limit)
        if not member.eof:
            raise RefusedError(400, "the gzip body is cut off")
        compressed = member.unused_data
    return bytes(content)


def too_large(limit: int) -> RefusedError:
    """The refusal of a body larger than that."""
    return RefusedError(413, f"the body is larger than {limit} bytes")
