"""The dashboard: `tds.dashboard()` as a page for people, from which nothing can be done."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader

PATH = "/dashboard"
LOGIN, LOGOUT = f"{PATH}/login", f"{PATH}/logout"
# Nothing of another origin, no script, in nobody's frame: what a record's error says cannot do harm.
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else ""
        case int() | float():
            return f"{value:,}"
        case str() if len(value) >= 19 and value[4:5] == value[7:8] == "-" and value[10:11] == "T":
            return f"{value[:10]} {value[11:19]}"
        case _:
            return str(value)


_PAGES = Environment(loader=PackageLoader("tds_receiver.api", ""), autoescape=True)
_PAGES.filters["cell"] = _cell
_PAGE = _PAGES.get_template("dashboard.html")
_LOGIN = _PAGES.get_template("login.html")


def page(tables: Sequence[Mapping[str, Any]], csrf: str | None) -> str:
    """The page.

    Args:
        tables: what `tds.dashboard()` returns.
        csrf: what a form of the page has to send along; None: the browser has not logged in by a form.
    """
    at = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return _PAGE.render(tables=tables, at=at, csrf=csrf, logout=LOGOUT)


def login_page(told: str | None = None) -> str:
    """The page that asks for a key.

    Args:
        told: why the last one was not taken.
    """
    return _LOGIN.render(told=told, login=LOGIN)
