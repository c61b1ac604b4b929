"""Sends webhooks over a few connections kept open: as fast as they are answered, or at a steady rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PATH = "/api/zoho/webhooks/products"
RETRY_SECONDS = 0.5  # Zoho's minutes, compressed


@dataclass(slots=True)
class Sent:
    """What became of the webhooks."""

    latencies: list[float] = field(default_factory=list)
    """Seconds from the moment each was due to its 202, retries included."""
    first_tries: list[float] = field(default_factory=list)
    """The same of those that needed one attempt."""
    inbox_ids: list[int] = field(default_factory=list)
    acknowledged_at: list[float] = field(default_factory=list)
    refused: int = 0
    """Attempts that were not answered 202."""

    def milliseconds(self, share: float) -> float:
        """A quantile of the latencies."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def send(
    url: str, bodies: Iterable[bytes], connections: int, rate: float | None = None, *, retry: bool = False
) -> Sent:
    """Sends each body once, or until it is acknowledged.

    Args:
        url: the receiver's base URL.
        bodies: what to send.
        connections: how many are open; with a rate, at most so many webhooks are under way.
        rate: webhooks a second; None: each connection sends as soon as it is answered.
        retry: whether what is not acknowledged is sent again.
    """
    return asyncio.run(_send(url, iter(bodies), connections, rate, retry=retry))


async def _send(
    url: str, bodies: Iterator[bytes], connections: int, rate: float | None, *, retry: bool
) -> Sent:
    sent = Sent()
    began = time.perf_counter()
    numbers = iter(range(10**9))
    address = urlsplit(url)

    async def one_after_another() -> None:
        connection = _Connection(address.hostname or "", address.port or 80)
        for body in bodies:
            due = time.perf_counter()
            if rate is not None:
                due = began + next(numbers) / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            attempts = 1
            while (inbox_id := await connection.post(body)) is None:
                sent.refused += 1
                if not retry:
                    break
                attempts += 1
                await asyncio.sleep(RETRY_SECONDS)
            if inbox_id is not None:
                now = time.perf_counter()
                sent.latencies.append(now - due)
                if attempts == 1:
                    sent.first_tries.append(now - due)
                sent.inbox_ids.append(inbox_id)
                sent.acknowledged_at.append(now)
        await connection.close()

    await asyncio.gather(*(one_after_another() for _ in range(connections)))
    return sent


class _Connection:
    """HTTP/1.1, as little of it as it takes."""

    def __init__(self, host: str, port: int) -> None:
        self._where = host, port
        self._head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n".encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> int | None:
        """The event's number, or None if it was not acknowledged."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._where)
            reader, writer = self._streams
            writer.write(b"%sContent-Length: %d\r\n\r\n%s" % (self._head, len(body), body))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            answer = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            await self.close()
            return None
        if b" 202 " not in head[:14]:
            return None
        return int(answer.split(b'"inbox_id":')[1].rstrip(b"}"))

    async def close(self) -> None:
        """Closes it; the next post opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
