"""Webhooks that share a commit: nobody is acknowledged before it, nobody pays for another."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest

from tds_receiver.inbox import Accepted, Event, Inbox, UnavailableError
from tests.db.servers import Database
from tests.receiver.test_webhooks import events

Answer = tuple[int, str] | str
WAITING = """
    select from pg_locks
     where locktype = 'advisory' and not granted
       and database = (select oid from pg_database where datname = current_database())"""
SESSIONS = """
    select from pg_stat_activity
     where application_name like 'tds/receiver/%' and datname = current_database() and state = 'idle'"""
# whoever stores an event of these organisations waits for the lock of its number
HOLD = """
    create function public.hold() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock(new.organization_id::int); return new; end $$;
    create trigger hold before insert on tds.inbox for each row
        when (new.organization_id in ('1', '2', '3')) execute function public.hold()"""


def event(number: object, **more: object) -> Event:
    """A webhook of a product."""
    body = json.dumps({"item": {"item_id": str(number), **more}}).encode()
    return Event("products", body, "748139205", "upsert", "{}")


def together(database: Database, sent: list[Event], **options: Any) -> list[Answer]:
    """Puts events in at once, over one connection, and says what became of each."""

    async def put_all() -> list[Answer]:
        async with Inbox(database.conninfo, connections=1, **options) as inbox:
            found = await asyncio.gather(*(inbox.put(each) for each in sent), return_exceptions=True)
        answers: list[Answer] = []
        for each in found:
            if isinstance(each, UnavailableError):
                answers.append("unavailable")
            elif isinstance(each, BaseException):
                raise each
            else:
                answers.append((each.inbox_id, each.status))
        return answers

    return asyncio.run(put_all())


def transactions(database: Database) -> int:
    """How many transactions stored what is in the inbox."""
    with psycopg.connect(database.conninfo) as conn:
        row = conn.execute("select count(distinct xmin::text) from tds.inbox").fetchone()
    assert row is not None
    return int(row[0])


def spoil(database: Database, sql: str) -> None:
    """Changes the database for this test."""
    with database.connect(autocommit=True) as conn:
        conn.execute(sql.encode())


def test_what_waits_shares_one_commit(database: Database) -> None:
    answers = together(database, [event(number) for number in range(50)])
    assert [answer[1] for answer in answers] == ["queued"] * 50
    # in the order in which they came
    assert [each["record_id"] for each in events(database)] == [str(number) for number in range(50)]
    assert [answer[0] for answer in answers] == [each["inbox_id"] for each in events(database)]
    assert transactions(database) == 1


def test_a_batch_is_bounded_by_count_and_by_bytes(database: Database) -> None:
    small = [event(number) for number in range(20)]
    together(database, small, batch=8)
    assert transactions(database) == 3
    large = [event(f"l{number}", name="x" * 1000) for number in range(6)]
    together(database, large, batch_bytes=2500)
    assert transactions(database) == 3 + 3
    together(database, [event("huge", name="x" * 5000)], batch_bytes=2500)
    assert len(events(database)) == 27


def test_the_same_bytes_in_one_batch(database: Database) -> None:
    one, two = event(1), event(1, name="B")
    answers = together(database, [one, one, two, one, event(2)])
    assert [answer[1] for answer in answers] == ["queued", "duplicate", "queued", "queued", "queued"]
    assert answers[0][0] == answers[1][0]
    assert len(events(database)) == 4


def test_all_organisations_may_be_unknown(database: Database) -> None:
    assert [
        answer[1] for answer in together(database, [event(n)._replace(organization_id=None) for n in "ab"])
    ] == [
        "queued",
        "queued",
    ]


def test_companions_survive_a_body_that_cannot_be_stored(database: Database) -> None:
    """Whatever a constraint or a trigger has against one of them."""
    spoil(database, "alter table tds.inbox add constraint no_spite check (body not like '%spite%')")
    batch = [event(number, name="spite" if number in {3, 11} else "") for number in range(16)]
    answers = together(database, batch)
    assert [number for number, answer in enumerate(answers) if answer == "unavailable"] == [3, 11]
    assert {each["record_id"] for each in events(database)} == {str(n) for n in range(16) if n not in {3, 11}}


def test_what_cannot_be_read_is_rejected_beside_the_others(database: Database) -> None:
    bad = event(1)._replace(body=b"\xff")
    answers = together(database, [event(1), bad, event(2)._replace(body=b"{"), event(3)])
    assert [answer[1] for answer in answers] == ["queued", "rejected", "rejected", "queued"]
    assert transactions(database) == 1


MID_COMMIT = """
    create function public.strike() returns trigger language plpgsql security definer as $$ begin {} return null; end $$;
    create constraint trigger strike after insert on tds.inbox_open deferrable initially deferred
        for each row execute function public.strike();
"""


@pytest.mark.parametrize(
    "blow",
    [
        "raise exception using errcode = 'XX000';",
        "perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(5);",
    ],
)
def test_nothing_is_acknowledged_whose_commit_fails(database: Database, blow: str) -> None:
    """The rows are there, the answers are told, and then the commit does not come."""
    spoil(database, MID_COMMIT.format(blow))
    assert together(database, [event(number) for number in range(4)]) == ["unavailable"] * 4
    assert events(database) == []


def test_an_outage_turns_all_away_and_the_next_are_stored(database: Database) -> None:
    async def story() -> list[object]:
        said: list[object] = []

        async def attempt(inbox: Inbox, number: int) -> None:
            try:
                said.append((await inbox.put(event(number))).status)
            except UnavailableError:
                said.append("unavailable")

        async with Inbox(database.conninfo, connections=2) as inbox:
            await attempt(inbox, 1)
            spoil(database, "revoke execute on all functions in schema tds from public, tds_owner")
            await asyncio.gather(*(attempt(inbox, number) for number in range(2, 5)))
            spoil(database, "grant execute on all functions in schema tds to tds_owner")
            for number in range(5, 200):
                await attempt(inbox, number)
                if said[-1] == "queued":
                    break
                await asyncio.sleep(0.05)
        return said

    said = asyncio.run(story())
    assert said[0] == said[-1] == "queued"
    assert set(said[1:4]) == {"unavailable"}
    assert len(said) < 100


def test_more_than_may_wait_are_turned_away_at_once(database: Database) -> None:
    answers = together(database, [event(number) for number in range(12)], waiting=10)
    assert answers[10:] == ["unavailable", "unavailable"]
    assert len(events(database)) == 10
    assert (
        together(database, [event("x", name="x" * 1000), event("y")], waiting_bytes=1000)[0] == "unavailable"
    )


def test_an_idle_connection_that_died_costs_nobody_a_webhook(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tds_receiver.inbox.IDLE_SECONDS", 0.0)

    async def story() -> str:
        async with Inbox(database.conninfo, connections=1) as inbox:
            await inbox.put(event(1))
            spoil(
                database,
                """select pg_terminate_backend(pid, 2000) from pg_stat_activity
                    where application_name like 'tds/receiver/%' and datname = current_database()""",
            )
            return (await inbox.put(event(2))).status

    assert asyncio.run(story()) == "queued"


def lane_of(organization: str | None) -> int:
    """Each organisation has a lane of its own."""
    return int(organization or 0)


def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit is never taken for slow, nor given up."""
    monkeypatch.setattr("tds_receiver.inbox.SETTINGS", {"statement_timeout": "2min", "lock_timeout": "2min"})
    for name in ("COMMIT_SECONDS", "ANSWER_SECONDS", "STEP_IN_SECONDS", "TELL_SECONDS"):
        monkeypatch.setattr(f"tds_receiver.inbox.{name}", 120.0)


def put(inbox: Inbox, number: int, organization_id: str) -> asyncio.Task[Accepted]:
    """Sends an event, and does not wait for the answer."""
    return asyncio.create_task(inbox.put(event(number)._replace(organization_id=organization_id)))


async def warm(inbox: Inbox, holder: psycopg.Connection[Any], lanes: int) -> None:
    """Sends an event to each of so many lanes, and waits until each has its connection."""
    for number in range(1, lanes + 1):
        await inbox.put(event(f"w{number}")._replace(organization_id=str(number)))
    async with asyncio.timeout(30):
        while len(holder.execute(SESSIONS).fetchall()) < lanes:  # noqa: ASYNC110 - sessions of the server's
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)


async def until_waiting(holder: psycopg.Connection[Any], count: int) -> None:
    """Waits until so many sessions wait for the lock."""
    async with asyncio.timeout(30):
        while len(holder.execute(WAITING).fetchall()) < count:  # noqa: ASYNC110 - a lock of the server's
            await asyncio.sleep(0.01)


def test_a_lane_that_is_held_up_keeps_no_other_waiting(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient(monkeypatch)
    monkeypatch.setattr("tds_receiver.inbox.STEP_IN_SECONDS", 0.05)
    spoil(database, HOLD)

    async def story() -> tuple[str, bool, str]:
        async with Inbox(database.conninfo, connections=1, lane=lane_of) as inbox:
            with database.connect(autocommit=True) as holder:
                holder.execute("select pg_advisory_lock(1)")
                held = asyncio.create_task(inbox.put(event(1)._replace(organization_id="1")))
                await until_waiting(holder, 1)
                other = await inbox.put(event(2)._replace(organization_id="4"))
                was_held = not held.done()
                holder.execute("select pg_advisory_unlock(1)")
            return other.status, was_held, (await held).status

    assert asyncio.run(story()) == ("queued", True, "queued")


def test_what_waits_for_one_lane_shares_a_commit(database: Database) -> None:
    sent = [event(number)._replace(organization_id=str(1 + number % 2)) for number in range(40)]
    answers = together(database, sent, lane=lane_of)
    assert [answer[1] for answer in answers] == ["queued"] * 40
    with psycopg.connect(database.conninfo) as conn:
        shared = conn.execute(
            "select count(distinct organization_id) from tds.inbox group by xmin::text"
        ).fetchall()
    assert set(shared) == {(1,)}


def test_lanes_commit_at_the_same_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    patient(monkeypatch)
    spoil(database, HOLD)

    async def story() -> list[str]:
        async with Inbox(database.conninfo, connections=1, lane=lane_of) as inbox:
            with database.connect(autocommit=True) as holder:
                await warm(inbox, holder, 3)
                holder.execute("select pg_advisory_lock(1)")
                holder.execute("select pg_advisory_lock(2), pg_advisory_lock(3)")
                puts = [put(inbox, 1, "1")]
                await until_waiting(holder, 1)
                puts += [put(inbox, 2, "2"), put(inbox, 3, "3")]
                await asyncio.sleep(0)
                holder.execute("select pg_advisory_unlock(1)")
                await puts[0]
                await until_waiting(holder, 2)
                holder.execute("select pg_advisory_unlock_all()")
            return [(await each).status for each in puts]

    assert asyncio.run(story()) == ["queued"] * 3


def test_the_next_round_takes_what_came_while_one_lane_was_under_way(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is through early does not begin with the first that comes, and halve its batches so."""
    patient(monkeypatch)
    spoil(database, HOLD)

    async def story() -> list[str]:
        async with Inbox(database.conninfo, connections=1, lane=lane_of) as inbox:
            with database.connect(autocommit=True) as holder:
                await warm(inbox, holder, 4)
                holder.execute("select pg_advisory_lock(1)")
                early, held = put(inbox, 1, "4"), put(inbox, 2, "1")
                await early
                await until_waiting(holder, 1)
                first = put(inbox, 3, "4")
                await asyncio.sleep(0.1)
                second = put(inbox, 4, "4")
                await asyncio.sleep(0)
                holder.execute("select pg_advisory_unlock(1)")
            return [(await each).status for each in (held, first, second)]

    assert asyncio.run(story()) == ["queued"] * 3
    with psycopg.connect(database.conninfo) as conn:
        shared = conn.execute(
            """select array_agg(record_id order by record_id) from tds.inbox
                where record_id not like 'w%' group by xmin::text"""
        ).fetchall()
    assert sorted(shared) == [(["1"],), (["2"],), (["3", "4"],)]
