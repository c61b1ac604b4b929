"""The books of an books, and what is kept in them: one ``Entity`` describes one of Zoho's modules.

A new module is one file in ``modules/`` with a ``Record`` and an ``Entity``, and a line in ``registry.py``.
Modules know the books, not the ``Organisation`` that has them and edits and serves what they hold.
"""

from __future__ import annotations

import abc
import random
from collections import Counter
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Generic, TypeVar
from zlib import crc32

from tds_sandbox.clock import Calendar, Clock
from tds_sandbox.errors import SandboxError, UnknownRecordError
from tds_sandbox.jsontext import Document
from tds_sandbox.money import Currency, Location, Tax, Terms

DATA_ENDS = datetime(2025, 10, 31, 18, 0, 0)
"""Local time up to which records are generated: fixed, so that the same seed always gives the same data."""

_TERMS = (
    ("Due on Receipt", 0),
    ("Net 7", 7),
    ("Immediately", 0),
    ("Due On Receipt", 0),
    ("المستحق عند الاستلام", 0),
    ("دفع عند التوصيل", 0),
    ("Net 15", 15),
    ("Net 30", 30),
    ("Net 99999", 99999),
)
_CURRENCIES = (
    ("USD", "US Dollar", "$", 2, "1"),
    ("IQD", "Iraqi Dinar", "IQD", 0, "0.000763"),
    ("RMB", "Chinese Yuan", "¥", 2, "0.140000"),
    ("EUR", "Euro", "€", 2, "1.080000"),
)
_TAXES = (("VAT", "5"), ("Sales Tax", "7.25"))
_LOCATIONS = ("Main Warehouse", "Shop", "Storage")

ABSENT = object()
"""Stands for a key that is not there at all, which is something else than an empty one."""
FULL = frozenset({"detail", "webhook"})
"""Shapes of the whole document: where a fault shows that lies in what lists leave out."""


@dataclass(slots=True, kw_only=True)
class Record:
    """One record of the books.

    Times are epoch seconds, whole as Zoho's are. ``row`` caches the list row's JSON; a change
    drops it.
    """

    id: str
    created: int
    modified: int
    deleted: int | None = None
    hides_modified: bool = False
    row: str | None = None


R = TypeVar("R", bound=Record)
Predicate = Callable[[R], bool]


@dataclass(frozen=True)
class EditKind(Generic[R]):
    """One plausible edit.

    Args:
        apply: changes the record.
        suits: whether the edit makes sense for the record.
        silent: neither moves ``last_modified_time`` nor fires a webhook, as movements of stock do.
        named: is made only where it is asked for by name, never drawn.
    """

    apply: Callable[[Books, R, random.Random], None]
    suits: Callable[[R], bool] = lambda _: True
    silent: bool = False
    named: bool = False


@dataclass(frozen=True)
class Fault:
    """A bad value that ``bad_records`` plants in what is served.

    Args:
        name: of the kind, as the ledger of planted records shows it.
        path: dotted keys, ``line_items.0.rate``; indexes are numbers.
        value: what is served instead, or ``ABSENT``.
        reason: why a mirror must refuse it.
        shapes: the documents it shows in: list, detail, webhook.
    """

    name: str
    path: str
    value: Any
    reason: str
    shapes: frozenset[str] = FULL | {"list"}

    def plant(self, document: Document) -> None:
        """Spoil a document in place; a document without that path stays as it is."""
        *parents, last = self.path.split(".")
        node: Any = document
        for step in parents:
            key = int(step) if isinstance(node, list) else step
            if key not in (range(len(node)) if isinstance(node, list) else node):
                return
            # A copy: documents share with others what is the same in all of them.
            node[key] = copy(node[key])
            node = node[key]
        if self.value is ABSENT:
            node.pop(last, None)
        elif last in node:
            node[last] = self.value


class Entity(abc.ABC, Generic[R]):
    """One module of Zoho Books: its URLs, shapes, filters, edits and webhooks."""

    name: ClassVar[str]
    """Path, and the list's key where ``list_key`` names no other: ``items``."""
    list_key: ClassVar[str] = ""
    record_key: ClassVar[str]
    id_key: ClassVar[str]
    noun: ClassVar[str]
    report_name: ClassVar[str]
    url: ClassVar[str] = ""
    """The last part of the URL its webhooks go to, where it is another than the name."""
    scope: ClassVar[str]
    """OAuth scope a read needs, without the ``ZohoBooks.`` in front."""
    default_filter: ClassVar[str]
    default_sort: ClassVar[tuple[str, str]]
    honours_modified_filter: ClassVar[bool]
    """Whether the list obeys ``last_modified_time``; where not, the filter is ignored in silence."""
    ignores_filters: ClassVar[bool] = False
    """Whether the list ignores every filter in silence, ``filter_by`` included, as that of bills does."""
    silent_keys: ClassVar[frozenset[str]] = frozenset()
    """Keys of the detail that change without a new ``last_modified_time`` and without a webhook."""
    context_extra: ClassVar[Mapping[str, Any]] = {}
    announced: ClassVar[bool] = True
    """Whether Zoho has webhooks for it. Where not, only an edit that is told to fire sends one."""

    filters: Mapping[str, Predicate[R]]
    sort_keys: Mapping[str, Callable[[R], Any]]
    edits: Mapping[str, EditKind[R]]
    faults: tuple[Fault, ...]

    @abc.abstractmethod
    def generate(self, books: Books, count: int, rng: random.Random) -> list[R]:
        """Make the first records, in order of creation."""

    @abc.abstractmethod
    def create(self, books: Books, rng: random.Random) -> R:
        """Make one more record, as of now."""

    @abc.abstractmethod
    def list_row(self, books: Books, record: R) -> Document:
        """The record as a list shows it."""

    @abc.abstractmethod
    def detail(self, books: Books, record: R) -> Document:
        """The record as ``GET /{entity}/{id}`` shows it."""

    def webhook_entity(self, record: R) -> str:  # noqa: ARG002 - for those with several
        """The last part of the URL the record's webhooks go to."""
        return self.url or self.name

    def webhook_extra(self, books: Books, record: R) -> Document:  # noqa: ARG002 - for those with custom fields
        """What a webhook's body has beyond the detail: ``cf_*`` pairs, among others."""
        return {}

    def refuses_deletion(self, books: Books, record: R) -> bool:  # noqa: ARG002 - for those that hold on
        """Whether Zoho would refuse to delete it, because transactions hang on it."""
        return False

    def retire(self, books: Books, record: R) -> str:  # noqa: ARG002 - for those that may refuse deletion
        """What a user does instead of the refused deletion; returns the name of that edit.

        Raises:
            SandboxError: nothing, as it can be deleted.
        """
        raise SandboxError(f"{self.noun} {record.id} can be deleted")

    def movement(
        self,
        books: Books,  # noqa: ARG002 - for those that have movements
        record: R,  # noqa: ARG002
        form: str,  # noqa: ARG002
    ) -> Document | None:
        """The body that tells of the record's last silent change, in a form of ``WebhookSettings.stock``."""
        return None

    def collect(
        self,
        books: Books,  # noqa: ARG002 - for the modules of payments
        document: Record,
        amount: Decimal,  # noqa: ARG002
        rng: random.Random,  # noqa: ARG002
    ) -> None:
        """Record that so much was paid for a document; for the modules of payments.

        Raises:
            SandboxError: the module is none of those.
        """
        raise SandboxError(f"{self.name} do not pay for {document.id}")

    def release(self, books: Books, document: Record) -> None:
        """Take back what records of this module pay or credit on a document that is voided."""

    def on_delete(self, books: Books, record: R) -> None:
        """Undo what the record's existence did to others: uses of items, a customer's balance."""

    def parameter(
        self,
        books: Books,  # noqa: ARG002 - for those with parameters of their own
        name: str,  # noqa: ARG002
        value: str,  # noqa: ARG002
    ) -> Predicate[R] | None:
        """The predicate of one more query parameter; None if the real API ignores it."""
        return None

    def plantable(self, record: R, fault: Fault) -> bool:  # noqa: ARG002 - for those with optional keys
        """Whether the fault would show in this record's documents."""
        return True


@dataclass
class Book:
    """The records of one entity, in order of creation."""

    entity: Entity[Any]
    records: list[Any]
    index: dict[str, Any] = field(default_factory=dict)
    deleted: list[Any] = field(default_factory=list)
    version: int = 0
    selections: dict[Any, tuple[int, list[Any]]] = field(default_factory=dict)

    @classmethod
    def of(cls, entity: Entity[Any], books: Books, count: int, seed: str) -> Book:
        """A book with the first records of its entity."""
        records = entity.generate(books, count, random.Random(seed))
        return cls(entity, records, {record.id: record for record in records})


class Books:
    """What the modules work on: the records of all, and what the organisation has set up once.

    Args:
        organization_id: 8 to 11 digits; the ids of records begin with a number that follows from it.
        clock: of edits.
        offset_minutes: of the organisation's time zone, east of UTC.
        stock_by: key of an item's stock by place: ``locations``, or ``warehouses`` as in older organisations.
    """

    def __init__(self, organization_id: str, clock: Clock, offset_minutes: int, stock_by: str) -> None:
        self.organization_id = organization_id
        self.clock = clock
        self.calendar = Calendar(offset_minutes)
        self.stock_by = stock_by
        self.data_ends = self.calendar.epoch(DATA_ENDS)
        self.books: dict[str, Book] = {}
        self.settings: dict[str, Book] = {}
        """Currencies, taxes, locations: set up once and served by pages of their own."""
        self.planted: dict[str, list[Fault]] = {}
        self.uses: Counter[str] = Counter()
        """How many transactions use a record, by its id."""
        self._following: list[tuple[str, Record, str, str]] = []
        # Like the real ones: a prefix that belongs to the organisation, then a running number; 19 digits.
        self._prefix = str(1_000_000 + crc32(organization_id.encode()) % 8_999_999)
        self._numbers: dict[str, int] = {}
        self._set_up()

    def _set_up(self) -> None:
        self.currencies = {
            code: Currency(
                self.new_id("settings"),
                code,
                name,
                symbol,
                precision,
                Decimal(rate),
                is_base=code == "USD",
                effective="" if code == "USD" else "2025-10-01",
            )
            for code, name, symbol, precision, rate in _CURRENCIES
        }
        self.base = self.currencies["USD"]
        self.taxes = [Tax(self.new_id("settings"), name, Decimal(rate)) for name, rate in _TAXES]
        self.terms = {label: Terms(self.new_id("settings"), label, days) for label, days in _TERMS}
        self.locations = [Location(self.new_id("settings"), name) for name in _LOCATIONS]
        self.accounts = {
            name: self.new_id("settings")
            for name in ("Sales", "Cost of Goods Sold", "Inventory Asset", "Accounts Receivable", "Discount")
        }
        self.field_ids = {
            name: self.new_id("settings")
            for name in ("cf_warranty_months", "cf_origin", "cf_risk_score", "cf_sales_area", "cf_driver")
        }
        self.user = (self.new_id("settings"), "Sandbox User")
        self.template_id = self.new_id("settings")
        # Later additions come last, so that all other ids stay what they were.
        self.accounts["Undeposited Funds"] = self.new_id("settings")
        for name in ("Accounts Payable", "Petty Cash"):
            self.accounts[name] = self.new_id("settings")
        self.field_ids["cf_container"] = self.new_id("settings")

    def new_id(self, family: str, step: int = 1) -> str:
        """The next free id of a family of records; ``step`` ids from it on belong to the caller."""
        number = self._numbers.get(family)
        if number is None:
            number = (len(self._numbers) + 1) * 10**10 + 29_001
        self._numbers[family] = number + step
        return f"{self._prefix}{number:012d}"

    def sibling(self, record_id: str, offset: int) -> str:
        """An id near a record's own, as Zoho numbers what it creates together."""
        return f"{self._prefix}{int(record_id[7:]) + offset:012d}"

    def now(self) -> int:
        """The clock in whole seconds, as ``last_modified_time`` knows it."""
        return int(self.clock.now())

    def creation_times(self, rng: random.Random, count: int) -> list[int]:
        """Ascending creation times over four and a half years; the first share comes from a bulk import."""
        start = self.data_ends - 1640 * 86_400
        imported = count // 7
        # A bulk import writes several records in one second.
        times = [start + i // 6 for i in range(imported)]
        times += sorted(
            rng.randrange(start + 86_400, self.data_ends - 3_600) for _ in range(count - imported)
        )
        return times

    def modified_after(self, rng: random.Random, created: int) -> int:
        """A time of the last edit for a record created then."""
        if rng.random() < 0.35:
            return created
        return created + int((self.data_ends - created) * rng.random() ** 2)

    def book(self, entity: str) -> Book:
        """The records of an entity, or of one of the settings: currencies, taxes, locations.

        Raises:
            UnknownRecordError: there is no such entity.
        """
        book = self.books.get(entity) or self.settings.get(entity)
        if book is None:
            known = ", ".join([*self.books, *self.settings])
            raise UnknownRecordError(f"no entity {entity!r}; there are {known}")
        return book

    def find(self, entity: str, record_id: str) -> Any:
        """The living record with that id.

        Raises:
            UnknownRecordError: there is none, or it was deleted.
        """
        record = self.book(entity).index.get(record_id)
        if record is None:
            raise UnknownRecordError(f"{self.book(entity).entity.noun} {record_id} does not exist")
        return record

    def follow(self, entity: str, record: Record, kind: str) -> None:
        """Note, within an edit, that another record changes with it: its time moves, its webhook goes out."""
        if not any(other is record for _, other, _, _ in self._following):
            self._following.append((entity, record, "edit", kind))

    def add(self, entity: str, record: Record) -> None:
        """Add a record, within an edit that brings it about, as paying an invoice does with a payment."""
        book = self.books[entity]
        book.records.append(record)
        book.index[record.id] = record
        self._following.append((entity, record, "create", "create"))

    def refresh(self, entity: str, record: Record) -> None:
        """Note that derived values of a record changed: its list row is made anew, its time stays."""
        record.row = None
        self.books[entity].version += 1
