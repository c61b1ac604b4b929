"""`tds alerts`: what is not well, who sees to it, and who is told."""

import shlex
import sys
import uuid
from collections.abc import Callable
from typing import Any

import click

from tds_cli.exits import FAILED, INCOMPLETE
from tds_cli.options import COUNT, NUMBER, as_json, whoever
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db.alerting import BUSINESS, OPERATIONS, AlertSettings, Watch
from tds_db.connect import connect_for_rows, conninfo
from tds_db.errors import TdsError
from tds_db.processes import on_stop_signal

FROM = """
      from tds_alerts
     where (state <> 'resolved' or %(all)s) and (%(kind)s::text is null or kind = %(kind)s)
     order by state = 'resolved', severity, opened_at desc, id desc limit %(limit)s"""
WHOLE = "select *" + FROM
FEW = """
    select id as number, severity, state, kind, entity, since, summary, next_command, acknowledged_by,
           muted_until"""
LIST = FEW + FROM
MUTES = """
    select kind, nullif(nullif(entity, ''), '*') as entity, max(muted_until) as until
      from tds.alert_mute where muted_until > tds.now() group by 1, 2 order by 1, 2 nulls first"""
NO_ADDRESS = "Neither TDS_ALERT_URLS nor TDS_BUSINESS_ALERT_URLS is set: nobody can be told."
SEE_DOCS = "Set it to URLs of Apprise: docs/alerts.md."


def _until(command: Callable[..., None]) -> Callable[..., None]:
    """--for and --until of a command."""
    command = click.option("--until", "end", help="Until when: 2026-07-01 09:00, tomorrow.")(command)
    return click.option("--for", "span", help="For how long: 2h, 30min, 3 days.")(command)


@click.group()
def alerts() -> None:
    """What is not well, who sees to it, and who is told."""


@alerts.command("list")
@click.option("--all", "show_all", is_flag=True, help="Those that are over, too.")
@click.option("--kind", help="Only of this kind: a check of tds health, low_stock, negative_stock.")
@click.option("--limit", type=COUNT, default=100, show_default=True, help="How many.")
@as_json
def alerts_list(*, show_all: bool, kind: str | None, limit: int, as_json: bool) -> None:
    """Lists alerts, the worst first. Exit code 4: one is open that nobody has acknowledged or muted."""
    with connect_for_rows("alerts") as connection:
        rows = connection.execute(
            (WHOLE if as_json else LIST).encode(), {"all": show_all, "kind": kind, "limit": limit}
        ).fetchall()
        if kind and not rows:
            connection.execute("select tds.alert_kind_named(%s)", [kind])
    if as_json:
        print_json(rows)
    else:
        print_table("Alerts", rows)
    if any(row["state"] == "open" for row in rows):
        echo("Next: tds alerts ack NUMBER, or tds alerts mute NUMBER --for 2h", err=True)
        sys.exit(INCOMPLETE)


@alerts.command("ack")
@click.argument("number", type=NUMBER)
@click.option("--by", help="Who sees to it; unsaid: who is logged in here.")
@_until
def alerts_ack(*, number: int, by: str | None, span: str | None, end: str | None) -> None:
    """Says that you see to alert NUMBER: to its end, or for a time, after which it is told again.

    Should it become critical meanwhile, that is told all the same.
    """
    done = _do(
        "select tds.acknowledge_alert(%(number)s, %(by)s, {until}) as done",
        span,
        end,
        number=number,
        by=whoever(by),
    )
    echo(f"Acknowledged by {whoever(by)}: {done}")


@alerts.command("mute")
@click.argument("what")
@click.argument("entity", required=False)
@click.option("--by", help="Who says so; unsaid: who is logged in here.")
@_until
def alerts_mute(*, what: str, entity: str | None, by: str | None, span: str | None, end: str | None) -> None:
    """Has nobody told of WHAT for a time: the number of an alert, a kind of alert, or `*`, every one.

    ENTITY, with a kind: only of this one, as a product's id. It also holds for an alert that opens
    meanwhile; what is still open when it ends is told then.
    """
    if span is None and end is None:
        raise click.UsageError("Say --for how long, or --until when.")
    if what.isdecimal():
        if entity is not None:
            raise click.UsageError("An alert's number needs no entity.")
        done = _do(
            "select tds.mute_alert(%(number)s, {until}, %(by)s) as done",
            span,
            end,
            number=_number(what),
            by=whoever(by),
        )
        echo(f"Muted: {done}")
        return
    done = _do(
        "select tds.mute_alerts(%(kind)s, {until}, coalesce(%(entity)s, '*'), %(by)s) as done",
        span,
        end,
        kind=what,
        entity=entity,
        by=whoever(by),
    )
    echo(f"Muted: {done} open alerts, and those to come.")


@alerts.command("unmute")
@click.argument("what")
@click.argument("entity", required=False)
def alerts_unmute(*, what: str, entity: str | None) -> None:
    """Ends what mutes WHAT: the number of an alert, a kind, or `*`. Exit code 1: nothing was muted."""
    if what.isdecimal():
        done = _do("select tds.unmute_alert(%(number)s) as done", number=_number(what))
    else:
        done = _do("select tds.unmute_alerts(%(kind)s, %(entity)s) as done", kind=what, entity=entity)
        if not done and what != "*":
            _do("select tds.alert_kind_named(%(kind)s) as done", kind=what)
    echo(f"{done} ended." if done else "Nothing was muted by that name.")
    _tell_mutes()
    if not done:
        sys.exit(FAILED)


@alerts.command("send")
@click.option("--once", is_flag=True, help="Send what is due now, and end.")
def alerts_send(once: bool) -> None:
    """Sends messages until interrupted, and looks at the health if no worker does.

    The workers send, too, where TDS_ALERT_URLS is set; one process at a time does it. Run this beside
    them, best on another machine, to be told that they are all gone.
    """
    settings = AlertSettings()
    if not settings.audiences():
        raise TdsError(NO_ADDRESS, SEE_DOCS)
    if once:
        from tds_db.alert_sender import send_due  # noqa: PLC0415 - Apprise takes a second to load

        with connect_for_rows("alerts") as connection:
            echo(f"{send_due(connection, settings)} messages sent.", err=True)
        return
    watch = Watch(conninfo(), settings)
    on_stop_signal(watch.stop)
    watch.run()


@alerts.command("test")
@click.option(
    "--audience", type=click.Choice([OPERATIONS, BUSINESS]), help="Only these addresses; unsaid: every one."
)
@as_json
def alerts_test(audience: str | None, as_json: bool) -> None:
    """Sends a message to every address of this environment. Exit code 1: one did not take it."""
    from tds_db.alert_sender import Message, addresses  # noqa: PLC0415 - Apprise takes a second to load

    known = [address for address in addresses(AlertSettings()) if audience in (None, address.audience)]
    if not known:
        raise TdsError(NO_ADDRESS, SEE_DOCS)
    message = Message(
        message_id=str(uuid.uuid4()),
        title="TDS test: alerts arrive here",
        body="This is how TDS tells what is not well. Nothing has to be done.",
        fields={"change": "test"},
    )
    rows: list[dict[str, Any]] = [
        {"audience": address.audience, "address": address.name, "arrived": error is None, "error": error}
        for address in known
        for error in [address.send(message)]
    ]
    if as_json:
        print_json(rows)
    else:
        print_table("Addresses", rows)
    if not all(row["arrived"] for row in rows):
        sys.exit(FAILED)


def _tell_mutes() -> None:
    """Says what is muted still: an alert may be so by its own name, its kind's, or `*`."""
    with connect_for_rows("alerts") as connection:
        rows = connection.execute(MUTES).fetchall()
    for row in rows:
        name = shlex.join(filter(None, (row["kind"], row["entity"])))
        until = f"{row['until']:%Y-%m-%d %H:%M:%S%z}"
        echo(f"Muted still until {until}: {name}. Next: tds alerts unmute {name}", err=True)


def _number(what: str) -> int:
    return NUMBER.convert(int(what), None, None)


def _do(query: str, span: str | None = None, end: str | None = None, **parameters: object) -> Any:
    """Runs a query whose {until} is the time that --for or --until say; returns its column `done`."""
    if span is not None and end is not None:
        raise click.UsageError("Either --for or --until.")
    until = "tds.now() + %(span)s::interval" if span is not None else "%(end)s::timestamptz"
    with connect_for_rows("alerts") as connection:
        row = connection.execute(
            query.replace("{until}", until).encode(), {"span": span, "end": end, **parameters}
        ).fetchone()
    assert row is not None
    return row["done"]
