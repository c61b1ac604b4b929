"""The whole of TDS on one server, its load, a supervisor that starts again what ended, and the kills."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import DictRow, dict_row

from tds_sandbox.serve import Running
from tests.db.servers import PrivateServer
from tests.journeys.feeder import Feeder
from tests.journeys.programs import TDS, Program, environment
from tests.journeys.waiting import wait_until

# How many more webhooks are acknowledged, or calls made by the poller, before a kill.
WEBHOOKS, CALLS = (5, 60), (1, 12)
CHOSEN = 0.5  # share of kills whose moment is chosen: in the middle of a batch, in the middle of a list
STALL_SECONDS = 120.0  # without any progress; the machine may be busy with other tests

Parameters = Sequence[Any] | Mapping[str, Any] | None

INSTRUMENTS = """
    -- notes the events whose batch was interrupted, and those that a failure was laid to
    create table public.noted (what text not null, inbox_id bigint not null);
    grant insert on public.noted to public;
    create function public.note() returns trigger language plpgsql as $$
    begin
        if new.crashes > old.crashes then
            insert into public.noted values ('crash', new.inbox_id);
        end if;
        if new.attempts > old.attempts then
            insert into public.noted values ('attempt', new.inbox_id);
        end if;
        return null;
    end $$;
    create trigger note after update on tds.inbox_open for each row execute function public.note();
    -- a message that only its time-out would bring back is as good as lost here
    update tds.setting set value = '3600' where name = 'visibility_seconds';
    update tds.setting set value = '1' where name in ('retry_base_seconds', 'outage_pause_seconds');
"""


class Stage:
    """A feeder, the receiver, the poller and two workers.

    Args:
        server: with the database `tds`; the programs start it themselves, too, when they find it dead.
        sandbox: what the poller pulls from.
        directory: for the programs' output.
        organization_id: the feeder's, another one than the sandbox's.
        seed: of the feeder's edits and of every choice made here.
    """

    def __init__(
        self, server: PrivateServer, sandbox: Running, directory: Path, organization_id: str, seed: int
    ) -> None:
        self.server = server
        self.sandbox = sandbox
        self.kills: Counter[str] = Counter()
        self.resumed_runs = 0
        """Runs that a poller found unfinished when it was started."""
        self._dsn = server.database().conninfo
        self._conn: psycopg.Connection[DictRow] | None = None
        self._rng = random.Random(seed)
        self._orphans: list[psutil.Process] = []
        # A crash of the server forgets the token, so that each poller after one asks for another: more than ten in
        # ten minutes, if these were as long as real ones.
        variables = environment(
            TDS_DATA_DIR=str(server.data_dir),
            ZOHO_CALLS_PER_MINUTE="100000",
            ZOHO_MINUTE_SECONDS="3",
            **sandbox.environment,
        )
        self.workers = Program("workers", [*TDS, "-v", "work", "--workers", "2"], variables, directory)
        self.receiver = Program("receiver", [*TDS, "serve", "--port", "0"], variables, directory)
        self.poller = Program("poller", [*TDS, "migrate", "--json"], variables, directory)
        self.feeder = Feeder(self._receiver_url, organization_id, seed)
        self.query(INSTRUMENTS)

    @property
    def programs(self) -> tuple[Program, ...]:
        """All programs."""
        return self.workers, self.receiver, self.poller

    def _receiver_url(self) -> str | None:
        said = self.receiver.said
        return said.strip() if said.endswith("\n") else None

    def tend(self) -> None:
        """Starts what is not running."""
        self.feeder.check()
        for program in (self.workers, self.receiver):
            if not program.is_running:
                program.start()
        if not self.poller.is_running:
            self._start_poller()

    def _start_poller(self) -> None:
        # As if time had passed: Zoho gives out 10 tokens in 10 minutes, and what a dead poller had leased
        # comes free after 2. Its backends may lease something yet, unless they are in a drain.
        self.sandbox.clock.advance(61)
        leasing = """select count(*) from pg_stat_activity
                      where application_name like 'tds/poller/%' and query not like 'call %'"""
        wait_until(lambda: self.value(leasing) == 0, "the dead poller's backends are gone")
        self.query("update tds.wanted_detail set leased_until = null where leased_until is not null")
        self.resumed_runs += self.value("select count(*) from tds.run where state = 'running' and pages > 0")
        self.poller.start()

    def query(self, text: str, parameters: Parameters = None) -> list[dict[str, Any]]:
        """The rows of a statement. Starts the server if it is dead, and repeats a statement that was cut off."""
        deadline = time.monotonic() + STALL_SECONDS
        while True:
            try:
                if self._conn is None:
                    self._conn = psycopg.connect(self._dsn, autocommit=True, row_factory=dict_row)
                cursor = self._conn.execute(text.encode(), parameters)
                return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                self._disconnect()
                self.server.start()

    def _disconnect(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def value(self, text: str, parameters: Parameters = None) -> Any:
        """The one value of a query."""
        [row] = self.query(text, parameters)
        [value] = row.values()
        return value

    def wait_for_load(self, victim: str) -> None:
        """Waits until a random number of things have happened: the moment is random, and there is load."""
        more = self._rng.randint(*(CALLS if victim == "poller" else WEBHOOKS))

        def happened() -> int:
            return len(self.sandbox.ledger.calls if victim == "poller" else self.feeder.acknowledged)

        enough = happened() + more

        def is_enough() -> bool:
            self.tend()
            return happened() >= enough

        wait_until(is_enough, f"{more} more things happen before a {victim} is killed", STALL_SECONDS)

    def kill(self, victim: str) -> None:
        """SIGKILLs one of that kind; a server is started again at once."""
        kinds: dict[str, Callable[[], None]] = {
            "worker": self._kill_worker,
            "work command": self._kill_work_command,
            "receiver": self._kill_receiver,
            "poller": self._kill_poller,
            "postmaster": self._kill_postmaster,
            "backend": self._kill_backend,
        }
        kinds[victim]()
        self.kills[victim] += 1

    def _kill_worker(self) -> None:
        """A worker that has a batch in hand, or any."""
        busy_only = self._rng.random() < CHOSEN
        in_hand = "select worker from tds.claim where worker like 'tds/worker/%'"

        def candidates() -> list[int]:
            self.tend()
            busy = {int(row["worker"].rpartition("/")[2]) for row in self.query(in_hand)}
            # A claim may name a worker that was killed before, and its pid be somebody else's by now.
            return [worker.pid for worker in self._workers() if worker.pid in busy or not busy_only]

        self._kill_one(candidates, "there is a worker")

    def _workers(self) -> list[psutil.Process]:
        def is_alive(process: psutil.Process) -> bool:
            try:
                return process.status() != psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                return False

        return [child for child in psutil.Process(self.workers.pid).children() if is_alive(child)]

    def _kill_work_command(self) -> None:
        # Stopped first, so that it starts no worker that nobody would know of.
        psutil.Process(self.workers.pid).suspend()
        self._orphans += self._workers()
        self.workers.kill()

    def _kill_postmaster(self) -> None:
        self.server.kill()
        self.server.start()

    def _kill_receiver(self) -> None:
        while self.receiver.kill() != -signal.SIGKILL:
            self.tend()

    def _kill_poller(self) -> None:
        """In the middle of a list, or anywhere."""
        if self._rng.random() < CHOSEN:
            self._tend_until(
                "select run_id from tds.run where state = 'running' and pages > 0", "a list is half pulled"
            )
        while self.poller.kill() != -signal.SIGKILL:
            self.tend()

    def _kill_backend(self) -> None:
        """One that has a batch in hand, or any that is at work."""
        backends = "select pid from pg_stat_activity where application_name like 'tds/%' and "
        in_hand = self._rng.random() < CHOSEN
        backends += "pid in (select backend_pid from tds.claim)" if in_hand else "state = 'active'"
        self._kill_one(
            lambda: [row["pid"] for row in self._tend_until(backends, "a backend is at work")], "it still is"
        )
        self.server.start()

    def _kill_one(self, candidates: Callable[[], list[int]], what: str) -> None:
        while True:
            pid = self._rng.choice(wait_until(candidates, what, STALL_SECONDS))
            # It may have ended by itself just now; another one will do.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return

    def _tend_until(self, query: str, what: str) -> list[dict[str, Any]]:
        def found() -> list[dict[str, Any]]:
            self.tend()
            return self.query(query)

        return wait_until(found, what, STALL_SECONDS)

    def settle(self) -> None:
        """Ends the load, has everything finished that was begun, and stops all programs in order."""
        self.feeder.stop()
        self.tend()
        self.poller.kill()
        for _ in range(2):  # first what was begun, then all once more, for what has changed since
            self._start_poller()
            assert self.poller.wait(STALL_SECONDS) == 0, self.poller.last_words
        wait_until(
            lambda: self.value("select count(*) = 0 from tds.inbox_open"), "nothing is open", STALL_SECONDS
        )
        assert self.workers.stop() == 0, self.workers.last_words
        for orphan in self._orphans:
            orphan.wait(STALL_SECONDS)
        self.receiver.stop()

    def close(self) -> None:
        """Stops everything at once."""
        self.feeder.stop()
        if self.workers.is_running:
            self._kill_work_command()
        for orphan in self._orphans:
            with suppress(psutil.NoSuchProcess):
                orphan.kill()
        for program in self.programs:
            if program.is_running:
                program.kill()
        self._disconnect()


@contextmanager
def staged(
    server: PrivateServer, sandbox: Running, directory: Path, organization_id: str, seed: int
) -> Iterator[Stage]:
    """A stage that is cleared in the end. Should something fail, the programs' last words are told."""
    stage = Stage(server, sandbox, directory, organization_id, seed)
    try:
        yield stage
    except BaseException as error:
        error.add_note("\n".join(program.last_words for program in stage.programs))
        raise
    finally:
        stage.close()
