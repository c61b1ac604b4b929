"""Where the documents' commands are run: a sandbox, a database that was filled from it, and `tds up` on both."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import httpx
import psycopg
import pytest
from click.testing import CliRunner
from psycopg import pq

from tds_cli.main import main
from tds_sandbox.limits import LimitSettings
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running, running
from tds_sandbox.webhooks import WebhookSettings
from tests.db.servers import Database, TestServer
from tests.docs.blocks import Block, Typed, is_endless, mismatch, read_call, statements, typed
from tests.journeys.programs import TDS, Program, environment, free_port
from tests.journeys.waiting import PATIENCE, wait_until
from tests.poller.conftest import midnight_just_past

SECRET = "trainingsecret1"
QUOTED = re.compile(r"""'[^']*'|"[^"$`\\]*\"""")
PLAIN = re.compile(r"tds [\w ./:,=+-]*")
"""A command that a shell would hand on as it stands, but for what it has in quotes."""
VERDICTS = ("tds health", "tds alerts list")
"""What these find is told by their exit code, too."""
KEPT = ("KEY", "RUN", "WORKERS", "BODY", "SIGNATURE")
"""Variables of a shell that the next block of a page has, too."""


class World:
    """One database, one sandbox, all programs."""

    def __init__(
        self, server: TestServer, database: Database, sandbox: Running, receiver: int, directory: Path
    ) -> None:
        self._stack = ExitStack()
        self._server = server
        self.database = database
        self.directory = directory
        self.sandbox = sandbox
        self.ran: list[str] = []
        """What was run so far, for the list at the end."""
        self.variables: dict[str, str] = {}
        """Of psql: `:run` in a statement."""
        self._ports = {"8000": str(receiver), "8900": sandbox.url.rpartition(":")[2]}
        self._acts: Mapping[str, Callable[[], object]] = {
            "a minute passes": self._a_minute,
            "a second server": self._second_server,
            "somebody leaves a transaction open on a product that changes": self._leave_open,
            "the day's calls are used up": self._no_calls,
            "Zoho gives a larger plan": lambda: self._control(
                "limits", {"per_day": 10_000, "per_minute": None}
            ),
            "somebody revokes the refresh token": lambda: self._control(
                "oauth", {"revoked": True, "revoke_tokens": True}
            ),
            "the refresh token is good again": lambda: self._control("oauth", {"revoked": False}),
        }
        self._second = ""
        self._open: list[psycopg.Connection] = []

    def run(self, block: Block, *, keep: bool) -> None:
        """Runs a block.

        Args:
            block: any that is not only read.
            keep: whether what its statements did stays.

        Raises:
            AssertionError: something of it ended otherwise than the page says.
        """
        if block.language == "act":
            assert block.text in self._acts, f"{block.where}: nobody knows how to do this: {block.text}"
            self._acts[block.text]()
        elif block.language == "sql":
            self.run_sql(block.where, block.text, keep=keep, example="example numbers" in block.marks)
        elif "until" in block.marks:
            last: list[str] = []

            def shown() -> bool:
                try:
                    self._console(block)
                except AssertionError as error:
                    last[:] = [str(error)]
                    return False
                return True

            try:
                wait_until(shown, f"{block.where} shows what it should", PATIENCE)
            except AssertionError as error:
                raise AssertionError(f"{error}: {''.join(last)}") from None
        else:
            self._console(block)

    def _console(self, block: Block) -> None:
        for each in typed(block):
            self.ran.append(each.command)
            calls = each.words
            if any(is_endless(words) for words in calls):
                for words in calls:
                    read_call(words)
            else:
                self._compare(block, each, *self._done(block, each))

    def _done(self, block: Block, each: Typed) -> tuple[int, str]:
        """Runs a command, in this process if it is one of `tds` as it stands; where the rest is a pipe, a shell does that."""
        ours, bar, rest = _cut(each.command)
        if not PLAIN.fullmatch(QUOTED.sub("", ours)):
            return self._in_shell(block, each.command)
        code, printed, told = self._in_process([self._here(word) for word in each.words[0]])
        if not bar:
            return code, printed + told
        code, shown = self._in_shell(block, rest, printed)
        return code, told + shown

    def _in_process(self, words: Sequence[str]) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `tds`, those of what it starts (psql) among them."""
        with TemporaryFile() as out, TemporaryFile() as err, ExitStack() as stack:
            for number, file in ((1, out), (2, err)):
                kept = os.dup(number)
                stack.callback(os.close, kept)
                stack.callback(os.dup2, kept, number)
                os.dup2(file.fileno(), number)
            done = CliRunner().invoke(main, words, catch_exceptions=False)
            started = []
            for file in (out, err):
                file.seek(0)
                started.append(file.read().decode())
        return done.exit_code, done.stdout + started[0], done.stderr + started[1]

    def _in_shell(self, block: Block, command: str, given: str = "") -> tuple[int, str]:
        kept = self.directory / f"{Path(block.page).name}.sh"
        kept.touch()
        keep = f"declare -p {' '.join(KEPT)} > {kept} 2> /dev/null; exit $code"
        try:
            done = subprocess.run(
                ["bash", "-c", f"exec 2>&1; . {kept}\n{self._here(command)}\ncode=$?; {keep}"],
                text=True,
                cwd=self.directory,
                input=given,
                stdout=subprocess.PIPE,
                check=False,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{block.where} does not end: {command}: {error.output!r}") from error
        return done.returncode, done.stdout

    def _compare(self, block: Block, each: Typed, code: int, printed: str) -> None:
        for told, here in self._ports.items():
            printed = printed.replace(f":{here}", f":{told}")
        told = f"{block.where}: {each.command}:"
        # how all stands is no failure of the command, unless the page says which it is
        is_verdict = each.command.startswith(VERDICTS) and each.exit_code == 0 and code in (1, 2, 4)
        assert code == each.exit_code or is_verdict, (
            f"{told} exit code {code}, not {each.exit_code}\n{printed}"
        )
        missing = mismatch(each.shown, printed)
        assert missing is None, f"{told} shows no\n{missing}\nbut\n{printed}"

    def close(self) -> None:
        """Ends what acts have left open."""
        self._stack.close()
        for conn in self._open:
            conn.close()

    def _here(self, text: str) -> str:
        text = text.replace("TDS_DATA_DIR=$PWD/second", f"TDS_DATABASE_URL={shlex.quote(self._second)}")
        for told, here in self._ports.items():
            text = re.sub(
                rf"(?<=localhost:){told}\b|(?<=127\.0\.0\.1:){told}\b|(?<=--port ){told}\b", here, text
            )
        return text

    def run_sql(self, where: str, text: str, *, keep: bool, example: bool = False) -> None:
        """Runs statements: all in one transaction, which is taken back unless `keep`; a CALL, which commits, outside of it.

        Args:
            where: for the message.
            text: the statements; `:name` is one of `variables`.
            keep: whether what they did stays.
            example: whether TDS may answer that something named is not there (an SQLSTATE of its own).

        Raises:
            AssertionError: a statement failed.
        """
        with self.database.connect(autocommit=True) as conn:
            conn.execute("set statement_timeout = '60s'; set lock_timeout = '20s'")
            for statement in statements(text):
                self.ran.append(" ".join(statement.split()))
                full = re.sub(r"(?<![:\w]):([a-z]\w*)", lambda found: self.variables[found[1]], statement)
                if (
                    conn.info.transaction_status == pq.TransactionStatus.IDLE
                    and not keep
                    and not _commits(full)
                ):
                    conn.execute("begin")
                if _commits(full) and conn.info.transaction_status != pq.TransactionStatus.IDLE:
                    conn.execute("rollback")
                try:
                    if conn.info.transaction_status == pq.TransactionStatus.INTRANS:
                        conn.execute("savepoint statement")
                    conn.execute(full.encode())
                except psycopg.Error as error:
                    if not (example and (error.sqlstate or "").startswith("ZB")):
                        raise AssertionError(f"{where}: {statement}\n{error.sqlstate} {error}") from error
                    if conn.info.transaction_status == pq.TransactionStatus.INERROR:
                        conn.execute("rollback to savepoint statement")
            if conn.info.transaction_status != pq.TransactionStatus.IDLE:
                conn.execute("rollback")

    def _sql(self, query: str) -> None:
        with self.database.connect(autocommit=True) as conn:
            conn.execute(query.encode())

    def _control(self, page: str, body: object) -> None:
        httpx.post(f"{self.sandbox.url}/_sandbox/{page}", json=body).raise_for_status()

    def _no_calls(self) -> None:
        self._control("limits", {"per_day": 1, "per_minute": None})
        self._sql("select tds.request_pull('customers', '{}', '748139205')")

    def _second_server(self) -> None:
        # with the schema already: that a restore makes it is tests/db/test_backup.py's
        self._second = self._stack.enter_context(self._server.database()).conninfo

    def _leave_open(self) -> None:
        conn = self.database.connect(application_name="somebody at a console")
        conn.execute("select from zoho.products for update")
        self._open.append(conn)
        self._control("edit", {"entities": ["items"], "count": 3, "kind": "rate"})

    def _a_minute(self) -> None:
        """For those who have not told that they work meanwhile: nobody of the test waits for it."""
        self._sql("update tds.program set beat_at = beat_at - interval '70 seconds' where kind = 'worker'")


def _cut(command: str) -> tuple[str, str, str]:
    """What comes before the first bar that is not within quotes, the bar, and the rest, without a comment."""
    hidden = QUOTED.sub(lambda found: "x" * len(found[0]), command)
    if comment := re.search(r"\s+#\s", hidden):
        command, hidden = command[: comment.start()], hidden[: comment.start()]
    at = hidden.find("|")
    return (command, "", "") if at < 0 else (command[:at], "|", command[at + 1 :])


def _commits(statement: str) -> bool:
    return statement.lower().startswith(("call ", "vacuum", "begin", "commit"))


@contextmanager
def scratch(server: TestServer) -> Iterator[str]:
    """A database that a backup is verified in, with the schema already: its making is tests/db/test_backup.py's."""
    with server.database() as fresh:
        yield fresh.conninfo


@contextmanager
def world(server: TestServer, database: Database, directory: Path) -> Iterator[World]:
    """A world as docs/training.md makes it, with its environment for this process and those that it starts."""
    organisation = Organisation(
        items=100, contacts=12, invoices=10, bills=4, customerpayments=5, pricebooks=3
    )
    limits = LimitSettings(per_minute=None, per_day=10_000, concurrency=None, midnight=midnight_just_past())
    port = free_port()
    hooks = WebhookSettings(url=f"http://127.0.0.1:{port}", secret=SECRET)
    with (
        running(organisation, limits=limits, webhooks=hooks) as sandbox,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in [name for name in os.environ if name.startswith(("TDS_", "ZOHO_", "NO_COLOR", "PG"))]:
            patch.delenv(name)
        ours = {
            "TDS_DATABASE_URL": database.conninfo,
            "TDS_DATA_DIR": str(directory / "data"),
            "ZOHO_WEBHOOK_SECRET": SECRET,
            # a day is over in two minutes and a half; who waits longer than a second gives up, as others would for a day
            "ZOHO_MINUTE_SECONDS": "0.1",
            "ZOHO_LONGEST_WAIT": "1",
            "COLUMNS": "400",
            "TZ": "UTC",
            "PSQL_PAGER": "",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **sandbox.environment,
        }
        for name, value in ours.items():
            patch.setenv(name, value)
        patch.chdir(directory)
        # a day of calls and of people's hands passes here within minutes
        patch.setattr("tds_sandbox.oauth.REFRESHES", 1000)
        sandbox.sandbox.oauth.lives *= 600
        patch.setattr("tds_db.backups.scratch", lambda _: scratch(server))
        program = Program("up", [*TDS, "up", "--port", str(port)], environment(**ours), directory)
        program.start()
        try:
            wait_until(lambda: program.said.count("\n") > 5 or not program.is_running, "tds up is up")
            done = CliRunner().invoke(main, ["migrate"], catch_exceptions=False)
            assert done.exit_code == 0, done.output
            with database.connect(autocommit=True) as conn:
                conn.execute("call tds.run_job('health')")
                # people wait for a minute there
                conn.execute("update tds.setting set value = '1' where name = 'second_look_seconds'")
            made = World(server, database, sandbox, port, directory)
            with closing(made):
                yield made
        except BaseException as error:
            error.add_note(program.last_words)
            raise
        finally:
            if program.is_running:
                program.stop()
