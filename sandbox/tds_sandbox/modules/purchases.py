"""What is bought, and what is ordered: bills, what vendors credit, payments to them, and sales orders.

A bill's ``balance = total - payments - vendor credits``, 0 if void; a vendor credit's ``balance = total -
applied``; a payment's ``amount = applied to bills + balance``. A vendor is owed the sum of the open bills;
what is left of open credits and of payments may settle more of them.
"""

from __future__ import annotations

import abc
import datetime as dt
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

from tds_sandbox import vocabulary as words
from tds_sandbox.books import ABSENT, Books, EditKind, Entity, Fault, Predicate, Record
from tds_sandbox.errors import SandboxError
from tds_sandbox.jsontext import Document, RawNumber
from tds_sandbox.modules.contacts import Contact
from tds_sandbox.modules.documents import (
    LINE_COUNTS,
    Line,
    Transaction,
    back_dated,
    carry_payable,
    carry_payable_credits,
    date_parameter,
    detail_address,
    discount_shown,
    draw_discount,
    edit_notes,
    exchange_rate,
    favourites,
    line_discount_shown,
    line_discounts,
    line_edits,
    line_taxes,
    new_line,
    note_uses,
    taxes_shown,
    text_field,
    volume_times,
)
from tds_sandbox.modules.shapes import custom_field_hash, flatten_custom_fields
from tds_sandbox.money import ZERO, Address, Currency, round_base

_FULL = frozenset({"detail", "webhook"})
_OPEN = frozenset({"open", "overdue", "partially_paid"})
_CHECK = {"check_id": "", "check_status": "", "check_number": "", "memo": ""}
_BLANK_LINE = (
    "customer_id", "customer_name", "header_id", "header_name", "image_name", "image_type", "invoice_id",
    "invoice_number", "item_matching_type", "project_id", "project_name", "purchaseorder_id",
    "purchaseorder_item_id", "receipt_line_item_id", "sales_rate",
)  # fmt: skip
_BLANK_SUBMITTER = ("submitted_by", "submitted_by_email", "submitted_by_name", "submitted_by_photo_url")
_BLANK_BILL = (
    "adjustment_account_id", "adjustment_account_name", "attachment_name", "bill_order_type",
    "client_viewed_time", "contact_category", "discount_account_id", "discount_account_name",
    "payment_expected_date", "recurring_bill_id", "reference_id", "scanned_po_id", "scanned_po_number",
    *_BLANK_SUBMITTER,
)  # fmt: skip
_BLANK_PAYMENT = (
    "ach_payment_status", "approver_id", "bank_charges_account_id", "bank_charges_account_name",
    "credit_account_id", "gw_reference_number", "payment_number_prefix", "purpose_code", "submitted_date",
    "submitter_id", "tax_account_id", "tax_account_name", "tds_tax_id", "transfer_type", *_BLANK_SUBMITTER,
)  # fmt: skip
_DISCOUNTS = ("none", "entity_percent", "entity_amount", "item")


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
        return self.balance if self.status in _OPEN else ZERO


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
class Order(Transaction):
    """A sales order."""

    shipment: dt.date


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


T = TypeVar("T", Bill, Credit, Order)


def _settle(books: Books, bill: Bill) -> None:
    """Reckon a bill anew, give it the status that follows, and carry what the vendor is owed."""
    owed = bill.owed
    bill.reckon()
    if bill.status in _OPEN or bill.status == "paid":
        today = books.calendar.day(books.now())
        late = "overdue" if bill.due_date < today else "open"
        bill.status = "paid" if bill.balance <= 0 else "partially_paid" if bill.paid else late
    carry_payable(books, bill.contact, bill.owed - owed)


@contextmanager
def _carrying(books: Books, source: Credit | VendorPayment) -> Iterator[None]:
    """Reckon a payment or credit anew after a change, and carry to its vendor what more or less is left."""
    before = source.left
    yield
    source.reckon()
    carry_payable_credits(books, source.contact, source.left - before)


def _apply(books: Books, source: Credit | VendorPayment, bills: Sequence[Bill], *, follow: bool) -> None:
    """Spend what the source has left on bills, in turn; ``follow`` tells of the bills as edits do."""
    today = source.date
    for bill in bills:
        amount = min(source.left, bill.balance)
        if amount <= 0:
            break
        left = bill.balance - amount
        one = Applied(books.new_id("bill_parts"), bill, source, amount, today, left, bill.due_date)
        with _carrying(books, source):
            source.applied.append(one)
            bill.applied.append(one)
        _settle(books, bill)
        bill.modified = max(bill.modified, source.created)
        if follow:
            books.follow("bills", bill, "payment" if isinstance(source, VendorPayment) else "credit")


def _release(books: Books, source: Credit | VendorPayment) -> None:
    """Take back all that was applied."""
    with _carrying(books, source):
        parts, source.applied = source.applied, []
    for one in parts:
        one.bill.applied.remove(one)
        _settle(books, one.bill)
        books.follow("bills", one.bill, "take_back")


def _open_bills(books: Books, vendor: Contact, until: int) -> list[Bill]:
    """The vendor's unpaid bills entered by then, the oldest first; planted ones are left alone."""
    return [
        bill
        for bill in books.book("bills").records
        if bill.contact is vendor
        and bill.status in _OPEN
        and bill.created <= until
        and bill.id not in books.planted
    ]


def _vendors(books: Books) -> list[Contact]:
    """All vendors."""
    return [contact for contact in books.book("contacts").records if contact.vendor]


def _edit_reference(_: Books, document: Transaction, rng: random.Random) -> None:
    document.reference = f"REF-{rng.randrange(10**4, 10**5)}"


class Documents(Entity[T], abc.ABC):
    """What the documents of this module have in common."""

    prefix: ClassVar[str]
    vendors: ClassVar[bool] = True
    per_month: ClassVar[int] = 60
    default_filter = "Status.All"
    default_sort = ("created_time", "D")
    silent_keys = frozenset()
    number_key: ClassVar[str]
    url: ClassVar[str]
    states: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        def status(name: str) -> Predicate[T]:
            return lambda document: document.status == name

        self.filters: dict[str, Predicate[T]] = {
            "Status.All": lambda _: True,
            **{f"Status.{name.title().replace('_', '')}": status(name) for name in self.states},
        }
        self.sort_keys: dict[str, Callable[[T], Any]] = {
            self.number_key: lambda document: (document.number, document.id),
            "date": lambda document: (document.date, document.id),
            "total": lambda document: (document.total, document.id),
            "created_time": lambda document: (document.created, document.id),
            "last_modified_time": lambda document: (document.modified, document.id),
        }
        self.edits: dict[str, EditKind[T]] = {
            **line_edits(self.after_edit, self.is_editable, self.make_line),
            "notes": EditKind(edit_notes),
            "reference": EditKind(_edit_reference),
        }
        self.faults = (
            Fault("bad total", "total", "12,5x", "not a number"),
            Fault("impossible date", "date", "2026-02-30", "there is no 30 February"),
            Fault("bad line quantity", "line_items.0.quantity", "few", "not a number", _FULL),
            Fault("missing id", self.id_key, ABSENT, "no id", frozenset({"list"})),
        )

    def after_edit(self, books: Books, document: T) -> None:  # noqa: ARG002
        """Reckon anew."""
        document.reckon()

    def is_editable(self, document: T) -> bool:
        """Whether the lines may change."""
        return document.status in {"open", "draft"}

    def make_line(self, books: Books, document: T, rng: random.Random) -> Line:
        """One more line."""
        item = rng.choice(books.book("items").records)
        price = item.cost if self.vendors else item.rate
        return new_line(
            books, item, document.currency, rng, price=price, taxed=None, family=f"{self.name}_lines"
        )

    @abc.abstractmethod
    def new(self, common: Document, rng: random.Random) -> T:
        """The record of these values."""

    def settle_generated(self, books: Books, document: T, rng: random.Random) -> None:  # noqa: ARG002
        """Give a generated document its state."""
        document.reckon()

    def _contacts(self, books: Books) -> list[Contact]:
        found = [c for c in books.book("contacts").records if c.vendor is self.vendors]
        if not found or not books.book("items").records:
            raise SandboxError(f"{self.name} need items and {'vendors' if self.vendors else 'customers'}")
        return found

    def _make(self, books: Books, number: int, created: int, contact: Contact, rng: random.Random) -> T:
        document = self.new(
            {
                "id": books.new_id(self.name, rng.randrange(4, 60)),
                "created": created,
                "modified": created,
                "number": f"{self.prefix}-{number:05d}",
                "reference": f"REF-{rng.randrange(10**4, 10**5)}" if rng.random() < 0.15 else "",
                "date": back_dated(books.calendar.day(created), rng),
                "contact": contact,
                "contact_name": contact.name,
                "billing": contact.billing,
                "shipping": contact.shipping,
                "currency": contact.currency,
                "exchange_rate": exchange_rate(contact.currency, rng),
                "status": "open",
                "lines": [],
                "notes": rng.choice(words.NOTES),
            },
            rng,
        )
        for _ in range(rng.choice(LINE_COUNTS)):
            document.lines.append(self.make_line(books, document, rng))
        tax = rng.choice(books.taxes) if rng.random() < 0.12 else None
        for line in document.lines:
            line.tax = tax if rng.random() < 0.85 else None
        document.discount_kind = rng.choices(_DISCOUNTS, (80, 8, 5, 7))[0]
        document.discount = draw_discount(document.discount_kind, document.lines, document.currency, rng)
        document.before_tax = rng.random() < 0.8
        return document

    def generate(self, books: Books, count: int, rng: random.Random) -> list[T]:
        """Documents over the months before the end of the data."""
        if not count:
            return []
        draw = favourites(self._contacts(books), rng)
        documents = []
        for number, created in enumerate(volume_times(books, count, self.per_month, rng), 1):
            document = self._make(books, number, created, draw(), rng)
            self.settle_generated(books, document, rng)
            document.modified = books.modified_after(rng, created)
            note_uses(books, document)
            documents.append(document)
        return documents

    def create(self, books: Books, rng: random.Random) -> T:
        """One more, as of now."""
        book = books.book(self.name)
        number = len(book.records) + len(book.deleted) + 1
        contact = rng.choice(self._contacts(books))
        document = self._make(books, number, books.now(), contact, rng)
        self.after_edit(books, document)
        note_uses(books, document)
        return document

    def on_delete(self, books: Books, document: T) -> None:
        """The items and the contact are free again."""
        note_uses(books, document, -1)

    def refuses_deletion(self, _: Books, document: T) -> bool:
        """Documents that something was applied to cannot be deleted."""
        return bool(document.paid)

    def head(self, books: Books, document: T) -> Document:
        """Keys of list and detail alike."""
        who = "vendor" if self.vendors else "customer"
        stamp, currency = books.calendar.stamp, document.currency
        return {
            self.id_key: document.id,
            f"{who}_id": document.contact.id,
            f"{who}_name": document.contact_name,
            "status": document.status,
            "color_code": "",
            "current_sub_status_id": "",
            "current_sub_status": document.status,
            self.number_key: document.number,
            "reference_number": document.reference,
            "date": document.date.isoformat(),
            "currency_id": currency.id,
            "currency_code": currency.code,
            "price_precision": currency.precision,
            "exchange_rate": RawNumber(document.exchange_rate),
            "total": document.total,
            "balance": document.balance,
            "created_time": stamp(document.created),
            "last_modified_time": stamp(document.modified),
            "tags": [],
        }

    def list_row(self, books: Books, document: T) -> Document:
        """The keys of a list row."""
        return self.head(books, document) | {"has_attachment": False, "client_viewed_time": ""}

    def _line(self, books: Books, document: T, line: Line, order: int) -> Document:
        account = "Inventory Asset" if self.vendors else "Sales"
        return {
            "line_item_id": line.id,
            "item_id": line.item_id,
            "line_item_category": "line_item",
            "image_document_id": "",
            "name": line.name,
            "account_id": books.accounts[account],
            "account_name": account,
            "description": line.description,
            "bcy_rate": round_base(line.rate * Decimal(document.exchange_rate)),
            "rate": line.rate,
            "pricebook_id": "",
            "tags": [],
            "quantity": line.quantity,
            "discount": line_discount_shown(line),
            "discount_amount": line.discount_amount,
            "discounts": line_discounts(line),
            "tax_id": line.tax.id if line.tax else "",
            "tax_name": line.tax.name if line.tax else "",
            "tax_type": "tax",
            "tax_percentage": line.tax.percentage if line.tax else 0,
            "line_item_taxes": line_taxes(line, document.currency),
            "item_total": line.item_total,
            "item_order": order,
            "unit": line.unit,
            "item_type": "inventory",
            "item_custom_fields": [],
        }

    def detail(self, books: Books, document: T) -> Document:
        """The keys of a single document."""
        currency = document.currency
        return self.head(books, document) | {
            "sub_statuses": [],
            "currency_symbol": currency.symbol,
            "currency_name_formatted": f"{currency.code}- {currency.name}",
            "documents": [],
            "subject_content": "",
            "custom_fields": [],
            "custom_field_hash": {},
            "is_inclusive_tax": False,
            "tax_rounding": "entity_level",
            "line_items": [
                self._line(books, document, line, order) for order, line in enumerate(document.lines, 1)
            ],
            "submitted_date": "",
            "submitter_id": "",
            "approver_id": "",
            "adjustment": document.adjustment,
            "adjustment_description": "",
            "discount_amount": document.discount_total,
            "discount": discount_shown(document),
            "discount_applied_on_amount": (
                document.sub_total if document.discount and document.discount_kind != "item" else ZERO
            ),
            "discount_percent": document.discount if document.discount_kind == "entity_percent" else ZERO,
            "is_discount_before_tax": document.before_tax,
            "discount_type": "item_level" if document.discount_kind == "item" else "entity_level",
            "discount_total": document.discount_total,
            "sub_total": document.sub_total,
            "sub_total_inclusive_of_tax": ZERO,
            "tax_total": document.tax_total,
            "taxes": taxes_shown(document),
            "billing_address": detail_address(document.billing),
            "created_by_id": books.user[0],
            "notes": document.notes,
            "terms": "",
            "template_id": books.template_id,
            "template_name": "Standard Template",
        }

    def webhook_extra(self, _: Books, __: T) -> Document:
        """Nothing."""
        return {}

    def webhook_entity(self, _: T) -> str:
        """``…/webhooks/<url>``."""
        return self.url

    def parameter(self, _: Books, name: str, value: str) -> Predicate[T] | None:
        """``status``, the contact's id, and the documented date filters."""
        if name == "status":
            return lambda document: document.status == value
        if name in {"vendor_id", "customer_id"}:
            return lambda document: document.contact.id == value
        return date_parameter(name, value, ["date"])


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
    url = "bills"
    states = ("draft", "open", "overdue", "partially_paid", "paid", "void")
    honours_modified_filter = False
    ignores_filters = True
    silent_keys = frozenset({"unused_credits_payable_amount"})

    def __init__(self) -> None:
        super().__init__()
        self.edits |= {
            "due_date": EditKind(self._edit_due_date, lambda bill: bill.status in _OPEN),
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
        _settle(books, document)

    def settle_generated(self, books: Books, document: Bill, rng: random.Random) -> None:
        """Most are open; payments and credits follow."""
        document.status = rng.choices(("open", "draft", "void"), (90, 6, 4))[0]
        document.reckon()
        document.contact.payable += document.owed
        if document.status == "open" and document.due_date < books.calendar.day(books.data_ends):
            document.status = "overdue"

    def _edit_due_date(self, books: Books, bill: Bill, rng: random.Random) -> None:
        bill.due_date += timedelta(days=rng.randrange(1, 40))
        _settle(books, bill)

    @staticmethod
    def _edit_container(_: Books, bill: Bill, rng: random.Random) -> None:
        bill.container = f"CONT{rng.randrange(10**6, 10**7)}"

    @staticmethod
    def _open(books: Books, bill: Bill, _: random.Random) -> None:
        bill.status = "open"
        carry_payable(books, bill.contact, bill.owed)
        _settle(books, bill)

    @staticmethod
    def _void(books: Books, bill: Bill, _: random.Random) -> None:
        carry_payable(books, bill.contact, -bill.owed)
        bill.status = "void"
        bill.reckon()

    def retire(self, books: Books, document: Bill) -> str:
        """What was applied is taken back at its source, then it is voided."""
        for one in list(document.applied):
            with _carrying(books, one.source):
                one.source.applied.remove(one)
            document.applied.remove(one)
            if isinstance(one.source, Credit):
                books.follow("vendorcredits", one.source, "take_back")
            else:
                books.follow("vendorpayments", one.source, "take_back")
        _settle(books, document)
        self._void(books, document, random.Random(0))
        return "void"

    def on_delete(self, books: Books, document: Bill) -> None:
        """Nothing is owed for it any more."""
        super().on_delete(books, document)
        carry_payable(books, document.contact, -document.owed)

    def head(self, books: Books, document: Bill) -> Document:
        """Bills are due some day."""
        shown = {
            "due_date": document.due_date.isoformat(),
            "entity_type": "bill",
            "unprocessed_payment_amount": ZERO,
        }
        return super().head(books, document) | shown

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
        row = super().list_row(books, document) | {
            "due_days": due if document.status in _OPEN else "",
            "tds_total": ZERO,
            "created_time_formatted": created,
            "last_modified_time_formatted": modified,
            "created_by": books.user[1],
            "last_modified_by": books.user[1],
            # An id where one expects a truth value, as recorded.
            "is_opening_balance": document.id,
            "attachment_name": "",
            "is_uber_bill": False,
            "is_tally_bill": False,
            "is_viewed_by_client": False,
            "is_bill_reconciliation_violated": False,
            "balance_due": document.balance,
        }
        return row | flatten_custom_fields(self._custom_fields(books, document))

    def _line(self, books: Books, document: Bill, line: Line, order: int) -> Document:
        shown = super()._line(books, document, line, order) | dict.fromkeys(
            ("account_code", "discount_account_id", "discount_account_name", *_BLANK_LINE), ""
        )
        del shown["discount_amount"]
        return shown | {
            "quantity_received": 0,
            "markup_percent": 0,
            "item_code": {},
            "is_billable": False,
            "purchase_request_items": [],
            "receive_line_items": [],
        }

    @staticmethod
    def _paid_by(books: Books, bill: Bill, one: Applied) -> Document:
        payment = one.source
        assert isinstance(payment, VendorPayment)
        return {
            "payment_id": payment.id,
            "bill_id": bill.id,
            "bill_payment_id": one.id,
            "payment_mode": payment.mode,
            "payment_number": payment.number,
            "description": "",
            "date": one.date.isoformat(),
            "reference_number": payment.reference,
            "exchange_rate": RawNumber(payment.exchange_rate),
            "amount": one.amount,
            "paid_through_account_id": books.accounts["Undeposited Funds"],
            "paid_through_account_name": "Undeposited Funds",
            "is_paid_via_print_check": False,
            "check_details": _CHECK,
            "is_ach_payment": False,
            "ach_payment_status": "",
            "ach_gw_transaction_id": "",
        }

    def detail(self, books: Books, document: Bill) -> Document:
        """The keys of the recorded single bill."""
        fields = self._custom_fields(books, document)
        days = self._days(books, document)
        accounts = books.accounts
        blank = dict.fromkeys(_BLANK_BILL, "")
        return (
            super().detail(books, document)
            | blank
            | {
                "non_catalog_items_count": 0,
                "source": "Api",
                "unused_credits_payable_amount": document.contact.payable_credits,
                "discount_setting": "flat",
                "tds_calculation_type": "tds_item_level",
                "payment_terms": 0,
                "payment_terms_label": "Due on Receipt",
                # A number where it is not due yet, else an empty text, and the other way round: as recorded.
                "due_by_days": -days if days < 0 else "",
                "due_in_days": days if days >= 0 else "",
                "custom_fields": fields,
                "custom_field_hash": custom_field_hash(fields),
                "is_viewed_by_client": False,
                "is_item_level_tax_calc": False,
                "is_uber_bill": False,
                "is_tally_bill": False,
                "track_discount_in_account": False,
                "is_bill_reconciliation_violated": False,
                "is_line_item_invoiced": False,
                "computation_type": "basic",
                "tax_override_preference": "no_override",
                "billing_address_id": document.billing.id,
                "last_modified_id": books.user[0],
                "page_width": "8.27in",
                "page_height": "11.69in",
                "orientation": "portrait",
                "template_type": "standard",
                "is_approval_required": False,
                "allocated_landed_costs": [],
                "unallocated_landed_costs": [],
                "total_retention_amount": ZERO,
                "retention_items": [],
                "can_send_in_mail": False,
                "approvers_list": [],
                "account_id": accounts["Accounts Payable"],
                "account_name": "Accounts Payable",
                "payment_made": document.sum_of(VendorPayment),
                "vendor_credits_applied": document.sum_of(Credit),
                "purchaseorders": [],
                "payments": [
                    self._paid_by(books, document, one)
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
        with _carrying(books, document):
            pass

    def settle_generated(self, books: Books, document: Credit, rng: random.Random) -> None:
        """Half of them are applied."""
        document.status = rng.choices(("open", "draft", "void"), (90, 6, 4))[0]
        self.after_edit(books, document)
        if rng.random() < 0.5:
            bills = _open_bills(books, document.contact, document.created)
            _apply(books, document, bills[:2], follow=False)

    def _spend(self, books: Books, credit: Credit, _: random.Random) -> None:
        bills = _open_bills(books, credit.contact, books.now())
        _apply(books, credit, bills[:2], follow=True)

    @staticmethod
    def _take_back(books: Books, credit: Credit, _: random.Random) -> None:
        _release(books, credit)

    @staticmethod
    def _open(books: Books, credit: Credit, _: random.Random) -> None:
        with _carrying(books, credit):
            credit.status = "open"

    @staticmethod
    def _void(books: Books, credit: Credit, _: random.Random) -> None:
        with _carrying(books, credit):
            credit.status = "void"

    def retire(self, books: Books, document: Credit) -> str:
        """What was applied is taken back, then it is voided."""
        _release(books, document)
        self._void(books, document, random.Random(0))
        return "void"

    def on_delete(self, books: Books, document: Credit) -> None:
        """Nothing is left of it any more."""
        super().on_delete(books, document)
        carry_payable_credits(books, document.contact, -document.left)

    def detail(self, books: Books, document: Credit) -> Document:
        """With the bills it was applied to."""
        return super().detail(books, document) | {
            "total_credits_used": document.paid,
            "total_refunded_amount": ZERO,
            "vendor_credit_refunds": [],
            "comments": [],
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


class SalesOrders(Documents[Order]):
    """``/salesorders``."""

    name = "salesorders"
    record_key = "salesorder"
    id_key = "salesorder_id"
    number_key = "salesorder_number"
    noun = "Sales Order"
    report_name = "Sales Orders"
    scope = "salesorders.READ"
    prefix = "SO"
    url = "sales-orders"
    vendors = False
    states = ("draft", "open", "invoiced", "partially_invoiced", "void", "closed")
    per_month = 80
    honours_modified_filter = True

    def __init__(self) -> None:
        super().__init__()
        self.edits |= {
            "send": EditKind(self._become("open"), lambda order: order.status == "draft"),
            "close": EditKind(self._become("closed"), lambda order: order.status == "open"),
            "void": EditKind(self._become("void"), lambda order: order.status in {"draft", "open"}),
        }

    def new(self, common: Document, rng: random.Random) -> Order:
        """An order."""
        return Order(**common, shipment=common["date"] + timedelta(days=rng.randrange(1, 20)))

    def settle_generated(self, _: Books, document: Order, rng: random.Random) -> None:
        """In some state."""
        document.status = rng.choices(self.states, (5, 40, 40, 5, 2, 8))[0]
        document.reckon()

    @staticmethod
    def _become(status: str) -> Callable[[Books, Order, random.Random], None]:
        def become(_: Books, order: Order, __: random.Random) -> None:
            order.status = status
            order.reckon()

        return become

    def refuses_deletion(self, _: Books, document: Order) -> bool:
        """Invoiced orders cannot be deleted."""
        return document.status in {"invoiced", "partially_invoiced"}

    def retire(self, _: Books, document: Order) -> str:
        """It is voided."""
        document.status = "void"
        document.reckon()
        return "void"

    def head(self, books: Books, document: Order) -> Document:
        """Orders are shipped some day."""
        return super().head(books, document) | {"shipment_date": document.shipment.isoformat()}


class VendorPayments(Entity[VendorPayment]):
    """``/vendorpayments``."""

    name = "vendorpayments"
    record_key = "vendorpayment"
    id_key = "payment_id"
    noun = "Payment"
    report_name = "Payments Made"
    scope = "vendorpayments.READ"
    default_filter = "PaymentMode.All"
    default_sort = ("date", "D")
    honours_modified_filter = True
    silent_keys = frozenset()

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
            Fault("bad allocation", "bills.0.amount_applied", "12,5x", "not a number", _FULL),
            Fault("missing id", "payment_id", ABSENT, "no id", frozenset({"list"})),
        )

    def plantable(self, payment: VendorPayment, fault: Fault) -> bool:
        """Only payments that were applied have allocations."""
        return bool(payment.applied) or not fault.path.startswith("bills")

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
        with _carrying(books, payment):
            payment.amount += (1 if payment.currency.precision else 250) * rng.randrange(1, 40)

    @staticmethod
    def _spend(books: Books, payment: VendorPayment, _: random.Random) -> None:
        bills = _open_bills(books, payment.contact, books.now())
        _apply(books, payment, bills[:3], follow=True)

    @staticmethod
    def _take_back(books: Books, payment: VendorPayment, _: random.Random) -> None:
        _release(books, payment)

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
        vendors = _vendors(books)
        if not vendors:
            raise SandboxError("vendorpayments need vendors")
        # One bill in eight is disputed, and one paid in part stays so as often as not.
        waiting = deque(
            bill for bill in books.book("bills").records if bill.status in _OPEN and rng.random() < 0.88
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
            _apply(books, payment, bills, follow=False)
            for bill in bills:
                if bill.status not in _OPEN or rng.random() < 0.5:
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
        vendors = _vendors(books)
        if not vendors:
            raise SandboxError("vendorpayments need vendors")
        now = books.now()
        creditors = [vendor for vendor in vendors if vendor.payable > 0]
        vendor = rng.choice(creditors or vendors)
        bills = _open_bills(books, vendor, now)[:3]
        book = books.book(self.name)
        number = len(book.records) + len(book.deleted) + 1
        payment = self._make(books, number, now, vendor=vendor, bills=bills, rng=rng)
        _apply(books, payment, bills, follow=True)
        return payment

    def on_delete(self, books: Books, payment: VendorPayment) -> None:
        """Its bills are unpaid again; the deleted payment keeps its last state."""
        books.uses[payment.contact.id] -= 1
        carry_payable_credits(books, payment.contact, -payment.left)
        for one in payment.applied:
            one.bill.applied.remove(one)
            _settle(books, one.bill)
            books.follow("bills", one.bill, "take_back")

    def list_row(self, books: Books, payment: VendorPayment) -> Document:
        """The keys of the recorded list."""
        stamp, rate = books.calendar.stamp, Decimal(payment.exchange_rate)
        return {
            "payment_id": payment.id,
            "vendor_id": payment.contact.id,
            "currency_id": payment.currency.id,
            "status": "paid",
            "vendor_name": payment.contact_name,
            "bill_numbers": ", ".join(one.bill.number for one in payment.applied),
            "payment_mode": payment.mode,
            "payment_number": payment.number,
            "description": "",
            "date": payment.date.isoformat(),
            "reference_number": payment.reference,
            "exchange_rate": RawNumber(payment.exchange_rate),
            "amount": payment.amount,
            "bcy_amount": round_base(payment.amount * rate),
            "paid_through_account_id": books.accounts["Undeposited Funds"],
            "paid_through_account_name": "Undeposited Funds",
            "balance": payment.balance,
            "currency_code": payment.currency.code,
            "bcy_balance": round_base(payment.balance * rate),
            "created_time": stamp(payment.created),
            "last_modified_time": stamp(payment.modified),
            "is_paid_via_print_check": False,
            "has_attachment": False,
            "tags": [],
            "is_ach_payment": False,
            "ach_payment_status": "",
            "ach_gw_transaction_id": "",
            "gw_reference_number": "",
            "check_details": _CHECK,
        }

    def detail(self, books: Books, payment: VendorPayment) -> Document:
        """The keys of the recorded single payment, with an allocation for each bill."""
        row = self.list_row(books, payment)
        for key in ("bill_numbers", "bcy_amount", "bcy_balance", "has_attachment", "ach_gw_transaction_id"):
            del row[key]
        user_id, user_name = books.user
        return (
            row
            | dict.fromkeys(_BLANK_PAYMENT, "")
            | {
                "is_online_payment": False,
                "payment_number_suffix": payment.number,
                "tds_calculation_type": "tds_item_level",
                "is_tds_amount_in_percent": False,
                "bank_charges": ZERO,
                "created_by_id": user_id,
                "created_by_name": user_name,
                "paid_through_account_type": "cash",
                "offset_account_id": books.accounts["Accounts Payable"],
                "offset_account_name": "Accounts Payable",
                "billing_address": detail_address(payment.billing),
                "imported_transactions": [],
                "approvers_list": [],
                "custom_fields": [],
                "custom_field_hash": {},
                "documents": [],
                "tax_amount_withheld": ZERO,
                "currency_symbol": payment.currency.symbol,
                "bills": [
                    {
                        "bill_number": one.bill.number,
                        "price_precision": payment.currency.precision,
                        "bill_payment_id": one.id,
                        "bill_id": one.bill.id,
                        "is_opening_balance": False,
                        "total": one.bill.total,
                        "balance": one.balance,
                        "unprocessed_payment_amount": ZERO,
                        "amount_applied": one.amount,
                        "apply_date": one.date.isoformat(),
                        "tax_amount_withheld": ZERO,
                        "date": one.bill.date.isoformat(),
                        "due_date": one.due_date.isoformat(),
                    }
                    for one in payment.applied
                ],
                "vendorpayment_refunds": [],
                "comments": [],
            }
        )

    def webhook_extra(self, _: Books, __: VendorPayment) -> Document:
        """Nothing."""
        return {}

    def webhook_entity(self, _: VendorPayment) -> str:
        """``…/webhooks/vendor-payments``."""
        return "vendor-payments"

    def refuses_deletion(self, _: Books, __: VendorPayment) -> bool:
        """Payments can be deleted; their bills are unpaid again."""
        return False

    def retire(self, _: Books, payment: VendorPayment) -> str:
        """Not needed.

        Raises:
            SandboxError: always.
        """
        raise SandboxError(f"payment {payment.id} can be deleted")

    def parameter(self, _: Books, name: str, value: str) -> Predicate[VendorPayment] | None:
        """``vendor_id``, and the documented date filters."""
        if name == "vendor_id":
            return lambda payment: payment.contact.id == value
        return date_parameter(name, value, ["date"])
