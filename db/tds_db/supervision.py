"""What tells systemd that a program works, and what tells a supervisor that one of its programs hangs."""

import logging
import os
import socket
import threading

import psycopg
from psycopg.rows import TupleRow

from tds_db.connect import Connection, connect
from tds_db.errors import TdsError

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0  # between looks at which programs hang
ANSWER_SECONDS = 20.0  # until a server that does not answer is asked on another connection


def notify_systemd() -> None:
    """Tells systemd, if it started this process (Type=notify, WatchdogSec=…), that it works."""
    if not (address := os.environ.get("NOTIFY_SOCKET")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(b"READY=1\nWATCHDOG=1", "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            log.warning("systemd cannot be told: %s", error)


class Hanging:
    """Looks, on a thread of its own, which programs of this machine are to be started again.

    Args:
        dsn: connection string of the database; default as `connect` has it.
    """

    def __init__(self, dsn: str | None = None) -> None:
        self._dsn = dsn
        self._pids: dict[int, str] = {}
        self._ended: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hanging", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it."""
        self._stopping.set()

    def take(self, pid: int) -> bool:
        """Whether the process hangs and has to be ended by the caller, who is asked to once."""
        if (program := self._pids.pop(pid, None)) is None:
            return False
        self._ended.append(program)
        return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with connect(
                    "supervisor",
                    self._dsn,
                    autocommit=True,
                    connect_timeout=10,
                    answer_seconds=ANSWER_SECONDS,
                    may_share=True,
                ) as connection:
                    while not self._stopping.wait(LOOK_SECONDS):
                        self._look(connection)
            except (psycopg.Error, TdsError) as error:
                log.debug("which programs hang is not known: %s", error)
                self._stopping.wait(LOOK_SECONDS)

    def _look(self, connection: Connection[TupleRow]) -> None:
        while self._ended:
            with connection.on_terms():
                connection.execute("select tds.restarted(%s)", [self._ended[0]])
            self._ended.pop(0)
        query = "select pid, program from tds.restarts_wanted(%s)"
        with connection.on_terms():
            rows = connection.execute(query, [socket.gethostname()]).fetchall()
        self._pids = dict(rows)
