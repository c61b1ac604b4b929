"""`tds keys`: who may ask for pulls over HTTP."""

import click

from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_db.connect import connect_for_rows


@click.group()
def keys() -> None:
    """The API keys of operators."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(["read", "operate"]),
    default="operate",
    show_default=True,
    help="What it is good for: to look, or also to ask for pulls and cancel them.",
)
def create(name: str, scope: str) -> None:
    """Makes a key called NAME and prints it on stdout: this once, only its hash is stored."""
    with connect_for_rows("keys") as connection:
        [row] = connection.execute("select tds.create_api_key(%s, %s) as key", [name, scope])
    click.echo(row["key"])
    click.echo("It is shown this once. Send it as: Authorization: Bearer KEY", err=True)


@keys.command("list")
@as_json
def list_keys(as_json: bool) -> None:
    """Lists the keys, those revoked included."""
    with connect_for_rows("keys") as connection:
        rows = connection.execute(
            """select api_key_id as number, name, scope, created_at, created_by, last_used_at, revoked_at
                 from tds_api_keys order by api_key_id"""
        ).fetchall()
    if as_json:
        print_json(rows)
    else:
        print_table("API keys", rows)


@keys.command("revoke")
@click.argument("key")
def revoke(key: str) -> None:
    """Revokes the key of that name or number: it is refused from now on."""
    with connect_for_rows("keys") as connection:
        [row] = connection.execute("select tds.revoke_api_key(%s) as name", [key])
    click.echo(f"{row['name']} is revoked.", err=True)
