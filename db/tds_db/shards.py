"""Several databases behind a router: adding them, upgrading all, moving an organisation between them.

The router has a directory of organisations and calls its shards by PL/Proxy; each shard is an ordinary
database of TDS. A move is a row of the router's `tds.move`, whose step says what is done: whatever stops it,
the same call goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tds_db.connect import LASTING, Connection, connect
from tds_db.errors import TdsError
from tds_db.models import Report
from tds_db.status import is_router, status
from tds_db.upgrade import upgrade, upgrade_router

BUCKETS = 64
REMOVED_AT_ONCE = 5_000
ROUNDS = 20  # of copying and comparing, until nothing differs
DEPARTED = {"departed", "gone"}  # states of a gate: nothing of the organisation is taken there any more
LOCK_TIMEOUT = "500ms"  # how long whatever is stored waits behind us, at most, for the gate
PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 0.1
SESSION: Mapping[str, str] = {**LASTING, "TimeZone": "UTC", "tds.carries": "on"}

Conn = Connection[tuple[Any, ...]]
Sums = dict[int, tuple[int, Any]]
"""Of each bucket of a table, how many rows there are and a sum over them."""


class ShardError(TdsError):
    """A shard cannot be added, reached or moved to."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as the router has it."""

    number: int
    name: str
    conninfo: str
    """For programs beside the router's server: that of the administrator, if there is one."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of which an organisation has rows: see tds.moved_tables()."""

    name: str
    columns: Sequence[str]
    key_columns: Sequence[str]
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """What came of a move."""

    organization_id: str
    shard: str
    rows: int
    """Rows that were compared on both sides; 0: it was there already."""
    seconds: float


def make_router(conninfo: str, *, lock_timeout: str = "5s") -> Report:
    """Makes a database a router, or brings one up to date.

    Args:
        conninfo: the database, as a superuser.
        lock_timeout: see `upgrade`.

    Raises:
        ShardError: it has a mirror, or the server has no PL/Proxy.
        UpgradeError: see `upgrade`.
    """
    with connect("db", conninfo) as conn:
        if _one(conn, "select to_regclass('tds.inbox') is not null"):
            raise ShardError(
                "This database has a mirror: a router has none.",
                "Next: createdb another one, TDS_DATABASE_URL=… tds shard init, "
                "then tds shard add NAME with this one",
            )
        if not _one(conn, "select exists (select from pg_available_extensions where name = 'plproxy')"):
            raise ShardError(
                "This server has no PL/Proxy.",
                "Next: apt-get install postgresql-15-plproxy (of your version), on the router's server alone",
            )
        if not _one(conn, "select rolsuper from pg_roles where rolname = current_user"):
            raise ShardError(
                "A router is made and upgraded by a superuser: PL/Proxy's language is not trusted.",
                "Next: TDS_DATABASE_URL=… of a superuser, tds shard init",
            )
    return upgrade_router(conninfo, lock_timeout=lock_timeout)


def add(conninfo: str, name: str, shard: str, *, admin: str | None = None, lock_timeout: str = "5s") -> Shard:
    """Upgrades a database and registers it as a shard, or another way to one that is registered.

    Args:
        conninfo: the router.
        name: what the shard is called.
        shard: how the router's server reaches it; without a password.
        admin: how this program reaches it, as its owner; default: the same.
        lock_timeout: see `upgrade`.

    Raises:
        ShardError: there is a password in it, or one of the two cannot reach it.
        UpgradeError: it cannot be upgraded.
        psycopg.Error: the router refuses.
    """
    _require_router(conninfo)
    shard, admin = _without_password(shard), _without_password(admin) if admin else None
    user = conninfo_to_dict(shard).get("user")
    if user is None and "service" not in conninfo_to_dict(shard):
        raise ShardError(
            "The connection string names no user.", "Next: tds shard add NAME 'host=… user=… dbname=…'"
        )
    if is_router(admin or shard):
        raise ShardError("That database is a router.", "Next: tds shard add NAME, with another one")
    if not status(admin or shard).applied:
        upgrade(admin or shard, lock_timeout=lock_timeout)
    with connect("shard", conninfo) as router:
        with router.transaction():
            number = int(_one(router, "select tds.add_shard(%s, %s, %s)", name, shard, admin))
            with connect("shard", admin or shard) as conn:
                if user is not None:
                    _grant(conn, str(user))
                conn.execute("select tds.become_shard(%s, %s)", [name, number])
            known = _organizations(admin or shard)
            for organization in known:
                router.execute("select tds.place(%s, %s)", [organization, name])
        error = _one(
            router, "select min(a.error) from tds.ask_all('report', '{}', true) a where a.shard = %s", name
        )
    if error:
        raise ShardError(
            f"The router's server cannot ask {name}: {error}",
            f"It is registered. Mend its connection string: tds shard add {name} …, or the passfile of the "
            "server's account",
        )
    return Shard(number, name, admin or shard)


def shards_of(conninfo: str) -> list[Shard]:
    """The shards of a router, in the order of their numbers.

    Raises:
        ShardError: the database is no router.
    """
    _require_router(conninfo)
    with connect("shard", conninfo) as conn:
        return [
            Shard(*row)
            for row in conn.execute(
                """select number, name, coalesce(admin_conninfo, conninfo)
                     from tds.shard where removed_at is null order by number"""
            )
        ]


def upgrade_shards(
    conninfo: str, *, dry_run: bool = False, lock_timeout: str = "5s"
) -> Iterator[tuple[str, Report | Exception]]:
    """Upgrades a router, then each shard; one that fails keeps nobody else from it.

    Args:
        conninfo: the router.
        dry_run, lock_timeout: see `upgrade`.

    Yields:
        The name of each (the router's is ''), and what came of it.
    """
    shards = shards_of(conninfo)
    yield "", upgrade_router(conninfo, dry_run=dry_run, lock_timeout=lock_timeout)
    for shard in shards:
        try:
            report = upgrade(shard.conninfo, dry_run=dry_run, lock_timeout=lock_timeout)
            if not dry_run:
                with connect("shard", shard.conninfo) as conn:
                    # what is numbered since this version begins where its numbers do
                    conn.execute("select tds.become_shard(%s, %s)", [shard.name, shard.number])
        except (TdsError, psycopg.Error) as error:
            yield shard.name, error
        else:
            yield shard.name, report


def move(
    conninfo: str,
    organization_id: str,
    to: str,
    *,
    patience: float = PATIENCE_SECONDS,
    announce: Callable[[str], None] = lambda _: None,
) -> Moved:
    """Moves an organisation to another shard, while all goes on; or goes on with a move that was stopped.

    Args:
        conninfo: the router.
        organization_id: Zoho's organisation.
        to: the shard.
        patience: seconds to wait for workers that have its events in hand.
        announce: is given the steps.

    Raises:
        ShardError: another one moves it, the shards are of different versions, a worker hangs, or the
            organisation is elsewhere by what the shards know.
        psycopg.Error: one of the three databases refuses or is away. The same call goes on.
    """
    _require_router(conninfo)
    began = time.monotonic()
    by_number = {shard.number: shard for shard in shards_of(conninfo)}
    with ExitStack() as stack:
        router = stack.enter_context(connect("shard", conninfo, autocommit=True, settings=LASTING))
        _keep_others_out(stack, conninfo, organization_id)
        row = router.execute(
            "select move_id, from_shard, to_shard, step from tds.begin_move(%s, %s)", [organization_id, to]
        ).fetchone()
        if row is None or row[0] is None:
            return Moved(organization_id, to, 0, time.monotonic() - began)
        number, left, right, step = row
        source, target = by_number[left], by_number[right]
        old, new = (
            stack.enter_context(connect("shard", shard.conninfo, autocommit=True, settings=SESSION))
            for shard in (source, target)
        )
        for conn in (old, new):
            conn.execute("set role tds_owner")
        _compare_versions(old, new)
        carrier = _Move(router, old, new, number, organization_id, source, target, patience, announce)
        try:
            step = carrier.true_step(step)
        except ShardError:
            router.execute("select tds.forget_move(%s)", [number])
            raise
        carrier.go_on(step)
        rows = int(_one(router, "select coalesce(row_count, 0) from tds.move where move_id = %s", number))
    return Moved(organization_id, to, rows, time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class _Move:
    """A move under way: what each step does, any number of times."""

    router: Conn
    old: Conn
    new: Conn
    number: int
    organization_id: str
    source: Shard
    target: Shard
    patience: float
    announce: Callable[[str], None]

    def true_step(self, step: str) -> str:
        """The step at which the move is by what the shards know; a router may be of an older backup.

        Raises:
            ShardError: the organisation is elsewhere; or it is where it is to go, as one that was never here.
        """
        left, there = self._gate_of(self.old), self._gate_of(self.new)
        if left is None or left[0] not in DEPARTED:
            if step == "copy" and there is None and (rows := self._rows(self.new)):
                raise ShardError(
                    f"{self.target.name} has {rows:,} rows of {self.organization_id} already, "
                    f"which a move would replace by those of {self.source.name}.",
                    "Next: tds org list, on both; and tds org remove where it is not to be",
                )
            return step
        for shard, gate in ((self.source, left), (self.target, there)):
            if gate and gate[0] in DEPARTED and gate[1] != self.target.name:
                raise ShardError(
                    f"{self.organization_id} has left {shard.name} for {gate[1]}, which the router "
                    "does not know: was it restored?",
                    f"Next: tds shard move {self.organization_id} --to {gate[1]}, which puts it right",
                )
        if step == "remove" or (there is None and (self._rows(self.new) or not self._rows(self.old))):
            return "remove"
        if left[0] == "departed" and there is not None:
            return step
        raise ShardError(
            f"{self.source.name} has let {self.organization_id} go, and {self.target.name} has not got it: "
            "was that restored from an older backup?",
            "Next: restore a newer one; or have it back, with what is left of it, "
            f"on {self.source.name}: select tds.take_back('{self.organization_id}')",
        )

    def _gate_of(self, conn: Conn) -> tuple[str, str] | None:
        return conn.execute(
            "select state, other from tds.gate where organization_id = %s", [self.organization_id]
        ).fetchone()

    def _rows(self, conn: Conn) -> int:
        """How many rows of the mirror, events and runs there are of the organisation."""
        return sum(
            count
            for name, sums in self._sums(conn).items()
            if name.startswith("zoho.") or name in {"tds.inbox", "tds.run"}
            for count, _ in sums.values()
        )

    def go_on(self, step: str) -> None:
        """From a step to the end."""
        steps: dict[str, Callable[[], int | None]] = {
            "copy": self._copy,
            "fence": self._fence,
            "drain": self._drain,
            "carry": self._carry,
            "open": self._open,
            "remove": self._remove,
        }
        names = [*steps, "done"]
        for name, following in zip(names[names.index(step) :], names[names.index(step) + 1 :], strict=False):
            self.announce(name)
            rows = steps[name]()
            self.router.execute("select tds.step_move(%s, %s, %s)", [self.number, following, rows])

    def _copy(self) -> None:
        self._gate(self.new, "arriving", self.source.name)
        # what the other side may add to is carried once it changes here no more: what went stays gone
        self._round([table for table in self._tables() if table.is_exact])
        self._gate(self.old, "leaving", self.target.name)
        self._wait(
            "select tds.let_go(%s)",
            f"programs of {self.source.name} ask Zoho for {self.organization_id} still",
        )

    def _fence(self) -> None:
        # the directory has sent what is new to the other shard since this step began
        self._gate(self.old, "departed", self.target.name)

    def _drain(self) -> None:
        self._wait(
            "select working from tds.hold_events(%s)",
            f"events of {self.organization_id} are in the hands of workers of {self.source.name}",
        )

    def _wait(self, query: str, what: str) -> None:
        """Until a count is 0."""
        until = time.monotonic() + self.patience
        while count := _one(self.old, query, self.organization_id):
            if time.monotonic() > until:
                raise ShardError(f"{count} {what}.", f"Next: tds health there; then {self._again}")
            time.sleep(PAUSE_SECONDS)

    def _carry(self) -> int:
        tables = self._tables()
        for _ in range(ROUNDS):
            changed, rows = self._round(tables)
            if not changed:
                return rows
        raise ShardError(
            f"The rows of {self.organization_id} go on changing on {self.source.name}.",
            f"Next: see the view tds_lock_holders there; then {self._again}",
        )

    def _round(self, tables: Sequence[Table]) -> tuple[int, int]:
        """Makes the new shard's rows those of the old one; how many buckets differed, and its rows."""
        ours, theirs = self._sums(self.old), self._sums(self.new)
        changed = sum(
            self._sync(table)
            for table in tables
            if _differing(table, ours.get(table.name, {}), theirs.get(table.name, {}))
        )
        return changed, sum(count for sums in ours.values() for count, _ in sums.values())

    def _open(self) -> None:
        self._patiently(self.new, "select tds.open_gate(%s)", self.organization_id)

    def _remove(self) -> None:
        self._gate(self.old, "gone", self.target.name)
        while _one(self.old, "select tds.remove_left(%s, %s)", self.organization_id, REMOVED_AT_ONCE):
            pass

    @property
    def _again(self) -> str:
        return f"tds shard move {self.organization_id} --to {self.target.name}, which goes on"

    def _tables(self) -> list[Table]:
        return [
            Table(*row)
            for row in self.old.execute(
                "select relation, columns, key_columns, is_exact from tds.moved_tables() order by place"
            )
        ]

    def _sums(self, conn: Conn, only: str | None = None) -> dict[str, Sums]:
        query = "select relation, bucket, row_count, total from tds.organization_sums(%s, %s, %s)"
        found: dict[str, Sums] = {}
        for name, bucket, count, total in conn.execute(query, [self.organization_id, BUCKETS, only]):
            found.setdefault(name, {})[bucket] = count, total
        return found

    def _sync(self, table: Table) -> int:
        """Makes the new shard's rows of a table those of the old one; how many buckets differed."""
        if table.name in {"tds.inbox", "tds.inbox_outcome"}:
            self._make_partitions(table)
        listed = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        target = sql.SQL(table.name)  # quoted by the catalogue
        with self.new.transaction():
            self.new.execute("select tds.begin_carrying(%s)", [self.organization_id])
            ours, theirs = (self._sums(conn, table.name).get(table.name, {}) for conn in (self.old, self.new))
            differing = _differing(table, ours, theirs)
            if table.is_exact:
                query = "select tds.remove_moved(%s, %s, %s, %s)"
                self.new.execute(query, [table.name, self.organization_id, BUCKETS, differing])
                into = target
            else:
                into = sql.SQL("carried")
                self.new.execute(sql.SQL("create temp table carried (like {}) on commit drop").format(target))
            rows = _one(self.old, "select tds.moved_rows(%s, %s)", table.name, self.organization_id)
            chosen = _one(self.old, "select tds.bucket_of(%s, %s)", list(table.key_columns), BUCKETS)
            query_out = sql.SQL("copy (select {} {} and {} = any ({})) to stdout").format(
                sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in table.columns),
                sql.SQL(rows),
                sql.SQL(chosen),
                sql.Literal(differing),
            )
            query_in = sql.SQL("copy {} ({}) from stdin").format(into, listed)
            with self.old.cursor().copy(query_out) as out, self.new.cursor().copy(query_in) as copy:
                for part in out:
                    copy.write(part)
            if not table.is_exact:
                self.new.execute(
                    sql.SQL(
                        "insert into {} ({}) overriding system value select {} from carried "
                        "on conflict do nothing"
                    ).format(target, listed, listed)
                )
        return len(differing) if table.is_exact else 0

    def _make_partitions(self, table: Table) -> None:
        rows = _one(self.old, "select tds.moved_rows(%s, %s)", table.name, self.organization_id)
        query = f"select distinct (t.received_at at time zone 'UTC')::date {rows} order by 1"
        for (day,) in self.old.execute(query.encode()).fetchall():
            self.new.execute("select tds.ensure_partition(%s)", [day])

    def _gate(self, conn: Conn, state: str, other: str) -> None:
        self._patiently(conn, "select tds.set_gate(%s, %s, %s)", self.organization_id, state, other)

    def _patiently(self, conn: Conn, query: str, *parameters: object) -> None:
        """Takes the lock of the gate in small bites: whatever is stored waits for no longer than one."""
        until = time.monotonic() + self.patience
        while True:
            try:
                with conn.transaction():
                    conn.execute("select set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
                    conn.execute(query.encode(), parameters)
                return
            except errors.LockNotAvailable:
                if time.monotonic() > until:
                    raise
                time.sleep(PAUSE_SECONDS)


def _differing(table: Table, ours: Sums, theirs: Sums) -> list[int]:
    buckets = {*ours, *(theirs if table.is_exact else ())}
    return sorted(bucket for bucket in buckets if ours.get(bucket) != theirs.get(bucket))


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except psycopg.ProgrammingError:
        raise ShardError(
            f"{what} is no connection string.", "Next: tds shard add NAME 'host=… user=… dbname=…'"
        ) from None


def _without_password(given: str) -> str:
    with _told("What is given"):
        parts = conninfo_to_dict(given)
    if parts.get("password"):
        raise ShardError(
            "A connection string of a shard holds no password: whoever reads the router would see it.",
            "Put it into the passfile (~/.pgpass, or passfile=…) of the router server's account, or into a "
            "service file (service=…). Next: tds shard add NAME, without it",
        )
    parts.pop("password", None)
    return make_conninfo("", **parts)


def _require_router(conninfo: str) -> None:
    if not is_router(conninfo):
        raise ShardError("TDS_DATABASE_URL is no router.", "Next: tds shard init, in a database of its own")


def _grant(conn: Conn, user: str) -> None:
    """Has the router's login do what receivers and operators do."""
    for role in ("tds_receiver", "tds_operator"):
        if not _one(conn, "select pg_has_role(%s, %s, 'member')", user, role):
            conn.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role), sql.Identifier(user)))


def _organizations(conninfo: str) -> list[str]:
    with connect("shard", conninfo) as conn:
        conn.execute("set role tds_owner")
        return [
            name
            for (name,) in conn.execute(
                """select organization_id from zoho.organizations
                    union select organization_id from tds.full_pull
                    union select organization_id from tds.run
                   except select organization_id from tds.gate order by 1"""
            )
        ]


def _compare_versions(old: Conn, new: Conn) -> None:
    query = "select array_agg(id || content_hash order by id) from tds.migration"
    if _one(old, query) != _one(new, query):
        raise ShardError("The shards are of different versions.", "Next: tds db upgrade, which upgrades all")


def _keep_others_out(stack: ExitStack, conninfo: str, organization_id: str) -> None:
    """One mover at a time; the session of one that was killed ends within seconds."""
    guard = stack.enter_context(connect("shard", conninfo, autocommit=True, settings=LASTING))
    guard.execute("insert into tds.mover values (%s) on conflict do nothing", [organization_id])
    stack.enter_context(guard.transaction())
    guard.execute("set local lock_timeout = '30s'")
    try:
        guard.execute("select from tds.mover where organization_id = %s for update", [organization_id])
    except errors.LockNotAvailable:
        raise ShardError(
            f"Somebody else moves {organization_id}.", "Next: tds shard list, which shows how far that is"
        ) from None


def _one(conn: Conn, query: str, *parameters: object) -> Any:
    row = conn.execute(query.encode(), parameters).fetchone()
    return row[0] if row else None
