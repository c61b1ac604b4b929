"""A person who is forgotten: not one of the words is in a dump of the database, and the books stand."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import ORGANIZATION, Mirror

WORDS = [
    "Zyxqualine", "Vorblenkov", "Zyxqualine Vorblenkov", "Vorblenkov Kräuter \"Süd\" GmbH", "zyxqualine@vorblenkov.example",
    "+49 6021 7770813", "4960217770814", "Unterm Zwirbelbaum 17", "Hinterhaus bei Quabbel", "Zwirbelhausen", "Prisca Vorblenkov",
    "prisca.v@vorblenkov.example", "0171 55501234", "Bring it to the zwirbel door", "likes purple zwirbels", "DE 811 999 X77",
    "zwirbelcode-4411", "Mrs Quabbelkind waits",
]  # fmt: skip
CONTACT = "77001"
OTHER = "77002"


def contact(**changed: Any) -> dict[str, Any]:
    address = {
        "attention": WORDS[8],
        "address": WORDS[7],
        "city": WORDS[9],
        "zip": "63739",
        "country": "Germany",
        "phone": WORDS[5],
    }
    return {
        "contact_id": CONTACT, "contact_name": WORDS[3], "contact_type": "customer", "first_name": WORDS[0], "last_name": WORDS[1],
        "company_name": WORDS[3], "email": WORDS[4], "phone": WORDS[5], "mobile": int(WORDS[6]), "status": "active",
        "currency_code": "EUR", "outstanding_receivable_amount": 119.0, "notes": WORDS[14], "gst_no": WORDS[15],
        "billing_address": address, "shipping_address": json.dumps(address),
        "contact_persons": [{"contact_person_id": "9", "first_name": "Prisca", "last_name": WORDS[1], "email": WORDS[11],
                             "phone": WORDS[12]}],
        "custom_fields": [{"label": "Code", "value": WORDS[16]}], "cf_said": json.dumps({"a": [json.dumps({"b": WORDS[17]})]}),
        "last_modified_time": "2026-03-01T09:00:00+0000",
    } | changed  # fmt: skip


def other(**changed: Any) -> dict[str, Any]:
    return {
        "contact_id": OTHER, "contact_name": "Brimble & Sons", "contact_type": "customer", "first_name": "Ada", "last_name": "Brimble",
        "email": "ada@brimble.example", "status": "active", "currency_code": "EUR",
        "billing_address": {"city": "Aschaffenburg", "country": "Germany", "zip": "63739"},
        "last_modified_time": "2026-03-01T09:00:00+0000",
    } | changed  # fmt: skip


def bill_of(number: int, customer: str, name: str, **changed: Any) -> dict[str, Any]:
    return {
        "invoice_id": f"88{number}", "invoice_number": f"INV-{number}", "customer_id": customer, "customer_name": name,
        "date": "2026-03-01", "status": "sent", "sub_total": 100.0, "tax_total": 19.0, "total": 119.0, "balance": 119.0,
        "currency_code": "EUR", "reference_number": "PO-33",
        "line_items": [{"line_item_id": "1", "item_id": "5", "name": "Cable", "quantity": 1, "rate": 100.0, "item_total": 100.0}],
        "last_modified_time": "2026-03-01T10:00:00+0000",
    } | changed  # fmt: skip


def dump(database: Database) -> str:
    """The whole database as text."""
    return subprocess.run(
        [str(database.bin_dir / "pg_dump"), "--dbname", database.conninfo],
        capture_output=True,
        check=True,
        text=True,
    ).stdout


def found_in(text: str) -> list[str]:
    forms = {word: {word, json.dumps(word)[1:-1], json.dumps(json.dumps(word)[1:-1])[1:-1],
                    json.dumps(word, ensure_ascii=False)[1:-1]} for word in [*WORDS, "Prisca"]}  # fmt: skip
    lower = text.lower()
    return [word for word, all_forms in forms.items() if any(form.lower() in lower for form in all_forms)]


def fill(mirror: Mirror) -> None:
    """The person in every corner: rows, documents, pages, history, dead letters, notes of others, JSON in JSON."""
    mirror.receive("customers", {"contact": contact(email="old." + WORDS[4])})
    mirror.receive("customers", {"contact": other()})
    mirror.process()
    mirror.receive(
        "customers",
        {"JSONString": json.dumps({"contact": contact(last_modified_time="2026-03-02T09:00:00+0000")})},
    )
    mirror.receive(
        "customers",
        {"contacts": [other(), contact(last_modified_time="2026-03-02T09:00:00+0000")]},
        shape="list",
        source="poller",
    )
    first = bill_of(1, CONTACT, WORDS[3], notes=WORDS[13], billing_address={"address": WORDS[7], "attention": WORDS[2]},
                    contact_persons_details=[{"email": WORDS[11]}], cf_extra=WORDS[16])  # fmt: skip
    mirror.receive("invoices", {"invoice": first})
    mirror.receive(
        "invoices",
        {
            "invoice": bill_of(
                2,
                OTHER,
                "Brimble & Sons",
                notes=f"as agreed with {WORDS[2]},\n{WORDS[0]} knows",
                terms=f"by {WORDS[10]}",
            )
        },
    )
    mirror.process()
    later = first | {
        "balance": 0,
        "status": "paid",
        "notes": f"{WORDS[13]} again",
        "last_modified_time": "2026-03-03T10:00:00+0000",
    }
    mirror.receive("invoices", {"invoice": later})
    mirror.receive(
        "invoices",
        {
            "invoice": first
            | {"total": f"many, says {WORDS[0]}", "last_modified_time": "2026-03-04T10:00:00+0000"}
        },
    )
    mirror.receive(
        "customers",
        {
            "contact": contact(
                outstanding_receivable_amount=WORDS[12], last_modified_time="2026-03-05T00:00:00+0000"
            )
        },
    )
    mirror.receive("customers", json.dumps({"contact": contact()}).encode() + b" and " + WORDS[2].encode())
    mirror.receive("customers", json.dumps({"contact": contact()}).encode("utf-16"))
    mirror.process()
    mirror.conn.execute("select tds.observe_drift(1000)")
    mirror.conn.execute(
        "insert into tds.set_aside (job, item, error_code, error, set_aside_at) values ('a job', 'x', 'P0001', %s, tds.now())",
        [f"could not greet {WORDS[2]}"],
    )


def test_nothing_of_a_forgotten_person_is_in_a_dump(mirror: Mirror, database: Database) -> None:
    fill(mirror)
    before = dump(database)
    assert set(WORDS) - set(found_in(before)) == set()
    sums = mirror.rows(
        "select invoice_number, total_amount, balance, invoice_date, status, zoho_customer_id from zoho.invoices order by 1"
    )
    report = mirror.rows("select * from tds.forget(%s)", CONTACT)
    text = dump(database)
    assert found_in(text) == [], [line[:300] for line in text.splitlines() if found_in(line)][:5]
    assert found_in(json.dumps(report, default=str, ensure_ascii=False)) == []
    assert {row["what"] for row in report} >= {"bodies", "dead letters", "contacts kept", "invoices kept"}
    # the books stand, and so do the others
    assert sums == mirror.rows(
        "select invoice_number, total_amount, balance, invoice_date, status, zoho_customer_id from zoho.invoices order by 1"
    )
    assert (
        mirror.value("select name || email from zoho.customers where zoho_contact_id = %s", OTHER)
        == "Brimble & Sonsada@brimble.example"
    )
    assert mirror.value(
        "select zoho_metadata ->> 'notes' from zoho.invoices where invoice_number = 'INV-2'"
    ).startswith("as agreed with ")
    assert mirror.value("select name from zoho.invoice_line_items where zoho_invoice_id = '881'") == "Cable"
    assert mirror.value("select count(*) from tds.record_history where zoho_id = '881'") == 1
    assert mirror.rows(
        "select document ->> 'status' as was from tds.record_at('invoices', '881', '2026-03-02')"
    ) == [{"was": "sent"}]
    # what comes of the person is stored without the person's data, by whatever way
    wants = mirror.value("select count(*) from tds.wanted_detail")
    page = {"contacts": [contact(last_modified_time="2026-03-02T09:00:00+0000"), other()]}
    mirror.receive("customers", page, shape="list", source="poller")
    later = contact(outstanding_receivable_amount=5, last_modified_time="2026-04-01T00:00:00+0000")
    mirror.receive("customers", {"contact": later})
    stamp = "2026-04-01T10:00:00+0000"
    again = bill_of(1, CONTACT, WORDS[3], notes=WORDS[13], total=129.0, last_modified_time=stamp)
    mirror.receive("invoices", {"invoice": again})
    thin = {"invoice_id": "881", "notes": WORDS[13], "last_modified_time": "2026-04-02T10:00:00+0000"}
    mirror.receive("invoices", {"invoice": thin})
    with pytest.raises(psycopg.Error) as refused:
        mirror.rows("select * from tds.forget(%s)", CONTACT)
    assert refused.value.sqlstate == "ZB045"
    mirror.process()
    assert (
        mirror.value("select outstanding_receivable from zoho.customers where zoho_contact_id = %s", CONTACT)
        == 5
    )
    assert mirror.value("select total_amount from zoho.invoices where zoho_invoice_id = '881'") == 129
    # at once, before anybody has swept
    kept = mirror.rows(
        "select name, email, full_name from zoho.customers where zoho_contact_id = %s", CONTACT
    )
    assert kept == [{"name": "[forgotten]", "email": None, "full_name": "[forgotten] [forgotten]"}]
    rows = mirror.rows(
        "select to_jsonb(t) as row from zoho.contacts t union all select to_jsonb(t) from zoho.invoices t"
    )
    assert found_in(json.dumps(rows, ensure_ascii=False)) == []
    assert mirror.value("select count(*) from zoho.contact_persons") == 0
    mirror.conn.execute("select tds.forget_again()")
    text = dump(database)
    assert found_in(text) == [], [line[:300] for line in text.splitlines() if found_in(line)][:5]
    # again and again it says nothing new
    assert mirror.value("select count(*) from tds.wanted_detail") <= wants + 1
    mirror.receive("customers", {"contact": later}, shape="detail", source="poller")
    mirror.process()
    mirror.receive("customers", {"contact": later}, shape="detail", source="poller")
    assert mirror.process()["unchanged"] == 1
    # until it is remembered
    assert mirror.value("select tds.remember(%s)", CONTACT)
    assert (
        mirror.value(
            "select count(*) from tds.wanted_detail where zoho_id = %s and reason = 'remembered'", CONTACT
        )
        == 1
    )
    mirror.receive("customers", {"contact": contact(last_modified_time="2026-05-01T00:00:00+0000")})
    mirror.process()
    assert mirror.value("select email from zoho.customers where zoho_contact_id = %s", CONTACT) == WORDS[4]


def test_what_is_compared_or_repaired_brings_nobody_back(mirror: Mirror, database: Database) -> None:
    """Whatever asks Zoho: a comparison has nothing to tell of the person, and a repair writes what a pull would."""
    mirror.conn.execute("select set_config('tds.organization_id', %s, false)", [ORGANIZATION])
    person, invoice = contact(), bill_of(1, CONTACT, WORDS[3], notes=WORDS[13])
    mirror.receive("customers", {"contact": person}, "detail")
    mirror.receive("invoices", {"invoice": invoice}, "detail")
    mirror.process()
    mirror.rows("select * from tds.forget(%s)", CONTACT)
    told = {"customers": ("contact", person, CONTACT), "invoices": ("invoice", invoice, "881")}
    after = "tds.now() + interval '1 minute'"
    begun = f"select tds.begin_verification(%s, %s, '{ORGANIZATION}', asked_by => 'a test')"
    lists, details = (mirror.value(begun, depth, list(told)) for depth in ("lists", "details"))
    for entity, (key, record, zoho_id) in told.items():
        page = json.dumps({f"{key}s": [record]}).encode()
        body = json.dumps({key: record}).encode()
        mirror.conn.execute(
            f"select tds.note_lists(%s, %s, %s, tds.verify(%s, %s, array[tds.listed(%s, %b)], {after}))",
            [lists, entity, ORGANIZATION, entity, ORGANIZATION, entity, page],
        )
        mirror.conn.execute(
            f"select tds.note_detail(%s, %s, %s, array[%s], %b, {after})",
            [details, entity, ORGANIZATION, zoho_id, body],
        )
        mirror.value("select tds.repair_records(%s, array[%s], %s)", entity, zoho_id, ORGANIZATION)
        mirror.conn.execute(
            "select tds.store_detail(%s, %s, array[%s], %b, tds.now())", [entity, ORGANIZATION, zoho_id, body]
        )
    assert mirror.value("select count(*) from tds.verification where checked > 0") == 2
    assert mirror.rows("select entity, column_name, ours, should_be from tds.verification_difference") == []
    rows = "select to_jsonb(t) as row from zoho.contacts t union all select to_jsonb(t) from zoho.invoices t"
    assert found_in(json.dumps(mirror.rows(rows), ensure_ascii=False, default=str)) == [], (
        "before it was swept"
    )
    mirror.process()
    # a report of Zoho's has the name of everybody who owes something
    run = mirror.value("select tds.request_reconcile(%s, null, null, 'a command')", ORGANIZATION)
    mirror.rows("select * from tds.next_reconcile(%s, 1, %s)", ORGANIZATION, run)
    row = {"contact_id": CONTACT, "contact_name": WORDS[3], "outstanding_receivable_amount": 7}
    answer = {"contacts": [row], "page_context": {"page": 1, "has_more_page": False}}
    mirror.conn.execute(
        """select tds.reconcile_told(t.reconcile_id, t.task, array[convert_to(%s, 'UTF8')], null, tds.now(), 1)
             from tds.reconcile_task t where t.reconcile_id = %s and t.report = 'contacts:customers'""",
        [json.dumps(answer), run],
    )
    assert mirror.rows("select distinct party_name from tds.reconciliation where party_id = %s", CONTACT) == [
        {"party_name": "[forgotten]"}
    ]
    mirror.conn.execute("select tds.forget_again()")
    text = dump(database)
    assert found_in(text) == [], [line[:300] for line in text.splitlines() if found_in(line)][:5]
    mirror.conn.execute("call tds.verify_inside()")
    assert mirror.rows("select entity, column_name, ours, should_be from tds_differences") == []


def test_whom_nobody_knows_nobody_forgets(mirror: Mirror) -> None:
    with pytest.raises(psycopg.Error) as refused:
        mirror.rows("select * from tds.forget('no such')")
    assert refused.value.sqlstate == "ZB044"
    for role in ("tds_reader", "tds_worker", "tds_receiver", "tds_poller"):
        assert not mirror.value(
            "select has_function_privilege(%s, 'tds.forget(text, text)', 'execute')", role
        )
        assert not mirror.value(
            "select has_function_privilege(%s, 'tds.remember(text, text)', 'execute')", role
        )


def test_who_is_forgotten_twice_is_forgotten_once(mirror: Mirror) -> None:
    mirror.receive("customers", {"contact": contact()})
    mirror.receive("invoices", {"invoice": bill_of(1, CONTACT, WORDS[3], notes=WORDS[13])})
    mirror.process()
    first = {row["what"]: row for row in mirror.rows("select * from tds.forget(%s)", CONTACT)}
    assert any(row["note"] == "erased" for row in first.values())
    [kept] = mirror.rows("select * from tds.forgotten")
    rows = """
        select to_jsonb(t) - '{sync_version,synced_at}'::text[] as row from zoho.contacts t union all
        select to_jsonb(t) - '{sync_version,synced_at}'::text[] from zoho.invoices t union all select to_jsonb(body) from tds.inbox"""
    stands = mirror.rows(rows)
    # a label of the person's is Code: that is no word to be taken out of the names of fields
    assert {row["row"]["zoho_metadata"].get("currency_code") for row in stands[:2]} == {"EUR"}
    again = {row["what"]: row for row in mirror.rows("select * from tds.forget(%s)", CONTACT)}
    assert again.pop("forgotten already")["note"].startswith(f"since {kept['forgotten_at']:%Y-%m-%d}")
    assert {what for what, row in again.items() if row["note"] == "erased"} == set()
    assert {what: again.get(what) for what in first if what.endswith(" kept")} == {
        what: row for what, row in first.items() if what.endswith(" kept")
    }
    assert mirror.rows(rows) == stands
    # who forgot it first, when, and what was done then is what stays on record
    [after] = mirror.rows("select * from tds.forgotten")
    assert {name: after[name] for name in ("forgotten_at", "forgotten_by", "report")} == {
        name: kept[name] for name in ("forgotten_at", "forgotten_by", "report")
    }


def test_words_are_found_however_they_are_written(mirror: Mirror) -> None:
    word = 'Jörg "O\'Nö" (Zwei)'
    pattern = mirror.value("select tds.words_pattern(array[%s])", word)
    for text in (word, word.upper(), json.dumps(word), json.dumps(word, ensure_ascii=False), json.dumps(json.dumps(word)),
                 "a=J%C3%B6rg+%22O%27N%C3%B6%22+%28Zwei%29", "J%c3%b6rg%20%22O%27N%c3%b6%22%20%28Zwei%29"):  # fmt: skip
        assert mirror.value("select regexp_replace(%s, %s, '', 'gi')", text, pattern) in (
            "",
            '""',
            '"\\"\\""',
            "a=",
        ), text
    for told, is_left in (
        ('{"a_code": "x"}', True),
        ('{"code" : 1}', True),
        ('{"x": "Code"}', False),
        ('{"x": "\\"Code\\": 7"}', False),
    ):
        left = mirror.value("select %s ~* tds.words_pattern('{Code}', true)", told) is False
        assert left == is_left, told
    assert re.search(
        "[a-z]", mirror.value("select regexp_replace('Hannah', tds.words_pattern('{Anna}'), '', 'gi')")
    )


# What a person's own fields may say, and programs or the books of others say as well.
COMMON = ["Sales", "Paid", "partially_paid", "list", "detail", "webhook", "upsert", "cash", "draft", "credit", "poller", "complete",
          "completed", "heal", "inventory", "purchases", "customer", "postgres", "critical", "stock", "changed"]  # fmt: skip


def test_a_word_of_the_books_or_of_ours_is_left_to_others(mirror: Mirror) -> None:
    """Department: Sales. It stands in sales_orders, a status in everybody's invoices, and whoever is forgotten has them no more."""
    fields = [{"label": "Said", "value": word} for word in COMMON]
    mirror.receive("customers", {"contact": contact(custom_fields=fields, department="Sales")})
    mirror.receive("customers", {"contact": other()})
    mirror.receive("products", {"item": {"item_id": "5", "name": "Cable", "item_type": "inventory", "product_type": "goods",
                                         "rate": 1, "last_modified_time": "2026-03-01T10:00:00+0000"}})  # fmt: skip
    mirror.process()
    number = mirror.value("select tds.start_run('sales_orders', %s, '{}')", ORGANIZATION)
    for invoice, status in (("1", "paid"), ("2", "partially_paid"), ("3", "draft")):
        mirror.receive("invoices", {"invoice": bill_of(int(invoice), OTHER, "Brimble & Sons", status=status)})
    mirror.receive(
        "payments",
        {
            "payment": {
                "payment_id": "1",
                "payment_number": "P-1",
                "customer_id": OTHER,
                "payment_mode": "cash",
                "amount": 1,
                "date": "2026-03-01",
                "currency_code": "EUR",
                "last_modified_time": "2026-03-01T10:00:00+0000",
            }
        },
    )
    mirror.receive("invoices", b"no JSON")
    mirror.process()
    mirror.conn.execute("select tds.observe_health(), tds.heal()")
    mirror.conn.execute("call tds.run_job('health')")
    ours = [row["name"] for row in mirror.rows(
        """select c.oid::regclass::text as name from pg_class c
            where c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace) and c.relkind in ('r', 'p') and not c.relispartition
              and c.relname !~ '^(contact|customer)' and c.relname <> all ('{forgotten,inbox,vacuum_wish}')"""
    )]  # fmt: skip

    def stands() -> dict[str, list[dict[str, Any]]]:
        told = {
            name: mirror.rows(f"select to_jsonb(t) - '{{told}}'::text[] as row from {name} t order by 1")
            for name in ours
        }
        told["inbox"] = mirror.rows(
            """select to_jsonb(i) - '{body}'::text[] as row, case when i.record_id is distinct from %s then i.body end as body
                 from tds.inbox i order by i.inbox_id""",
            CONTACT,
        )
        return told

    before = stands()
    mirror.rows("select * from tds.forget(%s)", CONTACT)
    assert {name: row for name, row in stands().items() if row != before[name]} == {}
    assert mirror.value("select entity from tds.run where run_id = %s", number) == "sales_orders"
    said = mirror.value(
        "select zoho_metadata -> 'custom_fields' from zoho.contacts where zoho_contact_id = %s", CONTACT
    )
    assert said == []
