"""What may be asked of Zoho with a refresh token: the scopes, once for all who name or check them."""

from collections.abc import Iterable

# Each module, and a list that needs its scope. Items, price lists and taxes need settings too.
SCOPES = {
    "settings": "/items",
    "contacts": "/contacts",
    "invoices": "/invoices",
    "bills": "/bills",
    "creditnotes": "/creditnotes",
    "customerpayments": "/customerpayments",
    "vendorpayments": "/vendorpayments",
    "debitnotes": "/vendorcredits",
    "salesorders": "/salesorders",
}
READING = tuple(f"ZohoBooks.{module}.READ" for module in SCOPES)
MAKING_WEBHOOKS = ("ZohoBooks.settings.CREATE",)
STOCK_BY_PLACE = ("ZohoInventory.items.READ",)
ACTIVITY_LOG = ("ZohoBooks.reports.READ",)
"""Optional: the activity log is read for hints where it is granted."""


def scope_string(*, webhooks: bool = False, inventory: bool = False) -> str:
    """What Zoho's console wants in the field Scope.

    Args:
        webhooks: whether `tds webhooks create` is to make webhooks.
        inventory: whether stock by place is asked of the Inventory API, where Books tells none.
    """
    wanted = READING + MAKING_WEBHOOKS * webhooks + STOCK_BY_PLACE * inventory
    return ",".join(wanted)


def lacking(granted: str, wanted: Iterable[str] = READING) -> list[str]:
    """Those of the wanted scopes that are not granted.

    Args:
        granted: as the accounts server tells them, with blanks or commas between; empty: it told none.
        wanted: scopes.
    """
    given = set(granted.replace(",", " ").split())
    if not given:
        return []

    def covered(scope: str) -> bool:
        service, module, _ = scope.split(".")
        return bool(given & {scope, f"{service}.{module}.ALL", f"{service}.fullaccess.all"})

    return [scope for scope in wanted if not covered(scope)]
