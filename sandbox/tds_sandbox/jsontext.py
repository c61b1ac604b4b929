"""JSON text the way Zoho Books writes it: compact, UTF-8, decimals exact.

The standard encoder knows binary floats only, so a rate of 0.1 could never be told from its neighbours.
Documents therefore hold ``Decimal`` and are written by this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any

Document = dict[str, Any]


class RawNumber(str):
    """The text of a JSON number that has to reach the wire digit by digit, such as ``1.000000``."""

    __slots__ = ()


@lru_cache(maxsize=65536)
def _decimal(value: Decimal) -> str:
    # Zoho's amounts are printed from doubles: 17551910.0, 49.99, 0.0.
    text = f"{value:f}"
    if "." not in text:
        return text + ".0"
    text = text.rstrip("0")
    return text + "0" if text.endswith(".") else text


@lru_cache(maxsize=4096)
def _key(name: str) -> str:
    return encode_basestring(name) + ":"


def _dict(value: Document) -> str:
    return "{" + ",".join([_key(k) + _WRITERS[v.__class__](v) for k, v in value.items()]) + "}"


def _list(value: list[Any]) -> str:
    return "[" + ",".join([_WRITERS[v.__class__](v) for v in value]) + "]"


_WRITERS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    RawNumber: str.__str__,
    int: int.__repr__,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
    Decimal: _decimal,
    dict: _dict,
    list: _list,
}


def encode(value: Any) -> str:
    """Return the compact JSON text of a document.

    Raises:
        TypeError: the document holds something else than str, int, bool, None, Decimal, dict or list.
    """
    try:
        return _WRITERS[value.__class__](value)
    except KeyError as error:
        raise TypeError(
            f"cannot write {error.args[0]} as JSON; numbers with a fraction are Decimal"
        ) from None


def decode(text: str | bytes) -> Any:
    """Parse JSON, numbers with a fraction as ``Decimal``."""
    return json.loads(text, parse_float=Decimal)
