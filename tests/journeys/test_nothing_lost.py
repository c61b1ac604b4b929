"""Everything is killed again and again under load, and nothing that was acknowledged is lost.

A feeder sends webhooks to the receiver, a poller pulls from the sandbox, two workers drain, on the embedded
server with fsync and synchronous_commit on. At moments that depend on a seed one of them is SIGKILLed: a
worker, the command that keeps the workers, the receiver, the poller, the postmaster, a backend. What ended is
started again, as a supervisor would. In the end the database is compared with what the feeder was told and
with what the sandbox has. `TDS_TEST_KILLS` says how many times as many kills there are.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tds_sandbox.limits import UNLIMITED
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import running
from tests.db.servers import PrivateServer
from tests.journeys.feeder import NOBODY_LISTENS, Key, modified
from tests.journeys.stage import Stage, staged

SEED = 2
TIMES = int(os.environ.get("TDS_TEST_KILLS", "1"))
KILLS = {
    victim: count * TIMES
    for victim, count in {
        "worker": 5,
        "work command": 1,
        "receiver": 4,
        "poller": 4,
        "postmaster": 3,
        "backend": 3,
    }.items()
}
# Two organisations in one database: what a pull tells cannot hide that a webhook was lost.
ORGANIZATIONS = {"fed": "60069194202", "pulled": "748139205"}
TRANSPORT_ERRORS = ("ConnectError", "ReadError", "RemoteProtocolError", "ReadTimeout", "WriteError")
EDITS = 6  # of the sandbox's records after each kill, so that there are always details to fetch
LATENCY = 0.05  # seconds that a call to the sandbox takes, so that kills find the poller in the middle

# What the feeder's rows hold: the document, the columns and children made of it, and whether its links are set.
FED_ROWS = {
    "products": """
        select zoho_item_id as id, zoho_metadata as document, zoho_modified_at, sync_version, true as linked,
               jsonb_build_object('name', name, 'rate', unit_price) as columns
          from zoho.products where organization_id = %(fed)s""",
    "customers": """
        select zoho_contact_id as id, zoho_metadata as document, zoho_modified_at, sync_version, true as linked,
               jsonb_build_object('contact_name', name, 'contact_type', contact_type) as columns
          from zoho.customers where organization_id = %(fed)s""",
    "invoices": """
        select i.zoho_invoice_id as id, i.zoho_metadata as document, i.zoho_modified_at, i.sync_version,
               i.customer_id = c.id and l.linked as linked,
               jsonb_build_object('invoice_number', i.invoice_number, 'total', i.total_amount,
                                  'line_items', l.line_items) as columns
          from zoho.invoices i
          left join zoho.customers c
                 on c.organization_id = i.organization_id and c.zoho_contact_id = i.zoho_customer_id
          left join lateral (
                select bool_and(l.product_id = p.id) as linked,
                       jsonb_agg(jsonb_build_object('item_id', l.zoho_item_id, 'quantity', l.quantity,
                                                    'rate', l.rate, 'item_total', l.total_amount)
                                 order by l.line_number) as line_items
                  from zoho.invoice_line_items l
                  left join zoho.products p
                         on p.organization_id = l.organization_id and p.zoho_item_id = l.zoho_item_id
                 where l.organization_id = i.organization_id and l.zoho_invoice_id = i.zoho_invoice_id) l on true
         where i.organization_id = %(fed)s""",
}

# What there must be none of.
LEFT_OVERS = {
    "unfinished events": "select count(*) from tds.inbox_open",
    "claims": "select count(*) from tds.claim",
    "locks": "select count(*) from pg_locks where locktype = 'advisory'",
    "dead letters": "select count(*) from tds.dead_letter",
    "failures laid to an event": "select count(*) from public.noted where what = 'attempt'",
    "events without exactly one outcome": """
        select count(*) from (
            select from tds.inbox i full join tds.inbox_outcome d on d.inbox_id = i.inbox_id
             group by i.inbox_id having count(d.inbox_id) <> 1 or count(i.inbox_id) <> 1) e""",
    "events that did not complete": "select count(*) from tds.inbox_outcome where status <> 'completed'",
    "events counted twice or never": """
        select (select sum(events) from tds.outcome_counter) - (select count(*) from tds.inbox_outcome)""",
    "runs that did not complete": "select count(*) from tds.run where state <> 'complete'",
    "runs whose pages are not all there, once a pass": """
        select count(*) from (
            select from tds.run r left join tds.inbox i on i.run_id = r.run_id
             group by r.run_id
            -- a list that moved is read again from its first page on, and one that turns out long is counted after that
            having count(distinct i.headers ->> 'page') <> r.pages or r.next_page <> r.pages + 1
                or count(i.inbox_id) > r.pages * r.passes + 1) e""",
    "wanted details": "select count(*) from tds.wanted_detail where organization_id = %(pulled)s",
}

# What the mirror says of the sandbox's records, in the words of `truth`.
PULLED = """
    select 'items' as entity, zoho_item_id as id, zoho_metadata ->> 'last_modified_time' as modified,
           zoho_metadata ->> 'name' as name, null as type, null::bigint as lines
      from zoho.products where organization_id = %(pulled)s and deleted_at is null
     union all
    select 'contacts', zoho_contact_id, zoho_metadata ->> 'last_modified_time', name, contact_type, null
      from zoho.contacts where organization_id = %(pulled)s and deleted_at is null
     union all
    select 'invoices', zoho_invoice_id, zoho_metadata ->> 'last_modified_time', invoice_number, null,
           (select count(*) from zoho.invoice_line_items l
             where l.organization_id = i.organization_id and l.zoho_invoice_id = i.zoho_invoice_id)
      from zoho.invoices i where organization_id = %(pulled)s and deleted_at is null
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_is_lost_whatever_is_killed(
    server: PrivateServer, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    began = time.monotonic()
    organisation = Organisation(
        organization_id=ORGANIZATIONS["pulled"],
        items=1600,
        contacts=60,
        invoices=40,
        seed=SEED,
        unstamped_share=0,  # of these the list does not tell how new they are
    )
    entities = random.Random(SEED)
    with (
        running(organisation, limits=UNLIMITED, latency=LATENCY) as sandbox,
        staged(server, sandbox, tmp_path, ORGANIZATIONS["fed"], SEED) as stage,
    ):
        assert stage.value("show fsync") == stage.value("show synchronous_commit") == "on"
        stage.tend()
        stage.feeder.start()
        for victim in schedule():
            stage.wait_for_load(victim)
            stage.kill(victim)
            for _ in range(EDITS):
                organisation.edit(entities.choice(("items", "contacts", "invoices")))
        stage.settle()

        lost = lost_events(stage)
        record_property("measured", summary(stage, len(lost), time.monotonic() - began))
        assert lost == []
        assert left_overs(stage) == {}
        assert rows_that_are_wrong(stage) == []
        assert Counter(pulled(stage)) == Counter(truth(organisation))
        assert set(stage.feeder.answers) <= {"202", "503", NOBODY_LISTENS, *TRANSPORT_ERRORS}
        assert stage.kills == KILLS
        # The kills met what they were for.
        assert crashed_events(stage) > 0
        assert stage.resumed_runs > 0


def schedule() -> list[str]:
    """All kills, in a seeded order."""
    victims = [kind for kind, count in KILLS.items() for _ in range(count)]
    random.Random(SEED).shuffle(victims)
    return victims


def left_overs(stage: Stage) -> dict[str, int]:
    """What there is of `LEFT_OVERS`, and of messages in the queues."""
    queues = stage.query("select distinct queue from tds.entity")
    messages = {
        f"messages in {row['queue']}": f"select count(*) from pgmq.q_tds_{row['queue']}" for row in queues
    }
    counts = {what: stage.value(query, ORGANIZATIONS) for what, query in (LEFT_OVERS | messages).items()}
    return {what: count for what, count in counts.items() if count}


def fed_rows(stage: Stage) -> dict[Key, dict[str, Any]]:
    """The feeder's rows."""
    return {
        (entity, row["id"]): row
        for entity, query in FED_ROWS.items()
        for row in stage.query(query, ORGANIZATIONS)
    }


def lost_events(stage: Stage) -> list[tuple[Key, int]]:
    """Acknowledged events that were not completed, or that the row of their record is older than."""
    finished = {
        row["inbox_id"]
        for row in stage.query("select inbox_id from tds.inbox_outcome where status = 'completed'")
    }
    revisions = {key: row["document"]["revision"] for key, row in fed_rows(stage).items()}
    return [
        (told.edit.key, told.edit.revision)
        for told in stage.feeder.acknowledged
        if told.inbox_id not in finished or told.edit.revision > revisions.get(told.edit.key, 0)
    ]


def rows_that_are_wrong(stage: Stage) -> list[tuple[Key, str]]:
    """Rows of the feeder's records that are not, whole, what one of its edits said."""
    # a hint that another worker has claimed may be applied with what it settles; its own event then says nothing new, or is stale
    # where a newer one was applied in between: each event accounts for one write at most
    used = Counter[Key](
        {
            (row["entity"], row["record_id"]): row["used"]
            for row in stage.query(
                """select i.entity, i.record_id, count(*) as used
                     from tds.inbox i join tds.inbox_outcome d on d.inbox_id = i.inbox_id
                    where i.organization_id = %(fed)s and d.applied + d.unchanged + d.stale = 1 group by 1, 2""",
                ORGANIZATIONS,
            )
        }
    )
    wrong: list[tuple[Key, str]] = []
    rows = fed_rows(stage)
    wrong += [(key, "is missing") for key in stage.feeder.newest().keys() - rows.keys()]
    for key, row in rows.items():
        edit = stage.feeder.sent[key][row["document"]["revision"]]
        wrong += [
            (key, what)
            for what, is_right in {
                "document": row["document"] == edit.document,
                "columns": row["columns"] == {name: edit.document[name] for name in row["columns"]},
                "zoho_modified_at": row["zoho_modified_at"] == modified(edit.revision),
                "links": row["linked"],
                "written more often than events were used": row["sync_version"] <= used[key],
            }.items()
            if not is_right
        ]
    return wrong


def pulled(stage: Stage) -> list[tuple[object, ...]]:
    """The sandbox's records as the mirror has them."""
    return [tuple(row.values()) for row in stage.query(PULLED, ORGANIZATIONS)]


def truth(organisation: Organisation) -> list[tuple[object, ...]]:
    """The same as the sandbox has them."""
    names = {"items": "name", "contacts": "contact_name", "invoices": "invoice_number"}
    return [
        (
            entity,
            record.id,
            record.document["last_modified_time"],
            record.document[name],
            record.document.get("contact_type") if entity == "contacts" else None,
            len(record.document["line_items"]) if entity == "invoices" else None,
        )
        for entity, name in names.items()
        for record in organisation.truth(entity)
    ]


def crashed_events(stage: Stage) -> int:
    """How often an event's batch was found interrupted."""
    return int(stage.value("select count(*) from public.noted where what = 'crash'"))


def summary(stage: Stage, lost: int, seconds: float) -> str:
    """What was measured, in one line."""

    def told(counts: Counter[str]) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))

    feeder = stage.feeder
    return (
        f"{stage.kills.total()} SIGKILLs in {seconds:.0f} s ({told(stage.kills)}); "
        f"{len(feeder.acknowledged)} events acknowledged, {lost} lost; "
        f"{feeder.retries} retries ({told(feeder.answers - Counter(feeder.answers['202'] * ['202']))}); "
        f"{crashed_events(stage)} events in interrupted batches; {stage.value('select count(*) from tds.run')} pulls, "
        f"{stage.resumed_runs} gone on with after a kill"
    )
