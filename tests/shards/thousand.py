"""Organisations on two shards, with everything that serves them: programs, webhooks, edits, moves, and a shard that is killed."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import psutil
import psycopg

from tds_db import shards
from tds_db.errors import TdsError
from tds_demo.compare import Difference, Record, compare, read_json
from tds_demo.truth import KINDS, SOURCES
from tds_sandbox.clock import Clock
from tds_sandbox.errors import UnsuitableEditError
from tds_sandbox.limits import LimitSettings
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running, environment, running
from tests.db.servers import Database, PrivateServer
from tests.journeys.programs import TDS, Program
from tests.journeys.programs import environment as programs_environment
from tests.journeys.waiting import wait_until
from tests.shards.conftest import Cluster, add

MINUTE_SECONDS = 3.0
"""A minute of the sandbox, in real seconds."""
CEILING, LIMIT, AT_ONCE = 18, 20, 5
"""Calls a minute that an organisation may make by its row, and those that the sandbox lets it; calls at once."""
KINDS_OF_DOCUMENTS = ("invoices", "bills", "salesorders", "creditnotes")
PATIENCE = 900.0
TEND_SECONDS = 1.0
SHORT = 5.0  # seconds around a kill within which an answer may not have been stored


@dataclass(frozen=True)
class Size:
    """How much of everything there is."""

    organisations: int
    products: int
    documents: int
    moves: int
    edits_a_second: float
    seed: int

    @classmethod
    def of_the_environment(cls) -> Size:
        """A small one, unless variables say otherwise."""

        def told(name: str, usual: str) -> str:
            return os.environ.get(f"TDS_THOUSAND_{name}", usual)

        return cls(
            organisations=int(told("ORGANISATIONS", "6")),
            products=int(told("PRODUCTS", "5")),
            documents=int(told("DOCUMENTS", "4")),
            moves=int(told("MOVES", "2")),
            edits_a_second=float(told("EDITS", "20")),
            seed=int(told("SEED", "1")),
        )

    def organisation(self, number: int, clock: Clock) -> Organisation:
        """One of them."""
        invoices, bills, orders, notes = (
            len(range(n, self.documents, len(KINDS_OF_DOCUMENTS))) for n in range(len(KINDS_OF_DOCUMENTS))
        )
        return Organisation(
            seed=self.seed * 100_000 + number,
            organization_id=str(82_000_000_000 + number),
            clock=clock,
            lenient=True,
            unstamped_share=0,
            items=self.products,
            contacts=3,
            invoices=invoices,
            bills=bills,
            salesorders=orders,
            creditnotes=notes,
        )


@dataclass
class Shard:
    """A database that can be killed, and what serves it."""

    name: str
    server: PrivateServer
    database: Database
    programs: list[Program]
    migrations: list[Program] = field(default_factory=list)
    killed: list[tuple[float, float]] = field(default_factory=list)
    """From when to when it was away, by the sandbox's clock."""


class Thousand:
    """All of it.

    Args:
        size: how much.
        sandbox: with the organisations.
        cluster: router and shards, which are registered.
        servers: those of the shards.
        directory: for files of the programs.
    """

    def __init__(
        self,
        size: Size,
        sandbox: Running,
        cluster: Cluster,
        servers: Mapping[str, PrivateServer],
        directory: Path,
    ) -> None:
        self.size = size
        self.sandbox = sandbox
        self.cluster = cluster
        self.dice = random.Random(size.seed)
        self.organisations = sandbox.sandbox.organisations
        self.moved: list[str] = []
        self.refused: Counter[str] = Counter()
        """Why a move had to be called again."""
        self.told: list[tuple[str, int, float]] = []
        """What came when: after so many calls, and so many seconds."""
        self.migrated_at = 0
        """How many calls had been made when all was done; what is asked for after that is a nightly read of all lists."""
        self._began = time.monotonic()
        self._began_at = sandbox.clock.now()
        self._tend_at = 0.0
        self._directory = directory
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        credentials = environment(sandbox.sandbox, sandbox.url)
        common = {
            "TDS_ENV_FILE": "",
            "ZOHO_MINUTE_SECONDS": str(MINUTE_SECONDS),
            "ZOHO_API_BASE": sandbox.url,
            "ZOHO_ACCOUNTS_BASE": sandbox.url,
            **{f"BOOKS_{name.removeprefix('ZOHO_')}": credentials[name] for name in CREDENTIALS},
        }
        self.receiver = Program(
            "receiver",
            [*TDS, "serve", "--port", "0"],
            programs_environment(TDS_DATABASE_URL=cluster.router.conninfo, **common),
            directory,
        )
        self._variables: dict[str, dict[str, str]] = {}
        self.shards: dict[str, Shard] = {}
        for name, database in cluster.shards.items():
            variables = programs_environment(
                TDS_DATABASE_URL=database.conninfo, TDS_DATA_DIR=str(directory / name), **common
            )
            self._variables[name] = variables
            programs = [
                Program(f"{name}.{said}", [*TDS, "-v", *arguments], variables, directory)
                for said, arguments in {
                    "work": ["work", "--workers", "1"],
                    "poll": ["poll", "--no-images"],
                }.items()
            ]
            self.shards[name] = Shard(name, servers[name], database, programs)

    # what is there, and what serves it

    def place(self) -> None:
        """Says where each organisation is: one after the other on either shard."""
        for organization_id in self.organisations:
            path = self._directory / f"{organization_id}.env"
            path.touch(0o600)
            path.write_text(f"ZOHO_WEBHOOK_SECRET={secret_of(organization_id)}\n")
        names = list(self.shards)
        of = {name: [*self.organisations][n :: len(names)] for n, name in enumerate(names)}
        with self.cluster.router.connect(autocommit=True) as conn:
            for name, organisations in of.items():
                conn.execute("select tds.place(o, %s) from unnest(%s::text[]) o", [name, organisations])
        for name, organisations in of.items():
            with self.shards[name].database.connect(autocommit=True) as conn:
                conn.execute(
                    "update tds.setting set value = to_jsonb(%s) where name = 'second_look_seconds'",
                    [int(MINUTE_SECONDS)],
                )
                conn.execute(
                    "select tds.org_add(o, credentials => 'env:BOOKS_', webhook_credentials => 'file:' || %s || '/' || o || '.env',"
                    "                   calls_per_minute => %s, concurrency => %s) from unnest(%s::text[]) o",
                    [str(self._directory), CEILING, AT_ONCE, organisations],
                )

    def begin(self) -> None:
        """Starts the programs, the migration of all, and edits whose webhooks the router takes."""
        self.receiver.start()
        for shard in self.shards.values():
            for program in shard.programs:
                program.start()
        wait_until(lambda: self.receiver.said.endswith("\n"), "the receiver says where it is")
        url = self.receiver.said.strip()
        for organization_id, webhooks in self.sandbox.sandbox.webhooks.items():
            webhooks.configure(
                url=url,
                prefix=f"/api/zoho/{organization_id}/webhooks",
                secret=secret_of(organization_id),
                retries=9,
                backoff=1.5,
            )
        self.tend()
        self._spawn(self._edit)

    def _spawn(self, act: Callable[[], None]) -> None:
        def kept() -> None:
            try:
                act()
            except BaseException as error:
                self._failed.append(error)

        thread = threading.Thread(target=kept)
        self._threads.append(thread)
        thread.start()

    def _edit(self) -> None:
        """Edits as users make them, of any organisation, until it is stopped."""
        dice = random.Random(f"{self.size.seed}/edits")
        chosen = [*self.organisations.values()]
        while not self._stop.wait(dice.expovariate(self.size.edits_a_second)):
            organisation = dice.choice(chosen)
            act, entity = dice.choice(ACTS)
            with suppress(UnsuitableEditError):
                getattr(organisation, act)(entity)

    def tend(self) -> None:
        """Starts what has ended, and a migration where one is unfinished and none is at work."""
        for error in self._failed:
            raise error
        # a look costs a few connections
        if (now := time.monotonic()) < self._tend_at:
            return
        self._tend_at = now + TEND_SECONDS
        for shard in self.shards.values():
            with suppress(psycopg.OperationalError):  # it is being killed
                self._tend(shard)

    def _tend(self, shard: Shard) -> None:
        for program in shard.programs:
            if not program.is_running:
                program.start()
        if any(program.is_running for program in shard.migrations):
            return
        if todo := self.unfinished(shard):
            number = len(shard.migrations) + 1
            command = [*TDS, "migrate", "--json", *(part for each in todo for part in ("--org", each))]
            migration = Program(
                f"{shard.name}.migrate{number}", command, self._variables[shard.name], self._directory
            )
            migration.start()
            shard.migrations.append(migration)

    def unfinished(self, shard: Shard) -> list[str]:
        """The organisations of a shard whose migration has not ended, and that are not being moved."""
        return [
            name
            for (name,) in self.rows(
                shard,
                """select o.organization_id from tds.organization o
                     left join tds.full_pull f on f.organization_id = o.organization_id
                    where f.finished_at is null and not tds.is_moving(o.organization_id) order by 1""",
            )
        ]

    def rows(self, shard: Shard, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Of a shard."""
        with shard.database.connect(autocommit=True) as conn:
            return conn.execute(query.encode(), parameters).fetchall()

    # what happens meanwhile

    def calls(self) -> int:
        """Made so far."""
        return len(self.sandbox.ledger.calls)

    def until(self, is_so: Callable[[], object], what: str) -> None:
        """Tends all until it is so."""

        def looked() -> bool:
            self.tend()
            return bool(is_so())

        wait_until(looked, what, PATIENCE)
        self.told.append((what, self.calls(), round(time.monotonic() - self._began, 1)))

    def move_some(self) -> None:
        """Moves organisations to the other shard, one after the other; begins it."""
        chosen = self.dice.sample([*self.organisations], self.size.moves)
        self._spawn(lambda: self._move(chosen))

    def _move(self, chosen: Sequence[str]) -> None:
        names = list(self.shards)
        for organization_id in chosen:
            with self.cluster.router.connect(autocommit=True) as conn:
                row = conn.execute("select tds.shard_of(%s)", [organization_id]).fetchone()
            assert row
            other = names[1 - row[0]]
            while True:
                try:
                    self.cluster.move(organization_id, other)
                    break
                except (psycopg.OperationalError, TdsError) as error:  # its shard is killed
                    self.refused[f"{type(error).__name__}"] += 1
                    if sum(self.refused.values()) > 200:
                        raise
                    time.sleep(0.3)
            self.moved.append(organization_id)

    def kill(self, name: str) -> None:
        """SIGKILLs a shard's postmaster, and starts it again a second later."""
        shard = self.shards[name]
        began = self.sandbox.clock.now()
        shard.server.kill()
        time.sleep(1.0)
        shard.server.start()
        shard.killed.append((began, self.sandbox.clock.now()))

    def settle(self) -> None:
        """Ends the edits, lets everything come to its end, and stops the programs."""
        self.until(lambda: len(self.moved) == self.size.moves, "all are moved")
        self._stop.set()
        hooks = self.sandbox.sandbox.webhooks.values()
        self.until(lambda: not any(each.pending for each in hooks), "all webhooks are delivered")
        self.until(self._is_done, "all is worked off")
        self.migrated_at = self.calls()
        self._read_lists()
        self.until(self._is_done, "all lists are read once more")
        for program in self.programs:
            if program.is_running:
                program.stop()

    def _read_lists(self) -> None:
        """Asks for the lists of what was edited, as the clock does at night: of some keys only lists tell, and no webhook does."""
        homes = self.homes()
        asked: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for organization_id, organisation in self.organisations.items():
            edited = {change.entity for change in organisation.changes}
            if edited:  # what a contact owes goes with its documents
                edited.add("contacts")
            asked[homes[organization_id]] |= {
                (organization_id, entity) for entity, source in SOURCES.items() if source in edited
            }
        for name, wanted in asked.items():
            with self.shards[name].database.connect(autocommit=True) as conn:
                conn.cursor().executemany(
                    "select tds.request_pull(%s, '{}', %s)",
                    [(entity, each) for each, entity in sorted(wanted)],
                )

    def _is_done(self) -> bool:
        time.sleep(TEND_SECONDS)
        return all(map(self.is_done, self.shards.values()))

    def is_done(self, shard: Shard) -> bool:
        """Whether nothing is left to do on a shard."""
        return (
            not self.unfinished(shard)
            and not any(program.is_running for program in shard.migrations)
            and self.rows(shard, OPEN) == [(0,)]
        )

    @property
    def programs(self) -> list[Program]:
        """All there are."""
        each = self.shards.values()
        return [
            self.receiver,
            *(program for shard in each for program in (*shard.programs, *shard.migrations)),
        ]

    def close(self) -> None:
        """Stops everything at once."""
        self._stop.set()
        for program in self.programs:
            if program.is_running:
                program.kill()
        for thread in self._threads:
            thread.join(60)

    # what came of it

    def cpu_seconds(self, shard: Shard) -> float:
        """What a shard's server has used since it was started last."""
        pid = int((shard.server.data_dir / "pgdata" / "postmaster.pid").read_text().split()[0])
        postmaster = psutil.Process(pid)
        ended = postmaster.cpu_times()
        used = [each.cpu_times() for each in [postmaster, *postmaster.children()]]
        return sum(each.user + each.system for each in used) + ended.children_user + ended.children_system

    def homes(self) -> dict[str, str]:
        """Each organisation's shard, by the directory."""
        return dict(
            self.cluster.rows(
                "select d.organization_id, s.name from tds.directory d join tds.shard s on s.number = d.shard"
            )
        )

    def differences(self) -> tuple[list[Difference], int]:
        """Where the mirror is not as the sandbox is, and how many values were compared."""
        found: list[Difference] = []
        values = 0
        by_shard = defaultdict(list)
        for organization_id, name in self.homes().items():
            by_shard[name].append(self.organisations[organization_id])
        for name, organisations in by_shard.items():
            with self.shards[name].database.connect() as conn:
                for organisation in organisations:
                    for entity, source in SOURCES.items():
                        result = compare(
                            conn,
                            organisation.organization_id,
                            entity,
                            records_of(organisation, entity, source),
                            constants={"currency": "USD"} if entity == "products" else {},
                            unannounced={*organisation.book(source).entity.silent_keys, *OF_THE_CONTACT},
                        )
                        found += result.differences
                        values += result.values
        return found, values

    def strays(self) -> list[tuple[str, str, str]]:
        """Rows of organisations that are on another shard: shard, table, organisation."""
        homes = self.homes()
        found = []
        for shard in self.shards.values():
            tables = self.rows(
                shard, "select relation from tds.moved_tables() where 'organization_id' = any (columns)"
            )
            with shard.database.connect(autocommit=True) as conn:
                for (table,) in tables:
                    query = f"select distinct organization_id from {table}".encode()
                    found += [
                        (shard.name, table, name)
                        for (name,) in conn.execute(query)
                        if name in homes and homes[name] != shard.name
                    ]
        return found

    def webhooks_stored(self) -> dict[str, tuple[int, int]]:
        """Organisations of which not every webhook is stored exactly once: how many are, and how many there were."""
        stored: Counter[str] = Counter()
        for shard in self.shards.values():
            stored.update(
                dict(
                    self.rows(
                        shard,
                        "select organization_id, count(*) from tds.inbox where source = 'webhook' group by 1",
                    )
                )
            )
        sent = {
            name: len({(delivery.url, delivery.body) for delivery in webhooks.deliveries})
            for name, webhooks in self.sandbox.sandbox.webhooks.items()
        }
        return {name: (stored[name], count) for name, count in sent.items() if stored[name] != count}

    def needless(self) -> tuple[list[str], list[str]]:
        """Calls that fetched what had been fetched: those of no reason, and those whose first answer a kill may have lost."""
        changes = Counter[tuple[str, str]]()
        for organization_id, organisation in self.organisations.items():
            for change in organisation.changes:
                # that a record is gone is believed when it was told twice
                changes[organization_id, change.id] += 2 if change.event == "delete" else 1
        moves = self._moves_of_stock(changes)
        homes = self.homes()
        read: dict[tuple[str, str], list[float]] = defaultdict(list)
        wasted: list[str] = []
        lost: list[str] = []
        for call in list(self.sandbox.ledger.calls)[: self.migrated_at]:
            if not call.organization_id:
                continue
            needless = True
            excused = False
            before: list[float] = []
            for what, most in units(call.organization_id, call.path, call.query, changes, moves):
                before = read[call.organization_id, what]
                needless &= len(before) >= most
                excused |= bool(before) and self._may_be_lost(
                    before, homes[call.organization_id], call.organization_id
                )
                before.append(call.at)
            if needless:
                scale = self.sandbox.clock.scale
                ago = ", ".join(f"{(call.at - at) / scale:.2f}" for at in before[:-1])
                when = f"{(call.at - self._began_at) / scale:.1f} s after the beginning"
                told = f"{call.organization_id} {call.path}?{call.query}, {when}, as {ago} s before"
                (lost if excused else wasted).append(told)
        return wasted, lost

    def _moves_of_stock(self, changes: Mapping[tuple[str, str], int]) -> Counter[tuple[str, str]]:
        """How often a document in which an item stands was changed, by organisation and item: its stock may have moved."""
        moves = Counter[tuple[str, str]]()
        for organization_id, organisation in self.organisations.items():
            for kind in KINDS_OF_DOCUMENTS:
                for row in map(read_json, organisation.truth_lines(kind)):
                    if times := changes.get((organization_id, row["id"])):
                        for line in row["document"]["line_items"]:
                            moves[organization_id, line["item_id"]] += times
        return moves

    def _may_be_lost(self, before: Sequence[float], home: str, organization_id: str) -> bool:
        windows = self.shards[home].killed
        if organization_id in self.moved:
            windows = [each for shard in self.shards.values() for each in shard.killed]
        scale = self.sandbox.clock.scale
        return any(began - SHORT * scale <= at <= ended for at in before for began, ended in windows)


OF_THE_CONTACT = ("customer_default_billing_address",)
"""Keys of documents that follow their contact's card, and of which nothing tells."""
CREDENTIALS = ("ZOHO_CLIENT_ID", "ZOHO_CLIENT_SECRET", "ZOHO_REFRESH_TOKEN")
ACTS = (
    *[("edit", entity) for entity in ("items", "contacts", *KINDS_OF_DOCUMENTS) for _ in range(3)],
    *[("create", entity) for entity in ("items", "invoices")],
    ("delete", "items"),
)
OPEN = """
    select (select count(*) from tds.inbox_open) + (select count(*) from tds.inbox_held) + (select count(*) from tds.wanted_detail)
           + (select count(*) from tds.run where finished_at is null)"""


def secret_of(organization_id: str) -> str:
    """What signs for an organisation, and for no other."""
    return f"secret{organization_id}"


def units(
    organization_id: str,
    path: str,
    query: str,
    changes: Mapping[tuple[str, str], int],
    moves: Mapping[tuple[str, str], int],
) -> Iterator[tuple[str, int]]:
    """What a call reads, and how often there is reason to: a record once, and once more for each change of it, or of its stock."""
    told = dict(parse_qsl(query))
    if "item_ids" in told:
        for each in told["item_ids"].split(","):
            key = organization_id, each
            yield f"/itemdetails/{each}", 1 + changes[key] + moves[key]
        return
    last = path.rsplit("/", 1)[-1]
    if last.isdigit() and last != organization_id:
        yield path, 1 + changes[organization_id, last]
    else:
        yield f"{path}?{query}", 1


def records_of(organisation: Organisation, entity: str, source: str) -> list[Record]:
    """The truth of an entity."""
    listed, details = (
        {row["id"]: row for row in map(read_json, organisation.truth_lines(source, shape))}
        for shape in ("list", "detail")
    )
    return [
        Record(zoho_id, listed[zoho_id]["document"], row["document"], row["deleted"])
        for zoho_id, row in details.items()
        if row["document"].get("contact_type") == KINDS.get(entity)
    ]


@contextmanager
def thousand(
    size: Size, router: Database, servers: Mapping[str, PrivateServer], directory: Path
) -> Iterator[Thousand]:
    """All of it, on a router that is empty and servers that are: stopped in the end, and the programs' last words told."""
    # begun long ago: however fast it runs, no record is of the future
    clock = Clock(60 / MINUTE_SECONDS, start=time.time() - 5 * 86_400)
    organisations = [size.organisation(number, clock) for number in range(size.organisations)]
    limits = LimitSettings(per_minute=LIMIT, per_day=1_000, concurrency=AT_ONCE)
    with ExitStack() as stack:
        sandbox = stack.enter_context(running(organisations, limits=limits, latency=0.01))
        shards.make_router(router.conninfo)
        cluster = Cluster(router, {name: server.database() for name, server in servers.items()})
        for name in servers:
            add(cluster, name)
        made = Thousand(size, sandbox, cluster, servers, directory)
        try:
            made.place()
            yield made
        except BaseException as error:
            error.add_note("\n".join(program.last_words for program in made.programs))
            raise
        finally:
            made.close()
