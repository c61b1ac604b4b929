"""Messages of alerts: who looks whether there are any, and starts the process that sends them.

That process (`tds_db.alert_sender`) outlives whoever started it, so that a worker that is killed neither
loses nor doubles what is being sent just then; it ends by itself, and is killed by its own alarm if it hangs.
It says at once what has arrived, and whoever started it notes what one that died could not note any more.
"""

import logging
import os
import random
import subprocess
import threading
import time
from contextlib import suppress

import psycopg
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from tds_db.connect import connect
from tds_db.processes import python

log = logging.getLogger(__name__)

OPERATIONS, BUSINESS = "operations", "business"
LEAST_SECONDS = 1.0  # between two starts
STOP_SECONDS = 10.0  # that whoever stops leaves to what is being sent
TURN_SECONDS = 2.0  # between two looks of `Watch` at the messages
HEALTH_SECONDS = 60.0  # between two looks of it at whether anybody looks at the health
ANSWER_SECONDS = 300.0
LONGEST_PAUSE = 10.0  # between attempts while the database is away


class AlertSettings(BaseSettings):
    """`TDS_ALERT_URLS` and `TDS_BUSINESS_ALERT_URLS`: URLs of Apprise, several by spaces or commas."""

    model_config = SettingsConfigDict(env_prefix="TDS_")

    alert_urls: SecretStr = SecretStr("")
    """Where alerts about TDS itself go. They hold secrets: they are neither logged nor stored."""

    business_alert_urls: SecretStr = SecretStr("")
    """Where alerts about the stock go."""

    alert_send_seconds: int = 60
    """How long sending one message to one address may take."""

    def audiences(self) -> list[str]:
        """Those that somebody has given an address."""
        urls = {OPERATIONS: self.alert_urls, BUSINESS: self.business_alert_urls}
        return [name for name, given in urls.items() if given.get_secret_value().strip()]


class Sending:
    """Starts the process that sends, when there is something to be sent.

    Args:
        dsn: libpq connection string of the database, for that process.
        settings: default those of the environment.
    """

    def __init__(self, dsn: str, settings: AlertSettings | None = None) -> None:
        self._dsn = dsn
        self.audiences = (settings or AlertSettings()).audiences()
        self._process: subprocess.Popen[bytes] | None = None
        self._says: int | None = None  # the end of a pipe
        self._said = b""
        self._told = False
        self._started_at = 0.0

    def turn(self, connection: psycopg.Connection) -> bool:
        """Starts the process if a message is due and none is at work.

        Args:
            connection: in autocommit mode.

        Returns:
            Whether there is, or may be, something to be sent.
        """
        if not self.audiences or self._is_at_work(connection):
            return bool(self.audiences)
        row = connection.execute("select tds.messages_due(%s)", [self.audiences]).fetchone()
        assert row is not None
        # The first one also tells the database which addresses there are.
        if row[0] or not self._told:
            self._start()
        return bool(row[0])

    def wait(self, seconds: float) -> None:
        """Waits until what is being sent is sent, at most so long: the database may be stopped after this."""
        if self._process is not None:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                log.warning("a message of an alert is still being sent")

    def _is_at_work(self, connection: psycopg.Connection) -> bool:
        if self._process is None:
            return False
        code = self._process.poll()
        self._listen()
        if code is None:
            return True
        if code:
            log.error("the sender of alerts ended with code %d; what it had in hand is tried again", code)
            self._note(connection)
        self._forget()
        return time.monotonic() - self._started_at < LEAST_SECONDS

    def _listen(self) -> None:
        with suppress(BlockingIOError):
            while self._says is not None and (more := os.read(self._says, 65536)):
                self._said += more

    def _note(self, connection: psycopg.Connection) -> None:
        """Notes what has arrived, as the sender would have; what is noted already stays as it is."""
        for line in self._said.splitlines():
            number, _, address = line.decode().partition(" ")
            connection.execute("select tds.end_sending(%s, %s, null)", [int(number), address])

    def _forget(self) -> None:
        if self._says is not None:
            os.close(self._says)
        self._process, self._says, self._said = None, None, b""

    def _start(self) -> None:
        self._told = True
        self._started_at = time.monotonic()
        self._says, its_end = os.pipe()
        # Neither of the two ever waits for the other.
        os.set_blocking(self._says, False)
        os.set_blocking(its_end, False)
        try:
            # A session of its own: what the starter's group is sent (Ctrl-C, a kill) does not end it midway.
            self._process = subprocess.Popen(
                python("tds_db.alert_sender"),
                stdin=subprocess.DEVNULL,
                stdout=its_end,
                start_new_session=True,
                env={**os.environ, "TDS_DATABASE_URL": self._dsn},
            )
        finally:
            os.close(its_end)


class Watch:
    """Sends messages as they come, and looks at the health if nobody else does; `run` returns after `stop`.

    Args:
        dsn: libpq connection string of the database.
        settings: where messages go.
    """

    def __init__(self, dsn: str, settings: AlertSettings) -> None:
        self._dsn = dsn
        self._sending = Sending(dsn, settings)
        self._stopping = threading.Event()
        self._next_health = 0.0

    def stop(self) -> None:
        """Ends `run`."""
        self._stopping.set()

    def run(self) -> None:
        """Goes on until stopped; while the database is away it is tried again."""
        pause = TURN_SECONDS
        while not self._stopping.is_set():
            try:
                with connect(
                    "alerts", self._dsn, answer_seconds=ANSWER_SECONDS, autocommit=True
                ) as connection:
                    while not self._stopping.is_set():
                        self._turn(connection)
                        pause = TURN_SECONDS
                        self._stopping.wait(TURN_SECONDS)
            except psycopg.Error as error:
                log.error("%s %s: %s", type(error).__name__, error.sqlstate or "", str(error).strip())
                self._stopping.wait(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE)
        self._sending.wait(STOP_SECONDS)

    def _turn(self, connection: psycopg.Connection) -> None:
        if time.monotonic() >= self._next_health:
            self._next_health = time.monotonic() + HEALTH_SECONDS
            row = connection.execute("select tds.look_if_overdue()").fetchone()
            if row and row[0]:
                log.warning("nobody runs the jobs health and heal: this program looks at the health itself")
        self._sending.turn(connection)
