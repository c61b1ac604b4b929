"""What was asked of the sandbox: every call, and every rule that was broken."""

from __future__ import annotations

import re
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from tds_sandbox.jsontext import Document

_ID = re.compile(r"/\d{8,}")


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request; ``at`` in sandbox epoch seconds, ``seconds`` real. ``code`` is Zoho's, 0 for ok."""

    at: float
    organization_id: str
    method: str
    path: str
    query: str
    status: int
    code: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: minute, day, concurrency, sustained, blocked, tokens, unauthorised."""

    at: float
    organization_id: str
    kind: str
    path: str
    note: str


class Ledger:
    """Counts all calls, keeps the newest ones and all violations.

    Args:
        keep: how many calls are kept one by one; the counts are of all.
    """

    def __init__(self, keep: int = 500_000) -> None:
        self._lock = threading.Lock()
        self._keep = keep
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self.calls: deque[Call] = deque(maxlen=self._keep)
            self.violations: list[Violation] = []
            self.by_path: Counter[str] = Counter()
            self.by_status: Counter[str] = Counter()
            self.by_code: Counter[str] = Counter()
            self.by_day: Counter[str] = Counter()
            self._answered: Counter[tuple[str, str, str]] = Counter()
            self._total = 0

    def record(self, call: Call, day: str) -> None:
        """Note a call; ``day`` is the organisation's local date."""
        with self._lock:
            self._total += 1
            self.calls.append(call)
            self.by_path[f"{call.method} {_ID.sub('/{id}', call.path)}"] += 1
            self.by_status[str(call.status)] += 1
            self.by_code[str(call.code)] += 1
            self.by_day[day] += 1
            if call.status == 200:
                self._answered[(call.organization_id, call.path, call.query)] += 1

    def violate(self, violation: Violation) -> None:
        """Note a broken rule."""
        with self._lock:
            self.violations.append(violation)

    def summary(self) -> Document:
        """Counts by path, status, code and day, calls that fetched the same again, and all violations."""
        with self._lock:
            return {
                "calls": self._total,
                "by_path": dict(self.by_path),
                "by_status": dict(self.by_status),
                "by_code": dict(self.by_code),
                "by_day": dict(self.by_day),
                "repeated": sum(count - 1 for count in self._answered.values()),
                "violations": [_plain(violation) for violation in self.violations],
            }

    def lines(self) -> Iterator[Document]:
        """The kept calls, oldest first."""
        with self._lock:
            calls = list(self.calls)
        for call in calls:
            yield _plain(call)


def _plain(row: Any) -> Document:
    return {
        key: Decimal(f"{value:.6f}") if isinstance(value, float) else value
        for key, value in asdict(row).items()
    }
