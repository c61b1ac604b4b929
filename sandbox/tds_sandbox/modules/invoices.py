"""Invoices: documents with lines that customers pay, credit, and have written off."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tds_sandbox import vocabulary as words
from tds_sandbox.books import ABSENT, FULL, Books, EditKind, Entity, Fault, Predicate
from tds_sandbox.errors import SandboxError
from tds_sandbox.jsontext import Document
from tds_sandbox.modules.contacts import Contact
from tds_sandbox.modules.documents import (
    HUNDRED,
    LINE_COUNTS,
    Line,
    Transaction,
    back_dated,
    carry_receivable,
    date_parameter,
    draw_discount,
    edit_notes,
    exchange_rate,
    favourites,
    line_edits,
    lines_shown,
    list_address,
    new_line,
    note_uses,
    shown,
    text_field,
    volume_times,
)
from tds_sandbox.modules.items import Item
from tds_sandbox.modules.shapes import custom_field_hash, flatten_custom_fields, shapes
from tds_sandbox.money import ZERO, Address, Terms, round_base
from tds_sandbox.profile import INVOICES

_ROW, _DETAIL, _LINE = shapes("invoices", "row", "detail", "line")
_UNPAID = frozenset({"sent", "viewed", "overdue", "partially_paid"})


@dataclass(slots=True, kw_only=True)
class Invoice(Transaction):
    """An invoice."""

    due_date: dt.date
    email: str
    terms: Terms
    salesperson: str
    driver: str
    payment_made: Decimal = ZERO
    credits_applied: Decimal = ZERO
    write_off: Decimal = ZERO
    last_payment: dt.date | None = None
    viewed: int | None = None

    @property
    def customer_id(self) -> str:
        """The contact's id."""
        return self.contact.id

    @property
    def paid(self) -> Decimal:
        """All that reduces the balance."""
        return self.payment_made + self.credits_applied + self.write_off


def _open_status(invoice: Invoice, today: dt.date) -> str:
    if invoice.payment_made or invoice.credits_applied:
        return "partially_paid"
    if invoice.due_date < today:
        return "overdue"
    return "viewed" if invoice.viewed else "sent"


def _after_edit(books: Books, invoice: Invoice) -> None:
    """Reckon anew, set the status that follows, and carry the difference to the customer's balance."""
    owed = _owed(invoice)
    invoice.reckon()
    if invoice.status in _UNPAID or invoice.status == "paid":
        today = books.calendar.day(books.now())
        settled = invoice.balance == 0 and invoice.total > 0
        invoice.status = "paid" if settled else _open_status(invoice, today)
    carry_receivable(books, invoice.contact, _owed(invoice) - owed)


def _owed(invoice: Invoice) -> Decimal:
    return invoice.balance if invoice.status in _UNPAID else ZERO


def _make_line(books: Books, invoice: Invoice, rng: random.Random) -> Line:
    item = rng.choice(books.book("items").records)
    return new_line(books, item, invoice.currency, rng, price=item.rate, taxed=None)


def is_unpaid(invoice: Invoice) -> bool:
    """Whether a payment or a credit can be applied to it."""
    return invoice.status in _UNPAID and invoice.balance > 0


def settle(books: Books, invoice: Invoice, *, payment: Decimal = ZERO, credit: Decimal = ZERO) -> None:
    """A payment or credit reaches the invoice today, or is taken back where it is negative."""
    owed = _owed(invoice)
    today = books.calendar.day(books.now())
    invoice.payment_made += payment
    invoice.credits_applied += credit
    if payment > 0:
        invoice.last_payment = max(today, invoice.date)
    elif not invoice.payment_made:
        invoice.last_payment = None
    invoice.settle()
    invoice.status = "paid" if invoice.balance == 0 else _open_status(invoice, today)
    carry_receivable(books, invoice.contact, _owed(invoice) - owed)


def _pay(books: Books, invoice: Invoice, rng: random.Random) -> None:
    third = invoice.currency.round(invoice.balance / 3)
    part = third if third and rng.random() < 0.4 else invoice.balance
    payments = books.books.get("customerpayments")
    if payments and payments.records:
        payments.entity.collect(books, invoice, part, rng)
    else:
        settle(books, invoice, payment=part)


def _send(books: Books, invoice: Invoice, _: random.Random) -> None:
    invoice.status = "sent"
    carry_receivable(books, invoice.contact, invoice.balance)
    _after_edit(books, invoice)


def _view(books: Books, invoice: Invoice, _: random.Random) -> None:
    invoice.viewed = books.now()
    _after_edit(books, invoice)


def _void(books: Books, invoice: Invoice, _: random.Random) -> None:
    owed = _owed(invoice)
    invoice.status = "void"
    invoice.reckon()
    carry_receivable(books, invoice.contact, -owed)


def _edit_due_date(books: Books, invoice: Invoice, rng: random.Random) -> None:
    invoice.due_date += timedelta(days=rng.randrange(1, 30))
    _after_edit(books, invoice)


def _edit_driver(_: Books, invoice: Invoice, rng: random.Random) -> None:
    invoice.driver = f"{rng.choice(words.ARABIC_FIRST)} {rng.randrange(1, 10**4)}"


def _editable(invoice: Invoice) -> bool:
    # Zoho lets users change a paid invoice too, but not below what was paid for it.
    return invoice.status != "void" and not invoice.paid


def _default_address(address: Address) -> Document:
    return {
        "zip": address.zip,
        "country": address.country,
        "address": address.address,
        "city": address.city,
        "phone": address.phone,
        "city_code": "",
        "street2": address.street2,
        "state": address.state,
        "fax": address.fax,
        "state_code": "",
    }


class Invoices(Entity[Invoice]):
    """``/invoices``."""

    name = "invoices"
    record_key = "invoice"
    id_key = "invoice_id"
    noun = "Invoice"
    report_name = "Invoices"
    scope = "invoices.READ"
    default_filter = "Status.All"
    default_sort = ("created_time", "D")
    honours_modified_filter = True
    silent_keys = frozenset({"contact"})
    context_extra = {"seller_app_sales_channels": ""}  # noqa: RUF012 - a ClassVar by the base's annotation

    def __init__(self) -> None:
        def status(*names: str) -> Predicate[Invoice]:
            return lambda invoice: invoice.status in names

        self.filters: dict[str, Predicate[Invoice]] = {
            "Status.All": lambda _: True,
            "Status.Sent": status("sent"),
            "Status.Draft": status("draft"),
            "Status.OverDue": status("overdue"),
            "Status.Paid": status("paid"),
            "Status.Void": status("void"),
            "Status.Unpaid": status(*_UNPAID),
            "Status.PartiallyPaid": status("partially_paid"),
            "Status.Viewed": status("viewed"),
        }
        self.sort_keys: dict[str, Callable[[Invoice], Any]] = {
            "customer_name": lambda invoice: (invoice.contact_name.casefold(), invoice.id),
            "invoice_number": lambda invoice: (invoice.number, invoice.id),
            "date": lambda invoice: (invoice.date, invoice.id),
            "due_date": lambda invoice: (invoice.due_date, invoice.id),
            "total": lambda invoice: (invoice.total, invoice.id),
            "balance": lambda invoice: (invoice.balance, invoice.id),
            "created_time": lambda invoice: (invoice.created, invoice.id),
            "last_modified_time": lambda invoice: (invoice.modified, invoice.id),
        }
        self.edits: dict[str, EditKind[Invoice]] = {
            **line_edits(_after_edit, _editable, _make_line),
            "payment": EditKind(_pay, is_unpaid),
            "send": EditKind(_send, lambda invoice: invoice.status == "draft"),
            "view": EditKind(_view, lambda invoice: invoice.status in _UNPAID and not invoice.viewed),
            "due_date": EditKind(_edit_due_date, lambda invoice: invoice.status in _UNPAID),
            "notes": EditKind(edit_notes),
            "custom_field": EditKind(_edit_driver),
            "void": EditKind(_void, lambda invoice: invoice.status != "void" and not invoice.paid),
        }
        self.faults = (
            Fault("impossible date", "date", "2026-02-30", "there is no 30 February"),
            Fault("bad total", "total", "12,5x", "not a number"),
            Fault("empty id", "invoice_id", "", "the id is empty", frozenset({"list"})),
            Fault(
                "bad line rate",
                "line_items.0.rate",
                "12,5x",
                "not a number",
                FULL,
            ),
            Fault("missing id", "invoice_id", ABSENT, "no id", frozenset({"list"})),
        )

    def generate(self, books: Books, count: int, rng: random.Random) -> list[Invoice]:
        """Invoices over the months before the end of the data, at the real volume of a month."""
        if not count:
            return []
        items = books.book("items").records
        customers = [c for c in books.book("contacts").records if not c.vendor]
        if not items or not customers:
            raise SandboxError("invoices need items and customers")
        times = volume_times(books, count, INVOICES.per_month, rng)
        statuses = [name for name, _ in INVOICES.statuses]
        weights = [weight for _, weight in INVOICES.statuses]
        today = books.calendar.day(books.data_ends)
        draw = favourites(customers, rng)
        invoices = []
        for number, created in enumerate(times, 1):
            invoice = self._make(books, number=number, created=created, customer=draw(), items=items, rng=rng)
            status = rng.choices(statuses, weights)[0]
            self._settle(books, invoice, status, today, rng)
            invoice.modified = books.modified_after(rng, created)
            invoices.append(invoice)
        return invoices

    @staticmethod
    def _make(
        books: Books,
        *,
        number: int,
        created: int,
        customer: Contact,
        items: list[Item],
        rng: random.Random,
    ) -> Invoice:
        per_mille = rng.randrange(1000)
        currency = customer.currency
        day = back_dated(books.calendar.day(created), rng)
        days = customer.terms.days if customer.terms.days != 99999 else 0
        kinds = [kind for kind, _ in INVOICES.discounts]
        kind = rng.choices(kinds, [weight for _, weight in INVOICES.discounts])[0]
        tax = rng.choice(books.taxes) if rng.randrange(INVOICES.rows) < INVOICES.taxed else None
        # The first twelve make sure that even a small organisation has an invoice of every length.
        size = number if number <= 12 else rng.choice(LINE_COUNTS)
        chosen = (rng.choice(items) for _ in range(size))
        lines = [new_line(books, item, currency, rng, price=item.rate, taxed=tax) for item in chosen]
        discount = draw_discount(kind, lines, currency, rng)
        small = Decimal(1) if currency.precision else Decimal(1000)
        invoice = Invoice(
            id=books.new_id("invoices", rng.randrange(4, 90)),
            created=created,
            modified=created,
            number=f"INV-{number:06d}",
            reference=f"PO-{rng.randrange(100, 9999)}" if rng.random() < 0.1 else "",
            date=day,
            due_date=day + timedelta(days=days),
            contact=customer,
            contact_name=customer.name,
            email=customer.email,
            billing=customer.billing,
            shipping=customer.shipping,
            currency=currency,
            exchange_rate=exchange_rate(currency, rng),
            terms=customer.terms,
            status="draft",
            lines=lines,
            discount_kind=kind,
            discount=discount,
            before_tax=rng.random() < 0.8,
            shipping_charge=small * rng.randrange(2, 15) if per_mille < INVOICES.shipping else ZERO,
            adjustment=-currency.round(small / 4) if per_mille >= 1000 - INVOICES.adjustment else ZERO,
            notes=rng.choice(words.NOTES),
            salesperson=rng.choice(words.SALESPEOPLE),
            driver=rng.choice(words.ARABIC_FIRST) if rng.random() < 0.2 else "",
        )
        note_uses(books, invoice)
        invoice.reckon()
        if invoice.total < 5 * small:
            invoice.adjustment = ZERO  # would make the total negative
            invoice.reckon()
        return invoice

    @staticmethod
    def _settle(books: Books, invoice: Invoice, status: str, today: dt.date, rng: random.Random) -> None:
        """Give a new invoice its status, and the payments that belong to it."""
        rounded = invoice.currency.round
        if status == "partially_paid" and invoice.total <= 1:
            status = "open"
        if status == "partially_paid":
            invoice.payment_made = rounded(invoice.total * rng.randrange(10, 90) / HUNDRED)
            if rng.random() < 0.2:
                invoice.credits_applied = rounded((invoice.total - invoice.payment_made) / 4)
        elif status == "paid":
            invoice.payment_made = invoice.total
            if rng.random() < 0.05:
                invoice.credits_applied = rounded(invoice.total / 5)
            elif rng.random() < 0.02:
                invoice.write_off = rounded(invoice.total / 100)
            invoice.payment_made -= invoice.credits_applied + invoice.write_off
        elif status == "open":
            if rng.random() < 0.3:
                invoice.viewed = min(invoice.created + rng.randrange(60, 200_000), books.data_ends)
            if rng.random() < 0.4:
                # Agreed by telephone: some young invoices are due later than the terms say.
                invoice.due_date = invoice.date + timedelta(days=30)
            status = _open_status(invoice, today)
        if invoice.payment_made:
            invoice.last_payment = min(invoice.date + timedelta(days=rng.randrange(0, 30)), today)
        invoice.status = status
        invoice.reckon()
        if status in _UNPAID:
            invoice.contact.receivable += invoice.balance

    def create(self, books: Books, rng: random.Random) -> Invoice:
        """A new invoice, sent to its customer."""
        book = books.book("invoices")
        items = books.book("items").records
        customers = [c for c in books.book("contacts").records if not c.vendor]
        if not items or not customers:
            raise SandboxError("invoices need items and customers")
        number = len(book.records) + len(book.deleted) + 1
        invoice = self._make(
            books,
            number=number,
            created=books.now(),
            customer=rng.choice(customers),
            items=items,
            rng=rng,
        )
        invoice.status = "sent"
        invoice.reckon()
        carry_receivable(books, invoice.contact, invoice.balance)
        return invoice

    def on_delete(self, books: Books, invoice: Invoice) -> None:
        """The items and the customer are free again, and nothing is owed."""
        note_uses(books, invoice, -1)
        carry_receivable(books, invoice.contact, -_owed(invoice))

    def _custom_fields(self, books: Books, invoice: Invoice) -> list[Document]:
        return text_field(books, "cf_driver", "Driver", invoice.driver)

    def _shown(self, books: Books, invoice: Invoice) -> Document:
        """What the list and the single invoice show alike."""
        stamp = books.calendar.stamp
        fields = self._custom_fields(books, invoice)
        return shown(books, invoice) | {
            "invoice_id": invoice.id,
            "invoice_number": invoice.number,
            "due_date": invoice.due_date.isoformat(),
            "email": invoice.email,
            "write_off_amount": invoice.write_off,
            "last_payment_date": invoice.last_payment.isoformat() if invoice.last_payment else "",
            "is_viewed_by_client": invoice.viewed is not None,
            "client_viewed_time": "" if invoice.viewed is None else stamp(invoice.viewed),
            "salesperson_name": invoice.salesperson,
            "custom_fields": fields,
            "custom_field_hash": custom_field_hash(fields),
        }

    def list_row(self, books: Books, invoice: Invoice) -> Document:
        """The keys of the recorded list, and ``cf_*``."""
        late = (books.calendar.day(books.data_ends) - invoice.due_date).days
        row = _ROW.fill(
            self._shown(books, invoice)
            | {
                "company_name": invoice.contact.company,
                "due_days": f"Overdue by {late} days" if invoice.status == "overdue" else "",
                "billing_address": list_address(invoice.billing),
                "shipping_address": list_address(invoice.shipping),
                "country": invoice.billing.country,
                "phone": invoice.billing.phone,
                "updated_time": books.calendar.stamp(invoice.modified),
            }
        )
        return row | flatten_custom_fields(row["custom_fields"])

    def detail(self, books: Books, invoice: Invoice) -> Document:
        """The keys of the recorded single invoice."""
        contact, shipping, exchange = invoice.contact, invoice.shipping_charge, Decimal(invoice.exchange_rate)
        amounts = self._shown(books, invoice) | {
            "total_taxable_amount": invoice.taxable,
            "payment_made": invoice.payment_made,
            "credits_applied": invoice.credits_applied,
        }
        in_base = {
            f"bcy_{key}": round_base(amounts[key] * exchange)
            for key in ("shipping_charge", "adjustment", "sub_total", "discount_total", "tax_total", "total")
        }
        return _DETAIL.fill(
            amounts
            | in_base
            | {
                "shipping_charge_exclusive_of_tax": shipping,
                "shipping_charge_inclusive_of_tax": shipping,
                "shipping_charge_exclusive_of_tax_formatted": invoice.currency.formatted(shipping),
                "shipping_charge_inclusive_of_tax_formatted": invoice.currency.formatted(shipping),
                "payment_terms": invoice.terms.days,
                "payment_terms_label": invoice.terms.label,
                "payment_terms_id": invoice.terms.id,
                "line_items": lines_shown(books, invoice, _LINE, "Sales"),
                "account_id": books.accounts["Accounts Receivable"],
                "adjustment_description": "Adjustment" if invoice.adjustment else "",
                "contact": {
                    "customer_balance": contact.receivable,
                    "credit_limit": ZERO,
                    "unused_customer_credits": contact.credits,
                    "is_credit_limit_migration_completed": True,
                },
                "invoice_url": f"https://invoices.example.com/secure?CInvoiceID={invoice.id} ",
                "created_date": books.calendar.stamp(invoice.created)[:10],
                "customer_default_billing_address": _default_address(contact.billing),
            }
        )

    def webhook_extra(self, books: Books, invoice: Invoice) -> Document:
        """The flattened custom fields."""
        return flatten_custom_fields(self._custom_fields(books, invoice))

    def refuses_deletion(self, _: Books, invoice: Invoice) -> bool:
        """Invoices with payments or credits cannot be deleted."""
        return bool(invoice.paid)

    def retire(self, books: Books, invoice: Invoice) -> str:
        """Its payments are taken back, then it is voided; it stays in the list."""
        owed = _owed(invoice)
        for book in books.books.values():
            book.entity.release(books, invoice)
        invoice.payment_made = invoice.credits_applied = invoice.write_off = ZERO
        invoice.last_payment = None
        invoice.status = "void"
        invoice.reckon()
        carry_receivable(books, invoice.contact, -owed)
        return "void"

    def parameter(self, _: Books, name: str, value: str) -> Predicate[Invoice] | None:
        """``status``, ``customer_id``, and the documented date filters."""
        if name == "status":
            wanted = self.filters["Status.Unpaid"] if value == "unpaid" else None
            return wanted or (lambda invoice: invoice.status == value)
        if name == "customer_id":
            return lambda invoice: invoice.customer_id == value
        return date_parameter(name, value, ("date", "due_date"))
