"""Reading a request's body whole, and never more of it than allowed."""

import asyncio
import zlib

from starlette.exceptions import HTTPException
from starlette.requests import Request


async def read_body(request: Request, *, limit: int, seconds: float) -> bytes:
    """The body with `Content-Encoding: gzip` undone.

    Args:
        request: the request; its body must not have been read.
        limit: the most bytes allowed, before and after decompression.
        seconds: how long the sender may take.

    Raises:
        HTTPException: 413 too large, 408 too slow, 415 another encoding than gzip, 400 not gzip after all.
    """
    if int(request.headers.get("content-length", 0)) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {seconds:g} s") from None
    match request.headers.get("content-encoding", "identity").strip().lower():
        case "identity" | "":
            return bytes(body)
        case "gzip" | "x-gzip":
            return gunzip(bytes(body), limit)
        case _:
            raise HTTPException(415, "Content-Encoding may be gzip or absent")


def gunzip(compressed: bytes, limit: int) -> bytes:
    """The content of a gzip file of one or several members.

    Raises:
        HTTPException: 413 when it is larger than `limit` bytes, 400 when it is damaged.
    """
    content = bytearray()
    while compressed:
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            content += member.decompress(compressed, limit + 1 - len(content))
        except zlib.error:
            raise HTTPException(400, "the body is not gzip") from None
        if len(content) > limit:
            raise _too_large(limit)
        if not member.eof:
            raise HTTPException(400, "the gzip body is cut off")
        compressed = member.unused_data
    return bytes(content)


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {limit} bytes")
