"""Price lists, which the API calls price books: prices by item, prices by quantity, and a percentage on all.

The list row has ``last_modified_time``, the single price list has not; that one has the items.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tds_sandbox.books import ABSENT, FULL, Books, EditKind, Entity, Fault, Predicate, Record
from tds_sandbox.errors import SandboxError
from tds_sandbox.jsontext import Document
from tds_sandbox.modules.items import Item
from tds_sandbox.money import ZERO, Currency

ROUNDINGS = (
    "no_rounding",
    "round_to_dollar_minus_01",
    "round_to_dollor",  # the spelling of the official document
    "round_to_half_dollar",
    "round_to_dollar",  # the spelling of recorded answers
    "round_to_half_dollar_minus_01",
)
_BRACKETS = ((1, 9), (10, 49), (50, None))
_BRACKET = "pricebook_items.0.price_brackets.0"
_TENTH = Decimal("0.1")


@dataclass(slots=True)
class Bracket:
    """A price from one quantity to another, both included; ``end`` None: without end."""

    id: str
    start: int
    end: int | None
    rate: Decimal


@dataclass(slots=True, eq=False)
class Price:
    """What a price list says of an item: a rate, or a rate by quantity."""

    item: Item
    id: str
    rate: Decimal
    discount: str = ""
    brackets: list[Bracket] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Pricebook(Record):
    """A price list. ``currency`` is None for a percentage, which holds in every currency."""

    name: str
    description: str
    currency: Currency | None
    scheme: str
    percentage: Decimal
    increase: bool
    rounding: str
    decimals: int
    purchases: bool
    active: bool
    default: bool
    prices: list[Price] = field(default_factory=list)

    @property
    def per_item(self) -> bool:
        """Whether it has prices of its own."""
        return self.currency is not None

    @property
    def shown(self) -> list[Price]:
        """The prices of items that still exist: deleting an item takes it out of every list."""
        return [price for price in self.prices if price.item.deleted is None]


@dataclass(frozen=True)
class _Plan:
    """How one of the generated lists is made; ``share`` of the items are in it."""

    name: str
    currency: str = ""
    scheme: str = ""
    share: float = 0.0
    factor: str = "1"
    purchases: bool = False
    active: bool = True
    percentage: str = "0"
    increase: bool = False
    rounding: str = "no_rounding"
    decimals: int = 0


# Seven lists with 3.5 prices to an item, as the real company has them; the first three are of every kind.
_PLANS = (
    _Plan("Consumer", "IQD", "unit", 0.94, "1.15"),
    _Plan("Quantity", "USD", "volume", 0.3, "0.95"),
    _Plan("Sale", percentage="10", rounding="round_to_dollar_minus_01", decimals=2),
    _Plan("Wholesale A", "USD", "unit", 0.92, "0.9"),
    _Plan("Technical", "USD", "unit", 0.78, "0.97"),
    _Plan("Purchase", "USD", "unit", 0.58, "0.7", purchases=True),
    _Plan("Old Retail", percentage="35.71", increase=True, rounding="round_to_dollar", active=False),
)


def _more_plans(rng: random.Random) -> Iterator[_Plan]:
    """Any number of smaller lists, of every kind and rounding in turn."""
    number = 0
    while True:
        number += 1
        kind = number % 3
        if kind == 0:
            increase = rng.random() < 0.5
            percentage = f"{rng.randrange(100, 4000) / 100:.2f}"
            rounding = ROUNDINGS[number // 3 % len(ROUNDINGS)]
            yield _Plan(
                f"Share {number}",
                percentage=percentage,
                increase=increase,
                rounding=rounding,
                decimals=2,
            )
        else:
            yield _Plan(
                f"Group {number}",
                rng.choice(("USD", "IQD")),
                "unit" if kind == 1 else "volume",
                rng.randrange(5, 40) / 100,
                f"{rng.randrange(60, 130) / 100:.2f}",
                purchases=rng.random() < 0.2,
                active=rng.random() < 0.85,
            )


def _rate(base: Decimal, factor: Decimal, currency: Currency, rng: random.Random) -> Decimal:
    """A price list's price for an item of that base price; free items get some price or stay free."""
    base = base or Decimal(rng.choice((0, 0, 1, 5, 12)))
    if currency.precision == 0:
        return (base * factor / currency.rate / 250).quantize(Decimal(1)) * 250
    return currency.round(base * factor / currency.rate)


def _new_price(books: Books, book: Pricebook, item: Item, factor: Decimal, rng: random.Random) -> Price:
    currency = book.currency
    if currency is None:
        raise SandboxError(f"{book.name} is a percentage; it has no items")
    rate = _rate(item.cost if book.purchases else item.rate, factor, currency, rng)
    if book.scheme == "unit":
        discount = f"{rng.choice((5, 10))}%" if rng.random() < 0.02 else ""
        return Price(item, books.new_id("prices", rng.randrange(1, 4)), rate, discount)
    brackets = [
        Bracket(books.new_id("prices"), start, end, currency.round(rate * (1 - step * _TENTH)))
        for step, (start, end) in enumerate(_BRACKETS)
    ]
    return Price(item, "", ZERO, brackets=brackets)


def _edit_rate(_: Books, book: Pricebook, rng: random.Random) -> None:
    price = rng.choice(book.shown)
    step = Decimal(250 if book.currency and book.currency.precision == 0 else 1) * rng.randrange(1, 8)
    if price.brackets:
        rng.choice(price.brackets).rate += step
    else:
        price.rate += step


def _add_item(books: Books, book: Pricebook, rng: random.Random) -> None:
    held = {price.item.id for price in book.shown}
    items = books.book("items").records
    free = [item for item in items if item.id not in held]
    # From a list that has everything, one item is taken out and put in anew.
    item = rng.choice(free) if free else book.shown[0].item
    book.prices = [price for price in book.prices if price.item is not item]
    book.prices.append(_new_price(books, book, item, Decimal(1), rng))


def _remove_item(_: Books, book: Pricebook, rng: random.Random) -> None:
    book.prices.remove(rng.choice(book.shown))


def _edit_percentage(_: Books, book: Pricebook, rng: random.Random) -> None:
    before = book.percentage
    while book.percentage == before:
        book.percentage = Decimal(rng.randrange(100, 4000)) / 100


def _edit_rounding(_: Books, book: Pricebook, rng: random.Random) -> None:
    book.rounding = rng.choice([rounding for rounding in ROUNDINGS if rounding != book.rounding])


def _edit_name(_: Books, book: Pricebook, rng: random.Random) -> None:
    book.name = f"{book.name.rsplit(' v', 1)[0]} v{rng.randrange(2, 10_000)}"


def _edit_status(_: Books, book: Pricebook, __: random.Random) -> None:
    book.active = not book.active


class Pricebooks(Entity[Pricebook]):
    """``/pricebooks``."""

    name = "pricebooks"
    record_key = "pricebook"
    id_key = "pricebook_id"
    noun = "Price List"
    report_name = "Price Lists"
    url = "prices"  # Zoho has no such webhook; somebody may wire one by a script
    scope = "settings.READ"
    # Both states are listed; the documented filter is by sales or purchase.
    default_filter = "SalesOrPurchaseType.All"
    default_sort = ("name", "A")
    honours_modified_filter = False
    # No source says whether a changed price moves the list's time: both kinds of edit exist here.
    silent_keys = frozenset({"pricebook_items"})
    announced = False

    def __init__(self) -> None:
        self.filters: dict[str, Predicate[Pricebook]] = {
            "SalesOrPurchaseType.All": lambda _: True,
            "SalesOrPurchaseType.Sales": lambda book: not book.purchases,
            "SalesOrPurchaseType.Purchases": lambda book: book.purchases,
            "Status.All": lambda _: True,
            "Status.Active": lambda book: book.active,
            "Status.Inactive": lambda book: not book.active,
        }
        self.sort_keys: dict[str, Callable[[Pricebook], Any]] = {
            "name": lambda book: (book.name.casefold(), book.id),
            "created_time": lambda book: (book.created, book.id),
            "last_modified_time": lambda book: (book.modified, book.id),
        }
        priced: Predicate[Pricebook] = lambda book: bool(book.shown)  # noqa: E731
        per_item: Predicate[Pricebook] = lambda book: book.per_item  # noqa: E731
        percentage: Predicate[Pricebook] = lambda book: not book.per_item  # noqa: E731
        self.edits: dict[str, EditKind[Pricebook]] = {
            "rate": EditKind(_edit_rate, priced),
            # An empty list stays out of this: in an organisation without items there is nothing to add.
            "add_item": EditKind(_add_item, lambda book: per_item(book) and bool(book.shown)),
            "remove_item": EditKind(_remove_item, lambda book: len(book.shown) > 1),
            "percentage": EditKind(_edit_percentage, percentage),
            "rounding": EditKind(_edit_rounding, percentage),
            "name": EditKind(_edit_name),
            "status": EditKind(_edit_status),
            "quiet_rate": EditKind(_edit_rate, priced, silent=True),
        }
        self.faults = (
            Fault("bad price", "pricebook_items.0.pricebook_rate", "12,5x", "not a number", FULL),
            Fault(
                "bad bracket",
                "pricebook_items.0.price_brackets.0.start_quantity",
                "few",
                "not a number",
                FULL,
            ),
            Fault("missing id", "pricebook_id", ABSENT, "no id", frozenset({"list"})),
            Fault("bad percentage", "percentage", "ten", "not a number"),
            Fault("price without item", "pricebook_items.0.item_id", "", "the item's id is empty", FULL),
            Fault("unknown kind", "pricebook_type", "", "neither prices nor a percentage"),
        )

    def plantable(self, book: Pricebook, fault: Fault) -> bool:
        """Each fault needs the key it spoils."""
        if "price_brackets" in fault.path:
            return book.scheme == "volume" and bool(book.shown)
        if fault.path.endswith("pricebook_rate"):
            return book.scheme == "unit" and bool(book.shown)
        if fault.path.startswith("pricebook_items"):
            return bool(book.shown)
        return fault.path != "percentage" or not book.per_item

    def generate(self, books: Books, count: int, rng: random.Random) -> list[Pricebook]:
        """The real company's seven first, then smaller ones."""
        if not count:
            return []
        items = books.book("items").records
        times = books.creation_times(rng, count)
        more = _more_plans(rng)
        plans = [_PLANS[n] if n < len(_PLANS) else next(more) for n in range(count)]
        return [
            self._make(books, plan, created, items, rng) for plan, created in zip(plans, times, strict=True)
        ]

    @staticmethod
    def _make(
        books: Books, plan: _Plan, created: int, items: Sequence[Item], rng: random.Random
    ) -> Pricebook:
        book = Pricebook(
            id=books.new_id("pricebooks", rng.randrange(1, 90)),
            created=created,
            modified=books.modified_after(rng, created),
            name=plan.name,
            description="",
            currency=books.currencies[plan.currency] if plan.currency else None,
            scheme=plan.scheme,
            percentage=Decimal(plan.percentage),
            increase=plan.increase,
            rounding=plan.rounding,
            decimals=plan.decimals,
            purchases=plan.purchases,
            active=plan.active,
            default=False,
        )
        chosen = sorted(rng.sample(range(len(items)), round(plan.share * len(items))))
        factor = Decimal(plan.factor)
        book.prices = [_new_price(books, book, items[n], factor, rng) for n in chosen]
        return book

    def create(self, books: Books, rng: random.Random) -> Pricebook:
        """One of the smaller ones, active, as of now."""
        items = books.book("items").records
        number = len(books.book("pricebooks").records) + len(books.book("pricebooks").deleted)
        kind = rng.choice(("unit", "volume", ""))
        plan = _Plan(
            f"List {number + 1}",
            rng.choice(("USD", "IQD")) if kind else "",
            kind,
            min(1.0, 20 / len(items)) if items and kind else 0.0,
            percentage="0" if kind else str(rng.randrange(1, 40)),
            rounding="no_rounding" if kind else rng.choice(ROUNDINGS),
            decimals=0 if kind else 2,
        )
        now = books.now()
        book = self._make(books, plan, now, items, rng)
        book.modified = now
        return book

    @staticmethod
    def _common(book: Pricebook) -> Document:
        currency = book.currency
        percentage: Any = "" if currency else book.percentage
        return {
            "pricebook_id": book.id,
            "name": book.name,
            "description": book.description,
            "currency_id": currency.id if currency else "",
            "currency_code": currency.code if currency else "",
            "decimal_place": book.decimals,
            "is_increase": book.increase,
            "percentage": percentage,
            "pricebook_rate": percentage,
            "pricebook_type": "per_item" if currency else "fixed_percentage",
            "pricing_scheme": book.scheme,
            "rounding_type": book.rounding,
            "sales_or_purchase_type": "purchases" if book.purchases else "sales",
            "status": "active" if book.active else "inactive",
        }

    def list_row(self, books: Books, book: Pricebook) -> Document:
        """The keys of the recorded list."""
        return self._common(book) | {"last_modified_time": books.calendar.stamp(book.modified)}

    @staticmethod
    def _price(price: Price) -> Document:
        if price.brackets:
            return {
                "item_id": price.item.id,
                "name": price.item.name,
                "can_be_sold": True,
                "can_be_purchased": True,
                "price_brackets": [
                    {
                        "pricebook_item_id": bracket.id,
                        "start_quantity": Decimal(bracket.start),
                        "end_quantity": "" if bracket.end is None else Decimal(bracket.end),
                        "pricebook_discount": "",
                        "pricebook_rate": bracket.rate,
                    }
                    for bracket in price.brackets
                ],
            }
        return {
            "pricebook_item_id": price.id,
            "item_id": price.item.id,
            "name": price.item.name,
            "can_be_sold": True,
            "can_be_purchased": True,
            "pricebook_discount": price.discount,
            "pricebook_rate": price.rate,
        }

    def detail(self, _: Books, book: Pricebook) -> Document:
        """The keys of the recorded single price list: no time, but the items."""
        return self._common(book) | {
            "is_default": book.default,
            "products": [],
            "pricebook_items": [self._price(price) for price in book.shown],
        }

    def parameter(self, _: Books, name: str, value: str) -> Predicate[Pricebook] | None:
        """``search_text``, in the name."""
        if name != "search_text":
            return None
        return lambda book: value.casefold() in book.name.casefold()
