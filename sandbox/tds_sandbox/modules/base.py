"""The modules of documents that are alike: bills, vendor credits and sales orders."""

from __future__ import annotations

import abc
import random
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from tds_sandbox import vocabulary as words
from tds_sandbox.books import ABSENT, FULL, Books, EditKind, Entity, Fault, Predicate
from tds_sandbox.errors import SandboxError
from tds_sandbox.jsontext import Document
from tds_sandbox.modules.contacts import Contact
from tds_sandbox.modules.documents import (
    LINE_COUNTS,
    Line,
    Transaction,
    back_dated,
    date_parameter,
    draw_discount,
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
from tds_sandbox.modules.shapes import Shape

_DISCOUNTS = ("none", "entity_percent", "entity_amount", "item")

T = TypeVar("T", bound=Transaction)


def _edit_reference(_: Books, document: Transaction, rng: random.Random) -> None:
    document.reference = f"REF-{rng.randrange(10**4, 10**5)}"


class Documents(Entity[T], abc.ABC):
    """A module of such documents."""

    prefix: ClassVar[str]
    """Of the numbers: ``BILL-00001``."""
    vendors: ClassVar[bool] = True
    """Whether they are vendors' documents; customers' otherwise."""
    per_month: ClassVar[int] = 60
    """How many are generated a month."""
    default_filter = "Status.All"
    default_sort = ("created_time", "D")
    number_key: ClassVar[str]
    states: ClassVar[tuple[str, ...]]
    row: ClassVar[Shape]
    whole: ClassVar[Shape]
    line: ClassVar[Shape]
    """Its shapes: as the list has it, as it is by itself, and its lines."""

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
            Fault("bad line quantity", "line_items.0.quantity", "few", "not a number", FULL),
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

    def shown(self, books: Books, document: T) -> Document:
        """What the list and the single document show alike."""
        return shown(books, document) | {self.id_key: document.id, self.number_key: document.number}

    def lines(self, books: Books, document: T) -> list[Document]:
        """``line_items[]``."""
        return lines_shown(books, document, self.line, "Inventory Asset" if self.vendors else "Sales")

    def list_row(self, books: Books, document: T) -> Document:
        """The keys of a list row."""
        return self.row.fill(self.shown(books, document))

    def detail(self, books: Books, document: T) -> Document:
        """The keys of a single document."""
        return self.whole.fill(self.shown(books, document) | {"line_items": self.lines(books, document)})

    def parameter(self, _: Books, name: str, value: str) -> Predicate[T] | None:
        """``status``, the contact's id, and the documented date filters."""
        if name == "status":
            return lambda document: document.status == value
        if name in {"vendor_id", "customer_id"}:
            return lambda document: document.contact.id == value
        return date_parameter(name, value, ["date"])
