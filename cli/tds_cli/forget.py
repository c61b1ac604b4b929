"""`tds forget`: a person's data erased, and `tds remember`, which ends that."""

import click

from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows

organization = click.option("--organization", help="The Zoho organisation that has the contact.")


@click.group()
def forget() -> None:
    """Erases a person's data."""


@forget.command("contact")
@click.argument("zoho_id", metavar="ID")
@organization
@as_json
def forget_contact(zoho_id: str, organization: str | None, as_json: bool) -> None:
    """Erases what describes the contact with Zoho's id ID, wherever it stands. It does not come back.

    Documents keep ids, numbers and sums. What Zoho tells later is stored without it, until tds remember.
    """
    with connect_for_rows("forget") as connection:
        rows = connection.execute("select * from tds.forget(%s, %s)", [zoho_id, organization]).fetchall()
    if as_json:
        print_json(rows)
        return
    print_table(f"Contact {zoho_id} is forgotten", rows)
    echo("Next: erase it in Zoho Books too; docs/history.md says what backups and logs keep.", err=True)


@click.command()
@click.argument("zoho_id", metavar="ID")
@organization
def remember(zoho_id: str, organization: str | None) -> None:
    """Takes `tds forget contact ID` back for what comes from now on; Zoho is asked for the contact."""
    with connect_for_rows("remember") as connection:
        row = connection.execute("select tds.remember(%s, %s) as was", [zoho_id, organization]).fetchone()
    echo(f"Contact {zoho_id} is {'remembered' if row and row['was'] else 'not forgotten'}.")
