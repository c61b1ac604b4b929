"""Options that many commands have."""

from typing import Any

import click
import psycopg

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def must_exist(connection: psycopg.Connection[Any], entity: str) -> None:
    """Of an entity that nothing was found of: there is one of that name. Nothing is no answer to a typo.

    Raises:
        psycopg.Error: ZB002, there is none.
    """
    connection.execute("select tds.entity_named(%s, %s)", [entity, entity == "stock"])
