"""The modules the sandbox has, in the order they are generated: what a record refers to comes first."""

from __future__ import annotations

from typing import Any

from tds_sandbox.contacts import Contacts
from tds_sandbox.creditnotes import CreditNotes
from tds_sandbox.customerpayments import CustomerPayments
from tds_sandbox.entity import Entity
from tds_sandbox.invoices import Invoices
from tds_sandbox.items import Items
from tds_sandbox.pricebooks import Pricebooks
from tds_sandbox.purchases import Bills, SalesOrders, VendorCredits, VendorPayments
from tds_sandbox.reference import Currencies, Locations, Settings, Taxes

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
