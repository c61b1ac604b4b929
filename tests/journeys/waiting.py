"""Waiting until something is so, instead of for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# How long the suite waits for what is to come, at most. A busy machine takes many times as long as a quiet one, and
# where all is well nobody waits: so it is long, and the same everywhere.
PATIENCE = 120.0


def wait_until(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """The first true value of `condition`, asked every few milliseconds.

    Args:
        condition: what to ask.
        what: is waited for, for the message.
        seconds: how long at most.

    Raises:
        AssertionError: it did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)
    return found
