"""Templates, and what they need: the page around everything, figures and times for people."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tds_receiver.dashboard.charts import amount

PATH = "/dashboard"
LOGIN, LOGOUT = f"{PATH}/login", f"{PATH}/logout"
ASSETS = {"tds.css": "text/css", "tds.js": "text/javascript", "tds.svg": "image/svg+xml"}
LONGEST = 1000  # characters of a part of a document
# Nothing of another origin, nothing within the page that runs, in nobody's frame: no record can do harm.
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
PAGES = (
    ("overview", PATH, "Overview"),
    ("entities", f"{PATH}/entities", "Entities"),
    ("dead", f"{PATH}/dead", "Dead letters"),
    ("record", f"{PATH}/records", "Records"),
    ("runs", f"{PATH}/runs", "Runs"),
    ("jobs", f"{PATH}/jobs", "Jobs"),
    ("stock", f"{PATH}/stock", "Stock"),
    ("alerts", f"{PATH}/alerts", "Alerts"),
    ("discrepancies", f"{PATH}/discrepancies", "Discrepancies"),
    ("verification", f"{PATH}/verification", "Verification"),
    ("health", f"{PATH}/health", "Health"),
)


def _time(value: str | None) -> datetime | None:
    if value is None or "infinity" in value:
        return None
    return datetime.fromisoformat(value).astimezone(UTC)


def _moment(value: str | None) -> str:
    at = _time(value)
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""


def _span(seconds: float | None) -> str:
    return "" if seconds is None else amount(float(seconds), "seconds")


def _ago(value: str | None, now: str) -> str:
    """How long ago, or until when: 3 min ago, in 2 h."""
    at, present = _time(value), _time(now)
    if at is None or present is None:
        return ""
    seconds = round((present - at).total_seconds())
    if abs(seconds) < 1:
        return "now"
    told = amount(float(abs(seconds)), "seconds")
    return f"{told} ago" if seconds > 0 else f"in {told}"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,}"


def _measure(value: float | None, unit: str) -> str:
    """A measured figure with its unit: 1,234 events, 99.95 %, 4.1 GB, 35 min."""
    if value is None:
        return ""
    if unit in {"bytes", "seconds", "%"}:
        return amount(float(value), unit)
    return f"{value:,}".removesuffix(".0") + f" {unit}".rstrip()


def _told(value: object) -> str:
    """A part of a document, as JSON in a line; a long one is cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return str(value)
        case str() if len(value) >= 19 and value[4:5] == value[7:8] == "-" and value[10:11] == "T":
            return f"{value[:10]} {value[11:19]}"
        case _:
            return str(value)


@cache
def asset(name: str) -> tuple[bytes, str]:
    """A style sheet, script or picture of ours, and its type.

    Args:
        name: one of `ASSETS`.
    """
    return files("tds_receiver.dashboard").joinpath("assets", name).read_bytes(), ASSETS[name]


@cache
def _address(name: str) -> str:
    # with what is in it, so that a browser may keep it for ever
    return f"/assets/{name}?v={hashlib.sha256(asset(name)[0]).hexdigest()[:12]}"


_TEMPLATES = Environment(
    loader=PackageLoader("tds_receiver.dashboard", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(
    moment=_moment,
    ago=_ago,
    count=_count,
    cell=_cell,
    span=_span,
    amount=amount,
    measure=_measure,
    told=_told,
)
_TEMPLATES.globals.update(asset=_address, root=PATH, login=LOGIN, logout=LOGOUT, pages=PAGES)


def page(name: str, **values: Any) -> str:
    """A page of the dashboard.

    Args:
        name: of its template.
        values: what the template shows.
    """
    return _TEMPLATES.get_template(f"{name}.html").render(values)


def login_page(told: str | None = None, then: str = "") -> str:
    """The page that asks for a key.

    Args:
        told: why the last one was not taken.
        then: the page that was asked for.
    """
    return page("login", told=told, then=then)


def unavailable_page() -> str:
    """What is shown while the database cannot be asked."""
    return page("unavailable")


def message_page(title: str, told: Mapping[str, str]) -> str:
    """What is shown where there is no page, or a deed was refused.

    Args:
        title: what is the matter.
        told: reason, and hint.
    """
    return page("message", title=title, told=told)
