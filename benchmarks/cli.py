"""`python -m benchmarks`: measures, prints one table, writes JSON beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import click
import psutil
import psycopg
from rich.console import Console

from benchmarks import backlog, large, looks, mixing, products, pulling, receiving, service, sharding
from benchmarks import peers as peer_rows
from benchmarks.bench import Bench, Sizes, Story, tell_in_turn
from benchmarks.mirror import BenchError
from benchmarks.rows import Row, measured, show, write
from benchmarks.server import bench_server
from tds_db.errors import TdsError

HERE = Path(__file__).parent
STORIES: tuple[Story, ...] = (
    *products.STORIES,
    *mixing.STORIES,
    *large.STORIES,
    *service.STORIES,  # before looks, which adds organisations without secrets
    *looks.STORIES,
    *backlog.STORIES,
    *pulling.STORIES,
    *receiving.STORIES,
    *sharding.STORIES,
    *peer_rows.STORIES,
)
ROWS: tuple[Row, ...] = (
    *products.ROWS,
    *mixing.ROWS,
    *large.ROWS,
    *looks.ROWS,
    *service.ROWS,
    *backlog.ROWS,
    *pulling.ROWS,
    *receiving.ROWS,
    *sharding.ROWS,
    *peer_rows.ROWS,
)
KEYS = tuple(dict.fromkeys(row.key for row in ROWS))
WIDTH = 190  # characters; a table cut to a terminal's width says less than one that wraps


@click.command(context_settings={"show_default": True})
@click.option("--products", default=20_000, help="Products of a load.")
@click.option("--invoices", default=4_000, help="Invoices of a load.")
@click.option("--webhooks", default=20_000, help="Single-record webhooks.")
@click.option("--mixed", default=5_000, help="Webhooks of many organisations mixed.")
@click.option("--few-rows", default=100_000, help="Rows of a mirror that large ones are compared with.")
@click.option("--many-rows", default=500_000, help="Rows of the larger mirror whose rows webhooks edit.")
@click.option("--huge-rows", default=1_000_000, help="Rows of the largest mirror, of 10,000 an organisation.")
@click.option("--past", default=300_000, help="Finished events that lie behind the largest mirror.")
@click.option("--waiting", default=1_000_000, help="Events waiting in the long queue.")
@click.option("--few-waiting", default=10_000, help="Events waiting in the short queue.")
@click.option("--aged", default=500_000, help="Events worked off without vacuum.")
@click.option("--pulled", default=1_000_000, help="Records of the pull whose memory is watched.")
@click.option("--burst", default=50_000, help="Webhooks of a burst.")
@click.option("--peer-products", default=100_000, help="Items the peers load.")
@click.option(
    "--slow-products", default=20_000, help="Items the slow peers load; theirs are rows a second too."
)
@click.option("--rounds", default=5, help="Rounds of everything but the peers.")
@click.option("--peer-rounds", default=5, help="Rounds of the peers.")
@click.option("--patience", default=300.0, help="Seconds that ageing, or draining an aged queue, may take.")
@click.option("--seed", default=1, help="Of the generated data.")
@click.option("--only", default="", help=f"Rows to measure, separated by commas: {', '.join(KEYS)}.")
@click.option("--place", type=click.Path(path_type=Path), default=None, help="Where the server's data goes.")
@click.option(
    "--peers", type=click.Path(path_type=Path), default=HERE / ".peers", help="The peers' environments."
)
@click.option(
    "--write", "written", type=click.Path(path_type=Path), default=HERE / "results.json", help="The JSON."
)
def main(only: str, place: Path | None, peers: Path, written: Path, **sizes: Any) -> None:
    """Measures TDS against plain SQL and against what people would use instead."""
    signal.signal(signal.SIGTERM, _exit)
    keys = [key for key in only.split(",") if key] or KEYS
    if unknown := set(keys) - set(KEYS):
        raise click.UsageError(f"no row {', '.join(sorted(unknown))}; there are {', '.join(KEYS)}")
    rows = [row for row in ROWS if row.key in keys]
    wanted = {name for row in rows for name in (row.sample, row.against)}
    stories = [story for story in STORIES if wanted & set(story.gives)]
    out, log = Console(width=WIDTH), Console(stderr=True, width=WIDTH)
    samples: defaultdict[str, list[float]] = defaultdict(list)
    notes: dict[str, str] = {}
    facts: dict[str, Any] = {
        "commit": _commit(),
        "began_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "sizes": sizes,
    }
    failure: BaseException | None = None
    try:
        with bench_server(place) as server:
            bench = Bench(server, Sizes(**sizes), log, place, peers, notes)
            facts["server"] = server.settings()
            log.print(facts)
            with bench.stack:
                own = [story for story in stories if not story.is_peer]
                tell_in_turn(bench, own, bench.sizes.rounds, samples)
                of_peers = [story for story in stories if story.is_peer]
                tell_in_turn(bench, of_peers, bench.sizes.peer_rounds, samples)
                facts["data"] = bench.described()
    except (BenchError, TdsError, psycopg.Error, KeyboardInterrupt, SystemExit) as error:
        failure = error  # what was measured by then is shown all the same
    lines = measured(rows, samples, notes)
    told = ", ".join(f"{name} {value}" for name, value in facts.get("server", {}).items())
    show(out, f"TDS at {facts['commit']} on {facts['machine']}; {told}", lines)
    write(written, {**facts, "failure": failure and repr(failure)}, lines)
    log.print(f"Every round is in {written}.", highlight=False)
    if failure is not None:
        click.echo(f"Error: not complete: {failure!r}", err=True)
        sys.exit(1)


def _commit() -> str:
    """The commit that is measured, with a + where files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
