"""Trying again what may succeed next time: broken connections, 5xx, answers that are not JSON."""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx

from poller.errors import UnreachableError

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

PAUSES = (0.5, 1.0, 2.0)  # seconds before the second, third and fourth try


class TransientError(Exception):
    """An answer that says nothing but that something is out of order."""


async def retried(name: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
    """The result of `call`, tried up to four times.

    Args:
        name: of the call, for messages: method and path.
        call: raises `httpx.TransportError` or `TransientError` where another try may help.

    Raises:
        UnreachableError: the fourth try failed too.
    """
    for pause in PAUSES:
        try:
            return await call()
        except (httpx.TransportError, TransientError) as error:
            log.warning("%s: %s; trying again", name, _said(error))
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
    try:
        return await call()
    except (httpx.TransportError, TransientError) as error:
        raise UnreachableError(
            f"{name}: {_said(error)}, {len(PAUSES) + 1} times in a row.",
            "Run the same command again later: it goes on where it stopped.",
        ) from error


def json_object(response: httpx.Response) -> dict[str, Any]:
    """The JSON object that a response holds.

    Raises:
        TransientError: the status is 5xx, or the body is anything else (a proxy's page, a cut-off text).
    """
    if response.status_code >= 500:
        raise TransientError(f"HTTP {response.status_code}")
    try:
        document = json.loads(response.content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise TransientError(f"HTTP {response.status_code} without a JSON object")
    return document


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
