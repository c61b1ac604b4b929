"""Locations, currencies and taxes: set up once, listed whole by pages of their own, changed now and then.

What was written with the old name of a tax or at the old rate of a currency keeps it.
"""

from __future__ import annotations

import abc
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from tds_sandbox.books import Books, EditKind, Entity, Record
from tds_sandbox.errors import SandboxError, UnsuitableEditError
from tds_sandbox.jsontext import Document, RawNumber
from tds_sandbox.modules.shapes import shapes

(_LOCATION,) = shapes("reference", "location")


@dataclass(slots=True, kw_only=True)
class Setting(Record):
    """One of them; what it says is kept by the organisation at ``place``, ``primary`` is its first."""

    place: int
    primary: bool


class Settings(Entity[Setting]):
    """What the three have in common: no single-record page, no times, no webhooks."""

    scope = "settings.READ"
    default_filter = "Status.All"
    default_sort = ("created_time", "A")
    honours_modified_filter = False
    announced = False
    faults = ()

    def __init__(self) -> None:
        self.filters = {"Status.All": lambda _: True}
        self.sort_keys: dict[str, Callable[[Setting], Any]] = {"created_time": lambda setting: setting.place}

    @abc.abstractmethod
    def ids(self, books: Books) -> list[str]:
        """The ids, in the order of the page; the primary location or base currency is the first."""

    def generate(self, books: Books, _: int, __: random.Random) -> list[Setting]:
        """A record for each, whatever the count."""
        start = books.data_ends - 1641 * 86_400
        return [
            Setting(id=one, created=start, modified=start, place=place, primary=place == 0)
            for place, one in enumerate(self.ids(books))
        ]

    def create(self, _: Books, __: random.Random) -> Setting:
        """Refused.

        Raises:
            SandboxError: always.
        """
        raise SandboxError(f"{self.name} are set up once; there are none to add")

    def detail(self, books: Books, setting: Setting) -> Document:
        """The same as the row: there is no page of one."""
        return self.list_row(books, setting)

    def refuses_deletion(self, _: Books, __: Setting) -> bool:
        """All of them are in use."""
        return True

    def retire(self, _: Books, setting: Setting) -> str:
        """Refused, unless a module knows better.

        Raises:
            UnsuitableEditError: always.
        """
        raise UnsuitableEditError(f"{self.noun} {setting.id} is in use")


class Locations(Settings):
    """``/locations``."""

    name = "locations"
    record_key = "location"
    id_key = "location_id"
    noun = "Location"
    report_name = "Locations"

    def __init__(self) -> None:
        super().__init__()
        self.edits = {
            "name": EditKind(self._rename),
            "status": EditKind(self._switch, lambda setting: not setting.primary),
        }

    def ids(self, books: Books) -> list[str]:
        """Of the locations."""
        return [location.id for location in books.locations]

    @staticmethod
    def _rename(books: Books, setting: Setting, rng: random.Random) -> None:
        old = books.locations[setting.place]
        name = f"{old.name.rsplit(' No. ', 1)[0]} No. {rng.randrange(2, 10_000)}"
        books.locations[setting.place] = old._replace(name=name)

    @staticmethod
    def _switch(books: Books, setting: Setting, _: random.Random) -> None:
        old = books.locations[setting.place]
        books.locations[setting.place] = old._replace(active=not old.active)

    def list_row(self, books: Books, setting: Setting) -> Document:
        """The keys of the official example."""
        location = books.locations[setting.place]
        return _LOCATION.fill(
            {
                "location_id": location.id,
                "location_name": location.name,
                "status": "active" if location.active else "inactive",
                "is_primary": setting.primary,
            }
        )

    def retire(self, books: Books, setting: Setting) -> str:
        """Becomes inactive; the primary one cannot.

        Raises:
            UnsuitableEditError: it is the primary one.
        """
        if setting.primary:
            raise UnsuitableEditError(f"{self.noun} {setting.id} is the primary one")
        place = setting.place
        books.locations[place] = books.locations[place]._replace(active=False)
        return "status"


class Currencies(Settings):
    """``/settings/currencies``."""

    name = "currencies"
    record_key = "currency"
    id_key = "currency_id"
    noun = "Currency"
    report_name = "Currencies"

    def __init__(self) -> None:
        super().__init__()
        self.edits = {"exchange_rate": EditKind(self._revalue, lambda setting: not setting.primary)}

    def ids(self, books: Books) -> list[str]:
        """Of the currencies, the base currency first."""
        return [currency.id for currency in books.currencies.values()]

    @staticmethod
    def _revalue(books: Books, setting: Setting, rng: random.Random) -> None:
        code = list(books.currencies)[setting.place]
        old = books.currencies[code]
        step = Decimal("0.000001")
        rate = (old.rate * Decimal(rng.choice((94, 97, 102, 105))) / 100).quantize(step)
        if rate == old.rate:
            rate += step
        today = books.calendar.day(books.now()).isoformat()
        books.currencies[code] = replace(old, rate=rate, effective=today)

    def list_row(self, books: Books, setting: Setting) -> Document:
        """The keys of the recorded list; the base currency has no rate."""
        currency = list(books.currencies.values())[setting.place]
        return {
            "currency_id": currency.id,
            "currency_code": currency.code,
            "currency_name": currency.name,
            "currency_name_formatted": f"{currency.code}- {currency.name}",
            "currency_symbol": currency.symbol,
            "price_precision": currency.precision,
            "currency_format": "1,234,567.89" if currency.precision else "1,234,567",
            "is_base_currency": currency.is_base,
            "exchange_rate": 0 if currency.is_base else RawNumber(f"{currency.rate:.6f}"),
            "effective_date": currency.effective,
            "auto_exchange_rate_enabled": False,
        }


class Taxes(Settings):
    """``/settings/taxes``."""

    name = "taxes"
    record_key = "tax"
    id_key = "tax_id"
    noun = "Tax"
    report_name = "Taxes"

    def __init__(self) -> None:
        super().__init__()
        self.edits = {"name": EditKind(self._rename)}

    def ids(self, books: Books) -> list[str]:
        """Of the taxes."""
        return [tax.id for tax in books.taxes]

    @staticmethod
    def _rename(books: Books, setting: Setting, rng: random.Random) -> None:
        old = books.taxes[setting.place]
        name = f"{old.name.rsplit(' v', 1)[0]} v{rng.randrange(2, 10_000)}"
        books.taxes[setting.place] = replace(old, name=name)

    def list_row(self, books: Books, setting: Setting) -> Document:
        """The keys of the official example that every tax has."""
        tax = books.taxes[setting.place]
        return {
            "tax_id": tax.id,
            "tax_name": tax.name,
            "tax_percentage": tax.percentage,
            "tax_type": "tax",
            "tax_specific_type": "",
            "is_value_added": tax.name.startswith("VAT"),
            "is_default_tax": False,
            "is_editable": True,
        }
