"""Customer payments: one payment over one or several invoices, and what is left of it.

``amount = applied to invoices + unused_amount + refunded``. The generated ones account for what the generated
invoices say was paid, as far as their number goes; the rest are advances.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tds_sandbox.books import ABSENT, FULL, Books, EditKind, Entity, Fault, Predicate, Record
from tds_sandbox.errors import SandboxError
from tds_sandbox.jsontext import Document, RawNumber
from tds_sandbox.modules.contacts import Contact
from tds_sandbox.modules.documents import carry_credits, date_parameter, exchange_rate
from tds_sandbox.modules.invoices import Invoice
from tds_sandbox.modules.settlement import (
    Application,
    Part,
    Refund,
    apply,
    cover,
    give_back,
    refunded,
    spend,
    split,
    used,
    waiting,
)
from tds_sandbox.modules.shapes import currency_shown, shapes
from tds_sandbox.money import ZERO, Currency, round_base

_ROW, _DETAIL, _ALLOCATION = shapes("customerpayments", "row", "detail", "allocation")
_MODES = (("cash", 55), ("banktransfer", 22), ("check", 10), ("creditcard", 5), ("others", 8))
_FILTERS = {
    "Check": "check",
    "Cash": "cash",
    "BankTransfer": "banktransfer",
    "CreditCard": "creditcard",
    "Others": "others",
}
_UNKNOWN_MODES = (
    "Paypal", "GoogleCheckout", "Credit", "Authorizenet", "BankRemittance", "Payflowpro", "Stripe",
    "TwoCheckout", "Braintree",
)  # fmt: skip
_ADVANCES = 0.03


@dataclass(slots=True, kw_only=True)
class Payment(Record):
    """A payment. Name and currency of the customer stay as they were then."""

    number: str
    date: dt.date
    contact: Contact
    contact_name: str
    currency: Currency
    exchange_rate: str
    mode: str
    amount: Decimal
    reference: str
    description: str
    applications: list[Application] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    unused: Decimal = ZERO

    @property
    def base_rate(self) -> Decimal:
        """Base currency units for one of the payment's."""
        return Decimal(self.exchange_rate)

    def reckon(self) -> None:
        """Compute what is left."""
        self.unused = self.amount - used(self) - refunded(self)


def _after_edit(books: Books, payment: Payment) -> None:
    """Reckon anew, and carry the difference to what the customer has to be credited."""
    before = payment.unused
    payment.reckon()
    carry_credits(books, payment.contact, payment.unused - before)


def _draw_mode(rng: random.Random) -> str:
    return rng.choices([mode for mode, _ in _MODES], [weight for _, weight in _MODES])[0]


def _edit_mode(_: Books, payment: Payment, rng: random.Random) -> None:
    payment.mode = rng.choice([mode for mode, _ in _MODES if mode != payment.mode])


def _edit_reference(_: Books, payment: Payment, rng: random.Random) -> None:
    payment.reference = f"TXN-{rng.randrange(10**5, 10**6)}"


def _edit_description(_: Books, payment: Payment, rng: random.Random) -> None:
    payment.description = f"دفعة {rng.randrange(1, 10**6)}"


def _raise_amount(books: Books, payment: Payment, rng: random.Random) -> None:
    payment.amount += (1 if payment.currency.precision else 250) * rng.randrange(1, 40)
    _after_edit(books, payment)


def _apply(books: Books, payment: Payment, rng: random.Random) -> None:
    spend(books, payment, payment.unused, rng, credit=False)
    _after_edit(books, payment)


def _take_back(books: Books, payment: Payment, rng: random.Random) -> None:
    application = payment.applications.pop(rng.randrange(len(payment.applications)))
    give_back(books, [application], credit=False)
    _after_edit(books, payment)


def _refund(books: Books, payment: Payment, _: random.Random) -> None:
    today = books.calendar.day(books.now())
    payment.refunds.append(Refund(books.new_id("payments"), today, payment.unused, payment.mode))
    _after_edit(books, payment)


class CustomerPayments(Entity[Payment]):
    """``/customerpayments``."""

    name = "customerpayments"
    record_key = "payment"
    id_key = "payment_id"
    noun = "Payment"
    report_name = "Payments Received"
    url = "payments"
    scope = "customerpayments.READ"
    default_filter = "PaymentMode.All"
    default_sort = ("date", "D")
    honours_modified_filter = False

    def __init__(self) -> None:
        def mode(name: str) -> Predicate[Payment]:
            return lambda payment: payment.mode == name

        self.filters: dict[str, Predicate[Payment]] = {
            "PaymentMode.All": lambda _: True,
            # Not documented here, but answered like the documented one.
            "Status.All": lambda _: True,
            **{f"PaymentMode.{shown}": mode(name) for shown, name in _FILTERS.items()},
            **{f"PaymentMode.{shown}": mode(shown.lower()) for shown in _UNKNOWN_MODES},
        }
        self.sort_keys: dict[str, Callable[[Payment], Any]] = {
            "date": lambda payment: (payment.date, payment.id),
            "payment_number": lambda payment: (int(payment.number), payment.id),
            "customer_name": lambda payment: (payment.contact_name.casefold(), payment.id),
            "amount": lambda payment: (payment.amount, payment.id),
            "created_time": lambda payment: (payment.created, payment.id),
            "last_modified_time": lambda payment: (payment.modified, payment.id),
        }
        self.edits: dict[str, EditKind[Payment]] = {
            "payment_mode": EditKind(_edit_mode),
            "reference": EditKind(_edit_reference),
            "description": EditKind(_edit_description),
            "amount": EditKind(_raise_amount),
            "apply": EditKind(_apply, lambda payment: payment.unused > 0 and payment.contact.receivable > 0),
            "take_back": EditKind(_take_back, lambda payment: bool(payment.applications)),
            "refund": EditKind(_refund, lambda payment: payment.unused > 0),
        }
        self.faults = (
            Fault("bad amount", "amount", "12,5x", "not a number"),
            Fault("impossible date", "date", "2026-02-30", "there is no 30 February"),
            Fault("missing id", "payment_id", ABSENT, "no id", frozenset({"list"})),
            Fault("bad allocation", "invoices.0.amount_applied", "12,5x", "not a number", FULL),
            Fault("empty id", "payment_id", "", "the id is empty", frozenset({"list"})),
            Fault("allocation without invoice", "invoices.0.invoice_id", "", "the id is empty", FULL),
        )

    def plantable(self, payment: Payment, fault: Fault) -> bool:
        """Only payments that were applied have allocations."""
        return bool(payment.applications) or not fault.path.startswith("invoices")

    def generate(self, books: Books, count: int, rng: random.Random) -> list[Payment]:
        """Payments for what the invoices say was paid; the invoices stay as they are."""
        if not count:
            return []
        customers = [c for c in books.book("contacts").records if not c.vendor]
        if not customers:
            raise SandboxError("payments need customers")
        parts = [
            Part(invoice, invoice.payment_made, invoice.last_payment, invoice.balance)
            for invoice in books.book("invoices").records
            if invoice.payment_made and invoice.last_payment
        ]
        parts.sort(key=lambda part: (part.date, part.invoice.id))
        wanted = count - round(count * _ADVANCES)
        groups = split(cover(parts, wanted, rng, together=0.15), wanted, rng)
        advances = count - len(groups)
        start = books.calendar.day(books.data_ends - 95 * 86_400)
        drafts: list[tuple[int, dt.date, Contact, list[Part]]] = []
        for group in groups:
            day = min(part.date for part in group)
            drafts.append((self._moment(books, day, rng), day, group[0].invoice.contact, group))
        for _ in range(advances):
            day = start + dt.timedelta(days=rng.randrange(94))
            drafts.append((self._moment(books, day, rng), day, rng.choice(customers), []))
        drafts.sort(key=lambda draft: draft[0])
        payments = []
        for number, (created, day, customer, group) in enumerate(drafts, 1):
            payment = self._make(books, number, created, customer, rng)
            payment.date = day
            payment.modified = books.modified_after(rng, created)
            self._allocate(books, payment, group, rng)
            payments.append(payment)
        return payments

    @staticmethod
    def _moment(books: Books, day: dt.date, rng: random.Random) -> int:
        opening = books.calendar.epoch(dt.datetime.combine(day, dt.time(8)))
        return min(opening + rng.randrange(10 * 3600), books.data_ends - 60)

    @staticmethod
    def _allocate(books: Books, payment: Payment, group: list[Part], rng: random.Random) -> None:
        """Apply a generated payment to invoices that count it already; some are larger than that."""
        payment.applications = [
            Application(
                books.new_id("payments"),
                part.invoice,
                part.amount,
                part.date,
                part.balance,
                part.invoice.due_date,
            )
            for part in group
        ]
        applied = used(payment)
        small = Decimal(5 if payment.currency.precision else 5000)
        payment.amount = applied
        if not group or rng.random() < 0.04:
            payment.amount += small * rng.randrange(1, 60)
        payment.reckon()
        if payment.unused and rng.random() < 0.2:
            payment.refunds.append(
                Refund(books.new_id("payments"), payment.date, payment.unused, payment.mode)
            )
            payment.reckon()
        payment.contact.credits += payment.unused

    @staticmethod
    def _make(books: Books, number: int, created: int, customer: Contact, rng: random.Random) -> Payment:
        books.uses[customer.id] += 1
        return Payment(
            id=books.new_id("payments", rng.randrange(3, 40)),
            created=created,
            modified=created,
            number=str(number),
            date=books.calendar.day(created),
            contact=customer,
            contact_name=customer.name,
            currency=customer.currency,
            exchange_rate=exchange_rate(customer.currency, rng),
            mode=_draw_mode(rng),
            amount=ZERO,
            reference=f"TXN-{rng.randrange(10**5, 10**6)}" if rng.random() < 0.2 else "",
            description="",
        )

    def _new(self, books: Books, customer: Contact, rng: random.Random) -> Payment:
        book = books.book(self.name)
        number = len(book.records) + len(book.deleted) + 1
        return self._make(books, number, books.now(), customer, rng)

    def create(self, books: Books, rng: random.Random) -> Payment:
        """A payment by a customer who owes something, an advance if nobody does."""
        customers = [c for c in books.book("contacts").records if not c.vendor]
        if not customers:
            raise SandboxError("payments need customers")
        debtors = [customer for customer in customers if customer.receivable > 0]
        payment = self._new(books, rng.choice(debtors or customers), rng)
        small = Decimal(5 if payment.currency.precision else 5000)
        owed = [invoice.balance for invoice in waiting(books, payment.contact)[: rng.randrange(1, 4)]]
        part = rng.choice((1, 1, 1, 2))
        payment.amount = payment.currency.round(sum(owed, ZERO) / part)
        if not payment.amount or rng.random() < 0.1:
            payment.amount += small * rng.randrange(1, 60)
        spend(books, payment, payment.amount, rng, credit=False)
        _after_edit(books, payment)
        return payment

    def collect(self, books: Books, document: Record, amount: Decimal, rng: random.Random) -> None:
        """A payment of so much for one invoice."""
        if not isinstance(document, Invoice):
            raise SandboxError(f"customers do not pay for {document.id}")
        payment = self._new(books, document.contact, rng)
        payment.amount = amount
        apply(books, payment, document, amount, credit=False)
        books.add(self.name, payment)

    def release(self, books: Books, document: Record) -> None:
        """Payments for the document keep their amount, as unused."""
        for payment in books.book(self.name).records:
            kept = [one for one in payment.applications if one.invoice is not document]
            if len(kept) < len(payment.applications):
                payment.applications = kept
                _after_edit(books, payment)
                books.follow(self.name, payment, "take_back")

    def on_delete(self, books: Books, payment: Payment) -> None:
        """Its invoices are unpaid again; the deleted payment keeps its last state."""
        books.uses[payment.contact.id] -= 1
        give_back(books, payment.applications, credit=False)
        carry_credits(books, payment.contact, -payment.unused)

    @staticmethod
    def _shown(books: Books, payment: Payment) -> Document:
        """What the list and the single payment show alike."""
        return {
            "payment_id": payment.id,
            "payment_number": payment.number,
            "date": payment.date.isoformat(),
            "payment_mode": payment.mode,
            "amount": payment.amount,
            "unused_amount": payment.unused,
            "account_id": books.accounts["Undeposited Funds"],
            "description": payment.description,
            "reference_number": payment.reference,
            "customer_id": payment.contact.id,
            "customer_name": payment.contact_name,
            "created_time": books.calendar.stamp(payment.created),
        }

    def list_row(self, books: Books, payment: Payment) -> Document:
        """The keys of the recorded list."""
        rate = payment.base_rate
        return _ROW.fill(
            self._shown(books, payment)
            | {
                "invoice_numbers": ", ".join(one.invoice.number for one in payment.applications),
                "payment_mode_formatted": payment.mode,
                "bcy_amount": round_base(payment.amount * rate),
                "bcy_unused_amount": round_base(payment.unused * rate),
                "bcy_refunded_amount": round_base(refunded(payment) * rate),
                "last_modified_time": books.calendar.stamp(payment.modified),
            }
        )

    @staticmethod
    def _allocation(payment: Payment, one: Application) -> Document:
        invoice = one.invoice
        return _ALLOCATION.fill(
            {
                "invoice_number": invoice.number,
                "invoice_payment_id": one.id,
                "invoice_id": invoice.id,
                "amount_applied": one.amount,
                "total": invoice.total,
                "balance": one.balance,
                "date": invoice.date.isoformat(),
                "due_date": one.due_date.isoformat(),
                "price_precision": payment.currency.precision,
                "apply_date": one.date.isoformat(),
            }
        )

    @staticmethod
    def _refund_row(payment: Payment, refund: Refund) -> Document:
        return {
            "payment_refund_id": refund.id,
            "payment_id": payment.id,
            "date": refund.date.isoformat(),
            "refund_mode": refund.mode,
            "reference_number": "",
            "payment_number": payment.number,
            "customer_name": payment.contact_name,
            "description": "",
            "amount_bcy": round_base(refund.amount * payment.base_rate),
            "amount_fcy": refund.amount,
        }

    def detail(self, books: Books, payment: Payment) -> Document:
        """The keys of the recorded single payment: ``updated_time``, and no ``last_modified_time``."""
        return _DETAIL.fill(
            self._shown(books, payment)
            | currency_shown(payment.currency)
            | {
                "created_by": books.user[1],
                "updated_time": books.calendar.stamp(payment.modified),
                "payment_number_suffix": payment.number,
                "customer_advance_account_id": books.accounts["Accounts Receivable"],
                "exchange_rate": RawNumber(payment.exchange_rate),
                "invoices": [self._allocation(payment, one) for one in payment.applications],
                "payment_refunds": [self._refund_row(payment, refund) for refund in payment.refunds],
                "template_id": books.template_id,
            }
        )

    def parameter(self, _: Books, name: str, value: str) -> Predicate[Payment] | None:
        """``customer_id``, ``payment_mode``, and the documented date filters."""
        if name == "customer_id":
            return lambda payment: payment.contact.id == value
        if name == "payment_mode":
            return lambda payment: payment.mode == value
        return date_parameter(name, value, ["date"])
