"""`tds serve`."""

import click
import psycopg

from tds_cli.organisations import by_org
from tds_db.connect import connect, conninfo, receiver_conninfo
from tds_db.organisations import listed
from tds_receiver.logs import log_as_json
from tds_receiver.server import serve as serve_receiver
from tds_receiver.settings import ReceiverSettings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option(
    "--insecure",
    is_flag=True,
    help="Listen on a public address although neither a webhook secret nor a token is set.",
)
@click.option(
    "--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that serve."
)
@click.option(
    "--workers",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    help="Workers beside it (tds work).",
)
@by_org
def serve(
    *, host: str, port: int, insecure: bool, processes: int, workers: int, organisations: tuple[str, ...]
) -> None:
    """Takes webhooks until interrupted. Prints its base URL on stdout, and logs JSON lines on stderr.

    The URLs to give to Zoho are BASE/api/zoho/webhooks/products, …/customers, …/vendors, …/invoices; where
    there are several organisations, BASE/api/zoho/ORGANISATION/webhooks/products and so on.
    """
    log_as_json()
    if workers:
        conninfo()  # what they lack is told once
    dsn = receiver_conninfo()
    settings = ReceiverSettings()
    settings.organisations = ",".join(organisations) or settings.organisations
    settings.only_rows |= settings.organization_id is None and settings.is_open and _has_rows(dsn)
    serve_receiver(
        settings,
        dsn,
        host=host,
        port=port,
        insecure=insecure,
        processes=processes,
        workers=workers,
        announce=click.echo,
    )


def _has_rows(dsn: str) -> bool:
    """Whether organisations have secrets of their own, as far as that is known: the database may be away."""
    try:
        with (
            connect("organisations", dsn, may_share=True, autocommit=True, connect_timeout=5) as connection,
            connection.on_terms(),
        ):
            return bool(listed(connection))
    except psycopg.Error:
        return False
