"""Sales orders: what customers have ordered, and is shipped some day."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from tds_sandbox.books import Books, EditKind
from tds_sandbox.jsontext import Document
from tds_sandbox.modules.base import Documents
from tds_sandbox.modules.documents import Transaction
from tds_sandbox.modules.shapes import shapes


@dataclass(slots=True, kw_only=True, eq=False)
class Order(Transaction):
    """A sales order."""

    shipment: dt.date


class SalesOrders(Documents[Order]):
    """``/salesorders``."""

    name = "salesorders"
    record_key = "salesorder"
    id_key = "salesorder_id"
    number_key = "salesorder_number"
    noun = "Sales Order"
    report_name = "Sales Orders"
    scope = "salesorders.READ"
    prefix = "SO"
    url = "sales-orders"
    vendors = False
    states = ("draft", "open", "invoiced", "partially_invoiced", "void", "closed")
    row, whole, line = shapes("salesorders", "row", "detail", "line")
    per_month = 80
    honours_modified_filter = True

    def __init__(self) -> None:
        super().__init__()
        self.edits |= {
            "send": EditKind(self._become("open"), lambda order: order.status == "draft"),
            "close": EditKind(self._become("closed"), lambda order: order.status == "open"),
            "void": EditKind(self._become("void"), lambda order: order.status in {"draft", "open"}),
        }

    def new(self, common: Document, rng: random.Random) -> Order:
        """An order."""
        return Order(**common, shipment=common["date"] + timedelta(days=rng.randrange(1, 20)))

    def settle_generated(self, _: Books, document: Order, rng: random.Random) -> None:
        """In some state."""
        document.status = rng.choices(self.states, (5, 40, 40, 5, 2, 8))[0]
        document.reckon()

    @staticmethod
    def _become(status: str) -> Callable[[Books, Order, random.Random], None]:
        def become(_: Books, order: Order, __: random.Random) -> None:
            order.status = status
            order.reckon()

        return become

    def refuses_deletion(self, _: Books, document: Order) -> bool:
        """Invoiced orders cannot be deleted."""
        return document.status in {"invoiced", "partially_invoiced"}

    def retire(self, _: Books, document: Order) -> str:
        """It is voided."""
        document.status = "void"
        document.reckon()
        return "void"

    def shown(self, books: Books, document: Order) -> Document:
        """Orders are shipped some day."""
        return super().shown(books, document) | {"shipment_date": document.shipment.isoformat()}
