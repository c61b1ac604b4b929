"""Whose an event is, beside what became of it: the queue as its readers see it is what the bodies say."""

from __future__ import annotations

import json
import random

import pytest

from tests.sql.conftest import ORGANIZATION, Mirror, product

OTHER = "70069194203"
OWNERS = (ORGANIZATION, OTHER)
TOLD = """
    select q.inbox_id, q.status, q.organization_id from tds_sync_queue q order by q.inbox_id, q.status"""
BY_BODY = """
    select q.inbox_id, q.status, i.organization_id
      from tds_sync_queue q
      left join tds.inbox i on i.received_at = q.received_at and i.inbox_id = q.inbox_id
     order by q.inbox_id, q.status"""


def tell(mirror: Mirror, chance: random.Random, number: int) -> None:
    """One event of any kind: a webhook or a page, good, bad or unreadable, of either organisation."""
    owner = chance.choice(OWNERS)
    record = product(str(number), rate=chance.choice([1, 2, "x"]))
    body = chance.choice([{"item": record}, {"items": [record, product(f"9{number}")]}, "nonsense"])
    shape = "list" if isinstance(body, dict) and "items" in body else "webhook"
    mirror.conn.execute(
        "select tds.receive(%s, %b, %s, 'poller', %s)",
        [chance.choice(["products", "products", "nowhere"]), json.dumps(body).encode(), owner, shape],
    )


def agree(mirror: Mirror) -> None:
    told = mirror.rows(TOLD)
    assert told == mirror.rows(BY_BODY)
    for owner in OWNERS:
        assert mirror.rows(
            f"select inbox_id, status from tds_sync_queue where organization_id = '{owner}' order by 1, 2"
        ) == [
            {"inbox_id": row["inbox_id"], "status": row["status"]}
            for row in told
            if row["organization_id"] == owner
        ]
        assert mirror.rows(
            f"select inbox_id from tds_waiting where organization_id = '{owner}' order by 1"
        ) == mirror.rows(
            "select o.inbox_id from tds.inbox_open o join tds.inbox i using (received_at, inbox_id) "
            f"where o.error is not null and i.organization_id = '{owner}' order by 1"
        )


@pytest.mark.parametrize("seed", range(4))
def test_whose_an_event_is_is_what_its_body_says(mirror: Mirror, seed: int) -> None:
    """Over random histories."""
    chance = random.Random(seed)
    mirror.conn.execute(
        "update tds.setting set value = %s where name = 'organization_ids'", [json.dumps(OWNERS)]
    )
    for number in range(30):
        tell(mirror, chance, number)
        if chance.random() < 0.2:
            mirror.process()
        if chance.random() < 0.1:
            mirror.rows(
                "select tds.replay(d.dead_letter_id) from tds.dead_letter d where d.resolved_at is null limit 1"
            )
    agree(mirror)
    assert {row["organization_id"] for row in mirror.rows(TOLD)} == set(OWNERS)
    mirror.conn.execute("delete from tds.inbox_open")
    mirror.rows("select tds.requeue_unprocessed()")
    agree(mirror)


def test_what_was_finished_before_is_noted_step_by_step(mirror: Mirror) -> None:
    for number in range(25):
        mirror.receive("products", {"item": product(str(number))})
    mirror.process()
    mirror.conn.execute("update tds.inbox_outcome set organization_id = null")
    mirror.conn.execute("insert into tds.outcome_to_note (up_to) select max(inbox_id) from tds.inbox_outcome")
    left = [mirror.value("select tds.fill_new_columns(1)") for _ in range(4)]
    assert left == [1, 1, 0, 0]
    assert mirror.rows("select distinct organization_id from tds.inbox_outcome") == [
        {"organization_id": ORGANIZATION}
    ]
    assert mirror.rows("select * from tds.outcome_to_note") == []


def test_an_organisation_that_goes_takes_its_outcomes_along(mirror: Mirror) -> None:
    """Also those whose bodies went before, and the counters say what is left."""
    for number in range(9):
        mirror.receive("products", {"item": product(str(number))})
    mirror.process()
    mirror.conn.execute("delete from tds.inbox where inbox_id % 2 = 0")
    assert mirror.value("select tds.org_erase_bodies(%s, 3)", ORGANIZATION) > 0
    while mirror.value("select tds.org_erase_bodies(%s, 3)", ORGANIZATION):
        pass
    assert mirror.rows("select * from tds.inbox_outcome") == []
    assert mirror.value("select coalesce(sum(events), 0) from tds.outcome_counter") == 0
