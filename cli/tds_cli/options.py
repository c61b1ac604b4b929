"""Options that many commands have."""

import getpass
import os
from typing import Any

import click
import psycopg

COUNT = click.IntRange(1, 2**31 - 1)
"""Of anything: as many as the database counts."""
NUMBER = click.IntRange(1, 2**63 - 1)
"""Of a run, an alert, a dead letter: as large as the database's are."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def must_exist(connection: psycopg.Connection[Any], entity: str) -> None:
    """Of an entity that nothing was found of: there is one of that name. Nothing is no answer to a typo.

    Raises:
        psycopg.Error: ZB002, there is none.
    """
    connection.execute("select tds.entity_named(%s, %s)", [entity, entity == "stock"])


def must_be_organisation(connection: psycopg.Connection[Any], organization_id: str) -> None:
    """Of an organisation that nothing was found of: it is known, or the environment's.

    Raises:
        psycopg.Error: ZB070, there is none of that id.
    """
    if organization_id != os.environ.get("ZOHO_ORGANIZATION_ID"):
        connection.execute("select tds.organization_named(%s)", [organization_id])


def whoever(by: str | None) -> str:
    """Who does what is kept with a name: who is named, or is logged in here; empty: nobody knows."""
    if by:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
