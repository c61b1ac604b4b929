"""Slow, large and many: what a receiver does about them."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tds_receiver.inbox import Accepted, Event
from tests.db.servers import Database
from tests.journeys.waiting import PATIENCE
from tests.receiver.asgi import Endpoint, List
from tests.receiver.conftest import Receive
from tests.receiver.test_webhooks import ITEM, PRODUCTS, events


def talk(client: httpx.Client, *pieces: bytes, pause: float = 0.0) -> tuple[bytes, float]:
    """Sends pieces over a connection of its own; what came back until it was closed, and after how long."""
    began = time.monotonic()
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=PATIENCE) as sock:
        for piece in pieces:
            try:
                sock.sendall(piece)
            except OSError:
                break
            time.sleep(pause)
        answer = b""
        try:
            while part := sock.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    return answer, time.monotonic() - began


def test_a_head_that_does_not_come_is_not_waited_for(receiver: Receive) -> None:
    client = receiver(header_seconds=0.3)
    # nothing at all
    answer, seconds = talk(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert 0.25 < seconds < 2
    # byte after byte: the clock is not set anew
    head = b"POST /api/zoho/webhooks/products HTTP/1.1\r\nHost: x\r\nX-A: "
    answer, seconds = talk(client, head, *[b"a"] * 120, pause=0.02)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert seconds < 2
    # the second request of a connection
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer, seconds = talk(client, whole, head, pause=0.1)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer
    assert seconds < 2


def test_an_endless_head_is_cut_off(receiver: Receive) -> None:
    client = receiver()
    lines = [b"X-%d: %s\r\n" % (number, b"a" * 4000) for number in range(40)]
    answer, seconds = talk(client, b"GET /healthz HTTP/1.1\r\n", *lines, pause=0.002)
    assert answer == b"" or answer.startswith(
        b"HTTP/1.1 431 "
    )  # nothing, where the rest of it crossed the answer
    assert seconds < 5
    assert client.get("/healthz").status_code == 200


def test_a_slow_head_costs_others_nothing(receiver: Receive, database: Database) -> None:
    client = receiver(header_seconds=1)
    with ThreadPoolExecutor(20) as pool:
        slow = [pool.submit(talk, client, b"POST / HTTP/1.1\r\n") for _ in range(20)]
        for number in range(20):
            assert client.post(PRODUCTS, json={"item": {"item_id": number}}).status_code == 202
        assert {future.result()[0][:12] for future in slow} == {b"HTTP/1.1 408"}
    assert len(events(database)) == 20


class Slow(List):
    """An inbox that takes its time."""

    async def put(self, event: Event) -> Accepted:
        """Waits."""
        await asyncio.sleep(0.05)
        return await super().put(event)


@pytest.mark.parametrize("limit", [{"max_requests": 3}, {"max_held_bytes": 30}])
def test_more_than_may_be_in_hand_are_told_to_come_again(limit: dict[str, int]) -> None:
    endpoint = Endpoint(limit, Slow())
    body = b"0123456789"
    headers = {"Content-Length": str(len(body))}
    assert endpoint.send_all([(body, headers)] * 5) == [202, 202, 202, 503, 503]
    # and what is done makes room
    assert endpoint.send_all([(body, headers)] * 3) == [202, 202, 202]


def test_a_length_that_is_none_is_refused(receiver: Receive) -> None:
    assert Endpoint({}).send(b"x", {"Content-Length": "x"}) == 400
    assert Endpoint({"max_body_bytes": 5}).send(b"x", {"Content-Length": "6"}) == 413
    assert Endpoint({}).send_raw([{"type": "http.disconnect"}]) == 400


def test_no_redirects_and_no_other_methods(receiver: Receive) -> None:
    client = receiver()
    for path in (
        PRODUCTS,
        PRODUCTS + "/",
        "/api/zoho/webhooks",
        "/api/tds/webhooks/",
        PRODUCTS + "//",
        "//" + PRODUCTS,
    ):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            answer = client.request(method, str(client.base_url) + path, json=ITEM, follow_redirects=False)
            assert answer.status_code in {200, 202, 404, 405}, (method, path)
    refused = client.patch(PRODUCTS)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, POST, PUT, DELETE")
