"""`tds plan`: what a migration costs, before anything is fetched."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click
import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from tds_cli.completion import entity_names
from tds_cli.options import as_json
from tds_cli.organisations import by_org, for_each
from tds_cli.output import print_table
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows, conninfo
from tds_poller.forecast import Cost, Forecast, Quota, costs, forecast, read_quota
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.errors import ZohoError
from tds_poller.zoho.settings import ZohoSettings


def _assumptions(values: Sequence[str]) -> dict[str, int]:
    try:
        return {name: int(number) for name, number in (value.split("=") for value in values)}
    except ValueError:
        raise click.UsageError("--assume takes ENTITY=NUMBER, as in --assume products=2218.") from None


@click.command()
@click.argument("names", metavar="[ENTITY]...", nargs=-1, shell_complete=entity_names)
@click.option("--assume", multiple=True, metavar="ENTITY=N", help="How many records a list has, unasked.")
@click.option("--exact", is_flag=True, help="Where Zoho does not count, look for the last page: more calls.")
@by_org
@as_json
def plan(
    names: tuple[str, ...],
    assume: tuple[str, ...],
    exact: bool,
    organisations: tuple[str, ...],
    as_json: bool,
) -> None:
    """Tells what fetching every list (or each ENTITY) costs: calls, minutes, days. Nothing is stored.

    It asks once a list how long it is: about a dozen calls.
    """
    tell_costs(names, _assumptions(assume), exact=exact, organisations=organisations, as_json=as_json)


def tell_costs(
    names: Sequence[str],
    assumed: Mapping[str, int] | None = None,
    *,
    details: bool = True,
    all_details: Collection[str] | None = None,
    exact: bool = False,
    organisations: Sequence[str] = (),
    as_json: bool = False,
    then: str = "tds migrate",
) -> None:
    """Prints what fetching costs.

    Args:
        names: of entities; none: all.
        assumed: how many records some lists have, unasked.
        details: whether details are fetched too.
        all_details: entities of which every detail is fetched, lacking or not; None: as in a migration.
        exact: see `costs`.
        organisations: of these; none: of all that are active.
        as_json: as JSON.
        then: the command that does it.

    Raises:
        ZohoError: an entity is unknown, or Zoho cannot be asked at all.
    """

    def one(settings: ZohoSettings) -> tuple[int, dict[str, Any]]:
        return 0, _tell_costs(
            settings,
            names,
            assumed or {},
            details=details,
            all_details=all_details,
            exact=exact,
            as_json=as_json,
            then=then,
        )

    for_each(organisations, one, as_json=as_json)


def _tell_costs(
    settings: ZohoSettings,
    names: Sequence[str],
    assumed: Mapping[str, int],
    *,
    details: bool,
    all_details: Collection[str] | None,
    exact: bool,
    as_json: bool,
    then: str,
) -> dict[str, Any]:
    dsn = conninfo()
    with connect_for_rows("plan", dsn) as connection:
        known = connection.execute(
            "select * from tds.plan_entities(%s)", [settings.organization_id]
        ).fetchall()
        names_known = [row["entity"] for row in known]
        if unknown := sorted({*names, *assumed} - set(names_known)):
            raise ZohoError(
                f"Unknown: {', '.join(unknown)}.",
                f"There are {', '.join(names_known)}. Next: tds plan ENTITY",
            )
        chosen = [row for row in known if not names or row["entity"] in names]
        for row in chosen:
            row["needs_details"] &= details
            if all_details is not None:
                row["all_details"] = row["entity"] in all_details

        async def run() -> tuple[list[Cost], int, float]:
            loop = asyncio.get_running_loop()
            async with ZohoClient(settings, dsn, purpose="plan") as client:
                began = loop.time()
                found = await costs(client, chosen, assumed, exact=exact)
                if not client.calls:
                    # The quota is told with any answer.
                    await client.get(f"/organizations/{settings.organization_id}")
                return found, client.calls, loop.time() - began

        found, spent, seconds = asyncio.run(run())
        quota = read_quota(connection, settings.organization_id)
        calls = sum(row.list_calls + row.detail_calls for row in found)
        now = connection.execute("select tds.now() as now").fetchone()
        assert now
        singles = sum(row.single_calls for row in found)
        a_call = seconds * min(spent, quota.concurrency) / spent
        told = forecast(calls, quota, now["now"], a_call, singles=singles)
        each_day = [] if names else _each_day(connection, settings.organization_id, found)
    if not as_json:
        _show(found, told, quota, each_day, (spent, then))
    listed = [asdict(row) for row in found]
    answer = {"entities": listed, **asdict(told), "quota": asdict(quota), "spent": spent}
    return {**answer, "each_day": list(each_day), "calls_a_day": sum(row["calls_a_day"] for row in each_day)}


def _each_day(
    connection: psycopg.Connection[DictRow], organization_id: str, found: Sequence[Cost]
) -> list[DictRow]:
    """What the clock asks for on a day, by what it is for, and what part of the plan's calls that is."""
    return connection.execute(
        """select d.what, sum(d.calls_a_day)::float8 as calls_a_day,
                  round(100 * sum(d.calls_a_day) / b.day_limit, 2)::float8 as percent_of_day,
                  string_agg(distinct d.every, ', ') as every
             from (select p.what, p.calls_a_day, p.every from tds.plan_day(%(own)s, %(records)s) p
                    union all
                   select 'reconcile', c.calls, 'each night' from tds.reconcile_calls(%(own)s, %(records)s) c
                    where tds.setting_text('reconcile_nightly')::boolean) d
             left join tds_api_budget b on b.organization_id = %(own)s
            group by d.what, b.day_limit order by d.what""",
        {"own": organization_id, "records": Jsonb({row.entity: row.records for row in found})},
    ).fetchall()


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"


def _show(
    found: Sequence[Cost],
    told: Forecast,
    quota: Quota,
    each_day: Sequence[DictRow],
    around: tuple[int, str],
) -> None:
    spent, then = around
    a_day = sum(row["calls_a_day"] for row in each_day)
    print_table(
        "What fetching costs",
        [
            {
                "entity": row.entity,
                "records": row.records,
                "list_calls": row.list_calls,
                "detail_calls": row.detail_calls,
                "calls": row.list_calls + row.detail_calls,
                "records_are": row.how,
            }
            for row in found
        ],
    )
    days = "today" if told.days == 1 else f"on {told.days} days"
    pace = f"{quota.per_minute} a minute, single records at {quota.details_per_minute}"
    pace = f"{told.minutes:,.1f} minutes of asking at {pace}"
    echo(f"\n{_calls(told.calls)}, {pace}, {days}.")
    if quota.day_limit is not None and quota.left_today is not None:
        today = f"Of today's calls {max(0, quota.left_today):,} are left for it"
        echo(f"{today}, {quota.day_limit:,} on each day after.")
    echo(f"Begun now it would end about {told.ends_at.astimezone():%Y-%m-%d %H:%M}.")
    if each_day:
        echo("")
        print_table("What the clock asks for on each day after", list(each_day))
        if (share := sum(row["percent_of_day"] or 0 for row in each_day)) > 0:
            echo(f"\n{_calls(round(a_day))} a day, {share:.1f} % of the plan's (tds.setting: sweep_days, …).")
    echo(f"This plan cost {_calls(spent)}. Next: {then}", err=True)
