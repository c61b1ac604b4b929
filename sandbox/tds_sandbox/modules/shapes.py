"""What documents of every module are made of: shapes kept as JSON, currencies, custom fields."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from tds_sandbox.jsontext import Document, decode
from tds_sandbox.money import Currency


class Shape:
    """A document in its true shape with invented data; null stands where a record has a value of its own.

    What is not null is shared by all documents: a part of it is copied before it is changed.
    """

    def __init__(self, template: Document) -> None:
        self._template = template
        self._own = tuple(key for key, value in template.items() if value is None)

    def fill(self, values: Mapping[str, Any]) -> Document:
        """The document of one record, its keys in the template's order.

        Args:
            values: by key; what this shape does not show may be among them.

        Raises:
            KeyError: a value of the record's own is missing.
        """
        return self._template | {key: values[key] for key in self._own}


def shapes(module: str, *names: str) -> tuple[Shape, ...]:
    """The shapes of a module, as they follow each other in the JSON file beside it.

    Args:
        module: the file's name.
        names: of all shapes in it.

    Raises:
        ValueError: the file has others.
    """
    templates = decode((files(__package__) / f"{module}.json").read_text(encoding="utf-8"))
    if tuple(templates) != names:
        raise ValueError(f"{module}.json has the shapes {', '.join(templates)}, not {', '.join(names)}")
    return tuple(map(Shape, templates.values()))


def currency_shown(currency: Currency) -> Document:
    """What documents show of their currency."""
    return {
        "currency_id": currency.id,
        "currency_code": currency.code,
        "currency_symbol": currency.symbol,
        "currency_name_formatted": f"{currency.code}- {currency.name}",
        "price_precision": currency.precision,
    }


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
