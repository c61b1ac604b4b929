"""`tds backup`, `tds backups` and `tds restore`."""

import sys
import threading
from dataclasses import asdict
from pathlib import Path

import click
import psycopg

from tds_cli.events import note
from tds_cli.exits import FAILED
from tds_cli.interrupts import goes_on
from tds_cli.options import COUNT, as_json
from tds_cli.output import print_json, print_table
from tds_cli.progress import Steps
from tds_cli.terminal import echo
from tds_db.backup import restore as restore_backup
from tds_db.backups import Made, left_out_told, make, take_due
from tds_db.connect import connect, connect_for_rows, conninfo
from tds_db.errors import TdsError
from tds_db.processes import on_stop_signal
from tds_db.settings import DatabaseSettings
from tds_db.upgrade import install_jobs

PATH = click.Path(path_type=Path, file_okay=False)
WATCH_SECONDS = 60.0
LIST = """
    select taken_at, state, row_count, bytes, round(seconds, 1) as seconds, file, error
      from tds_backups order by taken_at desc limit %s"""
# What tds.take_backup says, and whether a timer is to be told that something is wrong.
WHY_NOT = {
    "not scheduled": "No backups are made by the clock. Next: tds backups schedule DIR",
    "not due": "None is due.",
    "running already": "Another process makes it.",
    "failed lately": "The last try failed, and the next one is later. See: tds backups list",
}


@click.command()
@click.argument("directory", metavar="[DIR]", type=PATH, required=False)
@click.option(
    "--keep",
    type=COUNT,
    help="How many of this database's stay in DIR; at first 7, or as many as the clock keeps there.",
)
@click.option(
    "--verify/--no-verify", default=True, help="Whether to restore it into a scratch database, and compare."
)
@as_json
def backup(directory: Path | None, keep: int | None, verify: bool, as_json: bool) -> None:
    """Writes all rows of the mirror into one file in DIR, default: backups beside the data.

    Of one moment, while all goes on. Neither queues, which tds restore fills anew, nor the access token are
    in it. It is verified by a restore into a database of its own on the same server. Of this database's
    older ones go. By the clock: tds backups schedule DIR.

    With --json, stderr has events while it works, one a line (docs/events.md), and stdout what was made.
    """
    settings = DatabaseSettings()
    kept = "A backup that is there is whole, though it may not be verified."
    with goes_on(as_json=as_json, anew=kept), Steps(as_json=as_json) as steps:
        made = make(
            conninfo(settings),
            directory or settings.data_dir / "backups",
            keep=keep,
            verify=verify,
            lock_timeout=settings.lock_timeout,
            steps=steps,
        )
    if verify and not made.verified:
        told = "Not verified: this login may not make a database. Next: alter role … createdb"
        note(told, as_json=as_json)
    _tell(made, as_json=as_json)


def _tell(made: Made, *, as_json: bool) -> None:
    if as_json:
        removed = [str(path) for path in made.removed]
        print_json(
            {
                **asdict(made.backup),
                "verified": made.verified,
                "removed": removed,
                "left_out": list(made.left_out),
            }
        )
        return
    click.echo(made.backup.path)
    how = "restored and compared" if made.verified else "not verified"
    echo(
        f"{made.backup.rows:,} rows, {made.backup.bytes:,} bytes, {how}; {len(made.removed)} older removed.",
        err=True,
    )
    if made.left_out:
        echo(left_out_told(made.left_out), err=True)
    echo(f"Next: copy it to another machine. Back: tds restore {made.backup.path}", err=True)


@click.group()
def backups() -> None:
    """Backups by the clock: when and where they are made, which there are."""


@backups.command("list")
@click.option("--limit", type=COUNT, default=30, show_default=True, help="How many, newest first.")
@as_json
def backups_list(limit: int, as_json: bool) -> None:
    """Lists the backups that were made, and those that failed: state, size, file. SQL: tds_backups."""
    with connect_for_rows("backups") as connection:
        rows = connection.execute(LIST, [limit]).fetchall()
    if as_json:
        print_json(rows)
    else:
        print_table("Backups", rows)


@backups.command("schedule")
@click.argument("directory", metavar="DIR", type=PATH)
@click.option("--keep", type=COUNT, help="How many stay in DIR; at first 7.")
@click.option("--at", "schedule", metavar="CRON", help="When, as cron has it; at first 15 2 * * *.")
@click.option(
    "--verify/--no-verify", default=None, help="Whether each is restored and compared; at first: yes."
)
@as_json
def backups_schedule(
    directory: Path, keep: int | None, schedule: str | None, verify: bool | None, as_json: bool
) -> None:
    """Has backups made in DIR by the clock: by tds up, else by tds backups take of a timer.

    DIR is a directory of the machine where that runs. What is not said stays as it is.
    """
    _schedule(str(directory.absolute()), keep, schedule, verify, as_json=as_json)
    if not as_json:
        echo("Made by tds up; elsewhere by a timer that runs tds backups take: docs/backup.md.", err=True)


@backups.command("off")
@as_json
def backups_off(as_json: bool) -> None:
    """Has none made by the clock any more. Those that there are stay."""
    _schedule(None, None, None, None, as_json=as_json)


def _schedule(
    directory: str | None, keep: int | None, schedule: str | None, verify: bool | None, *, as_json: bool
) -> None:
    with connect_for_rows("backups") as connection:
        row = connection.execute(
            "select * from tds.schedule_backups(%s, %s, %s, %s)", [directory, keep, schedule, verify]
        ).fetchone()
    assert row is not None
    if schedule is not None:
        with connect("backups") as connection:
            for job in install_jobs(connection):
                if job.statement:
                    echo(f"For pg_cron an administrator has to run: {job.statement}", err=True)
    if as_json:
        print_json(row)
    else:
        print_table("Backups by the clock", [row])


@backups.command("take")
@click.option("--now", is_flag=True, help="Make one, also where none is due.")
@click.option("--watch", is_flag=True, help="Go on until interrupted: make each when it is due.")
@as_json
def backups_take(now: bool, watch: bool, as_json: bool) -> None:
    """Makes the backup that the clock wants, if one is due; the login has to be a member of tds_owner.

    For a timer that knows nothing of when. Exit code 1: it failed, or failed lately.
    """
    settings = DatabaseSettings()
    dsn = conninfo(settings)
    if now:
        with connect("backups", dsn, autocommit=True) as connection:
            connection.execute("select tds.request_backup()")
    if watch:
        _watch(dsn, settings.lock_timeout, as_json=as_json)
        return
    with Steps(as_json=as_json) as steps:
        outcome, made = take_due(dsn, lock_timeout=settings.lock_timeout, steps=steps)
    if made is not None:
        _tell(made, as_json=as_json)
        return
    if as_json:
        print_json({"outcome": outcome})
    note(WHY_NOT[outcome], as_json=as_json)
    if outcome == "failed lately":
        sys.exit(FAILED)


def _watch(dsn: str, lock_timeout: str, *, as_json: bool) -> None:
    stopping = threading.Event()
    on_stop_signal(stopping.set)
    while not stopping.is_set():
        try:
            _, made = take_due(dsn, lock_timeout=lock_timeout)
            if made is not None:
                _tell(made, as_json=as_json)
        except (TdsError, psycopg.Error) as error:
            echo(f"The backup failed: {error}", err=True)
        stopping.wait(WATCH_SECONDS)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@as_json
def restore(file: Path, as_json: bool) -> None:
    """Fills an empty database from FILE: makes the schema, loads and compares every table, fills the queues.

    The database is that of TDS_DATABASE_URL, else the embedded one; its major version may be another.
    Whatever stops it, the same command begins anew.

    With --json, stderr has events while it works, one a line (docs/events.md), and stdout what became of it.
    """
    settings = DatabaseSettings()
    with (
        goes_on(as_json=as_json, anew="All rows come in one transaction: there are none, or all."),
        Steps(as_json=as_json) as steps,
        steps.step("restoring") as step,
    ):
        done = restore_backup(conninfo(settings), file, lock_timeout=settings.lock_timeout, step=step)
    if as_json:
        print_json(asdict(done))
        return
    echo(f"{done.rows:,} rows, {done.requeued:,} events queued anew, in {done.seconds:.1f} s.", err=True)
    if done.left_out:
        echo(left_out_told(done.left_out), err=True)
    echo("Keys revoked and contacts forgotten since it was made are there again: docs/backup.md.", err=True)
    echo("Next: tds doctor, then tds up", err=True)
