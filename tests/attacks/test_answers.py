"""What the poller is answered, by whoever answers in Zoho's place."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler

import httpx
import pytest
from pydantic import ValidationError

from tds_poller.zoho.bounded import BoundedClient
from tds_poller.zoho.errors import TooLargeError
from tds_poller.zoho.settings import ZohoSettings
from tests.db.receivers import served

MIB = 2**20


@contextmanager
def answering(body: bytes, status: int = 200, **headers: str) -> Iterator[str]:
    """A server that always answers so; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler) as url:
        yield f"{url}/"


def asked(url: str, largest: int = MIB) -> httpx.Response:
    """The answer, as the poller reads it."""

    async def ask() -> httpx.Response:
        async with BoundedClient(largest=largest, trust_env=False) as http:
            return await http.get(url)

    return asyncio.run(ask())


def test_what_is_small_on_the_way_and_large_here_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(400 * MIB), 9)
    assert len(bomb) < MIB
    with answering(bomb, Content_Encoding="gzip") as url:
        tracemalloc.start()
        try:
            with pytest.raises(TooLargeError, match="larger than 1048576 bytes"):
                asked(url)
            assert tracemalloc.get_traced_memory()[1] < 6 * MIB
        finally:
            tracemalloc.stop()


def test_what_follows_a_compressed_answer_counts_and_is_not_kept() -> None:
    whole = gzip.compress(b'{"code": 0}')
    with answering(whole + bytes(30 * MIB), Content_Encoding="gzip") as url:
        tracemalloc.start()
        try:
            with pytest.raises(TooLargeError, match="larger than 1048576 bytes"):
                asked(url)
            assert tracemalloc.get_traced_memory()[1] < 6 * MIB
        finally:
            tracemalloc.stop()
    with answering(whole + bytes(1000), Content_Encoding="gzip") as url:
        assert asked(url).content == b'{"code": 0}'


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_the_bound_is_exact(size: int, encoding: str) -> None:
    body = bytes(size)
    with answering(gzip.compress(body) if encoding == "gzip" else body, Content_Encoding=encoding) as url:
        if size > MIB:
            with pytest.raises(TooLargeError):
                asked(url)
        else:
            assert asked(url).content == body


def test_what_is_damaged_is_an_error_of_transport() -> None:
    whole = gzip.compress(bytes(range(256)) * 100)
    for body in (whole[:-20], whole[:50]):
        with answering(body, Content_Encoding="gzip") as url, pytest.raises(httpx.TransportError):
            asked(url)
    with answering(b"no gzip", Content_Encoding="gzip") as url, pytest.raises(httpx.TransportError):
        asked(url)
    with answering(b"x", Content_Encoding="br") as url, pytest.raises(TooLargeError, match="nobody asked"):
        asked(url)


def test_no_redirect_is_followed() -> None:
    with answering(b'{"code": 0}') as elsewhere, answering(b"", 302, Location=elsewhere) as url:
        assert asked(url).status_code == 302


GIVEN = {"client_id": "1", "client_secret": "hidden", "refresh_token": "hidden", "organization_id": "7"}


@pytest.mark.parametrize(
    "base",
    ["http://zoho.example", "ftp://127.0.0.1", "http://127.0.0.1.example", "//x", "http://", "https://"],
)
@pytest.mark.parametrize("name", ["api_base", "accounts_base"])
def test_no_secret_is_sent_where_others_can_read_it(base: str, name: str) -> None:
    with pytest.raises(ValidationError, match="must begin with https") as refused:
        ZohoSettings.model_validate(GIVEN | {name: base})
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:8", "http://[::1]:8", "http://localhost:8", "https://zoho.example"]
)
def test_the_sandbox_may_be_on_this_computer(base: str) -> None:
    assert ZohoSettings.model_validate(GIVEN | {"api_base": base}).hosts.api == base
