"""What fetching costs, in calls, minutes and days, before anything is fetched."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, floor
from typing import Any

import psycopg
from psycopg.rows import DictRow

from tds_poller.pull import page_context, total
from tds_poller.zoho.client import PER_PAGE, ZohoClient
from tds_poller.zoho.errors import RefusedError, ZohoError

PER_DETAILS = 100
ASSUMED = 1_000  # records of a list of which nothing is known but that it is longer than a page
LONGEST_PROBE = 4_096  # pages


@dataclass(frozen=True, slots=True)
class Cost:
    """What one list costs.

    Args:
        entity: its name.
        records: how many it has.
        how: where that number is from.
        list_calls: for its pages, less those of an unfinished run, and for counting it where it has several.
        detail_calls: for the details that are not here yet.
        single_calls: those of them that are for one record each, which are asked at a slower pace.
    """

    entity: str
    records: int
    how: str
    list_calls: int
    detail_calls: int
    single_calls: int = 0


@dataclass(frozen=True, slots=True)
class Quota:
    """What may be spent: calls in `minute_seconds`, today until `resets_at`, and on each day after."""

    per_minute: int
    details_per_minute: int
    minute_seconds: float
    concurrency: int
    day_limit: int | None
    left_today: int | None
    resets_at: datetime | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """How long so many calls take: `minutes` of asking, on `days` days; `ends_at` if all goes well."""

    calls: int
    minutes: float
    days: int
    ends_at: datetime


def cost(entity: Mapping[str, Any], records: int, how: str) -> Cost:
    """The calls of one list.

    Args:
        entity: a row of `tds.plan_entities`.
        records: how many it has.
        how: where that number is from.
    """
    pages = max(1, ceil(records / PER_PAGE)) if entity["paged"] else 1
    list_calls = max(1, pages - (entity["next_page"] or 1) + 1) + (entity["count_calls"] if pages > 1 else 0)
    details = 0
    if entity["needs_details"]:
        missing = max(0, records - entity["rows_known"]) + entity["details_wanted"]
        details = records if entity["all_details"] else missing
    detail_calls = ceil(details / PER_DETAILS) if entity["bulk_details"] else details
    single_calls = 0 if entity["bulk_details"] else detail_calls
    return Cost(entity["entity"], records, how, list_calls, detail_calls, single_calls)


def forecast(
    calls: int, quota: Quota, now: datetime, seconds_a_call: float = 0.0, *, singles: int = 0
) -> Forecast:
    """How long so many calls take: as fast as the minute and the calls at once allow, day by day.

    Args:
        calls: how many.
        quota: what may be spent.
        now: when they begin.
        seconds_a_call: how long one takes.
        singles: how many of them are for one record each; they come last, at their own pace.
    """
    slowest = seconds_a_call / quota.concurrency
    pace = max(quota.minute_seconds / quota.per_minute, slowest)
    single_pace = max(quota.minute_seconds / min(quota.per_minute, quota.details_per_minute), slowest)
    others = calls - singles
    seconds = others * pace + singles * single_pace
    minutes = seconds / quota.minute_seconds
    if quota.day_limit is None or quota.left_today is None or quota.resets_at is None:
        return Forecast(calls, minutes, 1, now + timedelta(seconds=seconds))
    day_seconds = 1440 * quota.minute_seconds
    begin, end, share = now, quota.resets_at, max(0, quota.left_today)
    days = 0
    while True:
        room = (end - begin).total_seconds()
        lists = min(others, share, floor(room / pace))
        details = 0
        if lists == others:
            details = min(singles, share - lists, floor((room - lists * pace) / single_pace))
        others -= lists
        singles -= details
        days += bool(lists + details)
        if not others + singles:
            ends_at = begin + timedelta(seconds=lists * pace + details * single_pace)
            return Forecast(calls, minutes, max(1, days), ends_at)
        begin, end, share = end, end + timedelta(seconds=day_seconds), max(1, quota.day_limit)


async def count(client: ZohoClient, entity: Mapping[str, Any], *, exact: bool) -> tuple[int | None, str]:
    """How many records a list has, by one call where the API counts, or the list fits a page.

    Args:
        client: to ask with.
        entity: a row of `tds.plan_entities`.
        exact: look for the last page, with some calls more, where neither is so.

    Returns:
        The number, None if it stays unknown, and where it is from.
    """

    asked = {**entity["list_filter"], "response_option": 2}

    async def page(number: int) -> tuple[int, bool, int | None]:
        place = {"page": number, "per_page": PER_PAGE}
        try:
            reply = await client.get(entity["api_path"], {**asked, **place})
        except RefusedError as error:
            # An edition that does not take one of them: the pull will leave it off, too, and remember it.
            if (parameter := error.refused(asked)) is None:
                raise
            del asked[parameter]
            return await page(number)
        told = reply.document
        rows = next((v for key, v in told.items() if key != "page_context" and isinstance(v, list)), [])
        return len(rows), bool(page_context(told).get("has_more_page")), total(told)

    rows, more, counted = await page(1)
    if counted is not None:
        return counted, "counted by Zoho"
    if not more:
        return rows, "counted: one page"
    if not exact:
        return None, ""
    # A page before the last one says that more follows, a page behind it is empty.
    low, high = 1, 2
    while (seen := await page(high))[1]:
        low, high = high, high * 2
        if high > LONGEST_PROBE:
            return None, ""
    while not seen[0] and high - low > 1:
        middle = (low + high) // 2
        there = await page(middle)
        if there[1]:
            low = middle
        else:
            high, seen = middle, there
    if not seen[0]:
        return low * PER_PAGE, "counted: last page found"
    return (high - 1) * PER_PAGE + seen[0], "counted: last page found"


async def costs(
    client: ZohoClient, entities: Sequence[Mapping[str, Any]], assumed: Mapping[str, int], *, exact: bool
) -> list[Cost]:
    """The costs of these lists; those that cannot be read cost nothing, and say so.

    Raises:
        ZohoError: Zoho cannot be asked at all.
    """

    async def one(entity: Mapping[str, Any]) -> Cost:
        if entity["entity"] in assumed:
            return cost(entity, assumed[entity["entity"]], "told by --assume")
        if not entity["paged"] or entity["entity"] == "organizations":
            return cost(entity, max(1, entity["rows_known"]), "one call")
        records, how = await count(client, entity, exact=exact)
        if records is not None:
            return cost(entity, records, how)
        if entity["rows_known"] > PER_PAGE:
            return cost(entity, entity["rows_known"], "rows already here")
        return cost(entity, ASSUMED, f"assumed: over {PER_PAGE}; see --assume, --exact")

    found: list[Cost] = []
    outcomes = await asyncio.gather(*map(one, entities), return_exceptions=True)
    for entity, outcome in zip(entities, outcomes, strict=True):
        if isinstance(outcome, ZohoError) and not await client.stops_all(outcome):
            found.append(Cost(entity["entity"], 0, f"not readable: {outcome.message}", 0, 0))
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            found.append(outcome)
    return found


def read_quota(connection: psycopg.Connection[DictRow], organization_id: str) -> Quota:
    """What the budget leaves to a migration: all but the part that is kept for live repair."""
    row = connection.execute(
        """select b.*, tds.setting_int('api_reserve_percent') as kept_percent
             from tds_api_budget b where b.organization_id = %s""",
        [organization_id],
    ).fetchone()
    assert row
    per_minute = row["calls_per_minute"] - row["calls_per_minute"] * row["kept_percent"] // 100
    limit, left, kept = row["day_limit"], row["left_today"], row["kept_for_repair"]
    return Quota(
        per_minute=per_minute,
        details_per_minute=min(row["details_per_minute"], per_minute),
        minute_seconds=row["minute_seconds"],
        concurrency=row["calls_at_once"],
        day_limit=None if limit is None else limit - kept,
        left_today=None if left is None else left - kept,
        resets_at=row["day_resets_at"],
    )
