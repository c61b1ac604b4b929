"""`tds backup` and `tds restore`."""

from dataclasses import asdict
from pathlib import Path

import click
import psycopg

from tds_cli.options import as_json
from tds_cli.output import print_json
from tds_cli.terminal import echo
from tds_db.backup import back_up, forget, note, scratch
from tds_db.backup import restore as restore_backup
from tds_db.connect import conninfo
from tds_db.settings import DatabaseSettings

PATH = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("directory", metavar="[DIR]", type=PATH, required=False)
@click.option(
    "--keep", type=click.IntRange(1), default=7, show_default=True, help="How many backups stay in DIR."
)
@click.option(
    "--verify/--no-verify", default=True, help="Whether to restore it into a scratch database, and compare."
)
@as_json
def backup(directory: Path | None, keep: int, verify: bool, as_json: bool) -> None:
    """Writes all rows of the mirror into one file in DIR, default: backups beside the data.

    Of one moment, while all goes on. Neither queues, which tds restore fills anew, nor the access token are
    in it. It is verified by a restore into a database of its own on the same server. Older ones than
    --keep go.
    """
    settings = DatabaseSettings()
    dsn = conninfo(settings)
    made = back_up(dsn, directory or settings.data_dir / "backups")
    verified = False
    if verify:
        try:
            with scratch(dsn) as empty:
                restore_backup(empty, made.path, lock_timeout=settings.lock_timeout)
            verified = True
        except psycopg.errors.InsufficientPrivilege:
            echo("Not verified: this login may not make a database. Next: alter role … createdb", err=True)
    note(dsn, made, verified=verified)
    gone = forget(made.path.parent, keep)
    if as_json:
        print_json({**asdict(made), "verified": verified, "removed": [str(path) for path in gone]})
        return
    click.echo(made.path)
    how = "restored and compared" if verified else "not verified"
    echo(f"{made.rows:,} rows, {made.bytes:,} bytes, {how}; {len(gone)} older removed.", err=True)
    echo(f"Next: copy it to another machine. Back: tds restore {made.path}", err=True)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@as_json
def restore(file: Path, as_json: bool) -> None:
    """Fills an empty database from FILE: makes the schema, loads and compares every table, fills the queues.

    The database is that of TDS_DATABASE_URL, else the embedded one; its major version may be another.
    Whatever stops it, the same command begins anew.
    """
    settings = DatabaseSettings()
    done = restore_backup(conninfo(settings), file, lock_timeout=settings.lock_timeout)
    if as_json:
        print_json(asdict(done))
        return
    echo(f"{done.rows:,} rows, {done.requeued:,} events queued anew, in {done.seconds:.1f} s.", err=True)
    echo("Next: tds doctor, then tds up", err=True)
