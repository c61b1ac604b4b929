"""Items: products and services, with stock in several locations."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from tds_sandbox import vocabulary as words
from tds_sandbox.books import ABSENT, Books, EditKind, Entity, Fault, Predicate, Record
from tds_sandbox.jsontext import Document
from tds_sandbox.modules.shapes import custom_field, custom_field_hash, flatten_custom_fields, shapes
from tds_sandbox.money import ZERO, Tax, round_base
from tds_sandbox.profile import ITEMS, scaled, scaled_shares

_ROW, _DETAIL = shapes("items", "row", "detail")
_PERCENT = Decimal(100)


class Movement(NamedTuple):
    """An inventory adjustment: how much came to or left which places."""

    id: str
    line_ids: tuple[str, ...]
    at: int
    reason: str
    deltas: tuple[tuple[int, int], ...]


@dataclass(slots=True, kw_only=True)
class Item(Record):
    """A product or service. ``rate`` and ``cost`` are in the base currency; ``stock`` is by location.

    ``moved`` is the last movement of stock; None before the first.
    """

    name: str
    sku: str
    description: str
    unit: str
    rate: Decimal
    cost: Decimal
    active: bool
    tracked: bool
    tax: Tax | None
    brand: str
    category: str
    reorder_level: Decimal | None
    stock: tuple[int, ...]
    committed: int
    image_name: str
    image_id: str
    warranty: int
    origin: str
    source: str
    moved: Movement | None = None

    @property
    def on_hand(self) -> int:
        """Stock over all locations."""
        return sum(self.stock)


def _price(rng: random.Random) -> Decimal:
    # Log-normal around the real median of 10 among all, zero prices included; rounded as a trader does.
    price = min(math.exp(rng.gauss(2.79, 1.1)), float(ITEMS.max_price))
    if price < 1:
        return Decimal(round(price * 100) or 17) / 100
    if price < 10:
        return Decimal(round(price * 4)) / 4
    if price < 100:
        return Decimal(round(price))
    return Decimal(round(price / 5) * 5)


def _name(rng: random.Random, taken: set[str]) -> str:
    while True:
        kind = rng.random()
        model = f"{rng.choice('ABCDGHKMNPRSTX')}{rng.randrange(100, 99999)}"
        if kind < 0.02:
            name = f"{rng.choice(words.ARABIC_PRODUCTS)} {model}"
        else:
            product = rng.choice(words.PRODUCTS)
            spec = rng.choice(words.SPECS)
            name = f"{product} {spec} {model}" if spec else f"{product} {model}"
            if kind < 0.03:
                name = f"❌{name} (( Cancel ))❌"
            elif kind < 0.05:
                name = f"{product} {model} / {rng.choice(words.ARABIC_PRODUCTS)}"
        name = name[: ITEMS.name_max_length]
        if name not in taken:
            taken.add(name)
            return name


def _sku(rng: random.Random, index: int) -> str:
    kind = rng.random()
    if kind < 0.7:
        return f"sbx{index:05d}"
    if kind < 0.9:
        return f"20{index:011d}"  # in the range of EAN-13 numbers reserved for in-store use
    return (
        f"{rng.choice('ABCDEFGH')}-{index:04d}/{rng.randrange(10, 99)} {rng.choice(('', 'L', 'XL'))}".strip()
    )


def _stock(rng: random.Random, locations: int) -> tuple[int, ...]:
    first = int(min(rng.lognormvariate(3.2, 1.6), 9_000)) + 1
    return (first, *(int(first * rng.random() * 0.4) for _ in range(locations - 1)))


_CATEGORIES = [name for name, _ in words.CATEGORIES]
_CATEGORY_WEIGHTS = [weight for _, weight in words.CATEGORIES]


def _edit_rate(_: Books, item: Item, rng: random.Random) -> None:
    before = item.rate
    while item.rate == before:
        item.rate = _price(rng)


def _edit_cost(_: Books, item: Item, rng: random.Random) -> None:
    item.cost = round_base(item.cost * Decimal(str(rng.choice((0.9, 0.95, 1.05, 1.1)))) + Decimal("0.01"))


def _edit_name(_: Books, item: Item, rng: random.Random) -> None:
    item.name = f"{item.name[:60].rsplit(' v', 1)[0]} v{rng.randrange(2, 10_000)}"


def _edit_description(_: Books, item: Item, rng: random.Random) -> None:
    item.description = f"{rng.choice(words.PRODUCTS)}, checked {rng.randrange(1, 100_000)}"


def _edit_status(_: Books, item: Item, __: random.Random) -> None:
    item.active = not item.active


def _edit_sku(_: Books, item: Item, rng: random.Random) -> None:
    item.sku = f"sbx{rng.randrange(10**6, 10**7)}"


def _edit_reorder_level(_: Books, item: Item, rng: random.Random) -> None:
    levels = [None, *(Decimal(n) for n in (0, 2, 3, 5, 10, 20, 25, 40))]
    item.reorder_level = rng.choice([level for level in levels if level != item.reorder_level])


def _edit_image(books: Books, item: Item, rng: random.Random) -> None:
    item.image_id = books.new_id("documents", rng.randrange(1, 50))
    item.image_name = f"IMG_{rng.randrange(1000, 9999)}.jpg"


def _edit_custom_field(_: Books, item: Item, rng: random.Random) -> None:
    item.warranty = rng.choice([months for months in (3, 6, 12, 24, 36) if months != item.warranty])


def _remove_image(_: Books, item: Item, __: random.Random) -> None:
    item.image_id = item.image_name = ""


def _record_movement(books: Books, item: Item, reason: str, deltas: tuple[tuple[int, int], ...]) -> None:
    stock = list(item.stock)
    for place, quantity in deltas:
        stock[place] += quantity
    item.stock = tuple(stock)
    item.moved = Movement(
        books.new_id("adjustments"),
        tuple(books.new_id("adjustments") for _ in deltas),
        books.now(),
        reason,
        deltas,
    )


def _move_stock(books: Books, item: Item, rng: random.Random) -> None:
    place = rng.choice([i for i, location in enumerate(books.locations) if location.active])
    quantity = rng.choice((-20, -5, -2, -1, 1, 3, 10, 50))
    # Now and then more is sold than the books say is there.
    if item.stock[place] + quantity < 0 and rng.random() < 0.8:
        quantity = -item.stock[place] if item.stock[place] > 0 else 7
    reason = "Stock written off" if quantity < 0 else "Stocktaking results"
    _record_movement(books, item, reason, ((place, quantity),))


def _transfer_stock(books: Books, item: Item, rng: random.Random) -> None:
    source = rng.choice([i for i, quantity in enumerate(item.stock) if quantity > 0])
    target = rng.choice([i for i in range(len(item.stock)) if i != source])
    quantity = rng.randrange(1, item.stock[source] + 1)
    _record_movement(books, item, "Moved", ((source, -quantity), (target, quantity)))


def _as_warehouse(place: Document) -> Document:
    """The older form of a row of ``locations[]``."""
    return {
        key.replace("location_", "warehouse_", 1): value
        for key, value in place.items()
        if key != "is_item_mapped"
    }


class Items(Entity[Item]):
    """``/items``."""

    name = "items"
    record_key = "item"
    id_key = "item_id"
    noun = "Item"
    report_name = "Items"
    url = "products"
    scope = "settings.READ"
    # "Get the list of all active items": the official OpenAPI document on GET /items.
    default_filter = "Status.Active"
    default_sort = ("name", "A")
    honours_modified_filter = False
    silent_keys = frozenset(
        {"stock_on_hand", "available_stock", "actual_available_stock", "locations", "warehouses"}
    )

    def __init__(self) -> None:
        self.filters: dict[str, Predicate[Item]] = {
            "Status.All": lambda _: True,
            "Status.Active": lambda item: item.active,
            "Status.Inactive": lambda item: not item.active,
        }
        self.sort_keys: dict[str, Callable[[Item], Any]] = {
            "name": lambda item: (item.name.casefold(), item.id),
            "rate": lambda item: (item.rate, item.id),
            "tax_name": lambda item: (item.tax.name if item.tax else "", item.id),
            "created_time": lambda item: (item.created, item.id),
            "last_modified_time": lambda item: (item.modified, item.id),
        }
        self.edits: dict[str, EditKind[Item]] = {
            "rate": EditKind(_edit_rate),
            "purchase_rate": EditKind(_edit_cost),
            "name": EditKind(_edit_name),
            "description": EditKind(_edit_description),
            "status": EditKind(_edit_status),
            "sku": EditKind(_edit_sku),
            "reorder_level": EditKind(_edit_reorder_level, lambda item: item.tracked),
            "image": EditKind(_edit_image),
            "remove_image": EditKind(_remove_image, lambda item: bool(item.image_id), named=True),
            "custom_field": EditKind(_edit_custom_field),
            "stock": EditKind(_move_stock, lambda item: item.tracked, silent=True),
            "transfer": EditKind(
                _transfer_stock,
                lambda item: item.tracked and len(item.stock) > 1 and any(n > 0 for n in item.stock),
                silent=True,
            ),
        }
        self.faults = (
            Fault("bad number", "rate", "12,5x", "not a number"),
            Fault("missing id", "item_id", ABSENT, "no id", frozenset({"list"})),
            Fault("bad purchase rate", "purchase_rate", "12,5x", "not a number"),
            Fault("empty id", "item_id", "", "the id is empty", frozenset({"list"})),
            Fault("sku too long", "sku", "S" * 5000, "5,000 characters"),
            Fault("bad stock", "stock_on_hand", "many", "not a number"),
        )

    def generate(self, books: Books, count: int, rng: random.Random) -> list[Item]:
        """Items in the profile's shares."""
        times = books.creation_times(rng, count)
        taken: set[str] = set()
        size = range(count)

        def marks(number: int) -> set[int]:
            return set(rng.sample(size, scaled(number, ITEMS.rows, count)))

        with_sku, inactive, free = marks(ITEMS.sku_filled), marks(ITEMS.inactive), marks(ITEMS.zero_price)
        no_unit, untracked, branded = (
            marks(ITEMS.blank_unit),
            marks(ITEMS.untracked),
            marks(ITEMS.brand_filled),
        )
        described, pictured = marks(ITEMS.description_filled), marks(ITEMS.image_filled)
        tracked = [i for i in size if i not in untracked]
        blank_level = set(
            rng.sample(tracked, min(len(tracked), scaled(ITEMS.reorder_blank, ITEMS.rows, count)))
        )
        levels: dict[int, Decimal] = {}
        levelled = [i for i in tracked if i not in blank_level]
        rng.shuffle(levelled)
        for level, number in ITEMS.reorder_levels:
            for _ in range(min(len(levelled), scaled(number, ITEMS.rows, count))):
                levels[levelled.pop()] = Decimal(level)
        priced = [i for i in size if i not in free]
        no_cost = set(rng.sample(priced, min(len(priced), scaled(ITEMS.zero_cost, ITEMS.rows, count))))
        costly = [i for i in priced if i not in no_cost]
        below = set(rng.sample(costly, min(len(costly), scaled(ITEMS.sell_below_cost, ITEMS.rows, count))))
        stockable = [i for i in tracked if i not in inactive]
        in_stock = set(rng.sample(stockable, min(len(stockable), scaled(ITEMS.in_stock, ITEMS.rows, count))))
        fullest = max(in_stock, default=-1)
        places = len(books.locations)
        items: list[Item] = []
        for i in size:
            rate = ZERO if i in free else _price(rng)
            if i in no_cost:
                cost = ZERO
            elif i in below:
                cost = round_base(rate * Decimal("1.2") + Decimal("0.01"))
            else:
                cost = round_base((rate or _price(rng)) * Decimal(rng.randrange(60, 95)) / _PERCENT)
            stock = _stock(rng, places) if i in in_stock else (0,) * places
            if i == fullest:
                stock = (ITEMS.max_stock, *(0,) * (places - 1))
            items.append(
                Item(
                    id=books.new_id("items", rng.randrange(1, 60)),
                    created=times[i],
                    modified=books.modified_after(rng, times[i]),
                    name=_name(rng, taken),
                    sku=_sku(rng, i) if i in with_sku else "",
                    description=f"{rng.choice(words.PRODUCTS)}\n{rng.choice(words.SPECS)}"
                    if i in described
                    else "",
                    unit="" if i in no_unit else "pcs",
                    rate=rate,
                    cost=cost,
                    active=i not in inactive,
                    tracked=i not in untracked,
                    tax=rng.choice(books.taxes) if rng.random() < 0.03 else None,
                    brand="",
                    category=rng.choices(_CATEGORIES, _CATEGORY_WEIGHTS)[0],
                    reorder_level=None if i in blank_level else levels.get(i, ZERO),
                    stock=stock,
                    committed=rng.randrange(0, 3) if sum(stock) > 3 else 0,
                    image_name="",
                    image_id="",
                    warranty=rng.choice((0, 0, 0, 3, 6, 12)),
                    origin=rng.choice(("", "", "CN", "TR", "TW")),
                    source=rng.choice(("user", "csv", "csv", "api")),
                )
            )
        self._decorate(books, items, rng, with_sku=with_sku, branded=branded, pictured=pictured)
        return items

    def _decorate(
        self,
        books: Books,
        items: list[Item],
        rng: random.Random,
        *,
        with_sku: set[int],
        branded: set[int],
        pictured: set[int],
    ) -> None:
        """The traits that several items share, or that only a few have."""
        count = len(items)
        for name_copies in range(scaled(ITEMS.names_used_twice, ITEMS.rows, count)):
            items[-1 - name_copies].name = items[name_copies].name
        for position, index in enumerate(
            rng.sample(sorted(with_sku), min(len(with_sku), scaled(ITEMS.sku_over_50, ITEMS.rows, count)))
        ):
            length = ITEMS.sku_max_length if position == 0 else 64
            items[index].sku = (items[index].sku + " " + "compatible with several models, " * 5)[:length]
        brands = rng.sample(sorted(branded), len(branded))
        main = round(len(brands) * ITEMS.brand_main / ITEMS.brand_filled)
        for position, index in enumerate(brands):
            items[index].brand = words.BRANDS[0] if position < main else words.BRANDS[1 + position % 8]
        pictures = rng.sample(sorted(pictured), len(pictured))
        for index in pictures:
            items[index].image_id = books.new_id("documents", rng.randrange(1, 50))
            items[index].image_name = f"IMG_{index:06d}.jpg"
        used = 0
        for group, share in enumerate(scaled_shares(ITEMS.image_shares, ITEMS.rows, count)):
            for index in pictures[used : used + share]:
                items[index].image_name = f"shared picture {group + 1} 2:17:13 pm +0000.jpg"
            used += share

    def create(self, books: Books, rng: random.Random) -> Item:
        """A new item without stock."""
        now = books.now()
        rate = _price(rng)
        return Item(
            id=books.new_id("items", rng.randrange(1, 60)),
            created=now,
            modified=now,
            name=_name(rng, set()),
            sku="" if rng.random() < 0.8 else f"sbx{rng.randrange(10**7, 10**8)}",
            description="",
            unit="pcs",
            rate=rate,
            cost=round_base(rate * Decimal(rng.randrange(60, 95)) / _PERCENT),
            active=True,
            tracked=True,
            tax=None,
            brand="",
            category="",
            reorder_level=ZERO,
            stock=(0,) * len(books.locations),
            committed=0,
            image_name="",
            image_id="",
            warranty=0,
            origin="",
            source="user",
        )

    def _custom_fields(self, books: Books, item: Item) -> list[Document]:
        fields = []
        ids = books.field_ids
        if item.warranty:
            fields.append(
                custom_field(
                    ids["cf_warranty_months"],
                    "cf_warranty_months",
                    "Warranty (months)",
                    index=1,
                    data_type="number",
                    value=item.warranty,
                )
            )
        if item.origin:
            fields.append(
                custom_field(
                    ids["cf_origin"], "cf_origin", "Origin", index=2, data_type="string", value=item.origin
                )
            )
        return fields

    @staticmethod
    def _shown(books: Books, item: Item) -> Document:
        """What the list and the single item show alike."""
        stamp, tax = books.calendar.stamp, item.tax
        return {
            "item_id": item.id,
            "name": item.name,
            "unit": item.unit,
            "status": "active" if item.active else "inactive",
            "source": item.source,
            "description": item.description,
            "rate": item.rate,
            "tax_id": tax.id if tax else "",
            "tax_name": tax.name if tax else "",
            "tax_percentage": tax.percentage if tax else 0,
            "purchase_account_id": books.accounts["Cost of Goods Sold"],
            "account_id": books.accounts["Sales"],
            "purchase_rate": item.cost,
            "track_inventory": item.tracked,
            "item_type": "inventory" if item.tracked else "sales_and_purchases",
            "product_type": "goods" if item.tracked else "service",
            "sku": item.sku,
            "image_name": item.image_name,
            "image_type": "jpg" if item.image_name else "",
            "created_time": stamp(item.created),
            "last_modified_time": stamp(item.modified),
        }

    def list_row(self, books: Books, item: Item) -> Document:
        """The keys of the recorded list, those of stock where it is kept, and ``cf_*``."""
        row = _ROW.fill(
            self._shown(books, item)
            | {
                "item_name": item.name,
                "has_attachment": bool(item.image_id),
                "image_document_id": item.image_id,
            }
        )
        if item.tracked:
            row["brand"] = item.brand
            row["category_name"] = item.category
            row["reorder_level"] = "" if item.reorder_level is None else item.reorder_level
            row.update(self._stock_totals(item))
        return row | flatten_custom_fields(self._custom_fields(books, item))

    @staticmethod
    def _stock_totals(item: Item) -> Document:
        on_hand = Decimal(item.on_hand)
        return {
            "stock_on_hand": on_hand,
            "available_stock": on_hand - item.committed,
            "actual_available_stock": on_hand - item.committed,
        }

    def _locations(self, books: Books, item: Item) -> list[Document]:
        rows = []
        for place, location in enumerate(books.locations):
            on_hand = Decimal(item.stock[place])
            committed = Decimal(item.committed if place == 0 else 0)
            free = on_hand - committed
            rows.append(
                {
                    "location_id": location.id,
                    "location_name": location.name,
                    "status": "active" if location.active else "inactive",
                    "is_primary": place == 0,
                    "is_item_mapped": True,
                    "location_stock_on_hand": on_hand,
                    # Some of these come as strings in live bodies, in the same row as numbers.
                    "location_available_stock": free,
                    "location_actual_available_stock": f"{free:.2f}" if place == 0 else free,
                    "location_committed_stock": committed,
                    "location_actual_committed_stock": committed,
                    "location_available_for_sale_stock": free,
                    "location_actual_available_for_sale_stock": free,
                    "initial_stock": "",
                    "initial_stock_rate": "",
                }
            )
        return rows

    def detail(self, books: Books, item: Item) -> Document:
        """The keys of the recorded single item, and stock by location where it is kept."""
        fields = self._custom_fields(books, item)
        document = _DETAIL.fill(
            self._shown(books, item)
            | {
                "brand": item.brand,
                "category_name": item.category,
                "unit_id": books.template_id if item.unit else "",
                "tax_type": "tax" if item.tax else "",
                "pricebook_rate": item.rate,
                "default_price_brackets": [
                    {"start_quantity": 1, "end_quantity": 1, "pricebook_rate": item.rate}
                ],
                "sales_rate": item.rate,
                "created_at": books.calendar.stamp(item.created)[:10],
                "custom_fields": fields,
                "custom_field_hash": custom_field_hash(fields),
            }
        )
        if item.tracked:
            document["inventory_account_id"] = books.accounts["Inventory Asset"]
            document["inventory_account_name"] = "Inventory Asset"
            document["reorder_level"] = "" if item.reorder_level is None else item.reorder_level
            document["initial_stock"] = ""
            document["initial_stock_rate"] = ""
            document.update(self._stock_totals(item))
            if books.stock_by != "inventory":
                document.update(self.places(books, item))
        return document

    def places(self, books: Books, item: Item) -> Document:
        """The stock by place, under the key that the organisation has for it; of what is not tracked none."""
        if not item.tracked:
            return {}
        places = self._locations(books, item)
        if books.stock_by == "warehouses":
            return {"warehouses": [_as_warehouse(place) for place in places]}
        return {"locations": places}

    def movement(self, books: Books, item: Item, form: str) -> Document | None:
        """The last movement of stock, as an ``adjustment`` or as the ``bare`` number it led to."""
        if item.moved is None:
            return None
        if form == "bare":
            return {"item_id": item.id, "stock_on_hand": Decimal(item.on_hand)}
        place_id = "warehouse_id" if books.stock_by == "warehouses" else "location_id"
        lines = [
            {
                "line_item_id": line_id,
                "item_id": item.id,
                "name": item.name,
                "description": "",
                "unit": item.unit,
                "quantity_adjusted": Decimal(quantity),
                place_id: books.locations[place].id,
            }
            for line_id, (place, quantity) in zip(item.moved.line_ids, item.moved.deltas, strict=True)
        ]
        adjustment = {
            "inventory_adjustment_id": item.moved.id,
            "date": books.calendar.day(item.moved.at).isoformat(),
            "reason": item.moved.reason,
            "description": "",
            "reference_number": "",
            "adjustment_type": "quantity",
            "line_items": lines,
        }
        return {"inventory_adjustment": adjustment}

    def webhook_extra(self, books: Books, item: Item) -> Document:
        """Production workers read the image's id from the body, though the single item lacks it."""
        extra = flatten_custom_fields(self._custom_fields(books, item))
        extra["image_document_id"] = item.image_id
        return extra

    def refuses_deletion(self, books: Books, item: Item) -> bool:
        """Items used in transactions cannot be deleted."""
        return books.uses[item.id] > 0

    def retire(self, _: Books, item: Item) -> str:
        """Becomes inactive."""
        item.active = False
        return "status"

    def plantable(self, item: Item, fault: Fault) -> bool:
        """Only items with stock show a stock."""
        return item.tracked or fault.path != "stock_on_hand"
