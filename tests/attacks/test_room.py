"""What strangers hold is bounded, and honest webhooks find room whatever strangers announce, send or leave undone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from typing import Any

import pytest

from tds_receiver import server
from tds_receiver.settings import ReceiverSettings
from tds_receiver.webhook import Webhooks
from tests.attacks.work import most_kept
from tests.receiver.asgi import List
from tests.receiver.conftest import Receive
from tests.receiver.test_authenticity import SECRET, SIGNATURE, digest
from tests.receiver.test_webhooks import ITEM, PRODUCTS

BODY = b'{"item": {"item_id": "1"}}'
SIGNED = {SIGNATURE: digest(SECRET, BODY).hex()}
FORGED = {SIGNATURE: "00" * 32}
Told = MutableMapping[str, Any]


class Stage:
    """Webhooks, and senders at them."""

    def __init__(self, **settings: object) -> None:
        given = {"webhook_secret": SECRET, "body_seconds": 600} | settings
        self.webhooks = Webhooks(ReceiverSettings.model_validate(given), List())

    async def send(
        self, pieces: list[bytes], headers: dict[str, str], peer: str = "192.0.2.1", *, ends: bool = True
    ) -> tuple[int, bytes]:
        """Sends a body in pieces; without an end, it is waited for for ever. Its answer."""
        answer: list[Told] = []
        left = list(pieces)

        async def receive() -> Told:
            if left:
                return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or not ends}
            await asyncio.Event().wait()
            raise AssertionError

        async def collect(message: Told) -> None:
            answer.append(message)

        await self.webhooks(self.scope(headers, peer), receive, collect)
        return answer[0]["status"], dict(answer[0]["headers"]).get(b"connection", b"")

    @staticmethod
    def scope(headers: dict[str, str], peer: str) -> Told:
        """The head of a request."""
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        return {
            "type": "http", "method": "POST", "path": PRODUCTS, "query_string": b"", "headers": raw, "client": (peer, 1),
        }  # fmt: skip

    async def honest(self, peer: str = "198.51.100.1") -> int:
        """A webhook as Zoho sends them."""
        return (await self.send([BODY], SIGNED, peer))[0]


def played(play: Callable[[], Awaitable[None]]) -> None:
    """Runs it, and ends what it left undone."""

    async def run() -> None:
        await play()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run(run())


async def settled() -> None:
    """Lets everybody come as far as he can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_what_is_announced_and_does_not_come_takes_no_room() -> None:
    async def play() -> None:
        stage = Stage()
        announcing = FORGED | {"Content-Length": str(16 * 2**20)}
        slow = [asyncio.create_task(stage.send([], announcing, ends=False)) for _ in range(900)]
        await settled()
        assert [await stage.honest() for _ in range(50)] == [202] * 50
        assert not any(each.done() for each in slow)

    played(play)


def test_what_has_come_is_bounded_and_the_oldest_gives_way() -> None:
    piece, most = 2**17, 2**20
    kept = []

    async def play() -> None:
        stage = Stage(max_arriving_bytes=most, max_body_bytes=most)
        slow = []
        for _ in range(300):
            slow.append(asyncio.create_task(stage.send([bytes(piece) for _ in range(3)], FORGED, ends=False)))
            await settled()
            assert await stage.honest() == 202
            assert stage.webhooks._room.held <= most
            kept.append(sum(not each.done() for each in slow))
        assert {each.result() for each in slow if each.done()} == {(503, b"close")}
        # the oldest went
        assert [each.done() for each in slow] == sorted((each.done() for each in slow), reverse=True)
        assert max(kept) == most // (3 * piece)
        # and even what is within the arriving's part is given back
        for each in slow:
            each.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        room = stage.webhooks._room
        assert (room.held, room.arriving, room.requests, dict(room._peers)) == (0, 0, 0, {})

    assert most_kept(lambda: played(play)) < 16 * 2**20  # 300 times 384 KiB were sent


def test_silent_senders_give_way_where_too_many_are_in_hand() -> None:
    async def play() -> None:
        stage = Stage(max_requests=10)
        slow = [asyncio.create_task(stage.send([], FORGED, ends=False)) for _ in range(10)]
        await settled()
        assert [await stage.honest() for _ in range(20)] == [202] * 20
        await settled()
        assert [each.done() for each in slow] == [True] + [False] * 9
        more = [asyncio.create_task(stage.send([], FORGED, ends=False)) for _ in range(30)]
        await settled()
        assert await stage.honest() == 202
        await settled()
        assert sum(not each.done() for each in slow + more) == 9

    played(play)


def test_the_peer_that_holds_the_most_gives_way_first_and_who_has_shown_a_token_last() -> None:
    async def play() -> None:
        stage = Stage(max_arriving_bytes=1000, max_body_bytes=1000, webhook_token="a-token-of-ours")
        token = {"X-TDS-Token": "a-token-of-ours"}

        def arriving(size: int, headers: dict[str, str], peer: str) -> asyncio.Task[tuple[int, bytes]]:
            return asyncio.create_task(stage.send([bytes(size)], headers, peer, ends=False))

        proven = arriving(400, token, "192.0.2.9")
        modest = arriving(100, FORGED, "203.0.113.5")
        greedy = [arriving(200, FORGED, "2001:db8::1"), arriving(200, FORGED, "2001:db8::2")]
        await settled()
        another = arriving(150, FORGED, "203.0.113.6")
        await settled()
        assert [each.done() for each in (proven, modest, another, *greedy)] == [False] * 3 + [True, False]
        last = arriving(600, FORGED, "203.0.113.7")
        await settled()
        assert [each.done() for each in (proven, modest, another, greedy[1], last)] == [False] * 3 + [
            False,
            True,
        ]

    played(play)


@pytest.mark.parametrize("secret", [{"webhook_secret": SECRET}, {}])
def test_sockets_that_announce_and_say_nothing(receiver: Receive, secret: dict[str, str]) -> None:
    client = receiver(**secret)
    head = b"POST /api/zoho/webhooks/products HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\n"
    headers = {SIGNATURE: digest(SECRET, BODY).hex()} if secret else {}
    with ExitStack() as stack:
        for _ in range(60):
            address = (client.base_url.host, client.base_url.port)
            sock = stack.enter_context(socket.create_connection(address))
            sock.sendall(head + SIGNATURE.encode() + b": " + b"00" * 32 + b"\r\n\r\n{")
        for _ in range(20):
            assert client.post(PRODUCTS, content=BODY, headers=headers).status_code == 202


def test_connections_that_ask_for_nothing_give_way(
    receiver: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_connections", lambda: 20)
    client = receiver(header_seconds=600)
    assert client.get("/healthz").status_code == 200
    address = (client.base_url.host, client.base_url.port)
    with ExitStack() as stack:
        silent = []
        for number in range(60):
            silent.append(stack.enter_context(socket.create_connection(address)))
            silent[-1].sendall(b"POST / HTTP/1.1\r\n" * (number % 2))
            if number % 10 == 0:
                assert client.post(PRODUCTS, json=ITEM).status_code == 202
        assert client.post(PRODUCTS, json=ITEM).status_code == 202
        silent[0].settimeout(60)
        assert silent[0].recv(100) == b""


def test_who_has_the_most_connections_gives_way(receiver: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_connections", lambda: 20)
    client = receiver(header_seconds=600)
    address = (client.base_url.host, client.base_url.port)

    def of(peer: str, many: int) -> list[socket.socket]:
        return [
            stack.enter_context(socket.create_connection(address, source_address=(peer, 0)))
            for _ in range(many)
        ]

    with ExitStack() as stack:
        many = of("127.0.0.2", 18)
        for gone in many[:6]:
            gone.close()
        assert client.get("/healthz").status_code == 200
        # twelve are left: with eight others and the client's there is one too many
        few = of("127.0.0.3", 8)
        many[6].settimeout(60)
        assert many[6].recv(100) == b""
        few[0].settimeout(60)
        few[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert few[0].recv(100).startswith(b"HTTP/1.1 200")
