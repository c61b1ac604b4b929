"""`python -m benchmarks.scraping`: what one look of Prometheus' costs with a million events in the history.

The database is that of `tests/sql/test_at_scale.py`: thirty days, 1,000,000 finished events, 10,000 dead
letters, 17,000 pulls, 5,000 wanted details, the series of all checks. Told are the median, the best and the
99th percentile of many looks: of each part of `tds.metrics()`, of all of it, of `tds_slo`, and of `/metrics`
over HTTP from a receiver, from its cache and past it; of HTTP also the CPU of the receiver and of its
sessions, which is the same however busy the machine is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click
import httpx
import psutil
import psycopg

from benchmarks.attackers import receiver
from benchmarks.server import bench_server
from tds_receiver.api.store import CACHE_SECONDS
from tests.sql.conftest import Mirror
from tests.sql.test_at_scale import EVENTS, a_month_of_events

ASKED = (
    "select tds.queue_metrics()",
    "select tds.care_metrics()",
    "select tds.api_metrics()",
    "select tds.metrics()",
    "select * from tds_slo",
)
OPEN = """
    insert into tds.inbox_open (inbox_id, received_at, queue, entity)
    select 10000000 + n, now(), 'products', 'products' from generate_series(1, %s) n"""


def milliseconds(times: int, look: Callable[[], object], pause: float = 0.0) -> str:
    """Median, best and 99th percentile of so many looks, with a pause before each."""
    took = []
    for _ in range(times):
        time.sleep(pause)
        began = time.perf_counter()
        look()
        took.append(1000 * (time.perf_counter() - began))
    late = statistics.quantiles(took, n=100, method="inclusive")[98]
    return f"{statistics.median(took):7.1f} {min(took):7.1f} {late:7.1f}"


def cpu(conn: psycopg.Connection, pid: int) -> float:
    """Seconds of CPU that a receiver and its sessions have used so far."""
    sessions = conn.execute(
        """select pid from pg_stat_activity
            where datname = current_database() and application_name like 'tds/receiver%'"""
    ).fetchall()
    used = [psutil.Process(each).cpu_times() for each in (pid, *(row[0] for row in sessions))]
    return sum(times.user + times.system for times in used)


@click.command()
@click.option("--times", default=50, show_default=True, help="Looks of each kind.")
@click.option(
    "--waiting", default="0,20000,1000000", show_default=True, help="Events that wait meanwhile, in turn."
)
@click.option("--place", type=click.Path(path_type=Path), help="Where the server's data goes.")
def main(times: int, waiting: str, place: Path | None) -> None:
    """What a scrape costs with a million events behind it."""
    with ExitStack() as stack:
        server = stack.enter_context(bench_server(place))
        dsn = stack.enter_context(server.database())
        conn = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        a_month_of_events(Mirror(conn))
        conn.execute("select tds.observe_health()")
        name = str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
        url, pid = stack.enter_context(receiver(server.address(name)))
        client = stack.enter_context(httpx.Client(base_url=url, trust_env=False))
        click.echo(f"{EVENTS:,} events finished; milliseconds: median, best, 99th percentile")
        for count in map(int, waiting.split(",")):
            conn.execute("truncate tds.inbox_open")
            conn.execute(OPEN, [count])
            conn.execute("vacuum analyze tds.inbox_open")
            for query in ASKED:
                told = milliseconds(times, partial(conn.execute, query))
                click.echo(f"{count:9,} waiting {told}  {query}")
            look = partial(client.get, "/metrics")
            for kind, pause in {"past the cache": CACHE_SECONDS + 0.1, "from the cache": 0.0}.items():
                look()
                before = cpu(conn, pid)
                told = milliseconds(times, look, pause)
                each = 1000 * (cpu(conn, pid) - before) / times
                click.echo(f"{count:9,} waiting {told}  GET /metrics, {kind}; {each:.1f} of CPU")


if __name__ == "__main__":
    main()
