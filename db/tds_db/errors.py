"""Every error the database tooling raises, in one tree.

TdsError
 ├─ ServerError            the embedded PostgreSQL cannot be started, reached or stopped
 ├─ AddressError           TDS_DATABASE_URL or TDS_SESSION_DATABASE_URL cannot be read
 ├─ PoolerError            what is reached gives one session to many: a pooler in transaction mode
 └─ UpgradeError           the upgrade was refused or rolled back; the database is as it was
     ├─ PrivilegeError       an administrator has to run some SQL first (`sql` holds it)
     ├─ LockTimeoutError     somebody else holds a lock that the upgrade needs
     │   └─ DeadlockError      and waits for one that the upgrade holds
     ├─ MigrationError       the migration files and what the database records disagree
     └─ SqlFileError         PostgreSQL rejected a statement (`path` and `line` name it)
"""

from __future__ import annotations

from psycopg.errors import Diagnostic


class TdsError(Exception):
    """Something that stops a command. `message` says what, `hint` what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ServerError(TdsError):
    """The embedded PostgreSQL cannot be started, reached or stopped."""


class PoolerError(TdsError):
    """Between us and PostgreSQL is a pooler by which no session stays ours after a statement.

    Args:
        variable: which of the environment leads there.
        mode: the pooler's.
    """

    def __init__(self, variable: str = "TDS_DATABASE_URL", mode: str = "transaction") -> None:
        enough = ", enough for tds serve alone" if mode == "transaction" else ""
        super().__init__(
            f"{variable} leads to a pooler that shares sessions ({mode} mode{enough}); locks, settings and "
            "LISTEN need sessions of their own.",
            "Next: set TDS_SESSION_DATABASE_URL=postgresql://… beside it, to PostgreSQL itself or to the "
            "pooler in session mode (PgBouncer: pool_mode = session; Supabase: port 5432; Neon: the host "
            "without -pooler)",
        )


class AddressError(TdsError):
    """A variable that says where the database is cannot be read. Its value is not shown."""

    def __init__(self, variable: str = "TDS_DATABASE_URL") -> None:
        super().__init__(
            f"{variable} is neither a URL nor a list of name=value.",
            f"Next: {variable}=postgresql://USER@HOST/DATABASE tds doctor",
        )


class UpgradeError(TdsError):
    """The upgrade was refused, or was rolled back whole. The database is as it was."""


class PrivilegeError(UpgradeError):
    """The installing role may not do what is needed. `sql` is what an administrator has to run."""

    def __init__(self, message: str, sql: str) -> None:
        super().__init__(message, f"Ask an administrator to run this, then try again:\n\n{sql}")
        self.sql = sql


class LockTimeoutError(UpgradeError):
    """A lock was not granted within `lock_timeout`."""


class DeadlockError(LockTimeoutError):
    """Another session and this one waited for each other. Trying again is all that is needed."""


class MigrationError(UpgradeError):
    """The migration files and what the database records disagree, or a file cannot be read."""


class SqlFileError(UpgradeError):
    """PostgreSQL rejected a statement of a file of ours. `line` counts from 1."""

    def __init__(self, path: str, line: int, message: str, hint: str = "") -> None:
        super().__init__(f"{path}:{line}: {message}", hint)
        self.path = path
        self.line = line


def notice_text(notice: Diagnostic) -> str:
    """What the database tells beside its answers, as text for a log: the message, then where it happened."""
    return "\n  ".join([notice.message_primary or "", *(notice.message_detail or "").splitlines()])
