"""What a vendor is owed: bills, and the vendor credits and payments that settle them.

A bill's ``balance = total - payments - vendor credits``, 0 if void; a vendor credit's ``balance = total -
applied``; a payment's ``amount = applied to bills + balance``. A vendor is owed the sum of the open bills;
what is left of open credits and of payments may settle more of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal

from tds_sandbox.books import Books, Record
from tds_sandbox.modules.contacts import Contact
from tds_sandbox.modules.documents import Transaction
from tds_sandbox.money import ZERO, Address, Currency

OPEN = frozenset({"open", "overdue", "partially_paid"})
"""States in which a bill is owed."""


@dataclass(slots=True, eq=False)
class Applied:
    """So much of a payment or credit for one bill; its balance and due date are kept as they were then."""

    id: str
    bill: Bill
    source: Credit | VendorPayment
    amount: Decimal
    date: dt.date
    balance: Decimal
    due_date: dt.date


@dataclass(slots=True, kw_only=True, eq=False)
class Bill(Transaction):
    """A bill."""

    due_date: dt.date
    container: str = ""
    applied: list[Applied] = field(default_factory=list)

    def sum_of(self, kind: type[Credit] | type[VendorPayment]) -> Decimal:
        """What payments, or credits, have settled of it."""
        return sum((one.amount for one in self.applied if isinstance(one.source, kind)), ZERO)

    @property
    def paid(self) -> Decimal:
        """All that was settled."""
        return sum((one.amount for one in self.applied), ZERO)

    @property
    def owed(self) -> Decimal:
        """What the vendor is owed for it."""
        return self.balance if self.status in OPEN else ZERO


@dataclass(slots=True, kw_only=True, eq=False)
class Credit(Transaction):
    """What a vendor credits."""

    applied: list[Applied] = field(default_factory=list)

    @property
    def paid(self) -> Decimal:
        """What was applied to bills."""
        return sum((one.amount for one in self.applied), ZERO)

    @property
    def left(self) -> Decimal:
        """What bills may still be settled with."""
        return self.balance if self.status == "open" else ZERO

    def reckon(self) -> None:
        """Compute every amount, and whether something is left."""
        Transaction.reckon(self)
        if self.status in {"open", "closed"}:
            self.status = "open" if self.balance else "closed"


@dataclass(slots=True, kw_only=True, eq=False)
class VendorPayment(Record):
    """A payment to a vendor."""

    number: str
    date: dt.date
    contact: Contact
    contact_name: str
    billing: Address
    currency: Currency
    exchange_rate: str
    mode: str
    amount: Decimal
    reference: str
    applied: list[Applied] = field(default_factory=list)

    @property
    def balance(self) -> Decimal:
        """What is left of it."""
        return self.amount - sum((one.amount for one in self.applied), ZERO)

    @property
    def left(self) -> Decimal:
        """What bills may still be settled with: all that is left of it."""
        return self.balance

    def reckon(self) -> None:
        """Nothing: everything is computed when it is asked for."""


def carry_payable(books: Books, vendor: Contact, amount: Decimal) -> None:
    """The vendor is owed so much more; neither its time moves nor does a webhook tell."""
    if amount:
        vendor.payable += amount
        books.refresh("contacts", vendor)


def carry_payable_credits(books: Books, vendor: Contact, amount: Decimal) -> None:
    """The vendor's bills may be settled with so much more; unannounced too."""
    if amount:
        vendor.payable_credits += amount
        books.refresh("contacts", vendor)


def settle(books: Books, bill: Bill) -> None:
    """Reckon a bill anew, give it the status that follows, and carry what the vendor is owed."""
    owed = bill.owed
    bill.reckon()
    if bill.status in OPEN or bill.status == "paid":
        today = books.calendar.day(books.now())
        late = "overdue" if bill.due_date < today else "open"
        bill.status = "paid" if bill.balance <= 0 else "partially_paid" if bill.paid else late
    carry_payable(books, bill.contact, bill.owed - owed)


@contextmanager
def carrying(books: Books, source: Credit | VendorPayment) -> Iterator[None]:
    """Reckon a payment or credit anew after a change, and carry to its vendor what more or less is left."""
    before = source.left
    yield
    source.reckon()
    carry_payable_credits(books, source.contact, source.left - before)


def apply(books: Books, source: Credit | VendorPayment, bills: Sequence[Bill], *, follow: bool) -> None:
    """Spend what the source has left on bills, in turn; ``follow`` tells of the bills as edits do."""
    today = source.date
    for bill in bills:
        amount = min(source.left, bill.balance)
        if amount <= 0:
            break
        left = bill.balance - amount
        one = Applied(books.new_id("bill_parts"), bill, source, amount, today, left, bill.due_date)
        with carrying(books, source):
            source.applied.append(one)
            bill.applied.append(one)
        settle(books, bill)
        bill.modified = max(bill.modified, source.created)
        if follow:
            books.follow("bills", bill, "payment" if isinstance(source, VendorPayment) else "credit")


def release(books: Books, source: Credit | VendorPayment) -> None:
    """Take back all that was applied."""
    with carrying(books, source):
        parts, source.applied = source.applied, []
    for one in parts:
        one.bill.applied.remove(one)
        settle(books, one.bill)
        books.follow("bills", one.bill, "take_back")


def open_bills(books: Books, vendor: Contact, until: int) -> list[Bill]:
    """The vendor's unpaid bills entered by then, the oldest first; planted ones are left alone."""
    return [
        bill
        for bill in books.book("bills").records
        if bill.contact is vendor
        and bill.status in OPEN
        and bill.created <= until
        and bill.id not in books.planted
    ]
