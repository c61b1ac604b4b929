"""Credit notes: documents with lines, applied to invoices or given back as money.

``balance = total - applied to invoices - refunded``, 0 if void. The generated ones account for what the
generated invoices say was credited, as far as their number goes; the rest wait, are refunded, or are drafts.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tds_sandbox import vocabulary as words
from tds_sandbox.books import ABSENT, FULL, Books, EditKind, Entity, Fault, Predicate, Record
from tds_sandbox.errors import SandboxError
from tds_sandbox.jsontext import Document
from tds_sandbox.modules.contacts import Contact
from tds_sandbox.modules.documents import (
    Line,
    Transaction,
    carry_credits,
    date_parameter,
    detail_address,
    edit_notes,
    exchange_rate,
    favourites,
    line_edits,
    lines_shown,
    new_line,
    note_uses,
    shown,
    volume_times,
)
from tds_sandbox.modules.items import Item
from tds_sandbox.modules.settlement import (
    Application,
    Part,
    Refund,
    cover,
    give_back,
    refunded,
    spend,
    used,
)
from tds_sandbox.modules.shapes import shapes
from tds_sandbox.money import ZERO, Address, round_base

_ROW, _DETAIL, _LINE = shapes("creditnotes", "row", "detail", "line")
_PER_MONTH = 60
# Of those that no invoice accounts for, in a thousand.
_STATES = (("open", 550), ("draft", 110), ("void", 80), ("refunded", 120), ("partly_refunded", 140))
_TWENTIETH = Decimal("0.05")


@dataclass(slots=True, kw_only=True)
class CreditNote(Transaction):
    """A credit note."""

    salesperson: str
    applications: list[Application] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)

    @property
    def paid(self) -> Decimal:
        """What was applied or given back."""
        return used(self) + refunded(self)

    @property
    def credit(self) -> Decimal:
        """What the customer has to be credited still."""
        return self.balance if self.status == "open" else ZERO


def _reckon(note: CreditNote) -> None:
    note.reckon()
    if note.status in {"open", "closed"}:
        note.status = "open" if note.balance else "closed"


def _after_edit(books: Books, note: CreditNote) -> None:
    """Reckon anew, set the status that follows, and carry the difference to the customer's credits."""
    before = note.credit
    _reckon(note)
    carry_credits(books, note.contact, note.credit - before)


def _make_line(books: Books, note: CreditNote, rng: random.Random) -> Line:
    return _line_for(books, rng.choice(books.book("items").records), note, rng)


def _line_for(books: Books, item: Item, note: CreditNote, rng: random.Random) -> Line:
    return new_line(books, item, note.currency, rng, price=item.rate, taxed=None, family="credit_lines")


def _unused(note: CreditNote) -> bool:
    return note.status in {"draft", "open"} and not note.paid


def _send(books: Books, note: CreditNote, _: random.Random) -> None:
    note.status = "open"
    carry_credits(books, note.contact, note.credit)
    _after_edit(books, note)


def _void(books: Books, note: CreditNote, _: random.Random) -> None:
    carry_credits(books, note.contact, -note.credit)
    note.status = "void"
    note.reckon()


def _apply(books: Books, note: CreditNote, rng: random.Random) -> None:
    spend(books, note, note.balance, rng, credit=True)
    _after_edit(books, note)


def _take_back(books: Books, note: CreditNote, rng: random.Random) -> None:
    application = note.applications.pop(rng.randrange(len(note.applications)))
    give_back(books, [application], credit=True)
    before = note.credit
    note.status = "open"
    _reckon(note)
    carry_credits(books, note.contact, note.credit - before)


def _refund(books: Books, note: CreditNote, rng: random.Random) -> None:
    half = note.currency.round(note.balance / 2)
    amount = half if half and rng.random() < 0.4 else note.balance
    today = books.calendar.day(books.now())
    note.refunds.append(Refund(books.new_id("credits"), today, amount, "cash"))
    _after_edit(books, note)


def _edit_reference(_: Books, note: CreditNote, rng: random.Random) -> None:
    note.reference = f"RMA-{rng.randrange(10**4, 10**5)}"


class CreditNotes(Entity[CreditNote]):
    """``/creditnotes``."""

    name = "creditnotes"
    record_key = "creditnote"
    id_key = "creditnote_id"
    noun = "Credit Note"
    report_name = "Credit Notes"
    url = "credit-notes"
    scope = "creditnotes.READ"
    default_filter = "Status.All"
    default_sort = ("created_time", "D")
    honours_modified_filter = True

    def __init__(self) -> None:
        def status(name: str) -> Predicate[CreditNote]:
            return lambda note: note.status == name

        self.filters: dict[str, Predicate[CreditNote]] = {
            "Status.All": lambda _: True,
            **{f"Status.{name.title()}": status(name) for name in ("open", "draft", "closed", "void")},
        }
        self.sort_keys: dict[str, Callable[[CreditNote], Any]] = {
            "customer_name": lambda note: (note.contact_name.casefold(), note.id),
            "creditnote_number": lambda note: (note.number, note.id),
            "balance": lambda note: (note.balance, note.id),
            "total": lambda note: (note.total, note.id),
            "date": lambda note: (note.date, note.id),
            "created_time": lambda note: (note.created, note.id),
            "last_modified_time": lambda note: (note.modified, note.id),
        }
        open_: Predicate[CreditNote] = lambda note: note.status == "open" and note.balance > 0  # noqa: E731
        self.edits: dict[str, EditKind[CreditNote]] = {
            **line_edits(_after_edit, _unused, _make_line),
            "send": EditKind(_send, lambda note: note.status == "draft"),
            "apply": EditKind(_apply, lambda note: open_(note) and note.contact.receivable > 0),
            "take_back": EditKind(_take_back, lambda note: bool(note.applications)),
            "refund": EditKind(_refund, open_),
            "notes": EditKind(edit_notes),
            "reference": EditKind(_edit_reference),
            "void": EditKind(_void, _unused),
        }
        self.faults = (
            Fault("bad total", "total", "12,5x", "not a number"),
            Fault("impossible date", "date", "2026-02-30", "there is no 30 February"),
            Fault("empty id", "creditnote_id", "", "the id is empty", frozenset({"list"})),
            Fault("bad line quantity", "line_items.0.quantity", "few", "not a number", FULL),
            Fault("missing id", "creditnote_id", ABSENT, "no id", frozenset({"list"})),
            Fault("bad credit", "invoices_credited.0.credited_amount", "12,5x", "not a number", FULL),
        )

    def plantable(self, note: CreditNote, fault: Fault) -> bool:
        """Only notes that were applied say to what."""
        return bool(note.applications) or not fault.path.startswith("invoices_credited")

    def generate(self, books: Books, count: int, rng: random.Random) -> list[CreditNote]:
        """Notes for what the invoices say was credited, which stay as they are; then others."""
        if not count:
            return []
        items = books.book("items").records
        customers = [c for c in books.book("contacts").records if not c.vendor]
        if not items or not customers:
            raise SandboxError("credit notes need items and customers")
        parts = [
            Part(invoice, invoice.credits_applied, invoice.last_payment or invoice.date, invoice.balance)
            for invoice in books.book("invoices").records
            if invoice.credits_applied
        ]
        parts.sort(key=lambda part: (part.date, part.invoice.id))
        groups = cover(parts, count, rng, together=0.3)
        drafts: list[tuple[int, Contact, list[Part]]] = []
        for group in groups:
            latest = max(part.invoice.created for part in group)
            created = min(latest + rng.randrange(60, 86_400), books.data_ends - 60)
            drafts.append((created, group[0].invoice.contact, group))
        draw = favourites(customers, rng)
        for created in volume_times(books, count - len(groups), _PER_MONTH, rng):
            drafts.append((created, draw(), []))
        drafts.sort(key=lambda draft: draft[0])
        states, weights = [name for name, _ in _STATES], [weight for _, weight in _STATES]
        notes = []
        for number, (created, customer, group) in enumerate(drafts, 1):
            note = self._make(books, number, created, customer, rng)
            if group:
                self._back(books, note, group, rng)
            else:
                for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
                    note.lines.append(_line_for(books, rng.choice(items), note, rng))
                self._settle(books, note, rng.choices(states, weights)[0], rng)
            note.modified = books.modified_after(rng, created)
            note_uses(books, note)
            note.contact.credits += note.credit
            notes.append(note)
        return notes

    @staticmethod
    def _make(books: Books, number: int, created: int, customer: Contact, rng: random.Random) -> CreditNote:
        return CreditNote(
            id=books.new_id("creditnotes", rng.randrange(4, 60)),
            created=created,
            modified=created,
            number=f"CN-{number:05d}",
            reference=f"RMA-{rng.randrange(10**4, 10**5)}" if rng.random() < 0.15 else "",
            date=books.calendar.day(created),
            contact=customer,
            contact_name=customer.name,
            billing=customer.billing,
            shipping=customer.shipping,
            currency=customer.currency,
            exchange_rate=exchange_rate(customer.currency, rng),
            status="open",
            lines=[],
            notes=rng.choice(words.NOTES),
            salesperson=rng.choice(words.SALESPEOPLE),
        )

    @staticmethod
    def _back(books: Books, note: CreditNote, group: list[Part], rng: random.Random) -> None:
        """Give the note goods of the invoices it credits, worth at least what it credits."""
        index = books.book("items").index
        amount = sum((part.amount for part in group), ZERO)
        total = amount + note.currency.round(amount * rng.choice((0, 0, 0, 2, 6)) * _TWENTIETH)
        sold = [line.item_id for part in group for line in part.invoice.lines]
        first = note.currency.round(total * rng.choice((1, 1, 3)) / 4) or total
        for rate in (first, total - first):
            if rate:
                line = _line_for(books, index[rng.choice(sold)], note, rng)
                line.quantity, line.rate = Decimal(1), rate
                note.lines.append(line)
        note.applications = [
            Application(
                books.new_id("credits"),
                part.invoice,
                part.amount,
                max(part.date, note.date),
                part.balance,
                part.invoice.due_date,
            )
            for part in group
        ]
        _reckon(note)

    @staticmethod
    def _settle(books: Books, note: CreditNote, state: str, rng: random.Random) -> None:
        """Give a note that no invoice accounts for its state."""
        note.reckon()
        if state in {"draft", "void"}:
            note.status = state
        elif state != "open":
            amount = note.total
            if state == "partly_refunded":
                amount = note.currency.round(note.total * rng.randrange(10, 90) / 100)
            if amount:
                note.refunds.append(Refund(books.new_id("credits"), note.date, amount, "cash"))
        _reckon(note)

    def create(self, books: Books, rng: random.Random) -> CreditNote:
        """An open credit note, half of them applied at once where the customer owes something."""
        items = books.book("items").records
        customers = [c for c in books.book("contacts").records if not c.vendor]
        if not items or not customers:
            raise SandboxError("credit notes need items and customers")
        book = books.book(self.name)
        number = len(book.records) + len(book.deleted) + 1
        note = self._make(books, number, books.now(), rng.choice(customers), rng)
        for _ in range(rng.randrange(1, 4)):
            note.lines.append(_line_for(books, rng.choice(items), note, rng))
        _after_edit(books, note)
        note_uses(books, note)
        if note.contact.receivable > 0 and rng.random() < 0.5:
            _apply(books, note, rng)
        return note

    def release(self, books: Books, document: Record) -> None:
        """Credits on the document are the customer's again."""
        for note in books.book(self.name).records:
            kept = [one for one in note.applications if one.invoice is not document]
            if len(kept) < len(note.applications):
                note.applications = kept
                _after_edit(books, note)
                books.follow(self.name, note, "take_back")

    def on_delete(self, books: Books, note: CreditNote) -> None:
        """The items and the customer are free again, and there is nothing to credit."""
        note_uses(books, note, -1)
        carry_credits(books, note.contact, -note.credit)

    @staticmethod
    def _shown(books: Books, note: CreditNote) -> Document:
        """What the list and the single credit note show alike."""
        return shown(books, note) | {"creditnote_id": note.id, "creditnote_number": note.number}

    def list_row(self, books: Books, note: CreditNote) -> Document:
        """The keys of the recorded list."""
        return _ROW.fill(self._shown(books, note) | {"salesperson_name": note.salesperson or "Others"})

    @staticmethod
    def _credited(note: CreditNote, one: Application) -> Document:
        return {
            "creditnote_id": note.id,
            "invoice_id": one.invoice.id,
            "creditnote_invoice_id": one.id,
            "date": one.date.isoformat(),
            "invoice_number": one.invoice.number,
            "creditnote_number": note.number,
            "credited_amount": one.amount,
        }

    @staticmethod
    def _refund_row(note: CreditNote, refund: Refund) -> Document:
        return {
            "creditnote_refund_id": refund.id,
            "creditnote_id": note.id,
            "date": refund.date.isoformat(),
            "refund_mode": refund.mode,
            "reference_number": "",
            "creditnote_number": note.number,
            "customer_name": note.contact_name,
            "description": "",
            "amount_bcy": round_base(refund.amount * Decimal(note.exchange_rate)),
            "amount_fcy": refund.amount,
        }

    @staticmethod
    def _address(address: Address) -> Document:
        whole = detail_address(address)
        return {key: value for key, value in whole.items() if key not in {"street", "country_code"}}

    def detail(self, books: Books, note: CreditNote) -> Document:
        """The keys of the recorded single credit note."""
        nothing = note.currency.formatted(ZERO)
        return _DETAIL.fill(
            self._shown(books, note)
            | {
                "invoices_credited": [self._credited(note, one) for one in note.applications],
                "salesperson_name": note.salesperson,
                "account_id": books.accounts["Accounts Receivable"],
                "line_items": lines_shown(books, note, _LINE, "Sales"),
                "shipping_charge_exclusive_of_tax_formatted": nothing,
                "shipping_charge_inclusive_of_tax_formatted": nothing,
                "total_credits_used": used(note),
                "total_refunded_amount": refunded(note),
                "creditnote_refunds": [self._refund_row(note, refund) for refund in note.refunds],
                "billing_address": self._address(note.billing),
                "shipping_address": self._address(note.shipping),
            }
        )

    def refuses_deletion(self, _: Books, note: CreditNote) -> bool:
        """Credit notes that were applied or refunded cannot be deleted."""
        return bool(note.applications or note.refunds)

    def retire(self, books: Books, note: CreditNote) -> str:
        """What was applied or refunded is taken back, then it is voided; it stays in the list."""
        give_back(books, note.applications, credit=True)
        note.applications, note.refunds = [], []
        _void(books, note, random.Random(0))
        return "void"

    def parameter(self, _: Books, name: str, value: str) -> Predicate[CreditNote] | None:
        """``status``, ``customer_id``, and the documented date filters."""
        if name == "status":
            return lambda note: note.status == value
        if name == "customer_id":
            return lambda note: note.contact.id == value
        return date_parameter(name, value, ["date"])
