"""`python -m benchmarks.drills`: what stalls or stops under a steady stream of webhooks, and what then.

A server with synchronous_commit off for its database, a receiver and two workers that reach it through a
proxy.
Each drill lasts some seconds; then every event that was acknowledged has to be in its row, within a minute.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import httpx
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from benchmarks.data import ORGANIZATION
from benchmarks.receiving import receiving
from benchmarks.server import bench_server
from benchmarks.stalling import Proxy

RATE = 20.0  # events a second
SECONDS = 15.0  # of each disturbance
WITHIN = 60.0  # after its end
ANSWER = 12.0  # until a sender gives up: Zoho waits ten
TRUSTED = httpx.create_ssl_context()  # read once: for each event it would take longer than to send it


@dataclass
class Sender:
    """Sends webhooks one after the other, each by a thread of its own, and keeps which were acknowledged."""

    url: str
    acknowledged: set[str]
    slowest: float = 0.0
    stopping: bool = False
    number: int = 0

    def run(self) -> None:
        """Sends until stopped."""
        while not self.stopping:
            self.number += 1
            threading.Thread(target=self._send, args=[str(self.number)], daemon=True).start()
            time.sleep(1 / RATE)

    def _send(self, item: str) -> None:
        body = json.dumps({"item": {"item_id": item, "name": item}}).encode()
        began = time.monotonic()
        with suppress(httpx.HTTPError):
            url = f"{self.url}/api/zoho/webhooks/products"
            answer = httpx.post(url, content=body, timeout=ANSWER, verify=TRUSTED)
            if answer.status_code == 202:
                self.acknowledged.add(item)
        self.slowest = max(self.slowest, time.monotonic() - began)


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Those processes are stopped meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def stalled(proxy: Proxy) -> Iterator[None]:
    """Nothing passes the proxy meanwhile."""
    proxy.stall()
    try:
        yield
    finally:
        proxy.resume()


def missing(conn: psycopg.Connection, items: set[str]) -> int:
    """How many of them have no row."""
    query = """select count(*) from unnest(%s::text[]) i(id)
                where not exists (select from zoho.products p where p.zoho_item_id = i.id)"""
    row = conn.execute(query, [sorted(items)]).fetchone()
    assert row is not None
    return int(row[0])


def backends(conn: psycopg.Connection, kind: str) -> list[int]:
    """The backends of programs of a kind."""
    query = "select pid from pg_stat_activity where datname = current_database() and application_name like %s"
    return [pid for (pid,) in conn.execute(query, [f"tds/{kind}/%"]).fetchall()]


def main() -> int:
    """Runs the drills and prints what came of each; 1: something was lost, or took too long."""
    ill = lost = 0
    with (
        bench_server(None) as server,
        server.database() as dsn,
        psycopg.connect(dsn, autocommit=True) as conn,
    ):
        conn.execute(sql.SQL("alter database {} set synchronous_commit = off").format(
            sql.Identifier(conn.info.dbname)))  # fmt: skip
        proxy = Proxy((conn.info.host, conn.info.port))
        through = make_conninfo(dsn, host="127.0.0.1", port=proxy.port)
        environment = os.environ | {"TDS_DATABASE_URL": through, "ZOHO_ORGANIZATION_ID": ORGANIZATION}
        command = [sys.executable, "-P", "-m", "tds_db.worker"]
        workers = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for _ in range(2)]
        try:
            with receiving(through, "--processes", "1") as receiver:
                sender = Sender(receiver.url, set())
                thread = threading.Thread(target=sender.run)
                thread.start()
                time.sleep(3)
                drills: dict[str, Callable[[], AbstractContextManager[None]]] = {
                    "network stalled": lambda: stalled(proxy),
                    "a worker stopped": lambda: stopped(workers[0].pid),
                    "both workers stopped": lambda: stopped(*(each.pid for each in workers)),
                    "a worker's backend stopped": lambda: stopped(backends(conn, "worker")[0]),
                    "the receiver's backends stopped": lambda: stopped(*backends(conn, "receiver")),
                    "the receiver stopped": lambda: stopped(receiver.pid),
                }
                print(f"{'drill':34}{'acknowledged':>14}{'slowest answer':>16}{'well again':>18}{'lost':>6}")
                for name, drill in drills.items():
                    before, sender.slowest = len(sender.acknowledged), 0.0
                    with drill():
                        time.sleep(SECONDS)
                    ended = time.monotonic()
                    acknowledged = len(sender.acknowledged)
                    while time.monotonic() - ended < WITHIN and (
                        missing(conn, set(sender.acknowledged)) > RATE
                        or len(sender.acknowledged) < acknowledged + RATE
                    ):
                        time.sleep(0.2)
                    well = time.monotonic() - ended
                    ill += well >= WITHIN
                    told = len(sender.acknowledged) - before
                    print(f"{name:34}{told:14,}{sender.slowest:14.1f} s{well:16.1f} s", flush=True)
                sender.stopping = True
                thread.join()
                time.sleep(5)
                lost = missing(conn, set(sender.acknowledged))
                print(f"{'in the end':34}{len(sender.acknowledged):14,}{'':34}{lost:6}")
        finally:
            for each in workers:
                each.kill()
                each.wait()
            proxy.close()
    return 1 if ill or lost else 0


if __name__ == "__main__":
    sys.exit(main())
