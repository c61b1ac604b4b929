"""`tds connect`: from a Zoho account to a file of settings that all programs read."""

import asyncio
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import click
import psycopg
from pydantic import SecretStr

from tds_cli.doctor import Check, all_checks, print_check
from tds_cli.exits import FAILED
from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db import envfile
from tds_db.connect import conninfo
from tds_db.errors import TdsError
from tds_db.settings import DatabaseSettings
from tds_db.status import status
from tds_db.upgrade import upgrade
from tds_poller.zoho.grant import Client, Grant, Organization, exchange, organizations, self_client
from tds_poller.zoho.scopes import lacking, scope_string
from tds_poller.zoho.settings import DATA_CENTRES, ZohoPlace

STARTED_LATER = {"workers", "poller", "receiver"}  # what `tds up` starts is no fault yet


@dataclass(frozen=True, slots=True)
class Given:
    """What the options say."""

    client_id: str | None
    code: str | None
    self_client: str | None
    organization: str | None


@click.command()
@click.option("--dc", metavar="DC", help=f"The data centre: {', '.join(DATA_CENTRES)}.")
@click.option(
    "--client-id", help="Of the self client. Its secret: ZOHO_CLIENT_SECRET, a prompt, or a line of stdin."
)
@click.option("--code", help="The grant code; else a prompt, or a line of stdin.")
@click.option(
    "--self-client",
    "self_client_file",
    type=click.File(),
    help="The file that the console's Download makes: client, secret and code in one.",
)
@click.option("--organization", metavar="ID", help="Which organisation, where there are several.")
@click.option("--webhooks", is_flag=True, help="Ask for the scope of `tds webhooks create`, too.")
@click.option("--inventory", is_flag=True, help="Ask for the scope of stock by place in Zoho Inventory, too.")
@click.option(
    "--file", "path", type=click.Path(path_type=Path), help="Where to write; default as read: ./tds.env."
)
@click.option("--print", "prints", is_flag=True, help="Print the settings instead, secrets and all.")
@click.option("--doctor/--no-doctor", default=True, help="Whether to look at everything afterwards.")
@as_json
def connect(
    *,
    dc: str | None,
    client_id: str | None,
    code: str | None,
    self_client_file: TextIO | None,
    organization: str | None,
    webhooks: bool,
    inventory: bool,
    path: Path | None,
    prints: bool,
    doctor: bool,
    as_json: bool,
) -> None:
    """Connects with Zoho Books: a grant code becomes a refresh token, and that a file of settings.

    Says what to click in Zoho's console, with the exact scope string; lists the organisations; writes
    ZOHO_DC, client, refresh token, organisation and a webhook secret into one file (mode 0600) that all
    programs of TDS read. What else is in the file stays. With --organization alone the refresh token that is
    there already serves. Exit code 1: not connected, or tds doctor finds a fault.
    """
    place = _place(dc)
    target = (path or envfile.env_file() or Path(envfile.NAME)).absolute()
    if not prints:
        envfile.check_writable(target)
    told = self_client_file.read() if self_client_file else None
    given = Given(client_id, code, told, organization)
    scope = scope_string(webhooks=webhooks, inventory=inventory)
    client, grant = _grant(place, given, scope)
    for missing in lacking(grant.scopes, scope.split(",")):
        echo(
            f"The grant code lacks {missing}. Next: tds connect, with a code for the whole scope string",
            err=True,
        )
    values = _values(place, client, grant)
    chosen: Organization | None = None
    try:
        chosen = _choose(asyncio.run(organizations(grant)), organization)
        values["ZOHO_ORGANIZATION_ID"] = chosen.organization_id
    finally:
        # the code is spent: what it gave is kept, whatever else there is
        _keep(target, values, prints=prints)
    echo(f"Connected with {chosen.name} ({chosen.organization_id}), data centre {place.dc}.", err=True)
    checks = _look(values) if doctor and not prints else []
    if as_json:
        shown = {"organization": asdict(chosen), "dc": place.dc, "file": None if prints else str(target)}
        print_json(shown | {"checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            print_check(check)
    if not all(check.ok for check in checks):
        sys.exit(FAILED)
    echo("Next: tds up, and in another terminal: tds migrate", err=True)


def _place(dc: str | None) -> ZohoPlace:
    if (
        dc is None
        and "ZOHO_DC" not in os.environ
        and "ZOHO_ACCOUNTS_BASE" not in os.environ
        and sys.stdin.isatty()
    ):
        echo(
            "The data centre is the end of the address where you use Zoho Books: books.zoho.com, .eu, .in …",
            err=True,
        )
        dc = click.prompt(f"Data centre ({', '.join(DATA_CENTRES)})", default="com", err=True)
    return ZohoPlace(dc=dc) if dc else ZohoPlace()


def _grant(place: ZohoPlace, given: Given, scope: str) -> tuple[Client, Grant]:
    known = {
        name: os.environ.get(f"ZOHO_{name.upper()}", "")
        for name in ("client_id", "client_secret", "refresh_token")
    }
    if given.self_client is not None:
        parts = self_client(given.self_client)
        client = Client(place.hosts, parts["client_id"], SecretStr(parts["client_secret"]))
        return client, asyncio.run(exchange(client, code=SecretStr(parts["code"])))
    if given.organization and not (given.code or given.client_id) and all(known.values()):
        client = Client(place.hosts, known["client_id"], SecretStr(known["client_secret"]))
        return client, asyncio.run(exchange(client, refresh_token=SecretStr(known["refresh_token"])))
    _explain(place, scope)
    client_id = given.client_id or _asked("Client ID", known["client_id"])
    # another client has another secret
    kept = (
        known["client_secret"]
        if client_id == known["client_id"]
        else envfile.from_environment("ZOHO_CLIENT_SECRET")
    )
    secret = _asked("Client secret", kept or "", hidden=True)
    code = given.code or _asked("Grant code", "", hidden=True)
    client = Client(place.hosts, client_id, SecretStr(secret))
    return client, asyncio.run(exchange(client, code=SecretStr(code)))


def _explain(place: ZohoPlace, scope: str) -> None:
    echo(
        f"""Sign in to Zoho's console (data centre {place.dc}): {place.hosts.console}
  1. Add Client, Self Client, Create.        Client ID and secret are under Client Secret.
  2. Generate Code, with this scope, which is one line, and ten minutes:

{scope}

  3. Create. Copy the code here at once, or Download, and: tds connect --self-client self_client.json
""",
        err=True,
    )


def _asked(what: str, known: str, *, hidden: bool = False) -> str:
    """A value from a prompt, or from a line of stdin where that is no terminal; what is known is kept."""
    if sys.stdin.isatty():
        shown = " (Enter keeps the one that is set)" if known and hidden else ""
        return str(
            click.prompt(
                what + shown, default=known or None, hide_input=hidden, show_default=not hidden, err=True
            )
        ).strip()
    if known:
        return known
    if value := sys.stdin.readline().strip():
        return value
    raise TdsError(
        f"{what} is missing, and there is no terminal to ask at.",
        "Next: tds connect --client-id ID, with the secret and the grant code as lines of stdin, "
        "or tds connect --self-client FILE",
    )


def _values(place: ZohoPlace, client: Client, grant: Grant) -> dict[str, str]:
    lives = next((dc for dc, hosts in DATA_CENTRES.items() if hosts.api == grant.api), place.dc)
    values = {
        "ZOHO_DC": place.dc if place.accounts_base else lives,
        "ZOHO_CLIENT_ID": client.client_id,
        "ZOHO_CLIENT_SECRET": client.client_secret.get_secret_value(),
        "ZOHO_REFRESH_TOKEN": grant.refresh_token.get_secret_value(),
    }
    for name, base in (("ZOHO_ACCOUNTS_BASE", place.accounts_base), ("ZOHO_API_BASE", place.api_base)):
        if base:
            values[name] = base
    if not any(name.startswith(("ZOHO_WEBHOOK_SECRET", "ZOHO_WEBHOOK_TOKEN")) for name in os.environ):
        values["ZOHO_WEBHOOK_SECRET"] = secrets.token_hex(20)
    return values


def _choose(found: Sequence[Organization], wanted: str | None) -> Organization:
    listed = ", ".join(f"{row.organization_id} ({row.name})" for row in found)
    if wanted:
        if chosen := next((row for row in found if row.organization_id == wanted), None):
            return chosen
        told = f"This Zoho user has no organisation {wanted}; it has {listed or 'none'}."
        raise TdsError(told, "Next: tds connect --organization ID")
    if not found:
        told = "This Zoho user belongs to no organisation of Zoho Books."
        raise TdsError(told, "Make the grant code as a user of the company's. Next: tds connect")
    if len(found) == 1:
        return found[0]
    if not sys.stdin.isatty():
        raise TdsError(f"There are several organisations: {listed}.", "Next: tds connect --organization ID")
    rows = [{"number": number, **asdict(row)} for number, row in enumerate(found, 1)]
    print_table("Organisations", rows)
    return found[click.prompt("Which (number)", type=click.IntRange(1, len(found)), err=True) - 1]


def _keep(target: Path, values: dict[str, str], *, prints: bool) -> None:
    if prints:
        click.echo(envfile.as_text(values), nl=False)
        return
    envfile.write(target, values)
    echo(f"Written (mode 0600): {target}: {', '.join(values)}", err=True)
    if target != envfile.env_file():
        echo(
            f"Programs read it where {envfile.VARIABLE}={target} is set, or in its folder as ./tds.env.",
            err=True,
        )
    for name, value in values.items():
        if envfile.from_environment(name) not in {None, value}:
            echo(f"{name} is set in the environment, too, which wins. Next: unset {name}", err=True)


def _look(values: dict[str, str]) -> list[Check]:
    """What tds doctor says with these settings; a database without TDS gets it first, as from tds up."""
    os.environ.update(values)
    try:
        dsn = conninfo()
        if not any(file.state == "applied" for file in status(dsn).migrations):
            echo("Making the database …", err=True)
            upgrade(dsn, lock_timeout=DatabaseSettings().lock_timeout)
    except (TdsError, psycopg.Error):
        pass  # that is a line of the doctor's

    async def run() -> list[Check]:
        return [check async for check in all_checks() if check.ok or check.check not in STARTED_LATER]

    return asyncio.run(run())
