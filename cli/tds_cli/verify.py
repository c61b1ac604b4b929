"""`tds verify`: the mirror against what Zoho lists."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import click
from click.core import ParameterSource

from tds_cli.completion import entity_names
from tds_cli.events import note
from tds_cli.exits import FAILED, INCOMPLETE
from tds_cli.interrupts import goes_on
from tds_cli.options import COUNT, as_json
from tds_cli.organisations import by_org, for_each
from tds_cli.output import print_table
from tds_cli.progress import Steps
from tds_cli.repair import mend
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows, conninfo
from tds_db.errors import TdsError
from tds_poller.mirror import Mirror
from tds_poller.poll import Poll, opened_queue
from tds_poller.verify import Books, Result, agrees, finish_lists, verify_details, verify_list
from tds_poller.zoho.client import PER_PAGE, ZohoClient
from tds_poller.zoho.errors import ZohoError
from tds_poller.zoho.settings import ZohoSettings

SHOWN = 20  # differences of an entity in the table; JSON has them all


@click.command()
@click.argument("entities", nargs=-1, metavar="[ENTITY]…", shell_complete=entity_names)
@click.option("--depth", type=click.Choice(["inside", "lists", "details"]), default="lists",
              show_default=True, help="Against the stored documents, Zoho's lists, its details.")  # fmt: skip
@click.option("--sample", type=COUNT, default=10, show_default=True,
              help="details: how many records of each entity.")  # fmt: skip
@click.option("--seed", default="0", show_default=True, help="details: the same seed draws the same.")
@click.option("--id", "zoho_ids", multiple=True, metavar="ID", help="details: this record, and no sample.")
@click.option("--fix", is_flag=True, help="Mend what differs, and compare once more.")
@click.option("--pull/--no-pull", default=True, help="Whether to fetch first what is due already.")
@click.option("--wait", type=click.FloatRange(0), default=10.0, show_default=True,
              help="Seconds to wait for events that are on their way into the mirror.")  # fmt: skip
@click.option("--groups", is_flag=True, help="Show all counts and sums, not only those that differ.")
@click.option("--dry-run", is_flag=True, help="Tell what it would cost, and ask nothing of Zoho.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before spending the calls (asked on a terminal).")
@by_org
@as_json
def verify(
    entities: tuple[str, ...],
    *,
    depth: str,
    sample: int,
    seed: str,
    zoho_ids: tuple[str, ...],
    fix: bool,
    pull: bool,
    wait: float,
    groups: bool,
    dry_run: bool,
    yes: bool,
    organisations: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compares the mirror with Zoho's lists, read anew: of every ENTITY, or of those named.

    Each record by every mapped key that its list carries; counts and sums by status, currency and month. It
    costs a call for every 200 records. --depth inside asks Zoho nothing and compares every row with what the
    stored documents make of it; --depth details costs a call a record. What is found is stored
    (tds_differences); of the mirror nothing is changed without --fix. Exit code 1: something differs; 4:
    nothing that could be compared does, and a list or a record could not be.

    With --json, stderr has events while it works, one a line (docs/events.md), and stdout what was found.
    """

    if depth != "details":
        typed = click.get_current_context().get_parameter_source
        for name, option in {"zoho_ids": "--id", "sample": "--sample", "seed": "--seed"}.items():
            if typed(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{option} needs --depth details.")

    def one(settings: ZohoSettings) -> tuple[int, Any]:
        if depth != "lists":
            deep = Deep(depth, entities, sample, seed, zoho_ids)
            with Books(conninfo(), settings.organization_id, wait) as books:
                return _deep(settings, books, deep, pull=pull, fix=fix, as_json=as_json)
        wish = Lists(entities, wait, pull=pull, fix=fix, groups=groups, dry_run=dry_run, yes=yes)
        return _lists(settings, wish, as_json=as_json)

    with goes_on(as_json=as_json, anew="What was found is kept."):
        for_each(organisations, one, as_json=as_json)


@dataclass(frozen=True)
class Lists:
    """What a comparison with the lists is about, and how."""

    entities: Sequence[str]
    wait: float
    pull: bool
    fix: bool
    groups: bool
    dry_run: bool
    yes: bool


def _lists(settings: ZohoSettings, wish: Lists, *, as_json: bool) -> tuple[int, Any]:
    """Compares with the lists, shows what differs; returns the exit code and what there is to print."""
    entities, wait = wish.entities, wish.wait
    with Books(conninfo(), settings.organization_id, wait) as books:
        known = {row["entity"]: row for row in books.plan()}
        if unknown := set(entities) - known.keys():
            raise TdsError(f"Unknown: {', '.join(sorted(unknown))}.", f"There are {', '.join(known)}.")
        chosen = [row for name, row in known.items() if not entities or name in entities]
        calls = sum(row["calls"] for row in chosen)
        note(f"About {_calls(calls)}: one for every {PER_PAGE} records.", as_json=as_json)
        if wish.dry_run:
            None if as_json else print_table("Plan", chosen)
            return 0, {"calls": calls, "entities": chosen}
        if not wish.yes and sys.stdin.isatty():
            click.confirm("Spend them?", abort=True, err=True)
        names = [row["entity"] for row in chosen]
        if wish.pull:
            _pull_due(settings, books, as_json=as_json)
        number, results, spent = asyncio.run(_verify(settings, books, names, as_json=as_json))
        if wish.fix and not all(map(agrees, results)):
            mend(settings, verifications=[number], as_json=as_json)
            number, results, more = asyncio.run(_verify(settings, books, names, as_json=as_json))
            spent += more
        left_out = books.told(number)["error"]
    note(f"{_calls(spent)} spent.", as_json=as_json)
    agree = all(map(agrees, results))
    if not as_json:
        _show(results, groups=wish.groups)
    for result in results:
        _next_step(result, settings.organization_id, as_json=as_json)
    told = {"agree": agree, "calls": spent, "verification": number, "entities": results}
    return _ended(told, left_out, as_json=as_json)


@dataclass(frozen=True)
class Deep:
    """What a comparison inside, or by details, is about."""

    depth: str
    entities: Sequence[str]
    sample: int
    seed: str
    zoho_ids: Sequence[str]


def _deep(
    settings: ZohoSettings, books: Books, deep: Deep, *, pull: bool, fix: bool, as_json: bool
) -> tuple[int, Any]:
    """Compares inside or by details, shows what differs; returns the exit code and what there is to print."""
    if deep.zoho_ids and len(deep.entities) != 1:
        raise click.UsageError("--id needs one ENTITY.")
    if pull and deep.depth == "details":
        _pull_due(settings, books, as_json=as_json)
    number = _compare(settings, books, deep, as_json=as_json)
    if fix and books.differences(number):
        mend(settings, verifications=[number], as_json=as_json)
        number = _compare(settings, books, deep, as_json=as_json)
    told, found = books.told(number), books.differences(number)
    agree = not told["differing"]
    if not as_json:
        print_table("Comparison", [told])
        echo()
        print_table("Differences", found[:SHOWN])
        if len(found) > SHOWN:
            echo(f"and {len(found) - SHOWN:,} more: --json, or the view tds_differences", err=True)
    if not agree:
        note("Next: tds repair --all-differing, or tds verify --fix", as_json=as_json)
    return _ended({"agree": agree, **told, "differences": found}, told["error"], as_json=as_json)


def _ended(told: dict[str, Any], left_out: str | None, *, as_json: bool) -> tuple[int, Any]:
    """The exit code, and what there is to print; says what could not be compared."""
    if left_out:
        note(f"Not compared: {left_out}. Next: tds doctor", as_json=as_json)
    code = FAILED if not told["agree"] else INCOMPLETE if left_out else 0
    return code, told | {"not_compared": left_out}


def _compare(settings: ZohoSettings, books: Books, deep: Deep, *, as_json: bool) -> int:
    with Steps(as_json=as_json) as steps:
        if deep.depth == "details":
            return asyncio.run(_details(settings, books, deep, steps))
        with steps.step("rows and documents"):
            return int(books.inside(deep.entities)["verification"])


async def _details(settings: ZohoSettings, books: Books, deep: Deep, steps: Steps) -> int:
    async with Mirror(conninfo(), settings.organization_id) as mirror, ZohoClient(settings) as client:
        steps.show_client(client)
        endpoints = await mirror.endpoints()
        names = [
            name
            for name, of in endpoints.items()
            if of.has_details and (not deep.entities or name in deep.entities)
        ]
        if unknown := set(deep.entities) - set(names):
            raise TdsError(
                f"Without details: {', '.join(sorted(unknown))}.", f"There are {', '.join(endpoints)}."
            )
        number = books.begin(
            "details", names, sample=deep.sample, seed=deep.seed, zoho_ids=deep.zoho_ids or None
        )
        absent: list[str] = []
        for name in names:
            ids = list(deep.zoho_ids) or books.sampled(name, deep.sample, deep.seed)
            with steps.step(f"{name}, details") as step:
                absent += await verify_details(client, books, endpoints[name], number, ids, step=step)
        books.finish(number, client.calls)
        if deep.zoho_ids and (unknown_ids := [each for each in absent if not _is_known(names[0], each)]):
            raise TdsError(
                f"Neither Zoho nor the mirror knows {', '.join(unknown_ids)} of {names[0]}.",
                "Next: see the id in Zoho's address bar, or select it from the view",
            )
        return number


def _is_known(entity: str, zoho_id: str) -> bool:
    with connect_for_rows("verify") as connection:
        known = connection.execute("select from tds.record_now(%s, %s, null)", [entity, zoho_id])
        return known.fetchone() is not None


def _pull_due(settings: ZohoSettings, books: Books, *, as_json: bool) -> None:
    """Does the pulls and fetches the details that are due, so that what differs afterwards is wrong."""
    if not books.is_due():
        return

    async def poll() -> None:
        async with (
            opened_queue(conninfo()) as queue,
            Mirror(conninfo(), settings.organization_id) as mirror,
            ZohoClient(settings) as client,
        ):
            steps.show_client(client)
            await Poll(client, mirror, queue).once()

    with Steps(as_json=as_json) as steps, steps.step("what is due"):
        asyncio.run(poll())


async def _verify(
    settings: ZohoSettings, books: Books, entities: Sequence[str], *, as_json: bool
) -> tuple[int, list[Result], int]:
    found: list[Result | ZohoError] = []
    number = books.begin("lists", entities)
    with Steps(as_json=as_json) as steps:
        async with Mirror(conninfo(), settings.organization_id) as mirror, ZohoClient(settings) as client:
            steps.show_client(client)
            endpoints = await mirror.endpoints()
            for entity in entities:
                with steps.step(entity) as step:
                    found.append(await verify_list(client, books, endpoints[entity], number, step))
            finish_lists(books, number, client.calls, found)
            results = [each for each in found if not isinstance(each, ZohoError)]
            if not results:
                raise next(each for each in found if isinstance(each, ZohoError))
            return number, results, client.calls


def _show(results: Sequence[Result], *, groups: bool) -> None:
    counted = [
        {
            name: result[name]
            for name in ("entity", "zoho", "mirror", "missing", "extra", "differing", "meanwhile")
        }
        | {"waiting_events": result["waiting"], "result": "agree" if agrees(result) else "DIFFER"}
        for result in results
    ]
    print_table("Records", counted)
    sums = [row for result in results for row in _sums(result)]
    echo()
    print_table("Sums", sums)
    rows = [
        {"entity": result["entity"], **_group(group)}
        for result in results
        for group in result["groups"]
        if groups or _group_differs(group)
    ]
    echo()
    print_table(
        "Counts and sums by status, currency and month" + ("" if groups else ", where they differ"), rows
    )
    for title, meanwhile in (("Differences", False), ("Changed meanwhile, so not compared", True)):
        found = [row for result in results for row in _differences(result, meanwhile=meanwhile)]
        if found or not meanwhile:
            echo()
            print_table(title, found)


def _group_differs(group: Result) -> bool:
    return bool(group["zoho_count"] != group["mirror_count"] or group["zoho_sum"] != group["mirror_sum"])


def _group(group: Result) -> dict[str, object]:
    names = ("status", "currency", "month", "zoho_count", "mirror_count")
    return {name: group[name] for name in names} | {
        name: _money(group[name]) for name in ("zoho_sum", "mirror_sum")
    }


def _money(value: Decimal | int | None) -> Decimal | None:
    """With two decimals, or more where there are more."""
    return None if value is None else value + Decimal("0.00")


def _calls(count: int) -> str:
    return f"{count:,} call" + ("" if count == 1 else "s")


def _sums(result: Result) -> list[dict[str, object]]:
    """A row a currency."""
    found: dict[str, list[Decimal]] = {}
    for group in result["groups"] if result["amount"] else ():
        sums = found.setdefault(group["currency"] or "", [Decimal("0.00"), Decimal("0.00")])
        sums[0] += group["zoho_sum"] or 0
        sums[1] += group["mirror_sum"] or 0
    return [
        {"entity": result["entity"], "sum_of": result["amount"], "currency": currency}
        | {"zoho": zoho, "mirror": mirror, "difference": zoho - mirror}
        for currency, (zoho, mirror) in found.items()
    ]


def _differences(result: Result, *, meanwhile: bool) -> list[dict[str, object]]:
    """A row a field."""
    found = [row for row in result["differences"] if row["meanwhile"] == meanwhile]
    rows: list[dict[str, object]] = []
    for row in found[:SHOWN]:
        for field, values in (row["fields"] or {"": {}}).items():
            rows.append(
                {"entity": result["entity"], "id": row["id"], "what": row["what"], "field": field}
                | {side: _told(values.get(side)) for side in ("zoho", "mirror")}
                | {"problem": values.get("problem")}
            )
    if len(found) > SHOWN:
        rows.append({"entity": result["entity"], "id": f"and {len(found) - SHOWN:,} more: --json"})
    return rows


def _told(value: object) -> object:
    return f"{value:f}" if isinstance(value, Decimal) else value


def _next_step(result: Result, organization_id: str, *, as_json: bool) -> None:
    """What to do about an entity, where there is something to do."""
    entity = result["entity"]
    if result["waiting"]:
        note(
            f"{entity}: {result['waiting']:,} events wait, so that a difference may be on its way. "
            "Next: tds work, or tds process; then tds verify again",
            as_json=as_json,
        )
    ids: dict[str, str] = {}
    for row in result["differences"]:
        if row["id"] and not row["meanwhile"]:
            ids.setdefault(row["what"], row["id"])
    if one := next(iter(ids.values()), None):
        rebuild = f"; what a pull leaves: call tds.rebuild('{entity}', false)" if "differs" in ids else ""
        told = f"{entity}: differs. Next: tds explain {entity} {one}, tds pull {entity}{rebuild}"
        note(told, as_json=as_json)
    if extra := ids.get("extra"):
        want = f"select tds.want('{entity}', '{extra}', '{organization_id}')"
        note(
            f"{entity}: Zoho does not list {result['extra']:,} any more; only the detail proves a deletion. "
            f"Next: {want}, then tds pull {entity}",
            as_json=as_json,
        )
    if any(row["what"] == "unreadable" for row in result["differences"]):
        told = f"{entity}: Zoho tells what cannot be read. Next: tds dead list --entity {entity}"
        note(told, as_json=as_json)
