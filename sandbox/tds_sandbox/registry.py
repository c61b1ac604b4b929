"""The modules the sandbox has, in the order they are generated: what a record refers to comes first."""

from __future__ import annotations

from typing import Any

from tds_sandbox.books import Entity
from tds_sandbox.modules.bills import Bills
from tds_sandbox.modules.contacts import Contacts
from tds_sandbox.modules.creditnotes import CreditNotes
from tds_sandbox.modules.customerpayments import CustomerPayments
from tds_sandbox.modules.invoices import Invoices
from tds_sandbox.modules.items import Items
from tds_sandbox.modules.pricebooks import Pricebooks
from tds_sandbox.modules.reference import Currencies, Locations, Settings, Taxes
from tds_sandbox.modules.salesorders import SalesOrders
from tds_sandbox.modules.vendorcredits import VendorCredits
from tds_sandbox.modules.vendorpayments import VendorPayments

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

SETTINGS: tuple[Settings, ...] = (Locations(), Currencies(), Taxes())
"""What is set up once and served by pages of its own."""
