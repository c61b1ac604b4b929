"""Currencies, rounding, taxes and addresses shared by all records."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

ZERO = Decimal(0)
_STEPS = {0: Decimal(1), 2: Decimal("0.01"), 3: Decimal("0.001")}


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency of the organisation.

    Args:
        rate: base currency units for one unit of this one, as Zoho's ``exchange_rate``.
        precision: decimals of an amount.
        effective: the day the rate holds from; empty for the base currency.
    """

    id: str
    code: str
    name: str
    symbol: str
    precision: int
    rate: Decimal
    is_base: bool = False
    effective: str = ""

    def round(self, amount: Decimal) -> Decimal:
        """Round half up to this currency's precision."""
        return amount.quantize(_STEPS[self.precision], ROUND_HALF_UP)

    def formatted(self, amount: Decimal) -> str:
        """``$1,234.50``, as the ``*_formatted`` twins show it."""
        return f"{self.symbol}{amount:,.{self.precision}f}"


def round_base(amount: Decimal) -> Decimal:
    """Round half up to the base currency's two decimals."""
    return amount.quantize(_STEPS[2], ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Tax:
    """A tax of the organisation; ``percentage`` of the taxable amount."""

    id: str
    name: str
    percentage: Decimal


class Location(NamedTuple):
    """A place where stock is kept; a warehouse, as older organisations call it."""

    id: str
    name: str
    active: bool = True


class Terms(NamedTuple):
    """Payment terms; free text in Zoho, so the same days have several labels."""

    id: str
    label: str
    days: int


class Address(NamedTuple):
    """A postal address. Immutable, so that an invoice keeps the one it was written with."""

    id: str
    attention: str = ""
    address: str = ""
    street2: str = ""
    city: str = ""
    state: str = ""
    zip: str = ""
    country: str = ""
    country_code: str = ""
    phone: str = ""
    fax: str = ""
