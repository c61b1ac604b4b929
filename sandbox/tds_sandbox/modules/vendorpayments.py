"""Payments to vendors: one payment over one or several bills, and what is left of it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from tds_sandbox.books import ABSENT, FULL, Books, EditKind, Entity, Fault, Predicate
from tds_sandbox.errors import SandboxError
from tds_sandbox.jsontext import Document, RawNumber
from tds_sandbox.modules.contacts import Contact
from tds_sandbox.modules.documents import (
    date_parameter,
    detail_address,
    exchange_rate,
    volume_times,
)
from tds_sandbox.modules.payables import (
    OPEN,
    Applied,
    Bill,
    VendorPayment,
    apply,
    carry_payable_credits,
    carrying,
    open_bills,
    release,
    settle,
)
from tds_sandbox.modules.shapes import currency_shown, shapes
from tds_sandbox.money import ZERO, round_base

_ROW, _DETAIL, _ALLOCATION = shapes("vendorpayments", "row", "detail", "allocation")


class VendorPayments(Entity[VendorPayment]):
    """``/vendorpayments``."""

    name = "vendorpayments"
    record_key = "vendorpayment"
    id_key = "payment_id"
    noun = "Payment"
    report_name = "Payments Made"
    url = "vendor-payments"
    scope = "vendorpayments.READ"
    default_filter = "PaymentMode.All"
    default_sort = ("date", "D")
    honours_modified_filter = True

    def __init__(self) -> None:
        self.filters: dict[str, Predicate[VendorPayment]] = {
            "PaymentMode.All": lambda _: True,
            "Status.All": lambda _: True,
        }
        self.sort_keys: dict[str, Callable[[VendorPayment], Any]] = {
            "date": lambda payment: (payment.date, payment.id),
            "amount": lambda payment: (payment.amount, payment.id),
            "created_time": lambda payment: (payment.created, payment.id),
            "last_modified_time": lambda payment: (payment.modified, payment.id),
        }
        self.edits: dict[str, EditKind[VendorPayment]] = {
            "reference": EditKind(self._edit_reference),
            "mode": EditKind(self._edit_mode),
            "amount": EditKind(self._raise),
            "apply": EditKind(self._spend, lambda payment: payment.left > 0 and payment.contact.payable > 0),
            "take_back": EditKind(self._take_back, lambda payment: bool(payment.applied)),
        }
        self.faults = (
            Fault("bad amount", "amount", "12,5x", "not a number"),
            Fault("bad allocation", "bills.0.amount_applied", "12,5x", "not a number", FULL),
            Fault("missing id", "payment_id", ABSENT, "no id", frozenset({"list"})),
        )

    def plantable(self, payment: VendorPayment, fault: Fault) -> bool:
        """Only payments that were applied have allocations."""
        return bool(payment.applied) or not fault.path.startswith("bills")

    @staticmethod
    def _vendors(books: Books) -> list[Contact]:
        vendors = [contact for contact in books.book("contacts").records if contact.vendor]
        if not vendors:
            raise SandboxError("vendorpayments need vendors")
        return vendors

    @staticmethod
    def _tell(books: Books, payment: VendorPayment) -> None:
        """Bills show some of what their payments say."""
        for one in payment.applied:
            books.follow("bills", one.bill, "payment")

    def _edit_reference(self, books: Books, payment: VendorPayment, rng: random.Random) -> None:
        payment.reference = f"REF-{rng.randrange(10**4, 10**5)}"
        self._tell(books, payment)

    def _edit_mode(self, books: Books, payment: VendorPayment, rng: random.Random) -> None:
        payment.mode = rng.choice(
            [mode for mode in ("Cash", "Check", "Bank Transfer") if mode != payment.mode]
        )
        self._tell(books, payment)

    @staticmethod
    def _raise(books: Books, payment: VendorPayment, rng: random.Random) -> None:
        with carrying(books, payment):
            payment.amount += (1 if payment.currency.precision else 250) * rng.randrange(1, 40)

    @staticmethod
    def _spend(books: Books, payment: VendorPayment, _: random.Random) -> None:
        bills = open_bills(books, payment.contact, books.now())
        apply(books, payment, bills[:3], follow=True)

    @staticmethod
    def _take_back(books: Books, payment: VendorPayment, _: random.Random) -> None:
        release(books, payment)

    @staticmethod
    def _make(
        books: Books,
        number: int,
        created: int,
        *,
        vendor: Contact,
        bills: Sequence[Bill],
        rng: random.Random,
    ) -> VendorPayment:
        """A payment of these bills, in full or in half; one in ten is larger, as is one without bills."""
        books.uses[vendor.id] += 1
        currency = vendor.currency
        amount = currency.round(sum((bill.balance for bill in bills), ZERO) / rng.choice((1, 1, 1, 2)))
        if not amount or rng.random() < 0.1:
            amount += Decimal(5 if currency.precision else 5000) * rng.randrange(1, 60)
        payment = VendorPayment(
            id=books.new_id("vendorpayments", rng.randrange(3, 40)),
            created=created,
            modified=created,
            number=str(number),
            date=books.calendar.day(created),
            contact=vendor,
            contact_name=vendor.name,
            billing=vendor.billing,
            currency=currency,
            exchange_rate=exchange_rate(currency, rng),
            mode=rng.choice(("Cash", "Check", "Bank Transfer")),
            amount=amount,
            reference="",
        )
        carry_payable_credits(books, vendor, payment.left)
        return payment

    def generate(self, books: Books, count: int, rng: random.Random) -> list[VendorPayment]:
        """Payments of one to three open bills of a vendor each; where there are none, advances."""
        if not count:
            return []
        vendors = self._vendors(books)
        # One bill in eight is disputed, and one paid in part stays so as often as not.
        waiting = deque(
            bill for bill in books.book("bills").records if bill.status in OPEN and rng.random() < 0.88
        )
        unpaid: list[Bill] = []
        payments: list[VendorPayment] = []
        for number, created in enumerate(self._times(books, count, waiting, rng), 1):
            while waiting and waiting[0].created <= created:
                unpaid.append(waiting.popleft())
            advance = not unpaid or rng.random() < 0.02
            vendor = rng.choice(vendors) if advance else rng.choice(unpaid).contact
            bills = [] if advance else [bill for bill in unpaid if bill.contact is vendor]
            bills = bills[: rng.randrange(1, 4)]
            payment = self._make(books, number, created, vendor=vendor, bills=bills, rng=rng)
            payment.modified = books.modified_after(rng, created)
            apply(books, payment, bills, follow=False)
            for bill in bills:
                if bill.status not in OPEN or rng.random() < 0.5:
                    unpaid.remove(bill)
            payments.append(payment)
        return payments

    @staticmethod
    def _times(books: Books, count: int, bills: Sequence[Bill], rng: random.Random) -> list[int]:
        """Times of payments: while there are bills."""
        if not bills:
            return volume_times(books, count, 40, rng)
        return sorted(rng.randrange(bills[0].created, books.data_ends - 60) for _ in range(count))

    def create(self, books: Books, rng: random.Random) -> VendorPayment:
        """A payment of some open bills, an advance where there are none."""
        vendors = self._vendors(books)
        now = books.now()
        creditors = [vendor for vendor in vendors if vendor.payable > 0]
        vendor = rng.choice(creditors or vendors)
        bills = open_bills(books, vendor, now)[:3]
        book = books.book(self.name)
        number = len(book.records) + len(book.deleted) + 1
        payment = self._make(books, number, now, vendor=vendor, bills=bills, rng=rng)
        apply(books, payment, bills, follow=True)
        return payment

    def on_delete(self, books: Books, payment: VendorPayment) -> None:
        """Its bills are unpaid again; the deleted payment keeps its last state."""
        books.uses[payment.contact.id] -= 1
        carry_payable_credits(books, payment.contact, -payment.left)
        for one in payment.applied:
            one.bill.applied.remove(one)
            settle(books, one.bill)
            books.follow("bills", one.bill, "take_back")

    @staticmethod
    def _shown(books: Books, payment: VendorPayment) -> Document:
        """What the list and the single payment show alike."""
        stamp = books.calendar.stamp
        return currency_shown(payment.currency) | {
            "payment_id": payment.id,
            "vendor_id": payment.contact.id,
            "vendor_name": payment.contact_name,
            "payment_mode": payment.mode,
            "payment_number": payment.number,
            "date": payment.date.isoformat(),
            "reference_number": payment.reference,
            "exchange_rate": RawNumber(payment.exchange_rate),
            "amount": payment.amount,
            "paid_through_account_id": books.accounts["Undeposited Funds"],
            "balance": payment.balance,
            "created_time": stamp(payment.created),
            "last_modified_time": stamp(payment.modified),
        }

    def list_row(self, books: Books, payment: VendorPayment) -> Document:
        """The keys of the recorded list."""
        rate = Decimal(payment.exchange_rate)
        return _ROW.fill(
            self._shown(books, payment)
            | {
                "bill_numbers": ", ".join(one.bill.number for one in payment.applied),
                "bcy_amount": round_base(payment.amount * rate),
                "bcy_balance": round_base(payment.balance * rate),
            }
        )

    @staticmethod
    def _allocation(payment: VendorPayment, one: Applied) -> Document:
        return _ALLOCATION.fill(
            {
                "bill_number": one.bill.number,
                "price_precision": payment.currency.precision,
                "bill_payment_id": one.id,
                "bill_id": one.bill.id,
                "total": one.bill.total,
                "balance": one.balance,
                "amount_applied": one.amount,
                "apply_date": one.date.isoformat(),
                "date": one.bill.date.isoformat(),
                "due_date": one.due_date.isoformat(),
            }
        )

    def detail(self, books: Books, payment: VendorPayment) -> Document:
        """The keys of the recorded single payment, with an allocation for each bill."""
        user_id, user_name = books.user
        return _DETAIL.fill(
            self._shown(books, payment)
            | {
                "payment_number_suffix": payment.number,
                "created_by_id": user_id,
                "created_by_name": user_name,
                "offset_account_id": books.accounts["Accounts Payable"],
                "billing_address": detail_address(payment.billing),
                "bills": [self._allocation(payment, one) for one in payment.applied],
            }
        )

    def parameter(self, _: Books, name: str, value: str) -> Predicate[VendorPayment] | None:
        """``vendor_id``, and the documented date filters."""
        if name == "vendor_id":
            return lambda payment: payment.contact.id == value
        return date_parameter(name, value, ["date"])
