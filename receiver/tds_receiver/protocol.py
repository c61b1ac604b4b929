"""HTTP with a bound on the head of a request.

uvicorn bounds the pause between two requests and nothing else: a client that sends a byte of its headers now
and then keeps its connection for ever, and the application, asked once the head is complete, hears nothing.
"""

import asyncio
from collections import Counter
from typing import Any, ClassVar, Self

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
MAX_CONNECTIONS = 4000  # of each process; each may hold 64 KiB of a head that is not complete
MAX_WAITING = 16  # requests of one connection behind the one that is answered
LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
)


class TooLargeError(Exception):
    """A head, or what follows a chunked body, is larger than allowed, or too many requests came at once."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, closing connections whose next request's head is late or too large.

    Where there are too many connections, one that has asked for nothing gives way to each new one: the oldest
    of the peer that has the most.

    Derive a class with `bounded`: uvicorn makes the instances.
    """

    head_seconds = 10.0
    most_connections = MAX_CONNECTIONS
    _idle: ClassVar[dict["BoundedProtocol", None]] = {}  # the oldest first
    _peers: ClassVar[Counter[str]] = Counter()

    @classmethod
    def bounded(cls, *, head_seconds: float, connections: int = MAX_CONNECTIONS) -> type[Self]:
        """A class of these, with connections of its own to count.

        Args:
            head_seconds: how long the head of a request may take.
            connections: the most at once.
        """
        own = {
            "head_seconds": head_seconds,
            "most_connections": connections,
            "_idle": {},
            "_peers": Counter(),
        }
        return type("Protocol", (cls,), own)

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._late: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._fields_bytes = 0
        self._is_too_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing at all is closed too."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._make_room()
        self._peers[self._peer] += 1
        self._wait_for_head()

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    def _make_room(self) -> None:
        """The oldest connection that has asked for nothing, of the peer that has the most of all."""
        if (
            most := max((each._peer for each in self._idle), key=self._peers.__getitem__, default=None)
        ) is None:
            return
        next(each for each in self._idle if each._peer == most)._close(b"")

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

    def on_response_complete(self) -> None:
        """The connection asks for nothing until its next request."""
        super().on_response_complete()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._idle[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._stop_waiting()
        self._peers[self._peer] -= 1
        if not self._peers[self._peer]:
            del self._peers[self._peer]
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if not self.transport.is_closing():
            self._idle[self] = None
            self._late = self.loop.call_later(self.head_seconds, self._close, LATE[0])

    def _stop_waiting(self) -> None:
        self._head_bytes = 0
        self._idle.pop(self, None)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self, answer: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
