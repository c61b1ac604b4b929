"""Generated bodies in the shapes of the real API: seeded, so that a run can be repeated byte by byte.

Records come from the sandbox's own generator. A product is a list row as the sandbox serves it, with the
custom fields and the longer description of an organisation that uses both: 45 to 60 keys, about 2 KB.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice

from tds_sandbox import vocabulary as words
from tds_sandbox.jsontext import Document, decode, encode
from tds_sandbox.modules.documents import Line
from tds_sandbox.organisation import Organisation

PER_PAGE = 200  # Zoho's maximum
LINES = 5  # of every invoice
ORGANIZATION = "748139205"
CUSTOM_FIELDS = ("cf_series", "cf_supplier_code", "cf_shelf", "cf_duty_class", "cf_remark", "cf_checked_by")
EDITED_AT = "2025-11-{day:02}T09:30:00-0400"  # after everything the generator makes
BAD_RATE = "12,5x"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one entity as JSON texts, and the key their page keeps them under."""

    list_key: str
    record_key: str
    rows: Sequence[str]

    def pages(self, size: int = PER_PAGE) -> list[bytes]:
        """The bodies of a list, `size` records each."""
        return list(pages(self.rows, self.list_key, size))

    def singles(self) -> list[bytes]:
        """One body a record, as a webhook or a detail tells it."""
        return [f'{{"{self.record_key}":{row}}}'.encode() for row in self.rows]

    def changed(self, share: float, edition: int, seed: int, edited_at: str | None = None) -> Table:
        """The same, a share of the records edited: another rate (or reference), a later time or this one."""
        edited = list(self.rows)
        for index in random.Random(f"{seed}/{edition}").sample(
            range(len(edited)), round(len(edited) * share)
        ):
            row = decode(edited[index])
            if "rate" in row:
                row["rate"] = Decimal(row["rate"]) + edition
            else:
                row["reference_number"] = f"edition {edition}"
            row["last_modified_time"] = edited_at or EDITED_AT.format(day=edition)
            edited[index] = encode(row)
        return Table(self.list_key, self.record_key, edited)

    def spoiled(self, every: int) -> Table:
        """The same, one record in `every` with a rate that is no number."""
        spoiled = list(self.rows)
        for index in range(every // 2, len(spoiled), every):
            spoiled[index] = encode(decode(spoiled[index]) | {"rate": BAD_RATE})
        return Table(self.list_key, self.record_key, spoiled)

    @property
    def mean_bytes(self) -> float:
        """Mean length of a row."""
        return sum(len(row) for row in self.rows) / len(self.rows)

    @property
    def mean_keys(self) -> float:
        """Mean number of keys, of a sample of rows."""
        sample = self.rows[:: max(1, len(self.rows) // 200)]
        return sum(len(json.loads(row)) for row in sample) / len(sample)


def pages(rows: Iterable[str], list_key: str, size: int = PER_PAGE) -> Iterator[bytes]:
    """The bodies of a list as the API answers, with their page_context."""
    for number, part in enumerate(_parts(rows, size), 1):
        context = f'{{"page":{number},"per_page":{size},"has_more_page":true,"sort_column":"created_time"}}'
        yield (
            f'{{"code":0,"message":"success","{list_key}":[{",".join(part)}],"page_context":{context}}}'
        ).encode()


def products(count: int, seed: int, *, plain: bool = False) -> Table:
    """List rows of `/items`; plain: without the custom fields and the longer description, about 1 KB."""
    organisation = Organisation(seed=seed, items=count, unstamped_share=0)
    rng = random.Random(f"{seed}/bench")
    book = organisation.book("items")
    rows = [
        encode(book.entity.list_row(organisation, record) | ({} if plain else _extras(rng, number)))
        for number, record in enumerate(book.records)
    ]
    return Table("items", "item", rows)


def invoices(count: int, seed: int) -> Table:
    """Details of `/invoices/{id}` with five lines each."""
    organisation = Organisation(seed=seed, items=2_000, contacts=500, invoices=count)
    book = organisation.book("invoices")
    rows = []
    for record in book.records:
        own = record.lines
        record.lines = [_copy(organisation, own[n % len(own)]) for n in range(LINES)]
        record.reckon()
        rows.append(encode(book.entity.detail(organisation, record)))
    return Table("invoices", "invoice", rows)


def _extras(rng: random.Random, number: int) -> Document:
    """What an organisation adds to its items: a description worth reading, and custom fields."""
    parts = [f"{rng.choice(words.PRODUCTS)} {rng.choice(words.SPECS)}".strip() for _ in range(18)]
    extras: Document = {"description": f"{', '.join(parts)}.\n{words.ARABIC_PRODUCTS[number % 15]}"}
    for name in CUSTOM_FIELDS:
        value = f"{rng.choice(words.BRANDS)} {rng.randrange(10**6)}"
        extras[name] = extras[f"{name}_unformatted"] = value
    return extras


def _copy(organisation: Organisation, line: Line) -> Line:
    return replace(line, id=organisation.new_id("bench lines"))


def _parts(rows: Iterable[str], size: int) -> Iterator[list[str]]:
    remaining = iter(rows)
    while part := list(islice(remaining, size)):
        yield part
