"""`tds deletions`: deletions that are held back, because too many records answered 404 within an hour."""

from collections.abc import Sequence

import click

from tds_cli.exits import INCOMPLETE
from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows
from tds_db.errors import TdsError

HELD = """
    select organization_id, entity, count(*) as held, min(absent_at) as first, max(proved_at) as last,
           min(zoho_id) as example
      from tds_held_deletions where state = 'held' group by 1, 2 order by 1, 2"""


@click.group()
def deletions() -> None:
    """Deletions that are held back: too many at once to be believed."""


@deletions.command("list")
@click.option("--ids", is_flag=True, help="Every record, not only how many.")
@as_json
def deletions_list(ids: bool, as_json: bool) -> None:
    """Lists what is held back. Exit code 4: something is."""
    with connect_for_rows("deletions") as connection:
        query = "select * from tds_held_deletions order by organization_id, entity, zoho_id" if ids else HELD
        rows = connection.execute(query).fetchall()
    if as_json:
        print_json(rows)
    else:
        print_table("Deletions held back", rows)
    if rows:
        echo("Next: tds deletions confirm ENTITY, or refuse ENTITY", err=True)
        raise SystemExit(INCOMPLETE)


@deletions.command("confirm")
@click.argument("entity")
@click.argument("ids", nargs=-1)
def deletions_confirm(entity: str, ids: tuple[str, ...]) -> None:
    """Says that these records of ENTITY (or all that are held back) are deleted."""
    _decide("confirm", entity, ids)


@deletions.command("refuse")
@click.argument("entity")
@click.argument("ids", nargs=-1)
def deletions_refuse(entity: str, ids: tuple[str, ...]) -> None:
    """Says that these records of ENTITY (or all that are held back) are not deleted."""
    _decide("refuse", entity, ids)


def _decide(verb: str, entity: str, ids: Sequence[str]) -> None:
    with connect_for_rows("deletions") as connection:
        row = connection.execute(
            "select tds.confirm_deletions(%s, %s) as decided"
            if verb == "confirm"
            else "select tds.refuse_deletions(%s, %s) as decided",
            [entity, list(ids) or None],
        ).fetchone()
    assert row is not None
    if ids and not row["decided"]:
        raise TdsError(f"None of these {entity} is held back.", "Look: tds deletions list --ids")
    echo(f"{row['decided']} deletions {verb}ed.".replace("refuseed", "refused"))
