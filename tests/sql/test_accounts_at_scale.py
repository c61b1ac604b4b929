"""The ten reports on many lines: right to the cent in two currencies, by an index where one serves.

TDS_ACCOUNT_LINES=500000 for the size of a large company; a small share of it here.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database

pytestmark = pytest.mark.new_database

LINES = int(os.environ.get("TDS_ACCOUNT_LINES", "20000"))
PER_INVOICE = 5
LARGE = 200_000
"""From so many lines on no report reads a table of documents whole, by plans as they are."""
# A month's sales, one customer's balance, what is overdue, …: each with the indexes that have to serve it. Products and
# contacts are read whole where all of them are asked for: most of them are in the answer.
REPORTS = {
    "select * from tds.sales_by_item('1', '2025-10-01', '2025-10-31')": [
        "invoices_day_idx", "credit_notes_day_idx", "invoice_line_items_pkey", "credit_note_line_items_pkey",
    ],
    "select * from tds.sales_by_customer('1', '2025-10-01', '2025-10-31')": [
        "invoices_day_idx", "credit_notes_day_idx",
    ],
    "select * from tds.purchases_by_item('1', '2025-10-01', '2025-10-31')": [
        "bills_day_idx", "vendor_credits_day_idx", "bill_line_items_pkey", "vendor_credit_line_items_pkey",
    ],
    "select * from tds_overdue_invoices": ["invoices_due_idx"],
    "select * from tds_receivables_ageing": ["invoices_due_idx"],
    "select * from tds_open_balances": ["invoices_due_idx", "credit_notes_open_idx", "customer_payments_unused_idx"],
    "select * from tds_open_balances where organization_id = '1' and customer_id = '3'": [
        "credit_notes_open_idx", "customer_payments_unused_idx", "customers_",
    ],
    "select * from tds_open_payables": ["bills_open_idx", "vendor_credits_open_idx", "vendor_payments_unused_idx"],
    "select * from tds_open_payables where organization_id = '1' and vendor_id = '50'": [
        "bills_open_idx", "vendor_credits_open_idx", "vendor_payments_unused_idx",
    ],
    "select * from tds_unallocated_payments": ["customer_payments_unused_idx", "vendor_payments_unused_idx"],
    "select * from tds_stock_value": [],
    "select * from tds_stock_value where organization_id = '1' and zoho_item_id = '9'": ["products_pkey"],
    "select * from tds_customer_prices where customer_id = '3'": ["customers_"],
    "select * from tds_customer_prices where customer_id = '3' and zoho_item_id = '9'": ["customers_", "products_pkey"],
}  # fmt: skip
# Of so few lines, too, by plans as they are.
SMALL = {query: REPORTS[query][0] for query in list(REPORTS)[:4]}
# What grows with the years: no report may read one of them whole.
MANY = "invoice|bill|credit_note|vendor_credit"
SCAN = re.compile(rf"Seq Scan on ((?:{MANY})s|(?:{MANY})_line_items|customer_payments|vendor_payments) ")
TABLES = (
    "invoices", "invoice_line_items", "bills", "bill_line_items", "credit_notes", "credit_note_line_items", "vendor_credits",
    "vendor_credit_line_items", "customer_payments", "vendor_payments", "contacts", "products",
)  # fmt: skip
FILL = """
insert into zoho.organizations (organization_id, zoho_organization_id, name, currency, zoho_metadata, synced_at, sync_version,
                                sync_observed_at, sync_rank)
values ('1', '1', 'Large', 'USD', '{}', now(), 1, now(), 3);
insert into zoho.contacts (organization_id, contact_type, zoho_contact_id, name, currency, zoho_pricebook_id, zoho_metadata, synced_at,
                           sync_version, sync_observed_at, sync_rank)
select '1', case when n %% 50 = 0 then 'vendor' else 'customer' end, n::text, 'Party ' || n, case when n %% 5 = 0 then 'IQD' else 'USD' end,
       '7', '{}', now(), 1, now(), 3 from generate_series(1, 500) n;
insert into zoho.products (organization_id, zoho_item_id, name, unit_price, purchase_rate, stock_quantity, is_active, currency,
                           zoho_metadata, synced_at, sync_version, sync_observed_at, sync_rank)
select '1', n::text, 'Product ' || n, n, n / 2.0, n %% 7, true, 'USD', '{}', now(), 1, now(), 3 from generate_series(1, 400) n;
insert into zoho.pricelists (organization_id, zoho_pricebook_id, name, kind, sales_or_purchase, percentage, is_increase, currency,
                             is_active, zoho_metadata, synced_at, sync_version, sync_observed_at, sync_rank)
values ('1', '7', 'Ten less', 'fixed_percentage', 'sales', 10, false, 'USD', true, '{}', now(), 1, now(), 3);
insert into zoho.invoices (organization_id, zoho_invoice_id, invoice_number, zoho_customer_id, invoice_date, due_date, status, subtotal,
                           tax_total, total_amount, balance, currency, exchange_rate, zoho_metadata, synced_at, sync_version,
                           sync_observed_at, sync_rank)
select '1', n::text, 'INV-' || n, (1 + n %% 499)::text, date '2025-10-31' - (n %% 1000)::int, date '2025-11-30' - (n %% 1000)::int,
       case n %% 10 when 0 then 'draft' when 1 then 'void' else 'sent' end, 50, 2.5, 52.5, case when n %% 20 in (0, 2) then 52.5 else 0 end,
       case when n %% 5 = 0 then 'IQD' else 'USD' end, case when n %% 5 = 0 then 0.000763 else 1 end, '{}', now(), 1, now(), 3
  from generate_series(1, %(invoices)s) n;
insert into zoho.invoice_line_items (organization_id, zoho_invoice_id, line_number, zoho_item_id, quantity, rate, total_amount,
                                     zoho_metadata, synced_at)
select '1', n::text, l, (1 + (n * 7 + l) %% 400)::text, 2, 5, 10, '{}', now()
  from generate_series(1, %(invoices)s) n, generate_series(1, %(lines)s) l;
insert into zoho.bills (organization_id, zoho_bill_id, bill_number, zoho_vendor_id, bill_date, due_date, payment_status, subtotal,
                        tax_total, total_amount, balance, currency, exchange_rate, zoho_metadata, synced_at, sync_version,
                        sync_observed_at, sync_rank)
select '1', n::text, 'B-' || n, (50 * (1 + n %% 9))::text, date '2025-10-31' - (n %% 1000)::int, date '2025-11-30', 'open',
       8, 0, 8, case when n %% 20 = 0 then 8 else 0 end, 'USD', 1,
       '{}', now(), 1, now(), 3 from generate_series(1, %(invoices)s / 5) n;
insert into zoho.bill_line_items (organization_id, zoho_bill_id, line_number, zoho_item_id, quantity, total_amount, zoho_metadata,
                                  synced_at)
select '1', n::text, 1, (1 + n %% 400)::text, 1, 8, '{}', now() from generate_series(1, %(invoices)s / 5) n;
insert into zoho.credit_notes (organization_id, zoho_creditnote_id, credit_note_number, zoho_customer_id, credit_note_date, status,
                               subtotal, tax_total, total_amount, balance, currency, exchange_rate, zoho_metadata, synced_at,
                               sync_version, sync_observed_at, sync_rank)
select '1', n::text, 'CN-' || n, (1 + n %% 499)::text, date '2025-10-31' - (n %% 1000)::int, 'open', 4, 0, 4,
       case when n %% 20 = 0 then 4 else 0 end, 'USD', 1, '{}', now(), 1, now(), 3 from generate_series(1, %(invoices)s / 5) n;
insert into zoho.credit_note_line_items (organization_id, zoho_creditnote_id, line_number, zoho_item_id, quantity, total_amount,
                                         zoho_metadata, synced_at)
select '1', n::text, 1, (1 + n %% 400)::text, 1, 4, '{}', now() from generate_series(1, %(invoices)s / 5) n;
insert into zoho.vendor_credits (organization_id, zoho_vendor_credit_id, vendor_credit_number, zoho_vendor_id, credit_date, status,
                                 subtotal, tax_total, total_amount, balance, currency, exchange_rate, zoho_metadata, synced_at,
                                 sync_version, sync_observed_at, sync_rank)
select '1', n::text, 'VC-' || n, (50 * (1 + n %% 9))::text, date '2025-10-31' - (n %% 1000)::int, 'open', 2, 0, 2,
       case when n %% 20 = 0 then 2 else 0 end, 'USD', 1, '{}', now(), 1, now(), 3 from generate_series(1, %(invoices)s / 5) n;
insert into zoho.vendor_credit_line_items (organization_id, zoho_vendor_credit_id, line_number, zoho_item_id, quantity, total_amount,
                                           zoho_metadata, synced_at)
select '1', n::text, 1, (1 + n %% 400)::text, 1, 2, '{}', now() from generate_series(1, %(invoices)s / 5) n;
insert into zoho.vendor_payments (organization_id, zoho_payment_id, zoho_vendor_id, payment_date, amount, unused_amount, currency,
                                  exchange_rate, zoho_metadata, synced_at, sync_version, sync_observed_at, sync_rank)
select '1', n::text, (50 * (1 + n %% 9))::text, date '2025-10-31' - (n %% 1000)::int, 10, case when n %% 20 = 0 then 1 else 0 end,
       'USD', 1, '{}', now(), 1, now(), 3 from generate_series(1, %(invoices)s / 5) n;
insert into zoho.customer_payments (organization_id, zoho_payment_id, zoho_customer_id, payment_date, amount, unused_amount, currency,
                                    exchange_rate, zoho_metadata, synced_at, sync_version, sync_observed_at, sync_rank)
select '1', n::text, (1 + n %% 499)::text, date '2025-10-31' - (n %% 1000)::int, 10,
       case when n %% 50 = 0 then 3 else 0 end, 'USD', 1, '{}',
       now(), 1, now(), 3 from generate_series(1, %(invoices)s) n;
"""


@pytest.mark.timeout(900)
def test_reports_are_right_and_use_their_indexes(
    database: Database, record_property: Callable[[str, object], None]
) -> None:
    invoices = LINES // PER_INVOICE
    with database.connect(autocommit=True) as conn:
        with psycopg.ClientCursor(conn) as cursor:
            cursor.execute(FILL, {"invoices": invoices, "lines": PER_INVOICE})
        for table in TABLES:
            conn.execute(f"vacuum analyze zoho.{table}".encode())

        def one(query: str) -> Any:
            row = conn.execute(query.encode()).fetchone()
            assert row
            return row[0]

        counts = [n for n in range(1, invoices + 1) if n % 10 not in {0, 1}]
        october = [n for n in counts if n % 1000 <= 30]
        rate = Decimal("0.000763")
        line = {True: round(10 * rate, 2), False: Decimal(10)}
        others = range(1, invoices // 5 + 1)
        came_back = len([n for n in others if n % 1000 <= 30])
        sold = sum(PER_INVOICE * line[n % 5 == 0] for n in october) - 4 * came_back
        assert one("select sum(amount_base) from tds.sales_by_item('1', '2025-10-01', '2025-10-31')") == sold
        assert (
            one("select sum(quantity) from tds.sales_by_item('1', '2025-10-01', '2025-10-31')")
            == 10 * len(october) - came_back
        )
        assert (
            one("select sum(amount_base) from tds.purchases_by_item('1', '2025-10-01', '2025-10-31')")
            == (8 - 2) * came_back
        )
        owed = [n for n in counts if n % 20 == 2]
        by_currency = {
            currency: Decimal("52.5") * len([n for n in owed if (n % 5 == 0) == (currency == "IQD")])
            for currency in ("USD", "IQD")
        }
        for currency, amount in by_currency.items():
            found = one(f"select coalesce(sum(owed), 0) from tds_open_balances where currency = '{currency}'")
            assert found == amount
        assert one("select sum(total_base) from tds_receivables_ageing") == sum(
            round(Decimal("52.5") * rate, 2) if n % 5 == 0 else Decimal("52.5") for n in owed
        )
        still = len([n for n in others if n % 20 == 0])
        assert one("select sum(owed_base) from tds_open_payables") == 8 * still
        assert one("select sum(balance_base) from tds_open_payables") == (8 - 2 - 1) * still
        unused = len([n for n in range(1, invoices + 1) if n % 50 == 0])
        assert one("select sum(unused_credits_base) from tds_open_balances") == 4 * still + 3 * unused
        assert one("select sum(unused_base) from tds_unallocated_payments") == still + 3 * unused
        assert one("select sum(value_base) from tds_stock_value") == sum(
            n % 7 * Decimal(n) / 2 for n in range(1, 401)
        )
        assert (
            one("select price from tds_customer_prices where customer_id = '3' and zoho_item_id = '100'")
            == 90
        )
        slowest = ("", 0.0)
        for query, indexes in REPORTS.items():
            # what reads a few pages whole, rightly, has to have its indexes all the same
            conn.execute("set enable_seqscan = " + ("on" if LINES >= LARGE else "off"))
            plan = "\n".join(row[0] for row in conn.execute(f"explain {query}".encode()))
            conn.execute("reset enable_seqscan")
            for index in indexes:
                assert index in plan, (query, index, plan)
            assert not SCAN.search(plan), (query, plan)
            began = time.perf_counter()
            conn.execute(query.encode()).fetchall()
            slowest = max(slowest, (query, time.perf_counter() - began), key=lambda found: found[1])
        for query, index in SMALL.items():
            plan = "\n".join(row[0] for row in conn.execute(f"explain {query}".encode()))
            assert index in plan, plan
            assert not re.search(r"Seq Scan on (invoices|invoice_line_items|bills|bill_line_items) ", plan), (
                plan
            )
    record_property("measured", f"{LINES} lines, the slowest took {slowest[1]:.3f} s: {slowest[0]}")
