"""`tds serve`."""

import click

from tds_db.connect import conninfo
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
def serve(host: str, port: int, insecure: bool, processes: int, workers: int) -> None:
    """Takes webhooks until interrupted. Prints its base URL on stdout, and logs JSON lines on stderr.

    The URLs to give to Zoho are BASE/api/zoho/webhooks/products, …/customers, …/vendors, …/invoices.
    """
    log_as_json()
    serve_receiver(
        ReceiverSettings(),
        conninfo(),
        host=host,
        port=port,
        insecure=insecure,
        processes=processes,
        workers=workers,
        announce=click.echo,
    )
