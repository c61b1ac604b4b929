"""The organisation's own pages: organizations, currencies, taxes, locations, in their simple true form."""

from __future__ import annotations

from collections.abc import Mapping

from tds_sandbox.jsontext import Document
from tds_sandbox.organisation import Organisation

_OK: Document = {"code": 0, "message": "success"}


def _rows(organisation: Organisation, name: str) -> list[Document]:
    book = organisation.settings[name]
    return [book.entity.list_row(organisation, record) for record in book.records]


def _organization(organisation: Organisation) -> Document:
    base = organisation.base
    return {
        "organization_id": organisation.organization_id,
        "name": organisation.name,
        "contact_name": organisation.user[1],
        "email": "owner@example.com",
        "is_default_org": True,
        "language_code": "en",
        "account_created_date": "2021-05-03",
        "time_zone": "America/Puerto_Rico",
        "is_dst_active": False,
        "date_format": "MM/dd/yyyy",
        "field_separator": ",",
        "industry_type": "Wholesale",
        "industry_size": "11-50",
        "company_id_label": "",
        "company_id_value": "",
        "tax_id_label": "",
        "tax_id_value": "",
        "currency_id": base.id,
        "currency_code": base.code,
        "currency_symbol": base.symbol,
        "currency_format": "###,##0.00",
        "price_precision": base.precision,
    }


def organizations(plans: Mapping[Organisation, str]) -> Document:
    """``GET /organizations``: no ``page_context``, and the fiscal year's month as a number."""
    rows = [
        _organization(organisation)
        | {
            "fiscal_year_start_month": 1,
            "plan_type": 3,
            "plan_name": plan,
            "plan_period": "Month",
            "country_code": "IQ",
            "country_name": "Iraq",
            "portal_name": "sandbox",
            "org_settings": {"is_org_active": True},
        }
        for organisation, plan in plans.items()
    ]
    return _OK | {"organizations": rows}


def organization(organisation: Organisation) -> Document:
    """``GET /organizations/{id}``: the month has become a name, and there is an address."""
    address = {
        "street_address1": "",
        "street_address2": "",
        "city": "",
        "state": "",
        "country": "Iraq",
        "zip": "",
    }
    extra = {"fiscal_year_start_month": "january", "address": address, "phone": "", "fax": "", "website": ""}
    return _OK | {"organization": _organization(organisation) | extra}


def currencies(organisation: Organisation) -> Document:
    """``GET /settings/currencies``: no ``page_context``."""
    return _OK | {"currencies": _rows(organisation, "currencies")}


def taxes(organisation: Organisation) -> Document:
    """``GET /settings/taxes``."""
    today = organisation.calendar.day(organisation.now()).isoformat()
    context = {
        "page": 1,
        "per_page": 200,
        "has_more_page": False,
        "report_name": "Taxes",
        "applied_filter": "Taxes.Active",
        "as_of_date": today,
        "to_date": today,
        "sort_column": "tax_name",
        "sort_order": "A",
    }
    return _OK | {"taxes": _rows(organisation, "taxes"), "page_context": context}


def locations(organisation: Organisation) -> Document:
    """``GET /locations``: no ``page_context``."""
    return _OK | {"locations": _rows(organisation, "locations")}
