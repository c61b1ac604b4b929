"""Scans under attack: a run that says complete has every record that lived all the while."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, cast

import psycopg
import pytest

from tds_poller.mirror import Endpoint, Mirror
from tds_poller.pull import pull_pages
from tds_poller.zoho.client import Reply, ZohoClient
from tds_poller.zoho.errors import LimitError, RefusedError
from tests.conftest import share
from tests.db.servers import Database

ORGANIZATION = "60069194202"
RUNS = int(os.environ.get("TDS_SCAN_RUNS", "40"))
"""How many are tried; 1,000 take some minutes."""
BEGIN = datetime(2026, 6, 9, 12, 0, tzinfo=UTC)
FIELDS = {
    "invoices": ("invoice_id", "invoices"),
    "payments": ("payment_id", "customerpayments"),
    "products": ("item_id", "items"),
}
TABLES = {"payments": "customer_payments"}


class Attacker:
    """A list that changes between any two answers; what `ZohoClient` is to a pull."""

    session, concurrency = 1, 3

    def __init__(self, chance: Random, entity: str, number: int, *, counts: bool) -> None:
        self._chance = chance
        self._entity = entity
        self._counts = counts
        self._seconds = 0
        # ids of its own: what the inbox keeps of another history tells nothing of this one
        self._next = 1000 * number
        self._records: dict[str, dict[str, Any]] = {}
        self.calls = 0
        self.unrest = chance.choice([0.0, 0.1, 0.3, 0.8])
        """The chance of a change before each answer."""
        self.lies = chance.choice([0.0, 0.0, 0.1])
        """The chance of an answer that is short, or ends too early."""
        self.ties = chance.random() < 0.3
        """Whether records of one second come in another order each time."""
        for _ in range(chance.randint(0, 45)):
            self._create(older=True)
        self.always = set(self._records)
        """What has been there since before the run began."""

    def _stamp(self) -> str:
        return (BEGIN + timedelta(seconds=self._seconds)).strftime("%Y-%m-%dT%H:%M:%S+0000")

    def _create(self, *, older: bool = False) -> None:
        key, _ = FIELDS[self._entity]
        self._next += 1
        # many are created in one second, as imports are
        self._seconds += (self._chance.random() < 0.3) if older else 1
        record_id = str(self._next)
        self._records[record_id] = {
            key: record_id,
            "created_time": self._stamp(),
            "last_modified_time": self._stamp(),
        }

    def _change(self) -> None:
        self._seconds += 1
        match self._chance.choice(["create", "edit", "delete", "delete"]):
            case "create":
                self._create()
            case "edit" if self._records:
                self._records[self._chance.choice(list(self._records))]["last_modified_time"] = self._stamp()
            case "delete" if self._records:
                gone = self._chance.choice(list(self._records))
                del self._records[gone]
                self.always.discard(gone)
            case _:
                pass

    @property
    def living(self) -> set[str]:
        """The records that it has."""
        return set(self._records)

    def change(self) -> None:
        """One change, of which nobody tells."""
        self._change()

    def answer(self, conn: psycopg.Connection, endpoint: Endpoint, zoho_id: str) -> None:
        """Stores the detail of a record, or that there is none, as whoever asks for it does."""
        self._seconds += 1
        while self._chance.random() < self.unrest / 2:
            self._change()
        record = self._records.get(zoho_id)
        known = {endpoint.id_key: zoho_id}
        conn.execute(
            "select tds.store_detail(%s, %s, array[%s], %b, %s, %s)",
            [
                self._entity,
                ORGANIZATION,
                zoho_id,
                json.dumps({endpoint.record_key: record or known}).encode(),
                BEGIN + timedelta(seconds=self._seconds),
                "upsert" if record else "delete",
            ],
        )

    async def get(self, path: str, query: Mapping[str, str]) -> Reply:
        """An answer, before which others may have been at work."""
        self.calls += 1
        self._seconds += 1
        while self._chance.random() < self.unrest:
            self._change()
        page, size = int(query["page"]), int(query["per_page"])
        now = BEGIN + timedelta(seconds=self._seconds)
        if query.get("response_option") == "2" and self._counts:
            return _reply(
                {"page_context": {"page": 1, "has_more_page": False, "total": len(self._records)}}, now
            )
        # of equal times now this one comes first, now that
        rows = sorted(
            self._records.values(), key=lambda row: (row["created_time"], self.ties and self._chance.random())
        )
        shown, more = rows[(page - 1) * size : page * size], page * size < len(rows)
        if self._chance.random() < self.lies:
            if more and self._chance.random() < 0.5:
                more = False
            elif shown and (more or page > 1):  # of a single page nobody counts what it should have
                shown = self._chance.sample(shown, len(shown) - 1)
                more = more and bool(shown)
        context = {"page": page, "has_more_page": more}
        return _reply({FIELDS[self._entity][1]: shown, "page_context": context}, now)


def _reply(document: Mapping[str, Any], now: datetime) -> Reply:
    document = {"code": 0, **document}
    return Reply(json.dumps(document).encode(), document, now, now)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("entity", FIELDS)
def test_what_a_complete_run_saw_is_all_there_was(database: Database, entity: str) -> None:
    asyncio.run(attack(database, entity))


async def attack(database: Database, entity: str) -> None:
    """Pulls a list so many times while it is attacked."""
    states: dict[str, int] = {}
    calm = spent = 0
    numbers = share(range(RUNS), database.leg)
    async with Mirror(database.conninfo, ORGANIZATION) as mirror:
        endpoint = (await mirror.endpoints())[entity]
        with psycopg.connect(database.conninfo, autocommit=True) as conn:
            for number in numbers:
                chance = Random(f"{entity} {number}")
                attacker = Attacker(chance, entity, number, counts=chance.random() < 0.8)
                conn.execute(
                    f"truncate zoho.{TABLES.get(entity, entity)}, tds.wanted_detail, tds.held_deletion"
                )
                run_id = await mirror.request_pull(entity, {"batch_size": 10})
                await mirror.begin_pull(run_id, 1)
                before = await mirror.run(run_id)
                run = await pull_pages(cast(ZohoClient, attacker), mirror, endpoint, before)
                states[run.state] = states.get(run.state, 0) + 1
                [(pages,)] = conn.execute(
                    "select array_agg(body::jsonb) from tds.inbox where run_id = %s",
                    [run_id],
                ).fetchall()
                seen = {row[endpoint.id_key] for page in pages for row in page[endpoint.list_key]}
                if run.state == "partial":
                    assert (run.error or "").startswith("the list moved"), run
                    assert conn.execute(
                        "select listed_at is null from tds.run where run_id = %s", [run_id]
                    ).fetchone() == (True,)
                elif attacker._counts:
                    assert attacker.always <= seen, (number, attacker.always - seen, run)
                if attacker.unrest == attacker.lies == attacker.ties == 0:
                    assert run.state != "partial"
                    calm += max(1, -(-len(seen) // 10))
                    spent += attacker.calls
                conn.execute(
                    "update tds.run set state = 'cancelled', finished_at = now() where finished_at is null"
                )
                conn.execute("select pgmq.purge_queue('tds_pull')")
                conn.execute("call tds.process_batch()")
    assert states.keys() - {"partial"}, states
    assert states.get("partial", 0) < len(numbers) / 2, states


class EndsEarly:
    """A list of 25 that says after its second page of ten that nothing follows; what `ZohoClient` is to a pull."""

    session, concurrency = 1, 1

    def __init__(self, endpoint: Endpoint, count: Any, *, ends: bool = True) -> None:
        self._endpoint = endpoint
        self._count = count
        self._last = 2 if ends else 3
        self.queries: list[str] = []

    async def get(self, path: str, query: Mapping[str, str]) -> Reply:
        """A page, or what it makes of the question how many there are."""
        assert path == self._endpoint.api_path
        now = BEGIN + timedelta(seconds=len(self.queries))
        page, size = int(query["page"]), int(query["per_page"])
        self.queries.append("count" if "response_option" in query else str(page))
        context: Any = {"page": page, "has_more_page": page < self._last}
        if self.queries[-1] == "count":
            if isinstance(self._count, Exception):
                raise self._count
            context = self._count
        numbers = range(page * size - size + 1, min(page * size, 25) + 1)
        stamps = {"created_time": _at(-9), "last_modified_time": _at(-9)}
        rows = [{self._endpoint.id_key: str(number), **stamps} for number in numbers]
        return _reply({self._endpoint.list_key: rows, "page_context": context}, now)


def _at(hours: int) -> str:
    return (BEGIN + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S+0000")


UNKNOWN: dict[str, Any] = {
    "refused": RefusedError("Invalid value passed for response_option", BEGIN, code=2),
    "refused without a name": RefusedError("Something went wrong", BEGIN, code=1000),
    "no total": {"page": 1, "has_more_page": True},
    "no context": None,
    "a text": {"page": 1, "total": "many"},
    "digits of another script": {"page": 1, "total": "²⁵"},
    "a fraction": {"page": 1, "total": "25.0"},
    "a truth": {"page": 1, "total": True},
    "beyond all numbers": {"page": 1, "total": 10**15},
}


def test_every_list_of_several_pages_is_held_against_its_count(database: Database) -> None:
    asyncio.run(_hold(database))


async def _hold(database: Database) -> None:
    async with Mirror(database.conninfo, ORGANIZATION) as mirror:
        with psycopg.connect(database.conninfo, autocommit=True) as conn:

            async def pull(client: EndsEarly, entity: str) -> tuple[str, bool, str | None]:
                run_id = await mirror.request_pull(entity, {"batch_size": 10})
                await mirror.begin_pull(run_id, 1)
                run = await pull_pages(
                    cast(ZohoClient, client), mirror, client._endpoint, await mirror.run(run_id)
                )
                query = "select state, listed_at is not null, error from tds.run where run_id = %s"
                [row] = conn.execute(query, [run_id]).fetchall()
                conn.execute(
                    "update tds.run set state = 'cancelled', finished_at = now() where finished_at is null"
                )
                assert run.run_id == run_id
                return row

            lists = [
                e
                for e in (await mirror.endpoints()).values()
                if e.paged and e.api_path and e.entity != "stock"
            ]
            assert len(lists) > 10
            for endpoint in lists:
                client = EndsEarly(endpoint, {"page": 1, "total": 25})
                state, is_listed, error = await pull(client, endpoint.entity)
                assert (state, is_listed) == ("partial", False), endpoint.entity
                assert "Zoho counted 25 records, and 20 of them were on the pages" in (error or "")
                assert client.queries == ["1", *["count", "1", "2"] * 3]
                client = EndsEarly(endpoint, [{"page": 1, "total": "25"}], ends=False)
                assert (await pull(client, endpoint.entity))[0] in {"settling", "complete"}, endpoint.entity
                assert client.queries == ["1", "count", "1", "2", "3"]
            for name, count in UNKNOWN.items():
                for entity in ("products", "invoices"):
                    client = EndsEarly((await mirror.endpoints())[entity], count, ends=False)
                    assert (await pull(client, entity))[0] in {"settling", "complete"}, name
                    assert "count" in client.queries


class Interrupted:
    """A list of 25 of which one call is refused for the day; what `ZohoClient` is to a pull."""

    session, concurrency = 1, 1

    def __init__(self, endpoint: Endpoint, refused: str) -> None:
        self._endpoint = endpoint
        self._refused = refused
        self.living = [str(number) for number in range(101, 126)]
        self.queries: list[str] = []

    async def get(self, path: str, query: Mapping[str, str]) -> Reply:
        """A page, or how many there are; the refused call once not."""
        assert path == self._endpoint.api_path
        page, size = int(query["page"]), int(query["per_page"])
        self.queries.append("count" if "response_option" in query else str(page))
        if self.queries.count(self._refused) == 1 and self.queries[-1] == self._refused:
            raise LimitError("The day's calls are used up.", 36000)
        now = BEGIN + timedelta(seconds=len(self.queries))
        if self.queries[-1] == "count":
            return _reply({"page_context": {"page": 1, "total": len(self.living)}}, now)
        rows = [
            {self._endpoint.id_key: each, "created_time": _at(-9), "last_modified_time": _at(-9)}
            for each in self.living[page * size - size : page * size]
        ]
        context = {"page": page, "has_more_page": page * size < len(self.living)}
        return _reply({self._endpoint.list_key: rows, "page_context": context}, now)


@pytest.mark.parametrize("refused", ["count", "1", "2", "3"])
def test_what_is_deleted_between_two_days_of_a_pull_hides_nobody(database: Database, refused: str) -> None:
    asyncio.run(_on_the_next_day(database, refused))


async def _on_the_next_day(database: Database, refused: str) -> None:
    async with Mirror(database.conninfo, ORGANIZATION) as mirror:
        endpoint = (await mirror.endpoints())["invoices"]
        zoho = Interrupted(endpoint, refused)
        run_id = await mirror.request_pull("invoices", {"batch_size": 10})
        await mirror.begin_pull(run_id, 1)
        with pytest.raises(LimitError):
            await pull_pages(cast(ZohoClient, zoho), mirror, endpoint, await mirror.run(run_id))
        del zoho.living[4]
        shown: list[int] = []
        run = await pull_pages(
            cast(ZohoClient, zoho), mirror, endpoint, await mirror.run(run_id), on_page=shown.append
        )
    assert (run.state, run.counted, sum(shown)) == ("settling", 24, 24), zoho.queries
    with database.connect() as conn:
        pages = conn.execute("select body::jsonb from tds.inbox where run_id = %s", [run_id]).fetchall()
    seen = {row[endpoint.id_key] for (page,) in pages for row in page[endpoint.list_key]}
    assert set(zoho.living) - seen == set()
