"""A backup with all that belongs to it: verified, noted, older ones removed; by hand, or by the clock.

The database says when one is wanted and where it goes (`tds.take_backup`). A worker whose login may make
backups starts `python -m tds_db.backups` for it; elsewhere `tds backups take` does, from a timer.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from tds_db.backup import (
    Backup,
    BackupError,
    Restored,
    as_owner,
    back_up,
    forget,
    restore,
    scratch,
    set_aside,
)
from tds_db.connect import connect, conninfo
from tds_db.envfile import load
from tds_db.errors import TdsError
from tds_db.processes import Program, end_with_parent, on_stop_signal, python
from tds_db.progress import NOWHERE, Steps
from tds_db.settings import DatabaseSettings

log = logging.getLogger(__name__)

TOLD = 1000  # characters of an error that are kept
KEPT = 7  # backups by hand
TAKEN = "taken"
NOTE = """
    select tds.note_backup(%s, %s, %s::bigint, %s::bigint, %s, %s, %s::numeric, %s, %s)"""
MADE = """
    select file from tds.backup
     where error is null and removed_at is null and not is_anothers order by backup_id desc"""


@dataclass(frozen=True, slots=True)
class Made:
    """What was made of a backup."""

    backup: Backup
    verified: bool
    removed: list[Path]
    left_out: Sequence[str] = ()
    """Tables and columns of somebody's own that no restore brings back by itself, once it is verified."""


def make(
    dsn: str,
    directory: Path,
    *,
    keep: int | None,
    verify: bool,
    lock_timeout: str = "5s",
    scheduled: bool = False,
    steps: Steps = NOWHERE,
) -> Made:
    """Writes a backup, restores it into a scratch database if wanted, notes it, removes older ones.

    Args:
        dsn: the database, as a member of tds_owner.
        directory: where it goes.
        keep: how many of this database's stay there; null: as many as the clock keeps there, elsewhere 7.
        verify: whether it is restored and compared; left out where the login may not make a database.
        lock_timeout: see `upgrade`.
        scheduled: whether it is the one that the clock wants.
        steps: where to show the progress, in rows.

    Raises:
        TdsError: it cannot be written, or not be restored; noted.
        psycopg.Error: the database refuses; noted where it takes notes.
    """
    began, at = time.monotonic(), datetime.now(UTC)
    backup, place = None, directory.absolute()
    try:
        with steps.step("writing") as step:
            backup = back_up(dsn, place, step)
        restored = _verify(dsn, backup, lock_timeout, steps) if verify else None
    except (TdsError, psycopg.Error) as error:
        if backup is not None:
            place = set_aside(backup.path)
        values = [at, str(place), None, None, False, _told(error), time.monotonic() - began, scheduled, []]
        try:
            _note(dsn, values)
        except psycopg.Error as refused:
            log.error("the failed backup could not be noted: %s", str(refused).strip())
        raise
    made, removed, failed = list[str](), list[Path](), None
    try:
        with connect("backup", dsn, autocommit=True) as conn, as_owner(conn):
            made = [str(backup.path), *(file for (file,) in conn.execute(MADE))]
            removed = forget(place, _kept(conn, place) if keep is None else keep, made)
    except OSError as error:
        failed = error
    seconds = time.monotonic() - began
    _note(
        dsn,
        [
            backup.taken_at,
            str(backup.path),
            backup.bytes,
            backup.rows,
            restored is not None,
            None,
            seconds,
            scheduled,
            [file for file in made if Path(file).name in {path.name for path in removed}],
        ],
    )
    if failed is not None:
        raise BackupError(
            f"{backup.path} is written, but older ones stay. {failed.filename}: {failed.strerror}.",
            f"Next: ls -ld {place}",
        )
    left_out = restored.left_out if restored else ()
    if left_out:
        log.warning("%s: %s", backup.path, left_out_told(left_out))
    return Made(backup, restored is not None, removed, left_out)


def take_due(dsn: str, *, lock_timeout: str = "5s", steps: Steps = NOWHERE) -> tuple[str, Made | None]:
    """Makes the backup that the clock wants, if one is due and nobody is at it; see `make`.

    Returns:
        `taken` and what was made; or why none was: not scheduled, not due, failed lately, running already.

    Raises:
        TdsError: as `make`.
        psycopg.Error: as `make`; InsufficientPrivilege: this login is no member of tds_owner.
    """
    with connect("backup", dsn, autocommit=True) as conn, as_owner(conn):
        row = conn.execute("select outcome, directory, keep, verify from tds.take_backup()").fetchone()
        assert row is not None
        outcome, directory, keep, verify = row
        if outcome != TAKEN:
            return str(outcome), None
        # the session has the lease for as long as it takes
        made = make(
            dsn,
            Path(directory),
            keep=keep,
            verify=verify,
            lock_timeout=lock_timeout,
            scheduled=True,
            steps=steps,
        )
    return TAKEN, made


class Taking:
    """Starts the process that makes the backup which is due, where this login may.

    Args:
        dsn: libpq connection string of the database, for that process.
    """

    def __init__(self, dsn: str) -> None:
        self._program = Program(
            "backup", python("tds_db.backups"), environment={**os.environ, "TDS_DATABASE_URL": dsn}
        )

    def turn(self, connection: psycopg.Connection) -> None:
        """Starts it if a backup is due and none is at work.

        Args:
            connection: in autocommit mode.
        """
        process = self._program.process
        if process is not None and process.poll() is None:
            return
        row = connection.execute("select tds.backup_due()").fetchone()
        if row and row[0]:
            self._program.start()

    def stop(self) -> None:
        """Ends it, half-way if need be: it is wanted still, and made anew."""
        self._program.ask_to_stop()
        self._program.wait()


def left_out_told(names: Sequence[str]) -> str:
    """What is said of tables and columns that are not of TDS."""
    return (
        f"Not of TDS, and not brought back by itself: {', '.join(names[:10])}."
        " To have it restored, too: tds db upgrade on the empty database, make it there, then tds restore"
    )


def _verify(dsn: str, backup: Backup, lock_timeout: str, steps: Steps) -> Restored | None:
    try:
        with scratch(dsn) as empty, steps.step("verifying") as step:
            return restore(empty, backup.path, lock_timeout=lock_timeout, step=step)
    except psycopg.errors.InsufficientPrivilege as error:
        log.warning("%s is not verified: %s. Next: alter role … createdb", backup.path, _told(error))
        return None


def _kept(conn: psycopg.Connection, place: Path) -> int:
    row = conn.execute(
        "select tds.setting_text('backup_directory'), tds.setting_int('backup_keep')"
    ).fetchone()
    assert row is not None
    return max(row[1], 1) if row[0] is not None and Path(row[0]) == place else KEPT


def _note(dsn: str, values: list[object]) -> None:
    with connect("backup", dsn, autocommit=True) as conn, as_owner(conn):
        conn.execute(NOTE, values)


def _told(error: TdsError | psycopg.Error) -> str:
    """One line; of PostgreSQL's errors not the context, which may hold values."""
    text = error.diag.message_primary if isinstance(error, psycopg.Error) else str(error)
    return " ".join((text or str(error)).split())[:TOLD]


def _stop() -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Makes the backup that is due. Exit code 1: it failed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s backup[%(process)d] %(message)s")
    end_with_parent()
    load()
    on_stop_signal(_stop)
    try:
        outcome, made = take_due(conninfo(), lock_timeout=DatabaseSettings().lock_timeout)
    except (TdsError, psycopg.Error) as error:
        log.error("the backup failed: %s", _told(error))
        return 1
    except KeyboardInterrupt:
        log.warning("the backup was broken off; it is made anew")
        return 1
    if made is not None:
        log.info("%s: %d rows, %d bytes", made.backup.path, made.backup.rows, made.backup.bytes)
    else:
        log.info("no backup: %s", outcome)
    return 0


if __name__ == "__main__":
    sys.exit(main())
