"""What stalls, vanishes or stops under a steady stream of webhooks, with kills in between: nothing acknowledged is lost.

The programs run in a network namespace of their own and reach the server by TCP, over a link that can be had to drop
what it is given. The database has synchronous_commit off, which nothing that acknowledges may rely on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, LiteralString, TypeVar

import psutil
import psycopg
import pytest

from benchmarks.drills import Sender, backends, missing, stopped
from tests.conftest import all_servers
from tests.db.servers import Database, PrivateServer
from tests.journeys.programs import TDS, Program, environment
from tests.journeys.waiting import wait_until

Answer = TypeVar("Answer")
FED, PULLED = "60069194202", "748139205"
SANDBOX = [
    "--json",
    "--port",
    "8100",
    "--items",
    "40",
    "--contacts",
    "0",
    "--invoices",
    "0",
    "--minute-limit",
    "0",
    "--day-limit",
    "0",
    "--concurrency",
    "0",
]
VANISHES, STOPS = 25.0, 5.0  # seconds of each; a connection that nobody acknowledges is given up after 20
FEW = 20  # events that are on their way at any time


class Namespace:
    """A network namespace with two links to this one: `db`, which can be cut, and `web`.

    Args:
        name: of the namespace, and of the links' ends here.
        block: third number of the addresses; 198.18.0.0/15 is there for measurements.
    """

    def __init__(self, name: str, block: int) -> None:
        self.name = name
        self.database = f"198.18.{block}.1"
        self.programs = f"198.18.{block}.2"
        self.here = f"198.19.{block}.1"
        self.web = f"198.19.{block}.2"

    def make(self) -> None:
        """Makes it.

        Raises:
            subprocess.CalledProcessError: that is not allowed here.
        """
        ip("netns", "add", self.name)
        inside = ["-n", self.name]
        ip(*inside, "link", "set", "lo", "up")
        for link, here, there in (("db", self.database, self.programs), ("web", self.here, self.web)):
            end = f"{self.name}{link}"
            ip("link", "add", end, "type", "veth", "peer", "name", link, "netns", self.name)
            ip("address", "add", f"{here}/30", "dev", end)
            ip("link", "set", end, "up")
            ip(*inside, "address", "add", f"{there}/30", "dev", link)
            ip(*inside, "link", "set", link, "up")

    def remove(self) -> None:
        """Removes it, and its links."""
        ip("netns", "delete", self.name, check=False)

    def command(self, *command: str) -> list[str]:
        """The same command, inside."""
        return [str(shutil.which("ip")), "netns", "exec", self.name, *command]

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """What the programs send arrives; what the server answers vanishes."""
        ip("route", "add", "blackhole", f"{self.programs}/32")
        try:
            yield
        finally:
            ip("route", "delete", "blackhole", f"{self.programs}/32")

    @contextmanager
    def cut(self) -> Iterator[None]:
        """The link is down: nothing passes in either direction, and nobody is told."""
        ip("-n", self.name, "link", "set", "db", "down")
        try:
            yield
        finally:
            ip("-n", self.name, "link", "set", "db", "up")


def ip(*arguments: str, check: bool = True) -> None:
    """Runs iproute2's command."""
    subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """Skips where namespaces may not be made."""
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need the command ip (iproute2)")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = Namespace(f"tds{os.getpid() % 100_000}", os.getpid() % 250)
    try:
        made.make()
    except subprocess.CalledProcessError as error:
        made.remove()
        pytest.skip(f"network namespaces may not be made here: {error.stderr.strip()}")
    yield made
    made.remove()


@pytest.fixture
def distant(namespace: Namespace, request: pytest.FixtureRequest) -> Iterator[PrivateServer]:
    """A server of the test's own that the namespace reaches by TCP."""
    private = all_servers(request.config).private(
        upgraded=True, settings={"listen_addresses": f"'{namespace.database}'"}
    )
    with (private.data_dir / "pgdata" / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {namespace.programs}/32 scram-sha-256\n")
    database = private.database()
    with database.connect(autocommit=True) as conn:
        conn.execute("select pg_reload_conf()")
        conn.execute("alter database tds set synchronous_commit = off")
    yield private
    private.stop()


class Journey:
    """Receiver, two workers and poller in the namespace, a sender of webhooks and a sandbox here and there."""

    def __init__(self, database: Database, namespace: Namespace, directory: Path) -> None:
        self.database = database
        self.namespace = namespace
        self.conn = database.connect(autocommit=True)
        sandbox = Program(
            "sandbox",
            namespace.command(*TDS, "sandbox", *SANDBOX),
            environment(),
            directory,
        )
        sandbox.start()
        wait_until(lambda: sandbox.said.endswith("\n"), "the sandbox is there")
        zoho = json.loads(sandbox.said)
        variables = environment(
            **zoho | {"ZOHO_MINUTE_SECONDS": "1", "ZOHO_CALLS_PER_MINUTE": "100000"},
            TDS_DATABASE_URL=database.dsn(host=namespace.database),
            TDS_DATA_DIR=str(directory / "data"),
        )

        def program(name: str, *arguments: str) -> Program:
            # what is sent is another organisation's than what is pulled
            own = variables | {"ZOHO_ORGANIZATION_ID": FED if name == "receiver" else PULLED}
            return Program(name, namespace.command(*TDS, "-v", *arguments), own, directory)

        self.sandbox = sandbox
        self.receiver = program(
            "receiver", "serve", "--host", namespace.web, "--port", "8101", "--insecure", "--processes", "1"
        )
        self.poller = program("poller", "poll", "--no-images")
        self.workers = [program(f"worker{n}", "work", "--workers", "1") for n in (1, 2)]
        self.sender = Sender(f"http://{namespace.web}:8101", set())

    @property
    def programs(self) -> list[Program]:
        """Those that are under test."""
        return [self.receiver, self.poller, *self.workers]

    def tend(self) -> None:
        """Starts what is not running, as a supervisor would."""
        for program in self.programs:
            if not program.is_running:
                program.start()

    def ask(self, question: Callable[[psycopg.Connection], Answer]) -> Answer:
        """Asks the database, past the network; again, while the server comes back from a kill."""
        answers: list[Answer] = []

        def is_answered() -> bool:
            try:
                if self.conn.closed:
                    self.conn = self.database.connect(autocommit=True)
                answers.append(question(self.conn))
            except psycopg.OperationalError:
                self.conn.close()
            return bool(answers)

        wait_until(is_answered, "the server answers")
        return answers[0]

    def rows(self, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        """What a query finds."""
        return self.ask(lambda conn: conn.execute(query, parameters).fetchall())

    def missing(self) -> int:
        """How many of the acknowledged events have no row."""
        told = set(self.sender.acknowledged)
        return self.ask(lambda conn: missing(conn, told))

    def backends(self, kind: str) -> list[int]:
        """The backends of programs of a kind."""
        return self.ask(lambda conn: backends(conn, kind))

    def pids(self, kind: str) -> list[int]:
        """The processes that work as that, of those started here."""
        query = "select pid from tds.program where kind = %s and stopped_at is null order by started_at desc"
        told = [pid for (pid,) in self.rows(query, kind)]
        ours = {
            process.pid
            for program in self.programs
            if program.is_running
            for each in [psutil.Process(program.pid)]
            for process in (each, *each.children(recursive=True))
        }
        return [pid for pid in told if pid in ours]

    def is_well(self) -> bool:
        """Whether webhooks are acknowledged and applied, and a pull that is asked for now comes to its end."""
        self.tend()
        acknowledged = len(self.sender.acknowledged)
        [row] = self.rows("select tds.request_pull('products', '{}', %s)", PULLED)

        def pulled() -> bool:
            self.tend()
            query = "select state from tds.run where run_id = %s and finished_at is not null"
            return self.rows(query, *row) == [("complete",)]

        wait_until(pulled, "a pull that is asked for is done")
        wait_until(lambda: len(self.sender.acknowledged) >= acknowledged + FEW, "webhooks are acknowledged")
        # some are always on their way
        wait_until(lambda: self.missing() < FEW, "what is acknowledged is applied")
        return True

    def close(self) -> None:
        """Stops everything at once."""
        self.sender.stopping = True
        for program in [*self.programs, self.sandbox]:
            if program.is_running:
                program.kill()
        self.conn.close()


def kills(journey: Journey, server: PrivateServer) -> Iterator[str]:
    """SIGKILLs one thing after the other, for ever; says which."""

    def worker() -> None:
        os.kill(journey.pids("worker")[0], signal.SIGKILL)

    def backend() -> None:
        os.kill(journey.backends("worker")[0], signal.SIGKILL)

    def postmaster() -> None:
        server.kill()

    victims: dict[str, Callable[[], object]] = {
        "postmaster": postmaster,
        "worker": worker,
        "receiver": journey.receiver.kill,
        "poller": journey.poller.kill,
        "backend": backend,
    }
    for name, kill in cycle(victims.items()):
        kill()
        server.start()
        yield name


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_acknowledged_is_lost_whatever_stalls(
    distant: PrivateServer,
    namespace: Namespace,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    journey = Journey(distant.database(), namespace, tmp_path)
    assert journey.rows("show synchronous_commit") == [("off",)]

    def pause(pids: Sequence[int]) -> AbstractContextManager[None]:
        assert pids, "there is something to stop"
        return stopped(*pids)

    drills: dict[str, tuple[float, Callable[[], AbstractContextManager[None]]]] = {
        "answers vanish": (VANISHES, namespace.stalled),
        "the link is down": (VANISHES, namespace.cut),
        "a worker is stopped": (STOPS, lambda: pause(journey.pids("worker")[:1])),
        "both workers are stopped": (STOPS, lambda: pause(journey.pids("worker"))),
        "a worker's backend is stopped": (STOPS, lambda: pause(journey.backends("worker")[:1])),
        "the receiver is stopped": (STOPS, lambda: pause(journey.pids("receiver"))),
        "the receiver's backends are stopped": (
            STOPS,
            lambda: pause(journey.backends("receiver")),
        ),
        "the poller is stopped": (STOPS, lambda: pause(journey.pids("poller"))),
        "the poller's backends are stopped": (STOPS, lambda: pause(journey.backends("poller"))),
    }
    thread = threading.Thread(target=journey.sender.run)
    try:
        journey.tend()
        wait_until(lambda: bool(journey.receiver.said.strip()), "the receiver is there")
        thread.start()
        assert journey.is_well()
        killing = kills(journey, distant)
        for name, (seconds, drill) in drills.items():
            before, journey.sender.slowest = len(journey.sender.acknowledged), 0.0
            with drill():
                time.sleep(seconds)
            began = time.monotonic()
            assert journey.is_well()
            record_property(
                "measured",
                f"{name:36} for {seconds:2.0f} s: {len(journey.sender.acknowledged) - before:5,} acknowledged meanwhile "
                f"and after, slowest answer {journey.sender.slowest:4.1f} s, well after {time.monotonic() - began:4.1f} s",
            )
            began = time.monotonic()
            killed = next(killing)
            assert journey.is_well()
            record_property(
                "measured", f"{f'SIGKILL: {killed}':36} well after {time.monotonic() - began:4.1f} s"
            )
        journey.sender.stopping = True
        thread.join()
        wait_until(lambda: journey.missing() == 0, "all that was acknowledged is there")
        record_property("measured", f"{len(journey.sender.acknowledged):,} acknowledged, 0 lost")
        assert journey.rows("select count(*) from tds.dead_letter") == [(0,)]
        assert journey.rows("select count(*) from tds.run where state = 'failed'") == [(0,)]
    except BaseException as error:
        error.add_note("\n".join(program.last_words for program in journey.programs))
        raise
    finally:
        journey.close()
