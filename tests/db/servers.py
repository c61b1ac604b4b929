"""The PostgreSQL servers that the tests run on: legs of the same suite, started when the first test asks.

pg18    the embedded binaries, always
pg15    Debian's packages, when installed with pg_cron, pgTAP and plpgsql_check
docker  an image with the pgmq extension, when a Docker engine answers
given   the server of TDS_TEST_DATABASE_URL, when set: a superuser, or a role with CREATEDB, CREATEROLE and
        `grant set on parameter tds.test_database`

Local servers of a run live below one directory. A watchdog process stops them and removes it as soon as this
process is gone, however it went: it waits for the end of a pipe, which the kernel closes.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tds_db import embedded
from tds_db.connect import escape_credentials
from tds_db.upgrade import upgrade
from tests.db.reused import Content, Copy

DEBIAN = Path("/usr/lib/postgresql/15/bin")
DEBIAN_EXTENSIONS = Path("/usr/share/postgresql/15/extension")
DOCKER_IMAGE = "ghcr.io/pgmq/pg18-pgmq:v1.10.0"
CRON_DATABASE = "tds_cron"
TEMPLATE = "tds_template"
PGTAP_TEMPLATE = "tds_template_pgtap"

# Nothing of a test server outlives its run, so it need not survive a power cut.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "128MB",
    "logging_collector": "off",
}
# Legs on which a test hands its database on: there we are superuser, and what is in it is all tds_owner's.
REUSED = ("pg18", "pg15")
# Background workers, because pg_cron would otherwise log in by TCP.
CRON = {
    "shared_preload_libraries": "'pg_cron'",
    "cron.database_name": f"'{CRON_DATABASE}'",
    "cron.use_background_workers": "on",
    "max_worker_processes": "20",
}


@dataclass(frozen=True)
class Database:
    """A fresh, upgraded database, marked as a test's."""

    leg: str
    conninfo: str
    bin_dir: Path

    def dsn(self, **overrides: Any) -> str:
        """The connection string with other parameters: `dsn(user="x", password="y")`."""
        return make_conninfo(self.conninfo, **overrides)

    def connect(self, autocommit: bool = False, role: str | None = None, **options: Any) -> Connection:
        """Connects as the server's superuser, or acting as `role`. The caller closes it."""
        conn = psycopg.connect(self.conninfo, autocommit=True, **options)
        if role is not None:
            conn.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        conn.autocommit = autocommit
        return conn

    @property
    def environment(self) -> dict[str, str]:
        """Environment for programs of libpq, psql and pg_dump among them."""
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
        names |= {"passfile": "PGPASSFILE", "password": "PGPASSWORD"}
        given = conninfo_to_dict(self.conninfo)
        return {**os.environ, **{names[key]: str(value) for key, value in given.items() if key in names}}


@dataclass(frozen=True)
class Reused(Database):
    """One that is as fresh, though another test may have had it before."""

    session: Connection
    """Its session, in autocommit, which has planned what it executed for other tests; not to be closed."""


Furnish = Callable[[Database], object]


class TestServer:
    """A server that hands out databases made from one upgraded template."""

    __test__ = False

    def __init__(self, leg: str, conninfo: str, bin_dir: Path) -> None:
        self.leg = leg
        self.conninfo = conninfo
        self.bin_dir = bin_dir
        self._prefix = f"tds_test_{os.getpid()}"
        self._numbers = itertools.count(1)
        self._templates: dict[str, str] = {}
        self._contents: dict[str, Content] = {}
        self._spare: dict[str, Copy] = {}
        self._admin: Connection | None = None

    @property
    def admin(self) -> Connection:
        """The session that makes and drops databases, in autocommit; a new one cost each test twice 6 ms of CPU."""
        if self._admin is None or self._admin.closed:
            self._admin = psycopg.connect(self.conninfo, autocommit=True)
        return self._admin

    @contextmanager
    def database(self, template: str = TEMPLATE, furnish: Furnish | None = None) -> Iterator[Database]:
        """A fresh copy of a template, dropped at the end together with its sessions.

        Args:
            template: the template's name.
            furnish: what is done once to an upgraded database, for it to become the template of that name.
        """
        source = self._template(template, furnish or FURNISHED[template])
        name = self._next_name()
        try:
            self._copy(name, source)
            yield self.named(name)
        finally:
            self.drop(name)

    @contextmanager
    def reused_database(self) -> Iterator[Reused]:
        """A copy of the plain template that may have been another test's, and is what a fresh one is."""
        source = self._template(TEMPLATE, FURNISHED[TEMPLATE])
        copy = self._spare.pop(source, None) or self._new_copy(source)
        kept = False
        try:
            database = self.named(copy.name)
            yield Reused(**vars(database), session=copy.conn)
            kept = source not in self._spare and copy.put_back()
        finally:
            if kept:
                self._spare[source] = copy
            else:
                copy.conn.close()
                self.drop(copy.name)

    @contextmanager
    def empty_database(self) -> Iterator[Database]:
        """A database that nothing has been done to."""
        name = self._next_name()
        self._create(name, "template1")
        try:
            yield self.named(name)
        finally:
            self.drop(name)

    def named(self, name: str) -> Database:
        """A database of this server by its name."""
        return Database(self.leg, make_conninfo(self.conninfo, dbname=name), self.bin_dir)

    def drop(self, name: str) -> None:
        """Drops a database and ends its sessions."""
        self.admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def cron_database(self) -> Database:
        """The one database in which pg_cron runs jobs (pg15 only), upgraded, with the extension."""
        database = self.named(CRON_DATABASE)
        if CRON_DATABASE not in self._templates:
            with psycopg.connect(database.conninfo, autocommit=True) as conn:
                conn.execute("create extension if not exists pg_cron")
                conn.execute(f"alter database {CRON_DATABASE} set tds.test_database = 'on'")
            upgrade(database.conninfo)
            self._templates[CRON_DATABASE] = CRON_DATABASE
        return database

    def prepare(self) -> None:
        """Makes the template now, and not in the first test."""
        self._template(TEMPLATE, FURNISHED[TEMPLATE])

    def let_go(self) -> None:
        """Ends its session."""
        if self._admin is not None:
            self._admin.close()

    def close(self) -> None:
        """Drops the templates, and the copy that is kept."""
        for copy in self._spare.values():
            copy.conn.close()
            self.drop(copy.name)
        for name in self._templates.values():
            self.drop(name)

    def _template(self, kind: str, furnish: Furnish) -> str:
        # Of today: yesterday's has one partition less than a database that is made today.
        made = f"{kind}_{datetime.now(UTC):%Y%m%d}"
        if made not in self._templates:
            name = f"{self._prefix}_{made}"
            source = "template1" if kind == TEMPLATE else self._template(TEMPLATE, FURNISHED[TEMPLATE])
            self._copy(name, source)
            try:
                furnish(self.named(name))
            except BaseException:  # a timeout among them: the next test makes it anew
                self.drop(name)
                raise
            self._templates[made] = name
        return self._templates[made]

    def _next_name(self) -> str:
        return f"{self._prefix}_{next(self._numbers)}"

    def _new_copy(self, source: str) -> Copy:
        name = self._next_name()
        try:
            self._copy(name, source)
            copy = Copy(name, self.named(name).conninfo, self._contents.get(source))
        except BaseException:
            self.drop(name)
            raise
        self._contents[source] = copy.content
        return copy

    def _copy(self, name: str, source: str) -> None:
        self._create(name, source)
        mark = sql.SQL("alter database {} set tds.test_database = 'on'")
        self.admin.execute(mark.format(sql.Identifier(name)))

    def _create(self, name: str, template: str) -> None:
        self.admin.execute(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )


def log_in_quickly(conninfo: str) -> None:
    """Stores this login's password with one round of hashing for 4,096, which cost every connection 2 ms of CPU.

    Nobody else knows the server, nor for long. The form is RFC 5803's, as PostgreSQL keeps it.
    """
    with psycopg.connect(conninfo, autocommit=True) as conn:
        salt = os.urandom(16)
        key = hashlib.pbkdf2_hmac("sha256", conn.info.password.encode(), salt, 1)
        stored = hashlib.sha256(hmac.digest(key, b"Client Key", "sha256")).digest()
        parts = [
            b64encode(part).decode() for part in (salt, stored, hmac.digest(key, b"Server Key", "sha256"))
        ]
        verifier = "SCRAM-SHA-256$1:{}${}:{}".format(*parts)
        conn.execute(sql.SQL("alter role current_user password {}").format(verifier))


class PrivateServer:
    """A server of one test's own, with fsync on, to be killed and started again."""

    def __init__(
        self, data_dir: Path, bin_dir: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.bin_dir = bin_dir
        self.settings = {"logging_collector": "off", "shared_buffers": "64MB", **(settings or {})}
        self.start()

    def start(self) -> None:
        """Starts it, or finds it running."""
        self.server = embedded.ensure_running(self.data_dir, bin_dir=self.bin_dir, settings=self.settings)

    def kill(self) -> int:
        """SIGKILLs the postmaster and returns its pid. Its children notice in their own time."""
        pid = int((self.data_dir / "pgdata" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self) -> None:
        """Stops it in order."""
        embedded.stop(self.data_dir)

    def standby(self, name: str = "standby") -> PrivateServer:
        """Another server beside it that follows it, and is asked for by that name as a synchronous one."""
        data_dir = self.data_dir.with_name(f"{self.data_dir.name}-{name}")
        owner = (self.data_dir / "pgdata").stat()
        data_dir.mkdir()
        os.chown(data_dir, owner.st_uid, owner.st_gid)
        shutil.copy2(self.data_dir / "pgpass", data_dir)
        source = f"host={self.server.socket_dir} port=5432 application_name={name}"
        options = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", f"--dbname={source}"]
        subprocess.run(
            [self.server.bin_dir / "pg_basebackup", "--pgdata", data_dir / "pgdata", *options],
            env={**os.environ, "PGUSER": self.server.superuser, "PGPASSWORD": self.password},
            user=owner.st_uid,
            group=owner.st_gid,
            check=True,
        )
        return PrivateServer(data_dir, self.bin_dir, self.settings)

    @property
    def password(self) -> str:
        """The superuser's."""
        return (self.data_dir / "pgpass").read_text().strip().rpartition(":")[2]

    def promote(self) -> None:
        """Makes a standby one that is written to."""
        with psycopg.connect(self.server.conninfo(), autocommit=True) as conn:
            conn.execute("select pg_promote()")

    def database(self, name: str = "tds") -> Database:
        """Its database, created and upgraded if need be."""
        database = Database("private", self.server.conninfo(name), self.server.bin_dir)
        with psycopg.connect(self.server.conninfo(), autocommit=True) as conn:
            if conn.execute("select from pg_database where datname = %s", [name]).fetchone() is None:
                conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
                conn.execute(
                    sql.SQL("alter database {} set tds.test_database = 'on'").format(sql.Identifier(name))
                )
                upgrade(database.conninfo)
                no_job_is_due(database)
        return database


def _upgraded(database: Database) -> None:
    upgrade(database.conninfo)
    no_job_is_due(database)


def _with_pgtap(database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        conn.execute("create extension pgtap; create extension plpgsql_check")


def no_job_is_due(database: Database) -> None:
    """Whether a worker finds a job to do must not depend on the minute: a test that wants one due says since when."""
    with database.connect(autocommit=True) as conn:
        conn.execute("update tds.job set since = '2100-01-01'")


FURNISHED: Mapping[str, Furnish] = {TEMPLATE: _upgraded, PGTAP_TEMPLATE: _with_pgtap}


class Servers:
    """All servers of this process."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tds-test-", dir=_place()))
        self.directory.chmod(0o711)
        self._started: dict[str, TestServer] = {}
        self._at_end: list[Callable[[], object]] = []
        self._numbers = itertools.count(1)
        self._watchdog = subprocess.Popen(
            [sys.executable, "-m", "tests.db.servers", str(self.directory)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def get(self, leg: str) -> TestServer:
        """The server of a leg, started now if it is the first time."""
        if leg not in self._started:
            self._started[leg] = {
                "pg18": self._pg18,
                "pg15": self._pg15,
                "docker": self._docker,
                "given": self._given,
            }[leg]()
        return self._started[leg]

    def private(
        self, leg: str = "pg18", settings: Mapping[str, str] | None = None, *, upgraded: bool = False
    ) -> PrivateServer:
        """A server of one's own with the binaries of a local leg, stopped at the end of the run at the latest.

        Args:
            leg: whose binaries.
            settings: of the server.
            upgraded: a copy of one whose database `tds` is upgraded, and not one that is new.
        """
        data_dir = self.directory / f"private{next(self._numbers)}"
        if upgraded:
            # shutil would not keep the owner, who is another one if we are root
            subprocess.run(["cp", "-a", self._upgraded(leg), data_dir], check=True)
        return PrivateServer(data_dir, _binaries(leg), settings)

    def _upgraded(self, leg: str) -> Path:
        made = self.directory / f"{leg}_{datetime.now(UTC):%Y%m%d}"
        if not made.exists():
            unfinished = made.with_suffix(".unfinished")
            server = PrivateServer(unfinished, _binaries(leg), FAST)
            server.database()
            log_in_quickly(server.server.conninfo())
            server.stop()
            unfinished.rename(made)
        return made

    def close(self) -> None:
        """Stops everything; the watchdog does the local servers."""
        for act in reversed(self._at_end):
            act()
        for server in self._started.values():
            server.let_go()
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait()

    def _pg18(self) -> TestServer:
        server = embedded.ensure_running(self.directory / "pg18", settings=FAST)
        log_in_quickly(server.conninfo())
        return TestServer("pg18", server.conninfo(), server.bin_dir)

    def _pg15(self) -> TestServer:
        server = embedded.ensure_running(self.directory / "pg15", bin_dir=DEBIAN, settings=FAST | CRON)
        log_in_quickly(server.conninfo())
        with psycopg.connect(server.conninfo(), autocommit=True) as conn:
            conn.execute(f"create database {CRON_DATABASE}")
        return TestServer("pg15", server.conninfo(), server.bin_dir)

    def _docker(self) -> TestServer:
        from testcontainers.postgres import PostgresContainer

        container = PostgresContainer(DOCKER_IMAGE, driver=None)
        container.start()
        self._at_end.append(container.stop)
        return TestServer("docker", make_conninfo(container.get_connection_url()), embedded.package_bin_dir())

    def _given(self) -> TestServer:
        conninfo = make_conninfo(escape_credentials(os.environ["TDS_TEST_DATABASE_URL"]))
        server = TestServer("given", conninfo, embedded.package_bin_dir())
        self._at_end.append(server.close)
        return server


def _binaries(leg: str) -> Path | None:
    return DEBIAN if leg == "pg15" else None


def _place() -> str:
    """In memory, where copying a database takes a tenth of the time on a disk, if there is room for many.

    Never $TMPDIR: a socket's path may have 107 bytes, and the server's account has to get there.
    """
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30 else "/tmp"


def legs() -> dict[str, str]:
    """Every leg, with the reason why it does not run, or '' if it does."""
    return {
        "pg18": "",
        "pg15": _why_no_debian(),
        "docker": _why_no_docker(),
        "given": "" if os.environ.get("TDS_TEST_DATABASE_URL") else "TDS_TEST_DATABASE_URL is not set",
    }


def _why_no_debian() -> str:
    wanted = [
        DEBIAN / "postgres",
        *(DEBIAN_EXTENSIONS / f"{x}.control" for x in ("pg_cron", "pgtap", "plpgsql_check")),
    ]
    missing = [str(path) for path in wanted if not path.exists()]
    missing += [] if shutil.which("pg_prove") else ["pg_prove"]
    return f"missing: {', '.join(missing)}" if missing else ""


def _why_no_docker() -> str:
    if not os.environ.get("DOCKER_HOST") and not Path("/var/run/docker.sock").exists():
        return "no Docker engine here"
    try:
        import docker
    except ImportError:
        return "the package testcontainers is not installed"
    # Naming a version keeps the client from asking for one at once; ping itself does without.
    client = docker.from_env(version="1.41", timeout=2)
    try:
        client.ping()
    except (docker.errors.DockerException, OSError):
        return "no Docker engine answers"
    finally:
        client.close()
    return ""


if __name__ == "__main__":
    sys.stdin.read()
    for pgdata in Path(sys.argv[1]).glob("*/pgdata"):
        embedded.stop(pgdata.parent, mode="immediate")
    shutil.rmtree(sys.argv[1])
