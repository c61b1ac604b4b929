"""Two shards behind a router against one database, on the same two cores: what the router costs."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from benchmarks.bench import Bench, Story
from benchmarks.memory import cpu_of
from benchmarks.mirror import BenchError
from benchmarks.receiving import SECONDS, receiving, template, wrk
from benchmarks.rows import Row
from benchmarks.server import SETTINGS, settle
from tds_db import embedded, shards
from tds_db.upgrade import upgrade

DEBIAN = Path("/usr/lib/postgresql/15/bin")
CONNECTIONS = 32
ORGANIZATIONS = [str(748139300 + number) for number in range(20)]
ALONE, ROUTER, SHARDS = "alone", "router", ("a", "b")

ROWS = (
    Row(
        "router",
        "webhooks of 3 KB of 20 organisations accepted, 32 connections: two shards behind a router, "
        "against one database",
        "router_hooks",
        "alone_hooks",
        0.85,
        unit="/s",
    ),
    Row(
        "router",
        "single calls of tds.receive by pgbench, 32 connections: the same",
        "router_calls",
        "alone_calls",
        unit="/s",
    ),
    Row(
        "router",
        "CPU time of an accepted webhook: router and shards against the one database",
        "routed_cpu",
        "alone_cpu",
        unit="µs",
    ),
    Row(
        "router",
        "of it that of the router alone, against the one database",
        "router_cpu",
        "alone_cpu",
        unit="µs",
    ),
    Row(
        "router",
        "webhooks accepted with a core for each shard and one for the router, by that CPU time: "
        "three shards against two",
        "three_shards",
        "two_shards",
        unit="/s",
    ),
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server of PostgreSQL 15 with one database that stands alone, a router, and its two shards."""

    server: embedded.Server

    def dsn(self, name: str) -> str:
        """A database."""
        return self.server.conninfo(name)

    def stored(self, *names: str) -> Callable[[], int]:
        """How many events are in some databases."""

        def count() -> int:
            return sum(self._count(name) for name in names)

        return count

    def settle(self) -> None:
        """Before a sample."""
        for name in (ALONE, *SHARDS):
            with psycopg.connect(self.dsn(name), autocommit=True) as conn:
                settle(conn)

    def cpu(self) -> dict[tuple[int, str], float]:
        """Seconds of CPU that each session has used, by process and database."""
        with psycopg.connect(self.dsn(ALONE)) as conn:
            found = conn.execute(
                "select pid, datname from pg_stat_activity "
                "where datname is not null and pid <> pg_backend_pid()"
            ).fetchall()
        used = {}
        for pid, name in found:
            with suppress(psutil.NoSuchProcess):  # it has ended since
                used[pid, name] = cpu_of(pid)
        return used

    def _count(self, name: str) -> int:
        with psycopg.connect(self.dsn(name)) as conn:
            row = conn.execute("select count(*) from tds.inbox").fetchone()
        assert row
        return int(row[0])


def _cluster(bench: Bench) -> Cluster:
    """Made once a run, stopped at its end.

    Raises:
        BenchError: PostgreSQL 15 with PL/Proxy is not installed.
    """
    if not (DEBIAN / "postgres").exists():
        raise BenchError("this row needs PL/Proxy (Debian: apt-get install postgresql-15-plproxy)")
    data = Path(bench.stack.enter_context(tempfile.TemporaryDirectory(dir=bench.place)))
    data.chmod(0o711)
    server = embedded.ensure_running(data, bin_dir=DEBIAN, settings={**SETTINGS, "shared_buffers": "'512MB'"})
    bench.stack.callback(embedded.stop, data)
    made = Cluster(server)
    # as the server's own account can read it
    passfile = data / "pgpass_of_server"
    passfile.touch(0o600)
    passfile.write_bytes((data / "pgpass").read_bytes())
    owner = (data / "pgdata").stat()
    os.chown(passfile, owner.st_uid, owner.st_gid)
    with psycopg.connect(server.conninfo(), autocommit=True) as conn:
        for name in (ALONE, ROUTER, *SHARDS):
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    upgrade(made.dsn(ALONE))
    shards.make_router(made.dsn(ROUTER))
    for name in SHARDS:
        shards.add(
            made.dsn(ROUTER),
            name,
            make_conninfo(made.dsn(name), passfile=str(passfile)),
            admin=made.dsn(name),
        )
    with psycopg.connect(made.dsn(ROUTER), autocommit=True) as conn:
        for number, organization in enumerate(ORGANIZATIONS):
            conn.execute("select tds.place(%s, %s)", [organization, SHARDS[number % len(SHARDS)]])
    return made


def compare(bench: Bench) -> Mapping[str, float]:
    """The same load on the one and on the other, in turn."""
    cluster: Cluster = bench.once("cluster", lambda: _cluster(bench))
    numbers = bench.once("router", lambda: itertools.count(2 * 10**6))
    samples: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "body").write_text(template(bench))
        for name, stored in ((ALONE, (ALONE,)), (ROUTER, SHARDS)):
            with receiving(cluster.dsn(name)) as receiver:
                cluster.settle()
                before, own = cluster.cpu(), cpu_of(receiver.pid)
                rate, told = wrk(
                    receiver.url,
                    CONNECTIONS,
                    place / "body",
                    str(next(numbers)),
                    cluster.stored(*stored),
                    organizations=",".join(ORGANIZATIONS),
                )
                used: defaultdict[str, float] = defaultdict(float)
                for (pid, database), seconds in cluster.cpu().items():
                    used[database] += seconds - before.get((pid, database), 0.0)
                own = (cpu_of(receiver.pid) - own) / (rate * SECONDS)
            samples[f"{name}_hooks"] = rate
            bench.notes[f"{name}_hooks"] = f"{told}; CPU of the receiver {1e6 * own:.0f} µs each"
            samples[f"{name}_cpu"] = 1e6 * used[name] / (rate * SECONDS)
            if name == ROUTER:
                shard = 1e6 * sum(used[each] for each in SHARDS) / (rate * SECONDS)
                samples["routed_cpu"] = samples["router_cpu"] + shard
                for number, word in ((2, "two"), (3, "three")):
                    samples[f"{word}_shards"] = 1e6 * min(number / shard, 1 / samples["router_cpu"])
            cluster.settle()
            samples[f"{name}_calls"] = _pgbench(bench, cluster.dsn(name), place, next(numbers))
    return samples


def _pgbench(bench: Bench, dsn: str, place: Path, base: int) -> float:
    """Every call another record's webhook, of one of the organisations."""
    first = int(ORGANIZATIONS[0])
    (place / "receive.sql").write_text(
        f"\\set org random({first}, {first + len(ORGANIZATIONS) - 1})\n"
        "\\set item random(1, 1000000000000)\n"
        "select * from tds.receive('products', convert_to(replace(:b, '<id>', :item || ''), 'UTF8'), "
        ":org || '');\n"
    )
    command = [
        str(DEBIAN / "pgbench"),
        "-n",
        "-M",
        "prepared",
        "-c",
        str(CONNECTIONS),
        "-j",
        "2",
        "-T",
        str(SECONDS),
    ]
    command += ["-D", f"b={template(bench)}", "-D", f"base={base}", "-f", str(place / "receive.sql"), dsn]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if (found := re.search(r"tps = (\S+)", done.stdout)) is None:
        raise BenchError(done.stderr)
    return float(found[1])


STORIES = (
    Story(
        "router",
        (
            *(f"{name}_{what}" for name in (ROUTER, ALONE) for what in ("hooks", "calls", "cpu")),
            *("routed_cpu", "two_shards", "three_shards"),
        ),
        compare,
        rounds=3,
    ),
)
