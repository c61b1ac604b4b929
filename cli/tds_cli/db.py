"""`tds db …` and `tds psql`. Data goes to stdout, messages to stderr.

Exit codes: 0 done · 1 refused or failed, the message says why · 2 wrong usage · 3 `db status`: upgrade due,
or changed by hand.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tds_cli.events import note
from tds_cli.exits import FAILED, UPGRADE_DUE
from tds_cli.options import as_json
from tds_cli.roles import roles_command
from tds_cli.up import alone
from tds_db import embedded
from tds_db.check import READERS, WRITERS, Plan, check
from tds_db.connect import conninfo
from tds_db.errors import TdsError
from tds_db.models import FileState, Report, Status
from tds_db.move_major import move
from tds_db.settings import DatabaseSettings
from tds_db.shards import shards_of, upgrade_shards
from tds_db.status import is_router, status
from tds_db.upgrade import DEADLOCKS, dump_sql, upgrade

stdout, stderr = Console(), Console(stderr=True)


@click.group()
def db() -> None:
    """Looks after the database: upgrade, status, the embedded server."""


db.add_command(roles_command)


@db.command("upgrade")
@click.option("--dry-run", is_flag=True, help="Do everything in one transaction and roll it back.")
@click.option(
    "--check", "only_check", is_flag=True, help="Only tell what is due, what it locks, and what it breaks."
)
@as_json
def upgrade_command(dry_run: bool, only_check: bool, as_json: bool) -> None:
    """Applies roles, pgmq, pending migrations and all functions; of a router, to it and all its shards.

    With --check nothing is changed and nothing locked; exit code 3: an upgrade is due.
    """
    settings = DatabaseSettings()
    if only_check:
        if dry_run:
            raise click.UsageError("--check changes nothing, and --dry-run rolls back: one of them.")
        plan = check(conninfo(settings), lock_timeout=settings.lock_timeout, attempts=DEADLOCKS + 1)
        click.echo(json.dumps(plan.as_dict()) if as_json else _describe_plan(plan))
        if plan.is_due:
            sys.exit(UPGRADE_DUE)
        return
    url = conninfo(settings)
    if is_router(url):
        _upgrade_shards(url, settings, dry_run=dry_run, as_json=as_json)
        return
    report = upgrade(url, dry_run=dry_run, lock_timeout=settings.lock_timeout)
    click.echo(json.dumps(asdict(report)) if as_json else _describe(report))


def _upgrade_shards(url: str, settings: DatabaseSettings, *, dry_run: bool, as_json: bool) -> None:
    """A router, and all its shards: each for itself."""
    told: dict[str, Any] = {}
    failed = False
    for name, found in upgrade_shards(url, dry_run=dry_run, lock_timeout=settings.lock_timeout):
        if isinstance(found, Report):
            told[name or "router"] = asdict(found)
            lines = _describe(found).splitlines()
        else:
            failed = True
            told[name] = {"error": str(found)}
            lines = [f"not upgraded: {line}" for line in str(found).splitlines()]
        if not as_json:
            click.echo("\n".join(f"{name or 'router'}: {line}" for line in lines))
    if as_json:
        click.echo(json.dumps(told))
    if failed:
        click.echo("Next: mend what is named, then tds db upgrade, which upgrades the rest", err=True)
        sys.exit(FAILED)


@db.command("status")
@as_json
def status_command(as_json: bool) -> None:
    """Compares the database with the files.

    Exit code 3: an upgrade is due, or somebody has changed by hand what the files define.
    """
    url = conninfo()
    found = status(url)
    beside, away = _status_of_shards(url)
    if as_json:
        told = {"shards": {name: each.as_dict() for name, each in beside.items()}} if beside else {}
        click.echo(json.dumps({**found.as_dict(), **told}, default=str))
    else:
        for each in (found, *beside.values()):
            _print(each)
    if away:
        raise TdsError(f"Away: {', '.join(away)}.", "Next: tds shard list, which says why")
    if due := sorted(name for name, each in beside.items() if not each.current):
        click.echo(f"Not what the files say: {', '.join(due)}. Next: tds db upgrade", err=True)
        sys.exit(UPGRADE_DUE)
    if not found.applied:
        click.echo("The database is not what the files say. Next: tds db upgrade", err=True)
    elif found.changed_by_hand:
        click.echo(
            "The database was changed by hand. What is to stay belongs into the files. "
            "Next: tds db upgrade, which sets it right again",
            err=True,
        )
    if not found.current:
        sys.exit(UPGRADE_DUE)


def _status_of_shards(url: str) -> tuple[dict[str, Status], list[str]]:
    """Of a router: how each shard compares with the files, and those that cannot be asked."""
    found: dict[str, Status] = {}
    away: list[str] = []
    for shard in shards_of(url) if is_router(url) else ():
        try:
            found[shard.name] = status(shard.conninfo)
        except psycopg.OperationalError:
            away.append(shard.name)
    return found, away


@db.command("dump-sql")
@click.option("--pending", is_flag=True, help="Leave out the migrations this database has already.")
def dump_sql_command(pending: bool) -> None:
    """Prints the whole upgrade as SQL, for a DBA to read and run with psql."""
    settings = DatabaseSettings()
    applied = []
    if pending:
        applied = [m.name for m in status(conninfo(settings)).migrations if m.state != "pending"]
    for piece in dump_sql(applied=applied, lock_timeout=settings.lock_timeout):
        click.echo(piece, nl=False)


@db.command("start")
def start_command() -> None:
    """Starts the embedded server, and prints how to reach it."""
    _require_embedded()
    click.echo(conninfo())


@db.command("stop")
@click.option(
    "--mode",
    type=click.Choice(["smart", "fast", "immediate"]),
    default="fast",
    show_default=True,
    help="As in pg_ctl: wait for sessions, end them, or stop at once (crash recovery follows).",
)
def stop_command(mode: embedded.StopMode) -> None:
    """Stops the embedded server."""
    _require_embedded()
    stopped = embedded.stop(DatabaseSettings().data_dir, mode=mode)
    click.echo("Stopped." if stopped else "It was not running.", err=True)


@db.command("move-major")
@click.option(
    "--bin-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The old version's programs; else /usr/lib/postgresql/…, else fetched from PyPI.",
)
@click.option(
    "--leave-others", is_flag=True, help="Let databases and schemas that are not of TDS stay behind."
)
@as_json
def move_major_command(bin_dir: Path | None, leave_others: bool, as_json: bool) -> None:
    """Moves the embedded server's data to the PostgreSQL that this version of TDS brings.

    By backup and restore, compared table by table. The old directory is kept beside the new one. Whatever
    stops it, the same command goes on.
    """
    _require_embedded()
    settings = DatabaseSettings()
    with alone(settings.data_dir):
        done = move(
            settings.data_dir,
            bin_dir=bin_dir,
            leave_others=leave_others,
            lock_timeout=settings.lock_timeout,
            tell=partial(note, as_json=as_json),
        )
    if as_json:
        click.echo(json.dumps(asdict(done) if done else None, default=str))
    elif done is None:
        click.echo("Nothing to move: the data is of the PostgreSQL that TDS brings.", err=True)
    else:
        click.echo(
            f"From PostgreSQL {done.old} to {done.new}: {done.rows:,} rows in {done.seconds:.1f} s.\n"
            f"The old data is in {done.kept}. Next: tds doctor, tds up; then rm -r {done.kept}",
            err=True,
        )


def _require_embedded() -> None:
    if (given := DatabaseSettings().for_sessions) is not None:
        raise TdsError(
            f"{given[0]} names a server that TDS does not run.",
            f"Next: unset {given[0]}, to use the embedded one",
        )


def _describe(report: Report) -> str:
    lines = [f"migration {name}" for name in report.migrations]
    lines += [f"breaking  {name}: {what}" for name, what in report.breaking.items()]
    lines += [f"changed   {path}" for path in report.changed_functions]
    lines += [f"overwrote {c.object} ({c.change} by hand)" for c in report.overwritten]
    lines += [f"dropped   {name} (no file defines it any more)" for name in report.dropped]
    lines += [f"orphan    {name} (no file defines it)" for name in report.orphans]
    lines += [
        f"kept      public.{u.view} with its columns sync_…: {u.object} uses {u.columns}"
        for u in report.machinery_users
    ]
    lines += [
        f"job       {job.job}: {job.action}"
        for job in report.jobs
        if job.action != "kept" and not job.statement
    ]
    if any(job.statement for job in report.jobs):
        lines.append(
            "Workers run the jobs. For pg_cron to do so, an administrator's statements: tds jobs install"
        )
    done = "Would apply" if report.dry_run else "Applied"
    lines.append(
        f"{done} {len(report.migrations)} migrations and {report.functions} function files "
        f"in {report.seconds:.1f} s."
        + (f" pgmq {report.pgmq.version} ({report.pgmq.kind})." if report.pgmq else "")
    )
    return "\n".join(lines)


def _describe_plan(plan: Plan) -> str:
    if not plan.is_due:
        return "Up to date."
    lines = []
    for step in (*plan.migrations, *plan.functions):
        kind = "migration" if step in plan.migrations else "changed  "
        lines.append(f"{kind} {step.name}{'; runs code, which may lock more' if step.runs_code else ''}")
        lines += [f"          locks {lock.relation} against {lock.waits}" for lock in step.locks]
        if step.breaking:
            lines.append(f"          breaking: {step.breaking}")
    lines += [f"overwrites {change.object} ({change.change} by hand)" for change in plan.overwritten]
    readers = [lock.relation for lock in plan.every_time if lock.waits == READERS]
    writers = [lock.relation for lock in plan.every_time if lock.waits == WRITERS]
    lines.append(
        f"Every upgrade makes {len(readers)} views anew, whose readers wait until it has committed, and the "
        f"triggers of {len(writers)} tables, whose writers do ({', '.join(writers)})."
    )
    lines.append(
        f"All is one transaction, which ends as if nothing had been where a lock is not had within "
        f"{plan.lock_timeout} (TDS_LOCK_TIMEOUT). Where it and another session wait for each other it begins "
        f"anew, {plan.attempts} times in all."
    )
    lines += [
        f"in the way: session {holder.pid} ({holder.application or 'without a name'}) has used "
        f"{holder.relation} for {holder.seconds:.0f} s"
        for holder in plan.holders
    ]
    if plan.breaking:
        lines.append(
            "Breaking: stop the receivers and workers of the version before, upgrade, start the new ones. "
            "Zoho sends again what comes meanwhile."
        )
    else:
        lines.append("Receivers and workers of the version before go on through it.")
    lines.append("Next: tds db upgrade")
    return "\n".join(lines)


def _print(found: Status) -> None:
    pgmq = f"{found.pgmq.version} ({found.pgmq.kind})" if found.pgmq else "not installed"
    stdout.print(
        f"Database {found.database} on PostgreSQL {found.server_version}, pgmq {pgmq}, "
        f"upgraded by TDS {found.version or 'unknown'}",
        highlight=False,
        soft_wrap=True,
    )
    stdout.print(_table("Migration", found.migrations))
    stdout.print(_table("Function file", found.functions))
    if found.changed_by_hand:
        by_hand = Table("Changed by hand", "What", "File")
        for change in found.changed_by_hand:
            by_hand.add_row(Text(change.object), change.change, change.file, style="bold yellow")
        stdout.print(by_hand)
    for name in found.orphans:
        stdout.print(f"No file defines {name}", highlight=False, markup=False)


def _table(title: str, files: list[FileState]) -> Table:
    table = Table(title, "State", "Applied at")
    for file in files:
        applied_at = file.applied_at.isoformat(" ", "seconds") if file.applied_at else ""
        table.add_row(
            file.name, file.state, applied_at, style=None if file.state == "applied" else "bold yellow"
        )
    return table
