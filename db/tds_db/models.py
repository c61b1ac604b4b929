"""What an upgrade and a look at the status tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Pgmq:
    """How pgmq is installed: kind `extension` or `sql`."""

    kind: str
    version: str


@dataclass(frozen=True)
class Change:
    """An object that is not as the last upgrade left it: see the view tds_changed_by_hand."""

    object: str
    """Kind, name and arguments."""
    change: str
    """`changed` or `dropped`."""
    file: str | None
    """Path of the file that defines it."""


@dataclass(frozen=True)
class Job:
    """What became of a job in pg_cron: see tds.install_jobs()."""

    job: str
    action: str
    statement: str | None


@dataclass(frozen=True)
class MachineryUser:
    """What keeps a view of the mirror in public as it was, with the columns of our bookkeeping (sync_…)."""

    view: str
    """Name of the view, in schema public."""
    object: str
    """What uses it: kind and name."""
    columns: str
    """The columns it uses, or that it uses the view in a way that forbids making it anew."""


@dataclass(frozen=True)
class Report:
    """What an upgrade did, or, as a dry run, would do."""

    dry_run: bool
    migrations: list[str]
    """Ids of the numbered migrations it applied."""
    breaking: dict[str, str]
    """What programs of the version before cannot live with, by the migration that says so."""
    functions: int
    """Number of function files; all of them are applied every time."""
    changed_functions: list[str]
    """Those that differ from what was applied before."""
    overwritten: list[Change]
    """What had been changed or dropped by hand, and is as the files say again."""
    dropped: list[str]
    """What earlier files made and none makes any more."""
    orphans: list[str]
    """What else no file defines: made by somebody, or used by what somebody made."""
    machinery_users: list[MachineryUser]
    """What keeps views of the mirror as they were, with columns of TDS's own bookkeeping."""
    pgmq: Pgmq | None
    """None: a router, which has no queues."""
    jobs: list[Job]
    """What became of the jobs in pg_cron; none where the server has no pg_cron: the workers run them."""
    seconds: float


@dataclass(frozen=True)
class FileState:
    """A file against the database's books: applied, pending, changed or missing (on disk)."""

    name: str
    state: str
    applied_at: datetime | None = None


@dataclass(frozen=True)
class Status:
    """The database against the files."""

    database: str
    server_version: str
    version: str | None
    """The version of TDS that upgraded it last."""
    pgmq: Pgmq | None
    migrations: list[FileState]
    functions: list[FileState]
    changed_by_hand: list[Change] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    @property
    def applied(self) -> bool:
        """Whether every file was applied as it is on disk."""
        return all(file.state == "applied" for file in (*self.migrations, *self.functions))

    @property
    def current(self) -> bool:
        """Whether the database is exactly what the files say. Orphans are reported but do not count."""
        return self.applied and not self.changed_by_hand

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"current": self.current, **asdict(self)}
