"""How a pull may stand: the states of `tds.run`, once for commands and API."""

from enum import StrEnum


class RunState(StrEnum):
    """How a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SETTLING = "settling"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
