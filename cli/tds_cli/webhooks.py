"""`tds webhooks`: what Zoho Books is to be told about webhooks, done by hand or through its API."""

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import click
import psycopg
from pydantic import ValidationError

from tds_cli.exits import INCOMPLETE
from tds_cli.explanations import explanation
from tds_cli.options import as_json
from tds_cli.organisations import by_org, for_each_served
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db.connect import connect, connect_for_rows, conninfo
from tds_db.errors import TdsError
from tds_db.organisations import listed as all_rows
from tds_db.references import NotThereError
from tds_poller.organisations import Served, to_be_asked
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.errors import RefusedError, UnauthorizedError
from tds_poller.zoho.settings import ZohoSettings
from tds_poller.zoho.webhooks import BODY, WITHOUT_RULES, Found, Wanted, bounds, compared, listed, wanted
from tds_receiver.organisations import settings_of as receiver_settings_of
from tds_receiver.settings import ReceiverSettings

SECRET = re.compile(r"[A-Za-z0-9]{12,50}")
CAME = """
    select count(*) as came
      from tds.inbox
     where source = 'webhook' and received_at > tds.now() - interval '1 day'"""
by_url = click.option(
    "--url",
    metavar="URL",
    help="Where Zoho reaches the receiver: https://your.host. Default: TDS_PUBLIC_URL.",
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What Zoho has."""

    found: Sequence[Found]
    problems: Sequence[str]
    plan: str


@click.group(invoke_without_command=True)
@by_url
@by_org
@as_json
@click.pass_context
def webhooks(ctx: click.Context, url: str | None, organisations: tuple[str, ...], as_json: bool) -> None:
    """Prints each webhook's URL, method, body and secret, as Zoho's form wants them.

    The secrets are printed: Zoho's form wants them.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = url
        return
    told = [each for of in _chosen(organisations) for each in _wanted(url, of)]
    rows = [
        {
            "name": each.name,
            "module": each.module,
            "rule": each.rule.replace("_", " or "),
            "method": "POST",
            "url": each.url,
            "body": f"Raw: {BODY}",
            "secret": each.secret or "none",
        }
        for each in told
    ]
    if as_json:
        print_json(rows)
        return
    print_table("Settings, Automation: Workflow Actions, Webhooks; then a Workflow Rule for each", rows)
    echo("Next: tds webhooks create, which does it; or by hand, and: tds webhooks check", err=True)


@webhooks.command()
@by_url
@by_org
@as_json
@click.pass_obj
def create(outer: str | None, url: str | None, organisations: tuple[str, ...], as_json: bool) -> None:
    """Makes the webhooks and workflow rules that are missing. What is there is left as it is.

    The refresh token needs ZohoBooks.settings.CREATE: tds connect --webhooks. Exit code 4: some could not be
    made, or differ.
    """

    def one(of: Served) -> tuple[int, Any]:
        all_wanted = _wanted(url or outer, of)
        return _told(*asyncio.run(_create(of.needed(), all_wanted)), as_json=as_json)

    for_each_served(_chosen(organisations), one, as_json=as_json)


@webhooks.command()
@by_url
@by_org
@as_json
@click.pass_obj
def check(outer: str | None, url: str | None, organisations: tuple[str, ...], as_json: bool) -> None:
    """Compares what is set in Zoho with what is to be, and with what the plan allows.

    Exit code 4: something is missing or differs. Secrets cannot be compared: Zoho does not show them.
    """

    async def run(settings: ZohoSettings, all_wanted: Sequence[Wanted]) -> Standing:
        async with ZohoClient(settings, conninfo(), purpose="repair") as client:
            return await _look(client, all_wanted)

    def one(of: Served) -> tuple[int, Any]:
        all_wanted = _wanted(url or outer, of)
        return _told(asyncio.run(run(of.needed(), all_wanted)), [], as_json=as_json)

    for_each_served(_chosen(organisations), one, as_json=as_json)


def _chosen(organisations: Sequence[str]) -> Sequence[Served]:
    """Whose webhooks; of the environment's no credentials are needed to print them.

    Raises:
        TdsError: as `served`.
    """
    try:
        return to_be_asked(conninfo(), organisations)
    except ValidationError as error:
        if organisations:
            raise
        return [
            Served(
                os.environ.get("ZOHO_ORGANIZATION_ID", ""),
                problem=NotThereError(str(explanation(error))),
                is_row=False,
            )
        ]


def _settings_of(of: Served) -> ReceiverSettings:
    if not of.is_row:
        return ReceiverSettings()
    with connect("webhooks", autocommit=True) as connection:
        row = next(row for row in all_rows(connection) if row.organization_id == of.organization_id)
    return receiver_settings_of(row.webhook_credentials)


def _wanted(url: str | None, of: Served) -> list[Wanted]:
    base = url or os.environ.get("TDS_PUBLIC_URL", "")
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise TdsError(
            "Zoho has to be told where it reaches the receiver: https://your.host.",
            "Next: tds webhooks --url https://your.host, or set TDS_PUBLIC_URL",
        )
    settings = _settings_of(of)

    def secret_of(endpoint: str) -> str:
        # the first is the newest, where one is replaced by another
        secret = next(iter(settings.credentials(endpoint).secrets), b"").decode()
        if secret and not SECRET.fullmatch(secret):
            told = f"Zoho takes secrets of 12 to 50 letters and digits; that of {endpoint} is none."
            raise TdsError(told, "Next: mend ZOHO_WEBHOOK_SECRET, then tds webhooks")
        return secret

    found = wanted(base, secret_of, of.organization_id if of.is_row else "")
    if not any(each.secret for each in found):
        echo(
            "No secret is set: whoever reaches the receiver can write. Next: tds connect, which makes one",
            err=True,
        )
    return found


async def _look(client: ZohoClient, all_wanted: Sequence[Wanted]) -> Standing:
    organization = client.organization_id
    reply = await client.get("/organizations")
    told = reply.document.get("organizations")
    rows = [row for row in told if isinstance(row, Mapping)] if isinstance(told, list) else []
    own: Mapping[str, Any] = next(
        (row for row in rows if str(row.get("organization_id")) == organization), {}
    )
    plan = str(own.get("plan_name", ""))
    hooks, workflows = await listed(client, "webhooks"), await listed(client, "workflows")
    found = compared(all_wanted, hooks, workflows)
    return Standing(found, bounds(found, workflows, plan, await asyncio.to_thread(_came)), plan)


def _came() -> int | None:
    """Webhooks of the last day; None where this login may not know."""
    try:
        with connect_for_rows("webhooks") as connection:
            row = connection.execute(CAME).fetchone()
    except psycopg.Error:
        return None
    return int(row["came"]) if row else None


async def _create(settings: ZohoSettings, all_wanted: Sequence[Wanted]) -> tuple[Standing, list[str]]:
    refused: list[str] = []
    async with ZohoClient(settings, conninfo(), purpose="repair") as client:
        before = await _look(client, all_wanted)
        if before.plan.lower() in WITHOUT_RULES:
            return before, refused
        for row in before.found:
            if row.state not in {"missing", "without rule"}:
                continue
            try:
                webhook_id = row.webhook_id or await _make(client, "webhook", row.wanted.webhook)
                await _make(client, "workflow", row.wanted.workflow(webhook_id))
            except UnauthorizedError as error:
                raise TdsError(
                    f"The refresh token may not make webhooks ({error.message}).",
                    "Next: tds connect --webhooks, which asks for ZohoBooks.settings.CREATE, too; "
                    "or by hand: tds webhooks",
                ) from error
            except RefusedError as error:
                refused.append(f"{row.wanted.name}: {error.message}")
        return await _look(client, all_wanted), refused


async def _make(client: ZohoClient, what: str, document: dict[str, Any]) -> str:
    reply = await client.post(f"/settings/{what}s", document)
    made = reply.document.get(what, {})
    made_id = str(made.get(f"{what}_id", "")) if isinstance(made, dict) else ""
    if not made_id:
        told = f"POST /settings/{what}s was answered without a {what}_id."
        raise TdsError(told, "Next: tds webhooks check")
    return made_id


def _told(standing: Standing, refused: Sequence[str], *, as_json: bool) -> tuple[int, Any]:
    """Shows how they stand, unless it is to be JSON; the exit code, and what is to be printed."""
    rows = [
        {"webhook": row.wanted.name, "state": row.state, "said": row.said, "url": row.wanted.url}
        for row in standing.found
    ]
    if not as_json:
        print_table("Webhooks", rows)
        for problem in (*standing.problems, *refused):
            echo(problem, err=True)
    code = 0
    if any(row.state != "set" for row in standing.found) or standing.problems or refused:
        echo("Next: tds webhooks create makes what is missing; what differs, by hand: tds webhooks", err=True)
        code = INCOMPLETE
    return code, {"webhooks": rows, "problems": [*standing.problems, *refused], "plan": standing.plan}
