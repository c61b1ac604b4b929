"""What every document with lines shares: its lines, its arithmetic, its edits, and parts of its shapes.

The rules, in the document's own currency and precision, rounding half up:

* a line's ``item_total`` is ``quantity * rate``, less the line's own ``discount_amount``;
* ``sub_total`` is the sum of the lines' ``item_total``;
* an entity-level discount is taken from ``sub_total``; an item-level one is in the lines already;
* a tax is reckoned once, on the sum of its lines after an entity-level discount before tax
  (``tax_rounding`` is ``entity_level``, as recorded);
* ``total = sub_total - entity-level discount + tax_total + shipping_charge + adjustment``;
* ``balance = total - paid``, where ``paid`` is all that was paid, credited or written off; 0 if void.

A module with lines is a ``Transaction``, an ``Entity``, and what it does not share with the others.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

from tds_sandbox.books import Books, EditKind, Predicate, Record
from tds_sandbox.clock import parse_date
from tds_sandbox.jsontext import Document, RawNumber
from tds_sandbox.modules.contacts import Contact
from tds_sandbox.modules.items import Item
from tds_sandbox.modules.shapes import Shape, currency_shown, custom_field
from tds_sandbox.money import ZERO, Address, Currency, Tax, round_base

HUNDRED = Decimal(100)
QUANTITIES = (1, 1, 1, 1, 2, 2, 3, 4, 5, 5, 6, 10, 10, 12, 20, 50, 100)
LINE_COUNTS = (1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 10, 12)
MOST_LINES = 30
_IQD_RATES = ("0.000763", "0.000758", "0.000769", "0.000680")


@dataclass(slots=True)
class Line:
    """One line. ``discount`` is in percent; item-level discounts only."""

    id: str
    item_id: str
    name: str
    description: str
    unit: str
    quantity: Decimal
    rate: Decimal
    discount: Decimal
    tax: Tax | None
    discount_amount: Decimal = ZERO
    item_total: Decimal = ZERO


@dataclass(slots=True, kw_only=True)
class Transaction(Record):
    """A document with lines. What it took from the contact (name, addresses, currency) stays as it was then.

    ``discount_kind`` is none, entity_percent, entity_amount, or item.
    """

    number: str
    reference: str
    date: dt.date
    contact: Contact
    contact_name: str
    billing: Address
    shipping: Address
    currency: Currency
    exchange_rate: str
    status: str
    lines: list[Line]
    discount_kind: str = "none"
    discount: Decimal = ZERO
    before_tax: bool = True
    shipping_charge: Decimal = ZERO
    adjustment: Decimal = ZERO
    notes: str = ""
    sub_total: Decimal = ZERO
    discount_total: Decimal = ZERO
    taxes: list[tuple[Tax, Decimal]] = field(default_factory=list)
    taxable: Decimal = ZERO
    tax_total: Decimal = ZERO
    total: Decimal = ZERO
    balance: Decimal = ZERO

    @property
    def contact_id(self) -> str:
        """Whose document it is."""
        return self.contact.id

    @property
    def paid(self) -> Decimal:
        """All that reduces the balance."""
        return ZERO

    def reckon(self) -> None:
        """Compute every derived amount from the lines, the discounts and the payments."""
        rounded = self.currency.round
        for line in self.lines:
            gross = line.quantity * line.rate
            line.discount_amount = rounded(gross * line.discount / HUNDRED)
            line.item_total = rounded(gross) - line.discount_amount
        self.sub_total = sum((line.item_total for line in self.lines), ZERO)
        off = ZERO
        if self.discount_kind == "entity_percent":
            off = rounded(self.sub_total * self.discount / HUNDRED)
        elif self.discount_kind == "entity_amount":
            off = min(self.discount, self.sub_total)
        share = 1 - off / self.sub_total if self.before_tax and self.sub_total else Decimal(1)
        by_tax: dict[str, tuple[Tax, Decimal]] = {}
        for line in self.lines:
            if line.tax:
                so_far = by_tax.get(line.tax.id, (line.tax, ZERO))[1]
                by_tax[line.tax.id] = (line.tax, so_far + line.item_total * share)
        self.taxes = [(tax, rounded(base * tax.percentage / HUNDRED)) for tax, base in by_tax.values()]
        self.taxable = rounded(sum((base for _, base in by_tax.values()), ZERO))
        self.tax_total = sum((amount for _, amount in self.taxes), ZERO)
        item_level = self.discount_kind == "item"
        self.discount_total = sum((line.discount_amount for line in self.lines), ZERO) if item_level else off
        self.total = self.sub_total - off + self.tax_total + self.shipping_charge + self.adjustment
        self.settle()

    def settle(self) -> None:
        """Compute the balance alone, after payments have changed and the lines have not."""
        self.balance = ZERO if self.status == "void" else self.total - self.paid


T = TypeVar("T", bound=Transaction)


# generation


def volume_times(books: Books, count: int, per_month: int, rng: random.Random) -> list[int]:
    """Ascending creation times over the months before the end of the data, at ``per_month`` records."""
    days = min(1600, max(95, count * 30 // per_month))
    start = books.data_ends - days * 86_400
    return sorted(rng.randrange(start, books.data_ends - 60) for _ in range(count))


def favourites(contacts: list[Contact], rng: random.Random) -> Callable[[], Contact]:
    """A draw of contacts: a few trade most, half of them never do."""
    regulars = rng.sample(contacts, max(1, len(contacts) // 10))
    others = rng.sample(contacts, max(1, len(contacts) // 2))
    return lambda: rng.choice(regulars if rng.random() < 0.6 else others)


def back_dated(day: dt.date, rng: random.Random) -> dt.date:
    """The date of a document entered that day: one in ten is entered late, and dated back."""
    if day.day > 1 and rng.random() < 0.1:
        return day - timedelta(days=rng.randrange(1, day.day))
    return day


def exchange_rate(currency: Currency, rng: random.Random) -> str:
    """Base currency units for one unit, as written; the dinar's changes from document to document."""
    if currency.is_base:
        return "1.000000"
    if currency.code == "IQD":
        return rng.choice(_IQD_RATES)
    return f"{currency.rate:.6f}"


def price_in(price: Decimal, currency: Currency, rng: random.Random) -> Decimal:
    """A base price in a document's currency; free items are traded at some price all the same."""
    price = price or Decimal(rng.randrange(1, 40))
    if currency.precision == 0:
        return max(Decimal(250), (price / currency.rate / 250).quantize(Decimal(1)) * 250)
    return price if currency.is_base else currency.round(price / currency.rate)


def new_line(
    books: Books,
    item: Item,
    currency: Currency,
    rng: random.Random,
    *,
    price: Decimal,
    taxed: Tax | None,
    family: str = "lines",
) -> Line:
    """A line for an item.

    Args:
        books: gives the id.
        item: what is traded.
        currency: of the document.
        rng: of quantity, price of free items, and tax.
        price: in the base currency.
        taxed: the document's tax, which most lines get.
        family: of the line's id.
    """
    fraction = currency.precision > 0 and rng.random() < 0.02
    quantity = Decimal(rng.choice(("0.5", "1.5", "2.25"))) if fraction else Decimal(rng.choice(QUANTITIES))
    return Line(
        id=books.new_id(family, rng.randrange(1, 4)),
        item_id=item.id,
        name=item.name,
        description=item.description,
        unit=item.unit,
        quantity=quantity,
        rate=price_in(price, currency, rng),
        discount=ZERO,
        tax=taxed if taxed and rng.random() < 0.85 else None,
    )


def draw_discount(kind: str, lines: Sequence[Line], currency: Currency, rng: random.Random) -> Decimal:
    """The document's discount, in percent or an amount; item-level ones are written into the lines."""
    if kind == "item":
        for line in lines:
            line.discount = rng.choice((ZERO, Decimal(5), Decimal(10), Decimal("12.5")))
    elif kind == "entity_percent":
        return rng.choice((Decimal("2.5"), Decimal(5), Decimal(10), Decimal(15)))
    elif kind == "entity_amount":
        return currency.round(sum((line.rate for line in lines), ZERO) / 10)
    return ZERO


def note_uses(books: Books, document: Transaction, step: int = 1) -> None:
    """Count the contact and the items as used by one document more, or one less with ``step=-1``."""
    for line in document.lines:
        books.uses[line.item_id] += step
    books.uses[document.contact.id] += step


def carry_receivable(books: Books, customer: Contact, amount: Decimal) -> None:
    """The customer owes so much more; neither its time moves nor does a webhook tell."""
    if amount:
        customer.receivable += amount
        books.refresh("contacts", customer)


def carry_credits(books: Books, customer: Contact, amount: Decimal) -> None:
    """The customer has so much more to be credited; neither its time moves nor does a webhook tell."""
    if amount:
        customer.credits += amount
        books.refresh("contacts", customer)


# edits


def line_edits(
    after: Callable[[Books, T], None],
    editable: Predicate[T],
    make_line: Callable[[Books, T, random.Random], Line],
) -> dict[str, EditKind[T]]:
    """Edits of lines: ``quantity, rate, add_line, remove_line``.

    Args:
        after: reckons the document anew and carries what follows.
        editable: whether the lines may change at all.
        make_line: for one more line.
    """

    def quantity(books: Books, document: T, rng: random.Random) -> None:
        line = rng.choice(document.lines)
        line.quantity += rng.randrange(1, 10)
        after(books, document)

    def rate(books: Books, document: T, rng: random.Random) -> None:
        line = rng.choice(document.lines)
        line.rate += document.currency.round(line.rate * Decimal(rng.randrange(1, 30)) / HUNDRED) + 1
        after(books, document)

    def add_line(books: Books, document: T, rng: random.Random) -> None:
        line = make_line(books, document, rng)
        document.lines.append(line)
        books.uses[line.item_id] += 1
        after(books, document)

    def remove_line(books: Books, document: T, rng: random.Random) -> None:
        line = document.lines.pop(rng.randrange(len(document.lines)))
        books.uses[line.item_id] -= 1
        after(books, document)

    return {
        "quantity": EditKind(quantity, editable),
        "rate": EditKind(rate, editable),
        "add_line": EditKind(
            add_line, lambda document: editable(document) and len(document.lines) < MOST_LINES
        ),
        "remove_line": EditKind(remove_line, lambda document: editable(document) and len(document.lines) > 1),
    }


def edit_notes(_: Books, document: Transaction, rng: random.Random) -> None:
    """Write another note."""
    document.notes = f"ملاحظة {rng.randrange(1, 10**6)}"


# shapes


def percent_text(percent: Decimal) -> str:
    """``10.00%``: a percentage is a string with its sign, an amount a number (the official description)."""
    return f"{percent:.2f}%"


def discount_shown(document: Transaction) -> Any:
    """``discount`` of the whole document."""
    if document.discount_kind == "entity_percent":
        return percent_text(document.discount)
    return document.discount if document.discount_kind == "entity_amount" else ZERO


def tax_label(tax: Tax) -> str:
    """``VAT (5%)``."""
    return f"{tax.name} ({tax.percentage}%)"


def _line_taxes(line: Line, currency: Currency) -> list[Document]:
    """``line_item_taxes[]`` of a line."""
    tax = line.tax
    if tax is None:
        return []
    return [
        {
            "tax_id": tax.id,
            "tax_name": tax_label(tax),
            "tax_amount": currency.round(line.item_total * tax.percentage / HUNDRED),
            "tax_percentage": tax.percentage,
        }
    ]


def taxes_shown(document: Transaction) -> list[Document]:
    """``taxes[]`` of the whole document."""
    return [
        {"tax_id": tax.id, "tax_name": tax_label(tax), "tax_amount": amount} for tax, amount in document.taxes
    ]


def text_field(books: Books, api_name: str, label: str, value: str) -> list[Document]:
    """``custom_fields[]`` with the one text field of a module; empty without a value."""
    if not value:
        return []
    field_id = books.field_ids[api_name]
    return [custom_field(field_id, api_name, label, index=1, data_type="string", value=value)]


def lines_shown(books: Books, document: Transaction, shape: Shape, account: str) -> list[Document]:
    """``line_items[]``; ``account`` is the name of what the lines are booked on."""
    exchange = Decimal(document.exchange_rate)
    return [
        shape.fill(
            _line_shown(line, document.currency, exchange)
            | {"item_order": order, "account_id": books.accounts[account]}
        )
        for order, line in enumerate(document.lines, 1)
    ]


def _line_shown(line: Line, currency: Currency, exchange: Decimal) -> Document:
    tax = line.tax
    return {
        "line_item_id": line.id,
        "item_id": line.item_id,
        "name": line.name,
        "description": line.description,
        "unit": line.unit,
        "quantity": line.quantity,
        "rate": line.rate,
        "sales_rate": line.rate,
        "bcy_rate": round_base(line.rate * exchange),
        "discount": percent_text(line.discount) if line.discount else ZERO,
        "discount_amount": line.discount_amount,
        "discounts": [{"discount_amount": line.discount_amount}] if line.discount else [],
        "tax_id": tax.id if tax else "",
        "tax_name": tax.name if tax else "",
        "tax_percentage": tax.percentage if tax else 0,
        "line_item_taxes": _line_taxes(line, currency),
        "item_total": line.item_total,
    }


def shown(books: Books, document: Transaction) -> Document:
    """What a document with lines shows, but for its lines, its number, and what only its module knows."""
    stamp, (user_id, user_name) = books.calendar.stamp, books.user
    day, item_level = document.date.isoformat(), document.discount_kind == "item"
    return currency_shown(document.currency) | {
        "status": document.status,
        "current_sub_status": document.status,
        "customer_id": document.contact.id,
        "customer_name": document.contact_name,
        "vendor_id": document.contact.id,
        "vendor_name": document.contact_name,
        "reference_number": document.reference,
        "date": day,
        "issued_date": "" if document.status == "draft" else day,
        "exchange_rate": RawNumber(document.exchange_rate),
        "discount": discount_shown(document),
        "discount_percent": document.discount if document.discount_kind == "entity_percent" else ZERO,
        "discount_applied_on_amount": ZERO if item_level or not document.discount else document.sub_total,
        "discount_type": "item_level" if item_level else "entity_level",
        "discount_amount": document.discount_total,
        "discount_total": document.discount_total,
        "is_discount_before_tax": document.before_tax,
        "shipping_charge": document.shipping_charge,
        "adjustment": document.adjustment,
        "sub_total": document.sub_total,
        "tax_total": document.tax_total,
        "taxes": taxes_shown(document),
        "total": document.total,
        "balance": document.balance,
        "billing_address": detail_address(document.billing),
        "shipping_address": detail_address(document.shipping),
        "notes": document.notes,
        "created_time": stamp(document.created),
        "created_by": user_name,
        "created_by_id": user_id,
        "created_by_name": user_name,
        "last_modified_time": stamp(document.modified),
        "last_modified_by_id": user_id,
        "template_id": books.template_id,
    }


def list_address(address: Address) -> Document:
    """An address as lists of documents have it."""
    return {
        "address": address.address,
        "street2": address.street2,
        "city": address.city,
        "state": address.state,
        "zipcode": address.zip,
        "country": address.country,
        "phone": address.phone,
        "fax": address.fax,
        "attention": address.attention,
    }


def detail_address(address: Address) -> Document:
    """An address as single documents have it."""
    return {
        "street": address.address,
        "address": address.address,
        "street2": address.street2,
        "city": address.city,
        "state": address.state,
        "zip": address.zip,
        "country": address.country,
        "country_code": address.country_code,
        "fax": address.fax,
        "phone": address.phone,
        "attention": address.attention,
    }


# lists

_COMPARE: dict[str, Callable[[dt.date, dt.date], bool]] = {
    "": lambda have, asked: have == asked,
    "_start": lambda have, asked: have >= asked,
    "_end": lambda have, asked: have <= asked,
    "_before": lambda have, asked: have < asked,
    "_after": lambda have, asked: have > asked,
}


def date_parameter(name: str, value: str, keys: Sequence[str]) -> Predicate[Any] | None:
    """The predicate of ``date``, ``date_start``, ``due_date_before`` and the like; None for other names.

    Raises:
        InvalidValueError: not a date.
    """
    for key in keys:
        if name == key or name in {f"{key}_{end}" for end in ("start", "end", "before", "after")}:
            day = dt.date.fromisoformat(parse_date(name, value))
            compare = _COMPARE[name.removeprefix(key)]
            return lambda document, key=key: compare(getattr(document, key), day)  # type: ignore[misc]
    return None
