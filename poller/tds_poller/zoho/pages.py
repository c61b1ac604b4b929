"""The pages of a list or a report: one that comes a second time would come for ever."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tds_poller.zoho.errors import PagingError


class Pages:
    """The pages that came behind one another, of which more follow.

    Args:
        asked: what was asked for, as messages name it.
    """

    def __init__(self, asked: str) -> None:
        self._asked = asked
        self._numbers: dict[str, int] = {}

    def take(self, document: Mapping[str, Any], page: int) -> None:
        """One more of them.

        Args:
            document: the answer.
            page: its number.

        Raises:
            PagingError: its records have come before, on another page.
        """
        if (before := self._numbers.setdefault(_mark(document), page)) != page:
            told = f"{self._asked} says that more follows page {page}, which is page {before} again."
            raise PagingError(told, "Next: tds doctor")


def _mark(document: Mapping[str, Any]) -> str:
    """What tells a page from others; of a list its length and ends, which cost the same for any."""
    told = {
        key: [len(value), value[:1], value[-1:]] if isinstance(value, list) else value
        for key, value in document.items()
        if key != "page_context"
    }
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
