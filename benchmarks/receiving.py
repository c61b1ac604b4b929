"""The receiver under load, against single-row INSERTs of the same bodies by pgbench, and what it promises."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.bench import Bench, Story
from benchmarks.data import ORGANIZATION
from benchmarks.memory import peak_of
from benchmarks.mirror import BenchError, drain_all, expect
from benchmarks.rows import Row
from benchmarks.sender import Sent, send
from benchmarks.server import settle
from tds_db import embedded
from tds_db.upgrade import upgrade
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import running
from tds_sandbox.webhooks import WebhookSettings

SECONDS = 6  # of each load
BODY_BYTES = 3_000
PLACEHOLDER = "<id>"
CONNECTIONS = (8, 32)
STEADY = 200  # webhooks a second
EDITS = {1: 20, 20: 15, 200: 12}  # edits a second: for how many seconds
HERE = Path(__file__).parent

ROWS = (
    # The same single-row INSERTs: what the receiver's transaction does, the trigger's message included.
    Row(
        "receiver",
        "webhooks of 3 KB accepted, 32 connections, against pgbench's single-row INSERTs into the inbox",
        "hooks_32",
        "inbox_32",
        1.5,
        unit="/s",
    ),
    Row("receiver", "the same with 8 connections", "hooks_8", "inbox_8", 0.8, unit="/s"),
    Row(
        "receiver",
        "32 connections, against pgbench's INSERTs into a plain table, which nothing reads",
        "hooks_32",
        "plain_32",
        unit="/s",
    ),
    Row("receiver", "the same with 8 connections", "hooks_8", "plain_8", unit="/s"),
    Row(
        "steady",
        "200 webhooks a second: p99 of the answer, against 25 ms",
        "steady_p99",
        "steady_bound",
        1.0,
        unit="ms",
        at_most=True,
    ),
    Row(
        "burst",
        "50,000 webhooks with the workers off: the receiver's memory at the end, against a tenth",
        "burst_end",
        "burst_tenth",
        1.1,
        unit="bytes",
        at_most=True,
    ),
    Row(
        "away",
        "PostgreSQL stopped for 20 s at 100 webhooks a second: seconds to the next 202, against 5",
        "away_back",
        "away_bound",
        1.0,
        unit="s",
        at_most=True,
    ),
    *(
        Row("lag", f"from an edit at the source to its row, {rate} edits a second", f"lag_{rate}", unit="ms")
        for rate in EDITS
    ),
)


class Receiver:
    """`tds serve` on a database.

    Args:
        dsn: of the database.
        options: further options of the command.
    """

    def __init__(self, dsn: str, *options: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ZOHO_")}
        environment |= {"TDS_DATABASE_URL": dsn, "ZOHO_ORGANIZATION_ID": ORGANIZATION}
        command = [
            sys.executable,
            "-P",
            "-m",
            "tds_cli",
            "serve",
            "--port",
            "0",
            *options,
        ]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with it
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise BenchError("the receiver did not start")
        if send(self.url, [b"{}"], 1, retry=True).refused > 20:
            raise BenchError("the receiver did not answer")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def peak(self) -> int:
        """Its most resident memory."""
        return peak_of(self._process.pid)

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait()
        self._log.close()


@contextmanager
def receiving(dsn: str, *options: str) -> Iterator[Receiver]:
    """A receiver that is gone at the end."""
    receiver = Receiver(dsn, *options)
    try:
        yield receiver
    finally:
        receiver.stop()


def template(bench: Bench) -> str:
    """A product's webhook of 3 KB, with a placeholder for its id."""
    row = bench.products(200).rows[0]
    own = row.split('"item_id":"', 1)[1].split('"', 1)[0]
    body = f'{{"item":{row.replace(own, PLACEHOLDER)}}}'
    filling = "Lorem ipsum dolor sit amet, consetetur sadipscing elitr. " * 60
    room = BODY_BYTES - len(body.encode()) - len('"notes":"",')
    return body.replace('{"item":{', f'{{"item":{{"notes":"{filling[:room]}",', 1)


def load(bench: Bench) -> Mapping[str, float]:
    """wrk on the receiver, pgbench on a plain table and on the inbox, in turn, in one database."""
    samples: dict[str, float] = {}
    body = template(bench)
    numbers = bench.once("loads", lambda: itertools.count(10**6))
    with bench.connected() as conn, tempfile.TemporaryDirectory() as directory:
        conn.execute(
            """
            create table public.plain (
                id bigint generated always as identity primary key,
                received_at timestamptz not null default now(),
                body text not null)"""
        )
        conn.execute("alter table public.plain alter body set storage external")
        place = Path(directory)
        (place / "body").write_text(body)
        for clients in CONNECTIONS:
            with receiving(conn.info.dsn) as receiver:
                settle(conn)
                rate, told = wrk(
                    receiver.url, clients, place / "body", str(next(numbers)), lambda: _stored(conn)
                )
            samples[f"hooks_{clients}"] = rate
            bench.notes[f"hooks_{clients}"] = told
            for name, insert in INSERTS.items():
                settle(conn)
                samples[f"{name}_{clients}"] = _pgbench(bench, conn.info.dsn, insert, clients, place)
    return samples


def wrk(
    url: str, clients: int, body: Path, base: str, stored: Callable[[], int], *, organizations: str = ""
) -> tuple[float, str]:
    """Sends another record's webhook with every request, for some seconds.

    Args:
        url: of the receiver.
        clients: connections.
        body: a file with a body that has the placeholder.
        base: a number of this run.
        stored: how many events there are.
        organizations: whose they are, in turn, separated by commas; none: they name none.

    Returns:
        Requests a second, and what else there is to say.

    Raises:
        BenchError: wrk is not there, or an event is not.
    """
    if (program := shutil.which("wrk")) is None:
        raise BenchError("this row needs wrk (Debian: apt-get install wrk)")
    before = stored()
    command = [
        program,
        "-t1",
        f"-c{clients}",
        f"-d{SECONDS}s",
        "--latency",
        "-s",
        str(HERE / "receiving.lua"),
        url,
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "BODY": str(body), "BASE": base, "ORGANIZATIONS": organizations},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    requests = int(re.search(r"(\d+) requests in", done)[1])  # type: ignore[index]
    if "NOT QUEUED" in done or "Non-2xx" in done or not 0 <= stored() - before - requests <= clients:
        raise BenchError(f"of {requests} requests {stored() - before} were stored:\n{done}")
    found = [re.search(rf"{share}%\s+(\S+)", done)[1] for share in (50, 99)]  # type: ignore[index]
    rate = float(re.search(r"Requests/sec:\s+(\S+)", done)[1])  # type: ignore[index]
    return rate, f"p50 {found[0]}, p99 {found[1]}"


INSERTS = {
    "plain": "insert into public.plain (body) values (:b);",
    "inbox": "insert into tds.inbox (received_at, organization_id, entity, source, shape, event, record_id,"
    " observed_at, headers, body) select t.at, '748139205', 'products', 'webhook', 'webhook', 'upsert',"
    ' gen_random_uuid()::text, t.at, \'{"content-type": "application/json"}\', :b'
    " from (select clock_timestamp() as at) t;",
}


def _pgbench(bench: Bench, dsn: str, insert: str, clients: int, place: Path) -> float:
    (place / "insert.sql").write_text(insert)
    command = [
        str(embedded.package_bin_dir() / "pgbench"),
        "-n",
        "-M",
        "prepared",
        "-c",
        str(clients),
        "-j",
        "2",
    ]
    command += ["-T", str(SECONDS), "-D", f"b={template(bench)}", "-f", str(place / "insert.sql"), dsn]
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(re.search(r"tps = (\S+)", done)[1])  # type: ignore[index]


def _stored(conn: psycopg.Connection) -> int:
    row = conn.execute("select count(*) from tds.inbox").fetchone()
    assert row is not None
    return int(row[0])


def _bodies(bench: Bench, first: int, count: int) -> Iterator[bytes]:
    head, tail = template(bench).encode().split(PLACEHOLDER.encode())
    for number in range(first, first + count):
        yield b"%s%d%s" % (head, number, tail)


def steady(bench: Bench) -> Mapping[str, float]:
    """200 a second for a while."""
    with bench.connected() as conn, receiving(conn.info.dsn) as receiver:
        settle(conn)
        sent = send(receiver.url, _bodies(bench, 10**12, STEADY * 2 * SECONDS), 50, STEADY)
        _all_kept(conn, sent, STEADY * 2 * SECONDS)
    bench.notes["steady_p99"] = f"p50 {sent.milliseconds(0.5):.1f} ms"
    return {"steady_p99": sent.milliseconds(0.99), "steady_bound": 25.0}


def burst(bench: Bench) -> Mapping[str, float]:
    """Webhooks while nobody works, then the work; a tenth of them is sent a second time."""
    count = bench.sizes.burst
    with bench.connected() as conn, receiving(conn.info.dsn) as receiver:
        began = time.perf_counter()
        sent = send(receiver.url, _bodies(bench, 10**12, count // 10), 32)
        tenth = receiver.peak
        again = send(receiver.url, _bodies(bench, 10**12, count // 10), 32)
        rest = send(receiver.url, _bodies(bench, 10**12 + count // 10, count - count // 10), 32)
        end = receiver.peak
        seconds = time.perf_counter() - began
        if sorted(again.inbox_ids) != sorted(sent.inbox_ids):
            raise BenchError("the same bytes again were not duplicates")
        sent.inbox_ids += rest.inbox_ids
        _all_kept(conn, sent, count)
        outcome = drain_all(conn)
        expect(outcome, applied=count)
        row = conn.execute(
            "select count(*), count(distinct zoho_item_id), max(sync_version) from zoho.products"
        ).fetchone()
        if row != (count, count, 1):
            raise BenchError(f"rows, records, versions: {row}")
    bench.notes["burst_end"] = (
        f"{count * 1.1 / seconds:,.0f} accepted a second; every one is a row, none written twice"
    )
    return {"burst_tenth": float(tenth), "burst_end": float(end)}


def away(bench: Bench) -> Mapping[str, float]:
    """A server of its own is stopped for 20 seconds under a steady 100 a second."""
    seconds, rate = 32, 100
    with tempfile.TemporaryDirectory(dir=bench.place) as directory:
        data = Path(directory)
        data.chmod(0o711)
        server = embedded.ensure_running(data)
        try:
            with psycopg.connect(server.conninfo(), autocommit=True) as conn:
                conn.execute("create database tds")
            upgrade(server.conninfo("tds"))
            with receiving(server.conninfo("tds")) as receiver:
                results: list[Sent] = []
                bodies = _bodies(bench, 10**12, seconds * rate)
                sending = threading.Thread(
                    target=lambda: results.append(send(receiver.url, bodies, 400, rate, retry=True))
                )
                sending.start()
                time.sleep(4)
                embedded.stop(data)
                time.sleep(20)
                embedded.ensure_running(data)
                back = time.perf_counter()
                sending.join()
            [sent] = results
            with psycopg.connect(server.conninfo("tds"), autocommit=True) as conn:
                _all_kept(conn, sent, seconds * rate)
        finally:
            embedded.stop(data)
    recovered = min(at for at in sent.acknowledged_at if at > back) - back
    slowest = max(sent.acknowledged_at) - back
    bench.notes["away_back"] = (
        f"{sent.refused:,} attempts refused, none lost; all were taken {slowest:.1f} s after its return"
    )
    return {"away_back": recovered, "away_bound": 5.0}


def lag(bench: Bench) -> Mapping[str, float]:
    """The sandbox edits and sends webhooks, the receiver stores them, two workers write rows."""
    samples: dict[str, float] = {}
    with bench.connected() as conn, receiving(conn.info.dsn, "--workers", "2") as receiver:
        organisation = Organisation(seed=bench.sizes.seed, items=5_000)
        settings = WebhookSettings(url=receiver.url, spread_seconds=0.0, retries=5)
        with running(organisation, webhooks=settings) as sandbox:
            for rate, seconds in EDITS.items():
                begin = len(sandbox.webhooks.deliveries)
                started = time.perf_counter()
                for number in range(rate * seconds):
                    time.sleep(max(0.0, started + number / rate - time.perf_counter()))
                    organisation.edit("items")
                if not sandbox.webhooks.drain():
                    raise BenchError("webhooks were not delivered")
                time.sleep(3)
                edited = {each.id: each.edited_at for each in sandbox.webhooks.deliveries[begin:]}
                rows = conn.execute(
                    "select zoho_item_id, extract(epoch from synced_at)::float8"
                    "  from zoho.products where zoho_item_id = any (%s)",
                    [list(edited)],
                ).fetchall()
                if len(rows) != len(edited):
                    raise BenchError(f"of {len(edited)} edited records {len(rows)} have a row")
                lags = sorted(1000 * (synced - edited[zoho_id]) for zoho_id, synced in rows)
                samples[f"lag_{rate}"] = statistics.median(lags)
                bench.notes[f"lag_{rate}"] = (
                    f"p99 {lags[int(0.99 * len(lags))]:,.0f} ms of {len(lags)} records"
                )
    return samples


def _all_kept(conn: psycopg.Connection, sent: Sent, count: int) -> None:
    """Makes sure that every webhook was acknowledged, and every acknowledged one is there, once.

    Raises:
        BenchError: one is not.
    """
    row = conn.execute(
        "select count(*), count(distinct record_id) from tds.inbox where inbox_id = any (%s)",
        [sent.inbox_ids],
    ).fetchone()
    if len(set(sent.inbox_ids)) != count or row != (count, count):
        raise BenchError(f"of {count} webhooks {len(sent.inbox_ids)} were acknowledged and {row} stored")


STORIES = (
    Story(
        "receiver",
        tuple(f"{who}_{clients}" for clients in CONNECTIONS for who in ("hooks", "plain", "inbox")),
        load,
    ),
    Story("steady", ("steady_p99", "steady_bound"), steady),
    Story("burst", ("burst_tenth", "burst_end"), burst, rounds=1),
    Story("away", ("away_back", "away_bound"), away, rounds=1),
    Story("lag", tuple(f"lag_{rate}" for rate in EDITS), lag, rounds=1),
)
