"""The organisation: its records, the edits made to them, and the truth a mirror is compared with."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from zlib import crc32

from tds_sandbox.clock import Calendar, Clock
from tds_sandbox.entity import Entity, Fault, Record, chunks
from tds_sandbox.errors import SandboxError, UnknownRecordError, UnsuitableEditError
from tds_sandbox.jsontext import Document, decode, encode
from tds_sandbox.money import Currency, Location, Tax, Terms
from tds_sandbox.registry import ENTITIES, SETTINGS

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


@dataclass(frozen=True)
class Change:
    """One edit that was made.

    ``at`` is sandbox time, ``wall`` real time, both epoch seconds. ``event`` is create, edit or delete.
    """

    number: int
    entity: str
    id: str
    event: str
    kind: str
    at: float
    wall: float
    silent: bool
    seed: int

    def as_dict(self) -> Document:
        """For the control API."""
        return {
            "number": self.number,
            "entity": self.entity,
            "id": self.id,
            "event": self.event,
            "kind": self.kind,
            "at": Decimal(f"{self.at:.3f}"),
            "wall": Decimal(f"{self.wall:.6f}"),
            "silent": self.silent,
        }


@dataclass(frozen=True)
class Truth:
    """A record as it really is: what a mirror must hold.

    ``document`` is the full detail document, without planted faults. ``planted`` names the faults that are
    served in its place.
    """

    entity: str
    id: str
    deleted: bool
    planted: tuple[str, ...]
    document: Document


@dataclass
class Book:
    """The records of one entity, in order of creation."""

    entity: Entity[Any]
    records: list[Any]
    index: dict[str, Any] = field(default_factory=dict)
    deleted: list[Any] = field(default_factory=list)
    version: int = 0
    selections: dict[Any, tuple[int, list[Any]]] = field(default_factory=dict)


def _settings_book(organisation: Organisation, entity: Entity[Any]) -> Book:
    records = entity.generate(organisation, 0, random.Random(0))
    return Book(entity, records, {record.id: record for record in records})


class Organisation:
    """A stand-in Zoho Books organisation.

    All methods may be called from any thread.

    Args:
        seed: of everything random; equal arguments give equal data and equal edits.
        organization_id: 8 to 11 digits.
        name: shown by ``/organizations``.
        clock: of edits, tokens and limits; real time if None.
        offset_minutes: of the organisation's time zone, east of UTC.
        bad_records: how many bad records to plant (see ``planted``).
        unstamped_share: share of list rows of items and contacts without ``last_modified_time`` (seen live).
        modified_filter_inclusive: whether ``last_modified_time`` filters with ``>=``; undocumented, so the
            default is the harder ``>``.
        stock_by: key of an item's stock by place: ``locations``, or ``warehouses`` as in older organisations.
        counts: how many records of each entity, by its name: ``items=2218``.

    Raises:
        SandboxError: an entity is unknown, or a count is negative.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        organization_id: str = "748139205",
        name: str = "Sandbox Trading",
        clock: Clock | None = None,
        offset_minutes: int = -240,
        bad_records: int = 0,
        unstamped_share: float = 0.001,
        modified_filter_inclusive: bool = False,
        stock_by: str = "locations",
        **counts: int,
    ) -> None:
        unknown = set(counts) - {entity.name for entity in ENTITIES}
        if unknown:
            raise SandboxError(f"unknown entities: {', '.join(sorted(unknown))}")
        if any(count < 0 for count in counts.values()):
            raise SandboxError("counts must not be negative")
        if stock_by not in {"locations", "warehouses"}:
            raise SandboxError(f"no stock by {stock_by!r}; there are locations and warehouses")
        self.seed = seed
        self.organization_id = organization_id
        self.name = name
        self.clock = clock or Clock()
        self.calendar = Calendar(offset_minutes)
        self.modified_filter_inclusive = modified_filter_inclusive
        self.stock_by = stock_by
        self.counts_every_list = True
        """Whether ``response_option=2`` counts any list; only that of invoices is documented to."""
        self.lock = threading.RLock()
        self.data_ends = self.calendar.epoch(DATA_ENDS)
        self.uses: Counter[str] = Counter()
        """How many transactions use a record, by its id."""
        self.changes: list[Change] = []
        self._following: list[tuple[str, Record, str, str]] = []
        self.listeners: list[Callable[[Change, Record], None]] = []
        # Like the real ones: a prefix that belongs to the organisation, then a running number; 19 digits.
        self._prefix = str(1_000_000 + crc32(organization_id.encode()) % 8_999_999)
        self._numbers: dict[str, int] = {}
        self._rng = random.Random(f"{seed}/edits")
        self._set_up()
        self.planted: dict[str, list[Fault]] = {}
        self.books: dict[str, Book] = {}
        for entity in ENTITIES:
            records = entity.generate(
                self, counts.get(entity.name, 0), random.Random(f"{seed}/{entity.name}")
            )
            self.books[entity.name] = Book(entity, records, {record.id: record for record in records})
        self.settings = {entity.name: _settings_book(self, entity) for entity in SETTINGS}
        self._hide_stamps(unstamped_share)
        self._plant(bad_records)

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

    def _hide_stamps(self, share: float) -> None:
        for name in ("items", "contacts"):
            records = self.books[name].records
            for record in random.Random(f"{self.seed}/unstamped/{name}").sample(
                records, round(share * len(records))
            ):
                record.hides_modified = True

    # reading

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

    def row_json(self, entity: str, record: Record) -> str:
        """The list row as served, planted faults included; cached until the record changes."""
        if record.row is None:
            document = self.book(entity).entity.list_row(self, record)
            if record.hides_modified:
                document.pop("last_modified_time", None)
            self._spoil(record, document, "list")
            record.row = encode(document)
        return record.row

    def detail_json(self, entity: str, record: Record) -> str:
        """The detail document as served, planted faults included."""
        document = self.book(entity).entity.detail(self, record)
        self._spoil(record, document, "detail")
        return encode(document)

    def webhook_document(self, entity: str, record: Record) -> Document:
        """The detail document a webhook starts from, planted faults included."""
        module = self.book(entity).entity
        document = module.detail(self, record) | module.webhook_extra(self, record)
        self._spoil(record, document, "webhook")
        return document

    def _spoil(self, record: Record, document: Document, shape: str) -> None:
        for fault in self.planted.get(record.id, ()):
            if shape in fault.shapes:
                fault.plant(document)

    def document(self, entity: str, record_id: str) -> Document:
        """The detail document of one living record as it really is, without planted faults.

        Raises:
            UnknownRecordError: no such entity or record.
        """
        with self.lock:
            book = self.book(entity)
            document: Document = decode(encode(book.entity.detail(self, self.find(entity, record_id))))
            return document

    def truth(self, entity: str) -> Iterator[Truth]:
        """Every record of an entity, deleted ones last, as it really is.

        Numbers with a fraction are ``Decimal``.
        """
        for line in self.truth_lines(entity):
            row = decode(line)
            yield Truth(entity, row["id"], row["deleted"], tuple(row["planted"]), row["document"])

    def truth_lines(
        self, entity: str, shape: str = "detail", *, deleted: bool = True, silent: bool = True
    ) -> Iterator[str]:
        """The same as JSON texts: ``{"id","deleted","planted","document"}``.

        Args:
            entity: its name.
            shape: ``detail``, or ``list`` for the rows of the list, equally without planted faults.
            deleted: whether deleted records, with their last state, are among them.
            silent: whether documents keep the keys that change unannounced (``Entity.silent_keys``): stock,
                a customer's balance. A mirror fed by webhooks alone cannot know these.

        Raises:
            UnknownRecordError: no such entity.
            SandboxError: no such shape.
        """
        if shape not in {"detail", "list"}:
            raise SandboxError(f"no shape {shape!r}; there are detail and list")
        book = self.book(entity)
        build = book.entity.detail if shape == "detail" else book.entity.list_row
        hidden = frozenset() if silent else book.entity.silent_keys
        with self.lock:
            records = [*book.records, *(book.deleted if deleted else ())]
        for chunk in chunks(records, 200):
            with self.lock:
                lines = [
                    encode(
                        {
                            "id": record.id,
                            "deleted": record.deleted is not None,
                            "planted": [fault.name for fault in self.planted.get(record.id, ())],
                            "document": {
                                key: value for key, value in build(self, record).items() if key not in hidden
                            },
                        }
                    )
                    for record in chunk
                ]
            yield from lines

    def planted_records(self) -> list[Document]:
        """The bad records: ``entity, id, fault, path, value, absent, reason, shapes``."""
        with self.lock:
            listed: list[Document] = []
            for book in self.books.values():
                for record in book.records:
                    for fault in self.planted.get(record.id, ()):
                        absent = not isinstance(fault.value, str)
                        listed.append(
                            {
                                "entity": book.entity.name,
                                "id": record.id,
                                "fault": fault.name,
                                "path": fault.path,
                                "value": None if absent else fault.value,
                                "absent": absent,
                                "reason": fault.reason,
                                "shapes": sorted(fault.shapes),
                            }
                        )
            return listed

    # writing

    def _plant(self, count: int) -> None:
        rng = random.Random(f"{self.seed}/bad")
        kinds = [
            (book, fault)
            for group in zip(*[self._faults_padded(book) for book in self.books.values()], strict=True)
            for book, fault in group
            if fault is not None and book.records
        ]
        if count and not kinds:
            raise SandboxError("bad records asked for, but there are no records")
        planted = 0
        for turn in range(count):
            book, fault = kinds[turn % len(kinds)]
            free = [r for r in book.records if r.id not in self.planted and book.entity.plantable(r, fault)]
            if free:
                record = rng.choice(free)
                self.planted[record.id] = [fault]
                planted += 1
        if planted < count:
            raise SandboxError(f"only {planted} of {count} bad records could be planted: too few records")

    def _faults_padded(self, book: Book) -> list[tuple[Book, Fault | None]]:
        longest = max(len(entity.faults) for entity in ENTITIES)
        faults: list[Fault | None] = [*book.entity.faults]
        return [(book, fault) for fault in faults + [None] * (longest - len(faults))]

    def mend(self, ids: Iterable[str] | None = None, *, fire: bool | None = None) -> list[Change]:
        """Correct planted records as a user would: a new ``last_modified_time``, and a webhook.

        Args:
            ids: which; all if None.
            fire: whether webhooks are sent; as Zoho would if None.

        Raises:
            UnknownRecordError: an id is not planted.
        """
        with self.lock:
            wanted = list(self.planted) if ids is None else list(ids)
            changes = []
            for record_id in wanted:
                if record_id not in self.planted:
                    raise UnknownRecordError(f"{record_id} is not a planted record")
                book = next(b for b in self.books.values() if record_id in b.index)
                del self.planted[record_id]
                changes.append(self._changed(book, book.index[record_id], "edit", "mend", fire=fire))
            return changes

    def _changed(
        self,
        book: Book,
        record: Record,
        event: str,
        kind: str,
        *,
        silent: bool = False,
        fire: bool | None = None,
    ) -> Change:
        if not silent:
            record.modified = max(record.modified, self.now())
        record.row = None
        book.version += 1
        change = Change(
            len(self.changes) + 1,
            book.entity.name,
            record.id,
            event,
            kind,
            self.clock.now(),
            time.time(),
            silent,
            self._rng.getrandbits(32),
        )
        self.changes.append(change)
        # A silent change reaches the listeners too: somebody may have wired stock by other means.
        if book.entity.announced if fire is None else fire:
            for listener in self.listeners:
                listener(change, record)
        return change

    def _finish(
        self, book: Book, record: Record, event: str, kind: str, *, silent: bool = False, fire: bool | None
    ) -> Change:
        """Note a change, and after it those of the records that changed with it."""
        change = self._changed(book, record, event, kind, silent=silent, fire=fire)
        following, self._following = self._following, []
        for entity, other, other_event, other_kind in following:
            if other.deleted is None:
                self._changed(self.books[entity], other, other_event, other_kind, fire=fire)
        return change

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

    def reseed(self, seed: int) -> None:
        """Start the random choices of edits anew."""
        with self.lock:
            self._rng = random.Random(f"{seed}/edits")

    def edit(
        self,
        entity: str,
        record_id: str | None = None,
        *,
        kind: str | None = None,
        silent: bool = False,
        fire: bool | None = None,
    ) -> Change:
        """Make one plausible edit, as a user of the web pages would.

        Args:
            entity: its name.
            record_id: which record; a random one, never a planted one, if None.
            kind: of edit (``Entity.edits``); a random one if None.
            silent: whether a random kind may be one that neither moves ``last_modified_time`` nor fires a
                webhook (stock); naming such a kind needs no permission.
            fire: whether the webhook is sent; as Zoho would if None: price lists and settings have none. Not
                sending is what imports and custom functions do.

        Raises:
            UnknownRecordError: no such entity or record.
            UnsuitableEditError: the kind is unknown or suits no record asked for.
        """
        with self.lock:
            book = self.book(entity)
            kinds = book.entity.edits
            if kind is not None and kind not in kinds:
                raise UnsuitableEditError(f"no edit {kind!r} for {entity}; there are {', '.join(kinds)}")
            drawn = [k for k, edit in kinds.items() if (silent or not edit.silent) and not edit.named]
            candidates = [kind] if kind else drawn
            if record_id is not None:
                record = self.find(entity, record_id)
                suited = [k for k in candidates if kinds[k].suits(record)]
                if not suited:
                    raise UnsuitableEditError(f"{kind or 'no edit'} suits {entity} {record_id}")
                chosen = self._rng.choice(suited)
            else:
                chosen, record = self._pick(book, candidates)
            kinds[chosen].apply(self, record, self._rng)
            return self._finish(book, record, "edit", chosen, silent=kinds[chosen].silent, fire=fire)

    def _pick(self, book: Book, candidates: Sequence[str]) -> tuple[str, Record]:
        # Drawing first and searching only when unlucky keeps an edit cheap among 100,000 records.
        for _ in range(50):
            if not book.records:
                break
            record = self._rng.choice(book.records)
            kind = self._rng.choice(candidates)
            if record.id not in self.planted and book.entity.edits[kind].suits(record):
                return kind, record
        pairs = [
            (kind, record)
            for record in book.records
            if record.id not in self.planted
            for kind in candidates
            if book.entity.edits[kind].suits(record)
        ]
        if not pairs:
            raise UnsuitableEditError(f"no record of {book.entity.name} suits {', '.join(candidates)}")
        return self._rng.choice(pairs)

    def create(self, entity: str, *, fire: bool | None = None) -> Change:
        """Add one record, as of now."""
        with self.lock:
            book = self.book(entity)
            record = book.entity.create(self, self._rng)
            book.records.append(record)
            book.index[record.id] = record
            return self._finish(book, record, "create", "create", fire=fire)

    def delete(self, entity: str, record_id: str | None = None, *, fire: bool | None = None) -> Change:
        """Delete a record; one that transactions hang on becomes inactive or void instead, as users do.

        Args:
            entity: its name.
            record_id: which; a random one that can really be deleted, if None.
            fire: whether the webhook is sent; as Zoho would if None.

        Raises:
            UnknownRecordError: no such entity or record.
            UnsuitableEditError: no record can be deleted, and none was named.
        """
        with self.lock:
            book = self.book(entity)
            if record_id is None:
                free = [
                    r
                    for r in book.records
                    if r.id not in self.planted and not book.entity.refuses_deletion(self, r)
                ]
                if not free:
                    raise UnsuitableEditError(f"every record of {entity} is used by transactions")
                record = self._rng.choice(free)
            else:
                record = self.find(entity, record_id)
            if book.entity.refuses_deletion(self, record):
                kind = book.entity.retire(self, record)
                return self._finish(book, record, "edit", kind, fire=fire)
            record.deleted = self.now()
            book.records.remove(record)
            del book.index[record.id]
            book.deleted.append(record)
            self.planted.pop(record.id, None)
            book.entity.on_delete(self, record)
            return self._finish(book, record, "delete", "delete", fire=fire)

    def void(
        self, record_id: str | None = None, *, entity: str = "invoices", fire: bool | None = None
    ) -> Change:
        """Void a transaction that has no payments.

        Raises:
            UnknownRecordError: no such record.
            UnsuitableEditError: it is void already, or has payments.
        """
        return self.edit(entity, record_id, kind="void", fire=fire)
