"""`tds explain`: what became of all that was ever told of a record, and how it stands."""

import sys
from datetime import datetime

import click
from psycopg.rows import DictRow

from tds_cli.completion import entity_names
from tds_cli.exits import FAILED
from tds_cli.options import as_json, must_be_organisation
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows

EVENTS = """
    select inbox_id, received_at, event, shape, source, run_id, page, "position", observed_at,
           last_modified_time, outcome, why, finished_at
      from tds.explain_record(%s, %s, %s)"""
NOW = "select * from tds.record_now(%s, %s, %s)"


@click.command()
@click.argument("entity", shell_complete=entity_names)
@click.argument("zoho_id", metavar="ID")
@click.option("--organization", help="Only of this Zoho organisation.")
@as_json
def explain(entity: str, zoho_id: str, organization: str | None, as_json: bool) -> None:
    """Tells what happened to the record with Zoho's id ID of ENTITY (products, invoices, …).

    Every event that told of it and what became of each, and the row as it stands. Exit code 1: nothing is
    known of it.
    """
    with connect_for_rows("explain") as connection:
        events = connection.execute(EVENTS, [entity, zoho_id, organization]).fetchall()
        now = connection.execute(NOW, [entity, zoho_id, organization]).fetchall()
        if organization and not events and not now:
            must_be_organisation(connection, organization)
    if as_json:
        print_json({"entity": entity, "id": zoho_id, "events": events, "now": now})
    elif events or now:
        print_table("Events", list(map(_event, events)))
        for row in now:
            echo()
            print_table(
                f"Now, in organisation {row['organization_id']}", [{"what": n, "is": v} for n, v in _now(row)]
            )
    if not events and not now:
        echo(f"Nothing is known of {entity} {zoho_id}. Next: tds pull {entity}", err=True)
        sys.exit(FAILED)
    for number in (number for row in now for number in row["dead_letters"] or ()):
        echo(f"A dead letter waits. Next: tds dead show {number}", err=True)


def _event(row: DictRow) -> dict[str, object]:
    came = " ".join(f"{name} {row[key]}" for name, key in (("run", "run_id"), ("page", "page")) if row[key])
    return {
        "number": str(row["inbox_id"]),
        "received": f"{row['received_at']:%Y-%m-%d %H:%M:%S}",
        "event": row["event"],
        "shape": row["shape"],
        "source": row["source"],
        "from": came,
        "last_modified_time": row["last_modified_time"],
        "outcome": row["outcome"],
        "why": row["why"],
    }


def _now(row: DictRow) -> list[tuple[str, str]]:
    """What there is to say of the row, in words."""
    if not row["in_mirror"]:
        mirror = "no row"
    elif row["deleted_at"]:
        mirror = f"deleted at {_moment(row['deleted_at'])}"
    else:
        mirror = f"version {row['version']}"
    wanted = f"since {_moment(row['wanted_since'])}: {row['wanted_reason']}" if row["wanted_since"] else "no"
    if row["wanted_error"]:
        wanted += f"; last try: {row['wanted_error']}"
    return [
        ("in the mirror", mirror),
        ("last modified in Zoho", _moment(row["last_modified_at"]) or "not told"),
        ("observed", _moment(row["observed_at"])),
        ("written", _moment(row["synced_at"])),
        ("detail wanted", wanted),
        ("dead letters", ", ".join(map(str, row["dead_letters"] or ())) or "none"),
    ]


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S%z}" if at else ""
