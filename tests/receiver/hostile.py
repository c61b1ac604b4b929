"""Requests that nobody in his right mind would send to a webhook's URL, made from a seed."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, quote_from_bytes

ENDPOINTS = (
    "products",
    "customers",
    "vendors",
    "invoices",
    "bills",
    "credit-notes",
    "payments",
    "stock",
    "prices",
)
TEXTS = (
    "", " ", "\0", "\\u0000", "\ud800", "\\ud800", "ÿ", "نص", "🙂" * 50, "null", "NaN", "-0", "1e400", "9" * 400,
    "12,5x", "2026-02-30", "2026-01-01T25:00:00+0000", "0001-01-01T00:00:00-1200", "${INVOICE.INVOICE_ID}",
    "'; drop table zoho.products; --", "%00%ff%zz", "a" * 5000,
)  # fmt: skip
CHARSETS = (
    "utf-8", "UTF-16", "utf-7", "latin-1", "windows-1256", "shift_jis", "rot13", "hex", "base64", "zlib",
    "unicode_escape", "idna", "punycode", "undefined", "mbcs", "no-such-charset", "", '"', "utf-8; charset=x",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    is_plain: bool = True
    """Whether the body is to be found in the inbox byte for byte, should it be taken."""


def record(rng: random.Random) -> dict[str, object]:
    """A record with something wrong in it, or nothing."""
    value: object = {
        "item_id": rng.choice(
            [str(rng.randrange(10**18)), rng.randrange(10**25), None, [], True, 1.5, *TEXTS]
        ),
        "name": rng.choice(TEXTS),
        "rate": rng.choice([rng.choice(TEXTS), 12.5, -1, {}, [1], False]),
        "last_modified_time": rng.choice(["2026-06-09T09:46:21-0400", rng.choice(TEXTS), 7, None]),
        "locations": rng.choice([[], [None], [{}], {}, "x", [[[]]]]),
        rng.choice(TEXTS): rng.choice(TEXTS),
    }
    wrapped = rng.choice(
        [
            value,
            {"item": value},
            {"data": value},
            [value] * 3,
            {"item": [value]},
            {"items": value},
            {"item": 1},
        ]
    )
    return {"organization_id": 1, "item": wrapped} if rng.random() < 0.1 else wrapped  # type: ignore[return-value]


def text(rng: random.Random) -> bytes:
    """A JSON text of such a record, perhaps spoiled."""
    body = json.dumps(record(rng), ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")
    match rng.randrange(12):
        case 0:
            return body[: rng.randrange(len(body) + 1)]
        case 1:
            spoiled = bytearray(body)
            for _ in range(rng.randrange(1, 6)):
                spoiled[rng.randrange(len(spoiled))] = rng.randrange(256)
            return bytes(spoiled)
        case 2:
            return body * rng.randrange(2, 4)
        case 3:
            return b"\xef\xbb\xbf" + body
        case 4:
            depth = rng.choice([50, 5_000, 100_000])
            return b"[" * depth + body + b"]" * depth
        case 5:
            return b'{"item":{"item_id":"1","item_id":"2","a":' * rng.randrange(1, 90)
        case 6:
            return b'{"item":{"item_id":%d,"rate":%s}}' % (
                rng.randrange(10**9),
                b"1" * rng.choice([50, 20_000]),
            )
        case _:
            return body


def plain(rng: random.Random, path: str) -> Hostile:
    """Under a content type that changes nothing, or none."""
    kinds = (
        "application/json",
        "text/plain",
        "",
        "x",
        "application/octet-stream",
        "/;;=",
        "application/json;charset",
    )
    body = rng.randbytes(rng.randrange(4000)) if rng.random() < 0.2 else text(rng)
    # what begins as UTF-16 does is kept in UTF-8, should it be any
    is_utf16 = b"\0" in body[:2] or body[:2] in (b"\xff\xfe", b"\xfe\xff")
    return Hostile(path, body, {"content-type": rng.choice(kinds)}, is_plain=not is_utf16)


def form(rng: random.Random, path: str) -> Hostile:
    """A form, well made or not."""
    match rng.randrange(4):
        case 0:
            body = b"JSONString=" + quote_from_bytes(text(rng)).encode()
        case 1:
            body = b"&".join(quote(rng.choice(TEXTS), errors="replace").encode() + b"=" for _ in range(9))
        case 2:
            body = b"item_id=%d&rate=" % rng.randrange(10**9) + rng.choice(
                [b"%", b"%f", b"%00", b"%ff", b"+", b"1"]
            )
        case _:
            body = rng.randbytes(300)
    return Hostile(path, body, {"content-type": "application/x-www-form-urlencoded"})


def multipart(rng: random.Random, path: str) -> Hostile:
    """A multipart form, well made or not."""
    part = b'--b\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (
        rng.choice([b"JSONString", b"item_id", b"", b"\xff", b'"', b"a" * 500]),
        text(rng),
    )
    body = part * rng.randrange(1, 4) + rng.choice([b"--b--\r\n", b"", b"--b", b"--c--"])
    boundary = rng.choice(["; boundary=b", "; boundary=", "", '; boundary="b"', "; boundary=" + "z" * 300])
    return Hostile(path, body, {"content-type": f"multipart/form-data{boundary}"}, is_plain=False)


def charset(rng: random.Random, path: str) -> Hostile:
    """A charset that may be none."""
    kind = rng.choice(
        ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"]
    )
    return Hostile(
        path, text(rng), {"content-type": f"{kind}; charset={rng.choice(CHARSETS)}"}, is_plain=False
    )


def compressed(rng: random.Random, path: str) -> Hostile:
    """Gzip, or what calls itself so."""
    body = gzip.compress(text(rng), 1)
    match rng.randrange(6):
        case 0:
            body = body[: rng.randrange(len(body))]
        case 1:
            body += rng.randbytes(20)
        case 2:
            body = gzip.compress(bytes(17 * 2**20), 9)
        case 3:
            body *= 3
        case 4:
            body = rng.randbytes(100)
        case _:
            pass
    encoding = rng.choice(["gzip", "gzip", "GZIP", "x-gzip", "deflate", "br", "gzip, gzip", ""])
    return Hostile(
        path, body, {"content-encoding": encoding, "content-type": "application/json"}, is_plain=False
    )


def head(rng: random.Random, path: str) -> Hostile:
    """A path, a query, a method or headers that are not meant."""
    path = rng.choice(
        [
            f"{path}/", f"{path}//", path.upper(), f"{path}%00", f"{path}/../invoices", "/api/zoho/webhooks/",
            f"/api/tds/webhooks/{'x' * 41}", f"/api/tds/webhooks/{'x' * 42}", "/api/tds/webhooks/no_such_entity",
            f"{path}?event=delete", f"{path}?event=%ff", f"{path}?organization_id=", f"{path}?organization_id=%27",
            f"{path}?organization_id={'1' * 50}", f"{path}?organization_id={'1' * 51}", f"{path}?{'a=b&' * 1500}",
            f"{path}?token=%00&token=x", f"{path}?=&&=&%",
        ]
    )  # fmt: skip
    headers = {
        "x-request-id": rng.choice(["", "x" * 3000, "a\tb", "a\x85b", "%s{}"]),
        "x-zoho-webhook-signature": rng.choice(["", "0" * 64, "z" * 64, "=" * 44, "\xff", "A" * 5000]),
        "authorization": rng.choice(["", "Bearer", "Bearer  x", "Basic x", "Bearer \xff"]),
        "content-type": "application/json",
    }
    return Hostile(
        path, text(rng), headers, rng.choice(["POST", "PUT", "DELETE", "PATCH", "GET", "HEAD", "OPTIONS"])
    )


KINDS: tuple[Callable[[random.Random, str], Hostile], ...] = (
    plain,
    form,
    multipart,
    charset,
    compressed,
    head,
)


def hostile(rng: random.Random) -> Hostile:
    """One of all kinds, mostly bodies."""
    prefix = rng.choice(["zoho", "tds"])
    path = f"/api/{prefix}/webhooks/{rng.choice(ENDPOINTS)}"
    return rng.choices(KINDS, weights=[40, 15, 12, 10, 10, 13])[0](rng, path)


def long(rng: random.Random) -> Hostile:
    """A body of no use that is long: of a few hundred of them, were they kept, a receiver would grow."""
    return Hostile(f"/api/zoho/webhooks/{rng.choice(ENDPOINTS)}", rng.randbytes(100_000).hex().encode())


def wired(one: Hostile) -> bytes:
    """A request as it goes over the wire."""
    lines = {"Host": "x", **one.headers, "Content-Length": str(len(one.body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{one.method} {one.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1", "replace") + one.body


async def answered(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], sent: bytes
) -> tuple[int, bool, bytes]:
    """The status, whether the connection is closed after it, and the body of the answer."""
    reader, writer = streams
    writer.write(sent)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"\r\ncontent-length: ([0-9]+)\r\n", head)
    has_body = length is not None and not sent.startswith(b"HEAD ")
    body = await reader.readexactly(int(length[1])) if length and has_body else b""
    return int(head.split()[1]), b"connection: close" in head, body
