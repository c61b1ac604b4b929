"""``/reports/…``: what Zoho's own accounts say, reckoned from the ledger and with the traps of the real ones.

Nobody documents these reports; the shapes are those that their users recorded. What they have in common:

* ``from_date`` and ``to_date`` count only beside ``filter_by=<date field>.CustomDate``; else the report is of
  this month (up to today, where it is of a day), without a word. ``page_context`` tells what it is of.
* ``usestate`` other than ``false`` applies what the user has once set in the pages: here cash basis.
* Amounts are in the base currency, drafts and void documents left out. The balances of *summaries* stop at
  ``to_date``; ``customerbalances`` and ``vendorbalances`` count what came later, too.
* A name that does not exist is a 404.

``Traps`` makes a report answer as it should not.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tds_sandbox.clock import parse_date
from tds_sandbox.errors import ApiError, InvalidValueError, SandboxError
from tds_sandbox.jsontext import Document, encode
from tds_sandbox.modules.contacts import Contact
from tds_sandbox.modules.documents import Transaction
from tds_sandbox.modules.settlement import refunded, used
from tds_sandbox.money import ZERO, round_base
from tds_sandbox.organisation import Organisation

PREFIX = "/reports/"
SCOPE = "reports.READ"
PER_PAGE = 500
_OUT = frozenset({"draft", "void", "pending_approval", "rejected"})
_CENT = Decimal("0.01")
KINDS = ("echo", "other_form", "missing", "unauthorised", "no_pages", "texts", "cent")
"""Of traps: another period than asked for; keys of another name; 404; 401; the first page again and again;
amounts as texts of the locale; a cent too much in the first row."""


@dataclass(frozen=True, slots=True)
class Window:
    """The days a report is of, both included."""

    begins: dt.date
    ends: dt.date

    def has(self, day: dt.date) -> bool:
        """Whether a document of that day belongs into it."""
        return self.begins <= day <= self.ends


Rows = list[Document]
Maker = Callable[[Organisation, Window], Rows]


@dataclass(frozen=True)
class Report:
    """One report.

    Args:
        dates: what ``filter_by`` may name in front of ``.CustomDate``.
        rows: makes them.
        wrap: puts a page of them under the report's keys.
        as_of: whether it is of a day, and counts all before.
    """

    dates: tuple[str, ...]
    rows: Maker
    wrap: Callable[[Rows], Document]
    as_of: bool = False


@dataclass
class Traps:
    """Which report answers how it should not: by its name, one of ``KINDS``."""

    by_report: dict[str, str] = field(default_factory=dict)

    def set(self, by_report: Mapping[str, str]) -> None:
        """Replace all.

        Raises:
            SandboxError: no such report or kind.
        """
        for name, kind in by_report.items():
            if name not in REPORTS or kind not in KINDS:
                raise SandboxError(f"no trap {kind!r} for {name!r}; there are {', '.join(KINDS)}")
        self.by_report = dict(by_report)


def _base(amount: Decimal, rate: str) -> Decimal:
    return round_base(amount * Decimal(rate))


def _living(organisation: Organisation, entity: str) -> Iterable[Any]:
    """The documents of a module that count: neither drafts nor void."""
    book = organisation.books.get(entity)
    return [r for r in book.records if r.status not in _OUT] if book else []


def _records(organisation: Organisation, entity: str) -> Iterable[Any]:
    book = organisation.books.get(entity)
    return book.records if book else []


# what is owed


def _later(parts: Iterable[Any], ends: dt.date) -> Decimal:
    """What was applied or given back after a day: on that day it was still there."""
    return sum((part.amount for part in parts if part.date > ends), ZERO)


def _applied_later(organisation: Organisation, ends: dt.date) -> dict[str, Decimal]:
    """By invoice, what was paid or credited after a day."""
    found: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for entity in ("customerpayments", "creditnotes"):
        for source in _records(organisation, entity):
            for one in source.applications:
                if one.date > ends:
                    found[one.invoice.id] += one.amount
    return found


def _receivable(organisation: Organisation, ends: dt.date) -> dict[str, list[tuple[Any, Decimal]]]:
    """By customer, the invoices that were open at the end of a day, and how much of them."""
    later = _applied_later(organisation, ends)
    found: dict[str, list[tuple[Any, Decimal]]] = defaultdict(list)
    for invoice in _living(organisation, "invoices"):
        if invoice.date <= ends and (owed := invoice.balance + later[invoice.id]):
            found[invoice.contact.id].append((invoice, owed))
    return found


def _payable(organisation: Organisation, ends: dt.date) -> dict[str, list[tuple[Any, Decimal]]]:
    """The same of vendors and bills."""
    found: dict[str, list[tuple[Any, Decimal]]] = defaultdict(list)
    for bill in _living(organisation, "bills"):
        if bill.date <= ends and (owed := bill.balance + _later(bill.applied, ends)):
            found[bill.contact.id].append((bill, owed))
    return found


def _customer_credits(organisation: Organisation, ends: dt.date) -> dict[str, Decimal]:
    """By customer, what is left of credit notes and payments, in the base currency."""
    found: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for note in _living(organisation, "creditnotes"):
        if note.date <= ends:
            left = note.balance + _later(note.applications, ends) + _later(note.refunds, ends)
            found[note.contact.id] += _base(left, note.exchange_rate)
    for payment in _records(organisation, "customerpayments"):
        if payment.date <= ends:
            left = payment.unused + _later(payment.applications, ends) + _later(payment.refunds, ends)
            found[payment.contact.id] += _base(left, payment.exchange_rate)
    return found


def _vendor_credits(organisation: Organisation, ends: dt.date) -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(lambda: ZERO)
    sources = [*_living(organisation, "vendorcredits"), *_records(organisation, "vendorpayments")]
    for source in sources:
        if source.date <= ends:
            left = source.balance + _later(source.applied, ends)
            found[source.contact.id] += _base(left, source.exchange_rate)
    return found


def _ageing(found: Mapping[str, list[tuple[Any, Decimal]]], day: dt.date) -> Rows:
    rows = []
    for contact_id, documents in found.items():
        buckets = [ZERO] * 5
        total = overdue = fcy = ZERO
        for document, owed in documents:
            amount, late = _base(owed, document.exchange_rate), (day - document.due_date).days
            buckets[0 if late <= 0 else min(4, 1 + (late - 1) // 15)] += amount
            total, fcy = total + amount, fcy + owed
            overdue += amount if late > 0 else ZERO
        contact = documents[0][0].contact
        names = ("current", "1-15 days", "16-30 days", "31-45 days", "> 45 days")
        rows.append(
            {
                "id": contact_id,
                "name": contact.name,
                "currency_code": contact.currency.code,
                "total": total,
                "overdue": overdue,
                "sent": total - overdue,
                "fcy_total": fcy,
                "intervals": [
                    {"interval": name, "amount": amount} for name, amount in zip(names, buckets, strict=True)
                ],
            }
        )
    return sorted(rows, key=lambda row: (row["name"], row["id"]))


def _ar_ageing(organisation: Organisation, window: Window) -> Rows:
    return _ageing(_receivable(organisation, window.ends), window.ends)


def _ap_ageing(organisation: Organisation, window: Window) -> Rows:
    return _ageing(_payable(organisation, window.ends), window.ends)


def _contacts(organisation: Organisation, *, vendors: bool) -> list[Contact]:
    found = [contact for contact in _records(organisation, "contacts") if contact.vendor == vendors]
    return sorted(found, key=lambda contact: (contact.name, contact.id))


def _sums(
    found: Mapping[str, list[tuple[Any, Decimal]]], left_over: Mapping[str, Decimal], contact: Contact
) -> tuple[Decimal, Decimal]:
    owed = sum((_base(left, one.exchange_rate) for one, left in found.get(contact.id, ())), ZERO)
    return owed, left_over.get(contact.id, ZERO)


def _customer_balances(organisation: Organisation, window: Window) -> Rows:
    owed, left_over = _receivable(organisation, window.ends), _customer_credits(organisation, window.ends)
    rows = []
    for contact in _contacts(organisation, vendors=False):
        if contact.id in owed or contact.id in left_over:
            balance, left = _sums(owed, left_over, contact)
            rows.append(
                {
                    "customer_id": contact.id,
                    "customer_name": contact.name,
                    "currency_id": contact.currency.id,
                    "invoiced_amount": balance,
                    "amount_received": left,
                    "closing_balance": balance - left,
                    "bcy_invoice_balance": balance,
                    "bcy_available_credits": left,
                }
            )
    return rows


def _vendor_balances(organisation: Organisation, window: Window) -> Rows:
    owed, left_over = _payable(organisation, window.ends), _vendor_credits(organisation, window.ends)
    rows = []
    for contact in _contacts(organisation, vendors=True):
        if contact.id in owed or contact.id in left_over:
            balance, left = _sums(owed, left_over, contact)
            rows.append(
                {
                    "vendor_id": contact.id,
                    "vendor_name": contact.name,
                    "billed_amount": balance,
                    "amount_paid": left,
                    "closing_balance": balance - left,
                }
            )
    return rows


def _up_to_date(maker: Maker) -> Maker:
    """The same of today, whatever day is asked for: what came later counts too."""
    return lambda organisation, _: maker(organisation, Window(dt.date.min, dt.date.max))


# what was traded


def _net(document: Transaction) -> Decimal:
    """The share of the lines' amounts that a discount on the whole document leaves."""
    if document.discount_kind in {"none", "item"} or not document.sub_total:
        return Decimal(1)
    return 1 - document.discount_total / document.sub_total


def _traded(organisation: Organisation, window: Window, entity: str, back: str) -> Rows:
    """By item: what was sold or bought less what came back, without tax."""
    quantity: dict[str, Decimal] = defaultdict(lambda: ZERO)
    amount: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for name, sign in ((entity, 1), (back, -1)):
        for document in _living(organisation, name):
            if window.has(document.date):
                share = _net(document)
                for line in document.lines:
                    quantity[line.item_id] += sign * line.quantity
                    amount[line.item_id] += sign * _base(line.item_total * share, document.exchange_rate)
    book, rows = organisation.book("items"), []
    deleted = {item.id: item for item in book.deleted}
    for item_id in sorted(amount):
        item = book.index.get(item_id) or deleted[item_id]
        number, total = quantity[item_id], amount[item_id]
        rows.append(
            {
                "item_id": item_id,
                "item_name": item.name,
                "item": {"sku": item.sku},
                "unit": item.unit,
                "quantity": number,
                "amount": total,
                "average_price": round_base(total / number) if number else ZERO,
            }
        )
    return rows


def _sales_by_item(organisation: Organisation, window: Window) -> Rows:
    rows = _traded(organisation, window, "invoices", "creditnotes")
    return [row | {"quantity_sold": row.pop("quantity")} for row in rows]


def _purchases_by_item(organisation: Organisation, window: Window) -> Rows:
    rows = _traded(organisation, window, "bills", "vendorcredits")
    return [row | {"quantity_purchased": row.pop("quantity")} for row in rows]


def _sales_by_customer(organisation: Organisation, window: Window) -> Rows:
    rows: dict[str, Document] = {}
    for name, sign in (("invoices", 1), ("creditnotes", -1)):
        for document in _living(organisation, name):
            if window.has(document.date):
                row = rows.setdefault(
                    document.contact.id,
                    {
                        "customer_id": document.contact.id,
                        "customer_name": document.contact.name,
                        "count": 0,
                        "sales": ZERO,
                        "sales_with_tax": ZERO,
                    },
                )
                net = document.sub_total * _net(document)
                row["count"] += sign > 0
                row["sales"] += sign * _base(net, document.exchange_rate)
                row["sales_with_tax"] += sign * _base(net + document.tax_total, document.exchange_rate)
    return sorted(rows.values(), key=lambda row: (row["customer_name"], row["customer_id"]))


def _payments(organisation: Organisation, window: Window) -> Rows:
    return [
        {
            "payment_id": payment.id,
            "payment_number": payment.number,
            "date": payment.date.isoformat(),
            "customer_id": payment.contact.id,
            "customer_name": payment.contact_name,
            "amount": payment.amount,
            "unused_amount": payment.amount - used(payment) - refunded(payment),
            "bcy_amount": _base(payment.amount, payment.exchange_rate),
            "bcy_unused_amount": _base(payment.unused, payment.exchange_rate),
        }
        for payment in _records(organisation, "customerpayments")
        if window.has(payment.date)
    ]


def _vendor_payments(organisation: Organisation, window: Window) -> Rows:
    return [
        {
            "payment_id": payment.id,
            "payment_number": payment.number,
            "date": payment.date.isoformat(),
            "vendor_name": payment.contact_name,
            "amount": payment.amount,
            "unused_amount": payment.balance,
            "bcy_amount": _base(payment.amount, payment.exchange_rate),
            "bcy_unused_amount": _base(payment.balance, payment.exchange_rate),
            "bill_numbers": ", ".join(one.bill.number for one in payment.applied),
        }
        for payment in _records(organisation, "vendorpayments")
        if window.has(payment.date)
    ]


def _stock(organisation: Organisation, _: Window) -> Rows:
    return [
        {
            "item_id": item.id,
            "item_name": item.name,
            "sku": item.sku,
            "quantity_available": Decimal(item.on_hand),
            "quantity_available_for_sale": Decimal(item.on_hand - item.committed),
            "quantity_demanded": Decimal(item.committed),
        }
        for item in _records(organisation, "items")
        if item.tracked
    ]


def _nested(key: str) -> Callable[[Rows], Document]:
    def wrap(rows: Rows) -> Document:
        def total(name: str) -> Decimal:
            return sum((row[name] for row in rows), ZERO)

        sums = {name: total(name) for name in ("total", "overdue", "sent")}
        return {key: sums | {"intervals": [], "group_list": [{"group_list": rows}]}}

    return wrap


def _flat(key: str) -> Callable[[Rows], Document]:
    return lambda rows: {key: rows}


def _below(key: str, inner: str) -> Callable[[Rows], Document]:
    return lambda rows: {key: [{inner: rows}]}


_TRADE = ("TransactionDate",)
REPORTS: dict[str, Report] = {
    "aragingsummary": Report(("InvoiceDueDate", "InvoiceDate"), _ar_ageing, _nested("invoice"), as_of=True),
    "apagingsummary": Report(("BillDueDate", "BillDate"), _ap_ageing, _nested("bills"), as_of=True),
    "customerbalancesummary": Report(_TRADE, _customer_balances, _flat("customerbalancesummary"), as_of=True),
    "vendorbalancesummary": Report(_TRADE, _vendor_balances, _flat("vendorbalancesummary"), as_of=True),
    "customerbalances": Report(
        _TRADE, _up_to_date(_customer_balances), _flat("customerbalances"), as_of=True
    ),
    "vendorbalances": Report(_TRADE, _up_to_date(_vendor_balances), _flat("vendorbalances"), as_of=True),
    "salesbyitem": Report(_TRADE, _sales_by_item, _flat("sales")),
    "salesbycustomer": Report(_TRADE, _sales_by_customer, _flat("sales")),
    "purchasesbyitem": Report(_TRADE, _purchases_by_item, _below("purchases_by_item", "purchase")),
    "customerpayments": Report(("PaymentDate",), _payments, _flat("customerpayments")),
    "vendorpayments": Report(("PaymentDate",), _vendor_payments, _below("vendor_payments", "vendorpayments")),
    "inventorysummary": Report(_TRADE, _stock, _below("inventory", "item_details"), as_of=True),
}


def report(organisation: Organisation, path: str, query: Mapping[str, str], traps: Traps) -> str:
    """The answer to ``GET /reports/{name}``.

    Raises:
        ApiError: no such report, or a trap says so.
        InvalidValueError: a parameter cannot be read.
    """
    name = path.removeprefix(PREFIX)
    trap = traps.by_report.get(name, "")
    if name not in REPORTS or trap == "missing":
        raise ApiError(404, 5, "Invalid URL Passed")
    if trap == "unauthorised":
        raise ApiError(401, 57, "You are not authorized to perform this operation")
    found = REPORTS[name]
    page, per_page = _number(query, "page", 1), min(_number(query, "per_page", 200), PER_PAGE)
    with organisation.lock:
        today = organisation.calendar.day(organisation.now())
        window, applied = _window(found, query, today)
        if trap == "echo":
            yesterday = window.ends - dt.timedelta(days=1)
            window = Window(min(window.begins, yesterday), yesterday)
        elif name == "inventorysummary":
            # the stock of a day long past is not known here: it is told of today, and says so
            recent = window.ends >= today - dt.timedelta(days=1)
            window = Window(window.begins, window.ends if recent else today)
        rows = found.rows(organisation, window)
    start = 0 if trap == "no_pages" else (page - 1) * per_page
    more = trap == "no_pages" or start + per_page < len(rows)
    context: Document = {
        "page": page,
        "per_page": per_page,
        "has_more_page": more,
        "report_name": name,
        "applied_filter": applied,
        "from_date": window.begins.isoformat(),
        "to_date": window.ends.isoformat(),
        "cash_based": query.get("usestate", "true") != "false" or query.get("cash_based", "false") == "true",
        "sort_column": "",
        "sort_order": "A",
    }
    if name.endswith("agingsummary"):
        context |= {"as_of_date": window.ends.isoformat(), "interval_type": "days", "interval_range": 15}
        context["aging_by"] = (query.get("filter_by") or found.dates[0]).partition(".")[0].lower()
    document = found.wrap(_spoilt(rows[start : start + per_page], trap if page == 1 else ""))
    if trap == "other_form":
        document = {f"{key}_v2": {"rows": value} for key, value in document.items()}
    return encode({"code": 0, "message": "success", **document, "page_context": context})


def _window(found: Report, query: Mapping[str, str], today: dt.date) -> tuple[Window, str]:
    """The days a report is of, and the name of that filter."""
    asked = query.get("filter_by", "")
    custom = asked in {f"{date}.CustomDate" for date in found.dates}
    begins = dt.date(1970, 1, 1) if found.as_of else today.replace(day=1)
    ends = dt.date.fromisoformat(parse_date("to_date", query.get("to_date") or today.isoformat()))
    if "from_date" in query and not found.as_of:
        first = dt.date.fromisoformat(parse_date("from_date", query["from_date"]))
    else:
        first = begins
    if not custom:
        return Window(begins, today), f"{found.dates[0]}.{'Today' if found.as_of else 'ThisMonth'}"
    return Window(first, ends), asked


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name) or str(default)
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise InvalidValueError(name)
    return int(text)


def _spoilt(rows: Rows, trap: str) -> Rows:
    """The rows with what a trap does to their amounts."""
    if trap == "texts":
        return [
            {key: f"${value:,.2f}" if isinstance(value, Decimal) else value for key, value in row.items()}
            for row in rows
        ]
    if trap == "cent" and rows:
        first = {
            key: value + _CENT if isinstance(value, Decimal) else value for key, value in rows[0].items()
        }
        return [first, *rows[1:]]
    return rows
