"""The organisation: its records, the edits made to them, and the truth a mirror is compared with."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tds_sandbox.books import Book, Books, Entity, Fault, Record
from tds_sandbox.clock import Clock
from tds_sandbox.errors import SandboxError, UnknownRecordError, UnsuitableEditError
from tds_sandbox.jsontext import Document, decode, encode
from tds_sandbox.registry import ENTITIES, SETTINGS


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


def _chunks(records: list[Record], size: int) -> Iterator[list[Record]]:
    for start in range(0, len(records), size):
        yield records[start : start + size]


class Organisation(Books):
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
        lenient: whether lists take parameters that the official documents do not list, as some editions do.
        modified_filter_inclusive: whether ``last_modified_time`` filters with ``>=``; undocumented, so the
            default is the harder ``>``.
        stock_by: key of an item's stock by place: ``locations``, ``warehouses`` as in older organisations; or
            ``inventory``: only the Inventory API tells it.
        entities: the modules it has, in the order they are generated.
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
        lenient: bool = False,
        entities: Sequence[Entity[Any]] = ENTITIES,
        **counts: int,
    ) -> None:
        unknown = set(counts) - {entity.name for entity in entities}
        if unknown:
            raise SandboxError(f"unknown entities: {', '.join(sorted(unknown))}")
        if any(count < 0 for count in counts.values()):
            raise SandboxError("counts must not be negative")
        if stock_by not in {"locations", "warehouses", "inventory"}:
            raise SandboxError(f"no stock by {stock_by!r}; there are locations, warehouses and inventory")
        super().__init__(organization_id, clock or Clock(), offset_minutes, stock_by)
        self.seed = seed
        self.name = name
        self.modified_filter_inclusive = modified_filter_inclusive
        self.lenient = lenient
        self.counts_every_list = True
        """Whether ``response_option=2`` counts any list; only that of invoices is documented to."""
        self.activity_key: str | None = "activity_logs"
        """Key of the activity log's rows, which no document tells; None: it answers in another form."""
        self.lock = threading.RLock()
        self.changes: list[Change] = []
        self.listeners: list[Callable[[Change, Record], None]] = []
        self._rng = random.Random(f"{seed}/edits")
        for entity in entities:
            self.books[entity.name] = Book.of(
                entity, self, counts.get(entity.name, 0), f"{seed}/{entity.name}"
            )
        for entity in SETTINGS:
            self.settings[entity.name] = Book.of(entity, self, 0, "0")
        self._hide_stamps(unstamped_share)
        self._plant(bad_records)

    def _hide_stamps(self, share: float) -> None:
        for name in ("items", "contacts"):
            records = self.books[name].records if name in self.books else []
            for record in random.Random(f"{self.seed}/unstamped/{name}").sample(
                records, round(share * len(records))
            ):
                record.hides_modified = True

    # reading

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
        for chunk in _chunks(records, 200):
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
        longest = max(len(other.entity.faults) for other in self.books.values())
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
