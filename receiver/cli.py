"""`tds serve`."""

import logging

import click

from db.connect import conninfo
from receiver.server import serve as serve_receiver
from receiver.settings import ReceiverSettings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option(
    "--insecure", is_flag=True, help="Listen on a public address although ZOHO_WEBHOOK_SECRET is not set."
)
def serve(host: str, port: int, insecure: bool) -> None:
    """Takes webhooks until interrupted. Prints its base URL on stdout.

    The URLs to give to Zoho are BASE/api/zoho/webhooks/products, …/customers, …/vendors, …/invoices.
    """
    logging.getLogger().setLevel(logging.INFO)
    serve_receiver(
        ReceiverSettings(), conninfo(), host=host, port=port, insecure=insecure, announce=click.echo
    )
