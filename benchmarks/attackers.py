"""`python -m benchmarks.attackers`: honest webhooks beside attackers, and what is left of those.

Two receivers share a database. Honest senders sign and come at a steady rate; attackers are processes that
send generated hostile requests (`tests.receiver.hostile`) without a secret and, one in four, with it, as fast
as they are answered. Told are the honest senders' p99 and refusals, how long the receivers' loops were held
up, their memory, and what `select *` of all that is left weighs afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import click
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.mirror import drain_all
from benchmarks.server import Address, bench_server
from tests.receiver.hostile import Hostile, answered, hostile, wired

SECRET = "a-secret-of-this-benchmark"  # noqa: S105
SIGNATURE = "X-Zoho-Webhook-Signature"
PATH = "/api/zoho/webhooks/products"
RATE = 50  # honest webhooks a second
PROCESSES = 2
HONEST_503 = {503}


def signed(body: bytes) -> str:
    """The signature of a body."""
    return hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()


async def honest(url: str, seconds: float) -> tuple[list[float], int]:
    """Latencies of signed webhooks at a steady rate over eight connections, and how many were refused."""
    where = urlsplit(url)
    latencies: list[float] = []
    refused = 0
    began = time.perf_counter()
    numbers = iter(range(int(seconds * RATE)))

    async def sender() -> None:
        nonlocal refused
        streams = await asyncio.open_connection(where.hostname, where.port)
        for number in numbers:
            due = began + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            body = json.dumps({"item": {"item_id": f"{time.time_ns()}", "name": f"Honest {number}"}}).encode()
            try:
                status, is_closed, _ = await answered(
                    streams,
                    wired(Hostile(PATH, body, {"Content-Type": "application/json", SIGNATURE: signed(body)})),
                )
            except (OSError, asyncio.IncompleteReadError):
                status, is_closed = 0, True
            if is_closed:
                streams[1].close()
                streams = await asyncio.open_connection(where.hostname, where.port)
            refused += status != 202
            latencies.append(time.perf_counter() - due)

    await asyncio.gather(*(sender() for _ in range(8)))
    return latencies, refused


async def _attack(
    urls: Sequence[str], seed: int, connections: int, count: int, seconds: float
) -> Counter[int]:
    told: Counter[int] = Counter()
    rng = random.Random(seed)
    left = iter(range(count))
    end = time.monotonic() + seconds

    def made() -> bytes:
        one = hostile(rng)
        if rng.random() < 0.25:
            one.headers[SIGNATURE] = signed(one.body)
        return wired(one)

    async def attacker(url: str) -> None:
        where = urlsplit(url)
        streams = None
        for _ in left:
            if time.monotonic() > end:
                break
            try:
                if streams is None:
                    streams = await asyncio.open_connection(where.hostname, where.port)
                status, is_closed, _ = await asyncio.wait_for(answered(streams, made()), 30)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as failed:
                status, is_closed = -1 if isinstance(failed, TimeoutError) else 0, True
            told[status] += 1
            if is_closed and streams is not None:
                streams[1].close()
                streams = None

    await asyncio.gather(*(attacker(urls[n % len(urls)]) for n in range(connections)))
    return told


def attack(
    urls: Sequence[str],
    seed: int,
    connections: int,
    count: int,
    seconds: float,
    *,
    into: multiprocessing.Queue[Counter[int]],
) -> None:
    """A process of attackers; puts how often each status came (0: closed, -1: no answer)."""
    into.put(asyncio.run(_attack(urls, seed, connections, count, seconds)))


@contextmanager
def attacking(
    urls: Sequence[str], seed: int, connections: int, count: int, seconds: float = float("inf")
) -> Iterator[Counter[int]]:
    """Attackers in processes of their own, until so many requests or seconds; then their counts are whole."""
    told: Counter[int] = Counter()
    into: multiprocessing.Queue[Counter[int]] = multiprocessing.Queue()
    shares = [connections // PROCESSES + (n < connections % PROCESSES) for n in range(PROCESSES)]
    started = [
        multiprocessing.Process(
            target=attack,
            args=(urls, seed + n, share, count // PROCESSES, seconds),
            kwargs={"into": into},
        )
        for n, share in enumerate(shares)
        if share
    ]
    for each in started:
        each.start()
    try:
        yield told
    finally:
        for _ in started:
            told.update(into.get())
        for each in started:
            each.join()


@contextmanager
def receiver(address: Address) -> Iterator[tuple[str, int]]:
    """`tds serve` with a secret; its URL and process id."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZOHO_")}
    environment |= {
        "TDS_DATABASE_URL": address.url,
        "ZOHO_WEBHOOK_SECRET": SECRET,
        "ZOHO_ORGANIZATION_ID": "748139205",
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tds_cli", "serve", "--port", "0"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.terminate()
        process.wait()


def resident(pid: int) -> float:
    """MiB of memory that a process has now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def beats(urls: Sequence[str]) -> dict[float, float]:
    """How many beats of the receivers' loops came late by so many seconds at most, by bound."""
    told: Counter[float] = Counter()
    for url in urls:
        with urlopen(f"{url}/metrics", timeout=60) as answer:  # noqa: S310
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "tds_receiver_loop_late_seconds_bucket":
                    told[float(sample.labels["le"])] += int(sample.value)
    return dict(told)


def blocked(before: dict[float, float], after: dict[float, float]) -> str:
    """For how long the receivers' loops were held up meanwhile: 99 of 100 beats, and the longest, at most."""
    counts = {bound: after[bound] - before[bound] for bound in sorted(after)}
    total = counts[float("inf")]
    p99, longest = (
        1000 * next(bound for bound, count in counts.items() if count >= share * total) for share in (0.99, 1)
    )
    return f"loop blocked p99 < {p99:.0f} ms, longest < {longest:.0f} ms"


def weighed(conn: psycopg.Connection) -> dict[str, float]:
    """MiB of all rows of mirror and dead letters as `select *` writes them, and how long it took."""
    began = time.perf_counter()
    tables = conn.execute(
        "select c.oid::regclass::text from pg_class c"
        " where c.relnamespace = 'zoho'::regnamespace and c.relkind = 'r'"
    )
    weights = [
        conn.execute(f"select coalesce(sum(octet_length(t::text)), 0) from {table} t".encode()).fetchone()
        for table in [name for (name,) in tables.fetchall()] + ["tds.dead_letter", "tds.drift"]
    ]
    return {
        "select_mib": sum(int(row[0]) for row in weights if row) / 2**20,
        "select_seconds": time.perf_counter() - began,
    }


@click.command()
@click.option(
    "--requests", default=20_000, show_default=True, help="Hostile requests after the figures by attackers."
)
@click.option(
    "--seconds",
    default=20.0,
    show_default=True,
    help="How long honest senders are measured beside each number of attackers.",
)
@click.option(
    "--connections",
    default=1_000,
    show_default=True,
    help="That they come over: whoever shows something wrong often waits half a second for each refusal.",
)
@click.option("--seed", default=1, show_default=True, help="Of the hostile requests.")
@click.option("--place", type=click.Path(path_type=Path), help="Where the server's data goes.")
def main(requests: int, seconds: float, connections: int, seed: int, place: Path | None) -> None:
    """Honest webhooks beside 0, 1, 8 and 100 attackers; then so many hostile requests; then what is left."""
    with bench_server(place) as server, server.database() as dsn, ExitStack() as stack:
        name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
        serving = [stack.enter_context(receiver(server.address(str(name)))) for _ in range(PROCESSES)]
        urls = [url for url, _ in serving]
        asyncio.run(honest(urls[0], 3))
        for attackers in (0, 1, 8, 100):
            with attacking(
                urls,
                seed + attackers,
                attackers,
                int(40 * attackers * seconds) if attackers < 50 else int(500 * seconds),
                seconds,
            ) as told:
                seen = beats(urls)
                latencies, refused = asyncio.run(honest(urls[0], seconds))
            held_up = blocked(seen, beats(urls))
            latencies.sort()
            p99 = 1000 * latencies[int(0.99 * len(latencies))]
            click.echo(
                f"{attackers:4} attackers: p99 {p99:6.1f} ms, {refused} of {len(latencies)} refused;"
                f" {held_up};"
                f" attackers: {dict(told)}"
            )
        before = [resident(pid) for _, pid in serving]
        began = time.perf_counter()
        with attacking(urls, seed + 1000, connections, requests) as told:
            pass
        after = [resident(pid) for _, pid in serving]
        wrong = {
            status: times
            for status, times in told.items()
            if (status >= 500 and status not in HONEST_503) or status == -1
        }
        click.echo(
            f"{sum(told.values()):,} requests in {time.perf_counter() - began:.0f} s: {dict(told)};"
            f" wrong: {wrong or 'none'}; "
            f"memory {', '.join(f'{a:.0f} to {b:.0f} MiB' for a, b in zip(before, after, strict=True))}"
        )
        with psycopg.connect(dsn, autocommit=True) as conn:
            outcome = drain_all(conn)
            while conn.execute("select tds.observe_drift()").fetchone() != (0,):
                pass
            click.echo(f"drained: {dict(outcome)}; then {weighed(conn)}")


if __name__ == "__main__":
    main()
