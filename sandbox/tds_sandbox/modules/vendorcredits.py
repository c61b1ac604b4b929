"""Vendor credits: what vendors give back, applied to bills."""

from __future__ import annotations

import random

from tds_sandbox.books import Books, EditKind
from tds_sandbox.jsontext import Document
from tds_sandbox.modules.base import Documents
from tds_sandbox.modules.contacts import Contact
from tds_sandbox.modules.payables import (
    Credit,
    apply,
    carry_payable_credits,
    carrying,
    open_bills,
    release,
)
from tds_sandbox.modules.shapes import shapes


class VendorCredits(Documents[Credit]):
    """``/vendorcredits``."""

    name = "vendorcredits"
    list_key = "vendor_credits"
    record_key = "vendor_credit"
    id_key = "vendor_credit_id"
    number_key = "vendor_credit_number"
    noun = "Vendor Credit"
    report_name = "Vendor Credits"
    scope = "debitnotes.READ"
    prefix = "DN"
    url = "vendor-credits"
    states = ("draft", "open", "closed", "void")
    row, whole, line = shapes("vendorcredits", "row", "detail", "line")
    per_month = 20
    honours_modified_filter = True

    def __init__(self) -> None:
        super().__init__()
        self.edits |= {
            "apply": EditKind(self._spend, lambda credit: credit.left > 0 and credit.contact.payable > 0),
            "take_back": EditKind(self._take_back, lambda credit: bool(credit.applied)),
            "send": EditKind(self._open, lambda credit: credit.status == "draft"),
            "void": EditKind(self._void, lambda credit: credit.status == "open" and not credit.applied),
        }

    def new(self, common: Document, rng: random.Random) -> Credit:  # noqa: ARG002
        """A credit."""
        return Credit(**common)

    def _contacts(self, books: Books) -> list[Contact]:
        """Vendors that something is owed, if there are any."""
        found = super()._contacts(books)
        return [vendor for vendor in found if vendor.payable > 0] or found

    def is_editable(self, document: Credit) -> bool:
        """Until it is applied or void."""
        return document.status in {"open", "draft"} and not document.applied

    def after_edit(self, books: Books, document: Credit) -> None:
        """Reckon anew, with the status that follows and what is left."""
        with carrying(books, document):
            pass

    def settle_generated(self, books: Books, document: Credit, rng: random.Random) -> None:
        """Half of them are applied."""
        document.status = rng.choices(("open", "draft", "void"), (90, 6, 4))[0]
        self.after_edit(books, document)
        if rng.random() < 0.5:
            bills = open_bills(books, document.contact, document.created)
            apply(books, document, bills[:2], follow=False)

    def _spend(self, books: Books, credit: Credit, _: random.Random) -> None:
        bills = open_bills(books, credit.contact, books.now())
        apply(books, credit, bills[:2], follow=True)

    @staticmethod
    def _take_back(books: Books, credit: Credit, _: random.Random) -> None:
        release(books, credit)

    @staticmethod
    def _open(books: Books, credit: Credit, _: random.Random) -> None:
        with carrying(books, credit):
            credit.status = "open"

    @staticmethod
    def _void(books: Books, credit: Credit, _: random.Random) -> None:
        with carrying(books, credit):
            credit.status = "void"

    def retire(self, books: Books, document: Credit) -> str:
        """What was applied is taken back, then it is voided."""
        release(books, document)
        self._void(books, document, random.Random(0))
        return "void"

    def on_delete(self, books: Books, document: Credit) -> None:
        """Nothing is left of it any more."""
        super().on_delete(books, document)
        carry_payable_credits(books, document.contact, -document.left)

    def shown(self, books: Books, document: Credit) -> Document:
        """With the bills it was applied to."""
        return super().shown(books, document) | {
            "total_credits_used": document.paid,
            "bills_credited": [
                {
                    "vendor_credit_id": document.id,
                    "bill_id": one.bill.id,
                    "vendor_credit_bill_id": one.id,
                    "bill_number": one.bill.number,
                    "date": one.date.isoformat(),
                    "amount": one.amount,
                }
                for one in document.applied
            ],
        }
