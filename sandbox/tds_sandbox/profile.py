"""Shares measured in a real company's Zoho Books (2,205 items, 2,386 customers, 81 vendors; autumn 2025).

Only aggregates: every name, address, number and mail address the generator writes is invented.
A count here is scaled to the size asked for, so a tenfold organisation has ten times the duplicates.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ItemProfile:
    """Counts among ``rows`` items."""

    rows: int = 2205
    sku_filled: int = 449
    sku_over_50: int = 2
    sku_max_length: int = 120
    names_used_twice: int = 2
    name_max_length: int = 68
    inactive: int = 909
    zero_price: int = 548
    zero_cost: int = 74
    sell_below_cost: int = 22
    max_price: int = 555
    blank_unit: int = 43
    untracked: int = 80  # the export's reorder level "0" against "0.0": no stock is kept for these
    reorder_blank: int = 530
    # The five named ones and eight rarer ones: 153 in all, 15 different values with "0.0" and "0".
    reorder_levels: tuple[tuple[int, int], ...] = (
        (5, 60), (10, 33), (2, 18), (3, 9), (20, 7), (50, 8), (4, 6), (30, 4), (15, 3), (25, 2), (100, 1),
        (1, 1), (8, 1),
    )  # fmt: skip
    brand_filled: int = 50
    brand_main: int = 37
    description_filled: int = 19
    image_filled: int = 1605
    image_shares: tuple[int, ...] = (25, 9, 8, 7, 6, 5, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2)
    in_stock: int = 479
    max_stock: int = 46551


@dataclass(frozen=True)
class CustomerProfile:
    """Counts among ``rows`` customers."""

    rows: int = 2386
    arabic_names: int = 2321
    name_shares: tuple[int, ...] = (4, 3) + (2,) * 15
    name_max_length: int = 98
    email_unique: int = 786
    email_shares: tuple[int, ...] = (8, 3) + (2,) * 130
    phone_unique: int = 1107
    phone_shares: tuple[int, ...] = (8, 3, 3, 3) + (2,) * 150
    mobile_unique: int = 896
    mobile_shares: tuple[int, ...] = (8, 3) + (2,) * 129
    iqd: int = 397
    inactive: int = 55
    payment_terms: tuple[tuple[str, int, int], ...] = (
        ("Net 7", 7, 1132),
        ("Due on Receipt", 0, 641),
        ("Immediately", 0, 346),
        ("Due On Receipt", 0, 260),
        ("المستحق عند الاستلام", 0, 6),
        ("دفع عند التوصيل", 0, 1),
    )
    phone_shapes: tuple[tuple[str, int], ...] = (
        ("+9999999999999", 824),
        ("99999999999", 302),
        ("+999 999 999 9999", 196),
        ("9999 999 9999", 95),
        ("999999999999999", 2),
        ("999999999", 1),
        ("9999999999", 1),
        ("+999\u00a0999\u00a0999\u00a09999", 1),
        ("+999999 999 9999", 1),
        ("+999999999999999", 1),
    )


@dataclass(frozen=True)
class VendorProfile:
    """Counts among ``rows`` vendors."""

    rows: int = 81
    phone_filled: int = 3
    currencies: tuple[tuple[str, int], ...] = (("USD", 51), ("RMB", 24), ("IQD", 6))
    payment_terms: tuple[tuple[str, int, int], ...] = (
        ("Due on Receipt", 0, 61),
        ("Net 7", 7, 16),
        ("Immediately", 0, 2),
        ("Net 99999", 99999, 2),
    )
    inactive: int = 1


@dataclass(frozen=True)
class InvoiceProfile:
    """Shares of one in ``rows``; the statuses are invented, the volume is that of October 2025."""

    rows: int = 1000
    per_month: int = 1000
    statuses: tuple[tuple[str, int], ...] = (
        ("paid", 620),
        ("open", 210),
        ("partially_paid", 90),
        ("draft", 45),
        ("void", 35),
    )
    discounts: tuple[tuple[str, int], ...] = (
        ("none", 700),
        ("entity_percent", 120),
        ("entity_amount", 60),
        ("item", 120),
    )
    taxed: int = 150
    shipping: int = 100
    adjustment: int = 50


ITEMS = ItemProfile()
CUSTOMERS = CustomerProfile()
VENDORS = VendorProfile()
INVOICES = InvoiceProfile()


def scaled(count: int, rows: int, size: int) -> int:
    """How many of ``size`` records have a trait that ``count`` of ``rows`` real ones have.

    A rare trait still occurs once where at least a hundred records are made, so that small test organisations
    meet it too.
    """
    exact = round(count * size / rows)
    if exact == 0 and count > 0 and size >= 100:
        return 1
    return min(exact, size)


def scaled_shares(shares: tuple[int, ...], rows: int, size: int) -> list[int]:
    """Group sizes of a shared value (one e-mail, one image name) for an organisation of ``size`` records."""
    groups = round(len(shares) * size / rows)
    return [shares[i % len(shares)] for i in range(groups)]
