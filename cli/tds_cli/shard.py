"""`tds shard`: several databases behind a router."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from tds_cli.exits import FAILED
from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db import shards
from tds_db.connect import connect, connect_for_rows, conninfo
from tds_db.reporting import make_reporting
from tds_db.settings import DatabaseSettings

LIST = """
    select shard, number, organizations, arriving, rows, open, dead, health, migration, error
      from tds.report_shards()"""
MOVES = """
    select m.organization_id, f.name as "from", t.name as "to", m.step, m.began_at, m.changed_at
      from tds.move m
      join tds.shard f on f.number = m.from_shard
      join tds.shard t on t.number = m.to_shard
     where m.step <> 'done' order by m.move_id"""


@click.group()
def shard() -> None:
    """More than one database: a router, its shards, and which organisation is where.

    TDS_DATABASE_URL is the router's. docs/scale.md says when that is worth it.
    """


@shard.command("init")
@as_json
def shard_init(as_json: bool) -> None:
    """Makes the database a router. Needs PL/Proxy on its server, and a superuser."""
    settings = DatabaseSettings()
    report = shards.make_router(conninfo(settings), lock_timeout=settings.lock_timeout)
    if as_json:
        print_json(asdict(report))
    else:
        echo("The database is a router. Next: tds shard add NAME 'host=… user=… dbname=…'", err=True)


@shard.command("add")
@click.argument("name")
@click.argument("conninfo_of_shard", metavar="CONNINFO")
@click.option(
    "--admin", metavar="CONNINFO", help="How this command reaches it, as its owner; default: the same."
)
@as_json
def shard_add(name: str, conninfo_of_shard: str, admin: str | None, as_json: bool) -> None:
    """Upgrades a database and registers it as the shard NAME, which the router's server reaches by CONNINFO.

    CONNINFO has no password: that is in the passfile, or in the service file, of the router server's account.
    The first one may be a mirror in use: it is the default shard, on which organisations are that nobody
    placed. Others are empty, or shards already. Once more with another CONNINFO changes the way to it.
    """
    settings = DatabaseSettings()
    added = shards.add(
        conninfo(settings), name, conninfo_of_shard, admin=admin, lock_timeout=settings.lock_timeout
    )
    if as_json:
        print_json({"shard": added.name, "number": added.number})
    else:
        echo(
            f"{added.name} is shard {added.number}. Next: tds shard list; tds up there, with its own URL",
            err=True,
        )


@shard.command("list")
@as_json
def shard_list(as_json: bool) -> None:
    """Lists the shards: organisations, rows, open events, dead letters, health; and moves under way.

    Exit code 1: one does not answer, or an organisation is elsewhere than the router's directory says.
    """
    url = conninfo()
    shards.shards_of(url)
    with connect_for_rows("shard", url) as connection:
        rows = connection.execute(LIST).fetchall()
        moves = connection.execute(MOVES).fetchall()
        misplaced = connection.execute("select * from tds.misplaced()").fetchall()
    if as_json:
        print_json({"shards": rows, "moves": moves, "misplaced": misplaced})
    else:
        print_table("Shards", rows)
        if moves:
            print_table("Moves under way", moves)
            echo(f"Next: tds shard move {moves[0]['organization_id']} --to {moves[0]['to']}", err=True)
        if misplaced:
            print_table("Not where the directory has them: was a backup restored?", misplaced)
            echo(f"Next: {misplaced[0]['next_step']}", err=True)
    if misplaced or any(row["error"] for row in rows):
        sys.exit(FAILED)


@shard.command("place")
@click.argument("organization", metavar="ORG")
@click.option("--on", "name", required=True, help="The shard.")
def shard_place(organization: str, name: str) -> None:
    """Says that the organisation ORG, of which nothing has come so far, is on a shard."""
    url = conninfo()
    shards.shards_of(url)
    with connect("shard", url, autocommit=True) as connection:
        connection.execute("select tds.place(%s, %s)", [organization, name])
    echo(f"{organization} is on {name}.", err=True)


@shard.command("move")
@click.argument("organization", metavar="ORG")
@click.option("--to", required=True, help="The shard.")
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=shards.PATIENCE_SECONDS,
    show_default=True,
    help="Seconds to wait for workers that have its events in hand.",
)
@as_json
def shard_move(organization: str, to: str, *, patience: float, as_json: bool) -> None:
    """Moves the organisation ORG to another shard, while webhooks keep coming and are answered.

    Its rows, events, wants, dead letters and history go with it. Whatever stops it, the same command goes on.
    """
    moved = shards.move(
        conninfo(), organization, to, patience=patience, announce=lambda step: echo(f"{step} …", err=True)
    )
    if as_json:
        print_json(asdict(moved))
    elif moved.rows:
        echo(f"{organization} is on {to}: {moved.rows:,} rows, compared, in {moved.seconds:.1f} s.", err=True)
        echo(
            "Next: see that its poller works for that shard, where pollers are given their organisation",
            err=True,
        )
    else:
        echo(f"{organization} is on {to}.", err=True)


@shard.command("reporting")
@click.argument("reporting", metavar="CONNINFO")
@as_json
def shard_reporting(reporting: str, as_json: bool) -> None:
    """Makes the mirror's tables of all shards one set in another database, CONNINFO, to be read there.

    Nothing is copied: postgres_fdw asks the shards, all at once, or the one of the organisation that a query
    names. Once more after a move, a new shard or an upgrade.
    """
    made = make_reporting(conninfo(), reporting)
    if as_json:
        print_json(asdict(made))
    else:
        echo(
            f"{len(made.tables)} tables of {len(made.shards)} shards. Next: psql, table zoho.invoices",
            err=True,
        )


@shard.command("remove")
@click.argument("name")
def shard_remove(name: str) -> None:
    """Forgets the shard NAME, on which no organisation is; its database stays as it is."""
    url = conninfo()
    shards.shards_of(url)
    with connect("shard", url, autocommit=True) as connection:
        connection.execute("select tds.remove_shard(%s)", [name])
    echo(f"{name} is no shard any more.", err=True)
