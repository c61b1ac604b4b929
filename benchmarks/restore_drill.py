"""`python -m benchmarks.restore_drill [MOMENTS]`: backups at random moments under load, restored elsewhere.

Webhooks come, workers process, some records are bad, some wait for a lock, details are wanted and deletions
are held back, and the load goes on while each backup is taken. Each is restored on a server of the same, a
newer or an older major, some by one who is no superuser, some after a restore that was killed half-way. The
copy is drained, given the events that came after its moment, and drained again: then its rows, dead letters,
wants and held deletions have to be those of the source. What was acknowledged before a backup began has to be
in it, and no event may have two outcomes.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from benchmarks.data import ORGANIZATION
from tds_db import embedded
from tds_db.backup import Backup, back_up, restore
from tds_db.upgrade import upgrade
from tds_db.worker import Worker

DEBIAN = Path("/usr/lib/postgresql/15/bin")
SENDERS, WORKERS = 3, 2
PAUSE = 0.15  # seconds between two webhooks of a sender
WITHIN = 120.0  # seconds that a drain may take
HELD, LIVING = 60, 100
ROLES = "tds_owner, tds_receiver, tds_worker, tds_poller, tds_operator, tds_reader"
Store = Callable[[str, bytes], int | None]
Open = Callable[[], AbstractContextManager[Store]]
End = Mapping[str, list[str]]

# What a row says, without what each database counts for itself: numbers, when and how often it was written.
COLUMNS = """
    select format('%I.%I', n.nspname, c.relname),
           string_agg(format(case when a.atttypid = 'int8'::regtype or a.attname = 'deleted_at'
                                  then '%I is not null' else '%I' end, a.attname), ', ' order by a.attnum)
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where n.nspname = 'zoho' and c.relkind = 'r' and c.relname <> 'stock_history'
       and a.attname not like 'sync\\_%' and a.attname not in ('id', 'synced_at')
     group by 1
     order by 1"""
BOOKS = {
    "dead letters": """select entity, zoho_id, path, value, reason from tds.dead_letter
                        where resolved_at is null""",
    "wants": "select entity, zoho_id from tds.wanted_detail",
    "held deletions": "select entity, zoho_id, state from tds.held_deletion",
}
LATER = """
    select entity, coalesce(body_raw, convert_to(body, 'utf8')), organization_id, source, shape, event,
           observed_at, headers
      from tds.inbox where inbox_id <> all (%s) order by inbox_id"""
RECEIVE = "select inbox_id, status from tds.receive(%s, %b, %s, %s, %s, %s, %s, headers => %s)"
TWICE = "select count(*) from (select from tds.inbox_outcome group by inbox_id having count(*) > 1) t"
UNFINISHED = """
    select count(*) from tds.inbox i where i.refusal is null
       and not exists (select from tds.inbox_outcome o where o.inbox_id = i.inbox_id)"""


class DrillError(Exception):
    """Something is not as it was, or takes too long."""


def bodies(chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """What Zoho sends: edits of few records, so that they meet; one in ten cannot be read."""
    number = 0
    while True:
        number += 1
        stamp = f"2026-01-{chance.randint(1, 28):02}T{chance.randint(0, 23):02}:00:00+0000"
        match chance.randrange(10):
            case 0:
                yield "products", json.dumps({"item": {"item_id": f"bad{number}", "rate": "12,5x"}}).encode()
            case 1 | 2 | 3:
                line = {
                    "line_item_id": "1",
                    "item_id": str(chance.randrange(40)),
                    "quantity": 1,
                    "rate": number,
                }
                invoice = {
                    "invoice_id": str(chance.randrange(20)),
                    "invoice_number": f"INV-{number}",
                    "customer_id": str(chance.randrange(10)),
                    "total": number,
                    "last_modified_time": stamp,
                    "line_items": [line],
                }
                yield "invoices", json.dumps({"invoice": invoice}).encode()
            case 4:
                contact = {"contact_id": str(chance.randrange(10)), "contact_type": "customer"}
                contact |= {"contact_name": f"Customer {number}", "last_modified_time": stamp}
                yield "customers", json.dumps({"contact": contact}).encode()
            case _:
                item = {"item_id": str(chance.randrange(40)), "name": f"Cable {number}", "rate": number}
                yield "products", json.dumps({"item": {**item, "last_modified_time": stamp}}).encode()


@dataclass
class Moment:
    """A backup, and what was acknowledged before it began."""

    backup: Backup
    seconds: float
    acknowledged: set[int]


class Load:
    """Webhooks that come and workers that work until the end of the context.

    Args:
        dsn: the source.
        store: how a webhook is stored; returns the event's number once it is acknowledged.
        seed: of what comes.
    """

    def __init__(self, dsn: str, store: Open, seed: str) -> None:
        self.acknowledged: set[int] = set()
        self._dsn, self._store = dsn, store
        self._bodies = bodies(random.Random(f"{seed}/bodies"))
        self._chance = random.Random(f"{seed}/load")
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._workers = [Worker(dsn) for _ in range(WORKERS)]
        self._coming = [threading.Thread(target=self._send) for _ in range(SENDERS)]
        self._coming.append(threading.Thread(target=self._hold))
        self._working = [threading.Thread(target=worker.run) for worker in self._workers]

    def __enter__(self) -> Load:
        for thread in (*self._coming, *self._working):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for worker in self._workers:
            worker.stop()
        for thread in (*self._coming, *self._working):
            thread.join()

    def moment(self, directory: Path, *, backlog: bool = False) -> Moment:
        """Takes a backup after a while, without waiting for anybody.

        Args:
            directory: where it goes.
            backlog: whether somebody has locked the products until then, so that what is about them waits.
        """
        with psycopg.connect(self._dsn) as conn:
            if backlog:
                conn.execute("lock table zoho.products in share row exclusive mode")
            time.sleep(self._chance.uniform(0.5, 2.0))
            with self._lock:
                known = set(self.acknowledged)
            began = time.monotonic()
            backup = back_up(self._dsn, directory)
            return Moment(backup, time.monotonic() - began, known)

    def another(self) -> None:
        """Waits until one more is acknowledged, which no backup taken before can have."""
        with self._lock:
            known = len(self.acknowledged)
        while len(self.acknowledged) == known:
            time.sleep(PAUSE)

    def _send(self) -> None:
        with self._store() as store:
            while not self._stopping.wait(PAUSE):
                with self._lock:
                    entity, body = next(self._bodies)
                if (number := store(entity, body)) is not None:
                    with self._lock:
                        self.acknowledged.add(number)

    def _hold(self) -> None:
        """Somebody holds a row for longer than a batch waits: what is about it is parked, and comes again."""
        with psycopg.connect(self._dsn) as conn:
            while not self._stopping.is_set():
                conn.execute("select from zoho.products where zoho_item_id = '7' for update")
                self._stopping.wait(1.5)
                conn.rollback()
                self._stopping.wait(0.5)


def by_sql(dsn: str) -> Open:
    """Webhooks stored by one statement each, as the receiver does, on a connection a sender."""

    @contextmanager
    def connected() -> Iterator[Store]:
        def store(entity: str, body: bytes) -> int:
            row = conn.execute(
                "select inbox_id from tds.receive(%s, %b, %s)", [entity, body, ORGANIZATION]
            ).fetchone()
            assert row is not None
            return int(row[0])

        with psycopg.connect(dsn, autocommit=True) as conn:
            yield store

    return connected


def by_http(url: str) -> Open:
    """Webhooks sent to a receiver."""

    @contextmanager
    def connected() -> Iterator[Store]:
        def store(entity: str, body: bytes) -> int | None:
            answer = client.post(f"{url}/api/zoho/webhooks/{entity}", content=body)
            return int(answer.json()["inbox_id"]) if answer.status_code == 202 else None

        with httpx.Client(timeout=30) as client:
            yield store

    return connected


def prepare(dsn: str) -> None:
    """Records of which too many are gone at once: their deletion is held back."""
    items = [{"item_id": f"9{number}", "name": "Old"} for number in range(LIVING)]
    page = json.dumps({"items": items}).encode()
    gone = json.dumps([{"item_id": f"9{number}"} for number in range(HELD)]).encode()
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("select tds.receive('products', %b, %s, 'poller', 'list')", [page, ORGANIZATION])
        drain(conn)
        for _ in range(2):
            conn.execute(
                "select tds.receive('products', %b, %s, 'poller', 'detail', 'delete')", [gone, ORGANIZATION]
            )
            drain(conn)


def drain(conn: psycopg.Connection) -> None:
    """Processes until nothing is open.

    Raises:
        DrillError: it takes too long.
    """
    deadline = time.monotonic() + WITHIN
    while True:
        conn.execute("call tds.process_batch()")
        row = conn.execute("select count(*) from tds.inbox_open").fetchone()
        if row == (0,):
            return
        if time.monotonic() > deadline:
            raise DrillError(f"{row} events are open still after {WITHIN:g} s")
        time.sleep(0.1)


def end_of(conn: psycopg.Connection) -> End:
    """What the mirror and its books say."""
    queries = {
        name: f"select {listed} from {name}" for name, listed in conn.execute(COLUMNS).fetchall()
    } | BOOKS
    return {
        name: sorted(str(row) for row in conn.execute(query.encode()).fetchall())
        for name, query in queries.items()
    }


def differences(one: End, other: End) -> list[str]:
    """Names of what differs, with an example of each."""
    found = []
    for name in one:
        if one[name] != other[name]:
            odd = sorted(set(one[name]) ^ set(other[name]))[:2]
            found.append(f"{name}: {len(one[name])} and {len(other[name])} rows, {odd}")
    return found


@dataclass
class Outcome:
    """What came of one restore."""

    seconds: float
    requeued: int
    later: int
    wrong: list[str] = field(default_factory=list)


def check(
    moment: Moment, source: str, end: End, target: str, *, killed_after: float | None = None
) -> Outcome:
    """Restores a backup, lets the copy catch up, and compares.

    Args:
        moment: the backup.
        source: where it was taken, drained since.
        end: what the source says.
        target: an empty database.
        killed_after: seconds after which a first restore is killed, if one is to be.
    """
    if killed_after is not None:
        kill_half_way(moment.backup.path, target, killed_after)
    done = restore(target, moment.backup.path)
    outcome = Outcome(done.seconds, done.requeued, 0)
    with psycopg.connect(target, autocommit=True) as copy, psycopg.connect(source) as conn:
        numbers = {number for (number,) in copy.execute("select inbox_id from tds.inbox").fetchall()}
        if lost := moment.acknowledged - numbers:
            outcome.wrong.append(f"{len(lost)} acknowledged events are not in it")
        drain(copy)
        for query, told in ((TWICE, "have two outcomes"), (UNFINISHED, "have none")):
            row = copy.execute(query).fetchone()
            if row != (0,):
                outcome.wrong.append(f"{row} events {told}")
        for event in conn.execute(LATER, [list(numbers)]).fetchall():
            copy.execute(RECEIVE, [*event[:-1], psycopg.types.json.Jsonb(event[-1]) if event[-1] else None])
            outcome.later += 1
        drain(copy)
        outcome.wrong += differences(end, end_of(copy))
    return outcome


def kill_half_way(path: Path, target: str, after: float) -> None:
    """A restore that is killed so many seconds after its session was seen."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tds_cli", "restore", str(path)],
        env=os.environ | {"TDS_DATABASE_URL": target},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    look = """select count(*) from pg_stat_activity
               where datname = current_database() and application_name like 'tds/restore/%'"""
    with process, psycopg.connect(target, autocommit=True) as conn:
        while process.poll() is None and conn.execute(look).fetchone() == (0,):
            time.sleep(0.01)
        time.sleep(after)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)


class Place:
    """A server that databases are made on.

    Args:
        name: its major version.
        conninfo: as a superuser.
    """

    def __init__(self, name: str, conninfo: str) -> None:
        self.name, self.conninfo = name, conninfo
        self._number = 0

    @contextmanager
    def database(self, *, own: bool = False) -> Iterator[str]:
        """An empty one; `own`: of a login that is no superuser, with what it needs to install TDS."""
        self._number += 1
        name = f"drill_{os.getpid()}_{self._number}"
        dsn = make_conninfo(self.conninfo, dbname=name)
        with psycopg.connect(self.conninfo, autocommit=True) as conn:
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            if own:
                login = sql.Identifier(name)
                conn.execute(sql.SQL("create role {} login createrole password 'pw'").format(login))
                conn.execute(sql.SQL("alter database {} owner to {}").format(login, login))
                if conn.execute("select from pg_roles where rolname = 'tds_owner'").fetchone() is not None:
                    grant = "grant " + ROLES + " to {} with admin option"
                    conn.execute(sql.SQL(grant).format(login))
                dsn = make_conninfo(dsn, user=name, password="pw")  # noqa: S106 (gone with the server)
        try:
            yield dsn
        finally:
            with psycopg.connect(self.conninfo, autocommit=True) as conn:
                conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
                if own:
                    with suppress(psycopg.errors.DependentObjectsStillExist):
                        conn.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(name)))


@contextmanager
def servers() -> Iterator[dict[str, Place]]:
    """Servers of 18 and, where Debian's is installed, 15, on disks that are synced."""
    memory = Path("/dev/shm")  # noqa: S108 (a busy disk is not what is measured)
    place = memory if memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30 else None
    directory = Path(tempfile.mkdtemp(prefix="tds-drill-", dir=place))
    directory.chmod(0o711)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        places = {}
        for name, bin_dir in {"15": DEBIAN, "18": None}.items():
            if bin_dir is None or (bin_dir / "postgres").exists():
                server = embedded.ensure_running(
                    directory / name, bin_dir=bin_dir, settings={"logging_collector": "off"}
                )
                stack.callback(embedded.stop, directory / name)
                places[name] = Place(name, server.conninfo())
            else:
                print(f"PostgreSQL {name} is not there: {bin_dir}")
        yield places


def pgmq_of(dsn: str) -> str:
    """How pgmq is there: extension or sql."""
    with psycopg.connect(dsn) as conn:
        row: tuple[Any, ...] | None = conn.execute("select kind from tds.pgmq_install").fetchone()
    assert row is not None
    return str(row[0])


def main() -> int:
    """Prints a table; exit code 1: something was not as it was."""
    moments = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = os.environ.get("TDS_SEED", "2026")
    chance, wrong, number = random.Random(seed), 0, 0
    from benchmarks.receiving import receiving  # noqa: PLC0415 (a bench of its own)

    with servers() as places, tempfile.TemporaryDirectory() as directory:
        head = "# | from → to | as | rows | backup s | kB | restore s | open | queued | later | killed | same"
        print(f"| {head} |\n" + "|---" * (head.count("|") + 1) + "|")
        for name, place in places.items():
            count = moments // len(places)
            with place.database() as source:
                upgrade(source)
                prepare(source)
                with (
                    receiving(source, "--processes", "1") as receiver,
                    Load(source, by_http(receiver.url), f"{seed}/{name}") as load,
                ):
                    taken = [load.moment(Path(directory), backlog=each % 4 > 1) for each in range(count)]
                with psycopg.connect(source, autocommit=True) as conn:
                    drain(conn)
                    end = end_of(conn)
                for each, moment in enumerate(taken):
                    number += 1
                    target = list(places.values())[each % len(places)]
                    own, kill = each % 5 >= 3, chance.uniform(0, 1.5) if each % 3 == 1 else None
                    with target.database(own=own) as copy:
                        outcome = check(moment, source, end, copy, killed_after=kill)
                        kinds = f"{pgmq_of(source)} → {pgmq_of(copy)}"
                    wrong += bool(outcome.wrong)
                    cells = [
                        str(number),
                        f"{name} → {target.name}",
                        "owner" if own else "superuser",
                        f"{moment.backup.rows:,}",
                        f"{moment.seconds:.1f}",
                        f"{moment.backup.bytes // 1024:,}",
                        f"{outcome.seconds:.1f}",
                        f"{moment.backup.tables['tds.inbox_open']:,}",
                        f"{outcome.requeued:,}",
                        f"{outcome.later:,}",
                        "" if kill is None else f"{kill:.1f} s",
                        "yes" if not outcome.wrong else "; ".join(outcome.wrong),
                    ]
                    print("| " + " | ".join(cells) + " |", flush=True)
        print(
            f"\npgmq: {kinds}. Seed {seed}. {conninfo_to_dict(place.conninfo).get('host')}", file=sys.stderr
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
