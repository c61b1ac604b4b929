"""What the shell may offer while a command is typed."""

import click
import psycopg

from tds_db import embedded
from tds_db.connect import connect, conninfo
from tds_db.settings import DatabaseSettings

STOCK = "stock"  # pulled like an entity, as the details of products
CONNECT_SECONDS = 2


def entity_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Entities whose names begin so; none where there is no database to ask."""
    query = "select entity from tds.entity where api_path <> '' and starts_with(entity, %s) order by priority"
    settings = DatabaseSettings()
    if settings.for_sessions is None and not embedded.is_running(settings.data_dir):
        return []
    try:
        with connect("completion", conninfo(settings), connect_timeout=CONNECT_SECONDS) as connection:
            names = [name for (name,) in connection.execute(query, [incomplete])]
    except (psycopg.Error, OSError):
        return []
    return [*names, *([STOCK] if STOCK.startswith(incomplete) else [])]
