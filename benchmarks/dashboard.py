"""What the pages of the dashboard cost: a million events, 10,000 dead letters, 90 days of samples.

`python -m benchmarks.dashboard` fills a database of its own on the embedded server and prints a table: the
SQL of each page, and the page as the receiver answers it, the least and the median of so many requests.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

import httpx
from psycopg import Connection

from tds_db import embedded
from tds_db.connect import connect
from tds_db.upgrade import upgrade

ORGANIZATION = "748139205"
KEY = "a-key-of-the-benchmark"
LIMIT = 50.0  # milliseconds a page may take
PAGES: dict[str, tuple[LiteralString, str]] = {
    "verdict": ("select tds.dashboard_verdict()", ""),
    "overview": ("select tds.dashboard_overview()", ""),
    "charts, hour": ("select tds.dashboard_charts('hour')", "?span=hour"),
    "charts, day": ("select tds.dashboard_charts('day')", "?span=day"),
    "charts, month": ("select tds.dashboard_charts('month')", "?span=month"),
    "entities": ("select tds.dashboard_entities()", "/entities"),
    "dead letters": ("select tds.dashboard_dead(null, null, null, null)", "/dead"),
    "dead letters, a text": (
        "select tds.dashboard_dead('bills', null, 'number', 5000)",
        "/dead?entity=bills&q=number&before=5000",
    ),
    "one dead letter": ("select tds.dashboard_letter(5000)", "/dead/5000"),
    "a record's story": (
        "select tds.dashboard_record('products', '4600000000000004700')",
        "/records?entity=products&id=4600000000000004700",
    ),
    "a record by its number": (
        "select tds.dashboard_record('products', 'SKU-77')",
        "/records?entity=products&id=SKU-77",
    ),
    "runs": ("select tds.dashboard_runs(null, null, null)", "/runs"),
    "one run": ("select tds.dashboard_run(9000)", "/runs/9000"),
    "jobs": ("select tds.dashboard_jobs()", "/jobs"),
    "stock": ("select tds.dashboard_stock()", "/stock"),
    "alerts": ("select tds.dashboard_alerts()", "/alerts"),
    "discrepancies": ("select tds.dashboard_discrepancies(null, null)", "/discrepancies"),
    "one discrepancy": ("select tds.dashboard_discrepancy(500)", "/discrepancies/500"),
    "verification": ("select tds.dashboard_verification(null)", "/verification"),
    "health": ("select tds.dashboard_health()", "/health"),
    "a sample is taken": ("select tds.take_sample()", ""),
}


def fill(owner: Connection, events: int, organizations: int = 1) -> None:
    """So many events of a month, and what else has come together meanwhile, of organisations in turn."""
    given = {"events": events, "organization": ORGANIZATION, "organizations": organizations}
    for statement in (Path(__file__).with_suffix(".sql")).read_text().split(";\n"):
        if statement.strip():
            owner.execute(statement.encode(), given)


def _taken(what: Callable[[], Any], times: int) -> tuple[float, float]:
    """The least and the median: on a busy machine the one says what the other would be on an idle one."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        what()
        taken.append((time.perf_counter() - begun) * 1000)
    return min(taken), statistics.median(taken)


def _ask(connection: Connection, query: LiteralString) -> Callable[[], Any]:
    return lambda: connection.execute(query, prepare=True, binary=True).fetchall()


def _answered(client: httpx.Client, path: str) -> Callable[[], Any]:
    return lambda: client.get(f"/dashboard{path}").raise_for_status()


def main() -> None:
    """Fills, measures, prints."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--events", type=int, default=1_000_000)
    given.add_argument("--times", type=int, default=21)
    options = given.parse_args()
    with tempfile.TemporaryDirectory(prefix="tds-dashboard-") as place:
        Path(place).chmod(0o755)  # the server is not root's
        try:
            _measure(embedded.ensure_running(Path(place)).conninfo(), options.events, options.times)
        finally:
            embedded.stop(Path(place))


def _measure(conninfo: str, events: int, times: int) -> None:
    # only here: the tests' receiver serves in a thread
    from tds_receiver.settings import ReceiverSettings  # noqa: PLC0415
    from tests.receiver.conftest import serving  # noqa: PLC0415

    upgrade(conninfo)
    os.environ["TDS_API_KEY"] = KEY
    with connect("benchmark", conninfo, autocommit=True) as owner:
        fill(owner, events)
        settings = ReceiverSettings.model_validate({"organization_id": ORGANIZATION, "connections": 2})
        with serving(conninfo, settings) as client:
            client.headers["x-api-key"] = KEY
            print(f"{events:,} events, 10,000 dead letters, 90 days of samples: ms, of {times}\n")
            print(f"{'':26} {'SQL':>8} {'':>8} {'page':>8}\n{'':26}{' least   median' * 2}")
            for name, (query, path) in PAGES.items():
                in_sql = _taken(_ask(owner, query), times)
                shown = _taken(_answered(client, path), times) if path or name == "overview" else ()
                figures = "".join(f"{figure:8.1f}" for figure in (*in_sql, *shown))
                over = "" if max(in_sql[0], *shown[:1], 0) < LIMIT else "  not under 50"
                print(f"{name:26}{figures}{over}", flush=True)


if __name__ == "__main__":
    main()
