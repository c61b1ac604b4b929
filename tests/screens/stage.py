"""A company as the dashboard shows it: records in three scripts, some that are bad, a migration half done, a month of samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import Connection

ORGANIZATION = "748139205"
NAMES = ("كابل نحاس ٢ مم", "Steckdose weiß", "Cable 3x2.5", "כבל חשמל", "Lamp <b>bold</b>", "Schalter")
BAD = "46999"

SAMPLES: tuple[LiteralString, ...] = (
    "delete from tds.sample",
    """
    insert into tds.sample (span_seconds, at, received, completed, dead, parked, waiting, oldest_seconds, delay_seconds,
                            delay_events, calls)
    select s.span, to_timestamp(floor(extract(epoch from now()) / s.span) * s.span) - n * s.span * interval '1 second',
           jsonb_build_object('products', (20 + 15 * sin(n / 9.0) + n % 3)::int * s.k, 'invoices', (12 + 8 * cos(n / 7.0))::int * s.k,
                              'customers', (5 + n % 4) * s.k, 'bills', (3 + 2 * sin(n / 4.0))::int * s.k, 'payments', 2 * s.k,
                              'stock_adjustments', s.k, 'taxes', (n % 2) * s.k),
           jsonb_build_object('products', (20 + 15 * sin((n + 1) / 9.0) + n % 3)::int * s.k,
                              'invoices', (12 + 8 * cos((n + 1) / 7.0))::int * s.k, 'customers', (5 + n % 4) * s.k),
           case when n % 17 = 0 then 2 else 0 end, case when n % 13 = 0 then 3 else n % 2 end, (10 + 8 * sin(n / 5.0))::int,
           abs(2 * sin(n / 5.0)), 40 * (0.3 + 0.2 * sin(n / 6.0)), 40, (30 + 20 * sin(n / 11.0))::int * s.k
      from (values (60, 1, 60), (900, 9, 100), (21600, 200, 120)) s(span, k, many), generate_series(0, s.many) n
     -- nobody sampled for five minutes
     where not (s.span = 60 and n between 20 and 24)""",
    """
    insert into tds.measure (name, measured_at, value)
    select 'database_bytes', now() - n * interval '15 minutes', s.bytes * (1 - n / 9000.0)
      from (select pg_database_size(current_database()) as bytes) s, generate_series(1, 2880) n""",
    """
    insert into tds.heal_log (healed_at, step, subject, act, ok, detail)
    values (now() - interval '3 hours', 'claims', 'batch 41', 'given back', true, 'its worker was gone')""",
)

DIFFERENCES: tuple[LiteralString, ...] = (
    """
    insert into tds.reconcile_run (organization_id, as_of, month, requested_at, requested_by, started_at, finished_at, calls, compared,
                                   differing, not_checked)
    select %(organization)s, d.at, date_trunc('month', d.at), d.at, 'the clock', d.at, d.at, 40, 1200, (3 + n %% 4) * (n %% 3), 0
      from generate_series(40, 0, -1) n, lateral (select now() - n * interval '1 day' - interval '3 hours' as at) d""",
    """
    insert into tds.discrepancy (organization_id, report, measure, status, period, currency, party_kind, party_id, party_name,
                                 ours, zoho, difference, first_seen, last_seen, times_seen, reconciliation_id, documents, explained_at,
                                 note, noted_by, noted_at)
    select %(organization)s, d.report, d.measure, '', d.period, d.currency, d.kind, d.party, d.name, d.ours, d.zoho, d.ours - d.zoho,
           now() - interval '3 days', now() - interval '3 hours', 3, 1, d.documents::jsonb, now() - interval '2 hours', d.note,
           case when d.note is not null then 'accountant' end, case when d.note is not null then now() end
      from (values
            ('customerbalancesummary', 'balance', 'now', 'AED', 'customer', '90001', 'Steckdose weiß', 1250.5, 1300,
             '[{"entity": "invoices", "id": "70001", "number": "INV-00001", "what": "differs",
                "fields": [{"field": "total", "ours": 12.5, "zoho": "<script>alert(2)</script>"}]}]', null),
            ('salesbyitem', 'quantity', '2026-11', '', 'product', '46003', 'كابل نحاس ٢ مم', 17, 18, '[]', null),
            ('arageing', 'overdue', 'now', 'AED', 'customer', '90002', 'Cable 3x2.5', 10, 0, null, null),
            ('inventorysummary', 'stock', 'now', '', 'product', '46004', 'Lamp <b>bold</b>', 5, 4, '[]', 'stock of 2019, by journal'))
           d(report, measure, period, currency, kind, party, name, ours, zoho, documents, note)""",
    """
    insert into tds.verification (depth, organization_id, entities, state, asked_by, asked_at, started_at, finished_at, checked, differing)
    select d.depth, null, array['products', 'invoices'], 'done', 'the clock', d.at, d.at, d.at, 52, n %% 2
      from generate_series(30, 0, -1) n, unnest(array['inside', 'lists']) t(depth),
           lateral (select t.depth, now() - n * interval '1 day' - interval '5 hours' as at) d
     order by n desc, d.depth""",
    """
    insert into tds.verification_difference (verification_id, organization_id, entity, zoho_id, table_name, column_name, what, ours,
                                             should_be, since, mend)
    select (select max(verification_id) from tds.verification), %(organization)s, d.entity, d.id, d.entity, d.name, 'differs',
           d.ours::jsonb, d.told::jsonb, now() - interval '1 day', d.mend
      from (values ('products', '46003', 'unit_price', '4.5', '5', 'rebuild'),
                   ('products', '46004', 'name', '"كابل"', '"كابل نحاس"', 'repair'),
                   ('invoices', '70001', 'total_amount', '12.5', '"<script>alert(3)</script>"', 'repair'))
           d(entity, id, name, ours, told, mend)""",
)


def receive(owner: Connection, entity: str, document: dict[str, Any]) -> None:
    """Stores a webhook's body."""
    body = json.dumps(document, ensure_ascii=False).encode()
    owner.execute("select tds.receive(%s, %s, %s)", [entity, body, ORGANIZATION])


PROGRAMS = ("worker", "receiver", "poller")


def well(owner: Connection, programs: Sequence[str] = PROGRAMS) -> None:
    """Everything at work, and looked at: the verdict is that all is well. `programs`: those that are only said to work."""
    owner.execute(
        """
        insert into tds.program as p (program, kind, host, pid, backend_pid, started_at, beat_at)
        select 'tds/' || k || '/host/1', k, 'host', 1, 1, now() - interval '1 hour', now() from unnest(%s::text[]) k order by k
        on conflict on constraint program_pkey do update set beat_at = excluded.beat_at""",
        [list(programs)],
    )
    owner.execute("select tds.observe_health()")


def furnish(owner: Connection) -> None:
    """Fills a database."""
    for n in range(40):
        item = {
            "item_id": f"46{n:03}",
            "name": f"{NAMES[n % 6]} {n}",
            "sku": f"S-{n}",
            "rate": n * 1.5,
            "unit": "pcs",
        }
        item |= {
            "status": "active",
            "stock_on_hand": n % 9 - 2,
            "last_modified_time": "2026-11-01T10:00:00+0000",
        }
        receive(owner, "products", {"item": item})
    for n in range(12):
        contact = {"contact_id": f"90{n:03}", "contact_name": NAMES[n % 6], "contact_type": "customer"}
        receive(owner, "customers", {"contact": contact})
        invoice: dict[str, object] = {
            "invoice_id": f"70{n:03}",
            "invoice_number": f"INV-{n:05}",
            "customer_id": f"90{n:03}",
        }
        invoice |= {"date": "2026-11-01", "total": "twelve" if n % 4 == 0 else 12.5}
        receive(owner, "invoices", {"invoice": invoice})
    bad = {"item_id": BAD, "name": "<script>alert(1)</script> مصباح", "sku": "BAD", "rate": "1,2,3"}
    receive(owner, "products", {"item": bad | {"last_modified_time": "2026-11-01T10:00:00+0000"}})
    owner.execute("call tds.process_batch()")
    for n in range(7):
        receive(owner, "bills", {"bill": {"bill_id": f"80{n}", "bill_number": f"B-{n}"}})
    owner.execute("select tds.request_pull('invoices', '{}', %s)", [ORGANIZATION])
    migrate(owner)
    owner.execute("select tds.take_sample()")
    differ(owner)
    for statement in SAMPLES:
        owner.execute(statement)
    well(owner)
    alarm(owner)


def alarm(owner: Connection) -> None:
    """What is ill has been so for an hour, and alerts are open: one seen to, one muted, one over."""
    owner.execute("update tds.health_state set since = now() - interval '1 hour' where state <> 'ok'")
    owner.execute("select tds.raise_alerts()")
    owner.execute("delete from tds.alert where audience = 'business' and entity > '46009'")
    owner.execute(
        "select tds.acknowledge_alert(max(id), 'Amal أمل') from tds_alerts where kind = 'negative_stock'"
    )
    owner.execute(
        "select tds.mute_alert(min(id), now() + interval '2 hours', 'Amal') from tds_alerts where kind = 'negative_stock'"
    )
    owner.execute(
        """
        update tds.alert set resolved_at = now()
         where alert_id = (select min(id) from tds_alerts where kind = 'negative_stock' and state = 'open')"""
    )


def differ(owner: Connection) -> None:
    """Reports and documents that the mirror differs from: one explained, one noted, one that nobody has looked at."""
    for statement in DIFFERENCES:
        owner.execute(statement, {"organization": ORGANIZATION})


def spend(owner: Connection, calls: int) -> None:
    """So many calls of the migration have ended."""
    owner.execute(
        """
        insert into tds.api_spending as s (organization_id, day, purpose, endpoint, outcome, calls)
        values (%s, (now() at time zone 'UTC')::date, 'migration', '/items', 'ok', %s)
        on conflict on constraint api_spending_pkey do update set calls = s.calls + excluded.calls""",
        [ORGANIZATION, calls],
    )


def migrate(owner: Connection) -> None:
    """A migration under way: one list half read, details wanted."""
    owner.execute("select tds.begin_full_pull(%s)", [ORGANIZATION])
    owner.execute("select tds.start_run('products', %s, '{}')", [ORGANIZATION])
    owner.execute(
        """
        insert into tds.api_budget (organization_id, day_limit, day_left, day_resets_at)
        values (%s, 10000, 8421, now() + interval '6 hours')
        on conflict on constraint api_budget_pkey do update
           set day_limit = excluded.day_limit, day_left = excluded.day_left, day_resets_at = excluded.day_resets_at""",
        [ORGANIZATION],
    )
    owner.execute(
        """
        insert into tds.wanted_detail (organization_id, entity, zoho_id, reason, wanted_at)
        select %s, 'invoices', '9' || n, 'new', now() from generate_series(1, 900) n""",
        [ORGANIZATION],
    )
    owner.execute("update tds.full_pull set began_at = now() - interval '20 minutes'")
    spend(owner, 12)
    owner.execute(
        """
        update tds.run set started_at = now() - interval '9 minutes', heartbeat_at = now(), pages = 12, records = 2400, calls = 12
         where entity = 'products'"""
    )
