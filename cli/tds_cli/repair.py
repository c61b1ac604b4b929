"""`tds repair`: records are read from Zoho and written whatever is stored of them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import click
import psycopg
from psycopg.rows import dict_row

from tds_cli.completion import entity_names
from tds_cli.events import note
from tds_cli.exits import FAILED, INCOMPLETE
from tds_cli.options import as_json, must_exist
from tds_cli.organisations import by_org, for_each
from tds_cli.output import print_table
from tds_cli.progress import Steps
from tds_db.connect import connect_for_rows, conninfo
from tds_poller.mirror import Mirror
from tds_poller.poll import PULLED
from tds_poller.repair import Repaired
from tds_poller.repair import repair as repair_records
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.settings import ZohoSettings

ROUNDS = 3  # what one round writes may link what the next one finds


@click.command()
@click.argument("entity", required=False, shell_complete=entity_names)
@click.argument("zoho_ids", nargs=-1, metavar="[ID]…")
@click.option("--all-differing", is_flag=True, help="Whatever tds_differences shows (of ENTITY, or of all).")
@by_org
@as_json
def repair(
    entity: str | None,
    zoho_ids: tuple[str, ...],
    *,
    all_differing: bool,
    organisations: tuple[str, ...],
    as_json: bool,
) -> None:
    """Reads records of ENTITY from Zoho, by their IDs, and writes them whatever is stored of them.

    Row, document, lines, addresses, prices, stock, links and tombstone are right afterwards. What only the
    rows have wrong is made anew of the stored documents with --all-differing, without a call. A record that
    Zoho has not any more is deleted by the rules of evidence: asked for once more after a pause; then it is
    told as not in Zoho. Exit code 4: something is still to be asked for.
    """
    entity = PULLED.get(entity, entity) if entity else None
    if all_differing == bool(zoho_ids) or (zoho_ids and not entity):
        raise click.UsageError("Name an entity and ids, or --all-differing.")

    def one(settings: ZohoSettings) -> tuple[int, Any]:
        if all_differing:
            if entity is not None:
                with connect_for_rows("repair", conninfo()) as connection:
                    must_exist(connection, entity)
            left = mend(settings, entities=[entity] if entity else None, as_json=as_json)
            None if as_json else print_table("Left", left["differences"])
            return FAILED if left["differing"] else 0, left
        assert entity is not None
        return _written(settings, entity, zoho_ids, as_json=as_json)

    for_each(organisations, one, as_json=as_json)


def _written(
    settings: ZohoSettings, entity: str, zoho_ids: Sequence[str], *, as_json: bool
) -> tuple[int, dict[str, Any]]:
    done = asyncio.run(_repair(settings, {entity: list(zoho_ids)}))
    if not as_json:
        print_table("Written", [{"entity": entity, "id": i} for ids in done.written.values() for i in ids])
        if done.absent:
            absent = [{"entity": entity, "id": i} for ids in done.absent.values() for i in ids]
            print_table("Not in Zoho, and so in no row but one marked deleted", absent)
        print_table("Pending", done.pending) if done.pending else None
    if any(row["is_asked"] for row in done.pending):
        note("What is pending is asked for by tds poll. Next: tds poll --once", as_json=as_json)
    told = {"written": done.written, "absent": done.absent, "pending": done.pending}
    return INCOMPLETE if done.pending else 0, told


async def _repair(settings: ZohoSettings, wishes: dict[str, list[str]]) -> Repaired:
    async with Mirror(conninfo(), settings.organization_id) as mirror, ZohoClient(settings) as client:
        return await repair_records(client, mirror, await mirror.endpoints(), wishes)


def mend(
    settings: ZohoSettings,
    *,
    entities: Sequence[str] | None = None,
    verifications: Sequence[int] | None = None,
    as_json: bool = False,
) -> dict[str, Any]:
    """Mends what comparisons found: from the documents where those are right, else from Zoho.

    Args:
        settings: to ask Zoho with.
        entities: only these.
        verifications: only what these found.
        as_json: whether what is told meanwhile is told to programs.

    Returns:
        `differing`, how many differences stand, and `differences`, those.

    Raises:
        ZohoError: Zoho cannot be asked any further.
    """
    ids = list(verifications) if verifications is not None else None
    with (
        Steps(as_json=as_json) as steps,
        steps.step("mending") as step,
        connect_for_rows("repair", conninfo()) as connection,
    ):
        for _ in range(ROUNDS):
            found = [
                row
                for row in connection.execute("select * from tds.to_mend(%s)", [ids]).fetchall()
                if entities is None or row["entity"] in entities
            ]
            if not found:
                break
            for pending in _mend_once(settings, connection, found):
                note(pending, as_json=as_json)
            step.advance(len(found))
            connection.execute("select tds.look_again(%s)", [ids])
        query = """select entity, zoho_id, table_name, row_key, column_name, what, since, next_command
                     from tds_differences where (%(ids)s::bigint[] is null or verification_id = any (%(ids)s))
                      and (%(of)s::text[] is null or entity = any (%(of)s)) order by 1, 2, 3, 4, 5"""
        of = list(entities) if entities is not None else None
        left = connection.cursor(row_factory=dict_row).execute(query, {"ids": ids, "of": of}).fetchall()
    return {"differing": len(left), "differences": left}


def _mend_once(
    settings: ZohoSettings, connection: psycopg.Connection[dict[str, Any]], found: Sequence[dict[str, Any]]
) -> list[str]:
    """Mends what can be; tells why the rest is still to be asked for."""
    wishes: dict[str, list[str]] = {}
    for row in found:
        if row["mend"] == "stray":
            connection.execute("select tds.remove_strays(%s)", [row["entity"]])
        elif row["mend"] == "repair" and row["organization_id"] == settings.organization_id:
            wishes.setdefault(row["entity"], []).extend(row["zoho_ids"])
    forced = connection.execute(
        """select entity, array_agg(zoho_id order by zoho_id) as ids from tds.wanted_detail
            where organization_id = %s and forced_by is not null group by entity""",
        [settings.organization_id],
    ).fetchall()
    for entity, ids in ((row["entity"], row["ids"]) for row in forced):
        wishes[entity] = sorted({*wishes.get(entity, []), *ids})
    pending = asyncio.run(_repair(settings, wishes)).pending if wishes else []
    for entity in dict.fromkeys(row["entity"] for row in found):
        connection.execute("call tds.rebuild(%s, false)", [entity])
    return [f"{row['entity']} {row['zoho_id']}: {row['error'] or row['reason']}" for row in pending]
