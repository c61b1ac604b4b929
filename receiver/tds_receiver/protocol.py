"""HTTP with a bound on the head of a request.

uvicorn bounds the pause between two requests and nothing else: a client that sends a byte of its headers now
and then keeps its connection for ever, and the application, asked once the head is complete, hears nothing.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
MAX_WAITING = 16  # requests of one connection behind the one that is answered
LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
)


class TooLargeError(Exception):
    """A head, or what follows a chunked body, is larger than allowed, or too many requests came at once."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, closing connections whose next request's head is late or too large.

    Derive a class to set `head_seconds`: uvicorn makes the instances.
    """

    head_seconds = 10.0

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._late: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._fields_bytes = 0
        self._is_too_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing at all is closed too."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Sets the clock only if the head is not complete yet: nearly always it comes at once."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._close(LATE[1])
            elif self._late is None:
                self._wait_for_head()

    def on_message_begin(self) -> None:
        """Another request, of which nothing has been read."""
        self._fields_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or one behind a chunked body."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        # A head that comes whole in one read is here before `data_received` could count it.
        self._fields_bytes += size
        if self._fields_bytes > MAX_HEAD_BYTES:
            self._is_too_large = True
            raise TooLargeError  # the parser reads no further

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_waiting()
        if len(self.pipeline) >= MAX_WAITING:
            self._is_too_large = True
            raise TooLargeError
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What the parser stopped at is answered."""
        if not self._is_too_large:
            super().send_400_response(msg)
        elif self.cycle is None or self.cycle.response_complete:
            self._close(LATE[1])
        else:
            self.transport.close()  # an answer is being written

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if not self.transport.is_closing():
            self._late = self.loop.call_later(self.head_seconds, self._close, LATE[0])

    def _stop_waiting(self) -> None:
        self._head_bytes = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self, answer: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
