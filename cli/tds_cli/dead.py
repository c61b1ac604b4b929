"""`tds dead`: dead letters and the way back."""

import sys
from collections.abc import Sequence

import click
import psycopg
from psycopg.rows import DictRow

from tds_cli.events import note
from tds_cli.exits import INCOMPLETE
from tds_cli.options import COUNT, NUMBER, as_json, must_exist, whoever
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows
from tds_db.errors import TdsError

SHOWN = 20  # numbers in a message
ASK = "Next: tds repair ENTITY ID, which asks Zoho for the record"


@click.group()
def dead() -> None:
    """What could not be applied, why, and the way back."""


@dead.command("list")
@click.option("--entity", help="Only of this entity.")
@click.option("--limit", type=COUNT, default=100, show_default=True, help="How many, newest first.")
@as_json
def dead_list(entity: str | None, limit: int, as_json: bool) -> None:
    """Lists what is dead: number, record, path, value and reason."""
    with connect_for_rows("dead") as connection:
        rows = connection.execute(
            """select dead_letter_id as number, dead_at, entity, zoho_id, path,
                      left(value, 60) as value, reason
                 from tds_dead_letter_queue where %(entity)s::text is null or entity = %(entity)s
                order by dead_letter_id desc limit %(limit)s""",
            {"entity": entity, "limit": limit},
        ).fetchall()
        if entity and not rows:
            must_exist(connection, entity)
    if as_json:
        print_json(rows)
        return
    print_table("Dead letters", rows)
    if rows:
        echo("Next: tds dead show NUMBER, tds dead replay NUMBER", err=True)


@dead.command("show")
@click.argument("number", type=NUMBER)
def dead_show(number: int) -> None:
    """Shows all that is known of one dead letter, its record included, as JSON."""
    with connect_for_rows("dead") as connection:
        row = connection.execute(
            "select * from tds.dead_letter where dead_letter_id = %s", [number]
        ).fetchone()
    if row is None:
        raise TdsError(f"There is no dead letter {number}.", "See: tds dead list")
    print_json(row)


@dead.command("replay")
@click.argument("numbers", type=NUMBER, nargs=-1)
@click.option("--entity", help="All of this entity.")
@click.option("--reason-code", help="With --entity: only those of this SQLSTATE.")
@click.option(
    "--details/--no-details",
    default=None,
    help="With --entity: whether Zoho is asked for each record too, a call each; unsaid: if these are few.",
)
@click.option("--dry-run", is_flag=True, help="List what would be sent, and send nothing.")
@as_json
def dead_replay(
    *,
    numbers: tuple[int, ...],
    entity: str | None,
    reason_code: str | None,
    details: bool | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Sends dead letters on their way once more; what fails again is dead again.

    Of several NUMBERS all are sent, or none. Exit code 4: the body of one of the --entity is gone.
    """
    if bool(numbers) == bool(entity):
        raise click.UsageError("Name dead letters by their numbers, or all of an --entity.")
    with connect_for_rows("dead") as connection:
        if dry_run:
            _show_replay(connection, numbers, entity, reason_code, as_json=as_json)
            return
        if entity:
            sent = connection.execute(
                "select tds.replay(%s::text, %s::text, %s::boolean) as sent", [entity, reason_code, details]
            ).fetchone()
            if not (sent and sent["sent"]):
                _must_be_of(connection, entity, reason_code)
            if as_json:
                print_json(sent)
            else:
                echo(f"{sent['sent'] if sent else 0:,} sent.", err=True)
            _tell_bodiless(_found(connection, (), entity, reason_code), as_json=as_json)
            return
        # all or none: of one that is named by mistake nothing else is sent; in the order of their numbers, so
        # that two who send the same do not wait for one another
        with connection.transaction():
            replayed = [
                {"number": number, "event": row["event"]}
                for number in sorted(set(numbers))
                for row in connection.execute("select tds.replay(%s::bigint) as event", [number])
            ]
    if as_json:
        print_json({"sent": len(replayed), "replayed": replayed})
        return
    for letter in replayed:
        echo(f"Dead letter {letter['number']} goes on as event {letter['event']}.", err=True)


@dead.command("dismiss")
@click.argument("numbers", type=NUMBER, nargs=-1, required=True)
@click.option("--reason", required=True, help="Why nothing can come of them; it is kept with them.")
@click.option("--by", help="Who says so; unsaid: who is logged in here.")
@as_json
def dead_dismiss(numbers: tuple[int, ...], reason: str, by: str | None, as_json: bool) -> None:
    """Closes dead letters of which nothing can come: what was never a record, what is gone for good.

    Of several NUMBERS all are closed, or none. What they told is not in the mirror.
    """
    with connect_for_rows("dead") as connection:
        done = connection.execute(
            "select tds.dismiss(%s::bigint[], %s, %s) as dismissed", [list(numbers), reason, whoever(by)]
        ).fetchone()
    if as_json:
        print_json(done)
    else:
        echo(f"{done['dismissed'] if done else 0:,} dismissed.", err=True)


def _show_replay(
    connection: psycopg.Connection[DictRow],
    numbers: Sequence[int],
    entity: str | None,
    reason_code: str | None,
    *,
    as_json: bool,
) -> None:
    """Shows the dead letters that a replay would send, or refuses as it would."""
    rows = _found(connection, numbers, entity, reason_code)
    if unknown := sorted(set(numbers) - {row["number"] for row in rows}):
        named = ", ".join(map(str, unknown))
        raise TdsError(f"No such dead letter, or resolved already: {named}.", "See: tds dead list")
    if entity and not rows:
        _must_be_of(connection, entity, reason_code)
    if numbers and (bodiless := ", ".join(str(row["number"]) for row in rows if not row["has_body"])):
        raise TdsError(f"The body is gone of dead letter {bodiless}: it has nothing to send.", ASK)
    sent = [
        {name: value for name, value in row.items() if name != "has_body"} for row in rows if row["has_body"]
    ]
    if as_json:
        print_json({"would_send": sent})
    else:
        print_table("Would be sent", sent)
    _tell_bodiless(rows, as_json=as_json)


def _found(
    connection: psycopg.Connection[DictRow],
    numbers: Sequence[int],
    entity: str | None,
    reason_code: str | None,
) -> list[DictRow]:
    """The dead letters of these numbers, or of the entity and the reason, and whether they have a body."""
    return connection.execute(
        """select d.dead_letter_id as number, d.dead_at, d.entity, d.zoho_id, d.path, d.reason,
                  exists (select from tds.inbox i
                           where i.received_at = d.received_at and i.inbox_id = d.inbox_id) as has_body
             from tds.dead_letter d
            where d.resolved_at is null
              and (d.dead_letter_id = any (%(numbers)s::bigint[])
                   or d.entity = %(entity)s::text and (%(code)s::text is null or d.error_code = %(code)s))
            order by d.dead_letter_id""",
        {"numbers": list(numbers), "entity": entity, "code": reason_code},
    ).fetchall()


def _tell_bodiless(rows: Sequence[DictRow], *, as_json: bool) -> None:
    """Says which of them are not sent, because their body is gone, and ends with exit code 4 where one is."""
    bodiless = [str(row["number"]) for row in rows if not row["has_body"]]
    if bodiless:
        named = ", ".join(bodiless[:SHOWN]) + (", …" if len(bodiless) > SHOWN else "")
        note(f"Not sent, as its body is gone: {named}. {ASK}", as_json=as_json)
        sys.exit(INCOMPLETE)


def _must_be_of(connection: psycopg.Connection[DictRow], entity: str, reason_code: str | None) -> None:
    """Of an entity and a reason of which no letter was found: there is that entity, and no other reason.

    Raises:
        psycopg.Error: ZB002, there is no such entity.
        TdsError: its letters have other reasons.
    """
    must_exist(connection, entity)
    found = connection.execute(
        """select distinct error_code from tds.dead_letter
            where resolved_at is null and entity = %s order by 1""",
        [entity],
    ).fetchall()
    if reason_code is not None and found:
        codes = ", ".join(str(row["error_code"]) for row in found)
        raise TdsError(
            f"No dead letter of {entity} has the reason code {reason_code}; there are {codes}.",
            f"Next: tds dead list --entity {entity}",
        )
