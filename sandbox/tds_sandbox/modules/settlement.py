"""What customer payments and credit notes share: applying an amount to invoices, and taking it back."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from tds_sandbox.books import Books
from tds_sandbox.modules.contacts import Contact
from tds_sandbox.modules.documents import HUNDRED
from tds_sandbox.modules.invoices import Invoice, is_unpaid, settle
from tds_sandbox.money import ZERO, Currency


@dataclass(slots=True, eq=False)
class Application:
    """So much for one invoice, whose balance and due date are kept as they were after it."""

    id: str
    invoice: Invoice
    amount: Decimal
    date: dt.date
    balance: Decimal
    due_date: dt.date


@dataclass(slots=True, eq=False)
class Refund:
    """So much given back to the customer."""

    id: str
    date: dt.date
    amount: Decimal
    mode: str


class Source(Protocol):
    """What an amount is taken from."""

    id: str
    contact: Contact
    currency: Currency
    applications: list[Application]
    refunds: list[Refund]


def used(source: Source) -> Decimal:
    """What was applied to invoices."""
    return sum((application.amount for application in source.applications), ZERO)


def refunded(source: Source) -> Decimal:
    """What was given back."""
    return sum((refund.amount for refund in source.refunds), ZERO)


def waiting(books: Books, customer: Contact) -> list[Invoice]:
    """The customer's unpaid invoices, the oldest first; those with planted faults are left alone."""
    found = [
        invoice
        for invoice in books.book("invoices").records
        if invoice.contact is customer and is_unpaid(invoice) and invoice.id not in books.planted
    ]
    return sorted(found, key=lambda invoice: (invoice.date, invoice.id))


def apply(books: Books, source: Source, invoice: Invoice, amount: Decimal, *, credit: bool) -> None:
    """Apply an amount to an invoice: its balance, status and time change, and what the customer owes."""
    if credit:
        settle(books, invoice, credit=amount)
    else:
        settle(books, invoice, payment=amount)
    today = books.calendar.day(books.now())
    family = "credits" if credit else "payments"
    source.applications.append(
        Application(books.new_id(family), invoice, amount, today, invoice.balance, invoice.due_date)
    )
    books.follow("invoices", invoice, "credit" if credit else "payment")


def give_back(books: Books, applications: Iterable[Application], *, credit: bool) -> None:
    """Undo at the invoices what was applied; the applications themselves stay with their source."""
    for application in applications:
        if credit:
            settle(books, application.invoice, credit=-application.amount)
        else:
            settle(books, application.invoice, payment=-application.amount)
        books.follow("invoices", application.invoice, "credit" if credit else "payment")


def spend(books: Books, source: Source, amount: Decimal, rng: random.Random, *, credit: bool) -> None:
    """Apply up to ``amount`` to one to three of the customer's unpaid invoices."""
    for invoice in waiting(books, source.contact)[: rng.randrange(1, 4)]:
        part = min(amount, invoice.balance)
        if part <= 0:
            break
        apply(books, source, invoice, part, credit=credit)
        amount -= part


@dataclass(slots=True)
class Part:
    """A part of an invoice that a generated payment or credit has covered."""

    invoice: Invoice
    amount: Decimal
    date: dt.date
    balance: Decimal


def cover(parts: list[Part], count: int, rng: random.Random, *, together: float) -> list[list[Part]]:
    """Spread what was paid for invoices over at most ``count`` payments, each of one customer.

    Args:
        parts: one for each invoice, in order of their dates.
        count: payments wanted. Where fewer are wanted than there are invoices, customers paid several at
            once; where even that does not do, the oldest stay without a payment.
        rng: of the spread.
        together: the share of invoices that were paid with the one before.
    """
    customers: dict[str, list[list[Part]]] = {}
    for part in parts:
        groups = customers.setdefault(part.invoice.contact.id, [])
        if groups and len(groups[-1]) < 5 and rng.random() < together:
            groups[-1].append(part)
        else:
            groups.append([part])
    total = sum(map(len, customers.values()))
    while total > count and any(len(groups) > 1 for groups in customers.values()):
        for groups in customers.values():
            for place in range(len(groups) - 2, -1, -2):
                if total > count:
                    groups[place] += groups.pop(place + 1)
                    total -= 1
    listed = [group for groups in customers.values() for group in groups]
    listed.sort(key=lambda group: (group[0].date, group[0].invoice.id))
    return listed[-count:] if count else []


def split(groups: list[list[Part]], count: int, rng: random.Random) -> list[list[Part]]:
    """Cut payments of one invoice in two, until there are ``count`` or all are cut."""
    alone = [group for group in groups if len(group) == 1]
    result = list(groups)
    for group in rng.sample(alone, min(len(alone), max(0, count - len(groups)))):
        last = group[0]
        first = last.invoice.currency.round(last.amount * rng.randrange(20, 80) / HUNDRED)
        if not 0 < first < last.amount:
            continue
        last.amount -= first
        days = max(0, (last.date - last.invoice.date).days)
        day = last.date - dt.timedelta(days=rng.randrange(0, days + 1))
        result.append([Part(last.invoice, first, day, last.balance + last.amount)])
    return result
