"""A company as the dashboard shows it: records in three scripts, some that are bad, a migration half done, a month of samples."""

from __future__ import annotations

import json
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
    select 'database_bytes', now() - n * interval '15 minutes', pg_database_size(current_database()) * (1 - n / 9000.0)
      from generate_series(1, 2880) n""",
    """
    insert into tds.heal_log (healed_at, step, subject, act, ok, detail)
    values (now() - interval '3 hours', 'claims', 'batch 41', 'given back', true, 'its worker was gone')""",
)


def receive(owner: Connection, entity: str, document: dict[str, Any]) -> None:
    """Stores a webhook's body."""
    body = json.dumps(document, ensure_ascii=False).encode()
    owner.execute("select tds.receive(%s, %s, %s)", [entity, body, ORGANIZATION])


def well(owner: Connection) -> None:
    """Everything at work, and looked at: the verdict is that all is well."""
    owner.execute(
        """
        insert into tds.program (program, kind, host, pid, backend_pid, started_at, beat_at)
        select 'tds/' || k || '/host/1', k, 'host', 1, 1, now() - interval '1 hour', now()
          from unnest(array['worker', 'receiver', 'poller']) k
        on conflict do nothing"""
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
    for statement in SAMPLES:
        owner.execute(statement)
    well(owner)


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
    owner.execute(
        """
        update tds.run set started_at = now() - interval '9 minutes', heartbeat_at = now(), pages = 12, records = 2400, calls = 12
         where entity = 'products'"""
    )
