"""`tds org`: the organisations that are mirrored, a row each."""

import os
import sys
import time
from typing import Any

import click
import psycopg
from psycopg.rows import DictRow

from tds_cli.events import note
from tds_cli.exits import FAILED
from tds_cli.options import COUNT, as_json
from tds_cli.output import print_json, print_table
from tds_cli.progress import Steps
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows
from tds_db.errors import TdsError
from tds_db.organisations import Organisation, State
from tds_db.references import NotThereError, resolved
from tds_poller.organisations import settings_of

WAIT_SECONDS = 0.5  # until what is in hand just now is looked at again
SHOWN = (
    "organization_id",
    "name",
    "state",
    "data_centre",
    "calls_per_minute",
    "calls_per_day",
    "concurrency",
    "credentials",
    "trouble",
)


def _options(command: Any) -> Any:
    """What an organisation's row says, as options."""
    for option in reversed(
        [
            click.option("--name", help="What people call it; else as Zoho does."),
            click.option(
                "--dc",
                "data_centre",
                metavar="DC",
                help="Where Zoho keeps it: com, eu, in, com.au, jp, ca, com.cn, sa.",
            ),
            click.option(
                "--credentials",
                metavar="REFERENCE",
                help="Where its client and refresh token stand: env:PREFIX_ or file:/path.",
            ),
            click.option(
                "--webhook-secrets",
                metavar="REFERENCE",
                help="Where the secrets of its webhooks stand; else with the credentials.",
            ),
            click.option("--calls-per-minute", type=COUNT, help="Most calls a minute."),
            click.option("--calls-per-day", type=COUNT, help="Most calls a day, if less than the plan's."),
            click.option("--concurrency", type=COUNT, help="Most calls at once."),
            click.option("--time-zone", help="Of its days, until Zoho has told it."),
            click.option("--api-base", help="In place of the data centre's API, for a sandbox."),
            click.option("--accounts-base", help="In place of its accounts server, for a sandbox."),
            click.option(
                "--check/--no-check",
                default=True,
                help="Whether what is referred to must be here, as on the machine of the poller.",
            ),
        ]
    ):
        command = option(command)
    return command


@click.group()
def org() -> None:
    """The organisations that are mirrored. That of the environment (ZOHO_ORGANIZATION_ID) need not be one."""


@org.command()
@click.argument("organization_id")
@_options
@as_json
def add(organization_id: str, *, check: bool, as_json: bool, **told: Any) -> None:
    """Adds an organisation; what runs serves it some seconds later.

    Its secrets stay where they are: --credentials says in which variables (env:ACME_ for ACME_CLIENT_ID,
    ACME_CLIENT_SECRET, ACME_REFRESH_TOKEN, ACME_WEBHOOK_SECRET) or in which file (ZOHO_CLIENT_ID=…).
    """
    if not told["credentials"]:
        raise click.UsageError("--credentials says where its client and refresh token stand.")
    _store("org_add", organization_id, told, check=check, as_json=as_json)
    echo(f"Next: tds doctor --org {organization_id}, tds migrate --org {organization_id}", err=True)


@org.command("set")
@click.argument("organization_id")
@_options
@as_json
def set_(organization_id: str, *, check: bool, as_json: bool, **told: Any) -> None:
    """Changes what is given of an organisation, and leaves the rest."""
    _store("org_set", organization_id, told, check=check, as_json=as_json)


def _store(function: str, organization_id: str, told: dict[str, Any], *, check: bool, as_json: bool) -> None:
    told["webhook_credentials"] = told.pop("webhook_secrets")
    given = {name: value for name, value in told.items() if value is not None}
    arguments = "".join(f", {name} => %({name})s" for name in given)
    query = f"select * from tds.{function}(%(id)s{arguments})"  # noqa: S608 - names of ours
    with connect_for_rows("org") as connection, connection.transaction():
        row = _one(connection, query, {"id": organization_id, **given})
        if check:
            # refused, it is not stored
            _check(row)
    row = {name: row[name] for name in Organisation.__dataclass_fields__}
    print_json(row) if as_json else print_table("Organisation", [row])


def _check(row: DictRow) -> None:
    """Whether what the row refers to is here.

    Raises:
        NotThereError: it is not.
    """
    found = Organisation(**{name: row[name] for name in Organisation.__dataclass_fields__})
    try:
        settings_of(found)
        resolved(found.webhook_credentials)
    except NotThereError as error:
        told = f"{error.hint}; if it is so on another machine: --no-check"
        raise NotThereError(error.message, told) from None


def _one(connection: psycopg.Connection[DictRow], query: str, parameters: Any) -> DictRow:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row


@org.command("list")
@as_json
def list_(as_json: bool) -> None:
    """Lists the organisations, how each stands, and what is wrong with it.

    Exit code 1: one of them cannot be asked for.
    """
    with connect_for_rows("org") as connection:
        rows = connection.execute("select * from tds_organizations order by organization_id").fetchall()
    if as_json:
        print_json(rows)
    else:
        shown = [
            row | {"trouble": row["refused"] or row["pause_reason"] or row["state_reason"]} for row in rows
        ]
        print_table("Organisations", [{name: row[name] for name in SHOWN} for row in shown])
    if any(row["refused"] and row["state"] in {State.ACTIVE, "not listed"} for row in rows):
        sys.exit(FAILED)


@org.command()
@click.argument("organization_id")
@click.option("--reason", help="Why; it is shown by tds org list.")
@as_json
def pause(organization_id: str, reason: str | None, as_json: bool) -> None:
    """Asks Zoho nothing more for it; its webhooks are stored and processed as ever."""
    _move("select * from tds.org_pause(%s, %s)", [organization_id, reason], as_json=as_json)


@org.command()
@click.argument("organization_id")
@as_json
def resume(organization_id: str, as_json: bool) -> None:
    """Goes on with one that was paused."""
    _move("select * from tds.org_resume(%s)", [organization_id], as_json=as_json)


def _move(query: str, parameters: list[str | None], *, as_json: bool) -> None:
    with connect_for_rows("org") as connection:
        row = _one(connection, query, parameters)
    told = {name: row[name] for name in ("organization_id", "state", "state_reason", "state_at")}
    if as_json:
        print_json(told)
    else:
        echo(f"Organisation {row['organization_id']} is {row['state']}.")


@org.command()
@click.argument("organization_id")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for its id to be typed.")
@click.option("--rows", type=COUNT, default=5000, show_default=True, help="Of a transaction.")
@as_json
def remove(organization_id: str, *, yes: bool, rows: int, as_json: bool) -> None:
    """Erases an organisation and all that is known of it. Other organisations are not touched.

    Nothing more is asked for it and its webhooks are refused from now on; then its rows go, some thousand a
    transaction. Broken off, the same command goes on where it stopped. It cannot be undone.
    """
    if os.environ.get("ZOHO_ORGANIZATION_ID") == organization_id:
        raise TdsError(
            f"The environment names organisation {organization_id}: it would be fetched anew.",
            "Next: take ZOHO_ORGANIZATION_ID out of the environment or tds.env, and end what runs with it",
        )
    if not yes:
        told = f"Everything of organisation {organization_id} is erased. Type its id to go on"
        if click.prompt(told, err=True) != organization_id:
            raise TdsError(
                "That is not its id: nothing is erased.", f"Next: tds org remove {organization_id}"
            )
    with connect_for_rows("org") as connection:
        _one(connection, "select * from tds.org_remove(%s)", [organization_id])
        with Steps(as_json=as_json) as steps, steps.step(f"erasing {organization_id}") as step:
            while True:
                done = _one(connection, "select * from tds.org_remove_step(%s, %s)", [organization_id, rows])
                step.at(int(done["removed_rows"] or 0))
                if done["is_done"]:
                    break
                if not done["removed"]:
                    time.sleep(WAIT_SECONDS)
    if as_json:
        print_json({"organization_id": organization_id, "state": "removed", "rows": done["removed_rows"]})
    else:
        echo(f"Organisation {organization_id} is removed: {done['removed_rows']:,} rows.")
    note("Its webhooks and its refresh token are still in Zoho. Next: delete them there", as_json=as_json)
