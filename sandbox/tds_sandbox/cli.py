"""``tds sandbox``, also ``python -m tds_sandbox``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import click

from tds_sandbox.app import Sandbox
from tds_sandbox.clock import Clock
from tds_sandbox.errors import SandboxError
from tds_sandbox.limits import LimitSettings
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import environment, listen, server
from tds_sandbox.webhooks import STOCK_FORMS, WebhookSettings

_COUNT = click.IntRange(min=0)
_COUNTS = (
    ("items", 2218, "How many items to generate."),
    ("contacts", 2467, "How many customers and vendors."),
    ("invoices", 1000, "How many invoices."),
    ("pricebooks", 0, "How many price lists."),
    ("creditnotes", 0, "How many credit notes."),
    ("customerpayments", 0, "How many customer payments."),
    ("bills", 0, "How many bills."),
    ("vendorcredits", 0, "How many vendor credits."),
    ("vendorpayments", 0, "How many payments to vendors."),
    ("salesorders", 0, "How many sales orders."),
)


def _count_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, default, text in reversed(_COUNTS):
        option = click.option(f"--{name}", type=_COUNT, default=default, show_default=True, help=text)
        command = option(command)
    return command


@click.command()
@_count_options
@click.option(
    "--stock-by",
    type=click.Choice(["locations", "warehouses", "inventory"]),
    default="locations",
    show_default=True,
    help="The key of stock by place; warehouses in older organisations; inventory: in none of Books.",
)
@click.option(
    "--lenient", is_flag=True, help="Take parameters of lists that the official documents do not list."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same data.")
@click.option("--organization-id", default="748139205", show_default=True, help="8 to 11 digits.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="a free one")
@click.option(
    "--minute-limit", type=_COUNT, default=100, show_default=True, help="Calls a minute; 0: no limit."
)
@click.option("--day-limit", type=_COUNT, default=10_000, show_default=True, help="Calls a day; 0: no limit.")
@click.option("--concurrency", type=_COUNT, default=10, show_default=True, help="Calls at once; 0: no limit.")
@click.option(
    "--block-seconds",
    type=float,
    default=120.0,
    show_default=True,
    help="How long code 44 lasts, on its clock.",
)
@click.option(
    "--latency", type=float, default=0.0, show_default=True, help="Real seconds a call takes at least."
)
@click.option(
    "--clock-scale", type=float, default=1.0, show_default=True, help="How much faster its clock runs."
)
@click.option(
    "--clock-start",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]),
    help="What its clock shows at first, with the offset; unset: what it is.",
)
@click.option(
    "--bad-records", type=_COUNT, default=0, show_default=True, help="How many bad records to plant."
)
@click.option("--webhook-url", default="", help="Base URL of the receiver; no webhooks without it.")
@click.option(
    "--webhook-retry-seconds", type=float, default=60.0, show_default=True, help="First retry, on its clock."
)
@click.option(
    "--webhook-stock",
    type=click.Choice(["", "mixed", *STOCK_FORMS]),
    default="",
    show_default="nothing",
    help="What is sent to the stock endpoint when stock moves.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the environment as one JSON object.")
def sandbox(
    *,
    stock_by: str,
    lenient: bool,
    seed: int,
    organization_id: str,
    port: int,
    minute_limit: int,
    day_limit: int,
    concurrency: int,
    block_seconds: float,
    latency: float,
    clock_scale: float,
    clock_start: datetime | None,
    bad_records: int,
    webhook_url: str,
    webhook_retry_seconds: float,
    webhook_stock: str,
    as_json: bool,
    **counts: Any,
) -> None:
    """Serve a stand-in Zoho Books organisation on 127.0.0.1 until interrupted.

    Prints the environment variables a client needs, ready for `eval` or an env file; with --clock-scale also
    ZOHO_MINUTE_SECONDS, so that the client's minutes are as short. Webhooks are signed with
    ZOHO_WEBHOOK_SECRET if that is set. Control pages are under /_sandbox/.
    """
    try:
        organisation = Organisation(
            seed=seed,
            organization_id=organization_id,
            clock=Clock(clock_scale, clock_start.timestamp() if clock_start else None),
            bad_records=bad_records,
            stock_by=stock_by,
            lenient=lenient,
            **counts,
        )
        settings = WebhookSettings(
            url=webhook_url,
            secret=os.environ.get("ZOHO_WEBHOOK_SECRET", ""),
            retry_seconds=webhook_retry_seconds,
            stock=webhook_stock,
        )
    except (SandboxError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    try:
        listener = listen(port)
    except OSError as error:
        raise click.ClickException(f"port {port}: {error.strerror}; choose another with --port") from error
    limits = LimitSettings(
        per_minute=minute_limit or None,
        per_day=day_limit or None,
        concurrency=concurrency or None,
        block_seconds=block_seconds,
    )
    stand_in = Sandbox(organisation, limits=limits, webhooks=settings, latency=latency)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    variables = environment(stand_in, url)
    if clock_scale != 1:
        # whoever asks has to count in the same minutes, or waits for real ones
        variables["ZOHO_MINUTE_SECONDS"] = f"{60 / clock_scale:g}"
    if as_json:
        click.echo(json.dumps(variables))
    else:
        for name, value in variables.items():
            click.echo(f"export {name}={value}")
    click.echo(f"Sandbox on {url}, control pages {url}/_sandbox/; stop it with Ctrl-C.", err=True)
    click.echo(
        f"A grant code for tds connect, good once: {stand_in.oauth.credentials.grant_code}; "
        f"another: curl -X POST {url}/_sandbox/grant-code",
        err=True,
    )
    if clock_scale != 1:
        told = f"Its minute lasts {60 / clock_scale:g} s, its day {86400 / clock_scale / 60:,.1f} minutes: "
        click.echo(f"{told}ZOHO_MINUTE_SECONDS tells the client.", err=True)
    try:
        with suppress(KeyboardInterrupt):  # uvicorn mostly raises it anew once it has stopped
            server(stand_in).run(sockets=[listener])
        click.echo("Stopped.", err=True)
    finally:
        stand_in.close()
        listener.close()
