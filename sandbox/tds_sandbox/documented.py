"""What the official documents say of the parameters of lists; an edition may refuse everything else."""

from __future__ import annotations

from collections.abc import Mapping

from tds_sandbox.errors import InvalidValueError


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ALWAYS = frozenset({"organization_id", "page", "per_page", "filter_by", "search_text"})
# Documented for invoices only; other lists were seen to count, or to answer as if not asked to.
_TOLERATED = frozenset({"response_option"})

PARAMETERS: Mapping[str, frozenset[str]] = {
    "items": _names(
        "name name_startswith name_contains description description_startswith description_contains "
        "rate rate_less_than rate_less_equals rate_greater_than rate_greater_equals tax_id tax_name "
        "is_taxable tax_exemption_id account_id sort_column sat_item_key_code unitkey_code"
    ),
    "contacts": _names(
        "contact_type contact_name company_name first_name last_name address email phone sort_column "
        "zcrm_contact_id zcrm_account_id zcrm_vendor_id"
    ),
    "invoices": _names(
        "invoice_number item_name item_id item_description reference_number customer_name "
        "recurring_invoice_id email total balance custom_field date date_start date_end date_before "
        "date_after due_date due_date_start due_date_end due_date_before due_date_after created_date "
        "created_date_start created_date_end last_modified_time status customer_id sort_column "
        "zcrm_potential_id"
    ),
    "bills": _names(
        "bill_number reference_number date due_date created_date status description vendor_name total "
        "vendor_id project_id item_name item_description item_id recurring_bill_id purchaseorder_id "
        "last_modified_time customer_id location_ids sort_column sort_order"
    ),
    "creditnotes": _names(
        "creditnote_number date status total reference_number customer_name item_name customer_id "
        "item_description item_id line_item_id tax_id sort_column last_modified_time location_ids"
    ),
    "customerpayments": _names(
        "customer_name reference_number date amount notes payment_mode sort_column customer_id"
    ),
    "vendorpayments": _names(
        "vendor_name reference_number payment_number date amount payment_mode notes vendor_id "
        "last_modified_time bill_id description sort_column"
    ),
    "vendorcredits": _names(
        "vendor_credit_number date status total reference_number customer_name item_name "
        "item_description notes custom_field last_modified_time customer_id line_item_id item_id "
        "tax_id sort_column location_ids"
    ),
    "pricebooks": frozenset(),
}
"""By the name of the list; of others no document was at hand, so that they take anything."""

SORT_COLUMNS: Mapping[str, frozenset[str]] = {
    "items": frozenset({"name", "rate", "tax_name"}),
    "vendorpayments": frozenset({"vendor_name", "date", "reference_number", "amount", "balance"}),
}
FILTERS: Mapping[str, frozenset[str]] = {
    "pricebooks": frozenset(
        {"SalesOrPurchaseType.All", "SalesOrPurchaseType.Sales", "SalesOrPurchaseType.Purchases"}
    ),
}


def refuse_undocumented(name: str, query: Mapping[str, str]) -> None:
    """Refuses what the documents of a list do not list.

    Args:
        name: of the list: ``items``.
        query: of the call.

    Raises:
        InvalidValueError: of the first parameter that they do not know, or whose value they do not.
    """
    if name not in PARAMETERS:
        return
    for parameter, value in query.items():
        values = {"filter_by": FILTERS, "sort_column": SORT_COLUMNS}.get(parameter, {}).get(name)
        known = parameter in PARAMETERS[name] | _ALWAYS | _TOLERATED
        if not known or (value and values is not None and value not in values):
            raise InvalidValueError(parameter)
