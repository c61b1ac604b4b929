"""A pytest plugin: the tests whose text speaks of the broken line's words come first, so that most faults are found soon."""

from __future__ import annotations

import inspect
import os
import re
from functools import cache

import pytest

WORDS = "TDS_TEST_MUTANT_WORDS"


@cache
def _words(function: object) -> frozenset[str]:
    try:
        source = inspect.getsource(function)  # type: ignore[arg-type]
    except (OSError, TypeError):
        return frozenset()
    return frozenset(re.findall(r"[a-z_]{4,}", source))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by the number of words in common; otherwise the order stays."""
    wanted = set(os.environ.get(WORDS, "").split())
    items.sort(key=lambda item: -len(wanted & _words(getattr(item, "function", None))))
