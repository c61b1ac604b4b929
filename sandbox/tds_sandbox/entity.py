"""What every kind of record in the sandbox has: one ``Entity`` object describes one of Zoho's modules.

A new module (bills, payments, …) is one file with a ``Record``, an ``Entity``, and a line in ``registry.py``.
"""

from __future__ import annotations

import abc
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from tds_sandbox.errors import InvalidValueError, SandboxError
from tds_sandbox.jsontext import Document

if TYPE_CHECKING:
    from tds_sandbox.organisation import Organisation

ABSENT = object()
"""Stands for a key that is not there at all, which is something else than an empty one."""


@dataclass(slots=True, kw_only=True)
class Record:
    """One record of the organisation.

    Times are epoch seconds, whole as Zoho's are. ``row`` caches the list row's JSON; ``Organisation.touch``
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

    apply: Callable[[Organisation, R, random.Random], None]
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
    shapes: frozenset[str] = frozenset({"list", "detail", "webhook"})

    def plant(self, document: Document) -> None:
        """Spoil a document in place; a document without that path stays as it is."""
        *parents, last = self.path.split(".")
        node: Any = document
        for step in parents:
            if isinstance(node, list):
                if int(step) >= len(node):
                    return
                node = node[int(step)]
            elif step in node:
                node = node[step]
            else:
                return
        if self.value is ABSENT:
            node.pop(last, None)
        elif last in node:
            node[last] = self.value


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([+-]\d{4})?")


def parse_time(parameter: str, text: str) -> datetime:
    """Read ``2023-11-18T02:02:51-0800``; without an offset the organisation's own is meant.

    Raises:
        InvalidValueError: anything else, ``…Z`` included (seen live: 400, code 2).
    """
    if not _TIME.fullmatch(text):
        raise InvalidValueError(parameter)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValueError(parameter) from None


def parse_date(parameter: str, text: str) -> str:
    """Check a ``YYYY-MM-DD`` and return it.

    Raises:
        InvalidValueError: not such a date.
    """
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise InvalidValueError(parameter) from None


class Entity(abc.ABC, Generic[R]):
    """One module of Zoho Books: its URLs, shapes, filters, edits and webhooks."""

    name: ClassVar[str]
    """Path, and the list's key where ``list_key`` names no other: ``items``."""
    list_key: ClassVar[str] = ""
    record_key: ClassVar[str]
    id_key: ClassVar[str]
    noun: ClassVar[str]
    report_name: ClassVar[str]
    scope: ClassVar[str]
    """OAuth scope a read needs, without the ``ZohoBooks.`` in front."""
    default_filter: ClassVar[str]
    default_sort: ClassVar[tuple[str, str]]
    honours_modified_filter: ClassVar[bool]
    """Whether the list obeys ``last_modified_time``; where not, the filter is ignored in silence."""
    ignores_filters: ClassVar[bool] = False
    """Whether the list ignores every filter in silence, ``filter_by`` included, as that of bills does."""
    silent_keys: ClassVar[frozenset[str]]
    """Keys of the detail that change without a new ``last_modified_time`` and without a webhook."""
    context_extra: ClassVar[Mapping[str, Any]] = {}
    announced: ClassVar[bool] = True
    """Whether Zoho has webhooks for it. Where not, only an edit that is told to fire sends one."""

    filters: Mapping[str, Predicate[R]]
    sort_keys: Mapping[str, Callable[[R], Any]]
    edits: Mapping[str, EditKind[R]]
    faults: tuple[Fault, ...]

    @abc.abstractmethod
    def generate(self, organisation: Organisation, count: int, rng: random.Random) -> list[R]:
        """Make the first records, in order of creation."""

    @abc.abstractmethod
    def create(self, organisation: Organisation, rng: random.Random) -> R:
        """Make one more record, as of now."""

    @abc.abstractmethod
    def list_row(self, organisation: Organisation, record: R) -> Document:
        """The record as a list shows it."""

    @abc.abstractmethod
    def detail(self, organisation: Organisation, record: R) -> Document:
        """The record as ``GET /{entity}/{id}`` shows it."""

    @abc.abstractmethod
    def webhook_entity(self, record: R) -> str:
        """The last part of the URL the record's webhooks go to."""

    @abc.abstractmethod
    def webhook_extra(self, organisation: Organisation, record: R) -> Document:
        """What a webhook's body has beyond the detail: ``cf_*`` pairs, among others."""

    @abc.abstractmethod
    def refuses_deletion(self, organisation: Organisation, record: R) -> bool:
        """Whether Zoho would refuse to delete it, because transactions hang on it."""

    @abc.abstractmethod
    def retire(self, organisation: Organisation, record: R) -> str:
        """What a user does instead of the refused deletion; returns the name of that edit."""

    def movement(
        self,
        organisation: Organisation,  # noqa: ARG002 - for those that have movements
        record: R,  # noqa: ARG002
        form: str,  # noqa: ARG002
    ) -> Document | None:
        """The body that tells of the record's last silent change, in a form of ``WebhookSettings.stock``."""
        return None

    def collect(
        self,
        organisation: Organisation,  # noqa: ARG002 - for the modules of payments
        document: Record,
        amount: Decimal,  # noqa: ARG002
        rng: random.Random,  # noqa: ARG002
    ) -> None:
        """Record that so much was paid for a document; for the modules of payments.

        Raises:
            SandboxError: the module is none of those.
        """
        raise SandboxError(f"{self.name} do not pay for {document.id}")

    def release(self, organisation: Organisation, document: Record) -> None:
        """Take back what records of this module pay or credit on a document that is voided."""

    def on_delete(self, organisation: Organisation, record: R) -> None:
        """Undo what the record's existence did to others: uses of items, a customer's balance."""

    def parameter(
        self,
        organisation: Organisation,  # noqa: ARG002 - for those with parameters of their own
        name: str,  # noqa: ARG002
        value: str,  # noqa: ARG002
    ) -> Predicate[R] | None:
        """The predicate of one more query parameter; None if the real API ignores it."""
        return None

    def plantable(self, record: R, fault: Fault) -> bool:  # noqa: ARG002 - for those with optional keys
        """Whether the fault would show in this record's documents."""
        return True


def flatten_custom_fields(fields: list[Document]) -> Document:
    """The ``cf_*`` pairs that lists carry instead of ``custom_fields[]``."""
    flat: Document = {}
    for field in fields:
        flat[field["api_name"]] = field["value_formatted"]
        flat[field["api_name"] + "_unformatted"] = field["value"]
    return flat


def custom_field_hash(fields: list[Document]) -> Document:
    """The ``custom_field_hash`` of a single record."""
    flat: Document = {}
    for field in fields:
        name = field["api_name"]
        flat[name] = field["value_formatted"]
        flat[name + "_formatted"] = field["value_formatted"]
        flat[name + "_unformatted"] = field["value"]
    return flat


def custom_field(
    field_id: str, api_name: str, label: str, *, index: int, data_type: str, value: Any
) -> Document:
    """One element of ``custom_fields[]``."""
    return {
        "customfield_id": field_id,
        "field_id": field_id,
        "api_name": api_name,
        "label": label,
        "index": index,
        "data_type": data_type,
        "value": value,
        "value_formatted": str(value),
        "selected_option_id": "",
        "placeholder": api_name,
        "is_active": True,
        "show_on_pdf": False,
        "show_in_portal": False,
        "is_dependent_field": False,
        "search_entity": "",
        "edit_on_portal": False,
    }


def chunks(items: list[R], size: int) -> Iterator[list[R]]:
    """Cut a list into pieces."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
