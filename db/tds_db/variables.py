"""The variables that TDS reads, and those that look like one: a typo there is no error of its own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Each is read somewhere; tests/db/test_envfile.py compares this with what is.
TDS = frozenset(
    [
        "TDS_DATABASE_URL",
        "TDS_SESSION_DATABASE_URL",
        "TDS_DATA_DIR",
        "TDS_LOCK_TIMEOUT",
        "TDS_ENV_FILE",
        "TDS_PUBLIC_URL",
        "TDS_API_KEY",
        "TDS_ORGANISATIONS",
        "TDS_ONLY_ROWS",
        "TDS_TRACES_ENDPOINT",
        "TDS_ALERT_URLS",
        "TDS_BUSINESS_ALERT_URLS",
        "TDS_ALERT_SEND_SECONDS",
        "TDS_IMAGE_URL",
        "TDS_IMAGE_MAX_BYTES",
        "TDS_IMAGE_BASE",
        "TDS_RECEIVER_CONNECTIONS",
        "TDS_MAX_BODY_BYTES",
        "TDS_MAX_REQUESTS",
        "TDS_MAX_HELD_BYTES",
        "TDS_MAX_ARRIVING_BYTES",
        "TDS_HEADER_SECONDS",
        "TDS_BODY_SECONDS",
        "TDS_ENV_LOADED",
        "TDS_PARENT_PID",
    ]
)
ZOHO = frozenset(
    [
        "ZOHO_CLIENT_ID",
        "ZOHO_CLIENT_SECRET",
        "ZOHO_REFRESH_TOKEN",
        "ZOHO_ORGANIZATION_ID",
        "ZOHO_DC",
        "ZOHO_ACCOUNTS_BASE",
        "ZOHO_API_BASE",
        "ZOHO_CALLS_PER_MINUTE",
        "ZOHO_CONCURRENCY",
        "ZOHO_MINUTE_SECONDS",
        "ZOHO_LONGEST_WAIT",
        # with __ENTITY behind them, too: the receiver says what it does not know
        "ZOHO_WEBHOOK_SECRET",
        "ZOHO_WEBHOOK_SECRETS",
        "ZOHO_WEBHOOK_TOKEN",
        "ZOHO_WEBHOOK_TOKENS",
        "ZOHO_WEBHOOK_DELETE",
    ]
)
# Of organisations that are rows the names begin as whoever added them likes (env:PREFIX_).
OF_ROWS = re.compile(
    r".+_(CLIENT_ID|CLIENT_SECRET|REFRESH_TOKEN|WEBHOOK_(SECRET|TOKEN)S?(__\w+)?|WEBHOOK_DELETE)"
)
# What Kubernetes and Docker put beside a service whose name begins with tds, and what the test suite is told.
FOREIGN = re.compile(r"TDS_(.+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_\w+)?)|TDS_(TEST|BENCH)_\w+")


def is_text(given: str) -> bool:
    """Whether what the system has handed over was text in UTF-8: nothing else can be sent or stored."""
    return not any("\ud800" <= letter <= "\udfff" for letter in given)


def unknown(names: Iterable[str]) -> list[str]:
    """What is to be said of the names that look like a setting and are none.

    Args:
        names: of variables. The receiver refuses those of webhooks by itself.

    Returns:
        A sentence for each: the name, and the one that is near; never a value.
    """
    said = []
    for name in sorted(names):
        if name in TDS or name in ZOHO or OF_ROWS.fullmatch(name) or FOREIGN.fullmatch(name):
            continue
        if name.startswith("ZOHO_WEBHOOK_"):
            continue
        known = ZOHO if name.startswith("ZOHO_") else TDS
        near = difflib.get_close_matches(name, known, 1, 0.8)
        if near:
            said.append(f"{name} is no setting of TDS; did you mean {near[0]}?")
        elif name.startswith("TDS_"):
            said.append(f"{name} is no setting of TDS.")
    return said
