"""What documents of every module are made of: custom fields in their three forms."""

from __future__ import annotations

from typing import Any

from tds_sandbox.jsontext import Document


def flatten_custom_fields(fields: list[Document]) -> Document:
    """The ``cf_*`` pairs that lists carry instead of ``custom_fields[]``."""
    flat: Document = {}
    for field in fields:
        flat[field["api_name"]] = field["value_formatted"]
        flat[field["api_name"] + "_unformatted"] = field["value"]
    return flat


def custom_field_hash(fields: list[Document]) -> Document:
    """The ``custom_field_hash`` of a single record."""
    flat: Document = {}
    for field in fields:
        name = field["api_name"]
        flat[name] = field["value_formatted"]
        flat[name + "_formatted"] = field["value_formatted"]
        flat[name + "_unformatted"] = field["value"]
    return flat


def custom_field(
    field_id: str, api_name: str, label: str, *, index: int, data_type: str, value: Any
) -> Document:
    """One element of ``custom_fields[]``."""
    return {
        "customfield_id": field_id,
        "field_id": field_id,
        "api_name": api_name,
        "label": label,
        "index": index,
        "data_type": data_type,
        "value": value,
        "value_formatted": str(value),
        "selected_option_id": "",
        "placeholder": api_name,
        "is_active": True,
        "show_on_pdf": False,
        "show_in_portal": False,
        "is_dependent_field": False,
        "search_entity": "",
        "edit_on_portal": False,
    }
