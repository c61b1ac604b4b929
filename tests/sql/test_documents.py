"""Bills, credits, payments, orders: lines, allocations, links both ways, deletion, and arithmetic that is only flagged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sql.conftest import MOMENT, Mirror, product

LATER = "2026-06-10T09:46:21-0400"


def contact(contact_id: str, kind: str) -> dict[str, Any]:
    return {
        "contact_id": contact_id,
        "contact_name": f"Contact {contact_id}",
        "contact_type": kind,
        "status": "active",
        "billing_address": {},
        "last_modified_time": MOMENT,
    }


def line(number: int, item_id: str = "500", total: float = 10) -> dict[str, Any]:
    return {
        "line_item_id": f"9{number}",
        "item_id": item_id,
        "name": "Cable",
        "quantity": 2,
        "rate": total / 2,
        "item_total": total,
        "tax_percentage": 0,
    }


def amounts(**changed: Any) -> dict[str, Any]:
    return {
        "line_items": [line(1), line(2)],
        "sub_total": 20,
        "tax_total": 1,
        "discount_type": "item_level",
        "discount_total": 0,
        "shipping_charge": 0,
        "adjustment": "",
        "total": 21,
        "balance": 21,
        "price_precision": 2,
        "currency_code": "USD",
        "status": "open",
        "date": "2026-06-09",
        "last_modified_time": MOMENT,
        "created_time": MOMENT,
    } | changed


DOCUMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bills": ("bill", {"bill_id": "70", "bill_number": "B-1", "vendor_id": "20", "payment_made": 0}),
    "vendor_credits": (
        "vendor_credit",
        {"vendor_credit_id": "71", "vendor_id": "20", "total_credits_used": 0},
    ),
    "credit_notes": ("creditnote", {"creditnote_id": "72", "customer_id": "10", "total_credits_used": 0}),
    "sales_orders": ("salesorder", {"salesorder_id": "73", "customer_id": "10"}),
}


def line_items(entity: str) -> str:
    return {"sales_orders": "sales_order_line_items"}.get(entity, f"{entity[:-1]}_line_items")


@pytest.mark.parametrize("parents_first", [True, False])
@pytest.mark.parametrize("entity", DOCUMENTS)
def test_a_document_has_its_lines_and_finds_its_parents_whichever_comes_first(
    shared: Mirror, own_id: str, entity: str, parents_first: bool
) -> None:
    key, head = DOCUMENTS[entity]
    id_key, parent_key = next(iter(head)), "vendor_id" if "vendor_id" in head else "customer_id"
    customer, vendor, item = (f"{own_id}{number}" for number in range(3))
    parents = [
        ("customers", "contact", contact(customer, "customer")),
        ("vendors", "contact", contact(vendor, "vendor")),
        ("products", "item", product(item, brand="")),
    ]
    parent, children = (vendor, "vendors") if parent_key == "vendor_id" else (customer, "customers")
    document = amounts(
        **head | {id_key: own_id, parent_key: parent}, line_items=[line(1, item), line(2, item)]
    )
    told = [(entity, key, document)]
    for name, record_key, record in parents + told if parents_first else told + parents:
        assert shared.receive(name, {record_key: record}, shape="detail") == "queued"
        assert shared.process()["applied"] == 1
    assert shared.rows(
        f"select d.{parent_key} = c.id as linked, total_amount from zoho.{entity} d, zoho.{children} c"
        f" where d.zoho_{id_key} = %s and c.zoho_contact_id = %s",
        own_id,
        parent,
    ) == [{"linked": True, "total_amount": 21}]
    assert shared.rows(
        f"select line_number, product_id = p.id as linked, total_amount from zoho.{line_items(entity)} l, zoho.products p"
        f" where l.zoho_{id_key} = %s and p.zoho_item_id = %s order by 1",
        own_id,
        item,
    ) == [
        {"line_number": 1, "linked": True, "total_amount": 10},
        {"line_number": 2, "linked": True, "total_amount": 10},
    ]
    assert shared.rows("select * from tds_document_mismatches where zoho_id = %s", own_id) == []


@pytest.mark.parametrize("entity", DOCUMENTS)
def test_lines_that_are_gone_go_and_a_list_row_leaves_them(shared: Mirror, own_id: str, entity: str) -> None:
    key, head = DOCUMENTS[entity]
    id_key = next(iter(head))
    head = head | {id_key: own_id}
    where = f"from zoho.{line_items(entity)} where zoho_{id_key} = %s"
    shared.receive(entity, {key: amounts(**head)}, shape="detail")
    shared.process()
    shared.receive(
        entity,
        {key: amounts(**head, line_items=[line(2, total=20)], last_modified_time=LATER)},
        shape="detail",
    )
    shared.process()
    assert shared.rows(f"select line_number, total_amount {where}", own_id) == [
        {"line_number": 1, "total_amount": 20}
    ]
    row = {**head, "status": "closed", "last_modified_time": "2026-06-11T09:46:21-0400"}
    list_key = shared.value("select list_key from tds.entity where entity = %s", entity)
    shared.receive(entity, {list_key: [row]}, shape="list")
    assert shared.process()["applied"] == 1
    assert shared.value(f"select count(*) {where}", own_id) == 1
    assert shared.rows("select reason from tds.wanted_detail where zoho_id = %s", own_id) == [
        {"reason": "detail older than the record"}
    ]


def test_only_a_404_is_a_deletion(mirror: Mirror) -> None:
    mirror.receive("bills", {"bill": amounts(**DOCUMENTS["bills"][1])}, shape="detail")
    mirror.process()
    mirror.receive("bills", {"bill": amounts(**DOCUMENTS["bills"][1])}, event="delete")
    mirror.process()
    assert mirror.rows("select deleted_at, reason from zoho.bills, tds.wanted_detail") == [
        {"deleted_at": None, "reason": "said to be deleted"}
    ]
    mirror.receive("bills", {"bill": {"bill_id": "70"}}, shape="detail", event="delete")
    mirror.process()
    assert mirror.value("select deleted_at is not null from zoho.bills")
    assert mirror.value("select count(*) from tds.wanted_detail") == 0


def payment(*applied: tuple[str, float], **changed: Any) -> dict[str, Any]:
    return {
        "payment_id": "80",
        "payment_number": "7",
        "customer_id": "10",
        "amount": 30,
        "currency_code": "USD",
        "date": "2026-06-09",
        "invoices": [
            {"invoice_payment_id": f"8{invoice_id}", "invoice_id": invoice_id, "amount_applied": amount}
            for invoice_id, amount in applied
        ],
    } | changed


def test_a_payment_over_several_invoices_keeps_every_amount(mirror: Mirror) -> None:
    mirror.receive("payments", {"payment": payment(("60", 10.5), ("61", 4.25), ("60", 2))}, shape="detail")
    mirror.process()
    query = "select zoho_invoice_id, amount::float8, invoice_id is not null as linked from zoho.customer_payment_invoices order by position"
    assert [tuple(row.values()) for row in mirror.rows(query)] == [
        ("60", 10.5, False),
        ("61", 4.25, False),
        ("60", 2, False),
    ]
    mirror.receive("invoices", {"invoice": amounts(invoice_id="60", customer_id="10")}, shape="detail")
    mirror.process()
    assert [row["linked"] for row in mirror.rows(query)] == [True, False, True]
    mirror.receive("payments", {"payment": payment(("61", 30))}, shape="detail")
    mirror.process()
    assert [tuple(row.values()) for row in mirror.rows(query)] == [("61", 30, False)]


def test_a_detail_without_a_time_settles_what_asked_for_it(mirror: Mirror) -> None:
    row = {
        "payment_id": "80",
        "payment_number": "7",
        "customer_id": "10",
        "amount": 30,
        "last_modified_time": MOMENT,
    }
    mirror.receive("payments", {"customerpayments": [row]}, shape="list")
    mirror.process()
    [want] = mirror.rows("select zoho_id, modified_at from tds.take_details('payments', '60069194202')")
    headers = f'{{"modified_at": "{want["modified_at"].isoformat()}"}}'
    mirror.receive("payments", {"payment": payment(("60", 30))}, shape="detail", headers=headers)
    mirror.process()
    assert mirror.value("select count(*) from tds.wanted_detail") == 0
    mirror.receive("payments", {"customerpayments": [row]}, shape="list")
    assert mirror.process()["unchanged"] == 1
    assert mirror.value("select count(*) from tds.wanted_detail") == 0, "an unchanged row asks for nothing"
    assert mirror.value("select count(*) from zoho.customer_payment_invoices") == 1


def test_a_detail_without_a_time_is_of_what_has_been_read_by_the_time_it_is_asked_for(mirror: Mirror) -> None:
    """A webhook and a list told of an edit while the want waited; by the older list's time it would be asked for for ever."""
    row = {"payment_id": "80", "customer_id": "10", "amount": 30, "last_modified_time": MOMENT}
    mirror.receive("payments", {"customerpayments": [row]}, shape="list")
    mirror.process()
    edited = row | {"amount": 40, "last_modified_time": LATER}
    mirror.receive("payments", {"payment": payment(("60", 40)) | edited})
    mirror.process()
    mirror.receive("payments", {"customerpayments": [edited]}, shape="list")
    mirror.process()
    wanted = "select zoho_id, modified_at from tds.take_details('payments', '60069194202')"
    [want] = mirror.rows(wanted)
    body = json.dumps({"payment": payment(("60", 40)) | {"amount": 40}}).encode()
    mirror.conn.execute(
        "select tds.store_detail('payments', '60069194202', '{80}', %b, tds.now(), modified_at => %s)",
        [body, want["modified_at"]],
    )
    mirror.process()
    assert mirror.value("select count(*) from tds.wanted_detail") == 0
    assert mirror.value("select amount from zoho.customer_payment_invoices") == 40


def test_what_zoho_answers_with_an_older_edit_is_asked_for_less_and_less(mirror: Mirror) -> None:
    invoice = amounts(invoice_id="1", last_modified_time=LATER)
    row = {key: value for key, value in invoice.items() if key != "line_items"}
    mirror.receive("invoices", {"invoices": [row]}, shape="list")
    mirror.process()
    body = json.dumps({"invoice": invoice | {"last_modified_time": MOMENT}}).encode()
    began = mirror.value("select tds.now()")
    asked = 0
    for minute in range(1, 24 * 60, 3):
        mirror.conn.execute(
            "select set_config('tds.fake_now', (%s + make_interval(mins => %s))::text, false)",
            [began, minute],
        )
        for _ in mirror.rows("select * from tds.take_details('invoices', '60069194202')"):
            asked += 1
            mirror.conn.execute(
                "select tds.store_detail('invoices', '60069194202', '{1}', %b, tds.now())", [body]
            )
            mirror.process()
    assert asked < 40, "and not every two minutes"
    [want] = mirror.rows("select tries, error from tds.wanted_detail")
    assert (want["tries"], want["error"]) == (asked, "the detail tells of an older edit than is known")
    assert "older edit" in str(mirror.rows("select * from tds.check_details_failed()"))
    # whenever it tells of that edit it is settled
    mirror.receive("invoices", {"invoice": invoice}, shape="detail")
    mirror.process()
    assert mirror.value("select count(*) from tds.wanted_detail") == 0


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"sub_total": 19.99}, [("subtotal", 20, 19.99), ("total", 20.99, 21)]),
        ({"sub_total": 20.004}, []),
        ({"total": 22, "balance": 22}, [("total", 21, 22)]),
        ({"balance": 20}, [("balance", 21, 20)]),
        ({"status": "void", "balance": 0}, []),
        ({"discount_type": "entity_level", "discount_total": 5, "total": 16, "balance": 16}, []),
        ({"is_inclusive_tax": True, "sub_total": 19}, []),
        ({"price_precision": 0, "total": 21.4, "balance": 21.4}, []),
        ({"shipping_charge": 3, "adjustment": -1, "total": 23, "balance": 23}, []),
    ],
)
def test_what_does_not_add_up_is_flagged_and_kept(
    shared: Mirror, own_id: str, changed: dict[str, Any], expected: list[tuple[str, float, float]]
) -> None:
    shared.receive(
        "invoices", {"invoice": amounts(invoice_id=own_id, payment_made=0, **changed)}, shape="detail"
    )
    assert shared.process()["applied"] == 1
    rows = shared.rows(
        "select what, expected::float8, found::float8 from tds_document_mismatches where zoho_id = %s", own_id
    )
    assert sorted(tuple(row.values()) for row in rows) == sorted(expected)


def test_a_balance_is_judged_only_by_payments_of_the_same_edit(mirror: Mirror) -> None:
    listed = {"invoice_id": "60", "status": "paid", "total": 21, "balance": 0, "write_off_amount": 0}
    judged = "select balance_differs from zoho.invoices"
    mirror.receive("invoices", {"invoices": [listed | {"last_modified_time": MOMENT}]}, shape="list")
    mirror.process()
    assert mirror.value(judged) is None, "a list does not tell what was paid"
    detail = amounts(**listed, payment_made=21)
    mirror.receive("invoices", {"invoice": detail}, shape="detail")
    mirror.process()
    assert mirror.value(judged) is False
    reopened = listed | {"status": "sent", "balance": 21, "last_modified_time": LATER}
    mirror.receive("invoices", {"invoices": [reopened]}, shape="list")
    mirror.process()
    assert mirror.value(judged) is None, "what was paid is known of an older edit only"
    assert mirror.value("select count(*) from tds_document_mismatches") == 0
    mirror.receive("invoices", {"invoice": detail | reopened | {"payment_made": 5}}, shape="detail")
    mirror.process()
    assert mirror.value(judged) is True


@pytest.mark.parametrize("list_key", ["vendor_credits", "vendorcredits"])
def test_vendor_credits_are_read_under_either_name(shared: Mirror, own_id: str, list_key: str) -> None:
    credit = {**DOCUMENTS["vendor_credits"][1], "vendor_credit_id": own_id, "last_modified_time": MOMENT}
    shared.receive("vendor_credits", {list_key: [credit]}, shape="list")
    assert shared.process()["applied"] == 1
    found = "select count(*) from zoho.vendor_credits where zoho_vendor_credit_id = %s"
    assert shared.value(found, own_id) == 1


def test_a_payment_reduces_the_balance_that_is_expected(mirror: Mirror) -> None:
    bill = amounts(**DOCUMENTS["bills"][1] | {"payment_made": 5, "vendor_credits_applied": 6}, balance=10)
    mirror.receive("bills", {"bill": bill}, shape="detail")
    mirror.process()
    assert mirror.value("select balance_differs from zoho.bills") is False


def test_an_inherited_version_is_not_taken_for_what_the_document_says(mirror: Mirror) -> None:
    headers = f'{{"modified_at": "{MOMENT}"}}'
    mirror.receive("payments", {"payment": payment(("60", 30))}, shape="detail", headers=headers)
    assert mirror.process()["applied"] == 1
    assert mirror.rows(
        "select zoho_modified_at, sync_modified_at is not null as has_version from zoho.customer_payments"
    ) == [{"zoho_modified_at": None, "has_version": True}]
    assert mirror.rows("select * from tds.rebuild_difference('payments')") == []


def test_what_is_open_is_told_of_an_organisation_whose_own_record_is_not_there(mirror: Mirror) -> None:
    """Webhooks tell of documents, never of the organisation. A reader's rights are what the views call functions with."""
    invoice = amounts(invoice_id="1", customer_id="10", due_date="2026-02-01", exchange_rate=1)
    mirror.receive("invoices", {"invoice": invoice}, "detail")
    mirror.process()
    assert mirror.value("select count(*) from zoho.organizations") == 0
    mirror.conn.execute("set tds.fake_now = '2026-03-01 12:00:00+00'")
    for view, amount in [
        ("open_balances", "owed"),
        ("overdue_invoices", "balance"),
        ("receivables_ageing", "days_1_30"),
    ]:
        for role in ("tds_owner", "tds_reader", "tds_operator"):
            mirror.conn.execute(f"set role {role}")
            assert mirror.rows(f"select {amount}::int as amount from tds_{view}") == [{"amount": 21}], (
                view,
                role,
            )


def test_a_sum_of_which_a_part_is_not_known_is_not_known(mirror: Mirror) -> None:
    """Of an amount in a currency of which nothing tells the rate: an unknown amount is null, and no smaller sum."""

    def tell(number: int, **changed: Any) -> None:
        same = {
            "customer_id": "10",
            "vendor_id": "20",
            "due_date": "2026-02-01",
            "payment_made": 0,
            "currency_code": "EUR",
        }
        document = amounts(**same | changed)
        for entity, key in [("invoices", "invoice"), ("bills", "bill")]:
            mirror.receive(entity, {key: document | {f"{key}_id": str(number)}}, "detail")
        mirror.process()

    def sums(columns: str) -> list[Any]:
        found = mirror.rows(f"select {columns}")
        return [None if value is None else float(value) for value in found[0].values()]

    asked = """(select owed from tds_open_balances), (select owed_base as b from tds_open_balances),
               (select balance_base as c from tds_open_balances), (select owed_base as d from tds_open_payables),
               (select balance_base as e from tds_open_payables), (select total_base from tds_receivables_ageing),
               (select days_over_90 from tds_receivables_ageing), (select days_1_30 from tds_receivables_ageing)"""
    traded = """(select amount_base from tds.sales_by_item('{0}', '2026-06-01', '2026-06-30')),
                (select amount_base as b from tds.sales_by_customer('{0}', '2026-06-01', '2026-06-30')),
                (select with_tax_base from tds.sales_by_customer('{0}', '2026-06-01', '2026-06-30')),
                (select amount_base as c from tds.purchases_by_item('{0}', '2026-06-01', '2026-06-30'))""".format(
        "60069194202"
    )
    mirror.conn.execute("set tds.fake_now = '2026-07-01 12:00:00+00'")
    tell(1, exchange_rate=2)
    assert sums(asked) == [21, 42, 42, 42, 42, 42, 42, 0]
    assert sums(traded) == [40, 40, 42, 40]
    tell(2, exchange_rate="")
    assert sums(asked) == [42, None, None, None, None, None, None, 0]
    assert sums(traded) == [None] * 4
    tell(2, exchange_rate=3, last_modified_time=LATER)
    assert sums(asked) == [42, 105, 105, 105, 105, 105, 105, 0]
    assert sums(traded) == [100, 100, 105, 100]


@pytest.mark.parametrize(
    ("entity", "changed"),
    [
        ("invoices", {"tcs_amount": 2, "total": 23}),
        ("invoices", {"tds_amount": 2, "total": 19}),
        ("invoices", {"tds_amount": 2}),
        ("invoices", {"roundoff_value": 0.4, "total": 21.4}),
        ("invoices", {"shipping_charge": 3, "shipping_charge_tax": 0.15, "total": 24.15}),
        ("invoices", {"is_reverse_charge_applied": True, "total": 20}),
        (
            "invoices",
            {
                "is_inclusive_tax": True,
                "line_items": [line(1, total=21)],
                "sub_total": 21,
                "tcs_amount": 2,
                "total": 23,
            },
        ),
        ("invoices", {"is_inclusive_tax": True, "sub_total": 20, "roundoff_value": "-0.40", "total": 20.6}),
        ("invoices", {"adjustment": -5, "total": 16}),
        ("bills", {"tds_amount": 0.45, "total": 20.55}),
        ("bills", {"is_tds_applied": True, "tds_total": 2, "total": 19}),
        ("credit_notes", {"tcs_amount": 2, "total": 23}),
        ("vendor_credits", {"tds_amount": "2.00", "total": 19}),
    ],
)
def test_what_is_sold_or_bought_is_without_what_is_withheld_or_rounded(
    mirror: Mirror, entity: str, changed: dict[str, Any]
) -> None:
    """Zoho's reports add up lines, net of discounts and without tax: what the total has besides is no sale."""
    key, own = {"invoices": ("invoice", {"invoice_id": "60", "customer_id": "10"})}.get(entity) or DOCUMENTS[
        entity
    ]
    mirror.receive(entity, {key: amounts(exchange_rate=1) | own | changed}, "detail")
    mirror.process()
    traded = "purchases_by_item" if entity in ("bills", "vendor_credits") else "sales_by_item"
    sign = -1 if "credit" in entity else 1
    period = "('60069194202', '2026-06-01', '2026-06-30')"
    assert mirror.value(f"select amount_base from tds.{traded}{period}") == 20 * sign
    if traded == "sales_by_item":
        assert mirror.value(f"select amount_base from tds.sales_by_customer{period}") == 20 * sign


@pytest.mark.parametrize(
    ("changed", "net"),
    [
        ({"discount_type": "entity_level", "discount_total": 2, "tds_amount": 1, "total": 18}, 18),
        ({"discount_type": "entity_level", "discount": "10%", "discount_amount": 2, "total": 19}, 18),
        ({"discount_total": 4}, 20),
        ({"discount_total": 4, "is_discount_before_tax": False, "total": 17}, 16),
    ],
)
def test_what_is_sold_is_net_of_discounts(mirror: Mirror, changed: dict[str, Any], net: int) -> None:
    same = {"invoice_id": "60", "customer_id": "10", "exchange_rate": 1}
    mirror.receive("invoices", {"invoice": amounts(**same | {"discount_total": ""} | changed)}, "detail")
    mirror.process()
    period = "('60069194202', '2026-06-01', '2026-06-30')"
    assert mirror.value(f"select amount_base from tds.sales_by_customer{period}") == net
    assert mirror.value(f"select amount_base from tds.sales_by_item{period}") == net


@pytest.mark.parametrize(("decimals", "expected"), [(3, "3.222"), (0, "3"), (2, "3.22"), ("", "3.22")])
@pytest.mark.parametrize("told_by", ["organizations", "currencies"])
def test_amounts_in_the_base_currency_have_its_decimals(
    mirror: Mirror, decimals: int | str, expected: str, told_by: str
) -> None:
    """Of dinars there are three, of yen none: an amount that is cut to cents is another amount."""
    organization: dict[str, Any] = {"organization_id": "60069194202", "currency_code": "KWD"}
    currency: dict[str, Any] = {"currency_id": "9", "currency_code": "KWD", "is_base_currency": True}
    (organization if told_by == "organizations" else currency)["price_precision"] = decimals
    mirror.receive("organizations", {"organization": organization}, "detail")
    mirror.receive("currencies", {"currencies": [currency]}, "list")
    mirror.receive("products", {"item": product("500", stock_on_hand=1, purchase_rate="3.2217")}, "detail")
    told = amounts(
        line_items=[line(1, total=10.527)], sub_total=10.527, tax_total=0, total=10.527, balance=10.527
    )
    told |= {
        "currency_code": "USD",
        "exchange_rate": "0.306070",
        "due_date": "2026-06-09",
        "customer_id": "10",
        "vendor_id": "20",
    }
    payment = told | {
        "payment_id": "1",
        "amount": 10.527,
        "unused_amount": 10.527,
        "bills": [],
        "invoices": [],
    }
    mirror.receive("invoices", {"invoice": told | {"invoice_id": "1"}}, "detail")
    mirror.receive("bills", {"bill": told | {"bill_id": "2"}}, "detail")
    mirror.receive("payments", {"payment": payment}, "detail")
    mirror.process()
    period = "('60069194202', '2026-06-01', '2026-06-30')"
    for asked in [
        "owed_base from tds_open_balances",
        "unused_credits_base from tds_open_balances",
        "owed_base from tds_open_payables",
        "balance_base from tds_overdue_invoices",
        "total_base from tds_receivables_ageing",
        "unused_base from tds_unallocated_payments",
        "value_base from tds_stock_value",
        f"amount_base from tds.sales_by_item{period}",
        f"amount_base from tds.sales_by_customer{period}",
        f"amount_base from tds.purchases_by_item{period}",
    ]:
        assert str(mirror.value(f"select {asked}")) == expected, asked
    for function, report, party in [
        ("ours_ageing", "aragingsummary", "customer"),
        ("ours_balances", "vendorbalancesummary", "vendor"),
        ("ours_trade", "salesbyitem", "product"),
        ("ours_payments", "customerpayments", "payment"),
    ]:
        of = f"row('{report}', '{party}', '', null, '60069194202', '2026-06-01', '2026-06-30')::tds.asked"
        base = f"select amount from tds.{function}({of}) where measure in ('total', 'closing_balance', 'amount', 'bcy_amount') "
        assert str(mirror.value(base + "order by currency nulls first limit 1")) == expected, function


@pytest.mark.parametrize("told", ["2026-06-20", ""])
def test_what_was_open_on_a_day_past_counts_all_that_was_settled_later(mirror: Mirror, told: str) -> None:
    """Taxes that a payment withheld settle as well; where no day of an application is told, it is not before its payment's."""
    settled = {"tax_amount_withheld": 1, "payment_made": 15, "balance": 5, "exchange_rate": 1}
    for entity, key, party, paid_by, paid_key in [
        ("invoices", "invoice", "customer_id", "payments", "payment"),
        ("bills", "bill", "vendor_id", "vendor_payments", "vendorpayment"),
    ]:
        mirror.receive(entity, {key: amounts(**settled) | {f"{key}_id": "1", party: "10"}}, "detail")
        applied = {f"{key}_id": "1", "apply_date": told, "amount_applied": 15, "tax_amount_withheld": 1}
        payment = {
            "payment_id": f"9{key}",
            party: "10",
            "date": "2026-06-20",
            "amount": 15,
            "unused_amount": 0,
            "balance": 0,
        }
        payment |= {entity: [applied], "exchange_rate": 1, "last_modified_time": MOMENT}
        mirror.receive(paid_by, {paid_key: payment}, "detail")
    mirror.process()
    for documents in ("receivable_documents", "payable_documents"):
        owed = f"select owed from tds.{documents}('60069194202', %s)"
        assert mirror.value(owed, "2026-06-19") == 21
        assert mirror.value(owed, "2026-06-20") == 5
    left = "select coalesce(sum(unused), 0) from tds.{}_credits('60069194202', '2026-06-19')"
    assert [mirror.value(left.format(party)) for party in ("customer", "vendor")] == [0, 0]


@pytest.mark.parametrize(("status", "owed"), [("closed", 21), ("void", 11), ("rejected", 11)])
def test_a_credit_that_is_void_by_now_has_settled_nothing_later(
    mirror: Mirror, status: str, owed: int
) -> None:
    """Its document may still say what it was applied to; the balance has it back, and would have it twice."""
    left = {"payment_made": 0, "balance": 11, "exchange_rate": 1}
    for entity, key, party, credit, told in [
        ("invoices", "invoice", "customer_id", "credit_notes", "invoices_credited"),
        ("bills", "bill", "vendor_id", "vendor_credits", "bills_credited"),
    ]:
        mirror.receive(entity, {key: amounts(**left) | {f"{key}_id": "1", party: "10"}}, "detail")
        credit_key, head = DOCUMENTS[credit]
        applied = {f"{key}_id": "1", "date": "2026-06-20", "amount": 10}
        document = (
            amounts(exchange_rate=1, status=status, date="2026-06-20", balance=11) | head | {party: "10"}
        )
        mirror.receive(credit, {credit_key: document | {told: [applied]}}, "detail")
    mirror.process()
    for documents in ("receivable_documents", "payable_documents"):
        assert mirror.value(f"select owed from tds.{documents}('60069194202', '2026-06-19')") == owed, (
            documents
        )


CUSTOMERS = ["invoices", "credit_notes", "payments", "sales_orders"]
VENDORS = ["bills", "vendor_credits", "vendor_payments"]


def test_documents_lead_to_a_contact_only_while_it_is_of_the_kind_they_name(mirror: Mirror) -> None:
    """A customer that becomes a vendor is in another table; its invoices lead nowhere until it comes back."""

    def become(kind: str, day: int) -> list[str]:
        told = contact("10", kind) | {"last_modified_time": f"2026-06-{day}T09:46:21-0400"}
        mirror.receive("customers", {"contact": told}, "detail")
        mirror.process()
        row = mirror.value("select id from zoho.contacts where zoho_contact_id = '10'")
        found = []
        for entity in CUSTOMERS + VENDORS:
            table, party = (
                {"payments": "customer_payments"}.get(entity, entity),
                "customer" if entity in CUSTOMERS else "vendor",
            )
            linked = mirror.rows(f"select {party}_id as id from zoho.{table}")
            assert linked in ([{"id": row}], [{"id": None}]), (entity, linked, row)
            found += [entity] if linked[0]["id"] else []
        for entity in CUSTOMERS + VENDORS:
            assert mirror.rows(f"select * from tds.rebuild_differences('{entity}')") == [], entity
        assert mirror.value("select count(*) from tds_danglers where what <> 'parent missing'") == 0
        return found

    for entity, (key, own) in DOCUMENTS.items():
        both = {"customer_id": "10", "vendor_id": "10"}
        mirror.receive(entity, {key: amounts() | own | both}, "detail")
    mirror.receive("invoices", {"invoice": amounts(invoice_id="60", customer_id="10")}, "detail")
    for entity, key, list_key in [
        ("payments", "payment", "invoices"),
        ("vendor_payments", "vendorpayment", "bills"),
    ]:
        told = {
            "payment_id": "61",
            "customer_id": "10",
            "vendor_id": "10",
            "amount": 5,
            "unused_amount": 5,
            "balance": 5,
        }
        mirror.receive(entity, {key: told | {list_key: [], "last_modified_time": MOMENT}}, "detail")
    assert become("customer", 11) == CUSTOMERS
    assert become("vendor", 12) == VENDORS
    assert become("customer", 13) == CUSTOMERS


@pytest.mark.parametrize(
    ("status", "unused"),
    [("paid", 5), ("", 5), ("draft", 0), ("void", 0), ("pending_approval", 0), ("rejected", 0)],
)
def test_a_payment_counts_unless_it_is_draft_or_void(mirror: Mirror, status: str, unused: int) -> None:
    """Neither what is left of it, nor what it would have settled."""
    for entity, key, party, paid_by, paid_key in [
        ("invoices", "invoice", "customer_id", "payments", "payment"),
        ("bills", "bill", "vendor_id", "vendor_payments", "vendorpayment"),
    ]:
        mirror.receive(entity, {key: amounts(exchange_rate=1) | {f"{key}_id": "1", party: "10"}}, "detail")
        payment = {
            "payment_id": f"9{key}",
            party: "10",
            "date": "2026-06-20",
            "amount": 15,
            "unused_amount": 5,
            "balance": 5,
        }
        payment |= {"payment_status": status} if paid_key == "payment" else {"status": status}
        applied = {f"{key}_id": "1", "apply_date": "2026-06-20", "amount_applied": 10}
        payment |= {entity: [applied], "exchange_rate": 1, "last_modified_time": MOMENT}
        mirror.receive(paid_by, {paid_key: payment}, "detail")
    mirror.process()
    assert mirror.value("select coalesce(sum(unused_amount), 0) from tds_unallocated_payments") == 2 * unused
    for view in ("tds_open_balances", "tds_open_payables"):
        assert mirror.value(f"select sum(unused_credits) from {view}") == unused, view
    for of in ("customer", "vendor"):
        left = f"select coalesce(sum(unused), 0) from tds.{of}_credits('60069194202', '2026-06-20')"
        assert mirror.value(left) == unused, of
    for of in ("receivable", "payable"):
        owed = mirror.value(f"select sum(owed) from tds.{of}_documents('60069194202', '2026-06-10')")
        assert owed == (31 if unused else 21), of
    for report, party in [("customerpayments", "payment"), ("vendorpayments", "vendor_payment")]:
        asked = f"row('{report}', '{party}', '', null, '60069194202', '2026-06-01', '2026-06-30')::tds.asked"
        assert mirror.value(f"select count(*) from tds.ours_payments({asked})") == (3 if unused else 0), (
            report
        )


@pytest.mark.parametrize("status", ["draft", "void", "pending_approval", "rejected", "open"])
def test_only_what_is_posted_is_owed_sold_or_bought(mirror: Mirror, status: str) -> None:
    """Zoho posts nothing that was refused its approval, though it shows a balance."""
    invoice = ("invoice", {"invoice_id": "60", "customer_id": "10", "due_date": "2026-06-09"})
    for entity, (key, own) in (DOCUMENTS | {"invoices": invoice}).items():
        mirror.receive(
            entity, {key: amounts(exchange_rate=1, payment_made=0) | own | {"status": status}}, "detail"
        )
    mirror.process()
    counts = int(status == "open")
    for table in ["invoices", *DOCUMENTS]:
        assert mirror.value(f"select count(*) from {table}_posted") == counts, table
        assert mirror.value(f"select count(*) from {line_items(table)}_posted") == 2 * counts, table
        assert mirror.value(f"select count(*) from {table}_current") == 1, table
    period = "('60069194202', '2026-06-01', '2026-06-30')"
    for asked in [
        "tds_open_balances", "tds_open_payables", "tds_overdue_invoices", "tds_receivables_ageing",
        f"tds.sales_by_item{period}", f"tds.sales_by_customer{period}", f"tds.purchases_by_item{period}",
        "tds.receivable_documents('60069194202', '2026-06-30')", "tds.payable_documents('60069194202', '2026-06-30')",
        "tds.customer_credits('60069194202', '2026-06-30')", "tds.vendor_credits('60069194202', '2026-06-30')",
    ]:  # fmt: skip
        assert mirror.value(f"select count(*) from {asked}") == counts, asked


@pytest.mark.parametrize("entity", ["invoices", "credit_notes", "bills", "vendor_credits"])
def test_documents_without_lines_are_not_passed_over_where_lines_are_added_up(
    mirror: Mirror, entity: str
) -> None:
    """A list tells of a document before its detail: what is sold is not known then, and is no smaller sum."""
    key, own = {"invoices": ("invoice", {"invoice_id": "60", "customer_id": "10"})}.get(entity) or DOCUMENTS[
        entity
    ]
    listed = {
        k: v for k, v in amounts(exchange_rate=1).items() if k not in ("line_items", "sub_total", "tax_total")
    }
    id_key = next(iter(own))
    mirror.receive(entity, {key: amounts(exchange_rate=1) | own}, "detail")
    mirror.receive(entity, {key: listed | own | {id_key: "99"}}, "list")
    mirror.process()
    traded = "sales_by_item" if entity in ("invoices", "credit_notes") else "purchases_by_item"
    rows = f"select item_id, amount_base::int from tds.{traded}('60069194202', '2026-06-01', '2026-06-30') order by 1"
    sign = -1 if "credit" in entity else 1
    assert [tuple(row.values()) for row in mirror.rows(rows)] == [("500", 20 * sign), (None, None)]
    report = {"sales_by_item": "salesbyitem"}.get(traded, "purchasesbyitem")
    figures = f"""(select array_agg(f) from tds.ours_trade(
        row('{report}', 'product', '', null, '60069194202', '2026-06-01', '2026-06-30')::tds.asked) f)"""
    told = {"item_id": "501", "amount": 3, "quantity_sold": 1, "quantity_purchased": 1}
    page = {"sales": [told]} if traded == "sales_by_item" else {"purchases_by_item": [{"purchase": [told]}]}
    lacking = f"""select party_id, lacking from tds.both_figures(
        (select r from tds.report r where r.report = '{report}'), {figures}, array[%s::jsonb]) where measure = 'amount' order by 1"""
    expected = [("500", 1), ("501", 1)]
    assert [tuple(row.values()) for row in mirror.rows(lacking, json.dumps(page))] == expected
    mirror.receive(entity, {key: amounts(exchange_rate=1) | own | {id_key: "99"}}, "detail")
    mirror.process()
    assert [tuple(row.values()) for row in mirror.rows(rows)] == [("500", 40 * sign)]
    assert [tuple(row.values()) for row in mirror.rows(lacking, json.dumps(page))] == [("500", 0), ("501", 0)]


@pytest.mark.parametrize("lines", [None, []])
@pytest.mark.parametrize("entity", ["invoices", "credit_notes", "bills", "vendor_credits"])
def test_a_subtotal_of_lines_that_nobody_has_told_is_no_smaller_sum(
    mirror: Mirror, entity: str, lines: list[Any] | None
) -> None:
    """A webhook's template may leave the lines out and tell what they add up to; and Zoho may tell none of them."""
    key, own = {"invoices": ("invoice", {"invoice_id": "60", "customer_id": "10"})}.get(entity) or DOCUMENTS[
        entity
    ]
    id_key = next(iter(own))
    mirror.receive(entity, {key: amounts(exchange_rate=1) | own}, "detail")
    nothing = {"line_items": [], "sub_total": 0, "tax_total": 0, "total": 0, "balance": 0}
    mirror.receive(entity, {key: amounts(exchange_rate=1) | own | {id_key: "98"} | nothing}, "detail")
    told = {k: v for k, v in amounts(exchange_rate=1).items() if k != "line_items"} | own | {id_key: "99"}
    mirror.receive(entity, {key: told if lines is None else told | {"line_items": lines}})
    mirror.process()
    traded = "sales_by_item" if entity in ("invoices", "credit_notes") else "purchases_by_item"
    rows = f"select item_id, amount_base::int from tds.{traded}('60069194202', '2026-06-01', '2026-06-30') order by 1"
    sign = -1 if "credit" in entity else 1
    assert [tuple(row.values()) for row in mirror.rows(rows)] == [("500", 20 * sign), (None, None)]
    report = {"sales_by_item": "salesbyitem"}.get(traded, "purchasesbyitem")
    asked = f"row('{report}', 'product', '', null, '60069194202', '2026-06-01', '2026-06-30')::tds.asked"
    lacking = f"select distinct lacking from tds.ours_trade({asked}) where party_id is not null"
    assert mirror.rows(lacking) == [{"lacking": 1}]
    mirror.receive(entity, {key: amounts(exchange_rate=1) | own | {id_key: "99"}}, "detail")
    mirror.process()
    assert [tuple(row.values()) for row in mirror.rows(rows)] == [("500", 40 * sign)]
    assert mirror.rows(lacking) == [{"lacking": 0}]


def test_the_books_are_in_their_own_organisations_currency(mirror: Mirror) -> None:
    """Zoho lists all that a user belongs to: the sister company's dirhams are no base of ours."""
    own = {"organization_id": "60069194202", "name": "Own", "currency_code": "USD", "price_precision": 2}
    sister = {
        "organization_id": "70000000001",
        "name": "Sister",
        "currency_code": "AED",
        "price_precision": 0,
    }
    mirror.receive("organizations", {"organizations": [own, sister]}, "list")
    for number, currency in [("1", "USD"), ("2", "AED")]:
        told = amounts(invoice_id=number, customer_id="10", currency_code=currency, balance=20.55)
        mirror.receive("invoices", {"invoice": told}, "detail")
    mirror.process()
    open_ones = "select currency, owed_base::text from tds_open_balances order by currency"
    assert [tuple(row.values()) for row in mirror.rows(open_ones)] == [("AED", None), ("USD", "20.55")]
