"""A sender of webhooks that behaves as Zoho does, and remembers what was acknowledged.

Every record is edited again and again; each edit has a later `last_modified_time` and says its own number
(`revision`). Several senders work at once, and each repeats a webhook until it is answered 202, so that they
arrive in any order and more than once. Zoho repeats some that it had delivered; so does this.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

SENDERS = 4
REPEATED = 0.1  # share of webhooks that are sent again though they were acknowledged
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.3  # seconds; Zoho's minutes, compressed
BREATH = 0.03  # seconds between two webhooks of a sender: load, but not more than two workers can take
NOBODY_LISTENS = "nobody listens"  # what `answers` calls an attempt while the receiver is being started
TIMEOUT = 10.0  # seconds that Zoho waits for an answer

PRODUCTS, CUSTOMERS, INVOICES = 120, 80, 60
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

Document = dict[str, Any]
Key = tuple[str, str]


def modified(revision: int) -> datetime:
    """The `last_modified_time` of a revision."""
    return BEGIN + timedelta(seconds=revision)


def product(number: int, revision: int) -> Document:
    """A product, as a bare record."""
    return {"item_id": str(1000 + number), "name": f"Cable {number}/{revision}", "rate": revision + 0.25}


def customer(number: int, revision: int) -> Document:
    """A customer, as a bare record."""
    name = f"Shop {number}/{revision}"
    return {"contact_id": str(2000 + number), "contact_type": "customer", "contact_name": name}


def invoice(number: int, revision: int) -> Document:
    """An invoice with one to three lines, as a bare record."""
    lines = [
        {
            "item_id": str(1000 + (number + place) % PRODUCTS),
            "quantity": revision,
            "rate": 2,
            "item_total": 2 * revision,
        }
        for place in range(1 + revision % 3)
    ]
    return {
        "invoice_id": str(3000 + number),
        "customer_id": str(2000 + number % CUSTOMERS),
        "invoice_number": f"INV-{number}/{revision}",
        "total": 2 * revision * len(lines),
        "line_items": lines,
    }


# Entity: how many records, how one is made, and the key it is wrapped in.
RECORDS: Mapping[str, tuple[int, Callable[[int, int], Document], str]] = {
    "products": (PRODUCTS, product, "item"),
    "customers": (CUSTOMERS, customer, "contact"),
    "invoices": (INVOICES, invoice, "invoice"),
}


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit of one record: the webhook that tells it."""

    entity: str
    zoho_id: str
    revision: int
    document: Document

    @property
    def key(self) -> Key:
        """The record."""
        return self.entity, self.zoho_id


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A 202: what it was for, and the event that it named."""

    edit: Edit
    inbox_id: int


class Feeder:
    """Sends webhooks from threads, from `start` to `stop`.

    Args:
        base_url: where the receiver is now, or None while nobody knows.
        organization_id: whose records these are.
        seed: of the edits.
    """

    def __init__(self, base_url: Callable[[], str | None], organization_id: str, seed: int) -> None:
        self._base_url = base_url
        self._organization_id = organization_id
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._send, name=f"feeder {n}") for n in range(SENDERS)]
        self._failures: list[BaseException] = []
        self._records = [
            (entity, number) for entity, (count, _, _) in RECORDS.items() for number in range(count)
        ]
        self._revisions: Counter[tuple[str, int]] = Counter()
        self.sent: dict[Key, dict[int, Edit]] = {}
        """Every edit of every record that was sent at least once, by its revision."""
        self.acknowledged: list[Acknowledgement] = []
        self.answers: Counter[str] = Counter()
        """How often each answer came: a status, or the name of the error."""

    @property
    def retries(self) -> int:
        """Attempts that were not acknowledged."""
        return self.answers.total() - self.answers["202"]

    def start(self) -> None:
        """Begins to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Gives up what is not acknowledged yet, and ends."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def check(self) -> None:
        """Raises what went wrong in a thread."""
        if self._failures:
            raise self._failures[0]

    def newest(self) -> dict[Key, int]:
        """The newest acknowledged revision of each record."""
        found: dict[Key, int] = {}
        for acknowledgement in self.acknowledged:
            edit = acknowledgement.edit
            found[edit.key] = max(edit.revision, found.get(edit.key, 0))
        return found

    def _send(self) -> None:
        try:
            with httpx.Client(timeout=TIMEOUT, verify=False, trust_env=False) as http:
                while not self._stopping.is_set():
                    self._deliver(http, self._next())
                    self._stopping.wait(BREATH)
        except BaseException as error:
            self._failures.append(error)

    def _next(self) -> Edit:
        with self._lock:
            if self.acknowledged and self._rng.random() < REPEATED:
                return self._rng.choice(self.acknowledged[-200:]).edit
            # All records once, so that everything an invoice names comes to exist; then any of them.
            place = self._records[len(self.sent)] if len(self.sent) < len(self._records) else None
            entity, number = place or self._rng.choice(self._records)
            self._revisions[entity, number] += 1
            revision = self._revisions[entity, number]
            document = RECORDS[entity][1](number, revision)
            document |= {"revision": revision, "last_modified_time": modified(revision).isoformat()}
            zoho_id = next(str(value) for key, value in document.items() if key.endswith("_id"))
            edit = Edit(entity, zoho_id, revision, document)
            self.sent.setdefault(edit.key, {})[revision] = edit
            return edit

    def _deliver(self, http: httpx.Client, edit: Edit) -> None:
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            answer, inbox_id = self._attempt(http, edit)
            with self._lock:
                self.answers[answer] += 1
                if inbox_id is not None:
                    self.acknowledged.append(Acknowledgement(edit, inbox_id))
                    return
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _attempt(self, http: httpx.Client, edit: Edit) -> tuple[str, int | None]:
        if (base_url := self._base_url()) is None:
            return NOBODY_LISTENS, None
        try:
            response = http.post(
                f"{base_url}/api/zoho/webhooks/{edit.entity}",
                params={"organization_id": self._organization_id},
                content=json.dumps({RECORDS[edit.entity][2]: edit.document}),
                headers={"content-type": "application/json"},
            )
        except httpx.TransportError as error:
            return type(error).__name__, None
        return str(response.status_code), response.json()["inbox_id"] if response.status_code == 202 else None
