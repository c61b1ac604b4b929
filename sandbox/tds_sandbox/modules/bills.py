"""Bills: what vendors ask to be paid."""

from __future__ import annotations

import datetime as dt
import random
from datetime import timedelta

from tds_sandbox.books import Books, EditKind
from tds_sandbox.jsontext import Document, RawNumber
from tds_sandbox.modules.base import Documents
from tds_sandbox.modules.documents import text_field
from tds_sandbox.modules.payables import (
    OPEN,
    Applied,
    Bill,
    Credit,
    VendorPayment,
    carry_payable,
    carrying,
    settle,
)
from tds_sandbox.modules.shapes import custom_field_hash, flatten_custom_fields, shapes

_ROW, _DETAIL, _LINE, _PAYMENT = shapes("bills", "row", "detail", "line", "payment")


class Bills(Documents[Bill]):
    """``/bills``: whatever the filter, all are listed."""

    name = "bills"
    record_key = "bill"
    id_key = "bill_id"
    number_key = "bill_number"
    noun = "Bill"
    report_name = "Bills"
    scope = "bills.READ"
    prefix = "BILL"
    states = ("draft", "open", "overdue", "partially_paid", "paid", "void")
    row, whole, line = _ROW, _DETAIL, _LINE
    honours_modified_filter = False
    ignores_filters = True
    silent_keys = frozenset({"unused_credits_payable_amount"})

    def __init__(self) -> None:
        super().__init__()
        self.edits |= {
            "due_date": EditKind(self._edit_due_date, lambda bill: bill.status in OPEN),
            "send": EditKind(self._open, lambda bill: bill.status == "draft"),
            "custom_field": EditKind(self._edit_container),
            "void": EditKind(self._void, lambda bill: self.is_editable(bill) and not bill.paid),
        }

    def new(self, common: Document, rng: random.Random) -> Bill:
        """A bill that is due in some days."""
        due = common["date"] + timedelta(days=rng.choice((0, 7, 15, 30, 60)))
        container = f"CONT{rng.randrange(10**6, 10**7)}" if rng.random() < 0.25 else ""
        return Bill(**common, due_date=due, container=container)

    def after_edit(self, books: Books, document: Bill) -> None:
        """Reckon anew, with the status that follows and what the vendor is owed."""
        if document.status == "open" and not document.total:  # it has just been made
            document.reckon()
            carry_payable(books, document.contact, document.owed)
        settle(books, document)

    def settle_generated(self, books: Books, document: Bill, rng: random.Random) -> None:
        """Most are open; payments and credits follow."""
        document.status = rng.choices(("open", "draft", "void"), (90, 6, 4))[0]
        document.reckon()
        document.contact.payable += document.owed
        if document.status == "open" and document.due_date < books.calendar.day(books.data_ends):
            document.status = "overdue"

    def _edit_due_date(self, books: Books, bill: Bill, rng: random.Random) -> None:
        bill.due_date += timedelta(days=rng.randrange(1, 40))
        settle(books, bill)

    @staticmethod
    def _edit_container(_: Books, bill: Bill, rng: random.Random) -> None:
        bill.container = f"CONT{rng.randrange(10**6, 10**7)}"

    @staticmethod
    def _open(books: Books, bill: Bill, _: random.Random) -> None:
        bill.status = "open"
        carry_payable(books, bill.contact, bill.owed)
        settle(books, bill)

    @staticmethod
    def _void(books: Books, bill: Bill, _: random.Random) -> None:
        carry_payable(books, bill.contact, -bill.owed)
        bill.status = "void"
        bill.reckon()

    def retire(self, books: Books, document: Bill) -> str:
        """What was applied is taken back at its source, then it is voided."""
        for one in list(document.applied):
            with carrying(books, one.source):
                one.source.applied.remove(one)
            document.applied.remove(one)
            if isinstance(one.source, Credit):
                books.follow("vendorcredits", one.source, "take_back")
            else:
                books.follow("vendorpayments", one.source, "take_back")
        settle(books, document)
        self._void(books, document, random.Random(0))
        return "void"

    def on_delete(self, books: Books, document: Bill) -> None:
        """Nothing is owed for it any more."""
        super().on_delete(books, document)
        carry_payable(books, document.contact, -document.owed)

    def shown(self, books: Books, document: Bill) -> Document:
        """Bills are due some day."""
        return super().shown(books, document) | {"due_date": document.due_date.isoformat()}

    @staticmethod
    def _days(books: Books, bill: Bill) -> int:
        """Days until it is due, as of the end of the data."""
        return (bill.due_date - books.calendar.day(books.data_ends)).days

    @staticmethod
    def _custom_fields(books: Books, bill: Bill) -> list[Document]:
        return text_field(books, "cf_container", "Container", bill.container)

    def webhook_extra(self, books: Books, document: Bill) -> Document:
        """The flattened custom field."""
        return flatten_custom_fields(self._custom_fields(books, document))

    def list_row(self, books: Books, document: Bill) -> Document:
        """The keys of the recorded list, and ``cf_*``."""
        days = self._days(books, document)
        due = f"Overdue by {-days} days" if days < 0 else f"Due in {days} days"
        created, modified = (
            dt.datetime.fromtimestamp(at, books.calendar.zone).strftime("%d %b %Y %I:%M %p")
            for at in (document.created, document.modified)
        )
        row = self.row.fill(
            self.shown(books, document)
            | {
                "due_days": due if document.status in OPEN else "",
                "created_time_formatted": created,
                "last_modified_time_formatted": modified,
                "last_modified_by": books.user[1],
                # An id where one expects a truth value, as recorded.
                "is_opening_balance": document.id,
                "balance_due": document.balance,
            }
        )
        return row | flatten_custom_fields(self._custom_fields(books, document))

    @staticmethod
    def _paid_by(books: Books, bill: Bill, payment: VendorPayment, one: Applied) -> Document:
        return _PAYMENT.fill(
            {
                "payment_id": payment.id,
                "bill_id": bill.id,
                "bill_payment_id": one.id,
                "payment_mode": payment.mode,
                "payment_number": payment.number,
                "date": one.date.isoformat(),
                "reference_number": payment.reference,
                "exchange_rate": RawNumber(payment.exchange_rate),
                "amount": one.amount,
                "paid_through_account_id": books.accounts["Undeposited Funds"],
            }
        )

    def detail(self, books: Books, document: Bill) -> Document:
        """The keys of the recorded single bill."""
        fields = self._custom_fields(books, document)
        days = self._days(books, document)
        return self.whole.fill(
            self.shown(books, document)
            | {
                "line_items": self.lines(books, document),
                "unused_credits_payable_amount": document.contact.payable_credits,
                # A number where it is not due yet, else an empty text, and the other way round: as recorded.
                "due_by_days": -days if days < 0 else "",
                "due_in_days": days if days >= 0 else "",
                "custom_fields": fields,
                "custom_field_hash": custom_field_hash(fields),
                "billing_address_id": document.billing.id,
                "last_modified_id": books.user[0],
                "account_id": books.accounts["Accounts Payable"],
                "payment_made": document.sum_of(VendorPayment),
                "vendor_credits_applied": document.sum_of(Credit),
                "payments": [
                    self._paid_by(books, document, one.source, one)
                    for one in document.applied
                    if isinstance(one.source, VendorPayment)
                ],
                "vendor_credits": [
                    {
                        "vendor_credit_id": one.source.id,
                        "vendor_credit_bill_id": one.id,
                        "vendor_credit_number": one.source.number,
                        "date": one.date.isoformat(),
                        "amount": one.amount,
                    }
                    for one in document.applied
                    if isinstance(one.source, Credit)
                ],
            }
        )
