"""Trying again what may succeed next time: broken connections, 5xx, answers that are not JSON."""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx

from tds_poller.zoho.errors import UnreachableError

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

PAUSES = (0.5, 1.0, 2.0)  # seconds before the second, third and fourth try


class TransientError(Exception):
    """An answer that says nothing but that something is out of order."""


class Retries:
    """Counts the tries of one call, whatever each failed for.

    Args:
        name: of the call, for messages: method and path.
        again: whether it is tried again at all.
    """

    def __init__(self, name: str, *, again: bool = True) -> None:
        self.name = name
        self._most = len(PAUSES) if again else 0
        self.calls = 0
        """How many calls were made; whoever makes them counts."""
        self._failed = 0

    @property
    def exhausted(self) -> bool:
        """Whether the call may not be tried again."""
        return self._failed >= self._most

    async def after(self, error: httpx.TransportError | TransientError) -> None:
        """Waits before the next try.

        Raises:
            UnreachableError: the last try failed.
        """
        said = str(error) or type(error).__name__
        if self.exhausted:
            raise UnreachableError(
                f"{self.name}: {said}, {self._failed + 1} times in a row.",
                "Check the network, ZOHO_DC, and ZOHO_API_BASE and ZOHO_ACCOUNTS_BASE if they are set. "
                "Next: the same command again, which goes on where it stopped; tds doctor",
            ) from error
        log.warning("%s: %s; trying again", self.name, said)
        pause = PAUSES[self._failed]
        self._failed += 1
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))

    def count(self) -> None:
        """Counts a try that was refused for a limit; who waits for that is the budget."""
        self._failed += 1


async def retried(name: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
    """The result of `call`, tried up to four times.

    Args:
        name: of the call, for messages: method and path.
        call: raises `httpx.TransportError` or `TransientError` where another try may help.

    Raises:
        UnreachableError: the fourth try failed too.
    """
    retries = Retries(name)
    while True:
        try:
            return await call()
        except (httpx.TransportError, TransientError) as error:
            await retries.after(error)


def json_object(response: httpx.Response) -> dict[str, Any]:
    """The JSON object that a response holds.

    Raises:
        TransientError: the status is 5xx, or the body is anything else (a proxy's page, a cut-off text).
    """
    if response.status_code >= 500:
        raise TransientError(f"HTTP {response.status_code}")
    try:
        document = json.loads(response.content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise TransientError(f"HTTP {response.status_code} without a JSON object")
    return document


def code_of(document: Mapping[str, Any]) -> int | None:
    """Zoho's code in an answer; None where something stands in its place that is none."""
    code = document.get("code")
    is_one = isinstance(code, int) and not isinstance(code, bool) and abs(code) < 2**31
    return code if is_one else None


def plain(said: object, most: int) -> str:
    """What an answer says, as text that can be shown and stored: neither NUL nor half a character."""
    return str(said)[:most].encode(errors="backslashreplace").decode().replace("\0", r"\x00")
