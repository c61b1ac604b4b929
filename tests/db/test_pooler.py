"""Behind PgBouncer: in transaction mode the receiver works and all else says what it needs, in session mode all works."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tds_cli.main import main
from tds_db.connect import Pooling, connect, pooling
from tds_db.errors import PoolerError
from tds_receiver import inbox as inbox_module
from tds_receiver.settings import ReceiverSettings
from tests.db.servers import Database
from tests.journeys.programs import WORKER, Program, environment, free_port
from tests.journeys.waiting import PATIENCE, wait_until
from tests.receiver.conftest import serving
from tests.receiver.test_serve import Served

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")
REFUSED = "leads to a pooler that shares sessions"
SILENT = "ignore_startup_parameters = options,extra_float_digits"
HOSTILE = {
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "synchronous_commit": "off",
    "statement_timeout": "300ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "100ms",
    "search_path": "nowhere",
    "datestyle": "German",
}
WEBHOOKS = 40


class Bouncer:
    """A PgBouncer before a database."""

    def __init__(self, url: str, command: list[str], user: str | None) -> None:
        self.url, self._command, self._user = url, command, user

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL, user=self._user)
        wait_until(self._answers, "PgBouncer answers")

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """Kills it."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def pooler(database: Database, mode: str, more: str = "") -> Iterator[Bouncer]:
    """A PgBouncer before the database."""
    at = {key: str(value) for key, value in conninfo_to_dict(database.conninfo).items()}
    password = (
        Path(at["passfile"]).read_text().strip().rpartition(":")[2]
        if "passfile" in at
        else at.get("password", "")
    )
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        settings = Path(place) / "pgbouncer.ini"
        settings.write_text(
            "[databases]\n"
            f"{at['dbname']} = host={at['host']} port={at.get('port', '5432')} user={at['user']}"
            f" password='{password}'\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {mode}\nserver_login_retry = 0.1\n{more}\n"
        )
        # it does not run as root; whose the server's socket is may enter there
        user = None if os.geteuid() else Path(at["host"]).owner()
        if user:
            shutil.chown(place, user)
            shutil.chown(settings, user)
        assert PGBOUNCER is not None
        url = f"postgresql://{at['user']}@127.0.0.1:{port}/{at['dbname']}"
        bouncer = Bouncer(url, [PGBOUNCER, "-q", str(settings)], user)
        bouncer.start()
        try:
            yield bouncer
        finally:
            bouncer.stop()


@contextmanager
def set_to(database: Database, settings: Mapping[str, str]) -> Iterator[None]:
    """The database with these defaults."""
    name = sql.Identifier(str(conninfo_to_dict(database.conninfo)["dbname"]))
    with database.connect(autocommit=True) as conn:
        for setting, value in settings.items():
            conn.execute(
                sql.SQL("alter database {} set {} = {}").format(
                    name, sql.Identifier(setting), sql.Literal(value)
                )
            )
        yield
        conn.execute(sql.SQL("alter database {} reset all").format(name))
        conn.execute(sql.SQL("alter database {} set tds.test_database = 'on'").format(name))


def tds(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Runs the command; its exit code, what it prints and what it says."""
    none = dict.fromkeys(("TDS_DATABASE_URL", "TDS_SESSION_DATABASE_URL", "TDS_ENV_FILE"), "")
    done = CliRunner().invoke(main, arguments, env=none | variables)
    return done.exit_code, done.stdout, done.stderr


def post(client: httpx.Client, number: int) -> int:
    """One webhook; its answer."""
    record = {"item": {"item_id": str(number), "name": f"of {number}"}}
    return int(client.post("/api/zoho/webhooks/products", json=record).status_code)


def rows(database: Database) -> int:
    """How many products there are."""
    with database.connect() as conn:
        return int(next(iter(conn.execute("select count(*) from zoho.products")))[0])


@pytest.mark.parametrize(
    ("mode", "more", "found"),
    [
        ("transaction", "", Pooling.TRANSACTION),
        ("transaction", SILENT, Pooling.TRANSACTION),
        ("session", "", Pooling.SESSION),
        ("session", SILENT, Pooling.SESSION),
        ("statement", "", Pooling.STATEMENT),
    ],
)
def test_what_stands_between_is_known_and_each_session_is_as_it_has_to_be(
    database: Database, mode: str, more: str, found: Pooling
) -> None:
    assert pooling(database.conninfo) is Pooling.NONE
    with set_to(database, HOSTILE | {"statement_timeout": "1min"}), pooler(database, mode, more) as bouncer:
        assert pooling(bouncer.url) is found
        if found is not Pooling.SESSION:
            with pytest.raises(PoolerError):
                connect("worker", bouncer.url)
            return
        with connect("worker", bouncer.url, settings={"lock_timeout": "7s"}, autocommit=True) as conn:
            asked = [
                "search_path",
                "lock_timeout",
                "statement_timeout",
                "default_transaction_isolation",
                "DateStyle",
            ]
            told = [
                next(iter(conn.execute(sql.SQL("show {}").format(sql.Identifier(name)))))[0] for name in asked
            ]
            assert told == ["public", "7s", "0", "read committed", "ISO, DMY"]
            conn.execute("select tds.receive('products', '{}', '1')")


@pytest.mark.parametrize("more", ["", SILENT])
def test_in_transaction_mode_whatever_needs_a_session_says_so(database: Database, more: str) -> None:
    with pooler(database, "transaction", more) as bouncer:
        for command in (
            ["work"],
            ["process"],
            ["status"],
            ["db", "upgrade"],
            ["backup"],
            ["serve", "--workers", "1"],
        ):
            code, _, said = tds(*command, TDS_DATABASE_URL=bouncer.url)
            assert (code, f"TDS_DATABASE_URL {REFUSED}" in said) == (1, True), (command, said)
            assert "TDS_SESSION_DATABASE_URL=postgresql://" in said
            assert "pool_mode = session" in said
            code, _, said = tds(*command, TDS_DATABASE_URL="", TDS_SESSION_DATABASE_URL=bouncer.url)
            assert (code, f"TDS_SESSION_DATABASE_URL {REFUSED}" in said) == (1, True), (command, said)
    with pooler(database, "statement", more) as bouncer:
        code, _, said = tds("serve", "--port", "0", TDS_DATABASE_URL=bouncer.url)
        assert (code, REFUSED in said, "statement mode" in said) == (1, True, True)


def test_the_doctor_says_what_stands_between(
    database: Database, empty_database: Database, tmp_path: Path
) -> None:
    def doctor(**variables: str) -> list[str]:
        _, told, _ = tds("doctor", **variables)
        return [
            " ".join(line.split()) for line in told.splitlines() if "pooler" in line or "different" in line
        ]

    assert doctor(TDS_DATABASE_URL=database.conninfo) == [
        "ok pooler TDS_DATABASE_URL leads to PostgreSQL itself"
    ]
    with pooler(database, "session") as bouncer:
        assert doctor(TDS_DATABASE_URL=bouncer.url) == [
            "ok pooler TDS_DATABASE_URL leads to a pooler in session mode"
        ]
    with pooler(database, "transaction") as bouncer:
        [told, *_] = doctor(TDS_DATABASE_URL=bouncer.url)
        assert told.startswith(f"problem pooler TDS_DATABASE_URL {REFUSED}")
        assert doctor(TDS_DATABASE_URL=bouncer.url, TDS_SESSION_DATABASE_URL=database.conninfo) == [
            "ok pooler TDS_DATABASE_URL leads to a pooler in transaction mode",
            "ok pooler TDS_SESSION_DATABASE_URL leads to PostgreSQL itself",
        ]
        elsewhere = {"TDS_DATABASE_URL": bouncer.url, "TDS_SESSION_DATABASE_URL": empty_database.conninfo}
        assert "lead to different databases" in doctor(**elsewhere)[-1]
        code, _, said = tds("up", TDS_DATA_DIR=str(tmp_path), **elsewhere)
        assert (code, "lead to different databases" in said) == (1, True)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_every_webhook_is_taken_and_a_worker_with_a_session_writes_it(
    database: Database, tmp_path: Path, mode: str
) -> None:
    """As programs, on a database whose settings are against us, with half of the webhooks after PgBouncer was killed."""
    with set_to(database, HOSTILE), pooler(database, mode) as bouncer:
        served = Served(bouncer.url, tmp_path)
        # behind a session pooler it needs nothing more
        session = {"TDS_SESSION_DATABASE_URL": database.conninfo} if mode == "transaction" else {}
        worker = Program("work", WORKER, environment(TDS_DATABASE_URL=bouncer.url, **session), tmp_path)
        worker.start()
        try:
            with (
                httpx.Client(base_url=served.url, verify=False, trust_env=False, timeout=PATIENCE) as client,
                ThreadPoolExecutor(8) as threads,
            ):
                half = WEBHOOKS // 2
                assert [*threads.map(lambda n: post(client, n), range(half))] == [202] * half
                bouncer.stop()
                assert post(client, half) == 503
                bouncer.start()
                wait_until(lambda: post(client, half) == 202, "the receiver is back")
                assert [*threads.map(lambda n: post(client, n), range(half, WEBHOOKS))] == [202] * half
                wait_until(lambda: rows(database) == WEBHOOKS, "all rows are written")
                ready = client.get("/readyz")
                assert ready.status_code == 200, ready.text
        finally:
            served.stop()
            worker.stop()
        with database.connect() as conn:
            kinds = conn.execute(
                "select kind from tds.program where stopped_at is not null order by kind"
            ).fetchall()
            assert kinds == [("receiver",), ("worker",)], "each has told that it was there, and that it stops"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All waiting takes a quarter of what it does."""
    for name in ("ANSWER_SECONDS", "COMMIT_SECONDS", "TRY_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(inbox_module, name, getattr(inbox_module, name) / 4)


def test_a_pooler_whose_connections_die_or_stall_costs_no_event(database: Database, quick: None) -> None:
    settings = ReceiverSettings.model_validate({"organization_id": "1"})
    with (
        pooler(database, "transaction") as bouncer,
        serving(bouncer.url, settings) as client,
        database.connect(autocommit=True) as conn,
    ):
        acknowledged = set()

        def send(number: int) -> bool:
            if taken := post(client, number) == 202:
                acknowledged.add(str(number))
            return taken

        wait_until(lambda: send(1), "the first is taken")
        # what PgBouncer holds towards the server dies
        conn.execute(
            """select pg_terminate_backend(pid) from pg_stat_activity
                where application_name like 'tds/receiver/%' and pid <> pg_backend_pid()"""
        )
        wait_until(lambda: send(2), "another is taken")
        # a server's process that stalls without closing: it is PgBouncer that holds it
        bouncer.signal(signal.SIGSTOP)
        try:
            assert not send(3), "it is answered, and not acknowledged"
        finally:
            bouncer.signal(signal.SIGCONT)
        wait_until(lambda: send(4), "it is back")
        stored = {n for (n,) in conn.execute("select body::jsonb #>> '{item,item_id}' from tds.inbox")}
        assert acknowledged <= stored


def test_no_setting_of_ours_stays_in_a_shared_session(database: Database) -> None:
    settings = ReceiverSettings.model_validate({"organization_id": "1"})
    with (
        pooler(database, "transaction", "default_pool_size = 1") as bouncer,
        serving(bouncer.url, settings) as client,
    ):
        wait_until(lambda: post(client, 1) == 202, "it is taken")
        with psycopg.connect(bouncer.url, autocommit=True) as other:
            asked: dict[str, Any] = {}
            for name in ("search_path", "statement_timeout", "lock_timeout", "tds.organization_id"):
                # null: the pooler has opened another session meanwhile
                query = "select coalesce(current_setting(%s, true), '')"
                asked[name] = next(iter(other.execute(query, [name])))[0]
        assert asked == {
            "search_path": '"$user", public',
            "statement_timeout": "0",
            "lock_timeout": "0",
            "tds.organization_id": "",
        }
