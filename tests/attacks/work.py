"""Measures of work that are the same on a busy machine: ratios of CPU time within one run, bytes kept."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import TypeVar

Given = TypeVar("Given")

TIMES = 8  # how much larger the larger input is: work that is its square is 64 times as much
LINEAR = 24.0  # the most that linear work may grow by then


def growth(work: Callable[[Given], object], small: Given, large: Given) -> float:
    """How much more CPU time of this thread the larger input takes. Each is tried thrice, and the best counts."""
    return _best(work, large) / max(_best(work, small), 1e-6)


def _best(work: Callable[[Given], object], given: Given) -> float:
    tried = []
    for _ in range(3):
        began = time.thread_time()
        work(given)
        tried.append(time.thread_time() - began)
    return min(tried)


def most_kept(work: Callable[[], object]) -> int:
    """The most bytes of Python's that were in use at once, more than before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
