"""The SQL files of TDS: numbered migrations, read and ordered by yoyo, and function files, applied whole.

Four habits of yoyo are avoided here (seen in its source, 9.0.0): it skips a migration that it cannot load
without a word, its hash covers a migration's name but not its content, its lock is a row that a killed
process leaves behind, and its post-apply files run only when a numbered migration did.

yoyo and sqlparse are imported when files are read: most programs read none, and these two are slow to import.
"""

from __future__ import annotations

import glob
import hashlib
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, errors

from tds_db.errors import DeadlockError, LockTimeoutError, MigrationError, SqlFileError

PACKAGE = Path(__file__).parent
# Installed, migrations/ and functions/ are in the package; in a checkout they stand beside it.
DIRECTORY = PACKAGE if (PACKAGE / "migrations").is_dir() else PACKAGE.parent

ROUTER = DIRECTORY / "router"
# What a router has in common with its shards, in the order in which it is made.
SHARED = ("10_ground/clock.sql", "10_ground/settings.sql", "90_surface/keys.sql")

# yoyo keeps every migration that it has read in one dictionary of the process, and resolves `depends` there.
_reading = threading.Lock()
# What was read last from a directory, and of which texts: it is slow to split them into statements.
_loaded: dict[Path, tuple[Mapping[Path, bytes], Sequence[Migration]]] = {}


@dataclass(frozen=True)
class SqlFile:
    """A file of SQL. `path` is relative to db/, as the books and the messages have it."""

    path: str
    text: str

    @property
    def sha256(self) -> str:
        """Of the text with Unix line ends, so that a checkout on another system has the same."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def run(self, conn: Connection) -> None:
        """Executes the whole file as one multi-statement string, inside the caller's transaction.

        Raises:
            SqlFileError: PostgreSQL rejected a statement.
            LockTimeoutError: a lock was not granted in time.
        """
        try:
            with conn.transaction():
                conn.execute(self.text.encode())
        except psycopg.DatabaseError as error:
            raise self.explain(error, self._position(conn, error)) from error

    def explain(self, error: psycopg.DatabaseError, position: int) -> SqlFileError | LockTimeoutError:
        """The error of ours for an error at a character of the text, counted from 0."""
        line = self.text.count("\n", 0, position) + 1
        if isinstance(error, errors.DeadlockDetected):
            return DeadlockError(
                f"{self.path}:{line}: another session and this one waited for each other, "
                f"so nothing was changed.\n{error.diag.message_detail or ''}",
                "Try again.",
            )
        if isinstance(error, errors.LockNotAvailable):
            return LockTimeoutError(
                f"{self.path}:{line}: another session holds a lock that this needs, so nothing was changed.",
                "Try again when it has ended. Who it may be: select pid, application_name, xact_start, query "
                "from pg_stat_activity where xact_start is not null order by xact_start;",
            )
        diag = error.diag
        told = [diag.message_detail, diag.message_hint, diag.context]
        message = f"{diag.message_primary or error} (SQLSTATE {diag.sqlstate})"
        return SqlFileError(self.path, line, message, "\n".join(text for text in told if text))

    def _position(self, conn: Connection, error: psycopg.DatabaseError) -> int:
        if isinstance(error, errors.DeadlockDetected):
            return 0  # it will not happen twice
        if error.diag.statement_position:
            return int(error.diag.statement_position) - 1
        # Errors of execution come without a position; going through the statements one by one finds the
        # culprit. Everything is rolled back in the end anyway.
        import sqlparse  # noqa: PLC0415 - see the module's docstring

        start = 0
        for statement in sqlparse.split(self.text):
            start = self.text.index(statement, start)
            try:
                with conn.transaction():
                    conn.execute(statement.encode())
            except psycopg.DatabaseError:
                return start + _length_of_leading_comments(statement)
        return 0


@dataclass(frozen=True)
class Migration(SqlFile):
    """A numbered migration."""

    id: str
    steps: Any
    """yoyo's migration, loaded."""

    @property
    def breaking(self) -> str | None:
        """What receivers and workers of the version before cannot live with: `-- breaking: …` in its head."""
        return self._said("breaking")

    @property
    def locks(self) -> list[str]:
        """Relations that it locks without naming them: `-- locks: tds.one, zoho.other` in its head."""
        return [name.strip() for name in (self._said("locks") or "").split(",") if name.strip()]

    def _said(self, mark: str) -> str | None:
        head = self.text[: _length_of_leading_comments(self.text)]
        found = re.search(rf"^--\s*{mark}:\s*(\S.*)$", head, re.MULTILINE)
        return found.group(1).strip() if found else None

    def run(self, conn: Connection) -> None:
        """Lets yoyo execute the statements, in the caller's transaction.

        Raises:
            SqlFileError, LockTimeoutError: as above.
        """
        backend = _YoyoBackend(conn, self.text)
        try:
            self.steps.process_steps(backend, "apply")
        except psycopg.DatabaseError as error:
            position = int(error.diag.statement_position or 1) - 1
            raise self.explain(error, backend.position + position) from error


class _YoyoBackend:
    """What yoyo's steps ask of a backend, on a connection whose transaction is the caller's."""

    DatabaseError = psycopg.DatabaseError
    has_transactional_ddl = True

    def __init__(self, conn: Connection, text: str) -> None:
        self.conn = conn
        self.text = text
        self.position = 0
        """Where the statement under way begins in the text."""
        self._end = 0

    def transaction(self) -> nullcontext[None]:
        """The caller's, which is rolled back whole: a savepoint a step takes thrice the round trips."""
        return nullcontext()

    def cursor(self) -> _YoyoBackend:
        return self

    # A cursor, too. Without a description yoyo does not print the rows on stdout, which is for data.
    description = None

    def execute(self, statement: str) -> None:
        self.position = max(self.text.find(statement, self._end), self._end)
        self._end = self.position + len(statement)
        self.conn.execute(statement.encode())

    def close(self) -> None:
        """Nothing to close."""


def read_migrations(directory: Path) -> list[Migration]:
    """Reads db/migrations: every migration, in the order of application.

    Raises:
        MigrationError: a file cannot be read, depends on something unknown, or is of a kind that cannot be
            run in one transaction with all others.
    """
    _must_be_there(directory)
    with _reading:
        try:
            texts = {path: path.read_bytes() for path in directory.iterdir() if path.is_file()}
        except OSError as error:
            raise MigrationError(f"A file of {directory} cannot be read: {error}") from error
        if directory not in _loaded or _loaded[directory][0] != texts:
            _loaded[directory] = (texts, _load_all(directory))
        return list(_loaded[directory][1])


def _load_all(directory: Path) -> list[Migration]:
    import yoyo  # noqa: PLC0415 - see the module's docstring
    from yoyo.migrations import topological_sort  # noqa: PLC0415
    from yoyo.topologicalsort import CycleError  # noqa: PLC0415

    found = yoyo.read_migrations(glob.escape(str(directory)))
    files = {Path(migration.path): migration for migration in [*found, *found.post_apply]}
    for path, migration in files.items():
        _load(path, migration)
    known = {migration.id for migration in found}
    for path, migration in files.items():
        if unknown := {other.id for other in migration.depends} - known:
            raise MigrationError(f"{path.name} depends on {', '.join(sorted(unknown))}, which is not there.")
    try:
        ordered = list(topological_sort(found))
    except CycleError as error:
        circle = ", ".join(migration.id for migration in error.args[1])
        raise MigrationError(f"These migrations depend on each other: {circle}.") from error
    return [
        Migration(f"migrations/{m.id}.sql", Path(m.path).read_text(encoding="utf-8"), m.id, m)
        for m in ordered
    ]


def _load(path: Path, migration: Any) -> None:
    if path.suffix != ".sql" or not path.name[0].isdigit():
        raise MigrationError(
            f"{path.name} is not a numbered SQL migration.",
            "What is to run at every upgrade belongs in db/functions.",
        )
    from yoyo.exceptions import BadMigration  # noqa: PLC0415 - see the module's docstring

    try:
        migration.load()
    except (BadMigration, KeyError, ValueError, OSError) as error:
        raise MigrationError(f"{path.name} cannot be read: {error}") from error
    if not migration.use_transactions:
        raise MigrationError(
            f"{path.name} says `transactional: false`, but all of an upgrade is one transaction.",
            "Have it done by hand or by a job (create index concurrently), and a migration check for it.",
        )


def read_functions(directory: Path) -> list[SqlFile]:
    """Reads db/functions: every .sql file below it, in the order of their paths.

    Raises:
        MigrationError: a file cannot be read.
    """
    return _read(directory, "functions")


def migration_hashes(directory: Path) -> dict[str, str]:
    """The SHA-256 of each migration by its id, without a look into them, which takes a third of a second.

    Raises:
        MigrationError: a file cannot be read.
    """
    _must_be_there(directory)
    return {Path(file.path).stem: file.sha256 for file in _read(directory, "migrations")}


def _must_be_there(directory: Path) -> None:
    if not directory.is_dir():
        raise MigrationError(f"{directory} is not a directory.")


def _read(directory: Path, kind: str) -> list[SqlFile]:
    paths = sorted(directory.rglob("*.sql"), key=lambda path: path.relative_to(directory).parts)
    try:
        return [
            SqlFile(f"{kind}/{path.relative_to(directory).as_posix()}", path.read_text(encoding="utf-8"))
            for path in paths
        ]
    except (OSError, ValueError) as error:
        raise MigrationError(f"A file of {directory} cannot be read: {error}") from error


def read_router_functions() -> list[SqlFile]:
    """The function files of a router: those that it shares with its shards, then its own.

    Raises:
        MigrationError: a file cannot be read.
    """
    shared = {file.path: file for file in read_functions(DIRECTORY / "functions")}
    own = [SqlFile(f"router/{file.path}", file.text) for file in read_functions(ROUTER / "functions")]
    return [*(shared[f"functions/{path}"] for path in SHARED), *own]


def _length_of_leading_comments(statement: str) -> int:
    found = re.match(r"(\s+|--[^\n]*)*", statement)
    return found.end() if found else 0
