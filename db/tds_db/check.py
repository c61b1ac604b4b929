"""What an upgrade would do and lock, read from the files and the books: nothing is locked or changed.

A dry run takes the locks for as long as it lasts. This reads what the statements say instead; a test holds it
against the locks that each migration, and all function files, are seen to take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection

from tds_db.connect import connect
from tds_db.models import Change
from tds_db.sqlfiles import DIRECTORY, PACKAGE, Migration, SqlFile, read_functions, read_migrations
from tds_db.status import status

READERS, WRITERS = "readers and writers", "writers"
NAME = r'((?:"[^"]+"|[\w.%])+)'
TABLE = rf"(?:if\s+exists\s+)?(?:only\s+)?{NAME}"
# What a statement has to say for whom to have to wait for it: statement, whose names of relations follow.
TAKEN: tuple[tuple[str, str], ...] = (
    (rf"\balter\s+(?:table|view|materialized\s+view|index|foreign\s+table)\s+{TABLE}", READERS),
    (rf"\bdrop\s+(?:table|view|materialized\s+view|index)\s+{TABLE}((?:\s*,\s*{NAME})*)", READERS),
    (rf"\bcreate\s+or\s+replace\s+(?:recursive\s+)?view\s+{NAME}", READERS),
    (rf"\btruncate\s+(?:table\s+)?{TABLE}((?:\s*,\s*{NAME})*)", READERS),
    (rf"\bdrop\s+trigger\s+(?:if\s+exists\s+)?\S+\s+on\s+{NAME}", READERS),
    (rf"\b(?:cluster|reindex\s+table|refresh\s+materialized\s+view)\s+{NAME}", READERS),
    (rf"\bpartition\s+of\s+{NAME}", READERS),
    (rf"\block\s+table\s+{TABLE}", READERS),
    (rf"\bcreate\s+(?:unique\s+)?index\s+.*?\bon\s+{TABLE}", WRITERS),
    (rf"\bcreate\s+(?:or\s+replace\s+)?(?:constraint\s+)?trigger\s+.*?\bon\s+{NAME}", WRITERS),
    (rf"\breferences\s+{NAME}", WRITERS),
)
CODE = re.compile(r"^\s*(?:do\s+\$|call\s|(?:select|perform)\s+\w+\.\w+\()", re.IGNORECASE | re.MULTILINE)
COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
BODY = re.compile(r"\bas\s+(\$\w*\$).*?\1", re.IGNORECASE | re.DOTALL)  # of a function: not run yet
RELATION = re.compile(r'(?:\w+\.)?\w+|(?:"[^"]+"|\w+)\.(?:"[^"]+"|\w+)')


@dataclass(frozen=True, order=True)
class Lock:
    """A relation that is locked until the upgrade commits, and who has to wait meanwhile."""

    relation: str
    waits: str


@dataclass(frozen=True)
class Step:
    """A file that would be applied."""

    name: str
    locks: list[Lock]
    runs_code: bool
    """Whether it runs code besides, which may lock more."""
    breaking: str | None
    """What receivers and workers of the version before cannot live with."""


@dataclass(frozen=True)
class Holder:
    """A session in whose way an upgrade would come, and how long its transaction has lasted, in seconds."""

    relation: str
    pid: int
    application: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What an upgrade would do."""

    migrations: list[Step]
    functions: list[Step]
    """Function files that differ from what was applied; all are applied at every upgrade."""
    every_time: list[Lock]
    """What the function files lock at every upgrade."""
    overwritten: list[Change]
    lock_timeout: str
    attempts: int
    """How often it begins anew where it and another session waited for each other."""
    holders: list[Holder]

    @property
    def is_due(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.migrations or self.functions or self.overwritten)

    @property
    def breaking(self) -> list[Step]:
        """What the programs of the version before cannot live with."""
        return [step for step in self.migrations if step.breaking]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"due": self.is_due, "breaking": [step.name for step in self.breaking], **asdict(self)}


def check(conninfo: str, *, lock_timeout: str, attempts: int, directory: Path = DIRECTORY) -> Plan:
    """Tells what an upgrade would do; changes nothing, and waits for nobody.

    Args:
        conninfo: the database, as a role that may read the books.
        lock_timeout: how long the upgrade would wait for any one lock.
        attempts: how often it would begin anew after a deadlock.
        directory: where migrations/ and functions/ are.

    Raises:
        MigrationError: a file cannot be read.
        psycopg.Error: the database cannot be reached, or the role may not read the books.
    """
    found = status(conninfo, directory=directory)
    applied = {file.name for file in (*found.migrations, *found.functions) if file.state == "applied"}
    migrations = [each for each in read_migrations(directory / "migrations") if each.id not in applied]
    files = read_functions(directory / "functions")
    with connect("db", conninfo, autocommit=True) as conn:
        locks = every_time(conn, files)
        steps = [_step(conn, each.id, each) for each in migrations]
        wanted = {lock.relation for step in steps for lock in step.locks} | {lock.relation for lock in locks}
        return Plan(
            migrations=steps,
            functions=[_step(conn, file.path, file) for file in files if file.path not in applied],
            every_time=locks,
            overwritten=found.changed_by_hand,
            lock_timeout=lock_timeout,
            attempts=attempts,
            holders=_holders(conn, wanted, lock_timeout),
        )


def _step(conn: Connection, name: str, file: SqlFile) -> Step:
    runs_code = CODE.search(_what_runs(file)) is not None
    breaking = file.breaking if isinstance(file, Migration) else None
    return Step(name, existing(conn, locks_of([file])), runs_code, breaking)


def locks_of(files: Iterable[SqlFile]) -> set[Lock]:
    """What files lock, as far as they name it; of a relation the lock that more have to wait for."""
    found: dict[str, str] = {}
    for file in files:
        found |= dict.fromkeys(file.locks if isinstance(file, Migration) else (), READERS)
        text = _what_runs(file)
        for pattern, waits in TAKEN:
            for match in re.finditer(pattern, text, re.IGNORECASE | re.DOTALL):
                named = [name.strip() for group in match.groups() if group for name in group.split(",")]
                for name in filter(RELATION.fullmatch, named):
                    found[name] = READERS if READERS in {waits, found.get(name)} else WRITERS
    return {Lock(relation, waits) for relation, waits in found.items()}


def every_time(conn: Connection, files: Iterable[SqlFile]) -> list[Lock]:
    """What all function files lock at every upgrade: what they name, and what, by the books, they made."""
    bootstrap = SqlFile("bootstrap.sql", (PACKAGE / "bootstrap.sql").read_text(encoding="utf-8"))
    locks = locks_of([bootstrap, *files])
    if conn.execute("select to_regclass('tds.sql_file')").fetchone() != (None,):
        for (made,) in conn.execute("select unnest(objects) from tds.sql_file"):
            kind, _, rest = made.partition(" ")
            if kind == "view":
                locks.add(Lock(rest, READERS))
            elif kind == "trigger":
                locks.add(Lock(rest.rpartition(" on ")[2], WRITERS))
    return existing(conn, locks)


def _what_runs(file: SqlFile) -> str:
    """The text without comments and without what functions will do."""
    return BODY.sub("as ''", COMMENT.sub("", file.text))


def existing(conn: Connection, locks: Iterable[Lock]) -> list[Lock]:
    """Those of relations that are there: nobody waits for what is new. Instead of an index, its table."""
    query = """
        select distinct format('%%I.%%I', n.nspname, t.relname), l.waits
          from unnest(%s::text[], %s::text[]) as l(name, waits)
          join pg_class as c on c.oid = to_regclass(l.name) and c.relkind not in ('S', 'c')
          left join pg_index as i on i.indexrelid = c.oid
          join pg_class as t on t.oid = coalesce(i.indrelid, c.oid)
          join pg_namespace as n on n.oid = t.relnamespace
         order by 1"""
    named = [*locks]
    rows = conn.execute(query, [[lock.relation for lock in named], [lock.waits for lock in named]]).fetchall()
    most: dict[str, str] = {}
    for relation, waits in rows:
        most[relation] = READERS if READERS in {waits, most.get(relation)} else WRITERS
    return [Lock(relation, waits) for relation, waits in most.items()]


def _holders(conn: Connection, relations: Iterable[str], lock_timeout: str) -> list[Holder]:
    """Who has used one of them for longer than the upgrade would wait."""
    query = """
        select distinct w.relation, a.pid, a.application_name,
               extract(epoch from clock_timestamp() - a.xact_start)::float8
          from pg_locks as l
          join pg_stat_activity as a on a.pid = l.pid
          join unnest(%s::text[]) as w(relation) on w.relation::regclass = l.relation
         where l.granted and l.pid <> pg_backend_pid()
           and a.xact_start < clock_timestamp() - %s::interval
         order by 4 desc, 1"""
    # as PostgreSQL reads it: a number alone is milliseconds
    wait = f"{lock_timeout}ms" if lock_timeout.strip().isdigit() else lock_timeout
    return [Holder(*row) for row in conn.execute(query, [sorted(relations), wait])]
