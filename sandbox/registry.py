"""The modules the sandbox has, in the order they are generated: what a record refers to comes first."""

from __future__ import annotations

from typing import Any

from sandbox.contacts import Contacts
from sandbox.creditnotes import CreditNotes
from sandbox.customerpayments import CustomerPayments
from sandbox.entity import Entity
from sandbox.invoices import Invoices
from sandbox.items import Items
from sandbox.pricebooks import Pricebooks
from sandbox.purchases import Bills, SalesOrders, VendorCredits, VendorPayments
from sandbox.reference import Currencies, Locations, Settings, Taxes

ENTITIES: tuple[Entity[Any], ...] = (
    Items(),
    Contacts(),
    Invoices(),
    Pricebooks(),
    CreditNotes(),
    CustomerPayments(),
    Bills(),
    VendorCredits(),
    VendorPayments(),
    SalesOrders(),
)

LOCATIONS, CURRENCIES, TAXES = Locations(), Currencies(), Taxes()
SETTINGS: tuple[Settings, ...] = (LOCATIONS, CURRENCIES, TAXES)
"""What is set up once and served by pages of its own."""
