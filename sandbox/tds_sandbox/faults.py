"""Faults on demand: errors, cut connections, refusals, slowness. Seeded, so that a run can be repeated."""

from __future__ import annotations

import random
import re
import threading
from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any

from tds_sandbox.errors import ApiError, SandboxError
from tds_sandbox.limits import CONCURRENCY_MESSAGE, DAY_MESSAGE, MINUTE_MESSAGE, SUSTAINED_MESSAGE

_REFUSALS = {43: SUSTAINED_MESSAGE, 44: MINUTE_MESSAGE, 45: DAY_MESSAGE, 1070: CONCURRENCY_MESSAGE}


@dataclass(frozen=True)
class Hit:
    """What shall happen to one call.

    Args:
        error: answered in place of the data.
        cut: ``before`` any byte of the answer, or ``within`` its body; empty for neither.
        wait: real seconds before the answer.
        empty: whether a list answers without records and without an end, and a record without its arrays.
    """

    error: ApiError | None = None
    cut: str = ""
    wait: float = 0.0
    empty: bool = False


@dataclass
class FaultSettings:
    """Shares are of calls, 0 to 1.

    Args:
        seed: of the choices.
        error_500: answered 500, code 1000.
        bad_gateway: answered 502 with an HTML page, as a proxy in front does.
        cut_before: connection closed without an answer.
        cut_within: connection closed in the middle of the body.
        slow: delayed by ``slow_seconds``, real ones.
        missing: answered 404, code 1002, though the record is there; use ``only`` to spare lists.
        empty: a list answers with no records and no further page, a record with its arrays empty.
        codes: share by code of a 429: 43, 44, 45, 1070.
        only: a regular expression; other paths are spared.
        next: faults for the very next calls, before any share: ``"500"``, ``"502"``, ``"cut_before"``,
            ``"cut_within"``, ``"slow"``, ``"404"``, ``"empty"``, or a code of a 429.
    """

    seed: int = 1
    error_500: float = 0.0
    bad_gateway: float = 0.0
    cut_before: float = 0.0
    cut_within: float = 0.0
    slow: float = 0.0
    slow_seconds: float = 1.0
    missing: float = 0.0
    empty: float = 0.0
    codes: dict[int, float] = field(default_factory=dict)
    only: str = ""
    next: list[str] = field(default_factory=list)


class BadGatewayError(ApiError):
    """A proxy's own page, which is not JSON."""

    def __init__(self) -> None:
        super().__init__(502, 0, "<html><head><title>502 Bad Gateway</title></head></html>")


class Faults:
    """Draws the fault of each call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.struck = 0
        """Calls that were spoiled so far."""
        self.set()

    def set(self, **settings: Any) -> None:
        """Replace all settings (``FaultSettings``); without arguments there are no faults.

        Raises:
            SandboxError: a setting is unknown or out of range.
        """
        known = {entry.name for entry in fields(FaultSettings)}
        if unknown := set(settings) - known:
            raise SandboxError(
                f"unknown faults: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
            )
        try:
            settings["codes"] = {int(code): float(share) for code, share in settings.get("codes", {}).items()}
            settings["next"] = [str(name) for name in settings.get("next", [])]
            made = FaultSettings(**settings)
            shares = [
                made.error_500,
                made.bad_gateway,
                made.cut_before,
                made.cut_within,
                made.slow,
                made.missing,
                made.empty,
            ]
            fits = all(0 <= float(share) <= 1 for share in [*shares, *made.codes.values()])
            pattern = re.compile(made.only)
        except (TypeError, ValueError, re.error) as error:
            raise SandboxError(f"bad fault settings: {error}") from error
        if not fits or sum([*shares, *made.codes.values()]) > 1:
            raise SandboxError("shares of faults must be between 0 and 1, and together too")
        for name in [*map(str, made.codes), *made.next]:
            self._hit(name, made)
        with self._lock:
            self.settings = made
            self._only = pattern
            self._rng = random.Random(f"{made.seed}/faults")
            self._next = deque(made.next)

    def draw(self, path: str) -> Hit | None:
        """The fault of the next call, or None."""
        with self._lock:
            if not self._only.search(path):
                return None
            settings = self.settings
            if self._next:
                self.struck += 1
                return self._hit(self._next.popleft(), settings)
            dice = self._rng.random()
            shares = [
                ("500", settings.error_500),
                ("502", settings.bad_gateway),
                ("cut_before", settings.cut_before),
                ("cut_within", settings.cut_within),
                ("slow", settings.slow),
                ("404", settings.missing),
                ("empty", settings.empty),
                *((str(code), share) for code, share in settings.codes.items()),
            ]
            for name, share in shares:
                dice -= share
                if dice < 0:
                    self.struck += 1
                    return self._hit(name, settings)
            return None

    @staticmethod
    def _hit(name: str, settings: FaultSettings) -> Hit:
        if name == "500":
            return Hit(error=ApiError(500, 1000, "Internal Error"))
        if name == "502":
            return Hit(error=BadGatewayError())
        if name.startswith("cut_") and name[4:] in {"before", "within"}:
            return Hit(cut=name[4:])
        if name == "404":
            return Hit(error=ApiError(404, 1002, "Resource does not exist."))
        if name == "empty":
            return Hit(empty=True)
        if name == "slow":
            return Hit(wait=settings.slow_seconds)
        if name.isdigit() and int(name) in _REFUSALS:
            return Hit(error=ApiError(429, int(name), _REFUSALS[int(name)].format(1000)))
        raise SandboxError(f"no fault {name!r}")
