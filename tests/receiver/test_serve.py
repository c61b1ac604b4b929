"""`tds serve` as a process: who may bind what, several processes, logs, the end, and a database that goes away."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from tests.commands import tds
from tests.db.servers import Database, PrivateServer
from tests.journeys.programs import TDS, Program, environment
from tests.journeys.waiting import PATIENCE, wait_until
from tests.receiver.test_webhooks import PRODUCTS, events


class Served(Program):
    """A receiver on a database."""

    def __init__(self, dsn: str, directory: Path, *options: str, **variables: str) -> None:
        given = environment(TDS_DATABASE_URL=dsn, ZOHO_ORGANIZATION_ID="748139205", **variables)
        super().__init__("serve", [*TDS, "serve", "--port", "0", *options], given, directory)
        self.start()

    @property
    def url(self) -> str:
        """Its base URL, once it answers."""
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self.is_running, self.last_words
            assert time.monotonic() < deadline, self.last_words
            if self.said.endswith("\n"):
                url = self.said.strip()
                try:
                    httpx.get(f"{url}/healthz", verify=False, trust_env=False)
                except httpx.TransportError:
                    pass
                else:
                    return url
            time.sleep(0.05)

    @property
    def log(self) -> list[dict[str, object]]:
        """Its log: every line of it is an object."""
        return [json.loads(line) for line in self._stderr.read_text().splitlines()]


class Sender(threading.Thread):
    """Sends webhooks one after another, each until it is acknowledged if asked to, and keeps the numbers of events."""

    def __init__(self, url: str, name: str, *, again: bool, pause: float = 0.0) -> None:
        super().__init__(name=name)
        self.acknowledged: dict[str, int] = {}
        self.answers: list[tuple[float, object]] = []
        self.stop = threading.Event()
        self._url, self._again, self._pause = url, again, pause

    def is_taken_after(self, moment: float) -> bool:
        """Whether its last one was acknowledged, and after that moment."""
        told_at, answer = self.answers[-1]
        return answer == 202 and told_at > moment

    def run(self) -> None:
        """Until stopped, or until nobody listens any more."""
        number = 0
        with httpx.Client(base_url=self._url, timeout=PATIENCE, verify=False, trust_env=False) as http:
            while not self.stop.is_set():
                record = f"{self.name}-{number}"
                try:
                    answer = http.post(PRODUCTS, json={"item": {"item_id": record, "name": record}})
                except httpx.TransportError as error:
                    self.answers.append((time.monotonic(), type(error).__name__))
                    if not self._again:
                        return
                    time.sleep(0.1)
                    continue
                self.answers.append((time.monotonic(), answer.status_code))
                if answer.status_code == 202:
                    self.acknowledged[record] = answer.json()["inbox_id"]
                    number += 1
                elif self._again:
                    time.sleep(0.1)
                else:
                    number += 1
                time.sleep(self._pause)


@pytest.fixture
def served(database: Database, tmp_path: Path) -> Iterator[dict[str, Served]]:
    """What a test starts is killed after it."""
    running: dict[str, Served] = {}
    yield running
    for program in running.values():
        if program.is_running:
            program.kill()


@pytest.mark.parametrize(
    ("options", "variables", "starts"),
    [
        ((), {}, False),
        (("--insecure",), {}, True),
        ((), {"ZOHO_WEBHOOK_SECRET": "a1b2c3d4e5f6"}, True),
        ((), {"ZOHO_WEBHOOK_SECRET": " , "}, False),
        ((), {"ZOHO_WEBHOOK_TOKENS__INVOICES": "t" * 12}, True),
        ((), {"ZOHO_WEBHOOK_TOKENS__INVOICES": "t"}, False),
    ],
)
def test_who_may_listen_to_everybody(
    tmp_path: Path, options: tuple[str, ...], variables: dict[str, str], starts: bool
) -> None:
    everywhere = ("--host", "0.0.0.0", *options)
    if not starts:
        refused = tds(
            environment(TDS_DATABASE_URL="host=/nowhere", **variables), "serve", "--port", "0", *everywhere
        )
        assert refused.returncode == 1
        assert "whoever reaches" in refused.stderr
        return
    program = Served("host=/nowhere", tmp_path, *everywhere, **variables)
    try:
        assert program.url.startswith("http://0.0.0.0:")
    finally:
        if program.is_running:
            program.kill()


@pytest.mark.parametrize("processes", [1, 2])
def test_every_request_taken_is_answered_before_the_end(
    database: Database, served: dict[str, Served], tmp_path: Path, processes: int
) -> None:
    """SIGTERM under load: no 202 without a row, and no event but those that were sent."""
    program = served["serve"] = Served(database.conninfo, tmp_path, "--processes", str(processes))
    senders = [Sender(program.url, f"s{number}", again=False) for number in range(6)]
    for sender in senders:
        sender.start()
    time.sleep(0.7)
    children = psutil.Process(program.pid).children(recursive=True)
    assert program.stop() in {0, -signal.SIGTERM}
    for sender in senders:
        sender.join(PATIENCE)
        assert not sender.is_alive()
        # Only the last one may have met a closed door; nothing was answered but 202.
        assert {answer for _, answer in sender.answers[:-1]} <= {202}
    acknowledged = {record: number for sender in senders for record, number in sender.acknowledged.items()}
    stored = {event["record_id"]: event["inbox_id"] for event in events(database)}
    assert len(acknowledged) > 20
    assert acknowledged.items() <= stored.items()
    assert len(stored) - len(acknowledged) <= len(senders)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_processes_and_workers_are_replaced_and_leave_with_their_parent(
    database: Database, served: dict[str, Served], tmp_path: Path
) -> None:
    program = served["serve"] = Served(database.conninfo, tmp_path, "--processes", "2", "--workers", "1")
    url = program.url
    children = psutil.Process(program.pid).children()
    assert len(children) == 3
    record = {"item": {"item_id": "1", "name": "Toner", "last_modified_time": "2026-01-02T03:04:05-0400"}}
    assert httpx.post(url + PRODUCTS, json=record, verify=False, trust_env=False).status_code == 202
    wait_until(lambda: products(database) == 1, "it is applied")
    for child in children:
        child.kill()
    wait_until(
        lambda: len(living(program.pid)) == 3 and not set(living(program.pid)) & set(children),
        "others are in their place",
    )
    record["item"]["item_id"] = "2"

    def sent() -> bool:
        try:
            return httpx.post(url + PRODUCTS, json=record, verify=False, trust_env=False).status_code == 202
        except httpx.TransportError:
            return False

    wait_until(sent, "it is taken")
    wait_until(lambda: products(database) == 2, "it is applied")
    orphans = living(program.pid)
    program.kill()
    wait_until(lambda: not [orphan for orphan in orphans if orphan.is_running()], "all have ended")


def living(pid: int) -> list[psutil.Process]:
    """The children of a process that are not dead."""

    def lives(child: psutil.Process) -> bool:
        try:
            return bool(child.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:  # its parent has noticed since
            return False

    return [child for child in psutil.Process(pid).children() if lives(child)]


def products(database: Database) -> int:
    """Rows of the mirror."""
    with psycopg.connect(database.conninfo) as conn:
        row = conn.execute("select count(*) from zoho.products").fetchone()
    assert row is not None
    return int(row[0])


def test_logs_are_lines_of_json_without_secrets(
    database: Database, served: dict[str, Served], tmp_path: Path
) -> None:
    program = served["serve"] = Served(database.conninfo, tmp_path, ZOHO_WEBHOOK_TOKEN="hidden")
    with httpx.Client(base_url=program.url, verify=False, trust_env=False) as http:
        answer = http.post(
            PRODUCTS, params={"token": "hidden"}, content=b"{}", headers={"X-Request-Id": "r-9"}
        )
        assert answer.status_code == 202
        assert http.post(PRODUCTS, headers={"Authorization": "Bearer hidden2"}).status_code == 401
    program.stop()
    assert "hidden" not in json.dumps(program.log)
    [queued, refused] = [line for line in program.log if line["logger"] == "tds_receiver.webhook"]
    assert queued == {
        **queued,
        "level": "info",
        "message": "queued",
        "entity": "products",
        "event": "upsert",
        "code": 202,
        "request_id": "r-9",
        "inbox_id": answer.json()["inbox_id"],
    }
    assert (refused["message"], refused["code"]) == ("refused", 401)


def test_an_outage_loses_nothing_and_ends_with_it(server: PrivateServer, tmp_path: Path) -> None:
    """PostgreSQL stopped for some seconds under steady sends; the sender repeats what was not acknowledged."""
    database = server.database()
    program = Served(database.conninfo, tmp_path)
    try:
        senders = [Sender(program.url, f"s{number}", again=True, pause=0.03) for number in range(4)]
        for sender in senders:
            sender.start()
        time.sleep(0.7)
        server.stop()
        time.sleep(1.5)
        server.start()
        back = time.monotonic()
        for sender in senders:
            wait_until(partial(sender.is_taken_after, back), "it is taken again")
        time.sleep(0.5)
        for sender in senders:
            sender.stop.set()
        for sender in senders:
            sender.join(PATIENCE)
            assert 503 in {answer for _, answer in sender.answers}
            # Within five seconds of its return, and from then on always.
            assert next(at for at, answer in sender.answers if at > back and answer == 202) - back < 5
            assert sender.answers[-1][1] == 202
        acknowledged = {
            record: number for sender in senders for record, number in sender.acknowledged.items()
        }
        stored: dict[str, set[int]] = {}
        for event in events(database):
            stored.setdefault(event["record_id"], set()).add(event["inbox_id"])
        assert all(number in stored[record] for record, number in acknowledged.items())
        assert stored.keys() - acknowledged.keys() == set()
    finally:
        program.kill()
